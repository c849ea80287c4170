#include "config.h"

#include <string.h>

#include "unit.h"

#include "buf.h"

START_TEST(empty_is_a_string)
{
	struct buf b = BUF_INIT;

	ck_assert_str_eq(buf_str(&b), "");
	buf_add(&b, NULL, 0);
	ck_assert_str_eq(buf_str(&b), "");
	ck_assert(!buf_failed(&b));
	buf_free(&b);
}
END_TEST

START_TEST(additions_append)
{
	struct buf b = BUF_INIT;

	buf_adds(&b, "one");
	buf_addch(&b, ' ');
	buf_add(&b, "two\0x", 5);
	buf_addf(&b, "%d-%s", 3, "four");
	ck_assert_uint_eq(b.len, 15);
	ck_assert_int_eq(memcmp(b.p, "one two\0x3-four", 16), 0);
	buf_free(&b);
}
END_TEST

START_TEST(grows_over_many_additions)
{
	struct buf b = BUF_INIT;
	size_t i;

	for (i = 0; i < 100000; i++)
		buf_addch(&b, (char)('a' + i % 26));
	ck_assert_uint_eq(b.len, 100000);
	for (i = 0; i < b.len; i++)
		ck_assert_int_eq(b.p[i], (char)('a' + i % 26));
	ck_assert_int_eq(b.p[b.len], '\0');
	buf_free(&b);
}
END_TEST

/* What fits in a maximum of 10 behind 4 bytes, and what does not. */
static const struct {
	const char *what;
	const char *add;
	bool fits;
} max_rows[] = {
	{ "nothing", "", true },
	{ "up to the maximum", "123456", true },
	{ "one over", "1234567", false },
	{ "far over", "12345678901234567890", false },
};

START_TEST(maximum)
{
	struct buf add = BUF_INIT_MAX(10), fmt = BUF_INIT_MAX(10);

	buf_adds(&add, "four");
	buf_adds(&add, max_rows[_i].add);
	buf_adds(&fmt, "four");
	buf_addf(&fmt, "%s", max_rows[_i].add);
	ck_assert_msg(buf_failed(&add) != max_rows[_i].fits, "add: %s",
	    max_rows[_i].what);
	ck_assert_msg(buf_failed(&fmt) != max_rows[_i].fits, "addf: %s",
	    max_rows[_i].what);
	ck_assert_str_eq(buf_str(&add), buf_str(&fmt));
	ck_assert_uint_eq(
	    add.len, 4 + (max_rows[_i].fits ? strlen(max_rows[_i].add) : 0));
	buf_free(&add);
	buf_free(&fmt);
}
END_TEST

START_TEST(failure_sticks_until_cleared)
{
	struct buf b = BUF_INIT_MAX(4);

	buf_adds(&b, "abc");
	buf_adds(&b, "de");
	buf_adds(&b, "f");
	ck_assert(buf_failed(&b));
	ck_assert_str_eq(buf_str(&b), "abc");
	buf_clear(&b);
	ck_assert(!buf_failed(&b));
	ck_assert_str_eq(buf_str(&b), "");
	buf_adds(&b, "wxyz");
	ck_assert_str_eq(buf_str(&b), "wxyz");
	buf_addch(&b, '!');
	ck_assert(buf_failed(&b));
	buf_free(&b);
	ck_assert_uint_eq(b.max, 4);
	ck_assert(!buf_failed(&b));
	ck_assert_ptr_null(b.p);
}
END_TEST

START_TEST(reserve_and_end)
{
	struct buf b = BUF_INIT;
	char *to;

	buf_adds(&b, "ab");
	to = buf_reserve(&b, 1000);
	ck_assert_ptr_nonnull(to);
	memset(to, 'c', 1000);
	b.len += 1000;
	buf_end(&b);
	ck_assert_uint_eq(strlen(buf_str(&b)), 1002);
	ck_assert_ptr_null(buf_reserve(&b, SIZE_MAX));
	ck_assert(buf_failed(&b));
	ck_assert_uint_eq(b.len, 1002);
	buf_free(&b);
}
END_TEST

START_TEST(default_maximum)
{
	struct buf b = BUF_INIT;

	ck_assert_ptr_null(buf_reserve(&b, BUF_MAX_DEFAULT + 1));
	ck_assert(buf_failed(&b));
	buf_free(&b);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("buf");

	UNIT_ROWS(s, "empty", empty_is_a_string, 1);
	UNIT_ROWS(s, "append", additions_append, 1);
	UNIT_ROWS(s, "grow", grows_over_many_additions, 1);
	UNIT_ROWS(s, "maximum", maximum, nitems(max_rows));
	UNIT_ROWS(s, "failure", failure_sticks_until_cleared, 1);
	UNIT_ROWS(s, "reserve", reserve_and_end, 1);
	UNIT_ROWS(s, "default", default_maximum, 1);
	return unit_main(s);
}
