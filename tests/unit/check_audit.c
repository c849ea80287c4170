/* The index: NARs' verdicts, audit rows, what tokens have used. */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "index.h"
#include "ledger.h"
#include "refscan.h"
#include "scratch.h"
#include "unit.h"

#define CACHE "main"
#define KEY "nar/0l05cmh066zza2hf87rc3f47v09ngwn6rgjdx6xsfvsjgd6b2bxl.nar"
#define OTHER "nar/1l05cmh066zza2hf87rc3f47v09ngwn6rgjdx6xsfvsjgd6b2bxl.nar"
#define DAY 86400

static struct index *ix;

static void
setup(void)
{
	scratch_make();
	ck_assert_ptr_nonnull(ix = index_open(scratch, INDEX_WRITE));
}

static void
teardown(void)
{
	index_close(ix);
	scratch_remove();
}

static enum index_put
put(const char *key, char content)
{
	struct asset_new a = { .key = key,
		.size = 100,
		.content_type = "x",
		.spool = "0123456789abcdef.1" };
	char old[64];

	memset(a.sha256.b, content, sizeof(a.sha256.b));
	return index_asset_put(ix, CACHE, &a, 1, old);
}

static void
good(struct verified *v)
{
	memset(v, 0, sizeof(*v));
	snprintf(v->compression, sizeof(v->compression), "none");
	memset(v->nar_hash.b, 1, DIGEST_BYTES);
	memset(v->file_hash.b, 2, DIGEST_BYTES);
	v->nar_size = 216;
	v->is_file = true;
	v->refs_done = REFS_FOUND;
	buf_add(&v->refs, "aaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbb", 40);
	buf_adds(&v->listing, "{}");
}

START_TEST(verdicts)
{
	struct verified v, got;

	good(&v);
	/* Of what is not here nothing is noted. */
	ck_assert_int_eq(index_nar_put(ix, CACHE, KEY, &v, 1), -1);
	ck_assert_int_eq(index_nar_get(ix, CACHE, KEY, &got), 0);
	ck_assert_int_eq(put(KEY, 'a'), INDEX_CREATED);
	ck_assert_int_eq(index_nar_put(ix, CACHE, KEY, &v, 1), 0);
	ck_assert_int_eq(index_nar_get(ix, CACHE, KEY, &got), 1);
	ck_assert_int_eq(got.verdict, VERDICT_GOOD);
	ck_assert_str_eq(got.compression, "none");
	ck_assert(digest_equal(&got.nar_hash, &v.nar_hash));
	ck_assert(got.is_file && digest_equal(&got.file_hash, &v.file_hash));
	ck_assert_uint_eq(got.nar_size, 216);
	ck_assert_int_eq(got.refs_done, REFS_FOUND);
	ck_assert_uint_eq(got.refs.len, 40);
	ck_assert_mem_eq(got.refs.p, v.refs.p, 40);
	verified_clear(&got);
	ck_assert_int_eq(index_nar_get(ix, "drv", KEY, &got), 0);
	/* A later verdict replaces it. */
	v.verdict = VERDICT_LARGE;
	v.over = LIMIT_CPU;
	v.over_limit = 60;
	snprintf(v.why, sizeof(v.why), "too large");
	ck_assert_int_eq(index_nar_put(ix, CACHE, KEY, &v, 2), 0);
	ck_assert_int_eq(index_nar_get(ix, CACHE, KEY, &got), 1);
	ck_assert_int_eq(got.verdict, VERDICT_LARGE);
	ck_assert_str_eq(got.why, "too large");
	ck_assert_int_eq(got.over, LIMIT_CPU);
	ck_assert_uint_eq(got.over_limit, 60);
	ck_assert(!got.is_file);
	verified_clear(&v);
	verified_clear(&got);
}
END_TEST

static struct {
	int n;
	char keys[8][64];
	char what[8][16];
} rows;

static int
note(const struct index_audit *a, void *arg)
{
	(void)arg;
	ck_assert_int_lt(rows.n, 8);
	snprintf(rows.keys[rows.n], 64, "%s", a->key);
	snprintf(rows.what[rows.n], 16, "%s", a->what);
	rows.n++;
	return 0;
}

static void
each(const char *token, int64_t since, uint64_t max)
{
	rows.n = 0;
	ck_assert_int_eq(
	    index_audit_each(ix, token, since, max, note, NULL), 0);
}

