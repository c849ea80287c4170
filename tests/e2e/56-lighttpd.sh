#!/bin/sh
# What is lighttpd's own: it runs the programs by itself; nothing of a body is
# asked for before FastCGI's Authorizer was, and nothing of one gets on the disk.
# shellcheck disable=SC1091,SC2002,SC2016,SC2034,SC2154
WEB=lighttpd
. "$(dirname "$0")/lib.sh"

STORE=/nix/store
site_make $STORE
conf_set max_upload_size 400M
# lighttpd starts them as this build has them.
for f in "$W"/lighttpd/*_spawn.conf; do
	sed -e "s|/usr/libexec/tmpnix/|$top_builddir/|" \
	    -e "s|/etc/tmpnix/tmpnix.conf|$CONF|" "$f" >"$f.new"
	mv "$f.new" "$f"
done
lighttpd_choose programs_spawn programs_connect
# As it is shipped.
sed -i "s|\"$W/tmp/lighttpd\"|\"/dev/shm\", \"/var/tmp\"|" \
    "$W/lighttpd/tmpnix.conf"

# The programs that lighttpd has started: their process ids.
spawned() {
	for p in /proc/[0-9]*; do
		cat "$p/cmdline" 2>/dev/null | tr '\0' ' ' |
		    grep -q "^$top_builddir/tmpnix-${1-} *.*-f $CONF " &&
		    echo "${p#/proc/}"
	done
}
web_start
for p in cache upload drv; do
	prog_ready $p
	is "tmpnix-$p runs, once" "$(spawned $p | wc -l)" 1
done
is "their descriptor 0 is the socket" "$(for p in $(spawned); do
	readlink "/proc/$p/fd/0"; done | grep -c '^socket:')" 3
path_make pushed "a path pushed to programs that lighttpd runs"
put "$key" "$nar"
is "a NAR" "$code" 201
put "$hash.narinfo" "$info"
is "its narinfo" "$code" 201
settle
is "is served" "$(status "$U/cache/$hash.narinfo")" 200
# What starts the programs is no way in, around the Authorizer.
for u in upload/$key none/upload/$key noneupload; do
	is "GET $u" "$(status "$U/$u")" 404
	is "PUT $u" "$(status -u ":$SECRET" -T "$nar" "$U/$u")" 404
done

# One that is killed is there again.
old=$(spawned upload)
kill -9 "$old"
prog_ready upload
is "after kill -9 tmpnix-upload runs, once" "$(spawned upload | wc -l)" 1
ok "  another one" test "$(spawned upload)" != "$old"
put "$key" "$nar"
is "  and takes what it has" "$code" 200

# Not asked for -----------------------------------------------------------------
truncate -s 300M "$W/big"
big=$(nar_key "$W/big")
truncate -s 500M "$W/over"
refused() {
	name=$1 want=$2
	shift 2
	req "$@" -w '%{http_code} %{size_upload}'
	is "$name" "${code%% *}" "$want"
	ok "  $(cat "$W/body"): in a line of text" \
	    test "$(wc -l <"$W/body") $(header content-type)" = \
	    "1 text/plain; charset=utf-8"
	is "  before \"100 Continue\"" "$(grep -c '^HTTP/1.1 100' "$W/hdr")" 0
	is "  unsent" "${code#* }" 0
}
refused "no token" 401 -T "$W/big" "$U/cache/$big"
is "  WWW-Authenticate" "$(header www-authenticate)" 'Basic realm="tmpnix"'
refused "a wrong token" 401 -u :x -T "$W/big" "$U/cache/$big"
refused "too large" 413 -u ":$SECRET" -T "$W/over" "$U/cache/$big"
refused "no key" 400 -u ":$SECRET" -T "$W/big" "$U/cache/x"
refused "another method" 405 -u ":$SECRET" -X PATCH -T "$W/big" "$U/cache/$big"
is "  Allow" "$(header allow)" "GET, HEAD, PUT"

# The role by itself: what a program answers to
# authorizer PROGRAM METHOD URI [NAME=VALUE...].
authorizer() {
	role_sock=$W/run/$1.sock-0
	shift
	SOCK=$role_sock perl -MIO::Socket::UNIX -e '
		my ($method, $uri, @more) = @ARGV;
		$SIG{ALRM} = sub { exit 3 };
		alarm 60;
		my $s = IO::Socket::UNIX->new($ENV{SOCK}) or die;
		sub record { pack("CCnnCC", 1, $_[0], 1, length $_[1], 0, 0) . $_[1] }
		my $p = "";
		for ("REQUEST_METHOD=$method", "REQUEST_URI=$uri", @more) {
			my ($n, $v) = split /=/, $_, 2;
			$p .= pack("NN", length($n) | 1 << 31,
			    length($v) | 1 << 31) . $n . $v;
		}
		# Begin a request, role 2; its parameters; and no body.
		print $s record(1, pack("nCx5", 2, 0)), record(4, $p), record(4, "");
		$s->flush;
		while (read($s, my $h, 8) == 8) {
			my (undef, $type, undef, $n, $pad) = unpack "CCnnC", $h;
			read($s, my $body, $n + $pad) if $n + $pad;
			print substr($body, 0, $n) if $type == 6;
			last if $type == 3;
		}' "$@" >"$W/role" 2>"$W/role.err"
	sed -n 's/^Status: \([0-9]*\).*/\1/p' "$W/role"
}
auth=HTTP_AUTHORIZATION="Basic $(printf ':%s' "$SECRET" | base64 -w 0)"
length=HTTP_CONTENT_LENGTH=5
at=SCRIPT_NAME=/cache
is "role: a PUT" "$(authorizer upload PUT "/cache/$hash.ls" $at $length \
    "$auth")" 200
