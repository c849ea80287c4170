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

# The file itself.
for i in $(seq 30); do
	path_make "more-$i" "$(seq "$i" 400)"
	push
done
settle
site_stop
ok "a clean stop is noted" test -s "$S/index.clean"
cp -p "$S/index.db" "$W/whole.db"

# upload_starts NAME: checked or not, as its log says.
upload_starts() {
	: >"$W/log/upload.log"
	prog_start upload
	prog_ready upload
	ok "$1: it starts" grep -q 'taking pushes' "$W/log/upload.log"
}
is_checked() {
	grep -q 'index: checked in ' "$W/log/upload.log"
}
# refuses PROGRAM NAME: it ends by itself, with the file and the ways out.
refuses() {
	"$top_builddir/tmpnix-$1" -d -f "$CONF" -s "$W/run/new.sock" \
	    >"$W/new.log" 2>&1 </dev/null
	is "tmpnix-$1 refuses to start: $2" $? 1
	for way in "$S/index.db is damaged" backup 'tmpnix fsck --rebuild'; do
		ok "tmpnix-$1: $2: $way" grep -q -e "$way" "$W/new.log"
	done
}
# whole: as it was before.
whole() {
	rm -f "$S"/index.db*
	cp "$W/whole.db" "$S/index.db"
}

web_start
upload_starts "after a clean stop"
not is_checked || fail "after a clean stop nothing is checked"
ok "nothing is noted while it runs" not test -e "$S/index.clean"
prog_stop upload KILL
upload_starts "after kill -9"
ok "after kill -9 it is checked" is_checked
prog_stop upload
# Programs that write after it has stopped.
tmpnix token add later --push >/dev/null 2>&1
upload_starts "after a token was added"
not is_checked || fail "after a token was added nothing is checked"
for p in cache drv; do
	prog_start $p
	prog_ready $p
done
prog_stop upload
prog_stop cache
prog_stop drv
upload_starts "after all have stopped"
not is_checked || fail "after all have stopped nothing is checked"
prog_stop upload
whole
upload_starts "a backup"
ok "a backup is checked" is_checked
prog_stop upload

# flip OFFSET: the byte there is another.
flip() {
	perl -e 'open F, "+<", $ARGV[0] or die; seek F, $ARGV[1], 0;
	    read F, $b, 1; seek F, $ARGV[1], 0; print F chr(ord($b) ^ 255)' \
	    "$S/index.db" "$1"
}
whole
for at in 0 1 2 3; do
	flip $at
done
for p in upload cache drv; do
	refuses $p "its header"
done
"$top_builddir/tmpnix-upload" -n -f "$CONF" >"$W/new.log" 2>&1
is "tmpnix-upload -n: its header" $? 1
tmpnix status --local >"$W/status" 2>&1
is "tmpnix status: its header" $? 1
ok "and names it" grep -q "$S/index.db is damaged" "$W/status"

# The header of the page at which each table and index of the SQL begins.
page=$(sqlite3 "$W/whole.db" 'PRAGMA page_size')
for what in asset path reference asset_waiting path_nar; do
	whole
	root=$(sqlite3 "$W/whole.db" \
	    "SELECT rootpage FROM sqlite_schema WHERE name = '$what'")
	at=$(((root - 1) * page))
	flip $((at + 3))
	flip $((at + 5))
	refuses upload "a page of $what"
done
# Made from the store it is whole again.
mv "$S/index.db" "$W/damaged.db"
rm -f "$S"/index.db-*
tmpnix fsck --rebuild >"$W/fsck" 2>&1
is "tmpnix fsck --rebuild" $? 0 || cat "$W/fsck"
tmpnix token add all --push --pull --drv >"$W/netrc" 2>/dev/null
SECRET=$(sed -n 's/.*password  *\([^ ]*\).*/\1/p' "$W/netrc")
site_stop
site_start
ok "and is served" test "$(status "$U/cache/$hash.narinfo")" = 200
push
is "and pushed to" "$code" 200

e2e_end
