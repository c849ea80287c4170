#!/bin/sh
# tmpnix-drv: what it answers, what it refuses, and that nothing a client or an
# evaluation does hurts it.
# shellcheck disable=SC1091,SC2016,SC2034,SC2086,SC2154
. "$(dirname "$0")/lib.sh"

STORE=$W/store
packages=$top_srcdir/tests/packages
site_make "$STORE"
mkdir "$W/overlays" "$W/large"
# Sources of a size that would show if they were held in memory.
head -c 100000000 /dev/urandom >"$W/large/source"
cat >"$W/large/default.nix" <<'EOT'
{
  large = derivation {
    name = "large";
    system = builtins.currentSystem;
    builder = "/bin/sh";
    src = ./source;
  };
}
EOT
cat >>"$CONF" <<EOT
file.p = $packages
file.f = $packages/default.nix
file.large = $W/large
file.gone = $W/nosuch
drv_overlays = $W/overlays
drv_memory = 1G
drv_jobs = 2
drv_queue = 20
log_level = debug
EOT
site_start

# ask FILE ATTR [ARG...]: instantiate; $code, $W/hdr, $W/body as req.
ask() {
	ask_q="file=$1&attr=$2"
	shift 2
	req -X PUT -u ":$SECRET" "$@" "$U/drv/instantiate?$ask_q"
}
# A line of the body that matches, and a status.
says() {
	is "$1: $2" "$code" "$2"
	grep -q -e "$3" "$W/body" || {
		fail "$1: no \"$3\" in:"
		cat "$W/body"
	}
}
# The programs that run for tmpnix-drv: guards, and what they guard.
guards() {
	pgrep -P "$drv_pid" -x tmpnix-guard
}
guarded() {
	for g in $(guards); do
		pgrep -P "$g"
	done
}
one_guarded() {
	[ -n "$(guarded)" ]
}
none_guarded() {
	[ -z "$(guards)" ]
}
entered() {
	grep -c ' entered, ' "$W/log/drv.log"
}

# Answers ---------------------------------------------------------------------
ask p top
says "text" 200 "^$STORE/[0-9a-z]\{32\}-top\.drv$"
is "one line" "$(wc -l <"$W/body")" 1
is "is plain text" "$(header Content-Type)" "text/plain; charset=utf-8"
drv=$(cat "$W/body")
hash=${drv##*/}
hash=${hash%%-*}
n=$(entered)
ask f top
is "a file and its directory are the same" "$(cat "$W/body")" "$drv"
is "what is known is not copied again" "$(entered)" "$n"
# (lighttpd wants a length in a POST.)
req -X POST -H "Content-Length: 0" -u ":$SECRET" "$U/drv/instantiate?attr=top&file=p"
is "POST" "$(cat "$W/body")" "$drv"
ask p top --data-binary some-body
is "a body does not matter" "$(cat "$W/body")" "$drv"
for a in nested.deep.er.list.0 nested.%22dotted.name%22 fixed multi multi.dev \
    from-source local; do
	ask p $a
	says "$a" 200 "\.drv$"
done
ask p multi -H 'Accept: application/json'
says "JSON" 200 '"drvPath": "'"$STORE"'/[0-9a-z]*-multi.drv"'
is "is JSON" "$(header Content-Type)" application/json
json() {
	perl -MJSON::PP -0777 -e '$j = decode_json(<STDIN>);
	    print eval $ARGV[0]' "$1" <"$W/body"
}
is "its outputs" "$(json 'join " ", sort keys %{$j->{outputs}}')" "dev doc out"
ok "an output's path" test "$(json '$j->{outputs}{dev}' |
    grep -c "^$STORE/[0-9a-z]\{32\}-multi-dev$")" = 1
