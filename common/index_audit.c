/* The index: who sent what, and how much of it. */
#include "config.h"

#include "index.h"

#include <string.h>

#include "index_db.h"

#define DAY 86400

int64_t
token_used_today(const struct token *t, int64_t now)
{
	return t->day == now / DAY ? t->used_day : 0;
}

void
index_audit_next(struct index *ix, const struct index_audit *a)
{
	ix->audit = a;
}

/* Run a statement that returns a row when it did something: 1, 0 or -1. */
static int
run_returning(struct index *ix, sqlite3_stmt *st)
{
	int rc, last = 0;

	/* To its end: only then is it done. */
	if ((rc = db_step(ix->db, st)) == 1)
		last = db_step(ix->db, st);
	index_done(st);
	return last == -1 ? -1 : rc;
}

/* Add to what a token has used; one that was removed has no quota. */
static enum index_put
count(struct index *ix, const struct index_audit *a, enum index_put put)
{
	sqlite3_stmt *st;
	int rc;

	if ((st = index_stmt(ix, ST_TOKEN_COUNT)) == NULL)
		return INDEX_ERROR;
	index_bind_text(st, 1, a->token);
	sqlite3_bind_int64(st, 2, (int64_t)a->size);
	sqlite3_bind_int64(st, 3, a->time / DAY);
	if ((rc = run_returning(ix, st)) == 0) {
		if ((st = index_stmt(ix, ST_TOKEN_KNOWN)) == NULL)
			return INDEX_ERROR;
		index_bind_text(st, 1, a->token);
		rc = run_returning(ix, st);
		if (rc == 1)
			return INDEX_QUOTA;
	}
	return rc == -1 ? INDEX_ERROR : put;
}

enum index_put
index_audit_insert(struct index *ix, enum index_put put, bool *change)
{
	const struct index_audit *a = ix->audit;
	const bool same = put == INDEX_SAME;
	sqlite3_stmt *st;
	int rc;

	if ((st = index_stmt(ix, same ? ST_AUDIT_SAME : ST_AUDIT_INSERT)) ==
	    NULL)
		return INDEX_ERROR;
	sqlite3_bind_int64(st, 1, a->time);
	index_bind_text(st, 2, a->cache);
	index_bind_text(st, 3, a->key);
	index_bind_text(st, 4, a->token);
	index_bind_text(st, 5, a->address);
	sqlite3_bind_int64(st, 6, (int64_t)a->size);
	index_bind_text(st, 7,
	    put == INDEX_CREATED	? "new"
		: put == INDEX_REPLACED ? "changed"
					: "same");
	if (same)
		sqlite3_bind_int64(st, 8, a->time - a->time % DAY);
	if ((rc = run_returning(ix, st)) == -1)
		return INDEX_ERROR;
	/* What was here already takes no room. */
	if (same) {
		*change = rc == 1;
		return put;
	}
	return count(ix, a, put);
}

int
index_audit_each(struct index *ix, const char *token, int64_t since,
    uint64_t max, int (*each)(const struct index_audit *a, void *arg),
    void *arg)
{
	struct index_audit a;
	sqlite3_stmt *st;
	int rc;

	if ((st = index_stmt(
		 ix, token != NULL ? ST_AUDIT_TOKEN : ST_AUDIT_EACH)) == NULL)
		return -1;
	sqlite3_bind_int64(st, 1, since);
	sqlite3_bind_int64(st, 2, (int64_t)max);
	if (token != NULL)
		index_bind_text(st, 3, token);
	while ((rc = db_step(ix->db, st)) == 1) {
		a.time = sqlite3_column_int64(st, 0);
		a.cache = (const char *)sqlite3_column_text(st, 1);
		a.key = (const char *)sqlite3_column_text(st, 2);
		a.token = (const char *)sqlite3_column_text(st, 3);
		a.address = (const char *)sqlite3_column_text(st, 4);
		a.size = (uint64_t)sqlite3_column_int64(st, 5);
		a.what = (const char *)sqlite3_column_text(st, 6);
		if (each(&a, arg) != 0)
			break;
	}
	index_done(st);
	return rc == -1 ? -1 : 0;
}
