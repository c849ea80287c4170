#!/bin/sh
# What enters is what its narinfo says: NARs are looked into.
# shellcheck disable=SC1091,SC2016,SC2046,SC2154
. "$(dirname "$0")/lib.sh"

client=$W/nix
STORE=$client/store
site_make "$STORE"
site_start
client_make "$client"
nx "$client" nix-store --generate-binary-cache-key verify-1 "$W/sk" "$W/pk"
TO="$U/cache?secret-key=$W/sk"

# The whole narinfo PUT by hand; what it is answered.
put_info() {
	put "$hash.narinfo" "$info"
}
# nar NAME: the file $nar is a NAR by another name now.
nar_is() {
	nar=$1
	key=$(nar_key "$nar" "${2-}")
	sed -i -e "s|^URL: .*|URL: $key|" -e "s|^FileSize: .*|FileSize: $(wc -c <"$nar")|" \
	    -e '/^FileHash/d' "$info"
}
says() {
	grep -q "$1" "$W/body"
}

# Every compression Nix has ---------------------------------------------------
mkdir -p "$W/src/tree/sub"
echo one >"$W/src/tree/a"
ln -s a "$W/src/tree/sub/link"
printf '#!/bin/sh\n' >"$W/src/tree/run"
chmod +x "$W/src/tree/run"
for c in xz bzip2 zstd lzip lz4 br none gzip lzma compress; do
	mkdir "$W/src/$c"
	cp -R "$W/src/tree" "$W/src/$c/x"
	echo $c >"$W/src/$c/x/name"
	p=$(nx "$client" nix-store --add "$W/src/$c/x")
	ok "nix copy, $c" nx "$client" nix copy --to "$TO&compression=$c" "$p"
	is "it was found to be $c" "$(sql "SELECT n.compression, n.verdict
	    FROM nar n JOIN path p ON n.key = p.nar_key
	    WHERE p.store_path = '$p' AND n.nar_hash = p.nar_hash
	    AND n.nar_size = p.nar_size")" "$c|0"
done

