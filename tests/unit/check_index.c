#include "config.h"

#include <sys/types.h>
#include <sys/wait.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "db.h"
#include "index.h"
#include "index_db.h"
#include "scratch.h"
#include "unit.h"

#define CACHE "main"
#define STORE "/nix/store"
#define ME "0123456789abcdef"
#define OTHER "fedcba9876543210"
#define LEASE 60

static struct index *ix;

static void
setup(void)
{
	scratch_make();
	ck_assert_ptr_nonnull(ix = index_open(scratch, INDEX_WRITE));
}

/* For tests whose processes open the index themselves. */
static void
setup_closed(void)
{
	scratch_make();
	ix = NULL;
}

/* SQL of the test's own, on a connection of its own: its first column. */
static int64_t
ask(const char *sql)
{
	struct db *d = db_open(scratch_path("index.db"), false);
	sqlite3_stmt *st;
	int64_t v = -1;

	ck_assert_ptr_nonnull(d);
	ck_assert_ptr_nonnull(st = db_prepare(d, sql));
	if (db_step(d, st) == 1)
		v = sqlite3_column_int64(st, 0);
	db_close(d);
	return v;
}

/* Whatever was done: the totals that triggers keep are what a count finds. */
static void
teardown(void)
{
	ck_assert_int_eq(
	    ask("WITH kept AS (SELECT * FROM total"
		"  WHERE count <> 0 OR bytes <> 0 OR in_spool <> 0),"
		" counted AS (SELECT cache, state, count(*), sum(size),"
		"  coalesce(sum(size) FILTER (WHERE spool IS NOT NULL), 0)"
		"  FROM asset GROUP BY cache, state UNION ALL"
		"  SELECT cache, 'path', count(*), sum(nar_size), 0 FROM path"
		"  GROUP BY cache)"
		" SELECT (SELECT count(*) FROM"
		"  (SELECT * FROM kept EXCEPT SELECT * FROM counted))"
		" + (SELECT count(*) FROM"
		"  (SELECT * FROM counted EXCEPT SELECT * FROM kept))"),
	    0);
	index_close(ix);
	scratch_remove();
}

/* Objects --------------------------------------------------------------- */

static enum index_put
put(const char *key, const char *bytes, const char *spool, char old[64])
{
	struct asset_new a = { .key = key,
		.size = strlen(bytes),
		.content_type = "text/plain",
		.spool = spool };

	hash_sha256(bytes, strlen(bytes), &a.sha256);
	return index_asset_put(ix, CACHE, &a, 1000, old);
}

/* The row of key, without its URL. */
static struct asset_row
get(const char *key)
{
	struct asset_row row;

	ck_assert_int_eq(index_asset_get(ix, CACHE, key, &row), 1);
	index_asset_clear(&row);
	return row;
}

/* What a PUT of an object gets. */
static enum index_put
put_log(struct index *in)
{
	const struct asset_new a = {
		.key = "log/x.drv", .content_type = "text/plain", .spool = "s.0"
	};
	char old[64];

	return index_asset_put(in, "main", &a, 1, old);
}

/* It is another file's name, then its own again. */
static void
check_moved(const char *file)
{
	char path[256];

	snprintf(path, sizeof(path), "%s", scratch_path(file));
	ck_assert(!index_moved(ix));
	ck_assert_int_eq(rename(path, scratch_path("away")), 0);
	ck_assert(index_moved(ix));
	ck_assert_int_eq(put_log(ix), INDEX_ERROR);
	/* A statement by itself, too. */
	ck_assert_int_eq(index_store_set(ix, CACHE, "x"), -1);
	scratch_write(file, "", 0);
	ck_assert(index_moved(ix));
	ck_assert_int_eq(put_log(ix), INDEX_ERROR);
	ck_assert_int_eq(rename(scratch_path("away"), path), 0);
	ck_assert_int_eq(put_log(ix), INDEX_CREATED);
}

START_TEST(is_not_written_without_its_wal)
{
	check_moved("index.db-wal");
}
END_TEST

START_TEST(is_not_written_without_its_shm)
{
	check_moved("index.db-shm");
}
END_TEST

START_TEST(is_not_written_when_replaced)
{
	check_moved("index.db");
}
END_TEST

START_TEST(asset_created)
{
	struct asset_row row;
	struct digest want;
	char old[64] = "?";

	ck_assert_int_eq(index_asset_get(ix, CACHE, "log/x", &row), 0);
	ck_assert_int_eq(put("log/x", "hello", "s.1", old), INDEX_CREATED);
	ck_assert_str_eq(old, "");
	row = get("log/x");
	hash_sha256("hello", 5, &want);
	ck_assert(digest_equal(&row.sha256, &want));
	ck_assert_str_eq(row.key, "log/x");
	ck_assert_str_eq(row.spool, "s.1");
	ck_assert_int_eq(row.state, ASSET_SPOOLED);
	ck_assert_uint_eq(row.size, 5);
	ck_assert_int_eq(row.created, 1000);
	ck_assert_int_eq(row.attempts, 0);
	/* Another cache's keys are its own. */
	ck_assert_int_eq(index_asset_get(ix, "drv", "log/x", &row), 0);
}
END_TEST

START_TEST(asset_same_gives_the_new_file_back)
{
	char old[64];

	put("log/x", "hello", "s.1", old);
	ck_assert_int_eq(put("log/x", "hello", "s.2", old), INDEX_SAME);
	ck_assert_str_eq(old, "s.2");
	ck_assert_str_eq(get("log/x").spool, "s.1");
}
END_TEST

START_TEST(asset_replaced_gives_the_old_file_back)
{
	char old[64];

	put("log/x", "hello", "s.1", old);
	ck_assert_int_eq(
	    put("log/x", "other bytes", "s.2", old), INDEX_REPLACED);
	ck_assert_str_eq(old, "s.1");
	ck_assert_str_eq(get("log/x").spool, "s.2");
	ck_assert_uint_eq(get("log/x").size, 11);
	ck_assert_int_eq(get("log/x").state, ASSET_SPOOLED);
}
END_TEST

/* Claim at now: the number of rows. */
static size_t
claim(const char *owner, int64_t now, struct asset_row *rows, size_t max)
{
	size_t n, i;

	ck_assert_int_eq(
	    index_claim(ix, CACHE, owner, now, LEASE, rows, max, &n), 0);
	ck_assert_uint_le(n, max);
	for (i = 0; i < n; i++) {
		ck_assert_int_eq(rows[i].state, ASSET_RELAYING);
		ck_assert_int_eq(get(rows[i].key).state, ASSET_RELAYING);
		index_asset_clear(&rows[i]);
	}
	return n;
}

/* Everything that can be claimed is stored. */
static void
store_all(void)
{
	struct asset_row rows[8];
	bool done[8];
	size_t n;

	while ((n = claim(ME, 5000, rows, nitems(rows))) > 0)
		ck_assert_int_eq(index_stored(ix, ME, rows, n, done), 0);
}

START_TEST(asset_same_when_stored)
{
	char old[64];

	put("log/x", "hello", "s.1", old);
	store_all();
	ck_assert_int_eq(put("log/x", "hello", "s.2", old), INDEX_SAME);
	ck_assert_str_eq(old, "s.2");
	ck_assert_int_eq(get("log/x").state, ASSET_STORED);
	/* Other bytes have to be relayed again; there is no old file. */
	ck_assert_int_eq(put("log/x", "other", "s.3", old), INDEX_REPLACED);
	ck_assert_str_eq(old, "");
	ck_assert_int_eq(get("log/x").state, ASSET_SPOOLED);
	ck_assert_str_eq(get("log/x").spool, "s.3");
}
END_TEST

START_TEST(asset_that_failed_is_tried_again)
{
	struct asset_row row;
	char old[64];

	put("log/x", "hello", "s.1", old);
	ck_assert_uint_eq(claim(ME, 2000, &row, 1), 1);
	ck_assert_int_eq(index_unclaim(ix, ME, &row, "no", 9000, true), 0);
	ck_assert_int_eq(get("log/x").state, ASSET_FAILED);
	ck_assert_str_eq(get("log/x").spool, "s.1");
	ck_assert_int_eq(put("log/x", "hello", "s.2", old), INDEX_REPLACED);
	ck_assert_str_eq(old, "s.1");
	ck_assert_int_eq(get("log/x").attempts, 0);
	ck_assert_uint_eq(claim(ME, 2000, &row, 1), 1);
	ck_assert_str_eq(row.spool, "s.2");
}
END_TEST

START_TEST(spool_names_in_use)
{
	char old[64];

	ck_assert_int_eq(index_spool_used(ix, "s.1"), 0);
	put("log/x", "hello", "s.1", old);
	ck_assert_int_eq(index_spool_used(ix, "s.1"), 1);
	ck_assert_int_eq(index_spool_used(ix, "s.2"), 0);
	put("log/x", "other", "s.2", old);
	ck_assert_int_eq(index_spool_used(ix, "s.1"), 0);
	ck_assert_int_eq(index_spool_used(ix, "s.2"), 1);
	store_all();
	ck_assert_int_eq(index_spool_used(ix, "s.2"), 0);
	ck_assert_int_eq(index_spool_used(ix, ""), 0);
}
END_TEST

