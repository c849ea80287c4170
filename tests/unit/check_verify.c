#include "config.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "refscan.h"
#include "scratch.h"
#include "unit.h"
#include "verify.h"

/* A tree pushed by Nix 2.8 in each of its compressions; Nix's NarHash. */
#define TREE_HASH "114gz9jrby999wraz9bgk6yfsb5fdkhzijzk86fnh7w5hm2yxm6d"
#define TREE_SIZE 14968

static const struct {
	const char *file;
	const char *compression;
} trees[] = {
	{ "none.nar", "none" },
	{ "xz.nar.xz", "xz" },
	{ "zstd.nar.zst", "zstd" },
	{ "bzip2.nar.bz2", "bzip2" },
	{ "lzip.nar.lzip", "lzip" },
	{ "lz4.nar.lz4", "lz4" },
	{ "br.nar.br", "br" },
	{ "gzip.nar", "gzip" },
	{ "lzma.nar", "lzma" },
	{ "compress.nar", "compress" },
};

static const atomic_bool never = false;
static const atomic_bool at_once = true;

static int
open_tree(const char *file)
{
	const char *top = getenv("top_srcdir");
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/tests/unit/nars/%s",
	    top != NULL ? top : ".", file);
	ck_assert_int_ge(fd = open(path, O_RDONLY | O_CLOEXEC), 0);
	return fd;
}

/* A key with the extension of file. */
static void
make_key(const char *file, struct key *k)
{
	char text[128];

	snprintf(
	    text, sizeof(text), "nar/" TREE_HASH "%s", strstr(file, ".nar"));
	ck_assert_int_eq(key_parse(text, strlen(text), k), 0);
}

static struct verify_how
how(uint64_t max)
{
	return (struct verify_how) { .max = max,
		.cpu = 60,
		.ratio = 10000,
		.free_bytes = VERIFY_FREE,
		.stop = &never };
}

static void
verify_tree(const char *file, const char *as, uint64_t max, struct verified *v)
{
	const struct verify_how h = how(max);
	struct key k;
	int fd = open_tree(file);

	make_key(as, &k);
	ck_assert_int_eq(verify_nar(fd, &k, &h, v), 0);
	close(fd);
}

START_TEST(every_compression)
{
	char hash[DIGEST_BASE32 + 1];
	struct verified v;

	verify_tree(trees[_i].file, trees[_i].file, TREE_SIZE, &v);
	ck_assert_str_eq(v.why, "");
	ck_assert_int_eq(v.verdict, VERDICT_GOOD);
	ck_assert_str_eq(v.compression, trees[_i].compression);
	digest_to_base32(&v.nar_hash, hash);
	ck_assert_str_eq(hash, TREE_HASH);
	ck_assert_uint_eq(v.nar_size, TREE_SIZE);
	ck_assert(!v.is_file);
	ck_assert_int_eq(v.refs_done, REFS_NOT_LOOKED_FOR);
	ck_assert_uint_eq(v.refs.len, 0);
	ck_assert_ptr_nonnull(strstr(v.listing.p, "\"run\":{\"type\":"));
	verified_clear(&v);
}
END_TEST

START_TEST(a_byte_over_the_limit)
{
	struct verified v;

	verify_tree(trees[_i].file, trees[_i].file, TREE_SIZE - 1, &v);
	ck_assert_int_eq(v.verdict, VERDICT_LARGE);
	ck_assert_ptr_nonnull(strstr(v.why, "max_nar_size"));
	ck_assert_uint_eq(v.over_limit, TREE_SIZE - 1);
	ck_assert_ptr_null(v.listing.p);
	verified_clear(&v);
}
END_TEST

/* A NAR has its time and its bytes by what was sent; these have none.  What is
 * kept of it says when it is worth another look. */
