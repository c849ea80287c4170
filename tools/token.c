#include "config.h"

#include "tmpnix.h"

#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "auth.h"
#include "client_lines.h"
#include "file.h"
#include "netaddr.h"
#include "num.h"
#include "spool.h"

#define nitems(a) (sizeof(a) / sizeof((a)[0]))

/* A hundred years: more is "never", which is the default. */
#define EXPIRES_MAX ((uint64_t)36525 * 86400)

static const struct {
	const char *name;
	unsigned int bit;
} scopes[] = {
	{ "push", SCOPE_PUSH },
	{ "pull", SCOPE_PULL },
	{ "drv", SCOPE_DRV },
	{ "admin", SCOPE_ADMIN },
};

/* Text with a token's secret in it: the most that client-conf prints. */
#define TOKEN_TEXT_MAX 16384

/* Room for all of them and commas. */
#define SCOPES_LEN 32

static bool
token_name_ok(const char *s)
{
	size_t n = strlen(s);

	/* No byte of it needs quoting in a netrc, nor a ":" in Basic. */
	return n >= 1 && n <= TOKEN_NAME_MAX &&
	    strspn(s,
		"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
		"abcdefghijklmnopqrstuvwxyz._-") == n;
}

int
token_set_name(struct token *t, const char *name, const char *command)
{
	if (!token_name_ok(name)) {
		tool_error("%s: \"%s\" can't name a token: use up to %d "
			   "letters, digits, \".\", \"_\" and \"-\"",
		    command, name, TOKEN_NAME_MAX);
		return -1;
	}
	memcpy(t->name, name, strlen(name) + 1);
	return 0;
}

/* Parse --expires into the time it means: 0, or -1 reported. */
static int
parse_expires(const char *s, int64_t now, int64_t *expires)
{
	uint64_t seconds;

	if (num_parse_duration(s, strlen(s), EXPIRES_MAX, &seconds) == -1 ||
	    seconds == 0) {
		tool_error("token add --expires: must be a time such as 90d, "
			   "12h or 30m, not \"%s\"",
		    s);
		return -1;
	}
	*expires = now + (int64_t)seconds;
	return 0;
}

/* Would a token that is sent to url cross a network as it is? */
static bool
is_readable(const char *url)
{
	static const char *const here[] = { "127.0.0.0/8", "::1" };
	struct buf host = BUF_INIT;
	struct netblock b;
	struct netaddr a;
	bool local;
	size_t i;

	if (strncmp(url, "http:", 5) != 0)
		return false;
	client_url_host(url, &host);
	local = strcmp(buf_str(&host), "localhost") == 0;
	if (netaddr_parse(buf_str(&host), host.len, &a) == 0)
		for (i = 0; i < nitems(here); i++)
			local |=
			    netblock_parse(here[i], strlen(here[i]), &b) == 0 &&
			    netblock_has(&b, &a);
	buf_free(&host);
	return !local;
}

static void
add_netrc_line(
    const char *url, const char *name, const char *secret, struct buf *out)
{
	buf_adds(out, "machine ");
	client_url_host(url, out);
	buf_addf(out, " login %s password %s\n", name, secret);
}

/* Enter t: TOOL_OK, or TOOL_FAILED reported in the name of command. */
static int
enter(struct index *ix, const struct token *t, const char *command)
{
	switch (index_token_add(ix, t)) {
	case 0:
		tool_error("%s: there is a token %s: choose another name, or "
			   "\"tmpnix token revoke %s\" first",
		    command, t->name, t->name);
		return TOOL_FAILED;
	case 1:
		return TOOL_OK;
	default:
		tool_error("%s: the index failed, see above", command);
		return TOOL_FAILED;
	}
}

/*
 * The text is the only place where a token's secret ever is: not by stdio,
 * whose buffer nobody wipes.
 */
static int
print_secret(struct index *ix, const struct token *t, const struct buf *text)
{
	if (buf_failed(text) ||
	    file_write_all(STDOUT_FILENO, text->p, text->len) == -1) {
		tool_error("standard output: %m: no token was added");
		index_token_remove(ix, t->name);
		return TOOL_FAILED;
	}
	return TOOL_OK;
}

