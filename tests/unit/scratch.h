/* A scratch directory for one test, and small things the tests of modules that
 * do I/O have in common.  Failures are the test's. */
#ifndef SCRATCH_H
#define SCRATCH_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <check.h>

#include "unit.h"

static char scratch[96];

static inline void
scratch_make(void)
{
	snprintf(scratch, sizeof(scratch), "%s/XXXXXX", unit_dir);
	ck_assert_ptr_nonnull(mkdtemp(scratch));
}

static inline void
scratch_remove(void)
{
	nftw(scratch, unit_rm, 16, FTW_DEPTH | FTW_PHYS);
}

/* "<scratch>/<name>", in one of a few buffers used in turn. */
static inline const char *
scratch_path(const char *name)
{
	static char paths[8][512];
	static unsigned int next;
	char *p = paths[next++ % 8];

	snprintf(p, sizeof(paths[0]), "%s/%s", scratch, name);
	return p;
}

static inline bool
scratch_exists(const char *name)
{
	return access(scratch_path(name), F_OK) == 0;
}

/* A file with these bytes. */
static inline void
scratch_write(const char *name, const void *p, size_t n)
{
	FILE *f = fopen(scratch_path(name), "w");

	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(p, 1, n, f), n);
	ck_assert_int_eq(fclose(f), 0);
}

#endif
