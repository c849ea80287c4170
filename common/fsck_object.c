/* fsck: each object, where its bytes are. */
#include "config.h"

#include "fsck.h"

#include <sys/file.h>
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "file.h"
#include "fsck_list.h"
#include "fsck_read.h"
#include "index_check.h"
#include "key.h"
#include "log.h"
#include "verify.h"

/* The longest wait between attempts, with what chance adds (relay.c). */
#define WAIT_MAX 4500
#define QUARANTINE "quarantine"
/* So many objects in a row that a store said nothing of: it is out of order. */
#define SILENT_MAX 5
/* Rows whose objects are read at once. */
#define ROWS ((size_t)64)

enum bytes { BYTES_GOOD, BYTES_GONE, BYTES_SPOILED, BYTES_UNKNOWN };

static bool
is_spooled(const struct index_check_asset *a)
{
	return a->row.spool[0] != '\0';
}

/* Its bytes are in a store on the network. */
static bool
is_elsewhere(const struct fsck *c, const struct index_check_asset *a)
{
	return !is_spooled(a) && c->store->ops->open == NULL;
}

/* Is it there, with that size? */
static enum bytes
ask_store(struct fsck *c, const struct asset_row *row, struct buf *why)
{
	const struct asset_source src = { .key = row->key,
		.size = row->size,
		.fd = -1,
		.sha256 = &row->sha256 };

	switch (c->store->ops->confirm(c->store, &src, row->url, why)) {
	case ASSET_OK:
		return BYTES_GOOD;
	case ASSET_MISSING:
		return BYTES_GONE;
	default:
		return BYTES_UNKNOWN;
	}
}

/* Bytes that come from a store on the network. */
struct arriving {
	struct fsck *c;
	const struct asset_row *row;
	struct hash *hash;
	uint64_t size;
	int fd; /* the file they are kept in, or -1 */
	int error; /* of that */
	bool ended; /* fsck was told to */
};

static int
arrive(const void *p, size_t n, void *arg)
{
	struct arriving *ar = arg;

	ar->size += n;
	ar->c->read += n;
	if (ar->size > ar->row->size)
		return -1;
	hash_add(ar->hash, p, n);
	if (ar->fd != -1 && file_write_all(ar->fd, p, n) == -1) {
		ar->error = errno;
		return -1;
	}
	fsck_pay(ar->c, n);
	ar->ended = fsck_cut(ar->c, ar->row->key);
	return ar->ended ? -1 : 0;
}

/* What all that arrived says of the row. */
static enum bytes
arrived(const struct arriving *ar, enum asset_rc rc, struct buf *why)
{
	char text[128];
	struct digest d;

	if (ar->size > ar->row->size) {
		buf_addf(why, "more than its %" PRIu64 " bytes", ar->row->size);
		return BYTES_SPOILED;
	}
	if (rc == ASSET_MISSING)
		return BYTES_GONE;
	if (rc != ASSET_OK) {
		if (ar->error != 0)
			buf_addf(why, "no file to unpack it from: %s",
			    strerror_r(ar->error, text, sizeof(text)));
		else if (ar->ended)
			buf_adds(why, "told to end");
		return BYTES_UNKNOWN;
	}
	if (ar->size < ar->row->size) {
		buf_addf(why, "%" PRIu64 " bytes instead of %" PRIu64, ar->size,
		    ar->row->size);
		return BYTES_SPOILED;
	}
	hash_final(ar->hash, &d);
	if (digest_equal(&d, &ar->row->sha256))
		return BYTES_GOOD;
	buf_adds(why, "its bytes have another digest");
	return BYTES_SPOILED;
}

/* Read the object, into the file fd unless that is -1. */
static enum bytes
read_store(struct fsck *c, const struct asset_row *row, int fd, struct buf *why)
{
	struct arriving ar = { .c = c, .row = row, .fd = fd };
	const struct asset_sink sink = { arrive, &ar };
	enum asset_rc rc;
	enum bytes b;

	if ((ar.hash = hash_new()) == NULL) {
		buf_adds(why, "no memory");
		return BYTES_UNKNOWN;
	}
	rc = c->store->ops->get(c->store, row->key, row->url, &sink, why);
	b = arrived(&ar, rc, why);
	hash_free(ar.hash);
	return b;
}

/* A file without a name for n bytes, which leaves pushers their room: -1 after
 * a line in why. */
