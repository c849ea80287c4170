#include "config.h"

#include <sys/socket.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "unit.h"

#include "buf.h"
#include "fcgi_request.h"
#include "file.h"
#include "log.h"
#include "num.h"

/* Types of records (FastCGI specification, 8). */
enum { BEGIN = 1, ABORT, END, PARAMS, IN, OUT };

static char body[] = "0123456789";

/* A program of the test's own: what a handler sees, as a line. */
static int
echo(void *state, struct request *r)
{
	char client[NETADDR_TEXT] = "-";

	(void)state;
	if (request_client(r) != NULL)
		netaddr_print(request_client(r), client);
	if (request_param(r, "HTTP_X") != NULL)
		reply_header(r, "X-Was", "%s", request_param(r, "HTTP_X"));
	reply_header(r, "Cache-Control", "public, max-age=1");
	return reply_text(r, 200, "path=%s query=%s client=%s", request_path(r),
	    request_query(r) != NULL ? request_query(r) : "-", client);
}

static int
file(void *state, struct request *r)
{
	int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);

	(void)state;
	ck_assert_int_ne(fd, -1);
	return reply_file(r, 206, fd, 1, 4);
}

static int
produce(struct request *r, void *arg)
{
	ck_assert_int_eq(reply_write(r, "a part", 6), 0);
	return *(int *)arg;
}

static int
stream(void *state, struct request *r)
{
	static int rc;

	(void)state;
	rc = strcmp(request_path(r), "cut") == 0 ? -1 : 0;
	return reply_stream(r, 200, produce, NULL, &rc);
}

static int
take(void *state, struct request *r)
{
	char got[64];
	size_t n = 0;
	ssize_t some;

	(void)state;
	if (request_is_check(r))
		return reply_empty(r, 204);
	while ((some = request_read(r, got + n, 3)) > 0)
		n += (size_t)some;
	return reply_text(r, some == 0 ? 201 : 400, "took %.*s", (int)n, got);
}

static int
gone(void *state, struct request *r)
{
	(void)state;
	return reply_text(r, 200, "gone=%d", request_gone(r));
}

static int
refuse(void *state, struct request *r)
{
	(void)state;
	return reply_text(r, 413, "a\tline\nof \x80 what came");
}

static const struct route routes[] = {
	{ HTTP_GET | HTTP_HEAD, "file", ROUTE_EXACT, 0, file },
	{ HTTP_GET | HTTP_HEAD, "whole", ROUTE_EXACT, 0, stream },
	{ HTTP_GET | HTTP_HEAD, "cut", ROUTE_EXACT, 0, stream },
	{ HTTP_GET, "gone", ROUTE_EXACT, 0, gone },
	{ HTTP_GET | HTTP_PUT, "refuse", ROUTE_EXACT, 0, refuse },
	{ HTTP_GET | HTTP_HEAD, "secret/", 0, 1, echo },
	{ HTTP_GET | HTTP_HEAD, "", 0, 0, echo },
	{ HTTP_PUT, "", ROUTE_BODY, 1, take },
	{ HTTP_POST, "post", ROUTE_EXACT, 0, echo },
	{ 0, NULL, 0, 0, NULL },
};

static void *
state_new(void *shared)
{
	return shared;
}

static void *
state_none(void *shared)
{
	(void)shared;
	return NULL;
}

static void
use(void *state, const struct settings *s)
{
	(void)state;
	(void)s;
}

/* The token is the status that its bearer gets; 0 is let in. */
static int
authorize(void *state, struct request *r, unsigned int scope)
{
	const char *token = request_param(r, "HTTP_AUTHORIZATION");
	uint64_t status = 401;

	(void)state;
	ck_assert_uint_eq(scope, 1);
	if (token != NULL)
		ck_assert_int_eq(
		    num_parse(token, strlen(token), 599, &status), 0);
	return status == 0 ? 0 : reply_text(r, (int)status, "not you");
}

static struct fcgi_program prog = {
	.routes = routes,
	.state_new = state_new,
	.use = use,
	.shared = &prog,
	.authorize = authorize,
};
static struct server server = { .prog = &prog,
	.listener = (struct listener *)&server };

static void
add_record(struct buf *b, int type, const char *p, size_t n)
{
	const char head[8] = { 1, (char)type, 0, 1, (char)(n >> 8), (char)n };

	buf_add(b, head, sizeof(head));
	buf_add(b, p, n);
}