int
token_make(struct tool *tool, struct token *t, const char *command,
    void (*print)(const char *netrc_line, struct buf *out, void *arg),
    void *arg)
{
	char secret[AUTH_SECRET_LEN + 1];
	struct buf line = BUF_INIT, text = BUF_INIT;
	struct index *ix;
	int rc = TOOL_FAILED;

	if ((ix = tool_index(tool, INDEX_WRITE)) == NULL)
		return TOOL_FAILED;
	auth_secret_new(secret, &t->secret);
	/* Room enough at once: growing would leave a copy behind. */
	if (buf_reserve(&line, 1024) == NULL ||
	    buf_reserve(&text, TOKEN_TEXT_MAX) == NULL)
		goto out;
	add_netrc_line(tool->conf->url, t->name, secret, &line);
	print(buf_str(&line), &text, arg);
	if (enter(ix, t, command) != TOOL_OK ||
	    print_secret(ix, t, &text) != TOOL_OK)
		goto out;
	if (is_readable(tool->conf->url))
		tool_hint("%s is not https: everybody on the way there can "
			  "read the token.",
		    tool->conf->url);
	rc = TOOL_OK;
out:
	explicit_bzero(secret, sizeof(secret));
	if (line.p != NULL)
		explicit_bzero(line.p, line.cap);
	if (text.p != NULL)
		explicit_bzero(text.p, text.cap);
	buf_free(&line);
	buf_free(&text);
	index_close(ix);
	return rc;
}

static void
print_line(const char *netrc_line, struct buf *out, void *arg)
{
	(void)arg;
	buf_adds(out, netrc_line);
}

static int
add(struct tool *tool, struct token *t)
{
	int rc = token_make(tool, t, "token add", print_line, NULL);

	if (rc == TOOL_OK)
		tool_hint("Put this line into the client's netrc (nix.conf: "
			  "netrc-file); it is not shown again.");
	return rc;
}

/* Bind t to the public key s, or to the one in the file s. */
static int
add_key(struct token *t, const char *s)
{
	struct buf text = BUF_INIT;
	struct public_key k;
	size_t used = strlen(t->keys);
	int n, rc = -1;

	if (strchr(s, ':') != NULL)
		buf_adds(&text, s);
	else if (file_read_at(AT_FDCWD, s, 4096, &text) == -1) {
		tool_error("token add --key: %s: %m", s);
		goto out;
	}
	while (text.len > 0 && strchr(" \n", text.p[text.len - 1]) != NULL)
		text.p[--text.len] = '\0';
	if (sign_public_parse(buf_str(&text), text.len, &k) == -1) {
		tool_error(
		    "token add --key: %s is no public key, NAME:BASE64", s);
		goto out;
	}
	n = snprintf(t->keys + used, sizeof(t->keys) - used, "%s%s",
	    used > 0 ? " " : "", text.p);
	if (n < 0 || (size_t)n >= sizeof(t->keys) - used) {
		tool_error("token add --key: too many keys");
		goto out;
	}
	rc = 0;
out:
	buf_free(&text);
	return rc;
}

static int
parse_quota(const char *option, const char *s, int64_t *quota)
{
	uint64_t n;

	if (num_parse_size(s, strlen(s), INT64_MAX, &n) == -1 || n == 0) {
		tool_error("token add %s: must be a number of bytes such as "
			   "500M or 20G, not \"%s\"",
		    option, s);
		return -1;
	}
	*quota = (int64_t)n;
	return 0;
}

int
token_add_run(struct tool *t, int argc, char **argv)
{
	/* The value of a scope's option is 256 plus its bit. */
	static const struct option options[] = {
		{ "push", no_argument, NULL, 256 + SCOPE_PUSH },
		{ "pull", no_argument, NULL, 256 + SCOPE_PULL },
		{ "drv", no_argument, NULL, 256 + SCOPE_DRV },
		{ "admin", no_argument, NULL, 256 + SCOPE_ADMIN },
		{ "expires", required_argument, NULL, 'e' },
		{ "key", required_argument, NULL, 'k' },
		{ "quota-day", required_argument, NULL, 'q' },
		{ "quota-total", required_argument, NULL, 'Q' },
		{ NULL, 0, NULL, 0 },
	};
	struct token token = { .created = time(NULL) };
	const char *expires = NULL, *name;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c >= 256)
			token.scopes |= (unsigned int)c - 256;
		else if (c == 'e')
			expires = optarg;
		else if (c == 'k') {
			if (add_key(&token, optarg) == -1)
				return TOOL_USAGE;
		} else if (c == 'q') {
			if (parse_quota(
				"--quota-day", optarg, &token.quota_day) == -1)
				return TOOL_USAGE;
		} else if (c == 'Q') {
			if (parse_quota("--quota-total", optarg,
				&token.quota_total) == -1)
				return TOOL_USAGE;
		} else
			return tool_usage("token add");
	}
	if (argc - optind != 1)
		return tool_usage("token add");
	name = argv[optind];
	if (token_set_name(&token, name, "token add") == -1)
		return TOOL_USAGE;
	if (expires != NULL &&
	    parse_expires(expires, token.created, &token.expires) == -1)
		return TOOL_USAGE;
	if (token.scopes == 0)
		token.scopes = SCOPE_PUSH | SCOPE_PULL;
	return add(t, &token);
}

