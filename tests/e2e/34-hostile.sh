#!/bin/sh
# Hostile pushers, each beside an innocent `nix copy`, which ends without an
# error.  How long it takes is a matter for tests/bench/hostile.sh.
# shellcheck disable=SC1091,SC2154
. "$(dirname "$0")/lib.sh"
. "$top_srcdir/tests/e2e/attack.sh"

STORE=$W/innocent-nix/store
site_make "$STORE"
site_start
innocent_make "$W/innocent-nix"

# beside NAME COMMAND...: the innocent push while that goes on.
beside() {
	beside_name=$1
	shift
	attack "$@"
	ok "nix copy beside $beside_name" innocent_push "$beside_name"
	attack_end
}
ok "nix copy by itself" innocent_push quiet

# Narinfos that reference each other --------------------------------------------
for how in ring clique chain backward; do
	n=200
	narinfos $n $how
	beside $how narinfos_send $how
	is "all of the $how got in" "$(grep -c '^201' "$W/$how.codes")" $n
	settle
done
ok "nobody waited for a lock in vain" nothing_locked

# Bombs: base 32 ---------------------------------------------------------------
# bomb_put FILE EXT
bomb_put() {
	status -w '%{http_code}\n' -u ":$SECRET" -T "$1" \
	    "$U/cache/$(nar_key "$1" "$2")"
}
# shellcheck disable=SC2317
bombs_put() {
	for bombs_f in "$W"/made/bomb-*; do
		bomb_put "$bombs_f" ".${bombs_f##*.}" &
	done
	wait
}
cycle=$(perl -e 'srand 1; @c = split //, "0123456789abcdfghijklmnpqrsvwxyz";
    print join "", map { $c[rand 32] } 1..8000')
bombs() {
	rm -f "$W"/made/bomb-*
	for bombs_c in 'xz xz' 'zstd zst' 'brotli br'; do
		for bombs_i in 1 2; do
			bomb $((60 + bombs_i)) zeros \
			    "bomb-$bombs_i-z.${bombs_c#* }" "${bombs_c% *}" -c
			bomb $((60 + bombs_i)) 0 \
			    "bomb-$bombs_i-0.${bombs_c#* }" "${bombs_c% *}" -c
			bomb $((60 + bombs_i)) "$1$cycle" \
			    "bomb-$bombs_i-c.${bombs_c#* }" "${bombs_c% *}" -c
		done
	done
}
bombs 1
beside bombs bombs_put
upload_restart check_references yes
bombs 2
beside "bombs, references looked for" bombs_put
ok "nobody waited for a lock in vain" nothing_locked
is "all of the bombs were taken" "$(grep -c '^20[01]$' "$W/attack.out")" 36

# Base 32 that never repeats where a table would see it: 63 kB that took one
# request's thread for hours.
perl -e 'srand 2; @c = split //, "0123456789abcdfghijklmnpqrsvwxyz";
    print map { $c[rand 32] } 1 .. 100000' >"$W/made/random"
bomb 2 "$(cat "$W/made/random")" random brotli -c
random_key=$(nar_key "$W/made/random" .br)
ok "63 kB that are 2 MB ($(wc -c <"$W/made/random") bytes)" \
    test "$(wc -c <"$W/made/random")" -lt 80000
beside "random text, references looked for" bomb_put "$W/made/random" .br
verified() {
	[ "$(sql "SELECT verdict FROM nar WHERE key = '$1'")" = 0 ]
}
ok "it was looked through" until_true 60 verified "$random_key"
upload_restart check_references no

# Clients that hang up while their narinfos wait, and such as don't ---------------
tmpnix token add slow --push >"$W/slow.netrc"
slow=$(sed -n 's/.*password  *\([^ ]*\).*/\1/p' "$W/slow.netrc")
slow_jobs() {
	tmpnix token list --json | perl -MJSON::PP -0 -ne '
	    print map { $_->{running} } grep { $_->{name} eq "slow" }
	    @{decode_json($_)}'
}
slow_runs() {
	[ "$(slow_jobs)" -ge 1 ]
}
# slow_send SECONDS: 40 narinfos at once, each with so long to be answered.
# shellcheck disable=SC2317
slow_send() {
	for slow_i in $(seq 40); do
		slow_f=$W/made/slow-$((slow_i % 3))
		slow_h=ffff$(printf %028d "$slow_i")
		narinfo_claimed "$slow_h" "$(nar_key "$slow_f" .zst)" \
		    "$slow_f" >"$W/made/$slow_h"
		curl -q -s -m "$1" -o /dev/null -w '%{http_code}\n' \
		    -u ":$slow" -T "$W/made/$slow_h" \
		    "$U/cache/$slow_h.narinfo" &
	done
	wait
}
# slow_nars: three that take long to be verified, sent.
slow_nars() {
	for slow_i in 0 1 2; do
		is "NAR $slow_i of zeros" "$(status -u ":$slow" \
		    -T "$W/made/slow-$slow_i" \
		    "$U/cache/$(nar_key "$W/made/slow-$slow_i" .zst)")" 201
	done
	until_true 20 slow_runs || fail "they are verified"
}
for i in 0 1 2; do
	zeros_make 15 slow-$i
done
upload_restart threads 16
slow_nars
(slow_send 1) >/dev/null
ok "nix copy after 40 clients hung up" innocent_push hang-up
ok "it ended before what they waited for" slow_runs
# (lighttpd does not tell of a client that sent all and went.)
[ "$WEB" != nginx ] || ok "their threads were freed" \
    grep -q 'its client went away while' "$W/log/upload.log"
prog_stop upload
sql "DELETE FROM nar WHERE key LIKE '%.zst'"
prog_start upload
prog_ready upload
for i in 3 4 5; do
	zeros_make 15 slow-$i
	mv "$W/made/slow-$i" "$W/made/slow-$((i - 3))"
done
slow_nars
attack slow_send 100
ok "nix copy beside 40 who wait" innocent_push wait
ok "it ended before what they wait for" slow_runs
ok "they were told that too many wait" grep -q '^424$' "$W/attack.out"
prog_stop upload
attack_end
conf_set threads 32

# 20,000 narinfos that wait for one that the store did not take -------------------
settled_but() {
	[ "$(sql "SELECT count(*) FROM asset WHERE state <> 'stored'
	    AND key NOT LIKE 'gggg%'")" = 0 ]
}
nar=$(sql "SELECT key FROM asset WHERE key LIKE 'nar/%.nar' LIMIT 1")
sql "BEGIN;
CREATE TEMP TABLE n AS WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL
    SELECT i + 1 FROM n WHERE i < 20000)
    SELECT i, printf('gggg%028d', i) AS h,
    printf('gggg%028d', CASE i WHEN 0 THEN 20000 ELSE i - 1 END) AS r FROM n;
INSERT INTO asset (cache, key, hash_part, size, sha256, content_type, state,
    created) SELECT 'main', h || '.narinfo', h, 1, zeroblob(32), 'x',
    CASE i WHEN 0 THEN 'failed' ELSE 'spooled' END, 1 FROM n;
INSERT INTO path (cache, hash_part, store_path, narinfo, nar_key, nar_hash,
    nar_size, file_size, created)
    SELECT 'main', h, h, 'x', '$nar', zeroblob(32), 1, 1, 1 FROM n;
INSERT INTO reference (cache, hash_part, ref) SELECT 'main', h, r FROM n
    WHERE i > 0;
COMMIT"
prog_start upload
prog_ready upload
ok "nix copy beside 20,000 narinfos that wait" innocent_push many
ok "its paths get into the store" until_true 60 settled_but
is "theirs do not" "$(sql "SELECT count(*) FROM asset
    WHERE state = 'spooled' AND key LIKE 'gggg%'")" 20000
tmpnix status --local >"$W/status" 2>&1
ok "tmpnix status shows them" grep -q 2000 "$W/status"
ok "nobody waited for a lock in vain" nothing_locked

e2e_end
