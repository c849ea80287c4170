#include "config.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "buf.h"
#include "file.h"
#include "nar.h"
#include "unit.h"

#define MAGIC "nix-archive-1 "
#define DIR_OPEN MAGIC "( type directory "
#define FILE_A "( type regular contents a )"
#define ENTRY(name, node) "entry ( name " name " node " node " ) "
#define LONG_255                                                               \
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"     \
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"     \
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"     \
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

/*
 * A NAR's strings, separated by single spaces; '' is the empty one and %XX a
 * byte.  why is what nar_error has to begin with, "" for a good NAR.
 */
static const struct row {
	const char *strings;
	const char *why;
} rows[] = {
	{ MAGIC FILE_A, "" },
	{ MAGIC "( type regular contents '' )", "" },
	{ MAGIC "( type regular executable '' contents abcdefghi )", "" },
	{ MAGIC "( type symlink target ../x )", "" },
	{ DIR_OPEN ")", "" },
	{ DIR_OPEN ENTRY("a", FILE_A) ENTRY("b", FILE_A) ")", "" },
	{ DIR_OPEN ENTRY("a", "( type directory " ENTRY("z", FILE_A) ")")
		ENTRY("b", FILE_A) ")",
	    "" },
	/* Bytes, not letters, decide the order; a prefix comes first. */
	{ DIR_OPEN ENTRY("B", FILE_A) ENTRY("a", FILE_A) ENTRY("aa", FILE_A)
		ENTRY("%7f", FILE_A) ENTRY("%80", FILE_A) ")",
	    "" },
	{ DIR_OPEN ENTRY(LONG_255, FILE_A) ")", "" },
	{ DIR_OPEN ENTRY("...", FILE_A) ")", "" },

	{ "nix-archive-2 " FILE_A, "it does not begin" },
	{ "'' " FILE_A, "it does not begin" },
	{ MAGIC "[ type regular contents a )", "a node does not begin" },
	{ MAGIC "( kind regular contents a )", "a node has no \"type\"" },
	{ MAGIC "( type fifo )", "a node is not" },
	{ MAGIC "( type regular )", "a regular file has neither" },
	{ MAGIC "( type regular executable x contents a )",
	    "something stands behind" },
	{ MAGIC "( type regular executable '' )", "an executable file has no" },
	{ MAGIC "( type regular contents a contents b )",
	    "a node does not end" },
	{ MAGIC "( type symlink )", "a symlink has no \"target\"" },
	{ MAGIC "( type symlink target '' )", "a link's target" },
	{ MAGIC "( type symlink target a%00b )", "a link's target" },
	{ MAGIC "( type symlink target a target b )", "a node does not end" },
	{ DIR_OPEN "entries ( name a node " FILE_A " ) )",
	    "a directory has something" },
	{ DIR_OPEN "entry [ name a node " FILE_A " ) )",
	    "an entry does not begin" },
	{ DIR_OPEN "entry ( node " FILE_A " ) )", "an entry has no \"name\"" },
	{ DIR_OPEN "entry ( name a ) )", "an entry has no \"node\"" },
	{ DIR_OPEN "entry ( name a node " FILE_A " ] )",
	    "an entry does not end" },
	{ DIR_OPEN ENTRY("''", FILE_A) ")", "a name is empty" },
	{ DIR_OPEN ENTRY(".", FILE_A) ")", "a name is \".\"" },
	{ DIR_OPEN ENTRY("..", FILE_A) ")", "a name is \".\"" },
	{ DIR_OPEN ENTRY("a/b", FILE_A) ")", "a name has a slash" },
	{ DIR_OPEN ENTRY("a%00", FILE_A) ")", "a name has a NUL" },
	{ DIR_OPEN ENTRY("a" LONG_255, FILE_A) ")", "a name is longer" },
	{ DIR_OPEN ENTRY("a", FILE_A) ENTRY("a", FILE_A) ")",
	    "a name comes twice" },
	{ DIR_OPEN ENTRY("b", FILE_A) ENTRY("a", FILE_A) ")",
	    "the names of a directory are not sorted" },
	{ DIR_OPEN ENTRY("ab", FILE_A) ENTRY("a", FILE_A) ")",
	    "the names of a directory are not sorted" },
	{ DIR_OPEN ENTRY("%80", FILE_A) ENTRY("%7f", FILE_A) ")",
	    "the names of a directory are not sorted" },
	/* The order starts anew below, and goes on where it was above. */
	{ DIR_OPEN ENTRY("b", "( type directory " ENTRY("a", FILE_A) ")")
		ENTRY("a", FILE_A) ")",
	    "the names of a directory are not sorted" },
	{ MAGIC FILE_A " x", "bytes follow" },
	{ DIR_OPEN ") )", "bytes follow" },
	{ MAGIC "( type regular contents a", "it ends too early" },
	{ DIR_OPEN ENTRY("a", FILE_A), "it ends too early" },
	{ "''", "it does not begin" },
};