is "  has no Variable- and no body" "$(grep -ci -e variable "$W/role")" 0
is "role: no token" "$(authorizer upload PUT "/cache/$hash.ls" $at $length)" 401
is "role: too long" "$(authorizer upload PUT "/cache/$hash.ls" $at \
    HTTP_CONTENT_LENGTH=99999999999 "$auth")" 413
is "role: no length" "$(authorizer upload PUT "/cache/$hash.ls" $at "$auth")" 411
is "role: a reader's GET, of anything" "$(authorizer upload GET \
    "/cache/00000000000000000000000000000000.narinfo" $at)" 200
is "role: an instantiation, which is not begun" "$(authorizer drv PUT \
    '/drv/instantiate?file=x&attr=y' SCRIPT_NAME=/drv "$auth")" 200
is "role: one without a token" "$(authorizer drv PUT \
    '/drv/instantiate?file=x&attr=y' SCRIPT_NAME=/drv)" 401

# Not on the disk ----------------------------------------------------------------
# What a process has had written to disks (not to memory that looks like one).
written() {
	sed -n 's/^write_bytes: //p' "/proc/$web_pid/io"
}
before=$(written)
put "$big" "$W/big"
is "300 MB" "$code" 201
after=$(written)
ok "  of which lighttpd wrote less than 8 MB to a disk" \
    test $((after - before)) -lt 8388608
kb=$(sed -n 's/^VmHWM:[ 	]*\([0-9]*\) kB/\1/p' "/proc/$web_pid/status")
ok "  lighttpd never had more than 32 MB ($kb kB)" test "$kb" -lt 32768
settle
curl -q -s "$U/cache/$big" | cmp -s - "$W/big"
is "  read back" $? 0

# A body that is longer than it was said to be, or a request behind another one.
raw 'print $s "PUT /cache/'"$hash"'.ls HTTP/1.1\r\n", $host, $auth,
    "Content-Length: 2\r\n\r\n{}GET /cache/nix-cache-info HTTP/1.1\r\n", $host,
    "Connection: close\r\n\r\n"; print while <$s>'
is "two requests in one piece" "$(grep -c '^HTTP/1.1 20[01]' "$W/raw")" 2

# HTTP/2 is off: with it bodies come in before anybody is asked.
ok "no HTTP/2" not curl -q -s --http2-prior-knowledge -m 20 \
    "$U/cache/nix-cache-info"

# Where it is on for something else: a GET's body needs no Content-Length there.
pids=$(spawned)
none() {
	for p in $pids; do
		! kill -0 "$p" 2>/dev/null || return 1
	done
}
web_stop
until_true 40 none || fail "the programs end with lighttpd"
cp "$W/lighttpd/tmpnix.conf" "$W/as-shipped.conf"
sed -i '/server.h2proto/d' "$W/lighttpd/tmpnix.conf"
web_start
prog_ready cache
for u in cache/nix-cache-info "drv/$hash.narinfo" ''; do
	sent=$(curl -q -s -m 60 --http2-prior-knowledge -X GET -T - \
	    -o /dev/null -w '%{http_version} %{size_upload}' "$U/$u" <"$W/big")
	ok "a GET of /$u with a body over HTTP/2: $sent bytes of it" \
	    test "${sent#* }" -lt 1000000
done
ok "and one without" test "$(curl -q -s --http2-prior-knowledge -o /dev/null \
    -w '%{http_version} %{http_code}' "$U/cache/nix-cache-info")" = "2 200"
pids=$(spawned)
web_stop
until_true 40 none || fail "the programs end with lighttpd"
cp "$W/as-shipped.conf" "$W/lighttpd/tmpnix.conf"
web_start
prog_ready cache

# The end -------------------------------------------------------------------------
pids=$(spawned)
: >"$W/log/lighttpd-breakage.log"
web_stop
ok "the programs end with lighttpd" until_true 40 none
ok "and said so" test "$(grep -c 'stopping: SIG' \
    "$W/log/lighttpd-breakage.log")" = 3
web_start
prog_ready cache
is "started again: what was pushed is there" \
    "$(status "$U/cache/$hash.narinfo")" 200
pids=$(spawned)
web_stop
ok "and ended again" until_true 40 none
ok "nothing secret in the logs" not grep -rq "$SECRET" "$W/log"

e2e_end
