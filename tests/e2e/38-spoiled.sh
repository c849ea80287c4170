#!/bin/sh
# An index with flipped bits: a narinfo that is not what was written is not
# served, is told of, and is healed by a push; a file that is damaged is refused
# at the start, with the ways out.
# shellcheck disable=SC1091,SC2034,SC2154
. "$(dirname "$0")/lib.sh"

STORE=/nix/store
site_make $STORE stream
site_start

push() {
	put "$key" "$nar"
	put "$hash.narinfo" "$info"
}
# served CODE...: what GET and HEAD of the narinfo get from tmpnix-cache; the
# store's file of it would be the web server's to send.
served() {
	rm -f "$S/store/$hash.narinfo"
	status "$U/cache/$hash.narinfo"
	echo " $(status -I "$U/cache/$hash.narinfo")"
}
status_says() {
	tmpnix status --local >"$W/status" 2>&1
	status_rc=$?
	grep -q "$1" "$W/status"
}

# One letter in each line of a narinfo is another.
path_make one "$(seq 300)"
push
settle
for line in StorePath URL NarHash NarSize References; do
	case $line in
	References) from="$line: " to="$line: x" ;;
	*) from="$line: " to="$line:  " ;;
	esac
	sql "UPDATE path SET narinfo = replace(narinfo, '$from', '$to')"
	is "$line: GET and HEAD" "$(served)" "500 404"
	is "$line: again" "$(served)" "500 404"
	ok "$line: the log names it" \
	    grep -q "$hash.narinfo: its text in the index is spoiled" \
	    "$W/log/cache.log"
	ok "$line: status tells" status_says 'the index has 1 narinfos'
	is "$line: and fails" "$status_rc" 1
	tmpnix status --local --json >"$W/status"
	ok "$line: in JSON" grep -q '"spoiled_narinfos":1,' "$W/status"
	tmpnix sign >"$W/sign" 2>&1
	is "$line: is not signed" $? 1
	ok "$line: in words" grep -q "$hash.narinfo: its text .* spoiled" \
	    "$W/sign"
	push
	is "$line: a push is taken" "$code" 200
	settle
	ok "$line: as it was" grep -q "^StorePath: $STORE/$hash-one\$" \
	    "$S/store/$hash.narinfo"
	is "$line: and heals it" "$(served)" "200 200"
	ok "$line: status says no more" not status_says spoiled
done
# What is found once and is whole again.
sql "UPDATE asset SET spoiled = 1 WHERE key = '$hash.narinfo'"
tmpnix fsck >"$W/fsck" 2>&1
is "fsck finds a mark of what is whole" $? 1
ok "and says so" grep -q "$hash.narinfo: narinfo-mark: " "$W/fsck"
tmpnix fsck --repair >"$W/fsck" 2>&1
tmpnix fsck >"$W/fsck" 2>&1
is "and takes it away" $? 0 || cat "$W/fsck"

e2e_end
