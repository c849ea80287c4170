/*
 * tmpnix-guard: run a command for tmpnix-drv, and leave nothing of it behind.
 *
 *   tmpnix-guard MEMORY CPU COMMAND [ARG ...]
 *
 * MEMORY (bytes of address space) and CPU (seconds) limit each process of the
 * command; 0 is no limit.  Standard input is a pipe: when its other end is
 * closed the command is killed.  That end is tmpnix-drv's, so its death by any
 * means is enough.  See common/proc.h.
 *
 * Descendants that left the command's process group, as Nix's builders do, are
 * found too: as a "child subreaper" this process is the parent of every orphan
 * among them, so killing its children until there are none gets them all.
 *
 * The exit status is the command's, 128 and its signal when one ended it, 125
 * when it could not be started.
 */
#include "config.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/types.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "num.h"

#define FAILED 125

static void
complain(const char *what)
{
	dprintf(STDERR_FILENO, "tmpnix-guard: %s: %m\n", what);
}

enum limited { MEMORY, CPU };

static int
limit(enum limited what, const char *text)
{
	struct rlimit rl;
	uint64_t n;

	if (num_parse(text, strlen(text), INT64_MAX, &n) == -1)
		return -1;
	if (n == 0)
		return 0;
	rl.rlim_cur = rl.rlim_max = (rlim_t)n;
	/* (The type of a resource is the C library's secret.) */
	return setrlimit(what == MEMORY ? RLIMIT_AS : RLIMIT_CPU, &rl);
}

/* In the child: become the command. */
static void
become(char *argv[], const sigset_t *mask)
{
	static const struct rlimit no_core = { 0, 0 };
	int fd;

	if (setpgid(0, 0) == -1 || prctl(PR_SET_PDEATHSIG, SIGKILL) == -1 ||
	    setrlimit(RLIMIT_CORE, &no_core) == -1 ||
	    limit(MEMORY, argv[1]) == -1 || limit(CPU, argv[2]) == -1) {
		complain("limits");
		_exit(FAILED);
	}
	if ((fd = open("/dev/null", O_RDONLY)) == -1 ||
	    dup2(fd, STDIN_FILENO) == -1) {
		complain("/dev/null");
		_exit(FAILED);
	}
	if (fd != STDIN_FILENO)
		close(fd);
	sigprocmask(SIG_SETMASK, mask, NULL);
	execv(argv[3], argv + 3);
	complain(argv[3]);
	_exit(FAILED);
}

/* Kill every child there is now. */
static void
kill_children(void)
{
	char path[64], line[4096], *p, *end;
	ssize_t n;
	long pid;
	int fd;

	snprintf(
	    path, sizeof(path), "/proc/self/task/%ld/children", (long)getpid());
	if ((fd = open(path, O_RDONLY | O_CLOEXEC)) == -1)
		return;
	/* More than one line of them: the next round has the rest. */
	n = read(fd, line, sizeof(line) - 1);
	close(fd);
	if (n <= 0)
		return;
	line[n] = '\0';
	for (p = line; (pid = strtol(p, &end, 10)) > 1 && *end == ' '; p = end)
		kill((pid_t)pid, SIGKILL);
}

/*
 * Kill and reap until nothing is left.  *status becomes the command's when it
 * is among them.
 */
static void
clear_away(pid_t command, int *status)
{
	const struct timespec pause = { 0, 2000000 };
	pid_t pid;
	int st;

	for (;;) {
		while ((pid = waitpid(-1, &st, WNOHANG)) > 0)
			if (pid == command)
				*status = st;
		if (pid == -1 && errno == ECHILD)
			return;
		kill(-command, SIGKILL);
		kill_children();
		nanosleep(&pause, NULL);
	}
}

/* Wait for the command's end: true with *status, or false at the order. */
static bool
watch(pid_t command, int sfd, int *status)
{
	struct signalfd_siginfo si;
	struct pollfd fds[2];
	pid_t pid;
	int st;

	for (;;) {
		fds[0].fd = STDIN_FILENO;
		fds[0].events = POLLIN;
		fds[1].fd = sfd;
		fds[1].events = POLLIN;
		fds[0].revents = fds[1].revents = 0;
		if (poll(fds, 2, -1) == -1 && errno != EINTR)
			return false;
		if (fds[1].revents != 0 &&
		    read(sfd, &si, sizeof(si)) == sizeof(si) &&
		    si.ssi_signo != SIGCHLD)
			return false;
		while ((pid = waitpid(-1, &st, WNOHANG)) > 0)
			if (pid == command) {
				*status = st;
				return true;
			}
		if (fds[0].revents != 0)
			return false;
	}
}

int
main(int argc, char *argv[])
{
	sigset_t set, old;
	pid_t command;
	int sfd, status = 0;

	if (argc < 4 || argv[3][0] != '/') {
		fprintf(stderr,
		    "usage: tmpnix-guard MEMORY CPU /COMMAND [ARG ...]\n");
		return FAILED;
	}
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &set, &old) == -1 ||
	    (sfd = signalfd(-1, &set, SFD_CLOEXEC)) == -1 ||
	    prctl(PR_SET_CHILD_SUBREAPER, 1) == -1 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1) {
		complain("start");
		return FAILED;
	}
	switch (command = fork()) {
	case -1:
		complain("fork");
		return FAILED;
	case 0:
		become(argv, &old);
	}
	/* Here too, so that it is done before anything is killed. */
	setpgid(command, command);
	if (!watch(command, sfd, &status))
		status = SIGKILL;
	clear_away(command, &status);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
