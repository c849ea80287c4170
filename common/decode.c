#include "config.h"

#include "decode.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>
#include <brotli/decode.h>
#include <lzma.h>

#include "file.h"

#define CHUNK ((size_t)64 << 10)

/* The dictionary, and what else a decoder of liblzma takes (40 KiB). */
#define LZMA_MEMORY_MAX (DECODE_WINDOW_MAX + ((uint64_t)1 << 20))

struct decode {
	enum encoding encoding;
	int fd;
	struct archive *archive;
	BrotliDecoderState *brotli;
	bool lzma; /* stream is one of liblzma's */
	lzma_stream stream;
	uint8_t in[CHUNK]; /* input not used yet */
	const uint8_t *next;
	size_t avail;
	bool open; /* libarchive has seen the beginning */
	off_t start; /* libarchive: where the input begins in the file */
	bool too_large;
	bool unknown; /* what failed says nothing of the file */
	bool end; /* of the encoded stream, and of the file */
	char error[160];
};

static const struct {
	const char *name;
	enum encoding encoding;
} names[] = {
	{ "none", ENCODING_NONE },
	{ "identity", ENCODING_NONE },
	{ "gzip", ENCODING_GZIP },
	{ "x-gzip", ENCODING_GZIP }, /* RFC 9110, 8.4.1.3 */
	{ "xz", ENCODING_XZ },
	{ "zstd", ENCODING_ZSTD },
	{ "br", ENCODING_BROTLI },
	{ "bzip2", ENCODING_BZIP2 },
	{ "lz4", ENCODING_LZ4 },
};

enum encoding
encoding_parse(const char *s)
{
	size_t i;

	if (s == NULL)
		return ENCODING_NONE;
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcasecmp(s, names[i].name) == 0)
			return names[i].encoding;
	return ENCODING_UNKNOWN;
}

static int
filter_code(enum encoding e)
{
	switch (e) {
	case ENCODING_GZIP:
		return ARCHIVE_FILTER_GZIP;
	case ENCODING_ZSTD:
		return ARCHIVE_FILTER_ZSTD;
	case ENCODING_BZIP2:
		return ARCHIVE_FILTER_BZIP2;
	case ENCODING_LZ4:
		return ARCHIVE_FILTER_LZ4;
	case ENCODING_COMPRESS:
		return ARCHIVE_FILTER_COMPRESS;
	case ENCODING_NONE:
	case ENCODING_XZ:
	case ENCODING_LZIP:
	case ENCODING_LZMA:
	case ENCODING_BROTLI:
	case ENCODING_UNKNOWN:
		break;
	}
	return ARCHIVE_FILTER_NONE;
}

static ssize_t
fail(struct decode *d, const char *why)
{
	static const char memory[] = "too much memory"; /* libzstd's words */

	if (why != NULL && strstr(why, memory) != NULL)
		d->too_large = true;
	snprintf(
	    d->error, sizeof(d->error), "%s", why != NULL ? why : "damaged");
	return -1;
}

/* The file could not be read, or there is no memory: it may be good. */
static ssize_t
fail_unknown(struct decode *d, const char *why)
{
	d->unknown = true;
	return fail(d, why);
}

/* Set up liblzma for e: 1, 0 when it is not for liblzma, -1 without memory. */
static int
lzma_start(struct decode *d, enum encoding e)
{
	lzma_ret rc;

	switch (e) {
	case ENCODING_XZ:
		rc = lzma_stream_decoder(
		    &d->stream, LZMA_MEMORY_MAX, LZMA_CONCATENATED);
		break;
	case ENCODING_LZIP:
		rc = lzma_lzip_decoder(
		    &d->stream, LZMA_MEMORY_MAX, LZMA_CONCATENATED);
		break;
	case ENCODING_LZMA:
		rc = lzma_alone_decoder(&d->stream, LZMA_MEMORY_MAX);
		break;
	default:
		return 0;
	}
	if (rc != LZMA_OK)
		return -1;
	d->lzma = true;
	return 1;
}

