#include "config.h"

#include "narinfo.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base32.h"
#include "num.h"
#include "sign.h"
#include "utf8.h"

#define TEXT_OF_(x) #x
#define TEXT_OF(x) TEXT_OF_(x)
#define nitems(a) (sizeof(a) / sizeof((a)[0]))

#define SHA256_PREFIX "sha256:"
#define SHA256_SRI "sha256-"

static const char no_memory[] = "out of memory";

struct parser {
	struct narinfo *ni;
	const char *store_dir;
	unsigned int seen; /* bit i: fields[i] */
	bool has_file_hash;
	bool limits; /* do the limits hold? */
	size_t sig_lines;
	size_t extra_bytes;
	char why[200]; /* a rule that has to be made */
};

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

/* Why (p, n), of at most max bytes, can't be a narinfo's text, or NULL. */
static const char *
check_text(const char *p, size_t n, size_t max)
{
	const unsigned char *u = (const unsigned char *)p;
	size_t i, len;
	uint32_t c;

	if (n == 0)
		return "is empty";
	if (n > max)
		return "is too large";
	for (i = 0; i < n; i += len) {
		if ((len = utf8_char(u + i, n - i, &c)) == 0)
			return "is not UTF-8";
		if ((c < ' ' && c != '\n') || (c >= 0x7f && c < 0xa0))
			return "has a control character";
	}
	if (p[n - 1] != '\n')
		return "does not end in a line feed";
	return NULL;
}

/* Append a copy of (p, n) to the *len strings of *v. */
static int
list_add(char ***v, size_t *len, const char *p, size_t n)
{
	char **grown;

	/* Room is made whenever len is a power of two. */
	if ((*len & (*len - 1)) == 0) {
		grown = realloc(*v, (*len == 0 ? 1 : 2 * *len) * sizeof(**v));
		if (grown == NULL)
			return -1;
		*v = grown;
	}
	if (((*v)[*len] = strndup(p, n)) == NULL)
		return -1;
	(*len)++;
	return 0;
}

static void
list_free(char **v, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		free(v[i]);
	free(v);
}

