#!/bin/sh
# Hostile pushers, each beside an innocent `nix copy`, which ends without an
# error.  How long it takes is a matter for tests/bench/hostile.sh.
# shellcheck disable=SC1091,SC2154
. "$(dirname "$0")/lib.sh"
. "$top_srcdir/tests/e2e/attack.sh"

STORE=$W/innocent-nix/store
site_make "$STORE"
site_start
innocent_make "$W/innocent-nix"

# beside NAME COMMAND...: the innocent push while that goes on.
beside() {
	beside_name=$1
	shift
	attack "$@"
	ok "nix copy beside $beside_name" innocent_push "$beside_name"
	attack_end
}
ok "nix copy by itself" innocent_push quiet

# Narinfos that reference each other --------------------------------------------
for how in ring clique chain backward; do
	n=200
	narinfos $n $how
	beside $how narinfos_send $how
	is "all of the $how got in" "$(grep -c '^201' "$W/$how.codes")" $n
	settle
done
ok "nobody waited for a lock in vain" nothing_locked

# Bombs: base 32 ---------------------------------------------------------------
# bomb_put FILE EXT
bomb_put() {
	status -w '%{http_code}\n' -u ":$SECRET" -T "$1" \
	    "$U/cache/$(nar_key "$1" "$2")"
}
# shellcheck disable=SC2317
bombs_put() {
	for bombs_f in "$W"/made/bomb-*; do
		bomb_put "$bombs_f" ".${bombs_f##*.}" &
	done
	wait
}
cycle=$(perl -e 'srand 1; @c = split //, "0123456789abcdfghijklmnpqrsvwxyz";
    print join "", map { $c[rand 32] } 1..8000')
bombs() {
	rm -f "$W"/made/bomb-*
	for bombs_c in 'xz xz' 'zstd zst' 'brotli br'; do
		for bombs_i in 1 2; do
			bomb $((60 + bombs_i)) zeros \
			    "bomb-$bombs_i-z.${bombs_c#* }" "${bombs_c% *}" -c
			bomb $((60 + bombs_i)) 0 \
			    "bomb-$bombs_i-0.${bombs_c#* }" "${bombs_c% *}" -c
			bomb $((60 + bombs_i)) "$1$cycle" \
			    "bomb-$bombs_i-c.${bombs_c#* }" "${bombs_c% *}" -c
		done
	done
}
bombs 1
beside bombs bombs_put
upload_restart check_references yes
bombs 2
beside "bombs, references looked for" bombs_put
ok "nobody waited for a lock in vain" nothing_locked
is "all of the bombs were taken" "$(grep -c '^20[01]$' "$W/attack.out")" 36

e2e_end
