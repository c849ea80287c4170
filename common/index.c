#include "config.h"

#include "index.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "index_db.h"
#include "log.h"

/*
 * Append only: a file in the field has run a prefix of these.
 *
 * asset.hash_part is set for narinfos and for nothing else; asset.spool for
 * everything else that is not stored (see index.h).
 */
static const char *const migrations[] = {
	"CREATE TABLE asset ("
	" id INTEGER PRIMARY KEY,"
	" cache TEXT NOT NULL,"
	" key TEXT NOT NULL,"
	" hash_part TEXT,"
	" size INTEGER NOT NULL CHECK (size >= 0),"
	" sha256 BLOB NOT NULL CHECK (length(sha256) = 32),"
	" content_type TEXT NOT NULL,"
	" state TEXT NOT NULL DEFAULT 'spooled'"
	"  CHECK (state IN ('spooled', 'relaying', 'stored', 'failed')),"
	" spool TEXT,"
	" url TEXT,"
	" owner TEXT,"
	" lease INTEGER NOT NULL DEFAULT 0,"
	" attempts INTEGER NOT NULL DEFAULT 0,"
	" next_attempt INTEGER NOT NULL DEFAULT 0,"
	" last_error TEXT,"
	" created INTEGER NOT NULL,"
	" UNIQUE (cache, key)"
	") STRICT;"
	"CREATE INDEX asset_waiting ON asset (cache, state, next_attempt)"
	" WHERE state <> 'stored';"
	"CREATE INDEX asset_spool ON asset (spool) WHERE spool IS NOT NULL;"
	"CREATE TABLE path ("
	" cache TEXT NOT NULL,"
	" hash_part TEXT NOT NULL,"
	" store_path TEXT NOT NULL,"
	" narinfo TEXT NOT NULL,"
	" nar_key TEXT NOT NULL,"
	" nar_hash BLOB NOT NULL CHECK (length(nar_hash) = 32),"
	" nar_size INTEGER NOT NULL CHECK (nar_size > 0),"
	" file_size INTEGER NOT NULL CHECK (file_size >= 0),"
	" deriver TEXT,"
	" ca TEXT,"
	" created INTEGER NOT NULL,"
	" PRIMARY KEY (cache, hash_part),"
	" FOREIGN KEY (cache, nar_key) REFERENCES asset (cache, key)"
	") STRICT, WITHOUT ROWID;"
	"CREATE INDEX path_nar ON path (cache, nar_key);"
	"CREATE TABLE reference ("
	" cache TEXT NOT NULL,"
	" hash_part TEXT NOT NULL,"
	" ref TEXT NOT NULL,"
	" PRIMARY KEY (cache, hash_part, ref),"
	" FOREIGN KEY (cache, hash_part) REFERENCES path (cache, hash_part)"
	"  ON DELETE CASCADE"
	") STRICT, WITHOUT ROWID;"
	"CREATE TABLE token ("
	" name TEXT PRIMARY KEY,"
	" secret BLOB NOT NULL UNIQUE CHECK (length(secret) = 32),"
	" scopes INTEGER NOT NULL,"
	" created INTEGER NOT NULL,"
	" expires INTEGER NOT NULL DEFAULT 0,"
	" last_used INTEGER NOT NULL DEFAULT 0"
	") STRICT;"
	"CREATE TABLE meta ("
	" name TEXT PRIMARY KEY,"
	" value TEXT NOT NULL"
	") STRICT, WITHOUT ROWID;",

	/* The spool's bytes from the index alone; who references a path. */
	"DROP INDEX asset_spool;"
	"CREATE INDEX asset_spool ON asset (spool, size)"
	" WHERE spool IS NOT NULL;"
	"CREATE INDEX reference_ref ON reference (cache, ref);",

	/* What NARs are, who sent what, what tokens may. */
	"CREATE TABLE nar ("
	" cache TEXT NOT NULL,"
	" key TEXT NOT NULL,"
	" verdict INTEGER NOT NULL,"
	" why TEXT NOT NULL,"
	" compression TEXT NOT NULL,"
	" nar_hash BLOB CHECK (length(nar_hash) = 32),"
	" nar_size INTEGER,"
	" file_hash BLOB CHECK (length(file_hash) = 32),"
	" refs BLOB,"
	" refs_complete INTEGER,"
	" checked INTEGER NOT NULL,"
	" listing TEXT,"
	" PRIMARY KEY (cache, key),"
	" FOREIGN KEY (cache, key) REFERENCES asset (cache, key)"
	"  ON DELETE CASCADE"
	") STRICT;"
	"CREATE TABLE audit ("
	" id INTEGER PRIMARY KEY,"
	" time INTEGER NOT NULL,"
	" cache TEXT NOT NULL,"
	" key TEXT NOT NULL,"
	" token TEXT NOT NULL,"
	" address TEXT NOT NULL,"
	" size INTEGER NOT NULL,"
	" what TEXT NOT NULL"
	") STRICT;"
	"CREATE INDEX audit_token ON audit (token, time);"
	"ALTER TABLE token ADD COLUMN keys TEXT NOT NULL DEFAULT '';"
	"ALTER TABLE token ADD COLUMN quota_day INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE token ADD COLUMN quota_total INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE token ADD COLUMN used_total INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE token ADD COLUMN used_day INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE token ADD COLUMN day INTEGER NOT NULL DEFAULT 0;",
};

