#include "config.h"

#include <stdio.h>
#include <string.h>

#include "asset_listing.h"
#include "unit.h"

#define OBJECT(key, size)                                                      \
	"<Contents><Key>" key "</Key><LastModified>2026-11-24T21:10:05.026Z"   \
	"</LastModified><Size>" size "</Size></Contents>"
#define URL "<EncodingType>url</EncodingType>"
#define MORE                                                                   \
	"<IsTruncated>true</IsTruncated>"                                      \
	"<NextContinuationToken>to&amp;ken</NextContinuationToken>"

/* Objects as "KEY SIZE TIME;", then what is next. */
static const struct {
	const char *inside;
	const char *prefix;
	const char *objects; /* NULL: refused, so: */
	const char *why;
} pages[] = {
	{ "", "", "-", NULL },
	{ OBJECT("a", "1") OBJECT("b", "22"), "",
	    "a 1 1795554605;b 22 1795554605;-", NULL },
	{ MORE OBJECT("a", "1"), "", "a 1 1795554605;to&ken", NULL },
	{ OBJECT("a", "1") MORE, "", "a 1 1795554605;to&ken", NULL },
	{ "<IsTruncated>false</IsTruncated><NextContinuationToken>x"
	  "</NextContinuationToken>",
	    "", "-", NULL },
	/* Encoded or not; what encodes comes first or last. */
	{ URL OBJECT("a%2Bb%20c+d%25", "1"), "", "a+b c d% 1 1795554605;-",
	    NULL },
	{ OBJECT("a%2Fb", "1") URL, "", "a/b 1 1795554605;-", NULL },
	{ OBJECT("a%2Bb+", "1"), "", "a%2Bb+ 1 1795554605;-", NULL },
	{ OBJECT("a&lt;&amp;&#98;", "1"), "", "a<&b 1 1795554605;-", NULL },
	{ URL OBJECT("p%2Fa", "1"), "p/", "a 1 1795554605;-", NULL },
	{ OBJECT("p/a", "9223372036854775807"), "p/",
	    "a 9223372036854775807 1795554605;-", NULL },
	{ "<Contents><Size>1</Size><Key>a</Key></Contents>", "", "a 1 0;-",
	    NULL },
	{ "<Contents><Key>a</Key><Size>1</Size><LastModified>now"
	  "</LastModified></Contents>",
	    "", "a 1 0;-", NULL },
	/* Names like these elsewhere are others. */
	{ "<Owner><Key>b</Key></Owner><Contents><Owner><Key>b</Key></Owner>"
	  "<Size>1</Size><Key>a</Key></Contents>",
	    "", "a 1 0;-", NULL },

	{ OBJECT("a", "1"), "p/", NULL, "it has keys without the prefix" },
	{ OBJECT("b", "1") OBJECT("a", "1"), "", NULL,
	    "its keys do not ascend" },
	{ OBJECT("a", "1") OBJECT("a", "1"), "", NULL,
	    "its keys do not ascend" },
	/* By what they stand for: "a b", "a!". */
	{ URL OBJECT("a!", "1") OBJECT("a%20", "1"), "", NULL,
	    "its keys do not ascend" },
	{ "<IsTruncated>true</IsTruncated>" OBJECT("a", "1"), "", NULL,
	    "it is not all, but does not say how to go on" },
	{ MORE, "", NULL, "it is not all, but does not say how to go on" },
	{ OBJECT("a", "-1"), "", NULL, "a size in it is not a number" },
	{ OBJECT("a", ""), "", NULL, "a size in it is not a number" },
	{ OBJECT("a", "9223372036854775808"), "", NULL,
	    "a size in it is not a number" },
	{ "<Contents><Key>a</Key></Contents>", "", NULL,
	    "an object in it has no key or no size" },
	{ OBJECT("a", "1") "<Contents><Size>1</Size></Contents>", "", NULL,
	    "an object in it has no key or no size" },
	{ OBJECT("a", "1") "<Contents><Key>b</Key></Contents>", "", NULL,
	    "an object in it has no key or no size" },
	{ URL OBJECT("a%2", "1"), "", NULL, "a key in it is not encoded well" },
	{ URL OBJECT("a%00", "1"), "", NULL,
	    "a key in it is not encoded well" },
	{ "<a><b><c><d><e><f/></e></d></c></b></a>", "", NULL,
	    "it is nested too deep" },
	{ "<Contents>", "", NULL, "mismatched tag" },
	{ "&b;", "", NULL, "undefined entity" },
};

