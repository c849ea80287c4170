/*
 * Decompression of a file, by libarchive's raw filters, libbrotlidec and
 * liblzma.
 *
 * The memory is bounded whatever the file claims to need: a file whose window
 * or dictionary is over DECODE_WINDOW_MAX is refused.  libzstd and libbrotli
 * stop there by themselves (ZSTD_WINDOWLOG_LIMIT_DEFAULT; brotli's "large
 * window" is off); the other formats that libarchive reads have windows of a
 * few megabytes at most.  libarchive lets xz take a gigabyte and doesn't limit
 * lzip at all, so these go to liblzma, which has a limit we set.
 *
 * A struct decode reads one file from its beginning to its end and belongs to
 * one thread.
 */
#ifndef DECODE_H
#define DECODE_H

#include <sys/types.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum encoding {
	ENCODING_NONE,
	ENCODING_GZIP,
	ENCODING_XZ,
	ENCODING_ZSTD,
	ENCODING_BROTLI,
	ENCODING_BZIP2,
	ENCODING_LZ4,
	/* Of NARs only: no Content-Encoding is called this. */
	ENCODING_LZIP,
	ENCODING_LZMA,
	ENCODING_COMPRESS,
	ENCODING_UNKNOWN,
};

/*
 * The encoding a Content-Encoding header names, as Nix writes it (its own
 * names for compressions: br, gzip, xz, zstd, bzip2, lz4, none).  NULL and
 * "identity" are none.
 */
enum encoding encoding_parse(const char *s);

/* What encoding_parse takes, for messages. */
#define ENCODING_NAMES "br, gzip, xz, zstd, bzip2, lz4"

#define DECODE_WINDOW_MAX ((uint64_t)128 << 20)

struct decode;

/*
 * Decode fd, which stays the caller's, from its current offset.  NULL when
 * there is no memory.  e is not ENCODING_UNKNOWN.
 */
struct decode *decode_new(enum encoding e, int fd);
void decode_free(struct decode *d);

/*
 * The next bytes: their number, 0 at the end, -1 when the input is not of this
 * encoding, is cut short, or goes on behind its end (decode_error says which).
 */
ssize_t decode_read(struct decode *d, void *p, size_t n);

/* Did it fail because the file could not be read, or for want of memory?  Then
 * nothing is known of the file. */
bool decode_unknown(const struct decode *d);

/* Did it fail because the file wants more memory than we give? */
bool decode_too_large(const struct decode *d);

/* Why decode_read failed, one line. */
const char *decode_error(const struct decode *d);

#endif
