#include "config.h"

#include "push.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "decode.h"
#include "file.h"
#include "hash.h"
#include "key.h"
#include "log.h"
#include "narinfo.h"
#include "policy.h"
#include "realisation.h"
#include "sign.h"

#define CHUNK ((size_t)64 << 10)
#define CACHE_INFO_MAX 4096
/* For all that is waited for before an answer: web servers wait for 300. */
#define ANSWER_SECONDS 280
/* For the relay to be done with a narinfo that was merged. */
#define SHOW_SECONDS 5

/* One PUT under way. */
struct put {
	struct push *p;
	struct request *r;
	struct key key;
	enum encoding encoding;
	struct index_audit audit;
	char address[NETADDR_TEXT]; /* audit's */
	const char *note; /* what whoever sent it should know, or NULL */
	char dropped[SIGN_NAME_MAX + 128]; /* note's */
	uint64_t unpacked; /* bytes of an encoded body */
};

/* Before the body ---------------------------------------------------------- */

/* The most bytes a body may have as it is sent. */
static uint64_t
body_limit(const struct put *u)
{
	const struct conf *c = u->p->conf;

	switch (u->key.kind) {
	case KEY_NAR:
		return c->max_upload_size == 0 ? INT64_MAX : c->max_upload_size;
	case KEY_NARINFO:
		return NARINFO_MAX;
	case KEY_CACHE_INFO:
		return CACHE_INFO_MAX;
	case KEY_REALISATION:
	case KEY_BUILD_TRACE:
		return c->max_meta_size < REALISATION_MAX ? c->max_meta_size
							  : REALISATION_MAX;
	default:
		return c->max_meta_size;
	}
}

/* The most the asset store takes of this kind; false: no limit known. */
static bool
store_limit(const struct put *u, uint64_t *max)
{
	struct asset_store *as = u->p->store;

	return as->ops->limit != NULL &&
	    as->ops->limit(as, key_content_type(u->key.kind), max) == 0;
}

/* A body of size bytes can't become an asset: its status, 0 when it can. */
static int
check_store_limit(struct put *u, uint64_t size)
{
	uint64_t max;

	if (!store_limit(u, &max) || size <= max)
		return 0;
	return reply_text(u->r, 413,
	    "%s: %" PRIu64 " bytes are over the asset store's (%s) limit "
	    "of %" PRIu64,
	    u->key.s, size, u->p->store->ops->name, max);
}

static int
check_size(struct put *u)
{
	int status;
	uint64_t length = (uint64_t)request_length(u->r);
	uint64_t limit = body_limit(u), avail;
	uint64_t keep = u->p->conf->spool_min_free;

	if (length > limit)
		return reply_text(u->r, 413,
		    "%s: %" PRIu64 " bytes are over the limit of %" PRIu64,
		    u->key.s, length, limit);
	/* What comes encoded is measured when it is decoded. */
	if (u->encoding == ENCODING_NONE &&
	    (status = check_store_limit(u, length)) != 0)
		return status;
	if (spool_free_bytes(u->p->spool, &avail) == -1)
		return 0; /* writing will tell */
	if (avail < keep || avail - keep < length)
		return reply_text(u->r, 507,
		    "%s: the server's spool is full: %" PRIu64
		    " bytes free, %" PRIu64 " of them kept (spool_min_free)",
		    u->key.s, avail, keep);
	return 0;
}

/* What is left of a quota, 0 for none, of which used is used. */
static uint64_t
quota_rest(int64_t quota, int64_t used)
{
	return quota == 0   ? UINT64_MAX
	    : used >= quota ? 0
			    : (uint64_t)(quota - used);
}

/*
 * What a token may push a day and in total.  413 for both: a 429 would be tried
 * again, by Nix up to 2.32 with an empty body (see push.h).
 */
static int
check_quota(struct put *u, uint64_t n)
{
	const struct token *t = &u->p->token;
	const int64_t now = (int64_t)time(NULL);

	if (n > quota_rest(t->quota_total, t->used_total))
		return reply_text(u->r, 413,
		    "%s: token %s has pushed %" PRId64 " of its %" PRId64
		    " bytes: this is more than the rest",
		    u->key.s, t->name, t->used_total, t->quota_total);
	if (n > quota_rest(t->quota_day, token_used_today(t, now)))
		return reply_text(u->r, 413,
		    "%s: token %s has pushed %" PRId64 " of its %" PRId64
		    " bytes a day: try again tomorrow (UTC)",
		    u->key.s, t->name, token_used_today(t, now), t->quota_day);
	return 0;
}

/* Others of this token were entered meanwhile. */
static int
over_quota(struct put *u)
{
	return reply_text(u->r, 413,
	    "%s: with what was pushed at the same time it is over the quota of "
	    "token %s",
	    u->key.s, u->p->token.name);
}

/*
 * A Content-Encoding is undone before anything is stored, so that every client
 * can read it back.  A NAR's compression is part of its key, not an encoding:
 * Nix 2.8 fails on one that has both.
 */
static int
check_encoding(struct put *u)
{
	const char *s = request_param(u->r, "HTTP_CONTENT_ENCODING");

	u->encoding = encoding_parse(s);
	if (u->encoding == ENCODING_UNKNOWN)
		return reply_text(u->r, 415,
		    "%s: unknown Content-Encoding: use one of " ENCODING_NAMES
		    " or none",
		    u->key.s);
	if (u->encoding != ENCODING_NONE && u->key.kind == KEY_NAR)
		return reply_text(u->r, 415,
		    "%s: a NAR must not have a Content-Encoding", u->key.s);
	return 0;
}

