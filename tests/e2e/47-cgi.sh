#!/bin/sh
# The programs as CGI, behind nginx with fcgiwrap and behind lighttpd's mod_cgi:
# what a process that ends with its answer has to do before it, and what one that
# is killed leaves.
# shellcheck disable=SC1091,SC2015,SC2016,SC2034,SC2046,SC2154
MODE=cgi
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/store.sh"

client=$W/nix
STORE=$client/store
rgw_start
standin_start
# (Streamed: nginx starts a program for a body that is there already.)
site_make "$STORE" stream
cat >>"$CONF" <<EOT
file.p = $top_srcdir/tests/packages
drv_jobs = 1
drv_queue = 1
drv_timeout = 2s
relay_wait = 2s
EOT
site_start
client_make "$client"

# The processes of tmpnix-upload that the web server has started: nobody else's.
uploads() {
	case $WEB in
	nginx) pgrep -x tmpnix-upload -g "$fcgiwrap_pid" ;;
	lighttpd) pgrep -x tmpnix-upload -P "$web_pid" ;;
	esac
}
no_uploads() {
	[ -z "$(uploads)" ]
}
old_locks() {
	find "$S/spool" -name '*.lock' -exec touch -d '-1 hour' {} +
}
# Files in the spool, and locks, when all processes have ended: lighttpd answers
# before they do.
left() {
	until_true 20 no_uploads
	echo "$(find "$S/spool/ready" -type f | wc -l)" \
	    "$(find "$S/spool" -name '*.lock' | wc -l)"
}

bucket_has() {
	s3 -o "$W/body" "http://127.0.0.1:$s3_port/$BUCKET/$1" &&
	    cmp -s "$W/body" "$nar"
}