static void
print(const struct asset_page *page, struct buf *out)
{
	size_t i;

	for (i = 0; i < page->n; i++)
		buf_addf(out, "%s %llu %lld;", page->objects[i].key,
		    (unsigned long long)page->objects[i].size,
		    (long long)page->objects[i].modified);
	buf_adds(out, page->next != NULL ? page->next : "-");
}

static void
check(const char *text, size_t n, const char *prefix, const char *objects,
    const char *why)
{
	struct buf said = BUF_INIT, printed = BUF_INIT;
	struct asset_page page;
	int rc = asset_listing_parse(text, n, prefix, &page, &said);

	if (objects != NULL) {
		ck_assert_str_eq(buf_str(&said), "");
		ck_assert_int_eq(rc, 0);
		print(&page, &printed);
		ck_assert_str_eq(buf_str(&printed), objects);
		asset_page_clear(&page);
	} else {
		ck_assert_int_eq(rc, -1);
		ck_assert_msg(strstr(buf_str(&said), why) != NULL,
		    "said \"%s\", not \"%s\"", buf_str(&said), why);
	}
	buf_free(&said);
	buf_free(&printed);
}

START_TEST(parses)
{
	struct buf text = BUF_INIT;

	buf_addf(&text,
	    "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult xmlns="
	    "\"http://s3.amazonaws.com/doc/2006-03-01/\">%s</ListBucketResult>",
	    pages[_i].inside);
	check(buf_str(&text), text.len, pages[_i].prefix, pages[_i].objects,
	    pages[_i].why);
	buf_free(&text);
}
END_TEST

static const struct {
	const char *text;
	const char *why;
} documents[] = {
	{ "", "no element found" },
	{ "<html></html>", "it is not a listing" },
	{ "<a><ListBucketResult></ListBucketResult></a>",
	    "it is not a listing" },
	{ "<ListBucketResult>", "no element found" },
	{ "<ListBucketResult></ListBucketResult><a></a>",
	    "junk after document element" },
	{ "<!DOCTYPE a><ListBucketResult></ListBucketResult>",
	    "it has a document type" },
	{ "<!DOCTYPE a [<!ENTITY b \"cc\">]><ListBucketResult>&b;"
	  "</ListBucketResult>",
	    "it has a document type" },
	{ "<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><ListBucketResult>"
	  "</ListBucketResult>",
	    "it has a document type" },
	{ "<ListBucketResult><aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/>"
	  "</ListBucketResult>",
	    "it is nested too deep" },
};

START_TEST(refuses)
{
	check(documents[_i].text, strlen(documents[_i].text), "", NULL,
	    documents[_i].why);
}
END_TEST

START_TEST(bounds_texts)
{
	struct buf text = BUF_INIT;
	int i;

	buf_adds(&text, "<ListBucketResult><Contents><Key>");
	for (i = 0; i < 4097; i++)
		buf_addch(&text, 'k');
	buf_adds(&text, "</Key><Size>1</Size></Contents></ListBucketResult>");
	check(buf_str(&text), text.len, "", NULL, "a text in it is too long");
	buf_free(&text);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("asset_listing");
	TCase *tc = tcase_create("bounds");

	UNIT_ROWS(s, "parses", parses, nitems(pages));
	UNIT_ROWS(s, "refuses", refuses, nitems(documents));
	tcase_add_test(tc, bounds_texts);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