is "its closure's count" "$(json '$j->{closureCount}')" 2
url=$(json '$j->{closureUrl}')
is "its closure's URL" "$(status "$url")" 200
is "its closure's bytes" "$(json '$j->{closureBytes}')" \
    "$(curl -q -s "$url" | zstd -dcq | tar -xO --wildcards -f - '*.narinfo' |
    awk '/^NarSize/ { n += $2 } END { print n }')"

# The cache -------------------------------------------------------------------
req "$U/drv/$hash.narinfo"
says "narinfo" 200 "^Sig: .*-drv-1:"
nar=$(sed -n 's/^URL: //p' "$W/body")
req "$U/drv/$nar"
is "NAR" "$code" 200
is "its bytes" "$(nar_key "$W/body")" "$nar"
client=$W/nix
client_make "$client"
mkdir "$STORE"
NX_STORE=$STORE
ok "nix copy takes it" nx "$client" nix copy --from "$U/drv" --derivation \
    "$drv" --option trusted-public-keys "$(cat "$S/keys/drv.pub")"
n=$(nx "$client" nix-store -qR "$drv" | wc -l)
for e in tar tar.gz tar.zst; do
	rm -rf "$W/un"
	mkdir "$W/un"
	req "$U/drv/$hash.closure.$e"
	is "closure.$e" "$code" 200
	case $e in
	tar) cp "$W/body" "$W/un.tar" ;;
	tar.gz) gzip -dc "$W/body" >"$W/un.tar" ;;
	tar.zst) zstd -dcq "$W/body" >"$W/un.tar" ;;
	esac
	ok "unpack it" tar -x -f "$W/un.tar" -C "$W/un"
	is "a narinfo for each" "$(find "$W/un" -name '*.narinfo' | wc -l)" "$n"
	ok "its own" cmp "$W/un/$hash.narinfo" "$S/drvs/$hash.narinfo"
	ok "a NAR for each" sh -c 'cd "$1" && cat *.narinfo |
	    sed -n "s/^URL: //p" | xargs ls >/dev/null' sh "$W/un"
	ok "nix-cache-info" grep -q "^StoreDir: $STORE$" "$W/un/nix-cache-info"
	req -I "$U/drv/$hash.closure.$e"
	is "HEAD of it" "$code" 200
done
for k in "${hash}x.closure.tar" "$hash.closure.tar.xz" "$hash.closure" \
    "0123456789abcdfghijklmnpqrsvwxyz.closure.tar" "../$hash.closure.tar"; do
	is "GET $k" "$(status --path-as-is "$U/drv/$k")" 404
done
is "PUT of a key" "$(status -u ":$SECRET" -X PUT "$U/drv/$hash.narinfo")" 405
is "GET of instantiate" "$(status "$U/drv/instantiate?file=p&attr=top")" 405

# A closure of 100 MB, to a client that reads it and one that leaves.
ask large large
is "large sources" "$code" 200
large=$(cat "$W/body")
large=${large##*/}
large=${large%%-*}
is "its closure" "$(curl -q -s "$U/drv/$large.closure.tar" |
    tar -xO --wildcards -f - 'nar/*' | wc -c | awk '{ print ($1 > 1e8) }')" 1
curl -q -s "$U/drv/$large.closure.tar.gz" 2>/dev/null | head -c 1000 >/dev/null
curl -q -s --limit-rate 100k -o "$W/slow" "$U/drv/$large.closure.tar" &
slow=$!
# (A signal between fork and exec would be lost.)
until_true 20 test -s "$W/slow" || fail "a slow client gets something"
hwm=$(awk '/^VmHWM/ { print $2 }' "/proc/$drv_pid/status")
echo "tmpnix-drv had at most $hwm kB"
[ -n "${TMPNIX_WRAP-}" ] || grep -q '__asan' "$top_builddir/tmpnix-drv" ||
	ok "in constant memory" test "$hwm" -lt 60000
