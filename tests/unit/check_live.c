#include "config.h"

#include "live.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "scratch.h"
#include "unit.h"

#define STR(s) s, sizeof(s) - 1

/* What old was, what the file says now, what comes of it. */
static const struct {
	const char *old, *new;
	const char *taken, *kept;
	const char *expect; /* a line as conf would have it: of these keys */
} reloads[] = {
	{ "", "", "", "", "priority 30 threads 32 /nix/store - 0" },
	/* The default, written. */
	{ "", "priority = 30\nthreads = 32\n", "", "",
	    "priority 30 threads 32 /nix/store - 0" },
	{ "", "priority = 1\n", "priority", "",
	    "priority 1 threads 32 /nix/store - 0" },
	{ "priority = 1\n", "", "priority", "",
	    "priority 30 threads 32 /nix/store - 0" },
	{ "threads = 4\n", "threads = 5\npriority = 2\n", "priority", "threads",
	    "priority 2 threads 4 /nix/store - 0" },
	{ "threads = 4\n", "", "", "threads",
	    "priority 30 threads 4 /nix/store - 0" },
	{ "", "store_dir = /s\nthreads = 1\n", "", "store_dir, threads",
	    "priority 30 threads 32 /nix/store - 0" },
	/* A value that would be a comment behind a blank. */
	{ "drv_args=#x\n", "drv_args=#y\n", "drv_args", "",
	    "priority 30 threads 32 /nix/store #y 0" },
	/* Files: unless there was none. */
	{ "", "file.a = /a\n", "", "file",
	    "priority 30 threads 32 /nix/store - 0" },
	{ "file.a = /a\n", "file.a = /b\nfile.c = /c\n", "file", "",
	    "priority 30 threads 32 /nix/store - 2" },
	{ "file.a = /a\n", "", "file", "",
	    "priority 30 threads 32 /nix/store - 0" },
	/* What one key is by another's value. */
	{ "verify = file\n", "verify = nar\n", "", "verify",
	    "priority 30 threads 32 /nix/store - 0" },
};

START_TEST(reload)
{
	struct conf_changes ch = { BUF_INIT, BUF_INIT };
	const char *file;
	struct buf errs = BUF_INIT;
	struct conf *old, *c;
	char line[256];

	scratch_make();
	file = scratch_path("conf");
	scratch_write("conf", reloads[_i].new, strlen(reloads[_i].new));
	old = conf_parse(reloads[_i].old, strlen(reloads[_i].old), "f", &errs);
	ck_assert_ptr_nonnull(old);
	c = conf_reload(old, file, &ch, &errs);
	ck_assert_msg(c != NULL, "%s", buf_str(&errs));
	ck_assert_str_eq(buf_str(&ch.taken), reloads[_i].taken);
	ck_assert_str_eq(buf_str(&ch.kept), reloads[_i].kept);
	snprintf(line, sizeof(line), "priority %d threads %d %s %s %zu",
	    (int)c->priority, (int)c->threads, c->store_dir,
	    c->drv_args != NULL ? c->drv_args : "-", c->nfiles);
	ck_assert_str_eq(line, reloads[_i].expect);
	ck_assert_int_eq(c->verify, old->verify);
	conf_free(c);
	conf_free(old);
	buf_free(&ch.taken);
	buf_free(&ch.kept);
	buf_free(&errs);
	scratch_remove();
}
END_TEST

static const char *const bad[] = { "priority = x\n", "nonsense\n",
	"priority = 1\npriority = 2\n" };

START_TEST(bad_file)
{
	struct conf_changes ch = { BUF_INIT, BUF_INIT };
	struct buf errs = BUF_INIT;
	struct conf *old;

	scratch_make();
	scratch_write("conf", bad[_i], strlen(bad[_i]));
	ck_assert_ptr_nonnull(old = conf_parse(STR(""), "f", &errs));
	ck_assert_ptr_null(conf_reload(old, scratch_path("conf"), &ch, &errs));
	ck_assert_uint_gt(errs.len, 0);
	ck_assert_ptr_null(
	    conf_reload(old, scratch_path("nothing"), &ch, &errs));
	buf_free(&errs);
	conf_free(old);
	scratch_remove();
}
END_TEST

