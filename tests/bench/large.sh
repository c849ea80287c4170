#!/bin/sh
# A push of NARS (1,000) small NARs over 8 connections, until all are stored: to
# an empty cache and to one of ROWS (30,000) objects; ROUNDS (3), alternating,
# and the ratio of the medians.  Then what tmpnix-upload takes of a processor
# while nothing is to be done, with IDLE (200,000) objects.
# shellcheck disable=SC1091,SC2034,SC2154
WEB=nginx
. "$(dirname "$0")/../e2e/lib.sh"

site_make /nix/store
site_start

# NARs of one small file each, and curl's list of them.
mkdir "$W/nars"
NARS=${NARS:-1000} URL=$U SECRET=$SECRET DIR=$W/nars perl -MDigest::SHA=sha256 -e '
	sub str { my $s = shift; return pack("Q<", length $s) . $s .
	    "\0" x (-length($s) & 7) }
	sub base32 {
		my ($n, $out) = (shift, "");
		for my $i (reverse 0 .. 51) {
			my ($b, $s) = (int($i * 5 / 8), $i * 5 % 8);
			my $v = ord(substr $n, $b, 1) >> $s;
			$v |= ord(substr $n, $b + 1, 1) << (8 - $s) if $b < 31;
			$out .= substr "0123456789abcdfghijklmnpqrsvwxyz",
			    $v & 31, 1;
		}
		return $out;
	}
	open my $list, ">", "$ENV{DIR}/list" or die;
	for my $i (1 .. $ENV{NARS}) {
		my $nar = join "", map { str $_ } "nix-archive-1", "(", "type",
		    "regular", "contents", "file $i\n" x 20, ")";
		my $name = base32(sha256 $nar) . ".nar";
		open my $f, ">", "$ENV{DIR}/$name" or die;
		print $f $nar;
		close $f;
		print $list "next\n" if $i > 1;
		print $list "upload-file = \"$ENV{DIR}/$name\"\n",
		    "url = \"$ENV{URL}/cache/nar/$name\"\n",
		    "user = \":$ENV{SECRET}\"\nsilent\noutput = /dev/null\n",
		    "write-out = \"%{http_code}\\n\"\n";
	}'
now() {
	echo $(($(date +%s%N) / 1000000))
}
# An empty cache with this many stored objects.
anew() {
	prog_stop upload
	sql 'DELETE FROM reference; DELETE FROM path; DELETE FROM asset;
	    DELETE FROM audit'
	sql "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n
	    WHERE i < $1)
	    INSERT INTO asset (cache, key, size, sha256, content_type, state,
	    created) SELECT 'main', 'nar/' || lower(hex(randomblob(26))) ||
	    '.nar', 1000, randomblob(32), 'application/x-nix-nar', 'stored', i
	    FROM n WHERE $1 > 0; PRAGMA wal_checkpoint(TRUNCATE)" >/dev/null
	find "$S/store" "$S/spool/ready" -type f -delete
	prog_start upload
	prog_ready upload
}
waiting() {
	[ "$(sql "SELECT count(*) FROM asset WHERE state <> 'stored'")" != 0 ]
}
push() {
	begin=$(now)
	curl -q -Z --no-progress-meter --parallel-max 8 -K "$W/nars/list" |
	    grep -v '^20' | sort | uniq -c >&2
	pushed=$(now)
	while waiting; do
		perl -e 'select undef, undef, undef, 0.02'
	done
	echo $((pushed - begin)) $(($(now) - begin))
}
# median FILE FIELD
median() {
	sort -n -k "$2" "$1" |
	    awk -v f="$2" '{ a[NR] = $f } END { print a[int((NR + 1) / 2)] }'
}
for i in $(seq "${ROUNDS:-3}"); do
	anew 0
	push >>"$W/empty"
	anew "${ROWS:-30000}"
	push >>"$W/full"
done
for what in 1:acknowledged 2:stored; do
	e=$(median "$W/empty" "${what%:*}") f=$(median "$W/full" "${what%:*}")
	echo "${NARS:-1000} NARs ${what#*:}: $e ms, beside ${ROWS:-30000}" \
	    "objects $f ms, ratio $(awk "BEGIN { printf \"%.2f\", $f / $e }")"
done

ticks() {
	awk '{ print $14 + $15 }' "/proc/$upload_pid/stat"
}
anew "${IDLE:-200000}"
sleep 3
before=$(ticks)
sleep "${SECONDS_EACH:-20}"
echo "idle, ${IDLE:-200000} objects: $(awk "BEGIN { printf \"%.2f\",
    ($(ticks) - $before) * 100 / $(getconf CLK_TCK) / ${SECONDS_EACH:-20} }") %" \
    "of a processor"
exit 0
