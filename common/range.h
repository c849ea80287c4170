/*
 * What a reader asks of an object that it may have already, whole or in part:
 * If-None-Match, If-Range and Range (RFC 9110, 13.1 and 14.2).  Strings alone:
 * no request, no file.
 */
#ifndef RANGE_H
#define RANGE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Is etag, with its quotes, in the list of an If-None-Match (13.1.2)?  A "W/"
 * does not matter, "*" is any tag.  list may be NULL: it is not.
 */
bool range_etag_listed(const char *list, const char *etag);

/* Does a Range count, given If-Range (13.1.5; NULL: there is none)?  A weak tag
 * or a date never match. */
bool range_counts(const char *if_range, const char *etag);

/*
 * The one range of a Range header over size bytes (14.1.2): 1 with *from and *n
 * set, 0 when the header is to be ignored (NULL, several ranges, other units,
 * malformed), -1 when no byte is in it.
 */
int range_parse(const char *s, uint64_t size, uint64_t *from, uint64_t *n);

#endif
