#!/bin/sh
# conf/quickstart on a machine that has nothing, and what it prints, with this
# Debian's own Nix; then the same with an S3 and with lighttpd.
# shellcheck disable=SC1091,SC2016,SC2034,SC2046,SC2154
. "$(dirname "$0")/lib.sh"
. "$top_srcdir/tests/e2e/store.sh"
cd "$top_srcdir" || exit 1

# quick DIR OPTION...: it runs, as a person calls it; output in $out.
quick() {
	D=$top_srcdir/$1
	out=$W/log/quickstart-$1.log
	shift
	port=$(free_port)
	# (As on a terminal: a background command of sh ignores SIGINT.)
	perl -e '$SIG{INT} = "DEFAULT"; exec @ARGV' \
	    sh conf/quickstart -d "$D" -p "$port" "$@" >"$out" 2>&1 </dev/null &
	quick_pid=$!
	other_pids=$quick_pid
	until_true 600 quick_up
	[ -e "$D/client.env" ] || {
		tail -n 20 "$out" "$D/log/install.log"
		stop "quickstart"
	}
	. "$D/client.env"
}
quick_up() {
	[ -e "$D/client.env" ] || ! kill -0 "$quick_pid" 2>/dev/null
}
quick_end() {
	kill -INT "$quick_pid"
	wait "$quick_pid"
	is "$1: Ctrl-C ends it" "$?" 0
	other_pids=''
}
# paste: the lines for nix.conf that it printed, and nothing else.
paste() {
	mkdir -p /etc/nix
	sed -n 's/^    \([a-z-]* = .*\)/\1/p' "$out" >/etc/nix/nix.conf
	# (Nix of root, without its daemon; Debian's own has these users.)
	echo 'build-users-group =' >>/etc/nix/nix.conf
	echo 'sandbox = false' >>/etc/nix/nix.conf
}
# The line that pushes, as it is printed.
push_line() {
	sed -n 's/^    \(nix .*copy .*--to .*\)/\1/p' "$out" | head -n 1
}
# push NAME PATH: by that line, with this path in the place of its example.
push() {
	line=$(push_line)
	ok "$1" sh -c "${line%% \"\$(*} $2"
}
hash_of() {
	h=${1##*/}
	echo "${h%%-*}"
}
enabled() {
	find /etc/systemd/system -name 'nginx*' -o -name 'lighttpd*'
}

# Fresh ---------------------------------------------------------------------------
before=$(dpkg-query -f '.\n' -W | wc -l)
start=$(date +%s)
quick var
pass "quickstart, with $(($(dpkg-query -f '.\n' -W | wc -l) - before)) packages in $(($(date +%s) - start)) s"
ok "it said before that they stay" grep -q \
    '^installing [0-9]* packages, .* they stay installed' "$out"
is "no web server is left enabled" "$(enabled)" ''
ok "no policy is left" test ! -e /usr/sbin/policy-rc.d
ok "no nginx of Debian's runs" not pgrep -f 'nginx.* -g '
needs nix-bin
paste
ok "the printed line pushes as it stands" sh -c "$(push_line)"
path=$(expression first) || stop "nix-build"
push "push by the printed line ($(nix --version))" "$path"
pull "pull, signed, by the printed lines" "$path"
ok "not without the printed key" not env HOME="$W/own" nix-store \
    --store "$W/third" -r "$path" --option trusted-public-keys ''
quick_end quickstart

# S3 --------------------------------------------------------------------------------
# shellcheck disable=SC2086
needs $packages_store
rgw_start
pass "Ceph RGW ($(radosgw --version 2>/dev/null | cut -d ' ' -f 3))"
quick var-s3
quick_end "quickstart, to be configured"
CONF=$D/tmpnix.conf
conf_s3 "$s3_port"
quick var-s3
paste
path=$(expression second) || stop "nix-build"
push "push to S3" "$path"
in_bucket() {
	bucket_keys >"$W/keys"
	[ "$(grep -c '\.narinfo$' "$W/keys") $(grep -c '^nar/' "$W/keys")" = \
	    "3 3" ]
}
ok "three narinfos and their NARs are in S3" until_true 60 in_bucket
nar=$(curl -q -s -L "$TMPNIX_CACHE_URL/$(hash_of "$path").narinfo" |
    sed -n 's/^URL: //p')
case $(curl -q -s -o /dev/null -w '%{redirect_url}' "$TMPNIX_CACHE_URL/$nar") in
"http://localhost:$s3_port/$BUCKET/"*X-Amz-Signature=*)
	pass "readers get presigned URLs"
	;;
*) fail "readers get presigned URLs" ;;
esac
pull "pull from S3" "$path"
quick_end "quickstart with S3"
RGW_DIR=$W/rgw tests/rgw.sh wipe >/dev/null 2>&1
[ -z "$BRIEF" ] || e2e_end

# lighttpd --------------------------------------------------------------------------
quick var-lighttpd -w lighttpd
is "no web server is left enabled, lighttpd neither" "$(enabled)" ''
paste
path=$(expression third) || stop "nix-build"
push "push through lighttpd" "$path"
pull "pull through lighttpd" "$path"
quick_end "quickstart with lighttpd"
e2e_end
