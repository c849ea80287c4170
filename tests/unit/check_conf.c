#include "config.h"

#include "conf.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "unit.h"

#define STR(s) s, sizeof(s) - 1
#define PUBLIC_KEY "k-1:zrtnFoyqQwwrmd8StyXKYX77/Uk0TTEjmemW/uBz7eg="

/* One line "key = value" that is right, and what the field must be then. */
static const struct {
	const char *line;
	size_t offset;
	enum { TEXT, NUMBER, BOOL, LEVEL } kind;
	const char *text;
	uint64_t number;
} good[] = {
#define IS_TEXT(l, f, v)                                                       \
	{                                                                      \
		l, offsetof(struct conf, f), TEXT, v, 0                        \
	}
#define IS_NUMBER(l, f, v)                                                     \
	{                                                                      \
		l, offsetof(struct conf, f), NUMBER, NULL, v                   \
	}
#define IS_BOOL(l, f, v)                                                       \
	{                                                                      \
		l, offsetof(struct conf, f), BOOL, NULL, v                     \
	}
#define IS_LEVEL(l, v)                                                         \
	{                                                                      \
		l, offsetof(struct conf, log_level), LEVEL, NULL, v            \
	}
	IS_TEXT("state_dir = /a", state_dir, "/a"),
	IS_TEXT("state_dir=/a", state_dir, "/a"),
	IS_TEXT("\t state_dir\t=\t/a \t", state_dir, "/a"),
	IS_TEXT("state_dir = /a b", state_dir, "/a b"),
	IS_TEXT("state_dir = /a#b", state_dir, "/a#b"),
	IS_TEXT("state_dir = /a #b", state_dir, "/a"),
	IS_TEXT("state_dir = /a\t# b # c", state_dir, "/a"),
	IS_TEXT("state_dir = /a=b", state_dir, "/a=b"),
	IS_TEXT("state_dir = /.a/..b/c.", state_dir, "/.a/..b/c."),
	IS_TEXT("state_dir = /none", state_dir, "/none"),
	IS_TEXT("store_dir = /tmp/nix/store", store_dir, "/tmp/nix/store"),
	IS_TEXT("url = http://h", url, "http://h"),
	IS_TEXT("url = https://a.B-c_1:65535", url, "https://a.B-c_1:65535"),
	IS_TEXT("url = http://[::1]:80", url, "http://[::1]:80"),
	IS_TEXT("public_key_file = none", public_key_file, NULL),
	IS_TEXT("public_key_file = /k", public_key_file, "/k"),
	IS_TEXT("drv_public_key_file = /k", drv_public_key_file, "/k"),
	IS_TEXT("body_dir = /b", body_dir, "/b"),
	IS_BOOL("want_mass_query = no", want_mass_query, 0),
	IS_BOOL("want_mass_query = yes", want_mass_query, 1),
	IS_NUMBER("priority = 0", priority, 0),
	IS_NUMBER("priority = 1000000", priority, 1000000),
	IS_NUMBER("threads = 1", threads, 1),
	IS_NUMBER("threads = 512", threads, 512),
	IS_NUMBER("spool_min_free = 0", spool_min_free, 0),
	IS_NUMBER("spool_min_free = 1T", spool_min_free, (uint64_t)1 << 40),
	IS_NUMBER("max_upload_size = 0", max_upload_size, 0),
	IS_NUMBER("max_upload_size = 9223372036854775807", max_upload_size,
	    INT64_MAX),
	IS_NUMBER("max_meta_size = 1", max_meta_size, 1),
	IS_NUMBER("max_meta_size = 1G", max_meta_size, (uint64_t)1 << 30),
	IS_NUMBER("max_nar_size = 1", max_nar_size, 1),
	IS_NUMBER("max_nar_cpu = 1h", max_nar_cpu, 3600),
	IS_NUMBER("max_nar_ratio = 7", max_nar_ratio, 7),
	IS_NUMBER("verify_workers = 64", verify_workers, 64),
	IS_BOOL("check_references = yes", check_references, 1),
	IS_BOOL("require_signature = yes", require_signature, 1),
	IS_BOOL("public_reads = no", public_reads, 0),
	IS_TEXT("trusted_public_keys = none", trusted_public_keys, NULL),
	IS_TEXT("trusted_public_keys = " PUBLIC_KEY, trusted_public_keys,
	    PUBLIC_KEY),
	IS_TEXT("secret_key_file = /a/b /c", secret_key_file, "/a/b /c"),
	IS_TEXT("state_dir = /s\nsecret_key_file = k/a /b  c", secret_key_file,
	    "/s/k/a /b  /s/c"),
	IS_TEXT("verify = file", secret_key_file, NULL),
	IS_TEXT("verify = file\nsecret_key_file = /k", secret_key_file, "/k"),
	IS_TEXT("state_dir = /s", secret_key_file, "/s/keys/cache.sec"),
	IS_TEXT("state_dir = /s", public_key_file, "/s/keys/cache.pub"),
	IS_TEXT("state_dir = /s\npublic_key_file = p", public_key_file, "/s/p"),
	IS_TEXT("secret_key_file = none", secret_key_file, NULL),
	IS_NUMBER("relay_workers = 1", relay_workers, 1),
	IS_NUMBER("relay_workers = 64", relay_workers, 64),
	IS_NUMBER("stop_timeout = 1", stop_timeout, 1),
	IS_NUMBER("stop_timeout = 10m", stop_timeout, 600),
	IS_TEXT("drv_overlays = /o", drv_overlays, "/o"),
	IS_TEXT("", drv_overlays, NULL),
	IS_TEXT("drv_nix_path = a=/b:/c", drv_nix_path, "a=/b:/c"),
	IS_TEXT("drv_args = --argstr  a   b", drv_args, "--argstr a b"),
	IS_TEXT("drv_args = none", drv_args, NULL),
	IS_TEXT(
	    "drv_store_dir = /tmp/nix/store", drv_store_dir, "/tmp/nix/store"),
	IS_TEXT("store_dir = /tmp/nix/store", drv_store_dir, "/tmp/nix/store"),
	IS_TEXT("state_dir = /s", drv_state_dir, "/s/nix"),
	IS_TEXT("drv_state_dir = /d", drv_state_dir, "/d"),
	IS_TEXT("state_dir = /s", drv_secret_key_file, "/s/keys/drv.sec"),
	IS_TEXT("drv_secret_key_file = /k", drv_secret_key_file, "/k"),
	IS_TEXT("nix_bin_dir = /n", nix_bin_dir, "/n"),
	IS_NUMBER("", drv_timeout, 900),
	IS_NUMBER("drv_timeout = 1", drv_timeout, 1),
	IS_NUMBER("drv_jobs = 64", drv_jobs, 64),
	IS_NUMBER("drv_queue = 0", drv_queue, 0),
	IS_NUMBER("drv_memory = 0", drv_memory, 0),
	IS_NUMBER("drv_cpu = 1m", drv_cpu, 60),
	IS_LEVEL("log_level = warn", LOG_LVL_WARN),
	IS_LEVEL("log_level = info", LOG_LVL_INFO),
	IS_LEVEL("log_level = debug", LOG_LVL_DEBUG),
	/* Lines without a key change nothing: the default of store_dir. */
	IS_TEXT("", store_dir, "/nix/store"),
	IS_TEXT(" \t ", store_dir, "/nix/store"),
	IS_TEXT("#store_dir = /x", store_dir, "/nix/store"),
	IS_TEXT("  # store_dir = /x", store_dir, "/nix/store"),
	IS_TEXT("# \xc3\xa9 \x01", store_dir, "/nix/store"),
	IS_TEXT("asset_store = file", store_dir, "/nix/store"),
};

