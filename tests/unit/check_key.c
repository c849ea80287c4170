#include "config.h"

#include <string.h>

#include "unit.h"

#include "key.h"

#define T(lit) lit, sizeof(lit) - 1
#define HASH "ccqrlywqscp2xfiq6khprs35qxvia6vw"
#define SHA "04ck6cd7y645n622hg38v1a5106fkialkbr44maz4bim2vagr33g"
#define HEX40 "0123456789abcdef0123456789abcdef01234567"
#define HEX64 HEX40 "89abcdef0123456789abcdef"
#define A50 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define A179 A50 A50 A50 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define A207 A50 A50 A50 A50 "aaaaaaa"
#define A211 A207 "aaaa"
#define BAD (-1)

static const struct {
	const char *what;
	const char *text;
	size_t len;
	int kind; /* BAD: refused */
} rows[] = {
	{ "cache info", T("nix-cache-info"), KEY_CACHE_INFO },
	{ "more behind cache info", T("nix-cache-info2"), BAD },
	{ "a slash behind cache info", T("nix-cache-info/"), BAD },
	{ "less than cache info", T("nix-cache-inf"), BAD },

	{ "narinfo", T(HASH ".narinfo"), KEY_NARINFO },
	{ "listing", T(HASH ".ls"), KEY_LS },
	{ "a bad hash part", T("ecqrlywqscp2xfiq6khprs35qxvia6vw.narinfo"),
	    BAD },
	{ "a short hash part", T("cqrlywqscp2xfiq6khprs35qxvia6vw.narinfo"),
	    BAD },
	{ "a base name", T(HASH "-a.narinfo"), BAD },
	{ "another ending", T(HASH ".nar"), BAD },
	{ "no ending", T(HASH), BAD },
	{ "more behind the ending", T(HASH ".narinfo.gz"), BAD },
	{ "a directory", T("x/" HASH ".narinfo"), BAD },
	{ "the ending alone", T(".narinfo"), BAD },

	{ "nar", T("nar/" SHA ".nar"), KEY_NAR },
	{ "nar.xz", T("nar/" SHA ".nar.xz"), KEY_NAR },
	{ "nar.bz2", T("nar/" SHA ".nar.bz2"), KEY_NAR },
	{ "nar.zst", T("nar/" SHA ".nar.zst"), KEY_NAR },
	{ "nar.lzip", T("nar/" SHA ".nar.lzip"), KEY_NAR },
	{ "nar.lz4", T("nar/" SHA ".nar.lz4"), KEY_NAR },
	{ "nar.br", T("nar/" SHA ".nar.br"), KEY_NAR },
	{ "nar.gz", T("nar/" SHA ".nar.gz"), BAD },
	{ "two extensions", T("nar/" SHA ".nar.xz.xz"), BAD },
	{ "two kinds of extension", T("nar/" SHA ".nar.br.xz"), BAD },
	{ "no .nar", T("nar/" SHA ".xz"), BAD },
	{ "nothing behind the hash", T("nar/" SHA), BAD },
	{ "nar of a hash part", T("nar/" HASH ".nar"), BAD },
	{ "over 256 bits",
	    T("nar/24ck6cd7y645n622hg38v1a5106fkialkbr44maz4bim2vagr33g.nar"),
	    BAD },
	{ "not base 32",
	    T("nar/04ck6cd7y645n622hg38v1a5106fkialkbr44maz4bim2vagr33e.nar"),
	    BAD },
	{ "nar of base 16", T("nar/" HEX64 ".nar"), BAD },
	{ "two slashes", T("nar//" SHA ".nar"), BAD },
	{ "no directory", T(SHA ".nar"), BAD },
	{ "the directory", T("nar/"), BAD },
	{ "a parent", T("nar/../" HASH ".narinfo"), BAD },

	{ "log", T("log/" HASH "-a-1.0.drv"), KEY_LOG },
	{ "log of a name Nix takes", T("log/" HASH "-b+x?y=_-1.0.drv"),
	    KEY_LOG },
	{ "the longest log", T("log/" HASH "-" A207 ".drv"), KEY_LOG },
	{ "a longer log", T("log/" HASH "-a" A207 ".drv"), BAD },
	{ "log of an output", T("log/" HASH "-a-1.0"), BAD },
	{ "log of a hash part", T("log/" HASH ".drv"), BAD },
	{ "log below a log", T("log/" HASH "-a/b.drv"), BAD },
	{ "log of a space", T("log/" HASH "-a b.drv"), BAD },

	{ "debuginfo", T("debuginfo/" HEX40 ".debug"), KEY_DEBUGINFO },
	{ "debuginfo without .debug", T("debuginfo/" HEX40), KEY_DEBUGINFO },
	{ "debuginfo in upper case",
	    T("debuginfo/0123456789ABCDEF0123456789abcdef01234567.debug"),
	    BAD },
	{ "short debuginfo", T("debuginfo/0123.debug"), BAD },
	{ "long debuginfo", T("debuginfo/" HEX40 "00.debug"), BAD },
	{ "very long debuginfo",
	    T("debuginfo/" HEX64 HEX64 HEX64 HEX64 HEX64 HEX64 HEX64
	      "0123456789abcdef0123456789abcdef0123456789abcdef012345"),
	    BAD },
	{ "debuginfo twice", T("debuginfo/" HEX40 ".debug.debug"), BAD },

	{ "realisation", T("realisations/sha256:" HEX64 "!out.doi"),
	    KEY_REALISATION },
	{ "realisation, longest segment",
	    T("realisations/sha256:" HEX64 "!" A179 ".doi"), KEY_REALISATION },
	{ "realisation, too long a segment",
	    T("realisations/sha256:" HEX64 "!" A179 "a.doi"), BAD },
	{ "realisation of sha512", T("realisations/sha512:" HEX64 "!out.doi"),
	    BAD },
	{ "realisation in base 32", T("realisations/sha256:" SHA "!out.doi"),
	    BAD },
	{ "realisation without !", T("realisations/sha256:" HEX64 "out.doi"),
	    BAD },
	{ "realisation of no output", T("realisations/sha256:" HEX64 "!.doi"),
	    BAD },
	{ "realisation of a bad output",
	    T("realisations/sha256:" HEX64 "!o/t.doi"), BAD },
	{ "realisation of dots", T("realisations/sha256:" HEX64 "!...doi"),
	    BAD },
	{ "realisation without .doi", T("realisations/sha256:" HEX64 "!out"),
	    BAD },
	{ "realisation ends early", T("realisations/sha256:" HEX64), BAD },

	{ "build trace", T("build-trace-v2/" HASH "-a.drv/out.doi"),
	    KEY_BUILD_TRACE },
	{ "build trace of a ?", T("build-trace-v2/" HASH "-a?b.drv/out.doi"),
	    KEY_BUILD_TRACE },
	{ "the longest build trace",
	    T("build-trace-v2/" HASH "-" A207 ".drv/" A211 ".doi"),
	    KEY_BUILD_TRACE },
	{ "a longer build trace",
	    T("build-trace-v2/" HASH "-" A207 ".drv/" A211 "a.doi"), BAD },
	{ "build trace of an output", T("build-trace-v2/" HASH "-a/out.doi"),
	    BAD },
	{ "build trace without output", T("build-trace-v2/" HASH "-a.drv"),
	    BAD },
	{ "build trace of no output", T("build-trace-v2/" HASH "-a.drv/.doi"),
	    BAD },
	{ "build trace of a parent", T("build-trace-v2/" HASH "-a.drv/...doi"),
	    BAD },
	{ "build trace, another ending",
	    T("build-trace-v2/" HASH "-a.drv/out.json"), BAD },
	{ "build trace, a directory more",
	    T("build-trace-v2/" HASH "-a.drv/x/out.doi"), BAD },
	{ "build trace, older name", T("build-trace/" HASH "-a.drv/out.doi"),
	    BAD },

	{ "nothing", T(""), BAD },
	{ "a slash", T("/"), BAD },
	{ "a slash before", T("/nix-cache-info"), BAD },
	{ "upper case", T("Nix-cache-info"), BAD },
	{ "a NUL behind", T("nix-cache-info\0"), BAD },
	{ "a NUL in a log", T("log/" HASH "-a\0.drv"), BAD },
	{ "a LF behind", T(HASH ".narinfo\n"), BAD },
	{ "percent encoding", T("log/" HASH "-a%2Bb.drv"), BAD },
	{ "far over KEY_MAX",
	    T("log/" HASH "-" A211 A211 A211 A211 A211 A211 A211 ".drv"), BAD },
};

