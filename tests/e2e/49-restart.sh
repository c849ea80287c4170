#!/bin/sh
# Each part is killed or stopped, and started again, while the whole works: who
# doesn't need it notices nothing, nothing that was acknowledged is lost, and
# once it is up there is no error.
# shellcheck disable=SC1091,SC2015,SC2016,SC2034,SC2154
. "$(dirname "$0")/lib.sh"

STORE=$W/nix/store
site_make "$STORE" stream
conf_set stop_timeout 8s
cp -r "$top_srcdir/tests/packages" "$W/exprs"
echo "file.tests = $W/exprs" >>"$CONF"
site_start

# What is read: a narinfo that nginx has as a file, an object that tmpnix-cache
# answers for, and a derivation.
path_make static "static $(head -c 20000 /dev/urandom | base64)"
put "$key" "$nar"
put "$hash.narinfo" "$info"
static=$U/cache/$hash.narinfo
path_make asked "asked"
echo 'a log' >"$W/a-log"
put "log/$hash-asked.drv" "$W/a-log"
asked=$U/cache/log/$hash-asked.drv
req -u ":$SECRET" -X PUT "$U/drv/instantiate?file=tests&attr=top"
drv=$(sed 's|.*/||' "$W/body")
derived=$U/drv/${drv%%-*}.closure.tar
settle
for u in "$static" "$asked" "$derived"; do
	is "${u#"$U"}" "$(status "$u")" 200
done
# What is written.
for i in $(seq 120); do
	head -c $((1000 + i * 500)) /dev/urandom >"$W/body.$i"
	echo "$(nar_key "$W/body.$i" .xz) $W/body.$i"
done >"$W/bodies"

# Each request is a line: the phase it began in, the one it ended in, status.
phase() {
	echo "$1" >"$W/phase.new"
	mv "$W/phase.new" "$W/phase"
}
reader() {
	while [ ! -e "$W/enough" ]; do
		before=$(cat "$W/phase")
		c=$(status "$2")
		echo "$before $(cat "$W/phase") $c" >>"$W/$1.seen"
	done
}
writer() {
	while [ ! -e "$W/enough" ]; do
		awk -v t="$1" 'NR % 3 == t' "$W/bodies" | while read -r k f; do
			[ ! -e "$W/enough" ] || break
			before=$(cat "$W/phase")
			c=$(status -u ":$SECRET" -T "$f" "$U/cache/$k")
			echo "$before $(cat "$W/phase") $c" >>"$W/write$1.seen"
			case $c in
			20?) echo "$k $f" >>"$W/ack.$1" ;;
			esac
		done
	done
}
# Nix itself: what it reads, nix-cache-info first, and what it pushes.
client_make "$W/client"
client_make "$W/pusher"
sed -i '/^netrc-file/d' "$W/client/conf/nix.conf"
nixer() {
	while [ ! -e "$W/enough" ]; do
		before=$(cat "$W/phase")
		c=200
		rm -rf "$W/client/home/cache/nix"
		NX_STORE=$STORE nx "$W/client" timeout 60 nix path-info \
		    --store "$U/cache" "$static_path" >"$W/nixer.out" 2>&1 ||
		    c=$(tail -n 1 "$W/nixer.out" | tr ' ' _)
		echo "$before $(cat "$W/phase") $c" >>"$W/nix.seen"
	done
}
pusher() {
	n=0
	while [ ! -e "$W/enough" ]; do
		n=$((n + 1))
		before=$(cat "$W/phase")
		echo "number $n" >"$W/pushed.$n"
		p=$(NX_STORE=$STORE nx "$W/pusher" nix-store --add \
		    "$W/pushed.$n")
		c=200
		# 2.8 hangs at times when its upload breaks off: see tmpnix(7).
		NX_STORE=$STORE nx "$W/pusher" timeout 15 nix copy --to \
		    "$U/cache?compression=none" "$p" >"$W/pusher.out" 2>&1 ||
		    c=$(tail -n 1 "$W/pusher.out" | tr ' ' _)
		echo "$before $(cat "$W/phase") $c" >>"$W/push.seen"
		[ "$c" != 200 ] || echo "$p" >>"$W/pushed"
	done
}
static_path=$(sed -n 's/^StorePath: //p' "$W/made/static.narinfo")
phase up.0
loops=''
load_start() {
	reader static "$static" &
	loops="$loops $!"
	reader asked "$asked" &
	loops="$loops $!"
	reader derived "$derived" &
	loops="$loops $!"
	nixer &
	loops="$loops $!"
	pusher &
	loops="$loops $!"
	for i in 0 1 2; do
		writer $i &
		loops="$loops $!"
	done
	other_pids=$loops
}
all='static asked derived nix push write0 write1 write2'
reads='static asked derived nix'
# went_on N LOOP...: each of them did N whole requests in this phase.
went_on() {
	went_n=$1
	shift
	went_p=$(cat "$W/phase")
	for l in "$@"; do
		[ "$(grep -c "^$went_p $went_p " "$W/$l.seen")" -ge \
		    "$went_n" ] || return 1
	done
}
load_start
# shellcheck disable=SC2086
until_true 60 went_on 3 $all || stop "the load does not start"

