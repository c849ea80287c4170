/*
 * What a PUT does (design: "Writes"): check what can be checked before the
 * body, take the body into the spool, check it, enter it into the index.
 *
 * INVARIANT I1: a 2xx is answered only after the body was complete and right,
 * its file fsynced in ready/ and its row committed.
 * With relay = write-through the 2xx is answered only after the asset store has
 * confirmed the object too.
 * INVARIANT I2: a narinfo is entered only when its NAR is there with the
 * FileHash and FileSize it names, and what it says of the NAR was found out by
 * us (accept.h).
 *
 * Nix 2.4 to 2.32 send an empty body again after a 5xx that came once the body
 * was sent, and hang: from then on every refusal is a 4xx, 424 where it is our
 * own fault; 507 only when the disk is full.
 *
 * What can be said before the body is said then; a spool that is over its
 * maximum holds the check back, and 503 is an answer of checks only.
 *
 * A struct push belongs to one thread.
 */
#ifndef PUSH_H
#define PUSH_H

#include <stdatomic.h>
#include <stdbool.h>

#include "accept.h"
#include "asset.h"
#include "buf.h"
#include "conf.h"
#include "fcgi.h"
#include "index.h"
#include "ledger.h"
#include "relay.h"
#include "spool.h"

/*
 * Who waits, counted over all threads; zero at first.  A check that waits for
 * room in the spool, or an answer that waits for the asset store, holds a
 * thread: only some of the threads may do that, so that the rest can answer.
 */
struct push_pressure {
	atomic_uint checks; /* wait before the body */
	atomic_uint answers; /* wait for the store's word */
	atomic_uint_fast64_t bytes; /* of bodies under way */
};

struct push {
	const struct conf *conf; /* this request's */
	const char *cache;
	struct index *index;
	struct spool_dir *spool; /* shared by the threads */
	struct token token; /* who sends this request */
	struct asset_store *store; /* shared: asked for its limit */
	struct relay *relay; /* shared; NULL: not started yet, or a check */
	struct push_pressure *pressure; /* shared */
	struct ledger *ledger; /* shared */
	const struct acceptor *acceptor;
	bool once; /* nothing of us stays behind the answer: write-through */
};

/*
 * The whole PUT; for the check before the body (request_is_check) only what
 * can be said then.  The status, as handlers return it.
 */
int push_put(struct push *p, struct request *r);

/*
 * Have nix-cache-info with this text in the asset store, which has to be a
 * binary cache by itself: it is entered unless the store, which p->conf says,
 * is the one that has it already.  0, or -1 (logged).
 */
int push_cache_info(struct push *p, const struct buf *text);

#endif
