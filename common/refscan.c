#include "config.h"

#include "refscan.h"

#include <stdlib.h>
#include <string.h>

#include "base32.h"

/* Twice as many places as entries, so that probing stays short. */
#define PLACES (2 * REFSCAN_MAX)

struct refscan {
	void (*full)(void *arg, const struct refscan *s);
	void *arg;
	bool dropped;
	bool alphabet[256];
	unsigned char tail[HASH_PART_LEN - 1]; /* the end of what went by */
	size_t tail_len;
	size_t n;
	bool zero; /* the entry that looks like an empty place */
	uint8_t place[PLACES][REFSCAN_BYTES];
};

static const uint8_t zeros[REFSCAN_BYTES];

struct refscan *
refscan_new(void (*full)(void *arg, const struct refscan *s), void *arg)
{
	struct refscan *s;
	int c;

	if ((s = calloc(1, sizeof(*s))) == NULL)
		return NULL;
	s->full = full;
	s->arg = arg;
	for (c = 0; c < 256; c++)
		s->alphabet[c] = c < 128 && base32_char((char)c);
	return s;
}

void
refscan_free(struct refscan *s)
{
	free(s);
}

/* Make room: true when there is some. */
static bool
room(struct refscan *s)
{
	if (s->n < REFSCAN_MAX)
		return true;
	if (s->full == NULL) {
		s->dropped = true;
		return false;
	}
	s->full(s->arg, s);
	memset(s->place, 0, sizeof(s->place));
	s->zero = false;
	s->n = 0;
	return true;
}

/* HASH_PART_LEN characters of the alphabet. */
static void
found(struct refscan *s, const unsigned char *p)
{
	uint8_t b[REFSCAN_BYTES];
	uint64_t h;
	size_t i;

	if (s->dropped ||
	    base32_decode((const char *)p, HASH_PART_LEN, b, sizeof(b)) == -1)
		return;
	if (memcmp(b, zeros, sizeof(b)) == 0) {
		if (!s->zero && room(s)) {
			s->zero = true;
			s->n++;
		}
		return;
	}
	memcpy(&h, b + 4, sizeof(h));
	h = (h ^ h >> 29) * UINT64_C(0x9e3779b97f4a7c15);
	for (i = (size_t)(h >> 40) % PLACES;; i = (i + 1) % PLACES) {
		if (memcmp(s->place[i], b, sizeof(b)) == 0)
			return;
		if (memcmp(s->place[i], zeros, sizeof(b)) == 0)
			break;
	}
	if (s->n == REFSCAN_MAX) {
		/* The place found is not the one it has in an empty table. */
		if (room(s))
			found(s, p);
		return;
	}
	memcpy(s->place[i], b, sizeof(b));
	s->n++;
}

/* All of them in (p, n): look at a window's end first, jump behind misfits. */
static void
scan(struct refscan *s, const unsigned char *p, size_t n)
{
	size_t i = 0, j;

	while (i + HASH_PART_LEN <= n) {
		for (j = HASH_PART_LEN; j > 0; j--)
			if (!s->alphabet[p[i + j - 1]])
				break;
		if (j > 0) {
			i += j;
			continue;
		}
		found(s, p + i);
		/* One more character, one more window. */
		for (i++; i + HASH_PART_LEN <= n &&
		     s->alphabet[p[i + HASH_PART_LEN - 1]];
		     i++)
			found(s, p + i);
		i += HASH_PART_LEN;
	}
}

void
refscan_add(struct refscan *s, const void *p, size_t n)
{
	unsigned char seam[2 * (HASH_PART_LEN - 1)];
	const unsigned char *u = p;
	size_t take = n < sizeof(s->tail) ? n : sizeof(s->tail), keep;

	if (n == 0)
		return;
	/* Those that begin in what went by before. */
	memcpy(seam, s->tail, s->tail_len);
	memcpy(seam + s->tail_len, u, take);
	scan(s, seam, s->tail_len + take);
	scan(s, u, n);
	/* The last 31 bytes of all. */
	if (n >= sizeof(s->tail)) {
		memcpy(s->tail, u + n - sizeof(s->tail), sizeof(s->tail));
		s->tail_len = sizeof(s->tail);
		return;
	}
	keep = s->tail_len + n > sizeof(s->tail) ? sizeof(s->tail)
						 : s->tail_len + n;
	memcpy(s->tail, seam + s->tail_len + n - keep, keep);
	s->tail_len = keep;
}

void
refscan_copy(const struct refscan *s, struct buf *out)
{
	size_t i;

	if (s->zero)
		buf_add(out, zeros, sizeof(zeros));
	for (i = 0; i < PLACES; i++)
		if (memcmp(s->place[i], zeros, sizeof(zeros)) != 0)
			buf_add(out, s->place[i], sizeof(s->place[i]));
}

bool
refscan_complete(const struct refscan *s)
{
	return !s->dropped;
}

void
refscan_text(const struct buf *b, size_t i, struct hash_part *out)
{
	base32_encode(
	    (const uint8_t *)b->p + i * REFSCAN_BYTES, REFSCAN_BYTES, out->s);
}