START_TEST(good_line)
{
	struct buf errs = BUF_INIT;
	struct conf *c;
	const char *field;

	c = conf_parse(good[_i].line, strlen(good[_i].line), "f", &errs);
	ck_assert_msg(c != NULL, "%s: %s", good[_i].line, buf_str(&errs));
	ck_assert_uint_eq(errs.len, 0);
	field = (const char *)c + good[_i].offset;
	switch (good[_i].kind) {
	case TEXT:
		ck_assert_pstr_eq(
		    *(const char *const *)(const void *)field, good[_i].text);
		break;
	case NUMBER:
		ck_assert_uint_eq(
		    *(const uint64_t *)(const void *)field, good[_i].number);
		break;
	case BOOL:
		ck_assert_uint_eq(
		    *(const bool *)(const void *)field, good[_i].number);
		break;
	case LEVEL:
		ck_assert_uint_eq(*(const enum log_level *)(const void *)field,
		    good[_i].number);
		break;
	}
	conf_free(c);
	buf_free(&errs);
}
END_TEST

/* A text that is wrong, and a part of what has to be said about it. */
static const struct {
	const char *text;
	size_t n;
	const char *says;
} bad[] = {
	{ STR("nonsense"), "f:1: not a line of the form" },
	{ STR("file. = /a"), "unknown key" },
	{ STR("file.-a = /a"), "the name behind \"file.\" must be" },
	{ STR("file.a/b = /a"), "the name behind \"file.\" must be" },
	{ STR("file.a b = /a"), "the name behind \"file.\" must be" },
	{ STR("file.a = a"), "a file. key must be an absolute path" },
	{ STR("file.a = /a\x01"), "a file. key must be an absolute path" },
	{ STR("file.a ="), "a file. key must be an absolute path" },
	{ STR("file.a = /a\nfile.a = /b"), "f:2: file.a is set already" },
	{ STR("drv_nix_path = a=/b c"), "without blanks" },
	{ STR("drv_eval = pure"), "must be restricted or impure" },
	{ STR("drv_timeout = 0"), "from 1s to 1d" },
	{ STR("drv_jobs = 0"), "from 1 to 64" },
	{ STR("drv_queue = 257"), "from 0 to 256" },
	{ STR("drv_cpu = 2d"), "up to 1d" },
	{ STR("drv_memory = x"), "0 for no limit" },
	{ STR("nix_bin_dir = none"), "must be an absolute path" },
	{ STR("a\nb\n"), "f:2: not a line of the form" },
	{ STR("thread = 1"), "f:1: unknown key \"thread\"" },
	{ STR("Threads = 1"), "unknown key \"Threads\"" },
	{ STR("threads 2 = 1"), "unknown key" },
	{ STR("= 1"), "unknown key \"\"" },
	{ STR("th\xc3\xa9 = 1"), "unknown key \"th\"" },
	{ STR("threads = 1\n\nthreads = 1"),
	    "f:3: threads is set in line 1 already" },
	/* A bad one counts as set too: one mistake, one message each. */
	{ STR("threads = x\nthreads = 1"), "f:2: threads is set in line 1" },
	{ STR("threads ="),
	    "threads must be a number from 1 to 512, not \"\"" },
	{ STR("threads = # 5"), "not \"\"" },
	{ STR("threads = 0"), "from 1 to 512, not \"0\"" },
	{ STR("threads = 513"), "from 1 to 512" },
	{ STR("threads = 032"), "from 1 to 512" },
	{ STR("threads = -1"), "from 1 to 512" },
	{ STR("threads = 5 6"), "not \"5 6\"" },
	{ STR("threads = 99999999999999999999"), "from 1 to 512" },
	{ STR("priority = 1000001"), "from 0 to 1000000" },
	{ STR("relay_workers = 65"), "from 1 to 64" },
	{ STR("relay_workers = 0"), "from 1 to 64" },
	{ STR("stop_timeout = 0"), "from 1s to 10m" },
	{ STR("stop_timeout = 11m"), "from 1s to 10m" },
	{ STR("stop_timeout = 1 m"), "from 1s to 10m" },
	{ STR("spool_min_free = 1MB"), "number of bytes" },
	{ STR("spool_min_free = 9223372036854775808"), "number of bytes" },
	{ STR("max_upload_size = -1"), "0 for no limit" },
	{ STR("max_upload_size = 16777216T"), "0 for no limit" },
	{ STR("max_meta_size = 0"), "from 1 to 1G" },
	{ STR("max_meta_size = 1073741825"), "from 1 to 1G" },
	{ STR("want_mass_query = true"), "must be yes or no, not \"true\"" },
	{ STR("want_mass_query = Yes"), "must be yes or no" },
	{ STR("log_level = warning"), "must be warn, info or debug" },
	{ STR("asset_store = ftp"), "must be file, glitch or s3, not \"ftp\"" },
	{ STR("asset_store = glitch\nglitch_project = x"),
	    "asset_store = glitch needs glitch_token_file" },
	{ STR("asset_store = glitch\nglitch_token_file = /x"),
	    "asset_store = glitch needs glitch_project" },
	{ STR("asset_store = s3\ns3_bucket = x"),
	    "asset_store = s3 needs s3_credentials_file" },
	{ STR("asset_store = s3\ns3_credentials_file = /x"),
	    "asset_store = s3 needs s3_bucket" },
	{ STR("glitch_project = a/b"), "must be the id of a project" },
	{ STR("glitch_project = ..a"), "must be the id of a project" },
	{ STR("glitch_api = https://api.glitch.com/"), "nothing behind it" },
	{ STR("s3_endpoint = s3.amazonaws.com"), "must be http://HOST" },
	{ STR("s3_region = us east"), "must be a region" },
	{ STR("s3_bucket = a/b"), "must be the name of a bucket" },
	{ STR("s3_prefix = nix"), "a slash behind each part" },
	{ STR("s3_prefix = /nix/"), "a slash behind each part" },
	{ STR("s3_prefix = /"), "a slash behind each part" },
	{ STR("s3_prefix = a//b/"), "a slash behind each part" },
	{ STR("s3_prefix = a/../b/"), "a slash behind each part" },
	{ STR("s3_prefix = a b/"), "a slash behind each part" },
	{ STR("s3_public_url = https://h/p/"), "without a slash at the end" },
	{ STR("s3_public_url = https://h/p?q"), "without a slash at the end" },
	{ STR("s3_public_url = ftp://h/p"), "without a slash at the end" },
	{ STR("s3_public_url = https:///p"), "without a slash at the end" },
	{ STR("s3_public_url = https://u@h/p"), "without a slash at the end" },
	{ STR("s3_url_expires = 8d"), "from 1m to 7d" },
	{ STR("s3_url_expires = 59s"), "from 1m to 7d" },
	{ STR("trusted_proxies = proxy.example.org"),
	    "must be addresses or networks" },
	{ STR("trusted_proxies = 10.0.0.1, 10.0.0.2"),
	    "separated by blanks, or none" },
	{ STR("trusted_proxies = 10.0.0.1/8"), "not \"10.0.0.1/8\"" },
	{ STR("trusted_proxies = 127.0.0.1 none"), "addresses or networks" },
	{ STR("relay = through"), "must be write-back or write-through" },
	{ STR("narinfo = none"), "must be auto, redirect or inline" },
	{ STR("relay_timeout = 0s"), "from 1s to 1h" },
	{ STR("spool_max = -1"), "must be a number of bytes" },
	{ STR("state_dir = a/b"), "must be an absolute path" },
	{ STR("state_dir = /"), "must be an absolute path" },
	{ STR("state_dir = /a/"), "must be an absolute path" },
	{ STR("state_dir = /a//b"), "must be an absolute path" },
	{ STR("state_dir = /a/../b"), "must be an absolute path" },
	{ STR("state_dir = /a/."), "must be an absolute path" },
	{ STR("state_dir = none"), "must be an absolute path" },
	{ STR("store_dir = /a b"), "or spaces" },
	{ STR("store_dir = nix"), "must be an absolute path" },
	{ STR("body_dir = None"), "or none" },
	{ STR("public_key_file ="), "or none" },
	{ STR("drv_public_key_file = ../k"), "or none" },
	{ STR("public_key_file = k/"), "or none" },
	{ STR("secret_key_file = /a b/../c"), "or none" },
	{ STR("url = http://h/"), "http://HOST[:PORT]" },
	{ STR("url = http://h/cache"), "http://HOST[:PORT]" },
	{ STR("url = http://"), "http://HOST[:PORT]" },
	{ STR("url = http://:80"), "http://HOST[:PORT]" },
	{ STR("url = ftp://h"), "http://HOST[:PORT]" },
	{ STR("url = HTTP://h"), "http://HOST[:PORT]" },
	{ STR("url = http:/h"), "http://HOST[:PORT]" },
	{ STR("url = http://h:"), "http://HOST[:PORT]" },
	{ STR("url = http://h:0"), "http://HOST[:PORT]" },
	{ STR("url = http://h:65536"), "http://HOST[:PORT]" },
	{ STR("url = http://u@h"), "http://HOST[:PORT]" },
	{ STR("url = http://h h"), "http://HOST[:PORT]" },
	{ STR("url = http://h\"x"), "http://HOST[:PORT]" },
	{ STR("url = http://h'x"), "http://HOST[:PORT]" },
	{ STR("url = http://[::1"), "http://HOST[:PORT]" },
	{ STR("url = http://[]"), "http://HOST[:PORT]" },
	{ STR("url = http://[h]"), "http://HOST[:PORT]" },
	{ STR("url = http://[::1]x"), "http://HOST[:PORT]" },
	{ STR("state_dir = /a\r\n"), "state_dir has the byte 0x0d" },
	{ STR("state_dir = /a\tb"), "state_dir has the byte 0x09" },
	{ STR("state_dir = /a\0b"), "state_dir has the byte 0x00" },
	{ STR("state_dir = /\xc3\xa9"), "state_dir has the byte 0xc3" },
	{ STR("url = http://h\x7f"), "url has the byte 0x7f" },
};

