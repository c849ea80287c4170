/*
 * What a NAR's file really is: decompressed once, from its beginning to its
 * end, for its hash, its size, its grammar (nar.h), its listing and the hash
 * parts in it (refscan.h).
 *
 * Nothing that the file or its sender claims is believed: the size is bounded
 * by the caller, the memory by decode.h.  About 2 MiB for our own, and what
 * the decompressor takes.
 *
 * No log.  Any thread.
 */
#ifndef VERIFY_H
#define VERIFY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "hash.h"
#include "key.h"
#include "refscan.h"

/* A listing that is longer is not kept. */
#define VERIFY_LISTING_MAX ((size_t)4 << 20)
#define VERIFY_WHY_MAX 160

enum verdict {
	VERDICT_GOOD, /* a NAR */
	VERDICT_BAD, /* not one: why says the rule */
	VERDICT_LARGE, /* over the limit, or takes too much memory */
};

struct verified {
	enum verdict verdict;
	char why[VERIFY_WHY_MAX]; /* "" when good */
	char compression[16]; /* what it is, as Nix calls it */
	/* The rest of a good one only. */
	struct digest nar_hash;
	uint64_t nar_size;
	bool is_file; /* one regular file, not executable */
	struct digest file_hash; /* of its contents */
	struct buf listing; /* "" when there is none */
	struct buf refs; /* by refscan_copy */
	bool refs_complete; /* none were dropped */
};

void verified_clear(struct verified *v);

/*
 * Read the file fd, a NAR with the key k, from its current offset.  At most
 * max bytes of NAR are taken.  0 with *v filled, to be cleared; -1 when it
 * could not be told: fd could not be read, no memory, or *stop was set.
 */
int verify_nar(int fd, const struct key *k, uint64_t max,
    const atomic_bool *stop, struct verified *v);

/*
 * The same once more for the hash parts alone: seen is called with all of
 * them, in parts (read them by refscan_copy).
 */
int verify_refs(int fd, const struct key *k, uint64_t max,
    const atomic_bool *stop, void (*seen)(void *arg, const struct refscan *s),
    void *arg);

#endif
