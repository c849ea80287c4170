#include "config.h"

#include <sys/wait.h>

#include <fcntl.h>
#include <stdbool.h>

#include "db.h"
#include "scratch.h"
#include "unit.h"

static const char *path;

static void
setup(void)
{
	scratch_make();
	path = scratch_path("index.db");
}

/*
 * Would another process find a lock on the file?  A connection in WAL mode
 * holds a shared one for as long as it lives: it keeps others from believing
 * that they are alone, and from removing the WAL under it.
 */
static bool
locked(void)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int status;
	pid_t pid;

	if ((pid = fork()) == 0) {
		int fd = open(path, O_RDWR | O_CLOEXEC);

		if (fd == -1 || fcntl(fd, F_GETLK, &l) == -1)
			_exit(2);
		_exit(l.l_type == F_UNLCK ? 0 : 1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	ck_assert_int_ne(WEXITSTATUS(status), 2);
	return WEXITSTATUS(status) == 1;
}

START_TEST(a_second_connection_leaves_the_locks_of_the_first)
{
	static const char *const migrations[] = { "CREATE TABLE t (a)" };
	struct db *a, *b;

	ck_assert_ptr_nonnull(a = db_open(path, true));
	ck_assert_int_eq(db_migrate(a, migrations, 1), 0);
	ck_assert(locked());
	ck_assert_ptr_nonnull(b = db_open(path, false));
	ck_assert(locked());
	db_close(b);
	ck_assert(locked());
	db_close(a);
	ck_assert(!locked());
}
END_TEST

START_TEST(others_can_not_read_the_file)
{
	struct stat st;
	struct db *d;

	umask(0);
	ck_assert_ptr_nonnull(d = db_open(path, true));
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0640);
	db_close(d);
}
END_TEST

/* Reading may take its time; what holds the writer's lock may not. */
START_TEST(the_lock_is_not_held_without_end)
{
	static const char *const migrations[] = { "CREATE TABLE t (a)" };
	static const char *const endless[] = {
		"INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL"
		" SELECT i + 1 FROM n) SELECT count(*) FROM n",
		"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL"
		" SELECT i + 1 FROM n) SELECT count(*) FROM n",
	};
	static const char *const long_read =
	    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL"
	    " SELECT i + 1 FROM n LIMIT 1000000) SELECT count(*) FROM n";
	struct db *d, *other;
	sqlite3_stmt *st;

	ck_assert_ptr_nonnull(d = db_open(path, true));
	ck_assert_int_eq(db_migrate(d, migrations, 1), 0);
	ck_assert_ptr_nonnull(other = db_open(path, true));
	db_limit(d, 50);
	if (_i < 2)
		ck_assert_int_eq(db_begin(d), 0);
	ck_assert_ptr_nonnull(st = db_prepare(d, endless[_i % 2]));
	ck_assert_int_eq(db_step(d, st), -1);
	sqlite3_reset(st);
	db_rollback(d);
	ck_assert_int_eq(db_begin(other), 0);
	db_rollback(other);
	db_limit(d, 1);
	ck_assert_ptr_nonnull(st = db_prepare(d, long_read));
	ck_assert_int_eq(db_step(d, st), 1);
	db_close(other);
	db_close(d);
}
END_TEST

START_TEST(migrates_once_and_all_or_nothing)
{
	static const char *const one[] = { "CREATE TABLE t (a)" };
	static const char *const bad[] = { "CREATE TABLE t (a)",
		"CREATE TABLE u (a)", "NONSENSE" };
	static const char *const two[] = { "CREATE TABLE t (a)",
		"CREATE TABLE u (a)" };
	struct db *d;

	ck_assert_ptr_nonnull(d = db_open(path, true));
	ck_assert_int_eq(db_migrate(d, one, 1), 0);
	ck_assert_int_eq(db_migrate(d, one, 1), 0);
	ck_assert_int_eq(db_migrate(d, bad, 3), -1);
	/* u was rolled back with the rest: it can be made now. */
	ck_assert_int_eq(db_migrate(d, two, 2), 0);
	db_close(d);
}
END_TEST

START_TEST(refuses_a_newer_file)
{
	static const char *const two[] = { "CREATE TABLE t (a)",
		"CREATE TABLE u (a)" };
	struct db *d;

	ck_assert_ptr_nonnull(d = db_open(path, true));
	ck_assert_int_eq(db_migrate(d, two, 2), 0);
	ck_assert_int_eq(db_migrate(d, two, 1), -1);
	db_close(d);
}
END_TEST

START_TEST(a_transaction_rolls_back)
{
	static const char *const one[] = { "CREATE TABLE t (a)" };
	sqlite3_stmt *insert, *count;
	struct db *d;

	ck_assert_ptr_nonnull(d = db_open(path, true));
	ck_assert_int_eq(db_migrate(d, one, 1), 0);
	ck_assert_ptr_nonnull(
	    insert = db_prepare(d, "INSERT INTO t VALUES (1)"));
	ck_assert_ptr_nonnull(count = db_prepare(d, "SELECT count(*) FROM t"));
	ck_assert_int_eq(db_begin(d), 0);
	ck_assert_int_eq(db_begin(d), -1);
	ck_assert_int_eq(db_step(d, insert), 0);
	ck_assert_int_eq(db_changes(d), 1);
	sqlite3_reset(insert);
	db_rollback(d);
	db_rollback(d); /* harmless */
	ck_assert_int_eq(db_step(d, count), 1);
	ck_assert_int_eq(sqlite3_column_int(count, 0), 0);
	db_close(d);
}
END_TEST

static const struct {
	bool full;
	const char *sql;
	int value;
} pragmas[] = {
	{ true, "PRAGMA synchronous", 2 },
	{ false, "PRAGMA synchronous", 1 },
	{ true, "PRAGMA foreign_keys", 1 },
	{ false, "PRAGMA foreign_keys", 1 },
};

START_TEST(commits_are_synced_and_references_hold)
{
	sqlite3_stmt *st;
	struct db *d;

	ck_assert_ptr_nonnull(d = db_open(path, pragmas[_i].full));
	ck_assert_ptr_nonnull(st = db_prepare(d, pragmas[_i].sql));
	ck_assert_int_eq(db_step(d, st), 1);
	ck_assert_int_eq(sqlite3_column_int(st, 0), pragmas[_i].value);
	db_close(d);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("db");
	TCase *tc = tcase_create("db");

	tcase_add_checked_fixture(tc, setup, scratch_remove);
	tcase_add_test(tc, a_second_connection_leaves_the_locks_of_the_first);
	tcase_add_test(tc, others_can_not_read_the_file);
	tcase_add_loop_test(tc, the_lock_is_not_held_without_end, 0, 3);
	tcase_add_test(tc, migrates_once_and_all_or_nothing);
	tcase_add_test(tc, refuses_a_newer_file);
	tcase_add_test(tc, a_transaction_rolls_back);
	tcase_add_loop_test(tc, commits_are_synced_and_references_hold, 0,
	    (int)nitems(pragmas));
	suite_add_tcase(s, tc);
	return unit_main(s);
}
