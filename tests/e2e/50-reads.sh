#!/bin/sh
# Reads behave as on a static server, whoever answers: the web server from the
# file store, or tmpnix-cache from the spool, the store or the index.
# shellcheck disable=SC1091,SC2016,SC2034,SC2154
. "$(dirname "$0")/lib.sh"

STORE=/tmp/nix/store
site_make $STORE
# What is read is what was pushed, to the byte: nothing is signed here.
conf_set secret_key_file none
site_start

path_make read "$(seq 20000)"
put "$key" "$nar"
put "$hash.narinfo" "$info"
printf '{"version":1,"root":{"type":"regular","size":1}}' >"$W/ls"
# (Of a path that is not here: of one that is, the server's own wins.)
ls_hash=$(printf %s "$hash" | rev)
put "$ls_hash.ls" "$W/ls"
settle

# So that tmpnix-cache has to answer: a character is encoded, which nginx leaves
# to it, or there is a query, which lighttpd does.
for_program() {
	case $WEB in
	nginx) printf %s "$1" | perl -pe 's/([^\/])$/sprintf "%%%02x", ord $1/e' ;;
	lighttpd) printf '%s?x' "$1" ;;
	esac
}

# nosniff NAME: the last answer says it.
nosniff() {
	is "$1: nosniff" "$(header x-content-type-options)" nosniff
}
# The same; lighttpd takes all headers off its own errors, whose text is ours.
nosniff_nginx() {
	[ "$WEB" = lighttpd ] || nosniff "$1"
}
# reads NAME URL FILE TYPE CACHE-CONTROL: one object by one way.
reads() {
	r=$1 u=$2 f=$3
	req "$u"
	is "$r: GET" "$code $(header content-type)" "200 $4"
	ok "$r: the bytes" cmp "$W/body" "$f"
	is "$r: Cache-Control" "$(header cache-control)" "$5"
	is "$r: Content-Length" "$(header content-length)" "$(wc -c <"$f")"
	is "$r: no Content-Encoding" "$(header content-encoding)" ''
	nosniff "$r"
	is "$r: no path of the server's" \
	    "$(header x-sendfile)$(header x-accel-redirect)" ''
	etag=$(header etag)
	ok "$r: has an ETag ($etag)" test -n "${etag#\"\"}"
	# HEAD: the same, without the bytes.
	for h in content-type content-length cache-control etag \
	    accept-ranges; do
		printf '%s: %s\n' $h "$(header $h)"
	done >"$W/of-get"
	req -I "$u"
	for h in content-type content-length cache-control etag \
	    accept-ranges; do
		printf '%s: %s\n' $h "$(header $h)"
	done >"$W/of-head"
	is "$r: HEAD" "$code" 200
	ok "$r: HEAD mirrors GET" diff "$W/of-get" "$W/of-head"
	req -H "If-None-Match: $etag" "$u"
	is "$r: If-None-Match: 304, no body" "$code $(wc -c <"$W/body")" "304 0"
	req -H "If-None-Match: \"other\"" "$u"
	is "$r: If-None-Match of another" "$code" 200
	req -H "If-None-Match: *" "$u"
	is "$r: If-None-Match: *" "$code" 304
	req -H 'Accept-Encoding: gzip, br, zstd' "$u"
	is "$r: Accept-Encoding changes nothing" \
	    "$code $(header content-length)" "200 $(wc -c <"$f")"
	req -H 'Authorization: Basic bm90OmtuaWdodA==' "$u"
	is "$r: wrong credentials do not matter" "$code" 200
}
ranges() {
	r=$1 u=$2 f=$3
	size=$(wc -c <"$f")
	req -I "$u"
	is "$r: Accept-Ranges" "$(header accept-ranges)" bytes
	req -r 0-0 "$u"
	is "$r: the first byte" "$code $(header content-range)" \
	    "206 bytes 0-0/$size"
	req -r 10-99 "$u"
	is "$r: a range" "$code $(header content-range)" \
	    "206 bytes 10-99/$size"
	tail -c +11 "$f" | head -c 90 >"$W/part"
	ok "$r: its bytes" cmp "$W/body" "$W/part"
	req -r -50 "$u"
	tail -c 50 "$f" >"$W/part"
	is "$r: a suffix" "$code" 206
	ok "$r: its bytes" cmp "$W/body" "$W/part"
	req -r 100- "$u"
	tail -c +101 "$f" >"$W/part"
	is "$r: the rest (a resumed download)" "$code" 206
	ok "$r: its bytes" cmp "$W/body" "$W/part"
	req -r "$size-" "$u"
	case $WEB:$code in
	# (lighttpd 1.4.69 drops the headers of a 416.)
	lighttpd:416) pass "$r: beyond the end" ;;
	*)
		is "$r: beyond the end" "$code $(header content-range)" \
		    "416 bytes */$size"
		;;
	esac
	req -H 'Range: nonsense' "$u"
	is "$r: a Range that is none is ignored or 416" \
	    "$(echo "$code" | sed 's/416/200/')" 200
}
long='public, max-age=31536000, immutable'
short='public, max-age=3600'
static_long=$long static_short=$short
if [ "$WEB" = lighttpd ]; then
	# It writes no more than the age.
	static_long=max-age=31536000 static_short=max-age=3600
