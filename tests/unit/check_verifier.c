/* Whose NAR is verified next, who may wait for that, and for how long. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#include "db.h"
#include "index.h"
#include "scratch.h"
#include "spool.h"
#include "unit.h"
#include "verifier.h"

/* Of zeros: some seconds of a processor, and some hundredths. */
#define LONG_BYTES ((uint64_t)12 << 30)
#define SHORT_BYTES ((uint64_t)16 << 20)
#define PATIENCE_MS 20000

static struct conf conf;
static struct index *ix;
static struct spool_dir *sd;
static struct asset_store *files;
static struct verifier *v;

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
	index_release(arg, instance);
}

static void
setup(void)
{
	struct spool_owner owner = {
		.used = used, .stored = stored, .dead = dead
	};

	scratch_make();
	conf = (struct conf) { .state_dir = scratch,
		.threads = 32,
		.verify_workers = 1,
		.max_nar_size = INT64_MAX,
		.max_nar_cpu = 1000,
		.max_nar_ratio = 1 };
	ck_assert_ptr_nonnull(ix = index_open(scratch, INDEX_WRITE));
	owner.arg = ix;
	ck_assert_ptr_nonnull(sd = spool_open(scratch, &owner));
	ck_assert_ptr_nonnull(files = asset_file_open(scratch, "store", true));
	v = NULL;
}

static void
teardown(void)
{
	verifier_stop(v);
	asset_store_close(files);
	spool_close(sd);
	index_close(ix);
	scratch_remove();
}

static void
start(void)
{
	v = verifier_start(&conf, CACHE_MAIN, files, sd, NULL);
	ck_assert_ptr_nonnull(v);
}

/* A word of a NAR. */
static void
add(struct buf *b, const char *s)
{
	static const char zeros[8];
	const uint64_t n = strlen(s);

	buf_add(b, &n, sizeof(n));
	buf_add(b, s, n);
	buf_add(b, zeros, (8 - n % 8) % 8);
}

/* The NAR of a file of so many zeros, which take no room; the spool's name of
 * it is into name. */
static int
make_nar(int n, uint64_t bytes, char name[64])
{
	struct buf b = BUF_INIT, end = BUF_INIT;
	char path[128];
	int fd;

	add(&b, "nix-archive-1");
	add(&b, "(");
	add(&b, "type");
	add(&b, "regular");
	add(&b, "contents");
	buf_add(&b, &bytes, sizeof(bytes));
	add(&end, ")");
	snprintf(name, 64, "%016d.%d", n, n);
	snprintf(path, sizeof(path), "spool/ready/%s", name);
	fd = open(
	    scratch_path(path), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite(fd, b.p, b.len, 0), (ssize_t)b.len);
	ck_assert_int_eq(pwrite(fd, end.p, end.len, (off_t)(b.len + bytes)),
	    (ssize_t)end.len);
	buf_free(&b);
	buf_free(&end);
	return fd;
}

static struct key
key_of(int n)
{
	char text[128];
	struct key k;

	snprintf(text, sizeof(text), "nar/%052d.nar", n);
	ck_assert_int_eq(key_parse(text, strlen(text), &k), 0);
	return k;
}

/* Enter the NAR n. */
static int
enter(int n, uint64_t bytes)
{
	char name[64], old[64];
	const struct key k = key_of(n);
	struct asset_new a = {
		.key = k.s, .size = 100, .content_type = "x", .spool = name
	};
	int fd = make_nar(n, bytes, name);

	memset(a.sha256.b, n, sizeof(a.sha256.b));
	ck_assert_int_eq(
	    index_asset_put(ix, CACHE_MAIN, &a, 1, old), INDEX_CREATED);
	return fd;
}

static void
submit(int n, uint64_t bytes, const char *token)
{
	const struct key k = key_of(n);

	verifier_submit(v, &k, enter(n, bytes), token, false);
}

static void
sleep_ms(long ms)
{
	const struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&t, NULL);
}

/* Jobs of a token as others see them, "RUNNING WAITING". */
struct seen {
	const char *token;
	uint64_t running;
	uint64_t waiting;
};

static void
look(const char *token, uint64_t running, uint64_t waiting, void *arg)
{
	struct seen *s = arg;

	if (strcmp(token, s->token) != 0)
		return;
	s->running += running;
	s->waiting += waiting;
}

static struct seen
jobs(const char *token)
{
	struct seen s = { token, 0, 0 };

	spool_jobs_each(scratch, look, &s);
	return s;
}

static void
until_jobs(const char *token, uint64_t running, uint64_t waiting)
{
	struct seen s;
	int ms;

	for (ms = 0; ms < PATIENCE_MS; ms += 5) {
		s = jobs(token);
		if (s.running == running && s.waiting == waiting)
			return;
		sleep_ms(5);
	}
	ck_abort_msg(
	    "%s: %d running, %d wait", token, (int)s.running, (int)s.waiting);
}