static int
admit(struct put *u)
{
	int status;

	if (key_from_request(
		request_path(u->r), request_query(u->r), &u->key) == -1)
		return reply_text(u->r, 400,
		    "this is not a key of a Nix binary cache, such as "
		    "<hash>.narinfo or nar/<hash>.nar.xz");
	if ((status = check_encoding(u)) != 0 ||
	    (status = check_quota(u, (uint64_t)request_length(u->r))) != 0)
		return status;
	return check_size(u);
}

/* Is the store's word waited for? */
static bool
through(const struct push *p)
{
	return p->conf->relay == CONF_WRITE_THROUGH || p->once;
}

/*
 * Must a body wait?  Bodies that were let in at the same moment may take the
 * spool over its maximum; one that is larger than that goes in alone.
 */
static bool
must_wait(const struct put *u, const char **why)
{
	const struct conf *c = u->p->conf;
	uint64_t used;

	*why = "the spool is over spool_max";
	if (c->spool_max != 0 && u->key.kind != KEY_NARINFO &&
	    index_spool_bytes(u->p->index, &used) == 0) {
		used += atomic_load(&u->p->pressure->bytes);
		if (used > 0 &&
		    (uint64_t)request_length(u->r) + used > c->spool_max)
			return true;
	}
	*why = "too many uploads wait for the asset store";
	return through(u->p) &&
	    atomic_load(&u->p->pressure->answers) >= c->threads / 2;
}

/*
 * Hold the check back while it must wait.  A client that is refused here sends
 * its body again, whole: it has not begun with it.  Where no check was made
 * (lighttpd, CGI) it may have.
 */
static int
hold_back(struct put *u)
{
	const struct conf *c = u->p->conf;
	const int no = request_is_check(u->r) ? 503 : 424;
	const int64_t until = clock_s() + (int64_t)c->spool_wait;
	const char *why;
	int status = 0;

	if (!must_wait(u, &why))
		return 0;
	if (atomic_fetch_add(&u->p->pressure->checks, 1) >= c->threads / 4)
		status = reply_text(u->r, no,
		    "%s: %s, and enough others wait already: try again later",
		    u->key.s, why);
	while (status == 0 && must_wait(u, &why)) {
		if (clock_s() > until || request_stopping(u->r) ||
		    request_gone(u->r))
			status = reply_text(
			    u->r, no, "%s: %s: try again later", u->key.s, why);
		else
			relay_wait_change(u->p->relay);
	}
	atomic_fetch_sub(&u->p->pressure->checks, 1);
	return status;
}

/* The body ---------------------------------------------------------------- */

/* Our own fault, after the body: see push.h. */
static int
fault(struct put *u)
{
	return reply_text(u->r, 424,
	    "%s: the server could not store it; its log says why", u->key.s);
}

static int
spool_status(struct put *u, enum spool_rc rc)
{
	switch (rc) {
	case SPOOL_OK:
		return 0;
	case SPOOL_FULL:
		return reply_text(
		    u->r, 507, "%s: the server's spool is full", u->key.s);
	case SPOOL_LIMIT:
		return reply_text(
		    u->r, 413, "%s: the body is too large", u->key.s);
	case SPOOL_ERROR:
		break;
	}
	return fault(u);
}

/* From the connection into s. */
static int
stream_body(struct put *u, struct spool *s)
{
	enum spool_rc rc = SPOOL_OK;
	char *chunk;
	ssize_t n;

	if ((chunk = malloc(CHUNK)) == NULL)
		return fault(u);
	while ((n = request_read(u->r, chunk, CHUNK)) > 0)
		if ((rc = spool_write(s, chunk, (size_t)n)) != SPOOL_OK)
			break;
	free(chunk);
	if (n == -1)
		log_info("PUT %s: cut off after %" PRIu64 " of %" PRId64
			 " bytes",
		    u->key.s, spool_size(s), request_length(u->r));
	return spool_status(u, rc);
}

/* The whole body as sent, into a new spool file. */
static int
take_body(struct put *u, struct spool **out)
{
	const char *file = request_param(u->r, "TMPNIX_BODY_FILE");
	uint64_t length = (uint64_t)request_length(u->r);
	enum spool_rc rc;
	int status;

	rc = spool_new(u->p->spool, body_limit(u), out);
	if (rc != SPOOL_OK)
		return spool_status(u, rc);
	if (file == NULL)
		status = stream_body(u, *out);
	else if (u->p->conf->body_dir == NULL) {
		log_warnx("the web server hands bodies over as files: set "
			  "body_dir to its directory for them");
		status = fault(u);
	} else
		status = spool_status(
		    u, spool_take(*out, u->p->conf->body_dir, file));
	if (status == 0 && spool_size(*out) != length)
		status = reply_text(u->r, 400,
		    "%s: the body has %" PRIu64
		    " bytes, its Content-Length says %" PRIu64,
		    u->key.s, spool_size(*out), length);
	return status;
}

/*
 * Undo the Content-Encoding of from: call sink for each piece, at most limit
 * bytes in all; over says what a byte more is.
 */
static int
decode_body(struct put *u, struct spool *from, uint64_t limit,
    enum spool_rc over,
    enum spool_rc (*sink)(void *arg, const void *p, size_t n), void *arg)
{
	enum spool_rc rc = SPOOL_OK;
	struct decode *d = NULL;
	uint64_t total = 0;
	char *chunk = NULL;
	ssize_t n = 0;
	int status;

	/* An empty body has no file. */
	if (spool_size(from) == 0 && u->encoding == ENCODING_NONE)
		return 0;
	if (spool_fd(from) == -1 || (chunk = malloc(CHUNK)) == NULL ||
	    (d = decode_new(u->encoding, spool_fd(from))) == NULL) {
		status = spool_size(from) == 0
		    ? reply_text(u->r, 400, "%s: the body is empty", u->key.s)
		    : fault(u);
		goto out;
	}
	while (rc == SPOOL_OK && (n = decode_read(d, chunk, CHUNK)) > 0) {
		total += (uint64_t)n;
		rc = total > limit ? over : sink(arg, chunk, (size_t)n);
	}
	if (u->encoding != ENCODING_NONE)
		u->unpacked += total;
	status = spool_status(u, rc);
	if (n == -1)
		status = reply_text(u->r, 400,
		    "%s: the body does not match its Content-Encoding: %s",
		    u->key.s, decode_error(d));
out:
	decode_free(d);
	free(chunk);
	return status;
}

