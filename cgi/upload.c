/* tmpnix-upload: take what Nix pushes, relay it; answers reads as well. */
#include "config.h"

#include <stdlib.h>
#include <time.h>

#include "asset.h"
#include "fcgi.h"
#include "gate.h"
#include "index.h"
#include "log.h"
#include "policy.h"
#include "prog.h"
#include "push.h"
#include "reads.h"
#include "relay.h"
#include "spool.h"
#include "verifier.h"

/* What the threads share. */
struct shared {
	const struct conf *conf;
	struct asset_store *store;
	struct spool_dir *spool;
	struct relay *relay;
	struct push_pressure pressure;
	struct gate *gate;
	struct policy *policy;
	struct verifier *verifier; /* NULL: verify = file */
	struct acceptor acceptor;
};

/* One thread's own. */
struct state {
	struct reads reads;
	struct push push;
	struct gate *gate;
};

static int
get_page(void *state, struct request *r)
{
	struct state *st = state;

	return reads_page(&st->reads, r);
}

static int
get_key(void *state, struct request *r)
{
	struct state *st = state;

	return reads_key(&st->reads, r);
}

static int
put_key(void *state, struct request *r)
{
	struct state *st = state;

	return push_put(&st->push, r);
}

static const struct route routes[] = {
	{ HTTP_GET | HTTP_HEAD, "", ROUTE_EXACT, SCOPE_PULL, get_page },
	{ HTTP_GET | HTTP_HEAD, "", 0, SCOPE_PULL, get_key },
	{ HTTP_PUT, "", ROUTE_BODY, SCOPE_PUSH, put_key },
	{ 0, NULL, 0, 0, NULL },
};

static int
authorize(void *state, struct request *r, unsigned int scope)
{
	struct state *st = state;

	return gate_authorize(
	    st->gate, st->push.index, r, scope, &st->push.token);
}

static void *
state_new(void *arg)
{
	struct shared *sh = arg;
	struct state *st;
	struct index *ix;

	if ((st = calloc(1, sizeof(*st))) == NULL)
		return NULL;
	if ((ix = index_open(sh->conf->state_dir, INDEX_WRITE)) == NULL) {
		free(st);
		return NULL;
	}
	st->reads.conf = st->push.conf = sh->conf;
	st->reads.cache = st->push.cache = CACHE_MAIN;
	st->reads.index = st->push.index = ix;
	st->reads.spool = st->push.spool = sh->spool;
	st->reads.store = st->push.store = sh->store;
	st->push.relay = sh->relay;
	st->push.pressure = &sh->pressure;
	st->push.acceptor = &sh->acceptor;
	st->gate = sh->gate;
	return st;
}

static void
state_free(void *state)
{
	struct state *st = state;

	index_close(st->push.index);
	free(st);
}

static int
spool_used(const char *name, void *arg)
{
	return index_spool_used(arg, name);
}

static void
instance_dead(const char *instance, void *arg)
{
	index_release(arg, instance);
}

/* The store directory must be what it always was; the spool is cleaned. */
static void
recover(struct shared *sh)
{
	struct buf actual = BUF_INIT;
	struct index *ix;

	if ((ix = index_open(sh->conf->state_dir, INDEX_WRITE)) == NULL)
		exit(1);
	switch (
	    index_pin_store_dir(ix, CACHE_MAIN, sh->conf->store_dir, &actual)) {
	case 1:
		break;
	case 0:
		fatalx("store_dir is %s, but the paths here are of %s: put "
		       "it back, or use another state_dir",
		    sh->conf->store_dir, buf_str(&actual));
	default:
		exit(1);
	}
	buf_free(&actual);
	sh->spool =
	    spool_open(sh->conf->state_dir, spool_used, instance_dead, ix);
	if (sh->spool == NULL)
		exit(1);
	index_close(ix);
}

/* What decides over what comes in. */
static void
start_checks(struct shared *sh)
{
	const struct conf *conf = sh->conf;

	if ((sh->policy = policy_new(conf)) == NULL ||
	    (sh->gate = gate_new()) == NULL)
		exit(1);
	if (conf->verify == CONF_VERIFY_NAR &&
	    (sh->verifier = verifier_start(
		 conf, CACHE_MAIN, sh->store, sh->spool)) == NULL)
		exit(1);
	if (sh->verifier == NULL && policy_signs(sh->policy))
		fatalx("secret_key_file needs verify = nar: what was not "
		       "verified is not signed");
	sh->acceptor.conf = conf;
	sh->acceptor.cache = CACHE_MAIN;
	sh->acceptor.verifier = sh->verifier;
	sh->acceptor.policy = sh->policy;
}

/* Enter nix-cache-info as the configuration has it. */
static void
publish_cache_info(struct shared *sh)
{
	struct buf text = BUF_INIT;
	struct state *st;

	if ((st = state_new(sh)) == NULL)
		exit(1);
	reads_cache_info(sh->conf, &text);
	if (push_cache_info(&st->push, &text) == -1)
		fatalx("nix-cache-info can't be stored");
	buf_free(&text);
	state_free(st);
}

static int
run(const struct conf *conf, int fd)
{
	struct shared sh = { .conf = conf };
	const struct fcgi_program prog = {
		.routes = routes,
		.open_scopes = conf->public_reads ? SCOPE_PULL : 0,
		.trusted_proxies = &conf->trusted_proxies,
		.state_new = state_new,
		.state_free = state_free,
		.shared = &sh,
		.authorize = authorize,
	};

	if ((sh.store = asset_store_open(conf, CACHE_MAIN)) == NULL)
		fatalx("the asset store can't be used, see above");
	recover(&sh);
	start_checks(&sh);
	publish_cache_info(&sh);
	if ((sh.relay = relay_start(
		 conf, CACHE_MAIN, sh.store, sh.spool, sh.verifier)) == NULL)
		exit(1);
	log_info("taking pushes to %s/cache, instance %s", conf->url,
	    spool_instance(sh.spool));
	if (fcgi_serve(&prog, fd, conf->threads,
		(unsigned int)conf->stop_timeout) == -1)
		return 1;
	verifier_interrupt(sh.verifier); /* the relay may wait for it */
	relay_stop(sh.relay);
	verifier_stop(sh.verifier);
	spool_close(sh.spool);
	asset_store_close(sh.store);
	policy_free(sh.policy);
	gate_free(sh.gate);
	return 0;
}

int
main(int argc, char *argv[])
{
	static const struct prog prog = {
		.name = "tmpnix-upload",
		.purpose = "Take what nix copy pushes into a Nix binary cache.",
		.run = run,
	};

	return prog_main(&prog, argc, argv);
}
