#include "config.h"

#include "gate.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "auth.h"
#include "clock.h"
#include "log.h"

/* Addresses that are remembered; the one that failed longest ago makes room. */
#define ADDRESSES_MAX 512
#define FORGET_SECONDS 600
#define FREE_FAILURES 5
/* A refusal has about 300 bytes. */
#define SLOW_RATE 32
#define SLOWER_FAILURES 20
#define SLOWER_RATE 8

struct address {
	struct netaddr network;
	unsigned int failures;
	int64_t last;
};

struct gate {
	pthread_mutex_t mutex;
	struct address addresses[ADDRESSES_MAX];
};

struct gate *
gate_new(void)
{
	struct gate *g;

	if ((g = calloc(1, sizeof(*g))) != NULL)
		pthread_mutex_init(&g->mutex, NULL);
	return g;
}

void
gate_free(struct gate *g)
{
	if (g == NULL)
		return;
	pthread_mutex_destroy(&g->mutex);
	free(g);
}

/* The network that an address stands for.  Those that are not known share one
 * that no address is in. */
static struct netaddr
network(const struct netaddr *address)
{
	struct netaddr a;

	if (address == NULL) {
		memset(&a, 0xff, sizeof(a));
		return a;
	}
	a = *address;
	if (!netaddr_is_ipv4(&a))
		memset(a.b + 8, 0, 8);
	return a;
}

/* The entry of this network: its own, or the one that may go. */
static struct address *
find(struct gate *g, const struct netaddr *net)
{
	struct address *a, *oldest = &g->addresses[0];

	for (a = g->addresses; a < g->addresses + ADDRESSES_MAX; a++) {
		if (a->failures > 0 && netaddr_equal(&a->network, net))
			return a;
		if (a->last < oldest->last)
			oldest = a;
	}
	memset(oldest, 0, sizeof(*oldest));
	oldest->network = *net;
	return oldest;
}

unsigned int
gate_failed(struct gate *g, const struct netaddr *address, int64_t now)
{
	const struct netaddr net = network(address);
	char text[NETADDR_TEXT] = "?";
	struct address *a;
	unsigned int failures;

	if (address != NULL)
		netaddr_print(address, text);
	pthread_mutex_lock(&g->mutex);
	a = find(g, &net);
	if (a->last + FORGET_SECONDS < now)
		a->failures = 0;
	a->last = now;
	failures = ++a->failures;
	pthread_mutex_unlock(&g->mutex);
	log_warnx(
	    "authentication failure from %s: %u in a row", text, failures);
	return failures <= FREE_FAILURES ? 0
	    : failures < SLOWER_FAILURES ? SLOW_RATE
					 : SLOWER_RATE;
}

/* What a scope is for, and its name. */
static const struct {
	unsigned int scope;
	const char *doing, *name;
} scopes[] = {
	{ SCOPE_PULL, "read", "pull" }, { SCOPE_PUSH, "push", "push" },
	{ SCOPE_DRV, "instantiate", "drv" },
	{ SCOPE_ADMIN, "do this", "admin" }, /* and whatever else */
};

static size_t
find_scope(unsigned int scope)
{
	size_t i = 0;

	while ((scopes[i].scope & scope) == 0 && scopes[i].scope != SCOPE_ADMIN)
		i++;
	return i;
}

/* nginx does, and keeps these headers to itself; lighttpd has no such means. */
static bool
knows_rates(const struct request *r)
{
	const char *s = request_param(r, "TMPNIX_SEND");

	return s != NULL && strcmp(s, "x-accel") == 0;
}

int
gate_authorize(struct gate *g, struct index *ix, struct request *r,
    unsigned int scope, struct token *t)
{
	const int64_t now = (int64_t)time(NULL);
	const size_t sc = find_scope(scope);
	unsigned int rate;

	switch (auth_check(
	    ix, request_param(r, "HTTP_AUTHORIZATION"), scope, now, t)) {
	case AUTH_OK:
		return 0;
	case AUTH_MISSING:
		reply_header(r, "WWW-Authenticate", "Basic realm=\"tmpnix\"");
		return reply_text(r, 401,
		    "to %s here needs a token: put its line into your "
		    "netrc-file",
		    scopes[sc].doing);
	case AUTH_BAD:
		rate = gate_failed(g, request_client(r), clock_s());
		if (rate > 0 && knows_rates(r)) {
			reply_header(r, "X-Accel-Limit-Rate", "%u", rate);
			reply_header(r, "X-Tmpnix-Rate", "%u", rate);
		}
		reply_header(r, "WWW-Authenticate", "Basic realm=\"tmpnix\"");
		return reply_text(
		    r, 401, "this token is unknown, expired or revoked");
	case AUTH_SCOPE:
		return reply_text(r, 403,
		    "token %s may not %s: it lacks the scope %s", t->name,
		    scopes[sc].doing, scopes[sc].name);
	case AUTH_ERROR:
		break;
	}
	/* Before the body, so that a client may try again. */
	return reply_text(r, 503, "the server can't read its index");
}
