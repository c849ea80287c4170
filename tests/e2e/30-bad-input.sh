#!/bin/sh
# Bad input: the right status, one line of plain text, nothing stored, nothing
# left behind.  Runs with either way of handing bodies over.
# shellcheck disable=SC1003,SC1091,SC2016,SC2154
. "$(dirname "$0")/lib.sh"

STORE=/nix/store
site_make $STORE
conf_set max_upload_size 4M
tmpnix token add pull-only --pull >"$W/netrc.pull" 2>&1
PULL=$(sed -n 's/.*password  *\([^ ]*\).*/\1/p' "$W/netrc.pull")
site_start

# Good ones, which must still be there as they are at the end.
path_make good "a good path"
put "$key" "$nar"
is "a good NAR" "$code" 201
put "$hash.narinfo" "$info"
is "a good narinfo" "$code" 201
good_hash=$hash good_key=$key good_nar=$nar good_info=$info
path_make other "another NAR, without narinfo yet"
other_hash=$hash other_key=$key other_nar=$nar other_info=$info
put "$other_key" "$other_nar"
is "another good NAR" "$code" 201
path_make absent "its NAR is nowhere"
absent_hash=$hash absent_key=$key absent_nar=$nar absent_info=$info
settle
stored >"$W/stored"

# one_line: $W/body is one line of text for a terminal, the header says so.
one_line() {
	case $(header content-type) in
	text/plain*) ;;
	*) return 1 ;;
	esac
	[ "$(wc -l <"$W/body")" = 1 ] && [ "$(wc -c <"$W/body")" -gt 1 ] &&
	    [ "$(wc -c <"$W/body")" -lt 1024 ] &&
	    ! grep -qi '<html' "$W/body" &&
	    [ "$(LC_ALL=C tr -d '\012\040-\176' <"$W/body" | wc -c)" = 0 ]
}
unchanged() {
	stored >"$W/stored.now"
	cmp -s "$W/stored" "$W/stored.now" && no_bodies
}
# bad NAME "STATUS..." CURL-ARGUMENT...
bad() {
	bad_name=$1
	bad_want=$2
	shift 2
	req "$@"
	case " $bad_want " in
	*" $code "*) ;;
	*)
		fail "$bad_name: status $code, not $bad_want: $(head -c 300 \
		    "$W/body")"
		return
		;;
	esac
	if ! one_line; then
		fail "$bad_name: $code, but its body is not one line of" \
		    "plain text: $(header content-type):" \
		    "$(head -c 300 "$W/body")"
	elif ! until_true 5 unchanged; then
		fail "$bad_name: $code, but something was kept:" \
		    "$(diff "$W/stored" "$W/stored.now" | head -n 5)"
		cp "$W/stored.now" "$W/stored"
	else
		pass "$bad_name: $code $(cat "$W/body")"
	fi
}
# The same with the token.
bad_put() {
	bad_put_name=$1
	bad_put_want=$2
	bad_put_key=$3
	bad_put_file=$4
	shift 4
	bad "$bad_put_name" "$bad_put_want" -u ":$SECRET" -T "$bad_put_file" \
	    "$@" "$U/cache/$bad_put_key"
}

# What the web server logs when it can't make a file for a body.
case $WEB in
nginx) no_file='open().*body' ;;
lighttpd) no_file='temp-file' ;;
esac

