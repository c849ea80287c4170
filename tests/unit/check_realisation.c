#include "config.h"

#include <stdbool.h>
#include <string.h>

#include <sodium.h>

#include "realisation.h"
#include "unit.h"

#define HEX "523e446b7f7069b3a1b094e9dd9c9b5230fb4a2a5d1711bdfadd9d98d3b6b942"
#define ID "sha256:" HEX "!out"
#define OTHER_ID                                                               \
	"sha256:"                                                              \
	"c9a0a7e3c8361ca566a097c4c01ffb9bfbeee9f48ba32c69ff8e7c0398656c40!out"
#define KEY "realisations/" ID ".doi"
#define DRV "nny90npf1y4zgs4d8d5lmxqzmbjksyf8-b.drv"
#define TRACE "build-trace-v2/" DRV "/out.doi"
#define A "c52mkpf235hf9j1b9mvvcizcvb3s6dmy-a"
#define B "w636wb9dijv6q2vcbn6gqnvy2xldrfav-b"
/* 64 bytes of zeros, and of ones */
#define ZEROS                                                                  \
	"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"     \
	"AAAAAAAAAAAAAAAAAAAAAA=="
#define ONES                                                                   \
	"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"     \
	"AQEBAQEBAQEBAQEBAQEBAQ=="

/* What Nix writes, what is kept of others, and what is signed of it. */
static const struct {
	const char *key, *text, *printed, *signed_text;
} good[] = {
	{ KEY,
	    "{\"dependentRealisations\":{\"" OTHER_ID "\":\"" B "\"},"
	    "\"id\":\"" ID "\",\"outPath\":\"" A "\",\"signatures\":[]}",
	    NULL,
	    "{\"dependentRealisations\":{\"" OTHER_ID "\":\"" B "\"},"
	    "\"id\":\"" ID "\",\"outPath\":\"" A "\"}" },
	{ KEY, " {\"outPath\" : \"" A "\",\"new\":[1]}\n",
	    "{\"dependentRealisations\":{},\"id\":\"" ID "\",\"outPath\":\"" A
	    "\",\"signatures\":[]}",
	    "{\"dependentRealisations\":{},\"id\":\"" ID "\",\"outPath\":\"" A
	    "\"}" },
	{ KEY,
	    "{\"outPath\":\"" A "\",\"signatures\":[\"z:" ZEROS
	    "\",{\"keyName\":\"a\",\"sig\":\"" ONES "\"},\"z:" ZEROS "\"]}",
	    "{\"dependentRealisations\":{},\"id\":\"" ID "\",\"outPath\":\"" A
	    "\",\"signatures\":[\"a:" ONES "\",\"z:" ZEROS "\"]}",
	    "{\"dependentRealisations\":{},\"id\":\"" ID "\",\"outPath\":\"" A
	    "\"}" },
	{ TRACE,
	    "{\"outPath\":\"" A "\",\"signatures\":[{\"keyName\":\"k\","
	    "\"sig\":\"" ZEROS "\"}]}",
	    NULL,
	    "{\"key\":{\"drvPath\":\"" DRV "\",\"outputName\":\"out\"},"
	    "\"value\":{\"outPath\":\"" A "\"}}" },
};

static const struct {
	const char *key, *text, *says;
} bad[] = {
	{ KEY, "", "it is not JSON" },
	{ KEY, "of the owner", "it is not JSON" },
	{ KEY, "[]", "it is not a JSON object" },
	{ KEY, "{}", "outPath: is not" },
	{ KEY, "{\"outPath\":\"" A "\",\"outPath\":\"" B "\"}",
	    "it is not JSON: duplicate" },
	{ KEY, "{\"outPath\":\"/nix/store/" A "\"}", "outPath: is not" },
	{ KEY, "{\"outPath\":\"" A "/x\"}", "outPath: is not" },
	{ KEY, "{\"outPath\":\"" A "\\u0000\"}", "it is not JSON" },
	{ KEY, "{\"outPath\":7}", "outPath: is not" },
	{ KEY, "{\"id\":\"" OTHER_ID "\",\"outPath\":\"" A "\"}",
	    "id: is not" },
	{ KEY, "{\"id\":7,\"outPath\":\"" A "\"}", "id: is not" },
	{ KEY, "{\"outPath\":\"" A "\",\"dependentRealisations\":[]}",
	    "dependentRealisations: is not an object" },
	{ KEY,
	    "{\"outPath\":\"" A "\",\"dependentRealisations\":{\"x\":\"" B
	    "\"}}",
	    "dependentRealisations: x is not" },
	{ KEY,
	    "{\"outPath\":\"" A "\",\"dependentRealisations\":{\"" OTHER_ID
	    "\":\"x\"}}",
	    "or its path is not" },
	{ KEY, "{\"outPath\":\"" A "\",\"signatures\":{}}",
	    "signatures: is not an array" },
	{ KEY, "{\"outPath\":\"" A "\",\"signatures\":[\"k:AAAA\"]}",
	    "signatures: number 1 is not" },
	{ KEY, "{\"outPath\":\"" A "\",\"signatures\":[\"k:" ZEROS "\",7]}",
	    "signatures: number 2 is not" },
	{ KEY,
	    "{\"outPath\":\"" A
	    "\",\"signatures\":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}",
	    "signatures: more than 16" },
	{ TRACE, "{\"signatures\":[]}", "outPath: is not" },
};

