#!/bin/sh
# Each fuzz target over its seed corpus (see fuzz.h).
set -u
: "${top_srcdir:=.}" "${top_builddir:=.}"

bad=0
for dir in "$top_srcdir"/tests/fuzz/corpus/*/; do
	name=$(basename "$dir")
	printf '%s: ' "$name"
	"$top_builddir/tests/fuzz/replay_$name" "$dir" || bad=1
done
exit $bad
