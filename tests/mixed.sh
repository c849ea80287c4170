#!/bin/sh
# Everything at once, for programs built with sanitizers (tests/sanitize.sh):
# pushes by several tokens, reads, the relay, evaluations, commands, reloads, a
# restart in the middle, and the end.  What is right with it is checked in e2e/;
# here it only has to happen.
# shellcheck disable=SC1091,SC2034,SC2153,SC2154
. "$(dirname "$0")/e2e/lib.sh"

STORE=$W/store
PUSHERS=4 ROUNDS=${ROUNDS-25}
site_make "$STORE" stream
conf_set check_references yes
# Reports are written where no program may write.
conf_set sandbox no
conf_set log_level debug
cp -r "$top_srcdir/tests/packages" "$W/packages"
echo "file.p = $W/packages" >>"$CONF"
for i in $(seq $PUSHERS); do
	tmpnix token add "pusher-$i" --push --pull >"$W/netrc.$i" \
	    2>>"$W/log/init.log" || stop "tmpnix token add"
done
# Each path refers to the one before, and every second is compressed.
for i in $(seq "$ROUNDS"); do
	path_make "mixed-$i" "$i $(seq $((i * 50)))" \
	    "${hash:+$hash-mixed-$((i - 1))}"
	if [ $((i % 2)) = 0 ]; then
		xz -k "$nar"
		packed=$(nar_key "$nar.xz" .xz)
		sed -i -e "s|^URL: .*|URL: $packed|" \
		    -e 's/^Compression: .*/Compression: xz/' \
		    -e '/^File/d' "$info"
		nar=$nar.xz key=$packed
	fi
	echo "$key $nar $hash $info" >>"$W/paths"
done
site_start

# push N: all of them, beside the others who push the same.
push() {
	secret=$(sed -n 's/.*password  *\([^ ]*\).*/\1/p' "$W/netrc.$1")
	# (Once: more of them wait for longer and longer.)
	status -T "$info" -u ":wrong" "$U/cache/$hash.narinfo"
	while read -r k n h f; do
		status -I -u ":$secret" "$U/cache/$h.narinfo"
		status -T "$n" -u ":$secret" "$U/cache/$k"
		status -T "$f" -u ":$secret" "$U/cache/$h.narinfo"
		echo "$1 $k" | status -T - -H 'Content-Type: text/plain' \
		    -H 'Content-Length: 0' -u ":$secret" "$U/cache/log/$h-x.drv"
		status -T "$f" -u ":$secret" "$U/cache/log/$h-x.drv"
		# Cut off, and not what its name says.
		head -c 100 "$n" | status -T - -m 1 -H 'Content-Length: 10000' \
		    -u ":$secret" "$U/cache/$k"
		status -T "$f" -u ":$secret" "$U/cache/$k"
	done <"$W/paths"
}
# read_all: until the pushers are done.
read_all() {
	while [ ! -e "$W/done" ]; do
		while read -r k n h f; do
			for u in "$h.narinfo" "$k" "$h.ls" "log/$h-x.drv" \
			    nix-cache-info "none-$k"; do
				status "$U/cache/$u"
			done
			status -r 8-20 "$U/cache/$k"
			status -H 'If-None-Match: *' "$U/cache/$h.narinfo"
			status "$U/"
		done <"$W/paths"
	done
}
evaluate() {
	for a in top low-3 other-3 failing a..b nested.deep.er.b top big; do
		status -X PUT -u ":$SECRET" "$U/drv/instantiate?file=p&attr=$a"
		drv=$(curl -q -s -X PUT -u ":$SECRET" \
		    "$U/drv/instantiate?file=p&attr=top" | sed 's|.*/||')
		status "$U/drv/${drv%%-*}.narinfo"
		status "$U/drv/${drv%%-*}.closure.tar.zst"
	done
}
command() {
	while [ ! -e "$W/done" ]; do
		tmpnix status
		tmpnix fsck --bytes
		tmpnix log
		tmpnix retry
		tmpnix sign
		tmpnix token add "once-$((n += 1))" --push
		tmpnix token list
	done
}
pids=''
for i in $(seq $PUSHERS); do
	push "$i" >"$W/push.$i" 2>&1 &
	pids="$pids $!"
done
evaluate >"$W/evaluate" 2>&1 &
pids="$pids $!"
others=''
for i in 1 2 3; do
	read_all >"$W/read.$i" 2>&1 &
	others="$others $!"
done
command >"$W/command" 2>&1 &
others="$others $!"
other_pids="$other_pids $pids $others"

# reload WHAT: the next configuration, for all three.
reload() {
	conf_set priority "$1"
	for p in $cache_pid $upload_pid $drv_pid; do
		kill -HUP "$p"
	done
}
reloads=0
running() {
	for p in $pids; do
		! kill -0 "$p" 2>/dev/null || return 0
	done
	return 1
}
while running; do
	reloads=$((reloads + 1))
	reload $((reloads % 100 + 1))
	if [ $reloads = 20 ]; then
		prog_stop upload
		prog_start upload
		prog_ready upload
	fi
	sleep 0.5
done
: >"$W/done"
# shellcheck disable=SC2086
wait $pids $others
other_pids=''
settle
pass "$reloads reloads"
is "every path is there" "$(sql "SELECT count(*) FROM path
    WHERE cache = 'main'")" "$ROUNDS"
tmpnix fsck --bytes >"$W/fsck" 2>&1
is "fsck finds nothing" $? 0 || cat "$W/fsck"
site_stop
for p in cache upload drv; do
	ok "tmpnix-$p ended well" grep -q 'stopping: SIGTERM' "$W/log/$p.log"
done
e2e_end