/* The key as it comes out of parsing. */
static const char *
completed(const char *text)
{
	if (strcmp(text, "debuginfo/" HEX40) == 0)
		return "debuginfo/" HEX40 ".debug";
	return text;
}

START_TEST(grammar)
{
	struct key k;

	ck_assert_msg(key_parse(rows[_i].text, rows[_i].len, &k) ==
		(rows[_i].kind == BAD ? -1 : 0),
	    "%s", rows[_i].what);
	if (rows[_i].kind == BAD)
		return;
	ck_assert_msg((int)k.kind == rows[_i].kind, "%s", rows[_i].what);
	ck_assert_str_eq(k.s, completed(rows[_i].text));
	switch (k.kind) {
	case KEY_NARINFO:
	case KEY_LS:
	case KEY_LOG:
	case KEY_BUILD_TRACE:
		ck_assert_str_eq(k.hash_part.s, HASH);
		break;
	default:
		ck_assert_str_eq(k.hash_part.s, "");
	}
}
END_TEST

START_TEST(nar_has_its_digest)
{
	struct key k;
	struct digest d;

	ck_assert_int_eq(digest_from_base32(SHA, DIGEST_BASE32, &d), 0);
	ck_assert_int_eq(key_parse(T("nar/" SHA ".nar.xz"), &k), 0);
	ck_assert(digest_equal(&k.file_hash, &d));
}
END_TEST

