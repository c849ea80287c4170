/*
 * The embedded default: <state_dir>/<dir>/<key>, so that the directory by
 * itself is a static binary cache any web server can serve.
 *
 * Where reading takes a token it is another directory, one that the web server
 * has for the answers of the programs alone: a web server that was not told
 * finds nothing to serve around them.
 *
 * A body in the spool is on the same file system and enters by a hard link;
 * rename(2) puts it in place, so a reader sees the old file or the new one.
 *
 * Until then it lies in .put/N/, a directory that a process has to itself for
 * as long as it holds the lock (flock) of it.  What the dead left in theirs is
 * removed whenever a process takes one.
 */
#include "config.h"

#include "asset.h"

#include <sys/file.h>
#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file.h"
#include "key.h"
#include "log.h"

/* Temporary names begin with a dot: no key does, and no server lists them. */
#define TEMP_MAX 64
#define TEMP_DIR ".put"
/* Processes at once: CGI has one for each request. */
#define TEMP_DIRS 1024
#define FLUSH_BATCH 64

struct asset_file {
	struct asset_store store;
	int root;
	int temp; /* our directory for what is not in place; -1: we don't write
		   */
	atomic_uint_fast64_t counter;
};

static enum asset_rc
failed(const char *what, const char *key, struct buf *why)
{
	char text[128];

	buf_addf(why, "file store: %s %s: %s", what, key,
	    strerror_r(errno, text, sizeof(text)));
	return ASSET_RETRY;
}

/*
 * Open the directory that holds key, made when missing, and point *name at
 * key's last segment.
 */
static int
open_parent(
    struct asset_file *af, const char *key, const char **name, bool create)
{
	char dir[KEY_MAX + 1];
	char *p;
	size_t n;
	int fd;

	if ((*name = strrchr(key, '/')) == NULL) {
		*name = key;
		return file_open_dir(af->root, ".", 0, false);
	}
	n = (size_t)(*name - key);
	if (n > KEY_MAX) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(dir, key, n);
	dir[n] = '\0';
	(*name)++;
	/* build-trace-v2/<drv>/ is the deepest there is. */
	if (create && (p = strchr(dir, '/')) != NULL) {
		*p = '\0';
		if ((fd = file_open_dir(af->root, dir, 0755, true)) == -1)
			return -1;
		close(fd);
		*p = '/';
	}
	return file_open_dir(af->root, dir, 0755, create);
}

/* Put the bytes of src under a temporary name in dir. */
static int
place(const struct asset_source *src, int dir, const char *temp)
{
	uint64_t copied;
	int fd, rc = -1, saved;

	if (src->fd != -1 && linkat(src->dir, src->name, dir, temp, 0) == 0)
		return 0;
	fd = openat(dir, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd == -1)
		return -1;
	if (fchmod(fd, 0644) == 0) {
		if (src->fd == -1)
			rc = file_write_all(fd, src->p, src->size);
		else if (lseek(src->fd, 0, SEEK_SET) == 0)
			rc = file_copy(src->fd, fd, &copied);
	}
	saved = errno;
	if (close(fd) == -1 && rc == 0)
		return -1;
	errno = saved;
	return rc;
}

/* Make the file name in dir of src, by way of a file in temp_dir. */
static int
put_by(struct asset_file *af, const struct asset_source *src, int temp_dir,
    int dir, const char *name)
{
	char temp[TEMP_MAX];
	int rc = -1, saved;

	snprintf(temp, sizeof(temp), ".put.%llu",
	    (unsigned long long)atomic_fetch_add(&af->counter, 1));
	if (place(src, temp_dir, temp) == 0)
		rc = renameat(temp_dir, temp, dir, name);
	saved = errno;
	/* Renaming a link over another link of the same file leaves both. */
	if (unlinkat(temp_dir, temp, 0) == -1 && errno != ENOENT && rc == 0)
		return -1;
	errno = saved;
	return rc;
}

