#!/bin/sh
# How much a token may push, and who pushed what.
# shellcheck disable=SC1091,SC2016,SC2154
. "$(dirname "$0")/lib.sh"

client=$W/nix
STORE=$client/store
site_make "$STORE"
site_start
client_make "$client"
cp "$W/netrc" "$W/all.netrc"
tmpnix token add total --push --quota-total 100K >"$W/total.netrc"
tmpnix token add daily --push --quota-day 64K >"$W/daily.netrc"
ok "the list shows quotas" sh -c "$top_builddir/tmpnix -f $CONF token list >$W/list
    grep -q 'in all 0 of 102400 bytes' $W/list &&
    grep -q 'today 0 of 65536 bytes' $W/list"
for q in 0 x 1Q -5; do
	ok "--quota-day $q is nothing" \
	    not tmpnix token add other --quota-day "$q"
done

# of_size NAME BYTES: a path of that many random bytes as $p.
of_size() {
	head -c "$2" /dev/urandom >"$W/$1"
	p=$(nx "$client" nix-store --add "$W/$1")
}
push() {
	nx "$client" nix copy --to "$U/cache?compression=none" "$p"
}
as() {
	cp "$W/$1.netrc" "$W/netrc"
}

as total
of_size one 50000
ok "under the quota" push
of_size two 60000
ok "over it" not push
ok "nix copy says so" \
    grep -q 'token total has pushed .* of its 102400 bytes' "$W/ok.out"
ok "the body was not taken" no_bodies
used=$(sql "SELECT used_total FROM token WHERE name = 'total'")
ok "what counts is what entered ($used)" \
    test "$used" -gt 50000 -a "$used" -lt 52000
# The same again is there already.
settle
name=$(sed -n 's/^URL: //p' "$S"/store/*.narinfo | head -n 1)
SECRET=$(sed -n 's/.*password  *\([^ ]*\).*/\1/p' "$W/total.netrc")
put "$name" "$S/store/$name"
is "the same again" "$code" 200
is "does not count" \
    "$(sql "SELECT used_total FROM token WHERE name = 'total'")" "$used"

as daily
of_size three 50000
ok "a day's quota" push
of_size four 50000
ok "is used up" not push
ok "nix copy says so" grep -q 'of its 65536 bytes a day' "$W/ok.out"
# Yesterday's does not count (the clock is not ours to turn).
sql "UPDATE token SET day = day - 1 WHERE name = 'daily'"
ok "until tomorrow" push
is "which has its own count" \
    "$(sql "SELECT used_day < 65536 AND used_total > 65536
    FROM token WHERE name = 'daily'")" 1

as all
of_size five 200000
ok "others have no limit" push

# Who ------------------------------------------------------------------------------
ok "tmpnix log" tmpnix log
h=${p##*/}
h=${h%%-*}
mv "$W/ok.out" "$W/audit"
ok "has a line for the last narinfo" grep -q \
    "^20..-..-..T..:..:..Z  all  127.0.0.1  [0-9]*  new  $h.narinfo\$" "$W/audit"
ok "what was there is in it" grep -q "  total  127.0.0.1  .*  same  $name\$" \
    "$W/audit"
requests_logged
is "as many as were taken" "$(tmpnix log -n 0 | wc -l)" \
    "$(grep -c '"PUT .*" 20[01] ' "$W/log/access.log")"
ok "of one token" sh -c "$top_builddir/tmpnix -f $CONF log --token total |
    grep -v '  total  ' | wc -l | grep -qx 0"
is "the last two" "$(tmpnix log -n 2 | wc -l)" 2
is "the last hour has them all" "$(tmpnix log -n 0 --since 1h | wc -l)" \
    "$(tmpnix log -n 0 | wc -l)"
ok "a wrong option" not tmpnix log --lines x
is "no secret is in the index" \
    "$(sqlite3 "$S/index.db" .dump | grep -c "$SECRET")" 0
settle

# Costs ----------------------------------------------------------------------------
# shellcheck source=tests/e2e/attack.sh
. "$top_srcdir/tests/e2e/attack.sh"
# cost KEY: of the token costly.
cost() {
	tmpnix token list --json | KEY=$1 perl -MJSON::PP -0 -ne '
	    print map { $_->{$ENV{KEY}} } grep { $_->{name} eq "costly" }
	    @{decode_json($_)}'
}
at_least() {
	[ "$(cost "$1" | sed 's/\..*//')" -ge "$2" ]
}
tmpnix token add costly --push >"$W/costly.netrc"
SECRET=$(sed -n 's/.*password  *\([^ ]*\).*/\1/p' "$W/costly.netrc")
is "it has cost nothing" "$(cost unpacked_bytes) $(cost cpu_seconds)" "0 0"
since=$(cost cost_since)
ok "since it was made" test "$since" -gt 0 -a "$since" = "$(cost created)"
bomb 2000 zeros large zstd -q -c
put "$(nar_key "$W/made/large" .zst)" "$W/made/large"
is "a NAR of 2 GB" "$code" 201
ok "it is shown while it is verified" until_true 20 at_least running 1
until_true 100 at_least unpacked_bytes 2097152000
ok "what it unpacked to" test "$(cost unpacked_bytes)" -ge 2097152000
ok "how long that took a processor" not test "$(cost cpu_seconds)" = 0
is "and nothing runs any more" "$(cost running) $(cost waiting)" "0 0"
head -c 3000000 /dev/zero | zstd -q -c >"$W/log.zst"
before=$(cost unpacked_bytes)
put "log/$(printf %032d 1)-x.drv" "$W/log.zst" -H 'Content-Encoding: zstd'
is "an encoded log" "$code" 201
prog_stop upload
is "counts when it was decoded" $(($(cost unpacked_bytes) - before)) 3000000
tmpnix token list >"$W/list"
ok "the list has it for people" grep -Eq \
    "^  cost since $(date -u -d "@$since" +%FT%TZ): 2.0 GiB unpacked, [0-9.]+ s" \
    "$W/list"
is "no other token has cost that" "$(grep -c ' GiB unpacked' "$W/list")" 1
prog_start upload
prog_ready upload

# What was running when a program was killed does not run for ever.
bomb 2001 zeros larger zstd -q -c
put "$(nar_key "$W/made/larger" .zst)" "$W/made/larger"
until_true 20 at_least running 1 || fail "it is verified"
prog_stop upload KILL
is "nothing of the dead is shown" "$(cost running) $(cost waiting)" "0 0"
ok "their file is there" sh -c "ls $S/spool/jobs.*"
prog_start upload
prog_ready upload
ok "until the next start" not sh -c "ls $S/spool/jobs.*"

e2e_end
