/* The index for fsck: reading what must fit together, and mending it. */
#include "config.h"

#include "index_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "index_db.h"
#include "log.h"

/* What fsck may take to print one statement's sentences in memory. */
#define SENTENCES_MAX ((size_t)1 << 20)

/*
 * Each row of a statement without parameters is made a sentence.  They are told
 * when it is over: a terminal that was stopped must not keep a snapshot open.
 */
static int
each_row(struct index *ix, enum statement which,
    void (*print)(sqlite3_stmt *st, struct buf *out),
    void (*each)(const char *what, void *arg), void *arg)
{
	struct buf all = BUF_INIT_MAX(SENTENCES_MAX);
	sqlite3_stmt *st;
	const char *s;
	size_t before;
	int rc;

	if ((st = index_stmt(ix, which)) == NULL)
		return -1;
	while ((rc = db_step(ix->db, st)) == 1 && !buf_failed(&all)) {
		before = all.len;
		print(st, &all);
		if (all.len > before)
			buf_add(&all, "", 1);
	}
	index_done(st);
	for (s = buf_str(&all); s < buf_str(&all) + all.len; s += strlen(s) + 1)
		each(s, arg);
	buf_free(&all);
	return rc == 1 ? -1 : rc;
}

static void
print_file(sqlite3_stmt *st, struct buf *out)
{
	const char *s = (const char *)sqlite3_column_text(st, 0);

	if (s != NULL && strcmp(s, "ok") != 0)
		buf_adds(out, s);
}

static void
print_foreign(sqlite3_stmt *st, struct buf *out)
{
	buf_addf(out, "a row of %s has no row of %s that it belongs to",
	    (const char *)sqlite3_column_text(st, 0),
	    (const char *)sqlite3_column_text(st, 2));
}

static void
print_total(sqlite3_stmt *st, struct buf *out)
{
	buf_addf(out, "the total of %s, %s is not what is there",
	    (const char *)sqlite3_column_text(st, 0),
	    (const char *)sqlite3_column_text(st, 1));
}

int
index_check_file(
    struct index *ix, void (*each)(const char *what, void *arg), void *arg)
{
	if (each_row(ix, ST_CHECK_FILE, print_file, each, arg) == -1)
		return -1;
	return each_row(ix, ST_CHECK_FOREIGN, print_foreign, each, arg);
}

int
index_check_totals(
    struct index *ix, void (*each)(const char *what, void *arg), void *arg)
{
	return each_row(ix, ST_CHECK_TOTAL, print_total, each, arg);
}

int
index_check_asset_next(struct index *ix, const char *cache, const char *key,
    struct index_check_asset *a)
{
	sqlite3_stmt *st;
	int rc;

