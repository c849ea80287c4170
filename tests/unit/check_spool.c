#include "config.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "hash.h"
#include "scratch.h"
#include "spool.h"
#include "unit.h"

static struct spool_dir *sd;
static char used_name[SPOOL_NAME_MAX + 1];
static char dead[8][SPOOL_INSTANCE_LEN + 1];
static size_t ndead;

static int
used(const char *name, void *arg)
{
	(void)arg;
	return strcmp(name, used_name) == 0;
}

static void
note_dead(const char *instance, void *arg)
{
	(void)arg;
	if (ndead < nitems(dead))
		snprintf(dead[ndead++], sizeof(dead[0]), "%s", instance);
}

/* The store has the bytes "lost" if this is set. */
static bool lost_is_stored;
static int nasked; /* whether something is stored */

static int
stored(const struct digest *d, uint64_t size, void *arg)
{
	struct digest lost;

	nasked++;

	(void)arg;
	hash_sha256("lost", 4, &lost);
	return lost_is_stored && size == 4 && digest_equal(d, &lost);
}

static const struct spool_owner owner = {
	.used = used,
	.stored = stored,
	.dead = note_dead,
};

static struct spool_dir *
open_spool(void)
{
	struct spool_dir *d = spool_open(scratch, &owner);

	ck_assert_ptr_nonnull(d);
	return d;
}

static void
setup(void)
{
	scratch_make();
	used_name[0] = '\0';
	lost_is_stored = false;
	ndead = 0;
	sd = open_spool();
}

static void
teardown(void)
{
	spool_close(sd);
	scratch_remove();
}

/* How many names there are in a directory. */
static int
count(const char *dir)
{
	struct dirent *de;
	DIR *d = opendir(scratch_path(dir));
	int n = 0;

	ck_assert_ptr_nonnull(d);
	while ((de = readdir(d)) != NULL)
		n += de->d_name[0] != '.';
	closedir(d);
	return n;
}

static struct spool *
body(const char *text)
{
	struct spool *s;

	ck_assert_int_eq(spool_new(sd, 1000, &s), SPOOL_OK);
	ck_assert_int_eq(spool_write(s, text, strlen(text)), SPOOL_OK);
	return s;
}

START_TEST(commits)
{
	char name[SPOOL_NAME_MAX + 1], text[16] = "";
	struct spool *s = body("hel");
	struct digest got, want;
	int fd;

	ck_assert_int_eq(spool_write(s, "lo", 2), SPOOL_OK);
	ck_assert_uint_eq(spool_size(s), 5);
	spool_digest(s, &got);
	hash_sha256("hello", 5, &want);
	ck_assert(digest_equal(&got, &want));
	ck_assert_int_eq(count("spool/incoming"), 1);
	ck_assert_int_eq(spool_commit(s, name), SPOOL_OK);
	spool_free(s);
	ck_assert_int_eq(count("spool/incoming"), 0);
	ck_assert_int_eq(count("spool/ready"), 1);
	ck_assert_int_ge(fd = spool_read(sd, name), 0);
	ck_assert_int_eq(read(fd, text, sizeof(text)), 5);
	ck_assert_str_eq(text, "hello");
	close(fd);
	spool_remove(sd, name);
	ck_assert_int_eq(count("spool/ready"), 0);
}
END_TEST

START_TEST(commits_empty)
{
	char name[SPOOL_NAME_MAX + 1];
	struct spool *s;

	ck_assert_int_eq(spool_new(sd, 0, &s), SPOOL_OK);
	ck_assert_int_eq(spool_commit(s, name), SPOOL_OK);
	spool_free(s);
	ck_assert_int_eq(count("spool/ready"), 1);
}
END_TEST

START_TEST(free_without_commit_leaves_nothing)
{
	spool_free(body("gone"));
	ck_assert_int_eq(count("spool/incoming"), 0);
	ck_assert_int_eq(count("spool/ready"), 0);
	spool_free(NULL);
}
END_TEST

