/*
 * Ed25519 signatures over narinfo fingerprints, and Nix's key files.
 *
 * A public key is "<name>:<base64 of 32 bytes>", a secret key file holds
 * "<name>:<base64 of 64 bytes>" (seed and public key, as libsodium has it), a
 * signature "<name>:<base64 of 64 bytes>".  Source: Nix manual, nix key
 * generate-secret; src/libutil/signature/local-keys.cc.
 *
 * The fingerprint (what is signed) is
 *   1;<store path>;sha256:<NarHash in base 32>;<NarSize>;<references>
 * with the references as full store paths, sorted, separated by commas;
 * narinfo.h prints it.
 *
 * Nothing here does I/O except sign_key_load.  Any thread; keys are const
 * after they were made.  Call sodium_init() first.
 */
#ifndef SIGN_H
#define SIGN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"

#define SIGN_NAME_MAX 128
#define SIGN_PUBLIC_BYTES 32
#define SIGN_SECRET_BYTES 64
#define SIGN_BYTES 64

struct public_key {
	char name[SIGN_NAME_MAX + 1];
	uint8_t key[SIGN_PUBLIC_BYTES];
};

struct secret_key {
	char name[SIGN_NAME_MAX + 1];
	uint8_t key[SIGN_SECRET_BYTES];
};

struct signature {
	char name[SIGN_NAME_MAX + 1];
	uint8_t sig[SIGN_BYTES];
};

/* May (p, n) name a key: 1 to SIGN_NAME_MAX of [0-9a-zA-Z._+-]? */
bool sign_name_ok(const char *p, size_t n);

/*
 * Each parses exactly (p, n): 0, or -1 with *out undefined.  A key's name must
 * be sign_name_ok and a secret key's halves must belong together; a signature
 * may be by a key of any name of printable ASCII without space and colon,
 * since other people's signatures travel with what they push.
 */
int sign_public_parse(const char *p, size_t n, struct public_key *out);
int sign_secret_parse(const char *p, size_t n, struct secret_key *out);
int sign_signature_parse(const char *p, size_t n, struct signature *out);

/* Append the text form, without a newline.  The secret's buffer: wipe it. */
void sign_public_print(const struct public_key *k, struct buf *out);
void sign_secret_print(const struct secret_key *k, struct buf *out);
void sign_signature_print(const struct signature *s, struct buf *out);

/* A new key; name must be sign_name_ok. */
void sign_key_generate(const char *name, struct secret_key *out);
void sign_key_public(const struct secret_key *k, struct public_key *out);

/*
 * Read a secret key file (one line; permissions as file_read_secret asks).
 * 0, or -1 with errno set; EINVAL when it is not a secret key.
 */
int sign_key_load(const char *path, struct secret_key *out);

/* Overwrite with zeros. */
void sign_key_wipe(struct secret_key *k);

/*
 * Room for n secret keys, kept out of swap as far as the system lets us, and
 * out of reach of overruns elsewhere.  NULL without memory.
 */
struct secret_key *sign_keys_new(size_t n);
/* Wipe and free it; NULL is harmless. */
void sign_keys_free(struct secret_key *keys);

/* Sign (p, n); verify: true when sig is k's over (p, n), names equal too. */
void sign_make(
    const struct secret_key *k, const void *p, size_t n, struct signature *out);
bool sign_verify(const struct public_key *k, const struct signature *sig,
    const void *p, size_t n);

#endif
