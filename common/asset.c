#include "config.h"

#include "asset.h"

#include <sys/stat.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "log.h"

#define SECRET_MAX 4096

/* The store of packages; make: its directory, if it has one. */
static struct asset_store *
open_main(const struct conf *conf, bool write, bool make)
{
	switch (conf->asset_store) {
	case CONF_STORE_FILE:
		return asset_file_open(
		    conf->state_dir, asset_file_dir(conf), make);
	case CONF_STORE_GLITCH:
		return asset_glitch_open(conf, write);
	case CONF_STORE_S3:
		return asset_s3_open(conf, write);
	}
	return NULL;
}

static struct asset_store *
store_open(const struct conf *conf, const char *cache, bool write)
{
	if (strcmp(cache, CACHE_DRV) == 0)
		return asset_file_open(conf->state_dir, "drvs", true);
	/* Files of a time with asset_store = file are not public either. */
	if (asset_file_place(conf) == -1)
		return NULL;
	return open_main(conf, write, true);
}

struct asset_store *
asset_store_open(const struct conf *conf, const char *cache)
{
	return store_open(conf, cache, true);
}

struct asset_store *
asset_store_open_read(const struct conf *conf, const char *cache)
{
	return store_open(conf, cache, false);
}

struct asset_store *
asset_store_open_probe(const struct conf *conf, bool write)
{
	return open_main(conf, write, false);
}

void
asset_store_close(struct asset_store *as)
{
	if (as != NULL)
		as->ops->close(as);
}

void
asset_store_describe(const struct conf *conf, struct buf *out)
{
	switch (conf->asset_store) {
	case CONF_STORE_FILE:
		buf_adds(out, "file");
		break;
	case CONF_STORE_GLITCH:
		buf_addf(out, "glitch %s", conf->glitch_project);
		break;
	case CONF_STORE_S3:
		buf_addf(out, "s3 %s/%s/%s", conf->s3_endpoint, conf->s3_bucket,
		    conf->s3_prefix);
		break;
	}
}

bool
asset_status_temporary(int status)
{
	return status == 408 || status == 429 || status >= 500;
}

void
asset_url_encode(struct buf *b, const char *s, bool slash)
{
	/* RFC 3986, 2.3: what S3 wants bare in a signed path too. */
	static const char plain[] = "abcdefghijklmnopqrstuvwxyz"
				    "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789-._~";

	for (; *s != '\0'; s++) {
		if (strchr(plain, *s) != NULL || (slash && *s == '/'))
			buf_addch(b, *s);
		else
			buf_addf(b, "%%%02X", (unsigned char)*s);
	}
}

/* The text of the first <name> element, its length in *n; NULL: none. */
static const char *
xml_text(const char *s, const char *name, size_t *n)
{
	size_t len = strlen(name);
	const char *p;

	for (p = s; (p = strchr(p, '<')) != NULL; p++)
		if (strncmp(p + 1, name, len) == 0 && p[1 + len] == '>') {
			p += len + 2;
			*n = strcspn(p, "<");
			return p;
		}
	return NULL;
}

void
asset_xml_error(const struct buf *body, struct buf *why, char code[64])
{
	const char *s = buf_str(body), *c, *m;
	size_t nc = 0, nm = 0, i, from = why->len;

	code[0] = '\0';
	if ((c = xml_text(s, "Code", &nc)) != NULL && nc < 64) {
		memcpy(code, c, nc);
		code[nc] = '\0';
		buf_addf(why, ": %s", code);
	}
	m = xml_text(s, "Message", &nm);
	if (m != NULL && nm > 0)
		buf_addf(why, ": %.*s", (int)(nm < 300 ? nm : 300), m);
	/* One line, whatever it says. */
	for (i = from; i < why->len; i++)
		if ((unsigned char)why->p[i] < ' ')
			why->p[i] = ' ';
}

void
asset_scrub(struct buf *b, size_t from, const char *secret)
{
	size_t n = strlen(secret);
	char *p;

	if (b->p == NULL || n < 4 || from > b->len)
		return;
	/* Shorter ones are none, and "***" would not be shorter. */
	for (p = b->p + from; (p = strstr(p, secret)) != NULL;) {
		memcpy(p, "***", 3);
		/* With the NUL. */
		memmove(p + 3, p + n, b->len - (size_t)(p - b->p) - n + 1);
		b->len -= n - 3;
		p += 3;
	}
}

char *
asset_read_secret(const char *what, const char *path)
{
	struct buf b = BUF_INIT_MAX(SECRET_MAX + 1), advice = BUF_INIT;
	char *s = NULL;

	if (file_read_secret(path, SECRET_MAX, &b) == -1) {
		if (errno == EPERM) {
			file_secret_advice(path, &advice);
			log_warnx("%s: %s: %s", what, path, buf_str(&advice));
			buf_free(&advice);
		} else
			log_warn("%s: %s", what, path);
	} else if (strlen(buf_str(&b)) != b.len)
		log_warnx("%s: %s: not text", what, path);
	else
		s = strdup(buf_str(&b));
	if (b.p != NULL)
		explicit_bzero(b.p, b.cap);
	buf_free(&b);
	return s;
}

static bool
same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

bool
asset_file_changed(const char *path, struct asset_file_id *id)
{
	struct stat st;

	if (stat(path, &st) == -1 ||
	    (st.st_dev == id->dev && st.st_ino == id->ino &&
		st.st_size == id->size && same_time(&st.st_mtim, &id->mtime) &&
		same_time(&st.st_ctim, &id->ctime)))
		return false;
	id->dev = st.st_dev;
	id->ino = st.st_ino;
	id->size = st.st_size;
	id->mtime = st.st_mtim;
	id->ctime = st.st_ctim;
	return true;
}

enum asset_rc
asset_compare(const struct asset_source *src, int status, int64_t length,
    const char *etag, struct buf *why)
{
	const char *put = src->receipt != NULL ? src->receipt->etag : "";

	if (status != 200) {
		buf_addf(why, "read back: status %d", status);
		return status == 404 || status == 410 ? ASSET_MISSING
						      : ASSET_RETRY;
	}
	if (length < 0) {
		buf_adds(why, "read back: the answer has no Content-Length");
		return ASSET_RETRY;
	}
	if ((uint64_t)length != src->size) {
		buf_addf(why,
		    "read back: %" PRId64 " bytes instead of %" PRIu64, length,
		    src->size);
		return ASSET_MISSING;
	}
	/* A weak one is a proxy's word, not the store's. */
	if (put[0] == '"' && etag[0] == '"' && strcmp(put, etag) != 0) {
		buf_addf(why, "read back: ETag %s instead of %s", etag, put);
		return ASSET_RETRY;
	}
	return ASSET_OK;
}

enum asset_rc
asset_read_result(
    int status, int64_t length, const struct buf *body, struct buf *why)
{
	char code[64];

	if (status == 200 && length >= 0)
		return ASSET_OK;
	if (status == 200) {
		/* Cut short, it would look as if that were all. */
		buf_adds(why, "read: the answer has no Content-Length");
		return ASSET_RETRY;
	}
	buf_addf(why, "read: status %d", status);
	asset_xml_error(body, why, code);
	/* Of a bucket that is not there nothing is known. */
	return (status == 404 || status == 410) &&
		strcmp(code, "NoSuchBucket") != 0
	    ? ASSET_MISSING
	    : ASSET_RETRY;
}
