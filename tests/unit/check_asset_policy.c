#include "config.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "asset.h"
#include "asset_policy.h"
#include "asset_sigv4.h"
#include "base32.h"
#include "relay.h"
#include "unit.h"

#define TYPE "application/x-nix-nar"
#define NOW 1700000000 /* 2023-11-14T22:13:20Z */
#define LATER "2023-11-15T22:13:20.214Z"

#define BUCKET "{\"bucket\":\"production-assetsbucket-8ljvyr1xczmb\"}"
#define KEY "[\"starts-with\",\"$key\",\"0b52f2b1-5c1c/\"]"
#define CTYPE "[\"eq\",\"$Content-Type\",\"" TYPE "\"]"
#define ACL "{\"acl\":\"public-read\"}"
#define CC "[\"starts-with\",\"$Cache-Control\",\"\"]"
#define RANGE "[\"content-length-range\",0,268435456]"
#define DOC(exp, conditions)                                                   \
	"{\"expiration\":\"" exp "\",\"conditions\":[" conditions "]}"
#define GOOD BUCKET "," KEY "," CTYPE "," ACL "," CC "," RANGE

/* The API's answer with this document. */
static struct asset_policy *
parse_document(const char *doc, struct buf *why)
{
	char text[4096], answer[8192];

	ck_assert(strlen(doc) < 3000);
	base64_encode((const uint8_t *)doc, strlen(doc), text);
	snprintf(answer, sizeof(answer),
	    "{\"policy\":\"%s\",\"signature\":\"c2lnbg==\","
	    "\"accessKeyId\":\"AKIA\",\"more\":[1,{}]}",
	    text);
	return asset_policy_parse(answer, strlen(answer), TYPE, NOW, why);
}

START_TEST(good)
{
	struct buf why = BUF_INIT;
	struct asset_policy *po = parse_document(DOC(LATER, GOOD), &why);

	ck_assert_msg(po != NULL, "%s", buf_str(&why));
	ck_assert_str_eq(po->bucket, "production-assetsbucket-8ljvyr1xczmb");
	ck_assert_str_eq(po->prefix, "0b52f2b1-5c1c/");
	ck_assert_str_eq(po->acl, "public-read");
	ck_assert_str_eq(po->signature, "c2lnbg==");
	ck_assert_str_eq(po->key_id, "AKIA");
	ck_assert_str_eq(po->content_type, TYPE);
	ck_assert_uint_eq(po->min, 0);
	ck_assert_uint_eq(po->max, 268435456);
	ck_assert_int_eq(po->expires, NOW + 86400);
	asset_policy_free(po);
}
END_TEST