START_TEST(bad_text)
{
	struct buf errs = BUF_INIT;
	struct conf *c;
	size_t i;

	c = conf_parse(bad[_i].text, bad[_i].n, "f", &errs);
	ck_assert_msg(c == NULL, "taken: %s", bad[_i].text);
	ck_assert_msg(strstr(buf_str(&errs), bad[_i].says) != NULL,
	    "%s\nsays: %s", bad[_i].text, buf_str(&errs));
	/* Whole lines of printable ASCII, whatever the text was. */
	ck_assert_int_eq(errs.p[errs.len - 1], '\n');
	for (i = 0; i < errs.len; i++)
		ck_assert(errs.p[i] == '\n' ||
		    (errs.p[i] >= 0x20 && errs.p[i] < 0x7f));
	buf_free(&errs);
}
END_TEST

START_TEST(networks)
{
	static const char text[] = "trusted_proxies = ::1  10.0.0.0/8";
	struct buf errs = BUF_INIT;
	struct conf *c;
	struct netaddr a;

	c = conf_parse(STR(text), "f", &errs);
	ck_assert_msg(c != NULL, "%s", buf_str(&errs));
	ck_assert_uint_eq(c->trusted_proxies.n, 2);
	ck_assert_int_eq(netaddr_parse(STR("10.1.2.3"), &a), 0);
	ck_assert(netblocks_have(&c->trusted_proxies, &a));
	ck_assert_int_eq(netaddr_parse(STR("127.0.0.1"), &a), 0);
	ck_assert(!netblocks_have(&c->trusted_proxies, &a));
	conf_free(c);
	c = conf_parse(STR("trusted_proxies = none"), "f", &errs);
	ck_assert_ptr_nonnull(c);
	ck_assert_uint_eq(c->trusted_proxies.n, 0);
	conf_free(c);
}
END_TEST