# A process of its own ------------------------------------------------------------
# cgi PROGRAM METHOD URI [NAME=VALUE...] [-- ARG...]: without a web server.
cgi() {
	cgi_program=$top_builddir/tmpnix-$1
	cgi_env="REQUEST_METHOD=$2 REQUEST_URI=$3 TMPNIX_LOG=stderr"
	shift 3
	while [ $# -gt 0 ] && [ "$1" != -- ]; do
		cgi_env="$cgi_env $1"
		shift
	done
	[ $# = 0 ] || shift
	# shellcheck disable=SC2086
	env -i $cgi_env "$cgi_program" "$@" >"$W/out" 2>"$W/err" </dev/null
	cgi_rc=$?
	cgi_status=$(sed -n '1s/^Status: \([0-9]*\).*/\1/p' "$W/out")
}
cgi cache GET /nix-cache-info "TMPNIX_CONF=$CONF"
is "a GET without a web server" "$cgi_status $cgi_rc" "200 0"
ok "is answered" grep -q "^StoreDir: $STORE" "$W/out"
# Words of a query may come as arguments (RFC 3875, 4.4).
cgi cache GET /nix-cache-info "TMPNIX_CONF=$CONF" -- \
    -f /nonexistent -s "$W/run/never.sock" -h
is "arguments mean nothing" "$cgi_status $cgi_rc" "200 0"
ok "and open no socket" not test -e "$W/run/never.sock"
cgi cache GET /nix-cache-info "HTTP_TMPNIX_CONF=$CONF" \
    TMPNIX_CONF=/nonexistent/tmpnix.conf
is "a configuration that is not there" "$cgi_status $cgi_rc" "500 1"
ok "is said to the web server's log" \
    grep -q '^tmpnix-cache.*: /nonexistent.*No such file' "$W/err"
# Wherever the log goes, what ends the process is said there.
sed "s|^state_dir = .*|state_dir = $W/no-state|" "$CONF" >"$W/no-state.conf"
for p in cache upload drv; do
	cgi $p GET /nix-cache-info "TMPNIX_CONF=$W/no-state.conf" TMPNIX_LOG=
	is "$p: a state_dir that is not there" "$cgi_status $cgi_rc" "500 1"
	ok "$p: is said to the web server's log, with syslog too" \
	    grep -q "^tmpnix-$p.*$W/no-state.*No such file" "$W/err"
done
ok "and not to the client" not grep -q nonexistent "$W/out"
cgi cache HEAD /nix-cache-info TMPNIX_CONF=/nonexistent/tmpnix.conf
is "no body to a HEAD" "$cgi_status $(sed -n '/^\r$/,$p' "$W/out" | wc -l)" \
    "500 1"
cgi upload PUT /nix-cache-info CONTENT_LENGTH=0 \
    TMPNIX_CONF=/nonexistent/tmpnix.conf
is "a PUT gets no 5xx" "$cgi_status" 424
ok "and the log has what there was no answer to" grep -q \
    '^tmpnix-upload.*PUT /nix-cache-info: no answer' "$W/err"
cgi upload PUT /nix-cache-info CONTENT_LENGTH=0 TMPNIX_ROLE=check \
    TMPNIX_CONF=/nonexistent/tmpnix.conf
is "but its check" "$cgi_status" 500
# fcgiwrap takes a program that does not read the body for one that failed.
{
	head -c 3000000 /dev/zero
	echo $? >"$W/wrote"
} | env -i REQUEST_METHOD=PUT REQUEST_URI=/log/x CONTENT_LENGTH=3000000 \
    "TMPNIX_CONF=$CONF" "$top_builddir/tmpnix-upload" >"$W/out"
is "a refused body is read to its end" \
    "$(cat "$W/wrote") $(sed -n '1s/^Status: \([0-9]*\).*/\1/p' "$W/out")" \
    "0 401"
mv "$S/index.db" "$S/index.keep"
mkdir "$S/index.db"
cgi upload PUT /nix-cache-info CONTENT_LENGTH=0 "TMPNIX_CONF=$CONF"
is "an index that can't be opened: a PUT gets no 5xx" "$cgi_status" 424
rmdir "$S/index.db"
mv "$S/index.keep" "$S/index.db"

# Writing through -----------------------------------------------------------------
path_make first "some text"
put "$key" "$nar"
is "a NAR" "$code $(state "$key")" "201 stored"
is "is verified before the answer" \
    "$(sql "SELECT verdict FROM nar WHERE key = '$key'")" 0
# One that takes longer to verify than to store.
mkdir -p "$W/made"
head -c 60000000 /dev/urandom >"$W/made/large"
nix-store --dump "$W/made/large" >"$W/made/large.nar"
large=$(nar_key "$W/made/large.nar")
put "$large" "$W/made/large.nar"
is "a large one too" \
    "$code $(sql "SELECT verdict FROM nar WHERE key = '$large'")" "201 0"
rm "$W/made/large" "$W/made/large.nar"
put "$hash.narinfo" "$info"
is "a narinfo" "$code $(state "$hash.narinfo")" "201 stored"
is "so is nix-cache-info" "$(state nix-cache-info)" stored
ok "the store is a cache by itself" cmp -s "$S/store/$key" "$nar"
put "$key" "$nar"
is "again" "$code" 200
# What was relayed stays for those who were told its name, then it goes.
is "the spool's files are there for a moment" "$(left)" "3 2"
old_locks
path_make second "more text"
put "$key" "$nar"
is "the next NAR" "$code $(state "$key")" "201 stored"
is "took it away" "$(left)" "1 1"
put "$hash.narinfo" "$info"
is "a narinfo leaves nothing" "$(left)" "1 1"
tmpnix relay >"$W/out"
is "tmpnix relay, with nothing to do" "$? $(cat "$W/out")" \
    "0 0 of 0 objects stored, 0 wait (0 B), 0 failed"

# Many at once ----------------------------------------------------------------------
# locked: this test has the index to write; unlocked.
mkfifo "$W/fifo"
locked() {
	sqlite3 "$S/index.db" <"$W/fifo" >"$W/sqlite.out" 2>&1 &
	other_pids="$other_pids $!"
	exec 6>"$W/fifo"
	echo '.timeout 20000
	    BEGIN IMMEDIATE; SELECT "locked";' >&6
	until_true 20 grep -q locked "$W/sqlite.out" || stop "the index is locked"
}
unlocked() {
	echo 'ROLLBACK;' >&6
	exec 6>&-
}
# Each finds that nix-cache-info is missing, and wants to enter it; one of them
# is the first.
sql "DELETE FROM asset WHERE key = 'nix-cache-info'"
spooled() {
	find "$S/spool/ready" -type f | wc -l
}
all_spooled() {
	[ "$(spooled)" -ge "$1" ]
}
locked
before=$(spooled)
pids=''
for i in 1 2 3 4 5 6; do
	path_make "many-$i" "number $i"
	curl -q -s -m 120 -o "$W/many.$i" -w '%{http_code}\n' \
	    -u ":$SECRET" -T "$nar" "$U/cache/$key" >"$W/code.$i" &
	pids="$pids $!"
done
until_true 20 all_spooled $((before + 6)) || fail "all six are at it"
unlocked
# shellcheck disable=SC2086
wait $pids
is "six first uploads at once" "$(cat "$W"/code.? | sort | uniq -c |
    tr -s ' \n' ' ')" " 6 201 "
# A lock that an operator's sqlite3 has, for longer than another one waits.
locked
before=$(spooled)
path_make patient "waits for its turn"
curl -q -s -m 120 -o "$W/body" -w '%{http_code}' -u ":$SECRET" -T "$nar" \
    "$U/cache/$key" >"$W/code" &
pid=$!
until_true 20 all_spooled $((before + 1)) || fail "a NAR is taken"
ok "another writer gives up" not sqlite3 -cmd '.timeout 6000' "$S/index.db" \
    'BEGIN IMMEDIATE'
unlocked
wait "$pid"
is "an upload waited" "$(cat "$W/code")" 201
old_locks

# Reading ---------------------------------------------------------------------------
e=$(printf %s "$key" | perl -pe 's/nar$/na%72/')
for u in "$U/cache/$key" "$U/cache/$e"; do
	req "$u"
	ok "a NAR comes back" cmp -s "$W/body" "$nar"
	req -I "$u"
	is "HEAD tells its length" "$code $(header content-length)" \
	    "200 $(wc -c <"$nar" | tr -d ' ')"
	req -r 8-15 "$u"
	is "a range" "$code $(od -An -c "$W/body" | tr -d ' \n')" \
	    "206 $(dd if="$nar" bs=1 skip=8 count=8 2>/dev/null |
		od -An -c | tr -d ' \n')"
