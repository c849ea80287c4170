#!/bin/sh
# readme.sh FILE WORDS: the commands that FILE (README) gives after the paragraph
# that begins with WORDS: its indented lines, up to the next paragraph.
if [ $# != 2 ]; then
	echo 'usage: readme.sh FILE WORDS' >&2
	exit 2
fi
awk -v words="$2" '
/^[^ ]/ {
	if (!text)
		on = index($0, words) == 1
	text = 1
	next
}
{ text = 0 }
on && /^ / {
	print
	found = 1
}
END { exit !found }' "$1" || {
	echo "readme.sh: $1: no commands after \"$2\"" >&2
	exit 1
}
