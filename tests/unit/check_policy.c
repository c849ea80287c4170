#include "config.h"

#include <sys/stat.h>

#include <stdio.h>
#include <string.h>

#include <sodium.h>

#include "ca.h"
#include "policy.h"
#include "scratch.h"
#include "unit.h"

#define STORE "/nix/store"

static struct narinfo *
parse(
    const char *path, const char *nar_hash, const char *refs, const char *more)
{
	struct buf b = BUF_INIT;
	struct narinfo *ni;
	char err[256];

	buf_addf(&b,
	    "StorePath: " STORE "/%s\n"
	    "URL: nar/0l05cmh066zza2hf87rc3f47v09ngwn6rgjdx6xsfvsjgd6b2bxl.nar"
	    "\nCompression: none\nNarHash: %s\nNarSize: 216\nReferences: %s\n"
	    "%s",
	    path, nar_hash, refs, more);
	ni = narinfo_parse(b.p, b.len, STORE, err, sizeof(err));
	ck_assert_msg(ni != NULL, "%s", err);
	buf_free(&b);
	return ni;
}

/* Content addresses -----------------------------------------------------------
 */

#define FLAT_NAR "sha256-9ghaZFx/EaQcb/iSvPSo4YWuRiQyJzTrcjW1PHdJ6MM="
/* SHA-256 of "flat\n" and of "b" */
#define FLAT_HASH "1xk2hhjr0f2n4adj1h688wlz59xpl86y1r8bd2pjasg8gy16mikb"
#define B_NAR "sha256-zqt/yeqvDsjLY+t4c1ueCntkqQ66YipkgKaaPKEYT7k="
#define B_HASH "1780kkasxvkkrd52rm4801xbv2rln7hn8ragi4rlln9r00bfh8ry"
#define A_DRV_REFS                                                             \
	"65wixim9aiqbhcggby76w4qbrip2mkmx-b.txt "                              \
	"r6340j3d9dgdgfzgz3nbll6z1xriz4vj-b.drv"
#define SHA512                                                                 \
	"2qd7nq5xzr6jah0kkhxbsf84w7mv9hy6xp7s7430zrasbglwnyca1b908d8cpwf"      \
	"avxr69g85xn11qqq6ac55hyly2ck39hbwq2dvv2c"

/* Paths that Nix 2.8 made, and what is wrong with others. */
static const struct {
	const char *path, *nar_hash, *refs, *ca;
	const char *file_hash; /* of the one file it is, or NULL */
	enum ca_rc rc;
	const char *says;
} cas[] = {
	{ "65wixim9aiqbhcggby76w4qbrip2mkmx-b.txt", B_NAR, "",
	    "text:sha256:" B_HASH, B_HASH, CA_GOOD, "" },
	{ "lzqgny7xp5xd51cma5aalq2daha5i3nm-a.drv", B_NAR, A_DRV_REFS,
	    "text:sha256:00wg7gg3bs12qsvanafdhqafdrg38vmnzxf4bxp87l325674zhp0",
	    "00wg7gg3bs12qsvanafdhqafdrg38vmnzxf4bxp87l325674zhp0", CA_GOOD,
	    "" },
	{ "rkf79g8l9nv68w00j1z80zjn9aw7szx3-flat.txt", FLAT_NAR, "",
	    "fixed:sha256:" FLAT_HASH, FLAT_HASH, CA_GOOD, "" },
	{ "g0sa69d8rjx2wc839jarp9qard3cfdzp-d",
	    "sha256:114gz9jrby999wraz9bgk6yfsb5fdkhzijzk86fnh7w5hm2yxm6d", "",
	    "fixed:r:sha256:"
	    "114gz9jrby999wraz9bgk6yfsb5fdkhzijzk86fnh7w5hm2yxm6d",
	    NULL, CA_GOOD, "" },
	/* Hashes that are not taken of the contents. */
	{ "38clv6a2grhiakmlcsvqjb7s19p4xkz8-flat.txt", FLAT_NAR, "",
	    "fixed:sha1:pplp5izjnj9j7sbk2hwv7dkbswqf61yj", FLAT_HASH, CA_PATH,
	    "" },
	{ "yjvls24z8dpknadw4z7mk2vwdz83xvpk-flat.txt", FLAT_NAR, "",
	    "fixed:r:sha1:8gkpg84fsnh15whh1igxjk63rd2yxm36", FLAT_HASH, CA_PATH,
	    "" },
	{ "s88n6lfca5jqvsqpnqwqfbf1sq3il8w0-flat.txt", FLAT_NAR, "",
	    "fixed:r:sha512:" SHA512, FLAT_HASH, CA_PATH, "" },
	{ "s88n6lfca5jqvsqpnqwqfbf1sq3il8w0-flat.txt", FLAT_NAR, "", NULL, NULL,
	    CA_NONE, "" },

	/* Another name, hash, method, reference, or another's contents. */
	{ "65wixim9aiqbhcggby76w4qbrip2mkmx-c.txt", B_NAR, "",
	    "text:sha256:" B_HASH, B_HASH, CA_WRONG, "make the path" },
	{ "65wixim9aiqbhcggby76w4qbrip2mkmx-b.txt", B_NAR, "",
	    "text:sha256:" FLAT_HASH, FLAT_HASH, CA_WRONG, "make the path" },
	{ "65wixim9aiqbhcggby76w4qbrip2mkmx-b.txt", B_NAR, "",
	    "fixed:sha256:" B_HASH, B_HASH, CA_WRONG, "make the path" },
	{ "lzqgny7xp5xd51cma5aalq2daha5i3nm-a.drv", B_NAR, "",
	    "text:sha256:00wg7gg3bs12qsvanafdhqafdrg38vmnzxf4bxp87l325674zhp0",
	    NULL, CA_WRONG, "make the path" },
	{ "rkf79g8l9nv68w00j1z80zjn9aw7szx3-flat.txt", FLAT_NAR, A_DRV_REFS,
	    "fixed:sha256:" FLAT_HASH, FLAT_HASH, CA_WRONG, "no references" },
	{ "65wixim9aiqbhcggby76w4qbrip2mkmx-b.txt", B_NAR, "",
	    "text:sha256:" B_HASH, FLAT_HASH, CA_WRONG, "another hash" },
	{ "65wixim9aiqbhcggby76w4qbrip2mkmx-b.txt", B_NAR, "",
	    "text:sha256:" B_HASH, NULL, CA_WRONG, "another hash" },
	{ "g0sa69d8rjx2wc839jarp9qard3cfdzp-d", FLAT_NAR, "",
	    "fixed:r:sha256:"
	    "114gz9jrby999wraz9bgk6yfsb5fdkhzijzk86fnh7w5hm2yxm6d",
	    NULL, CA_WRONG, "another hash" },
};

