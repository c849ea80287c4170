#!/bin/sh
# What the programs give up: root, new rights, core dumps, other people's files.
# Started as root they run as another user than the web server's workers, and
# these read what they are to read.
# shellcheck disable=SC1091,SC2015,SC2016,SC2034,SC2154
. "$(dirname "$0")/lib.sh"

STORE=/nix/store
site_make $STORE stream
conf_set log_level debug
chmod 755 "$W"

# field PROGRAM NAME: of /proc/PID/status, blanks as one.
field() {
	eval "field_pid=\$$1_pid"
	sed -n "s/^$2:[[:blank:]]*//p" "/proc/$field_pid/status" |
	    tr -s '[:blank:]' ' ' | sed 's/ $//'
}
sealed() {
	for p in cache upload drv; do
		is "$p: no_new_privs" "$(field $p NoNewPrivs)" 1
		is "$p: its umask" "$(field $p Umask)" 0077
		eval "pid=\$${p}_pid"
		is "$p: no core" "$(sed -n 's/^Max core file size *//p' \
		    "/proc/$pid/limits" | tr -s ' ')" "0 0 bytes "
		# What can't be dumped is root's in /proc.
		is "$p: not dumpable" "$(stat -c %U "/proc/$pid/environ")" root
		if grep -q 'no sandbox: Landlock' "$W/log/$p.log"; then
			echo "not tested: $(grep -m 1 'no sandbox' "$W/log/$p.log")"
		else
			ok "$p: in a sandbox" \
			    grep -q 'in a sandbox: Landlock' "$W/log/$p.log"
		fi
	done
}
# refused WORD VALUE: with this user, tmpnix-cache ends with one line.
refused() {
	conf_set user "$2"
	timeout 60 "$top_builddir/tmpnix-cache" -d -f "$CONF" \
	    -s "$W/run/cache.sock" >"$W/refused" 2>&1 </dev/null
	is "user = $2: exit" $? 1
	is "user = $2: one line" "$(wc -l <"$W/refused")" 1
	ok "user = $2: $(sed 's/^[^ ]* //' "$W/refused")" \
	    grep -q -e "$1" "$W/refused"
	timeout 60 "$top_builddir/tmpnix-cache" -f "$CONF" \
	    -s "$W/run/cache.sock" >"$W/refused" 2>&1 </dev/null
	is "user = $2, without -d: exit" $? 1
	ok "user = $2, without -d: the reason is on standard error" \
	    grep -q -e "$1" "$W/refused"
}

if [ "$(id -u)" != 0 ]; then
	echo "not root: no change of user was tried"
	conf_set user no-such-user
	site_start
	sealed
	e2e_end
fi

refused 'started as root' none
refused 'no such user' no-such-user
refused 'no such group' nobody:no-such-group
refused 'has no group' 54321
refused 'must be a USER' ':x'

# Three users: root starts; nginx's workers are www-data; the programs, nobody,
# who may not be let into the build's directory.
mkdir "$W/bin"
cp "$top_builddir"/tmpnix "$top_builddir"/tmpnix-* "$W/bin"
chmod -R a+rX "$W/bin"
top_builddir=$W/bin
conf_set user nobody
conf_set stop_timeout 8s
mkdir "$W/exprs"
cp -r "$top_srcdir/tests/packages/." "$W/exprs"
echo "file.tests = $W/exprs" >>"$CONF"
conf_set drv_store_dir "$W/nix/store"
conf_set drv_secret_key_file "$S/keys/drv.sec"
chmod -R a+rX "$W/exprs" "$CONF" "$W/nginx"
sed -i 's/^user .*/user www-data;/' "$W/nginx/nginx.conf"
chown www-data "$W/tmp"
chown -R nobody:nogroup "$S"

# A secret key that is root's can't be read, and that is said.
cp "$S/keys/cache.sec" "$W/root.sec"
chmod 600 "$W/root.sec"
conf_set secret_key_file "$W/root.sec"
timeout 60 "$top_builddir/tmpnix-upload" -d -f "$CONF" \
    -s "$W/run/upload.sock" >"$W/refused" 2>&1 </dev/null
is "root's secret key: exit" $? 1
ok "root's secret key" grep -q "$W/root.sec: Permission denied" "$W/refused"
conf_set secret_key_file "$S/keys/cache.sec"

# The socket is for the programs' user and the web server's group.
prog_start() {
	"$top_builddir/tmpnix-$1" -d -f "$CONF" -s "$W/run/$1.sock" \
	    -o :www-data >>"$W/log/$1.log" 2>&1 </dev/null &
	eval "$1_pid=$!"
}
site_start
for p in cache upload drv; do
	is "$p: its user" "$(field $p Uid)" "65534 65534 65534 65534"
	is "$p: its group" "$(field $p Gid)" "65534 65534 65534 65534"
	is "$p: its groups" "$(field $p Groups)" 65534
	for c in CapInh CapPrm CapEff CapAmb; do
		is "$p: $c" "$(field $p $c)" 0000000000000000
	done
	is "$p: its socket" "$(stat -c '%a %U:%G' "$W/run/$p.sock")" \
	    "660 nobody:www-data"
done
sealed

# A set-group-ID directory gives the web server's group without -o, whoever
# starts the program.
prog_stop cache
install -d -o nobody -g www-data -m 2755 "$W/run2"
"$top_builddir/tmpnix-cache" -d -f "$CONF" -s "$W/run2/cache.sock" \
    >>"$W/log/cache.log" 2>&1 </dev/null &
