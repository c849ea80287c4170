/*
 * The keys of tmpnix.conf: what their values look like, and their defaults.
 * For conf.c and conf_*.c only.
 */
#ifndef CONF_KEYS_H
#define CONF_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/*
 * A key.  The parser puts the value (v, n), never empty and printable ASCII
 * only, into field and returns NULL, or else what is wrong; mostly that is
 * rule, which says what would be right.
 */
struct key_def {
	const char *name;
	const char *(*parse)(
	    const struct key_def *k, const char *v, size_t n, void *field);
	size_t offset; /* of the field in struct conf */
	const char *def; /* the default, as it would be written */
	const char *rule;
	uint64_t min, max; /* of numbers */
	bool live; /* a running program takes another value, see conf_reload */
};

#define CONF_KEYS_MAX 128

extern const struct key_def conf_keys[];
extern const size_t conf_nkeys; /* at most CONF_KEYS_MAX */

/* The rule of a path. */
#define CONF_PATH_RULE                                                         \
	"must be an absolute path without \"//\", \"/./\", \"/../\" and "      \
	"without a slash at the end"

/* What parse returns when that is what is wrong. */
extern const char conf_no_memory[];

/* Is (v, n) an absolute path other than "/", without empty, "." and ".."
 * segments? */
bool conf_path_ok(const char *v, size_t n);

static inline bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static inline bool
is_alnum(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
	    (c >= 'A' && c <= 'Z');
}

static inline bool
equals(const char *v, size_t n, const char *s)
{
	return n == strlen(s) && memcmp(v, s, n) == 0;
}

#endif
