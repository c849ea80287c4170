#include "config.h"

#include <stdint.h>

#include "http.h"
#include "unit.h"

#define NOW 1700000000 /* Tue, 14 Nov 2023 22:13:20 GMT */

static const struct {
	const char *value;
	int64_t seconds;
} retry_after[] = {
	{ "0", 0 },
	{ "1", 1 },
	{ "120", 120 },
	{ "86400", 86400 },
	{ "86401", 86400 }, /* at most a day */
	{ "18446744073709551615", 86400 },
	{ "Tue, 14 Nov 2023 22:13:50 GMT", 30 },
	{ "Tuesday, 14-Nov-23 22:13:50 GMT", 30 },
	{ "Tue Nov 14 22:13:50 2023", 30 },
	{ "Tue, 14 Nov 2023 22:13:20 GMT", 0 }, /* now */
	{ "Tue, 14 Nov 2023 22:13:10 GMT", 0 }, /* past */
	{ "Tue, 14 Nov 2034 22:13:10 GMT", 86400 },
	{ "", 0 },
	{ "-1", 0 },
	{ "soon", 0 },
	{ "99999999999999999999", 0 },
};

START_TEST(retry_after_header)
{
	/* (It is what loads libcurl, which knows the dates.) */
	struct http_pool *hp = http_pool_new(NULL, 1);

	ck_assert_ptr_nonnull(hp);
	http_pool_free(hp);
	ck_assert_int_eq(http_retry_after(retry_after[_i].value, NOW),
	    retry_after[_i].seconds);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("http");

	UNIT_ROWS(s, "Retry-After", retry_after_header, nitems(retry_after));
	return unit_main(s);
}
