/*
 * The asset store: where the bytes of a cache live for good, behind one struct
 * of functions.  asset_file.c keeps them under state_dir/store (see
 * asset_file_dir), laid out as a static binary cache; stores on the network
 * stand beside it.
 *
 * INVARIANT I3: the caller marks an asset stored only after put, flush and
 * confirm all returned ASSET_OK for it, in that order.
 *
 * put and confirm may be called from several threads at once, for different
 * keys.  Nothing here touches the index or the spool's names.
 */
#ifndef ASSET_H
#define ASSET_H

#include <sys/types.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "buf.h"
#include "conf.h"
#include "hash.h"

struct asset_store;

enum asset_rc {
	ASSET_OK,
	ASSET_RETRY, /* may work later */
	ASSET_REFUSED, /* will not work, however often */
	ASSET_MISSING, /* confirm: the store has no such bytes; put may work */
};

/* What a store on the network said besides: confirm compares put's etag. */
struct asset_receipt {
	char etag[128]; /* "" when it said none */
	int64_t retry_after; /* seconds it asks us to leave it alone; 0: none */
};

/* The bytes of one object: in a file (dir, name, fd), or in memory (p). */
struct asset_source {
	const char *key; /* as key.h has it */
	const char *content_type;
	uint64_t size;
	int fd; /* at any offset, or -1 */
	int dir; /* directory that has it as name */
	const char *name;
	const void *p; /* used when fd is -1 */
	const struct digest *sha256; /* of the bytes, or NULL */
	struct asset_receipt *receipt; /* to be filled in; may be NULL */
};

/* Where the bytes of an object go: non-zero when no more are wanted. */
struct asset_sink {
	int (*add)(const void *p, size_t n, void *arg);
	void *arg;
};

/* An object as its store lists it. */
struct asset_object {
	char *key; /* any string: see key_parse */
	uint64_t size;
	int64_t modified; /* 0: not said */
};

/* A part of a listing, ascending by the bytes of the keys. */
struct asset_page {
	struct asset_object *objects;
	size_t n;
	char *next; /* where the next page begins; NULL: this is the last */
};
void asset_page_clear(struct asset_page *page);

struct asset_ops {
	/* "file": for messages */
	const char *name;
	/* how many objects one flush may stand for; 1 when it has none */
	size_t batch;
	/* Copy src into the store.  *url: where readers find it, to be freed;
	 * NULL when this store is local.  why: one line on failure. */
	enum asset_rc (*put)(struct asset_store *as,
	    const struct asset_source *src, char **url, struct buf *why);
	/* Make all that was put before survive a power cut; may be NULL. */
	enum asset_rc (*flush)(struct asset_store *as, struct buf *why);
	/* Read back: is it there, with that size? */
	enum asset_rc (*confirm)(struct asset_store *as,
	    const struct asset_source *src, const char *url, struct buf *why);
	/*
	 * Would it take an object now, as far as it tells without one?  It is
	 * asked with the rights that put needs where there is a question for
	 * that.  why: one line on failure.
	 */
	enum asset_rc (*probe)(struct asset_store *as, struct buf *why);
	enum asset_rc (*remove)(
	    struct asset_store *as, const char *key, struct buf *why);
	/* Is there a remove that removes? */
	bool can_remove;
	/*
	 * The most bytes one object of this type may have; asked before its
	 * upload, so it may not take long.  -1 with *max undefined when that
	 * is not known just now.  NULL: no limit.
	 */
	int (*limit)(
	    struct asset_store *as, const char *content_type, uint64_t *max);
	/*
	 * Where a reader finds key now, by this method; url is what put said.
	 * To be freed, NULL without memory.  The operation itself is NULL when
	 * url, if there is one, is it.
	 */
	char *(*read_url)(struct asset_store *as, const char *key,
	    const char *url, const char *method);
	/* Cut what is under way, it is time to stop; may be NULL. */
	void (*interrupt)(struct asset_store *as);
	/* Local stores: a descriptor on key's bytes, -1 with errno. */
	int (*open)(struct asset_store *as, const char *key);
	/*
	 * Stores on the network: read an object as its readers get it; url is
	 * what put said.  Each piece goes to the sink as it comes, from the
	 * first byte on, so that an object of any size takes the memory of a
	 * buffer.  Redirects are not followed.  A store that sends less than
	 * 1 KiB/s for relay_timeout seconds, or as long nothing, is cut off;
	 * a sink that is as slow cuts itself off.
	 *
	 * ASSET_OK: the sink got all of it, as many bytes as the answer's
	 * length says.  ASSET_MISSING: the store is well and has no such
	 * object.  ASSET_RETRY: anything else, with one line in why, unless
	 * the sink wanted no more; what the sink got says nothing about the
	 * object.  Any thread.
	 */
	enum asset_rc (*get)(struct asset_store *as, const char *key,
	    const char *url, const struct asset_sink *sink, struct buf *why);
	/*
	 * The next objects of the store, a thousand or fewer: those behind the
	 * key after ("": all) when next is NULL, else those behind the page
	 * that had this next.  ASSET_OK with *page, to be cleared; ASSET_RETRY
	 * when the store does not answer; ASSET_REFUSED when it can't be
	 * listed: it does not let us, or its answer is of no use.  why: one
	 * line on failure.  NULL: this store has no listing.  Any thread.
	 */
	enum asset_rc (*list)(struct asset_store *as, const char *after,
	    const char *next, struct asset_page *page, struct buf *why);
	/* With list: the url of put for key, to be freed; NULL without memory.
	 */
	char *(*address)(struct asset_store *as, const char *key);
	void (*close)(struct asset_store *as);
};

