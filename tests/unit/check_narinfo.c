#include "config.h"

#include <stdio.h>
#include <string.h>

#include <sodium.h>

#include "unit.h"

#include "narinfo.h"
#include "sign.h"

#define DIR "/tmp/tmp.lwPRZO5UYF/store"
#define A "nixpx5v0h2byjpw09mcdgdr5finlj8y0-a-1.0"
#define B "5dzdz96940h9xw5k2lbl443bpwj4qxsq-b+x?y-1.0"
#define FILE32 "04ck6cd7y645n622hg38v1a5106fkialkbr44maz4bim2vagr33g"
#define NAR32 "1pkyy9b42isf20h1dz6y4f79dnayf3gqkg9dhacnxpw7jzbamrks"
#define SIG                                                                    \
	"Sig: test-1:heliWkRDnFQoOcRudUzArKQCFUpdFH0+GtzJOOkZRhTz9UxhhoHxJn"   \
	"1CGV9ZGOeujPU3l6BoTB0U/717U8e4AA==\n"
#define SIG2                                                                   \
	"Sig: own-1:a8BEdomb8zDFcZO82jgIBcsDykooga6WT1vHP/Dzj8sKZiFbBwhwsbV"   \
	"d3qapw4IhampkWKeIiQey1cWAFhD5Ag==\n"

/* The other half of the key that the narinfos below were signed with. */
#define PUBLIC "test-1:HFEyZLOPECP9r+hQsysI6X0CvgDzO2+fsJ3qKC9tXkc="

/* What nix copy (2.8) wrote for a store in DIR: base. */
static const char base[] =
    "StorePath: " DIR "/" B "\n"
    "URL: nar/" FILE32 ".nar.xz\n"
    "Compression: xz\n"
    "FileHash: sha256:" FILE32 "\n"
    "FileSize: 228\n"
    "NarHash: sha256:" NAR32 "\n"
    "NarSize: 248\n"
    "References: " B " " A "\n"
    "Deriver: ccqrlywqscp2xfiq6khprs35qxvia6vw-b+x?y-1.0.drv\n" SIG;

/* Others it wrote: no references, all kinds of CA, a derivation. */
static const char *const written[] = {
	base,
	"StorePath: " DIR "/cidpfa9n88qp17ahjgwzic0ymk0kayj2-fixed\n"
	"URL: nar/1c9ccwd7ak7hfq144sd362zs2041gwl1gcp3vgcxv7gjq5p3l137.nar."
	"zst\n"
	"Compression: zstd\n"
	"FileHash: "
	"sha256:1c9ccwd7ak7hfq144sd362zs2041gwl1gcp3vgcxv7gjq5p3l137\n"
	"FileSize: 88\n"
	"NarHash: sha256:0sg9f58l1jj88w6pdrfdpj5x9b1zrwszk84j81zvby36q9whhhqa\n"
	"NarSize: 120\n"
	"References: \n"
	"Deriver: 6hk97sddacpkii89yqx722y3586xwwy1-fixed.drv\n"
	"Sig: test-1:ap9iTvKB3uVnYuDizozNtH2Ikhv7vHSFyo2+Z4CE0Hq+q8FbZvzg1iFU"
	"5d7W708jD00KlAnSyr/adc8M7w6OAA==\n"
	"CA: fixed:sha256:094qif9n4cq4fdg459qzbhg1c6wywawwaaivx0k0x8xhbyx4vwic"
	"\n",
	"StorePath: " DIR "/wij2q7s1v4by74c8j2v215zzpv30l3vi-src\n"
	"URL: nar/0irfjnsxrwnl49552xphgxf14lznz6dfvmss50c53nnirwqlmlaa.nar.xz"
	"\n"
	"Compression: xz\n"
	"FileHash: "
	"sha256:0irfjnsxrwnl49552xphgxf14lznz6dfvmss50c53nnirwqlmlaa\n"
	"FileSize: 164\n"
	"NarHash: sha256:1sc7il84mxlmpzv5kdyh91yqbsz18ap3vi3qblpna36azplwq3si\n"
	"NarSize: 288\n"
	"References: \n"
	"Sig: test-1:iu7LkylarvtA1nyKcmx4Gk6xTkKpbE/rbZTKqhWyYh9nhPGgtqFEFVP0"
	"xTZaVucL3scLwaAXKTI1gnWKMHtdAg==\n"
	"CA: fixed:r:sha256:"
	"1sc7il84mxlmpzv5kdyh91yqbsz18ap3vi3qblpna36azplwq3si\n",
	"StorePath: " DIR "/3fbs634ikvraf1g36fiih8n88z0frf07-f\n"
	"URL: nar/06br3254rx4gz4cvjzxlv028jrx80zg5i4jr62vjmn416dqihgr7.nar.xz"
	"\n"
	"Compression: xz\n"
	"FileHash: "
	"sha256:06br3254rx4gz4cvjzxlv028jrx80zg5i4jr62vjmn416dqihgr7\n"
	"FileSize: 124\n"
	"NarHash: sha256:15apcm9ksmd22hmxkmnncndgx1mx55nfan199rvbam8ygycr671b\n"
	"NarSize: 120\n"
	"References: \n"
	"Sig: test-1:Oz1KsqnB+L8eFs2T8PU1eOrhBYoheVCGruZc1UtOw+JDUS2hr7L5TmfH"
	"amgWvwYHqtwe9RxMpaXBZzQlHkQkDg==\n"
	"CA: fixed:sha1:bvzr2pbxs1h767h2nr9va7qwngr49yp5\n",
	"StorePath: " DIR "/ccqrlywqscp2xfiq6khprs35qxvia6vw-b+x?y-1.0.drv\n"
	"URL: nar/1vvyjnnbjlf3byra5bwysh9vahzyrgmvlgzqp9dgxnhnjfvz6nm0.nar.xz"
	"\n"
	"Compression: xz\n"
	"FileHash: "
	"sha256:1vvyjnnbjlf3byra5bwysh9vahzyrgmvlgzqp9dgxnhnjfvz6nm0\n"
	"FileSize: 380\n"
	"NarHash: sha256:17j2pixw1z5vjjx34d7kabwzg48ih3k986hxd8s0arm2vrz81gvk\n"
	"NarSize: 576\n"
	"References: 3aqc91nx7dbisws38zjgy7wg4i2c50xi-a-1.0.drv\n"
	"Sig: test-1:i74VMhVelBoP89PTMfNIEPqeClqyF5s9l90RTcj7ZEbr1yQ8nADy3GQ8"
	"dXzcprhUisaT4SkVZ+ywsCOwpVUzAw==\n"
	"CA: text:sha256:1m63lv7x65z71hk6dpkkh9cfaiw5jv96hmwp5prfpzi6nf0dmxbq"
	"\n",
};

