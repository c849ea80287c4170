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

#include <stdbool.h>
#include <stdint.h>

#include "asset.h"
#include "conf.h"
#include "index.h"
#include "spool.h"

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
	uint64_t sample; /* percent of the objects, by day; 100: all */
	uint64_t rate; /* bytes a second; 0: no limit */
	int64_t now;
	/* Called for all that is found. */
	void (*found)(const struct fsck_finding *f, void *arg);
	/* Called after each object; true ends the check. */
	bool (*over)(
	    struct fsck *c, const char *phase, const char *key, void *arg);
	void *arg;
	uint64_t objects, read, notes, problems, repaired, unknown;
	int64_t started_ms;
	uint64_t paid; /* bytes that the rate has counted */
	unsigned int silent; /* objects since the store said something */
};

/* The whole index file: 0, or -1 when it could not be checked. */
int fsck_index(struct fsck *c);
/*
 * All paths behind *from, all objects behind it, all files of the store; the
 * cache's, of which c->store is.  0, 1 when over() said so, or -1.
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

/* Between the parts: tell of something; one that mended is FSCK_REPAIRED. */
void fsck_found(struct fsck *c, enum fsck_state state, const char *kind,
    const char *key, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
/* A change's result (1, 0, -1) as a state. */
enum fsck_state fsck_mended(struct fsck *c, int rc);
/* The store has an object of this name that no row seemed to name: tell of it
 * if that is so. */
void fsck_unknown(struct fsck *c, const char *name);
/* Is key in the sample of today? */
bool fsck_sampled(const struct fsck *c, const char *key);
/* Wait until the rate allows n bytes more. */
void fsck_pay(struct fsck *c, uint64_t n);
/* The digest of an open file from its beginning: 0, or -1 with errno. */
int fsck_digest(struct fsck *c, int fd, struct digest *d);
/* Take the narinfos over a lost NAR from where readers find them. */
void fsck_hide(struct fsck *c, const char *nar_key);

#endif
