/*
 * Would the programs start, by what their configuration names and by the rights
 * of the user that asks?  For -n.
 *
 * Nothing is made or changed.  Each problem is a line in the log that names the
 * file and says what to do about it.
 */
#ifndef READY_H
#define READY_H

#include <stdbool.h>

#include "conf.h"
#include "index.h"

/* Is there a state_dir?  (Not logged.) */
bool ready_has_state(const struct conf *conf);

/* How many problems each of the programs would have. */
unsigned int ready_cache(const struct conf *conf);
unsigned int ready_upload(const struct conf *conf);
unsigned int ready_drv(const struct conf *conf);

/* All three; each problem is told once. */
unsigned int ready_all(const struct conf *conf);

/*
 * An index that nobody has used yet must not stand beside what another one
 * knew: false (logged) when there are files in the file store or the spool.  ix
 * may be NULL: there is none.
 */
bool ready_index(const struct conf *conf, struct index *ix);

/*
 * The index must be whole for who begins to write: false (logged) when SQLite
 * finds that it isn't.  It looks only where it was not left by a clean stop.
 */
bool ready_index_whole(const struct conf *conf, struct index *ix);

#endif
