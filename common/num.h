/*
 * Numbers from text, with bounds.  All of (p, n) must be the number: no sign,
 * no space, no leading zeros beyond a single "0", at least one digit.
 *
 * Each returns 0, or -1 with *out unchanged.  Pure: any thread.
 */
#ifndef NUM_H
#define NUM_H

#include <stddef.h>
#include <stdint.h>

/* A decimal number of at most max. */
int num_parse(const char *p, size_t n, uint64_t max, uint64_t *out);

/* Bytes: a decimal number with an optional K, M, G or T (powers of 1024). */
int num_parse_size(const char *p, size_t n, uint64_t max, uint64_t *out);

/* Seconds: a decimal number with an optional s, m, h, d or w. */
int num_parse_duration(const char *p, size_t n, uint64_t max, uint64_t *out);

/* What "%XX", which (p, n) begins with, stands for (RFC 3986, 2.1); -1 when
 * it is malformed. */
int num_percent(const char *p, size_t n);

#endif
