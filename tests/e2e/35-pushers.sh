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
for k in "$debug" "$log" "$no_hash.ls"; do
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

# Realisations --------------------------------------------------------------------
id=sha256:$(printf x | sha256sum | cut -c 1-64)!out
trace=build-trace-v2/$hash-x.drv/out.doi
real=realisations/$id.doi
# says KIND PATH [SIGNATURE]: $W/says is an object that says so, $W/text what is
# signed of it.
says() {
	says_path=$hash-$2
	case $1 in
	real)
		says_text='{"dependentRealisations":{},"id":"%s","outPath":"%s"'
		# shellcheck disable=SC2059
		says_text=$(printf "$says_text" "$id" "$says_path")
		printf '%s}' "$says_text" >"$W/text"
		printf '%s,"signatures":[%s]}' "$says_text" \
		    "${3:+\"$3\"}" >"$W/says"
		;;
	trace)
		printf '{"key":{"drvPath":"%s","outputName":"out"},"value":{"outPath":"%s"}}' \
		    "$hash-x.drv" "$says_path" >"$W/text"
		printf '{"outPath":"%s","signatures":[%s]}' "$says_path" \
		    "${3:+{\"keyName\":\"${3%%:*}\",\"sig\":\"${3#*:}\"\}}" |
		    sed 's/\\}/}/' >"$W/says"
		;;
	esac
}
# signature KEY-FILE: of $W/text.
signature() {
	{
		printf '\060\056\002\001\000\060\005\006\003\053\145\160\004\042\004\040'
		sed 's/.*://' "$1" | base64 -d | head -c 32
	} >"$W/seed.der"
	openssl pkeyutl -sign -rawin -keyform DER -inkey "$W/seed.der" \
	    -in "$W/text" -out "$W/signature" 2>"$W/openssl.log" ||
	    stop "openssl: $(cat "$W/openssl.log")"
	printf '%s:%s' "$(sed 's/:.*//' "$1")" "$(base64 -w 0 "$W/signature")"
}
# sigs_of KEY: the names of the signatures that readers get.
sigs_of() {
	curl -q -s "$U/cache/$1" | grep -oE '(bound|trusted|nobody)-1' | sort |
	    tr '\n' ' '
}
for n in trusted nobody; do
	nix-store --generate-binary-cache-key $n-1 "$W/$n.sk" "$W/$n.pk"
done
upload_restart trusted_public_keys "$(cat "$W/trusted.pk")"
for kind in real trace; do
	case $kind in
	real) k=$real ;;
	trace) k=$trace ;;
	esac
	echo 'of another' >"$W/says"
	put "$k" "$W/says"
	is "$kind: no JSON" "$code" 400
	ok "is told what is wrong" grep -q 'it is not JSON' "$W/body"
	says $kind a
	head -c 1100000 /dev/zero | tr '\0' ' ' >>"$W/says"
	put "$k" "$W/says"
	is "$kind: more than a megabyte" "$code" 413
	zstd -qf "$W/says" -o "$W/says.zst"
	put "$k" "$W/says.zst" -H 'Content-Encoding: zstd'
	is "$kind: more than a megabyte, compressed" "$code" 413
	says $kind a
	as bound
	put "$k" "$W/says"
	is "$kind: a bound token's without its signature" "$code" 400
	says $kind a "$(says $kind b && signature "$W/bound.sk")"
	put "$k" "$W/says"
	is "$kind: with a signature over something else" "$code" 400
	as all
	says $kind a "$(says $kind b && signature "$W/trusted.sk")"
	put "$k" "$W/says"
	is "$kind: with such a one by a key that is trusted" "$code" 400
	is "none of it is here" "$(status "$U/cache/$k")" 404
	says $kind a
	put "$k" "$W/says"
	is "$kind: the first" "$code" 201
	put "$k" "$W/says"
	is "the same again" "$code" 200
	ok "is as it was sent" here "$k" "$(cat "$W/says")"
	says $kind b
	put "$k" "$W/says"
	is "another path, by the owner" "$code" 409
	ok "is told which one is here" grep -q "$hash-a" "$W/body"
	as bound
	says $kind b "$(says $kind b && signature "$W/bound.sk")"
	put "$k" "$W/says"
	is "another path, signed by a bound token" "$code" 409
	says $kind a "$(says $kind a && signature "$W/bound.sk")"
	put "$k" "$W/says"
	is "a bound token's signature" "$code" 200
	as all
	says $kind a "$(says $kind a && signature "$W/nobody.sk")"
	put "$k" "$W/says"
	is "a signature by nobody known" "$code" 200
	says $kind a "$(says $kind a && signature "$W/trusted.sk")"
	put "$k" "$W/says"
	is "a signature by a key that is trusted" "$code" 200
	says $kind a
	put "$k" "$W/says"
	is "none" "$code" 200
	settle
	merged() {
		[ "$(sigs_of "$k")" = 'bound-1 trusted-1 ' ]
	}
	ok "readers get those of keys that are known" until_true 20 merged
