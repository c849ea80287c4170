/* What is parsed, printed and parsed again is the same, text and meaning. */
#include "config.h"

#include <string.h>

#include "buf.h"
#include "fuzz.h"
#include "narinfo.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf first = BUF_INIT, second = BUF_INIT, print = BUF_INIT;
	struct narinfo *a, *b;
	char err[256];
	size_t i;

	if (size > (size_t)64 << 10)
		return 0;
	memset(err, 0, sizeof(err));
	a = narinfo_parse(
	    (const char *)data, size, "/nix/store", err, sizeof(err));
	if (a == NULL) {
		/* A refusal is a line of printable ASCII. */
		MUST(err[0] != '\0');
		for (i = 0; err[i] != '\0'; i++)
			MUST(err[i] >= ' ' && err[i] < 0x7f);
		return 0;
	}
	narinfo_print(a, &first);
	MUST(!buf_failed(&first));
	b = narinfo_parse(first.p, first.len, "/nix/store", err, sizeof(err));
	MUST(b != NULL);
	MUST(narinfo_same(a, b));
	narinfo_print(b, &second);
	MUST(first.len == second.len);
	MUST(memcmp(first.p, second.p, first.len) == 0);
	MUST(narinfo_merge_sigs(a, b) == 0);
	narinfo_fingerprint(a, &print);
	MUST(print.len > 0 && strlen(print.p) == print.len);
	narinfo_free(a);
	narinfo_free(b);
	buf_free(&first);
	buf_free(&second);
	buf_free(&print);
	return 0;
}
