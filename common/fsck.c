#include "config.h"

#include "fsck.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "file.h"
#include "index_check.h"
#include "log.h"

#define CHUNK ((size_t)128 << 10)
#define DAY 86400

void
fsck_found(struct fsck *c, enum fsck_state state, const char *kind,
    const char *key, const char *fmt, ...)
{
	struct fsck_finding f = {
		.cache = c->cache, .key = key, .kind = kind, .state = state
	};
	struct buf what = BUF_INIT;
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	buf_adds(&what, text);
	f.what = buf_str(&what);
	if (state == FSCK_NOTE)
		c->notes++;
	else if (state == FSCK_REPAIRED)
		c->repaired++;
	else
		c->problems++;
	c->found(&f, c->arg);
	fsck_note(c, &f);
	buf_free(&what);
}

enum fsck_state
fsck_mended(struct fsck *c, int rc)
{
	if (rc == -1)
		c->unknown++;
	return rc == 1 ? FSCK_REPAIRED : FSCK_OPEN;
}

bool
fsck_sampled(const struct fsck *c, const char *key)
{
	uint64_t slices = (100 + c->sample - 1) / c->sample;
	struct digest d;

	if (slices <= 1)
		return true;
	hash_sha256(key, strlen(key), &d);
	return (d.b[0] << 8 | d.b[1]) % slices ==
	    (uint64_t)(c->now / DAY) % slices;
}

int64_t
fsck_due(struct fsck *c, uint64_t n)
{
	c->paid += n;
	if (c->rate == 0)
		return 0;
	return c->started_ms +
	    (int64_t)((double)c->paid * 1000 / (double)c->rate) - clock_ms();
}

void
fsck_pay(struct fsck *c, uint64_t n)
{
	int64_t due = fsck_due(c, n);
	struct timespec pause;

	if (due <= 0)
		return;
	pause.tv_sec = due / 1000;
	pause.tv_nsec = due % 1000 * 1000000;
	nanosleep(&pause, NULL);
}

int
fsck_digest(struct fsck *c, int fd, struct digest *d)
{
	struct hash *h = hash_new();
	char *chunk = malloc(CHUNK);
	ssize_t n = -1;

	if (h == NULL || chunk == NULL || lseek(fd, 0, SEEK_SET) == -1)
		goto out;
	while ((n = file_read_full(fd, chunk, CHUNK)) > 0) {
		hash_add(h, chunk, (size_t)n);
		c->read += (uint64_t)n;
		fsck_pay(c, (uint64_t)n);
		if (fsck_cut(c, "")) {
			errno = EINTR;
			n = -1;
			break;
		}
	}
	hash_final(h, d);
out:
	free(chunk);
	hash_free(h);
	return n == 0 ? 0 : -1;
}

static void
found_in_file(const char *what, void *arg)
{
	struct fsck *c = arg;

	fsck_found(c,
	    c->repair ? fsck_mended(c, index_check_strays(c->ix)) : FSCK_OPEN,
	    "index-file", "", "the index: %s", what);
}

static void
found_total(const char *what, void *arg)
{
	struct fsck *c = arg;

	fsck_found(c,
	    c->repair ? fsck_mended(c, index_check_recount(c->ix)) : FSCK_OPEN,
	    "total", "", "%s", what);
}

int
fsck_index(struct fsck *c)
{
	if (index_check_file(c->ix, found_in_file, c) == -1)
		return -1;
	return index_check_totals(c->ix, found_total, c);
}

/* Are the references of the text those of the rows? */
static bool
same_references(const struct narinfo *ni, const struct index_check_path *p)
{
	struct buf b = BUF_INIT;
	bool same;
	size_t i;

	/* Base names begin with their hash parts and are sorted. */
	for (i = 0; i < ni->nreferences; i++)
		buf_addf(&b, "%.*s\n", HASH_PART_LEN, ni->references[i]);
	same = !buf_failed(&b) &&
	    strcmp(buf_str(&b), buf_str(&p->references)) == 0;
	buf_free(&b);
	return same;
}

