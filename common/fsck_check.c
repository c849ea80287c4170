/*
 * fsck: the parts one after the other, and how far it is.
 *
 * That is noted in the index every few seconds, in one transaction with what
 * was found: after kill -9, what is noted as looked at was looked at, and the
 * rest is looked at again.
 */
#include "config.h"

#include "fsck.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "file.h"
#include "log.h"

#define nitems(a) (sizeof(a) / sizeof((a)[0]))
#define NOTE_MS 2000
#define DAY 86400

/* A finding; at is the key that it was found at, NULL until fsck_step. */
struct fsck_note {
	struct fsck_note *next;
	char *at, *key, *kind, *what;
};

static int
check_index(struct fsck *c, const char *from)
{
	(void)from;
	return fsck_index(c);
}

static int
check_spool(struct fsck *c, const char *from)
{
	(void)from;
	return fsck_spool(c);
}

static int
check_files(struct fsck *c, const char *from)
{
	(void)from;
	return fsck_files(c);
}

/* What is found out about objects counts for the paths. */
static const struct part {
	const char *cache;
	const char *phase;
	int (*run)(struct fsck *c, const char *from);
	bool keyed;
	bool daily; /* whatever part a scrub is at */
} parts[] = {
	{ CACHE_MAIN, "index", check_index, false, true },
	{ CACHE_MAIN, "spool", check_spool, false, true },
	{ CACHE_MAIN, "objects", fsck_objects, true, false },
	{ CACHE_MAIN, "paths", fsck_paths, true, false },
	{ CACHE_MAIN, "files", check_files, false, false },
	{ CACHE_DRV, "objects", fsck_objects, true, false },
	{ CACHE_DRV, "paths", fsck_paths, true, false },
	{ CACHE_DRV, "files", check_files, false, false },
};

static const char *
kind(const struct fsck *c)
{
	return c->scrub ? INDEX_FSCK_SCRUB : INDEX_FSCK_CHECK;
}

bool
fsck_runs(int state_fd, const char *of)
{
	char name[32];

	snprintf(name, sizeof(name), "fsck-%s.0", of);
	return file_locked(state_fd, name);
}

int
fsck_keep(struct fsck *c)
{
	char name[32];

	snprintf(name, sizeof(name), "fsck-%s", kind(c));
	c->last = &c->first;
	if ((c->lock = file_lock_one(c->state_fd, name, 1)) == -1)
		return errno == EWOULDBLOCK ? -1 : 0;
	c->keep = index_open_as_is(c->conf->state_dir);
	return 0;
}

static void
note_free(struct fsck_note *n)
{
	free(n->at);
	free(n->key);
	free(n->kind);
	free(n->what);
	free(n);
}

static void
forget_notes(struct fsck *c)
{
	struct fsck_note *n;

	while ((n = c->first) != NULL) {
		c->first = n->next;
		note_free(n);
	}
	c->last = &c->first;
}

void
fsck_keep_end(struct fsck *c)
{
	forget_notes(c);
	fsck_places_free(c);
	index_close(c->keep);
	c->keep = NULL;
	if (c->lock != -1)
		close(c->lock);
	c->lock = -1;
}

void
fsck_note(struct fsck *c, const struct fsck_finding *f)
{
	struct fsck_note *n;

	/* The index itself says what is missing. */
	if (c->keep == NULL || f->state != FSCK_OPEN ||
	    strcmp(f->kind, "missing") == 0 ||
	    (n = calloc(1, sizeof(*n))) == NULL)
		return;
	n->key = strdup(f->key);
	n->kind = strdup(f->kind);
	n->what = strdup(f->what);
	if (n->key == NULL || n->kind == NULL || n->what == NULL) {
		note_free(n);
		return;
	}
	*c->last = n;
	c->last = &n->next;
}

/* The findings without a place are of this key. */
static void
place_notes(struct fsck *c, const char *key)
{
	struct fsck_note *n;

	for (n = c->first; n != NULL; n = n->next)
		if (n->at == NULL)
			n->at = strdup(key);
}

