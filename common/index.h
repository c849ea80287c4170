/*
 * The index: which objects a cache holds, where their bytes are, and who may
 * write.  The only module that knows SQL; a backend other than SQLite would
 * stand behind this header.
 *
 * One file, state_dir/index.db, in WAL mode, shared by all programs.  Tables:
 *
 *   asset      (cache, key): every object; state spooled, relaying, stored or
 *              failed, size, digest, where its bytes are
 *   path       (cache, hash part): what a narinfo says, and its text as served
 *   reference  (cache, hash part) -> referenced hash part
 *   token      who may push, pull, ask for derivations, administer
 *   pusher     id -> name of every token there ever was, for asset.pusher
 *   realisation  (cache, key) -> its text
 *   nar        (cache, key) -> what was found out about that NAR's contents
 *   audit      who sent what, when and from where
 *   meta       facts about the whole index, such as its store directory
 *   total      how many objects in each state, and paths; triggers keep it
 *   fsck       how far each kind of check is (index_fsck.h)
 *   finding    what a check found wrong, until one finds it mended
 *
 * A narinfo's bytes are path.narinfo: they are as durable as the index, so a
 * narinfo has no spool file.  Every other object that is not stored yet has
 * one, named in asset.spool.
 *
 * INVARIANT I2: a path row exists only with the asset row of its NAR.
 * INVARIANT I5: asset.spool is set to NULL only in the transaction that says
 * stored; spool files are deleted by whoever ran it, afterwards.
 * INVARIANT I6: index_narinfo_put never changes what a path means.
 * INVARIANT I8: no call here leaves a transaction open; readers use the WAL's
 * snapshots and wait for nobody.
 *
 * A struct index is one connection and belongs to one thread.  Functions that
 * return int: -1 means the database failed (logged here, with the statement);
 * other values are said at each.  Strings in rows that a call filled belong to
 * the row; index_asset_clear frees them.  Times are seconds since the epoch.
 */
#ifndef INDEX_H
#define INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "hash.h"
#include "key.h"
#include "narinfo.h"
#include "storepath.h"
#include "verify.h"

struct index;

/* INDEX_WRITE: commits survive a power cut (synchronous=FULL).  The others
 * survive kill -9 only, which is enough for tokens' last use and the like. */
enum index_mode { INDEX_READ, INDEX_WRITE };

/*
 * Open, make or migrate the index file under state_dir.  NULL when it can't be
 * had or is newer than this program (logged).
 */
struct index *index_open(const char *state_dir, enum index_mode mode);

/*
 * The index file under state_dir is this process's from now on: index_open
 * takes no other and makes no new one in its place (logged once).  A thread
 * that opens it late is so kept from what the others have noticed: index_moved.
 * Before there are threads.  0, or -1 when there is none (logged).
 */
int index_keep(const char *state_dir);
/* The same for one that is there and needs nothing; NULL otherwise. */
struct index *index_open_as_is(const char *state_dir);
/* The same, for one that is only read: nothing in it can be changed. */
struct index *index_open_read(const char *state_dir);
/* Is the file that is there a database?  (Not: is all of it whole.)  Logged. */
bool index_opens(const char *state_dir);
void index_close(struct index *ix);
/*
 * The same for the last of a program that stops: where the index is as a clean
 * stop left it (clean.h), it stays so, though closing may write.
 */
void index_close_clean(struct index *ix, const char *state_dir);

/* Was the file replaced or removed?  Then nothing can be written, and what is
 * read is of another time. */
bool index_moved(struct index *ix);

/*
 * SQLite's look at the whole file (quick_check): 1 when it is whole, 0 with
 * what was found appended to what.  It reads all of it.
 */
int index_quick_check(struct index *ix, struct buf *what);

/*
 * The paths of a cache are of one store directory for ever: 1 when it is
 * store_dir (noted at the first call), 0 with the one it is in *actual.
 */
int index_pin_store_dir(struct index *ix, const char *cache,
    const char *store_dir, struct buf *actual);