/* A request: params are lines "NAME=VALUE", over FCGI_KEEP_CONN. */
static void
add_request(struct buf *b, int role, const char *params, const char *in)
{
	const char begin[8] = { 0, (char)role, 1 };
	struct buf list = BUF_INIT;
	const char *eq, *lf;

	for (; (lf = strchr(params, '\n')) != NULL; params = lf + 1) {
		ck_assert_ptr_nonnull(eq = strchr(params, '='));
		buf_addch(&list, (char)(eq - params));
		buf_addch(&list, (char)(lf - eq - 1));
		buf_add(&list, params, (size_t)(eq - params));
		buf_add(&list, eq + 1, (size_t)(lf - eq - 1));
	}
	add_record(b, BEGIN, begin, sizeof(begin));
	add_record(b, PARAMS, buf_str(&list), list.len);
	add_record(b, PARAMS, NULL, 0);
	if (in != NULL) {
		/* In pieces. */
		add_record(b, IN, in, strlen(in) / 2);
		if (in[0] != '\0')
			add_record(b, IN, in + strlen(in) / 2,
			    strlen(in) - strlen(in) / 2);
	}
	if (role == 1)
		add_record(b, IN, NULL, 0);
	buf_free(&list);
}

/* The records that were answered with: what they say, and "END" after each. */
static void
add_answers(struct buf *out, const struct buf *got)
{
	const unsigned char *p = (const unsigned char *)buf_str(got);
	size_t left, n;

	for (left = got->len; left >= 8; left -= n, p += n) {
		n = 8 + ((size_t)p[4] << 8) + p[5] + p[6];
		ck_assert_uint_le(n, left);
		if (p[1] == OUT)
			buf_add(out, p + 8, n - 8 - p[6]);
		if (p[1] == END)
			buf_adds(out, "\nEND\n");
	}
}

/*
 * Serve these requests, each sent when the one before is answered, over one
 * connection.
 */
static void
serve(const struct buf *requests, size_t n, struct buf *out)
{
	struct worker w = { .server = &server };
	struct buf got = BUF_INIT;
	bool clean = true;
	int fds[2];
	size_t i;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	/* As a connection that was kept: nothing is accepted. */
	ck_assert_int_eq(FCGX_InitRequest(&w.fx, -1, 0), 0);
	w.fx.ipcFd = fds[0];
	w.fx.keepConnection = 1;
	for (i = 0; i < n && clean && w.fx.ipcFd >= 0; i++) {
		ck_assert_int_eq(
		    file_write_all(fds[1], requests[i].p, requests[i].len), 0);
		if (i == n - 1)
			shutdown(fds[1], SHUT_WR);
		ck_assert_int_eq(FCGX_Accept_r(&w.fx), 0);
		clean = fcgi_serve_one(&w);
		FCGX_Finish_r(&w.fx);
	}
	FCGX_Free(&w.fx, 1);
	ck_assert_int_eq(file_read_max(fds[1], 1 << 20, &got), 0);
	close(fds[1]);
	add_answers(out, &got);
	buf_free(&got);
}

static void
setup(void)
{
	static const char text[] = "trusted_proxies = 10.0.0.0/8\n";
	struct buf errs = BUF_INIT;
	struct conf *c = conf_parse(text, sizeof(text) - 1, "f", &errs);

	log_init("check", true, LOG_LVL_WARN);
	ck_assert_ptr_nonnull(c);
	ck_assert_ptr_nonnull(prog.live = live_new("f", c, false));
	ck_assert_int_eq(FCGX_Init(), 0);
}

static void
teardown(void)
{
	live_free(prog.live);
}

#define TO(method, uri) "REQUEST_METHOD=" method "\nREQUEST_URI=" uri "\n"
#define CACHE(method, uri) TO(method, "/cache" uri) "SCRIPT_NAME=/cache\n"
#define FROM(address) "REMOTE_ADDR=" address "\n"
#define OK_TOKEN "HTTP_AUTHORIZATION=0\n"

