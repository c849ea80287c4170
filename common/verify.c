#include "config.h"

#include "verify.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "decode.h"
#include "nar.h"

#define CHUNK ((size_t)256 << 10)

/* By the name's end; where it has none, by the first bytes. */
static const struct format {
	const char *extension;
	const char *magic;
	const char *compression;
	enum encoding encoding;
} formats[] = {
	{ ".nar.xz", NULL, "xz", ENCODING_XZ },
	{ ".nar.zst", NULL, "zstd", ENCODING_ZSTD },
	{ ".nar.bz2", NULL, "bzip2", ENCODING_BZIP2 },
	{ ".nar.lz4", NULL, "lz4", ENCODING_LZ4 },
	{ ".nar.lzip", NULL, "lzip", ENCODING_LZIP },
	{ ".nar.br", NULL, "br", ENCODING_BROTLI },
	{ ".nar", "\x1f\x8b", "gzip", ENCODING_GZIP },
	{ ".nar", "\x1f\x9d", "compress", ENCODING_COMPRESS },
	{ ".nar", "\x5d", "lzma", ENCODING_LZMA },
	{ ".nar", "", "none", ENCODING_NONE },
};

static const struct format *
find_format(int fd, const struct key *k)
{
	const char *extension = strstr(k->s, ".nar");
	char first[2] = { 0, 0 };
	const struct format *f;
	off_t at = lseek(fd, 0, SEEK_CUR);
	ssize_t n = at == -1 ? -1 : pread(fd, first, sizeof(first), at);

	for (f = formats;; f++) {
		if (extension == NULL || strcmp(f->extension, extension) != 0)
			continue;
		if (f->magic == NULL || f->magic[0] == '\0' ||
		    (n >= (ssize_t)strlen(f->magic) &&
			memcmp(first, f->magic, strlen(f->magic)) == 0))
			return f;
	}
}

/* One reading. */
struct work {
	struct decode *decode;
	struct hash *hash;
	struct hash *file;
	struct nar *nar;
	struct refscan *refs;
	char *chunk;
};

static void
work_free(struct work *w)
{
	decode_free(w->decode);
	hash_free(w->hash);
	hash_free(w->file);
	nar_free(w->nar);
	refscan_free(w->refs);
	free(w->chunk);
}

static void
add_file(void *arg, const void *p, size_t n)
{
	struct work *w = arg;

	hash_add(w->file, p, n);
}

static void
bad(struct verified *v, const char *why)
{
	v->verdict = VERDICT_BAD;
	snprintf(v->why, sizeof(v->why), "%s", why);
}

/* What is left of a NAR's allowance. */
struct budget {
	const struct verify_how *how;
	uint64_t sent;
	uint64_t expanded;
	int64_t cpu_end;
};

static void
budget_set(struct budget *b, int fd, const struct verify_how *how)
{
	struct stat st;

	b->how = how;
	b->sent = 0;
	if (fstat(fd, &st) == 0 && st.st_size > 0)
		b->sent = (uint64_t)st.st_size;
	b->expanded = how->ratio == 0 ||
		b->sent < (UINT64_MAX - how->free_bytes) / how->ratio
	    ? b->sent * how->ratio + how->free_bytes
	    : UINT64_MAX;
	b->cpu_end = clock_cpu_ms() + (int64_t)how->cpu * 1000 +
	    (int64_t)(how->cpu * (b->sent >> 20) * 1000 * VERIFY_CPU_GIB /
		1024);
}

/* The longest listing that is kept. */
static size_t
listing_max(const struct budget *b)
{
	return b->sent < VERIFY_LISTING_MAX / VERIFY_LISTING_TIMES
	    ? VERIFY_LISTING_FREE + b->sent * VERIFY_LISTING_TIMES
	    : VERIFY_LISTING_MAX;
}

static void __attribute__((format(printf, 4, 5))) too_large(struct verified *v,
    enum verify_limit over, uint64_t limit, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(v->why, sizeof(v->why), fmt, ap);
	va_end(ap);
	v->verdict = VERDICT_LARGE;
	v->over = over;
	v->over_limit = limit;
}