/* Narinfos -------------------------------------------------------------- */

/* What a narinfo says; the defaults are those of spec_of. */
struct spec {
	char id; /* the hash part is 32 of it */
	const char *name;
	const char *file; /* the bytes of the NAR's file */
	const char *compression;
	const char *content; /* NarHash is its digest */
	unsigned int nar_size;
	unsigned int file_size; /* 0: none */
	const char *references; /* an id each */
	const char *sigs; /* a key's name each */
};

static const char *
hash_part(char id)
{
	static char s[8][HASH_PART_LEN + 1];
	static unsigned int next;
	char *p = s[next++ % 8];

	memset(p, id, HASH_PART_LEN);
	p[HASH_PART_LEN] = '\0';
	return p;
}

/* A path of its own: file and content are different for each id. */
static struct spec
spec_of(char id)
{
	static char text[26][2][16];
	char *file = text[id - 'a'][0], *content = text[id - 'a'][1];

	snprintf(file, 16, "file of %c", id);
	snprintf(content, 16, "NAR of %c", id);
	return (struct spec) { .id = id,
		.name = "x",
		.file = file,
		.compression = "xz",
		.content = content,
		.nar_size = 120,
		.references = "",
		.sigs = "" };
}

static void
base32_of(const char *bytes, char out[DIGEST_BASE32 + 1])
{
	struct digest d;

	hash_sha256(bytes, strlen(bytes), &d);
	digest_to_base32(&d, out);
}

static const char *
nar_key(const struct spec *s)
{
	static char key[8][KEY_MAX + 1];
	static unsigned int next;
	char *p = key[next++ % 8], hash[DIGEST_BASE32 + 1];

	base32_of(s->file, hash);
	snprintf(p, KEY_MAX + 1, "nar/%s.nar%s", hash,
	    key_nar_extension(s->compression));
	return p;
}

static const char *
narinfo_key(char id)
{
	static char key[8][KEY_MAX + 1];
	static unsigned int next;
	char *p = key[next++ % 8];

	snprintf(p, KEY_MAX + 1, "%s.narinfo", hash_part(id));
	return p;
}

static struct narinfo *
narinfo(const struct spec *s)
{
	char file[DIGEST_BASE32 + 1], nar[DIGEST_BASE32 + 1], err[256];
	struct buf b = BUF_INIT;
	struct narinfo *ni;
	const char *p;

	base32_of(s->file, file);
	base32_of(s->content, nar);
	buf_addf(&b, "StorePath: " STORE "/%s-%s\n", hash_part(s->id), s->name);
	buf_addf(&b, "URL: %s\n", nar_key(s));
	buf_addf(&b, "Compression: %s\n", s->compression);
	buf_addf(&b, "FileHash: sha256:%s\n", file);
	if (s->file_size != 0)
		buf_addf(&b, "FileSize: %u\n", s->file_size);
	buf_addf(&b, "NarHash: sha256:%s\n", nar);
	buf_addf(&b, "NarSize: %u\n", s->nar_size);
	buf_adds(&b, "References:");
	for (p = s->references; *p != '\0'; p++)
		buf_addf(&b, " %s-x", hash_part(*p));
	if (s->references[0] == '\0')
		buf_adds(&b, " ");
	buf_adds(&b, "\n");
	for (p = s->sigs; *p != '\0'; p++)
		buf_addf(&b,
		    "Sig: key-%c:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
		    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==\n",
		    *p);
	ni = narinfo_parse(b.p, b.len, STORE, err, sizeof(err));
	ck_assert_msg(ni != NULL, "%s", err);
	buf_free(&b);
	return ni;
}

/* The names of the signatures are all there is to these: X is nobody. */
static unsigned int
worth(const void *arg, const struct narinfo *ni, const char *sig)
{
	(void)arg;
	(void)ni;
	return strncmp(sig, "key-X:", 6) != 0;
}

static const struct sig_rank all_good = { worth, NULL };

static enum index_put
put_nar(const struct spec *s)
{
	char old[64], spool[64];

	snprintf(spool, sizeof(spool), "nar.%c", s->id);
	return put(nar_key(s), s->file, spool, old);
}

static enum index_put
put_narinfo(const struct spec *s)
{
	struct narinfo *ni = narinfo(s);
	enum index_put rc;
	uint64_t nar_size;

	rc =
	    index_narinfo_put(ix, CACHE, ni, &all_good, STORE, 1000, &nar_size);
	narinfo_free(ni);
	return rc;
}

/* The text the index has, which must be what the asset row is of. */
static const char *
text(char id)
{
	static char s[4][4096];
	static unsigned int next;
	struct asset_row row = get(narinfo_key(id));
	struct buf b = BUF_INIT;
	struct digest d;
	size_t size;
	char *p = s[next++ % 4];

	ck_assert_int_eq(
	    index_narinfo_get(ix, CACHE, hash_part(id), &b, &size), 1);
	ck_assert_uint_eq(size, b.len);
	ck_assert_uint_eq(row.size, b.len);
	hash_sha256(b.p, b.len, &d);
	ck_assert(digest_equal(&row.sha256, &d));
	ck_assert_str_eq(row.spool, "");
	snprintf(p, sizeof(s[0]), "%s", buf_str(&b));
	buf_free(&b);
	return p;
}

START_TEST(narinfo_created)
{
	struct spec s = spec_of('a');
	struct narinfo *ni;
	struct buf want = BUF_INIT;
	uint64_t nar_size;
	size_t size;

	s.references = "ab";
	s.sigs = "1";
	put_nar(&s);
	ck_assert_int_eq(
	    index_narinfo_get(ix, CACHE, hash_part('a'), NULL, &size), 0);
	ni = narinfo(&s);
	ck_assert(!ni->has_file_size);
	ck_assert_int_eq(
	    index_narinfo_put(ix, CACHE, ni, &all_good, STORE, 1000, &nar_size),
	    INDEX_CREATED);
	ck_assert_uint_eq(nar_size, strlen(s.file));
	/* FileSize was missing: now it is the NAR's. */
	ck_assert(ni->has_file_size);
	ck_assert_uint_eq(ni->file_size, strlen(s.file));
	narinfo_print(ni, &want);
	ck_assert_ptr_nonnull(strstr(buf_str(&want), "\nFileSize: 9\n"));
	ck_assert_str_eq(text('a'), buf_str(&want));
	ck_assert_int_eq(
	    index_narinfo_get(ix, CACHE, hash_part('a'), NULL, &size), 1);
	ck_assert_uint_eq(size, want.len);
	ck_assert_int_eq(get(narinfo_key('a')).state, ASSET_SPOOLED);
	ck_assert_int_eq(ask("SELECT count(*) FROM reference"
			     " WHERE hash_part LIKE 'aaaa%'"
			     " AND (ref LIKE 'aaaa%' OR ref LIKE 'bbbb%')"),
	    2);
	buf_free(&want);
	narinfo_free(ni);
}
END_TEST

START_TEST(narinfo_again)
{
	struct spec s = spec_of('a');

	s.sigs = "12";
	put_nar(&s);
	ck_assert_int_eq(put_narinfo(&s), INDEX_CREATED);
	ck_assert_int_eq(put_narinfo(&s), INDEX_SAME);
	s.sigs = "2";
	s.file_size = (unsigned int)strlen(s.file);
	ck_assert_int_eq(put_narinfo(&s), INDEX_SAME);
	store_all();
	ck_assert_int_eq(put_narinfo(&s), INDEX_SAME);
	ck_assert_int_eq(get(narinfo_key('a')).state, ASSET_STORED);
	ck_assert_ptr_nonnull(strstr(text('a'), "\nSig: key-1:"));
}
END_TEST

START_TEST(narinfo_merges_signatures)
{
	struct spec s = spec_of('a');

	s.sigs = "1";
	put_nar(&s);
	put_narinfo(&s);
	store_all();
	s.sigs = "2";
	ck_assert_int_eq(put_narinfo(&s), INDEX_REPLACED);
	ck_assert_ptr_nonnull(strstr(text('a'), "\nSig: key-1:"));
	ck_assert_ptr_nonnull(strstr(text('a'), "\nSig: key-2:"));
	/* The store has the old text. */
	ck_assert_int_eq(get(narinfo_key('a')).state, ASSET_SPOOLED);
	ck_assert_int_eq(get(nar_key(&s)).state, ASSET_STORED);
}
END_TEST

/* One bit of the text is another: what is pushed takes its place, nothing of
 * it comes into what is served. */
