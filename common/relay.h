/*
 * The relay: threads that carry spooled assets into the asset store.
 *
 * Each claims rows in the index, puts their bytes into the store, has it flush
 * and reads them back, marks them stored, and lets their spool files go.
 *
 * INVARIANT I3: stored is written only after the store confirmed.
 * INVARIANT I4: index_claim hands out a narinfo only after its NAR and the
 * narinfos it references are stored.
 * INVARIANT I5: a spool file is retired only after the commit that says stored.
 * A crash at any point leaves a claim that the next start gives back; putting
 * the same bytes again is harmless.
 */
#ifndef RELAY_H
#define RELAY_H

#include "asset.h"
#include "conf.h"
#include "spool.h"

struct relay;

/*
 * Start the threads; store and spool stay the caller's and outlive the relay.
 * NULL on failure (logged).
 */
struct relay *relay_start(const struct conf *conf, const char *cache,
    struct asset_store *store, struct spool_dir *spool);

/* There is something to do.  Any thread. */
void relay_wake(struct relay *re);

/* Finish what is under way, stop the threads, free re.  NULL is harmless. */
void relay_stop(struct relay *re);

#endif
