#!/bin/sh
# Asset stores that lie, forget, or would have our secrets elsewhere: nothing is
# called stored that is not there as it was sent, and no secret goes anywhere.
# shellcheck disable=SC1091,SC2015,SC2016,SC2154
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/store.sh"

STORE=/nix/store
rgw_start
standin_start
site_make $STORE
conf_s3
conf_set relay_timeout 3s
site_start
relay_wait

# Somebody who is not the store, and notes whoever comes.
: >"$W/arrived"
perl -MIO::Socket::INET -e '
	my $l = IO::Socket::INET->new(LocalAddr => "127.0.0.1", Listen => 9) or
	    exit 2;
	open(my $p, ">", "$ARGV[0]/elsewhere.new");
	print $p $l->sockport;
	close $p;
	rename "$ARGV[0]/elsewhere.new", "$ARGV[0]/elsewhere";
	while (my $c = $l->accept) {
		open(my $f, ">>", "$ARGV[0]/arrived");
		print $f "came\n";
		close $f;
		print $c "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
	}' "$W" &
other_pids="$other_pids $!"
until_true 20 test -s "$W/elsewhere" || stop "no listener"
elsewhere=$(cat "$W/elsewhere")

failed_so() {
	last_error "$1" | grep -q "$2"
}
# lie NAME STATES PATTERN FAULT...: an object meets this, is in one of these
# states with an error that matches, and is served; then it gets there.
n=0
lie() {
	lie_name=$1 lie_states=$2 lie_why=$3
	shift 3
	n=$((n + 1))
	path_make "lie-$n" "$n $lie_name $(seq 900)"
	faults "$@"
	put "$key" "$nar"
	is "$lie_name: the PUT is taken" "$code" 201
	ok "it fails, saying $lie_why" until_true 20 failed_so "$key" \
	    "$lie_why" || last_error "$key"
	case " $lie_states " in
	*" $(state "$key") "*) pass "it is not stored" ;;
	*) fail "$lie_name: it is $(state "$key")" ;;
	esac
	curl -q -s -L "$U/cache/$key" >"$W/back"
	ok "it is served meanwhile" cmp "$W/back" "$nar"
	faults
	tmpnix retry >/dev/null
	tmpnix retry "$key" >/dev/null 2>&1
	ok "in the end it is stored" until_true 40 state_is "$key" stored ||
	    last_error "$key"
	s3 "http://127.0.0.1:$s3_port/$BUCKET/$key" >"$W/back"
	ok "as it was sent" cmp "$W/back" "$nar"
}
WAITING='spooled relaying'

lie "an upload is redirected" "$WAITING failed" "status 307" \
    "upload* redirect $elsewhere"
lie "the read back is redirected" "$WAITING failed" "status 307" \
    "s3* redirect $elsewhere"
is "nobody came elsewhere" "$(cat "$W/arrived")" ''
lie "2xx, nothing stored" "$WAITING" "status 40[34]" "upload lie"
lie "2xx, then forgotten at every try" "$WAITING" "status 40[34]" "upload* lie"
lie "half of it" "$WAITING" "bytes instead of" "upload truncate"
lie "another length" "$WAITING" "instead of" "s3 size"
lie "another ETag" "$WAITING" "ETag" "s3* etag"
lie "a byte is changed on its way" "$WAITING" "ContentSHA256" "upload flip"
lie "400 RequestTimeout" "$WAITING" "RequestTimeout" \
    "upload error 400,RequestTimeout"
lie "400 of another kind" failed "MalformedXML" \
    "upload error 400,MalformedXML"
lie "an error with all that was sent" "$WAITING failed" "Repeat" \
    "upload repeat"

# A day is too long.
path_make day "Retry-After of a day"
faults "upload* status 503,86400"
put "$key" "$nar"
ok "it waits" until_true 20 failed_so "$key" 503
at=$(sql "SELECT next_attempt - unixepoch() FROM asset WHERE key = '$key'")
ok "an hour and a quarter at most, not the day ($at s)" test "$at" -le 4500
ok "but as long as it may ($at s)" test "$at" -gt 3000
faults
upload_restart
tmpnix retry >/dev/null
relay_wait

# A certificate of the right CA, of another host: the stand-in's proxy is behind
# nothing, so that any server of TLS will do.
mkdir -p "$W/tls"
tls_make site
printf 'subjectAltName=DNS:elsewhere.example\n' >"$W/tls/ext"
openssl x509 -req -in "$W/tls/site.csr" -days 2 -CA "$W/tls/site-ca.pem" \
    -CAkey "$W/tls/site-ca.key" -CAcreateserial -extfile "$W/tls/ext" \
    -out "$W/tls/other.pem" 2>/dev/null || stop "openssl x509"
tls_port=$(free_port)
openssl s_server -quiet -accept "127.0.0.1:$tls_port" -cert "$W/tls/other.pem" \
    -key "$W/tls/site.key" >"$W/tls/got" 2>"$W/log/s_server.log" </dev/null &
other_pids="$other_pids $!"
listens() {
	curl -q -s -k -m 1 -o /dev/null "https://127.0.0.1:$tls_port/" ||
	    [ $? = 28 ] || [ $? = 52 ]
}
until_true 20 listens
: >"$W/tls/got"
path_make name "another's certificate"
upload_restart s3_endpoint "https://localhost:$tls_port" \
    tls_ca_file "$W/tls/site-ca.pem"
put "$key" "$nar"
is "another's certificate: the PUT is taken" "$code" 201
ok "it fails" until_true 20 failed_so "$key" "[a-z]"
ok "because of the name" failed_so "$key" \
    "certificate subject name\|no alternative certificate" ||
    last_error "$key"
is "and nothing was sent" "$(cat "$W/tls/got")" ''
conf_set tls_ca_file none
conf_s3
upload_restart
tmpnix retry >/dev/null
relay_wait

# Glitch's API and its uploads repeat what they got.
prog_stop upload
conf_glitch
prog_start upload
prog_ready upload
tmpnix retry >/dev/null
relay_wait
path_make repeat-1 "the upload repeats the policy's signature"
faults "upload* repeat"
put "$key" "$nar"
ok "the store repeats what it got" until_true 20 failed_so "$key" Repeat
{
	last_error "$key"
	cat "$W/log/upload.log"
	tmpnix status 2>&1
} >"$W/said"
# The stand-in's policies are signed by HMAC-SHA-1: 28 characters of base 64.
ok "no signature is in log, status or index" not grep -q \
    '[A-Za-z0-9+/]\{27\}=' "$W/said"
faults
tmpnix retry >/dev/null
tmpnix retry "$key" >/dev/null 2>&1
relay_wait
path_make redirect-api "the API is elsewhere"
rm -f "$W/token"
(umask 077 && echo "$TOKEN" >"$W/token")
upload_restart
faults "api* redirect $elsewhere"
put "$key" "$nar"
ok "the API is redirected" until_true 20 failed_so "$key" 307
faults "api* repeat"
upload_restart
path_make repeat-api "the API repeats the token"
put "$key" "$nar"
ok "the API repeats what it got" until_true 20 failed_so "$key" "400"
is "nobody came elsewhere" "$(cat "$W/arrived")" ''
ok "no secret is in a log" no_secrets
tmpnix status >"$W/said" 2>&1
ok "nor in status" not grep -qF -e "$TOKEN" -e "$S3_SECRET" "$W/said"
faults
tmpnix retry >/dev/null
for k in $(sql "SELECT key FROM asset WHERE state = 'failed'"); do
	tmpnix retry "$k" >/dev/null
done
upload_restart
relay_wait

e2e_end
