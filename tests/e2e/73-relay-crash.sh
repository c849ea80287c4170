#!/bin/sh
# kill -9 of tmpnix-upload at 50 random moments of a push and its relay: in the
# end everything that was acknowledged is stored, once, and nothing is left.
# shellcheck disable=SC1091,SC2015,SC2046,SC2154
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/store.sh"

KILLS=50
STORE=/nix/store
rgw_start
standin_start
site_make $STORE stream
conf_s3
conf_set s3_public_url "http://127.0.0.1:$public_port"
bucket_public
site_start

# 150 paths, each with a reference to the one before.
last=
for i in $(seq 150); do
	path_make "crash-$i" "$i $(head -c $((i * 300)) /dev/urandom | base64)" \
	    "$last"
	last=$hash-crash-$i
	echo "$key $nar $hash.narinfo $info"
done >"$W/all"

# Sends them over and over until each was acknowledged, in order: a NAR, then
# its narinfo.
push() {
	while read -r k f ik i; do
		for try in "$k $f" "$ik $i"; do
			until case $(status -u ":$SECRET" -T "${try#* }" \
			    "$U/cache/${try%% *}") in 20?) true ;; *) false ;; esac
			do
				[ ! -e "$W/stop" ] || return
			done
			echo "${try%% *}" >>"$W/acknowledged"
		done
	done <"$W/all"
	touch "$W/pushed"
}
: >"$W/acknowledged"
push &
push_pid=$!
other_pids="$other_pids $push_pid"

# A moment: so many more requests of any kind, then some more time.
count() {
	wc -l <"$W/standin/requests"
}
kills=0
while [ $kills -lt $KILLS ]; do
	at=$(($(count) + $(od -An -N1 -tu1 /dev/urandom) % 12))
	reached() {
		[ "$(count)" -ge "$at" ] || [ -e "$W/pushed" ]
	}
	# Or nothing happens any more, because all is done: then it is idle.
	until_true 3 reached
	perl -e 'select undef, undef, undef, rand 0.08'
	prog_stop upload KILL
	kills=$((kills + 1))
	# What was acknowledged is there without it.
	if [ $((kills % 10)) = 0 ]; then
		tail -n 20 "$W/acknowledged" | while read -r k; do
			[ "$(status -L "$U/cache/$k")" = 200 ] || echo "$k"
		done >"$W/lost"
		is "after $kills kills the last acknowledged are readable" \
		    "$(cat "$W/lost")" ''
		sql 'PRAGMA quick_check' | grep -qx ok || fail "the index"
	fi
	prog_start upload
done
prog_ready upload
until_true 120 test -e "$W/pushed" || fail "everything gets acknowledged"
touch "$W/stop"
wait "$push_pid"
is "killed so many times" "$kills" $KILLS
is "acknowledged: 150 NARs, 150 narinfos" \
    "$(sort -u "$W/acknowledged" | wc -l)" 300
relay_wait 180
is "everything is stored" "$(sql "SELECT count(*) FROM asset
    WHERE state = 'stored'")" 301
is "once" "$(sql 'SELECT count(DISTINCT key) FROM asset')" 301
bucket_keys | sort >"$W/in-bucket"
sql "SELECT key FROM asset" | sort >"$W/in-index"
ok "the bucket has them, and nothing else" cmp "$W/in-bucket" "$W/in-index"
while read -r k f ik i; do
	curl -q -s -L "$U/cache/$k" | cmp -s - "$f" || echo "$k"
	[ "$(status -L "$U/cache/$ik")" = 200 ] || echo "$ik"
done <"$W/all" >"$W/lost"
is "every object reads back" "$(cat "$W/lost")" ''
is "no claim is left" "$(sql "SELECT count(*) FROM asset
    WHERE owner IS NOT NULL OR spool IS NOT NULL")" 0
is "no lock of the dead is left" "$(find "$S/spool" -name '*.lock' | wc -l)" 1
# What was let go lies there for ten seconds, for readers that were told of it.
clean() {
	[ -z "$(find "$S/spool/incoming" "$S/spool/ready" -type f)" ]
}
ok "the spool is clean" until_true 20 clean
is "the index is whole" "$(sql 'PRAGMA integrity_check')" ok

# Two processes share the index and the spool: each object goes once.
"$top_builddir/tmpnix-upload" -d -f "$CONF" -s "$W/run/second.sock" \
    >>"$W/log/second.log" 2>&1 </dev/null &
second_pid=$!
other_pids="$other_pids $second_pid"
until_true 20 grep -q 'taking pushes' "$W/log/second.log" ||
    stop "the second tmpnix-upload"
: >"$W/standin/requests"
for i in $(seq 60); do
	path_make "two-$i" "$i, two of them"
	put "$key" "$nar"
	put "$hash.narinfo" "$info"
done
relay_wait
is "two processes: one upload an object" "$(requests '^upload PUT')" 120
# One dies with what it has claimed; the next start gives that back.
faults "upload* stall"
for i in $(seq 20); do
	path_make "orphan-$i" "$i, orphaned"
	put "$key" "$nar"
done
claims() {
	[ "$(sql "SELECT count(DISTINCT owner) FROM asset
	    WHERE state = 'relaying'")" = 2 ]
}
ok "both have claims" until_true 20 claims
kill -9 "$second_pid"
wait "$second_pid" 2>/dev/null
prog_stop upload KILL
faults
prog_start upload
prog_ready upload
relay_wait

# What was taken, but not verified before a crash, is verified before it leaves.
conf_set verify file
prog_stop upload
prog_start upload
prog_ready upload
faults "upload* stall"
path_make late-1 "verified late"
put "$key" "$nar"
is "a NAR that is not verified is taken" "$code" 201
prog_stop upload KILL
faults
conf_set verify nar
prog_start upload
prog_ready upload
relay_wait
is "it goes to the store" "$(state "$key")" stored
put "$hash.narinfo" "$info"
is "its narinfo still finds it verified" "$code" 201
relay_wait
ok "no secret is in a log" no_secrets

e2e_end
