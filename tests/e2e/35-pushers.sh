#!/bin/sh
# What one who may push can do to others.
# shellcheck disable=SC1091,SC2016,SC2154
. "$(dirname "$0")/lib.sh"

client=$W/nix
STORE=$client/store
site_make "$STORE"
site_start
client_make "$client"

# innocent NAME: a push beside it all, which ends without an error.
innocent() {
	printf '%s' "$1" >"$W/innocent-$1"
	p=$(nx "$client" nix-store --add "$W/innocent-$1")
	ok "an innocent push beside it: $1" \
	    nx "$client" nix copy --to "$U/cache" "$p"
}
served() {
	curl -q -s -n --netrc-file "$W/netrc" "$U/cache/$hash.narinfo"
}

# Signatures by nobody --------------------------------------------------------
# junk N FROM: N signatures of no known key.
junk() {
	perl -e 'printf "Sig: junk-%06d:%s==\n", $_, "A" x 86
	    for ($ARGV[1] .. $ARGV[1] + $ARGV[0] - 1)' "$1" "$2"
}
path_make popular 'everybody reads this'
put "$key" "$nar"
put "$hash.narinfo" "$info"
is "a path of the owner" "$code" 201
for from in 0 100000; do
	{
		cat "$info"
		junk 18000 $from
	} >"$W/junk"
	put "$hash.narinfo" "$W/junk"
	is "1.9 MB of signatures" "$code" 400
	{
		cat "$info"
		junk 16 $from
	} >"$W/few"
	put "$hash.narinfo" "$W/few"
	is "some of nobody known" "$code" 200
	ok "the answer says that they are not added" \
	    grep -q 'junk-[0-9]* and [0-9]* others' "$W/body"
done
is "readers get the server's signature and no other" \
    "$(served | grep -c '^Sig: ')" 1
{
	cat "$info"
	perl -e 'print "Unknown-$_: line\n" for 1 .. 17'
} >"$W/many"
put "$hash.narinfo" "$W/many"
is "many unknown lines" "$code" 400
innocent signatures
path_make junked 'first by the one with the junk'
put "$key" "$nar"
{
	cat "$info"
	junk 16 0
} >"$W/few"
put "$hash.narinfo" "$W/few"
is "whoever comes first may send some" "$code" 201
is "the server's has a place" \
    "$(served | grep -c '^Sig: ') $(served | grep -c '^Sig: junk')" '16 15'

# What got in before there were limits ---------------------------------------
# spoil: the path has 3.8 MB of signatures in the index.
spoil() {
	{
		served
		junk 36000 0
	} >"$W/spoiled"
	sql "UPDATE path SET narinfo = CAST(readfile('$W/spoiled') AS TEXT)
	    WHERE hash_part = '$hash';
	    UPDATE asset SET size = $(wc -c <"$W/spoiled"),
	    sha256 = x'$(sha256sum <"$W/spoiled" | cut -c 1-64)'
	    WHERE key = '$hash.narinfo'"
	cp "$W/spoiled" "$S/store/$hash.narinfo"
}
bytes() {
	served | wc -c
}
path_make spoiled 'its narinfo is from before the limits'
put "$key" "$nar"
put "$hash.narinfo" "$info"
settle
spoil
# (lighttpd may remember a file's size for a second or two.)
large() {
	[ "$(bytes)" -gt 3000000 ]
}
ok "is read all the same" until_true 20 large
put "$hash.narinfo" "$info"
is "the owner's next push of it" "$code" 200
settle
small() {
	[ "$(bytes)" -lt 4000 ]
}
ok "leaves what is allowed" until_true 20 small
ok "and the server's" \
    test "$(served |
    grep -c "^Sig: $(sed 's/:.*//' "$S/keys/cache.pub"):")" = 1
settle
spoil
ok "tmpnix sign fails" not tmpnix sign
mv "$W/ok.out" "$W/sign.out"
ok "and names the path" \
    grep -q "$hash.narinfo: the narinfo is too large" "$W/sign.out"
ok "but goes on past it" grep -q '[1-9][0-9]* had it, .* 1 bad$' "$W/sign.out"
ok "tmpnix sign --repair" tmpnix sign --repair
settle
ok "leaves what is allowed" until_true 20 small
ok "tmpnix sign has nothing to say then" tmpnix sign
put "$hash.narinfo" "$info"
is "a push of it is nothing new" "$code" 200
settle
is "the store has what readers get" \
    "$(cat "$S/store/$hash.narinfo")" "$(served)"

