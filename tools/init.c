#include "config.h"

#include "tmpnix.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "account.h"
#include "client_lines.h"
#include "file.h"
#include "ready.h"

#define nitems(a) (sizeof(a) / sizeof((a)[0]))

/* The keys of the configuration that options give values to. */
enum given { STATE_DIR, STORE_DIR, URL, BODY_DIR, NGIVEN };

struct init {
	struct tool *tool;
	bool new_index; /* to be used beside what is stored */
	const char *given[NGIVEN]; /* NULL: the option was not there */
	bool has_conf; /* the configuration was there */
	size_t made;
};

static const struct {
	char option;
	const char *key;
	const char *comment;
} given_keys[NGIVEN] = {
	[STATE_DIR] = { 'd', "state_dir",
	    "Where everything is kept: the index, the spool, the file store, "
	    "the keys." },
	[STORE_DIR] = { 'S', "store_dir",
	    "The Nix store directory of the packages." },
	[URL] = { 'u', "url",
	    "Where clients reach the web server: http(s)://HOST[:PORT]." },
	[BODY_DIR] = { 'b', "body_dir",
	    "Where the web server leaves request bodies it hands over as "
	    "files, or none." },
};

static const char *
conf_value(const struct conf *c, enum given g)
{
	switch (g) {
	case STATE_DIR:
		return c->state_dir;
	case STORE_DIR:
		return c->store_dir;
	case URL:
		return c->url;
	case BODY_DIR:
		return c->body_dir != NULL ? c->body_dir : "none";
	case NGIVEN:
		break;
	}
	return "";
}

static void
say_made(struct init *in, const char *path)
{
	printf("made %s\n", path);
	in->made++;
}

static void
say_kept(const char *path)
{
	printf("kept %s\n", path);
}

/*
 * Would each option's value be read back from a configuration as it is?  So
 * that an error is about the option, not about a file nobody wrote.
 */
static int
check_given(const struct init *in)
{
	struct buf text = BUF_INIT, errs = BUF_INIT;
	struct conf *c;
	char name[16];
	const char *v;
	size_t g;
	int rc = 0;

	for (g = 0; g < NGIVEN; g++) {
		if ((v = in->given[g]) == NULL)
			continue;
		buf_clear(&text);
		buf_clear(&errs);
		snprintf(name, sizeof(name), "init -%c", given_keys[g].option);
		buf_addf(&text, "%s = %s\n", given_keys[g].key, v);
		c = conf_parse(buf_str(&text), text.len, name, &errs);
		if (c == NULL) {
			tool_error("%.*s", (int)strcspn(buf_str(&errs), "\n"),
			    buf_str(&errs));
			rc = -1;
		} else if (strcmp(conf_value(c, (enum given)g), v) != 0) {
			/* A comment, blanks at an end, a second line. */
			tool_error("%s: \"%s\" can't stand in a configuration "
				   "as it is: choose a simpler one",
			    name, v);
			rc = -1;
		}
		conf_free(c);
	}
	buf_free(&text);
	buf_free(&errs);
	return rc;
}

static int
check_contradictions(const struct init *in)
{
	const struct conf *c = in->tool->conf;
	const char *have;
	size_t g;
	int rc = 0;

	for (g = 0; g < NGIVEN; g++) {
		have = conf_value(c, (enum given)g);
		if (in->given[g] == NULL || strcmp(in->given[g], have) == 0)
			continue;
		tool_error("init -%c %s: %s has %s = %s: change it there, or "
			   "leave the option out",
		    given_keys[g].option, in->given[g], in->tool->conf_file,
		    given_keys[g].key, have);
		rc = -1;
	}
	return rc;
}

