/*
 * tmpnix.conf: "key = value" lines, "#" comments, one file for all programs.
 *
 * Every key has a default.  Unknown keys, duplicates and bad values are errors;
 * all of them are reported, each as "file:line: ...", before the load fails.
 * tmpnix.conf(5) has a paragraph for each key of the table in conf.c.
 *
 * A struct conf is const after it was loaded: any thread may read it.
 */
#ifndef CONF_H
#define CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "log.h"
#include "netaddr.h"

/* The two caches of an installation: packages, and their derivations. */
#define CACHE_MAIN "main"
#define CACHE_DRV "drv"

enum conf_eval { CONF_EVAL_RESTRICTED, CONF_EVAL_IMPURE };

/* A line "file.NAME = PATH": what tmpnix-drv may instantiate. */
struct conf_file {
	char *name;
	char *path;
};

#define CONF_FILE_NAME_MAX 64
enum conf_store { CONF_STORE_FILE, CONF_STORE_GLITCH, CONF_STORE_S3 };
enum conf_relay { CONF_WRITE_BACK, CONF_WRITE_THROUGH };
enum conf_narinfo {
	CONF_NARINFO_AUTO,
	CONF_NARINFO_REDIRECT,
	CONF_NARINFO_INLINE
};
enum conf_verify { CONF_VERIFY_NAR, CONF_VERIFY_FILE };

struct conf {
	char *state_dir; /* absolute; index.db, spool/, store/ */
	char *user; /* USER[:GROUP] to become when started as root, or NULL */
	bool sandbox;
	char *store_dir; /* Nix's StoreDir, e.g. /nix/store */
	char *url; /* http(s)://HOST[:PORT], no slash at the end */
	bool want_mass_query;
	uint64_t priority;
	char *public_key_file; /* absolute; shown to people; NULL: none */
	char *drv_public_key_file; /* the same for /drv/ */
	uint64_t threads; /* FastCGI threads of each program */
	char *body_dir; /* where the web server leaves bodies, or NULL */
	uint64_t spool_min_free; /* bytes to leave free, else 507 */
	uint64_t max_upload_size; /* bytes of one nar/ body; 0: no limit */
	uint64_t max_meta_size; /* bytes of any other body, decoded */
	enum conf_verify verify;
	uint64_t verify_workers;
	uint64_t max_nar_size; /* bytes of a NAR, unpacked */
	uint64_t max_nar_cpu; /* seconds of a processor: see verify.h */
	uint64_t max_nar_ratio; /* bytes unpacked of one sent */
	bool check_references;
	bool require_signature;
	char *trusted_public_keys; /* separated by blanks, or NULL */
	char *secret_key_file; /* absolute paths, blanks between, or NULL */
	bool public_reads;
	struct netblocks trusted_proxies;
	struct netblocks web_servers;
	enum conf_store asset_store;
	char *tls_ca_file; /* NULL: the system's */
	char *glitch_project; /* NULL: none */
	char *glitch_token_file;
	char *glitch_api; /* URLs, like url */
	char *glitch_upload;
	char *glitch_cdn;
	char *glitch_cdn_large;
	char *s3_endpoint;
	char *s3_region;
	char *s3_bucket; /* NULL: none */
	char *s3_prefix; /* "" or ends with a slash */
	bool s3_virtual_host;
	char *s3_credentials_file;
	char *s3_public_url; /* may have a path; NULL: presigned URLs */
	uint64_t s3_url_expires; /* seconds */
	enum conf_relay relay;
	uint64_t relay_workers;
	uint64_t relay_timeout; /* seconds a transfer may stand still */
	uint64_t relay_wait; /* seconds a write-through PUT waits */
	uint64_t spool_max; /* bytes; 0: no limit */
	uint64_t spool_wait; /* seconds */
	enum conf_narinfo narinfo;
	uint64_t stop_timeout; /* seconds */
	enum log_level log_level;

	struct conf_file *files; /* by name, ascending */
	size_t nfiles;
	char *drv_overlays; /* NIX_PATH's nixpkgs-overlays, or NULL */
	char *drv_nix_path; /* or NULL */
	char *drv_args; /* words, single blanks between, or NULL */
	enum conf_eval drv_eval;
	char *drv_store_dir; /* never NULL: store_dir unless given */
	char *drv_state_dir; /* never NULL: state_dir/nix unless given */
	char *drv_secret_key_file; /* absolute, never NULL */
	char *nix_bin_dir;
	uint64_t drv_timeout; /* seconds */
	uint64_t drv_jobs;
	uint64_t drv_queue;
	uint64_t drv_memory; /* bytes of address space; 0: no limit */
	uint64_t drv_cpu; /* seconds; 0: no limit */

	char **texts; /* conf.c's: each key's value as it was written */
};

/*
 * Parse the text (p, n) of a configuration; name stands for the file in the
 * messages, which are appended to errs, a line each.  Returns a new conf, or
 * NULL when there was any message.  No I/O.
 */
struct conf *conf_parse(
    const char *p, size_t n, const char *name, struct buf *errs);

/* The same for a file; one that can't be read is a message too. */
struct conf *conf_load(const char *file, struct buf *errs);

/* Names of keys, separated by ", ". */
struct conf_changes {
	struct buf taken;
	struct buf kept; /* as they were: a restart is needed for them */
};

/*
 * Load the file for a program that runs with old already: a new conf that has
 * of the file what can change while a program runs, and all else as old has
 * it.  That is so for file.NAME too, unless there was none.  What differs is
 * added to ch.  NULL with messages in errs, as conf_load.
 */
struct conf *conf_reload(const struct conf *old, const char *file,
    struct conf_changes *ch, struct buf *errs);
void conf_free(struct conf *c);

/* May (p, n) be the NAME of a file. key? */
bool conf_file_name_ok(const char *p, size_t n);

/* The path of the file of this name, NULL when there is none. */
const char *conf_file_find(const struct conf *c, const char *name);

/* The i-th key's name, for tests and documentation; NULL behind the last. */
const char *conf_key(size_t i);
/* Does conf_reload take it from the file? */
bool conf_key_live(size_t i);

#endif
