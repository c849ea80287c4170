#!/bin/sh
# kill -9 at any moment: what was acknowledged is there, nothing else is left.
# shellcheck disable=SC1091,SC2015,SC2016,SC2154
. "$(dirname "$0")/lib.sh"

STORE=/nix/store
site_make $STORE stream
signer=$(cut -d : -f 1 "$S/keys/cache.pub")
site_start

restart() {
	prog_stop upload KILL
	prog_start upload
	prog_ready upload
}
# back KEY FILE: the key is served with the file's bytes; a narinfo has the
# server's signature besides.
back() {
	curl -q -s -f "$U/cache/$1" >"$W/back" || return
	case $1 in
	*.narinfo)
		grep -q "^Sig: $signer:" "$W/back" &&
		    sed -i '/^Sig: /d' "$W/back" || return
		;;
	esac
	cmp -s "$W/back" "$2"
}
# Every key in this file of "key file" lines is served.
readable() {
	while read -r k f; do
		back "$k" "$f" || {
			echo "$k"
			return 1
		}
	done <"$1"
}
# No spool file without a row that names it.
no_orphans() {
	find "$S/spool/ready" -type f | while read -r f; do
		[ "$(sql "SELECT count(*) FROM asset
		    WHERE spool = '${f##*/}'")" = 1 ] || echo "$f"
	done >"$W/orphans"
	[ ! -s "$W/orphans" ] && [ -z "$(find "$S/spool/incoming" -type f)" ]
}

# Right after a 2xx, one at a time.
for i in 1 2 3 4 5 6; do
	path_make "crash-$i" "number $i"
	put "$key" "$nar"
	kill -9 "$upload_pid"
	is "NAR $i" "$code" 201
	echo "$key $nar" >>"$W/acknowledged"
	restart
	put "$hash.narinfo" "$info"
	kill -9 "$upload_pid"
	is "narinfo $i" "$code" 201
	echo "$hash.narinfo $info" >>"$W/acknowledged"
	# Before the restart: tmpnix-cache alone has it.
	ok "both are readable while tmpnix-upload is dead" \
	    readable "$W/acknowledged"
	restart
	ok "and after its restart" readable "$W/acknowledged"
done
settle
ok "all of it gets stored" readable "$W/acknowledged"
ok "no orphans" no_orphans

# In the middle of many at once.
for i in $(seq 40); do
	path_make "many-$i" "$i $(head -c 200000 /dev/urandom | base64)"
	echo "$key $nar" >>"$W/many"
done
for round in 1 2 3; do
	mkdir "$W/r$round"
	for t in 0 1 2 3; do
		awk -v t=$t 'NR % 4 == t' "$W/many" | while read -r k f; do
			c=$(status -u ":$SECRET" -T "$f" "$U/cache/$k")
			case $c in
			20?) echo "$k $f" >>"$W/r$round/ack.$t" ;;
			esac
		done &
		eval "t$t=$!"
	done
	# Some have been acknowledged; a few more are on their way.
	many=$((round * 3))
	acknowledged() {
		[ "$(cat "$W/r$round"/ack.* 2>/dev/null | wc -l)" -ge "$many" ]
	}
	until_true 30 acknowledged || fail "uploads go on"
	restart
	for t in 0 1 2 3; do
		eval "wait \$t$t"
	done
	cat "$W/r$round"/ack.* >"$W/ack"
	ok "round $round: all $(wc -l <"$W/ack") acknowledged are readable" \
	    readable "$W/ack"
	settle
	ok "and are when they are stored" readable "$W/ack"
	ok "no orphans" no_orphans
done

# In the middle of a body.
head -c 30000000 /dev/zero >"$W/large"
k=$(nar_key "$W/large" .xz)
half() {
	raw_start 'print $s "PUT /cache/'"$k"' HTTP/1.1\r\n", $host, $auth,
	    "Content-Length: 30000000\r\n\r\n", "\0" x 15000000;
	    $s->flush; print while <$s>'
}
incoming() {
	[ -n "$(find "$S/spool/incoming" -type f -size +1000k)" ]
}
half
ok "half a body is in incoming/" until_true 30 incoming
restart
ok "incoming/ is empty after the restart" no_orphans
kill "$raw_pid" 2>/dev/null
wait "$raw_pid" 2>/dev/null
is "there is no such object" "$(status "$U/cache/$k")" 404
is "nor a row" "$(sql "SELECT count(*) FROM asset WHERE key = '$k'")" 0

# SIGTERM is no crash: it finishes what it has begun.
half
ok "half a body again" until_true 30 incoming
kill "$raw_pid" 2>/dev/null
wait "$raw_pid" 2>/dev/null
kill "$upload_pid"
wait "$upload_pid"
is "tmpnix-upload ends on SIGTERM with" $? 0
upload_pid=''
ok "nothing is left in incoming/" no_orphans
prog_start upload
prog_ready upload

# The index is whole.
is "integrity_check" "$(sql 'PRAGMA integrity_check')" ok
settle

e2e_end