static const struct {
	const char *doc;
	const char *why;
} bad[] = {
	{ " ", "not JSON" },
	{ "{", "not JSON" },
	{ "{} {}", "not JSON" },
	{ "[]", "no good expiration" },
	{ "{}", "no good expiration" },
	{ "{\"expiration\":\"" LATER "\"}", "no conditions" },
	{ "{\"expiration\":\"" LATER "\",\"conditions\":{}}", "no conditions" },
	{ "{\"expiration\":1,\"conditions\":[]}", "no good expiration" },
	{ DOC("tomorrow", GOOD), "no good expiration" },
	{ DOC("2023-11-14T22:13:10.000Z", GOOD), "expired 10 s before" },
	{ DOC(LATER, ""), "no bucket" },
	{ DOC(LATER, KEY "," RANGE), "no bucket" },
	{ DOC(LATER, BUCKET "," RANGE), "no key prefix" },
	{ DOC(LATER, BUCKET "," KEY), "no content-length-range" },
	{ DOC(LATER, GOOD "," BUCKET), "two conditions on bucket" },
	{ DOC(LATER, GOOD "," KEY), "two conditions on key" },
	{ DOC(LATER, GOOD "," RANGE), "malformed content-length-range" },
	{ DOC(LATER, "{\"bucket\":\"a/b\"}," KEY "," RANGE), "bucket's name" },
	{ DOC(LATER, "{\"bucket\":\"..\"}," KEY "," RANGE), "bucket's name" },
	{ DOC(LATER, "{\"bucket\":\"UPPER\"}," KEY "," RANGE),
	    "bucket's name" },
	{ DOC(LATER, "{\"bucket\":7}," KEY "," RANGE), "malformed condition" },
	{ DOC(LATER, BUCKET ",[\"starts-with\",\"$key\",\"\"]," RANGE),
	    "key prefix is none" },
	{ DOC(LATER, BUCKET ",[\"starts-with\",\"$key\",\"a\"]," RANGE),
	    "key prefix is none" },
	{ DOC(LATER, BUCKET ",[\"starts-with\",\"$key\",\"/\"]," RANGE),
	    "key prefix is none" },
	{ DOC(LATER, BUCKET ",[\"starts-with\",\"$key\",\"../\"]," RANGE),
	    "key prefix is none" },
	{ DOC(LATER, BUCKET ",[\"starts-with\",\"$key\",\"a?/\"]," RANGE),
	    "key prefix is none" },
	{ DOC(LATER, BUCKET ",[\"starts-with\",\"$key\",\"a\\n/\"]," RANGE),
	    "unfit condition on key" },
	/* The one key that "eq" allows is none of ours. */
	{ DOC(LATER, BUCKET ",[\"eq\",\"$key\",\"a/\"]," RANGE),
	    "can't meet, on key" },
	{ DOC(LATER,
	      BUCKET "," KEY "," RANGE
		     ",[\"eq\",\"$Content-Type\",\"image/png\"]"),
	    "another Content-Type" },
	{ DOC(LATER, GOOD ",[\"eq\",\"$x-amz-meta-a\",\"b\"]"),
	    "can't meet, on x-amz-meta-a" },
	{ DOC(LATER, GOOD ",[\"eq\",\"$Cache-Control\",\"no-store\"]"),
	    "can't meet, on Cache-Control" },
	{ DOC(LATER, GOOD ",[\"matches\",\"$key\",\"b\"]"),
	    "malformed condition" },
	{ DOC(LATER, GOOD ",[\"eq\",\"key\",\"b\"]"), "malformed condition" },
	{ DOC(LATER, GOOD ",{\"a\":\"b\",\"c\":\"d\"}"),
	    "malformed condition" },
	{ DOC(LATER, GOOD ",7"), "malformed condition" },
	{ DOC(LATER, BUCKET "," KEY ",[\"content-length-range\",0,-1]"),
	    "absurd content-length-range 0 to -1" },
	{ DOC(LATER, BUCKET "," KEY ",[\"content-length-range\",-1,5]"),
	    "absurd" },
	{ DOC(LATER, BUCKET "," KEY ",[\"content-length-range\",6,5]"),
	    "absurd" },
	{ DOC(LATER, BUCKET "," KEY ",[\"content-length-range\",0,0]"),
	    "absurd" },
	{ DOC(LATER,
	      BUCKET "," KEY ",[\"content-length-range\",0,5497558138881]"),
	    "absurd" },
	{ DOC(LATER, BUCKET "," KEY ",[\"content-length-range\",0,\"5\"]"),
	    "malformed content-length-range" },
	{ DOC(LATER, BUCKET "," KEY ",[\"content-length-range\",0,1e9]"),
	    "malformed content-length-range" },
	{ DOC(LATER, BUCKET "," KEY ",[\"content-length-range\",0]"),
	    "malformed" },
	/* Twice the same member: which of them would S3 take? */
	{ "{\"expiration\":\"" LATER "\",\"expiration\":\"" LATER
	  "\",\"conditions\":[" GOOD "]}",
	    "not JSON" },
};

START_TEST(bad_document)
{
	struct buf why = BUF_INIT;
	struct asset_policy *po = parse_document(bad[_i].doc, &why);

	ck_assert_msg(po == NULL, "taken: %s", bad[_i].doc);
	ck_assert_msg(strstr(buf_str(&why), bad[_i].why) != NULL,
	    "%s\nsays: %s", bad[_i].doc, buf_str(&why));
	buf_free(&why);
}
END_TEST

