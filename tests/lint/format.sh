#!/bin/sh
# All C is as clang-format 14 and .clang-format have it.  Later versions format
# macros and empty loops otherwise.
set -u
cd "${top_srcdir:-.}" || exit 1

format=
for f in clang-format-14 clang-format; do
	version=$($f --version 2>/dev/null |
	    sed 's/.*version \([0-9]*\)\..*/\1/')
	if [ "$version" = 14 ]; then
		format=$f
		break
	fi
done
if [ -z "$format" ]; then
	echo "not tested: the form of the C code, which needs clang-format 14," \
	    "not ${version:-none}"
	exit 77
fi
for dir in common cgi tools tests; do
	[ ! -d $dir ] || find $dir -name '*.[ch]' -print
done | sort | xargs "$format" --dry-run -Werror --style=file
