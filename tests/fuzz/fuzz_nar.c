/*
 * The NAR walker: the same verdict however the bytes are cut into pieces, and
 * a listing that is complete when the NAR is.
 */
#include "config.h"

#include <string.h>

#include "buf.h"
#include "fuzz.h"
#include "nar.h"

static size_t file_bytes;

static void
file(void *arg, const void *p, size_t n)
{
	(void)arg;
	(void)p;
	file_bytes += n;
}

/* 0 or -1; step 0: all at once. */
static int
walk(const uint8_t *data, size_t size, size_t step, struct buf *listing,
    const char **why)
{
	static char error[160];
	struct nar *n;
	uint8_t *copy;
	size_t at, len;
	int rc = 0;

	MUST((n = nar_new(listing, file, NULL)) != NULL);
	for (at = 0; rc == 0 && at < size; at += len) {
		len = step == 0 || step > size - at ? size - at : step;
		MUST((copy = malloc(len)) != NULL);
		memcpy(copy, data + at, len);
		rc = nar_add(n, copy, len);
		free(copy);
	}
	if (rc == 0)
		rc = nar_end(n);
	MUST((rc == -1) == (nar_error(n)[0] != '\0'));
	snprintf(error, sizeof(error), "%s", nar_error(n));
	*why = error;
	nar_free(n);
	return rc;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf whole = BUF_INIT, parts = BUF_INIT;
	const char *why;
	char first[160];
	int rc;

	if (size > (size_t)64 << 10)
		return 0;
	file_bytes = 0;
	rc = walk(data, size, 0, &whole, &why);
	MUST(file_bytes <= size);
	snprintf(first, sizeof(first), "%s", why);
	MUST(walk(data, size, 1 + size % 9, &parts, &why) == rc);
	MUST(strcmp(first, why) == 0);
	if (rc == 0) {
		MUST(size % 8 == 0);
		MUST(buf_failed(&whole) == buf_failed(&parts));
		MUST(strcmp(buf_str(&whole), buf_str(&parts)) == 0);
		if (!buf_failed(&whole))
			MUST(whole.len > 2 &&
			    strcmp(whole.p + whole.len - 2, "}\n") == 0);
	}
	buf_free(&whole);
	buf_free(&parts);
	return 0;
}
