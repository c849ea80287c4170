#include "config.h"

#include "asset_sigv4.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "asset.h"
#include "base32.h"
#include "hash.h"

#define HEX_DIGEST (2 * DIGEST_BYTES + 1)

/* HMAC over a string, the next key made of the last one. */
static void
derive(struct digest *key, const char *text)
{
	struct digest next;

	hash_hmac(key->b, DIGEST_BYTES, text, strlen(text), &next);
	*key = next;
}

/* The key for a day, a region, and S3. */
static void
signing_key(const struct sigv4 *s, const char *day, struct digest *key)
{
	struct buf first = BUF_INIT;

	buf_addf(&first, "AWS4%s", s->secret);
	hash_hmac(buf_str(&first), first.len, day, strlen(day), key);
	if (first.p != NULL)
		explicit_bzero(first.p, first.cap);
	buf_free(&first);
	derive(key, s->region);
	derive(key, "s3");
	derive(key, "aws4_request");
}

void
sigv4_presign(const struct sigv4 *s, struct buf *out)
{
	struct buf scope = BUF_INIT, query = BUF_INIT, text = BUF_INIT;
	char day[16], stamp[32], hex[HEX_DIGEST];
	time_t now = (time_t)s->now;
	struct digest d, key;
	struct tm tm;

	if (gmtime_r(&now, &tm) == NULL)
		memset(&tm, 0, sizeof(tm));
	strftime(day, sizeof(day), "%Y%m%d", &tm);
	strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &tm);
	buf_addf(&scope, "%s/%s/s3/aws4_request", day, s->region);

	/* In the order of the names, each part encoded. */
	buf_adds(&query, "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=");
	asset_url_encode(&query, s->key_id, false);
	buf_adds(&query, "%2F");
	asset_url_encode(&query, buf_str(&scope), false);
	buf_addf(&query,
	    "&X-Amz-Date=%s&X-Amz-Expires=%" PRIu64 "&X-Amz-SignedHeaders=host",
	    stamp, s->expires);

	buf_addf(&text, "%s\n%s\n%s\nhost:%s\n\nhost\nUNSIGNED-PAYLOAD",
	    s->method, s->path, buf_str(&query), s->host);
	hash_sha256(buf_str(&text), text.len, &d);
	hex_encode(d.b, DIGEST_BYTES, hex);

	buf_clear(&text);
	buf_addf(
	    &text, "AWS4-HMAC-SHA256\n%s\n%s\n%s", stamp, buf_str(&scope), hex);
	signing_key(s, day, &key);
	hash_hmac(key.b, DIGEST_BYTES, buf_str(&text), text.len, &d);
	explicit_bzero(&key, sizeof(key));
	hex_encode(d.b, DIGEST_BYTES, hex);

	buf_addf(out, "%s%s%s?%s&X-Amz-Signature=%s", s->scheme, s->host,
	    s->path, buf_str(&query), hex);
	buf_free(&scope);
	buf_free(&query);
	buf_free(&text);
}
