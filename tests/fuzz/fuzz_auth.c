/* The Authorization header: whatever it is, the credentials are bounded. */
#include "config.h"

#include <string.h>

#include "auth.h"
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct credentials c, again;
	enum auth_rc rc;

	if (size > 4096)
		return 0;
	memset(&c, 0xff, sizeof(c));
	rc = auth_parse((const char *)data, size, &c);
	MUST(rc == AUTH_OK || rc == AUTH_MISSING || rc == AUTH_BAD);
	MUST((rc == AUTH_MISSING) == (size == 0));
	if (rc != AUTH_OK)
		return 0;
	MUST(memchr(c.user, '\0', sizeof(c.user)) != NULL);
	MUST(strchr(c.user, ':') == NULL);
	MUST(auth_parse((const char *)data, size, &again) == AUTH_OK);
	MUST(digest_equal(&c.secret, &again.secret));
	return 0;
}
