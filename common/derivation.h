/*
 * What we need to know of a derivation: its outputs.
 *
 * A derivation is a store path ending in ".drv", an ATerm:
 *
 *   Derive([("<output>","<path>","<hash algo>","<hash>"),...],...
 *
 * Source: Nix manual, "Derivation - ATerm format"; derivations.cc
 * (parseDerivation).  Strings have \", \\, \n, \r and \t; outputs' strings need
 * none of them, so they are refused there.  A path is empty when it is not
 * known before the build (floating content-addressed).
 *
 * No I/O, no state; any thread.
 */
#ifndef DERIVATION_H
#define DERIVATION_H

#include <stddef.h>

/*
 * Call each for every output of the derivation whose text begins (p, n), in
 * order; name and path are not NUL-terminated.  Stops at the end of the
 * outputs.  0; -1 when it is malformed or each returned non-zero.
 */
int derivation_outputs(const char *p, size_t n,
    int (*each)(const char *name, size_t name_len, const char *path,
	size_t path_len, void *arg),
    void *arg);

#endif
