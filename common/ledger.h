/*
 * What tokens have cost this process, until the index has it.
 *
 * No write of its own: the index gets it with the verdict on a NAR, with a
 * token's last use, which is noted once a minute, and at the end of the
 * process.  What a process that is killed had not written is lost.
 *
 * Any thread.
 */
#ifndef LEDGER_H
#define LEDGER_H

#include "index.h"

struct ledger;

struct ledger *ledger_new(void);
void ledger_free(struct ledger *l);

/* Add to what a token (by its name; "": nobody's) has cost.  NULL is
 * harmless. */
void ledger_add(
    struct ledger *l, const char *token, const struct token_cost *cost);

/* index_nar_put, with what this token has cost so far (l may be NULL). */
int ledger_nar_put(struct ledger *l, struct index *ix, const char *token,
    const char *cache, const char *key, const struct verified *v, int64_t now);

/* index_token_used, with the same. */
void ledger_used(
    struct ledger *l, struct index *ix, const struct token *t, int64_t now);

/* Write all of it into the index below state_dir.  The last thread. */
void ledger_write(struct ledger *l, const char *state_dir);

#endif
