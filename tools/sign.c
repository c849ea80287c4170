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
	uint64_t bad;
	bool repair; /* bring what is over the limits within them */
};

/* The index's narinfo in text, NULL when it is none (reported). */
static struct narinfo *
read_narinfo(
    struct signing *s, const struct hash_part *hp, const struct buf *text)
{
	const char *store = s->tool->conf->store_dir;
	struct narinfo *ni;
	char err[256];

	if ((ni = narinfo_parse(
		 buf_str(text), text->len, store, err, sizeof(err))) != NULL)
		return ni;
	if (s->repair)
		ni = narinfo_parse_stored(
		    buf_str(text), text->len, store, err, sizeof(err));
	if (ni != NULL)
		return ni;
	tool_error("sign: %s.narinfo: %s%s", hp->s, err,
	    s->repair ? "" : ": see --repair in tmpnix(8)");
	s->bad++;
	return NULL;
}

/* Enter ni as it is now, or with a signature more: 0, or -1 reported. */
static int
enter(struct signing *s, struct narinfo *ni)
{
	const struct policy_ranks ranks = { s->policy, "" };
	const struct sig_rank rank = { policy_rank, &ranks };
	uint64_t size;

	switch (index_narinfo_put(s->ix, CACHE_MAIN, ni, &rank,
	    s->tool->conf->store_dir, (int64_t)time(NULL), &size)) {
	case INDEX_SAME:
		s->had++;
		return 0;
	case INDEX_REPLACED:
		s->added++;
		return 0;
	default:
		tool_error("sign: %s: the index did not take it", ni->base);
		s->bad++;
		return -1;
	}
}

/* One path, with its narinfo's text: 0, or -1 reported and counted. */
static int
sign_one(struct signing *s, const struct hash_part *hp, const struct buf *text,
    bool verified)
{
	struct narinfo *ni;
	int rc = -1, n = 0;

	if ((ni = read_narinfo(s, hp, text)) == NULL)
		return -1;
	if (!verified)
		s->unverified++;
	else if ((n = policy_sign(s->policy, ni)) == -1) {
		tool_error("sign: no memory");
		goto out;
	}
	if (n > 0 || s->repair)
		rc = enter(s, ni);
	else {
		s->had += verified;
		rc = 0;
	}
out:
	narinfo_free(ni);
	return rc;
}

/* One that index_path_next found; what nobody wrote is not signed. */
static int
sign_found(struct signing *s, int found, const struct hash_part *hp,
    const struct buf *text, bool verified)
{
	if (found != INDEX_SPOILED)
		return sign_one(s, hp, text, verified);
	tool_error("sign: %s.narinfo: its text in the index is spoiled: push "
		   "the path again, or run tmpnix fsck --repair",
	    hp->s);
	s->bad++;
	return -1;
}

/* Every path; a bad one keeps no other from its signature. */
static int
sign_all(struct signing *s)
{
	struct hash_part at = { "" };
	struct buf text = BUF_INIT;
	bool verified = false;
	int found, rc = 0;

	while ((found = index_path_next(
		    s->ix, CACHE_MAIN, &at, &text, &verified)) > 0) {
		if (sign_found(s, found, &at, &text, verified) == -1)
			rc = -1;
		buf_clear(&text);
	}
	buf_free(&text);
	return found == -1 ? -1 : rc;
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
		    s->ix, CACHE_MAIN, &at, &text, &verified)) > 0 &&
	    strcmp(at.s, hp.s) < 0)
		buf_clear(&text);
	if (found > 0 && strcmp(at.s, hp.s) == 0)
		rc = sign_found(s, found, &hp, &text, verified);
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
		{ "repair", no_argument, NULL, 'r' },
		{ NULL, 0, NULL, 0 },
	};
	struct signing s = { .tool = t };
	struct buf files = BUF_INIT;
	int c, i, rc = TOOL_FAILED;

	while ((c = getopt_long(argc, argv, "k:", options, NULL)) != -1) {
		if (c == 'r') {
			s.repair = true;
			continue;
		}
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
	       " not verified, %" PRIu64 " bad\n",
	    s.added, s.had, s.unverified, s.bad);
out:
	policy_free(s.policy);
	index_close(s.ix);
	buf_free(&files);
	return rc;
}