static enum spool_rc
sink_buf(void *arg, const void *p, size_t n)
{
	struct buf *b = arg;

	buf_add(b, p, n);
	return buf_failed(b) ? SPOOL_ERROR : SPOOL_OK;
}

static enum spool_rc
sink_spool(void *arg, const void *p, size_t n)
{
	return spool_write(arg, p, n);
}

/* Entering ---------------------------------------------------------------- */

static bool
gone(void *arg)
{
	return request_gone(arg);
}

/* Is there nobody left to be answered? */
static bool
stopping(void *arg)
{
	return request_stopping(arg) || request_gone(arg);
}

/* The body is taken. */
static int
taken(struct put *u, int status)
{
	return u->note == NULL
	    ? reply_empty(u->r, status)
	    : reply_text(u->r, status, "%s: %s", u->key.s, u->note);
}

/* Wait for the asset store's word; status when it is a yes. */
static int
confirmed(struct put *u, int status)
{
	const struct conf *c = u->p->conf;
	enum relay_outcome outcome = RELAY_TIMEOUT;
	struct buf why = BUF_INIT;

	/* Checks are held back earlier; this many came all at once. */
	if (atomic_fetch_add(&u->p->pressure->answers, 1) <
	    c->threads - c->threads / 4)
		outcome = relay_wait(u->p->relay, u->p->index, u->key.s,
		    c->relay_wait, stopping, u->r);
	atomic_fetch_sub(&u->p->pressure->answers, 1);
	if (outcome == RELAY_STORED)
		return taken(u, status);
	index_asset_error(u->p->index, u->p->cache, u->key.s, &why);
	if (outcome == RELAY_FAILED)
		status =
		    reply_text(u->r, 424, "%s: the asset store refused it: %s",
			u->key.s, buf_str(&why));
	else
		status = reply_text(u->r, 424,
		    "%s: the asset store has not confirmed it yet; %s, send it "
		    "again to know its end%s%s",
		    u->key.s,
		    u->p->once ? "it is kept to be tried again"
			       : "the upload goes on",
		    why.len > 0 ? ": " : "", buf_str(&why));
	buf_free(&why);
	return status;
}

/* Have what is entered next noted as sent by this request. */
static void
audit(struct put *u, uint64_t size)
{
	const struct netaddr *client = request_client(u->r);

	u->address[0] = '\0';
	if (client != NULL)
		netaddr_print(client, u->address);
	u->audit.time = (int64_t)time(NULL);
	u->audit.cache = u->p->cache;
	u->audit.key = u->key.s;
	u->audit.token = u->p->token.name;
	u->audit.address = u->address;
	u->audit.size = size;
	index_audit_next(u->p->index, &u->audit);
}

/*
 * Nobody verifies a NAR when this process has ended.  It was under way since
 * then: 0, or the status of an answer.
 */
static int
verified(struct put *u, int64_t since)
{
	struct verifier *v = u->p->acceptor->verifier;
	int64_t left = since + ANSWER_SECONDS - clock_s();
	struct verifier_wait w = {
		.token = u->p->token.name, .gone = gone, .arg = u->r
	};
	struct verified result;

	if (v == NULL || u->key.kind != KEY_NAR)
		return 0;
	w.seconds = left > 1 ? (unsigned int)left : 1;
	switch (verifier_wait(v, u->p->index, &u->key, &w, &result)) {
	case VERIFIER_DONE:
		verified_clear(&result);
		return 0;
	case VERIFIER_GONE: /* to the store: by who verified it first */
		return 0;
	case VERIFIER_SLOW:
	case VERIFIER_BUSY:
	case VERIFIER_LEFT:
		return reply_text(u->r, 424,
		    "%s: it is still being verified: send it again", u->key.s);
	case VERIFIER_NO_NAR:
	case VERIFIER_ERROR:
		break;
	}
	return fault(u);
}

static int
entered(struct put *u, int status, uint64_t size)
{
	const int64_t now = clock_s();
	int late;

	if (u->p->relay != NULL)
		relay_wake(u->p->relay);
	if (through(u->p) && u->key.kind != KEY_CACHE_INFO) {
		/* What was here waits for a new try: this is one. */
		if (u->p->once && status == 200)
			index_retry(u->p->index, u->p->cache, u->key.s);
		status = confirmed(u, status);
		if (u->p->once && status < 300 &&
		    (late = verified(u, now)) != 0)
			status = late;
	} else
		taken(u, status);
	if (status < 300)
		log_info("PUT %s: %d, %" PRIu64 " bytes, token %s", u->key.s,
		    status, size, u->p->token.name);
	if (status < 300 && u->note != NULL)
		log_warnx("PUT %s: %s", u->key.s, u->note);
	return status;
}

static int
refused(struct put *u, int status)
{
	log_info("PUT %s: refused with %d, token %s", u->key.s, status,
	    u->p->token.name);
	return status;
}

/*
 * Have the NAR verified while its sender goes on.  By its descriptor: by name
 * it may be gone, relayed, before its turn comes.
 */
static void
submit_nar(struct put *u, const struct spool *s)
{
	struct verifier *v = u->p->acceptor->verifier;
	int fd;

	if (v == NULL || (fd = spool_fd(s)) == -1 ||
	    (fd = fcntl(fd, F_DUPFD_CLOEXEC, 3)) == -1)
		return; /* whoever waits for it has it done */
	verifier_submit(
	    v, &u->key, fd, u->p->token.name, u->p->conf->check_references);
}

