/*
 * What fsck did and found, as the index keeps it: how far each kind of check
 * is, so that the next one goes on there, and what is wrong and not mended.
 *
 * Each call is a short transaction of its own.
 */
#ifndef INDEX_FSCK_H
#define INDEX_FSCK_H

#include "index.h"

#define INDEX_FSCK_CHECK "check" /* from the beginning to the end */
#define INDEX_FSCK_SCRUB "scrub" /* a part each day */

#define INDEX_FSCK_BYTES 1u
#define INDEX_FSCK_VERIFY 2u
#define INDEX_FSCK_REPAIR 4u

/* More is not kept: whoever has so much wrong runs fsck anyway. */
#define INDEX_FINDINGS_MAX 1000

struct index_fsck {
	unsigned int options; /* INDEX_FSCK_... */
	uint64_t sample; /* percent */
	int64_t began;
	int64_t noted; /* when this was written */
	int64_t complete; /* when one came to its end; 0: none did */
	/* Where it is: the caller's words.  phase "": it is at its end. */
	char cache[16];
	char phase[16];
	char at[KEY_MAX + 1]; /* the last key that was looked at */
	uint64_t objects, read, work, problems, repaired, unknown;
};

/* 1 with *f, or 0 when there was none of that kind. */
int index_fsck_get(struct index *ix, const char *kind, struct index_fsck *f);

struct index_finding {
	const char *cache;
	const char *phase;
	const char *at; /* the key it was found at */
	const char *key;
	const char *kind;
	const char *what;
	unsigned int options; /* of the check that found it */
	int64_t found;
};

/* What was looked at: the phase's keys behind from to to (NULL: all). */
struct index_fsck_range {
	const char *cache;
	const char *phase;
	const char *from;
	const char *to;
};

/*
 * Note *f and the n findings.  What an earlier check found in the range (NULL:
 * none), one that looked no closer than this, is forgotten.  0.
 */
int index_fsck_put(struct index *ix, const char *kind,
    const struct index_fsck *f, const struct index_fsck_range *range,
    const struct index_finding *found, size_t n);

/* When this index began to keep these: 1, or 0. */
int index_fsck_since(struct index *ix, int64_t *since);

/* Call each for at most max findings; stops when it returns non-zero. */
int index_finding_each(struct index *ix, uint64_t max,
    int (*each)(const struct index_finding *f, void *arg), void *arg);

#endif