START_TEST(content_address)
{
	struct buf line = BUF_INIT;
	struct verified v;
	struct narinfo *ni;
	char err[256] = "";

	memset(&v, 0, sizeof(v));
	if (cas[_i].ca != NULL)
		buf_addf(&line, "CA: %s\n", cas[_i].ca);
	ni =
	    parse(cas[_i].path, cas[_i].nar_hash, cas[_i].refs, buf_str(&line));
	if (cas[_i].file_hash != NULL) {
		v.is_file = true;
		ck_assert_int_eq(digest_from_base32(cas[_i].file_hash,
				     DIGEST_BASE32, &v.file_hash),
		    0);
	}
	ck_assert_int_eq(ca_check(ni, &v, err, sizeof(err)), cas[_i].rc);
	ck_assert_msg(strstr(err, cas[_i].says) != NULL, "%s", err);
	/* Without a look at the contents nothing is good. */
	if (cas[_i].rc == CA_GOOD)
		ck_assert_int_eq(ca_check(ni, NULL, err, sizeof(err)), CA_PATH);
	narinfo_free(ni);
	buf_free(&line);
}
END_TEST

/* Signatures
 * ------------------------------------------------------------------- */

#define PATH_B "xi5rnn1nl9866ky4hv8291205l3j8qal-b-1.0"
#define NAR_B "sha256:0l05cmh066zza2hf87rc3f47v09ngwn6rgjdx6xsfvsjgd6b2bxl"
#define REFS_B "mlmyi3i2gy7bvq6ncypcc301pbzy3nya-a-1.0 " PATH_B
/* As Nix made them. */
#define KEY "test-key-1:zrtnFoyqQwwrmd8StyXKYX77/Uk0TTEjmemW/uBz7eg="
#define SIG                                                                    \
	"Sig: test-key-1:a8BEdomb8zDFcZO82jgIBcsDykooga6WT1vHP/Dzj8sKZiFbBw"   \
	"hwsbVd3qapw4IhampkWKeIiQey1cWAFhD5Ag==\n"
/* Of the same name, but nobody's; and of somebody else. */
#define FORGED                                                                 \
	"Sig: test-key-1:AAAAdomb8zDFcZO82jgIBcsDykooga6WT1vHP/Dzj8sKZiFbBw"   \
	"hwsbVd3qapw4IhampkWKeIiQey1cWAFhD5Ag==\n"
#define STRANGER                                                               \
	"Sig: other-1:a8BEdomb8zDFcZO82jgIBcsDykooga6WT1vHP/Dzj8sKZiFbBw"      \
	"hwsbVd3qapw4IhampkWKeIiQey1cWAFhD5Ag==\n"
#define OTHER_KEY "other-2:zrtnFoyqQwwrmd8StyXKYX77/Uk0TTEjmemW/uBz7eg="