/* Has the open file fd, which is taken, so many bytes?  -1 is none. */
static bool
has_size(int fd, uint64_t size)
{
	struct stat st;
	bool good;

	if (fd == -1)
		return false;
	good = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
	    (uint64_t)st.st_size == size;
	close(fd);
	return good;
}

enum there { THERE, LOST, UNKNOWN };

/* Has the store on the network the bytes of row? */
static enum there
store_has(const struct put *u, const struct asset_row *row)
{
	const struct asset_source src = { .key = row->key,
		.size = row->size,
		.fd = -1,
		.sha256 = &row->sha256 };
	struct asset_store *as = u->p->store;
	struct buf why = BUF_INIT;
	enum asset_rc rc = ASSET_MISSING;

	if (row->url != NULL)
		rc = as->ops->confirm(as, &src, row->url, &why);
	buf_free(&why);
	return rc == ASSET_OK ? THERE : rc == ASSET_MISSING ? LOST : UNKNOWN;
}

/*
 * Are the bytes of key where the index says, as far as their size tells?  ask:
 * a store on the network is asked; without, it is believed.
 */
static enum there
look_for(const struct put *u, const char *key, bool ask)
{
	struct asset_store *as = u->p->store;
	enum there there = LOST;
	struct asset_row row;
	int tries;

	/* A second look: the relay may move the bytes between row and open. */
	for (tries = 0; tries < 2 && there == LOST; tries++) {
		switch (index_asset_get(u->p->index, u->p->cache, key, &row)) {
		case 1:
			break;
		case 0:
			return LOST;
		default:
			return UNKNOWN;
		}
		if (row.spool[0] == '\0' && as->ops->open == NULL)
			/* (fsck takes the address of what the store lost.) */
			there = row.url == NULL ? LOST
			    : ask		? store_has(u, &row)
						: THERE;
		else if (has_size(row.spool[0] != '\0'
				 ? spool_read(u->p->spool, row.spool)
				 : as->ops->open(as, row.key),
			     row.size))
			there = THERE;
		index_asset_clear(&row);
	}
	return there;
}

/*
 * Enter the committed spool file of a.  What is known already stays as it is
 * if it can be found, and the new file is removed; else it takes the place of
 * what was lost.
 */
static enum index_put
put_asset(struct put *u, struct asset_new *a)
{
	const int64_t now = (int64_t)time(NULL);
	char old[SPOOL_NAME_MAX + 1];
	enum index_put put;

	put = index_asset_put(u->p->index, u->p->cache, a, now, old);
	if (put == INDEX_SAME && look_for(u, a->key, true) != THERE) {
		log_warnx("%s: the bytes the index has of it are not found: "
			  "those of this PUT take their place",
		    a->key);
		a->anew = true;
		put = index_asset_put(u->p->index, u->p->cache, a, now, old);
	}
	if (put == INDEX_SAME || put == INDEX_QUOTA || put == INDEX_CONFLICT)
		spool_remove(u->p->spool, a->spool);
	else if (put != INDEX_ERROR && old[0] != '\0')
		spool_retire(u->p->spool, old, clock_s());
	/*
	 * After an error the file stays: a commit that failed may be found done
	 * at the next start, which removes the file if no row names it.
	 */
	return put;
}

/* Spool text and enter it as a. */
static int
enter_text(struct push *p, struct asset_new *a, const struct buf *text)
{
	char name[SPOOL_NAME_MAX + 1], old[SPOOL_NAME_MAX + 1];
	const int64_t now = (int64_t)time(NULL);
	struct spool *s = NULL;
	int rc = -1;

	if (spool_new(p->spool, text->len, &s) != SPOOL_OK ||
	    spool_write(s, buf_str(text), text->len) != SPOOL_OK ||
	    spool_commit(s, name) != SPOOL_OK)
		goto out;
	a->size = text->len;
	a->spool = name;
	switch (index_asset_put(p->index, p->cache, a, now, old)) {
	case INDEX_CREATED:
	case INDEX_REPLACED:
		if (old[0] != '\0')
			spool_retire(p->spool, old, clock_s());
		rc = 0;
		break;
	case INDEX_SAME: /* another process was faster */
		rc = 0;
		/* fallthrough */
	default:
		spool_remove(p->spool, name);
	}
out:
	spool_free(s);
	return rc;
}

/* The listing that we made of a path's verified NAR: index_listing_get. */
static int
get_listing(const struct put *u, struct buf *text)
{
	return index_listing_get(
	    u->p->index, u->p->cache, u->key.hash_part.s, text);
}

/*
 * A listing that was sent before its narinfo is an object of its own, which the
 * web server may send by itself: ours takes its place.
 */
static void
own_listing(struct put *u)
{
	struct asset_new a = { .content_type = key_content_type(KEY_LS) };
	struct buf text = BUF_INIT, key = BUF_INIT;
	struct push *p = u->p;
	struct asset_row row;

	buf_addf(&key, "%s.ls", u->key.hash_part.s);
	a.key = buf_str(&key);
	if (buf_failed(&key) ||
	    index_asset_get(p->index, p->cache, a.key, &row) != 1)
		goto out;
	index_asset_clear(&row);
	if (get_listing(u, &text) != 1)
		goto out;
	hash_sha256(buf_str(&text), text.len, &a.sha256);
	if (digest_equal(&a.sha256, &row.sha256))
		goto out;
	/* It costs nobody's quota. */
	index_audit_next(p->index, NULL);
	if (enter_text(p, &a, &text) == 0 && through(p))
		relay_wait(p->relay, p->index, a.key, p->conf->relay_wait,
		    stopping, u->r);
out:
	buf_free(&text);
	buf_free(&key);
}

/*
 * What is here is another token's: its name is for the log, not for whoever
 * may push.
 */