#define ASSET_COLUMNS                                                          \
	"id, key, state, size, sha256, spool, url, created, attempts"

#define TOKEN_COLUMNS                                                          \
	"name, secret, scopes, created, expires, last_used, keys, quota_day,"  \
	" quota_total, used_total, used_day, day"

/* Every SQL text there is, but for the migrations. */
static const char *const sql[ST_MAX] = {
	[ST_ASSET_GET] =
	    "SELECT " ASSET_COLUMNS " FROM asset WHERE cache = ?1 AND key = ?2",
	[ST_ASSET_INSERT] =
	    "INSERT INTO asset (cache, key, hash_part, size, sha256,"
	    " content_type, spool, created)"
	    " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
	/*
	 * One that is on its way stays claimed: were the new bytes to overtake
	 * the old ones, the store would end with those.
	 */
	[ST_ASSET_REPLACE] =
	    "UPDATE asset SET size = ?3, sha256 = ?4, spool = ?5, created = ?6,"
	    " state = CASE state WHEN 'relaying' THEN state ELSE 'spooled' END,"
	    " attempts = 0, next_attempt = 0, last_error = NULL"
	    " WHERE cache = ?1 AND key = ?2",
	[ST_PATH_GET] =
	    "SELECT narinfo FROM path WHERE cache = ?1 AND hash_part = ?2",
	[ST_PATH_INSERT] =
	    "INSERT INTO path (cache, hash_part, store_path, narinfo, nar_key,"
	    " nar_hash, nar_size, file_size, deriver, ca, created)"
	    " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
	[ST_PATH_TEXT] =
	    "UPDATE path SET narinfo = ?3 WHERE cache = ?1 AND hash_part = ?2",
	[ST_REFERENCE_INSERT] = "INSERT OR IGNORE INTO reference"
				" (cache, hash_part, ref) VALUES (?1, ?2, ?3)",
	[ST_ASSET_IMPORT] =
	    "INSERT INTO asset (cache, key, hash_part, size, sha256,"
	    " content_type, state, created)"
	    " VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'stored', ?7)"
	    " ON CONFLICT (cache, key) DO NOTHING",
	/* A reference that is no path comes out with NULL. */
	[ST_CLOSURE] =
	    "WITH RECURSIVE closure (hash_part) AS (SELECT ?2 UNION"
	    " SELECT r.ref FROM closure AS c JOIN reference AS r"
	    "  ON r.cache = ?1 AND r.hash_part = c.hash_part)"
	    " SELECT c.hash_part, p.nar_size FROM closure AS c"
	    " LEFT JOIN path AS p"
	    "  ON p.cache = ?1 AND p.hash_part = c.hash_part ORDER BY 1",
	[ST_META_GET] = "SELECT value FROM meta WHERE name = ?1",
	[ST_META_SET] = "INSERT INTO meta (name, value) VALUES (?1, ?2)",

	[ST_CLAIM_OBJECT] = "SELECT " ASSET_COLUMNS " FROM asset"
			    " WHERE cache = ?1 AND state = 'spooled'"
			    " AND next_attempt <= ?2 AND hash_part IS NULL"
			    " AND (?4 IS NULL OR key = ?4)"
			    " ORDER BY next_attempt, id LIMIT ?3",
	/* I4: its NAR and every narinfo it references are stored before. */
	[ST_CLAIM_NARINFO] =
	    "SELECT " ASSET_COLUMNS " FROM asset AS a"
	    " WHERE cache = ?1 AND state = 'spooled' AND next_attempt <= ?2"
	    " AND hash_part IS NOT NULL AND (?4 IS NULL OR a.key = ?4)"
	    " AND EXISTS (SELECT 1 FROM path AS p JOIN asset AS n"
	    "  ON n.cache = p.cache AND n.key = p.nar_key"
	    "  WHERE p.cache = ?1 AND p.hash_part = a.hash_part"
	    "  AND n.state = 'stored')"
	    " AND NOT EXISTS (SELECT 1 FROM reference AS r JOIN asset AS m"
	    "  ON m.cache = r.cache AND m.key = r.ref || '.narinfo'"
	    "  WHERE r.cache = ?1 AND r.hash_part = a.hash_part"
	    "  AND r.ref <> a.hash_part AND m.state <> 'stored')"
	    " ORDER BY next_attempt, id LIMIT ?3",
	/*
	 * Narinfos that reference each other wait for each other.  One of them
	 * may go first when everything not stored that it leads to (t) leads
	 * back to it (b), waits itself and has its NAR stored.
	 *
	 * In such a circle somebody references what was entered after him; a
	 * client that sends references first makes no such row, so that this
	 * ends before it follows a single reference.
	 */
	[ST_CLAIM_CYCLE] =
	    "SELECT " ASSET_COLUMNS " FROM asset AS a"
	    " WHERE cache = ?1 AND state = 'spooled' AND next_attempt <= ?2"
	    " AND hash_part IS NOT NULL"
	    " AND EXISTS (SELECT 1 FROM reference AS r JOIN asset AS m"
	    "  ON m.cache = r.cache AND m.key = r.ref || '.narinfo'"
	    "  WHERE r.cache = ?1 AND r.hash_part = a.hash_part"
	    "  AND r.ref <> a.hash_part AND m.state <> 'stored'"
	    "  AND m.id > a.id)"
	    " AND NOT EXISTS (WITH RECURSIVE"
	    "  b (h) AS (SELECT a.hash_part UNION"
	    "   SELECT r.hash_part FROM b JOIN reference AS r"
	    "    ON r.cache = ?1 AND r.ref = b.h JOIN asset AS m"
	    "    ON m.cache = ?1 AND m.key = r.hash_part || '.narinfo'"
	    "    WHERE m.state <> 'stored'),"
	    "  t (h) AS (SELECT a.hash_part UNION"
	    "   SELECT r.ref FROM t JOIN reference AS r"
	    "    ON r.cache = ?1 AND r.hash_part = t.h JOIN asset AS m"
	    "    ON m.cache = ?1 AND m.key = r.ref || '.narinfo'"
	    "    WHERE m.state <> 'stored')"
	    "  SELECT 1 FROM t JOIN asset AS m"
	    "   ON m.cache = ?1 AND m.key = t.h || '.narinfo'"
	    "   JOIN path AS p ON p.cache = ?1 AND p.hash_part = t.h"
	    "   JOIN asset AS n ON n.cache = ?1 AND n.key = p.nar_key"
	    "   WHERE n.state <> 'stored'"
	    "   OR m.state <> 'spooled'"
	    "   OR t.h NOT IN (SELECT h FROM b))"
	    " ORDER BY next_attempt, id LIMIT ?3",
	[ST_CLAIM_DUE] = "SELECT 1 FROM asset WHERE cache = ?1"
			 " AND state = 'spooled' AND next_attempt <= ?2"
			 " UNION ALL SELECT 1 FROM asset WHERE cache = ?1"
			 " AND state = 'relaying' AND lease < ?2 LIMIT 1",
	[ST_CLAIM_SET] = "UPDATE asset SET state = 'relaying', owner = ?2,"
			 " lease = ?3, attempts = attempts + 1 WHERE id = ?1",
	[ST_STORED] =
	    "UPDATE asset SET state = 'stored', spool = NULL, url = ?4,"
	    " owner = NULL, lease = 0, last_error = NULL"
	    " WHERE id = ?1 AND state = 'relaying' AND owner = ?2"
	    " AND sha256 = ?3",
	[ST_UNCLAIM] = "UPDATE asset SET state = ?4, owner = NULL, lease = 0,"
		       " last_error = ?5, next_attempt = ?6"
		       " WHERE id = ?1 AND state = 'relaying' AND owner = ?2"
		       " AND sha256 = ?3",
	[ST_UNCLAIM_REPLACED] =
	    "UPDATE asset SET state = 'spooled', owner = NULL, lease = 0"
	    " WHERE id = ?1 AND state = 'relaying' AND owner = ?2",
	[ST_EXPIRE] = "UPDATE asset SET state = 'spooled', owner = NULL,"
		      " lease = 0 WHERE cache = ?1 AND state = 'relaying'"
		      " AND lease < ?2",
	[ST_RELEASE] = "UPDATE asset SET state = 'spooled', owner = NULL,"
		       " lease = 0 WHERE state = 'relaying' AND owner = ?1",
	[ST_RENEW] = "UPDATE asset SET lease = ?2"
		     " WHERE state = 'relaying' AND owner = ?1",
	[ST_RETRY] = "UPDATE asset SET state = 'spooled', attempts = 0,"
		     " next_attempt = 0 WHERE cache = ?1"
		     " AND (state = 'failed' OR"
		     "  (state = 'spooled' AND next_attempt > 0))",
	[ST_RETRY_KEY] = "UPDATE asset SET state = 'spooled', attempts = 0,"
			 " next_attempt = 0 WHERE cache = ?1 AND key = ?2"
			 " AND state IN ('failed', 'spooled')",
	[ST_SPOOL_BYTES] = "SELECT coalesce(sum(size), 0) FROM asset"
			   " WHERE spool IS NOT NULL",
	[ST_ASSET_ERROR] =
	    "SELECT last_error FROM asset WHERE cache = ?1 AND key = ?2",
	[ST_WAITING_EACH] =
	    "SELECT key, state, next_attempt, substr(last_error, 1, 255)"
	    " FROM asset"
	    " WHERE cache = ?1 AND state <> 'stored'"
	    " ORDER BY state = 'failed' DESC, next_attempt, id LIMIT ?2",
	[ST_SPOOL_USED] = "SELECT 1 FROM asset WHERE spool = ?1",

	[ST_STATUS_ASSET] = "SELECT state, count(*), sum(size), min(created)"
			    " FROM asset WHERE cache = ?1 GROUP BY state",
	[ST_STATUS_PATH] = "SELECT count(*), coalesce(sum(nar_size), 0)"
			   " FROM path WHERE cache = ?1",
	[ST_STATUS_ERROR] = "SELECT substr(last_error, 1, 255), key"
			    " FROM asset"
			    " WHERE cache = ?1 AND state <> 'stored'"
			    " AND last_error IS NOT NULL"
			    " ORDER BY state = 'failed' DESC, id DESC LIMIT 1",

	[ST_TOKEN_INSERT] =
	    "INSERT INTO token (name, secret, scopes, created, expires, keys,"
	    " quota_day, quota_total) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"
	    " ON CONFLICT DO NOTHING",
	[ST_TOKEN_DELETE] = "DELETE FROM token WHERE name = ?1",
	[ST_TOKEN_FIND] =
	    "SELECT " TOKEN_COLUMNS " FROM token WHERE secret = ?1",
	[ST_TOKEN_USED] = "UPDATE token SET last_used = ?2 WHERE name = ?1",
	[ST_TOKEN_EACH] = "SELECT " TOKEN_COLUMNS " FROM token ORDER BY name",
	[ST_TOKEN_COUNT] =
	    "UPDATE token SET used_total = used_total + ?2, used_day ="
	    " ?2 + CASE WHEN day = ?3 THEN used_day ELSE 0 END, day = ?3"
	    " WHERE name = ?1",

	[ST_NAR_PUT] =
	    "INSERT OR REPLACE INTO nar (cache, key, verdict, why, compression,"
	    " nar_hash, nar_size, file_hash, refs, refs_complete, listing,"
	    " checked)"
	    " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
	[ST_NAR_GET] =
	    "SELECT verdict, why, compression, nar_hash, nar_size, file_hash,"
	    " refs, refs_complete FROM nar WHERE cache = ?1 AND key = ?2",
	[ST_LISTING_GET] =
	    "SELECT n.listing FROM path AS p JOIN nar AS n"
	    " ON n.cache = p.cache AND n.key = p.nar_key"
	    " WHERE p.cache = ?1 AND p.hash_part = ?2"
	    " AND n.nar_hash = p.nar_hash AND n.listing IS NOT NULL",
	[ST_PATH_KNOWN] =
	    "SELECT 1 FROM path WHERE cache = ?1 AND hash_part = ?2",
	[ST_PATH_NEXT] =
	    "SELECT p.hash_part, p.narinfo, n.verdict IS 0"
	    "  AND n.nar_hash = p.nar_hash AND n.nar_size = p.nar_size"
	    " FROM path AS p LEFT JOIN nar AS n"
	    " ON n.cache = p.cache AND n.key = p.nar_key"
	    " WHERE p.cache = ?1 AND p.hash_part > ?2"
	    " ORDER BY p.hash_part LIMIT 1",
	[ST_AUDIT_INSERT] =
	    "INSERT INTO audit (time, cache, key, token, address, size, what)"
	    " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
	[ST_AUDIT_EACH] =
	    "SELECT time, cache, key, token, address, size, what FROM ("
	    "SELECT * FROM audit WHERE (?1 IS NULL OR token = ?1)"
	    " AND time >= ?2 ORDER BY id DESC LIMIT ?3) ORDER BY id",
};