static int
temporary(struct fsck *c, uint64_t n, struct buf *why)
{
	uint64_t room;
	char text[128], name[64];
	int fd;

	if (spool_free_bytes(c->spool, &room) == 0 &&
	    (room < n || room - n < c->conf->spool_min_free)) {
		buf_adds(why, "no room to unpack it (spool_min_free)");
		return -1;
	}
	snprintf(name, sizeof(name), "incoming/.fsck.%ld", (long)getpid());
	fd = openat(c->spool_fd, name,
	    O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd == -1 || unlinkat(c->spool_fd, name, 0) == -1)
		buf_addf(why, "spool/%s: %s", name,
		    strerror_r(errno, text, sizeof(text)));
	return fd;
}

/* Look once.  With unpack set *fd has the bytes afterwards, if they are good.
 */
static enum bytes
look_elsewhere(struct fsck *c, const struct asset_row *row, bool unpack,
    int *fd, struct buf *why)
{
	if (row->url == NULL)
		return BYTES_GONE;
	if (!unpack)
		return c->bytes ? read_store(c, row, -1, why)
				: ask_store(c, row, why);
	if ((*fd = temporary(c, row->size, why)) == -1)
		return BYTES_UNKNOWN;
	return read_store(c, row, *fd, why);
}

/* Is the open file what row says? */
static enum bytes
compare(
    struct fsck *c, const struct index_check_asset *a, int fd, struct buf *why)
{
	struct digest d;
	struct stat st;

	if (fstat(fd, &st) == -1)
		return BYTES_UNKNOWN;
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != a->row.size) {
		buf_addf(why, "%lld bytes instead of %" PRIu64,
		    (long long)st.st_size, a->row.size);
		return BYTES_SPOILED;
	}
	if (!c->bytes && !a->is_narinfo)
		return BYTES_GOOD;
	if (fsck_digest(c, fd, &d) == -1)
		return BYTES_UNKNOWN;
	if (digest_equal(&d, &a->row.sha256))
		return BYTES_GOOD;
	buf_adds(why, "its bytes have another digest");
	return BYTES_SPOILED;
}

/* The file with its bytes, in the spool or the file store: -1 with errno. */
static int
open_bytes(struct fsck *c, const struct index_check_asset *a)
{
	return is_spooled(a) ? spool_read(c->spool, a->row.spool)
			     : c->store->ops->open(c->store, a->row.key);
}

/*
 * Are the bytes what the row says?  With unpack set, *fd is an open file with
 * them if they are; to be closed in any case, unless it is -1.
 */
static enum bytes
look(struct fsck *c, const struct index_check_asset *a, bool unpack, int *fd,
    struct buf *why)
{
	char text[128];
	enum bytes b;

	buf_clear(why);
	fsck_pay(c, FSCK_OBJECT_COST);
	if (is_elsewhere(c, a))
		return look_elsewhere(c, &a->row, unpack, fd, why);
	*fd = open_bytes(c, a);
	if (*fd == -1 && (errno == ENOENT || errno == ELOOP)) {
		buf_adds(why, "its file is gone");
		return BYTES_GONE;
	}
	b = *fd == -1 ? BYTES_UNKNOWN : compare(c, a, *fd, why);
	if (b == BYTES_UNKNOWN)
		buf_adds(why, strerror_r(errno, text, sizeof(text)));
	return b;
}

/* Read the row of *a again: 1 when it is as it was, else 0, or -1. */
static int
reread(struct fsck *c, struct index_check_asset *a)
{
	struct index_check_asset now;
	char before[KEY_MAX + 1];
	size_t n = strlen(a->row.key);
	int rc;

	/* The key in front of it ends earlier. */
	memcpy(before, a->row.key, n);
	before[n - 1] = '\0';
	while (
	    (rc = index_check_asset_next(c->ix, c->cache, before, &now)) == 1 &&
	    strcmp(now.row.key, a->row.key) < 0) {
		snprintf(before, sizeof(before), "%s", now.row.key);
		index_asset_clear(&now.row);
	}
	if (rc != 1)
		return rc;
	rc = strcmp(now.row.key, a->row.key) == 0 &&
	    now.row.state == a->row.state &&
	    strcmp(now.row.spool, a->row.spool) == 0 &&
	    digest_equal(&now.row.sha256, &a->row.sha256);
	index_asset_clear(&a->row);
	*a = now;
	return rc;
}

