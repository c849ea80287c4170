#include "config.h"

#include "index.h"

#include <sys/stat.h>

#include <inttypes.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clean.h"
#include "index_db.h"
#include "log.h"

static int
index_path(const char *state_dir, char path[PATH_MAX])
{
	int n;

	n = snprintf(path, PATH_MAX, "%s/index.db", state_dir);
	if (n >= 0 && n < PATH_MAX)
		return 0;
	log_warnx("index: state_dir is too long");
	return -1;
}

/* What index_keep found; st_ino is 0 before. */
static struct stat kept;

int
index_keep(const char *state_dir)
{
	char path[PATH_MAX];

	if (index_path(state_dir, path) == -1)
		return -1;
	if (stat(path, &kept) == 0)
		return 0;
	log_warn("index: %s", path);
	return -1;
}

/* Is another file, or none, where the one was that is kept? */
static bool
is_another(const char *path)
{
	static atomic_bool told;
	struct stat st;

	if (kept.st_ino == 0 ||
	    (stat(path, &st) == 0 && st.st_ino == kept.st_ino &&
		st.st_dev == kept.st_dev))
		return false;
	if (!atomic_exchange(&told, true))
		log_warnx("index: %s is not the one that this program was "
			  "started with: stop the programs, put the right one "
			  "back, and start them",
		    path);
	return true;
}

struct index *
index_open(const char *state_dir, enum index_mode mode)
{
	char path[PATH_MAX];
	struct index *ix;

	if (index_path(state_dir, path) == -1 || is_another(path) ||
	    (ix = calloc(1, sizeof(*ix))) == NULL)
		return NULL;
	if ((ix->db = db_open(path, mode == INDEX_WRITE)) == NULL ||
	    is_another(path) ||
	    db_migrate(ix->db, index_migrations, index_nmigrations) == -1) {
		index_close(ix);
		return NULL;
	}
	return ix;
}

/* Take d, NULL as well, if it is of this program's version. */
static struct index *
as_is(struct db *d)
{
	struct index *ix = NULL;
	size_t version;

	if (d != NULL && db_version(d, &version) == 0 &&
	    version == index_nmigrations)
		ix = calloc(1, sizeof(*ix));
	if (ix != NULL)
		ix->db = d;
	else
		db_close(d);
	return ix;
}

struct index *
index_open_as_is(const char *state_dir)
{
	char path[PATH_MAX];

	if (index_path(state_dir, path) == -1 ||
	    access(path, R_OK | W_OK) == -1)
		return NULL;
	return as_is(db_open(path, false));
}

bool
index_opens(const char *state_dir)
{
	char path[PATH_MAX];
	struct db *d;

	if (index_path(state_dir, path) == -1 ||
	    access(path, R_OK | W_OK) == -1)
		return true;
	d = db_open(path, false);
	db_close(d);
	return d != NULL;
}

struct index *
index_open_read(const char *state_dir)
{
	char path[PATH_MAX];

	if (index_path(state_dir, path) == -1 || access(path, R_OK) == -1)
		return NULL;
	return as_is(db_open_read(path));
}

void
index_close(struct index *ix)
{
	if (ix == NULL)
		return;
	db_close(ix->db);
	free(ix);
}

void
index_close_clean(struct index *ix, const char *state_dir)
{
	const bool clean = clean_is(state_dir);

	index_close(ix);
	if (clean)
		clean_note(state_dir);
}

bool
index_moved(struct index *ix)
{
	return db_moved(ix->db);
}

int
index_quick_check(struct index *ix, struct buf *what)
{
	sqlite3_stmt *st;
	const char *s;
	int rc;

	if ((st = index_stmt(ix, ST_CHECK_QUICK)) == NULL)
		return -1;
	if ((rc = db_step(ix->db, st)) == 1) {
		s = (const char *)sqlite3_column_text(st, 0);
		if (s == NULL || strcmp(s, "ok") != 0) {
			buf_adds(what, s != NULL ? s : "no memory");
			rc = 0;
		}
	}
	index_done(st);
	return rc;
}

sqlite3_stmt *
index_stmt(struct index *ix, enum statement which)
{
	if (ix->st[which] == NULL)
		ix->st[which] = db_prepare(ix->db, index_sql[which]);
	return ix->st[which];
}