START_TEST(narinfo_that_is_spoiled_is_healed)
{
	struct spec s = spec_of('a'), other;
	struct index_status stat;
	char before[4096];
	struct buf b = BUF_INIT;

	s.sigs = "1";
	put_nar(&s);
	put_narinfo(&s);
	snprintf(before, sizeof(before), "%s", text('a'));
	store_all();
	ask("UPDATE path SET narinfo = replace(narinfo, 'Sig: key-1', "
	    "'Sig: key-0')");
	ck_assert_int_eq(index_narinfo_get(ix, CACHE, hash_part('a'), &b, NULL),
	    INDEX_SPOILED);
	buf_free(&b);
	ck_assert_int_eq(index_spoiled_note(ix, CACHE, hash_part('a'), 9), 0);
	ck_assert_int_eq(index_spoiled_note(ix, CACHE, hash_part('a'), 10), 0);
	ck_assert_int_eq(ask("SELECT spoiled FROM asset WHERE spoiled"), 9);
	ck_assert_int_eq(index_status(ix, CACHE, &stat), 0);
	ck_assert_uint_eq(stat.spoiled, 1);
	/* Of another meaning it is refused as ever. */
	other = s;
	other.nar_size++;
	ck_assert_int_eq(put_narinfo(&other), INDEX_CONFLICT);
	other = s;
	other.references = "c";
	ck_assert_int_eq(put_narinfo(&other), INDEX_CONFLICT);
	ck_assert_int_eq(put_narinfo(&s), INDEX_REPLACED);
	ck_assert_str_eq(text('a'), before);
	ck_assert_int_eq(get(narinfo_key('a')).state, ASSET_SPOOLED);
	ck_assert_int_eq(index_status(ix, CACHE, &stat), 0);
	ck_assert_uint_eq(stat.spoiled, 0);
	ck_assert_int_eq(put_narinfo(&s), INDEX_SAME);
}
END_TEST

START_TEST(narinfo_of_another_compression_keeps_the_old_text)
{
	struct spec s = spec_of('a'), other = s;
	char before[4096];

	s.sigs = "1";
	put_nar(&s);
	put_narinfo(&s);
	snprintf(before, sizeof(before), "%s", text('a'));
	other.sigs = "1";
	other.compression = "zstd";
	other.file = "the same NAR by zstd";
	ck_assert_int_eq(put_narinfo(&other), INDEX_NO_NAR);
	put_nar(&other);
	ck_assert_int_eq(put_narinfo(&other), INDEX_SAME);
	ck_assert_str_eq(text('a'), before);
	/* A new signature is good for the old file, too. */
	other.sigs = "2";
	ck_assert_int_eq(put_narinfo(&other), INDEX_REPLACED);
	ck_assert_ptr_nonnull(strstr(text('a'), nar_key(&s)));
	ck_assert_ptr_null(strstr(text('a'), nar_key(&other)));
	ck_assert_ptr_nonnull(strstr(text('a'), "\nSig: key-2:"));
	ck_assert_ptr_nonnull(strstr(text('a'), "\nFileSize: 9\n"));
}
END_TEST

static const struct {
	const char *what;
	const char *name, *content, *references;
	unsigned int nar_size;
} conflicts[] = {
	{ "StorePath", "y", NULL, NULL, 0 },
	{ "NarHash", NULL, "another NAR", NULL, 0 },
	{ "NarSize", NULL, NULL, NULL, 128 },
	{ "References, one less", NULL, NULL, "b", 0 },
	{ "References, one more", NULL, NULL, "bcd", 0 },
	{ "References, another", NULL, NULL, "bd", 0 },
};

START_TEST(narinfo_of_another_meaning_changes_nothing)
{
	struct spec s = spec_of('a');
	char before[4096];

	s.references = "bc";
	put_nar(&s);
	put_narinfo(&s);
	store_all();
	snprintf(before, sizeof(before), "%s", text('a'));
	s.sigs = "1";
	if (conflicts[_i].name != NULL)
		s.name = conflicts[_i].name;
	if (conflicts[_i].content != NULL)
		s.content = conflicts[_i].content;
	if (conflicts[_i].references != NULL)
		s.references = conflicts[_i].references;
	if (conflicts[_i].nar_size != 0)
		s.nar_size = conflicts[_i].nar_size;
	ck_assert_msg(
	    put_narinfo(&s) == INDEX_CONFLICT, "%s", conflicts[_i].what);
	ck_assert_str_eq(text('a'), before);
	ck_assert_int_eq(get(narinfo_key('a')).state, ASSET_STORED);
	ck_assert_int_eq(ask("SELECT count(*) FROM reference"), 2);
}
END_TEST

START_TEST(narinfo_needs_its_nar)
{
	struct spec s = spec_of('a');
	struct asset_row row;

	ck_assert_int_eq(put_narinfo(&s), INDEX_NO_NAR);
	ck_assert_int_eq(index_asset_get(ix, CACHE, narinfo_key('a'), &row), 0);
	ck_assert_int_eq(
	    index_narinfo_get(ix, CACHE, hash_part('a'), NULL, NULL), 0);
	ck_assert_int_eq(put_nar(&s), INDEX_CREATED);
	ck_assert_int_eq(put_narinfo(&s), INDEX_CREATED);
}
END_TEST

START_TEST(narinfo_of_another_file_size)
{
	struct spec s = spec_of('a');
	struct narinfo *ni;
	uint64_t nar_size;

	put_nar(&s);
	s.file_size = (unsigned int)strlen(s.file) + 1;
	ni = narinfo(&s);
	ck_assert_int_eq(
	    index_narinfo_put(ix, CACHE, ni, &all_good, STORE, 1000, &nar_size),
	    INDEX_BAD_SIZE);
	ck_assert_uint_eq(nar_size, strlen(s.file));
	narinfo_free(ni);
	ck_assert_int_eq(
	    index_narinfo_get(ix, CACHE, hash_part('a'), NULL, NULL), 0);
	s.file_size--;
	ck_assert_int_eq(put_narinfo(&s), INDEX_CREATED);
}
END_TEST

START_TEST(narinfo_that_failed_is_tried_again)
{
	struct spec s = spec_of('a');
	struct asset_row row;
	bool done;

	put_nar(&s);
	put_narinfo(&s);
	ck_assert_uint_eq(claim(ME, 2000, &row, 1), 1);
	ck_assert_int_eq(index_stored(ix, ME, &row, 1, &done), 0);
	ck_assert_uint_eq(claim(ME, 2000, &row, 1), 1);
	ck_assert_str_eq(row.key, narinfo_key('a'));
	ck_assert_int_eq(index_unclaim(ix, ME, &row, "no", 2000, true), 0);
	ck_assert_uint_eq(claim(ME, 2000, &row, 1), 0);
	ck_assert_int_eq(put_narinfo(&s), INDEX_REPLACED);
	ck_assert_uint_eq(claim(ME, 2000, &row, 1), 1);
	ck_assert_str_eq(row.key, narinfo_key('a'));
}
END_TEST

/* The whole index ------------------------------------------------------- */

START_TEST(store_dir_is_pinned)
{
	struct buf b = BUF_INIT;

	ck_assert_int_eq(index_pin_store_dir(ix, CACHE, STORE, &b), 1);
	buf_clear(&b);
	ck_assert_int_eq(index_pin_store_dir(ix, CACHE, STORE, &b), 1);
	index_close(ix);
	ck_assert_ptr_nonnull(ix = index_open(scratch, INDEX_WRITE));
	buf_clear(&b);
	ck_assert_int_eq(index_pin_store_dir(ix, CACHE, "/gnu/store", &b), 0);
	ck_assert_str_eq(buf_str(&b), STORE);
	/* The other cache may be of another one. */
	buf_clear(&b);
	ck_assert_int_eq(index_pin_store_dir(ix, "drv", "/gnu/store", &b), 1);
	buf_clear(&b);
	ck_assert_int_eq(index_pin_store_dir(ix, CACHE, STORE, &b), 1);
	buf_free(&b);
}
END_TEST

START_TEST(status_numbers)
{
	struct spec a = spec_of('a'), b = spec_of('b');
	struct index_status st;
	struct asset_row rows[2];
	bool done[2];
	char old[64];

	ck_assert_int_eq(index_status(ix, CACHE, &st), 0);
	ck_assert_uint_eq(st.paths, 0);
	ck_assert_int_eq(st.oldest, 0);
	ck_assert_str_eq(st.last_error, "");

	b.nar_size = 200;
	put_nar(&a);
	put_narinfo(&a);
	put_nar(&b);
	put_narinfo(&b);
	put("log/x", "a long log", "s.1", old);
	ck_assert_uint_eq(claim(ME, 2000, rows, 2), 2);
	ck_assert_int_eq(index_stored(ix, ME, rows, 1, done), 0);
	ck_assert_int_eq(index_status(ix, CACHE, &st), 0);
	ck_assert_uint_eq(st.paths, 2);
	ck_assert_uint_eq(st.nar_bytes, 320);
	ck_assert_uint_eq(st.state[ASSET_STORED].count, 1);
	ck_assert_uint_eq(st.state[ASSET_STORED].bytes, strlen(a.file));
	ck_assert_uint_eq(st.state[ASSET_RELAYING].count, 1);
	ck_assert_uint_eq(st.state[ASSET_RELAYING].bytes, strlen(b.file));
	ck_assert_uint_eq(st.state[ASSET_SPOOLED].count, 3);
	ck_assert_uint_eq(st.state[ASSET_SPOOLED].bytes,
	    strlen("a long log") + strlen(text('a')) + strlen(text('b')));
	ck_assert_uint_eq(st.state[ASSET_FAILED].count, 0);
	ck_assert_int_eq(st.oldest, 1000);
	ck_assert_int_eq(index_status(ix, "drv", &st), 0);
	ck_assert_uint_eq(st.state[ASSET_SPOOLED].count, 0);
	ck_assert_uint_eq(st.paths, 0);
}
END_TEST

