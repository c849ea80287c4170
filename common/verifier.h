/*
 * Threads that verify NARs (verify.h) while their senders go on: a NAR's PUT
 * submits it, its narinfo's PUT finds the result, or waits for it.
 *
 * Results go into the index, so they outlive the process and are seen by
 * others; a NAR without one (the process died before, or it came while only
 * its file was checked) is verified when somebody waits for it.
 *
 * Fairness: tokens take turns.  The jobs of one that sends much wait for each
 * other: verify_workers run at once, and one more for a token that has none
 * running, so that nobody waits for what another has begun.
 *
 * Who waits for a result holds a thread that could serve others.  An eighth of
 * the threads is left to these; when more want to wait, one of the token that
 * has most waiting has to go, be it the last to come.  Who waits goes too when
 * its client has gone, and its job with it, unless that is running or a NAR's
 * PUT asked for it: what it finds is there for the next to ask, and what it may
 * take is bounded.
 *
 * References are looked for among the paths that are here when a NAR is read.
 *
 * Memory: each thread takes what verify.h says; a job waiting is an open file,
 * JOBS_MAX of them at most, a quarter of that of a token, after which NARs are
 * left to those who wait.
 */
#ifndef VERIFIER_H
#define VERIFIER_H

#include "asset.h"
#include "conf.h"
#include "index.h"
#include "key.h"
#include "ledger.h"
#include "spool.h"
#include "verify.h"

struct verifier;

/*
 * Start conf->verify_workers threads and one; NULL on failure (logged).  ledger
 * gets what a token's NARs cost; it may be NULL.
 */
struct verifier *verifier_start(const struct conf *conf, const char *cache,
    struct asset_store *store, struct spool_dir *spool, struct ledger *ledger);

/* From the next NAR on, max_nar_size and the other limits are those of conf. */
void verifier_set_limits(struct verifier *v, const struct conf *conf);

/* Drop what waits, cut what is under way: nobody who waits for a result waits
 * on, and those who come get VERIFIER_SLOW.  NULL is harmless. */
void verifier_interrupt(struct verifier *v);

/* Interrupt it and free v; nobody may use it any more.  NULL is harmless. */
void verifier_stop(struct verifier *v);

/*
 * The NAR k, sent with this token, is complete in the file fd, which is taken,
 * and its asset is in the index.  references: they are looked for as well.  Any
 * thread.
 */
void verifier_submit(struct verifier *v, const struct key *k, int fd,
    const char *token, bool references);

enum verifier_rc {
	VERIFIER_DONE, /* *out is the result, to be cleared */
	VERIFIER_NO_NAR, /* there is no such asset */
	VERIFIER_GONE, /* there is, but its bytes are not at hand */
	VERIFIER_SLOW, /* not done after the timeout */
	VERIFIER_BUSY, /* too many wait, most of them this token's */
	VERIFIER_LEFT, /* the client has gone */
	VERIFIER_ERROR, /* our fault (logged) */
};

struct verifier_wait {
	const char *token; /* whose turn it is when it is done now; "" */
	unsigned int seconds; /* the longest wait */
	bool references; /* they must have been looked for */
	bool (*gone)(void *arg); /* has the client gone?  NULL: there is none,
				  * and no thread that could serve others */
	void *arg;
};

/* What is known of the NAR k; wait for it.  ix is the calling thread's. */
enum verifier_rc verifier_wait(struct verifier *v, struct index *ix,
    const struct key *k, const struct verifier_wait *w, struct verified *out);

#endif