/* Put what the file fd has into the store, as it should be: 1 with *url, to be
 * freed, or 0. */
static int
put_back(struct fsck *c, struct index_check_asset *a, int fd, char **url)
{
	struct key k;
	struct asset_source src = { .key = a->row.key,
		.size = a->row.size,
		.fd = fd,
		.dir = -1,
		.name = "",
		.sha256 = &a->row.sha256 };
	struct buf why = BUF_INIT;
	int rc = 0;

	if (key_parse(a->row.key, strlen(a->row.key), &k) == -1)
		return 0;
	src.content_type = key_content_type(k.kind);
	if (c->store->ops->put(c->store, &src, url, &why) == ASSET_OK &&
	    (c->store->ops->flush == NULL ||
		c->store->ops->flush(c->store, &why) == ASSET_OK) &&
	    c->store->ops->confirm(c->store, &src, *url, &why) == ASSET_OK)
		rc = 1;
	else
		log_warnx("fsck: %s: %s", a->row.key, buf_str(&why));
	buf_free(&why);
	return rc;
}

int
fsck_open_same(
    struct fsck *c, const struct asset_row *row, int dir, const char *name)
{
	struct digest d;
	struct stat st;
	int fd;

	fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (fd == -1)
		return -1;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
	    (uint64_t)st.st_size == row->size && fsck_digest(c, fd, &d) == 0 &&
	    digest_equal(&d, &row->sha256))
		return fd;
	close(fd);
	return -1;
}

/* Another place that has the bytes: an open file, or -1. */
static int
second_place(struct fsck *c, const struct index_check_asset *a)
{
	static const char *const dirs[] = { ASSET_DIR_PUBLIC,
		ASSET_DIR_PRIVATE };
	char path[KEY_MAX + 32];
	size_t i;
	int fd = -1;

	for (i = 0; i < 2 && fd == -1; i++) {
		snprintf(path, sizeof(path), "%s/%s", dirs[i], a->row.key);
		fd = fsck_open_same(c, &a->row, c->state_fd, path);
	}
	return fd != -1 ? fd : fsck_spool_find(c, &a->row);
}

/* Have the bytes of a second place in the store: 1 with *url, to be freed, or
 * 0.
 */
static int
restore(struct fsck *c, struct index_check_asset *a, char **url)
{
	int fd, rc;

	if ((fd = second_place(c, a)) == -1)
		return 0;
	rc = put_back(c, a, fd, url);
	close(fd);
	return rc;
}

/* Has the store on the network the bytes again, which were lost?  With *url, to
 * be freed. */
static bool
came_back(struct fsck *c, const struct index_check_asset *a,
    const struct asset_object *listed, char **url)
{
	struct buf why = BUF_INIT;
	bool back;

	if (listed == NULL || listed->size != a->row.size)
		return false;
	back = read_store(c, &a->row, -1, &why) == BYTES_GOOD;
	if (back)
		*url = c->store->ops->address(c->store, a->row.key);
	buf_free(&why);
	return back && *url != NULL;
}

/* A file that is not what it should be is kept, out of everybody's way. */
static void
quarantine(struct fsck *c, const struct index_check_asset *a)
{
	char name[KEY_MAX + 32], path[KEY_MAX + 32];
	int dir;
	char *p;

	if (is_elsewhere(c, a))
		return;
	if ((dir = file_open_dir(c->state_fd, QUARANTINE, 0700, true)) == -1) {
		log_warn("fsck: %s", QUARANTINE);
		return;
	}
	snprintf(name, sizeof(name), "%s.%lld", a->row.key, (long long)c->now);
	for (p = name; (p = strchr(p, '/')) != NULL;)
		*p = '_';
	snprintf(path, sizeof(path), "%s/%s",
	    is_spooled(a) ? "spool/ready" : c->store->dir,
	    is_spooled(a) ? a->row.spool : a->row.key);
	if (renameat(c->state_fd, path, dir, name) == -1 && errno != ENOENT)
		log_warn("fsck: move %s to %s", path, QUARANTINE);
	close(dir);
}