START_TEST(equal_bodies_have_names_of_their_own)
{
	char a[SPOOL_NAME_MAX + 1], b[SPOOL_NAME_MAX + 1];
	struct spool *s;

	s = body("same");
	ck_assert_int_eq(spool_commit(s, a), SPOOL_OK);
	spool_free(s);
	s = body("same");
	ck_assert_int_eq(spool_commit(s, b), SPOOL_OK);
	spool_free(s);
	ck_assert_str_ne(a, b);
	spool_remove(sd, a);
	ck_assert_int_eq(count("spool/ready"), 1);
}
END_TEST

START_TEST(limit)
{
	struct spool *s;

	ck_assert_int_eq(spool_new(sd, 4, &s), SPOOL_OK);
	ck_assert_int_eq(spool_write(s, "1234", 4), SPOOL_OK);
	ck_assert_int_eq(spool_write(s, "5", 1), SPOOL_LIMIT);
	spool_free(s);
	ck_assert_int_eq(count("spool/incoming"), 0);
}
END_TEST

START_TEST(full_disk)
{
	struct spool *s;

	/* The file size limit fails a write as a full disk does. */
	ck_assert_int_eq(spool_new(sd, 1000, &s), SPOOL_OK);
	ck_assert_int_eq(spool_write(s, "x", 1), SPOOL_OK);
	{
		int full = open("/dev/full", O_WRONLY);

		ck_assert_int_ge(full, 0);
		ck_assert_int_ge(dup2(full, spool_fd(s)), 0);
		close(full);
	}
	ck_assert_int_eq(spool_write(s, "y", 1), SPOOL_FULL);
	spool_free(s);
	ck_assert_int_eq(count("spool/incoming"), 0);
}
END_TEST

static void
make_bodies(void)
{
	ck_assert_int_eq(mkdir(scratch_path("body"), 0700), 0);
	ck_assert_int_eq(mkdir(scratch_path("body/0"), 0700), 0);
	scratch_write("body/0/0001", "hello", 5);
	scratch_write("secret", "secret", 6);
	ck_assert_int_eq(
	    symlink(scratch_path("secret"), scratch_path("body/0/link")), 0);
	ck_assert_int_eq(mkfifo(scratch_path("body/fifo"), 0600), 0);
}

START_TEST(takes_file)
{
	char name[SPOOL_NAME_MAX + 1];
	struct digest got, want;
	struct spool *s;
	struct stat st;

	make_bodies();
	ck_assert_int_eq(spool_new(sd, 1000, &s), SPOOL_OK);
	ck_assert_int_eq(
	    spool_take(s, scratch_path("body"), scratch_path("body/0/0001")),
	    SPOOL_OK);
	ck_assert_uint_eq(spool_size(s), 5);
	spool_digest(s, &got);
	hash_sha256("hello", 5, &want);
	ck_assert(digest_equal(&got, &want));
	ck_assert_int_eq(spool_commit(s, name), SPOOL_OK);
	spool_free(s);
	/* The web server's name is still the web server's. */
	ck_assert_int_eq(stat(scratch_path("body/0/0001"), &st), 0);
	ck_assert_uint_eq(st.st_nlink, 2);
	ck_assert_int_eq(count("spool/ready"), 1);
}
END_TEST

static const char *const outside[] = {
	"secret",
	"body/../secret",
	"body/0/link",
	"body/0",
	"body",
	"body/none",
	"body/fifo",
	"bodyx/0/0001",
};

START_TEST(takes_nothing_from_elsewhere)
{
	struct spool *s;

	make_bodies();
	ck_assert_int_eq(spool_new(sd, 1000, &s), SPOOL_OK);
	ck_assert_int_eq(
	    spool_take(s, scratch_path("body"), scratch_path(outside[_i])),
	    SPOOL_ERROR);
	spool_free(s);
	ck_assert_int_eq(count("spool/incoming"), 0);
}
END_TEST

