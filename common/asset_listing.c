#include "config.h"

#include "asset_listing.h"

#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <expat.h>

#include "asset_policy.h"
#include "num.h"

/* <ListBucketResult><Contents><Owner><ID> is the deepest S3 has. */
#define DEPTH_MAX 6
/* A key has up to 1024 bytes, each of them three when encoded. */
#define TEXT_MAX ((size_t)4096)
#define NAME_MAX_LEN 32

struct listing {
	XML_Parser xml;
	const char *prefix;
	struct asset_page *page;
	size_t room; /* for objects */
	/* The names of the elements we are in, "a/b/c". */
	char path[DEPTH_MAX * (NAME_MAX_LEN + 1)];
	unsigned int depth;
	struct buf text; /* of the innermost element */
	bool root, encoded, truncated;
	char *next;
	struct asset_object object;
	bool has_size;
	const char *why; /* the first rule that was broken; NULL */
};

static void
refuse(struct listing *l, const char *why)
{
	if (l->why == NULL)
		l->why = why;
	XML_StopParser(l->xml, XML_FALSE);
}

static void
on_doctype(void *arg, const XML_Char *name, const XML_Char *sysid,
    const XML_Char *pubid, int internal)
{
	(void)name;
	(void)sysid;
	(void)pubid;
	(void)internal;
	refuse(arg, "it has a document type");
}

static void
on_text(void *arg, const XML_Char *s, int n)
{
	struct listing *l = arg;

	buf_add(&l->text, s, (size_t)n);
	if (buf_failed(&l->text))
		refuse(l, "a text in it is too long");
}

static void
object_clear(struct asset_object *o)
{
	free(o->key);
	memset(o, 0, sizeof(*o));
}

static void
on_start(void *arg, const XML_Char *name, const XML_Char **attributes)
{
	struct listing *l = arg;
	size_t n = strlen(name), at = strlen(l->path);

	(void)attributes;
	if (l->why != NULL)
		return;
	buf_clear(&l->text);
	if (l->depth == DEPTH_MAX || n > NAME_MAX_LEN) {
		refuse(l, "it is nested too deep");
		return;
	}
	if (l->depth++ > 0)
		l->path[at++] = '/';
	memcpy(l->path + at, name, n + 1);
	if (strcmp(l->path, "ListBucketResult") == 0)
		l->root = true;
	else if (l->depth == 1)
		refuse(l, "it is not a listing");
	else if (strcmp(l->path, "ListBucketResult/Contents") == 0) {
		object_clear(&l->object);
		l->has_size = false;
	}
}

/* The text as a string of its own, NULL when there is no memory. */
static char *
take_text(struct listing *l)
{
	char *s = strdup(buf_str(&l->text));

	if (s == NULL)
		refuse(l, "no memory");
	return s;
}

static void
set_text(struct listing *l, char **to)
{
	free(*to);
	*to = take_text(l);
}

static void
set_size(struct listing *l)
{
	l->has_size = num_parse(buf_str(&l->text), l->text.len, INT64_MAX,
			  &l->object.size) == 0;
	if (!l->has_size)
		refuse(l, "a size in it is not a number");
}

static void
add_object(struct listing *l)
{
	struct asset_page *page = l->page;
	struct asset_object *more;

	if (l->object.key == NULL || !l->has_size) {
		refuse(l, "an object in it has no key or no size");
		return;
	}
	if (page->n == l->room) {
		l->room = l->room == 0 ? 256 : 2 * l->room;
		more = realloc(page->objects, l->room * sizeof(*more));
		if (more == NULL) {
			refuse(l, "no memory");
			return;
		}
		page->objects = more;
	}
	page->objects[page->n++] = l->object;
	memset(&l->object, 0, sizeof(l->object)); /* the page's now */
}

