# shellcheck shell=sh
# shellcheck disable=SC2034
# What the end-to-end tests share; each sources this file, first thing.
#
# A test gets a directory of its own, $W, under TMPDIR, and its own web server
# and programs on a free port of 127.0.0.1, with the configuration in conf/nginx
# or conf/lighttpd as it is but for paths and port.  Everything started is
# stopped, by its process id, and $W removed when the test ends, however it ends.
#
# WEB=nginx (or nothing) or WEB=lighttpd says which web server that is.
# MODE=cgi (not fastcgi, or nothing): no program runs, see cgi.sh.
# E2E_KEEP=1 keeps $W, TMPNIX_WRAP is put in front of the programs (valgrind).

: "${top_srcdir:=$(cd "$(dirname "$0")/../.." && pwd)}"
: "${top_builddir:=$top_srcdir}"
# automake's have "/../" in them, which tmpnix.conf takes for no path.
top_srcdir=$(cd "$top_srcdir" && pwd -P) || exit 1
top_builddir=$(cd "$top_builddir" && pwd -P) || exit 1
unset NIX_STORE_DIR NIX_REMOTE NIX_PATH NIX_CONFIG NIX_USER_CONF_FILES \
    http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY
LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin
export LC_ALL PATH

W=$(mktemp -d "${TMPDIR:-/tmp}/tmpnix-e2e.XXXXXX") || exit 1
failures=0 checks=0
WEB=${WEB:-nginx} MODE=${MODE:-fastcgi}
# shellcheck source=tests/e2e/lighttpd.sh
. "$top_srcdir/tests/e2e/lighttpd.sh"
web_pid='' cache_pid='' upload_pid='' drv_pid='' other_pids=''

