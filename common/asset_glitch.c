/*
 * Glitch's assets: a policy from its API, good for a day and any number of
 * uploads of one content type; an S3 form POST with it; a CDN to read from.
 *
 * Policies are asked for once a content type, by one thread while the others
 * wait, and kept until shortly before they expire or until the bucket answers
 * 403 to one.  A failed question is not repeated for a while, so that many
 * objects do not mean many questions.
 *
 * The token's file is looked at before each question: another token is read,
 * and asked with at once.
 *
 * A URL with another "?v=" is another object to the CDN: it may serve what it
 * has had under the old one for ever.
 */
#include "config.h"

#include "asset.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "asset_policy.h"
#include "http.h"
#include "key.h"
#include "log.h"

/* The host for most refuses more than this with a 503. */
#define SMALL_MAX ((uint64_t)20 << 20)
#define ANSWER_MAX ((size_t)64 << 10)
#define ERROR_BODY_MAX ((size_t)8 << 10)
/* A policy is not used in its last minutes: an upload takes time. */
#define MARGIN 300
/* After a question that failed: this long until the next one. */
#define PAUSE 15
/* Seconds to wait for another's question when only its limit matters. */
#define LIMIT_WAIT 2
/* As many content types as the keys of a cache have, and more. */
#define KINDS_MAX 16

/* What is known of a content type. */
struct kind {
	char *content_type; /* NULL: free */
	struct asset_policy *policy; /* the last good one; may have expired */
	int64_t renew; /* when it is time for a new one */
	bool asking; /* a thread is at it */
	int64_t failed; /* when a question failed; 0: it did not */
	enum asset_rc rc; /* of that */
	int64_t retry_after;
	char why[400];
};

struct asset_glitch {
	struct asset_store store;
	const struct conf *conf;
	struct http_pool *http;
	pthread_mutex_t mutex; /* of all below */
	struct asset_file_id file;
	char *token; /* NULL: we only read */
	pthread_cond_t answered;
	struct kind kinds[KINDS_MAX];
};

/* What one upload needs of a policy, copied. */
struct ticket {
	struct asset_policy p;
};

/* The token ---------------------------------------------------------------- */

static void
wipe(char *s)
{
	if (s != NULL)
		explicit_bzero(s, strlen(s));
	free(s);
}

/* The file's only line, fit for a header: NULL (logged), or to be wiped. */
static char *
read_token(const char *path)
{
	char *token, *p;

	if ((token = asset_read_secret("glitch_token_file", path)) == NULL)
		return NULL;
	for (p = token + strlen(token);
	     p > token && (unsigned char)p[-1] <= ' ';)
		*--p = '\0';
	for (p = token; (unsigned char)*p > ' ' && *p != 0x7f; p++)
		;
	if (*p == '\0' && p > token)
		return token;
	log_warnx("glitch_token_file: %s: it must hold the token on one line "
		  "and nothing else",
	    path);
	wipe(token);
	return NULL;
}

/*
 * Another token is asked with at once, whatever the old one was answered.  One
 * that can't be used leaves the old one in force.  The mutex is held.
 */
static void
reread(struct asset_glitch *ag)
{
	const char *path = ag->conf->glitch_token_file;
	char *token;
	size_t i;

	if (!asset_file_changed(path, &ag->file) && ag->token != NULL)
		return;
	if ((token = read_token(path)) == NULL)
		return;
	if (ag->token != NULL)
		log_info("glitch_token_file: %s: read again", path);
	wipe(ag->token);
	ag->token = token;
	for (i = 0; i < KINDS_MAX; i++)
		ag->kinds[i].failed = 0;
}

/* Policies ---------------------------------------------------------------- */

static struct kind *
find_kind(struct asset_glitch *ag, const char *content_type)
{
	struct kind *k;
	size_t i;

	for (i = 0; i < KINDS_MAX; i++) {
		k = &ag->kinds[i];
		if (k->content_type == NULL &&
		    (k->content_type = strdup(content_type)) == NULL)
			return NULL;
		if (strcmp(k->content_type, content_type) == 0)
			return k;
	}
	return NULL;
}

