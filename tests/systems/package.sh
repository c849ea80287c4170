#!/bin/sh
# The Debian packages as the README builds and installs them, on a machine with
# systemd (tests/box.sh); README.Debian's commands as they stand there; removed,
# purged.  63-package.sh has the details.
# shellcheck disable=SC1091,SC2016,SC2034,SC2154
. "$(dirname "$0")/lib.sh"
. "$top_srcdir/tests/box.sh"
cd "$top_srcdir" || exit 1

# commands FILE WORDS: into $W/commands.
commands() {
	tests/readme.sh "$1" "$2" >"$W/commands" || fail "$1: $2"
}
in_box() {
	box sh -c "$@"
}
# readme FILE WORDS: these commands, in the box.
readme() {
	commands "$1" "$2"
	ok "${1##*/}: $2" in_box 'cd /root/tmpnix &&
	    sh -e /mnt/commands >/mnt/said 2>&1 </dev/null || {
		tail -n 20 /mnt/said
		false
	    }'
}
get() {
	box curl -q -s -m 10 -o /dev/null -w '%{http_code}\n' \
	    "http://cache.example.org/cache/nix-cache-info"
}
answers() {
	[ "$(get)" = 200 ]
}
debian=debian/tmpnix-server.README.Debian

ok "apt-get update" apt-get update
commands README 'As Debian'
ok "README: the packages are built" sh -e "$W/commands" || exit 1
ok "two packages" sh -c 'ls ../tmpnix-server_*.deb ../tmpnix-client_*_all.deb'

# What apt brings in the box, which has no network.
# shellcheck disable=SC2086
needs $packages_box nix-bin curl
commands README 'and installed'
grep apt-get "$W/commands" >"$W/install"
mkdir -p "$W/archives/partial"
sed "s|apt-get install|& --download-only -o Dir::Cache::Archives=$W/archives|
    \$ s/\$/ lighttpd/" "$W/install" >"$W/download"
ok "what they depend on" sh -e "$W/download"
if ! box_start; then
	echo "not tested: the packages under systemd, no box: $box_why"
	e2e_end
fi
trap 'box_rc=$?; [ "$box_rc" = 0 ] || box journalctl --no-pager -n 60 \
    >"$W/log/journal.log" 2>&1; box_stop; (exit $box_rc); systems_finish' EXIT
in_box 'echo "Dir::Cache::Archives \"/mnt/archives/\";" \
    >/etc/apt/apt.conf.d/archives'
cp "$W/install" "$W/commands"
ok "README: the packages are installed" in_box 'cd /root/tmpnix &&
    sh -e /mnt/commands </dev/null'
readme $debian 'First'
readme $debian 'nginx knows'
readme $debian 'Then make'
sed -n '/^machine /p' "$W/said" >"$W/netrc"
ok "a token" grep -q '^machine cache.example.org ' "$W/netrc"

# A client.
in_box 'mkdir -p /etc/nix && cp /mnt/netrc /etc/nix/netrc &&
    chmod 600 /etc/nix/netrc && {
	echo "build-users-group ="
	echo "sandbox = false"
	echo "substituters = http://cache.example.org/cache"
	echo "trusted-public-keys = $(cat /var/lib/tmpnix/keys/cache.pub)"
    } >/etc/nix/nix.conf'
# push_pull NAME: by README.Debian's line.
push_pull() {
	ok "$1: it answers" until_true 20 answers || get
	commands $debian 'The last line'
	sed -i "s|PATH\.\.\.|\"\$1\"|" "$W/commands"
	in_box 'echo "$1" >"/tmp/$1" && nix-store --add "/tmp/$1"' - "$1" \
	    >"$W/path" 2>"$W/log/add.log"
	ok "$1: push" in_box '. /mnt/commands' - "$(cat "$W/path")"
	ok "$1: pull, signed" in_box 'rm -rf /root/other /root/.cache
	    nix-store --store /root/other -r "$1" &&
	    cmp "/root/other$1" "$1"' - "$(cat "$W/path")"
}
push_pull nginx
box systemctl stop nginx
ok "lighttpd" in_box 'DEBIAN_FRONTEND=noninteractive apt-get install lighttpd'
readme $debian 'lighttpd instead'
push_pull lighttpd

ok "apt-get remove" box apt-get remove tmpnix-server
is "no process is left" "$(box pgrep -u tmpnix)" ''
ok "the configuration is kept" box test -f /etc/tmpnix/tmpnix.conf
readme $debian 'Before the package'
ok "apt-get purge" box apt-get purge tmpnix-server
ok "the configuration is gone" not box test -e /etc/tmpnix
ok "the keys are kept" box test -f /var/lib/tmpnix/keys/cache.sec
is "no unit has failed" "$(box systemctl --failed --plain --no-legend)" ''
e2e_end
