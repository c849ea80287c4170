#!/bin/sh
# nix copy of 300 store paths: to tmpnix, and to a bare nginx WebDAV directory
# on the same disk; PAIRS (5) alternating pairs, and the ratio of the medians.
# Both are cold: an empty cache each time, no client cache.
# COMPRESSION (none) is the client's: xz would time the client.
# shellcheck disable=SC1091,SC2034,SC2046,SC2154
WEB=nginx
. "$(dirname "$0")/../e2e/lib.sh"

client=$W/nix
site_make "$client/store"
dav_port=$(free_port)
NGINX_EXTRA="server {
	listen 127.0.0.1:$dav_port;
	root $W/dav;
	client_max_body_size 0;
	dav_methods PUT;
	create_full_put_path on;
	client_body_temp_path $W/davtmp;
}"
mkdir -p "$W/dav"
web_make
site_start
client_make "$client"
small_files 300 | nx "$client" xargs nix-store --add >"$W/paths"
echo "$(wc -l <"$W/paths") paths, $(du -sk "$client/store" | cut -f1) kB," \
    "compression ${COMPRESSION:-none}"

push() {
	rm -rf "$client/home/cache"
	begin=$(date +%s%N)
	nx "$client" nix copy --to "$1?compression=${COMPRESSION:-none}" \
	    $(cat "$W/paths") >"$W/push.log" 2>&1 || cat "$W/push.log"
	end=$(date +%s%N)
	echo $(((end - begin) / 1000000))
}
median() {
	sort -n "$1" | awk '{ a[NR] = $1 } END { print a[int((NR + 1) / 2)] }'
}
for i in $(seq "${PAIRS:-5}"); do
	rm -rf "$W/dav"/*
	mkdir -p "$W/dav/nar"
	printf 'StoreDir: %s\n' "$client/store" >"$W/dav/nix-cache-info"
	d=$(push "http://127.0.0.1:$dav_port")
	prog_stop upload
	prog_stop cache
	prog_stop drv
	sql 'DELETE FROM path; DELETE FROM asset'
	find "$S/store" "$S/spool/ready" -type f -delete
	for p in cache upload drv; do
		prog_start $p
		prog_ready $p
	done
	t=$(push "$U/cache")
	echo "pair $i: webdav $d ms, tmpnix $t ms"
	echo "$d" >>"$W/d"
	echo "$t" >>"$W/t"
done
d=$(median "$W/d") t=$(median "$W/t")
echo "medians: webdav $d ms, tmpnix $t ms, ratio $(awk "BEGIN {
    printf \"%.2f\", $t / $d }")"
