#include "config.h"

#include <sys/types.h>
#include <sys/wait.h>

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "db.h"
#include "file.h"
#include "index.h"
#include "relay.h"
#include "scratch.h"
#include "unit.h"

#define STORE "/nix/store"
#define LOG_X "log/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-x.drv"
#define LOG_Y "log/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-y.drv"
/* Longer than anything here takes, and than the relay's own idling. */
#define PATIENCE_MS 20000

static struct conf conf;
static struct index *ix;
static struct spool_dir *sd;
static struct relay *re;
static struct asset_store *files;

/* As tmpnix-upload does it at its start. */
static int
used(const char *name, void *arg)
{
	return index_spool_used(arg, name);
}

static int
stored(const struct digest *d, uint64_t size, void *arg)
{
	return index_nar_stored(arg, CACHE_MAIN, d, size);
}

static void
dead(const char *instance, void *arg)
{
	ck_assert_int_eq(index_release(arg, instance), 0);
}

static void
setup_unopened(void)
{
	scratch_make();
	conf = (struct conf) { .state_dir = scratch, .relay_workers = 1 };
	ix = NULL;
	sd = NULL;
	re = NULL;
	files = NULL;
}

static void
open_all(void)
{
	struct spool_owner owner = {
		.used = used, .stored = stored, .dead = dead
	};

	ck_assert_ptr_nonnull(ix = index_open(scratch, INDEX_WRITE));
	owner.arg = ix;
	ck_assert_ptr_nonnull(sd = spool_open(scratch, &owner));
	ck_assert_ptr_nonnull(files = asset_file_open(scratch, "store", true));
}

static void
setup(void)
{
	setup_unopened();
	open_all();
}

static void
teardown(void)
{
	relay_stop(re, 0);
	asset_store_close(files);
	spool_close(sd);
	index_close(ix);
	scratch_remove();
}

static void
start(struct asset_store *as)
{
	re = relay_start(&conf, CACHE_MAIN, as, sd, NULL);
	ck_assert_ptr_nonnull(re);
}

static void
stop(void)
{
	relay_stop(re, 0);
	re = NULL;
}

static int64_t
milliseconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void
pause_a_little(void)
{
	const struct timespec t = { 0, 5 * 1000 * 1000 };

	nanosleep(&t, NULL);
}

/* Wait until so many rows are in this state. */
static void
wait_for(enum asset_state state, uint64_t count)
{
	const int64_t until = milliseconds() + PATIENCE_MS;
	struct index_status st;

	for (;;) {
		ck_assert_int_eq(index_status(ix, CACHE_MAIN, &st), 0);
		if (st.state[state].count == count)
			return;
		ck_assert_msg(milliseconds() < until,
		    "waited for %u in state %d, there are %u (%s)",
		    (unsigned int)count, (int)state,
		    (unsigned int)st.state[state].count, st.last_error);
		pause_a_little();
	}
}

/* SQL of the test's own: the first column, -1 when there is none. */
static int64_t
ask(const char *sql)
{
	struct db *d = db_open(scratch_path("index.db"), false);
	sqlite3_stmt *st;
	int64_t v = -1;

	ck_assert_ptr_nonnull(d);
	ck_assert_ptr_nonnull(st = db_prepare(d, sql));
	if (db_step(d, st) == 1)
		v = sqlite3_column_int64(st, 0);
	db_close(d);
	return v;
}

static struct asset_row
get(const char *key)
{
	struct asset_row row;

	ck_assert_int_eq(index_asset_get(ix, CACHE_MAIN, key, &row), 1);
	index_asset_clear(&row);
	return row;
}

static const char *
last_error(void)
{
	static struct index_status st;

	ck_assert_int_eq(index_status(ix, CACHE_MAIN, &st), 0);
	return st.last_error;
}

/* Wait until an attempt has failed in these words. */
static void
wait_for_error(const char *words)
{
	const int64_t until = milliseconds() + PATIENCE_MS;

	while (strstr(last_error(), words) == NULL) {
		ck_assert_msg(
		    milliseconds() < until, "waited for \"%s\"", words);
		pause_a_little();
	}
}

