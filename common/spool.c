#include "config.h"

#include "spool.h"

#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base32.h"
#include "file.h"
#include "log.h"
#include "num.h"

#define READ_CHUNK ((size_t)128 << 10)
#define LOCK_SUFFIX ".lock"
/* (Not an instance's name, so that nobody takes it for a lock.) */
#define JOBS_PREFIX "jobs."
/* Of all tokens with jobs: more than that is not shown. */
#define JOBS_BYTES ((size_t)64 << 10)
/* A brief instance has no more files. */
#define BRIEF_FILES 4
/* Bytes that a start reads to tell what nobody needs to keep: a second or two.
 */
#define HASH_MAX (UINT64_C(1) << 30)

/* A body to be removed at a time; a list in that order. */
struct retired {
	struct retired *next;
	int64_t at;
	char name[SPOOL_NAME_MAX + 1];
};

struct spool_dir {
	int dir;
	int incoming;
	int ready;
	int lock;
	int jobs; /* -1 until there are any */
	bool brief;
	char instance[SPOOL_INSTANCE_LEN + 1];
	atomic_uint_fast64_t counter;
	pthread_mutex_t mutex; /* of the list */
	struct retired *first;
	struct retired **last;
};

struct spool {
	struct spool_dir *sd;
	int fd;
	char name[SPOOL_NAME_MAX + 1];
	bool in_incoming; /* the name exists there */
	uint64_t size;
	uint64_t limit;
	struct hash *hash;
};

/* Our part of a name: what stands before the first dot. */
static bool
name_instance(const char *name, char instance[SPOOL_INSTANCE_LEN + 1])
{
	if (strcspn(name, ".") != SPOOL_INSTANCE_LEN)
		return false;
	memcpy(instance, name, SPOOL_INSTANCE_LEN);
	instance[SPOOL_INSTANCE_LEN] = '\0';
	return true;
}

/* Has anybody a lock on this file? */
static bool
is_locked(struct spool_dir *sd, const char *name)
{
	bool locked;
	int fd;

	if ((fd = openat(sd->dir, name, O_RDONLY | O_CLOEXEC)) == -1)
		return false;
	locked = flock(fd, LOCK_SH | LOCK_NB) == -1;
	close(fd);
	return locked;
}

/*
 * Is this instance gone?  Its lock is held as long as it lives.  The caller
 * holds the start lock, so that no lock is between creation and flock.
 */
static bool
instance_dead(struct spool_dir *sd, const char *instance)
{
	char lock[SPOOL_INSTANCE_LEN + sizeof(LOCK_SUFFIX)];
	bool dead;
	int fd;

	snprintf(lock, sizeof(lock), "%s" LOCK_SUFFIX, instance);
	if ((fd = openat(sd->dir, lock, O_RDONLY | O_CLOEXEC)) == -1)
		return errno == ENOENT;
	dead = flock(fd, LOCK_EX | LOCK_NB) == 0;
	close(fd);
	return dead;
}

/* Call each for every name in the directory dirfd. */
static int
each_name(int dirfd,
    void (*each)(struct spool_dir *sd, const char *name, void *arg),
    struct spool_dir *sd, void *arg)
{
	struct dirent *de;
	DIR *d;
	int fd;

	if ((fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) == -1)
		return -1;
	if ((d = fdopendir(fd)) == NULL) {
		close(fd);
		return -1;
	}
	while ((de = readdir(d)) != NULL)
		if (de->d_name[0] != '.')
			each(sd, de->d_name, arg);
	closedir(d);
	return 0;
}

/* The digest and the size of a regular file: 0 or -1. */
static int
hash_fd(int fd, struct digest *d, uint64_t *size)
{
	struct hash *h = hash_new();
	char *chunk = malloc(READ_CHUNK);
	struct stat st;
	ssize_t r = -1;

	*size = 0;
	if (h != NULL && chunk != NULL && fstat(fd, &st) == 0 &&
	    S_ISREG(st.st_mode))
		while ((r = file_read_full(fd, chunk, READ_CHUNK)) > 0) {
			hash_add(h, chunk, (size_t)r);
			*size += (uint64_t)r;
		}
	if (r == 0)
		hash_final(h, d);
	free(chunk);
	hash_free(h);
	return r == 0 ? 0 : -1;
}