/* str(p, n) */
static void
add_string(struct buf *b, const char *p, size_t n)
{
	static const char zeros[8];
	size_t i, len = n;

	for (i = 0; i < 8; i++, len >>= 8)
		buf_addch(b, (char)(len & 255));
	buf_add(b, p, n);
	buf_add(b, zeros, -n & 7);
}

static void
make_nar(struct buf *b, const char *strings)
{
	struct buf s = BUF_INIT;
	unsigned int byte;
	const char *p;

	for (p = strings; *p != '\0'; p++) {
		buf_clear(&s);
		for (; *p != '\0' && *p != ' '; p++) {
			if (*p == '%') {
				ck_assert_int_eq(
				    sscanf(p + 1, "%2x", &byte), 1);
				buf_addch(&s, (char)byte);
				p += 2;
			} else if (*p != '\'')
				buf_addch(&s, *p);
		}
		add_string(b, buf_str(&s), s.len);
		if (*p == '\0')
			break;
	}
	buf_free(&s);
}

/* Walk all of b, step bytes a time; its error, "" when it is good. */
static const char *
walk(const struct buf *b, size_t step, struct buf *listing)
{
	static char error[160];
	struct nar *n = nar_new(listing, NULL, NULL);
	size_t at, len;
	int rc = 0;

	ck_assert_ptr_nonnull(n);
	for (at = 0; rc == 0 && at < b->len; at += len) {
		len = step > b->len - at ? b->len - at : step;
		rc = nar_add(n, b->p + at, len);
	}
	if (rc == 0)
		rc = nar_end(n);
	snprintf(error, sizeof(error), "%s", nar_error(n));
	ck_assert_int_eq(rc, error[0] == '\0' ? 0 : -1);
	/* What was broken stays so. */
	ck_assert_int_eq(nar_end(n), rc);
	nar_free(n);
	return error;
}

START_TEST(grammar)
{
	const struct row *r = &rows[_i];
	struct buf b = BUF_INIT;
	size_t step;
	const char *why;

	make_nar(&b, r->strings);
	for (step = 1; step <= b.len; step += step < 20 ? 1 : 37) {
		why = walk(&b, step, NULL);
		if (r->why[0] == '\0')
			ck_assert_str_eq(why, "");
		else
			ck_assert_msg(strncmp(why, r->why, strlen(r->why)) == 0,
			    "\"%s\" is not \"%s...\"", why, r->why);
	}
	buf_free(&b);
}
END_TEST

/* Every byte of padding set, one at a time. */
START_TEST(padding_is_zero)
{
	struct buf b = BUF_INIT;
	size_t at, broken = 0;

	make_nar(&b, MAGIC FILE_A);
	for (at = 0; at < b.len; at++) {
		if (b.p[at] != '\0')
			continue;
		b.p[at] = 'x';
		ck_assert_str_ne(walk(&b, b.len, NULL), "");
		if (strcmp(walk(&b, b.len, NULL), "padding is not zero") == 0)
			broken++;
		b.p[at] = '\0';
	}
	/* nix-archive-1: 3, (: 7, type: 4, regular: 1, contents: 0, a: 7, ): 7
	 */
	ck_assert_uint_eq(broken, 29);
	buf_free(&b);
}
END_TEST

START_TEST(cut_anywhere)
{
	struct buf b = BUF_INIT;
	size_t whole;

	make_nar(&b, DIR_OPEN ENTRY("a", FILE_A) ")");
	for (whole = b.len; b.len-- > 0;)
		ck_assert_str_eq(walk(&b, whole, NULL), "it ends too early");
	buf_free(&b);
}
END_TEST

/* Lengths that no memory and no file has. */
START_TEST(length_too_large)
{
	static const uint64_t lengths[] = { (uint64_t)INT64_MAX, UINT64_MAX,
		UINT64_MAX - 7, (uint64_t)1 << 63 };
	struct buf b = BUF_INIT;
	size_t i, at;
	uint64_t n = lengths[_i];

	make_nar(&b, MAGIC "( type regular contents a )");
	at = b.len - 32; /* a's length */
	ck_assert_int_eq(b.p[at], 1);
	for (i = 0; i < 8; i++, n >>= 8)
		b.p[at + i] = (char)(n & 255);
	ck_assert_str_eq(
	    walk(&b, 7, NULL), "a file's length is beyond all limits");
	b.p[0] = (char)255; /* nor may a word be long */
	b.p[1] = (char)255;
	ck_assert_str_eq(walk(&b, 7, NULL), "a string is too long");
	buf_free(&b);
}
END_TEST

static void
nest(struct buf *b, int depth)
{
	int i;

	buf_adds(b, MAGIC);
	for (i = 0; i < depth; i++)
		buf_adds(b, "( type directory entry ( name a node ");
	buf_adds(b, FILE_A);
	for (i = 0; i < depth; i++)
		buf_adds(b, " ) )");
}

START_TEST(depth_is_bounded)
{
	struct buf s = BUF_INIT, b = BUF_INIT;

	nest(&s, 2000);
	make_nar(&b, s.p);
	ck_assert_str_eq(walk(&b, 4096, NULL), "");
	buf_clear(&s);
	buf_clear(&b);
	nest(&s, 2100);
	make_nar(&b, s.p);
	ck_assert_str_eq(walk(&b, 4096, NULL), "a path is too long");
	buf_free(&s);
	buf_free(&b);
}
END_TEST