/* Bytes are lost: from a second place, or marked. */
static int
mend_bytes(struct fsck *c, struct index_check_asset *a, enum bytes b)
{
	char *url = NULL;
	int rc;

	if (b == BYTES_SPOILED)
		quarantine(c, a);
	if (restore(c, a, &url) == 1 &&
	    index_check_lost(c->ix, &a->row, c->now, "found again") == 1) {
		rc = index_check_stored(c->ix, c->cache, a->row.key, url);
		free(url);
		return rc;
	}
	free(url);
	if (c->cut) /* in the middle of a second place */
		return 0;
	rc = index_check_lost(c->ix, &a->row, c->now,
	    "its bytes are lost (tmpnix fsck): push it again");
	if (rc == 1)
		fsck_hide(c, a->row.key);
	return rc;
}

static void
found_bytes(
    struct fsck *c, struct index_check_asset *a, enum bytes b, const char *why)
{
	enum fsck_state state = FSCK_OPEN;

	if (a->is_narinfo) {
		if (c->repair)
			state = fsck_mended(c,
			    index_check_again(c->ix, c->cache, a->row.key,
				ASSET_SPOOLED, NULL));
		fsck_found(c, state, "narinfo-store", a->row.key,
		    "the store has not the index's text: %s", why);
		return;
	}
	if (c->repair)
		state = fsck_mended(c, mend_bytes(c, a, b));
	fsck_found(c, state, b == BYTES_GONE ? "lost" : "spoiled", a->row.key,
	    "%s, %s", is_spooled(a) ? "in the spool" : "in the store", why);
}

static void
fsck_missing(struct fsck *c, struct index_check_asset *a,
    const struct asset_object *listed)
{
	enum fsck_state state = FSCK_OPEN;
	char *url = NULL;

	if (c->repair &&
	    (came_back(c, a, listed, &url) || restore(c, a, &url) == 1))
		state = fsck_mended(
		    c, index_check_stored(c->ix, c->cache, a->row.key, url));
	free(url);
	fsck_found(c, state, "missing", a->row.key,
	    state == FSCK_REPAIRED ? "its bytes were found again"
				   : "its bytes are lost: push it again");
}

/* Is the instance that has it claimed gone? */
static bool
owner_gone(const struct fsck *c, const char *owner)
{
	char lock[80];
	bool gone;
	int fd;

	if (owner[0] == '\0' || strchr(owner, '/') != NULL)
		return true;
	snprintf(lock, sizeof(lock), "%s.lock", owner);
	if ((fd = openat(c->spool_fd, lock, O_RDONLY | O_CLOEXEC)) == -1)
		return errno == ENOENT;
	gone = flock(fd, LOCK_SH | LOCK_NB) == 0;
	close(fd);
	return gone;
}

/* The claim, the time of the next try, a failure. */
static void
fsck_waiting(struct fsck *c, struct index_check_asset *a, bool there)
{
	enum fsck_state state = FSCK_OPEN;
	const char *kind = NULL, *what = "";

	if (a->row.state == ASSET_RELAYING &&
	    (a->lease < c->now || owner_gone(c, a->owner))) {
		kind = "claim";
		what = "claimed by a process that is gone";
	} else if (a->row.state == ASSET_SPOOLED &&
	    a->next_attempt > c->now + WAIT_MAX) {
		kind = "next-attempt";
		what = "its next try is further away than any should be";
	} else if (a->row.state == ASSET_FAILED && there && a->missing == 0) {
		kind = "failed";
		what = "failed, but its bytes are here: it can be tried again";
	}
	if (kind == NULL)
		return;
	if (c->repair)
		state = fsck_mended(c,
		    index_check_again(c->ix, c->cache, a->row.key,
			ASSET_SPOOLED, a->owner[0] != '\0' ? a->owner : NULL));
	fsck_found(c, state, kind, a->row.key, "%s", what);
}

