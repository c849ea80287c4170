#!/bin/sh
# The walk over Glitch: push with Nix, the relay empties the spool, read back
# through redirects, and at last from the CDN with nothing of ours running.
# shellcheck disable=SC1091,SC2016,SC2046,SC2154
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/store.sh"

client=$W/nix
rgw_start
standin_start
site_make "$client/store"
conf_glitch
conf_set log_level debug
site_start
client_make "$client"
nx "$client" nix-store --generate-binary-cache-key walk-1 "$W/sk" "$W/pk"
sources 200
is "300 paths to push" "$(wc -l <"$W/paths")" 300

# While it is relayed, every narinfo that was there stays there: a reader asks
# for all that are in the index, again and again.
: >"$W/unreachable"
: >"$W/reads"
reader() {
	while [ ! -e "$W/reader.stop" ]; do
		sql "SELECT key FROM asset ORDER BY random() LIMIT 20" |
		    sed "s|.*|url = \"$U/cache/&\"|" >"$W/reader.urls"
		[ -s "$W/reader.urls" ] || continue
		curl -q -s -L -K "$W/reader.urls" -o /dev/null -w \
		    '%{http_code} %{url_effective}\n' \
		    $(sed 's/.*/-o \/dev\/null/' "$W/reader.urls") \
		    >"$W/reader.out"
		cat "$W/reader.out" >>"$W/reads"
		grep -v '^200 ' "$W/reader.out" >>"$W/unreachable"
	done
}
reader &
reader_pid=$!
other_pids="$other_pids $reader_pid"
ok "nix copy of 300 paths" nx "$client" nix copy \
    --to "$U/cache?secret-key=$W/sk" $(cat "$W/paths")
relay_wait 180
touch "$W/reader.stop"
wait "$reader_pid"
ok "the reader read" test "$(wc -l <"$W/reads")" -ge 100
is "nothing was unreachable meanwhile" "$(cat "$W/unreachable")" ''

# Requests ------------------------------------------------------------------------
rows=$(sql 'SELECT count(*) FROM asset')
is "assets: two a path, and nix-cache-info" "$rows" 601
is "policy requests: one a content type" \
    "$(requests '^api ')" "$(sql 'SELECT count(DISTINCT content_type)
    FROM asset')"
is "one upload an asset" "$(requests '^upload POST .* 204$')" "$rows"
is "and no other" "$(requests '^upload ')" "$rows"
is "one confirmation an asset" "$(grep '^cdn HEAD ' "$W/standin/requests" |
    sed 's/.* \(\/[^ ]*\) .*/\1/' | sort | uniq -c | awk '$1 > 1' | wc -l)" 0
bucket_keys | sort >"$W/in-bucket"
sql "SELECT '$PROJECT/' || key FROM asset" | sort >"$W/in-index"
ok "the bucket has them, and nothing else" cmp "$W/in-bucket" "$W/in-index"
is "status says so" "$(tmpnix status --json | sed \
    's/.*"relaying":{"count":\([0-9]*\).*"failed":{"count":\([0-9]*\).*/\1 \2/')" \
    "0 0"
ok "and exits 0" tmpnix status
is "the order was I4's: no narinfo before its NAR or its references" \
    "$(perl -e '
	# The uploads in their order, as the confirmations tell it.
	open my $f, "<", $ARGV[0]; my (%at, $n);
	while (<$f>) {
		next unless m{^(?:cdn|large) HEAD /[^/ ]*/([^ ?]*)[^ ]* 200};
		my $k = $1; $k =~ s/%2F/\//g;
		$at{$k} = ++$n unless $at{$k};
	}
	open my $g, "<", $ARGV[1]; my $bad = 0;
	while (<$g>) {
		chomp; my ($a, $b) = split /\|/;
		$bad++ unless $at{$a} && $at{$b} && $at{$b} < $at{$a};
	}
	print $bad' "$W/standin/requests" /dev/stdin <<EOT
$(sql "SELECT hash_part || '.narinfo', nar_key FROM path
    UNION ALL SELECT hash_part || '.narinfo', ref || '.narinfo' FROM reference
    WHERE ref <> hash_part")
EOT
)" 0

# Reads -----------------------------------------------------------------------------
info=$(sql "SELECT key FROM asset WHERE hash_part IS NOT NULL LIMIT 1")
nar=$(sql "SELECT key FROM asset WHERE key LIKE 'nar/%' LIMIT 1")
req "$U/cache/$info"
is "GET of a narinfo" "$code" 302
ok "to the CDN" expr "$(header location)" : \
    "http://127.0.0.1:$cdn_port/$PROJECT/.*narinfo?v=[0-9]*\$"