/* A request's path and query, and the key; NULL: refused. */
static const struct {
	const char *what;
	const char *path;
	const char *query;
	const char *key;
} requests[] = {
	{ "plain", HASH ".narinfo", NULL, HASH ".narinfo" },
	{ "a query that means nothing", HASH ".narinfo", "x=1",
	    HASH ".narinfo" },
	{ "an encoded letter", "nix-cache-inf%6f", NULL, "nix-cache-info" },
	{ "upper case digits", "log/" HASH "-a%2Bb.drv", NULL,
	    "log/" HASH "-a+b.drv" },
	{ "lower case digits", "log/" HASH "-a%2bb.drv", NULL,
	    "log/" HASH "-a+b.drv" },
	{ "a plus stays", "log/" HASH "-a+b.drv", NULL,
	    "log/" HASH "-a+b.drv" },
	{ "an encoded !", "realisations/sha256:" HEX64 "%21out.doi", NULL,
	    "realisations/sha256:" HEX64 "!out.doi" },
	{ "an encoded colon", "realisations/sha256%3A" HEX64 "!out.doi", NULL,
	    "realisations/sha256:" HEX64 "!out.doi" },
	{ "a log's query", "log/" HASH "-we+ird", "q=1_0.tar-x.drv",
	    "log/" HASH "-we+ird?q=1_0.tar-x.drv" },
	{ "a log's query, encoded", "log/" HASH "-we%2Bird", "q%3D%2B.drv",
	    "log/" HASH "-we+ird?q=+.drv" },
	{ "a log's encoded ?", "log/" HASH "-a%3Fb.drv", NULL,
	    "log/" HASH "-a?b.drv" },
	{ "a log's second ?", "log/" HASH "-a", "b?c.drv",
	    "log/" HASH "-a?b?c.drv" },
	{ "a log's empty query", "log/" HASH "-a.drv", "", NULL },
	{ "a build trace's query", "build-trace-v2/" HASH "-a", "b.drv/out.doi",
	    "build-trace-v2/" HASH "-a?b.drv/out.doi" },
	{ "debuginfo completed", "debuginfo/" HEX40, NULL,
	    "debuginfo/" HEX40 ".debug" },
	{ "debuginfo complete", "debuginfo/" HEX40 ".debug", "x",
	    "debuginfo/" HEX40 ".debug" },
	{ "decoded once", "log/" HASH "-a%252Bb.drv", NULL, NULL },
	{ "an encoded slash", "nar%2F" SHA ".nar", NULL, NULL },
	{ "an encoded slash in a query", "build-trace-v2/" HASH "-a",
	    "b.drv%2fout.doi", NULL },
	{ "an encoded backslash", "log/" HASH "-a%5Cb.drv", NULL, NULL },
	{ "an encoded NUL", "nix-cache-info%00", NULL, NULL },
	{ "an encoded LF", "nix-cache-info%0A", NULL, NULL },
	{ "an encoded DEL", "nix-cache-info%7F", NULL, NULL },
	{ "an encoded parent", "%2e%2e/nix-cache-info", NULL, NULL },
	{ "not ASCII", "log/" HASH "-%C3%A9.drv", NULL, NULL },
	{ "no digits", "nix-cache-info%", NULL, NULL },
	{ "one digit", "nix-cache-inf%6", NULL, NULL },
	{ "not digits", "nix-cache-inf%6g", NULL, NULL },
	{ "not a first digit", "nix-cache-inf%g6", NULL, NULL },
	{ "nothing", "", NULL, NULL },
	{ "a query alone", "", "nix-cache-info", NULL },
	{ "too long", "log/" HASH "-" A211 A211 A211 ".drv", NULL, NULL },
	{ "too long a query", "log/" HASH "-a", A211 A211 A211 ".drv", NULL },
	{ "a path of KEY_MAX and a query",
	    "log/" A211 A211 A50 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "x",
	    NULL },
};

