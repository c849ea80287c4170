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

/* A listing that is longer is not kept, nor one that is longer than FREE and
 * TIMES what was sent: it lies in the index and counts for no quota. */
#define VERIFY_LISTING_MAX ((size_t)4 << 20)
#define VERIFY_LISTING_FREE ((size_t)64 << 10)
#define VERIFY_LISTING_TIMES 16
#define VERIFY_WHY_MAX 160

enum verdict {
	VERDICT_GOOD, /* a NAR */
	VERDICT_BAD, /* not one: why says the rule */
	VERDICT_LARGE, /* over the limit, or takes too much memory */
};

/* As the index keeps it. */
enum verify_refs {
	REFS_NOT_LOOKED_FOR,
	REFS_FOUND, /* all there are */
	REFS_TOO_MANY, /* refs has some of them */
};

/* What a VERDICT_LARGE is over, as the index keeps it. */
enum verify_limit {
	LIMIT_OTHER, /* nothing that can be set */
	LIMIT_SIZE, /* verify_how.max */
	LIMIT_CPU, /* verify_how.cpu */
	LIMIT_RATIO, /* verify_how.ratio */
};

struct verified {
	enum verdict verdict;
	char why[VERIFY_WHY_MAX]; /* "" when good */
	char compression[16]; /* what it is, as Nix calls it */
	uint64_t unpacked; /* bytes that came out; not kept by the index */
	/* VERDICT_LARGE: a higher limit than this may let it in. */
	enum verify_limit over;
	uint64_t over_limit;
	/* The rest of a good one only. */
	struct digest nar_hash;
	uint64_t nar_size;
	bool is_file; /* one regular file, not executable */
	struct digest file_hash; /* of its contents */
	struct buf listing; /* "" when there is none */
	struct buf refs; /* by refscan_copy */
	enum verify_refs refs_done;
};

void verified_clear(struct verified *v);

/*
 * What a NAR may take, so that nobody gets much work done for few bytes.
 * Seconds of a processor: cpu, and VERIFY_CPU_GIB times that for each GiB of
 * its file.  Bytes when unpacked: max, and free_bytes besides ratio times the
 * file's.  tests/bench/budget.sh measures what real ones take.
 */
#define VERIFY_CPU_GIB 10
#define VERIFY_FREE ((uint64_t)4 << 30)

struct verify_how {
	uint64_t max; /* max_nar_size */
	uint64_t cpu; /* max_nar_cpu */
	uint64_t ratio; /* max_nar_ratio */
	uint64_t free_bytes; /* VERIFY_FREE; less in tests */
	struct refset *refs; /* to be looked for; NULL: not looked for */
	const atomic_bool *stop;
};

/*
 * Read the file fd, a NAR with the key k, from its current offset.  0 with *v
 * filled, to be cleared; -1 when it could not be told: fd could not be read, no
 * memory, or *how->stop was set.
 */
int verify_nar(int fd, const struct key *k, const struct verify_how *how,
    struct verified *v);

#endif
