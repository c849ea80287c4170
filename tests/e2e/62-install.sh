#!/bin/sh
# make install: what it lays out, that it works from there, that it keeps what
# an administrator has edited, and that make uninstall takes the rest away.
# shellcheck disable=SC1091,SC2034,SC2154
. "$(dirname "$0")/lib.sh"

D=$W/dest
unset MAKEFLAGS MFLAGS MAKELEVEL DESTDIR
mk() {
	make -C "$top_builddir" DESTDIR="$D" "$@" >"$W/make.out" 2>&1 || {
		tail "$W/make.out"
		stop "make $*"
	}
}
# The directories this build was configured for.
printf 'include Makefile\nshow:\n' >"$W/show.mk"
for d in bindir libexecdir sysconfdir localstatedir runstatedir mandir docdir \
    prefix systemdsystemunitdir tmpnix_user web_group; do
	# shellcheck disable=SC2016
	printf '\t@echo '"'"'%s=$(%s)'"'"'\n' $d $d >>"$W/show.mk"
done
make -s -C "$top_builddir" -f "$W/show.mk" show >"$W/dirs" ||
    stop "the build's directories"
. "$W/dirs"
if [ "$systemdsystemunitdir" = no ]; then
	echo "not tested: units (--with-systemdsystemunitdir=no)"
fi

# Everything, and nothing else -------------------------------------------------
mk install
{
	for f in tmpnix tmpnix-build tmpnix-post-build-hook; do
		echo "$bindir/$f"
	done
	for f in cache upload drv guard; do
		echo "$libexecdir/tmpnix/tmpnix-$f"
	done
	(cd "$top_srcdir/conf" && find tmpnix.conf nginx lighttpd -type f) |
	    sed "s|^|$sysconfdir/tmpnix/|"
	(cd "$top_srcdir/man" && ls) | sed "s|.*\.\([1-8]\)\$|$mandir/man\1/&|"
	echo "$docdir/README"
	echo "$docdir/RELIABILITY"
	echo "$docdir/tmpnix.conf"
	[ "$systemdsystemunitdir" = no ] || {
		echo "$prefix/lib/sysusers.d/tmpnix.conf"
		echo "$prefix/lib/tmpfiles.d/tmpnix.conf"
		echo "$systemdsystemunitdir/tmpnix-.service.d/10-hardening.conf"
		for f in cache upload drv; do
			echo "$systemdsystemunitdir/tmpnix-$f.socket"
		done
		for f in cache upload drv init fsck; do
			echo "$systemdsystemunitdir/tmpnix-$f.service"
		done
		echo "$systemdsystemunitdir/tmpnix-fsck.timer"
	}
} | sort >"$W/wanted"
(cd "$D" && find . -type f) | sed 's|^\.||' | sort >"$W/got"
ok "the files that are installed" diff "$W/wanted" "$W/got"
ok "a directory for the state" test -d "$D$localstatedir/lib/tmpnix"
is "no place is left to be filled in" "$(grep -rlE \
    '@[a-z_]+dir@|@tmpnix_user@|@web_group@' "$D" | grep -v '/tmpnix-[a-z]*$')" ''

# The installed configuration ----------------------------------------------------
etc=$D$sysconfdir/tmpnix
ok "tmpnix.conf is good" "$D$bindir/tmpnix" -f "$etc/tmpnix.conf" -n
is "it has our state directory" "$(sed -n 's/^#state_dir = //p' \
    "$etc/tmpnix.conf")" "$localstatedir/lib/tmpnix"
is "the programs know where it is" "$("$D$libexecdir/tmpnix/tmpnix-cache" \
    --help | sed -n 's/.*-f file.*(default \(.*\)).*/\1/p')" "$sysconfdir/tmpnix/tmpnix.conf"
ok "nginx passes bodies on as they come" grep -q \
    "^[[:space:]]*include $sysconfdir/tmpnix/nginx/tmpnix_body_stream.conf" \
    "$etc/nginx/tmpnix.conf"
ok "nginx knows the sockets" grep -q \
    "server unix:$runstatedir/tmpnix/upload.sock;" \
    "$etc/nginx/tmpnix_programs_fastcgi.conf"
ok "CGI's knows the programs" grep -q "\"$libexecdir/tmpnix/tmpnix-drv\"" \
    "$etc/lighttpd/tmpnix_cgi.conf"
mkdir "$W/nginx-t" "$W/tmp"
sed "s|include $sysconfdir|include $D$sysconfdir|" "$etc/nginx/tmpnix.conf" |
    sed "s|listen 80;|listen 127.0.0.1:$(free_port);|" >"$W/nginx-t/tmpnix.conf"
cat >"$W/nginx-t/nginx.conf" <<EOT
pid $W/tmp/nginx-t.pid;
error_log stderr;
events { }
http {
	access_log off;
	client_body_temp_path $W/tmp;
	fastcgi_temp_path $W/tmp;
	proxy_temp_path $W/tmp;
	scgi_temp_path $W/tmp;
	uwsgi_temp_path $W/tmp;
	include $W/nginx-t/tmpnix.conf;
}
EOT
ok "nginx takes the configuration" nginx -t -e stderr -c "$W/nginx-t/nginx.conf"
mkdir "$W/lighttpd-t"
for f in "$etc"/lighttpd/*.conf; do
	sed "s|\"$sysconfdir|\"$D$sysconfdir|" "$f" >"$W/lighttpd-t/${f##*/}"
done
sed -i "s|$D$sysconfdir/tmpnix/lighttpd/tmpnix_|$W/lighttpd-t/tmpnix_|" \
    "$W/lighttpd-t/tmpnix.conf"
