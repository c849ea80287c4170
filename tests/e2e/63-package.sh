#!/bin/sh
# The Debian packages, on a machine with systemd and nginx: installed, used
# through socket activation by Nix, upgraded, removed, purged.
# shellcheck disable=SC1091,SC2016,SC2034,SC2154
. "$(dirname "$0")/lib.sh"
. "$top_srcdir/tests/box.sh"
mkdir "$W/log" "$W/deb"
if ! box_start; then
	echo "not tested: the packages under systemd, no box: $box_why"
	exit 77
fi
# (e2e_finish goes by the status it finds.)
trap 'box_rc=$?; [ "$box_rc" = 0 ] || box journalctl --no-pager -n 60 \
    >"$W/log/journal.log" 2>&1; box_stop; (exit $box_rc); e2e_finish' EXIT

# Build ------------------------------------------------------------------------
# (Unit tests are make check's.)
mkdir "$W/deb/src"
(cd "$top_srcdir" && tar -cf - --exclude=./.git --exclude=./var \
    --exclude='./build*' --exclude='*.o' --exclude='*.a' --exclude='./tmpnix*' \
    --exclude=./config.status --exclude=./config.h --exclude=./Makefile \
    --exclude=./autom4te.cache .) | tar -xf - --no-same-owner -C "$W/deb/src"
ok "dpkg-buildpackage" sh -c 'cd "$1" && DEB_BUILD_OPTIONS="nocheck parallel=$(
    nproc)" dpkg-buildpackage -us -uc -b' - "$W/deb/src" || exit 1
ok "two packages" sh -c 'ls "$1"/tmpnix-server_*.deb "$1"/tmpnix-client_*_all.deb' \
    - "$W/deb"
rm -rf "$W/deb/src"

# Install -----------------------------------------------------------------------
# in_box SCRIPT ARG...
in_box() {
	box sh -c "$@"
}
running() {
	box systemctl is-active --quiet "$1"
}
main_pid() {
	box systemctl show -p MainPID --value "tmpnix-$1.service"
}
get() {
	box curl -q -s -m 10 -o /dev/null -w '%{http_code}' \
	    "http://cache.test/$1"
}

ok "dpkg -i" in_box 'DEBIAN_FRONTEND=noninteractive \
    dpkg -i /mnt/deb/tmpnix-server_*.deb /mnt/deb/tmpnix-client_*.deb'
for p in cache upload drv; do
	ok "tmpnix-$p.socket listens" running tmpnix-$p.socket
	is "tmpnix-$p.socket is the web server's" \
	    "$(box stat -c '%U %G %a' /run/tmpnix/$p.sock)" \
	    "tmpnix www-data 660"
	ok "tmpnix-$p runs when it is asked only" not running tmpnix-$p.service
done
ok "what is in the spool at boot goes on" \
    box systemctl is-enabled --quiet tmpnix-upload.service
ok "the scrub's timer runs" running tmpnix-fsck.timer
ok "also after a boot" box systemctl is-enabled --quiet tmpnix-fsck.timer
is "the state is the programs'" \
    "$(box stat -c '%U %G %a' /var/lib/tmpnix)" "tmpnix tmpnix 755"

# As README.Debian says.
box systemctl start nginx
echo '127.0.0.1 localhost cache.test' >"$W/hosts"
box cp /mnt/hosts /etc/hosts
box sed -i 's|^#url = .*|url = http://cache.test|' /etc/tmpnix/tmpnix.conf
box sed -i 's|server_name _;|server_name cache.test;|' \
    /etc/tmpnix/nginx/tmpnix.conf
box ln -s /etc/tmpnix/nginx/tmpnix.conf /etc/nginx/conf.d/tmpnix.conf
ok "nginx takes its configuration" box systemctl reload nginx
ok "tmpnix-upload starts" box systemctl start tmpnix-upload
box runuser -u tmpnix -- tmpnix token add me --push --drv >"$W/netrc" \
    2>"$W/log/token.log"
