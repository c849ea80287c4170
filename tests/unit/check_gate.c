#include "config.h"

#include <stdio.h>
#include <string.h>

#include "gate.h"
#include "log.h"
#include "unit.h"

static struct gate *g;

static void
setup(void)
{
	ck_assert_ptr_nonnull(g = gate_new());
}

static void
teardown(void)
{
	gate_free(g);
	gate_free(NULL);
}

static unsigned int
failures(const char *address, unsigned int times, int64_t now)
{
	struct netaddr a;
	unsigned int rate = 0;

	if (address != NULL)
		ck_assert_int_eq(
		    netaddr_parse(address, strlen(address), &a), 0);
	while (times-- > 0)
		rate = gate_failed(g, address != NULL ? &a : NULL, now);
	return rate;
}

START_TEST(slow_from_the_sixth)
{
	ck_assert_uint_eq(failures("192.0.2.1", 5, 1000), 0);
	ck_assert_uint_eq(failures("192.0.2.1", 1, 1000), 32);
	ck_assert_uint_eq(failures("192.0.2.1", 13, 1000), 32);
	ck_assert_uint_eq(failures("192.0.2.1", 1, 1000), 8);
	ck_assert_uint_eq(failures("192.0.2.1", 1000, 1000), 8);
	/* Others are not. */
	ck_assert_uint_eq(failures("192.0.2.2", 1, 1000), 0);
}
END_TEST

START_TEST(forgotten_after_ten_minutes)
{
	ck_assert_uint_eq(failures("192.0.2.1", 30, 1000), 8);
	ck_assert_uint_eq(failures("192.0.2.1", 1, 1600), 8);
	ck_assert_uint_eq(failures("192.0.2.1", 1, 2201), 0);
}
END_TEST

START_TEST(a_network_of_ipv6_is_one)
{
	ck_assert_uint_eq(failures("2001:db8::1", 5, 1000), 0);
	ck_assert_uint_eq(failures("2001:db8::ffff:2", 1, 1000), 32);
	ck_assert_uint_eq(failures("2001:db8:0:1::1", 1, 1000), 0);
	ck_assert_uint_eq(failures("192.0.2.1", 5, 1000), 0);
	/* An IPv4 address written as IPv6 is itself, not its /64. */
	ck_assert_uint_eq(failures("::ffff:192.0.2.1", 1, 1000), 32);
	ck_assert_uint_eq(failures("::ffff:192.0.2.2", 1, 1000), 0);
	/* Those that are not known are one too. */
	ck_assert_uint_eq(failures(NULL, 5, 1000), 0);
	ck_assert_uint_eq(failures(NULL, 1, 1000), 32);
}
END_TEST

/* More addresses than are kept push out the oldest, not the latest. */
START_TEST(memory_is_bounded)
{
	char address[32];
	int i;

	ck_assert_uint_eq(failures("192.0.2.1", 6, 5000), 32);
	for (i = 0; i < 3000; i++) {
		snprintf(
		    address, sizeof(address), "10.0.%d.%d", i / 256, i % 256);
		ck_assert_uint_eq(failures(address, 1, 4000), 0);
	}
	ck_assert_uint_eq(failures("192.0.2.1", 1, 5001), 32);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("gate");
	TCase *tc = tcase_create("failures");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, slow_from_the_sixth);
	tcase_add_test(tc, forgotten_after_ten_minutes);
	tcase_add_test(tc, a_network_of_ipv6_is_one);
	tcase_add_test(tc, memory_is_bounded);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
