/*
 * Presigned URLs: AWS signature version 4 in the query ("Authenticating
 * Requests: Using Query Parameters" of Amazon S3's manual).  Requests with a
 * header are signed by libcurl (http.h).  Pure.
 */
#ifndef ASSET_SIGV4_H
#define ASSET_SIGV4_H

#include <stdint.h>

#include "buf.h"

struct sigv4 {
	const char *method; /* the only one the URL is good for */
	const char *scheme; /* "https://" */
	const char *host; /* with its port, if any */
	const char *path; /* percent-encoded, with the slash in front */
	const char *region;
	const char *key_id;
	const char *secret;
	int64_t now;
	uint64_t expires; /* seconds; at most 604800 */
};

/* Append the URL to out. */
void sigv4_presign(const struct sigv4 *s, struct buf *out);

#endif