static int
of_another(struct put *u)
{
	char since[32] = "some time";
	struct buf name = BUF_INIT;
	struct asset_row row;
	bool known = false;
	struct tm tm;

	if (index_asset_get(u->p->index, u->p->cache, u->key.s, &row) == 1) {
		index_asset_clear(&row);
		known = index_pusher_name(u->p->index, row.pusher, &name) == 1;
		if (gmtime_r((time_t *)&row.created, &tm) != NULL)
			strftime(
			    since, sizeof(since), "%Y-%m-%d %H:%M UTC", &tm);
	}
	log_info("PUT %s: token %s pushed it%s", u->key.s,
	    known ? buf_str(&name) : "unknown",
	    known ? "" : ": it is as old as the index, or the server made it");
	buf_free(&name);
	return reply_text(u->r, 409,
	    "%s: it is here with other bytes, since %s, by %s: %s can replace "
	    "it",
	    u->key.s, since,
	    known ? "another token" : "a token that is not known any more",
	    known ? "that one or an admin's token" : "an admin's token");
}

/*
 * Enter s, a complete and right body with digest d, as a, of which the caller
 * has filled in key and what may be replaced.  -1: something else is there.
 */
static int
enter_new(
    struct put *u, struct spool *s, const struct digest *d, struct asset_new *a)
{
	char name[SPOOL_NAME_MAX + 1];
	enum index_put put;
	enum spool_rc rc;
	int status;

	if ((status = check_store_limit(u, spool_size(s))) != 0)
		return status;
	if ((rc = spool_commit(s, name)) != SPOOL_OK)
		return spool_status(u, rc);
	a->size = spool_size(s);
	a->sha256 = *d;
	a->content_type = key_content_type(u->key.kind);
	a->spool = name;
	a->pusher = u->p->token.id;
	audit(u, a->size);
	if ((put = put_asset(u, a)) == INDEX_ERROR)
		return fault(u);
	if (put == INDEX_QUOTA)
		return over_quota(u);
	if (put == INDEX_CONFLICT)
		return -1;
	if (u->key.kind == KEY_NAR)
		submit_nar(u, s);
	/* Its narinfo may have come meanwhile. */
	if (u->key.kind == KEY_LS)
		own_listing(u);
	return entered(u, put == INDEX_CREATED ? 201 : 200, a->size);
}

/* A complete and right body becomes an asset. */
static int
enter_asset(struct put *u, struct spool *s, const struct digest *d)
{
	struct asset_new a = { .key = u->key.s };
	int status;

	/* What no signature and no digest vouches for is whose it is. */
	a.keep =
	    u->key.kind != KEY_NAR && (u->p->token.scopes & SCOPE_ADMIN) == 0;
	status = enter_new(u, s, d, &a);
	return status == -1 ? of_another(u) : status;
}

static int
put_nar(struct put *u, struct spool *s)
{
	char got[DIGEST_BASE32 + 1];
	struct digest d;

	spool_digest(s, &d);
	if (!digest_equal(&d, &u->key.file_hash)) {
		digest_to_base32(&d, got);
		return reply_text(u->r, 400,
		    "%s: the body's SHA-256 is %s, not what its name says",
		    u->key.s, got);
	}
	return enter_asset(u, s, &d);
}

/*
 * What may be decoded, as it is stored decoded: *max bytes, by whatever is
 * least. The refusal of a byte more has its status.
 */
static int
decoded_limit(const struct put *u, uint64_t *max)
{
	const struct token *t = &u->p->token;
	const uint64_t keep = u->p->conf->spool_min_free;
	const int64_t now = (int64_t)time(NULL);
	uint64_t rest, day, avail;
	int status = 413;

	*max = u->p->conf->max_meta_size;
	rest = quota_rest(t->quota_total, t->used_total);
	day = quota_rest(t->quota_day, token_used_today(t, now));
	rest = rest < day ? rest : day;
	*max = rest < *max ? rest : *max;
	if (spool_free_bytes(u->p->spool, &avail) == 0) {
		avail = avail > keep ? avail - keep : 0;
		if (avail < *max) {
			*max = avail;
			status = 507;
		}
	}
	return status;
}

static int
decode_plain(struct put *u, struct spool *from, struct spool **plain)
{
	uint64_t max;
	const int over = decoded_limit(u, &max);
	enum spool_rc rc;

	if ((rc = spool_new(u->p->spool, max, plain)) != SPOOL_OK)
		return spool_status(u, rc);
	return decode_body(u, from, max, over == 507 ? SPOOL_FULL : SPOOL_LIMIT,
	    sink_spool, *plain);
}

/* Is there a listing of ours?  1, 0 or -1. */
static int
has_listing(const struct put *u)
{
	struct buf text = BUF_INIT;
	int rc;

	if (u->key.kind != KEY_LS)
		return 0;
	rc = get_listing(u, &text);
	buf_free(&text);
	return rc;
}

/* Logs, listings, debug information: stored plain. */
static int
put_plain(struct put *u, struct spool *s)
{
	struct spool *plain = NULL;
	struct digest d;
	int status;

	/* Its sender is done with it: ours is served. */
	if ((status = has_listing(u)) != 0)
		return status == 1 ? reply_empty(u->r, 200) : fault(u);
	if (u->encoding == ENCODING_NONE) {
		spool_digest(s, &d);
		return enter_asset(u, s, &d);
	}
	if ((status = decode_plain(u, s, &plain)) == 0) {
		spool_digest(plain, &d);
		status = enter_asset(u, plain, &d);
	}
	spool_free(plain);
	return status;
}

/*
 * A narinfo is a new try for its NAR too: the client that found the NAR here,
 * in the spool, did not send it again.
 */
