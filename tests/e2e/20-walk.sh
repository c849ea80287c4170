#!/bin/sh
# The main job: push with nix copy, read back with Nix, behind a web server.
# shellcheck disable=SC1091,SC2016,SC2046,SC2115,SC2154
. "$(dirname "$0")/lib.sh"

# The program that follows is run twice: over the test's own store directory,
# and short over one like /tmp/nix/store.
client=$W/nix
site_make "$client/store"
site_start
client_make "$client"
nx "$client" nix-store --generate-binary-cache-key walk-1 "$W/sk" "$W/pk"
TO="$U/cache?secret-key=$W/sk"

# (Not the 401s by which a test sees that tmpnix-upload is up.)
puts() {
	requests_logged
	grep "\"PUT " "$W/log/access.log" | grep -vc "\" 401 "
}
# PUTs of keys that match, answered 2xx.
puts_of() {
	requests_logged
	grep -c "\"PUT /cache/$1 HTTP/1.1\" 20[014]" "$W/log/access.log"
}

# Sources ---------------------------------------------------------------------
# Real files and trees: headers, documentation, Python modules.  A store path's
# name takes fewer characters than a file's.
mkdir "$W/src"
{
	find /usr/include -maxdepth 1 -type f
	find /usr/share/doc -mindepth 1 -maxdepth 1 -type d
	find /usr/lib/python3 /usr/lib/python3.* -name '*.py' -size -60k
	find /usr/share/perl5 /usr/share/perl -name '*.pm' -size -60k
	find /usr/include -mindepth 1 -maxdepth 2 -type d
} 2>/dev/null | awk -F/ '$NF ~ /^[A-Za-z0-9_+][A-Za-z0-9_+.-]*$/ &&
    length($NF) < 100 && !seen[$NF]++' |
    while read -r f; do
	# Nothing big: this is about many.
	[ "$(du -sk "$f" | cut -f1)" -le 100 ] && printf '%s\n' "$f"
    done | head -n 210 >"$W/sources"
is "210 sources from this machine" "$(wc -l <"$W/sources")" 210
nx "$client" xargs nix-store --add <"$W/sources" >"$W/added" ||
    stop "nix-store --add"

# 110 derivations, each of which refers to two of them and to two others, and
# one that has debugging symbols' files, and logs.
{
	echo 'let s = ['
	sed 's/.*/  (builtins.storePath &)/' "$W/added"
	cat <<'EOT'
];
at = builtins.elemAt s;
drv = name: args: derivation ({
  inherit name;
  system = builtins.currentSystem;
  builder = "/bin/sh";
} // args);
n = 110;
ds = builtins.genList (i: drv "walk-${toString i}" {
  args = [ "-c" ''
    PATH=/usr/bin:/bin
    echo "building walk ${toString i}"
    mkdir -p $out/share
    printf '%s\n' $deps >$out/share/deps
    echo $out >$out/share/self
    ln -s ${at i} $out/share/one
    cp ${if builtins.pathExists "${at (i + 100)}/." then "-r" else ""} \
        ${at (i + 100)} $out/share/two
  '' ];
  deps = [ (at i) (at (i + 100)) ] ++
    (if i > 1 then [ (builtins.elemAt ds (i - 1))
      (builtins.elemAt ds (i / 2)) ] else [ ]);
}) n;
dbg = drv "walk-debug" {
  args = [ "-c" ''
    PATH=/usr/bin:/bin
    d=$out/lib/debug/.build-id/ab
    mkdir -p $d
    echo symbols >$d/cdef0123456789abcdef0123456789abcdef01.debug
    echo debugging symbols made
  '' ];
};
in ds ++ [ dbg ]
EOT
} >"$W/walk.nix"
nx "$client" nix-build --no-out-link "$W/walk.nix" >"$W/built" \
    2>"$W/build.err" || { tail "$W/build.err"; stop "nix-build"; }
is "111 derivations built" "$(wc -l <"$W/built")" 111
cat "$W/added" "$W/built" >"$W/paths"
dbg=$(tail -n 1 "$W/built")
top=$(sed -n 110p "$W/built")
n=$(nx "$client" nix-store -qR $(cat "$W/paths") | sort -u | wc -l)
ok "at least 300 store paths" test "$n" -ge 300

# Push ------------------------------------------------------------------------
echo "pushing $n paths, xz"
# A few of them in other compressions, before the rest goes as xz.
for c in zstd bzip2 none; do
	case $c in
	zstd) part=1,6 ext='\.nar\.zst' ;;
	bzip2) part=11,16 ext='\.nar\.bz2' ;;
	none) part=21,26 ext='\.nar' ;;
	esac
	ok "nix copy, $c" nx "$client" nix copy --to "$TO&compression=$c" \
	    $(sed -n "${part}p" "$W/added")
	is "6 NARs were $c" "$(puts_of "nar/[0-9a-z]*$ext")" 6
done
ok "nix copy of all, xz" nx "$client" nix copy --to "$TO" $(cat "$W/paths")
is "a narinfo was PUT for each path" \
    "$(puts_of '[0-9a-z]*\.narinfo')" "$n"
