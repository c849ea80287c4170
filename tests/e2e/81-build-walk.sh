#!/bin/sh
# The whole walk: tmpnix-build asks for a derivation, fetches it signed, builds
# it with the cache as substituter; the hook pushes what was built; another
# builder builds nothing.
# shellcheck disable=SC1091,SC2016,SC2046,SC2086,SC2154
. "$(dirname "$0")/lib.sh"

STORE=$W/store
packages=$top_srcdir/tests/packages
build=$top_srcdir/tools/tmpnix-build
unset TMPNIX_CACHE_URL TMPNIX_DRV_URL TMPNIX_NETRC TMPNIX_CACHE_PUBLIC_KEY \
    TMPNIX_DRV_PUBLIC_KEY TMPNIX_CACHE_SECRET_KEY TMPNIX_QUEUE TMPNIX_FILE \
    TMPNIX_BACKGROUND TMPNIX_SKIP_LOCAL TMPNIX_CLIENT_CONF XDG_CONFIG_HOME \
    XDG_STATE_HOME

site_make "$STORE"
mkdir "$W/overlays" "$W/here"
cat >>"$CONF" <<EOT
file.p = $packages
drv_overlays = $W/overlays
EOT
site_start

# builder NAME: from here on this one's store is the one at $STORE, which has to
# be the same for all; its state and home are its own.  It knows nothing of
# tmpnix but ~/.config/tmpnix/client.conf.
current=
builder() {
	[ -z "$current" ] || mv "$STORE" "$W/$current/store"
	current=$1
	b=$W/$1
	if [ -d "$b" ]; then
		mv "$b/store" "$STORE"
		return
	fi
	mkdir -p "$b/conf" "$b/home/.config/tmpnix" "$b/home/cache" "$STORE"
	printf 'sandbox = false\nbuild-users-group =\nsubstituters =\ntrusted-users = *\n' \
	    >"$b/conf/nix.conf"
	cat >"$b/home/.config/tmpnix/client.conf" <<EOT
# As quickstart writes it.
TMPNIX_CACHE_URL='$U/cache'
TMPNIX_DRV_URL='$U/drv'
TMPNIX_NETRC='$W/netrc'
TMPNIX_CACHE_PUBLIC_KEY='$(cat "$S/keys/cache.pub")'
TMPNIX_DRV_PUBLIC_KEY='$(cat "$S/keys/drv.pub")'
EOT
}
bx() {
	NX_STORE=$STORE nx "$b" "$@"
}
# tb STATUS ARG...: tmpnix-build in $W/here, with that exit status; $W/out,
# $W/err.
tb() {
	want=$1
	shift
	(cd "$W/here" && bx "$build" "$@") >"$W/out" 2>"$W/err"
	got=$?
	[ "$got" = "$want" ] || {
		cat "$W/err"
		fail "tmpnix-build $*: status $got, not $want"
		return 1
	}
	pass "tmpnix-build $*: status $want"
}
# The names of what was built, sorted, on a line.
built() {
	sed -n "s|^building '.*/[0-9a-z]\{32\}-\(.*\)\.drv'.*|\1|p" "$W/err" |
	    sort | tr '\n' ' ' | sed 's/ $//'
}
# The links in a directory and what they lead to, on lines.
links() {
	(cd "$1" && find . -type l -printf '%P %l\n' | sed "s|$STORE/[^-]*-||" |
	    LC_ALL=C sort)
}
# Requests below /drv/ but for instantiate.
drv_gets() {
	requests_logged
	grep -c '"GET /drv/[^" ]* ' "$W/log/access.log"
}
attrs='nested.deep.er.b uses-fixed low-3 other-3 from-source uses-local'

builder one
gets=$(drv_gets)
tb 0 -f p $attrs
is "a line of output for each" "$(wc -l <"$W/out")" 6
ok "each is a path that is there" xargs ls -d -- <"$W/out"
cp "$W/out" "$W/out.one"
is "a link to each, as nix-build makes them" "$(links "$W/here")" "\
result nested-b
result-2 uses-fixed
result-3 low-3
result-4 other-3
result-5 from-source
result-6 uses-local"
ok "each is a root of the garbage collector" test 6 = "$(bx nix-store --gc \
    --print-roots | grep -c "^$W/here/result[-0-9]* -> $STORE/")"
