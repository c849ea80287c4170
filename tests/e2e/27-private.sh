#!/bin/sh
# A cache that is not for everybody: public_reads = no, and the web server too.
# shellcheck disable=SC1091,SC2016,SC2034,SC2154
. "$(dirname "$0")/lib.sh"

client=$W/nix
STORE=$client/store
READS=private
site_make "$STORE"
conf_set public_reads no

# The programs answer 401 to all without a token: that is ready, too.
prog_answers() {
	case $1 in
	cache | drv)
		[ "$1" = cache ] && at=cache || at=drv
		[ "$(status "$U/$at/nix-cache-info")" = 401 ]
		;;
	upload)
		[ "$(status -X PUT -H 'Content-Length: 0' \
		    "$U/cache/nix-cache-info")" = 401 ]
		;;
	esac
}
site_start
client_make "$client"
nx "$client" nix-store --generate-binary-cache-key private-1 "$W/sk" "$W/pk"
tmpnix token add reader --pull >"$W/reader.netrc"
tmpnix token add writer --push >"$W/writer.netrc"
tmpnix token add instantiator --drv >"$W/drv.netrc"
DRV=$(sed -n 's/.*password  *\([^ ]*\).*/\1/p' "$W/drv.netrc")
READER=$(sed -n 's/.*password  *\([^ ]*\).*/\1/p' "$W/reader.netrc")
WRITER=$(sed -n 's/.*password  *\([^ ]*\).*/\1/p' "$W/writer.netrc")

echo 'a secret' >"$W/secret"
p=$(nx "$client" nix-store --add "$W/secret")
cp "$W/writer.netrc" "$W/netrc"
ok "nix copy with a token that has push alone" nx "$client" nix copy \
    --to "$U/cache?secret-key=$W/sk&write-nar-listing=true" "$p"
