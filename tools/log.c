/* tmpnix log: the audit rows. */
#include "config.h"

#include "tmpnix.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "num.h"

#define LINES_DEFAULT 100

const char *
tool_time(int64_t when, char out[TOOL_TIME_LEN + 1])
{
	time_t seconds = (time_t)when;
	struct tm tm;

	if (when == 0)
		return "never";
	if (gmtime_r(&seconds, &tm) == NULL ||
	    strftime(out, TOOL_TIME_LEN + 1, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		return "?";
	return out;
}

static int
print_row(const struct index_audit *a, void *arg)
{
	char when[TOOL_TIME_LEN + 1];

	(*(uint64_t *)arg)++;
	return printf("%s  %s  %s  %" PRIu64 "  %s  %s\n",
		   tool_time(a->time, when), a->token,
		   a->address[0] != '\0' ? a->address : "-", a->size, a->what,
		   a->key) < 0;
}

struct wanted {
	const char *name;
	bool found;
};

static int
look_at(const struct token *t, void *arg)
{
	struct wanted *w = arg;

	w->found = strcmp(t->name, w->name) == 0;
	return w->found;
}

/*
 * No line is what there is to say, unless a name was mistyped: the exit status,
 * -1 when the index failed.
 */
static int
explain_nothing(struct index *ix, const char *token, int64_t since)
{
	struct wanted w = { token, token == NULL };
	char when[TOOL_TIME_LEN + 1];

	if (token != NULL && index_token_each(ix, look_at, &w) == -1)
		return -1;
	if (!w.found) {
		tool_error("log --token: there is no token %s, and none of "
			   "this name has uploaded anything: tmpnix token list "
			   "shows them",
		    token);
		return TOOL_FAILED;
	}
	tool_hint("Nothing was uploaded%s%s%s%s.", token != NULL ? " by " : "",
	    token != NULL ? token : "", since != 0 ? " since " : "",
	    since != 0 ? tool_time(since, when) : "");
	return TOOL_OK;
}

int
log_run(struct tool *t, int argc, char **argv)
{
	static const struct option options[] = {
		{ "lines", required_argument, NULL, 'n' },
		{ "token", required_argument, NULL, 't' },
		{ "since", required_argument, NULL, 's' },
		{ NULL, 0, NULL, 0 },
	};
	const char *token = NULL;
	uint64_t lines = LINES_DEFAULT, ago, printed = 0;
	int64_t since = 0;
	struct index *ix;
	int c, rc;

	while ((c = getopt_long(argc, argv, "n:", options, NULL)) != -1) {
		switch (c) {
		case 'n':
			if (num_parse(optarg, strlen(optarg), INT64_MAX,
				&lines) == -1) {
				tool_error("log --lines: must be a number, "
					   "not \"%s\"",
				    optarg);
				return TOOL_USAGE;
			}
			break;
		case 't':
			token = optarg;
			break;
		case 's':
			if (num_parse_duration(optarg, strlen(optarg),
				UINT32_MAX, &ago) == -1) {
				tool_error("log --since: must be a time such "
					   "as 2d, 12h or 30m ago, not \"%s\"",
				    optarg);
				return TOOL_USAGE;
			}
			since = (int64_t)time(NULL) - (int64_t)ago;
			break;
		default:
			return tool_usage("log");
		}
	}
	if (optind != argc)
		return tool_usage("log");
	if ((ix = tool_index(t, INDEX_READ)) == NULL)
		return TOOL_FAILED;
	rc = index_audit_each(ix, token, since, lines == 0 ? INT64_MAX : lines,
	    print_row, &printed);
	if (rc == 0 && printed == 0)
		rc = explain_nothing(ix, token, since);
	if (rc == -1)
		tool_error("log: the index failed, see above");
	index_close(ix);
	return rc == -1 ? TOOL_FAILED : rc;
}
