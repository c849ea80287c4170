#include "config.h"

#include "key.h"

#include <string.h>

#include "base32.h"
#include "num.h"

/* Longest segment of a key: what file systems take as a name. */
#define SEGMENT_MAX 255

/* A build ID as Nix knows it: SHA-1. */
#define DEBUGINFO_BYTES 20

/* Drop prefix from the beginning of (*p, *n) if it is there. */
static bool
take_prefix(const char **p, size_t *n, const char *prefix)
{
	size_t len = strlen(prefix);

	if (*n < len || memcmp(*p, prefix, len) != 0)
		return false;
	*p += len;
	*n -= len;
	return true;
}

/* Drop suffix from the end of (p, *n) if it is there. */
static bool
take_suffix(const char *p, size_t *n, const char *suffix)
{
	size_t len = strlen(suffix);

	if (*n < len || memcmp(p + *n - len, suffix, len) != 0)
		return false;
	*n -= len;
	return true;
}

static int
parse_cache_info(const char *p, size_t n, struct key *out)
{
	(void)p;
	(void)out;
	return n == 0 ? 0 : -1;
}

static int
parse_path_info(const char *p, size_t n, struct key *out)
{
	if (take_suffix(p, &n, ".narinfo"))
		out->kind = KEY_NARINFO;
	else if (take_suffix(p, &n, ".ls"))
		out->kind = KEY_LS;
	else
		return -1;
	return hash_part_parse(p, n, &out->hash_part);
}

static int
parse_nar(const char *p, size_t n, struct key *out)
{
	static const char *const extensions[] = { ".xz", ".bz2", ".zst",
		".lzip", ".lz4", ".br" };
	size_t i;

	for (i = 0; i < sizeof(extensions) / sizeof(extensions[0]); i++)
		if (take_suffix(p, &n, extensions[i]))
			break;
	if (!take_suffix(p, &n, ".nar"))
		return -1;
	return digest_from_base32(p, n, &out->file_hash);
}

/* "<hash part>-<name>.drv" */
static int
parse_drv(const char *p, size_t n, struct key *out)
{
	if (!storepath_is_drv(p, n))
		return -1;
	return storepath_base_parse(p, n, &out->hash_part);
}

static int
parse_debuginfo(const char *p, size_t n, struct key *out)
{
	uint8_t id[DEBUGINFO_BYTES];
	bool complete = take_suffix(p, &n, ".debug");

	if (hex_decode(p, n, id, sizeof(id)) == -1)
		return -1;
	if (!complete)
		memcpy(out->s + strlen(out->s), ".debug", sizeof(".debug"));
	return 0;
}

static int
parse_realisation(const char *p, size_t n, struct key *out)
{
	struct digest d;
	size_t hex = 2 * sizeof(d.b);

	(void)out;
	if (!take_prefix(&p, &n, "sha256:") || n < hex + 1 || p[hex] != '!' ||
	    hex_decode(p, hex, d.b, sizeof(d.b)) == -1)
		return -1;
	p += hex + 1;
	n -= hex + 1;
	if (!take_suffix(p, &n, ".doi") || !storepath_name_ok(p, n))
		return -1;
	return 0;
}

static int
parse_build_trace(const char *p, size_t n, struct key *out)
{
	const char *slash;
	size_t len;

	if (n == 0 || (slash = memchr(p, '/', n)) == NULL)
		return -1;
	len = (size_t)(slash - p);
	if (parse_drv(p, len, out) == -1)
		return -1;
	n -= len + 1;
	if (!take_suffix(slash + 1, &n, ".doi"))
		return -1;
	return storepath_name_ok(slash + 1, n) ? 0 : -1;
}

/*
 * What a key begins with says what the rest must be.  The last row takes what
 * no other one begins.
 */
static const struct rule {
	const char *prefix;
	enum key_kind kind;
	int (*parse)(const char *p, size_t n, struct key *out);
} rules[] = {
	{ "nix-cache-info", KEY_CACHE_INFO, parse_cache_info },
	{ "nar/", KEY_NAR, parse_nar },
	{ "log/", KEY_LOG, parse_drv },
	{ "debuginfo/", KEY_DEBUGINFO, parse_debuginfo },
	{ "realisations/", KEY_REALISATION, parse_realisation },
	{ "build-trace-v2/", KEY_BUILD_TRACE, parse_build_trace },
	{ "", KEY_NARINFO, parse_path_info },
};

static bool
segments_fit(const char *s)
{
	size_t len;

	for (;; s += len + 1) {
		len = strcspn(s, "/");
		if (len > SEGMENT_MAX)
			return false;
		if (s[len] == '\0')
			return true;
	}
}

int
key_parse(const char *p, size_t n, struct key *out)
{
	const struct rule *r = rules;

	if (n > KEY_MAX)
		return -1;
	memset(out, 0, sizeof(*out));
	memcpy(out->s, p, n);
	while (!take_prefix(&p, &n, r->prefix))
		r++;
	out->kind = r->kind;
	if (r->parse(p, n, out) == -1 || !segments_fit(out->s))
		return -1;
	return 0;
}

/* Append s, percent-decoded, to the *n characters in out. */
static int
add_decoded(char out[KEY_MAX], size_t *n, const char *s)
{
	int c;

	for (; *s != '\0'; s++) {
		c = (unsigned char)*s;
		if (c == '%') {
			c = num_percent(s, strlen(s));
			/* What else has no place in a key the grammar
			 * refuses. */
			if (c == -1 || c == '/')
				return -1;
			s += 2;
		}
		if (*n == KEY_MAX)
			return -1;
		out[(*n)++] = (char)c;
	}
	return 0;
}

int
key_from_request(const char *path, const char *query, struct key *out)
{
	char text[KEY_MAX];
	const char *p = text;
	size_t n = 0, rest;

	if (add_decoded(text, &n, path) == -1)
		return -1;
	rest = n;
	if (query != NULL &&
	    (take_prefix(&p, &rest, "log/") ||
		take_prefix(&p, &rest, "build-trace-v2/"))) {
		if (n == KEY_MAX)
			return -1;
		text[n++] = '?';
		if (add_decoded(text, &n, query) == -1)
			return -1;
	}
	return key_parse(text, n, out);
}

const char *
key_content_type(enum key_kind kind)
{
	switch (kind) {
	case KEY_CACHE_INFO:
		return "text/x-nix-cache-info";
	case KEY_NARINFO:
		return "text/x-nix-narinfo";
	case KEY_NAR:
		return "application/x-nix-nar";
	case KEY_LOG:
		return "text/plain; charset=utf-8";
	case KEY_LS:
	case KEY_DEBUGINFO:
	case KEY_REALISATION:
	case KEY_BUILD_TRACE:
		return "application/json";
	}
	return "application/octet-stream";
}

const char *
key_nar_extension(const char *compression)
{
	/* BinaryCacheStore::addToStoreCommon names no other extensions. */
	static const struct {
		const char *compression, *extension;
	} known[] = {
		{ "xz", ".xz" },
		{ "zstd", ".zst" },
		{ "bzip2", ".bz2" },
		{ "br", ".br" },
		{ "lz4", ".lz4" },
		{ "lzip", ".lzip" },
		{ "none", "" },
		{ "gzip", "" },
		{ "lzma", "" },
		{ "compress", "" },
	};
	size_t i;

	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(compression, known[i].compression) == 0)
			return known[i].extension;
	return NULL;
}
