#!/bin/sh
# SIGHUP: the programs take a new tmpnix.conf while they serve, as far as they
# can, say what they can't, and go on with the old one when it is wrong.
# shellcheck disable=SC1091,SC2015,SC2016,SC2034,SC2154
. "$(dirname "$0")/lib.sh"

STORE=/nix/store
site_make $STORE stream
# (What is beside it can be read in the sandbox, too.)
mkdir "$W/etc"
mv "$CONF" "$W/etc/tmpnix.conf"
CONF=$W/etc/tmpnix.conf
mkdir "$W/exprs"
cp -r "$top_srcdir/tests/packages/." "$W/exprs"
echo "file.tests = $W/exprs" >>"$CONF"
conf_set drv_store_dir "$W/nix/store"
conf_set trusted_proxies none
site_start

# answered PROGRAM N: it has answered N SIGHUPs by now.
answered() {
	[ "$(grep -c 'configuration reloaded\|: not reloaded' \
	    "$W/log/$1.log")" -ge "$2" ]
}
# hup PROGRAM...: and wait until they have done it; $W/said is what the last one
# of them said.
hup() {
	for p in "$@"; do
		hup_n=$(grep -c 'configuration reloaded\|: not reloaded' \
		    "$W/log/$p.log")
		hup_lines=$(wc -l <"$W/log/$p.log")
		eval "kill -HUP \$${p}_pid"
		until_true 20 answered "$p" $((hup_n + 1)) ||
		    fail "tmpnix-$p answers SIGHUP"
		tail -n +$((hup_lines + 1)) "$W/log/$p.log" >"$W/said"
	done
}
# says WORDS
says() {
	ok "it says $1" grep -q -e "$1" "$W/said" || cat "$W/said"
}
pids="$cache_pid $upload_pid $drv_pid"

hup cache upload drv
says 'configuration reloaded: no key has changed'

# What can change ------------------------------------------------------------
path_make small "small"
small=$nar small_key=$key small_info=$info small_hash=$hash
path_make large "$(head -c 30000 /dev/urandom | base64)"
conf_set max_upload_size 20K
hup upload
says 'configuration reloaded: max_upload_size$'
put "$key" "$nar"
is "max_upload_size: over the new limit" "$code" 413
put "$small_key" "$small"
is "below it" "$code" 201
conf_set max_upload_size 16G
conf_set max_nar_size 20K
hup upload
put "$key" "$nar"
is "a large NAR" "$code" 201
put "$hash.narinfo" "$info"
is "max_nar_size: its narinfo" "$code" 413
ok "is refused with it" grep -q 'max_nar_size\|too large' "$W/body"

nix-store --generate-binary-cache-key their-1 "$W/their.sec" "$W/their.pub"
conf_set require_signature yes
conf_set trusted_public_keys "$(cat "$W/their.pub")"
hup upload
says 'reloaded: require_signature, trusted_public_keys$'
put "$small_hash.narinfo" "$small_info"
is "require_signature: a path without one" "$code" 400
conf_set require_signature no
hup upload
put "$small_hash.narinfo" "$small_info"
is "taken when it is not asked for" "$code" 201

# The server's own key; of another name, moved over the old one.
nix-store --generate-binary-cache-key ours-2 "$W/new.sec" "$W/new.pub"
signed_by() {
	curl -q -s "$U/cache/$1.narinfo" | grep -q "^Sig: $2:"
}
path_make key-a "signed by the first key"
put "$key" "$nar"
put "$hash.narinfo" "$info"
ok "signed by the key of init" not signed_by "$hash" ours-2
chmod 600 "$W/new.sec"
mv "$W/new.sec" "$S/keys/cache.sec"
mv "$W/new.pub" "$S/keys/cache.pub"
hup cache upload
path_make key-b "signed by the second key"
put "$key" "$nar"
put "$hash.narinfo" "$info"
ok "the file of a secret key replaced: the new one signs" \
    signed_by "$hash" ours-2
ok "and people are shown its public half" \
    sh -c 'curl -q -s "$1/cache/" | grep -q ours-2:' - "$U"
