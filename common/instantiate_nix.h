/*
 * One instantiation by Nix's own programs: evaluate, copy, check, enter.  For
 * instantiate.c, which decides when and how many.
 */
#ifndef INSTANTIATE_NIX_H
#define INSTANTIATE_NIX_H

#include "instantiate.h"
#include "sign.h"

struct nix;

/* store must stay; NULL (logged). */
struct nix *nix_new(const struct conf *conf, struct asset_store *store);
void nix_free(struct nix *nix);

/* Is there what instantiations need?  0 with *key, or -1 (logged). */
int nix_check(const struct conf *conf, struct public_key *key);

struct nix_job {
	const struct conf *conf;
	const char *file; /* a path */
	const char *attr;
	bool (*go_on)(void *arg); /* as in proc.h */
	void *arg;
};

/* OK, FAILED, TIMEOUT, GONE or ERROR; any number of threads at once. */
enum instantiate_rc nix_instantiate(struct nix *nix, struct index *ix,
    const struct nix_job *job, struct instantiated *result);

#endif