/* The text of the configuration to be written, which c is the meaning of. */
static void
print_configuration(
    const struct init *in, const struct conf *c, struct buf *out)
{
	size_t g;

	buf_adds(out,
	    "# Written by tmpnix init.  tmpnix.conf(5) describes these keys "
	    "and all the\n"
	    "# others; \"tmpnix -n\" checks this file.\n");
	for (g = 0; g < NGIVEN; g++)
		buf_addf(out, "\n# %s\n%s%s = %s\n", given_keys[g].comment,
		    in->given[g] != NULL ? "" : "#", given_keys[g].key,
		    conf_value(c, (enum given)g));
	buf_adds(out,
	    "\n# What was verified is signed with this key, below state_dir; "
	    "readers trust its\n"
	    "# public half, which the cache's page shows.\n"
	    "#secret_key_file = keys/cache.sec\n"
	    "#public_key_file = keys/cache.pub\n");
}

/*
 * The configuration that the options and the defaults make.  *text is what to
 * write for it.
 */
static struct conf *
new_configuration(const struct init *in, struct buf *text)
{
	struct buf errs = BUF_INIT, part = BUF_INIT;
	struct conf *c;
	size_t g;

	for (g = 0; g < NGIVEN; g++)
		if (in->given[g] != NULL)
			buf_addf(&part, "%s = %s\n", given_keys[g].key,
			    in->given[g]);
	c = conf_parse(buf_str(&part), part.len, "init", &errs);
	if (c != NULL) {
		print_configuration(in, c, text);
		conf_free(c);
		c = conf_parse(
		    buf_str(text), text->len, in->tool->conf_file, &errs);
	}
	if (c == NULL)
		tool_error(
		    "%.*s", (int)strcspn(buf_str(&errs), "\n"), buf_str(&errs));
	buf_free(&errs);
	buf_free(&part);
	return c;
}

/* One directory: 1 when made, 0 when it was there, -1 reported. */
static int
make_dir(const char *path, mode_t mode)
{
	struct stat st;

	if (mkdir(path, mode) == 0) {
		/* The umask is for secrets; this mode is meant. */
		if (chmod(path, mode) == -1) {
			tool_error("%s: %m", path);
			return -1;
		}
		return 1;
	}
	if (errno != EEXIST) {
		tool_error("%s: %m", path);
		return -1;
	}
	if (stat(path, &st) == -1 || !S_ISDIR(st.st_mode)) {
		tool_error("%s: is not a directory: move it away", path);
		return -1;
	}
	return 0;
}

/* The directories above path, as far as they are missing. */
static int
make_parents(struct init *in, const char *path)
{
	struct buf part = BUF_INIT;
	const char *slash = path;
	struct stat st;
	int rc = -1;

	while ((slash = strchr(slash + 1, '/')) != NULL) {
		buf_clear(&part);
		buf_add(&part, path, (size_t)(slash - path));
		/* mkdir of what is there fails by EROFS, EACCES at times. */
		if (stat(buf_str(&part), &st) == 0)
			continue;
		switch (make_dir(buf_str(&part), 0755)) {
		case -1:
			goto out;
		case 1:
			say_made(in, buf_str(&part));
		}
	}
	rc = 0;
out:
	buf_free(&part);
	return rc;
}

/*
 * As root, with a configuration that was there: give a state directory that was
 * made to the programs' user, and go on as its owner.  (A configuration that is
 * to be written may be in a directory of root's.)
 */
static int
hand_over(struct init *in, bool made)
{
	const struct conf *c = in->tool->conf;
	uid_t uid = (uid_t)-1;
	gid_t gid = (gid_t)-1;
	const char *why;

	if (geteuid() != 0 || !in->has_conf)
		return 0;
	if (made && c->user != NULL) {
		if ((why = account_parse(c->user, &uid, &gid)) != NULL) {
			tool_error("%s: user %s: %s", in->tool->conf_file,
			    c->user, why);
			return -1;
		}
		if (chown(c->state_dir, uid, gid) == -1) {
			tool_error(
			    "%s: give it to %s: %m", c->state_dir, c->user);
			return -1;
		}
	}
	tool_become_owner(c);
	return 0;
}

