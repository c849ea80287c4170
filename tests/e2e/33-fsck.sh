#!/bin/sh
# tmpnix fsck: each kind of damage is found, by its exit status and in words,
# and nothing is touched; --repair mends it; then all is well again.  The
# programs run all the while.
# shellcheck disable=SC1091,SC2016,SC2034,SC2154
. "$(dirname "$0")/lib.sh"

client=$W/client
STORE=$client/store
client_make "$client"
site_make "$STORE" stream
site_start

fsck() {
	tmpnix fsck "$@" >"$W/fsck.out" 2>&1
	fsck_rc=$?
}
clean() {
	fsck --bytes --verify
	is "$1: all is well" "$fsck_rc" 0 || cat "$W/fsck.out"
}
# broken NAME KIND [OPTION]: found, and nothing touched.
broken() {
	before=$(sql "SELECT * FROM asset ORDER BY id"; cd "$S" && ls -lR store)
	fsck ${3:+"$3"}
	is "$1: is found" "$fsck_rc" 1
	ok "$1: as $2" grep -q ": $2: " "$W/fsck.out"
	is "$1: nothing is touched" "$(sql "SELECT * FROM asset ORDER BY id"
	    cd "$S" && ls -lR store)" "$before"
}
# mended NAME KIND [OPTION]: in one run.
mended() {
	broken "$@"
	fsck --repair ${3:+"$3"}
	is "$1: is repaired, and said" "$fsck_rc" 1
	ok "$1: and nothing is open" grep -q ' 0 problems' "$W/fsck.out"
	settle
	clean "$1"
}
# push: the NAR and the narinfo of the last path_make.
push() {
	put "$key" "$nar"
	put "$hash.narinfo" "$info"
}
# healed NAME: by a push, after --repair.
healed() {
	fsck --repair --bytes
	is "$1: GET of the narinfo" "$(status "$U/cache/$hash.narinfo")" 404
	is "$1: HEAD too" "$(status -I "$U/cache/$hash.narinfo")" 404
	tmpnix status --local >"$W/status"
	ok "$1: status tells" grep -q 'the bytes of [1-9][0-9]* objects are lost' \
	    "$W/status"
	fsck
	is "$1: is open until it is pushed" "$fsck_rc" 1
	ok "$1: as missing" grep -q "$key: missing: " "$W/fsck.out"
	is "$1: tmpnix retry can't help" "$(tmpnix retry)" "0 to be tried again"
	push
	is "$1: the narinfo is served" "$(status "$U/cache/$hash.narinfo")" 200
	settle
	ok "$1: the NAR is stored" cmp "$nar" "$S/store/$key"
	ok "$1: so is the narinfo" test -s "$S/store/$hash.narinfo"
	clean "$1"
}

path_make one "$(seq 3000)"
push
settle
clean "a cache"
narinfo=$S/store/$hash.narinfo

rm "$S/store/$key"
broken "a lost file" lost
healed "a lost file"
printf x | dd of="$S/store/$key" bs=1 seek=99 conv=notrunc 2>/dev/null
fsck
is "a flipped byte is not seen without --bytes" "$fsck_rc" 0
broken "a flipped byte" spoiled --bytes
healed "a flipped byte"
ok "what was spoiled is kept" ls "$S"/quarantine/nar_*
mkdir -p "$S/spool/lost"
mv "$S/store/$key" "$S/spool/lost/kept"
mended "a lost file that is in spool/lost" lost
ok "is stored again" cmp "$nar" "$S/store/$key"
rm "$S/spool/lost/kept"

