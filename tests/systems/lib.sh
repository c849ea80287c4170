# shellcheck shell=sh
# shellcheck disable=SC1091,SC2034,SC2154
# What the parts share, behind e2e/lib.sh: they are root, in a fresh Debian of
# their own.

. "$(dirname "$0")/../e2e/lib.sh"
. "$top_srcdir/conf/packages.sh"
# Looked at from outside when something failed.
mkdir -p "$W/log" /root/log
systems_finish() {
	systems_rc=$?
	[ "$systems_rc" = 0 ] || cp -r "$W/log/." /root/log/
	(exit $systems_rc)
	e2e_finish
}
trap systems_finish EXIT

# needs NAME...: packages that the test needs, which its user would have.
needs() {
	packages_install "$W/log/packages.log" "$@" >/dev/null || {
		tail -n 5 "$W/log/packages.log"
		stop "the packages $*"
	}
}

# expression: a closure of three paths, of nothing but /bin/sh.
expression() {
	cat >"$W/$1.nix" <<EOT
let
  make = name: deps: derivation {
    inherit name deps;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ "-c" "echo $1 \$deps >\$out" ];
  };
  a = make "$1-a" [ ];
  b = make "$1-b" [ a ];
in make "$1-c" [ a b ]
EOT
	nix-build --no-out-link --option substituters "" "$W/$1.nix" 2>"$W/log/$1-build.log" || {
		tail -n 5 "$W/log/$1-build.log" >&2
		return 1
	}
}
# pull NAME PATH [OPTION...]: into another store, whose Nix has asked for nothing
# so far.
pull() {
	pull_name=$1
	pull_path=$2
	shift 2
	chmod -R u+w "$W/other" "$W/own" 2>/dev/null
	rm -rf "${W:?}/other" "$W/own"
	mkdir "$W/own"
	ok "$pull_name" net env HOME="$W/own" nix-store --store "$W/other" \
	    -r "$pull_path" "$@" || return 1
	ok "$pull_name: the same" cmp "$W/other/$pull_path" "$pull_path"
}

# A network of our own, for what listens on port 80, with lo alone; the machine's
# is for apt.  net COMMAND...: in there.
net_start() {
	# shellcheck disable=SC2016
	unshare --net perl -MSocket -e '
	    $SIOCSIFFLAGS = 0x8914;
	    $up = 0x1;
	    socket(S, PF_INET, SOCK_DGRAM, 0) &&
		ioctl(S, $SIOCSIFFLAGS, pack("a16sx14", "lo", $up)) &&
		open(F, ">", $ARGV[0]) && close(F) or die $!;
	    sleep' "$W/net" &
	net_pid=$!
	other_pids="$other_pids $net_pid"
	until_true 10 test -e "$W/net" || stop "a network of our own"
}
net() {
	if [ -n "${net_pid-}" ]; then
		nsenter --net="/proc/$net_pid/ns/net" "$@"
	else
		"$@"
	fi
}
