/*
 * Users and groups of this machine, by name or by number.  To be called before
 * there are threads: the C library's look-ups share memory.
 */
#ifndef ACCOUNT_H
#define ACCOUNT_H

#include <sys/types.h>

/*
 * USER, USER:GROUP or :GROUP.  What is not named is (uid_t)-1 or (gid_t)-1,
 * but a USER alone brings its own group if it is known.  NULL, or what is wrong
 * with text (static).
 */
const char *account_parse(const char *text, uid_t *uid, gid_t *gid);

/* The name of a user, to be freed; NULL when it has none. */
char *account_name(uid_t uid);

#endif
