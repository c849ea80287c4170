/*
 * Who is asking: the Authorization header against the token table.
 *
 * Basic (what Nix sends from a netrc: the secret is the password; the user is
 * the token's name, AUTH_ANY_USER or empty) and Bearer.  The index keeps only
 * the SHA-256 of a secret; secrets are 256 random bits, so the digest can't be
 * searched for, and the lookup by digest tells a guesser nothing.
 *
 * INVARIANT I9: secrets are wiped after use and never logged.
 */
#ifndef AUTH_H
#define AUTH_H

#include <stddef.h>
#include <stdint.h>

#include "hash.h"
#include "index.h"

/*
 * The user for who has a token and not its name.  A netrc without any is read
 * wrongly by curl when a "default" follows.
 */
#define AUTH_ANY_USER "tmpnix"

struct credentials {
	char user[TOKEN_NAME_MAX + 1]; /* "" when none was sent */
	struct digest secret; /* SHA-256 of the secret sent */
};

enum auth_rc {
	AUTH_OK,
	AUTH_MISSING, /* no credentials were sent */
	AUTH_BAD, /* malformed, unknown, expired or revoked */
	AUTH_SCOPE, /* known, but not for this */
	AUTH_ERROR, /* the index failed */
};

/*
 * Parse an Authorization header's value: AUTH_OK with *c filled, AUTH_MISSING
 * when n is 0, AUTH_BAD.  Pure: any thread.
 */
enum auth_rc auth_parse(const char *p, size_t n, struct credentials *c);

/*
 * May the sender of this header (NULL: none was sent) do what scope (SCOPE_
 * bits, each of which suffices) says?  SCOPE_ADMIN includes all others.  On
 * AUTH_OK and AUTH_SCOPE *t is the token.
 */
enum auth_rc auth_check(struct index *ix, const char *header,
    unsigned int scope, int64_t now, struct token *t);

/* The text form of a secret: "tmpnix_" and 43 characters of URL-safe base 64.
 */
#define AUTH_SECRET_LEN 50

/* Make a new secret and its digest.  The caller wipes secret. */
void auth_secret_new(char secret[AUTH_SECRET_LEN + 1], struct digest *d);

#endif