/* How many paths have no signature? */
static uint64_t
unsigned_paths(void)
{
	struct index_status st;

	ck_assert_int_eq(index_status(ix, CACHE, &st), 0);
	return st.unsigned_paths;
}

START_TEST(paths_that_nobody_signed)
{
	struct spec a = spec_of('a'), b = spec_of('b');

	b.sigs = "k";
	put_nar(&a);
	put_nar(&b);
	put_narinfo(&a);
	put_narinfo(&b);
	ck_assert_uint_eq(unsigned_paths(), 1);
	ck_assert_int_eq(index_path_unsigned(ix, CACHE, hash_part('a')), 1);
	ck_assert_int_eq(index_path_unsigned(ix, CACHE, hash_part('b')), 0);
	ck_assert_int_eq(index_path_unsigned(ix, CACHE, hash_part('c')), 0);
	ck_assert_int_eq(index_path_unsigned(ix, "drv", hash_part('a')), 0);
	/* Its content is its address. */
	ask("UPDATE path SET ca = 'fixed:x' WHERE narinfo NOT LIKE '%Sig:%'");
	ck_assert_uint_eq(unsigned_paths(), 0);
	ck_assert_int_eq(index_path_unsigned(ix, CACHE, hash_part('a')), 0);
	ask("UPDATE path SET ca = NULL");
	ck_assert_uint_eq(unsigned_paths(), 1);
	/* Signed meanwhile. */
	a.sigs = "k";
	ck_assert_int_eq(put_narinfo(&a), INDEX_REPLACED);
	ck_assert_uint_eq(unsigned_paths(), 0);
}
END_TEST

START_TEST(status_last_error)
{
	struct index_status st;
	struct asset_row rows[3];
	bool done[3];
	char old[64];

	put("log/x", "x", "s.1", old);
	put("log/y", "y", "s.2", old);
	put("log/z", "z", "s.3", old);
	ck_assert_uint_eq(claim(ME, 2000, rows, 3), 3);
	index_unclaim(ix, ME, &rows[1], "for good", 0, true);
	index_unclaim(ix, ME, &rows[2], "for now", 2000, false);
	ck_assert_int_eq(index_status(ix, CACHE, &st), 0);
	ck_assert_uint_eq(st.state[ASSET_FAILED].count, 1);
	/* One that a person has to see to comes first. */
	ck_assert_str_eq(st.last_error, "for good");
	ck_assert_str_eq(st.last_error_key, "log/y");
	put("log/y", "y", "s.4", old);
	ck_assert_int_eq(index_status(ix, CACHE, &st), 0);
	ck_assert_str_eq(st.last_error, "for now");
	ck_assert_str_eq(st.last_error_key, "log/z");
	/* Gone once stored. */
	ck_assert_uint_eq(claim(ME, 2000, rows, 3), 2);
	ck_assert_int_eq(index_stored(ix, ME, rows, 2, done), 0);
	ck_assert_int_eq(index_status(ix, CACHE, &st), 0);
	ck_assert_str_eq(st.last_error, "");
	ck_assert_str_eq(st.last_error_key, "");
	ck_assert_int_eq(
	    ask("SELECT count(*) FROM asset WHERE last_error IS NOT NULL"), 0);
}
END_TEST

START_TEST(newer_schema_is_refused)
{
	index_close(ix);
	ix = NULL;
	ask("PRAGMA user_version=99");
	ck_assert_ptr_null(index_open(scratch, INDEX_WRITE));
	ck_assert_ptr_null(index_open(scratch, INDEX_READ));
	ck_assert_int_eq(ask("PRAGMA user_version"), 99);
}
END_TEST

START_TEST(opened_again_has_everything)
{
	struct spec s = spec_of('a');
	char before[4096];

	put_nar(&s);
	put_narinfo(&s);
	snprintf(before, sizeof(before), "%s", text('a'));
	index_close(ix);
	ck_assert_ptr_nonnull(ix = index_open(scratch, INDEX_READ));
	ck_assert_str_eq(text('a'), before);
	index_close(NULL);
}
END_TEST

START_TEST(no_index_without_a_directory)
{
	ck_assert_ptr_null(index_open(scratch_path("none"), INDEX_WRITE));
}
END_TEST

static int64_t
milliseconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* I8.  A reader that waited would do so for the busy timeout, 5 s. */
START_TEST(readers_do_not_wait_for_a_writer)
{
	struct spec s = spec_of('a');
	struct db *writer;
	sqlite3_stmt *st;
	struct index_status stat;
	struct index *late;
	char before[4096];
	int64_t start;

	put_nar(&s);
	put_narinfo(&s);
	snprintf(before, sizeof(before), "%s", text('a'));
	writer = db_open(scratch_path("index.db"), false);
	ck_assert_ptr_nonnull(writer);
	ck_assert_int_eq(db_begin(writer), 0);
	st = db_prepare(writer, "UPDATE path SET narinfo = 'changed'");
	ck_assert_int_eq(db_step(writer, st), 0);
	start = milliseconds();
	ck_assert_str_eq(text('a'), before);
	ck_assert_int_eq(index_status(ix, CACHE, &stat), 0);
	ck_assert_ptr_nonnull(late = index_open(scratch, INDEX_READ));
	ck_assert_int_eq(
	    index_narinfo_get(late, CACHE, hash_part('a'), NULL, NULL), 1);
	ck_assert_int_lt(milliseconds() - start, 3000);
	index_close(late);
	ck_assert_int_eq(db_commit(writer), 0);
	db_close(writer);
	/* No read of before keeps its snapshot. */
	ck_assert_int_eq(ask("SELECT narinfo = 'changed' FROM path"), 1);
	{
		struct buf b = BUF_INIT;

		ck_assert_int_eq(
		    index_narinfo_get(ix, CACHE, hash_part('a'), &b, NULL),
		    INDEX_SPOILED);
		ck_assert_str_eq(buf_str(&b), "changed");
		buf_free(&b);
	}
}
END_TEST

static int
add_another(const struct token *t, void *arg)
{
	struct token other = { .name = "other" };

	(void)t;
	ck_assert_int_eq(index_token_add(arg, &other), 1);
	return 1;
}

/* Nor does a writer for a reader in the middle of its rows. */
START_TEST(writer_does_not_wait_for_a_reader)
{
	struct token t = { .name = "ci", .secret = { { 1 } } };
	struct index *writer;
	int64_t start;

	ck_assert_int_eq(index_token_add(ix, &t), 1);
	ck_assert_ptr_nonnull(writer = index_open(scratch, INDEX_WRITE));
	start = milliseconds();
	ck_assert_int_eq(index_token_each(ix, add_another, writer), 0);
	ck_assert_int_lt(milliseconds() - start, 3000);
	index_close(writer);
}
END_TEST

/* Run child in n processes let loose at once; codes counts their results. */
static void
race(int n, int (*child)(void), int codes[256])
{
	int gate[2], i, status;
	pid_t pid;
	char c;

	memset(codes, 0, 256 * sizeof(codes[0]));
	ck_assert_int_eq(pipe(gate), 0);
	for (i = 0; i < n; i++) {
		ck_assert_int_ne(pid = fork(), -1);
		if (pid == 0) {
			close(gate[1]);
			if (read(gate[0], &c, 1) == -1)
				_exit(99);
			_exit(child());
		}
	}
	close(gate[0]);
	close(gate[1]);
	for (i = 0; i < n; i++) {
		ck_assert_int_gt(wait(&status), 0);
		ck_assert(WIFEXITED(status));
		codes[WEXITSTATUS(status)]++;
	}
}

static int
open_it(void)
{
	struct index_status st;

	ix = index_open(scratch, getpid() % 2 == 0 ? INDEX_WRITE : INDEX_READ);
	return ix != NULL && index_status(ix, CACHE, &st) == 0 ? 0 : 1;
}

/* Several rounds: about one in six failed without the care db.c takes. */
START_TEST(eight_processes_open_a_fresh_index)
{
	int codes[256];

	race(8, open_it, codes);
	ck_assert_int_eq(codes[0], 8);
	ck_assert_int_eq(ask("PRAGMA user_version"), (int)index_nmigrations);
}
END_TEST

static char race_id;

static int
put_it(void)
{
	struct spec s = spec_of(race_id);

	if ((ix = index_open(scratch, INDEX_WRITE)) == NULL)
		return 99;
	return (int)put_narinfo(&s);
}

START_TEST(two_processes_put_one_narinfo)
{
	const char *id;
	struct spec s;
	int codes[256];

	for (id = "abcdfghi"; *id != '\0'; id++) {
		race_id = *id;
		s = spec_of(race_id);
		ck_assert_ptr_nonnull(ix = index_open(scratch, INDEX_WRITE));
		ck_assert_int_eq(put_nar(&s), INDEX_CREATED);
		index_close(ix);
		ix = NULL;
		race(2, put_it, codes);
		ck_assert_int_eq(codes[INDEX_CREATED], 1);
		ck_assert_int_eq(codes[INDEX_SAME], 1);
	}
	ck_assert_int_eq(ask("SELECT count(*) FROM path"), 8);
}
END_TEST