/* From memory of exactly n bytes, for sanitizers to see what is read. */
static struct narinfo *
parse_exactly(const char *p, size_t n, char *err, size_t errsize)
{
	char *copy = malloc(n != 0 ? n : 1);
	struct narinfo *ni;

	ck_assert_ptr_nonnull(copy);
	if (n != 0)
		memcpy(copy, p, n);
	ni = narinfo_parse(copy, n, DIR, err, errsize);
	free(copy);
	return ni;
}

static struct narinfo *
must_parse(const char *text)
{
	struct narinfo *ni;
	char err[256] = "";

	ni = narinfo_parse(text, strlen(text), DIR, err, sizeof(err));
	ck_assert_msg(ni != NULL, "%s", err);
	return ni;
}

/* base with the first from in it replaced by (to, n). */
static void
edit(struct buf *out, const char *from, const char *to, size_t n)
{
	const char *at = strstr(base, from);

	ck_assert_msg(at != NULL, "no \"%s\" in base", from);
	buf_add(out, base, (size_t)(at - base));
	buf_add(out, to, n);
	buf_adds(out, at + strlen(from));
	ck_assert(!buf_failed(out));
}

START_TEST(as_written)
{
	struct narinfo *ni = must_parse(written[_i]);
	struct buf text = BUF_INIT, fp = BUF_INIT;
	struct public_key k;
	struct signature sig;

	narinfo_print(ni, &text);
	ck_assert_str_eq(buf_str(&text), written[_i]);
	narinfo_fingerprint(ni, &fp);
	ck_assert_int_eq(sign_public_parse(PUBLIC, strlen(PUBLIC), &k), 0);
	ck_assert_uint_eq(ni->nsigs, 1);
	ck_assert_int_eq(
	    sign_signature_parse(ni->sigs[0], strlen(ni->sigs[0]), &sig), 0);
	ck_assert(sign_verify(&k, &sig, fp.p, fp.len));
	buf_free(&text);
	buf_free(&fp);
	narinfo_free(ni);
}
END_TEST

START_TEST(fields)
{
	struct narinfo *ni = must_parse(base);
	struct buf fp = BUF_INIT;
	struct digest d;

	ck_assert_str_eq(ni->store_path, DIR "/" B);
	ck_assert_str_eq(ni->base, B);
	ck_assert_str_eq(ni->hash_part.s, "5dzdz96940h9xw5k2lbl443bpwj4qxsq");
	ck_assert_str_eq(ni->nar.s, "nar/" FILE32 ".nar.xz");
	ck_assert_str_eq(ni->compression, "xz");
	digest_from_base32(FILE32, DIGEST_BASE32, &d);
	ck_assert(digest_equal(&ni->file_hash, &d));
	ck_assert(ni->has_file_size);
	ck_assert_uint_eq(ni->file_size, 228);
	digest_from_base32(NAR32, DIGEST_BASE32, &d);
	ck_assert(digest_equal(&ni->nar_hash, &d));
	ck_assert_uint_eq(ni->nar_size, 248);
	ck_assert_uint_eq(ni->nreferences, 2);
	ck_assert_str_eq(ni->references[0], B);
	ck_assert_str_eq(ni->references[1], A);
	ck_assert_str_eq(
	    ni->deriver, "ccqrlywqscp2xfiq6khprs35qxvia6vw-b+x?y-1.0.drv");
	ck_assert_ptr_null(ni->system);
	ck_assert_ptr_null(ni->ca);
	ck_assert_uint_eq(ni->nextra, 0);
	narinfo_fingerprint(ni, &fp);
	ck_assert_str_eq(buf_str(&fp),
	    "1;" DIR "/" B ";sha256:" NAR32 ";248;" DIR "/" B "," DIR "/" A);
	buf_free(&fp);
	narinfo_free(ni);
}
END_TEST

/*
 * Edits of base.  field is what the refusal begins with, NULL when it is
 * taken; printed is what the canonical text has instead of from then (NULL:
 * the same as to).
 */
#define T(lit) lit, sizeof(lit) - 1
#define REFS "References: " B " " A "\n"
#define SUM "URL: nar/" FILE32 ".nar.xz\nCompression: xz\n"
#define HEAD "StorePath: "
#define DERIVER "Deriver: ccqrlywqscp2xfiq6khprs35qxvia6vw-b+x?y-1.0.drv\n"
#define HEX32 "0123456789abcdef0123456789abcdef"
#define SHA512                                                                 \
	"11w1pmwfdpz9pisbhp5qiv38q6dmidq2ipcqykw3p0sb6yrqcij79rwcwcjbxyzwbd"   \
	"al349qbxrncbk7pmd6snljrfpiwv2pljd4wcv"

