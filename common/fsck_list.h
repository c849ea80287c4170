/*
 * fsck: what a store on the network lists, read beside the rows of the index.
 * Both ascend by key, so that neither is ever in memory: the listing is there
 * a page at a time.
 *
 * One thread a struct fsck_list.
 */
#ifndef FSCK_LIST_H
#define FSCK_LIST_H

#include <stdbool.h>
#include <stdint.h>

#include "fsck.h"

struct fsck_list {
	struct fsck *c;
	struct asset_page page;
	size_t at; /* the object of the page that is next */
	bool open; /* more pages may come */
	bool none; /* the store can't be listed */
	struct buf last; /* the key before that */
};

enum fsck_listed {
	FSCK_LISTED,
	FSCK_NOT_LISTED,
	FSCK_NO_LISTING, /* nobody knows */
	FSCK_LIST_FAILED, /* the store does not answer (logged), or over() */
};

/* Begin behind the key from ("": at the beginning); any store will do. */
void fsck_list_open(struct fsck_list *l, struct fsck *c, const char *from);
void fsck_list_close(struct fsck_list *l);

/* The next object in *o, until another one is asked for.  FSCK_NOT_LISTED:
 * there is none. */
enum fsck_listed fsck_list_next(
    struct fsck_list *l, const struct asset_object **o);
/*
 * The object key, which comes behind all that were asked for before.  What is
 * passed is told to be in no row, if that is so.  key NULL: pass all.
 */
enum fsck_listed fsck_list_find(
    struct fsck_list *l, const char *key, const struct asset_object **o);

#endif
