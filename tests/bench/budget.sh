#!/bin/sh
# How much of its budget (max_nar_cpu, max_nar_ratio) a real NAR takes: TREE
# (/usr/lib/llvm-14) in each compression, and ZEROS (2000) MB of zeros, the image
# of an empty disk.  Room is the budget by what was taken: below 10 a slow machine
# may refuse what is good.
# shellcheck disable=SC1091,SC2154
. "$(dirname "$0")/../e2e/lib.sh"
. "$top_srcdir/tests/e2e/attack.sh"

bench=$top_builddir/tests/bench/verify_file
[ -x "$bench" ] || stop "make tests/bench/verify_file first"
default() {
	sed -n "s/^#$1 = //p" "$top_srcdir/conf/tmpnix.conf"
}
cpu=$(default max_nar_cpu)
cpu=$((${cpu%m} * 60))
name=nar/$(printf %052d 0)

mkdir -p "$W/made"
nix-store --dump "${TREE:-/usr/lib/llvm-14}" >"$W/made/tree"
bomb "${ZEROS:-2000}" zeros zeros cat
for nar in tree zeros; do
	while read -r c ext pack; do
		${pack} <"$W/made/$nar" >"$W/packed"
		"$bench" "$W/packed" "$name$ext" | awk -v n="$nar $c" \
		    -v cpu="$cpu" -v ratio="$(default max_nar_ratio)" '{
			printf "%s: %.0f MB of %.1f MB, room %.0f; ", n, $2,
			    $6 / 1e6, (4 * 2 ^ 30 + ratio * $6) / $2 / 1e6
			printf "%.2f s of a processor, room %.0f; ", $4,
			    cpu * $5 / $4
			printf "with many GiB %.0f\n",
			    cpu * ($5 - 1) / $4
		}'
	done <<EOT
none .nar cat
xz .nar.xz xz -T0 -1
zstd .nar.zst zstd -q -19 -T0
bzip2 .nar.bz2 bzip2
br .nar.br brotli -q 5
EOT
done
exit 0
