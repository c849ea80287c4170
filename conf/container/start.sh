#!/bin/sh
# start.sh: the web server and the three programs of the directory it lies in,
# in the foreground, as whoever calls it: for containers, as their first process
# too.  What ends is started again; SIGTERM ends all in order.
#
#   PORT    where to listen, on all addresses
#   TMPDIR  for sockets and what may be lost (default: /tmp)
#
# All that is kept is in data/ beside this file; logs go to standard error.

say() {
	echo "start.sh: $*" >&2
}
die() {
	say "$@"
	exit 1
}

PATH=$PATH:/usr/sbin:/sbin
umask 077
prefix=$(cd "$(dirname "$0")" && pwd -P) || exit 1
conf=$prefix/etc/tmpnix.conf
case ${PORT-} in
'') die "PORT is not set: where to listen" ;;
*[!0-9]* | 0* | ??????*) die "PORT=$PORT: not a port" ;;
esac
state=$(sed -n 's/^[ 	]*state_dir[ 	]*=[ 	]*//p' "$conf")
[ "$state" = "$prefix/data" ] ||
	die "made for ${state%/data}, not for $prefix: lay it out again"
# Nobody needs to be root, and then who is has to be meant.
if [ "$(id -u)" = 0 ] &&
    ! grep -q '^[ 	]*user[ 	]*=[ 	]*root[ 	]*$' "$conf"; then
	die "started as root: start it as the owner of $prefix, or set" \
	    "user = root in $conf"
fi
web=nginx
[ -d "$prefix/etc/nginx" ] || web=lighttpd
command -v $web >/dev/null || die "$web is not installed"
"$prefix/bin/tmpnix" -f "$conf" -n >/dev/null || exit 1

run=$(mktemp -d "${TMPDIR:-/tmp}/tmpnix.XXXXXX") || exit 1
mkdir "$run/tmp"

# Which of two lines of the web server's configuration is the comment.
take() {
	printf '%s' "s|#\(include .*$1\)|\1|; s|^[^#]*include .*$2|#&|"
}
reads=
! grep -q '^[ 	]*public_reads[ 	]*=[ 	]*no' "$conf" ||
	reads=$(take reads_private reads_public)
for f in "$prefix/etc/$web"/*.conf; do
	sed -e "s|/etc/tmpnix/$web/error/|$prefix/etc/$web/error/|" \
	    -e "s|/etc/tmpnix/$web/|$run/|g" -e "s|/run/tmpnix/|$run/|g" \
	    -e "s|/var/lib/tmpnix/|$prefix/data/|g" \
	    -e "s|listen 80;|listen $PORT;|" \
	    -e "$(take body_stream body_file)" -e "$reads" \
	    "$f" >"$run/${f##*/}" || exit 1
done
# (nginx's workers would be somebody else.)
user=
[ "$(id -u)" != 0 ] || user="user $(id -un) $(id -gn);"
cat >"$run/nginx.conf" <<EOF
$user
daemon off;
worker_processes 1;
pid $run/nginx.pid;
error_log stderr;
events {
	worker_connections 256;
}
http {
	access_log off;
	client_body_temp_path $run/tmp/body;
	fastcgi_temp_path $run/tmp/fastcgi;
	proxy_temp_path $run/tmp/proxy;
	scgi_temp_path $run/tmp/scgi;
	uwsgi_temp_path $run/tmp/uwsgi;
	include $run/tmpnix.conf;
}
EOF
cat >"$run/lighttpd.conf" <<EOF
server.bind = "0.0.0.0"
server.port = $PORT
server.document-root = "$run/tmp"
server.max-connections = 256
server.max-fds = 1024
server.modules = ( "mod_alias", "mod_redirect" )
mimetype.assign = ( ".html" => "text/plain" )
include "$run/tmpnix.conf"
# The other place of that file, /var/tmp, may not be there to write to.
server.upload-dirs := ( "/dev/shm", "$run/tmp" )
EOF

# The parts.  $pid_NAME is its process, $born_NAME when it was started, in
# seconds of ours; $quick_NAME how often it ended soon after.
parts="cache upload drv web"
clock=0
start() {
	case $1 in
	web)
		if [ $web = nginx ]; then
			nginx -e stderr -c "$run/nginx.conf" &
		else
			lighttpd -D -f "$run/lighttpd.conf" &
		fi
		;;
	*) "$prefix/bin/tmpnix-$1" -d -f "$conf" -s "$run/$1.sock" & ;;
	esac </dev/null
	eval "pid_$1=$! born_$1=$clock"
}
pid() {
	eval "echo \"\$pid_$1\""
}
running() {
	kill -0 "$(pid "$1")" 2>/dev/null
}
# The shell takes note of children that ended while it waits for one.
pause() {
	sleep 1 &
	sleeping=$!
	wait $sleeping
	clock=$((clock + 1))
}
# Wait for the end of these parts, at most so many seconds.
ended() {
	left=$1
	shift
	for p; do
		while running "$p"; do
			[ "$left" -gt 0 ] || return 1
			left=$((left - 1))
			pause
		done
	done
}

# The web server first: what it has taken goes to an end, nothing new comes.
# shellcheck disable=SC2317 # (called by the trap)
stop() {
	rc=$?
	trap '' INT TERM HUP PIPE
	trap - EXIT
	# nginx's QUIT and lighttpd's INT: the requests that are under way go on.
	sig=QUIT
	[ $web = nginx ] || sig=INT
	kill -$sig "$(pid web)" 2>/dev/null
	ended 5 web || kill "$(pid web)" 2>/dev/null
	for p in upload cache drv; do
		kill "$(pid $p)" 2>/dev/null
	done
	if ! ended 10 web upload cache drv; then
		for p in $parts; do
			kill -9 "$(pid "$p")" 2>/dev/null
		done
	fi
	rm -rf "$run"
	exit $rc
}
for p in $parts; do
	eval "pid_$p='' quick_$p=0"
done
trap stop EXIT
# (PIPE: nobody reads what we say any more.)
trap 'exit 0' INT TERM HUP PIPE

for p in $parts; do
	start "$p"
done
say "$web listens on port $PORT"
while :; do
	pause
	for p in $parts; do
		if running "$p"; then
			continue
		fi
		wait "$(pid "$p")"
		status=$?
		quick=$(eval "echo \$((clock - born_$p < 10 ? quick_$p + 1 : 0))")
		eval "quick_$p=$quick"
		name=tmpnix-$p
		[ "$p" != web ] || name=$web
		# Its faults are not going away by themselves.
		[ "$quick" -lt 5 ] ||
			die "$name keeps ending (status $status), see above"
		say "$name ended (status $status): starting it again"
		start "$p"
	done
done
