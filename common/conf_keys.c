#include "config.h"

#include "conf_keys.h"

#include <stdlib.h>
#include <string.h>

#include "conf.h"
#include "num.h"
#include "sign.h"
#include "storepath.h"

#define nitems(a) (sizeof(a) / sizeof((a)[0]))

const char conf_no_memory[] = "out of memory";

static const char *
set_string(char **field, const char *v, size_t n)
{
	if ((*field = strndup(v, n)) == NULL)
		return conf_no_memory;
	return NULL;
}

/* An absolute path other than "/", without empty, "." and ".." segments. */
bool
conf_path_ok(const char *v, size_t n)
{
	size_t i, start;

	if (n < 2 || v[0] != '/')
		return false;
	for (i = 1, start = 1; i <= n; i++) {
		if (i < n && v[i] != '/')
			continue;
		if (i == start || equals(v + start, i - start, ".") ||
		    equals(v + start, i - start, ".."))
			return false;
		start = i + 1;
	}
	return true;
}

static const char *
parse_path(const struct key_def *k, const char *v, size_t n, void *field)
{
	return conf_path_ok(v, n) ? set_string(field, v, n) : k->rule;
}

/* A path, or "none" for NULL. */
static const char *
parse_path_or_none(
    const struct key_def *k, const char *v, size_t n, void *field)
{
	if (equals(v, n, "none")) {
		*(char **)field = NULL;
		return NULL;
	}
	return parse_path(k, v, n, field);
}

/* Each word of (v, n) fits; or "none" for NULL. */
static const char *
parse_words(const struct key_def *k, const char *v, size_t n, void *field,
    bool (*fits)(const char *p, size_t len))
{
	size_t i, start;

	if (equals(v, n, "none")) {
		*(char **)field = NULL;
		return NULL;
	}
	for (i = 0; i < n; i++) {
		if (is_blank(v[i]))
			continue;
		for (start = i; i < n && !is_blank(v[i]); i++)
			;
		if (!fits(v + start, i - start))
			return k->rule;
	}
	return set_string(field, v, n);
}

static bool
public_key_ok(const char *p, size_t n)
{
	struct public_key k;

	return sign_public_parse(p, n, &k) == 0;
}

static const char *
parse_public_keys(const struct key_def *k, const char *v, size_t n, void *field)
{
	return parse_words(k, v, n, field, public_key_ok);
}

/* Networks separated by blanks; or "none" for an empty list. */
static const char *
parse_networks(const struct key_def *k, const char *v, size_t n, void *field)
{
	struct netblocks *bs = field;
	size_t i, start;

	if (equals(v, n, "none"))
		return NULL;
	/* A network and the blank behind it have two bytes at least. */
	if ((bs->list = calloc(n / 2 + 1, sizeof(*bs->list))) == NULL)
		return conf_no_memory;
	for (i = 0; i < n; i++) {
		if (is_blank(v[i]))
			continue;
		for (start = i; i < n && !is_blank(v[i]); i++)
			;
		if (netblock_parse(v + start, i - start, &bs->list[bs->n]) ==
		    -1)
			return k->rule;
		bs->n++;
	}
	return NULL;
}

/* An absolute path, or one that is below state_dir. */
static bool
state_path_ok(const char *v, size_t n)
{
	struct buf absolute = BUF_INIT;
	bool good;

	if (n > 0 && v[0] == '/')
		return conf_path_ok(v, n);
	buf_addch(&absolute, '/');
	buf_add(&absolute, v, n);
	good = !buf_failed(&absolute) && conf_path_ok(absolute.p, absolute.len);
	buf_free(&absolute);
	return good;
}

/* Some of them separated by blanks, or "none" for NULL; conf.c adds state_dir.
 */
static const char *
parse_state_paths(const struct key_def *k, const char *v, size_t n, void *field)
{
	return parse_words(k, v, n, field, state_path_ok);
}