static const struct {
	const char *answer;
	const char *why;
} answers[] = {
	{ "", "not a JSON object" },
	{ "null", "not a JSON object" },
	{ "[]", "not a JSON object" },
	{ "{\"policy\": ", "not a JSON object" },
	{ "<html>", "not a JSON object" },
	{ "{}", "no string \"policy\"" },
	{ "{\"policy\":null}", "no string \"policy\"" },
	{ "{\"policy\":\"\"}", "unfit \"policy\"" },
	{ "{\"policy\":\"e30=\"}", "no string \"signature\"" },
	{ "{\"policy\":\"e30=\",\"signature\":\"x\"}",
	    "no string \"accessKeyId\"" },
	{ "{\"policy\":\"e30=\",\"signature\":\"x\\r\\ny\"}",
	    "unfit \"signature\"" },
	{ "{\"policy\":\"e30=\",\"signature\":\"x\\u0000y\"}",
	    "not a JSON object" },
	{ "{\"policy\":\"!\",\"signature\":\"x\",\"accessKeyId\":\"y\"}",
	    "not base 64" },
	{ "{\"policy\":\"e30\",\"signature\":\"x\",\"accessKeyId\":\"y\"}",
	    "not base 64" },
};

START_TEST(bad_answer)
{
	const char *a = answers[_i].answer;
	struct buf why = BUF_INIT;

	ck_assert_ptr_null(asset_policy_parse(a, strlen(a), TYPE, NOW, &why));
	ck_assert_msg(strstr(buf_str(&why), answers[_i].why) != NULL,
	    "%s\nsays: %s", a, buf_str(&why));
	buf_free(&why);
}
END_TEST

static const struct {
	const char *s;
	int64_t at; /* -1: malformed */
} times[] = {
	{ "1970-01-01T00:00:00Z", 0 },
	{ "2021-10-10T03:51:52.214Z", 1633837912 },
	{ "2024-02-29T12:00:00Z", 1709208000 },
	{ "2021-10-10T03:51:52", -1 },
	{ "2021-10-10T03:51:52.Z", -1 },
	{ "2021-10-10T03:51:52+00:00", -1 },
	{ "2021-10-10 03:51:52Z", -1 },
	{ "2021-13-10T03:51:52Z", -1 },
	{ "2021-00-10T03:51:52Z", -1 },
	{ "2021-10-32T03:51:52Z", -1 },
	{ "2021-10-10T24:51:52Z", -1 },
	{ "2021-10-10T03:51:52Zx", -1 },
	{ "0000-10-10T03:51:52Z", -1 },
	{ "2021-10-1", -1 },
	{ "", -1 },
};

START_TEST(expirations)
{
	int64_t at = 0;

	ck_assert_int_eq(
	    asset_policy_time(times[_i].s, &at), times[_i].at == -1 ? -1 : 0);
	if (times[_i].at != -1)
		ck_assert_int_eq(at, times[_i].at);
}
END_TEST

/* Amazon S3, "Authenticating Requests: Using Query Parameters", its example. */
START_TEST(presigned_as_documented)
{
	const struct sigv4 s = { .method = "GET",
		.scheme = "https://",
		.host = "examplebucket.s3.amazonaws.com",
		.path = "/test.txt",
		.region = "us-east-1",
		.key_id = "AKIAIOSFODNN7EXAMPLE",
		.secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
		.now = 1369353600, /* 2013-05-24T00:00:00Z */
		.expires = 86400 };
	struct buf url = BUF_INIT;

	sigv4_presign(&s, &url);
	ck_assert_str_eq(buf_str(&url),
	    "https://examplebucket.s3.amazonaws.com/test.txt"
	    "?X-Amz-Algorithm=AWS4-HMAC-SHA256"
	    "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1"
	    "%2Fs3%2Faws4_request"
	    "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400"
	    "&X-Amz-SignedHeaders=host"
	    "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c2659"
	    "57d157751f604d404");
	buf_free(&url);
}
END_TEST

static const struct {
	const char *in;
	bool slash;
	const char *out;
} encoded[] = {
	{ "", true, "" },
	{ "nar/x.nar.xz", true, "nar/x.nar.xz" },
	{ "nar/x.nar.xz", false, "nar%2Fx.nar.xz" },
	{ "a-b.c_d~e", true, "a-b.c_d~e" },
	{ "log/a+b?=!:c", true, "log/a%2Bb%3F%3D%21%3Ac" },
	{ "\xff %", true, "%FF%20%25" },
};

