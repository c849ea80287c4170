/*
 * The grammar of a binary cache's keys: what may follow the cache's URL.
 *
 * Source: the Nix manual's binary cache protocol and measurements of Nix 2.8
 * to 2.34 (nix32 = Nix's base 32):
 *
 *   nix-cache-info
 *   <32 nix32>.narinfo
 *   <32 nix32>.ls
 *   nar/<52 nix32>.nar[.xz|.bz2|.zst|.lzip|.lz4|.br]
 *   log/<32 nix32>-<name>.drv
 *   debuginfo/<40 hex>[.debug]
 *   realisations/sha256:<64 hex>!<output>.doi
 *   build-trace-v2/<32 nix32>-<name>.drv/<output>.doi
 *
 * A key that was parsed holds letters, digits and "+-._?=!:/" only, has no
 * empty, "." or ".." segment, none over 255 bytes, and is at most KEY_MAX
 * bytes: it may be used as a relative file name.
 *
 * No I/O, no state; any thread.
 */
#ifndef KEY_H
#define KEY_H

#include <stdbool.h>
#include <stddef.h>

#include "hash.h"
#include "storepath.h"

enum key_kind {
	KEY_CACHE_INFO,
	KEY_NARINFO,
	KEY_LS,
	KEY_NAR,
	KEY_LOG,
	KEY_DEBUGINFO,
	KEY_REALISATION,
	KEY_BUILD_TRACE,
};

#define KEY_MAX 512

struct key {
	enum key_kind kind;
	char s[KEY_MAX + 1]; /* the key itself */
	struct hash_part hash_part; /* NARINFO, LS, LOG, BUILD_TRACE */
	struct digest file_hash; /* NAR */
};

/*
 * Parse a key in its plain form, as it stands in a narinfo's URL or a row.  A
 * debuginfo key without ".debug" is completed.  0, or -1 with *out undefined
 * when it is outside the grammar.
 */
int key_parse(const char *p, size_t n, struct key *out);

/*
 * Parse a request's target below the cache's URL: path is what stands before
 * the first "?", still percent-encoded, without the leading slash; query what
 * stands behind it, NULL when there is no "?".
 *
 * "%XX" is decoded once (a "+" stays one) and must not stand for "/", "\" or a
 * control character.  Clients send the "?" a store path's name may hold as it
 * is, so for log/ and build-trace-v2/ the query is put back behind the path;
 * for every other kind it is ignored.
 *
 * 0 or -1 as key_parse.
 */
int key_from_request(const char *path, const char *query, struct key *out);

/* The Content-Type an object of this kind is stored and served with. */
const char *key_content_type(enum key_kind kind);

/* The extension ("", ".xz", ...) NARs of a narinfo's Compression have, NULL
 * for a compression Nix does not know. */
const char *key_nar_extension(const char *compression);

#endif