/* A request; its status line, what its answer has and what it has not. */
static const struct {
	const char *params, *in;
	const char *status, *has, *not ;
} rows[] = {
	/* The target. */
	{ CACHE("GET", "/x?a=b?c"), NULL, "200 OK", "path=x query=a=b?c ",
	    NULL },
	{ CACHE("GET", "/%2e%2E"), NULL, "200 OK", "path=%2e%2E query=- ",
	    NULL },
	{ CACHE("GET", ""), NULL, "200 OK", "path= ", NULL },
	{ CACHE("GET", "?q"), NULL, "200 OK", "path= query=q", NULL },
	{ CACHE("GET", "x"), NULL, "404 Not Found", NULL, NULL },
	{ TO("GET", "/x") "SCRIPT_NAME=/\n", NULL, "200 OK", "path=x ", NULL },
	{ TO("GET", "/x"), NULL, "200 OK", "path=x ", NULL },
	{ TO("GET", "/other/x") "SCRIPT_NAME=/cache\n", NULL, "404 Not Found",
	    NULL, NULL },
	{ "REQUEST_METHOD=GET\n", NULL, "404 Not Found", NULL, NULL },
	/* Methods. */
	{ TO("DELETE", "/x"), NULL, "405 Method Not Allowed",
	    "\r\nAllow: GET, HEAD, PUT\r\n", NULL },
	{ TO("PUT", "/file"), NULL, "405 Method Not Allowed",
	    "\r\nAllow: GET, HEAD\r\n", NULL },
	{ TO("HEAD", "/x"), NULL, "200 OK", "\r\nContent-Length: 24\r\n",
	    "path" },
	{ "REQUEST_URI=/x\n", NULL, "405 Method Not Allowed", NULL, NULL },
	/* On every answer. */
	{ TO("GET", "/x"), NULL, "200 OK",
	    "\r\nX-Content-Type-Options: nosniff\r\n", NULL },
	{ TO("DELETE", "/x"), NULL, "405 Method Not Allowed",
	    "\r\nX-Content-Type-Options: nosniff\r\n", NULL },
	/* Lengths and kinds of bodies. */
	{ TO("GET", "/x"), NULL, "200 OK", "\r\nContent-Length: 24\r\n", NULL },
	{ TO("GET", "/file"), NULL, "206 Partial Content",
	    "Content-Length: 4\r\n\r\name:\nEND\n", NULL },
	{ TO("HEAD", "/file"), NULL, "206 Partial Content",
	    "Content-Length: 4\r\n\r\n\nEND\n", NULL },
	{ TO("GET", "/whole"), NULL, "200 OK", "\r\n\r\na part\nEND\n",
	    "Content-Length" },
	{ TO("HEAD", "/whole"), NULL, "200 OK", "\r\n\r\n\nEND\n", "a part" },
	/* A text is one line, and no header has a second. */
	{ TO("GET", "/refuse"), NULL, "413 Content Too Large",
	    "\r\n\r\na?line?of ? what came\n", NULL },
	{ TO("GET", "/x") "HTTP_X=a\tb\n", NULL, "200 OK", NULL, "X-Was" },
	{ TO("GET", "/x") "HTTP_X=a\x7f\n", NULL, "200 OK", NULL, "X-Was" },
	{ TO("GET", "/x") "HTTP_X=a\rb\n", NULL, "200 OK", NULL, "X-Was" },
	{ TO("GET", "/x") "HTTP_X=ab\n", NULL, "200 OK", "\r\nX-Was: ab\r\n",
	    NULL },
	/* Tokens. */
	{ TO("GET", "/secret/x"), NULL, "401 Unauthorized", "not you", NULL },
	{ TO("GET", "/secret/x") OK_TOKEN, NULL, "200 OK",
	    "\r\nCache-Control: private, max-age=1\r\n", "public" },
	{ TO("GET", "/x"), NULL, "200 OK",
	    "\r\nCache-Control: public, max-age=1\r\n", "private" },
	{ TO("PUT", "/x") "CONTENT_LENGTH=1\n", "x", "401 Unauthorized", NULL,
	    NULL },
	{ TO("GET", "/secret/x") "HTTP_AUTHORIZATION=503\n", NULL,
	    "503 Service Unavailable", NULL, NULL },
	/* The index fails after a body: no 5xx. */
	{ TO("PUT", "/x") "CONTENT_LENGTH=1\nHTTP_AUTHORIZATION=503\n", "x",
	    "424 Failed Dependency", NULL, NULL },
	{ TO("PUT", "/x") "CONTENT_LENGTH=1\nHTTP_AUTHORIZATION=500\n", "x",
	    "424 Failed Dependency", NULL, NULL },
	{ TO("PUT", "/x") "CONTENT_LENGTH=1\nHTTP_AUTHORIZATION=499\n", "x",
	    "499 Unknown", NULL, NULL },
	/* Bodies. */
	{ TO("PUT", "/x") OK_TOKEN "CONTENT_LENGTH=10\n", body, "201 Created",
	    "took 0123456789\n", NULL },
	{ TO("PUT", "/x") OK_TOKEN "CONTENT_LENGTH=0\n", "", "201 Created",
	    "took \n", NULL },
	{ TO("PUT", "/x") OK_TOKEN "CONTENT_LENGTH=11\n", body,
	    "400 Bad Request", NULL, NULL },
	{ TO("PUT", "/x") OK_TOKEN "CONTENT_LENGTH=9\n", body, "201 Created",
	    "took 012345678\n", NULL },
	{ TO("PUT", "/x") OK_TOKEN, body, "411 Length Required", NULL, NULL },
	{ TO("PUT", "/x") OK_TOKEN "CONTENT_LENGTH=x\n", body,
	    "411 Length Required", NULL, NULL },
	{ TO("PUT", "/x") OK_TOKEN "CONTENT_LENGTH=-1\n", body,
	    "411 Length Required", NULL, NULL },
	/* The check before the body. */
	{ TO("PUT", "/x") OK_TOKEN "CONTENT_LENGTH=10\nTMPNIX_ROLE=check\n",
	    NULL, "204 No Content", NULL, "Content-Length" },
	{ TO("PUT", "/x") "CONTENT_LENGTH=10\nTMPNIX_ROLE=check\n", NULL,
	    "403 Forbidden",
	    "\r\nX-Tmpnix-Status: 401\r\nX-Tmpnix-Why: not you\r\n",
	    "\nnot you" },
	{ TO("PUT", "/x") "CONTENT_LENGTH=1\nHTTP_AUTHORIZATION=503\n"
			  "TMPNIX_ROLE=check\n",
	    NULL, "403 Forbidden", "\r\nX-Tmpnix-Status: 503\r\n", NULL },
	{ TO("GET", "/x") "TMPNIX_ROLE=check\n", NULL, "204 No Content", NULL,
	    "path=" },
	{ TO("PUT", "/x") OK_TOKEN "CONTENT_LENGTH=10\nTMPNIX_ROLE=no\n", body,
	    "201 Created", NULL, NULL },
	/* Who asks. */
	{ TO("GET", "/x") FROM("10.1.1.1"), NULL, "200 OK", "client=10.1.1.1\n",
	    NULL },
	{ TO("GET", "/x") FROM("nonsense"), NULL, "200 OK", "client=-\n",
	    NULL },
	{ TO("GET", "/x") FROM("10.1.1.1") "HTTP_X_FORWARDED_FOR=1.1.1.1\n",
	    NULL, "200 OK", "client=1.1.1.1\n", NULL },
	{ TO("GET", "/x") FROM("9.1.1.1") "HTTP_X_FORWARDED_FOR=1.1.1.1\n",
	    NULL, "200 OK", "client=9.1.1.1\n", NULL },
	{ TO("GET", "/x") FROM("10.1.1.1") "HTTP_X_FORWARDED_FOR=1.1.1.1\n"
					   "HTTP_X_FORWARDED_FOR=2.2.2.2\n",
	    NULL, "200 OK", "client=10.1.1.1\n", NULL },
	{ TO("GET", "/gone"), NULL, "200 OK", "gone=1\n", NULL },
};

