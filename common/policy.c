#include "config.h"

#include "policy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "file.h"
#include "log.h"

#define BLANKS " \t"

/* What is signed, and the signatures it has. */
struct signed_text {
	const struct buf *print;
	char *const *sigs;
	size_t nsigs;
	const char *field; /* for messages: where they stand */
	const char *covers; /* what they are over */
	const char *advice; /* how to get one */
};

struct policy {
	bool require;
	struct public_key *trusted;
	size_t ntrusted;
	struct secret_key *secret;
	struct public_key *ours; /* their public halves */
	size_t nsecret;
};

/* The next word at or behind s: its length, 0 when there is none. */
static size_t
next_word(const char **s)
{
	*s += strspn(*s, BLANKS);
	return strcspn(*s, BLANKS);
}

static size_t
count_words(const char *s)
{
	size_t n, count = 0;

	for (; (n = next_word(&s)) > 0; s += n)
		count++;
	return count;
}

bool
policy_keys_ok(const char *s)
{
	struct public_key k;
	size_t n;

	for (; (n = next_word(&s)) > 0; s += n)
		if (sign_public_parse(s, n, &k) == -1)
			return false;
	return true;
}

static int
load_trusted(struct policy *p, const char *s)
{
	size_t n;

	if (s == NULL)
		return 0;
	p->trusted = calloc(count_words(s) + 1, sizeof(*p->trusted));
	if (p->trusted == NULL)
		return -1;
	for (; (n = next_word(&s)) > 0; s += n)
		if (sign_public_parse(s, n, &p->trusted[p->ntrusted++]) == -1)
			return -1;
	return 0;
}

/* Say what errno, of sign_key_load, means for the file. */
static void
log_key_fault(const char *file)
{
	struct buf advice = BUF_INIT;

	if (errno == ENOENT)
		log_warnx("secret_key_file: %s: no such file: run tmpnix init, "
			  "or set secret_key_file = none",
		    file);
	else if (errno == EPERM) {
		file_secret_advice(file, &advice);
		log_warnx("secret_key_file: %s: %s", file, buf_str(&advice));
		buf_free(&advice);
	} else if (errno == EINVAL)
		log_warnx("secret_key_file: %s: is not a secret key, "
			  "NAME:BASE64",
		    file);
	else
		log_warn("secret_key_file: %s", file);
}

static int
load_secret(struct policy *p, const char *s)
{
	size_t n;
	char *file;
	int rc;

	if (s == NULL)
		return 0;
	if (count_words(s) > POLICY_SECRETS_MAX) {
		log_warnx(
		    "secret_key_file: more than %d files", POLICY_SECRETS_MAX);
		return -1;
	}
	p->secret = sign_keys_new(count_words(s) + 1);
	p->ours = calloc(count_words(s) + 1, sizeof(*p->ours));
	if (p->secret == NULL || p->ours == NULL)
		return -1;
	for (; (n = next_word(&s)) > 0; s += n) {
		if ((file = strndup(s, n)) == NULL)
			return -1;
		rc = sign_key_load(file, &p->secret[p->nsecret]);
		if (rc == -1)
			log_key_fault(file);
		free(file);
		if (rc == -1)
			return -1;
		sign_key_public(&p->secret[p->nsecret], &p->ours[p->nsecret]);
		p->nsecret++;
	}
	return 0;
}

int
policy_each_file(const struct conf *conf,
    void (*each)(const char *path, void *arg), void *arg)
{
	const char *s = conf->secret_key_file;
	char *file;
	size_t n;

	for (; s != NULL && (n = next_word(&s)) > 0; s += n) {
		if ((file = strndup(s, n)) == NULL)
			return -1;
		each(file, arg);
		free(file);
	}
	return 0;
}

struct policy *
policy_new(const struct conf *conf)
{
	struct policy *p;

	if ((p = calloc(1, sizeof(*p))) == NULL)
		return NULL;
	p->require = conf->require_signature;
	if (load_trusted(p, conf->trusted_public_keys) == -1 ||
	    load_secret(p, conf->secret_key_file) == -1) {
		policy_free(p);
		return NULL;
	}
	return p;
}