cache_pid=$!
until_true 20 test -S "$W/run2/cache.sock"
is "a set-group-ID directory, started as root" \
    "$(stat -c '%a %U:%G' "$W/run2/cache.sock")" "660 nobody:www-data"
prog_stop cache
setpriv --reuid nobody --regid nogroup --clear-groups \
    "$top_builddir/tmpnix-cache" -d -f "$CONF" -s "$W/run2/cache.sock" \
    >>"$W/log/cache.log" 2>&1 </dev/null &
cache_pid=$!
until_true 20 test -S "$W/run2/cache.sock"
is "a set-group-ID directory, started as the user" \
    "$(stat -c '%a %U:%G' "$W/run2/cache.sock")" "660 nobody:www-data"
prog_stop cache
prog_start cache
prog_ready cache

# What is pushed can be read, by the web server's user, wherever it lies.
path_make hello "hello $(head -c 100000 /dev/urandom | base64)"
prog_stop upload KILL
prog_start upload
prog_ready upload
put "$key" "$nar"
is "a NAR" "$code" 201
put "$hash.narinfo" "$info"
is "its narinfo" "$code" 201
back() {
	curl -q -s -f "$U/cache/$key" | cmp -s - "$nar" &&
	    curl -q -s -f "$U/cache/$hash.narinfo" | grep -q "^StorePath: "
}
ok "read back" back
settle
ok "read back from the store" back
ok "by nginx alone" grep -q "^.*GET /cache/$key.* 200" "$W/log/access.log"
printf 'a log' >"$W/a-log"
log=log/$hash-hello.drv
put "$log" "$W/a-log"
is "a log" "$code" 201
settle
is "which comes by X-Accel-Redirect" "$(curl -q -s "$U/cache/$log")" "a log"
# (What is half-written lies in .put/, which is nobody else's.)
is "modes below store/" "$(find "$S/store" -name .put -prune -o \( -type d \
    ! -perm 755 -o -type f ! -perm 644 \) -print)" ""
is "modes of the index" "$(find "$S" -maxdepth 1 -name 'index.db*' \
    \( ! -user nobody -o -perm /077 \))" ""
# New directories, made by the programs: not narrower than they were.
prog_stop upload
rm -rf "$S/spool" "$S/store"
for p in cache drv; do
	prog_stop $p
done
sql 'DELETE FROM asset; DELETE FROM path; DELETE FROM nar' >/dev/null
chown nobody "$S"/index.db*
prog_start upload
prog_ready upload
for p in cache drv; do
	prog_start $p
	prog_ready $p
done
put "$key" "$nar"
put "$hash.narinfo" "$info"
put "$log" "$W/a-log"
is "once more, into new directories" "$code" 201
ok "read back" back
settle
ok "read back from the store" back
is "the log too" "$(curl -q -s "$U/cache/$log")" "a log"
is "their modes" "$(cd "$S" && stat -c '%a %n' spool spool/incoming \
    spool/ready store store/nar store/log | tr '\n' ' ')" \
    "755 spool 700 spool/incoming 755 spool/ready 755 store 755 store/nar 755 store/log "

# tmpnix-drv evaluates as that user, in its sandbox, and nginx reads what came
# of it.
req -u ":$SECRET" -X PUT "$U/drv/instantiate?file=tests&attr=top"
is "instantiate" "$code" 200 || cat "$W/body"
drv=$(sed 's|.*/||' "$W/body")
req "$U/drv/${drv%%-*}.narinfo"
is "its narinfo" "$code" 200
drv_nar=$(sed -n 's/^URL: //p' "$W/body")
is "its NAR" "$(status "$U/drv/$drv_nar")" 200
is "modes below drvs/" "$(find "$S/drvs" -name .put -prune -o \( -type d \
    ! -perm 755 -o -type f ! -perm -044 \) -print)" ""
is "modes of .put" "$(find "$S/store/.put" "$S/drvs/.put" -maxdepth 0 \
    ! -perm 700)" ""
is "all that was made is the user's" "$(find "$S" ! -user nobody)" ""

# Sockets in a directory of root's: nobody else can remove them, and the next
# start does.
for p in cache upload drv; do
	prog_stop $p
	ok "$p: its socket is left" test -S "$W/run/$p.sock"
	prog_start $p
	prog_ready $p
done
pass "started again over them"

# Without a sandbox.
prog_stop cache
conf_set sandbox no
: >"$W/log/cache.log"
prog_start cache
prog_ready cache
ok "sandbox = no" not grep -q 'in a sandbox' "$W/log/cache.log"

# The tmpnix command, called by root, acts as the owner of the state directory.
ok "root makes a key" tmpnix key generate owned-1
ok "and a token" tmpnix token add owned
ok "and signs" tmpnix sign -k "$S/keys/owned-1.sec"
is "all that was made is the owner's" "$(find "$S" ! -user nobody)" ""
ok "a key that is not the owner's is not used" not tmpnix sign -k "$W/root.sec"
ok "and who the owner is is said" grep -q 'files of user 65534' "$W/ok.out"
(
	CONF=$W/fresh.conf
	printf 'state_dir = %s\nuser = nobody\n' "$W/fresh" >"$CONF"
	tmpnix init
) >"$W/log/fresh.log" 2>&1
is "root's init: exit" $? 0
is "all that was made is the user's of tmpnix.conf" \
    "$(find "$W/fresh" ! -user nobody)" ""
is "the keys too" "$(stat -c '%U %a' "$W/fresh/keys/cache.sec")" "nobody 600"

e2e_end