/* Ask the API.  No lock is held.  The policy, or NULL with *rc and why. */
static struct asset_policy *
ask(struct asset_glitch *ag, const char *token, const char *content_type,
    enum asset_rc *rc, int64_t *retry_after, struct buf *why)
{
	const struct http_field headers[] = {
		{ "Authorization", token },
		{ "Origin", "https://glitch.com" },
	};
	struct http_call call = { .method = "GET",
		.headers = headers,
		.nheaders = 2,
		.body_max = ANSWER_MAX };
	struct asset_policy *po = NULL;
	struct buf url = BUF_INIT;
	struct http_answer a;

	*rc = ASSET_RETRY;
	*retry_after = 0;
	buf_adds(why, "glitch: policy: ");
	if (token == NULL) {
		buf_adds(why, "no memory");
		return NULL;
	}
	buf_addf(&url,
	    "%s/v1/projects/%s/policy?contentType=", ag->conf->glitch_api,
	    ag->conf->glitch_project);
	asset_url_encode(&url, content_type, false);
	call.url = buf_str(&url);
	if (http_do(ag->http, &call, &a, why) == 0) {
		*retry_after = a.retry_after;
		if (a.status == 200)
			po = asset_policy_parse(buf_str(&a.body), a.body.len,
			    content_type, (int64_t)time(NULL), why);
		else {
			buf_addf(why, "status %d", a.status);
			if (a.status == 401 || a.status == 403)
				buf_addf(why,
				    ": the API does not accept the token; look "
				    "into glitch_token_file, %s",
				    ag->conf->glitch_token_file);
			if (!asset_status_temporary(a.status))
				*rc = ASSET_REFUSED;
		}
	}
	buf_free(&a.body);
	buf_free(&url);
	return po;
}

static int64_t
renewal(const struct asset_policy *po, int64_t now)
{
	int64_t left = po->expires - now;

	/* One that lives for minutes only must still be used for some. */
	return po->expires - (left / 4 < MARGIN ? left / 4 : MARGIN);
}

/* Ask for k, with the mutex held at both ends. */
static void
renew(struct asset_glitch *ag, struct kind *k)
{
	struct buf why = BUF_INIT;
	struct asset_policy *po;
	enum asset_rc rc;
	int64_t now, retry_after;
	char *token = strdup(ag->token);

	k->asking = true;
	pthread_mutex_unlock(&ag->mutex);
	po = ask(ag, token, k->content_type, &rc, &retry_after, &why);
	pthread_mutex_lock(&ag->mutex);
	now = (int64_t)time(NULL);
	if (po != NULL) {
		asset_policy_free(k->policy);
		k->policy = po;
		k->renew = renewal(po, now);
		k->failed = 0;
		log_debug("glitch: policy for %s, good for %" PRId64
			  " s, up to %" PRIu64 " bytes",
		    k->content_type, po->expires - now, po->max);
	} else {
		/* What an old token was answered is no reason to wait. */
		k->failed =
		    token != NULL && strcmp(token, ag->token) == 0 ? now : 0;
		k->rc = rc;
		k->retry_after = retry_after;
		if (token != NULL)
			asset_scrub(&why, 0, token);
		snprintf(k->why, sizeof(k->why), "%s", buf_str(&why));
	}
	k->asking = false;
	pthread_cond_broadcast(&ag->answered);
	wipe(token);
	buf_free(&why);
}

/*
 * Have k's policy good for an upload, as far as that can be: the mutex is
 * held, and let go in between.
 */
static void
refresh(struct asset_glitch *ag, struct kind *k)
{
	int64_t now;

	while (k->asking)
		pthread_cond_wait(&ag->answered, &ag->mutex);
	reread(ag);
	now = (int64_t)time(NULL);
	if (k->policy != NULL && now < k->renew)
		return;
	if (k->failed != 0 && now >= k->failed &&
	    now < k->failed + (k->retry_after > PAUSE ? k->retry_after : PAUSE))
		return;
	renew(ag, k);
}