/* The findings that have a place: how many there are of out. */
static size_t
placed(const struct fsck *c, struct index_finding *out, size_t max)
{
	const struct fsck_note *n;
	size_t count = 0;

	for (n = c->first; n != NULL && count < max; n = n->next)
		if (n->at != NULL)
			out[count++] = (struct index_finding) {
				.cache = c->cache,
				.phase = c->phase,
				.at = n->at,
				.key = n->key,
				.kind = n->kind,
				.what = n->what,
				.options = c->row.options,
				.found = c->row.noted,
			};
	return count;
}

/*
 * Note where it is, and what was found in the part at hand up to the key to
 * (NULL: to its end).
 */
static void
note(struct fsck *c, const char *to)
{
	const struct index_fsck_range range = {
		.cache = c->cache,
		.phase = c->phase,
		.from = c->noted_at,
		.to = to,
	};
	struct index_finding *found;
	size_t n;

	c->noted_ms = clock_ms();
	if (c->keep == NULL)
		return;
	c->row.noted = (int64_t)time(NULL);
	found = calloc(INDEX_FINDINGS_MAX, sizeof(*found));
	n = found == NULL ? 0 : placed(c, found, INDEX_FINDINGS_MAX);
	/* A sample has not looked at all that is in the range. */
	if (found == NULL ||
	    index_fsck_put(c->keep, kind(c), &c->row,
		c->sample == 100 ? &range : NULL, found, n) == -1) {
		log_warnx("fsck: what was done can't be noted any more");
		index_close(c->keep);
		c->keep = NULL;
	}
	free(found);
	forget_notes(c);
	snprintf(c->noted_at, sizeof(c->noted_at), "%s", to != NULL ? to : "");
}

static void
count(struct fsck *c)
{
	c->row.objects = c->objects;
	c->row.read = c->read;
	c->row.work = c->work;
	c->row.problems = c->problems;
	c->row.repaired = c->repaired;
	c->row.unknown = c->unknown;
}

bool
fsck_cut(struct fsck *c, const char *key)
{
	if (c->over(c, c->phase, key, c->arg))
		c->cut = true;
	return c->cut;
}

bool
fsck_step(struct fsck *c, const char *key, uint64_t work)
{
	bool end;

	/* One that was cut is looked at again. */
	if (c->cut)
		return true;
	c->work += work;
	place_notes(c, key);
	count(c);
	snprintf(c->row.at, sizeof(c->row.at), "%s", key);
	end = c->over(c, c->phase, key, c->arg);
	c->enough = c->work >= c->due;
	if (c->first != NULL || clock_ms() - c->noted_ms >= NOTE_MS)
		note(c, key);
	return end || c->enough;
}

/* The work there is in a cache. */
static uint64_t
work_of(struct fsck *c, const char *cache)
{
	struct index_status st;
	uint64_t all = 0;
	size_t i;

	if (index_status(c->ix, cache, &st) == -1)
		return 0;
	for (i = 0; i < nitems(st.state); i++)
		all += st.state[i].count * FSCK_OBJECT_COST +
		    (c->bytes ? st.state[i].bytes : 0);
	return all + st.paths * FSCK_OBJECT_COST;
}

/* What a scrub should have done by the end of today. */
static uint64_t
due(const struct fsck *c)
{
	const int64_t days = (c->now - c->row.began) / DAY + 1;
	const uint64_t part = c->total / FSCK_SCRUB_DAYS;

	if (!c->scrub || days < 1 || days >= FSCK_SCRUB_DAYS)
		return UINT64_MAX;
	return (part > FSCK_SCRUB_MIN ? part : FSCK_SCRUB_MIN) * (uint64_t)days;
}