ok "a token" grep -q '^machine cache.test ' "$W/netrc"
is "keys are named after the site" \
    "$(box cut -d : -f 1 /var/lib/tmpnix/keys/cache.pub)" cache.test-1

# Use ----------------------------------------------------------------------------
client_make "$W/nix"
sed -i 's|^netrc-file.*|netrc-file = /mnt/netrc|' "$W/nix/conf/nix.conf"
echo "substituters = http://cache.test/cache" >>"$W/nix/conf/nix.conf"
client='. /mnt/client'
cat >"$W/client" <<'EOT'
export NIX_STORE_DIR=/nix/store NIX_STATE_DIR=/mnt/nix/var
export NIX_LOG_DIR=/mnt/nix/var/log NIX_CONF_DIR=/mnt/nix/conf
export HOME=/mnt/nix/home
EOT
ok "the first read starts tmpnix-cache" \
    until_true 20 eval '[ "$(get cache/nix-cache-info)" = 200 ]'
ok "it runs" running tmpnix-cache.service
in_box "$client"'
    nix-store --generate-binary-cache-key box-1 /mnt/sk /mnt/pk
    cp -r /usr/share/perl5/Debconf /tmp/tree
    nix-store --add /tmp/tree' >"$W/path" 2>"$W/log/add.log"
path=$(cat "$W/path")
ok "nix copy --to" in_box "$client"'
    nix copy --to "http://cache.test/cache?secret-key=/mnt/sk" "$1"' - "$path"
ok "nix-store -r" in_box "$client"'
    nix-store --delete "$1" &&
    nix-store -r "$1" --option trusted-public-keys "$(cat /mnt/pk)" &&
    diff -r "$1" /tmp/tree' - "$path"
