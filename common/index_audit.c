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

/* Add to what a token has used. */
static int
count(struct index *ix, const struct index_audit *a)
{
	sqlite3_stmt *st;

	if ((st = index_stmt(ix, ST_TOKEN_COUNT)) == NULL)
		return -1;
	index_bind_text(st, 1, a->token);
	sqlite3_bind_int64(st, 2, (int64_t)a->size);
	sqlite3_bind_int64(st, 3, a->time / DAY);
	return index_run(ix, st);
}

int
index_audit_insert(struct index *ix, enum index_put put)
{
	const struct index_audit *a = ix->audit;
	sqlite3_stmt *st;

	if ((st = index_stmt(ix, ST_AUDIT_INSERT)) == NULL)
		return -1;
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
	if (index_run(ix, st) == -1)
		return -1;
	/* What was here already takes no room. */
	return put == INDEX_SAME ? 0 : count(ix, a);
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
