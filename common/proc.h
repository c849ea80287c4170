/*
 * Child processes: a fixed program with fixed arguments and an environment made
 * from scratch, its output collected, its end waited for.  No shell.
 *
 * A command runs under tmpnix-guard (cgi/guard.c), which stands between it and
 * us: it sets the limits, gives the command a process group of its own, adopts
 * whatever it leaves behind, and kills all of that when it is told to, and when
 * we are gone.  Its standard input is a pipe we hold the other end of: that end
 * closing, by our close or by our death, is the order to kill.
 *
 * INVARIANT: a command and all its descendants are dead when proc_run returns,
 * and soon after this process died, however it died.
 *
 * Children get descriptors 0 to 2 only, an empty signal mask, and the default
 * SIGPIPE, SIGTERM, SIGINT.  Any thread, any number at once.
 */
#ifndef PROC_H
#define PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "buf.h"

struct proc {
	const char *guard; /* tmpnix-guard's path */
	const char *const *argv; /* [0] is an absolute path; NULL at the end */
	const char *const *envp;
	uint64_t memory; /* bytes of address space each process; 0: any */
	uint64_t cpu; /* seconds of processor time each process; 0: any */
	struct timespec deadline; /* CLOCK_MONOTONIC */
	/* Asked a few times a second: shall it go on? */
	bool (*go_on)(void *arg);
	void *arg;
};

enum proc_rc {
	PROC_ENDED, /* *status says how */
	PROC_TIMEOUT, /* killed at the deadline */
	PROC_STOPPED, /* killed since go_on said no */
	PROC_OUTPUT, /* killed since it wrote more than out's maximum */
	PROC_ERROR, /* could not be run (logged) */
};

/*
 * Run p to its end.  Its standard output goes to out, the last tail_max bytes
 * of its standard error to tail.  *status is the exit status, or 128 and the
 * signal that ended it.
 */
enum proc_rc proc_run(const struct proc *p, struct buf *out, struct buf *tail,
    size_t tail_max, int *status);

/*
 * Where the guard is: beside this program's own file.  Appended to out; -1 when
 * that can't be found out or is not there (logged).
 */
int proc_guard_path(struct buf *out);

/* Now, and seconds later, on the clock of deadlines. */
void proc_deadline(uint64_t seconds, struct timespec *ts);
bool proc_is_past(const struct timespec *ts);

#endif
