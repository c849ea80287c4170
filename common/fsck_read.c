#include "config.h"

#include "fsck_read.h"

#include <pthread.h>
#include <time.h>

#include "log.h"

#define READERS 8
#define TRIES 3
/* So many in a row that could not be read: the store is out of order. */
#define SILENT_MAX 16

struct readers {
	struct fsck *c;
	struct fsck_read *all;
	size_t n;
	pthread_mutex_t mutex; /* of all below, and of c's counts */
	pthread_cond_t done; /* a reader has ended */
	size_t next; /* the one to be read next */
	size_t running;
	unsigned int silent; /* reads since one was answered */
	bool stop; /* told to, or */
	bool dead; /* since the store does not answer */
};

/* What a sink needs. */
struct reading {
	struct readers *rs;
	struct fsck_read *r;
};

static void
sleep_ms(int64_t ms)
{
	const struct timespec pause = { .tv_sec = ms / 1000,
		.tv_nsec = ms % 1000 * 1000000 };

	if (ms > 0)
		nanosleep(&pause, NULL);
}

static int
take(const void *p, size_t n, void *arg)
{
	struct reading *rd = arg;
	struct fsck_read *r = rd->r;
	int64_t due;

	r->got += n;
	pthread_mutex_lock(&rd->rs->mutex);
	rd->rs->c->read += n;
	due = fsck_due(rd->rs->c, n);
	pthread_mutex_unlock(&rd->rs->mutex);
	if (r->got > r->size)
		return -1;
	hash_add(r->hash, p, n);
	if (r->text != NULL) {
		buf_add(r->text, p, n);
		if (buf_failed(r->text))
			return -1;
	}
	sleep_ms(due);
	return 0;
}

static void
read_once(struct readers *rs, struct fsck_read *r)
{
	struct asset_store *as = rs->c->store;
	struct reading rd = { rs, r };
	const struct asset_sink sink = { take, &rd };

	r->got = 0;
	if (r->text != NULL)
		buf_clear(r->text);
	buf_clear(&r->why);
	hash_reset(r->hash);
	r->rc = as->ops->get(as, r->key, r->url, &sink, &r->why);
	if (r->rc == ASSET_OK ? r->got < r->size : r->got > r->size) {
		buf_adds(&r->why, "it has another length");
		r->rc = ASSET_RETRY;
	}
}

static bool
stopped(struct readers *rs)
{
	bool stop;

	pthread_mutex_lock(&rs->mutex);
	stop = rs->stop;
	pthread_mutex_unlock(&rs->mutex);
	return stop;
}

static void
read_one(struct readers *rs, struct fsck_read *r)
{
	int tries = 1;

	r->rc = ASSET_RETRY;
	if ((r->hash = hash_new()) == NULL) {
		buf_adds(&r->why, "no memory");
		return;
	}
	for (read_once(rs, r);
	     r->rc == ASSET_RETRY && tries < TRIES && !stopped(rs); tries++) {
		sleep_ms(1000);
		read_once(rs, r);
	}
	if (r->rc == ASSET_OK)
		hash_final(r->hash, &r->sha256);
	hash_free(r->hash);
	r->hash = NULL;
}

/* The next one, NULL when there is none. */
static struct fsck_read *
next_one(struct readers *rs)
{
	struct fsck_read *r = NULL;

	pthread_mutex_lock(&rs->mutex);
	while (r == NULL && rs->next < rs->n && !rs->stop) {
		r = &rs->all[rs->next++];
		if (r->key == NULL)
			r = NULL;
	}
	pthread_mutex_unlock(&rs->mutex);
	return r;
}

/* Does the store answer at all?  Another length is an answer. */
static void
count(struct readers *rs, const struct fsck_read *r)
{
	pthread_mutex_lock(&rs->mutex);
	rs->silent = r->rc == ASSET_RETRY && r->got == 0 ? rs->silent + 1 : 0;
	if (rs->silent == SILENT_MAX && !rs->stop) {
		rs->stop = rs->dead = true;
		log_warnx("fsck: the asset store does not answer: %s",
		    buf_str(&r->why));
	}
	pthread_mutex_unlock(&rs->mutex);
}

static void *
reader(void *arg)
{
	struct readers *rs = arg;
	struct fsck_read *r;

	while ((r = next_one(rs)) != NULL) {
		read_one(rs, r);
		count(rs, r);
	}
	pthread_mutex_lock(&rs->mutex);
	rs->running--;
	pthread_cond_signal(&rs->done);
	pthread_mutex_unlock(&rs->mutex);
	return NULL;
}

/* Until all readers have ended; told to end, they are cut short. */
static void
wait_readers(struct readers *rs)
{
	struct fsck *c = rs->c;
	struct timespec until;
	const char *key;

	pthread_mutex_lock(&rs->mutex);
	while (rs->running > 0) {
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec++;
		pthread_cond_timedwait(&rs->done, &rs->mutex, &until);
		key = rs->all[rs->next > 0 ? rs->next - 1 : 0].key;
		if (rs->stop || !fsck_cut(c, key != NULL ? key : ""))
			continue;
		rs->stop = true;
		c->store->ops->interrupt(c->store);
	}
	pthread_mutex_unlock(&rs->mutex);
}

static size_t
wanted(const struct fsck_read *all, size_t n)
{
	size_t i, sum = 0;

	for (i = 0; i < n; i++)
		sum += all[i].key != NULL;
	return sum;
}

/* One reader for each, READERS at most: 0, or -1 when there is no thread. */
static int
run(struct readers *rs, size_t max)
{
	pthread_t threads[READERS];
	size_t i, n = 0;

	pthread_mutex_lock(&rs->mutex);
	while (n < READERS && n < max &&
	    pthread_create(&threads[n], NULL, reader, rs) == 0)
		n++;
	rs->running = n;
	pthread_mutex_unlock(&rs->mutex);
	wait_readers(rs);
	for (i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	if (n > 0 || max == 0)
		return 0;
	log_warnx("fsck: no thread to read with");
	return -1;
}

int
fsck_read_all(struct fsck *c, struct fsck_read *all, size_t n)
{
	struct readers rs = { .c = c, .all = all, .n = n };
	int rc;

	pthread_mutex_init(&rs.mutex, NULL);
	pthread_cond_init(&rs.done, NULL);
	rc = run(&rs, wanted(all, n));
	pthread_cond_destroy(&rs.done);
	pthread_mutex_destroy(&rs.mutex);
	if (rc == 0 && rs.dead)
		rc = -1;
	return rc == 0 && rs.stop ? 1 : rc;
}
