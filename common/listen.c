#include "config.h"

#include "listen.h"

#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "buf.h"
#include "log.h"
#include "num.h"

#define BACKLOG 1024
/* The first descriptor systemd hands over (SD_LISTEN_FDS_START). */
#define SYSTEMD_FD 3
/* How long others may hold the lock: they need a moment only. */
#define LOCK_MS 5000

struct listener {
	int fd;
	bool inherited;
	/* A path of ours: its directory, the name there, the socket. */
	int dir;
	char *name;
	dev_t dev;
	ino_t ino;
};

static struct listener *
new_listener(void)
{
	struct listener *l;

	if ((l = calloc(1, sizeof(*l))) == NULL) {
		log_warn("listen");
		return NULL;
	}
	l->fd = l->dir = -1;
	return l;
}

/* What every socket needs, whoever made it. */
static int
prepare(int fd)
{
	int flags, on = 1;

	if ((flags = fcntl(fd, F_GETFL)) == -1 ||
	    fcntl(fd, F_SETFL, flags | O_NONBLOCK) == -1 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) == -1)
		return -1;
	/* What is accepted has it too; a unix socket knows no delay. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return 0;
}

int
listen_parse_mode(const char *text, mode_t *mode)
{
	mode_t m = 0;
	size_t i;

	for (i = 0; text[i] >= '0' && text[i] <= '7' && i < 4; i++)
		m = m * 8 + (mode_t)(text[i] - '0');
	if (i == 0 || text[i] != '\0' || m > 0777)
		return -1;
	*mode = m;
	return 0;
}

bool
listen_is_path(const char *address)
{
	return strchr(address, '/') != NULL;
}

/* A path ----------------------------------------------------------------- */

bool
listen_has_group(const char *address)
{
	const char *slash = strrchr(address, '/');
	struct stat st;
	char *dir;
	bool yes;

	if (slash == NULL ||
	    (dir = strndup(address, (size_t)(slash - address) + 1)) == NULL)
		return false;
	yes = stat(dir, &st) == 0 && (st.st_mode & S_ISGID) != 0;
	free(dir);
	return yes;
}

/* Split path into its directory, opened, and the name there. */
static int
open_dir(struct listener *l, const char *path)
{
	const char *slash = strrchr(path, '/');
	size_t n = (size_t)(slash - path);
	char *dir;
	int rc = -1;

	if ((dir = strndup(path, n > 0 ? n : 1)) == NULL ||
	    (l->name = strdup(slash + 1)) == NULL)
		log_warn("listen on %s", path);
	else if (l->name[0] == '\0')
		log_warnx(
		    "listen on %s: a name is missing behind the slash", path);
	else if ((l->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) == -1)
		log_warn("listen on %s: %s", path, dir);
	else
		rc = 0;
	free(dir);
	return rc;
}

/*
 * Who looks at a socket in this directory and then replaces or removes it does
 * so alone.  Anybody can lock a directory he can read: so not for ever.
 */
static int
lock_dir(const struct listener *l)
{
	const struct timespec pause = { 0, 10 * 1000 * 1000 };
	int i;

	for (i = 0; flock(l->dir, LOCK_EX | LOCK_NB) == -1; i++) {
		if ((errno != EWOULDBLOCK && errno != EINTR) ||
		    i == LOCK_MS / 10)
			return -1;
		nanosleep(&pause, NULL);
	}
	return 0;
}

static void
unlock_dir(const struct listener *l)
{
	(void)flock(l->dir, LOCK_UN);
}

/* Take away what a dead program left at the path: 0 when nothing is there. */
static int
remove_stale(
    const struct listener *l, const char *path, const struct sockaddr_un *sa)
{
	struct stat st;
	int fd, rc;

	if (fstatat(l->dir, l->name, &st, AT_SYMLINK_NOFOLLOW) == -1) {
		if (errno == ENOENT)
			return 0;
		log_warn("listen on %s", path);
		return -1;
	}
	if (!S_ISSOCK(st.st_mode)) {
		log_warnx("listen on %s: it is there and is no socket", path);
		return -1;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd == -1) {
		log_warn("socket");
		return -1;
	}
	/* Refused: nobody listens.  A full queue is somebody's, too. */
	rc = connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) == -1 &&
		errno == ECONNREFUSED
	    ? 0
	    : -1;
	close(fd);
	if (rc == -1)
		log_warnx("listen on %s: another program listens there: stop "
			  "it, or choose another path",
		    path);
	else if ((rc = unlinkat(l->dir, l->name, 0)) == -1)
		log_warn("listen on %s: remove the old socket", path);
	return rc;
}

