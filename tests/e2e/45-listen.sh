#!/bin/sh
# Every way a program gets its socket; what it does with one that is there; what
# a stop does to requests that are under way.
# shellcheck disable=SC1091,SC2015,SC2016,SC2034,SC2154
. "$(dirname "$0")/lib.sh"

for tool in spawn-fcgi systemd-socket-activate; do
	command -v $tool >/dev/null || stop "$tool is missing"
done

STORE=/nix/store
site_make $STORE stream
conf_set stop_timeout 8s
CACHE=$top_builddir/tmpnix-cache
sock=$W/run/cache.sock

# cache_start ARG...: tmpnix-cache with these options, as $cache_pid.
cache_start() {
	# shellcheck disable=SC2086
	${TMPNIX_WRAP-} "$CACHE" -d -f "$CONF" "$@" >>"$W/log/cache.log" 2>&1 \
	    </dev/null &
	cache_pid=$!
}
ended() {
	! kill -0 "$1" 2>/dev/null
}
# refused NAME STATUS WORD ARG...: it ends with one line that has the word, on
# standard error wherever its log goes.
refused() {
	refused_name=$1
	refused_rc=$2
	refused_word=$3
	shift 3
	"$CACHE" -d -f "$CONF" "$@" >"$W/refused" 2>&1 </dev/null
	is "$refused_name: exit" $? "$refused_rc"
	is "$refused_name: one line" "$(wc -l <"$W/refused")" 1
	ok "$refused_name: $(sed 's/^[^ ]* //' "$W/refused")" \
	    grep -q -e "$refused_word" "$W/refused"
	"$CACHE" -f "$CONF" "$@" >"$W/refused" 2>&1 </dev/null
	is "$refused_name, without -d: exit" $? "$refused_rc"
	is "$refused_name, without -d: one line" "$(wc -l <"$W/refused")" 1
	ok "$refused_name, without -d: $(sed 's/^[^ ]* //' "$W/refused")" \
	    grep -q -e "$refused_word" "$W/refused"
}
# upstream NAME ADDRESS...: where nginx finds a program; to be followed by
# nginx_restart.
upstream() {
	upstream_name=$1
	shift
	for a in "$@"; do
		echo "server $a;"
	done >"$W/nginx/upstream"
	sed "/^upstream tmpnix_$upstream_name {/,/}/ {
		/server /d
		/^upstream/r $W/nginx/upstream
	}" "$W/nginx/tmpnix_programs_fastcgi.conf" >"$W/nginx/new"
	mv "$W/nginx/new" "$W/nginx/tmpnix_programs_fastcgi.conf"
}
nginx_restart() {
	web_stop
	web_start
}

web_start
# The web server first.
is "nothing runs: GET" "$(status "$U/cache/nix-cache-info")" 503
is "nothing runs: PUT" "$(status -u ":$SECRET" -T "$CONF" "$U/cache/x")" 503
is "nothing runs: /drv/" "$(status "$U/drv/nix-cache-info")" 503
cache_start -s "$sock"
prog_start upload
prog_start drv
for p in cache upload drv; do
	prog_ready $p
done
pass "they are started later, and answer"
# The web server last.
nginx_restart
for p in cache upload drv; do
	prog_ready $p
done
pass "the web server is started again, and they answer"

# Mode and owner.
is "the socket's mode" "$(stat -c %a "$sock")" 660
prog_stop cache
ok "and it is gone after a stop" not test -e "$sock"
cache_start -s "$sock" -m 0620
prog_ready cache
is "the mode of -m" "$(stat -c %a "$sock")" 620
prog_stop cache
if [ "$(id -u)" = 0 ]; then
	cache_start -s "$sock" -m 0600 -o nobody:www-data
	until_true 10 test -S "$sock"
	prog_ready cache
	is "the owner of -o" "$(stat -c '%a %U:%G' "$sock")" \
	    "600 nobody:www-data"
	prog_stop cache
	cache_start -s "$sock" -o :www-data
	prog_ready cache
	is "a group alone" "$(stat -c '%U:%G' "$sock")" "root:www-data"
	prog_stop cache
else
	echo "not root: -o was not tried"