START_TEST(url_encoding)
{
	struct buf b = BUF_INIT;

	asset_url_encode(&b, encoded[_i].in, encoded[_i].slash);
	ck_assert_str_eq(buf_str(&b), encoded[_i].out);
	buf_free(&b);
}
END_TEST

static const struct {
	const char *body;
	const char *code;
	const char *why;
} errors[] = {
	{ "<?xml?><Error><Code>NoSuchKey</Code><Message>gone</Message></Error>",
	    "NoSuchKey", ": NoSuchKey: gone" },
	{ "<Error><Message>only words</Message></Error>", "", ": only words" },
	{ "<Error><Code>A</Code><Message></Message>", "A", ": A" },
	{ "<Code>unclosed", "unclosed", ": unclosed" },
	{ "plain", "", "" },
	{ "", "", "" },
};

START_TEST(xml_errors)
{
	struct buf body = BUF_INIT, why = BUF_INIT;
	char code[64];

	buf_adds(&body, errors[_i].body);
	asset_xml_error(&body, &why, code);
	ck_assert_str_eq(code, errors[_i].code);
	ck_assert_str_eq(buf_str(&why), errors[_i].why);
	buf_free(&body);
	buf_free(&why);
}
END_TEST

static const struct {
	const char *text;
	size_t from;
	const char *left;
} scrubbed[] = {
	{ "nothing", 0, "nothing" },
	{ "secret", 0, "***" },
	{ "a secret and a secret", 0, "a *** and a ***" },
	{ "secretsecret", 0, "******" },
	{ "secret secret", 1, "secret ***" },
	{ "", 0, "" },
};

START_TEST(secrets_are_scrubbed)
{
	struct buf b = BUF_INIT;

	buf_adds(&b, scrubbed[_i].text);
	asset_scrub(&b, scrubbed[_i].from, "secret");
	ck_assert_str_eq(buf_str(&b), scrubbed[_i].left);
	ck_assert_uint_eq(b.len, strlen(scrubbed[_i].left));
	buf_free(&b);
}
END_TEST

static const struct {
	int64_t attempts;
	uint32_t random;
	int64_t delay;
} delays[] = {
	{ 0, 0, 5 }, /* as the first */
	{ 1, 0, 5 },
	{ 1, 1, 6 },
	{ 1, 2, 5 }, /* a quarter of 5 is 1 */
	{ 2, 0, 20 },
	{ 2, 5, 25 },
	{ 2, 6, 20 },
	{ 10, 0, 500 },
	{ 26, 0, 3380 },
	{ 27, 0, 3600 },
	{ 1000000, 900, 4500 },
	{ 1000000, 901, 3600 },
};

START_TEST(retry_delays)
{
	ck_assert_int_eq(relay_delay(delays[_i].attempts, delays[_i].random),
	    delays[_i].delay);
}
END_TEST

static const struct {
	int status;
	bool temporary;
} statuses[] = { { 400, false }, { 403, false }, { 404, false }, { 408, true },
	{ 413, false }, { 429, true }, { 301, false }, { 500, true },
	{ 503, true }, { 507, true } };

START_TEST(temporary_statuses)
{
	ck_assert_int_eq(asset_status_temporary(statuses[_i].status),
	    statuses[_i].temporary);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("asset_policy");
	TCase *one = tcase_create("one");

	tcase_add_test(one, good);
	tcase_add_test(one, presigned_as_documented);
	suite_add_tcase(s, one);
	UNIT_ROWS(s, "bad documents", bad_document, nitems(bad));
	UNIT_ROWS(s, "bad answers", bad_answer, nitems(answers));
	UNIT_ROWS(s, "expirations", expirations, nitems(times));
	UNIT_ROWS(s, "url encoding", url_encoding, nitems(encoded));
	UNIT_ROWS(s, "xml errors", xml_errors, nitems(errors));
	UNIT_ROWS(s, "scrubbing", secrets_are_scrubbed, nitems(scrubbed));
	UNIT_ROWS(s, "retry delays", retry_delays, nitems(delays));
	UNIT_ROWS(s, "statuses", temporary_statuses, nitems(statuses));
	return unit_main(s);
}
