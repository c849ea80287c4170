/*
 * Reading and writing files whole, under directory descriptors.
 *
 * Functions return 0 (or a descriptor, or a length) on success and -1 with
 * errno set on failure; they do not log.  Any thread.
 */
#ifndef FILE_H
#define FILE_H

#include <sys/types.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"

/* Write all n bytes, whatever the kernel takes at a time. */
int file_write_all(int fd, const void *p, size_t n);

/* Read until n bytes or end of file; the number read. */
ssize_t file_read_full(int fd, void *p, size_t n);

/*
 * Append the rest of fd to b.  A file of more than max bytes is an error with
 * errno EFBIG.
 */
int file_read_max(int fd, size_t max, struct buf *b);

/* The same for the file name under directory dir. */
int file_read_at(int dir, const char *name, size_t max, struct buf *b);

/* Copy the rest of from to to; *n is the number of bytes. */
int file_copy(int from, int to, uint64_t *n);

/* fsync the directory itself: what was renamed or linked into it stays. */
int file_sync_dir(int dir);

/*
 * Make the file name under dir hold exactly (p, n), readable by mode: a new
 * file written, fsynced and renamed over the old one.  A crash leaves the old
 * file or the new one.  The directory is fsynced too.
 */
int file_replace(
    int dir, const char *name, const void *p, size_t n, mode_t mode);

/* The same, but a file that exists already is an error (EEXIST). */
int file_create(
    int dir, const char *name, const void *p, size_t n, mode_t mode);

/*
 * Take the lock (flock) of one of the files prefix.0 to prefix.(n - 1) under
 * dir, made when missing: a descriptor that holds it until it is closed.  -1
 * with EWOULDBLOCK when others hold them all.
 */
int file_lock_one(int dir, const char *prefix, uint64_t n);

/* Does anybody hold the lock of that file?  Also when that can't be told. */
bool file_locked(int dir, const char *name);

/* Open directory name under dir (AT_FDCWD: as a path), made when missing. */
int file_open_dir(int dir, const char *name, mode_t mode, bool create);

/*
 * Read a secret: a regular file, owned by us or root, without any permission
 * for group and others (EPERM otherwise), at most max bytes.  The caller
 * wipes b.
 */
int file_read_secret(const char *path, size_t max, struct buf *b);

/* Append what to do about the file that it has failed on with EPERM. */
void file_secret_advice(const char *path, struct buf *out);

#endif
