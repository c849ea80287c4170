/* tmpnix-cache: answer the reads of a Nix binary cache. */
#include "config.h"

#include <stdlib.h>

#include "asset.h"
#include "conf.h"
#include "fcgi.h"
#include "gate.h"
#include "index.h"
#include "log.h"
#include "prog.h"
#include "reads.h"
#include "ready.h"
#include "spool.h"

/* What the threads share. */
struct shared {
	const struct conf *conf;
	struct asset_store *store;
	struct spool_dir *spool;
	struct gate *gate;
};

/* One thread's own. */
struct state {
	struct reads reads; /* first: see reads.h */
	struct gate *gate;
	struct token token;
};

static const struct route routes[] = {
	{ HTTP_GET | HTTP_HEAD, "", ROUTE_EXACT, SCOPE_PULL, reads_page },
	/* For everybody, or who has a token could not fetch what asks for it */
	{ HTTP_GET | HTTP_HEAD, "setup.sh", ROUTE_EXACT, 0, reads_setup },
	{ HTTP_GET | HTTP_HEAD, "", 0, SCOPE_PULL, reads_key },
	{ 0, NULL, 0, 0, NULL },
};

static int
authorize(void *state, struct request *r, unsigned int scope)
{
	struct state *st = state;
	int status;

	if ((status = reads_moved(&st->reads, r)) != 0)
		return status;
	return gate_authorize(
	    st->gate, st->reads.index, r, reads_scopes(r, scope), &st->token);
}

static void *
state_new(void *arg)
{
	struct shared *sh = arg;
	struct state *st;

	if ((st = calloc(1, sizeof(*st))) == NULL)
		return NULL;
	if (reads_open(&st->reads, sh->conf, CACHE_MAIN, sh->store, sh->spool,
		INDEX_READ) == -1) {
		free(st);
		return NULL;
	}
	st->gate = sh->gate;
	return st;
}

static void
state_free(void *state)
{
	struct state *st = state;

	index_close(st->reads.index);
	free(st);
}

static void
use(void *state, const struct settings *s)
{
	struct state *st = state;

	st->reads.conf = s->conf;
}

static int
run(struct live *lv, struct listener *l)
{
	const struct conf *conf = live_first(lv);
	struct shared sh = { .conf = conf };
	struct index *ix;
	const struct fcgi_program prog = {
		.routes = routes,
		.open_scopes = conf->public_reads ? SCOPE_PULL : 0,
		.live = lv,
		.state_new = state_new,
		.state_free = state_free,
		.use = use,
		.shared = &sh,
		.authorize = authorize,
	};

	/* One that can't be used is to be seen now, not at the first reader. */
	if ((ix = index_open(conf->state_dir, INDEX_READ)) == NULL ||
	    !ready_index(conf, ix) || index_keep(conf->state_dir) == -1)
		fatalx("the index can't be used, see above");
	if ((sh.store = asset_store_open_read(conf, CACHE_MAIN)) == NULL)
		fatalx("the asset store can't be used, see above");
	if ((sh.spool = spool_open_read(conf->state_dir)) == NULL)
		fatalx("%s can't be read: has tmpnix init been run?",
		    conf->state_dir);
	if ((sh.gate = gate_new()) == NULL)
		fatalx("no memory");
	if (l != NULL)
		log_info("serving %s/cache for stores in %s", conf->url,
		    conf->store_dir);
	if (fcgi_serve(&prog, l, conf->threads,
		(unsigned int)conf->stop_timeout) == -1)
		return 1;
	spool_close(sh.spool);
	asset_store_close(sh.store);
	gate_free(sh.gate);
	if (l != NULL)
		index_close_clean(ix, conf->state_dir);
	else
		index_close(ix);
	return 0;
}

int
main(int argc, char *argv[])
{
	static const struct prog prog = {
		.name = "tmpnix-cache",
		.purpose = "Answer the reads of a Nix binary cache.",
		.check = ready_cache,
		.run = run,
	};

	return prog_main(&prog, argc, argv);
}
