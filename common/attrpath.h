/*
 * The grammar of attribute paths, as nix-instantiate -A takes them: names with
 * dots between.
 *
 *   path  = name *("." name)
 *   name  = plain / quoted
 *   plain = (letter / digit / "_") *(letter / digit / "_" / "'" / "-")
 *   quoted = DQUOTE 1*(letter / digit / "_" / "'" / "-" / "+" / "." / "@" /
 *            "/" / ":") DQUOTE
 *
 * Source: Nix manual, "Identifiers" and nix-instantiate(1); attr-path.cc
 * (parseAttrPath).  Digits may come first since a list's element is named by
 * its number.  Nix takes any text between quotes; what packages are named by is
 * enough here, and keeps a path free of blanks, "$", "\" and control
 * characters.  A path never begins with "-": it can't be taken for an option.
 *
 * No I/O, no state; any thread.
 */
#ifndef ATTRPATH_H
#define ATTRPATH_H

#include <stdbool.h>
#include <stddef.h>

#define ATTRPATH_MAX 512

/* Is (p, n) an attribute path of 1 to ATTRPATH_MAX bytes? */
bool attrpath_ok(const char *p, size_t n);

#endif
