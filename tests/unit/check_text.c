#include "config.h"

#include <string.h>

#include "unit.h"

#include "text.h"

#define STR(s) s, sizeof(s) - 1

static const struct {
	const char *p;
	size_t n, max;
	const char *wanted;
} rows[] = {
	{ STR(""), 100, "" },
	{ STR("\n\n"), 100, "" },
	{ STR("error: x\n"), 100, "error: x\n" },
	{ STR("error: x"), 100, "error: x\n" },
	{ STR("a\n\n\nb\n"), 100, "a\nb\n" },
	{ STR("a\r\nb\n"), 100, "a\nb\n" },
	{ STR("/nix/store/x /home/me\n"), 100, "/nix/store/x /home/me\n" },
	/* Nix in colours. */
	{ STR("\x1b[31;1merror:\x1b[0m bad \x1b[35;1m'x'\x1b[0m\n"), 100,
	    "error: bad 'x'\n" },
	{ STR("a\x1b]0;title\x07"
	      "b"),
	    100, "ab\n" },
	{ STR("a\x1b"), 100, "a\n" },
	{ STR("a\x1b["), 100, "a\n" },
	{ STR("a\x1b[3"), 100, "a\n" },
	{ STR("a\x1b(b"), 100, "ab\n" },
	{ STR("a\x07\x08\x0b\x7f\0b\tc"), 100, "ab c\n" },
	{ STR("caf\xc3\xa9 \xe2\x80\xa6 \xf0\x9f\x98\x80"), 100,
	    "caf\xc3\xa9 \xe2\x80\xa6 \xf0\x9f\x98\x80\n" },
	/* C1 controls, and what is no UTF-8: overlong, surrogate, cut. */
	{ STR("a\xc2\x9b"
	      "1mb"),
	    100, "a1mb\n" },
	{ STR("a\xff\xc3("), 100, "a?\?(\n" },
	{ STR("\xc0\x80\xe0\x80\x80\xed\xa0\x80"), 100, "????????\n" },
	{ STR("\xe2\x80"), 100, "??\n" },
	/* The last lines; the last line's end when it is too long. */
	{ STR("one\ntwo\nthree\n"), 6, "three\n" },
	{ STR("one\ntwo\nthree\n"), 9, "three\n" },
	{ STR("one\ntwo\nthree\n"), 10, "two\nthree\n" },
	{ STR("one\ntwo\nthree\n"), 4, "ree\n" },
	{ STR("a\xc3\xa9"
	      "b\n"),
	    3, "b\n" },
};

START_TEST(row)
{
	struct buf b = BUF_INIT;

	text_tail(rows[_i].p, rows[_i].n, rows[_i].max, &b);
	ck_assert_str_eq(buf_str(&b), rows[_i].wanted);
	ck_assert_uint_le(b.len, rows[_i].max);
	buf_free(&b);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("text");

	UNIT_ROWS(s, "rows", row, nitems(rows));
	return unit_main(s);
}
