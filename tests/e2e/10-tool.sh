#!/bin/sh
# The tmpnix command: init twice, keys as real Nix takes them, tokens, status,
# -n, permissions, exit statuses.  Needs top_builddir.
set -u

tool=${top_builddir:?}/tmpnix
dir=$(mktemp -d) || exit 1
trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
failed=0
umask 022
LC_ALL=C
export LC_ALL

fail() {
	echo "FAIL: $*"
	sed 's/^/    out: /' "$dir/out"
	sed 's/^/    err: /' "$dir/err"
	failed=1
}

# run STATUS ARGUMENT...: the command must exit so; $dir/out, $dir/err.
run() {
	want=$1
	shift
	"$tool" -f "$conf" "$@" >"$dir/out" 2>"$dir/err" </dev/null
	got=$?
	[ $got -eq "$want" ] || fail "tmpnix $*: exit $got, not $want"
}
# Errors are one line that begins with the command's name.
says() {
	[ "$(wc -l <"$dir/err")" -eq 1 ] || fail "not one line for: $1"
	case $(cat "$dir/err") in
	"tmpnix: "*"$1"*) ;;
	*) fail "stderr does not say: $1" ;;
	esac
}
outputs() {
	grep -qF -- "$1" "$dir/out" || fail "stdout does not have: $1"
}
mode() {
	[ "$(stat -c %a "$2")" = "$1" ] || fail "$2 is $(stat -c %a "$2"), not $1"
}
snapshot() {
	# SQLite's files come and go: the index and times of directories don't
	# count.
	find "$dir/etc" "$state" ! -name 'index.db*' \
	    \( -type d -printf '%p %m %i\n' -o -printf '%p %m %i %T@\n' \) |
		sort
}

conf=$dir/etc/a/tmpnix.conf
state=$dir/var/lib/state

# --- without a configuration --------------------------------------------
run 1 status
says "make it by tmpnix init"
run 1 -n
says "$conf: no such file"
run 2
run 2 nonsense
says "no such command"
run 2 token
run 2 token nonsense
run 2 --nonsense
run 0 --help
outputs "token revoke"
run 0 --version
grep -Eq '^tmpnix [0-9.]+' "$dir/out" || fail "--version"
run 0 help
run 0 help token add
outputs "--expires"
run 2 help nonsense
for c in init "key generate" "token add" "token list" "token revoke" client-conf status; do
	# shellcheck disable=SC2086 # two words are meant
	run 0 $c --help
	outputs "usage: tmpnix [-f FILE] $c"
done

# --- init: bad options leave nothing behind -----------------------------
while IFS='|' read -r opt value what; do
	run 2 init "$opt" "$value"
	says "$what"
done <<E
-d|relative|must be an absolute path
-d|/a//b|must be an absolute path
-d|/a #b|can't stand in a configuration
-d| /a|can't stand in a configuration
-S|/nix/store/|must be an absolute path
-u|ftp://x|must be http://HOST
-u|http://x/|must be http://HOST
-b|x|or none
E
run 2 init -d "$state
url = http://evil"
says "can't stand in a configuration"
run 2 init surplus
run 2 init --bogus
for d in etc var; do
	[ ! -e "$dir/$d" ] || fail "a refused init made $d"
done
: >"$dir/file"
run 1 init -d "$dir/file/x"
says "Not a directory"
[ ! -e "$conf" ] || fail "a failed init left a configuration"