static struct token
find(void)
{
	struct token t;
	struct digest d;

	memset(d.b, 7, sizeof(d.b));
	ck_assert_int_eq(index_token_find(ix, &d, &t), 1);
	return t;
}

START_TEST(audit_and_quota)
{
	struct token t = { .name = "ci",
		.scopes = SCOPE_PUSH,
		.keys = "a-1:b c-1:d",
		.quota_day = 1000,
		.quota_total = 5000 };
	struct index_audit a = { .time = 10 * DAY,
		.cache = CACHE,
		.key = KEY,
		.token = "ci",
		.address = "192.0.2.1",
		.size = 100 };

	memset(t.secret.b, 7, sizeof(t.secret.b));
	ck_assert_int_eq(index_token_add(ix, &t), 1);
	t = find();
	ck_assert_str_eq(t.keys, "a-1:b c-1:d");
	ck_assert_int_eq(t.quota_day, 1000);
	ck_assert_int_eq(t.quota_total, 5000);
	ck_assert_int_eq(t.used_total, 0);

	/* Without an order nothing is noted. */
	ck_assert_int_eq(put(OTHER, 'x'), INDEX_CREATED);
	index_audit_next(ix, &a);
	ck_assert_int_eq(put(KEY, 'a'), INDEX_CREATED);
	ck_assert_int_eq(put(KEY, 'a'), INDEX_SAME);
	/* That it is here is noted once a day. */
	a.time += DAY - 1;
	ck_assert_int_eq(put(KEY, 'a'), INDEX_SAME);
	a.time -= DAY - 1;
	ck_assert_int_eq(put(KEY, 'b'), INDEX_REPLACED);
	a.time += DAY;
	a.token = "other";
	ck_assert_int_eq(put(KEY, 'c'), INDEX_REPLACED);
	each(NULL, 0, 100);
	ck_assert_int_eq(rows.n, 4);
	ck_assert_str_eq(rows.what[0], "new");
	ck_assert_str_eq(rows.what[1], "same");
	ck_assert_str_eq(rows.what[2], "changed");
	ck_assert_str_eq(rows.keys[3], KEY);
	each("ci", 0, 100);
	ck_assert_int_eq(rows.n, 3);
	each("ci", 0, 2);
	ck_assert_int_eq(rows.n, 2);
	ck_assert_str_eq(rows.what[0], "same"); /* the last two, in order */
	each(NULL, 11 * DAY, 100);
	ck_assert_int_eq(rows.n, 1);
	each("nobody", 0, 100);
	ck_assert_int_eq(rows.n, 0);

	/* What was there did not count; a day ends. */
	t = find();
	ck_assert_int_eq(t.used_total, 200);
	ck_assert_int_eq(token_used_today(&t, 10 * DAY + 5), 200);
	ck_assert_int_eq(token_used_today(&t, 11 * DAY), 0);
	a.token = "ci";
	ck_assert_int_eq(put(KEY, 'd'), INDEX_REPLACED);
	t = find();
	ck_assert_int_eq(t.used_total, 300);
	ck_assert_int_eq(token_used_today(&t, 11 * DAY + 5), 100);
	index_audit_next(ix, NULL);
	ck_assert_int_eq(put(KEY, 'e'), INDEX_REPLACED);
	ck_assert_int_eq(find().used_total, 300);

	/* Up to the day's quota and no further; then nothing is entered. */
	index_audit_next(ix, &a);
	a.size = 901;
	ck_assert_int_eq(put(KEY, 'f'), INDEX_QUOTA);
	ck_assert_int_eq(put(KEY, 'e'), INDEX_SAME);
	a.size = 900;
	ck_assert_int_eq(put(KEY, 'f'), INDEX_REPLACED);
	a.size = 1;
	ck_assert_int_eq(put(KEY, 'g'), INDEX_QUOTA);
	/* What is here costs nothing. */
	ck_assert_int_eq(put(KEY, 'f'), INDEX_SAME);
	/* The next day, and the rest of all: 1200 are used. */
	a.size = 1000;
	for (a.time += DAY; find().used_total < 4200; a.time += DAY)
		ck_assert_int_eq(
		    put(KEY, find().used_total / 100 % 20 == 2 ? 'x' : 'y'),
		    INDEX_REPLACED);
	a.size = 801;
	ck_assert_int_eq(put(KEY, 'z'), INDEX_QUOTA);
	a.size = 800;
	ck_assert_int_eq(put(KEY, 'z'), INDEX_REPLACED);
	ck_assert_int_eq(find().used_total, 5000);
}
END_TEST