START_TEST(row)
{
	struct buf b = BUF_INIT, out = BUF_INIT;
	char status[64];

	snprintf(status, sizeof(status), "Status: %s\r\n", rows[_i].status);
	add_request(&b, 1, rows[_i].params, rows[_i].in);
	serve(&b, 1, &out);
	ck_assert_msg(strncmp(buf_str(&out), status, strlen(status)) == 0,
	    "%s: %s", rows[_i].params, buf_str(&out));
	if (rows[_i].has != NULL)
		ck_assert_msg(strstr(buf_str(&out), rows[_i].has) != NULL,
		    "%s: %s", rows[_i].params, buf_str(&out));
	if (rows[_i].not != NULL)
		ck_assert_msg(strstr(buf_str(&out), rows[_i].not ) == NULL,
		    "%s: %s", rows[_i].params, buf_str(&out));
	buf_free(&b);
	buf_free(&out);
}
END_TEST

/* FastCGI's role Authorizer: no body, the client's own length. */
static const struct {
	const char *params, *status;
} checks[] = {
	{ TO("PUT", "/x") OK_TOKEN "HTTP_CONTENT_LENGTH=9\n", "200 OK" },
	{ TO("PUT", "/x") OK_TOKEN "CONTENT_LENGTH=9\n", "411 Length" },
	{ TO("PUT", "/x") "HTTP_CONTENT_LENGTH=9\n", "401 Unauth" },
	{ TO("GET", "/x"), "200 OK" },
};

START_TEST(authorizer)
{
	struct buf b = BUF_INIT, out = BUF_INIT;

	add_request(&b, 2, checks[_i].params, NULL);
	serve(&b, 1, &out);
	ck_assert_ptr_nonnull(strstr(buf_str(&out), checks[_i].status));
	ck_assert_ptr_null(strstr(buf_str(&out), "X-Tmpnix"));
	ck_assert_ptr_null(strstr(buf_str(&out), "path="));
	buf_free(&b);
	buf_free(&out);
}
END_TEST

