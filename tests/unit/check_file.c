#include "config.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "unit.h"

#include "file.h"

/* Every test works in a fresh directory, also the current one. */
static char dirname_[] = "/tmp/check_file.XXXXXX";
static int dir = -1;

static void
setup(void)
{
	ck_assert_ptr_nonnull(mkdtemp(dirname_));
	ck_assert_int_eq(chdir(dirname_), 0);
	dir = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ne(dir, -1);
}

static void
remove_all(void)
{
	struct dirent *e;
	DIR *d = opendir(".");

	while ((e = readdir(d)) != NULL)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			remove(e->d_name);
	closedir(d);
}

static void
teardown(void)
{
	remove_all();
	close(dir);
	rmdir(dirname_);
}

static size_t
count_files(void)
{
	struct dirent *e;
	DIR *d = opendir(".");
	size_t n = 0;

	while ((e = readdir(d)) != NULL)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			n++;
	closedir(d);
	return n;
}

static void
expect(const char *name, const void *p, size_t n)
{
	struct buf b = BUF_INIT;

	ck_assert_int_eq(file_read_at(dir, name, n, &b), 0);
	ck_assert_uint_eq(b.len, n);
	if (n > 0)
		ck_assert_mem_eq(b.p, p, n);
	buf_free(&b);
}