done
# Nobody knows what these say: they were taken before realisations were read.
old="realisations/sha256:$(printf y | sha256sum | cut -c 1-64)!out.doi"
says real a
sed "s/$id/${old#*/}/; s/\.doi//" "$W/says" >"$W/said"
put "$old" "$W/said"
is "one of before" "$code" 201
settle
sql 'DELETE FROM realisation'
sed "s/$hash-a/$hash-b/" "$W/said" >"$W/says"
put "$old" "$W/says"
is "another path" "$code" 409
sed 's/}$/ }/' "$W/said" >"$W/says"
put "$old" "$W/says"
is "the same, in other words" "$code" 200
as root
sed "s/$hash-a/$hash-b/" "$W/said" >"$W/says"
put "$old" "$W/says"
is "another path, by an admin" "$code" 200
settle
admins() {
	here "$old" "$(cat "$W/says")"
}
ok "is what readers get" until_true 20 admins

# With a real Nix, which signs them when it builds.
as all
upload_restart require_signature yes
cat >"$W/ca.nix" <<EOT
let ca = name: text: derivation { inherit name; system = builtins.currentSystem;
    builder = "/bin/sh"; __contentAddressed = true;
    outputHashMode = "recursive"; outputHashAlgo = "sha256";
    args = [ "-c" "echo \${text} >\$out" ]; };
in rec { dep = ca "dep" "x"; top = ca "top" "\${dep}"; }
EOT
rebuilt() {
	chmod -R u+w "$client/store"
	rm -rf "${client:?}/var" "${client:?}/store" "${client:?}/home/cache"
	mkdir -p "$client/store" "$client/var/log"
}
rebuilt
ok "a build by Nix" nx "$client" nix-build --no-out-link "$W/ca.nix" -A top
ok "without a signature its realisation is refused" not \
    nx "$client" nix copy --to "$U/cache" -f "$W/ca.nix" top
ok "which it is told" grep -q 'none by a key this cache trusts' "$W/ok.out"
rebuilt
echo "secret-key-files = $W/trusted.sk" >>"$client/conf/nix.conf"
ok "a build by Nix, signed" nx "$client" nix-build --no-out-link "$W/ca.nix" \
    -A top
top=$(tail -n 1 "$W/ok.out")
ok "is taken" nx "$client" nix copy --to "$U/cache" -f "$W/ca.nix" top
ok "again too" nx "$client" nix copy --to "$U/cache" -f "$W/ca.nix" top
settle
rebuilt
ok "another Nix has it from the cache" nx "$client" nix-build -j 0 \
    --no-out-link "$W/ca.nix" -A top --option substituters "$U/cache" \
    --option trusted-public-keys "$(cat "$W/trusted.pk")"
is "and it is the same" "$(tail -n 1 "$W/ok.out")" "$top"
rebuilt
sed -i '/^secret-key-files/d' "$client/conf/nix.conf"
upload_restart require_signature no
innocent realisations

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