/* Such a path, or "none" for NULL. */
static const char *
parse_state_path_or_none(
    const struct key_def *k, const char *v, size_t n, void *field)
{
	if (equals(v, n, "none")) {
		*(char **)field = NULL;
		return NULL;
	}
	return state_path_ok(v, n) ? set_string(field, v, n) : k->rule;
}

static const char *
parse_verify(const struct key_def *k, const char *v, size_t n, void *field)
{
	if (!equals(v, n, "nar") && !equals(v, n, "file"))
		return k->rule;
	*(enum conf_verify *)field =
	    v[0] == 'n' ? CONF_VERIFY_NAR : CONF_VERIFY_FILE;
	return NULL;
}

static const char *
parse_store_dir(const struct key_def *k, const char *v, size_t n, void *field)
{
	char **s = field;
	const char *why;

	if ((why = set_string(s, v, n)) == NULL && !storepath_dir_ok(*s)) {
		free(*s);
		*s = NULL;
		why = k->rule;
	}
	return why;
}

/* The length of the host at the start of (v, n); 0 when there is none. */
static size_t
host_len(const char *v, size_t n)
{
	size_t i;

	if (n > 0 && v[0] == '[') {
		for (i = 1; i < n && v[i] != '\0' &&
		     strchr("0123456789abcdefABCDEF:.", v[i]) != NULL;
		     i++)
			;
		return i > 1 && i < n && v[i] == ']' ? i + 1 : 0;
	}
	for (i = 0; i < n &&
	     (is_alnum(v[i]) || v[i] == '-' || v[i] == '.' || v[i] == '_');
	     i++)
		;
	return i;
}

/*
 * http(s)://HOST[:PORT] and nothing else: the programs' prefixes are added to
 * it, and it is shown on pages and in netrc lines, so no byte of it may need
 * quoting anywhere.
 */
static bool
url_ok(const char *v, size_t n)
{
	static const char *const schemes[] = { "http://", "https://" };
	uint64_t port;
	size_t i, len;

	for (i = 0; i < nitems(schemes); i++) {
		len = strlen(schemes[i]);
		if (n > len && memcmp(v, schemes[i], len) == 0)
			break;
	}
	if (i == nitems(schemes))
		return false;
	v += len;
	n -= len;
	if ((len = host_len(v, n)) == 0)
		return false;
	if (len == n)
		return true;
	return v[len] == ':' &&
	    num_parse(v + len + 1, n - len - 1, 65535, &port) == 0 && port != 0;
}

static const char *
parse_url(const struct key_def *k, const char *v, size_t n, void *field)
{
	return url_ok(v, n) ? set_string(field, v, n) : k->rule;
}

static const char *
parse_bool(const struct key_def *k, const char *v, size_t n, void *field)
{
	bool yes = equals(v, n, "yes");

	if (!yes && !equals(v, n, "no"))
		return k->rule;
	*(bool *)field = yes;
	return NULL;
}

/* What the three kinds of numbers have in common. */
static const char *
set_number(const struct key_def *k, int rc, uint64_t number, void *field)
{
	if (rc == -1 || number < k->min)
		return k->rule;
	*(uint64_t *)field = number;
	return NULL;
}

static const char *
parse_number(const struct key_def *k, const char *v, size_t n, void *field)
{
	uint64_t number = 0;
	int rc = num_parse(v, n, k->max, &number);

	return set_number(k, rc, number, field);
}

static const char *
parse_size(const struct key_def *k, const char *v, size_t n, void *field)
{
	uint64_t number = 0;
	int rc = num_parse_size(v, n, k->max, &number);

	return set_number(k, rc, number, field);
}

static const char *
parse_duration(const struct key_def *k, const char *v, size_t n, void *field)
{
	uint64_t number = 0;
	int rc = num_parse_duration(v, n, k->max, &number);

	return set_number(k, rc, number, field);
}

