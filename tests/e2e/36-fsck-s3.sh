#!/bin/sh
# tmpnix fsck of stores on the network: each kind of damage in the bucket is
# found, and nothing is touched; --repair marks it, the next push heals it, and
# then all is well.  A store that does not answer is no verdict.
# shellcheck disable=SC1091,SC2015,SC2016,SC2034,SC2154
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/store.sh"

STORE=/nix/store
rgw_start
standin_start
site_make $STORE stream
conf_s3
conf_set s3_prefix cache/nix/
conf_set relay_timeout 3s
site_start

fsck() {
	tmpnix fsck "$@" >"$W/fsck.out" 2>&1
	fsck_rc=$?
}
fsck_is() {
	is "$1: exit $2" "$fsck_rc" "$2" || cat "$W/fsck.out"
}
clean() {
	fsck
	fsck_is "$1: all is there" 0
	fsck --bytes --verify
	fsck_is "$1: byte for byte" 0
}
# The bucket's keys and bytes, and the index.
everything() {
	sql "SELECT * FROM asset ORDER BY id; SELECT * FROM path"
	bucket_keys | while read -r k; do
		echo "$k $(bucket "$(escaped "$k")" | sha256sum)"
	done
}
escaped() {
	printf '%s' "$1" | sed 's/%/%25/g; s/+/%2B/g; s/ /%20/g; s/&/%26/g
	    s/</%3C/g; s/!/%21/g'
}
# bucket KEY CURL-ARGUMENTS: a request for this key.
bucket() {
	bucket_key=$1
	shift
	s3 "$@" "http://127.0.0.1:$s3_port/$BUCKET/$bucket_key"
}
P=cache/nix/
# broken NAME KIND KEY [OPTION]: found, and nothing touched.
broken() {
	everything >"$W/before"
	fsck ${4:+"$4"}
	fsck_is "$1: is found" 1
	ok "$1: as $2" grep -q "$3: $2: " "$W/fsck.out"
	everything >"$W/after"
	ok "$1: nothing is touched" cmp "$W/before" "$W/after"
}
push() {
	put "$key" "$nar"
	put "$hash.narinfo" "$info"
}
# healed NAME [OPTION]: by a push, after --repair.
healed() {
	fsck --repair ${2:+"$2"}
	fsck_is "$1: --repair" 1
	is "$1: the narinfo is a 404" \
	    "$(status "$U/cache/$hash.narinfo")" 404
	is "$1: and not in the bucket" \
	    "$(bucket_keys | grep -c "$hash.narinfo")" 0
	fsck
	ok "$1: is open until it is pushed" \
	    grep -q "$key: missing: " "$W/fsck.out"
	push
	is "$1: the narinfo is served" \
	    "$(status -L "$U/cache/$hash.narinfo")" 200
	relay_wait
	bucket "$P$key" >"$W/back"
	ok "$1: the NAR is in the bucket" cmp "$nar" "$W/back"
	clean "$1"
}

path_make two "$(seq 2000)"
push
path_make one "$(seq 3000)" "$hash-two"
push
printf 'a log\n' >"$W/log.txt"
put "log/$hash-one.drv" "$W/log.txt"
relay_wait
clean "a cache"

# Damage in the bucket ---------------------------------------------------------------
bucket "$P$key" -X DELETE
broken "a lost NAR" lost "$key"
healed "a lost NAR"
head -c 999 "$nar" >"$W/part"
bucket "$P$key" -T "$W/part"
broken "a cut NAR" lost "$key"
healed "a cut NAR"
cp "$nar" "$W/flipped"
printf x | dd of="$W/flipped" bs=1 seek=99 conv=notrunc 2>/dev/null
bucket "$P$key" -T "$W/flipped"
fsck
fsck_is "a changed byte is not seen by its length" 0
broken "a changed byte" spoiled "$key" --bytes
healed "a changed byte" --bytes
bucket "$P$key" -T "$W/flipped"
broken "a changed byte, unpacked" spoiled "$key" --verify
healed "a changed byte, unpacked" --verify
bucket "$P$key" -T "$nar" -H 'Content-Encoding: gzip'
clean "a header that is somebody's"

bucket "${P}log/$hash-one.drv" -X DELETE
broken "a lost log" lost "log/$hash-one.drv"
fsck --repair
put "log/$hash-one.drv" "$W/log.txt"
is "a lost log: is taken again" "$code" 200
relay_wait
clean "a lost log"

