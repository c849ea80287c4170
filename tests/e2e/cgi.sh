# shellcheck shell=sh
# shellcheck disable=SC2034,SC2154
# What MODE=cgi changes in lib.sh, which sources this: the web server starts a
# program for each request, nginx by way of fcgiwrap.

fcgiwrap_pid=''

# cgi_make FILE...: the programs of this build, in the server's configuration.
cgi_make() {
	for f in "$@"; do
		sed -e "s|/usr/libexec/tmpnix/|$top_builddir/|g" \
		    -e "s|/etc/tmpnix/tmpnix.conf|$CONF|g" "$f" >"$f.new"
		mv "$f.new" "$f"
	done
}

# fcgiwrap and what it starts are a process group: those it forked go on when
# it ends.
cgi_start() {
	[ "$WEB" = nginx ] && [ -z "$fcgiwrap_pid" ] || return 0
	rm -f "$W/run/fcgiwrap.sock"
	TMPNIX_LOG=stderr setsid fcgiwrap -c 16 \
	    -s "unix:$W/run/fcgiwrap.sock" >>"$W/log/cgi.log" 2>&1 </dev/null &
	fcgiwrap_pid=$!
	until_true 20 test -S "$W/run/fcgiwrap.sock" || stop "fcgiwrap"
}
cgi_stop() {
	[ -n "$fcgiwrap_pid" ] || return 0
	kill -TERM "-$fcgiwrap_pid" 2>/dev/null
	wait "$fcgiwrap_pid" 2>/dev/null
	until_true 40 not kill -0 "-$fcgiwrap_pid" || {
		fail "a CGI process does not end"
		kill -9 "-$fcgiwrap_pid"
	}
	fcgiwrap_pid=
}

# There is nothing to start or stop but for all of them at once.
prog_start() {
	cgi_start
}
prog_stop() {
	[ "$1" = drv ] || return 0
	cgi_stop
}

# Nobody carries what tmpnix sign changed but cron's tmpnix relay.
settle() {
	tmpnix relay >>"$W/log/relay.log" 2>&1
	until_true 60 settled || fail "everything spooled gets stored"
}
# What was relayed last stays in the spool until the next upload, or tmpnix
# relay.
settled() {
	[ "$(sql "SELECT count(*) FROM asset WHERE state <> 'stored'")" = 0 ] &&
	    [ -z "$(find "$S/spool/incoming" -type f)" ]
}
