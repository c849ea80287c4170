/*
 * An upload policy as Glitch's asset API issues it: the answer's JSON, and in
 * it, in base 64, the policy document (Amazon S3, "Creating a POST policy").
 *
 * Nothing is assumed of bucket, key, acl and sizes: they are read from it, and
 * what could not be used is refused with a line that says why.  Pure.
 */
#ifndef ASSET_POLICY_H
#define ASSET_POLICY_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"

struct asset_policy {
	/* As they came: to be sent along. */
	char *text; /* base 64 */
	char *signature;
	char *key_id;
	/* From the document. */
	char *content_type;
	char *bucket;
	char *prefix; /* of keys; ends with a slash */
	char *acl; /* NULL: none */
	uint64_t min, max; /* sizes */
	int64_t expires;
};

/*
 * Parse the answer (p, n) to a question for this content type, now.  A new
 * policy, or NULL and one line in why.
 */
struct asset_policy *asset_policy_parse(const char *p, size_t n,
    const char *content_type, int64_t now, struct buf *why);
/* NULL is harmless. */
void asset_policy_free(struct asset_policy *po);

/* "2021-10-10T03:51:52.214Z" as seconds since the epoch; 0, or -1. */
int asset_policy_time(const char *s, int64_t *out);

#endif
