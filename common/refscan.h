/*
 * Scan a stream for what may be hash parts of store paths: any 32 characters
 * in a row of Nix's base 32, as Nix itself finds references
 * (src/libstore/references.cc).
 *
 * Which of these are hash parts can be said only by who knows the paths, and
 * mostly later: so they are collected, each once, REFSCAN_MAX of them at most.
 * A text of digits has one at every byte; what to do when the room is used up
 * is up to the caller.
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

#define REFSCAN_MAX ((size_t)8192)
/* A hash part in binary. */
#define REFSCAN_BYTES 20

struct refscan;

/*
 * full (NULL: drop all further ones, refscan_complete says so) is called when
 * there is no more room; it reads them by refscan_copy.  They are forgotten
 * afterwards.  NULL without memory.
 */
struct refscan *refscan_new(
    void (*full)(void *arg, const struct refscan *s), void *arg);
void refscan_free(struct refscan *s);

void refscan_add(struct refscan *s, const void *p, size_t n);

/* Append those collected, REFSCAN_BYTES each. */
void refscan_copy(const struct refscan *s, struct buf *out);

/* Were none dropped? */
bool refscan_complete(const struct refscan *s);

/* The i-th of those that refscan_copy wrote, as text. */
void refscan_text(const struct buf *b, size_t i, struct hash_part *out);

#endif
