#include "config.h"

#include "ca.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base32.h"
#include "buf.h"

#define nitems(a) (sizeof(a) / sizeof((a)[0]))

#define HASH_MAX 64
#define FOLDED_BYTES 20

static const struct algo {
	const char *name;
	size_t size;
} algos[] = {
	{ "md5", 16 },
	{ "sha1", 20 },
	{ "sha256", 32 },
	{ "sha512", 64 },
};

enum method { METHOD_TEXT, METHOD_FLAT, METHOD_NAR, METHOD_GIT };

static const struct {
	const char *prefix;
	enum method method;
} methods[] = {
	{ "text:", METHOD_TEXT },
	{ "fixed:r:", METHOD_NAR },
	{ "fixed:git:", METHOD_GIT },
	{ "fixed:", METHOD_FLAT },
};

/* A CA taken apart. */
struct address {
	enum method method;
	const struct algo *algo;
	uint8_t hash[HASH_MAX];
};

static int
parse(const char *s, struct address *a)
{
	size_t i, n, got;

	for (i = 0; i < nitems(methods); i++)
		if (strncmp(s, methods[i].prefix, strlen(methods[i].prefix)) ==
		    0)
			break;
	if (i == nitems(methods))
		return -1;
	a->method = methods[i].method;
	s += strlen(methods[i].prefix);
	for (i = 0; i < nitems(algos); i++) {
		n = strlen(algos[i].name);
		if (strncmp(s, algos[i].name, n) == 0 && s[n] == ':')
			break;
	}
	if (i == nitems(algos))
		return -1;
	a->algo = &algos[i];
	s += n + 1;
	n = strlen(s);
	if (base32_decode(s, n, a->hash, a->algo->size) == 0 ||
	    hex_decode(s, n, a->hash, a->algo->size) == 0)
		return 0;
	return base64_decode(s, n, a->hash, a->algo->size, &got) == 0 &&
		got == a->algo->size
	    ? 0
	    : -1;
}

static bool
is_sha256(const struct address *a)
{
	return a->algo->size == DIGEST_BYTES;
}

/* Append type "source" or "text" with ni's references. */
static bool
add_type(const struct narinfo *ni, const char *type, struct buf *out)
{
	const int dir = (int)(ni->base - ni->store_path);
	bool self = false;
	size_t i;

	buf_adds(out, type);
	for (i = 0; i < ni->nreferences; i++) {
		if (strcmp(ni->references[i], ni->base) == 0)
			self = true;
		else
			buf_addf(out, ":%.*s%s", dir, ni->store_path,
			    ni->references[i]);
	}
	if (self)
		buf_adds(out, ":self");
	return self;
}

static void
add_hex(const uint8_t *p, size_t n, struct buf *out)
{
	char text[2 * HASH_MAX + 1];

	hex_encode(p, n, text);
	buf_adds(out, text);
}

/*
 * The hash part that the address gives; *self: the path refers to itself.
 * 0, or -1 when there is no memory.
 */
static int
store_hash(const struct narinfo *ni, const struct address *a, bool *self,
    struct hash_part *out)
{
	static const char *const prefixes[] = { "", "", "r:", "git:" };
	const int dir = (int)(ni->base - ni->store_path) - 1;
	struct buf s = BUF_INIT, inner = BUF_INIT;
	uint8_t folded[FOLDED_BYTES] = { 0 };
	struct digest d;
	size_t i;
	int rc = -1;

	*self = false;
	if (is_sha256(a) &&
	    (a->method == METHOD_NAR || a->method == METHOD_TEXT)) {
		*self = add_type(
		    ni, a->method == METHOD_NAR ? "source" : "text", &s);
		memcpy(d.b, a->hash, sizeof(d.b));
	} else {
		buf_addf(&inner, "fixed:out:%s%s:", prefixes[a->method],
		    a->algo->name);
		add_hex(a->hash, a->algo->size, &inner);
		buf_addch(&inner, ':');
		if (buf_failed(&inner))
			goto out;
		hash_sha256(inner.p, inner.len, &d);
		buf_adds(&s, "output:out");
	}
	buf_adds(&s, ":sha256:");
	add_hex(d.b, sizeof(d.b), &s);
	buf_addf(
	    &s, ":%.*s:%s", dir, ni->store_path, ni->base + HASH_PART_LEN + 1);
	if (buf_failed(&s))
		goto out;
	hash_sha256(s.p, s.len, &d);
	for (i = 0; i < sizeof(d.b); i++)
		folded[i % FOLDED_BYTES] ^= d.b[i];
	base32_encode(folded, sizeof(folded), out->s);
	rc = 0;
out:
	buf_free(&s);
	buf_free(&inner);
	return rc;
}

/* Do the contents have the address's hash? */
static enum ca_rc
check_contents(const struct address *a, bool self, const struct narinfo *ni,
    const struct verified *v)
{
	bool good;

	/* A hash over contents that hold it is taken with zeros for it. */
	if (v == NULL || v->verdict != VERDICT_GOOD || self || !is_sha256(a) ||
	    a->method == METHOD_GIT)
		return CA_PATH;
	if (a->method == METHOD_NAR)
		good = memcmp(ni->nar_hash.b, a->hash, DIGEST_BYTES) == 0;
	else
		good = v->is_file &&
		    memcmp(v->file_hash.b, a->hash, DIGEST_BYTES) == 0;
	return good ? CA_GOOD : CA_WRONG;
}

enum ca_rc
ca_check(const struct narinfo *ni, const struct verified *v, char *err,
    size_t errsize)
{
	struct address a;
	struct hash_part hp;
	bool self;
	enum ca_rc rc;

	if (ni->ca == NULL)
		return CA_NONE;
	if (parse(ni->ca, &a) == -1) {
		snprintf(err, errsize, "CA: not a content address");
		return CA_WRONG;
	}
	if (ni->nreferences > 0 &&
	    (a.method == METHOD_FLAT || a.method == METHOD_GIT ||
		!is_sha256(&a))) {
		snprintf(err, errsize,
		    "CA: a path that is fixed in this way has no references");
		return CA_WRONG;
	}
	if (store_hash(ni, &a, &self, &hp) == -1) {
		snprintf(err, errsize, "CA: out of memory");
		return CA_WRONG;
	}
	if ((self && a.method == METHOD_TEXT) ||
	    strcmp(hp.s, ni->hash_part.s) != 0) {
		snprintf(err, errsize,
		    "CA: it and the references make the path %s-%s, not %s",
		    hp.s, ni->base + HASH_PART_LEN + 1, ni->base);
		return CA_WRONG;
	}
	if ((rc = check_contents(&a, self, ni, v)) == CA_WRONG)
		snprintf(err, errsize, "CA: the contents have another hash");
	return rc;
}
