#!/bin/sh
# Today's programs on what earlier ones left behind (upgrade/): everything is
# read, relayed and pushed to; several start at once; a kill in the middle; and
# an index that is newer than they are.
# shellcheck disable=SC1091,SC2015,SC2034,SC2046,SC2086,SC2154
. "$(dirname "$0")/lib.sh"

old=$top_srcdir/tests/e2e/upgrade
NOW=12
site_make /nix/store
cat >"$W/pkgs.nix" <<'EOF'
{
  two = derivation {
    name = "two"; system = "x86_64-linux"; builder = "/bin/sh";
    args = [ "-c" "echo 2 >$out" ];
    one = derivation {
      name = "one"; system = "x86_64-linux"; builder = "/bin/sh";
      args = [ "-c" "echo 1 >$out" ];
    };
  };
}
EOF
echo "file.p = $W/pkgs.nix" >>"$CONF"

# index_make DIR N: the index of version N in DIR, in WAL mode as it was.
index_make() {
	rm -f "$1"/index.db*
	sqlite3 "$1/index.db" <"$old/schema-$2/index.sql" &&
	    sqlite3 "$1/index.db" 'PRAGMA journal_mode = WAL' >/dev/null &&
	    chmod 640 "$1/index.db" || stop "index of version $2"
}
# state_make N: the state directory of that time.
state_make() {
	rm -rf "$S"
	mkdir "$S"
	cp -r "$old/schema-$1/state/." "$S/" || stop "copying version $1"
	chmod -R u+w "$S"
	chmod 600 "$S"/keys/*.sec
	mkdir -p "$S/spool/incoming" "$S/spool/ready" "$S/store/log" \
	    "$S/drvs/log" "$S/drvs/realisations"
	index_make "$S" "$1"
}
version() {
	sqlite3 -cmd '.timeout 5000' "${1:-$S}/index.db" 'PRAGMA user_version'
}
# Every line "SHA-256 URL" of this file is true.
served() {
	while read -r digest what; do
		curl -q -s -f "$U/$what" | sha256sum | grep -q "^$digest " || {
			echo "$what is not what it was"
			return 1
		}
	done <"$1"
}
# A store of Nix of its own for /nix/store, where it needs no rights.
rx() {
	env HOME="$W/home" XDG_CACHE_HOME="$W/home/cache" \
	    NIX_CONF_DIR="$W/conf" "$@"
}
client() {
	[ ! -e "$W/root" ] || chmod -R u+w "$W/root"
	rm -rf "$W/root" "${W:?}/home"
	mkdir -p "$W/root" "$W/home" "$W/conf"
	cat >"$W/conf/nix.conf" <<EOF
experimental-features = nix-command
build-users-group =
sandbox = false
substituters =
netrc-file = $W/netrc
trusted-public-keys = $(cat "$S/keys/cache.pub") $(cat "$S/keys/drv.pub")
EOF
}
# stored KEY: is that row?
stored_is() {
	[ -z "$(sql "SELECT key FROM asset WHERE cache = 'main'
	    AND state <> 'stored' AND key NOT IN ($1)")" ]
}

for v in 1 2; do
	echo "from version $v"
	state_make $v
	SECRET=$(cat "$old/schema-$v/secret")
	echo "machine 127.0.0.1 login all password $SECRET" >"$W/netrc"
	client
	for f in cache upload drv; do
		: >"$W/log/$f.log"
	done
	site_start
	is "$v: its version is today's" "$(version)" $NOW
	sed -i '/index: checked in .*: it is whole$/d' "$W/log/upload.log"
	ok "$v: nobody complained" not grep -h 'index:' "$W"/log/cache.log \
	    "$W"/log/upload.log "$W"/log/drv.log
	ok "$v: everything is served as it was" served "$old/schema-$v/served"
	ok "$v: Nix takes it, signed" rx nix copy --from "$U/cache" \
	    --to "$W/root" $(cat "$old/schema-$v/paths")
	ok "$v: and finds it good" rx nix store verify --store "$W/root" \
	    $(cat "$old/schema-$v/paths")

	# What was refused waits for a person, with the narinfo behind it; the
	# claim of the program that was killed is free again.
	failed=$(sql "SELECT key FROM asset WHERE state = 'failed'")
	behind=$(sql "SELECT hash_part || '.narinfo' FROM path
	    WHERE nar_key = '$failed'")
	ok "$v: the rest gets stored" until_true 30 stored_is \
	    "'$failed', '$behind'"
	ok "$v: tmpnix status tells of what failed" not tmpnix status
	ok "$v: tmpnix retry" tmpnix retry
	ok "$v: then that too" until_true 30 stored_is "''"
	ok "$v: tmpnix status is content" tmpnix status
	ok "$v: still as it was" served "$old/schema-$v/served"

	# The same once more is no change, another meaning no way.
	second=$(sed -n 2p "$old/schema-$v/paths")
	hash=${second#/nix/store/}
	hash=${hash%%-*}
	curl -q -s -f "$U/cache/$hash.narinfo" >"$W/narinfo"
	req -u ":$SECRET" -T "$W/narinfo" "$U/cache/$hash.narinfo"
	is "$v: a narinfo that is there is fine" "$code" 200
	first=$(sed -n 1p "$old/schema-$v/paths")
	first=${first#/nix/store/}
	curl -q -s -f "$U/cache/${first%%-*}.narinfo" |
	    sed "s|^StorePath: .*|StorePath: $second|; /^Sig: /d; /^CA: /d" >"$W/other"
	req -u ":$SECRET" -T "$W/other" "$U/cache/$hash.narinfo"
	is "$v: one with another meaning is not" "$code" 409 || cat "$W/body"

	# New ones, with the old token, that reference old ones.
	rm -rf "$W/home/cache"
	new=$(rx nix --store "$W/root" eval --impure --raw --expr \
	    "builtins.toFile \"new\" \"as \${builtins.storePath $second}\n\"")
	ok "$v: nix copy of a new one" rx nix copy --from "$W/root" \
	    --to "$U/cache?secret-key=$S/keys/cache.sec" "$new"
	new=${new#/nix/store/}
	is "$v: it is in the log" \
	    "$(tmpnix log | grep -c "  all  .*  ${new%%-*}.narinfo\$")" 1
	ok "$v: tmpnix token list" tmpnix token list
	ok "$v: has both" grep -q '^other ' "$W/ok.out"

	# Derivations: known already, in one answer, new.
	req -u ":$SECRET" -X PUT "$U/drv/instantiate?file=p&attr=two"
	is "$v: an instantiation" "$code" 200
	drv=$(cat "$W/body")
	ok "$v: is the derivation it was" grep -q "StorePath: $drv\$" \
	    "$S/drvs/$(echo "$drv" | sed 's|/nix/store/||; s|-.*||').narinfo"
	req -u ":$SECRET" -X PUT "$U/drv/instantiate?file=p&attr=two.one"
	is "$v: another attribute" "$code" 200
	drv=${drv#/nix/store/}
	req "$U/drv/${drv%%-*}.closure.tar"
	is "$v: the closure" "$code" 200
	is "$v: has both" "$(tar tf "$W/body" | grep -c 'narinfo$')" 2

	ok "$v: all is stored" until_true 30 stored_is "''"
	is "$v: the totals are right" "$(sql 'SELECT * FROM total
	    WHERE count > 0 ORDER BY 1, 2')" "$(sql "SELECT cache, state,
	    count(*), sum(size),
	    coalesce(sum(size) FILTER (WHERE spool IS NOT NULL), 0)
	    FROM asset GROUP BY cache, state UNION ALL SELECT cache, 'path',
	    count(*), sum(nar_size), 0 FROM path GROUP BY cache
	    ORDER BY 1, 2")"
	is "$v: SQLite finds nothing" "$(sql 'PRAGMA integrity_check;
	    PRAGMA foreign_key_check')" ok
	site_stop
	# The schema is the one that a new index has.
	sqlite3 "$S/index.db" "SELECT type, name, tbl_name,
	    replace(sql, char(10), ' ') FROM sqlite_master ORDER BY 1, 2" |
	    sed 's/, *\([a-z_]* [A-Z]* NOT NULL DEFAULT\)/, \1/g' \
	    >"$W/schema.$v"
done
rm -rf "$W/fresh"
ok "a new index" "$top_builddir/tmpnix" -f "$W/fresh.conf" init \
    -d "$W/fresh" -u http://127.0.0.1
sqlite3 "$W/fresh/index.db" "SELECT type, name, tbl_name,
    replace(sql, char(10), ' ') FROM sqlite_master ORDER BY 1, 2" |
    sed 's/, *\([a-z_]* [A-Z]* NOT NULL DEFAULT\)/, \1/g' >"$W/schema.new"
for v in 1 2; do
	ok "the same schema came out of version $v" cmp "$W/schema.$v" \
	    "$W/schema.new"
done

# All at once -------------------------------------------------------------------
# Eight that open it at the same moment, and again.
mkdir "$W/race"
sed "s|^state_dir = .*|state_dir = $W/race|" "$CONF" >"$W/race.conf"
mkdir -p "$W/race/spool/incoming" "$W/race/spool/ready" "$W/race/store/nar" \
    "$W/race/drvs"
bad=0
for round in $(seq 12); do
	index_make "$W/race" $((round % 2 + 1))
	rm -f "$W"/race.out.*
	all=
	for i in 1 2 3 4 5 6 7 8; do
		"$top_builddir/tmpnix" -f "$W/race.conf" token list \
		    >"$W/race.out.$i" 2>&1 &
		all="$all $!"
	done
	for p in $all; do
		wait "$p" || bad=$((bad + 1))
	done
	[ "$(version "$W/race")" = $NOW ] || bad=$((bad + 1))
	for i in 1 2 3 4 5 6 7 8; do
		grep -q '^other ' "$W/race.out.$i" || bad=$((bad + 1))
	done
done
is "8 at once, 12 times: all open it, once is it changed" "$bad" 0

# Killed in the middle ------------------------------------------------------------
# Rows enough that the change takes a while.
index_make "$W/race" 1
sqlite3 "$W/race/index.db" "
	WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n
	    WHERE i < 60000)
	INSERT INTO asset (cache, key, size, sha256, content_type, spool,
	    created) SELECT 'main', 'log/' || i, 1, zeroblob(32), 'x',
	    'gone.' || i, 1 FROM n;
	PRAGMA foreign_keys = OFF;
	WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n
	    WHERE i < 100000)
	INSERT INTO reference SELECT 'main', printf('%032d', i),
	    printf('%032d', i * 7) FROM n;
	PRAGMA wal_checkpoint(TRUNCATE);" >/dev/null || stop "a large index"
cp "$W/race/index.db" "$W/large.db"
schema() {
	sqlite3 "$1" 'SELECT * FROM sqlite_master ORDER BY name'
}
schema "$W/large.db" >"$W/schema.before"
killed=0 done=0 bad=0 n=0
while [ $killed -lt 5 ] && [ $n -lt 60 ]; do
	rm -f "$W"/race/index.db*
	cp "$W/large.db" "$W/race/index.db"
	"$top_builddir/tmpnix" -f "$W/race.conf" token list >/dev/null 2>&1 &
	p=$!
	# The moment it has something in the log of the transaction; or a bit
	# later, each time another bit.
	until [ -s "$W/race/index.db-wal" ] || ! kill -0 $p 2>/dev/null; do
		:
	done
	perl -e "select undef, undef, undef, $((n % 10)) * 0.004"
	kill -9 $p 2>/dev/null
	wait $p 2>/dev/null
	n=$((n + 1))
	case $(version "$W/race") in
	1)
		killed=$((killed + 1))
		schema "$W/race/index.db" | cmp -s - "$W/schema.before" ||
		    bad=$((bad + 1))
		;;
	"$NOW") done=$((done + 1)) ;;
	*) bad=$((bad + 1)) ;;
	esac
	[ "$(sqlite3 "$W/race/index.db" 'PRAGMA quick_check')" = ok ] ||
	    bad=$((bad + 1))
	"$top_builddir/tmpnix" -f "$W/race.conf" token list 2>&1 |
	    grep -q '^other ' && [ "$(version "$W/race")" = $NOW ] ||
	    bad=$((bad + 1))
done
ok "killed before the end at least 5 times" test $killed -ge 5
echo "($killed before the commit, $done behind it)"
is "it was as before, or done, and could be done each time" "$bad" 0

# Newer than we are -----------------------------------------------------------
state_make 2
site_start
site_stop
sqlite3 "$S/index.db" "PRAGMA user_version = $((NOW + 1));
    CREATE TABLE of_the_future (x); PRAGMA wal_checkpoint(TRUNCATE)" >/dev/null
everything() {
	(cd "$S" && find . -type f ! -name '*.lock' ! -name start |
	    sort | xargs sha256sum)
}
everything >"$W/before"
says="its version $((NOW + 1)) is newer than this program, which knows $NOW"
for p in cache upload drv; do
	"$top_builddir/tmpnix-$p" -d -f "$CONF" -s "$W/run/$p.sock" \
	    >"$W/newer" 2>&1 </dev/null &
	prog=$!
	until_true 10 not kill -0 $prog || kill $prog
	wait $prog
	is "tmpnix-$p does not start" "$?" 1
	is "tmpnix-$p says why, once" "$(grep -c "$says" "$W/newer")" 1
done
for c in status 'token list' 'log' 'token add x --push' 'init' 'retry'; do
	ok "tmpnix $c refuses" not tmpnix $c
	ok "tmpnix $c says why" grep -q "$says" "$W/ok.out"
done
everything >"$W/after"
ok "nothing was changed" cmp "$W/before" "$W/after"
e2e_end
