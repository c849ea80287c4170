#!/bin/sh
# nginx and lighttpd as shipped, in front of the same programs: pushes of FILES
# (20) bodies of 50 MB over 4 connections (nginx hands them over as files,
# lighttpd streams them), narinfo GETs a second (wrk) of a file of the store and
# of what the program answers, and memory.  ROUNDS (3), alternating, and the
# ratios of the medians, lighttpd to nginx.
# shellcheck disable=SC1091,SC2016,SC2034,SC2154
WEB=nginx
. "$(dirname "$0")/../e2e/lib.sh"

STORE=/nix/store
site_make $STORE
conf_set verify file
web_make
sed -i 's/access_log .*/access_log off;/' "$W/nginx/nginx.conf"
site_start
nginx_url=$U nginx_pid=$web_pid
other_pids=$nginx_pid
WEB=lighttpd BODY=stream
port=$(free_port)
site_url
web_make
sed -i '/^accesslog/d' "$W/lighttpd/lighttpd.conf"
sed -i "s|\"$W/tmp/lighttpd\"|\"/dev/shm\"|" "$W/lighttpd/tmpnix.conf"
web_start
lighttpd_url=$U lighttpd_pid=$web_pid

path_make read "some text" "$(for i in 0 1 2 3 4 5 6 7; do
	printf '%s%s-a-reference-%s ' $i 0000000000000000000000000000000 $i
done | sed 's/ $//')"
put "$key" "$nar"
put "$hash.narinfo" "$info"
settle
n=$hash.narinfo

# push URL NAME: milliseconds.
push() {
	i=0
	: >"$W/list"
	while [ $i -lt "${FILES:-20}" ]; do
		i=$((i + 1))
		openssl enc -aes-128-ctr -nosalt -pass "pass:$2$i" -pbkdf2 \
		    </dev/zero 2>/dev/null | head -c 50000000 >"$W/body.$i"
		echo "$W/body.$i $1/cache/$(nar_key "$W/body.$i" .xz)" >>"$W/list"
	done
	settle
	begin=$(date +%s%N)
	xargs -P 4 -L 1 sh -c 'curl -q -s -o /dev/null -w "%{http_code}\n" \
	    -u ":$SECRET" -T "$0" "$1"' <"$W/list" | grep -v 201 >&2
	end=$(date +%s%N)
	echo $(((end - begin) / 1000000))
}
get() {
	wrk -t 2 -c 32 -d "${SECONDS_EACH:-5}s" "$1" >"$W/wrk"
	awk '/^Requests.sec/ { print int($2) }' "$W/wrk"
}
median() {
	sort -n "$1" | awk '{ a[NR] = $1 } END { print a[int((NR + 1) / 2)] }'
}
export SECRET
for i in $(seq "${ROUNDS:-3}"); do
	for w in nginx lighttpd; do
		eval "u=\$${w}_url"
		p=$(push "$u" "$w$i")
		s=$(get "$u/cache/$n")
		# (Neither serves that from the store.)
		f=$(get "$u/cache/$n?x")
		echo "round $i: $w: push $p ms, from the store $s/s," \
		    "by FastCGI $f/s"
		echo "$p" >>"$W/push.$w"
		echo "$s" >>"$W/store.$w"
		echo "$f" >>"$W/fastcgi.$w"
	done
done
for what in push store fastcgi; do
	a=$(median "$W/$what.nginx") b=$(median "$W/$what.lighttpd")
	echo "medians: $what: nginx $a, lighttpd $b, ratio $(awk "BEGIN {
	    printf \"%.2f\", $b / $a }")"
done
rss() {
	sed -n 's/^VmHWM:[ 	]*\([0-9]*\) kB/\1/p' "/proc/$1/status"
}
kb=$(rss "$nginx_pid")
for p in $(pgrep -P "$nginx_pid"); do
	kb=$((kb + $(rss "$p")))
done
echo "peak memory: nginx, with its workers, $kb kB," \
    "lighttpd $(rss "$lighttpd_pid") kB"
