#!/bin/sh
# The walk over S3: public and presigned reads, https, a virtual host; and what
# an administrator gets told when his bucket does not work.
# shellcheck disable=SC1091,SC2015,SC2016,SC2046,SC2154
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/store.sh"

client=$W/nix
rgw_start tls
standin_start
site_make "$client/store"
# The first start is with the store that is the default: so it is for everybody
# who installs first and configures then.
site_start
settle
is "nix-cache-info is a file first" \
    "$(cd "$S/store" && find . -type f)" ./nix-cache-info
site_stop
conf_s3
conf_set s3_prefix cache/nix/
conf_set s3_url_expires 2m
# To check a configuration is to change nothing.
conf_set public_reads no
ok "tmpnix -n" tmpnix -n
ok "moves nothing" test -e "$S/store/nix-cache-info"
conf_set public_reads yes
site_start
client_make "$client"
nx "$client" nix-store --generate-binary-cache-key walk-1 "$W/sk" "$W/pk"
sources 200
n=$(wc -l <"$W/paths")
is "300 paths to push" "$n" 300

restart() {
	for p in upload cache; do
		prog_stop $p
		prog_start $p
	done
	for p in upload cache; do
		prog_ready $p
	done
}

# Presigned -----------------------------------------------------------------------
ok "nix copy of 300 paths" nx "$client" nix copy \
    --to "$U/cache?secret-key=$W/sk" $(cat "$W/paths")
relay_wait 180
rows=$(sql 'SELECT count(*) FROM asset')
is "assets: two a path, and nix-cache-info" "$rows" 601
is "one upload an asset" "$(requests '^upload PUT .* 200$')" "$rows"
is "and no other" "$(requests '^upload ')" "$rows"
is "one confirmation an asset" "$(requests '^s3 HEAD .* 200$')" "$rows"
is "and nothing else was asked" "$(wc -l <"$W/standin/requests")" \
    "$((2 * rows))"
bucket_keys | sort >"$W/in-bucket"
sql "SELECT 'cache/nix/' || key FROM asset" | sort >"$W/in-index"
ok "the bucket has them, and nothing else" cmp "$W/in-bucket" "$W/in-index"
ok "nix-cache-info too" grep -qx cache/nix/nix-cache-info "$W/in-bucket"
ok "that the store is another is in the log" \
    grep -q 'the asset store was file, and is s3 ' "$W/log/upload.log"
nar=$(sql "SELECT key FROM asset WHERE key LIKE 'nar/%' LIMIT 1")
info=$(sql "SELECT key FROM asset WHERE hash_part IS NOT NULL LIMIT 1")
s3 -I "http://127.0.0.1:$s3_port/$BUCKET/cache/nix/$nar" >"$W/hdr"
is "stored with its type and for ever" \
    "$(header content-type), $(header cache-control)" \
    "application/x-nix-nar, public, max-age=31536000, immutable"
is "no URL in the index expires" \
    "$(sql "SELECT count(*) FROM asset WHERE url LIKE '%?%'")" 0
req "$U/cache/$nar"
is "GET of a NAR" "$code" 302
ok "to a presigned URL" expr "$(header location)" : \
    '.*[?]X-Amz-Algorithm=.*X-Amz-Expires=120.*X-Amz-Signature=[0-9a-f]*$'
is "which nobody keeps longer than it is good for" \
    "$(header cache-control)" "private, max-age=60"
url=$(header location)
is "that works" "$(status "$url")" 200
is "for a GET alone" "$(status -I "$url")" 403
is "and not when it is changed" "$(status "${url}0")" 403
is "HEAD has its own" "$(status -L -I "$U/cache/$nar")" 200
# What went to the store before it was verified can't be verified any more.
curl -q -s -L -o "$W/nar.back" "$U/cache/$nar"
sql "DELETE FROM nar WHERE key = '$nar'"
is "a NAR that left unverified is asked for again" \
    "$(status -I "$U/cache/$nar")" 404
