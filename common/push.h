/*
 * What a PUT does (design: "Writes"): check what can be checked before the
 * body, take the body into the spool, check it, enter it into the index.
 *
 * INVARIANT I1: a 2xx is answered only after the body was complete and right,
 * its file fsynced in ready/ and its row committed.
 * INVARIANT I2: a narinfo is entered only when its NAR is there with the
 * FileHash and FileSize it names.
 *
 * Nix 2.4 to 2.32 send an empty body again after a 5xx that came once the body
 * was sent, and hang: from then on every refusal is a 4xx, 424 where it is our
 * own fault; 507 only when the disk is full.
 *
 * A struct push belongs to one thread.
 */
#ifndef PUSH_H
#define PUSH_H

#include "buf.h"
#include "conf.h"
#include "fcgi.h"
#include "index.h"
#include "spool.h"

struct push {
	const struct conf *conf;
	const char *cache;
	struct index *index;
	struct spool_dir *spool; /* shared by the threads */
	struct token token; /* who sends this request */
	void (*entered)(void *arg); /* after each commit: wakes the relay */
	void *arg;
};

/*
 * The whole PUT; for the check before the body (request_is_check) only what
 * can be said then.  The status, as handlers return it.
 */
int push_put(struct push *p, struct request *r);

/*
 * Enter nix-cache-info with this text, unless it is that already: the asset
 * store by itself has to be a binary cache.  0, or -1 (logged).
 */
int push_cache_info(struct push *p, const struct buf *text);

#endif
