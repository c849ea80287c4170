/* fsck on an index and a spool that are damaged in ways that a test of whole
 * programs can't make cheaply. */
#include "config.h"

#include <sys/file.h>

#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <time.h>

#include "asset.h"
#include "base32.h"
#include "db.h"
#include "file.h"
#include "fsck.h"
#include "index_check.h"
#include "scratch.h"
#include "unit.h"

#define STORE "/nix/store"
#define DAY 86400

static struct conf conf;
static struct index *ix;
static struct fsck c;
static struct buf log_of; /* "kind key\n" of all that was found */
static void (*while_checked)(void);
static atomic_bool stop;

static void
found(const struct fsck_finding *f, void *arg)
{
	(void)arg;
	if (while_checked != NULL)
		while_checked();
	buf_addf(&log_of, "%s%s %s\n",
	    f->state == FSCK_NOTE	    ? "note "
		: f->state == FSCK_REPAIRED ? "repaired "
					    : "",
	    f->kind, f->key);
}

static bool
over(struct fsck *f, const char *phase, const char *key, void *arg)
{
	(void)f;
	(void)phase;
	(void)key;
	(void)arg;
	if (while_checked != NULL)
		while_checked();
	return atomic_load(&stop);
}

static void
setup(void)
{
	scratch_make();
	ck_assert_int_eq(mkdir(scratch_path("spool"), 0700), 0);
	ck_assert_int_eq(mkdir(scratch_path("spool/ready"), 0700), 0);
	ck_assert_int_eq(mkdir(scratch_path("spool/incoming"), 0700), 0);
	conf = (struct conf) { .state_dir = scratch,
		.store_dir = (char *)STORE,
		.drv_store_dir = (char *)STORE,
		.public_reads = true };
	ck_assert_ptr_nonnull(ix = index_open(scratch, INDEX_WRITE));
	c = (struct fsck) { .conf = &conf,
		.ix = ix,
		.cache = CACHE_MAIN,
		.sample = 100,
		.now = (int64_t)time(NULL),
		.found = found,
		.over = over,
		.stop = &stop,
		.due = UINT64_MAX,
		.lock = -1 };
	c.state_fd = file_open_dir(AT_FDCWD, scratch, 0, false);
	c.spool_fd = file_open_dir(c.state_fd, "spool", 0, false);
	c.spool = spool_open_read(scratch);
	c.store = asset_file_open(scratch, "store", true);
	ck_assert(c.spool != NULL && c.store != NULL && c.spool_fd != -1);
}

static void
teardown(void)
{
	fsck_keep_end(&c);
	asset_store_close(c.store);
	spool_close(c.spool);
	close(c.spool_fd);
	close(c.state_fd);
	index_close(ix);
	buf_free(&log_of);
	scratch_remove();
}

/* SQL of the test's own, which may break what the programs never would. */
static void
sql(const char *text)
{
	char path[128];
	sqlite3_stmt *st;
	struct db *d;

	snprintf(path, sizeof(path), "%s/index.db", scratch);
	ck_assert_ptr_nonnull(d = db_open(path, false));
	ck_assert_ptr_nonnull(st = db_prepare(d, "PRAGMA foreign_keys=OFF"));
	ck_assert_int_eq(db_step(d, st), 0);
	ck_assert_ptr_nonnull(st = db_prepare(d, text));
	ck_assert_int_eq(db_step(d, st), 0);
	db_close(d);
}

/* What a check finds.  (The same object is not looked at twice.) */
static const char *
check(bool repair)
{
	buf_clear(&log_of);
	c.repair = repair;
	ck_assert_int_eq(fsck_index(&c), 0);
	ck_assert_int_eq(fsck_spool(&c), 0);
	ck_assert_int_eq(fsck_objects(&c, ""), 0);
	ck_assert_int_eq(fsck_paths(&c, ""), 0);
	ck_assert_int_eq(fsck_files(&c), 0);
	return buf_str(&log_of);
}

static const char *
hash_part(char id)
{
	static char parts[4][HASH_PART_LEN + 1];
	static unsigned int next;
	char *s = parts[next++ % 4];

	memset(s, id, HASH_PART_LEN);
	s[HASH_PART_LEN] = '\0';
	return s;
}

