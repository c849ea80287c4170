#include "config.h"

#include "proc.h"

#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

#define ARGS_MAX 64
/* How often go_on is asked. */
#define TICK_MS 200
#define CHUNK ((size_t)16 << 10)

/* A child and our ends of its three pipes. */
struct child {
	pid_t pid;
	int life; /* closed: it kills everything and ends */
	int out, err; /* -1 after their end */
};

void
proc_deadline(uint64_t seconds, struct timespec *ts)
{
	clock_gettime(CLOCK_MONOTONIC, ts);
	ts->tv_sec += (time_t)seconds;
}

bool
proc_is_past(const struct timespec *ts)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec > ts->tv_sec ||
	    (now.tv_sec == ts->tv_sec && now.tv_nsec >= ts->tv_nsec);
}

int
proc_guard_path(struct buf *out)
{
	char self[4096];
	ssize_t n;

	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n <= 0) {
		log_warn("/proc/self/exe");
		return -1;
	}
	while (n > 0 && self[n - 1] != '/')
		n--;
	buf_add(out, self, (size_t)n);
	buf_adds(out, "tmpnix-guard");
	if (buf_failed(out) || access(buf_str(out), X_OK) == -1) {
		log_warn("%s", buf_str(out));
		return -1;
	}
	return 0;
}

static void
close_fd(int *fd)
{
	if (*fd != -1)
		close(*fd);
	*fd = -1;
}

static int
spawn(pid_t *pid, const char *const argv[], const char *const envp[], int in,
    int out, int err)
{
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t attr;
	sigset_t none, dfl;
	int rc;

	sigemptyset(&none);
	sigemptyset(&dfl);
	sigaddset(&dfl, SIGPIPE);
	sigaddset(&dfl, SIGTERM);
	sigaddset(&dfl, SIGINT);
	if (posix_spawn_file_actions_init(&fa) != 0)
		return ENOMEM;
	if (posix_spawnattr_init(&attr) != 0) {
		posix_spawn_file_actions_destroy(&fa);
		return ENOMEM;
	}
	/* Ours are above 2 (see prog.c), so none is overwritten too early. */
	if ((rc = posix_spawn_file_actions_adddup2(&fa, in, 0)) == 0 &&
	    (rc = posix_spawn_file_actions_adddup2(&fa, out, 1)) == 0 &&
	    (rc = posix_spawn_file_actions_adddup2(&fa, err, 2)) == 0 &&
	    (rc = posix_spawn_file_actions_addclosefrom_np(&fa, 3)) == 0 &&
	    (rc = posix_spawnattr_setsigmask(&attr, &none)) == 0 &&
	    (rc = posix_spawnattr_setsigdefault(&attr, &dfl)) == 0 &&
	    (rc = posix_spawnattr_setpgroup(&attr, 0)) == 0 &&
	    (rc = posix_spawnattr_setflags(&attr,
		 POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
		     POSIX_SPAWN_SETPGROUP)) == 0)
		/* posix_spawn changes neither, whatever its prototype says. */
		rc = posix_spawn(pid, argv[0], &fa, &attr,
		    (char *const *)(uintptr_t)argv,
		    (char *const *)(uintptr_t)envp);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&fa);
	return rc;
}

