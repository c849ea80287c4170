/* tmpnix fsck: do index, spool and asset store fit together? */
#include "config.h"

#include "tmpnix.h"

#include <sys/stat.h>

#include <dirent.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "fsck.h"
#include "clock.h"
#include "file.h"
#include "num.h"

#define FSCK_UNCHECKED 2

#define FSCK_ENDED 3

struct run {
	struct tool *tool;
	struct fsck check;
	json_t *findings; /* with --json, else NULL */
	bool terminal; /* stderr is one */
	bool progress; /* asked for */
	bool rebuild;
	int64_t shown; /* second; percent when it is no terminal */
};

/* Set by a signal. */
static atomic_bool told;

static void
on_signal(int sig)
{
	(void)sig;
	atomic_store(&told, true);
}

static const char *const states[] = { "note", "open", "repaired" };

static void
found(const struct fsck_finding *f, void *arg)
{
	struct run *k = arg;

	if (k->findings != NULL) {
		json_array_append_new(k->findings,
		    json_pack("{s:s, s:s, s:s, s:s, s:s}", "cache", f->cache,
			"key", f->key, "kind", f->kind, "state",
			states[f->state], "message", f->what));
		return;
	}
	printf("%s: %s%s%s: %s\n", f->cache, f->key,
	    f->key[0] != '\0' ? ": " : "", f->kind, f->what);
	if (f->state == FSCK_REPAIRED)
		printf("  repaired\n");
}

/* Of the work of all runs; a run of a part has no end that it would know. */
static unsigned int
percent(const struct fsck *c)
{
	if (c->total == 0)
		return 0;
	return c->work >= c->total
	    ? 100
	    : (unsigned int)((double)c->work * 100 / (double)c->total);
}

/* How much of the work it does a second, and how long the rest takes. */
static void
pace(const struct fsck *c, struct buf *out)
{
	const double seconds = (double)(clock_ms() - c->started_ms) / 1000;
	const double done = (double)(c->work - c->work_before);
	char text[TOOL_AGE_LEN + 1], size[TOOL_SIZE_LEN + 1];

	if (seconds < 1 || done <= 0)
		return;
	buf_addf(out, ", %s/s",
	    tool_size((uint64_t)((double)c->read / seconds), size));
	if (c->work < c->total)
		buf_addf(out, ", %s left",
		    tool_age((int64_t)((double)(c->total - c->work) * seconds /
				 done),
			text));
}

static void
show(struct run *k, const char *phase, const char *key)
{
	const struct fsck *c = &k->check;
	struct buf line = BUF_INIT;
	int64_t step;

	step = k->terminal ? clock_ms() / 1000 : (int64_t)percent(c);
	if (step == k->shown)
		return;
	k->shown = step;
	buf_addf(&line, "%u %%, %s %s: %" PRIu64 " looked at", percent(c),
	    c->cache, phase != NULL ? phase : "rebuild", c->objects);
	pace(c, &line);
	if (k->terminal)
		fprintf(stderr, "\r%.100s %.40s\033[K", buf_str(&line), key);
	else
		fprintf(stderr, "%s\n", buf_str(&line));
	buf_free(&line);
}

static bool
over(struct fsck *c, const char *phase, const char *key, void *arg)
{
	struct run *k = arg;

	if (k->terminal || k->progress)
		show(k, phase, key);
	return atomic_load(c->stop);
}

static int
open_all(struct run *k)
{
	struct fsck *c = &k->check;
	const struct conf *conf;

	if ((conf = tool_conf(k->tool)) == NULL)
		return -1;
	tool_become_owner(conf);
	c->conf = conf;
	if (k->rebuild)
		;
	else if (c->repair)
		c->ix = tool_index(k->tool, INDEX_WRITE);
	else if ((c->ix = index_open_read(conf->state_dir)) == NULL)
		tool_error("%s/index.db can't be read: run this as the user "
			   "the programs run as, with their version, and after "
			   "tmpnix init",
		    conf->state_dir);
	if ((c->ix == NULL && !k->rebuild) ||
	    (c->state_fd =
		    file_open_dir(AT_FDCWD, conf->state_dir, 0, false)) == -1 ||
	    (c->spool_fd = file_open_dir(c->state_fd, "spool", 0, false)) ==
		-1 ||
	    (c->spool = spool_open_read(conf->state_dir)) == NULL)
		return -1;
	if (!k->rebuild && fsck_keep(c) == -1) {
		tool_error("fsck: another one runs: see tmpnix status");
		return -1;
	}
	return 0;
}

/* Is a program that writes running, by its lock in the spool? */
static bool
programs_run(const struct fsck *c)
{
	struct dirent *de;
	bool run = false;
	DIR *d;
	int dir;

	if ((dir = file_open_dir(c->spool_fd, ".", 0, false)) == -1)
		return true;
	if ((d = fdopendir(dir)) == NULL) {
		close(dir);
		return true;
	}
	while (!run && (de = readdir(d)) != NULL)
		run = strstr(de->d_name, ".lock") != NULL &&
		    file_locked(dir, de->d_name);
	closedir(d);
	return run;
}

