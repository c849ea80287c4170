/*
 * fsck: an index from what a store on the network lists.
 *
 * Two passes over the listing: NARs first, whose rows say by their sizes
 * whether a narinfo's NAR is there; then all the rest, which has to be read.
 * Objects are read a batch at a time, several at once since a store on the
 * network is slow to begin, and entered in one transaction.
 */
#include "config.h"

#include "fsck.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fsck_list.h"
#include "index_check.h"
#include "key.h"
#include "log.h"
#include "narinfo.h"

#define BATCH ((size_t)256)
/* As many narinfos as this are in memory. */
#define BATCH_TEXT ((uint64_t)16 << 20)
#define READERS 8
#define TRIES 3
/* So many in a row that could not be read: the store is out of order. */
#define SILENT_MAX 16
/* What an object costs at least, for the rate. */
#define OBJECT_COST 4096
#define NARS "nar/"

/* An object of the listing. */
struct item {
	struct key key;
	uint64_t size;
	bool read; /* it has to be read for its digest */
	struct digest sha256;
	struct buf text; /* of a narinfo */
	char *url;
	struct narinfo *ni;
	enum asset_rc rc;
	struct buf why;
	/* While it is read. */
	struct hash *hash;
	uint64_t got;
};

struct batch {
	struct fsck *c;
	struct item items[BATCH];
	size_t n;
	uint64_t text; /* bytes of all narinfos */
	pthread_mutex_t mutex; /* of the rest */
	pthread_cond_t done; /* a reader has ended */
	size_t next; /* the item to be read next */
	unsigned int readers;
	unsigned int silent; /* items since one was answered */
	bool stop; /* told to, or */
	bool dead; /* since the store does not answer */
};

/* Reading ------------------------------------------------------------------ */

static int
take(const void *p, size_t n, void *arg)
{
	struct item *it = arg;

	it->got += n;
	if (it->got > it->size)
		return -1;
	hash_add(it->hash, p, n);
	if (it->key.kind == KEY_NARINFO)
		buf_add(&it->text, p, n);
	return buf_failed(&it->text) ? -1 : 0;
}

static void
read_once(struct batch *b, struct item *it)
{
	struct asset_store *as = b->c->store;
	const struct asset_sink sink = { take, it };

	it->got = 0;
	buf_clear(&it->text);
	buf_clear(&it->why);
	hash_reset(it->hash);
	it->rc = as->ops->get(as, it->key.s, it->url, &sink, &it->why);
	/* Replaced since it was listed. */
	if (it->rc == ASSET_OK ? it->got < it->size : it->got > it->size) {
		buf_adds(&it->why, "it is not as long as it is listed");
		it->rc = ASSET_RETRY;
	}
}

static bool
stopped(struct batch *b)
{
	bool stop;

	pthread_mutex_lock(&b->mutex);
	stop = b->stop;
	pthread_mutex_unlock(&b->mutex);
	return stop;
}

static void
read_item(struct batch *b, struct item *it)
{
	const struct timespec pause = { .tv_sec = 1 };
	int tries = 1;

	it->rc = ASSET_RETRY;
	if ((it->hash = hash_new()) == NULL) {
		buf_adds(&it->why, "no memory");
		return;
	}
	for (read_once(b, it);
	     it->rc == ASSET_RETRY && tries < TRIES && !stopped(b); tries++) {
		nanosleep(&pause, NULL);
		read_once(b, it);
	}
	if (it->rc == ASSET_OK)
		hash_final(it->hash, &it->sha256);
	hash_free(it->hash);
	it->hash = NULL;
}

/* The next item that has to be read, NULL when there is none. */
static struct item *
next_item(struct batch *b)
{
	struct item *it = NULL;

	pthread_mutex_lock(&b->mutex);
	while (it == NULL && b->next < b->n && !b->stop) {
		it = &b->items[b->next++];
		if (!it->read)
			it = NULL;
	}
	pthread_mutex_unlock(&b->mutex);
	return it;
}

static void
count_item(struct batch *b, const struct item *it)
{
	pthread_mutex_lock(&b->mutex);
	b->silent = it->rc == ASSET_RETRY ? b->silent + 1 : 0;
	if (b->silent >= SILENT_MAX)
		b->stop = b->dead = true;
	pthread_mutex_unlock(&b->mutex);
}

