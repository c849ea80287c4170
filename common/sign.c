#include "config.h"

#include "sign.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include <sodium.h>

#include "base32.h"
#include "file.h"

/* A name, a colon, base 64 of 64 bytes and a line feed. */
#define KEY_FILE_MAX (SIGN_NAME_MAX + 1 + BASE64_LEN(SIGN_SECRET_BYTES) + 1)

_Static_assert(SIGN_PUBLIC_BYTES == crypto_sign_PUBLICKEYBYTES, "public key");
_Static_assert(SIGN_SECRET_BYTES == crypto_sign_SECRETKEYBYTES, "secret key");
_Static_assert(SIGN_BYTES == crypto_sign_BYTES, "signature");

bool
sign_name_ok(const char *p, size_t n)
{
	size_t i;

	if (n == 0 || n > SIGN_NAME_MAX)
		return false;
	for (i = 0; i < n; i++)
		if (!((p[i] >= '0' && p[i] <= '9') ||
			(p[i] >= 'a' && p[i] <= 'z') ||
			(p[i] >= 'A' && p[i] <= 'Z') ||
			(p[i] != '\0' && strchr("._+-", p[i]) != NULL)))
			return false;
	return true;
}

/* The name in a signature: other people's keys are called what they like. */
static bool
foreign_name_ok(const char *p, size_t n)
{
	size_t i;

	if (n == 0 || n > SIGN_NAME_MAX)
		return false;
	for (i = 0; i < n; i++)
		if (p[i] <= ' ' || p[i] >= 0x7f)
			return false;
	return true;
}

/* "<name>:<base 64 of exactly size bytes>" */
static int
parse_pair(const char *p, size_t n, bool (*name_ok)(const char *, size_t),
    char name[SIGN_NAME_MAX + 1], uint8_t *bytes, size_t size)
{
	const char *colon;
	size_t len, got;

	if (n == 0 || (colon = memchr(p, ':', n)) == NULL)
		return -1;
	len = (size_t)(colon - p);
	if (!name_ok(p, len))
		return -1;
	if (base64_decode(colon + 1, n - len - 1, bytes, size, &got) == -1 ||
	    got != size)
		return -1;
	memcpy(name, p, len);
	name[len] = '\0';
	return 0;
}

static void
print_pair(const char *name, const uint8_t *bytes, size_t size, struct buf *out)
{
	char text[BASE64_LEN(SIGN_SECRET_BYTES) + 1];

	assert(size <= SIGN_SECRET_BYTES);
	base64_encode(bytes, size, text);
	buf_adds(out, name);
	buf_addch(out, ':');
	buf_adds(out, text);
	sodium_memzero(text, sizeof(text));
}

int
sign_public_parse(const char *p, size_t n, struct public_key *out)
{
	return parse_pair(
	    p, n, sign_name_ok, out->name, out->key, sizeof(out->key));
}

int
sign_secret_parse(const char *p, size_t n, struct secret_key *out)
{
	uint8_t public[SIGN_PUBLIC_BYTES], secret[SIGN_SECRET_BYTES];
	int rc = -1;

	if (parse_pair(p, n, sign_name_ok, out->name, out->key,
		sizeof(out->key)) == -1)
		goto out;
	/*
	 * Signing with a public half that is not the seed's gives away the
	 * seed to whoever sees two signatures of one text.
	 */
	crypto_sign_seed_keypair(public, secret, out->key);
	if (sodium_memcmp(secret, out->key, sizeof(secret)) == 0)
		rc = 0;
	sodium_memzero(secret, sizeof(secret));
out:
	if (rc == -1)
		sign_key_wipe(out);
	return rc;
}

int
sign_signature_parse(const char *p, size_t n, struct signature *out)
{
	return parse_pair(
	    p, n, foreign_name_ok, out->name, out->sig, sizeof(out->sig));
}

void
sign_public_print(const struct public_key *k, struct buf *out)
{
	print_pair(k->name, k->key, sizeof(k->key), out);
}

void
sign_secret_print(const struct secret_key *k, struct buf *out)
{
	print_pair(k->name, k->key, sizeof(k->key), out);
}

void
sign_signature_print(const struct signature *s, struct buf *out)
{
	print_pair(s->name, s->sig, sizeof(s->sig), out);
}

void
sign_key_generate(const char *name, struct secret_key *out)
{
	uint8_t public[SIGN_PUBLIC_BYTES];
	size_t len = strlen(name);

	assert(sign_name_ok(name, len));
	memcpy(out->name, name, len + 1);
	crypto_sign_keypair(public, out->key);
}

void
sign_key_public(const struct secret_key *k, struct public_key *out)
{
	memcpy(out->name, k->name, sizeof(out->name));
	crypto_sign_ed25519_sk_to_pk(out->key, k->key);
}

int
sign_key_load(const char *path, struct secret_key *out)
{
	struct buf b = BUF_INIT;
	int saved, rc = -1;

	/* All the room at once: a buffer that grows leaves copies behind. */
	if (buf_reserve(&b, KEY_FILE_MAX + 1) == NULL) {
		errno = ENOMEM;
		return -1;
	}
	if (file_read_secret(path, KEY_FILE_MAX, &b) == -1) {
		if (errno == EFBIG)
			errno = EINVAL;
		goto out;
	}
	if (b.len > 0 && b.p[b.len - 1] == '\n')
		b.len--;
	if (sign_secret_parse(b.p, b.len, out) == -1) {
		errno = EINVAL;
		goto out;
	}
	rc = 0;
out:
	saved = errno;
	sodium_memzero(b.p, b.cap);
	buf_free(&b);
	errno = saved;
	return rc;
}

void
sign_key_wipe(struct secret_key *k)
{
	sodium_memzero(k, sizeof(*k));
}

struct secret_key *
sign_keys_new(size_t n)
{
	return sodium_allocarray(n, sizeof(struct secret_key));
}

void
sign_keys_free(struct secret_key *keys)
{
	sodium_free(keys);
}

void
sign_make(
    const struct secret_key *k, const void *p, size_t n, struct signature *out)
{
	memcpy(out->name, k->name, sizeof(out->name));
	crypto_sign_detached(out->sig, NULL, p, n, k->key);
}

bool
sign_verify(const struct public_key *k, const struct signature *sig,
    const void *p, size_t n)
{
	return strcmp(k->name, sig->name) == 0 &&
	    crypto_sign_verify_detached(sig->sig, p, n, k->key) == 0;
}
