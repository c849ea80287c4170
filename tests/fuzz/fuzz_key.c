/* What is taken as a key may be used as a relative file name. */
#include "config.h"

#include <string.h>

#include "fuzz.h"
#include "key.h"

static void
check(const struct key *k)
{
	const char *p, *end;
	struct key again;
	size_t n = strlen(k->s);

	MUST(n > 0 && n <= KEY_MAX);
	MUST(k->s[0] != '/' && k->s[n - 1] != '/');
	for (p = k->s;; p = end + 1) {
		end = strchr(p, '/');
		n = end != NULL ? (size_t)(end - p) : strlen(p);
		MUST(n > 0 && n <= 255);
		MUST(!(n == 1 && p[0] == '.'));
		MUST(!(n == 2 && p[0] == '.' && p[1] == '.'));
		if (end == NULL)
			break;
	}
	for (p = k->s; *p != '\0'; p++)
		MUST(strchr("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
			    "abcdefghijklmnopqrstuvwxyz+-._?=!:/",
			 *p) != NULL);
	MUST(key_parse(k->s, strlen(k->s), &again) == 0);
	MUST(again.kind == k->kind && strcmp(again.s, k->s) == 0);
	MUST(key_content_type(k->kind) != NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct key k;
	char *text, *query;

	if (size > 4096)
		return 0;
	if (key_parse((const char *)data, size, &k) == 0)
		check(&k);
	/* The same bytes as a request's target. */
	MUST((text = malloc(size + 1)) != NULL);
	memcpy(text, data, size);
	text[size] = '\0';
	if ((query = strchr(text, '?')) != NULL)
		*query++ = '\0';
	if (key_from_request(text, query, &k) == 0)
		check(&k);
	free(text);
	return 0;
}
