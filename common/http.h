/*
 * HTTP requests to servers we are configured to use, by libcurl: the only
 * module that knows it.  One transfer at a time from each thread; bodies are
 * streamed from a file or from memory with their length known beforehand, and
 * to a sink, so that an object of any size costs the same memory.
 *
 * Certificates are verified, redirects are not followed, nothing but the
 * scheme of the given URL is spoken.  A transfer that moves less than 1 KiB/s
 * for the pool's timeout is cut, and so is one that waits as long for the
 * server's answer.
 *
 * Retrying, and what a status means, is up to the caller.
 */
#ifndef HTTP_H
#define HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"

struct http_pool;

/*
 * Handles that keep their connections; each transfer borrows one, so there are
 * never more than threads at work.  ca_file: the only certificates to trust,
 * NULL for the system's.  To be made before threads are; the first one loads
 * libcurl.  NULL on failure (logged).
 */
struct http_pool *http_pool_new(const char *ca_file, uint64_t timeout);
void http_pool_free(struct http_pool *hp);

/* Cut the transfers under way and refuse new ones.  Any thread. */
void http_interrupt(struct http_pool *hp);

struct http_field {
	const char *name;
	const char *value;
};

struct http_call {
	const char *method;
	const char *url;
	const struct http_field *headers;
	size_t nheaders;
	/* The body: size bytes of fd, or of p when fd is -1. */
	bool has_body;
	int fd;
	const void *p;
	uint64_t size;
	/* Not NULL: the body is the last part, "file", of multipart/form-data
	 * with these fields in front. */
	const struct http_field *form;
	size_t nform;
	const char *file_type;
	/* Not NULL: sign by AWS's signature version 4 for this region. */
	const char *region;
	const char *key_id;
	const char *secret;
	/* Most bytes of the answer's body that are kept; the rest is read and
	 * forgotten. */
	size_t body_max;
	/* Not NULL: the body of a 200 goes to it, as it comes, and nothing of
	 * it is kept.  Non-zero ends the transfer: http_do returns -1 then,
	 * and adds nothing to why. */
	int (*sink)(const void *p, size_t n, void *arg);
	void *sink_arg;
};

#define HTTP_ETAG_MAX 127

struct http_answer {
	int status;
	int64_t length; /* Content-Length; -1: none */
	int64_t retry_after; /* seconds; 0: not said */
	char etag[HTTP_ETAG_MAX + 1]; /* "" when there is none */
	struct buf body;
};

/*
 * Do it.  0 when the server answered, whatever it was; -1 when it did not, and
 * one line about it added to why.  Free a->body in both cases.
 */
int http_do(struct http_pool *hp, const struct http_call *call,
    struct http_answer *a, struct buf *why);

/* If the header line (p, n) has this name and its value is shorter than size:
 * the value into out, which stays as it was otherwise. */
void http_header_value(
    const char *p, size_t n, const char *name, char *out, size_t size);

/* The seconds a Retry-After header asks for (RFC 9110, 10.2.3), at most a day;
 * 0 when it can't be understood. */
int64_t http_retry_after(const char *value, int64_t now);

#endif