static const struct edit {
	const char *what;
	const char *from;
	const char *to;
	size_t n;
	const char *field;
	const char *printed;
} edits[] = {
	/* Lines */
	{ "an unknown key is kept", SIG, T(SIG "X-y1: z  a \n"), NULL, NULL },
	{ "an unknown key moves behind", HEAD, T("Xy: z\n" HEAD), NULL, HEAD },
	{ "an unknown key may be empty", SIG, T(SIG "X: \n"), NULL, NULL },
	{ "an unknown key twice", SIG, T(SIG "X: b\nX: a\n"), NULL, NULL },
	{ "UTF-8 in an unknown key", SIG,
	    T(SIG "X: \xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\n"), NULL, NULL },
	{ "no space behind the colon", "URL: ", T("URL:"), "line 2: ", NULL },
	{ "no colon", "URL: ", T("URL "), "line 2: ", NULL },
	{ "a key alone", SIG, T(SIG "X:\n"), "line 11: ", NULL },
	{ "References without a space", REFS, T("References:\n"),
	    "line 8: ", NULL },
	{ "a key that begins with a digit", SIG, T(SIG "1X: y\n"),
	    "line 11: ", NULL },
	{ "a key that begins with a dash", SIG, T(SIG "-X: y\n"),
	    "line 11: ", NULL },
	{ "a key with an underscore", SIG, T(SIG "X_y: z\n"),
	    "line 11: ", NULL },
	{ "a space before the key", HEAD, T(" " HEAD), "line 1: ", NULL },
	{ "no key", SIG, T(SIG ": y\n"), "line 11: ", NULL },
	{ "an empty line", SIG, T(SIG "\n"), "line 11: ", NULL },
	{ "an empty line first", HEAD, T("\n" HEAD), "line 1: ", NULL },
	{ "no last LF", "8e4AA==\n", T("8e4AA=="), "the narinfo ", NULL },
	{ "CRLF", "NarSize: 248\n", T("NarSize: 248\r\n"), "the narinfo ",
	    NULL },
	{ "NUL", SIG, T(SIG "X: \0\n"), "the narinfo ", NULL },
	{ "a tab", SIG, T(SIG "X: \t\n"), "the narinfo ", NULL },
	{ "an escape", SIG, T(SIG "X: \033[2J\n"), "the narinfo ", NULL },
	{ "DEL", SIG, T(SIG "X: \177\n"), "the narinfo ", NULL },
	{ "a C1 control character", SIG, T(SIG "X: \xc2\x9b\n"), "the narinfo ",
	    NULL },
	{ "a no-break space is none", SIG, T(SIG "X: \xc2\xa0\n"), NULL, NULL },
	{ "Latin-1", SIG, T(SIG "X: \xe9\n"), "the narinfo ", NULL },
	{ "UTF-8 cut by the line's end", SIG, T(SIG "X: \xe2\x82\n"),
	    "the narinfo ", NULL },
	{ "UTF-8 cut by the text's end", SIG, T(SIG "X: \xe2\x82"),
	    "the narinfo ", NULL },
	{ "a continuation alone", SIG, T(SIG "X: \x82\n"), "the narinfo ",
	    NULL },
	{ "two bytes for ASCII", SIG, T(SIG "X: \xc1\x81\n"), "the narinfo ",
	    NULL },
	{ "three bytes for two", SIG, T(SIG "X: \xe0\x82\xa9\n"),
	    "the narinfo ", NULL },
	{ "four bytes for three", SIG, T(SIG "X: \xf0\x82\x82\xac\n"),
	    "the narinfo ", NULL },
	{ "a surrogate", SIG, T(SIG "X: \xed\xa0\x80\n"), "the narinfo ",
	    NULL },
	{ "over U+10FFFF", SIG, T(SIG "X: \xf4\x90\x80\x80\n"), "the narinfo ",
	    NULL },
	{ "U+10FFFF", SIG, T(SIG "X: \xf4\x8f\xbf\xbf\n"), NULL, NULL },
	{ "a byte no character begins with", SIG,
	    T(SIG "X: \xf8\x90\x80\x80\n"), "the narinfo ", NULL },
	{ "five bytes", SIG, T(SIG "X: \xf8\x88\x80\x80\x80\n"), "the narinfo ",
	    NULL },

	/* StorePath */
	{ "another store", "StorePath: " DIR, T("StorePath: /nix/store"),
	    "StorePath: not a path in this cache's store directory, /", NULL },
	{ "a base name", "StorePath: " DIR "/", T("StorePath: "),
	    "StorePath: ", NULL },
	{ "a file in a path", "-1.0\nURL", T("-1.0/x\nURL"),
	    "StorePath: ", NULL },
	{ "a space behind the path", "-1.0\nURL", T("-1.0 \nURL"),
	    "StorePath: ", NULL },
	{ "no StorePath", "StorePath: " DIR "/" B "\n", T(""),
	    "StorePath: ", NULL },
	{ "StorePath twice", HEAD, T(HEAD DIR "/" B "\n" HEAD),
	    "StorePath: ", NULL },

	/* URL, Compression */
	{ "no URL", "URL: nar/" FILE32 ".nar.xz\n", T(""), "URL: ", NULL },
	{ "URL twice", SUM, T(SUM "URL: nar/" FILE32 ".nar.xz\n"),
	    "URL: ", NULL },
	{ "an absolute URL", "URL: ", T("URL: http://h/"), "URL: ", NULL },
	{ "a parent", "URL: ", T("URL: ../"), "URL: ", NULL },
	{ "a query", ".nar.xz\n", T(".nar.xz?x\n"), "URL: ", NULL },
	{ "another key", "nar/" FILE32 ".nar.xz", T("nix-cache-info"),
	    "URL: ", NULL },
	{ "an empty URL", "nar/" FILE32 ".nar.xz", T(""), "URL: ", NULL },
	{ "no compression", SUM,
	    T("URL: nar/" FILE32 ".nar\n"
	      "Compression: none\n"),
	    NULL, NULL },
	{ "gzip has no extension", SUM,
	    T("URL: nar/" FILE32 ".nar\nCompression: gzip\n"), NULL, NULL },
	{ "a missing Compression is bzip2", SUM,
	    T("URL: nar/" FILE32 ".nar.bz2\n"), NULL,
	    "URL: nar/" FILE32 ".nar.bz2\nCompression: bzip2\n" },
	{ "an empty Compression is bzip2", SUM,
	    T("URL: nar/" FILE32 ".nar.bz2\nCompression: \n"), NULL,
	    "URL: nar/" FILE32 ".nar.bz2\nCompression: bzip2\n" },
	{ "a missing Compression is not xz", "Compression: xz\n", T(""),
	    "Compression: ", NULL },
	{ "another Compression", "Compression: xz", T("Compression: zstd"),
	    "Compression: ", NULL },
	{ "none with an extension", "Compression: xz", T("Compression: none"),
	    "Compression: ", NULL },
	{ "xz without an extension", ".nar.xz", T(".nar"),
	    "Compression: ", NULL },
	{ "an unknown Compression", "Compression: xz", T("Compression: rar"),
	    "Compression: ", NULL },
	{ "Compression twice", SUM, T(SUM "Compression: xz\n"),
	    "Compression: ", NULL },

	/* FileHash, FileSize */
	{ "no FileHash", "FileHash: sha256:" FILE32 "\n", T(""), NULL,
	    "FileHash: sha256:" FILE32 "\n" },
	{ "FileHash in hexadecimal", "FileHash: sha256:" FILE32,
	    T("FileHash: sha256:"
	      "6f8cfcd416352ef2552524af49559cce805054d8683c2884"
	      "b185187f1a339311"),
	    NULL, "FileHash: sha256:" FILE32 },
	{ "another FileHash", "FileHash: sha256:" FILE32,
	    T("FileHash: sha256:" NAR32), "FileHash: ", NULL },
	{ "FileHash without an algorithm", "FileHash: sha256:", T("FileHash: "),
	    "FileHash: ", NULL },
	{ "FileHash twice", "FileHash: ",
	    T("FileHash: sha256:" FILE32 "\nFileHash: "), "FileHash: ", NULL },
	{ "no FileSize", "FileSize: 228\n", T(""), NULL, NULL },
	{ "FileSize INT64_MAX", "228", T("9223372036854775807"), NULL, NULL },
	{ "FileSize over INT64_MAX", "228", T("9223372036854775808"),
	    "FileSize: ", NULL },
	{ "an empty FileSize", "228", T(""), "FileSize: ", NULL },
	{ "a FileSize with a unit", "228", T("228K"), "FileSize: ", NULL },
	{ "a negative FileSize", "228", T("-1"), "FileSize: ", NULL },
	{ "FileSize twice", "FileSize: 228\n",
	    T("FileSize: 228\nFileSize: 228\n"), "FileSize: ", NULL },

	/* NarHash, NarSize */
	{ "no NarHash", "NarHash: sha256:" NAR32 "\n", T(""),
	    "NarHash: ", NULL },
	{ "NarHash without an algorithm", "NarHash: sha256:", T("NarHash: "),
	    "NarHash: ", NULL },
	{ "NarHash in md5", "NarHash: sha256:" NAR32,
	    T("NarHash: md5:4jqlbi14cxf6wpcajbphm40hax"), "NarHash: ", NULL },
	{ "NarHash too short", "NarHash: sha256:1", T("NarHash: sha256:"),
	    "NarHash: ", NULL },
	{ "NarHash over 256 bits", "NarHash: sha256:1", T("NarHash: sha256:2"),
	    "NarHash: ", NULL },
	{ "NarHash in upper case hexadecimal", "NarHash: sha256:" NAR32,
	    T("NarHash: sha256:"
	      "7AE6AAD69787DF6E99822DBD89DF705ED9968E23DEFC1620"
	      "104E474156F27EDE"),
	    "NarHash: ", NULL },
	{ "base 32 behind SRI's dash",
	    "NarHash: sha256:", T("NarHash: sha256-"), "NarHash: ", NULL },
	{ "base 64 of 31 bytes", "NarHash: sha256:" NAR32,
	    T("NarHash: sha256-LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmA=="),
	    "NarHash: ", NULL },
	{ "NarHash twice", "NarSize: ",
	    T("NarHash: sha256:" NAR32 "\nNarSize: "), "NarHash: ", NULL },
	{ "NarSize 1", "NarSize: 248", T("NarSize: 1"), NULL, NULL },
	{ "NarSize INT64_MAX", "NarSize: 248",
	    T("NarSize: 9223372036854775807"), NULL, NULL },
	{ "NarSize over INT64_MAX", "NarSize: 248",
	    T("NarSize: 9223372036854775808"), "NarSize: ", NULL },
	{ "NarSize 0", "NarSize: 248", T("NarSize: 0"), "NarSize: ", NULL },
	{ "NarSize with a zero before", "NarSize: 248", T("NarSize: 0248"),
	    "NarSize: ", NULL },
	{ "no NarSize", "NarSize: 248\n", T(""), "NarSize: ", NULL },
	{ "NarSize twice", "NarSize: 248\n", T("NarSize: 248\nNarSize: 248\n"),
	    "NarSize: ", NULL },

	/* References */
	{ "no References line", REFS, T(""), NULL, "References: \n" },
	{ "no references", REFS, T("References: \n"), NULL, NULL },
	{ "unsorted", REFS, T("References: " A " " B "\n"), NULL, REFS },
	{ "a path twice", REFS, T("References: " A " " B " " A "\n"),
	    "References: ", NULL },
	{ "two spaces", REFS, T("References: " B "  " A "\n"),
	    "References: ", NULL },
	{ "a space before", REFS, T("References:  " B "\n"),
	    "References: ", NULL },
	{ "a space behind", REFS, T("References: " B " \n"),
	    "References: ", NULL },
	{ "a space alone", REFS, T("References:  \n"), "References: ", NULL },
	{ "a full path", REFS, T("References: " DIR "/" A "\n"),
	    "References: ", NULL },
	{ "a comma", REFS, T("References: " B "," A "\n"),
	    "References: ", NULL },
	{ "References twice", REFS, T(REFS REFS), "References: ", NULL },

	/* Deriver, System */
	{ "no Deriver", DERIVER, T(""), NULL, NULL },
	{ "an unknown deriver", DERIVER, T("Deriver: unknown-deriver\n"), NULL,
	    "" },
	{ "an empty Deriver", DERIVER, T("Deriver: \n"), "Deriver: ", NULL },
	{ "Deriver is no derivation", DERIVER, T("Deriver: " A "\n"),
	    "Deriver: ", NULL },
	{ "Deriver is a full path", "Deriver: ", T("Deriver: " DIR "/"),
	    "Deriver: ", NULL },
	{ "Deriver twice", DERIVER, T(DERIVER DERIVER), "Deriver: ", NULL },
	{ "System", SIG, T("System: x86_64-linux\n" SIG), NULL, NULL },
	{ "an empty System", SIG, T("System: \n" SIG), NULL, SIG },
	{ "System twice", SIG, T("System: a\nSystem: a\n"), "System: ", NULL },

	/* Sig */
	{ "no Sig", SIG, T(""), NULL, NULL },
	{ "two", SIG, T(SIG2 SIG), NULL, NULL },
	{ "two unsorted", SIG, T(SIG SIG2), NULL, SIG2 SIG },
	{ "the same twice", SIG, T(SIG SIG2 SIG), NULL, SIG2 SIG },
	{ "an empty Sig", SIG, T("Sig: \n"), "Sig: ", NULL },
	{ "a Sig without a name", "test-1:", T(":"), "Sig: ", NULL },
	{ "a Sig without a colon", "test-1:", T(""), "Sig: ", NULL },
	{ "a Sig of 63 bytes", "8e4AA==\n", T("8e4A\n"), "Sig: ", NULL },
	{ "a Sig that is not base 64", "8e4AA==\n", T("8e4-A==\n"),
	    "Sig: ", NULL },
	{ "a space behind a Sig", "8e4AA==\n", T("8e4AA== \n"), "Sig: ", NULL },

	/* CA */
	{ "text", SIG, T(SIG "CA: text:sha256:" NAR32 "\n"), NULL, NULL },
	{ "fixed md5", SIG, T(SIG "CA: fixed:md5:4jqlbi14cxf6wpcajbphm40hax\n"),
	    NULL, NULL },
	{ "fixed sha512", SIG, T(SIG "CA: fixed:sha512:" SHA512 "\n"), NULL,
	    NULL },
	{ "fixed git", SIG,
	    T(SIG "CA: fixed:git:sha1:9m1skbnr5i43n3yypvda5s65vhfwdx5a\n"),
	    NULL, NULL },
	{ "fixed in hexadecimal", SIG,
	    T(SIG "CA: fixed:r:md5:5d41402abc4b2a76b9719d911017c592\n"), NULL,
	    NULL },
	{ "fixed in base 64", SIG,
	    T(SIG "CA: fixed:sha256:"
		  "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=\n"),
	    NULL, NULL },
	{ "an empty CA", SIG, T(SIG "CA: \n"), "CA: ", NULL },
	{ "a bogus CA", SIG, T(SIG "CA: bogus\n"), "CA: ", NULL },
	{ "text without a hash", SIG, T(SIG "CA: text:sha256:\n"),
	    "CA: ", NULL },
	{ "text in sha1", SIG,
	    T(SIG "CA: text:sha1:9m1skbnr5i43n3yypvda5s65vhfwdx5a\n"),
	    "CA: ", NULL },
	{ "text in hexadecimal", SIG,
	    T(SIG "CA: text:sha256:" HEX32 HEX32 "\n"), "CA: ", NULL },
	{ "fixed without an algorithm", SIG, T(SIG "CA: fixed:" NAR32 "\n"),
	    "CA: ", NULL },
	{ "fixed in an unknown algorithm", SIG,
	    T(SIG "CA: fixed:sha3:" NAR32 "\n"), "CA: ", NULL },
	{ "fixed by an unknown method", SIG,
	    T(SIG "CA: fixed:x:sha256:" NAR32 "\n"), "CA: ", NULL },
	{ "fixed by two methods", SIG,
	    T(SIG "CA: fixed:r:git:sha256:" NAR32 "\n"), "CA: ", NULL },
	{ "fixed of another length", SIG, T(SIG "CA: fixed:sha1:" NAR32 "\n"),
	    "CA: ", NULL },
	{ "a space behind CA", SIG, T(SIG "CA: fixed:sha256:" NAR32 " \n"),
	    "CA: ", NULL },
	{ "CA twice", SIG,
	    T(SIG "CA: text:sha256:" NAR32 "\nCA: text:sha256:" NAR32 "\n"),
	    "CA: ", NULL },
};