void
index_done(sqlite3_stmt *st)
{
	if (st == NULL)
		return;
	sqlite3_reset(st);
	sqlite3_clear_bindings(st);
}

void
index_bind_text(sqlite3_stmt *st, int at, const char *s)
{
	/* The caller's memory outlives the step: see index_run, index_done. */
	sqlite3_bind_text(st, at, s, -1, SQLITE_STATIC);
}

void
index_bind_digest(sqlite3_stmt *st, int at, const struct digest *d)
{
	sqlite3_bind_blob(st, at, d->b, DIGEST_BYTES, SQLITE_STATIC);
}

int
index_run(struct index *ix, sqlite3_stmt *st)
{
	int rc;

	rc = db_step(ix->db, st);
	index_done(st);
	return rc == -1 ? -1 : 0;
}

void
index_column_text(sqlite3_stmt *st, int at, char *out, size_t size)
{
	const unsigned char *s = sqlite3_column_text(st, at);
	int n;

	n = snprintf(out, size, "%s", s != NULL ? (const char *)s : "");
	if (n < 0 || (size_t)n >= size)
		out[0] = '\0';
}

void
index_column_digest(sqlite3_stmt *st, int at, struct digest *d)
{
	const void *p = sqlite3_column_blob(st, at);

	memset(d, 0, sizeof(*d));
	if (p != NULL && sqlite3_column_bytes(st, at) == DIGEST_BYTES)
		memcpy(d->b, p, DIGEST_BYTES);
}

enum asset_state
index_column_state(sqlite3_stmt *st, int at)
{
	char s[16];

	index_column_text(st, at, s, sizeof(s));
	switch (s[0]) {
	case 's':
		return s[1] == 'p' ? ASSET_SPOOLED : ASSET_STORED;
	case 'r':
		return ASSET_RELAYING;
	default:
		return ASSET_FAILED;
	}
}

int
index_column_asset(sqlite3_stmt *st, struct asset_row *row)
{
	const unsigned char *url;

	memset(row, 0, sizeof(*row));
	row->id = sqlite3_column_int64(st, 0);
	index_column_text(st, 1, row->key, sizeof(row->key));
	row->state = index_column_state(st, 2);
	row->size = (uint64_t)sqlite3_column_int64(st, 3);
	index_column_digest(st, 4, &row->sha256);
	index_column_text(st, 5, row->spool, sizeof(row->spool));
	url = sqlite3_column_text(st, 6);
	row->created = sqlite3_column_int64(st, 7);
	row->attempts = sqlite3_column_int64(st, 8);
	row->pusher = sqlite3_column_int64(st, 9);
	if (url != NULL && (row->url = strdup((const char *)url)) == NULL) {
		log_warnx("index: no memory");
		return -1;
	}
	return 0;
}

void
index_asset_clear(struct asset_row *row)
{
	free(row->url);
	row->url = NULL;
}

int
index_asset_get(
    struct index *ix, const char *cache, const char *key, struct asset_row *row)
{
	sqlite3_stmt *st;
	int rc;

