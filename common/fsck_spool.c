/*
 * fsck: files of the spool, known by nothing but their bytes: a second place
 * for an object that was lost, and NARs that an index made anew has to know.
 */
#include "config.h"

#include "fsck.h"

#include <sys/stat.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "file.h"
#include "key.h"
#include "log.h"
#include "verify.h"

/* The files are looked at anew after so long. */
#define FRESH_MS 600000

static const char *const dirs[] = { "lost", "ready" };

struct fsck_place {
	uint64_t size;
	bool hashed;
	struct digest digest;
	unsigned int dir;
	char name[SPOOL_NAME_MAX + 1];
};

/* Call each for the files of spool/dirs[i]; it may move them: 0, 1 or -1. */
static int
each_file(struct fsck *c, unsigned int i,
    int (*each)(struct fsck *c, int dir, unsigned int i, const char *name,
	uint64_t size))
{
	struct dirent *de;
	struct stat st;
	int dir, rc = 0;
	DIR *d;

	/* (What nobody has lost has no directory.) */
	if ((dir = file_open_dir(c->spool_fd, dirs[i], 0, false)) == -1)
		return 0;
	if ((d = fdopendir(dir)) == NULL) {
		close(dir);
		return -1;
	}
	while (rc == 0 && (de = readdir(d)) != NULL)
		if (de->d_name[0] != '.' &&
		    fstatat(dir, de->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISREG(st.st_mode))
			rc = each(c, dir, i, de->d_name, (uint64_t)st.st_size);
	closedir(d);
	return rc;
}

static int
add_place(
    struct fsck *c, int dir, unsigned int i, const char *name, uint64_t size)
{
	struct fsck_place *more;
	size_t cap;

	(void)dir;
	if (strlen(name) > SPOOL_NAME_MAX)
		return 0;
	if (c->nplaces == c->places_cap) {
		cap = c->places_cap == 0 ? 64 : c->places_cap * 2;
		if ((more = realloc(c->places, cap * sizeof(*more))) == NULL)
			return -1;
		c->places = more;
		c->places_cap = cap;
	}
	c->places[c->nplaces].size = size;
	c->places[c->nplaces].hashed = false;
	c->places[c->nplaces].dir = i;
	snprintf(
	    c->places[c->nplaces].name, sizeof(c->places[0].name), "%s", name);
	c->nplaces++;
	return 0;
}

static int
by_size(const void *a, const void *b)
{
	const struct fsck_place *x = a, *y = b;

	return x->size < y->size ? -1 : x->size > y->size;
}

/* The files by their sizes: there may be as many as objects that are lost. */
static void
list_places(struct fsck *c)
{
	unsigned int i;

	if (c->places_ms != 0 && clock_ms() - c->places_ms < FRESH_MS)
		return;
	c->nplaces = 0;
	for (i = 0; i < 2; i++)
		if (each_file(c, i, add_place) == -1)
			log_warn("fsck: spool/%s", dirs[i]);
	if (c->nplaces > 0)
		qsort(c->places, c->nplaces, sizeof(c->places[0]), by_size);
	c->places_ms = clock_ms();
}

void
fsck_places_free(struct fsck *c)
{
	free(c->places);
	c->places = NULL;
	c->nplaces = c->places_cap = 0;
	c->places_ms = 0;
}

/* Has the file that digest?  Each is read once, whatever was lost. */
static bool
has_digest(struct fsck *c, struct fsck_place *p, const char *path,
    const struct digest *d)
{
	int fd;

	if (!p->hashed) {
		fd = openat(
		    c->spool_fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		if (fd == -1)
			return false;
		p->hashed = fsck_digest(c, fd, &p->digest) == 0;
		close(fd);
	}
	return p->hashed && digest_equal(&p->digest, d);
}

int
fsck_spool_find(struct fsck *c, const struct asset_row *row)
{
	struct fsck_place *p;
	size_t low = 0, high, middle;
	char path[SPOOL_NAME_MAX + 8];
	int fd = -1;

	list_places(c);
	/* The first of that size. */
	for (high = c->nplaces; low < high;) {
		middle = low + (high - low) / 2;
		if (c->places[middle].size < row->size)
			low = middle + 1;
		else
			high = middle;
	}
	for (p = c->places + low; fd == -1 && p < c->places + c->nplaces &&
	     p->size == row->size && !c->cut;
	     p++) {
		snprintf(path, sizeof(path), "%s/%s", dirs[p->dir], p->name);
		if (has_digest(c, p, path, &row->sha256))
			fd = fsck_open_same(c, row, c->spool_fd, path);
	}
	return fd;
}

/* Rebuild ---------------------------------------------------------------- */

/* Is the file a NAR?  1 with its key and what it is, to be cleared; 0 or -1. */
static int
find_key(struct fsck *c, int fd, const struct digest *d, struct key *k,
    struct verified *v)
{
	static const char *const compressions[] = { "none", "xz", "zstd",
		"bzip2", "lz4", "lzip", "br" };
	const struct verify_how how = { .max = c->conf->max_nar_size,
		.cpu = c->conf->max_nar_cpu,
		.ratio = c->conf->max_nar_ratio,
		.free_bytes = VERIFY_FREE,
		.stop = c->stop };
	char digest[DIGEST_BASE32 + 1], text[KEY_MAX + 1];
	size_t i;

	digest_to_base32(d, digest);
	for (i = 0; i < sizeof(compressions) / sizeof(compressions[0]); i++) {
		snprintf(text, sizeof(text), "nar/%s.nar%s", digest,
		    key_nar_extension(compressions[i]));
		if (key_parse(text, strlen(text), k) == -1 ||
		    lseek(fd, 0, SEEK_SET) == -1 ||
		    verify_nar(fd, k, &how, v) == -1)
			return -1;
		if (v->verdict == VERDICT_GOOD)
			return 1;
		verified_clear(v);
	}
	return 0;
}

/* A NAR under name in spool/ready, which waits to be stored now: 0 or -1. */
static int
enter_waiting(struct fsck *c, const struct key *k, const struct digest *d,
    uint64_t size, const char *name, const struct verified *v)
{
	const struct asset_new a = { .key = k->s,
		.size = size,
		.sha256 = *d,
		.content_type = key_content_type(KEY_NAR),
		.spool = name };
	char old[64];

	if (index_asset_put(c->ix, c->cache, &a, c->now, old) != INDEX_CREATED)
		return -1;
	return index_nar_put(c->ix, c->cache, k->s, v, c->now);
}

/* Move the file between the two directories, unless it is there: 0 or -1. */
static int
move_to(struct fsck *c, int dir, unsigned int from, unsigned int to,
    const char *name)
{
	int there, rc = 0;

	if (from == to)
		return 0;
	if ((there = file_open_dir(c->spool_fd, dirs[to], 0700, true)) == -1)
		return -1;
	if (faccessat(there, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0 ||
	    renameat(dir, name, there, name) == -1 ||
	    file_sync_dir(there) == -1)
		rc = -1;
	close(there);
	return rc;
}

static int
rebuild_file(
    struct fsck *c, int dir, unsigned int i, const char *name, uint64_t size)
{
	struct verified v;
	struct digest d;
	struct key k;
	int fd, rc = -1;

	if (index_spool_used(c->ix, name) == 1)
		return 0;
	fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd != -1 && fsck_digest(c, fd, &d) == 0 &&
	    (rc = index_nar_stored(c->ix, c->cache, &d, size)) == 0 &&
	    (rc = find_key(c, fd, &d, &k, &v)) == 1) {
		if (strlen(name) > SPOOL_NAME_MAX ||
		    move_to(c, dir, i, 1, name) == -1 ||
		    enter_waiting(c, &k, &d, size, name, &v) == -1)
			rc = -1;
		else
			c->taken++;
		verified_clear(&v);
	} else if (rc == 0 && (rc = move_to(c, dir, i, 0, name)) == 0)
		c->kept++;
	if (fd != -1)
		close(fd);
	if (c->cut)
		return 1;
	if (rc == -1) {
		c->unknown++;
		fsck_found(c, FSCK_OPEN, "rebuild", name,
		    "spool/%s/%s can't be read, or not be taken in", dirs[i],
		    name);
	}
	return 0;
}

int
fsck_rebuild_spool(struct fsck *c)
{
	unsigned int i;
	int rc = 0;

	c->cache = CACHE_MAIN;
	for (i = 0; i < 2 && rc == 0; i++)
		rc = each_file(c, i, rebuild_file);
	if (c->taken > 0)
		fsck_found(c, FSCK_NOTE, "spool", "",
		    "%zu NARs that were not stored are in the index again: "
		    "push their paths again, which takes their narinfos alone",
		    c->taken);
	if (c->kept > 0)
		fsck_found(c, FSCK_NOTE, "spool", "",
		    "%zu files that were not stored are not NARs, and nothing "
		    "says which objects they were: kept in spool/lost",
		    c->kept);
	return rc;
}