/* Unpack the NAR in fd again: is the verdict what it should be? */
static void
verify(struct fsck *c, const struct key *k, int fd)
{
	const struct verify_how how = { .max = c->conf->max_nar_size,
		.cpu = c->conf->max_nar_cpu,
		.ratio = c->conf->max_nar_ratio,
		.free_bytes = VERIFY_FREE,
		.stop = c->stop };
	enum fsck_state state = FSCK_OPEN;
	struct verified was, is;
	bool known, same;

	if (lseek(fd, 0, SEEK_SET) == -1 ||
	    verify_nar(fd, k, &how, &is) == -1) {
		if (!fsck_cut(c, k->s))
			c->unknown++;
		return;
	}
	known = index_nar_get(c->ix, c->cache, k->s, &was) == 1;
	same = known && was.verdict == is.verdict &&
	    (is.verdict != VERDICT_GOOD ||
		(was.nar_size == is.nar_size &&
		    digest_equal(&was.nar_hash, &is.nar_hash)));
	if (!same && c->repair)
		state = fsck_mended(c,
		    index_nar_put(c->ix, c->cache, k->s, &is, c->now) == 0
			? 1
			: -1);
	if (!known)
		fsck_found(c, state == FSCK_REPAIRED ? state : FSCK_NOTE,
		    "unverified", k->s, "it was never verified");
	else if (!same)
		fsck_found(c, state, "verdict", k->s,
		    "the verdict on it is wrong: %s",
		    is.verdict == VERDICT_GOOD ? "it is good" : is.why);
	verified_clear(&is);
	if (known)
		verified_clear(&was);
}

/* A store that does not answer is asked once more, a second later. */
static enum bytes
look_patiently(struct fsck *c, const struct index_check_asset *a, bool unpack,
    int *fd, struct buf *why)
{
	const struct timespec pause = { .tv_sec = 1 };
	enum bytes b = look(c, a, unpack, fd, why);

	if (!is_elsewhere(c, a))
		return b;
	if (b != BYTES_UNKNOWN) {
		c->silent = 0;
		return b;
	}
	if (*fd != -1)
		close(*fd);
	*fd = -1;
	nanosleep(&pause, NULL);
	if (!fsck_cut(c, a->row.key))
		b = look(c, a, unpack, fd, why);
	c->silent = b == BYTES_UNKNOWN ? c->silent + 1 : 0;
	return b;
}

/* As look; what is wrong is looked at again, since the relay may have moved the
 * bytes meanwhile, and *a is what the row says then. */
static enum bytes
look_twice(struct fsck *c, struct index_check_asset *a, bool unpack, int *fd,
    struct buf *why)
{
	enum bytes b = BYTES_UNKNOWN;
	int tries;

	for (tries = 0; tries < 3; tries++) {
		b = look_patiently(c, a, unpack, fd, why);
		if (b == BYTES_GOOD || b == BYTES_UNKNOWN ||
		    (tries > 0 && reread(c, a) == 1))
			break;
		if (*fd != -1)
			close(*fd);
		*fd = -1;
	}
	return b;
}

/* A row, and what is known of its object before it is asked for itself. */
struct row {
	struct index_check_asset a;
	struct asset_object
	    listed; /* how the store lists it, but for the key */
	bool is_listed;
	bool sampled;
};

/* Does the listing say all that there is to say? */
static bool
enough(const struct fsck *c, const struct row *r, bool unpack)
{
	return r->is_listed && is_elsewhere(c, &r->a) && r->a.row.url != NULL &&
	    !c->bytes && !unpack && r->listed.size == r->a.row.size;
}

/* good: its bytes were read. */
static void
fsck_object(struct fsck *c, struct row *r, bool good)
{
	struct index_check_asset *a = &r->a;
	struct buf why = BUF_INIT;
	enum bytes b = BYTES_GOOD;
	bool unpack;
	struct key k;
	int fd = -1;

	if (key_parse(a->row.key, strlen(a->row.key), &k) == -1) {
		fsck_found(c, FSCK_OPEN, "key", a->row.key, "not a key");
		return;
	}
	if (k.kind == KEY_NARINFO &&
	    index_path_known(c->ix, c->cache, k.hash_part.s) == 0) {
		fsck_found(c,
		    c->repair
			? fsck_mended(c,
			      index_check_forget(c->ix, c->cache, &k.hash_part))
			: FSCK_OPEN,
		    "path", a->row.key, "a narinfo without its path");
		return;
	}
	if (a->missing != 0) {
		fsck_missing(c, a, r->is_listed ? &r->listed : NULL);
		return;
	}
	unpack = c->verify && k.kind == KEY_NAR;
	/* A narinfo that is not stored is in the index alone. */
	if ((!a->is_narinfo || a->row.state == ASSET_STORED) && !good &&
	    !enough(c, r, unpack))
		b = look_twice(c, a, unpack, &fd, &why);
	if (c->cut)
		;
	else if (b == BYTES_UNKNOWN) {
		c->unknown++;
		fsck_found(c, FSCK_NOTE, "unknown", a->row.key,
		    "could not be looked at: %s", buf_str(&why));
	} else if (b != BYTES_GOOD)
		found_bytes(c, a, b, buf_str(&why));
	else if (unpack)
		verify(c, &k, fd);
	if (b == BYTES_GOOD)
		fsck_waiting(c, a, true);
	if (fd != -1)
		close(fd);
	buf_free(&why);
}