static int
make_directories(struct init *in)
{
	/* The web server reads spool/ready/ and drvs/ itself.  The file store
	 * is made where it belongs when a program opens it (asset.h). */
	static const struct {
		const char *name;
		mode_t mode;
	} dirs[] = {
		{ "", 0755 },
		{ "/spool", 0755 },
		{ "/spool/incoming", 0700 },
		{ "/spool/ready", 0755 },
		{ "/drvs", 0755 },
		{ "/keys", 0700 },
	};
	const char *state_dir = in->tool->conf->state_dir;
	struct buf path = BUF_INIT;
	size_t i;
	int made, rc = -1;

	if (make_parents(in, state_dir) == -1)
		goto out;
	for (i = 0; i < nitems(dirs); i++) {
		buf_clear(&path);
		buf_addf(&path, "%s%s", state_dir, dirs[i].name);
		if ((made = make_dir(buf_str(&path), dirs[i].mode)) == -1)
			goto out;
		if (made == 1)
			say_made(in, buf_str(&path));
		else
			say_kept(buf_str(&path));
		/* The first is the state directory itself. */
		if (i == 0 && hand_over(in, made == 1) == -1)
			goto out;
	}
	rc = 0;
out:
	buf_free(&path);
	return rc;
}

/* From now on it is the cache's index, whatever is stored already. */
static int
use_index(struct init *in, struct index *ix)
{
	struct buf dir = BUF_INIT;
	int rc;

	rc = index_pin_store_dir(
	    ix, CACHE_MAIN, in->tool->conf->store_dir, &dir);
	buf_free(&dir);
	return rc == -1 ? -1 : 0;
}

static int
make_index(struct init *in)
{
	const char *state_dir = in->tool->conf->state_dir;
	struct buf path = BUF_INIT;
	struct index *ix;
	bool there;
	int rc = -1;

	buf_addf(&path, "%s/index.db", state_dir);
	there = access(buf_str(&path), F_OK) == 0;
	if ((ix = index_open(state_dir, INDEX_WRITE)) == NULL) {
		tool_error("%s: can't be used, see above", buf_str(&path));
		goto out;
	}
	if (in->new_index && use_index(in, ix) == -1)
		goto out;
	if (there)
		say_kept(buf_str(&path));
	else
		say_made(in, buf_str(&path));
	if (!in->new_index && !ready_index(in->tool->conf, ix))
		tool_hint("tmpnix-upload and tmpnix-cache will not start "
			  "before that.");
	rc = 0;
out:
	index_close(ix);
	buf_free(&path);
	return rc;
}

/*
 * Name a key after the URL's host: "<host><suffix>", what no key's name may
 * have replaced and a long host cut.
 */
static void
key_name(const char *url, const char *suffix, char name[SIGN_NAME_MAX + 1])
{
	struct buf host = BUF_INIT;
	size_t i;

	client_url_host(url, &host);
	for (i = 0; i < host.len; i++)
		if (!sign_name_ok(host.p + i, 1))
			host.p[i] = '-';
	snprintf(name, SIGN_NAME_MAX + 1, "%.*s%s",
	    SIGN_NAME_MAX - (int)strlen(suffix), buf_str(&host), suffix);
	buf_free(&host);
}

/* The key pair base.sec, base.pub; a lost public half is made again. */
static int
make_key(struct init *in, const char *base, const char *suffix)
{
	const struct conf *c = in->tool->conf;
	struct buf dir = BUF_INIT, sec = BUF_INIT, pub = BUF_INIT;
	struct secret_key secret;
	struct public_key public;
	char name[SIGN_NAME_MAX + 1];
	int rc = -1;

	buf_addf(&dir, "%s/keys", c->state_dir);
	buf_addf(&sec, "%s/%s.sec", buf_str(&dir), base);
	buf_addf(&pub, "%s/%s.pub", buf_str(&dir), base);
	if (access(buf_str(&sec), F_OK) == -1) {
		key_name(c->url, suffix, name);
		if (key_make(buf_str(&dir), base, name, &public) == -1)
			goto out;
		say_made(in, buf_str(&sec));
		say_made(in, buf_str(&pub));
		rc = 0;
		goto out;
	}
	say_kept(buf_str(&sec));
	if (access(buf_str(&pub), F_OK) == 0) {
		say_kept(buf_str(&pub));
		rc = 0;
		goto out;
	}
	if (sign_key_load(buf_str(&sec), &secret) == -1) {
		tool_error("%s: %m: a secret key is one line, owned by you, "
			   "of mode 0600",
		    buf_str(&sec));
		goto out;
	}
	sign_key_public(&secret, &public);
	sign_key_wipe(&secret);
	if (key_write_public(buf_str(&dir), base, &public) == -1)
		goto out;
	say_made(in, buf_str(&pub));
	rc = 0;
out:
	buf_free(&dir);
	buf_free(&sec);
	buf_free(&pub);
	return rc;
}