# shellcheck disable=SC2317 # (called by the trap)
e2e_finish() {
	rc=$?
	trap '' INT TERM HUP
	trap - EXIT
	for p in $other_pids; do
		kill "$p" 2>/dev/null && wait "$p" 2>/dev/null
	done
	site_stop
	if [ "$rc" != 0 ]; then
		for f in "$W"/log/*.log; do
			case $f in
			*access.log) continue ;;
			esac
			[ ! -s "$f" ] || { echo "--- $f"; tail -n 15 "$f"; }
		done
	fi
	if [ -n "${E2E_KEEP-}" ]; then
		echo "kept $W"
	else
		chmod -R u+w "$W"
		rm -rf "$W"
	fi
	exit "$rc"
}
trap e2e_finish EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# To be the last line of a test.
e2e_end() {
	echo "$checks checks, $failures failed"
	[ "$failures" = 0 ]
	exit
}

# Checks ---------------------------------------------------------------------

pass() {
	checks=$((checks + 1))
	echo "ok: $1"
}
fail() {
	checks=$((checks + 1))
	failures=$((failures + 1))
	echo "FAILED: $*"
}
# ok NAME COMMAND...: the command succeeds; what it said is in $W/ok.out.
ok() {
	ok_name=$1
	shift
	if "$@" >"$W/ok.new" 2>&1; then
		mv "$W/ok.new" "$W/ok.out"
		pass "$ok_name"
	else
		mv "$W/ok.new" "$W/ok.out"
		fail "$ok_name"
		tail -n 15 "$W/ok.out"
		return 1
	fi
}
# is NAME GOT WANTED
is() {
	if [ "$2" = "$3" ]; then
		pass "$1"
	else
		fail "$1: got \"$2\", not \"$3\""
		return 1
	fi
}
# A test can't go on.
stop() {
	fail "$*"
	exit 1
}
# until_true SECONDS COMMAND...: ask ten times a second.
until_true() {
	until_n=$(($1 * 10))
	shift
	until "$@" >/dev/null 2>&1; do
		until_n=$((until_n - 1))
		[ "$until_n" -gt 0 ] || return 1
		sleep 0.1
	done
}

# The site: web server and programs ------------------------------------------

free_port() {
	perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(
	    LocalAddr => "127.0.0.1", Listen => 1)->sockport'
}

# conf_set KEY VALUE: in the site's tmpnix.conf.
conf_set() {
	sed "/^$1 *=/d" "$CONF" >"$CONF.new"
	echo "$1 = $2" >>"$CONF.new"
	mv "$CONF.new" "$CONF"
}

tmpnix() {
	"$top_builddir/tmpnix" -f "$CONF" "$@"
}

# The site's address at $port: with TLS=yes by https.
site_url() {
	U=http://127.0.0.1:$port
	[ "${TLS-}" != yes ] || U=https://localhost:$port
}

# tls_make NAME: a CA and a certificate of localhost, in $W/tls: NAME-ca.pem,
# NAME.pem, NAME.key.
tls_make() {
	mkdir -p "$W/tls"
	printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\n' >"$W/tls/ext"
	{
		openssl req -x509 -newkey rsa:2048 -nodes -days 2 \
		    -subj "/CN=$1 CA" -keyout "$W/tls/$1-ca.key" \
		    -out "$W/tls/$1-ca.pem" &&
		    openssl req -newkey rsa:2048 -nodes -subj /CN=localhost \
			-keyout "$W/tls/$1.key" -out "$W/tls/$1.csr" &&
		    openssl x509 -req -in "$W/tls/$1.csr" -days 2 \
			-CA "$W/tls/$1-ca.pem" -CAkey "$W/tls/$1-ca.key" \
			-CAcreateserial -extfile "$W/tls/ext" \
			-out "$W/tls/$1.pem"
	} 2>"$W/tls/log" || stop "openssl: $(tail -n 1 "$W/tls/log")"
}

# site_make STORE_DIR [file|stream]: configuration, keys, and a token "all" with
# push, pull and drv in $W/netrc.  Nothing runs yet.
site_make() {
	S=$W/state
	CONF=$W/tmpnix.conf
	BODY=${2:-file}
	# lighttpd knows no other way.
	[ "$WEB" != lighttpd ] || BODY=stream
	mkdir -p "$W/run" "$W/log" "$W/tmp" "$W/nginx" "$W/lighttpd"
	port=$(free_port)
	site_url
	tmpnix init -d "$S" -S "$1" -u "$U" -b "$S/body" >"$W/log/init.log" \
	    2>&1 || stop "tmpnix init"
	# All of it belongs to whoever runs the test.
	[ "$(id -u)" != 0 ] || conf_set user root
	tmpnix token add all --push --pull --drv >"$W/netrc" \
	    2>>"$W/log/init.log" || stop "tmpnix token add"
	SECRET=$(sed -n 's/.*password  *\([^ ]*\).*/\1/p' "$W/netrc")
	web_make
}

# The web server's configuration for $port, $BODY and $READS.
web_make() {
	"${WEB}_make"
}