fi
refused "-m" 2 "octal" -m 0888 -s "$sock"
refused "-m alone" 2 "need -s" -m 0600
refused "-o" 2 "no such user" -o no-such-user -s "$sock"
refused "-o group" 2 "no such group" -o :no-such-group -s "$sock"
refused "-o for a port" 2 "with a path" -o nobody -s 127.0.0.1:1
refused "-N for a path" 2 "HOST:PORT" -N -s "$sock"
refused "no socket at all" 1 "descriptor 0"
refused "all addresses" 1 "other machines" -s 0.0.0.0:9000
refused "all addresses" 1 "other machines" -s '[::]:9000'
refused "a port alone" 1 "HOST:PORT" -s 9000
refused "a bare IPv6 address" 1 "HOST:PORT" -s ::1:9000
refused "port 0" 1 "HOST:PORT" -s 127.0.0.1:0
refused "port 65536" 1 "HOST:PORT" -s 127.0.0.1:65536
refused "no directory" 1 "No such file" -s "$W/nowhere/sock"
refused "a long path" 1 "at most 107 bytes" \
    -s "$W/$(printf '%0110d' 1)"
echo text >"$W/run/file"
refused "a file" 1 "is no socket" -s "$W/run/file"
is "which is as it was" "$(cat "$W/run/file")" text

# What is wrong with the configuration, too; and what the program needs.
cp "$CONF" "$W/good.conf"
echo 'mistake = yes' >>"$CONF"
refused "a mistake in tmpnix.conf" 1 'unknown key "mistake"' -s "$sock"
cp "$W/good.conf" "$CONF"
conf_set state_dir "$W/no-state"
"$CACHE" -f "$CONF" -s "$sock" >"$W/refused" 2>&1 </dev/null
is "no state_dir: exit" $? 1
ok "no state_dir: the reason is on standard error" \
    grep -q "$W/no-state.*No such file" "$W/refused"
cp "$W/good.conf" "$CONF"
# Where standard error is systemd's journal, syslog has it already.
: >"$W/journal"
stream=$(stat -c %d:%i "$W/journal")
JOURNAL_STREAM=$stream "$CACHE" -f "$CONF" -s 9000 \
    >"$W/journal" 2>&1 </dev/null
is "standard error is the journal: exit" $? 1
is "and has nothing twice" "$(cat "$W/journal")" ''
JOURNAL_STREAM=$(stat -c %d:%i "$CONF") "$CACHE" -f "$CONF" -s 9000 \
    >"$W/journal" 2>&1 </dev/null
ok "it is another file: said there" grep -q HOST:PORT "$W/journal"
# Once it serves, what it logs is for syslog alone.
"$CACHE" -f "$CONF" -s "$sock" >"$W/quiet" 2>&1 </dev/null &
cache_pid=$!
prog_ready cache
prog_stop cache
is "what serves is quiet without -d" "$(cat "$W/quiet")" ''

# One that is there.
cache_start -s "$sock"
prog_ready cache
first=$(stat -c %i "$sock")
refused "a live one" 1 "another program listens there" -s "$sock"
is "the first one's socket is still there" "$(stat -c %i "$sock")" "$first"
ok "and it answers" prog_answers cache
prog_stop cache KILL
ok "kill -9 leaves it" test -S "$sock"
cache_start -s "$sock"
prog_ready cache
pass "a stale one is replaced"
# Another program's, by the time we end.
old=$cache_pid
rm "$sock"
cache_start -s "$sock"
until_true 20 test -S "$sock"
prog_ready cache
kill "$old"
wait "$old"
is "the one whose path was taken ends with" $? 0
ok "the other's socket stays" test -S "$sock"
ok "and answers" prog_answers cache