/* Fill the new index from the file stores, and pin what it is of. */
static int
rebuild_caches(struct run *k)
{
	struct fsck *c = &k->check;
	struct buf text = BUF_INIT, actual = BUF_INIT;
	const struct conf *conf = c->conf;
	int rc;

	asset_store_describe(conf, &text);
	rc = index_pin_store_dir(c->ix, CACHE_MAIN, conf->store_dir, &actual) ==
		    1 &&
		index_store_set(c->ix, CACHE_MAIN, buf_str(&text)) == 0
	    ? 0
	    : -1;
	c->cache = CACHE_MAIN;
	if (rc == 0)
		rc = c->store != NULL ? fsck_rebuild_listed(c)
				      : fsck_rebuild(c, asset_file_dir(conf));
	c->cache = CACHE_DRV;
	if (rc == 0)
		rc = fsck_rebuild(c, "drvs");
	if (rc == 0)
		rc = fsck_rebuild_spool(c);
	buf_free(&text);
	buf_free(&actual);
	return rc == 0 && c->unknown == 0 ? 0 : -1;
}

/* Is it one that was begun from the store that the configuration names? */
static bool
of_this_store(struct index *ix, const struct conf *conf)
{
	struct buf was = BUF_INIT, is = BUF_INIT;
	bool same;

	asset_store_describe(conf, &is);
	same = index_store_get(ix, CACHE_MAIN, &was) == 1 &&
	    strcmp(buf_str(&was), buf_str(&is)) == 0;
	buf_free(&was);
	buf_free(&is);
	return same;
}

/*
 * The index in the directory dir, which is at.  One that did not end goes on
 * when it was of what a store lists, which takes long; else it begins anew.  It
 * is nobody's until it is complete: closing it writes it to disk, not each
 * path.
 */
static struct index *
rebuilt_index(struct fsck *c, int at, const char *dir)
{
	struct index *ix;

	if (c->store != NULL && !c->bytes &&
	    faccessat(at, "index.db", F_OK, 0) == 0) {
		ix = index_open(dir, INDEX_READ);
		if (ix != NULL && of_this_store(ix, c->conf))
			return ix;
		index_close(ix);
	}
	unlinkat(at, "index.db", 0);
	unlinkat(at, "index.db-wal", 0);
	unlinkat(at, "index.db-shm", 0);
	return index_open(dir, INDEX_READ);
}

/* The store, if it is one on the network, which must have a listing. */
static int
rebuild_store(struct fsck *c)
{
	if (c->conf->asset_store == CONF_STORE_FILE)
		return 0;
	if ((c->store = asset_store_open_probe(c->conf, true)) == NULL)
		return -1;
	if (c->store->ops->list != NULL)
		return 0;
	tool_error("fsck: --rebuild needs a listing, which asset_store = %s "
		   "does not have",
	    c->store->ops->name);
	return -1;
}

/*
 * Make the new index beside the place of the old one, which must not be there,
 * and move it there when it is complete.
 */
static int
rebuild(struct run *k)
{
	struct fsck *c = &k->check;
	struct buf dir = BUF_INIT;
	int rc = -1, fd = -1;

	if (faccessat(c->state_fd, "index.db", F_OK, 0) == 0 ||
	    faccessat(c->state_fd, "index.db-wal", F_OK, 0) == 0) {
		tool_error("fsck: %s has an index: move index.db, index.db-wal "
			   "and index.db-shm away first",
		    c->conf->state_dir);
		return -1;
	}
	if (programs_run(c)) {
		tool_error("fsck: stop the programs first");
		return -1;
	}
	if (rebuild_store(c) == -1)
		return -1;
	buf_addf(&dir, "%s/rebuild", c->conf->state_dir);
	if ((fd = file_open_dir(c->state_fd, "rebuild", 0700, true)) == -1)
		goto out;
	if ((c->ix = rebuilt_index(c, fd, buf_str(&dir))) != NULL)
		rc = rebuild_caches(k);
	/* Closing writes the WAL into the file. */
	index_close(c->ix);
	c->ix = NULL;
	if (rc == 0 && faccessat(fd, "index.db-wal", F_OK, 0) == 0)
		rc = -1;
	if (rc == 0 &&
	    (renameat(fd, "index.db", c->state_fd, "index.db") == -1 ||
		file_sync_dir(c->state_fd) == -1 ||
		unlinkat(c->state_fd, "rebuild", AT_REMOVEDIR) == -1))
		rc = -1;
out:
	if (rc == -1)
		tool_error("fsck: there is no new index");
	else
		tool_hint("the index was made from the store: tokens, the "
			  "audit log, verdicts and narinfos that were not "
			  "relayed are not in it");
	if (fd != -1)
		close(fd);
	buf_free(&dir);
	return rc;
}