/* Bind and listen with the lock held. */
static int
bind_path(struct listener *l, const char *path, const struct listen_options *o,
    const struct sockaddr_un *sa)
{
	struct stat st;
	mode_t old;
	int rc;

	if (remove_stale(l, path, sa) == -1)
		return -1;
	/*
	 * The mode comes from the umask: a chmod(2) afterwards would follow
	 * whatever somebody has put there meanwhile.
	 */
	old = umask(~o->mode & 0777);
	rc = bind(l->fd, (const struct sockaddr *)sa, sizeof(*sa));
	umask(old);
	if (rc == -1) {
		log_warn("listen on %s", path);
		return -1;
	}
	if (fstatat(l->dir, l->name, &st, AT_SYMLINK_NOFOLLOW) == -1 ||
	    !S_ISSOCK(st.st_mode)) {
		log_warnx("listen on %s: somebody has taken it away", path);
		return -1;
	}
	/* From here on it is listen_close's. */
	l->dev = st.st_dev;
	l->ino = st.st_ino;
	if ((o->uid != (uid_t)-1 || o->gid != (gid_t)-1) &&
	    fchownat(l->dir, l->name, o->uid, o->gid, AT_SYMLINK_NOFOLLOW) ==
		-1) {
		log_warn("listen on %s: give it to its owner", path);
		return -1;
	}
	if (listen(l->fd, BACKLOG) == -1) {
		log_warn("listen on %s", path);
		return -1;
	}
	return 0;
}

static int
open_path(struct listener *l, const char *path, const struct listen_options *o)
{
	struct sockaddr_un sa;
	int rc;

	memset(&sa, 0, sizeof(sa));
	sa.sun_family = AF_UNIX;
	if (strlen(path) >= sizeof(sa.sun_path)) {
		log_warnx("listen on %s: a socket's path has at most %zu bytes",
		    path, sizeof(sa.sun_path) - 1);
		return -1;
	}
	memcpy(sa.sun_path, path, strlen(path));
	if (open_dir(l, path) == -1)
		return -1;
	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (l->fd == -1 || prepare(l->fd) == -1) {
		log_warn("socket");
		return -1;
	}
	if (lock_dir(l) == -1) {
		log_warn("listen on %s: lock its directory", path);
		return -1;
	}
	rc = bind_path(l, path, o, &sa);
	unlock_dir(l);
	return rc;
}

/* Remove the path if what is there is still our socket. */
static void
remove_path(const struct listener *l)
{
	struct stat st;

	if (lock_dir(l) == -1)
		return;
	if (fstatat(l->dir, l->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    st.st_dev == l->dev && st.st_ino == l->ino &&
	    unlinkat(l->dir, l->name, 0) == -1)
		/* Without root's rights now, perhaps: the next start will. */
		log_debug("the socket %s is left behind", l->name);
	unlock_dir(l);
}

/* A TCP port ------------------------------------------------------------- */

static bool
is_loopback(const struct sockaddr *sa)
{
	const struct sockaddr_in *in = (const void *)sa;
	const struct sockaddr_in6 *in6 = (const void *)sa;

	if (sa->sa_family == AF_INET)
		return ntohl(in->sin_addr.s_addr) >> 24 == 127;
	return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr) ||
	    (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr) &&
		in6->sin6_addr.s6_addr[12] == 127);
}

/* Split HOST:PORT; host is to be freed. */
static int
split(const char *address, char **host, const char **port)
{
	const char *colon = strrchr(address, ':');
	size_t n = colon == NULL ? 0 : (size_t)(colon - address);
	uint64_t number;

	*host = NULL;
	if (colon == NULL ||
	    num_parse(colon + 1, strlen(colon + 1), 65535, &number) == -1 ||
	    number == 0)
		return -1;
	*port = colon + 1;
	if (n == 0)
		*host = strdup("127.0.0.1");
	else if (n > 2 && address[0] == '[' && address[n - 1] == ']')
		*host = strndup(address + 1, n - 2);
	else if (memchr(address, ':', n) == NULL)
		*host = strndup(address, n);
	return *host == NULL ? -1 : 0;
}

/*
 * A listener is one socket.  A name can have several addresses, as localhost
 * has, in an order that is the machine's; the web server is told 127.0.0.1.
 */
static const struct addrinfo *
choose(const struct addrinfo *list)
{
	const struct addrinfo *ai;

	for (ai = list; ai != NULL; ai = ai->ai_next)
		if (ai->ai_family == AF_INET)
			return ai;
	return list;
}

static int
open_address(struct listener *l, const char *address, const struct addrinfo *ai)
{
	int on = 1;

	l->fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (l->fd == -1) {
		log_warn("listen on %s", address);
		return -1;
	}
	/* Without it a restart would wait for old connections to time out;
	 * two that listen are refused all the same. */
	if (setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
	    prepare(l->fd) == 0 &&
	    bind(l->fd, ai->ai_addr, ai->ai_addrlen) == 0 &&
	    listen(l->fd, BACKLOG) == 0)
		return 0;
	log_warn("listen on %s", address);
	close(l->fd);
	l->fd = -1;
	return -1;
}

