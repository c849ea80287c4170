#include "config.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "unit.h"

#include "log.h"
#include "num.h"
#include "proc.h"

static struct buf guard = BUF_INIT;
static const char *const no_env[] = { "PATH=/usr/bin:/bin", NULL };

static void
setup(void)
{
	const char *top = getenv("top_builddir");

	log_init("check_proc", true, LOG_LVL_WARN);
	buf_addf(&guard, "%s/tmpnix-guard", top != NULL ? top : ".");
}

static enum proc_rc
run_with(struct proc *p, const char *script, struct buf *out, struct buf *tail,
    int *status)
{
	const char *argv[] = { "/bin/sh", "-c", script, NULL };

	p->guard = buf_str(&guard);
	p->argv = argv;
	p->envp = no_env;
	if (p->deadline.tv_sec == 0)
		proc_deadline(60, &p->deadline);
	return proc_run(p, out, tail, 100, status);
}

static const struct {
	const char *script;
	int status;
	const char *out, *tail;
} rows[] = {
	{ "true", 0, "", "" },
	{ "echo a; echo b >&2", 0, "a\n", "b\n" },
	{ "exit 3", 3, "", "" },
	{ "kill -9 $$", 137, "", "" },
	{ "cat", 0, "", "" }, /* its input is /dev/null */
	{ "echo $PATH; echo $HOME", 0, "/usr/bin:/bin\n\n", "" },
	{ "ls /proc/self/fd | tr -d '\\n'", 0, "0123", "" }, /* 3: ls' own */
	{ "kill -TERM $$", 143, "", "" },
	/* Stays at 100 bytes of the end. */
	{ "seq 1000 >&2", 0, "",
	    "976\n977\n978\n979\n980\n981\n982\n983\n984\n985\n986\n987\n988\n"
	    "989\n990\n991\n992\n993\n994\n995\n996\n997\n998\n999\n1000\n" },
};

START_TEST(row)
{
	struct buf out = BUF_INIT, tail = BUF_INIT;
	struct proc p = { .memory = 0 };
	const char *said;
	size_t len;
	int status = -1;

	ck_assert_int_eq(
	    run_with(&p, rows[_i].script, &out, &tail, &status), PROC_ENDED);
	ck_assert_int_eq(status, rows[_i].status);
	ck_assert_str_eq(buf_str(&out), rows[_i].out);
	len = strlen(rows[_i].tail);
	said = rows[_i].tail + (len > 100 ? len - 100 : 0);
	ck_assert_str_eq(buf_str(&tail), said);
	buf_free(&out);
	buf_free(&tail);
}
END_TEST

/* The process that a script wrote the number of into out. */
static pid_t
pid_of(const struct buf *out)
{
	uint64_t n = 0;

	ck_assert_uint_gt(out->len, 0);
	ck_assert_int_eq(num_parse(out->p, out->len - 1, INT_MAX, &n), 0);
	return (pid_t)n;
}

static void
is_dead(pid_t pid)
{
	ck_assert_int_eq(kill(pid, 0), -1);
	ck_assert_int_eq(errno, ESRCH);
}

static bool
never(void *arg)
{
	struct buf *out = arg;

	return out->len == 0;
}

/* A descendant in a session of its own, left by its parent. */
#define ESCAPED "setsid sh -c 'echo $$; exec sleep 1000 >/dev/null 2>&1' & wait"

START_TEST(stopped)
{
	struct buf out = BUF_INIT, tail = BUF_INIT;
	struct proc p = { .go_on = never, .arg = &out };
	int status;

	ck_assert_int_eq(
	    run_with(&p, ESCAPED, &out, &tail, &status), PROC_STOPPED);
	is_dead(pid_of(&out));
	buf_free(&out);
	buf_free(&tail);
}
END_TEST

START_TEST(left_behind)
{
	struct buf out = BUF_INIT, tail = BUF_INIT;
	struct proc p = { .memory = 0 };
	int status;

	ck_assert_int_eq(
	    run_with(&p, "setsid sleep 1000 >/dev/null 2>&1 & echo $!", &out,
		&tail, &status),
	    PROC_ENDED);
	is_dead(pid_of(&out));
	buf_free(&out);
	buf_free(&tail);
}
END_TEST

