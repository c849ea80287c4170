#!/bin/sh
# Set this machine up to use a Nix binary cache: nix.conf, the netrc with the
# token, and client.conf of tmpnix-build and its hook.  It shows what it would
# write and asks before it does.  Run by root it does so for the machine, run by
# anybody else for that user.

cache=@URL@/cache
drv=@URL@/drv
host=@HOST@
store=@STORE_DIR@
key=@KEY@
drv_key=@DRV_KEY@
push=@PUSH@
private=@PRIVATE@ # yes: reading takes a token, too

help() {
	cat <<END
usage: sh setup.sh [-n | -y]

Use the binary cache at $cache on this machine.
  -n  show what would be written, and write nothing
  -y  write without asking

The token is asked for.  Or TMPNIX_NETRC_LINE is in the environment: the token,
or the line for a netrc that "tmpnix token add" printed.
END
}
say() {
	echo "setup.sh: $*" >&2
}
die() {
	say "$@"
	exit 1
}

# Where things are --------------------------------------------------------------

places() {
	etc=${NIX_CONF_DIR:-/etc/nix}
	if [ "$(id -u)" = 0 ]; then
		nix_conf=$etc/nix.conf
		netrc=$etc/netrc
		client_conf=${TMPNIX_CLIENT_CONF:-/etc/tmpnix/client.conf}
	else
		config=${XDG_CONFIG_HOME:-${HOME:?}/.config}
		nix_conf=${NIX_USER_CONF_FILES:-$config/nix/nix.conf}
		nix_conf=${nix_conf%%:*}
		netrc=${nix_conf%/*}/netrc
		client_conf=${TMPNIX_CLIENT_CONF:-$config/tmpnix/client.conf}
	fi
	# A netrc that nix.conf names already stays the one.
	had=$(settings 'netrc-file' | tail -n 1)
	netrc=${had:-$netrc}
	entry="^[[:blank:]]*machine[[:blank:]]+$(echo "$host" |
	    sed 's/\./\\./g')([[:blank:]]|\$)"
}
# settings NAME: the values that nix.conf has for it; NAME is a pattern.
settings() {
	[ ! -e "$nix_conf" ] || sed -n -e 's/#.*//' -e 's/[ 	]*$//' \
	    -e "s/^[ 	]*\($1\)[ 	]*=[ 	]*//p" "$nix_conf"
}
# has NAME WORD: is it one of the words of these values?
has() {
	settings "$1" | tr -s '[:blank:]' '\n' | grep -qxF -e "$2"
}
daemon() {
	[ -S "${NIX_DAEMON_SOCKET_PATH:-${NIX_STATE_DIR:-/nix/var/nix}/daemon-socket/socket}" ]
}

# With a cache for other stores among its substituters Nix would do nothing.
same_store() {
	if ! command -v nix-instantiate >/dev/null; then
		say "Nix is not installed here, or not in PATH"
		return
	fi
	ours=$(nix-instantiate --eval -E builtins.storeDir 2>/dev/null |
	    tr -d '"')
	[ "$ours" = "$store" ] || die "the cache is for stores in $store, and" \
	    "this machine's is ${ours:-not known}: it can't use it"
}

# The token ---------------------------------------------------------------------

# What the netrc has for our host.  (The token is in no program's arguments.)
netrc_entries() {
	[ ! -e "$netrc" ] || grep -sE "$entry" "$netrc"
}
netrc_has() {
	[ -n "$(netrc_entries)" ]
}
token() {
	line=${TMPNIX_NETRC_LINE-}
	unset TMPNIX_NETRC_LINE
	if [ -z "$line" ] && [ "$mode" = ask ] && ! netrc_has; then
		for_what="needed only to push"
		[ -z "$private" ] || for_what="needed to read and to push"
		trap 'stty echo <&3; exit 130' INT TERM
		stty -echo <&3 2>/dev/null
		printf 'The token, or its line for a netrc (%s; empty: none): ' \
		    "$for_what" >&3
		IFS= read -r line <&3
		stty echo <&3 2>/dev/null
		trap - INT TERM
		echo >&3
	fi
	case $line in
	'') return ;;
	*[![:print:]]*) die "the token has to be one line" ;;
	tmpnix_*[!A-Za-z0-9_-]*) die "this is no token" ;;
	tmpnix_*) line="machine $host login tmpnix password $line" ;;
	"machine $host "*password*) ;;
	*) die "a token, or a line \"machine $host ... password ...\", is needed" ;;
	esac
	if netrc_entries | grep -qv password; then
		die "$netrc has an entry of several lines for $host:" \
		    "put the token there by hand"
	fi
}