is "no PUT was refused" "$(puts)" \
    "$(($(puts_of 'nar/.*') + $(puts_of '[0-9a-z]*\.narinfo')))"

before=$(puts)
ok "nix copy again, warm" nx "$client" nix copy --to "$TO" $(cat "$W/paths")
is "nothing was PUT again, warm" "$(puts)" "$before"
rm -f "$client"/home/cache/nix/binary-cache-*
ok "nix copy again, cold" nx "$client" nix copy --to "$TO" $(cat "$W/paths")
is "nothing was PUT again, cold" "$(puts)" "$before"

echo "pushing one file of 300 MB"
head -c 300000000 /dev/urandom >"$W/src/big-file"
big=$(nx "$client" nix-store --add "$W/src/big-file")
rm "$W/src/big-file"
ok "nix copy of 300 MB, none" nx "$client" nix copy \
    --to "$TO&compression=none" "$big"
perl -e 'print pack("L*", map { $_ * 2654435761 & 0xff0fff0f } 1 .. 1e7)' \
    >"$W/src/zstd-file"
zst=$(nx "$client" nix-store --add "$W/src/zstd-file")
ok "nix copy of 40 MB, zstd" nx "$client" nix copy \
    --to "$TO&compression=zstd" "$zst"

# Listings, debuginfo, logs -----------------------------------------------------
mkdir "$W/src/listed"
cp "$top_srcdir"/common/*.h "$W/src/listed/"
lst=$(nx "$client" nix-store --add "$W/src/listed")
ok "nix copy with a listing, ls-compression=br" nx "$client" nix copy \
    --to "$TO&write-nar-listing=true&ls-compression=br" "$lst"
is "one listing was PUT" "$(puts_of '[0-9a-z]*\.ls')" 1
h=${lst##*/}
h=${h%%-*}
req "$U/cache/$h.ls"
is "the listing is served" "$code $(header content-type)" \
    "200 application/json"
ok "and is JSON" grep -q '^{.*"entries"' "$W/body"
# An own debuginfo path: the first was uploaded without an index.
cat >"$W/dbg.nix" <<'EOT'
derivation { name = "walk-debug-2"; system = builtins.currentSystem;
  builder = "/bin/sh"; args = [ "-c" ''
    PATH=/usr/bin:/bin; d=$out/lib/debug/.build-id/cd; mkdir -p $d
    echo symbols >$d/ef0123456789abcdef0123456789abcdef0123.debug
    echo debugging symbols made again
  '' ]; }
EOT
dbg2=$(nx "$client" nix-build --no-out-link "$W/dbg.nix" 2>/dev/null)
ok "nix copy with index-debug-info" nx "$client" nix copy \
    --to "$TO&index-debug-info=true" "$dbg2"
is "a debuginfo was PUT" "$(puts_of 'debuginfo/.*')" 1
id=cdef0123456789abcdef0123456789abcdef0123
req "$U/cache/debuginfo/$id.debug"
is "debuginfo is served" "$code" 200
ok "and names its NAR" grep -q '"archive": *"\.\./nar/' "$W/body"
req "$U/cache/debuginfo/$id"
is "debuginfo is served without .debug too" "$code" 200
drv=$(nx "$client" nix-store -qd "$dbg")
ok "nix store copy-log" nx "$client" nix store copy-log --to "$U/cache" \
    "$drv" $(nx "$client" nix-store -qd "$top")
is "two logs were PUT" "$(puts_of 'log/.*')" 2

# Content-Encoding, as Nix 2.32 and later send it (this one can't).
printf '{"version":1,"root":{"type":"regular","size":1}}' >"$W/ls.json"
# (Of a path that is not here: of one that is, the server's own wins.)
h=$(printf %s "${top##*/}" | cut -c 1-32 | rev)
br=$(command -v brotli) || stop "brotli is missing"
$br -c "$W/ls.json" >"$W/ls.br"
put "$h.ls" "$W/ls.br" -H 'Content-Encoding: br' \
    -H 'Content-Type: application/json'
ok "a listing in br is taken" test "$code" -ge 200 -a "$code" -lt 300
settle
status "$U/cache/$h.ls" >/dev/null
curl -q -s --compressed "$U/cache/$h.ls" >"$W/ls.back"
ok "and comes back the same" cmp "$W/ls.json" "$W/ls.back"
xz -c "$W/ls.json" >"$W/ls.xz"
put "$h.ls" "$W/ls.xz" -H 'Content-Encoding: xz'
ok "a listing in xz is taken or refused as a type (415)" \
    test "$code" -ge 200 -a "$code" -lt 300 -o "$code" = 415
settle

# Questions by Nix ----------------------------------------------------------------
ok "nix path-info" nx "$client" nix path-info --store "$U/cache" -r "$top"
ok "nix store ls" nx "$client" nix store ls --store "$U/cache" -R "$top"
ok "lists what is in it" grep -q 'share/deps' "$W/ok.out"
rm -rf "$client/var/log/drvs"
ok "nix log" nx "$client" nix log --store "$U/cache" "$dbg"
ok "prints the log" grep -q 'debugging symbols made' "$W/ok.out"