# Quotas -----------------------------------------------------------------------
# as TOKEN: put as this one from now on.
as() {
	SECRET=$(sed -n 's/.*password  *\([^ ]*\).*/\1/p' "$W/$1.netrc")
}
cp "$W/netrc" "$W/all.netrc"
tmpnix token add small --push --quota-total 1M >"$W/small.netrc" 2>&1
used() {
	sql "SELECT used_total FROM token WHERE name = 'small'"
}
as small
head -c 60000000 /dev/zero | zstd -q >"$W/zeros.zst"
# log N FILE [HEADER]: its status in $W/log.N, by a curl of its own.
log() {
	curl -q -s -o "$W/log.body.$1" -w '%{http_code}\n' -u ":$SECRET" \
	    ${3:+-H "$3"} -T "$2" \
	    "$U/cache/log/$(printf '%032d' "$1")-x.drv" >"$W/log.$1"
}
pids=
for i in 1 2 3 4 5 6 7 8; do
	log "$i" "$W/zeros.zst" 'Content-Encoding: zstd' &
	pids="$pids $!"
done
innocent zeros
for i in $pids; do
	wait "$i"
done
is "60 MB of zeros in 2 kB are over a quota of 1 MB" \
    "$(sort -u "$W"/log.[0-9]*)" 413
is "nothing of them is there" "$(sql "SELECT count(*) FROM asset
    WHERE key LIKE 'log/%'") $(used)" '0 0'
ok "and no file is left" no_bodies
# At the same time each of these is under the quota, all are not.
head -c 200000 /dev/urandom >"$W/part"
pids=
for i in 1 2 3 4 5 6 7 8 9; do
	log "$i" "$W/part" &
	pids="$pids $!"
done
for i in $pids; do
	wait "$i"
done
is "pushes at the same time stay under it" \
    "$(cat "$W"/log.[0-9]* | sort | uniq -c | tr -s ' \n' ' ')" ' 5 201 4 413 '
is "which is what is there" "$(sql "SELECT sum(size) FROM asset
    WHERE key LIKE 'log/%'") $(used)" '1000000 1000000'
is "and of the others nothing" \
    "$(sql "SELECT count(*) FROM audit WHERE token = 'small'")" 5