chmod 644 "$S/keys/cache.sec"
hup upload
says 'secret_key_file.*cache.sec: .*chmod 600'
says "$CONF: not reloaded, see above: the old configuration stays in force"
path_make key-c "signed by the second key still"
put "$key" "$nar"
put "$hash.narinfo" "$info"
ok "a key that others can read: the old one signs" signed_by "$hash" ours-2
chmod 600 "$S/keys/cache.sec"
# The sandbox was made for the files of the start.
if ! grep -q 'no sandbox' "$W"/log/*.log; then
	mkdir "$W/elsewhere"
	cp "$S/keys/cache.sec" "$W/elsewhere/other.sec"
	chmod 600 "$W/elsewhere/other.sec"
	conf_set secret_key_file "$W/elsewhere/other.sec"
	hup upload
	says 'elsewhere/other.sec: Permission denied'
	says ': not reloaded'
	conf_set secret_key_file keys/cache.sec
fi

conf_set priority 77
conf_set want_mass_query no
hup cache drv upload
says 'reloaded: want_mass_query, priority$'
is "priority" "$(curl -q -s "$U/cache/nix-cache-info" |
    sed -n 's/^Priority: //p')" 77
is "the derivations' too" "$(curl -q -s "$U/drv/nix-cache-info" |
    sed -n 's/^Priority: //p')" 77
in_store() {
	grep -q '^Priority: 77' "$S/store/nix-cache-info"
}
ok "and in the store" until_true 20 in_store
is "StoreDir of the derivations is theirs" "$(curl -q -s \
    "$U/drv/nix-cache-info" | sed -n 's/^StoreDir: //p')" "$W/nix/store"

pushed_from() {
	path_make "from-$1" "pushed through a proxy, $1"
	put "$key" "$nar" -H 'X-Forwarded-For: 192.0.2.7'
	tmpnix log -n 1 | grep -q "$2"
}
ok "no proxy is trusted" pushed_from nobody ' 127.0.0.1 '
conf_set trusted_proxies 127.0.0.1
hup upload
ok "trusted_proxies" pushed_from proxy ' 192.0.2.7 '

conf_set log_level debug
hup upload
path_make debug "with debug lines"
put "$key" "$nar"
debug_line() {
	grep -q "relay $key: stored" "$W/log/upload.log"
}
ok "log_level" until_true 20 debug_line
conf_set log_level info

# A file to instantiate, beside the one that was there.
instantiate() {
	req -u ":$SECRET" -X PUT "$U/drv/instantiate?file=$1&attr=top"
}
instantiate more
is "no such file yet" "$code" 404
echo "file.more = $W/exprs" >>"$CONF"
hup drv
says 'reloaded: .*file$'
instantiate more
is "a line file.NAME more" "$code" 200 || cat "$W/body"

# What can't -----------------------------------------------------------------
conf_set threads 33
conf_set public_reads no
hup cache
says "threads: changed in $CONF: needs a restart"
says "public_reads: changed in $CONF: needs a restart"
is "public_reads is what it was" "$(status "$U/cache/nix-cache-info")" 200
conf_set threads 32
conf_set public_reads yes

# A mistake: nothing of that file is taken.
cp "$CONF" "$W/good.conf"
conf_set priority 5
echo "mistake = yes" >>"$CONF"
hup cache
says "$CONF:[0-9]*: unknown key \"mistake\""
says "$CONF: not reloaded, see above: the old configuration stays in force"
is "a mistake: the old configuration" "$(curl -q -s \
    "$U/cache/nix-cache-info" | sed -n 's/^Priority: //p')" 77
rm "$CONF"
hup cache
says "$CONF: No such file"
is "no file: the old configuration" "$(curl -q -s \
    "$U/cache/nix-cache-info" | sed -n 's/^Priority: //p')" 77
cp "$W/good.conf" "$CONF"

# Requests under way ---------------------------------------------------------
# One that has begun is served by what was in force then.
head -c 9000000 /dev/urandom >"$W/body9"
k=$(nar_key "$W/body9" .xz)
incoming() {
	[ -n "$(find "$S/spool/incoming" -type f -size +1000k)" ]
}
raw_start 'open(F, "<", "'"$W/body9"'"); read(F, $b, 4500000);
    print $s "PUT /cache/'"$k"' HTTP/1.1\r\n", $host, $auth,
    "Content-Length: 9000000\r\n\r\n", $b; $s->flush;
    sleep 0.1 until -e "'"$W/go"'"; read(F, $b, 4500000); print $s $b;
    $s->flush; while (<$s>) { print; last if /^\r/ }'
ok "half a body" until_true 30 incoming
conf_set max_upload_size 1M
hup upload
: >"$W/go"
wait "$raw_pid"
ok "an upload under way is not held to a new limit" \
    grep -q '^HTTP/1.1 201' "$W/raw"
conf_set max_upload_size 16G
hup upload

# Many reloads while many ask: no request is disturbed.
: >"$W/load.on"
asked=
for i in 1 2 3 4; do
	while [ -e "$W/load.on" ]; do
		status "$U/cache/nix-cache-info"
		echo
		status -u ":$SECRET" -T "$small_info" \
		    "$U/cache/$small_hash.narinfo"
		echo
	done >"$W/load.$i" &
	asked="$asked $!"
done
for i in $(seq 40); do
	conf_set priority "$i"
	conf_set trusted_public_keys \
	    "$(sed "s/^their-1/their-$i/" "$W/their.pub")"
	hup cache upload
done
is "40 reloads under load: the last one counts" "$(curl -q -s \
    "$U/cache/nix-cache-info" | sed -n 's/^Priority: //p')" 40
rm "$W/load.on"
for p in $asked; do
	wait "$p"
done
ok "requests came: $(cat "$W"/load.? | wc -l)" \
    test "$(cat "$W"/load.? | wc -l)" -ge 40
is "answers that are no success" \
    "$(cat "$W"/load.? | grep -v '^20[01]$' | sort | uniq -c)" ""
is "they are the same processes" "$cache_pid $upload_pid $drv_pid" "$pids"
for p in $pids; do
	ok "$p runs" kill -0 "$p"
done

e2e_end
