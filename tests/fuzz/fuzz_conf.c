/* tmpnix.conf: a configuration or at least one message, never both. */
#include "config.h"

#include <string.h>

#include "buf.h"
#include "conf.h"
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf errs = BUF_INIT;
	struct conf *c;
	size_t i;

	if (size > (size_t)64 << 10)
		return 0;
	c = conf_parse((const char *)data, size, "fuzz.conf", &errs);
	MUST(!buf_failed(&errs));
	MUST((c == NULL) == (errs.len > 0));
	if (c == NULL)
		MUST(errs.p[errs.len - 1] == '\n');
	for (i = 0; i < errs.len; i++)
		MUST(errs.p[i] == '\n' ||
		    (errs.p[i] >= ' ' && errs.p[i] < 0x7f));
	if (c != NULL)
		MUST(c->state_dir != NULL && c->state_dir[0] == '/' &&
		    c->store_dir != NULL && c->threads > 0);
	conf_free(c);
	buf_free(&errs);
	return 0;
}
