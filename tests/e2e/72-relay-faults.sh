#!/bin/sh
# Asset stores that fail in every way: nothing acknowledged is lost, nothing is
# called stored that is not, and somebody says why.
# shellcheck disable=SC1091,SC2015,SC2016,SC2154
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/store.sh"

STORE=/nix/store
rgw_start
standin_start
site_make $STORE
conf_set relay_timeout 3s
site_start

restart_upload() {
	prog_stop upload
	prog_start upload
	prog_ready upload
}
failed_so() {
	sql "SELECT last_error FROM asset WHERE key = '$1'" | grep -q "$2"
}
tried() {
	[ "$(sql "SELECT attempts FROM asset WHERE key = '$1'")" -ge 1 ] &&
	    ! state_is "$1" relaying
}
# fault NAME PATTERN LINE...: an object whose relay meets this fault once, is
# tried again and gets there; its error matches PATTERN in between.
# (libcurl by itself sends again what met the end of a kept connection: resets
# are for all requests, by a "*", until they are taken back.)
n=0
fault() {
	fault_name=$1 fault_why=$2
	shift 2
	n=$((n + 1))
	path_make "fault-$n" "$n $fault_name $(head -c 20000 /dev/urandom | base64)"
	faults "$@"
	put "$key" "$nar"
	is "$fault_name: the PUT is taken" "$code" 201
	ok "it fails, saying $fault_why" \
	    until_true 20 failed_so "$key" "$fault_why" ||
	    last_error "$key"
	is "it is not called stored" "$(sql "SELECT count(*) FROM asset
	    WHERE key = '$key' AND state IN ('spooled', 'relaying')")" 1
	curl -q -s -L "$U/cache/$key" >"$W/back"
	ok "and is served meanwhile" cmp "$W/back" "$nar"
	# Not to wait for the delay that it was given.
	faults
	tmpnix retry >/dev/null
	ok "it is tried again" until_true 40 state_is "$key" stored ||
	    last_error "$key"
	curl -q -s -L "$U/cache/$key" >"$W/back"
	ok "and is what it was" cmp "$W/back" "$nar"
}

