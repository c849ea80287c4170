#include "config.h"

#include <string.h>

#include "unit.h"

#include "base32.h"

/* From nix-hash (Nix 2.8) over "hello" and over the empty file. */
static const struct {
	const char *what;
	const char *hex;
	const char *base32;
	size_t n;
} vectors[] = {
	{ "nothing", "", "", 0 },
	{ "md5", "5d41402abc4b2a76b9719d911017c592",
	    "4jqlbi14cxf6wpcajbphm40hax", 16 },
	{ "sha1", "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d",
	    "9m1skbnr5i43n3yypvda5s65vhfwdx5a", 20 },
	{ "sha256",
	    "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
	    "094qif9n4cq4fdg459qzbhg1c6wywawwaaivx0k0x8xhbyx4vwic", 32 },
	{ "sha256 of nothing",
	    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
	    "0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73", 32 },
	{ "sha512",
	    "9b71d224bd62f3785d96d46ad3ea3d73319bfbc2890caadae2dff72519673ca7"
	    "2323c3d99ba5c11d7c7acc6e14b8c5da0c4663475c2e5c3adef46f73bcdec043",
	    "11w1pmwfdpz9pisbhp5qiv38q6dmidq2ipcqykw3p0sb6yrqcij79rwcwcjbxyzw"
	    "bdal349qbxrncbk7pmd6snljrfpiwv2pljd4wcv",
	    64 },
};

START_TEST(nix_vector)
{
	const char *hex = vectors[_i].hex, *b32 = vectors[_i].base32;
	size_t n = vectors[_i].n;
	uint8_t a[64], b[64];
	char text[129];

	ck_assert_int_eq(hex_decode(hex, strlen(hex), a, n), 0);
	base32_encode(a, n, text);
	ck_assert_str_eq(text, b32);
	ck_assert_uint_eq(strlen(b32), BASE32_LEN(n));
	ck_assert_int_eq(base32_decode(b32, strlen(b32), b, n), 0);
	ck_assert_mem_eq(a, b, n);
	hex_encode(b, n, text);
	ck_assert_str_eq(text, hex);
}
END_TEST

/* n bytes out of text */
struct row {
	const char *what;
	const char *text;
	size_t len;
	size_t n;
	int rc;
};
#define T(lit) lit, sizeof(lit) - 1

static const struct row base32_rows[] = {
	{ "one byte", T("7z"), 1, 0 },
	{ "spare bits set in one byte", T("8z"), 1, -1 },
	{ "spare bits set in 16 bytes", T("8jqlbi14cxf6wpcajbphm40hax"), 16,
	    -1 },
	{ "all spare bits used in 16 bytes", T("7jqlbi14cxf6wpcajbphm40hax"),
	    16, 0 },
	{ "spare bits set in 32 bytes",
	    T("294qif9n4cq4fdg459qzbhg1c6wywawwaaivx0k0x8xhbyx4vwic"), 32, -1 },
	{ "a character short",
	    T("94qif9n4cq4fdg459qzbhg1c6wywawwaaivx0k0x8xhbyx4vwic"), 32, -1 },
	{ "a character long",
	    T("0094qif9n4cq4fdg459qzbhg1c6wywawwaaivx0k0x8xhbyx4vwic"), 32,
	    -1 },
	{ "e", T("0000000e"), 5, -1 },
	{ "o", T("0000000o"), 5, -1 },
	{ "t", T("0000000t"), 5, -1 },
	{ "u", T("u0000000"), 5, -1 },
	{ "upper case", T("A0000000"), 5, -1 },
	{ "NUL", T("0000000\0"), 5, -1 },
	{ "padding", T("0000000="), 5, -1 },
	{ "not ASCII", T("000000\xc3\xa9"), 5, -1 },
};

START_TEST(base32_row)
{
	const struct row *r = &base32_rows[_i];
	uint8_t out[64];

	ck_assert_msg(
	    base32_decode(r->text, r->len, out, r->n) == r->rc, "%s", r->what);
}
END_TEST