# As many at once as evaluations (drv_jobs): the others are told to come again.
curl -q -s --limit-rate 100k -o "$W/slow-2" "$U/drv/$large.closure.tar" &
slow_2=$!
until_true 20 test -s "$W/slow-2" || fail "a second one gets something"
req "$U/drv/$hash.closure.tar"
is "a third is told to come again" "$code $(header retry-after)" "503 5"
ok "  in words" grep -q drv_jobs "$W/body"
is "  HEAD makes none" "$(status -I "$U/drv/$hash.closure.tar")" 200
is "  the rest is answered" "$(status "$U/drv/$hash.narinfo")" 200
kill $slow $slow_2
wait $slow $slow_2 2>/dev/null
again() {
	[ "$(status "$U/drv/$hash.closure.tar")" = 200 ]
}
ok "it answers after clients that left" until_true 20 again
# Bytes that are not there: the answer must not look whole.
mv "$S/drvs/$nar" "$W/away"
ok "a bundle with a hole is cut" not curl -q -s -f -o "$W/cut" \
    "$U/drv/$hash.closure.tar"
mv "$W/away" "$S/drvs/$nar"

# What an evaluation does -----------------------------------------------------
ask p failing
says "throw" 422 'this package fails to evaluate'
ask p coloured
says "colours" 422 'red, a bell, a tab *\.'
ok "UTF-8 without control characters" perl -0777 -ne \
    'exit !(utf8::decode($_) && !/[\x00-\x09\x0b-\x1f\x7f-\x9f]/)' "$W/body"
ask p undefined
says "a missing attribute inside" 422 "no-such-attribute"
ask p nosuch.attribute
says "a missing attribute" 422 "nosuch"
ask p number
says "no derivation" 422 "derivation"
ask p set
says "several derivations" 422 "several derivations"
ask p reads-etc
says "a file outside" 422 "restricted mode"
ask p memory
says "memory" 422 "emory"
ask gone top
says "a file that is gone" 422 "nosuch"
ask p big -H 'Accept: application/json'
is "1,500 derivations" "$(json '$j->{closureCount}')" 1500
ask p top
is "it still answers" "$(cat "$W/body")" "$drv"

# What nix copy left after a power cut is made again.
ask p other-20
bad=$(sed 's|.*/||; s|-.*||' "$W/body")
sql "DELETE FROM reference WHERE cache = 'drv' AND hash_part = '$bad'"
sql "DELETE FROM path WHERE cache = 'drv' AND hash_part = '$bad'"
f=$S/drvs/$(sed -n 's/^URL: //p' "$S/drvs/$bad.narinfo")
: >"$f"
ask p other-20
is "an empty NAR is made again" "$code" 200
ok "its bytes are there" test -s "$f"

# One without our signature too: it came from elsewhere.
ask p other-21
bad=$(sed 's|.*/||; s|-.*||' "$W/body")
sql "DELETE FROM reference WHERE cache = 'drv' AND hash_part = '$bad'"
sql "DELETE FROM path WHERE cache = 'drv' AND hash_part = '$bad'"
sed -i '/^Sig: /d' "$S/drvs/$bad.narinfo"
ask p other-21
is "an unsigned narinfo is made again" "$code" 200
req "$U/drv/$bad.narinfo"
says "with its signature" 200 "^Sig: .*-drv-1:"

# Bad input -------------------------------------------------------------------
for a in '' . .. a..b 'a;id' 'a|id' 'a%20b' 'a%0ab' 'a%0d%0ab' '$(id)' \
    '%60id%60' "'a'" '%22a' 'a%22' '%22%22' '%22a%20b%22' '%22$%7ba%7d%22' \
    --option --help -A 'a%00b' 'a/../b' '../../etc/passwd' 'a%5cb' '%zz' '%' \
    'a*' 'a%3fb' 'a!out' 'a^out' 'caf%c3%a9' '%ff'; do
	ask p "$a"
	is "attr $a" "$code" 400
	is "attr $a: one line" "$(wc -l <"$W/body")" 1
