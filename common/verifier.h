/*
 * Threads that verify NARs (verify.h) while their senders go on: a NAR's PUT
 * submits it, its narinfo's PUT finds the result, or waits for it.
 *
 * Results go into the index, so they outlive the process and are seen by
 * others; a NAR without one (the process died before, or it came while only
 * its file was checked) is verified when somebody waits for it.
 *
 * Memory: each thread takes what verify.h says; a job waiting is an open file,
 * JOBS_MAX of them at most, after which NARs are left to those who wait.
 */
#ifndef VERIFIER_H
#define VERIFIER_H

#include "asset.h"
#include "conf.h"
#include "index.h"
#include "key.h"
#include "spool.h"
#include "verify.h"

struct verifier;

/* Start conf->verify_workers threads; NULL on failure (logged). */
struct verifier *verifier_start(const struct conf *conf, const char *cache,
    struct asset_store *store, struct spool_dir *spool);

/* The most bytes a NAR may have, from the next one on; max_nar_size at first.
 */
void verifier_set_max(struct verifier *v, uint64_t max_nar_size);

/* Drop what waits, cut what is under way: nobody who waits for a result waits
 * on, and those who come get VERIFIER_SLOW.  NULL is harmless. */
void verifier_interrupt(struct verifier *v);

/* Interrupt it and free v; nobody may use it any more.  NULL is harmless. */
void verifier_stop(struct verifier *v);

/*
 * The NAR k is complete in the file fd, which is taken, and its asset is in
 * the index.  Any thread.
 */
void verifier_submit(struct verifier *v, const struct key *k, int fd);

enum verifier_rc {
	VERIFIER_DONE, /* *out is the result, to be cleared */
	VERIFIER_NO_NAR, /* there is no such asset */
	VERIFIER_GONE, /* there is, but its bytes are not at hand */
	VERIFIER_SLOW, /* not done after the timeout */
	VERIFIER_ERROR, /* our fault (logged) */
};

/*
 * What is known of the NAR k; wait up to timeout seconds for it.  ix is the
 * calling thread's.
 */
enum verifier_rc verifier_wait(struct verifier *v, struct index *ix,
    const struct key *k, unsigned int timeout, struct verified *out);

/*
 * Read the NAR k once more and call seen with all hash parts in it, see
 * verify_refs; in the calling thread.
 */
enum verifier_rc verifier_refs(struct verifier *v, struct index *ix,
    const struct key *k, void (*seen)(void *arg, const struct refscan *s),
    void *arg);

#endif
