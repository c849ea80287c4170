/*
 * Preloaded into a program by the tests: makes its calls fail, or ends it at a
 * chosen one, and writes down in which order they came back.
 *
 * TMPNIX_SHIM names a directory.  DIR/rules, read anew at every call, has a
 * rule a line:
 *
 *	CALL WHAT WHICH PATH
 *
 * CALL   the name without at, 64 or p: open creat read write fsync fdatasync
 *        syncfs rename link unlink ftruncate mkdir malloc; or "durable", all
 *        of them that change files.
 * WHAT   ENOSPC EDQUOT EIO EMFILE ENOMEM EROFS: the call fails so;
 *        EXIT: the process ends before it, as by kill -9.
 * WHICH  the n-th such call since the rules changed, or "*" for each.
 * PATH   a pattern of fnmatch(3).
 *
 * "clock BACK SECONDS *" sets the clock on the wall back by so many.
 *
 * DIR/log gets "CALL PATH" of each call that worked and changed a file, and of
 * writes to sockets; "CALL PATH WHAT" of each that was made to fail.  Both
 * files must exist before the program starts: they are opened once, since the
 * program's sandbox lets it open them no more.
 *
 * This is why no program has crash points of its own: every call is one, also
 * those of SQLite, and those of code that is written later.
 */
#include "config.h"

#include <sys/stat.h>
#include <sys/syscall.h>

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RULES_MAX 2048
#define RULES 16
#define FD_MIN 200
#define EXIT_STATUS 99
#define PATH_LEN 1024

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);

struct rule {
	char call[16], what[16], which[16], path[256];
	unsigned int seen;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int rules_fd = -1, log_fd = -1;
static char text[RULES_MAX];
static struct rule rules[RULES];
static unsigned int nrules;
static volatile bool malloc_fails;
static long clock_back;

static const struct {
	const char *name;
	int error;
} errors[] = {
	{ "ENOSPC", ENOSPC },
	{ "EDQUOT", EDQUOT },
	{ "EIO", EIO },
	{ "EMFILE", EMFILE },
	{ "ENOMEM", ENOMEM },
	{ "EROFS", EROFS },
};

static int
open_high(const char *dir, const char *name, int flags)
{
	char path[PATH_LEN];
	int fd, high;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0);
	if (fd == -1)
		return -1;
	high = fcntl(fd, F_DUPFD_CLOEXEC, FD_MIN);
	syscall(SYS_close, fd);
	return high;
}

__attribute__((constructor)) static void
start(void)
{
	const char *dir = getenv("TMPNIX_SHIM");

	if (dir == NULL)
		return;
	log_fd = open_high(dir, "log", O_WRONLY | O_APPEND);
	rules_fd = open_high(dir, "rules", O_RDONLY);
}

/* The caller holds the mutex. */
static void
read_rules(void)
{
	char new[RULES_MAX] = "";
	char *line, *end;
	struct rule *r;

	if (syscall(SYS_pread64, rules_fd, new, sizeof(new) - 1, 0) == -1 ||
	    strcmp(new, text) == 0)
		return;
	memcpy(text, new, sizeof(text));
	nrules = 0;
	malloc_fails = false;
	clock_back = 0;
	for (line = new; nrules < RULES; line = end + 1) {
		if ((end = strchr(line, '\n')) == NULL)
			return;
		*end = '\0';
		r = &rules[nrules];
		r->seen = 0;
		if (sscanf(line, "%15s %15s %15s %255s", r->call, r->what,
			r->which, r->path) != 4)
			continue;
		if (strcmp(r->call, "malloc") == 0)
			malloc_fails = true;
		if (strcmp(r->call, "clock") == 0)
			clock_back = strtol(r->which, NULL, 10);
		nrules++;
	}
}

static void
note(const char *call, const char *path, const char *what)
{
	char line[PATH_LEN + 64];
	int n;

	n = snprintf(line, sizeof(line), "%s %s%s%s\n", call, path,
	    what[0] == '\0' ? "" : " ", what);
	if (log_fd != -1 && n > 0 && (size_t)n < sizeof(line))
		syscall(SYS_write, log_fd, line, (size_t)n);
}

static bool
applies(struct rule *r, const char *call, const char *path, bool durable)
{
	if (strcmp(r->call, call) != 0 &&
	    !(durable && strcmp(r->call, "durable") == 0))
		return false;
	if (fnmatch(r->path, path, 0) != 0)
		return false;
	r->seen++;
	return r->which[0] == '*' || strtoul(r->which, NULL, 10) == r->seen;
}

static int
error_of(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		if (strcmp(errors[i].name, name) == 0)
			return errors[i].error;
	return EIO;
}

