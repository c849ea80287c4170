#include "config.h"

#include <stdbool.h>
#include <stdint.h>

#include "account.h"
#include "unit.h"

#define NO UINT32_MAX

/* root is on every machine, its number and its group's too. */
static const struct row {
	const char *text;
	bool good;
	uint32_t uid, gid;
} rows[] = {
	{ "root", true, 0, 0 },
	{ "0", true, 0, 0 },
	{ "root:root", true, 0, 0 },
	{ "root:54321", true, 0, 54321 },
	{ "54321:root", true, 54321, 0 },
	{ "54321", true, 54321, NO },
	{ ":root", true, NO, 0 },
	{ ":54321", true, NO, 54321 },
	{ "4294967294:4294967294", true, 4294967294, 4294967294 },
	/* These mean "none" to the system calls. */
	{ "4294967295", false, 0, 0 },
	{ ":4294967295", false, 0, 0 },
	{ "4294967296", false, 0, 0 },
	{ "-1", false, 0, 0 },
	{ "", false, 0, 0 },
	{ ":", false, 0, 0 },
	{ "root:", false, 0, 0 },
	{ "root:root:root", false, 0, 0 },
	{ " root", false, 0, 0 },
	{ "no-such-user", false, 0, 0 },
	{ "root:no-such-group", false, 0, 0 },
	{ "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
	    false, 0, 0 },
};

START_TEST(parse)
{
	const struct row *r = &rows[_i];
	const char *why;
	uid_t uid;
	gid_t gid;

	why = account_parse(r->text, &uid, &gid);
	ck_assert_msg((why == NULL) == r->good, "\"%s\": %s", r->text,
	    why == NULL ? "taken" : why);
	if (!r->good)
		return;
	ck_assert_uint_eq(uid, r->uid);
	ck_assert_uint_eq(gid, r->gid);
}
END_TEST

START_TEST(name)
{
	char *s = account_name(0);

	ck_assert_str_eq(s, "root");
	free(s);
	ck_assert_ptr_null(account_name(54321));
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("account");
	TCase *tc = tcase_create("name");

	UNIT_ROWS(s, "parse", parse, nitems(rows));
	tcase_add_test(tc, name);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
