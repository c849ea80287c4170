#!/bin/sh
# tmpnix fsck is interrupted, goes on where it was, scrubs a part each day, and
# tmpnix status tells what was looked at and what was found.
# shellcheck disable=SC1091,SC2016,SC2034,SC2154
. "$(dirname "$0")/lib.sh"

STORE=/nix/store
site_make $STORE stream
site_start

fsck() {
	tmpnix fsck "$@" >"$W/fsck.out" 2>"$W/fsck.err"
	fsck_rc=$?
}
# fsck_start OPTION...: in the background, as $fsck_pid.
fsck_start() {
	"$top_builddir/tmpnix" -f "$CONF" fsck "$@" >"$W/fsck.out" \
	    2>"$W/fsck.err" &
	fsck_pid=$!
	other_pids="$other_pids $fsck_pid"
}
# fsck_end SIGNAL: and its exit status.
fsck_end() {
	kill "-$1" "$fsck_pid"
	wait "$fsck_pid" 2>/dev/null
	fsck_rc=$?
}
# noted KIND: a key is.
noted() {
	[ -n "$(sql "SELECT at FROM fsck WHERE kind = '$1' AND at <> ''")" ]
}
looks() {
	tmpnix status --local >"$W/status"
	is "$1: exit status of tmpnix status" $? "$2"
	ok "$1: it says $3" grep -q -e "$3" "$W/status" || cat "$W/status"
}

for n in 1 2 3 4 5 6 7 8 9 10 11 12; do
	path_make "p$n" "$(seq $n 20)"
	put "$key" "$nar"
	put "$hash.narinfo" "$info"
done
settle
objects=$(sql "SELECT count(*) FROM asset")
paths=$(sql "SELECT count(*) FROM path")
all=$((objects + paths))
looks "before any check" 0 '^  check  *never$'
looks "a fresh index" 0 '^  scrub  *never$'

# Interrupted ------------------------------------------------------------------
# first: the file of the first NAR, which every check looks at early.
first=$S/store/$(sql "SELECT min(key) FROM asset WHERE key LIKE 'nar/%'")
last=$S/store/$(sql "SELECT max(key) FROM asset WHERE key LIKE 'nar/%'")

# passed FILE: has the check been there?
passed() {
	[ -n "$(sql "SELECT 1 FROM fsck WHERE kind = 'check'
	    AND phase = 'objects' AND at >= '${1#"$S/store/"}'")" ]
}
fsck_start --rate 16K
ok "a check is under way" until_true 30 noted check
looks "under way" 0 '^  check  *runs since '
fsck
is "two at a time: exit status" "$fsck_rc" 2
ok "the second is refused" grep -q 'another one runs' "$W/fsck.err"
ok "it comes to the first NAR" until_true 60 passed "$first"
fsck_end KILL
looks "after kill -9" 0 'was interrupted (tmpnix fsck --resume goes on)'
mv "$first" "$W/first"
fsck --resume
is "it goes on behind what it has looked at" "$fsck_rc" 0
ok "and ends, all counted once" grep -q "^$all looked at" "$W/fsck.out" ||
    cat "$W/fsck.out"
looks "resumed" 0 '^  check  *ended '
fsck --resume
is "one that ended begins anew" "$fsck_rc" 1
mv "$W/first" "$first"
fsck
is "all is well" "$fsck_rc" 0

mv "$first" "$W/first"
fsck_start --rate 16K
ok "a check that found something" until_true 60 passed "$first"
fsck_end INT
is "Ctrl-C: exit status" "$fsck_rc" 3
ok "with a summary" grep -q ' looked at.* 1 problems.*ended before its time' \
    "$W/fsck.out" || cat "$W/fsck.out"
ok "and how to go on" grep -q 'tmpnix fsck --resume' "$W/fsck.out"
mv "$W/first" "$first"
fsck --resume
is "what was found before counts" "$fsck_rc" 1
fsck_start --rate 16K
ok "a check without --bytes" until_true 60 passed "$first"
fsck_end TERM
mv "$first" "$W/first"
fsck --resume --bytes
is "is not gone on with by one that looks closer" "$fsck_rc" 1
mv "$W/first" "$first"
fsck
is "all is well again" "$fsck_rc" 0