ok "no word of --add-root" not grep -q -e --add-root "$W/err"
rm "$W/here"/*
is "everything was built" "$(built)" "fixed from-source local low low-0 \
low-1 low-2 low-3 mid multi nested-a nested-b other other-3 top uses-fixed \
uses-local"
is "one request a closure" "$(($(drv_gets) - gets))" 6
bx nix-store -qR $(cat "$W/out") >"$W/closure"
missing=0
while read -r p; do
	p=${p##*/}
	[ "$(status -I "$U/cache/${p%%-*}.narinfo")" = 200 ] ||
		missing=$((missing + 1))
done <"$W/closure"
is "everything was pushed" "$missing" 0
is "and signed" "$(p=$(head -n 1 "$W/closure") && p=${p##*/} &&
    curl -q -s "$U/cache/${p%%-*}.narinfo" | grep -c '^Sig: ')" 1
is "nothing is left in the queue" \
    "$(find "$b/home/.local/state/tmpnix/queue" -name '*.drv' | wc -l)" 0
tb 0 -f p $attrs
is "the second time nothing is built" "$(built)" ""
is "the second time no derivation is fetched" "$(($(drv_gets) - gets))" 6

builder two
tb 0 -f p $attrs
is "the second builder builds nothing" "$(built)" ""
ok "nor has it a build log" not test -e "$b/var/log/nix/drvs"
ok "it has the same outputs" cmp "$W/out" "$W/out.one"
ok "each is a path that is there" xargs ls -d -- <"$W/out"
ok "with right contents" bx nix-store --verify-path $(cat "$W/out")

cp "$packages/overlay.nix" "$W/overlays/"
tb 0 -f p low-5 other-5 top multi
is "an overlay rebuilds what it affects and no more" "$(built)" \
    "low low-0 low-1 low-2 low-3 low-4 low-5 mid multi other-5 top"
ok "the patch is in it" grep -q patched \
    "$(bx nix-store -qR $(cat "$W/out") | grep -e '-low$')/share/text"
builder one
tb 0 -f p low-5 other-5 top multi
is "which the other builder gets" "$(built)" ""
rm "$W/overlays/overlay.nix"