# Many starts at once: one wins, the others say so.
# Does one of $race_pids run?  It is $alive.
one_runs() {
	alive=
	for p in $race_pids; do
		case $(sed 's/.*) //;s/ .*//' "/proc/$p/stat" 2>/dev/null) in
		'' | Z) ;;
		*) alive="$alive $p" ;;
		esac
	done
	case $alive in
	' '*' '*) return 1 ;;
	' '*) ;;
	*) return 1 ;;
	esac
}
for round in $(seq 15); do
	prog_stop cache KILL
	: >"$W/race"
	race_pids=''
	for i in 1 2 3 4; do
		"$CACHE" -d -f "$CONF" -s "$sock" >>"$W/race" 2>&1 </dev/null &
		race_pids="$race_pids $!"
	done
	other_pids=$race_pids
	three_lost() {
		[ "$(grep -c 'another program listens' "$W/race")" = 3 ]
	}
	until_true 20 three_lost || {
		cat "$W/race"
		stop "round $round: of four starts not three are refused"
	}
	until_true 20 one_runs || stop "round $round: not one is left"
	cache_pid=${alive# }
	other_pids=''
	prog_ready cache
done
pass "four starts at once, 15 times: one runs, three are refused"
prog_stop cache KILL
# Who looks at the old socket holds a lock on the directory, while others wait.
flock "$W/run" timeout 60 "$CACHE" -d -f "$CONF" -s "$sock" >"$W/refused" 2>&1
is "the directory is locked: exit" $? 1
ok "the directory is locked" grep -q 'lock its directory' "$W/refused"

# A TCP port.
tcp=$(free_port)
cache_start -s "127.0.0.1:$tcp"
upstream cache "127.0.0.1:$tcp"
nginx_restart
prog_ready cache
pass "-s 127.0.0.1:PORT"
refused "a port in use" 1 "Address already in use" -s "127.0.0.1:$tcp"
for i in 1 2 3; do
	prog_stop cache
	cache_start -s ":$tcp"
	prog_ready cache
done
pass "-s :PORT, and again at once"
prog_stop cache
cache_start -s "localhost:$tcp"
prog_ready cache
pass "-s localhost:PORT"
prog_stop cache
# Debian's /etc/hosts knows localhost by two addresses, in either order.
printf '::1 localhost\n127.0.0.1 localhost\n' >"$W/hosts"
if [ "$(id -u)" = 0 ] && unshare --mount true 2>/dev/null; then
	unshare --mount sh -c 'mount --bind "$0" /etc/hosts && exec "$@"' \
	    "$W/hosts" "$CACHE" -d -f "$CONF" -s "localhost:$tcp" \
	    >>"$W/log/cache.log" 2>&1 </dev/null &
	cache_pid=$!
	prog_ready cache
	pass "-s localhost:PORT, which is ::1 too: it is 127.0.0.1"
	refused "localhost in use: not on ::1 then" 1 \
	    "Address already in use" -s "localhost:$tcp"
	prog_stop cache
else
	echo "localhost with two addresses was not tried: no mounts here"
fi
cache_start -N -s "0.0.0.0:$tcp"
prog_ready cache
pass "-N -s 0.0.0.0:PORT"
ok "which says that anybody may connect" \
    grep -q 'name the web servers' "$W/log/cache.log"
prog_stop cache

# FastCGI by hand, from address FROM to the port: begin a request, send PARAMS
# whose lengths overflow, see what comes.
overflow() {
	FROM=$1 TCP=$tcp perl -MIO::Socket::INET -e '
		$SIG{ALRM} = sub { exit 3 };
		$SIG{PIPE} = "IGNORE";
		alarm 60;
		$s = IO::Socket::INET->new(PeerAddr => "127.0.0.1",
		    LocalAddr => $ENV{FROM}, PeerPort => $ENV{TCP}) or exit 2;
		$s->syswrite(pack("CCnnCC nCx5", 1, 1, 1, 8, 0, 0, 1, 0));
		$p = pack("NN", 0xffffffff, 0xffffffff) . "x" x 64;
		$s->syswrite(pack("CCnnCC", 1, 4, 1, length $p, 0, 0) . $p);
		$s->sysread($x, 1) and exit 1;'
}
conf_set web_servers '127.0.0.2 10.0.0.0/8'
cache_start -s "127.0.0.1:$tcp"
closed() {
	grep -q 'a connection from 127.0.0.1 is closed' "$W/log/cache.log"
}
: >"$W/log/cache.log"
until_true 20 overflow 127.0.0.1 ||
    fail "a connection of no web server is closed"
for i in 1 2 3 4 5; do
	overflow 127.0.0.1
done
ok "which the log says" until_true 20 closed
ok "the program goes on" kill -0 "$cache_pid"
is "nginx, which is no web server now either" \
    "$(status "$U/cache/nix-cache-info")" 503
conf_set web_servers '127.0.0.1'
kill -HUP "$cache_pid"
prog_ready cache
pass "reloaded: it is one"
ok "what is none is not" until_true 20 overflow 127.0.0.3
ok "the program goes on, too" kill -0 "$cache_pid"
prog_stop cache
conf_set web_servers none
if perl -MIO::Socket::IP -e 'exit !IO::Socket::IP->new(LocalHost => "::1",
    Listen => 1)' 2>/dev/null; then
	cache_start -s "[::1]:$tcp"
	upstream cache "[::1]:$tcp"
	nginx_restart
	prog_ready cache
	pass "-s [::1]:PORT"
	prog_stop cache
