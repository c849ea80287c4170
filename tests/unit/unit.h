/* What every unit test program has in common: a main for one suite. */
#ifndef UNIT_H
#define UNIT_H

#include <stdlib.h>

#include <check.h>

#define nitems(a) (sizeof(a) / sizeof((a)[0]))

/* Run s in fork mode and return main's exit status. */
static inline int
unit_main(Suite *s)
{
	SRunner *r = srunner_create(s);
	int failed;

	srunner_run_all(r, CK_ENV);
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