START_TEST(past_deadline)
{
	struct buf out = BUF_INIT, tail = BUF_INIT;
	struct proc p = { .memory = 0 };
	int status;

	proc_deadline(1, &p.deadline);
	ck_assert_int_eq(
	    run_with(&p, ESCAPED, &out, &tail, &status), PROC_TIMEOUT);
	is_dead(pid_of(&out));
	buf_free(&out);
	buf_free(&tail);
}
END_TEST

START_TEST(too_much)
{
	struct buf out = BUF_INIT_MAX(100000), tail = BUF_INIT;
	struct proc p = { .memory = 0 };
	int status;

	ck_assert_int_eq(
	    run_with(&p, "exec cat /dev/zero", &out, &tail, &status),
	    PROC_OUTPUT);
	buf_free(&out);
	buf_free(&tail);
}
END_TEST

START_TEST(limits)
{
	struct buf out = BUF_INIT, tail = BUF_INIT;
	struct proc p = { .memory = (uint64_t)64 << 20, .cpu = 1 };
	int status;

	ck_assert_int_eq(run_with(&p, "ulimit -v; ulimit -t; ulimit -c", &out,
			     &tail, &status),
	    PROC_ENDED);
	ck_assert_str_eq(buf_str(&out), "65536\n1\n0\n");
	buf_clear(&out);
	ck_assert_int_eq(
	    run_with(&p, "while :; do :; done", &out, &tail, &status),
	    PROC_ENDED);
	ck_assert_int_eq(status, 128 + SIGKILL);
	buf_free(&out);
	buf_free(&tail);
}
END_TEST

/* What the caller blocks and ignores is not the child's. */
START_TEST(signals)
{
	/* No shell: dash clears its mask. */
	static const char *const argv[] = { "/bin/grep", "SigBlk",
		"/proc/self/status", NULL };
	struct buf out = BUF_INIT, tail = BUF_INIT;
	struct proc p = { .memory = 0 };
	sigset_t set;
	int status;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	ck_assert_int_eq(
	    run_with(&p, "kill -PIPE $$", &out, &tail, &status), PROC_ENDED);
	ck_assert_int_eq(status, 128 + SIGPIPE);
	p.argv = argv;
	ck_assert_int_eq(proc_run(&p, &out, &tail, 100, &status), PROC_ENDED);
	ck_assert_str_eq(buf_str(&out), "SigBlk:\t0000000000000000\n");
	buf_free(&out);
	buf_free(&tail);
}
END_TEST

START_TEST(no_such_command)
{
	static const char *const argv[] = { "/nonexistent/x", NULL };
	struct buf out = BUF_INIT, tail = BUF_INIT;
	struct proc p = {
		.guard = buf_str(&guard), .argv = argv, .envp = no_env
	};
	int status;

	proc_deadline(60, &p.deadline);
	ck_assert_int_eq(proc_run(&p, &out, &tail, 1000, &status), PROC_ENDED);
	ck_assert_int_eq(status, 125);
	ck_assert_str_eq(buf_str(&tail),
	    "tmpnix-guard: /nonexistent/x: No such file or directory\n");
	p.guard = "/nonexistent/guard";
	ck_assert_int_eq(proc_run(&p, &out, &tail, 1000, &status), PROC_ERROR);
	buf_free(&out);
	buf_free(&tail);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("proc");
	TCase *tc = tcase_create("ends");

	tcase_add_unchecked_fixture(tc, setup, NULL);
	tcase_add_loop_test(tc, row, 0, (int)nitems(rows));
	tcase_add_test(tc, stopped);
	tcase_add_test(tc, left_behind);
	tcase_add_test(tc, past_deadline);
	tcase_add_test(tc, too_much);
	tcase_add_test(tc, limits);
	tcase_add_test(tc, signals);
	tcase_add_test(tc, no_such_command);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
