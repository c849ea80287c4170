#!/bin/sh
# The README's "Install it from source" without systemd, its commands as they
# stand there.  66-source.sh has it with systemd.
# shellcheck disable=SC1091,SC2016,SC2034,SC2154
. "$(dirname "$0")/lib.sh"
cd "$top_srcdir" || exit 1

# Nothing is started by apt: as in any container.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
net_start

# readme WORDS: what the README says there; apt-get by the machine's network,
# the rest by ours.
readme() {
	tests/readme.sh README "$1" >"$W/commands"
	grep '^ *apt-get .*[^\\]$' "$W/commands" >"$W/apt"
	grep -v '^ *apt-get .*[^\\]$' "$W/commands" >"$W/rest"
	if ! sh -e "$W/apt" >"$W/log/readme.log" 2>&1 </dev/null ||
	    ! net sh -e "$W/rest" >>"$W/log/readme.log" 2>&1 </dev/null; then
		fail "README: $1"
		tail -n 20 "$W/log/readme.log"
		return 1
	fi
	pass "README: $1"
}
answers() {
	[ "$(net curl -q -s -m 10 -o /dev/null -w '%{http_code}' \
	    http://cache.example.org/cache/nix-cache-info)" = 200 ]
}
# push_pull NAME
push_pull() {
	ok "$1: it answers" until_true 20 answers
	path=$(expression "$1") || stop "nix-build"
	ok "$1: push" net nix --extra-experimental-features nix-command copy \
	    --to "http://cache.example.org/cache?secret-key=$W/sec" "$path"
	pull "$1: pull, signed" "$path"
}

ok "apt-get update" apt-get update
# (That one has the machine's network.)
tests/readme.sh README 'The indented' >"$W/commands"
ok "README: the packages" sh -e "$W/commands" || exit 1
readme 'Build' || exit 1
readme 'Without systemd'
readme 'Configuration'
(umask 077 && sed -n '/^machine /p' "$W/log/readme.log" >"$W/netrc")
ok "a token" grep -q '^machine cache.example.org ' "$W/netrc"
readme 'The programs'
needs nix-bin
nix-store --generate-binary-cache-key client-1 "$W/sec" "$W/pub"
mkdir -p /etc/nix
cat >/etc/nix/nix.conf <<EOT
build-users-group =
sandbox = false
netrc-file = $W/netrc
substituters = http://cache.example.org/cache
trusted-public-keys = $(cat "$W/pub")
EOT
readme 'nginx'
push_pull nginx
[ -z "$BRIEF" ] || e2e_end
net service nginx stop >/dev/null 2>&1
readme 'lighttpd'
push_pull lighttpd
e2e_end
