#include "config.h"

#include <string.h>

#include "unit.h"

#include "query.h"

static const struct {
	const char *query;
	const char *file, *attr; /* NULL: refused */
} rows[] = {
	{ "file=a&attr=b", "a", "b" },
	{ "attr=b&file=a", "a", "b" },
	{ "file=&attr=", "", "" },
	{ "file=a&attr=%22x%2by%22", "a", "\"x+y\"" },
	{ "file=a&attr=x+y", "a", "x+y" },
	{ "file=a=b&attr=c", "a=b", "c" },
	{ "file=a&attr=%0a%2F", "a", "\n/" },
	{ "file=%2525&attr=b", "%25", "b" },
	{ "file=12345678&attr=b", "12345678", "b" },
	{ "file=a&attr=b&", "a", "b" },
	{ NULL, NULL, NULL },
	{ "", NULL, NULL },
	{ "file=a", NULL, NULL },
	{ "attr=b", NULL, NULL },
	{ "file=a&attr=b&attr=c", NULL, NULL },
	{ "file=a&attr=b&x=y", NULL, NULL },
	{ "file=a&attr=b&x", NULL, NULL },
	{ "file&attr=b", NULL, NULL },
	{ "file=a&&attr=b", NULL, NULL },
	{ "FILE=a&attr=b", NULL, NULL },
	{ "file=a&attr=%", NULL, NULL },
	{ "file=a&attr=%2", NULL, NULL },
	{ "file=a&attr=%zz", NULL, NULL },
	{ "file=a%&attr=b", NULL, NULL },
	{ "file=a%2&attr=b", NULL, NULL },
	{ "file=a%00&attr=b", NULL, NULL },
	{ "file=123456789&attr=b", NULL, NULL },
};

START_TEST(row)
{
	char file[9], attr[9];
	struct query_field f[] = {
		{ "file", file, sizeof(file) },
		{ "attr", attr, sizeof(attr) },
	};
	const char *why = NULL;
	int rc = query_parse(rows[_i].query, f, nitems(f), &why);

	if (rows[_i].file == NULL) {
		ck_assert_int_eq(rc, -1);
		ck_assert_ptr_nonnull(why);
		return;
	}
	ck_assert_msg(rc == 0, "%s: %s", rows[_i].query, why);
	ck_assert_str_eq(file, rows[_i].file);
	ck_assert_str_eq(attr, rows[_i].attr);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("query");

	UNIT_ROWS(s, "rows", row, nitems(rows));
	return unit_main(s);
}
