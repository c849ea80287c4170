/* tmpnix-drv: instantiate derivations, and answer reads of their cache. */
#include "config.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "asset.h"
#include "attrpath.h"
#include "bundle.h"
#include "conf.h"
#include "derivation.h"
#include "fcgi.h"
#include "file.h"
#include "gate.h"
#include "index.h"
#include "instantiate.h"
#include "log.h"
#include "prog.h"
#include "query.h"
#include "reads.h"
#include "ready.h"
#include "spool.h"

/* A body has no meaning here: as much of one is read and forgotten. */
#define BODY_MAX ((int64_t)64 << 10)
/* Seconds, to those that are refused since too many ask. */
#define RETRY_AFTER 10
/* Bytes of the names that are told to who asked for another one. */
#define NAMES_MAX 600

/* What the threads share. */
struct shared {
	const struct conf *conf;
	struct asset_store *store;
	struct spool_dir *spool;
	struct gate *gate;
	struct instantiate *instantiate; /* NULL: nothing is configured */
	struct index *index; /* of the first and last moment */
	bool once; /* CGI: made when it is asked for */
};

/* One thread's own. */
struct state {
	struct reads reads; /* first: see reads.h */
	struct shared *shared;
};

static int
get_key(void *state, struct request *r)
{
	struct state *st = state;

	if (bundle_path_ok(request_path(r)))
		return bundle_get(&st->reads, r);
	return reads_key(&st->reads, r);
}

/* Does the client ask for JSON? */
static bool
wants_json(const struct request *r)
{
	const char *accept = request_param(r, "HTTP_ACCEPT");

	return accept != NULL && strstr(accept, "application/json") != NULL;
}

static int
add_output(const char *name, size_t name_len, const char *path, size_t path_len,
    void *arg)
{
	json_t *outputs = arg, *value;
	char key[256];

	if (name_len >= sizeof(key))
		return -1;
	memcpy(key, name, name_len);
	key[name_len] = '\0';
	/* A path that is not known before the build is null. */
	value = path_len > 0 ? json_stringn(path, path_len) : json_null();
	return json_object_set_new(outputs, key, value);
}

/* The object; NULL when there is no memory, or the derivation is odd. */
static json_t *
make_json(const struct conf *conf, const struct instantiated *result,
    const struct index_closure *closure)
{
	json_t *outputs;

	if ((outputs = json_object()) == NULL)
		return NULL;
	if (derivation_outputs(buf_str(&result->drv), result->drv.len,
		add_output, outputs) == -1) {
		log_warnx("%s: its outputs can't be read", result->base);
		json_decref(outputs);
		return NULL;
	}
	return json_pack("{s:s+++, s:o, s:I, s:I, s:s+++}", "drvPath",
	    conf->store_dir, "/", result->base, "", "outputs", outputs,
	    "closureCount", (json_int_t)closure->count, "closureBytes",
	    (json_int_t)closure->nar_bytes, "closureUrl", conf->url, "/drv/",
	    result->hash_part.s, ".closure.tar.zst");
}

static int
answer_json(
    struct state *st, struct request *r, const struct instantiated *result)
{
	struct index_closure closure;
	struct buf body = BUF_INIT;
	json_t *json = NULL;
	char *text = NULL;

	if (index_closure(st->reads.index, CACHE_DRV, result->hash_part.s,
		&closure) == 1) {
		json = make_json(st->reads.conf, result, &closure);
		index_closure_clear(&closure);
	}
	if (json != NULL)
		text = json_dumps(json, JSON_INDENT(2));
	json_decref(json);
	if (text == NULL)
		return reply_text(r, 500, "the answer can't be made");
	buf_addf(&body, "%s\n", text);
	free(text);
	reply_header(r, "Content-Type", "application/json");
	reply_header(r, "Cache-Control", "no-store");
	return reply_buf(r, 200, &body);
}

static int
answer_text(
    struct state *st, struct request *r, const struct instantiated *result)
{
	reply_header(r, "Cache-Control", "no-store");
	return reply_text(
	    r, 200, "%s/%s", st->reads.conf->store_dir, result->base);
}

/* Lines of the evaluation, cleaned already. */
static int
answer_failed(struct request *r, struct instantiated *result)
{
	reply_header(r, "Content-Type", "text/plain; charset=utf-8");
	return reply_buf(r, 422, &result->text);
}

