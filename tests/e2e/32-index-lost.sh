#!/bin/sh
# The index is lost, emptied, or an older one: nothing that was answered with
# success is removed, and no program starts as if nothing had been there.
# shellcheck disable=SC1091,SC2016,SC2034,SC2154
. "$(dirname "$0")/lib.sh"

STORE=/nix/store
site_make $STORE stream
site_start

# In a file below spool/ are these bytes.
in_spool() {
	find "$S/spool" -type f -size -1000k ! -name '*.lock' | while read -r f; do
		cmp -s "$f" "$1" && echo found
	done | grep -q found
}
# refuses upload|cache: it ends by itself, with a reason.
refuses() {
	"$top_builddir/tmpnix-$1" -d -f "$CONF" -s "$W/run/new.sock" \
	    >"$W/new.log" 2>&1 </dev/null
	is "tmpnix-$1 refuses to start: $2" $? 1
	for way in backup 'tmpnix fsck --rebuild' 'tmpnix init --new-index' \
	    "$S/index.db" "$3"; do
		ok "tmpnix-$1: $2: $way" grep -q -e "$way" "$W/new.log"
	done
	"$top_builddir/tmpnix-$1" -n -f "$CONF" >"$W/new.log" 2>&1
	is "tmpnix-$1 -n: $2" $? 1
	ok "tmpnix-$1 -n says it: $2" grep -q "index.db is new or empty" \
	    "$W/new.log"
}

path_make stored "$(seq 100)"
put "$key" "$nar"
is "a NAR" "$code" 201
settle
sqlite3 "$S/index.db" ".backup $W/old.db"
stored_nar=$nar stored_key=$key
site_stop
cp -R "$S/store" "$W/store"
rm -f "$S"/index.db*
refuses upload "no index" "$S/store/nar/"
refuses cache "no index" "$S/store/nar/"
rm -f "$S"/index.db*
: >"$S/index.db"
refuses upload "0 bytes" "$S/store/nar/"
ok "the store is as it was" diff -r "$S/store" "$W/store"

# An older index: unrelayed bodies.
rm -f "$S"/index.db*
cp "$W/old.db" "$S/index.db"
path_make unrelayed "$(seq 200)"
web_start
prog_start upload
prog_ready upload
sql "CREATE TRIGGER hold BEFORE UPDATE OF state ON asset
    WHEN NEW.state = 'relaying' BEGIN SELECT RAISE(IGNORE); END"
put "$key" "$nar"
is "a NAR that is not relayed" "$code" 201
prog_stop upload KILL
ok "is in the spool" in_spool "$nar"
sql 'PRAGMA wal_checkpoint(TRUNCATE)' >/dev/null
mv "$S/index.db" "$W/newer.db"
rm -f "$S"/index.db*

mv "$S/store" "$S/store.away"
refuses upload "no index beside a spool" "$S/spool/ready/"
rm -f "$S"/index.db*
rm -rf "$S/store"
mv "$S/store.away" "$S/store"
cp "$W/old.db" "$S/index.db"
prog_start upload
prog_ready upload
ok "an older index: the body is kept" in_spool "$nar"
ok "in lost/" grep -q "$S/spool/lost" "$W/log/upload.log"
is "and nothing else" "$(find "$S/spool/lost" -type f | wc -l)" 1
# The newer one put back asks for it: it is taken back, though the relay has
# found it missing meanwhile.
prog_stop upload
rm -f "$S"/index.db*
cp "$W/newer.db" "$S/index.db"
sql "DROP TRIGGER hold; UPDATE asset SET state = 'failed'
    WHERE state <> 'stored'"
cp -R "$S/spool/lost" "$W/lost"
prog_start upload
prog_ready upload
ok "the newer index: taken back" \
    grep -q '1 files that the index names are back' "$W/log/upload.log"
