#include "config.h"

#include <string.h>

#include "unit.h"

#include "attrpath.h"

#define STR(s) s, sizeof(s) - 1

static const struct {
	const char *p;
	size_t n;
	bool ok;
} rows[] = {
	{ STR("hello"), true },
	{ STR("a"), true },
	{ STR("_a"), true },
	{ STR("a.b.c"), true },
	{ STR("a-b_c'"), true },
	{ STR("python3Packages.numpy"), true },
	{ STR("tests.0"), true },
	{ STR("nodePackages.\"@angular/cli\""), true },
	{ STR("\"gtk+\".dev"), true },
	{ STR("\"a.b\""), true },
	{ STR(""), false },
	{ STR("."), false },
	{ STR(".a"), false },
	{ STR("a."), false },
	{ STR("a..b"), false },
	{ STR("-A"), false },
	{ STR("--option"), false },
	{ STR("a.-b"), false },
	{ STR("'a"), false },
	{ STR("a b"), false },
	{ STR("a;b"), false },
	{ STR("a$b"), false },
	{ STR("$(id)"), false },
	{ STR("`id`"), false },
	{ STR("a|b"), false },
	{ STR("a&b"), false },
	{ STR("a>b"), false },
	{ STR("a*"), false },
	{ STR("../a"), false },
	{ STR("a/b"), false },
	{ STR("a\nb"), false },
	{ STR("a\n"), false },
	{ STR("a\0b"), false },
	{ STR("a\0"), false },
	{ STR("\""), false },
	{ STR("\"\""), false },
	{ STR("\"a"), false },
	{ STR("a\""), false },
	{ STR("\"a\"b"), false },
	{ STR("\"a b\""), false },
	{ STR("\"a\\\"b\""), false },
	{ STR("\"${a}\""), false },
	{ STR("a\"b\""), false },
	{ STR("a!out"), false },
	{ STR("a^out"), false },
	{ STR("caf\xc3\xa9"), false },
};

START_TEST(row)
{
	ck_assert_msg(attrpath_ok(rows[_i].p, rows[_i].n) == rows[_i].ok, "%s",
	    rows[_i].p);
}
END_TEST

START_TEST(length)
{
	char s[ATTRPATH_MAX + 1];

	memset(s, 'a', sizeof(s));
	ck_assert(attrpath_ok(s, ATTRPATH_MAX));
	ck_assert(!attrpath_ok(s, ATTRPATH_MAX + 1));
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("attrpath");
	TCase *tc = tcase_create("length");

	UNIT_ROWS(s, "rows", row, nitems(rows));
	tcase_add_test(tc, length);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