START_TEST(all_errors_are_reported)
{
	static const char text[] = "threads = 0\n"
				   "# fine\n"
				   "bogus = 1\n"
				   "url = http://h\n"
				   "url = http://h\n"
				   "no_equals_sign\n";
	static const char expected[] =
	    "x.conf:1: threads must be a number from 1 to 512, not \"0\"\n"
	    "x.conf:3: unknown key \"bogus\"; tmpnix.conf(5) has them all\n"
	    "x.conf:5: url is set in line 4 already\n"
	    "x.conf:6: not a line of the form \"key = value\"\n";
	struct buf errs = BUF_INIT;

	ck_assert_ptr_null(conf_parse(STR(text), "x.conf", &errs));
	ck_assert_str_eq(buf_str(&errs), expected);
	buf_free(&errs);
}
END_TEST

/* A megabyte of another kind of file is not answered by ten of messages. */
START_TEST(errors_end)
{
	struct buf errs = BUF_INIT, text = BUF_INIT;
	size_t i, lines = 0;

	for (i = 0; i < 1000; i++)
		buf_adds(&text, "x\n");
	ck_assert_ptr_null(conf_parse(text.p, text.len, "f", &errs));
	for (i = 0; i < errs.len; i++)
		lines += errs.p[i] == '\n';
	ck_assert_uint_eq(lines, 101);
	ck_assert_ptr_nonnull(strstr(errs.p, "f: more errors are left out\n"));
	buf_free(&errs);
	buf_free(&text);
}
END_TEST