fi
for way in static program; do
	if [ $way = static ]; then
		l=$static_long s=$static_short
		nk=$key ik=$hash.narinfo lk=$ls_hash.ls
	else
		nk=$(for_program "$key") ik=$(for_program "$hash.narinfo")
		lk=$(for_program "$ls_hash.ls")
		l=$long s=$short
	fi
	reads "NAR, $way" "$U/cache/$nk" "$nar" application/x-nix-nar "$l"
	eval "etag_$way=\$etag"
	ranges "NAR, $way" "$U/cache/$nk" "$nar"
	reads "narinfo, $way" "$U/cache/$ik" "$info" text/x-nix-narinfo "$s"
	reads "listing, $way" "$U/cache/$lk" "$W/ls" application/json "$s"
done
# The program makes other ones, of the digest.
is "the web server sent the file both times" "$etag_program" "$etag_static"

# tmpnix-upload answers reads too, by the same code.
case $WEB in
nginx)
	f=$W/nginx/tmpnix.conf
	edit='s|fastcgi_pass tmpnix_cache;|fastcgi_pass tmpnix_upload;|'
	;;
lighttpd)
	f=$W/lighttpd/tmpnix_programs_connect.conf
	edit='s|cache\.sock|upload.sock|'
	;;
esac
sed -e "$edit" "$f" >"$f.new"
mv "$f.new" "$f"
web_stop
web_start
reads "NAR, upload" "$U/cache/$(for_program "$key")" "$nar" \
    application/x-nix-nar "$long"
web_stop
web_make
web_start

# While it is spooled: no relay, as tmpnix-upload is stopped by SIGKILL in time,
# or the row is put back to what it was then.
path_make spooled "$(seq 30000 40000)"
put "$key" "$nar"
put "$hash.narinfo" "$info"
settle
prog_stop upload
d=0123456789abcdef.1	# as spool.h has it
cp "$nar" "$S/spool/ready/$d"
mv "$S/store/$key" "$W/away.nar"
mv "$S/store/$hash.narinfo" "$W/away.narinfo"
sql "UPDATE asset SET state = 'spooled', spool = '$d' WHERE key = '$key';
    UPDATE asset SET state = 'spooled' WHERE key = '$hash.narinfo'"
reads "NAR, spooled" "$U/cache/$key" "$nar" application/x-nix-nar "$long"
ranges "NAR, spooled" "$U/cache/$key" "$nar"
# What is there and can't be read just now is not missing, or clients would go
# and build it.  (A symbolic link is not followed: that is another error.)
mv "$S/spool/ready/$d" "$W/away.spool"
ln -s "$W/away.spool" "$S/spool/ready/$d"
req "$U/cache/$key"
is "NAR that can't be opened" "$code" 503
ok "which says so" grep -q "can't read it now" "$W/body"
rm "$S/spool/ready/$d"
is "NAR whose file is lost" "$(status "$U/cache/$key")" 404
mv "$W/away.spool" "$S/spool/ready/$d"
reads "narinfo, spooled" "$U/cache/$hash.narinfo" "$info" \
    text/x-nix-narinfo "$short"
