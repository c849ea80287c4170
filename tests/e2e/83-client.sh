#!/bin/sh
# A client, set up in one command: tmpnix client-conf in all its forms, the page,
# and setup.sh, with real Nix.
# shellcheck disable=SC1091,SC2016,SC2034,SC2154
. "$(dirname "$0")/lib.sh"

unset TMPNIX_CLIENT_CONF TMPNIX_NETRC_LINE XDG_CONFIG_HOME
site_make "$W/nix/store"
site_start
key=$(cat "$S/keys/cache.pub")
STORE=$W/nix/store

# nix_make DIR: an own Nix of that store directory, with an empty configuration
# but for what a test needs.
nix_make() {
	client_make "$1"
	printf 'sandbox = false\nbuild-users-group =\nsubstituters =\n' \
	    >"$1/conf/nix.conf"
}
# new_store: nothing in the store, and nothing remembered.
new_store() {
	chmod -R u+w "$STORE" 2>/dev/null
	rm -rf "$STORE" "${1:?}/var" "$1/home/cache"
	mkdir -p "$STORE" "$1/var/log" "$1/home/cache"
}
a=$W/a
NX_STORE=$STORE
nix_make "$a"
mkdir -p "$STORE"

# What is printed ---------------------------------------------------------------
ok "client-conf" tmpnix client-conf
cp "$W/ok.out" "$W/all"
is "has what goes into nix.conf" "$(sed -n 's/^    \([a-z-]* = \)/\1/p' "$W/all")" \
    "extra-substituters = $U/cache
extra-trusted-public-keys = $key
netrc-file = /etc/nix/netrc"
ok "and a push" grep -q "^    nix --extra-experimental-features nix-command copy \
--to '$U/cache?compression=zstd' \"\$(nix-store --add /usr/bin/env)\"\$" "$W/all"
ok "and the script" grep -q "^    curl -sSfo setup.sh $U/cache/setup.sh && sh setup.sh\$" \
    "$W/all"
ok "the page has the same lines" sh -c 'sed -n "s/^    //p" "$1" | grep -v -e "^machine" \
    -e "^netrc-file" | sed -e "s/&/\&amp;/g" -e "s/\"/\&quot;/g" | while IFS= read -r l; do
	curl -q -s "$2/cache/" | sed "s/<[^>]*>//g" | grep -qxF -e "$l" ||
	    { echo "not there: $l"; exit 1; }
    done' - "$W/all" "$U"
ok "the page's lines are wrapped" sh -c 'curl -q -s "$1/cache/" |
    grep -q "pre{[^}]*white-space:pre-wrap;overflow-wrap:anywhere}"' - "$U"
tmpnix client-conf --nix-conf >>"$a/conf/nix.conf"
for s in "substituters = $U/cache" \
    "trusted-public-keys = cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY= $key" \
    "netrc-file = /etc/nix/netrc"; do
	ok "Nix reads: $s" sh -c '"$@" | grep -qxF "$0"' "$s" \
	    env NIX_CONF_DIR="$a/conf" HOME="$a/home" \
	    nix --extra-experimental-features nix-command show-config
done
ok "--nixos" tmpnix client-conf --nixos
cp "$W/ok.out" "$W/module.nix"
is "is what Nix evaluates" "$(nx "$a" nix-instantiate --eval --strict --json \
    "$W/module.nix")" "{\"nix\":{\"settings\":{\"netrc-file\":\"/etc/nix/netrc\",\
\"substituters\":[\"$U/cache\"],\"trusted-public-keys\":[\"$key\"]}}}"
ok "--netrc" tmpnix client-conf --netrc
is "is a line" "$(cat "$W/ok.out")" "machine 127.0.0.1 login NAME password TOKEN"
ok "--builder" tmpnix client-conf --builder --netrc-file /x/netrc
is "sets all" "$(cat "$W/ok.out")" "TMPNIX_CACHE_URL='$U/cache'
TMPNIX_CACHE_PUBLIC_KEY='$key'
TMPNIX_DRV_URL='$U/drv'
TMPNIX_DRV_PUBLIC_KEY='$(cat "$S/keys/drv.pub")'
TMPNIX_NETRC='/x/netrc'"