settle
n=$(grep -l 201 "$W"/log.[0-9]* | head -n 1)
n=${n##*.}
for i in 1 2 3; do
	log "$n" "$W/part"
	is "the same again" "$(cat "$W/log.$n")" 413
done
sql "UPDATE token SET quota_total = 0 WHERE name = 'small'"
for i in 1 2 3; do
	log "$n" "$W/part"
	is "the same again, without a quota" "$(cat "$W/log.$n")" 200
done
is "costs nothing" "$(used)" 1000000
is "and is one row of the log" "$(sql "SELECT count(*) FROM audit
    WHERE token = 'small' AND what = 'same'")" 1
as all

# Other tokens' objects ----------------------------------------------------------
nix-store --generate-binary-cache-key bound-1 "$W/bound.sk" "$W/bound.pk"
tmpnix token add bound --push --key "$(cat "$W/bound.pk")" >"$W/bound.netrc" \
    2>&1
tmpnix token add other --push >"$W/other.netrc" 2>&1
tmpnix token add root --admin >"$W/root.netrc" 2>&1
real=sha256:$(head -c 32 /dev/zero | sha256sum | cut -c 1-64)
trace=build-trace-v2/$hash-x.drv/out.doi
debug=debuginfo/$(printf x | sha1sum | cut -c 1-40).debug
log=log/$hash-x.drv
for n in 1 2 3 4; do
	echo "of the owner, $n" >"$W/theirs-$n"
done
echo 'of another' >"$W/forged"
# here KEY TEXT: that is what a reader gets.
here() {
	[ "$(curl -q -s "$U/cache/$1")" = "$2" ]
}
no_hash=$(printf '%032d' 8)
for k in "realisations/$real!out.doi" "$trace" "$debug" "$log" "$no_hash.ls"; do
	as all
	put "$k" "$W/theirs-1"
	is "the owner's ${k%%/*}" "$code" 201
	for token in bound other; do
		as $token
		put "$k" "$W/forged"
		is "another's token, $token, does not replace it" "$code" 409
		ok "is told since when" grep -q \
		    "since $(date -u +%Y)-.* by another token" "$W/body"
		ok "and not whose it is" not grep -qw all "$W/body"
		ok "which is in the log" until_true 20 \
		    grep -q "PUT ${k%%!*}.*: token all pushed it" \
		    "$W/log/upload.log"
		put "$k" "$W/theirs-1"
		is "but may say the same" "$code" 200
		put "$k" "$W/forged"
		is "which makes it not its own" "$code" 409
	done
	ok "it is as it was" here "$k" 'of the owner, 1'
	as all
	put "$k" "$W/theirs-2"
	is "the owner replaces it" "$code" 200
	as root
	put "$k" "$W/theirs-3"
	is "an admin's token replaces it" "$code" 200
	settle
	theirs_3() {
		here "$k" 'of the owner, 3'
	}
	ok "and readers get that" until_true 20 theirs_3
	as all
	put "$k" "$W/theirs-4"
	is "which is the admin's then" "$code" 409
done
as other
put "log/$no_hash-y.drv" "$W/theirs-1"
is "of a token that is removed" "$code" 201
tmpnix token revoke other >/dev/null 2>&1
tmpnix token add other --push >"$W/other.netrc" 2>&1
as other
put "log/$no_hash-y.drv" "$W/theirs-2"
is "another one of its name does not replace it" "$code" 409

as bound
echo '{"version":1,"root":{"type":"symlink","target":"/forged"}}' \
    >"$W/forged.ls"
put "$hash.ls" "$W/forged.ls"
is "a listing of a verified NAR" "$code" 200
settle
# ours: the listing of $hash is the server's own.
ours() {
	curl -q -s "$U/cache/$hash.ls" | grep -q '"type":"regular"'
}
ok "is the server's own all the same" ours
as all
path_make early 'its listing came before it'
put "$hash.ls" "$W/forged.ls"
is "a listing of what is not here yet" "$code" 201
settle
ok "is served" sh -c "curl -q -s '$U/cache/$hash.ls' | grep -q forged"
used=$(sql "SELECT used_total FROM token WHERE name = 'all'")
put "$key" "$nar"
put "$hash.narinfo" "$info"
is "its narinfo" "$code" 201
is "costs what it is" "$(sql "SELECT used_total FROM token
    WHERE name = 'all'")" $((used + nar_size + $(wc -c <"$info")))
settle
ok "puts the server's own in its place" until_true 20 ours
ok "in the store too" grep -q '"type":"regular"' "$S/store/$hash.ls"
innocent objects

# Types -------------------------------------------------------------------------
settle
put "log/$hash-y.drv" "$W/theirs-1"
settle
# nosniff STATUS CURL-ARGUMENT...: the answer has the header, once.
nosniff() {
	nosniff_want=$1
	shift
	req "$@"
	is "nosniff: $*" "$code $(grep -ci \
	    '^x-content-type-options: nosniff' "$W/hdr")" "$nosniff_want 1"
}
nosniff 200 "$U/cache/nix-cache-info"
nosniff 200 "$U/cache/$hash.narinfo"
nosniff 200 "$U/cache/$hash.ls"
nosniff 200 "$U/cache/$key"
nosniff 206 -r 0-9 "$U/cache/$key"
nosniff 200 "$U/cache/log/$hash-y.drv"
nosniff 304 -H 'If-None-Match: *' "$U/cache/nix-cache-info"
nosniff 404 "$U/cache/$(printf '%032d' 7).narinfo"
nosniff 404 "$U/drv/$(printf '%032d' 7).narinfo"
# (lighttpd redirects before it adds headers, and without a body.)
[ "$WEB" = lighttpd ] || nosniff 301 "$U/cache"
nosniff 401 -T "$W/theirs-1" "$U/cache/$key"
nosniff 401 -X POST -d x "$U/drv/instantiate"
nosniff 400 -u ":$SECRET" -T "$W/theirs-1" "$U/cache/x"
nosniff 405 -X DELETE -u ":$SECRET" "$U/cache/$key"

e2e_end