# What the files will be ----------------------------------------------------------

# Lines that nix.conf lacks.
nix_conf_lines() {
	has '\(extra-\)\{0,1\}substituters' "$cache" ||
		echo "extra-substituters = $cache"
	[ -z "$key" ] || has '\(extra-\)\{0,1\}trusted-public-keys' "$key" ||
		echo "extra-trusted-public-keys = $key"
	[ -n "$had" ] || { [ -z "$line" ] && ! netrc_has; } ||
		echo "netrc-file = $netrc"
}
nix_conf_new() {
	# (With an end to its last line.)
	[ ! -e "$nix_conf" ] || awk 1 "$nix_conf"
	echo "# The binary cache at $cache"
	nix_conf_lines
}
# (First: an entry "default" hides what follows it.)
netrc_new() {
	printf '%s\n' "$line"
	[ ! -e "$netrc" ] || grep -vE "$entry" "$netrc" || :
}
client_conf_lines() {
	echo "TMPNIX_CACHE_URL='$cache'"
	echo "TMPNIX_CACHE_PUBLIC_KEY='$key'"
	echo "TMPNIX_DRV_URL='$drv'"
	echo "TMPNIX_DRV_PUBLIC_KEY='$drv_key'"
	echo "TMPNIX_NETRC='$netrc'"
}
client_conf_new() {
	[ ! -e "$client_conf" ] || grep -v -E \
	    '^TMPNIX_((CACHE|DRV)_(URL|PUBLIC_KEY)|NETRC)=' "$client_conf"
	client_conf_lines
}

