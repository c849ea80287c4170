#include "config.h"

#include "instantiate.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "file.h"
#include "instantiate_nix.h"
#include "log.h"
#include "proc.h"

/* How often a thread that waits looks after its client. */
#define TICK_NS 200000000L

/*
 * A run, and those that wait for it: the thread that drives it, and others that
 * joined.  It is in the list, where others find it, until it is done or given
 * up; the last of its threads frees it.
 */
struct run {
	struct run *next;
	char *file, *attr;
	uint64_t ticket; /* runs start in this order */
	unsigned int threads; /* that hold a pointer to it */
	unsigned int clients; /* that have not gone */
	bool running;
	bool done;
	enum instantiate_rc rc;
	struct instantiated result;
};

struct instantiate {
	const struct conf *conf;
	struct nix *nix;
	int slots; /* a directory of locks that processes share */
	pthread_mutex_t lock; /* of all below, and of all runs */
	pthread_cond_t changed;
	struct run *runs;
	uint64_t running;
	uint64_t tickets;
	bool stopping;
};

/* The thread that drives a run, to its callback. */
struct driver {
	struct instantiate *in;
	const struct conf *conf; /* r's */
	struct run *run;
	struct request *r;
	bool gone;
};

static int
open_slots(const struct conf *conf)
{
	int state, dir = -1;

	state = file_open_dir(AT_FDCWD, conf->drv_state_dir, 0, false);
	if (state != -1) {
		dir = file_open_dir(state, "slots", 0700, true);
		close(state);
	}
	if (dir == -1)
		log_warn("%s/slots", conf->drv_state_dir);
	return dir;
}

struct instantiate *
instantiate_new(const struct conf *conf, struct asset_store *store)
{
	struct instantiate *in;
	pthread_condattr_t attr;

	if ((in = calloc(1, sizeof(*in))) == NULL)
		return NULL;
	in->conf = conf;
	if ((in->nix = nix_new(conf, store)) == NULL ||
	    (in->slots = open_slots(conf)) == -1) {
		nix_free(in->nix);
		free(in);
		return NULL;
	}
	pthread_mutex_init(&in->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&in->changed, &attr);
	pthread_condattr_destroy(&attr);
	return in;
}

void
instantiate_free(struct instantiate *in)
{
	if (in == NULL)
		return;
	pthread_cond_destroy(&in->changed);
	pthread_mutex_destroy(&in->lock);
	close(in->slots);
	nix_free(in->nix);
	free(in);
}

int
instantiate_check(const struct conf *conf)
{
	struct public_key key;

	return nix_check(conf, &key);
}

void
instantiate_stop(struct instantiate *in)
{
	pthread_mutex_lock(&in->lock);
	in->stopping = true;
	pthread_cond_broadcast(&in->changed);
	pthread_mutex_unlock(&in->lock);
}

uint64_t
instantiate_threads(const struct conf *conf)
{
	return conf->drv_jobs + conf->drv_queue;
}

void
instantiated_clear(struct instantiated *result)
{
	buf_free(&result->text);
	buf_free(&result->drv);
}

/* Runs: all with the lock held --------------------------------------------- */

static struct run *
run_find(struct instantiate *in, const char *file, const char *attr)
{
	struct run *run;

	for (run = in->runs; run != NULL; run = run->next)
		if (run->clients > 0 && strcmp(run->file, file) == 0 &&
		    strcmp(run->attr, attr) == 0)
			return run;
	return NULL;
}

static struct run *
run_add(struct instantiate *in, const char *file, const char *attr)
{
	struct run *run;

	if ((run = calloc(1, sizeof(*run))) == NULL)
		return NULL;
	if ((run->file = strdup(file)) == NULL ||
	    (run->attr = strdup(attr)) == NULL) {
		free(run->file);
		free(run);
		return NULL;
	}
	run->ticket = in->tickets++;
	run->next = in->runs;
	in->runs = run;
	return run;
}

/* Out of the list: nobody joins it any more. */
static void
run_unlist(struct instantiate *in, struct run *run)
{
	struct run **at;

	for (at = &in->runs; *at != NULL; at = &(*at)->next)
		if (*at == run) {
			*at = run->next;
			break;
		}
}

static void
run_leave(struct run *run)
{
	if (--run->threads > 0)
		return;
	instantiated_clear(&run->result);
	free(run->file);
	free(run->attr);
	free(run);
}

/* May run start: is a job free, and nobody in front? */
static bool
run_is_next(const struct instantiate *in, const struct run *run)
{
	const struct run *other;

	if (in->running >= in->conf->drv_jobs)
		return false;
	for (other = in->runs; other != NULL; other = other->next)
		if (!other->running && other->ticket < run->ticket)
			return false;
	return true;
}

/* Wait for a change, or a while. */
static void
pause_locked(struct instantiate *in)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_nsec += TICK_NS;
	if (ts.tv_nsec >= 1000000000L) {
		ts.tv_nsec -= 1000000000L;
		ts.tv_sec++;
	}
	pthread_cond_timedwait(&in->changed, &in->lock, &ts);
}

/* Driving and waiting ------------------------------------------------------ */

