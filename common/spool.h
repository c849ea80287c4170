/*
 * The spool: bodies on their way from a client to the asset store.
 *
 * Under state_dir/spool:
 *   <instance>.lock        held (flock) for as long as the instance lives;
 *                          names what it had retired and not yet removed
 *   jobs.<instance>        what it verifies for whom (spool_jobs_set)
 *   incoming/<instance>.N  being written; worth nothing
 *   ready/<instance>.N     complete and checked; fsynced before a row of the
 *                          index names it, which it does until it is stored
 *   lost/<instance>.N      found in ready/ at a start, named by no row, not
 *                          retired and not known to be stored; taken back at
 *                          a start when a row names it (the right index was put
 *                          back); removed at a start SPOOL_LOST_DAYS later
 *
 * ASSUMPTION: rename(2) and link(2) are atomic, and after fsync of a file and
 * of its directory both survive a power cut.
 * INVARIANT I1: a name that spool_commit returned stays readable until
 * spool_remove, whatever crashes.
 * INVARIANT: a name is used once, so that removing it never takes the bytes of
 * another key, nor of the same key's next version.
 *
 * Crash points of a PUT: before the rename the file lies in incoming/ and goes
 * at the next start; between the rename (fsync follows it) and the index's
 * commit it lies in ready/ with no row.  The client got no answer and sends
 * again; but since a file whose row was lost with the index looks the same, it
 * goes into lost/ then.  After the commit it stays until the relay's commit
 * says stored; after that it has no row, is retired and goes.
 *
 * Several instances may share a state_dir: what is left behind is recognised
 * by its instance's lock, which nobody holds any more.
 *
 * A struct spool_dir may be used from any thread; a struct spool belongs to
 * one.  Failures are logged here.
 */
#ifndef SPOOL_H
#define SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hash.h"

struct spool_dir;
struct spool;

#define SPOOL_NAME_MAX 63
#define SPOOL_INSTANCE_LEN 16

/* Whoever knows which files are needed; asked at a start only. */
struct spool_owner {
	/* Does a row name this file?  0 when none does. */
	int (*used)(const char *name, void *arg);
	/* Does the store have these bytes?  1 when the index says so. */
	int (*stored)(const struct digest *d, uint64_t size, void *arg);
	/* Called once for each dead instance, after the others. */
	void (*dead)(const char *instance, void *arg);
	void *arg;
	/* What a row says of this file: 1, or 0 when none names it.  NULL:
	 * nothing is taken back from lost/. */
	int (*wanted)(
	    const char *name, struct digest *d, uint64_t *size, void *arg);
	/* A file that a row names was missing, and is here again. */
	void (*back)(const char *name, void *arg);
};

#define SPOOL_LOST_DAYS 30

/*
 * Open the spool under state_dir, made when missing, as a new instance.
 * What dead instances left in incoming/ is removed.  What they left in ready/
 * stays if used, goes if they had retired it or it is stored, and is moved to
 * lost/ else.  NULL on failure.
 */
struct spool_dir *spool_open(
    const char *state_dir, const struct spool_owner *owner);
/*
 * The same for a process that writes one body or two and ends (CGI).  Nothing
 * that takes long in a large spool: ready/ and incoming/ are not looked
 * through, only the few files that an instance like this may have are sought of
 * those that ended SPOOL_GRACE seconds ago or earlier.  spool_close takes the
 * instance away, unless it has retired a file.
 */
struct spool_dir *spool_open_brief(
    const char *state_dir, const struct spool_owner *owner);
/* Open for reading only: no instance, nothing is cleaned. */
struct spool_dir *spool_open_read(const char *state_dir);
void spool_close(struct spool_dir *sd);

/*
 * Have others see these lines, of n bytes, for as long as this instance lives:
 * "RUNNING WAITING TOKEN", jobs of each token that has any.  At once, and
 * worth nothing after a crash.  One thread at a time.
 */
void spool_jobs_set(struct spool_dir *sd, const char *lines, size_t n);
/* Call each for every line of all instances below state_dir. */
void spool_jobs_each(const char *state_dir,
    void (*each)(
	const char *token, uint64_t running, uint64_t waiting, void *arg),
    void *arg);

/* What lies in lost/ below state_dir. */
void spool_lost(const char *state_dir, uint64_t *count, uint64_t *bytes);

/* This instance's id: SPOOL_INSTANCE_LEN hex digits. */
const char *spool_instance(const struct spool_dir *sd);

/* Bytes free for us on the spool's file system: 0, or -1. */
int spool_free_bytes(const struct spool_dir *sd, uint64_t *bytes);

enum spool_rc {
	SPOOL_OK,
	SPOOL_FULL, /* no space left, or over the quota */
	SPOOL_LIMIT, /* more bytes than the limit */
	SPOOL_ERROR,
};

/* A new body of at most limit bytes. */
enum spool_rc spool_new(
    struct spool_dir *sd, uint64_t limit, struct spool **out);

/* Append to the body; after anything but SPOOL_OK only spool_free is left. */
enum spool_rc spool_write(struct spool *s, const void *p, size_t n);

/*
 * Take the file path under body_dir (a directory's absolute path; path begins
 * with it) as the body: by a hard link, by a copy where that can't be.  The
 * web server's own name of it stays the web server's.  Instead of spool_write.
 * SPOOL_ERROR too when path leads out of body_dir or is no regular file.
 */
enum spool_rc spool_take(
    struct spool *s, const char *body_dir, const char *path);

/* What was written so far. */
uint64_t spool_size(const struct spool *s);

/* Its SHA-256; call once, when the body is complete. */
void spool_digest(struct spool *s, struct digest *d);

/* A descriptor on the body, at its beginning, that stays the spool's. */
int spool_fd(const struct spool *s);

/*
 * The body is complete and right: fsync it and move it into ready/ for good,
 * its name into name.  s is spent: free it.  On failure nothing is left.
 */
enum spool_rc spool_commit(struct spool *s, char name[SPOOL_NAME_MAX + 1]);

/* Free s; a body that was not committed is removed.  NULL is harmless. */
void spool_free(struct spool *s);

/* Open a committed body for reading; -1 with errno set (not logged). */
int spool_read(const struct spool_dir *sd, const char *name);

/* The directory and file that hold it, for whoever links it: a descriptor
 * that stays sd's. */
int spool_ready_dir(const struct spool_dir *sd);

/* Remove a committed body that no row ever named. */
void spool_remove(const struct spool_dir *sd, const char *name);

/*
 * Remove a committed body that no row names any more, but not yet: a web
 * server may have been told its name a moment ago and open it now.  spool_reap
 * removes those that were retired SPOOL_GRACE seconds before now, or earlier;
 * what is not reaped goes at the next start.  Returns whether any is left.  now
 * is of a clock that nobody sets (clock_s).
 */
#define SPOOL_GRACE 10
void spool_retire(struct spool_dir *sd, const char *name, int64_t now);
bool spool_reap(struct spool_dir *sd, int64_t now);

#endif
