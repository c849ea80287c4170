#!/bin/sh
# Who may include what: our layers, and the fences around library headers.
set -u
cd "${top_srcdir:-.}" || exit 1

# The layers, left to right, a line each.  A file may include headers of its
# own module and of lines below its own.  common/x.c and common/x_y.c belong
# to module x.
layers='
ready
prog bundle instantiate
reads push
relay
accept
verifier gate fsck
auth ledger
spool asset index fcgi
db policy proc http listen client live
conf
ca
verify
narinfo realisation decode derivation nar refscan
key
storepath sign attrpath query text netaddr
hash privileges clean
base32 file account sandbox range
num
buf clock log scc utf8
'

# A library's header (a shell pattern) and the files (patterns) that may
# include it.
fences='
fcgiapp.h	common/fcgi*.c common/fcgi_request.h
fcgi_*.h	-
sqlite3.h	common/db.c common/db.h common/index*.c common/index_db.h
sodium.h	common/base32.c common/sign.c common/auth.c common/prog.c tools/* tests/*
openssl/*	common/hash.c
archive*.h	common/bundle.c common/decode.c tests/*
brotli/*	common/decode.c tests/*
curl/*	common/http.c
expat.h	common/asset_listing.c
jansson.h	cgi/drv.c tools/fsck.c tools/token.c common/asset_policy.c common/realisation.c tests/*
lzma.h	common/decode.c
'

bad=0

complain()
{
	echo "$1: $2" >&2
	bad=1
}

# The number of module $1's layer; nothing when it has none.
layer()
{
	echo "$layers" | awk -v m="$1" \
	    '{ for (i = 1; i <= NF; i++) if ($i == m) print NR }'
}

# The module that file $1 belongs to.
module()
{
	m=${1##*/}
	m=${m%.[ch]}
	echo "${m%%_*}"
}

# $1 includes our header $2.
check_layer()
{
	if [ ! -e "common/$2" ]; then
		case $1 in
		common/*) complain "$1" "includes $2, which is not in common/" ;;
		esac
		return
	fi
	to=$(layer "$(module "$2")")
	[ -n "$to" ] || complain "common/$2" "is in no layer"
	case $1 in
	common/*) ;;
	*) return ;;
	esac
	[ "$(module "$1")" = "$(module "$2")" ] && return
	from=$(layer "$(module "$1")")
	[ -n "$from" ] || complain "$1" "is in no layer"
	[ "${from:-0}" -lt "${to:-0}" ] ||
	    complain "$1" "includes $2, which is not in a layer below"
}

# $1 includes the library header $2.
check_fence()
{
	while IFS='	' read -r header files; do
		# shellcheck disable=SC2254 # patterns
		case $2 in
		$header) ;;
		*) continue ;;
		esac
		set -f
		for f in $files; do
			# shellcheck disable=SC2254
			case $1 in
			$f)
				set +f
				return
				;;
			esac
		done
		set +f
		complain "$1" "includes <$2> outside its fence"
	done <<-EOF
	$fences
	EOF
}

[ -d common ] || {
	echo "no common/ in $(pwd)" >&2
	exit 1
}
for file in common/*.[ch] cgi/*.[ch] tools/*.[ch] tests/unit/*.[ch] \
    tests/fuzz/*.[ch]; do
	[ -e "$file" ] || continue
	while read -r kind header; do
		case $kind$header in
		'<'*) check_fence "$file" "$header" ;;
		'"config.h' | '"unit.h' | '') ;;
		'"'*/*) complain "$file" "includes $header by a path" ;;
		'"'*) check_layer "$file" "$header" ;;
		esac
	done <<-EOF
	$(sed -n 's/^[ 	]*#[ 	]*include[ 	]*\([<"]\)\([^>"]*\).*/\1 \2/p' "$file")
	EOF
done
exit $bad
