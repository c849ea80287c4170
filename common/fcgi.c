#include "config.h"

#include "fcgi_request.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file.h"
#include "log.h"
#include "num.h"

#define HEADER_VALUE_MAX 2048
#define SEND_CHUNK ((size_t)64 << 10)
/* An unread rest of up to this many bytes is read, to keep the connection. */
#define DRAIN_MAX ((int64_t)64 << 10)
/* The role (FastCGI specification, 8). */
#define FCGI_AUTHORIZER 2

/* The request ------------------------------------------------------------ */

enum http_method
request_method(const struct request *r)
{
	return r->method;
}

const char *
request_path(const struct request *r)
{
	return r->path;
}

const char *
request_query(const struct request *r)
{
	return r->query;
}

const char *
request_param(const struct request *r, const char *name)
{
	const char *v = FCGX_GetParam(name, r->envp);

	return v != NULL && v[0] != '\0' ? v : NULL;
}

int64_t
request_length(const struct request *r)
{
	return r->length;
}

const struct netaddr *
request_client(const struct request *r)
{
	return r->has_client ? &r->client : NULL;
}

bool
request_is_check(const struct request *r)
{
	return r->check;
}

bool
request_stopping(const struct request *r)
{
	return atomic_load(r->stopping) ||
	    (r->fx == NULL && fcgi_cgi_told_to_stop());
}

ssize_t
request_read(struct request *r, void *p, size_t n)
{
	/* libfcgi counts in int. */
	size_t want = n > INT32_MAX ? INT32_MAX : n;
	ssize_t got;

	if (r->length < 0 || r->taken > r->length)
		return -1;
	if (want == 0 || r->taken == r->length)
		return 0;
	if ((int64_t)want > r->length - r->taken)
		want = (size_t)(r->length - r->taken);
	/* The end of the stream came too early. */
	if ((got = r->wire->read(r, p, want)) <= 0)
		return -1;
	r->taken += got;
	return got;
}

int
request_skip(struct request *r, int64_t max)
{
	char chunk[4096];
	ssize_t n;

	/* A file that the web server keeps is not in the stream. */
	if (r->length <= 0 || request_param(r, "TMPNIX_BODY_FILE") != NULL)
		return 0;
	if (r->length > max)
		return -1;
	while ((n = request_read(r, chunk, sizeof(chunk))) > 0)
		;
	return n == 0 ? 0 : -1;
}

bool
request_gone(struct request *r)
{
	return r->wire->gone(r);
}

/* The reply -------------------------------------------------------------- */

void
reply_header(struct request *r, const char *name, const char *fmt, ...)
{
	static const char public[] = "public";
	char value[HEADER_VALUE_MAX];
	va_list ap;
	int i, n;

	va_start(ap, fmt);
	n = vsnprintf(value, sizeof(value), fmt, ap);
	va_end(ap);
	for (i = 0; i < n && i < HEADER_VALUE_MAX; i++)
		if ((unsigned char)value[i] < 0x20 || value[i] == 0x7f)
			break;
	if (n < 0 || i != n || n >= HEADER_VALUE_MAX) {
		log_warnx("reply: header %s dropped: unfit value", name);
		return;
	}
	if (r->private && strcmp(name, "Cache-Control") == 0 &&
	    strncmp(value, public, sizeof(public) - 1) == 0) {
		buf_adds(&r->headers, "Cache-Control: private");
		buf_addf(&r->headers, "%s\r\n", value + sizeof(public) - 1);
		return;
	}
	buf_addf(&r->headers, "%s: %s\r\n", name, value);
}

int
reply_text(struct request *r, int status, const char *fmt, ...)
{
	char line[900];
	va_list ap;
	size_t i;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	/* One line of printable ASCII, whatever a peer put into it. */
	for (i = 0; line[i] != '\0'; i++)
		if ((unsigned char)line[i] < 0x20 ||
		    (unsigned char)line[i] >= 0x7f)
			line[i] = '?';
	reply_header(r, "Content-Type", "text/plain; charset=utf-8");
	buf_clear(&r->body);
	buf_addf(&r->body, "%s\n", line);
	return status;
}

