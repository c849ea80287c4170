/*
 * Any S3-compatible store: one PUT an object, signed by libcurl, read back by
 * a HEAD.  The payload's digest is signed along, so the store itself refuses
 * bytes that changed on their way.
 *
 * The index holds an object's plain address in the bucket and nothing that
 * expires: what readers are sent to, a public URL or a presigned one, is made
 * when they ask.
 *
 * The credentials' file is looked at before each use: where it has changed they
 * are read again, so that nobody has to restart anything after a rotation.
 *
 * To come: multipart uploads for more than LIMIT bytes.
 */
#include "config.h"

#include "asset.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "asset_listing.h"
#include "asset_sigv4.h"
#include "base32.h"
#include "http.h"
#include "log.h"

/* Amazon S3, "Uploading objects": the most that one PUT may carry. */
#define LIMIT ((uint64_t)5 << 30)
#define ERROR_BODY_MAX ((size_t)8 << 10)
/* A page of a listing has a thousand keys of up to 3 KiB when encoded. */
#define PAGE_KEYS "1000"
#define PAGE_MAX ((size_t)8 << 20)

struct credentials {
	char *key_id;
	char *secret;
	unsigned int version; /* how often they were read */
};

struct asset_s3 {
	struct asset_store store;
	const struct conf *conf;
	struct http_pool *http;
	pthread_mutex_t mutex; /* of file and credentials */
	struct asset_file_id file;
	struct credentials credentials;
	const char *scheme; /* "https://" or "http://" */
	struct buf host; /* that requests go to */
	struct buf base; /* path in front of the prefix, ends with "/" */
};

static void
object_path(const struct asset_s3 *s3, const char *key, struct buf *out)
{
	buf_adds(out, buf_str(&s3->base));
	buf_adds(out, s3->conf->s3_prefix);
	asset_url_encode(out, key, true);
}

static void
object_url(const struct asset_s3 *s3, const char *key, struct buf *out)
{
	buf_addf(out, "%s%s", s3->scheme, buf_str(&s3->host));
	object_path(s3, key, out);
}

static void
public_url(const struct asset_s3 *s3, const char *key, struct buf *out)
{
	buf_addf(out, "%s/%s", s3->conf->s3_public_url, s3->conf->s3_prefix);
	asset_url_encode(out, key, true);
}

/* Credentials ------------------------------------------------------------- */

static void
wipe(char **s)
{
	if (*s != NULL)
		explicit_bzero(*s, strlen(*s));
	free(*s);
	*s = NULL;
}

static void
credentials_clear(struct credentials *c)
{
	wipe(&c->key_id);
	wipe(&c->secret);
}

/* "name = value" in line; the value to be freed, NULL when it is not that. */
static char *
setting(const char *line, size_t n, const char *name)
{
	size_t len = strlen(name);
	const char *end = line + n;

	while (line < end && (*line == ' ' || *line == '\t'))
		line++;
	if ((size_t)(end - line) <= len || strncmp(line, name, len) != 0)
		return NULL;
	line += len;
	while (line < end && (*line == ' ' || *line == '\t'))
		line++;
	if (line == end || *line++ != '=')
		return NULL;
	while (line < end && (*line == ' ' || *line == '\t'))
		line++;
	while (end > line && (unsigned char)end[-1] <= ' ')
		end--;
	return end > line ? strndup(line, (size_t)(end - line)) : NULL;
}

/* *field becomes value, unless that is NULL. */
static void
set_setting(char **field, char *value)
{
	if (value == NULL)
		return;
	wipe(field);
	*field = value;
}

/* The first two settings of a file in the form of AWS's own tools. */
static int
read_credentials(const char *path, struct credentials *c)
{
	const char *p, *lf;
	char *text;
	size_t n;

	if ((text = asset_read_secret("s3_credentials_file", path)) == NULL)
		return -1;
	for (p = text; *p != '\0'; p = *lf == '\0' ? lf : lf + 1) {
		lf = p + strcspn(p, "\n");
		n = (size_t)(lf - p);
		set_setting(&c->key_id, setting(p, n, "aws_access_key_id"));
		set_setting(&c->secret, setting(p, n, "aws_secret_access_key"));
	}
	wipe(&text);
	if (c->key_id != NULL && c->secret != NULL &&
	    strchr(c->key_id, ':') == NULL)
		return 0;
	log_warnx("s3_credentials_file: %s: it needs the lines "
		  "\"aws_access_key_id = ID\" and "
		  "\"aws_secret_access_key = SECRET\"",
	    path);
	return -1;
}

