/*
 * tmpnix, the administrator's command: what its subcommands share.
 *
 * A subcommand is a function in the table of tmpnix.c.  It gets what stands
 * behind its name (argv[0] is "tmpnix" and that name), prints results on
 * stdout and errors by tool_error, and returns an exit status.  One thread.
 */
#ifndef TMPNIX_H
#define TMPNIX_H

#include <sys/types.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf.h"
#include "index.h"
#include "sign.h"

enum {
	TOOL_OK = 0,
	TOOL_FAILED = 1,
	TOOL_USAGE = 2,
};

struct tool {
	const char *conf_file;
	struct conf *conf; /* NULL until tool_conf was called */
	bool clean; /* the index was as a clean stop left it */
};

int init_run(struct tool *t, int argc, char **argv);
int key_generate_run(struct tool *t, int argc, char **argv);
int token_add_run(struct tool *t, int argc, char **argv);
int token_list_run(struct tool *t, int argc, char **argv);
int token_revoke_run(struct tool *t, int argc, char **argv);
int sign_run(struct tool *t, int argc, char **argv);
int log_run(struct tool *t, int argc, char **argv);
int status_run(struct tool *t, int argc, char **argv);
int relay_run(struct tool *t, int argc, char **argv);
int fsck_run(struct tool *t, int argc, char **argv);
int retry_run(struct tool *t, int argc, char **argv);
int client_conf_run(struct tool *t, int argc, char **argv);

/*
 * Write "tmpnix: " and the message as one line to stderr, control bytes
 * replaced.  "%m" in fmt is the text of errno.
 */
void tool_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The same without "tmpnix: ": a hint, not an error. */
void tool_hint(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Say on stderr how the subcommand is used; returns TOOL_USAGE. */
int tool_usage(const char *command);

/* Print the subcommand's help on stdout; returns TOOL_OK. */
int tool_help(const char *command);

/* The configuration, loaded once; NULL after an error that was reported. */
const struct conf *tool_conf(struct tool *t);

/*
 * As root, become the owner of the state directory, if there is one, for good:
 * what is made in there has to be the programs' own, and what others than root
 * can write is not root's to trust.  Exits when that fails.
 */
void tool_become_owner(const struct conf *conf);

/*
 * Become the owner (see above) and open the index below the configuration's
 * state_dir, which tmpnix init must have made; NULL after an error that was
 * reported.
 */
struct index *tool_index(struct tool *t, enum index_mode mode);

/* One part of the site, asked whether it is well. */
struct site_check {
	const char *name; /* static */
	bool asked; /* could be */
	bool ok;
	bool needed; /* a person should look when it is not */
	struct buf says; /* one line */
};
#define SITE_CHECKS 4

/*
 * Ask the three programs, through the web server at conf's url, and the asset
 * store.  Takes seconds where somebody does not answer.  Free checks by
 * site_clear.
 */
void site_ask(const struct conf *conf, struct site_check checks[SITE_CHECKS]);
void site_clear(struct site_check checks[SITE_CHECKS]);

/* Has the file store, wherever it is for conf, any narinfo? */
bool site_store_has_paths(const struct conf *conf);

/* Name t: 0, or -1 when the name can't be one, reported for command. */
int token_set_name(struct token *t, const char *name, const char *command);

/*
 * Make a secret for t, enter t into the index, and print on stdout what print
 * makes of its netrc line; the secret is in no other place, ever.  TOOL_OK, or
 * TOOL_FAILED reported for command, and then there is no such token.
 */
int token_make(struct tool *tool, struct token *t, const char *command,
    void (*print)(const char *netrc_line, struct buf *out, void *arg),
    void *arg);

/* ISO 8601 in UTC, "never" for 0. */
#define TOOL_TIME_LEN 20
const char *tool_time(int64_t when, char out[TOOL_TIME_LEN + 1]);

/* "17 B", "1.4 GiB" */
#define TOOL_SIZE_LEN 31
const char *tool_size(uint64_t bytes, char out[TOOL_SIZE_LEN + 1]);

/* "42 s", "3 h 12 min" */
#define TOOL_AGE_LEN 63
const char *tool_age(int64_t seconds, char out[TOOL_AGE_LEN + 1]);

/*
 * Make the key files BASE.sec (0600) and BASE.pub (0644) for a new key called
 * name under the directory path dir.  Neither may exist.  *pub is the public
 * key.  0, or -1 after an error that was reported, with neither file made.
 */
int key_make(const char *dir, const char *base, const char *name,
    struct public_key *pub);

/* Write the public half of a key to BASE.pub under dir: 0, or -1 reported. */
int key_write_public(
    const char *dir, const char *base, const struct public_key *pub);

#endif