/* One of the words; *place is which. */
static const char *
parse_word(const struct key_def *k, const char *const *words, const char *v,
    size_t n, int *place)
{
	int i;

	for (i = 0; words[i] != NULL; i++)
		if (equals(v, n, words[i])) {
			*place = i;
			return NULL;
		}
	return k->rule;
}

static const char *
parse_store(const struct key_def *k, const char *v, size_t n, void *field)
{
	static const char *const words[] = { "file", "glitch", "s3", NULL };
	const char *why;
	int place = 0;

	if ((why = parse_word(k, words, v, n, &place)) == NULL)
		*(enum conf_store *)field = (enum conf_store)place;
	return why;
}

static const char *
parse_relay(const struct key_def *k, const char *v, size_t n, void *field)
{
	static const char *const words[] = { "write-back", "write-through",
		NULL };
	const char *why;
	int place = 0;

	if ((why = parse_word(k, words, v, n, &place)) == NULL)
		*(enum conf_relay *)field = (enum conf_relay)place;
	return why;
}

static const char *
parse_narinfo(const struct key_def *k, const char *v, size_t n, void *field)
{
	static const char *const words[] = { "auto", "redirect", "inline",
		NULL };
	const char *why;
	int place = 0;

	if ((why = parse_word(k, words, v, n, &place)) == NULL)
		*(enum conf_narinfo *)field = (enum conf_narinfo)place;
	return why;
}

/* All of (v, n) letters, digits or in more. */
static bool
plain_ok(const char *v, size_t n, const char *more)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (!is_alnum(v[i]) && strchr(more, v[i]) == NULL)
			return false;
	return n > 0;
}

/* A name: letters, digits, "-", "." and "_", or "none" for NULL. */
static const char *
parse_name_or_none(
    const struct key_def *k, const char *v, size_t n, void *field)
{
	if (equals(v, n, "none")) {
		*(char **)field = NULL;
		return NULL;
	}
	if (n > k->max || v[0] == '.' || !plain_ok(v, n, "-._"))
		return k->rule;
	return set_string(field, v, n);
}

/* USER or USER:GROUP, or "none" for NULL. */
static const char *
parse_user(const struct key_def *k, const char *v, size_t n, void *field)
{
	const char *colon = memchr(v, ':', n);
	size_t len = colon == NULL ? n : (size_t)(colon - v);

	if (equals(v, n, "none")) {
		*(char **)field = NULL;
		return NULL;
	}
	if (n > k->max || v[0] == '-' || !plain_ok(v, len, "-._") ||
	    (colon != NULL && !plain_ok(colon + 1, n - len - 1, "-._")))
		return k->rule;
	return set_string(field, v, n);
}

static const char *
parse_region(const struct key_def *k, const char *v, size_t n, void *field)
{
	if (n > k->max || !plain_ok(v, n, "-_"))
		return k->rule;
	return set_string(field, v, n);
}

/* What stands in front of every key: "" for none, or it ends with "/". */
static const char *
parse_prefix(const struct key_def *k, const char *v, size_t n, void *field)
{
	struct buf absolute = BUF_INIT;
	bool good;

	if (equals(v, n, "none"))
		return set_string(field, "", 0);
	if (n > k->max || n < 2 || v[n - 1] != '/' || !plain_ok(v, n, "-._/"))
		return k->rule;
	/* Segments as those of a path. */
	buf_addch(&absolute, '/');
	buf_add(&absolute, v, n - 1);
	good = !buf_failed(&absolute) && conf_path_ok(absolute.p, absolute.len);
	buf_free(&absolute);
	return good ? set_string(field, v, n) : k->rule;
}

