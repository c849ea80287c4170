/*
 * What a narinfo has to pass before it gets in: it agrees with its NAR's bytes
 * (I2), its content address is right, somebody we trust signed it, and its
 * references are there.  Then it gets our own signature.
 *
 * A struct acceptor belongs to one thread.
 */
#ifndef ACCEPT_H
#define ACCEPT_H

#include "conf.h"
#include "index.h"
#include "narinfo.h"
#include "policy.h"
#include "verifier.h"

struct acceptor {
	const struct conf *conf;
	const char *cache;
	struct verifier *verifier; /* NULL: verify = file */
	const struct policy *policy;
	bool (*gone)(void *arg); /* has this request's client gone? */
	void *arg;
};

/*
 * May ni get in, sent by t?  0 with our signatures added, or the status of a
 * refusal and a sentence in why (without the narinfo's name).  424 is our own
 * fault, with "" when the log says more.
 */
int accept_narinfo(const struct acceptor *a, struct index *ix,
    const struct token *t, struct narinfo *ni, char *why, size_t size);

#endif