START_TEST(over_the_budget)
{
	static const struct {
		uint64_t max;
		uint64_t cpu;
		uint64_t ratio;
		uint64_t free_bytes;
		enum verify_limit over;
		uint64_t over_limit;
		const char *why;
	} rows[] = {
		{ TREE_SIZE, 60, 10000, VERIFY_FREE, LIMIT_OTHER, 0, NULL },
		{ TREE_SIZE, 60, 10000, 0, LIMIT_OTHER, 0, NULL },
		{ TREE_SIZE - 1, 60, 10000, 0, LIMIT_SIZE, TREE_SIZE - 1,
		    "max_nar_size" },
		{ TREE_SIZE, 0, 10000, 0, LIMIT_CPU, 0, "max_nar_cpu, 0s" },
		{ TREE_SIZE, 60, 1, 0, LIMIT_RATIO, 1, "max_nar_ratio, 1," },
	};
	struct verify_how h = how(rows[_i].max);
	struct verified v;
	struct key k;
	int fd = open_tree("xz.nar.xz");

	make_key("xz.nar.xz", &k);
	h.cpu = rows[_i].cpu;
	h.ratio = rows[_i].ratio;
	h.free_bytes = rows[_i].free_bytes;
	ck_assert_int_eq(verify_nar(fd, &k, &h, &v), 0);
	if (rows[_i].why != NULL) {
		ck_assert_int_eq(v.verdict, VERDICT_LARGE);
		ck_assert_ptr_nonnull(strstr(v.why, rows[_i].why));
	} else {
		ck_assert_int_eq(v.verdict, VERDICT_GOOD);
		ck_assert_uint_eq(v.unpacked, TREE_SIZE);
	}
	ck_assert_int_eq(v.over, rows[_i].over);
	ck_assert_uint_eq(v.over_limit, rows[_i].over_limit);
	verified_clear(&v);
	close(fd);
}
END_TEST

/* In another format than the name says. */
START_TEST(wrong_extension)
{
	struct verified v;
	size_t i;

	for (i = 0; i < nitems(trees); i++) {
		if (strcmp(strstr(trees[i].file, ".nar"),
			strstr(trees[_i].file, ".nar")) == 0)
			continue;
		verify_tree(trees[_i].file, trees[i].file, TREE_SIZE, &v);
		ck_assert_int_eq(v.verdict, VERDICT_BAD);
		verified_clear(&v);
	}
}
END_TEST

START_TEST(told_to_stop)
{
	struct verify_how h = how(TREE_SIZE);
	struct verified v;
	struct key k;
	int fd = open_tree("xz.nar.xz");

	make_key("xz.nar.xz", &k);
	h.stop = &at_once;
	ck_assert_int_eq(verify_nar(fd, &k, &h, &v), -1);
	ck_assert_ptr_null(v.listing.p);
	close(fd);
}
END_TEST

/* An error of reading is no verdict: this file can be written only. */
START_TEST(unreadable)
{
	const struct verify_how h = how(TREE_SIZE);
	struct verified v;
	struct key k;
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	make_key("xz.nar.xz", &k);
	ck_assert_int_eq(verify_nar(fd, &k, &h, &v), -1);
	close(fd);
}
END_TEST

