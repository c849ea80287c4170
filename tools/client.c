/* tmpnix client-conf: what a client has to be told to use the cache. */
#include "config.h"

#include "tmpnix.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client_lines.h"

enum form { ALL, NIX_CONF, NETRC, BUILDER, NIXOS, GITHUB, GITLAB };

struct wanted {
	struct client_lines lines;
	enum form form;
	bool has_netrc; /* the client's netrc is there already */
};

/* The line of a netrc whose token nobody knows. */
static void
add_placeholder(const struct client_lines *cl, struct buf *out)
{
	buf_addf(
	    out, "machine %s login NAME password TOKEN\n", buf_str(&cl->host));
}

/* Append lines with four blanks before each, and an empty line. */
static void
add_indented(struct buf *out, struct buf *lines)
{
	const char *p, *lf;

	for (p = buf_str(lines); (lf = strchr(p, '\n')) != NULL; p = lf + 1)
		buf_addf(out, "    %.*s\n", (int)(lf - p), p);
	buf_addch(out, '\n');
	buf_clear(lines);
}

/* All of it for a person, with the netrc's line or NULL. */
static void
add_all(const struct wanted *w, const char *netrc_line, struct buf *out)
{
	const struct client_lines *cl = &w->lines;
	struct buf lines = BUF_INIT;

	buf_addf(out, "To use %s/cache, in nix.conf:\n\n", cl->url);
	client_nix_conf(cl, true, &lines);
	add_indented(out, &lines);
	if (netrc_line != NULL)
		buf_addf(out, "In %s, of mode 0600:\n\n    %s\n", cl->netrc,
		    netrc_line);
	else if (!w->has_netrc) {
		buf_addf(out,
		    "In %s, of mode 0600, to %spush, the line that\n"
		    "\"tmpnix token add NAME\" prints:\n\n",
		    cl->netrc, cl->private ? "read and to " : "");
		add_placeholder(cl, &lines);
		add_indented(out, &lines);
	}
	buf_adds(out, "To push store paths, such as this one:\n\n");
	client_push(cl, client_push_example, &lines);
	add_indented(out, &lines);
	buf_adds(out,
	    "Or, on the client, all of it by a script that asks before it "
	    "writes:\n\n");
	client_setup_command(cl, &lines);
	add_indented(out, &lines);
	buf_free(&lines);
}

static void
print(const char *netrc_line, struct buf *out, void *arg)
{
	const struct wanted *w = arg;

	switch (w->form) {
	case ALL:
		add_all(w, netrc_line, out);
		break;
	case NIX_CONF:
		client_nix_conf(&w->lines, true, out);
		break;
	case NETRC:
		if (netrc_line != NULL)
			buf_adds(out, netrc_line);
		else
			add_placeholder(&w->lines, out);
		break;
	case BUILDER:
		client_builder(&w->lines, out);
		break;
	case NIXOS:
		client_nixos(&w->lines, out);
		break;
	case GITHUB:
		client_github(&w->lines, out);
		break;
	case GITLAB:
		client_gitlab(&w->lines, out);
		break;
	}
}

/* With a new token called name. */
static int
print_with_token(struct tool *t, struct wanted *w, const char *name)
{
	struct token token = { .created = time(NULL),
		.scopes = SCOPE_PUSH | SCOPE_PULL };
	int rc;

	if (token_set_name(&token, name, "client-conf") == -1)
		return TOOL_USAGE;
	rc = token_make(t, &token, "client-conf", print, w);
	if (rc == TOOL_OK)
		tool_hint("Token %s may push and pull; its line is not shown "
			  "again.  One that may instantiate, too, is made by "
			  "tmpnix token add --push --pull --drv.",
		    name);
	return rc;
}

static int
print_without_token(struct wanted *w)
{
	struct buf out = BUF_INIT;

	print(NULL, &out, w);
	fputs(buf_str(&out), stdout);
	buf_free(&out);
	return TOOL_OK;
}

/* Readers need the key: a form without it would be of no use. */
static int
check_keys(const struct conf *conf, const struct wanted *w)
{
	if (w->lines.key.len == 0) {
		tool_error("client-conf: public_key_file = %s holds no key "
			   "that can be read: run tmpnix init, as the user the "
			   "programs run as",
		    conf->public_key_file != NULL ? conf->public_key_file
						  : "none");
		return -1;
	}
	return 0;
}

static int
run(struct tool *t, struct wanted *w, const char *netrc, const char *token)
{
	const struct conf *conf;
	int rc = TOOL_FAILED;

	if ((conf = tool_conf(t)) == NULL)
		return TOOL_FAILED;
	client_lines_load(&w->lines, conf);
	if (netrc != NULL)
		w->lines.netrc = netrc;
	w->has_netrc = netrc != NULL;
	if (check_keys(conf, w) == 0)
		rc = token != NULL ? print_with_token(t, w, token)
				   : print_without_token(w);
	client_lines_clear(&w->lines);
	return rc;
}

/* --ci SERVICE: false for one that is not known. */
static bool
parse_ci(const char *service, enum form *form)
{
	if (strcmp(service, "github") == 0)
		*form = GITHUB;
	else if (strcmp(service, "gitlab") == 0)
		*form = GITLAB;
	else
		return false;
	return true;
}

int
client_conf_run(struct tool *t, int argc, char **argv)
{
	/* The value of a form's option is 256 plus the form. */
	static const struct option options[] = {
		{ "token", required_argument, NULL, 't' },
		{ "netrc-file", required_argument, NULL, 'f' },
		{ "ci", required_argument, NULL, 'c' },
		{ "nix-conf", no_argument, NULL, 256 + NIX_CONF },
		{ "netrc", no_argument, NULL, 256 + NETRC },
		{ "builder", no_argument, NULL, 256 + BUILDER },
		{ "nixos", no_argument, NULL, 256 + NIXOS },
		{ NULL, 0, NULL, 0 },
	};
	struct wanted w = { .form = ALL };
	const char *token = NULL, *netrc = NULL;
	int c, forms = 0;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c >= 256 || c == 'c')
			forms++;
		if (c >= 256)
			w.form = (enum form)(c - 256);
		else if (c == 't')
			token = optarg;
		else if (c == 'f')
			netrc = optarg;
		else if (c != 'c' || !parse_ci(optarg, &w.form))
			return tool_usage("client-conf");
	}
	if (argc != optind || forms > 1)
		return tool_usage("client-conf");
	if (netrc != NULL && !client_netrc_ok(netrc)) {
		tool_error("client-conf --netrc-file: %s: an absolute path of "
			   "letters, digits and ._+=@%%,:~- is needed",
		    netrc);
		return TOOL_USAGE;
	}
	if (token != NULL && w.form != ALL && w.form != NETRC) {
		tool_error("client-conf --token: what this prints has no place "
			   "for a token: use --netrc");
		return TOOL_USAGE;
	}
	return run(t, &w, netrc, token);
}
