/* What is parsed, printed and parsed again is the same, text and meaning. */
#include "config.h"

#include <string.h>

#include "buf.h"
#include "fuzz.h"
#include "narinfo.h"

/* What a signature is worth, of its last bytes: anything. */
static unsigned int
worth(const void *arg, const struct narinfo *ni, const char *sig)
{
	(void)arg;
	(void)ni;
	return (unsigned char)sig[strlen(sig) - 4] % 3;
}

static const struct sig_rank rank = { worth, NULL };

/* Does what a and b become together parse, and print as it was? */
static void
merged(struct narinfo *a, const struct narinfo *b)
{
	struct buf text = BUF_INIT, again = BUF_INIT;
	struct narinfo *c;
	char err[256];

	MUST(narinfo_merge_sigs(a, b, &rank) != -1);
	narinfo_print(a, &text);
	c = narinfo_parse(text.p, text.len, "/nix/store", err, sizeof(err));
	MUST(c != NULL);
	narinfo_print(c, &again);
	MUST(text.len == again.len && memcmp(text.p, again.p, text.len) == 0);
	narinfo_free(c);
	buf_free(&text);
	buf_free(&again);
}

/*
 * Two narinfos, an empty line between them: the first as it may be stored from
 * before the limits, the second as it may come.
 */
static void
two(const uint8_t *data, size_t size)
{
	const uint8_t *cut = memmem(data, size, "\n\n", 2);
	struct narinfo *a, *b;
	char err[256];
	size_t n;

	if (cut == NULL)
		return;
	n = (size_t)(cut - data) + 1;
	a = narinfo_parse_stored(
	    (const char *)data, n, "/nix/store", err, sizeof(err));
	b = narinfo_parse((const char *)cut + 2, size - n - 1, "/nix/store",
	    err, sizeof(err));
	if (a != NULL && b != NULL) {
		narinfo_trim(a, &rank);
		merged(a, b);
	}
	narinfo_free(a);
	narinfo_free(b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf first = BUF_INIT, second = BUF_INIT, print = BUF_INIT;
	struct narinfo *a, *b;
	char err[256];
	size_t i;

	if (size > (size_t)64 << 10)
		return 0;
	two(data, size);
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
	MUST(narinfo_merge_sigs(a, b, &rank) == 0);
	narinfo_fingerprint(a, &print);
	MUST(print.len > 0 && strlen(print.p) == print.len);
	narinfo_free(a);
	narinfo_free(b);
	buf_free(&first);
	buf_free(&second);
	buf_free(&print);
	return 0;
}
