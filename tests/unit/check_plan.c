/*
 * How SQLite carries out each statement of the index: by an index whose order
 * gives the rows that are wanted, not by reading, or sorting, all there are.
 * The planner knows no statistics, as we never ANALYZE.
 */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "index_db.h"
#include "scratch.h"
#include "unit.h"

/* Steps that read or sort more than they return. */
static const struct {
	enum statement which;
	const char *step; /* the beginning of SQLite's line */
	const char *reason;
} allowed[] = {
	/* SQLite 3.46 looks so for children of a new parent; it looks only
	 * after a violation, and none of our foreign keys is deferred (the
	 * statement's code begins that with FkIfZero). */
	{ ST_ASSET_INSERT, "SEARCH path USING PRIMARY KEY (cache=?)",
	    "a foreign key: not carried out" },
	{ ST_ASSET_IMPORT, "SEARCH path USING PRIMARY KEY (cache=?)",
	    "the same" },
	{ ST_CLOSURE, "SCAN closure", "the paths that were found so far" },
	{ ST_CLOSURE, "SCAN c", "the same" },
	{ ST_CLOSURE, "USE TEMP B-TREE FOR ORDER BY", "a closure, once" },
	{ ST_FREED_BY_NAR, "SCAN ", "the first so many that wait for it" },
	{ ST_FREED_BY_NARINFO, "SCAN ", "the same" },
	{ ST_SPOOL_BYTES, "SCAN total", "a row for each cache and state" },
	{ ST_WAITING_EACH, "USE TEMP B-TREE FOR ORDER BY",
	    "`tmpnix relay`: what waits, the first few kept" },
	{ ST_STATUS_ERROR, "USE TEMP B-TREE FOR ORDER BY",
	    "`tmpnix status`: what waits, one kept" },
	{ ST_STATUS_TOTAL, "SEARCH total USING PRIMARY KEY (cache=?)",
	    "a row for each state" },
	{ ST_STATUS_UNSIGNED, "SEARCH path USING INDEX path_unsigned",
	    "these alone, which nobody should have many of" },
	{ ST_LOST_COUNT, "SEARCH asset USING", "those that are lost, alone" },
	{ ST_SPOILED_COUNT, "SEARCH asset USING", "these alone" },
	{ ST_CHECK_TOTAL, "", "`tmpnix fsck` counts everything, once" },
	{ ST_TOTAL_ASSET, "SCAN asset", "`tmpnix fsck --repair`: the same" },
	{ ST_TOTAL_ASSET, "USE TEMP B-TREE", "the same" },
	{ ST_TOTAL_PATH, "SCAN path", "the same" },
	{ ST_NAR_ORPHAN, "SCAN nar",
	    "`tmpnix fsck --repair`, when it found"
	    " one" },
	{ ST_REALISATION_ORPHAN, "SCAN realisation", "the same" },
	{ ST_REFERENCE_ORPHAN, "SCAN reference", "the same" },
	{ ST_FINDING_PUT, "SCAN finding", "INDEX_FINDINGS_MAX at most" },
	{ ST_FINDING_EACH, "SCAN finding", "the same" },
	{ ST_FINDING_EACH, "USE TEMP B-TREE", "the same" },
	{ ST_TOKEN_EACH, "SCAN token", "`tmpnix token list`" },
	{ ST_AUDIT_EACH, "SCAN audit",
	    "`tmpnix log`: the last rows first, until it has enough" },
	{ ST_AUDIT_EACH, "SCAN (subquery", "those it has found" },
	{ ST_AUDIT_EACH, "USE TEMP B-TREE FOR ORDER BY", "the same, sorted" },
	{ ST_AUDIT_TOKEN, "SCAN (subquery", "what `tmpnix log` has found" },
	{ ST_AUDIT_TOKEN, "USE TEMP B-TREE FOR ORDER BY",
	    "`tmpnix log`: a token's rows since that time" },
};

/* Does this step read all rows, or all of a cache, or sort? */
static bool
is_long(const char *step)
{
	const char *end = strstr(step, "(cache=?)");

	if (strcmp(step, "SCAN CONSTANT ROW") == 0)
		return false;
	return strncmp(step, "SCAN ", 5) == 0 ||
	    strncmp(step, "USE TEMP B-TREE", 15) == 0 ||
	    (end != NULL && strcmp(end, "(cache=?)") == 0);
}

static bool
is_allowed(enum statement which, const char *step)
{
	size_t i;

	for (i = 0; i < nitems(allowed); i++)
		if (allowed[i].which == which &&
		    strncmp(step, allowed[i].step, strlen(allowed[i].step)) ==
			0)
			return true;
	return false;
}

START_TEST(a_statement_reads_the_rows_it_needs)
{
	char sql[8192];
	const char *step;
	sqlite3_stmt *st;
	struct index *ix;
	int n;

	scratch_make();
	ck_assert_ptr_nonnull(ix = index_open(scratch, INDEX_WRITE));
	n = snprintf(sql, sizeof(sql), "EXPLAIN QUERY PLAN %s", index_sql[_i]);
	ck_assert_int_lt(n, (int)sizeof(sql));
	ck_assert_ptr_nonnull(st = db_prepare(ix->db, sql));
	while (db_step(ix->db, st) == 1) {
		step = (const char *)sqlite3_column_text(st, 3);
		ck_assert_msg(
		    !is_long(step) || is_allowed((enum statement)_i, step),
		    "%s\n%s", index_sql[_i], step);
	}
	sqlite3_finalize(st);
	index_close(ix);
	scratch_remove();
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("plan");

	UNIT_ROWS(s, "statements", a_statement_reads_the_rows_it_needs, ST_MAX);
	return unit_main(s);
}
