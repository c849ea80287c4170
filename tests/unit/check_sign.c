#include "config.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "unit.h"

#include "sign.h"

/* Signatures by Nix 2.8: nix copy --to file://...?secret-key=... */
static const struct {
	const char *what;
	const char *public;
	const char *text;
	const char *sig;
} nix[] = {
	{ "two references",
	    "test-key-1:zrtnFoyqQwwrmd8StyXKYX77/Uk0TTEjmemW/uBz7eg=",
	    "1;/nix/store/xi5rnn1nl9866ky4hv8291205l3j8qal-b-1.0;"
	    "sha256:0l05cmh066zza2hf87rc3f47v09ngwn6rgjdx6xsfvsjgd6b2bxl;216;"
	    "/nix/store/mlmyi3i2gy7bvq6ncypcc301pbzy3nya-a-1.0,"
	    "/nix/store/xi5rnn1nl9866ky4hv8291205l3j8qal-b-1.0",
	    "test-key-1:a8BEdomb8zDFcZO82jgIBcsDykooga6WT1vHP/"
	    "Dzj8sKZiFbBwhwsbVd3qapw4IhampkWKeIiQey1cWAFhD5Ag==" },
	{ "none", "test-1:HFEyZLOPECP9r+hQsysI6X0CvgDzO2+fsJ3qKC9tXkc=",
	    "1;/tmp/tmp.lwPRZO5UYF/store/"
	    "nixpx5v0h2byjpw09mcdgdr5finlj8y0-a-1.0;"
	    "sha256:1xmr8jicvzszfzpz46g37mlpvbzjl2wpwvl2b05psipssyp1sm8h;120;",
	    "test-1:qFfDDd2WB4wh2kSSTAzxyYo+ur8gm3m3JPXhPmQmoSGriH/"
	    "CBVEzMHzE/9uwLRdj/XHNsSKtJD3A0SycpW5fDg==" },
};

/* A key of nix-store --generate-binary-cache-key, for these tests only. */
#define SECRET_BASE64                                                          \
	"0MiF1LpoMfivNwdXibuflmF1XFyfQyi9cMlNhCBSGTccUTJks48QI/2v6FCzKwjpfQK"  \
	"+APM7b5+wneooL21eRw=="
#define SECRET "test-1:" SECRET_BASE64

static void
must_parse(const char *text, struct public_key *k)
{
	ck_assert_int_eq(sign_public_parse(text, strlen(text), k), 0);
}

static void
must_parse_sig(const char *text, struct signature *sig)
{
	ck_assert_int_eq(sign_signature_parse(text, strlen(text), sig), 0);
}

START_TEST(verifies_nix)
{
	const char *text = nix[_i].text;
	struct public_key k;
	struct signature sig;

	must_parse(nix[_i].public, &k);
	must_parse_sig(nix[_i].sig, &sig);
	ck_assert(sign_verify(&k, &sig, text, strlen(text)));
	ck_assert(!sign_verify(&k, &sig, text, strlen(text) - 1));
	sig.sig[_i * 40] ^= 1;
	ck_assert(!sign_verify(&k, &sig, text, strlen(text)));
}
END_TEST

START_TEST(verify_compares_names)
{
	const char *text = nix[0].text;
	struct public_key k;
	struct signature sig;

	must_parse(nix[0].public, &k);
	must_parse_sig(nix[0].sig, &sig);
	k.name[0] = 'T';
	ck_assert(!sign_verify(&k, &sig, text, strlen(text)));
}
END_TEST

START_TEST(verify_wants_the_key)
{
	struct public_key k;
	struct signature sig;

	must_parse(nix[0].public, &k);
	must_parse_sig(nix[1].sig, &sig);
	memcpy(sig.name, k.name, sizeof(sig.name));
	ck_assert(!sign_verify(&k, &sig, nix[1].text, strlen(nix[1].text)));
}
END_TEST

START_TEST(signs_as_nix)
{
	const char *text = nix[1].text;
	struct secret_key k;
	struct public_key pk;
	struct signature sig;
	struct buf b = BUF_INIT;

	ck_assert_int_eq(sign_secret_parse(SECRET, strlen(SECRET), &k), 0);
	sign_make(&k, text, strlen(text), &sig);
	sign_signature_print(&sig, &b);
	ck_assert_str_eq(buf_str(&b), nix[1].sig);
	buf_clear(&b);
	sign_key_public(&k, &pk);
	sign_public_print(&pk, &b);
	ck_assert_str_eq(buf_str(&b), nix[1].public);
	buf_clear(&b);
	sign_secret_print(&k, &b);
	ck_assert_str_eq(buf_str(&b), SECRET);
	buf_free(&b);
}
END_TEST