done
is "what is not there" "$(status "$U/cache/00000000000000000000000000000000.narinfo")" \
    404
req -H "TMPNIX-CONF: /nonexistent" "$U/cache/nix-cache-info"
is "a client's header names no configuration" "$code" 200
# range NAME STATUS CONTENT-RANGE FROM BYTES WORDS...: by the program itself.
# (Another web server, that was not told of TMPNIX_SEND, has nobody else do it.)
range() {
	range_name=$1 range_from=$4 range_n=$5
	is_range="$2 $3 $5"
	shift 5
	cgi cache GET "/$key" "TMPNIX_CONF=$CONF" "$@"
	tr -d '\r' <"$W/out" | sed '/^$/q' >"$W/head"
	tail -c +$(($(wc -c <"$W/head") + $(wc -l <"$W/head") + 1)) "$W/out" \
	    >"$W/part"
	is "$range_name" "$cgi_status $(sed -n 's/^Content-Range: //p' \
	    "$W/head") $(wc -c <"$W/part" | tr -d ' ')" "$is_range"
	[ "$range_n" = 0 ] || ok "$range_name: these bytes" sh -c \
	    'tail -c +"$2" "$1" | head -c "$3" | cmp - "$4"' - "$nar" \
	    $((range_from + 1)) "$range_n" "$W/part"
}
size=$(wc -c <"$nar" | tr -d ' ')
range "the whole" 200 '' 0 "$size"
etag=$(sed -n 's/^ETag: //p' "$W/head")
ok "it has a tag" test -n "$etag"
ok "and says nosniff" grep -qx 'X-Content-Type-Options: nosniff' "$W/head"
ok "and is kept for good" grep -qx \
    'Cache-Control: public, max-age=31536000, immutable' "$W/head"
