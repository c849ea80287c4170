#!/bin/sh
# Every shell script in the tree passes shellcheck.
set -u
cd "${top_srcdir:-.}" || exit 1

command -v shellcheck >/dev/null || {
	echo "shellcheck is missing (Debian: shellcheck)" >&2
	exit 1
}

# Names in our trees whose first line names sh, and *.sh.
scripts()
{
	for dir in conf tests tools .ci; do
		[ ! -d "$dir" ] || find "$dir" -type f -print
	done | sort | while IFS= read -r file; do
		case $file in
		*.sh) echo "$file" ;;
		*.[ch]) ;;
		*)
			head -n 1 "$file" | LC_ALL=C grep -qa \
			    '^#!.*[/ ]\(sh\|bash\|dash\)\( \|$\)' && echo "$file"
			;;
		esac
	done
}

rc=0
while IFS= read -r file; do
	[ -n "$file" ] || continue
	shellcheck -x "$file" || rc=1
done <<EOF
$(scripts)
EOF
exit $rc
