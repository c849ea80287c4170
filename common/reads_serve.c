/* A program of reads alone: its threads, its routes. */
#include "config.h"

#include "reads.h"

#include <stdlib.h>

#include "log.h"

/* What the threads share. */
struct shared {
	const struct conf *conf;
	const char *cache;
	struct asset_store *store;
	struct spool_dir *spool;
};

static int
get_page(void *state, struct request *r)
{
	return reads_page(state, r);
}

static int
get_key(void *state, struct request *r)
{
	return reads_key(state, r);
}

static const struct route routes[] = {
	{ HTTP_GET | HTTP_HEAD, "", ROUTE_EXACT, 0, get_page },
	{ HTTP_GET | HTTP_HEAD, "", 0, 0, get_key },
	{ 0, NULL, 0, 0, NULL },
};

static void *
state_new(void *arg)
{
	struct shared *sh = arg;
	struct reads *rd;

	if ((rd = calloc(1, sizeof(*rd))) == NULL)
		return NULL;
	rd->conf = sh->conf;
	rd->cache = sh->cache;
	rd->store = sh->store;
	rd->spool = sh->spool;
	if ((rd->index = index_open(sh->conf->state_dir, INDEX_READ)) == NULL) {
		free(rd);
		return NULL;
	}
	return rd;
}

static void
state_free(void *state)
{
	struct reads *rd = state;

	index_close(rd->index);
	free(rd);
}

int
reads_serve(const struct conf *conf, int fd, const char *cache)
{
	struct shared sh = { .conf = conf, .cache = cache };
	const struct fcgi_program prog = {
		.routes = routes,
		.state_new = state_new,
		.state_free = state_free,
		.shared = &sh,
	};

	if ((sh.store = asset_store_open_read(conf, cache)) == NULL)
		fatalx("the asset store can't be used, see above");
	if ((sh.spool = spool_open_read(conf->state_dir)) == NULL)
		fatalx("%s can't be read: has tmpnix init been run?",
		    conf->state_dir);
	log_info(
	    "serving the cache %s for stores in %s", cache, conf->store_dir);
	if (fcgi_serve(&prog, fd, conf->threads,
		(unsigned int)conf->stop_timeout) == -1)
		return 1;
	spool_close(sh.spool);
	asset_store_close(sh.store);
	return 0;
}