else
	echo "no IPv6 here: [::1]:PORT was not tried"
fi

# Handed over as descriptor 0: by spawn-fcgi, as systemd's StandardInput=socket
# and lighttpd's bin-path do.
upstream cache "unix:$sock"
nginx_restart
rm -f "$sock"
spawn-fcgi -n -s "$sock" -- "$CACHE" -d -f "$CONF" >>"$W/log/cache.log" 2>&1 &
cache_pid=$!
prog_ready cache
pass "spawn-fcgi, a path"
prog_stop cache
spawn-fcgi -n -a 127.0.0.1 -p "$tcp" -- "$CACHE" -d -f "$CONF" \
    >>"$W/log/cache.log" 2>&1 &
cache_pid=$!
upstream cache "127.0.0.1:$tcp"
nginx_restart
prog_ready cache
pass "spawn-fcgi, a port"
prog_stop cache

# As descriptor 3, by systemd.
upstream cache "unix:$sock"
nginx_restart
rm -f "$sock"
systemd-socket-activate -l "$sock" "$CACHE" -d -f "$CONF" \
    >>"$W/log/cache.log" 2>&1 </dev/null &
cache_pid=$!
prog_ready cache
pass "systemd's LISTEN_FDS"
prog_stop cache
rm -f "$sock"
systemd-socket-activate -l "$sock" -l "$W/run/second.sock" "$CACHE" -d \
    -f "$CONF" >"$W/two" 2>&1 </dev/null &
p=$!
other_pids=$p
until_true 10 test -S "$W/run/second.sock"
perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Peer => $ARGV[0])' "$sock"
wait "$p"
is "two sockets from systemd: exit" $? 1
other_pids=''
ok "two sockets from systemd" grep -q '2 sockets from systemd' "$W/two"
# Those of a parent are none of ours.
LISTEN_PID=1 LISTEN_FDS=1 "$CACHE" -d -f "$CONF" >"$W/refused" 2>&1 </dev/null
ok "another's LISTEN_PID" grep -q 'descriptor 0' "$W/refused"
LISTEN_FDS=1 perl -e '$ENV{LISTEN_PID} = $$; open(F, "<", "/dev/null");
    dup2(fileno(F), 3); use POSIX; exec @ARGV' "$CACHE" -d -f "$CONF" \
    >"$W/refused" 2>&1 </dev/null
ok "LISTEN_FDS without a socket" grep -q 'no listening socket' "$W/refused"

# Whoever holds the socket can start program after program: those that ask wait
# for the next one, and nobody is turned away.
rm -f "$sock"
perl -MIO::Socket::UNIX -MPOSIX -e '
	my ($sock, $rounds, @cmd) = @ARGV;
	my $l = IO::Socket::UNIX->new(Local => $sock, Listen => 128) or exit 2;
	my $go = 1;
	$SIG{TERM} = sub { $go = 0; kill TERM => $pid if $pid };
	for (; $go; ) {
		our $pid = fork;
		if ($pid == 0) {
			dup2(fileno($l), 0);
			exec @cmd;
			exit 127;
		}
		1 while waitpid($pid, 0) == -1 && $!{EINTR};
	}' "$sock" 0 "$CACHE" -d -f "$CONF" >>"$W/log/holder.log" 2>&1 &