struct recovery {
	const struct spool_owner *owner;
	unsigned int removed;
	unsigned int lost;
	unsigned int back;
	uint64_t hashed;
};

static void
recover_incoming(struct spool_dir *sd, const char *name, void *arg)
{
	struct recovery *r = arg;
	char instance[SPOOL_INSTANCE_LEN + 1];

	if (name_instance(name, instance) && !instance_dead(sd, instance))
		return;
	if (unlinkat(sd->incoming, name, 0) == -1)
		log_warn("spool: remove incoming/%s", name);
	else
		r->removed++;
}

static void
remove_ready(struct spool_dir *sd, const char *name, struct recovery *r)
{
	if (unlinkat(sd->ready, name, 0) == 0)
		r->removed++;
	else if (errno != ENOENT)
		log_warn("spool: remove ready/%s", name);
}

/* The index of whoever wrote these was done with them: the lock's lines. */
static void
recover_retired(struct spool_dir *sd, const char *name, void *arg)
{
	struct recovery *r = arg;
	char instance[SPOOL_INSTANCE_LEN + 1], line[SPOOL_NAME_MAX + 2];
	FILE *f;
	int fd;

	if (!name_instance(name, instance) || !instance_dead(sd, instance) ||
	    (fd = openat(sd->dir, name, O_RDONLY | O_CLOEXEC)) == -1)
		return;
	if ((f = fdopen(fd, "r")) == NULL) {
		close(fd);
		return;
	}
	while (fgets(line, sizeof(line), f) != NULL) {
		/* The last line may be cut. */
		if (strchr(line, '\n') == NULL)
			break;
		line[strcspn(line, "\n")] = '\0';
		if (name_instance(line, instance) &&
		    strchr(line, '/') == NULL &&
		    r->owner->used(line, r->owner->arg) == 0)
			remove_ready(sd, line, r);
	}
	fclose(f);
}

/* Does the store have the bytes of this file?  1, 0, or -1: can't tell. */
static int
is_stored(struct spool_dir *sd, const char *name, struct recovery *r)
{
	struct digest d;
	struct stat st;
	uint64_t size;
	int fd, rc = -1;

	if ((fd = openat(sd->ready, name,
		 O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)) == -1)
		return -1;
	/* Nobody is served meanwhile: of very much all is kept. */
	if (fstat(fd, &st) == 0 &&
	    (r->hashed += (uint64_t)st.st_size) <= HASH_MAX &&
	    hash_fd(fd, &d, &size) == 0)
		rc = r->owner->stored(&d, size, r->owner->arg);
	close(fd);
	return rc;
}

/*
 * Move a file into lost/, whose time counts from now.  Nothing takes the place
 * of a namesake there.
 */
static void
keep_lost(struct spool_dir *sd, const char *name, struct recovery *r)
{
	int lost;

	if ((lost = file_open_dir(sd->dir, "lost", 0700, true)) == -1) {
		log_warn("spool: lost/");
		return;
	}
	if (linkat(sd->ready, name, lost, name, 0) == -1 ||
	    utimensat(lost, name, NULL, AT_SYMLINK_NOFOLLOW) == -1 ||
	    file_sync_dir(lost) == -1 || unlinkat(sd->ready, name, 0) == -1)
		log_warn("spool: move ready/%s into lost/", name);
	else
		r->lost++;
	close(lost);
}

/*
 * No row names it.  Its sender may have been answered all the same, when the
 * index is not the one that knew it: the bytes are kept unless the store has
 * them.
 */
