# shellcheck shell=sh
# Debian packages by name, for conf/quickstart and tests/run, which source this.

# What building needs, what running the programs needs, and each web server.
# shellcheck disable=SC2034
packages_build='autoconf automake make gcc libc6-dev pkg-config libfcgi-dev
libsodium-dev libsqlite3-dev libarchive-dev liblzma-dev libbrotli-dev
libssl-dev libcurl4-openssl-dev libjansson-dev'
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
# after one line on stderr when that can't be done.
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
		    "apt-get install$packages_missing" >&2
		return 1
	fi
	if ! command -v apt-get >/dev/null; then
		echo "${0##*/}: no apt-get here to install:$packages_missing" >&2
		return 1
	fi
	echo "installing$packages_missing"
	packages_policy
	packages_rc=0
	# shellcheck disable=SC2086
	{
		$packages_as apt-get update &&
		    $packages_as env DEBIAN_FRONTEND=noninteractive \
		    apt-get install -y --no-install-recommends $packages_missing
	} >>"$packages_log" 2>&1 </dev/null || packages_rc=1
	packages_policy_end
	if [ $packages_rc != 0 ]; then
		echo "${0##*/}: apt-get could not install$packages_missing:" \
		    "see $packages_log" >&2
		return 1
	fi
}

# Debian starts a server it installs; ours is started by us.  Its packages ask
# this script first.  One that is there already is somebody's own: left alone.
packages_policy_file=/usr/sbin/policy-rc.d
packages_policy_ours=
packages_policy() {
	if [ ! -e $packages_policy_file ]; then
		packages_policy_ours=yes
		printf '#!/bin/sh\nexit 101\n' |
		    $packages_as tee $packages_policy_file >/dev/null &&
		    $packages_as chmod 755 $packages_policy_file
	fi
}
# To be called on the way out too.
packages_policy_end() {
	if [ -n "$packages_policy_ours" ]; then
		$packages_as rm -f $packages_policy_file
		packages_policy_ours=
	fi
}