/*
 * After a body that was refused the connection goes on with the next request,
 * unless what is left of it is more than 64 kB.
 */
static const struct {
	size_t left;
	bool kept;
} lefts[] = { { 0, true }, { 10, true }, { 65536, true }, { 65537, false } };

START_TEST(left_of_a_body)
{
	static char piece[32768];
	struct buf b[2] = { BUF_INIT, BUF_INIT }, out = BUF_INIT;
	size_t left, n;
	char params[100];

	snprintf(params, sizeof(params),
	    "REQUEST_METHOD=PUT\nREQUEST_URI=/x\nCONTENT_LENGTH=%zu\n",
	    lefts[_i].left);
	add_request(&b[0], 1, params, NULL);
	b[0].len -= 8; /* the end of a body */
	for (left = lefts[_i].left; left > 0; left -= n) {
		n = left < sizeof(piece) ? left : sizeof(piece);
		add_record(&b[0], IN, piece, n);
	}
	add_record(&b[0], IN, NULL, 0);
	add_request(&b[1], 1, TO("GET", "/next"), NULL);
	serve(b, 2, &out);
	ck_assert_ptr_nonnull(strstr(buf_str(&out), "Status: 401 "));
	ck_assert_int_eq(
	    strstr(buf_str(&out), "path=next ") != NULL, lefts[_i].kept);
	buf_free(&b[0]);
	buf_free(&b[1]);
	buf_free(&out);
}
END_TEST

/* An answer that failed in its middle has no end. */
START_TEST(cut)
{
	struct buf b = BUF_INIT, out = BUF_INIT;

	add_request(&b, 1, TO("GET", "/cut"), NULL);
	serve(&b, 1, &out);
	ck_assert_ptr_null(strstr(buf_str(&out), "\nEND\n"));
	buf_free(&b);
	buf_free(&out);
}
END_TEST

/* A thread's state can't be made: no 5xx where a body may have been sent. */
static const struct {
	const char *params, *has;
} stateless[] = {
	{ TO("GET", "/x"), "Status: 503 " },
	{ TO("PUT", "/x") OK_TOKEN "CONTENT_LENGTH=0\n", "Status: 424 " },
	{ TO("PUT", "/x") OK_TOKEN "CONTENT_LENGTH=0\nTMPNIX_ROLE=check\n",
	    "X-Tmpnix-Status: 503\r\n" },
};

START_TEST(no_state)
{
	struct buf b = BUF_INIT, out = BUF_INIT;

	prog.state_new = state_none;
	add_request(&b, 1, stateless[_i].params, NULL);
	serve(&b, 1, &out);
	ck_assert_ptr_nonnull(strstr(buf_str(&out), stateless[_i].has));
	buf_free(&b);
	buf_free(&out);
}
END_TEST

/* Is the client there?  Its web server says nothing, aborts, or has gone. */
START_TEST(client_gone)
{
	struct worker w = { .server = &server };
	struct request r = { .wire = &fcgi_wire_fast, .fx = &w.fx };
	struct buf b = BUF_INIT;
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	w.fx.ipcFd = fds[0];
	ck_assert(!request_gone(&r));
	/* The next request, on a connection that is kept. */
	add_record(&b, BEGIN, "\0\1\0\0\0\0\0\0", 8);
	ck_assert_int_eq(file_write_all(fds[1], b.p, b.len), 0);
	ck_assert(!request_gone(&r));
	ck_assert_int_eq((int)read(fds[0], b.p, b.len), (int)b.len);
	buf_clear(&b);
	add_record(&b, ABORT, NULL, 0);
	ck_assert_int_eq(file_write_all(fds[1], b.p, b.len), 0);
	ck_assert(request_gone(&r));
	ck_assert_int_eq((int)read(fds[0], b.p, b.len), (int)b.len);
	ck_assert(!request_gone(&r));
	close(fds[1]);
	ck_assert(request_gone(&r));
	close(fds[0]);
	buf_free(&b);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("fcgi");
	TCase *tc = tcase_create("request");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, row, 0, (int)nitems(rows));
	tcase_add_loop_test(tc, authorizer, 0, (int)nitems(checks));
	tcase_add_loop_test(tc, left_of_a_body, 0, (int)nitems(lefts));
	tcase_add_test(tc, cut);
	tcase_add_loop_test(tc, no_state, 0, (int)nitems(stateless));
	tcase_add_test(tc, client_gone);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
