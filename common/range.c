#include "config.h"

#include "range.h"

#include <string.h>

#include "num.h"

bool
range_etag_listed(const char *list, const char *etag)
{
	return list != NULL &&
	    (strcmp(list, "*") == 0 || strstr(list, etag) != NULL);
}

bool
range_counts(const char *if_range, const char *etag)
{
	return if_range == NULL || strcmp(if_range, etag) == 0;
}

static int
number(const char *s, size_t len, uint64_t *out)
{
	return num_parse(s, len, INT64_MAX, out);
}

/* "-N": the last N bytes. */
static int
parse_suffix(const char *s, uint64_t size, uint64_t *from, uint64_t *n)
{
	if (number(s, strlen(s), n) == -1)
		return 0;
	if (*n == 0 || size == 0)
		return -1;
	*n = *n < size ? *n : size;
	*from = size - *n;
	return 1;
}

int
range_parse(const char *s, uint64_t size, uint64_t *from, uint64_t *n)
{
	const char *dash;
	uint64_t last = UINT64_MAX;

	if (s == NULL || strncmp(s, "bytes=", 6) != 0)
		return 0;
	s += 6;
	if (strchr(s, ',') != NULL || (dash = strchr(s, '-')) == NULL)
		return 0;
	if (dash == s)
		return parse_suffix(dash + 1, size, from, n);
	if (number(s, (size_t)(dash - s), from) == -1)
		return 0;
	if (dash[1] != '\0' &&
	    (number(dash + 1, strlen(dash + 1), &last) == -1 || last < *from))
		return 0;
	if (*from >= size)
		return -1;
	if (last >= size)
		last = size - 1;
	*n = last - *from + 1;
	return 1;
}
