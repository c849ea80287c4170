/* fsck: files that no row of the index knows, and leftovers. */
#include "config.h"

#include "fsck.h"

#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file.h"
#include "index_check.h"
#include "key.h"
#include "narinfo.h"

/* A leftover is older than any body that may still be under way. */
#define DAY 86400
/* build-trace-v2/<drv>/<output>.doi */
#define DEPTH 3

struct walk {
	struct fsck *c;
	int dir;
	const char *under; /* its path, "" or with a slash at its end */
	void (*file)(struct walk *w, const char *name, const struct stat *st);
	int depth;
};

/* Call w->file for each file below w->dir, which is taken: 0, 1 or -1. */
static int
walk(struct walk *w)
{
	char path[KEY_MAX + 1];
	struct walk below;
	struct dirent *de;
	struct stat st;
	DIR *d;
	int rc = 0;

	if ((d = fdopendir(w->dir)) == NULL) {
		close(w->dir);
		return -1;
	}
	while (rc == 0 && (de = readdir(d)) != NULL) {
		if (strcmp(de->d_name, ".") == 0 ||
		    strcmp(de->d_name, "..") == 0 ||
		    fstatat(w->dir, de->d_name, &st, AT_SYMLINK_NOFOLLOW) == -1)
			continue;
		if (!S_ISDIR(st.st_mode)) {
			w->file(w, de->d_name, &st);
			if (fsck_cut(w->c, de->d_name))
				rc = 1;
			continue;
		}
		below = *w;
		snprintf(path, sizeof(path), "%s%s/", w->under, de->d_name);
		below.under = path;
		below.depth++;
		below.dir = file_open_dir(w->dir, de->d_name, 0, false);
		if (below.dir != -1 && below.depth < DEPTH)
			rc = walk(&below);
		else if (below.dir != -1)
			close(below.dir);
	}
	closedir(d);
	return rc;
}

/* The start of a file under another name, older than a day. */
static void
leftover(struct walk *w, const char *name, const struct stat *st)
{
	enum fsck_state state = FSCK_OPEN;

	if (st->st_mtime > w->c->now - DAY || st->st_ctime > w->c->now - DAY)
		return;
	if (w->c->repair && unlinkat(w->dir, name, 0) == 0)
		state = FSCK_REPAIRED;
	fsck_found(w->c, state, "leftover", name,
	    "%s%s: left behind by a write that did not end", w->under, name);
}

void
fsck_unknown(struct fsck *c, const char *name)
{
	struct asset_row row;
	struct key k;
	int found;

	if (key_parse(name, strlen(name), &k) == -1) {
		fsck_found(c, FSCK_NOTE, "foreign", name,
		    "it is not an object of a cache");
		return;
	}
	if (!fsck_sampled(c, name))
		return;
	found = index_asset_get(c->ix, c->cache, name, &row);
	if (found == 1)
		index_asset_clear(&row);
	else if (found == 0)
		fsck_found(c, FSCK_NOTE, "orphan", name,
		    "the store has it, the index does not know it");
}

static void
store_file(struct walk *w, const char *name, const struct stat *st)
{
	char path[PATH_MAX];

	if (strncmp(name, ".put.", 5) == 0 || strncmp(name, ".new.", 5) == 0) {
		leftover(w, name, st);
		return;
	}
	snprintf(path, sizeof(path), "%s%s", w->under, name);
	fsck_unknown(w->c, path);
}

static int
walk_from(struct fsck *c, int at, const char *name,
    void (*file)(struct walk *w, const char *name, const struct stat *st))
{
	struct walk w = { .c = c, .under = "", .file = file };

	if ((w.dir = file_open_dir(at, name, 0, false)) == -1)
		return errno == ENOENT ? 0 : -1;
	return walk(&w);
}

int
fsck_files(struct fsck *c)
{
	if (c->store == NULL || c->store->ops->open == NULL)
		return 0;
	return walk_from(c, c->state_fd, c->store->dir, store_file);
}

/* A file of ready/ that no row names: kept, in lost/. */
static void
ready_file(struct walk *w, const char *name, const struct stat *st)
{
	struct fsck *c = w->c;
	enum fsck_state state = FSCK_OPEN;
	int lost;

	/* A row may be about to name it; one that was just stored goes. */
	if (st->st_ctime > c->now - 600 || index_spool_used(c->ix, name) != 0)
		return;
	if (c->repair &&
	    (lost = file_open_dir(c->spool_fd, "lost", 0700, true)) != -1) {
		if (renameat(w->dir, name, lost, name) == 0)
			state = FSCK_REPAIRED;
		close(lost);
	}
	fsck_found(c, state, "spool-file", name,
	    "spool/ready/%s: no row names it%s", name,
	    state == FSCK_REPAIRED ? ": moved to spool/lost" : "");
}

