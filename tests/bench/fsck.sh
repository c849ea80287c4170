#!/bin/sh
# How fast tmpnix fsck is: N paths (100,000 by default) of a file store, each a
# file of 4 kB; what an index made from the store takes; finding what was lost
# among as many files of the spool; and pushes of 64 clients beside it.
# ASSETS=s3: of a bucket, 3,000 paths by default, without the last two.
# shellcheck disable=SC1091,SC2034,SC2154
. "$(dirname "$0")/../e2e/lib.sh"

STORE=/nix/store
case ${ASSETS-} in
s3)
	. "$top_srcdir/tests/e2e/store.sh"
	N=${N:-3000}
	rgw_start
	;;
*) N=${N:-100000} ;;
esac
site_make $STORE stream
mkdir -p "$S/store/nar"
python3 - "$N" "$S/store" <<'EOT' || stop "the store can't be made"
import hashlib, struct, sys

def base32(b):
    n = int.from_bytes(b, "little")
    size = (len(b) * 8 + 4) // 5
    return "".join("0123456789abcdfghijklmnpqrsvwxyz"[n >> 5 * i & 31]
        for i in reversed(range(size)))

def string(b):
    return struct.pack("<Q", len(b)) + b + bytes(-len(b) % 8)

for i in range(int(sys.argv[1])):
    nar = b"".join(map(string, [b"nix-archive-1", b"(", b"type", b"regular",
        b"contents", b"%d\n" % i * (4000 // (len(str(i)) + 1)), b")"]))
    file = base32(hashlib.sha256(nar).digest())
    path = base32(hashlib.sha1(b"%d" % i).digest())
    with open("%s/nar/%s.nar" % (sys.argv[2], file), "wb") as f:
        f.write(nar)
    with open("%s/%s.narinfo" % (sys.argv[2], path), "w") as f:
        f.write("StorePath: /nix/store/%s-n%d\nURL: nar/%s.nar\n"
            "Compression: none\nFileHash: sha256:%s\nFileSize: %d\n"
            "NarHash: sha256:%s\nNarSize: %d\nReferences: \n"
            % (path, i, file, file, len(nar), file, len(nar)))
EOT
rm "$S"/index.db*
mb=$(du -sm --apparent-size "$S/store/nar" | cut -f 1)
if [ "${ASSETS-}" = s3 ]; then
	conf_s3 "$s3_port"
	(cd "$S/store" && find . -type f) |
	    sed "s|^\./\(.*\)|upload-file = \"$S/store/\1\"\nurl =\
 \"http://127.0.0.1:$s3_port/$BUCKET/\1\"|" | sed '/^url =$/{N;s/\n//}' \
	    >"$W/uploads"
	s3 -K "$W/uploads" || stop "the bucket can't be filled"
	rm -rf "$S/store"
fi
# timed NAME ARG...: of tmpnix fsck, what it did a second.
timed() {
	name=$1
	shift
	began=$(date +%s%N)
	tmpnix fsck "$@" >"$W/fsck.out" 2>&1
	rc=$?
	ms=$((($(date +%s%N) - began) / 1000000))
	echo "$name: exit $rc, $ms ms, $((2 * N * 1000 / ms)) objects/s," \
	    "$((mb * 1000 / ms)) MB/s"
	tail -n 1 "$W/fsck.out"
}
timed "an index made from the store" --rebuild
timed "sizes" # (and the index against itself)
if [ "${ASSETS-}" = s3 ]; then
	s3 -X PUT -d "{\"Version\":\"2012-10-17\",\"Statement\":[{
	    \"Effect\":\"Deny\",\"Principal\":\"*\",
	    \"Action\":[\"s3:ListBucket\"],
	    \"Resource\":[\"arn:aws:s3:::$BUCKET\"]}]}" \
	    "http://127.0.0.1:$s3_port/$BUCKET?policy="
	timed "a HEAD for each"
	s3 -X DELETE "http://127.0.0.1:$s3_port/$BUCKET?policy="
fi
timed "bytes" --bytes
timed "unpacked again" --bytes --verify

[ "${ASSETS-}" != s3 ] || exit 0

# A fiftieth of the NARs is in spool/lost alone.
mkdir -p "$S/spool/lost"
find "$S/store/nar" -type f | awk 'NR % 50 == 0' | xargs mv -t "$S/spool/lost"
timed "a fiftieth found in the spool" --repair

tmpnix token add bench --push >"$W/netrc" 2>"$W/ignored"
SECRET=$(sed -n 's/.*password  *\([^ ]*\).*/\1/p' "$W/netrc")
site_start
head -c 20000 /dev/urandom >"$W/log.txt"
# pushes NAME: 3,200 of 64 clients, and how large the WAL gets.
pushes() {
	begin=$(date +%s%N)
	seq 3200 | xargs -P 64 -I '{}' curl -q -s -m 120 -o /dev/null \
	    -w '%{http_code} %{time_total}\n' -u ":$SECRET" -T "$W/log.txt" \
	    "$U/cache/log/00000000000000000000000000000000-$1{}.drv" >"$W/pushes"
	echo "3,200 pushes $1: $((($(date +%s%N) - begin) / 1000000)) ms," \
	    "$(grep -vc '^201 ' "$W/pushes") refused, the longest $(cut -d ' ' \
	    -f 2 "$W/pushes" | sort -n | tail -n 1) s, WAL" \
	    "$(($(stat -c %s "$S/index.db-wal") / 1024)) KiB"
}
pushes alone
while :; do
	tmpnix fsck --bytes >"$W/fsck.out" 2>&1
done &
other_pids=$!
pushes beside
