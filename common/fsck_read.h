/*
 * fsck: objects of a store on the network are read several at once, since such
 * a store takes its time for each to begin.  Of each there is a buffer in
 * memory, and what is asked to be kept.
 */
#ifndef FSCK_READ_H
#define FSCK_READ_H

#include "fsck.h"

struct fsck_read {
	const char *key; /* NULL: nothing is to be read */
	const char *url; /* as put said */
	uint64_t size; /* what is longer is not read to its end */
	struct buf *text; /* gets the bytes; NULL: they are not kept */
	/* What came of it. */
	enum asset_rc rc; /* as get's; ASSET_RETRY at the last try */
	struct digest sha256; /* with ASSET_OK */
	uint64_t got;
	struct buf why; /* to be freed */
	struct hash *hash; /* (while it is read) */
};

/*
 * Read them all.  0; 1 when over() said so; -1, logged, when the store does not
 * answer.  Only with 0 was each of them read, or tried several times.
 */
int fsck_read_all(struct fsck *c, struct fsck_read *all, size_t n);

#endif
