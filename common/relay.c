#include "config.h"

#include "relay.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "index.h"
#include "log.h"

/* Nobody holds a claim this long: then its owner is gone. */
#define LEASE 3600
/* Look again this often even when nobody wakes us: retries come due. */
#define IDLE_SECONDS 5
/* After a wake, wait for company: one flush then stands for many assets. */
#define GATHER_MS 1000
/* Delays between attempts: base * attempts^2, at most RETRY_MAX seconds. */
#define RETRY_BASE 5
#define RETRY_MAX 3600
#define BATCH_MAX 64

struct relay {
	const struct conf *conf;
	const char *cache;
	struct asset_store *store;
	struct spool_dir *spool;
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	bool woken;
	bool stopping;
	size_t nthreads;
	pthread_t threads[];
};

/* One row under way. */
struct item {
	struct asset_row row;
	struct asset_source src;
	struct buf text; /* of a narinfo */
	struct buf why; /* of a failure */
	enum asset_rc rc;
};

/* Where the bytes of it->row are, into it->src. */
static enum asset_rc
open_source(struct relay *re, struct index *ix, struct item *it)
{
	struct asset_source *src = &it->src;
	const char *dot;
	struct hash_part hp;
	struct key k;

	src->key = it->row.key;
	src->fd = -1;
	if (key_parse(src->key, strlen(src->key), &k) == -1) {
		buf_adds(&it->why, "not a key");
		return ASSET_REFUSED;
	}
	src->content_type = key_content_type(k.kind);
	if (it->row.spool[0] != '\0') {
		src->dir = spool_ready_dir(re->spool);
		src->name = it->row.spool;
		src->size = it->row.size;
		if ((src->fd = spool_read(re->spool, src->name)) != -1)
			return ASSET_OK;
		buf_addf(&it->why, "its spool file %s is gone", src->name);
		return ASSET_REFUSED;
	}
	dot = strchr(src->key, '.');
	if (dot == NULL ||
	    hash_part_parse(src->key, (size_t)(dot - src->key), &hp) == -1 ||
	    index_narinfo_get(ix, re->cache, hp.s, &it->text, NULL) != 1) {
		buf_adds(&it->why, "its narinfo is not in the index");
		return ASSET_RETRY;
	}
	src->p = it->text.p;
	src->size = it->text.len;
	return ASSET_OK;
}

static void
put_item(struct relay *re, struct index *ix, struct item *it)
{
	it->rc = open_source(re, ix, it);
	if (it->rc == ASSET_OK)
		it->rc = re->store->ops->put(
		    re->store, &it->src, &it->row.url, &it->why);
	if (it->src.fd != -1) {
		close(it->src.fd);
		it->src.fd = -1;
	}
}

/* One flush for all that were put. */
static void
flush_items(struct relay *re, struct item *items, size_t n)
{
	struct buf why = BUF_INIT;
	enum asset_rc rc;
	size_t i;

	if (re->store->ops->flush == NULL)
		return;
	if ((rc = re->store->ops->flush(re->store, &why)) != ASSET_OK)
		for (i = 0; i < n; i++)
			if (items[i].rc == ASSET_OK) {
				items[i].rc = rc;
				buf_adds(&items[i].why, buf_str(&why));
			}
	buf_free(&why);
}

/* When to try again after so many attempts: grows, up to a quarter more. */
static int64_t
retry_at(int64_t attempts)
{
	int64_t delay = RETRY_MAX;
	uint32_t jitter = 0;

	if (attempts < 27) /* 5 * 27^2 is over the maximum */
		delay = RETRY_BASE * attempts * attempts;
	if (getrandom(&jitter, sizeof(jitter), 0) != (ssize_t)sizeof(jitter))
		jitter = 0;
	return (int64_t)time(NULL) + delay + jitter % (delay / 4 + 1);
}

static void
give_back(struct relay *re, struct index *ix, struct item *it)
{
	bool permanent = it->rc == ASSET_REFUSED;

	log_warnx("relay %s: %s: %s", it->row.key,
	    permanent ? "failed" : "will try again", buf_str(&it->why));
	index_unclaim(ix, spool_instance(re->spool), &it->row,
	    buf_str(&it->why), retry_at(it->row.attempts), permanent);
}

/* Mark those stored that the store confirmed, and let their files go. */
static void
finish_items(struct relay *re, struct index *ix, struct item *items, size_t n)
{
	struct asset_row stored[BATCH_MAX];
	bool done[BATCH_MAX] = { false };
	size_t i, m = 0;

	for (i = 0; i < n; i++) {
		if (items[i].rc == ASSET_OK)
			stored[m++] = items[i].row;
		else
			give_back(re, ix, &items[i]);
	}
	if (m == 0)
		return;
	if (index_stored(ix, spool_instance(re->spool), stored, m, done) ==
	    -1) {
		/* Still claimed by us: returned when the lease runs out. */
		return;
	}
	for (i = 0; i < m; i++) {
		if (done[i] && stored[i].spool[0] != '\0')
			spool_retire(
			    re->spool, stored[i].spool, (int64_t)time(NULL));
		log_debug("relay %s: %s", stored[i].key,
		    done[i] ? "stored" : "replaced meanwhile");
	}
}

