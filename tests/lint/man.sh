#!/bin/sh
# The manual pages are good mdoc, and each key of the configuration stands in
# tmpnix.conf(5) and, with its default, in conf/tmpnix.conf.
set -eu

cd "${top_srcdir:?}"
rc=0
fail() {
	echo "man.sh: $*"
	rc=1
}

if command -v mandoc >/dev/null; then
	for page in man/*.[1-8]; do
		mandoc -T lint -W warning "$page" || fail "$page: see above"
	done
else
	fail "mandoc is missing: install mandoc"
fi

# A row of conf_keys.c's table: ROW(key, parser, "default", ..., or HUP(key, ...
# for those that a reload takes.
keys=$(sed -n 's/^	\(ROW\|HUP\)(\([a-z_]*\),.*/\2/p' common/conf_keys.c)
[ "$(echo "$keys" | wc -l)" -ge 10 ] || fail "no keys found in common/conf_keys.c"
for key in $keys; do
	grep -q "^\.It Ic $key Ns " man/tmpnix.conf.5 ||
		fail "man/tmpnix.conf.5: $key is missing"
	def=$(sed -n "s/^#$key = //p" conf/tmpnix.conf)
	[ -n "$def" ] || fail "conf/tmpnix.conf: no line \"#$key = ...\""
	# The page says "The default is VALUE." below each key.
	page=$(awk -v key="$key" '
	    $1 == ".It" { on = $2 == "Ic" && $3 == key }
	    on && prev == "The default is" { print $2; exit }
	    { prev = $0 }' man/tmpnix.conf.5)
	[ "$page" = "$def" ] ||
		fail "$key: man/tmpnix.conf.5 says \"$page\"," \
		    "conf/tmpnix.conf \"$def\""
done
# The keys that a reload takes stand in RELOADING, in the table's order.
live=$(sed -n 's/^	HUP(\([a-z_]*\),.*/\1/p' common/conf_keys.c)
page=$(sed -n '/^\.Sh RELOADING/,/^and the/s/^\.Ic \([a-z_]*\) ,$/\1/p' \
    man/tmpnix.conf.5)
[ "$page" = "$live" ] ||
	fail "man/tmpnix.conf.5: RELOADING does not have the keys of the HUP" \
	    "rows in common/conf_keys.c"
# And nothing else is in either.
for key in $(sed -n 's/^\.It Ic \([a-z_]*\) Ns .*/\1/p' man/tmpnix.conf.5) \
    $(sed -n 's/^#\([a-z_]*\) = .*/\1/p' conf/tmpnix.conf); do
	case "
$keys
" in
	*"
$key
"*) ;;
	*) fail "$key is documented but not in common/conf_keys.c" ;;
	esac
done
exit $rc
