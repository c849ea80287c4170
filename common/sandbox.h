/*
 * Files and ports that this process, its threads and its children can reach
 * from now on, by Linux's Landlock.  What the kernel doesn't know is left out:
 * a sandbox is the second line, file modes are the first.
 *
 * To be used before there are threads.
 */
#ifndef SANDBOX_H
#define SANDBOX_H

#include <stdbool.h>

struct sandbox;

/*
 * A sandbox that allows nothing yet, or NULL: the kernel has no Landlock, or
 * one that can't do what we need (all but this function take NULL, and then do
 * nothing).  tcp: connections to TCP ports stay possible.  Taking a TCP port is
 * not, nor sending signals to others.
 */
struct sandbox *sandbox_new(bool tcp);

/*
 * Allow path and all below it.  A path that is not there or NULL is ignored:
 * what is at it later stays out of reach.
 */
void sandbox_read(struct sandbox *sb, const char *path);
/*
 * Allow the file path, and to read all in its directory: another file may be
 * moved to its name later, as editors and those who rotate secrets do.  A link
 * is followed: the directory of what it leads to as well.  Never "/".
 */
void sandbox_read_replaced(struct sandbox *sb, const char *path);
/* And run programs. */
void sandbox_execute(struct sandbox *sb, const char *path);
/* Read, write, make, move and remove. */
void sandbox_write(struct sandbox *sb, const char *path);
/* Read and write what is there: devices. */
void sandbox_use(struct sandbox *sb, const char *path);
/* Remove files in this directory, by its descriptor; -1: ignored. */
void sandbox_remove_in(struct sandbox *sb, int dir);

/*
 * Enter it for good and free it.  no_new_privs must be set already.  0, or -1
 * (logged) when nothing changed.
 */
int sandbox_enter(struct sandbox *sb);
/* Free it without; NULL is harmless. */
void sandbox_free(struct sandbox *sb);

#endif