static void
retry_nar(struct put *u, const struct narinfo *ni)
{
	struct asset_row row;

	if (index_asset_get(u->p->index, u->p->cache, ni->nar.s, &row) != 1)
		return;
	index_asset_clear(&row);
	if (row.state == ASSET_FAILED ||
	    (u->p->once && row.state == ASSET_SPOOLED))
		index_retry(u->p->index, u->p->cache, ni->nar.s);
}

/* Have the sender of a path told that no reader can use it. */
static void
note_unsigned(struct put *u, const struct narinfo *ni)
{
	if (ni->nsigs == 0 && ni->ca == NULL &&
	    index_path_unsigned(u->p->index, u->p->cache, ni->hash_part.s) == 1)
		u->note = "taken, but no reader can use this path: it has no "
			  "signature, and this cache adds none "
			  "(secret_key_file); push with ?secret-key=FILE or "
			  "run tmpnix sign";
}

/* Have the sender of a path told which signatures it did not get. */
static void
note_dropped(struct put *u, const struct narinfo *ni)
{
	struct buf text = BUF_INIT, line = BUF_INIT;
	size_t i, missing = 0, first = 0;

	if (ni->nsigs == 0 ||
	    index_narinfo_get(
		u->p->index, u->p->cache, ni->hash_part.s, &text, NULL) != 1)
		goto out;
	for (i = 0; i < ni->nsigs; i++) {
		buf_clear(&line);
		buf_addf(&line, "\nSig: %s\n", ni->sigs[i]);
		if (strstr(buf_str(&text), buf_str(&line)) == NULL &&
		    missing++ == 0)
			first = i;
	}
	if (missing == 0 || buf_failed(&line))
		goto out;
	buf_clear(&line);
	if (missing > 1)
		buf_addf(&line, " and %zu others", missing - 1);
	snprintf(u->dropped, sizeof(u->dropped),
	    "the path was here: its signature by %.*s%s was not added, as no "
	    "key known here made it",
	    (int)strcspn(ni->sigs[first], ":"), ni->sigs[first],
	    buf_str(&line));
	u->note = u->dropped;
out:
	buf_free(&text);
	buf_free(&line);
}

static void
remove_narinfo(void *arg)
{
	struct put *u = arg;
	struct asset_store *as = u->p->store;
	struct buf why = BUF_INIT;

	if (as->ops->remove(as, u->key.s, &why) != ASSET_OK)
		log_warnx("%s: %s", u->key.s, buf_str(&why));
	buf_free(&why);
}

/*
 * Where the web server sends narinfos from the file store, it has the text of
 * before the merge until the relay replaces it.  That file goes: so we are
 * asked, who have the new text.  While the relay has the object, it may just
 * put a file there, old or new: it is waited for, but not for long.
 */
static void
show_merged(struct put *u)
{
	const int64_t until = clock_s() + SHOW_SECONDS;

	if (u->p->store->ops->open == NULL)
		return;
	while (index_while_spooled(u->p->index, u->p->cache, u->key.s,
		   remove_narinfo, u) == ASSET_RELAYING &&
	    clock_s() < until)
		relay_wait_change(u->p->relay);
}

static int
enter_narinfo(struct put *u, struct narinfo *ni, size_t size)
{
	const struct policy_ranks ranks = { u->p->acceptor->policy,
		u->p->token.keys };
	const struct sig_rank rank = { policy_rank, &ranks };
	uint64_t nar_size;
	int known;

	/* Where a path is here already, its NAR may have been lost since. */
	known = index_path_known(u->p->index, u->p->cache, ni->hash_part.s);
	if (look_for(u, ni->nar.s, known == 1) == LOST)
		return reply_text(u->r, 409,
		    "%s: its NAR %s is not here: send that first", u->key.s,
		    ni->nar.s);
	retry_nar(u, ni);
	audit(u, size);
	switch (index_narinfo_put(u->p->index, u->p->cache, ni, &rank,
	    u->p->conf->store_dir, (int64_t)time(NULL), &nar_size)) {
	case INDEX_CREATED:
		own_listing(u);
		note_unsigned(u, ni);
		return entered(u, 201, size);
	case INDEX_REPLACED:
		show_merged(u);
		/* fallthrough */
	case INDEX_SAME:
		own_listing(u);
		note_unsigned(u, ni);
		note_dropped(u, ni);
		return entered(u, 200, size);
	case INDEX_CONFLICT:
		return reply_text(u->r, 409,
		    "%s: %s is here with another NarHash, NarSize, name or "
		    "references: a path's contents can't change",
		    u->key.s, ni->base);
	case INDEX_NO_NAR:
		return reply_text(u->r, 409,
		    "%s: its NAR %s is not here: send that first", u->key.s,
		    ni->nar.s);
	case INDEX_BAD_SIZE:
		return reply_text(u->r, 400,
		    "%s: FileSize is %" PRIu64 ", but %s has %" PRIu64 " bytes",
		    u->key.s, ni->file_size, ni->nar.s, nar_size);
	case INDEX_QUOTA:
		return over_quota(u);
	case INDEX_ERROR:
		break;
	}
	return fault(u);
}

/* Is it right and allowed?  0, or the refusal's status. */
static int
accept_entry(struct put *u, struct narinfo *ni)
{
	struct acceptor a = *u->p->acceptor;
	char why[512];
	int status;

	a.gone = gone;
	a.arg = u->r;
	status =
	    accept_narinfo(&a, u->p->index, &u->p->token, ni, why, sizeof(why));
	if (status == 0)
		return 0;
	return why[0] == '\0'
	    ? fault(u)
	    : reply_text(u->r, status, "%s: %s", u->key.s, why);
}