START_TEST(take_limit)
{
	struct spool *s;

	make_bodies();
	ck_assert_int_eq(spool_new(sd, 4, &s), SPOOL_OK);
	ck_assert_int_eq(
	    spool_take(s, scratch_path("body"), scratch_path("body/0/0001")),
	    SPOOL_LIMIT);
	spool_free(s);
	ck_assert_int_eq(count("spool/incoming"), 0);
}
END_TEST

START_TEST(retired_stays_for_the_grace)
{
	char a[SPOOL_NAME_MAX + 1], b[SPOOL_NAME_MAX + 1];
	struct spool *s;

	s = body("a");
	ck_assert_int_eq(spool_commit(s, a), SPOOL_OK);
	spool_free(s);
	s = body("b");
	ck_assert_int_eq(spool_commit(s, b), SPOOL_OK);
	spool_free(s);
	spool_retire(sd, a, 1000);
	spool_retire(sd, b, 1001);
	ck_assert(spool_reap(sd, 1000 + SPOOL_GRACE - 1));
	ck_assert_int_eq(count("spool/ready"), 2);
	spool_reap(sd, 1000 + SPOOL_GRACE);
	ck_assert_int_eq(count("spool/ready"), 1);
	spool_retire(sd, a, 2000); /* gone already: harmless */
	ck_assert(!spool_reap(sd, 9000));
	ck_assert_int_eq(count("spool/ready"), 0);
}
END_TEST