is "while it can be read" "$(status "$U/cache/$nar")" 302
put "$nar" "$W/nar.back"
is "it is taken" "$code" 200
# What the bucket has lost is healed by pushing it again.
relay_wait
s3 -X DELETE "http://127.0.0.1:$s3_port/$BUCKET/cache/nix/$nar"
put "$nar" "$W/nar.back"
is "a NAR that the bucket has lost is taken" "$code" 200
relay_wait
is "and is there again" "$(status -L "$U/cache/$nar")" 200
uploads=$(requests '^upload ')
put "$nar" "$W/nar.back"
is "one that it has is known" "$code" 200
relay_wait
is "and not uploaded again" "$(requests '^upload ')" "$uploads"
head_is_302() {
	[ "$(status -I "$U/cache/$nar")" = 302 ]
}
ok "and verified" until_true 20 head_is_302
is "without a signature there is nothing" "$(status "${url%%\?*}")" 403
is "a range" "$(curl -q -s -L -r 0-3 "$U/cache/$nar" | wc -c)" 4
req -I "$U/cache/$info"
is "HEAD of a narinfo is ours" "$code" 200
is "GET of a narinfo redirects" "$(status "$U/cache/$info")" 302
conf_set narinfo inline
restart
is "unless told not to" "$(status "$U/cache/$info")" 200
conf_set narinfo redirect
restart
# Keys with everything that a URL may be particular about -----------------------------
odd_keys
prog_stop upload
rm -rf "$S/spool/ready" "$S/spool/incoming"
mkdir "$S/spool/ready" "$S/spool/incoming"
read_back "presigned, no spool" "$U/cache"

# Public ----------------------------------------------------------------------------
ok "the bucket is made public" bucket_public
conf_set s3_public_url "http://127.0.0.1:$public_port"
prog_stop cache
prog_start cache
prog_ready cache
prog_start upload
prog_ready upload
req "$U/cache/$nar"
is "GET of a NAR" "$code $(header location)" \
    "302 http://127.0.0.1:$public_port/cache/nix/$nar"
path_make public "for everybody"
put "$key" "$nar"
relay_wait
is "a new one is confirmed as readers see it" \
    "$(requests "^public HEAD /cache/nix/$key 200")" 1
read_back "public" "$U/cache"
site_stop
read_back "from the bucket's URL alone" \
    "http://localhost:$s3_port/$BUCKET/cache/nix"

# https, and a virtual host ---------------------------------------------------------------
web_start
conf_set s3_public_url none
conf_set s3_endpoint "https://127.0.0.1:$tls_port"
restart
path_make https "over https"
put "$key" "$nar"
failed_so() {
	sql "SELECT last_error FROM asset WHERE key = '$1'" | grep -q "$2"
}
ok "a certificate that nobody vouches for is not trusted" \
    until_true 20 failed_so "$key" certificate
is "and the object waits" "$(state "$key")" spooled
conf_set tls_ca_file "$W/tls.pem"
restart
ok "tmpnix retry" tmpnix retry
relay_wait
is "with tls_ca_file it is stored" "$(state "$key")" stored
# (The reader has to know the certificate too.)
req "$U/cache/$key"
is "and read by https" \
    "$(status --cacert "$W/tls.pem" "$(header location)")" 200
conf_set tls_ca_file none
conf_set s3_endpoint "http://localhost:$s3_port"
conf_set s3_virtual_host yes
restart
path_make virtual "by a virtual host"
put "$key" "$nar"
relay_wait
req "$U/cache/$key"
ok "the bucket is in the host's name" expr "$(header location)" : \
    "http://$BUCKET.localhost:$s3_port/cache/nix/"
curl -q -s -L "$U/cache/$key" >"$W/back"
ok "and it comes back" cmp "$W/back" "$nar"
conf_set s3_virtual_host no
conf_set s3_endpoint "http://localhost:$proxy_port"