START_TEST(request)
{
	struct key k;
	int rc;

	rc = key_from_request(requests[_i].path, requests[_i].query, &k);
	ck_assert_msg(
	    rc == (requests[_i].key != NULL ? 0 : -1), "%s", requests[_i].what);
	if (rc == 0)
		ck_assert_str_eq(k.s, requests[_i].key);
}
END_TEST

static const struct {
	enum key_kind kind;
	const char *type;
} kinds[] = {
	{ KEY_CACHE_INFO, "text/x-nix-cache-info" },
	{ KEY_NARINFO, "text/x-nix-narinfo" },
	{ KEY_LS, "application/json" },
	{ KEY_NAR, "application/x-nix-nar" },
	{ KEY_LOG, "text/plain; charset=utf-8" },
	{ KEY_DEBUGINFO, "application/json" },
	{ KEY_REALISATION, "application/json" },
	{ KEY_BUILD_TRACE, "application/json" },
};

START_TEST(kind)
{
	ck_assert_str_eq(key_content_type(kinds[_i].kind), kinds[_i].type);
}
END_TEST

/* As nix copy --to file://...?compression=X (2.8) named its files. */
static const struct {
	const char *compression;
	const char *extension;
} extensions[] = {
	{ "xz", ".xz" },
	{ "zstd", ".zst" },
	{ "bzip2", ".bz2" },
	{ "br", ".br" },
	{ "lz4", ".lz4" },
	{ "lzip", ".lzip" },
	{ "none", "" },
	{ "gzip", "" },
	{ "lzma", "" },
	{ "compress", "" },
	{ "", NULL },
	{ "XZ", NULL },
	{ "zst", NULL },
	{ "xz ", NULL },
};

START_TEST(extension)
{
	const char *e = key_nar_extension(extensions[_i].compression);

	if (extensions[_i].extension == NULL)
		ck_assert_ptr_null(e);
	else
		ck_assert_str_eq(e, extensions[_i].extension);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("key");

	UNIT_ROWS(s, "grammar", grammar, nitems(rows));
	UNIT_ROWS(s, "digest", nar_has_its_digest, 1);
	UNIT_ROWS(s, "request", request, nitems(requests));
	UNIT_ROWS(s, "kind", kind, nitems(kinds));
	UNIT_ROWS(s, "extension", extension, nitems(extensions));
	return unit_main(s);
}
