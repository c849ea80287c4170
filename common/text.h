/*
 * Text of other programs, made fit to be shown to people.
 *
 * No I/O, no state; any thread.
 */
#ifndef TEXT_H
#define TEXT_H

#include <stddef.h>

#include "buf.h"

/*
 * Append the last lines of (p, n), at most max bytes, to out: whole lines
 * unless the last one alone is longer, each ended by LF, blank ones left out.
 * Terminals' control sequences (ESC [ ... and ESC ] ...) are dropped, a tab
 * becomes a blank, other control characters (DEL and U+0080 to U+009F
 * included) are dropped, and bytes that are no UTF-8 become "?".
 */
void text_tail(const char *p, size_t n, size_t max, struct buf *out);

#endif