START_TEST(generated_key_works)
{
	struct secret_key k, again;
	struct public_key pk;
	struct signature sig;
	struct buf b = BUF_INIT;

	sign_key_generate("cache.example.org-1", &k);
	sign_key_generate("cache.example.org-1", &again);
	ck_assert_mem_ne(k.key, again.key, sizeof(k.key));
	sign_key_public(&k, &pk);
	sign_make(&k, "text", 4, &sig);
	ck_assert(sign_verify(&pk, &sig, "text", 4));
	ck_assert(!sign_verify(&pk, &sig, "texT", 4));
	sign_secret_print(&k, &b);
	ck_assert_int_eq(sign_secret_parse(b.p, b.len, &again), 0);
	ck_assert_mem_eq(&k.key, &again.key, sizeof(k.key));
	buf_free(&b);
}
END_TEST

START_TEST(wipe)
{
	struct secret_key k, zero;

	memset(&zero, 0, sizeof(zero));
	sign_key_generate("a", &k);
	sign_key_wipe(&k);
	ck_assert_mem_eq(&k, &zero, sizeof(k));
}
END_TEST

#define T(lit) lit, sizeof(lit) - 1
#define A32 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define A128 A32 A32 A32 A32
#define B32 "zrtnFoyqQwwrmd8StyXKYX77/Uk0TTEjmemW/uBz7eg="
#define B64                                                                    \
	"a8BEdomb8zDFcZO82jgIBcsDykooga6WT1vHP/Dzj8sKZiFbBwhwsbVd3qapw4Iham"   \
	"pkWKeIiQey1cWAFhD5Ag=="

struct row {
	const char *what;
	const char *text;
	size_t len;
	bool ok;
};

static const struct row names[] = {
	{ "a host and a number", T("cache.nixos.org-1"), true },
	{ "every kind of character", T("aZ09._+-"), true },
	{ "128 characters", T(A128), true },
	{ "129 characters", T(A128 "a"), false },
	{ "nothing", T(""), false },
	{ "a colon", T("a:b"), false },
	{ "a space", T("a b"), false },
	{ "a slash", T("a/b"), false },
	{ "NUL", T("a\0"), false },
	{ "not ASCII", T("\xc3\xa9"), false },
};

START_TEST(name)
{
	ck_assert_msg(
	    sign_name_ok(names[_i].text, names[_i].len) == names[_i].ok, "%s",
	    names[_i].what);
}
END_TEST

static const struct row publics[] = {
	{ "plain", T("k:" B32), true },
	{ "the longest name", T(A128 ":" B32), true },
	{ "no name", T(":" B32), false },
	{ "no colon", T(B32), false },
	{ "a name too long", T(A128 "a:" B32), false },
	{ "a bad name", T("k@h:" B32), false },
	{ "no key", T("k:"), false },
	{ "a byte short", T("k:zrtnFoyqQwwrmd8StyXKYX77/Uk0TTEjmemW/uBz7Q=="),
	    false },
	{ "a byte long", T("k:zrtnFoyqQwwrmd8StyXKYX77/Uk0TTEjmemW/uBz7ege"),
	    false },
	{ "a signature", T("k:" B64), false },
	{ "a space behind", T("k:" B32 " "), false },
	{ "a line feed behind", T("k:" B32 "\n"), false },
	{ "a space before", T(" k:" B32), false },
	{ "nothing", T(""), false },
};

START_TEST(public)
{
	struct public_key k;

	ck_assert_msg(sign_public_parse(publics[_i].text, publics[_i].len,
			  &k) == (publics[_i].ok ? 0 : -1),
	    "%s", publics[_i].what);
}
END_TEST