/* Relay ----------------------------------------------------------------- */

/* Put the paths of "a,ba,...": an id and what it references. */
static void
put_paths(const char *paths)
{
	char references[16];
	struct spec s;
	size_t n;

	for (; *paths != '\0'; paths += n + (paths[n] == ',')) {
		n = strcspn(paths, ",");
		s = spec_of(paths[0]);
		snprintf(references, sizeof(references), "%.*s", (int)n - 1,
		    paths + 1);
		s.references = references;
		ck_assert_int_eq(put_nar(&s), INDEX_CREATED);
		ck_assert_int_eq(put_narinfo(&s), INDEX_CREATED);
	}
}

/* A letter for a row: a narinfo's id, its NAR's in upper case. */
static char
letter(const char *key)
{
	struct spec s;
	char id;

	for (id = 'a'; id < 'e'; id++) {
		s = spec_of(id);
		if (strcmp(key, narinfo_key(id)) == 0)
			return id;
		if (strcmp(key, nar_key(&s)) == 0)
			return (char)(id - 'a' + 'A');
	}
	return '?';
}

static const char *
letters(const struct asset_row *rows, size_t n)
{
	static char s[32];
	size_t i;

	for (i = 0; i < n; i++)
		s[i] = letter(rows[i].key);
	s[n] = '\0';
	return s;
}

static const struct {
	const char *paths;
	const char *rounds[5]; /* what each claim gets when all is stored */
} orders[] = {
	{ "a", { "A", "a" } },
	{ "a,b", { "AB", "ab" } },
	{ "a,ba", { "AB", "a", "b" } },
	{ "ba,a", { "BA", "a", "b" } }, /* the reference comes later */
	{ "a,ba,cb", { "ABC", "a", "b", "c" } },
	{ "a,b,cab", { "ABC", "ab", "c" } },
	{ "aa", { "A", "a" } }, /* itself */
	{ "aa,bab", { "AB", "a", "b" } },
	{ "az", { "A", "a" } }, /* not here: another cache has it */
	/* Rings go at once, after what they reference outside. */
	{ "ab,ba", { "AB", "ab" } },
	{ "aab,bab", { "AB", "ab" } },
	{ "ab,bc,ca", { "ABC", "abc" } },
	{ "abc,ba,c", { "ABC", "c", "ab" } },
	{ "ab,ba,ca", { "ABC", "ab", "c" } },
};

START_TEST(claim_order)
{
	struct asset_row rows[16];
	bool done[16];
	size_t i, k, n;

	put_paths(orders[_i].paths);
	for (i = 0; orders[_i].rounds[i] != NULL; i++) {
		n = claim(ME, 2000, rows, nitems(rows));
		ck_assert_str_eq(letters(rows, n), orders[_i].rounds[i]);
		/* While these are under way there is nothing else. */
		ck_assert_uint_eq(claim(OTHER, 2000, rows + n, 1), 0);
		ck_assert_int_eq(index_stored(ix, ME, rows, n, done), 0);
		for (k = 0; k < n; k++)
			ck_assert(done[k]);
	}
	ck_assert_uint_eq(claim(ME, 2000, rows, nitems(rows)), 0);
	ck_assert_int_eq(
	    ask("SELECT count(*) FROM asset WHERE state <> 'stored'"), 0);
}
END_TEST

START_TEST(claim_respects_the_maximum)
{
	struct asset_row rows[4];
	bool done[4];

	put_paths("a,b,c");
	ck_assert_uint_eq(claim(ME, 2000, rows, 2), 2);
	ck_assert_str_eq(letters(rows, 2), "AB");
	ck_assert_int_eq(index_stored(ix, ME, rows, 2, done), 0);
	/* The room that objects leave is for narinfos. */
	ck_assert_uint_eq(claim(ME, 2000, rows, 2), 2);
	ck_assert_str_eq(letters(rows, 2), "Ca");
	ck_assert_uint_eq(claim(ME, 2000, rows, 0), 0);
	ck_assert_uint_eq(claim(ME, 2000, rows, 1), 1);
	ck_assert_str_eq(letters(rows, 1), "b");
}
END_TEST

START_TEST(claims_of_another_cache)
{
	struct asset_row rows[4];
	size_t n;

	put_paths("a");
	ck_assert_int_eq(
	    index_claim(ix, "drv", ME, 2000, LEASE, rows, 4, &n), 0);
	ck_assert_uint_eq(n, 0);
}
END_TEST

START_TEST(narinfo_waits_while_its_reference_is_not_stored)
{
	struct asset_row rows[4], ref;
	bool done[4];

	put_paths("a,ba");
	ck_assert_uint_eq(claim(ME, 2000, rows, 4), 2);
	index_stored(ix, ME, rows, 2, done);
	ck_assert_uint_eq(claim(ME, 2000, &ref, 1), 1);
	ck_assert_str_eq(letters(&ref, 1), "a");
	/* Neither while it is to be tried later nor when it failed. */
	index_unclaim(ix, ME, &ref, "later", 3000, false);
	ck_assert_uint_eq(claim(ME, 2999, rows, 4), 0);
	ck_assert_uint_eq(claim(ME, 3000, &ref, 1), 1);
	index_unclaim(ix, ME, &ref, "never", 3000, true);
	ck_assert_uint_eq(claim(ME, 9000, rows, 4), 0);
}
END_TEST

START_TEST(stored)
{
	struct asset_row row, now;
	char url[] = "https://cdn.example/x", old[64];
	bool done = false;

	put("log/x", "hello", "s.1", old);
	ck_assert_uint_eq(claim(ME, 2000, &row, 1), 1);
	ck_assert_int_eq(row.attempts, 1);
	ck_assert_str_eq(get("log/x").spool, "s.1"); /* I5 */
	row.url = url;
	ck_assert_int_eq(index_stored(ix, ME, &row, 1, &done), 0);
	ck_assert(done);
	ck_assert_int_eq(index_asset_get(ix, CACHE, "log/x", &now), 1);
	ck_assert_int_eq(now.state, ASSET_STORED);
	ck_assert_str_eq(now.spool, "");
	ck_assert_str_eq(now.url, url);
	index_asset_clear(&now);
	ck_assert_ptr_null(now.url);
	/* It is nobody's any more. */
	ck_assert_int_eq(index_stored(ix, ME, &row, 1, &done), 0);
	ck_assert(!done);
}
END_TEST

START_TEST(stored_not_when_replaced_meanwhile)
{
	struct asset_row rows[2];
	bool done[2] = { true, false };
	char old[64];

	put("log/x", "x", "s.1", old);
	put("log/y", "y", "s.2", old);
	ck_assert_uint_eq(claim(ME, 2000, rows, 2), 2);
	ck_assert_int_eq(put("log/x", "new", "s.3", old), INDEX_REPLACED);
	ck_assert_str_eq(old, "s.1");
	ck_assert_int_eq(index_stored(ix, ME, rows, 2, done), 0);
	ck_assert(!done[0]);
	ck_assert(done[1]);
	ck_assert_int_eq(get("log/x").state, ASSET_SPOOLED);
	ck_assert_str_eq(get("log/x").spool, "s.3");
	/* Until then nobody relayed the new ones: the old could come last. */
	ck_assert_uint_eq(claim(ME, 2000, rows, 1), 1);
	ck_assert_int_eq(put("log/x", "newer", "s.4", old), INDEX_REPLACED);
	ck_assert_uint_eq(claim(ME, 2000, &rows[1], 1), 0);
	ck_assert_int_eq(index_stored(ix, ME, rows, 1, done), 0);
	ck_assert(!done[0]);
	ck_assert_uint_eq(claim(ME, 2000, rows, 1), 1);
	ck_assert_int_eq(index_stored(ix, ME, rows, 1, done), 0);
	ck_assert(done[0]);
}
END_TEST

START_TEST(stored_only_by_the_owner)
{
	struct asset_row row;
	bool done = true;
	char old[64];

	put("log/x", "x", "s.1", old);
	ck_assert_uint_eq(claim(ME, 2000, &row, 1), 1);
	ck_assert_int_eq(index_stored(ix, OTHER, &row, 1, &done), 0);
	ck_assert(!done);
	ck_assert_int_eq(get("log/x").state, ASSET_RELAYING);
	ck_assert_str_eq(get("log/x").spool, "s.1");
}
END_TEST

START_TEST(unclaimed_waits_for_its_time)
{
	struct index_status st;
	struct asset_row row;
	char old[64];

	put("log/x", "x", "s.1", old);
	ck_assert_uint_eq(claim(ME, 2000, &row, 1), 1);
	ck_assert_int_eq(index_unclaim(ix, ME, &row, "busy", 2010, false), 0);
	ck_assert_int_eq(get("log/x").state, ASSET_SPOOLED);
	ck_assert_str_eq(get("log/x").spool, "s.1");
	ck_assert_int_eq(index_status(ix, CACHE, &st), 0);
	ck_assert_str_eq(st.last_error, "busy");
	ck_assert_uint_eq(claim(ME, 2009, &row, 1), 0);
	ck_assert_uint_eq(claim(ME, 2010, &row, 1), 1);
	ck_assert_int_eq(row.attempts, 2);
}
END_TEST

