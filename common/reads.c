#include "config.h"

#include "reads.h"

#include <sys/stat.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base32.h"
#include "hash.h"
#include "key.h"
#include "log.h"
#include "range.h"

/* A NAR's key is the digest of its bytes: what it names never changes. */
#define CACHE_FOREVER "public, max-age=31536000, immutable"
/* The others may be replaced; the web server's configuration says the same. */
#define CACHE_HOUR "public, max-age=3600"

#define ETAG_BYTES 16 /* of the digest */
#define ETAG_LEN (2 + 2 * ETAG_BYTES)

struct object {
	char etag[ETAG_LEN + 1];
	uint64_t size;
};

void
reads_cache_info(const struct conf *conf, struct buf *out)
{
	buf_addf(out,
	    "StoreDir: %s\nWantMassQuery: %d\nPriority: %" PRIu64 "\n",
	    conf->store_dir, conf->want_mass_query ? 1 : 0, conf->priority);
}

static void
set_etag(struct object *o, const struct digest *d)
{
	o->etag[0] = '"';
	hex_encode(d->b, ETAG_BYTES, o->etag + 1);
	memcpy(o->etag + ETAG_LEN - 1, "\"", 2);
}

/* The headers every object has. */
static void
object_headers(struct request *r, enum key_kind kind, const struct object *o)
{
	reply_header(r, "Content-Type", "%s", key_content_type(kind));
	reply_header(r, "Cache-Control", "%s",
	    kind == KEY_NAR ? CACHE_FOREVER : CACHE_HOUR);
	if (o != NULL)
		reply_header(r, "ETag", "%s", o->etag);
}

/* The Range that counts, or NULL. */
static const char *
wanted_range(const struct request *r, const struct object *o)
{
	return request_method(r) == HTTP_GET &&
		range_counts(request_param(r, "HTTP_IF_RANGE"), o->etag)
	    ? request_param(r, "HTTP_RANGE")
	    : NULL;
}

/* Answer with an object that is in memory; b is taken. */
static int
send_text(struct request *r, enum key_kind kind, struct buf *b)
{
	struct digest d;
	struct object o;

	hash_sha256(buf_str(b), b->len, &d);
	set_etag(&o, &d);
	object_headers(r, kind, &o);
	if (range_etag_listed(request_param(r, "HTTP_IF_NONE_MATCH"), o.etag)) {
		buf_free(b);
		return reply_empty(r, 304);
	}
	return reply_buf(r, 200, b);
}

/* Answer with the open file fd, which is taken. */
static int
send_fd(struct request *r, enum key_kind kind, const struct object *o, int fd)
{
	uint64_t from = 0, n = o->size;
	int status = 200;

	object_headers(r, kind, o);
	reply_header(r, "Accept-Ranges", "bytes");
	if (range_etag_listed(
		request_param(r, "HTTP_IF_NONE_MATCH"), o->etag)) {
		close(fd);
		return reply_empty(r, 304);
	}
	switch (range_parse(wanted_range(r, o), o->size, &from, &n)) {
	case 1:
		status = 206;
		reply_header(r, "Content-Range",
		    "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, from,
		    from + n - 1, o->size);
		break;
	case -1:
		close(fd);
		reply_header(r, "Content-Range", "bytes */%" PRIu64, o->size);
		return reply_empty(r, 416);
	default:
		from = 0;
		n = o->size;
		break;
	}
	return reply_file(r, status, fd, (off_t)from, n);
}

/* The web server decodes what names a file: what is special is encoded. */
static void
add_encoded(struct buf *b, const char *s)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyz"
				    "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789-._~/";

	for (; *s != '\0'; s++) {
		if (strchr(plain, *s) != NULL)
			buf_addch(b, *s);
		else
			buf_addf(b, "%%%02X", (unsigned char)*s);
	}
}

/* How may the web server be told to send a file? */
enum send {
	SEND_SELF, /* not at all */
	SEND_ACCEL, /* nginx: an address of its own */
	SEND_FILE, /* lighttpd: the file's path */
};

static enum send
send_how(const struct request *r)
{
	const char *s = request_param(r, "TMPNIX_SEND");

	return s == NULL		   ? SEND_SELF
	    : strcmp(s, "x-accel") == 0	   ? SEND_ACCEL
	    : strcmp(s, "x-sendfile") == 0 ? SEND_FILE
					   : SEND_SELF;
}

/* Let the web server send row's file.  It makes its own ETag of the file, and
 * knows ranges. */
static int
send_by_server(struct reads *rd, struct request *r, enum key_kind kind,
    enum send how, const struct asset_row *row)
{
	bool spooled = row->spool[0] != '\0';
	const char *store = rd->store->dir;
	struct buf to = BUF_INIT;