static int
compare_strings(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void
list_sort(char **v, size_t len)
{
	if (len > 1)
		qsort(v, len, sizeof(*v), compare_strings);
}

/*
 * The fields' parsers: (p, n) is the value.  Each returns NULL, or the rule
 * that was broken as a sentence behind the field's name.
 */

static const char *
not_in_store(struct parser *ps)
{
	snprintf(ps->why, sizeof(ps->why),
	    "not a path in this cache's store directory, %s", ps->store_dir);
	return ps->why;
}

static const char *
parse_store_path(struct parser *ps, const char *p, size_t n)
{
	struct narinfo *ni = ps->ni;
	const char *base;

	if (storepath_parse(p, n, ps->store_dir, &base, &ni->hash_part) == -1)
		return not_in_store(ps);
	if ((ni->store_path = strndup(p, n)) == NULL)
		return no_memory;
	ni->base = ni->store_path + (base - p);
	return NULL;
}

static const char *
parse_url(struct parser *ps, const char *p, size_t n)
{
	if (key_parse(p, n, &ps->ni->nar) == -1 || ps->ni->nar.kind != KEY_NAR)
		return "not nar/<hash>.nar with an extension Nix uses";
	return NULL;
}

static const char *
parse_compression(struct parser *ps, const char *p, size_t n)
{
	struct narinfo *ni = ps->ni;

	if (n == 0)
		return NULL;
	if ((ni->compression = strndup(p, n)) == NULL)
		return no_memory;
	if (key_nar_extension(ni->compression) == NULL)
		return "not a compression Nix knows";
	return NULL;
}

/* SHA-256 in one of the spellings that clients read. */
static int
parse_sha256(const char *p, size_t n, struct digest *d)
{
	size_t got;

	if (take_prefix(&p, &n, SHA256_PREFIX)) {
		if (n == DIGEST_BASE32)
			return digest_from_base32(p, n, d);
		if (n == 2 * sizeof(d->b))
			return hex_decode(p, n, d->b, sizeof(d->b));
	} else if (!take_prefix(&p, &n, SHA256_SRI)) {
		return -1;
	}
	if (base64_decode(p, n, d->b, sizeof(d->b), &got) == -1 ||
	    got != sizeof(d->b))
		return -1;
	return 0;
}

static const char *
parse_file_hash(struct parser *ps, const char *p, size_t n)
{
	if (parse_sha256(p, n, &ps->ni->file_hash) == -1)
		return "not a SHA-256 hash";
	ps->has_file_hash = true;
	return NULL;
}

static const char *
parse_file_size(struct parser *ps, const char *p, size_t n)
{
	if (num_parse(p, n, INT64_MAX, &ps->ni->file_size) == -1)
		return "not a number of bytes";
	ps->ni->has_file_size = true;
	return NULL;
}

static const char *
parse_nar_hash(struct parser *ps, const char *p, size_t n)
{
	if (parse_sha256(p, n, &ps->ni->nar_hash) == -1)
		return "not a SHA-256 hash";
	return NULL;
}

static const char *
parse_nar_size(struct parser *ps, const char *p, size_t n)
{
	if (num_parse(p, n, INT64_MAX, &ps->ni->nar_size) == -1)
		return "not a number of bytes";
	return ps->ni->nar_size == 0 ? "must not be 0" : NULL;
}

static const char *
parse_references(struct parser *ps, const char *p, size_t n)
{
	struct narinfo *ni = ps->ni;
	const char *end = p + n, *space;
	struct hash_part hp;
	size_t i;

	if (n == 0)
		return NULL;
	if (ps->limits && n > NARINFO_MAX - NARINFO_REST_MAX)
		return "too long";
	for (;; p = space + 1) {
		space = memchr(p, ' ', (size_t)(end - p));
		n = (size_t)((space != NULL ? space : end) - p);
		if (storepath_base_parse(p, n, &hp) == -1)
			return "not <hash>-<name> separated by single spaces";
		if (list_add(&ni->references, &ni->nreferences, p, n) == -1)
			return no_memory;
		if (space == NULL)
			break;
	}
	list_sort(ni->references, ni->nreferences);
	for (i = 1; i < ni->nreferences; i++)
		if (strcmp(ni->references[i - 1], ni->references[i]) == 0)
			return "the same path twice";
	return NULL;
}

static const char *
parse_deriver(struct parser *ps, const char *p, size_t n)
{
	static const char unknown[] = "unknown-deriver";

	if (n == sizeof(unknown) - 1 && memcmp(p, unknown, n) == 0)
		return NULL;
	if (!storepath_is_drv(p, n))
		return "not <hash>-<name>.drv";
	if ((ps->ni->deriver = strndup(p, n)) == NULL)
		return no_memory;
	return NULL;
}

static const char *
parse_system(struct parser *ps, const char *p, size_t n)
{
	if (ps->limits && n > NARINFO_SYSTEM_MAX)
		return "too long";
	if (n > 0 && (ps->ni->system = strndup(p, n)) == NULL)
		return no_memory;
	return NULL;
}

static const char *
parse_sig(struct parser *ps, const char *p, size_t n)
{
	struct signature sig;

	if (ps->limits && ++ps->sig_lines > NARINFO_SIGS_MAX)
		return "more than " TEXT_OF(NARINFO_SIGS_MAX) " signatures";
	if (sign_signature_parse(p, n, &sig) == -1)
		return "not <key name>:<base 64 of 64 bytes>";
	if (list_add(&ps->ni->sigs, &ps->ni->nsigs, p, n) == -1)
		return no_memory;
	return NULL;
}

/* "<algorithm>:<digest>", in base 32, hexadecimal or base 64 */
static bool
plain_hash_ok(const char *p, size_t n)
{
	static const struct {
		const char *prefix;
		size_t size;
	} algos[] = {
		{ "md5:", 16 },
		{ "sha1:", 20 },
		{ "sha256:", 32 },
		{ "sha512:", 64 },
	};
	uint8_t d[64];
	size_t i, size, got;

	for (i = 0; i < nitems(algos); i++)
		if (take_prefix(&p, &n, algos[i].prefix))
			break;
	if (i == nitems(algos))
		return false;
	size = algos[i].size;
	if (base32_decode(p, n, d, size) == 0 || hex_decode(p, n, d, size) == 0)
		return true;
	return base64_decode(p, n, d, size, &got) == 0 && got == size;
}

static const char *
parse_ca(struct parser *ps, const char *p, size_t n)
{
	const char *at = p;
	size_t rest = n;
	struct digest d;
	bool ok;

	if (take_prefix(&at, &rest, "text:" SHA256_PREFIX)) {
		ok = digest_from_base32(at, rest, &d) == 0;
	} else if (take_prefix(&at, &rest, "fixed:")) {
		if (!take_prefix(&at, &rest, "r:"))
			take_prefix(&at, &rest, "git:");
		ok = plain_hash_ok(at, rest);
	} else {
		ok = false;
	}
	if (!ok)
		return "neither text:sha256:<hash> nor "
		       "fixed:<algorithm>:<hash>";
	if ((ps->ni->ca = strndup(p, n)) == NULL)
		return no_memory;
	return NULL;
}

#define F_NEEDED 1u
#define F_MANY 2u

static const struct field {
	const char *name;
	const char *(*parse)(struct parser *ps, const char *p, size_t n);
	unsigned int flags;
} fields[] = {
	{ "StorePath", parse_store_path, F_NEEDED },
	{ "URL", parse_url, F_NEEDED },
	{ "Compression", parse_compression, 0 },
	{ "FileHash", parse_file_hash, 0 },
	{ "FileSize", parse_file_size, 0 },
	{ "NarHash", parse_nar_hash, F_NEEDED },
	{ "NarSize", parse_nar_size, F_NEEDED },
	{ "References", parse_references, 0 },
	{ "Deriver", parse_deriver, 0 },
	{ "System", parse_system, 0 },
	{ "Sig", parse_sig, F_MANY },
	{ "CA", parse_ca, 0 },
};

_Static_assert(nitems(fields) <= 32, "bits of seen");

static const struct field *
find_field(const char *key, size_t len)
{
	size_t i;

	for (i = 0; i < nitems(fields); i++)
		if (strlen(fields[i].name) == len &&
		    memcmp(fields[i].name, key, len) == 0)
			return &fields[i];
	return NULL;
}

/* Bytes of the key, [A-Za-z][A-Za-z0-9-]*, that (p, n) begins with. */
static size_t
key_length(const char *p, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (!((p[i] >= 'A' && p[i] <= 'Z') ||
			(p[i] >= 'a' && p[i] <= 'z') ||
			(i > 0 &&
			    ((p[i] >= '0' && p[i] <= '9') || p[i] == '-'))))
			break;
	return i;
}

/* Have n more bytes of an unknown line room beside so many lines and bytes? */
static bool
extra_fits(size_t lines, size_t bytes, size_t n)
{
	return lines < NARINFO_EXTRA_MAX &&
	    n + 1 <= NARINFO_EXTRA_BYTES - bytes;
}

/* A line of a field we don't know. */
static const char *
parse_extra(struct parser *ps, const char *p, size_t n)
{
	if (ps->limits && !extra_fits(ps->ni->nextra, ps->extra_bytes, n))
		return "more unknown fields than are kept";
	ps->extra_bytes += n + 1;
	if (list_add(&ps->ni->extra, &ps->ni->nextra, p, n) == -1)
		return no_memory;
	return NULL;
}

/*
 * Take one line without its LF.  NULL, or what is wrong, with *f set when it
 * is about a field.
 */
static const char *
parse_line(struct parser *ps, const char *p, size_t n, const struct field **f)
{
	size_t len = key_length(p, n);
	unsigned int bit;

	*f = NULL;
	if (len == 0 || n - len < 2 || p[len] != ':' || p[len + 1] != ' ')
		return "not \"Key: value\"";
	if ((*f = find_field(p, len)) == NULL)
		return parse_extra(ps, p, n);
	bit = 1u << (*f - fields);
	if ((ps->seen & bit) != 0 && ((*f)->flags & F_MANY) == 0)
		return "given twice";
	ps->seen |= bit;
	return (*f)->parse(ps, p + len + 2, n - len - 2);
}

static int
parse_lines(
    struct parser *ps, const char *p, size_t n, char *err, size_t errsize)
{
	const char *end = p + n, *lf, *why;
	const struct field *f;
	size_t lineno;

	for (lineno = 1; p < end; lineno++, p = lf + 1) {
		lf = memchr(p, '\n', (size_t)(end - p));
		if ((why = parse_line(ps, p, (size_t)(lf - p), &f)) == NULL)
			continue;
		if (f != NULL)
			snprintf(err, errsize, "%s: %s", f->name, why);
		else
			snprintf(err, errsize, "line %zu: %s", lineno, why);
		return -1;
	}
	return 0;
}

/* Signatures sorted, each once. */
static void
tidy_sigs(struct narinfo *ni)
{
	size_t i, kept = 0;

	list_sort(ni->sigs, ni->nsigs);
	for (i = 0; i < ni->nsigs; i++) {
		if (kept > 0 && strcmp(ni->sigs[kept - 1], ni->sigs[i]) == 0)
			free(ni->sigs[i]);
		else
			ni->sigs[kept++] = ni->sigs[i];
	}
	ni->nsigs = kept;
}

/* What can be said only when all lines are in. */
static int
finish(struct parser *ps, char *err, size_t errsize)
{
	struct narinfo *ni = ps->ni;
	const char *extension;
	size_t i;

	for (i = 0; i < nitems(fields); i++)
		if ((fields[i].flags & F_NEEDED) != 0 &&
		    (ps->seen & 1u << i) == 0) {
			snprintf(err, errsize, "%s: missing", fields[i].name);
			return -1;
		}
	if (ni->compression == NULL &&
	    (ni->compression = strdup("bzip2")) == NULL) {
		snprintf(err, errsize, "%s", no_memory);
		return -1;
	}
	extension = strstr(ni->nar.s, ".nar") + strlen(".nar");
	if (strcmp(extension, key_nar_extension(ni->compression)) != 0) {
		snprintf(err, errsize,
		    "Compression: %s does not fit the URL's extension",
		    ni->compression);
		return -1;
	}
	if (!ps->has_file_hash)
		ni->file_hash = ni->nar.file_hash;
	if (!digest_equal(&ni->file_hash, &ni->nar.file_hash)) {
		snprintf(err, errsize, "FileHash: not the hash in the URL");
		return -1;
	}
	tidy_sigs(ni);
	return 0;
}

static struct narinfo *
parse(const char *p, size_t n, const char *store_dir, bool limits, char *err,
    size_t errsize)
{
	struct parser ps = { .store_dir = store_dir, .limits = limits };
	const char *why;

	if ((why = check_text(p, n, limits ? NARINFO_MAX : SIZE_MAX)) != NULL) {
		snprintf(err, errsize, "the narinfo %s", why);
		return NULL;
	}
	if ((ps.ni = calloc(1, sizeof(*ps.ni))) == NULL) {
		snprintf(err, errsize, "%s", no_memory);
		return NULL;
	}
	if (parse_lines(&ps, p, n, err, errsize) == -1 ||
	    finish(&ps, err, errsize) == -1) {
		narinfo_free(ps.ni);
		return NULL;
	}
	return ps.ni;
}

struct narinfo *
narinfo_parse(
    const char *p, size_t n, const char *store_dir, char *err, size_t errsize)
{
	return parse(p, n, store_dir, true, err, errsize);
}

struct narinfo *
narinfo_parse_stored(
    const char *p, size_t n, const char *store_dir, char *err, size_t errsize)
{
	return parse(p, n, store_dir, false, err, errsize);
}

void
narinfo_free(struct narinfo *ni)
{
	if (ni == NULL)
		return;
	free(ni->store_path);
	free(ni->compression);
	list_free(ni->references, ni->nreferences);
	free(ni->deriver);
	free(ni->system);
	list_free(ni->sigs, ni->nsigs);
	free(ni->ca);
	list_free(ni->extra, ni->nextra);
	free(ni);
}

static void
print_hash(const char *key, const struct digest *d, struct buf *out)
{
	char text[DIGEST_BASE32 + 1];

	digest_to_base32(d, text);
	buf_addf(out, "%s: " SHA256_PREFIX "%s\n", key, text);
}

static void
print_optional(const char *key, const char *value, struct buf *out)
{
	if (value != NULL)
		buf_addf(out, "%s: %s\n", key, value);
}

void
narinfo_print(const struct narinfo *ni, struct buf *out)
{
	size_t i;

	buf_addf(out, "StorePath: %s\n", ni->store_path);
	buf_addf(out, "URL: %s\n", ni->nar.s);
	buf_addf(out, "Compression: %s\n", ni->compression);
	print_hash("FileHash", &ni->file_hash, out);
	if (ni->has_file_size)
		buf_addf(out, "FileSize: %" PRIu64 "\n", ni->file_size);
	print_hash("NarHash", &ni->nar_hash, out);
	buf_addf(out, "NarSize: %" PRIu64 "\n", ni->nar_size);
	/* Readers take the value from two behind the colon: keep the space. */
	buf_adds(out, "References: ");
	for (i = 0; i < ni->nreferences; i++) {
		if (i > 0)
			buf_addch(out, ' ');
		buf_adds(out, ni->references[i]);
	}
	buf_addch(out, '\n');
	print_optional("Deriver", ni->deriver, out);
	print_optional("System", ni->system, out);
	for (i = 0; i < ni->nsigs; i++)
		print_optional("Sig", ni->sigs[i], out);
	print_optional("CA", ni->ca, out);
	for (i = 0; i < ni->nextra; i++) {
		buf_adds(out, ni->extra[i]);
		buf_addch(out, '\n');
	}
}

void
narinfo_fingerprint(const struct narinfo *ni, struct buf *out)
{
	size_t dir = (size_t)(ni->base - ni->store_path);
	char text[DIGEST_BASE32 + 1];
	size_t i;

	digest_to_base32(&ni->nar_hash, text);
	buf_addf(out, "1;%s;" SHA256_PREFIX "%s;%" PRIu64 ";", ni->store_path,
	    text, ni->nar_size);
	for (i = 0; i < ni->nreferences; i++) {
		if (i > 0)
			buf_addch(out, ',');
		buf_add(out, ni->store_path, dir);
		buf_adds(out, ni->references[i]);
	}
}

bool
narinfo_same(const struct narinfo *a, const struct narinfo *b)
{
	size_t i;

	if (strcmp(a->store_path, b->store_path) != 0 ||
	    !digest_equal(&a->nar_hash, &b->nar_hash) ||
	    a->nar_size != b->nar_size || a->nreferences != b->nreferences)
		return false;
	for (i = 0; i < a->nreferences; i++)
		if (strcmp(a->references[i], b->references[i]) != 0)
			return false;
	return true;
}

/* Index of the signature that is worth least; *worth what it is worth. */
static size_t
least_sig(
    const struct narinfo *ni, const struct sig_rank *rank, unsigned int *worth)
{
	size_t i, least = 0;
	unsigned int w;

	for (i = 0; i < ni->nsigs; i++) {
		w = rank->of(rank->arg, ni, ni->sigs[i]);
		if (i == 0 || w <= *worth) {
			least = i;
			*worth = w;
		}
	}
	return least;
}

/* Is text a signature by the same name as sig? */
static bool
same_name(const char *text, const char *sig)
{
	size_t n = strcspn(sig, ":");

	return strncmp(text, sig, n) == 0 && text[n] == ':';
}

/* Has ni this signature, or a good one by the same name? */
static bool
has_sig(const struct narinfo *ni, const char *sig, const struct sig_rank *rank)
{
	size_t i;

	for (i = 0; i < ni->nsigs; i++)
		if (strcmp(ni->sigs[i], sig) == 0 ||
		    (same_name(ni->sigs[i], sig) &&
			rank->of(rank->arg, ni, ni->sigs[i]) > 0))
			return true;
	return false;
}

/* Put sig in, when there is room or one that is worth less: as merge_sigs. */
static int
put_sig(struct narinfo *ni, const char *sig, unsigned int worth,
    const struct sig_rank *rank)
{
	unsigned int least_worth = 0;
	size_t least;
	char *copy, **grown;

	if ((copy = strdup(sig)) == NULL)
		return -1;
	if (ni->nsigs >= NARINFO_SIGS_MAX) {
		least = least_sig(ni, rank, &least_worth);
		if (least_worth >= worth) {
			free(copy);
			return 0;
		}
		free(ni->sigs[least]);
		ni->sigs[least] = copy;
	} else {
		/* tidy_sigs shortens lists: list_add can't grow this one. */
		grown = realloc(ni->sigs, (ni->nsigs + 1) * sizeof(*grown));
		if (grown == NULL) {
			free(copy);
			return -1;
		}
		ni->sigs = grown;
		ni->sigs[ni->nsigs++] = copy;
	}
	tidy_sigs(ni);
	return 1;
}

/* Free those that are worth just so much, the last first, down to the limit. */
static void
trim_sigs(struct narinfo *ni, const struct sig_rank *rank, unsigned int worth)
{
	size_t i, at = ni->nsigs, left = ni->nsigs;

	for (i = ni->nsigs; i-- > 0;) {
		if (left > NARINFO_SIGS_MAX &&
		    rank->of(rank->arg, ni, ni->sigs[i]) == worth) {
			free(ni->sigs[i]);
			left--;
		} else
			ni->sigs[--at] = ni->sigs[i];
	}
	memmove(ni->sigs, ni->sigs + at, left * sizeof(*ni->sigs));
	ni->nsigs = left;
}

/* Free the unknown lines that are over the limits. */
static int
trim_extra(struct narinfo *ni)
{
	size_t i, n, bytes = 0, kept = 0;

	for (i = 0; i < ni->nextra; i++) {
		n = strlen(ni->extra[i]);
		if (extra_fits(kept, bytes, n)) {
			ni->extra[kept++] = ni->extra[i];
			bytes += n + 1;
		} else
			free(ni->extra[i]);
	}
	n = ni->nextra;
	ni->nextra = kept;
	return kept != n;
}

int
narinfo_trim(struct narinfo *ni, const struct sig_rank *rank)
{
	unsigned int worth;
	int changed = ni->nsigs > NARINFO_SIGS_MAX;

	/* One pass a worth: there may be very many signatures. */
	for (worth = 0; ni->nsigs > NARINFO_SIGS_MAX; worth++)
		trim_sigs(ni, rank, worth);
	if (ni->system != NULL && strlen(ni->system) > NARINFO_SYSTEM_MAX) {
		free(ni->system);
		ni->system = NULL;
		changed = 1;
	}
	return trim_extra(ni) || changed;
}

int
narinfo_merge_sigs(
    struct narinfo *a, const struct narinfo *b, const struct sig_rank *rank)
{
	unsigned int worth;
	size_t i;
	int rc, changed = 0;

	for (i = 0; i < b->nsigs; i++) {
		worth = rank->of(rank->arg, b, b->sigs[i]);
		if (worth == 0 || has_sig(a, b->sigs[i], rank))
			continue;
		if ((rc = put_sig(a, b->sigs[i], worth, rank)) == -1)
			return -1;
		changed |= rc;
	}
	return changed;
}

int
narinfo_add_sig(
    struct narinfo *ni, const char *sig, const struct sig_rank *rank)
{
	return put_sig(ni, sig, UINT_MAX, rank) == -1 ? -1 : 0;
}
