#include "config.h"

#include "verify.h"

#include <inttypes.h>
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
say(struct verified *v, enum verdict verdict, const char *why)
{
	v->verdict = verdict;
	snprintf(v->why, sizeof(v->why), "%s", why);
}

/* What is left of a NAR's allowance. */
struct budget {
	uint64_t max;
	uint64_t expanded;
	int64_t cpu_end;
};

static void
budget_set(struct budget *b, int fd, const struct verify_how *how)
{
	uint64_t sent = 0;
	struct stat st;

	if (fstat(fd, &st) == 0 && st.st_size > 0)
		sent = (uint64_t)st.st_size;
	b->max = how->max;
	b->expanded = sent < (UINT64_MAX - how->free_bytes) / VERIFY_RATIO
	    ? sent * VERIFY_RATIO + how->free_bytes
	    : UINT64_MAX;
	b->cpu_end = clock_cpu_ms() + how->cpu_ms +
	    (int64_t)(sent >> 20) * VERIFY_CPU_GIB_MS / 1024;
}

/* n bytes more: is that too much?  *v says so. */
static bool
over(const struct budget *b, uint64_t n, struct verified *v)
{
	if (n > b->max - v->nar_size) {
		v->verdict = VERDICT_LARGE;
		snprintf(v->why, sizeof(v->why),
		    "it is over max_nar_size, %" PRIu64 " bytes, when unpacked",
		    b->max);
		v->nar_size = b->max;
		return true;
	}
	if (n > b->expanded - v->nar_size)
		say(v, VERDICT_LARGE,
		    "it unpacks to too many times what was sent");
	else if (clock_cpu_ms() >= b->cpu_end)
		say(v, VERDICT_LARGE,
		    "it takes too long to unpack for what was sent");
	else
		return false;
	v->nar_size = 0;
	return true;
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
		v->nar_size += (uint64_t)n;
		if (nar_add(w->nar, w->chunk, (size_t)n) == -1)
			break;
		hash_add(w->hash, w->chunk, (size_t)n);
		if (w->refs != NULL)
			refscan_add(w->refs, w->chunk, (size_t)n);
	}
	if (n == -1 && decode_unknown(w->decode))
		return -1;
	if (n == -1) {
		say(v,
		    decode_too_large(w->decode) ? VERDICT_LARGE : VERDICT_BAD,
		    decode_error(w->decode));
		v->nar_size = 0;
	} else if (nar_end(w->nar) == -1)
		say(v, VERDICT_BAD, nar_error(w->nar));
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
	v->listing.max = VERIFY_LISTING_MAX;
	snprintf(v->compression, sizeof(v->compression), "%s", f->compression);
	if (work_new(&w, fd, f, &v->listing) == -1 ||
	    (how->refs != NULL && (w.refs = refscan_new(how->refs)) == NULL))
		goto out;
	budget_set(&budget, fd, how);
	if (read_all(&w, &budget, how->stop, v) == -1)
		goto out;
	if (v->verdict != VERDICT_GOOD || buf_failed(&v->listing))
		buf_free(&v->listing);
	if (v->verdict == VERDICT_GOOD) {
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
