#include "config.h"

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "privileges.h"
#include "sandbox.h"
#include "scratch.h"
#include "unit.h"

static int
abi(void)
{
	return (int)syscall(SYS_landlock_create_ruleset, NULL, 0, 1);
}

/* NULL when this kernel has none: said, and the test is over. */
static struct sandbox *
new_sandbox(bool tcp)
{
	struct sandbox *sb = sandbox_new(tcp);

	if (sb == NULL)
		printf("no Landlock here: not tested\n");
	/* What a sanitizer reads at the end. */
	sandbox_read(sb, "/proc/self");
	return sb;
}

/* open(2) and close(2): 0, or errno. */
static int
try_open(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0600);

	if (fd == -1)
		return errno;
	close(fd);
	return 0;
}

static void
make_files(void)
{
	scratch_make();
	ck_assert_int_eq(mkdir(scratch_path("w"), 0700), 0);
	ck_assert_int_eq(mkdir(scratch_path("w/sub"), 0700), 0);
	ck_assert_int_eq(mkdir(scratch_path("r"), 0700), 0);
	ck_assert_int_eq(mkdir(scratch_path("gone"), 0700), 0);
	scratch_write("r/file", "text", 4);
	scratch_write("secret", "text", 4);
	scratch_write("shown", "text", 4);
	scratch_write("gone/sock", "text", 4);
}

START_TEST(files)
{
	struct sandbox *sb;
	int dir;

	make_files();
	if ((sb = new_sandbox(false)) == NULL)
		return;
	dir = open(scratch_path("gone"), O_RDONLY | O_DIRECTORY);
	sandbox_write(sb, scratch_path("w"));
	sandbox_read(sb, scratch_path("r"));
	sandbox_read(sb, scratch_path("shown"));
	sandbox_read(sb, scratch_path("not-there"));
	sandbox_read(sb, NULL);
	sandbox_use(sb, "/dev/null");
	sandbox_remove_in(sb, dir);
	sandbox_remove_in(sb, -1);
	privileges_no_new();
	ck_assert_int_eq(sandbox_enter(sb), 0);

	ck_assert_int_eq(try_open(scratch_path("w/x"), O_RDWR | O_CREAT), 0);
	ck_assert_int_eq(try_open(scratch_path("w/x"), O_RDWR | O_TRUNC), 0);
	ck_assert_int_eq(
	    rename(scratch_path("w/x"), scratch_path("w/sub/x")), 0);
	ck_assert_int_eq(
	    link(scratch_path("w/sub/x"), scratch_path("w/link")), 0);
	ck_assert_int_eq(unlink(scratch_path("w/sub/x")), 0);
	ck_assert_int_eq(mkdir(scratch_path("w/dir"), 0700), 0);
	ck_assert_int_eq(rmdir(scratch_path("w/dir")), 0);

	ck_assert_int_eq(try_open(scratch_path("r/file"), O_RDONLY), 0);
	ck_assert_int_eq(try_open(scratch_path("r"), O_RDONLY), 0);
	ck_assert_int_eq(try_open(scratch_path("r/file"), O_WRONLY), EACCES);
	ck_assert_int_eq(
	    try_open(scratch_path("r/new"), O_WRONLY | O_CREAT), EACCES);
	ck_assert_int_eq(unlink(scratch_path("r/file")), -1);

	ck_assert_int_eq(try_open(scratch_path("shown"), O_RDONLY), 0);
	ck_assert_int_eq(try_open(scratch_path("secret"), O_RDONLY), EACCES);
	ck_assert_int_eq(try_open("/etc/passwd", O_RDONLY), EACCES);
	ck_assert_int_eq(try_open("/", O_RDONLY | O_DIRECTORY), EACCES);
	ck_assert_int_eq(try_open("/dev/null", O_RDWR), 0);
	ck_assert_int_eq(
	    link(scratch_path("secret"), scratch_path("w/secret")), -1);
	ck_assert_int_eq(execl("/bin/true", "true", (char *)NULL), -1);
	ck_assert_int_eq(errno, EACCES);

	ck_assert_int_eq(try_open(scratch_path("gone/sock"), O_RDONLY), EACCES);
	ck_assert_int_eq(unlink(scratch_path("gone/sock")), 0);
}
END_TEST