static int
put_narinfo(struct put *u, struct spool *s)
{
	struct buf text = BUF_INIT_MAX(NARINFO_MAX);
	struct narinfo *ni = NULL;
	char err[256];
	int status;

	if ((status = decode_body(
		 u, s, NARINFO_MAX, SPOOL_LIMIT, sink_buf, &text)) != 0)
		goto out;
	ni = narinfo_parse(
	    buf_str(&text), text.len, u->p->conf->store_dir, err, sizeof(err));
	if (ni == NULL)
		status = reply_text(u->r, 400, "%s: %s", u->key.s, err);
	else if (strcmp(ni->hash_part.s, u->key.hash_part.s) != 0)
		status = reply_text(u->r, 400,
		    "%s: its StorePath is %s, which belongs elsewhere",
		    u->key.s, ni->base);
	else if ((status = accept_entry(u, ni)) == 0)
		status = enter_narinfo(u, ni, text.len);
out:
	narinfo_free(ni);
	buf_free(&text);
	return status;
}

/* Realisations ------------------------------------------------------------- */

/* The bytes of an object, where they can be opened: 1, 0 or -1. */
static int
read_asset(struct put *u, const struct asset_row *row, struct buf *text)
{
	struct asset_store *as = u->p->store;
	int fd = -1, rc = -1;
	char *room;

	if (row->spool[0] != '\0')
		fd = spool_read(u->p->spool, row->spool);
	else if (as->ops->open != NULL)
		fd = as->ops->open(as, row->key);
	if (fd == -1)
		return 0;
	if (row->size > REALISATION_MAX)
		rc = 1; /* no realisation */
	else if ((room = buf_reserve(text, (size_t)row->size + 1)) != NULL &&
	    file_read_full(fd, room, (size_t)row->size) == (ssize_t)row->size) {
		text->len += (size_t)row->size;
		buf_end(text);
		rc = 1;
	}
	close(fd);
	return rc;
}

/* What is here under the key. */
struct there_is {
	bool known;
	struct digest digest;
	struct realisation *re; /* NULL when it can't be read, or is none */
	bool unreadable;
};

static int
get_realisation(struct put *u, struct there_is *is)
{
	struct buf text = BUF_INIT;
	struct asset_row row;
	char err[256];
	int rc;

	memset(is, 0, sizeof(*is));
	if ((rc = index_asset_get(u->p->index, u->p->cache, u->key.s, &row)) !=
	    1)
		return rc;
	is->known = true;
	is->digest = row.sha256;
	rc = index_realisation_get(u->p->index, u->p->cache, u->key.s, &text);
	/* From before realisations were read. */
	if (rc == 0 && (rc = read_asset(u, &row, &text)) == 0)
		is->unreadable = true;
	index_asset_clear(&row);
	if (rc == 1)
		is->re = realisation_parse(
		    buf_str(&text), text.len, &u->key, err, sizeof(err));
	buf_free(&text);
	return rc == -1 ? -1 : 0;
}

struct worth {
	struct policy_ranks ranks;
	const struct realisation *re;
};

static unsigned int
worth(const void *arg, const char *sig)
{
	const struct worth *w = arg;

	return policy_rank_realisation(&w->ranks, w->re, sig);
}

/*
 * Make *re what is to be here: what there is already stays, with the good
 * signatures of *re if they are over the same.  0, or the refusal's status.
 */
static int
merge_realisation(struct put *u, struct there_is *is, struct realisation **re)
{
	const bool admin = (u->p->token.scopes & SCOPE_ADMIN) != 0;
	struct worth w = { { u->p->acceptor->policy, u->p->token.keys },
		is->re };
	struct buf a = BUF_INIT, b = BUF_INIT;
	int rc = 0;

	if (admin &&
	    (is->re == NULL ||
		strcmp(realisation_path(is->re), realisation_path(*re)) != 0))
		return 0;
	if (is->unreadable)
		return reply_text(u->r, 409,
		    "%s: it is here already, and what it says can't be read "
		    "back from the asset store: an admin's token can replace "
		    "it",
		    u->key.s);
	if (is->re == NULL) /* it never was one */
		return 0;
	if (strcmp(realisation_path(is->re), realisation_path(*re)) != 0)
		return reply_text(u->r, 409,
		    "%s: it is here as %s: what an output is can't change "
		    "(an admin's token can replace it)",
		    u->key.s, realisation_path(is->re));
	realisation_fingerprint(is->re, &a);
	realisation_fingerprint(*re, &b);
	if (strcmp(buf_str(&a), buf_str(&b)) == 0)
		rc = realisation_merge_sigs(is->re, *re, worth, &w);
	buf_free(&a);
	buf_free(&b);
	if (rc == -1)
		return fault(u);
	realisation_free(*re);
	*re = is->re; /* the caller's now */
	is->re = NULL;
	return 0;
}

/* Enter what *re is with what there is; -1 when that has changed meanwhile. */
static int
enter_realisation(struct put *u, struct realisation **re)
{
	static const struct digest none; /* no bytes have it */
	struct buf text = BUF_INIT_MAX(REALISATION_MAX);
	struct asset_new a = { .key = u->key.s, .over = &none };
	struct spool *s = NULL;
	struct there_is is;
	struct digest d;
	int status;

	if (get_realisation(u, &is) == -1) {
		status = fault(u);
		goto out;
	}
	if (is.known) {
		a.over = &is.digest;
		if ((status = merge_realisation(u, &is, re)) != 0)
			goto out;
	}
	realisation_print(*re, &text);
	if (buf_failed(&text)) {
		status = fault(u);
		goto out;
	}
	a.text = text.p;
	if ((status = spool_status(
		 u, spool_new(u->p->spool, REALISATION_MAX, &s))) != 0 ||
	    (status = spool_status(u, spool_write(s, text.p, text.len))) != 0)
		goto out;
	spool_digest(s, &d);
	status = enter_new(u, s, &d, &a);
out:
	realisation_free(is.re);
	spool_free(s);
	buf_free(&text);
	return status;
}