# wrong STATUS WORDS ARG...
wrong() {
	wrong_status=$1 words=$2
	shift 2
	tmpnix client-conf "$@" >"$W/wrong" 2>"$W/wrong.err"
	is "client-conf $*: exit" $? "$wrong_status"
	ok "says why" grep -q -e "$words" "$W/wrong.err"
	is "and nothing else" "$(wc -c <"$W/wrong")" 0
}
wrong 2 usage --nixos --netrc
wrong 2 usage --ci jenkins
wrong 2 usage surplus
wrong 2 'absolute path' --netrc-file 'a b'
wrong 2 "can't name a token" --token 'a b'
wrong 2 'use --netrc' --token x --nixos
mv "$S/keys/cache.pub" "$W/cache.pub"
wrong 1 'holds no key' --nix-conf
echo 'x' >"$S/keys/cache.pub"
wrong 1 'holds no key' --nix-conf
mv "$W/cache.pub" "$S/keys/cache.pub"

# A token.
ok "--token" sh -c '"$@" 2>"$0"' "$W/hint" "$top_builddir/tmpnix" -f "$CONF" \
    client-conf --token one
cp "$W/ok.out" "$W/one"
ok "says what it may" grep -q 'Token one may push and pull' "$W/hint"
line=$(sed -n 's/^    \(machine .*\)/\1/p' "$W/one")
wrong 1 'revoke' --token one
ok "--token --netrc" tmpnix client-conf --token two --netrc
is "is that line alone" "$(sed 's/tmpnix_.*/SECRET/' "$W/ok.out" | head -n 1)" \
    "machine 127.0.0.1 login two password SECRET"
ok "it is a token" sh -c '"$@" | grep -q "^one  *push,pull "' - \
    "$top_builddir/tmpnix" -f "$CONF" token list
ok "standard output that is full" sh -c '! "$@" >/dev/full' - "$top_builddir/tmpnix" \
    -f "$CONF" client-conf --token three
ok "leaves no token" sh -c '! "$@" | grep -q "^three "' - \
    "$top_builddir/tmpnix" -f "$CONF" token list

# The script -------------------------------------------------------------------
ok "GET setup.sh" curl -q -s -f -o "$W/setup.sh" "$U/cache/setup.sh"
ok "it is good sh" sh -n "$W/setup.sh"
ok "nothing is left to be replaced" not grep -q '@[A-Z_]*@' "$W/setup.sh"
is "it is text" "$(req "$U/cache/setup.sh"; header content-type)" \
    "text/plain; charset=utf-8"
is "HEAD" "$(status -I "$U/cache/setup.sh")" 200

# setup DIR ARG...: by the Nix in DIR; what it said is in $W/said.
setup() {
	setup_dir=$1
	shift
	nx "$setup_dir" env TMPNIX_CLIENT_CONF="$setup_dir/client.conf" \
	    NIX_DAEMON_SOCKET_PATH="$setup_dir/no-socket" \
	    NIX_USER_CONF_FILES="$setup_dir/conf/nix.conf" \
	    ${token+TMPNIX_NETRC_LINE="$token"} sh "$W/setup.sh" "$@" \
	    >"$W/said" 2>&1 </dev/null
}
said() {
	grep -qs -e "$1" "$W/said" || {
		cat "$W/said"
		return 1
	}
}
# files DIR: all that a set-up may change.
files() {
	(cd "$1" && find conf client.conf home/.config -type f \
	    -exec ls -l --time-style=full-iso {} + -exec cat {} + 2>/dev/null)
}
b=$W/b
nix_make "$b"
printf 'extra-substituters = https://other.example # mine' >>"$b/conf/nix.conf"
chmod 664 "$b/conf/nix.conf"
before=$(files "$b")
token=$line
ok "setup.sh -n" setup "$b" -n
ok "shows nix.conf's lines" said "^    extra-substituters = $U/cache$"
ok "not the token" not said "$(echo "$line" | sed 's/.* //')"
is "writes nothing" "$(files "$b")" "$before"
ok "setup.sh without a terminal does nothing" not nx "$b" setsid -w sh \
    "$W/setup.sh"
