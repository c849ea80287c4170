#!/bin/sh
# Who vouches for a path: signatures asked for, and signatures given.
# shellcheck disable=SC1091,SC2016,SC2154
. "$(dirname "$0")/lib.sh"

client=$W/nix
STORE=$client/store
site_make "$STORE"
site_start
client_make "$client"
for k in ours stranger bound; do
	nx "$client" nix-store --generate-binary-cache-key $k-1 "$W/$k.sk" \
	    "$W/$k.pk"
done

# Input-addressed paths: built, each with another content.
n=0
built() {
	n=$((n + 1))
	cat >"$W/p.nix" <<EOT
derivation { name = "signed-$n"; system = builtins.currentSystem;
  builder = "/bin/sh"; args = [ "-c" "echo $n \$dep >\$out" ];
  dep = ${1:+builtins.storePath }${1:-\"\"}; }
EOT
	p=$(nx "$client" nix-build --no-out-link "$W/p.nix" 2>"$W/build.err") ||
	    { cat "$W/build.err"; stop "nix-build"; }
	h=${p##*/}
	h=${h%%-*}
}
push() {
	nx "$client" nix copy --to "$U/cache$1" "$p"
}
served() {
	curl -q -s "$U/cache/$h.narinfo"
}

# Asked for ---------------------------------------------------------------------
upload_restart require_signature yes trusted_public_keys "$(cat "$W/ours.pk")"
built
ok "an unsigned path is refused" not push ''
ok "and nix copy says why" grep -q 'Sig: none by a key this cache trusts' \
    "$W/ok.out"
is "it is not there" "$(status "$U/cache/$h.narinfo")" 404
ok "signed by a stranger too" not push "?secret-key=$W/stranger.sk"
ok "and nix copy says why" grep -q 'Sig: none by a key this cache trusts' \
    "$W/ok.out"
ok "signed by us it is taken" push "?secret-key=$W/ours.sk"
is "and served" "$(status "$U/cache/$h.narinfo")" 200
p=$(nx "$client" nix-store --add "$W/p.nix")
ok "a content-addressed path needs no signature" push ''

# A signature over other references.
built
dep=$p
built "$dep"
ok "to a file" nx "$client" nix copy --to "file://$W/f?secret-key=$W/ours.sk" \
    "$p"
for f in "$W"/f/*.narinfo; do
	sed -n 's/^URL: //p' "$f" >"$W/url"
	put "$(cat "$W/url")" "$W/f/$(cat "$W/url")"
done
sed 's/^References: .*/References: /' "$W/f/$h.narinfo" >"$W/other"
put "$h.narinfo" "$W/other"
is "a signature over other references is refused" "$code" 400
ok "which says so" grep -q 'by ours-1 is not over this path' "$W/body"
put "$h.narinfo" "$W/f/$h.narinfo"
is "the one over these is taken" "$code" 201
sed 's/^Sig: ours-1:..../Sig: ours-1:AAAA/' "$W/f/$h.narinfo" >"$W/other"
put "$h.narinfo" "$W/other"
is "a damaged one does not get in beside it" "$code" 400

# A CA that is not the path's.
sed 's/^Sig: .*/CA: fixed:r:sha256:0l05cmh066zza2hf87rc3f47v09ngwn6rgjdx6xsfvsjgd6b2bxl/' \
    "$W/f/$h.narinfo" >"$W/other"
put "$h.narinfo" "$W/other"
is "a made-up content address is refused" "$code" 400
ok "which says so" grep -q 'CA: it and the references make the path' "$W/body"

# A token bound to a key --------------------------------------------------------
tmpnix token add bound --push --key "$W/bound.pk" >"$W/bound.netrc"
ok "the list shows it" sh -c "$top_builddir/tmpnix -f $CONF token list |
    grep -q 'keys bound-1:'"
cp "$W/netrc" "$W/all.netrc"
cp "$W/bound.netrc" "$W/netrc"
built
ok "a bound token does not take others' signatures" \
    not push "?secret-key=$W/ours.sk"
ok "and nix copy says why" grep -q 'none by a key this token is bound to' \
    "$W/ok.out"
ok "but its key's" push "?secret-key=$W/bound.sk"
cp "$W/all.netrc" "$W/netrc"

# None ----------------------------------------------------------------------------
upload_restart require_signature no trusted_public_keys none \
    secret_key_file none
path_make unsigned 'signed by nobody'
put "$key" "$nar"
put "$hash.narinfo" "$info"
is "an unsigned path is taken" "$code" 201
ok "and who pushed it is told that no reader can use it" \
    grep -q "^$hash.narinfo: taken, but no reader can use this path" "$W/body"
ok "as is the log" grep -q "PUT $hash.narinfo: taken, but no reader" \
    "$W/log/upload.log"
put "$hash.narinfo" "$info"
ok "each time" grep -q 'no reader can use this path' "$W/body"
ok "tmpnix status counts it" sh -c "$top_builddir/tmpnix -f $CONF status |
    grep '^  unsigned *1 '"

# Given ---------------------------------------------------------------------------
# (The default.)
prog_stop upload
sed -i '/^secret_key_file/d' "$CONF"
upload_restart
put "$hash.narinfo" "$info"
is "the unsigned path again" "$code $(wc -c <"$W/body")" '200 0'
is "is signed now" "$(curl -q -s "$U/cache/$hash.narinfo" |
    grep -c "^Sig: $(sed 's/:.*//' "$S/keys/cache.pub"):")" 1
built
ok "an unsigned path is taken" push ''
name=$(sed 's/:.*//' "$S/keys/cache.pub")
is "and served signed by the server" \
    "$(served | grep -c "^Sig: $name:")" 1
first=$p
# Push again, changed only by a signature: merged.
ok "to a file" nx "$client" nix copy --to "file://$W/g?secret-key=$W/ours.sk" \
    "$p"
sed "s|^URL: .*|$(served | grep ^URL:)|; s|^Compression: .*|$(served |
    grep ^Compression:)|; /^File/d" "$W/g/$h.narinfo" >"$W/merge"
put "$h.narinfo" "$W/merge"
is "the same with a signature by nobody we know" "$code" 200
is "has not got it" "$(served | grep -c '^Sig: ')" 1
ok "and its sender is told" grep -q 'signature.* by ours-1 ' "$W/body"
upload_restart trusted_public_keys "$(cat "$W/ours.pk")"
put "$h.narinfo" "$W/merge"
is "the same with one that is trusted" "$code" 200
settle
# (lighttpd remembers a file's size for a moment.)
has_both() {
	[ "$(served | grep -c '^Sig: ')" = 2 ]
}
ok "has both" until_true 20 has_both
sed "s|^Sig: .*|Sig: $name:$(head -c 64 /dev/zero | base64 -w 0)|" \
    "$W/merge" >"$W/forged"
put "$h.narinfo" "$W/forged"
is "a forged one in the server's name is refused" "$code" 400

# Another compression of the same: kept as it was.
url=$(served | grep ^URL:)
put "$(sed -n 's/^URL: //p' "$W/g/$h.narinfo")" \
    "$W/g/$(sed -n 's/^URL: //p' "$W/g/$h.narinfo")"
put "$h.narinfo" "$W/g/$h.narinfo"
is "the same in another compression" "$code" 200
is "is as it was" "$(served | grep ^URL:)" "$url"

# Nix takes what the server signed.
settle
second=$W/second
client_make "$second"
echo "substituters = $U/cache" >>"$second/conf/nix.conf"
NX_STORE=$STORE
export NX_STORE
chmod -R u+w "$STORE"
rm -rf "$STORE" "$client/var/nix"
mkdir "$STORE"
ok "Nix does not take it without the key" not nx "$second" nix-store -r \
    "$first" --option trusted-public-keys "$(cat "$W/stranger.pk")"
rm -rf "$second/home/cache/nix"
ok "and does with it" nx "$second" nix-store -r "$first" \
    --option trusted-public-keys "$(cat "$S/keys/cache.pub")"

# Rotation ------------------------------------------------------------------------
tmpnix key generate next-1 >"$W/next.pk"
upload_restart secret_key_file \
    "$S/keys/cache.sec $S/keys/next-1.sec"
ok "tmpnix sign" tmpnix sign
ok "signs all that was verified" grep -q '^[1-9][0-9]* signed, 0 had it, 0 not' \
    "$W/ok.out"
settle
h=${first##*/}
h=${h%%-*}
is "with the new key" "$(served | grep -c '^Sig: next-1:')" 1
is "beside the old" "$(served | grep -c "^Sig: $name:")" 1
ok "once more" tmpnix sign
ok "changes nothing" grep -q '^0 signed, [1-9][0-9]* had it' "$W/ok.out"
ok "one path, another key" tmpnix sign -k "$W/bound.sk" "$first"
settle
is "is signed" "$(served | grep -c '^Sig: bound-1:')" 1
ok "a path that is not here" not tmpnix sign \
    "$STORE/00000000000000000000000000000000-x"
settle
is "the store has the new one" \
    "$(grep -c '^Sig: next-1:' "$S/store/$h.narinfo")" 1
chmod -R u+w "$STORE"
rm -rf "$STORE" "${second:?}/var" "$second/home/cache/nix"
mkdir -p "$STORE" "$second/var/log"
ok "Nix takes it with the new key alone" nx "$second" nix-store -r "$first" \
    --option trusted-public-keys "$(cat "$W/next.pk")"
is "all keys stay out of the log" \
    "$(grep -c "$(sed 's/.*://' "$S/keys/cache.sec")" "$W/log/upload.log")" 0

# What is not verified is not signed ------------------------------------------------
prog_stop upload
conf_set verify file
sed '/^secret_key_file/d' "$CONF" >"$CONF.signing"
cp "$CONF" "$CONF.was"
mv "$CONF.signing" "$CONF"
prog_start upload
prog_ready upload
built
ok "with verify = file" push "?secret-key=$W/ours.sk"
unverified=$p
# A narinfo that tells another hash than its NAR has, which is verified later.
path_make false-hash "$(seq 300)"
put "$key" "$nar"
sed -i -e "s|^NarHash: .*|NarHash: sha256:$(printf '0%.0s' $(seq 52))|" \
    -e '/^File/d' "$info"
put "$hash.narinfo" "$info"
is "with verify = file a false NarHash is taken" "$code" 201
false_path=$STORE/$hash-false-hash
false_key=$key false_nar=$nar
ok "tmpnix sign of what was not verified" tmpnix sign -k "$W/bound.sk" \
    "$unverified" "$false_path"
ok "signs neither" grep -q '^0 signed, 0 had it, 2 not verified' "$W/ok.out"
prog_stop upload
sed -i 's/^verify *=.*/verify = nar/' "$CONF"
prog_start upload
prog_ready upload
settle
put "$false_key" "$false_nar"
is "its NAR once more, to be verified" "$code" 200
nar_known() {
	[ "$(sql "SELECT count(*) FROM nar WHERE key = '$false_key'")" = 1 ]
}
ok "it is" until_true 20 nar_known
ok "tmpnix sign of a path with another NarHash" tmpnix sign -k "$W/bound.sk" \
    "$false_path"
ok "signs it no more than before" \
    grep -q '^0 signed, 0 had it, 1 not verified' "$W/ok.out"
prog_stop upload
cp "$CONF.was" "$CONF"
ok "secret_key_file with verify = file does not start" not timeout 20 \
    "$top_builddir/tmpnix-upload" -d -f "$CONF" -s "$W/run/x.sock"
ok "and says so" grep -q 'what was not verified is not signed' "$W/ok.out"

e2e_end
