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

#include "clock.h"
#include "log.h"

/* A claim that was not renewed for so long has lost its owner. */
#define LEASE 120
#define RENEW_SECONDS 30
/* Look again this often even when nobody wakes us: retries come due. */
#define IDLE_SECONDS 2
/* After a wake, wait for company: one flush then stands for many assets. */
#define GATHER_MS 1000
/* Delays between attempts: base * attempts^2, at most RETRY_MAX seconds. */
#define RETRY_BASE 5
#define RETRY_MAX 3600
/* No attempt is farther off than that: see relay_delay. */
#define RETRY_FAR (RETRY_MAX + RETRY_MAX / 4 + 60)
/* Seconds that the clock on the wall may go back by itself. */
#define BACK_SECONDS 2
#define BATCH_MAX INDEX_CLAIM_MAX
/* Between looks at an object that another process may be carrying. */
#define ONCE_MS 100
/* For a NAR to be verified, then it is tried again: not long, a worker waits.
 */
#define VERIFY_SECONDS 60

struct relay {
	const struct conf *conf;
	const char *cache;
	struct asset_store *store;
	struct spool_dir *spool;
	struct verifier *verifier;
	bool once;
	pthread_mutex_t mutex;
	pthread_cond_t cond; /* there may be work */
	pthread_cond_t change; /* something was stored, or failed */
	uint64_t changes;
	size_t carrying; /* threads that claim or carry */
	bool idle; /* the last to look found nothing, and none carries */
	bool woken;
	bool stopping;
	bool joined; /* no worker is left */
	int64_t pause; /* nothing is claimed before this clock_s() */
	int64_t ahead; /* of clock_s(), the clock on the wall, at most so far */
	bool recall; /* it was set back: attempts are due now */
	char wanted[KEY_MAX + 1]; /* once: "" when nobody waits */
	pthread_t renewer;
	int64_t renewed; /* clock_s() */
	bool has_renewer;
	size_t working; /* threads that are not done */
	size_t nworkers; /* wanted */
	size_t nthreads; /* started */
	pthread_t threads[];
};

/* One row under way. */
struct item {
	struct asset_row row;
	struct asset_source src;
	struct buf text; /* of a narinfo */
	struct buf why; /* of a failure */
	struct asset_receipt receipt;
	enum asset_rc rc;
};

/* Where the bytes of it->row are, into it->src. */
static enum asset_rc
open_source(struct relay *re, struct index *ix, struct item *it)
{
	struct asset_source *src = &it->src;
	char text[128];
	const char *dot;
	struct hash_part hp;
	struct digest now;
	struct key k;
	int found = -1;

	src->key = it->row.key;
	src->fd = -1;
	src->receipt = &it->receipt;
	src->sha256 = &it->row.sha256;
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
		/* Too many open files, an error of the disk: that may pass. */
		if (errno != ENOENT) {
			buf_addf(&it->why, "its spool file %s: %s", src->name,
			    strerror_r(errno, text, sizeof(text)));
			return ASSET_RETRY;
		}
		buf_addf(&it->why, "its spool file %s is gone", src->name);
		return ASSET_REFUSED;
	}
	dot = strchr(src->key, '.');
	if (dot != NULL &&
	    hash_part_parse(src->key, (size_t)(dot - src->key), &hp) == 0)
		found = index_narinfo_get(ix, re->cache, hp.s, &it->text, NULL);
	if (found == INDEX_SPOILED) {
		index_spoiled_note(ix, re->cache, hp.s, (int64_t)time(NULL));
		buf_adds(&it->why, "its text in the index is spoiled");
		return ASSET_RETRY;
	}
	if (found != 1) {
		buf_adds(&it->why, "its narinfo is not in the index");
		return ASSET_RETRY;
	}
	src->p = it->text.p;
	src->size = it->text.len;
	/* Signatures were added between the claim and now: it is given back. */
	hash_sha256(src->p, src->size, &now);
	if (digest_equal(&now, &it->row.sha256))
		return ASSET_OK;
	buf_adds(&it->why, "replaced meanwhile");
	return ASSET_RETRY;
}

/*
 * Its sender has been answered, but the process may have ended before the NAR
 * was verified.  What was found is for its narinfo to hear.
 */