settle
h=${p##*/}
h=${h%%-*}
store=$S/store-private
nar=$(sed -n 's/^URL: //p' "$store/$h.narinfo")
ok "all is a file of the store" test -f "$store/$nar" -a -f "$store/$h.ls"
ok "where the web server looks for files by itself is nothing" \
    test ! -e "$S/store"

for k in nix-cache-info "$h.narinfo" "$h.ls" "$nar" \
    00000000000000000000000000000000.narinfo; do
	req "$U/cache/$k"
	is "GET $k without a token" "$code" 401
	is "asks for one" "$(header WWW-Authenticate)" 'Basic realm="tmpnix"'
	is "HEAD too" "$(status -I "$U/cache/$k")" 401
	is "a wrong one" "$(status -u ":tmpnix_$k" "$U/cache/$k")" 401
	is "one of drv" "$(status -u ":$DRV" "$U/cache/$k")" 403
done
# What a push reads before it writes: so much, and no more.
for k in nix-cache-info "$h.narinfo"; do
	is "GET $k with push" "$(status -u ":$WRITER" "$U/cache/$k")" 200
done
for k in "$h.ls" "$nar"; do
	req -u ":$WRITER" "$U/cache/$k"
	is "GET $k with push" "$code" 403
	ok "says what it lacks" grep -q \
	    '^token writer may not read: it lacks the scope pull$' "$W/body"
	is "HEAD $k with push" "$(status -I -u ":$WRITER" "$U/cache/$k")" 200
done
is "the page with push" "$(status -u ":$WRITER" "$U/cache/")" 403
is "derivations with push" "$(status -u ":$WRITER" "$U/drv/nix-cache-info")" 403
# However it is spelled.
for k in "/cache//$nar" "/cache/./$nar" "/x/../cache/$nar" \
    "/cache/%6ear/${nar#nar/}" "/cache/$nar?x" \
    "/tmpnix-files/store/$nar" "/tmpnix-files/store-private/$nar"; do
	req "$U$k"
	ok "GET $k gets nothing" not cmp -s "$W/body" "$store/$nar"
	ok "but a refusal ($code)" test "$code" -ge 300
done
# What the web server keeps for the programs' answers.
echo spooled >"$S/spool/ready/0123456789abcdef.0"
echo derived >"$S/drvs/private.narinfo"
for f in spool/0123456789abcdef.0 spool/ready/0123456789abcdef.0 \
    drvs/private.narinfo; do
	for path in "/tmpnix-files/$f" "/$f"; do
		is "GET $path" "$(status "$U$path")" 404
		is "GET $path with a token" \
		    "$(status -u ":$READER" "$U$path")" 404
	done
done
rm "$S/spool/ready/0123456789abcdef.0" "$S/drvs/private.narinfo"
is "the page" "$(status "$U/cache/")" 401
is "the derivations' cache" "$(status "$U/drv/nix-cache-info")" 401

for k in "$h.narinfo" "$h.ls" "$nar"; do
	req -u ":$READER" "$U/cache/$k"
	is "GET $k with pull" "$code" 200
	# (The listing is the server's own, not the one that was sent.)
	[ "$k" = "$h.ls" ] || ok "is its bytes" cmp "$W/body" "$store/$k"
	ok "is private: $(header Cache-Control)" \
	    sh -c "echo '$(header Cache-Control)' | grep -q '^private'"
done
req -u ":$READER" -H 'Range: bytes=0-3' "$U/cache/$nar"
is "a range" "$code $(wc -c <"$W/body")" "206 4"
req -u ":$READER" "$U/cache/nix-cache-info"
is "nix-cache-info" "$code" 200

# Nix ---------------------------------------------------------------------------------
second=$W/second
client_make "$second"
cat >>"$second/conf/nix.conf" <<EOT
substituters = $U/cache
trusted-public-keys = $(cat "$W/pk")
EOT
NX_STORE=$STORE
export NX_STORE
chmod -R u+w "$STORE"
rm -rf "$STORE"
mkdir "$STORE"
: >"$W/empty"
ok "Nix gets nothing without" not nx "$second" nix-store -r "$p" \
    --option netrc-file "$W/empty"
rm -rf "$second/home/cache/nix"
ok "and the path with its netrc" nx "$second" nix-store -r "$p" \
    --option netrc-file "$W/reader.netrc"
is "which is the path" "$(cat "$p")" 'a secret'

# The hook, which asks first ----------------------------------------------------------
hook() {
	nx "$client" env TMPNIX_CLIENT_CONF=/dev/null \
	    TMPNIX_CACHE_URL="$U/cache" TMPNIX_QUEUE="$W/queue" "$@" \
	    "$top_srcdir/tools/tmpnix-post-build-hook" --flush >"$W/hook" 2>&1
}
echo 'another secret' >"$W/secret"
p=$(nx "$client" nix-store --add "$W/secret")
mkdir "$W/queue"
echo "$p" >"$W/queue/x.drv"
ok "the hook without a token" not hook
is "says so" "$(cat "$W/hook")" "tmpnix-post-build-hook: $U/cache refuses the \
token: to read here needs a token: put its line into your netrc-file: 1 kept in $W/queue"
ok "with one that only reads" not hook TMPNIX_NETRC="$W/reader.netrc"
is "says so" "$(cat "$W/hook")" "tmpnix-post-build-hook: $U/cache refuses the \
token: token reader may not push: it lacks the scope push: 1 kept in $W/queue"
ok "with one that pushes" hook TMPNIX_NETRC="$W/netrc"
p=${p##*/}
is "it is there" "$(status -I -u ":$READER" "$U/cache/${p%%-*}.narinfo")" 200

# Asked while tmpnix-cache is started again: as ever, whoever asks.
if [ "$WEB" = nginx ]; then
	prog_stop cache
	tried() {
		[ "$(grep -c '/cache.sock failed' \
		    "$W/log/nginx-error.log")" -ge "$1" ]
	}
	: >"$W/log/nginx-error.log"
	curl -q -s -m 60 -D "$W/held.1" -o /dev/null "$U/cache/$nar" &
	one=$!
	curl -q -s -m 60 -D "$W/held.2" -o /dev/null -u ":$WRITER" \
	    "$U/cache/$nar" &
	two=$!
	curl -q -s -m 60 -D "$W/held.3" -o "$W/held" -u ":$READER" \
	    "$U/cache/$nar" &
	three=$!
	until_true 20 tried 3 || fail "three reads wait"
	prog_start cache
	wait "$one" "$two" "$three"
	is "no token, a writer's, a reader's" "$(sed -n \
	    's/^HTTP[^ ]* \([0-9]*\).*/\1/p' "$W"/held.? | tr '\n' ' ')" \
	    "401 403 200 "
	ok "the challenge is the program's" grep -qi \
	    '^www-authenticate: Basic realm="tmpnix"' "$W/held.1"
	ok "the NAR is whole" cmp "$W/held" "$store/$nar"
fi

# Guessing ------------------------------------------------------------------------------
i=0
while [ $i -lt 5 ]; do
	req -u ":wrong$i" "$U/cache/nix-cache-info"
	i=$((i + 1))
done
before=$(grep -c 'authentication failure from 127.0.0.1: ' "$W/log/cache.log")
ok "every failure is in the log" test "$before" -ge 5
if [ "$WEB" = nginx ]; then
	# From now on the refusals trickle; what is right does not wait for them.
	# (As many as the program has threads, and more.)
	slow=
	conf_threads=40
	i=0
	while [ $i -lt $conf_threads ]; do
		curl -q -s -m 120 -o /dev/null -u ":slow$i" "$U/cache/nix-cache-info" &
		slow="$slow $!"
		i=$((i + 1))
	done
	other_pids="$other_pids $slow"
	until_true 60 sh -c "[ \"\$(grep -c 'authentication failure from 127.0.0.1: ' \
	    '$W/log/cache.log')\" -ge $((before + conf_threads)) ]" ||
	    fail "all are asked"
	req -u ":$READER" "$U/cache/nix-cache-info"
	is "a good token is answered" "$code" 200
	left=0
	for s in $slow; do
		! kill -0 "$s" 2>/dev/null || left=$((left + 1))
	done
	ok "while $left refusals are still on their way" test "$left" -gt 30
	# Those of pushes too.
	for i in 1 2 3 4 5 6; do
		status -u ":wrong$i" -X PUT -H 'Content-Length: 0' \
		    "$U/cache/nix-cache-info" >/dev/null &
		slow="$slow $!"
	done
	until_true 60 sh -c "[ \"\$(grep -c 'authentication failure from' \
	    '$W/log/upload.log')\" -ge 6 ]" || fail "six pushes are refused"
	curl -q -s -m 120 -o /dev/null -u ":slow" -T "$W/netrc" \
	    "$U/cache/nix-cache-info" &
	pid=$!
	slow="$slow $pid"
	until_true 60 sh -c "[ \"\$(grep -c 'authentication failure from' \
	    '$W/log/upload.log')\" -ge 7 ]" || fail "another is refused"
	printf 'Priority: 1\n' >"$W/no-store-dir"
	put nix-cache-info "$W/no-store-dir"
	is "a good push is answered" "$code" 200
	ok "while a refused one is still on its way" kill -0 "$pid"
else
	# A configuration alone says there how fast an answer is sent.
	echo "$WEB knows no trickling refusals"
	req -u ":wrong" "$U/cache/nix-cache-info"
	is "a wrong token again" "$code" 401
fi
ok "nobody sees how slow" not grep -qi 'x-tmpnix-rate\|x-accel' "$W/hdr"
for s in $slow; do
	kill "$s" 2>/dev/null
done

# A web server that was not told, public_reads in tmpnix.conf ------------------------------
# refused NAME: no object without a token, and each with one.
refused() {
	for k in "$h.narinfo" "$h.ls" "$nar"; do
		is "$1: GET $k without a token" "$(status "$U/cache/$k")" 401
		is "$1: with one" "$(status -u ":$READER" "$U/cache/$k")" 200
	done
}
READS=public
web_stop
web_make
web_start
refused "with the web server's file for public reads"

programs_restart() {
	conf_set public_reads "$1"
	for p in cache upload drv; do
		prog_stop $p
		prog_start $p
	done
	for p in cache upload drv; do
		until_true 20 test -S "$W/run/$p.sock" || fail "$p does not start"
	done
}
programs_restart yes
until_true 20 test -d "$S/store" || fail "the store moves"
for k in "$h.narinfo" "$h.ls" "$nar"; do
	is "public_reads = yes: GET $k" "$(status "$U/cache/$k")" 200
done
programs_restart no
until_true 20 test -d "$S/store-private" || fail "the store moves back"
# (lighttpd keeps a file open for some seconds after it has sent it.)
asks() {
	[ "$(status "$U/cache/$1")" = 401 ]
}
for k in "$h.narinfo" "$h.ls" "$nar"; do
	until_true 30 asks "$k" || fail "$k is served for long"
done
refused "public_reads = no again"

e2e_end