static const struct row sigs[] = {
	{ "plain", T("k:" B64), true },
	{ "somebody's own name", T("joe@laptop/1:" B64), true },
	{ "the longest name", T(A128 ":" B64), true },
	{ "a name too long", T(A128 "a:" B64), false },
	{ "a space in the name", T("k 1:" B64), false },
	{ "not ASCII in the name", T("\xc3\xa9:" B64), false },
	{ "DEL in the name", T("k\x7f:" B64), false },
	{ "a second colon", T("k:k:" B64), false },
	{ "no name", T(":" B64), false },
	{ "no colon", T(B64), false },
	{ "32 bytes", T("k:" B32), false },
	{ "no padding",
	    T("k:a8BEdomb8zDFcZO82jgIBcsDykooga6WT1vHP/"
	      "Dzj8sKZiFbBwhwsbVd3qapw4IhampkWKeIiQey1cWAFhD5Ag"),
	    false },
	{ "spare bits set",
	    T("k:a8BEdomb8zDFcZO82jgIBcsDykooga6WT1vHP/"
	      "Dzj8sKZiFbBwhwsbVd3qapw4IhampkWKeIiQey1cWAFhD"
	      "5Ah=="),
	    false },
	{ "nothing behind the colon", T("k:"), false },
	{ "nothing", T(""), false },
};

START_TEST(signature)
{
	struct signature sig;
	struct buf b = BUF_INIT;

	ck_assert_msg(sign_signature_parse(sigs[_i].text, sigs[_i].len, &sig) ==
		(sigs[_i].ok ? 0 : -1),
	    "%s", sigs[_i].what);
	if (sigs[_i].ok) {
		sign_signature_print(&sig, &b);
		ck_assert_str_eq(buf_str(&b), sigs[_i].text);
	}
	buf_free(&b);
}
END_TEST

/* A secret key file's text, what loading it says, and the file's mode. */
static const struct {
	const char *what;
	const char *text;
	size_t len;
	int err;
	mode_t mode;
} files[] = {
	{ "as Nix writes it", T(SECRET), 0, 0600 },
	{ "with a line feed", T(SECRET "\n"), 0, 0400 },
	{ "the longest name", T(A128 ":" SECRET_BASE64 "\n"), 0, 0600 },
	{ "two line feeds", T(SECRET "\n\n"), EINVAL, 0600 },
	{ "a space behind", T(SECRET " "), EINVAL, 0600 },
	{ "too long", T("a" A128 ":" SECRET_BASE64 "\n"), EINVAL, 0600 },
	{ "empty", T(""), EINVAL, 0600 },
	{ "a line feed alone", T("\n"), EINVAL, 0600 },
	{ "a public key", T("k:" B32), EINVAL, 0600 },
	{ "halves that don't belong together", T("k:" B64), EINVAL, 0600 },
	{ "readable by the group", T(SECRET), EPERM, 0640 },
	{ "readable by all", T(SECRET), EPERM, 0604 },
};

START_TEST(key_file)
{
	char path[] = "/tmp/check_sign.XXXXXX";
	struct secret_key k;
	int fd, rc, err;

	fd = mkstemp(path);
	ck_assert_int_ne(fd, -1);
	ck_assert_int_eq(
	    write(fd, files[_i].text, files[_i].len), (long)files[_i].len);
	ck_assert_int_eq(fchmod(fd, files[_i].mode), 0);
	close(fd);
	errno = 0;
	rc = sign_key_load(path, &k);
	err = errno;
	unlink(path);
	ck_assert_msg(
	    rc == (files[_i].err == 0 ? 0 : -1), "%s", files[_i].what);
	if (rc == -1)
		ck_assert_int_eq(err, files[_i].err);
	else
		ck_assert_uint_eq(k.key[0], 0xd0);
}
END_TEST

START_TEST(key_file_missing)
{
	struct secret_key k;

	ck_assert_int_eq(sign_key_load("/nonexistent/key", &k), -1);
	ck_assert_int_eq(errno, ENOENT);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("sign");

	if (sodium_init() == -1)
		return EXIT_FAILURE;
	UNIT_ROWS(s, "verify", verifies_nix, nitems(nix));
	UNIT_ROWS(s, "verify name", verify_compares_names, 1);
	UNIT_ROWS(s, "verify key", verify_wants_the_key, 1);
	UNIT_ROWS(s, "sign", signs_as_nix, 1);
	UNIT_ROWS(s, "generate", generated_key_works, 1);
	UNIT_ROWS(s, "wipe", wipe, 1);
	UNIT_ROWS(s, "name", name, nitems(names));
	UNIT_ROWS(s, "public", public, nitems(publics));
	UNIT_ROWS(s, "signature", signature, nitems(sigs));
	UNIT_ROWS(s, "key file", key_file, nitems(files));
	UNIT_ROWS(s, "no key file", key_file_missing, 1);
	return unit_main(s);
}