/* The parse fails even if its messages find no room. */
START_TEST(errors_without_room)
{
	struct buf errs = BUF_INIT_MAX(4);

	ck_assert_ptr_null(conf_parse(STR("threads = 0"), "f", &errs));
	buf_free(&errs);
}
END_TEST

START_TEST(line_length)
{
	struct buf errs = BUF_INIT, text = BUF_INIT;
	struct conf *c;

	buf_adds(&text, "state_dir = /");
	while (text.len < 4096)
		buf_addch(&text, 'a');
	c = conf_parse(text.p, text.len, "f", &errs);
	ck_assert_ptr_nonnull(c);
	ck_assert_uint_eq(strlen(c->state_dir), 4096 - strlen("state_dir = "));
	conf_free(c);
	buf_addch(&text, 'a');
	ck_assert_ptr_null(conf_parse(text.p, text.len, "f", &errs));
	ck_assert_str_eq(
	    buf_str(&errs), "f:1: the line is longer than 4096 bytes\n");
	buf_free(&errs);
	buf_free(&text);
}
END_TEST

/* A long bad value is shown in part. */
START_TEST(long_value)
{
	struct buf errs = BUF_INIT, text = BUF_INIT;

	buf_adds(&text, "state_dir = ");
	while (text.len < 4000)
		buf_addch(&text, 'a');
	ck_assert_ptr_null(conf_parse(text.p, text.len, "f", &errs));
	ck_assert_uint_lt(errs.len, 300);
	ck_assert_ptr_nonnull(strstr(errs.p, "aaa...\""));
	buf_free(&errs);
	buf_free(&text);
}
END_TEST

