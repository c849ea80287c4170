/*
 * fsck: whether the index, the spool and the asset store fit together, and what
 * mends them when they don't.
 *
 * It runs beside the programs.  It reads a row at a time; what looks wrong is
 * looked at again before it is called so, since a program may have moved or
 * replaced it meanwhile.  Without repair nothing is changed, and the index may
 * be one of index_open_read.
 *
 * One thread a struct fsck.
 */
#ifndef FSCK_H
#define FSCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "asset.h"
#include "conf.h"
#include "index.h"
#include "index_fsck.h"
#include "spool.h"

/* What an object costs at least, for the rate and the work: a seek. */
#define FSCK_OBJECT_COST ((uint64_t)4096)
/* Whoever scrubs each day has read everything after so many; a day's work is
 * this at least. */
#define FSCK_SCRUB_DAYS 28
#define FSCK_SCRUB_MIN ((uint64_t)64 << 20)

enum fsck_state {
	FSCK_NOTE, /* worth knowing, nothing is wrong */
	FSCK_OPEN, /* wrong */
	FSCK_REPAIRED,
};

struct fsck_finding {
	const char *cache;
	const char *key; /* an object's, a file's name, or "" */
	const char *kind; /* one word or two with "-": for programs */
	const char *what; /* a sentence */
	enum fsck_state state;
};

struct fsck_note;
struct fsck_place;

struct fsck {
	const struct conf *conf;
	struct index *ix;
	struct asset_store *store; /* of the cache at hand */
	struct spool_dir *spool;
	int spool_fd; /* the spool's directory */
	int state_fd; /* state_dir */
	int files_fd; /* rebuild: the directory it reads */
	const char *cache;
	bool bytes, verify, repair;
	bool scrub; /* a part that is due today */
	bool resume; /* go on where the last such check was ended */
	uint64_t sample; /* percent of the objects, by day; 100: all */
	uint64_t rate; /* bytes a second; 0: no limit */
	int64_t now;
	/* Called for all that is found. */
	void (*found)(const struct fsck_finding *f, void *arg);
	/* Called after each object, and while one is read; true ends the check,
	 * and *stop is set then. */
	bool (*over)(
	    struct fsck *c, const char *phase, const char *key, void *arg);
	void *arg;
	const atomic_bool *stop;
	uint64_t objects, read, notes, problems, repaired, unknown;
	int64_t started_ms;
	uint64_t paid; /* bytes that the rate has counted */
	uint64_t work, total; /* done and to be done, as if it were bytes */
	/* fsck_check's own. */
	struct index *keep; /* where it keeps how far it is; NULL: nowhere */
	int lock;
	struct index_fsck row; /* as it is to be noted */
	const char *phase;
	bool cut; /* told to end while an object was looked at */
	bool enough; /* what was due is done */
	uint64_t due; /* work */
	uint64_t work_before, bad_before,
	    unknown_before; /* of the runs before this one */
	int64_t noted_ms;
	char noted_at[KEY_MAX + 1];
	struct fsck_note *first, **last; /* findings to be noted */
	/* Files of the spool, by size. */
	struct fsck_place *places;
	size_t nplaces, places_cap;
	int64_t places_ms;
	size_t taken, kept; /* by fsck_rebuild_spool */
	unsigned int silent; /* objects since the store said something */
};

/*
 * Everything, or what is due, in this order: the index file, the spool, and of
 * each cache objects, paths and files.  What was done and found is kept in the
 * index if it can be (fsck_keep).  0, 1 when over() said so, or -1 when
 * it could not be checked.
 */
int fsck_check(struct fsck *c);
/*
 * Keep what is done: 0, also when that can't be (whoever reads only); -1 when a
 * check of this kind runs already.  fsck_keep_end is harmless without.
 */
int fsck_keep(struct fsck *c);
void fsck_keep_end(struct fsck *c);
/* Does a check of this kind (INDEX_FSCK_...) run now? */
bool fsck_runs(int state_fd, const char *kind);

/* The parts.  The whole index file: 0, or -1 when it could not be checked. */
int fsck_index(struct fsck *c);
/*
 * All paths behind *from, all objects behind it, all files of the store; the
 * cache's, of which c->store is.  0, 1 when it was ended, or -1.
 */
int fsck_paths(struct fsck *c, const char *from);
int fsck_objects(struct fsck *c, const char *from);
int fsck_files(struct fsck *c);
/* The files of the spool. */
int fsck_spool(struct fsck *c);

/*
 * Enter the narinfos and objects of the file store under state_dir/dir into
 * the index, which is a new one.  0, 1 when over() said so, or -1.
 */
int fsck_rebuild(struct fsck *c, const char *dir);
/*
 * The same from what c->store, which has a listing, lists.  What the index has
 * already stays, so that one that ended can go on; -1 too when anything could
 * not be read, which is told.
 */
int fsck_rebuild_listed(struct fsck *c);

/*
 * Enter the NARs of the spool, which were acknowledged and not stored; what is
 * no NAR is kept in spool/lost.  After the store.  0, 1 when over() said so, or
 * -1.
 */
int fsck_rebuild_spool(struct fsck *c);

/* Between the parts: tell of something; one that mended is FSCK_REPAIRED. */
void fsck_found(struct fsck *c, enum fsck_state state, const char *kind,
    const char *key, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
/* The object or path key was looked at, which was so much work: true ends the
 * check. */
bool fsck_step(struct fsck *c, const char *key, uint64_t work);
/* Has it been told to end while key is looked at?  What is found out about it
 * doesn't count then. */
bool fsck_cut(struct fsck *c, const char *key);
/* What is found is kept until fsck_check notes it. */
void fsck_note(struct fsck *c, const struct fsck_finding *f);
/* A change's result (1, 0, -1) as a state. */
enum fsck_state fsck_mended(struct fsck *c, int rc);
/* The store has an object of this name that no row seemed to name: tell of it
 * if that is so. */
void fsck_unknown(struct fsck *c, const char *name);
/* Rebuild: the narinfo key from its text, to be freed; NULL, and told, when it
 * is not one. */
struct narinfo *fsck_narinfo(
    struct fsck *c, const char *key, const struct buf *text);
/* Its NAR has size bytes, or is not there (-1): true when that is right, and
 * FileSize is filled in; or it was told. */
bool fsck_narinfo_fits(
    struct fsck *c, const char *key, struct narinfo *ni, int64_t size);
/* Is key in the sample of today? */
bool fsck_sampled(const struct fsck *c, const char *key);
/* Count n bytes: how many milliseconds to wait until the rate allows them. */
int64_t fsck_due(struct fsck *c, uint64_t n);
/* Count them, and wait that long. */
void fsck_pay(struct fsck *c, uint64_t n);
/* The digest of an open file from its beginning: 0, or -1 with errno. */
int fsck_digest(struct fsck *c, int fd, struct digest *d);
/* The file name under dir, open, if it has the bytes of the row; else -1. */
int fsck_open_same(
    struct fsck *c, const struct asset_row *row, int dir, const char *name);
/* The first file of the spool that has them: open, or -1. */
int fsck_spool_find(struct fsck *c, const struct asset_row *row);
void fsck_places_free(struct fsck *c);
/* Take the narinfos over a lost NAR from where readers find them. */
void fsck_hide(struct fsck *c, const char *nar_key);

#endif