done
ask p "$(head -c 600 /dev/zero | tr '\0' a)"
is "attr of 600 bytes" "$code" 400
ask p "$(head -c 10000 /dev/zero | tr '\0' a)"
is "attr of 10 kB" "$code" 400
for f in nosuch P p.nix; do
	ask "$f" top
	is "file $f" "$code" 404
	is "file $f: one line" "$(wc -l <"$W/body")" 1
	is "file $f: it says which there are" "$(cat "$W/body")" \
	    "there is no file $f here: there are f, gone, large, p"
done
for f in '' ../p ..%2fp /etc/passwd .%2fp . .. -p 'p%0a' 'p%00' 'p%20q' \
    "$(head -c 10000 /dev/zero | tr '\0' a)"; do
	ask "$f" top
	is "file $(echo "$f" | head -c 30)" "$code" 400
	is "one line" "$(wc -l <"$W/body")" 1
done
for q in '' '?' '?file=p' '?attr=top' '?file=p&attr=top&attr=low' \
    '?file=p&file=p&attr=top' '?file=p&attr=top&drv=x' '?top'; do
	req -X PUT -u ":$SECRET" "$U/drv/instantiate$q"
	is "query $q" "$code" 400
done
head -c 70000 /dev/zero >"$W/body70k"
ask p top --data-binary "@$W/body70k"
is "a large body" "$code" 413

# Tokens.
req -X PUT "$U/drv/instantiate?file=p&attr=top"
says "no token" 401 token
is "a challenge" "$(header WWW-Authenticate)" 'Basic realm="tmpnix"'
req -X PUT -u :nonsense "$U/drv/instantiate?file=p&attr=top"
is "a bad token" "$code" 401
tmpnix token add pusher --push >"$W/netrc.push"
req -X PUT --netrc-file "$W/netrc.push" "$U/drv/instantiate?file=p&attr=top"
says "a token without the scope" 403 "lacks the scope drv"
none_guarded || fail "something is left running"

# Many ------------------------------------------------------------------------
n=$(entered)
seq 12 | xargs -P 12 -I{} curl -q -s -X PUT -u ":$SECRET" -o /dev/null \
    -w '%{http_code}\n' "$U/drv/instantiate?file=p&attr=low-9" |
    sort | uniq -c >"$W/codes"
is "12 identical requests" "$(tr -s ' ' <"$W/codes")" " 12 200"
is "share a copy" "$(($(entered) - n))" 1

{
	seq 0 23 | sed 's/^/low-/'
	seq 0 23 | sed 's/^/other-/'
} >"$W/attrs"
seq 200 | while read -r i; do
	sed -n "$((i % 48 + 1))p" "$W/attrs"
done >"$W/200"
xargs -P 200 -I{} curl -q -s -X PUT -u ":$SECRET" -o /dev/null -m 120 \
    -w '%{http_code}\n' "$U/drv/instantiate?file=p&attr={}" \
    <"$W/200" >"$W/codes" &
many=$!
most=0
while kill -0 $many 2>/dev/null; do
	n=$(guards | wc -l)
	[ "$n" -le $most ] || most=$n
	[ "$n" -gt 0 ] || sleep 0.05
done
wait $many
is "200 requests, 200 answers" "$(grep -c . "$W/codes")" 200
is "each done or told to wait" "$(grep -vc -e 200 -e 429 "$W/codes")" 0
ok "22 or more were done" test "$(grep -c 200 "$W/codes")" -ge 22
ok "some were told to wait" test "$(grep -c 429 "$W/codes")" -ge 1
ok "at most two at once, not $most" test $most -le 2
ask p top
is "it still answers" "$(cat "$W/body")" "$drv"

