#include "config.h"

#include "verifier.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"

/* Open files that wait for a thread. */
#define JOBS_MAX 256
/* How often one who waits asks whether its client has gone. */
#define GONE_MS 250
/* The brotli decoder keeps its tables on the stack; the rest asks for less. */
#define STACK_BYTES ((size_t)1 << 20)

enum job_state { JOB_WAITING, JOB_RUNNING };

/* Those who have jobs, or wait for one. */
struct turn {
	struct turn *next;
	char token[TOKEN_NAME_MAX + 1];
	size_t njobs;
	size_t running;
	size_t waiting; /* of them, for a job of whomever */
	size_t leaving; /* of those: how many have to go */
	uint64_t last; /* when it last had its turn */
};

struct job {
	struct job *next;
	struct turn *turn;
	uint64_t id; /* no other ever has it */
	struct key key;
	int fd;
	bool references;
	bool sent; /* a NAR's PUT asked for it */
	size_t waiting; /* who wait for it */
	enum job_state state;
};

struct verifier {
	const struct conf *conf;
	const char *cache;
	struct asset_store *store;
	struct spool_dir *spool;
	struct ledger *ledger;
	pthread_mutex_t mutex;
	pthread_cond_t work; /* there is a job, or it is time to stop */
	pthread_cond_t done; /* a job has left the list */
	struct job *jobs; /* waiting and running; of a token the next first */
	size_t njobs;
	size_t running;
	size_t waiting; /* of all turns, but for those that are leaving */
	size_t waiting_max;
	struct turn *turns;
	uint64_t clock; /* of turns and jobs */
	struct verify_how limits; /* of the next job */
	pthread_mutex_t knowing; /* for what follows */
	struct refset *known; /* paths; NULL until references are wanted */
	int64_t known_to;
	atomic_bool stopping;
	size_t nthreads;
	pthread_t threads[];
};

/* The list, with the mutex held ------------------------------------------ */

/* Have `tmpnix token list` see whose jobs there are. */
static void
show_jobs(struct verifier *v)
{
	struct buf lines = BUF_INIT;
	const struct turn *t;

	for (t = v->turns; t != NULL; t = t->next)
		if (t->token[0] != '\0' && t->njobs > 0)
			buf_addf(&lines, "%zu %zu %s\n", t->running,
			    t->njobs - t->running, t->token);
	if (!buf_failed(&lines))
		spool_jobs_set(v->spool, buf_str(&lines), lines.len);
	buf_free(&lines);
}

static struct turn *
get_turn(struct verifier *v, const char *token)
{
	struct turn *t;

	for (t = v->turns; t != NULL; t = t->next)
		if (strcmp(t->token, token) == 0)
			return t;
	if ((t = calloc(1, sizeof(*t))) == NULL)
		return NULL;
	snprintf(t->token, sizeof(t->token), "%s", token);
	t->next = v->turns;
	v->turns = t;
	return t;
}

/* A token without any is forgotten. */
static void
put_turn(struct verifier *v, struct turn *turn)
{
	struct turn **at;

	if (turn->njobs > 0 || turn->waiting > 0)
		return;
	for (at = &v->turns; *at != turn; at = &(*at)->next)
		;
	*at = turn->next;
	free(turn);
}

static struct job *
find_job(struct verifier *v, const char *key)
{
	struct job *j;

	for (j = v->jobs; j != NULL; j = j->next)
		if (strcmp(j->key.s, key) == 0)
			break;
	return j;
}

/* The token with the fewest running goes, of these the one that had its turn
 * longest ago. */
static bool
is_before(const struct turn *a, const struct turn *b)
{
	return a->running != b->running ? a->running < b->running
					: a->last < b->last;
}

/* The job whose turn it is, or NULL. */
static struct job *
next_job(struct verifier *v)
{
	struct job *j, *next = NULL;

	for (j = v->jobs; j != NULL; j = j->next)
		if (j->state == JOB_WAITING &&
		    (next == NULL || is_before(j->turn, next->turn)))
			next = j;
	/* The last thread is for those of whom none runs. */
	if (next != NULL && v->running >= v->conf->verify_workers &&
	    next->turn->running > 0)
		return NULL;
	return next;
}

static void
start_job(struct verifier *v, struct job *job)
{
	job->state = JOB_RUNNING;
	job->turn->running++;
	job->turn->last = ++v->clock;
	v->running++;
	show_jobs(v);
}

