#!/bin/sh
# A crash before each call that changes a file (tests/shim/faults.c): in every
# kind of PUT with its relay, at a start, in init, token add and sign.  What was
# acknowledged is there before and after the relay, whole; a narinfo never
# without its NAR; nothing is left over; all can be sent again.
#
# Every STRIDE-th call, from a first one that is another in each scenario; all of
# them with CRASH_POINTS=all or after configure --enable-crash-points.
# shellcheck disable=SC1091,SC2015,SC2016,SC2034,SC2154
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/store.sh"
. "$(dirname "$0")/shim.sh"

STRIDE=9
case ${CRASH_POINTS-} in
all) STRIDE=1 ;;
esac
# No scenario has more.
MOST=400

STORE=/nix/store
site_make $STORE stream
# Signatures that are merged must be good ones.
openssl genpkey -algorithm ed25519 -out "$W/merged.pem" || stop "openssl"
conf_set trusted_public_keys "merged-1:$(openssl pkey -in "$W/merged.pem" \
    -pubout -outform DER | tail -c 32 | base64 -w 0)"
signer=$(cut -d : -f 1 "$S/keys/cache.pub")
web_start
prog_start cache
prog_ready cache

# acked KEY FILE STATUS
acked() {
	case $3 in
	20?) echo "$1 $2" >>"$W/acked" ;;
	esac
}
# A narinfo has the signatures that it was sent with, and ours.
same() {
	case $1 in
	*.narinfo)
		grep -q "^Sig: $signer:" "$W/back" || return 1
		grep '^Sig: ' "$2" | while read -r line; do
			grep -qxF "$line" "$W/back" || exit 1
		done || return 1
		sed '/^Sig: /d' "$W/back" >"$W/back.plain"
		sed '/^Sig: /d' "$2" | cmp -s - "$W/back.plain"
		;;
	*) cmp -s "$W/back" "$2" ;;
	esac
}
# get KEY: as readers get it.
get() {
	curl -q -s -f -L "$U/cache/$1"
}
# Every acknowledged object of this file is served as it was sent; of a key that
# was sent twice the last, or one that was not answered: $newer.
readable() {
	while read -r k f; do
		if ! get "$k" >"$W/back"; then
			echo "$k: not served"
		elif ! same "$k" "$f" && ! { [ -n "$newer" ] &&
		    cmp -s "$W/back" "$newer"; }; then
			echo "$k: other bytes"
		fi
	done <"$1"
}
# Each narinfo that is served has its NAR.
dangling() {
	sql "SELECT hash_part FROM path AS p WHERE NOT EXISTS (SELECT 1
	    FROM asset AS a WHERE a.cache = p.cache AND a.key = p.nar_key
	    AND a.state <> 'failed')" 2>&1
}

