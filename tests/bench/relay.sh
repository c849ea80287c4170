#!/bin/sh
# The relay against a real S3 (Ceph's RGW in memory): pushes a second while it
# works, objects and bytes a second of a full spool, requests for each object,
# and the peak memory of tmpnix-upload while it relays 250 MB.
# With relay_workers = 1 and 8, or those in WORKERS.
# shellcheck disable=SC1091,SC2034,SC2046,SC2154
. "$(dirname "$0")/../e2e/lib.sh"
. "$(dirname "$0")/../e2e/store.sh"

client=$W/nix
rgw_start
standin_start
site_make "$client/store"
conf_s3 "$s3_port"
site_start
client_make "$client"
small_files 300 | nx "$client" xargs nix-store --add >"$W/paths"
kb=$(du -sk "$client/store" | cut -f1)
echo "$(wc -l <"$W/paths") paths, $kb kB, not compressed"

now() {
	echo $(($(date +%s%N) / 1000000))
}
# all_stored: wait for it, closely.
all_stored() {
	until relayed; do
		perl -e 'select undef, undef, undef, 0.01'
	done
}
# An empty cache, S3 at this port, so many workers.
anew() {
	prog_stop upload
	prog_stop cache
	sql 'DELETE FROM reference; DELETE FROM path; DELETE FROM asset'
	find "$S/spool/ready" -type f -delete
	rm -rf "$client/home/cache"
	conf_set s3_endpoint "http://localhost:$1"
	conf_set relay_workers "$2"
	prog_start upload
	prog_start cache
	prog_ready upload
	prog_ready cache
}
push() {
	nx "$client" nix copy --to "$U/cache?compression=none" \
	    $(cat "$W/paths") >"$W/push.log" 2>&1 || cat "$W/push.log"
}
rss() {
	sed -n 's/^VmHWM:[ \t]*\([0-9]*\).*/\1/p' "/proc/$upload_pid/status"
}

for w in ${WORKERS:-1 8}; do
	anew "$s3_port" "$w"
	begin=$(now)
	push
	pushed=$(now)
	all_stored
	end=$(now)
	n=$(sql 'SELECT count(*) FROM asset')
	echo "$w workers: pushed 300 paths in $((pushed - begin)) ms," \
	    "$((300000 / (pushed - begin))) paths/s; all $n objects stored" \
	    "$((end - pushed)) ms later"

	# A full spool: first nobody is there to take it.
	anew 1 "$w"
	push
	prog_stop upload
	sql 'UPDATE asset SET next_attempt = 0'
	bytes=$(sql 'SELECT sum(size) FROM asset')
	conf_set s3_endpoint "http://localhost:$s3_port"
	prog_start upload
	begin=$(now)
	all_stored
	end=$(now)
	echo "$w workers: a full spool in $((end - begin)) ms:" \
	    "$((n * 1000 / (end - begin))) objects/s," \
	    "$((bytes / 1000 / (end - begin))) MB/s"

	anew "$proxy_port" "$w"
	: >"$W/standin/requests"
	push
	all_stored
	echo "$w workers: $(wc -l <"$W/standin/requests") requests for $n objects"

	# 250 MB: one, then eight small ones at a time with it.
	anew "$s3_port" "$w"
	head -c 250000000 /dev/urandom >"$W/big"
	before=$(rss)
	put "$(nar_key "$W/big")" "$W/big"
	begin=$(now)
	all_stored
	end=$(now)
	echo "$w workers: 250 MB in $((end - begin)) ms," \
	    "peak memory $(rss) kB ($before kB before)"
	s3 -X DELETE "http://127.0.0.1:$s3_port/$BUCKET/$(nar_key "$W/big")"
done
conf_glitch
prog_stop upload
prog_stop cache
sql 'DELETE FROM reference; DELETE FROM path; DELETE FROM asset'
prog_start upload
prog_start cache
prog_ready upload
put "$(nar_key "$W/big")" "$W/big"
all_stored
echo "glitch: 250 MB, peak memory $(rss) kB"
exit 0
