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

#include "log.h"

/* Open files that wait for a thread. */
#define JOBS_MAX 128
/* The brotli decoder keeps its tables on the stack; the rest asks for less. */
#define STACK_BYTES ((size_t)1 << 20)

enum job_state { JOB_WAITING, JOB_RUNNING };

struct job {
	struct job *next;
	struct key key;
	int fd;
	enum job_state state;
};

struct verifier {
	const struct conf *conf;
	const char *cache;
	struct asset_store *store;
	struct spool_dir *spool;
	atomic_uint_fast64_t max_nar_size;
	pthread_mutex_t mutex;
	pthread_cond_t work; /* there is a job, or it is time to stop */
	pthread_cond_t done; /* a job has left the list */
	struct job *jobs; /* waiting and running, the next one first */
	size_t njobs;
	atomic_bool stopping;
	size_t nthreads;
	pthread_t threads[];
};

/* The list, with the mutex held ------------------------------------------ */

static struct job *
find_job(struct verifier *v, const char *key)
{
	struct job *j;

	for (j = v->jobs; j != NULL; j = j->next)
		if (strcmp(j->key.s, key) == 0)
			break;
	return j;
}

static struct job **
waiting_job(struct verifier *v)
{
	struct job **at;

	for (at = &v->jobs; *at != NULL; at = &(*at)->next)
		if ((*at)->state == JOB_WAITING)
			break;
	return at;
}

static void
remove_job(struct verifier *v, struct job *job)
{
	struct job **at;

	for (at = &v->jobs; *at != job; at = &(*at)->next)
		;
	*at = job->next;
	v->njobs--;
	close(job->fd);
	free(job);
	pthread_cond_broadcast(&v->done);
}

/* To the head of the list: somebody waits for it. */
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

/* Add a job for fd, which is taken, unless there is one for its key. */
static void
add_job(struct verifier *v, const struct key *k, int fd, size_t max)
{
	struct job *job, **at;

	if (find_job(v, k->s) != NULL || v->njobs >= max ||
	    (job = calloc(1, sizeof(*job))) == NULL) {
		close(fd);
		return;
	}
	job->key = *k;
	job->fd = fd;
	for (at = &v->jobs; *at != NULL; at = &(*at)->next)
		;
	*at = job;
	v->njobs++;
	pthread_cond_signal(&v->work);
}

/* The threads -------------------------------------------------------------- */

static void
run_job(struct verifier *v, struct index *ix, const struct job *job)
{
	struct verified result;

	if (lseek(job->fd, 0, SEEK_SET) == -1 ||
	    verify_nar(job->fd, &job->key, atomic_load(&v->max_nar_size),
		&v->stopping, &result) == -1) {
		if (!atomic_load(&v->stopping))
			log_warnx("verify %s: it can't be read, or there is no "
				  "memory: it is tried again when somebody "
				  "needs it",
			    job->key.s);
		return;
	}
	if (result.verdict != VERDICT_GOOD)
		log_info("verify %s: %s", job->key.s, result.why);
	index_nar_put(ix, v->cache, job->key.s, &result, (int64_t)time(NULL));
	verified_clear(&result);
}

static void *
work(void *arg)
{
	struct verifier *v = arg;
	struct index *ix = NULL;
	struct job *job;
	bool worked = false;

	pthread_mutex_lock(&v->mutex);
	while (!atomic_load(&v->stopping)) {
		if ((job = *waiting_job(v)) == NULL) {
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
		job->state = JOB_RUNNING;
		pthread_mutex_unlock(&v->mutex);
		/*
		 * A result that a power cut takes is found again: no fsync of
		 * its own.  It is durable with the narinfo's commit behind it.
		 */
		if (ix == NULL)
			ix = index_open(v->conf->state_dir, INDEX_READ);
		if (ix != NULL)
			run_job(v, ix, job);
		pthread_mutex_lock(&v->mutex);
		remove_job(v, job);
	}
	pthread_mutex_unlock(&v->mutex);
	index_close(ix);
	return NULL;
}

struct verifier *
verifier_start(const struct conf *conf, const char *cache,
    struct asset_store *store, struct spool_dir *spool)
{
	const size_t n = (size_t)conf->verify_workers;
	pthread_condattr_t clock;
	pthread_attr_t attr;
	struct verifier *v;

	if ((v = calloc(1, sizeof(*v) + n * sizeof(v->threads[0]))) == NULL)
		return NULL;
	v->conf = conf;
	v->cache = cache;
	v->store = store;
	v->spool = spool;
	verifier_set_max(v, conf->max_nar_size);
	pthread_mutex_init(&v->mutex, NULL);
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
verifier_set_max(struct verifier *v, uint64_t max_nar_size)
{
	atomic_store(&v->max_nar_size, max_nar_size);
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
	free(v);
}

/* For the others ------------------------------------------------------------
 */

void
verifier_submit(struct verifier *v, const struct key *k, int fd)
{
	pthread_mutex_lock(&v->mutex);
	add_job(v, k, fd, JOBS_MAX);
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

/* Wait until there is no job for key: 0, or -1 when it is late. */
static int
wait_job(struct verifier *v, const char *key, const struct timespec *until)
{
	struct job *job;
	int rc = 0;

	pthread_mutex_lock(&v->mutex);
	while ((job = find_job(v, key)) != NULL && rc == 0) {
		if (atomic_load(&v->stopping))
			break;
		if (job->state == JOB_WAITING)
			hurry(v, job);
		rc = pthread_cond_timedwait(&v->done, &v->mutex, until);
	}
	pthread_mutex_unlock(&v->mutex);
	return job == NULL ? 0 : -1;
}

enum verifier_rc
verifier_wait(struct verifier *v, struct index *ix, const struct key *k,
    unsigned int timeout, struct verified *out)
{
	struct timespec until;
	enum verifier_rc rc;
	int tries, fd;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += timeout;
	for (tries = 0; tries < 2; tries++) {
		if (wait_job(v, k->s, &until) == -1)
			return VERIFIER_SLOW;
		switch (index_nar_get(ix, v->cache, k->s, out)) {
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
		add_job(v, k, fd, SIZE_MAX);
		pthread_mutex_unlock(&v->mutex);
	}
	return VERIFIER_ERROR;
}

enum verifier_rc
verifier_refs(struct verifier *v, struct index *ix, const struct key *k,
    void (*seen)(void *arg, const struct refscan *s), void *arg)
{
	enum verifier_rc rc;
	int fd;

	if ((rc = open_nar(v, ix, k, &fd)) != VERIFIER_DONE)
		return rc;
	if (verify_refs(fd, k, atomic_load(&v->max_nar_size), &v->stopping,
		seen, arg) == -1)
		rc = VERIFIER_ERROR;
	close(fd);
	return rc;
}
