#include "config.h"

#include <stdint.h>

#include "unit.h"

#include "range.h"

#define TAG "\"0123456789abcdef\""

/* A Range over so many bytes: what comes of it. */
static const struct {
	const char *range;
	uint64_t size;
	int rc;
	uint64_t from, n;
} ranges[] = {
	{ "bytes=0-0", 10, 1, 0, 1 },
	{ "bytes=0-9", 10, 1, 0, 10 },
	{ "bytes=0-8", 10, 1, 0, 9 },
	{ "bytes=0-10", 10, 1, 0, 10 },
	{ "bytes=0-9223372036854775807", 10, 1, 0, 10 },
	{ "bytes=3-5", 10, 1, 3, 3 },
	{ "bytes=9-9", 10, 1, 9, 1 },
	{ "bytes=9-", 10, 1, 9, 1 },
	{ "bytes=0-", 10, 1, 0, 10 },
	{ "bytes=-1", 10, 1, 9, 1 },
	{ "bytes=-9", 10, 1, 1, 9 },
	{ "bytes=-10", 10, 1, 0, 10 },
	{ "bytes=-11", 10, 1, 0, 10 },
	{ "bytes=0-0", 1, 1, 0, 1 },
	{ "bytes=4294967296-", INT64_MAX, 1, 4294967296, 9223372032559808511u },
	/* No byte of it is there. */
	{ "bytes=10-", 10, -1, 0, 0 },
	{ "bytes=10-10", 10, -1, 0, 0 },
	{ "bytes=11-20", 10, -1, 0, 0 },
	{ "bytes=-0", 10, -1, 0, 0 },
	{ "bytes=-1", 0, -1, 0, 0 },
	{ "bytes=0-", 0, -1, 0, 0 },
	{ "bytes=0-0", 0, -1, 0, 0 },
	/* As if there were none. */
	{ NULL, 10, 0, 0, 0 },
	{ "", 10, 0, 0, 0 },
	{ "bytes=", 10, 0, 0, 0 },
	{ "bytes=5", 10, 0, 0, 0 },
	{ "bytes=-", 10, 0, 0, 0 },
	{ "bytes=--1", 10, 0, 0, 0 },
	{ "bytes=5-4", 10, 0, 0, 0 },
	{ "bytes=5-4", 3, 0, 0, 0 },
	{ "bytes=0-1,3-4", 10, 0, 0, 0 },
	{ "bytes=0-1,", 10, 0, 0, 0 },
	{ "bytes=a-1", 10, 0, 0, 0 },
	{ "bytes=1-a", 10, 0, 0, 0 },
	{ "bytes=-a", 10, 0, 0, 0 },
	{ "bytes=1-2-3", 10, 0, 0, 0 },
	{ "bytes= 1-2", 10, 0, 0, 0 },
	{ "bytes=+1-2", 10, 0, 0, 0 },
	{ "bytes=0-9223372036854775808", 10, 0, 0, 0 },
	{ "bytes=9223372036854775808-", 10, 0, 0, 0 },
	{ "lines=0-1", 10, 0, 0, 0 },
	{ "bytes 0-1", 10, 0, 0, 0 },
};

START_TEST(range)
{
	uint64_t from = 0, n = 0;

	ck_assert_int_eq(
	    range_parse(ranges[_i].range, ranges[_i].size, &from, &n),
	    ranges[_i].rc);
	if (ranges[_i].rc != 1)
		return;
	ck_assert_uint_eq(from, ranges[_i].from);
	ck_assert_uint_eq(n, ranges[_i].n);
}
END_TEST

static const struct {
	const char *header;
	bool listed; /* If-None-Match */
	bool counts; /* If-Range */
} tags[] = {
	{ NULL, false, true },
	{ "", false, false },
	{ TAG, true, true },
	{ "*", true, false },
	{ "**", false, false },
	{ "W/" TAG, true, false },
	{ "\"x\", " TAG, true, false },
	{ TAG ", \"x\"", true, false },
	{ "\"0123456789abcde\"", false, false },
	{ "0123456789abcdef", false, false },
	{ "\"0123456789abcdef0\"", false, false },
	{ "\"x\", *", false, false },
	{ "Tue, 24 Nov 2026 00:00:00 GMT", false, false },
};

START_TEST(tag)
{
	ck_assert_int_eq(
	    range_etag_listed(tags[_i].header, TAG), tags[_i].listed);
	ck_assert_int_eq(range_counts(tags[_i].header, TAG), tags[_i].counts);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("range");

	UNIT_ROWS(s, "range", range, nitems(ranges));
	UNIT_ROWS(s, "tag", tag, nitems(tags));
	return unit_main(s);
}
