#include "config.h"

#include "refscan.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base32.h"

/* Twice as many places as entries, so that probing stays short. */
#define PLACES (2 * REFSCAN_MAX)
/* The filter in front of a set: 1 MiB, which stays in the processor's cache. */
#define FILTER_BITS 23
#define NOT_A_DIGIT 0xff

/* A hash part as the number it is: the last character is the lowest digit. */
struct window {
	uint64_t low;
	uint64_t middle;
	uint32_t high;
};

struct refset {
	pthread_rwlock_t lock;
	uint64_t filter[((size_t)1 << FILTER_BITS) / 64];
	uint64_t *print; /* of each, hashed to its place; 0: empty */
	size_t places; /* a power of 2, or 0 */
	size_t n;
};

struct refscan {
	struct refset *set;
	bool dropped;
	uint8_t digit[256];
	unsigned char tail[HASH_PART_LEN - 1]; /* the end of what went by */
	size_t tail_len;
	size_t n;
	bool zero; /* the entry that looks like an empty place */
	uint8_t place[PLACES][REFSCAN_BYTES];
};

static const uint8_t zeros[REFSCAN_BYTES];

static void
digits(uint8_t digit[256])
{
	static const char alphabet[] = "0123456789abcdfghijklmnpqrsvwxyz";
	uint8_t i;

	memset(digit, NOT_A_DIGIT, 256);
	for (i = 0; i < 32; i++)
		digit[(unsigned char)alphabet[i]] = i;
}

/* One character more, the first one goes. */
static void
push(struct window *w, uint8_t digit)
{
	w->high = w->high << 5 | (uint32_t)(w->middle >> 59);
	w->middle = w->middle << 5 | w->low >> 59;
	w->low = w->low << 5 | digit;
}

static uint64_t
print_of(const struct window *w)
{
	uint64_t h = w->low * UINT64_C(0x9e3779b97f4a7c15);

	h = (h ^ h >> 32 ^ w->middle) * UINT64_C(0xbf58476d1ce4e5b9);
	h = (h ^ h >> 29 ^ w->high) * UINT64_C(0x94d049bb133111eb);
	return h == 0 ? 1 : h;
}

static size_t
filter_bit(const struct window *w)
{
	return (size_t)((w->low ^ w->middle) * UINT64_C(0x9e3779b97f4a7c15) >>
	    (64 - FILTER_BITS));
}

/* The place of a print, or the empty one where it would be. */
static size_t
place_of(const struct refset *set, uint64_t print)
{
	size_t i = (size_t)print & (set->places - 1);

	while (set->print[i] != 0 && set->print[i] != print)
		i = (i + 1) & (set->places - 1);
	return i;
}

static bool
has(const struct refset *set, const struct window *w)
{
	const size_t bit = filter_bit(w);

	return (set->filter[bit / 64] >> bit % 64 & 1) != 0 &&
	    set->print[place_of(set, print_of(w))] != 0;
}

struct refset *
refset_new(void)
{
	struct refset *set;

	if ((set = calloc(1, sizeof(*set))) != NULL)
		pthread_rwlock_init(&set->lock, NULL);
	return set;
}

void
refset_free(struct refset *set)
{
	if (set == NULL)
		return;
	pthread_rwlock_destroy(&set->lock);
	free(set->print);
	free(set);
}

static int
grow(struct refset *set)
{
	struct refset old = { .print = set->print, .places = set->places };
	uint64_t *more;
	size_t i, places = old.places > 0 ? 2 * old.places : 1024;

	if (2 * (set->n + 1) < set->places)
		return 0;
	if ((more = calloc(places, sizeof(*more))) == NULL)
		return -1;
	set->print = more;
	set->places = places;
	for (i = 0; i < old.places; i++)
		if (old.print[i] != 0)
			more[place_of(set, old.print[i])] = old.print[i];
	free(old.print);
	return 0;
}

int
refset_add(struct refset *set, const char *hash_part)
{
	struct window w = { 0, 0, 0 };
	uint8_t digit[256];
	size_t i, bit;
	uint64_t print;
	int rc = -1;

	digits(digit);
	for (i = 0; i < HASH_PART_LEN; i++)
		push(&w, digit[(unsigned char)hash_part[i]] & 31);
	print = print_of(&w);
	bit = filter_bit(&w);
	pthread_rwlock_wrlock(&set->lock);
	if (grow(set) == 0) {
		i = place_of(set, print);
		set->n += set->print[i] == 0;
		set->print[i] = print;
		set->filter[bit / 64] |= UINT64_C(1) << bit % 64;
		rc = 0;
	}
	pthread_rwlock_unlock(&set->lock);
	return rc;
}

struct refscan *
refscan_new(struct refset *set)
{
	struct refscan *s;

	if ((s = calloc(1, sizeof(*s))) == NULL)
		return NULL;
	s->set = set;
	digits(s->digit);
	return s;
}

void
refscan_free(struct refscan *s)
{
	free(s);
}

/* Is there room for one more? */
static bool
room(struct refscan *s)
{
	s->dropped |= s->n == REFSCAN_MAX;
	return !s->dropped;
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
	if (!room(s))
		return;
	memcpy(s->place[i], b, sizeof(b));
	s->n++;
}

/* All of them in (p, n): look at a window's end first, jump behind misfits. */
static void
scan(struct refscan *s, const unsigned char *p, size_t n)
{
	struct window w = { 0, 0, 0 };
	size_t i = 0, j;

	while (i + HASH_PART_LEN <= n) {
		for (j = HASH_PART_LEN; j > 0; j--)
			if (s->digit[p[i + j - 1]] == NOT_A_DIGIT)
				break;
		if (j > 0) {
			i += j;
			continue;
		}
		for (j = 0; j < HASH_PART_LEN - 1; j++)
			push(&w, s->digit[p[i++]]);
		/* One more character, one more window. */
		for (; i < n && s->digit[p[i]] != NOT_A_DIGIT; i++) {
			push(&w, s->digit[p[i]]);
			if (has(s->set, &w))
				found(s, p + i + 1 - HASH_PART_LEN);
		}
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
	pthread_rwlock_rdlock(&s->set->lock);
	/* Those that begin in what went by before. */
	memcpy(seam, s->tail, s->tail_len);
	memcpy(seam + s->tail_len, u, take);
	scan(s, seam, s->tail_len + take);
	scan(s, u, n);
	pthread_rwlock_unlock(&s->set->lock);
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
