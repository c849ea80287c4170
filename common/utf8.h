/* UTF-8 (RFC 3629).  Pure: any thread. */
#ifndef UTF8_H
#define UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Bytes of the character at (p, n), n > 0, its code point in *c; 0 when there
 * is none: shortest form only, no surrogates, at most U+10FFFF.
 */
size_t utf8_char(const unsigned char *p, size_t n, uint32_t *c);

/* Is all of (p, n) UTF-8? */
bool utf8_ok(const void *p, size_t n);

#endif