/* How many names there are in a directory. */
static int
count(const char *dir)
{
	DIR *d = opendir(scratch_path(dir));
	struct dirent *e;
	int n = 0;

	ck_assert_ptr_nonnull(d);
	while ((e = readdir(d)) != NULL)
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

static void
log_key(char key[KEY_MAX + 1], const char *name)
{
	snprintf(key, KEY_MAX + 1,
	    "log/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-%s.drv", name);
}

/* Spool bytes and enter them as key. */
static void
put(const char *key, const char *bytes)
{
	char name[SPOOL_NAME_MAX + 1], old[SPOOL_NAME_MAX + 1];
	struct asset_new a = { .key = key,
		.size = strlen(bytes),
		.content_type = "text/plain",
		.spool = name };
	struct spool *s;
	enum index_put rc;

	ck_assert_int_eq(spool_new(sd, 1000, &s), SPOOL_OK);
	ck_assert_int_eq(spool_write(s, bytes, strlen(bytes)), SPOOL_OK);
	spool_digest(s, &a.sha256);
	ck_assert_int_eq(spool_commit(s, name), SPOOL_OK);
	spool_free(s);
	rc = index_asset_put(ix, CACHE_MAIN, &a, (int64_t)time(NULL), old);
	ck_assert(rc == INDEX_CREATED || rc == INDEX_REPLACED);
}

static unsigned int
worth(const void *arg, const struct narinfo *ni, const char *sig)
{
	(void)arg;
	(void)ni;
	(void)sig;
	return 0;
}

static const struct sig_rank no_sigs = { worth, NULL };

/* Put the NAR and the narinfo of a path: 32 of id; its references are ids. */
static void
put_path(char id, const char *references, char narinfo_key[KEY_MAX + 1],
    char nar_key[KEY_MAX + 1])
{
	char part[HASH_PART_LEN + 1] = "", hash[DIGEST_BASE32 + 1];
	char body[16], err[256];
	struct buf b = BUF_INIT;
	struct narinfo *ni;
	struct digest d;
	uint64_t size;

	snprintf(body, sizeof(body), "NAR of %c", id);
	hash_sha256(body, strlen(body), &d);
	digest_to_base32(&d, hash);
	snprintf(nar_key, KEY_MAX + 1, "nar/%s.nar", hash);
	put(nar_key, body);
	memset(part, id, HASH_PART_LEN);
	snprintf(narinfo_key, KEY_MAX + 1, "%s.narinfo", part);
	buf_addf(&b,
	    "StorePath: " STORE "/%s-x\nURL: %s\nCompression: none\n"
	    "NarHash: sha256:%s\nNarSize: %zu\nReferences: ",
	    part, nar_key, hash, strlen(body));
	for (; *references != '\0'; references++) {
		memset(part, *references, HASH_PART_LEN);
		buf_addf(&b, "%s-x%s", part, references[1] != '\0' ? " " : "");
	}
	buf_adds(&b, "\n");
	ni = narinfo_parse(b.p, b.len, STORE, err, sizeof(err));
	ck_assert_msg(ni != NULL, "%s", err);
	ck_assert_int_eq(
	    index_narinfo_put(ix, CACHE_MAIN, ni, &no_sigs, STORE, 1000, &size),
	    INDEX_CREATED);
	narinfo_free(ni);
	buf_free(&b);
}

static void
ck_file(const char *key, const char *bytes)
{
	struct buf b = BUF_INIT;
	int fd = files->ops->open(files, key);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(file_read_max(fd, 10000, &b), 0);
	ck_assert_str_eq(buf_str(&b), bytes);
	buf_free(&b);
	close(fd);
}

/* With the file store --------------------------------------------------- */

START_TEST(stores_objects_and_narinfos)
{
	char narinfo[2][KEY_MAX + 1], nar[2][KEY_MAX + 1];
	struct buf text = BUF_INIT;

	put_path('b', "ab", narinfo[1], nar[1]);
	put_path('a', "", narinfo[0], nar[0]);
	put(LOG_X, "a log");
	put("nix-cache-info", "StoreDir: " STORE "\n");
	start(files);
	wait_for(ASSET_STORED, 6);
	ck_file(LOG_X, "a log");
	ck_file("nix-cache-info", "StoreDir: " STORE "\n");
	ck_file(nar[0], "NAR of a");
	ck_file(nar[1], "NAR of b");
	narinfo[1][HASH_PART_LEN] = '\0';
	ck_assert_int_eq(
	    index_narinfo_get(ix, CACHE_MAIN, narinfo[1], &text, NULL), 1);
	narinfo[1][HASH_PART_LEN] = '.';
	ck_file(narinfo[1], buf_str(&text));
	buf_free(&text);
	stop();
	ck_assert_str_eq(get(LOG_X).spool, "");
	/* Whoever was told a spool file's name a moment ago still finds it. */
	ck_assert_int_eq(count("spool/ready"), 4);
	spool_reap(sd, (int64_t)time(NULL) + 3600);
	ck_assert_int_eq(count("spool/ready"), 0);
}
END_TEST

START_TEST(stores_more_than_a_batch)
{
	char key[KEY_MAX + 1], name[8];
	int i;

	for (i = 0; i < 70; i++) {
		snprintf(name, sizeof(name), "%d", i);
		log_key(key, name);
		put(key, name);
	}
	start(files);
	wait_for(ASSET_STORED, 70);
	ck_assert_int_eq(count("store/log"), 70);
}
END_TEST

/* The index can't take what it is told for a while: it is told again. */
START_TEST(tells_the_index_again)
{
	struct buf err = BUF_INIT;
	const int64_t until = milliseconds() + PATIENCE_MS;
	int fd;

	put(LOG_X, "x");
	ask("CREATE TRIGGER full BEFORE UPDATE OF state ON asset "
	    "WHEN new.state = 'stored' "
	    "BEGIN SELECT RAISE(ABORT, 'no room for that'); END");
	ck_assert_int_ge(
	    fd = open(scratch_path("err"), O_RDWR | O_CREAT | O_APPEND, 0600),
	    0);
	ck_assert_int_eq(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	start(files);
	while (strstr(buf_str(&err), "no room for that") == NULL) {
		ck_assert(milliseconds() < until);
		pause_a_little();
		buf_clear(&err);
		ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
		ck_assert_int_eq(file_read_max(fd, 10000, &err), 0);
	}
	buf_free(&err);
	close(fd);
	ask("DROP TRIGGER full");
	wait_for(ASSET_STORED, 1);
}
END_TEST

START_TEST(replaces_what_is_stored)
{
	put(LOG_X, "old");
	start(files);
	wait_for(ASSET_STORED, 1);
	put(LOG_X, "newer");
	relay_wake(re);
	wait_for(ASSET_STORED, 1);
	ck_file(LOG_X, "newer");
}
END_TEST

START_TEST(lost_spool_file_is_a_failure)
{
	put(LOG_X, "x");
	put(LOG_Y, "y");
	spool_remove(sd, get(LOG_X).spool);
	start(files);
	wait_for(ASSET_FAILED, 1);
	wait_for(ASSET_STORED, 1);
	ck_assert_int_eq(get(LOG_Y).state, ASSET_STORED);
	ck_assert_ptr_nonnull(strstr(last_error(), "is gone"));
}
END_TEST

/* Too many open files, an error of the disk: the bytes may be there. */
START_TEST(spool_file_that_cannot_be_opened_is_tried_again)
{
	char file[512], away[512];

	put(LOG_X, "x");
	snprintf(
	    file, sizeof(file), "%s/spool/ready/%s", scratch, get(LOG_X).spool);
	snprintf(away, sizeof(away), "%s/away", scratch);
	ck_assert_int_eq(rename(file, away), 0);
	ck_assert_int_eq(symlink(away, file), 0); /* ELOOP, by O_NOFOLLOW */
	start(files);
	wait_for_error("Too many levels");
	ck_assert_int_eq(get(LOG_X).state, ASSET_SPOOLED);
	ck_assert_int_eq(rename(away, file), 0);
	ck_assert_int_eq(index_retry(ix, CACHE_MAIN, LOG_X), 1);
	relay_wake(re);
	wait_for(ASSET_STORED, 1);
	ck_file(LOG_X, "x");
}
END_TEST

START_TEST(strange_key_is_a_failure)
{
	put("../../etc/passwd", "x");
	start(files);
	wait_for(ASSET_FAILED, 1);
	ck_assert_str_eq(last_error(), "not a key");
}
END_TEST

START_TEST(carries_what_a_dead_instance_had_claimed)
{
	struct asset_row row;
	size_t n;
	int status;
	pid_t pid;

	ck_assert_int_ne(pid = fork(), -1);
	if (pid == 0) {
		/* It dies as kill -9 lets it, with the bytes in the store. */
		open_all();
		put(LOG_X, "x");
		_exit(index_claim(ix, CACHE_MAIN, spool_instance(sd),
			  (int64_t)time(NULL), 3600, &row, 1, &n) == 0 &&
			    n == 1
			? 0
			: 1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(
	    ask("SELECT count(*) FROM asset WHERE state = 'relaying'"), 1);
	open_all();
	start(files);
	wait_for(ASSET_STORED, 1);
	ck_file(LOG_X, "x");
}
END_TEST

START_TEST(leaves_the_claims_of_the_living)
{
	struct asset_row row;
	size_t n;

	put(LOG_X, "x");
	ck_assert_int_eq(index_claim(ix, CACHE_MAIN, "another",
			     (int64_t)time(NULL), 120, &row, 1, &n),
	    0);
	ck_assert_uint_eq(n, 1);
	put(LOG_Y, "y");
	start(files);
	wait_for(ASSET_STORED, 1);
	stop();
	ck_assert_int_eq(get(LOG_X).state, ASSET_RELAYING);
	ck_assert_int_eq(get(LOG_Y).state, ASSET_STORED);
}
END_TEST

/* Times that were set before the clock was set back -------------------------
 */

START_TEST(a_claim_of_the_future_runs_out)
{
	struct asset_row row;
	size_t n;

	put(LOG_X, "x");
	ck_assert_int_eq(index_claim(ix, CACHE_MAIN, "another",
			     (int64_t)time(NULL) + 9999, 120, &row, 1, &n),
	    0);
	ck_assert_uint_eq(n, 1);
	index_asset_clear(&row);
	start(files);
	wait_for(ASSET_STORED, 1);
}
END_TEST

START_TEST(an_attempt_of_the_future_is_now_at_a_start)
{
	put(LOG_X, "x");
	ask("UPDATE asset SET next_attempt = unixepoch() + 3000");
	start(files);
	wait_for(ASSET_STORED, 1);
}
END_TEST

/* No delay is so long. */
START_TEST(an_attempt_of_the_far_future_is_now)
{
	start(files);
	put(LOG_X, "x");
	ask("UPDATE asset SET next_attempt = unixepoch() + 99999");
	wait_for(ASSET_STORED, 1);
}
END_TEST

/* For one request --------------------------------------------------------- */

static void
start_once(void)
{
	re = relay_start_once(&conf, CACHE_MAIN, files, sd, NULL);
	ck_assert_ptr_nonnull(re);
}

static bool
never(void *arg)
{
	(void)arg;
	return false;
}

START_TEST(once_carries_what_is_waited_for)
{
	put(LOG_X, "x");
	put(LOG_Y, "y");
	start_once();
	relay_wake(re);
	ck_assert_int_eq(
	    relay_wait(re, ix, LOG_Y, 20, never, NULL), RELAY_STORED);
	ck_assert_int_eq(get(LOG_X).state, ASSET_SPOOLED);
	stop();
	ck_assert_int_eq(get(LOG_X).state, ASSET_SPOOLED);
	ck_file(LOG_Y, "y");
}
END_TEST

/* A left over NAR and narinfo have to go before the narinfo at hand. */
START_TEST(once_carries_what_goes_before_a_narinfo)
{
	char narinfo[2][KEY_MAX + 1], nar[2][KEY_MAX + 1];

	put_path('a', "", narinfo[0], nar[0]);
	put_path('b', "a", narinfo[1], nar[1]);
	start_once();
	ck_assert_int_eq(
	    relay_wait(re, ix, narinfo[1], 20, never, NULL), RELAY_STORED);
	ck_assert_int_eq(get(narinfo[0]).state, ASSET_STORED);
}
END_TEST

START_TEST(once_leaves_the_claims_of_the_living)
{
	struct asset_row row;
	size_t n;

	put(LOG_X, "x");
	ck_assert_int_eq(index_claim_key(ix, CACHE_MAIN, LOG_Y, "another",
			     (int64_t)time(NULL), 120, &row, &n),
	    0);
	ck_assert_uint_eq(n, 0);
	ck_assert_int_eq(index_claim_key(ix, CACHE_MAIN, LOG_X, "another",
			     (int64_t)time(NULL), 120, &row, &n),
	    0);
	ck_assert_uint_eq(n, 1);
	index_asset_clear(&row);
	start_once();
	ck_assert_int_eq(
	    relay_wait(re, ix, LOG_X, 0, never, NULL), RELAY_TIMEOUT);
	stop();
	ck_assert_int_eq(get(LOG_X).state, ASSET_RELAYING);
}
END_TEST

START_TEST(idle_when_all_is_carried)
{
	char key[KEY_MAX + 1], name[8];
	int i;

	for (i = 0; i < 150; i++) {
		snprintf(name, sizeof(name), "%d", i);
		log_key(key, name);
		put(key, name);
	}
	start(files);
	while (!relay_wait_idle(re))
		;
	wait_for(ASSET_STORED, 150);
	ck_assert_int_eq(ask("SELECT count(*) FROM asset "
			     "WHERE state <> 'stored'"),
	    0);
}
END_TEST

static int
note_waiting(const struct index_waiting *w, void *arg)
{
	buf_addf(arg, "%s %d %d %s\n", w->key, (int)w->state,
	    w->next_attempt > (int64_t)time(NULL), w->why);
	return 0;
}

START_TEST(waiting_each_those_that_failed_first)
{
	struct buf b = BUF_INIT;

	put(LOG_X, "x");
	put(LOG_Y, "y");
	spool_remove(sd, get(LOG_Y).spool);
	start(files);
	wait_for(ASSET_FAILED, 1);
	wait_for(ASSET_STORED, 1);
	stop();
	put("nix-cache-info", "later");
	ask("UPDATE asset SET next_attempt = 99999999999, last_error = 'slow' "
	    "WHERE key = 'nix-cache-info'");
	ck_assert_int_eq(
	    index_waiting_each(ix, CACHE_MAIN, 10, note_waiting, &b), 0);
	ck_assert_ptr_nonnull(strstr(buf_str(&b), LOG_Y " 3 1 its spool file"));
	ck_assert_ptr_nonnull(
	    strstr(buf_str(&b), "\nnix-cache-info 0 1 slow\n"));
	buf_free(&b);
}
END_TEST

/* With a store of the test's own ---------------------------------------- */

/* It fails as told, and writes down what it was given. */
static struct fake {
	struct asset_store store;
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	/* how many calls give this result; then ASSET_OK */
	int nput, nflush, nconfirm;
	enum asset_rc put, flush, confirm;
	bool hold; /* puts wait until it is false */
	bool slow; /* each put takes a little */
	int holding;
	int flushes, confirms, interrupts;
	char keys[16][KEY_MAX + 1];
	char bytes[16][512];
	int n;
	int64_t retry_after;
} fake;

static const char *fake_words = "the fake says no";

static enum asset_rc
answer(int *n, enum asset_rc rc, struct buf *why)
{
	if (*n == 0)
		return ASSET_OK;
	(*n)--;
	buf_adds(why, fake_words);
	return rc;
}

static enum asset_rc
fake_put(struct asset_store *as, const struct asset_source *src, char **url,
    struct buf *why)
{
	struct fake *f = (struct fake *)as;
	enum asset_rc rc;

	pthread_mutex_lock(&f->mutex);
	f->holding++;
	pthread_cond_broadcast(&f->cond);
	while (f->hold)
		pthread_cond_wait(&f->cond, &f->mutex);
	f->holding--;
	if (f->slow) {
		pthread_mutex_unlock(&f->mutex);
		pause_a_little();
		pthread_mutex_lock(&f->mutex);
	}
	if ((rc = answer(&f->nput, f->put, why)) == ASSET_OK && f->n < 16) {
		snprintf(f->keys[f->n], sizeof(f->keys[0]), "%s", src->key);
		memset(f->bytes[f->n], 0, sizeof(f->bytes[0]));
		if (src->size < sizeof(f->bytes[0])) {
			if (src->fd == -1)
				memcpy(f->bytes[f->n], src->p, src->size);
			else if (pread(src->fd, f->bytes[f->n], src->size, 0) !=
			    (ssize_t)src->size)
				rc = ASSET_REFUSED;
		}
		f->n++;
	}
	if (src->receipt != NULL)
		src->receipt->retry_after = f->retry_after;
	if (rc == ASSET_OK)
		*url = strdup("https://cdn.example/it");
	pthread_mutex_unlock(&f->mutex);
	return rc;
}

static enum asset_rc
fake_flush(struct asset_store *as, struct buf *why)
{
	struct fake *f = (struct fake *)as;
	enum asset_rc rc;

	pthread_mutex_lock(&f->mutex);
	f->flushes++;
	rc = answer(&f->nflush, f->flush, why);
	pthread_mutex_unlock(&f->mutex);
	return rc;
}

static enum asset_rc
fake_confirm(struct asset_store *as, const struct asset_source *src,
    const char *url, struct buf *why)
{
	struct fake *f = (struct fake *)as;
	enum asset_rc rc;

	(void)src;
	pthread_mutex_lock(&f->mutex);
	f->confirms++;
	rc = answer(&f->nconfirm, f->confirm, why);
	if (url == NULL || strcmp(url, "https://cdn.example/it") != 0)
		rc = ASSET_REFUSED;
	pthread_mutex_unlock(&f->mutex);
	return rc;
}

/* What stands still goes on, as a transfer that is cut. */
static void
fake_interrupt(struct asset_store *as)
{
	struct fake *f = (struct fake *)as;

	pthread_mutex_lock(&f->mutex);
	f->interrupts++;
	f->hold = false;
	f->put = ASSET_RETRY;
	f->nput = 1;
	pthread_cond_broadcast(&f->cond);
	pthread_mutex_unlock(&f->mutex);
}

static const struct asset_ops fake_single = {
	.name = "fake",
	.batch = 1,
	.put = fake_put,
	.confirm = fake_confirm,
};
static const struct asset_ops fake_standing = {
	.name = "fake",
	.batch = 1,
	.put = fake_put,
	.confirm = fake_confirm,
	.interrupt = fake_interrupt,
};
static const struct asset_ops fake_batches = {
	.name = "fake",
	.batch = 64,
	.put = fake_put,
	.flush = fake_flush,
	.confirm = fake_confirm,
};

static void
setup_fake(void)
{
	setup();
	memset(&fake, 0, sizeof(fake));
	fake.store.ops = &fake_single;
	pthread_mutex_init(&fake.mutex, NULL);
	pthread_cond_init(&fake.cond, NULL);
}

/* Let puts go on from now on, or not. */
static void
hold(bool yes)
{
	pthread_mutex_lock(&fake.mutex);
	fake.hold = yes;
	pthread_cond_broadcast(&fake.cond);
	pthread_mutex_unlock(&fake.mutex);
}

static void
wait_for_put(int n)
{
	pthread_mutex_lock(&fake.mutex);
	while (fake.holding < n)
		pthread_cond_wait(&fake.cond, &fake.mutex);
	pthread_mutex_unlock(&fake.mutex);
}

/* Attempts end: until the row has had so many and is nobody's. */
static void
wait_for_attempt(const char *key, int64_t attempts)
{
	const int64_t until = milliseconds() + PATIENCE_MS;
	struct asset_row row;

	for (;;) {
		row = get(key);
		if (row.attempts == attempts && row.state != ASSET_RELAYING)
			return;
		ck_assert_int_lt(milliseconds(), until);
		pause_a_little();
	}
}

static const int64_t delays[][2] = {
	{ 5, 6 },
	{ 20, 25 },
	{ 45, 56 },
};

START_TEST(retries_later_and_later)
{
	struct asset_row row;
	int64_t before, at;
	char *spool;
	size_t i;

	fake.nput = (int)nitems(delays);
	fake.put = ASSET_RETRY;
	put(LOG_X, "x");
	ck_assert_ptr_nonnull(spool = strdup(get(LOG_X).spool));
	before = (int64_t)time(NULL);
	start(&fake.store);
	for (i = 0; i < nitems(delays); i++) {
		wait_for_attempt(LOG_X, (int64_t)i + 1);
		row = get(LOG_X);
		ck_assert_int_eq(row.state, ASSET_SPOOLED);
		ck_assert_str_eq(row.spool, spool);
		ck_assert_str_eq(last_error(), "the fake says no");
		at = ask("SELECT next_attempt FROM asset");
		ck_assert_int_ge(at, before + delays[i][0]);
		ck_assert_int_le(at, (int64_t)time(NULL) + delays[i][1]);
		/* Its time has come. */
		before = (int64_t)time(NULL);
		ask("UPDATE asset SET next_attempt = 0");
		relay_wake(re);
	}
	wait_for(ASSET_STORED, 1);
	ck_assert_str_eq(last_error(), "");
	ck_assert_int_eq(index_asset_get(ix, CACHE_MAIN, LOG_X, &row), 1);
	ck_assert_str_eq(row.url, "https://cdn.example/it");
	index_asset_clear(&row);
	ck_assert_int_eq(count("spool/ready"), 1);
	free(spool);
}
END_TEST

/* How long the store wants to be left alone, and how long it is. */
static const int64_t afters[][3] = {
	{ 1000, 1000, 1001 },
	{ 86400, 3600, 3601 },
};

START_TEST(left_alone_as_long_as_it_says)
{
	int64_t before, at;

	fake.nput = 1;
	fake.put = ASSET_RETRY;
	fake.retry_after = afters[_i][0];
	put(LOG_X, "x");
	before = (int64_t)time(NULL);
	start(&fake.store);
	wait_for_attempt(LOG_X, 1);
	at = ask("SELECT next_attempt FROM asset");
	ck_assert_int_ge(at, before + afters[_i][1]);
	ck_assert_int_le(at, (int64_t)time(NULL) + afters[_i][2]);
}
END_TEST

/* A peer's words, in a terminal. */
START_TEST(no_control_characters_from_a_store)
{
	fake_words = "the fake\nsays \033[31mno";
	fake.nput = 1;
	fake.put = ASSET_RETRY;
	put(LOG_X, "x");
	start(&fake.store);
	wait_for_attempt(LOG_X, 1);
	ck_assert_str_eq(last_error(), "the fake?says ?[31mno");
}
END_TEST

START_TEST(delays_have_bounds_and_differ)
{
	ck_assert_int_eq(relay_delay(26, 0), 5 * 26 * 26);
	ck_assert_int_eq(relay_delay(27, 0), 3600);
	ck_assert_int_eq(relay_delay(28, 0), 3600);
	ck_assert_int_eq(relay_delay(INT64_MAX, 0), 3600);
	ck_assert_int_le(relay_delay(26, UINT32_MAX), 5 * 26 * 26 * 5 / 4);
	ck_assert_int_le(relay_delay(INT64_MAX, UINT32_MAX), 3600 * 5 / 4);
	ck_assert_int_eq(relay_delay(0, 0), relay_delay(1, 0));
	ck_assert_int_ne(relay_delay(20, 0), relay_delay(20, 77));
}
END_TEST

/* Whatever step fails, however: what becomes of the row. */
static const struct {
	const struct asset_ops *ops;
	enum asset_rc put, flush, confirm;
	enum asset_state state;
} failures[] = {
	{ &fake_single, ASSET_RETRY, ASSET_OK, ASSET_OK, ASSET_SPOOLED },
	{ &fake_single, ASSET_REFUSED, ASSET_OK, ASSET_OK, ASSET_FAILED },
	{ &fake_single, ASSET_OK, ASSET_OK, ASSET_RETRY, ASSET_SPOOLED },
	{ &fake_single, ASSET_OK, ASSET_OK, ASSET_REFUSED, ASSET_FAILED },
	{ &fake_batches, ASSET_RETRY, ASSET_OK, ASSET_OK, ASSET_SPOOLED },
	{ &fake_batches, ASSET_OK, ASSET_RETRY, ASSET_OK, ASSET_SPOOLED },
	{ &fake_batches, ASSET_OK, ASSET_REFUSED, ASSET_OK, ASSET_FAILED },
	{ &fake_batches, ASSET_OK, ASSET_OK, ASSET_RETRY, ASSET_SPOOLED },
};

START_TEST(not_stored_unless_all_steps_worked)
{
	char name[SPOOL_NAME_MAX + 1];

	fake.store.ops = failures[_i].ops;
	fake.put = failures[_i].put;
	fake.flush = failures[_i].flush;
	fake.confirm = failures[_i].confirm;
	fake.nput = fake.put != ASSET_OK;
	fake.nflush = fake.flush != ASSET_OK;
	fake.nconfirm = fake.confirm != ASSET_OK;
	put(LOG_X, "x");
	snprintf(name, sizeof(name), "%s", get(LOG_X).spool);
	start(&fake.store);
	wait_for_attempt(LOG_X, 1);
	ck_assert_int_eq(get(LOG_X).state, failures[_i].state);
	ck_assert_str_eq(get(LOG_X).spool, name);
	ck_assert_str_eq(last_error(), "the fake says no");
	stop();
	/* A step after one that failed is not taken. */
	ck_assert_int_eq(
	    fake.confirms, fake.put == ASSET_OK && fake.flush == ASSET_OK);
	spool_reap(sd, (int64_t)time(NULL) + 3600);
	ck_assert_int_eq(count("spool/ready"), 1);
}
END_TEST

START_TEST(one_failure_does_not_hold_up_the_others)
{
	fake.store.ops = &fake_batches;
	fake.put = ASSET_RETRY;
	fake.nput = 1;
	put(LOG_X, "x");
	put(LOG_Y, "y");
	start(&fake.store);
	wait_for(ASSET_STORED, 1);
	wait_for_attempt(LOG_X, 1);
	ck_assert_int_eq(get(LOG_X).state, ASSET_SPOOLED);
	ck_assert_int_eq(get(LOG_Y).state, ASSET_STORED);
	stop();
	ck_assert_int_eq(fake.flushes, 1);
}
END_TEST

/* What may be tried again is, whatever is said of the others. */
START_TEST(one_failure_is_not_that_of_the_others)
{
	fake.store.ops = &fake_batches;
	fake.put = ASSET_RETRY;
	fake.nput = 1;
	fake.flush = ASSET_REFUSED;
	fake.nflush = 1;
	put(LOG_X, "x");
	put(LOG_Y, "y");
	start(&fake.store);
	wait_for(ASSET_FAILED, 1);
	ck_assert_int_eq(get(LOG_X).state, ASSET_SPOOLED);
	ck_assert_int_eq(get(LOG_Y).state, ASSET_FAILED);
}
END_TEST

/* Where key is in what the fake was given. */
static int
position(const char *key)
{
	int i;

	for (i = 0; i < fake.n; i++)
		if (strcmp(fake.keys[i], key) == 0)
			return i;
	ck_abort_msg("%s was not put", key);
	return -1;
}

/* I4, with several threads and the worst order of the rows. */
START_TEST(nars_before_narinfos_before_referrers)
{
	char narinfo[3][KEY_MAX + 1], nar[3][KEY_MAX + 1];
	int i;

	conf.relay_workers = 3;
	put_path('c', "bc", narinfo[2], nar[2]);
	put_path('b', "a", narinfo[1], nar[1]);
	put_path('a', "", narinfo[0], nar[0]);
	start(&fake.store);
	/* Its other threads may have gone idle before there was enough. */
	wait_for(ASSET_STORED, 6);
	stop();
	for (i = 0; i < 3; i++) {
		ck_assert_int_lt(position(nar[i]), position(narinfo[i]));
		if (i > 0)
			ck_assert_int_lt(
			    position(narinfo[i - 1]), position(narinfo[i]));
	}
}
END_TEST

START_TEST(replaced_while_under_way_is_carried_again)
{
	fake.hold = true;
	put(LOG_X, "old");
	start(&fake.store);
	wait_for_put(1);
	put(LOG_X, "newer");
	hold(false);
	wait_for(ASSET_STORED, 1);
	stop();
	ck_assert_int_eq(fake.n, 2);
	ck_assert_str_eq(fake.bytes[1], "newer");
	ck_assert_str_eq(get(LOG_X).spool, "");
	ck_assert_uint_eq(get(LOG_X).size, strlen("newer"));
}
END_TEST

/* Its lease ran out, and another instance has it and its spool file now. */
START_TEST(claim_lost_while_under_way)
{
	char name[SPOOL_NAME_MAX + 1];

	fake.hold = true;
	put(LOG_X, "x");
	snprintf(name, sizeof(name), "%s", get(LOG_X).spool);
	start(&fake.store);
	wait_for_put(1);
	ask("UPDATE asset SET owner = 'another'");
	hold(false);
	stop();
	spool_reap(sd, (int64_t)time(NULL) + 3600);
	ck_assert_int_eq(get(LOG_X).state, ASSET_RELAYING);
	ck_assert_str_eq(get(LOG_X).spool, name);
	ck_assert_int_eq(count("spool/ready"), 1);
}
END_TEST

/* However long an upload takes: what is told of another has it renewed. */
START_TEST(claims_are_renewed)
{
	const int64_t now = (int64_t)time(NULL);
	const int64_t until = milliseconds() + PATIENCE_MS;

	conf.relay_workers = 2;
	fake.hold = true;
	put(LOG_X, "x");
	start(&fake.store);
	wait_for_put(1);
	/* Renewed twice in its time, at least. */
	ck_assert_int_ge(ask("SELECT lease FROM asset"), now + 2 * 30);
	/* Most of it is over. */
	ask("UPDATE asset SET lease = unixepoch() + 40");
	put(LOG_Y, "y");
	spool_remove(sd, get(LOG_Y).spool);
	relay_wake(re);
	wait_for(ASSET_FAILED, 1);
	while (ask("SELECT lease FROM asset WHERE state = 'relaying'") <
	    now + 2 * 30) {
		ck_assert_msg(milliseconds() < until, "it is not renewed");
		pause_a_little();
	}
	hold(false);
	wait_for(ASSET_STORED, 1);
}
END_TEST

START_TEST(stop_cuts_what_stands_still)
{
	fake.store.ops = &fake_standing;
	fake.hold = true;
	put(LOG_X, "x");
	start(&fake.store);
	wait_for_put(1);
	stop();
	ck_assert_int_eq(fake.interrupts, 1);
	ck_assert_int_eq(get(LOG_X).state, ASSET_SPOOLED);
	ck_assert_int_eq(ask("SELECT lease FROM asset"), 0);
	ck_assert_int_eq(ask("SELECT owner IS NULL FROM asset"), 1);
}
END_TEST

static void *
stopper(void *arg)
{
	relay_stop(arg, 0);
	return NULL;
}

START_TEST(stop_finishes_what_is_under_way)
{
	char key[KEY_MAX + 1], name[8];
	struct index_status st;
	pthread_t t;
	int i;

	conf.relay_workers = 2;
	fake.hold = true;
	fake.slow = true;
	for (i = 0; i < 80; i++) {
		snprintf(name, sizeof(name), "%d", i);
		log_key(key, name);
		put(key, "x");
	}
	start(&fake.store);
	wait_for_put(2);
	ck_assert_int_eq(pthread_create(&t, NULL, stopper, re), 0);
	re = NULL;
	hold(false);
	pthread_join(t, NULL);
	ck_assert_int_eq(index_status(ix, CACHE_MAIN, &st), 0);
	ck_assert_uint_eq(st.state[ASSET_RELAYING].count, 0);
	ck_assert_uint_ge(st.state[ASSET_STORED].count, 2);
	/* The rest waits: at 5 ms each it would be here by now. */
	ck_assert_uint_gt(st.state[ASSET_SPOOLED].count, 0);
	ck_assert_uint_eq(
	    st.state[ASSET_STORED].count + st.state[ASSET_SPOOLED].count, 80);
	/* A next one does the rest. */
	start(&fake.store);
	wait_for(ASSET_STORED, 80);
}
END_TEST

/* Even out of the 5 s in which it looks by itself. */
START_TEST(stop_while_idle_is_at_once)
{
	int64_t begin;
	int i;

	put(LOG_X, "x");
	start(&fake.store);
	wait_for(ASSET_STORED, 1);
	/* Idle soon after, though nothing says so. */
	for (i = 0; i < 20; i++)
		pause_a_little();
	begin = milliseconds();
	stop();
	ck_assert_int_lt(milliseconds() - begin, 4000);
	relay_stop(NULL, 0);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("relay");
	TCase *tc = tcase_create("file store");
	TCase *starts = tcase_create("start");
	TCase *fakes = tcase_create("fake store");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, stores_objects_and_narinfos);
	tcase_add_test(tc, stores_more_than_a_batch);
	tcase_add_test(tc, a_claim_of_the_future_runs_out);
	tcase_add_test(tc, an_attempt_of_the_future_is_now_at_a_start);
	tcase_add_test(tc, an_attempt_of_the_far_future_is_now);
	tcase_add_test(tc, tells_the_index_again);
	tcase_add_test(tc, replaces_what_is_stored);
	tcase_add_test(tc, lost_spool_file_is_a_failure);
	tcase_add_test(tc, spool_file_that_cannot_be_opened_is_tried_again);
	tcase_add_test(tc, strange_key_is_a_failure);
	tcase_add_test(tc, leaves_the_claims_of_the_living);
	tcase_add_test(tc, once_carries_what_is_waited_for);
	tcase_add_test(tc, once_carries_what_goes_before_a_narinfo);
	tcase_add_test(tc, once_leaves_the_claims_of_the_living);
	tcase_add_test(tc, idle_when_all_is_carried);
	tcase_add_test(tc, waiting_each_those_that_failed_first);
	suite_add_tcase(s, tc);

	tcase_add_checked_fixture(starts, setup_unopened, teardown);
	tcase_set_timeout(starts, 60);
	tcase_add_test(starts, carries_what_a_dead_instance_had_claimed);
	suite_add_tcase(s, starts);

	tcase_add_checked_fixture(fakes, setup_fake, teardown);
	tcase_set_timeout(fakes, 60);
	tcase_add_test(fakes, retries_later_and_later);
	tcase_add_loop_test(
	    fakes, left_alone_as_long_as_it_says, 0, (int)nitems(afters));
	tcase_add_test(fakes, no_control_characters_from_a_store);
	tcase_add_test(fakes, delays_have_bounds_and_differ);
	tcase_add_loop_test(fakes, not_stored_unless_all_steps_worked, 0,
	    (int)nitems(failures));
	tcase_add_test(fakes, one_failure_does_not_hold_up_the_others);
	tcase_add_test(fakes, one_failure_is_not_that_of_the_others);
	tcase_add_test(fakes, nars_before_narinfos_before_referrers);
	tcase_add_test(fakes, replaced_while_under_way_is_carried_again);
	tcase_add_test(fakes, claim_lost_while_under_way);
	tcase_add_test(fakes, claims_are_renewed);
	tcase_add_test(fakes, stop_cuts_what_stands_still);
	tcase_add_test(fakes, stop_finishes_what_is_under_way);
	tcase_add_test(fakes, stop_while_idle_is_at_once);
	suite_add_tcase(s, fakes);
	return unit_main(s);
}
