/* Attribute paths: none that a shell or Nix could take for more. */
#include "config.h"

#include <string.h>

#include "attrpath.h"
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *p = (const char *)data;
	size_t i;

	if (!attrpath_ok(p, size))
		return 0;
	MUST(size >= 1 && size <= ATTRPATH_MAX);
	MUST(p[0] != '-' && p[0] != '.' && p[size - 1] != '.');
	for (i = 0; i < size; i++)
		MUST(p[i] > ' ' && p[i] < 127 &&
		    strchr("${}\\;|&`()<>*?!#~", p[i]) == NULL);
	return 0;
}