# --- init, then again ---------------------------------------------------
# A strange umask must not matter.
(umask 077 && "$tool" -f "$conf" init -d "$state" -S /tmp/nix/store \
    -u https://cache.example.org:8443 >"$dir/out" 2>"$dir/err") ||
    fail "init"
[ -s "$dir/err" ] && fail "init wrote to stderr"
outputs "made $state/index.db"
outputs "made $conf"
while read -r m name; do
	mode "$m" "$state$name"
done <<E
755
755 /spool
755 /spool/ready
755 /drvs
700 /keys
600 /keys/cache.sec
644 /keys/cache.pub
600 /keys/drv.sec
644 /keys/drv.pub
E
mode 755 "$dir/var"
mode 644 "$conf"
[ -d "$state/spool/incoming" ] || fail "no spool/incoming"
for line in "state_dir = $state" "store_dir = /tmp/nix/store" \
    "url = https://cache.example.org:8443" "#body_dir = none" \
    "#secret_key_file = keys/cache.sec" \
    "#public_key_file = keys/cache.pub"; do
	grep -qxF "$line" "$conf" || fail "$conf lacks: $line"
done
grep -q '^cache.example.org-1:' "$state/keys/cache.pub" || fail "cache's name"
grep -q '^cache.example.org-drv-1:' "$state/keys/drv.pub" || fail "drv's name"
if [ "$(id -u)" = 0 ]; then
	run 1 -n
	grep -q "belongs to root.*set user = root" "$dir/err" ||
	    fail "-n: root without user"
	echo "user = root" >>"$conf"
fi
run 0 -n
outputs "the configuration is good"

before=$(snapshot)
run 0 init
outputs "nothing to do"
outputs "kept $conf"
grep -q '^made' "$dir/out" && fail "init twice made something"
run 0 init -d "$state" -S /tmp/nix/store -u https://cache.example.org:8443 \
    -b none
run 1 init -u http://other
says "$conf has url = https://cache.example.org:8443"
run 1 init -b /body
says "init -b /body"
run 1 init -d "$dir/elsewhere"
[ ! -e "$dir/elsewhere" ] || fail "a contradicting init made a directory"
[ "$before" = "$(snapshot)" ] || fail "a second init changed something"

# What was lost is made again, what was there is kept.
cp "$state/keys/cache.pub" "$dir/cache.pub"
rm -r "$state/keys/cache.pub" "$state/keys/drv.sec" "$state/keys/drv.pub"
run 0 init
outputs "made $state/keys/cache.pub"
outputs "made $state/keys/drv.sec"
cmp -s "$dir/cache.pub" "$state/keys/cache.pub" || fail "another public key"
# A public key without its secret is never overwritten.
mv "$state/keys/drv.sec" "$dir/drv.sec"
run 1 init
says "drv.pub: is there already"
[ ! -e "$state/keys/drv.sec" ] || fail "a secret key was left behind"
mv "$dir/drv.sec" "$state/keys/drv.sec"

# A configuration that was written by hand is used as it is.
echo "state_dir = $dir/by-hand" >"$dir/by-hand.conf"
conf=$dir/by-hand.conf
run 0 init
outputs "kept $conf"
outputs "made $dir/by-hand/index.db"
# It has the tokens' digests: nobody else's business, at umask 022 too.
mode 600 "$dir/by-hand/index.db"
[ ! -s "$dir/err" ] || fail "the defaults want no hint: $(cat "$dir/err")"
[ "$(cat "$conf")" = "state_dir = $dir/by-hand" ] || fail "init changed $conf"
printf 'secret_key_file = none\npublic_key_file = none\n' >>"$conf"
run 0 init
for hint in 'Nothing is signed here' 'set public_key_file = keys/cache.pub'; do
	grep -qF "$hint" "$dir/err" || fail "no hint: $hint"
done
conf=$dir/etc/a/tmpnix.conf

# --- hosts --------------------------------------------------------------
# The key's name and the netrc's machine, from the URL.
n=0
while read -r url key host warned; do
	n=$((n + 1))
	conf=$dir/hosts/$n.conf
	run 0 init -d "$dir/hosts/$n" -u "$url"
	grep -q "^$key:" "$dir/hosts/$n/keys/cache.pub" || fail "$url: key name"
	run 0 token add t
	outputs "machine $host login t password "
	# A token that will be sent in the clear over a network.
	[ "$(grep -c 'is not https' "$dir/err")" = "$warned" ] ||
	    fail "$url: is it warned of?"
done <<E
http://127.0.0.1:8080 127.0.0.1-1 127.0.0.1 0
http://localhost localhost-1 localhost 0
http://[::1]:80 --1-1 ::1 0
http://192.0.2.1 192.0.2.1-1 192.0.2.1 1
http://cache.example.org cache.example.org-1 cache.example.org 1
https://cache.example.org cache.example.org-1 cache.example.org 0
E
conf=$dir/etc/a/tmpnix.conf

run 2 token add x --pusch
grep -q "^tmpnix token add: unrecognized option '--pusch'" "$dir/err" ||
    fail "not by the command's name: $(cat "$dir/err")"
run 2 log --since yesterday
says 'log --since: must be a time such as 2d, 12h or 30m ago, not "yesterday"'
run 2 log -n many
says 'log --lines: must be a number, not "many"'
run 1 log --token nobody
says "log --token: there is no token nobody"

# --- key ----------------------------------------------------------------
run 0 key generate k-1
cmp -s "$dir/out" "$state/keys/k-1.pub" || fail "the printed key is another"
mode 600 "$state/keys/k-1.sec"
mode 644 "$state/keys/k-1.pub"
run 1 key generate k-1
says "is a key called k-1"
mkdir "$dir/keys"
run 0 key generate k-2 -o "$dir/keys"
[ -f "$dir/keys/k-2.sec" ] || fail "no k-2.sec"
run 1 key generate k-3 -o "$dir/missing"
says "No such file or directory"
# The public half taken: no secret half is left.
: >"$dir/keys/k-4.pub"
run 1 key generate k-4 -o "$dir/keys"
[ ! -e "$dir/keys/k-4.sec" ] || fail "k-4.sec was left"
for name in "" "a/b" "a:b" "a b" ../x; do
	run 2 key generate "$name" -o "$dir/keys"
done
run 2 key generate
run 2 key generate a b

# No two keys of one name: clients know them by it.
name=$(cut -d : -f 1 "$state/keys/cache.pub")
run 1 key generate "$name"
says "$state/keys/cache."
says "is a key called $name: clients would take one for the other"
[ ! -e "$state/keys/$name.sec" ] || fail "a second key called $name"
run 0 key generate k-5 -o "$dir/keys"
mv "$dir/keys/k-5.sec" "$dir/keys/renamed.sec"
rm "$dir/keys/k-5.pub"
run 1 key generate k-5 -o "$dir/keys"
says "renamed.sec is a key called k-5"

# Real Nix signs with the key, and knows it from another one.
if command -v nix >/dev/null; then
	export NIX_STORE_DIR="$dir/nix/store" NIX_STATE_DIR="$dir/nix/var" \
	    NIX_LOG_DIR="$dir/nix/log" NIX_CONF_DIR="$dir/nix/conf" \
	    HOME="$dir/nix/home" XDG_CACHE_HOME="$dir/nix/cache" NIX_REMOTE=
	mkdir -p "$NIX_CONF_DIR" "$HOME"
	cat >"$NIX_CONF_DIR/nix.conf" <<-'E'
	sandbox = false
	build-users-group =
	experimental-features = nix-command
	substituters =
	E
	cat >"$dir/t.nix" <<-'E'
	derivation {
	  name = "t"; system = builtins.currentSystem; builder = "/bin/sh";
	  args = [ "-c" "echo hi > $out" ];
	}
	E
	path=$(nix-build --no-out-link "$dir/t.nix" 2>"$dir/err") ||
		fail "nix-build"
	nix store sign --key-file "$state/keys/cache.sec" "$path" \
	    2>"$dir/err" || fail "nix can't sign with the key"
	nix copy --to "file://$dir/nix/bc" "$path" 2>"$dir/err" ||
		fail "nix copy"
	# A binary cache's path is trusted for its signature only.
	nix_verify() {
		nix store verify --store "file://$dir/nix/bc" --option \
		    trusted-public-keys "$(cat "$1")" "$path" 2>"$dir/err"
	}
	nix_verify "$state/keys/cache.pub" || fail "nix does not verify"
	nix_verify "$state/keys/k-1.pub" && fail "nix verifies by another key"
	[ "$(nix key convert-secret-to-public <"$state/keys/k-1.sec")" = \
	    "$(cat "$state/keys/k-1.pub")" ] || fail "nix: another public key"
else
	echo "SKIP: nix is missing"
fi

# --- token --------------------------------------------------------------
run 0 token add ci
[ "$(wc -l <"$dir/out")" -eq 1 ] || fail "token add: not one line"
grep -Eqx 'machine cache\.example\.org login ci password tmpnix_[0-9A-Za-z_-]{43}' \
    "$dir/out" || fail "token add: not a netrc line"
secret=$(sed 's/.* //' "$dir/out")
cat "$state"/index.db* >"$dir/db"
grep -qaF "$secret" "$dir/db" && fail "the secret is in the index"
grep -qaF "${secret#tmpnix_}" "$dir/err" && fail "the secret is on stderr"
run 1 token add ci
says "tmpnix token revoke ci"
[ -s "$dir/out" ] && fail "a taken name printed something"
run 0 token add --drv --admin d.a_-1
run 0 token add "$(printf %064d 0)" --push --expires 90d
run 0 token add brief --pull --expires 1s
for bad in 0 0d -1 1y "" "1 d" 1.5d d 36526d 99999999999999999999; do
	run 2 token add bad --expires "$bad"
	says "must be a time such as 90d"
done
for bad in "" "a b" a:b a/b "$(printf %065d 0)" é; do
	run 2 token add "$bad"
	says "can't name a token"
done
run 2 token add
run 2 token add a b
run 2 token add x --bogus
# Nobody can see the line: no token.
"$tool" -f "$conf" token add lost >/dev/full 2>"$dir/err"
[ $? -eq 1 ] || fail "token add on a full device"
run 1 token revoke lost
says "there is no token lost"

sleep 1.1
run 0 token list
[ "$(wc -l <"$dir/out")" -eq 5 ] || fail "token list: not 5 lines"
t='[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z'
while read -r re; do
	grep -Eqx "$re" "$dir/out" || fail "token list lacks $re"
done <<E
NAME +SCOPES +CREATED +EXPIRES +LAST-USED
ci +push,pull +$t +never +never
d\.a_-1 +drv,admin +$t +never +never
0{64} +push +$t +$t +never
brief +pull +$t +$t +never +\(expired\)
E
# Every column begins where its heading does.
at=$(awk 'NR == 1 { print index($0, "CREATED") }' "$dir/out")
awk -v at="$at" 'NR > 1 && substr($0, at - 1, 3) !~ /^ 2[0-9]/ { exit 1 }' \
    "$dir/out" || fail "token list is not aligned"
want=$(date -u -d '+90 days' +%Y-%m-%dT%H)
was=$(date -u -d '+90 days -1 minute' +%Y-%m-%dT%H)
grep -Eq "^0{64}.*Z +($want|$was)" "$dir/out" || fail "90d is not 90 days"
run 0 token revoke ci
[ -s "$dir/out" ] && fail "token revoke printed something"
run 1 token revoke ci
says "there is no token ci"
run 2 token revoke
run 0 token add ci
run 2 token list surplus

# --- status -------------------------------------------------------------
run 0 status --local
outputs main
grep -Eq '^ +paths +0 ' "$dir/out" || fail "status: paths"
grep -Eq '^ +failed +0 ' "$dir/out" || fail "status: failed"
grep -q '^ *free  *[0-9]' "$dir/out" || fail "status: free"
grep -q drv "$dir/out" && fail "status shows an empty drv"
run 0 status --local --json
if command -v python3 >/dev/null; then
	python3 - "$dir/out" "$state" 2>"$dir/err" <<-'E' || fail "status --json"
	import json, sys
	j = json.load(open(sys.argv[1]))
	assert j["state_dir"] == sys.argv[2], j
	assert j["failed"] is False and j["free_bytes"] > 0, j
	assert j["spool_min_free_bytes"] == 256 << 20, j
	assert list(j["caches"]) == ["main"], j
	m = j["caches"]["main"]
	assert m["paths"] == 0 and m["last_error"] is None, m
	assert sorted(m["assets"]) == \
	    ["failed", "relaying", "spooled", "stored"], m
	E
fi
run 1 status
outputs '  tmpnix-cache '
outputs 'a person should look'
run 2 status --bogus
"$tool" -f "$conf" status --local >/dev/full 2>"$dir/err"
[ $? -eq 1 ] || fail "status on a full device"
says "No space left on device"

# A failed object of each cache, with an error text that wants escaping.
if command -v sqlite3 >/dev/null; then
	ages=$(($(date +%s) - 7200))
	sqlite3 "$state/index.db" "
	    INSERT INTO asset (cache, key, state, size, sha256, content_type,
	        attempts, last_error, created) VALUES
	    ('main', 'nar/x', 'failed', 2048, zeroblob(32), 'a/b', 3,
	        'a \"b\" \\ ' || char(10, 27, 233), $ages),
	    ('drv', 'nar/y', 'spooled', 5, zeroblob(32), 'a/b', 0, NULL, $ages);" \
	    >"$dir/err" 2>&1 || fail "sqlite3"
	run 1 status --local
	grep -Eq '^ +failed +1  2\.0 KiB' "$dir/out" || fail "status: failed"
	grep -Eq 'oldest not stored: 2 h 0 min' "$dir/out" || fail "status: age"
	outputs 'last error: nar/x: a "b" \ ????'
	outputs drv
	run 1 status --local --json
	python3 - "$dir/out" 2>"$dir/err" <<-'E' || fail "status --json escapes"
	import json, sys
	j = json.load(open(sys.argv[1]))
	m = j["caches"]["main"]
	assert j["failed"] is True, j
	assert m["assets"]["failed"] == {"count": 1, "bytes": 2048}, m
	assert m["last_error"]["key"] == "nar/x", m
	assert m["last_error"]["message"] == 'a "b" \\ \n\x1b\ufffd\ufffd', m
	assert 7200 <= m["oldest_not_stored_seconds"] < 7300, m
	assert j["caches"]["drv"]["assets"]["spooled"]["bytes"] == 5, j
	E
else
	echo "SKIP: sqlite3 is missing"
fi

# --- broken configurations ----------------------------------------------
cat >"$dir/broken.conf" <<E
threads = 0
bogus = 1
E
"$tool" -n -f "$dir/broken.conf" >"$dir/out" 2>"$dir/err"
[ $? -eq 1 ] || fail "-n takes a broken configuration"
grep -q "^tmpnix: $dir/broken.conf:1: threads must be a number" "$dir/err" ||
    fail "-n: line 1"
grep -q "^tmpnix: $dir/broken.conf:2: unknown key" "$dir/err" || fail "-n: line 2"
for c in "token list" "token revoke x" "token add x" status init \
    "key generate x"; do
	# shellcheck disable=SC2086 # two words are meant
	"$tool" -f "$dir/broken.conf" $c >"$dir/out" 2>"$dir/err"
	[ $? -eq 1 ] || fail "$c with a broken configuration"
done
# A state_dir that was never made is not made by the way.
echo "state_dir = $dir/typo" >"$dir/typo.conf"
conf=$dir/typo.conf
for c in "token list" "token add x" status; do
	# shellcheck disable=SC2086 # two words are meant
	run 1 $c
	says "run tmpnix init"
done
run 1 key generate x
says "run tmpnix init"
[ ! -e "$dir/typo" ] || fail "state_dir was made"

run 0 -n
grep -q "state_dir $dir/typo is not there yet: run tmpnix init" "$dir/err" ||
    fail "-n: no state_dir"

# --- what the programs would refuse ---------------------------------------
# unfit LINE WORDS [PROGRAM...]: with this line in tmpnix.conf -n of the command
# and of these programs exits 1 and has one line with the words.
unfit() {
	sed "/^${1%% *} =/d" "$dir/etc/a/tmpnix.conf" >"$dir/unfit.conf"
	printf '%s\n' "$1" >>"$dir/unfit.conf"
	unfit_words=$2
	unfit_line=$1
	shift 2
	for p in tmpnix "$@"; do
		"${tool%/*}/$p" -n -f "$dir/unfit.conf" >"$dir/out" 2>"$dir/err"
		[ $? -eq 1 ] || fail "$p -n: exit 0 with $unfit_line"
		grep -q "$unfit_words" "$dir/err" ||
		    fail "$p -n does not say: $unfit_words"
		[ "$(wc -l <"$dir/err")" -eq 1 ] ||
		    fail "$p -n: not one line with $unfit_line"
	done
}
for p in cache upload drv; do
	"$tool-$p" -n -f "$dir/etc/a/tmpnix.conf" >"$dir/out" 2>"$dir/err" ||
	    fail "tmpnix-$p -n refuses what is good"
	"$tool-$p" -n -f "$dir/typo.conf" >"$dir/out" 2>"$dir/err" &&
	    fail "tmpnix-$p -n: no state_dir"
done
(umask 077 && printf '%s = x\n' aws_access_key_id aws_secret_access_key \
    >"$dir/s3")
cp "$dir/s3" "$dir/s3-open"
chmod 644 "$dir/s3-open"
unfit "s3_credentials_file = $dir/s3-open
asset_store = s3
s3_bucket = b" "$dir/s3-open: .*chmod 600 $dir/s3-open" \
    tmpnix-cache tmpnix-upload
unfit "s3_credentials_file = $dir/none
asset_store = s3
s3_bucket = b" "s3_credentials_file: $dir/none: No such file" tmpnix-cache
cp "$dir/s3" "$dir/s3-odd"
echo >"$dir/s3-odd"
unfit "s3_credentials_file = $dir/s3-odd
asset_store = s3
s3_bucket = b" "$dir/s3-odd: it needs the lines" tmpnix-upload
unfit "asset_store = glitch
glitch_project = p
glitch_token_file = $dir/s3-open" "$dir/s3-open: .*chmod 600" tmpnix-upload
unfit "asset_store = s3
s3_bucket = b
s3_credentials_file = $dir/s3
tls_ca_file = $dir/none" "tls_ca_file $dir/none: .*No such file" tmpnix-upload
cp "$state/keys/cache.sec" "$dir/open.sec"
chmod 640 "$dir/open.sec"
unfit "secret_key_file = $dir/open.sec" \
    "$dir/open.sec: .*chmod 600 $dir/open.sec" tmpnix-upload
unfit "secret_key_file = $dir/s3" "$dir/s3: is not a secret key" tmpnix-upload
unfit "secret_key_file = keys/cache.sec
verify = file" "needs verify = nar" tmpnix-upload
unfit "body_dir = $dir/none" "body_dir $dir/none: make it.*No such file" \
    tmpnix-upload
# Below the state directory nginx makes it, when it starts.
sed '/^body_dir =/d' "$dir/etc/a/tmpnix.conf" >"$dir/fit.conf"
echo "body_dir = $state/body" >>"$dir/fit.conf"
for p in tmpnix tmpnix-upload; do
	"${tool%/*}/$p" -n -f "$dir/fit.conf" >"$dir/out" 2>"$dir/err" ||
	    fail "$p -n: a body_dir that nginx makes: $(cat "$dir/err")"
done
unfit "file.x = $dir
nix_bin_dir = $dir" "nix_bin_dir = $dir: .*are needed" tmpnix-drv
unfit "file.x = $dir
drv_secret_key_file = $dir/open.sec" "$dir/open.sec: .*chmod 600" tmpnix-drv
unfit "file.x = $dir/none" "file.x $dir/none: .*No such file" tmpnix-drv
if command -v sqlite3 >/dev/null; then
	for c in main drv; do
		sqlite3 "$state/index.db" "INSERT OR REPLACE INTO meta
		    VALUES ('store_dir.$c', '/tmp/nix/store')"
	done
	unfit "store_dir = /nix/store
drv_store_dir = /tmp/nix/store" \
	    "store_dir is /nix/store, but .* of /tmp/nix/store" tmpnix-upload
	unfit "drv_store_dir = /nix/store" \
	    "drv_store_dir is /nix/store, but .* of /tmp/nix/store" tmpnix-drv
	# An index of another version is left as it is.
	v=$(sqlite3 "$state/index.db" 'PRAGMA user_version')
	sqlite3 "$state/index.db" "PRAGMA user_version = $((v - 1))"
	"$tool" -n -f "$dir/etc/a/tmpnix.conf" >"$dir/out" 2>"$dir/err" ||
	    fail "-n: an older index"
	[ "$(sqlite3 "$state/index.db" 'PRAGMA user_version')" = $((v - 1)) ] ||
	    fail "-n has converted the index"
	sqlite3 "$state/index.db" "PRAGMA user_version = $v"
else
	echo "SKIP: sqlite3 is missing"
fi
if [ "$(id -u)" = 0 ]; then
	unfit "user = none" "set user" tmpnix-cache tmpnix-upload tmpnix-drv
	unfit "user = no-such-user" "no such user" tmpnix-cache
	# As that user, who owns nothing here.
	chmod 755 "$dir" "$dir/var" "$dir/var/lib" "$dir/etc" "$dir/etc/a"
	unfit "user = nobody" "state_dir $state: belongs to user 0" tmpnix-cache
	cp "$dir/s3" "$dir/s3-other"
	chown daemon "$dir/s3-other"
	unfit "asset_store = s3
s3_bucket = b
s3_credentials_file = $dir/s3-other" "$dir/s3-other: it belongs to user" \
	    tmpnix-cache tmpnix-upload
fi

# --- the environment -------------------------------------------------------
conf=$dir/etc/a/tmpnix.conf
TMPNIX_CONF=$conf "$tool" token list >"$dir/out" 2>"$dir/err" ||
    fail "TMPNIX_CONF: $(cat "$dir/err")"
TMPNIX_CONF=$dir/none "$tool" -f "$conf" token list >/dev/null 2>"$dir/err" ||
    fail "-f is stronger than TMPNIX_CONF"
TMPNIX_CONF=$dir/none "$tool" token list >/dev/null 2>"$dir/err"
says "$dir/none: no such file"

[ $failed -eq 0 ] || exit 1
echo "10-tool: all good"