START_TEST(unclaimed_for_good_keeps_its_file)
{
	struct asset_row row;
	char old[64];

	put("log/x", "x", "s.1", old);
	ck_assert_uint_eq(claim(ME, 2000, &row, 1), 1);
	ck_assert_int_eq(index_unclaim(ix, ME, &row, "no", 2010, true), 0);
	ck_assert_int_eq(get("log/x").state, ASSET_FAILED);
	ck_assert_str_eq(get("log/x").spool, "s.1");
	ck_assert_uint_eq(claim(ME, 99999, &row, 1), 0);
}
END_TEST

START_TEST(unclaim_is_for_the_claim_at_hand)
{
	struct asset_row row, again;
	char old[64];

	put("log/x", "x", "s.1", old);
	ck_assert_uint_eq(claim(ME, 2000, &row, 1), 1);
	ck_assert_int_eq(index_unclaim(ix, OTHER, &row, "?", 9000, true), 0);
	ck_assert_int_eq(get("log/x").state, ASSET_RELAYING);
	/* The new bytes are no worse for the failure of the old. */
	put("log/x", "new", "s.2", old);
	ck_assert_int_eq(index_unclaim(ix, ME, &row, "?", 9000, true), 0);
	ck_assert_int_eq(get("log/x").state, ASSET_SPOOLED);
	ck_assert_uint_eq(claim(ME, 2000, &again, 1), 1);
	ck_assert_int_eq(index_unclaim(ix, OTHER, &row, "?", 9000, true), 0);
	ck_assert_int_eq(get("log/x").state, ASSET_RELAYING);
}
END_TEST

/* A ring goes when all its NARs are stored and nothing else is missing. */
START_TEST(ring_waits_for_its_nars)
{
	struct asset_row rows[4];
	bool done[4];
	struct spec s;

	put_paths("ab,bac,c");
	ck_assert_uint_eq(claim(ME, 2000, rows, 4), 3);
	ck_assert_str_eq(letters(rows, 3), "ABC");
	ck_assert_int_eq(index_stored(ix, ME, rows, 1, done), 0);
	ck_assert_int_eq(index_unclaim(ix, ME, &rows[1], "no", 2000, true), 0);
	/* C is under way: c waits, B failed: a and b wait. */
	ck_assert_uint_eq(claim(ME, 2000, &rows[3], 1), 0);
	ck_assert_int_eq(index_stored(ix, ME, &rows[2], 1, done), 0);
	ck_assert_uint_eq(claim(ME, 2000, rows, 4), 1);
	ck_assert_str_eq(letters(rows, 1), "c");
	ck_assert_int_eq(index_unclaim(ix, ME, &rows[0], "no", 2000, true), 0);
	s = spec_of('b');
	ck_assert_int_eq(index_retry(ix, CACHE, nar_key(&s)), 1);
	ck_assert_uint_eq(claim(ME, 2000, rows, 4), 1);
	ck_assert_str_eq(letters(rows, 1), "B");
	ck_assert_int_eq(index_stored(ix, ME, rows, 1, done), 0);
	/* c failed. */
	ck_assert_uint_eq(claim(ME, 2000, rows, 4), 0);
	ck_assert_int_eq(index_retry(ix, CACHE, NULL), 1);
	ck_assert_uint_eq(claim(ME, 2000, rows, 4), 1);
	ck_assert_str_eq(letters(rows, 1), "c");
	ck_assert_int_eq(index_stored(ix, ME, rows, 1, done), 0);
	ck_assert_uint_eq(claim(ME, 2000, rows, 4), 2);
	ck_assert_str_eq(letters(rows, 2), "ab");
}
END_TEST

/* So many narinfos, number i as path(i) has it, whose NARs are stored. */
static void
put_many(size_t n, const char *references)
{
	char sql[1024];
	struct db *db;
	char file[4096];
	sqlite3_stmt *st;
	const char *sqls[4];
	size_t i;

	sqls[0] = "INSERT INTO asset (cache, key, size, sha256, content_type,"
		  " state, created) VALUES ('main', 'nar/x', 1,"
		  " zeroblob(32), '', 'stored', 1)";
	snprintf(sql, sizeof(sql),
	    "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n"
	    " WHERE i < %zu) INSERT INTO path SELECT 'main',"
	    " printf('%%032d', i), '', '', 'nar/x', zeroblob(32), 1, 1,"
	    " NULL, NULL, 1 FROM n",
	    n - 1);
	snprintf(file, sizeof(file), "%s/index.db", scratch);
	ck_assert_ptr_nonnull(db = db_open(file, false));
	db_limit(db, 0);
	sqls[1] = sql;
	sqls[2] = "INSERT INTO asset (cache, key, hash_part, size, sha256,"
		  " content_type, created) SELECT 'main', hash_part ||"
		  " '.narinfo', hash_part, 0, zeroblob(32), '', 1 FROM path"
		  " ORDER BY hash_part";
	sqls[3] = references;
	for (i = 0; i < nitems(sqls); i++) {
		ck_assert_ptr_nonnull(st = db_prepare(db, sqls[i]));
		ck_assert_int_eq(db_step(db, st), 0);
	}
	db_close(db);
}

#define RING                                                                   \
	"INSERT INTO reference SELECT 'main', hash_part, printf('%032d',"      \
	" (CAST(hash_part AS INTEGER) + 1) % (SELECT count(*) FROM path))"     \
	" FROM path"

/* All of them go, in as many claims as that takes. */
static void
all_go(size_t n)
{
	struct asset_row rows[INDEX_CLAIM_MAX];
	bool done[INDEX_CLAIM_MAX];
	size_t got;

	for (; n > 0; n -= got) {
		got = claim(ME, 2000, rows, INDEX_CLAIM_MAX);
		ck_assert_uint_gt(got, 0);
		ck_assert_uint_le(got, n);
		ck_assert_int_eq(index_stored(ix, ME, rows, got, done), 0);
	}
	ck_assert_uint_eq(claim(ME, 2000, rows, 1), 0);
}

/* These took longer than anybody waited, and the writer's lock. */
START_TEST(a_large_ring)
{
	put_many(200, RING);
	all_go(200);
}
END_TEST

START_TEST(a_clique)
{
	put_many(200,
	    "INSERT INTO reference SELECT 'main', p.hash_part, q.hash_part"
	    " FROM path AS p, path AS q WHERE p.hash_part <> q.hash_part");
	all_go(200);
}
END_TEST

/* A ring that can't go, since one of it failed, keeps nobody else. */
START_TEST(many_wait)
{
	struct asset_row rows[2];
	char old[64];
	struct spec s;
	bool done[2];

	put_many(20000, RING);
	put_paths("a");
	/* One of the ring is on its way, and fails for good. */
	ck_assert_uint_eq(claim(ME, 2000, rows, 2), 1);
	ck_assert_str_eq(letters(rows, 1), "A");
	ck_assert_int_eq(index_stored(ix, ME, rows, 1, done), 0);
	ck_assert_uint_eq(claim(ME, 2000, rows, 1), 1);
	ck_assert_str_eq(letters(rows, 1), "a");
	ck_assert_int_eq(index_stored(ix, ME, rows, 1, done), 0);
	ck_assert_uint_eq(claim(ME, 2000, rows, 1), 1);
	ck_assert_int_eq(index_unclaim(ix, ME, rows, "no", 0, true), 0);
	ck_assert_uint_eq(claim(ME, 2000, rows, 1), 0);
	/* Other objects go, though nobody looks at all of these again. */
	s = spec_of('b');
	ck_assert_int_eq(put_nar(&s), INDEX_CREATED);
	put("log/x", "x", "s.1", old);
	ck_assert_uint_eq(claim(ME, 2000, rows, 2), 2);
}
END_TEST

START_TEST(retry_starts_over)
{
	struct buf why = BUF_INIT;
	struct asset_row row;
	char old[64];

	put("log/x", "x", "s.1", old);
	put("log/y", "y", "s.2", old);
	put("log/z", "z", "s.3", old);
	ck_assert_uint_eq(claim(ME, 2000, &row, 1), 1);
	ck_assert_int_eq(index_unclaim(ix, ME, &row, "no", 0, true), 0);
	ck_assert_uint_eq(claim(ME, 2000, &row, 1), 1);
	ck_assert_int_eq(index_unclaim(ix, ME, &row, "later", 9000, false), 0);
	ck_assert_uint_eq(claim(ME, 2000, &row, 1), 1);
	ck_assert_int_eq(index_asset_error(ix, CACHE, "log/x", &why), 1);
	ck_assert_str_eq(buf_str(&why), "no");
	ck_assert_int_eq(index_asset_error(ix, CACHE, "log/none", &why), 0);
	buf_free(&why);
	ck_assert_int_eq(index_retry(ix, CACHE, "log/none"), 0);
	ck_assert_int_eq(index_retry(ix, "drv", "log/x"), 0);
	/* Not what is under way. */
	ck_assert_int_eq(index_retry(ix, CACHE, "log/z"), 0);
	ck_assert_int_eq(index_retry(ix, CACHE, NULL), 2);
	ck_assert_int_eq(index_retry(ix, CACHE, NULL), 0);
	ck_assert_int_eq(get("log/x").state, ASSET_SPOOLED);
	ck_assert_int_eq(get("log/y").attempts, 0);
	ck_assert_int_eq(get("log/z").state, ASSET_RELAYING);
}
END_TEST

