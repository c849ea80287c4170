#include "config.h"

#include "gate.h"

#include <arpa/inet.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "auth.h"
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
	char text[INET6_ADDRSTRLEN];
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

/* The network that an address stands for; "?" when it is none. */
static void
network(const char *address, char out[INET6_ADDRSTRLEN])
{
	struct in6_addr six;
	struct in_addr four;

	memcpy(out, "?", 2);
	if (address == NULL)
		return;
	if (inet_pton(AF_INET, address, &four) == 1) {
		inet_ntop(AF_INET, &four, out, INET6_ADDRSTRLEN);
	} else if (inet_pton(AF_INET6, address, &six) == 1) {
		memset(six.s6_addr + 8, 0, 8);
		inet_ntop(AF_INET6, &six, out, INET6_ADDRSTRLEN);
	}
}

/* The entry of this network: its own, or the one that may go. */
static struct address *
find(struct gate *g, const char *text)
{
	struct address *a, *oldest = &g->addresses[0];

	for (a = g->addresses; a < g->addresses + ADDRESSES_MAX; a++) {
		if (strcmp(a->text, text) == 0)
			return a;
		if (a->last < oldest->last)
			oldest = a;
	}
	memset(oldest, 0, sizeof(*oldest));
	memcpy(oldest->text, text, strlen(text) + 1);
	return oldest;
}

unsigned int
gate_failed(struct gate *g, const char *address, int64_t now)
{
	char text[INET6_ADDRSTRLEN];
	struct address *a;
	unsigned int failures;

	network(address, text);
	pthread_mutex_lock(&g->mutex);
	a = find(g, text);
	if (a->last + FORGET_SECONDS < now)
		a->failures = 0;
	a->last = now;
	failures = ++a->failures;
	pthread_mutex_unlock(&g->mutex);
	log_warnx("authentication failure from %s: %u in a row",
	    address != NULL ? address : "?", failures);
	return failures <= FREE_FAILURES ? 0
	    : failures < SLOWER_FAILURES ? SLOW_RATE
					 : SLOWER_RATE;
}

/* What a scope is for, and its name. */
static const struct {
	unsigned int scope;
	const char *doing, *name;
} scopes[] = {
	{ SCOPE_PUSH, "push", "push" }, { SCOPE_PULL, "read", "pull" },
	{ SCOPE_DRV, "instantiate", "drv" },
	{ SCOPE_ADMIN, "do this", "admin" }, /* and whatever else */
};

static size_t
find_scope(unsigned int scope)
{
	size_t i = 0;

	while (scopes[i].scope != scope && scopes[i].scope != SCOPE_ADMIN)
		i++;
	return i;
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
		rate = gate_failed(g, request_param(r, "REMOTE_ADDR"), now);
		if (rate > 0) {
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
