/*
 * What a reader asks for: the first 8 bytes are an object's size, the rest is
 * the header, taken for each of the three.  A range lies within the object, is
 * the same once more, and what it says can be asked for again.
 */
#include "config.h"

#include <inttypes.h>
#include <string.h>

#include "fuzz.h"
#include "range.h"

#define TAG "\"0123456789abcdef0123456789abcdef\""

static void
check_range(const char *text, uint64_t size)
{
	uint64_t from = UINT64_MAX, n = UINT64_MAX, from2, n2;
	char again[64];

	if (range_parse(text, size, &from, &n) != 1)
		return;
	MUST(n > 0 && from < size && n <= size - from);
	MUST(strncmp(text, "bytes=", 6) == 0 && strchr(text, ',') == NULL);
	snprintf(again, sizeof(again), "bytes=%" PRIu64 "-%" PRIu64, from,
	    from + n - 1);
	MUST(range_parse(again, size, &from2, &n2) == 1);
	MUST(from2 == from && n2 == n);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t bytes;
	char *text;

	if (size < sizeof(bytes) ||
	    (text = malloc(size - sizeof(bytes) + 1)) == NULL)
		return 0;
	memcpy(&bytes, data, sizeof(bytes));
	memcpy(text, data + sizeof(bytes), size - sizeof(bytes));
	text[size - sizeof(bytes)] = '\0';
	/* Files have no more. */
	check_range(text, bytes & INT64_MAX);
	check_range(text, bytes & 0xff);
	if (range_etag_listed(text, TAG))
		MUST(strcmp(text, "*") == 0 || strstr(text, TAG) != NULL);
	if (range_counts(text, TAG))
		MUST(range_etag_listed(text, TAG));
	free(text);
	return 0;
}
