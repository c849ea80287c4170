#include "config.h"

#include "base32.h"

#include <string.h>

#include <sodium.h>

static const char alphabet[] = "0123456789abcdfghijklmnpqrsvwxyz";

/* The value of c, or -1. */
static int
value(char c)
{
	const char *at;

	if (c == '\0' || (at = strchr(alphabet, c)) == NULL)
		return -1;
	return (int)(at - alphabet);
}

int
base32_char(char c)
{
	return value(c) != -1;
}

void
base32_encode(const uint8_t *in, size_t n, char *out)
{
	size_t k, bit, i;
	unsigned int v, j;

	for (k = BASE32_LEN(n); k-- > 0;) {
		bit = k * 5;
		i = bit / 8;
		j = (unsigned int)(bit % 8);
		v = (unsigned int)in[i] >> j;
		if (i + 1 < n)
			v |= (unsigned int)in[i + 1] << (8 - j);
		*out++ = alphabet[v & 31];
	}
	*out = '\0';
}

int
base32_decode(const char *in, size_t len, uint8_t *out, size_t n)
{
	size_t k, bit, i;
	unsigned int v, j, high;
	int d;

	if (len != BASE32_LEN(n))
		return -1;
	memset(out, 0, n);
	for (k = 0; k < len; k++) {
		if ((d = value(in[len - k - 1])) == -1)
			return -1;
		v = (unsigned int)d;
		bit = k * 5;
		i = bit / 8;
		j = (unsigned int)(bit % 8);
		out[i] |= (uint8_t)(v << j);
		high = v >> (8 - j);
		if (i + 1 < n)
			out[i + 1] |= (uint8_t)high;
		else if (high != 0)
			return -1;
	}
	return 0;
}

void
hex_encode(const uint8_t *in, size_t n, char *out)
{
	sodium_bin2hex(out, 2 * n + 1, in, n);
}

int
hex_decode(const char *in, size_t len, uint8_t *out, size_t n)
{
	size_t got, i;

	if (len != 2 * n)
		return -1;
	/* sodium takes capitals too; one spelling is enough for us. */
	for (i = 0; i < len; i++)
		if (in[i] >= 'A' && in[i] <= 'F')
			return -1;
	if (sodium_hex2bin(out, n, in, len, NULL, &got, NULL) != 0 || got != n)
		return -1;
	return 0;
}

void
base64_encode(const uint8_t *in, size_t n, char *out)
{
	sodium_bin2base64(
	    out, BASE64_LEN(n) + 1, in, n, sodium_base64_VARIANT_ORIGINAL);
}

int
base64_decode(const char *in, size_t len, uint8_t *out, size_t max, size_t *n)
{
	const char *end;

	if (sodium_base642bin(out, max, in, len, NULL, n, &end,
		sodium_base64_VARIANT_ORIGINAL) != 0 ||
	    end != in + len)
		return -1;
	return 0;
}
