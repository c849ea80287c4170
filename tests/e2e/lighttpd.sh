# shellcheck shell=sh
# shellcheck disable=SC2154
# lighttpd for the end-to-end tests, behind lib.sh.

# lighttpd's configuration for $port and $READS.  (Bodies are streamed always:
# $BODY is nginx's.)
# (Through a pipe it logs each request at once, else every few seconds.)
lighttpd_make() {
	mkdir -p "$W/lighttpd/error" "$W/tmp/lighttpd" "$W/www"
	for f in "$top_srcdir"/conf/lighttpd/*.conf; do
		sed -e "s|/etc/tmpnix/lighttpd/|$W/lighttpd/|g" \
		    -e "s|/var/lib/tmpnix/|$S/|g" \
		    -e "s|/run/tmpnix/|$W/run/|g" \
		    -e "s|\"/dev/shm\", \"/var/tmp\"|\"$W/tmp/lighttpd\"|" \
		    "$f" >"$W/lighttpd/${f##*/}"
	done
	cp "$top_srcdir"/conf/lighttpd/error/*.html "$W/lighttpd/error/"
	if [ "$MODE" = cgi ]; then
		mv "$W/lighttpd/tmpnix_cgi.conf" "$W/lighttpd/tmpnix.conf"
		cgi_make "$W/lighttpd/tmpnix.conf"
	fi
	if [ "${READS-public}" = private ]; then
		lighttpd_choose reads_private reads_public
	fi
	cat >"$W/lighttpd/lighttpd.conf" <<EOT
server.port = $port
server.bind = "127.0.0.1"
server.modules = ( "mod_alias", "mod_redirect", "mod_accesslog" )
server.document-root = "$W/www"
server.errorlog = "$W/log/lighttpd-error.log"
server.breakagelog = "$W/log/lighttpd-breakage.log"
accesslog.filename = "|exec cat >>$W/log/access.log"
server.pid-file = "$W/tmp/lighttpd.pid"
mimetype.assign = ( ".html" => "text/plain" )
include "$W/lighttpd/tmpnix.conf"
${LIGHTTPD_EXTRA-}
EOT
}
# lighttpd_choose THIS OTHER: which of two includes is the comment.
lighttpd_choose() {
	f=$W/lighttpd/tmpnix.conf
	sed -e "s|^\([ 	]*\)#\(include .*tmpnix_$1\)|\1\2|" \
	    -e "s|^\([ 	]*\)\(include .*tmpnix_$2\)|\1#\2|" "$f" >"$f.new"
	mv "$f.new" "$f"
}
