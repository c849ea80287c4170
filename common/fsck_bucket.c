/*
 * fsck: an index from what a store on the network lists.
 *
 * Two passes over the listing: NARs first, whose rows say by their sizes
 * whether a narinfo's NAR is there; then all the rest, which has to be read.
 * Objects are read and entered a batch at a time.
 */
#include "config.h"

#include "fsck.h"

#include <stdlib.h>
#include <string.h>

#include "fsck_list.h"
#include "fsck_read.h"
#include "index_check.h"
#include "key.h"
#include "log.h"
#include "narinfo.h"

#define BATCH ((size_t)256)
/* As many narinfos as this are in memory. */
#define BATCH_TEXT ((uint64_t)16 << 20)
#define NARS "nar/"

/* An object of the listing. */
struct item {
	struct key key;
	uint64_t size;
	struct digest sha256;
	struct buf text; /* of a narinfo */
	char *url;
	struct narinfo *ni;
};

struct batch {
	struct fsck *c;
	struct item items[BATCH];
	struct fsck_read reads[BATCH]; /* of the items */
	size_t n;
	uint64_t text; /* bytes of all narinfos */
};

/* Entering ----------------------------------------------------------------- */

static void
clear_batch(struct batch *b)
{
	struct item *it;
	size_t i;

	for (i = 0; i < b->n; i++) {
		it = &b->items[i];
		narinfo_free(it->ni);
		buf_free(&it->text);
		free(it->url);
		buf_free(&b->reads[i].why);
	}
	b->n = 0;
	b->text = 0;
}

/* Was it read?  If not, that was told, unless it has gone. */
static bool
was_read(struct fsck *c, struct item *it, const struct fsck_read *r)
{
	if (r->key == NULL)
		return true;
	it->sha256 = r->sha256;
	if (r->rc == ASSET_OK)
		return true;
	if (r->rc == ASSET_MISSING)
		return false;
	c->unknown++;
	fsck_found(c, FSCK_NOTE, "unknown", it->key.s, "could not be read: %s",
	    buf_str(&r->why));
	return false;
}

/* Is it fit for the index?  If not, that was told. */
static bool
fits(struct fsck *c, struct item *it)
{
	struct asset_row nar;
	int64_t size = -1;

	if (it->key.kind == KEY_NAR &&
	    !digest_equal(&it->sha256, &it->key.file_hash)) {
		fsck_found(c, FSCK_OPEN, "rebuild", it->key.s,
		    "its bytes are not what its name says: left out");
		return false;
	}
	if (it->key.kind != KEY_NARINFO)
		return true;
	if ((it->ni = fsck_narinfo(c, it->key.s, &it->text)) == NULL)
		return false;
	if (index_asset_get(c->ix, c->cache, it->ni->nar.s, &nar) == 1) {
		size = (int64_t)nar.size;
		index_asset_clear(&nar);
	}
	return fsck_narinfo_fits(c, it->key.s, it->ni, size);
}

static int
enter_batch(struct batch *b)
{
	struct index_check_new all[BATCH];
	struct fsck *c = b->c;
	struct item *it;
	size_t i, n = 0;

	for (i = 0; i < b->n; i++) {
		it = &b->items[i];
		if (!was_read(c, it, &b->reads[i]) || !fits(c, it))
			continue;
		all[n++] = (struct index_check_new) {
			.a = { .key = it->key.s,
			    .url = it->url,
			    .size = it->size,
			    .sha256 = it->sha256,
			    .content_type = key_content_type(it->key.kind) },
			.ni = it->ni,
			.text = &it->text
		};
	}
	c->objects += b->n;
	return index_check_enter_all(c->ix, c->cache, all, n, c->now) == 1 ? 0
									   : -1;
}

/* Read and enter the batch, which is empty afterwards: 0, 1 or -1. */
static int
flush(struct batch *b)
{
	int rc;

	if (b->n == 0)
		return 0;
	fsck_pay(b->c, b->n * FSCK_OBJECT_COST);
	if ((rc = fsck_read_all(b->c, b->reads, b->n)) == 0)
		rc = enter_batch(b);
	if (rc == 0 && fsck_cut(b->c, b->items[b->n - 1].key.s))
		rc = 1;
	clear_batch(b);
	return rc;
}

/* The listing -------------------------------------------------------------- */

/* Is it in the index, as it was listed before? */
static bool
known(struct fsck *c, const struct key *k, uint64_t size)
{
	struct asset_row row;
	bool same;

	if (index_asset_get(c->ix, c->cache, k->s, &row) != 1)
		return false;
	same = row.size == size;
	index_asset_clear(&row);
	return same;
}

/* Add an object that is not known to the batch: 0, or -1. */
static int
add(struct batch *b, const struct key *k, uint64_t size)
{
	struct item *it = &b->items[b->n];
	struct fsck_read *r = &b->reads[b->n];
	struct fsck *c = b->c;

	if (known(c, k, size))
		return 0;
	if (k->kind == KEY_NARINFO && size > NARINFO_MAX) {
		fsck_found(c, FSCK_OPEN, "rebuild", k->s, "it is too long");
		return 0;
	}
	memset(it, 0, sizeof(*it));
	it->key = *k;
	it->size = size;
	it->sha256 = k->file_hash;
	it->text.max = NARINFO_MAX;
	if ((it->url = c->store->ops->address(c->store, k->s)) == NULL) {
		log_warnx("fsck: no memory");
		return -1;
	}
	memset(r, 0, sizeof(*r));
	if (k->kind != KEY_NAR || c->bytes)
		*r = (struct fsck_read) { .key = it->key.s,
			.url = it->url,
			.size = size,
			.text = k->kind == KEY_NARINFO ? &it->text : NULL };
	b->n++;
	if (k->kind == KEY_NARINFO)
		b->text += size;
	return 0;
}

/* All objects of the listing that are NARs, or all that are not: 0, 1 or -1. */
static int
pass(struct batch *b, bool nars)
{
	const struct asset_object *o;
	enum fsck_listed listed;
	struct fsck_list list;
	struct key k;
	int rc = 0;

	fsck_list_open(&list, b->c, nars ? NARS : "");
	while (rc == 0 && (listed = fsck_list_next(&list, &o)) == FSCK_LISTED) {
		if (nars && strncmp(o->key, NARS, strlen(NARS)) != 0)
			break;
		if (key_parse(o->key, strlen(o->key), &k) == -1 ||
		    (k.kind == KEY_NAR) != nars)
			continue;
		if ((rc = add(b, &k, o->size)) == 0 &&
		    (b->n == BATCH || b->text >= BATCH_TEXT))
			rc = flush(b);
	}
	fsck_list_close(&list);
	if (rc == 0 && listed != FSCK_LISTED && listed != FSCK_NOT_LISTED)
		rc = -1;
	return rc == 0 ? flush(b) : rc;
}

int
fsck_rebuild_listed(struct fsck *c)
{
	struct batch *b;
	int rc;

	if ((b = calloc(1, sizeof(*b))) == NULL) {
		log_warnx("fsck: no memory");
		return -1;
	}
	b->c = c;
	c->phase = "rebuild";
	if ((rc = pass(b, true)) == 0)
		rc = pass(b, false);
	clear_batch(b);
	free(b);
	return rc == 0 && c->unknown > 0 ? -1 : rc;
}
