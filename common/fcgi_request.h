/*
 * What the parts of the front share: a request, the threads, and how bytes come
 * and go.  For fcgi.c and fcgi_*.c only.
 */
#ifndef FCGI_REQUEST_H
#define FCGI_REQUEST_H

#include <sys/types.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <fcgiapp.h>

#include "buf.h"
#include "fcgi.h"
#include "listen.h"
#include "netaddr.h"

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

extern const struct wire fcgi_wire_fast;
extern const struct wire fcgi_wire_cgi;

/* CGI: has the web server asked this process to end? */
bool fcgi_cgi_told_to_stop(void);

/*
 * Serve the one request w has: its connection's, or this CGI process's where
 * the server listens nowhere.  False when the connection can't be used again.
 */
bool fcgi_serve_one(struct worker *w);

#endif