bucket "$P$hash.narinfo" >"$W/narinfo"
sed 's/^Compression: none/Compression: xz  /' "$W/narinfo" >"$W/other"
mended() {
	fsck --repair --bytes
	fsck_is "$1: --repair" 1
	ok "$1: nothing is open" grep -q ' 0 problems' "$W/fsck.out"
	relay_wait
	bucket "$P$hash.narinfo" >"$W/back"
	ok "$1: the text is in the bucket again" cmp "$W/narinfo" "$W/back"
	clean "$1"
}
bucket "$P$hash.narinfo" -X DELETE
broken "a lost narinfo" narinfo-store "$hash.narinfo"
mended "a lost narinfo"
bucket "$P$hash.narinfo" -T "$W/other"
broken "a narinfo with another text" narinfo-store "$hash.narinfo" --bytes
mended "a narinfo with another text"

sql "UPDATE nar SET verdict = 1, why = 'once', nar_hash = NULL
    WHERE key = '$key'"
broken "a wrong verdict" verdict "$key" --verify
fsck --repair --verify
fsck_is "a wrong verdict: --repair" 1
clean "a wrong verdict"

# The listing --------------------------------------------------------------------------
: >"$W/standin/requests"
fsck
fsck_is "a few objects" 0
is "are one question" "$(cat "$W/standin/requests")" \
    "s3 GET /$BUCKET/?encoding-type=url&list-type=2&max-keys=1000&prefix=cache%2Fnix%2F 200"
faults "s3 error 403,AccessDenied"
: >"$W/standin/requests"
fsck
fsck_is "a bucket that can't be listed" 0
ok "is said" grep -q 'main: listing: each object is asked for' "$W/fsck.out"
is "and each object is asked for" "$(requests '^s3 HEAD .* 200$')" \
    "$(sql "SELECT count(*) FROM asset WHERE cache = 'main'")"
bucket "$P$key" -X DELETE
faults "s3 error 403,AccessDenied"
broken "a lost NAR, not listed" lost "$key"
faults
healed "a lost NAR"
faults "s3* error 404,NoSuchBucket"
fsck --repair
fsck_is "a bucket that is not there" 2
ok "is said" grep -q NoSuchBucket "$W/fsck.out"
ok "and is no verdict" not grep -q ': lost: ' "$W/fsck.out"
faults
clean "with the bucket again"

# Objects of nobody, on more than one page.
n=0
while [ $n -lt 600 ]; do
	n=$((n + 1))
	for k in "${P}a+b %c&d<!$n" "${P}z/$n"; do
		printf 'upload-file = "%s"\nurl = "http://127.0.0.1:%s/%s/%s"\n' \
		    "$W/log.txt" "$s3_port" "$BUCKET" "$(escaped "$k")"
	done
done >"$W/uploads"
bucket_other=log/00000000000000000000000000000000-x.drv
bucket "$P$bucket_other" -T "$W/log.txt"
bucket "elsewhere/$bucket_other" -T "$W/log.txt"
s3 -K "$W/uploads"
fsck
fsck_is "objects that have just come" 0
ok "are not told of" not grep -q ': foreign: \|: orphan: ' "$W/fsck.out"
: >"$W/standin/requests"
faults "s3* old"
fsck
fsck_is "objects that the index does not know" 0
is "are told of: those with names of others" \
    "$(grep -c ': foreign: ' "$W/fsck.out")" 1200
ok "by their names" grep -qF 'main: a+b %c&d<!600: foreign: ' "$W/fsck.out"
is "and those that might be ours" "$(grep ': orphan: ' "$W/fsck.out")" \
    "main: $bucket_other: orphan: the store has it, the index does not know it"
is "two pages were asked for" "$(requests '^s3 GET')" 2
is "and nothing else" "$(wc -l <"$W/standin/requests")" 2
fsck --repair
fsck_is "--repair" 0
faults
is "leaves them alone" "$(bucket_keys | wc -l)" \
    $((1202 + $(sql "SELECT count(*) FROM asset WHERE cache = 'main'")))
bucket "$P$key" -X DELETE
fsck
fsck_is "a lost NAR among them" 1
ok "is found" grep -q "$key: lost: " "$W/fsck.out"
healed "a lost NAR among them"

e2e_end
