#include "config.h"

#include "asset_policy.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

#include "base32.h"
#include "num.h"

/* The real ones have about 500 bytes. */
#define DOCUMENT_MAX ((size_t)16 << 10)
#define STRING_MAX ((size_t)32 << 10)
/* The largest object S3 has: 5 TiB. */
#define SIZE_MAX_S3 ((json_int_t)5 << 40)

/* What is in a form must not break it, what is in a URL must not either. */
static bool
printable(const char *s)
{
	for (; *s != '\0'; s++)
		if ((unsigned char)*s < 0x20 || (unsigned char)*s >= 0x7f)
			return false;
	return true;
}

static bool
all_in(const char *s, const char *set)
{
	return s[strspn(s, set)] == '\0';
}

/* The string member name of o, not empty and printable: a copy, or NULL. */
static char *
member(const json_t *o, const char *name, struct buf *why)
{
	json_t *v = json_object_get(o, name);
	const char *s = json_string_value(v);

	if (s == NULL) {
		buf_addf(why, "no string \"%s\"", name);
		return NULL;
	}
	if (s[0] == '\0' || strlen(s) != json_string_length(v) ||
	    strlen(s) > STRING_MAX || !printable(s)) {
		buf_addf(why, "unfit \"%s\"", name);
		return NULL;
	}
	return strdup(s);
}

int
asset_policy_time(const char *s, int64_t *out)
{
	/* Where the digits are; what is between them. */
	static const char shape[] = "0000-00-00T00:00:00";
	uint64_t v[6];
	static const struct {
		unsigned char at, n, min;
		uint16_t max;
	} parts[6] = {
		{ 0, 4, 1, 9999 },
		{ 5, 2, 1, 12 },
		{ 8, 2, 1, 31 },
		{ 11, 2, 0, 23 },
		{ 14, 2, 0, 59 },
		{ 17, 2, 0, 60 },
	};
	struct tm tm;
	size_t i, j;

	for (i = 0; i < sizeof(shape) - 1; i++)
		if (shape[i] == '0' ? s[i] < '0' || s[i] > '9'
				    : s[i] != shape[i])
			return -1;
	for (i = 0; i < 6; i++) {
		v[i] = 0;
		for (j = 0; j < parts[i].n; j++)
			v[i] = v[i] * 10 + (uint64_t)(s[parts[i].at + j] - '0');
		if (v[i] < parts[i].min || v[i] > parts[i].max)
			return -1;
	}
	s += sizeof(shape) - 1;
	if (*s == '.') {
		if ((i = strspn(s + 1, "0123456789")) == 0 || i > 9)
			return -1;
		s += 1 + i;
	}
	if (strcmp(s, "Z") != 0)
		return -1;
	memset(&tm, 0, sizeof(tm));
	tm.tm_year = (int)v[0] - 1900;
	tm.tm_mon = (int)v[1] - 1;
	tm.tm_mday = (int)v[2];
	tm.tm_hour = (int)v[3];
	tm.tm_min = (int)v[4];
	tm.tm_sec = (int)v[5];
	*out = (int64_t)timegm(&tm);
	return 0;
}

static int
set_once(char **field, const char *name, const char *value, struct buf *why)
{
	if (*field != NULL) {
		buf_addf(why, "two conditions on %s", name);
		return -1;
	}
	if (!printable(value) || strlen(value) > 1024) {
		buf_addf(why, "unfit condition on %s", name);
		return -1;
	}
	if ((*field = strdup(value)) == NULL) {
		buf_adds(why, "no memory");
		return -1;
	}
	return 0;
}

/* The condition that field is, or begins with (starts), value. */
static int
condition(struct asset_policy *po, const char *field, const char *value,
    bool starts, const char *content_type, struct buf *why)
{
	if (strcmp(field, "bucket") == 0 && !starts)
		return set_once(&po->bucket, field, value, why);
	if (strcmp(field, "acl") == 0 && !starts)
		return set_once(&po->acl, field, value, why);
	if (strcmp(field, "key") == 0 && starts)
		return set_once(&po->prefix, field, value, why);
	if (strcmp(field, "Content-Type") == 0) {
		if (starts ? strncmp(content_type, value, strlen(value)) == 0
			   : strcmp(content_type, value) == 0)
			return 0;
		buf_adds(why, "it is for another Content-Type");
		return -1;
	}
	/* What we send ourselves, whatever it is. */
	if (strcmp(field, "Cache-Control") == 0 && starts && value[0] == '\0')
		return 0;
	buf_addf(why, "a condition we can't meet, on %.40s",
	    printable(field) ? field : "?");
	return -1;
}

/* [ "content-length-range", min, max ] */
static int
size_range(struct asset_policy *po, const json_t *a, struct buf *why)
{
	json_int_t min, max;

	if (json_array_size(a) != 3 || !json_is_integer(json_array_get(a, 1)) ||
	    !json_is_integer(json_array_get(a, 2)) || po->max != 0) {
		buf_adds(why, "malformed content-length-range");
		return -1;
	}
	min = json_integer_value(json_array_get(a, 1));
	max = json_integer_value(json_array_get(a, 2));
	if (min < 0 || max < 1 || min > max || max > SIZE_MAX_S3) {
		buf_addf(why,
		    "absurd content-length-range %" PRId64 " to %" PRId64,
		    (int64_t)min, (int64_t)max);
		return -1;
	}
	po->min = (uint64_t)min;
	po->max = (uint64_t)max;
	return 0;
}