for store in glitch s3; do
	echo "--- $store"
	prog_stop upload
	sql "DELETE FROM asset WHERE key = 'nix-cache-info'"
	case $store in
	glitch) conf_glitch && read=cdn what=glitch ;;
	s3) conf_s3 && read=s3 what=s3 ;;
	esac
	conf_set relay_timeout 3s
	for p in upload cache; do
		prog_stop $p
		prog_start $p
		prog_ready $p
	done
	relay_wait
	fault "500" "$what: upload: status 500" "upload status 500"
	fault "503" "$what: upload: status 503" "upload status 503"
	fault "408" "$what: upload: status 408" "upload status 408"
	fault "reset before the body" . "upload* reset-before"
	fault "reset in the body" . "upload* reset-during"
	fault "reset after the body" . "upload* reset-after"
	fault "a link that slow" "too slow" "upload trickle 500"
	fault "no answer" "too slow" "upload stall"
	fault "2xx, nothing stored" "read back: status 40[34]" "upload lie"
	fault "2xx, half of it stored" "read back: .* bytes instead of" \
	    "upload truncate"
	fault "read back: 500" "read back: status 500" "$read status 500"
	fault "read back: reset" . "$read* reset-before"
	fault "read back: a byte too many" "read back: .* instead of" \
	    "$read size"

	# Retry-After: 3 s for everybody, of either kind.
	for status in 429 503; do
		path_make "later-$status-$store" "$status $store"
		faults "upload status $status,3"
		put "$key" "$nar"
		ok "$status: it waits" until_true 20 tried "$key"
		at=$(date +%s)
		first=$key
		before=$(requests '^upload ')
		path_make "company-$status-$store" "$status too $store"
		put "$key" "$nar"
		ok "as long as Retry-After says" \
		    until_true 20 state_is "$key" stored
		took=$(($(date +%s) - at))
		ok "so does the rest" test "$took" -ge 2 -a "$took" -le 12
		ok "then it goes on" until_true 20 state_is "$first" stored
		is "one upload each" "$(($(requests '^upload ') - before))" 2
	done

	# Refused for good.
	path_make "refused-$store" "refused $store"
	faults "upload status 400"
	put "$key" "$nar"
	ok "400: it fails for good" until_true 20 state_is "$key" failed
	ok "in the store's words" failed_so "$key" "StandIn: as asked"
	not tmpnix status >/dev/null && pass "status exits 1" ||
	    fail "status exits 0"
	tmpnix status --json >"$W/json"
	ok "--json says failed" grep -q '"failed":true' "$W/json"
	ok "and why" grep -q "StandIn: as asked" "$W/json"
	ok "tmpnix retry KEY" tmpnix retry "$key"
	ok "starts it over" until_true 20 state_is "$key" stored
	# By another PUT, too.
	path_make "refused-again-$store" "again $store"
	faults "upload status 400"
	put "$key" "$nar"
	ok "refused again" until_true 20 state_is "$key" failed
	put "$key" "$nar"
	ok "another PUT starts it over" until_true 20 state_is "$key" stored

	# A narinfo waits for what it references, and for its NAR.
	path_make "order-a-$store" "a $store"
	put "$key" "$nar"
	put "$hash.narinfo" "$info"
	relay_wait
	a=$hash-order-a-$store
	path_make "order-b-$store" "b $store" "$hash-order-b-$store"
	sed -i "s|^References: .*|References: $a $hash-order-b-$store|" "$info"
	b=$hash nar_b=$key info_b=$info
	faults "upload status 400" "upload status 400"
	put "$nar_b" "$nar"
	ok "a NAR is refused" until_true 20 state_is "$nar_b" failed
	put "$b.narinfo" "$info_b"
	ok "its narinfo is another try for it" \
	    until_true 20 not test -s "$W/standin/faults"
	ok "which is refused too" until_true 20 state_is "$nar_b" failed
	path_make "order-c-$store" "c $store" "$b-order-b-$store"
	put "$key" "$nar"
	put "$hash.narinfo" "$info"
	ok "a NAR behind it is stored" until_true 20 state_is "$key" stored
	is "its narinfo waits" "$(state "$b.narinfo")" spooled
	is "and who references it" "$(state "$hash.narinfo")" spooled
	is "both are served" "$(status "$U/cache/$b.narinfo") \
$(status "$U/cache/$hash.narinfo")" "200 200"
	ok "the NAR is retried" tmpnix retry "$nar_b"
	relay_wait
	# Two that reference each other, and one outside.
	path_make "ring-x-$store" "x $store"
	x=$hash nar_x=$nar key_x=$key
	path_make "ring-y-$store" "y $store" "$x-ring-x-$store"
	y=$hash
	put "$key" "$nar"
	put "$y.narinfo" "$info"
	path_make "ring-x-$store" "x $store" "$y-ring-y-$store $a"
	put "$key_x" "$nar_x"
	put "$x.narinfo" "$info"
	relay_wait
	is "a ring of references is relayed" \
	    "$(state "$x.narinfo") $(state "$y.narinfo")" "stored stored"
done

# Glitch's API -------------------------------------------------------------------
conf_glitch
for p in upload cache; do
	prog_stop $p
	prog_start $p
	prog_ready $p
done
# api NAME PATTERN STATE LINE: with that fault, of an API that nobody has asked
# yet, a PUT is taken, and its error says PATTERN.
api() {
	path_make "api-$1" "$1"
	faults "$4"
	restart_upload
	put "$key" "$nar"
	is "$1: the PUT is taken" "$code" 201
	ok "it says $2" until_true 20 failed_so "$key" "$2" || last_error "$key"
	ok "and so does status" sh -c "'$top_builddir/tmpnix' -f '$CONF' \
	    status | grep 'last error.*$2'"
	ok "it is $3" until_true 20 state_is "$key" "$3"
	is "and served" "$(status "$U/cache/$key")" 200
	faults
	restart_upload
	tmpnix retry >/dev/null
	relay_wait
}
api 500 "policy: status 500" spooled "api* status 500"
api 429 "policy: status 429" spooled "api* status 429"
api 404 "policy: status 404" failed "api* status 404"
api malformed "not a JSON object" spooled "api* malformed"
api no-bucket "names no bucket" spooled "api* nobucket"
api no-prefix "names no key prefix" spooled "api* noprefix"
api absurd "absurd content-length-range" spooled "api* absurd"
api expired "expired .* clock" spooled "api* expired"
api reset . spooled "api* reset"
api refused "upload: status 403" failed "api* badsig"
# A 403 to an upload whose policy has gone bad: one new policy, and it goes on.
restart_upload
faults "api badsig"
before=$(requests '^api ')
path_make bad-policy "its policy goes bad"
put "$key" "$nar"
ok "a bad policy is asked for again" until_true 20 state_is "$key" stored
is "once" "$(($(requests '^api ') - before))" 2
# Policies of four seconds: asked for again before they expire.
echo 4 >"$W/standin/ttl"
restart_upload
for i in 1 2 3 4; do
	path_make "short-$i" "$i"
	put "$key" "$nar"
	ok "a policy of four seconds, $i" until_true 20 state_is "$key" stored
	# Until that one has expired.
	at=$(date +%s)
	later() {
		[ "$(date +%s)" -ge $((at + 4)) ]
	}
	until_true 10 later
