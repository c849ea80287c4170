/* tmpnix relay: carry what is spooled, then end. */
#include "config.h"

#include "tmpnix.h"

#include <sys/stat.h>

#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "asset.h"
#include "num.h"
#include "relay.h"
#include "spool.h"
#include "verifier.h"

/* Lines about what is left. */
#define LEFT_MAX 20

struct run {
	const struct conf *conf;
	struct index *ix;
	struct asset_store *store;
	struct spool_dir *spool;
	struct verifier *verifier; /* NULL: verify = file */
	struct relay *relay;
	struct index_status before;
	int64_t until; /* 0: no timeout */
	bool ended; /* by a signal or the timeout */
	bool progress; /* somebody watches */
};

static int
start(struct run *r)
{
	r->store = asset_store_open(r->conf, CACHE_MAIN);
	if (r->store == NULL)
		return -1;
	r->spool = relay_open_spool(r->conf, r->ix, false);
	if (r->spool == NULL ||
	    index_status(r->ix, CACHE_MAIN, &r->before) == -1)
		return -1;
	if (r->conf->verify == CONF_VERIFY_NAR &&
	    (r->verifier = verifier_start(
		 r->conf, CACHE_MAIN, r->store, r->spool, NULL)) == NULL)
		return -1;
	r->relay =
	    relay_start(r->conf, CACHE_MAIN, r->store, r->spool, r->verifier);
	return r->relay == NULL ? -1 : 0;
}

static void
stop(struct run *r)
{
	verifier_interrupt(r->verifier);
	relay_stop(r->relay, (unsigned int)r->conf->stop_timeout);
	verifier_stop(r->verifier);
	spool_close(r->spool);
	asset_store_close(r->store);
}

/* What a person who typed ^C expects: what is under way is given back. */
static bool
told_to_stop(void)
{
	sigset_t set;

	return sigpending(&set) == 0 &&
	    (sigismember(&set, SIGTERM) == 1 ||
		sigismember(&set, SIGINT) == 1 ||
		sigismember(&set, SIGHUP) == 1);
}

static bool
is_over(struct run *r)
{
	if (told_to_stop() ||
	    (r->until != 0 && (int64_t)time(NULL) >= r->until))
		r->ended = true;
	return r->ended;
}

static uint64_t
left_count(const struct index_status *st)
{
	return st->state[ASSET_SPOOLED].count + st->state[ASSET_RELAYING].count;
}

static uint64_t
left_bytes(const struct index_status *st)
{
	return st->state[ASSET_SPOOLED].bytes + st->state[ASSET_RELAYING].bytes;
}

/* "12 of 340 objects, 1.2 MiB of 30.1 MiB", over the last one. */
static void
show_progress(const struct run *r)
{
	char done[TOOL_SIZE_LEN + 1], all[TOOL_SIZE_LEN + 1];
	uint64_t n = left_count(&r->before), bytes = left_bytes(&r->before);
	struct index_status now;

	if (!r->progress || index_status(r->ix, CACHE_MAIN, &now) == -1)
		return;
	/* More may have come meanwhile. */
	if (n < left_count(&now))
		n = left_count(&now);
	if (bytes < left_bytes(&now))
		bytes = left_bytes(&now);
	fprintf(stderr, "\r%" PRIu64 " of %" PRIu64 " objects, %s of %s\033[K",
	    n - left_count(&now), n, tool_size(bytes - left_bytes(&now), done),
	    tool_size(bytes, all));
}

/* Carry all that can be, and let the spool's files go in their time. */
static void
drain(struct run *r)
{
	int64_t shown = 0;

	do {
		if (shown != (int64_t)time(NULL))
			show_progress(r);
		shown = (int64_t)time(NULL);
	} while (!relay_wait_idle(r->relay) && !is_over(r));
	show_progress(r);
	if (r->progress)
		fputs("\n", stderr);
	while (!r->ended && spool_reap(r->spool, (int64_t)time(NULL)) &&
	    !is_over(r))
		sleep(1);
}

static int
print_left(const struct index_waiting *w, void *arg)
{
	int64_t wait = w->next_attempt - *(const int64_t *)arg;
	char age[TOOL_AGE_LEN + 1];
	const char *colon = w->why[0] != '\0' ? ": " : "";

	if (w->state == ASSET_FAILED)
		printf("%s: failed%s%s\n", w->key, colon, w->why);
	else if (w->state == ASSET_RELAYING)
		printf("%s: another process carries it\n", w->key);
	else if (wait > 0)
		printf("%s: next try in %s%s%s\n", w->key, tool_age(wait, age),
		    colon, w->why);
	else
		printf("%s: waits%s%s\n", w->key, colon, w->why);
	return 0;
}

/* The exit status. */
static int
report(struct run *r)
{
	int64_t now = (int64_t)time(NULL);
	char bytes[TOOL_SIZE_LEN + 1];
	struct index_status st;
	uint64_t stored, left, failed, had = left_count(&r->before);

	if (index_status(r->ix, CACHE_MAIN, &st) == -1 ||
	    index_waiting_each(r->ix, CACHE_MAIN, LEFT_MAX, print_left, &now) ==
		-1) {
		tool_error("relay: the index failed, see above");
		return TOOL_FAILED;
	}
	left = left_count(&st);
	failed = st.state[ASSET_FAILED].count;
	if (left + failed > LEFT_MAX)
		printf("and %" PRIu64 " more\n", left + failed - LEFT_MAX);
	/* Others may store too: what is gone from here was stored. */
	stored =
	    st.state[ASSET_STORED].count - r->before.state[ASSET_STORED].count;
	if (st.state[ASSET_STORED].count < r->before.state[ASSET_STORED].count)
		stored = 0;
	printf("%" PRIu64 " of %" PRIu64 " objects stored, %" PRIu64
	       " wait (%s), %" PRIu64 " failed%s\n",
	    stored, had > stored ? had : stored, left,
	    tool_size(left_bytes(&st), bytes), failed,
	    r->ended ? "; ended before its time" : "");
	return left == 0 && failed == 0 ? TOOL_OK : TOOL_FAILED;
}

static void
block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

int
relay_run(struct tool *t, int argc, char **argv)
{
	static const struct option options[] = {
		{ "retry-failed", no_argument, NULL, 'r' },
		{ "timeout", required_argument, NULL, 't' },
		{ NULL, 0, NULL, 0 },
	};
	struct run r = { .progress = isatty(STDERR_FILENO) };
	bool retry = false, started;
	uint64_t seconds;
	int c, rc = TOOL_FAILED;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'r':
			retry = true;
			break;
		case 't':
			if (num_parse_duration(optarg, strlen(optarg),
				UINT32_MAX, &seconds) == -1 ||
			    seconds == 0)
				return tool_usage("relay");
			r.until = (int64_t)time(NULL) + (int64_t)seconds;
			break;
		default:
			return tool_usage("relay");
		}
	}
	if (optind != argc)
		return tool_usage("relay");
	if ((r.conf = tool_conf(t)) == NULL ||
	    (r.ix = tool_index(t, INDEX_WRITE)) == NULL)
		return TOOL_FAILED;
	/* The store's files are for the web server to read. */
	umask(022);
	block_signals();
	if ((retry && index_retry(r.ix, CACHE_MAIN, NULL) == -1) ||
	    start(&r) == -1)
		tool_error("relay: can't start, see above");
	else
		drain(&r);
	started = r.relay != NULL;
	stop(&r);
	if (started)
		rc = report(&r);
	index_close(r.ix);
	return rc;
}