holder=$!
other_pids=$holder
prog_ready cache
(
	while [ ! -e "$W/enough" ]; do
		status "$U/cache/nix-cache-info"
		echo
	done >"$W/asked"
) &
asker=$!
for i in $(seq 10); do
	n=$(wc -l <"$W/asked")
	child=$(cat "/proc/$holder/task/$holder/children")
	kill "${child% }"
	more() { [ "$(wc -l <"$W/asked")" -gt $((n + 20)) ]; }
	until_true 20 more || fail "restart $i: it goes on"
done
: >"$W/enough"
wait $asker
is "ten restarts with a socket of somebody else's: answers but 200" \
    "$(grep -vc '^200$' "$W/asked")" 0
kill $holder
wait $holder
other_pids=''
cache_start -s "$sock"
prog_ready cache

# Stopping while a client stands still.
head -c 9000000 /dev/urandom >"$W/large"
k=$(nar_key "$W/large" .xz)
incoming() {
	[ -n "$(find "$S/spool/incoming" -type f -size +"$1"k)" ]
}
raw_start 'open(F, "<", "'"$W/large"'"); read(F, $b, 4500000);
    print $s "PUT /cache/'"$k"' HTTP/1.1\r\n", $host, $auth,
    "Content-Length: 9000000\r\n\r\n", $b; $s->flush;
    print while <$s>'
ok "half a body" until_true 30 incoming 1000
prog_p=$upload_pid
upload_pid=
kill "$prog_p"
wait "$prog_p"
is "a client stands still: tmpnix-upload ends with" $? 0
is "it says so in one line" "$(grep -c 'not finished within' \
    "$W/log/upload.log")" 1
wait "$raw_pid"
ok "the client is told" grep -q '^HTTP/1.1 400' "$W/raw"
ok "nothing is left of it" no_bodies
is "no such object" "$(status "$U/cache/$k")" 404
ok "the socket is gone" not test -e "$W/run/upload.sock"
prog_start upload
prog_ready upload
put "$k" "$W/large"
is "it is taken afterwards" "$code" 201

# Stopping while one does not: the rest of the body is waited for.
head -c 9000000 /dev/urandom >"$W/large"
k=$(nar_key "$W/large" .xz)
raw_start 'open(F, "<", "'"$W/large"'"); read(F, $b, 4500000);
    print $s "PUT /cache/'"$k"' HTTP/1.1\r\n", $host, $auth,
    "Content-Length: 9000000\r\n\r\n", $b; $s->flush;
    sleep 0.1 until -e "'"$W/go"'"; read(F, $b, 4500000); print $s $b;
    $s->flush; while (<$s>) { print; last if /^\r/ }'
ok "half a body" until_true 30 incoming 1000
prog_p=$upload_pid
upload_pid=
: >"$W/log/upload.log"
kill "$prog_p"
ok "it is told to stop" until_true 10 grep -q stopping "$W/log/upload.log"
: >"$W/go"
wait "$prog_p"
is "tmpnix-upload ends with" $? 0
wait "$raw_pid"
ok "what was under way is finished" grep -q '^HTTP/1.1 201' "$W/raw"
ok "nothing was cut" not grep -q 'not finished within' "$W/log/upload.log"
prog_start upload
prog_ready upload
curl -q -s "$U/cache/$k" >"$W/back"
ok "it is there, byte for byte" cmp -s "$W/back" "$W/large"

# Stopping under load: what was acknowledged can be read.
for i in $(seq 48); do
	head -c $((2000 + i * 3000)) /dev/urandom >"$W/load.$i"
	echo "$(nar_key "$W/load.$i" .xz) $W/load.$i"