# A listing nobody sent: as Nix itself makes it ----------------------------------
h=${p##*/}
h=${h%%-*}
ok "nix copy with a listing" nx "$client" nix copy \
    --to "file://$W/listed?write-nar-listing=true" "$p"
is "a listing is answered" "$(status "$U/cache/$h.ls")" 200
curl -q -s "$U/cache/$h.ls" >"$W/ls"
ok "it says what Nix says" perl -MJSON::PP -e '
	sub get { local $/; open my $f, "<", $_[0] or die; JSON::PP->new
	    ->canonical->encode(decode_json(scalar <$f>)) }
	exit(get($ARGV[0]) ne get($ARGV[1]))' "$W/ls" "$W/listed/$h.ls"
req -I "$U/cache/$h.ls"
is "HEAD of it" "$code" 200
is "no listing of nothing" \
    "$(status "$U/cache/00000000000000000000000000000000.ls")" 404
printf '{"version":1,"root":{}}' >"$W/mine"
put "$h.ls" "$W/mine"
is "one that is sent changes nothing" "$code" 200
settle
curl -q -s "$U/cache/$h.ls" >"$W/ls.now"
ok "ours is served on" cmp "$W/ls" "$W/ls.now"

# Tampered: the compressed hash was updated, NarHash was not -----------------------
mkdir "$W/src/t"
echo "good bytes" >"$W/src/t/tampered"
p=$(nx "$client" nix-store --add "$W/src/t/tampered")
chmod u+w "$p"
echo "evil bytes" >"$p"
ok "nix copy of a tampered path fails" \
    not nx "$client" nix copy --to "$TO" "$p"
ok "and shows our sentence" \
    grep -q 'NarHash is sha256:.* unpacks to sha256:' "$W/ok.out"
h=${p##*/}
is "it is not there" "$(status "$U/cache/${h%%-*}.narinfo")" 404

# By hand ---------------------------------------------------------------------------
path_make size 'twelve bytes'
put "$key" "$nar"
sed 's/^NarSize: .*/NarSize: 8/' "$info" >"$info.bad"
put "$hash.narinfo" "$info.bad"
is "another NarSize" "$code" 400
ok "says so" says 'NarSize is 8, but'
sed 's/^Compression: .*/Compression: gzip/' "$info" >"$info.bad"
put "$hash.narinfo" "$info.bad"
is "another compression" "$code" 400
ok "says so" says 'Compression is gzip, but .* is none'
put_info
is "and right" "$code" 201

path_make grammar 'x'
{
	cat "$nar"
	printf '\0\0\0\0\0\0\0\0'
} >"$W/made/longer"
nar_is "$W/made/longer"
put "$key" "$nar"
is "a file that is no NAR is taken as a file" "$code" 201
put_info
is "but gets no narinfo" "$code" 400
ok "which says the rule" says 'is no good NAR: bytes follow the end'
printf 'this is not xz, however long it is' >"$W/made/notxz"
nar_is "$W/made/notxz" .xz
sed -i 's/^Compression: .*/Compression: xz/' "$info"
put "$key" "$nar"
put_info
is "what does not unpack is refused" "$code" 400
ok "and said" says 'is no good NAR: not in this encoding'

# What was found out survives; what was not is found out ------------------------------
path_make later 'verified before the restart'
put "$key" "$nar"
until_true 20 sh -c "[ \"\$(sqlite3 -cmd '.timeout 5000' '$S/index.db' \
    \"SELECT count(*) FROM nar WHERE key = '$key'\")\" = 1 ]" ||
    fail "the NAR's PUT alone has it verified"
prog_stop upload KILL
prog_start upload
prog_ready upload
put_info
is "after kill -9 the narinfo is taken" "$code" 201
path_make never 'verified when it is asked for'
put "$key" "$nar"
upload_restart
settle
sql "DELETE FROM nar WHERE key = '$key'"
put_info
is "a NAR nobody verified is, by the narinfo's PUT" "$code" 201
is "and noted" "$(sql "SELECT verdict FROM nar WHERE key = '$key'")" 0
path_make lost 'never verified, and wrong'
sed -i 's/^NarSize: .*/NarSize: 8/' "$info"
put "$key" "$nar"
upload_restart
sql "DELETE FROM nar WHERE key = '$key'"
put_info
is "nor gets it in when it is wrong" "$code" 400

# References -----------------------------------------------------------------------
upload_restart check_references yes
path_make ref 'to be referenced'
put "$key" "$nar"
put_info
ref=$hash-ref
refhash=$hash
path_make user "here is $STORE/$ref in the text" "$ref"
put "$key" "$nar"
put_info
is "a reference that is here" "$code" 201
path_make gone "x" "00000000000000000000000000000000-gone"
put "$key" "$nar"
put_info
is "a reference that is not" "$code" 409
ok "says which" says '00000000000000000000000000000000-gone is not here'
path_make silent "here is $STORE/$ref in the text"
put "$key" "$nar"
put_info
is "a reference that is not declared" "$code" 400
ok "says which" says "has the path $refhash in it"
path_make unknown 'zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz belongs to nobody'
put "$key" "$nar"
put_info
is "what looks like one but is unknown" "$code" 201
perl -e 'srand 1; @c = split //, "0123456789abcdfghijklmnpqrsvwxyz";
    print join("", map { $c[rand 32] } 1..40000), "\n", shift, "\n"' \
    "$refhash" >"$W/many"
path_make many "$(cat "$W/many")"
put "$key" "$nar"
put_info
is "a reference behind 40000 that might be" "$code" 400
path_make many2 "$(cat "$W/many")" "$ref"
put "$key" "$nar"
put_info
is "and declared" "$code" 201
# What was verified while nobody asked for references.
upload_restart check_references no
path_make earlier "it was here before: $STORE/$ref"
put "$key" "$nar"
until_true 20 sh -c "[ \"\$(sqlite3 -cmd '.timeout 5000' '$S/index.db' \
    \"SELECT refs_complete FROM nar WHERE key = '$key'\")\" = 0 ]" ||
    fail "references are not looked for"
upload_restart check_references yes
put_info
is "is looked into again" "$code" 400
ok "says which" says "has the path $refhash in it"

# Bombs ------------------------------------------------------------------------------
upload_restart check_references no max_nar_size 1G
# bomb EXT COMPRESSOR...: a NAR of 10 GB of zeros as $nar; its sender claims less.
bomb() {
	bomb_ext=$1 bomb_c=$2
	shift
	path_make "bomb$bomb_c" x
	perl -e 'sub s { pack("Q<", length $_[0]) . $_[0] . "\0" x (-length($_[0]) % 8) }
	    print &s("nix-archive-1"), &s("("), &s("type"), &s("regular"),
	    &s("contents"), pack("Q<", 10 * 1024 ** 3)' | "$@" >"$W/made/bomb"
	head -c 67108864 /dev/zero | "$@" >"$W/made/part"
	for _ in $(seq 160); do
		cat "$W/made/part"
	done >>"$W/made/bomb"
	nar_is "$W/made/bomb" "$bomb_ext"
	sed -i "s/^Compression: .*/Compression: $bomb_c/" "$info"
}
for c in 'xz .xz' 'zstd .zst'; do
	# shellcheck disable=SC2086
	set -- $c
	bomb "$2" "$1" -c
	put "$key" "$nar"
	is "10 GB of zeros as $1 ($(wc -c <"$nar") bytes) are taken as a file" \
	    "$code" 201
	put_info
	is "but are no path" "$code" 413
	ok "because of max_nar_size" says 'is over max_nar_size, 1073741824 bytes'
done
# Other limits of the same one: a verdict is final until its limit is raised.
over() {
	put_info
	is "over $1" "$code" 413
	ok "which is named" says "$2"
}
upload_restart max_nar_size 16G max_nar_cpu 1s max_nar_ratio 1
over "a processor's time" "[0-9]* bytes take .* than max_nar_cpu, 1s, allows"
upload_restart max_nar_cpu 1h
over "what may be unpacked" \
    "[0-9]* bytes unpack to more than max_nar_ratio, 1, allows"
upload_restart max_nar_ratio 2 max_nar_size 1G
over "the largest NAR" "over max_nar_size, 1073741824 bytes"
upload_restart max_nar_cpu 2m max_nar_ratio 100000
# A listing lies in the index: few bytes don't make a long one.
has_verdict() {
	[ "$(sql "SELECT count(*) FROM nar WHERE key = '$1'")" = 1 ]
}
empty_files() {
	perl -e 'sub s { pack("Q<", length $_[0]) . $_[0] .
		    "\0" x (-length($_[0]) % 8) }
		print &s("nix-archive-1"), &s("("), &s("type"), &s("directory");
		print map { &s("entry"), &s("("), &s("name"),
		    &s(sprintf "%06d", $_), &s("node"), &s("("), &s("type"),
		    &s("regular"), &s("contents"), &s(""), &s(")"), &s(")") }
		    1 .. shift;
		print &s(")")' "$1" | brotli -c >"$W/made/files-$1"
	nar_is "$W/made/files-$1" .br
	put "$key" "$nar"
	until_true 60 has_verdict "$key"
	sql "SELECT listing IS NOT NULL FROM nar WHERE key = '$key'"
}
is "the listing of 500 empty files" "$(empty_files 500)" 1
is "not that of 40,000" \
    "$(empty_files 40000)" 0
# A verdict of a smaller limit is none.
upload_restart max_nar_size 8
path_make grown x
put "$key" "$nar"
put_info
is "over max_nar_size" "$code" 413
upload_restart max_nar_size 1G
put_info
is "and allowed later" "$code" 201
path_make window x
printf '\050\265\057\375\000\250\011\000\000x' >"$W/made/window.zst"
nar_is "$W/made/window.zst" .zst
sed -i 's/^Compression: .*/Compression: zstd/' "$info"
put "$key" "$nar"
put_info
is "a zstd frame with a window of 2 GB" "$code" 413
ok "is too large for us" says 'too much memory'
hwm=$(awk '/^VmHWM/ { print int($2 / 1024) }' "/proc/$upload_pid/status")
echo "tmpnix-upload took $hwm MiB at most"
[ -n "${TMPNIX_WRAP-}${TMPNIX_SANITIZED-}" ] ||
    ok "that is less than 200" test "$hwm" -lt 200

# verify = file ------------------------------------------------------------------------
upload_restart verify file
path_make plain 'not looked into'
sed -i 's/^NarSize: .*/NarSize: 8/' "$info"
put "$key" "$nar"
put_info
is "verify = file does not look" "$code" 201
is "and notes nothing" \
    "$(sql "SELECT count(*) FROM nar WHERE key = '$key'")" 0
settle

e2e_end
