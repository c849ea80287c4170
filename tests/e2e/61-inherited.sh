#!/bin/sh
# A listening socket that is handed over on descriptor 0, as spawn-fcgi and
# systemd do: the program that is told to stop leaves it as it is, and the one
# that comes next serves those who asked meanwhile.
# shellcheck disable=SC1091,SC2154
. "$(dirname "$0")/lib.sh"

site_make /nix/store stream

# keeper NAME: listens on $W/run/NAME.sock, starts the program on it, again and
# again as it ends; "stay" in $W/NAME.stay lets it not be started.
keeper() {
	SOCK=$W/run/$1.sock STAY=$W/$1.stay PID=$W/$1.pid \
	    perl -MIO::Socket::UNIX -e '
		$SIG{TERM} = sub { kill TERM => $pid if $pid; $end = 1 };
		$| = 1;
		$s = IO::Socket::UNIX->new(Local => $ENV{SOCK}, Listen => 64)
		    or die;
		until ($end) {
			if (-e $ENV{STAY}) { select undef, undef, undef, 0.1; next }
			$pid = fork;
			if (!$pid) {
				$SIG{TERM} = "DEFAULT";
				open STDIN, "<&", $s or die;
				exec @ARGV;
			}
			open $f, ">", "$ENV{PID}.new"; print $f "$pid\n"; close $f;
			rename "$ENV{PID}.new", $ENV{PID};
			1 until waitpid($pid, 0) == $pid;
			print "ended $?\n";
			$pid = 0;
		}' "$top_builddir/tmpnix-$1" -d -f "$CONF" \
	    >>"$W/$1.ends" 2>>"$W/log/$1.log" </dev/null &
	other_pids="$other_pids $!"
}
ends() {
	grep -c ended "$W/$1.ends"
}
# stop_one NAME: tell it to stop, and wait until it has.
stop_one() {
	n=$(($(ends "$1") + 1))
	kill "$(cat "$W/$1.pid")"
	until_true 20 eval "[ \$(ends $1) = $n ]" ||
	    stop "tmpnix-$1 does not stop on an inherited socket"
	is "tmpnix-$1 ends with 0" "$(tail -n 1 "$W/$1.ends")" "ended 0"
}

for p in cache upload drv; do
	keeper $p
done
web_start
for p in cache upload drv; do
	prog_ready $p
	pass "tmpnix-$p serves a socket it was handed"
done

for p in cache upload drv; do
	stop_one $p
	prog_ready $p
	pass "tmpnix-$p serves it again after a stop"
done

# A stop with nobody there to serve: who asks now is answered by the next one.
: >"$W/cache.stay"
stop_one cache
curl -q -s -m 60 -o "$W/waited" -w '%{http_code}' \
    "$U/cache/nix-cache-info" >"$W/waited.code" &
curl=$!
waiting() {
	# The listening socket, and one that came by it.
	[ "$(grep -c " $W/run/cache.sock\$" /proc/net/unix)" -ge 2 ]
}
ok "the socket takes a connection meanwhile" until_true 20 waiting
rm "$W/cache.stay"
wait "$curl"
is "the next one answers it" "$(cat "$W/waited.code")" 200

e2e_end
