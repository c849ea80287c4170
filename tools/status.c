#include "config.h"

#include "tmpnix.h"

#include <sys/statvfs.h>

#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "asset.h"
#include "file.h"
#include "fsck.h"
#include "index_fsck.h"
#include "spool.h"

#define nitems(a) (sizeof(a) / sizeof((a)[0]))

static const char *const caches[] = { CACHE_MAIN, CACHE_DRV };

/* By enum asset_state. */
static const char *const states[] = { "spooled", "relaying", "stored",
	"failed" };

/* What is not stored after so many seconds, with nothing on its way or with an
 * error, is stuck. */
#define STUCK_SECONDS 600

/* After so many days without a whole check, or without a part of a scrub that
 * was begun, somebody should see why. */
#define UNCHECKED_DAYS (FSCK_SCRUB_DAYS + 7)
#define UNSCRUBBED_DAYS 3
#define DAY 86400

/* What fsck found is shown so far. */
#define FINDINGS_MAX 16

#define PROBLEMS_MAX 16

static const char *const checks[] = { INDEX_FSCK_CHECK, INDEX_FSCK_SCRUB };

struct check {
	struct index_fsck row;
	bool known; /* there was one */
	bool runs;
};

struct finding {
	struct buf key; /* with its cache */
	struct buf what;
	int64_t found;
};

struct status {
	const struct conf *conf;
	int64_t now;
	uint64_t free_bytes;
	uint64_t lost; /* files in spool/lost */
	uint64_t lost_bytes;
	struct index_status cache[nitems(caches)];
	bool failed; /* an object of any of them */
	struct check check[nitems(checks)];
	int64_t checks_since; /* the index keeps what was checked */
	size_t nfindings; /* all there are */
	bool findings_of_bytes; /* fsck --bytes found one */
	struct finding finding[FINDINGS_MAX];
	bool local; /* the site is not asked */
	struct site_check site[SITE_CHECKS];
	struct buf problems[PROBLEMS_MAX]; /* what a person should look at */
	size_t nproblems;
};

static void __attribute__((format(printf, 2, 3)))
problem(struct status *st, const char *fmt, ...)
{
	char line[1024];
	va_list ap;

	if (st->nproblems == PROBLEMS_MAX)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	buf_adds(&st->problems[st->nproblems++], line);
}

/* Nobody needs to read of a cache without anything in it, but for main. */
static bool
shown(const struct status *st, size_t i)
{
	const struct index_status *c = &st->cache[i];
	size_t s;

	if (i == 0 || c->paths != 0)
		return true;
	for (s = 0; s < nitems(states); s++)
		if (c->state[s].count != 0)
			return true;
	return false;
}

const char *
tool_size(uint64_t bytes, char out[TOOL_SIZE_LEN + 1])
{
	static const char units[] = "KMGTPE";
	double v = (double)bytes;
	size_t u = 0;

	if (bytes < 1024) {
		snprintf(out, TOOL_SIZE_LEN + 1, "%" PRIu64 " B", bytes);
		return out;
	}
	for (v /= 1024; v >= 1023.95 && units[u + 1] != '\0'; u++)
		v /= 1024;
	snprintf(out, TOOL_SIZE_LEN + 1, "%.1f %ciB", v, units[u]);
	return out;
}

const char *
tool_age(int64_t s, char out[TOOL_AGE_LEN + 1])
{
	if (s < 0)
		s = 0;
	if (s < 60)
		snprintf(out, TOOL_AGE_LEN + 1, "%" PRId64 " s", s);
	else if (s < 3600)
		snprintf(out, TOOL_AGE_LEN + 1, "%" PRId64 " min", s / 60);
	else if (s < 86400)
		snprintf(out, TOOL_AGE_LEN + 1, "%" PRId64 " h %" PRId64 " min",
		    s / 3600, s % 3600 / 60);
	else
		snprintf(out, TOOL_AGE_LEN + 1, "%" PRId64 " d %" PRId64 " h",
		    s / 86400, s % 86400 / 3600);
	return out;
}

