/*
 * What GET and HEAD answer (design: "Reads"), the same for tmpnix-cache,
 * tmpnix-upload and tmpnix-drv.
 *
 * nix-cache-info comes from the configuration, a narinfo from the index, any
 * other object from the spool while it is spooled and from the asset store
 * afterwards: as a redirect where the store has an address of its own, as
 * X-Accel-Redirect (nginx) or X-Sendfile (lighttpd) where the web server says
 * that it can send the file, else streamed with Range and If-None-Match as a
 * static server would.
 *
 * INVARIANT I8: nothing here writes or waits for a writer.
 *
 * A struct reads belongs to one thread.
 */
#ifndef READS_H
#define READS_H

#include "asset.h"
#include "buf.h"
#include "conf.h"
#include "fcgi.h"
#include "index.h"
#include "spool.h"

struct reads {
	const struct conf *conf; /* this request's */
	const char *cache; /* CACHE_MAIN or CACHE_DRV */
	struct index *index;
	struct asset_store *store; /* shared by the threads */
	struct spool_dir *spool; /* shared by the threads */
};

/* Fill rd and open its index: 0, or -1 (logged).  The rest stays the caller's.
 */
int reads_open(struct reads *rd, const struct conf *conf, const char *cache,
    struct asset_store *store, struct spool_dir *spool, enum index_mode mode);

/*
 * Handlers of routes, of a program whose threads' state is a struct reads or
 * begins with one: any key, and the page for people at the cache's own address.
 */
int reads_key(void *state, struct request *r);
int reads_page(void *state, struct request *r);

/* The script that sets up a client, as setup.sh: it holds no secret. */
int reads_setup(void *state, struct request *r);

/*
 * The scopes of tokens that may have what r asks for, each of which suffices,
 * where a route says scope: those that push may read what a push reads before
 * it writes (nix-cache-info, narinfos, realisations, and by HEAD whatever it
 * may leave out), and no NAR.
 */
unsigned int reads_scopes(const struct request *r, unsigned int scope);

/* Append the text of nix-cache-info. */
void reads_cache_info(const struct conf *conf, struct buf *out);

/* Is the index no more what it was?  503 then, else 0. */
int reads_moved(const struct reads *rd, struct request *r);

#endif
