/*
 * The grammar of a NAR, walked strictly while its bytes go by.
 *
 * Source: Nix manual, "Nix Archive (NAR) format"; src/libutil/archive.cc.
 *
 *   nar     = str("nix-archive-1") node
 *   node    = str("(") str("type") kind str(")")
 *   kind    = str("regular") [ str("executable") str("") ]
 *             str("contents") str(bytes)
 *           | str("symlink") str("target") str(target)
 *           | str("directory") *entry
 *   entry   = str("entry") str("(") str("name") str(name)
 *             str("node") node str(")")
 *   str(s)  = length in 8 bytes, little endian; s; zeros up to a multiple of 8
 *
 * Names of a directory ascend strictly, byte by byte; each has 1 to 255 bytes,
 * no slash and no NUL, and is not "." or "..".  A target has 1 to 4095 bytes
 * and no NUL.  What no file system could hold is refused: a path of 4096 bytes
 * or more.  Nothing follows the archive.
 *
 * The memory is the same whatever the NAR says.  No I/O, no log; a struct nar
 * belongs to one thread.
 */
#ifndef NAR_H
#define NAR_H

#include <stddef.h>
#include <stdint.h>

#include "buf.h"

#define NAR_NAME_MAX 255
#define NAR_TARGET_MAX 4095
#define NAR_PATH_MAX 4095

struct nar;

/*
 * Walk a NAR.  listing (NULL: none) receives what Nix calls a listing, the
 * JSON that stands in <hash>.ls; it fails (buf_failed) when it passes the
 * buffer's maximum or a name is not UTF-8, which JSON can't say.  file (NULL:
 * not wanted) is called with the contents of a NAR that is one regular file.
 * NULL without memory.
 */
struct nar *nar_new(struct buf *listing,
    void (*file)(void *arg, const void *p, size_t n), void *arg);
void nar_free(struct nar *n);

/* The next bytes: 0, or -1 when they break a rule, as all further calls do. */
int nar_add(struct nar *n, const void *p, size_t len);

/* There are no more: 0, or -1 when the archive is not complete. */
int nar_end(struct nar *n);

/* Which rule was broken; one line of ASCII, "" when none was. */
const char *nar_error(const struct nar *n);

/* What the archive is, once nar_end said 0. */
enum nar_root { NAR_FILE, NAR_EXECUTABLE, NAR_SYMLINK, NAR_DIRECTORY };
enum nar_root nar_root(const struct nar *n);

#endif