/* Which one it is, appended to text: 1, or 0 when none was noted. */
int index_store_dir_get(struct index *ix, const char *cache, struct buf *text);

/*
 * What the caller calls the asset store of a cache (one line): what was noted
 * last is appended to text.  1, or 0 when nothing was.
 */
int index_store_get(struct index *ix, const char *cache, struct buf *text);
/* Note it: 0. */
int index_store_set(struct index *ix, const char *cache, const char *text);

/* Assets ---------------------------------------------------------------- */

enum asset_state {
	ASSET_SPOOLED,
	ASSET_RELAYING,
	ASSET_STORED,
	ASSET_FAILED,
};

struct asset_row {
	int64_t id;
	char key[KEY_MAX + 1];
	enum asset_state state;
	uint64_t size;
	struct digest sha256;
	char spool[64]; /* spool file's name; "" when there is none */
	char *url; /* where the store has it; NULL for the file store */
	int64_t created;
	int64_t attempts;
	int64_t pusher; /* the id of the token whose it is; 0: nobody's */
};

void index_asset_clear(struct asset_row *row);

/* 1 and *row when there is such an object, 0 when not. */
int index_asset_get(struct index *ix, const char *cache, const char *key,
    struct asset_row *row);

struct asset_new {
	const char *key;
	const char *url; /* where a store on the network has it already */
	uint64_t size;
	struct digest sha256;
	const char *content_type;
	const char *spool; /* the committed spool file */
	int64_t pusher; /* the token's id; 0: none sends it */
	bool keep; /* other bytes that are not pusher's: INDEX_CONFLICT */
	/* These bytes alone may be replaced, whose ever they are: else
	 * INDEX_CONFLICT.  NULL: as keep says. */
	const struct digest *over;
	const char *text; /* a realisation: index_realisation_get; or NULL */
	bool anew; /* to be stored once more, even if the bytes are the same */
};

enum index_put {
	INDEX_CREATED,
	INDEX_SAME, /* was there with the same bytes: unchanged */
	INDEX_REPLACED, /* other bytes under the key now, or asset_new's anew */
	INDEX_CONFLICT, /* narinfo: other meaning; else asset_new's keep */
	INDEX_NO_NAR, /* narinfo: its NAR is not here */
	INDEX_BAD_SIZE, /* narinfo: FileSize is not the NAR's */
	INDEX_QUOTA, /* over its token's quota (index_audit_next) */
	INDEX_ERROR = -1,
};

/*
 * Enter an object as spooled.  old (64 bytes) receives the name of a spool
 * file that is nobody's now, "" when there is none: on CREATED and REPLACED
 * the one the row named before, on SAME the new one.
 */
enum index_put index_asset_put(struct index *ix, const char *cache,
    const struct asset_new *a, int64_t now, char old[64]);

/*
 * Enter a narinfo as spooled: its asset row, path and references in one
 * transaction.  The NAR's asset must be there with ni's digest; a missing
 * FileSize is filled in.  Equal meaning (narinfo_same) merges the signatures
 * that rank says are worth something into the one that was there and keeps
 * everything else of it: SAME when none was new, REPLACED otherwise.  What was
 * there and is over narinfo.h's limits is brought within them: REPLACED.
 * Where the text that was there is spoiled (index_narinfo_get) ni takes its
 * place, if it means what the columns of the path and its references say:
 * REPLACED.  With INDEX_BAD_SIZE, *nar_size is the NAR's size.
 */
enum index_put index_narinfo_put(struct index *ix, const char *cache,
    struct narinfo *ni, const struct sig_rank *rank, const char *store_dir,
    int64_t now, uint64_t *nar_size);

/*
 * The text of a path's narinfo as served: 1 and appended to text (NULL: don't),
 * 0 when unknown.  *size is the length in both cases of 1.  INDEX_SPOILED when
 * the text has another digest than its row says, and so is not what was
 * written (not looked at with text NULL).
 */
