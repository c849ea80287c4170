#!/bin/sh
# tmpnix status: is all well, and if not, what should a person look at?
# shellcheck disable=SC1091,SC2016,SC2034,SC2154
. "$(dirname "$0")/lib.sh"

STORE=/nix/store
site_make $STORE
site_start
path_make hello hello
put "$key" "$nar"
put "$hash.narinfo" "$info"
settle

# looks NAME PATTERN: status exits 1, and says this, in JSON too.
looks() {
	tmpnix status >"$W/status" 2>"$W/status.err"
	is "$1: exit status" $? 1
	ok "$1: $2" sh -c 'sed -n "/^a person should look/,\$p" "$1" |
	    grep -q -e "$2"' - "$W/status" "$2" || cat "$W/status"
	tmpnix status --json >"$W/json" 2>/dev/null
	is "$1: exit status with --json" $? 1
	is "$1: in JSON" "$(WHAT=$2 perl -MJSON::PP -0 -ne '
	    print scalar grep { /$ENV{WHAT}/ } @{decode_json($_)->{problems}}' \
	    <"$W/json")" 1
}

ok "all is well" tmpnix status
cp "$W/ok.out" "$W/status"
for p in cache upload drv; do
	ok "tmpnix-$p answers" grep -q "^  tmpnix-$p *answers$" "$W/status"
done
ok "the asset store too" grep -q '^  asset store *file, answers$' "$W/status"
ok "nothing to look at" not grep -q 'a person should look' "$W/status"
ok "well in JSON" sh -c '"$1" -f "$2" status --json >"$3"' - \
    "$top_builddir/tmpnix" "$CONF" "$W/json"
is "no problem in it" "$(perl -MJSON::PP -0 -ne '
    $j = decode_json($_); print scalar @{$j->{problems}},
    $j->{site}{"tmpnix-cache"}{ok} ? " ok" : " bad"' <"$W/json")" '0 ok'

# Programs and the web server ----------------------------------------------------------
for p in cache upload; do
	prog_stop $p
	looks "tmpnix-$p is stopped" "tmpnix-$p: does not answer: the web server says 50"
	ok "--local does not ask" tmpnix status --local
	prog_start $p
	prog_ready $p
done
prog_stop drv
ok "nobody needs tmpnix-drv without a file to instantiate" tmpnix status
echo "file.x = $W/x" >>"$CONF"
looks "tmpnix-drv is stopped" 'tmpnix-drv: does not answer'
sed -i '/^file/d' "$CONF"
prog_start drv
prog_ready drv
web_stop
looks "the web server is stopped" 'tmpnix-cache: .*onnect'
web_start
conf_set store_dir /other/store
looks "another cache answers" 'is another cache: its StoreDir is not /other/store'
conf_set store_dir $STORE
conf_set public_reads no
looks "a private cache that is not" 'reads without a token are answered'
looks "which the programs are to make it" 'asset store: can.t be used'
conf_set public_reads yes
ok "to ask moves nothing" test -f "$S/store/$hash.narinfo"
ok "all is well again" tmpnix status

# What waits and what is full -------------------------------------------------------------
prog_stop upload
sql "UPDATE asset SET state = 'spooled', created = created - 1200
    WHERE key = '$key'"
looks "something waits" 'main: 1 objects wait to be stored, one for 20 min'
sql "UPDATE asset SET state = 'stored' WHERE key = '$key'"
prog_start upload
prog_ready upload
conf_set spool_min_free 1000T
looks "the disk is full" 'less than spool_min_free'
conf_set spool_min_free 0

# The index is lost -------------------------------------------------------------------------
site_stop
mkdir "$W/kept"
mv "$S"/index.db* "$W/kept"
ok "no index" not tmpnix status
ok "is said" grep -q 'index.db: no such file: run tmpnix init' "$W/ok.out"
ok "tmpnix init makes one" tmpnix init
ok "and says what that means" grep -q 'put the index back.*fsck --rebuild.*init --new-index' "$W/ok.out"
tmpnix status --local >"$W/status"
is "an empty index over a full store: exit status" $? 1
ok "which is said" grep -q "the index has no path, but $S/store has some" \
    "$W/status"
rm "$S"/index.db*
mv "$W"/kept/index.db* "$S"
site_start
ok "put back, all is well" tmpnix status

e2e_end