static void
check_sentence(const struct edit *e, const char *err)
{
	const char *p;

	ck_assert_msg(strncmp(err, e->field, strlen(e->field)) == 0,
	    "%s: says \"%s\"", e->what, err);
	ck_assert_uint_gt(strlen(err), strlen(e->field));
	ck_assert_uint_lt(strlen(err), 200);
	for (p = err; *p != '\0'; p++)
		ck_assert(*p >= ' ' && *p < 0x7f);
}

START_TEST(edited)
{
	const struct edit *e = &edits[_i];
	struct buf text = BUF_INIT, want = BUF_INIT, got = BUF_INIT;
	struct narinfo *ni;
	char err[256] = "";

	edit(&text, e->from, e->to, e->n);
	ni = parse_exactly(text.p, text.len, err, sizeof(err));
	ck_assert_msg((ni == NULL) == (e->field != NULL), "%s: %s", e->what,
	    ni == NULL ? err : "taken");
	if (ni == NULL) {
		check_sentence(e, err);
	} else {
		if (e->printed == NULL)
			edit(&want, e->from, e->to, e->n);
		else
			edit(&want, e->from, e->printed, strlen(e->printed));
		if (strcmp(e->what, "an unknown key moves behind") == 0)
			buf_adds(&want, "Xy: z\n");
		narinfo_print(ni, &got);
		ck_assert_msg(strcmp(buf_str(&got), buf_str(&want)) == 0,
		    "%s: printed\n%s", e->what, buf_str(&got));
		narinfo_free(ni);
	}
	buf_free(&text);
	buf_free(&want);
	buf_free(&got);
}
END_TEST

