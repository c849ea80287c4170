/* Paths that came into the asset store by themselves, and closures. */
#include "config.h"

#include "index.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "index_db.h"
#include "log.h"

int
index_asset_import(struct index *ix, const char *cache,
    const struct asset_new *a, const char *hash_part, int64_t now)
{
	sqlite3_stmt *st;

	if ((st = index_stmt(ix, ST_ASSET_IMPORT)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	index_bind_text(st, 2, a->key);
	index_bind_text(st, 3, hash_part);
	sqlite3_bind_int64(st, 4, (int64_t)a->size);
	index_bind_digest(st, 5, &a->sha256);
	index_bind_text(st, 6, a->content_type);
	sqlite3_bind_int64(st, 7, now);
	index_bind_text(st, 8, a->url);
	return index_run(ix, st);
}

/* One path, inside the transaction: its NAR first (I2). */
static int
import_path(
    struct index *ix, const char *cache, const struct narinfo *ni, int64_t now)
{
	struct buf text = BUF_INIT;
	char key[KEY_MAX + 1];
	struct asset_new a = { 0 };
	int rc;

	rc = index_narinfo_get(ix, cache, ni->hash_part.s, NULL, NULL);
	if (rc != 0)
		return rc == 1 ? 0 : -1;
	rc = -1;
	narinfo_print(ni, &text);
	if (buf_failed(&text) || !ni->has_file_size)
		goto out;
	a.key = ni->nar.s;
	a.size = ni->file_size;
	a.sha256 = ni->file_hash;
	a.content_type = key_content_type(KEY_NAR);
	if (index_asset_import(ix, cache, &a, NULL, now) == -1 ||
	    index_path_insert(ix, cache, ni, text.p, now) == -1 ||
	    index_references_insert(ix, cache, ni) == -1)
		goto out;
	snprintf(key, sizeof(key), "%s.narinfo", ni->hash_part.s);
	a.key = key;
	a.size = text.len;
	hash_sha256(text.p, text.len, &a.sha256);
	a.content_type = key_content_type(KEY_NARINFO);
	rc = index_asset_import(ix, cache, &a, ni->hash_part.s, now);
out:
	buf_free(&text);
	return rc;
}

int
index_import(struct index *ix, const char *cache, struct narinfo *const *paths,
    size_t n, int64_t now)
{
	size_t i;
	int rc = 0;

	db_limit(ix->db, 0); /* its caller's own, and as many as there are */
	if (db_begin(ix->db) == -1)
		return -1;
	for (i = 0; i < n && rc == 0; i++)
		rc = import_path(ix, cache, paths[i], now);
	if (rc == 0)
		rc = db_commit(ix->db);
	db_rollback(ix->db);
	db_limit(ix->db, DB_WRITE_MS);
	return rc;
}

void
index_closure_clear(struct index_closure *c)
{
	free(c->hash_parts);
	memset(c, 0, sizeof(*c));
}

/* Add the row st is at: 1, or 0 when its path is not here, or -1. */
static int
closure_add(sqlite3_stmt *st, struct index_closure *c, size_t *cap)
{
	char(*more)[HASH_PART_LEN + 1];
	size_t n;

	if (sqlite3_column_type(st, 1) == SQLITE_NULL)
		return 0;
	if (c->count == *cap) {
		n = *cap == 0 ? 64 : *cap * 2;
		if ((more = realloc(c->hash_parts, n * sizeof(*more))) ==
		    NULL) {
			log_warnx("index: no memory for a closure");
			return -1;
		}
		c->hash_parts = more;
		*cap = n;
	}
	index_column_text(
	    st, 0, c->hash_parts[c->count], sizeof(c->hash_parts[0]));
	c->nar_bytes += (uint64_t)sqlite3_column_int64(st, 1);
	c->count++;
	return 1;
}

int
index_closure(struct index *ix, const char *cache, const char *hash_part,
    struct index_closure *c)
{
	sqlite3_stmt *st;
	size_t cap = 0;
	int rc, added = 1;

	memset(c, 0, sizeof(*c));
	if ((st = index_stmt(ix, ST_CLOSURE)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	index_bind_text(st, 2, hash_part);
	while (added == 1 && (rc = db_step(ix->db, st)) == 1)
		added = closure_add(st, c, &cap);
	index_done(st);
	if (added == 1 && rc == 0)
		return 1;
	index_closure_clear(c);
	return added == 0 ? 0 : -1;
}