/* Where the check before this one was ended: its part, 0 for a new one. */
static size_t
begin(struct fsck *c)
{
	const unsigned int options = (c->bytes ? INDEX_FSCK_BYTES : 0) |
	    (c->verify ? INDEX_FSCK_VERIFY : 0) |
	    (c->repair ? INDEX_FSCK_REPAIR : 0);
	struct index_fsck *r = &c->row;
	size_t i = nitems(parts);

	c->total = work_of(c, CACHE_MAIN) + work_of(c, CACHE_DRV);
	if (c->keep != NULL && index_fsck_get(c->keep, kind(c), r) == 1 &&
	    (c->resume || c->scrub) && r->options == options &&
	    r->sample == c->sample)
		for (i = 0; i < nitems(parts); i++)
			if (strcmp(r->cache, parts[i].cache) == 0 &&
			    strcmp(r->phase, parts[i].phase) == 0)
				break;
	if (i == nitems(parts)) {
		*r = (struct index_fsck) { .options = options,
			.sample = c->sample,
			.began = c->now,
			.complete = r->complete };
		i = 0;
	}
	c->objects = r->objects;
	c->read = r->read;
	c->work = c->work_before = r->work;
	c->problems = r->problems;
	c->repaired = r->repaired;
	/* What could not be looked at then has not been since. */
	c->unknown = r->unknown;
	c->unknown_before = c->scrub ? c->unknown : 0;
	c->bad_before = c->scrub ? c->problems + c->repaired : 0;
	c->due = due(c);
	return i;
}

/* A file store, which is written into for repairs only, and never made: one
 * that is not there may be on a disk that is not mounted. */
static struct asset_store *
open_files(const struct fsck *c, const char *dir)
{
	struct asset_store *as;

	as = asset_file_open(c->conf->state_dir, dir, false);
	if (as == NULL || !c->repair)
		return as;
	asset_store_close(as);
	return asset_file_open(c->conf->state_dir, dir, true);
}

/* The store of the part's cache: 1, 0 when there is no such cache, or -1. */
static int
open_store(struct fsck *c, const struct part *p)
{
	bool drv = strcmp(p->cache, CACHE_DRV) == 0;

	if (c->store != NULL && strcmp(c->cache, p->cache) == 0)
		return 1;
	asset_store_close(c->store);
	c->store = NULL;
	c->cache = p->cache;
	if (drv && faccessat(c->state_fd, "drvs", F_OK, 0) == -1)
		return 0;
	if (drv)
		c->store = open_files(c, "drvs");
	else if (c->conf->asset_store == CONF_STORE_FILE)
		c->store = open_files(c, asset_file_dir(c->conf));
	else
		c->store = asset_store_open_probe(c->conf, true);
	return c->store != NULL ? 1 : -1;
}

/* Run a part and note what it found: 0, 1 or -1. */
static int
run_part(struct fsck *c, const struct part *p, const char *from)
{
	int rc;

	c->phase = p->phase;
	if ((rc = open_store(c, p)) != 1)
		return rc;
	snprintf(c->noted_at, sizeof(c->noted_at), "%s", from);
	rc = p->run(c, from);
	if (c->cut && rc != 0)
		rc = 1;
	if (rc == 0) {
		place_notes(c, "");
		return 0;
	}
	if (p->keyed)
		note(c, c->row.at);
	else
		forget_notes(c);
	return rc;
}

/* The row says: it is before the part at i. */
static void
move_to(struct fsck *c, size_t i)
{
	const bool end = i == nitems(parts);

	count(c);
	snprintf(c->row.cache, sizeof(c->row.cache), "%s",
	    end ? "" : parts[i].cache);
	snprintf(c->row.phase, sizeof(c->row.phase), "%s",
	    end ? "" : parts[i].phase);
	c->row.at[0] = '\0';
	if (end)
		c->row.complete = (int64_t)time(NULL);
}

int
fsck_check(struct fsck *c)
{
	const size_t first = begin(c);
	char from[KEY_MAX + 1];
	size_t i;
	int rc;

	snprintf(from, sizeof(from), "%s", c->row.at);
	if (first == 0)
		move_to(c, 0);
	for (i = 0; i < nitems(parts); i++) {
		if (i < first && !(c->scrub && parts[i].daily))
			continue;
		if (!parts[i].daily && c->work >= c->due)
			return 0;
		rc = run_part(c, &parts[i], i == first ? from : "");
		if (rc != 0)
			return c->enough && rc == 1 && !c->cut ? 0 : rc;
		if (i >= first)
			move_to(c, i + 1);
		note(c, NULL);
	}
	return 0;
}
