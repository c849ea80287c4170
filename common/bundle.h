/*
 * A derivation's whole closure in one response: a tar of a static binary cache
 * (nix-cache-info, each path's narinfo and NAR), as it is in the index and the
 * asset store.  One request where copying path by path makes two for each.
 *
 * It is made while it is sent, in a fixed amount of memory but for the list of
 * its hash parts.  A file that is missing or has another size than the index
 * says cuts the connection.
 */
#ifndef BUNDLE_H
#define BUNDLE_H

#include <stdbool.h>

#include "fcgi.h"
#include "reads.h"

/* Is this path "<hash part>.closure.tar", ".tar.gz" or ".tar.zst"? */
bool bundle_path_ok(const char *path);

/* Answer a GET or HEAD of such a path; handlers return what this returns. */
int bundle_get(struct reads *rd, struct request *r);

#endif
