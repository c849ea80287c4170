/*
 * Realisations: which path an output of a content-addressed derivation is.
 *
 *   realisations/sha256:<64 hex>!<output>.doi   (Nix up to 2.34)
 *     {"dependentRealisations":{"<id>":"<path>"},"id":"sha256:<64
 * hex>!<output>", "outPath":"<path>","signatures":["<name>:<base 64>"]}
 *   build-trace-v2/<drv>/<output>.doi           (from 2.35 on)
 *     {"outPath":"<path>","signatures":[{"keyName":"<name>","sig":"<base
 * 64>"}]}
 *
 * where a path is "<hash part>-<name>".  The first two members of a realisation
 * may be missing: what the key says is meant.  Unknown members are dropped, as
 * no signature is over them.
 *
 * What is signed (Nix's src/libstore/realisation.cc) is the JSON without its
 * signatures, members sorted, nothing between them; for a build trace
 *   {"key":{"drvPath":"<drv>","outputName":"<output>"},
 *    "value":{"outPath":"<path>"}}
 *
 * No I/O, no log, no state; any thread.
 */
#ifndef REALISATION_H
#define REALISATION_H

#include <stdbool.h>
#include <stddef.h>

#include "buf.h"
#include "key.h"

#define REALISATION_MAX ((size_t)1 << 20)
#define REALISATION_SIGS_MAX 16

struct realisation;

/*
 * Parse (p, n), the object of key k (KEY_REALISATION or KEY_BUILD_TRACE): to be
 * freed by realisation_free, or NULL with a sentence in err (errsize bytes, one
 * line of printable ASCII) that names the member and the rule.
 */
struct realisation *realisation_parse(
    const char *p, size_t n, const struct key *k, char *err, size_t errsize);
void realisation_free(struct realisation *re);

/* Append it as Nix writes it; signatures sorted.  parse(print(x)) equals x. */
void realisation_print(const struct realisation *re, struct buf *out);
/* Append what is signed. */
void realisation_fingerprint(const struct realisation *re, struct buf *out);

/* Its path, "<hash part>-<name>". */
const char *realisation_path(const struct realisation *re);
/* "name:base64", sorted, each once; *n of them. */
char *const *realisation_sigs(const struct realisation *re, size_t *n);

/*
 * Add to a each signature of b that it lacks and that is worth something: worth
 * is asked with arg.  At the limit it takes the place of one that is worth
 * nothing.  0, or -1 without memory.
 */
int realisation_merge_sigs(struct realisation *a, const struct realisation *b,
    unsigned int (*worth)(const void *arg, const char *sig), const void *arg);

#endif