static const struct {
	const char *trusted; /* "": none */
	bool require;
	const char *token_keys;
	const char *refs, *sigs;
	bool ca_good;
	const char *says; /* NULL: fit */
} signatures[] = {
	{ "", false, "", REFS_B, "", false, NULL },
	{ KEY, false, "", REFS_B, "", false, NULL },
	{ KEY, true, "", REFS_B, SIG, false, NULL },
	{ KEY, true, "", REFS_B, STRANGER SIG, false, NULL },
	{ OTHER_KEY " " KEY, true, "", REFS_B, SIG, false, NULL },
	{ KEY, true, "", REFS_B, "", true, NULL },
	{ "", false, KEY, REFS_B, SIG, false, NULL },
	{ "", false, OTHER_KEY " " KEY, REFS_B, SIG, false, NULL },
	{ "", false, KEY, REFS_B, "", true, NULL },
	/* A token's own keys count in place of the cache's. */
	{ OTHER_KEY, true, KEY, REFS_B, SIG, false, NULL },

	{ KEY, true, "", REFS_B, "", false, "none by a key this cache" },
	{ "", true, "", REFS_B, SIG, false, "none by a key this cache" },
	{ KEY, true, "", REFS_B, STRANGER, false, "none by a key this cache" },
	{ OTHER_KEY, true, "", REFS_B, SIG, false, "none by a key this cache" },
	{ KEY, true, "", REFS_B, FORGED, false, "not over this path" },
	{ KEY, false, "", REFS_B, FORGED, false, "not over this path" },
	{ KEY, true, "", REFS_B, FORGED SIG, false, "not over this path" },
	{ KEY, true, "", PATH_B, SIG, false, "not over this path" },
	{ KEY, true, "", "", SIG, true, "not over this path" },
	{ "", false, KEY, REFS_B, "", false, "none by a key this token" },
	{ KEY, true, OTHER_KEY, REFS_B, SIG, false,
	    "none by a key this token" },
	{ "", false, KEY, PATH_B, SIG, false, "not over this path" },
};

START_TEST(signature_policy)
{
	struct conf c = { .require_signature = signatures[_i].require };
	struct narinfo *ni;
	struct policy *p;
	char err[256] = "";
	int rc;

	if (signatures[_i].trusted[0] != '\0')
		c.trusted_public_keys = (char *)signatures[_i].trusted;
	ck_assert_ptr_nonnull(p = policy_new(&c));
	ck_assert(!policy_signs(p));
	ni = parse(PATH_B, NAR_B, signatures[_i].refs, signatures[_i].sigs);
	rc = policy_check(p, ni, signatures[_i].token_keys,
	    signatures[_i].ca_good, err, sizeof(err));
	if (signatures[_i].says == NULL) {
		ck_assert_str_eq(err, "");
		ck_assert_int_eq(rc, 0);
	} else {
		ck_assert_int_eq(rc, -1);
		ck_assert_msg(
		    strstr(err, signatures[_i].says) != NULL, "%s", err);
	}
	narinfo_free(ni);
	policy_free(p);
}
END_TEST

static void
write_key(const char *file, const char *name, struct public_key *pub)
{
	struct buf text = BUF_INIT;
	struct secret_key k;

	sign_key_generate(name, &k);
	sign_key_public(&k, pub);
	sign_secret_print(&k, &text);
	scratch_write(file, text.p, text.len);
	ck_assert_int_eq(chmod(scratch_path(file), 0600), 0);
	buf_free(&text);
}

START_TEST(signs_with_every_key)
{
	struct public_key one, two;
	struct buf files = BUF_INIT, print = BUF_INIT;
	struct conf c = { .require_signature = false };
	struct signature sig;
	struct narinfo *ni;
	struct policy *p;

	scratch_make();
	write_key("one", "one-1", &one);
	write_key("two", "two-1", &two);
	buf_addf(&files, "%s ", scratch_path("one"));
	buf_addf(&files, " %s", scratch_path("two"));
	c.secret_key_file = files.p;
	ck_assert_ptr_nonnull(p = policy_new(&c));
	ck_assert(policy_signs(p));
	ni = parse(PATH_B, NAR_B, REFS_B, SIG);
	ck_assert_int_eq(policy_sign(p, ni), 2);
	ck_assert_uint_eq(ni->nsigs, 3);
	narinfo_fingerprint(ni, &print);
	ck_assert_int_eq(
	    sign_signature_parse(ni->sigs[0], strlen(ni->sigs[0]), &sig), 0);
	ck_assert(sign_verify(&one, &sig, print.p, print.len));
	ck_assert_int_eq(
	    sign_signature_parse(ni->sigs[2], strlen(ni->sigs[2]), &sig), 0);
	ck_assert(sign_verify(&two, &sig, print.p, print.len));
	/* Once is enough. */
	ck_assert_int_eq(policy_sign(p, ni), 0);
	ck_assert_uint_eq(ni->nsigs, 3);
	narinfo_free(ni);
	policy_free(p);
	/* A file that is none. */
	c.secret_key_file = (char *)"/nonexistent";
	ck_assert_ptr_null(policy_new(&c));
	buf_free(&files);
	buf_free(&print);
	scratch_remove();
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("policy");
	TCase *tc = tcase_create("sign");

	if (sodium_init() == -1)
		return EXIT_FAILURE;
	UNIT_ROWS(s, "ca", content_address, nitems(cas));
	UNIT_ROWS(s, "signatures", signature_policy, nitems(signatures));
	tcase_add_test(tc, signs_with_every_key);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
