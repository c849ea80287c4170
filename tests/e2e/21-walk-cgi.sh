#!/bin/sh
# 20-walk.sh with the programs as CGI, behind nginx and behind lighttpd.
rc=0
for WEB in ${WEB-nginx lighttpd}; do
	echo "--- CGI behind $WEB"
	MODE=cgi WEB=$WEB sh "$(dirname "$0")/20-walk.sh" || rc=1
done
exit $rc
