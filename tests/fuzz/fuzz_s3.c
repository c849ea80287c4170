/*
 * What an S3 answers: header lines, an empty line, and a body, which is taken
 * for an error and for a page of a listing.
 */
#include "config.h"

#include <string.h>

#include "asset_listing.h"
#include "fuzz.h"
#include "http.h"
#include "num.h"

#define NOW INT64_C(1700000000)
#define SIZE 5
#define PREFIX "cache/nix/"

struct head {
	int status;
	int64_t length;
	char etag[HTTP_ETAG_MAX + 1];
	char retry_after[64];
};

/* The lines in front of the body, which is returned. */
static const char *
read_head(const char *p, const char *end, struct head *h)
{
	char length[32] = "";
	const char *lf;
	uint64_t n;

	memset(h, 0, sizeof(*h));
	h->length = -1;
	for (; p < end; p = lf + 1) {
		lf = memchr(p, '\n', (size_t)(end - p));
		if (lf == NULL)
			lf = end - 1;
		if (lf == p)
			break;
		n = (size_t)(lf - p);
		if (n > 12 && memcmp(p, "HTTP/1.1 ", 9) == 0 &&
		    num_parse(p + 9, 3, 999, &n) == 0)
			h->status = (int)n;
		n = (size_t)(lf - p);
		http_header_value(p, n, "etag", h->etag, sizeof(h->etag));
		http_header_value(p, n, "retry-after", h->retry_after,
		    sizeof(h->retry_after));
		http_header_value(
		    p, n, "content-length", length, sizeof(length));
	}
	if (num_parse(length, strlen(length), INT64_MAX, &n) == 0)
		h->length = (int64_t)n;
	return p < end ? p + 1 : end;
}

static void
check_head(const struct head *h)
{
	struct asset_receipt receipt = { .etag = "\"a\"" };
	const struct asset_source src = {
		.key = "nix-cache-info", .size = SIZE, .receipt = &receipt
	};
	struct buf why = BUF_INIT;
	enum asset_rc rc;
	int64_t wait;

	wait = http_retry_after(h->retry_after, NOW);
	MUST(wait >= 0 && wait <= 86400);
	rc = asset_compare(&src, h->status, h->length, h->etag, &why);
	MUST((rc == ASSET_OK) == (why.len == 0));
	MUST(rc != ASSET_OK || (h->status == 200 && h->length == SIZE));
	MUST(rc != ASSET_OK || h->etag[0] != '"' ||
	    strcmp(h->etag, receipt.etag) == 0);
	/* Nothing is called lost that the store does not say is. */
	MUST(rc != ASSET_MISSING || h->status == 404 || h->status == 410 ||
	    (h->status == 200 && h->length >= 0 && h->length != SIZE));
	buf_free(&why);
}

static bool
one_line(const struct buf *b)
{
	size_t i;

	for (i = 0; i < b->len; i++)
		if ((unsigned char)b->p[i] < ' ')
			return false;
	return !buf_failed(b);
}

static void
check_error(const struct head *h, const char *p, size_t n)
{
	struct buf body = BUF_INIT_MAX(1 << 20), why = BUF_INIT;
	enum asset_rc rc;
	char code[64];

	buf_add(&body, p, n);
	asset_xml_error(&body, &why, code);
	MUST(memchr(code, '\0', sizeof(code)) != NULL);
	MUST(why.len < 512 && one_line(&why));
	buf_clear(&why);
	rc = asset_read_result(h->status, h->length, &body, &why);
	MUST((rc == ASSET_OK) == (why.len == 0) && one_line(&why));
	MUST(rc != ASSET_OK || (h->status == 200 && h->length >= 0));
	MUST(rc != ASSET_MISSING ||
	    ((h->status == 404 || h->status == 410) &&
		strcmp(code, "NoSuchBucket") != 0));
	buf_free(&body);
	buf_free(&why);
}

static void
check_listing(const char *p, size_t n)
{
	struct buf why = BUF_INIT;
	struct asset_page page;
	size_t i;

	if (asset_listing_parse(p, n, PREFIX, &page, &why) == -1)
		MUST(why.len > 0 && one_line(&why));
	else
		MUST(why.len == 0 && (page.next == NULL || page.n > 0));
	for (i = 0; i < page.n; i++) {
		MUST(why.len == 0 && page.objects[i].key != NULL);
		MUST(page.objects[i].size <= INT64_MAX);
		MUST(i == 0 ||
		    strcmp(page.objects[i - 1].key, page.objects[i].key) < 0);
	}
	asset_page_clear(&page);
	MUST(page.objects == NULL && page.n == 0 && page.next == NULL);
	buf_free(&why);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct http_pool *curl; /* (knows the dates) */
	const char *p = (const char *)data, *end = p + size;
	struct head h;

	if (curl == NULL)
		MUST((curl = http_pool_new(NULL, 1)) != NULL);
	p = read_head(p, end, &h);
	check_head(&h);
	check_error(&h, p, (size_t)(end - p));
	check_listing(p, (size_t)(end - p));
	return 0;
}
