#!/bin/sh
# How long an innocent `nix copy` takes beside attacks, and the ratio to its
# quiet time in the same run.  Attacks: a clique of CLIQUE (60) narinfos, NARs of
# MB (256) of base-32 text from one token.  OLD=DIR: programs of that build.
# shellcheck disable=SC1091,SC2154
. "$(dirname "$0")/../e2e/lib.sh"
. "$top_srcdir/tests/e2e/attack.sh"
# shellcheck disable=SC2034 # (of lib.sh)
[ -z "${OLD-}" ] || top_builddir=$OLD

STORE=$W/innocent-nix/store
site_make "$STORE"
site_start
innocent_make "$W/innocent-nix"

# report NAME: the push while the attack goes on.
report() {
	innocent_push "$1" >/dev/null
	report_rc=$?
	awk -v n="$1" -v ms="$innocent_ms" -v quiet="$quiet" -v rc=$report_rc \
	    'BEGIN { printf "%s: %d ms, %.1f of quiet%s\n", n, ms, ms / quiet,
	    rc == 0 ? "" : ", FAILED" }'
}
innocent_push warm >/dev/null
innocent_push quiet >/dev/null
quiet=$innocent_ms
echo "quiet: $quiet ms"

# shellcheck disable=SC2317
bombs_put() {
	for bombs_f in "$W"/made/bomb-*; do
		status -u ":$SECRET" -T "$bombs_f" \
		    "$U/cache/$(nar_key "$bombs_f" .br)" &
	done
	wait
}
for i in 1 2 3 4; do
	bomb $((${MB:-256} + i)) 0 "bomb-$i" brotli -q 5 -c
done
attack bombs_put
attack_end
report bombs

narinfos "${CLIQUE:-60}" clique
attack narinfos_send clique
until_true 20 test -s "$W/clique.codes"
report clique
attack_end
exit 0