static enum asset_rc
have_verified(struct relay *re, struct index *ix, struct item *it)
{
	const struct verifier_wait w = { .token = "",
		.seconds = VERIFY_SECONDS };
	struct verified result;
	struct key k;

	if (re->verifier == NULL || re->store->ops->open != NULL ||
	    key_parse(it->row.key, strlen(it->row.key), &k) == -1 ||
	    k.kind != KEY_NAR)
		return ASSET_OK;
	switch (verifier_wait(re->verifier, ix, &k, &w, &result)) {
	case VERIFIER_DONE:
		verified_clear(&result);
		return ASSET_OK;
	case VERIFIER_SLOW:
	case VERIFIER_BUSY:
	case VERIFIER_LEFT:
		buf_adds(&it->why, "it is still being verified");
		return ASSET_RETRY;
	case VERIFIER_NO_NAR:
	case VERIFIER_GONE:
	case VERIFIER_ERROR:
		break;
	}
	buf_adds(&it->why, "it can't be verified");
	return ASSET_RETRY;
}

static void
put_item(struct relay *re, struct index *ix, struct item *it)
{
	char *url = NULL;

	if ((it->rc = open_source(re, ix, it)) == ASSET_OK)
		it->rc = have_verified(re, ix, it);
	if (it->rc == ASSET_OK) {
		it->rc =
		    re->store->ops->put(re->store, &it->src, &url, &it->why);
		free(it->row.url); /* of its last version */
		it->row.url = url;
	}
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

int64_t
relay_delay(int64_t attempts, uint32_t random)
{
	int64_t delay = RETRY_MAX;

	if (attempts < 1)
		attempts = 1;
	if (attempts < 27) /* 5 * 27^2 is over the maximum */
		delay = RETRY_BASE * attempts * attempts;
	return delay + random % (delay / 4 + 1);
}

/* When to try it again: not before the store said. */
static int64_t
retry_at(const struct item *it, int64_t now)
{
	uint32_t random = 0;
	int64_t delay;

	if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
		random = 0;
	delay = relay_delay(it->row.attempts, random);
	if (delay < it->receipt.retry_after)
		delay = it->receipt.retry_after;
	return now + delay;
}

/* After a while true, false when it is time to stop. */
static bool
wait_a_while(struct relay *re)
{
	const struct timespec until = clock_in(IDLE_SECONDS * 1000);
	bool go_on;

	pthread_mutex_lock(&re->mutex);
	while (!re->stopping)
		if (pthread_cond_timedwait(&re->cond, &re->mutex, &until) ==
		    ETIMEDOUT)
			break;
	go_on = !re->stopping;
	pthread_mutex_unlock(&re->mutex);
	return go_on;
}

/* Nothing is asked of the store for so many seconds. */
static void
pause_for(struct relay *re, int64_t seconds)
{
	const int64_t at = clock_s() + seconds;

	pthread_mutex_lock(&re->mutex);
	if (re->pause < at)
		re->pause = at;
	pthread_mutex_unlock(&re->mutex);
}

static void
give_back(struct relay *re, struct index *ix, struct item *it)
{
	bool permanent = it->rc == ASSET_REFUSED;
	int64_t now = (int64_t)time(NULL);
	size_t i;

	/* Some of it is a peer's text. */
	for (i = 0; i < it->why.len; i++)
		if (it->why.p[i] < 0x20 || it->why.p[i] > 0x7e)
			it->why.p[i] = '?';
	log_warnx("relay %s: %s: %s", it->row.key,
	    permanent ? "failed" : "will try again", buf_str(&it->why));
	/* A store may say anything; a day without a try would be too long. */
	if (it->receipt.retry_after > RETRY_MAX)
		it->receipt.retry_after = RETRY_MAX;
	if (it->receipt.retry_after > 0)
		pause_for(re, it->receipt.retry_after);
	while (index_unclaim(ix, spool_instance(re->spool), &it->row,
		   buf_str(&it->why), retry_at(it, now), permanent) == -1)
		if (!wait_a_while(re))
			break;
}

/* Tell those who wait for something to become stored. */
static void
tell(struct relay *re)
{
	pthread_mutex_lock(&re->mutex);
	re->changes++;
	pthread_cond_broadcast(&re->change);
	pthread_mutex_unlock(&re->mutex);
}

/*
 * Mark those stored that the store confirmed, and let their files go.  While
 * the index can't take it (its disk is full) the claims are ours, and renewed:
 * it is told again until it knows.  The next start gives back what is left.
 */
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
	while (
	    index_stored(ix, spool_instance(re->spool), stored, m, done) == -1)
		if (!wait_a_while(re))
			return;
	for (i = 0; i < m; i++) {
		if (done[i] && stored[i].spool[0] != '\0')
			spool_retire(re->spool, stored[i].spool, clock_s());
		log_debug("relay %s: %s", stored[i].key,
		    done[i] ? "stored" : "replaced meanwhile");
	}
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

static bool
is_paused(struct relay *re)
{
	bool paused;

	pthread_mutex_lock(&re->mutex);
	paused = re->pause > clock_s();
	pthread_mutex_unlock(&re->mutex);
	return paused;
}

/* For relay_start_once: what is waited for, or what may keep it waiting. */
static int
claim_wanted(
    struct relay *re, struct index *ix, struct asset_row *rows, size_t *n)
{
	const char *me = spool_instance(re->spool);
	const int64_t now = (int64_t)time(NULL);
	char key[KEY_MAX + 1];
	struct asset_row row;
	bool waits;

	pthread_mutex_lock(&re->mutex);
	memcpy(key, re->wanted, sizeof(key));
	pthread_mutex_unlock(&re->mutex);
	*n = 0;
	if (key[0] == '\0')
		return 0;
	if (index_claim_key(ix, re->cache, key, me, now, LEASE, rows, n) == -1)
		return -1;
	if (*n > 0 || index_asset_get(ix, re->cache, key, &row) != 1)
		return 0;
	index_asset_clear(&row);
	/* Of all objects narinfos alone wait for others. */
	waits = row.state == ASSET_SPOOLED && row.spool[0] == '\0';
	if (!waits)
		return 0;
	return index_claim(ix, re->cache, me, now, LEASE, rows, 1, n);
}

/*
 * Times of attempts are the wall clock's, as another process may have set them.
 * One that was set while that clock was ahead would come late by as much: what
 * waits is due when the clock goes back, and at a start, which can't know; and
 * what waits for longer than any delay is due always.  0 or -1.
 */
static int
recall_attempts(struct relay *re, struct index *ix)
{
	const int64_t now = (int64_t)time(NULL), ahead = now - clock_s();
	bool all;
	int n;

	pthread_mutex_lock(&re->mutex);
	if (ahead < re->ahead - BACK_SECONDS && !re->once) {
		log_warnx("the clock was set back by %lld seconds",
		    (long long)(re->ahead - ahead));
		re->recall = true;
	}
	if (re->recall || ahead > re->ahead)
		re->ahead = ahead;
	all = re->recall;
	re->recall = false;
	pthread_mutex_unlock(&re->mutex);
	n = index_recall(ix, re->cache, now, all ? now : now + RETRY_FAR);
	if (all && (n == -1 || n == INDEX_RECALL_MAX)) {
		pthread_mutex_lock(&re->mutex);
		re->recall = true;
		pthread_mutex_unlock(&re->mutex);
	}
	return n == -1 ? -1 : 0;
}

/* Claim and carry one batch; the number of rows, -1 when the index failed. */
static int
carry(struct relay *re, struct index *ix, struct item *items,
    struct asset_row *rows)
{
	size_t max = re->store->ops->batch, i, n;

	if (max > BATCH_MAX)
		max = BATCH_MAX;
	if (is_paused(re))
		return 0;
	if (recall_attempts(re, ix) == -1)
		return -1;
	if ((re->once ? claim_wanted(re, ix, rows, &n)
		      : index_claim(ix, re->cache, spool_instance(re->spool),
			    (int64_t)time(NULL), LEASE, rows, max, &n)) == -1)
		return -1;
	if (n == 0)
		return 0;
	/* Where there was one there may be more: another thread looks. */
	if (re->nworkers > 1)
		relay_wake(re);
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
	tell(re);
	for (i = 0; i < n; i++) {
		buf_free(&items[i].text);
		buf_free(&items[i].why);
		index_asset_clear(&items[i].row);
	}
	return (int)n;
}

/* carry, with a look at whether anybody finds anything. */
static int
carry_some(struct relay *re, struct index *ix, struct item *items,
    struct asset_row *rows)
{
	int n;

	pthread_mutex_lock(&re->mutex);
	re->carrying++;
	re->idle = false;
	pthread_mutex_unlock(&re->mutex);
	n = carry(re, ix, items, rows);
	pthread_mutex_lock(&re->mutex);
	re->carrying--;
	re->idle = n <= 0 && re->carrying == 0;
	if (re->idle)
		pthread_cond_broadcast(&re->change);
	pthread_mutex_unlock(&re->mutex);
	return n;
}

/* Wait until there may be something to do; false when it is time to stop. */
static bool
wait_for_work(struct relay *re)
{
	const struct timespec gather = { 0, GATHER_MS * 1000 * 1000 };
	const struct timespec until = clock_in(IDLE_SECONDS * 1000);
	bool woken, go_on;

	pthread_mutex_lock(&re->mutex);
	while (!re->woken && !re->stopping)
		if (pthread_cond_timedwait(&re->cond, &re->mutex, &until) ==
		    ETIMEDOUT)
			break;
	woken = re->woken;
	re->woken = false;
	go_on = !re->stopping;
	pthread_mutex_unlock(&re->mutex);
	if (woken && go_on && !re->once && re->store->ops->flush != NULL)
		nanosleep(&gather, NULL);
	return go_on;
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
		while (!is_stopping(re) && carry_some(re, ix, items, rows) > 0)
			;
		spool_reap(re->spool, clock_s());
	} while (wait_for_work(re));
out:
	pthread_mutex_lock(&re->mutex);
	re->working--;
	pthread_cond_broadcast(&re->change);
	pthread_mutex_unlock(&re->mutex);
	index_close(ix);
	free(items);
	free(rows);
	return NULL;
}

