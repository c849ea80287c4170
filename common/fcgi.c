#include "config.h"

#include "fcgi.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <fcgiapp.h>

#include "file.h"
#include "log.h"
#include "num.h"

/* Handlers keep their big buffers on the heap; SQLite asks for little. */
#define STACK_BYTES ((size_t)512 << 10)
#define HEADER_VALUE_MAX 2048
#define SEND_CHUNK ((size_t)64 << 10)
/* An unread rest of up to this many bytes is read, to keep the connection. */
#define DRAIN_MAX ((int64_t)64 << 10)
/* The type of the record, and the role (FastCGI specification, 8). */
#define FCGI_ABORT 2
#define FCGI_AUTHORIZER 2
/* When told to stop: how often to look, and for the end: see stop_workers. */
#define STOP_TICK_MS 10
#define STOP_RESERVE_MS 5000

/* How bytes come and go: over FastCGI, or by this process's stdin and stdout.
 */
struct wire {
	/* As read(2); 0 at the end, too early or not */
	ssize_t (*read)(struct request *r, void *p, size_t n);
	int (*write)(struct request *r, const char *p, size_t n);
	bool (*gone)(const struct request *r);
	/* End in the middle: the reader shall not take it for the end. */
	void (*cut)(struct request *r);
};

struct request {
	const struct wire *wire;
	FCGX_Request *fx; /* NULL: CGI */
	char **envp;
	enum http_method method;
	char *path;
	char *query; /* in path's memory, or NULL */
	int64_t length;
	int64_t taken; /* bytes read from the stream */
	bool check;
	bool authorizer; /* a check that is FastCGI's role of that name */
	bool has_client;
	struct netaddr client;
	const atomic_bool *stopping; /* the server's */
	bool private; /* what a token was needed for is its owner's */

	int status;
	struct buf headers;
	struct buf body;
	bool has_length; /* no body, but this Content-Length */
	int fd; /* -1: no file */
	off_t offset;
	uint64_t size;
	bool filling; /* reply_write goes to fd */
	int (*produce)(struct request *r, void *arg); /* NULL: no stream */
	void (*produced)(void *arg);
	void *arg;
};

struct worker {
	struct server *server;
	pthread_t thread;
	bool started;
	FCGX_Request fx;
	int epoll; /* for while no connection is kept */
	void *state;
	atomic_bool busy; /* reading a request, in a handler, or sending */
	atomic_bool done;
};

struct server {
	const struct fcgi_program *prog;
	struct listener *listener;
	int stop_fd; /* readable as soon as stopping is set */
	atomic_bool stopping;
	atomic_uint requests;
};

/* FastCGI ------------------------------------------------------------------ */

static ssize_t
fast_read(struct request *r, void *p, size_t n)
{
	int got = FCGX_GetStr(p, (int)n, r->fx->in);

	/* A peer that died looks like end of file. */
	return FCGX_GetError(r->fx->in) != 0 ? -1 : got;
}

static int
fast_write(struct request *r, const char *p, size_t n)
{
	return FCGX_PutStr(p, (int)n, r->fx->out) == (int)n ? 0 : -1;
}

static bool
fast_gone(const struct request *r)
{
	struct pollfd pfd = { .fd = r->fx->ipcFd,
		.events = POLLIN | POLLRDHUP };
	unsigned char head[8];
	ssize_t n;

	if (pfd.fd < 0 || poll(&pfd, 1, 0) <= 0)
		return false;
	if (pfd.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL))
		return true;
	n = recv(pfd.fd, head, sizeof(head), MSG_PEEK | MSG_DONTWAIT);
	if (n == 0)
		return true;
	/* A record's header: version, type. */
	return n == sizeof(head) && head[1] == FCGI_ABORT;
}

static void
fast_cut(struct request *r)
{
	if (r->fx->ipcFd >= 0)
		shutdown(r->fx->ipcFd, SHUT_RDWR);
}

static const struct wire fast_wire = { fast_read, fast_write, fast_gone,
	fast_cut };

/* CGI ---------------------------------------------------------------------- */

/* For answer_at_exit: the first byte of an answer is out. */
static bool cgi_answered;

static ssize_t
cgi_read(struct request *r, void *p, size_t n)
{
	ssize_t got;

	(void)r;
	do
		got = read(STDIN_FILENO, p, n);
	while (got == -1 && errno == EINTR);
	return got;
}

static int
cgi_write(struct request *r, const char *p, size_t n)
{
	(void)r;
	cgi_answered = true;
	return file_write_all(STDOUT_FILENO, p, n);
}

/* Blocked by our caller: lighttpd sends one when its client has gone. */
static bool
cgi_told_to_stop(void)
{
	sigset_t set;

	return sigpending(&set) == 0 &&
	    (sigismember(&set, SIGTERM) == 1 || sigismember(&set, SIGINT) == 1);
}