static void
recover_unknown(struct spool_dir *sd, const char *name, struct recovery *r)
{
	if (is_stored(sd, name, r) == 1)
		remove_ready(sd, name, r);
	else
		keep_lost(sd, name, r);
}

static void
recover_ready(struct spool_dir *sd, const char *name, void *arg)
{
	struct recovery *r = arg;
	char instance[SPOOL_INSTANCE_LEN + 1];

	if (name_instance(name, instance) && !instance_dead(sd, instance))
		return;
	if (r->owner->used(name, r->owner->arg) == 0)
		recover_unknown(sd, name, r);
}

/* Has lost/name the bytes that a row says?  1, 0, or -1: can't tell. */
static int
is_wanted(int lost, const char *name, const struct digest *want, uint64_t size)
{
	struct digest d;
	struct stat st;
	uint64_t n;
	int fd, rc = -1;

	if ((fd = openat(lost, name,
		 O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)) == -1)
		return -1;
	if (fstat(fd, &st) == 0 && (uint64_t)st.st_size != size)
		rc = 0;
	else if (hash_fd(fd, &d, &n) == 0)
		rc = n == size && digest_equal(&d, want);
	close(fd);
	return rc;
}

/*
 * A file of lost/ that a row names, and that is missing: another index was here
 * for a while.
 */