# What is wrong with a bucket, in words -----------------------------------------------------
# wrong NAME PATTERN: a PUT is taken, then fails for good with these words.
wrong() {
	path_make "wrong-$1" "$1"
	put "$key" "$nar"
	is "$1: the PUT is taken" "$code" 201
	ok "it fails" until_true 20 state_is "$key" failed
	ok "saying $2" failed_so "$key" "$2"
	ok "so does status" sh -c "'$top_builddir/tmpnix' -f '$CONF' status |
	    grep 'last error.*$2'"
	not tmpnix status >/dev/null && pass "which exits 1" ||
	    fail "status exits 0"
	is "it can still be read" "$(status "$U/cache/$key")" 200
	wrong_key=$key
}
# right: the right credentials are put in place, and no program is restarted.
right() {
	credentials
	ok "tmpnix retry, with the right ones in the file" tmpnix retry "$wrong_key"
	ok "stores it, with no restart" until_true 20 state_is "$wrong_key" stored ||
	    last_error "$wrong_key"
	req "$U/cache/$wrong_key"
	is "and readers get URLs signed by them" "$(status "$(header location)")" 200
}
ok "status has asked the bucket" tmpnix status
path_make rotated "before the credentials are rotated"
put "$key" "$nar"
relay_wait
rotated_key=$key
credentials "$KEY_ID" another-secret-of-40-characters-0123456
# Before anything was pushed:
ok "wrong credentials are seen by status" not tmpnix status
ok "which says what is wrong" grep -q \
    '^  asset store: s3: read: status 403: SignatureDoesNotMatch' "$W/ok.out"
wrong secret "SignatureDoesNotMatch.*look into s3_credentials_file, $W/cred"
req "$U/cache/$rotated_key"
is "readers get URLs signed by what is in the file" \
    "$(status "$(header location)")" 403
right
# By another name, as those who rotate them do; the old ones stay in force while
# it is not yet right.
(umask 077 && echo 'aws_access_key_id' >"$W/credentials.new")
mv "$W/credentials.new" "$W/credentials"
path_make half "the file is half written"
put "$key" "$nar"
ok "half a file: the old ones are used" until_true 20 state_is "$key" stored
ok "and the log says what is wrong with it" \
    grep -q 's3_credentials_file.*needs the lines' "$W/log/upload.log"
credentials
chmod 640 "$W/credentials"
path_make mode "the file's mode is wrong"
put "$key" "$nar"
ok "a file that others can read: the old ones are used" \
    until_true 20 state_is "$key" stored
ok "and the log says so" \
    grep -q 's3_credentials_file.*chmod 600' "$W/log/upload.log"
rm "$W/credentials"
credentials NOSUCHKEY0000000001
wrong key-id "InvalidAccessKeyId.*look into s3_credentials_file, $W/cred"
right
conf_set s3_bucket no-such-bucket
restart
wrong bucket NoSuchBucket
conf_set s3_bucket "$BUCKET"
# (Not the faketime command: it stays between us and the program.)
for fake in /usr/lib/*/faketime/libfaketime.so.1; do
	:
done
[ -e "$fake" ] || stop "libfaketime is missing"
# shellcheck disable=SC2034
TMPNIX_WRAP="env LD_PRELOAD=$fake FAKETIME=-1d"
prog_stop upload
prog_start upload
prog_ready upload
# shellcheck disable=SC2034
TMPNIX_WRAP=
wrong clock RequestTimeTooSkewed
not failed_so "$key" s3_credentials_file && pass "which is not its fault" ||
    fail "the credentials are blamed: $(last_error "$key")"
s3 -X PUT -d "{\"Version\":\"2012-10-17\",\"Statement\":[{
    \"Effect\":\"Deny\",\"Principal\":\"*\",\"Action\":[\"s3:PutObject\"],
    \"Resource\":[\"arn:aws:s3:::$BUCKET/*\"]}]}" \
    "http://127.0.0.1:$s3_port/$BUCKET?policy="
restart
wrong permission "AccessDenied.*look into s3_credentials_file"
bucket_public
is "a key that is no failed one" \
    "$(tmpnix retry nar/none >/dev/null 2>&1; echo $?)" 1
ok "tmpnix retry KEY" tmpnix retry "$wrong_key"
ok "starts that one over" until_true 20 state_is "$wrong_key" stored
# (Another bucket is another store, to which nix-cache-info goes too.)
is "and the others stay" "$(sql "SELECT count(*) FROM asset
    WHERE state = 'failed' AND key <> 'nix-cache-info'")" 2
ok "tmpnix retry" tmpnix retry
relay_wait
ok "status is well again" tmpnix status
ok "no secret is in a log" no_secrets
not grep -rlaF another-secret "$W"/log/*.log >"$W/secrets" &&
    pass "nor a wrong one" || fail "a wrong one is: $(cat "$W/secrets")"

e2e_end