/* What is in the file now, if it is another one; what can't be used leaves the
 * old ones in force.  The mutex is held. */
static void
reread(struct asset_s3 *s3)
{
	const char *path = s3->conf->s3_credentials_file;
	struct credentials c = { NULL, NULL, s3->credentials.version + 1 };

	if (!asset_file_changed(path, &s3->file) && s3->credentials.version > 0)
		return;
	if (read_credentials(path, &c) == -1) {
		credentials_clear(&c);
		return;
	}
	credentials_clear(&s3->credentials);
	s3->credentials = c;
	if (c.version > 1)
		log_info("s3_credentials_file: %s: read again", path);
}

/* A copy of the credentials, to be cleared; -1 without memory. */
static int
get_credentials(struct asset_s3 *s3, struct credentials *c)
{
	pthread_mutex_lock(&s3->mutex);
	reread(s3);
	c->version = s3->credentials.version;
	c->key_id = strdup(s3->credentials.key_id);
	c->secret = strdup(s3->credentials.secret);
	pthread_mutex_unlock(&s3->mutex);
	if (c->key_id != NULL && c->secret != NULL)
		return 0;
	credentials_clear(c);
	return -1;
}

/* Requests ---------------------------------------------------------------- */

static bool
is_denied(int status)
{
	return status == 401 || status == 403;
}

/* One try with *c, which is read for it. */
static int
try_signed(struct asset_s3 *s3, struct http_call *call, struct credentials *c,
    struct http_answer *a, struct buf *why)
{
	memset(a, 0, sizeof(*a));
	if (get_credentials(s3, c) == -1) {
		buf_adds(why, "s3: no memory");
		return -1;
	}
	call->region = s3->conf->s3_region;
	call->key_id = c->key_id;
	call->secret = c->secret;
	return http_do(s3->http, call, a, why);
}

/*
 * As http_do, signed.  *c are the credentials it was signed by, to be cleared.
 * What was denied is asked once more when they were replaced meanwhile.
 */
static int
do_signed(struct asset_s3 *s3, struct http_call *call, struct credentials *c,
    struct http_answer *a, struct buf *why)
{
	struct credentials now = { NULL, NULL, 0 };

	if (try_signed(s3, call, c, a, why) == -1)
		return -1;
	if (!is_denied(a->status) || get_credentials(s3, &now) == -1)
		return 0;
	credentials_clear(&now);
	if (now.version == c->version)
		return 0;
	credentials_clear(c);
	buf_free(&a->body);
	return try_signed(s3, call, c, a, why);
}

/* As http_do, for what has no body; signed, or as anybody asks. */
static int
ask(struct asset_s3 *s3, struct http_call *call, bool sign,
    struct credentials *c, struct http_answer *a, struct buf *why)
{
	static const struct http_field payload = { "x-amz-content-sha256",
		"UNSIGNED-PAYLOAD" };

	if (!sign)
		return http_do(s3->http, call, a, why);
	call->headers = &payload;
	call->nheaders = 1;
	return do_signed(s3, call, c, a, why);
}

/* Where to look when the store denies what was signed by c. */
static void
add_denied(const struct asset_s3 *s3, const struct credentials *c, int status,
    const char *code, struct buf *why)
{
	/* A wrong clock is not the credentials' fault. */
	if (c->secret != NULL && is_denied(status) &&
	    strcmp(code, "RequestTimeTooSkewed") != 0)
		buf_addf(why, "; look into s3_credentials_file, %s",
		    s3->conf->s3_credentials_file);
}

