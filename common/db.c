#include "config.h"

#include "db.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"

/*
 * For a lock of another connection: how long in all, and at most until the next
 * look.  SQLite's own busy timeout ends with a look each 100 ms, so that who
 * has waited long loses to whoever comes; but looks of many cost the processor
 * that the owner of the lock needs.
 */
#define BUSY_MS 30000
#define LOOK_MS 20
/* One connection a thread: keep each small (the kernel caches the file). */
#define CACHE_KIB "256"
/* Instructions of SQLite's machine between looks at the clock: some 0.1 ms. */
#define LOOK_OPS 10000

struct db {
	sqlite3 *h;
	int64_t busy_since; /* of the wait at hand, in ms */
	int64_t writing_since; /* when the lock was ours; 0: it isn't */
	int64_t limit; /* in ms; 0: none */
	const char *wal; /* SQLite's name of the WAL */
	ino_t wal_inode; /* 0: not there */
	char *shm; /* the name of the WAL's index */
	ino_t shm_inode;
};

/* SQLite's busy handler: 1 to look again. */
static int
busy(void *arg, int looks)
{
	const long ms = looks < LOOK_MS ? looks + 1 : LOOK_MS;
	const struct timespec pause = { 0, ms * 1000 * 1000 };
	struct db *d = arg;

	if (looks == 0)
		d->busy_since = clock_ms();
	else if (clock_ms() - d->busy_since >= BUSY_MS)
		return 0;
	nanosleep(&pause, NULL);
	/* To wait for the lock is not to have it. */
	if (d->writing_since != 0)
		d->writing_since = clock_ms();
	return 1;
}

/* SQLite's progress handler: 1 to interrupt. */
static int
progress(void *arg)
{
	const struct db *d = arg;

	return d->writing_since != 0 && d->limit != 0 &&
	    clock_ms() - d->writing_since >= d->limit;
}

/* After a failure: what to do when it is the file's. */
static void
advise(struct db *d)
{
	static atomic_bool told;
	const int code = sqlite3_errcode(d->h) & 0xff;

	if ((code != SQLITE_NOTADB && code != SQLITE_CORRUPT) ||
	    atomic_exchange(&told, true))
		return;
	log_warnx("index: %s is damaged: " DB_DAMAGED_ADVICE,
	    sqlite3_db_filename(d->h, "main"));
}

static void
warn(struct db *d, const char *what)
{
	log_warnx("index: %s: %s (%d)", what, sqlite3_errmsg(d->h),
	    sqlite3_extended_errcode(d->h));
	advise(d);
}

static int
exec(struct db *d, const char *sql)
{
	if (sqlite3_exec(d->h, sql, NULL, NULL, NULL) == SQLITE_OK)
		return 0;
	warn(d, sql);
	return -1;
}

/*
 * Switching a fresh file to WAL ignores the busy handler (SQLite 3.40), so
 * that of several programs starting at once some would fail: retry that one
 * statement for as long as the handler would have waited.
 */
static int
enter_wal(struct db *d)
{
	int looks = 0, rc;

	for (;;) {
		rc = sqlite3_exec(
		    d->h, "PRAGMA journal_mode=WAL", NULL, NULL, NULL);
		if (rc == SQLITE_OK)
			return 0;
		rc &= 0xff; /* of the extended code */
		if ((rc != SQLITE_BUSY && rc != SQLITE_LOCKED) ||
		    busy(d, looks++) == 0)
			break;
	}
	warn(d, "journal_mode=WAL");
	return -1;
}

/*
 * Make the file, readable to our group at most: SQLite would make it readable
 * to all.  -wal and -shm follow its mode.
 *
 * Only ever one that is not there: close(2) of any descriptor on a file drops
 * every lock the process has on it, those of SQLite's other connections too,
 * and another process that then believes to be alone spoils the database.
 */
static int
create(const char *path)
{
	int fd;

	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
	if (fd == -1)
		return errno == EEXIST ? 0 : -1;
	return close(fd);
}

/* The inode of a file that stays for as long as anybody has it open.  0: not
 * there. */
static ino_t
inode(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? st.st_ino : 0;
}

/* Note the WAL and its index, which a reader has opened. */
static int
note_files(struct db *d)
{
	const char *file = sqlite3_db_filename(d->h, "main");

	d->wal = sqlite3_filename_wal(file);
	d->wal_inode = inode(d->wal);
	if (asprintf(&d->shm, "%s-shm", file) == -1) {
		d->shm = NULL;
		return -1;
	}
	d->shm_inode = inode(d->shm);
	return 0;
}

/* A connection that waits for others, and for none of them too long. */
static struct db *
connect_to(const char *path, int flags)
{
	struct db *d;

	if ((d = calloc(1, sizeof(*d))) == NULL)
		return NULL;
	if (sqlite3_open_v2(path, &d->h, flags | SQLITE_OPEN_NOMUTEX, NULL) !=
	    SQLITE_OK) {
		log_warnx("index: open %s: %s", path,
		    d->h != NULL ? sqlite3_errmsg(d->h) : "no memory");
		db_close(d);
		return NULL;
	}
	sqlite3_extended_result_codes(d->h, 1);
	sqlite3_busy_handler(d->h, busy, d);
	d->limit = DB_WRITE_MS;
	sqlite3_progress_handler(d->h, LOOK_OPS, progress, d);
	return d;
}

/* Where it keeps what it works with. */
static int
set_memory(struct db *d)
{
	if (exec(d, "PRAGMA cache_size=-" CACHE_KIB) == -1)
		return -1;
	/* No files in /tmp, where a program in its sandbox can't go. */
	return exec(d, "PRAGMA temp_store=MEMORY");
}