static struct realisation *
parse(const char *name, const char *text, char err[256])
{
	struct key k;

	err[0] = '\0';
	ck_assert_int_eq(key_parse(name, strlen(name), &k), 0);
	return realisation_parse(text, strlen(text), &k, err, 256);
}

START_TEST(a_good_one_is_kept_as_nix_writes_it)
{
	const char *want =
	    good[_i].printed != NULL ? good[_i].printed : good[_i].text;
	struct buf once = BUF_INIT, twice = BUF_INIT, print = BUF_INIT;
	struct realisation *re, *again;
	char err[256];

	re = parse(good[_i].key, good[_i].text, err);
	ck_assert_msg(re != NULL, "%s", err);
	ck_assert_str_eq(realisation_path(re), A);
	realisation_print(re, &once);
	ck_assert_str_eq(buf_str(&once), want);
	realisation_fingerprint(re, &print);
	ck_assert_str_eq(buf_str(&print), good[_i].signed_text);
	again = parse(good[_i].key, buf_str(&once), err);
	ck_assert_msg(again != NULL, "%s", err);
	realisation_print(again, &twice);
	ck_assert_str_eq(buf_str(&twice), want);
	realisation_free(re);
	realisation_free(again);
	buf_free(&once);
	buf_free(&twice);
	buf_free(&print);
}
END_TEST

START_TEST(a_bad_one_says_why)
{
	char err[256];

	ck_assert_ptr_null(parse(bad[_i].key, bad[_i].text, err));
	ck_assert_msg(
	    strstr(err, bad[_i].says) != NULL, "%s: %s", bad[_i].text, err);
}
END_TEST

/* Signatures by names with a "g" are good. */
static unsigned int
worth(const void *arg, const char *sig)
{
	(void)arg;
	return sig[0] == 'g';
}

static struct realisation *
signed_as(const char *sigs)
{
	struct buf text = BUF_INIT;
	struct realisation *re;
	char err[256];

	buf_addf(&text, "{\"outPath\":\"" A "\",\"signatures\":[%s]}", sigs);
	re = parse(KEY, buf_str(&text), err);
	ck_assert_msg(re != NULL, "%s", err);
	buf_free(&text);
	return re;
}

#define SIG(name) "\"" name ":" ZEROS "\""
#define FULL                                                                                                       \
	SIG("b0")                                                                                                  \
	"," SIG("b1") "," SIG("b2") "," SIG("b3") "," SIG("b4") "," SIG("b5") "," SIG("b6") "," SIG("b7") "," SIG( \
	    "b8") "," SIG("b9") "," SIG("ba") "," SIG("bb") "," SIG("bc") "," SIG("bd") "," SIG("be") "," SIG("bf")

static const struct {
	const char *here, *sent;
	size_t n; /* afterwards */
	size_t ngood;
} merges[] = {
	{ "", SIG("g1"), 1, 1 },
	{ "", SIG("b1"), 0, 0 },
	{ SIG("b1"), SIG("g1") "," SIG("b2"), 2, 1 },
	{ SIG("g1"), "\"g1:" ONES "\"", 1, 1 },
	{ FULL, SIG("g1") "," SIG("g2"), 16, 2 },
};

START_TEST(good_signatures_are_added)
{
	struct realisation *a = signed_as(merges[_i].here);
	struct realisation *b = signed_as(merges[_i].sent);
	char *const *sigs;
	size_t i, n, ngood = 0;

	ck_assert_int_eq(realisation_merge_sigs(a, b, worth, NULL), 0);
	sigs = realisation_sigs(a, &n);
	for (i = 0; i < n; i++) {
		ngood += sigs[i][0] == 'g';
		if (i > 0)
			ck_assert_int_lt(strcmp(sigs[i - 1], sigs[i]), 0);
	}
	ck_assert_uint_eq(n, merges[_i].n);
	ck_assert_uint_eq(ngood, merges[_i].ngood);
	realisation_free(a);
	realisation_free(b);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("realisation");

	if (sodium_init() == -1)
		return 1;
	UNIT_ROWS(s, "good", a_good_one_is_kept_as_nix_writes_it, nitems(good));
	UNIT_ROWS(s, "bad", a_bad_one_says_why, nitems(bad));
	UNIT_ROWS(s, "merge", good_signatures_are_added, nitems(merges));
	return unit_main(s);
}
