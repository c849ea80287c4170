/*
 * Instantiations on demand (design: "Derivations"): evaluate an attribute of a
 * configured file by nix-instantiate, copy the derivation's closure signed into
 * state_dir/drvs, enter it into the index as the cache "drv".
 *
 * Evaluations are child processes (proc.h) in an environment made here, with a
 * Nix store of their own under drv_state_dir.  At most drv_jobs run at once and
 * requests beyond drv_jobs + drv_queue are refused, counting all processes that
 * share drv_state_dir (locks in its slots/); identical requests to one process
 * share one run.  A run is killed when the last of the clients that wait for it
 * has gone.
 *
 * INVARIANT: a derivation is in the index only when its whole closure is, each
 * path signed by our key, its NAR's bytes in drvs/ read back and right, and
 * flushed to disk.
 *
 * A struct instantiate is shared by all threads.
 */
#ifndef INSTANTIATE_H
#define INSTANTIATE_H

#include <stdbool.h>
#include <stdint.h>

#include "asset.h"
#include "buf.h"
#include "conf.h"
#include "fcgi.h"
#include "index.h"
#include "storepath.h"

struct instantiate;

/*
 * NULL (logged) when the surroundings can't be had: drv_state_dir, the signing
 * key, tmpnix-guard.
 */
struct instantiate *instantiate_new(
    const struct conf *conf, struct asset_store *store);
void instantiate_free(struct instantiate *in);

/* Could instantiate_new, as far as can be seen without making anything?  0, or
 * -1 (logged). */
int instantiate_check(const struct conf *conf);

/* Kill all runs, refuse new ones: for a graceful stop.  Does not wait. */
void instantiate_stop(struct instantiate *in);

/* How many threads may be in instantiate_run at once; others come back. */
uint64_t instantiate_threads(const struct conf *conf);

enum instantiate_rc {
	INSTANTIATE_OK,
	INSTANTIATE_NO_FILE, /* no file of that name */
	INSTANTIATE_FAILED, /* the evaluation: text says why */
	INSTANTIATE_BUSY, /* too many requests, or waited for too long */
	INSTANTIATE_TIMEOUT,
	INSTANTIATE_GONE, /* the client: nobody to answer to */
	INSTANTIATE_STOPPING,
	INSTANTIATE_ERROR, /* ours (logged) */
};

struct instantiated {
	char base[STORE_BASE_MAX + 1]; /* "<hash part>-<name>.drv" */
	struct hash_part hash_part;
	struct buf text; /* FAILED: lines for people */
	struct buf drv; /* OK: the derivation itself */
};

void instantiated_clear(struct instantiated *result);

/*
 * file is a name that conf has, attr an attribute path (attrpath.h).  Of conf
 * goes what can change (conf_reload), if no run is joined.  r is asked whether
 * its client is still there; ix is this thread's.  Takes as long as it takes.
 */
enum instantiate_rc instantiate_run(struct instantiate *in,
    const struct conf *conf, struct index *ix, struct request *r,
    const char *file, const char *attr, struct instantiated *result);

#endif