struct decode *
decode_new(enum encoding e, int fd)
{
	struct decode *d;

	if ((d = calloc(1, sizeof(*d))) == NULL)
		return NULL;
	d->encoding = e;
	d->fd = fd;
	if (e == ENCODING_NONE)
		return d;
	switch (lzma_start(d, e)) {
	case 0:
		break;
	case 1:
		return d;
	default:
		goto fail;
	}
	if (e == ENCODING_BROTLI) {
		d->brotli = BrotliDecoderCreateInstance(NULL, NULL, NULL);
		if (d->brotli == NULL)
			goto fail;
		return d;
	}
	if ((d->archive = archive_read_new()) == NULL ||
	    archive_read_support_format_raw(d->archive) != ARCHIVE_OK ||
	    archive_read_support_format_empty(d->archive) != ARCHIVE_OK ||
	    archive_read_support_filter_by_code(d->archive, filter_code(e)) !=
		ARCHIVE_OK)
		goto fail;
	return d;
fail:
	decode_free(d);
	return NULL;
}

void
decode_free(struct decode *d)
{
	if (d == NULL)
		return;
	if (d->archive != NULL)
		archive_read_free(d->archive);
	if (d->brotli != NULL)
		BrotliDecoderDestroyInstance(d->brotli);
	lzma_end(&d->stream);
	free(d);
}

/*
 * At libarchive's end of file.  Its gzip, bzip2 and lz4 filters end quietly
 * where no further member begins: what they left is not of this encoding, or
 * a member whose header is cut short.
 */
static ssize_t
end_archive(struct decode *d)
{
	off_t size;

	if ((size = lseek(d->fd, 0, SEEK_END)) == -1 || d->start == -1)
		return fail_unknown(d, "unreadable");
	if (archive_filter_bytes(d->archive, -1) != size - d->start)
		return fail(d, "bytes behind its end");
	d->end = true;
	return 0;
}

/* Fill the input of the decoder: 1, 0 at the end of the file, -1 when it can't
 * be read (d has failed then). */
static int
fill(struct decode *d)
{
	ssize_t r;

	if ((r = file_read_full(d->fd, d->in, sizeof(d->in))) == -1)
		return (int)fail_unknown(d, "unreadable");
	d->next = d->in;
	d->avail = (size_t)r;
	return r > 0;
}

/* What libarchive failed with, unless that is known already. */
static ssize_t
fail_archive(struct decode *d)
{
	if (d->unknown)
		return -1;
	if (archive_errno(d->archive) == ENOMEM)
		return fail_unknown(d, "no memory");
	return fail(d, archive_error_string(d->archive));
}

/* libarchive's way to ask for input.  Its own reader is no use: some filters
 * take an error of it for the end of the file. */
static la_ssize_t
feed(struct archive *a, void *arg, const void **p)
{
	struct decode *d = arg;

	switch (fill(d)) {
	case 1:
		*p = d->next;
		return (la_ssize_t)d->avail;
	case 0:
		return 0;
	default:
		archive_set_error(a, EIO, "unreadable");
		return -1;
	}
}

/*
 * Open at the first read.  Where the filter does not know the input libarchive
 * takes it as it is, and where it knows the output as well it is used again:
 * two in the chain, the filter and the file, mean that it was used once.
 */
static ssize_t
open_archive(struct decode *d)
{
	struct archive_entry *entry;
	int filters;

	d->start = lseek(d->fd, 0, SEEK_CUR);
	/* This has the filter's first output, or its failure, already. */
	if (archive_read_open(d->archive, d, NULL, feed, NULL) != ARCHIVE_OK)
		return fail_archive(d);
	if ((filters = archive_filter_count(d->archive)) != 2)
		return fail(d,
		    filters < 2 ? "not in this encoding"
				: "encoded more than once");
	d->open = true;
	switch (archive_read_next_header(d->archive, &entry)) {
	case ARCHIVE_OK:
		return 0;
	case ARCHIVE_EOF:
		return end_archive(d);
	default:
		return fail_archive(d);
	}
}

static ssize_t
read_archive(struct decode *d, void *p, size_t n)
{
	la_ssize_t r;

	if (!d->open && open_archive(d) == -1)
		return -1;
	if (d->end)
		return 0;
	if ((r = archive_read_data(d->archive, p, n)) < 0)
		return fail_archive(d);
	return r > 0 ? (ssize_t)r : end_archive(d);
}