/* parse -> print -> parse -> print is equal for all that is taken. */
START_TEST(print_is_stable)
{
	struct buf text = BUF_INIT, one = BUF_INIT, two = BUF_INIT;
	struct narinfo *a, *b;
	char err[256] = "";

	edit(&text, edits[_i].from, edits[_i].to, edits[_i].n);
	a = narinfo_parse(text.p, text.len, DIR, err, sizeof(err));
	if (a != NULL) {
		narinfo_print(a, &one);
		b = must_parse(buf_str(&one));
		narinfo_print(b, &two);
		ck_assert_str_eq(buf_str(&one), buf_str(&two));
		ck_assert(narinfo_same(a, b));
		ck_assert_uint_eq(a->nextra, b->nextra);
		ck_assert_uint_eq(a->nsigs, b->nsigs);
		narinfo_free(b);
	}
	narinfo_free(a);
	buf_free(&text);
	buf_free(&one);
	buf_free(&two);
}
END_TEST

/* The same hash in the spellings of nix hash to-base16, -base64, -sri. */
static const char *const spellings[] = {
	"sha256:094qif9n4cq4fdg459qzbhg1c6wywawwaaivx0k0x8xhbyx4vwic",
	"sha256:"
	"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
	"sha256:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=",
	"sha256-LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=",
};