# unaffected PART: the loops that don't need it.
unaffected() {
	case $1 in
	cache) echo static derived write0 write1 write2 ;;
	upload) echo static asked derived nix ;;
	drv) echo static asked nix push write0 write1 write2 ;;
	nginx) ;;
	esac
}
round=0
part_round() {
	round=$((round + 1))
	phase "down-$1.$round"
	case $1 in
	nginx)
		kill "-$2" "$web_pid"
		wait "$web_pid" 2>/dev/null
		web_pid=
		# Workers that lost their master: the port is theirs until they
		# end.
		[ "$2" != KILL ] || nginx_orphans
		;;
	*) prog_stop "$1" "$2" ;;
	esac
	# shellcheck disable=SC2046
	until_true 60 went_on 4 $(unaffected "$1") ||
	    fail "without $1 ($2) the others go on"
	if [ "$1" = nginx ]; then
		web_start
	else
		prog_start "$1"
	fi
	for p in cache upload drv; do
		prog_ready $p
	done
	phase "up.$round"
	# shellcheck disable=SC2086
	until_true 60 went_on 3 $all || fail "after $1 ($2) all goes on"
}
# Stopped or killed, and at once started again: readers wait that long.
restart_round() {
	round=$((round + 1))
	phase "restart-$1.$round"
	prog_stop "$1" "$2"
	prog_start "$1"
	prog_ready "$1"
	# shellcheck disable=SC2086
	until_true 60 went_on 2 $reads || fail "reads go on after $1 ($2)"
	phase "up.$round"
	# shellcheck disable=SC2086
	until_true 60 went_on 1 $all || fail "after $1 ($2) all goes on"
}
nginx_orphans() {
	for p in /proc/[0-9]*; do
		[ "$(sed 's/.*) . \([0-9]*\) .*/\1/' "$p/stat" 2>/dev/null)" = 1 ] &&
		    tr '\0' ' ' <"$p/cmdline" 2>/dev/null |
		    grep -q '^nginx: worker' &&
		    [ "$(readlink "$p/fd/2")" = "$W/log/nginx-error.log" ] &&
		    kill -9 "${p#/proc/}"
	done
	true
}
for again in $(seq "${ROUNDS:-2}"); do
	for part in cache upload drv nginx; do
		for sig in KILL TERM; do
			part_round "$part" "$sig"
		done
	done
	for sig in KILL TERM; do
		restart_round cache $sig
		restart_round drv $sig
	done
done
: >"$W/enough"
for p in $loops; do
	wait "$p"
done
other_pids=''

# bad LOOP PHASES: statuses of whole requests in these phases that are no 2xx.
bad() {
	awk -v p="$2" '$1 == $2 && $1 ~ p && $3 !~ /^20[01]$/' "$W/$1.seen" |
	    sort | uniq -c
}
for l in $all; do
	is "$l: errors while all is up, of $(wc -l <"$W/$l.seen") requests" \
	    "$(bad "$l" '^up')" ""
done
for l in $reads; do
	is "$l: errors while a program is started again" "$(awk '
	    ($1 ~ /^restart/ || $2 ~ /^restart/) && $3 !~ /^20[01]$/' \
	    "$W/$l.seen")" ""
done
for part in cache upload drv; do
	for l in $(unaffected "$part"); do
		is "$l: errors while $part is away" \
		    "$(bad "$l" "^down-$part")" ""
	done
done
# And those that do need it are told so, and to try again.
for l in asked derived write0 write1 write2; do
	is "$l: answers but success, 503 and none" \
	    "$(awk '$1 !~ /nginx/ && $2 !~ /nginx/ &&
		$3 !~ /^(20[01]|503)$/' "$W/$l.seen")" ""
done
sort -u "$W"/ack.* >"$W/ack"
lost=0
while read -r k f; do
	curl -q -s -f "$U/cache/$k" | cmp -s - "$f" || {
		echo "lost: $k"
		lost=$((lost + 1))
	}
done <"$W/ack"
is "lost, of $(wc -l <"$W/ack") acknowledged, after $round restarts" $lost 0
# shellcheck disable=SC2046
ok "all $(wc -l <"$W/pushed") paths that Nix pushed are there" \
    nx "$W/client" env NIX_STORE_DIR="$STORE" nix path-info --store "$U/cache" \
    --refresh $(cat "$W/pushed")
settle
is "integrity_check" "$(sql 'PRAGMA integrity_check')" ok
ok "no half body is left" no_bodies

e2e_end