is "indeed" "$(files "$b")" "$before"
ok "setup.sh -y" setup "$b" -y
ok "says it works" said "$U/cache answers"
ok "and that the token pushes" said "the token may push"
ok "by a line as client-conf's" sh -c 'tail -n 1 "$1" | grep -xF -f "$2"' - \
    "$W/said" "$W/all"
is "the rest of nix.conf stays" "$(head -n 4 "$b/conf/nix.conf")" \
    "$(cat "$b/conf/nix.conf.backup")"
is "its mode too" "$(stat -c %a "$b/conf/nix.conf")" 664
is "Nix reads it" "$(nx "$b" nix --extra-experimental-features nix-command \
    show-config | grep -E '^(substituters|netrc-file) =')" \
    "netrc-file = $b/conf/netrc
substituters = https://other.example $U/cache"
is "the netrc is secret" "$(stat -c %a "$b/conf/netrc")" 600
is "the netrc has the token" "$(cat "$b/conf/netrc")" "$line"
is "client.conf" "$(cat "$b/client.conf")" \
    "$(tmpnix client-conf --builder --netrc-file "$b/conf/netrc")"
after=$(files "$b")
ok "a second time" setup "$b" -y
ok "says there is nothing to do" said "nothing to write: all is there"
is "changes nothing" "$(files "$b")" "$after"
unset token
ok "nor without the token" setup "$b" -y
is "changes nothing" "$(files "$b")" "$after"

# It works, for Nix: push by the line it said, pull by another client.
sed -i 's/^extra-substituters = https:.*//' "$b/conf/nix.conf"
copy=$(sed -n 's/^    \(nix .*copy .*\)/\1/p' "$W/said")
ok "push by the line" nx "$b" sh -c "$copy"
p=$(nx "$b" nix-store --add /usr/bin/env)
drv='derivation { name = "built"; system = builtins.currentSystem;
    builder = "/bin/sh"; args = [ "-c" "echo built >$out" ]; }'
q=$(nx "$b" nix-build --no-out-link -E "$drv" 2>/dev/null)
ok "push a path that needs a signature" nx "$b" sh -c "${copy%\"*\"} $q"
settle
c=$W/c
nix_make "$c"
new_store "$c"
ok "a reader without a token" setup "$c" -y
ok "has no netrc" test ! -e "$c/conf/netrc" -a ! -e "$c/client.conf"
is "two lines of nix.conf" "$(tail -n 2 "$c/conf/nix.conf")" \
    "extra-substituters = $U/cache
extra-trusted-public-keys = $key"
ok "pull" nx "$c" nix-store -r "$p" "$q"
is "and it is what was pushed" "$(cat "$q")" built
ok "a push by the reader is refused" not nx "$c" sh -c \
    "${copy%\"*\"} \$(nix-store --add $W/setup.sh)"

# The token alone, a netrc of one's own with others in it.
token=$(echo "$line" | sed 's/.* //')
mkdir "$c/own"
printf 'machine a.example login x password y\ndefault login z password z\n' \
    >"$c/own/netrc"
chmod 640 "$c/own/netrc"
echo "netrc-file = $c/own/netrc" >>"$c/conf/nix.conf"
echo "TMPNIX_BACKGROUND=1" >"$c/client.conf"
ok "the token alone" setup "$c" -y
is "goes into the netrc that is named" "$(cat "$c/own/netrc")" \
    "machine 127.0.0.1 login tmpnix password $token
