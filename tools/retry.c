#include "config.h"

#include "tmpnix.h"

#include <stdio.h>

static const char *const caches[] = { CACHE_MAIN, CACHE_DRV };

#define nitems(a) (sizeof(a) / sizeof((a)[0]))

/* key, or NULL for all, in each cache: how many, -1 reported. */
static int
retry(struct index *ix, const char *key)
{
	size_t i;
	int n, sum = 0;

	for (i = 0; i < nitems(caches); i++) {
		if ((n = index_retry(ix, caches[i], key)) == -1) {
			tool_error("retry: the index failed, see above");
			return -1;
		}
		sum += n;
	}
	if (key != NULL && sum == 0) {
		tool_error("%s: no object of that key failed or waits", key);
		return -1;
	}
	return sum;
}

int
retry_run(struct tool *t, int argc, char **argv)
{
	struct index *ix;
	int i, n, sum = 0, rc = TOOL_OK;

	if (argc > 1 && argv[1][0] == '-')
		return tool_usage("retry");
	if ((ix = tool_index(t, INDEX_WRITE)) == NULL)
		return TOOL_FAILED;
	if (argc < 2 && (sum = retry(ix, NULL)) == -1)
		rc = TOOL_FAILED;
	for (i = 1; i < argc; i++) {
		if ((n = retry(ix, argv[i])) == -1)
			rc = TOOL_FAILED;
		else
			sum += n;
	}
	if (sum >= 0)
		printf("%d to be tried again\n", sum);
	index_close(ix);
	return rc;
}