for how in connect spawn; do
	cat >"$W/lighttpd-t/lighttpd.conf" <<EOT
server.document-root = "$W"
server.modules = ( "mod_alias", "mod_redirect" )
include "$W/lighttpd-t/tmpnix.conf"
EOT
	ok "lighttpd takes the configuration, $how" lighttpd -tt -f \
	    "$W/lighttpd-t/lighttpd.conf"
	ok "  and knows the sockets" grep -q \
	    "\"$runstatedir/tmpnix/upload.sock" \
	    "$W/lighttpd-t/tmpnix_programs_$how.conf"
	sed -i -e 's|^include .*_connect|#&|' -e 's|^#\(include .*_spawn\)|\1|' \
	    "$W/lighttpd-t/tmpnix.conf"
done
# In the configuration of Debian's package, as its file says one should.
debian=/etc/lighttpd/lighttpd.conf
if [ -e $debian ]; then
	for f in tmpnix tmpnix_cgi; do
		{
			cat $debian
			echo "include \"$W/lighttpd-t/$f.conf\""
		} >"$W/lighttpd-t/debian.conf"
		ok "Debian's lighttpd takes $f.conf" lighttpd -tt -f \
		    "$W/lighttpd-t/debian.conf"
	done
else
	echo "not tested: $debian is not there"
fi
ok "  and the programs" grep -q \
    "\"$libexecdir/tmpnix/tmpnix-upload -d -f $sysconfdir/tmpnix/tmpnix.conf\"" \
    "$W/lighttpd-t/tmpnix_programs_spawn.conf"

# The installed programs serve ---------------------------------------------------
mkdir "$W/built"
ln -s "$D$bindir/tmpnix" "$D$libexecdir"/tmpnix/tmpnix-* "$W/built/"
built=$top_builddir
top_builddir=$W/built
site_make /nix/store stream
site_start
STORE=/nix/store
path_make installed "served by what was installed"
put "$key" "$nar"
is "a NAR is taken" "$code" 201
put "$hash.narinfo" "$info"
is "its narinfo too" "$code" 201
is "and given" "$(status "$U/cache/$hash.narinfo")" 200
site_stop
top_builddir=$built

# Units --------------------------------------------------------------------------
if [ "$systemdsystemunitdir" != no ]; then
	# systemd-analyze looks for the programs.
	cp -r "$D$systemdsystemunitdir" "$W/units"
	sed -i "s|^\(Exec[A-Za-z]*=\)\(/[^ ]*/tmpnix\)|\1$D\2|" \
	    "$W"/units/*.service
	systemd-analyze verify --man=no "$W"/units/*.service \
	    "$W"/units/*.socket >"$W/verify" 2>&1
	is "systemd-analyze verify" "$?$(cat "$W/verify")" 0
	# Exposure in tenths, as measured with systemd 252.
	for u in cache:2 upload:11 drv:4 init:2; do
		ok "tmpnix-${u%:*}.service: exposure at most ${u#*:}/10" \
		    systemd-analyze security --offline=yes --no-pager \
		    --threshold="${u#*:}" "$W/units/tmpnix-${u%:*}.service"
	done
	# What the units can't say by themselves.
	stop_timeout=$(sed -n 's/^#stop_timeout = \([0-9]*\)s$/\1/p' \
	    "$etc/tmpnix.conf")
	for u in cache upload drv; do
		s=$(sed -n 's/^TimeoutStopSec=\([0-9]*\)s$/\1/p' \
		    "$W/units/tmpnix-$u.service")
		ok "tmpnix-$u.service waits longer than stop_timeout" \
		    test "$s" -gt "$stop_timeout"
		is "tmpnix-$u.socket is where nginx looks" \
		    "$(sed -n 's/^ListenStream=//p' "$W/units/tmpnix-$u.socket")" \
		    "$runstatedir/tmpnix/$u.sock"
		is "tmpnix-$u.socket is for user and web server" \
		    "$(sed -n 's/^Socket\(User\|Group\)=//p' \
		    "$W/units/tmpnix-$u.socket" | tr '\n' ' ')" \
		    "$tmpnix_user $web_group "
	done
	is "the user is made" "$(sed -n 's/^u \([^ ]*\) .*/\1/p' \
	    "$D$prefix/lib/sysusers.d/tmpnix.conf")" "$tmpnix_user"
fi

# Again, over what was edited ------------------------------------------------------
echo 'url = http://edited.example' >>"$etc/tmpnix.conf"
echo '# edited' >>"$etc/nginx/tmpnix.conf"
mk install
ok "tmpnix.conf is kept" grep -q edited "$etc/tmpnix.conf"
ok "nginx's is kept" grep -q edited "$etc/nginx/tmpnix.conf"
ok "the new ones are beside it" test -f "$etc/tmpnix.conf.new" \
    -a -f "$etc/nginx/tmpnix.conf.new"
ok "and said to be" grep -q "keeping $etc/tmpnix.conf" "$W/make.out"
is "there is none where nothing was edited" \
    "$(find "$D" -name '*.new' | wc -l)" 2

echo data >"$D$localstatedir/lib/tmpnix/index.db"
mk uninstall
is "what make uninstall leaves: what was edited, and data" \
    "$(find "$D" -type f | sort)" "$(printf '%s\n' "$etc/nginx/tmpnix.conf" \
    "$etc/tmpnix.conf" "$D$localstatedir/lib/tmpnix/index.db" | sort)"
rm -r "$etc" "$D$localstatedir/lib/tmpnix"
mk install
mk uninstall
ok "of what was not edited, nothing" not test -e "$etc" \
    -o -e "$D$localstatedir/lib/tmpnix"

e2e_end