# in_spool [FILE]: the row says that its bytes are in the spool, with this file.
in_spool() {
	[ $# = 0 ] || cp "$1" "$S/spool/ready/0123456789abcdef.7"
	sql "UPDATE asset SET state = 'spooled', spool = '0123456789abcdef.7',
	    next_attempt = $(($(date +%s) + 3000)) WHERE key = '$key'"
}
in_spool
mended "a spool file that is gone, stored all the same" lost
in_spool "$info"
mended "a spool file of another size, stored all the same" spoiled
ok "the spool file is kept" cmp "$info" "$(find "$S/quarantine" -name \
    "nar_*" -newer "$W/fsck.out" -o -size "$(wc -c <"$info")c" | head -n 1)"
in_spool "$nar"
rm "$S/store/$key"
fsck
is "bytes that are in the spool alone" "$fsck_rc" 0
mkdir -p "$S/store-private/nar"
mv "$S/spool/ready/0123456789abcdef.7" "$S/store-private/$key"
mended "a spool file that is gone, in the other store" lost
ok "is stored" cmp "$nar" "$S/store/$key"
rm -r "$S/store-private"
in_spool "$info"
rm "$S/store/$key"
broken "a spool file of another size" spoiled
healed "a spool file of another size"

cp "$nar" "$W/orphan"
printf x >>"$W/orphan"
cp "$W/orphan" "$S/store/$(nar_key "$W/orphan")"
fsck
is "a NAR that no row names" "$fsck_rc" 0
ok "is said" grep -q "$(nar_key "$W/orphan"): orphan: " "$W/fsck.out"
rm "$S/store/$(nar_key "$W/orphan")"

# By a client that knows nothing of it.
printf 'by Nix\n' >"$W/by-nix"
path=$(nx "$client" nix-store --add "$W/by-nix")
copy() {
	rm -rf "$client/home/cache"
	nx "$client" nix copy --to "$U/cache" "$path"
}
ok "nix copy" copy
settle
by_nix=${path##*/}
by_nix=${by_nix%%-*}.narinfo
by_nix=$S/store/$(sed -n 's/^URL: //p' "$S/store/$by_nix")
cp "$by_nix" "$W/by-nix.nar"
rm "$by_nix"
fsck --repair
is "its NAR is lost" "$fsck_rc" 1
ok "the same nix copy" copy
settle
ok "brings it back" cmp "$by_nix" "$W/by-nix.nar"
clean "what Nix healed"

echo no >"$narinfo"
mended "another narinfo in the store" narinfo-store
sql "UPDATE path SET narinfo = replace(narinfo, 'NarSize', 'NarSiza')"
mended "a spoiled narinfo in the index" narinfo-spoiled
sql "UPDATE path SET nar_size = nar_size + 1"
mended "a path that is not as its narinfo" path
sql "PRAGMA foreign_keys=ON; DELETE FROM asset WHERE key = '$hash.narinfo'"
mended "a path without its narinfo's row" path
sql "UPDATE total SET count = count + 1"
mended "a wrong total" total
sql "UPDATE nar SET verdict = 1, why = 'once', nar_hash = NULL"
broken "a wrong verdict" verdict
mended "a wrong verdict, unpacked" verdict --verify
sql "INSERT INTO reference VALUES ('main', 'nopath', 'x')"
mended "a reference of no path" index-file

far=$(($(date +%s) + 99999))
sql "UPDATE asset SET state = 'spooled', next_attempt = $far
    WHERE key = (SELECT max(key) FROM asset WHERE key LIKE '%.narinfo')"
mended "a next try that is far" next-attempt
sql "UPDATE asset SET state = 'failed', last_error = 'EIO'
    WHERE key = (SELECT max(key) FROM asset WHERE key LIKE '%.narinfo')"
mended "a failure that has passed" failed
sql "UPDATE asset SET state = 'relaying', owner = 'gone', lease = $far
    WHERE key = (SELECT max(key) FROM asset WHERE key LIKE '%.narinfo')"
mended "a claim of nobody" claim

echo x >"$S/store/nar/.put.1.2"
fsck
is "a file that is being written" "$fsck_rc" 0
cp "$S/store/nix-cache-info" "$S/store/log.txt"
fsck
is "a file of somebody else" "$fsck_rc" 0
ok "is said" grep -q 'log.txt: foreign' "$W/fsck.out"
rm "$S/store/nar/.put.1.2" "$S/store/log.txt"

ok "--json" sh -c '"$1" -f "$2" fsck --json | grep -q "\"problems\":0"' - \
    "$top_builddir/tmpnix" "$CONF"
fsck --sample 0
is "a sample of nothing" "$fsck_rc" 2
fsck --sample 10 --rate 100M --bytes
is "a sample, at a rate" "$fsck_rc" 0
mv "$S/index.db" "$W/away"
fsck
is "without an index" "$fsck_rc" 2
mv "$W/away" "$S/index.db"

# From the store alone.
printf 'a log\n' >"$W/log.txt"
put "log/$hash-one.drv" "$W/log.txt"
settle
curl -q -s -o "$W/was" "$U/cache/$hash.narinfo"
rows() {
	sql "SELECT cache, key, state, size, hex(sha256), content_type
	    FROM asset ORDER BY key; SELECT cache, hash_part, store_path,
	    narinfo, nar_key, hex(nar_hash), file_size FROM path;
	    SELECT * FROM reference; SELECT * FROM total
	    WHERE count <> 0 ORDER BY 1, 2;
	    SELECT * FROM meta WHERE name LIKE '%.main'"
}
rows >"$W/rows.was"
fsck --rebuild
is "over an index: refused" "$fsck_rc" 2
# What is acknowledged, and can't be stored.
mkdir "$W/store"
mv "$S/store/nar" "$S/store/log" "$W/store/"
: >"$S/store/nar"
: >"$S/store/log"
was="$hash"
for c in '' .xz; do
	path_make "waits$c" "$(seq 500)$c"
	case $c in
	.xz)
		xz -k "$nar"
		nar=$nar.xz
		key=$(nar_key "$nar" .xz)
		file_hash=${key#nar/}
		file_hash=${file_hash%.nar.xz}
		sed -i -e "s|^URL: .*|URL: $key|" \
		    -e "s|^FileSize: .*|FileSize: $(wc -c <"$nar")|" \
		    -e 's|^Compression: .*|Compression: xz|' \
		    -e "s|^FileHash: .*|FileHash: sha256:$file_hash|" "$info"
		;;
	esac
	put "$key" "$nar"
	is "$key is taken" "$code" 201
done
waits=$hash
printf 'a log that waits\n' >"$W/log2.txt"
put "log/$hash-two.drv" "$W/log2.txt"
is "a log too" "$code" 201
hash=$was
prog_stop upload
rm "$S/store/nar" "$S/store/log"
mv "$W/store"/* "$S/store/"
mkdir -p "$S/spool/lost"
mv "$S/spool/ready/$(sql "SELECT spool FROM asset WHERE key = '$key'")" \
    "$S/spool/lost/nar"
prog_stop drv
prog_stop cache
sql "PRAGMA wal_checkpoint(TRUNCATE)" >"$W/ignored"
mkdir "$W/old"
mv "$S"/index.db* "$W/old/"
fsck --rebuild
is "an index from the store" "$fsck_rc" 0 || cat "$W/fsck.out"
ok "says what is lost" grep -q 'tokens, the audit log' "$W/fsck.out"
ok "takes in the NARs of the spool" grep -q \
    '2 NARs that were not stored are in the index again' "$W/fsck.out"
ok "says that there is a file more" grep -q \
    '1 files that were not stored are not NARs.*kept in spool/lost' \
    "$W/fsck.out"
is "they wait to be stored" "$(sql "SELECT count(*) FROM asset
    WHERE state = 'spooled' AND spool IS NOT NULL")" 2
is "the log is kept" "$(cat "$S"/spool/lost/*)" 'a log that waits'
rows | grep -v '|spooled|' >"$W/rows.is"
ok "else it is the one that was" diff "$W/rows.was" "$W/rows.is"
for p in cache upload drv; do
	prog_start $p
	prog_ready $p
done
curl -q -s -o "$W/is" "$U/cache/$hash.narinfo"
ok "it serves the same" cmp "$W/was" "$W/is"
is "and what waited" "$(status -I "$U/cache/$key")" 200
tmpnix token add again --push >"$W/netrc" 2>"$W/ignored"
SECRET=$(sed -n 's/.*password  *\([^ ]*\).*/\1/p' "$W/netrc")
put "$waits.narinfo" "$info"
is "whose narinfo alone is pushed again" "$code" 201
settle
ok "it is stored" cmp "$nar" "$S/store/$key"
clean "the rebuilt index"

e2e_end