/* Like url, but a path may follow; or "none" for NULL. */
static const char *
parse_base_or_none(
    const struct key_def *k, const char *v, size_t n, void *field)
{
	size_t scheme = 0, host;

	if (equals(v, n, "none")) {
		*(char **)field = NULL;
		return NULL;
	}
	if (n > 7 && memcmp(v, "http://", 7) == 0)
		scheme = 7;
	else if (n > 8 && memcmp(v, "https://", 8) == 0)
		scheme = 8;
	for (host = scheme; host < n && v[host] != '/'; host++)
		;
	if (scheme == 0 || !url_ok(v, host) ||
	    (host < n &&
		(!conf_path_ok(v + host, n - host) ||
		    !plain_ok(v + host, n - host, "-._~/"))))
		return k->rule;
	return set_string(field, v, n);
}

static const char *
parse_eval(const struct key_def *k, const char *v, size_t n, void *field)
{
	enum conf_eval *eval = field;

	if (equals(v, n, "restricted"))
		*eval = CONF_EVAL_RESTRICTED;
	else if (equals(v, n, "impure"))
		*eval = CONF_EVAL_IMPURE;
	else
		return k->rule;
	return NULL;
}

/* The same as a path, for a store directory. */
static const char *
parse_store_dir_or_none(
    const struct key_def *k, const char *v, size_t n, void *field)
{
	if (equals(v, n, "none")) {
		*(char **)field = NULL;
		return NULL;
	}
	return parse_store_dir(k, v, n, field);
}

/* "none", or text in which runs of blanks become one. */
static const char *
parse_words_or_none(
    const struct key_def *k, const char *v, size_t n, void *field)
{
	char *s;
	size_t i, len = 0;

	(void)k;
	*(char **)field = NULL;
	if (equals(v, n, "none"))
		return NULL;
	if ((s = malloc(n + 1)) == NULL)
		return conf_no_memory;
	for (i = 0; i < n; i++)
		if (!is_blank(v[i]) || (len > 0 && s[len - 1] != ' '))
			s[len++] = is_blank(v[i]) ? ' ' : v[i];
	s[len] = '\0';
	*(char **)field = s;
	return NULL;
}

/* Entries as in NIX_PATH: no blanks, so that a comment can't hide in one. */
static const char *
parse_nix_path(const struct key_def *k, const char *v, size_t n, void *field)
{
	if (memchr(v, ' ', n) != NULL || memchr(v, '\t', n) != NULL)
		return k->rule;
	return parse_words_or_none(k, v, n, field);
}

static const char *
parse_level(const struct key_def *k, const char *v, size_t n, void *field)
{
	enum log_level *level = field;

	if (equals(v, n, "warn"))
		*level = LOG_LVL_WARN;
	else if (equals(v, n, "info"))
		*level = LOG_LVL_INFO;
	else if (equals(v, n, "debug"))
		*level = LOG_LVL_DEBUG;
	else
		return k->rule;
	return NULL;
}

/* Sizes go into the index as signed 64 bit numbers. */
#define SIZE_LIMIT ((uint64_t)INT64_MAX)

#define URL_RULE                                                               \
	"must be http://HOST[:PORT] or https://HOST[:PORT] and nothing "       \
	"behind it"
#define SIZE_RULE "must be a number of bytes, with K, M, G or T if you like"

#define STATE_PATH_RULE                                                        \
	"must be a path, absolute or below state_dir, without \"//\", "        \
	"\"/./\", \"/../\" and without a slash at the end"

/* A key that needs a restart, and one for which SIGHUP is enough. */
#define ROW(field, parser, def, rule, min, max)                                \
	{                                                                      \
#field, parser, offsetof(struct conf, field), def, rule, min,  \
		    max, false                                                 \
	}
#define HUP(field, parser, def, rule, min, max)                                \
	{                                                                      \
#field, parser, offsetof(struct conf, field), def, rule, min,  \
		    max, true                                                  \
	}