static void
remove_job(struct verifier *v, struct job *job)
{
	struct job **at;

	for (at = &v->jobs; *at != job; at = &(*at)->next)
		;
	*at = job->next;
	v->njobs--;
	job->turn->njobs--;
	if (job->state == JOB_RUNNING) {
		job->turn->running--;
		v->running--;
	}
	put_turn(v, job->turn);
	show_jobs(v);
	close(job->fd);
	free(job);
	pthread_cond_broadcast(&v->done);
	/* Another's turn may have come. */
	pthread_cond_broadcast(&v->work);
}

/* To the head of the list: somebody waits for it.  Before other tokens' it
 * does not come. */
static void
hurry(struct verifier *v, struct job *job)
{
	struct job **at;

	for (at = &v->jobs; *at != job; at = &(*at)->next)
		;
	*at = job->next;
	job->next = v->jobs;
	v->jobs = job;
}

/* Add a job for fd, which is taken, unless there is one for its key.  Of those
 * that NARs' PUTs asked for there are at most JOBS_MAX, and a quarter of that
 * of a token; of others, as many as wait. */
static void
add_job(struct verifier *v, const struct key *k, int fd, const char *token,
    bool references, bool sent)
{
	const size_t max = sent ? JOBS_MAX : SIZE_MAX;
	struct turn *turn = NULL;
	struct job *job, **at;

	if ((job = find_job(v, k->s)) != NULL)
		job->sent = job->sent || sent;
	if (job != NULL || v->njobs >= max ||
	    (turn = get_turn(v, token)) == NULL || turn->njobs >= max / 4 ||
	    (job = calloc(1, sizeof(*job))) == NULL) {
		if (turn != NULL)
			put_turn(v, turn);
		close(fd);
		return;
	}
	job->turn = turn;
	turn->njobs++;
	job->id = ++v->clock;
	job->key = *k;
	job->fd = fd;
	job->references = references;
	job->sent = sent;
	for (at = &v->jobs; *at != NULL; at = &(*at)->next)
		;
	*at = job;
	v->njobs++;
	show_jobs(v);
	pthread_cond_broadcast(&v->work);
}

/* The threads -------------------------------------------------------------- */

static int
know(const char *hash_part, void *arg)
{
	return refset_add(arg, hash_part);
}

/* The paths that are here by now; NULL when that can't be told. */
static struct refset *
known_paths(struct verifier *v, struct index *ix)
{
	struct refset *known = NULL;

	pthread_mutex_lock(&v->knowing);
	if (v->known == NULL)
		v->known = refset_new();
	if (v->known != NULL &&
	    index_hash_parts(ix, v->cache, &v->known_to, know, v->known) == 0)
		known = v->known;
	pthread_mutex_unlock(&v->knowing);
	return known;
}

/* Enter what was found out about the job's NAR, and what that cost. */
static void
enter(struct verifier *v, struct index *ix, const struct job *job,
    const struct verified *result)
{
	if (result->verdict != VERDICT_GOOD)
		log_info("verify %s: %s", job->key.s, result->why);
	ledger_nar_put(v->ledger, ix, job->turn->token, v->cache, job->key.s,
	    result, (int64_t)time(NULL));
}

static void
run_job(struct verifier *v, struct index *ix, const struct job *job,
    struct verify_how how)
{
	struct token_cost cost = { 0, 0 };
	const int64_t begin = clock_cpu_us();
	struct verified result;
	bool done;

	if (job->references && (how.refs = known_paths(v, ix)) == NULL)
		return;
	done = lseek(job->fd, 0, SEEK_SET) != -1 &&
	    verify_nar(job->fd, &job->key, &how, &result) == 0;
	if (done)
		cost.unpacked = result.unpacked;
	cost.cpu_us = (uint64_t)(clock_cpu_us() - begin);
	ledger_add(v->ledger, job->turn->token, &cost);
	if (done) {
		enter(v, ix, job, &result);
		verified_clear(&result);
	} else if (!atomic_load(&v->stopping))
		log_warnx("verify %s: it can't be read, or there is no "
			  "memory: it is tried again when somebody needs it",
		    job->key.s);
}

