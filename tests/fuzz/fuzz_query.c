/*
 * The query of a target: what comes out fits, has no NUL but its last, and is
 * the same once more; the attribute path and the store path it is for.
 */
#include "config.h"

#include <string.h>

#include "attrpath.h"
#include "fuzz.h"
#include "query.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char a[64], b[ATTRPATH_MAX + 1], again[ATTRPATH_MAX + 1];
	struct query_field fields[] = { { "a", a, sizeof(a) },
		{ "attr", b, sizeof(b) } };
	const char *why = NULL;
	char *text;

	if ((text = malloc(size + 1)) == NULL)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (query_parse(text, fields, 2, &why) == 0) {
		MUST(memchr(a, '\0', sizeof(a)) != NULL);
		MUST(memchr(b, '\0', sizeof(b)) != NULL);
		memcpy(again, b, sizeof(b));
		MUST(query_parse(text, fields, 2, &why) == 0);
		MUST(strcmp(again, b) == 0);
		if (attrpath_ok(b, strlen(b)))
			MUST(b[0] != '-' && strpbrk(b, "${}\\ ;|&`") == NULL);
	} else {
		MUST(why != NULL && why[0] != '\0');
	}
	free(text);
	return 0;
}
