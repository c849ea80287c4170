#!/bin/sh
# The README's "Install it from source": its very commands, as root, on a
# machine of its own, without systemd's units and with them.  Only apt-get's
# lines are left out: tests/systems has them too.
# shellcheck disable=SC1091,SC2016,SC2034,SC2154
. "$(dirname "$0")/lib.sh"
. "$top_srcdir/tests/box.sh"
mkdir "$W/log" "$W/src"
if ! box_start; then
	echo "not tested: an installation from source, no box: $box_why"
	exit 77
fi
# (e2e_finish goes by the status it finds.)
trap 'box_rc=$?; [ "$box_rc" = 0 ] || box cat /var/log/nginx/error.log \
    >"$W/log/nginx.log" 2>&1; box_stop; (exit $box_rc); e2e_finish' EXIT

in_box() {
	box sh -c "$@"
}
# readme WORDS: what the README says there; the output is in $W/said.
readme() {
	"$top_srcdir/tests/readme.sh" "$top_srcdir/README" "$1" |
	    sed '/^ *apt-get/d' >"$W/commands"
	ok "README: $1" in_box 'cd /mnt/src &&
	    sh -e /mnt/commands >/mnt/said 2>&1 </dev/null ||
	    { tail -n 20 /mnt/said; false; }'
}
get() {
	box curl -q -s -m 10 -o /dev/null -w '%{http_code}\n' \
	    "http://cache.example.org/cache/$1"
}
# push_pull NAME: a path of its own, there and back.
push_pull() {
	in_box '. /mnt/client; echo "$1" >"/mnt/$1.txt" &&
	    nix-store --add "/mnt/$1.txt"' - "$1" >"$W/path" 2>"$W/log/add.log"
	ok "$1: nix copy --to" in_box '. /mnt/client
	    nix copy --to "http://cache.example.org/cache?secret-key=/mnt/sk" "$1"' \
	    - "$(cat "$W/path")"
	ok "$1: nix-store -r" in_box '. /mnt/client
	    nix-store --delete "$1" && nix-store -r "$1" \
	    --option substituters http://cache.example.org/cache \
	    --option trusted-public-keys "$(cat /mnt/pk)"' - "$(cat "$W/path")"
}
socket() {
	box stat -c '%U:%G %a' "/run/tmpnix/$1.sock"
}
answers() {
	[ "$(get nix-cache-info)" = 200 ]
}

(cd "$top_srcdir" && tar -cf - --exclude=./.git --exclude=./var \
    --exclude='./build*' --exclude='*.o' --exclude='*.a' --exclude='./tmpnix*' \
    --exclude=./config.status --exclude=./config.h --exclude=./Makefile \
    --exclude=./autom4te.cache .) | tar -xf - --no-same-owner -C "$W/src"
echo '127.0.0.1 localhost cache.example.org' >"$W/hosts"
box cp /mnt/hosts /etc/hosts
# (This machine may have it installed.)
box userdel tmpnix >/dev/null 2>&1
# Longer than box waits.
"$top_srcdir/tests/readme.sh" "$top_srcdir/README" 'Build' >"$W/commands"
ok "README: Build" nsenter -t "$box_init" -a env -i PATH="$PATH" LC_ALL=C \
    MAKEFLAGS="-j$(nproc)" HOME=/root sh -c 'cd /mnt/src &&
    sh -e /mnt/commands >/mnt/said 2>&1 </dev/null ||
    { tail -n 20 /mnt/said; false; }'

# Without systemd ----------------------------------------------------------------
readme 'Without systemd'
readme 'Configuration'
sed -n '/^machine /p' "$W/said" >"$W/netrc"
ok "a token" grep -q '^machine cache.example.org ' "$W/netrc"
readme 'The programs'
readme 'nginx'
client_make "$W/nix"
sed -i 's|^netrc-file.*|netrc-file = /mnt/netrc|' "$W/nix/conf/nix.conf"
cat >"$W/client" <<'EOT'
export NIX_STORE_DIR=/nix/store NIX_STATE_DIR=/mnt/nix/var
export NIX_LOG_DIR=/mnt/nix/var/log NIX_CONF_DIR=/mnt/nix/conf
export HOME=/mnt/nix/home
EOT
in_box '. /mnt/client; nix-store --generate-binary-cache-key box-1 /mnt/sk /mnt/pk'
ok "it answers" until_true 20 answers || get nix-cache-info
for p in cache upload drv; do
	is "$p.sock is for the web server" "$(socket $p)" "tmpnix:www-data 660"
done
push_pull nginx
box service nginx stop >/dev/null 2>&1
readme 'lighttpd'
ok "lighttpd answers" until_true 20 answers || get nix-cache-info
push_pull lighttpd
box service lighttpd stop >/dev/null 2>&1
# As root, with user: the same sockets.
box pkill -u tmpnix
box sed -i 's|^#user = .*|user = tmpnix|' /etc/tmpnix/tmpnix.conf
"$top_srcdir/tests/readme.sh" "$top_srcdir/README" 'The programs' |
    sed 's/runuser -u tmpnix -- //' >"$W/commands"
ok "the programs started as root" in_box 'sh -e /mnt/commands >/mnt/said 2>&1'
box service nginx start
ok "it answers again" until_true 20 answers || get nix-cache-info
is "cache.sock is for the web server" "$(socket cache)" "tmpnix:www-data 660"
box pkill -u tmpnix

# With systemd -------------------------------------------------------------------
readme 'With systemd'
is "systemd's cache.sock" "$(socket cache)" "tmpnix:www-data 660"
ok "the first read starts tmpnix-cache" until_true 20 answers
push_pull units
ok "it runs" box systemctl is-active --quiet tmpnix-cache.service

e2e_end
