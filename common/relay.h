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
 * A crash at any point leaves a claim that the next start gives back, or, when
 * others share the index, that runs out; putting the same bytes again is
 * harmless.
 *
 * A NAR goes to a store on the network only when it was verified: there is no
 * reading it back for its narinfo, which may come after a crash.
 *
 * What fails is tried again after growing delays; when the store asks to be
 * left alone for a time (Retry-After), everything waits.  What the store
 * refuses for good is marked failed.
 */
#ifndef RELAY_H
#define RELAY_H

#include "asset.h"
#include "conf.h"
#include "index.h"
#include "spool.h"
#include "verifier.h"

struct relay;

/*
 * The spool of conf, for writing: what the dead left in it is cleaned as the
 * index knows of it, and their claims are released.  brief: as
 * spool_open_brief.  ix is used meanwhile only.  NULL on failure (logged).
 */
struct spool_dir *relay_open_spool(
    const struct conf *conf, struct index *ix, bool brief);

/*
 * Start the threads; store, spool and verifier (NULL: NARs are not verified)
 * stay the caller's and outlive the relay.  NULL on failure (logged).
 */
struct relay *relay_start(const struct conf *conf, const char *cache,
    struct asset_store *store, struct spool_dir *spool,
    struct verifier *verifier);

/*
 * The same for a process that serves one request and ends (CGI): nothing is
 * carried before relay_wait, and then only what that waits for; before a
 * narinfo, what else is spooled and has to go first.
 */
struct relay *relay_start_once(const struct conf *conf, const char *cache,
    struct asset_store *store, struct spool_dir *spool,
    struct verifier *verifier);

/* There is something to do.  Any thread. */
void relay_wake(struct relay *re);

enum relay_outcome {
	RELAY_STORED,
	RELAY_FAILED, /* the store refused it for good */
	RELAY_TIMEOUT, /* it is still under way */
};

/*
 * Wait until key is stored or failed, at most for seconds, and no longer than
 * cancelled(arg) is false.  ix is the caller's connection.  Any thread.
 */
enum relay_outcome relay_wait(struct relay *re, struct index *ix,
    const char *key, uint64_t seconds, bool (*cancelled)(void *arg), void *arg);

/* Wait for any change, or for a second at most.  re NULL: for a second. */
void relay_wait_change(struct relay *re);

/*
 * Wait for any change, or for a second at most: true when all threads have
 * found that there is nothing to carry now.
 */
bool relay_wait_idle(struct relay *re);

/* Seconds until attempt number attempts + 1; random, 0 <= random < 2^32, adds
 * up to a quarter. */
int64_t relay_delay(int64_t attempts, uint32_t random);

/*
 * Finish what is under way, at most for so many seconds, then cut it; stop the
 * threads, free re.  What was cut is spooled again.  NULL is harmless.
 */
void relay_stop(struct relay *re, unsigned int seconds);

#endif