/* Text that came from elsewhere must not drive the terminal. */
static void
print_clean(const char *s)
{
	for (; *s != '\0'; s++)
		putchar(*s >= 0x20 && *s < 0x7f ? *s : '?');
}

static void
print_cache(const char *name, const struct index_status *c, int64_t now)
{
	char size[32], age[64];
	size_t s;

	printf("%s\n  %-9s %9" PRIu64 "  %s of NARs\n", name, "paths", c->paths,
	    tool_size(c->nar_bytes, size));
	if (c->unsigned_paths > 0)
		printf("  %-9s %9" PRIu64
		       "  no reader can use them: tmpnix sign, or push again\n",
		    "unsigned", c->unsigned_paths);
	if (c->spoiled > 0)
		printf("  %-9s %9" PRIu64 "  narinfos that are not served\n",
		    "spoiled", c->spoiled);
	for (s = 0; s < nitems(states); s++)
		printf("  %-9s %9" PRIu64 "  %s\n", states[s],
		    c->state[s].count, tool_size(c->state[s].bytes, size));
	if (c->oldest != 0)
		printf("  oldest not stored: %s\n",
		    tool_age(now - c->oldest, age));
	if (c->last_error[0] != '\0') {
		printf("  last error: ");
		print_clean(c->last_error_key);
		printf(": ");
		print_clean(c->last_error);
		putchar('\n');
	}
}

static void
print_check(const struct status *st, size_t i)
{
	const struct check *c = &st->check[i];
	const struct index_fsck *r = &c->row;
	char when[TOOL_TIME_LEN + 1], size[TOOL_SIZE_LEN + 1];

	printf("  %-9s ", checks[i]);
	if (!c->known) {
		printf("never\n");
		return;
	}
	if (c->runs)
		printf("runs since %s, ", tool_time(r->began, when));
	else if (r->phase[0] == '\0')
		printf("ended %s, ", tool_time(r->complete, when));
	else
		printf("%s %s, ",
		    i == 0 ? "was interrupted (tmpnix fsck --resume goes on)"
			   : "in the middle, last",
		    tool_time(r->noted, when));
	printf("%" PRIu64 " looked at, %s read, %" PRIu64 " problems, %" PRIu64
	       " repaired, %" PRIu64 " could not be looked at\n",
	    r->objects, tool_size(r->read, size), r->problems, r->repaired,
	    r->unknown);
	if (r->phase[0] != '\0' && r->complete != 0)
		printf("  %-9s the one before ended %s\n", "",
		    tool_time(r->complete, when));
}

static void
print_checks(const struct status *st)
{
	size_t i;

	printf("tmpnix fsck\n");
	for (i = 0; i < nitems(checks); i++)
		print_check(st, i);
	for (i = 0; i < st->nfindings && i < FINDINGS_MAX; i++) {
		printf("  found     ");
		print_clean(buf_str(&st->finding[i].key));
		printf(": ");
		print_clean(buf_str(&st->finding[i].what));
		putchar('\n');
	}
	if (st->nfindings > FINDINGS_MAX)
		printf("  and %zu more\n", st->nfindings - FINDINGS_MAX);
}

static void
print_site(const struct status *st)
{
	size_t i;

	printf("%s\n", st->conf->url);
	for (i = 0; i < SITE_CHECKS; i++) {
		printf("  %-13s  ", st->site[i].name);
		print_clean(buf_str(&st->site[i].says));
		putchar('\n');
	}
}

static void
print_text(const struct status *st)
{
	char size[32];
	size_t i;

	for (i = 0; i < nitems(caches); i++)
		if (shown(st, i))
			print_cache(caches[i], &st->cache[i], st->now);
	printf("%s\n  free      %s\n", st->conf->state_dir,
	    tool_size(st->free_bytes, size));
	if (st->lost > 0)
		printf("  lost      %" PRIu64
		       " files of %s in spool/lost, which the index does not "
		       "name: push again what is missing; removed after %d "
		       "days\n",
		    st->lost, tool_size(st->lost_bytes, size), SPOOL_LOST_DAYS);
	print_checks(st);
	if (!st->local)
		print_site(st);
	if (st->nproblems > 0)
		printf("a person should look\n");
	for (i = 0; i < st->nproblems; i++) {
		printf("  ");
		print_clean(buf_str(&st->problems[i]));
		putchar('\n');
	}
}