hash=${path##*/}
info=cache/${hash%%-*}.narinfo

mkdir "$W/pkgs"
cat >"$W/pkgs/default.nix" <<'EOT'
{ hello = derivation { name = "hello"; system = "x86_64-linux";
  builder = "/bin/sh"; args = [ "-c" "echo hello >$out" ]; }; }
EOT
in_box 'cp -r /mnt/pkgs /srv/ && echo "file.pkgs = /srv/pkgs" \
    >>/etc/tmpnix/tmpnix.conf'
drv=$(box curl -q -s -m 120 --netrc-file /mnt/netrc -X PUT \
    -H 'Content-Length: 0' \
    'http://cache.test/drv/instantiate?file=pkgs&attr=hello')
ok "tmpnix-drv instantiates with Nix: $drv" \
    expr "$drv" : '/nix/store/[a-z0-9]*-hello.drv$'
for p in cache upload drv; do
	box cat "/proc/$(main_pid $p)/status" >"$W/status"
	is "tmpnix-$p has no privilege and can get none" \
	    "$(sed -n 's/^\(CapPrm\|CapBnd\|NoNewPrivs\|Seccomp\):[ 	]*//p' \
	    "$W/status" | tr '\n' ' ')" "0000000000000000 0000000000000000 1 2 "
	is "tmpnix-$p runs as its user" "$(box stat -c %U "/proc/$(main_pid $p)")" \
	    tmpnix
done

# The same with lighttpd, as README.Debian says.
box systemctl stop nginx
box ln -s /etc/tmpnix/lighttpd/tmpnix.conf \
    /etc/lighttpd/conf-enabled/90-tmpnix.conf
ok "lighttpd starts" box systemctl start lighttpd
ok "lighttpd: the first read is answered" \
    until_true 20 eval '[ "$(get cache/nix-cache-info)" = 200 ]'
is "lighttpd: what was pushed" "$(get "$info")" 200
in_box "$client"'
    echo lighttpd >/tmp/other
    nix-store --add /tmp/other' >"$W/path" 2>"$W/log/add.log"
ok "lighttpd: nix copy --to" in_box "$client"'
    nix copy --to "http://cache.test/cache?secret-key=/mnt/sk" "$1"' - \
    "$(cat "$W/path")"
box systemctl stop lighttpd
ok "nginx again" box systemctl start nginx

# Stop, crash, mistakes ------------------------------------------------------------
for p in cache upload drv; do
	ok "tmpnix-$p stops" box systemctl stop tmpnix-$p.service
	is "tmpnix-$p ended well" \
	    "$(box systemctl show -p Result --value tmpnix-$p.service)" success
	ok "tmpnix-$p.socket goes on" running tmpnix-$p.socket
done
# (A stored narinfo is served by nginx alone.)
is "the next request starts tmpnix-cache" "$(get cache/nix-cache-info)" 200
: >"$W/load.on"
in_box 'while [ -e /mnt/load.on ]; do
	curl -q -s -m 10 -o /dev/null -w "%{http_code}\n" \
	    http://cache.test/cache/nix-cache-info
    done >/mnt/load' &
load=$!
for _ in 1 2 3 4 5; do
	box systemctl restart tmpnix-cache.service
done
rm "$W/load.on"
wait "$load"
is "five restarts, no request refused" "$(sort -u "$W/load")" 200
pid=$(main_pid cache)
box kill -9 "$pid"
is "killed, it comes back" "$(get cache/nix-cache-info)" 200
ok "as another process" test "$(main_pid cache)" != "$pid"

# A mistake in tmpnix.conf.  said PROGRAM WORDS: in the journal.
said() {
	in_box 'journalctl -u "tmpnix-$1" -o cat --no-pager | grep -q -e "$2"' \
	    - "$1" "$2"
}
priority() {
	box curl -q -s -m 10 http://cache.test/cache/nix-cache-info |
	    sed -n 's/^Priority: //p'
}
box cp /etc/tmpnix/tmpnix.conf /tmp/good.conf
ok "all three run" box systemctl start tmpnix-cache tmpnix-upload tmpnix-drv
pid=$(main_pid cache)
in_box 'echo "priority = 50" >>/etc/tmpnix/tmpnix.conf'
ok "systemctl reload" box systemctl reload tmpnix-cache tmpnix-upload tmpnix-drv
new_priority() {
	[ "$(priority)" = 50 ]
}
ok "takes what has changed" until_true 20 new_priority
is "in the same process" "$(main_pid cache)" "$pid"
for p in upload drv; do
	ok "so does tmpnix-$p" until_true 20 \
	    said $p "configuration reloaded: priority"
done
in_box 'echo "mistake = yes" >>/etc/tmpnix/tmpnix.conf'
ok "with a mistake systemctl reload fails" \
    not box systemctl reload tmpnix-cache
ok "and the reason is in the journal" until_true 20 \
    said cache 'unknown key "mistake"'
ok "where systemctl status shows it" in_box \
    'systemctl status tmpnix-cache --no-pager | grep -q "unknown key"'
is "the program goes on" "$(main_pid cache)" "$pid"
is "as it was" "$(priority)" 50

# (Two seconds, twenty times would take long.)
in_box 'for p in cache upload drv; do
    mkdir -p "/etc/systemd/system/tmpnix-$p.service.d"
    printf "%s\n" "[Unit]" StartLimitBurst=5 StartLimitIntervalSec=15s \
	"[Service]" RestartSec=500ms \
	>"/etc/systemd/system/tmpnix-$p.service.d/90-test.conf"
    done && systemctl daemon-reload && systemctl reset-failed'
is "the shipped limit" "$(in_box 'grep -h "^StartLimit\|^RestartSec" \
    /lib/systemd/system/tmpnix-*.service | sort | uniq -c | tr -s " "')" \
    " 3 RestartSec=2s
 3 StartLimitBurst=20
 3 StartLimitIntervalSec=60s"
failed_for_good() {
	[ "$(box systemctl show -p SubState --value "tmpnix-$1.service")" = \
	    failed ] &&
	    [ "$(box systemctl show -p NRestarts --value \
		"tmpnix-$1.service")" -ge 1 ]
}
for p in cache upload drv; do
	box systemctl restart "tmpnix-$p" >"$W/restart" 2>&1
	ok "tmpnix-$p: systemctl restart fails" test $? != 0
	ok "and says where to look" grep -q journalctl "$W/restart"
	ok "the journal has the reason" until_true 20 \
	    said $p 'unknown key "mistake"'
	ok "the starts end" until_true 60 failed_for_good $p
done
is "each line stands in the journal once" "$(in_box 'journalctl -o short \
    --no-pager -u "tmpnix-*" | grep "unknown key" | sort | uniq -d')" ''
is "web server: meanwhile" "$(get cache/nix-cache-info)" 503
box cp /tmp/good.conf /etc/tmpnix/tmpnix.conf
for p in cache upload drv; do
	ok "tmpnix-$p: corrected, systemctl restart starts it" until_true 30 \
	    box systemctl restart "tmpnix-$p"
	ok "and its socket" running "tmpnix-$p.socket"
done
is "and it answers" "$(get cache/nix-cache-info)" 200
in_box 'rm -r /etc/systemd/system/tmpnix-*.service.d && systemctl daemon-reload'

# The scrub, in its sandbox -----------------------------------------------------------
ok "systemctl start tmpnix-fsck" box systemctl start tmpnix-fsck.service ||
    in_box 'journalctl --no-pager -n 20 -u tmpnix-fsck'
box runuser -u tmpnix -- tmpnix status --local >"$W/status"
ok "tmpnix status has what it did" grep -q \
    '^  scrub  *ended .*[1-9][0-9]* looked at' "$W/status" || cat "$W/status"
ok "an object is lost" in_box 'cd /var/lib/tmpnix/store/nar &&
    for f in *; do mv "$f" /tmp/lost && echo "$f" && break; done'
cp "$W/ok.out" "$W/lost"
ok "then it fails" not box systemctl start tmpnix-fsck.service
ok "and the journal says why" in_box \
    "journalctl --no-pager -u tmpnix-fsck | grep -q '$(cat "$W/lost"): lost'"
box mv /tmp/lost "/var/lib/tmpnix/store/nar/$(cat "$W/lost")"
ok "it is back" box systemctl start tmpnix-fsck.service

# Upgrade, remove, purge -------------------------------------------------------------
pid=$(main_pid cache)
ok "tmpnix-cache runs" test "$pid" -gt 0
ok "an upgrade" in_box 'dpkg -i /mnt/deb/tmpnix-server_*.deb'
ok "restarts what runs" test "$(main_pid cache)" != "$pid"
ok "and keeps the configuration" box grep -q '^url = http://cache.test' \
    /etc/tmpnix/tmpnix.conf
is "and serves" "$(get "$info")" 200

ok "remove" box dpkg -r tmpnix-server tmpnix-client
is "no process is left" "$(box pgrep -u tmpnix)" ''
is "no socket is left" "$(box find /run -path "*tmpnix*" -type s)" ''
ok "the configuration is kept" box test -f /etc/tmpnix/tmpnix.conf
ok "the data is kept" box test -f /var/lib/tmpnix/index.db
ok "installed again" in_box 'dpkg -i /mnt/deb/tmpnix-server_*.deb'
is "it serves what it had" "$(get "$info")" 200
ok "purge" box dpkg -P tmpnix-server
ok "which says what it keeps" grep -q '/var/lib/tmpnix is kept' "$W/ok.out"
ok "it has kept the keys" box test -f /var/lib/tmpnix/keys/cache.sec
is "nothing else is left" "$(box find /etc /usr /run /var/lib /var/cache \
    -path /var/lib/tmpnix -prune -o -path "$top_srcdir" -prune -o \
    -name '*tmpnix*' -newer /mnt/hosts -print | sort)" \
    "/etc/lighttpd/conf-enabled/90-tmpnix.conf
/etc/nginx/conf.d/tmpnix.conf"
is "no unit has failed" "$(box systemctl --failed --plain --no-legend)" ''

e2e_end
