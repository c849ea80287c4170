/*
 * One SQLite connection: open, migrate, transactions, prepared statements.
 * Knows nothing of our tables; index.c and its parts are the only users.
 *
 * A struct db belongs to one thread and must not cross a fork.  Every failure
 * is logged here with SQLite's own words.
 */
#ifndef DB_H
#define DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sqlite3.h>

struct db;

/* What to do about a file that is damaged. */
#define DB_DAMAGED_ADVICE                                                      \
	"stop the programs, keep a copy of it, then put it back from its "     \
	"backup, or move it away and make it from the store by tmpnix fsck "   \
	"--rebuild"

/*
 * Open path, made when missing, in WAL mode.  full: commits survive a power
 * cut (synchronous=FULL), otherwise only the death of processes.
 */
struct db *db_open(const char *path, bool full);
/* Open the one that is at path only to read it. */
struct db *db_open_read(const char *path);
void db_close(struct db *d);

/* How many migrations has the file seen (user_version)? */
int db_version(struct db *d, size_t *v);

/*
 * Run those of the n migrations that the file has not seen (user_version
 * counts them), all in one transaction.  -1 too when the file has seen more
 * than n: a newer program made it.
 */
int db_migrate(struct db *d, const char *const migrations[], size_t n);

/*
 * No statement goes on once its transaction has held the writer's lock for ms
 * (0: no limit; at first DB_WRITE_MS): it fails, and is logged.  db_migrate has
 * no limit.
 */
#define DB_WRITE_MS 5000
void db_limit(struct db *d, int64_t ms);

/*
 * Are the files of path others than those that are open here, or gone?  What is
 * written is lost then.  Told in the log once; db_begin and db_commit fail, and
 * so does a statement that writes by itself.
 */
bool db_moved(struct db *d);

/* BEGIN IMMEDIATE: waits up to 30 s for another writer. */
int db_begin(struct db *d);
int db_commit(struct db *d);
/* Harmless when no transaction is open. */
void db_rollback(struct db *d);

/* Prepare a statement to be kept; freed by db_close. */
sqlite3_stmt *db_prepare(struct db *d, const char *sql);

/* Step: 1 a row, 0 done, -1 failed (logged). */
int db_step(struct db *d, sqlite3_stmt *st);

/* Rows changed by the last statement. */
int db_changes(struct db *d);

#endif