/* Which column differs from the text; NULL when all agree. */
static const char *
difference(const struct narinfo *ni, const struct index_check_path *p)
{
	if (strcmp(ni->hash_part.s, p->hash_part.s) != 0 ||
	    strcmp(ni->store_path, p->store_path) != 0)
		return "StorePath";
	if (strcmp(ni->nar.s, p->nar_key) != 0)
		return "URL";
	if (!digest_equal(&ni->nar_hash, &p->nar_hash))
		return "NarHash";
	if (ni->nar_size != p->nar_size)
		return "NarSize";
	if (ni->has_file_size && ni->file_size != p->file_size)
		return "FileSize";
	return same_references(ni, p) ? NULL : "References";
}

/* The text the store has of the path's narinfo, if it is the right one. */
static bool
stored_text(struct fsck *c, const struct index_check_path *p, struct buf *text)
{
	char key[KEY_MAX + 1];
	struct digest d;
	int fd;

	if (!p->has_asset || c->store == NULL || c->store->ops->open == NULL)
		return false;
	snprintf(key, sizeof(key), "%s.narinfo", p->hash_part.s);
	if ((fd = c->store->ops->open(c->store, key)) == -1)
		return false;
	if (file_read_max(fd, NARINFO_MAX, text) == -1)
		buf_clear(text);
	close(fd);
	hash_sha256(buf_str(text), text->len, &d);
	return digest_equal(&d, &p->sha256);
}

static struct narinfo *
parse(struct fsck *c, const struct buf *text)
{
	const char *store = strcmp(c->cache, CACHE_DRV) == 0
	    ? c->conf->drv_store_dir
	    : c->conf->store_dir;
	char err[256];

	return narinfo_parse(buf_str(text), text->len, store, err, sizeof(err));
}

/* Enter the path anew from text, which is the right one. */
static int
enter_again(
    struct fsck *c, const struct index_check_path *p, const struct buf *text)
{
	struct narinfo *ni;
	int rc = 0;

	if ((ni = parse(c, text)) == NULL)
		return 0;
	if (!ni->has_file_size) {
		ni->file_size = p->has_nar ? p->nar_file_size : p->file_size;
		ni->has_file_size = true;
	}
	if (strcmp(ni->hash_part.s, p->hash_part.s) == 0)
		rc = index_check_enter_path(
		    c->ix, c->cache, ni, text, false, c->now);
	narinfo_free(ni);
	return rc;
}

/*
 * The text in the index is spoiled.  The store's takes its place if it has the
 * right digest; else the path is forgotten, so that it can be sent again.
 */
static int
mend_text(struct fsck *c, const struct index_check_path *p)
{
	struct buf text = BUF_INIT_MAX(NARINFO_MAX), why = BUF_INIT;
	char key[KEY_MAX + 1];
	int rc;

	if (stored_text(c, p, &text))
		rc = enter_again(c, p, &text);
	else if ((rc = index_check_forget(c->ix, c->cache, &p->hash_part)) ==
		1 &&
	    c->store != NULL) {
		snprintf(key, sizeof(key), "%s.narinfo", p->hash_part.s);
		c->store->ops->remove(c->store, key, &why);
	}
	buf_free(&text);
	buf_free(&why);
	return rc;
}

