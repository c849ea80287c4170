#!/bin/sh
# lighttpd with https: push and read back by real Nix with a CA of our own, the
# redirect from http.  (55-tls.sh has the rest, with nginx.)
# shellcheck disable=SC1091,SC2034,SC2046,SC2154
WEB=lighttpd MODE=fastcgi
. "$(dirname "$0")/lib.sh"
unset SSL_CERT_FILE SSL_CERT_DIR CURL_CA_BUNDLE NIX_SSL_CERT_FILE

tls_make site
tls_make stranger
tls_port=$(free_port)
LIGHTTPD_EXTRA="include \"$W/tls.conf\"
include \"$W/redirect.conf\""
client=$W/nix
site_make "$client/store"
sed -e "s|\":443\"|\"127.0.0.1:$tls_port\"|" \
    -e "s|/etc/tmpnix/tls/cert.pem|$W/tls/site.pem|" \
    -e "s|/etc/tmpnix/tls/key.pem|$W/tls/site.key|" \
    "$top_srcdir/conf/lighttpd/tmpnix_tls.conf" >"$W/tls.conf"
# (To the port of https, which is not 443 here.)
sed "s|https://\${url.authority}|https://localhost:$tls_port|" \
    "$top_srcdir/conf/lighttpd/tmpnix_redirect.conf" >"$W/redirect.conf"
plain=http://localhost:$port
U=https://localhost:$tls_port
conf_set url "$U"
sed -i 's/^machine [^ ]*/machine localhost/' "$W/netrc"
CURL_CA_BUNDLE=$W/tls/site-ca.pem
NIX_SSL_CERT_FILE=$CURL_CA_BUNDLE
export CURL_CA_BUNDLE NIX_SSL_CERT_FILE
site_start

client_make "$client"
TO="$U/cache?secret-key=$S/keys/cache.sec"
head -c 3000000 /dev/urandom >"$W/large"
big=$(nx "$client" nix-store --add "$W/large")
ok "nix copy over https" nx "$client" nix copy --to "$TO" "$big"
for v in 2 3; do
	is "TLS 1.$v" "$(status --tlsv1.$v --tls-max 1.$v \
	    "$U/cache/nix-cache-info")" 200
done
is "HTTP/1.1" "$(curl -q -s -o "$W/body" -w '%{http_version}' \
    "$U/cache/nix-cache-info")" 1.1
again() {
	chmod -R u+w "$client"
	rm -rf "$client"
	client_make "$client"
	cat >>"$client/conf/nix.conf" <<EOF
substituters = $1
trusted-public-keys = $(cat "$S/keys/cache.pub")
EOF
}
again "$U/cache"
ok "nix-store -r over https" nx "$client" nix-store -r "$big"
again "$U/cache"
ok "not with a stranger's CA" not nx "$client" env \
    NIX_SSL_CERT_FILE="$W/tls/stranger-ca.pem" nix path-info \
    --store "$U/cache" "$big" --option download-attempts 1
again "$plain/cache"
ok "nix-store -r follows from http" nx "$client" nix-store -r "$big"
req "$plain/cache/nix-cache-info?a=b"
is "the redirect" "$code $(header Location)" \
    "301 $U/cache/nix-cache-info?a=b"
path_make clear "in the clear"
req -u ":$SECRET" -T "$nar" "$plain/cache/$key"
is "a push by http is refused" "$code" 403
is "and nothing is there" "$(status -I "$U/cache/$key")" 404
e2e_end