# A file that NixOS or home-manager makes is a link into the store.
is_managed() {
	case $(readlink -f "$1" 2>/dev/null) in
	/nix/store/* | "$store"/*) ;;
	*) return 1 ;;
	esac
}

# replace FILE MODE COMMAND: by what the command prints, keeping owner and mode
# of one that is there; a link stays one.
replace() {
	to=$1
	[ ! -h "$to" ] || to=$(readlink -f "$to")
	mkdir -p "${to%/*}" || exit 1
	new=$to.new.$$
	trap 'rm -f "$new"' EXIT
	if [ -e "$to" ]; then
		cp -p "$to" "$new"
	else
		(umask 077 && : >"$new") && chmod "$2" "$new"
	fi || die "can't write $new"
	if ! "$3" >"$new" || ! mv "$new" "$to"; then
		die "can't write $to"
	fi
	trap - EXIT
	say "wrote $to"
}

# Showing, asking, writing --------------------------------------------------------

indent() {
	sed 's/^/    /'
}
plan() {
	if [ -n "$nix_lines" ]; then
		echo "Into $nix_conf:"
		echo "$nix_lines" | indent
	fi
	[ -z "$netrc_changes" ] ||
		echo "Into $netrc (mode 0600): the token for $host"
	if [ -n "$client_changes" ]; then
		echo "Into $client_conf, for tmpnix-build and the hook:"
		client_conf_lines | indent
	fi
}
managed() {
	say "$nix_conf is made by NixOS or home-manager and not changed here:" \
	    "put these settings into its configuration"
	cat <<END
    nix.settings.substituters = [ "$cache" ];
    nix.settings.trusted-public-keys = [ "$key" ];
    nix.settings.netrc-file = "$netrc";
END
	nix_lines=''
}
compare() {
	nix_lines=$(nix_conf_lines)
	[ -z "$nix_lines" ] || ! is_managed "$nix_conf" || managed
	netrc_changes='' client_changes=''
	[ -z "$line" ] || [ "$(netrc_entries)" = "$line" ] || netrc_changes=yes
	[ -z "$line" ] && ! netrc_has ||
		[ "$(client_conf_new)" = "$(cat "$client_conf" 2>/dev/null)" ] ||
		client_changes=yes
}
write() {
	if [ -n "$nix_lines" ]; then
		[ ! -e "$nix_conf" ] || cp -p "$nix_conf" "$nix_conf.backup" ||
			exit 1
		replace "$nix_conf" 644 nix_conf_new
	fi
	[ -z "$netrc_changes" ] || replace "$netrc" 600 netrc_new
	[ -z "$client_changes" ] || replace "$client_conf" 644 client_conf_new
}

# Does it work? -------------------------------------------------------------------

# ask CURL-OPTION...: $code and the first line of what nix-cache-info answers.
ask() {
	! netrc_has || set -- --netrc-file "$netrc" "$@"
	answer=$(curl -q -sS -m 30 -w '\n%{http_code}' "$@" \
	    "$cache/nix-cache-info" 2>&1)
	code=$(printf '%s\n' "$answer" | tail -n 1)
	answer=$(printf '%s\n' "$answer" | head -n 1)
}
check() {
	ask
	case $code in
	200) say "$cache answers" ;;
	401 | 403) die "$cache refuses to be read: $answer" ;;
	*) die "$cache does not answer ($code): $answer" ;;
	esac
	netrc_has || return 0
	# A PUT without a length: 411 when the token is good.
	ask -X PUT
	case $code in
	401) die "the cache refuses the token: $answer" ;;
	403) say "the token is good, but not to push: $answer" ;;
	411 | 2??)
		say "the token may push, for example:"
		echo "$push" | indent
		;;
	*) say "the cache does not take pushes just now ($code): $answer" ;;
	esac
	case $(ls -lL "$netrc") in
	????------*) ;;
	*) say "$netrc is not only for its owner to read: chmod 600 $netrc" ;;
	esac
}
# What is left for a person to do.
advise() {
	daemon || return 0
	if [ "$(id -u)" = 0 ]; then
		[ -z "$wrote" ] || say "the Nix daemon reads nix.conf when it" \
		    "starts: systemctl restart nix-daemon"
	elif ! grep -qs "$cache" "$etc/nix.conf"; then
		say "the Nix daemon ignores substituters of users that it does" \
		    "not trust: let root run this script too, or put into" \
		    "$etc/nix.conf, and restart the daemon:"
		echo "extra-substituters = $cache" | indent
		echo "extra-trusted-public-keys = $key" | indent
	fi
}

# All in one function: half a script does nothing.
main() {
	mode=ask wrote=''
	while getopts hny o; do
		case $o in
		n) mode=show ;;
		y) mode=yes ;;
		h)
			help
			exit 0
			;;
		*)
			help >&2
			exit 2
			;;
		esac
	done
	command -v curl >/dev/null || die "curl is missing"
	if [ "$mode" = ask ] && ! { exec 3<>/dev/tty; } 2>/dev/null; then
		die "no terminal to ask at: -y writes without, -n shows what"
	fi
	same_store
	places
	token
	compare
	what=$(plan)
	if [ -z "$what" ]; then
		say "nothing to write: all is there"
	elif [ "$mode" = show ]; then
		echo "$what"
	else
		if [ "$mode" = ask ]; then
			printf '%s\nWrite this? [y/N] ' "$what" >&3
			read -r yes <&3
			case $yes in
			y | Y | yes) ;;
			*) die "nothing was written" ;;
			esac
		fi
		wrote=$nix_lines
		write
	fi
	[ "$mode" = show ] || check
	advise
}
main "$@"