static void
ticket_free(struct ticket *t)
{
	free(t->p.text);
	free(t->p.signature);
	free(t->p.key_id);
	free(t->p.content_type);
	free(t->p.bucket);
	free(t->p.prefix);
	free(t->p.acl);
}

static bool
copy_string(char **to, const char *from)
{
	return from == NULL || (*to = strdup(from)) != NULL;
}

/* The policy for an upload of this type into *t. */
static enum asset_rc
get_ticket(struct asset_glitch *ag, const char *content_type,
    struct asset_receipt *receipt, struct ticket *t, struct buf *why)
{
	const struct asset_policy *po;
	enum asset_rc rc = ASSET_RETRY;
	struct kind *k;

	memset(t, 0, sizeof(*t));
	pthread_mutex_lock(&ag->mutex);
	if ((k = find_kind(ag, content_type)) == NULL) {
		buf_addf(
		    why, "glitch: no room for a policy for %s", content_type);
		goto out;
	}
	refresh(ag, k);
	po = k->policy;
	if (po == NULL || (int64_t)time(NULL) >= po->expires) {
		buf_adds(why, k->why);
		rc = k->rc;
		if (receipt != NULL)
			receipt->retry_after = k->retry_after;
		goto out;
	}
	t->p.min = po->min;
	t->p.max = po->max;
	t->p.expires = po->expires;
	if (copy_string(&t->p.text, po->text) &&
	    copy_string(&t->p.signature, po->signature) &&
	    copy_string(&t->p.key_id, po->key_id) &&
	    copy_string(&t->p.content_type, po->content_type) &&
	    copy_string(&t->p.bucket, po->bucket) &&
	    copy_string(&t->p.prefix, po->prefix) &&
	    copy_string(&t->p.acl, po->acl))
		rc = ASSET_OK;
	else
		buf_adds(why, "glitch: no memory");
out:
	pthread_mutex_unlock(&ag->mutex);
	return rc;
}

/* The bucket refused t's policy: the next upload asks for another one. */
static void
drop_policy(struct asset_glitch *ag, const struct ticket *t)
{
	struct kind *k;

	pthread_mutex_lock(&ag->mutex);
	k = find_kind(ag, t->p.content_type);
	/* Not the one that another thread has fetched since. */
	if (k != NULL && k->policy != NULL &&
	    strcmp(k->policy->text, t->p.text) == 0)
		k->renew = 0;
	pthread_mutex_unlock(&ag->mutex);
}

static int
glitch_limit(struct asset_store *as, const char *content_type, uint64_t *max)
{
	struct asset_glitch *ag = (struct asset_glitch *)as;
	struct timespec until;
	struct kind *k;
	int rc = -1;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += LIMIT_WAIT;
	pthread_mutex_lock(&ag->mutex);
	k = find_kind(ag, content_type);
	/*
	 * An API that does not answer may hold up one who asks, but not all
	 * who want to know.
	 */
	while (k != NULL && k->policy == NULL && k->asking)
		if (pthread_cond_timedwait(&ag->answered, &ag->mutex, &until) ==
		    ETIMEDOUT)
			break;
	/* What an expired policy said about sizes is good enough here. */
	if (k != NULL && k->policy == NULL && !k->asking && ag->token != NULL)
		refresh(ag, k);
	if (k != NULL && k->policy != NULL) {
		*max = k->policy->max;
		rc = 0;
	}
	pthread_mutex_unlock(&ag->mutex);
	return rc;
}

/* Uploads ----------------------------------------------------------------- */

