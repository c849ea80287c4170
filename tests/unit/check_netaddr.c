#include "config.h"

#include <string.h>

#include "unit.h"

#include "netaddr.h"

/* What is written, and how it is written then; NULL: refused. */
static const struct {
	const char *text, *printed;
} addresses[] = {
	{ "192.0.2.1", "192.0.2.1" },
	{ "0.0.0.0", "0.0.0.0" },
	{ "255.255.255.255", "255.255.255.255" },
	{ "2001:db8::1", "2001:db8::1" },
	{ "2001:DB8:0:0:0:0:0:1", "2001:db8::1" },
	{ "::", "::" },
	{ "::1", "::1" },
	{ "::ffff:192.0.2.1", "192.0.2.1" },
	{ "::ffff:c000:201", "192.0.2.1" },
	{ "2001:db8:1111:2222:3333:4444:5555:6666",
	    "2001:db8:1111:2222:3333:4444:5555:6666" },
	{ "", NULL },
	{ "unix:", NULL },
	{ "unknown", NULL },
	{ "192.0.2", NULL },
	{ "192.0.2.256", NULL },
	{ "192.0.2.01", NULL },
	{ "192.0.2.1 ", NULL },
	{ " 192.0.2.1", NULL },
	{ "192.0.2.1:80", NULL },
	{ "[::1]", NULL },
	{ "fe80::1%eth0", NULL },
	{ "1::2::3", NULL },
	{ "10.0.0.0/8", NULL },
	{ "0000:0000:0000:0000:0000:0000:255.255.255.255000000", NULL },
};

START_TEST(address)
{
	const char *text = addresses[_i].text;
	char printed[NETADDR_TEXT];
	struct netaddr a, again;

	if (addresses[_i].printed == NULL) {
		ck_assert_int_eq(netaddr_parse(text, strlen(text), &a), -1);
		return;
	}
	ck_assert_int_eq(netaddr_parse(text, strlen(text), &a), 0);
	netaddr_print(&a, printed);
	ck_assert_str_eq(printed, addresses[_i].printed);
	ck_assert_int_eq(netaddr_parse(printed, strlen(printed), &again), 0);
	ck_assert(netaddr_equal(&a, &again));
}
END_TEST

START_TEST(a_nul_is_no_end)
{
	struct netaddr a;

	ck_assert_int_eq(netaddr_parse("192.0.2.1\0x", 11, &a), -1);
	ck_assert_int_eq(netaddr_parse("192.0.2.12", 9, &a), 0);
}
END_TEST

/* A network; an address in it and one that is not; NULL: refused. */
static const struct {
	const char *text, *in, *out;
} blocks[] = {
	{ "192.0.2.1", "192.0.2.1", "192.0.2.2" },
	{ "192.0.2.1/32", "::ffff:192.0.2.1", "192.0.2.0" },
	{ "10.0.0.0/8", "10.255.255.255", "11.0.0.0" },
	{ "192.0.2.128/25", "192.0.2.200", "192.0.2.127" },
	{ "0.0.0.0/0", "255.1.2.3", "::1" },
	{ "::ffff:10.0.0.0/104", "10.1.2.3", "11.0.0.0" },
	{ "2001:db8::/32", "2001:db8:ffff::1", "2001:db9::" },
	{ "2001:db8::1", "2001:db8::1", "2001:db8::2" },
	{ "::1/128", "::1", "127.0.0.1" },
	{ "fc00::/7", "fdff::", "fe00::" },
	{ "::/1", "192.0.2.1", "8000::" },
	{ "10.0.0.1/8", NULL, NULL },
	{ "2001:db8::1/64", NULL, NULL },
	{ "10.0.0.0/33", NULL, NULL },
	{ "::/129", NULL, NULL },
	{ "10.0.0.0/", NULL, NULL },
	{ "10.0.0.0/8/8", NULL, NULL },
	{ "10.0.0.0/-1", NULL, NULL },
	{ "10.0.0.0/255.0.0.0", NULL, NULL },
	{ "/8", NULL, NULL },
	{ "10/8", NULL, NULL },
	{ "localhost", NULL, NULL },
	{ "", NULL, NULL },
};

static struct netaddr
parsed(const char *text)
{
	struct netaddr a;

	ck_assert_msg(netaddr_parse(text, strlen(text), &a) == 0, "%s", text);
	return a;
}

START_TEST(block)
{
	const char *text = blocks[_i].text;
	struct netaddr in, out;
	struct netblock b;

	if (blocks[_i].in == NULL) {
		ck_assert_int_eq(netblock_parse(text, strlen(text), &b), -1);
		return;
	}
	ck_assert_int_eq(netblock_parse(text, strlen(text), &b), 0);
	in = parsed(blocks[_i].in);
	out = parsed(blocks[_i].out);
	ck_assert(netblock_has(&b, &in));
	ck_assert(!netblock_has(&b, &out));
}
END_TEST