# In the middle of an object.
path_make large "$(seq 400000)"
put "$key" "$nar"
put "$hash.narinfo" "$info"
settle
# reads_large: it has the file open.
reads_large() {
	for fd in "/proc/$fsck_pid/fd"/*; do
		[ "$(readlink "$fd")" != "$large" ] || return 0
	done
	return 1
}
large=$S/store/$key
fsck_start --bytes --rate 200K
ok "a large object is read" until_true 60 reads_large
fsck_end INT
is "Ctrl-C does not wait for it" "$fsck_rc" 3
ok "it is not said to be wrong" grep -q ' 0 problems.* 0 repaired, 0 could' \
    "$W/fsck.out" || cat "$W/fsck.out"
printf x | dd of="$large" bs=1 seek=999 conv=notrunc 2>/dev/null
fsck --bytes --resume
is "it is looked at again" "$fsck_rc" 1
ok "wholly" grep -q "$key: spoiled" "$W/fsck.out"
cp "$nar" "$S/spool/ready/kept"
rm "$large"
large=$S/spool/ready/kept
fsck_start --repair --rate 200K
ok "a second place is read" until_true 60 reads_large
fsck_end INT
is "Ctrl-C there" "$fsck_rc" 3
is "does not make it lost" "$(sql "SELECT missing FROM asset
    WHERE key = '$key'")" 0
fsck --repair --resume
ok "it is found there afterwards" cmp "$nar" "$S/store/$key"
rm "$S/spool/ready/kept"

# Progress -----------------------------------------------------------------------
fsck
is "nothing on a pipe" "$(cat "$W/fsck.err")" ''
fsck --progress
ok "unless asked for" grep -q '^[0-9]* %, main objects: [0-9]* looked at' \
    "$W/fsck.err"
is "at most a line for each percent" "$(sed 's/ %.*//' "$W/fsck.err" |
    sort | uniq -d)" ''
is "to its end" "$(sed -n '$s/ %.*//p' "$W/fsck.err")" 100

# A scrub ------------------------------------------------------------------------
fsck --scrub --bytes
is "a scrub" "$fsck_rc" 0
looks "scrubbed" 0 '^  scrub  *ended '
mv "$first" "$W/first"
cp "$last" "$W/last"
printf x | dd of="$last" bs=1 seek=99 conv=notrunc 2>/dev/null
fsck --scrub --bytes
is "one that finds something: exit status" "$fsck_rc" 1
looks "what was found" 1 'tmpnix fsck found 2 things wrong.*fsck --bytes --repair'
looks "which" 1 "found  *main: ${last#"$S/store/"}: .*another digest"
looks "and where" 1 "found  *main: ${first#"$S/store/"}: .*gone"
tmpnix status --local --json >"$W/json"
is "in JSON" "$(perl -MJSON::PP -0 -ne '$f = decode_json($_)->{fsck};
    print "$f->{scrub}{state} $f->{scrub}{problems} $f->{findings} ",
    scalar @{$f->{found}}' <"$W/json")" 'ended 2 2 2'
fsck
looks "a check that does not read has not seen all" 1 'found 2 things wrong'
mv "$W/first" "$first"
fsck
looks "what is mended is forgotten" 1 'found 1 things wrong'
mv "$W/last" "$last"
fsck --scrub --bytes
is "all is well once more" "$fsck_rc" 0
looks "nothing is left to do" 0 '^  scrub  *ended '
fsck --scrub --sample 10
is "a scrub has no sample" "$fsck_rc" 2

old=$(($(date +%s) - 40 * 86400))
sql "UPDATE fsck SET noted = $old, complete = $old"
looks "an index made today" 0 tmpnix
sql "UPDATE meta SET value = '$old' WHERE name = 'fsck.since'"
looks "nothing for a month" 1 'nothing was checked to its end for 40 days'
old=$(($(date +%s) - 4 * 86400))
sql "UPDATE fsck SET noted = $old + 60, complete = $old, phase = 'objects'
    WHERE kind = 'scrub'"
looks "a scrub that is not gone on with" 1 'fsck --scrub ran 3 days ago'

e2e_end
