#include "config.h"

#include <string.h>

#include "unit.h"

#include "num.h"

#define UNTOUCHED 77

struct row {
	const char *what;
	const char *text;
	uint64_t max;
	int rc;
	uint64_t value;
};

static const struct row plain[] = {
	{ "zero", "0", 10, 0, 0 },
	{ "one digit", "7", 10, 0, 7 },
	{ "the maximum", "10", 10, 0, 10 },
	{ "INT64_MAX", "9223372036854775807", INT64_MAX, 0, INT64_MAX },
	{ "UINT64_MAX", "18446744073709551615", UINT64_MAX, 0, UINT64_MAX },
	{ "over the maximum", "11", 10, -1, 0 },
	{ "over INT64_MAX", "9223372036854775808", INT64_MAX, -1, 0 },
	{ "over UINT64_MAX", "18446744073709551616", UINT64_MAX, -1, 0 },
	{ "a digit more", "184467440737095516150", UINT64_MAX, -1, 0 },
	{ "nothing", "", 10, -1, 0 },
	{ "a leading zero", "07", 10, -1, 0 },
	{ "two zeros", "00", 10, -1, 0 },
	{ "plus", "+1", 10, -1, 0 },
	{ "minus", "-1", 10, -1, 0 },
	{ "a space before", " 1", 10, -1, 0 },
	{ "a space behind", "1 ", 10, -1, 0 },
	{ "hexadecimal", "0x1", 10, -1, 0 },
	{ "a letter", "1a", 100, -1, 0 },
	{ "below the digits", "1/", 100, -1, 0 },
	{ "above the digits", "1:", 100, -1, 0 },
	{ "a unit", "1K", 10000, -1, 0 },
};

static const struct row sizes[] = {
	{ "no unit", "12", 100, 0, 12 },
	{ "zero with a unit", "0G", 100, 0, 0 },
	{ "K", "2K", 1 << 20, 0, 2048 },
	{ "M", "3M", UINT64_MAX, 0, 3145728 },
	{ "G", "4G", UINT64_MAX, 0, 4294967296 },
	{ "T", "1T", UINT64_MAX, 0, 1099511627776 },
	{ "the maximum", "1K", 1024, 0, 1024 },
	{ "over the maximum", "1K", 1023, -1, 0 },
	{ "overflow", "16777216T", UINT64_MAX, -1, 0 },
	{ "the last without overflow", "16777215T", UINT64_MAX, 0,
	    (uint64_t)16777215 << 40 },
	{ "a unit alone", "K", 1000, -1, 0 },
	{ "lower case", "1k", 10000, -1, 0 },
	{ "two units", "1KK", UINT64_MAX, -1, 0 },
	{ "a space", "1 K", UINT64_MAX, -1, 0 },
	{ "KB", "1KB", UINT64_MAX, -1, 0 },
	{ "nothing", "", 10, -1, 0 },
};

static const struct row durations[] = {
	{ "no unit", "90", 100, 0, 90 },
	{ "s", "2s", 100, 0, 2 },
	{ "m", "2m", 1000, 0, 120 },
	{ "h", "2h", 10000, 0, 7200 },
	{ "d", "2d", 1000000, 0, 172800 },
	{ "w", "2w", 10000000, 0, 1209600 },
	{ "over the maximum", "2m", 119, -1, 0 },
	{ "upper case", "1H", 10000, -1, 0 },
	{ "a size's unit", "1K", 10000, -1, 0 },
	{ "two parts", "1h30m", 100000, -1, 0 },
	{ "a unit alone", "s", 10, -1, 0 },
};

static void
check(const struct row *r,
    int (*parse)(const char *, size_t, uint64_t, uint64_t *))
{
	uint64_t v = UNTOUCHED;

	ck_assert_msg(parse(r->text, strlen(r->text), r->max, &v) == r->rc,
	    "%s", r->what);
	ck_assert_msg(v == (r->rc == 0 ? r->value : UNTOUCHED), "%s", r->what);
}

START_TEST(number)
{
	check(&plain[_i], num_parse);
}
END_TEST

START_TEST(size)
{
	check(&sizes[_i], num_parse_size);
}
END_TEST

START_TEST(duration)
{
	check(&durations[_i], num_parse_duration);
}
END_TEST

START_TEST(length_counts_not_nul)
{
	uint64_t v;

	ck_assert_int_eq(num_parse("123456", 3, 1000, &v), 0);
	ck_assert_uint_eq(v, 123);
	ck_assert_int_eq(num_parse("12\0", 3, 1000, &v), -1);
	ck_assert_int_eq(num_parse_size("12\0", 3, 1000, &v), -1);
	ck_assert_int_eq(num_parse_duration("12\0", 3, 1000, &v), -1);
}
END_TEST

START_TEST(percent)
{
	ck_assert_int_eq(num_percent("%00", 3), 0);
	ck_assert_int_eq(num_percent("%2fx", 4), '/');
	ck_assert_int_eq(num_percent("%Ff", 3), 255);
	ck_assert_int_eq(num_percent("%41", 2), -1);
	ck_assert_int_eq(num_percent("%4g", 3), -1);
	ck_assert_int_eq(num_percent("%G4", 3), -1);
	ck_assert_int_eq(num_percent("x41", 3), -1);
	ck_assert_int_eq(num_percent("", 0), -1);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("num");

	UNIT_ROWS(s, "number", number, nitems(plain));
	UNIT_ROWS(s, "size", size, nitems(sizes));
	UNIT_ROWS(s, "duration", duration, nitems(durations));
	UNIT_ROWS(s, "length", length_counts_not_nul, 1);
	UNIT_ROWS(s, "percent", percent, 1);
	return unit_main(s);
}
