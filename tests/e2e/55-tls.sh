#!/bin/sh
# https with a CA of our own and real Nix; the redirect from http; a proxy in
# front, and whom it is believed.
# shellcheck disable=SC1091,SC2034,SC2046,SC2086,SC2154
. "$(dirname "$0")/lib.sh"
unset TMPNIX_CACHE_URL TMPNIX_DRV_URL TMPNIX_NETRC TMPNIX_CACHE_PUBLIC_KEY \
    TMPNIX_DRV_PUBLIC_KEY TMPNIX_CACHE_SECRET_KEY TMPNIX_QUEUE TMPNIX_FILE \
    TMPNIX_BACKGROUND TMPNIX_SKIP_LOCAL XDG_CONFIG_HOME XDG_STATE_HOME \
    SSL_CERT_FILE SSL_CERT_DIR CURL_CA_BUNDLE NIX_SSL_CERT_FILE

TLS=yes
client=$W/nix
NX_STORE=$W/store
packages=$top_srcdir/tests/packages
site_make "$NX_STORE"
tls_make stranger
echo "file.p = $packages" >>"$CONF"

# One more nginx server, in the same nginx, for those who come by http.
http_port=$(free_port)
NGINX_EXTRA="include $W/redirect.conf;"
sed -e "s|listen 80;|listen 127.0.0.1:$http_port;|" \
    -e "s|https://\$host|https://\$host:$port|" \
    "$top_srcdir/conf/nginx/tmpnix_redirect.conf" >"$W/redirect.conf"
web_make
site_start

# another NAME: an empty Nix in the place of the client's, reading from there.
another() {
	[ ! -e "$NX_STORE" ] || chmod -R u+w "$NX_STORE"
	rm -rf "$NX_STORE" "$client"
	mkdir "$NX_STORE"
	client_make "$client"
	cat >>"$client/conf/nix.conf" <<EOF
trusted-public-keys = $(cat "$S/keys/cache.pub")
substituters = $1
EOF
}
# fetched: what is in $W/paths, from the substituter, and good.
fetched() {
	nx "$client" nix-store -r $(cat "$W/paths") &&
	    nx "$client" nix-store --verify-path $(cat "$W/paths")
}
puts() {
	grep -c '"PUT /cache/[^"]*" 20[014]' "$W/log/access.log"
}

# Over https ------------------------------------------------------------------
another "$U/cache"
TO="$U/cache?secret-key=$S/keys/cache.sec"
ok "netrc has the host of https" grep -q '^machine localhost ' "$W/netrc"
head -c 3000000 /dev/urandom >"$W/large"
big=$(nx "$client" nix-store --add "$W/large")
nx "$client" nix-build --no-out-link "$packages" -A top -A multi \
    --option substituters '' >"$W/paths" 2>"$W/err" || stop "nix-build"
echo "$big" >>"$W/paths"
ok "nix copy over https" nx "$client" nix copy --to "$TO" $(cat "$W/paths")
ok "HTTP/1.1 over TLS" grep -q '"PUT /cache/nar/[^"]* HTTP/1.1" 201' \
    "$W/log/access.log"
is "TLS 1.2 and 1.3" "$(for v in 2 3; do
	curl -q -s --tlsv1.$v --tls-max 1.$v -o /dev/null \
	    -w '%{http_code} ' "$U/cache/nix-cache-info"; done)" "200 200 "
another "$U/cache"
ok "nix-store -r over https" fetched