machine a.example login x password y
default login z password z"
is "which keeps its mode" "$(stat -c %a "$c/own/netrc")" 640
ok "it says so" said 'not only for its owner'
is "client.conf keeps the rest" "$(head -n 1 "$c/client.conf")" \
    TMPNIX_BACKGROUND=1
ok "push with it" nx "$c" sh -c "$copy --option narinfo-cache-positive-ttl 0"
token=$(tmpnix token add four 2>/dev/null)
ok "another token" setup "$c" -y
is "takes the place of the first" "$(grep -c "^machine 127" "$c/own/netrc")" 1
ok "it is this one" grep -qxF "$token" "$c/own/netrc"
tmpnix token revoke four
unset token
ok "a token that was revoked" not setup "$c" -y
ok "is told" said 'the cache refuses the token'
token='machine other.example login x password y'
ok "a line for another host" not setup "$c" -y
ok "is told" said 'a line "machine 127.0.0.1 '
token='tmpnix_x$(id)'
ok "no token" not setup "$c" -y
unset token

# A terminal, the script from a pipe, no and yes; a user that is not root.
d=$W/d
nix_make "$d"
chmod a+rx "$W" "$W/nix"
chmod -R a+rwX "$d" "$STORE"
as_user=
[ "$(id -u)" != 0 ] || as_user='setpriv --reuid=65534 --regid=65534 --clear-groups'
# terminal TOKEN YES: the answers are typed when they are asked for.
terminal() {
	rm -f "$W/typed" "$W/said"
	mkfifo "$W/typed"
	# shellcheck disable=SC2086
	nx "$d" env TMPNIX_CLIENT_CONF= NIX_REMOTE= \
	    NIX_DAEMON_SOCKET_PATH="$d/socket" $as_user \
	    script -qfec "cat '$W/setup.sh' | sh" /dev/null \
	    <"$W/typed" >"$W/said" 2>&1 &
	other_pids=$!
	exec 7>"$W/typed"
	until_true 20 said 'The token, or its line' || fail "it asks"
	echo "$1" >&7
	until_true 20 said 'Write this?' || fail "it asks to write"
	echo "$2" >&7
	exec 7>&-
	wait $other_pids
	other_pids=''
}
perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 1)
    or exit 1' "$d/socket" || stop "a socket"
terminal "" n
ok "no is no" test ! -e "$d/home/.config"
ok "it says so" said 'nothing was written'
terminal "$line" y
ok "yes is yes" said "the token may push"
is "a user's own nix.conf" "$(sed 1d "$d/home/.config/nix/nix.conf")" \
    "extra-substituters = $U/cache
extra-trusted-public-keys = $key
netrc-file = $d/home/.config/nix/netrc"
is "and netrc" "$(stat -c %a "$d/home/.config/nix/netrc")" 600
ok "the token is not echoed" not said "$(echo "$line" | sed 's/.* //')"
ok "and client.conf" grep -qx "TMPNIX_NETRC='$d/home/.config/nix/netrc'" \
    "$d/home/.config/tmpnix/client.conf"
[ -z "$as_user" ] || {
	ok "what root has to do for the daemon" said 'let root run this script'
	ok "  with the line" said "^    extra-substituters = $U/cache"
}
rm -f "$d/socket"
# (Root's daemon: what root has to do after it.)
e=$W/e
nix_make "$e"
perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 1)
    or exit 1' "$e/no-socket" || stop "a socket"
ok "with a daemon" setup "$e" -y
[ -z "$as_user" ] || ok "it has to be restarted" said 'systemctl restart nix-daemon'

# Files that are made by NixOS are links into the store.
f=$W/f
nix_make "$f"
mv "$f/conf/nix.conf" "$STORE/00000000000000000000000000000000-nix.conf"
ln -s "$STORE/00000000000000000000000000000000-nix.conf" "$f/conf/nix.conf"
ok "a nix.conf of NixOS" setup "$f" -y
ok "is left to its configuration" said "nix.settings.substituters = \[ \"$U/cache\" \];"
ok "stays a link" test -h "$f/conf/nix.conf"
ok "unchanged" not grep -q "$U" "$f/conf/nix.conf"

