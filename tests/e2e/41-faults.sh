#!/bin/sh
# Calls of the system that fail: disks that are full, broken, or short of
# descriptors.  What was acknowledged is not lost, the client is told so that it
# does not send an empty body again, and all heals without a restart.  And: what
# is acknowledged was synced before, in the right order.
# shellcheck disable=SC1091,SC2015,SC2016,SC2034,SC2154
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/shim.sh"

# All in the store; files that were let go may still be in the spool.
settle() {
	all_stored() {
		[ "$(sql "SELECT count(*) FROM asset
		    WHERE state <> 'stored'")" = 0 ]
	}
	tmpnix retry >/dev/null
	until_true 40 all_stored || {
		fail "everything gets stored"
		sql "SELECT key, state, last_error FROM asset
		    WHERE state <> 'stored'"
	}
}

STORE=/nix/store
site_make $STORE stream
web_start
prog_start cache
shim_start upload
prog_ready cache
prog_ready upload

# The order -------------------------------------------------------------------
# line PATTERN: of the first such call.
line() {
	sed -n "\|$1|{=;q}" "$W/shim/order"
}
# in_order NAME PATTERN...: these calls came back one after the other.
in_order() {
	in_order_name=$1 in_order_at=0
	shift
	for call in "$@"; do
		in_order_n=$(line "$call")
		[ "${in_order_n:-0}" -gt "$in_order_at" ] || {
			fail "$in_order_name: $call is not after what it needs"
			cat "$W/shim/order"
			return
		}
		in_order_at=$in_order_n
	done
	pass "$in_order_name"
}
settle
# The relay does nothing meanwhile.
path_make order "$(seq 3000)"
rules 'rename EIO * */store/*'
: >"$W/shim/log"
put "$key" "$nar"
is "a NAR" "$code" 201
# The answer: the first bytes that go to the web server after the row's.  (What
# was sent before belongs to its question whether this is allowed.)  The shim
# writes a call down when it is over: curl may be first.
answered() {
	sed '/^write .*\/index.db-wal/,$ s/^write socket:.*/answer/' \
	    "$W/shim/log" >"$W/shim/order"
	grep -q '^answer' "$W/shim/order"
}
until_true 20 answered || fail "the answer is in the shim's log"
in_order "body, its name, and its row are synced before the answer" \
    '^rename .*/spool/ready/' '^fsync .*/spool/ready/' \
    '^fsync .*/spool/ready$' '^fdatasync .*/index.db-wal' '^answer'
in_order "the row is written when the body is on disk" \
    '^fsync .*/spool/ready/' '^write .*/index.db-wal'
rules
settle
# The relay: the store is synced before the row says so.
cp "$W/shim/log" "$W/shim/order"
in_order "the store is synced after the rename" \
    "^rename .*/store/$key" '^syncfs .*/store$'
# A second one, alone: the row's change comes after its syncfs.
path_make order-2 "$(seq 4000)"
: >"$W/shim/log"
put "$key" "$nar"
settle
awk '/^syncfs/ { s = NR } /^fdatasync .*-wal/ { w = NR }
    END { exit !(s && w > s) }' "$W/shim/log" &&
    pass "the row says stored after the syncfs" ||
    fail "no syncfs before the last commit"

# The name of an instance's lock, which tells the next start whose claims are
# nobody's, is on disk before the first claim.
: >"$W/shim/log"
prog_stop upload
shim_start upload
prog_ready upload
awk '/^creat .*[/]spool[/][0-9a-f]+[.]lock$/ { named = 1; good = 0 }
    named && $1 == "fsync" && $2 ~ /[/]spool$/ { good = 1 }
    /^write .*[/]index[.]db-wal/ && named && !good { early = 1 }
    END { exit !(good && !early) }' "$W/shim/log" &&
    pass "an instance's lock is synced before anything is written" ||
    fail "an instance's lock is not synced"

# A key and a configuration are on disk under their names.
: >"$W/shim/log"
ok "tmpnix init" shimmed "$top_builddir/tmpnix" -f "$W/new.conf" init \
    -d "$W/new-state" -S $STORE -u "$U"
# synced FILE: its bytes before it got its name, the directory afterwards.
synced() {
	awk -v f="$1" -v dir="${1%/*}" '
	    /^creat .*[.]new/ { bytes = 0 }
	    /^fsync .*[.]new/ { bytes = 1 }
	    $1 == "link" && $2 == f { good = bytes; named = 1 }
	    named && $1 == "fsync" && $2 == dir { done = 1 }
	    END { exit !(good && done) }' "$W/shim/log"
}
for f in new-state/keys/cache.sec new-state/keys/drv.sec new.conf; do
	ok "$f is synced, and its directory" synced "$W/$f"
done