struct index *
index_open(const char *state_dir, enum index_mode mode)
{
	char path[4096];
	struct index *ix;
	int n;

	n = snprintf(path, sizeof(path), "%s/index.db", state_dir);
	if (n < 0 || (size_t)n >= sizeof(path)) {
		log_warnx("index: state_dir is too long");
		return NULL;
	}
	if ((ix = calloc(1, sizeof(*ix))) == NULL)
		return NULL;
	if ((ix->db = db_open(path, mode == INDEX_WRITE)) == NULL ||
	    db_migrate(ix->db, migrations,
		sizeof(migrations) / sizeof(migrations[0])) == -1) {
		index_close(ix);
		return NULL;
	}
	return ix;
}

void
index_close(struct index *ix)
{
	if (ix == NULL)
		return;
	db_close(ix->db);
	free(ix);
}

sqlite3_stmt *
index_stmt(struct index *ix, enum statement which)
{
	if (ix->st[which] == NULL)
		ix->st[which] = db_prepare(ix->db, sql[which]);
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
	return index_run(ix, st);
}

/* index_asset_put inside its transaction. */
static enum index_put
asset_put(struct index *ix, const char *cache, const struct asset_new *a,
    int64_t now, char old[64])
{
	struct asset_row row;

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
	/* A PUT of what the store refused before is a new try. */
	if (digest_equal(&row.sha256, &a->sha256) &&
	    row.state != ASSET_FAILED) {
		snprintf(old, 64, "%s", a->spool);
		return INDEX_SAME;
	}
	snprintf(old, 64, "%s", row.spool);
	return asset_replace(ix, cache, a, now) == 0 ? INDEX_REPLACED
						     : INDEX_ERROR;
}

