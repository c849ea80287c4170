#!/bin/sh
# Calls that don't occur in our C (style: no unbounded copies, no parsers
# without error, no shell, nothing that threads share), and formats that are
# not literals.
set -u
cd "${top_srcdir:-.}" || exit 1

forbidden='strcpy stpcpy strcat sprintf vsprintf atoi atol atoll atof strtok
	alloca gets system popen localtime gmtime ctime asctime strerror
	setenv putenv unsetenv tmpnam mktemp'

# Printing functions and which argument is the format.
formats='log_warn 1
log_warnx 1
log_info 1
log_debug 1
fatal 1
fatalx 1
printf 1
syslog 2
fprintf 2
dprintf 2
buf_addf 2
snprintf 3'

# Comments and the insides of strings taken out, line numbers kept; the
# quotes of a string stay.
# shellcheck disable=SC2016 # awk's dollars
strip='
{
	out = ""
	n = length($0)
	for (i = 1; i <= n; i++) {
		c = substr($0, i, 1)
		two = substr($0, i, 2)
		if (comment) {
			if (two == "*/") {
				comment = 0
				i++
			}
		} else if (quote != "") {
			if (c == "\\")
				i++
			else if (c == quote) {
				out = out c
				quote = ""
			}
		} else if (two == "/*") {
			comment = 1
			i++
		} else if (two == "//") {
			break
		} else {
			if (c == "\"" || c == "\047")
				quote = c
			out = out c
		}
	}
	quote = ""
	print out
}'

# shellcheck disable=SC2016
check='
function complain(name, what) {
	printf "%s:%d: %s %s\n", file, NR, name, what
	bad = 1
}
function calls(name) {
	return line ~ ("(^|[^A-Za-z0-9_.>])" name "[ \t]*\\(")
}
# The text of argument number k behind the first "(" of s, with what follows.
function argument(s, k,   i, c, depth) {
	for (i = 1; i <= length(s) && k > 1; i++) {
		c = substr(s, i, 1)
		if (c == "(")
			depth++
		else if (c == ")")
			depth--
		else if (c == "," && depth == 0)
			k--
	}
	s = substr(s, i)
	sub(/^[ \t]+/, "", s)
	return s
}
BEGIN {
	nf = split(forbidden, f)
	np = split(formats, p)
}
{
	text[NR] = $0
}
END {
	last = NR
	for (NR = 1; NR <= last; NR++) {
		line = text[NR]
		for (i = 1; i <= nf; i++)
			if (calls(f[i]))
				complain(f[i], "is forbidden")
		for (i = 1; i < np; i += 2) {
			if (!calls(p[i]) || line ~ /^[a-z].*[a-z]+ \**[a-z_]+\(const /)
				continue
			s = line
			for (j = NR + 1; j <= NR + 8 && j <= last; j++)
				s = s " " text[j]
			match(s, "(^|[^A-Za-z0-9_.>])" p[i] "[ \t]*\\(")
			a = argument(substr(s, RSTART + RLENGTH), p[i + 1])
			if (a ~ /^const / || a ~ /^"/ || a ~ /^PRI/)
				continue
			complain(p[i], "has a format that is not a literal")
		}
	}
	exit bad
}'

rc=0
for file in common/*.[ch] cgi/*.[ch] tools/*.[ch] tests/unit/*.[ch] \
    tests/fuzz/*.[ch]; do
	[ -e "$file" ] || continue
	awk "$strip" "$file" | awk -v file="$file" -v forbidden="$forbidden" \
	    -v formats="$formats" "$check" >&2 || rc=1
done
exit $rc
