/*
 * What the relay's claims read of many narinfos that wait for each other: steps
 * of SQLite's machine, not time.
 */
#include "config.h"

#include <stdio.h>

#include "index_db.h"
#include "scratch.h"
#include "unit.h"

#define CACHE "main"
#define ME "0123456789abcdef"

static struct index *ix;
static struct db *db; /* another connection */

static void
setup(void)
{
	scratch_make();
	ck_assert_ptr_nonnull(ix = index_open(scratch, INDEX_READ));
	ck_assert_ptr_nonnull(db = db_open(scratch_path("index.db"), false));
}

static void
teardown(void)
{
	db_close(db);
	index_close(ix);
	scratch_remove();
}

static void
run(const char *sql, int64_t n)
{
	sqlite3_stmt *st = db_prepare(db, sql);

	ck_assert_ptr_nonnull(st);
	if (sqlite3_bind_parameter_count(st) > 0)
		sqlite3_bind_int64(st, 1, n);
	ck_assert_int_eq(db_step(db, st), 0);
	sqlite3_finalize(st);
}

#define NUMBERS                                                                \
	"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"      \
	" WHERE i < ?1) "
#define HASH "printf('%032d', i)"
#define NAR "'nar/0l05cmh066zza2hf87rc3f47v09ngwn6rgjdx6xsfvsjgd6b2bxl.nar'"

/* n narinfos of one stored NAR, each of which references the next. */
static void
make_chain(int64_t n)
{
	run("INSERT INTO asset (cache, key, size, sha256, content_type, state,"
	    " created) VALUES ('main', " NAR
	    ", 100, zeroblob(32), 'x', 'stored', 1)",
	    0);
	run(NUMBERS "INSERT INTO asset (cache, key, hash_part, size, sha256,"
		    " content_type, created) SELECT 'main', " HASH
		    " || '.narinfo', " HASH ", 100, zeroblob(32), 'x', 1"
		    " FROM n",
	    n);
	run(NUMBERS "INSERT INTO path (cache, hash_part, store_path, narinfo,"
		    " nar_key, nar_hash, nar_size, file_size, created)"
		    " SELECT 'main', " HASH ", " HASH ", 'x', " NAR
		    ", zeroblob(32), 1, 100, 1 FROM n",
	    n);
	run(NUMBERS "INSERT INTO reference (cache, hash_part, ref)"
		    " SELECT 'main', " HASH ", printf('%032d', i + 1) FROM n"
		    " WHERE i < ?1",
	    n);
}

/* Steps of all statements so far. */
static int64_t
steps(void)
{
	int64_t sum = 0;
	size_t i;

	for (i = 0; i < ST_MAX; i++)
		if (ix->st[i] != NULL)
			sum += sqlite3_stmt_status(
			    ix->st[i], SQLITE_STMTSTATUS_VM_STEP, 0);
	return sum;
}

/* Claim and store until there is nothing more: how many, and in *last the key
 * that went last. */
static size_t
relay_all(char last[KEY_MAX + 1])
{
	struct asset_row rows[INDEX_CLAIM_MAX];
	bool done[INDEX_CLAIM_MAX];
	size_t i, n, all = 0;

	for (;;) {
		ck_assert_int_eq(index_claim(ix, CACHE, ME, 1000, 60, rows,
				     INDEX_CLAIM_MAX, &n),
		    0);
		if (n == 0)
			return all;
		all += n;
		ck_assert_int_eq(index_stored(ix, ME, rows, n, done), 0);
		snprintf(last, KEY_MAX + 1, "%s", rows[n - 1].key);
		for (i = 0; i < n; i++) {
			ck_assert(done[i]);
			index_asset_clear(&rows[i]);
		}
	}
}

static int64_t
chain_steps(int64_t n)
{
	char last[KEY_MAX + 1];

	setup();
	make_chain(n);
	ck_assert_uint_eq(relay_all(last), (size_t)n);
	ck_assert_str_eq(last, "00000000000000000000000000000001.narinfo");
	n = steps();
	teardown();
	return n;
}

/* Ten times the length takes ten times the work, and little more. */
START_TEST(a_chain_is_linear)
{
	const int64_t few = chain_steps(2000), many = chain_steps(20000);

	ck_assert_msg(many < 20 * few, "2000 narinfos: %lld steps, 20000: %lld",
	    (long long)few, (long long)many);
}
END_TEST

/* A new narinfo that may go goes at once, whatever waits before it, and is
 * found without a look at that. */
START_TEST(a_new_one_passes_those_that_wait)
{
	struct asset_row rows[INDEX_CLAIM_MAX];
	int64_t before;
	size_t n;

	setup();
	make_chain(20000);
	/* The end of the chain fails: all others wait. */
	run("UPDATE asset SET state = 'failed' WHERE id ="
	    " (SELECT max(id) FROM asset)",
	    0);
	ck_assert_int_eq(index_claim(ix, CACHE, ME, 1000, 60, rows, 64, &n), 0);
	ck_assert_uint_eq(n, 0);
	/* Nobody looks at all of them now. */
	ix->look.busy_until = ix->look.none_until = INT64_MAX;
	run("INSERT INTO asset (cache, key, hash_part, size, sha256,"
	    " content_type, created) VALUES ('main',"
	    " '99999999999999999999999999999999.narinfo',"
	    " '99999999999999999999999999999999', 1, zeroblob(32), 'x', 1)",
	    0);
	run("INSERT INTO path (cache, hash_part, store_path, narinfo, nar_key,"
	    " nar_hash, nar_size, file_size, created) VALUES ('main',"
	    " '99999999999999999999999999999999', 'x', 'x', " NAR
	    ", zeroblob(32), 1, 100, 1)",
	    0);
	before = steps();
	ck_assert_int_eq(index_claim(ix, CACHE, ME, 1000, 60, rows, 64, &n), 0);
	ck_assert_uint_eq(n, 1);
	ck_assert_str_eq(
	    rows[0].key, "99999999999999999999999999999999.narinfo");
	ck_assert_int_lt(steps() - before, 2000);
	index_asset_clear(&rows[0]);
	teardown();
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("claim");
	TCase *tc = tcase_create("claim");

	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, a_chain_is_linear);
	tcase_add_test(tc, a_new_one_passes_those_that_wait);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
