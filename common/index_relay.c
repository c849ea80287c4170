#include "config.h"

#include "index.h"

#include "index_db.h"

/* Append the rows of one claim statement; key is ST_CLAIM_KEY's.  0 or -1. */
static int
select_rows(struct index *ix, enum statement which, const char *cache,
    const char *key, int64_t now, struct asset_row *rows, size_t max, size_t *n)
{
	sqlite3_stmt *st;
	int rc;

	if (*n == max)
		return 0;
	if ((st = index_stmt(ix, which)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	sqlite3_bind_int64(st, 2, now);
	sqlite3_bind_int64(st, 3, (int64_t)(max - *n));
	if (which == ST_CLAIM_KEY)
		index_bind_text(st, 4, key);
	while ((rc = db_step(ix->db, st)) == 1) {
		if (index_column_asset(st, &rows[*n]) == -1) {
			rc = -1;
			break;
		}
		(*n)++;
	}
	index_done(st);
	return rc;
}

/* Claims whose lease has run out return: their owner is gone. */
static int
expire(struct index *ix, const char *cache, int64_t now)
{
	sqlite3_stmt *st;

	if ((st = index_stmt(ix, ST_EXPIRE)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	sqlite3_bind_int64(st, 2, now);
	return index_run(ix, st);
}

static int
mark(struct index *ix, const char *owner, int64_t lease, struct asset_row *rows,
    size_t n)
{
	sqlite3_stmt *st;
	size_t i;

	for (i = 0; i < n; i++) {
		if ((st = index_stmt(ix, ST_CLAIM_SET)) == NULL)
			return -1;
		sqlite3_bind_int64(st, 1, rows[i].id);
		index_bind_text(st, 2, owner);
		sqlite3_bind_int64(st, 3, lease);
		if (index_run(ix, st) == -1)
			return -1;
		rows[i].state = ASSET_RELAYING;
		rows[i].attempts++;
	}
	return 0;
}

/* Is there anything to claim?  1, 0 or -1.  Takes no writer's lock. */
static int
due(struct index *ix, const char *cache, int64_t now)
{
	sqlite3_stmt *st;
	int rc;

	if ((st = index_stmt(ix, ST_CLAIM_DUE)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	sqlite3_bind_int64(st, 2, now);
	rc = db_step(ix->db, st);
	index_done(st);
	return rc;
}

/* What may go now: of all keys (NULL) or one. */
static int
select_claims(struct index *ix, const char *cache, const char *key, int64_t now,
    struct asset_row *rows, size_t max, size_t *n)
{
	if (key != NULL)
		return select_rows(
		    ix, ST_CLAIM_KEY, cache, key, now, rows, max, n);
	if (select_rows(ix, ST_CLAIM_OBJECT, cache, NULL, now, rows, max, n) ==
		-1 ||
	    select_rows(ix, ST_CLAIM_NARINFO, cache, NULL, now, rows, max, n) ==
		-1)
		return -1;
	return *n > 0
	    ? 0
	    : select_rows(ix, ST_CLAIM_CYCLE, cache, NULL, now, rows, 1, n);
}

/* index_claim of all keys (NULL) or one. */
static int
claim(struct index *ix, const char *cache, const char *key, const char *owner,
    int64_t now, int64_t lease, struct asset_row *rows, size_t max, size_t *n)
{
	size_t i;
	int rc = -1;

	*n = 0;
	if ((rc = due(ix, cache, now)) != 1)
		return rc;
	rc = -1;
	if (db_begin(ix->db) == -1)
		return -1;
	if (expire(ix, cache, now) == 0 &&
	    select_claims(ix, cache, key, now, rows, max, n) == 0 &&
	    mark(ix, owner, now + lease, rows, *n) == 0 &&
	    db_commit(ix->db) == 0)
		rc = 0;
	db_rollback(ix->db);
	if (rc == -1) {
		for (i = 0; i < *n; i++)
			index_asset_clear(&rows[i]);
		*n = 0;
	}
	return rc;
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

	if ((st = index_stmt(ix, key != NULL ? ST_RETRY_KEY : ST_RETRY)) ==
	    NULL)
		return -1;
	index_bind_text(st, 1, cache);
	if (key != NULL)
		index_bind_text(st, 2, key);
	return index_run(ix, st) == -1 ? -1 : (int)db_changes(ix->db);
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