/* n bytes more: is that too much?  *v says so. */
static bool
over(const struct budget *b, uint64_t n, struct verified *v)
{
	const struct verify_how *how = b->how;

	if (n > how->max - v->unpacked)
		too_large(v, LIMIT_SIZE, how->max,
		    "it is over max_nar_size, %" PRIu64 " bytes, when unpacked",
		    how->max);
	else if (n > b->expanded - v->unpacked)
		too_large(v, LIMIT_RATIO, how->ratio,
		    "%" PRIu64 " bytes unpack to more than max_nar_ratio, "
		    "%" PRIu64 ", allows",
		    b->sent, how->ratio);
	else if (clock_cpu_ms() >= b->cpu_end)
		too_large(v, LIMIT_CPU, how->cpu,
		    "%" PRIu64 " bytes take a processor for longer to unpack "
		    "than max_nar_cpu, %" PRIu64 "s, allows",
		    b->sent, how->cpu);
	return v->verdict == VERDICT_LARGE;
}

/* Everything of the decoded stream: 0 with a verdict, or -1. */
static int
read_all(struct work *w, const struct budget *b, const atomic_bool *stop,
    struct verified *v)
{
	ssize_t n;

	while ((n = decode_read(w->decode, w->chunk, CHUNK)) > 0) {
		if (atomic_load(stop))
			return -1;
		if (over(b, (uint64_t)n, v))
			return 0;
		v->unpacked += (uint64_t)n;
		if (nar_add(w->nar, w->chunk, (size_t)n) == -1)
			break;
		hash_add(w->hash, w->chunk, (size_t)n);
		if (w->refs != NULL)
			refscan_add(w->refs, w->chunk, (size_t)n);
	}
	if (n == -1 && decode_unknown(w->decode))
		return -1;
	if (n == -1 && decode_too_large(w->decode))
		too_large(v, LIMIT_OTHER, 0, "%s", decode_error(w->decode));
	else if (n == -1)
		bad(v, decode_error(w->decode));
	else if (nar_end(w->nar) == -1)
		bad(v, nar_error(w->nar));
	return 0;
}

static int
work_new(struct work *w, int fd, const struct format *f, struct buf *listing)
{
	if ((w->decode = decode_new(f->encoding, fd)) == NULL ||
	    (w->hash = hash_new()) == NULL || (w->file = hash_new()) == NULL ||
	    (w->nar = nar_new(listing, add_file, w)) == NULL ||
	    (w->chunk = malloc(CHUNK)) == NULL)
		return -1;
	return 0;
}

int
verify_nar(int fd, const struct key *k, const struct verify_how *how,
    struct verified *v)
{
	const struct format *f = find_format(fd, k);
	struct work w = { .decode = NULL };
	struct budget budget;
	int rc = -1;

	memset(v, 0, sizeof(*v));
	budget_set(&budget, fd, how);
	v->listing.max = listing_max(&budget);
	snprintf(v->compression, sizeof(v->compression), "%s", f->compression);
	if (work_new(&w, fd, f, &v->listing) == -1 ||
	    (how->refs != NULL && (w.refs = refscan_new(how->refs)) == NULL))
		goto out;
	if (read_all(&w, &budget, how->stop, v) == -1)
		goto out;
	if (v->verdict != VERDICT_GOOD || buf_failed(&v->listing))
		buf_free(&v->listing);
	if (v->verdict == VERDICT_GOOD) {
		v->nar_size = v->unpacked;
		hash_final(w.hash, &v->nar_hash);
		hash_final(w.file, &v->file_hash);
		v->is_file = nar_root(w.nar) == NAR_FILE;
		if (w.refs != NULL) {
			refscan_copy(w.refs, &v->refs);
			v->refs_done = refscan_complete(w.refs) ? REFS_FOUND
								: REFS_TOO_MANY;
		}
		if (buf_failed(&v->refs))
			goto out;
	}
	rc = 0;
out:
	work_free(&w);
	if (rc == -1)
		verified_clear(v);
	return rc;
}
