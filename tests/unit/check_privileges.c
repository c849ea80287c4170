#include "config.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <linux/securebits.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdbool.h>

#include "log.h"
#include "privileges.h"
#include "scratch.h"
#include "unit.h"

#define NOBODY 65534

static bool
is_root(void)
{
	if (geteuid() == 0)
		return true;
	printf("not root: not tested\n");
	return false;
}

START_TEST(seal)
{
	struct rlimit rl;

	privileges_seal();
	ck_assert_int_eq(getrlimit(RLIMIT_CORE, &rl), 0);
	ck_assert_uint_eq(rl.rlim_cur, 0);
	ck_assert_uint_eq(rl.rlim_max, 0);
	ck_assert_int_eq(prctl(PR_GET_DUMPABLE), 0);
	ck_assert_uint_eq(umask(0), 077);
}
END_TEST

START_TEST(drop)
{
	gid_t groups[8];
	uid_t r, e, s;

	if (!is_root())
		return;
	scratch_make();
	ck_assert_int_eq(chmod(scratch, 0755), 0);
	scratch_write("roots", "x", 1);
	ck_assert_int_eq(chmod(scratch_path("roots"), 0600), 0);
	privileges_drop(NOBODY, NOBODY);
	ck_assert_int_eq(getresuid(&r, &e, &s), 0);
	ck_assert(r == NOBODY && e == NOBODY && s == NOBODY);
	ck_assert_int_eq(getegid(), NOBODY);
	/* None of root's groups is left. */
	ck_assert_int_eq(getgroups(8, groups), 1);
	ck_assert_int_eq(groups[0], NOBODY);
	ck_assert_int_eq(setuid(0), -1);
	ck_assert_int_eq(open(scratch_path("roots"), O_RDONLY), -1);
	ck_assert_int_eq(prctl(PR_GET_DUMPABLE), 0);
}
END_TEST

/* A user without a name, and a group that is not the user's. */
START_TEST(numbers)
{
	gid_t groups[8];

	if (!is_root())
		return;
	privileges_drop(54321, 54322);
	ck_assert_int_eq(geteuid(), 54321);
	ck_assert_int_eq(getegid(), 54322);
	ck_assert_int_eq(getgroups(8, groups), 1);
	ck_assert_int_eq(groups[0], 54322);
}
END_TEST

START_TEST(stay_root)
{
	if (!is_root())
		return;
	privileges_drop(0, 0);
	ck_assert_int_eq(geteuid(), 0);
}
END_TEST

/* Rights that a change of user leaves: it ends, by fatal, with status 1. */
START_TEST(way_back)
{
	if (!is_root())
		exit(1);
	ck_assert_int_eq(
	    prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0), 0);
	privileges_drop(NOBODY, NOBODY);
}
END_TEST

START_TEST(no_new)
{
	privileges_no_new();
	ck_assert_int_eq(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("privileges");
	TCase *tc = tcase_create("privileges");

	log_init("check_privileges", true, LOG_LVL_INFO);
	tcase_add_test(tc, seal);
	tcase_add_test(tc, drop);
	tcase_add_test(tc, numbers);
	tcase_add_test(tc, stay_root);
	tcase_add_exit_test(tc, way_back, 1);
	tcase_add_test(tc, no_new);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