# One scenario: before() makes ready, act() sends; points are counted from the
# first call that act() causes until it has been answered and relayed.
points=0 crashes=0 scenarios=0
# died: a crash point ends the process by _exit.
died() {
	! kill -0 "$upload_pid" 2>/dev/null
}
quiet() {
	died || relayed
}
up() {
	shim_start upload
	prog_ready upload
}
scenario() {
	scenario_name=$1 prepare=$2 act=$3
	scenarios=$((scenarios + 1))
	: >"$W/acked"
	: >"$W/sent"
	newer='' scenario_points=0 scenario_crashes=0
	at=$((scenarios % STRIDE + 1))
	up
	while [ $at -lt $MOST ]; do
		round=$scenarios-$at
		$prepare
		rules "durable EXIT $at *"
		$act
		until_true 30 quiet || fail "$scenario_name: point $at: it is not relayed"
		scenario_points=$((scenario_points + 1))
		if ! died; then
			rules
			break
		fi
		scenario_crashes=$((scenario_crashes + 1))
		wait "$upload_pid" 2>/dev/null
		rules
		# Without it, and after a start.
		tail -n 3 "$W/acked" >"$W/last"
		bad=$(readable "$W/last")
		[ -z "$bad" ] || fail "$scenario_name: point $at: $bad"
		up
		bad=$(readable "$W/last")
		[ -z "$bad" ] || fail "$scenario_name: point $at, started: $bad"
		newer=''
		at=$((at + STRIDE))
	done
	[ $at -lt $MOST ] || fail "$scenario_name: no end"
	until_true 30 relayed || fail "$scenario_name: all gets stored"
	is "$scenario_name: $scenario_crashes crashes, $(wc -l <"$W/acked") acknowledged, lost" \
	    "$(readable "$W/acked")" ''
	# Sent again: nothing is refused.
	while read -r k f; do
		put "$k" "$f"
		case $code in
		20?) ;;
		*) fail "$scenario_name: $k sent again: $code $(cat "$W/body")" ;;
		esac
	done <"$W/sent"
	is "$scenario_name: dangling narinfos" "$(dangling)" ''
	until_true 30 relayed || fail "$scenario_name: all gets stored again"
	# A clean stop and start: nothing is left.
	prog_stop upload
	up
	left() {
		find "$S/spool/incoming" "$S/spool/ready" -type f
		find "$S" -name '.put.*'
	}
	is "$scenario_name: left over" "$(left)" ''
	prog_stop upload
	points=$((points + scenario_points))
	crashes=$((crashes + scenario_crashes))
}
nothing() { :; }
send() {
	echo "$1 $2" >>"$W/sent"
	put "$1" "$2"
	acked "$1" "$2" "$code"
}
pair() {
	path_make "pair-$round" "$round $(seq 500)"
	send "$key" "$nar"
	send "$hash.narinfo" "$info"
}
xz_pair() {
	path_make "xz-$round" "$round $(seq 500)"
	xz -f -k "$nar"
	k=$(nar_key "$nar.xz" .xz)
	send "$k" "$nar.xz"
	xz_hash=${k#nar/}
	sed -i -e "s|^URL: .*|URL: $k|" -e 's|^Compression: .*|Compression: xz|' \
	    -e "s|^FileHash: .*|FileHash: sha256:${xz_hash%.nar.xz}|" \
	    -e "s|^FileSize: .*|FileSize: $(wc -c <"$nar.xz")|" "$info"
	send "$hash.narinfo" "$info"
}
# Signatures merged into a path that is stored.
stored_pair() {
	path_make "merge-$round" "$round $(seq 500)"
	put "$key" "$nar"
	put "$hash.narinfo" "$info"
	until_true 30 relayed
}
merge() {
	printf '1;%s/%s-merge-%s;sha256:%s;%s;' "$STORE" "$hash" "$round" \
	    "$nar_hash" "$nar_size" >"$W/fingerprint"
	signature=$(openssl pkeyutl -sign -inkey "$W/merged.pem" -rawin \
	    -in "$W/fingerprint" | base64 -w 0)
	echo "Sig: merged-1:$signature" >>"$info"
	send "$hash.narinfo" "$info"
}
log_1() {
	h=0123456789abcdfghijklmnpqrsvwxy$((scenarios % 10))
	printf 'first %s\n' "$round" >"$W/log-$round"
	put "log/$h-x.drv" "$W/log-$round"
	until_true 30 relayed
	sed -i "\|^log/$h-x.drv |d" "$W/acked" "$W/sent"
	acked "log/$h-x.drv" "$W/log-$round" "$code"
}
log_2() {
	printf 'second %s\n' "$round" >"$W/log2-$round"
	newer=$W/log2-$round
	put "log/$h-x.drv" "$newer"
	case $code in
	20?)
		sed -i "\|^log/$h-x.drv |d" "$W/acked"
		newer=''
		;;
	esac
	acked "log/$h-x.drv" "$W/log2-$round" "$code"
}
# Spooled, not relayed, and killed: then a start that has to recover.
orphans() {
	rules 'rename EIO * */store/*'
	pair
	put "log/$hash-orphan.drv" "$W/tmpnix.conf"
	acked "log/$hash-orphan.drv" "$W/tmpnix.conf" "$code"
	prog_stop upload KILL
	echo garbage >"$S/spool/incoming/0123456789abcdef.7"
	rules
	tmpnix retry >/dev/null
}
recover() {
	shim_start upload
}

