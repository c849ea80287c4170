#include "config.h"

#include "clean.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"
#include "file.h"
#include "log.h"

#define MARK "index.clean"
#define MARK_MAX 1024

/* A line for the file: no WAL is as good as an empty one.  0, or -1. */
static int
add_file(int dir, const char *name, struct buf *out)
{
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == -1) {
		if (errno != ENOENT)
			return -1;
		st.st_size = 0;
	}
	if (st.st_size == 0)
		buf_addf(out, "%s none\n", name);
	else
		buf_addf(out, "%s %llu %lld %lld.%09ld %lld.%09ld\n", name,
		    (unsigned long long)st.st_ino, (long long)st.st_size,
		    (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
		    (long long)st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
	return buf_failed(out) ? -1 : 0;
}

/* What the mark is when it fits. */
static int
add_files(int dir, struct buf *out)
{
	return add_file(dir, "index.db", out) == -1
	    ? -1
	    : add_file(dir, "index.db-wal", out);
}

bool
clean_is(const char *state_dir)
{
	struct buf noted = BUF_INIT, now = BUF_INIT;
	bool same = false;
	int dir;

	if ((dir = file_open_dir(AT_FDCWD, state_dir, 0, false)) == -1)
		return false;
	if (file_read_at(dir, MARK, MARK_MAX, &noted) == 0 &&
	    add_files(dir, &now) == 0)
		same = strcmp(buf_str(&noted), buf_str(&now)) == 0;
	close(dir);
	buf_free(&noted);
	buf_free(&now);
	return same;
}

void
clean_note(const char *state_dir)
{
	struct buf now = BUF_INIT;
	int dir;

	if (clean_is(state_dir))
		return;
	if ((dir = file_open_dir(AT_FDCWD, state_dir, 0, false)) == -1 ||
	    add_files(dir, &now) == -1 ||
	    file_replace(dir, MARK, now.p, now.len, 0640) == -1)
		log_warn("%s/" MARK ": the next start will check the index",
		    state_dir);
	if (dir != -1)
		close(dir);
	buf_free(&now);
}

int
clean_forget(const char *state_dir)
{
	int dir, rc = -1;

	if ((dir = file_open_dir(AT_FDCWD, state_dir, 0, false)) != -1) {
		if (unlinkat(dir, MARK, 0) == 0)
			rc = file_sync_dir(dir);
		else if (errno == ENOENT)
			rc = 0;
		close(dir);
	}
	if (rc == -1)
		log_warn("%s/" MARK, state_dir);
	return rc;
}
