#include "config.h"

#include <string.h>

#include "unit.h"

#include "base32.h"
#include "hash.h"

/* From nix-hash --flat --type sha256 --base32 (Nix 2.8), and FIPS 180-2. */
static const struct {
	const char *what;
	const char *text;
	const char *base32;
} vectors[] = {
	{ "nothing", "",
	    "0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73" },
	{ "hello", "hello",
	    "094qif9n4cq4fdg459qzbhg1c6wywawwaaivx0k0x8xhbyx4vwic" },
	{ "abc", "abc",
	    "1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s" },
};

START_TEST(vector)
{
	const char *text = vectors[_i].text;
	char b32[DIGEST_BASE32 + 1];
	struct digest d, e;

	hash_sha256(text, strlen(text), &d);
	digest_to_base32(&d, b32);
	ck_assert_str_eq(b32, vectors[_i].base32);
	ck_assert_int_eq(digest_from_base32(b32, DIGEST_BASE32, &e), 0);
	ck_assert(digest_equal(&d, &e));
}
END_TEST

START_TEST(pieces_are_the_whole)
{
	struct hash *h = hash_new();
	uint8_t data[1000];
	struct digest whole, pieces;
	size_t i, n;

	for (i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7);
	hash_sha256(data, sizeof(data), &whole);
	ck_assert_ptr_nonnull(h);
	for (i = 0; i < sizeof(data); i += n) {
		n = i % 90 + 1;
		if (n > sizeof(data) - i)
			n = sizeof(data) - i;
		hash_add(h, data + i, n);
	}
	hash_add(h, data, 0);
	hash_final(h, &pieces);
	ck_assert(digest_equal(&whole, &pieces));
	hash_free(h);
}
END_TEST

START_TEST(reset_starts_over)
{
	struct hash *h = hash_new();
	struct digest want, got;

	hash_sha256("abc", 3, &want);
	hash_add(h, "something else", 14);
	hash_reset(h);
	hash_add(h, "abc", 3);
	hash_final(h, &got);
	ck_assert(digest_equal(&want, &got));
	hash_reset(h);
	hash_add(h, "ab", 2);
	hash_final(h, &got);
	ck_assert(!digest_equal(&want, &got));
	hash_free(h);
}
END_TEST

START_TEST(free_of_null)
{
	hash_free(NULL);
}
END_TEST

START_TEST(equal_looks_at_every_byte)
{
	struct digest a, b;

	memset(&a, 0, sizeof(a));
	b = a;
	ck_assert(digest_equal(&a, &b));
	b.b[_i] = 1;
	ck_assert(!digest_equal(&a, &b));
}
END_TEST

static const struct {
	const char *what;
	const char *text;
} bad[] = {
	{ "nothing", "" },
	{ "short", "94qif9n4cq4fdg459qzbhg1c6wywawwaaivx0k0x8xhbyx4vwic" },
	{ "long", "0094qif9n4cq4fdg459qzbhg1c6wywawwaaivx0k0x8xhbyx4vwic" },
	{ "over 256 bits",
	    "294qif9n4cq4fdg459qzbhg1c6wywawwaaivx0k0x8xhbyx4vwic" },
	{ "alphabet", "094qif9n4cq4fdg459qzbhg1c6wywawwaaivx0k0x8xhbyx4vwie" },
};

START_TEST(malformed)
{
	struct digest d;

	ck_assert_msg(
	    digest_from_base32(bad[_i].text, strlen(bad[_i].text), &d) == -1,
	    "%s", bad[_i].what);
}
END_TEST

/* RFC 4231, test cases 1, 2 and 7 (a key longer than a block). */
static const struct {
	const char *key;
	size_t keylen; /* of that many of its first byte; 0: as it is */
	const char *text;
	const char *hex;
} hmacs[] = {
	{ "\x0b", 20, "Hi There",
	    "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff"
	    "7" },
	{ "Jefe", 0, "what do ya want for nothing?",
	    "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec384"
	    "3" },
	{ "\xaa", 131,
	    "This is a test using a larger than block-size key and a larger "
	    "than block-size data. The key needs to be hashed before being "
	    "used by the HMAC algorithm.",
	    "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e"
	    "2" },
};

START_TEST(hmac)
{
	char key[256], hex[2 * DIGEST_BYTES + 1];
	size_t n = hmacs[_i].keylen;
	struct digest d;

	if (n == 0) {
		n = strlen(hmacs[_i].key);
		memcpy(key, hmacs[_i].key, n);
	} else
		memset(key, hmacs[_i].key[0], n);
	hash_hmac(key, n, hmacs[_i].text, strlen(hmacs[_i].text), &d);
	hex_encode(d.b, DIGEST_BYTES, hex);
	ck_assert_str_eq(hex, hmacs[_i].hex);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("hash");

	UNIT_ROWS(s, "vector", vector, nitems(vectors));
	UNIT_ROWS(s, "pieces", pieces_are_the_whole, 1);
	UNIT_ROWS(s, "reset", reset_starts_over, 1);
	UNIT_ROWS(s, "free", free_of_null, 1);
	UNIT_ROWS(s, "equal", equal_looks_at_every_byte, DIGEST_BYTES);
	UNIT_ROWS(s, "malformed", malformed, nitems(bad));
	UNIT_ROWS(s, "hmac", hmac, nitems(hmacs));
	return unit_main(s);
}
