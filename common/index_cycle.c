/* The index: narinfos that wait for each other. */
#include "config.h"

#include "index.h"

#include <stdlib.h>

#include "index_db.h"
#include "log.h"
#include "scc.h"

/* References that are looked at in one search: 16 MB of memory. */
#define EDGES_MAX ((size_t)1000000)

struct edge {
	int64_t from;
	int64_t to;
};

/* Narinfos that could go but for those that they reference. */
struct waiting {
	struct edge *edges; /* by from */
	size_t nedges;
	int64_t *ids; /* ascending */
	size_t n;
	uint32_t *first; /* for scc.h */
	uint32_t *to;
	uint32_t *component;
	bool *blocked; /* by component: waits for something else */
};

static void
waiting_clear(struct waiting *w)
{
	free(w->edges);
	free(w->ids);
	free(w->first);
	free(w->to);
	free(w->component);
	free(w->blocked);
}

static int
add_edge(struct waiting *w, int64_t from, int64_t to)
{
	size_t cap = w->nedges * 2 + 64;
	struct edge *p = w->edges;

	/* It grows at 0 and at each power of 2, to more than twice that. */
	if ((w->nedges & (w->nedges - 1)) == 0) {
		if ((p = realloc(p, cap * sizeof(*p))) == NULL)
			return -1;
		w->edges = p;
	}
	w->edges[w->nedges++] = (struct edge) { from, to };
	return 0;
}

/* What is behind EDGES_MAX waits for the next search. */
static int
read_edges(struct index *ix, const char *cache, int64_t now, struct waiting *w)
{
	sqlite3_stmt *st;
	int rc;

	if ((st = index_stmt(ix, ST_WAITING_EDGES)) == NULL)
		return -1;
	index_bind_text(st, 1, cache);
	sqlite3_bind_int64(st, 2, now);
	while (w->nedges < EDGES_MAX && (rc = db_step(ix->db, st)) == 1)
		if (add_edge(w, sqlite3_column_int64(st, 0),
			sqlite3_column_int64(st, 1)) == -1) {
			log_warnx("index: no memory");
			rc = -1;
			break;
		}
	index_done(st);
	if (w->nedges < EDGES_MAX)
		return rc;
	/* The last one's may be incomplete. */
	for (now = w->edges[w->nedges - 1].from;
	     w->nedges > 0 && w->edges[w->nedges - 1].from == now;)
		w->nedges--;
	return 0;
}

static int
by_from(const void *a, const void *b)
{
	const struct edge *x = a, *y = b;

	return (x->from > y->from) - (x->from < y->from);
}

static int
by_id(const void *a, const void *b)
{
	const int64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* Number the narinfos, and their edges to each other; UINT32_MAX is an edge to
 * something else, see find_blocked. */
static int
make_graph(struct waiting *w)
{
	const int64_t *to;
	size_t i;

	qsort(w->edges, w->nedges, sizeof(*w->edges), by_from);
	w->ids = calloc(w->nedges, sizeof(*w->ids));
	w->first = calloc(w->nedges + 1, sizeof(*w->first));
	w->to = calloc(w->nedges, sizeof(*w->to));
	w->component = calloc(w->nedges, sizeof(*w->component));
	w->blocked = calloc(w->nedges, sizeof(*w->blocked));
	if (w->ids == NULL || w->first == NULL || w->to == NULL ||
	    w->component == NULL || w->blocked == NULL)
		return -1;
	for (i = 0; i < w->nedges; i++)
		if (i == 0 || w->edges[i].from != w->edges[i - 1].from) {
			w->first[w->n] = (uint32_t)i;
			w->ids[w->n++] = w->edges[i].from;
		}
	w->first[w->n] = (uint32_t)w->nedges;
	for (i = 0; i < w->nedges; i++) {
		to = bsearch(&w->edges[i].to, w->ids, w->n, sizeof(*to), by_id);
		w->to[i] = to != NULL ? (uint32_t)(to - w->ids) : UINT32_MAX;
	}
	return 0;
}

/* Of each component: does an edge leave it? */
static int
find_blocked(struct waiting *w)
{
	uint32_t *to = w->to;
	size_t i, e;

	/* Something that is no node is nobody's way: the node's own instead. */
	for (i = 0; i < w->n; i++)
		for (e = w->first[i]; e < w->first[i + 1]; e++)
			if (to[e] == UINT32_MAX)
				to[e] = (uint32_t)i;
	if (scc_find(&(struct scc_graph) { w->n, w->first, to },
		w->component) == SIZE_MAX)
		return -1;
	for (i = 0; i < w->n; i++)
		for (e = w->first[i]; e < w->first[i + 1]; e++)
			if (w->ids[to[e]] != w->edges[e].to ||
			    w->component[to[e]] != w->component[i])
				w->blocked[w->component[i]] = true;
	return 0;
}

int
index_cycle_find(struct index *ix, const char *cache, int64_t now, int64_t *ids,
    size_t max, size_t *n)
{
	struct waiting w = { .edges = NULL };
	size_t i;
	int rc = -1;

	if (read_edges(ix, cache, now, &w) == -1)
		goto out;
	if (w.nedges > 0 && (make_graph(&w) == -1 || find_blocked(&w) == -1)) {
		log_warnx("index: no memory");
		goto out;
	}
	/* The oldest first. */
	for (i = 0; i < w.n && *n < max; i++)
		if (!w.blocked[w.component[i]])
			ids[(*n)++] = w.ids[i];
	rc = 0;
out:
	waiting_clear(&w);
	return rc;
}