/* Every implementation's struct begins with this one. */
struct asset_store {
	const struct asset_ops *ops;
	/* Local stores: the directory under state_dir, which is also its name
	 * below nginx's /tmpnix-files/. */
	const char *dir;
	/* Seconds until a URL of read_url is no longer good; 0: never. */
	uint64_t url_expires;
};

/*
 * The store of a cache: for the main one what the configuration names, for the
 * derivations always files, under state_dir/drvs.  NULL (logged) when it can't
 * be had.
 */
struct asset_store *asset_store_open(
    const struct conf *conf, const char *cache);
/*
 * The same for a program that only reads: a secret that reading does not need
 * is not opened, nor is a way to the network made.  put, confirm and remove
 * must not be called.
 */
struct asset_store *asset_store_open_read(
    const struct conf *conf, const char *cache);
/*
 * The store of packages, as a program that writes has it or one that only
 * reads, to see whether it can be had, and to call probe (with write) and
 * nothing else: nothing on this machine is made or moved.
 */
struct asset_store *asset_store_open_probe(const struct conf *conf, bool write);
void asset_store_close(struct asset_store *as);

/*
 * Append a line that tells the store of packages from any other: its kind and
 * where it is.
 */
void asset_store_describe(const struct conf *conf, struct buf *out);

/* Is a failed answer with this HTTP status worth another try?  Not 0. */
bool asset_status_temporary(int status);

/* Append s percent-encoded for a URL; slashes stay if slash. */
void asset_url_encode(struct buf *b, const char *s, bool slash);

/* Append what an S3 error (XML) says, "Code: Message", and its code alone to
 * code (64 bytes; "" when there is none). */
void asset_xml_error(const struct buf *body, struct buf *why, char code[64]);

/* Replace each occurrence of secret in b, from offset on, by "***". */
void asset_scrub(struct buf *b, size_t from, const char *secret);

/* Read a file of mode 0600 with one line or a few: NULL (logged) on failure.
 * The caller wipes and frees it. */
char *asset_read_secret(const char *what, const char *path);

/* A file as it was when it was read; all zero: not yet. */
struct asset_file_id {
	dev_t dev;
	ino_t ino;
	struct timespec mtime, ctime; /* (a chmod may be what it needed) */
	off_t size;
};

/*
 * Is what is at path now not what *id says?  Then *id says so, for the caller
 * to read it.  One that is not there is as it was.
 */
bool asset_file_changed(const char *path, struct asset_file_id *id);

/* Is the size the source has?  ASSET_OK, or ASSET_RETRY or ASSET_MISSING with
 * why. */
enum asset_rc asset_compare(const struct asset_source *src, int status,
    int64_t length, const char *etag, struct buf *why);

/* What the answer to a GET, with this body when it is not 200, says of the
 * object: as get, and one line in why unless it is ASSET_OK. */
enum asset_rc asset_read_result(
    int status, int64_t length, const struct buf *body, struct buf *why);

/*
 * The directory under state_dir that has the file store of packages: one that
 * the web server may serve by itself, or with public_reads = no another.
 */
#define ASSET_DIR_PUBLIC "store"
#define ASSET_DIR_PRIVATE "store-private"
const char *asset_file_dir(const struct conf *conf);

/*
 * Have the files of the packages in that directory: those of the other one are
 * moved, by one rename(2), after public_reads was changed.  0, or -1 (logged)
 * when they can't be: nobody may serve them then.
 */
int asset_file_place(const struct conf *conf);

/* The implementations' constructors; dir is not copied, and made if make. */
struct asset_store *asset_file_open(
    const char *state_dir, const char *dir, bool make);
struct asset_store *asset_glitch_open(const struct conf *conf, bool write);
struct asset_store *asset_s3_open(const struct conf *conf, bool write);

#endif