/* NARs of a token that are verified, and that wait for it. */
struct jobs {
	char token[TOKEN_NAME_MAX + 1];
	uint64_t running;
	uint64_t waiting;
};

struct list {
	int64_t now;
	int name_width;
	struct jobs *jobs;
	size_t njobs;
	json_t *json; /* with --json, else NULL */
};

static int
widen(const struct token *t, void *arg)
{
	struct list *l = arg;
	int len = (int)strlen(t->name);

	if (l->name_width < len)
		l->name_width = len;
	return 0;
}

/* A line of a program that runs. */
static void
add_jobs(const char *token, uint64_t running, uint64_t waiting, void *arg)
{
	struct list *l = arg;
	struct jobs *j;

	j = realloc(l->jobs, (l->njobs + 1) * sizeof(*j));
	if (j == NULL)
		return;
	l->jobs = j;
	j += l->njobs++;
	snprintf(j->token, sizeof(j->token), "%s", token);
	j->running = running;
	j->waiting = waiting;
}

/* All of a token, in however many programs. */
static struct jobs
jobs_of(const struct list *l, const struct token *t)
{
	struct jobs sum = { .running = 0 };
	size_t i;

	for (i = 0; i < l->njobs; i++)
		if (strcmp(l->jobs[i].token, t->name) == 0) {
			sum.running += l->jobs[i].running;
			sum.waiting += l->jobs[i].waiting;
		}
	return sum;
}

static void
format_scopes(unsigned int bits, char out[SCOPES_LEN])
{
	size_t i, at = 0;
	int n;

	out[0] = '\0';
	for (i = 0; i < nitems(scopes); i++) {
		if ((bits & scopes[i].bit) == 0)
			continue;
		n = snprintf(out + at, SCOPES_LEN - at, "%s%s",
		    at > 0 ? "," : "", scopes[i].name);
		if (n < 0 || (size_t)n >= SCOPES_LEN - at)
			return;
		at += (size_t)n;
	}
}

/* What a token is bound to, on lines of their own behind blanks. */
static void
print_limits(const struct token *t, const struct list *l)
{
	if (t->quota_day != 0)
		printf("  today %" PRId64 " of %" PRId64 " bytes\n",
		    token_used_today(t, l->now), t->quota_day);
	if (t->quota_total != 0)
		printf("  in all %" PRId64 " of %" PRId64 " bytes\n",
		    t->used_total, t->quota_total);
	if (t->keys[0] != '\0')
		printf("  keys %s\n", t->keys);
}

/* What it has cost, and what it costs now. */
static void
print_cost(const struct token *t, const struct list *l)
{
	const struct jobs jobs = jobs_of(l, t);
	char size[TOOL_SIZE_LEN + 1], since[TOOL_TIME_LEN + 1];

	if (t->unpacked != 0 || t->cpu_us != 0)
		printf("  cost since %s: %s unpacked, %" PRId64 ".%" PRId64
		       " s of a processor\n",
		    tool_time(t->cost_since, since),
		    tool_size((uint64_t)t->unpacked, size), t->cpu_us / 1000000,
		    t->cpu_us / 100000 % 10);
	if (jobs.running > 0 || jobs.waiting > 0)
		printf("  now %" PRIu64 " NARs are verified, %" PRIu64
		       " wait\n",
		    jobs.running, jobs.waiting);
}

