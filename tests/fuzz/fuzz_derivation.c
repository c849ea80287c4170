/* The outputs of a derivation: slices of the text, nothing beyond it. */
#include "config.h"

#include <string.h>

#include "derivation.h"
#include "fuzz.h"

struct bounds {
	const char *from, *to;
	size_t seen;
};

static int
output(const char *name, size_t name_len, const char *path, size_t path_len,
    void *arg)
{
	struct bounds *b = arg;

	MUST(name >= b->from && name + name_len <= b->to);
	MUST(path >= b->from && path + path_len <= b->to);
	MUST(memchr(name, '"', name_len) == NULL);
	MUST(memchr(path, '"', path_len) == NULL);
	b->seen++;
	return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bounds b;
	char *copy;

	if (size == 0 || (copy = malloc(size)) == NULL)
		return 0;
	memcpy(copy, data, size);
	b = (struct bounds) { copy, copy + size, 0 };
	if (derivation_outputs(copy, size, output, &b) == 0)
		MUST(b.seen <= size / 10);
	free(copy);
	return 0;
}
