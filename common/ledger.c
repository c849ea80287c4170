#include "config.h"

#include "ledger.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct account {
	struct account *next;
	char token[TOKEN_NAME_MAX + 1];
	struct token_cost cost;
};

struct ledger {
	pthread_mutex_t mutex;
	struct account *accounts; /* of tokens that have cost anything */
};

struct ledger *
ledger_new(void)
{
	struct ledger *l;

	if ((l = calloc(1, sizeof(*l))) != NULL)
		pthread_mutex_init(&l->mutex, NULL);
	return l;
}

void
ledger_free(struct ledger *l)
{
	struct account *a;

	if (l == NULL)
		return;
	while ((a = l->accounts) != NULL) {
		l->accounts = a->next;
		free(a);
	}
	pthread_mutex_destroy(&l->mutex);
	free(l);
}

/* Where a token's account hangs, or is to hang. */
static struct account **
find(struct ledger *l, const char *token)
{
	struct account **at;

	for (at = &l->accounts; *at != NULL; at = &(*at)->next)
		if (strcmp((*at)->token, token) == 0)
			break;
	return at;
}

void
ledger_add(struct ledger *l, const char *token, const struct token_cost *cost)
{
	struct account **at;

	if (l == NULL || token[0] == '\0')
		return;
	pthread_mutex_lock(&l->mutex);
	at = find(l, token);
	if (*at == NULL && (*at = calloc(1, sizeof(**at))) != NULL)
		snprintf((*at)->token, sizeof((*at)->token), "%s", token);
	if (*at != NULL) {
		(*at)->cost.unpacked += cost->unpacked;
		(*at)->cost.cpu_us += cost->cpu_us;
	}
	pthread_mutex_unlock(&l->mutex);
}

/* Take all of a token out of the ledger, to be added again if it can't be
 * written. */
static struct token_cost
take(struct ledger *l, const char *token)
{
	struct token_cost cost = { 0, 0 };
	struct account **at, *a;

	if (l == NULL)
		return cost;
	pthread_mutex_lock(&l->mutex);
	at = find(l, token);
	if ((a = *at) != NULL) {
		*at = a->next;
		cost = a->cost;
		free(a);
	}
	pthread_mutex_unlock(&l->mutex);
	return cost;
}

int
ledger_nar_put(struct ledger *l, struct index *ix, const char *token,
    const char *cache, const char *key, const struct verified *v, int64_t now)
{
	const struct token_cost cost = take(l, token);
	int rc;

	rc = index_nar_put_cost(ix, cache, key, v, now, token, &cost);
	if (rc == -1)
		ledger_add(l, token, &cost);
	return rc;
}

void
ledger_used(
    struct ledger *l, struct index *ix, const struct token *t, int64_t now)
{
	const struct token_cost cost = take(l, t->name);

	if (index_token_used(ix, t, now, &cost) != 1)
		ledger_add(l, t->name, &cost);
}

void
ledger_write(struct ledger *l, const char *state_dir)
{
	struct index *ix;
	struct account *a;

	if (l->accounts == NULL ||
	    (ix = index_open(state_dir, INDEX_READ)) == NULL)
		return;
	while ((a = l->accounts) != NULL &&
	    index_token_cost(ix, a->token, &a->cost) == 0) {
		l->accounts = a->next;
		free(a);
	}
	index_close(ix);
}