# Each error at each call -------------------------------------------------------
n=0
# failing ERRNO CALL PATH STATUS...: a PUT meets this; the answer is one of
# these, and afterwards all is well.
failing() {
	failing_name="$1 of $2 $3"
	n=$((n + 1))
	path_make "fault-$n" "$n $(seq 2000)"
	rules "$2 $1 * $3"
	put "$key" "$nar"
	got=$code
	curl -q -s -f "$U/cache/$before" | cmp -s - "$before_nar" ||
	    fail "$failing_name: another object is not served"
	shift 3
	case " $* " in
	*" $got "*) pass "$failing_name: $got" ;;
	*) fail "$failing_name: $got, not $*" ;;
	esac
	# What was acknowledged in spite of it is there.
	case $got in
	20?) curl -q -s -f "$U/cache/$key" | cmp -s - "$nar" ||
		fail "$failing_name: acknowledged and not served" ;;
	esac
	rules
	put "$key" "$nar"
	case $code in
	200 | 201) ;;
	*) fail "$failing_name: it does not heal: $code" ;;
	esac
	echo "$key $nar" >>"$W/all"
	put "$hash.narinfo" "$info"
	is "$failing_name: then its narinfo" "$code" 201
}
before=$key before_nar=$nar
for e in ENOSPC EDQUOT; do
	for call in creat write rename fsync; do
		failing $e $call '*/spool/*' 507
	done
done
for e in EIO EMFILE; do
	failing $e creat '*/spool/*' 424
done
failing EROFS rename '*/spool/*' 424
failing EIO write '*/spool/*' 424
failing EIO fsync '*/spool/ready/*' 424
failing EIO fsync '*/spool/ready' 424
failing EIO fdatasync '*/index.db-wal' 424
failing EIO write '*/index.db-wal' 424
failing ENOSPC write '*/index.db-wal' 424 507
# The client does not see the store's trouble.
for call in link syncfs rename; do
	failing ENOSPC $call '*/store*' 201
	failing EIO $call '*/store*' 201
done
# No descriptor, no memory, a bad read for the relay: not for good.
failing EMFILE open '*/spool/ready/*' 201
failing EIO read '*/spool/ready/*' 201 424
failing EIO mkdir '*/store*' 201
tmpnix retry >/dev/null
settle
lost=$(while read -r k f; do
	cmp -s "$f" "$S/store/$k" || echo "$k"
done <"$W/all")
is "all of it is stored, byte for byte" "$lost" ''
is "nothing has failed for good" "$(sql "SELECT count(*) FROM asset
    WHERE state = 'failed'")" 0

# One failing read while a NAR is verified is no verdict.
for i in 1 2 3 4 5 6; do
	path_make "verify-$i" "$i $(seq 3000)"
	xz -k "$nar"
	k=$(nar_key "$nar.xz" .xz)
	rules "read EIO $i */spool/ready/*"
	put "$k" "$nar.xz"
	got=$code
	sed -i -e "s|^URL: .*|URL: $k|" -e 's|^Compression: .*|Compression: xz|' \
	    -e '/^File/d' "$info"
	put "$hash.narinfo" "$info" -o /dev/null
	rules
	[ "$got" = 201 ] || put "$k" "$nar.xz"
	put "$hash.narinfo" "$info"
	case $code in
	200 | 201) pass "read $i fails while it is verified: it is no verdict" ;;
	*) fail "read $i fails while it is verified: $code $(cat "$W/body")" ;;
	esac
done
settle

# A commit that fails may be found done: its bytes must be there.
for i in 1 2 3 4 5 6; do
	path_make "commit-$i" "$i $(seq 2000)"
	rules 'fdatasync EIO * */index.db-wal' 'rename EIO * */store/*'
	put "$key" "$nar"
	is "COMMIT fails: PUT $i" "$code" 424
	prog_stop upload KILL
	rules
	sql "SELECT spool, size FROM asset WHERE spool IS NOT NULL" \
	    >"$W/rows"
	while IFS='|' read -r f size; do
		[ "$(stat -c %s "$S/spool/ready/$f" 2>/dev/null)" = "$size" ] ||
		    fail "a row names $f, which is not there"
	done <"$W/rows"
	shim_start upload
	prog_ready upload
	put "$key" "$nar"
	case $code in
	200 | 201) ;;
	*) fail "sent again: $code" ;;
	esac
	curl -q -s -f "$U/cache/$key" | cmp -s - "$nar" ||
	    fail "sent again: not served"
done
settle
is "the index is whole" "$(sql 'PRAGMA integrity_check')" ok

