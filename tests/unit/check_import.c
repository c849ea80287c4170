#include "config.h"

#include <stdbool.h>
#include <stdint.h>

#include "index.h"
#include "scratch.h"
#include "unit.h"

#define CACHE "drv"
#define STORE "/nix/store"

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

static const char *
hash_part(char id)
{
	static char s[4][HASH_PART_LEN + 1];
	static unsigned int next;
	char *p = s[next++ % 4];

	memset(p, id, HASH_PART_LEN);
	p[HASH_PART_LEN] = '\0';
	return p;
}

/* The path named id, which references those in refs (a letter each). */
static struct narinfo *
path(char id, const char *refs)
{
	struct buf b = BUF_INIT;
	struct digest d;
	char hash[DIGEST_BASE32 + 1], err[256];
	struct narinfo *ni;

	hash_sha256(&id, 1, &d);
	digest_to_base32(&d, hash);
	buf_addf(&b,
	    "StorePath: " STORE "/%s-%c.drv\nURL: nar/%s.nar\n"
	    "Compression: none\nFileHash: sha256:%s\nFileSize: 100\n"
	    "NarHash: sha256:%s\nNarSize: 100\nReferences:",
	    hash_part(id), id, hash, hash, hash);
	if (refs[0] == '\0')
		buf_addch(&b, ' ');
	for (; *refs != '\0'; refs++)
		buf_addf(&b, " %s-%c.drv", hash_part(*refs), *refs);
	buf_addch(&b, '\n');
	ni = narinfo_parse(b.p, b.len, STORE, err, sizeof(err));
	ck_assert_msg(ni != NULL, "%s", err);
	buf_free(&b);
	return ni;
}

static void
import(char id, const char *refs)
{
	struct narinfo *ni = path(id, refs);

	ck_assert_int_eq(index_import(ix, CACHE, &ni, 1, 1000), 0);
	narinfo_free(ni);
}

START_TEST(imported_is_stored)
{
	struct asset_row row;
	struct narinfo *ni = path('a', "");
	struct buf text = BUF_INIT, want = BUF_INIT;

	import('a', "");
	ck_assert_int_eq(
	    index_narinfo_get(ix, CACHE, hash_part('a'), &text, NULL), 1);
	narinfo_print(ni, &want);
	ck_assert_str_eq(text.p, want.p);
	ck_assert_int_eq(index_asset_get(ix, CACHE, ni->nar.s, &row), 1);
	ck_assert_int_eq(row.state, ASSET_STORED);
	ck_assert_str_eq(row.spool, "");
	ck_assert_uint_eq(row.size, 100);
	ck_assert(digest_equal(&row.sha256, &ni->file_hash));
	index_asset_clear(&row);
	buf_clear(&want);
	buf_addf(&want, "%s.narinfo", hash_part('a'));
	ck_assert_int_eq(index_asset_get(ix, CACHE, want.p, &row), 1);
	ck_assert_int_eq(row.state, ASSET_STORED);
	ck_assert_uint_eq(row.size, text.len);
	index_asset_clear(&row);
	/* Nothing of it is for the relay, nor for another cache. */
	ck_assert_int_eq(index_asset_get(ix, "main", ni->nar.s, &row), 0);
	narinfo_free(ni);
	buf_free(&text);
	buf_free(&want);
}
END_TEST

START_TEST(imported_again_changes_nothing)
{
	struct index_status st;

	import('a', "");
	import('a', "");
	ck_assert_int_eq(index_status(ix, CACHE, &st), 0);
	ck_assert_uint_eq(st.paths, 1);
	ck_assert_uint_eq(st.state[ASSET_STORED].count, 2);
}
END_TEST

/* One that can't be entered takes the others with it. */
START_TEST(all_or_nothing)
{
	struct narinfo *two[2] = { path('a', ""), path('b', "") };

	two[1]->has_file_size = false;
	ck_assert_int_eq(index_import(ix, CACHE, two, 2, 1000), -1);
	ck_assert_int_eq(
	    index_narinfo_get(ix, CACHE, hash_part('a'), NULL, NULL), 0);
	two[1]->has_file_size = true;
	ck_assert_int_eq(index_import(ix, CACHE, two, 2, 1000), 0);
	ck_assert_int_eq(
	    index_narinfo_get(ix, CACHE, hash_part('b'), NULL, NULL), 1);
	narinfo_free(two[0]);
	narinfo_free(two[1]);
}
END_TEST

/* Paths as "id references" by commas, in the order they are imported. */
static const struct {
	const char *paths;
	char of;
	const char *closure; /* NULL: incomplete, or unknown */
} closures[] = {
	{ "a", 'a', "a" },
	{ "a,b a", 'b', "ab" },
	{ "a,b a", 'a', "a" },
	/* Itself, and diamonds once. */
	{ "a a,b a,c a,d bcd", 'd', "abcd" },
	{ "a b,b a", 'a', "ab" },
	{ "a", 'b', NULL },
	{ "b a", 'b', NULL },
	{ "b a,c b", 'c', NULL },
};

START_TEST(closure)
{
	const char *p = closures[_i].paths;
	struct index_closure c;
	char refs[8];
	size_t n, i;
	int rc;

	for (; *p != '\0'; p += n + (p[n] == ',')) {
		n = strcspn(p, ",");
		snprintf(refs, sizeof(refs), "%.*s", n > 2 ? (int)n - 2 : 0,
		    p + (n > 2 ? 2 : 0));
		import(p[0], refs);
	}
	rc = index_closure(ix, CACHE, hash_part(closures[_i].of), &c);
	ck_assert_int_eq(rc, closures[_i].closure != NULL);
	if (rc == 1) {
		ck_assert_uint_eq(c.count, strlen(closures[_i].closure));
		ck_assert_uint_eq(c.nar_bytes, 100 * c.count);
		for (i = 0; i < c.count; i++)
			ck_assert_str_eq(c.hash_parts[i],
			    hash_part(closures[_i].closure[i]));
	}
	index_closure_clear(&c);
}
END_TEST

/* More than fit at first. */
START_TEST(long_chain)
{
	static const char ids[] = "0123456789abcdfghijklmnpqrsvwxyz";
	struct index_closure c;
	char ref[2] = "";
	size_t i;

	for (i = 0; ids[i] != '\0'; i++) {
		import(ids[i], ref);
		ref[0] = ids[i];
		ref[1] = '\0';
	}
	ck_assert_int_eq(index_closure(ix, CACHE, hash_part('z'), &c), 1);
	ck_assert_uint_eq(c.count, 32);
	index_closure_clear(&c);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("import");
	TCase *tc = tcase_create("import");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, imported_is_stored);
	tcase_add_test(tc, imported_again_changes_nothing);
	tcase_add_test(tc, all_or_nothing);
	tcase_add_loop_test(tc, closure, 0, (int)nitems(closures));
	tcase_add_test(tc, long_chain);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