/*
 * A JSON string (RFC 8259, section 7).  What is not ASCII, and may not even be
 * UTF-8, comes out as U+FFFD a byte.
 */
static void
json_string(const char *s)
{
	unsigned char c;

	putchar('"');
	for (; (c = (unsigned char)*s) != '\0'; s++) {
		if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			printf("\\u%04x", (unsigned int)c);
		else if (c >= 0x80)
			printf("\\ufffd");
		else
			putchar(c);
	}
	putchar('"');
}

static void
json_cache(const struct index_status *c, int64_t now)
{
	size_t s;

	printf("{\"paths\":%" PRIu64 ",\"unsigned_paths\":%" PRIu64
	       ",\"spoiled_narinfos\":%" PRIu64 ",\"nar_bytes\":%" PRIu64
	       ",\"assets\":{",
	    c->paths, c->unsigned_paths, c->spoiled, c->nar_bytes);
	for (s = 0; s < nitems(states); s++)
		printf("%s\"%s\":{\"count\":%" PRIu64 ",\"bytes\":%" PRIu64 "}",
		    s > 0 ? "," : "", states[s], c->state[s].count,
		    c->state[s].bytes);
	printf("},\"oldest_not_stored_seconds\":");
	if (c->oldest != 0)
		printf("%" PRId64, now > c->oldest ? now - c->oldest : 0);
	else
		printf("null");
	printf(",\"last_error\":");
	if (c->last_error[0] != '\0') {
		printf("{\"key\":");
		json_string(c->last_error_key);
		printf(",\"message\":");
		json_string(c->last_error);
		printf("}");
	} else
		printf("null");
	printf("}");
}

static void
json_check(const struct status *st, size_t i)
{
	const struct check *c = &st->check[i];
	const struct index_fsck *r = &c->row;

	printf("\"%s\":", checks[i]);
	if (!c->known) {
		printf("null");
		return;
	}
	printf("{\"state\":\"%s\",\"began\":%" PRId64 ",\"last\":%" PRId64
	       ",\"complete\":%" PRId64 ",\"objects\":%" PRIu64
	       ",\"bytes_read\":%" PRIu64 ",\"problems\":%" PRIu64
	       ",\"repaired\":%" PRIu64 ",\"unknown\":%" PRIu64 "}",
	    c->runs		      ? "runs"
		: r->phase[0] == '\0' ? "ended"
				      : "interrupted",
	    r->began, r->noted, r->complete, r->objects, r->read, r->problems,
	    r->repaired, r->unknown);
}

static void
json_checks(const struct status *st)
{
	size_t i;

	printf(",\"fsck\":{");
	for (i = 0; i < nitems(checks); i++) {
		json_check(st, i);
		putchar(',');
	}
	printf("\"findings\":%zu,\"found\":[", st->nfindings);
	for (i = 0; i < st->nfindings && i < FINDINGS_MAX; i++) {
		printf("%s{\"key\":", i > 0 ? "," : "");
		json_string(buf_str(&st->finding[i].key));
		printf(",\"message\":");
		json_string(buf_str(&st->finding[i].what));
		printf(",\"found\":%" PRId64 "}", st->finding[i].found);
	}
	printf("]}");
}

static void
json_site(const struct status *st)
{
	const struct site_check *c;

	printf(",\"site\":{");
	for (c = st->site; c < st->site + SITE_CHECKS; c++) {
		if (c > st->site)
			putchar(',');
		json_string(c->name);
		printf(":{\"ok\":%s,\"message\":",
		    !c->asked	? "null"
			: c->ok ? "true"
				: "false");
		json_string(buf_str(&c->says));
		putchar('}');
	}
	putchar('}');
}

