/*
 * What a program gives up for good, before it hears from anybody: root's
 * rights, new ones by set-user-ID files, core dumps, open file modes.
 *
 * All of it while there is one thread.  Failures are fatal: who asked for less
 * is not to run with more.
 */
#ifndef PRIVILEGES_H
#define PRIVILEGES_H

#include <sys/types.h>

/*
 * Nobody looks into this process: no core dumps, no debugger of the same user;
 * and what is made is its own, unless a mode is given with it (fchmod).
 */
void privileges_seal(void);

/*
 * Stop being root, if we are: become this user and group with the groups the
 * user is in, and make sure that there is no way back.  The user may be root
 * itself, then nothing changes.
 */
void privileges_drop(uid_t uid, gid_t gid);

/* No execve(2) from now on, of us or our children, brings more rights. */
void privileges_no_new(void);

#endif