/* Claims of a live owner don't run out, however long an upload takes. */
static void *
renew(void *arg)
{
	struct relay *re = arg;
	struct timespec until;
	struct index *ix;

	if ((ix = index_open(re->conf->state_dir, INDEX_READ)) == NULL)
		return NULL;
	pthread_mutex_lock(&re->mutex);
	while (!re->joined) {
		until = clock_in(RENEW_SECONDS * 1000);
		pthread_cond_timedwait(&re->change, &re->mutex, &until);
		if (clock_s() < re->renewed + RENEW_SECONDS)
			continue;
		re->renewed = clock_s();
		pthread_mutex_unlock(&re->mutex);
		index_renew(
		    ix, spool_instance(re->spool), (int64_t)time(NULL) + LEASE);
		pthread_mutex_lock(&re->mutex);
	}
	pthread_mutex_unlock(&re->mutex);
	index_close(ix);
	return NULL;
}

static int
spool_used(const char *name, void *arg)
{
	return index_spool_used(arg, name);
}

static int
spool_stored(const struct digest *d, uint64_t size, void *arg)
{
	int rc = index_nar_stored(arg, CACHE_MAIN, d, size);

	return rc != 0 ? rc : index_nar_stored(arg, CACHE_DRV, d, size);
}

static void
instance_dead(const char *instance, void *arg)
{
	index_release(arg, instance);
}