const struct key_def conf_keys[] = {
	ROW(state_dir, parse_path, TMPNIX_STATE_DIR, CONF_PATH_RULE, 0, 0),
	ROW(user, parse_user, "none",
	    "must be a USER or USER:GROUP to run as, or none", 0, 64),
	ROW(sandbox, parse_bool, "yes", "must be yes or no", 0, 0),
	ROW(store_dir, parse_store_dir, "/nix/store",
	    CONF_PATH_RULE " or spaces, such as /nix/store", 0, 0),
	ROW(url, parse_url, "http://127.0.0.1:8080", URL_RULE, 0, 0),
	HUP(want_mass_query, parse_bool, "yes", "must be yes or no", 0, 0),
	HUP(priority, parse_number, "30", "must be a number from 0 to 1000000",
	    0, 1000000),
	HUP(public_key_file, parse_state_path_or_none, "keys/cache.pub",
	    STATE_PATH_RULE ", or none", 0, 0),
	HUP(drv_public_key_file, parse_state_path_or_none, "keys/drv.pub",
	    STATE_PATH_RULE ", or none", 0, 0),
	ROW(threads, parse_number, "32", "must be a number from 1 to 512", 1,
	    512),
	ROW(body_dir, parse_path_or_none, "none", CONF_PATH_RULE ", or none", 0,
	    0),
	HUP(spool_min_free, parse_size, "256M", SIZE_RULE, 0, SIZE_LIMIT),
	HUP(max_upload_size, parse_size, "16G", SIZE_RULE ", 0 for no limit", 0,
	    SIZE_LIMIT),
	HUP(max_meta_size, parse_size, "64M", "must be a size from 1 to 1G", 1,
	    (uint64_t)1 << 30),
	ROW(verify, parse_verify, "nar", "must be nar or file", 0, 0),
	ROW(verify_workers, parse_number, "2", "must be a number from 1 to 64",
	    1, 64),
	HUP(max_nar_size, parse_size, "16G", SIZE_RULE ", over 0", 1,
	    SIZE_LIMIT),
	HUP(max_nar_cpu, parse_duration, "2m", "must be a time from 1s to 1d",
	    1, 86400),
	HUP(max_nar_ratio, parse_number, "100000",
	    "must be a number from 1 to 1000000000", 1, 1000000000),
	HUP(check_references, parse_bool, "no", "must be yes or no", 0, 0),
	HUP(require_signature, parse_bool, "no", "must be yes or no", 0, 0),
	HUP(trusted_public_keys, parse_public_keys, "none",
	    "must be public keys, NAME:BASE64, separated by blanks, or "
	    "none",
	    0, 0),
	HUP(secret_key_file, parse_state_paths, "keys/cache.sec",
	    "must be paths, absolute or below state_dir, separated by blanks, "
	    "or none",
	    0, 0),
	ROW(public_reads, parse_bool, "yes", "must be yes or no", 0, 0),
	HUP(trusted_proxies, parse_networks, "none",
	    "must be addresses or networks, such as 10.0.0.0/8 or "
	    "2001:db8::/32, separated by blanks, or none",
	    0, 0),
	HUP(web_servers, parse_networks, "none",
	    "must be addresses or networks, such as 10.0.0.0/8 or "
	    "2001:db8::/32, separated by blanks, or none",
	    0, 0),
	ROW(asset_store, parse_store, "file", "must be file, glitch or s3", 0,
	    0),
	ROW(tls_ca_file, parse_path_or_none, "none", CONF_PATH_RULE ", or none",
	    0, 0),
	ROW(glitch_project, parse_name_or_none, "none",
	    "must be the id of a project, or none", 0, 64),
	ROW(glitch_token_file, parse_path_or_none, "none",
	    CONF_PATH_RULE ", or none", 0, 0),
	ROW(glitch_api, parse_url, "https://api.glitch.com", URL_RULE, 0, 0),
	ROW(glitch_upload, parse_url, "https://s3.amazonaws.com", URL_RULE, 0,
	    0),
	ROW(glitch_cdn, parse_url, "https://cdn.glitch.global", URL_RULE, 0, 0),
	ROW(glitch_cdn_large, parse_url, "https://cdn.glitch.me", URL_RULE, 0,
	    0),
	ROW(s3_endpoint, parse_url, "https://s3.amazonaws.com", URL_RULE, 0, 0),
	ROW(s3_region, parse_region, "us-east-1",
	    "must be a region, such as us-east-1", 0, 64),
	ROW(s3_bucket, parse_name_or_none, "none",
	    "must be the name of a bucket, or none", 0, 63),
	ROW(s3_prefix, parse_prefix, "none",
	    "must be such as cache/nix/: letters, digits, \"-\", \".\" and "
	    "\"_\", a slash behind each part, or none",
	    0, 256),
	ROW(s3_virtual_host, parse_bool, "no", "must be yes or no", 0, 0),
	ROW(s3_credentials_file, parse_path_or_none, "none",
	    CONF_PATH_RULE ", or none", 0, 0),
	ROW(s3_public_url, parse_base_or_none, "none",
	    "must be http(s)://HOST[:PORT][/PATH] without a slash at the "
	    "end, "
	    "or none",
	    0, 0),
	ROW(s3_url_expires, parse_duration, "1h",
	    "must be a time from 1m to 7d", 60, 604800),
	ROW(relay, parse_relay, "write-back",
	    "must be write-back or write-through", 0, 0),
	ROW(relay_workers, parse_number, "8", "must be a number from 1 to 64",
	    1, 64),
	ROW(relay_timeout, parse_duration, "60s",
	    "must be a time from 1s to 1h", 1, 3600),
	HUP(relay_wait, parse_duration, "4m", "must be a time from 1s to 1h", 1,
	    3600),
	HUP(spool_max, parse_size, "0", SIZE_RULE ", 0 for no limit", 0,
	    SIZE_LIMIT),
	HUP(spool_wait, parse_duration, "2m", "must be a time from 0s to 1h", 0,
	    3600),
	HUP(narinfo, parse_narinfo, "auto", "must be auto, redirect or inline",
	    0, 0),
	ROW(stop_timeout, parse_duration, "30s",
	    "must be a time from 1s to 10m", 1, 600),
	HUP(log_level, parse_level, "info", "must be warn, info or debug", 0,
	    0),
	HUP(drv_overlays, parse_path_or_none, "none",
	    CONF_PATH_RULE ", or none", 0, 0),
	HUP(drv_nix_path, parse_nix_path, "none",
	    "must be entries as NIX_PATH has them, without blanks, or none", 0,
	    0),
	HUP(drv_args, parse_words_or_none, "none",
	    "must be options of nix-instantiate, or none", 0, 0),
	ROW(drv_eval, parse_eval, "restricted", "must be restricted or impure",
	    0, 0),
	ROW(drv_store_dir, parse_store_dir_or_none, "none",
	    CONF_PATH_RULE " or spaces, or none", 0, 0),
	ROW(drv_state_dir, parse_path_or_none, "none",
	    CONF_PATH_RULE ", or none", 0, 0),
	ROW(drv_secret_key_file, parse_state_path_or_none, "keys/drv.sec",
	    STATE_PATH_RULE, 0, 0),
	ROW(nix_bin_dir, parse_path, "/usr/bin", CONF_PATH_RULE, 0, 0),
	HUP(drv_timeout, parse_duration, "15m", "must be a time from 1s to 1d",
	    1, 86400),
	ROW(drv_jobs, parse_number, "2", "must be a number from 1 to 64", 1,
	    64),
	ROW(drv_queue, parse_number, "32", "must be a number from 0 to 256", 0,
	    256),
	HUP(drv_memory, parse_size, "4G", SIZE_RULE ", 0 for no limit", 0,
	    SIZE_LIMIT),
	HUP(drv_cpu, parse_duration, "15m",
	    "must be a time up to 1d, 0 for no limit", 0, 86400),
};

const size_t conf_nkeys = nitems(conf_keys);
_Static_assert(nitems(conf_keys) <= CONF_KEYS_MAX, "CONF_KEYS_MAX");
