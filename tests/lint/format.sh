#!/bin/sh
# All C is as clang-format and .clang-format have it.
set -u
cd "${top_srcdir:-.}" || exit 1

command -v clang-format >/dev/null || {
	echo "clang-format is missing (Debian: clang-format)" >&2
	exit 1
}
for dir in common cgi tools tests; do
	[ ! -d $dir ] || find $dir -name '*.[ch]' -print
done | sort | xargs clang-format --dry-run -Werror --style=file
