#!/bin/sh
# The post-build hook by itself: the queue, in the background, what it skips;
# and that it never fails a build.
# shellcheck disable=SC1091,SC2016,SC2046,SC2086,SC2154
. "$(dirname "$0")/lib.sh"

hook=$top_srcdir/tools/tmpnix-post-build-hook
packages=$top_srcdir/tests/packages
unset TMPNIX_CACHE_URL TMPNIX_NETRC TMPNIX_CACHE_SECRET_KEY TMPNIX_BACKGROUND \
    TMPNIX_SKIP_LOCAL TMPNIX_CLIENT_CONF XDG_CONFIG_HOME XDG_STATE_HOME \
    TMPNIX_COMPRESSION TMPNIX_PUSH_TIMEOUT

client=$W/nix
site_make "$client/store"
site_start
client_make "$client"
TMPNIX_QUEUE=$W/queue
TMPNIX_CLIENT_CONF=$W/client.conf
export TMPNIX_QUEUE TMPNIX_CLIENT_CONF
cat >"$W/client.conf" <<EOT
TMPNIX_CACHE_URL=$U/cache
TMPNIX_NETRC='$W/netrc'
EOT

# build ATTR...: by plain nix-build, as a user's nix.conf has the hook.
build() {
	for a; do
		set -- "$@" -A "$a"
		shift
	done
	nx "$client" nix-build --no-out-link "$packages" "$@" \
	    --option post-build-hook "$hook" >"$W/out" 2>"$W/err"
}
queued() {
	find "$W/queue" -name '*.drv' | wc -l
}
# Is the path (a store path) in the cache?
there() {
	p=${1##*/}
	[ "$(status -I "$U/cache/${p%%-*}.narinfo")" = 200 ]
}
is_there() {
	while read -r p; do
		there "$p" || return 1
	done <"$W/out"
}

ok "a build" build top multi
ok "is pushed" is_there
is "with all its outputs" "$(nx "$client" nix-store -q --outputs \
    $(nx "$client" nix-store -q --deriver $(tail -n 1 "$W/out")) |
    while read -r p; do there "$p" && echo yes; done | wc -l)" 3