static int
spool_wanted(const char *name, struct digest *d, uint64_t *size, void *arg)
{
	return index_spool_find(arg, name, d, size);
}

static void
spool_back(const char *name, void *arg)
{
	index_spool_again(arg, name);
}

struct spool_dir *
relay_open_spool(const struct conf *conf, struct index *ix, bool brief)
{
	const struct spool_owner owner = { .used = spool_used,
		.stored = spool_stored,
		.dead = instance_dead,
		.wanted = spool_wanted,
		.back = spool_back,
		.arg = ix };

	return (brief ? spool_open_brief : spool_open)(conf->state_dir, &owner);
}

static struct relay *
relay_new(const struct conf *conf, const char *cache, struct asset_store *store,
    struct spool_dir *spool, struct verifier *verifier, size_t n)
{
	pthread_condattr_t clock;
	struct relay *re;

	if ((re = calloc(1, sizeof(*re) + n * sizeof(re->threads[0]))) == NULL)
		return NULL;
	re->conf = conf;
	re->cache = cache;
	re->store = store;
	re->spool = spool;
	re->verifier = verifier;
	re->nworkers = n;
	pthread_mutex_init(&re->mutex, NULL);
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&re->cond, &clock);
	pthread_cond_init(&re->change, &clock);
	pthread_condattr_destroy(&clock);
	re->ahead = (int64_t)time(NULL) - clock_s();
	return re;
}

static int
start_worker(struct relay *re)
{
	int rc;

	pthread_mutex_lock(&re->mutex);
	rc = pthread_create(&re->threads[re->nthreads], NULL, work, re);
	if (rc == 0)
		re->working++;
	pthread_mutex_unlock(&re->mutex);
	return rc == 0 ? 0 : -1;
}

/* 0, or -1 with some of them started. */
static int
start_threads(struct relay *re)
{
	if (pthread_create(&re->renewer, NULL, renew, re) != 0)
		goto fail;
	re->has_renewer = true;
	for (; re->nthreads < re->nworkers; re->nthreads++)
		if (start_worker(re) == -1)
			goto fail;
	return 0;
fail:
	log_warnx("relay: can't start a thread");
	return -1;
}

struct relay *
relay_start(const struct conf *conf, const char *cache,
    struct asset_store *store, struct spool_dir *spool,
    struct verifier *verifier)
{
	struct relay *re;