# nginx's configuration for $port and $BODY.
nginx_make() {
	for f in "$top_srcdir"/conf/nginx/*.conf; do
		sed -e "s|/etc/tmpnix/nginx/|$W/nginx/|g" \
		    -e "s|/var/lib/tmpnix/|$S/|g" \
		    -e "s|/run/tmpnix/|$W/run/|g" \
		    -e "s|listen 80;|listen 127.0.0.1:$port;|" \
		    -e "s|listen 443 |listen 127.0.0.1:$port |" \
		    -e "s|/etc/tmpnix/tls/cert.pem|$W/tls/site.pem|" \
		    -e "s|/etc/tmpnix/tls/key.pem|$W/tls/site.key|" \
		    "$f" >"$W/nginx/${f##*/}"
	done
	if [ "${TLS-}" = yes ]; then
		[ -e "$W/tls/site.pem" ] || tls_make site
		f=$W/nginx/tmpnix.conf
		sed -e 's|#\(include .*_tls\)|\1|' -e '/^	listen /d' "$f" >"$f.new"
		mv "$f.new" "$f"
		# Of curl's and Nix's here.
		CURL_CA_BUNDLE=$W/tls/site-ca.pem
		NIX_SSL_CERT_FILE=$CURL_CA_BUNDLE
		export CURL_CA_BUNDLE NIX_SSL_CERT_FILE
	fi
	# Which of the two lines is the comment.
	if [ "$BODY" = stream ]; then
		f=$W/nginx/tmpnix.conf
		sed -e 's|^\(.*\)#\(include .*body_stream\)|\1\2|' \
		    -e 's|^\(.*\)\(include .*body_file\)|\1#\2|' "$f" >"$f.new"
		mv "$f.new" "$f"
	fi
	if [ "$MODE" = cgi ]; then
		f=$W/nginx/tmpnix.conf
		sed -e 's|^#\(include .*programs_cgi\)|\1|' \
		    -e 's|^\(include .*programs_fastcgi\)|#\1|' "$f" >"$f.new"
		mv "$f.new" "$f"
		cgi_make "$W/nginx/tmpnix_programs_cgi.conf"
	fi
	if [ "${READS-public}" = private ]; then
		f=$W/nginx/tmpnix.conf
		sed -e 's|^\(.*\)#\(include .*reads_private\)|\1\2|' \
		    -e 's|^\(.*\)\(include .*reads_public\)|\1#\2|' "$f" >"$f.new"
		mv "$f.new" "$f"
	fi
	{
		[ "$(id -u)" != 0 ] || echo "user $(id -un) $(id -gn);"
		cat <<EOT
worker_processes 2;
daemon off;
pid $W/tmp/nginx.pid;
error_log $W/log/nginx-error.log;
events { worker_connections 512; }
http {
	access_log $W/log/access.log;
	client_body_temp_path $W/tmp/body;
	fastcgi_temp_path $W/tmp/fastcgi;
	proxy_temp_path $W/tmp/proxy;
	scgi_temp_path $W/tmp/scgi;
	uwsgi_temp_path $W/tmp/uwsgi;
	include $W/nginx/tmpnix.conf;
	${NGINX_EXTRA-}
}
EOT
	} >"$W/nginx/nginx.conf"
}

# prog_start cache|upload|drv
prog_start() {
	# shellcheck disable=SC2086
	${TMPNIX_WRAP-} "$top_builddir/tmpnix-$1" -d -f "$CONF" \
	    -s "$W/run/$1.sock" >>"$W/log/$1.log" 2>&1 </dev/null &
	eval "$1_pid=$!"
}
# prog_stop cache|upload|drv [SIGNAL]: and wait for it.
prog_stop() {
	eval "prog_p=\$$1_pid"
	eval "$1_pid="
	# shellcheck disable=SC2154
	[ -n "$prog_p" ] || return 0
	kill "-${2:-TERM}" "$prog_p" 2>/dev/null
	if ! until_true 40 not kill -0 "$prog_p"; then
		fail "tmpnix-$1 does not stop"
		kill -9 "$prog_p"
	fi
	wait "$prog_p" 2>/dev/null
}
not() {
	! "$@"
}

web_run() {
	case $WEB in
	nginx) exec nginx -e "$W/log/nginx-error.log" -c "$W/nginx/nginx.conf" ;;
	lighttpd) exec lighttpd -D -f "$W/lighttpd/lighttpd.conf" ;;
	esac
}
web_start() {
	web_run >"$W/log/$WEB.log" 2>&1 </dev/null &
	web_pid=$!
	# Ready when it answers; another port when this one was taken from us.
	web_n=0
	until curl -q -s -o /dev/null -m 5 "$U/x"; do
		web_n=$((web_n + 1))
		[ $web_n -lt 150 ] || stop "$WEB does not answer"
		if ! kill -0 $web_pid 2>/dev/null; then
			cat "$W/log/$WEB.log" >>"$W/log/$WEB-error.log"
			grep -q 'Address already in use' \
			    "$W/log/$WEB-error.log" || stop "$WEB ended"
			: >"$W/log/$WEB-error.log"
			port=$(free_port)
			site_url
			conf_set url "$U"
			web_make
			web_start
			return
		fi
		sleep 0.1
	done
}
web_stop() {
	[ -n "$web_pid" ] || return 0
	kill "$web_pid" 2>/dev/null
	wait "$web_pid" 2>/dev/null
	web_pid=
}