# Who is asking ---------------------------------------------------------------
credentials() {
	bad "no credentials" 401 -T "$absent_nar" "$U/cache/$absent_key"
	is "  with WWW-Authenticate" "$(header www-authenticate)" \
	    'Basic realm="tmpnix"'
	bad "a wrong secret" 401 -u ":$(echo "$SECRET" | tr a-y b-z)" \
	    -T "$absent_nar" "$U/cache/$absent_key"
	is "  with WWW-Authenticate" "$(header www-authenticate)" \
	    'Basic realm="tmpnix"'
	bad "another token's name" 401 -u "pull-only:$SECRET" \
	    -T "$absent_nar" "$U/cache/$absent_key"
	bad "credentials that are not base 64" 401 \
	    -H 'Authorization: Basic !!!' -T "$absent_nar" \
	    "$U/cache/$absent_key"
	bad "an unknown scheme" 401 -H 'Authorization: Digest x' \
	    -T "$absent_nar" "$U/cache/$absent_key"
	bad "a token without push" 403 -u ":$PULL" -T "$absent_nar" \
	    "$U/cache/$absent_key"
	bad "no credentials, narinfo" 401 -T "$absent_info" \
	    "$U/cache/$absent_hash.narinfo"

	: >"$W/log/$WEB-error.log"
	# 1 GB, and the web server could not write a byte of it: its directory
	# is away.
	truncate -s 1G "$W/giga"
	mv "$S/body" "$S/body.away" 2>/dev/null
	mv "$W/tmp" "$W/tmp.away"
	for expect in 'Expect: 100-continue' 'Expect:'; do
		req -T "$W/giga" -H "$expect" -w '%{http_code} %{size_upload}' \
		    "$U/cache/$absent_key"
		is "1 GB without credentials, \"$expect\"" "${code%% *}" 401
		ok "  and most of it was not even sent" \
		    test "${code#* }" -lt 100000000
	done
	ok "  and no file was tried" not grep -q "$no_file" \
	    "$W/log/$WEB-error.log"
	if [ "$BODY" = file ]; then
		put "$absent_key" "$absent_nar"
		ok "  (with credentials one is)" grep -q "$no_file" \
		    "$W/log/$WEB-error.log"
	fi
	mv "$W/tmp.away" "$W/tmp"
	mv "$S/body.away" "$S/body" 2>/dev/null
	rm "$W/giga"
	ok "  nothing was kept" unchanged
}