static void
close_all(struct fsck *c)
{
	fsck_keep_end(c);
	asset_store_close(c->store);
	if (c->spool != NULL)
		spool_close(c->spool);
	if (c->spool_fd != -1)
		close(c->spool_fd);
	if (c->state_fd != -1)
		close(c->state_fd);
	index_close(c->ix);
}

static void
report(struct run *k, int rc)
{
	const struct fsck *c = &k->check;
	char size[TOOL_SIZE_LEN + 1];
	json_t *all;
	char *text;

	if (k->terminal)
		fputs("\r\033[K", stderr);
	if (k->findings == NULL) {
		printf("%" PRIu64 " looked at, %s read, %" PRIu64
		       " problems, %" PRIu64 " repaired, %" PRIu64
		       " could not be looked at%s\n",
		    c->objects, tool_size(c->read, size), c->problems,
		    c->repaired, c->unknown,
		    rc != 0 ? "; ended before its time" : "");
		if (rc == 0 && c->enough)
			printf("%u %% of a round: the next run goes on there\n",
			    percent(c));
		if (rc == 1 && c->keep != NULL)
			printf("tmpnix fsck %s with the same options goes on "
			       "from there\n",
			    c->scrub ? "--scrub" : "--resume");
		return;
	}
	all = json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:o}", "complete",
	    rc == 0, "objects", (json_int_t)c->objects, "bytes_read",
	    (json_int_t)c->read, "problems", (json_int_t)c->problems,
	    "repaired", (json_int_t)c->repaired, "unknown",
	    (json_int_t)c->unknown, "findings", json_incref(k->findings));
	if ((text = json_dumps(all, JSON_COMPACT)) != NULL)
		printf("%s\n", text);
	free(text);
	json_decref(all);
}

/* Options into k: 0, or -1. */
static int
options(struct run *k, int argc, char **argv)
{
	static const struct option options[] = {
		{ "bytes", no_argument, NULL, 'b' },
		{ "verify", no_argument, NULL, 'v' },
		{ "repair", no_argument, NULL, 'r' },
		{ "rebuild", no_argument, NULL, 'B' },
		{ "scrub", no_argument, NULL, 'S' },
		{ "resume", no_argument, NULL, 'a' },
		{ "progress", no_argument, NULL, 'p' },
		{ "json", no_argument, NULL, 'j' },
		{ "sample", required_argument, NULL, 's' },
		{ "rate", required_argument, NULL, 'R' },
		{ NULL, 0, NULL, 0 },
	};
	struct fsck *ch = &k->check;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'b':
			ch->bytes = true;
			break;
		case 'v':
			ch->verify = true;
			break;
		case 'r':
			ch->repair = true;
			break;
		case 'B':
			k->rebuild = true;
			break;
		case 'S':
			ch->scrub = true;
			break;
		case 'a':
			ch->resume = true;
			break;
		case 'p':
			k->progress = true;
			break;
		case 'j':
			k->findings = json_array();
			break;
		case 's':
			if (num_parse(optarg, strlen(optarg), 100,
				&ch->sample) == -1 ||
			    ch->sample == 0)
				return -1;
			break;
		case 'R':
			if (num_parse_size(optarg, strlen(optarg), INT64_MAX,
				&ch->rate) == -1)
				return -1;
			break;
		default:
			return -1;
		}
	}
	/* A scrub has a sample and a place to go on of its own. */
	if (ch->scrub && (ch->resume || ch->sample != 100))
		return -1;
	return optind == argc && !(k->rebuild && ch->scrub) ? 0 : -1;
}

/* 0, 1 or -1 as an exit status. */
static int
result(const struct fsck *c, int rc)
{
	if (rc == 1)
		return FSCK_ENDED;
	if (rc == -1 || c->unknown > c->unknown_before)
		return FSCK_UNCHECKED;
	return c->problems + c->repaired > c->bad_before ? TOOL_FAILED
							 : TOOL_OK;
}

int
fsck_run(struct tool *t, int argc, char **argv)
{
	struct run k = { .tool = t,
		.terminal = isatty(STDERR_FILENO),
		.shown = -1,
		.check = { .sample = 100,
		    .state_fd = -1,
		    .spool_fd = -1,
		    .lock = -1,
		    .stop = &told } };
	/* A second one ends it at once. */
	struct sigaction sa = { .sa_handler = on_signal,
		.sa_flags = (int)SA_RESETHAND };
	struct fsck *c = &k.check;
	int rc = -1, status = FSCK_UNCHECKED;

	if (options(&k, argc, argv) == -1) {
		json_decref(k.findings);
		return tool_usage("fsck");
	}
	c->now = (int64_t)time(NULL);
	c->started_ms = clock_ms();
	c->found = found;
	c->over = over;
	c->arg = &k;
	/* The store's files are for the web server to read. */
	umask(022);
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	if (open_all(&k) == 0) {
		rc = k.rebuild ? rebuild(&k) : fsck_check(c);
		if (rc == -1)
			tool_error("fsck: it could not be checked, see above");
		report(&k, rc);
		status = result(c, rc);
	}
	close_all(c);
	json_decref(k.findings);
	return status;
}
