#include "config.h"

#include <stdbool.h>

#include <sodium.h>

#include "auth.h"
#include "scratch.h"
#include "unit.h"

static struct index *ix;

static void
setup(void)
{
	ck_assert_int_ne(sodium_init(), -1);
	scratch_make();
	ix = index_open(scratch, INDEX_WRITE);
	ck_assert_ptr_nonnull(ix);
}

static void
teardown(void)
{
	index_close(ix);
	scratch_remove();
}

/* "Basic <base64 of user:secret>" */
static const char *
basic(const char *user_secret)
{
	static char header[512];
	size_t n;

	n = (size_t)snprintf(header, sizeof(header), "Basic ");
	sodium_bin2base64(header + n, sizeof(header) - n,
	    (const unsigned char *)user_secret, strlen(user_secret),
	    sodium_base64_VARIANT_ORIGINAL);
	return header;
}

static const struct {
	const char *header;
	enum auth_rc rc;
	const char *user;
	const char *secret; /* what the digest is of */
} headers[] = {
	{ "Basic dTpw", AUTH_OK, "u", "p" },
	{ "basic dTpw", AUTH_OK, "u", "p" },
	{ "Basic   dTpw", AUTH_OK, "u", "p" },
	{ "Basic OnA=", AUTH_OK, "", "p" }, /* ":p", netrc without login */
	{ "Basic dTpwOnE=", AUTH_OK, "u", "p:q" },
	{ "Basic dTo=", AUTH_OK, "u", "" },
	{ "Bearer p", AUTH_OK, "", "p" },
	{ "bearer p", AUTH_OK, "", "p" },
	{ "", AUTH_MISSING, NULL, NULL },
	{ "Basic", AUTH_BAD, NULL, NULL },
	{ "Basic ", AUTH_BAD, NULL, NULL },
	{ "Bearer ", AUTH_BAD, NULL, NULL },
	{ "Digest dTpw", AUTH_BAD, NULL, NULL },
	{ "dTpw", AUTH_BAD, NULL, NULL },
	{ "Basic dTpw dTpw", AUTH_BAD, NULL, NULL },
	{ "Basic dTp", AUTH_BAD, NULL, NULL }, /* not base 64 */
	{ "Basic dXA=", AUTH_BAD, NULL, NULL }, /* no colon */
	{ "Basic AGE6cA==", AUTH_BAD, NULL, NULL }, /* NUL in the user */
	{ "Basicdtpw dTpw", AUTH_BAD, NULL, NULL },
};

START_TEST(parses_header)
{
	struct credentials c;
	struct digest d;

	ck_assert_int_eq(
	    auth_parse(headers[_i].header, strlen(headers[_i].header), &c),
	    headers[_i].rc);
	if (headers[_i].rc != AUTH_OK)
		return;
	ck_assert_str_eq(c.user, headers[_i].user);
	hash_sha256(headers[_i].secret, strlen(headers[_i].secret), &d);
	ck_assert(digest_equal(&c.secret, &d));
}
END_TEST

START_TEST(refuses_long_header)
{
	char header[2000];
	struct credentials c;

	memset(header, 'A', sizeof(header));
	memcpy(header, "Basic ", 6);
	ck_assert_int_eq(auth_parse(header, sizeof(header), &c), AUTH_BAD);
	memcpy(header, "Bearer ", 7);
	ck_assert_int_eq(auth_parse(header, sizeof(header), &c), AUTH_BAD);
}
END_TEST

static void
add_token(const char *name, unsigned int scopes, int64_t expires,
    char secret[AUTH_SECRET_LEN + 1])
{
	struct token t = { .scopes = scopes, .created = 1, .expires = expires };

	snprintf(t.name, sizeof(t.name), "%s", name);
	auth_secret_new(secret, &t.secret);
	ck_assert_int_eq(index_token_add(ix, &t), 1);
}

START_TEST(judges_token)
{
	char push[AUTH_SECRET_LEN + 1], admin[AUTH_SECRET_LEN + 1];
	char brief[AUTH_SECRET_LEN + 1], text[256];
	struct token t;

	add_token("ci", SCOPE_PUSH, 0, push);
	add_token("root", SCOPE_ADMIN, 0, admin);
	add_token("brief", SCOPE_PUSH, 100, brief);

	ck_assert_int_eq(
	    auth_check(ix, NULL, SCOPE_PUSH, 50, &t), AUTH_MISSING);
	snprintf(text, sizeof(text), "ci:%s", push);
	ck_assert_int_eq(
	    auth_check(ix, basic(text), SCOPE_PUSH, 50, &t), AUTH_OK);
	ck_assert_str_eq(t.name, "ci");
	ck_assert_int_eq(
	    auth_check(ix, basic(text), SCOPE_DRV, 50, &t), AUTH_SCOPE);
	snprintf(text, sizeof(text), ":%s", push);
	ck_assert_int_eq(
	    auth_check(ix, basic(text), SCOPE_PUSH, 50, &t), AUTH_OK);
	snprintf(text, sizeof(text), "%s:%s", AUTH_ANY_USER, push);
	ck_assert_int_eq(
	    auth_check(ix, basic(text), SCOPE_PUSH, 50, &t), AUTH_OK);
	/* Somebody else's name with a good secret is no identity. */
	snprintf(text, sizeof(text), "root:%s", push);
	ck_assert_int_eq(
	    auth_check(ix, basic(text), SCOPE_PUSH, 50, &t), AUTH_BAD);
	snprintf(text, sizeof(text), "ci:%sx", push);
	ck_assert_int_eq(
	    auth_check(ix, basic(text), SCOPE_PUSH, 50, &t), AUTH_BAD);
	snprintf(text, sizeof(text), "Bearer %s", admin);
	ck_assert_int_eq(auth_check(ix, text, SCOPE_DRV, 50, &t), AUTH_OK);
	snprintf(text, sizeof(text), "brief:%s", brief);
	ck_assert_int_eq(
	    auth_check(ix, basic(text), SCOPE_PUSH, 99, &t), AUTH_OK);
	ck_assert_int_eq(
	    auth_check(ix, basic(text), SCOPE_PUSH, 100, &t), AUTH_BAD);
	ck_assert_int_eq(index_token_remove(ix, "ci"), 1);
	snprintf(text, sizeof(text), "ci:%s", push);
	ck_assert_int_eq(
	    auth_check(ix, basic(text), SCOPE_PUSH, 50, &t), AUTH_BAD);
}
END_TEST

START_TEST(makes_secrets)
{
	char a[AUTH_SECRET_LEN + 1], b[AUTH_SECRET_LEN + 1];
	struct digest da, db, d;

	auth_secret_new(a, &da);
	auth_secret_new(b, &db);
	ck_assert_uint_eq(strlen(a), AUTH_SECRET_LEN);
	ck_assert_str_ne(a, b);
	/* Nothing in it that a netrc or a URL would read otherwise. */
	ck_assert_uint_eq(strspn(a,
			      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUV"
			      "WXYZ0123456789-_"),
	    AUTH_SECRET_LEN);
	hash_sha256(a, strlen(a), &d);
	ck_assert(digest_equal(&d, &da));
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("auth");
	TCase *tc = tcase_create("tokens");

	UNIT_ROWS(s, "header", parses_header, nitems(headers));
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, refuses_long_header);
	tcase_add_test(tc, judges_token);
	tcase_add_test(tc, makes_secrets);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