range "a range" 206 "bytes 8-15/$size" 8 8 HTTP_RANGE=bytes=8-15
range "its rest" 206 "bytes 8-$((size - 1))/$size" 8 $((size - 8)) \
    HTTP_RANGE=bytes=8-
range "its last bytes" 206 "bytes $((size - 5))-$((size - 1))/$size" \
    $((size - 5)) 5 HTTP_RANGE=bytes=-5
range "beyond its end" 416 "bytes */$size" 0 0 "HTTP_RANGE=bytes=$size-"
range "a range of the same" 206 "bytes 0-3/$size" 0 4 HTTP_RANGE=bytes=0-3 \
    "HTTP_IF_RANGE=$etag"
range "a range of another" 200 '' 0 "$size" HTTP_RANGE=bytes=0-3 \
    'HTTP_IF_RANGE="another"'
range "what the reader has" 304 '' 0 0 "HTTP_IF_NONE_MATCH=\"x\",$etag"
range "what it has not" 200 '' 0 "$size" 'HTTP_IF_NONE_MATCH="x"'
entered=$(sql "SELECT key FROM asset WHERE key LIKE '%.narinfo' LIMIT 1")
cgi cache GET "/$entered" "TMPNIX_CONF=$CONF"
etag=$(tr -d '\r' <"$W/out" | sed -n 's/^ETag: //p')
ok "a narinfo is kept for an hour" grep -q \
    '^Cache-Control: public, max-age=3600' "$W/out"
cgi cache GET "/$entered" "TMPNIX_CONF=$CONF" "HTTP_IF_NONE_MATCH=$etag"
is "a narinfo that the reader has" "$cgi_status" 304
cgi cache GET "/$key" "TMPNIX_CONF=$CONF" TMPNIX_SEND=x-accel
ok "the web server is told the file" grep -q '^X-Accel-Redirect: /' "$W/out"
is "a page for people" "$(status "$U/")" 200

# Refused before the body -------------------------------------------------------------
# refused NAME STATUS HEADERS: of a body of 1 GB nothing is sent.
refused() {
	raw "printf \$s \"PUT /cache/$key HTTP/1.1\\r\\n\${host}$3Content-Length: 1000000000\\r\\n\\r\\n\";
	    \$_ = <\$s>; print"
	is "$1, before the body" "$(sed -n 's/^HTTP[^ ]* \([0-9]*\).*/\1/p' \
	    "$W/raw")" "$2"
}
refused "no token" 401 ''
refused "a bad token" 401 'Authorization: Bearer none\r\n'
conf_set max_upload_size 1M
refused "too large" 413 '${auth}'
conf_set max_upload_size 0
until_true 20 no_uploads
ok "nothing is left of them" no_bodies
head -c 3000000 /dev/urandom >"$W/big"
req -T "$W/big" "$U/cache/$(nar_key "$W/big")"
is "a client that sends all the same hears why" "$code" 401

# Cut off and killed --------------------------------------------------------------------
half() {
	[ -n "$(find "$S/spool/incoming" -type f -size +0)" ]
}
# A body of which the rest never comes; $1 is done in the middle.
cut_off() {
	raw_start 'print $s "PUT /cache/'"$(nar_key "$W/big")"' HTTP/1.1\r\n",
	    $host, $auth, "Content-Length: 3000000\r\n\r\n", "x" x 1000000;
	    $s->flush; <STDIN>; print <$s>'
	until_true 20 half || fail "half a body arrives"
}
cut_off
ok "a client goes away" kill "$raw_pid"
wait "$raw_pid" 2>/dev/null
ok "the program ends" until_true 20 no_uploads
is "and leaves nothing" "$(find "$S/spool/incoming" -type f)" ''
cut_off
kill -9 $(uploads)
kill "$raw_pid" 2>/dev/null
wait "$raw_pid" 2>/dev/null
ok "kill -9 in the middle of a body leaves it" half
old_locks
path_make third "third"
put "$key" "$nar"
is "the next upload" "$code" 201
is "removes that" "$(find "$S/spool/incoming" -type f)" ''