settle
ok "and stored" cmp -s "$nar" "$S/store/$key"
is "lost/ is empty" "$(find "$S/spool/lost" -type f | wc -l)" 0
# Of other bytes it is not.
prog_stop upload
rm -f "$S"/index.db* "$S/store/$key"
cp "$W/newer.db" "$S/index.db"
cp -R "$W/lost" "$S/spool/"
for f in "$S"/spool/lost/*; do
	printf x | dd of="$f" bs=1 seek=99 conv=notrunc 2>/dev/null
done
sql "DROP TRIGGER hold"
prog_start upload
prog_ready upload
ok "other bytes: said" grep -q 'lost/.* has other bytes' "$W/log/upload.log"
is "other bytes: stay in lost/" "$(find "$S/spool/lost" -type f | wc -l)" 1
# The old one again.
prog_stop upload
rm -f "$S"/index.db*
cp "$W/old.db" "$S/index.db"
prog_start upload
prog_ready upload
put "$key" "$nar"
is "pushed again it is taken" "$code" 201
settle
tmpnix status --local >"$W/status" 2>&1
ok "status names it" grep -q '^  lost  *1 files of ' "$W/status"

# Yes, begin anew.
site_stop
rm -f "$S"/index.db*
tmpnix init --new-index >"$W/init" 2>&1
is "tmpnix init --new-index" $? 0
tmpnix token add all --push --pull --drv >"$W/netrc" 2>/dev/null
SECRET=$(sed -n 's/.*password  *\([^ ]*\).*/\1/p' "$W/netrc")
ok "nothing is removed" test -f "$S/store/$stored_key"
"$top_builddir/tmpnix-upload" -n -f "$CONF" >/dev/null 2>&1
is "tmpnix-upload -n" $? 0

# While the programs run.
site_start
path_make before "$(seq 300)"
put "$key" "$nar"
is "a NAR before" "$code" 201
settle
# moved NAME: the programs have seen that their index is another.
moved() {
	path_make "after-$1" "$1 $(seq 400)"
	put "$key" "$nar"
	# (503 where the web server asked before the body.)
	ok "$1: no PUT is answered with success" \
	    test "$code" = 424 -o "$code" = 503
	ok "$1: in words" grep -q 'index was replaced' "$W/body"
	is "$1: reads" "$(status "$U/cache/$hash.narinfo")" 503
	is "$1: the page" "$(status "$U/cache/")" 503
	is "$1: tmpnix-drv" "$(status -u ":$SECRET" -X PUT -d '' \
	    "$U/drv/instantiate?file=p&attr=a")" 503
	ok "$1: the log says it" grep -q "$S/index.db, .* was replaced or removed" \
	    "$W/log/upload.log"
	is "$1: once" "$(grep -c 'was replaced or removed' \
	    "$W/log/upload.log")" 1
	tmpnix status >"$W/status" 2>&1
	is "$1: tmpnix status fails" $? 1
	ok "$1: and names it" \
	    grep -q -e 'index was replaced' -e "^tmpnix: .*index" \
	    "$W/status"
}
# healed NAME: put back, all is well after a restart.
healed() {
	site_stop
	: >"$W/log/upload.log"
	rm -f "$S"/index.db*
	cp "$W/good.db" "$S/index.db"
	site_start
	put "$key" "$nar"
	is "$1: after a restart" "$code" 201
	settle
}
for how in removed replaced 'without -wal' 'without -shm'; do
	sqlite3 "$S/index.db" ".backup $W/good.db"
	case $how in
	removed) rm "$S/index.db" ;;
	replaced)
		cp "$W/good.db" "$W/same.db"
		mv "$W/same.db" "$S/index.db"
		;;
	*) rm "$S/index.db${how#without }" ;;
	esac
	moved "$how"
	healed "$how"
done

# Threads too that had nothing to do before: none begins with a new index.
site_stop
site_start
rm -f "$S"/index.db*
late=
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
	status -u ":$SECRET" -T "$nar" "$U/cache/$key" >"$W/late.put.$i" &
	late="$late $!"
	status "$U/cache/$hash.narinfo" >"$W/late.get.$i" &
	late="$late $!"
done
# shellcheck disable=SC2086
wait $late
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
	case "$(cat "$W/late.put.$i") $(cat "$W/late.get.$i")" in
	424\ 503 | 503\ 503) ;;
	*) fail "of no index: $(cat "$W/late.put.$i" "$W/late.get.$i")" ;;
	esac
done
ok "and none was made" not test -e "$S/index.db"

e2e_end
