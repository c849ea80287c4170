/*
 * X-Forwarded-For: whatever it is, the client is the peer, or an address that
 * is written there; from a peer that is not trusted it is the peer.
 */
#include "config.h"

#include <string.h>

#include "fuzz.h"
#include "netaddr.h"

static struct netaddr
address(const char *s)
{
	struct netaddr a;

	MUST(netaddr_parse(s, strlen(s), &a) == 0);
	return a;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct netblock list[2], b;
	const struct netblocks trusted = { list, 2 };
	const struct netaddr proxy = address("10.0.0.1"),
			     other = address("192.0.2.1");
	struct netaddr a;
	char text[4097], printed[NETADDR_TEXT];

	if (size >= sizeof(text))
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	MUST(netblock_parse("10.0.0.0/8", 10, &list[0]) == 0);
	MUST(netblock_parse("2001:db8::/32", 13, &list[1]) == 0);

	a = other;
	netaddr_forwarded(&trusted, text, &a);
	MUST(netaddr_equal(&a, &other));

	a = proxy;
	netaddr_forwarded(&trusted, text, &a);
	netaddr_print(&a, printed);
	MUST(netaddr_parse(printed, strlen(printed), &a) == 0);

	if (netblock_parse(text, strlen(text), &b) == 0)
		MUST(b.bits <= 128 && netblock_has(&b, &b.first));
	return 0;
}
