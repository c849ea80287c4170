/* The index: what fsck did and found. */
#include "config.h"

#include "index_fsck.h"

#include <stdlib.h>
#include <string.h>

#include "index_db.h"

int
index_fsck_get(struct index *ix, const char *kind, struct index_fsck *f)
{
	sqlite3_stmt *st;
	int rc;

	memset(f, 0, sizeof(*f));
	if ((st = index_stmt(ix, ST_FSCK_GET)) == NULL)
		return -1;
	index_bind_text(st, 1, kind);
	if ((rc = db_step(ix->db, st)) == 1) {
		f->options = (unsigned int)sqlite3_column_int(st, 0);
		f->sample = (uint64_t)sqlite3_column_int64(st, 1);
		f->began = sqlite3_column_int64(st, 2);
		f->noted = sqlite3_column_int64(st, 3);
		f->complete = sqlite3_column_int64(st, 4);
		index_column_text(st, 5, f->cache, sizeof(f->cache));
		index_column_text(st, 6, f->phase, sizeof(f->phase));
		index_column_text(st, 7, f->at, sizeof(f->at));
		f->objects = (uint64_t)sqlite3_column_int64(st, 8);
		f->read = (uint64_t)sqlite3_column_int64(st, 9);
		f->work = (uint64_t)sqlite3_column_int64(st, 10);
		f->problems = (uint64_t)sqlite3_column_int64(st, 11);
		f->repaired = (uint64_t)sqlite3_column_int64(st, 12);
		f->unknown = (uint64_t)sqlite3_column_int64(st, 13);
	}
	index_done(st);
	return rc;
}

/* The rest of these is inside a transaction. */

static int
put_row(struct index *ix, const char *kind, const struct index_fsck *f)
{
	sqlite3_stmt *st;

	if ((st = index_stmt(ix, ST_FSCK_PUT)) == NULL)
		return -1;
	index_bind_text(st, 1, kind);
	sqlite3_bind_int64(st, 2, f->options);
	sqlite3_bind_int64(st, 3, (int64_t)f->sample);
	sqlite3_bind_int64(st, 4, f->began);
	sqlite3_bind_int64(st, 5, f->noted);
	sqlite3_bind_int64(st, 6, f->complete);
	index_bind_text(st, 7, f->cache);
	index_bind_text(st, 8, f->phase);
	index_bind_text(st, 9, f->at);
	sqlite3_bind_int64(st, 10, (int64_t)f->objects);
	sqlite3_bind_int64(st, 11, (int64_t)f->read);
	sqlite3_bind_int64(st, 12, (int64_t)f->work);
	sqlite3_bind_int64(st, 13, (int64_t)f->problems);
	sqlite3_bind_int64(st, 14, (int64_t)f->repaired);
	sqlite3_bind_int64(st, 15, (int64_t)f->unknown);
	return index_run(ix, st);
}

static int
forget_range(struct index *ix, const struct index_fsck_range *range,
    unsigned int options)
{
	sqlite3_stmt *st;

	if ((st = index_stmt(ix, ST_FINDING_FORGET)) == NULL)
		return -1;
	index_bind_text(st, 1, range->cache);
	index_bind_text(st, 2, range->phase);
	index_bind_text(st, 3, range->from);
	index_bind_text(st, 4, range->to);
	sqlite3_bind_int64(
	    st, 5, options & (INDEX_FSCK_BYTES | INDEX_FSCK_VERIFY));
	return index_run(ix, st);
}

static int
put_finding(struct index *ix, const struct index_finding *f)
{
	sqlite3_stmt *st;

	if ((st = index_stmt(ix, ST_FINDING_PUT)) == NULL)
		return -1;
	index_bind_text(st, 1, f->cache);
	index_bind_text(st, 2, f->phase);
	index_bind_text(st, 3, f->at);
	index_bind_text(st, 4, f->key);
	index_bind_text(st, 5, f->kind);
	index_bind_text(st, 6, f->what);
	sqlite3_bind_int64(
	    st, 7, f->options & (INDEX_FSCK_BYTES | INDEX_FSCK_VERIFY));
	sqlite3_bind_int64(st, 8, f->found);
	sqlite3_bind_int64(st, 9, INDEX_FINDINGS_MAX);
	return index_run(ix, st);
}

int
index_fsck_put(struct index *ix, const char *kind, const struct index_fsck *f,
    const struct index_fsck_range *range, const struct index_finding *found,
    size_t n)
{
	size_t i;
	int rc;

	if (db_begin(ix->db) == -1)
		return -1;
	rc = range == NULL ? 0 : forget_range(ix, range, f->options);
	for (i = 0; i < n && rc == 0; i++)
		rc = put_finding(ix, &found[i]);
	if (rc == 0)
		rc = put_row(ix, kind, f);
	if (rc == 0)
		rc = db_commit(ix->db);
	db_rollback(ix->db);
	return rc;
}

int
index_fsck_since(struct index *ix, int64_t *since)
{
	sqlite3_stmt *st;
	int rc;

	if ((st = index_stmt(ix, ST_META_GET)) == NULL)
		return -1;
	index_bind_text(st, 1, "fsck.since");
	if ((rc = db_step(ix->db, st)) == 1)
		*since = sqlite3_column_int64(st, 0);
	index_done(st);
	return rc;
}

int
index_finding_each(struct index *ix, uint64_t max,
    int (*each)(const struct index_finding *f, void *arg), void *arg)
{
	struct index_finding f;
	sqlite3_stmt *st;
	int rc;

	if ((st = index_stmt(ix, ST_FINDING_EACH)) == NULL)
		return -1;
	sqlite3_bind_int64(st, 1, (int64_t)max);
	while ((rc = db_step(ix->db, st)) == 1) {
		f.cache = (const char *)sqlite3_column_text(st, 0);
		f.phase = (const char *)sqlite3_column_text(st, 1);
		f.at = (const char *)sqlite3_column_text(st, 2);
		f.key = (const char *)sqlite3_column_text(st, 3);
		f.kind = (const char *)sqlite3_column_text(st, 4);
		f.what = (const char *)sqlite3_column_text(st, 5);
		f.options = (unsigned int)sqlite3_column_int(st, 6);
		f.found = sqlite3_column_int64(st, 7);
		if (each(&f, arg) != 0)
			break;
	}
	index_done(st);
	return rc == -1 ? -1 : 0;
}