/* Claim and carry one batch; the number of rows, -1 when the index failed. */
static int
carry(struct relay *re, struct index *ix, struct item *items,
    struct asset_row *rows)
{
	size_t max = re->store->ops->batch, i, n;

	if (max > BATCH_MAX)
		max = BATCH_MAX;
	if (index_claim(ix, re->cache, spool_instance(re->spool),
		(int64_t)time(NULL), LEASE, rows, max, &n) == -1)
		return -1;
	if (n == 0)
		return 0;
	memset(items, 0, n * sizeof(*items));
	for (i = 0; i < n; i++) {
		items[i].row = rows[i];
		put_item(re, ix, &items[i]);
	}
	flush_items(re, items, n);
	for (i = 0; i < n; i++)
		if (items[i].rc == ASSET_OK)
			items[i].rc = re->store->ops->confirm(re->store,
			    &items[i].src, items[i].row.url, &items[i].why);
	finish_items(re, ix, items, n);
	for (i = 0; i < n; i++) {
		buf_free(&items[i].text);
		buf_free(&items[i].why);
		index_asset_clear(&items[i].row);
	}
	return (int)n;
}

/* Wait until there may be something to do; false when it is time to stop. */
static bool
wait_for_work(struct relay *re)
{
	const struct timespec gather = { 0, GATHER_MS * 1000 * 1000 };
	struct timespec until;
	bool woken, go_on;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += IDLE_SECONDS;
	pthread_mutex_lock(&re->mutex);
	while (!re->woken && !re->stopping)
		if (pthread_cond_timedwait(&re->cond, &re->mutex, &until) ==
		    ETIMEDOUT)
			break;
	woken = re->woken;
	re->woken = false;
	go_on = !re->stopping;
	pthread_mutex_unlock(&re->mutex);
	if (woken && go_on && re->store->ops->flush != NULL)
		nanosleep(&gather, NULL);
	return go_on;
}

static bool
is_stopping(struct relay *re)
{
	bool stopping;

	pthread_mutex_lock(&re->mutex);
	stopping = re->stopping;
	pthread_mutex_unlock(&re->mutex);
	return stopping;
}

static void *
work(void *arg)
{
	struct relay *re = arg;
	struct asset_row *rows;
	struct item *items;
	struct index *ix;

	rows = calloc(BATCH_MAX, sizeof(*rows));
	items = calloc(BATCH_MAX, sizeof(*items));
	ix = index_open(re->conf->state_dir, INDEX_WRITE);
	if (rows == NULL || items == NULL || ix == NULL) {
		log_warnx("relay: a thread can't start: nothing is relayed "
			  "until the next start");
		goto out;
	}
	do {
		while (!is_stopping(re) && carry(re, ix, items, rows) > 0)
			;
		spool_reap(re->spool, (int64_t)time(NULL));
	} while (wait_for_work(re));
out:
	index_close(ix);
	free(items);
	free(rows);
	return NULL;
}

struct relay *
relay_start(const struct conf *conf, const char *cache,
    struct asset_store *store, struct spool_dir *spool)
{
	struct relay *re;
	size_t n = conf->relay_workers, i;

	/* A store that flushes whole batches gains nothing from more. */
	if (store->ops->flush != NULL)
		n = 1;
	if ((re = calloc(1, sizeof(*re) + n * sizeof(re->threads[0]))) == NULL)
		return NULL;
	re->conf = conf;
	re->cache = cache;
	re->store = store;
	re->spool = spool;
	pthread_mutex_init(&re->mutex, NULL);
	pthread_cond_init(&re->cond, NULL);
	for (i = 0; i < n; i++) {
		if (pthread_create(&re->threads[i], NULL, work, re) != 0) {
			log_warnx("relay: can't start a thread");
			relay_stop(re);
			return NULL;
		}
		re->nthreads++;
	}
	return re;
}

void
relay_wake(struct relay *re)
{
	pthread_mutex_lock(&re->mutex);
	re->woken = true;
	pthread_cond_signal(&re->cond);
	pthread_mutex_unlock(&re->mutex);
}

void
relay_stop(struct relay *re)
{
	size_t i;

	if (re == NULL)
		return;
	pthread_mutex_lock(&re->mutex);
	re->stopping = true;
	pthread_cond_broadcast(&re->cond);
	pthread_mutex_unlock(&re->mutex);
	for (i = 0; i < re->nthreads; i++)
		pthread_join(re->threads[i], NULL);
	pthread_cond_destroy(&re->cond);
	pthread_mutex_destroy(&re->mutex);
	free(re);
}
