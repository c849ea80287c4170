#include "config.h"

#include "buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *
buf_reserve(struct buf *b, size_t n)
{
	size_t max = b->max != 0 ? b->max : BUF_MAX_DEFAULT;
	size_t cap = b->cap != 0 ? b->cap : 64;
	char *p;

	if (b->failed || n > max || b->len > max - n) {
		b->failed = true;
		return NULL;
	}
	if (b->p != NULL && b->len + n < b->cap)
		return b->p + b->len;
	/* cap stays below 2 * (max + 1), far from overflow. */
	while (cap <= b->len + n)
		cap *= 2;
	if ((p = realloc(b->p, cap)) == NULL) {
		b->failed = true;
		return NULL;
	}
	b->p = p;
	b->cap = cap;
	return b->p + b->len;
}

void
buf_end(struct buf *b)
{
	if (b->p != NULL)
		b->p[b->len] = '\0';
}

void
buf_add(struct buf *b, const void *p, size_t n)
{
	char *to;

	if ((to = buf_reserve(b, n)) == NULL)
		return;
	if (n != 0)
		memcpy(to, p, n);
	b->len += n;
	buf_end(b);
}

void
buf_adds(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void
buf_addch(struct buf *b, char c)
{
	buf_add(b, &c, 1);
}

void
buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	char *to;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0) {
		b->failed = true;
		return;
	}
	if ((to = buf_reserve(b, (size_t)n)) == NULL)
		return;
	va_start(ap, fmt);
	vsnprintf(to, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
}

void
buf_clear(struct buf *b)
{
	b->len = 0;
	b->failed = false;
	buf_end(b);
}

const char *
buf_str(const struct buf *b)
{
	return b->p != NULL ? b->p : "";
}

void
buf_free(struct buf *b)
{
	free(b->p);
	b->p = NULL;
	b->len = b->cap = 0;
	b->failed = false;
}
