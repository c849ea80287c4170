/*
 * The configuration that is in force, which a running program can exchange
 * (SIGHUP) while its threads serve requests.
 *
 * Each request is served by one struct settings from its beginning to its end;
 * the next one may get another.  Whoever holds a struct settings may read it,
 * and nobody writes to it.  What was made of it, secrets too, goes with the
 * last request that needs it.
 */
#ifndef LIVE_H
#define LIVE_H

#include <stdbool.h>

#include "conf.h"

struct settings {
	const struct conf *conf;
	void *made; /* of conf, by the program's make; NULL: nothing */
};

/* What a program makes of a configuration. */
struct live_ops {
	/*
	 * Change conf to what this program is to see, and make what belongs to
	 * it: 0, or -1 (logged) when it can't be used.
	 */
	int (*make)(struct conf *conf, void **made);
	void (*unmake)(void *made);
};

struct live;

/*
 * conf, which is taken, was read from the file (kept, not copied).  verbose:
 * whatever log_level says, all is logged.  NULL without memory.
 */
struct live *live_new(const char *file, struct conf *conf, bool verbose);
/* No thread may use it any more.  NULL is harmless. */
void live_free(struct live *lv);

/*
 * What the program was started with: valid as long as lv.  What it says of keys
 * that can't change (conf_key_live) goes for all that come after it.
 */
const struct conf *live_first(const struct live *lv);

/*
 * Use ops (kept, not copied) for the first configuration and all that follow:
 * 0, or -1 (logged).  Before there are other threads.
 */
int live_begin(struct live *lv, const struct live_ops *ops);

/* The settings in force, to be released.  Any thread. */
struct settings *live_take(struct live *lv);
void live_release(struct live *lv, struct settings *s);

/*
 * Read the file again, as conf_reload does.  0 with its settings in force, or
 * -1 with the old ones.  What happened is logged.  One thread at a time.
 */
int live_reload(struct live *lv);

#endif
