#include "config.h"

#include "asset.h"

#include <string.h>

struct asset_store *
asset_store_open(const struct conf *conf, const char *cache)
{
	if (strcmp(cache, CACHE_DRV) == 0)
		return asset_file_open(conf->state_dir, "drvs");
	switch (conf->asset_store) {
	case CONF_STORE_FILE:
		return asset_file_open(conf->state_dir, "store");
	}
	return NULL;
}

void
asset_store_close(struct asset_store *as)
{
	if (as != NULL)
		as->ops->close(as);
}