# To S3 ------------------------------------------------------------------------------------
conf_s3
conf_set s3_public_url "http://127.0.0.1:$public_port"
conf_set relay_timeout 60s
bucket_public
path_make s3-1 "to the bucket"
put "$key" "$nar"
is "a NAR to S3" "$code $(state "$key")" "201 stored"
ok "is in the bucket" bucket_has "$key"

# A store that does not answer: the claim of a killed process returns.
echo "--- a slow store"
stuck() {
	[ "$(state "$key")" = relaying ]
}
path_make s3-2 "$(head -c 60000 /dev/urandom | base64)"
faults 'upload stall'
conf_set relay_wait 60s
put_in_background() {
	curl -q -s -o /dev/null -w '%{http_code}' -u ":$SECRET" -T "$nar" \
	    "$U/cache/$key" >"$W/put.code" 2>/dev/null &
	put_pid=$!
	until_true 20 stuck || fail "it is relayed"
}
put_in_background
kill -9 $(uploads)
wait "$put_pid"
ok "kill -9 while it is relayed is no success ($(cat "$W/put.code"))" \
    not grep -q '^2' "$W/put.code"
is "its row and its file stay" "$(state "$key") $(sql "SELECT count(*)
    FROM asset WHERE key = '$key' AND spool IS NOT NULL")" "relaying 1"
curl -q -s -L "$U/cache/$key" >"$W/back"
ok "it is served meanwhile" cmp -s "$W/back" "$nar"
faults
old_locks
put "$hash.narinfo" "$info"
is "its narinfo's process carries it first" \
    "$code $(state "$key") $(state "$hash.narinfo")" "201 stored stored"

path_make s3-3 "$(head -c 60000 /dev/urandom | base64)"
faults 'upload stall'
# (Nothing but the signal ends it.)
conf_set relay_wait 1h
conf_set relay_timeout 1h
put_in_background
kill -TERM $(uploads)
ok "SIGTERM while it is relayed ends the process" until_true 20 no_uploads ||
    kill -9 $(uploads)
wait "$put_pid"
ok "and is no success ($(cat "$W/put.code"))" not grep -q '^2' "$W/put.code"
conf_set relay_timeout 60s
is "having given back its claim" "$(state "$key")" spooled
faults

conf_set relay_wait 2s
path_make s3-4 "$(head -c 6000 /dev/urandom | base64)"
faults 'upload* status 503'
put "$key" "$nar"
is "a store that fails: 424" "$code" 424
ok "says that it is kept" grep -q 'kept to be tried again' "$W/body"
is "and it is" "$(state "$key")" spooled

# A spool that is full: held back, then refused, with no 5xx behind a body.
conf_set spool_max 1K
conf_set spool_wait 1s
nar_4=$nar key_4=$key info_4=$info hash_4=$hash
path_make s3-5 "text that does not fit"
put "$key" "$nar"
is "over spool_max" "$code" "$([ "$WEB" = nginx ] && echo 503 || echo 424)"
ok "says so" grep -q 'over spool_max: try again later' "$W/body"
conf_set spool_max 0
nar=$nar_4 key=$key_4 info=$info_4 hash=$hash_4

# tmpnix relay ------------------------------------------------------------------------------
tmpnix relay --retry-failed >"$W/out" 2>"$W/err"
is "tmpnix relay, while it fails" "$?" 1
ok "tells when it is tried again, and why" \
    grep -q "^$key: next try in .* s: .*503" "$W/out"