#define INDEX_SPOILED 2
int index_narinfo_get(struct index *ix, const char *cache,
    const char *hash_part, struct buf *text, size_t *size);

/* What an object was entered with as asset_new's text, appended to text: 1, or
 * 0 when there is none. */
int index_realisation_get(
    struct index *ix, const char *cache, const char *key, struct buf *text);
/*
 * Note that the narinfo of this path was found to be spoiled, for tmpnix status
 * and fsck (now 0: that it isn't).  Writes only when that is news.  0.
 */
int index_spoiled_note(
    struct index *ix, const char *cache, const char *hash_part, int64_t now);

/* Imported paths --------------------------------------------------------- */

/*
 * Enter n paths whose NARs and narinfos are in the asset store already, by the
 * store's own means: assets (stored), paths and references, all in one
 * transaction.  FileSize must be known.  What is there already stays as it is.
 * Returns 0.
 */
int index_import(struct index *ix, const char *cache,
    struct narinfo *const *paths, size_t n, int64_t now);

struct index_closure {
	uint64_t count;
	uint64_t nar_bytes; /* sum of NarSize */
	char (*hash_parts)[HASH_PART_LEN + 1]; /* ascending */
};

/*
 * The closure of a path: itself and all it references, directly or not, as far
 * as it is here.  1; 0 when the path is not here or one it references is not.
 * hash_parts is to be freed by index_closure_clear.
 */
int index_closure(struct index *ix, const char *cache, const char *hash_part,
    struct index_closure *c);
void index_closure_clear(struct index_closure *c);

/* Work done for a token: bytes that its NARs and encoded bodies unpacked to,
 * and microseconds of a processor. */
struct token_cost {
	uint64_t unpacked;
	uint64_t cpu_us;
};

/* NARs ------------------------------------------------------------------- */

/* Note what was found out about the NAR key, whose asset is there. */
int index_nar_put(struct index *ix, const char *cache, const char *key,
    const struct verified *v, int64_t now);
/* The same, and in the same transaction what a token has cost besides. */
int index_nar_put_cost(struct index *ix, const char *cache, const char *key,
    const struct verified *v, int64_t now, const char *token,
    const struct token_cost *cost);

/* 1 and *v (without the listing), to be cleared; 0 when nothing is known. */
int index_nar_get(
    struct index *ix, const char *cache, const char *key, struct verified *v);

/*
 * Call each for the paths that came behind *after (0: all), which is moved on.
 * -1 too when each returns non-zero.
 */
int index_hash_parts(struct index *ix, const char *cache, int64_t *after,
    int (*each)(const char *hash_part, void *arg), void *arg);

/* The listing of a path's NAR: 1 and appended to text, 0 when there is none. */
int index_listing_get(struct index *ix, const char *cache,
    const char *hash_part, struct buf *text);

/* Is there such a path?  1, or 0. */
int index_path_known(
    struct index *ix, const char *cache, const char *hash_part);

/* Is the NAR of this path known to be lost?  1, or 0. */
int index_path_lost(struct index *ix, const char *cache, const char *hash_part);

/*
 * Can no reader use this path, since nobody signed it and it is not addressed
 * by its content?  1, or 0, also when it is not here.
 */
int index_path_unsigned(
    struct index *ix, const char *cache, const char *hash_part);

/*
 * The path behind *at in the order of hash parts ("" is before the first): 1
 * with *at moved on and its narinfo appended; *verified: its NAR was found to
 * be what the narinfo says.  0 when there is none.  INDEX_SPOILED as
 * index_narinfo_get, with all else as with 1.
 */
int index_path_next(struct index *ix, const char *cache, struct hash_part *at,
    struct buf *narinfo, bool *verified);

/* Relay ----------------------------------------------------------------- */