START_TEST(one_file)
{
	static const char nar[] =
	    "\15\0\0\0\0\0\0\0nix-archive-1\0\0\0\1\0\0\0\0\0\0\0(\0\0\0\0\0\0"
	    "\0\4\0\0\0\0\0\0\0type\0\0\0\0\7\0\0\0\0\0\0\0regular\0"
	    "\10\0\0\0\0\0\0\0contents\1\0\0\0\0\0\0\0b\0\0\0\0\0\0\0"
	    "\1\0\0\0\0\0\0\0)\0\0\0\0\0\0";
	const struct verify_how h = how(4096);
	struct verified v;
	struct digest want;
	struct key k;
	int fd;

	scratch_make();
	fd = open(scratch_path("n"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_eq(write(fd, nar, sizeof(nar)), sizeof(nar));
	ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
	make_key("none.nar", &k);
	ck_assert_int_eq(verify_nar(fd, &k, &h, &v), 0);
	ck_assert_str_eq(v.why, "");
	ck_assert(v.is_file);
	hash_sha256("b", 1, &want);
	ck_assert(digest_equal(&v.file_hash, &want));
	verified_clear(&v);
	/* And a byte behind it. */
	ck_assert_int_eq(pwrite(fd, "", 1, sizeof(nar)), 1);
	ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
	ck_assert_int_eq(verify_nar(fd, &k, &h, &v), 0);
	ck_assert_int_eq(v.verdict, VERDICT_BAD);
	ck_assert_str_eq(v.why, "bytes follow the end");
	verified_clear(&v);
	close(fd);
	scratch_remove();
}
END_TEST

/* Hash parts -----------------------------------------------------------------
 */

#define A "00bgd045z0d4icpbc2yyz4gx48ak44la"
#define B "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"
#define OTHER "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"
#define ZERO "00000000000000000000000000000000"

static const struct {
	const char *text;
	const char *found[3];
	size_t n;
} scans[] = {
	{ "", { NULL }, 0 },
	{ "/nix/store/" A "-x", { A }, 1 },
	{ A, { A }, 1 },
	{ "eeeee" A "eeee" B "tt", { A, B }, 2 },
	{ A "e" A "u" A, { A }, 1 },
	{ ZERO, { ZERO }, 1 },
	/* 31 are too few; a character outside the alphabet breaks it. */
	{ "0bgd045z0d4icpbc2yyz4gx48ak44la", { NULL }, 0 },
	{ "00bgd045z0d4icpbe2yyz4gx48ak44la", { NULL }, 0 },
	{ "00BGD045z0d4icpbc2yyz4gx48ak44la", { NULL }, 0 },
	/* 33 in a row are two. */
	{ A "x", { A, "0bgd045z0d4icpbc2yyz4gx48ak44lax" }, 2 },
};

START_TEST(finds)
{
	struct hash_part got[3];
	struct refset *set = refset_new();
	struct refscan *s;
	struct buf b = BUF_INIT;
	size_t step, at, len, n = strlen(scans[_i].text), i, k, hits;

	ck_assert_ptr_nonnull(set);
	for (i = 0; i < scans[_i].n; i++)
		ck_assert_int_eq(refset_add(set, scans[_i].found[i]), 0);
	ck_assert_int_eq(refset_add(set, "1" OTHER), 0);
	for (step = 1; step <= 70; step++) {
		s = refscan_new(set);
		for (at = 0; at < n; at += len) {
			len = step > n - at ? n - at : step;
			refscan_add(s, scans[_i].text + at, len);
		}
		buf_clear(&b);
		refscan_copy(s, &b);
		ck_assert_uint_eq(b.len, scans[_i].n * REFSCAN_BYTES);
		for (i = 0; i < scans[_i].n; i++)
			refscan_text(&b, i, &got[i]);
		for (i = 0; i < scans[_i].n; i++) {
			for (k = hits = 0; k < scans[_i].n; k++)
				if (strcmp(got[k].s, scans[_i].found[i]) == 0)
					hits++;
			ck_assert_uint_eq(hits, 1);
		}
		ck_assert(refscan_complete(s));
		refscan_free(s);
	}
	refset_free(set);
	buf_free(&b);
}
END_TEST

/* What nobody knows is not found. */
START_TEST(finds_what_is_known_only)
{
	struct refset *set = refset_new();
	struct refscan *s = refscan_new(set);
	struct buf b = BUF_INIT;

	refscan_add(s, scans[_i].text, strlen(scans[_i].text));
	refscan_copy(s, &b);
	ck_assert_uint_eq(b.len, 0);
	refscan_free(s);
	refset_free(set);
	buf_free(&b);
}
END_TEST

/* n different ones, each alone, to the set (NULL: to the scan). */
static void
feed(struct refset *set, struct refscan *s, size_t n)
{
	char text[64];
	size_t i, k, v;

	for (i = 0; i < n; i++) {
		memset(text, '0', HASH_PART_LEN);
		for (k = 10, v = i; v > 0; v /= 10)
			text[k++] = (char)('0' + v % 10);
		text[0] = '1';
		text[HASH_PART_LEN] = '\n';
		if (set != NULL)
			ck_assert_int_eq(refset_add(set, text), 0);
		else
			refscan_add(s, text, HASH_PART_LEN + 1);
	}
}

START_TEST(room_is_bounded)
{
	struct refset *set = refset_new();
	struct refscan *s = refscan_new(set);
	struct buf b = BUF_INIT;

	feed(set, NULL, 100000);
	feed(NULL, s, REFSCAN_MAX);
	ck_assert(refscan_complete(s));
	feed(NULL, s, REFSCAN_MAX);
	ck_assert(refscan_complete(s)); /* they were there */
	feed(NULL, s, 100000);
	ck_assert(!refscan_complete(s));
	refscan_copy(s, &b);
	ck_assert_uint_eq(b.len, REFSCAN_MAX * REFSCAN_BYTES);
	buf_free(&b);
	refscan_free(s);
	refscan_free(NULL);
	refset_free(set);
	refset_free(NULL);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("verify");
	TCase *tc = tcase_create("verify");

	UNIT_ROWS(s, "compression", every_compression, nitems(trees));
	UNIT_ROWS(s, "limit", a_byte_over_the_limit, nitems(trees));
	UNIT_ROWS(s, "extension", wrong_extension, nitems(trees));
	UNIT_ROWS(s, "budget", over_the_budget, 2);
	UNIT_ROWS(s, "scan", finds, nitems(scans));
	UNIT_ROWS(s, "known", finds_what_is_known_only, nitems(scans));
	tcase_add_test(tc, told_to_stop);
	tcase_add_test(tc, unreadable);
	tcase_add_test(tc, one_file);
	tcase_add_test(tc, room_is_bounded);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
