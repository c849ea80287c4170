#include "config.h"

#include "query.h"

#include <stdbool.h>
#include <string.h>

#include "num.h"

#define FIELDS_MAX 8

/* Decode (p, n) into f. */
static int
decode(const char *p, size_t n, struct query_field *f, const char **why)
{
	size_t i, len = 0;
	int c;

	for (i = 0; i < n; i++) {
		c = (unsigned char)p[i];
		if (c == '%') {
			if ((c = num_percent(p + i, n - i)) == -1) {
				*why = "the query has a malformed %-escape";
				return -1;
			}
			i += 2;
		}
		if (c == '\0') {
			*why = "the query has a NUL in it";
			return -1;
		}
		if (len + 1 >= f->size) {
			*why = "a value of the query is too long";
			return -1;
		}
		f->value[len++] = (char)c;
	}
	f->value[len] = '\0';
	return 0;
}

int
query_parse(
    const char *query, struct query_field *fields, size_t n, const char **why)
{
	bool seen[FIELDS_MAX] = { false };
	const char *p, *eq;
	size_t i, len;

	for (p = query != NULL ? query : ""; *p != '\0'; p += len) {
		len = strcspn(p, "&");
		eq = memchr(p, '=', len);
		for (i = 0; eq != NULL && i < n && i < FIELDS_MAX; i++)
			if (strlen(fields[i].name) == (size_t)(eq - p) &&
			    memcmp(p, fields[i].name, (size_t)(eq - p)) == 0)
				break;
		if (eq == NULL || i == n || i == FIELDS_MAX || seen[i]) {
			*why = "the query has a field that is unknown, twice "
			       "there or without a value";
			return -1;
		}
		seen[i] = true;
		if (decode(eq + 1, len - (size_t)(eq + 1 - p), &fields[i],
			why) == -1)
			return -1;
		if (p[len] == '&')
			len++;
	}
	for (i = 0; i < n && i < FIELDS_MAX; i++)
		if (!seen[i]) {
			*why = "the query lacks a field";
			return -1;
		}
	return 0;
}
