/*
 * What a store on the network lists: a page of S3's ListObjectsV2, which is
 * XML, made into objects.
 *
 * It is somebody else's: a document type, and with it every entity, is refused,
 * as are elements nested deeper than any of S3's and texts longer than a key
 * may be.  No I/O, no state; any thread.
 */
#ifndef ASSET_LISTING_H
#define ASSET_LISTING_H

#include <stddef.h>

#include "asset.h"
#include "buf.h"

/*
 * Parse (p, n), whose keys all begin with prefix, which is taken off.  0 with
 * *page, to be cleared by asset_page_clear; or -1, nothing to clear, and one
 * line in why.
 *
 * Keys are decoded where the page says that they are encoded, and ascend by
 * their bytes; page->next is not NULL if and only if there is more.
 */
int asset_listing_parse(const void *p, size_t n, const char *prefix,
    struct asset_page *page, struct buf *why);

#endif