/* In a child that dies as kill -9 lets it: two ready, one incoming. */
static void
crash(char kept[SPOOL_NAME_MAX + 1], char instance[SPOOL_INSTANCE_LEN + 1])
{
	int pipes[2], status;
	pid_t pid;

	ck_assert_int_eq(pipe(pipes), 0);
	if ((pid = fork()) == 0) {
		char name[SPOOL_NAME_MAX + 1] = "";
		struct spool *s;

		sd = open_spool();
		spool_commit(body("lost"), name);
		spool_commit(body("kept"), name);
		s = body("half");
		(void)s;
		if (write(pipes[1], name, sizeof(name)) == -1 ||
		    write(pipes[1], spool_instance(sd),
			SPOOL_INSTANCE_LEN + 1) == -1)
			_exit(1);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(
	    read(pipes[0], kept, SPOOL_NAME_MAX + 1), SPOOL_NAME_MAX + 1);
	ck_assert_int_eq(read(pipes[0], instance, SPOOL_INSTANCE_LEN + 1),
	    SPOOL_INSTANCE_LEN + 1);
	close(pipes[0]);
	close(pipes[1]);
}

START_TEST(recovers_what_a_dead_instance_left)
{
	char instance[SPOOL_INSTANCE_LEN + 1], kept[SPOOL_NAME_MAX + 1];
	struct spool *live = body("live");
	struct spool_dir *next;
	char mine[SPOOL_NAME_MAX + 1];

	crash(kept, instance);
	ck_assert_int_eq(count("spool/incoming"), 2);
	ck_assert_int_eq(count("spool/ready"), 2);
	snprintf(used_name, sizeof(used_name), "%s", kept);
	ndead = 0;
	next = open_spool();
	/* sd lives: its half-written body stays, and it can finish it. */
	ck_assert_int_eq(count("spool/incoming"), 1);
	ck_assert_int_eq(count("spool/ready"), 1);
	ck_assert(scratch_exists("spool/ready"));
	ck_assert_uint_eq(ndead, 1);
	ck_assert_str_eq(dead[0], instance);
	ck_assert_int_eq(spool_commit(live, mine), SPOOL_OK);
	spool_free(live);
	spool_close(next);
	/* Its lock is gone too: it is told of once. */
	ndead = 0;
	next = open_spool();
	ck_assert_uint_eq(ndead, 1); /* next's predecessor, closed */
	spool_close(next);
	ck_assert_int_eq(count("spool/ready"), 2);
}
END_TEST

START_TEST(keeps_what_no_row_names)
{
	struct timespec old[2] = { { .tv_nsec = UTIME_OMIT } };
	char instance[SPOOL_INSTANCE_LEN + 1], kept[SPOOL_NAME_MAX + 1];
	char name[SPOOL_NAME_MAX + 8];

	crash(kept, instance);
	spool_close(open_spool());
	ck_assert_int_eq(count("spool/ready"), 0);
	ck_assert_int_eq(count("spool/lost"), 2);
	snprintf(name, sizeof(name), "spool/lost/%s.0", instance);
	ck_assert(scratch_exists(name));
	/* Not for ever. */
	old[1].tv_sec = time(NULL) - (SPOOL_LOST_DAYS + 1) * 86400;
	ck_assert_int_eq(utimensat(AT_FDCWD, scratch_path(name), old, 0), 0);
	spool_close(open_spool());
	ck_assert_int_eq(count("spool/lost"), 1);
	ck_assert(!scratch_exists(name));
}
END_TEST

START_TEST(removes_what_is_stored_and_no_row_names)
{
	char instance[SPOOL_INSTANCE_LEN + 1], kept[SPOOL_NAME_MAX + 1];

	lost_is_stored = true;
	crash(kept, instance);
	spool_close(open_spool());
	ck_assert_int_eq(count("spool/ready"), 0);
	ck_assert_int_eq(count("spool/lost"), 1); /* "kept" */
}
END_TEST

/* Of very much a start does not find out. */
START_TEST(keeps_what_would_take_long_to_read)
{
	char instance[SPOOL_INSTANCE_LEN + 1], kept[SPOOL_NAME_MAX + 1];
	char path[128];

	lost_is_stored = true;
	crash(kept, instance);
	snprintf(path, sizeof(path), "spool/ready/%s", kept);
	/* Both: in whichever order they are looked at. */
	ck_assert_int_eq(truncate(scratch_path(path), (off_t)1 << 31), 0);
	snprintf(path, sizeof(path), "spool/ready/%s.0", instance);
	ck_assert_int_eq(truncate(scratch_path(path), (off_t)1 << 31), 0);
	nasked = 0;
	spool_close(open_spool());
	ck_assert_int_eq(nasked, 0);
	ck_assert_int_eq(count("spool/ready"), 0);
	ck_assert_int_eq(count("spool/lost"), 2);
}
END_TEST

START_TEST(removes_what_a_dead_instance_had_retired)
{
	char name[SPOOL_NAME_MAX + 1], instance[SPOOL_INSTANCE_LEN + 1];
	char lock[64];
	struct stat st;
	struct spool *s;

	s = body("relayed");
	ck_assert_int_eq(spool_commit(s, name), SPOOL_OK);
	spool_free(s);
	memcpy(instance, spool_instance(sd), sizeof(instance));
	spool_retire(sd, name, 1000);
	spool_close(sd);
	ck_assert_int_eq(count("spool/ready"), 1);
	sd = open_spool();
	ck_assert_int_eq(count("spool/ready"), 0);
	ck_assert(!scratch_exists("spool/lost"));
	/* The note does not grow while it is not needed. */
	spool_retire(sd, name, 1000);
	ck_assert(!spool_reap(sd, 9000));
	snprintf(lock, sizeof(lock), "spool/%s.lock", spool_instance(sd));
	ck_assert_int_eq(stat(scratch_path(lock), &st), 0);
	ck_assert_int_eq(st.st_size, 0);
}
END_TEST

START_TEST(leaves_strange_files_in_peace_but_not_in_incoming)
{
	scratch_write("spool/incoming/stray", "x", 1);
	scratch_write("spool/ready/stray", "x", 1);
	snprintf(used_name, sizeof(used_name), "stray");
	spool_close(open_spool());
	ck_assert(!scratch_exists("spool/incoming/stray"));
	ck_assert(scratch_exists("spool/ready/stray"));
}
END_TEST

static struct spool_dir *
open_brief(void)
{
	struct spool_dir *d = spool_open_brief(scratch, &owner);

	ck_assert_ptr_nonnull(d);
	return d;
}

/* As if instance had ended so many seconds ago. */
static void
age_lock(const char *instance, int seconds)
{
	struct timespec t[2];
	char lock[64];

	snprintf(lock, sizeof(lock), "spool/%s.lock", instance);
	clock_gettime(CLOCK_REALTIME, &t[0]);
	t[0].tv_sec -= seconds;
	t[1] = t[0];
	ck_assert_int_eq(utimensat(AT_FDCWD, scratch_path(lock), t, 0), 0);
}

START_TEST(brief_leaves_nothing)
{
	struct spool_dir *d;
	int before = count("spool");

	d = open_brief();
	ck_assert_int_eq(count("spool"), before + 1);
	spool_close(d);
	ck_assert_int_eq(count("spool"), before);
}
END_TEST

START_TEST(brief_recovers_what_a_dead_instance_left)
{
	char instance[SPOOL_INSTANCE_LEN + 1], kept[SPOOL_NAME_MAX + 1];
	struct spool *live = body("live");

	crash(kept, instance);
	snprintf(used_name, sizeof(used_name), "%s", kept);
	ndead = 0;
	/* A web server may just open what it retired. */
	spool_close(open_brief());
	ck_assert_uint_eq(ndead, 0);
	ck_assert_int_eq(count("spool/ready"), 2);
	age_lock(instance, SPOOL_GRACE);
	spool_close(open_brief());
	ck_assert_uint_eq(ndead, 1);
	ck_assert_str_eq(dead[0], instance);
	/* What is used stays, and so does what the living have. */
	ck_assert_int_eq(count("spool/ready"), 1);
	ck_assert_int_eq(count("spool/incoming"), 1);
	spool_free(live);
}
END_TEST

START_TEST(brief_retired_stays_for_the_grace)
{
	char name[SPOOL_NAME_MAX + 1], instance[SPOOL_INSTANCE_LEN + 1];
	struct spool_dir *whole = sd;
	struct spool *s;

	sd = open_brief();
	memcpy(instance, spool_instance(sd), sizeof(instance));
	s = body("relayed");
	ck_assert_int_eq(spool_commit(s, name), SPOOL_OK);
	spool_free(s);
	/* It ran for long. */
	age_lock(instance, 1000);
	spool_retire(sd, name, (int64_t)time(NULL));
	spool_close(sd);
	sd = whole;
	spool_close(open_brief());
	ck_assert_int_eq(count("spool/ready"), 1);
	age_lock(instance, SPOOL_GRACE);
	spool_close(open_brief());
	ck_assert_int_eq(count("spool/ready"), 0);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("spool");
	TCase *tc = tcase_create("spool");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, commits);
	tcase_add_test(tc, commits_empty);
	tcase_add_test(tc, free_without_commit_leaves_nothing);
	tcase_add_test(tc, equal_bodies_have_names_of_their_own);
	tcase_add_test(tc, limit);
	tcase_add_test(tc, full_disk);
	tcase_add_test(tc, takes_file);
	tcase_add_loop_test(
	    tc, takes_nothing_from_elsewhere, 0, (int)nitems(outside));
	tcase_add_test(tc, take_limit);
	tcase_add_test(tc, retired_stays_for_the_grace);
	tcase_add_test(tc, recovers_what_a_dead_instance_left);
	tcase_add_test(tc, keeps_what_no_row_names);
	tcase_add_test(tc, removes_what_is_stored_and_no_row_names);
	tcase_add_test(tc, keeps_what_would_take_long_to_read);
	tcase_add_test(tc, removes_what_a_dead_instance_had_retired);
	tcase_add_test(tc, brief_leaves_nothing);
	tcase_add_test(tc, brief_recovers_what_a_dead_instance_left);
	tcase_add_test(tc, brief_retired_stays_for_the_grace);
	tcase_add_test(tc, leaves_strange_files_in_peace_but_not_in_incoming);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