int
reply_buf(struct request *r, int status, struct buf *b)
{
	struct buf empty = BUF_INIT;

	buf_free(&r->body);
	r->body = *b;
	*b = empty; /* r's now */
	return status;
}

int
reply_file(struct request *r, int status, int fd, off_t offset, uint64_t length)
{
	r->fd = fd;
	r->offset = offset;
	r->size = length;
	return status;
}

int
reply_stream(struct request *r, int status,
    int (*produce)(struct request *r, void *arg), void (*done)(void *arg),
    void *arg)
{
	r->produce = produce;
	r->produced = done;
	r->arg = arg;
	return status;
}

int
reply_length(struct request *r, int status, uint64_t length)
{
	r->has_length = true;
	r->size = length;
	return status;
}

int
reply_empty(struct request *r, int status)
{
	buf_clear(&r->body);
	return status;
}

static const char *
reason(int status)
{
	static const struct {
		int status;
		const char *text;
	} reasons[] = {
		{ 200, "OK" },
		{ 201, "Created" },
		{ 204, "No Content" },
		{ 206, "Partial Content" },
		{ 302, "Found" },
		{ 304, "Not Modified" },
		{ 400, "Bad Request" },
		{ 401, "Unauthorized" },
		{ 403, "Forbidden" },
		{ 404, "Not Found" },
		{ 405, "Method Not Allowed" },
		{ 409, "Conflict" },
		{ 411, "Length Required" },
		{ 413, "Content Too Large" },
		{ 415, "Unsupported Media Type" },
		{ 416, "Range Not Satisfiable" },
		{ 422, "Unprocessable Content" },
		{ 424, "Failed Dependency" },
		{ 429, "Too Many Requests" },
		{ 500, "Internal Server Error" },
		{ 503, "Service Unavailable" },
		{ 504, "Gateway Timeout" },
		{ 507, "Insufficient Storage" },
	};
	size_t i;

	for (i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		if (reasons[i].status == status)
			return reasons[i].text;
	return "Unknown";
}

/*
 * nginx's auth_request knows 2xx, 401 and 403 only: a refusal's own status and
 * sentence travel in headers and nginx answers with them.  An Authorizer's yes
 * is a 200, and anything else goes to the client as it is (FastCGI
 * specification, 6.3).
 */
static int
as_check(struct request *r, int status)
{
	if (status >= 200 && status < 300) {
		buf_clear(&r->headers);
		buf_clear(&r->body);
		return r->authorizer ? 200 : 204;
	}
	if (r->authorizer)
		return status;
	if (r->body.len > 0 && r->body.p[r->body.len - 1] == '\n')
		r->body.p[--r->body.len] = '\0';
	reply_header(r, "X-Tmpnix-Status", "%d", status);
	reply_header(r, "X-Tmpnix-Why", "%s", buf_str(&r->body));
	buf_clear(&r->body);
	return 403;
}

static uint64_t
reply_size(const struct request *r)
{
	return r->fd != -1 || r->has_length ? r->size : r->body.len;
}

int
reply_write(struct request *r, const void *p, size_t n)
{
	const char *s = p;
	size_t some;

	/* libfcgi counts in int. */
	for (; n > 0; s += some, n -= some) {
		some = n < SEND_CHUNK ? n : SEND_CHUNK;
		if (r->filling ? file_write_all(r->fd, s, some) == -1
			       : r->wire->write(r, s, some) == -1)
			return -1;
	}
	return 0;
}

/* Send r->size bytes of r->fd. */
static int
send_file(struct request *r)
{
	uint64_t left = r->size;
	char *chunk;
	ssize_t n = 0;
	size_t want;

	if ((chunk = malloc(SEND_CHUNK)) == NULL)
		return -1;
	while (left > 0) {
		want = left < SEND_CHUNK ? (size_t)left : SEND_CHUNK;
		n = pread(r->fd, chunk, want, r->offset);
		if (n == -1 && errno == EINTR)
			continue;
		if (n <= 0 || r->wire->write(r, chunk, (size_t)n) == -1)
			break;
		r->offset += n;
		left -= (uint64_t)n;
	}
	free(chunk);
	return left == 0 ? 0 : -1;
}

/*
 * By CGI the end of a stream that failed looks like any other: what is produced
 * goes into a file first, and from there with its length.  The status.
 */
static int
produce_file(struct request *r, int status)
{
	FILE *f;
	off_t size = -1;

	/* Of no name, gone with its last descriptor. */
	if ((f = tmpfile()) != NULL) {
		r->fd = fcntl(fileno(f), F_DUPFD_CLOEXEC, 3);
		fclose(f);
	}
	r->filling = true;
	if (r->fd == -1)
		log_warn("a temporary file");
	else if (r->produce(r, r->arg) == 0)
		size = lseek(r->fd, 0, SEEK_END);
	r->filling = false;
	r->produce = NULL;
	if (size != -1) {
		r->size = (uint64_t)size;
		return status;
	}
	if (r->fd != -1)
		close(r->fd);
	r->fd = -1;
	buf_clear(&r->headers);
	return reply_text(r, 500, "the answer can't be made");
}

/* What has not all of its bytes is no answer to a reader: the status. */
static int
whole_reply(struct request *r, int status)
{
	if (r->method == HTTP_PUT ||
	    !(buf_failed(&r->headers) || buf_failed(&r->body)))
		return status;
	buf_free(&r->headers);
	buf_free(&r->body);
	if (r->fd != -1)
		close(r->fd);
	r->fd = -1;
	r->produce = NULL;
	return 503;
}

static void
send_reply(struct request *r, int status)
{
	struct buf head = BUF_INIT;

	status = whole_reply(r, status);
	if (r->check)
		status = as_check(r, status);
	if (r->produce != NULL && r->fx == NULL && r->method != HTTP_HEAD)
		status = produce_file(r, status);
	buf_addf(&head, "Status: %d %s\r\n", status, reason(status));
	buf_add(&head, buf_str(&r->headers), r->headers.len);
	/* Logs and listings are whatever somebody pushed. */
	buf_adds(&head, "X-Content-Type-Options: nosniff\r\n");
	if (status != 204 && status != 304 && r->produce == NULL)
		buf_addf(&head, "Content-Length: %llu\r\n",
		    (unsigned long long)reply_size(r));
	buf_adds(&head, "\r\n");
	/* The peer may be gone: there is nobody to tell. */
	if (r->wire->write(r, head.p, head.len) == 0 &&
	    r->method != HTTP_HEAD && status != 204 && status != 304 &&
	    !r->has_length) {
		if (r->produce != NULL) {
			if (r->produce(r, r->arg) == -1)
				r->wire->cut(r);
		} else if (r->fd != -1)
			send_file(r);
		else if (r->body.len > 0)
			r->wire->write(r, r->body.p, r->body.len);
	}
	buf_free(&head);
}

/* The front -------------------------------------------------------------- */

static enum http_method
parse_method(const char *s)
{
	static const struct {
		const char *name;
		enum http_method method;
	} methods[] = {
		{ "GET", HTTP_GET },
		{ "HEAD", HTTP_HEAD },
		{ "PUT", HTTP_PUT },
		{ "POST", HTTP_POST },
	};
	size_t i;

	for (i = 0; s != NULL && i < sizeof(methods) / sizeof(methods[0]); i++)
		if (strcmp(s, methods[i].name) == 0)
			return methods[i].method;
	return HTTP_OTHER;
}

/* Take SCRIPT_NAME off REQUEST_URI and split it at the "?". */
static int
parse_target(struct request *r)
{
	const char *uri = request_param(r, "REQUEST_URI");
	const char *prefix = request_param(r, "SCRIPT_NAME");
	size_t n;

	if (uri == NULL)
		return 404;
	n = prefix == NULL ? 0 : strlen(prefix);
	if (n > 0 && prefix[n - 1] == '/')
		n--;
	if (n > 0 && strncmp(uri, prefix, n) != 0)
		return 404;
	uri += n;
	if (*uri == '/')
		uri++;
	else if (*uri != '\0' && *uri != '?')
		return 404;
	/* (Of a PUT the body may have been sent: see answer.) */
	if ((r->path = strdup(uri)) == NULL)
		return r->method == HTTP_PUT && !r->check ? 424 : 503;
	if ((r->query = strchr(r->path, '?')) != NULL)
		*r->query++ = '\0';
	return 0;
}

static void
parse_length(struct request *r)
{
	const char *s = request_param(r, "CONTENT_LENGTH");
	uint64_t n;

	/* An Authorizer has no body: what the client will send is only in the
	 * client's own header. */
	if (r->authorizer)
		s = request_param(r, "HTTP_CONTENT_LENGTH");
	r->length = -1;
	if (s != NULL && num_parse(s, strlen(s), INT64_MAX, &n) == 0)
		r->length = (int64_t)n;
}

/*
 * The one X-Forwarded-For of r; NULL when there is none.  Of two nobody knows
 * which a proxy wrote (an X_Forwarded_For of the client's has the same name
 * here): neither is believed.
 */
static const char *
forwarded_for(const struct request *r)
{
	static const char name[] = "HTTP_X_FORWARDED_FOR=";
	const char *value = NULL;
	char **e;

	for (e = r->envp; *e != NULL; e++) {
		if (strncmp(*e, name, sizeof(name) - 1) != 0)
			continue;
		if (value != NULL)
			return NULL;
		value = *e + sizeof(name) - 1;
	}
	return value;
}

static void
parse_client(struct request *r, const struct netblocks *trusted)
{
	const char *peer = request_param(r, "REMOTE_ADDR"), *forwarded;

	r->has_client =
	    peer != NULL && netaddr_parse(peer, strlen(peer), &r->client) == 0;
	if (r->has_client && trusted->n > 0 &&
	    (forwarded = forwarded_for(r)) != NULL)
		netaddr_forwarded(trusted, forwarded, &r->client);
}

static bool
route_matches(const struct route *t, const char *path)
{
	if (t->flags & ROUTE_EXACT)
		return strcmp(path, t->pattern) == 0;
	return strncmp(path, t->pattern, strlen(t->pattern)) == 0;
}

/* The route for r, or NULL with the methods that others of its path take. */
static const struct route *
find_route(const struct fcgi_program *prog, const struct request *r,
    unsigned int *allowed)
{
	const struct route *t;

	*allowed = 0;
	for (t = prog->routes; t->methods != 0; t++) {
		if (!route_matches(t, r->path))
			continue;
		if ((t->methods & (unsigned int)r->method) != 0)
			return t;
		*allowed |= t->methods;
		/* The most particular path decides alone. */
		if (t->flags & ROUTE_EXACT)
			break;
	}
	return NULL;
}

static int
refuse_method(struct request *r, unsigned int allowed)
{
	struct buf allow = BUF_INIT;
	int status;

	if (allowed & HTTP_GET)
		buf_adds(&allow, "GET, HEAD");
	if (allowed & HTTP_PUT)
		buf_addf(&allow, "%sPUT", allow.len > 0 ? ", " : "");
	if (allowed & HTTP_POST)
		buf_addf(&allow, "%sPOST", allow.len > 0 ? ", " : "");
	reply_header(r, "Allow", "%s", buf_str(&allow));
	status =
	    reply_text(r, 405, "this address takes %s only", buf_str(&allow));
	buf_free(&allow);
	return status;
}

static int
answer(struct worker *w, struct request *r, const struct settings *settings)
{
	const struct fcgi_program *prog = w->server->prog;
	const struct route *t;
	unsigned int allowed, scope;
	bool sent;
	int status;

	if ((status = parse_target(r)) != 0)
		return reply_empty(r, status);
	if ((t = find_route(prog, r, &allowed)) == NULL)
		return allowed == 0 ? reply_empty(r, 404)
				    : refuse_method(r, allowed);
	/* Its body may have been sent: no 5xx then (push.h). */
	sent = (t->flags & ROUTE_BODY) && !r->check;
	if (w->state == NULL &&
	    (w->state = prog->state_new(prog->shared)) == NULL)
		return reply_text(
		    r, sent ? 424 : 503, "the server can't open its index");
	prog->use(w->state, settings);
	scope = t->scope & ~prog->open_scopes;
	r->private = scope != 0;
	if (scope != 0 && (status = prog->authorize(w->state, r, scope)) != 0)
		return sent && status >= 500 ? 424 : status;
	if ((t->flags & ROUTE_BODY) && r->length == -1)
		return reply_text(r, 411, "a PUT needs a Content-Length");
	/* Nothing else can be said before a body that does not matter. */
	if (r->check && !(t->flags & ROUTE_BODY))
		return reply_empty(r, 204);
	return t->handler(w->state, r);
}

/*
 * The record that ends the body, also one of no bytes: libfcgi has read no more
 * of it than came with what was asked for, and would take the rest for a broken
 * request.  An Authorizer is sent none.
 */
static bool
read_end(struct request *r)
{
	char more;

	return r->fx == NULL || r->authorizer ||
	    r->wire->read(r, &more, sizeof(more)) == 0;
}

/* Read what is left of a short body; false when the rest is too long. */
static bool
drain(struct request *r)
{
	char chunk[4096];

	if (r->check || r->length <= r->taken ||
	    request_param(r, "TMPNIX_BODY_FILE") != NULL)
		return read_end(r);
	/*
	 * fcgiwrap passes the whole body on before it looks for an answer, and
	 * makes a 502 of one that was not read.  lighttpd closes the pipe.
	 */
	if (r->fx != NULL && r->length - r->taken > DRAIN_MAX)
		return false;
	while (request_read(r, chunk, sizeof(chunk)) > 0)
		;
	return r->taken == r->length && read_end(r);
}

bool
fcgi_serve_one(struct worker *w)
{
	struct live *live = w->server->prog->live;
	struct settings *settings = live_take(live);
	struct request r;
	const char *role;
	char id[16];
	bool clean;

	memset(&r, 0, sizeof(r));
	r.fd = -1;
	r.stopping = &w->server->stopping;
	if (w->server->listener == NULL) {
		r.wire = &fcgi_wire_cgi;
		r.envp = environ;
	} else {
		r.wire = &fcgi_wire_fast;
		r.fx = &w->fx;
		r.envp = w->fx.envp;
		snprintf(id, sizeof(id), "%08x",
		    atomic_fetch_add(&w->server->requests, 1));
		log_request(id);
	}
	r.method = parse_method(FCGX_GetParam("REQUEST_METHOD", r.envp));
	role = request_param(&r, "TMPNIX_ROLE");
	r.authorizer = w->fx.role == FCGI_AUTHORIZER;
	r.check = r.authorizer || (role != NULL && strcmp(role, "check") == 0);
	parse_length(&r);
	parse_client(&r, &settings->conf->trusted_proxies);
	send_reply(&r, answer(w, &r, settings));
	clean = drain(&r);
	log_request(NULL);

	if (r.produced != NULL)
		r.produced(r.arg);
	if (r.fd != -1)
		close(r.fd);
	free(r.path);
	buf_free(&r.headers);
	buf_free(&r.body);
	live_release(live, settings);
	return clean;
}
