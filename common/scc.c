#include "config.h"

#include "scc.h"

#include <stdlib.h>

#define UNSEEN UINT32_MAX

struct search {
	const struct scc_graph *g;
	uint32_t *component;
	uint32_t *number; /* in the order of discovery */
	uint32_t *low; /* the smallest number that a node leads back to */
	uint32_t *edge; /* the next one to follow */
	uint32_t *path; /* from the root to the node at hand */
	uint32_t *open; /* seen, and of no component yet */
	size_t npath;
	size_t nopen;
	uint32_t seen;
	uint32_t ncomponents;
};

static void
enter(struct search *s, uint32_t v)
{
	s->number[v] = s->low[v] = s->seen++;
	s->edge[v] = s->g->first[v];
	s->path[s->npath++] = v;
	s->open[s->nopen++] = v;
}

static void
lower(struct search *s, uint32_t v, uint32_t low)
{
	if (s->low[v] > low)
		s->low[v] = low;
}

/* All edges of v were followed. */
static void
leave(struct search *s, uint32_t v)
{
	uint32_t u;

	s->npath--;
	if (s->npath > 0)
		lower(s, s->path[s->npath - 1], s->low[v]);
	if (s->low[v] != s->number[v])
		return;
	do {
		u = s->open[--s->nopen];
		s->component[u] = s->ncomponents;
	} while (u != v);
	s->ncomponents++;
}

static void
search_from(struct search *s, uint32_t root)
{
	uint32_t v, w;

	enter(s, root);
	while (s->npath > 0) {
		v = s->path[s->npath - 1];
		if (s->edge[v] == s->g->first[v + 1]) {
			leave(s, v);
			continue;
		}
		w = s->g->to[s->edge[v]++];
		if (s->number[w] == UNSEEN)
			enter(s, w);
		else if (s->component[w] == UNSEEN)
			lower(s, v, s->number[w]);
	}
}

size_t
scc_find(const struct scc_graph *g, uint32_t *component)
{
	struct search s = { .g = g, .component = component };
	uint32_t *room;
	size_t i;

	if (g->n == 0)
		return 0;
	if ((room = calloc(g->n, 5 * sizeof(*room))) == NULL)
		return SIZE_MAX;
	s.number = room;
	s.low = room + g->n;
	s.edge = room + 2 * g->n;
	s.path = room + 3 * g->n;
	s.open = room + 4 * g->n;
	for (i = 0; i < g->n; i++)
		s.number[i] = component[i] = UNSEEN;
	for (i = 0; i < g->n; i++)
		if (s.number[i] == UNSEEN)
			search_from(&s, (uint32_t)i);
	free(room);
	return s.ncomponents;
}