START_TEST(spelling)
{
	struct buf text = BUF_INIT;
	struct narinfo *ni;
	struct digest d;

	edit(&text, "sha256:" NAR32, spellings[_i], strlen(spellings[_i]));
	ni = must_parse(buf_str(&text));
	hash_sha256("hello", 5, &d);
	ck_assert(digest_equal(&ni->nar_hash, &d));
	buf_clear(&text);
	narinfo_print(ni, &text);
	ck_assert_ptr_nonnull(strstr(buf_str(&text), spellings[0]));
	buf_free(&text);
	narinfo_free(ni);
}
END_TEST

START_TEST(any_order)
{
	static const char text[] =
	    SIG "NarSize: 248\n" REFS "NarHash: sha256:" NAR32 "\n"
		"FileHash: sha256:" FILE32 "\n"
		"Compression: xz\n" DERIVER "FileSize: 228\n"
		"URL: nar/" FILE32 ".nar.xz\n"
		"StorePath: " DIR "/" B "\n";
	struct narinfo *ni = must_parse(text);
	struct buf b = BUF_INIT;

	narinfo_print(ni, &b);
	ck_assert_str_eq(buf_str(&b), base);
	buf_free(&b);
	narinfo_free(ni);
}
END_TEST

/* As many references as there is room for, and one too many. */
START_TEST(size_limit)
{
	static const size_t len = HASH_PART_LEN + 7; /* with the space */
	struct buf text = BUF_INIT, refs = BUF_INIT, out = BUF_INIT;
	struct narinfo *ni;
	char err[256] = "";
	size_t i, n = (NARINFO_MAX - NARINFO_REST_MAX + 1) / len;

	for (;; n++) {
		buf_clear(&text);
		buf_clear(&refs);
		buf_adds(&refs, "References: ");
		for (i = 0; i < n; i++)
			buf_addf(&refs, "%s%032zu-%05zu", i > 0 ? " " : "", i,
			    i % 100000);
		buf_addch(&refs, '\n');
		edit(&text, REFS, refs.p, refs.len);
		ni = narinfo_parse(text.p, text.len, DIR, err, sizeof(err));
		if (ni == NULL)
			break;
		narinfo_print(ni, &out);
		ck_assert_uint_le(out.len, NARINFO_MAX);
		buf_free(&out);
		narinfo_free(ni);
	}
	ck_assert_uint_eq(n, (NARINFO_MAX - NARINFO_REST_MAX + 1) / len + 1);
	ck_assert_str_eq(err, "References: too long");
	buf_free(&text);
	buf_free(&refs);
}
END_TEST

START_TEST(empty)
{
	char err[256] = "";

	ck_assert_ptr_null(narinfo_parse("", 0, DIR, err, sizeof(err)));
	ck_assert_str_ne(err, "");
	narinfo_free(NULL);
}
END_TEST

START_TEST(many_references)
{
	static const char digits[] = "0123456789abcdfghijklmnpqrsvwxyz";
	struct buf text = BUF_INIT, refs = BUF_INIT;
	struct narinfo *ni;
	size_t i;

	buf_adds(&refs, "References: ");
	for (i = 10000; i-- > 0;)
		buf_addf(&refs, "%c%c%c0000000000000000000000000000%c-x%s",
		    digits[i >> 10], digits[i >> 5 & 31], digits[i & 31],
		    digits[i % 7], i == 0 ? "\n" : " ");
	edit(&text, REFS, refs.p, refs.len);
	ni = must_parse(buf_str(&text));
	ck_assert_uint_eq(ni->nreferences, 10000);
	for (i = 1; i < ni->nreferences; i++)
		ck_assert_int_lt(
		    strcmp(ni->references[i - 1], ni->references[i]), 0);
	narinfo_free(ni);
	buf_free(&text);
	buf_free(&refs);
}
END_TEST

