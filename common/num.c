#include "config.h"

#include "num.h"

#include <string.h>

int
num_parse(const char *p, size_t n, uint64_t max, uint64_t *out)
{
	uint64_t v = 0, d;
	size_t i;

	if (n == 0 || (n > 1 && p[0] == '0'))
		return -1;
	for (i = 0; i < n; i++) {
		if (p[i] < '0' || p[i] > '9')
			return -1;
		d = (uint64_t)(p[i] - '0');
		if (v > (UINT64_MAX - d) / 10)
			return -1;
		v = v * 10 + d;
	}
	if (v > max)
		return -1;
	*out = v;
	return 0;
}

/* A number with an optional last letter out of units, worth factor[letter]. */
static int
parse_scaled(const char *p, size_t n, const char *units, const uint64_t *factor,
    uint64_t max, uint64_t *out)
{
	const char *u;
	uint64_t v, f = 1;

	if (n > 0 && p[n - 1] != '\0' &&
	    (u = strchr(units, p[n - 1])) != NULL) {
		f = factor[u - units];
		n--;
	}
	if (num_parse(p, n, max / f, &v) == -1)
		return -1;
	*out = v * f;
	return 0;
}

int
num_parse_size(const char *p, size_t n, uint64_t max, uint64_t *out)
{
	static const uint64_t factor[] = { (uint64_t)1 << 10, (uint64_t)1 << 20,
		(uint64_t)1 << 30, (uint64_t)1 << 40 };

	return parse_scaled(p, n, "KMGT", factor, max, out);
}

int
num_parse_duration(const char *p, size_t n, uint64_t max, uint64_t *out)
{
	static const uint64_t factor[] = { 1, 60, 3600, 86400, 604800 };

	return parse_scaled(p, n, "smhdw", factor, max, out);
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int
num_percent(const char *p, size_t n)
{
	if (n < 3 || p[0] != '%' || hex_digit(p[1]) == -1 ||
	    hex_digit(p[2]) == -1)
		return -1;
	return hex_digit(p[1]) * 16 + hex_digit(p[2]);
}