/* The rows behind at, which is moved on, with what the store lists under their
 * keys: 0 and *n, which is 0 at the end. */
static int
read_rows(
    struct fsck *c, struct fsck_list *l, char *at, struct row *rows, size_t *n)
{
	/* Those that are read are read at once, others as they come. */
	const size_t max = c->bytes && c->store->ops->get != NULL ? ROWS : 1;
	const struct asset_object *o;
	struct row *r;
	int rc = 1;

	for (*n = 0; *n < max; (*n)++) {
		r = &rows[*n];
		rc = index_check_asset_next(c->ix, c->cache, at, &r->a);
		if (rc != 1)
			return rc;
		snprintf(at, KEY_MAX + 1, "%s", r->a.row.key);
		r->sampled = fsck_sampled(c, at);
		switch (fsck_list_find(l, at, &o)) {
		case FSCK_LISTED:
			r->is_listed = true;
			r->listed.size = o->size;
			break;
		case FSCK_NOT_LISTED:
		case FSCK_NO_LISTING:
			r->is_listed = false;
			break;
		case FSCK_LIST_FAILED:
			(*n)++;
			return -1;
		}
	}
	return 0;
}

/* Read the objects of the rows that --bytes reads and --verify does not. */
static int
read_bytes(
    struct fsck *c, const struct row *rows, size_t n, struct fsck_read *reads)
{
	const struct index_check_asset *a;
	struct key k;
	size_t i;

	memset(reads, 0, n * sizeof(*reads));
	for (i = 0; i < n; i++) {
		a = &rows[i].a;
		if (!c->bytes || !rows[i].sampled || !is_elsewhere(c, a) ||
		    a->missing != 0 || a->row.url == NULL ||
		    (a->is_narinfo && a->row.state != ASSET_STORED) ||
		    key_parse(a->row.key, strlen(a->row.key), &k) == -1 ||
		    (c->verify && k.kind == KEY_NAR))
			continue;
		reads[i].key = a->row.key;
		reads[i].url = a->row.url;
		reads[i].size = a->row.size;
	}
	return fsck_read_all(c, reads, n);
}

/* 0, 1 when over() said so, or -1. */
static int
check_row(struct fsck *c, struct row *r, const struct fsck_read *read)
{
	if (r->sampled) {
		fsck_object(c, r,
		    read->key != NULL && read->rc == ASSET_OK &&
			digest_equal(&read->sha256, &r->a.row.sha256));
		c->objects++;
	}
	if (fsck_step(c, r->a.row.key,
		FSCK_OBJECT_COST + (c->bytes ? r->a.row.size : 0)))
		return 1;
	if (c->silent < SILENT_MAX)
		return 0;
	log_warnx("fsck: the asset store says nothing of %d objects in a row",
	    SILENT_MAX);
	return -1;
}

static int
check_rows(struct fsck *c, struct row *rows, size_t n)
{
	struct fsck_read reads[ROWS];
	size_t i;
	int rc;

	rc = read_bytes(c, rows, n, reads);
	for (i = 0; i < n && rc == 0; i++)
		rc = check_row(c, &rows[i], &reads[i]);
	for (i = 0; i < n; i++)
		buf_free(&reads[i].why);
	return rc;
}

int
fsck_objects(struct fsck *c, const char *from)
{
	struct row rows[ROWS];
	const struct asset_object *o;
	struct fsck_list list;
	char at[KEY_MAX + 1];
	size_t i, n = 1;
	int rc = 0;

	fsck_list_open(&list, c, from);
	snprintf(at, sizeof(at), "%s", from);
	while (rc == 0 && n > 0) {
		if ((rc = read_rows(c, &list, at, rows, &n)) == 0)
			rc = check_rows(c, rows, n);
		for (i = 0; i < n; i++)
			index_asset_clear(&rows[i].a.row);
	}
	if (rc == 0 && fsck_list_find(&list, NULL, &o) == FSCK_LIST_FAILED)
		rc = -1;
	fsck_list_close(&list);
	return rc;
}
