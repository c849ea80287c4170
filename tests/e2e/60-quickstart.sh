#!/bin/sh
# conf/quickstart: the commands of the README, as a person types them.
# shellcheck disable=SC1091,SC2002,SC2016,SC2034,SC2154
. "$(dirname "$0")/lib.sh"

D=$W/q
# quick NAME ARG...: start one, output in $W/NAME.out, $quick_pid.
quick() {
	quick_out=$W/$1.out
	shift
	# As on a terminal: a background command of sh ignores SIGINT.
	perl -e '$SIG{INT} = "DEFAULT"; exec @ARGV' \
	    sh "$top_srcdir/conf/quickstart" -w "$WEB" "$@" >"$quick_out" 2>"$quick_out.err" \
	    </dev/null &
	quick_pid=$!
	other_pids=$quick_pid
}
# It is ready, or has ended.
quick_up() {
	[ -e "$D/client.env" ] || ! kill -0 "$quick_pid" 2>/dev/null
}
quick_ready() {
	until_true 240 quick_up
	[ -e "$D/client.env" ] || {
		cat "$quick_out" "$quick_out.err"
		stop "quickstart does not get ready"
	}
}
# quick_end SIGNAL: its exit status is in $rc.
quick_end() {
	kill "-$1" "$quick_pid"
	wait "$quick_pid"
	rc=$?
	other_pids=''
}
# refused NAME WORD ARG...: one line on stderr with this word, exit 1, soon.
refused() {
	refused_name=$1
	word=$2
	shift 2
	sh "$top_srcdir/conf/quickstart" "$@" >"$W/refused" \
	    2>"$W/refused.err" </dev/null
	is "$refused_name: exit 1" $? 1
	is "$refused_name: one line" "$(wc -l <"$W/refused.err")" 1
	ok "$refused_name: $(cat "$W/refused.err")" \
	    grep -q -e "$word" "$W/refused.err"
}
# Processes whose command line has our directory's name.
left_running() {
	for p in /proc/[0-9]*; do
		cat "$p/cmdline" 2>/dev/null | tr '\0' ' ' |
		    grep -q -e "$D/" && echo "${p#/proc/}"
	done
}

STORE=$W/nix/store
port=$(free_port)
echo "first start, which builds"
quick first -d "$D" -p "$port" -S "$STORE"
quick_ready

# client.env
. "$D/client.env"
is "the cache's URL" "$TMPNIX_CACHE_URL" "http://127.0.0.1:$port/cache"
is "the derivations' URL" "$TMPNIX_DRV_URL" "http://127.0.0.1:$port/drv"
is "the netrc is secret" "$(stat -c %a "$TMPNIX_NETRC")" 600
is "the cache's key" "$TMPNIX_CACHE_PUBLIC_KEY" "$(cat "$D/keys/cache.pub")"
is "the derivations' key" "$TMPNIX_DRV_PUBLIC_KEY" "$(cat "$D/keys/drv.pub")"
ok "the configuration" grep -q "^store_dir = $STORE\$" "$TMPNIX_CONF"
is "nix-cache-info" "$(curl -q -s "$TMPNIX_CACHE_URL/nix-cache-info" |
    head -n 1)" "StoreDir: $STORE"
is "the derivations' nix-cache-info" \
    "$(status "$TMPNIX_DRV_URL/nix-cache-info")" 200
token=$(cat "$TMPNIX_NETRC")
ok "the programs say the configuration is right" \
    "$D/build/tmpnix-upload" -n -f "$TMPNIX_CONF"

# Exactly the lines it printed.
client_make "$W/nix"
sed -i '/^netrc-file/d;/^substituters/d' "$W/nix/conf/nix.conf"
echo 'substituters =' >>"$W/nix/conf/nix.conf"
sed -n 's/^    \([a-z-]* = \)/\1/p' "$quick_out" >>"$W/nix/conf/nix.conf"
ok "three lines for nix.conf" test "$(grep -c "$D\|$port" \
    "$W/nix/conf/nix.conf")" -ge 2
copy=$(sed -n 's/^    \(nix .*copy .*\)/\1/p' "$quick_out")
p=$(nx "$W/nix" nix-store --add /etc/passwd)
q=$(nx "$W/nix" nix-build --no-out-link -E "derivation { name = \"q\";
    system = builtins.currentSystem; builder = \"/bin/sh\";
    args = [ \"-c\" \"echo \${builtins.storePath $p} >\$out\" ]; }" 2>/dev/null)
ok "push by the printed line, as it is" nx "$W/nix" sh -c "$copy"
ok "what it pushes is there" sh -c 'p=$(echo "$1"/*-env) && p=${p##*/} &&
    curl -q -s -f "$2/${p%%-*}.narinfo"' - "$STORE" "$TMPNIX_CACHE_URL"
cp "$W/ok.out" "$W/info"
ok "it is zstd" grep -q '^Compression: zstd' "$W/info"
ok "and signed" grep -q '^Sig: ' "$W/info"
ok "push something else" nx "$W/nix" sh -c "${copy%\"*\"} $q"
is "what it printed is short" "$(sed -n '/^A binary cache/,$p' "$quick_out" |
    awk 'END { print (NR < 30) }')" 1