/* A tree dumped by Nix 2.8, listed by its "nix nar ls --json -R". */
START_TEST(listing_is_nix_own)
{
	static const char wanted[] =
	    "{\"version\":1,\"root\":"
	    "{\"type\":\"directory\",\"entries\":{\"a\":{\"type\":\"r"
	    "egular\",\"size\":6,\"narOffset\":232},\"b.sh\":{\"type\""
	    ":\"regular\",\"size\":10,\"executable\":true,\"narOffset"
	    "\":456},\"empty\":{\"type\":\"directory\",\"entries\":{}"
	    "},\"link\":{\"type\":\"symlink\",\"target\":\"../x\"},\""
	    "sub\":{\"type\":\"directory\",\"entries\":{\"deep\":{\"t"
	    "ype\":\"directory\",\"entries\":{\"na\\\"me\":{\"type\":"
	    "\"regular\",\"size\":4,\"narOffset\":1288}}},\"zero\":{\""
	    "type\":\"regular\",\"size\":0,\"narOffset\":1512}}}}}"
	    "}\n";
	struct buf b = BUF_INIT, got = BUF_INIT;
	char path[4096];

	snprintf(path, sizeof(path), "%s/tests/fuzz/corpus/nar/d",
	    getenv("top_srcdir") != NULL ? getenv("top_srcdir") : ".");
	ck_assert_int_eq(file_read_at(AT_FDCWD, path, 1 << 20, &b), 0);
	ck_assert_str_eq(walk(&b, 100, &got), "");
	ck_assert(!buf_failed(&got));
	ck_assert_str_eq(got.p, wanted);
	buf_free(&b);
	buf_free(&got);
}
END_TEST

START_TEST(listing_strings)
{
	struct buf b = BUF_INIT, got = BUF_INIT;

	make_nar(&b,
	    DIR_OPEN ENTRY("%01%0a\"", FILE_A) ENTRY("\\%c3%a9", FILE_A) ")");
	ck_assert_str_eq(walk(&b, 3, &got), "");
	ck_assert_ptr_nonnull(strstr(got.p, "{\"\\u0001\\u000a\\\"\":{"));
	ck_assert_ptr_nonnull(strstr(got.p, "\"\\\\\xc3\xa9\":{"));
	buf_free(&b);
	buf_free(&got);
}
END_TEST

/* No listing is better than a wrong one; the NAR itself is good. */
START_TEST(listing_that_can_not_be)
{
	struct buf b = BUF_INIT, got = BUF_INIT, small = BUF_INIT_MAX(40);

	make_nar(&b, DIR_OPEN ENTRY("%ff", FILE_A) ")");
	ck_assert_str_eq(walk(&b, 3, &got), "");
	ck_assert(buf_failed(&got));
	ck_assert_str_eq(walk(&b, 3, &small), "");
	ck_assert(buf_failed(&small));
	buf_free(&b);
	buf_free(&got);
	buf_free(&small);
}
END_TEST

static void
collect(void *arg, const void *p, size_t n)
{
	buf_add(arg, p, n);
}

START_TEST(file_and_root)
{
	static const struct {
		const char *strings;
		enum nar_root root;
		const char *contents;
	} is[] = {
		{ MAGIC "( type regular contents 0123456789 )", NAR_FILE,
		    "0123456789" },
		{ MAGIC "( type regular executable '' contents xyz )",
		    NAR_EXECUTABLE, "xyz" },
		{ MAGIC "( type symlink target x )", NAR_SYMLINK, "" },
		{ DIR_OPEN ENTRY("a", FILE_A) ")", NAR_DIRECTORY, "" },
	};
	struct buf b = BUF_INIT, got = BUF_INIT;
	struct nar *n;
	size_t at;

	make_nar(&b, is[_i].strings);
	n = nar_new(NULL, collect, &got);
	for (at = 0; at < b.len; at++)
		ck_assert_int_eq(nar_add(n, b.p + at, 1), 0);
	ck_assert_int_eq(nar_end(n), 0);
	ck_assert_int_eq(nar_root(n), is[_i].root);
	ck_assert_str_eq(buf_str(&got), is[_i].contents);
	nar_free(n);
	nar_free(NULL);
	buf_free(&b);
	buf_free(&got);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("nar");
	TCase *tc = tcase_create("bounds");

	UNIT_ROWS(s, "grammar", grammar, nitems(rows));
	UNIT_ROWS(s, "length", length_too_large, 4);
	UNIT_ROWS(s, "root", file_and_root, 4);
	tcase_add_test(tc, padding_is_zero);
	tcase_add_test(tc, cut_anywhere);
	tcase_add_test(tc, depth_is_bounded);
	suite_add_tcase(s, tc);
	tc = tcase_create("listing");
	tcase_add_test(tc, listing_is_nix_own);
	tcase_add_test(tc, listing_strings);
	tcase_add_test(tc, listing_that_can_not_be);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
