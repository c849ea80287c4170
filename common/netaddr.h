/*
 * Addresses of the internet, networks, and whose request it is when proxies
 * stand in front of the web server.
 *
 * An IPv4 address and the IPv6 address it is mapped to (::ffff:192.0.2.1) are
 * the same one here, as they are the same host.
 *
 * No I/O, no state; any thread.
 */
#ifndef NETADDR_H
#define NETADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct netaddr {
	uint8_t b[16]; /* IPv6; IPv4 mapped into it */
};

/* Room for the text of any address, NUL included. */
#define NETADDR_TEXT 46

/* Parse (p, n), an address and nothing else: 0, or -1. */
int netaddr_parse(const char *p, size_t n, struct netaddr *a);

struct sockaddr;
/* The address of an IP socket: 0, or -1 for another kind. */
int netaddr_of_socket(const struct sockaddr *sa, struct netaddr *a);

/* The one way a is written: 192.0.2.1, 2001:db8::1. */
void netaddr_print(const struct netaddr *a, char text[NETADDR_TEXT]);

bool netaddr_is_ipv4(const struct netaddr *a);
bool netaddr_equal(const struct netaddr *a, const struct netaddr *b);

/* The addresses that begin with the same bits. */
struct netblock {
	struct netaddr first;
	unsigned int bits; /* of the 128 */
};

/* Parse ADDRESS or ADDRESS/BITS; bits of the address behind BITS must be 0,
 * as they would mean nothing.  0, or -1. */
int netblock_parse(const char *p, size_t n, struct netblock *b);
bool netblock_has(const struct netblock *b, const struct netaddr *a);

/* Networks, their number; {NULL, 0} has no address in it. */
struct netblocks {
	struct netblock *list;
	size_t n;
};

bool netblocks_have(const struct netblocks *bs, const struct netaddr *a);

/*
 * Whose request came from *a with this X-Forwarded-For: *a becomes the
 * right-most address there that is not trusted, when *a is trusted, and so is
 * every address right of it.  Each proxy adds the address that it was asked
 * from at the right end: what stands left of one that nobody trusts anybody
 * may have written.  At something that is no address it ends too: *a is the
 * proxy then that passed it on.
 */
void netaddr_forwarded(
    const struct netblocks *trusted, const char *forwarded, struct netaddr *a);

#endif