START_TEST(renewed_claims_hold)
{
	struct asset_row row, again;
	char old[64];

	put("log/x", "x", "s.1", old);
	ck_assert_uint_eq(claim(ME, 2000, &row, 1), 1);
	ck_assert_int_eq(index_renew(ix, OTHER, 1), 0);
	ck_assert_int_eq(index_renew(ix, ME, 9000), 0);
	ck_assert_uint_eq(claim(OTHER, 9000, &again, 1), 0);
	ck_assert_uint_eq(claim(OTHER, 9001, &again, 1), 1);
}
END_TEST

START_TEST(spool_bytes)
{
	struct asset_row row;
	uint64_t bytes = 7;
	char old[64];
	bool done;

	ck_assert_int_eq(index_spool_bytes(ix, &bytes), 0);
	ck_assert_uint_eq(bytes, 0);
	put("log/x", "12345", "s.1", old);
	put("log/y", "1234567", "s.2", old);
	ck_assert_int_eq(index_spool_bytes(ix, &bytes), 0);
	ck_assert_uint_eq(bytes, 12);
	ck_assert_uint_eq(claim(ME, 2000, &row, 1), 1);
	ck_assert_int_eq(index_stored(ix, ME, &row, 1, &done), 0);
	ck_assert_int_eq(index_spool_bytes(ix, &bytes), 0);
	ck_assert_uint_eq(bytes, 7);
}
END_TEST

START_TEST(release_of_an_owner)
{
	struct asset_row mine, others;
	char old[64];

	put("log/x", "x", "s.1", old);
	put("log/y", "y", "s.2", old);
	ck_assert_uint_eq(claim(ME, 2000, &mine, 1), 1);
	ck_assert_uint_eq(claim(OTHER, 2000, &others, 1), 1);
	ck_assert_int_eq(index_release(ix, ME), 0);
	ck_assert_int_eq(get(mine.key).state, ASSET_SPOOLED);
	ck_assert_str_eq(get(mine.key).spool, mine.spool);
	ck_assert_int_eq(get(others.key).state, ASSET_RELAYING);
	ck_assert_uint_eq(claim(OTHER, 2000, &mine, 1), 1);
	ck_assert_str_eq(mine.key, "log/x");
}
END_TEST

START_TEST(expired_lease_returns)
{
	struct asset_row row, again;
	bool done;
	char old[64];

	put("log/x", "x", "s.1", old);
	ck_assert_uint_eq(claim(ME, 2000, &row, 1), 1);
	ck_assert_uint_eq(claim(OTHER, 2000 + LEASE, &again, 1), 0);
	ck_assert_uint_eq(claim(OTHER, 2000 + LEASE + 1, &again, 1), 1);
	ck_assert_int_eq(again.attempts, 2);
	/* The first owner comes too late. */
	ck_assert_int_eq(index_stored(ix, ME, &row, 1, &done), 0);
	ck_assert(!done);
	ck_assert_int_eq(index_stored(ix, OTHER, &again, 1, &done), 0);
	ck_assert(done);
}
END_TEST

/* Tokens ---------------------------------------------------------------- */

static struct token
token(const char *name, const char *secret)
{
	struct token t = {
		.scopes = SCOPE_PUSH | SCOPE_DRV, .created = 100, .expires = 200
	};

	snprintf(t.name, sizeof(t.name), "%s", name);
	hash_sha256(secret, strlen(secret), &t.secret);
	return t;
}

START_TEST(token_found)
{
	struct token t = token("ci", "s1"), other = token("x", "s2"), got;

	ck_assert_int_eq(index_token_find(ix, &t.secret, &got), 0);
	ck_assert_int_eq(index_token_add(ix, &t), 1);
	ck_assert_int_eq(index_token_find(ix, &t.secret, &got), 1);
	ck_assert_str_eq(got.name, "ci");
	ck_assert(digest_equal(&got.secret, &t.secret));
	ck_assert_uint_eq(got.scopes, SCOPE_PUSH | SCOPE_DRV);
	ck_assert_int_eq(got.created, 100);
	ck_assert_int_eq(got.expires, 200);
	ck_assert_int_eq(got.last_used, 0);
	ck_assert_int_eq(index_token_find(ix, &other.secret, &got), 0);
}
END_TEST

START_TEST(token_name_is_taken)
{
	struct token t = token("ci", "s1"), same = token("ci", "s2"), got;

	ck_assert_int_eq(index_token_add(ix, &t), 1);
	ck_assert_int_eq(index_token_add(ix, &same), 0);
	ck_assert_int_eq(index_token_find(ix, &same.secret, &got), 0);
	ck_assert_int_eq(index_token_find(ix, &t.secret, &got), 1);
}
END_TEST

START_TEST(token_removed)
{
	struct token t = token("ci", "s1"), got;

	ck_assert_int_eq(index_token_remove(ix, "ci"), 0);
	index_token_add(ix, &t);
	ck_assert_int_eq(index_token_remove(ix, "ci"), 1);
	ck_assert_int_eq(index_token_find(ix, &t.secret, &got), 0);
	ck_assert_int_eq(index_token_remove(ix, "ci"), 0);
	ck_assert_int_eq(index_token_add(ix, &t), 1);
}
END_TEST

START_TEST(token_of_a_name_that_was_another_s_is_another)
{
	struct token t = token("ci", "s1"), first, second;
	struct buf name = BUF_INIT;

	ck_assert_int_eq(index_token_add(ix, &t), 1);
	ck_assert_int_eq(index_token_find(ix, &t.secret, &first), 1);
	ck_assert_int_eq(index_token_remove(ix, "ci"), 1);
	ck_assert_int_eq(index_token_add(ix, &t), 1);
	ck_assert_int_eq(index_token_find(ix, &t.secret, &second), 1);
	ck_assert_int_gt(first.id, 0);
	ck_assert_int_gt(second.id, first.id);
	ck_assert_int_eq(index_pusher_name(ix, first.id, &name), 1);
	ck_assert_str_eq(buf_str(&name), "ci");
	ck_assert_int_eq(index_pusher_name(ix, 0, &name), 0);
	buf_free(&name);
}
END_TEST

/* What a PUT of bytes by this pusher gets. */
static enum index_put
put_by(int64_t pusher, bool keep, const char *bytes)
{
	struct asset_new a = { .key = "log/x",
		.size = strlen(bytes),
		.content_type = "text/plain",
		.spool = bytes,
		.pusher = pusher,
		.keep = keep };
	char old[64];

	hash_sha256(bytes, strlen(bytes), &a.sha256);
	return index_asset_put(ix, CACHE, &a, 1000, old);
}

START_TEST(object_is_its_pushers)
{
	ck_assert_int_eq(put_by(1, true, "a"), INDEX_CREATED);
	ck_assert_int_eq(put_by(2, true, "b"), INDEX_CONFLICT);
	ck_assert_int_eq(put_by(2, true, "a"), INDEX_SAME);
	ck_assert_int_eq(put_by(2, true, "b"), INDEX_CONFLICT);
	ck_assert_int_eq(get("log/x").pusher, 1);
	ck_assert_int_eq(put_by(1, true, "b"), INDEX_REPLACED);
	ck_assert_int_eq(put_by(2, false, "c"), INDEX_REPLACED);
	ck_assert_int_eq(get("log/x").pusher, 2);
	ck_assert_int_eq(put_by(1, true, "d"), INDEX_CONFLICT);
	/* Whoever sends again what could not be stored. */
	ask("UPDATE asset SET state = 'failed'");
	ck_assert_int_eq(put_by(1, true, "d"), INDEX_CONFLICT);
	ck_assert_int_eq(put_by(1, true, "c"), INDEX_REPLACED);
	ck_assert_int_eq(get("log/x").pusher, 2);
}
END_TEST

START_TEST(object_is_nobodys)
{
	ck_assert_int_eq(put_by(0, true, "a"), INDEX_CREATED);
	ck_assert_int_eq(put_by(0, true, "b"), INDEX_CONFLICT);
	ck_assert_int_eq(put_by(1, true, "b"), INDEX_CONFLICT);
	ck_assert_int_eq(put_by(1, false, "b"), INDEX_REPLACED);
}
END_TEST

static const struct {
	const char *key;
	const char *name; /* whose it is after the migration */
} owned[] = {
	{ "log/first", "old" },
	{ "log/replaced", "ci" },
	{ "log/same", "old" },
	{ "log/removed", NULL }, /* that token is gone */
	{ "log/renewed", NULL }, /* there is another one of its name */
	{ "log/unknown", NULL },
};

