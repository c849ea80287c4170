/*
 * A growable byte string, always NUL-terminated after len.
 *
 * Additions never fail on the spot: the first one that would pass the maximum
 * or finds no memory marks the buffer as failed, leaves what was there before
 * and turns every later addition into nothing.  Callers add freely and ask
 * buf_failed once at the end.
 *
 * One thread a buffer.
 */
#ifndef BUF_H
#define BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
	char *p; /* NULL until the first addition */
	size_t len;
	size_t cap;
	size_t max; /* most bytes it may hold; 0: BUF_MAX_DEFAULT */
	bool failed;
};

#define BUF_MAX_DEFAULT ((size_t)64 << 20)
/* clang-format off */
#define BUF_INIT { NULL, 0, 0, 0, false }
#define BUF_INIT_MAX(m) { NULL, 0, 0, (m), false }
/* clang-format on */

void buf_add(struct buf *b, const void *p, size_t n);
void buf_adds(struct buf *b, const char *s);
void buf_addch(struct buf *b, char c);
void buf_addf(struct buf *b, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/*
 * Make room for n more bytes and return where to write them, NULL (and the
 * buffer failed) when there is none.  The caller adds what it wrote to len and
 * must not write more than n; the NUL is buf_end's work.
 */
char *buf_reserve(struct buf *b, size_t n);
void buf_end(struct buf *b);

/* Forget the contents and the failure, keep the memory and the maximum. */
void buf_clear(struct buf *b);

/* The contents as a C string; "" when there is none. */
const char *buf_str(const struct buf *b);

static inline bool
buf_failed(const struct buf *b)
{
	return b->failed;
}

/* Release the memory; the buffer is as BUF_INIT afterwards.  max stays. */
void buf_free(struct buf *b);

#endif
