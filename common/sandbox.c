#include "config.h"

#include "sandbox.h"

#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

/*
 * The kernel's interface (linux/landlock.h), as of ABI 7: Debian 12's header
 * knows ABI 2 only.
 */
struct ruleset_attr {
	uint64_t fs; /* the actions that need a rule */
	uint64_t net; /* ABI 4 */
	uint64_t scoped; /* ABI 6 */
};
struct path_attr {
	uint64_t allowed;
	int32_t fd;
} __attribute__((packed));

#define CREATE_VERSION 1u
#define RULE_PATH 1

#define FS_EXECUTE (UINT64_C(1) << 0)
#define FS_WRITE_FILE (UINT64_C(1) << 1)
#define FS_READ_FILE (UINT64_C(1) << 2)
#define FS_READ_DIR (UINT64_C(1) << 3)
#define FS_REMOVE_DIR (UINT64_C(1) << 4)
#define FS_REMOVE_FILE (UINT64_C(1) << 5)
#define FS_MAKE_DIR (UINT64_C(1) << 7)
#define FS_MAKE_REG (UINT64_C(1) << 8)
#define FS_MAKE_SOCK (UINT64_C(1) << 9)
#define FS_MAKE_FIFO (UINT64_C(1) << 10)
#define FS_MAKE_SYM (UINT64_C(1) << 12)
#define FS_REFER (UINT64_C(1) << 13) /* ABI 2: move between directories */
#define FS_TRUNCATE (UINT64_C(1) << 14) /* ABI 3 */
#define FS_IOCTL_DEV (UINT64_C(1) << 15) /* ABI 5 */
#define NET_BIND_TCP (UINT64_C(1) << 0)
#define NET_CONNECT_TCP (UINT64_C(1) << 1)
#define SCOPE_ABSTRACT_UNIX (UINT64_C(1) << 0)
#define SCOPE_SIGNAL (UINT64_C(1) << 1)

/* The spool's bodies move between directories: not possible with ABI 1. */
#define ABI_MIN 2

#define FS_READ (FS_READ_FILE | FS_READ_DIR)
#define FS_USE (FS_READ | FS_WRITE_FILE | FS_TRUNCATE | FS_IOCTL_DEV)
#define FS_CHANGE                                                              \
	(FS_READ | FS_WRITE_FILE | FS_TRUNCATE | FS_REMOVE_DIR |               \
	    FS_REMOVE_FILE | FS_MAKE_DIR | FS_MAKE_REG | FS_MAKE_SOCK |        \
	    FS_MAKE_FIFO | FS_MAKE_SYM | FS_REFER)
/* What a rule for a file may have. */
#define FS_OF_FILE                                                             \
	(FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE | FS_IOCTL_DEV)

struct sandbox {
	int fd;
	int abi;
	uint64_t handled;
	bool failed;
};

/* All there is to the file system with this ABI. */
static uint64_t
known_fs(int abi)
{
	/* ABI 1 had the bits 0 to 12; 11 is MAKE_BLOCK, 6 MAKE_CHAR. */
	uint64_t all = (FS_MAKE_SYM << 1) - 1;

	if (abi >= 2)
		all |= FS_REFER;
	if (abi >= 3)
		all |= FS_TRUNCATE;
	if (abi >= 5)
		all |= FS_IOCTL_DEV;
	return all;
}

struct sandbox *
sandbox_new(bool tcp)
{
	struct ruleset_attr attr;
	struct sandbox *sb;
	long abi;

	abi = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_VERSION);
	if (abi < ABI_MIN) {
		if (abi == -1)
			log_debug("no sandbox: Landlock: %m");
		else
			log_debug("no sandbox: Landlock ABI %ld is too old: "
				  "%d is needed",
			    abi, ABI_MIN);
		return NULL;
	}
	memset(&attr, 0, sizeof(attr));
	attr.fs = known_fs((int)abi);
	if (abi >= 4)
		attr.net = NET_BIND_TCP | (tcp ? 0 : NET_CONNECT_TCP);
	if (abi >= 6)
		attr.scoped = SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL;
	if ((sb = calloc(1, sizeof(*sb))) == NULL) {
		log_warn("sandbox");
		return NULL;
	}
	sb->abi = (int)abi;
	sb->handled = attr.fs;
	/* Fields a kernel doesn't know must be 0, which they are. */
	sb->fd =
	    (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	if (sb->fd == -1) {
		log_warn("no sandbox: Landlock");
		free(sb);
		return NULL;
	}
	fcntl(sb->fd, F_SETFD, FD_CLOEXEC);
	return sb;
}

static void
allow_fd(struct sandbox *sb, int fd, uint64_t what)
{
	struct path_attr attr = { .allowed = what & sb->handled, .fd = fd };

	if (syscall(SYS_landlock_add_rule, sb->fd, RULE_PATH, &attr, 0) == -1) {
		log_warn("sandbox: a rule");
		sb->failed = true;
	}
}

static void
allow(struct sandbox *sb, const char *path, uint64_t what)
{
	struct stat st;
	int fd;

	if (sb == NULL || path == NULL)
		return;
	if ((fd = open(path, O_PATH | O_CLOEXEC)) == -1 ||
	    fstat(fd, &st) == -1) {
		if (errno != ENOENT)
			log_debug("sandbox: %s: %m", path);
	} else
		allow_fd(
		    sb, fd, S_ISDIR(st.st_mode) ? what : what & FS_OF_FILE);
	if (fd != -1)
		close(fd);
}

void
sandbox_read(struct sandbox *sb, const char *path)
{
	allow(sb, path, FS_READ);
}

static void
read_beside(struct sandbox *sb, const char *path)
{
	const char *slash = strrchr(path, '/');
	char *dir;

	/* A name without a slash is in the directory we are in. */
	dir =
	    slash == NULL ? strdup(".") : strndup(path, (size_t)(slash - path));
	if (dir != NULL && dir[0] != '\0')
		sandbox_read(sb, dir);
	free(dir);
}

void
sandbox_read_replaced(struct sandbox *sb, const char *path)
{
	char *real;

	if (sb == NULL || path == NULL)
		return;
	sandbox_read(sb, path);
	read_beside(sb, path);
	if ((real = realpath(path, NULL)) != NULL)
		read_beside(sb, real);
	free(real);
}

void
sandbox_execute(struct sandbox *sb, const char *path)
{
	allow(sb, path, FS_READ | FS_EXECUTE);
}

void
sandbox_write(struct sandbox *sb, const char *path)
{
	allow(sb, path, FS_CHANGE);
}

void
sandbox_use(struct sandbox *sb, const char *path)
{
	allow(sb, path, FS_USE);
}

void
sandbox_remove_in(struct sandbox *sb, int dir)
{
	if (sb != NULL && dir != -1)
		allow_fd(sb, dir, FS_REMOVE_FILE);
}

int
sandbox_enter(struct sandbox *sb)
{
	int rc = -1;

	if (sb == NULL)
		return 0;
	if (sb->failed)
		log_warnx("no sandbox: see above");
	else if (syscall(SYS_landlock_restrict_self, sb->fd, 0) == -1)
		log_warn("no sandbox: Landlock");
	else {
		log_debug("in a sandbox: Landlock ABI %d", sb->abi);
		rc = 0;
	}
	sandbox_free(sb);
	return rc;
}

void
sandbox_free(struct sandbox *sb)
{
	if (sb == NULL)
		return;
	close(sb->fd);
	free(sb);
}