void
policy_free(struct policy *p)
{
	if (p == NULL)
		return;
	sign_keys_free(p->secret);
	free(p->ours);
	free(p->trusted);
	free(p);
}

bool
policy_signs(const struct policy *p)
{
	return p->nsecret > 0;
}

bool
policy_needs_verify(const struct conf *conf, const struct policy *p)
{
	if (conf->verify == CONF_VERIFY_NAR || !policy_signs(p))
		return false;
	log_warnx("secret_key_file needs verify = nar: what was not verified "
		  "is not signed");
	return true;
}

/*
 * Is there a good signature of k on t?  1, 0 when there is none in its name,
 * -1 when there is one in its name and it is not.
 */
static int
signed_by(const struct signed_text *t, const struct public_key *k)
{
	struct signature sig;
	size_t i;
	int rc = 0;

	for (i = 0; i < t->nsigs; i++) {
		if (sign_signature_parse(
			t->sigs[i], strlen(t->sigs[i]), &sig) == -1 ||
		    strcmp(sig.name, k->name) != 0)
			continue;
		if (!sign_verify(k, &sig, t->print->p, t->print->len))
			return -1;
		rc = 1;
	}
	return rc;
}

/* By one of the n keys?  As signed_by, *bad is the key whose name is abused. */
static int
signed_by_any(const struct signed_text *t, const struct public_key *keys,
    size_t n, const char **bad)
{
	size_t i;
	int rc = 0;

	for (i = 0; i < n; i++) {
		switch (signed_by(t, &keys[i])) {
		case 1:
			rc = 1;
			break;
		case -1:
			*bad = keys[i].name;
			return -1;
		default:
			break;
		}
	}
	return rc;
}

/* Did one of the n keys make sig, over print? */
static bool
made_by(const struct public_key *keys, size_t n, const struct signature *sig,
    const struct buf *print)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (strcmp(sig->name, keys[i].name) == 0 &&
		    sign_verify(&keys[i], sig, print->p, print->len))
			return true;
	return false;
}

static bool
made_by_words(
    const char *s, const struct signature *sig, const struct buf *print)
{
	struct public_key k;
	size_t n;

	for (; (n = next_word(&s)) > 0; s += n)
		if (sign_public_parse(s, n, &k) == 0 &&
		    made_by(&k, 1, sig, print))
			return true;
	return false;
}

/* Is it in the name of a key we know?  Cheaper than to look at it. */
static bool
name_known(const struct policy_ranks *r, const char *name)
{
	const struct policy *p = r->policy;
	const char *s = r->token_keys;
	struct public_key k;
	size_t i, n;

	for (i = 0; i < p->nsecret; i++)
		if (strcmp(p->ours[i].name, name) == 0)
			return true;
	for (i = 0; i < p->ntrusted; i++)
		if (strcmp(p->trusted[i].name, name) == 0)
			return true;
	for (; (n = next_word(&s)) > 0; s += n)
		if (sign_public_parse(s, n, &k) == 0 &&
		    strcmp(k.name, name) == 0)
			return true;
	return false;
}

static unsigned int
rank_of(const struct policy_ranks *r, const struct buf *print, const char *text)
{
	const struct policy *p = r->policy;
	struct signature sig;

	if (buf_failed(print) ||
	    sign_signature_parse(text, strlen(text), &sig) == -1)
		return 0;
	if (made_by(p->ours, p->nsecret, &sig, print))
		return 3;
	if (made_by(p->trusted, p->ntrusted, &sig, print))
		return 2;
	return made_by_words(r->token_keys, &sig, print) ? 1 : 0;
}

/* Could rank_of be more than 0?  Then it is worth the fingerprint. */
static bool
may_rank(const struct policy_ranks *r, const char *text)
{
	struct signature sig;

	return sign_signature_parse(text, strlen(text), &sig) == 0 &&
	    name_known(r, sig.name);
}

unsigned int
policy_rank(const void *ranks, const struct narinfo *ni, const char *text)
{
	struct buf print = BUF_INIT;
	unsigned int rank;

	if (!may_rank(ranks, text))
		return 0;
	narinfo_fingerprint(ni, &print);
	rank = rank_of(ranks, &print, text);
	buf_free(&print);
	return rank;
}

