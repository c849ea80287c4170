#!/bin/sh
# The programs built with sanitizers, and everything at once (mixed.sh):
#
#   sh tests/sanitize.sh [address|thread ...]
#
# in a directory of its own, that goes at the end.  The last line is "N reports";
# exit status 0 when there is none and all went well.  Not part of make check:
# both builds and runs take some minutes.  (What tests/run installs is needed.)
#
# tests/tsan.supp has what is others', with the reason.
set -u
src=$(cd "$(dirname "$0")/.." && pwd -P) || exit 1
work=$(mktemp -d "${TMPDIR:-/tmp}/tmpnix-sanitize.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 143' INT TERM HUP
[ $# != 0 ] || set -- address thread

broken() {
	tail -n 20 "$work/log"
	echo "$1"
	exit 1
}
[ -x "$src/configure" ] || autoreconf -fi "$src" >"$work/log" 2>&1 ||
    broken "autoreconf failed"

failed=0
for kind; do
	case $kind in
	address) with=address,undefined ;;
	thread) with=thread ;;
	*) broken "address or thread, not $kind" ;;
	esac
	mkdir "$work/$kind" "$work/$kind.reports"
	echo "building with -fsanitize=$with"
	(cd "$work/$kind" && "$src/configure" --enable-sanitize=$with &&
	    make -j "$(nproc)") >"$work/log" 2>&1 || broken "make failed"
	echo "running"
	# Addresses that are laid out at random confuse TSan.
	reports=log_path=$work/$kind.reports/report
	env TMPNIX_WRAP="setarch -R" top_srcdir="$src" \
	    top_builddir="$work/$kind" \
	    ASAN_OPTIONS="$reports:detect_leaks=1" \
	    UBSAN_OPTIONS="$reports:print_stacktrace=1" \
	    TSAN_OPTIONS="$reports:suppressions=$src/tests/tsan.supp" \
	    sh "$src/tests/mixed.sh" >"$work/log" 2>&1 || {
		grep -A 15 '^FAILED' "$work/log"
		failed=1
	}
	tail -n 1 "$work/log"
done
cat "$work"/*.reports/* 2>/dev/null
n=$(find "$work"/*.reports -type f | wc -l)
echo "$n reports"
[ "$n" = 0 ] && [ $failed = 0 ]
