/*
 * The lines that people paste to use a cache: for nix.conf, to push, for the
 * builder's tools, for NixOS and CI services, and the script that sets a client
 * up.  The page of the cache, tmpnix client-conf and quickstart print them from
 * here, and tests/lint/lines.sh compares the documentation's with them.
 *
 * All but client_lines_load is text made of a struct: no I/O, any thread.
 */
#ifndef CLIENT_LINES_H
#define CLIENT_LINES_H

#include <stdbool.h>

#include "buf.h"
#include "conf.h"

/* Where Nix looks for a netrc by itself. */
#define CLIENT_NETRC "/etc/nix/netrc"

struct client_lines {
	const char *url; /* of the site, as in the configuration */
	const char *store_dir;
	bool private; /* reading takes a token */
	const char *netrc; /* the client's file: client_netrc_ok */
	struct buf host; /* of url, without port and brackets */
	struct buf key, drv_key; /* public keys; empty: not known */
};

/*
 * Fill in what conf says, with CLIENT_NETRC, and the public keys from their
 * files; a file that can't be read or holds no key leaves its key empty.
 * Strings stay conf's.
 */
void client_lines_load(struct client_lines *cl, const struct conf *conf);
void client_lines_clear(struct client_lines *cl);

/* Append the host of a configuration's URL, without port and brackets. */
void client_url_host(const char *url, struct buf *out);

/* May it stand in the lines as it is: absolute, of plain characters only? */
bool client_netrc_ok(const char *path);

/* For nix.conf; with_netrc: where the netrc is, too. */
void client_nix_conf(
    const struct client_lines *cl, bool with_netrc, struct buf *out);

/* A command that pushes the paths, which are words of a shell. */
void client_push(
    const struct client_lines *cl, const char *paths, struct buf *out);
/* A path of which that is an example on any machine, and no secret. */
extern const char client_push_example[];

/* A command that fetches a derivation of the cache of derivations. */
void client_fetch_drv(const struct client_lines *cl, struct buf *out);

/* Commands that set up the machine they are given on, by client_setup. */
void client_setup_command(const struct client_lines *cl, struct buf *out);

/* client.conf of tmpnix-build and the hook. */
void client_builder(const struct client_lines *cl, struct buf *out);

/* A module of NixOS; steps of GitHub Actions; a job of GitLab CI. */
void client_nixos(const struct client_lines *cl, struct buf *out);
void client_github(const struct client_lines *cl, struct buf *out);
void client_gitlab(const struct client_lines *cl, struct buf *out);

/* The script tools/client-setup.sh, for this cache. */
void client_setup(const struct client_lines *cl, struct buf *out);

#endif