/* Is this call to fail?  Then errno says how. */
static bool
fails(const char *call, const char *path, bool durable)
{
	const int saved = errno;
	unsigned int i;
	int error = 0;

	if (rules_fd == -1)
		return false;
	pthread_mutex_lock(&mutex);
	read_rules();
	for (i = 0; i < nrules && error == 0; i++) {
		if (!applies(&rules[i], call, path, durable))
			continue;
		note(call, path, rules[i].what);
		if (strcmp(rules[i].what, "EXIT") == 0)
			_exit(EXIT_STATUS);
		error = error_of(rules[i].what);
	}
	pthread_mutex_unlock(&mutex);
	errno = error == 0 ? saved : error;
	return error != 0;
}

/* The clock ------------------------------------------------------------------
 */

int
clock_gettime(clockid_t id, struct timespec *ts)
{
	const int saved = errno;
	const int rc = (int)syscall(SYS_clock_gettime, id, ts);

	if (rc == -1 || id != CLOCK_REALTIME || rules_fd == -1)
		return rc;
	pthread_mutex_lock(&mutex);
	read_rules();
	ts->tv_sec -= clock_back;
	pthread_mutex_unlock(&mutex);
	errno = saved;
	return rc;
}

time_t
time(time_t *t)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	if (t != NULL)
		*t = ts.tv_sec;
	return ts.tv_sec;
}

/* What fd is open on: a path, or such as "socket:[1]". */
static const char *
fd_path(int fd, char path[PATH_LEN])
{
	char link[64];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = syscall(SYS_readlink, link, path, (size_t)PATH_LEN - 1);
	path[n > 0 ? n : 0] = '\0';
	return path;
}

static const char *
at_path(int dir, const char *name, char path[PATH_LEN])
{
	size_t n;

	if (name[0] == '/' || dir == AT_FDCWD) {
		snprintf(path, PATH_LEN, "%s", name);
		return path;
	}
	fd_path(dir, path);
	n = strlen(path);
	snprintf(path + n, PATH_LEN - n, "/%s", name);
	return path;
}

/* The result of a call that changes path. */
static int
done(const char *call, const char *path, long rc)
{
	const int saved = errno;

	if (rc != -1)
		note(call, path, "");
	errno = saved;
	return (int)rc;
}

/* Calls by descriptor --------------------------------------------------------
 */

