/*
 * The query of a request's target: "name=value&name=value".
 *
 * "%XX" is decoded once; a "+" stays one: no value of ours holds a blank.  What
 * comes out is any bytes but NUL: the caller has a grammar for each value.
 *
 * No I/O, no state; any thread.
 */
#ifndef QUERY_H
#define QUERY_H

#include <stddef.h>

struct query_field {
	const char *name;
	char *value; /* where to */
	size_t size; /* of value, NUL included */
};

/*
 * Parse query into the n fields, each of which must be there once, and nothing
 * else.  0, or -1 with a sentence in *why (static).  NULL is an empty query.
 */
int query_parse(
    const char *query, struct query_field *fields, size_t n, const char **why);

#endif