START_TEST(replace_makes_the_file)
{
	struct stat st;

	umask(077);
	ck_assert_int_eq(file_replace(dir, "f", "one", 3, 0644), 0);
	expect("f", "one", 3);
	ck_assert_int_eq(stat("f", &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0644);
	ck_assert_int_eq(file_replace(dir, "f", "", 0, 0600), 0);
	expect("f", "", 0);
	ck_assert_int_eq(stat("f", &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	ck_assert_uint_eq(count_files(), 1);
}
END_TEST

/* A log's key: the longest name a store path gives. */
START_TEST(replace_takes_long_names)
{
	char name[256];

	memset(name, 'a', 255);
	name[255] = '\0';
	ck_assert_int_eq(file_replace(dir, name, "one", 3, 0644), 0);
	expect(name, "one", 3);
	ck_assert_uint_eq(count_files(), 1);
}
END_TEST

START_TEST(replace_keeps_the_old_file_on_failure)
{
	ck_assert_int_eq(mkdir("f", 0700), 0);
	ck_assert_int_eq(file_replace(dir, "f", "one", 3, 0644), -1);
	ck_assert_uint_eq(count_files(), 1);
	ck_assert_int_eq(file_replace(dir, "no/f", "one", 3, 0644), -1);
	ck_assert_int_eq(errno, ENOENT);
}
END_TEST

#define WRITERS 4
#define ROUNDS 50

static void *
write_often(void *arg)
{
	char text[10000];
	int i, *failed = arg;

	for (i = 0; i < ROUNDS; i++) {
		memset(text, 'a' + i % 26, sizeof(text));
		if (file_replace(dir, "f", text, sizeof(text), 0644) == -1)
			*failed = errno;
	}
	return NULL;
}

START_TEST(replace_by_many_threads)
{
	pthread_t t[WRITERS];
	int failed[WRITERS] = { 0 };
	struct buf b = BUF_INIT;
	size_t i;

	for (i = 0; i < WRITERS; i++)
		pthread_create(&t[i], NULL, write_often, &failed[i]);
	for (i = 0; i < WRITERS; i++) {
		pthread_join(t[i], NULL);
		ck_assert_int_eq(failed[i], 0);
	}
	ck_assert_int_eq(file_read_at(dir, "f", 10000, &b), 0);
	ck_assert_uint_eq(b.len, 10000);
	for (i = 0; i < b.len; i++)
		ck_assert_int_eq(b.p[i], b.p[0]);
	ck_assert_uint_eq(count_files(), 1);
	buf_free(&b);
}
END_TEST

START_TEST(create_refuses_what_exists)
{
	ck_assert_int_eq(file_create(dir, "f", "one", 3, 0600), 0);
	ck_assert_int_eq(file_create(dir, "f", "two", 3, 0600), -1);
	ck_assert_int_eq(errno, EEXIST);
	expect("f", "one", 3);
	ck_assert_int_eq(file_create(AT_FDCWD, "g", "x", 1, 0600), 0);
	expect("g", "x", 1);
}
END_TEST

/* A process that dies in the middle of it, here by SIGXFSZ after four bytes,
 * leaves nothing under the name. */
START_TEST(create_makes_all_or_nothing)
{
	const struct rlimit four = { 4, 4 };
	int status = 0;
	pid_t pid;

	if ((pid = fork()) == 0) {
		setrlimit(RLIMIT_FSIZE, &four);
		signal(SIGXFSZ, SIG_DFL);
		_exit(file_create(dir, "f", "eight by", 8, 0600) == -1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ);
	ck_assert_int_eq(faccessat(dir, "f", F_OK, 0), -1);
	ck_assert_int_eq(file_create(dir, "f", "eight by", 8, 0600), 0);
	expect("f", "eight by", 8);
}
END_TEST

static const struct {
	const char *what;
	size_t size;
	size_t max;
	int rc;
} max_rows[] = {
	{ "an empty file", 0, 0, 0 },
	{ "as large as allowed", 20000, 20000, 0 },
	{ "a byte larger", 20001, 20000, -1 },
	{ "a byte where none is allowed", 1, 0, -1 },
};

START_TEST(read_max)
{
	static char data[20001];
	struct buf b = BUF_INIT;

	memset(data, 'x', sizeof(data));
	ck_assert_int_eq(
	    file_create(dir, "f", data, max_rows[_i].size, 0600), 0);
	buf_adds(&b, "before ");
	ck_assert_msg(
	    file_read_at(dir, "f", max_rows[_i].max, &b) == max_rows[_i].rc,
	    "%s", max_rows[_i].what);
	if (max_rows[_i].rc == -1)
		ck_assert_int_eq(errno, EFBIG);
	else
		ck_assert_uint_eq(b.len, 7 + max_rows[_i].size);
	buf_free(&b);
}
END_TEST

START_TEST(read_of_nothing)
{
	struct buf b = BUF_INIT;

	ck_assert_int_eq(file_read_at(dir, "none", 10, &b), -1);
	ck_assert_int_eq(errno, ENOENT);
	ck_assert_uint_eq(b.len, 0);
}
END_TEST

/* A pipe gives and takes less than asked for. */
static void *
feed(void *arg)
{
	static char data[300000];
	int fd = *(int *)arg;

	memset(data, 'y', sizeof(data));
	if (file_write_all(fd, data, sizeof(data)) == -1)
		return arg;
	close(fd);
	return NULL;
}

START_TEST(short_reads_and_writes)
{
	static char data[400000];
	pthread_t t;
	void *failed;
	int fd[2];

	ck_assert_int_eq(pipe(fd), 0);
	pthread_create(&t, NULL, feed, &fd[1]);
	ck_assert_int_eq(file_read_full(fd[0], data, 100001), 100001);
	ck_assert_int_eq(file_read_full(fd[0], data, sizeof(data)), 199999);
	ck_assert_int_eq(file_read_full(fd[0], data, 1), 0);
	pthread_join(t, &failed);
	ck_assert_ptr_null(failed);
	close(fd[0]);
}
END_TEST

static const size_t copy_sizes[] = { 0, 1, 65536, 300001 };

START_TEST(copy)
{
	static char data[300001];
	int from, to;
	uint64_t n = 77;

	memset(data, 'z', sizeof(data));
	ck_assert_int_eq(
	    file_create(dir, "from", data, copy_sizes[_i], 0600), 0);
	from = open("from", O_RDONLY);
	to = open("to", O_WRONLY | O_CREAT, 0600);
	ck_assert_int_eq(file_copy(from, to, &n), 0);
	ck_assert_uint_eq(n, copy_sizes[_i]);
	expect("to", data, copy_sizes[_i]);
	close(from);
	close(to);
}
END_TEST

START_TEST(copy_of_the_rest)
{
	int from, to;
	uint64_t n;

	ck_assert_int_eq(file_create(dir, "from", "0123456789", 10, 0600), 0);
	from = open("from", O_RDONLY);
	to = open("to", O_WRONLY | O_CREAT, 0600);
	ck_assert_int_eq(lseek(from, 4, SEEK_SET), 4);
	ck_assert_int_eq(file_copy(from, to, &n), 0);
	ck_assert_uint_eq(n, 6);
	expect("to", "456789", 6);
	close(from);
	close(to);
}
END_TEST

START_TEST(copy_from_a_pipe)
{
	uint64_t n;
	int fd[2], to;

	ck_assert_int_eq(pipe(fd), 0);
	ck_assert_int_eq(file_write_all(fd[1], "piped", 5), 0);
	close(fd[1]);
	to = open("to", O_WRONLY | O_CREAT, 0600);
	ck_assert_int_eq(file_copy(fd[0], to, &n), 0);
	ck_assert_uint_eq(n, 5);
	expect("to", "piped", 5);
	close(fd[0]);
	close(to);
}
END_TEST

START_TEST(open_dir)
{
	int fd;

	ck_assert_int_eq(file_open_dir(dir, "d", 0700, false), -1);
	ck_assert_int_eq(errno, ENOENT);
	fd = file_open_dir(dir, "d", 0700, true);
	ck_assert_int_ne(fd, -1);
	ck_assert_int_eq(file_sync_dir(fd), 0);
	close(fd);
	fd = file_open_dir(dir, "d", 0700, true);
	ck_assert_int_ne(fd, -1);
	close(fd);
	ck_assert_int_eq(file_create(dir, "f", "", 0, 0600), 0);
	ck_assert_int_eq(file_open_dir(dir, "f", 0700, true), -1);
	ck_assert_int_eq(errno, ENOTDIR);
}
END_TEST

static const struct {
	mode_t mode;
	int rc;
} secret_rows[] = {
	{ 0600, 0 },
	{ 0400, 0 },
	{ 0640, -1 },
	{ 0620, -1 },
	{ 0604, -1 },
	{ 0601, -1 },
};

START_TEST(secret_modes)
{
	struct buf b = BUF_INIT;

	ck_assert_int_eq(
	    file_create(dir, "s", "secret", 6, secret_rows[_i].mode), 0);
	ck_assert_msg(file_read_secret("s", 6, &b) == secret_rows[_i].rc, "%o",
	    secret_rows[_i].mode);
	if (secret_rows[_i].rc == 0)
		ck_assert_str_eq(buf_str(&b), "secret");
	else
		ck_assert_int_eq(errno, EPERM);
	buf_free(&b);
}
END_TEST

START_TEST(secret_must_be_a_file)
{
	struct buf b = BUF_INIT;

	ck_assert_int_eq(mkdir("d", 0700), 0);
	ck_assert_int_eq(file_read_secret("d", 10, &b), -1);
	ck_assert_int_eq(errno, EPERM);
	ck_assert_int_eq(file_create(dir, "s", "secret", 6, 0600), 0);
	ck_assert_int_eq(file_read_secret("s", 5, &b), -1);
	ck_assert_int_eq(errno, EFBIG);
	ck_assert_int_eq(file_read_secret("none", 5, &b), -1);
	ck_assert_int_eq(errno, ENOENT);
	buf_free(&b);
}
END_TEST

/* Whoever owns it can read it and change it. */
START_TEST(secret_of_another_user)
{
	struct buf b = BUF_INIT;

	if (geteuid() != 0)
		return;
	ck_assert_int_eq(file_create(dir, "s", "secret", 6, 0600), 0);
	ck_assert_int_eq(chown("s", 65534, 65534), 0);
	ck_assert_int_eq(file_read_secret("s", 6, &b), -1);
	ck_assert_int_eq(errno, EPERM);
	buf_free(&b);
}
END_TEST

static void
add(Suite *s, const char *name, const TTest *test, size_t n)
{
	TCase *tc = tcase_create(name);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, test, 0, (int)n);
	suite_add_tcase(s, tc);
}

START_TEST(lock_one_of_some)
{
	int a, b;

	ck_assert_int_ge(a = file_lock_one(dir, "run", 2), 0);
	ck_assert_int_ge(b = file_lock_one(dir, "run", 2), 0);
	ck_assert_int_eq(file_lock_one(dir, "run", 2), -1);
	ck_assert_int_eq(errno, EWOULDBLOCK);
	close(a);
	ck_assert_int_ge(a = file_lock_one(dir, "run", 2), 0);
	close(a);
	close(b);
	ck_assert_int_eq(file_lock_one(dir, "none/run", 2), -1);
	ck_assert_int_eq(errno, ENOENT);
	/* Somebody's link to a file elsewhere. */
	ck_assert_int_eq(symlink("elsewhere", "link.0"), 0);
	ck_assert_int_eq(file_lock_one(dir, "link", 1), -1);
	ck_assert_int_eq(errno, ELOOP);
	ck_assert_int_eq(access("elsewhere", F_OK), -1);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("file");

	add(s, "replace", replace_makes_the_file, 1);
	add(s, "replace long name", replace_takes_long_names, 1);
	add(s, "replace failure", replace_keeps_the_old_file_on_failure, 1);
	add(s, "replace threads", replace_by_many_threads, 1);
	add(s, "create", create_refuses_what_exists, 1);
	add(s, "create whole", create_makes_all_or_nothing, 1);
	add(s, "read max", read_max, nitems(max_rows));
	add(s, "read nothing", read_of_nothing, 1);
	add(s, "pipe", short_reads_and_writes, 1);
	add(s, "copy", copy, nitems(copy_sizes));
	add(s, "copy rest", copy_of_the_rest, 1);
	add(s, "copy pipe", copy_from_a_pipe, 1);
	add(s, "open dir", open_dir, 1);
	add(s, "lock", lock_one_of_some, 1);
	add(s, "secret mode", secret_modes, nitems(secret_rows));
	add(s, "secret file", secret_must_be_a_file, 1);
	add(s, "another's secret", secret_of_another_user, 1);
	return unit_main(s);
}