START_TEST(defaults)
{
	struct buf errs = BUF_INIT;
	struct conf *c = conf_parse("", 0, "f", &errs);

	ck_assert_ptr_nonnull(c);
	ck_assert_str_eq(c->state_dir, TMPNIX_STATE_DIR);
	ck_assert_str_eq(c->store_dir, "/nix/store");
	ck_assert_str_eq(c->url, "http://127.0.0.1:8080");
	ck_assert(c->want_mass_query);
	ck_assert_uint_eq(c->priority, 30);
	ck_assert_str_eq(
	    c->public_key_file, TMPNIX_STATE_DIR "/keys/cache.pub");
	ck_assert_str_eq(
	    c->drv_public_key_file, TMPNIX_STATE_DIR "/keys/drv.pub");
	ck_assert_str_eq(
	    c->secret_key_file, TMPNIX_STATE_DIR "/keys/cache.sec");
	ck_assert_uint_eq(c->threads, 32);
	ck_assert_ptr_null(c->body_dir);
	ck_assert_uint_eq(c->spool_min_free, (uint64_t)256 << 20);
	ck_assert_uint_eq(c->max_upload_size, (uint64_t)16 << 30);
	ck_assert_uint_eq(c->max_meta_size, (uint64_t)64 << 20);
	ck_assert_int_eq(c->asset_store, CONF_STORE_FILE);
	ck_assert_uint_eq(c->relay_workers, 8);
	ck_assert_uint_eq(c->stop_timeout, 30);
	ck_assert_int_eq(c->log_level, LOG_LVL_INFO);
	conf_free(c);
	buf_free(&errs);
}
END_TEST