static enum asset_rc
file_put(struct asset_store *as, const struct asset_source *src, char **url,
    struct buf *why)
{
	struct asset_file *af = (struct asset_file *)as;
	const char *name;
	int dir, rc;

	*url = NULL;
	if ((dir = open_parent(af, src->key, &name, true)) == -1)
		return failed("open the directory of", src->key, why);
	rc = put_by(af, src, af->temp, dir, name);
	/* A directory of the store may be another disk. */
	if (rc == -1 && errno == EXDEV)
		rc = put_by(af, src, dir, dir, name);
	if (rc == -1)
		failed("write", src->key, why);
	close(dir);
	return rc == 0 ? ASSET_OK : ASSET_RETRY;
}

/*
 * One syncfs(2) for the batch: cheaper than two fsyncs for each object.  It
 * waits for the data and the directories, and reports what failed.
 */
static enum asset_rc
file_flush(struct asset_store *as, struct buf *why)
{
	struct asset_file *af = (struct asset_file *)as;

	if (syncfs(af->root) == -1)
		return failed("sync", "store", why);
	return ASSET_OK;
}

static enum asset_rc
file_confirm(struct asset_store *as, const struct asset_source *src,
    const char *url, struct buf *why)
{
	struct asset_file *af = (struct asset_file *)as;
	struct stat st;

	(void)url;
	if (fstatat(af->root, src->key, &st, AT_SYMLINK_NOFOLLOW) == -1)
		return failed("read back", src->key, why);
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != src->size) {
		buf_addf(why, "file store: %s has %lld bytes instead of %llu",
		    src->key, (long long)st.st_size,
		    (unsigned long long)src->size);
		return ASSET_RETRY;
	}
	return ASSET_OK;
}

static enum asset_rc
file_probe(struct asset_store *as, struct buf *why)
{
	struct asset_file *af = (struct asset_file *)as;

	if (faccessat(af->root, ".", W_OK | X_OK, AT_EACCESS) == -1)
		return failed("write to", as->dir, why);
	return ASSET_OK;
}

static enum asset_rc
file_remove(struct asset_store *as, const char *key, struct buf *why)
{
	struct asset_file *af = (struct asset_file *)as;

	if (unlinkat(af->root, key, 0) == -1 && errno != ENOENT)
		return failed("remove", key, why);
	return ASSET_OK;
}