done
rm "$W/standin/ttl"
is "none was refused" "$(sql "SELECT count(*) FROM asset
    WHERE attempts > 1 AND key = '$key'")" 0
# The wrong token.
(umask 077 && echo wrong-token-0123456789 >"$W/token")
path_make wrong-token "the wrong token"
restart_upload
put "$key" "$nar"
ok "a wrong token" until_true 20 state_is "$key" failed
ok "is said in words" failed_so "$key" "does not accept the token"
ok "and the file is named" failed_so "$key" "look into glitch_token_file, $W/tok"
(umask 077 && echo "$TOKEN" >"$W/token.new")
mv "$W/token.new" "$W/token"
ok "tmpnix retry, with the right one in the file" tmpnix retry "$key"
ok "stores it, with no restart and at once" until_true 10 state_is "$key" stored ||
    last_error "$key"
chmod 644 "$W/token"
prog_stop upload
prog_start upload
ok "a token that others can read is not used" until_true 20 \
    grep -q 'token.*chmod 600' "$W/log/upload.log"
wait "$upload_pid"
is "and nothing starts" $? 1
upload_pid=
conf_glitch
prog_start upload
prog_ready upload
tmpnix retry >/dev/null
relay_wait
# Nobody there.
conf_set glitch_api "http://127.0.0.1:1"
path_make nobody "nobody there"
restart_upload
put "$key" "$nar"
is "nobody at the API's address: the PUT is taken" "$code" 201
ok "it says so" until_true 20 failed_so "$key" "onnect"
conf_glitch
restart_upload
tmpnix retry >/dev/null
relay_wait

# write-through ------------------------------------------------------------------------
conf_set relay write-through
conf_set relay_wait 6s
restart_upload
path_make through "write-through"
put "$key" "$nar"
is "write-through: 201" "$code" 201
is "and stored by then" "$(state "$key")" stored
put "$hash.narinfo" "$info"
is "its narinfo too" "$code $(state "$hash.narinfo")" "201 stored"
path_make through-refused "the store refuses it"
faults "upload status 400"
put "$key" "$nar"
is "refused: 424" "$code" 424
ok "with the store's reason" grep -q "StandIn: as asked" "$W/body"
path_make through-slow "the store is slow"
faults "upload* stall"
put "$key" "$nar"
is "not confirmed in time: 424" "$code" 424
faults
restart_upload
tmpnix retry >/dev/null
put "$key" "$nar"
is "sent again: 200" "$code" 200
# A client that gives up does not lose the upload.
path_make through-gone "the client goes away"
faults "upload status 503"
timeout 2 curl -q -s -u ":$SECRET" -T "$nar" "$U/cache/$key"
is "the client went away" $? 124
tmpnix retry >/dev/null
ok "its upload goes on" until_true 40 state_is "$key" stored
conf_set relay write-back

# Replaced, and not verified --------------------------------------------------------------
restart_upload
faults "upload* status 503"
replaced=log/$hash-small.drv
echo first >"$W/log-1"
echo second >"$W/log-2"
put "$replaced" "$W/log-1"
was=$(sql "SELECT spool FROM asset WHERE key = '$replaced'")
ok "a log is in the spool" test -f "$S/spool/ready/$was"
put "$replaced" "$W/log-2"
is "another takes its place" "$code" 200
ok "whoever was told the name of its file still finds it" \
    test -f "$S/spool/ready/$was"
