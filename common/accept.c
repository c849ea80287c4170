#include "config.h"

#include "accept.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ca.h"
#include "log.h"

/*
 * How long a narinfo's PUT waits for its NAR to be verified.  Nix gives up
 * after 300 s of silence, and so does nginx as we configure it.
 */
#define WAIT_SECONDS 240

/* One narinfo on its way in. */
struct entry {
	const struct acceptor *a;
	struct index *ix;
	const struct token *token;
	const struct narinfo *ni;
	char *why;
	size_t size;
};

static int __attribute__((format(printf, 3, 4)))
refuse(const struct entry *e, int status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(e->why, e->size, fmt, ap);
	va_end(ap);
	return status;
}

/* Does the narinfo say what was found out? */
static int
compare(const struct entry *e, const struct verified *v)
{
	const struct narinfo *ni = e->ni;
	char got[DIGEST_BASE32 + 1], said[DIGEST_BASE32 + 1];

	switch (v->verdict) {
	case VERDICT_GOOD:
		break;
	case VERDICT_BAD:
		return refuse(
		    e, 400, "%s is no good NAR: %s", ni->nar.s, v->why);
	case VERDICT_LARGE:
		return refuse(e, 413, "%s is too large: %s", ni->nar.s, v->why);
	}
	if (strcmp(ni->compression, v->compression) != 0)
		return refuse(e, 400, "Compression is %s, but %s is %s",
		    ni->compression, ni->nar.s, v->compression);
	if (!digest_equal(&ni->nar_hash, &v->nar_hash)) {
		digest_to_base32(&v->nar_hash, got);
		digest_to_base32(&ni->nar_hash, said);
		return refuse(e, 400,
		    "NarHash is sha256:%s, but %s unpacks to sha256:%s", said,
		    ni->nar.s, got);
	}
	if (ni->nar_size != v->nar_size)
		return refuse(e, 400,
		    "NarSize is %" PRIu64 ", but %s unpacks to %" PRIu64
		    " bytes",
		    ni->nar_size, ni->nar.s, v->nar_size);
	return 0;
}

static int
verify(const struct entry *e, struct verified *v)
{
	const struct key *nar = &e->ni->nar;

	const struct verifier_wait w = { .token = e->token->name,
		.seconds = WAIT_SECONDS,
		.references = e->a->conf->check_references,
		.gone = e->a->gone,
		.arg = e->a->arg };

	switch (verifier_wait(e->a->verifier, e->ix, nar, &w, v)) {
	case VERIFIER_DONE:
		return compare(e, v);
	case VERIFIER_NO_NAR:
		return refuse(
		    e, 409, "its NAR %s is not here: send that first", nar->s);
	case VERIFIER_GONE:
		return refuse(e, 409,
		    "its NAR %s was never verified: send it again", nar->s);
	case VERIFIER_SLOW:
		return refuse(e, 424,
		    "its NAR %s is still being verified: send this narinfo "
		    "again later",
		    nar->s);
	case VERIFIER_BUSY:
		return refuse(e, 424,
		    "its NAR %s is still being verified, and too many narinfos "
		    "of token %s wait for theirs: send this one again later",
		    nar->s, e->token->name);
	case VERIFIER_LEFT:
		log_info("%s: its client went away while %s was being verified",
		    e->ni->base, nar->s);
		break;
	case VERIFIER_ERROR:
		break;
	}
	return refuse(e, 424, "%s", "");
}

/* References -----------------------------------------------------------------
 */

static bool
declared(const struct narinfo *ni, const struct hash_part *hp)
{
	size_t i;

	/* A path may hold its own name without saying so: it harms nobody. */
	if (strcmp(ni->hash_part.s, hp->s) == 0)
		return true;
	for (i = 0; i < ni->nreferences; i++)
		if (memcmp(ni->references[i], hp->s, HASH_PART_LEN) == 0)
			return true;
	return false;
}

/* Each declared reference is a path that is here. */
static int
check_declared(const struct entry *e)
{
	const struct narinfo *ni = e->ni;
	struct hash_part hp;
	size_t i;

	for (i = 0; i < ni->nreferences; i++) {
		memcpy(hp.s, ni->references[i], HASH_PART_LEN);
		hp.s[HASH_PART_LEN] = '\0';
		if (strcmp(hp.s, ni->hash_part.s) == 0)
			continue;
		switch (index_path_known(e->ix, e->a->cache, hp.s)) {
		case 1:
			break;
		case 0:
			return refuse(e, 409,
			    "References: %s is not here: send that first (nix "
			    "copy --refresh if it was here before)",
			    ni->references[i]);
		default:
			return refuse(e, 424, "%s", "");
		}
	}
	return 0;
}

/* Is one of these hash parts that of a path which is here but not declared? */
static int
check_found(const struct entry *e, const struct buf *refs)
{
	struct hash_part hp;
	size_t i;

	for (i = 0; i < refs->len / REFSCAN_BYTES; i++) {
		refscan_text(refs, i, &hp);
		if (declared(e->ni, &hp))
			continue;
		switch (index_path_known(e->ix, e->a->cache, hp.s)) {
		case 0:
			break;
		case 1:
			return refuse(e, 400,
			    "References: the NAR has the path %s in it, which "
			    "is not among them",
			    hp.s);
		default:
			return refuse(e, 424, "%s", "");
		}
	}
	return 0;
}

/*
 * A path with a content address is left alone: what it holds was fixed before
 * it was made (a .drv holds the names of outputs it does not refer to).
 */
static int
check_references(const struct entry *e, const struct verified *v)
{
	int status;

	if ((status = check_declared(e)) != 0 || v == NULL || e->ni->ca != NULL)
		return status;
	if ((status = check_found(e, &v->refs)) != 0)
		return status;
	/* Then not all are declared: a narinfo has no room for so many. */
	return v->refs_done == REFS_TOO_MANY
	    ? refuse(e, 400,
		  "References: the NAR has more than %zu paths in it",
		  REFSCAN_MAX)
	    : 0;
}

int
accept_narinfo(const struct acceptor *a, struct index *ix,
    const struct token *t, struct narinfo *ni, char *why, size_t size)
{
	struct entry e = { a, ix, t, ni, why, size };
	struct verified v;
	const bool verified = a->verifier != NULL;
	enum ca_rc ca;
	int status = 0;

	memset(&v, 0, sizeof(v));
	why[0] = '\0';
	if (verified && (status = verify(&e, &v)) != 0)
		goto out;
	ca = ca_check(ni, verified ? &v : NULL, why, size);
	if (ca == CA_WRONG ||
	    policy_check(a->policy, ni, t->keys, ca == CA_GOOD, why, size) ==
		-1) {
		status = 400;
		goto out;
	}
	if (a->conf->check_references &&
	    (status = check_references(&e, verified ? &v : NULL)) != 0)
		goto out;
	if (verified && policy_sign(a->policy, ni) == -1) {
		log_warnx("sign %s: no memory", ni->base);
		status = refuse(&e, 424, "%s", "");
	}
out:
	verified_clear(&v);
	return status;
}