	if ((st = index_stmt(ix, ST_ASSET_GET)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	index_bind_text(st, 2, key);
	if ((rc = db_step(ix->db, st)) == 1 &&
	    index_column_asset(st, row) == -1)
		rc = -1;
	index_done(st);
	return rc;
}

static int
asset_insert(struct index *ix, const char *cache, const struct asset_new *a,
    const char *hash_part, int64_t now)
{
	sqlite3_stmt *st;

	if ((st = index_stmt(ix, ST_ASSET_INSERT)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	index_bind_text(st, 2, a->key);
	index_bind_text(st, 3, hash_part);
	sqlite3_bind_int64(st, 4, (int64_t)a->size);
	index_bind_digest(st, 5, &a->sha256);
	index_bind_text(st, 6, a->content_type);
	index_bind_text(st, 7, a->spool);
	sqlite3_bind_int64(st, 8, now);
	sqlite3_bind_int64(st, 9, a->pusher);
	return index_run(ix, st);
}

static int
asset_replace(
    struct index *ix, const char *cache, const struct asset_new *a, int64_t now)
{
	sqlite3_stmt *st;

	if ((st = index_stmt(ix, ST_ASSET_REPLACE)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	index_bind_text(st, 2, a->key);
	sqlite3_bind_int64(st, 3, (int64_t)a->size);
	index_bind_digest(st, 4, &a->sha256);
	index_bind_text(st, 5, a->spool);
	sqlite3_bind_int64(st, 6, now);
	sqlite3_bind_int64(st, 7, a->pusher);
	return index_run(ix, st);
}

static bool
may_replace(const struct asset_new *a, const struct asset_row *row)
{
	if (a->over != NULL)
		return digest_equal(a->over, &row->sha256);
	return !a->keep || (row->pusher != 0 && row->pusher == a->pusher);
}

static int
realisation_set(struct index *ix, const char *cache, const struct asset_new *a)
{
	sqlite3_stmt *st;

	if ((st = index_stmt(ix, ST_REALISATION_SET)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	index_bind_text(st, 2, a->key);
	index_bind_text(st, 3, a->text);
	return index_run(ix, st);
}

int
index_realisation_get(
    struct index *ix, const char *cache, const char *key, struct buf *text)
{
	sqlite3_stmt *st;
	int rc;

	if ((st = index_stmt(ix, ST_REALISATION_GET)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	index_bind_text(st, 2, key);
	if ((rc = db_step(ix->db, st)) == 1)
		buf_adds(text, (const char *)sqlite3_column_text(st, 0));
	index_done(st);
	return rc == 1 && buf_failed(text) ? -1 : rc;
}

/*
 * index_asset_put inside its transaction.  Who sends again what is here makes
 * it no more his.
 */
static enum index_put
asset_put(struct index *ix, const char *cache, const struct asset_new *a,
    int64_t now, char old[64])
{
	struct asset_new anew = *a;
	struct asset_row row;
	bool same;

	switch (index_asset_get(ix, cache, a->key, &row)) {
	case 0:
		return asset_insert(ix, cache, a, NULL, now) == 0
		    ? INDEX_CREATED
		    : INDEX_ERROR;
	case 1:
		break;
	default:
		return INDEX_ERROR;
	}
	index_asset_clear(&row);
	same = digest_equal(&row.sha256, &a->sha256);
	/* A PUT of what the store refused before is a new try. */
	if (same && row.state != ASSET_FAILED && !a->anew) {
		snprintf(old, 64, "%s", a->spool);
		return INDEX_SAME;
	}
	if (!same && !may_replace(a, &row))
		return INDEX_CONFLICT;
	if (same)
		anew.pusher = row.pusher;
	snprintf(old, 64, "%s", row.spool);
	return asset_replace(ix, cache, &anew, now) == 0 ? INDEX_REPLACED
							 : INDEX_ERROR;
}

/* End a transaction as its result asks: only a change is committed. */
static enum index_put
finish(struct index *ix, enum index_put rc)
{
	bool change = rc == INDEX_CREATED || rc == INDEX_REPLACED;

	if (ix->audit != NULL && (change || rc == INDEX_SAME))
		rc = index_audit_insert(ix, rc, &change);
	if (change && rc != INDEX_ERROR && rc != INDEX_QUOTA &&
	    db_commit(ix->db) == -1)
		rc = INDEX_ERROR;
	db_rollback(ix->db);
	return rc;
}

enum index_put
index_asset_put(struct index *ix, const char *cache, const struct asset_new *a,
    int64_t now, char old[64])
{
	enum index_put put;

	old[0] = '\0';
	if (db_begin(ix->db) == -1)
		return INDEX_ERROR;
	put = asset_put(ix, cache, a, now, old);
	if (a->text != NULL &&
	    (put == INDEX_CREATED || put == INDEX_REPLACED) &&
	    realisation_set(ix, cache, a) == -1)
		put = INDEX_ERROR;
	return finish(ix, put);
}

bool
index_text_whole(sqlite3_stmt *st, int at, const void *text, size_t size)
{
	struct digest noted, now;

	if (sqlite3_column_type(st, at) == SQLITE_NULL)
		return false;
	index_column_digest(st, at, &noted);
	hash_sha256(text, size, &now);
	return digest_equal(&noted, &now);
}

/*
 * The narinfo a path has; NULL and *rc 0 when there is none, INDEX_SPOILED when
 * its text is not what was written, -1 on failure.
 */
static struct narinfo *
path_get(struct index *ix, const char *cache, const struct hash_part *hp,
    const char *store_dir, int *rc)
{
	struct narinfo *ni = NULL;
	char err[256];
	struct buf text = BUF_INIT;

	*rc = index_narinfo_get(ix, cache, hp->s, &text, NULL);
	if (*rc == 1 &&
	    (ni = narinfo_parse_stored(
		 text.p, text.len, store_dir, err, sizeof(err))) == NULL) {
		log_warnx("index: %s.narinfo: %s", hp->s, err);
		*rc = -1;
	}
	buf_free(&text);
	return ni;
}

/* The asset row of a narinfo with this text. */
static void
narinfo_asset(const struct narinfo *ni, const struct buf *text,
    char key[KEY_MAX + 1], struct asset_new *a)
{
	memset(a, 0, sizeof(*a));
	snprintf(key, KEY_MAX + 1, "%s.narinfo", ni->hash_part.s);
	a->key = key;
	a->size = text->len;
	a->content_type = key_content_type(KEY_NARINFO);
	hash_sha256(text->p, text->len, &a->sha256);
}

int
index_path_insert(struct index *ix, const char *cache, const struct narinfo *ni,
    const char *text, int64_t now)
{
	sqlite3_stmt *st;

	if ((st = index_stmt(ix, ST_PATH_INSERT)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	index_bind_text(st, 2, ni->hash_part.s);
	index_bind_text(st, 3, ni->store_path);
	index_bind_text(st, 4, text);
	index_bind_text(st, 5, ni->nar.s);
	index_bind_digest(st, 6, &ni->nar_hash);
	sqlite3_bind_int64(st, 7, (int64_t)ni->nar_size);
	sqlite3_bind_int64(st, 8, (int64_t)ni->file_size);
	index_bind_text(st, 9, ni->deriver);
	index_bind_text(st, 10, ni->ca);
	sqlite3_bind_int64(st, 11, now);
	return index_run(ix, st);
}

int
index_references_insert(
    struct index *ix, const char *cache, const struct narinfo *ni)
{
	sqlite3_stmt *st;
	struct hash_part ref;
	size_t i;

	for (i = 0; i < ni->nreferences; i++) {
		if ((st = index_stmt(ix, ST_REFERENCE_INSERT)) == NULL ||
		    storepath_base_parse(ni->references[i],
			strlen(ni->references[i]), &ref) == -1)
			return -1;
		index_bind_text(st, 1, cache);
		index_bind_text(st, 2, ni->hash_part.s);
		index_bind_text(st, 3, ref.s);
		if (index_run(ix, st) == -1)
			return -1;
	}
	return 0;
}

/* A path that is new. */
static enum index_put
narinfo_create(
    struct index *ix, const char *cache, const struct narinfo *ni, int64_t now)
{
	struct buf text = BUF_INIT;
	char key[KEY_MAX + 1];
	struct asset_new a;
	enum index_put rc = INDEX_ERROR;

	narinfo_print(ni, &text);
	if (buf_failed(&text))
		goto out;
	narinfo_asset(ni, &text, key, &a);
	if (index_path_insert(ix, cache, ni, text.p, now) == 0 &&
	    index_references_insert(ix, cache, ni) == 0 &&
	    asset_insert(ix, cache, &a, ni->hash_part.s, now) == 0)
		rc = INDEX_CREATED;
out:
	buf_free(&text);
	return rc;
}

/* Did the store refuse this narinfo?  1, 0 or -1. */
static int
narinfo_failed(struct index *ix, const char *cache, const struct narinfo *ni)
{
	char key[KEY_MAX + 1];
	struct asset_row row;
	int rc;

	snprintf(key, sizeof(key), "%s.narinfo", ni->hash_part.s);
	if ((rc = index_asset_get(ix, cache, key, &row)) != 1)
		return rc;
	index_asset_clear(&row);
	return row.state == ASSET_FAILED;
}

/* A path that is there as old: only signatures may be added. */
static enum index_put
narinfo_update(struct index *ix, const char *cache, struct narinfo *old,
    const struct narinfo *ni, const struct sig_rank *rank, int64_t now)
{
	struct buf text = BUF_INIT;
	char key[KEY_MAX + 1];
	struct asset_new a;
	sqlite3_stmt *st;
	enum index_put rc = INDEX_ERROR;
	int trimmed, merged, failed;

	if (!narinfo_same(old, ni))
		return INDEX_CONFLICT;
	trimmed = narinfo_trim(old, rank);
	if ((merged = narinfo_merge_sigs(old, ni, rank)) == -1 ||
	    (failed = narinfo_failed(ix, cache, old)) == -1)
		return INDEX_ERROR;
	/* As in asset_put: a PUT of what the store refused is a new try. */
	if (!trimmed && !merged && !failed)
		return INDEX_SAME;
	narinfo_print(old, &text);
	if (buf_failed(&text))
		goto out;
	narinfo_asset(old, &text, key, &a);
	if ((st = index_stmt(ix, ST_PATH_TEXT)) == NULL)
		goto out;
	index_bind_text(st, 1, cache);
	index_bind_text(st, 2, old->hash_part.s);
	index_bind_text(st, 3, text.p);
	if (index_run(ix, st) == 0 && asset_replace(ix, cache, &a, now) == 0)
		rc = INDEX_REPLACED;
out:
	buf_free(&text);
	return rc;
}

/* Are the references of ni those that the path has?  1, 0 or -1. */
static int
same_references(struct index *ix, const char *cache, const struct narinfo *ni)
{
	sqlite3_stmt *st;
	size_t i = 0;
	char ref[HASH_PART_LEN + 1];
	int rc;

	if ((st = index_stmt(ix, ST_CHECK_REFERENCE)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	index_bind_text(st, 2, ni->hash_part.s);
	/* Both are sorted: base names begin with their hash parts. */
	while ((rc = db_step(ix->db, st)) == 1) {
		index_column_text(st, 0, ref, sizeof(ref));
		if (i == ni->nreferences ||
		    strncmp(ni->references[i], ref, HASH_PART_LEN) != 0)
			break;
		i++;
	}
	index_done(st);
	return rc == -1 ? -1 : rc == 0 && i == ni->nreferences;
}

/* The row of path as ni has it, if it means the same: 1, 0 or -1. */
static int
path_heal(struct index *ix, const char *cache, const struct narinfo *ni,
    const char *text)
{
	sqlite3_stmt *st;

	if ((st = index_stmt(ix, ST_PATH_HEAL)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	index_bind_text(st, 2, ni->hash_part.s);
	index_bind_text(st, 3, text);
	index_bind_text(st, 4, ni->nar.s);
	sqlite3_bind_int64(st, 5, (int64_t)ni->file_size);
	index_bind_text(st, 6, ni->deriver);
	index_bind_text(st, 7, ni->ca);
	index_bind_text(st, 8, ni->store_path);
	index_bind_digest(st, 9, &ni->nar_hash);
	sqlite3_bind_int64(st, 10, (int64_t)ni->nar_size);
	return index_run(ix, st) == -1 ? -1 : db_changes(ix->db) == 1;
}

/*
 * A path whose text is spoiled: what was checked just now takes its place.  Of
 * the old one nothing is kept, no signature either, but what the columns say.
 */
static enum index_put
narinfo_heal(
    struct index *ix, const char *cache, const struct narinfo *ni, int64_t now)
{
	struct buf text = BUF_INIT;
	char key[KEY_MAX + 1];
	struct asset_new a;
	enum index_put put = INDEX_ERROR;
	int rc;

	if ((rc = same_references(ix, cache, ni)) != 1)
		return rc == 0 ? INDEX_CONFLICT : INDEX_ERROR;
	narinfo_print(ni, &text);
	if (buf_failed(&text))
		goto out;
	narinfo_asset(ni, &text, key, &a);
	if ((rc = path_heal(ix, cache, ni, text.p)) == 0)
		put = INDEX_CONFLICT;
	if (rc != 1 || asset_replace(ix, cache, &a, now) == -1)
		goto out;
	if (db_changes(ix->db) == 1 ||
	    asset_insert(ix, cache, &a, ni->hash_part.s, now) == 0)
		put = INDEX_REPLACED;
	log_warnx("index: %s: its text was spoiled: replaced", key);
out:
	buf_free(&text);
	return put;
}

/* index_narinfo_put inside its transaction. */
static enum index_put
narinfo_put(struct index *ix, const char *cache, struct narinfo *ni,
    const struct sig_rank *rank, const char *store_dir, int64_t now,
    uint64_t *nar_size)
{
	struct narinfo *old;
	struct asset_row nar;
	enum index_put put;
	int rc;

	if ((rc = index_asset_get(ix, cache, ni->nar.s, &nar)) == -1)
		return INDEX_ERROR;
	if (rc == 0)
		return INDEX_NO_NAR;
	index_asset_clear(&nar);
	*nar_size = nar.size;
	if (ni->has_file_size && ni->file_size != nar.size)
		return INDEX_BAD_SIZE;
	ni->file_size = nar.size;
	ni->has_file_size = true;

	old = path_get(ix, cache, &ni->hash_part, store_dir, &rc);
	if (rc == -1)
		return INDEX_ERROR;
	put = rc == 0 ? narinfo_create(ix, cache, ni, now)
	    : rc == 1 ? narinfo_update(ix, cache, old, ni, rank, now)
		      : narinfo_heal(ix, cache, ni, now);
	narinfo_free(old);
	return put;
}

enum index_put
index_narinfo_put(struct index *ix, const char *cache, struct narinfo *ni,
    const struct sig_rank *rank, const char *store_dir, int64_t now,
    uint64_t *nar_size)
{
	*nar_size = 0;
	if (db_begin(ix->db) == -1)
		return INDEX_ERROR;
	return finish(
	    ix, narinfo_put(ix, cache, ni, rank, store_dir, now, nar_size));
}

int
index_narinfo_get(struct index *ix, const char *cache, const char *hash_part,
    struct buf *text, size_t *size)
{
	sqlite3_stmt *st;
	int rc;

	if ((st = index_stmt(ix, ST_PATH_GET)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	index_bind_text(st, 2, hash_part);
	if ((rc = db_step(ix->db, st)) == 1) {
		/* The text first: asking for the length may convert. */
		const unsigned char *s = sqlite3_column_text(st, 0);
		size_t n = (size_t)sqlite3_column_bytes(st, 0);

		if (text != NULL && s != NULL)
			buf_add(text, s, n);
		if (size != NULL)
			*size = n;
		if (s == NULL || (text != NULL && buf_failed(text)))
			rc = -1;
		else if (text != NULL && !index_text_whole(st, 1, s, n))
			rc = INDEX_SPOILED;
	}
	index_done(st);
	return rc;
}

int
index_spoiled_note(
    struct index *ix, const char *cache, const char *hash_part, int64_t now)
{
	char key[KEY_MAX + 1];
	bool noted = false;
	sqlite3_stmt *st;
	int rc;

	snprintf(key, sizeof(key), "%s.narinfo", hash_part);
	if ((st = index_stmt(ix, ST_SPOILED_GET)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	index_bind_text(st, 2, key);
	if ((rc = db_step(ix->db, st)) == 1)
		noted = sqlite3_column_int64(st, 0) != 0;
	index_done(st);
	if (rc != 1 || noted == (now != 0))
		return rc == -1 ? -1 : 0;
	if ((st = index_stmt(ix, ST_SPOILED_SET)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	index_bind_text(st, 2, key);
	sqlite3_bind_int64(st, 3, now);
	return index_run(ix, st);
}

/* A fact about the whole index, appended to value: 1, or 0 without one. */
static int
meta_get(struct index *ix, const char *name, struct buf *value)
{
	sqlite3_stmt *st;
	int rc;

	if ((st = index_stmt(ix, ST_META_GET)) == NULL)
		return -1;
	index_bind_text(st, 1, name);
	if ((rc = db_step(ix->db, st)) == 1)
		buf_adds(value, (const char *)sqlite3_column_text(st, 0));
	index_done(st);
	return rc;
}

static int
meta_set(struct index *ix, const char *name, const char *value)
{
	sqlite3_stmt *st;

	if ((st = index_stmt(ix, ST_META_SET)) == NULL)
		return -1;
	index_bind_text(st, 1, name);
	index_bind_text(st, 2, value);
	return index_run(ix, st);
}

/* Is (name, value) what meta says?  Sets it when nothing does. */
static int
meta_pin(
    struct index *ix, const char *name, const char *value, struct buf *actual)
{
	int rc;

	if ((rc = meta_get(ix, name, actual)) != 0)
		return rc == -1 ? -1 : strcmp(buf_str(actual), value) == 0;
	return meta_set(ix, name, value) == -1 ? -1 : 1;
}

int
index_store_get(struct index *ix, const char *cache, struct buf *text)
{
	char name[64];

	snprintf(name, sizeof(name), "asset_store.%s", cache);
	return meta_get(ix, name, text);
}

int
index_store_set(struct index *ix, const char *cache, const char *text)
{
	char name[64];

	snprintf(name, sizeof(name), "asset_store.%s", cache);
	return meta_set(ix, name, text);
}

/* The first use of this cache: unless another process was faster. */
static int
pin(struct index *ix, const char *name, const char *value, struct buf *actual)
{
	int rc;

	if (db_begin(ix->db) == -1)
		return -1;
	rc = meta_pin(ix, name, value, actual);
	if (rc == 1 && db_commit(ix->db) == -1)
		rc = -1;
	db_rollback(ix->db);
	return rc;
}

int
index_store_dir_get(struct index *ix, const char *cache, struct buf *text)
{
	char name[64];

	snprintf(name, sizeof(name), "store_dir.%s", cache);
	return meta_get(ix, name, text);
}

int
index_pin_store_dir(struct index *ix, const char *cache, const char *store_dir,
    struct buf *actual)
{
	char name[64];
	int rc;

	snprintf(name, sizeof(name), "store_dir.%s", cache);
	/* It does not change any more: no writer is waited for. */
	if ((rc = meta_get(ix, name, actual)) == 0)
		return pin(ix, name, store_dir, actual);
	return rc == -1 ? -1 : strcmp(buf_str(actual), store_dir) == 0;
}

/* Counts and bytes, kept by triggers. */
static int
status_totals(struct index *ix, const char *cache, struct index_status *stat)
{
	char what[16];
	sqlite3_stmt *st;
	uint64_t count, bytes;
	enum asset_state s;
	int rc;

	if ((st = index_stmt(ix, ST_STATUS_TOTAL)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	while ((rc = db_step(ix->db, st)) == 1) {
		index_column_text(st, 0, what, sizeof(what));
		count = (uint64_t)sqlite3_column_int64(st, 1);
		bytes = (uint64_t)sqlite3_column_int64(st, 2);
		if (strcmp(what, "path") == 0) {
			stat->paths = count;
			stat->nar_bytes = bytes;
			continue;
		}
		s = index_column_state(st, 0);
		stat->state[s].count = count;
		stat->state[s].bytes = bytes;
	}
	index_done(st);
	return rc;
}

/* The one row of a statement, into stat: 0 or -1. */
static int
status_row(struct index *ix, const char *cache, enum statement which,
    void (*take)(sqlite3_stmt *st, struct index_status *stat),
    struct index_status *stat)
{
	sqlite3_stmt *st;
	int rc;

	if ((st = index_stmt(ix, which)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	if ((rc = db_step(ix->db, st)) == 1)
		take(st, stat);
	index_done(st);
	return rc == -1 ? -1 : 0;
}

static void
take_unsigned(sqlite3_stmt *st, struct index_status *stat)
{
	stat->unsigned_paths = (uint64_t)sqlite3_column_int64(st, 0);
}

static void
take_missing(sqlite3_stmt *st, struct index_status *stat)
{
	stat->missing = (uint64_t)sqlite3_column_int64(st, 0);
}

static void
take_spoiled(sqlite3_stmt *st, struct index_status *stat)
{
	stat->spoiled = (uint64_t)sqlite3_column_int64(st, 0);
}

static void
take_oldest(sqlite3_stmt *st, struct index_status *stat)
{
	stat->oldest = sqlite3_column_int64(st, 0);
}

static void
take_error(sqlite3_stmt *st, struct index_status *stat)
{
	index_column_text(st, 0, stat->last_error, sizeof(stat->last_error));
	index_column_text(
	    st, 1, stat->last_error_key, sizeof(stat->last_error_key));
}

int
index_status(struct index *ix, const char *cache, struct index_status *stat)
{
	memset(stat, 0, sizeof(*stat));
	if (status_totals(ix, cache, stat) == -1 ||
	    status_row(ix, cache, ST_STATUS_UNSIGNED, take_unsigned, stat) ==
		-1 ||
	    status_row(ix, cache, ST_LOST_COUNT, take_missing, stat) == -1 ||
	    status_row(ix, cache, ST_SPOILED_COUNT, take_spoiled, stat) == -1 ||
	    status_row(ix, cache, ST_STATUS_OLDEST, take_oldest, stat) == -1)
		return -1;
	return status_row(ix, cache, ST_STATUS_ERROR, take_error, stat);
}