# As after a crash between the answer and the verdict.
path_make unverified "nobody has looked into it"
put "$key" "$nar"
verdicts() {
	sql "SELECT count(*) FROM nar WHERE key = '$key' AND verdict = 0"
}
until_true 20 test "$(verdicts)" = 1
ok "a NAR waits" until_true 20 tried "$key"
prog_stop upload
sql "DELETE FROM nar WHERE key = '$key'"
faults
prog_start upload
prog_ready upload
tmpnix retry >/dev/null
relay_wait
is "it is verified before it leaves" "$(verdicts)" 1

# Backpressure -----------------------------------------------------------------------------
path_make small "not in the spool"
put "$key" "$nar"
small_info=$hash.narinfo
relay_wait
conf_set spool_max 1M
conf_set spool_wait 2s
conf_set threads 8
conf_set relay_timeout 60s
restart_upload
faults "upload* status 503,3600"
head -c 900000 /dev/urandom >"$W/fill"
put "$(nar_key "$W/fill")" "$W/fill"
is "one fits" "$code" 201
head -c 200000 /dev/urandom >"$W/more"
took=$(curl -q -s -m 60 -o /dev/null -w '%{time_total}' -u ":$SECRET" \
    -H 'Expect: 100-continue' --expect100-timeout 60 -T "$W/more" \
    "$U/cache/$(nar_key "$W/more")" | sed 's/[.].*//')
ok "over spool_max a PUT waits for spool_wait" \
    test "$took" -ge 2 -a "$took" -le 6
raw '$s->autoflush(1); print $s "PUT /cache/'"$(nar_key "$W/more")"' HTTP/1.1\r\n",
    $host, $auth, "Connection: close\r\nExpect: 100-continue\r\n",
    "Content-Length: 200000\r\n\r\n"; print while <$s>'
ok "then gets 503" grep -q '^HTTP/1.1 503 ' "$W/raw"
ok "without a 100 Continue" not grep -q '100 Continue' "$W/raw"
ok "with the reason" grep -q spool_max "$W/raw"
# A narinfo takes no room there.
put "$small_info" "$W/made/small.narinfo"
is "a narinfo is taken" "$code" 201
# Many that wait leave threads for others.
conf_set spool_wait 20s
restart_upload
waiting=
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
	curl -q -s -m 60 -o /dev/null -w '%{http_code}\n' -u ":$SECRET" \
	    -H 'Expect: 100-continue' --expect100-timeout 60 \
	    -T "$W/more" "$U/cache/$(nar_key "$W/more")" >>"$W/waited" &
	waiting="$waiting $!"
done
# All but two (a fourth of eight threads) are refused at once.
refused() {
	[ "$(grep -c 503 "$W/waited")" -ge 10 ]
}
ok "all but two of twelve are refused at once" until_true 10 refused
at=$(date +%s%N)
is "another answer comes" "$(status -X PUT -H 'Content-Length: 0' \
    "$U/cache/nix-cache-info")" 401
ok "at once" test $((($(date +%s%N) - at) / 1000000)) -lt 2000
faults
prog_stop upload
prog_start upload
prog_ready upload
for p in $waiting; do
	wait "$p"
done
ok "the end of tmpnix-upload ends the waiting" \
    test "$(grep -c 503 "$W/waited")" = 12
tmpnix retry >/dev/null
relay_wait
# What waits goes on when there is room.
faults "upload status 503" "upload status 503"
head -c 900001 /dev/urandom >"$W/fill"
put "$(nar_key "$W/fill")" "$W/fill"
(until_true 20 tried "$(nar_key "$W/fill")" && faults && tmpnix retry) \
    >/dev/null 2>&1 &
retry_pid=$!
put "$(nar_key "$W/more")" "$W/more"
is "when there is room again it is taken" "$code" 201
wait "$retry_pid"
relay_wait

ok "no secret is in a log" no_secrets
not grep -rlaF wrong-token-0123456789 "$W"/log/*.log >"$W/secrets" &&
    pass "nor a wrong one" || fail "a wrong one is: $(cat "$W/secrets")"
ok "what was replaced is gone" until_true 30 not test -e "$S/spool/ready/$was"
e2e_end