# Memory: each n-th allocation of a PUT fails once; nobody dies of ours.
ended_or_answers() {
	not kill -0 "$upload_pid" || prog_answers upload
}
died=0
for i in 3 9 17 29 41 61 83; do
	path_make "memory-$i" "$i $(seq 500)"
	rules "malloc ENOMEM $i *"
	put "$key" "$nar"
	rules
	case $code in
	20?) curl -q -s -f "$U/cache/$key" | cmp -s - "$nar" ||
		fail "allocation $i: acknowledged and not served" ;;
	esac
	# libfcgi ends a program whose memory it does not get.  The web server
	# notices this before the shell does.
	case $code in
	20?) ;;
	*) until_true 40 ended_or_answers ;;
	esac
	if not kill -0 "$upload_pid" 2>/dev/null; then
		died=$((died + 1))
		wait "$upload_pid" 2>/dev/null
		shim_start upload
		prog_ready upload
	fi
	put "$key" "$nar"
	case $code in
	20?) ;;
	*) fail "allocation $i: sent again: $code" ;;
	esac
done
pass "allocations fail: nothing is lost ($died times libfcgi's abort)"
settle

# (What was not known to have been taken is in the spool until a start.)
find "$S/spool/ready" -type f | sort >"$W/before"
# A narinfo is what it was answered to be, also while the store fails.
path_make merged "$(seq 600)"
put "$key" "$nar"
put "$hash.narinfo" "$info"
settle
openssl genpkey -algorithm ed25519 -out "$W/key.pem" || stop "openssl"
conf_set trusted_public_keys "more-1:$(openssl pkey -in "$W/key.pem" \
    -pubout -outform DER | tail -c 32 | base64 -w 0)"
kill -HUP "$upload_pid"
until_true 20 grep -q 'configuration reloaded' "$W/log/upload.log"
printf '1;%s/%s-merged;sha256:%s;%s;' "$STORE" "$hash" "$nar_hash" \
    "$nar_size" >"$W/fingerprint"
sig="Sig: more-1:$(openssl pkeyutl -sign -inkey "$W/key.pem" -rawin \
    -in "$W/fingerprint" | base64 -w 0)"
echo "$sig" >>"$info"
rules 'rename EIO * */store/*'
put "$hash.narinfo" "$info"
is "a signature more" "$code" 200
curl -q -s -f "$U/cache/$hash.narinfo" >"$W/merged"
ok "is seen at once" grep -qxF "$sig" "$W/merged"
ok "from the index alone" not test -e "$S/store/$hash.narinfo"
rules
settle
ok "which comes again" grep -qxF "$sig" "$S/store/$hash.narinfo"

# The clock is set back: by an hour, then by more than a year.
waits() {
	[ "$(sql "SELECT attempts > 0 AND state = 'spooled' FROM asset
	    WHERE key = '$key'")" = 1 ]
}
is_stored() {
	[ "$(sql "SELECT state FROM asset WHERE key = '$key'")" = stored ]
}
emptied() {
	[ -z "$(find "$S/spool/ready" -type f | sort |
	    comm -13 "$W/before" -)" ]
}
for back in 3600 40000000; do
	path_make "retired-$back" "$back $(seq 500)"
	put "$key" "$nar"
	until_true 20 is_stored || fail "clock: is stored"
	path_make "clock-$back" "$back $(seq 600)"
	rules 'rename EIO * */store/*'
	put "$key" "$nar"
	until_true 20 waits || fail "clock: waits for its next attempt"
	rules "clock BACK $back *"
	ok "clock back by $back: what waited is stored" \
	    until_true 30 is_stored
	ok "clock back by $back: what is done leaves the spool" \
	    until_true 30 emptied
	path_make "after-$back" "$back $(seq 700)"
	put "$key" "$nar"
	is "clock back by $back: pushes are taken" "$code" 201
	ok "clock back by $back: and stored" until_true 30 is_stored
done
rules
settle

# Of a read each n-th allocation fails: nobody hears that it is not here.
prog_stop cache
shim_start cache
prog_ready cache
cache_ended_or_answers() {
	not kill -0 "$cache_pid" || prog_answers cache
}
for i in $(seq 1 24); do
	rules "malloc ENOMEM $i *"
	got=$(status "$U/cache/$before")
	rules
	case $got in
	4??) fail "a read, allocation $i: $got" ;;
	esac
	[ "$got" = 200 ] || until_true 40 cache_ended_or_answers
	if not kill -0 "$cache_pid" 2>/dev/null; then
		wait "$cache_pid" 2>/dev/null
		shim_start cache
		prog_ready cache
	fi
done
pass "allocations of a read fail: it is not called missing"

# An index is for the stores that it was made for.
prog_stop upload
conf_set store_dir /gnu/store
timeout 20 "$top_builddir/tmpnix-upload" -d -f "$CONF" -s "$W/run/other.sock" \
    >"$W/pinned" 2>&1 </dev/null
is "another store_dir over a used index: exit" $? 1
ok "and it says why" grep -q "$STORE" "$W/pinned"
conf_set store_dir $STORE

e2e_end