/* The NARs in the order they were verified in, by a digit each. */
static void
order(char *out, size_t size)
{
	struct db *d = db_open(scratch_path("index.db"), false);
	sqlite3_stmt *st;
	size_t n = 0;

	ck_assert_ptr_nonnull(d);
	st = db_prepare(d, "SELECT key FROM nar ORDER BY rowid");
	while (n + 1 < size && db_step(d, st) == 1)
		out[n++] = ((const char *)sqlite3_column_text(st, 0))[55];
	out[n] = '\0';
	sqlite3_finalize(st);
	db_close(d);
}

static bool
never(void *arg)
{
	(void)arg;
	return false;
}

/* Of one token with nine NARs the first is under way: another's, who comes then
 * and has one, is the first to be done. */
START_TEST(tokens_take_turns)
{
	const struct key last = key_of(8), his = key_of(9);
	struct verifier_wait w = { .token = "a", .seconds = 60 };
	struct verified out;
	char done[16];
	int i;

	start();
	submit(0, LONG_BYTES / 16, "a");
	until_jobs("a", 1, 0);
	for (i = 1; i < 9; i++)
		submit(i, SHORT_BYTES, "a");
	submit(9, SHORT_BYTES, "b");
	ck_assert_int_eq(verifier_wait(v, ix, &his, &w, &out), VERIFIER_DONE);
	verified_clear(&out);
	order(done, sizeof(done));
	ck_assert_str_eq(done, "9");
	ck_assert_int_eq(verifier_wait(v, ix, &last, &w, &out), VERIFIER_DONE);
	ck_assert_int_eq(out.verdict, VERDICT_GOOD);
	ck_assert_uint_gt(out.nar_size, SHORT_BYTES);
	verified_clear(&out);
	order(done, sizeof(done));
	/* (Somebody waited for the last, so it came before the others.) */
	ck_assert_str_eq(done, "908");
}
END_TEST

/* When all is taken, tokens are served in turn, however much one has. */
START_TEST(no_token_waits_for_all_of_another)
{
	char done[16], *b, *c;
	int i;

	start();
	submit(0, LONG_BYTES / 16, "x");
	submit(1, LONG_BYTES / 16, "y");
	until_jobs("x", 1, 0);
	until_jobs("y", 1, 0);
	for (i = 2; i < 8; i++)
		submit(i, SHORT_BYTES, "a");
	submit(8, SHORT_BYTES, "b");
	submit(9, SHORT_BYTES, "c");
	until_jobs("x", 0, 0);
	until_jobs("y", 0, 0);
	until_jobs("a", 0, 0);
	until_jobs("b", 0, 0);
	until_jobs("c", 0, 0);
	order(done, sizeof(done));
	ck_assert_uint_eq(strlen(done), 10);
	ck_assert_ptr_nonnull(b = strchr(done, '8'));
	ck_assert_ptr_nonnull(c = strchr(done, '9'));
	/* Behind 0 and 1 and the first two of a at most. */
	ck_assert_int_lt(b - done, 5);
	ck_assert_int_lt(c - done, 6);
}
END_TEST

/* A quarter of the line is the most a token gets. */
START_TEST(a_line_has_an_end)
{
	char name[64];
	int i, fd;

	start();
	submit(0, LONG_BYTES, "a");
	until_jobs("a", 1, 0);
	fd = make_nar(1, SHORT_BYTES, name);
	for (i = 1; i < 100; i++) {
		struct key other = key_of(i);

		verifier_submit(
		    v, &other, fcntl(fd, F_DUPFD_CLOEXEC, 3), "a", false);
	}
	close(fd);
	ck_assert_uint_eq(jobs("a").running + jobs("a").waiting, 64);
	until_jobs("a", 1, 63);
}
END_TEST

/* Those who wait ---------------------------------------------------------- */

struct waiter {
	pthread_t thread;
	struct key key;
	struct verifier_wait w;
	atomic_bool gone;
	atomic_bool asked; /* whether it has gone */
	atomic_bool done;
	enum verifier_rc rc;
};

static bool
has_gone(void *arg)
{
	struct waiter *w = arg;

	atomic_store(&w->asked, true);
	return atomic_load(&w->gone);
}

static void *
wait_for(void *arg)
{
	struct waiter *w = arg;
	struct index *mine = index_open(scratch, INDEX_READ);
	struct verified out;

	w->rc = verifier_wait(v, mine, &w->key, &w->w, &out);
	if (w->rc == VERIFIER_DONE)
		verified_clear(&out);
	index_close(mine);
	atomic_store(&w->done, true);
	return NULL;
}

static void
begin(struct waiter *w, int n, const char *token)
{
	w->key = key_of(n);
	w->w = (struct verifier_wait) {
		.token = token, .seconds = 600, .gone = has_gone, .arg = w
	};
	w->gone = w->asked = w->done = false;
	ck_assert_int_eq(pthread_create(&w->thread, NULL, wait_for, w), 0);
}