/* Every prefix and every changed byte: an answer, and no more. */
START_TEST(damaged)
{
	char text[sizeof(base)], err[256];
	struct narinfo *ni;
	size_t i;

	for (i = 0; i < sizeof(base) - 1; i++) {
		ni = parse_exactly(base, i, err, sizeof(err));
		ck_assert(ni == NULL || base[i - 1] == '\n');
		narinfo_free(ni);
	}
	for (i = 0; i < sizeof(base) - 1; i++) {
		memcpy(text, base, sizeof(base));
		text[i] ^= (char)0x80;
		ck_assert_ptr_null(narinfo_parse(
		    text, sizeof(base) - 1, DIR, err, sizeof(err)));
	}
}
END_TEST

static const struct {
	const char *what;
	const char *from;
	const char *to;
	bool same;
} meanings[] = {
	{ "nothing", "URL", "URL", true },
	{ "no FileSize", "FileSize: 228\n", "", true },
	{ "another deriver", DERIVER, "", true },
	{ "another signature", SIG, SIG2, true },
	{ "other bytes for the NAR", "FileHash: sha256:" FILE32 "\n", "",
	    true },
	{ "another path", HEAD DIR "/" B, HEAD DIR "/" A, false },
	{ "another NarHash", "NarHash: sha256:1", "NarHash: sha256:0", false },
	{ "another NarSize", "NarSize: 248", "NarSize: 249", false },
	{ "fewer references", REFS, "References: " B "\n", false },
	{ "other references", REFS,
	    "References: " B " nixpx5v0h2byjpw09mcdgdr5finlj8y0-a-1.1\n",
	    false },
};

START_TEST(same)
{
	struct buf text = BUF_INIT, one = BUF_INIT, two = BUF_INIT;
	struct narinfo *a = must_parse(base), *b;

	edit(
	    &text, meanings[_i].from, meanings[_i].to, strlen(meanings[_i].to));
	b = must_parse(buf_str(&text));
	ck_assert_msg(
	    narinfo_same(a, b) == meanings[_i].same, "%s", meanings[_i].what);
	ck_assert(narinfo_same(b, a) == meanings[_i].same);
	narinfo_fingerprint(a, &one);
	narinfo_fingerprint(b, &two);
	ck_assert(
	    (strcmp(buf_str(&one), buf_str(&two)) == 0) == meanings[_i].same);
	narinfo_free(a);
	narinfo_free(b);
	buf_free(&text);
	buf_free(&one);
	buf_free(&two);
}
END_TEST

#define SIG_REST                                                               \
	"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"                   \
	"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="
#define SIG_TEXT ":AAAA" SIG_REST
#define SIG_BYTES SIG_TEXT "\n"
#define JUNK "Sig: junk" SIG_BYTES

static const struct {
	const char *what;
	const char *mine;
	const char *theirs;
	int rc;
	const char *merged;
} merges[] = {
	{ "one new", SIG, SIG2, 1, SIG2 SIG },
	{ "one new, the other order", SIG2, SIG, 1, SIG2 SIG },
	{ "the same", SIG, SIG, 0, SIG },
	{ "a part", SIG SIG2, SIG, 0, SIG2 SIG },
	{ "more than mine", SIG, SIG SIG2, 1, SIG2 SIG },
	{ "none of theirs", SIG, "", 0, SIG },
	{ "none of mine", "", SIG, 1, SIG },
	{ "none at all", "", "", 0, "" },
	{ "nobody's", SIG, JUNK, 0, SIG },
	{ "nobody's, of old", JUNK, SIG, 1, JUNK SIG },
};

static unsigned int
worth(const void *arg, const struct narinfo *ni, const char *sig)
{
	(void)arg;
	(void)ni;
	return strncmp(sig, "junk", 4) == 0 ? 0
	    : strncmp(sig, "ours", 4) == 0  ? 2
					    : 1;
}

static const struct sig_rank rank = { worth, NULL };

START_TEST(merge)
{
	struct buf mine = BUF_INIT, theirs = BUF_INIT, got = BUF_INIT;
	struct buf want = BUF_INIT;
	struct narinfo *a, *b;

	edit(&mine, SIG, merges[_i].mine, strlen(merges[_i].mine));
	edit(&theirs, SIG, merges[_i].theirs, strlen(merges[_i].theirs));
	edit(&want, SIG, merges[_i].merged, strlen(merges[_i].merged));
	a = must_parse(buf_str(&mine));
	b = must_parse(buf_str(&theirs));
	ck_assert_msg(narinfo_merge_sigs(a, b, &rank) == merges[_i].rc, "%s",
	    merges[_i].what);
	narinfo_free(b);
	narinfo_print(a, &got);
	ck_assert_str_eq(buf_str(&got), buf_str(&want));
	narinfo_free(a);
	buf_free(&mine);
	buf_free(&theirs);
	buf_free(&got);
	buf_free(&want);
}
END_TEST

/* The narinfo with n signatures named prefix and a number, and more lines. */
static void
with_sigs(struct buf *out, const char *prefix, size_t n, const char *more)
{
	struct buf lines = BUF_INIT;
	size_t i;

	for (i = 0; i < n; i++)
		buf_addf(&lines, "Sig: %s%02zu" SIG_BYTES, prefix, i);
	buf_adds(&lines, more);
	edit(out, SIG, buf_str(&lines), lines.len);
	buf_free(&lines);
}

static size_t
count_sigs(const struct narinfo *ni, const char *prefix)
{
	size_t i, n = 0;

	for (i = 0; i < ni->nsigs; i++)
		n += strncmp(ni->sigs[i], prefix, strlen(prefix)) == 0;
	return n;
}