	if (how == SEND_ACCEL)
		buf_addf(&to, "/tmpnix-files/%s/", spooled ? "spool" : store);
	else {
		add_encoded(&to, rd->conf->state_dir);
		buf_addf(&to, "/%s/", spooled ? "spool/ready" : store);
	}
	add_encoded(&to, spooled ? row->spool : row->key);
	if (buf_failed(&to)) {
		buf_free(&to);
		errno = ENOMEM;
		return -1;
	}
	object_headers(r, kind, NULL);
	reply_header(r, how == SEND_ACCEL ? "X-Accel-Redirect" : "X-Sendfile",
	    "%s", buf_str(&to));
	buf_free(&to);
	return reply_empty(r, 200);
}

/* Send the reader to where the store has it.  -1: no memory. */
static int
send_redirect(struct reads *rd, struct request *r, const struct key *k,
    const struct asset_row *row)
{
	const struct asset_ops *ops = rd->store->ops;
	uint64_t expires = rd->store->url_expires;
	char *made = NULL;

	if (ops->read_url != NULL &&
	    (made = ops->read_url(rd->store, row->key, row->url,
		 request_method(r) == HTTP_HEAD ? "HEAD" : "GET")) == NULL) {
		errno = ENOMEM;
		return -1;
	}
	reply_header(r, "Content-Type", "%s", key_content_type(k->kind));
	/* Kept for no longer than half of the time that it is good for. */
	if (expires == 0)
		reply_header(r, "Cache-Control", "%s", CACHE_HOUR);
	else
		reply_header(r, "Cache-Control", "private, max-age=%" PRIu64,
		    expires / 2 < 3600 ? expires / 2 : 3600);
	reply_header(r, "Location", "%s", made != NULL ? made : row->url);
	free(made);
	return reply_empty(r, 302);
}

/*
 * Answer with the bytes of row.  -1 with nothing answered and errno set: ENOENT
 * when they are not where row says (the relay moved them meanwhile, or they are
 * lost), else that they can't be read just now.
 */
static int
send_row(struct reads *rd, struct request *r, const struct key *k,
    const struct asset_row *row)
{
	enum send how = send_how(r);
	struct object o;
	struct stat st;
	bool spooled = row->spool[0] != '\0';
	int fd;

	if (!spooled && row->url != NULL)
		return send_redirect(rd, r, k, row);
	errno = ENOENT;
	if (!spooled && rd->store->ops->open == NULL)
		return -1; /* another store had it */
	fd = spooled ? spool_read(rd->spool, row->spool)
		     : rd->store->ops->open(rd->store, row->key);
	if (fd == -1)
		return -1;
	if (fstat(fd, &st) == -1 || !S_ISREG(st.st_mode) ||
	    (uint64_t)st.st_size != row->size) {
		log_warnx("%s: its file has another size than the index says",
		    row->key);
		close(fd);
		errno = ENOENT;
		return -1;
	}
	if (how != SEND_SELF) {
		close(fd);
		return send_by_server(rd, r, k->kind, how, row);
	}
	set_etag(&o, &row->sha256);
	o.size = row->size;
	return send_fd(r, k->kind, &o, fd);
}

static int
broken(struct request *r)
{
	return reply_text(r, 500, "the server can't read its index");
}

static int read_object(
    struct reads *rd, struct request *r, const struct key *k);

/* The listing of the NAR as it was verified, before one that was sent. */
static int
read_listing(struct reads *rd, struct request *r, const struct key *k)
{
	struct buf text = BUF_INIT;

	switch (
	    index_listing_get(rd->index, rd->cache, k->hash_part.s, &text)) {
	case 1:
		return send_text(r, KEY_LS, &text);
	case 0:
		return read_object(rd, r, k);
	default:
		buf_free(&text);
		return broken(r);
	}
}

/*
 * A HEAD of a NAR asks whether it need be sent.  It must be, once more, when it
 * has left us for a store on the network before it was verified: its narinfo
 * would be refused for ever.
 */
static bool
send_again(struct reads *rd, const struct request *r, const struct key *k,
    const struct asset_row *row)
{
	struct verified v;

	if (k->kind != KEY_NAR || request_method(r) != HTTP_HEAD ||
	    rd->conf->verify != CONF_VERIFY_NAR || row->url == NULL ||
	    row->spool[0] != '\0')
		return false;
	if (index_nar_get(rd->index, rd->cache, k->s, &v) == 0)
		return true;
	verified_clear(&v);
	return false;
}