	/* A store that flushes whole batches gains nothing from more. */
	re = relay_new(conf, cache, store, spool, verifier,
	    store->ops->flush != NULL ? 1 : conf->relay_workers);
	if (re != NULL)
		re->recall = true;
	if (re != NULL && start_threads(re) == -1) {
		relay_stop(re, 0);
		return NULL;
	}
	return re;
}

struct relay *
relay_start_once(const struct conf *conf, const char *cache,
    struct asset_store *store, struct spool_dir *spool,
    struct verifier *verifier)
{
	struct relay *re;

	if ((re = relay_new(conf, cache, store, spool, verifier, 1)) != NULL)
		re->once = true;
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

/* Something happened since *seen, or a second has passed. */
static void
wait_change(struct relay *re, uint64_t *seen)
{
	const struct timespec until = clock_in(re->once ? ONCE_MS : 1000);

	pthread_mutex_lock(&re->mutex);
	while (re->changes == *seen)
		if (pthread_cond_timedwait(&re->change, &re->mutex, &until) ==
		    ETIMEDOUT)
			break;
	*seen = re->changes;
	pthread_mutex_unlock(&re->mutex);
}

bool
relay_wait_idle(struct relay *re)
{
	const struct timespec until = clock_in(1000);
	uint64_t seen;
	bool idle;

	pthread_mutex_lock(&re->mutex);
	seen = re->changes;
	while (!re->idle && re->changes == seen)
		if (pthread_cond_timedwait(&re->change, &re->mutex, &until) ==
		    ETIMEDOUT)
			break;
	idle = re->idle;
	pthread_mutex_unlock(&re->mutex);
	return idle;
}

void
relay_wait_change(struct relay *re)
{
	uint64_t seen;

	if (re == NULL) {
		sleep(1);
		return;
	}
	pthread_mutex_lock(&re->mutex);
	seen = re->changes;
	pthread_mutex_unlock(&re->mutex);
	wait_change(re, &seen);
}

/* For relay_start_once: have key carried, nothing when it is "". */
static int
want(struct relay *re, const char *key)
{
	if (!re->once)
		return 0;
	pthread_mutex_lock(&re->mutex);
	snprintf(re->wanted, sizeof(re->wanted), "%s", key);
	pthread_mutex_unlock(&re->mutex);
	if (key[0] == '\0')
		return 0;
	if (re->nthreads == 0)
		return start_threads(re);
	relay_wake(re);
	return 0;
}

enum relay_outcome
relay_wait(struct relay *re, struct index *ix, const char *key,
    uint64_t seconds, bool (*cancelled)(void *arg), void *arg)
{
	const int64_t until = clock_s() + (int64_t)seconds;
	enum relay_outcome outcome = RELAY_TIMEOUT;
	struct asset_row row;
	uint64_t seen;

	pthread_mutex_lock(&re->mutex);
	seen = re->changes;
	pthread_mutex_unlock(&re->mutex);
	if (want(re, key) == -1)
		return RELAY_TIMEOUT;
	for (;;) {
		if (index_asset_get(ix, re->cache, key, &row) == 1) {
			index_asset_clear(&row);
			if (row.state == ASSET_STORED)
				outcome = RELAY_STORED;
			if (row.state == ASSET_FAILED)
				outcome = RELAY_FAILED;
		}
		if (outcome != RELAY_TIMEOUT || clock_s() > until ||
		    cancelled(arg))
			break;
		wait_change(re, &seen);
	}
	want(re, "");
	return outcome;
}

void
relay_stop(struct relay *re, unsigned int seconds)
{
	const struct timespec until = clock_in((int64_t)seconds * 1000);
	size_t i;
	bool cut;

	if (re == NULL)
		return;
	pthread_mutex_lock(&re->mutex);
	re->stopping = true;
	re->changes++;
	pthread_cond_broadcast(&re->cond);
	pthread_cond_broadcast(&re->change);
	while (re->working > 0)
		if (pthread_cond_timedwait(&re->change, &re->mutex, &until) ==
		    ETIMEDOUT)
			break;
	cut = re->working > 0;
	pthread_mutex_unlock(&re->mutex);
	if (cut && re->store->ops->interrupt != NULL)
		re->store->ops->interrupt(re->store);
	for (i = 0; i < re->nthreads; i++)
		pthread_join(re->threads[i], NULL);
	pthread_mutex_lock(&re->mutex);
	re->joined = true;
	pthread_cond_broadcast(&re->change);
	pthread_mutex_unlock(&re->mutex);
	if (re->has_renewer)
		pthread_join(re->renewer, NULL);
	pthread_cond_destroy(&re->change);
	pthread_cond_destroy(&re->cond);
	pthread_mutex_destroy(&re->mutex);
	free(re);
}