prog_start upload
prog_ready upload
settle
ok "then it is stored" cmp "$S/store/$key" "$nar"
reads "NAR, stored" "$U/cache/$key" "$nar" application/x-nix-nar \
    "$static_long"

# nix-cache-info, pages, what is not there.
req "$U/cache/nix-cache-info"
is "nix-cache-info" "$code $(head -n 1 "$W/body")" "200 StoreDir: $STORE"
ok "  WantMassQuery" grep -qx 'WantMassQuery: 1' "$W/body"
ok "  Priority" grep -qx 'Priority: 30' "$W/body"
size=$(wc -c <"$W/body")
req -I "$U/cache/nix-cache-info"
is "  HEAD" "$code $(header content-length)" "200 $size"
req "$U/drv/nix-cache-info"
is "/drv/nix-cache-info" "$code $(head -n 1 "$W/body")" \
    "200 StoreDir: $STORE"
for u in / /cache/ /drv/; do
	req "$U$u"
	is "the page at $u" "$code" 200
	ok "  says how to use it" grep -q "$U" "$W/body"
	size=$(wc -c <"$W/body")
	req -I "$U$u"
	is "  HEAD" "$code $(header content-length)" "200 $size"
done
for k in cache/00000000000000000000000000000000.narinfo \
    cache/nar/0000000000000000000000000000000000000000000000000000.nar.xz \
    cache/log/00000000000000000000000000000000-x.drv cache/index.html \
    cache/-/nix-cache-info drv/00000000000000000000000000000000.narinfo \
    robots.txt tmpnix-files/store/nix-cache-info tmpnix-check \
    tmpnix-error/503 .tmpnix/cache/cache/nix-cache-info; do
	req "$U/$k"
	case $WEB:$k in
	# Other addresses are left to the rest of lighttpd's configuration.
	nginx:* | *:cache/* | *:drv/*) n=0 ;;
	*) n=$(wc -c <"$top_srcdir/conf/lighttpd/error/404.html") ;;
	esac
	is "GET of $k: 404, empty" "$code $(wc -c <"$W/body")" "404 $n"
	is "  and nobody remembers it" "$(header cache-control)" ''
	req -I "$U/$k"
	is "HEAD of it" "$code" 404
done
for m in POST DELETE OPTIONS; do
	for u in cache/nix-cache-info drv/nix-cache-info; do
		req -X $m -H 'Content-Length: 0' -u ":$SECRET" "$U/$u"
		is "$m $u" "$code" 405
		ok "  Allow names GET and HEAD" \
		    expr "$(header allow)" : '.*GET.*HEAD'
	done
done
for u in x cache/ cache/$hash.narinfo; do
	ok "never a version of the web server, $u" sh -c \
	    '! curl -q -s -i "$1" | grep -i -e nginx/ -e lighttpd/' - "$U/$u"
done

# More connections than threads: each gets its turn before another has had it a
# hundred times.  (A thread is its connection's, which nginx keeps for a while.)
if [ "$WEB" = nginx ]; then
	prog_stop cache
	conf_set threads 1
	prog_start cache
	prog_ready cache
	# turns TAG: 2,000 requests over one connection.
	turns() {
		curl -q -s -o /dev/null "$U/cache/nix-cache-info?$1=[1-2000]"
	}
	for tag in one two three; do
		turns $tag &
		other_pids="$other_pids $!"
		eval "$tag=$!"
	done
	wait "$one" "$two" "$three"
	other_pids=''
	requests_logged
	# The longest row of one of them while the others go on.
	is "connections take turns" "$(awk '
		match($0, /info\?[a-z]+=/) {
			who[++n] = substr($0, RSTART, RLENGTH)
			last[who[n]] = n
			if (!(who[n] in first))
				first[who[n]] = n
		}
		END {
			end = n
			for (w in last) {
				if (last[w] < end)
					end = last[w]
				if (first[w] > begin)
					begin = first[w]
			}
			for (i = begin; i <= end; i++) {
				row = who[i] == who[i - 1] ? row + 1 : 1
				if (row > longest)
					longest = row
			}
			if (begin < end && longest < 100)
				longest = "short"
			print n, longest
		}' "$W/log/access.log")" "6000 short"
	prog_stop cache
	conf_set threads 32
	prog_start cache
	prog_ready cache
fi

# Nothing is for a browser to guess at, whoever answers and whatever.
for u in "" cache drv/nix-cache-info "cache/$hash.narinfo" "cache/$ls_hash.ls" \
    "cache/$(for_program "$hash.narinfo")" cache/nix-cache-info cache/none \
    "cache/$(for_program cache/none)" drv/none none tmpnix-check; do
	req "$U/$u"
	# (In lighttpd the rest is another's.)
	case $WEB,$u in
	nginx,* | *,cache/* | *,drv/* | *,) nosniff "GET /$u, $code" ;;
	esac
done
for m in PUT POST DELETE; do
	req -X $m -H 'Content-Length: 0' "$U/cache/$hash.narinfo"
	nosniff "$m without a token, $code"
done
put "$hash.narinfo" "$info"
nosniff "PUT, $code"
put "$hash.narinfo" "$W/ls"
nosniff "a bad PUT, $code"
req -X GET --data-binary x "$U/cache/$hash.narinfo"
nosniff_nginx "GET with a body, $code"
req "$U/cache/$(head -c 20000 /dev/zero | tr '\0' x)"
nosniff_nginx "a long URI, $code"
req -r 99999999- "$U/cache/$key"
nosniff_nginx "a range beyond the end, $code"

# A NAR that waits for no writer (I8): the index is locked by a write.
mkfifo "$W/fifo"
sqlite3 "$S/index.db" <"$W/fifo" >"$W/sqlite.out" 2>&1 &
other_pids=$!
exec 7>"$W/fifo"
echo 'BEGIN IMMEDIATE; SELECT "locked";' >&7
ok "the index is locked by a writer" until_true 10 grep -q locked \
    "$W/sqlite.out"
is "a read does not wait" \
    "$(status -m 3 "$U/cache/$(for_program "$hash.narinfo")")" 200
exec 7>&-

# tmpnix-cache down: what is a file is served on.
prog_stop cache
is "tmpnix-cache is down: files are served" \
    "$(status "$U/cache/$hash.narinfo")" 200
req "$U/cache/nix-cache-info"
is "  the rest is a 503" "$code" 503
nosniff "tmpnix-cache is down"
# nginx holds a read back for a moment, and asks again.
if [ "$WEB" = nginx ]; then
	is "  and told to come again" "$(header retry-after)" 5
	prog_stop drv
	# asked_again NAME PATH PROGRAM: while it is not running, then while it is
	# started again.
	tries() {
		grep -c "/$1.sock failed" "$W/log/nginx-error.log"
	}
	tried() {
		[ "$(tries "$1")" -gt "$2" ]
	}
	asked_again() {
		before=$(tries "$3")
		req "$U/$2"
		is "$1, nobody there: 503 after four tries" \
		    "$code $(($(tries "$3") - before))" "503 4"
		is "$1: without a challenge" "$(header www-authenticate)" ''
		before=$(tries "$3")
		status -H 'Authorization: Basic eDp4' "$U/$2" >"$W/again" &
		again=$!
		until_true 20 tried "$3" "$before" || fail "$1: is asked for"
		prog_start "$3"
		wait "$again"
		is "$1, started again: the same request is answered" \
		    "$(cat "$W/again")" 200
		prog_stop "$3"
	}
	asked_again "nix-cache-info" cache/nix-cache-info cache
	asked_again "a narinfo" "cache/$(for_program "$hash.narinfo")" cache
	asked_again "the page" '' cache
	asked_again "a derivation's" drv/nix-cache-info drv
	prog_start drv
	prog_ready drv
fi
prog_start cache
prog_ready cache
is "  until it is back" "$(status "$U/cache/nix-cache-info")" 200

if [ "$WEB" = nginx ]; then
	# One that does not answer: a line, and what a client tries again.
	web_stop
	NGINX_EXTRA='fastcgi_read_timeout 1s;'
	web_make
	web_start
	prog_ready cache
	kill -STOP "$cache_pid"
	req "$U/cache/nix-cache-info"
	kill -CONT "$cache_pid"
	is "too slow: 503" "$code $(cat "$W/body")" \
	    "503 tmpnix is not running or is too slow to answer"
	is "  with Retry-After" "$(header retry-after)" 5
	is "  and nosniff" "$(header x-content-type-options)" nosniff
fi

e2e_end