# Links and options.
rm -f "$W/here"/*
tb 0 -f p multi low-1 --option sandbox false -v
ok "an option after attributes is one" grep -q "^tmpnix-build: multi: " "$W/err"
is "links of several outputs" "$(links "$W/here")" "\
result multi
result-2 low-1
result-dev multi-dev
result-doc multi-doc"
tb 0 multi -f p -o "$W/here/d/to" low-2
is "where -o says" "$(links "$W/here/d")" "\
to multi
to-2 low-2
to-dev multi-dev
to-doc multi-doc"
rm -r "$W/here/d" "$W/here"/result*
tb 0 -f p --no-out-link low-1
is "no links" "$(links "$W/here")" ""
ok "no word of --add-root" not grep -q -e --add-root "$W/err"
: >"$W/here/result"
tb 2 -f p low-1
ok "a file of that name stays" grep -q "result is there, and no link" "$W/err"
mv "$W/here/result" "$W/here/result-2"
tb 2 -f p low-1 low-2
ok "nor one of the second's" grep -q "result-2 is there, and no link" "$W/err"
rm "$W/here/result-2"
tb 2 -f p low-1 --option
tb 2 -f p low-1 --nonsense
tb 3 -f p -- low-1 --no-build
ok "behind -- all are attributes" grep -q -e '--no-build: not instantiated' \
    "$W/err"

# No build, path by path, the same by environment and flags.
builder three
rm "$b/home/.config/tmpnix/client.conf"
tb 2 -f p low
ok "it says where it looked" grep -q "TMPNIX_DRV_URL is not set.*$b/home/.config\
/tmpnix/client.conf or /etc/tmpnix/client.conf .*setup.sh.*client-conf" "$W/err"
is "  in one line" "$(wc -l <"$W/err")" 1
gets=$(drv_gets)
TMPNIX_DRV_PUBLIC_KEY=$(cat "$S/keys/drv.pub")
TMPNIX_NETRC=$W/netrc
TMPNIX_FILE=p
export TMPNIX_DRV_PUBLIC_KEY TMPNIX_NETRC TMPNIX_FILE
tb 0 --url "$U" --no-build --copy top
ok "it printed the derivation" bx nix-store --check-validity "$(cat "$W/out")"
is "nothing was built" "$(built)" ""
ok "path by path makes many requests" test $(($(drv_gets) - gets)) -ge 10
tb 0 --url "$U" --no-build nested.a multi
is "it printed both derivations" "$(wc -l <"$W/out")" 2
tb 0 --url "$U" --no-push --option max-jobs 1 nested.a
ok "without the cache's key it builds" test -n "$(built)"

# By a Nix daemon, whose environment the hook has, as a user it trusts.
builder daemon
mkdir -p "$b/var/nix"
NIX_DAEMON_SOCKET_PATH=$W/run/nix.sock
export NIX_DAEMON_SOCKET_PATH
env NIX_STORE_DIR="$STORE" NIX_STATE_DIR="$b/var" NIX_CONF_DIR="$b/conf" \
    NIX_LOG_DIR="$b/var/log" HOME="$b/home" XDG_CACHE_HOME="$b/home/cache" \
    nix-daemon >"$W/log/nix-daemon.log" 2>&1 </dev/null &
other_pids=$!
until_true 20 test -S "$NIX_DAEMON_SOCKET_PATH" || stop "nix-daemon"
NIX_REMOTE=daemon
export NIX_REMOTE
tb 0 -f p low-7
is "what is in the cache is not built" "$(built)" "low-4 low-5 low-6 low-7"
p=$(sed 's|.*/||; s|-.*||' "$W/out")
is "the daemon's hook pushed" "$(status -I "$U/cache/$p.narinfo")" 200
unset NIX_REMOTE NIX_DAEMON_SOCKET_PATH
kill $other_pids
wait $other_pids 2>/dev/null
other_pids=''

# What must not be taken ------------------------------------------------------
tb 3 --url "$U" failing
ok "it says why" grep -q 'this package fails to evaluate' "$W/err"
is "and nothing on standard output" "$(wc -c <"$W/out")" 0
tb 3 --url "$U" 'a;b'
# An answer that is no derivation's name.
for answer in '/nix/store/00000000000000000000000000000000-a;touch pwned.drv' \
    '/nix/store/00000000000000000000000000000000-$(touch pwned).drv' \
    '/nix/store/00000000000000000000000000000000-a b.drv' \
    '/nix/store/0000000000000000000000000000000-a.drv' \
    '/nix/store/00000000000000000000000000000000-a' ''; do
	rm -f "$W/liar"
	perl -MIO::Socket::INET -e '
		my $l = IO::Socket::INET->new(LocalAddr => "127.0.0.1",
		    Listen => 1) or exit 2;
		open(my $p, ">", "$ARGV[0].new");
		print $p $l->sockport;
		close $p;
		rename "$ARGV[0].new", $ARGV[0];
		while (my $c = $l->accept) {
			while (<$c>) { last if /^\r?$/ }
			print $c "HTTP/1.1 200 OK\r\nConnection: close\r\n" .
			    "Content-Length: " . length("$ARGV[1]\n") .
			    "\r\n\r\n$ARGV[1]\n";
		}' "$W/liar" "$answer" &
	liar=$!
	other_pids="$other_pids $liar"
	until_true 20 test -s "$W/liar" || stop "no listener"
	tb 3 --url "http://127.0.0.1:$(cat "$W/liar")" low
	ok "an answer \"$answer\": is not taken" grep -q \
	    'did not answer with a derivation' "$W/err"
	kill "$liar"
	wait "$liar" 2>/dev/null
	other_pids=${other_pids% "$liar"}
