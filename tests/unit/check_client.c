/* The lines people paste: hosts, what may stand in them, the script's words. */
#include "config.h"

#include "client_lines.h"

#include <string.h>

#include <check.h>

#include "unit.h"

static const struct {
	const char *url, *host;
} hosts[] = {
	{ "https://cache.example.org", "cache.example.org" },
	{ "http://127.0.0.1:8080", "127.0.0.1" },
	{ "https://[2001:db8::1]:8443", "2001:db8::1" },
	{ "https://[2001:db8::1]", "2001:db8::1" },
};

START_TEST(finds_host)
{
	struct buf out = BUF_INIT;

	client_url_host(hosts[_i].url, &out);
	ck_assert_str_eq(buf_str(&out), hosts[_i].host);
	buf_free(&out);
}
END_TEST

static const struct {
	const char *path;
	bool ok;
} netrcs[] = {
	{ "/etc/nix/netrc", true },
	{ "/home/a-b/.config/nix/netrc_1", true },
	{ "netrc", false },
	{ "", false },
	{ "/a b", false },
	{ "/a#b", false },
	{ "/a'b", false },
	{ "/a\"b", false },
	{ "/$a", false },
	{ "/a\nb", false },
	{ "/caf\xc3\xa9", false },
};

START_TEST(judges_netrc)
{
	ck_assert_int_eq(client_netrc_ok(netrcs[_i].path), netrcs[_i].ok);
}
END_TEST

/* What a configuration says is a word of the script, whatever is in it. */
static const struct {
	const char *store_dir, *line;
} words[] = {
	{ "/nix/store", "\nstore='/nix/store'\n" },
	{ "/a b", "\nstore='/a b'\n" },
	{ "/$(id)`id`\"\\", "\nstore='/$(id)`id`\"\\'\n" },
	{ "/it's", "\nstore='/it'\\''s'\n" },
	{ "/'", "\nstore='/'\\'''\n" },
	/* Not replaced again. */
	{ "/@URL@", "\nstore='/@URL@'\n" },
};

START_TEST(quotes_words)
{
	struct client_lines cl = { .url = "https://cache.example.org",
		.store_dir = words[_i].store_dir,
		.private = true,
		.netrc = CLIENT_NETRC };
	struct buf out = BUF_INIT;

	client_setup(&cl, &out);
	ck_assert(!buf_failed(&out));
	ck_assert_ptr_nonnull(strstr(buf_str(&out), words[_i].line));
	ck_assert_ptr_nonnull(strstr(
	    buf_str(&out), "\ncache='https://cache.example.org'/cache\n"));
	ck_assert_ptr_nonnull(strstr(buf_str(&out), "\nprivate='yes' "));
	buf_free(&out);
}
END_TEST

START_TEST(loads_no_key)
{
	struct conf conf = { .url = "https://cache.example.org",
		.store_dir = "/nix/store",
		.public_key_file = "/dev/null",
		.public_reads = true };
	struct client_lines cl;
	struct buf out = BUF_INIT;

	client_lines_load(&cl, &conf);
	ck_assert_uint_eq(cl.key.len, 0);
	ck_assert_uint_eq(cl.drv_key.len, 0);
	ck_assert(!cl.private);
	client_nix_conf(&cl, false, &out);
	ck_assert_ptr_nonnull(
	    strstr(buf_str(&out), "(ask who runs this cache)"));
	ck_assert_ptr_null(strstr(buf_str(&out), "netrc-file"));
	client_lines_clear(&cl);
	buf_free(&out);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("client");
	TCase *tc = tcase_create("load");

	UNIT_ROWS(s, "host", finds_host, nitems(hosts));
	UNIT_ROWS(s, "netrc", judges_netrc, nitems(netrcs));
	UNIT_ROWS(s, "words", quotes_words, nitems(words));
	tcase_add_test(tc, loads_no_key);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