/* Nothing is behind the end of the encoded stream: 0, or -1. */
static int
end_stream(struct decode *d, size_t left)
{
	int more = left > 0 ? 1 : fill(d);

	if (more == 1)
		fail(d, "bytes behind its end");
	d->end = more == 0;
	return more == 0 ? 0 : -1;
}

static ssize_t
brotli_fail(struct decode *d)
{
	/* All of its errors of having no memory, and no other. */
	if (BrotliDecoderGetErrorCode(d->brotli) <=
	    BROTLI_DECODER_ERROR_ALLOC_CONTEXT_MODES)
		return fail_unknown(d, "no memory");
	return fail(d, "not in this encoding, or damaged");
}

static ssize_t
read_brotli(struct decode *d, void *p, size_t n)
{
	uint8_t *out = p;
	size_t room = n;

	while (room > 0) {
		switch (BrotliDecoderDecompressStream(
		    d->brotli, &d->avail, &d->next, &room, &out, NULL)) {
		case BROTLI_DECODER_RESULT_NEEDS_MORE_OUTPUT:
			return (ssize_t)(n - room);
		case BROTLI_DECODER_RESULT_NEEDS_MORE_INPUT:
			switch (fill(d)) {
			case 1:
				break;
			case 0:
				return fail(d, "cut short");
			default:
				return -1;
			}
			break;
		case BROTLI_DECODER_RESULT_SUCCESS:
			return end_stream(d, d->avail) == -1
			    ? -1
			    : (ssize_t)(n - room);
		case BROTLI_DECODER_RESULT_ERROR:
			return brotli_fail(d);
		}
	}
	return (ssize_t)n;
}

static ssize_t
lzma_fail(struct decode *d, lzma_ret rc)
{
	switch (rc) {
	case LZMA_FORMAT_ERROR:
		return fail(d, "not in this encoding");
	case LZMA_BUF_ERROR:
		return fail(d, "cut short");
	case LZMA_MEM_ERROR:
		return fail_unknown(d, "no memory");
	case LZMA_MEMLIMIT_ERROR:
		return fail(d, "it takes too much memory to decode");
	case LZMA_OPTIONS_ERROR:
		return fail(d, "it uses options that are not supported");
	default:
		return fail(d, "damaged");
	}
}

static ssize_t
read_lzma(struct decode *d, void *p, size_t n)
{
	lzma_stream *s = &d->stream;
	lzma_action action = LZMA_RUN;
	lzma_ret rc;

	s->next_out = p;
	s->avail_out = n;
	while (s->avail_out > 0) {
		if (s->avail_in == 0 && action == LZMA_RUN) {
			switch (fill(d)) {
			case 1:
				s->next_in = d->next;
				s->avail_in = d->avail;
				break;
			case 0:
				action = LZMA_FINISH;
				break;
			default:
				return -1;
			}
		}
		rc = lzma_code(s, action);
		if (rc == LZMA_STREAM_END) {
			/* lzip leaves what is no member, lzma all behind. */
			if (end_stream(d, s->avail_in) == -1)
				return -1;
			break;
		}
		if (rc != LZMA_OK)
			return lzma_fail(d, rc);
	}
	return (ssize_t)(n - s->avail_out);
}

ssize_t
decode_read(struct decode *d, void *p, size_t n)
{
	ssize_t r;

	if (d->end || n == 0)
		return 0;
	if (d->encoding == ENCODING_BROTLI)
		return read_brotli(d, p, n);
	if (d->lzma)
		return read_lzma(d, p, n);
	if (d->encoding != ENCODING_NONE)
		return read_archive(d, p, n);
	if ((r = file_read_full(d->fd, p, n)) == -1)
		return fail_unknown(d, "unreadable");
	return r;
}

bool
decode_unknown(const struct decode *d)
{
	return d->unknown;
}

bool
decode_too_large(const struct decode *d)
{
	return d->too_large;
}

const char *
decode_error(const struct decode *d)
{
	return d->error;
}