/* Errors that come with 400 but are not for good. */
static bool
may_pass(const char *code)
{
	static const char *const codes[] = {
		"RequestTimeout", /* AWS's way to say 408 */
		"SlowDown",
		"XAmzContentSHA256Mismatch", /* a body changed on its way */
		"BadDigest",
	};
	size_t i;

	for (i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (strcmp(code, codes[i]) == 0)
			return true;
	return false;
}

/* The refusal of a request: temporary, or for good. */
static enum asset_rc
refused(const struct asset_s3 *s3, const struct http_answer *a,
    const struct credentials *c, const struct asset_source *src,
    const char *what, struct buf *why)
{
	size_t from = why->len;
	char code[64];

	buf_addf(why, "s3: %s: status %d", what, a->status);
	asset_xml_error(&a->body, why, code);
	if (c->secret != NULL)
		asset_scrub(why, from, c->secret);
	add_denied(s3, c, a->status, code, why);
	if (src != NULL && src->receipt != NULL)
		src->receipt->retry_after = a->retry_after;
	if (asset_status_temporary(a->status) || may_pass(code))
		return ASSET_RETRY;
	return ASSET_REFUSED;
}

static enum asset_rc
s3_put(struct asset_store *as, const struct asset_source *src, char **url,
    struct buf *why)
{
	struct asset_s3 *s3 = (struct asset_s3 *)as;
	char hex[2 * DIGEST_BYTES + 1] = "UNSIGNED-PAYLOAD";
	const struct http_field headers[] = {
		{ "Content-Type", src->content_type },
		/* As reads.c: a NAR is named by its bytes. */
		{ "Cache-Control",
		    strncmp(src->key, "nar/", 4) == 0
			? "public, max-age=31536000, immutable"
			: "public, max-age=3600" },
		{ "x-amz-content-sha256", hex },
	};
	struct http_call call = { .method = "PUT",
		.headers = headers,
		.nheaders = sizeof(headers) / sizeof(headers[0]),
		.has_body = true,
		.fd = src->fd,
		.p = src->p,
		.size = src->size,
		.body_max = ERROR_BODY_MAX };
	struct credentials c = { NULL, NULL, 0 };
	struct buf to = BUF_INIT;
	struct http_answer a;
	enum asset_rc rc = ASSET_RETRY;

	*url = NULL;
	if (src->size > LIMIT) {
		buf_adds(why, "s3: over 5 GiB, the most one PUT may have");
		return ASSET_REFUSED;
	}
	if (src->sha256 != NULL)
		hex_encode(src->sha256->b, DIGEST_BYTES, hex);
	object_url(s3, src->key, &to);
	call.url = buf_str(&to);
	if (do_signed(s3, &call, &c, &a, why) == -1)
		goto out;
	if (a.status != 200 && a.status != 201 && a.status != 204) {
		rc = refused(s3, &a, &c, src, "upload", why);
		goto out;
	}
	if (src->receipt != NULL)
		snprintf(src->receipt->etag, sizeof(src->receipt->etag), "%s",
		    a.etag);
	if ((*url = strdup(buf_str(&to))) != NULL)
		rc = ASSET_OK;
out:
	credentials_clear(&c);
	buf_free(&a.body);
	buf_free(&to);
	return rc;
}

static enum asset_rc
s3_confirm(struct asset_store *as, const struct asset_source *src,
    const char *url, struct buf *why)
{
	struct asset_s3 *s3 = (struct asset_s3 *)as;
	bool public = s3->conf->s3_public_url != NULL;
	struct http_call call = { .method = "HEAD", .url = url };
	struct credentials c = { NULL, NULL, 0 };
	struct buf to = BUF_INIT;
	struct http_answer a;
	enum asset_rc rc = ASSET_RETRY;

	/* By the way readers come, so that they will find it. */
	if (public) {
		public_url(s3, src->key, &to);
		call.url = buf_str(&to);
	}
	if (ask(s3, &call, !public, &c, &a, why) == 0) {
		rc = asset_compare(src, a.status, a.length, a.etag, why);
		add_denied(s3, &c, a.status, "", why);
		if (src->receipt != NULL)
			src->receipt->retry_after = a.retry_after;
	}
	credentials_clear(&c);
	buf_free(&a.body);
	buf_free(&to);
	return rc;
}

static enum asset_rc
s3_get(struct asset_store *as, const char *key, const char *url,
    const struct asset_sink *sink, struct buf *why)
{
	struct asset_s3 *s3 = (struct asset_s3 *)as;
	bool public = s3->conf->s3_public_url != NULL;
	struct http_call call = { .method = "GET",
		.body_max = ERROR_BODY_MAX,
		.sink = sink->add,
		.sink_arg = sink->arg };
	struct credentials c = { NULL, NULL, 0 };
	size_t from = why->len;
	struct buf to = BUF_INIT;
	struct http_answer a;
	enum asset_rc rc = ASSET_RETRY;

	(void)url;
	if (public)
		public_url(s3, key, &to);
	else
		object_url(s3, key, &to);
	call.url = buf_str(&to);
	if (ask(s3, &call, !public, &c, &a, why) == 0) {
		rc = asset_read_result(a.status, a.length, &a.body, why);
		if (c.secret != NULL)
			asset_scrub(why, from, c.secret);
		add_denied(s3, &c, a.status, "", why);
	}
	credentials_clear(&c);
	buf_free(&a.body);
	buf_free(&to);
	return rc;
}

/* Append name=value to a query. */
static void
add_parameter(struct buf *url, const char *name, const char *value)
{
	buf_addf(url, "%s=", name);
	asset_url_encode(url, value, false);
}

/* In the order of the names, which the signature wants. */
static void
list_url(const struct asset_s3 *s3, const char *after, const char *next,
    struct buf *url)
{
	const char *prefix = s3->conf->s3_prefix;
	struct buf start = BUF_INIT;

	buf_addf(
	    url, "%s%s%s?", s3->scheme, buf_str(&s3->host), buf_str(&s3->base));
	if (next != NULL) {
		add_parameter(url, "continuation-token", next);
		buf_addch(url, '&');
	}
	buf_adds(url, "encoding-type=url&list-type=2&max-keys=" PAGE_KEYS "&");
	add_parameter(url, "prefix", prefix);
	if (next == NULL && after[0] != '\0') {
		buf_addf(&start, "%s%s", prefix, after);
		buf_addch(url, '&');
		add_parameter(url, "start-after", buf_str(&start));
	}
	buf_free(&start);
}

static enum asset_rc
s3_list(struct asset_store *as, const char *after, const char *next,
    struct asset_page *page, struct buf *why)
{
	struct asset_s3 *s3 = (struct asset_s3 *)as;
	struct http_call call = { .method = "GET", .body_max = PAGE_MAX };
	struct credentials c = { NULL, NULL, 0 };
	struct buf url = BUF_INIT;
	struct http_answer a;
	enum asset_rc rc = ASSET_RETRY;

	list_url(s3, after, next, &url);
	call.url = buf_str(&url);
	if (ask(s3, &call, true, &c, &a, why) == -1)
		;
	else if (a.status != 200) {
		rc = refused(s3, &a, &c, NULL, "list", why);
		/* No such bucket: that is not to say that objects are lost. */
		if (a.status == 404)
			rc = ASSET_RETRY;
	} else
		rc = asset_listing_parse(buf_str(&a.body), a.body.len,
			 s3->conf->s3_prefix, page, why) == 0
		    ? ASSET_OK
		    : ASSET_REFUSED;
	credentials_clear(&c);
	buf_free(&a.body);
	buf_free(&url);
	return rc;
}

static char *
s3_address(struct asset_store *as, const char *key)
{
	struct buf url = BUF_INIT;
	char *s = NULL;

	object_url((struct asset_s3 *)as, key, &url);
	if (!buf_failed(&url))
		s = strdup(buf_str(&url));
	buf_free(&url);
	return s;
}

/* GET nix-cache-info, which is there or not: what else is there to say? */
static enum asset_rc
ask_cache_info(struct asset_s3 *s3, const char *url, bool sign_it,
    const char *what, struct buf *why)
{
	struct http_call call = {
		.method = "GET", .url = url, .body_max = ERROR_BODY_MAX
	};
	struct credentials c = { NULL, NULL, 0 };
	struct buf ignored = BUF_INIT;
	struct http_answer a;
	enum asset_rc rc = ASSET_RETRY;
	char code[64];

	if (ask(s3, &call, sign_it, &c, &a, why) == 0) {
		asset_xml_error(&a.body, &ignored, code);
		/* Who may only write there is told so by AccessDenied. */
		if (a.status == 200 ||
		    (a.status == 404 && strcmp(code, "NoSuchBucket") != 0) ||
		    (sign_it && s3->conf->s3_public_url != NULL &&
			strcmp(code, "AccessDenied") == 0))
			rc = ASSET_OK;
		else
			rc = refused(s3, &a, &c, NULL, what, why);
	}
	credentials_clear(&c);
	buf_free(&ignored);
	buf_free(&a.body);
	return rc;
}

static enum asset_rc
s3_probe(struct asset_store *as, struct buf *why)
{
	static const char key[] = "nix-cache-info";
	struct asset_s3 *s3 = (struct asset_s3 *)as;
	struct buf url = BUF_INIT;
	enum asset_rc rc;

	object_url(s3, key, &url);
	rc = ask_cache_info(s3, buf_str(&url), true, "read", why);
	if (rc == ASSET_OK && s3->conf->s3_public_url != NULL) {
		buf_clear(&url);
		public_url(s3, key, &url);
		rc = ask_cache_info(
		    s3, buf_str(&url), false, "s3_public_url", why);
	}
	buf_free(&url);
	return rc;
}

static enum asset_rc
s3_remove(struct asset_store *as, const char *key, struct buf *why)
{
	struct asset_s3 *s3 = (struct asset_s3 *)as;
	struct http_call call = { .method = "DELETE",
		.body_max = ERROR_BODY_MAX };
	struct credentials c = { NULL, NULL, 0 };
	struct buf to = BUF_INIT;
	struct http_answer a;
	enum asset_rc rc = ASSET_RETRY;

	object_url(s3, key, &to);
	call.url = buf_str(&to);
	if (ask(s3, &call, true, &c, &a, why) == 0)
		rc = a.status == 200 || a.status == 204 || a.status == 404
		    ? ASSET_OK
		    : refused(s3, &a, &c, NULL, "remove", why);
	credentials_clear(&c);
	buf_free(&a.body);
	buf_free(&to);
	return rc;
}

static int
s3_limit(struct asset_store *as, const char *content_type, uint64_t *max)
{
	(void)as;
	(void)content_type;
	*max = LIMIT;
	return 0;
}

static char *
s3_read_url(struct asset_store *as, const char *key, const char *url,
    const char *method)
{
	struct asset_s3 *s3 = (struct asset_s3 *)as;
	struct buf path = BUF_INIT, out = BUF_INIT;
	struct credentials c = { NULL, NULL, 0 };
	struct sigv4 sig;
	char *s = NULL;

	(void)url;
	if (s3->conf->s3_public_url != NULL)
		public_url(s3, key, &out);
	else {
		if (get_credentials(s3, &c) == -1)
			return NULL;
		object_path(s3, key, &path);
		sig = (struct sigv4) { .method = method,
			.scheme = s3->scheme,
			.host = buf_str(&s3->host),
			.path = buf_str(&path),
			.region = s3->conf->s3_region,
			.key_id = c.key_id,
			.secret = c.secret,
			.now = (int64_t)time(NULL),
			.expires = s3->conf->s3_url_expires };
		sigv4_presign(&sig, &out);
		credentials_clear(&c);
		buf_free(&path);
	}
	if (!buf_failed(&out))
		s = strdup(buf_str(&out));
	buf_free(&out);
	return s;
}

static void
s3_interrupt(struct asset_store *as)
{
	http_interrupt(((struct asset_s3 *)as)->http);
}

static void
s3_close(struct asset_store *as)
{
	struct asset_s3 *s3 = (struct asset_s3 *)as;

	http_pool_free(s3->http);
	credentials_clear(&s3->credentials);
	pthread_mutex_destroy(&s3->mutex);
	buf_free(&s3->host);
	buf_free(&s3->base);
	free(s3);
}

static const struct asset_ops s3_ops = {
	.name = "s3",
	.batch = 1,
	.put = s3_put,
	.confirm = s3_confirm,
	.probe = s3_probe,
	.remove = s3_remove,
	.can_remove = true,
	.limit = s3_limit,
	.read_url = s3_read_url,
	.get = s3_get,
	.list = s3_list,
	.address = s3_address,
	.interrupt = s3_interrupt,
	.close = s3_close,
};

struct asset_store *
asset_s3_open(const struct conf *conf, bool write)
{
	const char *host = strstr(conf->s3_endpoint, "://") + 3;
	struct asset_s3 *s3;

	if ((s3 = calloc(1, sizeof(*s3))) == NULL)
		return NULL;
	s3->store.ops = &s3_ops;
	s3->conf = conf;
	pthread_mutex_init(&s3->mutex, NULL);
	s3->scheme = strncmp(conf->s3_endpoint, "https:", 6) == 0 ? "https://"
								  : "http://";
	if (conf->s3_virtual_host) {
		buf_addf(&s3->host, "%s.%s", conf->s3_bucket, host);
		buf_adds(&s3->base, "/");
	} else {
		buf_adds(&s3->host, host);
		buf_addf(&s3->base, "/%s/", conf->s3_bucket);
	}
	if (conf->s3_public_url == NULL)
		s3->store.url_expires = conf->s3_url_expires;
	reread(s3);
	if (s3->credentials.version == 0 ||
	    (write &&
		(s3->http = http_pool_new(
		     conf->tls_ca_file, conf->relay_timeout)) == NULL)) {
		s3_close(&s3->store);
		return NULL;
	}
	return &s3->store;
}
