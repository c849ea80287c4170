#include "config.h"

#include "conf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "num.h"
#include "storepath.h"

#define nitems(a) (sizeof(a) / sizeof((a)[0]))

/* Far more than a person writes: a longer file or line is a mistake. */
#define FILE_BYTES_MAX ((size_t)1 << 20)
#define LINE_BYTES_MAX ((size_t)4096)

/* A file of another kind would have an error a line. */
#define ERRORS_MAX 100

/* As much of a bad value as a message repeats. */
#define SHOWN_MAX 80

static const char no_memory[] = "out of memory";

/*
 * A key.  The parser puts the value (v, n), never empty and printable ASCII
 * only, into field and returns NULL, or else what is wrong; mostly that is
 * rule, which says what would be right.
 */
struct key_def {
	const char *name;
	const char *(*parse)(
	    const struct key_def *k, const char *v, size_t n, void *field);
	size_t offset; /* of the field in struct conf */
	const char *def; /* the default, as it would be written */
	const char *rule;
	uint64_t min, max; /* of numbers */
};

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool
is_alnum(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
	    (c >= 'A' && c <= 'Z');
}

static bool
equals(const char *v, size_t n, const char *s)
{
	return n == strlen(s) && memcmp(v, s, n) == 0;
}

static const char *
set_string(char **field, const char *v, size_t n)
{
	if ((*field = strndup(v, n)) == NULL)
		return no_memory;
	return NULL;
}

/* An absolute path other than "/", without empty, "." and ".." segments. */
static bool
path_ok(const char *v, size_t n)
{
	size_t i, start;

	if (n < 2 || v[0] != '/')
		return false;
	for (i = 1, start = 1; i <= n; i++) {
		if (i < n && v[i] != '/')
			continue;
		if (i == start || equals(v + start, i - start, ".") ||
		    equals(v + start, i - start, ".."))
			return false;
		start = i + 1;
	}
	return true;
}

static const char *
parse_path(const struct key_def *k, const char *v, size_t n, void *field)
{
	return path_ok(v, n) ? set_string(field, v, n) : k->rule;
}

/* A path, or "none" for NULL. */
static const char *
parse_path_or_none(
    const struct key_def *k, const char *v, size_t n, void *field)
{
	if (equals(v, n, "none")) {
		*(char **)field = NULL;
		return NULL;
	}
	return parse_path(k, v, n, field);
}

static const char *
parse_store_dir(const struct key_def *k, const char *v, size_t n, void *field)
{
	char **s = field;
	const char *why;

	if ((why = set_string(s, v, n)) == NULL && !storepath_dir_ok(*s)) {
		free(*s);
		*s = NULL;
		why = k->rule;
	}
	return why;
}

/* The length of the host at the start of (v, n); 0 when there is none. */
static size_t
host_len(const char *v, size_t n)
{
	size_t i;

	if (n > 0 && v[0] == '[') {
		for (i = 1; i < n && v[i] != '\0' &&
		     strchr("0123456789abcdefABCDEF:.", v[i]) != NULL;
		     i++)
			;
		return i > 1 && i < n && v[i] == ']' ? i + 1 : 0;
	}
	for (i = 0; i < n &&
	     (is_alnum(v[i]) || v[i] == '-' || v[i] == '.' || v[i] == '_');
	     i++)
		;
	return i;
}

/*
 * http(s)://HOST[:PORT] and nothing else: the programs' prefixes are added to
 * it, and it is shown on pages and in netrc lines, so no byte of it may need
 * quoting anywhere.
 */
static bool
url_ok(const char *v, size_t n)
{
	static const char *const schemes[] = { "http://", "https://" };
	uint64_t port;
	size_t i, len;

	for (i = 0; i < nitems(schemes); i++) {
		len = strlen(schemes[i]);
		if (n > len && memcmp(v, schemes[i], len) == 0)
			break;
	}
	if (i == nitems(schemes))
		return false;
	v += len;
	n -= len;
	if ((len = host_len(v, n)) == 0)
		return false;
	if (len == n)
		return true;
	return v[len] == ':' &&
	    num_parse(v + len + 1, n - len - 1, 65535, &port) == 0 && port != 0;
}

static const char *
parse_url(const struct key_def *k, const char *v, size_t n, void *field)
{
	return url_ok(v, n) ? set_string(field, v, n) : k->rule;
}

static const char *
parse_bool(const struct key_def *k, const char *v, size_t n, void *field)
{
	bool yes = equals(v, n, "yes");

	if (!yes && !equals(v, n, "no"))
		return k->rule;
	*(bool *)field = yes;
	return NULL;
}

/* What the three kinds of numbers have in common. */
static const char *
set_number(const struct key_def *k, int rc, uint64_t number, void *field)
{
	if (rc == -1 || number < k->min)
		return k->rule;
	*(uint64_t *)field = number;
	return NULL;
}

static const char *
parse_number(const struct key_def *k, const char *v, size_t n, void *field)
{
	uint64_t number = 0;
	int rc = num_parse(v, n, k->max, &number);

	return set_number(k, rc, number, field);
}

