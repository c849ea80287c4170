/*
 * What the fuzz targets have in common.  Each is one file with
 *
 *   LLVMFuzzerTestOneInput(data, size)   asserts properties of one parser
 *
 * linked with libFuzzer (configure --enable-fuzzing), or with replay.c, which
 * runs it over the files of corpus/ in `make check`.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* assert() that no CPPFLAGS can switch off. */
#define MUST(x)                                                                \
	do {                                                                   \
		if (!(x)) {                                                    \
			fprintf(stderr, "%s:%d: not true: %s\n", __FILE__,     \
			    __LINE__, #x);                                     \
			abort();                                               \
		}                                                              \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
