/*
 * The syntax of store paths: "/nix/store/<hash part>-<name>".
 *
 * Source: Nix manual, "Store Path Specification"; src/libstore/path.cc
 * (checkName): a name has 1 to 211 of [0-9a-zA-Z+-._?=], is not "." or "..",
 * and does not begin with ".-" or "..-".  The hash part is 32 characters of
 * Nix's base 32 (160 bits).
 *
 * All functions take (bytes, length), need no NUL and do no I/O.  Any thread.
 */
#ifndef STOREPATH_H
#define STOREPATH_H

#include <stdbool.h>
#include <stddef.h>

#define HASH_PART_LEN 32
#define STORE_NAME_MAX 211
/* "<hash part>-<name>", without the NUL */
#define STORE_BASE_MAX (HASH_PART_LEN + 1 + STORE_NAME_MAX)

/* A hash part as text. */
struct hash_part {
	char s[HASH_PART_LEN + 1];
};

/* Is (p, n) a store path's name? */
bool storepath_name_ok(const char *p, size_t n);

/* A hash part of exactly HASH_PART_LEN characters: 0, or -1. */
int hash_part_parse(const char *p, size_t n, struct hash_part *out);

/* Is (p, n) "<hash part>-<name>"?  0 with the hash part in *out, or -1. */
int storepath_base_parse(const char *p, size_t n, struct hash_part *out);

/* The same, and the name ends in ".drv". */
bool storepath_is_drv(const char *p, size_t n);

/*
 * Is (p, n) "<store_dir>/<hash part>-<name>"?  0 with *base pointing into p
 * behind the slash (it runs to the end of p) and the hash part in *out; -1
 * otherwise, another store directory included.
 */
int storepath_parse(const char *p, size_t n, const char *store_dir,
    const char **base, struct hash_part *out);

/*
 * May s be a store directory: an absolute path without "//", "/./", "/../",
 * a slash at the end, control characters or spaces?
 */
bool storepath_dir_ok(const char *s);

#endif
