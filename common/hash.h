/*
 * SHA-256 over a stream, and HMAC by it, by libcrypto.
 *
 * A struct hash belongs to one thread.
 */
#ifndef HASH_H
#define HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DIGEST_BYTES 32
/* Its length in Nix's base 32, without the NUL. */
#define DIGEST_BASE32 52

struct digest {
	uint8_t b[DIGEST_BYTES];
};

struct hash;

/* A fresh computation; NULL when libcrypto has no memory. */
struct hash *hash_new(void);
void hash_free(struct hash *h);

/* Start over, e.g. to use h for the next body. */
void hash_reset(struct hash *h);
void hash_add(struct hash *h, const void *p, size_t n);

/* The digest of all that was added; h must be reset before further use. */
void hash_final(struct hash *h, struct digest *d);

/* All at once. */
void hash_sha256(const void *p, size_t n, struct digest *d);

/* HMAC-SHA-256 (RFC 2104) of (p, n) under key. */
void hash_hmac(
    const void *key, size_t keylen, const void *p, size_t n, struct digest *d);

bool digest_equal(const struct digest *a, const struct digest *b);

/* Into Nix's base 32, NUL-terminated, and back (0, or -1 when malformed). */
void digest_to_base32(const struct digest *d, char out[DIGEST_BASE32 + 1]);
int digest_from_base32(const char *p, size_t n, struct digest *d);

#endif
