#!/bin/sh
# What verification costs.
#
# 1. MB of NAR a second of one core: ours, and each format's own tool piped
#    into sha256sum.  TREE (/usr/lib/python3) is the NAR.
# 2. nix copy of 300 store paths with verify = nar and verify = file; PAIRS (5)
#    alternating pairs and the ratio of the medians.  COMPRESSION (xz) is the
#    client's, as Nix's default is.
# shellcheck disable=SC1091,SC2034,SC2046,SC2154
. "$(dirname "$0")/../e2e/lib.sh"

bench=$top_builddir/tests/bench/verify_file
[ -x "$bench" ] || stop "make tests/bench/verify_file first"

# best BYTES COMMAND: best of three, in MB a second of processor time, so that
# what else runs on the machine does not count.
best() {
	perl -e '$size = shift;
	    for (1..3) {
		@a = times; system("sh", "-c", $ARGV[0]) and exit 1; @b = times;
		$t = $b[2] + $b[3] - $a[2] - $a[3];
		$best = $t if !$best || $t < $best;
	    }
	    printf "%d\n", $size / 1e6 / ($best || 0.01)' "$1" "$2"
}
nix-store --dump "${TREE:-/usr/lib/python3}" >"$W/nar"
size=$(wc -c <"$W/nar")
name=nar/$(nix-hash --type sha256 --base32 --flat "$W/nar")
echo "a NAR of $((size / 1000000)) MB"
while read -r c ext pack unpack; do
	# shellcheck disable=SC2086
	${pack} <"$W/nar" >"$W/packed"
	ours=$(best "$size" "$bench $W/packed $name$ext >$W/said")
	tool=$(best "$size" "$unpack <$W/packed | sha256sum >$W/said")
	echo "$c: tmpnix $ours MB/s, $unpack | sha256sum $tool MB/s"
done <<EOT
none .nar cat cat
xz .nar.xz xz xz -dc
zstd .nar.zst zstd zstd -dc
bzip2 .nar.bz2 bzip2 bzip2 -dc
gzip .nar gzip gzip -dc
lz4 .nar.lz4 lz4 lz4 -dc
br .nar.br brotli brotli -dc
EOT
rm -f "$W/nar" "$W/packed"

client=$W/nix
site_make "$client/store"
site_start
client_make "$client"
small_files 300 | nx "$client" xargs nix-store --add >"$W/paths"
echo "$(wc -l <"$W/paths") paths, $(du -sk "$client/store" | cut -f1) kB," \
    "compression ${COMPRESSION:-xz}"
# push nar|file: in $ms.  (Not in a subshell: the programs are this shell's.)
push() {
	prog_stop upload
	prog_stop cache
	sql 'DELETE FROM path; DELETE FROM nar; DELETE FROM asset'
	find "$S/store" "$S/spool/ready" -type f -delete
	rm -rf "$client/home/cache"
	conf_set verify "$1"
	for p in cache upload; do
		prog_start $p
		prog_ready $p
	done
	begin=$(date +%s%N)
	nx "$client" nix copy --to "$U/cache?compression=${COMPRESSION:-xz}" \
	    $(cat "$W/paths") >"$W/push.log" 2>&1 || cat "$W/push.log"
	end=$(date +%s%N)
	ms=$(((end - begin) / 1000000))
}
median() {
	sort -n "$1" | awk '{ a[NR] = $1 } END { print a[int((NR + 1) / 2)] }'
}
for i in $(seq "${PAIRS:-5}"); do
	push file
	f=$ms
	push nar
	n=$ms
	echo "pair $i: file $f ms, nar $n ms"
	echo "$f" >>"$W/f"
	echo "$n" >>"$W/n"
done
f=$(median "$W/f") n=$(median "$W/n")
echo "medians: file $f ms, nar $n ms: $((n * 1000 / f)) thousandths"