	memset(a, 0, sizeof(*a));
	if ((st = index_stmt(ix, ST_CHECK_ASSET)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	index_bind_text(st, 2, key);
	if ((rc = db_step(ix->db, st)) == 1) {
		if (index_column_asset(st, &a->row) == -1)
			rc = -1;
		index_column_text(st, 10, a->owner, sizeof(a->owner));
		a->lease = sqlite3_column_int64(st, 11);
		a->next_attempt = sqlite3_column_int64(st, 12);
		a->missing = sqlite3_column_int64(st, 13);
		a->is_narinfo = sqlite3_column_int(st, 14) != 0;
	}
	index_done(st);
	return rc;
}

static void
column_path(sqlite3_stmt *st, struct index_check_path *p)
{
	const void *text = sqlite3_column_text(st, 1);

	index_column_text(st, 0, p->hash_part.s, sizeof(p->hash_part.s));
	if (text != NULL)
		buf_add(&p->narinfo, text, (size_t)sqlite3_column_bytes(st, 1));
	index_column_text(st, 2, p->store_path, sizeof(p->store_path));
	index_column_text(st, 3, p->nar_key, sizeof(p->nar_key));
	index_column_digest(st, 4, &p->nar_hash);
	p->nar_size = (uint64_t)sqlite3_column_int64(st, 5);
	p->file_size = (uint64_t)sqlite3_column_int64(st, 6);
	p->has_asset = sqlite3_column_type(st, 7) != SQLITE_NULL;
	p->size = (uint64_t)sqlite3_column_int64(st, 7);
	index_column_digest(st, 8, &p->sha256);
	p->has_nar = sqlite3_column_type(st, 9) != SQLITE_NULL;
	p->nar_file_size = (uint64_t)sqlite3_column_int64(st, 9);
	p->missing = sqlite3_column_int64(st, 10);
	p->stored = sqlite3_column_int(st, 11) != 0;
	p->has_verdict = sqlite3_column_type(st, 12) != SQLITE_NULL;
	p->verdict = (enum verdict)sqlite3_column_int(st, 12);
	index_column_digest(st, 13, &p->verdict_hash);
	p->verdict_size = (uint64_t)sqlite3_column_int64(st, 14);
	p->spoiled = sqlite3_column_int64(st, 15);
}

static int
read_references(struct index *ix, const char *cache, struct index_check_path *p)
{
	sqlite3_stmt *st;
	int rc;

	if ((st = index_stmt(ix, ST_CHECK_REFERENCE)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	index_bind_text(st, 2, p->hash_part.s);
	while ((rc = db_step(ix->db, st)) == 1) {
		buf_addf(&p->references, "%s\n",
		    (const char *)sqlite3_column_text(st, 0));
		p->absent += sqlite3_column_int(st, 1) == 0;
	}
	index_done(st);
	return rc;
}

int
index_check_path_next(struct index *ix, const char *cache,
    const char *hash_part, struct index_check_path *p)
{
	sqlite3_stmt *st;
	int rc;

	memset(p, 0, sizeof(*p));
	if ((st = index_stmt(ix, ST_CHECK_PATH)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	index_bind_text(st, 2, hash_part);
	if ((rc = db_step(ix->db, st)) == 1)
		column_path(st, p);
	index_done(st);
	if (rc == 1 &&
	    (read_references(ix, cache, p) == -1 || buf_failed(&p->narinfo) ||
		buf_failed(&p->references)))
		rc = -1;
	if (rc != 1)
		index_check_path_clear(p);
	return rc;
}

void
index_check_path_clear(struct index_check_path *p)
{
	buf_free(&p->narinfo);
	buf_free(&p->references);
}

int
index_check_nar_path(
    struct index *ix, const char *cache, const char *key, struct hash_part *at)
{
	struct hash_part next;
	sqlite3_stmt *st;
	int rc;

	if ((st = index_stmt(ix, ST_CHECK_NAR_PATH)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	index_bind_text(st, 2, key);
	index_bind_text(st, 3, at->s);
	if ((rc = db_step(ix->db, st)) == 1)
		index_column_text(st, 0, next.s, sizeof(next.s));
	index_done(st);
	if (rc == 1)
		*at = next;
	return rc;
}

/* Run a statement that changes a row: 1, 0 when it changed none, or -1. */
static int
change(struct index *ix, sqlite3_stmt *st)
{
	if (index_run(ix, st) == -1)
		return -1;
	return db_changes(ix->db) > 0;
}

int
index_check_lost(
    struct index *ix, const struct asset_row *row, int64_t now, const char *why)
{
	sqlite3_stmt *st;

	if ((st = index_stmt(ix, ST_LOST_SET)) == NULL)
		return -1;
	sqlite3_bind_int64(st, 1, row->id);
	index_bind_digest(st, 2, &row->sha256);
	index_bind_text(st, 3, row->spool[0] != '\0' ? row->spool : NULL);
	sqlite3_bind_int64(st, 4, now);
	index_bind_text(st, 5, why);
	return change(ix, st);
}

static int
again(struct index *ix, const char *cache, const char *key,
    enum asset_state state, const char *owner, const char *url)
{
	sqlite3_stmt *st;

	if ((st = index_stmt(ix, ST_AGAIN)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	index_bind_text(st, 2, key);
	index_bind_text(st, 3, state == ASSET_STORED ? "stored" : "spooled");
	index_bind_text(st, 4, owner);
	index_bind_text(st, 5, url);
	return change(ix, st);
}

int
index_check_again(struct index *ix, const char *cache, const char *key,
    enum asset_state state, const char *owner)
{
	return again(ix, cache, key, state, owner, NULL);
}

int
index_check_stored(
    struct index *ix, const char *cache, const char *key, const char *url)
{
	return again(ix, cache, key, ASSET_STORED, NULL, url);
}

/* Run statements without parameters in one transaction: 0. */
static int
run_all(struct index *ix, const enum statement *which, size_t n)
{
	sqlite3_stmt *st;
	size_t i;
	int rc = 0;

	if (db_begin(ix->db) == -1)
		return -1;
	for (i = 0; i < n && rc == 0; i++)
		rc = (st = index_stmt(ix, which[i])) == NULL
		    ? -1
		    : index_run(ix, st);
	if (rc == 0)
		rc = db_commit(ix->db);
	db_rollback(ix->db);
	return rc;
}

int
index_check_recount(struct index *ix)
{
	static const enum statement all[] = { ST_TOTAL_CLEAR, ST_TOTAL_ASSET,
		ST_TOTAL_PATH };

	return run_all(ix, all, sizeof(all) / sizeof(all[0])) == 0 ? 1 : -1;
}

int
index_check_strays(struct index *ix)
{
	static const enum statement all[] = { ST_NAR_ORPHAN,
		ST_REALISATION_ORPHAN, ST_REFERENCE_ORPHAN };

	return run_all(ix, all, sizeof(all) / sizeof(all[0])) == 0 ? 1 : -1;
}

/* Delete by (cache, key). */
static int delete (
    struct index *ix, enum statement which, const char *cache, const char *key)
{
	sqlite3_stmt *st;

	if ((st = index_stmt(ix, which)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	index_bind_text(st, 2, key);
	return index_run(ix, st);
}

/* Inside a transaction. */
static int
forget(struct index *ix, const char *cache, const char *hash_part)
{
	char key[KEY_MAX + 1];

	snprintf(key, sizeof(key), "%s.narinfo", hash_part);
	if (delete (ix, ST_REFERENCE_DELETE, cache, hash_part) == -1 ||
	    delete (ix, ST_PATH_DELETE, cache, hash_part) == -1)
		return -1;
	return delete (ix, ST_ASSET_DELETE, cache, key);
}

int
index_check_forget(
    struct index *ix, const char *cache, const struct hash_part *hp)
{
	int rc;

	if (db_begin(ix->db) == -1)
		return -1;
	if ((rc = forget(ix, cache, hp->s)) == 0)
		rc = db_commit(ix->db);
	db_rollback(ix->db);
	return rc == 0 ? 1 : -1;
}

int
index_check_enter(
    struct index *ix, const char *cache, const struct asset_new *a, int64_t now)
{
	return index_asset_import(ix, cache, a, NULL, now) == 0 ? 1 : -1;
}

/* Inside a transaction: the NAR, the path, its references, its narinfo. */
static int
enter_path(struct index *ix, const char *cache, const struct narinfo *ni,
    const struct buf *text, const char *url, int64_t now)
{
	struct asset_new a = { .key = ni->nar.s,
		.size = ni->file_size,
		.sha256 = ni->file_hash,
		.content_type = key_content_type(KEY_NAR) };
	char key[KEY_MAX + 1];

	if (forget(ix, cache, ni->hash_part.s) == -1 ||
	    index_asset_import(ix, cache, &a, NULL, now) == -1 ||
	    index_path_insert(ix, cache, ni, buf_str(text), now) == -1 ||
	    index_references_insert(ix, cache, ni) == -1)
		return -1;
	snprintf(key, sizeof(key), "%s.narinfo", ni->hash_part.s);
	a.key = key;
	a.url = url;
	a.size = text->len;
	a.content_type = key_content_type(KEY_NARINFO);
	hash_sha256(buf_str(text), text->len, &a.sha256);
	return index_asset_import(ix, cache, &a, ni->hash_part.s, now);
}

/* The narinfo of the path is to be relayed: 0. */
static int
relay_narinfo(struct index *ix, const char *cache, const struct narinfo *ni)
{
	char key[KEY_MAX + 1];

	snprintf(key, sizeof(key), "%s.narinfo", ni->hash_part.s);
	return index_check_again(ix, cache, key, ASSET_SPOOLED, NULL) == 1 ? 0
									   : -1;
}

int
index_check_enter_path(struct index *ix, const char *cache,
    const struct narinfo *ni, const struct buf *text, bool stored, int64_t now)
{
	int rc;

	if (db_begin(ix->db) == -1)
		return -1;
	if ((rc = enter_path(ix, cache, ni, text, NULL, now)) == 0 && !stored)
		rc = relay_narinfo(ix, cache, ni);
	if (rc == 0)
		rc = db_commit(ix->db);
	db_rollback(ix->db);
	return rc == 0 ? 1 : -1;
}

int
index_check_enter_all(struct index *ix, const char *cache,
    const struct index_check_new *all, size_t n, int64_t now)
{
	size_t i;
	int rc = 0;

	if (db_begin(ix->db) == -1)
		return -1;
	for (i = 0; i < n && rc == 0; i++)
		rc = all[i].ni != NULL
		    ? enter_path(
			  ix, cache, all[i].ni, all[i].text, all[i].a.url, now)
		    : index_asset_import(ix, cache, &all[i].a, NULL, now);
	if (rc == 0)
		rc = db_commit(ix->db);
	db_rollback(ix->db);
	return rc == 0 ? 1 : -1;
}
