#!/bin/sh
# Peak memory (VmHWM) of each program while a NAR of 2 GB is pushed, its narinfo
# too, and read back; with either way of handing bodies over.
# shellcheck disable=SC1091,SC2154
. "$(dirname "$0")/../e2e/lib.sh"

STORE=/nix/store
head -c 2147483648 /dev/zero | openssl enc -aes-128-ctr -nosalt -pass pass:x \
    -pbkdf2 2>/dev/null >"$W/two"
key=$(nar_key "$W/two" .xz)
for body in file stream; do
	site_make $STORE $body
	site_start
	begin=$(date +%s%N)
	put "$key" "$W/two"
	[ "$code" = 201 ] || stop "PUT: $code $(cat "$W/body")"
	end=$(date +%s%N)
	until_true 120 settled
	curl -q -s "$U/cache/$key" | cmp - "$W/two" || stop "other bytes back"
	echo "bodies by $body: PUT of 2 GB in $(((end - begin) / 1000000)) ms"
	for p in cache upload drv; do
		eval "pid=\$${p}_pid"
		# shellcheck disable=SC2154
		echo "tmpnix-$p $(sed -n 's/VmHWM:[ 	]*//p' "/proc/$pid/status")"
	done
	site_stop
	rm -rf "$S" "$CONF"
done