# Back, into an empty second store ------------------------------------------------
settle
is "every path has its narinfo in the store" \
    "$(find "$S/store" -maxdepth 1 -name '*.narinfo' | wc -l)" "$((n + 4))"
mv "$client" "$W/nix.first"
client_make "$client"
cat >>"$client/conf/nix.conf" <<EOT
substituters = $U/cache
require-sigs = true
EOT
requests_logged
before=$(grep -c . "$W/log/access.log")
ok "not without the key" not nx "$client" nix-store -r "$top" \
    --option trusted-public-keys ''
rm -rf "$client/home/cache/nix"
echo "trusted-public-keys = $(cat "$W/pk")" >>"$client/conf/nix.conf"
ok "nix-store -r of all through substituters" \
    nx "$client" nix-store -r $(cat "$W/paths") "$big" "$zst" "$lst" "$dbg2"
is "all have arrived" "$(nx "$client" nix-store -qR $(cat "$W/paths") \
    2>/dev/null | sort -u | wc -l)" "$n"
ok "nix store verify" nx "$client" nix store verify -r $(cat "$W/paths") \
    "$big" "$zst" "$lst" "$dbg2"
ok "and the bytes are those of the first" sh -c '
    for p in "$@"; do
	diff -r --no-dereference "$p" "${p%/nix/store/*}/nix.first/store/${p##*/}" ||
	    exit 1
    done' - $(cat "$W/paths") "$big"
requests_logged
tail -n +$((before + 1)) "$W/log/access.log" | grep -v '/logged-' >"$W/reads"
is "no read failed" "$(grep -cv '" 200 ' "$W/reads")" \
    "$(grep -c '" 404 [0-] ' "$W/reads")"
ok "nix copy --from works too" sh -c '
    rm -rf "$1/var/db" && chmod -R u+w "$1/store" && rm -rf "$1/store"' - \
    "$client"
mkdir -p "$client/store"
ok "nix copy --from" nx "$client" nix copy --from "$U/cache" "$top"

# A negative answer is kept by the client for an hour, and by nobody else.
req "$U/cache/00000000000000000000000000000000.narinfo"
is "what was missing may be asked again" "$code $(header cache-control)" "404 "

# Programs restarted: the same answers, and CA realisations -----------------------
chmod -R u+w "$client" "$W/nix.first"
rm -rf "$client" "$W/nix.first"
site_stop
mkdir -p "$W/two"
echo "a store directory like /tmp/nix/store"
tiny=$(mktemp -d /tmp/nXXXXXX)
tiny_end() {
	chmod -R u+w "$tiny"
	rm -rf "$tiny"
}
# (e2e_finish goes by the status it finds.)
trap 'tiny_rc=$?; tiny_end; (exit $tiny_rc); e2e_finish' EXIT
rm -rf "$W/state" "$W/log/access.log"
rm -f "$W/tmpnix.conf" "$W/netrc"
site_make "$tiny/nix/store"
site_start
client=$W/second
client_make "$client"
NX_STORE=$tiny/nix/store
mkdir -p "$NX_STORE"
TO="$U/cache?secret-key=$W/sk&compression=zstd"
is "nix-cache-info says so" \
    "$(curl -q -s "$U/cache/nix-cache-info" | sed -n 's/^StoreDir: //p')" \
    "$tiny/nix/store"
a=$(nx "$client" nix-store --add /etc/passwd)
cat >"$W/ca.nix" <<EOT
derivation { name = "ca"; system = builtins.currentSystem;
  builder = "/bin/sh"; __contentAddressed = true; outputHashMode = "recursive";
  outputHashAlgo = "sha256"; a = builtins.storePath $a;
  args = [ "-c" "echo \$a >\$out" ]; }
EOT
ca=$(nx "$client" nix-build --no-out-link "$W/ca.nix" 2>"$W/ca.err") ||
    { cat "$W/ca.err"; stop "a content-addressed build"; }
ok "nix copy" nx "$client" nix copy --to "$TO" "$a"
# (By installable: only then does Nix send the realisation.)
ok "nix copy of a content-addressed derivation" \
    nx "$client" nix copy --to "$TO" -f "$W/ca.nix" --impure
is "its realisation was PUT" "$(puts_of 'realisations/.*')" 1
settle
doi=$(sed -n 's/.*"PUT \(\/cache\/realisations[^ ]*\).*/\1/p' \
    "$W/log/access.log")
is "and is served" "$(status "$U$doi")" 200
rm -rf "$client/home/cache/nix" "$client/var"
chmod -R u+w "$tiny/nix/store"
rm -rf "$tiny/nix/store"
mkdir -p "$tiny/nix/store"
ok "nix-store -r from it" nx "$client" nix-store -r "$a" "$ca" \
    --option substituters "$U/cache" \
    --option trusted-public-keys "$(cat "$W/pk")"
ok "nix store verify" nx "$client" nix store verify "$a" "$ca" \
    --option trusted-public-keys "$(cat "$W/pk")"

e2e_end
