#include "config.h"

#include "netaddr.h"

#include <sys/socket.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include <string.h>

#include "num.h"

/* Where IPv4 is in IPv6 (RFC 4291, 2.5.5.2). */
static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

int
netaddr_parse(const char *p, size_t n, struct netaddr *a)
{
	char text[NETADDR_TEXT];

	if (n >= sizeof(text) || memchr(p, '\0', n) != NULL)
		return -1;
	memcpy(text, p, n);
	text[n] = '\0';
	if (inet_pton(AF_INET, text, a->b + sizeof(mapped)) == 1) {
		memcpy(a->b, mapped, sizeof(mapped));
		return 0;
	}
	return inet_pton(AF_INET6, text, a->b) == 1 ? 0 : -1;
}

int
netaddr_of_socket(const struct sockaddr *sa, struct netaddr *a)
{
	const struct sockaddr_in *in = (const void *)sa;
	const struct sockaddr_in6 *in6 = (const void *)sa;

	switch (sa->sa_family) {
	case AF_INET:
		memcpy(a->b, mapped, sizeof(mapped));
		memcpy(a->b + sizeof(mapped), &in->sin_addr, 4);
		return 0;
	case AF_INET6:
		memcpy(a->b, &in6->sin6_addr, sizeof(a->b));
		return 0;
	default:
		return -1;
	}
}

bool
netaddr_is_ipv4(const struct netaddr *a)
{
	return memcmp(a->b, mapped, sizeof(mapped)) == 0;
}

bool
netaddr_equal(const struct netaddr *a, const struct netaddr *b)
{
	return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

void
netaddr_print(const struct netaddr *a, char text[NETADDR_TEXT])
{
	if (netaddr_is_ipv4(a))
		inet_ntop(AF_INET, a->b + sizeof(mapped), text, NETADDR_TEXT);
	else
		inet_ntop(AF_INET6, a->b, text, NETADDR_TEXT);
}

/* The i-th bit of a. */
static bool
bit(const struct netaddr *a, unsigned int i)
{
	return (a->b[i / 8] & (0x80u >> (i % 8))) != 0;
}

int
netblock_parse(const char *p, size_t n, struct netblock *b)
{
	const char *slash = memchr(p, '/', n);
	size_t len = slash == NULL ? n : (size_t)(slash - p);
	unsigned int i, before;
	uint64_t bits;

	if (netaddr_parse(p, len, &b->first) == -1)
		return -1;
	b->bits = 128;
	if (slash != NULL) {
		/* As it is written, not as it is kept. */
		before = memchr(p, ':', len) == NULL ? 96 : 0;
		if (num_parse(slash + 1, n - len - 1, 128 - before, &bits) ==
		    -1)
			return -1;
		b->bits = before + (unsigned int)bits;
	}
	for (i = b->bits; i < 128; i++)
		if (bit(&b->first, i))
			return -1;
	return 0;
}

bool
netblock_has(const struct netblock *b, const struct netaddr *a)
{
	unsigned int i;

	for (i = 0; i < b->bits; i++)
		if (bit(&b->first, i) != bit(a, i))
			return false;
	return true;
}

bool
netblocks_have(const struct netblocks *bs, const struct netaddr *a)
{
	size_t i;

	for (i = 0; i < bs->n; i++)
		if (netblock_has(&bs->list[i], a))
			return true;
	return false;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/*
 * One element of X-Forwarded-For: an address, and what some proxies write,
 * [IPV6], [IPV6]:PORT and IPV4:PORT.
 */
static int
parse_element(const char *p, size_t n, struct netaddr *a)
{
	const char *end;

	if (n > 0 && p[0] == '[') {
		end = memchr(p, ']', n);
		if (end == NULL || (end + 1 < p + n && end[1] != ':') ||
		    memchr(p, ':', (size_t)(end - p)) == NULL)
			return -1;
		return netaddr_parse(p + 1, (size_t)(end - p) - 1, a);
	}
	end = memchr(p, ':', n);
	if (end != NULL && memchr(p, '.', (size_t)(end - p)) != NULL)
		n = (size_t)(end - p);
	return netaddr_parse(p, n, a);
}

void
netaddr_forwarded(
    const struct netblocks *trusted, const char *forwarded, struct netaddr *a)
{
	size_t start, end = strlen(forwarded), first, last;
	struct netaddr next;

	while (end > 0 && netblocks_have(trusted, a)) {
		for (start = end; start > 0 && forwarded[start - 1] != ',';
		     start--)
			;
		for (first = start; first < end && is_blank(forwarded[first]);
		     first++)
			;
		for (last = end; last > first && is_blank(forwarded[last - 1]);
		     last--)
			;
		if (parse_element(forwarded + first, last - first, &next) == -1)
			return;
		*a = next;
		/* Behind the comma that ends what is left. */
		end = start > 0 ? start - 1 : 0;
	}
}