static void
lost_file(struct walk *w, const char *name, const struct stat *st)
{
	char digest[DIGEST_BASE32 + 1] = "unreadable";
	struct digest d;
	int fd;

	(void)st;
	if (w->c->scrub) /* (each day) */
		return;
	fd = openat(w->dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd != -1 && fsck_digest(w->c, fd, &d) == 0)
		digest_to_base32(&d, digest);
	if (fd != -1)
		close(fd);
	fsck_found(w->c, FSCK_NOTE, "spool-lost", name,
	    "spool/lost/%s: its SHA-256 is %s", name, digest);
}

int
fsck_spool(struct fsck *c)
{
	int rc;

	if ((rc = walk_from(c, c->spool_fd, "ready", ready_file)) != 0 ||
	    (rc = walk_from(c, c->spool_fd, "lost", lost_file)) != 0)
		return rc;
	return walk_from(c, c->spool_fd, "incoming", leftover);
}

/* Rebuild ---------------------------------------------------------------- */

struct narinfo *
fsck_narinfo(struct fsck *c, const char *key, const struct buf *text)
{
	const char *store_dir = strcmp(c->cache, CACHE_DRV) == 0
	    ? c->conf->drv_store_dir
	    : c->conf->store_dir;
	struct narinfo *ni;
	char err[256];

	ni = narinfo_parse(
	    buf_str(text), text->len, store_dir, err, sizeof(err));
	if (ni == NULL)
		fsck_found(c, FSCK_OPEN, "rebuild", key, "%s", err);
	else if (strncmp(ni->hash_part.s, key, HASH_PART_LEN) != 0) {
		fsck_found(c, FSCK_OPEN, "rebuild", key,
		    "it is the narinfo of %s", ni->base);
		narinfo_free(ni);
		ni = NULL;
	}
	return ni;
}

bool
fsck_narinfo_fits(
    struct fsck *c, const char *key, struct narinfo *ni, int64_t size)
{
	if (size < 0 ||
	    (ni->has_file_size && (uint64_t)size != ni->file_size)) {
		fsck_found(c, FSCK_OPEN, "rebuild", key,
		    "its NAR %s is not there, or of another size: left out",
		    ni->nar.s);
		return false;
	}
	ni->file_size = (uint64_t)size;
	ni->has_file_size = true;
	return true;
}

/* A narinfo of the store, exactly as it is, if its NAR is there. */
static void
enter_narinfo(struct fsck *c, int fd, const char *key)
{
	struct buf text = BUF_INIT_MAX(NARINFO_MAX);
	struct narinfo *ni = NULL;
	int64_t size = -1;
	struct stat st;

	if (file_read_max(fd, NARINFO_MAX, &text) == -1)
		fsck_found(c, FSCK_OPEN, "rebuild", key, "it can't be read");
	else
		ni = fsck_narinfo(c, key, &text);
	if (ni == NULL)
		goto out;
	if (fstatat(c->files_fd, ni->nar.s, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    S_ISREG(st.st_mode))
		size = (int64_t)st.st_size;
	if (fsck_narinfo_fits(c, key, ni, size) &&
	    index_check_enter_path(c->ix, c->cache, ni, &text, true, c->now) !=
		1)
		c->unknown++;
out:
	narinfo_free(ni);
	buf_free(&text);
}

/* Any other object; a NAR's name is its digest. */
static void
enter_object(struct fsck *c, int fd, const struct key *k, const struct stat *st)
{
	struct asset_new a = { .key = k->s,
		.size = (uint64_t)st->st_size,
		.content_type = key_content_type(k->kind) };

	if (k->kind == KEY_NAR && !c->bytes)
		a.sha256 = k->file_hash;
	else if (fsck_digest(c, fd, &a.sha256) == -1) {
		c->unknown++;
		return;
	}
	if (k->kind == KEY_NAR && !digest_equal(&a.sha256, &k->file_hash))
		fsck_found(c, FSCK_OPEN, "rebuild", k->s,
		    "its bytes are not what its name says: left out");
	else if (index_check_enter(c->ix, c->cache, &a, c->now) != 1)
		c->unknown++;
}

static void
rebuild_file(struct walk *w, const char *name, const struct stat *st)
{
	struct fsck *c = w->c;
	char path[KEY_MAX + 1];
	struct key k;
	int fd, n;

	n = snprintf(path, sizeof(path), "%s%s", w->under, name);
	if (n < 0 || (size_t)n >= sizeof(path) || !S_ISREG(st->st_mode) ||
	    key_parse(path, (size_t)n, &k) == -1)
		return;
	if ((fd = openat(w->dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)) ==
	    -1) {
		c->unknown++;
		return;
	}
	if (k.kind == KEY_NARINFO)
		enter_narinfo(c, fd, path);
	else
		enter_object(c, fd, &k, st);
	close(fd);
	c->objects++;
}

int
fsck_rebuild(struct fsck *c, const char *dir)
{
	int rc;

	c->files_fd = file_open_dir(c->state_fd, dir, 0, false);
	if (c->files_fd == -1)
		return errno == ENOENT ? 0 : -1;
	rc = walk_from(c, c->state_fd, dir, rebuild_file);
	close(c->files_fd);
	return rc;
}
