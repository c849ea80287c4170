#!/bin/sh
# narinfo GETs a second (wrk) answered by tmpnix-cache: FastCGI behind nginx, CGI
# behind nginx with fcgiwrap and behind lighttpd; and write-through PUTs, one
# client.  ROUNDS (3) rounds of SECONDS_EACH (5), medians, ratios to FastCGI.
# shellcheck disable=SC1091,SC2034,SC2154
if [ -z "${WEB-}" ]; then
	out=$(mktemp -d) || exit 1
	for i in $(seq "${ROUNDS:-3}"); do
		for cell in nginx:fastcgi nginx:cgi lighttpd:cgi; do
			WEB=${cell%:*} MODE=${cell#*:} sh "$0" >"$out/line" ||
			    exit 1
			sed "s/^/round $i, $cell: /" "$out/line"
			cat "$out/line" >>"$out/$cell"
		done
	done
	# median CELL COLUMN
	median() {
		cut -d ' ' -f "$2" "$out/$1" | sort -n |
		    awk '{ a[NR] = $1 } END { print a[int((NR + 1) / 2)] }'
	}
	for cell in nginx:fastcgi nginx:cgi lighttpd:cgi; do
		awk -v c="$cell" -v g="$(median "$cell" 1)" \
		    -v p="$(median "$cell" 3)" \
		    -v g0="$(median nginx:fastcgi 1)" \
		    -v p0="$(median nginx:fastcgi 3)" 'BEGIN { printf \
		    "%s: %d GETs/s (%.3f), %d PUTs/s (%.2f)\n", \
		    c, g, g / g0, p, p / p0 }'
	done
	rm -rf "$out"
	exit
fi
. "$(dirname "$0")/../e2e/lib.sh"

STORE=/nix/store
site_make $STORE
conf_set relay write-through
site_start
path_make read "some text" "$(for i in 0 1 2 3 4 5 6 7; do
	printf '%s%s-a-reference-%s ' $i 0000000000000000000000000000000 $i
done | sed 's/ $//')"
put "$key" "$nar"
put "$hash.narinfo" "$info"
settle
# Not as Nix writes it: the web server does not take it for a file.
u="$U/cache/$hash.narinfo?x"
[ "$(status "$u")" = 200 ] || stop "no narinfo"
wrk -t 2 -c 32 -d "${SECONDS_EACH:-5}s" "$u" >"$W/wrk"
grep -i 'non-2xx' "$W/wrk" >&2
gets=$(awk '/^Requests.sec/ { print int($2) }' "$W/wrk")
# Each of its own bytes.
n=100
i=0
while [ $i -lt $n ]; do
	i=$((i + 1))
	echo "$i$$" >"$W/put.$i"
	key=$(nar_key "$W/put.$i")
	printf 'url = "%s"\nupload-file = "%s"\noutput = /dev/null\n' \
	    "$U/cache/$key" "$W/put.$i"
done >"$W/puts"
from=$(date +%s%N)
curl -q -s -f -u ":$SECRET" -K "$W/puts" || stop "a PUT failed"
ms=$((($(date +%s%N) - from) / 1000000))
echo "$gets GETs/s $((n * 1000 / ms)) PUTs/s"
