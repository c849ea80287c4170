# shellcheck shell=sh
# shellcheck disable=SC2034,SC2154
# For tests that make the programs' calls fail or end them there, behind lib.sh:
# tests/shim/faults.c.

SHIM=$top_builddir/tests/shim/faults.so
[ -e "$SHIM" ] || stop "make check makes $SHIM"
mkdir "$W/shim"
: >"$W/shim/rules"
: >"$W/shim/log"

# shimmed COMMAND...: with the shim in it.
shimmed() {
	env LD_PRELOAD="$SHIM" TMPNIX_SHIM="$W/shim" "$@"
}
# shim_start PROGRAM: as prog_start.
shim_start() {
	TMPNIX_WRAP="env LD_PRELOAD=$SHIM TMPNIX_SHIM=$W/shim"
	prog_start "$1"
	TMPNIX_WRAP=''
}
# rules [LINE...]: from now on; none: all is well.  In place: the programs have
# the file open.
rules() {
	[ $# = 0 ] || printf '%s\n' "$@" >"$W/shim/new"
	[ $# != 0 ] || : >"$W/shim/new"
	cat "$W/shim/new" >"$W/shim/rules"
}
# made PATTERN: how many calls are in the log so.
made() {
	grep -c "$1" "$W/shim/log"
}
