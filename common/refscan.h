/*
 * Scan a stream for the hash parts of store paths that are known: 32 characters
 * in a row of Nix's base 32, as Nix itself finds references
 * (src/libstore/references.cc).
 *
 * A struct refset holds what is known, some 20 bytes a path; any thread may use
 * it at any time.  A hostile text is tested at every byte, which costs little
 * more than any other; only what is found is kept.
 *
 * No I/O; a struct refscan belongs to one thread.
 */
#ifndef REFSCAN_H
#define REFSCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "storepath.h"

/* Hash parts kept of a scan. */
#define REFSCAN_MAX ((size_t)8192)
/* A hash part in binary. */
#define REFSCAN_BYTES 20

struct refset;

struct refset *refset_new(void);
void refset_free(struct refset *set);
/* 0, or -1 without memory. */
int refset_add(struct refset *set, const char *hash_part);

struct refscan;

/* Look for those in set, which stays the caller's; NULL without memory. */
struct refscan *refscan_new(struct refset *set);
void refscan_free(struct refscan *s);

void refscan_add(struct refscan *s, const void *p, size_t n);

/*
 * Append those that were found, REFSCAN_BYTES each.  One in 2^40 or so is none
 * of the set's.
 */
void refscan_copy(const struct refscan *s, struct buf *out);

/* Were there no more than REFSCAN_MAX? */
bool refscan_complete(const struct refscan *s);

/* The i-th of those that refscan_copy wrote, as text. */
void refscan_text(const struct buf *b, size_t i, struct hash_part *out);

#endif