static int
read_object(struct reads *rd, struct request *r, const struct key *k)
{
	struct asset_row row;
	int tries, found, saved, status;

	/* A second look: the relay may move the bytes between row and open. */
	for (tries = 0; tries < 2; tries++) {
		found = index_asset_get(rd->index, rd->cache, k->s, &row);
		if (found == -1)
			return broken(r);
		if (found == 0)
			return reply_empty(r, 404);
		status = send_again(rd, r, k, &row) ? reply_empty(r, 404)
						    : send_row(rd, r, k, &row);
		saved = errno;
		index_asset_clear(&row);
		if (status != -1)
			return status;
		if (saved != ENOENT) {
			errno = saved;
			log_warn("%s", k->s);
			return reply_text(
			    r, 503, "%s: the server can't read it now", k->s);
		}
	}
	log_warnx("%s: in the index, but its bytes are not there", k->s);
	return reply_empty(r, 404);
}

/* May a narinfo be a redirect too? */
static bool
redirects(const struct reads *rd, const struct request *r)
{
	switch (rd->conf->narinfo) {
	case CONF_NARINFO_INLINE:
		return false;
	case CONF_NARINFO_AUTO:
	case CONF_NARINFO_REDIRECT:
		break;
	}
	/* A HEAD asks whether it is here: that is for the index to say. */
	return rd->store->ops->open == NULL && request_method(r) == HTTP_GET;
}

/*
 * The index has another text than was written.  That is noted: an event that
 * rare may write.  A HEAD asks whether the path is to be sent, and sent again
 * it is healed; whoever reads it must not believe that it was never here.
 */
static int
send_spoiled(struct reads *rd, struct request *r, const struct key *k)
{
	log_warnx("%s: its text in the index is spoiled: push the path again, "
		  "or run tmpnix fsck --repair",
	    k->s);
	index_spoiled_note(
	    rd->index, rd->cache, k->hash_part.s, (int64_t)time(NULL));
	if (request_method(r) == HTTP_HEAD)
		return reply_empty(r, 404);
	return reply_text(r, 500, "%s: the server's index is spoiled", k->s);
}

static int
read_narinfo(struct reads *rd, struct request *r, const struct key *k)
{
	struct buf text = BUF_INIT;
	struct asset_row row;
	int status = -1;

	switch (index_path_lost(rd->index, rd->cache, k->hash_part.s)) {
	case 0:
		break;
	case 1: /* a client that hears so sends it again */
		return reply_empty(r, 404);
	default:
		return broken(r);
	}
	if (redirects(rd, r) &&
	    index_asset_get(rd->index, rd->cache, k->s, &row) == 1) {
		if (row.state == ASSET_STORED && row.url != NULL)
			status = send_redirect(rd, r, k, &row);
		index_asset_clear(&row);
		if (status != -1)
			return status;
	}
	status = index_narinfo_get(
	    rd->index, rd->cache, k->hash_part.s, &text, NULL);
	if (status == 1)
		return send_text(r, KEY_NARINFO, &text);
	buf_free(&text);
	switch (status) {
	case 0:
		return reply_empty(r, 404);
	case INDEX_SPOILED:
		return send_spoiled(rd, r, k);
	default:
		return broken(r);
	}
}

int
reads_open(struct reads *rd, const struct conf *conf, const char *cache,
    struct asset_store *store, struct spool_dir *spool, enum index_mode mode)
{
	rd->conf = conf;
	rd->cache = cache;
	rd->store = store;
	rd->spool = spool;
	rd->index = index_open(conf->state_dir, mode);
	return rd->index != NULL ? 0 : -1;
}

unsigned int
reads_scopes(const struct request *r, unsigned int scope)
{
	struct key k;

	if (scope != SCOPE_PULL)
		return scope;
	if (request_method(r) == HTTP_HEAD)
		return SCOPE_PULL | SCOPE_PUSH;
	if (key_from_request(request_path(r), request_query(r), &k) == -1)
		return scope;
	switch (k.kind) {
	case KEY_CACHE_INFO:
	case KEY_NARINFO:
	case KEY_REALISATION:
	case KEY_BUILD_TRACE:
		return SCOPE_PULL | SCOPE_PUSH;
	default:
		return scope;
	}
}

int
reads_moved(const struct reads *rd, struct request *r)
{
	if (!index_moved(rd->index))
		return 0;
	return reply_text(r, 503,
	    "the server's index was replaced or removed: it must be started "
	    "again");
}

int
reads_key(void *state, struct request *r)
{
	struct reads *rd = state;
	struct buf text = BUF_INIT;
	struct key k;
	int status;

	if (key_from_request(request_path(r), request_query(r), &k) == -1)
		return reply_empty(r, 404);
	if ((status = reads_moved(rd, r)) != 0)
		return status;
	switch (k.kind) {
	case KEY_CACHE_INFO:
		reads_cache_info(rd->conf, &text);
		return send_text(r, KEY_CACHE_INFO, &text);
	case KEY_NARINFO:
		return read_narinfo(rd, r, &k);
	case KEY_LS:
		return read_listing(rd, r, &k);
	default:
		return read_object(rd, r, &k);
	}
}
