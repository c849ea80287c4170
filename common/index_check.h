/*
 * The index as fsck sees it: rows with all that has to fit together, and what
 * mends them.  fsck.h is its user.
 *
 * Rows are read one at a time, in the order of their keys, so that no snapshot
 * stays open and nothing is kept in memory.  What changes a row names the state
 * it was seen in, and changes nothing when a program has changed it meanwhile.
 */
#ifndef INDEX_CHECK_H
#define INDEX_CHECK_H

#include "index.h"

/*
 * SQLite's own checks of the file and of its foreign keys, and the totals:
 * each is called with a sentence for everything found.  0.
 */
int index_check_file(
    struct index *ix, void (*each)(const char *what, void *arg), void *arg);
int index_check_totals(
    struct index *ix, void (*each)(const char *what, void *arg), void *arg);

struct index_check_asset {
	struct asset_row row;
	char owner[64];
	int64_t lease;
	int64_t next_attempt;
	int64_t missing; /* since when; 0: it is not */
	bool is_narinfo;
};

/* The object behind key ("": the first): 1 and *a, to be cleared by
 * index_asset_clear(&a->row), or 0. */
int index_check_asset_next(struct index *ix, const char *cache, const char *key,
    struct index_check_asset *a);

struct index_check_path {
	struct hash_part hash_part;
	struct buf narinfo;
	char store_path[512];
	char nar_key[KEY_MAX + 1];
	struct digest nar_hash;
	uint64_t nar_size;
	uint64_t file_size;
	bool has_asset; /* of the narinfo */
	bool stored; /* it */
	int64_t spoiled; /* its text was found to be, then; 0: it was not */
	uint64_t size;
	struct digest sha256;
	bool has_nar;
	uint64_t nar_file_size;
	int64_t missing; /* its NAR, since when */
	bool has_verdict;
	enum verdict verdict;
	struct digest verdict_hash;
	uint64_t verdict_size;
	struct buf references; /* hash parts, ascending, a LF behind each */
	size_t absent; /* of these are not here */
};

/* The same for paths: to be cleared. */
int index_check_path_next(struct index *ix, const char *cache,
    const char *hash_part, struct index_check_path *p);
void index_check_path_clear(struct index_check_path *p);

/* The path behind *at ("": the first) whose NAR is key: 1 with *at, or 0. */
int index_check_nar_path(
    struct index *ix, const char *cache, const char *key, struct hash_part *at);

/* What mends.  1 when it was done, 0 when the row has changed. */

/* The bytes of row are lost. */
int index_check_lost(struct index *ix, const struct asset_row *row, int64_t now,
    const char *why);
/*
 * The object is to be relayed again (ASSET_SPOOLED) or is stored, and what is
 * noted of failures and claims is forgotten.  owner: who has it claimed; NULL.
 */
int index_check_again(struct index *ix, const char *cache, const char *key,
    enum asset_state state, const char *owner);
/* The same for one that is stored and that nobody has claimed; url: where, NULL
 * when the row says that. */
int index_check_stored(
    struct index *ix, const char *cache, const char *key, const char *url);
/* Count the totals anew. */
int index_check_recount(struct index *ix);
/* Verdicts and references that belong to nothing. */
int index_check_strays(struct index *ix);
/* Enter the path, its references and its narinfo (to be relayed) as this text
 * has them; with stored set, as one that the store has. */
int index_check_enter_path(struct index *ix, const char *cache,
    const struct narinfo *ni, const struct buf *text, bool stored, int64_t now);
/* Forget the path and its narinfo: it can be sent again. */
int index_check_forget(
    struct index *ix, const char *cache, const struct hash_part *hp);
/* Enter an object that the store has; what is there already stays. */
int index_check_enter(struct index *ix, const char *cache,
    const struct asset_new *a, int64_t now);

/* An object of a store: a narinfo with its text, whose NAR was entered. */
struct index_check_new {
	struct asset_new a;
	const struct narinfo *ni; /* NULL: another object */
	const struct buf *text;
};
/* The same for n of them in one transaction. */
int index_check_enter_all(struct index *ix, const char *cache,
    const struct index_check_new *all, size_t n, int64_t now);

#endif
