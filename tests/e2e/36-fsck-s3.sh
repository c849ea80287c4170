#!/bin/sh
# tmpnix fsck of stores on the network: each kind of damage in the bucket is
# found, and nothing is touched; --repair marks it, the next push heals it, and
# then all is well.  A store that does not answer is no verdict.
# shellcheck disable=SC1091,SC2015,SC2016,SC2034,SC2154
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/store.sh"

client=$W/nix
STORE=$client/store
rgw_start
standin_start
site_make "$STORE" stream
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
# asked NAME PATTERN N: so many requests; one is noted after its answer.
asked() {
	until_true 10 asked_so "$2" "$3"
	is "$1" "$(requests "$2")" "$3"
}
asked_so() {
	[ "$(requests "$1")" = "$2" ]
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
# What the spool still has would be put back.
relay_all() {
	relay_wait
	rm -f "$S"/spool/ready/*
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
	relay_all
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
relay_all
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

# Another place has the bytes.
mkdir -p "$S/spool/lost"
cp "$nar" "$S/spool/lost/kept"
bucket "$P$key" -X DELETE
broken "a lost NAR that is in spool/lost" lost "$key"
fsck --repair
fsck_is "is uploaded again" 1
clean "from spool/lost"
rm "$S/spool/lost/kept"
bucket "$P$key" -X DELETE
fsck --repair
bucket "$P$key" -T "$W/flipped"
fsck --repair
ok "a lost NAR that comes back otherwise stays lost" \
    grep -q "$key: missing: its bytes are lost" "$W/fsck.out"
bucket "$P$key" -T "$nar"
fsck
fsck_is "one that comes back as it was" 1
fsck --repair
ok "is found again" grep -q "$key: missing: its bytes were found" "$W/fsck.out"
relay_all
clean "with the NAR that came back"

bucket "${P}log/$hash-one.drv" -X DELETE
broken "a lost log" lost "log/$hash-one.drv"
fsck --repair
put "log/$hash-one.drv" "$W/log.txt"
is "a lost log: is taken again" "$code" 200
relay_all
clean "a lost log"

bucket "$P$hash.narinfo" >"$W/narinfo"
sed 's/^Compression: none/Compression: xz  /' "$W/narinfo" >"$W/other"
mended() {
	fsck --repair --bytes
	fsck_is "$1: --repair" 1
	ok "$1: nothing is open" grep -q ' 0 problems' "$W/fsck.out"
	relay_all
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
asked "are one question" 'list-type.*&prefix=cache%2Fnix%2F 200$' 1
asked "and no other" '^s3 HEAD' 0
faults "s3 error 403,AccessDenied"
: >"$W/standin/requests"
fsck
fsck_is "a bucket that can't be listed" 0
ok "is said" grep -q 'main: listing: each object is asked for' "$W/fsck.out"
asked "and each object is asked for" '^s3 HEAD .* 200$' \
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
asked "two pages were asked for" list-type 2
asked "and no object" '^s3 HEAD' 0
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

sed -n '/^url/p' "$W/uploads" >"$W/deletes"
s3 -X DELETE -K "$W/deletes"
bucket "$P$bucket_other" -X DELETE

# What is no verdict -----------------------------------------------------------------------
# no_verdict NAME WHY FAULT: exit 2, and --repair leaves all as it was.
no_verdict() {
	everything >"$W/before"
	faults "$3"
	fsck --bytes --verify --repair
	faults
	fsck_is "$1" 2
	ok "$1: is said" grep -q "$2" "$W/fsck.out"
	ok "$1: is no verdict" not grep -q ': lost: \|: spoiled: ' "$W/fsck.out"
	everything >"$W/after"
	ok "$1: nothing is touched" cmp "$W/before" "$W/after"
}
# The listing, which is asked for once more, passes.
faults "s3 status 503"
fsck
fsck_is "a store that answers at the second try" 0
no_verdict "a store that is too busy" "status 503" "s3* status 503"
no_verdict "a store that hangs up" ended "s3* reset-before"
: >"$W/standin/requests"
no_verdict "a store that redirects" "status 307" "s3* redirect $api_port"
asked "nobody is sent elsewhere" '^api' 0
(umask 077 && sed 's/^aws_secret.*/aws_secret_access_key = wrong/' \
    "$W/credentials" >"$W/credentials.new")
cp -p "$W/credentials" "$W/credentials.good"
mv "$W/credentials.new" "$W/credentials"
no_verdict "wrong credentials" SignatureDoesNotMatch
mv "$W/credentials.good" "$W/credentials"
conf_set spool_min_free 100T
fsck --verify
fsck_is "no room to unpack" 2
ok "is said" grep -q spool_min_free "$W/fsck.out"
conf_set spool_min_free 1M

rgw() {
	RGW_DIR=$W/rgw "$top_srcdir/tests/rgw.sh" "$1" >>"$W/log/rgw.log" 2>&1
}
client_make "$client"
nx "$client" nix-store --generate-binary-cache-key walk-1 "$W/sk" "$W/pk"
sources 30
# shellcheck disable=SC2046
ok "nix copy" nx "$client" nix copy \
    --to "$U/cache?secret-key=$W/sk" $(cat "$W/paths")
relay_all
clean "with what Nix copied"
assets() {
	sql "SELECT * FROM asset ORDER BY id"
}
assets >"$W/before"
: >"$W/standin/requests"
# The rate makes it last until the S3 is gone.
tmpnix fsck --bytes --repair --rate 40K >"$W/fsck.out" 2>&1 &
fsck_pid=$!
some_are_read() {
	[ "$(requests "^s3 GET /$BUCKET/$P")" -ge 5 ]
}
ok "some objects are read" until_true 30 some_are_read
ok "the S3 stops" rgw halt
wait $fsck_pid
fsck_rc=$?
fsck_is "a store that stops in the middle" 2
ok "is said" grep -q 'the asset store does not answer' "$W/fsck.out"
ok "and is no verdict" not grep -q ': lost: \|: spoiled: ' "$W/fsck.out"
fsck
fsck_is "one that is gone" 2
assets >"$W/after"
ok "nothing is touched" cmp "$W/before" "$W/after"
ok "it starts again" rgw resume
clean "with the S3 again"

# An index from the bucket alone -----------------------------------------------------------
rows() {
	sql "SELECT cache, key, state, size, hex(sha256), content_type, url
	    FROM asset WHERE cache = 'main' ORDER BY key;
	    SELECT cache, hash_part, store_path,
	    narinfo, nar_key, hex(nar_hash), file_size FROM path;
	    SELECT * FROM reference; SELECT * FROM total
	    WHERE count <> 0 AND cache = 'main' ORDER BY 1, 2;
	    SELECT * FROM meta WHERE name LIKE '%.main'"
}
programs() {
	for p in upload drv cache; do
		"prog_$1" $p
	done
}
# index_away NAME: as if it were lost.
index_away() {
	programs stop
	mkdir "$W/$1"
	mv "$S"/index.db* "$W/$1/"
}
rows >"$W/rows.was"
index_away whole
s3 -X PUT -d "{\"Version\":\"2012-10-17\",\"Statement\":[{
    \"Effect\":\"Deny\",\"Principal\":\"*\",\"Action\":[\"s3:GetObject\"],
    \"Resource\":[\"arn:aws:s3:::$BUCKET/$P$hash.narinfo\"]}]}" \
    "http://127.0.0.1:$s3_port/$BUCKET?policy="
fsck --rebuild
fsck_is "--rebuild, with an object that can't be read" 2
ok "is said" grep -q "$hash.narinfo: unknown: " "$W/fsck.out"
ok "there is no index" test ! -e "$S/index.db"
s3 -X DELETE "http://127.0.0.1:$s3_port/$BUCKET?policy="
: >"$W/standin/requests"
fsck --rebuild
fsck_is "--rebuild, again" 0
asked "the rest is read" "GET /$BUCKET/$P$hash.narinfo 200" 1
asked "and nothing else" "GET /$BUCKET/$P" 1
rows >"$W/rows.is"
ok "it is the index that was" diff "$W/rows.was" "$W/rows.is"
ok "nothing is left of the work" test ! -e "$S/rebuild"
programs start
programs ready
read_back "from the rebuilt index" "$U/cache"
fsck --verify
fsck_is "the rebuilt index" 0
ok "no NAR of it is verified" grep -q "$key: unverified" "$W/fsck.out"
is "nor offered to pushers" "$(status -I "$U/cache/$key")" 404
fsck --verify --repair
fsck_is "--verify --repair" 1
is "the NARs are verified" "$(status -I "$U/cache/$key")" 302
clean "the rebuilt, verified index"

# From a bucket that is damaged.
bucket "$P$key" -T "$W/flipped"
two=$(sql "SELECT hash_part FROM path WHERE store_path LIKE '%-two'")
bucket "$P$(sql "SELECT nar_key FROM path WHERE hash_part = '$two'")" -X DELETE
other=0123456789abcdfghijklmnpqrsvwxyz
bucket "$P$other.narinfo" -T "$W/narinfo"
printf 'no narinfo\n' >"$W/text"
bucket "$P$(echo $other | tr 01 10).narinfo" -T "$W/text"
paths=$(sql "SELECT count(*) FROM path WHERE cache = 'main'")
index_away damaged
fsck --rebuild --bytes
fsck_is "--rebuild from a damaged bucket" 1
ok "a NAR that is another" \
    grep -q "$key: rebuild: its bytes are not" "$W/fsck.out"
ok "a narinfo without its NAR" \
    grep -q "$two.narinfo: rebuild: its NAR .* is not there" "$W/fsck.out"
ok "a narinfo of another path" \
    grep -q "$other.narinfo: rebuild: it is the narinfo of" "$W/fsck.out"
is "and a text that is none are left out" \
    "$(sql "SELECT count(*) FROM path WHERE cache = 'main'")" $((paths - 2))
is "that is all that was found" "$(grep -c ': rebuild: ' "$W/fsck.out")" 5

# Glitch ------------------------------------------------------------------------------------
web_stop
rm -rf "$S" "$CONF"
site_make "$STORE" stream
conf_glitch
conf_set relay_timeout 3s
site_start
P=$PROJECT/
bucket_glitch() {
	bucket "$@" -H 'x-amz-acl: public-read'
}
path_make one "$(seq 3000)"
push
relay_all
clean "Glitch"
: >"$W/standin/requests"
fsck
asked "has no listing: each object is asked for" '^cdn HEAD' \
    "$(sql "SELECT count(*) FROM asset WHERE cache = 'main'")"
bucket_glitch "$P$key" -T "$W/flipped"
broken "Glitch: a changed byte" spoiled "$key" --bytes
broken "Glitch: a changed byte, unpacked" spoiled "$key" --verify
no_verdict "Glitch: too busy" "status 503" "cdn* status 503"
no_verdict "Glitch: it hangs up" "could not be looked at" "cdn* reset-before"
fsck --repair --bytes
fsck_is "Glitch: --repair" 1
push
relay_all
clean "Glitch: pushed again"
index_away glitch
fsck --rebuild
fsck_is "Glitch: --rebuild" 2
ok "Glitch: says why not" grep -q 'needs a listing' "$W/fsck.out"

e2e_end