static void
add_json(const struct token *t, const struct list *l, const char *bits)
{
	const struct jobs jobs = jobs_of(l, t);

	json_array_append_new(l->json,
	    json_pack("{s:s, s:s, s:I, s:I, s:I, s:s, s:I, s:I, s:I, s:I, s:I,"
		      " s:I, s:f, s:I, s:I}",
		"name", t->name, "scopes", bits, "created",
		(json_int_t)t->created, "expires", (json_int_t)t->expires,
		"last_used", (json_int_t)t->last_used, "keys", t->keys,
		"used_today", (json_int_t)token_used_today(t, l->now),
		"quota_day", (json_int_t)t->quota_day, "used_total",
		(json_int_t)t->used_total, "quota_total",
		(json_int_t)t->quota_total, "cost_since",
		(json_int_t)t->cost_since, "unpacked_bytes",
		(json_int_t)t->unpacked, "cpu_seconds", (double)t->cpu_us / 1e6,
		"running", (json_int_t)jobs.running, "waiting",
		(json_int_t)jobs.waiting));
}

static int
print_token(const struct token *t, void *arg)
{
	const struct list *l = arg;
	char bits[SCOPES_LEN], created[TOOL_TIME_LEN + 1];
	char expires[TOOL_TIME_LEN + 1], used[TOOL_TIME_LEN + 1];

	format_scopes(t->scopes, bits);
	if (l->json != NULL) {
		add_json(t, l, bits);
		return 0;
	}
	printf("%-*s  %-19s  %-*s  %-*s  %s%s\n", l->name_width, t->name, bits,
	    TOOL_TIME_LEN, tool_time(t->created, created), TOOL_TIME_LEN,
	    tool_time(t->expires, expires), tool_time(t->last_used, used),
	    t->expires != 0 && t->expires <= l->now ? "  (expired)" : "");
	print_limits(t, l);
	print_cost(t, l);
	return 0;
}

/* 0, or -1 when the index failed. */
static int
print_list(struct index *ix, struct list *l)
{
	char *text;

	if (index_token_each(ix, widen, l) == -1)
		return -1;
	if (l->json == NULL)
		printf("%-*s  %-19s  %-*s  %-*s  %s\n", l->name_width, "NAME",
		    "SCOPES", TOOL_TIME_LEN, "CREATED", TOOL_TIME_LEN,
		    "EXPIRES", "LAST-USED");
	if (index_token_each(ix, print_token, l) == -1)
		return -1;
	if (l->json != NULL &&
	    (text = json_dumps(
		 l->json, JSON_COMPACT | JSON_REAL_PRECISION(9))) != NULL) {
		puts(text);
		free(text);
	}
	return 0;
}

int
token_list_run(struct tool *t, int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	struct list l = { time(NULL), (int)strlen("NAME"), NULL, 0, NULL };
	bool json = false;
	struct index *ix;
	int c, rc = TOOL_FAILED;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c != 'j')
			return tool_usage("token list");
		json = true;
	}
	if (optind != argc)
		return tool_usage("token list");
	if ((ix = tool_index(t, INDEX_READ)) == NULL)
		return TOOL_FAILED;
	spool_jobs_each(t->conf->state_dir, add_jobs, &l);
	if (json)
		l.json = json_array();
	if (print_list(ix, &l) == 0)
		rc = TOOL_OK;
	else
		tool_error("token list: the index failed, see above");
	json_decref(l.json);
	free(l.jobs);
	index_close(ix);
	return rc;
}

int
token_revoke_run(struct tool *t, int argc, char **argv)
{
	static const struct option none[] = { { NULL, 0, NULL, 0 } };
	struct index *ix;
	const char *name;
	int rc = TOOL_FAILED;

	if (getopt_long(argc, argv, "", none, NULL) != -1 || argc - optind != 1)
		return tool_usage("token revoke");
	name = argv[optind];
	if ((ix = tool_index(t, INDEX_WRITE)) == NULL)
		return TOOL_FAILED;
	switch (index_token_remove(ix, name)) {
	case 0:
		tool_error("token revoke: there is no token %s: tmpnix token "
			   "list shows them",
		    name);
		break;
	case 1:
		rc = TOOL_OK;
		break;
	default:
		tool_error("token revoke: the index failed, see above");
	}
	index_close(ix);
	return rc;
}