/* There is no file of this name; which ones are there? */
static int
answer_no_file(const struct conf *conf, struct request *r, const char *file)
{
	struct buf names = BUF_INIT;
	size_t i;
	int status;

	for (i = 0; i < conf->nfiles && names.len < NAMES_MAX; i++)
		buf_addf(
		    &names, "%s%s", i > 0 ? ", " : "", conf->files[i].name);
	if (conf->nfiles == 0)
		buf_adds(&names, "none");
	status = reply_text(r, 404, "there is no file %s here: there %s %s%s",
	    file, conf->nfiles > 1 ? "are" : "is", buf_str(&names),
	    i < conf->nfiles ? ", ..." : "");
	buf_free(&names);
	return status;
}

static int
answer(struct state *st, struct request *r, enum instantiate_rc rc,
    struct instantiated *result, const char *file)
{
	switch (rc) {
	case INSTANTIATE_OK:
		return wants_json(r) ? answer_json(st, r, result)
				     : answer_text(st, r, result);
	case INSTANTIATE_NO_FILE:
		return answer_no_file(st->reads.conf, r, file);
	case INSTANTIATE_FAILED:
		return answer_failed(r, result);
	case INSTANTIATE_BUSY:
		reply_header(r, "Retry-After", "%d", RETRY_AFTER);
		return reply_text(
		    r, 429, "too many instantiations at once: try again");
	case INSTANTIATE_TIMEOUT:
		return reply_text(r, 504,
		    "the instantiation took longer than %" PRIu64
		    " s (drv_timeout)",
		    st->reads.conf->drv_timeout);
	case INSTANTIATE_GONE:
		return reply_empty(r, 503);
	case INSTANTIATE_STOPPING:
		return reply_text(r, 503, "the server is stopping: try again");
	case INSTANTIATE_ERROR:
		break;
	}
	return reply_text(r, 500,
	    "the instantiation failed for a reason of "
	    "the server's: see its log");
}

/* The derivations' store directory must be what it always was. */
static void
pin_store_dir(const struct conf *conf, struct index *ix)
{
	struct buf actual = BUF_INIT;
	int rc;

	rc = index_pin_store_dir(ix, CACHE_DRV, conf->store_dir, &actual);
	if (rc == 0)
		fatalx("the store directory is %s, but the derivations here "
		       "are of %s: put it back, or use another state_dir",
		    conf->store_dir, buf_str(&actual));
	if (rc == -1)
		exit(1);
	buf_free(&actual);
}

/* What an instantiation needs. */
static void
begin(struct shared *sh)
{
	if ((sh->index = index_open(sh->conf->state_dir, INDEX_WRITE)) ==
		NULL ||
	    index_keep(sh->conf->state_dir) == -1)
		exit(1);
	pin_store_dir(sh->conf, sh->index);
	if (sh->conf->nfiles > 0 &&
	    (sh->instantiate = instantiate_new(sh->conf, sh->store)) == NULL)
		fatalx("derivations can't be instantiated, see above");
}

static int
put_instantiate(void *state, struct request *r)
{
	struct state *st = state;
	char file[CONF_FILE_NAME_MAX + 1], attr[ATTRPATH_MAX + 1];
	struct query_field fields[] = {
		{ "file", file, sizeof(file) },
		{ "attr", attr, sizeof(attr) },
	};
	struct instantiated result;
	enum instantiate_rc rc;
	const char *why;
	int status;

	if (query_parse(request_query(r), fields, 2, &why) == -1)
		return reply_text(
		    r, 400, "%s: ?file=NAME&attr=ATTRIBUTE is needed", why);
	if (!conf_file_name_ok(file, strlen(file)))
		return reply_text(r, 400, "file is no name of a file");
	if (!attrpath_ok(attr, strlen(attr)))
		return reply_text(r, 400, "attr is no attribute path");
	if (request_skip(r, BODY_MAX) == -1)
		return reply_text(r, 413, "the body is too large");
	if (st->shared->once)
		begin(st->shared);
	if (st->shared->instantiate == NULL)
		return answer(st, r, INSTANTIATE_NO_FILE, NULL, file);
	rc = instantiate_run(st->shared->instantiate, st->reads.conf,
	    st->reads.index, r, file, attr, &result);
	log_info("instantiate %s %s: %s", file, attr,
	    rc == INSTANTIATE_OK	    ? result.base
		: rc == INSTANTIATE_FAILED  ? "failed"
		: rc == INSTANTIATE_GONE    ? "the client has gone"
		: rc == INSTANTIATE_TIMEOUT ? "timeout"
					    : "refused");
	status = answer(st, r, rc, &result, file);
	instantiated_clear(&result);
	return status;
}

