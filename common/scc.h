/*
 * Strongly connected components of a directed graph, by Tarjan's algorithm:
 * linear in nodes and edges, and without recursion, so that a long chain takes
 * no stack.
 *
 * No I/O, no state: any thread.
 */
#ifndef SCC_H
#define SCC_H

#include <stddef.h>
#include <stdint.h>

/* The edges of node i go to to[first[i]] ... to[first[i + 1] - 1]; first has
 * n + 1 entries.  n is below UINT32_MAX. */
struct scc_graph {
	size_t n;
	const uint32_t *first;
	const uint32_t *to;
};

/*
 * component[i] becomes the number of node i's component.  They are numbered
 * from 0 so that an edge between two of them leads to the smaller number.
 * Returns how many there are, SIZE_MAX without memory.
 */
size_t scc_find(const struct scc_graph *g, uint32_t *component);

#endif
