#include "config.h"

#include "conf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "conf_keys.h"
#include "file.h"

#define nitems(a) (sizeof(a) / sizeof((a)[0]))

/* Far more than a person writes: a longer file or line is a mistake. */
#define FILE_BYTES_MAX ((size_t)1 << 20)
#define LINE_BYTES_MAX ((size_t)4096)

/* A file of another kind would have an error a line. */
#define ERRORS_MAX 100

/* As much of a bad value as a message repeats. */
#define SHOWN_MAX 80

struct parse {
	struct conf *c;
	const char *name; /* of the file */
	size_t line;
	size_t seen[CONF_KEYS_MAX]; /* the line a key was in; 0: none */
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

	for (i = 0; i < conf_nkeys; i++)
		if (equals(p, n, conf_keys[i].name))
			return &conf_keys[i];
	return NULL;
}

static bool
printable(const char *v, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (v[i] < 0x20 || v[i] >= 0x7f)
			return false;
	return true;
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

bool
conf_file_name_ok(const char *p, size_t n)
{
	size_t i;

	if (n == 0 || n > CONF_FILE_NAME_MAX || p[0] == '.' || p[0] == '-')
		return false;
	for (i = 0; i < n; i++)
		if (!is_alnum(p[i]) && p[i] != '.' && p[i] != '_' &&
		    p[i] != '-')
			return false;
	return true;
}

const char *
conf_file_find(const struct conf *c, const char *name)
{
	size_t i;

	for (i = 0; i < c->nfiles; i++)
		if (strcmp(c->files[i].name, name) == 0)
			return c->files[i].path;
	return NULL;
}

/* Put a file into its place in the table: name and path are its own then. */
static int
file_add(struct conf *c, char *name, char *path)
{
	struct conf_file *more;
	size_t at;

	more = realloc(c->files, (c->nfiles + 1) * sizeof(*more));
	if (more == NULL)
		return -1;
	c->files = more;
	for (at = c->nfiles; at > 0; at--) {
		if (strcmp(c->files[at - 1].name, name) < 0)
			break;
		c->files[at] = c->files[at - 1];
	}
	c->files[at].name = name;
	c->files[at].path = path;
	c->nfiles++;
	return 0;
}

/* The value (v, n) of the key file.NAME, NAME being (p, len). */
static void
parse_file(struct parse *ps, const char *p, size_t len, const char *v, size_t n)
{
	char *name = NULL, *path = NULL;

	if (!conf_file_name_ok(p, len))
		error_line(ps,
		    "the name behind \"file.\" must be 1 to 64 letters, "
		    "digits, \".\", \"_\" and \"-\", the first one a letter, "
		    "a digit or \"_\"");
	else if (!conf_path_ok(v, n) || !printable(v, n))
		error_line(ps, "a file. key " CONF_PATH_RULE);
	else if ((name = strndup(p, len)) == NULL ||
	    (path = strndup(v, n)) == NULL)
		error_line(ps, conf_no_memory);
	else if (conf_file_find(ps->c, name) != NULL) {
		if (error_begin(ps))
			buf_addf(ps->errs, "file.%s is set already\n", name);
	} else if (file_add(ps->c, name, path) == -1)
		error_line(ps, conf_no_memory);
	else
		name = path = NULL; /* the table's now */
	free(name);
	free(path);
}

/* One line without its LF. */
static void
parse_line(struct parse *ps, const char *p, size_t n)
{
	const struct key_def *k;
	const char *eq, *v;
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
	n -= (size_t)(eq + 1 - p);
	for (v = eq + 1; n > 0 && is_blank(*v); n--)
		v++;
	if (len > 5 && memcmp(p, "file.", 5) == 0) {
		parse_file(ps, p + 5, len - 5, v, n);
		return;
	}
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
	seen = &ps->seen[k - conf_keys];
	if (*seen != 0) {
		if (error_begin(ps))
			buf_addf(ps->errs, "%s is set in line %zu already\n",
			    k->name, *seen);
		return;
	}
	*seen = ps->line;
	parse_value(ps, k, v, n);
	if ((ps->c->texts[k - conf_keys] = strndup(v, n)) == NULL)
		error_line(ps, conf_no_memory);
}

static void
set_defaults(struct parse *ps)
{
	const struct key_def *k;
	const char *why;
	size_t i;

	for (i = 0; i < conf_nkeys; i++) {
		k = &conf_keys[i];
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

/* Put dir in front of each word of *paths that is no absolute path. */
static int
make_absolute(char **paths, const char *dir)
{
	struct buf b = BUF_INIT;
	const char *p = *paths;

	if (p == NULL)
		return 0;
	while (*p != '\0') {
		if (!is_blank(*p) && *p != '/')
			buf_addf(&b, "%s/", dir);
		for (; *p != '\0' && !is_blank(*p); p++)
			buf_addch(&b, *p);
		for (; is_blank(*p); p++)
			buf_addch(&b, *p);
	}
	if (buf_failed(&b)) {
		buf_free(&b);
		return -1;
	}
	free(*paths);
	*paths = b.p; /* the conf's now */
	return 0;
}

/*
 * Fill in what depends on other keys.  Nothing is signed that was not verified,
 * so that the key for it is not needed where nobody asked for it by name.
 */
static int
derive(struct conf *c, bool signs_by_default)
{
	struct buf b = BUF_INIT;

	if (signs_by_default && c->verify != CONF_VERIFY_NAR) {
		free(c->secret_key_file);
		c->secret_key_file = NULL;
	}
	if (c->drv_store_dir == NULL &&
	    (c->drv_store_dir = strdup(c->store_dir)) == NULL)
		return -1;
	if (c->drv_state_dir == NULL) {
		buf_addf(&b, "%s/nix", c->state_dir);
		if ((c->drv_state_dir = b.p) == NULL) /* the conf's now */
			return -1;
	}
	/* A derivation without a signature is of no use: none is the default.
	 */
	if (c->drv_secret_key_file == NULL &&
	    (c->drv_secret_key_file = strdup("keys/drv.sec")) == NULL)
		return -1;
	if (make_absolute(&c->public_key_file, c->state_dir) == -1 ||
	    make_absolute(&c->drv_public_key_file, c->state_dir) == -1 ||
	    make_absolute(&c->secret_key_file, c->state_dir) == -1 ||
	    make_absolute(&c->drv_secret_key_file, c->state_dir) == -1)
		return -1;
	return 0;
}

/* Is this key in the file? */
static bool
is_set(const struct parse *ps, const char *name)
{
	return ps->seen[find_key(name, strlen(name)) - conf_keys] != 0;
}

/* What the chosen store can't do without. */
static void
check_store(struct parse *ps)
{
	const struct conf *c = ps->c;
	const struct {
		enum conf_store store;
		const char *name, *key, *value;
	} needs[] = {
		{ CONF_STORE_GLITCH, "glitch", "glitch_project",
		    c->glitch_project },
		{ CONF_STORE_GLITCH, "glitch", "glitch_token_file",
		    c->glitch_token_file },
		{ CONF_STORE_S3, "s3", "s3_bucket", c->s3_bucket },
		{ CONF_STORE_S3, "s3", "s3_credentials_file",
		    c->s3_credentials_file },
	};
	size_t i;

	for (i = 0; i < nitems(needs); i++)
		if (c->asset_store == needs[i].store &&
		    needs[i].value == NULL) {
			ps->nerrors++;
			buf_addf(ps->errs, "%s: asset_store = %s needs %s\n",
			    ps->name, needs[i].name, needs[i].key);
		}
}

struct conf *
conf_parse(const char *p, size_t n, const char *name, struct buf *errs)
{
	struct parse ps = { .name = name, .errs = errs };
	const char *end = p + n, *lf;

	if ((ps.c = calloc(1, sizeof(*ps.c))) == NULL ||
	    (ps.c->texts = calloc(conf_nkeys, sizeof(*ps.c->texts))) == NULL) {
		buf_addf(errs, "%s: %s\n", name, conf_no_memory);
		conf_free(ps.c);
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
	if (ps.nerrors == 0 &&
	    derive(ps.c, !is_set(&ps, "secret_key_file")) == -1) {
		ps.nerrors++;
		buf_addf(errs, "%s: %s\n", name, conf_no_memory);
	}
	if (ps.nerrors == 0)
		check_store(&ps);
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

/* What key i was set to, or its default. */
static const char *
key_text(const struct conf *c, size_t i)
{
	return c->texts[i] != NULL ? c->texts[i] : conf_keys[i].def;
}

static void
add_name(struct buf *names, const char *name)
{
	buf_addf(names, "%s%s", names->len > 0 ? ", " : "", name);
}

static bool
same_files(const struct conf *a, const struct conf *b)
{
	size_t i;

	if (a->nfiles != b->nfiles)
		return false;
	for (i = 0; i < a->nfiles; i++)
		if (strcmp(a->files[i].name, b->files[i].name) != 0 ||
		    strcmp(a->files[i].path, b->files[i].path) != 0)
			return false;
	return true;
}

/* The text of a configuration that is new's as far as it may be, else old's. */
static void
merge(const struct conf *old, const struct conf *new, struct conf_changes *ch,
    struct buf *text)
{
	const struct conf *from;
	size_t i;

	for (i = 0; i < conf_nkeys; i++) {
		from = conf_keys[i].live ? new : old;
		if (strcmp(key_text(old, i), key_text(new, i)) != 0)
			add_name(from == new ? &ch->taken : &ch->kept,
			    conf_keys[i].name);
		/* (Behind a blank "#" would begin a comment.) */
		if (from->texts[i] != NULL)
			buf_addf(
			    text, "%s=%s\n", conf_keys[i].name, from->texts[i]);
	}
	/* Without any, what they need was not set up. */
	from = old->nfiles > 0 ? new : old;
	if (!same_files(old, new))
		add_name(from == new ? &ch->taken : &ch->kept, "file");
	for (i = 0; i < from->nfiles; i++)
		buf_addf(text, "file.%s=%s\n", from->files[i].name,
		    from->files[i].path);
}

struct conf *
conf_reload(const struct conf *old, const char *file, struct conf_changes *ch,
    struct buf *errs)
{
	struct buf text = BUF_INIT;
	struct conf *new, *c = NULL;

	if ((new = conf_load(file, errs)) == NULL)
		return NULL;
	merge(old, new, ch, &text);
	conf_free(new);
	if (buf_failed(&text))
		buf_addf(errs, "%s: %s\n", file, conf_no_memory);
	else
		c = conf_parse(buf_str(&text), text.len, file, errs);
	buf_free(&text);
	return c;
}

void
conf_free(struct conf *c)
{
	size_t i;

	if (c == NULL)
		return;
	for (i = 0; c->texts != NULL && i < conf_nkeys; i++)
		free(c->texts[i]);
	free(c->texts);
	free(c->state_dir);
	free(c->user);
	free(c->store_dir);
	free(c->url);
	free(c->public_key_file);
	free(c->drv_public_key_file);
	free(c->body_dir);
	for (i = 0; i < c->nfiles; i++) {
		free(c->files[i].name);
		free(c->files[i].path);
	}
	free(c->files);
	free(c->drv_overlays);
	free(c->drv_nix_path);
	free(c->drv_args);
	free(c->drv_store_dir);
	free(c->drv_state_dir);
	free(c->drv_secret_key_file);
	free(c->nix_bin_dir);
	free(c->tls_ca_file);
	free(c->glitch_project);
	free(c->glitch_token_file);
	free(c->glitch_api);
	free(c->glitch_upload);
	free(c->glitch_cdn);
	free(c->glitch_cdn_large);
	free(c->s3_endpoint);
	free(c->s3_region);
	free(c->s3_bucket);
	free(c->s3_prefix);
	free(c->s3_credentials_file);
	free(c->s3_public_url);
	free(c->trusted_public_keys);
	free(c->trusted_proxies.list);
	free(c->web_servers.list);
	free(c->secret_key_file);
	free(c);
}

const char *
conf_key(size_t i)
{
	return i < conf_nkeys ? conf_keys[i].name : NULL;
}

bool
conf_key_live(size_t i)
{
	return conf_keys[i].live;
}