/* A file that is replaced, and a link to another place. */
START_TEST(replaced)
{
	struct sandbox *sb;

	make_files();
	scratch_write("r/new", "text", 4);
	ck_assert_int_eq(mkdir(scratch_path("l"), 0700), 0);
	ck_assert_int_eq(
	    symlink(scratch_path("r/file"), scratch_path("l/link")), 0);
	scratch_write("l/other", "text", 4);
	if ((sb = new_sandbox(false)) == NULL)
		return;
	sandbox_write(sb, scratch_path("w"));
	sandbox_read_replaced(sb, scratch_path("l/link"));
	sandbox_read_replaced(sb, scratch_path("w/not-there"));
	sandbox_read_replaced(sb, "/not-there");
	sandbox_read_replaced(sb, NULL);
	privileges_no_new();
	ck_assert_int_eq(sandbox_enter(sb), 0);
	ck_assert_int_eq(try_open(scratch_path("l/link"), O_RDONLY), 0);
	ck_assert_int_eq(try_open(scratch_path("l/other"), O_RDONLY), 0);
	ck_assert_int_eq(try_open(scratch_path("l/other"), O_WRONLY), EACCES);
	ck_assert_int_eq(try_open(scratch_path("r/new"), O_RDONLY), 0);
	ck_assert_int_eq(try_open(scratch_path("secret"), O_RDONLY), EACCES);
	ck_assert_int_eq(try_open("/etc/passwd", O_RDONLY), EACCES);
}
END_TEST

/* Programs that are allowed run, in the sandbox too. */
START_TEST(programs)
{
	struct sandbox *sb;

	scratch_make();
	if ((sb = new_sandbox(false)) == NULL)
		exit(7);
	sandbox_execute(sb, "/");
	privileges_no_new();
	ck_assert_int_eq(sandbox_enter(sb), 0);
	execl("/bin/sh", "sh", "-c", "(: >\"$0\") 2>&- || exit 7",
	    scratch_path("new"), (char *)NULL);
	ck_abort_msg("sh can't be run");
}
END_TEST

static int
try_connect(const struct sockaddr_in *sa)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), rc = 0;

	if (connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) == -1)
		rc = errno;
	close(fd);
	return rc;
}

/* Row 0: without TCP; row 1: with. */
START_TEST(ports)
{
	struct sockaddr_in sa = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sa);
	struct sandbox *sb;
	int l, fd;

	ck_assert_int_ne(l = socket(AF_INET, SOCK_STREAM, 0), -1);
	ck_assert_int_eq(bind(l, (struct sockaddr *)&sa, sizeof(sa)), 0);
	ck_assert_int_eq(listen(l, 5), 0);
	ck_assert_int_eq(getsockname(l, (struct sockaddr *)&sa, &len), 0);
	if ((sb = new_sandbox(_i == 1)) == NULL)
		return;
	privileges_no_new();
	ck_assert_int_eq(sandbox_enter(sb), 0);
	if (abi() < 4) {
		printf("no rules for ports here: not tested\n");
		return;
	}
	ck_assert_int_eq(try_connect(&sa), _i == 1 ? 0 : EACCES);
	ck_assert_int_ne(fd = socket(AF_INET, SOCK_STREAM, 0), -1);
	sa.sin_port = 0;
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), -1);
	ck_assert_int_eq(errno, EACCES);
	if (abi() >= 6)
		ck_assert_int_eq(kill(getppid(), 0), -1);
	ck_assert_int_eq(kill(getpid(), 0), 0);
}
END_TEST

/* Have the kernel answer rc (or fail with err) to landlock_create_ruleset. */
static void
without_landlock(unsigned int err)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
		    offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_landlock_create_ruleset,
		    0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | err),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { nitems(code), code };

	privileges_no_new();
	ck_assert_int_eq(
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0), 0);
}

/* 0 makes the ABI 0, which is too old. */
static const unsigned int answers[] = { ENOSYS, EOPNOTSUPP, EPERM, 0 };

START_TEST(without)
{
	without_landlock(answers[_i]);
	ck_assert_ptr_null(sandbox_new(true));
	sandbox_read(NULL, "/");
	sandbox_read_replaced(NULL, "/etc/passwd");
	sandbox_execute(NULL, "/");
	sandbox_write(NULL, "/");
	sandbox_use(NULL, "/");
	sandbox_remove_in(NULL, 0);
	ck_assert_int_eq(sandbox_enter(NULL), 0);
	sandbox_free(NULL);
	ck_assert_int_eq(try_open("/etc/passwd", O_RDONLY), 0);
}
END_TEST

/* Without no_new_privs it is refused, unless we are root. */
START_TEST(too_early)
{
	struct sandbox *sb;

	if (geteuid() == 0)
		privileges_drop(65534, 65534);
	if ((sb = new_sandbox(false)) == NULL)
		return;
	ck_assert_int_eq(sandbox_enter(sb), -1);
	ck_assert_int_eq(try_open("/etc/passwd", O_RDONLY), 0);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("sandbox");
	TCase *tc = tcase_create("sandbox");

	tcase_add_test(tc, files);
	tcase_add_test(tc, replaced);
	tcase_add_exit_test(tc, programs, 7);
	tcase_add_test(tc, too_early);
	suite_add_tcase(s, tc);
	UNIT_ROWS(s, "ports", ports, 2);
	UNIT_ROWS(s, "without", without, nitems(answers));
	return unit_main(s);
}
