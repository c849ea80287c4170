/* What every unit test program has in common: a main for one suite. */
#ifndef UNIT_H
#define UNIT_H

#include <sys/stat.h>

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

#include <check.h>

#define nitems(a) (sizeof(a) / sizeof((a)[0]))

/* Where the tests of this program keep their files: see scratch.h. */
static char unit_dir[64] = "/tmp/tmpnix-check.XXXXXX";

static inline int
unit_rm(const char *path, const struct stat *st, int type, struct FTW *f)
{
	(void)st;
	(void)type;
	(void)f;
	return remove(path);
}

/*
 * Run s in fork mode and return main's exit status.  What a test that failed
 * or crashed left behind goes here, in the parent.
 */
static inline int
unit_main(Suite *s)
{
	SRunner *r = srunner_create(s);
	int failed;

	if (mkdtemp(unit_dir) == NULL)
		return EXIT_FAILURE;
	srunner_run_all(r, CK_ENV);
	nftw(unit_dir, unit_rm, 16, FTW_DEPTH | FTW_PHYS);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* Add a case of n rows run by a loop test. */
#define UNIT_ROWS(suite, name, test, n)                                        \
	do {                                                                   \
		TCase *tc_ = tcase_create(name);                               \
		tcase_add_loop_test(tc_, test, 0, (int)(n));                   \
		suite_add_tcase(suite, tc_);                                   \
	} while (0)

#endif