static void
print_json(const struct status *st)
{
	size_t i;

	printf("{\"state_dir\":");
	json_string(st->conf->state_dir);
	printf(",\"free_bytes\":%" PRIu64 ",\"spool_min_free_bytes\":%" PRIu64
	       ",\"lost\":{\"count\":%" PRIu64 ",\"bytes\":%" PRIu64
	       "},\"failed\":%s,\"caches\":{",
	    st->free_bytes, st->conf->spool_min_free, st->lost, st->lost_bytes,
	    st->failed ? "true" : "false");
	for (i = 0; i < nitems(caches); i++) {
		if (!shown(st, i))
			continue;
		/* main is first and always there. */
		printf("%s\"%s\":", i > 0 ? "," : "", caches[i]);
		json_cache(&st->cache[i], st->now);
	}
	printf("}");
	json_checks(st);
	if (!st->local)
		json_site(st);
	printf(",\"problems\":[");
	for (i = 0; i < st->nproblems; i++) {
		if (i > 0)
			putchar(',');
		json_string(buf_str(&st->problems[i]));
	}
	printf("]}\n");
}

/* What the index says of a cache. */
static void
look_at_cache(struct status *st, const char *name, const struct index_status *c)
{
	const int64_t age = c->oldest == 0 ? 0 : st->now - c->oldest;
	const uint64_t refused = c->state[ASSET_FAILED].count - c->missing;
	char text[TOOL_AGE_LEN + 1];

	if (c->missing != 0)
		problem(st,
		    "%s: the bytes of %" PRIu64
		    " objects are lost: push their paths again (tmpnix fsck "
		    "names them)",
		    name, c->missing);
	if (c->spoiled != 0)
		problem(st,
		    "%s: the index has %" PRIu64
		    " narinfos whose text is not what was written: push their "
		    "paths again, or run tmpnix fsck --repair, and look at the "
		    "disk",
		    name, c->spoiled);
	if (refused != 0) {
		st->failed = true;
		problem(st,
		    "%s: the asset store refused %" PRIu64
		    " objects for good: mend why, then run tmpnix retry",
		    name, refused);
	} else if (age > STUCK_SECONDS &&
	    (c->last_error[0] != '\0' || c->state[ASSET_RELAYING].count == 0))
		problem(st,
		    "%s: %" PRIu64 " objects wait to be stored, one for %s%s%s",
		    name,
		    c->state[ASSET_SPOOLED].count +
			c->state[ASSET_RELAYING].count,
		    tool_age(age, text), c->last_error[0] != '\0' ? ": " : "",
		    c->last_error);
}

/* What fsck found, and whether anything is checked at all. */
static void
look_at_checks(struct status *st)
{
	const struct check *scrub = &st->check[1];
	int64_t last = st->checks_since;
	size_t i;

	for (i = 0; i < nitems(checks); i++)
		if (st->check[i].row.complete > last)
			last = st->check[i].row.complete;
	if (st->nfindings > 0)
		problem(st,
		    "tmpnix fsck found %zu things wrong, such as %s: %s: run "
		    "tmpnix fsck%s --repair, which says what to push again",
		    st->nfindings, buf_str(&st->finding[0].key),
		    buf_str(&st->finding[0].what),
		    st->findings_of_bytes ? " --bytes" : "");
	if (st->now - last > UNCHECKED_DAYS * DAY)
		problem(st,
		    "nothing was checked to its end for %" PRId64
		    " days: enable tmpnix-fsck.timer, or have cron run tmpnix "
		    "fsck --scrub --bytes each day",
		    (st->now - last) / DAY);
	else if (scrub->known && !scrub->runs && scrub->row.noted > last &&
	    st->now - scrub->row.noted > UNSCRUBBED_DAYS * DAY)
		problem(st,
		    "tmpnix fsck --scrub ran %" PRId64
		    " days ago, and should each day: see tmpnix-fsck.timer",
		    (st->now - scrub->row.noted) / DAY);
}

