/* The index: what was found out about NARs. */
#include "config.h"

#include "index.h"

#include <string.h>

#include "index_db.h"
#include "log.h"

int
index_nar_put(struct index *ix, const char *cache, const char *key,
    const struct verified *v, int64_t now)
{
	const bool good = v->verdict == VERDICT_GOOD;
	sqlite3_stmt *st;

	if ((st = index_stmt(ix, ST_NAR_PUT)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	index_bind_text(st, 2, key);
	sqlite3_bind_int64(st, 3, v->verdict);
	index_bind_text(st, 4, v->why);
	index_bind_text(st, 5, v->compression);
	if (good) {
		index_bind_digest(st, 6, &v->nar_hash);
		sqlite3_bind_int64(st, 7, (int64_t)v->nar_size);
		if (v->is_file)
			index_bind_digest(st, 8, &v->file_hash);
		sqlite3_bind_blob(
		    st, 9, buf_str(&v->refs), (int)v->refs.len, SQLITE_STATIC);
		sqlite3_bind_int64(st, 10, v->refs_done);
		if (v->listing.len > 0)
			index_bind_text(st, 11, v->listing.p);
	}
	sqlite3_bind_int64(st, 12, now);
	sqlite3_bind_int64(st, 13, v->over);
	sqlite3_bind_int64(st, 14, (int64_t)v->over_limit);
	return index_run(ix, st);
}

int
index_nar_put_cost(struct index *ix, const char *cache, const char *key,
    const struct verified *v, int64_t now, const char *token,
    const struct token_cost *cost)
{
	int rc = -1;

	if (db_begin(ix->db) == -1)
		return -1;
	if (index_nar_put(ix, cache, key, v, now) == 0 &&
	    index_token_cost(ix, token, cost) == 0)
		rc = db_commit(ix->db);
	db_rollback(ix->db);
	return rc;
}

static int
column_nar(sqlite3_stmt *st, struct verified *v)
{
	v->verdict = (enum verdict)sqlite3_column_int(st, 0);
	index_column_text(st, 1, v->why, sizeof(v->why));
	index_column_text(st, 2, v->compression, sizeof(v->compression));
	index_column_digest(st, 3, &v->nar_hash);
	v->nar_size = (uint64_t)sqlite3_column_int64(st, 4);
	v->is_file = sqlite3_column_type(st, 5) != SQLITE_NULL;
	index_column_digest(st, 5, &v->file_hash);
	if (sqlite3_column_blob(st, 6) != NULL)
		buf_add(&v->refs, sqlite3_column_blob(st, 6),
		    (size_t)sqlite3_column_bytes(st, 6));
	v->refs_done = (enum verify_refs)sqlite3_column_int(st, 7);
	v->over = (enum verify_limit)sqlite3_column_int(st, 8);
	v->over_limit = (uint64_t)sqlite3_column_int64(st, 9);
	return buf_failed(&v->refs) ? -1 : 1;
}

int
index_nar_get(
    struct index *ix, const char *cache, const char *key, struct verified *v)
{
	sqlite3_stmt *st;
	int rc;

	memset(v, 0, sizeof(*v));
	if ((st = index_stmt(ix, ST_NAR_GET)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	index_bind_text(st, 2, key);
	if ((rc = db_step(ix->db, st)) == 1)
		rc = column_nar(st, v);
	index_done(st);
	if (rc != 1)
		verified_clear(v);
	return rc;
}

int
index_hash_parts(struct index *ix, const char *cache, int64_t *after,
    int (*each)(const char *hash_part, void *arg), void *arg)
{
	sqlite3_stmt *st;
	struct hash_part hp;
	int rc;

	if ((st = index_stmt(ix, ST_HASH_PARTS)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	sqlite3_bind_int64(st, 2, *after);
	while ((rc = db_step(ix->db, st)) == 1) {
		index_column_text(st, 1, hp.s, sizeof(hp.s));
		if (each(hp.s, arg) != 0) {
			rc = -1;
			break;
		}
		*after = sqlite3_column_int64(st, 0);
	}
	index_done(st);
	return rc;
}

int
index_listing_get(struct index *ix, const char *cache, const char *hash_part,
    struct buf *text)
{
	sqlite3_stmt *st;
	int rc;

	if ((st = index_stmt(ix, ST_LISTING_GET)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	index_bind_text(st, 2, hash_part);
	if ((rc = db_step(ix->db, st)) == 1)
		buf_adds(text, (const char *)sqlite3_column_text(st, 0));
	index_done(st);
	return rc == 1 && buf_failed(text) ? -1 : rc;
}

/* Has this statement a row for the path?  1, 0 or -1. */
static int
path_is(struct index *ix, enum statement which, const char *cache,
    const char *hash_part)
{
	sqlite3_stmt *st;
	int rc;

	if ((st = index_stmt(ix, which)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	index_bind_text(st, 2, hash_part);
	rc = db_step(ix->db, st);
	index_done(st);
	return rc;
}

int
index_path_known(struct index *ix, const char *cache, const char *hash_part)
{
	return path_is(ix, ST_PATH_KNOWN, cache, hash_part);
}

int
index_path_lost(struct index *ix, const char *cache, const char *hash_part)
{
	return path_is(ix, ST_LOST_PATH, cache, hash_part);
}

int
index_path_unsigned(struct index *ix, const char *cache, const char *hash_part)
{
	return path_is(ix, ST_PATH_UNSIGNED, cache, hash_part);
}

int
index_path_next(struct index *ix, const char *cache, struct hash_part *at,
    struct buf *narinfo, bool *verified)
{
	sqlite3_stmt *st;
	int rc;

	if ((st = index_stmt(ix, ST_PATH_NEXT)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	index_bind_text(st, 2, at->s);
	if ((rc = db_step(ix->db, st)) == 1) {
		const char *s = (const char *)sqlite3_column_text(st, 1);
		size_t n = (size_t)sqlite3_column_bytes(st, 1);
		struct hash_part next;

		buf_add(narinfo, s, n);
		*verified = sqlite3_column_int(st, 2) != 0;
		index_column_text(st, 0, next.s, sizeof(next.s));
		*at = next;
		if (buf_failed(narinfo))
			rc = -1;
		else if (!index_text_whole(st, 3, s, n))
			rc = INDEX_SPOILED;
	}
	index_done(st);
	return rc;
}
