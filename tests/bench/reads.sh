#!/bin/sh
# narinfo GETs a second (wrk), through nginx as shipped: from the file store,
# and by FastCGI; against a bare nginx with the same files.  ROUNDS (3)
# alternating rounds of SECONDS_EACH (5), and the ratios of the medians.
# shellcheck disable=SC1091,SC2034,SC2154
WEB=nginx
. "$(dirname "$0")/../e2e/lib.sh"

STORE=/nix/store
site_make $STORE
bare_port=$(free_port)
NGINX_EXTRA="server {
	listen 127.0.0.1:$bare_port;
	root $S/store;
	sendfile on;
	tcp_nopush on;
}"
web_make
sed -i 's/access_log .*/access_log off;/' "$W/nginx/nginx.conf"
site_start
path_make read "some text" "$(for i in 0 1 2 3 4 5 6 7; do
	printf '%s%s-a-reference-%s ' $i 0000000000000000000000000000000 $i
done | sed 's/ $//')"
put "$key" "$nar"
put "$hash.narinfo" "$info"
settle
n=$hash.narinfo
echo "a narinfo of $(wc -c <"$S/store/$n") bytes; wrk, 2 threads, 32 connections"
# The program answers what nginx does not take for a file: an encoded name.
e=$(printf %s "$n" | perl -pe 's/^(.)/sprintf "%%%02x", ord $1/e')
get() {
	wrk -t 2 -c 32 -d "${SECONDS_EACH:-5}s" "$1" >"$W/wrk"
	grep -i 'non-2xx' "$W/wrk" >&2
	awk '/^Requests.sec/ { print int($2) }' "$W/wrk"
}
median() {
	sort -n "$1" | awk '{ a[NR] = $1 } END { print a[int((NR + 1) / 2)] }'
}
for i in $(seq "${ROUNDS:-3}"); do
	b=$(get "http://127.0.0.1:$bare_port/$n")
	s=$(get "$U/cache/$n")
	f=$(get "$U/cache/$e")
	echo "round $i: bare nginx $b, from the store $s, by FastCGI $f"
	echo "$b" >>"$W/b"
	echo "$s" >>"$W/s"
	echo "$f" >>"$W/f"
done
awk -v b="$(median "$W/b")" -v s="$(median "$W/s")" -v f="$(median "$W/f")" \
    'BEGIN { printf "medians: bare nginx %d/s, from the store %d/s (%.2f), " \
    "by FastCGI %d/s (%.2f)\n", b, s, s / b, f, f / b }'
