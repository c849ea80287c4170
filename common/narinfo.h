/*
 * One narinfo: parse it strictly, print it, compare and merge.
 *
 * Format (Nix manual, "Binary cache"; src/libstore/nar-info.cc; every client
 * from 2.8 to 2.34 measured): lines "Key: value\n", LF only, the value begins
 * two bytes behind the key's end, the last line ends in LF too.
 *
 *   StorePath    needed, full path in the cache's store directory
 *   URL          needed, here always a nar/ key of this cache
 *   Compression  missing or empty means bzip2; must fit the URL's extension
 *   FileHash     sha256:<52 base 32>, optional, must be the URL's digest
 *   FileSize     optional
 *   NarHash      needed; sha256 in base 32, hex, base 64, or SRI
 *   NarSize      needed, over 0
 *   References   base names separated by one space, each once; "References: "
 *                (or no such line) when none
 *   Deriver      base name ending in .drv; "unknown-deriver" means none
 *   System       anything printable, at most NARINFO_SYSTEM_MAX bytes
 *   Sig          at most NARINFO_SIGS_MAX
 *   CA           text:sha256:<52 base 32>, or fixed:[r:|git:]<md5, sha1, sha256
 *                or sha512>:<base 32, hex or base 64 of its length>
 *   others       kept as they are (clients ignore them), at most
 *                NARINFO_EXTRA_MAX lines, NARINFO_EXTRA_BYTES in all
 *
 * Refused: a known key twice (but Sig), a needed one missing, an empty line,
 * CR, NUL or another control character, bytes that are not UTF-8, a missing
 * last LF.  A corrupt narinfo is a hard error in clients, not a miss: what
 * gets in has to be right.
 *
 * No I/O, no log, no state; any thread.
 */
#ifndef NARINFO_H
#define NARINFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "hash.h"
#include "key.h"
#include "storepath.h"

/* The largest narinfo that is taken.  10,000 references are 0.5 MB. */
#define NARINFO_MAX ((size_t)2 << 20)
/*
 * All but the references is bounded, so that no one who pushes makes a narinfo
 * long for all who read it: NARINFO_REST_MAX bytes are more than what these
 * limits leave room for, in any spelling.
 */
#define NARINFO_SIGS_MAX 16
#define NARINFO_EXTRA_MAX 16
#define NARINFO_EXTRA_BYTES 4096
#define NARINFO_SYSTEM_MAX 256
#define NARINFO_REST_MAX ((size_t)64 << 10)

struct narinfo {
	char *store_path; /* full */
	const char *base; /* its last segment, in store_path */
	struct hash_part hash_part;
	struct key nar; /* the URL */
	char *compression; /* never NULL: "bzip2" when missing */
	struct digest file_hash; /* = nar.file_hash */
	bool has_file_size;
	uint64_t file_size;
	struct digest nar_hash;
	uint64_t nar_size;
	char **references; /* base names, sorted, each once */
	size_t nreferences;
	char *deriver; /* base name, or NULL */
	char *system; /* or NULL */
	char **sigs; /* "name:base64", sorted, each once */
	size_t nsigs;
	char *ca; /* or NULL */
	char **extra; /* unknown lines, in order, without LF */
	size_t nextra;
};

/*
 * Parse (p, n) for a cache of store_dir.  Returns a new narinfo, to be freed
 * by narinfo_free, or NULL with a sentence in err (errsize bytes, one line of
 * printable ASCII without LF) that names the field and the rule.
 */
struct narinfo *narinfo_parse(
    const char *p, size_t n, const char *store_dir, char *err, size_t errsize);
/*
 * The same for a text that was taken before there were limits: lines over them
 * are kept, see narinfo_trim.
 */
struct narinfo *narinfo_parse_stored(
    const char *p, size_t n, const char *store_dir, char *err, size_t errsize);
void narinfo_free(struct narinfo *ni);

/*
 * Append the canonical text: fields in Nix's order, hashes in base 32,
 * references and signatures sorted, unknown lines last.  FileSize is left out
 * when unknown.  parse(print(x)) equals x.
 */
void narinfo_print(const struct narinfo *ni, struct buf *out);

/* Append the fingerprint that is signed (see sign.h). */
void narinfo_fingerprint(const struct narinfo *ni, struct buf *out);

/*
 * Do a and b mean the same: equal StorePath, NarHash, NarSize, References?
 * (That is: equal fingerprints.)
 */
bool narinfo_same(const struct narinfo *a, const struct narinfo *b);

/*
 * What a signature on ni is worth: 0 when no key that is known here made it;
 * of two others the larger one is kept where there is room for one.
 */
struct sig_rank {
	unsigned int (*of)(
	    const void *arg, const struct narinfo *ni, const char *sig);
	const void *arg;
};

/*
 * Bring ni within the limits: signatures of the least rank go first, then the
 * last unknown lines.  1 when something went, 0 when not.
 */
int narinfo_trim(struct narinfo *ni, const struct sig_rank *rank);

/*
 * Add to a each signature of b that it lacks and that is worth something, one
 * of each name.  At the limit it takes the place of one that is worth less.
 * 1 when a changed, 0 when not, -1 without memory.
 */
int narinfo_merge_sigs(
    struct narinfo *a, const struct narinfo *b, const struct sig_rank *rank);

/*
 * Add a signature, "name:base64".  At the limit it takes the place of one that
 * is worth least.  0, or -1 without memory.
 */
int narinfo_add_sig(
    struct narinfo *ni, const char *sig, const struct sig_rank *rank);

#endif