/* A program whose configuration is priority, made into an int. */
static atomic_int made_now;

static int
make(struct conf *conf, void **made)
{
	int *n;

	if (conf->priority == 13)
		return -1;
	ck_assert_ptr_nonnull(n = malloc(sizeof(*n)));
	*n = (int)conf->priority;
	*made = n;
	atomic_fetch_add(&made_now, 1);
	return 0;
}

static void
unmake(void *made)
{
	free(made);
	atomic_fetch_sub(&made_now, 1);
}

static const struct live_ops ops = { make, unmake };

static struct live *
begin(const char *text)
{
	static char file[512];
	struct buf errs = BUF_INIT;
	struct live *lv;
	struct conf *c;

	scratch_make();
	scratch_write("conf", text, strlen(text));
	snprintf(file, sizeof(file), "%s", scratch_path("conf"));
	c = conf_load(file, &errs);
	ck_assert_msg(c != NULL, "%s", buf_str(&errs));
	ck_assert_ptr_nonnull(lv = live_new(file, c, false));
	ck_assert_int_eq(live_begin(lv, &ops), 0);
	return lv;
}

static void
set_priority(unsigned int n)
{
	char text[64];

	snprintf(text, sizeof(text), "priority = %u\n", n);
	scratch_write("conf", text, strlen(text));
}

START_TEST(exchange)
{
	struct live *lv = begin("priority = 1\n");
	struct settings *first, *second;

	first = live_take(lv);
	ck_assert_int_eq(*(int *)first->made, 1);
	set_priority(2);
	ck_assert_int_eq(live_reload(lv), 0);
	/* Who has it has it. */
	ck_assert_int_eq(*(int *)first->made, 1);
	ck_assert_uint_eq(first->conf->priority, 1);
	ck_assert_int_eq(made_now, 2);
	second = live_take(lv);
	ck_assert_int_eq(*(int *)second->made, 2);
	/* With the last user goes what was made. */
	live_release(lv, first);
	ck_assert_int_eq(made_now, 1);
	ck_assert_uint_eq(live_first(lv)->priority, 1);
	/* One that can't be used, or read. */
	set_priority(13);
	ck_assert_int_eq(live_reload(lv), -1);
	scratch_write("conf", "priority\n", 9);
	ck_assert_int_eq(live_reload(lv), -1);
	ck_assert_int_eq(made_now, 1);
	live_release(lv, second);
	second = live_take(lv);
	ck_assert_uint_eq(second->conf->priority, 2);
	live_release(lv, second);
	live_free(lv);
	ck_assert_int_eq(made_now, 0);
	scratch_remove();
}
END_TEST

#define THREADS 4
#define RELOADS 200u
static atomic_bool stop;
static atomic_uint requests;

static void *
serve(void *arg)
{
	struct live *lv = arg;
	struct settings *s;

	while (!atomic_load(&stop)) {
		s = live_take(lv);
		ck_assert_int_eq(*(int *)s->made, (int)s->conf->priority);
		live_release(lv, s);
		atomic_fetch_add(&requests, 1);
	}
	return NULL;
}

START_TEST(threads)
{
	struct live *lv = begin("priority = 100\n");
	pthread_t t[THREADS];
	unsigned int i, seen = 0;

	for (i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&t[i], NULL, serve, lv), 0);
	/* Each with requests since the last one. */
	for (i = 0; i < RELOADS; i++) {
		while (atomic_load(&requests) == seen)
			;
		seen = atomic_load(&requests);
		set_priority(100 + i);
		ck_assert_int_eq(live_reload(lv), 0);
	}
	atomic_store(&stop, true);
	for (i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	ck_assert_int_eq(made_now, 1);
	live_free(lv);
	scratch_remove();
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("live");
	TCase *tc = tcase_create("whole");

	UNIT_ROWS(s, "reload", reload, nitems(reloads));
	UNIT_ROWS(s, "bad_file", bad_file, nitems(bad));
	tcase_add_test(tc, exchange);
	tcase_add_test(tc, threads);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
