/*
 * Any S3-compatible store: one PUT an object, signed by libcurl, read back by
 * a HEAD.  The payload's digest is signed along, so the store itself refuses
 * bytes that changed on their way.
 *
 * The index holds an object's plain address in the bucket and nothing that
 * expires: what readers are sent to, a public URL or a presigned one, is made
 * when they ask.
 *
 * To come: multipart uploads for more than LIMIT bytes.
 */
#include "config.h"

#include "asset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "asset_sigv4.h"
#include "base32.h"
#include "http.h"
#include "log.h"

/* Amazon S3, "Uploading objects": the most that one PUT may carry. */
#define LIMIT ((uint64_t)5 << 30)
#define ERROR_BODY_MAX ((size_t)8 << 10)

struct asset_s3 {
	struct asset_store store;
	const struct conf *conf;
	struct http_pool *http;
	char *key_id;
	char *secret;
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

/* The refusal of a request: temporary, or for good. */
static enum asset_rc
refused(const struct asset_s3 *s3, const struct http_answer *a,
    const struct asset_source *src, const char *what, struct buf *why)
{
	size_t from = why->len;
	char code[64];

	buf_addf(why, "s3: %s: status %d", what, a->status);
	asset_xml_error(&a->body, why, code);
	asset_scrub(why, from, s3->secret);
	if (src != NULL && src->receipt != NULL)
		src->receipt->retry_after = a->retry_after;
	/* 400 RequestTimeout is AWS's way to say 408. */
	if (asset_status_temporary(a->status) ||
	    strcmp(code, "RequestTimeout") == 0 ||
	    strcmp(code, "SlowDown") == 0)
		return ASSET_RETRY;
	return ASSET_REFUSED;
}

static void
sign(const struct asset_s3 *s3, struct http_call *call)
{
	call->region = s3->conf->s3_region;
	call->key_id = s3->key_id;
	call->secret = s3->secret;
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
	sign(s3, &call);
	if (http_do(s3->http, &call, &a, why) == -1)
		goto out;
	if (a.status != 200 && a.status != 201 && a.status != 204) {
		rc = refused(s3, &a, src, "upload", why);
		goto out;
	}
	if (src->receipt != NULL)
		snprintf(src->receipt->etag, sizeof(src->receipt->etag), "%s",
		    a.etag);
	if ((*url = strdup(buf_str(&to))) != NULL)
		rc = ASSET_OK;
out:
	buf_free(&a.body);
	buf_free(&to);
	return rc;
}

static enum asset_rc
s3_confirm(struct asset_store *as, const struct asset_source *src,
    const char *url, struct buf *why)
{
	static const struct http_field payload = { "x-amz-content-sha256",
		"UNSIGNED-PAYLOAD" };
	struct asset_s3 *s3 = (struct asset_s3 *)as;
	struct http_call call = { .method = "HEAD", .url = url };
	struct buf to = BUF_INIT;
	struct http_answer a;
	enum asset_rc rc = ASSET_RETRY;

	/* By the way readers come, so that they will find it. */
	if (s3->conf->s3_public_url != NULL) {
		public_url(s3, src->key, &to);
		call.url = buf_str(&to);
	} else {
		call.headers = &payload;
		call.nheaders = 1;
		sign(s3, &call);
	}
	if (http_do(s3->http, &call, &a, why) == 0) {
		rc = asset_compare(src, a.status, a.length, a.etag, why);
		if (src->receipt != NULL)
			src->receipt->retry_after = a.retry_after;
	}
	buf_free(&a.body);
	buf_free(&to);
	return rc;
}

/* GET nix-cache-info, which is there or not: what else is there to say? */
static enum asset_rc
ask_cache_info(struct asset_s3 *s3, const char *url, bool sign_it,
    const char *what, struct buf *why)
{
	static const struct http_field payload = { "x-amz-content-sha256",
		"UNSIGNED-PAYLOAD" };
	struct http_call call = {
		.method = "GET", .url = url, .body_max = ERROR_BODY_MAX
	};
	struct buf ignored = BUF_INIT;
	struct http_answer a;
	enum asset_rc rc = ASSET_RETRY;
	char code[64];

	if (sign_it) {
		call.headers = &payload;
		call.nheaders = 1;
		sign(s3, &call);
	}
	if (http_do(s3->http, &call, &a, why) == 0) {
		asset_xml_error(&a.body, &ignored, code);
		/* Who may only write there is told so by AccessDenied. */
		if (a.status == 200 ||
		    (a.status == 404 && strcmp(code, "NoSuchBucket") != 0) ||
		    (sign_it && s3->conf->s3_public_url != NULL &&
			strcmp(code, "AccessDenied") == 0))
			rc = ASSET_OK;
		else
			rc = refused(s3, &a, NULL, what, why);
	}
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
	static const struct http_field payload = { "x-amz-content-sha256",
		"UNSIGNED-PAYLOAD" };
	struct asset_s3 *s3 = (struct asset_s3 *)as;
	struct http_call call = { .method = "DELETE",
		.headers = &payload,
		.nheaders = 1,
		.body_max = ERROR_BODY_MAX };
	struct buf to = BUF_INIT;
	struct http_answer a;
	enum asset_rc rc = ASSET_RETRY;

	object_url(s3, key, &to);
	call.url = buf_str(&to);
	sign(s3, &call);
	if (http_do(s3->http, &call, &a, why) == 0)
		rc = a.status == 200 || a.status == 204 || a.status == 404
		    ? ASSET_OK
		    : refused(s3, &a, NULL, "remove", why);
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
	struct sigv4 sig;
	char *s = NULL;

	(void)url;
	if (s3->conf->s3_public_url != NULL)
		public_url(s3, key, &out);
	else {
		object_path(s3, key, &path);
		sig = (struct sigv4) { .method = method,
			.scheme = s3->scheme,
			.host = buf_str(&s3->host),
			.path = buf_str(&path),
			.region = s3->conf->s3_region,
			.key_id = s3->key_id,
			.secret = s3->secret,
			.now = (int64_t)time(NULL),
			.expires = s3->conf->s3_url_expires };
		sigv4_presign(&sig, &out);
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
	free(s3->key_id);
	if (s3->secret != NULL)
		explicit_bzero(s3->secret, strlen(s3->secret));
	free(s3->secret);
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
	.interrupt = s3_interrupt,
	.close = s3_close,
};

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

static void
set_setting(char **field, char *value)
{
	if (value == NULL)
		return;
	if (*field != NULL)
		explicit_bzero(*field, strlen(*field));
	free(*field);
	*field = value;
}

/* The first two settings of a file in the form of AWS's own tools. */
static int
read_credentials(struct asset_s3 *s3, const char *path)
{
	const char *p, *lf;
	char *text;
	size_t n;

	if ((text = asset_read_secret("s3_credentials_file", path)) == NULL)
		return -1;
	for (p = text; *p != '\0'; p = *lf == '\0' ? lf : lf + 1) {
		lf = p + strcspn(p, "\n");
		n = (size_t)(lf - p);
		set_setting(&s3->key_id, setting(p, n, "aws_access_key_id"));
		set_setting(
		    &s3->secret, setting(p, n, "aws_secret_access_key"));
	}
	explicit_bzero(text, strlen(text));
	free(text);
	if (s3->key_id != NULL && s3->secret != NULL &&
	    strchr(s3->key_id, ':') == NULL)
		return 0;
	log_warnx("s3_credentials_file: %s: it needs the lines "
		  "\"aws_access_key_id = ID\" and "
		  "\"aws_secret_access_key = SECRET\"",
	    path);
	return -1;
}

struct asset_store *
asset_s3_open(const struct conf *conf, bool write)
{
	const char *host = strstr(conf->s3_endpoint, "://") + 3;
	struct asset_s3 *s3;

	if ((s3 = calloc(1, sizeof(*s3))) == NULL)
		return NULL;
	s3->store.ops = &s3_ops;
	s3->conf = conf;
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
	if (read_credentials(s3, conf->s3_credentials_file) == -1 ||
	    (write &&
		(s3->http = http_pool_new(
		     conf->tls_ca_file, conf->relay_timeout)) == NULL)) {
		s3_close(&s3->store);
		return NULL;
	}
	return &s3->store;
}