req -I "$U/cache/$info"
is "HEAD of a narinfo" "$code" 200
req "$U/cache/$nar"
is "GET of a NAR" "$code $(header location | sed 's/?.*//')" \
    "302 http://127.0.0.1:$cdn_port/$PROJECT/nar%2F${nar#nar/}"
is "nothing is under state_dir/store" "$(find "$S/store" -type f 2>/dev/null |
    wc -l)" 0

# Keys with everything that a URL may be particular about -----------------------------
odd_keys

# 20 MiB and one byte ------------------------------------------------------------------
# (A NAR of a file has 112 bytes besides, and the file's bytes to 8.)
head -c $((20 * 1024 * 1024)) /dev/urandom >"$W/just"
head -c $((20 * 1024 * 1024 + 1)) /dev/urandom >"$W/over"
for f in just over; do
	k=$(nar_key "$W/$f")
	put "$k" "$W/$f"
	is "PUT of 20 MiB, $f" "$code" 201
	relay_wait
	req "$U/cache/$k"
	case $f in
	just) p=$cdn_port ;;
	over) p=$large_port ;;
	esac
	is "is on the host for it" "$(header location | cut -d/ -f3)" \
	    "127.0.0.1:$p"
	curl -q -s -L "$U/cache/$k" >"$W/back"
	ok "and comes back" cmp "$W/$f" "$W/back"
done

# Too large for the policy -----------------------------------------------------------------
prog_stop upload
echo 100000 >"$W/standin/max"
prog_start upload
prog_ready upload
head -c 100001 /dev/urandom >"$W/large"
before=$(requests '^upload ')
raw '$s->autoflush(1); print $s "PUT /cache/'"$(nar_key "$W/large")"' HTTP/1.1\r\n",
    $host, $auth, "Connection: close\r\nExpect: 100-continue\r\n",
    "Content-Length: 100001\r\n\r\n"; print while <$s>'
ok "over the policy's limit: 413" grep -q ' 413 ' "$W/raw"
ok "it names limit and size" grep -q '100001 bytes.*limit of 100000' "$W/raw"
is "nothing was sent" "$(requests '^upload ')" "$before"
is "nothing was kept" "$(state "$(nar_key "$W/large")")" ''
rm "$W/standin/max"

# What a write-back push takes in while the API is gone ---------------------------------------
prog_stop upload
prog_start upload
prog_ready upload
faults 'api* status 500'
path_make kept "kept while the API fails"
put "$key" "$nar"
is "PUT while the API answers 500" "$code" 201
ok "status tells why" until_true 20 sh -c "'$top_builddir/tmpnix' -f '$CONF' \
    status | grep 'last error.*policy.*500'"
is "the NAR is served from the spool" "$(status "$U/cache/$key")" 200
prog_stop upload
is "by tmpnix-cache alone too" "$(status "$U/cache/$key")" 200
faults
prog_start upload
prog_ready upload
relay_wait

# write-through: what Nix was told is stored is -----------------------------------------------
prog_stop upload
conf_set relay write-through
prog_start upload
prog_ready upload
for i in 1 2; do
	echo "write-through $i" >"$W/src/through-$i"
	nx "$client" nix-store --add "$W/src/through-$i" >"$W/through-$i"
done
ok "nix copy, write-through" nx "$client" nix copy \
    --to "$U/cache?secret-key=$W/sk" "$(cat "$W/through-1")"
is "nothing is to be relayed after it" \
    "$(sql "SELECT count(*) FROM asset WHERE state <> 'stored'")" 0
faults "upload status 400"
ok "it fails when the store refuses" not nx "$client" nix copy \
    --to "$U/cache?secret-key=$W/sk" "$(cat "$W/through-2")"
ok "and says why" grep -q 'StandIn: as asked' "$W/ok.out"
ok "and works again later" nx "$client" nix copy \
    --to "$U/cache?secret-key=$W/sk" "$(cat "$W/through-2")"
conf_set relay write-back
cat "$W/through-1" "$W/through-2" >>"$W/paths"

# Read back -----------------------------------------------------------------------------------
prog_stop upload
rm -rf "$S/spool/ready" "$S/spool/incoming"
mkdir "$S/spool/ready" "$S/spool/incoming"
read_back "through redirects, no spool" "$U/cache"
site_stop
read_back "from the CDN alone" "http://127.0.0.1:$large_port/$PROJECT"
ok "no secret is in a log" no_secrets

e2e_end