/* End a transaction as its result asks: only a change is committed. */
static enum index_put
finish(struct index *ix, enum index_put rc)
{
	bool change = rc == INDEX_CREATED || rc == INDEX_REPLACED;

	if (ix->audit != NULL && (change || rc == INDEX_SAME)) {
		change = true;
		if (index_audit_insert(ix, rc) == -1)
			rc = INDEX_ERROR;
	}
	if (change && rc != INDEX_ERROR && db_commit(ix->db) == -1)
		rc = INDEX_ERROR;
	db_rollback(ix->db);
	return rc;
}

enum index_put
index_asset_put(struct index *ix, const char *cache, const struct asset_new *a,
    int64_t now, char old[64])
{
	old[0] = '\0';
	if (db_begin(ix->db) == -1)
		return INDEX_ERROR;
	return finish(ix, asset_put(ix, cache, a, now, old));
}

/* The narinfo a path has, NULL when there is none; *rc -1 on failure. */
static struct narinfo *
path_get(struct index *ix, const char *cache, const struct hash_part *hp,
    const char *store_dir, int *rc)
{
	struct narinfo *ni = NULL;
	char err[256];
	struct buf text = BUF_INIT;

	*rc = index_narinfo_get(ix, cache, hp->s, &text, NULL);
	if (*rc == 1 &&
	    (ni = narinfo_parse(
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
    const struct narinfo *ni, int64_t now)
{
	struct buf text = BUF_INIT;
	char key[KEY_MAX + 1];
	struct asset_new a;
	sqlite3_stmt *st;
	enum index_put rc = INDEX_ERROR;
	int merged, failed;

	if (!narinfo_same(old, ni))
		return INDEX_CONFLICT;
	if ((merged = narinfo_merge_sigs(old, ni)) == -1 ||
	    (failed = narinfo_failed(ix, cache, old)) == -1)
		return INDEX_ERROR;
	/* As in asset_put: a PUT of what the store refused is a new try. */
	if (!merged && !failed)
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

/* index_narinfo_put inside its transaction. */
static enum index_put
narinfo_put(struct index *ix, const char *cache, struct narinfo *ni,
    const char *store_dir, int64_t now, uint64_t *nar_size)
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
	put = old == NULL ? narinfo_create(ix, cache, ni, now)
			  : narinfo_update(ix, cache, old, ni, now);
	narinfo_free(old);
	return put;
}

enum index_put
index_narinfo_put(struct index *ix, const char *cache, struct narinfo *ni,
    const char *store_dir, int64_t now, uint64_t *nar_size)
{
	*nar_size = 0;
	if (db_begin(ix->db) == -1)
		return INDEX_ERROR;
	return finish(ix, narinfo_put(ix, cache, ni, store_dir, now, nar_size));
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
	}
	index_done(st);
	return rc;
}

/* Is (name, value) what meta says?  Sets it when nothing does. */
static int
meta_pin(
    struct index *ix, const char *name, const char *value, struct buf *actual)
{
	sqlite3_stmt *st;
	int rc;

	if ((st = index_stmt(ix, ST_META_GET)) == NULL)
		return -1;
	index_bind_text(st, 1, name);
	if ((rc = db_step(ix->db, st)) == 1)
		buf_adds(actual, (const char *)sqlite3_column_text(st, 0));
	index_done(st);
	if (rc != 0)
		return rc == -1 ? -1 : strcmp(buf_str(actual), value) == 0;
	if ((st = index_stmt(ix, ST_META_SET)) == NULL)
		return -1;
	index_bind_text(st, 1, name);
	index_bind_text(st, 2, value);
	return index_run(ix, st) == -1 ? -1 : 1;
}

int
index_pin_store_dir(struct index *ix, const char *cache, const char *store_dir,
    struct buf *actual)
{
	char name[64];
	int rc;

	snprintf(name, sizeof(name), "store_dir.%s", cache);
	if (db_begin(ix->db) == -1)
		return -1;
	rc = meta_pin(ix, name, store_dir, actual);
	if (rc == 1 && db_commit(ix->db) == -1)
		rc = -1;
	db_rollback(ix->db);
	return rc;
}

int
index_status(struct index *ix, const char *cache, struct index_status *stat)
{
	sqlite3_stmt *st;
	enum asset_state s;
	int64_t oldest;
	int rc;

	memset(stat, 0, sizeof(*stat));
	if ((st = index_stmt(ix, ST_STATUS_ASSET)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	while ((rc = db_step(ix->db, st)) == 1) {
		s = index_column_state(st, 0);
		stat->state[s].count = (uint64_t)sqlite3_column_int64(st, 1);
		stat->state[s].bytes = (uint64_t)sqlite3_column_int64(st, 2);
		oldest = sqlite3_column_int64(st, 3);
		if (s != ASSET_STORED &&
		    (stat->oldest == 0 || oldest < stat->oldest))
			stat->oldest = oldest;
	}
	index_done(st);
	if (rc == -1 || (st = index_stmt(ix, ST_STATUS_PATH)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	if ((rc = db_step(ix->db, st)) == 1) {
		stat->paths = (uint64_t)sqlite3_column_int64(st, 0);
		stat->nar_bytes = (uint64_t)sqlite3_column_int64(st, 1);
	}
	index_done(st);
	if (rc == -1 || (st = index_stmt(ix, ST_STATUS_ERROR)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	if ((rc = db_step(ix->db, st)) == 1) {
		index_column_text(
		    st, 0, stat->last_error, sizeof(stat->last_error));
		index_column_text(
		    st, 1, stat->last_error_key, sizeof(stat->last_error_key));
	}
	index_done(st);
	return rc == -1 ? -1 : 0;
}