static void *
work(void *arg)
{
	struct verifier *v = arg;
	struct index *ix = NULL;
	struct verify_how how;
	struct job *job;
	bool worked = false;

	pthread_mutex_lock(&v->mutex);
	while (!atomic_load(&v->stopping)) {
		if ((job = next_job(v)) == NULL) {
			if (worked) {
				/* Unpacking took most of what we ever had. */
				worked = false;
				pthread_mutex_unlock(&v->mutex);
				malloc_trim(0);
				pthread_mutex_lock(&v->mutex);
				continue;
			}
			pthread_cond_wait(&v->work, &v->mutex);
			continue;
		}
		worked = true;
		start_job(v, job);
		how = v->limits;
		pthread_mutex_unlock(&v->mutex);
		/*
		 * A result that a power cut takes is found again: no fsync of
		 * its own.  It is durable with the narinfo's commit behind it.
		 */
		if (ix == NULL)
			ix = index_open(v->conf->state_dir, INDEX_READ);
		if (ix != NULL)
			run_job(v, ix, job, how);
		pthread_mutex_lock(&v->mutex);
		remove_job(v, job);
	}
	pthread_mutex_unlock(&v->mutex);
	index_close(ix);
	return NULL;
}

/* How many of so many threads may wait at once. */
static size_t
may_wait(uint64_t threads)
{
	return (size_t)(threads >= 16 ? threads - threads / 8
		: threads > 1	      ? threads - 1
				      : 1);
}

struct verifier *
verifier_start(const struct conf *conf, const char *cache,
    struct asset_store *store, struct spool_dir *spool, struct ledger *ledger)
{
	const size_t n = (size_t)conf->verify_workers + 1;
	pthread_condattr_t clock;
	pthread_attr_t attr;
	struct verifier *v;

	if ((v = calloc(1, sizeof(*v) + n * sizeof(v->threads[0]))) == NULL)
		return NULL;
	v->conf = conf;
	v->cache = cache;
	v->store = store;
	v->spool = spool;
	v->ledger = ledger;
	v->waiting_max = may_wait(conf->threads);
	pthread_mutex_init(&v->mutex, NULL);
	verifier_set_limits(v, conf);
	pthread_mutex_init(&v->knowing, NULL);
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&v->work, NULL);
	pthread_cond_init(&v->done, &clock);
	pthread_condattr_destroy(&clock);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	for (; v->nthreads < n; v->nthreads++)
		if ((errno = pthread_create(
			 &v->threads[v->nthreads], &attr, work, v)) != 0)
			break;
	pthread_attr_destroy(&attr);
	if (v->nthreads < n) {
		log_warn("verify: start threads");
		verifier_stop(v);
		return NULL;
	}
	return v;
}

void
verifier_set_limits(struct verifier *v, const struct conf *conf)
{
	pthread_mutex_lock(&v->mutex);
	v->limits = (struct verify_how) { .max = conf->max_nar_size,
		.cpu = conf->max_nar_cpu,
		.ratio = conf->max_nar_ratio,
		.free_bytes = VERIFY_FREE,
		.stop = &v->stopping };
	pthread_mutex_unlock(&v->mutex);
}

void
verifier_interrupt(struct verifier *v)
{
	if (v == NULL)
		return;
	pthread_mutex_lock(&v->mutex);
	atomic_store(&v->stopping, true);
	pthread_cond_broadcast(&v->work);
	pthread_cond_broadcast(&v->done);
	pthread_mutex_unlock(&v->mutex);
}

void
verifier_stop(struct verifier *v)
{
	size_t i;

	if (v == NULL)
		return;
	verifier_interrupt(v);
	for (i = 0; i < v->nthreads; i++)
		pthread_join(v->threads[i], NULL);
	while (v->jobs != NULL)
		remove_job(v, v->jobs);
	pthread_cond_destroy(&v->work);
	pthread_cond_destroy(&v->done);
	pthread_mutex_destroy(&v->mutex);
	pthread_mutex_destroy(&v->knowing);
	refset_free(v->known);
	free(v);
}

/* For the others ------------------------------------------------------------
 */

void
verifier_submit(struct verifier *v, const struct key *k, int fd,
    const char *token, bool references)
{
	pthread_mutex_lock(&v->mutex);
	add_job(v, k, fd, token, references, true);
	pthread_mutex_unlock(&v->mutex);
}

/* Are the bytes of row in a store on the network? */
static bool
is_elsewhere(const struct verifier *v, const struct asset_row *row)
{
	return row->spool[0] == '\0' && v->store->ops->open == NULL;
}