/* Asked by proc.h while a child runs, without the lock. */
static bool
go_on(void *arg)
{
	struct driver *d = arg;
	bool yes;

	pthread_mutex_lock(&d->in->lock);
	if (!d->gone && request_gone(d->r)) {
		d->gone = true;
		d->run->clients--;
	}
	yes = d->run->clients > 0 && !d->in->stopping;
	pthread_mutex_unlock(&d->in->lock);
	return yes;
}

/*
 * Wait for the run's turn, here and among all processes; the lock is held.  OK
 * when it may start, until *slot is closed.
 */
static enum instantiate_rc
wait_turn(struct driver *d, int *slot)
{
	struct instantiate *in = d->in;
	struct timespec deadline;

	proc_deadline(d->conf->drv_timeout, &deadline);
	while (!run_is_next(in, d->run) ||
	    (*slot = file_lock_one(in->slots, "run", in->conf->drv_jobs)) ==
		-1) {
		if (in->stopping)
			return INSTANTIATE_STOPPING;
		if (!d->gone && request_gone(d->r)) {
			d->gone = true;
			d->run->clients--;
		}
		if (d->run->clients == 0)
			return INSTANTIATE_GONE;
		if (proc_is_past(&deadline))
			return INSTANTIATE_BUSY;
		pause_locked(in);
	}
	return in->stopping ? INSTANTIATE_STOPPING : INSTANTIATE_OK;
}

/* Bring run to its end in this thread; the lock is held. */
static void
drive(struct instantiate *in, const struct conf *conf, struct run *run,
    struct index *ix, struct request *r)
{
	struct driver d = { .in = in, .conf = conf, .run = run, .r = r };
	struct nix_job job = { .conf = conf,
		.file = conf_file_find(conf, run->file),
		.attr = run->attr,
		.go_on = go_on,
		.arg = &d };
	struct instantiated result = { .base = "" };
	enum instantiate_rc rc;
	int slot = -1;

	if ((rc = wait_turn(&d, &slot)) == INSTANTIATE_OK) {
		run->running = true;
		in->running++;
		pthread_mutex_unlock(&in->lock);
		rc = nix_instantiate(in->nix, ix, &job, &result);
		pthread_mutex_lock(&in->lock);
		in->running--;
		if (rc == INSTANTIATE_GONE && in->stopping)
			rc = INSTANTIATE_STOPPING;
	}
	if (slot != -1)
		close(slot);
	run->rc = rc;
	run->result = result; /* the run's now */
	run->done = true;
	run_unlist(in, run);
	pthread_cond_broadcast(&in->changed);
}

/* Wait for a run that another thread drives; the lock is held. */
static enum instantiate_rc
wait_for(struct instantiate *in, struct run *run, struct request *r)
{
	while (!run->done) {
		if (request_gone(r)) {
			run->clients--;
			return INSTANTIATE_GONE;
		}
		pause_locked(in);
	}
	return run->rc;
}

static enum instantiate_rc
copy_result(const struct run *run, struct instantiated *result)
{
	memcpy(result->base, run->result.base, sizeof(result->base));
	result->hash_part = run->result.hash_part;
	buf_add(
	    &result->text, buf_str(&run->result.text), run->result.text.len);
	buf_add(&result->drv, buf_str(&run->result.drv), run->result.drv.len);
	return buf_failed(&result->text) || buf_failed(&result->drv)
	    ? INSTANTIATE_ERROR
	    : run->rc;
}

enum instantiate_rc
instantiate_run(struct instantiate *in, const struct conf *conf,
    struct index *ix, struct request *r, const char *file, const char *attr,
    struct instantiated *result)
{
	enum instantiate_rc rc = INSTANTIATE_OK;
	struct run *run = NULL;
	bool joined = true;
	int seat;

	memset(result, 0, sizeof(*result));
	if (conf_file_find(conf, file) == NULL)
		return INSTANTIATE_NO_FILE;
	/* Other processes' requests count: each of a CGI is one. */
	seat = file_lock_one(in->slots, "seat", instantiate_threads(in->conf));
	if (seat == -1 && errno != EWOULDBLOCK) {
		log_warn("%s/slots", in->conf->drv_state_dir);
		return INSTANTIATE_ERROR;
	}
	pthread_mutex_lock(&in->lock);
	if (in->stopping)
		rc = INSTANTIATE_STOPPING;
	else if (seat == -1)
		rc = INSTANTIATE_BUSY;
	else if ((run = run_find(in, file, attr)) == NULL) {
		joined = false;
		if ((run = run_add(in, file, attr)) == NULL)
			rc = INSTANTIATE_ERROR;
	}
	if (rc == INSTANTIATE_OK) {
		run->threads++;
		run->clients++;
		if (joined) {
			log_debug("%s %s: joins a run", file, attr);
			rc = wait_for(in, run, r);
		} else {
			drive(in, conf, run, ix, r);
			rc = run->rc;
		}
		if (run->done && rc == run->rc)
			rc = copy_result(run, result);
		run_leave(run);
	}
	pthread_mutex_unlock(&in->lock);
	if (seat != -1)
		close(seat);
	return rc;
}
