/* tmpnix-upload: take what Nix pushes, relay it; answers reads as well. */
#include "config.h"

#include <stdlib.h>
#include <time.h>

#include "asset.h"
#include "clean.h"
#include "fcgi.h"
#include "gate.h"
#include "index.h"
#include "ledger.h"
#include "log.h"
#include "policy.h"
#include "prog.h"
#include "push.h"
#include "reads.h"
#include "ready.h"
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
	struct ledger *ledger;
	struct gate *gate;
	struct live *live; /* whose settings are made into a policy */
	struct verifier *verifier; /* NULL: verify = file */
	bool once; /* CGI: what a PUT needs is not there before one comes */
};

/* One thread's own. */
struct state {
	struct reads reads; /* first: see reads.h */
	struct push push;
	struct acceptor acceptor;
	const struct settings *settings;
	struct shared *shared;
};

static void begin_once(struct state *st);

static int
put_key(void *state, struct request *r)
{
	struct state *st = state;

	if (st->shared->once && !request_is_check(r))
		begin_once(st);
	return push_put(&st->push, r);
}

static const struct route routes[] = {
	{ HTTP_GET | HTTP_HEAD, "", ROUTE_EXACT, SCOPE_PULL, reads_page },
	{ HTTP_GET | HTTP_HEAD, "", 0, SCOPE_PULL, reads_key },
	{ HTTP_PUT, "", ROUTE_BODY, SCOPE_PUSH, put_key },
	{ 0, NULL, 0, 0, NULL },
};

static int
authorize(void *state, struct request *r, unsigned int scope)
{
	struct state *st = state;
	int status;

	if ((status = reads_moved(&st->reads, r)) != 0)
		return status;
	return gate_authorize(st->shared->gate, st->push.index, r,
	    reads_scopes(r, scope), &st->push.token);
}

static void *
state_new(void *arg)
{
	struct shared *sh = arg;
	struct state *st;

	if ((st = calloc(1, sizeof(*st))) == NULL)
		return NULL;
	if (reads_open(&st->reads, sh->conf, CACHE_MAIN, sh->store, sh->spool,
		INDEX_WRITE) == -1) {
		free(st);
		return NULL;
	}
	st->push.conf = sh->conf;
	st->push.cache = CACHE_MAIN;
	st->push.index = st->reads.index;
	st->push.spool = sh->spool;
	st->push.store = sh->store;
	st->push.relay = sh->relay;
	st->push.pressure = &sh->pressure;
	st->push.ledger = sh->ledger;
	st->push.acceptor = &st->acceptor;
	st->acceptor.cache = CACHE_MAIN;
	st->push.once = sh->once;
	st->shared = sh;
	return st;
}

static void
state_free(void *state)
{
	struct state *st = state;

	index_close(st->push.index);
	free(st);
}

/* The store directory must be what it always was. */
static void
pin_store_dir(const struct conf *conf, struct index *ix)
{
	struct buf actual = BUF_INIT;

	switch (index_pin_store_dir(ix, CACHE_MAIN, conf->store_dir, &actual)) {
	case 1:
		break;
	case 0:
		fatalx("store_dir is %s, but the paths here are of %s: put "
		       "it back, or use another state_dir",
		    conf->store_dir, buf_str(&actual));
	default:
		exit(1);
	}
	buf_free(&actual);
}

/*
 * Not beside what another index knew, nor on one that is damaged (a CGI program
 * has no time to look): an end before anything is changed.
 */
static void
check_index(const struct conf *conf, struct index *ix, bool look)
{
	if (!ready_index(conf, ix) || (look && !ready_index_whole(conf, ix)))
		fatalx("the index can't be used, see above");
	if (clean_forget(conf->state_dir) == -1 ||
	    index_keep(conf->state_dir) == -1)
		exit(1);
}

/* The spool is cleaned. */
static void
recover(struct shared *sh)
{
	struct index *ix;

	if ((ix = index_open(sh->conf->state_dir, INDEX_WRITE)) == NULL)
		exit(1);
	check_index(sh->conf, ix, true);
	pin_store_dir(sh->conf, ix);
	if ((sh->spool = relay_open_spool(sh->conf, ix, false)) == NULL)
		exit(1);
	index_close(ix);
}

static int
make_policy(struct conf *conf, void **made)
{
	struct policy *p;

	if ((p = policy_new(conf)) == NULL)
		return -1;
	if (policy_needs_verify(conf, p)) {
		policy_free(p);
		return -1;
	}
	*made = p;
	return 0;
}

static void
unmake_policy(void *made)
{
	policy_free(made);
}

/* What decides over what comes in. */
static void
start_checks(struct shared *sh)
{
	static const struct live_ops ops = { make_policy, unmake_policy };
	const struct conf *conf = sh->conf;

	if (live_begin(sh->live, &ops) == -1)
		exit(1);
	if (conf->verify == CONF_VERIFY_NAR &&
	    (sh->verifier = verifier_start(
		 conf, CACHE_MAIN, sh->store, sh->spool, sh->ledger)) == NULL)
		exit(1);
}

static void
use(void *state, const struct settings *s)
{
	struct state *st = state;

	st->settings = s;
	st->reads.conf = st->push.conf = st->acceptor.conf = s->conf;
	st->acceptor.policy = s->made;
	st->acceptor.verifier = st->shared->verifier;
}

/* Enter nix-cache-info as conf has it: 0, or -1 (logged). */
static int
publish_cache_info(const struct conf *conf, struct push *p)
{
	struct buf text = BUF_INIT;
	int rc;

	reads_cache_info(conf, &text);
	rc = push_cache_info(p, &text);
	buf_free(&text);
	return rc;
}