# Somebody else's certificate.
another "$U/cache"
before=$(puts)
for ca in "$W/tls/stranger-ca.pem" ''; do
	name=${ca##*/}
	old=$NIX_SSL_CERT_FILE
	NIX_SSL_CERT_FILE=$ca
	[ -n "$ca" ] || unset NIX_SSL_CERT_FILE
	ok "not read with CA ${name:-of the system}" not nx "$client" nix \
	    path-info --store "$U/cache" "$big" \
	    --option download-attempts 1
	ok "as the certificate is refused" grep -qi 'certificate' "$W/ok.out"
	another "$U/cache"
	mine=$(nx "$client" nix-store --add "$W/large")
	ok "not pushed with CA ${name:-of the system}" not nx "$client" \
	    nix copy --to "$TO" --refresh "$mine" \
	    --option download-attempts 1
	export NIX_SSL_CERT_FILE="$old"
	another "$U/cache"
done
is "nothing was PUT" "$(puts)" "$before"

# A wrong token over https: Nix says what we said.
sed 's/\(password \)./\1X/' "$W/netrc" >"$W/netrc.wrong"
mine=$(nx "$client" nix-store --add "$W/netrc.wrong")
ok "a wrong token is refused" not nx "$client" nix copy \
    --option netrc-file "$W/netrc.wrong" --to "$TO" "$mine"
ok "with the reason" grep -q 'unknown, expired or revoked' "$W/ok.out"

# The builder's tools; curl knows of the CA by Nix's variable only.
mkdir -p "$W/home"
cat >"$W/client.conf" <<EOF
TMPNIX_CACHE_URL='$U/cache'
TMPNIX_DRV_URL='$U/drv'
TMPNIX_NETRC='$W/netrc'
TMPNIX_CACHE_PUBLIC_KEY='$(cat "$S/keys/cache.pub")'
TMPNIX_DRV_PUBLIC_KEY='$(cat "$S/keys/drv.pub")'
TMPNIX_CACHE_SECRET_KEY='$S/keys/cache.sec'
EOF
ok "tmpnix-build over https" nx "$client" env -u CURL_CA_BUNDLE \
    TMPNIX_CLIENT_CONF="$W/client.conf" TMPNIX_QUEUE="$W/queue" \
    "$top_srcdir/tools/tmpnix-build" --no-out-link -f p other-1
other=$(grep '^/' "$W/ok.out" | tail -n 1)
hash=${other##*/}
hash=${hash%%-*}
is "its hook pushed over https" \
    "$(status -I "$U/cache/$hash.narinfo")" 200
ok "tmpnix-build with a stranger's CA" not nx "$client" \
    env -u CURL_CA_BUNDLE NIX_SSL_CERT_FILE="$W/tls/stranger-ca.pem" \
    TMPNIX_CLIENT_CONF="$W/client.conf" TMPNIX_QUEUE="$W/queue" \
    "$top_srcdir/tools/tmpnix-build" --no-out-link -f p other-2
ok "says that" grep -q 'certificate' "$W/ok.out"

# By http ---------------------------------------------------------------------
another "http://localhost:$http_port/cache"
ok "nix-store -r follows to https" fetched
mine=$(nx "$client" nix-store --add "$W/netrc.wrong")
before=$(puts)
ok "a push by http is refused" not nx "$client" nix copy --to \
    "http://localhost:$http_port/cache?secret-key=$S/keys/cache.sec" "$mine"
ok "with the reason" grep -q 'sent your token in the clear' "$W/ok.out"
is "and nothing was PUT" "$(puts)" "$before"

# HTTP/2 ------------------------------------------------------------------------
# There a body needs no Content-Length: of one that nobody asked for nginx must
# not keep 50 MB.
web_stop
sed -i 's/ ssl;/ ssl http2;/' "$W/nginx/tmpnix_tls.conf"
sed -i 's/error.log;/error.log warn;/' "$W/nginx/nginx.conf"
web_start
head -c 50000000 /dev/zero >"$W/large"
none=00000000000000000000000000000000
# sent METHOD PATH: the status, and whether more of it was taken than buffers on
# the way may hold.
sent() {
	curl -q -s -m 60 --http2 -X "$1" -T - -o "$W/body" \
	    -w '%{http_version} %{http_code} %{size_upload}\n' "$U$2" \
	    <"$W/large" | awk '{ print $1, $2, ($3 > 10000000 ? $3 : "little") }'
}
is "HTTP/2 is on" "$(curl -q -s -o /dev/null -w '%{http_version}' \
    "$U/cache/nix-cache-info")" 2
is "a GET with a body over HTTP/2" "$(sent GET /cache/nix-cache-info)" \
    "2 413 little"
is "of what is not there" "$(sent GET "/cache/$none.narinfo")" "2 413 little"
is "a HEAD" "$(sent HEAD /cache/nix-cache-info)" "2 413 little"
is "of a derivation" "$(sent GET "/drv/$none.narinfo")" "2 413 little"
is "of the page" "$(sent GET /)" "2 413 little"
is "another method" "$(sent DELETE /cache/nix-cache-info)" "2 405 little"
is "a PUT without a token" "$(sent PUT /cache/nix-cache-info)" "2 401 little"
is "what is no address" "$(sent GET /none)" "2 404 little"
ok "nginx took none into a file" not grep -q 'buffered to a temporary file' \
    "$W/log/nginx-error.log"
ok "reads go on" test "$(status "$U/cache/nix-cache-info")" = 200

# A proxy in front --------------------------------------------------------------
# The site by http, and a second nginx before it, which has the certificate.
site_stop
TLS=
outer=$(free_port)
port=$(free_port)
site_url
inner=$U
NGINX_EXTRA=
web_make
site_start
mkdir -p "$W/outer"
sed -e "s|192.0.2.1:80|127.0.0.1:$port|" \
    -e "s|/etc/tmpnix/nginx/|$W/outer/|" \
    "$top_srcdir/conf/nginx/tmpnix_proxy.conf" >"$W/outer/proxy.conf"
sed -e "s|listen 443 |listen 127.0.0.1:$outer |" \
    -e "s|/etc/tmpnix/tls/cert.pem|$W/tls/site.pem|" \
    -e "s|/etc/tmpnix/tls/key.pem|$W/tls/site.key|" \
    "$top_srcdir/conf/nginx/tmpnix_tls.conf" >"$W/outer/tmpnix_tls.conf"
cat >"$W/outer/nginx.conf" <<EOF
$([ "$(id -u)" != 0 ] || echo "user $(id -un) $(id -gn);")
daemon off;
pid $W/outer/nginx.pid;
error_log $W/log/outer-error.log;
events { worker_connections 512; }
http {
	access_log $W/log/outer-access.log;
	client_body_temp_path $W/outer/body;
	fastcgi_temp_path $W/outer/fastcgi;
	proxy_temp_path $W/outer/proxy;
	scgi_temp_path $W/outer/scgi;
	uwsgi_temp_path $W/outer/uwsgi;
	include $W/outer/proxy.conf;
}
EOF
nginx -e "$W/log/outer-error.log" -c "$W/outer/nginx.conf" \
    >"$W/log/outer.log" 2>&1 </dev/null &
other_pids="$other_pids $!"
U=https://localhost:$outer
conf_set url "$U"
until_true 15 prog_answers cache || stop "the proxy does not answer"

another "$U/cache"
TO="$U/cache?secret-key=$S/keys/cache.sec"
head -c 5000000 /dev/urandom >"$W/large"
nx "$client" nix-store --add "$W/large" >"$W/paths"
ok "nix copy through the proxy" nx "$client" nix copy --to "$TO" \
    $(cat "$W/paths")
is "the proxy kept no body" "$(find "$W/outer/body" -type f | wc -l)" 0
ok "nor did it note one" not grep -q 'buffered to a temporary file' \
    "$W/log/outer-error.log"
another "$U/cache"
ok "nix-store -r through the proxy" fetched
another "$U/cache"
mine=$(nx "$client" nix-store --add "$W/netrc.wrong")
ok "a wrong token through the proxy" not nx "$client" nix copy \
    --option netrc-file "$W/netrc.wrong" --to "$TO" "$mine"
ok "with the reason" grep -q 'unknown, expired or revoked' "$W/ok.out"

# Who is it?  127.0.0.0/8 are all addresses of ours, to come from.
#
# seen ADDRESS CURL-ARGUMENTS: the last failure that is logged was of ADDRESS.
seen() {
	seen_address=$1
	shift
	is "refused" "$(status -u :wrong -X PUT -H 'Content-Length: 1' "$@")" 401
	is "seen from $seen_address" "$(sed -n \
	    's/.*authentication failure from \([^ ]*\): .*/\1/p' \
	    "$W/log/upload.log" | tail -n 1)" "$seen_address"
}
ask=cache/nix-cache-info
spoof='X-Forwarded-For: 198.51.100.66'
seen 127.0.0.1 --interface 127.0.0.9 "$U/$ask"
seen 127.0.0.1 -H "$spoof" "$inner/$ask"
upload_restart trusted_proxies 127.0.0.1
seen 127.0.0.9 --interface 127.0.0.9 "$U/$ask"
seen 127.0.0.9 --interface 127.0.0.9 -H "$spoof" "$U/$ask"
seen 127.0.0.9 --interface 127.0.0.9 -H "$spoof" -H "$spoof" "$U/$ask"
seen 127.0.0.9 --interface 127.0.0.9 -H 'X-Forwarded-For: ;, "x' "$U/$ask"
seen 127.0.0.9 --interface 127.0.0.9 -H "$spoof" "$inner/$ask"
# What comes from the proxy itself; the last one where there are two.
seen 198.51.100.66 -H "$spoof" "$inner/$ask"
seen 198.51.100.66 -H 'X-Forwarded-For: 192.0.2.1' -H "$spoof" "$inner/$ask"
seen 127.0.0.1 -H 'X-Forwarded-For: junk' "$inner/$ask"
seen 127.0.0.1 -H 'X_Forwarded_For: 198.51.100.66' "$inner/$ask"
upload_restart trusted_proxies '127.0.0.0/8 ::1'
seen 127.0.0.9 --interface 127.0.0.9 "$U/$ask"
seen 2001:db8::7 -H 'X-Forwarded-For: 2001:DB8:0::7, ::ffff:127.0.0.3' \
    "$inner/$ask"

upload_restart trusted_proxies 127.0.0.1
path_make audited "who sent this"
put_from() {
	req -u ":$SECRET" -T "$2" --interface 127.0.0.8 -H "$spoof" \
	    "$U/cache/$1"
}
put_from "$key" "$nar"
is "a NAR through the proxy" "$code" 201
ok "tmpnix log has the client's address" sh -c \
    "'$top_builddir/tmpnix' -f '$CONF' log | grep '$key' | grep -F 127.0.0.8"

# The other programs ask the same way.
conf_set public_reads no
prog_stop cache
prog_start cache
prog_stop drv
prog_start drv
until_true 20 test -S "$W/run/drv.sock"
for p in cache drv; do
	# (A narinfo that is not there is for the program.)
	none=$p/00000000000000000000000000000000.narinfo
	until_true 20 [ "$(status -u :wrong --interface 127.0.0.7 \
	    "$U/$none")" = 401 ]
	ok "tmpnix-$p sees it too" grep -q \
	    'authentication failure from 127.0.0.7:' "$W/log/$p.log"
done
e2e_end
