#!/bin/sh
# The layout for a container (quickstart -c), in one: no root, one directory and
# /tmp to write to, /tmp lost at each start, the first process of its own; with
# both web servers.  What was acknowledged is there after a kill; the memory of
# all of it.
# shellcheck disable=SC1091,SC2046,SC2086,SC2154
. "$(dirname "$0")/lib.sh"

# The web server and the three programs together; Debian 13's nginx and its
# libraries have 3 MB more than 12's.
LIMIT=45056
STORE=/tmp/nix/store
mkdir -p "$W/log"
# Not below /tmp, which the container hides.
B=$(mktemp -d /var/tmp/tmpnix-container.XXXXXX) || stop "mktemp"
first=''
container_end() {
	rc=$?
	[ -z "$first" ] || kill -9 "${bare:+-}$first" 2>/dev/null
	rm -rf "$B"
	(exit $rc)
	e2e_finish
}
trap container_end EXIT

bare=
if [ "$(id -u)" = 0 ]; then
	chmod 755 "$B"
	if ! unshare --mount --pid --fork --mount-proc true; then
		echo "unshare is not allowed here: no namespaces of its own"
		bare=yes
	fi
else
	echo "not root: no namespaces of its own"
	bare=yes
fi

# as_user COMMAND...: go on as that, as who the layout belongs to: not root.
as_user() {
	if [ "$(id -u)" = 0 ]; then
		exec setpriv --reuid 65534 --regid 65534 --clear-groups \
		    --no-new-privs "$@"
	else
		exec "$@"
	fi
}
# container_start: from $B/app, at $port; $first is its first process.
container_start() {
	if [ -n "$bare" ]; then
		rm -rf "$W/ctmp"
		mkdir -m 1777 "$W/ctmp"
		chmod 755 "$W"
		# (A group of its own, to be killed as a whole.)
		as_user setsid env -i PATH=/usr/bin:/bin TMPDIR="$W/ctmp" \
		    PORT="$port" "$B/app/start.sh" \
		    >>"$W/log/container.log" 2>&1 </dev/null &
		outer=$!
		first=$outer
	else
		# shellcheck disable=SC2016
		unshare --mount --pid --fork --mount-proc --kill-child sh -c '
			mount --bind "$1" "$1" &&
			mount -o remount,bind,ro / &&
			mount -t tmpfs -o size=64m,mode=1777 tmpfs /tmp &&
			cd / && exec setpriv --reuid 65534 --regid 65534 \
			    --clear-groups --no-new-privs env -i \
			    PATH=/usr/bin:/bin PORT="$2" "$1/start.sh"' \
		    sh "$B/app" "$port" >>"$W/log/container.log" 2>&1 \
		    </dev/null &
		outer=$!
		until_true 10 test -n "$(pgrep -P $outer)"
		first=$(pgrep -P $outer)
	fi
	for p in cache upload drv; do
		until_true 30 prog_answers $p ||
		    stop "$web: tmpnix-$p does not answer"
	done
}
# The processes of its parts, by name.
part() {
	pgrep -P "$first" -x "$1"
}
all_parts() {
	for p in tmpnix-cache tmpnix-upload tmpnix-drv $web; do
		part $p
	done
	[ $web != nginx ] || pgrep -P "$(part nginx)"
}
# rss FIELD: of all parts, in kB.
rss() {
	for p in $(all_parts); do
		sed -n "s/^$1: *//p" "/proc/$p/smaps_rollup"
	done | awk '{ n += $1 } END { print n }'
}
# Nix with that store directory, which is somewhere else really.
nix_at() {
	chmod -R u+w "$W/at" 2>/dev/null
	rm -rf "$W/at"
	mkdir -p "$W/at/real" "$W/at/home" "$W/at/conf"
	cat >"$W/at/conf/nix.conf" <<EOF
experimental-features = nix-command
build-users-group =
substituters =
netrc-file = $B/app/netrc
trusted-public-keys = $(cat "$B/app/data/keys/cache.pub")
EOF
	at="local?real=$W/at/real&state=$W/at/var&log=$W/at/log"
}
ax() {
	env NIX_STORE_DIR=$STORE HOME="$W/at/home" XDG_CACHE_HOME="$W/at/home/cache" \
	    NIX_CONF_DIR="$W/at/conf" "$@"
}