static struct db *
open_locked(const char *path, bool full)
{
	struct db *d;

	if (create(path) == -1) {
		log_warn("index: open %s", path);
		return NULL;
	}
	if ((d = connect_to(path, SQLITE_OPEN_READWRITE)) == NULL)
		return NULL;
	if (enter_wal(d) == 0 &&
	    exec(d,
		full ? "PRAGMA synchronous=FULL"
		     : "PRAGMA synchronous=NORMAL") == 0 &&
	    exec(d, "PRAGMA foreign_keys=ON") == 0 && set_memory(d) == 0 &&
	    /* The first to read opens the WAL. */
	    exec(d, "PRAGMA user_version") == 0 && note_files(d) == 0)
		return d;
	db_close(d);
	return NULL;
}

struct db *
db_open(const char *path, bool full)
{
	/* No other thread has a lock on a file that create() is about to
	 * close. */
	static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;
	struct db *d;

	pthread_mutex_lock(&opening);
	d = open_locked(path, full);
	pthread_mutex_unlock(&opening);
	return d;
}

struct db *
db_open_read(const char *path)
{
	struct db *d = connect_to(path, SQLITE_OPEN_READONLY);

	if (d != NULL && set_memory(d) == 0)
		return d;
	db_close(d);
	return NULL;
}

void
db_close(struct db *d)
{
	sqlite3_stmt *st;

	if (d == NULL)
		return;
	while (d->h != NULL && (st = sqlite3_next_stmt(d->h, NULL)) != NULL)
		sqlite3_finalize(st);
	sqlite3_close(d->h);
	free(d->shm);
	free(d);
}

int
db_version(struct db *d, size_t *v)
{
	sqlite3_stmt *st;
	int rc = -1;

	if ((st = db_prepare(d, "PRAGMA user_version")) == NULL)
		return -1;
	if (db_step(d, st) == 1) {
		*v = (size_t)sqlite3_column_int64(st, 0);
		rc = 0;
	}
	sqlite3_finalize(st);
	return rc;
}

static int
migrate(struct db *d, const char *const migrations[], size_t n)
{
	char sql[64];
	size_t v;
	int rc = -1;

	if (db_version(d, &v) == -1)
		return -1;
	if (v == n)
		return 0;
	if (db_begin(d) == -1)
		return -1;
	/* Another process may have done it while we waited. */
	if (db_version(d, &v) == -1)
		goto out;
	if (v > n) {
		log_warnx("index: its version %zu is newer than this program, "
			  "which knows %zu: upgrade tmpnix",
		    v, n);
		goto out;
	}
	for (; v < n; v++)
		if (exec(d, migrations[v]) == -1)
			goto out;
	/* PRAGMA takes no parameters; the value is a number of ours. */
	snprintf(sql, sizeof(sql), "PRAGMA user_version=%zu", n);
	if (exec(d, sql) == 0)
		rc = db_commit(d);
out:
	if (rc == -1)
		db_rollback(d);
	return rc;
}

int
db_migrate(struct db *d, const char *const migrations[], size_t n)
{
	const int64_t limit = d->limit;
	int rc;

	d->limit = 0;
	rc = migrate(d, migrations, n);
	d->limit = limit;
	return rc;
}

void
db_limit(struct db *d, int64_t ms)
{
	d->limit = ms;
}

bool
db_moved(struct db *d)
{
	static atomic_bool told;
	int moved = 0;

	sqlite3_file_control(d->h, "main", SQLITE_FCNTL_HAS_MOVED, &moved);
	if (moved == 0 &&
	    (d->wal_inode == 0 || inode(d->wal) == d->wal_inode) &&
	    (d->shm_inode == 0 || inode(d->shm) == d->shm_inode))
		return false;
	if (!atomic_exchange(&told, true))
		log_warnx(
		    "index: %s, its -wal or its -shm was replaced or removed "
		    "while "
		    "this program runs: nothing is written any more: "
		    "stop the programs, put the right one back (a backup, "
		    "or tmpnix fsck --rebuild), and start them",
		    sqlite3_db_filename(d->h, "main"));
	return true;
}

int
db_begin(struct db *d)
{
	if (db_moved(d) || exec(d, "BEGIN IMMEDIATE") == -1)
		return -1;
	d->writing_since = clock_ms();
	return 0;
}

/* Looked at once more: what went into a file that is gone is not there. */
int
db_commit(struct db *d)
{
	if (exec(d, "COMMIT") == -1)
		return -1;
	d->writing_since = 0;
	return db_moved(d) ? -1 : 0;
}

void
db_rollback(struct db *d)
{
	d->writing_since = 0;
	if (!sqlite3_get_autocommit(d->h))
		exec(d, "ROLLBACK");
}

sqlite3_stmt *
db_prepare(struct db *d, const char *sql)
{
	sqlite3_stmt *st = NULL;

	if (sqlite3_prepare_v3(d->h, sql, -1, SQLITE_PREPARE_PERSISTENT, &st,
		NULL) != SQLITE_OK)
		warn(d, sql);
	return st;
}

int
db_step(struct db *d, sqlite3_stmt *st)
{
	/* A statement by itself has the lock for as long as it writes. */
	const bool alone =
	    d->writing_since == 0 && sqlite3_stmt_readonly(st) == 0;
	int rc;

	if (alone && db_moved(d))
		return -1;
	if (alone)
		d->writing_since = clock_ms();
	rc = sqlite3_step(st);
	if (alone)
		d->writing_since = 0;
	switch (rc) {
	case SQLITE_ROW:
		return 1;
	case SQLITE_DONE:
		return 0;
	default:
		warn(d, sqlite3_sql(st));
		return -1;
	}
}

int
db_changes(struct db *d)
{
	return sqlite3_changes(d->h);
}