/* The NAR's bytes, wherever they are now. */
static enum verifier_rc
open_nar(struct verifier *v, struct index *ix, const struct key *k, int *fd)
{
	struct asset_row row;
	int tries;

	/* A second look: the relay may move the bytes between row and open. */
	for (tries = 0; tries < 2; tries++) {
		switch (index_asset_get(ix, v->cache, k->s, &row)) {
		case 1:
			break;
		case 0:
			return VERIFIER_NO_NAR;
		default:
			return VERIFIER_ERROR;
		}
		index_asset_clear(&row);
		*fd = row.spool[0] != '\0'
		    ? spool_read(v->spool, row.spool)
		    : (v->store->ops->open != NULL
			      ? v->store->ops->open(v->store, k->s)
			      : -1);
		if (*fd != -1)
			return VERIFIER_DONE;
		if (!is_elsewhere(v, &row) && errno != ENOENT) {
			log_warn("verify %s", k->s);
			return VERIFIER_ERROR;
		}
	}
	return VERIFIER_GONE;
}

/* The token that most wait for, those that are leaving left out. */
static struct turn *
most_waiting(struct verifier *v)
{
	struct turn *t, *most = NULL;

	for (t = v->turns; t != NULL; t = t->next)
		if (most == NULL ||
		    t->waiting - t->leaving > most->waiting - most->leaving)
			most = t;
	return most;
}

/* May one more of this token wait?  Another may have to leave for it. */
static bool
begin_waiting(struct verifier *v, struct turn *turn)
{
	struct turn *most;

	if (v->waiting >= v->waiting_max) {
		most = most_waiting(v);
		if (most->waiting - most->leaving <=
		    turn->waiting - turn->leaving + 1)
			return false;
		most->leaving++;
		v->waiting--;
		pthread_cond_broadcast(&v->done);
	}
	turn->waiting++;
	v->waiting++;
	return true;
}

/* asked: it is one of those that have to leave. */
static void
end_waiting(struct verifier *v, struct turn *turn, bool asked)
{
	if (asked)
		turn->leaving--;
	else
		v->waiting--;
	turn->waiting--;
	/* Those who were to leave may have done so by themselves. */
	if (turn->leaving > turn->waiting) {
		turn->leaving--;
		v->waiting++;
	}
	put_turn(v, turn);
}

/* Until then, or until it is time to ask whether the client has gone. */
static struct timespec
next_look(const struct timespec *until, const struct verifier_wait *w)
{
	struct timespec at;

	if (w->gone == NULL)
		return *until;
	clock_gettime(CLOCK_MONOTONIC, &at);
	at.tv_nsec += GONE_MS * 1000000L;
	if (at.tv_nsec >= 1000000000L) {
		at.tv_sec++;
		at.tv_nsec -= 1000000000L;
	}
	return at.tv_sec > until->tv_sec ||
		(at.tv_sec == until->tv_sec && at.tv_nsec > until->tv_nsec)
	    ? *until
	    : at;
}

static bool
is_past(const struct timespec *until)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec > until->tv_sec ||
	    (now.tv_sec == until->tv_sec && now.tv_nsec >= until->tv_nsec);
}

/* Has the client gone?  Asked without the mutex. */
static bool
has_gone(struct verifier *v, const struct verifier_wait *w)
{
	bool gone;

	if (w->gone == NULL)
		return false;
	pthread_mutex_unlock(&v->mutex);
	gone = w->gone(w->arg);
	pthread_mutex_lock(&v->mutex);
	return gone;
}

/* Nobody needs a job that has not begun when the last who waits goes. */
static void
drop_job(struct verifier *v, struct job *job)
{
	if (job->waiting == 0 && !job->sent && job->state == JOB_WAITING)
		remove_job(v, job);
}

/* Wait a while, or until the client has gone: VERIFIER_DONE to look again. */
static enum verifier_rc
wait_once(struct verifier *v, const struct turn *turn,
    const struct verifier_wait *w, const struct timespec *until)
{
	const struct timespec look = next_look(until, w);

	if (!atomic_load(&v->stopping))
		pthread_cond_timedwait(&v->done, &v->mutex, &look);
	if (atomic_load(&v->stopping) || is_past(until))
		return VERIFIER_SLOW;
	if (turn != NULL && turn->leaving > 0)
		return VERIFIER_BUSY;
	return has_gone(v, w) ? VERIFIER_LEFT : VERIFIER_DONE;
}

