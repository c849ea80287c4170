#include "config.h"

#include "bundle.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>

#include "file.h"
#include "index.h"
#include "log.h"
#include "storepath.h"

#define CHUNK ((size_t)64 << 10)

struct format {
	const char *suffix;
	const char *content_type;
	int (*add_filter)(struct archive *a);
};

static const struct format formats[] = {
	{ ".closure.tar", "application/x-tar", NULL },
	{ ".closure.tar.gz", "application/gzip",
	    archive_write_add_filter_gzip },
	{ ".closure.tar.zst", "application/zstd",
	    archive_write_add_filter_zstd },
};

struct bundle {
	struct reads *rd;
	int slot; /* a lock, see take_slot; -1 */
	struct request *r;
	const struct format *format;
	struct hash_part hash_part;
	struct index_closure closure;
};

static const struct format *
parse_path(const char *path, struct hash_part *hp)
{
	size_t i;

	if (strlen(path) < HASH_PART_LEN ||
	    hash_part_parse(path, HASH_PART_LEN, hp) == -1)
		return NULL;
	for (i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
		if (strcmp(path + HASH_PART_LEN, formats[i].suffix) == 0)
			return &formats[i];
	return NULL;
}

bool
bundle_path_ok(const char *path)
{
	struct hash_part hp;

	return parse_path(path, &hp) != NULL;
}

static la_ssize_t
write_out(struct archive *a, void *arg, const void *p, size_t n)
{
	struct bundle *b = arg;

	if (reply_write(b->r, p, n) == 0)
		return (la_ssize_t)n;
	archive_set_error(a, EPIPE, "the client has gone");
	return -1;
}

/* The header of a regular file; same bytes for the same closure every time. */
static int
add_header(struct archive *a, const char *name, uint64_t size)
{
	struct archive_entry *e;
	int rc;

	if ((e = archive_entry_new()) == NULL)
		return -1;
	archive_entry_set_pathname(e, name);
	archive_entry_set_size(e, (la_int64_t)size);
	archive_entry_set_filetype(e, AE_IFREG);
	archive_entry_set_perm(e, 0644);
	archive_entry_set_mtime(e, 0, 0);
	rc = archive_write_header(a, e) == ARCHIVE_OK ? 0 : -1;
	archive_entry_free(e);
	return rc;
}

static int
add_text(struct archive *a, const char *name, const struct buf *text)
{
	if (add_header(a, name, text->len) == -1)
		return -1;
	return archive_write_data(a, text->p, text->len) ==
		(la_ssize_t)text->len
	    ? 0
	    : -1;
}

static int
add_fd(struct archive *a, int fd, uint64_t size)
{
	char *chunk;
	uint64_t left = size;
	ssize_t n;
	int rc = -1;

	if ((chunk = malloc(CHUNK)) == NULL)
		return -1;
	while (left > 0) {
		n = file_read_full(
		    fd, chunk, left < CHUNK ? (size_t)left : CHUNK);
		if (n <= 0 || archive_write_data(a, chunk, (size_t)n) != n)
			goto out;
		left -= (uint64_t)n;
	}
	rc = 0;
out:
	free(chunk);
	return rc;
}

/* A path's NAR, named by URL in its narinfo. */
static int
add_nar(struct bundle *b, struct archive *a, const char *key)
{
	struct reads *rd = b->rd;
	struct asset_row row;
	struct stat st;
	int fd, rc = -1;

	if (index_asset_get(rd->index, rd->cache, key, &row) != 1) {
		log_warnx("%s: in no row of the index", key);
		return -1;
	}
	if ((fd = rd->store->ops->open(rd->store, key)) == -1)
		log_warn("%s", key);
	else if (fstat(fd, &st) == -1 || (uint64_t)st.st_size != row.size)
		log_warnx(
		    "%s: its file has another size than the index says", key);
	else if (add_header(a, key, row.size) == 0)
		rc = add_fd(a, fd, row.size);
	if (fd != -1)
		close(fd);
	index_asset_clear(&row);
	return rc;
}

static int
add_path(struct bundle *b, struct archive *a, const char *hash_part)
{
	struct buf text = BUF_INIT, name = BUF_INIT;
	char err[256];
	struct narinfo *ni = NULL;
	int rc = -1;

	if (index_narinfo_get(
		b->rd->index, b->rd->cache, hash_part, &text, NULL) != 1)
		goto out;
	ni = narinfo_parse_stored(
	    text.p, text.len, b->rd->conf->store_dir, err, sizeof(err));
	if (ni == NULL) {
		log_warnx("index: %s.narinfo: %s", hash_part, err);
		goto out;
	}
	buf_addf(&name, "%s.narinfo", hash_part);
	if (!buf_failed(&name) && add_nar(b, a, ni->nar.s) == 0)
		rc = add_text(a, buf_str(&name), &text);
out:
	narinfo_free(ni);
	buf_free(&text);
	buf_free(&name);
	return rc;
}

static int
add_all(struct bundle *b, struct archive *a)
{
	struct buf info = BUF_INIT;
	size_t i;
	int rc;

	reads_cache_info(b->rd->conf, &info);
	rc = buf_failed(&info) ? -1 : add_text(a, "nix-cache-info", &info);
	buf_free(&info);
	for (i = 0; i < b->closure.count && rc == 0; i++)
		rc = add_path(b, a, b->closure.hash_parts[i]);
	return rc;
}

static int
produce(struct request *r, void *arg)
{
	struct bundle *b = arg;
	struct archive *a;
	int rc = -1;

	b->r = r;
	if ((a = archive_write_new()) == NULL)
		return -1;
	/* Names and sizes that fit plain ustar are written as that. */
	if (archive_write_set_format_pax_restricted(a) != ARCHIVE_OK ||
	    (b->format->add_filter != NULL &&
		b->format->add_filter(a) != ARCHIVE_OK) ||
	    archive_write_set_bytes_per_block(a, (int)CHUNK) != ARCHIVE_OK ||
	    archive_write_set_bytes_in_last_block(a, 1) != ARCHIVE_OK ||
	    archive_write_open(a, b, NULL, write_out, NULL) != ARCHIVE_OK)
		goto out;
	if (add_all(b, a) == -1) {
		/* Nothing more is sent: half a bundle must not look whole. */
		archive_write_fail(a);
		goto out;
	}
	if (archive_write_close(a) == ARCHIVE_OK)
		rc = 0;
out:
	if (rc == -1)
		log_warnx("%s%s: cut: %s", b->hash_part.s, b->format->suffix,
		    archive_error_string(a) != NULL ? archive_error_string(a)
						    : "see above");
	archive_write_free(a);
	return rc;
}

static void
done(void *arg)
{
	struct bundle *b = arg;

	if (b->slot != -1)
		close(b->slot);
	index_closure_clear(&b->closure);
	free(b);
}

/*
 * Making a bundle takes a processor and reads a whole closure, and nobody needs
 * a token for it: as many at once, of all processes, as evaluations.  0 or -1
 * with errno, EWOULDBLOCK when they are all busy.
 */
static int
take_slot(struct bundle *b)
{
	const struct conf *c = b->rd->conf;
	int dir;

	dir = file_open_dir(AT_FDCWD, c->drv_state_dir, 0, false);
	if (dir == -1)
		return -1;
	b->slot = file_lock_one(dir, "bundle", c->drv_jobs);
	close(dir);
	return b->slot == -1 ? -1 : 0;
}

static int
busy(struct request *r)
{
	if (errno != EWOULDBLOCK) {
		log_warn("bundles");
		return reply_text(r, 500, "the server can't make a bundle now");
	}
	reply_header(r, "Retry-After", "5");
	return reply_text(r, 503,
	    "as many bundles as drv_jobs allows are being made: try again");
}

int
bundle_get(struct reads *rd, struct request *r)
{
	struct bundle *b;
	int found, status;

	if ((b = calloc(1, sizeof(*b))) == NULL)
		return reply_text(r, 500, "the server has no memory left");
	b->rd = rd;
	b->slot = -1;
	b->format = parse_path(request_path(r), &b->hash_part);
	found = b->format == NULL
	    ? 0
	    : index_closure(rd->index, rd->cache, b->hash_part.s, &b->closure);
	if (found != 1) {
		done(b);
		return found == 0
		    ? reply_empty(r, 404)
		    : reply_text(r, 500, "the server can't read its index");
	}
	if (request_method(r) != HTTP_HEAD && take_slot(b) == -1) {
		status = busy(r);
		done(b);
		return status;
	}
	reply_header(r, "Content-Type", "%s", b->format->content_type);
	reply_header(r, "Cache-Control", "public, max-age=3600");
	return reply_stream(r, 200, produce, done, b);
}