# Does cache, upload or drv answer?
prog_answers() {
	case $1 in
	cache) [ "$(status "$U/cache/nix-cache-info")" = 200 ] ;;
	drv) [ "$(status "$U/drv/nix-cache-info")" = 200 ] ;;
	upload)
		[ "$(status -X PUT -H 'Content-Length: 0' \
		    "$U/cache/nix-cache-info")" = 401 ]
		;;
	esac
}
# prog_ready NAME: wait for that.
prog_ready() {
	until_true 20 prog_answers "$1" || stop "tmpnix-$1 does not answer"
}

# upload_restart [KEY VALUE ...]: with these set in tmpnix.conf.
upload_restart() {
	prog_stop upload
	while [ $# -gt 0 ]; do
		conf_set "$1" "$2"
		shift 2
	done
	prog_start upload
	prog_ready upload
}

site_start() {
	web_start
	for p in cache upload drv; do
		prog_start $p
	done
	for p in cache upload drv; do
		prog_ready $p
	done
}
site_stop() {
	web_stop
	for p in upload cache drv; do
		prog_stop $p
	done
}

# What is stored ------------------------------------------------------------

sql() {
	sqlite3 -cmd '.timeout 5000' "$S/index.db" "$1"
}
# Everything relayed into the store?
settled() {
	[ "$(sql "SELECT count(*) FROM asset WHERE state <> 'stored'")" = 0 ] &&
	    [ -z "$(find "$S/spool/incoming" "$S/spool/ready" -type f)" ]
}
settle() {
	until_true 60 settled || fail "everything spooled gets stored"
}
# Half-written bodies: none in the spool, none of the web server's.
no_bodies() {
	[ -z "$(find "$S/spool/incoming" "$S/body" "$W/tmp" -type f \
	    ! -name '*.pid' 2>/dev/null)" ]
}
# A fingerprint of all that is kept.
stored() {
	sql 'SELECT cache, key, size, hex(sha256) FROM asset ORDER BY 1, 2'
	sql 'SELECT cache, hash_part, narinfo FROM path ORDER BY 1, 2'
	find "$S/store" "$S/spool/ready" -type f | sort
}

# Requests ------------------------------------------------------------------

# status ARG...: the status of a curl request alone.
status() {
	curl -q -s -m 60 -o /dev/null -w '%{http_code}' "$@"
}
# req ARG...: status in $code, headers in $W/hdr, body in $W/body; prints
# nothing.  With the token: req -u "x:$SECRET".
req() {
	: >"$W/hdr"
	: >"$W/body"
	code=$(curl -q -s -m 120 --path-as-is -D "$W/hdr" -o "$W/body" \
	    -w '%{http_code}' "$@" 2>"$W/curl.err")
}
# requests_logged: the web server's log has all that was asked.
requests_logged() {
	logged=$((${logged-0} + 1))
	status "$U/logged-$logged" >/dev/null
	until_true 20 grep -q "GET /logged-$logged " "$W/log/access.log" ||
	    fail "requests are logged"
}
# put KEY FILE [ARG...]
put() {
	put_key=$1
	put_file=$2
	shift 2
	req -u ":$SECRET" -T "$put_file" "$@" "$U/cache/$put_key"
}
# header NAME: the value in the final response.
header() {
	tr -d '\r' <"$W/hdr" | awk -v n="$1" 'BEGIN { n = tolower(n) ":" }
	    /^HTTP\// { v = "" }
	    tolower($1) == n { sub(/^[^:]*: */, ""); v = $0 }
	    END { print v }'
}

# A file, and the name of its NAR --------------------------------------------

# nar_key FILE [EXT]: the key a NAR of these bytes must have.
nar_key() {
	echo "nar/$(nix-hash --type sha256 --base32 --flat "$1").nar${2-}"
}

# Nix clients ---------------------------------------------------------------

# client_make DIR: an own Nix in DIR: store/, var/, home/, conf/.  Use it by
# nx DIR COMMAND...; logs are DIR/var/log.
client_make() {
	mkdir -p "$1/store" "$1/var/log" "$1/home/cache" "$1/conf"
	cat >"$1/conf/nix.conf" <<EOT
sandbox = false
build-users-group =
experimental-features = nix-command flakes ca-derivations
substituters =
netrc-file = $W/netrc
EOT
}
nx() {
	nx_dir=$1
	shift
	env NIX_STORE_DIR="${NX_STORE:-$nx_dir/store}" \
	    NIX_STATE_DIR="$nx_dir/var" NIX_LOG_DIR="$nx_dir/var/log" \
	    NIX_CONF_DIR="$nx_dir/conf" HOME="$nx_dir/home" \
	    XDG_CACHE_HOME="$nx_dir/home/cache" "$@"
}
# small_files N: that many of this machine's, no two of one name.
small_files() {
	find /usr/include /usr/lib/python3* /usr/share/doc -type f -size -200k |
	    awk -F/ '$NF ~ /^[A-Za-z0-9_+][A-Za-z0-9_+.-]*$/ && !seen[$NF]++' |
	    head -n "$1"
}

# Store paths made by hand ---------------------------------------------------
# path_make NAME TEXT [REFERENCES]: a store path that is a file with this text:
# $hash is its hash part, $nar the NAR's file, $key the NAR's key (not
# compressed), $info a file with its narinfo.
path_make() {
	mkdir -p "$W/made"
	printf '%s' "$2" >"$W/made/$1"
	nar=$W/made/$1.nar
	nix-store --dump "$W/made/$1" >"$nar"
	key=$(nar_key "$nar")
	hash=$(printf '%s' "$1" >"$W/made/name" &&
	    nix-hash --type sha1 --base32 --flat "$W/made/name")
	nar_hash=${key#nar/}
	nar_hash=${nar_hash%.nar}
	nar_size=$(wc -c <"$nar")
	info=$W/made/$1.narinfo
	cat >"$info" <<EOT
StorePath: $STORE/$hash-$1
URL: $key
Compression: none
FileHash: sha256:$nar_hash
FileSize: $nar_size
NarHash: sha256:$nar_hash
NarSize: $nar_size
References: ${3-}
EOT
}

# raw COMMANDS: a connection by hand, through perl: $s is the socket.  What the
# server answered goes to $W/raw.
raw() {
	raw_start "$1"
	wait "$raw_pid"
}
# In the background, as $raw_pid.
raw_start() {
	PORT=$port AUTH=$(printf ":%s" "$SECRET" | base64 -w 0) \
	    perl -MIO::Socket::INET -e '
		$SIG{PIPE} = "IGNORE";
		$SIG{ALRM} = sub { exit 3 };
		alarm 60;
		$s = IO::Socket::INET->new("127.0.0.1:$ENV{PORT}") or exit 2;
		$auth = "Authorization: Basic $ENV{AUTH}\r\n";
		$host = "Host: x\r\n";
		'"$1"'
	' >"$W/raw" &
	raw_pid=$!
}

if [ "$MODE" = cgi ]; then
	# shellcheck source=tests/e2e/cgi.sh
	. "$top_srcdir/tests/e2e/cgi.sh"
fi