/* At the limit what is worth more takes the place of what is worth less. */
START_TEST(merge_at_the_limit)
{
	static const struct {
		const char *mine, *theirs;
		size_t kept; /* of mine */
		int rc;
	} rows[] = {
		{ "junk", "good", 15, 1 },
		{ "good", "junk", 16, 0 },
		{ "good", "more", 16, 0 },
		{ "good", "ours", 15, 1 },
		{ "ours", "good", 16, 0 },
	};
	struct buf mine = BUF_INIT, theirs = BUF_INIT, got = BUF_INIT;
	struct narinfo *a, *b;

	with_sigs(&mine, rows[_i].mine, NARINFO_SIGS_MAX, "");
	with_sigs(&theirs, rows[_i].theirs, 1, "");
	a = must_parse(buf_str(&mine));
	b = must_parse(buf_str(&theirs));
	ck_assert_int_eq(narinfo_merge_sigs(a, b, &rank), rows[_i].rc);
	ck_assert_uint_eq(a->nsigs, NARINFO_SIGS_MAX);
	ck_assert_uint_eq(count_sigs(a, rows[_i].mine), rows[_i].kept);
	/* Ours goes in whatever is there. */
	ck_assert_int_eq(narinfo_add_sig(a, "ours" SIG_TEXT, &rank), 0);
	ck_assert_uint_eq(a->nsigs, NARINFO_SIGS_MAX);
	narinfo_print(a, &got);
	narinfo_free(must_parse(buf_str(&got)));
	narinfo_free(a);
	narinfo_free(b);
	buf_free(&mine);
	buf_free(&theirs);
	buf_free(&got);
}
END_TEST

START_TEST(merge_one_of_a_name)
{
	static const char other[] = "Sig: good00:BBBB" SIG_REST "\n";
	struct buf mine = BUF_INIT, theirs = BUF_INIT;
	struct narinfo *a, *b;

	with_sigs(&mine, "good", 1, "");
	edit(&theirs, SIG, other, strlen(other));
	a = must_parse(buf_str(&mine));
	b = must_parse(buf_str(&theirs));
	ck_assert_int_eq(narinfo_merge_sigs(a, b, &rank), 0);
	ck_assert_uint_eq(a->nsigs, 1);
	narinfo_free(a);
	narinfo_free(b);
	buf_free(&mine);
	buf_free(&theirs);
}
END_TEST

/* What is over the limits is refused, unless it is there from before. */
START_TEST(limits)
{
	struct buf text = BUF_INIT, lines = BUF_INIT, got = BUF_INIT;
	struct narinfo *ni;
	char err[256];
	size_t i;

	with_sigs(&text, "junk", NARINFO_SIGS_MAX, "");
	narinfo_free(must_parse(buf_str(&text)));
	buf_clear(&text);
	for (i = 0; i < NARINFO_EXTRA_MAX; i++)
		buf_addf(&lines, "More: %zu\n", i);
	with_sigs(&text, "junk", 1, buf_str(&lines));
	narinfo_free(must_parse(buf_str(&text)));
	buf_clear(&text);
	with_sigs(&text, "junk", 20000, "");
	ck_assert_ptr_null(
	    narinfo_parse(text.p, text.len, DIR, err, sizeof(err)));
	ck_assert_str_eq(err, "Sig: more than 16 signatures");
	buf_clear(&text);
	buf_adds(&lines, "Last: one\n");
	with_sigs(&text, "junk", 1, buf_str(&lines));
	ck_assert_ptr_null(
	    narinfo_parse(text.p, text.len, DIR, err, sizeof(err)));
	buf_clear(&text);
	buf_clear(&lines);
	buf_adds(&lines, "Long: ");
	for (i = 0; i < NARINFO_EXTRA_BYTES - 7; i++)
		buf_addch(&lines, 'x');
	buf_addch(&lines, '\n');
	buf_addf(&lines, "Sig: good" SIG_BYTES "More: 1\n");
	with_sigs(&text, "junk", 20000, buf_str(&lines));
	ck_assert_ptr_null(
	    narinfo_parse(text.p, text.len, DIR, err, sizeof(err)));
	ni = narinfo_parse_stored(text.p, text.len, DIR, err, sizeof(err));
	ck_assert_msg(ni != NULL, "%s", err);
	ck_assert_int_eq(narinfo_trim(ni, &rank), 1);
	ck_assert_uint_eq(ni->nsigs, NARINFO_SIGS_MAX);
	ck_assert_uint_eq(count_sigs(ni, "good"), 1);
	ck_assert_uint_eq(ni->nextra, 1);
	ck_assert_int_eq(narinfo_trim(ni, &rank), 0);
	narinfo_print(ni, &got);
	ck_assert_uint_lt(got.len, NARINFO_REST_MAX);
	narinfo_free(must_parse(buf_str(&got)));
	narinfo_free(ni);
	buf_free(&text);
	buf_free(&lines);
	buf_free(&got);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("narinfo");

	if (sodium_init() == -1)
		return EXIT_FAILURE;
	UNIT_ROWS(s, "written", as_written, nitems(written));
	UNIT_ROWS(s, "fields", fields, 1);
	UNIT_ROWS(s, "edited", edited, nitems(edits));
	UNIT_ROWS(s, "stable", print_is_stable, nitems(edits));
	UNIT_ROWS(s, "spelling", spelling, nitems(spellings));
	UNIT_ROWS(s, "order", any_order, 1);
	UNIT_ROWS(s, "limit", size_limit, 1);
	UNIT_ROWS(s, "empty", empty, 1);
	UNIT_ROWS(s, "many references", many_references, 1);
	UNIT_ROWS(s, "damaged", damaged, 1);
	UNIT_ROWS(s, "same", same, nitems(meanings));
	UNIT_ROWS(s, "merge", merge, nitems(merges));
	UNIT_ROWS(s, "merge at the limit", merge_at_the_limit, 5);
	UNIT_ROWS(s, "merge, one of a name", merge_one_of_a_name, 1);
	UNIT_ROWS(s, "limits", limits, 1);
	return unit_main(s);
}
