/*
 * Who vouches for a path: which signatures a narinfo must have to get in, and
 * those the server adds itself.
 *
 * A narinfo is fit when one of the keys that its token is bound to signed it,
 * or for other tokens, with require_signature, one of trusted_public_keys.  A
 * path whose contents make its name (CA_GOOD) needs no signature.  A signature
 * in the name of a key we know must be that key's, whatever else there is.
 *
 * INVARIANT: the server signs what it verified, and nothing else; its callers
 * see to that.
 *
 * A struct policy is const after policy_new: any thread.
 */
#ifndef POLICY_H
#define POLICY_H

#include <stdbool.h>
#include <stddef.h>

#include "conf.h"
#include "narinfo.h"
#include "realisation.h"
#include "sign.h"

struct policy;

/* Our own signatures leave room for others' (NARINFO_SIGS_MAX). */
#define POLICY_SECRETS_MAX 8

/*
 * The keys as conf names them, the secret ones read from their files.  NULL
 * after a fault that was logged.  sodium_init() was called.
 */
struct policy *policy_new(const struct conf *conf);
void policy_free(struct policy *p);

/* Call each with every file that policy_new reads.  -1 without memory. */
int policy_each_file(const struct conf *conf,
    void (*each)(const char *path, void *arg), void *arg);

/* Has it secret keys? */
bool policy_signs(const struct policy *p);

/* Has it some although conf verifies nothing, against the invariant?  (Logged.)
 */
bool policy_needs_verify(const struct conf *conf, const struct policy *p);

/*
 * May ni get in, sent with a token bound to token_keys ("": to none)?  ca_good:
 * its CA was checked and is right.  0, or -1 with a sentence in err.
 */
int policy_check(const struct policy *p, const struct narinfo *ni,
    const char *token_keys, bool ca_good, char *err, size_t errsize);

/*
 * The same for a realisation.  What it says can't be verified here, so nothing
 * but a signature makes it fit.
 */
int policy_check_realisation(const struct policy *p,
    const struct realisation *re, const char *token_keys, char *err,
    size_t errsize);

/*
 * Who made a signature, for narinfo_merge_sigs and its like: arg is a struct
 * policy_ranks.  A good signature by a secret key of ours is worth most, then
 * one by a trusted key, then by one of token_keys; a bad one nothing.
 */
struct policy_ranks {
	const struct policy *policy;
	const char *token_keys; /* "": none */
};

unsigned int policy_rank(
    const void *ranks, const struct narinfo *ni, const char *sig);

/* The same for a signature on a realisation. */
unsigned int policy_rank_realisation(const struct policy_ranks *r,
    const struct realisation *re, const char *sig);

/*
 * Add our signature by each secret key that has none on ni: the number added,
 * or -1 without memory.
 */
int policy_sign(const struct policy *p, struct narinfo *ni);

/* Is each word of s (any blanks between them) a public key? */
bool policy_keys_ok(const char *s);

#endif
