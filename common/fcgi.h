/*
 * FastCGI requests: threads, the accept loop, routes, replies.  The only
 * module that knows libfcgi; it knows nothing of SQL, keys or stores.
 *
 * A program gives a static table of routes, callbacks that make and free what
 * one thread needs (its database connection), and one that decides who may do
 * what.  The front answers by itself: 404 for a path no route has, 405 + Allow
 * for a method none has, 401/403 as authorize says, 411 without a
 * Content-Length where a body is needed.  HEAD is answered wherever GET is.
 *
 * What the web server sends (RFC 3875 and our own): REQUEST_METHOD,
 * REQUEST_URI (raw), SCRIPT_NAME (the prefix to take off), CONTENT_LENGTH,
 * REMOTE_ADDR, HTTP_*, and
 *   TMPNIX_ROLE=check   an authentication subrequest: everything that can be
 *                       said before the body is read, as 204 or as 403 with
 *                       X-Tmpnix-Status and X-Tmpnix-Why; FastCGI's role
 *                       Authorizer is the same check, answered as 200 or with
 *                       the refusal itself
 *   TMPNIX_SEND=x-accel     files may be answered with X-Accel-Redirect
 *   TMPNIX_SEND=x-sendfile  ... with X-Sendfile
 *   TMPNIX_BODY_FILE    the body lies in this file instead of the stream
 *
 * All this goes for CGI (RFC 3875) as well, where a process serves one request
 * from its environment, standard input and standard output; what differs:
 *   - the web server tells of a client that went away by SIGTERM or by closing
 *     our standard output, or not at all
 *   - the end of a body is all the web server sees of us: what reply_stream
 *     produces is collected in a temporary file and sent with its length
 *   - a body that was not read is read to its end after the answer
 */
#ifndef FCGI_H
#define FCGI_H

#include <sys/types.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "listen.h"
#include "live.h"
#include "netaddr.h"

enum http_method {
	HTTP_GET = 1,
	HTTP_HEAD = 2,
	HTTP_PUT = 4,
	HTTP_POST = 8,
	HTTP_OTHER = 16,
};

struct request;

enum http_method request_method(const struct request *r);
/* Below SCRIPT_NAME, percent-encoded as sent, without the leading slash and
 * the query.  Valid until the handler returns, as all strings here. */
const char *request_path(const struct request *r);
/* What stands behind the first "?"; NULL when there is none. */
const char *request_query(const struct request *r);
/* A FastCGI parameter, NULL when it was not sent or is empty. */
const char *request_param(const struct request *r, const char *name);
/* The declared length of the body; -1 when there is none. */
int64_t request_length(const struct request *r);
/*
 * Whose request it is: REMOTE_ADDR, or, where that is a trusted proxy, the
 * address it got the request from (HTTP_X_FORWARDED_FOR; see
 * netaddr_forwarded).  NULL when the web server gave no address.
 */
const struct netaddr *request_client(const struct request *r);
/* Is this the check before the body (TMPNIX_ROLE=check, or an Authorizer)? */
bool request_is_check(const struct request *r);

/* Is the program told to stop?  A handler that waits for something ends. */
bool request_stopping(const struct request *r);

/*
 * Read from the body's stream: bytes read, 0 at its end, -1 when the client or
 * the web server went away before Content-Length bytes came.
 */
ssize_t request_read(struct request *r, void *p, size_t n);

/*
 * Has the client gone away meanwhile?  Asked by handlers that take long, after
 * the body was read.  A web server says so by closing its connection to us
 * (nginx does, unless fastcgi_ignore_client_abort is on; so does lighttpd), or
 * by FCGI_ABORT_REQUEST.
 */
bool request_gone(struct request *r);

/* Read the body to its end and forget it: 0, -1 as request_read or when it has
 * more than max bytes. */
int request_skip(struct request *r, int64_t max);

/*
 * What a handler answers with: the return value is the status; these add the
 * rest.  Nothing is sent before the handler has returned.
 */

/* A header; a value with control characters or over 2 KiB is dropped (and
 * logged): it can't have come from us.  A Cache-Control "public" becomes
 * "private" where the route has a scope. */
void reply_header(struct request *r, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The body is one line of text/plain; returns status for "return". */
int reply_text(struct request *r, int status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The body, handed over: *b is empty afterwards. */
int reply_buf(struct request *r, int status, struct buf *b);

/*
 * The body is length bytes of fd from offset on.  fd is closed when they were
 * sent, or when they were not.
 */
int reply_file(
    struct request *r, int status, int fd, off_t offset, uint64_t length);

/*
 * The body is what produce gives to reply_write.  Called once, when the headers
 * were sent; not for HEAD.  When it returns -1 the connection is cut, so that
 * nobody takes what was sent for the whole.  done is called last, in any case.
 */
int reply_stream(struct request *r, int status,
    int (*produce)(struct request *r, void *arg), void (*done)(void *arg),
    void *arg);
/* 0, or -1 when the client has gone: produce gives up then. */
int reply_write(struct request *r, const void *p, size_t n);

/* For HEAD-like answers: no body, but this Content-Length. */
int reply_length(struct request *r, int status, uint64_t length);

/* No body at all. */
int reply_empty(struct request *r, int status);

#define ROUTE_BODY 1u /* needs Content-Length */
#define ROUTE_EXACT                                                            \
	2u /* the path must equal the pattern; else: begin with it */

struct route {
	unsigned int methods; /* bits of enum http_method */
	const char *pattern;
	unsigned int flags;
	unsigned int scope; /* 0: open to all; else for authorize */
	int (*handler)(void *state, struct request *r);
};

struct fcgi_program {
	const struct route *routes; /* the first that matches, for each
				     * method; ended by methods == 0 */
	unsigned int open_scopes; /* of the routes: asked of nobody */
	/* Each request is served by what is in force when it comes; its
	 * trusted_proxies are those whose X-Forwarded-For is believed. */
	struct live *live;
	/* A thread's own state, made at its first request; NULL: answer 503 */
	void *(*state_new)(void *shared);
	void (*state_free)(void *state);
	/* Serve the next request by s: called before authorize and handler */
	void (*use)(void *state, const struct settings *s);
	void *shared;
	/* 0, or the status of a refusal, already filled in by a reply_ call */
	int (*authorize)(void *state, struct request *r, unsigned int scope);
	/* Told to stop: handlers that wait should not wait on.  May be NULL */
	void (*stopping)(void *shared);
	/* s has come into force by SIGHUP.  May be NULL */
	void (*reloaded)(void *shared, const struct settings *s);
};

/*
 * Is this process one of a CGI?  Descriptor 0 is no listening socket, and the
 * environment has a request.
 */
bool fcgi_is_cgi(void);

/*
 * Before all else of a CGI process: should it exit before it has answered, it
 * answers that it can't, so that no web server makes up a 5xx that Nix would
 * send an empty body after.  0 or -1.
 */
int fcgi_cgi_begin(void);

/*
 * Serve requests accepted from l with n threads until SIGTERM or SIGINT; SIGHUP
 * has the configuration read again.  The caller has these blocked already, in
 * every thread.  At the end open requests are
 * finished, within stop_timeout seconds: shortly before, those that stand still
 * are cut.  Returns the seconds that are left of it, 0 or more, or -1 when
 * threads were still busy then: exit without freeing what they use.
 *
 * Without l (NULL) it is this CGI process's one request, in this thread: 0.
 */
int fcgi_serve(const struct fcgi_program *prog, struct listener *l, size_t n,
    unsigned int stop_timeout);

#endif