/* Trusted are 10.0.0.0/8 and 2001:db8::/32. */
static const struct {
	const char *peer, *forwarded, *client;
} chains[] = {
	/* From somebody who is not trusted nothing is believed. */
	{ "192.0.2.1", "198.51.100.1", "192.0.2.1" },
	{ "192.0.2.1", "10.0.0.1", "192.0.2.1" },
	{ "::1", "198.51.100.1", "::1" },
	/* One proxy, several. */
	{ "10.0.0.1", "198.51.100.1", "198.51.100.1" },
	{ "::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1" },
	{ "2001:db8::1", "2001:db9::1", "2001:db9::1" },
	{ "10.0.0.1", "198.51.100.1, 10.0.0.2", "198.51.100.1" },
	{ "10.0.0.1", "198.51.100.1,10.0.0.2,2001:db8::7", "198.51.100.1" },
	/* What the client wrote itself is left of its address. */
	{ "10.0.0.1", "127.0.0.1, 198.51.100.1", "198.51.100.1" },
	{ "10.0.0.1", "10.9.9.9, 198.51.100.1, 10.0.0.2", "198.51.100.1" },
	{ "10.0.0.1", "junk, 198.51.100.1", "198.51.100.1" },
	{ "10.0.0.1", "\"a, 198.51.100.1", "198.51.100.1" },
	/* Trusted ones only: the one it came from first. */
	{ "10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3" },
	/* Nothing, or no address: it ends there. */
	{ "10.0.0.1", "", "10.0.0.1" },
	{ "10.0.0.1", " ", "10.0.0.1" },
	{ "10.0.0.1", ",", "10.0.0.1" },
	{ "10.0.0.1", "198.51.100.1,", "10.0.0.1" },
	{ "10.0.0.1", "198.51.100.1, unknown", "10.0.0.1" },
	{ "10.0.0.1", "198.51.100.1, unknown, 10.0.0.2", "10.0.0.2" },
	{ "10.0.0.1", "198.51.100.1 10.0.0.2", "10.0.0.1" },
	{ "10.0.0.1", "198.51.100.1;10.0.0.2", "10.0.0.1" },
	{ "10.0.0.1", "198.51.100.999", "10.0.0.1" },
	/* Blanks, ports and brackets. */
	{ "10.0.0.1", "\t198.51.100.1  ,\t10.0.0.2 ", "198.51.100.1" },
	{ "10.0.0.1", "198.51.100.1:4711", "198.51.100.1" },
	{ "10.0.0.1", "[2001:db9::1]:4711", "2001:db9::1" },
	{ "10.0.0.1", "[2001:db9::1]", "2001:db9::1" },
	{ "10.0.0.1", "2001:db9::1", "2001:db9::1" },
	{ "10.0.0.1", "::ffff:198.51.100.1", "198.51.100.1" },
	{ "10.0.0.1", "198.51.100.1, ::ffff:10.0.0.2", "198.51.100.1" },
	{ "10.0.0.1", "[198.51.100.1]", "10.0.0.1" },
	{ "10.0.0.1", "[2001:db9::1", "10.0.0.1" },
	{ "10.0.0.1", "[2001:db9::1]x", "10.0.0.1" },
	{ "10.0.0.1", "[]", "10.0.0.1" },
	{ "10.0.0.1", "[", "10.0.0.1" },
};

START_TEST(chain)
{
	struct netblock list[2];
	const struct netblocks trusted = { list, 2 }, nobody = { NULL, 0 };
	struct netaddr a = parsed(chains[_i].peer), same = a;
	char text[NETADDR_TEXT];

	ck_assert_int_eq(netblock_parse("10.0.0.0/8", 10, &list[0]), 0);
	ck_assert_int_eq(netblock_parse("2001:db8::/32", 13, &list[1]), 0);
	netaddr_forwarded(&trusted, chains[_i].forwarded, &a);
	netaddr_print(&a, text);
	ck_assert_str_eq(text, chains[_i].client);
	a = same;
	netaddr_forwarded(&nobody, chains[_i].forwarded, &a);
	ck_assert(netaddr_equal(&a, &same));
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("netaddr");
	TCase *tc = tcase_create("bytes");

	UNIT_ROWS(s, "addresses", address, nitems(addresses));
	UNIT_ROWS(s, "networks", block, nitems(blocks));
	UNIT_ROWS(s, "forwarded", chain, nitems(chains));
	tcase_add_test(tc, a_nul_is_no_end);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