static bool
cgi_gone(const struct request *r)
{
	struct pollfd pfd = { .fd = STDOUT_FILENO };

	(void)r;
	/* A pipe that nobody reads any more. */
	return cgi_told_to_stop() ||
	    (poll(&pfd, 1, 0) == 1 &&
		(pfd.revents & (POLLERR | POLLHUP | POLLNVAL)) != 0);
}

/* Only what has a Content-Length is sent: a short one tells by itself. */
static void
cgi_cut(struct request *r)
{
	(void)r;
}

static const struct wire cgi_wire = { cgi_read, cgi_write, cgi_gone, cgi_cut };

static bool
cgi_method_is(const char *name)
{
	const char *method = FCGX_GetParam("REQUEST_METHOD", environ);

	return method != NULL && strcmp(method, name) == 0;
}

/*
 * Web servers make a 500 or 502 of a program that ended without a word.  A PUT
 * gets no such answer once its body may have been sent (push.h).
 */
static void
answer_at_exit(void)
{
	static const char text[] = "the server can't do this now; its log says "
				   "why\n";
	const char *role = FCGX_GetParam("TMPNIX_ROLE", environ);
	bool check = role != NULL && role[0] != '\0';
	char chunk[4096];

	if (cgi_answered)
		return;
	dprintf(STDOUT_FILENO,
	    "Status: %s\r\nContent-Type: text/plain\r\n"
	    "Content-Length: %zu\r\n\r\n%s",
	    cgi_method_is("PUT") && !check ? "424 Failed Dependency"
					   : "500 Internal Server Error",
	    sizeof(text) - 1, cgi_method_is("HEAD") ? "" : text);
	/* See drain. */
	while (read(STDIN_FILENO, chunk, sizeof(chunk)) > 0)
		;
}

bool
fcgi_is_cgi(void)
{
	return !listen_is_socket(STDIN_FILENO) &&
	    FCGX_GetParam("REQUEST_METHOD", environ) != NULL;
}

int
fcgi_cgi_begin(void)
{
	/* Who goes away in the middle of an answer ends none of our work. */
	return signal(SIGPIPE, SIG_IGN) == SIG_ERR ||
		atexit(answer_at_exit) != 0
	    ? -1
	    : 0;
}

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
	    (r->fx == NULL && cgi_told_to_stop());
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