static int
parse_condition(
    struct asset_policy *po, json_t *c, const char *type, struct buf *why)
{
	const char *op, *field, *value;
	void *it;

	if (json_is_object(c) && json_object_size(c) == 1) {
		it = json_object_iter(c);
		value = json_string_value(json_object_iter_value(it));
		if (value != NULL)
			return condition(po, json_object_iter_key(it), value,
			    false, type, why);
	} else if (json_is_array(c) && json_array_size(c) == 3 &&
	    (op = json_string_value(json_array_get(c, 0))) != NULL) {
		if (strcmp(op, "content-length-range") == 0)
			return size_range(po, c, why);
		field = json_string_value(json_array_get(c, 1));
		value = json_string_value(json_array_get(c, 2));
		if (field != NULL && field[0] == '$' && value != NULL &&
		    (strcmp(op, "eq") == 0 || strcmp(op, "starts-with") == 0))
			return condition(po, field + 1, value,
			    strcmp(op, "starts-with") == 0, type, why);
	}
	buf_adds(why, "a malformed condition");
	return -1;
}

/* A segment or more, as safe below a URL as below a directory. */
static bool
prefix_ok(const char *s)
{
	size_t n = strlen(s);

	return n >= 2 && n <= 256 && s[n - 1] == '/' && s[0] != '/' &&
	    strstr(s, "..") == NULL && strstr(s, "//") == NULL &&
	    all_in(s,
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
		"0123456789-._/");
}

static int
check_document(struct asset_policy *po, int64_t now, struct buf *why)
{
	if (po->bucket == NULL)
		buf_adds(why, "it names no bucket");
	else if (strlen(po->bucket) < 3 || strlen(po->bucket) > 63 ||
	    po->bucket[0] == '.' ||
	    !all_in(po->bucket, "abcdefghijklmnopqrstuvwxyz0123456789-."))
		buf_adds(why, "its bucket's name is none");
	else if (po->prefix == NULL)
		buf_adds(why, "it names no key prefix");
	else if (!prefix_ok(po->prefix))
		buf_adds(why, "its key prefix is none");
	else if (po->max == 0)
		buf_adds(why, "it has no content-length-range");
	else if (po->expires <= now)
		buf_addf(why,
		    "it expired %" PRId64 " s before it came: is "
		    "the clock right?",
		    now - po->expires);
	else
		return 0;
	return -1;
}

static int
parse_document(struct asset_policy *po, const char *p, size_t n,
    const char *type, int64_t now, struct buf *why)
{
	json_t *doc, *conditions;
	const char *expiration;
	size_t i;
	int rc = -1;

	doc = json_loadb(p, n, JSON_REJECT_DUPLICATES, NULL);
	if (doc == NULL) {
		buf_adds(why, "the document is not JSON");
		return -1;
	}
	expiration = json_string_value(json_object_get(doc, "expiration"));
	conditions = json_object_get(doc, "conditions");
	if (expiration == NULL ||
	    asset_policy_time(expiration, &po->expires) == -1) {
		buf_adds(why, "it has no good expiration");
		goto out;
	}
	if (!json_is_array(conditions)) {
		buf_adds(why, "it has no conditions");
		goto out;
	}
	for (i = 0; i < json_array_size(conditions); i++)
		if (parse_condition(
			po, json_array_get(conditions, i), type, why) == -1)
			goto out;
	rc = check_document(po, now, why);
out:
	json_decref(doc);
	return rc;
}

struct asset_policy *
asset_policy_parse(const char *p, size_t n, const char *content_type,
    int64_t now, struct buf *why)
{
	uint8_t *doc = NULL;
	struct asset_policy *po;
	json_t *answer;
	size_t len;
	int rc = -1;

	if ((po = calloc(1, sizeof(*po))) == NULL ||
	    (doc = malloc(DOCUMENT_MAX)) == NULL ||
	    (po->content_type = strdup(content_type)) == NULL) {
		buf_adds(why, "no memory");
		asset_policy_free(po);
		free(doc);
		return NULL;
	}
	answer = json_loadb(p, n, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(answer)) {
		buf_adds(why, "the answer is not a JSON object");
		goto out;
	}
	if ((po->text = member(answer, "policy", why)) == NULL ||
	    (po->signature = member(answer, "signature", why)) == NULL ||
	    (po->key_id = member(answer, "accessKeyId", why)) == NULL)
		goto out;
	if (base64_decode(
		po->text, strlen(po->text), doc, DOCUMENT_MAX, &len) == -1) {
		buf_adds(why, "it is not base 64");
		goto out;
	}
	rc = parse_document(po, (const char *)doc, len, content_type, now, why);
out:
	json_decref(answer);
	free(doc);
	if (rc == 0)
		return po;
	asset_policy_free(po);
	return NULL;
}

void
asset_policy_free(struct asset_policy *po)
{
	if (po == NULL)
		return;
	free(po->text);
	free(po->signature);
	free(po->key_id);
	free(po->content_type);
	free(po->bucket);
	free(po->prefix);
	free(po->acl);
	free(po);
}