/* What it costs is added up: with a verdict, a last use, or by itself. */
START_TEST(costs)
{
	const struct token_cost cost = { 1000, 20 };
	struct token t = { .name = "ci", .scopes = SCOPE_PUSH, .created = 77 };
	struct verified v;

	memset(t.secret.b, 7, sizeof(t.secret.b));
	ck_assert_int_eq(index_token_add(ix, &t), 1);
	t = find();
	ck_assert_int_eq(t.unpacked, 0);
	ck_assert_int_eq(t.cpu_us, 0);
	ck_assert_int_eq(t.cost_since, 77);
	ck_assert_int_eq(index_token_cost(ix, "ci", &cost), 0);
	ck_assert_int_eq(index_token_cost(ix, "removed", &cost), 0);
	ck_assert_int_eq(index_token_used(ix, &t, 1000, &cost), 1);
	t = find();
	ck_assert_int_eq(t.unpacked, 2000);
	ck_assert_int_eq(t.cpu_us, 40);
	/* Not due yet: nothing is written. */
	ck_assert_int_eq(index_token_used(ix, &t, 1001, &cost), 0);
	ck_assert_int_eq(find().unpacked, 2000);

	/* A verdict that can't be entered counts nothing. */
	good(&v);
	ck_assert_int_eq(
	    index_nar_put_cost(ix, CACHE, KEY, &v, 1, "ci", &cost), -1);
	ck_assert_int_eq(find().unpacked, 2000);
	ck_assert_int_eq(put(KEY, 'a'), INDEX_CREATED);
	ck_assert_int_eq(
	    index_nar_put_cost(ix, CACHE, KEY, &v, 1, "ci", &cost), 0);
	ck_assert_int_eq(find().unpacked, 3000);
	ck_assert_int_eq(find().cpu_us, 60);
	verified_clear(&v);
}
END_TEST

/* The same through a ledger: nothing is lost where a write fails, or is not
 * due. */
START_TEST(a_ledger)
{
	const struct token_cost cost = { 1000, 20 };
	struct token t = { .name = "ci", .scopes = SCOPE_PUSH };
	struct ledger *l = ledger_new();
	struct verified v;

	memset(t.secret.b, 7, sizeof(t.secret.b));
	ck_assert_int_eq(index_token_add(ix, &t), 1);
	ledger_add(l, "", &cost);
	ledger_add(l, "ci", &cost);
	ledger_add(l, "ci", &cost);
	ck_assert_int_eq(find().unpacked, 0);
	good(&v);
	ck_assert_int_eq(ledger_nar_put(l, ix, "ci", CACHE, KEY, &v, 1), -1);
	ck_assert_int_eq(put(KEY, 'a'), INDEX_CREATED);
	ck_assert_int_eq(ledger_nar_put(l, ix, "ci", CACHE, KEY, &v, 1), 0);
	ck_assert_int_eq(find().unpacked, 2000);
	ck_assert_int_eq(find().cpu_us, 40);
	ledger_add(l, "ci", &cost);
	t.last_used = 1000;
	ledger_used(l, ix, &t, 1001);
	ck_assert_int_eq(find().unpacked, 2000);
	ledger_used(l, ix, &t, 1060);
	ck_assert_int_eq(find().unpacked, 3000);
	ledger_used(l, ix, &t, 1120);
	ck_assert_int_eq(find().unpacked, 3000);
	ledger_add(l, "ci", &cost);
	ledger_write(l, scratch);
	ck_assert_int_eq(find().unpacked, 4000);
	ck_assert_int_eq(find().cpu_us, 80);
	/* Nobody's work is kept with no account. */
	ck_assert_int_eq(ledger_nar_put(NULL, ix, "", CACHE, KEY, &v, 1), 0);
	verified_clear(&v);
	ledger_free(l);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("audit");
	TCase *tc = tcase_create("index");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, verdicts);
	tcase_add_test(tc, audit_and_quota);
	tcase_add_test(tc, costs);
	tcase_add_test(tc, a_ledger);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