static const struct route routes[] = {
	{ HTTP_GET | HTTP_HEAD, "", ROUTE_EXACT, SCOPE_PULL, reads_page },
	{ HTTP_PUT | HTTP_POST, "instantiate", ROUTE_EXACT, SCOPE_DRV,
	    put_instantiate },
	{ HTTP_GET | HTTP_HEAD, "", 0, SCOPE_PULL, get_key },
	{ 0, NULL, 0, 0, NULL },
};

static int
authorize(void *state, struct request *r, unsigned int scope)
{
	static const struct token_cost none;
	struct state *st = state;
	struct token token;
	int status;

	if ((status = reads_moved(&st->reads, r)) != 0)
		return status;
	status =
	    gate_authorize(st->shared->gate, st->reads.index, r, scope, &token);
	if (status == 0)
		index_token_used(
		    st->reads.index, &token, (int64_t)time(NULL), &none);
	return status;
}

static void *
state_new(void *arg)
{
	struct shared *sh = arg;
	struct state *st;

	if ((st = calloc(1, sizeof(*st))) == NULL)
		return NULL;
	if (reads_open(&st->reads, sh->conf, CACHE_DRV, sh->store, sh->spool,
		INDEX_WRITE) == -1) {
		free(st);
		return NULL;
	}
	st->shared = sh;
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

static void
stopping(void *arg)
{
	struct shared *sh = arg;

	if (sh->instantiate != NULL)
		instantiate_stop(sh->instantiate);
}

static bool
allow(const struct conf *conf, struct sandbox *sb)
{
	int dir;

	/* An impure one may do what its user may, build in namespaces too. */
	if (conf->nfiles > 0 && conf->drv_eval == CONF_EVAL_IMPURE) {
		log_debug("no sandbox: drv_eval = impure");
		return false;
	}
	/* Nix runs in it as well; what it may read is restricted by it. */
	sandbox_execute(sb, "/");
	sandbox_use(sb, "/dev");
	/* Only what is there can be allowed. */
	dir = file_open_dir(AT_FDCWD, conf->drv_state_dir, 0755, true);
	if (dir != -1)
		close(dir);
	sandbox_write(sb, conf->drv_state_dir);
	return true;
}

/* All this program does is about one store directory. */
static int
use_drv_store_dir(struct conf *conf, void **made)
{
	char *dir;

	(void)made;
	if ((dir = strdup(conf->drv_store_dir)) == NULL) {
		log_warn("drv_store_dir");
		return -1;
	}
	free(conf->store_dir);
	conf->store_dir = dir;
	return 0;
}

static int
run(struct live *lv, struct listener *l)
{
	static const struct live_ops ops = { use_drv_store_dir, NULL };
	const struct conf *conf = live_first(lv);
	struct shared sh = { .conf = conf, .once = l == NULL };
	const struct fcgi_program prog = {
		.routes = routes,
		.open_scopes = conf->public_reads ? SCOPE_PULL : 0,
		.live = lv,
		.state_new = state_new,
		.state_free = state_free,
		.use = use,
		.shared = &sh,
		.authorize = authorize,
		.stopping = stopping,
	};
	size_t threads = conf->threads;

	if (live_begin(lv, &ops) == -1)
		exit(1);
	if ((sh.store = asset_store_open(conf, CACHE_DRV)) == NULL ||
	    (sh.spool = spool_open_read(conf->state_dir)) == NULL)
		fatalx("%s can't be used: has tmpnix init been run?",
		    conf->state_dir);
	if ((sh.gate = gate_new()) == NULL)
		fatalx("no memory");
	if (!sh.once) {
		begin(&sh);
		log_info("serving derivations for stores in %s, %zu files to "
			 "instantiate",
		    conf->store_dir, conf->nfiles);
	}
	/* Those that wait for evaluations keep none from reading. */
	if (conf->nfiles > 0)
		threads += instantiate_threads(conf);
	if (fcgi_serve(&prog, l, threads, (unsigned int)conf->stop_timeout) ==
	    -1)
		return 1;
	instantiate_free(sh.instantiate);
	spool_close(sh.spool);
	asset_store_close(sh.store);
	gate_free(sh.gate);
	if (!sh.once)
		index_close_clean(sh.index, conf->state_dir);
	return 0;
}

int
main(int argc, char *argv[])
{
	static const struct prog prog = {
		.name = "tmpnix-drv",
		.purpose = "Instantiate derivations, and serve them.",
		.tcp = true,
		.allow = allow,
		.check = ready_drv,
		.run = run,
	};

	return prog_main(&prog, argc, argv);
}