START_TEST(files)
{
	static const char text[] = "file.b = /b\nfile.c.d_1-e = /c d\n"
				   "threads = 3\nfile.a=/a # comment\n";
	struct buf errs = BUF_INIT;
	struct conf *c;

	c = conf_parse(text, sizeof(text) - 1, "f", &errs);
	ck_assert_msg(c != NULL, "%s", buf_str(&errs));
	ck_assert_uint_eq(c->nfiles, 3);
	ck_assert_str_eq(c->files[0].name, "a");
	ck_assert_str_eq(c->files[1].name, "b");
	ck_assert_str_eq(conf_file_find(c, "a"), "/a");
	ck_assert_str_eq(conf_file_find(c, "c.d_1-e"), "/c d");
	ck_assert_ptr_null(conf_file_find(c, "d"));
	ck_assert_ptr_null(conf_file_find(c, ""));
	ck_assert_uint_eq(c->threads, 3);
	conf_free(c);
}
END_TEST

START_TEST(no_key_twice)
{
	size_t i, j;

	for (i = 0; conf_key(i) != NULL; i++)
		for (j = 0; j < i; j++)
			ck_assert_str_ne(conf_key(i), conf_key(j));
	ck_assert_uint_ge(i, 16);
}
END_TEST

/*
 * The installed file with every "#key = default" uncommented is right, sets
 * every key and means the defaults (state_dir is the build's, not compared).
 */
START_TEST(installed_file)
{
	const char *top = getenv("top_srcdir");
	struct buf errs = BUF_INIT, path = BUF_INIT, text = BUF_INIT;
	struct buf once = BUF_INIT;
	struct conf *c, *d;
	char line[512];
	size_t i;
	FILE *f;

	buf_addf(&path, "%s/conf/tmpnix.conf", top != NULL ? top : ".");
	c = conf_load(buf_str(&path), &errs);
	ck_assert_msg(c != NULL, "%s", buf_str(&errs));
	conf_free(c);
	ck_assert_ptr_nonnull(f = fopen(buf_str(&path), "r"));
	while (fgets(line, sizeof(line), f) != NULL)
		buf_adds(&text,
		    line[0] == '#' && line[1] >= 'a' && line[1] <= 'z'
			? line + 1
			: line);
	fclose(f);
	c = conf_parse(text.p, text.len, "uncommented", &errs);
	ck_assert_msg(c != NULL, "%s", buf_str(&errs));
	buf_addf(&once, "state_dir = %s\n", c->state_dir);
	d = conf_parse(once.p, once.len, "f", &errs);
	buf_clear(&once);
	ck_assert_ptr_nonnull(d);
	ck_assert_str_eq(c->store_dir, d->store_dir);
	ck_assert_str_eq(c->url, d->url);
	ck_assert(c->want_mass_query == d->want_mass_query);
	ck_assert_uint_eq(c->priority, d->priority);
	ck_assert_str_eq(c->public_key_file, d->public_key_file);
	ck_assert_str_eq(c->drv_public_key_file, d->drv_public_key_file);
	ck_assert_str_eq(c->secret_key_file, d->secret_key_file);
	ck_assert_str_eq(c->drv_secret_key_file, d->drv_secret_key_file);
	ck_assert_ptr_null(c->body_dir);
	ck_assert_uint_eq(c->threads, d->threads);
	ck_assert_uint_eq(c->spool_min_free, d->spool_min_free);
	ck_assert_uint_eq(c->max_upload_size, d->max_upload_size);
	ck_assert_uint_eq(c->max_meta_size, d->max_meta_size);
	ck_assert_int_eq(c->asset_store, d->asset_store);
	ck_assert_uint_eq(c->relay_workers, d->relay_workers);
	ck_assert_ptr_null(c->tls_ca_file);
	ck_assert_ptr_null(c->glitch_project);
	ck_assert_ptr_null(c->glitch_token_file);
	ck_assert_str_eq(c->glitch_api, d->glitch_api);
	ck_assert_str_eq(c->glitch_upload, d->glitch_upload);
	ck_assert_str_eq(c->glitch_cdn, d->glitch_cdn);
	ck_assert_str_eq(c->glitch_cdn_large, d->glitch_cdn_large);
	ck_assert_str_eq(c->s3_endpoint, d->s3_endpoint);
	ck_assert_str_eq(c->s3_region, d->s3_region);
	ck_assert_ptr_null(c->s3_bucket);
	ck_assert_str_eq(c->s3_prefix, "");
	ck_assert_int_eq(c->s3_virtual_host, d->s3_virtual_host);
	ck_assert_ptr_null(c->s3_credentials_file);
	ck_assert_ptr_null(c->s3_public_url);
	ck_assert_uint_eq(c->s3_url_expires, d->s3_url_expires);
	ck_assert_int_eq(c->relay, d->relay);
	ck_assert_uint_eq(c->relay_timeout, d->relay_timeout);
	ck_assert_uint_eq(c->relay_wait, d->relay_wait);
	ck_assert_uint_eq(c->spool_max, d->spool_max);
	ck_assert_uint_eq(c->spool_wait, d->spool_wait);
	ck_assert_int_eq(c->narinfo, d->narinfo);
	ck_assert_uint_eq(c->stop_timeout, d->stop_timeout);
	ck_assert_int_eq(c->log_level, d->log_level);
	conf_free(c);
	conf_free(d);
	/* Every key is set: setting any once more is a duplicate. */
	for (i = 0; conf_key(i) != NULL; i++) {
		buf_clear(&once);
		buf_clear(&errs);
		buf_add(&once, text.p, text.len);
		buf_addf(&once, "%s = x\n", conf_key(i));
		ck_assert_ptr_null(conf_parse(once.p, once.len, "f", &errs));
		ck_assert_msg(strstr(errs.p, "already") != NULL, "%s: %s",
		    conf_key(i), errs.p);
	}
	buf_free(&errs);
	buf_free(&path);
	buf_free(&text);
	buf_free(&once);
}
END_TEST

