#include "config.h"

#include "file.h"

#include <sys/file.h>
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Room for a temporary name. */
#define TEMPORARY_MAX 64
#define COPY_CHUNK ((size_t)64 << 10)

int
file_write_all(int fd, const void *p, size_t n)
{
	const char *at = p;
	ssize_t w;

	while (n > 0) {
		if ((w = write(fd, at, n)) == -1) {
			if (errno == EINTR)
				continue;
			return -1;
		}
		at += w;
		n -= (size_t)w;
	}
	return 0;
}

ssize_t
file_read_full(int fd, void *p, size_t n)
{
	char *at = p;
	size_t got = 0;
	ssize_t r;

	while (got < n) {
		if ((r = read(fd, at + got, n - got)) == -1) {
			if (errno == EINTR)
				continue;
			return -1;
		}
		if (r == 0)
			break;
		got += (size_t)r;
	}
	return (ssize_t)got;
}

int
file_read_max(int fd, size_t max, struct buf *b)
{
	char chunk[8192];
	size_t total = 0;
	ssize_t r;

	for (;;) {
		if ((r = file_read_full(fd, chunk, sizeof(chunk))) == -1)
			return -1;
		if (r == 0)
			return 0;
		total += (size_t)r;
		if (total > max) {
			errno = EFBIG;
			return -1;
		}
		buf_add(b, chunk, (size_t)r);
		if (buf_failed(b)) {
			errno = ENOMEM;
			return -1;
		}
	}
}

int
file_read_at(int dir, const char *name, size_t max, struct buf *b)
{
	int fd, rc, saved;

	if ((fd = openat(dir, name, O_RDONLY | O_CLOEXEC)) == -1)
		return -1;
	rc = file_read_max(fd, max, b);
	saved = errno;
	close(fd);
	errno = saved;
	return rc;
}

/* Where neither file system can do better than read and write. */
static int
copy_by_hand(int from, int to, uint64_t *n)
{
	char chunk[COPY_CHUNK];
	ssize_t r;

	for (;;) {
		if ((r = file_read_full(from, chunk, sizeof(chunk))) == -1)
			return -1;
		if (r == 0)
			return 0;
		if (file_write_all(to, chunk, (size_t)r) == -1)
			return -1;
		*n += (uint64_t)r;
	}
}

int
file_copy(int from, int to, uint64_t *n)
{
	ssize_t r;

	*n = 0;
	for (;;) {
		r = copy_file_range(from, NULL, to, NULL, (size_t)1 << 30, 0);
		if (r > 0) {
			*n += (uint64_t)r;
			continue;
		}
		if (r == -1 && errno == EINTR)
			continue;
		/* Some file systems return 0 or an error at once. */
		if (r == 0 && *n > 0)
			return 0;
		if (r == 0 || errno == EXDEV || errno == EINVAL ||
		    errno == ENOSYS || errno == EOPNOTSUPP)
			return copy_by_hand(from, to, n);
		return -1;
	}
}

int
file_sync_dir(int dir)
{
	return fsync(dir);
}

/* Write (p, n) to a new file called name under dir and fsync it. */
static int
write_new(int dir, const char *name, const void *p, size_t n, mode_t mode)
{
	int fd, saved, rc = -1;

	fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	if (fd == -1)
		return -1;
	/* The caller's mode is meant, whatever the umask. */
	if (fchmod(fd, mode) == 0 && file_write_all(fd, p, n) == 0 &&
	    fsync(fd) == 0)
		rc = 0;
	saved = errno;
	if (close(fd) == -1 && rc == 0) {
		saved = errno;
		rc = -1;
	}
	if (rc == -1)
		unlinkat(dir, name, 0);
	errno = saved;
	return rc;
}

/* The same under a name of its own, which is put into tmp. */
static int
write_temporary(
    int dir, char tmp[TEMPORARY_MAX], const void *p, size_t n, mode_t mode)
{
	static _Atomic unsigned int counter;

	/* Without the name it will get, which may be as long as one can be. */
	snprintf(tmp, TEMPORARY_MAX, ".new.%ld.%u", (long)getpid(), counter++);
	if (write_new(dir, tmp, p, n, mode) == 0)
		return 0;
	/* A leftover of a crashed namesake is nobody's. */
	if (errno != EEXIST || unlinkat(dir, tmp, 0) == -1)
		return -1;
	return write_new(dir, tmp, p, n, mode);
}

int
file_replace(int dir, const char *name, const void *p, size_t n, mode_t mode)
{
	char tmp[TEMPORARY_MAX];
	int saved;

	if (write_temporary(dir, tmp, p, n, mode) == -1)
		return -1;
	if (renameat(dir, tmp, dir, name) == -1) {
		saved = errno;
		unlinkat(dir, tmp, 0);
		errno = saved;
		return -1;
	}
	return file_sync_dir(dir);
}

int
file_create(int dir, const char *name, const void *p, size_t n, mode_t mode)
{
	char tmp[TEMPORARY_MAX];
	int rc, saved;

	if (write_temporary(dir, tmp, p, n, mode) == -1)
		return -1;
	/* Unlike a rename this fails when the name is taken. */
	rc = linkat(dir, tmp, dir, name, 0);
	saved = errno;
	unlinkat(dir, tmp, 0);
	errno = saved;
	if (rc == 0 && dir != AT_FDCWD)
		rc = file_sync_dir(dir);
	return rc;
}

int
file_lock_one(int dir, const char *prefix, uint64_t n)
{
	char name[64];
	uint64_t i;
	int fd;

	for (i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "%s.%" PRIu64, prefix, i);
		fd = openat(
		    dir, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd == -1)
			return -1;
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return fd;
		close(fd);
	}
	errno = EWOULDBLOCK;
	return -1;
}

bool
file_locked(int dir, const char *name)
{
	bool locked;
	int fd;

	if ((fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)) == -1)
		return errno != ENOENT;
	locked = flock(fd, LOCK_SH | LOCK_NB) == -1;
	close(fd);
	return locked;
}

int
file_open_dir(int dir, const char *name, mode_t mode, bool create)
{
	bool made = create && mkdirat(dir, name, mode) == 0;
	int fd, saved;

	if (create && !made && errno != EEXIST)
		return -1;
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* The caller's mode is meant, whatever the umask. */
	if (fd != -1 && made && fchmod(fd, mode) == -1) {
		saved = errno;
		close(fd);
		errno = saved;
		return -1;
	}
	return fd;
}

int
file_read_secret(const char *path, size_t max, struct buf *b)
{
	struct stat st;
	int fd, saved, rc = -1;

	if ((fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY)) == -1)
		return -1;
	if (fstat(fd, &st) == -1)
		goto out;
	if (!S_ISREG(st.st_mode) || (st.st_mode & 077) != 0 ||
	    (st.st_uid != geteuid() && st.st_uid != 0)) {
		errno = EPERM;
		goto out;
	}
	rc = file_read_max(fd, max, b);
out:
	saved = errno;
	close(fd);
	errno = saved;
	return rc;
}

void
file_secret_advice(const char *path, struct buf *out)
{
	struct stat st;

	if (stat(path, &st) == -1 || !S_ISREG(st.st_mode))
		buf_adds(out, "it is not a regular file");
	else if (st.st_uid != geteuid() && st.st_uid != 0)
		buf_addf(out,
		    "it belongs to user %ld: chown it to user %ld, who reads "
		    "it",
		    (long)st.st_uid, (long)geteuid());
	else
		buf_addf(out, "others than its owner can read it: chmod 600 %s",
		    path);
}
