#include "config.h"

#include "derivation.h"

#include <stdbool.h>
#include <string.h>

struct cursor {
	const char *p;
	size_t n;
};

static bool
take(struct cursor *c, const char *s)
{
	size_t len = strlen(s);

	if (c->n < len || memcmp(c->p, s, len) != 0)
		return false;
	c->p += len;
	c->n -= len;
	return true;
}

/* A string: *s and *len are what stands between its quotes. */
static bool
take_string(struct cursor *c, const char **s, size_t *len)
{
	if (!take(c, "\""))
		return false;
	*s = c->p;
	for (*len = 0; *len < c->n; ++*len) {
		if (c->p[*len] == '\\' || (unsigned char)c->p[*len] < 0x20)
			return false;
		if (c->p[*len] == '"') {
			c->p += *len + 1;
			c->n -= *len + 1;
			return true;
		}
	}
	return false;
}

int
derivation_outputs(const char *p, size_t n,
    int (*each)(const char *name, size_t name_len, const char *path,
	size_t path_len, void *arg),
    void *arg)
{
	struct cursor c = { p, n };
	const char *field[4];
	size_t len[4], i;

	if (!take(&c, "Derive(["))
		return -1;
	do {
		if (!take(&c, "("))
			return -1;
		for (i = 0; i < 4; i++)
			if ((i > 0 && !take(&c, ",")) ||
			    !take_string(&c, &field[i], &len[i]))
				return -1;
		if (!take(&c, ")") || len[0] == 0 ||
		    each(field[0], len[0], field[1], len[1], arg) != 0)
			return -1;
	} while (take(&c, ","));
	return take(&c, "],") ? 0 : -1;
}