/*
 * Claim up to max rows for owner (an instance's id) until now + lease: spooled
 * ones whose time has come, NARs and other objects first, a narinfo only when
 * its NAR and all narinfos it references are stored (I4).  Itself is excepted,
 * and so are narinfos that reference each other: they go, the oldest first,
 * once all their NARs and all else they lead to are stored.  *n rows are
 * filled, INDEX_CLAIM_MAX at most, state RELAYING.  Returns 0.
 *
 * What may go is looked for before the writer's lock is taken.  Narinfos that
 * can't go are not looked at again at each call when there are very many; those
 * that a row of index_stored freed are known without, on this connection.
 */
#define INDEX_CLAIM_MAX ((size_t)64)
int index_claim(struct index *ix, const char *cache, const char *owner,
    int64_t now, int64_t lease, struct asset_row *rows, size_t max, size_t *n);

/* The same for the object key alone, when it may go: *n is 0 or 1. */
int index_claim_key(struct index *ix, const char *cache, const char *key,
    const char *owner, int64_t now, int64_t lease, struct asset_row *row,
    size_t *n);

/*
 * In one transaction: rows (claimed by owner) are stored.  A row whose bytes
 * were replaced meanwhile is spooled again.  done[i] says whether row i is
 * stored now; its spool file may go.  url may be NULL.  Returns 0.
 */
int index_stored(struct index *ix, const char *owner,
    const struct asset_row *rows, size_t n, bool *done);

/*
 * What is spooled and not to be tried before from (or later) is to be tried
 * from now on; INDEX_RECALL_MAX of them at most: how many.
 */
#define INDEX_RECALL_MAX 1000
int index_recall(
    struct index *ix, const char *cache, int64_t now, int64_t from);

/* Give row back: spooled again from retry_at on, or failed when permanent. */
int index_unclaim(struct index *ix, const char *owner,
    const struct asset_row *row, const char *why, int64_t retry_at,
    bool permanent);

/* All claims of owner return to spooled. */
int index_release(struct index *ix, const char *owner);

/* All claims of owner hold until lease. */
int index_renew(struct index *ix, const char *owner, int64_t lease);

/*
 * Start over with an object that failed or waits for its next attempt, or with
 * all of them (key NULL): how many there were.
 */
int index_retry(struct index *ix, const char *cache, const char *key);

/* What the last attempt on an object failed with, appended to why: 1, or 0
 * when there is no such object. */
int index_asset_error(
    struct index *ix, const char *cache, const char *key, struct buf *why);

/* An object that is not stored. */
struct index_waiting {
	char key[KEY_MAX + 1];
	enum asset_state state;
	int64_t next_attempt; /* spooled: not before then; may be past */
	char why[256]; /* the last attempt's failure; "" */
};

/*
 * Call each for at most max of them, those that failed first, then by their
 * time.  Stops when it returns non-zero.
 */
int index_waiting_each(struct index *ix, const char *cache, uint64_t max,
    int (*each)(const struct index_waiting *w, void *arg), void *arg);

/*
 * Call act while the object is spooled and nobody can claim it.  Its state: act
 * was called if that is ASSET_SPOOLED.  -1 too when there is no such object.
 * Nothing is written.
 */
int index_while_spooled(struct index *ix, const char *cache, const char *key,
    void (*act)(void *arg), void *arg);

/* Bytes of all that has a spool file: 0. */
int index_spool_bytes(struct index *ix, uint64_t *bytes);

/* Is a spool file named by any row?  1, or 0. */
int index_spool_used(struct index *ix, const char *name);

/* What the row that names a spool file says of it: 1, or 0 when none does. */
int index_spool_find(
    struct index *ix, const char *name, struct digest *d, uint64_t *size);

/* The spool file is there again: if its row failed, it starts over.  0. */
int index_spool_again(struct index *ix, const char *name);

/* Is a NAR of these bytes stored?  1, or 0. */
int index_nar_stored(struct index *ix, const char *cache,
    const struct digest *sha256, uint64_t size);

/* Status ---------------------------------------------------------------- */