/* It waits: it was asked whether its client is there. */
static void
until_waits(struct waiter *w)
{
	int ms;

	for (ms = 0; !atomic_load(&w->asked) && !atomic_load(&w->done) &&
	     ms < PATIENCE_MS;
	     ms += 5)
		sleep_ms(5);
	ck_assert(atomic_load(&w->asked));
	ck_assert(!atomic_load(&w->done));
}

static enum verifier_rc
end(struct waiter *w)
{
	pthread_join(w->thread, NULL);
	return w->rc;
}

/*
 * Its thread is free as soon as its client has gone, whatever is under way; its
 * job goes with it, if no NAR's PUT asked for that and it has not begun.
 */
START_TEST(a_client_that_goes)
{
	struct waiter one = { .rc = 0 }, two = one, sent = one, running = one;

	start();
	submit(0, LONG_BYTES, "a");
	until_jobs("a", 1, 0);
	close(enter(1, SHORT_BYTES));
	begin(&running, 0, "a");
	until_waits(&running);
	begin(&one, 1, "a");
	begin(&two, 1, "a");
	until_waits(&one);
	until_waits(&two);
	until_jobs("a", 1, 1);
	atomic_store(&one.gone, true);
	ck_assert_int_eq(end(&one), VERIFIER_LEFT);
	/* The other is there. */
	until_jobs("a", 1, 1);
	atomic_store(&two.gone, true);
	ck_assert_int_eq(end(&two), VERIFIER_LEFT);
	until_jobs("a", 1, 0);

	submit(2, SHORT_BYTES, "a");
	begin(&sent, 2, "a");
	until_waits(&sent);
	atomic_store(&sent.gone, true);
	ck_assert_int_eq(end(&sent), VERIFIER_LEFT);
	until_jobs("a", 1, 1);
	atomic_store(&running.gone, true);
	ck_assert_int_eq(end(&running), VERIFIER_LEFT);
	until_jobs("a", 1, 1);
}
END_TEST

/* All who wait are told when it is time to end. */
START_TEST(an_end_of_all)
{
	struct waiter w = { .rc = 0 };

	start();
	submit(0, LONG_BYTES, "a");
	begin(&w, 0, "a");
	until_waits(&w);
	verifier_interrupt(v);
	ck_assert_int_eq(end(&w), VERIFIER_SLOW);
}
END_TEST

/* The deadline of one who waits is that of his job. */
START_TEST(a_deadline)
{
	const struct key k = key_of(1);
	struct verifier_wait w = {
		.token = "a", .seconds = 1, .gone = never, .arg = NULL
	};
	struct verified out;

	start();
	submit(0, LONG_BYTES, "a");
	until_jobs("a", 1, 0);
	close(enter(1, SHORT_BYTES));
	ck_assert_int_eq(verifier_wait(v, ix, &k, &w, &out), VERIFIER_SLOW);
	until_jobs("a", 1, 0);
}
END_TEST

/* Of 4 threads 3 may wait; the token with most waiting makes room. */
START_TEST(those_who_wait_leave_room)
{
	struct waiter a[3] = { { .rc = 0 } }, more = a[0], b = a[0], c = a[0];
	int i, busy = 0;

	conf.threads = 4;
	start();
	submit(0, LONG_BYTES, "a");
	for (i = 0; i < 3; i++) {
		begin(&a[i], 0, "a");
		until_waits(&a[i]);
	}
	/* His own don't leave for him: he is told at once. */
	begin(&more, 0, "a");
	ck_assert_int_eq(end(&more), VERIFIER_BUSY);
	begin(&b, 0, "b");
	until_waits(&b);
	for (i = 0; i < PATIENCE_MS / 5 && busy == 0; i++) {
		busy = a[0].done + a[1].done + a[2].done;
		sleep_ms(5);
	}
	ck_assert_int_eq(busy, 1);
	/* Two of a, one of b: c is one more than there are, and a has two. */
	begin(&c, 0, "c");
	until_waits(&c);
	for (i = 0; i < PATIENCE_MS / 5 && busy == 1; i++) {
		busy = a[0].done + a[1].done + a[2].done;
		sleep_ms(5);
	}
	ck_assert_int_eq(busy, 2);
	/* One of each: nobody goes for another. */
	begin(&more, 0, "d");
	ck_assert_int_eq(end(&more), VERIFIER_BUSY);
	verifier_interrupt(v);
	for (i = 0, busy = 0; i < 3; i++)
		busy += end(&a[i]) == VERIFIER_BUSY;
	ck_assert_int_eq(busy, 2);
	ck_assert_int_eq(end(&b), VERIFIER_SLOW);
	ck_assert_int_eq(end(&c), VERIFIER_SLOW);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("verifier");
	TCase *tc = tcase_create("verifier");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, tokens_take_turns);
	tcase_add_test(tc, no_token_waits_for_all_of_another);
	tcase_add_test(tc, a_line_has_an_end);
	tcase_add_test(tc, a_client_that_goes);
	tcase_add_test(tc, an_end_of_all);
	tcase_add_test(tc, a_deadline);
	tcase_add_test(tc, those_who_wait_leave_room);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
