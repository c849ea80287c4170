# shellcheck shell=sh
# Debian packages by name, for conf/quickstart and tests/run, which source this.

# What building needs, what running the programs needs, and each web server.
# shellcheck disable=SC2034
packages_build='autoconf automake make gcc libc6-dev pkg-config libfcgi-dev
libsodium-dev libsqlite3-dev libarchive-dev liblzma-dev libbrotli-dev
libssl-dev libcurl4-openssl-dev libjansson-dev
libexpat1-dev'
# shellcheck disable=SC2034
packages_run='curl perl-base'
# shellcheck disable=SC2034
packages_nginx=nginx-light
# shellcheck disable=SC2034
packages_lighttpd=lighttpd
# What tests of listening sockets need: who hands them over.
# shellcheck disable=SC2034
packages_sockets='spawn-fcgi systemd'
# What tests of CGI need.
# shellcheck disable=SC2034
packages_cgi='fcgiwrap util-linux'
# What tests of https need.
# shellcheck disable=SC2034
packages_tls='openssl lighttpd-mod-openssl'
# What a machine of a test's own needs (tests/box.sh); pivot_root is in one or
# the other.
# shellcheck disable=SC2034
packages_box='systemd procps iproute2 util-linux util-linux-extra'
# What tests of asset stores need: a real S3, another clock, certificates.
# shellcheck disable=SC2034
packages_store='ceph-mon ceph-osd radosgw ceph-common libfaketime openssl perl'

# Are this package's files here?  Another nginx will do for nginx-light when it
# has the module we need.
package_installed() {
	case $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) in
	installed) return 0 ;;
	esac
	[ "$1" = nginx-light ] &&
	    PATH=$PATH:/usr/sbin nginx -V 2>&1 |
	    grep -q http_auth_request_module
}

# packages_install LOG NAME...: install those that are missing.  Returns 1
# after a line on stderr, and apt's own errors, when that can't be done.
packages_install() {
	packages_log=$1
	shift
	packages_missing=
	for p in "$@"; do
		package_installed "$p" ||
		    packages_missing="$packages_missing $p"
	done
	[ -n "$packages_missing" ] || return 0
	if [ "$(id -u)" = 0 ]; then
		packages_as=
	elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
		packages_as='sudo -n'
	else
		echo "${0##*/}: missing packages; install them with:" \
		    "apt-get install --no-install-recommends$packages_missing" >&2
		return 1
	fi
	if ! command -v apt-get >/dev/null; then
		echo "${0##*/}: no apt-get here to install:$packages_missing" >&2
		return 1
	fi
	packages_rc=0
	packages_apt || packages_rc=1
	packages_end
	if [ $packages_rc != 0 ]; then
		grep '^E: ' "$packages_log" >&2
		echo "${0##*/}: apt-get could not install$packages_missing:" \
		    "see $packages_log" >&2
		return 1
	fi
}
packages_apt() {
	echo "asking apt for$packages_missing"
	$packages_as apt-get update >>"$packages_log" 2>&1 </dev/null || return 1
	# shellcheck disable=SC2086
	set -- apt-get install -y --no-install-recommends $packages_missing
	packages_n=$("$@" -s 2>>"$packages_log" </dev/null | grep -c '^Inst ')
	echo "installing $packages_n packages, about a minute for 100;" \
	    "they stay installed"
	packages_policy
	working "  set up" "$packages_n" "$packages_log" '^Setting up '
	$packages_as env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 "$@" \
	    >>"$packages_log" 2>&1 </dev/null
	set -- $?
	worked
	return "$1"
}

# working TEXT TOTAL LOG PATTERN: show on a terminal, until worked is called,
# how many lines of LOG have it by now.
working_pid=
working() {
	[ -t 1 ] || return 0
	working_from=$(grep -c "$4" "$3")
	# (Nobody waits for it; it ends with us at the latest.)
	while kill -0 $$ 2>/dev/null; do
		printf '\r%s %d of %d ' "$1" \
		    $(($(grep -c "$4" "$3") - working_from)) "$2"
		sleep 1
	done 9>&- &
	working_pid=$!
}
worked() {
	[ -n "$working_pid" ] || return 0
	kill "$working_pid" 2>/dev/null && wait "$working_pid" 2>/dev/null
	working_pid=
	printf '\r%40s\r' ''
}

# Debian starts a server it installs, and at each boot; ours is started by us.
# Its packages ask this script first.  One that is there already is somebody's
# own: left alone.
packages_policy_file=/usr/sbin/policy-rc.d
packages_ours='' packages_policy_ours='' packages_enabled=''
packages_policy() {
	packages_ours=yes
	packages_enabled=$(packages_links)
	if [ ! -e $packages_policy_file ]; then
		packages_policy_ours=yes
		printf '#!/bin/sh\nexit 101\n' |
		    $packages_as tee $packages_policy_file >/dev/null &&
		    $packages_as chmod 755 $packages_policy_file
	fi
}
# What systemd starts, as links; to take one away is what systemctl disable does,
# and needs no systemd.
packages_links() {
	find /etc/systemd/system -type l -path '*.wants/*' 2>/dev/null
}
# Back to what was enabled; but for systemd's own units, where that is new.
# To be called on the way out too.
packages_end() {
	worked
	[ -n "$packages_ours" ] || return 0
	packages_ours=
	packages_links | grep -vxF -e "$packages_enabled" |
	    while IFS= read -r l; do
		dpkg-query -L systemd 2>/dev/null |
		    grep -q "/$(basename "$(readlink "$l")")\$" ||
		    $packages_as rm -f "$l"
	done
	if [ -n "$packages_policy_ours" ]; then
		$packages_as rm -f $packages_policy_file
		packages_policy_ours=
	fi
}
