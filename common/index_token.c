#include "config.h"

#include "index.h"

#include <string.h>

#include "index_db.h"

/* A last use is noted to the minute: one write a minute and token. */
#define USE_STEP 60

static void
column_token(sqlite3_stmt *st, struct token *t)
{
	memset(t, 0, sizeof(*t));
	index_column_text(st, 0, t->name, sizeof(t->name));
	index_column_digest(st, 1, &t->secret);
	t->scopes = (unsigned int)sqlite3_column_int(st, 2);
	t->created = sqlite3_column_int64(st, 3);
	t->expires = sqlite3_column_int64(st, 4);
	t->last_used = sqlite3_column_int64(st, 5);
	index_column_text(st, 6, t->keys, sizeof(t->keys));
	t->quota_day = sqlite3_column_int64(st, 7);
	t->quota_total = sqlite3_column_int64(st, 8);
	t->used_total = sqlite3_column_int64(st, 9);
	t->used_day = sqlite3_column_int64(st, 10);
	t->day = sqlite3_column_int64(st, 11);
	t->id = sqlite3_column_int64(st, 12);
	t->unpacked = sqlite3_column_int64(st, 13);
	t->cpu_us = sqlite3_column_int64(st, 14);
	t->cost_since = sqlite3_column_int64(st, 15);
}

int
index_token_add(struct index *ix, const struct token *t)
{
	sqlite3_stmt *st;

	if ((st = index_stmt(ix, ST_TOKEN_INSERT)) == NULL)
		return -1;
	index_bind_text(st, 1, t->name);
	index_bind_digest(st, 2, &t->secret);
	sqlite3_bind_int64(st, 3, t->scopes);
	sqlite3_bind_int64(st, 4, t->created);
	sqlite3_bind_int64(st, 5, t->expires);
	index_bind_text(st, 6, t->keys);
	sqlite3_bind_int64(st, 7, t->quota_day);
	sqlite3_bind_int64(st, 8, t->quota_total);
	return index_run(ix, st) == -1 ? -1 : db_changes(ix->db);
}

int
index_token_remove(struct index *ix, const char *name)
{
	sqlite3_stmt *st;

	if ((st = index_stmt(ix, ST_TOKEN_DELETE)) == NULL)
		return -1;
	index_bind_text(st, 1, name);
	return index_run(ix, st) == -1 ? -1 : db_changes(ix->db);
}

int
index_token_find(struct index *ix, const struct digest *secret, struct token *t)
{
	sqlite3_stmt *st;
	int rc;

	if ((st = index_stmt(ix, ST_TOKEN_FIND)) == NULL)
		return -1;
	index_bind_digest(st, 1, secret);
	if ((rc = db_step(ix->db, st)) == 1)
		column_token(st, t);
	index_done(st);
	return rc;
}

int
index_pusher_name(struct index *ix, int64_t id, struct buf *name)
{
	sqlite3_stmt *st;
	int rc;

	if ((st = index_stmt(ix, ST_PUSHER_NAME)) == NULL)
		return -1;
	sqlite3_bind_int64(st, 1, id);
	if ((rc = db_step(ix->db, st)) == 1)
		buf_adds(name, (const char *)sqlite3_column_text(st, 0));
	index_done(st);
	return rc;
}

int
index_token_used(struct index *ix, const struct token *t, int64_t now,
    const struct token_cost *cost)
{
	sqlite3_stmt *st;

	if (now < t->last_used + USE_STEP)
		return 0;
	if ((st = index_stmt(ix, ST_TOKEN_USED)) == NULL)
		return -1;
	index_bind_text(st, 1, t->name);
	sqlite3_bind_int64(st, 2, now);
	sqlite3_bind_int64(st, 3, (int64_t)cost->unpacked);
	sqlite3_bind_int64(st, 4, (int64_t)cost->cpu_us);
	return index_run(ix, st) == -1 ? -1 : 1;
}

int
index_token_cost(
    struct index *ix, const char *name, const struct token_cost *cost)
{
	sqlite3_stmt *st;

	if ((st = index_stmt(ix, ST_TOKEN_COST)) == NULL)
		return -1;
	index_bind_text(st, 1, name);
	sqlite3_bind_int64(st, 2, (int64_t)cost->unpacked);
	sqlite3_bind_int64(st, 3, (int64_t)cost->cpu_us);
	return index_run(ix, st);
}

int
index_token_each(
    struct index *ix, int (*each)(const struct token *t, void *arg), void *arg)
{
	struct token t;
	sqlite3_stmt *st;
	int rc;

	if ((st = index_stmt(ix, ST_TOKEN_EACH)) == NULL)
		return -1;
	while ((rc = db_step(ix->db, st)) == 1) {
		column_token(st, &t);
		if (each(&t, arg) != 0)
			break;
	}
	index_done(st);
	return rc == -1 ? -1 : 0;
}