/* The key of the NAR of path id, of 100 bytes. */
static const char *
nar_key(char id)
{
	static char key[4][KEY_MAX + 1];
	static unsigned int next;
	char *s = key[next++ % 4], digest[DIGEST_BASE32 + 1];
	char bytes[100];
	struct digest d;

	memset(bytes, id, sizeof(bytes));
	hash_sha256(bytes, sizeof(bytes), &d);
	digest_to_base32(&d, digest);
	snprintf(s, KEY_MAX + 1, "nar/%s.nar", digest);
	return s;
}

static struct narinfo *
narinfo(char id, const char *refs)
{
	struct buf b = BUF_INIT;
	struct narinfo *ni;
	const char *key = nar_key(id);
	char err[256];

	buf_addf(&b,
	    "StorePath: " STORE "/%s-%c\nURL: %s\nCompression: none\n"
	    "FileHash: sha256:%.52s\nFileSize: 100\n"
	    "NarHash: sha256:%.52s\nNarSize: 100\nReferences:%s",
	    hash_part(id), id, key, key + 4, key + 4, *refs == '\0' ? " " : "");
	for (; *refs != '\0'; refs++)
		buf_addf(&b, " %s-%c", hash_part(*refs), *refs);
	buf_addch(&b, '\n');
	ni = narinfo_parse(b.p, b.len, STORE, err, sizeof(err));
	ck_assert_msg(ni != NULL, "%s", err);
	buf_free(&b);
	return ni;
}

/* A path that is stored: rows and files. */
static void
store(char id, const char *refs)
{
	struct narinfo *ni = narinfo(id, refs);
	struct buf text = BUF_INIT;
	char bytes[100], name[128];

	ck_assert_int_eq(index_import(ix, CACHE_MAIN, &ni, 1, c.now), 0);
	narinfo_print(ni, &text);
	mkdir(scratch_path("store/nar"), 0700);
	memset(bytes, id, sizeof(bytes));
	snprintf(name, sizeof(name), "store/%.100s", nar_key(id));
	scratch_write(name, bytes, sizeof(bytes));
	snprintf(name, sizeof(name), "store/%s.narinfo", hash_part(id));
	scratch_write(name, buf_str(&text), text.len);
	narinfo_free(ni);
	buf_free(&text);
}

START_TEST(nothing_is_wrong)
{
	store('b', "");
	store('a', "ab");
	c.bytes = true;
	ck_assert_str_eq(check(false), "");
	ck_assert_str_eq(check(true), "");
	ck_assert_uint_eq(c.problems + c.repaired + c.unknown, 0);
}
END_TEST

/* Claimed by whoever does not live, or until a time that is past. */
static const struct {
	const char *lock; /* held by the owner; NULL: not there */
	int64_t lease; /* from now */
	bool stale;
} claims[] = {
	{ "spool/0123456789abcdef.lock", 100, false },
	{ "spool/0123456789abcdef.lock", -100, true },
	{ NULL, 100, true },
};

START_TEST(a_stale_claim)
{
	char text[256], want[KEY_MAX + 32];
	struct asset_row row;
	int fd = -1;

	store('a', "");
	snprintf(text, sizeof(text),
	    "UPDATE asset SET state = 'relaying', owner = '0123456789abcdef',"
	    " lease = %" PRId64 " WHERE hash_part IS NULL",
	    c.now + claims[_i].lease);
	sql(text);
	if (claims[_i].lock != NULL) {
		fd =
		    open(scratch_path(claims[_i].lock), O_CREAT | O_RDWR, 0600);
		ck_assert_int_eq(flock(fd, LOCK_EX), 0);
	}
	snprintf(want, sizeof(want), "claim %s\n", nar_key('a'));
	ck_assert_str_eq(check(false), claims[_i].stale ? want : "");
	check(true);
	ck_assert_int_eq(
	    index_asset_get(ix, CACHE_MAIN, nar_key('a'), &row), 1);
	ck_assert_int_eq(
	    row.state, claims[_i].stale ? ASSET_SPOOLED : ASSET_RELAYING);
	index_asset_clear(&row);
	if (fd != -1)
		close(fd);
}
END_TEST

