#!/bin/sh
# What was lost behind the index's back is healed by pushing it again: an answer
# 200 to a PUT means that the bytes are there, not that they once were.
# shellcheck disable=SC1091,SC2016,SC2034,SC2154
. "$(dirname "$0")/lib.sh"

STORE=/nix/store
site_make $STORE stream
site_start

# back FILE KEY: the key is served with the file's bytes.
back() {
	curl -q -s -f "$U/cache/$2" | cmp -s - "$1"
}

# lost NAME COMMAND...: the command spoils what is stored of the NAR $key.
lost() {
	lost_name=$1
	shift
	"$@"
	ok "$lost_name: the NAR is not served" not back "$nar" "$key"
	put "$hash.narinfo" "$info"
	is "$lost_name: its narinfo asks for it" "$code" 409
	ok "$lost_name: in words" grep -q "its NAR $key is not here" "$W/body"
	put "$key" "$nar"
	is "$lost_name: the NAR is taken" "$code" 200
	# (A file that was cut is the web server's to send, until it is replaced.)
	ok "$lost_name: and served" until_true 20 back "$nar" "$key"
	settle
	ok "$lost_name: and from the store" cmp "$nar" "$S/store/$key"
	put "$hash.narinfo" "$info"
	is "$lost_name: the narinfo again" "$code" 200
}
path_make healed "$(seq 3000)"
put "$key" "$nar"
is "a NAR" "$code" 201
put "$hash.narinfo" "$info"
is "its narinfo" "$code" 201
settle
inode=$(stat -c %i "$S/store/$key")
put "$key" "$nar"
is "the NAR again" "$code" 200
settle
is "is not stored again" "$(stat -c %i "$S/store/$key")" "$inode"
# (The web server sends what is there: so it is the program that is asked.)
lost "a file that is gone" rm "$S/store/$key"
lost "a file that was cut" sh -c ': >"$1" && echo cut >"$1"' - "$S/store/$key"
printf 'a log\n' >"$W/log.txt"
put "log/$hash-healed.drv" "$W/log.txt"
settle
rm "$S/store/log/$hash-healed.drv"
put "log/$hash-healed.drv" "$W/log.txt"
is "a log that was lost" "$code" 200
settle
ok "is there again" back "$W/log.txt" "log/$hash-healed.drv"

# In the spool: nothing is relayed while this row is somebody else's.
path_make spooled "$(seq 2000)"
put "$key" "$nar"
settle
later=$(($(date +%s) + 100))
d=$(sql "SELECT hex(randomblob(8))" | tr A-F a-f).1
sql "UPDATE asset SET state = 'relaying', owner = 'another', lease = $later,
    spool = '$d' WHERE key = '$key'"
mv "$S/store/$key" "$W/away"
ok "a spool file that is gone: the NAR is not served" not back "$nar" "$key"
put "$key" "$nar"
is "a spool file that is gone: the NAR is taken" "$code" 200
ok "a spool file that is gone: and served" back "$nar" "$key"
sql "UPDATE asset SET state = 'spooled', owner = NULL, lease = 0
    WHERE key = '$key'"
settle
ok "a spool file that is gone: and stored" cmp "$nar" "$S/store/$key"

# A narinfo whose text changed in the index is not served: only the program is
# asked, as the web server's file is gone.
path_make spoiled "$(seq 1000)"
put "$key" "$nar"
put "$hash.narinfo" "$info"
settle
rm "$S/store/$hash.narinfo"
is "a narinfo from the index" "$(status "$U/cache/$hash.narinfo")" 200
sql "UPDATE path SET narinfo = replace(narinfo, 'NarSize: ', 'NarSize: 1')
    WHERE hash_part = '$hash'"
is "a spoiled one" "$(status "$U/cache/$hash.narinfo")" 500
ok "is named" grep -q "$hash.narinfo: its text in the index is spoiled" \
    "$W/log/cache.log"

e2e_end