static char *
asset_url(const struct asset_glitch *ag, const struct ticket *t,
    const struct asset_source *src)
{
	struct timespec now;
	struct buf url = BUF_INIT;
	char *s = NULL;

	clock_gettime(CLOCK_REALTIME, &now);
	buf_addf(&url, "%s/%s",
	    src->size > SMALL_MAX ? ag->conf->glitch_cdn_large
				  : ag->conf->glitch_cdn,
	    t->p.prefix);
	asset_url_encode(&url, src->key, false);
	buf_addf(&url, "?v=%" PRId64,
	    (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000);
	if (!buf_failed(&url))
		s = strdup(buf_str(&url));
	buf_free(&url);
	return s;
}

/* One POST with t's policy.  *again: the policy is to blame, perhaps. */
static enum asset_rc
post(struct asset_glitch *ag, const struct asset_source *src,
    const struct ticket *t, bool *again, struct buf *why)
{
	struct buf url = BUF_INIT, key = BUF_INIT;
	struct http_field form[7];
	struct http_call call = { .method = "POST",
		.has_body = true,
		.fd = src->fd,
		.p = src->p,
		.size = src->size,
		.form = form,
		.file_type = src->content_type,
		.body_max = ERROR_BODY_MAX };
	size_t n = 0, from = why->len;
	struct http_answer a;
	enum asset_rc rc = ASSET_RETRY;
	char code[64];

	*again = false;
	buf_addf(&url, "%s/%s", ag->conf->glitch_upload, t->p.bucket);
	buf_addf(&key, "%s%s", t->p.prefix, src->key);
	call.url = buf_str(&url);
	form[n++] = (struct http_field) { "key", buf_str(&key) };
	form[n++] = (struct http_field) { "Content-Type", src->content_type };
	form[n++] = (struct http_field) { "Cache-Control", "max-age=31536000" };
	form[n++] = (struct http_field) { "AWSAccessKeyId", t->p.key_id };
	if (t->p.acl != NULL)
		form[n++] = (struct http_field) { "acl", t->p.acl };
	form[n++] = (struct http_field) { "policy", t->p.text };
	form[n++] = (struct http_field) { "signature", t->p.signature };
	call.nform = n;
	if (http_do(ag->http, &call, &a, why) == -1)
		goto out;
	if (a.status == 200 || a.status == 201 || a.status == 204) {
		if (src->receipt != NULL)
			snprintf(src->receipt->etag, sizeof(src->receipt->etag),
			    "%s", a.etag);
		rc = ASSET_OK;
		goto out;
	}
	buf_addf(why, "glitch: upload: status %d", a.status);
	asset_xml_error(&a.body, why, code);
	/* A signature is a secret for as long as its policy lives. */
	asset_scrub(why, from, t->p.signature);
	if (src->receipt != NULL)
		src->receipt->retry_after = a.retry_after;
	*again = a.status == 403;
	if (!asset_status_temporary(a.status) &&
	    strcmp(code, "RequestTimeout") != 0)
		rc = ASSET_REFUSED;
out:
	buf_free(&a.body);
	buf_free(&key);
	buf_free(&url);
	return rc;
}

static enum asset_rc
try_put(struct asset_glitch *ag, const struct asset_source *src, char **url,
    bool *again, struct buf *why)
{
	struct ticket t;
	enum asset_rc rc;

	*again = false;
	rc = get_ticket(ag, src->content_type, src->receipt, &t, why);
	if (rc == ASSET_OK && (src->size < t.p.min || src->size > t.p.max)) {
		buf_addf(why,
		    "glitch: %" PRIu64 " bytes, but the policy "
		    "allows %" PRIu64 " to %" PRIu64,
		    src->size, t.p.min, t.p.max);
		rc = ASSET_REFUSED;
	}
	if (rc == ASSET_OK)
		rc = post(ag, src, &t, again, why);
	if (rc == ASSET_OK && (*url = asset_url(ag, &t, src)) == NULL)
		rc = ASSET_RETRY;
	if (*again)
		drop_policy(ag, &t);
	ticket_free(&t);
	return rc;
}

static enum asset_rc
glitch_put(struct asset_store *as, const struct asset_source *src, char **url,
    struct buf *why)
{
	struct asset_glitch *ag = (struct asset_glitch *)as;
	enum asset_rc rc;
	bool again;

	*url = NULL;
	rc = try_put(ag, src, url, &again, why);
	if (rc != ASSET_OK && again) {
		/* Once more with a new policy: 403 is what an old one gets. */
		buf_clear(why);
		rc = try_put(ag, src, url, &again, why);
	}
	return rc;
}

/* The API gives a policy to whom it lets upload. */
static enum asset_rc
glitch_probe(struct asset_store *as, struct buf *why)
{
	struct asset_glitch *ag = (struct asset_glitch *)as;
	enum asset_rc rc;
	struct ticket t;

	rc = get_ticket(ag, key_content_type(KEY_CACHE_INFO), NULL, &t, why);
	ticket_free(&t);
	return rc;
}

static enum asset_rc
glitch_confirm(struct asset_store *as, const struct asset_source *src,
    const char *url, struct buf *why)
{
	struct asset_glitch *ag = (struct asset_glitch *)as;
	struct http_call call = { .method = "HEAD", .url = url };
	struct http_answer a;
	enum asset_rc rc = ASSET_RETRY;

	if (http_do(ag->http, &call, &a, why) == 0) {
		rc = asset_compare(src, a.status, a.length, a.etag, why);
		if (src->receipt != NULL)
			src->receipt->retry_after = a.retry_after;
	}
	buf_free(&a.body);
	return rc;
}

static enum asset_rc
glitch_get(struct asset_store *as, const char *key, const char *url,
    const struct asset_sink *sink, struct buf *why)
{
	struct asset_glitch *ag = (struct asset_glitch *)as;
	struct http_call call = { .method = "GET",
		.url = url,
		.body_max = ERROR_BODY_MAX,
		.sink = sink->add,
		.sink_arg = sink->arg };
	struct http_answer a;
	enum asset_rc rc = ASSET_RETRY;

	(void)key;
	if (http_do(ag->http, &call, &a, why) == 0)
		rc = asset_read_result(a.status, a.length, &a.body, why);
	buf_free(&a.body);
	return rc;
}

static enum asset_rc
glitch_remove(struct asset_store *as, const char *key, struct buf *why)
{
	(void)as;
	buf_addf(why, "glitch: %s: assets can't be removed there", key);
	return ASSET_REFUSED;
}

static void
glitch_interrupt(struct asset_store *as)
{
	http_interrupt(((struct asset_glitch *)as)->http);
}

static void
glitch_close(struct asset_store *as)
{
	struct asset_glitch *ag = (struct asset_glitch *)as;
	size_t i;

	for (i = 0; i < KINDS_MAX; i++) {
		free(ag->kinds[i].content_type);
		asset_policy_free(ag->kinds[i].policy);
	}
	http_pool_free(ag->http);
	wipe(ag->token);
	pthread_cond_destroy(&ag->answered);
	pthread_mutex_destroy(&ag->mutex);
	free(ag);
}

static const struct asset_ops glitch_ops = {
	.name = "glitch",
	.batch = 1,
	.put = glitch_put,
	.confirm = glitch_confirm,
	.probe = glitch_probe,
	.remove = glitch_remove,
	.limit = glitch_limit,
	.get = glitch_get,
	.interrupt = glitch_interrupt,
	.close = glitch_close,
};

struct asset_store *
asset_glitch_open(const struct conf *conf, bool write)
{
	struct asset_glitch *ag;

	if ((ag = calloc(1, sizeof(*ag))) == NULL)
		return NULL;
	ag->store.ops = &glitch_ops;
	ag->conf = conf;
	pthread_mutex_init(&ag->mutex, NULL);
	pthread_cond_init(&ag->answered, NULL);
	if (write)
		reread(ag);
	if (write &&
	    (ag->token == NULL ||
		(ag->http = http_pool_new(
		     conf->tls_ca_file, conf->relay_timeout)) == NULL)) {
		glitch_close(&ag->store);
		return NULL;
	}
	return &ag->store;
}
