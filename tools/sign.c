/* tmpnix sign: the cache's signature on what is there. */
#include "config.h"

#include "tmpnix.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <time.h>

#include "narinfo.h"
#include "policy.h"
#include "storepath.h"

struct signing {
	struct tool *tool;
	struct index *ix;
	struct policy *policy;
	uint64_t added;
	uint64_t had;
	uint64_t unverified;
};

/* One path, with its narinfo's text: 0, or -1 reported. */
static int
sign_one(struct signing *s, const struct buf *text, bool verified)
{
	const char *store = s->tool->conf->store_dir;
	struct narinfo *ni;
	char err[256];
	uint64_t size;
	int rc = -1, n;

	ni = narinfo_parse(buf_str(text), text->len, store, err, sizeof(err));
	if (ni == NULL) {
		tool_error("sign: a narinfo of the index: %s", err);
		return -1;
	}
	if (!verified) {
		s->unverified++;
		rc = 0;
		goto out;
	}
	if ((n = policy_sign(s->policy, ni)) == -1) {
		tool_error("sign: no memory");
		goto out;
	}
	if (n == 0) {
		s->had++;
		rc = 0;
		goto out;
	}
	switch (index_narinfo_put(
	    s->ix, CACHE_MAIN, ni, store, (int64_t)time(NULL), &size)) {
	case INDEX_SAME:
	case INDEX_REPLACED:
		s->added++;
		rc = 0;
		break;
	default:
		tool_error("sign: %s: the index did not take it", ni->base);
	}
out:
	narinfo_free(ni);
	return rc;
}

static int
sign_all(struct signing *s)
{
	struct hash_part at = { "" };
	struct buf text = BUF_INIT;
	bool verified = false;
	int rc;

	while ((rc = index_path_next(
		    s->ix, CACHE_MAIN, &at, &text, &verified)) == 1) {
		if (sign_one(s, &text, verified) == -1) {
			rc = -1;
			break;
		}
		buf_clear(&text);
	}
	buf_free(&text);
	return rc;
}

/* A store path, its base name or its hash part. */
static int
sign_path(struct signing *s, const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *base = slash != NULL ? slash + 1 : path;
	struct hash_part hp, at;
	struct buf text = BUF_INIT;
	bool verified = false;
	int rc = -1, found;

	if (strlen(base) < HASH_PART_LEN ||
	    hash_part_parse(base, HASH_PART_LEN, &hp) == -1) {
		tool_error("sign: %s is no store path", path);
		return -1;
	}
	/* The one behind what comes before it. */
	at = hp;
	at.s[HASH_PART_LEN - 1] = '\0';
	while ((found = index_path_next(
		    s->ix, CACHE_MAIN, &at, &text, &verified)) == 1 &&
	    strcmp(at.s, hp.s) < 0)
		buf_clear(&text);
	if (found == 1 && strcmp(at.s, hp.s) == 0)
		rc = sign_one(s, &text, verified);
	else
		tool_error("sign: %s is not here", path);
	buf_free(&text);
	return rc;
}

/* The configuration with these key files instead of its own. */
static struct policy *
load_policy(const struct conf *conf, const struct buf *files)
{
	struct conf c = *conf;

	c.trusted_public_keys = NULL;
	if (files->len > 0)
		c.secret_key_file = files->p;
	return policy_new(&c);
}

int
sign_run(struct tool *t, int argc, char **argv)
{
	static const struct option options[] = {
		{ "key", required_argument, NULL, 'k' },
		{ NULL, 0, NULL, 0 },
	};
	struct signing s = { .tool = t };
	struct buf files = BUF_INIT;
	int c, i, rc = TOOL_FAILED;

	while ((c = getopt_long(argc, argv, "k:", options, NULL)) != -1) {
		if (c != 'k') {
			buf_free(&files);
			return tool_usage("sign");
		}
		buf_addf(&files, "%s%s", files.len > 0 ? " " : "", optarg);
	}
	if (tool_conf(t) == NULL || (s.ix = tool_index(t, INDEX_WRITE)) == NULL)
		goto out;
	if ((s.policy = load_policy(t->conf, &files)) == NULL) {
		tool_error("sign: the keys can't be used, see above: they must "
			   "be files of user %ld, who owns %s",
		    (long)geteuid(), t->conf->state_dir);
		goto out;
	}
	if (!policy_signs(s.policy)) {
		tool_error("sign: no key: set secret_key_file in tmpnix.conf, "
			   "or use -k");
		goto out;
	}
	rc = TOOL_OK;
	if (optind == argc && sign_all(&s) == -1)
		rc = TOOL_FAILED;
	for (i = optind; i < argc; i++)
		if (sign_path(&s, argv[i]) == -1)
			rc = TOOL_FAILED;
	printf("%" PRIu64 " signed, %" PRIu64 " had it, %" PRIu64
	       " not verified\n",
	    s.added, s.had, s.unverified);
out:
	policy_free(s.policy);
	index_close(s.ix);
	buf_free(&files);
	return rc;
}
