# shellcheck shell=sh
# shellcheck disable=SC2034,SC2119,SC2120,SC2154
# For tests with an asset store on the network, behind lib.sh: a real S3
# (tests/rgw.sh) and, in front of it, tests/stand-ins/glitch.

BUCKET=tmpnix-assets
PROJECT=0b52f2b1-5c1c-4f7a-9b6e-2f1d3c4b5a69
# Never to be seen in a log.
TOKEN=glitch-token-7d1c0a93e2f84b56
KEY_ID=TESTACCESSKEY0000001
S3_SECRET=testsecret+key/with0special0chars0123456

store_finish() {
	store_rc=$?
	# Nothing is relayed any more when the S3 goes.
	site_stop
	RGW_DIR=$W/rgw "$top_srcdir/tests/rgw.sh" wipe >/dev/null 2>&1
	(exit $store_rc)
	e2e_finish
}

# rgw_start [tls]: $s3_port is where it listens ($tls_port too).
rgw_start() {
	mkdir -p "$W/log"
	if [ "${1-}" = tls ]; then
		openssl req -x509 -newkey rsa:2048 -nodes -days 2 \
		    -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 \
		    -keyout "$W/tls.key" -out "$W/tls.pem" 2>/dev/null ||
		    stop "openssl req"
		RGW_TLS_CERT=$W/tls.pem RGW_TLS_KEY=$W/tls.key
		export RGW_TLS_CERT RGW_TLS_KEY
	fi
	trap store_finish EXIT
	RGW_DIR=$W/rgw RGW_BUCKET=$BUCKET RGW_DNS_NAME=localhost \
	    RGW_ACCESS_KEY=$KEY_ID RGW_SECRET_KEY=$S3_SECRET \
	    "$top_srcdir/tests/rgw.sh" start >"$W/log/rgw.log" 2>&1 || {
		cat "$W/log/rgw.log"
		stop "rgw.sh start"
	}
	s3_port=$(cat "$W/rgw/port")
	tls_port=$(cat "$W/rgw/tls-port" 2>/dev/null)
}

# s3 CURL-ARGUMENTS: a request signed by the S3's user, to the S3 itself.
s3() {
	curl -q -sS -f --aws-sigv4 aws:amz:us-east-1:s3 \
	    --user "$KEY_ID:$S3_SECRET" \
	    -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' "$@"
}
# Everybody may read the bucket's objects.
bucket_public() {
	s3 -X PUT -d "{\"Version\":\"2012-10-17\",\"Statement\":[{
	    \"Effect\":\"Allow\",\"Principal\":\"*\",
	    \"Action\":[\"s3:GetObject\"],
	    \"Resource\":[\"arn:aws:s3:::$BUCKET/*\"]}]}" \
	    "http://127.0.0.1:$s3_port/$BUCKET?policy="
}
# The keys of the bucket, a line each.
bucket_keys() {
	bucket_after=
	while :; do
		s3 "http://127.0.0.1:$s3_port/$BUCKET?list-type=2&max-keys=1000${bucket_after:+&start-after=$bucket_after}" \
		    >"$W/list" || return 1
		echo >>"$W/list"
		sed 's/<Key>/\n&/g' "$W/list" |
		    sed -n 's/^<Key>\([^<]*\).*/\1/p' >"$W/list.keys"
		cat "$W/list.keys"
		grep -q '<IsTruncated>true' "$W/list" || break
		# In order of the alphabet, so that no cursor is needed.
		bucket_after=$(tail -n 1 "$W/list.keys" | sed 's|/|%2F|g; s/+/%2B/g; s/!/%21/g; s/:/%3A/g')
	done
}

# standin_start: $api_port, $proxy_port, $cdn_port, $large_port, $public_port.
standin_start() {
	mkdir -p "$W/standin"
	: >"$W/standin/requests"
	: >"$W/standin/faults"
	rm -f "$W/standin/ports"
	"$top_srcdir/tests/stand-ins/glitch" "$W/standin" "$s3_port" \
	    "$BUCKET" "$KEY_ID" "$S3_SECRET" "$PROJECT" "$TOKEN" \
	    >>"$W/log/standin.log" 2>&1 </dev/null &
	standin_pid=$!
	other_pids="$other_pids $standin_pid"
	until_true 20 test -s "$W/standin/ports" || stop "the stand-in"
	read -r standin_ports <"$W/standin/ports"
	for p in $standin_ports; do
		case $p in
		api=*) api_port=${p#*=} ;;
		s3=*) proxy_port=${p#*=} ;;
		cdn=*) cdn_port=${p#*=} ;;
		large=*) large_port=${p#*=} ;;
		public=*) public_port=${p#*=} ;;
		esac
	done
}
# faults LINE...: what the stand-in shall do wrong next; none: nothing.
faults() {
	printf '%s\n' "$@" | sed '/^$/d' >"$W/standin/faults"
}
# requests PATTERN: how many requests the stand-in saw whose line matches.
requests() {
	grep -c "$1" "$W/standin/requests"
}