is "nothing is queued" "$(queued)" 0
p=$(tail -n 1 "$W/out")
p=${p##*/}
curl -q -s "$U/cache/${p%%-*}.narinfo" >"$W/info"
ok "it is zstd" grep -qx 'Compression: zstd' "$W/info"
ok "and signed, by the server" grep -q "^Sig: $(cut -d: -f1 \
    "$S/keys/cache.pub"):" "$W/info"
TMPNIX_COMPRESSION=xz
export TMPNIX_COMPRESSION
ok "a build with TMPNIX_COMPRESSION" build other-20
unset TMPNIX_COMPRESSION
p=$(cat "$W/out")
p=${p##*/}
ok "is in that" sh -c 'curl -q -s "$1" | grep -qx "Compression: xz"' - \
    "$U/cache/${p%%-*}.narinfo"

# What was pushed can be had back, though Nix remembers the narinfo as it sent it.
ok "a build" build other-22
p=$(cat "$W/out")
settle
ok "that is lost" nx "$client" nix-store --delete "$p"
ok "comes from the cache" nx "$client" nix-store -r "$p" \
    --option substituters "$U/cache" \
    --option trusted-public-keys "$(cat "$S/keys/cache.pub")"

# The cache is down; one path it refuses.
prog_stop upload
ok "a build without tmpnix-upload" build low-1 other-1
is "is queued" "$(queued)" 3
web_stop
ok "a build without a server at all" build other-2
is "is queued" "$(queued)" 4
ok "it says so" grep -q "can't be reached: .* kept in" "$W/err"
ok "flush says no" not nx "$client" "$hook" --flush
web_start
prog_start upload
prog_ready upload
ok "the next build" build other-3
is "takes the others along" "$(queued)" 0
ok "they are there" nx "$client" sh -c 'for n in low-1 other-1 other-2; do
	p=$(echo "$NIX_STORE_DIR"/*-$n)
	p=${p##*/}
	[ "$(curl -q -s -I -o /dev/null -w "%{http_code}" \
	    "$1/cache/${p%%-*}.narinfo")" = 200 ] || exit 1
done' sh "$U"

# A path that is gone is given up, one that can't be pushed keeps no other.
prog_stop upload
ok "two builds" build other-4 other-5
is "are queued" "$(queued)" 2
nx "$client" nix-store --delete "$(head -n 1 "$W/out")" >/dev/null 2>&1
prog_start upload
prog_ready upload
ok "flush" nx "$client" "$hook" --flush
is "gives up what is gone" "$(queued)" 0
tail -n 1 "$W/out" >"$W/out.new" && mv "$W/out.new" "$W/out"
ok "and pushes the rest" is_there
ok "flush of an empty queue" nx "$client" "$hook" --flush

# A token that may not push.
sed 's/password .*/password tmpnix_nonsense/' "$W/netrc" >"$W/netrc.bad"
sed -i "s|^TMPNIX_NETRC.*|TMPNIX_NETRC=$W/netrc.bad|" "$W/client.conf"
ok "a build with a bad token" build other-6 low-9
is "all is queued" "$(queued)" "$(grep -c '^building' "$W/err")"
is "it was asked once" "$(grep -c 'refuses the token: this token is unknown' \
    "$W/err")" 1
is "not for each path" "$(grep -c 'refused the token a moment ago' "$W/err")" \
    "$(($(queued) - 1))"
for a in 1 2; do
	nx "$client" "$hook" --flush 2>"$W/flush.err" && fail "flush"
	is "flush says so once" "$(cat "$W/flush.err")" "tmpnix-post-build-hook: \
$U/cache refuses the token: this token is unknown, expired or revoked: \
$(queued) kept in $W/queue"
done
sed -i "s|^TMPNIX_NETRC.*|TMPNIX_NETRC=$W/nosuch|" "$W/client.conf"
is "flush with a netrc that is not there" "$(nx "$client" "$hook" --flush \
    2>"$W/flush.err"; echo $?)" 2
ok "it names it" grep -q "TMPNIX_NETRC: $W/nosuch: no such file" "$W/flush.err"
sed -i "s|^TMPNIX_NETRC.*|TMPNIX_NETRC=$W/netrc.new|" "$W/client.conf"
cp "$W/netrc" "$W/netrc.new"
ok "a build with another token" build other-21
is "empties the queue" "$(queued)" 0
ok "nothing is remembered of the other" test ! -e "$W/queue/.refused"

# In the background.
TMPNIX_BACKGROUND=1
export TMPNIX_BACKGROUND
# A server that does not answer while the build goes on.
kill -STOP "$upload_pid"
ok "a build in front of a stuck server" build other-7 other-8
is "did not wait for it" "$(queued)" 2
kill -CONT "$upload_pid"
ok "flush" nx "$client" "$hook" --flush
is "empties the queue" "$(queued)" 0
ok "they are there" is_there
unset TMPNIX_BACKGROUND

# What is quicker built.
TMPNIX_SKIP_LOCAL=1
export TMPNIX_SKIP_LOCAL
ok "a build that prefers to be local" build local
ok "is not pushed" not is_there
is "nor queued" "$(queued)" 0
ok "another one" build other-9
ok "is pushed" is_there
unset TMPNIX_SKIP_LOCAL

# Whatever happens, the build goes on.
mv "$W/client.conf" "$W/client.conf.away"
ok "a build without a configuration" build other-10
ok "it says so" grep -q 'TMPNIX_CACHE_URL is not set' "$W/err"
is "is queued all the same" "$(queued)" 1
is "flush then is a mistake" "$(nx "$client" "$hook" --flush >/dev/null 2>&1
    echo $?)" 2
TMPNIX_QUEUE=$W/netrc/queue
ok "a build with a queue that can't be made" build other-11
TMPNIX_QUEUE=$W/queue
ok "called by hand it succeeds" nx "$client" "$hook"
is "a wrong call is one" "$(nx "$client" "$hook" --what 2>/dev/null
    echo $?)" 2
e2e_end