/* It belongs to its key, is signed where that is asked for, and stays. */
static int
put_realisation(struct put *u, struct spool *s)
{
	struct buf text = BUF_INIT_MAX(REALISATION_MAX);
	struct realisation *re = NULL;
	char err[512];
	int status, tries;

	if ((status = decode_body(
		 u, s, body_limit(u), SPOOL_LIMIT, sink_buf, &text)) != 0)
		goto out;
	re = realisation_parse(
	    buf_str(&text), text.len, &u->key, err, sizeof(err));
	if (re == NULL ||
	    policy_check_realisation(u->p->acceptor->policy, re,
		u->p->token.keys, err, sizeof(err)) == -1) {
		status = reply_text(u->r, 400, "%s: %s", u->key.s, err);
		goto out;
	}
	/* Others may enter theirs at the same time. */
	for (status = -1, tries = 0; status == -1 && tries < 5; tries++)
		status = enter_realisation(u, &re);
	if (status == -1)
		status = fault(u);
out:
	realisation_free(re);
	buf_free(&text);
	return status;
}

/* The value of "StoreDir: " in text, NULL when there is none; cuts text. */
static char *
store_dir_line(char *text)
{
	static const char field[] = "StoreDir:";
	char *line = text, *end;

	for (;;) {
		end = strchr(line, '\n');
		if (strncmp(line, field, sizeof(field) - 1) == 0)
			break;
		if (end == NULL)
			return NULL;
		line = end + 1;
	}
	if (end != NULL)
		*end = '\0';
	line += sizeof(field) - 1;
	return line + strspn(line, " \t");
}

/*
 * nix-cache-info comes from tmpnix.conf.  A client that sends its own, which it
 * does when it got a 404, must mean the same store directory.
 */
static int
put_cache_info(struct put *u, struct spool *s)
{
	const char *ours = u->p->conf->store_dir, *theirs;
	struct buf text = BUF_INIT;
	int status;

	status =
	    decode_body(u, s, CACHE_INFO_MAX, SPOOL_LIMIT, sink_buf, &text);
	if (status != 0)
		goto out;
	theirs = text.p == NULL ? NULL : store_dir_line(text.p);
	if (theirs != NULL && strcmp(theirs, ours) != 0)
		status = reply_text(u->r, 409,
		    "this cache is for stores in %s, not in %s", ours, theirs);
	else
		status = entered(u, 200, text.len);
out:
	buf_free(&text);
	return status;
}

/* Is nix-cache-info in the index with these bytes?  1, 0 or -1. */
static int
cache_info_is(struct push *p, const struct digest *d)
{
	struct asset_row row;
	int found;

	found = index_asset_get(p->index, p->cache, "nix-cache-info", &row);
	if (found != 1)
		return found;
	index_asset_clear(&row);
	return digest_equal(&row.sha256, d);
}

int
push_cache_info(struct push *p, const struct buf *text)
{
	struct asset_new a = { .key = "nix-cache-info",
		.content_type = key_content_type(KEY_CACHE_INFO) };
	struct buf is = BUF_INIT, was = BUF_INIT;
	int known, rc = -1;

	asset_store_describe(p->conf, &is);
	hash_sha256(buf_str(text), text->len, &a.sha256);
	if ((known = index_store_get(p->index, p->cache, &was)) == -1)
		goto out;
	a.anew = known == 0 || strcmp(buf_str(&was), buf_str(&is)) != 0;
	if (known == 1 && a.anew)
		log_warnx("the asset store was %s, and is %s now: what is "
			  "stored there is not moved",
		    buf_str(&was), buf_str(&is));
	switch (a.anew ? 0 : cache_info_is(p, &a.sha256)) {
	case 1:
		rc = 0;
		break;
	case 0:
		if (enter_text(p, &a, text) == 0 &&
		    (!a.anew ||
			index_store_set(p->index, p->cache, buf_str(&is)) == 0))
			rc = 0;
		break;
	default:
		break;
	}
out:
	buf_free(&is);
	buf_free(&was);
	return rc;
}

/* The body and all that comes of it: the status. */
static int
put_body(struct put *u)
{
	struct spool *s = NULL;
	int status;

	if ((status = take_body(u, &s)) == 0) {
		switch (u->key.kind) {
		case KEY_NAR:
			status = put_nar(u, s);
			break;
		case KEY_NARINFO:
			status = put_narinfo(u, s);
			break;
		case KEY_CACHE_INFO:
			status = put_cache_info(u, s);
			break;
		case KEY_REALISATION:
		case KEY_BUILD_TRACE:
			status = put_realisation(u, s);
			break;
		default:
			status = put_plain(u, s);
		}
	}
	index_audit_next(u->p->index, NULL);
	spool_free(s);
	return status;
}

/* What this request cost, besides what a verifier does for it. */
static void
count_cost(const struct put *u, int64_t begin)
{
	const struct token_cost cost = { u->unpacked,
		(uint64_t)(clock_cpu_us() - begin) };
	struct push *p = u->p;

	ledger_add(p->ledger, p->token.name, &cost);
	ledger_used(p->ledger, p->index, &p->token, (int64_t)time(NULL));
}

int
push_put(struct push *p, struct request *r)
{
	struct put u = { .p = p, .r = r };
	const int64_t begin = clock_cpu_us();
	uint64_t length;
	int status;

	if ((status = admit(&u)) != 0)
		return status;
	if (request_is_check(r))
		return (status = hold_back(&u)) != 0 ? status
						     : reply_empty(r, 204);
	if (p->once && (status = hold_back(&u)) != 0)
		return refused(&u, status);
	length = (uint64_t)request_length(r);
	atomic_fetch_add(&p->pressure->bytes, length);
	status = put_body(&u);
	atomic_fetch_sub(&p->pressure->bytes, length);
	count_cost(&u, begin);
	return status < 300 ? status : refused(&u, status);
}