# Another store directory.
g=$W/g
nix_make "$g"
NX_STORE=/tmp/other/store
ok "another store directory" not setup "$g" -y
ok "is not told to Nix" not grep -q "$U" "$g/conf/nix.conf"
ok "is told" said "for stores in $STORE, and this machine's is /tmp/other/store"
NX_STORE=$STORE

# CI ----------------------------------------------------------------------------
# run_of FILE N: the N-th of the steps' commands, as a YAML parser reads it.
run_of() {
	python3 -c '
import sys, yaml
y = yaml.safe_load(open(sys.argv[1]))
steps = [s["run"] for s in y["steps"]] if "steps" in y else y["build"]["script"]
print(steps[int(sys.argv[2])], end="")' "$1" "$2"
}
if python3 -c 'import yaml' 2>/dev/null; then
	for service in github gitlab; do
		ci=$W/$service
		nix_make "$ci"
		new_store "$ci"
		ok "--ci $service" tmpnix client-conf --ci $service
		cp "$W/ok.out" "$ci/ci.yml"
		ok "is YAML of two steps" run_of "$ci/ci.yml" 1
		mkdir "$ci/checkout"
		echo "$drv" | sed "s/\"built\"/\"built-$service\"/" \
		    >"$ci/checkout/default.nix"
		run_of "$ci/ci.yml" 0 >"$ci/0.sh"
		run_of "$ci/ci.yml" 1 >"$ci/1.sh"
		case $service in
		github)
			# Each step is a shell of its own, and a file between.
			cat >"$ci/run.sh" <<'EOT'
sh -e ../0.sh && [ "$(head -n 1 "$GITHUB_ENV")" = 'NIX_CONFIG<<END' ] &&
[ "$(tail -n 1 "$GITHUB_ENV")" = END ] &&
NIX_CONFIG=$(sed '1d;$d' "$GITHUB_ENV") sh -e ../1.sh
EOT
			;;
		gitlab) cat "$ci/0.sh" "$ci/1.sh" >"$ci/run.sh" ;;
		esac
		mkdir "$ci/tmp"
		ok "runs" nx "$ci" env TMPDIR="$ci/tmp" GITHUB_ENV="$ci/env" \
		    TMPNIX_TOKEN="$(echo "$line" | sed 's/.* //')" \
		    sh -c 'cd "$0" && sh -e ../run.sh' "$ci/checkout"
		is "its netrc is secret" "$(stat -c %a "$ci"/tmp/tmp.*)" 600
		p=$(readlink "$ci/checkout/result")
		p=${p##*/}
		is "what it built is in the cache" \
		    "$(status -I "$U/cache/${p%%-*}.narinfo")" 200
	done
else
	echo "no YAML parser here (Debian: python3-yaml): CI is not tried"
fi

# A private cache ---------------------------------------------------------------
prog_answers() {
	[ "$(status "$U/cache/nix-cache-info")" = 401 ]
}
conf_set public_reads no
for p in cache upload drv; do
	prog_stop $p
	prog_start $p
done
prog_ready cache
is "the page takes a token" "$(status "$U/cache/")" 401
ok "setup.sh does not" curl -q -s -f -o "$W/setup.sh" "$U/cache/setup.sh"
ok "client-conf" tmpnix client-conf
ok "says that reading takes one" grep -q 'to read and to push' "$W/ok.out"
h=$W/h
nix_make "$h"
ok "set up without a token" not setup "$h" -y
ok "says what is missing" said 'refuses to be read: to read here needs a token'
token=$line
ok "with one" setup "$h" -y
new_store "$h"
ok "Nix reads with it" nx "$h" nix-store -r "$q"

e2e_end
