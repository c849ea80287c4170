/* Glitch's answers: a policy that is usable as it is, or one line of why. */
#include "config.h"

#include <string.h>

#include "asset_policy.h"
#include "fuzz.h"

#define NOW INT64_C(1633800000)

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf why = BUF_INIT;
	struct asset_policy *po;

	po = asset_policy_parse(
	    (const char *)data, size, "application/x-nix-nar", NOW, &why);
	if (po == NULL) {
		MUST(why.len > 0 && strchr(buf_str(&why), '\n') == NULL);
	} else {
		MUST(po->text != NULL && po->signature != NULL &&
		    po->key_id != NULL && po->bucket != NULL);
		MUST(po->prefix[0] != '\0' &&
		    po->prefix[strlen(po->prefix) - 1] == '/');
		MUST(po->min <= po->max && po->expires > NOW);
		/* They are sent in a form. */
		MUST(strpbrk(po->text, "\r\n") == NULL &&
		    strpbrk(po->signature, "\r\n") == NULL &&
		    strpbrk(po->key_id, "\r\n") == NULL);
	}
	asset_policy_free(po);
	buf_free(&why);
	return 0;
}