START_TEST(base32_alphabet)
{
	static const char alphabet[] = "0123456789abcdfghijklmnpqrsvwxyz";
	int c;

	for (c = 0; c < 256; c++)
		ck_assert_int_eq(base32_char((char)c),
		    c != 0 && strchr(alphabet, c) != NULL);
}
END_TEST

static const struct row hex_rows[] = {
	{ "both ends of the digits", T("09af"), 2, 0 },
	{ "upper case", T("09AF"), 2, -1 },
	{ "a digit short", T("09a"), 2, -1 },
	{ "a digit long", T("09af0"), 2, -1 },
	{ "not a digit", T("09ag"), 2, -1 },
	{ "a space", T("09 f"), 2, -1 },
	{ "a colon", T("0:af"), 2, -1 },
	{ "NUL", T("09a\0"), 2, -1 },
	{ "0x", T("0x09"), 2, -1 },
};

START_TEST(hex_row)
{
	const struct row *r = &hex_rows[_i];
	uint8_t out[8];

	ck_assert_msg(
	    hex_decode(r->text, r->len, out, r->n) == r->rc, "%s", r->what);
}
END_TEST

/* At most n bytes. */
static const struct row base64_rows[] = {
	{ "nothing", T(""), 3, 0 },
	{ "three bytes", T("+/Az"), 3, 0 },
	{ "two bytes", T("aGU="), 3, 0 },
	{ "one byte", T("aA=="), 3, 0 },
	{ "fills the room", T("aGVs"), 3, 0 },
	{ "over the room", T("aGVsbA=="), 3, -1 },
	{ "padding missing", T("aGU"), 3, -1 },
	{ "half the padding", T("aA="), 3, -1 },
	{ "padding twice", T("aGVs===="), 6, -1 },
	{ "padding in the middle", T("aA==aGVs"), 6, -1 },
	{ "spare bits set in two bytes", T("aGV="), 3, -1 },
	{ "spare bits set in one byte", T("aB=="), 3, -1 },
	{ "one character left over", T("aGVsb"), 6, -1 },
	{ "the URL alphabet", T("-_Az"), 3, -1 },
	{ "a space", T("aG Vs"), 6, -1 },
	{ "a line feed", T("aGVs\n"), 6, -1 },
	{ "NUL", T("aGVs\0"), 6, -1 },
};

START_TEST(base64_row)
{
	const struct row *r = &base64_rows[_i];
	uint8_t out[8];
	char text[13];
	size_t n;

	ck_assert_msg(base64_decode(r->text, r->len, out, r->n, &n) == r->rc,
	    "%s", r->what);
	if (r->rc == 0) {
		base64_encode(out, n, text);
		ck_assert_str_eq(text, r->text);
		ck_assert_uint_eq(BASE64_LEN(n), r->len);
	}
}
END_TEST

START_TEST(base64_nix_vector)
{
	static const char text[] =
	    "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=";
	uint8_t a[32];
	char b32[BASE32_LEN(32) + 1];
	size_t n;

	ck_assert_int_eq(
	    base64_decode(text, sizeof(text) - 1, a, sizeof(a), &n), 0);
	ck_assert_uint_eq(n, 32);
	base32_encode(a, n, b32);
	ck_assert_str_eq(
	    b32, "094qif9n4cq4fdg459qzbhg1c6wywawwaaivx0k0x8xhbyx4vwic");
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("base32");

	UNIT_ROWS(s, "nix", nix_vector, nitems(vectors));
	UNIT_ROWS(s, "base 32", base32_row, nitems(base32_rows));
	UNIT_ROWS(s, "alphabet", base32_alphabet, 1);
	UNIT_ROWS(s, "hex", hex_row, nitems(hex_rows));
	UNIT_ROWS(s, "base 64", base64_row, nitems(base64_rows));
	UNIT_ROWS(s, "base 64 nix", base64_nix_vector, 1);
	return unit_main(s);
}
