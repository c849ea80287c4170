#include "config.h"

#include <sys/file.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>

#include "asset.h"
#include "file.h"
#include "scratch.h"
#include "unit.h"

static struct asset_store *as;
static struct buf why = BUF_INIT;
static int from; /* the directory of the sources */

static void
setup(void)
{
	scratch_make();
	ck_assert_int_eq(mkdir(scratch_path("from"), 0700), 0);
	from = open(scratch_path("from"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(from, 0);
	ck_assert_ptr_nonnull(as = asset_file_open(scratch, "store", true));
}

static void
teardown(void)
{
	asset_store_close(as);
	close(from);
	buf_free(&why);
	scratch_remove();
}

/* A source in memory. */
static struct asset_source
memory(const char *key, const char *bytes)
{
	return (struct asset_source) { .key = key,
		.content_type = "text/plain",
		.size = strlen(bytes),
		.fd = -1,
		.p = bytes };
}

/* A source in the file from/name, whose descriptor is at its end. */
static struct asset_source
file(const char *key, const char *name, const char *bytes)
{
	char path[64];

	snprintf(path, sizeof(path), "from/%s", name);
	scratch_write(path, bytes, strlen(bytes));
	return (struct asset_source) { .key = key,
		.content_type = "text/plain",
		.size = strlen(bytes),
		.fd = open(scratch_path(path), O_RDONLY | O_APPEND | O_CLOEXEC),
		.dir = from,
		.name = name };
}

static enum asset_rc
put(struct asset_source src)
{
	char *url = (char *)as;
	enum asset_rc rc;

	if (src.fd != -1)
		ck_assert_int_ge(lseek(src.fd, 0, SEEK_END), 0);
	buf_clear(&why);
	rc = as->ops->put(as, &src, &url, &why);
	ck_assert_ptr_null(url); /* local */
	if (src.fd != -1)
		close(src.fd);
	ck_assert_int_eq(rc == ASSET_OK, why.len == 0);
	return rc;
}

static void
ck_holds(const char *key, const char *bytes)
{
	struct buf b = BUF_INIT;
	int fd = as->ops->open(as, key);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(file_read_max(fd, 1 << 20, &b), 0);
	ck_assert_str_eq(buf_str(&b), bytes);
	ck_assert_uint_eq(b.len, strlen(bytes));
	buf_free(&b);
	close(fd);
}

static struct stat
stat_of(const char *name)
{
	struct stat st;

	ck_assert_int_eq(stat(scratch_path(name), &st), 0);
	return st;
}

/* The number of files below the store, which have no temporary names. */
static int nfiles;

static int
visit(const char *path, const struct stat *st, int type, struct FTW *f)
{
	(void)st;
	if (type == FTW_F)
		ck_assert_int_ne(path[f->base], '.');
	nfiles += type == FTW_F;
	return 0;
}

static int
files(void)
{
	nfiles = 0;
	ck_assert_int_eq(nftw(scratch_path("store"), visit, 16, FTW_PHYS), 0);
	return nfiles;
}

static const char *const keys[] = {
	"nix-cache-info",
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.narinfo",
	"nar/0000000000000000000000000000000000000000000000000000.nar.xz",
	"log/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-x?y.drv",
	"realisations/sha256:00!out.doi",
	"build-trace-v2/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-x.drv/out.doi",
};

START_TEST(puts_and_has)
{
	ck_assert_int_eq(put(memory(keys[_i], "bytes")), ASSET_OK);
	ck_holds(keys[_i], "bytes");
	ck_assert_int_eq(put(file(keys[_i], "f", "other")), ASSET_OK);
	ck_holds(keys[_i], "other");
	/* A web server of another user serves it. */
	ck_assert_uint_eq(stat_of("store").st_mode & 0777, 0755);
	ck_assert_int_eq(files(), 1);
}
END_TEST

START_TEST(from_memory_is_readable_to_all)
{
	mode_t old = umask(077);

	ck_assert_int_eq(put(memory("nix-cache-info", "x")), ASSET_OK);
	umask(old);
	ck_assert_uint_eq(stat_of("store/nix-cache-info").st_mode & 0777, 0644);
}
END_TEST

START_TEST(empty)
{
	ck_assert_int_eq(put(memory("nix-cache-info", "")), ASSET_OK);
	ck_holds("nix-cache-info", "");
	ck_assert_int_eq(put(file("log/x", "f", "")), ASSET_OK);
	ck_holds("log/x", "");
}
END_TEST

START_TEST(from_a_file_by_link)
{
	ck_assert_int_eq(put(file("nar/x", "f", "bytes")), ASSET_OK);
	ck_holds("nar/x", "bytes");
	ck_assert_uint_eq(
	    stat_of("store/nar/x").st_ino, stat_of("from/f").st_ino);
}
END_TEST

START_TEST(from_a_file_by_copy)
{
	struct asset_source src = file("nar/x", "f", "bytes");

	/* Not there under that name: as on another file system. */
	src.name = "none";
	ck_assert_int_eq(put(src), ASSET_OK);
	ck_holds("nar/x", "bytes");
	ck_assert_uint_ne(
	    stat_of("store/nar/x").st_ino, stat_of("from/f").st_ino);
	ck_assert_uint_eq(stat_of("store/nar/x").st_mode & 0777, 0644);
	ck_assert_int_eq(files(), 1);
}
END_TEST

START_TEST(overwriting_leaves_the_old_to_its_readers)
{
	char text[8] = "";
	int fd;

	ck_assert_int_eq(put(memory("log/x", "old")), ASSET_OK);
	ck_assert_int_ge(fd = as->ops->open(as, "log/x"), 0);
	ck_assert_int_eq(put(memory("log/x", "newer")), ASSET_OK);
	ck_assert_int_eq(read(fd, text, sizeof(text)), 3);
	ck_assert_str_eq(text, "old");
	close(fd);
	ck_holds("log/x", "newer");
	ck_assert_int_eq(files(), 1);
}
END_TEST

/* rename(2) of one link over another of the same file does nothing. */
START_TEST(the_same_file_twice)
{
	ck_assert_int_eq(put(file("nar/x", "f", "bytes")), ASSET_OK);
	{
		struct asset_source src = file("nar/y", "g", "");

		close(src.fd);
		src.key = "nar/x";
		src.size = 5;
		src.name = "f";
		src.fd = open(scratch_path("from/f"), O_RDONLY | O_CLOEXEC);
		ck_assert_int_eq(put(src), ASSET_OK);
	}
	ck_holds("nar/x", "bytes");
	ck_assert_int_eq(files(), 1);
	ck_assert_uint_eq(stat_of("from/f").st_nlink, 2);
}
END_TEST

/* What others left, when they died and while they live. */
START_TEST(temporaries_of_the_dead_are_removed)
{
	struct asset_store *another;
	int fd;

	scratch_write("store/.put/0/.put.0", "ours", 4);
	ck_assert_int_eq(mkdir(scratch_path("store/.put/1"), 0700), 0);
	scratch_write("store/.put/1/.put.7", "half", 4);
	ck_assert_int_eq(mkdir(scratch_path("store/.put/2"), 0700), 0);
	scratch_write("store/.put/2/.put.7", "half", 4);
	fd = open(scratch_path("store/.put/2"), O_RDONLY | O_DIRECTORY);
	ck_assert_int_eq(flock(fd, LOCK_EX | LOCK_NB), 0);
	ck_assert_ptr_nonnull(
	    another = asset_file_open(scratch, "store", true));
	ck_assert_int_eq(access(scratch_path("store/.put/0/.put.0"), F_OK), 0);
	ck_assert_int_ne(access(scratch_path("store/.put/1/.put.7"), F_OK), 0);
	ck_assert_int_eq(access(scratch_path("store/.put/2/.put.7"), F_OK), 0);
	close(fd);
	asset_store_close(another);
	ck_assert_ptr_nonnull(
	    another = asset_file_open(scratch, "store", true));
	ck_assert_int_ne(access(scratch_path("store/.put/2/.put.7"), F_OK), 0);
	asset_store_close(another);
}
END_TEST

START_TEST(confirms)
{
	struct asset_source src = memory("log/x", "bytes");

	ck_assert_int_eq(as->ops->confirm(as, &src, NULL, &why), ASSET_RETRY);
	ck_assert_uint_gt(why.len, 0);
	ck_assert_int_eq(put(src), ASSET_OK);
	ck_assert_int_eq(as->ops->confirm(as, &src, NULL, &why), ASSET_OK);
	ck_assert_uint_eq(why.len, 0);
}
END_TEST

static const struct {
	const char *what, *bytes;
} wrong[] = {
	{ "shorter", "byte" },
	{ "empty", "" },
	{ "longer", "bytes." },
};

START_TEST(does_not_confirm_another_size)
{
	struct asset_source src = memory("log/x", "bytes");

	ck_assert_int_eq(put(src), ASSET_OK);
	scratch_write("store/log/x", wrong[_i].bytes, strlen(wrong[_i].bytes));
	ck_assert_msg(as->ops->confirm(as, &src, NULL, &why) == ASSET_RETRY,
	    "%s", wrong[_i].what);
	ck_assert_uint_gt(why.len, 0);
}
END_TEST

START_TEST(does_not_confirm_what_is_no_file)
{
	struct asset_source src = memory("log", "");
	struct stat st;

	ck_assert_int_eq(mkdir(scratch_path("store/log"), 0700), 0);
	st = stat_of("store/log");
	src.size = (uint64_t)st.st_size;
	ck_assert_int_eq(as->ops->confirm(as, &src, NULL, &why), ASSET_RETRY);
	scratch_write("elsewhere", "bytes", 5);
	ck_assert_int_eq(
	    symlink(scratch_path("elsewhere"), scratch_path("store/link")), 0);
	src = memory("link", "bytes");
	ck_assert_int_eq(as->ops->confirm(as, &src, NULL, &why), ASSET_RETRY);
	ck_assert_int_eq(as->ops->open(as, "link"), -1);
}
END_TEST

START_TEST(removes)
{
	ck_assert_int_eq(put(memory("log/x", "bytes")), ASSET_OK);
	ck_assert_int_eq(as->ops->remove(as, "log/x", &why), ASSET_OK);
	ck_assert_int_eq(as->ops->open(as, "log/x"), -1);
	ck_assert_int_eq(errno, ENOENT);
	/* Gone is gone, also where its directory never was. */
	ck_assert_int_eq(as->ops->remove(as, "log/x", &why), ASSET_OK);
	ck_assert_int_eq(as->ops->remove(as, "nar/x", &why), ASSET_OK);
	ck_assert_int_eq(files(), 0);
}
END_TEST

START_TEST(opens_nothing_that_is_not_there)
{
	ck_assert_int_eq(as->ops->open(as, "nix-cache-info"), -1);
	ck_assert_int_eq(errno, ENOENT);
	ck_assert_int_eq(as->ops->open(as, "nar/x"), -1);
	ck_assert_int_eq(errno, ENOENT);
}
END_TEST

START_TEST(flushes)
{
	ck_assert_int_eq(put(memory("log/x", "bytes")), ASSET_OK);
	ck_assert_int_eq(as->ops->flush(as, &why), ASSET_OK);
	ck_assert_uint_eq(why.len, 0);
	ck_assert_uint_gt(as->ops->batch, 1);
}
END_TEST

START_TEST(failure_leaves_nothing_and_may_pass)
{
	/* A file is where the directory has to be. */
	scratch_write("store/log", "", 0);
	ck_assert_int_eq(put(memory("log/x", "bytes")), ASSET_RETRY);
	ck_assert_int_eq(unlink(scratch_path("store/log")), 0);
	ck_assert_int_eq(put(memory("log/x", "bytes")), ASSET_OK);
	/* A directory is where the file has to be. */
	ck_assert_int_eq(mkdir(scratch_path("store/log/d"), 0700), 0);
	ck_assert_int_eq(put(memory("log/d", "bytes")), ASSET_RETRY);
	ck_assert_int_eq(put(file("log/d", "f", "bytes")), ASSET_RETRY);
	ck_assert_int_eq(files(), 1);
}
END_TEST

START_TEST(unreadable_source)
{
	struct asset_source src = file("log/x", "f", "bytes");

	/* Neither a link nor a read. */
	close(src.fd);
	src.name = "none";
	src.fd = open(scratch_path("from/f"), O_WRONLY | O_CLOEXEC);
	ck_assert_int_ge(src.fd, 0);
	ck_assert_int_eq(put(src), ASSET_RETRY);
	ck_assert_int_eq(files(), 0);
	ck_assert_int_eq(as->ops->open(as, "log/x"), -1);
}
END_TEST

START_TEST(opened_again_has_everything)
{
	ck_assert_int_eq(put(memory("log/x", "bytes")), ASSET_OK);
	asset_store_close(as);
	ck_assert_ptr_nonnull(as = asset_file_open(scratch, "store", true));
	ck_holds("log/x", "bytes");
	ck_assert_str_eq(as->dir, "store");
	asset_store_close(NULL);
}
END_TEST

START_TEST(store_of_a_cache)
{
	struct conf conf = { .state_dir = scratch,
		.public_reads = true,
		.asset_store = CONF_STORE_FILE };
	struct asset_store *one, *two;

	ck_assert_ptr_nonnull(one = asset_store_open(&conf, CACHE_MAIN));
	ck_assert_ptr_nonnull(two = asset_store_open(&conf, CACHE_DRV));
	ck_assert_str_eq(one->dir, "store");
	ck_assert_str_eq(two->dir, "drvs");
	ck_assert(scratch_exists("drvs"));
	asset_store_close(one);
	asset_store_close(two);
	ck_assert_ptr_null(
	    asset_file_open(scratch_path("none"), "store", true));
}
END_TEST

/* The store of a cache whose reading is open to all, or not, in this directory
 * (NULL: it can't be had), has these bytes at log/x (NULL: none). */
static void
ck_place(bool public, const char *dir, const char *bytes)
{
	struct conf conf = { .state_dir = scratch,
		.public_reads = public,
		.asset_store = CONF_STORE_FILE };

	asset_store_close(as);
	as = asset_store_open(&conf, CACHE_MAIN);
	if (dir == NULL) {
		ck_assert_ptr_null(as);
		return;
	}
	ck_assert_ptr_nonnull(as);
	ck_assert_str_eq(as->dir, dir);
	if (bytes != NULL)
		ck_holds("log/x", bytes);
	else
		ck_assert_int_eq(as->ops->open(as, "log/x"), -1);
}

START_TEST(files_that_are_not_for_everybody)
{
	ck_assert_int_eq(put(memory("log/x", "bytes")), ASSET_OK);
	ck_place(false, "store-private", "bytes");
	ck_assert(!scratch_exists("store"));
	ck_place(false, "store-private", "bytes");
	ck_place(true, "store", "bytes");
	ck_assert(!scratch_exists("store-private"));
	/* What an earlier version's init made is in nobody's way. */
	ck_assert_int_eq(mkdir(scratch_path("store-private"), 0755), 0);
	ck_assert_int_eq(mkdir(scratch_path("store-private/nar"), 0755), 0);
	ck_place(false, "store-private", "bytes");
	ck_assert_int_eq(mkdir(scratch_path("store"), 0755), 0);
	ck_assert_int_eq(mkdir(scratch_path("store/nar"), 0755), 0);
	ck_place(false, "store-private", "bytes");
	ck_assert(!scratch_exists("store"));
}
END_TEST

START_TEST(files_in_both_places_are_served_from_none)
{
	ck_place(false, "store-private", NULL);
	ck_assert_int_eq(put(memory("log/x", "private")), ASSET_OK);
	ck_assert_int_eq(mkdir(scratch_path("store"), 0755), 0);
	ck_assert_int_eq(mkdir(scratch_path("store/log"), 0755), 0);
	ck_place(false, NULL, NULL);
	ck_place(true, NULL, NULL);
	ck_assert_int_eq(rmdir(scratch_path("store/log")), 0);
	ck_place(true, "store", "private");
}
END_TEST

static const struct {
	const char *put, *got;
	int status;
	int64_t length;
	enum asset_rc rc;
} answers[] = {
	{ "\"a\"", "\"a\"", 200, 5, ASSET_OK },
	{ "\"a\"", "\"b\"", 200, 5, ASSET_RETRY },
	{ "\"a\"", "W/\"b\"", 200, 5, ASSET_OK },
	{ "\"a\"", "", 200, 5, ASSET_OK },
	{ "", "\"b\"", 200, 5, ASSET_OK },
	{ "\"a\"", "\"a\"", 200, 4, ASSET_MISSING },
	{ "\"a\"", "\"a\"", 200, -1, ASSET_RETRY },
	{ "\"a\"", "\"a\"", 404, 5, ASSET_MISSING },
	{ "\"a\"", "\"a\"", 206, 5, ASSET_RETRY },
	{ "\"a\"", "\"a\"", 500, 5, ASSET_RETRY },
};

START_TEST(compares_what_is_read_back)
{
	struct asset_receipt receipt = { .etag = "" };
	struct asset_source src = memory("log/x", "bytes");

	snprintf(receipt.etag, sizeof(receipt.etag), "%s", answers[_i].put);
	src.receipt = &receipt;
	buf_clear(&why);
	ck_assert_int_eq(asset_compare(&src, answers[_i].status,
			     answers[_i].length, answers[_i].got, &why),
	    answers[_i].rc);
	ck_assert_int_eq(answers[_i].rc == ASSET_OK, why.len == 0);
}
END_TEST

START_TEST(a_secret_is_one_line_of_our_own)
{
	char *secret;

	scratch_write("secret", "one", 3);
	ck_assert_int_eq(chmod(scratch_path("secret"), 0600), 0);
	secret = asset_read_secret("test", scratch_path("secret"));
	ck_assert_str_eq(secret, "one");
	free(secret);
	scratch_write("secret", "o\0ne", 4);
	ck_assert_int_eq(chmod(scratch_path("secret"), 0600), 0);
	ck_assert_ptr_null(asset_read_secret("test", scratch_path("secret")));
	scratch_write("secret", "one", 3);
	ck_assert_int_eq(chmod(scratch_path("secret"), 0640), 0);
	ck_assert_ptr_null(asset_read_secret("test", scratch_path("secret")));
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("asset");
	TCase *tc = tcase_create("file");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, puts_and_has, 0, (int)nitems(keys));
	tcase_add_test(tc, from_memory_is_readable_to_all);
	tcase_add_test(tc, empty);
	tcase_add_test(tc, from_a_file_by_link);
	tcase_add_test(tc, from_a_file_by_copy);
	tcase_add_test(tc, overwriting_leaves_the_old_to_its_readers);
	tcase_add_test(tc, the_same_file_twice);
	tcase_add_test(tc, temporaries_of_the_dead_are_removed);
	tcase_add_test(tc, confirms);
	tcase_add_loop_test(
	    tc, does_not_confirm_another_size, 0, (int)nitems(wrong));
	tcase_add_test(tc, does_not_confirm_what_is_no_file);
	tcase_add_test(tc, removes);
	tcase_add_test(tc, opens_nothing_that_is_not_there);
	tcase_add_test(tc, flushes);
	tcase_add_test(tc, failure_leaves_nothing_and_may_pass);
	tcase_add_test(tc, unreadable_source);
	tcase_add_test(tc, opened_again_has_everything);
	tcase_add_test(tc, store_of_a_cache);
	tcase_add_test(tc, files_that_are_not_for_everybody);
	tcase_add_test(tc, files_in_both_places_are_served_from_none);
	tcase_add_loop_test(
	    tc, compares_what_is_read_back, 0, (int)nitems(answers));
	tcase_add_test(tc, a_secret_is_one_line_of_our_own);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