START_TEST(a_verdict_against_the_narinfo)
{
	struct narinfo *ni = narinfo('a', "");
	struct verified v = { .verdict = VERDICT_GOOD,
		.compression = "none",
		.nar_hash = ni->nar_hash,
		.nar_size = _i == 1 ? 99 : 100 };
	char want[KEY_MAX + 32];

	if (_i == 2)
		v.nar_hash.b[0] ^= 1;
	if (_i == 3)
		v.verdict = VERDICT_BAD;
	store('a', "");
	ck_assert_int_eq(
	    index_nar_put(ix, CACHE_MAIN, nar_key('a'), &v, c.now), 0);
	snprintf(want, sizeof(want), "verdict %s\n", nar_key('a'));
	ck_assert_str_eq(check(false), _i == 0 ? "" : want);
	narinfo_free(ni);
}
END_TEST

START_TEST(a_closure_that_is_not_here)
{
	struct index_check_path p;
	char want[64];

	store('b', "");
	store('a', "bcd");
	snprintf(
	    want, sizeof(want), "note closure %s.narinfo\n", hash_part('a'));
	ck_assert_str_eq(check(true), want);
	ck_assert_int_eq(index_check_path_next(ix, CACHE_MAIN, "", &p), 1);
	ck_assert_uint_eq(p.absent, 2);
	index_check_path_clear(&p);
	store('c', "");
	store('d', "");
	ck_assert_str_eq(check(true), "");
}
END_TEST

START_TEST(a_dangling_narinfo)
{
	char want[256], file[128];
	struct asset_row row;

	store('a', "");
	store('b', "");
	ck_assert_int_eq(
	    index_asset_get(ix, CACHE_MAIN, nar_key('a'), &row), 1);
	ck_assert_int_eq(index_check_lost(ix, &row, c.now, "why"), 1);
	index_asset_clear(&row);
	snprintf(file, sizeof(file), "store/%.100s", nar_key('a'));
	ck_assert_int_eq(unlink(scratch_path(file)), 0);
	snprintf(file, sizeof(file), "store/%s.narinfo", hash_part('a'));
	snprintf(want, sizeof(want), "missing %s\ndangling %s.narinfo\n",
	    nar_key('a'), hash_part('a'));
	ck_assert_str_eq(check(false), want);
	ck_assert(scratch_exists(file));
	snprintf(want, sizeof(want),
	    "missing %s\nrepaired dangling %s.narinfo\n", nar_key('a'),
	    hash_part('a'));
	ck_assert_str_eq(check(true), want);
	ck_assert(!scratch_exists(file));
	snprintf(want, sizeof(want), "missing %s\nmissing %s.narinfo\n",
	    nar_key('a'), hash_part('a'));
	ck_assert_str_eq(check(true), want);
	/* The other one is served as it was. */
	snprintf(file, sizeof(file), "store/%s.narinfo", hash_part('b'));
	ck_assert(scratch_exists(file));
}
END_TEST

START_TEST(a_reference_of_nothing)
{
	sql("INSERT INTO reference VALUES ('main', 'nopath', 'x')");
	ck_assert_str_eq(check(false), "index-file \n");
	ck_assert_str_eq(check(true), "repaired index-file \n");
	ck_assert_str_eq(check(false), "");
}
END_TEST

START_TEST(a_file_of_the_spool_without_a_row)
{
	const char *ready = "spool/ready/0123456789abcdef.1";

	scratch_write(ready, "x", 1);
	/* A row may be on its way to it. */
	ck_assert_str_eq(check(true), "");
	c.now += 1000;
	ck_assert_str_eq(check(false), "spool-file 0123456789abcdef.1\n");
	ck_assert(scratch_exists(ready));
	ck_assert_str_eq(check(true),
	    "repaired spool-file 0123456789abcdef.1\n"
	    "note spool-lost 0123456789abcdef.1\n");
	ck_assert(!scratch_exists(ready));
	ck_assert(scratch_exists("spool/lost/0123456789abcdef.1"));
	/* One that a row names stays. */
	store('a', "");
	scratch_write(ready, "x", 1);
	sql("UPDATE asset SET state = 'spooled', size = 1,"
	    " spool = '0123456789abcdef.1' WHERE hash_part IS NULL");
	c.scrub = true;
	check(true);
	ck_assert(scratch_exists(ready));
}
END_TEST

START_TEST(what_is_left_of_writes)
{
	static const char *const files[] = {
		"spool/incoming/0123456789abcdef.2", "store/nar/.put.1.2",
		"store/.new.x"
	};
	size_t i;

	store('a', "");
	for (i = 0; i < nitems(files); i++)
		scratch_write(files[i], "x", 1);
	ck_assert_str_eq(check(true), "");
	c.now += 2 * (int64_t)DAY;
	check(false);
	ck_assert_uint_eq(c.problems, nitems(files));
	for (i = 0; i < nitems(files); i++)
		ck_assert(scratch_exists(files[i]));
	check(true);
	ck_assert_uint_eq(c.repaired, nitems(files));
	for (i = 0; i < nitems(files); i++)
		ck_assert(!scratch_exists(files[i]));
	ck_assert_str_eq(check(false), "");
}
END_TEST