struct index_status {
	struct {
		uint64_t count;
		uint64_t bytes;
	} state[4]; /* by enum asset_state */
	uint64_t paths;
	uint64_t nar_bytes; /* sum of NarSize */
	uint64_t unsigned_paths; /* as index_path_unsigned has it */
	uint64_t missing; /* of the failed ones: their bytes are lost */
	uint64_t spoiled; /* narinfos that index_spoiled_note knows of */
	int64_t oldest; /* created of the oldest not stored; 0: none */
	char last_error[256]; /* "" when there is none */
	char last_error_key[KEY_MAX + 1];
};

int index_status(struct index *ix, const char *cache, struct index_status *st);

/* Tokens ---------------------------------------------------------------- */

#define SCOPE_PUSH 1u
#define SCOPE_PULL 2u
#define SCOPE_DRV 4u
#define SCOPE_ADMIN 8u

#define TOKEN_NAME_MAX 64
/* Public keys a token is bound to, separated by spaces. */
#define TOKEN_KEYS_MAX 1023

struct token {
	char name[TOKEN_NAME_MAX + 1];
	struct digest secret; /* SHA-256 of the secret */
	unsigned int scopes;
	int64_t created;
	int64_t expires; /* 0: never */
	int64_t last_used; /* 0: never; to the minute */
	char keys[TOKEN_KEYS_MAX + 1]; /* "": not bound to any */
	int64_t quota_day; /* bytes it may push a day (UTC); 0: no limit */
	int64_t quota_total; /* and in total */
	/* Kept by the index; index_token_add begins with 0. */
	int64_t id; /* no other's, also when this one is gone */
	int64_t used_total;
	int64_t used_day; /* in the day `day`, see token_used_today */
	int64_t day;
	/* What it has cost since cost_since: see token_cost. */
	int64_t unpacked;
	int64_t cpu_us;
	int64_t cost_since;
};

/* Bytes t pushed on the day (UTC) now is in. */
int64_t token_used_today(const struct token *t, int64_t now);

/* 1 when added, 0 when the name is taken. */
int index_token_add(struct index *ix, const struct token *t);
/* 1 when removed, 0 when there is none of that name. */
int index_token_remove(struct index *ix, const char *name);
/* 1 and *t when a token has this digest of its secret, 0 when none. */
int index_token_find(
    struct index *ix, const struct digest *secret, struct token *t);
/* The name of the token with this id, there or gone, appended to name: 1, or 0
 * when there never was one. */
int index_pusher_name(struct index *ix, int64_t id, struct buf *name);
/* Note a use and what t has cost besides: 1, or 0 when the last use that was
 * noted is not a minute old. */
int index_token_used(struct index *ix, const struct token *t, int64_t now,
    const struct token_cost *cost);
/* Note what a token (one that was removed: nothing) has cost besides: 0. */
int index_token_cost(
    struct index *ix, const char *name, const struct token_cost *cost);
/* Call each for all, by name; stops when it returns non-zero. */
int index_token_each(
    struct index *ix, int (*each)(const struct token *t, void *arg), void *arg);

/* Audit ------------------------------------------------------------------ */

struct index_audit {
	int64_t time;
	const char *cache;
	const char *key;
	const char *token;
	const char *address;
	uint64_t size;
	const char *what; /* read only: "new", "changed" or "same" */
};

/*
 * The next index_asset_put or index_narinfo_put that enters something, or
 * finds it there, adds a row for it in the same transaction (of what was there,
 * one a day and token), and what was not there counts for the token; when that
 * takes it over a quota nothing is entered: INDEX_QUOTA.  *a stays the caller's
 * until index_audit_next is called again, with NULL for no more.
 */
void index_audit_next(struct index *ix, const struct index_audit *a);

/*
 * Call each for the last max rows, the oldest first: of one token (NULL: all),
 * not before since.  Stops when it returns non-zero.
 */
int index_audit_each(struct index *ix, const char *token, int64_t since,
    uint64_t max, int (*each)(const struct index_audit *a, void *arg),
    void *arg);

#endif