static int
file_open(struct asset_store *as, const char *key)
{
	struct asset_file *af = (struct asset_file *)as;

	return openat(af->root, key, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
}

static void
file_close(struct asset_store *as)
{
	struct asset_file *af = (struct asset_file *)as;

	if (af->temp != -1)
		close(af->temp);
	close(af->root);
	free(af);
}

static const struct asset_ops file_ops = {
	.name = "file",
	.batch = FLUSH_BATCH,
	.put = file_put,
	.flush = file_flush,
	.confirm = file_confirm,
	.probe = file_probe,
	.remove = file_remove,
	.can_remove = true,
	.open = file_open,
	.close = file_close,
};

/* Remove what is in the directory fd, files (0) or empty directories. */
static void
remove_all(int fd, int flags)
{
	struct dirent *de;
	DIR *d;

	if ((fd = file_open_dir(fd, ".", 0, false)) == -1)
		return;
	if ((d = fdopendir(fd)) == NULL) {
		close(fd);
		return;
	}
	while ((de = readdir(d)) != NULL)
		if (strcmp(de->d_name, ".") != 0 &&
		    strcmp(de->d_name, "..") != 0)
			unlinkat(fd, de->d_name, flags);
	closedir(d);
}

/* Directory number i of put, if it is nobody's: a descriptor with its lock and
 * nothing left in it; else -1, with ENOENT when it is not there. */
static int
take_temp(int put, unsigned int i, bool make)
{
	char name[TEMP_MAX];
	int fd;

	snprintf(name, sizeof(name), "%u", i);
	if ((fd = file_open_dir(put, name, 0700, make)) == -1)
		return -1;
	if (flock(fd, LOCK_EX | LOCK_NB) == -1) {
		close(fd);
		errno = EWOULDBLOCK;
		return -1;
	}
	remove_all(fd, 0);
	return fd;
}

/* A directory of our own, and those of the dead emptied. */
static int
open_temp(int root)
{
	unsigned int i;
	int put, fd = -1, other;

	if ((put = file_open_dir(root, TEMP_DIR, 0700, true)) == -1)
		return -1;
	for (i = 0; i < TEMP_DIRS && fd == -1; i++)
		if ((fd = take_temp(put, i, true)) == -1 &&
		    errno != EWOULDBLOCK)
			break;
	/* They are numbered without a gap. */
	for (; fd != -1 && i < TEMP_DIRS; i++) {
		if ((other = take_temp(put, i, false)) != -1)
			close(other);
		else if (errno != EWOULDBLOCK)
			break;
	}
	close(put);
	return fd;
}

/* Remove dir/name with nar/ and .put/ when there is nothing in them. */
static bool
remove_empty(int dir, const char *name)
{
	int fd, put;

	if ((fd = file_open_dir(dir, name, 0, false)) == -1)
		return false;
	if ((put = file_open_dir(fd, TEMP_DIR, 0, false)) != -1) {
		remove_all(put, AT_REMOVEDIR);
		close(put);
	}
	unlinkat(fd, TEMP_DIR, AT_REMOVEDIR);
	unlinkat(fd, "nar", AT_REMOVEDIR);
	close(fd);
	return unlinkat(dir, name, AT_REMOVEDIR) == 0;
}

/*
 * Move the files from one directory to the other, both under state.  Several
 * processes may do so at once: what is not there has been moved.
 */
static int
move_store(int state, const char *from, const char *to)
{
	struct stat st;

	if (fstatat(state, from, &st, AT_SYMLINK_NOFOLLOW) == -1)
		return errno == ENOENT ? 0 : -1;
	if (remove_empty(state, from))
		return 0;
	/* No rename over one that has a directory, even an empty one. */
	remove_empty(state, to);
	if (renameat(state, from, state, to) == -1)
		return errno == ENOENT ? 0 : -1;
	return file_sync_dir(state);
}

const char *
asset_file_dir(const struct conf *conf)
{
	return conf->public_reads ? ASSET_DIR_PUBLIC : ASSET_DIR_PRIVATE;
}

int
asset_file_place(const struct conf *conf)
{
	const char *to = asset_file_dir(conf);
	const char *from =
	    conf->public_reads ? ASSET_DIR_PRIVATE : ASSET_DIR_PUBLIC;
	int state, rc;

	if ((state = file_open_dir(AT_FDCWD, conf->state_dir, 0, false)) ==
	    -1) {
		log_warn("%s", conf->state_dir);
		return -1;
	}
	if ((rc = move_store(state, from, to)) == -1)
		log_warn("public_reads = %s: the files of %s/%s belong in "
			 "%s/%s and can't be moved there: move them",
		    conf->public_reads ? "yes" : "no", conf->state_dir, from,
		    conf->state_dir, to);
	close(state);
	return rc;
}

struct asset_store *
asset_file_open(const char *state_dir, const char *dir, bool make)
{
	struct asset_file *af;
	int state;

	if ((af = calloc(1, sizeof(*af))) == NULL)
		return NULL;
	af->store.ops = &file_ops;
	af->store.dir = dir;
	af->root = af->temp = -1;
	if ((state = file_open_dir(AT_FDCWD, state_dir, 0, false)) != -1) {
		af->root = file_open_dir(state, dir, 0755, make);
		close(state);
	}
	if (af->root != -1 && make)
		af->temp = open_temp(af->root);
	if (af->root == -1 || (make && af->temp == -1)) {
		log_warn("file store: %s/%s", state_dir, dir);
		if (af->root != -1)
			close(af->root);
		free(af);
		return NULL;
	}
	return &af->store;
}