static void
send_reply(struct request *r, int status)
{
	struct buf head = BUF_INIT;

	if (r->check)
		status = as_check(r, status);
	if (r->produce != NULL && r->fx == NULL && r->method != HTTP_HEAD)
		status = produce_file(r, status);
	r->status = status;
	buf_addf(&head, "Status: %d %s\r\n", status, reason(status));
	buf_add(&head, buf_str(&r->headers), r->headers.len);
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
		return -1;
	n = prefix == NULL ? 0 : strlen(prefix);
	if (n > 0 && prefix[n - 1] == '/')
		n--;
	if (n > 0 && strncmp(uri, prefix, n) != 0)
		return -1;
	uri += n;
	if (*uri == '/')
		uri++;
	else if (*uri != '\0' && *uri != '?')
		return -1;
	if ((r->path = strdup(uri)) == NULL)
		return -1;
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
	if (r->has_client && trusted != NULL && trusted->n > 0 &&
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
answer(struct worker *w, struct request *r)
{
	const struct fcgi_program *prog = w->server->prog;
	const struct route *t;
	unsigned int allowed, scope;
	bool sent;
	int status;

	if (parse_target(r) == -1)
		return reply_empty(r, 404);
	if ((t = find_route(prog, r, &allowed)) == NULL)
		return allowed == 0 ? reply_empty(r, 404)
				    : refuse_method(r, allowed);
	/* Its body may have been sent: no 5xx then (push.h). */
	sent = (t->flags & ROUTE_BODY) && !r->check;
	if (w->state == NULL &&
	    (w->state = prog->state_new(prog->shared)) == NULL)
		return reply_text(
		    r, sent ? 424 : 500, "the server can't open its index");
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

/* Read what is left of a short body; false when the rest is too long. */
static bool
drain(struct request *r)
{
	char chunk[4096];

	if (r->check || r->length <= r->taken ||
	    request_param(r, "TMPNIX_BODY_FILE") != NULL)
		return true;
	/*
	 * fcgiwrap passes the whole body on before it looks for an answer, and
	 * makes a 502 of one that was not read.  lighttpd closes the pipe.
	 */
	if (r->fx != NULL && r->length - r->taken > DRAIN_MAX)
		return false;
	while (request_read(r, chunk, sizeof(chunk)) > 0)
		;
	return r->taken == r->length;
}

/* Serve one request; false when its connection can't be used again. */
static bool
serve(struct worker *w)
{
	struct request r;
	const char *role;
	char id[16];
	bool clean;

	memset(&r, 0, sizeof(r));
	r.fd = -1;
	r.stopping = &w->server->stopping;
	if (w->server->listener == NULL) {
		r.wire = &cgi_wire;
		r.envp = environ;
	} else {
		r.wire = &fast_wire;
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
	parse_client(&r, w->server->prog->trusted_proxies);
	send_reply(&r, answer(w, &r));
	clean = drain(&r);
	log_request(NULL);

	if (r.produced != NULL)
		r.produced(r.arg);
	if (r.fd != -1)
		close(r.fd);
	free(r.path);
	buf_free(&r.headers);
	buf_free(&r.body);
	return clean;
}

/* The one request of a CGI process; no thread is started. */
static int
serve_cgi(const struct fcgi_program *prog)
{
	struct server srv = { .prog = prog };
	struct worker w = { .server = &srv };

	serve(&w);
	if (w.state != NULL)
		prog->state_free(w.state);
	return 0;
}

/* Threads ---------------------------------------------------------------- */

/* Events of a worker's epoll: which of the two descriptors. */
enum { EVENT_LISTEN, EVENT_STOP };

/*
 * EPOLLEXCLUSIVE: a connection wakes one idle worker, not all of them.  Only
 * descriptors of ours are added, so that an inherited socket's other users are
 * not disturbed.
 */
static int
watch(struct worker *w)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLEXCLUSIVE,
		.data.u32 = EVENT_LISTEN };
	const struct server *srv = w->server;

	w->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (w->epoll == -1 ||
	    epoll_ctl(w->epoll, EPOLL_CTL_ADD, listen_fd(srv->listener), &ev) ==
		-1)
		return -1;
	ev.events = EPOLLIN;
	ev.data.u32 = EVENT_STOP;
	return epoll_ctl(w->epoll, EPOLL_CTL_ADD, srv->stop_fd, &ev);
}

/* On a connection kept from the last request: false when told to stop. */
static bool
wait_kept(struct worker *w)
{
	struct pollfd fds[2] = {
		{ .fd = w->fx.ipcFd, .events = POLLIN },
		{ .fd = w->server->stop_fd, .events = POLLIN },
	};

	while (poll(fds, 2, -1) == -1)
		if (errno != EINTR)
			return false;
	/* What was asked already is answered. */
	return fds[0].revents != 0;
}

/*
 * Wait until FCGX_Accept_r has something to do; false when it is time to end.
 * It is called only then: it would wait where nothing but a signal or the end
 * of the listening socket reaches it, and that socket may not be ours to end.
 */
static bool
wait_request(struct worker *w)
{
	struct epoll_event ev;

	if (w->fx.ipcFd >= 0) {
		if (wait_kept(w))
			return true;
		FCGX_Free(&w->fx, 1);
	}
	while (epoll_wait(w->epoll, &ev, 1, -1) == -1)
		if (errno != EINTR)
			return false;
	/* At the end connections that wait at our own socket are served. */
	return !atomic_load(&w->server->stopping) ||
	    !listen_is_inherited(w->server->listener);
}

/* FCGX_Accept_r returned rc: may the worker go on? */
static bool
accept_failed(const struct server *srv, int rc)
{
	switch (-rc) {
	case EAGAIN: /* another was faster, or nobody comes any more */
		return !atomic_load(&srv->stopping);
	case EINTR:
	case ECONNABORTED:
		return true;
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case ENOBUFS:
		errno = -rc;
		log_warn("accept: pausing");
		sleep(1);
		return true;
	}
	if (!atomic_load(&srv->stopping)) {
		errno = rc < 0 ? -rc : EIO;
		log_warn("accept");
		kill(getpid(), SIGTERM);
	}
	return false;
}

static void *
work(void *arg)
{
	struct worker *w = arg;
	struct server *srv = w->server;
	bool clean, go_on = true;
	int rc;

	if (FCGX_InitRequest(&w->fx, listen_fd(srv->listener),
		FCGI_FAIL_ACCEPT_ON_INTR) != 0)
		fatalx("libfcgi: no memory");
	while (go_on && wait_request(w)) {
		atomic_store(&w->busy, true);
		rc = FCGX_Accept_r(&w->fx);
		if (rc == 0) {
			clean = serve(w);
			FCGX_Finish_r(&w->fx);
			if (!clean || atomic_load(&srv->stopping))
				FCGX_Free(&w->fx, 1);
		} else
			go_on = accept_failed(srv, rc);
		atomic_store(&w->busy, false);
	}
	FCGX_Free(&w->fx, 1);
	if (w->state != NULL)
		srv->prog->state_free(w->state);
	atomic_store(&w->done, true);
	return NULL;
}

static int
start_workers(struct server *srv, struct worker *w, size_t n)
{
	pthread_attr_t attr;
	size_t i;
	int rc = 0;

	if (pthread_attr_init(&attr) != 0)
		return -1;
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	for (i = 0; i < n && rc == 0; i++) {
		w[i].server = srv;
		if (watch(&w[i]) == -1)
			rc = errno;
		else
			rc = pthread_create(&w[i].thread, &attr, work, &w[i]);
		w[i].started = rc == 0;
	}
	pthread_attr_destroy(&attr);
	if (rc == 0)
		return 0;
	errno = rc;
	return -1;
}

/* End the connections of requests that are being served; how many. */
static size_t
cut_workers(struct worker *w, size_t n, int how)
{
	size_t i, cut = 0;
	int fd;

	for (i = 0; i < n; i++) {
		fd = w[i].fx.ipcFd;
		if (w[i].started && atomic_load(&w[i].busy) && fd > 2) {
			shutdown(fd, how);
			cut++;
		}
	}
	return cut;
}

/*
 * Wait for the workers: 0, or -1 when it took ms milliseconds.  A fourth of
 * that (STOP_RESERVE_MS at most) is for ending the requests that don't end by
 * themselves, because their client stands still.  First nothing more comes
 * from it: so a body that is not complete can still be refused in words.  Then
 * nothing gets to it either.
 */
static int
stop_workers(struct worker *w, size_t n, int64_t ms)
{
	const struct timespec pause = { 0, STOP_TICK_MS * 1000 * 1000 };
	int64_t reserve = ms / 4 < STOP_RESERVE_MS ? ms / 4 : STOP_RESERVE_MS;
	int64_t at;
	size_t i, left, cut;
	bool warned = false;

	for (at = 0;; at += STOP_TICK_MS) {
		for (i = left = 0; i < n; i++)
			left += w[i].started && !atomic_load(&w[i].done);
		if (left == 0)
			break;
		if (at >= ms)
			return -1;
		if (at >= ms - reserve) {
			cut = cut_workers(
			    w, n, at >= ms - reserve / 2 ? SHUT_RDWR : SHUT_RD);
			if (cut > 0 && !warned)
				log_warnx("%zu requests not finished within "
					  "stop_timeout are cut",
				    cut);
			warned = true;
		}
		nanosleep(&pause, NULL);
	}
	for (i = 0; i < n; i++)
		if (w[i].started)
			pthread_join(w[i].thread, NULL);
	return 0;
}

static int64_t
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Tell everybody to stop, and see that they do, until the time is over. */
static int
stop_server(struct server *srv, struct worker *w, size_t n, int64_t until)
{
	const uint64_t one = 1;

	atomic_store(&srv->stopping, true);
	listen_stop(srv->listener);
	if (write(srv->stop_fd, &one, sizeof(one)) == -1)
		log_warn("stop");
	if (srv->prog->stopping != NULL)
		srv->prog->stopping(srv->prog->shared);
	return stop_workers(w, n, until - now_ms());
}

int
fcgi_serve(const struct fcgi_program *prog, struct listener *l, size_t n,
    unsigned int stop_timeout)
{
	struct server srv = { .prog = prog, .listener = l, .stop_fd = -1 };
	struct worker *w = NULL;
	int64_t until;
	sigset_t set;
	int sig;
	size_t i;

	if (l == NULL)
		return serve_cgi(prog);
	/* FCGX_Init calms SIGPIPE. */
	if (FCGX_Init() != 0 || (w = calloc(n, sizeof(*w))) == NULL ||
	    (srv.stop_fd = eventfd(0, EFD_CLOEXEC)) == -1) {
		log_warn("start serving");
		free(w);
		return -1;
	}
	for (i = 0; i < n; i++)
		w[i].epoll = -1;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (start_workers(&srv, w, n) == -1)
		log_warn("start threads");
	else if (sigwait(&set, &sig) == 0)
		log_info("stopping: %s", sig == SIGINT ? "SIGINT" : "SIGTERM");
	until = now_ms() + (int64_t)stop_timeout * 1000;
	if (stop_server(&srv, w, n, until) == -1) {
		log_warnx("requests are still at work after stop_timeout: "
			  "they are abandoned");
		return -1; /* the threads still use w */
	}
	for (i = 0; i < n; i++)
		if (w[i].epoll != -1)
			close(w[i].epoll);
	close(srv.stop_fd);
	free(w);
	until -= now_ms();
	return until > 0 ? (int)(until / 1000) : 0;
}