static const char *
parse_size(const struct key_def *k, const char *v, size_t n, void *field)
{
	uint64_t number = 0;
	int rc = num_parse_size(v, n, k->max, &number);

	return set_number(k, rc, number, field);
}

static const char *
parse_duration(const struct key_def *k, const char *v, size_t n, void *field)
{
	uint64_t number = 0;
	int rc = num_parse_duration(v, n, k->max, &number);

	return set_number(k, rc, number, field);
}

static const char *
parse_store(const struct key_def *k, const char *v, size_t n, void *field)
{
	if (!equals(v, n, "file"))
		return k->rule;
	*(enum conf_store *)field = CONF_STORE_FILE;
	return NULL;
}

static const char *
parse_level(const struct key_def *k, const char *v, size_t n, void *field)
{
	enum log_level *level = field;

	if (equals(v, n, "warn"))
		*level = LOG_LVL_WARN;
	else if (equals(v, n, "info"))
		*level = LOG_LVL_INFO;
	else if (equals(v, n, "debug"))
		*level = LOG_LVL_DEBUG;
	else
		return k->rule;
	return NULL;
}

/* Sizes go into the index as signed 64 bit numbers. */
#define SIZE_LIMIT ((uint64_t)INT64_MAX)

#define PATH_RULE                                                              \
	"must be an absolute path without \"//\", \"/./\", \"/../\" and "      \
	"without a slash at the end"
#define SIZE_RULE "must be a number of bytes, with K, M, G or T if you like"

#define ROW(field, parser, def, rule, min, max)                                \
	{                                                                      \
#field, parser, offsetof(struct conf, field), def, rule, min,  \
		    max                                                        \
	}

static const struct key_def keys[] = {
	ROW(state_dir, parse_path, TMPNIX_STATE_DIR, PATH_RULE, 0, 0),
	ROW(store_dir, parse_store_dir, "/nix/store",
	    PATH_RULE " or spaces, such as /nix/store", 0, 0),
	ROW(url, parse_url, "http://127.0.0.1:8080",
	    "must be http://HOST[:PORT] or https://HOST[:PORT] and nothing "
	    "behind it",
	    0, 0),
	ROW(want_mass_query, parse_bool, "yes", "must be yes or no", 0, 0),
	ROW(priority, parse_number, "30", "must be a number from 0 to 1000000",
	    0, 1000000),
	ROW(public_key_file, parse_path_or_none, "none", PATH_RULE ", or none",
	    0, 0),
	ROW(drv_public_key_file, parse_path_or_none, "none",
	    PATH_RULE ", or none", 0, 0),
	ROW(threads, parse_number, "32", "must be a number from 1 to 512", 1,
	    512),
	ROW(body_dir, parse_path_or_none, "none", PATH_RULE ", or none", 0, 0),
	ROW(spool_min_free, parse_size, "256M", SIZE_RULE, 0, SIZE_LIMIT),
	ROW(max_upload_size, parse_size, "16G", SIZE_RULE ", 0 for no limit", 0,
	    SIZE_LIMIT),
	ROW(max_meta_size, parse_size, "64M", "must be a size from 1 to 1G", 1,
	    (uint64_t)1 << 30),
	ROW(asset_store, parse_store, "file", "must be file", 0, 0),
	ROW(relay_workers, parse_number, "2", "must be a number from 1 to 64",
	    1, 64),
	ROW(stop_timeout, parse_duration, "30s",
	    "must be a time from 1s to 10m", 1, 600),
	ROW(log_level, parse_level, "info", "must be warn, info or debug", 0,
	    0),
};

struct parse {
	struct conf *c;
	const char *name; /* of the file */
	size_t line;
	size_t seen[nitems(keys)]; /* the line a key was in; 0: none */
	size_t nerrors;
	struct buf *errs;
};

/* Begin a message; the caller adds the rest of it, LF included. */
static bool
error_begin(struct parse *ps)
{
	if (ps->nerrors++ < ERRORS_MAX) {
		buf_addf(ps->errs, "%s:%zu: ", ps->name, ps->line);
		return true;
	}
	if (ps->nerrors == ERRORS_MAX + 1)
		buf_addf(ps->errs, "%s: more errors are left out\n", ps->name);
	return false;
}

static void
error_line(struct parse *ps, const char *what)
{
	if (error_begin(ps))
		buf_addf(ps->errs, "%s\n", what);
}

static void
error_value(
    struct parse *ps, const char *key, const char *why, const char *v, size_t n)
{
	if (error_begin(ps))
		buf_addf(ps->errs, "%s %s, not \"%.*s%s\"\n", key, why,
		    (int)(n < SHOWN_MAX ? n : SHOWN_MAX), v,
		    n > SHOWN_MAX ? "..." : "");
}

/* The end of (p, n) without a comment and the blanks before it. */
static size_t
without_comment(const char *p, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (p[i] == '#' && (i == 0 || is_blank(p[i - 1])))
			n = i;
	while (n > 0 && is_blank(p[n - 1]))
		n--;
	return n;
}

