/*
 * What a web server sends: records of FastCGI, as they come.  Each request is
 * served by a small program of the test's own; what it answers with is whole
 * records, each answer a head and a body, and no byte of a request ends a line
 * of the head.
 */
#include "config.h"

#include <sys/mman.h>
#include <sys/socket.h>

#include <string.h>
#include <unistd.h>

#include "buf.h"
#include "fcgi_request.h"
#include "file.h"
#include "fuzz.h"
#include "log.h"

/* What fits into a socket, and the answers to as many requests too. */
#define INPUT_MAX ((size_t)4 << 10)
#define HEAD 8 /* of a record: version, type, id, length, padding */

enum { END_REQUEST = 3, STDOUT = 6 };

static bool was_cut; /* in the middle of an answer */

static int
echo(void *state, struct request *r)
{
	const char *range = request_param(r, "HTTP_RANGE");

	(void)state;
	MUST(request_path(r) != NULL);
	if (range != NULL)
		reply_header(r, "Content-Range", "%s", range);
	return reply_text(r, 200, "%s %s %d", request_path(r),
	    request_query(r) != NULL ? request_query(r) : "-",
	    request_client(r) != NULL);
}

static int
file(void *state, struct request *r)
{
	static const char text[] = "ten bytes.";
	int fd = memfd_create("file", MFD_CLOEXEC);

	(void)state;
	MUST(fd != -1 && write(fd, text, 10) == 10);
	return reply_file(r, 206, fd, 2, 8);
}

static int
produce(struct request *r, void *arg)
{
	was_cut = true;
	return reply_write(r, arg, strlen(arg)) == 0 ? -1 : 0;
}

static int
cut(void *state, struct request *r)
{
	static char text[] = "a part";

	(void)state;
	return reply_stream(r, 200, produce, NULL, text);
}

static int
take(void *state, struct request *r)
{
	int64_t total = 0;
	char chunk[100];
	ssize_t n;

	(void)state;
	if (request_is_check(r))
		return reply_empty(r, 204);
	MUST(request_length(r) >= 0);
	while ((n = request_read(r, chunk, sizeof(chunk))) > 0)
		total += n;
	MUST(total <= request_length(r));
	MUST((n == 0) == (total == request_length(r)));
	request_gone(r);
	return n == 0 ? reply_empty(r, 201) : reply_text(r, 400, "cut off");
}

static const struct route routes[] = {
	{ HTTP_GET | HTTP_HEAD, "file", ROUTE_EXACT, 0, file },
	{ HTTP_GET | HTTP_HEAD, "cut", ROUTE_EXACT, 0, cut },
	{ HTTP_GET | HTTP_HEAD, "", 0, 0, echo },
	{ HTTP_PUT, "", ROUTE_BODY, 1, take },
	{ HTTP_POST, "read", ROUTE_BODY, 0, take },
	{ 0, NULL, 0, 0, NULL },
};

static void *
state_new(void *shared)
{
	return shared;
}

static void
use(void *state, const struct settings *s)
{
	(void)state;
	(void)s;
}

static int
authorize(void *state, struct request *r, unsigned int scope)
{
	(void)state;
	(void)scope;
	return request_param(r, "HTTP_AUTHORIZATION") != NULL
	    ? 0
	    : reply_text(r, 401, "who is %s", request_path(r));
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
prepare(void)
{
	static const char text[] = "trusted_proxies = 127.0.0.0/8\n";
	struct buf errs = BUF_INIT;
	struct conf *conf;

	log_init("fuzz", true, LOG_LVL_WARN);
	MUST(FCGX_Init() == 0);
	conf = conf_parse(text, sizeof(text) - 1, "fuzz", &errs);
	MUST(conf != NULL);
	MUST((prog.live = live_new("fuzz", conf, false)) != NULL);
}

/*
 * libfcgi ends the process when it gets no memory for a parameter of two
 * gigabytes (RELIABILITY, "not promised"): is there a length that long?  Where
 * the records' parameters stand does not matter for that.
 */
static bool
is_for_us(const uint8_t *data, size_t size)
{
	size_t i;

	for (i = 0; i + 3 < size; i++)
		if (data[i] >= 0x80 && (data[i] != 0x80 || data[i + 1] != 0))
			return false;
	return true;
}

/* The head of an answer: its lines, and no other control character. */
static void
check_answer(const struct buf *b)
{
	const char *end, *p;

	if (b->len == 0)
		return;
	MUST(strncmp(b->p, "Status: ", 8) == 0);
	MUST((end = strstr(b->p, "\r\n\r\n")) != NULL);
	for (p = b->p; p < end; p++)
		MUST((*p == '\r' && p[1] == '\n') ||
		    (*p == '\n' && p > b->p && p[-1] == '\r') ||
		    ((unsigned char)*p >= 0x20 && *p != 0x7f));
}

static void
check_records(const struct buf *got)
{
	const uint8_t *p = (const uint8_t *)got->p;
	struct buf answer = BUF_INIT;
	size_t left = got->len, n;

	while (left >= HEAD) {
		n = HEAD + ((size_t)p[4] << 8) + p[5] + p[6];
		MUST(p[0] == 1);
		if (n > left)
			break;
		if (p[1] == STDOUT)
			buf_add(&answer, p + HEAD, n - HEAD - p[6]);
		if (p[1] == END_REQUEST) {
			check_answer(&answer);
			buf_clear(&answer);
		}
		p += n;
		left -= n;
	}
	MUST(left == 0 || was_cut);
	buf_free(&answer);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct worker w = { .server = &server };
	struct buf got = BUF_INIT;
	bool clean = true;
	int fds[2];

	if (prog.live == NULL)
		prepare();
	if (size > INPUT_MAX || !is_for_us(data, size))
		return 0;
	was_cut = false;
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
	MUST(file_write_all(fds[1], data, size) == 0);
	MUST(shutdown(fds[1], SHUT_WR) == 0);
	/* No connection to accept: one that was kept. */
	MUST(FCGX_InitRequest(&w.fx, -1, FCGI_FAIL_ACCEPT_ON_INTR) == 0);
	w.fx.ipcFd = fds[0];
	w.fx.keepConnection = 1;
	while (clean && w.fx.ipcFd >= 0 && FCGX_Accept_r(&w.fx) == 0) {
		clean = fcgi_serve_one(&w);
		FCGX_Finish_r(&w.fx);
	}
	FCGX_Free(&w.fx, 1);
	MUST(file_read_max(fds[1], (size_t)8 << 20, &got) == 0);
	check_records(&got);
	buf_free(&got);
	close(fds[1]);
	return 0;
}