mv "$W/nix" "$W/nix.first"
mkdir -p "$W/nix/store"
cp -r "$W/nix.first/conf" "$W/nix/"
ok "pull with the printed nix.conf, signed" nx "$W/nix" nix-store -r "$q" \
    --option require-sigs true
ok "and it is the same" cmp "$p" "$W/nix.first/store/${p##*/}"

# A second one on the same directory, on the same port, nowhere to write.
refused "the same directory" "in use.*another directory (-d)" -d "$D" -p "$port"
refused "the same directory, -c" "in use.*another directory (-d)" -d "$D" \
    -c "$W/app"
refused "the same port" "port $port" -d "$W/q2" -p "$port"
mkdir "$W/file"
: >"$W/file/x"
refused "a directory that can't be" "can't write" -d "$W/file/x/y" -p "$port"
refused "spaces" "spaces" -d "$W/a b" -p "$port"
refused "another web server" "nginx or lighttpd" -d "$W/q3" -w apache
refused "a store directory that is relative" absolute -d "$W/q3" -S nix/store
refused "-u by itself" "-u is for -c" -d "$W/q3" -u https://x
refused "no port" port -d "$W/q3" -p 0
refused "no port either" port -d "$W/q3" -p http
is "an unknown option: exit" "$(sh "$top_srcdir/conf/quickstart" -X \
    >/dev/null 2>&1; echo $?)" 1
ok "-h" sh "$top_srcdir/conf/quickstart" -h
ok "--help" sh "$top_srcdir/conf/quickstart" --help
ok "  is the same" grep -q '^  -d DIR' "$W/ok.out"
refused "an unknown long option" "--port: no such option" --port 8080
is "none of them disturbed the first" \
    "$(status "$TMPNIX_CACHE_URL/nix-cache-info")" 200

# Stop; start again on another port: the same keys, token and paths.
quick_end TERM
is "SIGTERM: exit 0" "$rc" 0
is "nothing is left running" "$(left_running)" ''
ok "client.env is gone" test ! -e "$D/client.env"
refused "another store directory" "$STORE" -d "$D" -p "$port" -S /nix/store
port=$(free_port)
echo "second start, which does not"
quick second -d "$D" -p "$port" -S "$STORE"
quick_ready
key=$TMPNIX_CACHE_PUBLIC_KEY
. "$D/client.env"
is "another port" "$TMPNIX_CACHE_URL" "http://127.0.0.1:$port/cache"
is "the same key" "$TMPNIX_CACHE_PUBLIC_KEY" "$key"
is "the same token" "$(cat "$TMPNIX_NETRC")" "$token"
h=${q##*/}
is "what was pushed is there" \
    "$(status "$TMPNIX_CACHE_URL/${h%%-*}.narinfo")" 200
ok "the page has the new URL" sh -c 'curl -q -s "$1/" | grep -q "$2"' - \
    "$TMPNIX_CACHE_URL" ":$port"
ok "the token still pushes" nx "$W/nix" nix \
    --extra-experimental-features nix-command copy \
    --to "$TMPNIX_CACHE_URL?secret-key=$TMPNIX_CACHE_SECRET_KEY" \
    --refresh "$q"
quick_end INT
is "SIGINT: exit 0" "$rc" 0
is "nothing is left running" "$(left_running)" ''

# Killed as it is, it leaves the others running: the next start ends them.
quick killed -d "$D"
quick_ready
kill -9 "$quick_pid"
wait "$quick_pid" 2>/dev/null
rm "$D/client.env"
ok "kill -9 leaves $WEB" grep -q "^$WEB=" "$D/pids"
left=$(sed 's/.*=//' "$D/pids" | tr '\n' ' ')
quick again -d "$D"
other_pids="$other_pids $left"
quick_ready
. "$D/client.env"
ok "the next start says so" grep -q "^ending $WEB (pid" "$quick_out"
is "  and has its port" "$TMPNIX_CACHE_URL" "http://127.0.0.1:$port/cache"
is "  and answers" "$(status "$TMPNIX_CACHE_URL/nix-cache-info")" 200
quick_end INT
is "nothing is left running" "$(left_running)" ''

# A program that dies takes the others along, and says so.  Meanwhile reading is
# not for everybody: not what the web server could send by itself either.
until_true 60 test -e "$D/store/${h%%-*}.narinfo" || fail "it is stored"
echo "public_reads = no" >>"$D/tmpnix.conf"
quick third -d "$D"
quick_ready
. "$D/client.env"
is "public_reads = no: 401" \
    "$(status "$TMPNIX_CACHE_URL/${h%%-*}.narinfo")" 401
is "  200 with the token" "$(status --netrc-file "$TMPNIX_NETRC" \
    "$TMPNIX_CACHE_URL/${h%%-*}.narinfo")" 200
is "the port of the last start" "$TMPNIX_CACHE_URL" \
    "http://127.0.0.1:$port/cache"
for x in /proc/[0-9]*; do
	if cat "$x/cmdline" 2>/dev/null | tr '\0' ' ' |
	    grep -q "^$D/build/tmpnix-upload .*$D/"; then
		kill -9 "${x#/proc/}"
	fi
done
wait "$quick_pid"
is "a program killed: exit 1" $? 1
other_pids=''
ok "and says which" grep -q tmpnix-upload "$quick_out.err"
is "nothing is left running" "$(left_running)" ''

# A lost index is no new cache.  When it is meant, there is another token.
rm "$D"/index.db*
quick lost -d "$D"
until_true 240 not kill -0 "$quick_pid"
ok "a lost index: the ways out" grep -q 'index.db is new or empty.*--new-index' \
    "$quick_out" "$quick_out.err"
ok "a new one is meant" "$D/build/tmpnix" -f "$TMPNIX_CONF" init --new-index
quick meant -d "$D"
quick_ready
. "$D/client.env"
ok "after a lost index: another token" test "$(cat "$TMPNIX_NETRC")" != "$token"
is "  which is known" "$(status -X PUT -H 'Content-Length: 0' \
    --netrc-file "$TMPNIX_NETRC" "$TMPNIX_CACHE_URL/x")" 400
quick_end TERM

# For a container, of what is built already.  (65-container.sh starts one.)
ok "-c" sh "$top_srcdir/conf/quickstart" -w "$WEB" -d "$D" -c "$W/app" \
    -u https://cache.example.org
ok "says how to start it" grep -q "PORT=... $W/app/start.sh" "$W/ok.out"
for x in 'store_dir = /tmp/nix/store' 'url = https://cache.example.org' \
    'relay = write-through' "state_dir = $W/app/data"; do
	ok "it has $x" grep -q "^$x\$" "$W/app/etc/tmpnix.conf"
done
ok "its token is for there" grep -q '^machine cache.example.org ' \
    "$W/app/netrc"
keys=$(cat "$W/app/netrc" "$W/app/data/keys/cache.pub")
ok "-c again" sh "$top_srcdir/conf/quickstart" -w "$WEB" -d "$D" -c "$W/app"
is "keeps token and keys" "$keys" \
    "$(cat "$W/app/netrc" "$W/app/data/keys/cache.pub")"

# apt fails: its reason is shown.
if [ "$(id -u)" = 0 ]; then
	mkdir "$W/bin"
	cat >"$W/bin/dpkg-query" <<'EOT'
#!/bin/sh
case $* in
*libfcgi-dev) echo not-installed ;;
*) echo installed ;;
esac
EOT
	cat >"$W/bin/apt-get" <<'EOT'