static void *
reader(void *arg)
{
	struct batch *b = arg;
	struct item *it;

	while ((it = next_item(b)) != NULL) {
		read_item(b, it);
		count_item(b, it);
	}
	pthread_mutex_lock(&b->mutex);
	b->readers--;
	pthread_cond_signal(&b->done);
	pthread_mutex_unlock(&b->mutex);
	return NULL;
}

/* Until all readers have ended; told to end, they are cut short. */
static void
wait_readers(struct batch *b)
{
	struct timespec until;

	pthread_mutex_lock(&b->mutex);
	while (b->readers > 0) {
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec++;
		pthread_cond_timedwait(&b->done, &b->mutex, &until);
		if (b->stop ||
		    !b->c->over(b->c, "rebuild", b->items[0].key.s, b->c->arg))
			continue;
		b->stop = true;
		b->c->store->ops->interrupt(b->c->store);
	}
	pthread_mutex_unlock(&b->mutex);
}

/* Read all that has to be: 0, or -1 without a thread. */
static int
read_batch(struct batch *b)
{
	pthread_t threads[READERS];
	size_t i, n = 0, wanted = 0;

	for (i = 0; i < b->n; i++)
		wanted += b->items[i].read;
	b->next = 0;
	pthread_mutex_lock(&b->mutex);
	while (n < READERS && n < wanted &&
	    pthread_create(&threads[n], NULL, reader, b) == 0)
		n++;
	b->readers = (unsigned int)n;
	pthread_mutex_unlock(&b->mutex);
	wait_readers(b);
	for (i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	return n > 0 || wanted == 0 ? 0 : -1;
}

/* Entering ----------------------------------------------------------------- */

static void
clear_batch(struct batch *b)
{
	struct item *it;

	for (it = b->items; it < b->items + b->n; it++) {
		narinfo_free(it->ni);
		buf_free(&it->text);
		buf_free(&it->why);
		free(it->url);
		memset(it, 0, sizeof(*it));
	}
	b->n = 0;
	b->text = 0;
}

/* Is it fit for the index?  If not, it was told, unless it has gone. */
static bool
fit_item(struct fsck *c, struct item *it)
{
	struct asset_row nar;
	int64_t size = -1;

	if (it->rc == ASSET_MISSING)
		return false;
	if (it->rc != ASSET_OK) {
		c->unknown++;
		fsck_found(c, FSCK_NOTE, "unknown", it->key.s,
		    "could not be read: %s", buf_str(&it->why));
		return false;
	}
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
	size_t n = 0;

	for (it = b->items; it < b->items + b->n; it++) {
		c->objects++;
		c->read += it->got;
		fsck_pay(c, OBJECT_COST + it->got);
		if (!fit_item(c, it))
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
	return index_check_enter_all(c->ix, c->cache, all, n, c->now) == 1 ? 0
									   : -1;
}

/* Read and enter the batch, which is empty afterwards: 0, 1 or -1. */
static int
flush(struct batch *b)
{
	char last[KEY_MAX + 1];
	int rc;

	if (b->n == 0)
		return 0;
	memcpy(last, b->items[b->n - 1].key.s, sizeof(last));
	if (read_batch(b) == -1) {
		log_warnx("fsck: no thread to read with");
		rc = -1;
	} else if (b->dead) {
		log_warnx("fsck: the asset store does not answer: %s",
		    buf_str(&b->items[0].why));
		rc = -1;
	} else
		rc = b->stop ? 1 : enter_batch(b);
	clear_batch(b);
	if (rc == 0 && b->c->over(b->c, "rebuild", last, b->c->arg))
		rc = 1;
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
	it->read = k->kind != KEY_NAR || c->bytes;
	it->sha256 = k->file_hash;
	it->text.max = NARINFO_MAX;
	if ((it->url = c->store->ops->address(c->store, k->s)) == NULL) {
		log_warnx("fsck: no memory");
		return -1;
	}
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
	pthread_mutex_init(&b->mutex, NULL);
	pthread_cond_init(&b->done, NULL);
	if ((rc = pass(b, true)) == 0)
		rc = pass(b, false);
	clear_batch(b);
	pthread_cond_destroy(&b->done);
	pthread_mutex_destroy(&b->mutex);
	free(b);
	return rc == 0 && c->unknown > 0 ? -1 : rc;
}
