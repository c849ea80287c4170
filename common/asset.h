/*
 * The asset store: where the bytes of a cache live for good, behind one struct
 * of functions.  asset_file.c keeps them under state_dir/store, laid out as a
 * static binary cache; stores on the network stand beside it.
 *
 * INVARIANT I3: the caller marks an asset stored only after put, flush and
 * confirm all returned ASSET_OK for it, in that order.
 *
 * put and confirm may be called from several threads at once, for different
 * keys.  Nothing here touches the index or the spool's names.
 */
#ifndef ASSET_H
#define ASSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "conf.h"

struct asset_store;

enum asset_rc {
	ASSET_OK,
	ASSET_RETRY, /* may work later */
	ASSET_REFUSED, /* will not work, however often */
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
};

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
	enum asset_rc (*remove)(
	    struct asset_store *as, const char *key, struct buf *why);
	/* Local stores: a descriptor on key's bytes, -1 with errno. */
	int (*open)(struct asset_store *as, const char *key);
	void (*close)(struct asset_store *as);
};

/* Every implementation's struct begins with this one. */
struct asset_store {
	const struct asset_ops *ops;
	/* Local stores: the directory under state_dir, which is also its name
	 * below the web server's /tmpnix-files/. */
	const char *dir;
};

/*
 * The store of a cache: for the main one what the configuration names, for the
 * derivations always files, under state_dir/drvs.  NULL (logged) when it can't
 * be had.
 */
struct asset_store *asset_store_open(
    const struct conf *conf, const char *cache);
void asset_store_close(struct asset_store *as);

/* The implementations' constructors; dir is not copied. */
struct asset_store *asset_file_open(const char *state_dir, const char *dir);

#endif