/* Do the text and the columns agree?  true, or it was told. */
static bool
fsck_text(struct fsck *c, const struct index_check_path *p, const char *key)
{
	struct narinfo *ni = NULL;
	const char *field = "";
	struct digest d;
	bool good = false;

	hash_sha256(buf_str(&p->narinfo), p->narinfo.len, &d);
	if ((ni = parse(c, &p->narinfo)) == NULL ||
	    (p->has_asset &&
		(p->size != p->narinfo.len || !digest_equal(&d, &p->sha256)))) {
		fsck_found(c,
		    c->repair ? fsck_mended(c, mend_text(c, p)) : FSCK_OPEN,
		    "narinfo-spoiled", key,
		    ni == NULL
			? "its text is not a narinfo"
			: "its text is not what its digest and size say");
		goto out;
	}
	if (!p->has_asset)
		field = "a row of its narinfo";
	else if (!p->has_nar)
		field = "a row of its NAR";
	else if ((field = difference(ni, p)) == NULL) {
		good = true;
		goto out;
	}
	fsck_found(c,
	    c->repair ? fsck_mended(c, enter_again(c, p, &p->narinfo))
		      : FSCK_OPEN,
	    "path", key, "the index has not what its narinfo says: %s", field);
out:
	narinfo_free(ni);
	return good;
}

static int
unmark(struct fsck *c, const struct index_check_path *p)
{
	return index_spoiled_note(c->ix, c->cache, p->hash_part.s, 0) == 0 ? 1
									   : -1;
}

static void
fsck_path(struct fsck *c, const struct index_check_path *p)
{
	char key[KEY_MAX + 1];

	snprintf(key, sizeof(key), "%s.narinfo", p->hash_part.s);
	if (!fsck_text(c, p, key))
		return;
	/* A disk or memory that failed once; or somebody mended it. */
	if (p->spoiled != 0)
		fsck_found(c,
		    c->repair ? fsck_mended(c, unmark(c, p)) : FSCK_OPEN,
		    "narinfo-mark", key,
		    "a reader found its text spoiled once, but it is whole");
	if (p->missing != 0 && p->stored) {
		if (c->repair)
			fsck_hide(c, p->nar_key);
		fsck_found(c, c->repair ? FSCK_REPAIRED : FSCK_OPEN, "dangling",
		    key, "its NAR %s is missing, but it is served", p->nar_key);
	} else if (p->missing != 0)
		fsck_found(c, FSCK_OPEN, "missing", key,
		    "its NAR %s is missing: whoever has %s has to push it",
		    p->nar_key, p->store_path);
	if (p->has_verdict &&
	    (p->verdict == VERDICT_BAD ||
		(p->verdict == VERDICT_GOOD &&
		    (p->verdict_size != p->nar_size ||
			!digest_equal(&p->verdict_hash, &p->nar_hash)))))
		fsck_found(c, FSCK_OPEN, "verdict", p->nar_key,
		    "the verdict on it contradicts %s: --verify says which is "
		    "right",
		    key);
	if (p->absent > 0)
		fsck_found(c, FSCK_NOTE, "closure", key,
		    "%zu of its references are not here", p->absent);
}

/* A path and all that belongs to it are read by one statement: a program that
 * changes it meanwhile is not half seen. */
int
fsck_paths(struct fsck *c, const char *from)
{
	struct index_check_path p;
	struct hash_part at = { "" };
	int rc;

	snprintf(at.s, sizeof(at.s), "%s", from);
	while ((rc = index_check_path_next(c->ix, c->cache, at.s, &p)) == 1) {
		at = p.hash_part;
		fsck_path(c, &p);
		index_check_path_clear(&p);
		c->objects++;
		if (fsck_step(c, at.s, FSCK_OBJECT_COST))
			return 1;
	}
	return rc;
}

void
fsck_hide(struct fsck *c, const char *nar_key)
{
	struct hash_part at = { "" };
	struct buf why = BUF_INIT;
	char key[KEY_MAX + 1];

	while (index_check_nar_path(c->ix, c->cache, nar_key, &at) == 1) {
		snprintf(key, sizeof(key), "%s.narinfo", at.s);
		/* It goes back when the NAR is there again (I4). */
		if (index_check_again(
			c->ix, c->cache, key, ASSET_SPOOLED, NULL) == 1 &&
		    c->store->ops->remove(c->store, key, &why) != ASSET_OK)
			log_warnx("fsck: %s", buf_str(&why));
		buf_clear(&why);
	}
	buf_free(&why);
}