static int
open_port(
    struct listener *l, const char *address, const struct listen_options *o)
{
	const struct addrinfo hints = {
		.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
		.ai_socktype = SOCK_STREAM,
	};
	struct addrinfo *list = NULL, *ai;
	const char *port;
	char *host = NULL;
	int rc = -1, err;

	if (split(address, &host, &port) == -1) {
		log_warnx("listen on %s: not a path with a slash in it, "
			  "HOST:PORT or [IPv6]:PORT",
		    address);
		goto out;
	}
	if ((err = getaddrinfo(host, port, &hints, &list)) != 0) {
		log_warnx("listen on %s: %s", address, gai_strerror(err));
		goto out;
	}
	for (ai = list; ai != NULL; ai = ai->ai_next)
		if (!o->network && !is_loopback(ai->ai_addr)) {
			log_warnx("listen on %s: other machines could connect, "
				  "and FastCGI asks nobody who he is: use "
				  "127.0.0.1 or [::1], or say with -N that a "
				  "firewall takes care",
			    address);
			goto out;
		}
	rc = open_address(l, address, choose(list));
out:
	if (list != NULL)
		freeaddrinfo(list);
	free(host);
	return rc;
}

struct listener *
listen_open(const char *address, const struct listen_options *o)
{
	struct listener *l;
	int rc;

	if ((l = new_listener()) == NULL)
		return NULL;
	rc = listen_is_path(address) ? open_path(l, address, o)
				     : open_port(l, address, o);
	if (rc == 0)
		return l;
	listen_close(l);
	return NULL;
}

/* Inherited -------------------------------------------------------------- */

bool
listen_is_socket(int fd)
{
	int on = 0;
	socklen_t len = sizeof(on);

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) == 0 && on;
}

/* How many descriptors systemd has for us; those of a parent are not. */
static uint64_t
systemd_fds(void)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
	uint64_t n;

	if (pid == NULL || fds == NULL ||
	    num_parse(pid, strlen(pid), INT32_MAX, &n) == -1 ||
	    n != (uint64_t)getpid() ||
	    num_parse(fds, strlen(fds), INT32_MAX, &n) == -1)
		return 0;
	return n;
}

void
listen_tell_ready(void)
{
	static const char ready[] = "READY=1";
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	socklen_t len;
	size_t n;
	int fd;

	if (path == NULL || (n = strlen(path)) == 0)
		return;
	if (n >= sizeof(sa.sun_path)) {
		log_warnx("NOTIFY_SOCKET is too long");
		return;
	}
	memcpy(sa.sun_path, path, n);
	len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
	if (path[0] == '@') /* no file: an abstract name */
		sa.sun_path[0] = '\0';
	else
		len++;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd == -1 ||
	    sendto(fd, ready, sizeof(ready) - 1, MSG_NOSIGNAL,
		(const struct sockaddr *)&sa, len) == -1)
		log_warn("tell systemd: %s", path);
	if (fd != -1)
		close(fd);
}

enum listen_rc
listen_inherit(struct listener **out)
{
	uint64_t n = systemd_fds();
	int fd = n > 0 ? SYSTEMD_FD : STDIN_FILENO;
	struct listener *l;

	*out = NULL;
	if (n > 1) {
		log_warnx("%llu sockets from systemd (LISTEN_FDS): one is "
			  "wanted",
		    (unsigned long long)n);
		return LISTEN_ERROR;
	}
	if (!listen_is_socket(fd)) {
		if (n == 0)
			return LISTEN_NONE;
		log_warnx("descriptor %d, from systemd (LISTEN_FDS), is no "
			  "listening socket: Accept=no is needed",
		    fd);
		return LISTEN_ERROR;
	}
	if ((l = new_listener()) == NULL)
		return LISTEN_ERROR;
	l->fd = fd;
	l->inherited = true;
	if (prepare(fd) == -1) {
		log_warn("descriptor %d", fd);
		listen_close(l);
		return LISTEN_ERROR;
	}
	*out = l;
	return LISTEN_OK;
}

/* Use and end ------------------------------------------------------------ */

int
listen_fd(const struct listener *l)
{
	return l->fd;
}

void
listen_stop(struct listener *l)
{
	if (!l->inherited)
		shutdown(l->fd, SHUT_RDWR);
}

bool
listen_is_inherited(const struct listener *l)
{
	return l->inherited;
}

int
listen_dir(const struct listener *l)
{
	return l->ino != 0 ? l->dir : -1;
}

void
listen_close(struct listener *l)
{
	if (l == NULL)
		return;
	/* While fd is open no other socket can have its inode's number. */
	if (l->ino != 0)
		remove_path(l);
	if (l->fd != -1)
		close(l->fd);
	if (l->dir != -1)
		close(l->dir);
	free(l->name);
	free(l);
}