done >"$W/load"
readable() {
	while read -r k f; do
		curl -q -s -f "$U/cache/$k" >"$W/back" &&
		    cmp -s "$W/back" "$f" || {
			echo "$k"
			return 1
		}
	done <"$1"
}
# forget: the objects of the last round, so that each is stored anew.
forget() {
	prog_stop upload
	sql "DELETE FROM asset WHERE key LIKE 'nar/%'"
	rm -rf "$S/store/nar"
	prog_start upload
	prog_ready upload
}
# load_round N: 8 clients push; SIGTERM when N are acknowledged.
load_round() {
	rm -f "$W"/ack.*
	for t in 0 1 2 3 4 5 6 7; do
		awk -v t=$t 'NR % 8 == t' "$W/load" | while read -r k f; do
			c=$(status -u ":$SECRET" -T "$f" "$U/cache/$k")
			echo "$c $k" >>"$W/codes"
			case $c in
			20?) echo "$k $f" >>"$W/ack.$t" ;;
			esac
		done &
		eval "t$t=$!"
	done
	acknowledged() {
		[ "$(cat "$W"/ack.* 2>/dev/null | wc -l)" -ge "$1" ]
	}
	until_true 30 acknowledged "$1" || fail "uploads go on"
	prog_p=$upload_pid
	upload_pid=
	kill "$prog_p"
	wait "$prog_p"
	load_rc=$?
	prog_start upload
	for t in 0 1 2 3 4 5 6 7; do
		eval "wait \$t$t"
	done
	prog_ready upload
	[ $load_rc = 0 ] || fail "round $1: tmpnix-upload ended with $load_rc"
	cat "$W"/ack.* >"$W/ack"
	readable "$W/ack" >"$W/lost" ||
	    fail "round $1: acknowledged but lost: $(cat "$W/lost")"
	total=$((total + $(wc -l <"$W/ack")))
}
: >"$W/codes"
for BODY in stream file; do
	total=0
	prog_stop cache
	prog_stop upload
	conf_set body_dir "$S/body"
	nginx_make
	nginx_restart
	cache_start -s "$sock"
	prog_start upload
	prog_ready cache
	prog_ready upload
	for round in $(seq "${ROUNDS:-12}"); do
		forget
		load_round $((round * 2))
	done
	pass "$BODY: ${ROUNDS:-12} stops under load, $total acknowledged, all there"
done
is "answers that are neither success nor 503" \
    "$(grep -v '^20[01] \|^503 ' "$W/codes" | sort | uniq -c)" ""
ok "no half body is left" no_bodies

# Two on one state directory, behind one web server.
"$top_builddir/tmpnix-upload" -d -f "$CONF" -s "$W/run/two.sock" \
    >>"$W/log/two.log" 2>&1 </dev/null &
two=$!
other_pids=$two
until_true 20 test -S "$W/run/two.sock" || fail "a second tmpnix-upload starts"
upstream upload "unix:$W/run/upload.sock" "unix:$W/run/two.sock"
nginx_restart
prog_ready upload
forget_files() {
	for i in $(seq 48); do
		echo "$i" >>"$W/load.$i"
		echo "$(nar_key "$W/load.$i" .xz) $W/load.$i"
	done >"$W/load"
}
forget_files
rm -f "$W"/ack.*
push_all() {
	for t in 0 1 2 3; do
		awk -v t=$t 'NR % 4 == t' "$W/load" | while read -r k f; do
			c=$(status -u ":$SECRET" -T "$f" "$U/cache/$k")
			case $c in
			20?) echo "$k $f" >>"$W/ack.$t" ;;
			esac
		done &
		eval "t$t=$!"
	done
}
push_wait() {
	for t in 0 1 2 3; do
		eval "wait \$t$t"
	done
}
push_all
push_wait
is "two instances: all is taken" "$(cat "$W"/ack.* | wc -l)" 48
ok "by both of them" grep -q ': 201' "$W/log/two.log"
ok "by both of them" grep -q ': 201' "$W/log/upload.log"
cat "$W"/ack.* >"$W/ack"
settle
ok "and is there" readable "$W/ack"
# One is killed while both work: what it has claimed the other one gets, at the
# latest when somebody starts.
forget_files
rm -f "$W"/ack.*
push_all
until_true 30 acknowledged 12 || fail "uploads go on"
kill -9 $two
wait $two 2>/dev/null
other_pids=''
push_wait
cat "$W"/ack.* >"$W/ack"
ok "one is killed: all $(wc -l <"$W/ack") acknowledged are there" \
    readable "$W/ack"
prog_stop upload
prog_start upload
prog_ready upload
settle
ok "and are when they are stored" readable "$W/ack"
is "integrity_check" "$(sql 'PRAGMA integrity_check')" ok

e2e_end