static int
start(const struct proc *p, struct child *c)
{
	int in[2] = { -1, -1 }, out[2] = { -1, -1 }, err[2] = { -1, -1 };
	const char *argv[ARGS_MAX + 4];
	char memory[32], cpu[32];
	size_t i, n = 0;
	int rc = -1;

	snprintf(memory, sizeof(memory), "%" PRIu64, p->memory);
	snprintf(cpu, sizeof(cpu), "%" PRIu64, p->cpu);
	argv[n++] = p->guard;
	argv[n++] = memory;
	argv[n++] = cpu;
	for (i = 0; p->argv[i] != NULL; i++) {
		if (i == ARGS_MAX) {
			log_warnx("%s: too many arguments", p->argv[0]);
			return -1;
		}
		argv[n++] = p->argv[i];
	}
	argv[n] = NULL;
	if (pipe2(in, O_CLOEXEC) == -1 || pipe2(out, O_CLOEXEC) == -1 ||
	    pipe2(err, O_CLOEXEC) == -1) {
		log_warn("pipe");
		goto out;
	}
	if ((errno = spawn(&c->pid, argv, p->envp, in[0], out[1], err[1])) !=
	    0) {
		log_warn("start %s", p->guard);
		goto out;
	}
	c->life = in[1];
	c->out = out[0];
	c->err = err[0];
	in[1] = out[0] = err[0] = -1; /* the child's record has them now */
	fcntl(c->out, F_SETFL, O_NONBLOCK);
	fcntl(c->err, F_SETFL, O_NONBLOCK);
	rc = 0;
out:
	close_fd(&in[0]);
	close_fd(&in[1]);
	close_fd(&out[0]);
	close_fd(&out[1]);
	close_fd(&err[0]);
	close_fd(&err[1]);
	return rc;
}

/* Keep the last max bytes of b (max 0: all). */
static void
cut_front(struct buf *b, size_t max)
{
	if (max == 0 || b->len <= max)
		return;
	memmove(b->p, b->p + (b->len - max), max);
	b->len = max;
	b->p[max] = '\0';
}

/* Take what is there; closes *fd at its end. */
static void
take(int *fd, struct buf *b, size_t tail_max)
{
	char *p;
	ssize_t n;

	for (;;) {
		if ((p = buf_reserve(b, CHUNK)) == NULL)
			return;
		buf_end(b); /* when nothing comes */
		n = read(*fd, p, CHUNK);
		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1 && errno == EAGAIN)
			return;
		if (n <= 0) {
			close_fd(fd);
			return;
		}
		b->len += (size_t)n;
		buf_end(b);
		cut_front(b, tail_max);
	}
}

/* Collect output until both pipes ended or something ends it. */
static enum proc_rc
collect(const struct proc *p, struct child *c, struct buf *out,
    struct buf *tail, size_t tail_max)
{
	struct pollfd fds[2];

	while (c->out != -1 || c->err != -1) {
		if (proc_is_past(&p->deadline))
			return PROC_TIMEOUT;
		if (p->go_on != NULL && !p->go_on(p->arg))
			return PROC_STOPPED;
		fds[0].fd = c->out;
		fds[1].fd = c->err;
		fds[0].events = fds[1].events = POLLIN;
		fds[0].revents = fds[1].revents = 0;
		if (poll(fds, 2, TICK_MS) == -1 && errno != EINTR) {
			log_warn("poll");
			return PROC_ERROR;
		}
		if (fds[0].revents != 0)
			take(&c->out, out, 0);
		if (fds[1].revents != 0)
			take(&c->err, tail, tail_max);
		if (buf_failed(out) || buf_failed(tail))
			return PROC_OUTPUT;
	}
	return PROC_ENDED;
}

/* The guard ends when nothing of its is left: this waits for that. */
static int
reap(struct child *c, int *status)
{
	int st;
	pid_t pid;

	while ((pid = waitpid(c->pid, &st, 0)) == -1 && errno == EINTR)
		;
	if (pid == -1) {
		log_warn("waitpid");
		return -1;
	}
	*status = WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
	return 0;
}

enum proc_rc
proc_run(const struct proc *p, struct buf *out, struct buf *tail,
    size_t tail_max, int *status)
{
	struct child c = { .pid = -1, .life = -1, .out = -1, .err = -1 };
	enum proc_rc rc;

	if (start(p, &c) == -1)
		return PROC_ERROR;
	rc = collect(p, &c, out, tail, tail_max);
	if (rc != PROC_ENDED)
		close_fd(&c.life);
	if (reap(&c, status) == -1)
		rc = PROC_ERROR;
	/* What it said last. */
	if (c.err != -1 && rc != PROC_OUTPUT)
		take(&c.err, tail, tail_max);
	close_fd(&c.life);
	close_fd(&c.out);
	close_fd(&c.err);
	return rc;
}
