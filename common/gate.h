/*
 * Who may come in: the Authorization header of a request against the tokens,
 * and what those get who guess.
 *
 * Each bad credential is a line in the log, for fail2ban and the like:
 *   authentication failure from ADDRESS: N in a row
 * and is counted for its address (for IPv6, its /64).  From the sixth on,
 * within ten minutes of each other, the refusals trickle where the web server
 * is nginx: it is told to send a few bytes a second (X-Accel-Limit-Rate, and
 * X-Tmpnix-Rate where it asked before the body), so a guesser waits and no
 * thread does.  A good token is never slowed, whoever else fails at its
 * address.
 *
 * A struct gate may be used from any thread.
 */
#ifndef GATE_H
#define GATE_H

#include <stdint.h>

#include "fcgi.h"
#include "index.h"

struct gate;

/* NULL without memory. */
struct gate *gate_new(void);
void gate_free(struct gate *g);

/*
 * May the sender of r do what scope says, as auth_check has it?  0 with its
 * token in *t, or the status of the refusal, which is filled in; of
 * SCOPE_PUSH and SCOPE_PULL it asks for the latter, which is enough to read.
 */
int gate_authorize(struct gate *g, struct index *ix, struct request *r,
    unsigned int scope, struct token *t);

/*
 * Note a failure of address (NULL: not known) at the time now: the bytes a
 * second its refusal may have, 0 for any number.
 */
unsigned int gate_failed(
    struct gate *g, const struct netaddr *address, int64_t now);

#endif
