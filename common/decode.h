/*
 * Decompression of a file, by libarchive's raw filters and libbrotlidec.
 *
 * A struct decode reads one file from its beginning to its end and belongs to
 * one thread.
 */
#ifndef DECODE_H
#define DECODE_H

#include <sys/types.h>

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

/* Why decode_read failed, one line. */
const char *decode_error(const struct decode *d);

#endif