#!/bin/sh
echo "E: The mirror has burnt down"
exit 100
EOT
	chmod +x "$W/bin/dpkg-query" "$W/bin/apt-get"
	ok "apt fails" not env PATH="$W/bin:$PATH" \
	    sh "$top_srcdir/conf/quickstart" -d "$D" -w "$WEB"
	cp "$W/ok.out" "$W/said"
	ok "  and says why" grep -q '^E: The mirror' "$W/said"
	ok "  and what it was about" grep -q \
	    'could not install libfcgi-dev: see' "$W/said"
fi

# On a terminal it shows how far apt and make are.
cat >"$W/count" <<'EOT'
. "$1/conf/packages.sh"
echo step >"$2.log"
working "  made" 3 "$2.log" '^step'
echo step >>"$2.log"
n=0
until grep -q 'made 1 of 3' "$2" || [ $n = 100 ]; do
	n=$((n + 1))
	sleep 0.1
done
worked
EOT
script -qfec "sh $W/count $top_srcdir $W/typescript" "$W/typescript" >"$W/tty" \
    </dev/null
ok "a counter on a terminal" grep -q 'made 1 of 3' "$W/tty"

# A long directory's sockets.
rm -rf "$W/q2"
D=$W/$(head -c 90 /dev/zero | tr '\0' d)
mkdir "$D"
mv "$W/q/build" "$D/build"
rm "$D/build/config.status"
quick long -d "$D" -p "$port" -S /tmp/nix/store
quick_ready
. "$D/client.env"
is "a directory with a long name" \
    "$(curl -q -s "$TMPNIX_CACHE_URL/nix-cache-info" | head -n 1)" \
    "StoreDir: /tmp/nix/store"
quick_end TERM
is "exit 0" "$rc" 0
is "nothing is left running" "$(left_running)" ''
is "no directory of sockets is left" \
    "$(sed -n 's|.*unix:\(/tmp/tmpnix\.[^/]*\)/.*|\1|p' \
    "$D/$WEB"/*.conf | while read -r x; do
	[ ! -e "$x" ] || echo "$x"; done)" ''

e2e_end