/* Of the files of the spool those of its size alone are read. */
START_TEST(a_second_place)
{
	char name[64], bytes[100];
	struct asset_row row;
	int fd, i;

	store('a', "");
	ck_assert_int_eq(
	    index_asset_get(ix, CACHE_MAIN, nar_key('a'), &row), 1);
	for (i = 0; i < 100; i++) {
		snprintf(
		    name, sizeof(name), "spool/ready/0123456789abcdef.%d", i);
		memset(bytes, i == 50 ? 'a' : 'b', sizeof(bytes));
		scratch_write(name, bytes, i % 10 == 0 ? 100 : (size_t)i);
	}
	fd = fsck_spool_find(&c, &row);
	ck_assert_int_ne(fd, -1);
	ck_assert_uint_le(c.read, 11 * 100);
	close(fd);
	/* And once: (the one that is found is looked at again). */
	row.sha256.b[0] ^= 1;
	c.read = 0;
	ck_assert_int_eq(fsck_spool_find(&c, &row), -1);
	ck_assert_int_eq(fsck_spool_find(&c, &row), -1);
	ck_assert_uint_le(c.read, 10 * 100);
	row.size = 101;
	ck_assert_int_eq(fsck_spool_find(&c, &row), -1);
	index_asset_clear(&row);
}
END_TEST

/* Entered under keys that the check has passed. */
static void
push_some(void)
{
	static struct index *writer;
	static unsigned int n;
	struct asset_new a = { .size = 1, .content_type = "x", .spool = "s" };
	char key[KEY_MAX + 1], old[64];
	int i;

	if (writer == NULL)
		ck_assert_ptr_nonnull(writer = index_open(scratch, INDEX_READ));
	for (i = 0; i < 20; i++) {
		snprintf(key, sizeof(key), "debuginfo/%040x.debug", n++);
		a.key = key;
		ck_assert_int_eq(
		    index_asset_put(writer, CACHE_MAIN, &a, 1, old),
		    INDEX_CREATED);
	}
}

/* No snapshot stays open: the writers' WAL begins anew all the while. */
START_TEST(writers_do_not_notice)
{
	struct asset_new a = { .size = 1, .content_type = "x" };
	char key[KEY_MAX + 1];
	struct stat st;
	int i;

	store('z', "");
	for (i = 0; i < 60; i++) {
		snprintf(
		    key, sizeof(key), "log/%s-%03d.drv", hash_part('a'), i);
		a.key = key;
		ck_assert_int_eq(
		    index_check_enter(ix, CACHE_MAIN, &a, c.now), 1);
	}
	while_checked = push_some;
	ck_assert_int_eq(fsck_objects(&c, ""), 0);
	ck_assert_int_eq(fsck_paths(&c, ""), 0);
	while_checked = NULL;
	ck_assert_int_eq(stat(scratch_path("index.db-wal"), &st), 0);
	ck_assert_int_lt(st.st_size, (off_t)8 << 20);
}
END_TEST

/* Whoever prints what is found may be stopped for a day. */
START_TEST(what_is_found_is_told_without_a_snapshot)
{
	struct stat st;

	sql("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
	    " WHERE i < 60) INSERT INTO reference SELECT 'main', 'no' || i, 'x'"
	    " FROM n");
	while_checked = push_some;
	ck_assert_int_eq(fsck_index(&c), 0);
	while_checked = NULL;
	ck_assert_uint_eq(c.problems, 60);
	ck_assert_int_eq(stat(scratch_path("index.db-wal"), &st), 0);
	ck_assert_int_lt(st.st_size, (off_t)8 << 20);
}
END_TEST