/* Wait until there is no job for key: VERIFIER_DONE, or why not. */
static enum verifier_rc
wait_in_turn(struct verifier *v, const char *key, const struct turn *turn,
    const struct verifier_wait *w, const struct timespec *until)
{
	enum verifier_rc rc = VERIFIER_DONE;
	struct job *job;
	uint64_t id;

	while (rc == VERIFIER_DONE && (job = find_job(v, key)) != NULL) {
		if (job->state == JOB_WAITING)
			hurry(v, job);
		id = job->id;
		job->waiting++;
		rc = wait_once(v, turn, w, until);
		/* It may have ended, and there may be another. */
		if ((job = find_job(v, key)) != NULL && job->id == id) {
			job->waiting--;
			if (rc != VERIFIER_DONE)
				drop_job(v, job);
		} else if (rc == VERIFIER_BUSY || rc == VERIFIER_LEFT)
			rc = VERIFIER_DONE;
	}
	return rc;
}

/* The same for a client, as one of those who may wait. */
static enum verifier_rc
wait_for_client(struct verifier *v, const char *key,
    const struct verifier_wait *w, const struct timespec *until)
{
	enum verifier_rc rc;
	struct turn *turn;

	if ((turn = get_turn(v, w->token)) == NULL)
		return VERIFIER_ERROR;
	if (begin_waiting(v, turn)) {
		rc = wait_in_turn(v, key, turn, w, until);
		end_waiting(v, turn, rc == VERIFIER_BUSY);
		return rc;
	}
	put_turn(v, turn);
	drop_job(v, find_job(v, key));
	return VERIFIER_BUSY;
}

static enum verifier_rc
wait_job(struct verifier *v, const char *key, const struct verifier_wait *w,
    const struct timespec *until)
{
	enum verifier_rc rc = VERIFIER_DONE;

	pthread_mutex_lock(&v->mutex);
	if (w->gone == NULL)
		rc = wait_in_turn(v, key, NULL, w, until);
	else if (find_job(v, key) != NULL)
		rc = wait_for_client(v, key, w, until);
	pthread_mutex_unlock(&v->mutex);
	return rc;
}

/* Is what it was too large for another limit by now? */
static bool
may_fit(struct verifier *v, const struct verified *is)
{
	struct verify_how now;

	pthread_mutex_lock(&v->mutex);
	now = v->limits;
	pthread_mutex_unlock(&v->mutex);
	switch (is->over) {
	case LIMIT_SIZE:
		return is->over_limit < now.max;
	case LIMIT_CPU:
		return is->over_limit < now.cpu;
	case LIMIT_RATIO:
		return is->over_limit < now.ratio;
	case LIMIT_OTHER:
		break;
	}
	return false;
}

/*
 * What the index has: as index_nar_get.  0 as well when more is asked for now:
 * references, or a larger NAR than was allowed.
 */
static int
get_result(struct verifier *v, struct index *ix, const struct key *k,
    bool references, struct verified *out)
{
	int rc = index_nar_get(ix, v->cache, k->s, out);

	if (rc != 1)
		return rc;
	if ((out->verdict == VERDICT_GOOD && references &&
		out->refs_done == REFS_NOT_LOOKED_FOR) ||
	    (out->verdict == VERDICT_LARGE && may_fit(v, out))) {
		verified_clear(out);
		return 0;
	}
	return 1;
}

enum verifier_rc
verifier_wait(struct verifier *v, struct index *ix, const struct key *k,
    const struct verifier_wait *w, struct verified *out)
{
	struct timespec until;
	enum verifier_rc rc;
	int tries, fd;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += w->seconds;
	for (tries = 0; tries < 2; tries++) {
		if ((rc = wait_job(v, k->s, w, &until)) != VERIFIER_DONE)
			return rc;
		switch (get_result(v, ix, k, w->references, out)) {
		case 1:
			return VERIFIER_DONE;
		case 0:
			break;
		default:
			return VERIFIER_ERROR;
		}
		if (tries > 0)
			break;
		/* Nobody did: have it done now, whatever else waits. */
		if ((rc = open_nar(v, ix, k, &fd)) != VERIFIER_DONE)
			return rc;
		pthread_mutex_lock(&v->mutex);
		add_job(v, k, fd, w->token, w->references, false);
		pthread_mutex_unlock(&v->mutex);
	}
	return VERIFIER_ERROR;
}