# Ends ------------------------------------------------------------------------
endless() {
	curl -q -s -m 600 -X PUT -u ":$SECRET" -o "$W/endless" \
	    -w '%{http_code}\n' "$U/drv/instantiate?file=p&attr=endless" \
	    >"$W/endless.code" &
	endless_pid=$!
	until_true 20 one_guarded || fail "the evaluation does not start"
	left=$(guards; guarded)
}
none_left() {
	for p in $left; do
		! kill -0 "$p" 2>/dev/null || return 1
	done
}
# leaver: a client, $raw_pid, that is going to leave.  lighttpd 1.4.69 watches for
# that only a connection that it once had to wait at: so it gets the first bytes
# alone, and the others when it has read them.
leaver() {
	raw_start '
		sub queues {
			my ($local, $remote) = map { sprintf ":%04X", $_ } @_;
			open my $f, "<", "/proc/net/tcp" or die;
			for (<$f>) {
				my @f = split;
				return split /:/, $f[4] if
				    $f[1] =~ /$local$/ && $f[2] =~ /$remote$/;
			}
		}
		my @mine = ($s->sockport, $ENV{PORT});
		print $s "PUT ";
		$s->flush;
		select undef, undef, undef, 0.01
		    until (queues(@mine))[0] =~ /^0+$/ &&
		    (queues(reverse @mine))[1] =~ /^0+$/;
		print $s "/drv/instantiate?file=p&attr=endless HTTP/1.1\r\n",
		    $host, $auth, "\r\n";
		$s->flush;
		alarm 0;
		print <$s>;
	'
}
leaver
until_true 20 one_guarded || fail "the evaluation does not start"
left=$(guards; guarded)
kill $raw_pid
wait $raw_pid 2>/dev/null
ok "the client goes: the evaluation is killed" until_true 20 none_left
ask p top
is "it still answers" "$(cat "$W/body")" "$drv"

# Two share a run: one may leave.
leaver
first=$raw_pid
until_true 20 one_guarded || fail "the evaluation does not start"
left=$(guards; guarded)
leaver
second=$raw_pid
until_true 20 grep -q 'p endless: joins a run' "$W/log/drv.log" ||
	fail "the second request does not join the first"
kill $first
wait $first 2>/dev/null
ask p low-1 # takes longer than noticing
ok "one of two goes: it goes on" kill -0 $left
kill $second
wait $second 2>/dev/null
ok "the other goes too: it is killed" until_true 20 none_left

endless
kill -9 "$drv_pid"
ok "kill -9 of tmpnix-drv leaves no orphan" until_true 20 none_left
wait "$drv_pid" 2>/dev/null
wait $endless_pid
case $WEB in
lighttpd) told=500 ;; # a 503 only where it can't connect
*) told=503 ;;
esac
is "its client is told" "$(cat "$W/endless.code")" $told
prog_start drv
prog_ready drv
ask p top
is "a later request works" "$(cat "$W/body")" "$drv"

endless
prog_stop drv
ok "a graceful stop kills it" none_left
wait $endless_pid
is "its client is told" "$(cat "$W/endless.code")" 503

conf_set drv_timeout 2s
prog_start drv
prog_ready drv
ask p endless
says "drv_timeout" 504 "longer than 2 s"
ok "it is killed" until_true 20 none_guarded
prog_stop drv
conf_set drv_timeout 60s
conf_set drv_cpu 1s
prog_start drv
prog_ready drv
ask p endless
says "processor time" 422 "over a limit of memory (1024 MiB) or processor time"

# Settings --------------------------------------------------------------------
prog_stop drv
conf_set drv_cpu 0
conf_set drv_eval impure
conf_set drv_args '--argstr salt pepper'
prog_start drv
prog_ready drv
ask p reads-etc
is "impure" "$code" 200
ask p top
ok "drv_args" test "$(cat "$W/body")" != "$drv"
prog_stop drv
conf_set drv_store_dir /tmp/nix/store
ok "another store directory is refused" not \
    "$top_builddir/tmpnix-drv" -d -f "$CONF" -s "$W/run/x.sock"
ok "it says why" grep -q "put it back" "$W/ok.out"
e2e_end