unsigned int
policy_rank_realisation(const struct policy_ranks *r,
    const struct realisation *re, const char *text)
{
	struct buf print = BUF_INIT;
	unsigned int rank;

	if (!may_rank(r, text))
		return 0;
	realisation_fingerprint(re, &print);
	rank = rank_of(r, &print, text);
	buf_free(&print);
	return rank;
}

/* May t get in?  free_of: it needs no signature.  0, or -1 with a sentence. */
static int
check(const struct policy *p, const struct signed_text *t,
    const char *token_keys, bool free_of, char *err, size_t errsize)
{
	const char *bad = NULL, *s = token_keys;
	struct public_key k;
	size_t n;
	int by_token = 0, trusted = 0;

	if (buf_failed(t->print)) {
		snprintf(err, errsize, "out of memory");
		return -1;
	}
	for (; bad == NULL && (n = next_word(&s)) > 0; s += n)
		if (sign_public_parse(s, n, &k) == 0 &&
		    signed_by_any(t, &k, 1, &bad) == 1)
			by_token = 1;
	if (bad == NULL)
		trusted = signed_by_any(t, p->trusted, p->ntrusted, &bad);
	if (bad == NULL)
		signed_by_any(t, p->ours, p->nsecret, &bad);
	if (bad != NULL)
		snprintf(err, errsize, "%s: the signature by %s is not over %s",
		    t->field, bad, t->covers);
	else if (token_keys[0] != '\0' && !by_token && !free_of)
		snprintf(err, errsize,
		    "%s: none by a key this token is bound "
		    "to",
		    t->field);
	else if (token_keys[0] == '\0' && p->require && !trusted && !free_of)
		snprintf(err, errsize,
		    "%s: none by a key this cache trusts; %s", t->field,
		    t->advice);
	else
		return 0;
	return -1;
}

int
policy_check(const struct policy *p, const struct narinfo *ni,
    const char *token_keys, bool ca_good, char *err, size_t errsize)
{
	struct buf print = BUF_INIT;
	const struct signed_text t = { &print, ni->sigs, ni->nsigs, "Sig",
		"this path, NarHash, NarSize and References",
		"push with ?secret-key=FILE or sign with nix store sign" };
	int rc;

	narinfo_fingerprint(ni, &print);
	rc = check(p, &t, token_keys, ca_good, err, errsize);
	buf_free(&print);
	return rc;
}

int
policy_check_realisation(const struct policy *p, const struct realisation *re,
    const char *token_keys, char *err, size_t errsize)
{
	struct buf print = BUF_INIT;
	struct signed_text t = { .print = &print,
		.field = "signatures",
		.covers = "what this realisation says",
		.advice = "build with secret-key-files in nix.conf" };
	int rc;

	t.sigs = realisation_sigs(re, &t.nsigs);
	realisation_fingerprint(re, &print);
	rc = check(p, &t, token_keys, false, err, errsize);
	buf_free(&print);
	return rc;
}

int
policy_sign(const struct policy *p, struct narinfo *ni)
{
	struct buf print = BUF_INIT, text = BUF_INIT;
	const struct policy_ranks ranks = { p, "" };
	const struct sig_rank rank = { policy_rank, &ranks };
	struct signed_text t = { .print = &print };
	struct signature sig;
	size_t i;
	int added = 0;

	narinfo_fingerprint(ni, &print);
	for (i = 0; i < p->nsecret && !buf_failed(&print); i++) {
		t.sigs = ni->sigs;
		t.nsigs = ni->nsigs;
		if (signed_by(&t, &p->ours[i]) == 1)
			continue;
		sign_make(&p->secret[i], print.p, print.len, &sig);
		buf_clear(&text);
		sign_signature_print(&sig, &text);
		if (buf_failed(&text) ||
		    narinfo_add_sig(ni, text.p, &rank) == -1) {
			added = -1;
			break;
		}
		added++;
	}
	if (buf_failed(&print))
		added = -1;
	buf_free(&print);
	buf_free(&text);
	return added;
}
