#!/bin/sh
# The lines that the documentation has people paste are those that tmpnix
# client-conf prints: for https://cache.example.org and http://..., whose key is
# written "...".  And no command of the new nix is without the flag that stock
# Debian needs.
set -u
cd "${top_srcdir:?}" || exit 1
tool=${top_builddir:?}/tmpnix
documents='README debian/*.README.Debian man/*.[178]'
bad=0

dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
for scheme in https http; do
	conf=$dir/$scheme.conf
	"$tool" -f "$conf" init -d "$dir/$scheme" \
	    -u $scheme://cache.example.org >/dev/null || exit 1
	for form in '' --builder --nixos '--ci github' '--ci gitlab'; do
		# shellcheck disable=SC2086 # two words are meant
		"$tool" -f "$conf" client-conf $form || exit 1
	done
done >"$dir/printed"
# Blanks at the front and the keys' base 64 don't matter.
normal() {
	sed -e 's/^[ 	]*//' -e 's/[ 	]*$//' \
	    -e 's|\(cache\.example\.org-[a-z0-9-]*:\)[A-Za-z0-9/+=]*\(\.\.\.\)*|\1...|'
}
# shellcheck disable=SC2016 # a command, not ours
normal <"$dir/printed" | sed -e 's/ "\$(nix-store --add .*//' -e 's| ./result$||' \
    >"$dir/lines"

# A page's text without mdoc: continued lines joined.
text() {
	case $1 in
	man/*) sed -e 's/\\e$/\\/' -e 's/^\.D[l1] //' -e 's/^\$ //' -e 's/^# //' \
	    -e 's/\\&//g' "$1" ;;
	*) cat "$1" ;;
	esac | sed -e ':a' -e '/\\$/{N;s/[ 	]*\\\n[ 	]*/ /;ba' -e '}'
}
# The lines in it that are for a client: what has to be among ours.  What is
# pushed and what README has in front of a line don't matter.
pasted() {
	text "$1" | normal | sed -n -E \
	    -e 's/^.*(nix (--[a-z-]+ nix-command )?copy .*--to .*cache\.example\.org[^ ]*).*$/\1/p' \
	    -e 's/^.*(curl .*setup\.sh.*)$/\1/p' \
	    -e 's/^(.* )?((extra-)?(substituters|trusted-public-keys) = .*cache\.example.*)$/\2/p' \
	    -e 's/^(TMPNIX_[A-Z_]*=.*cache\.example.*)$/\1/p'
}
n=0
for file in $documents; do
	pasted "$file" >"$dir/pasted"
	while IFS= read -r line; do
		n=$((n + 1))
		grep -qxF -e "$line" "$dir/lines" || {
			echo "lines.sh: $file: tmpnix client-conf does not print: $line" >&2
			bad=1
		}
	done <"$dir/pasted"
	text "$file" | grep -nE '^ *nix [a-z]' >&2 && {
		echo "lines.sh: $file: nix without --extra-experimental-features nix-command" >&2
		bad=1
	}
done
echo "$n lines"
[ $n -ge 10 ] || {
	echo "lines.sh: too few lines were found: has their form changed?" >&2
	bad=1
}
exit $bad