static void
take_back(struct spool_dir *sd, const char *name, void *arg)
{
	struct recovery *r = arg;
	struct digest want;
	uint64_t size;
	int lost;

	if (faccessat(sd->ready, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0 ||
	    r->owner->wanted(name, &want, &size, r->owner->arg) != 1 ||
	    (lost = file_open_dir(sd->dir, "lost", 0700, false)) == -1)
		return;
	switch (is_wanted(lost, name, &want, size)) {
	case 1:
		if (linkat(lost, name, sd->ready, name, 0) == -1 ||
		    file_sync_dir(sd->ready) == -1 ||
		    unlinkat(lost, name, 0) == -1) {
			log_warn("spool: move lost/%s into ready/", name);
			break;
		}
		r->owner->back(name, r->owner->arg);
		r->back++;
		break;
	case 0:
		log_warnx("spool: the index names %s, and lost/%s has other "
			  "bytes: push again what is missing",
		    name, name);
		break;
	default:
		log_warn("spool: read lost/%s", name);
	}
	close(lost);
}

static int
take_all_back(struct spool_dir *sd, struct recovery *r)
{
	int fd, rc;

	if (r->owner->wanted == NULL)
		return 0;
	if ((fd = file_open_dir(sd->dir, "lost", 0700, false)) == -1)
		return errno == ENOENT ? 0 : -1;
	rc = each_name(fd, take_back, sd, r);
	close(fd);
	return rc;
}

/* What lies in lost/ for long nobody will ask for. */
static void
sweep_lost(struct spool_dir *sd)
{
	const time_t before = time(NULL) - (time_t)SPOOL_LOST_DAYS * 86400;
	struct dirent *de;
	struct stat st;
	DIR *d;
	int fd;

	if ((fd = file_open_dir(sd->dir, "lost", 0700, false)) == -1)
		return;
	if ((d = fdopendir(fd)) == NULL) {
		close(fd);
		return;
	}
	while ((de = readdir(d)) != NULL)
		if (fstatat(fd, de->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISREG(st.st_mode) && st.st_mtime < before &&
		    unlinkat(fd, de->d_name, 0) == -1)
			log_warn("spool: remove lost/%s", de->d_name);
	closedir(d);
}

static void
remove_jobs(struct spool_dir *sd, const char *instance)
{
	char name[sizeof(JOBS_PREFIX) + SPOOL_INSTANCE_LEN];

	snprintf(name, sizeof(name), "%s%s", JOBS_PREFIX, instance);
	if (unlinkat(sd->dir, name, 0) == -1 && errno != ENOENT)
		log_warn("spool: remove %s", name);
}

static void
recover_lock(struct spool_dir *sd, const char *name, void *arg)
{
	struct recovery *r = arg;
	char instance[SPOOL_INSTANCE_LEN + 1];

	if (!name_instance(name, instance) ||
	    strcmp(name + SPOOL_INSTANCE_LEN, LOCK_SUFFIX) != 0 ||
	    !instance_dead(sd, instance))
		return;
	r->owner->dead(instance, r->owner->arg);
	remove_jobs(sd, instance);
	/* A brief one removes its lock itself. */
	if (unlinkat(sd->dir, name, 0) == -1 && errno != ENOENT)
		log_warn("spool: remove %s", name);
}

/* What a brief instance left, if name is the lock of one that ended. */
static void
recover_brief(struct spool_dir *sd, const char *name, void *arg)
{
	struct recovery *r = arg;
	char instance[SPOOL_INSTANCE_LEN + 1], file[SPOOL_NAME_MAX + 1];
	const time_t now = time(NULL);
	struct stat st;
	int i;

	if (!name_instance(name, instance) ||
	    fstatat(sd->dir, name, &st, AT_SYMLINK_NOFOLLOW) == -1 ||
	    /* (Of the future: the clock was set back.) */
	    (st.st_mtime + SPOOL_GRACE > now && st.st_mtime <= now) ||
	    !instance_dead(sd, instance))
		return;
	for (i = 0; i < BRIEF_FILES; i++) {
		snprintf(file, sizeof(file), "%s.%d", instance, i);
		if (unlinkat(sd->incoming, file, 0) == 0)
			r->removed++;
	}
	recover_retired(sd, name, r);
	for (i = 0; i < BRIEF_FILES; i++) {
		snprintf(file, sizeof(file), "%s.%d", instance, i);
		if (faccessat(sd->ready, file, F_OK, 0) == 0)
			recover_ready(sd, file, r);
	}
	recover_lock(sd, name, arg);
}

/* Take a lock of our own, under a name nobody had. */
static int
take_instance(struct spool_dir *sd)
{
	char lock[SPOOL_INSTANCE_LEN + sizeof(LOCK_SUFFIX)];
	uint8_t id[SPOOL_INSTANCE_LEN / 2];

	if (getrandom(id, sizeof(id), 0) != (ssize_t)sizeof(id))
		return -1;
	hex_encode(id, sizeof(id), sd->instance);
	snprintf(lock, sizeof(lock), "%s" LOCK_SUFFIX, sd->instance);
	sd->lock = openat(sd->dir, lock,
	    O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
	if (sd->lock == -1 || flock(sd->lock, LOCK_EX | LOCK_NB) == -1)
		return -1;
	/* After a power cut it tells whose claims are nobody's. */
	return file_sync_dir(sd->dir);
}

/* One starts at a time: see instance_dead. */
static int
start(struct spool_dir *sd, struct recovery *r)
{
	int fd, rc = -1;

	fd = openat(sd->dir, "start", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd == -1 || flock(fd, LOCK_EX) == -1)
		goto out;
	if (sd->brief) {
		if (each_name(sd->dir, recover_brief, sd, r) == -1)
			goto out;
	} else if (each_name(sd->incoming, recover_incoming, sd, r) == -1 ||
	    each_name(sd->dir, recover_retired, sd, r) == -1 ||
	    each_name(sd->ready, recover_ready, sd, r) == -1 ||
	    take_all_back(sd, r) == -1 ||
	    each_name(sd->dir, recover_lock, sd, r) == -1)
		goto out;
	if (take_instance(sd) == -1)
		goto out;
	rc = 0;
out:
	if (fd != -1)
		close(fd);
	return rc;
}

static struct spool_dir *
open_dirs(const char *state_dir, bool create)
{
	struct spool_dir *sd;
	int state = -1;

	if ((sd = calloc(1, sizeof(*sd))) == NULL)
		return NULL;
	sd->dir = sd->incoming = sd->ready = sd->lock = sd->jobs = -1;
	pthread_mutex_init(&sd->mutex, NULL);
	sd->last = &sd->first;
	if ((state = file_open_dir(AT_FDCWD, state_dir, 0755, false)) == -1 ||
	    (sd->dir = file_open_dir(state, "spool", 0755, create)) == -1 ||
	    (sd->incoming = file_open_dir(sd->dir, "incoming", 0700, create)) ==
		-1 ||
	    (sd->ready = file_open_dir(sd->dir, "ready", 0755, create)) == -1) {
		log_warn("spool: %s/spool", state_dir);
		spool_close(sd);
		sd = NULL;
	}
	if (state != -1)
		close(state);
	return sd;
}

static struct spool_dir *
open_instance(
    const char *state_dir, bool brief, const struct spool_owner *owner)
{
	struct recovery r = { .owner = owner };
	struct spool_dir *sd;

	if ((sd = open_dirs(state_dir, true)) == NULL)
		return NULL;
	sd->brief = brief;
	if (start(sd, &r) == -1) {
		log_warn("spool: %s/spool", state_dir);
		spool_close(sd);
		return NULL;
	}
	if (!brief)
		sweep_lost(sd);
	if (r.back > 0)
		log_info("spool: %u files that the index names are back from "
			 "%s/spool/lost",
		    r.back, state_dir);
	if (r.removed > 0 && !brief)
		log_info("spool: removed %u unfinished or finished files",
		    r.removed);
	if (r.lost > 0)
		log_warnx("spool: %u files that the index does not name are in "
			  "%s/spool/lost now, for %d days: left by a crash, or "
			  "by an index that was lost: push again what is "
			  "missing",
		    r.lost, state_dir, SPOOL_LOST_DAYS);
	return sd;
}

struct spool_dir *
spool_open(const char *state_dir, const struct spool_owner *owner)
{
	return open_instance(state_dir, false, owner);
}

struct spool_dir *
spool_open_brief(const char *state_dir, const struct spool_owner *owner)
{
	return open_instance(state_dir, true, owner);
}

struct spool_dir *
spool_open_read(const char *state_dir)
{
	return open_dirs(state_dir, false);
}

/*
 * The lock of a brief instance: nothing is left of it that would need one,
 * unless it retired a file, which goes some time after now.
 */
static void
leave(struct spool_dir *sd)
{
	char lock[SPOOL_INSTANCE_LEN + sizeof(LOCK_SUFFIX)];

	snprintf(lock, sizeof(lock), "%s" LOCK_SUFFIX, sd->instance);
	if (sd->first != NULL)
		futimens(sd->lock, NULL);
	else
		unlinkat(sd->dir, lock, 0);
}

void
spool_close(struct spool_dir *sd)
{
	struct retired *t;

	if (sd == NULL)
		return;
	if (sd->jobs != -1) {
		remove_jobs(sd, sd->instance);
		close(sd->jobs);
	}
	if (sd->brief && sd->lock != -1)
		leave(sd);
	while ((t = sd->first) != NULL) {
		sd->first = t->next;
		free(t);
	}
	pthread_mutex_destroy(&sd->mutex);
	/*
	 * The lock file stays: the next start finds it unlocked and gives back
	 * what this instance still had claimed.
	 */
	if (sd->lock != -1)
		close(sd->lock);
	if (sd->ready != -1)
		close(sd->ready);
	if (sd->incoming != -1)
		close(sd->incoming);
	if (sd->dir != -1)
		close(sd->dir);
	free(sd);
}

void
spool_lost(const char *state_dir, uint64_t *count, uint64_t *bytes)
{
	struct dirent *de;
	struct stat st;
	DIR *d = NULL;
	int state, fd;

	*count = *bytes = 0;
	if ((state = file_open_dir(AT_FDCWD, state_dir, 0, false)) == -1)
		return;
	fd = file_open_dir(state, "spool/lost", 0, false);
	close(state);
	if (fd == -1 || (d = fdopendir(fd)) == NULL)
		return;
	while ((de = readdir(d)) != NULL)
		if (fstatat(fd, de->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISREG(st.st_mode)) {
			++*count;
			*bytes += (uint64_t)st.st_size;
		}
	closedir(d);
}

const char *
spool_instance(const struct spool_dir *sd)
{
	return sd->instance;
}

int
spool_free_bytes(const struct spool_dir *sd, uint64_t *bytes)
{
	struct statvfs v;

	if (fstatvfs(sd->dir, &v) == -1) {
		log_warn("spool: statvfs");
		return -1;
	}
	*bytes = (uint64_t)v.f_bavail * v.f_frsize;
	return 0;
}

/* What errno means for the body at hand. */
static enum spool_rc
failed(const struct spool *s, const char *what)
{
	enum spool_rc rc = SPOOL_ERROR;

	if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)
		rc = SPOOL_FULL;
	log_warn("spool: %s incoming/%s", what, s->name);
	return rc;
}

enum spool_rc
spool_new(struct spool_dir *sd, uint64_t limit, struct spool **out)
{
	struct spool *s;

	*out = NULL;
	if ((s = calloc(1, sizeof(*s))) == NULL ||
	    (s->hash = hash_new()) == NULL) {
		free(s);
		return SPOOL_ERROR;
	}
	s->sd = sd;
	s->fd = -1;
	s->limit = limit;
	snprintf(s->name, sizeof(s->name), "%s.%llu", sd->instance,
	    (unsigned long long)atomic_fetch_add(&sd->counter, 1));
	*out = s;
	return SPOOL_OK;
}

/* The file itself is made by the first byte: a hand-over needs none. */
static int
create(struct spool *s)
{
	if (s->fd != -1)
		return 0;
	/* Readable by the web server, which sends it while it is spooled. */
	s->fd = openat(s->sd->incoming, s->name,
	    O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (s->fd == -1)
		return -1;
	s->in_incoming = true;
	return fchmod(s->fd, 0644);
}

enum spool_rc
spool_write(struct spool *s, const void *p, size_t n)
{
	if (n > s->limit - s->size)
		return SPOOL_LIMIT;
	if (create(s) == -1)
		return failed(s, "create");
	if (file_write_all(s->fd, p, n) == -1)
		return failed(s, "write");
	hash_add(s->hash, p, n);
	s->size += n;
	return SPOOL_OK;
}

/* Open path below body_dir without following a link out of it. */
static int
open_body(const char *body_dir, const char *path, int *dir, const char **rest)
{
	size_t n = strlen(body_dir);
	struct stat st;
	int fd;

	errno = EPERM;
	if (strncmp(path, body_dir, n) != 0 || path[n] != '/')
		return -1;
	for (*rest = path + n; **rest == '/'; (*rest)++)
		;
	if (strstr(*rest, "..") != NULL)
		return -1;
	if ((*dir = file_open_dir(AT_FDCWD, body_dir, 0, false)) == -1)
		return -1;
	fd = openat(*dir, *rest, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (fd == -1)
		return -1;
	if (fstat(fd, &st) == -1 || !S_ISREG(st.st_mode)) {
		close(fd);
		errno = EINVAL;
		return -1;
	}
	return fd;
}

/* Hash the whole of the file, counting. */
static enum spool_rc
hash_file(struct spool *s)
{
	char *chunk;
	ssize_t r;
	enum spool_rc rc = SPOOL_OK;

	if ((chunk = malloc(READ_CHUNK)) == NULL)
		return SPOOL_ERROR;
	if (lseek(s->fd, 0, SEEK_SET) == -1) {
		rc = failed(s, "seek");
		goto out;
	}
	while ((r = file_read_full(s->fd, chunk, READ_CHUNK)) > 0) {
		if ((size_t)r > s->limit - s->size) {
			rc = SPOOL_LIMIT;
			goto out;
		}
		hash_add(s->hash, chunk, (size_t)r);
		s->size += (uint64_t)r;
	}
	if (r == -1)
		rc = failed(s, "read");
out:
	free(chunk);
	return rc;
}

enum spool_rc
spool_take(struct spool *s, const char *body_dir, const char *path)
{
	const char *rest;
	uint64_t copied;
	int dir = -1, fd = -1;
	enum spool_rc rc = SPOOL_ERROR;

	if ((fd = open_body(body_dir, path, &dir, &rest)) == -1) {
		log_warn("spool: body file %s", path);
		goto out;
	}
	if (linkat(dir, rest, s->sd->incoming, s->name, 0) == 0) {
		s->in_incoming = true;
		s->fd = fd;
		fd = -1;
		if (fchmod(s->fd, 0644) == -1) {
			rc = failed(s, "chmod");
			goto out;
		}
	} else if (create(s) == -1) {
		rc = failed(s, "create");
		goto out;
	} else if (file_copy(fd, s->fd, &copied) == -1) {
		rc = failed(s, "copy");
		goto out;
	}
	rc = hash_file(s);
out:
	if (fd != -1)
		close(fd);
	if (dir != -1)
		close(dir);
	return rc;
}

uint64_t
spool_size(const struct spool *s)
{
	return s->size;
}

void
spool_digest(struct spool *s, struct digest *d)
{
	hash_final(s->hash, d);
}

int
spool_fd(const struct spool *s)
{
	if (s->fd != -1 && lseek(s->fd, 0, SEEK_SET) == -1)
		return -1;
	return s->fd;
}

enum spool_rc
spool_commit(struct spool *s, char name[SPOOL_NAME_MAX + 1])
{
	enum spool_rc rc;

	/* An empty body has no file yet. */
	if (create(s) == -1)
		return failed(s, "create");
	/*
	 * Renamed first: one journal commit then carries the data, the file and
	 * its new name, and the second fsync finds nothing left to do.  Until
	 * both are back no row names the file, so that a crash in between
	 * leaves a file in ready/ that the next start removes.
	 */
	if (renameat(s->sd->incoming, s->name, s->sd->ready, s->name) == -1)
		return failed(s, "rename");
	s->in_incoming = false;
	if (fsync(s->fd) == -1 || file_sync_dir(s->sd->ready) == -1) {
		rc = failed(s, "fsync");
		unlinkat(s->sd->ready, s->name, 0);
		return rc;
	}
	memcpy(name, s->name, sizeof(s->name));
	return SPOOL_OK;
}

void
spool_free(struct spool *s)
{
	if (s == NULL)
		return;
	if (s->in_incoming && unlinkat(s->sd->incoming, s->name, 0) == -1)
		log_warn("spool: remove incoming/%s", s->name);
	if (s->fd != -1)
		close(s->fd);
	hash_free(s->hash);
	free(s);
}

int
spool_read(const struct spool_dir *sd, const char *name)
{
	return openat(sd->ready, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
}

int
spool_ready_dir(const struct spool_dir *sd)
{
	return sd->ready;
}

void
spool_remove(const struct spool_dir *sd, const char *name)
{
	if (unlinkat(sd->ready, name, 0) == -1 && errno != ENOENT)
		log_warn("spool: remove ready/%s", name);
}

void
spool_retire(struct spool_dir *sd, const char *name, int64_t now)
{
	struct retired *t;

	if ((t = calloc(1, sizeof(*t))) == NULL)
		return; /* the next start removes it */
	snprintf(t->name, sizeof(t->name), "%s", name);
	t->at = now + SPOOL_GRACE;
	pthread_mutex_lock(&sd->mutex);
	*sd->last = t;
	sd->last = &t->next;
	/* For the next start, which then needn't ask what it is. */
	dprintf(sd->lock, "%s\n", name);
	pthread_mutex_unlock(&sd->mutex);
}

/* Take the first off the list if its time has come. */
static struct retired *
take_retired(struct spool_dir *sd, int64_t now)
{
	struct retired *t;

	pthread_mutex_lock(&sd->mutex);
	if ((t = sd->first) != NULL && t->at <= now) {
		if ((sd->first = t->next) == NULL)
			sd->last = &sd->first;
	} else
		t = NULL;
	pthread_mutex_unlock(&sd->mutex);
	return t;
}

bool
spool_reap(struct spool_dir *sd, int64_t now)
{
	struct retired *t;
	bool left;

	while ((t = take_retired(sd, now)) != NULL) {
		spool_remove(sd, t->name);
		free(t);
	}
	pthread_mutex_lock(&sd->mutex);
	left = sd->first != NULL;
	if (!left && ftruncate(sd->lock, 0) == -1)
		log_warn("spool: %s" LOCK_SUFFIX, sd->instance);
	pthread_mutex_unlock(&sd->mutex);
	return left;
}

/* Jobs -------------------------------------------------------------------- */

/* The file for them, locked for as long as this process has it open. */
static int
open_jobs(struct spool_dir *sd)
{
	char name[sizeof(JOBS_PREFIX) + SPOOL_INSTANCE_LEN];
	int fd;

	snprintf(name, sizeof(name), "%s%s", JOBS_PREFIX, sd->instance);
	fd = openat(sd->dir, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd == -1)
		return -1;
	/* (A reader that has it lets it go at once.) */
	if (flock(fd, LOCK_EX) == 0)
		return fd;
	close(fd);
	return -1;
}

void
spool_jobs_set(struct spool_dir *sd, const char *lines, size_t n)
{
	if (sd->jobs == -1 && (n == 0 || (sd->jobs = open_jobs(sd)) == -1))
		return;
	if (n > JOBS_BYTES)
		n = 0;
	if (pwrite(sd->jobs, lines, n, 0) != (ssize_t)n ||
	    ftruncate(sd->jobs, (off_t)n) == -1)
		log_debug("spool: jobs: %s", strerrordesc_np(errno));
}

/* A line, which is cut. */
static void
tell_jobs(char *line,
    void (*each)(
	const char *token, uint64_t running, uint64_t waiting, void *arg),
    void *arg)
{
	char *waiting, *token;
	uint64_t r, w;

	if ((waiting = strchr(line, ' ')) == NULL ||
	    (token = strchr(waiting + 1, ' ')) == NULL)
		return;
	*waiting++ = '\0';
	*token++ = '\0';
	if (num_parse(line, strlen(line), UINT32_MAX, &r) == 0 &&
	    num_parse(waiting, strlen(waiting), UINT32_MAX, &w) == 0)
		each(token, r, w, arg);
}

/* How each_name goes through all jobs. */
struct jobs {
	void (*each)(
	    const char *token, uint64_t running, uint64_t waiting, void *arg);
	void *arg;
};

static void
read_jobs(struct spool_dir *sd, const char *name, void *arg)
{
	const struct jobs *j = arg;
	struct buf text = BUF_INIT;
	char *line, *end;

	if (strncmp(name, JOBS_PREFIX, strlen(JOBS_PREFIX)) != 0 ||
	    !is_locked(sd, name) ||
	    file_read_at(sd->dir, name, JOBS_BYTES, &text) == -1)
		return;
	for (line = text.p; line != NULL && (end = strchr(line, '\n')) != NULL;
	     line = end + 1) {
		*end = '\0';
		tell_jobs(line, j->each, j->arg);
	}
	buf_free(&text);
}

void
spool_jobs_each(const char *state_dir,
    void (*each)(
	const char *token, uint64_t running, uint64_t waiting, void *arg),
    void *arg)
{
	struct jobs j = { each, arg };
	struct spool_dir *sd;

	if ((sd = spool_open_read(state_dir)) == NULL)
		return;
	each_name(sd->dir, read_jobs, sd, &j);
	spool_close(sd);
}