/* Before there were pushers the audit log alone knew. */
START_TEST(objects_of_before_are_whose_the_log_says)
{
	struct db *d = db_open(scratch_path("index.db"), true);
	struct buf insert = BUF_INIT, name = BUF_INIT;
	size_t i;

	ck_assert_int_eq(db_migrate(d, index_migrations, 7), 0);
	db_close(d);
	ask("INSERT INTO token (name, secret, scopes, created) VALUES"
	    " ('ci', zeroblob(32), 1, 100), ('old', randomblob(32), 1, 100),"
	    " ('new', randomblob(32), 1, 500)");
	ask("INSERT INTO audit (time, cache, key, token, address, size, what)"
	    " VALUES (200, 'main', 'log/first', 'old', '', 1, 'new'),"
	    " (200, 'main', 'log/replaced', 'old', '', 1, 'new'),"
	    " (300, 'main', 'log/replaced', 'ci', '', 1, 'changed'),"
	    " (200, 'main', 'log/same', 'old', '', 1, 'new'),"
	    " (300, 'main', 'log/same', 'ci', '', 1, 'same'),"
	    " (200, 'main', 'log/removed', 'old', '', 1, 'new'),"
	    " (300, 'main', 'log/removed', 'gone', '', 1, 'changed'),"
	    " (200, 'main', 'log/renewed', 'new', '', 1, 'new')");
	for (i = 0; i < nitems(owned); i++) {
		buf_clear(&insert);
		buf_addf(&insert,
		    "INSERT INTO asset (cache, key, size, sha256, content_type,"
		    " spool, created)"
		    " VALUES ('main', '%s', 1, zeroblob(32), 't', 's', 1)",
		    owned[i].key);
		ask(buf_str(&insert));
	}
	ck_assert_ptr_nonnull(ix = index_open(scratch, INDEX_WRITE));
	for (i = 0; i < nitems(owned); i++) {
		buf_clear(&name);
		ck_assert_int_eq(
		    index_pusher_name(ix, get(owned[i].key).pusher, &name),
		    owned[i].name != NULL);
		ck_assert_str_eq(
		    buf_str(&name), owned[i].name != NULL ? owned[i].name : "");
	}
	buf_free(&insert);
	buf_free(&name);
}
END_TEST

static const struct {
	int64_t now, noted;
} uses[] = {
	{ 1000, 1000 },
	{ 1059, 1000 },
	{ 1060, 1060 },
	{ 1061, 1060 },
	{ 900, 1060 }, /* the clock went back */
	{ 5000, 5000 },
};

START_TEST(token_used_to_the_minute)
{
	struct token t = token("ci", "s1"), other = token("x", "s2"), got;
	const struct token_cost cost = { 0, 0 };
	size_t i;

	index_token_add(ix, &t);
	index_token_add(ix, &other);
	for (i = 0; i < nitems(uses); i++) {
		ck_assert_int_eq(index_token_find(ix, &t.secret, &got), 1);
		ck_assert_int_eq(index_token_used(ix, &got, uses[i].now, &cost),
		    uses[i].noted == uses[i].now);
		ck_assert_int_eq(index_token_find(ix, &t.secret, &got), 1);
		ck_assert_int_eq(got.last_used, uses[i].noted);
	}
	ck_assert_int_eq(index_token_find(ix, &other.secret, &got), 1);
	ck_assert_int_eq(got.last_used, 0);
}
END_TEST

struct names {
	char s[64];
	size_t left;
};

static int
collect(const struct token *t, void *arg)
{
	struct names *names = arg;
	size_t n = strlen(names->s), room = sizeof(names->s) - n;

	ck_assert_int_lt(
	    snprintf(names->s + n, room, "%s,", t->name), (int)room);
	return --names->left == 0;
}

START_TEST(tokens_each_by_name)
{
	struct token b = token("b", "s1"), a = token("a", "s2"),
		     c = token("c", "s3");
	struct names names = { "", 9 };

	ck_assert_int_eq(index_token_each(ix, collect, &names), 0);
	ck_assert_str_eq(names.s, "");
	index_token_add(ix, &b);
	index_token_add(ix, &a);
	index_token_add(ix, &c);
	ck_assert_int_eq(index_token_each(ix, collect, &names), 0);
	ck_assert_str_eq(names.s, "a,b,c,");
	names = (struct names) { "", 2 };
	ck_assert_int_eq(index_token_each(ix, collect, &names), 0);
	ck_assert_str_eq(names.s, "a,b,");
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("index");
	TCase *assets = tcase_create("assets");
	TCase *narinfos = tcase_create("narinfos");
	TCase *whole = tcase_create("whole");
	TCase *races = tcase_create("races");
	TCase *relay = tcase_create("relay");
	TCase *tokens = tcase_create("tokens");
	TCase *before = tcase_create("before");

	tcase_add_checked_fixture(assets, setup, teardown);
	tcase_add_test(assets, is_not_written_without_its_wal);
	tcase_add_test(assets, is_not_written_when_replaced);
	tcase_add_test(assets, is_not_written_without_its_shm);
	tcase_add_test(assets, asset_created);
	tcase_add_test(assets, asset_same_gives_the_new_file_back);
	tcase_add_test(assets, asset_replaced_gives_the_old_file_back);
	tcase_add_test(assets, asset_same_when_stored);
	tcase_add_test(assets, asset_that_failed_is_tried_again);
	tcase_add_test(assets, spool_names_in_use);
	suite_add_tcase(s, assets);

	tcase_add_checked_fixture(narinfos, setup, teardown);
	tcase_add_test(narinfos, narinfo_created);
	tcase_add_test(narinfos, narinfo_again);
	tcase_add_test(narinfos, narinfo_merges_signatures);
	tcase_add_test(narinfos, narinfo_that_is_spoiled_is_healed);
	tcase_add_test(
	    narinfos, narinfo_of_another_compression_keeps_the_old_text);
	tcase_add_loop_test(narinfos,
	    narinfo_of_another_meaning_changes_nothing, 0,
	    (int)nitems(conflicts));
	tcase_add_test(narinfos, narinfo_needs_its_nar);
	tcase_add_test(narinfos, narinfo_of_another_file_size);
	tcase_add_test(narinfos, narinfo_that_failed_is_tried_again);
	suite_add_tcase(s, narinfos);

	tcase_add_checked_fixture(whole, setup, teardown);
	tcase_add_test(whole, store_dir_is_pinned);
	tcase_add_test(whole, status_numbers);
	tcase_add_test(whole, paths_that_nobody_signed);
	tcase_add_test(whole, status_last_error);
	tcase_add_test(whole, newer_schema_is_refused);
	tcase_add_test(whole, opened_again_has_everything);
	tcase_add_test(whole, no_index_without_a_directory);
	tcase_add_test(whole, readers_do_not_wait_for_a_writer);
	tcase_add_test(whole, writer_does_not_wait_for_a_reader);
	suite_add_tcase(s, whole);

	tcase_add_checked_fixture(races, setup_closed, teardown);
	tcase_set_timeout(races, 60);
	tcase_add_loop_test(races, eight_processes_open_a_fresh_index, 0, 20);
	tcase_add_test(races, two_processes_put_one_narinfo);
	suite_add_tcase(s, races);

	tcase_add_checked_fixture(relay, setup, teardown);
	tcase_add_loop_test(relay, claim_order, 0, (int)nitems(orders));
	tcase_add_test(relay, claim_respects_the_maximum);
	tcase_add_test(relay, claims_of_another_cache);
	tcase_add_test(relay, narinfo_waits_while_its_reference_is_not_stored);
	tcase_add_test(relay, stored);
	tcase_add_test(relay, stored_not_when_replaced_meanwhile);
	tcase_add_test(relay, stored_only_by_the_owner);
	tcase_add_test(relay, unclaimed_waits_for_its_time);
	tcase_add_test(relay, unclaimed_for_good_keeps_its_file);
	tcase_add_test(relay, unclaim_is_for_the_claim_at_hand);
	tcase_add_test(relay, release_of_an_owner);
	tcase_add_test(relay, ring_waits_for_its_nars);
	tcase_add_test(relay, a_large_ring);
	tcase_add_test(relay, a_clique);
	tcase_add_test(relay, many_wait);
	tcase_add_test(relay, retry_starts_over);
	tcase_add_test(relay, renewed_claims_hold);
	tcase_add_test(relay, spool_bytes);
	tcase_add_test(relay, expired_lease_returns);
	suite_add_tcase(s, relay);

	tcase_add_checked_fixture(tokens, setup, teardown);
	tcase_add_test(tokens, token_found);
	tcase_add_test(tokens, token_name_is_taken);
	tcase_add_test(tokens, token_removed);
	tcase_add_test(tokens, token_of_a_name_that_was_another_s_is_another);
	tcase_add_test(tokens, object_is_its_pushers);
	tcase_add_test(tokens, object_is_nobodys);
	tcase_add_test(tokens, token_used_to_the_minute);
	tcase_add_test(tokens, tokens_each_by_name);
	suite_add_tcase(s, tokens);

	tcase_add_checked_fixture(before, setup_closed, teardown);
	tcase_add_test(before, objects_of_before_are_whose_the_log_says);
	suite_add_tcase(s, before);
	return unit_main(s);
}
