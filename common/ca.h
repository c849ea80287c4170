/*
 * Content addresses: a path whose name follows from its contents needs nobody's
 * signature, if it really does.
 *
 * Source: src/libstore/store-api.cc (makeStorePath, makeFixedOutputPath,
 * makeTextPath), content-address.cc.  A store path's hash part is
 *   sha256("<type>:sha256:<hex digest>:<store dir>:<name>") folded to 20 bytes
 * where
 *   text:sha256:D          type "text[:<reference>...]", digest D
 *   fixed:r:sha256:D       type "source[:<reference>...][:self]", digest D
 *   fixed:[r:|git:]A:D     type "output:out", digest of
 *                          "fixed:out:[r:|git:]A:<hex D>:"; no references
 * and D is of the file's contents (text, fixed), of the NAR (r), or of a git
 * tree (git).
 *
 * No I/O; any thread.
 */
#ifndef CA_H
#define CA_H

#include <stddef.h>

#include "narinfo.h"
#include "verify.h"

enum ca_rc {
	CA_NONE, /* the narinfo has no CA */
	CA_GOOD, /* path and contents are what it says */
	CA_PATH, /* the path is; the contents are hashed in a way we don't */
	CA_WRONG, /* err says what */
};

/*
 * Check ni's CA.  v is what was found out about its NAR, NULL when nothing
 * was: then the contents count as not checked.
 */
enum ca_rc ca_check(const struct narinfo *ni, const struct verified *v,
    char *err, size_t errsize);

#endif