scenario "NAR and narinfo" nothing pair
scenario "xz" nothing xz_pair
scenario "signatures merged" stored_pair merge
scenario "a log replaced" log_1 log_2
scenario "a start" orphans recover

# tools: NAME COMMAND... is run in full at each point; check() afterwards.
tool() {
	tool_name=$1 tool_check=$2
	shift 2
	at=$((scenarios % STRIDE + 1)) scenario_crashes=0
	scenarios=$((scenarios + 1))
	while [ $at -lt $MOST ]; do
		rules "durable EXIT $at *"
		"$@" >"$W/tool.out" 2>&1
		tool_rc=$?
		rules
		points=$((points + 1))
		[ $tool_rc = 99 ] || break
		scenario_crashes=$((scenario_crashes + 1))
		$tool_check
		at=$((at + STRIDE))
	done
	crashes=$((crashes + scenario_crashes))
	is "$tool_name: $scenario_crashes crashes, then" "$tool_rc" 0
}
init_run() {
	rm -rf "$W/init" "$W/init.conf"
	shimmed "$top_builddir/tmpnix" -f "$W/init.conf" init -d "$W/init" \
	    -S $STORE -u "$U"
}
# Run once more it is whole, or says what is wrong; never a key that is empty.
init_check() {
	"$top_builddir/tmpnix" -f "$W/init.conf" init -d "$W/init" -S $STORE \
	    -u "$U" >"$W/init.out" 2>&1 ||
	    fail "init again after point $at: $(tail -n 1 "$W/init.out")"
	for f in cache.sec cache.pub drv.sec drv.pub; do
		[ -s "$W/init/keys/$f" ] ||
		    fail "init again after point $at: $f is empty"
	done
}
tool "init" init_check init_run

token_run() {
	shimmed "$top_builddir/tmpnix" -f "$CONF" token add "t-$at" --push
}
# What was printed works.
token_check() {
	t=$(sed -n 's/.*password  *\([^ ]*\).*/\1/p' "$W/tool.out")
	[ -z "$t" ] || [ "$(sql "SELECT count(*) FROM token
	    WHERE name = 't-$at'")" = 1 ] ||
	    fail "token add: point $at: printed, but not there"
	is_ok=$(sql 'PRAGMA quick_check')
	[ "$is_ok" = ok ] || fail "token add: point $at: the index: $is_ok"
}
tool "token add" token_check token_run

# Paths that have no signature of ours; then one that has.
up
conf_set secret_key_file "$W/other.sec"
nix-store --generate-binary-cache-key other-1 "$W/other.sec" "$W/other.pub"
sign_run() {
	shimmed "$top_builddir/tmpnix" -f "$CONF" sign
}
sign_check() {
	[ "$(sql 'PRAGMA quick_check')" = ok ] || fail "sign: point $at: the index"
	bad=$(tail -n 4 "$W/acked.pairs" >"$W/last"; readable "$W/last")
	[ -z "$bad" ] || fail "sign: point $at: $bad"
}
: >"$W/acked"
round=sign
pair
cp "$W/acked" "$W/acked.pairs"
tool "sign" sign_check sign_run
until_true 30 relayed
conf_set secret_key_file "$S/keys/cache.sec"
is "signed: lost" "$(readable "$W/acked.pairs")" ''
prog_stop upload

# S3: the same, with fewer points.
STRIDE=$((STRIDE * 2 - 1))
rgw_start
standin_start
conf_s3
conf_set s3_public_url "http://127.0.0.1:$public_port"
bucket_public
prog_stop cache
prog_start cache
up
prog_stop upload
scenario "S3: NAR and narinfo" nothing pair
scenario "S3: signatures merged" stored_pair merge
scenario "S3: a log replaced" log_1 log_2

is "the index is whole" "$(sql 'PRAGMA integrity_check')" ok
echo "$scenarios scenarios, $points points, $crashes crashes"
ok "there were enough of them" test "$crashes" -ge 40
e2e_end