static bool
no(void *arg)
{
	(void)arg;
	return false;
}

/*
 * The spool, the checks and the relay of a CGI process, for its one PUT.  To
 * exit here is to answer that it failed (fcgi_cgi_begin).
 */
static void
begin_once(struct state *st)
{
	struct shared *sh = st->shared;
	struct index *ix = st->push.index;
	struct asset_row info;

	check_index(sh->conf, ix, false);
	pin_store_dir(sh->conf, ix);
	spool_close(sh->spool);
	if ((sh->spool = relay_open_spool(sh->conf, ix, true)) == NULL)
		exit(1);
	st->reads.spool = st->push.spool = sh->spool;
	start_checks(sh);
	st->acceptor.policy = st->settings->made;
	st->acceptor.verifier = sh->verifier;
	if (publish_cache_info(sh->conf, &st->push) == -1)
		fatalx("nix-cache-info can't be stored");
	if ((sh->relay = relay_start_once(sh->conf, CACHE_MAIN, sh->store,
		 sh->spool, sh->verifier)) == NULL)
		fatalx("no memory");
	st->push.relay = sh->relay;
	/* Nobody else would carry it; late is no reason to refuse. */
	if (index_asset_get(ix, CACHE_MAIN, "nix-cache-info", &info) == 1) {
		index_asset_clear(&info);
		if (info.state == ASSET_SPOOLED)
			relay_wait(
			    sh->relay, ix, "nix-cache-info", 1, no, NULL);
	}
}

/* All a server has running before its first request. */
static void
begin(struct shared *sh)
{
	struct state *st;

	recover(sh);
	start_checks(sh);
	if ((st = state_new(sh)) == NULL)
		exit(1);
	if (publish_cache_info(sh->conf, &st->push) == -1)
		fatalx("nix-cache-info can't be stored");
	state_free(st);
	if ((sh->relay = relay_start(sh->conf, CACHE_MAIN, sh->store, sh->spool,
		 sh->verifier)) == NULL)
		exit(1);
	log_info("taking pushes to %s/cache, instance %s", sh->conf->url,
	    spool_instance(sh->spool));
}

/* What of it lies elsewhere than with the threads that serve. */
static void
reloaded(void *arg, const struct settings *s)
{
	struct shared *sh = arg;
	struct state *st;

	if (sh->verifier != NULL)
		verifier_set_limits(sh->verifier, s->conf);
	if ((st = state_new(sh)) == NULL)
		return;
	if (publish_cache_info(s->conf, &st->push) == 0)
		relay_wake(sh->relay);
	else
		log_warnx("nix-cache-info stays as it was in the store");
	state_free(st);
}

static void
allow_file(const char *path, void *sb)
{
	sandbox_read_replaced(sb, path);
}

static bool
allow(const struct conf *conf, struct sandbox *sb)
{
	/* Names are resolved by what the system has for it, and libraries it
	 * loads then. */
	static const char *const system[] = { "/etc", "/usr", "/lib", "/lib64",
		"/nix/store", "/run/systemd/resolve", "/run/resolvconf",
		"/run/NetworkManager", "/run/nscd" };
	size_t i;

	for (i = 0; i < sizeof(system) / sizeof(system[0]); i++)
		sandbox_read(sb, system[i]);
	if (policy_each_file(conf, allow_file, sb) == -1)
		fatalx("no memory");
	/* A body is linked from there into the spool. */
	sandbox_write(sb, conf->body_dir);
	return true;
}

static int
run(struct live *lv, struct listener *l)
{
	const struct conf *conf = live_first(lv);
	struct shared sh = { .conf = conf, .live = lv, .once = l == NULL };
	const struct fcgi_program prog = {
		.routes = routes,
		.open_scopes = conf->public_reads ? SCOPE_PULL : 0,
		.live = lv,
		.state_new = state_new,
		.state_free = state_free,
		.use = use,
		.shared = &sh,
		.authorize = authorize,
		.reloaded = reloaded,
	};
	int left;

	if ((sh.store = asset_store_open(conf, CACHE_MAIN)) == NULL)
		fatalx("the asset store can't be used, see above");
	if ((sh.gate = gate_new()) == NULL ||
	    (sh.ledger = ledger_new()) == NULL)
		fatalx("no memory");
	if (!sh.once)
		begin(&sh);
	else if ((sh.spool = spool_open_read(conf->state_dir)) == NULL)
		fatalx("%s can't be read: has tmpnix init been run?",
		    conf->state_dir);
	left = fcgi_serve(
	    &prog, l, conf->threads, (unsigned int)conf->stop_timeout);
	if (left == -1)
		return 1;
	verifier_interrupt(sh.verifier); /* the relay may wait for it */
	relay_stop(sh.relay, (unsigned int)left);
	verifier_stop(sh.verifier);
	ledger_write(sh.ledger, conf->state_dir);
	spool_close(sh.spool);
	asset_store_close(sh.store);
	gate_free(sh.gate);
	ledger_free(sh.ledger);
	if (!sh.once)
		clean_note(conf->state_dir);
	return 0;
}

int
main(int argc, char *argv[])
{
	static const struct prog prog = {
		.name = "tmpnix-upload",
		.purpose = "Take what nix copy pushes into a Nix binary cache.",
		.tcp = true,
		.allow = allow,
		.check = ready_upload,
		.run = run,
	};

	return prog_main(&prog, argc, argv);
}