#define BY_FD(name, number)                                                    \
	int name(int fd);                                                      \
	int name(int fd)                                                       \
	{                                                                      \
		char path[PATH_LEN];                                           \
                                                                               \
		if (fails(#name, fd_path(fd, path), true))                     \
			return -1;                                             \
		return done(#name, path, syscall(number, fd));                 \
	}
BY_FD(fsync, SYS_fsync)
BY_FD(fdatasync, SYS_fdatasync)
BY_FD(syncfs, SYS_syncfs)

static ssize_t
written(const char *path, ssize_t rc)
{
	done("write", path, rc);
	return rc;
}

ssize_t
write(int fd, const void *p, size_t n)
{
	char path[PATH_LEN];

	fd_path(fd, path);
	if (fails("write", path, path[0] == '/'))
		return -1;
	return written(path, syscall(SYS_write, fd, p, n));
}

ssize_t
pwrite(int fd, const void *p, size_t n, off_t at)
{
	char path[PATH_LEN];

	if (fails("write", fd_path(fd, path), true))
		return -1;
	return written(path, syscall(SYS_pwrite64, fd, p, n, at));
}
#ifdef __GLIBC__
#undef pwrite64
ssize_t pwrite64(int fd, const void *p, size_t n, off_t at);
ssize_t
pwrite64(int fd, const void *p, size_t n, off_t at)
{
	return pwrite(fd, p, n, at);
}
#endif

static int
truncated(int fd, off_t n)
{
	char path[PATH_LEN];

	if (fails("ftruncate", fd_path(fd, path), true))
		return -1;
	return done("ftruncate", path, syscall(SYS_ftruncate, fd, n));
}
int
ftruncate(int fd, off_t n)
{
	return truncated(fd, n);
}
#undef ftruncate64
int ftruncate64(int fd, off_t n);
int
ftruncate64(int fd, off_t n)
{
	return truncated(fd, n);
}

static ssize_t
read_fd(int fd, void *p, size_t n)
{
	char path[PATH_LEN];

	if (fails("read", fd_path(fd, path), false))
		return -1;
	return syscall(SYS_read, fd, p, n);
}
ssize_t
read(int fd, void *p, size_t n)
{
	return read_fd(fd, p, n);
}
ssize_t __read_chk(int fd, void *p, size_t n, size_t room);
ssize_t
__read_chk(int fd, void *p, size_t n, size_t room)
{
	if (n > room)
		abort();
	return read_fd(fd, p, n);
}

static ssize_t
read_at(int fd, void *p, size_t n, off_t at)
{
	char path[PATH_LEN];

	if (fails("read", fd_path(fd, path), false))
		return -1;
	return syscall(SYS_pread64, fd, p, n, at);
}
ssize_t
pread(int fd, void *p, size_t n, off_t at)
{
	return read_at(fd, p, n, at);
}
#undef pread64
ssize_t pread64(int fd, void *p, size_t n, off_t at);
ssize_t
pread64(int fd, void *p, size_t n, off_t at)
{
	return read_at(fd, p, n, at);
}

/* Calls by name ---------------------------------------------------------------
 */

static int
open_name(int dir, const char *name, int flags, mode_t mode)
{
	const bool creates = (flags & (O_CREAT | O_TRUNC)) != 0;
	const char *call = creates ? "creat" : "open";
	char path[PATH_LEN];
	long fd;

	if (fails(call, at_path(dir, name, path), creates))
		return -1;
	fd = syscall(SYS_openat, dir, name, flags, mode);
	return creates ? done(call, path, fd) : (int)fd;
}

#define MODE_OF(flags, mode)                                                   \
	do {                                                                   \
		va_list ap;                                                    \
                                                                               \
		va_start(ap, flags);                                           \
		mode = ((flags) & (O_CREAT | __O_TMPFILE)) != 0                \
		    ? va_arg(ap, mode_t)                                       \
		    : 0;                                                       \
		va_end(ap);                                                    \
	} while (0)

#define OPEN(name)                                                             \
	int name(const char *path, int flags, ...);                            \
	int name(const char *path, int flags, ...)                             \
	{                                                                      \
		mode_t mode;                                                   \
                                                                               \
		MODE_OF(flags, mode);                                          \
		return open_name(AT_FDCWD, path, flags, mode);                 \
	}
#define OPENAT(name)                                                           \
	int name(int dir, const char *path, int flags, ...);                   \
	int name(int dir, const char *path, int flags, ...)                    \
	{                                                                      \
		mode_t mode;                                                   \
                                                                               \
		MODE_OF(flags, mode);                                          \
		return open_name(dir, path, flags, mode);                      \
	}
#undef open64
#undef openat64
OPEN(open)
OPEN(open64)
OPEN(__open_2)
OPEN(__open64_2)
OPENAT(openat)
OPENAT(openat64)
OPENAT(__openat_2)
OPENAT(__openat64_2)

int
renameat(int from, const char *old, int to, const char *new)
{
	char path[PATH_LEN];

	if (fails("rename", at_path(to, new, path), true))
		return -1;
	return done(
	    "rename", path, syscall(SYS_renameat2, from, old, to, new, 0));
}
int
rename(const char *old, const char *new)
{
	return renameat(AT_FDCWD, old, AT_FDCWD, new);
}

int
linkat(int from, const char *old, int to, const char *new, int flags)
{
	char path[PATH_LEN];

	if (fails("link", at_path(to, new, path), true))
		return -1;
	return done(
	    "link", path, syscall(SYS_linkat, from, old, to, new, flags));
}
int
link(const char *old, const char *new)
{
	return linkat(AT_FDCWD, old, AT_FDCWD, new, 0);
}

int
unlinkat(int dir, const char *name, int flags)
{
	char path[PATH_LEN];

	if (fails("unlink", at_path(dir, name, path), true))
		return -1;
	return done("unlink", path, syscall(SYS_unlinkat, dir, name, flags));
}
int
unlink(const char *name)
{
	return unlinkat(AT_FDCWD, name, 0);
}

int
mkdirat(int dir, const char *name, mode_t mode)
{
	char path[PATH_LEN];

	if (fails("mkdir", at_path(dir, name, path), true))
		return -1;
	return done("mkdir", path, syscall(SYS_mkdirat, dir, name, mode));
}
int
mkdir(const char *name, mode_t mode)
{
	return mkdirat(AT_FDCWD, name, mode);
}

/* Memory
 * ----------------------------------------------------------------------- */

/* A rule for it works from the next call of another kind on. */
static bool
no_memory(void)
{
	return malloc_fails && fails("malloc", "memory", false);
}
void *
malloc(size_t n)
{
	return no_memory() ? NULL : __libc_malloc(n);
}
void *
calloc(size_t n, size_t size)
{
	return no_memory() ? NULL : __libc_calloc(n, size);
}
void *
realloc(void *p, size_t n)
{
	return no_memory() ? NULL : __libc_realloc(p, n);
}