static void
look(struct status *st)
{
	char a[TOOL_SIZE_LEN + 1], b[TOOL_SIZE_LEN + 1];
	const struct site_check *c;
	size_t i;

	for (i = 0; i < nitems(caches); i++)
		look_at_cache(st, caches[i], &st->cache[i]);
	look_at_checks(st);
	if (st->cache[0].paths == 0 && site_store_has_paths(st->conf))
		problem(st,
		    "the index has no path, but %s/%s has some: the index was "
		    "lost, or is another one's: put it back before anybody "
		    "pushes",
		    st->conf->state_dir, asset_file_dir(st->conf));
	if (st->free_bytes < st->conf->spool_min_free)
		problem(st,
		    "%s has %s free, less than spool_min_free (%s): uploads "
		    "are refused",
		    st->conf->state_dir, tool_size(st->free_bytes, a),
		    tool_size(st->conf->spool_min_free, b));
	for (c = st->site; !st->local && c < st->site + SITE_CHECKS; c++)
		if (c->asked && c->needed && !c->ok)
			problem(st, "%s: %s", c->name, buf_str(&c->says));
}

static int
collect_finding(const struct index_finding *f, void *arg)
{
	struct status *st = arg;
	struct finding *to = st->finding + st->nfindings;

	if ((f->options & INDEX_FSCK_BYTES) != 0)
		st->findings_of_bytes = true;
	if (st->nfindings++ < FINDINGS_MAX) {
		buf_addf(&to->key, "%s: %s", f->cache,
		    f->key[0] != '\0' ? f->key : f->phase);
		buf_adds(&to->what, f->what);
		to->found = f->found;
	}
	return 0;
}

static int
collect_checks(struct status *st, struct index *ix)
{
	size_t i;
	int dir, rc;

	dir = file_open_dir(AT_FDCWD, st->conf->state_dir, 0, false);
	for (i = 0; i < nitems(checks); i++) {
		rc = index_fsck_get(ix, checks[i], &st->check[i].row);
		if (rc == -1)
			break;
		st->check[i].known = rc == 1;
		st->check[i].runs = dir != -1 && fsck_runs(dir, checks[i]);
	}
	if (dir != -1)
		close(dir);
	return i < nitems(checks) ||
		index_fsck_since(ix, &st->checks_since) == -1 ||
		index_finding_each(
		    ix, INDEX_FINDINGS_MAX, collect_finding, st) == -1
	    ? -1
	    : 0;
}

static int
collect(struct tool *t, struct status *st)
{
	struct statvfs fs;
	struct index *ix;
	size_t i;
	int rc = -1;

	if ((ix = tool_index(t, INDEX_READ)) == NULL)
		return -1;
	st->conf = t->conf;
	for (i = 0; i < nitems(caches); i++) {
		if (index_status(ix, caches[i], &st->cache[i]) == -1) {
			tool_error("status: the index failed, see above");
			goto out;
		}
	}
	if (collect_checks(st, ix) == -1) {
		tool_error("status: the index failed, see above");
		goto out;
	}
	if (statvfs(st->conf->state_dir, &fs) == -1) {
		tool_error("%s: %m", st->conf->state_dir);
		goto out;
	}
	/* What is free for us, not for root. */
	st->free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	spool_lost(st->conf->state_dir, &st->lost, &st->lost_bytes);
	rc = 0;
out:
	index_close(ix);
	return rc;
}

int
status_run(struct tool *t, int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "local", no_argument, NULL, 'l' },
		{ NULL, 0, NULL, 0 },
	};
	struct status st = { .now = time(NULL) };
	bool json = false;
	size_t i;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'j')
			json = true;
		else if (c == 'l')
			st.local = true;
		else
			return tool_usage("status");
	}
	if (optind != argc)
		return tool_usage("status");
	if (collect(t, &st) == -1)
		return TOOL_FAILED;
	if (!st.local)
		site_ask(st.conf, st.site);
	look(&st);
	if (json)
		print_json(&st);
	else
		print_text(&st);
	site_clear(st.site);
	for (i = 0; i < st.nproblems; i++)
		buf_free(&st.problems[i]);
	for (i = 0; i < FINDINGS_MAX; i++) {
		buf_free(&st.finding[i].key);
		buf_free(&st.finding[i].what);
	}
	return st.nproblems > 0 ? TOOL_FAILED : TOOL_OK;
}
