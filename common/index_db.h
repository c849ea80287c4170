/*
 * What the parts of the index share: the connection, the statements, binding.
 * For index.c and index_*.c only.
 */
#ifndef INDEX_DB_H
#define INDEX_DB_H

#include "db.h"
#include "index.h"

enum statement {
	ST_ASSET_GET,
	ST_ASSET_INSERT,
	ST_ASSET_REPLACE,
	ST_REALISATION_SET,
	ST_REALISATION_GET,
	ST_PATH_GET,
	ST_PATH_INSERT,
	ST_PATH_TEXT,
	ST_PATH_HEAL,
	ST_SPOILED_GET,
	ST_SPOILED_SET,
	ST_SPOILED_COUNT,
	ST_REFERENCE_INSERT,
	ST_ASSET_IMPORT,
	ST_CLOSURE,
	ST_META_GET,
	ST_META_SET,
	ST_CLAIM_OBJECT,
	ST_CLAIM_NARINFO,
	ST_CLAIM_NEW,
	ST_NEWEST,
	ST_FREED_BY_NAR,
	ST_FREED_BY_NARINFO,
	ST_CLAIM_KEY,
	ST_CLAIM_ID,
	ST_WAITING_EDGES,
	ST_CLAIM_DUE,
	ST_CLAIM_SET,
	ST_STORED,
	ST_UNCLAIM,
	ST_UNCLAIM_REPLACED,
	ST_AHEAD,
	ST_RECALL,
	ST_EXPIRED,
	ST_EXPIRE,
	ST_RELEASE,
	ST_RENEW,
	ST_RETRY,
	ST_RETRY_KEY,
	ST_SPOOL_BYTES,
	ST_ASSET_ERROR,
	ST_WAITING_EACH,
	ST_SPOOL_USED,
	ST_SPOOL_FIND,
	ST_SPOOL_AGAIN,
	ST_NAR_STORED,
	ST_STATUS_TOTAL,
	ST_STATUS_UNSIGNED,
	ST_STATUS_OLDEST,
	ST_STATUS_ERROR,
	ST_TOKEN_INSERT,
	ST_TOKEN_DELETE,
	ST_TOKEN_FIND,
	ST_TOKEN_USED,
	ST_TOKEN_COST,
	ST_TOKEN_EACH,
	ST_TOKEN_COUNT,
	ST_TOKEN_KNOWN,
	ST_PUSHER_NAME,
	ST_NAR_PUT,
	ST_NAR_GET,
	ST_LISTING_GET,
	ST_HASH_PARTS,
	ST_PATH_KNOWN,
	ST_PATH_UNSIGNED,
	ST_PATH_NEXT,
	ST_AUDIT_INSERT,
	ST_AUDIT_SAME,
	ST_AUDIT_EACH,
	ST_AUDIT_TOKEN,
	ST_CHECK_FILE,
	ST_CHECK_QUICK,
	ST_CHECK_FOREIGN,
	ST_CHECK_TOTAL,
	ST_CHECK_ASSET,
	ST_CHECK_PATH,
	ST_CHECK_REFERENCE,
	ST_CHECK_NAR_PATH,
	ST_LOST_SET,
	ST_LOST_COUNT,
	ST_LOST_PATH,
	ST_AGAIN,
	ST_TOTAL_CLEAR,
	ST_TOTAL_ASSET,
	ST_TOTAL_PATH,
	ST_REFERENCE_DELETE,
	ST_PATH_DELETE,
	ST_ASSET_DELETE,
	ST_NAR_ORPHAN,
	ST_REALISATION_ORPHAN,
	ST_REFERENCE_ORPHAN,
	ST_FSCK_GET,
	ST_FSCK_PUT,
	ST_FINDING_FORGET,
	ST_FINDING_PUT,
	ST_FINDING_EACH,
	ST_MAX
};

/* Every SQL text there is (index_sql.c): the migrations, and by statement. */
extern const char *const index_migrations[];
extern const size_t index_nmigrations;
extern const char *const index_sql[ST_MAX];

/*
 * Which narinfos may go.  What became stored here frees those that reference
 * it, or whose NAR it is; new ones are looked at once, when they come.  So most
 * are found without a look at all that wait.
 *
 * That look finds what others freed, or what failed and is tried again.  Next
 * time it begins behind *after, where the last one found some.  While there is
 * something else to do it is not made before this thread's time (clock_cpu_us)
 * busy_until; when it found nothing, not before the time (clock_ms) none_until.
 */
#define INDEX_FREED_MAX ((size_t)1024)
struct index_look {
	int64_t stored[INDEX_CLAIM_MAX]; /* since the last claim */
	size_t nstored;
	int64_t freed[INDEX_FREED_MAX]; /* waited for these; the last first */
	size_t nfreed;
	bool begun; /* newest is set */
	int64_t newest; /* id: those behind it were not looked at */
	int64_t after_attempt;
	int64_t after_id;
	unsigned int looks;
	int64_t busy_until;
	int64_t none_until;
};

struct index {
	struct db *db;
	const struct index_audit *audit; /* for the next put, or NULL */
	struct index_look look;
	sqlite3_stmt *st[ST_MAX];
};

/*
 * The statement, prepared at its first use; NULL when that failed.  Whoever
 * used one hands it to index_done, which resets and unbinds it: no statement
 * keeps a snapshot open or a pointer that is no longer good.
 */
sqlite3_stmt *index_stmt(struct index *ix, enum statement which);
void index_done(sqlite3_stmt *st);

/* Bind from 1 on.  NULL text binds NULL; the caller's memory is used. */
void index_bind_text(sqlite3_stmt *st, int at, const char *s);
void index_bind_digest(sqlite3_stmt *st, int at, const struct digest *d);

/* Step a statement that returns nothing, and be done with it: 0 or -1. */
int index_run(struct index *ix, sqlite3_stmt *st);

/* Column at as a C string of less than size bytes: "" when NULL or longer. */
void index_column_text(sqlite3_stmt *st, int at, char *out, size_t size);
enum asset_state index_column_state(sqlite3_stmt *st, int at);
void index_column_digest(sqlite3_stmt *st, int at, struct digest *d);

/* Has a narinfo's text the digest in column at, which may be NULL? */
bool index_text_whole(sqlite3_stmt *st, int at, const void *text, size_t size);

/* Rows of a path and of its references; on path, errors by a conflict. */
int index_path_insert(struct index *ix, const char *cache,
    const struct narinfo *ni, const char *text, int64_t now);
int index_references_insert(
    struct index *ix, const char *cache, const struct narinfo *ni);

/* Enter an object (a narinfo: with its hash part) that the store has, if it is
 * not here yet: 0 or -1. */
int index_asset_import(struct index *ix, const char *cache,
    const struct asset_new *a, const char *hash_part, int64_t now);

/* The columns ASSET_COLUMNS of index_sql.c into *row. */
int index_column_asset(sqlite3_stmt *st, struct asset_row *row);

/*
 * Among the narinfos of a cache that wait for each other alone: the ids of some
 * that may go, max at most, *n of them.  0 or -1.  Reads only; what it takes is
 * bounded, and linear in the references that wait.
 */
int index_cycle_find(struct index *ix, const char *cache, int64_t now,
    int64_t *ids, size_t max, size_t *n);

/*
 * The row of ix->audit, inside the put's transaction, which is at put: the put,
 * INDEX_QUOTA or INDEX_ERROR.  *change is set when something was written.
 */
enum index_put index_audit_insert(
    struct index *ix, enum index_put put, bool *change);

#endif