# The site's configuration: Glitch, as the stand-in plays it.
conf_glitch() {
	rm -f "$W/token"
	(umask 077 && echo "$TOKEN" >"$W/token")
	conf_set asset_store glitch
	conf_set glitch_project "$PROJECT"
	conf_set glitch_token_file "$W/token"
	conf_set glitch_api "http://127.0.0.1:$api_port"
	conf_set glitch_upload "http://127.0.0.1:$proxy_port"
	conf_set glitch_cdn "http://127.0.0.1:$cdn_port"
	conf_set glitch_cdn_large "http://127.0.0.1:$large_port"
}
# credentials [KEY_ID [SECRET]]
credentials() {
	(umask 077 && printf '[default]\n%s = %s\n%s = %s\n' \
	    aws_access_key_id "${1-$KEY_ID}" \
	    aws_secret_access_key "${2-$S3_SECRET}" >"$W/credentials")
}
# conf_s3 [PORT]: S3 through the stand-in's proxy, or at that port.
conf_s3() {
	credentials
	conf_set asset_store s3
	# By another name than ours: Nix sends what its netrc has for a host
	# along, and a presigned URL with credentials besides is refused.
	conf_set s3_endpoint "http://localhost:${1-$proxy_port}"
	conf_set s3_bucket "$BUCKET"
	conf_set s3_credentials_file "$W/credentials"
}

# relayed: everything is stored; files that were let go may still be there.
relayed() {
	[ "$(sql "SELECT count(*) FROM asset WHERE state <> 'stored'")" = 0 ]
}
# relay_wait [SECONDS]
relay_wait() {
	until_true "${1-60}" relayed || {
		fail "everything gets stored"
		sql "SELECT state, count(*), max(last_error) FROM asset
		    GROUP BY 1"
	}
}
# state KEY: of a row, and its error.
state() {
	sql "SELECT state FROM asset WHERE key = '$1'"
}
state_is() {
	[ "$(state "$1")" = "$2" ]
}
last_error() {
	sql "SELECT last_error FROM asset WHERE key = '$1'"
}

# In no log is a secret: not ours, not the store's, not a signature.
no_secrets() {
	grep -rlaF -e "$TOKEN" -e "$S3_SECRET" -e "$SECRET" \
	    "$W"/log/*.log "$S/index.db" "$S/index.db-wal" 2>/dev/null |
	    grep -v init.log >"$W/secrets"
	[ ! -s "$W/secrets" ] || { cat "$W/secrets"; return 1; }
}

# sources N: $W/added has N store paths of the client's, $W/built N/2 more that
# refer to them and each other.
sources() {
	sources_n=$1
	mkdir -p "$W/src"
	i=0
	while [ $i -lt "$sources_n" ]; do
		i=$((i + 1))
		echo "source $i" >"$W/src/source-$i"
		head -c $((i * 37)) /dev/urandom | base64 >>"$W/src/source-$i"
		echo "$W/src/source-$i"
	done | nx "$client" xargs nix-store --add >"$W/added" ||
	    stop "nix-store --add"
	{
		echo 'let s = ['
		sed 's/.*/  (builtins.storePath &)/' "$W/added"
		cat <<'EOT'
];
at = builtins.elemAt;
n = builtins.length s / 2;
ds = builtins.genList (i: derivation {
  name = "built-${toString i}";
  system = builtins.currentSystem;
  builder = "/bin/sh";
  args = [ "-c" "echo $out $deps >$out" ];
  deps = [ (at s i) (at s (i + n)) ] ++
    (if i > 1 then [ (at ds (i - 1)) (at ds (i / 2)) ] else [ ]);
}) n;
in ds
EOT
	} >"$W/sources.nix"
	nx "$client" nix-build --no-out-link "$W/sources.nix" >"$W/built" \
	    2>"$W/build.err" || { tail "$W/build.err"; stop "nix-build"; }
	cat "$W/added" "$W/built" >"$W/paths"
}

# client_again: an empty Nix in the place of the client's, reading from $1.
client_again() {
	chmod -R u+w "$client"
	rm -rf "$client"
	client_make "$client"
	cat >>"$client/conf/nix.conf" <<EOT
substituters = $1
require-sigs = true
trusted-public-keys = $(cat "$W/pk")
EOT
}
# read_back NAME URL: all of $W/paths from there into an empty store.
read_back() {
	client_again "$2"
	# shellcheck disable=SC2046
	ok "nix-store -r of all, $1" nx "$client" nix-store -r \
	    $(cat "$W/paths")
	# shellcheck disable=SC2046
	ok "nix store verify, $1" nx "$client" nix store verify -r \
	    $(cat "$W/paths")
}

# odd_keys: objects with such keys are stored and come back.
odd_keys() {
	printf 'a log\n' >"$W/log.txt"
	h=0123456789abcdfghijklmnpqrsvwxyz
	x=0123456789abcdef0123456789abcdef
	id="sha256:$x$x!out"
	printf '{"dependentRealisations":{},"id":"%s","outPath":"%s","signatures":[]}' \
	    "$id" "$h-x" >"$W/realisation"
	for k in "log/$h-a+b_c.drv" "log/$h-a?b=c.drv" \
	    "realisations/$id.doi" \
	    "debuginfo/0123456789abcdef0123456789abcdef01234567.debug" "$h.ls"; do
		f=$W/log.txt
		case $k in
		realisations/*) f=$W/realisation ;;
		esac
		put "$k" "$f"
		is "PUT $k" "$code" 201
		relay_wait
		is "is stored" "$(state "$k")" stored
		curl -q -s -L "$U/cache/$k" >"$W/back"
		ok "and comes back" cmp "$f" "$W/back"
		is "and is there for a HEAD" "$(status -L -I "$U/cache/$k")" 200
	done
}