static int
write_configuration(struct init *in, const struct buf *text)
{
	const char *path = in->tool->conf_file, *slash = strrchr(path, '/');
	struct buf dir = BUF_INIT;
	int dirfd = -1, rc = -1;

	if (make_parents(in, path) == -1)
		goto out;
	if (slash != NULL)
		buf_add(&dir, path, (size_t)(slash + 1 - path));
	else
		buf_adds(&dir, ".");
	dirfd = file_open_dir(AT_FDCWD, buf_str(&dir), 0, false);
	if (dirfd == -1 ||
	    file_create(dirfd, slash != NULL ? slash + 1 : path, text->p,
		text->len, 0644) == -1) {
		tool_error("%s: %m", path);
		goto out;
	}
	say_made(in, path);
	rc = 0;
out:
	if (dirfd != -1)
		close(dirfd);
	buf_free(&dir);
	return rc;
}

/*
 * The configuration is written last: an init that failed half-way, say for a
 * directory that can't be made, can be run again with other options.
 */
static int
init(struct init *in)
{
	struct tool *t = in->tool;
	struct buf text = BUF_INIT;
	int rc = -1;

	in->has_conf = access(t->conf_file, F_OK) == 0;
	if (in->has_conf) {
		if (tool_conf(t) == NULL || check_contradictions(in) == -1)
			goto out;
		say_kept(t->conf_file);
	} else if (errno != ENOENT) {
		tool_error("%s: %m", t->conf_file);
		goto out;
	} else if ((t->conf = new_configuration(in, &text)) == NULL)
		goto out;
	if (make_directories(in) == -1 || make_index(in) == -1 ||
	    make_key(in, "cache", "-1") == -1 ||
	    make_key(in, "drv", "-drv-1") == -1)
		goto out;
	if (!in->has_conf && write_configuration(in, &text) == -1)
		goto out;
	if (in->made == 0)
		printf("nothing to do: everything was there\n");
	if (t->conf->public_key_file == NULL)
		tool_hint("To show the public key to people, set "
			  "public_key_file = keys/cache.pub in %s.",
		    t->conf_file);
	if (t->conf->secret_key_file == NULL)
		tool_hint("Nothing is signed here: to sign what was verified, "
			  "set secret_key_file = keys/cache.sec in %s.",
		    t->conf_file);
	rc = 0;
out:
	buf_free(&text);
	return rc;
}

int
init_run(struct tool *t, int argc, char **argv)
{
	static const struct option options[] = {
		{ "state-dir", required_argument, NULL, 'd' },
		{ "store-dir", required_argument, NULL, 'S' },
		{ "url", required_argument, NULL, 'u' },
		{ "body-dir", required_argument, NULL, 'b' },
		{ "new-index", no_argument, NULL, 'n' },
		{ NULL, 0, NULL, 0 },
	};
	struct init in = { .tool = t };
	size_t g;
	int c;

	while ((c = getopt_long(argc, argv, "d:S:u:b:", options, NULL)) != -1) {
		if (c == 'n') {
			in.new_index = true;
			continue;
		}
		for (g = 0; g < NGIVEN && given_keys[g].option != c; g++)
			;
		if (g == NGIVEN)
			return tool_usage("init");
		in.given[g] = optarg;
	}
	if (optind != argc)
		return tool_usage("init");
	if (check_given(&in) == -1)
		return TOOL_USAGE;
	return init(&in) == 0 ? TOOL_OK : TOOL_FAILED;
}