done
is "nothing of it was run" "$(find "$W/here" "$W/tmp" -name 'pwned*')" ''
tb 3 --url "$U" -f nosuch low
ok "it says which there are" grep -q 'no file nosuch here: there is p$' "$W/err"
TMPNIX_NETRC=$W/nosuch tb 2 --url "$U" low
is "a netrc that is not there" "$(cat "$W/err")" \
    "tmpnix-build: TMPNIX_NETRC: $W/nosuch: no such file"
tb 1 --url "$U" broken
ok "it says which" grep -q 'broken' "$W/err"
tb 2 --url "$U" --nonsense low
tb 2 --url "$U"
tb 5 --url "http://127.0.0.1:$(free_port)" low
TMPNIX_NETRC=/dev/null tb 3 --url "$U" low
ok "it says what is missing" grep -q 'needs a token' "$W/err"
tmpnix token add drv-only --drv >"$W/drv.netrc" 2>/dev/null
TMPNIX_NETRC=$W/drv.netrc tb 0 --url "$U" nested.a
is "a token that may not push is told once" \
    "$(grep -c 'nothing will be pushed: the cache refuses.*scope push' \
    "$W/err")" 1
TMPNIX_DRV_PUBLIC_KEY=$(cat "$S/keys/cache.pub") tb 4 --url "$U" low-8
TMPNIX_DRV_PUBLIC_KEY=$(cat "$S/keys/cache.pub") tb 4 --url "$U" --copy low-8

# tamper HASH FILE: a derivation's own narinfo says FILE's from now on.
served() {
	sql "SELECT narinfo FROM path WHERE cache = 'drv' AND hash_part = '$1'" |
	    sed '/^$/d'
}
serve() {
	sql "UPDATE path SET narinfo = CAST(readfile('$2') AS TEXT)
	    WHERE cache = 'drv' AND hash_part = '$1';
	    UPDATE asset SET size = $(wc -c <"$2"),
	    sha256 = X'$(sha256sum "$2" | cut -d' ' -f1)'
	    WHERE cache = 'drv' AND key = '$1.narinfo'"
}
tb 0 --url "$U" --no-build other-1
drv=$(cat "$W/out")
ref=$(bx nix-store -q --references "$drv" | grep -e '-other.drv$')
for what in "$drv" "$ref"; do
	builder "other-${what##*-}"
	hash=${what##*/}
	hash=${hash%%-*}
	served "$hash" >"$W/good"
	nar=$S/drvs/$(sed -n 's/^URL: //p' "$W/good")
	echo "tampering with ${what##*-}"

	# Other bytes of the same length.
	cp "$nar" "$W/nar"
	sed 's/bin/nib/' "$W/nar" >"$nar"
	tb 4 --url "$U" --no-build other-1
	tb 4 --url "$U" --no-build --copy other-1
	# The narinfo goes along: the signature is not for it.
	h=$(nix-hash --type sha256 --base32 --flat "$nar")
	sed "s/^NarHash: .*/NarHash: sha256:$h/" "$W/good" >"$W/bad"
	serve "$hash" "$W/bad"
	tb 4 --url "$U" --no-build other-1
	ok "it is the signature" grep -q 'signature' "$W/err"
	tb 4 --url "$U" --no-build --copy other-1
	cp "$W/nar" "$nar"
	# Only the signature is gone.
	grep -v '^Sig' "$W/good" >"$W/bad"
	serve "$hash" "$W/bad"
	tb 4 --url "$U" --no-build other-1
	ok "it is the signature" grep -q 'signature' "$W/err"
	serve "$hash" "$W/good"
	ok "it was not taken" not bx nix-store --check-validity "$what"
done
# Cut in the middle: a file that is not there.
mv "$nar" "$nar.away"
tb 4 --url "$U" --no-build other-1
mv "$nar.away" "$nar"
tb 0 --url "$U" --no-build other-1
e2e_end