/* Objects of 1 GiB, one of which is due each day. */
START_TEST(a_scrub_is_due_each_day)
{
	struct asset_new a = { .size = (uint64_t)1 << 30, .content_type = "x" };
	char key[KEY_MAX + 1];
	struct index_fsck row;
	uint64_t before = 0;
	int day;

	for (day = 0; day < FSCK_SCRUB_DAYS; day++) {
		snprintf(
		    key, sizeof(key), "log/%s-%03d.drv", hash_part('a'), day);
		a.key = key;
		ck_assert_int_eq(
		    index_check_enter(ix, CACHE_MAIN, &a, c.now), 1);
	}
	c.scrub = c.bytes = true;
	for (day = 0; day < FSCK_SCRUB_DAYS; day++) {
		c.repair = false;
		ck_assert_int_eq(fsck_keep(&c), 0);
		c.enough = false;
		ck_assert_int_eq(fsck_check(&c), 0);
		ck_assert_int_eq(index_fsck_get(ix, INDEX_FSCK_SCRUB, &row), 1);
		ck_assert_uint_eq(row.objects, before + 1);
		before = row.objects;
		if (day == 9) {
			/* Once more on that day: nothing is due. */
			c.enough = false;
			ck_assert_int_eq(fsck_check(&c), 0);
			ck_assert_uint_eq(c.objects, before);
		}
		if (day < FSCK_SCRUB_DAYS - 1)
			ck_assert_int_eq(row.complete, 0);
		fsck_keep_end(&c);
		c.now += DAY;
	}
	ck_assert_int_ne(row.complete, 0);
	ck_assert_str_eq(row.phase, "");
	/* The next round; of which ten days are missed. */
	ck_assert_int_eq(fsck_keep(&c), 0);
	c.enough = false;
	ck_assert_int_eq(fsck_check(&c), 0);
	ck_assert_uint_eq(c.objects, 1);
	c.now += 10 * (int64_t)DAY;
	c.enough = false;
	ck_assert_int_eq(fsck_check(&c), 0);
	ck_assert_uint_eq(c.objects, 11);
}
END_TEST

static int
count(const struct index_finding *f, void *arg)
{
	(void)f;
	++*(int *)arg;
	return 0;
}

/* What is found stays, up to a number, until that place is looked at again. */
START_TEST(findings)
{
	struct index_fsck row = { .options = INDEX_FSCK_BYTES, .sample = 100 };
	struct index_finding f = { .cache = CACHE_MAIN,
		.phase = "objects",
		.key = "k",
		.kind = "spoiled",
		.what = "w",
		.options = INDEX_FSCK_BYTES };
	struct index_fsck_range range = { CACHE_MAIN, "objects", "a", "c" };
	static const char *const at[] = { "a", "b", "c", "d" };
	size_t i;
	int n = 0;

	for (i = 0; i < nitems(at); i++) {
		f.at = at[i];
		ck_assert_int_eq(
		    index_fsck_put(ix, "check", &row, NULL, &f, 1), 0);
	}
	ck_assert_int_eq(index_finding_each(ix, 9, count, &n), 0);
	ck_assert_int_eq(n, 4);
	/* By a check that does not read bytes, none. */
	row.options = 0;
	ck_assert_int_eq(index_fsck_put(ix, "check", &row, &range, NULL, 0), 0);
	n = 0;
	ck_assert_int_eq(index_finding_each(ix, 9, count, &n), 0);
	ck_assert_int_eq(n, 4);
	row.options = INDEX_FSCK_BYTES | INDEX_FSCK_REPAIR;
	ck_assert_int_eq(index_fsck_put(ix, "check", &row, &range, NULL, 0), 0);
	n = 0;
	ck_assert_int_eq(index_finding_each(ix, 9, count, &n), 0);
	ck_assert_int_eq(n, 2);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("fsck");
	TCase *tc = tcase_create("fsck");

	tcase_set_timeout(tc, 30);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, nothing_is_wrong);
	tcase_add_loop_test(tc, a_stale_claim, 0, (int)nitems(claims));
	tcase_add_loop_test(tc, a_verdict_against_the_narinfo, 0, 4);
	tcase_add_test(tc, a_closure_that_is_not_here);
	tcase_add_test(tc, a_dangling_narinfo);
	tcase_add_test(tc, a_reference_of_nothing);
	tcase_add_test(tc, a_file_of_the_spool_without_a_row);
	tcase_add_test(tc, what_is_left_of_writes);
	tcase_add_test(tc, a_second_place);
	tcase_add_test(tc, writers_do_not_notice);
	tcase_add_test(tc, what_is_found_is_told_without_a_snapshot);
	tcase_add_test(tc, a_scrub_is_due_each_day);
	tcase_add_test(tc, findings);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
