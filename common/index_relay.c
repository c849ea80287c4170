#include "config.h"

#include "index.h"

#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "index_db.h"

/*
 * Between looks at all that wait: so many times the processor's time that the
 * last one took, unless it was short.
 */
#define QUIET_TIMES 20
#define QUIET_FROM_US 10000
/* Each so many looks begin at the first of all that wait. */
#define LOOKS_FROM_HERE 16
/* A processor's time for what was freed, of one claim. */
#define FREED_MS 20
/* Looks that found what others claimed meanwhile. */
#define TRIES 4

/* What may go, to be claimed: ids alone, found without the writer's lock. */
struct found {
	int64_t *ids;
	size_t max;
	size_t n;
	bool cycle; /* narinfos that wait for each other */
};

/*
 * Look at those that wait behind look->after, until f is full.  1 when it is,
 * look then being before the first that was found; 0 at the end of all; or -1.
 */
static int
look_on(struct index *ix, enum statement which, const char *cache, int64_t now,
    struct index_look *look, struct found *f)
{
	const size_t had = f->n;
	sqlite3_stmt *st;
	int rc = 0;

	if ((st = index_stmt(ix, which)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	sqlite3_bind_int64(st, 2, now);
	sqlite3_bind_int64(st, 3, look->after_attempt);
	sqlite3_bind_int64(st, 4, look->after_id);
	while (f->n < f->max && (rc = db_step(ix->db, st)) == 1) {
		if (sqlite3_column_int(st, 2) != 0)
			f->ids[f->n++] = sqlite3_column_int64(st, 0);
		else if (f->n == had) {
			look->after_id = sqlite3_column_int64(st, 0);
			look->after_attempt = sqlite3_column_int64(st, 1);
		}
	}
	index_done(st);
	return f->n == f->max ? 1 : rc;
}

/* Note those that waited for the asset id, which is stored. */
static int
find_freed(
    struct index *ix, enum statement which, const char *cache, int64_t id)
{
	struct index_look *look = &ix->look;
	sqlite3_stmt *st;
	int rc = 0;

	if ((st = index_stmt(ix, which)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	sqlite3_bind_int64(st, 2, id);
	sqlite3_bind_int64(st, 3, INDEX_FREED_MAX);
	while (
	    look->nfreed < INDEX_FREED_MAX && (rc = db_step(ix->db, st)) == 1)
		look->freed[look->nfreed++] = sqlite3_column_int64(st, 0);
	index_done(st);
	return rc == -1 ? -1 : 0;
}

static int
newest_first(const void *a, const void *b)
{
	const int64_t *x = a, *y = b;

	return (*x < *y) - (*x > *y);
}

/* Each once, as one may have waited for many; the oldest at the end. */
static void
sort_freed(struct index_look *look)
{
	size_t i, n = 0;

	qsort(look->freed, look->nfreed, sizeof(look->freed[0]), newest_first);
	for (i = 0; i < look->nfreed; i++)
		if (i == 0 || look->freed[i] != look->freed[i - 1])
			look->freed[n++] = look->freed[i];
	look->nfreed = n;
}

/* May the row id go?  1 and, unless it is NULL, *row; 0 or -1.  cycle: what it
 * references waits for it. */
static int
may_go(struct index *ix, const char *cache, int64_t now, int64_t id, bool cycle,
    struct asset_row *row)
{
	sqlite3_stmt *st;
	int rc;

	if ((st = index_stmt(ix, ST_CLAIM_ID)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	sqlite3_bind_int64(st, 2, now);
	sqlite3_bind_int64(st, 3, id);
	sqlite3_bind_int64(st, 4, cycle);
	if ((rc = db_step(ix->db, st)) == 1 && row != NULL &&
	    index_column_asset(st, row) == -1)
		rc = -1;
	index_done(st);
	return rc;
}

/* Those that may go of what waited for what was stored since the last claim,
 * as far as they are found in a short time. */
static int
take_freed(struct index *ix, const char *cache, int64_t now, struct found *f)
{
	struct index_look *look = &ix->look;
	const int64_t end = clock_cpu_ms() + FREED_MS;
	int64_t id;
	int rc;

	for (; look->nstored > 0; look->nstored--) {
		id = look->stored[look->nstored - 1];
		if (find_freed(ix, ST_FREED_BY_NAR, cache, id) == -1 ||
		    find_freed(ix, ST_FREED_BY_NARINFO, cache, id) == -1)
			return -1;
	}
	sort_freed(look);
	while (f->n < f->max && look->nfreed > 0 && clock_cpu_ms() <= end) {
		id = look->freed[--look->nfreed];
		if ((rc = may_go(ix, cache, now, id, false, NULL)) == -1)
			return -1;
		if (rc == 1)
			f->ids[f->n++] = id;
	}
	return 0;
}

static int
find_newest(struct index *ix, int64_t *id)
{
	sqlite3_stmt *st;
	int rc;

	if ((st = index_stmt(ix, ST_NEWEST)) == NULL)
		return -1;
	if ((rc = db_step(ix->db, st)) == 1)
		*id = sqlite3_column_int64(st, 0);
	index_done(st);
	return rc == 1 ? 0 : -1;
}

/* Those that came since the last claim.  What was there at the first is found
 * by the look at all. */
static int
find_new(struct index *ix, const char *cache, int64_t now, struct found *f)
{
	struct index_look *look = &ix->look, at = { .nstored = 0 };
	int64_t newest;

	if (find_newest(ix, &newest) == -1)
		return -1;
	if (look->begun && newest > look->newest) {
		at.after_id = look->newest;
		switch (look_on(ix, ST_CLAIM_NEW, cache, now, &at, f)) {
		case -1:
			return -1;
		case 1:
			newest = f->ids[f->n - 1];
			break;
		default:
			break;
		}
	}
	look->begun = true;
	look->newest = newest;
	return 0;
}

static void
look_from_start(struct index_look *look)
{
	look->after_attempt = INT64_MIN;
	look->after_id = INT64_MIN;
	look->looks = 0;
}

/*
 * Narinfos that may go.  Many may wait for long, while a store does not answer:
 * a look at all of them does not come again before it was worth it.
 */
static int
find_narinfos(struct index *ix, const char *cache, int64_t now, struct found *f)
{
	struct index_look *look = &ix->look;
	const bool from_start = look->looks % LOOKS_FROM_HERE == 0;
	int rc;

	if (from_start)
		look_from_start(look);
	look->looks++;
	rc = look_on(ix, ST_CLAIM_NARINFO, cache, now, look, f);
	if (rc != 0)
		return rc == -1 ? -1 : 0;
	look_from_start(look);
	if (f->n > 0 || from_start)
		return 0;
	return look_on(ix, ST_CLAIM_NARINFO, cache, now, look, f) == -1 ? -1
									: 0;
}

/* Was the look at all that wait made not long ago?  busy: there is something
 * else to do. */
static bool
is_quiet(const struct index_look *look, bool busy)
{
	return busy ? clock_cpu_us() < look->busy_until
		    : clock_ms() < look->none_until;
}

static int
find_waiting(struct index *ix, const char *cache, int64_t now, struct found *f)
{
	struct index_look *look = &ix->look;
	const int64_t begin = clock_cpu_us();
	int64_t took;

	if (is_quiet(look, f->n > 0))
		return 0;
	if (find_narinfos(ix, cache, now, f) == -1)
		return -1;
	f->cycle = f->n == 0;
	if (f->cycle &&
	    index_cycle_find(ix, cache, now, f->ids, f->max, &f->n) == -1)
		return -1;
	took = clock_cpu_us() - begin;
	look->none_until = look->busy_until = 0;
	if (f->n < f->max)
		look->busy_until = clock_cpu_us() + QUIET_TIMES * took;
	if (f->n == 0 && took >= QUIET_FROM_US)
		look->none_until = clock_ms() + QUIET_TIMES * took / 1000;
	return 0;
}

/* Of all keys. */
static int
find_any(struct index *ix, const char *cache, int64_t now, struct found *f)
{
	struct index_look first = { .nstored = 0 };

	look_from_start(&first);
	if (look_on(ix, ST_CLAIM_OBJECT, cache, now, &first, f) == -1)
		return -1;
	if (f->n < f->max &&
	    (take_freed(ix, cache, now, f) == -1 ||
		find_new(ix, cache, now, f) == -1))
		return -1;
	return f->n < f->max ? find_waiting(ix, cache, now, f) : 0;
}

static int
find_key(struct index *ix, const char *cache, const char *key, int64_t now,
    struct found *f)
{
	sqlite3_stmt *st;
	int rc;

	if ((st = index_stmt(ix, ST_CLAIM_KEY)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	sqlite3_bind_int64(st, 2, now);
	index_bind_text(st, 3, key);
	if ((rc = db_step(ix->db, st)) == 1)
		f->ids[f->n++] = sqlite3_column_int64(st, 0);
	index_done(st);
	return rc == -1 ? -1 : 0;
}

/* Who claims, and when. */
struct claimer {
	const char *cache;
	const char *owner;
	int64_t now;
	int64_t lease; /* in seconds */
};

/* A statement that asks for LEASE_OVER. */
static sqlite3_stmt *
lease_stmt(struct index *ix, enum statement which, const struct claimer *c)
{
	sqlite3_stmt *st;

	if ((st = index_stmt(ix, which)) == NULL)
		return NULL;
	index_bind_text(st, 1, c->cache);
	sqlite3_bind_int64(st, 2, c->now);
	sqlite3_bind_int64(st, 3, c->now + 2 * c->lease);
	index_bind_text(st, 4, c->owner);
	return st;
}

/* Has the statement a row?  1, 0 or -1. */
static int
any_lease(struct index *ix, enum statement which, const struct claimer *c)
{
	sqlite3_stmt *st;
	int rc;

	if ((st = lease_stmt(ix, which, c)) == NULL)
		return -1;
	rc = db_step(ix->db, st);
	index_done(st);
	return rc;
}

static int
mark(struct index *ix, const char *owner, int64_t lease, struct asset_row *row)
{
	sqlite3_stmt *st;

	if ((st = index_stmt(ix, ST_CLAIM_SET)) == NULL)
		return -1;
	sqlite3_bind_int64(st, 1, row->id);
	index_bind_text(st, 2, owner);
	sqlite3_bind_int64(st, 3, lease);
	row->state = ASSET_RELAYING;
	row->attempts++;
	return index_run(ix, st);
}

/* Claim those of f that may still go.  Inside a transaction. */
static int
take_all(struct index *ix, const char *cache, const char *owner, int64_t now,
    int64_t lease, const struct found *f, struct asset_row *rows, size_t *n)
{
	size_t i;

	for (i = 0; i < f->n; i++) {
		switch (
		    may_go(ix, cache, now, f->ids[i], f->cycle, &rows[*n])) {
		case 0:
			continue;
		case 1:
			break;
		default:
			return -1;
		}
		(*n)++;
		if (mark(ix, owner, lease, &rows[*n - 1]) == -1)
			return -1;
	}
	return 0;
}

/*
 * Have claims that ran out given back (their owner is gone, or was left by a
 * clock that was set back): 0 or -1.
 */
static int
expire_due(struct index *ix, const struct claimer *c)
{
	sqlite3_stmt *st;
	int rc;

	if ((rc = any_lease(ix, ST_EXPIRED, c)) != 1)
		return rc;
	st = lease_stmt(ix, ST_EXPIRE, c);
	return st == NULL ? -1 : index_run(ix, st);
}

/* One look, and a claim of what it found: 0 with *n rows, 1 when others had
 * claimed all of that, or -1. */
static int
claim_once(struct index *ix, const char *cache, const char *key,
    const char *owner, int64_t now, int64_t lease, struct asset_row *rows,
    size_t max, size_t *n)
{
	int64_t ids[INDEX_CLAIM_MAX];
	struct found f = { .ids = ids,
		.max = max < INDEX_CLAIM_MAX ? max : INDEX_CLAIM_MAX };
	size_t i;
	int rc = -1;

	if ((key != NULL ? find_key(ix, cache, key, now, &f)
			 : find_any(ix, cache, now, &f)) == -1)
		return -1;
	if (f.n == 0)
		return 0;
	if (db_begin(ix->db) == -1)
		return -1;
	if (take_all(ix, cache, owner, now, lease, &f, rows, n) == 0 &&
	    db_commit(ix->db) == 0)
		rc = *n == 0;
	db_rollback(ix->db);
	if (rc == -1) {
		for (i = 0; i < *n; i++)
			index_asset_clear(&rows[i]);
		*n = 0;
	}
	return rc;
}

/* index_claim of all keys (NULL) or one. */
static int
claim(struct index *ix, const char *cache, const char *key, const char *owner,
    int64_t now, int64_t lease, struct asset_row *rows, size_t max, size_t *n)
{
	const struct claimer c = { cache, owner, now, lease };
	int rc, tries;

	*n = 0;
	/* (No writer's lock for that.) */
	if ((rc = any_lease(ix, ST_CLAIM_DUE, &c)) != 1)
		return rc;
	if (expire_due(ix, &c) == -1)
		return -1;
	for (tries = 0; tries < TRIES; tries++)
		if ((rc = claim_once(ix, cache, key, owner, now, now + lease,
			 rows, max, n)) != 1)
			return rc;
	return 0;
}

int
index_claim(struct index *ix, const char *cache, const char *owner, int64_t now,
    int64_t lease, struct asset_row *rows, size_t max, size_t *n)
{
	return claim(ix, cache, NULL, owner, now, lease, rows, max, n);
}

int
index_claim_key(struct index *ix, const char *cache, const char *key,
    const char *owner, int64_t now, int64_t lease, struct asset_row *row,
    size_t *n)
{
	return claim(ix, cache, key, owner, now, lease, row, 1, n);
}

/* Other bytes came while row was on its way: they go next. */
static int
unclaim_replaced(
    struct index *ix, const char *owner, const struct asset_row *row)
{
	sqlite3_stmt *st;

	if ((st = index_stmt(ix, ST_UNCLAIM_REPLACED)) == NULL)
		return -1;
	sqlite3_bind_int64(st, 1, row->id);
	index_bind_text(st, 2, owner);
	return index_run(ix, st);
}

int
index_stored(struct index *ix, const char *owner, const struct asset_row *rows,
    size_t n, bool *done)
{
	sqlite3_stmt *st;
	size_t i;
	int rc = -1;

	if (db_begin(ix->db) == -1)
		return -1;
	for (i = 0; i < n; i++) {
		if ((st = index_stmt(ix, ST_STORED)) == NULL)
			goto out;
		sqlite3_bind_int64(st, 1, rows[i].id);
		index_bind_text(st, 2, owner);
		index_bind_digest(st, 3, &rows[i].sha256);
		index_bind_text(st, 4, rows[i].url);
		if (index_run(ix, st) == -1)
			goto out;
		done[i] = db_changes(ix->db) == 1;
		if (!done[i] && unclaim_replaced(ix, owner, &rows[i]) == -1)
			goto out;
	}
	rc = db_commit(ix->db);
out:
	db_rollback(ix->db);
	for (i = 0; rc == 0 && i < n && ix->look.nstored < INDEX_CLAIM_MAX; i++)
		if (done[i])
			ix->look.stored[ix->look.nstored++] = rows[i].id;
	return rc;
}

int
index_unclaim(struct index *ix, const char *owner, const struct asset_row *row,
    const char *why, int64_t retry_at, bool permanent)
{
	sqlite3_stmt *st;

	if ((st = index_stmt(ix, ST_UNCLAIM)) == NULL)
		return -1;
	sqlite3_bind_int64(st, 1, row->id);
	index_bind_text(st, 2, owner);
	index_bind_digest(st, 3, &row->sha256);
	index_bind_text(st, 4, permanent ? "failed" : "spooled");
	index_bind_text(st, 5, why);
	sqlite3_bind_int64(st, 6, retry_at);
	if (index_run(ix, st) == -1)
		return -1;
	if (db_changes(ix->db) == 1)
		return 0;
	return unclaim_replaced(ix, owner, row);
}

int
index_recall(struct index *ix, const char *cache, int64_t now, int64_t from)
{
	sqlite3_stmt *st;
	int rc;

	/* (No writer's lock for that.) */
	if ((st = index_stmt(ix, ST_AHEAD)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	sqlite3_bind_int64(st, 2, from);
	rc = db_step(ix->db, st);
	index_done(st);
	if (rc != 1)
		return rc;
	if ((st = index_stmt(ix, ST_RECALL)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	sqlite3_bind_int64(st, 2, now);
	sqlite3_bind_int64(st, 3, from);
	sqlite3_bind_int64(st, 4, INDEX_RECALL_MAX);
	return index_run(ix, st) == -1 ? -1 : db_changes(ix->db);
}

int
index_release(struct index *ix, const char *owner)
{
	sqlite3_stmt *st;

	if ((st = index_stmt(ix, ST_RELEASE)) == NULL)
		return -1;
	index_bind_text(st, 1, owner);
	return index_run(ix, st);
}

int
index_renew(struct index *ix, const char *owner, int64_t lease)
{
	sqlite3_stmt *st;

	if ((st = index_stmt(ix, ST_RENEW)) == NULL)
		return -1;
	index_bind_text(st, 1, owner);
	sqlite3_bind_int64(st, 2, lease);
	return index_run(ix, st);
}

int
index_retry(struct index *ix, const char *cache, const char *key)
{
	sqlite3_stmt *st;
	int rc;

	if ((st = index_stmt(ix, key != NULL ? ST_RETRY_KEY : ST_RETRY)) ==
	    NULL)
		return -1;
	index_bind_text(st, 1, cache);
	if (key != NULL)
		index_bind_text(st, 2, key);
	/* Of all there are: the administrator's, once. */
	db_limit(ix->db, key != NULL ? DB_WRITE_MS : 0);
	rc = index_run(ix, st) == -1 ? -1 : (int)db_changes(ix->db);
	db_limit(ix->db, DB_WRITE_MS);
	return rc;
}

int
index_while_spooled(struct index *ix, const char *cache, const char *key,
    void (*act)(void *arg), void *arg)
{
	struct asset_row row;
	int rc = -1;

	if (db_begin(ix->db) == -1)
		return -1;
	if (index_asset_get(ix, cache, key, &row) == 1) {
		index_asset_clear(&row);
		if (row.state == ASSET_SPOOLED)
			act(arg);
		rc = (int)row.state;
	}
	db_rollback(ix->db);
	return rc;
}

int
index_spool_bytes(struct index *ix, uint64_t *bytes)
{
	sqlite3_stmt *st;
	int rc;

	if ((st = index_stmt(ix, ST_SPOOL_BYTES)) == NULL)
		return -1;
	if ((rc = db_step(ix->db, st)) == 1)
		*bytes = (uint64_t)sqlite3_column_int64(st, 0);
	index_done(st);
	return rc == 1 ? 0 : -1;
}

int
index_asset_error(
    struct index *ix, const char *cache, const char *key, struct buf *why)
{
	sqlite3_stmt *st;
	const unsigned char *s;
	int rc;

	if ((st = index_stmt(ix, ST_ASSET_ERROR)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	index_bind_text(st, 2, key);
	if ((rc = db_step(ix->db, st)) == 1 &&
	    (s = sqlite3_column_text(st, 0)) != NULL)
		buf_adds(why, (const char *)s);
	index_done(st);
	return rc;
}

int
index_waiting_each(struct index *ix, const char *cache, uint64_t max,
    int (*each)(const struct index_waiting *w, void *arg), void *arg)
{
	struct index_waiting w;
	sqlite3_stmt *st;
	int rc;

	if ((st = index_stmt(ix, ST_WAITING_EACH)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	sqlite3_bind_int64(st, 2, (int64_t)max);
	while ((rc = db_step(ix->db, st)) == 1) {
		index_column_text(st, 0, w.key, sizeof(w.key));
		w.state = index_column_state(st, 1);
		w.next_attempt = sqlite3_column_int64(st, 2);
		index_column_text(st, 3, w.why, sizeof(w.why));
		if (each(&w, arg) != 0)
			break;
	}
	index_done(st);
	return rc == -1 ? -1 : 0;
}

int
index_spool_used(struct index *ix, const char *name)
{
	sqlite3_stmt *st;
	int rc;

	if ((st = index_stmt(ix, ST_SPOOL_USED)) == NULL)
		return -1;
	index_bind_text(st, 1, name);
	rc = db_step(ix->db, st);
	index_done(st);
	return rc;
}

int
index_spool_find(
    struct index *ix, const char *name, struct digest *d, uint64_t *size)
{
	sqlite3_stmt *st;
	int rc;

	if ((st = index_stmt(ix, ST_SPOOL_FIND)) == NULL)
		return -1;
	index_bind_text(st, 1, name);
	if ((rc = db_step(ix->db, st)) == 1) {
		index_column_digest(st, 0, d);
		*size = (uint64_t)sqlite3_column_int64(st, 1);
	}
	index_done(st);
	return rc;
}

int
index_spool_again(struct index *ix, const char *name)
{
	sqlite3_stmt *st;

	if ((st = index_stmt(ix, ST_SPOOL_AGAIN)) == NULL)
		return -1;
	index_bind_text(st, 1, name);
	return index_run(ix, st);
}

int
index_nar_stored(struct index *ix, const char *cache,
    const struct digest *sha256, uint64_t size)
{
	char digits[DIGEST_BASE32 + 1], from[KEY_MAX + 1], to[KEY_MAX + 1];
	sqlite3_stmt *st;
	int rc;

	if ((st = index_stmt(ix, ST_NAR_STORED)) == NULL)
		return -1;
	digest_to_base32(sha256, digits);
	/* All compressions: '/' is the character behind '.'. */
	snprintf(from, sizeof(from), "nar/%s.", digits);
	snprintf(to, sizeof(to), "nar/%s/", digits);
	index_bind_text(st, 1, cache);
	index_bind_text(st, 2, from);
	index_bind_text(st, 3, to);
	index_bind_digest(st, 4, sha256);
	sqlite3_bind_int64(st, 5, (int64_t)size);
	rc = db_step(ix->db, st);
	index_done(st);
	return rc;
}
