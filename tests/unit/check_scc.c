#include "config.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "scc.h"
#include "unit.h"

#define SMALL 12
#define LARGE ((size_t)100000)

/* A graph of n nodes from pairs of an edge, sorted by their first. */
static size_t
find(size_t n, const uint32_t (*edges)[2], size_t m, uint32_t *component)
{
	uint32_t *first = calloc(n + 1, sizeof(*first));
	uint32_t *to = calloc(m + 1, sizeof(*to));
	size_t i, e = 0, count;

	ck_assert(first != NULL && to != NULL);
	for (i = 0; i < n; i++) {
		first[i] = (uint32_t)e;
		for (; e < m && edges[e][0] == i; e++)
			to[e] = edges[e][1];
	}
	first[n] = (uint32_t)e;
	ck_assert_uint_eq(e, m);
	count = scc_find(&(struct scc_graph) { n, first, to }, component);
	free(first);
	free(to);
	return count;
}

/* Random graphs: together in a component are those that reach each other. */
START_TEST(as_reachability_has_it)
{
	uint32_t edges[SMALL * SMALL][2], c[SMALL];
	bool reach[SMALL][SMALL];
	size_t i, j, k, m = 0, round;

	srand((unsigned int)_i + 1);
	for (round = 0; round < 50; round++) {
		m = 0;
		memset(reach, 0, sizeof(reach));
		for (i = 0; i < SMALL; i++) {
			reach[i][i] = true;
			for (j = 0; j < SMALL; j++) {
				if (rand() % SMALL > _i)
					continue;
				edges[m][0] = (uint32_t)i;
				edges[m++][1] = (uint32_t)j;
				reach[i][j] = true;
			}
		}
		for (k = 0; k < SMALL; k++)
			for (i = 0; i < SMALL; i++)
				for (j = 0; j < SMALL; j++)
					reach[i][j] |=
					    reach[i][k] && reach[k][j];
		find(SMALL, (const uint32_t(*)[2])edges, m, c);
		for (i = 0; i < SMALL; i++)
			for (j = 0; j < SMALL; j++) {
				ck_assert_int_eq(
				    c[i] == c[j], reach[i][j] && reach[j][i]);
				if (reach[i][j])
					ck_assert_uint_ge(c[i], c[j]);
			}
	}
}
END_TEST

/* A chain, and a ring when it is closed: no recursion. */
START_TEST(long_ones)
{
	uint32_t(*edges)[2] = calloc(LARGE, sizeof(*edges));
	uint32_t *c = calloc(LARGE, sizeof(*c));
	size_t i;

	ck_assert(edges != NULL && c != NULL);
	for (i = 0; i < LARGE; i++) {
		edges[i][0] = (uint32_t)i;
		edges[i][1] = (uint32_t)((i + 1) % LARGE);
	}
	ck_assert_uint_eq(
	    find(LARGE, (const uint32_t(*)[2])edges, LARGE - 1, c), LARGE);
	ck_assert_uint_eq(c[0], LARGE - 1);
	ck_assert_uint_eq(c[LARGE - 1], 0);
	ck_assert_uint_eq(
	    find(LARGE, (const uint32_t(*)[2])edges, LARGE, c), 1);
	free(edges);
	free(c);
}
END_TEST

START_TEST(clique)
{
	const size_t n = 1000;
	uint32_t(*edges)[2] = calloc(n * n, sizeof(*edges));
	uint32_t *c = calloc(n, sizeof(*c));
	size_t i;

	ck_assert(edges != NULL && c != NULL);
	for (i = 0; i < n * n; i++) {
		edges[i][0] = (uint32_t)(i / n);
		edges[i][1] = (uint32_t)(i % n);
	}
	ck_assert_uint_eq(find(n, (const uint32_t(*)[2])edges, n * n, c), 1);
	ck_assert_uint_eq(
	    scc_find(&(struct scc_graph) { 0, NULL, NULL }, c), 0);
	free(edges);
	free(c);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("scc");

	UNIT_ROWS(s, "random", as_reachability_has_it, SMALL);
	UNIT_ROWS(s, "long", long_ones, 1);
	UNIT_ROWS(s, "clique", clique, 1);
	return unit_main(s);
}