static void
on_end(void *arg, const XML_Char *name)
{
	static const char root[] = "ListBucketResult/";
	struct listing *l = arg;
	const char *what = l->path + sizeof(root) - 1;
	char *slash;

	(void)name;
	if (l->why != NULL)
		return;
	if (l->depth == 1)
		what = "";
	if (strcmp(what, "Contents/Key") == 0)
		set_text(l, &l->object.key);
	else if (strcmp(what, "Contents/Size") == 0)
		set_size(l);
	else if (strcmp(what, "Contents/LastModified") == 0) {
		if (asset_policy_time(buf_str(&l->text), &l->object.modified) ==
		    -1)
			l->object.modified = 0;
	} else if (strcmp(what, "Contents") == 0)
		add_object(l);
	else if (strcmp(what, "IsTruncated") == 0)
		l->truncated = strcmp(buf_str(&l->text), "true") == 0;
	else if (strcmp(what, "EncodingType") == 0)
		l->encoded = strcmp(buf_str(&l->text), "url") == 0;
	else if (strcmp(what, "NextContinuationToken") == 0)
		set_text(l, &l->next);
	buf_clear(&l->text);
	slash = strrchr(l->path, '/');
	*(slash != NULL ? slash : l->path) = '\0';
	l->depth--;
}

/* Decode s in its place: -1 when it is malformed, or not a string then. */
static int
decode_key(char *s)
{
	size_t n = strlen(s);
	char *to = s;
	int c;

	for (; *s != '\0'; s++, n--) {
		if (*s == '%') {
			if ((c = num_percent(s, n)) <= 0)
				return -1;
			*to++ = (char)c;
			s += 2;
			n -= 2;
		} else
			/* Some write a blank so; a "+" is "%2B" then. */
			*to++ = *s == '+' ? ' ' : *s;
	}
	*to = '\0';
	return 0;
}

/* All keys as they are, without the prefix. */
static int
finish_keys(struct listing *l)
{
	size_t i, n = strlen(l->prefix);
	char *key;

	for (i = 0; i < l->page->n; i++) {
		key = l->page->objects[i].key;
		if (l->encoded && decode_key(key) == -1) {
			l->why = "a key in it is not encoded well";
			return -1;
		}
		if (strncmp(key, l->prefix, n) != 0) {
			l->why = "it has keys without the prefix";
			return -1;
		}
		memmove(key, key + n, strlen(key + n) + 1);
		if (i > 0 && strcmp(key, l->page->objects[i - 1].key) <= 0) {
			l->why = "its keys do not ascend";
			return -1;
		}
	}
	return 0;
}

/* What the whole page must be: 0, or -1 with l->why. */
static int
finish(struct listing *l)
{
	if (!l->root)
		l->why = "it is not a listing";
	else if (l->truncated && (l->next == NULL || l->page->n == 0))
		l->why = "it is not all, but does not say how to go on";
	else if (finish_keys(l) == 0) {
		if (l->truncated) {
			l->page->next = l->next;
			l->next = NULL; /* the page's now */
		}
		return 0;
	}
	return -1;
}

void
asset_page_clear(struct asset_page *page)
{
	size_t i;

	for (i = 0; i < page->n; i++)
		object_clear(&page->objects[i]);
	free(page->objects);
	free(page->next);
	memset(page, 0, sizeof(*page));
}

int
asset_listing_parse(const void *p, size_t n, const char *prefix,
    struct asset_page *page, struct buf *why)
{
	struct listing l = {
		.prefix = prefix, .page = page, .text = BUF_INIT_MAX(TEXT_MAX)
	};
	int rc = -1;

	memset(page, 0, sizeof(*page));
	if ((l.xml = XML_ParserCreate("UTF-8")) == NULL) {
		buf_adds(why, "no memory");
		return -1;
	}
	XML_SetUserData(l.xml, &l);
	XML_SetStartDoctypeDeclHandler(l.xml, on_doctype);
	XML_SetElementHandler(l.xml, on_start, on_end);
	XML_SetCharacterDataHandler(l.xml, on_text);
	if (n <= INT_MAX && XML_Parse(l.xml, p, (int)n, 1) == XML_STATUS_OK)
		rc = finish(&l);
	else if (l.why == NULL)
		l.why = n <= INT_MAX ? XML_ErrorString(XML_GetErrorCode(l.xml))
				     : "it is too long";
	if (rc == -1) {
		buf_addf(why, "the listing can't be used: %s", l.why);
		asset_page_clear(page);
	}
	XML_ParserFree(l.xml);
	object_clear(&l.object);
	buf_free(&l.text);
	free(l.next);
	return rc;
}