/* A file in a directory of its own, written as (p, n) times count. */
static struct conf *
load(const char *p, size_t count, struct buf *errs)
{
	char path[] = "/tmp/check_conf.XXXXXX";
	struct conf *c;
	FILE *f;
	int fd;

	ck_assert_int_ne(fd = mkstemp(path), -1);
	ck_assert_ptr_nonnull(f = fdopen(fd, "w"));
	while (count-- > 0)
		ck_assert_int_ge(fputs(p, f), 0);
	ck_assert_int_eq(fclose(f), 0);
	c = conf_load(path, errs);
	unlink(path);
	return c;
}

START_TEST(file_limits)
{
	struct buf errs = BUF_INIT;
	struct conf *c;

	c = load("threads = 7", 1, &errs);
	ck_assert_ptr_nonnull(c);
	ck_assert_uint_eq(c->threads, 7);
	conf_free(c);
	c = load("# 16 bytes here\n", 65536, &errs);
	ck_assert_ptr_nonnull(c);
	conf_free(c);
	ck_assert_uint_eq(errs.len, 0);
	ck_assert_ptr_null(load("# 16 bytes here\n", 65537, &errs));
	ck_assert_ptr_nonnull(strstr(buf_str(&errs), ": larger than 1 MiB\n"));
	buf_clear(&errs);
	ck_assert_ptr_null(conf_load("/nonexistent/x", &errs));
	ck_assert_str_eq(errs.p, "/nonexistent/x: No such file or directory\n");
	buf_clear(&errs);
	ck_assert_ptr_null(conf_load("/tmp", &errs));
	ck_assert_str_eq(errs.p, "/tmp: Is a directory\n");
	buf_free(&errs);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("conf");
	TCase *tc = tcase_create("whole");

	UNIT_ROWS(s, "good", good_line, nitems(good));
	UNIT_ROWS(s, "bad", bad_text, nitems(bad));
	tcase_add_test(tc, networks);
	tcase_add_test(tc, all_errors_are_reported);
	tcase_add_test(tc, errors_end);
	tcase_add_test(tc, errors_without_room);
	tcase_add_test(tc, line_length);
	tcase_add_test(tc, long_value);
	tcase_add_test(tc, defaults);
	tcase_add_test(tc, files);
	tcase_add_test(tc, no_key_twice);
	tcase_add_test(tc, installed_file);
	tcase_add_test(tc, file_limits);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
