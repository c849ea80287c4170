#include "config.h"

#include "fcgi_request.h"

#include <sys/socket.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file.h"
#include "log.h"

/* The type of the record (FastCGI specification, 8). */
#define FCGI_ABORT 2

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

const struct wire fcgi_wire_fast = { fast_read, fast_write, fast_gone,
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
	if (file_write_all(STDOUT_FILENO, p, n) == 0)
		return 0;
	log_info("the web server takes no answer any more");
	return -1;
}

/* Blocked by our caller: lighttpd sends one when its client has gone. */
bool
fcgi_cgi_told_to_stop(void)
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
	return fcgi_cgi_told_to_stop() ||
	    (poll(&pfd, 1, 0) == 1 &&
		(pfd.revents & (POLLERR | POLLHUP | POLLNVAL)) != 0);
}

/* Only what has a Content-Length is sent: a short one tells by itself. */
static void
cgi_cut(struct request *r)
{
	(void)r;
}

const struct wire fcgi_wire_cgi = { cgi_read, cgi_write, cgi_gone, cgi_cut };

static bool
cgi_method_is(const char *name)
{
	const char *method = FCGX_GetParam("REQUEST_METHOD", environ);

	return method != NULL && strcmp(method, name) == 0;
}

static const char *
cgi_param(const char *name)
{
	const char *v = FCGX_GetParam(name, environ);

	return v != NULL ? v : "?";
}

/*
 * Web servers make a 500 or 502 of a program that ended without a word.  A PUT
 * gets no such answer once its body may have been sent (push.h).  Nobody may
 * look where our standard error goes: the system's log gets the reason too.
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
	log_ended("%s %s: no answer", cgi_param("REQUEST_METHOD"),
	    cgi_param("REQUEST_URI"));
	dprintf(STDOUT_FILENO,
	    "Status: %s\r\nContent-Type: text/plain\r\n"
	    "X-Content-Type-Options: nosniff\r\n"
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