# Keys ------------------------------------------------------------------------
keys() {
	while read -r name k; do
		bad_put "key: $name" "400 404" "$k" "$absent_nar"
	done <<EOT
dot-dot ../x
dot-dot-in-nar nar/../../x
dot-dot-encoded %2e%2e/%2e%2e/etc/passwd
slash-encoded nar%2f${absent_key#nar/}
slash-encoded-twice nar%252f${absent_key#nar/}
backslash nar%5c${absent_key#nar/}
nul-encoded $absent_hash.narinfo%00
newline-encoded $absent_hash.narinfo%0aX
absolute /etc/passwd
double-slash /$absent_key
absolute-url http://x/$absent_key
wrong-alphabet nar/e${absent_key#nar/?}
upper-case $(echo "$absent_key" | tr "[:lower:]" "[:upper:]")
first-character nar/z${absent_key#nar/?}
too-short nar/${absent_key#nar/?}
too-long nar/0${absent_key#nar/}
no-extension nar/${nar_hash}
wrong-extension nar/$nar_hash.nar.exe
trailing-slash $absent_key/
trailing-dot $absent_key.
in-subdirectory x/$absent_key
narinfo-short 0000.narinfo
narinfo-long 0$absent_hash.narinfo
narinfo-in-nar nar/$absent_hash.narinfo
log-not-drv log/$absent_hash-x
log-slash log/$absent_hash-x%2fy.drv
log-dot log/$absent_hash-.drv/
realisation-short realisations/sha256:00!out.doi
debuginfo-short debuginfo/00.debug
unknown index.html
utf-8 %c3%a4.narinfo
percent-alone 100%.narinfo
percent-odd %zz.narinfo
EOT
	bad "key: empty" "400 404 405" -u ":$SECRET" -X PUT \
	    --data-binary "@$absent_nar" "$U/cache/"
	long=$(head -c 10000 /dev/zero | tr '\0' a)
	bad_put "key: 10 kB" "400 404 414" "$long" "$absent_nar"
	bad_put "key: 10 kB of a log's name" "400 404 414" \
	    "log/$absent_hash-$long.drv" "$absent_nar"
	long=$(head -c 100000 /dev/zero | tr '\0' a)
	bad_put "key: 100 kB" "400 404 414 431" "$long" "$absent_nar"
	# Reading them is no error, and nothing: 404 (or 400) and no page.
	for k in ../x %2e%2e/x nar%2f$nar_hash.nar x 0000.narinfo \
	    "$(echo "$long" | head -c 10000)"; do
		req "$U/cache/$k"
		case $code in
		400 | 404 | 414 | 431) pass "GET of $(echo "$k" | head -c 30): $code" ;;
		*) fail "GET of $(echo "$k" | head -c 30): $code" ;;
		esac
	done
}

# A request is over when nginx logs it, and for a program that was reading its
# body when that logs it.
requests_ended() {
	cat "$W/log/access.log" "$W/log/upload.log" |
	    grep -c -e "PUT /cache/$cut " -e "PUT $cut: "
}
request_ended() {
	[ "$(requests_ended)" -gt "$((ended + ${BODY_STREAMS:-0}))" ]
}

# Bodies ----------------------------------------------------------------------
bodies() {
	perl -e 'print "x" x 3000000' >"$W/body.in"
	k=$(nar_key "$W/body.in" .xz)
	# (A NAR's name would give it away; the others have nothing but length.)
	for cut in "$k" "$absent_hash.ls" "log/$absent_hash-x.drv"; do
		for how in 'close($s)' 'shutdown($s, 1); print while <$s>'; do
			ended=$(requests_ended)
			raw 'print $s "PUT /cache/'"$cut"' HTTP/1.1\r\n", $host,
			    $auth, "Content-Length: 3000000\r\n\r\n",
			    "x" x 1000000; '"$how"
			ok "$cut cut ($how): the request ends" \
			    until_true 20 request_ended
			ok "  nothing is kept" until_true 20 no_bodies
			ok "  nothing is there" unchanged
		done
	done
	raw 'print $s "PUT /cache/'"$k"' HTTP/1.1\r\n", $host, $auth,
	    "Content-Length: 3000000\r\n\r\n"; close($s)'
	ok "a body that never came: nothing is kept" until_true 20 unchanged
	raw 'print $s "PUT /cache/'"$k"' HTTP/1.1\r\n", $host, $auth,
	    "Transfer-Encoding: chunked\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n";
	    print scalar <$s>'
	ok "a body without Content-Length: $(tr -d '\r' <"$W/raw")" \
	    grep -q '^HTTP/1.1 411 ' "$W/raw"
	ok "  nothing is kept" until_true 20 unchanged
	raw 'print $s "PUT /cache/'"$k"' HTTP/1.1\r\n", $host, $auth,
	    "\r\n"; print scalar <$s>'
	ok "no body and no Content-Length: $(tr -d '\r' <"$W/raw")" \
	    grep -q '^HTTP/1.1 411 ' "$W/raw"
	for cl in -1 +5 0x10 99999999999999999999999 1,2 ' '; do
		raw 'print $s "PUT /cache/'"$k"' HTTP/1.1\r\n", $host, $auth,
		    "Content-Length: '"$cl"'\r\n\r\nhello";
		    print scalar <$s>'
		ok "Content-Length \"$cl\": $(tr -d '\r' <"$W/raw")" \
		    grep -q '^HTTP/1.1 4' "$W/raw"
	done
	: >"$W/empty"
	bad_put "an empty NAR" 400 "$absent_key" "$W/empty"
	bad_put "an empty narinfo" 400 "$absent_hash.narinfo" "$W/empty"
	bad_put "SHA-256 is not the FileHash" 400 "$absent_key" "$W/body.in"
	bad_put "the same with an extension" 400 "$absent_key.xz" "$W/body.in"
	cp "$good_nar" "$W/flip"
	printf X | dd of="$W/flip" bs=1 seek=60 conv=notrunc 2>/dev/null
	bad_put "one byte of a NAR that is there changed" 400 "$good_key" \
	    "$W/flip"
	# 5 MB, over this site's limit; the check refuses it unread.
	perl -e 'print "x" x 5000000' >"$W/over"
	bad_put "a NAR over the limit" 413 "$(nar_key "$W/over" .xz)" "$W/over"
	bad_put "a NAR over the limit, no Expect" 413 \
	    "$(nar_key "$W/over" .xz)" "$W/over" -H Expect:
	bad_put "a narinfo over its limit" "400 413" "$absent_hash.narinfo" \
	    "$W/over"
	perl -e 'print "x" x 100000000' >"$W/over"
	bad_put "a listing over its limit" 413 "$absent_hash.ls" "$W/over"
	xz -0 -c "$W/over" >"$W/bomb"
	bad_put "a listing that unpacks to over it" "413 415" \
	    "$absent_hash.ls" "$W/bomb" -H 'Content-Encoding: xz'
	gzip -c "$W/over" >"$W/bomb"
	bad_put "the same in gzip" 413 "$absent_hash.ls" "$W/bomb" \
	    -H 'Content-Encoding: gzip'
	rm "$W/over" "$W/bomb"
	bad_put "a Content-Encoding that is not one" 415 \
	    "$absent_hash.ls" "$absent_info" -H 'Content-Encoding: rot13'
	bad_put "a body that is not in its Content-Encoding" 400 \
	    "$absent_hash.ls" "$absent_info" -H 'Content-Encoding: gzip'
	bad_put "a NAR with a Content-Encoding" "400 415" "$absent_key" \
	    "$absent_nar" -H 'Content-Encoding: gzip'
}

# Narinfos ----------------------------------------------------------------------
# bad_info NAME STATUS SED-COMMANDS: the good narinfo of $other, edited.
bad_info() {
	sed "$3" "$other_info" >"$W/bad.narinfo"
	bad_put "narinfo: $1" "$2" "$other_hash.narinfo" "$W/bad.narinfo"
}
narinfos() {
	for f in StorePath URL NarHash NarSize; do
		bad_info "no $f" 400 "/^$f:/d"
		bad_info "$f twice" 400 "/^$f:/p"
		bad_info "$f empty" 400 "s/^$f:.*/$f: /"
	done
	bad_info "Compression is not the URL's" 400 's/^\(Compression:\).*/\1 xz/'
	bad_info "an unknown Compression" 400 's/^\(Compression:\).*/\1 zip/'
	bad_info "no Compression (which means bzip2)" 400 '/^Compression/d'
	for f in Compression FileHash FileSize References; do
		bad_info "$f twice" 400 "/^$f:/p"
	done
	bad_info "Deriver twice" 400 \
	    '$a Deriver: '"$good_hash-x.drv"'\nDeriver: '"$good_hash-y.drv"
	bad_info "Deriver is no .drv" 400 '$a Deriver: '"$good_hash-x"
	bad_info "CA twice" 400 \
	    '$a CA: text:sha256:'"$nar_hash"'\nCA: text:sha256:'"$nar_hash"
	bad_info "CA is not one" 400 '$a CA: nonsense'
	bad_info "a line without colon" 400 '$a nonsense'
	bad_info "an empty line" 400 '1a\\'
	bad_info "a space before a key" 400 's/^NarSize/ NarSize/'
	bad_info "no space behind a colon" 400 's/^NarSize: /NarSize:/'
	bad_info "References without a space" 400 's/^References: $/References:/'
	bad_info "CR LF" 400 's/$/\r/'
	bad_info "a CR inside" 400 's/^Compression: none/&\rX: y/'
	bad_info "a NUL" 400 's/^Compression: none/&\x00/'
	bad_info "a control character" 400 's/^Compression: none/&\x1b/'
	bad_info "bytes that are not UTF-8" 400 '$a X: \xff\xfe'
	for v in -1 0 +5 0x10 1e3 99999999999999999999 18446744073709551616 \
	    '1 2' ''; do
		bad_info "NarSize \"$v\"" 400 "s/^NarSize: .*/NarSize: $v/"
		[ "$v" = 0 ] || bad_info "FileSize \"$v\"" 400 \
		    "s/^FileSize: .*/FileSize: $v/"
	done
	bad_info "FileSize is not the NAR's" 400 's/^FileSize: .*/&1/'
	bad_info "FileHash is not the URL's" 400 \
	    "s/^FileHash: .*/FileHash: sha256:$(echo "$good_key" |
	        sed 's/nar.\(.*\).nar/\1/')/"
	bad_info "FileHash is no hash" 400 's/^FileHash: .*/FileHash: sha256:0/'
	bad_info "NarHash is no hash" 400 's/^NarHash: .*/NarHash: sha256:0/'
	bad_info "NarHash is md5" 400 \
	    's/^NarHash: .*/NarHash: md5:3y8bwfr609h3lh9ch0izcqq7fl/'
	bad_info "another store directory" 400 's|^StorePath: /nix|&2|'
	bad_info "StorePath is relative" 400 's|^StorePath: /nix/store/|StorePath: |'
	bad_info "StorePath with dots" 400 's|/nix/store/|/nix/store/../store/|'
	bad_info "StorePath with a file below" 400 's|^StorePath.*|&/bin|'
	bad_info "another hash part" 400 "s/$other_hash/$absent_hash/"
	bad_info "a name of 212 characters" 400 \
	    "s/^StorePath: .*/&$(head -c 212 /dev/zero | tr '\0' x)/"
	bad_info "a reference with its path" 400 \
	    "s|^References: |&/nix/store/$good_hash-good|"
	bad_info "a reference that is none" 400 's/^References: /&x/'
	bad_info "two spaces between references" 400 \
	    "s/^References: /&$good_hash-good  $other_hash-other/"
	bad_info "an absolute URL" 400 's|^URL: |&http://elsewhere.example/|'
	bad_info "URL with dots" 400 's|^URL: |&../|'
	bad_info "URL with a query" 400 's|^URL: .*|&?x=1|'
	bad_info "URL of a narinfo" 400 "s|^URL: .*|URL: $good_hash.narinfo|"
	bad_info "a signature without a name" 400 '$a Sig: nonsense'
	bad_info "a signature that is not base 64" 400 '$a Sig: key-1:!!!'
	bad_info "a signature that is too short" 400 '$a Sig: key-1:AAAA'
	printf '%s' "$(cat "$other_info")" >"$W/bad.narinfo"
	bad_put "narinfo: no LF at the end" 400 "$other_hash.narinfo" \
	    "$W/bad.narinfo"
	perl -e 'print "X: ", "y" x 1000000, "\n"' >"$W/bad.narinfo"
	bad_put "narinfo: 1 MB that is none" "400 413" "$other_hash.narinfo" \
	    "$W/bad.narinfo"
	perl -e 'print "StorePath: x\n" x 80000' >"$W/bad.narinfo"
	bad_put "narinfo: 1 MB of one key" "400 413" "$other_hash.narinfo" \
	    "$W/bad.narinfo"
	head -c 3000 /dev/urandom >"$W/bad.narinfo"
	bad_put "narinfo: random bytes" 400 "$other_hash.narinfo" \
	    "$W/bad.narinfo"
	echo '<html>no</html>' >"$W/bad.narinfo"
	bad_put "narinfo: a page" 400 "$other_hash.narinfo" "$W/bad.narinfo"
	bad_put "narinfo: another path's" 400 "$other_hash.narinfo" \
	    "$good_info"
	bad_put "narinfo: its NAR is not there" "400 409" \
	    "$absent_hash.narinfo" "$absent_info"
	ok "  and is named" grep -q "$absent_key" "$W/body"

	# The same path, meaning something else.
	sed -e "s|^URL: .*|URL: $other_key|" \
	    -e "s|^\(....Hash\): .*|\1: sha256:$(sed -n \
	        's/NarHash: sha256://p' "$other_info")|" \
	    -e "s|^NarHash: .*|NarHash: sha256:$(sed -n \
	        's/NarHash: sha256://p' "$other_info")|" \
	    -e "s|^\(....Size\): .*|\1: $(wc -c <"$other_nar")|" \
	    -e "s|^NarSize: .*|NarSize: $(wc -c <"$other_nar")|" \
	    "$good_info" >"$W/bad.narinfo"
	bad_put "narinfo: the path is there with another NarHash" 409 \
	    "$good_hash.narinfo" "$W/bad.narinfo"
}

# Methods -----------------------------------------------------------------------
methods() {
	m=FOO
	if [ "$WEB" = lighttpd ]; then
		# It answers by itself to a method that is none.
		bad "FOO" 501 -X FOO -u ":$SECRET" "$U/cache/$good_key"
		m=''
	fi
	# (POST without a Content-Length is a 411 of lighttpd's.)
	for m in DELETE POST PATCH OPTIONS PROPFIND MKCOL TRACE $m; do
		bad "$m" 405 -X "$m" -H 'Content-Length: 0' -u ":$SECRET" \
		    "$U/cache/$good_key"
		ok "  with Allow" expr "$(header allow)" : '.*PUT'
	done
	bad "POST with a body and no credentials" "401 405" \
	    --data-binary "@$good_nar" "$U/cache/$good_key"
	for m in PUT POST; do
		bad "$m to nowhere" "404 405" -X $m -u ":$SECRET" \
		    --data-binary "@$good_nar" "$U/elsewhere"
	done
	bad "GET with a body" "400 413" -X GET --data-binary "@$good_nar" \
	    "$U/cache/$absent_key"
	raw 'print $s "PUT /cache/x HTTP/9.9\r\n\r\n"; print <$s>'
	ok "an HTTP version that is none: 505 or 400" \
	    grep -q '^HTTP/1.[01] [45]0[05]' "$W/raw"
	raw 'print $s "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n"; print <$s>'
	ok "TLS to a plain port: 400" grep -q ' 400' "$W/raw"
	raw 'print $s "GET /cache/nix-cache-info HTTP/1.1\r\n", $host,
	    "X: ", "y" x 70000, "\r\n\r\n"; print <$s>'
	ok "a header of 70 kB: 400 or 431" \
	    grep -q -e '^HTTP/1.1 400' -e '^HTTP/1.0 431' "$W/raw"
}

# The same again, at the same moment ---------------------------------------------
all8='20[014] 20[014] 20[014] 20[014] 20[014] 20[014] 20[014] 20[014] $'
# 8 at once, each prints its status.
at_once() {
	at_k=$1
	at_f=$2
	for i in 1 2 3 4 5 6 7 8; do
		status -u ":$SECRET" -T "$at_f" "$U/cache/$at_k" >"$W/at.$i" &
		eval "at_$i=$!"
	done
	for i in 1 2 3 4 5 6 7 8; do
		eval "wait \$at_$i"
	done
	cat "$W"/at.? | sed 's/\(...\)/\1 /g'
}
twice() {
	put "$good_hash.narinfo" "$good_info"
	ok "the same narinfo again: $code" expr "$code" : '20[04]'
	put "$good_key" "$good_nar"
	ok "the same NAR again: $code" expr "$code" : '20[04]'
	settle
	ok "  nothing changed" unchanged
	path_make "moment-$BODY" "8 of one narinfo at the same moment"
	codes=$(at_once "$key" "$nar")
	ok "8 of one NAR at once: $codes" expr "$codes" : "$all8"
	codes=$(at_once "$hash.narinfo" "$info")
	ok "8 of one narinfo at once: $codes" \
	    expr "$codes" : "$all8"
	settle
	is "  one row each" "$(sql "SELECT count(*) FROM asset
	    WHERE key IN ('$key', '$hash.narinfo')")" 2
	ok "  no body is left" no_bodies
	curl -q -s "$U/cache/$key" | cmp -s - "$nar"
	is "  and it is there" "$?" 0
	stored >"$W/stored"
}

full() {
	cp "$CONF" "$CONF.roomy"
	conf_set spool_min_free 100000G
	prog_stop upload
	prog_start upload
	prog_ready upload
	bad_put "the disk is full" 507 "$absent_key" "$absent_nar"
	bad_put "the disk is full, no Expect" 507 "$absent_key" "$absent_nar" \
	    -H Expect:
	prog_stop upload
	mv "$CONF.roomy" "$CONF"
	prog_start upload
	prog_ready upload
}

down() {
	prog_stop upload
	req -u ":$SECRET" -T "$absent_nar" "$U/cache/$absent_key"
	is "tmpnix-upload is down" "$code" 503
	is "  in one line" "$(wc -l <"$W/body")$(grep -ci html "$W/body")" 10
	ok "  before 100 Continue" not grep -q '^HTTP/1.1 100' "$W/hdr"
	is "  reading goes on" "$(status "$U/cache/$good_key")" 200
	prog_start upload
	prog_ready upload
}

# lighttpd knows one way of handing bodies over: by the stream.
ways=stream
[ "$WEB" = lighttpd ] || ways='file stream'
for body in $ways; do
	if [ "$body" != "$BODY" ]; then
		web_stop
		BODY=$body
		web_make
		web_start
	fi
	echo "bodies by $body"
	BODY_STREAMS=$([ "$body" = file ] || echo 1)
	credentials
	bodies
	narinfos
	if [ "$body" = "${ways%% *}" ]; then
		keys
		methods
		full
		down
	fi
	twice
done
# nix-cache-info, as a client sends it that found none.
printf 'StoreDir: /nix/store\n' >"$W/cache-info"
put nix-cache-info "$W/cache-info"
is "nix-cache-info for our store" "$code" 200
printf 'WantMassQuery: 1\nStoreDir: /gnu/store\n' >"$W/cache-info"
bad "nix-cache-info for another store" 409 -u ":$SECRET" -T "$W/cache-info" \
    "$U/cache/nix-cache-info"
is "ours is as it was" "$(curl -q -s "$U/cache/nix-cache-info" |
    sed -n 's/^StoreDir: //p')" $STORE
# Nobody asks from outside what the web server asks.
for check in /tmpnix-check "/tmpnix-check/cache/$good_key" \
    "/tmpnix-check?x"; do
	is "GET $check" "$(status -u ":$SECRET" "$U$check")" 404
	case $(status -u ":$SECRET" -T "$W/cache-info" "$U$check") in
	404 | 405) pass "PUT $check" ;;
	*) fail "PUT $check" ;;
	esac
done
requests_logged
is "the good path is as it was" "$(status "$U/cache/$good_hash.narinfo")" 200
is "no program crashed, no 5xx but 503 and 507" \
    "$(grep -c '" 50[0124568]' "$W/log/access.log")" \
    "$(grep -c -e '" 505 ' -e '"  HTTP/1.1" 501 ' "$W/log/access.log")"
ok "nothing secret in the logs" not grep -rq "$SECRET" "$W/log"

e2e_end
