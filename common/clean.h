/*
 * The mark of a clean stop: what the files of the index were when the program
 * that writes it ended in order, and nothing else wrote.
 *
 * state_dir/index.clean names inode, size, and times of index.db and its WAL.
 * (Not SQLite's change counter: the WAL does not count, and who closes a file
 * that SQLite has open drops its locks.)  A writer takes the mark away before
 * it writes; so after a crash or a power cut there is none, and after another
 * file was put in place, or this one written to, it does not fit.
 */
#ifndef CLEAN_H
#define CLEAN_H

#include <stdbool.h>

/* Are the files those that were noted last? */
bool clean_is(const char *state_dir);

/* Note them: all connections of this process are closed. */
void clean_note(const char *state_dir);

/* There is going to be writing: 0, or -1 (logged). */
int clean_forget(const char *state_dir);

#endif