static const struct key_def *
find_key(const char *p, size_t n)
{
	size_t i;

	for (i = 0; i < nitems(keys); i++)
		if (equals(p, n, keys[i].name))
			return &keys[i];
	return NULL;
}

/* The value (v, n) of key k. */
static void
parse_value(struct parse *ps, const struct key_def *k, const char *v, size_t n)
{
	const char *why;
	size_t i;

	for (i = 0; i < n; i++) {
		if (v[i] >= 0x20 && v[i] < 0x7f)
			continue;
		if (error_begin(ps))
			buf_addf(ps->errs,
			    "%s has the byte 0x%02x in its value, where only "
			    "printable ASCII may be\n",
			    k->name, (unsigned int)(unsigned char)v[i]);
		return;
	}
	why = n == 0 ? k->rule : k->parse(k, v, n, (char *)ps->c + k->offset);
	if (why != NULL)
		error_value(ps, k->name, why, v, n);
}

/* One line without its LF. */
static void
parse_line(struct parse *ps, const char *p, size_t n)
{
	const struct key_def *k;
	const char *eq;
	size_t len, *seen;

	if (n > LINE_BYTES_MAX) {
		error_line(ps, "the line is longer than 4096 bytes");
		return;
	}
	n = without_comment(p, n);
	while (n > 0 && is_blank(*p)) {
		p++;
		n--;
	}
	if (n == 0)
		return;
	if ((eq = memchr(p, '=', n)) == NULL) {
		error_line(ps, "not a line of the form \"key = value\"");
		return;
	}
	for (len = (size_t)(eq - p); len > 0 && is_blank(p[len - 1]); len--)
		;
	if ((k = find_key(p, len)) == NULL) {
		/* What is no key may be any bytes: it is not repeated. */
		for (len = 0; is_alnum(p[len]) || p[len] == '_'; len++)
			;
		if (error_begin(ps))
			buf_addf(ps->errs,
			    "unknown key \"%.*s\"; tmpnix.conf(5) has them "
			    "all\n",
			    (int)(len < SHOWN_MAX ? len : SHOWN_MAX), p);
		return;
	}
	seen = &ps->seen[k - keys];
	if (*seen != 0) {
		if (error_begin(ps))
			buf_addf(ps->errs, "%s is set in line %zu already\n",
			    k->name, *seen);
		return;
	}
	*seen = ps->line;
	n -= (size_t)(eq + 1 - p);
	for (p = eq + 1; n > 0 && is_blank(*p); n--)
		p++;
	parse_value(ps, k, p, n);
}

static void
set_defaults(struct parse *ps)
{
	const struct key_def *k;
	const char *why;
	size_t i;

	for (i = 0; i < nitems(keys); i++) {
		k = &keys[i];
		if (ps->seen[i] != 0)
			continue;
		why = k->parse(
		    k, k->def, strlen(k->def), (char *)ps->c + k->offset);
		/* The build may have given us a state_dir that is none. */
		if (why != NULL) {
			ps->nerrors++;
			buf_addf(ps->errs, "%s: the default of %s %s\n",
			    ps->name, k->name, why);
		}
	}
}

struct conf *
conf_parse(const char *p, size_t n, const char *name, struct buf *errs)
{
	struct parse ps = { .name = name, .errs = errs };
	const char *end = p + n, *lf;

	if ((ps.c = calloc(1, sizeof(*ps.c))) == NULL) {
		buf_addf(errs, "%s: %s\n", name, no_memory);
		return NULL;
	}
	for (; p < end; p = lf + 1) {
		ps.line++;
		if ((lf = memchr(p, '\n', (size_t)(end - p))) == NULL)
			lf = end;
		parse_line(&ps, p, (size_t)(lf - p));
		if (lf == end)
			break;
	}
	set_defaults(&ps);
	if (ps.nerrors != 0) {
		conf_free(ps.c);
		return NULL;
	}
	return ps.c;
}

struct conf *
conf_load(const char *file, struct buf *errs)
{
	struct buf text = BUF_INIT;
	struct conf *c = NULL;
	char why[128];

	if (file_read_at(AT_FDCWD, file, FILE_BYTES_MAX, &text) == 0)
		c = conf_parse(buf_str(&text), text.len, file, errs);
	else if (errno == EFBIG)
		buf_addf(errs, "%s: larger than 1 MiB\n", file);
	else
		buf_addf(errs, "%s: %s\n", file,
		    strerror_r(errno, why, sizeof(why)));
	buf_free(&text);
	return c;
}

void
conf_free(struct conf *c)
{
	if (c == NULL)
		return;
	free(c->state_dir);
	free(c->store_dir);
	free(c->url);
	free(c->public_key_file);
	free(c->drv_public_key_file);
	free(c->body_dir);
	free(c);
}

const char *
conf_key(size_t i)
{
	return i < nitems(keys) ? keys[i].name : NULL;
}