for web in nginx lighttpd; do
	port=$(free_port)
	U=http://127.0.0.1:$port
	rm -rf "$B/app"
	ok "$web: the layout" "$top_srcdir/conf/container/layout" \
	    "$top_builddir" "$B/app" $web $STORE "$U"
	[ "$(id -u)" != 0 ] || chown -R 65534:65534 "$B/app"
	container_start
	is "$web: who it runs as" "$(for p in $(all_parts); do
		sed -n 's/^Uid:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$p/status"
	    done | sort -u)" "$(as_user id -u)"
	is "$web: its parts" "$(all_parts | wc -l)" \
	    "$([ $web = nginx ] && echo 5 || echo 4)"
	n=$(rss Rss)
	echo "$web: idle $n kB (each page once: $(rss Pss) kB)"
	ok "$web: less than $LIMIT kB resident" test "$n" -lt $LIMIT

	# Pushes.
	nix_at
	TO="$U/cache?secret-key=$B/app/data/keys/cache.sec"
	for i in $(seq 12); do
		head -c $((i * 200000)) /dev/urandom >"$W/file-$i"
		ax nix-store --store "$at" --add "$W/file-$i"
	done >"$W/paths" 2>"$W/err" || stop "nix-store --add: $(cat "$W/err")"
	ok "$web: nix copy --to" ax nix copy --from "$at" --to "$TO" \
	    $(sed 11q "$W/paths")
	n=$(rss Rss)
	echo "$web: after pushes $n kB (each page once: $(rss Pss) kB)"
	ok "$web: each page once, less than $LIMIT kB" \
	    test "$(rss Pss)" -lt $LIMIT
	# (With nginx, 12 MB of it nginx's, that is too near to the limit.)
	[ $web = nginx ] || ok "$web: less than $LIMIT kB resident" \
	    test "$n" -lt $LIMIT
	is "$web: nothing is left to relay" "$(find "$B/app/data/spool/incoming" \
	    -type f | wc -l) $(sqlite3 "$B/app/data/index.db" \
	    "SELECT count(*) FROM asset WHERE state <> 'stored'")" "0 0"

	# Killed as a whole right behind an answer; then another, with /tmp lost.
	ok "$web: nix copy of one more" ax nix copy --from "$at" --to "$TO" \
	    "$(tail -n 1 "$W/paths")"
	kill -9 "$first"
	wait $outer 2>/dev/null
	[ -z "$bare" ] || kill -9 "-$first"
	container_start
	cp "$W/paths" "$W/wanted"
	nix_at
	ok "$web: all of it is there after a kill" ax nix copy --from "$U/cache" \
	    --to "$at" $(cat "$W/wanted")
	ok "$web: and good" ax nix store verify --store "$at" \
	    $(cat "$W/wanted")
	ok "$web: tmpnix status" "$B/app/bin/tmpnix" status

	# What ends is started again.
	for p in tmpnix-upload tmpnix-cache tmpnix-drv $web; do
		old=$(part $p)
		kill -9 "$old"
		until_true 20 sh -c "p=\$(pgrep -P $first -x $p) &&
		    [ \"\$p\" != '$old' ]" || fail "$web: $p is started again"
	done
	for p in cache upload drv; do
		ok "$web: $p answers again" until_true 20 prog_answers $p
	done
	echo "once more" >"$W/file"
	more=$(ax nix-store --store "$at" --add "$W/file")
	ok "$web: and a push works" ax nix copy --from "$at" --to "$TO" "$more"

	# The end.
	kill "$first"
	wait $outer
	is "$web: SIGTERM ends it" "$?" 0
	# (nginx's worker outlives a master that is killed.)
	[ -z "$bare" ] || kill -9 "-$first" 2>/dev/null
	first=''
	is "$web: all of it" "$(pgrep -fc "$B/app/bin/")" 0
	for p in cache upload drv; do
		ok "$web: tmpnix-$p was told to" \
		    grep -q "tmpnix-$p\[.*stopping: SIGTERM" "$W/log/container.log"
	done
done

# Mistakes.
chmod 755 "$W"
mkdir -m 1777 "$W/btmp"
# bare VARIABLE=VALUE... COMMAND: as that user, in no namespaces.
bare() {
	(as_user env TMPDIR="$W/btmp" "$@")
}
# said TEXT: by what ended just now.
said() {
	cp "$W/ok.out" "$W/said"
	ok "it says: $1" grep -q "$1" "$W/said" || cat "$W/said"
}
ok "without PORT" not bare PORT= "$B/app/start.sh"
said 'PORT is not set'
ok "a bad PORT" not bare PORT=8o "$B/app/start.sh"
said 'PORT=8o: not a port'
if [ "$(id -u)" = 0 ]; then
	ok "laid out by root it may be root's" \
	    grep -q '^user = root$' "$B/app/etc/tmpnix.conf"
	port=$(free_port)
	U=http://127.0.0.1:$port
	chown -R 0:0 "$B/app"
	PORT=$port TMPDIR=$W/btmp "$B/app/start.sh" \
	    >>"$W/log/container.log" 2>&1 </dev/null &
	first=$!
	ok "  and starts" until_true 30 prog_answers upload
	kill "$first"
	wait "$first"
	first=''
	chown -R 65534:65534 "$B/app"
	sed -i '/^user = root$/d' "$B/app/etc/tmpnix.conf"
	ok "as root" not env PORT="$port" "$B/app/start.sh"
	said 'started as root: start it as the owner'
fi
mv "$B/app" "$B/moved"
ok "moved elsewhere" not bare PORT="$port" "$B/moved/start.sh"
said "made for $B/app, not for $B/moved"
mv "$B/moved" "$B/app"
# A port that is somebody else's.
port=$(free_port)
perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(LocalAddr => "0.0.0.0",
    LocalPort => $ARGV[0], Listen => 1); sleep 120' "$port" &
other_pids="$other_pids $!"
until_true 10 sh -c "ss -Hltn 'sport = :$port' | grep -q ."
ok "a port that is taken ends it" not bare PORT="$port" timeout 60 \
    "$B/app/start.sh"
said 'lighttpd keeps ending'
is "nothing is left behind" "$(ls "$W/btmp")" ''
is "nor running" "$(pgrep -fc "$B/app/bin/")" 0
e2e_end