ok "and sums up" grep -q '^0 of 2 objects stored, 2 wait (.*), 0 failed$' "$W/out"
tmpnix relay --timeout never >/dev/null 2>&1
is "a wrong option" "$?" 2
faults
tmpnix relay --retry-failed >"$W/out" 2>"$W/err"
is "tmpnix relay, when it works again" "$? $(cat "$W/out")" \
    "0 2 of 2 objects stored, 0 wait (0 B), 0 failed"
is "all is stored" "$(sql "SELECT count(*) FROM asset WHERE state <> 'stored'")" 0
is "and the spool is empty" "$(find "$S/spool/incoming" "$S/spool/ready" -type f)" ''
ok "in the bucket too" bucket_has "$key"
put "$hash.narinfo" "$info"
is "the narinfo behind it" "$code $(state "$hash.narinfo")" "201 stored"

# Nobody else would try it before its time: sending it again is a new try.
path_make s3-7 "$(head -c 6000 /dev/urandom | base64)"
faults 'upload* status 503'
put "$key" "$nar"
is "a NAR whose upload fails" "$code $(state "$key")" "424 spooled"
faults
sql "UPDATE asset SET next_attempt = next_attempt + 1000 WHERE key = '$key'"
put "$key" "$nar"
is "sent again" "$code $(state "$key")" "200 stored"

# Beside a process that relays: its claim is not touched.
path_make s3-6 "$(head -c 60000 /dev/urandom | base64)"
conf_set relay_wait 60s
faults 'upload stall'
put_in_background
tmpnix relay --timeout 30s >"$W/out"
is "tmpnix relay beside an upload" "$?" 1
ok "leaves it alone" grep -q "^$key: another process carries it" "$W/out"
is "as it was" "$(state "$key")" relaying
kill -9 $(uploads)
wait "$put_pid"
faults
tmpnix relay >"$W/out"
is "and takes what a killed one had" "$? $(state "$key")" "0 stored"

# With Nix -----------------------------------------------------------------------------------
echo "--- Nix"
conf_set relay_wait 4m
nx "$client" nix-store --generate-binary-cache-key cgi-1 "$W/sk" "$W/pk"
sources 40
ok "nix copy of 60 paths to S3" nx "$client" nix copy \
    --to "$U/cache?secret-key=$W/sk" $(cat "$W/paths")
is "all are stored when it ends" \
    "$(sql "SELECT count(*) FROM asset WHERE state <> 'stored'")" 0
read_back "through the cache" "$U/cache"

# Derivations --------------------------------------------------------------------------------
echo "--- derivations"
ask() {
	req -X PUT -u ":$SECRET" "$U/drv/instantiate?file=p&attr=top"
}
ask
is "an evaluation" "$code" 200
drv=$(cat "$W/body")
hash=${drv##*/}
hash=${hash%%-*}
req "$U/drv/$hash.closure.tar"
is "its closure, produced before it is sent" \
    "$code $(header content-length)" "200 $(wc -c <"$W/body" | tr -d ' ')"
ok "is whole" tar -tf "$W/body"
# The one evaluation there may be at once is another process's, and so are both
# places for those who wait.
exec 9>>"$S/nix/slots/run.0"
flock -n 9
ask
is "a second evaluation waits, then is refused" "$code" 429
exec 8>>"$S/nix/slots/seat.0" 7>>"$S/nix/slots/seat.1"
flock -n 8 && flock -n 7
conf_set drv_timeout 1h
ask
is "a third is refused at once" "$code" 429
exec 9>&- 8>&- 7>&-
ask
is "when they are done it is answered" "$code $(cat "$W/body")" "200 $drv"

# A file that can't be read to its end is no success: the stream stops.
nar=$(curl -q -s "$U/drv/$hash.narinfo" | sed -n 's/^URL: //p')
: >"$S/drvs/$nar"
ok "a closure that can't be made is no success" \
    test "$(status "$U/drv/$hash.closure.tar")" = 500

ok "no secret in any log" no_secrets
until_true 20 no_uploads || fail "a process is left"
e2e_end
