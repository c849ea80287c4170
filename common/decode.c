#include "config.h"

#include "decode.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>
#include <brotli/decode.h>

#include "file.h"

#define CHUNK ((size_t)64 << 10)

struct decode {
	enum encoding encoding;
	int fd;
	struct archive *archive;
	BrotliDecoderState *brotli;
	uint8_t in[CHUNK]; /* brotli: input not used yet */
	const uint8_t *next;
	size_t avail;
	bool open; /* libarchive has seen the beginning */
	off_t start; /* libarchive: where the input begins in the file */
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
	case ENCODING_XZ:
		return ARCHIVE_FILTER_XZ;
	case ENCODING_ZSTD:
		return ARCHIVE_FILTER_ZSTD;
	case ENCODING_BZIP2:
		return ARCHIVE_FILTER_BZIP2;
	case ENCODING_LZ4:
		return ARCHIVE_FILTER_LZ4;
	case ENCODING_NONE:
	case ENCODING_BROTLI:
	case ENCODING_UNKNOWN:
		break;
	}
	return ARCHIVE_FILTER_NONE;
}

static ssize_t
fail(struct decode *d, const char *why)
{
	snprintf(
	    d->error, sizeof(d->error), "%s", why != NULL ? why : "damaged");
	return -1;
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
		return fail(d, "unreadable");
	if (archive_filter_bytes(d->archive, -1) != size - d->start)
		return fail(d, "bytes behind its end");
	d->end = true;
	return 0;
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
	if (archive_read_open_fd(d->archive, d->fd, CHUNK) != ARCHIVE_OK)
		return fail(d, archive_error_string(d->archive));
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
		return fail(d, archive_error_string(d->archive));
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
		return fail(d, archive_error_string(d->archive));
	return r > 0 ? (ssize_t)r : end_archive(d);
}

/* Fill the input of the decoder: 0, or -1 at the end of the file or worse. */
static int
fill(struct decode *d)
{
	ssize_t r;

	if ((r = file_read_full(d->fd, d->in, sizeof(d->in))) <= 0)
		return -1;
	d->next = d->in;
	d->avail = (size_t)r;
	return 0;
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
			if (fill(d) == -1)
				return fail(d, "cut short");
			break;
		case BROTLI_DECODER_RESULT_SUCCESS:
			if (d->avail > 0 || fill(d) == 0)
				return fail(d, "bytes behind its end");
			d->end = true;
			return (ssize_t)(n - room);
		case BROTLI_DECODER_RESULT_ERROR:
			return fail(d, "not in this encoding, or damaged");
		}
	}
	return (ssize_t)n;
}

ssize_t
decode_read(struct decode *d, void *p, size_t n)
{
	ssize_t r;

	if (d->end || n == 0)
		return 0;
	if (d->encoding == ENCODING_BROTLI)
		return read_brotli(d, p, n);
	if (d->encoding != ENCODING_NONE)
		return read_archive(d, p, n);
	if ((r = file_read_full(d->fd, p, n)) == -1)
		return fail(d, "unreadable");
	return r;
}

const char *
decode_error(const struct decode *d)
{
	return d->error;
}
