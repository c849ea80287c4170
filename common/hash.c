#include "config.h"

#include "hash.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base32.h"
#include "log.h"

struct hash {
	EVP_MD_CTX *ctx;
};

/* openssl.cnf has no say in a SHA-256, and to read it costs each program 0.7
 * MB. (libcurl, where it is loaded, has read it before.) */
static const EVP_MD *
sha256(void)
{
	OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL);
	return EVP_sha256();
}

struct hash *
hash_new(void)
{
	struct hash *h;

	if ((h = malloc(sizeof(*h))) == NULL)
		return NULL;
	if ((h->ctx = EVP_MD_CTX_new()) == NULL) {
		free(h);
		return NULL;
	}
	hash_reset(h);
	return h;
}

void
hash_free(struct hash *h)
{
	if (h == NULL)
		return;
	EVP_MD_CTX_free(h->ctx);
	free(h);
}

/*
 * SHA-256 in memory can't fail but for a libcrypto without it: nothing that
 * this program does makes sense then.
 */
void
hash_reset(struct hash *h)
{
	if (EVP_DigestInit_ex(h->ctx, sha256(), NULL) != 1)
		fatalx("libcrypto: no SHA-256");
}

void
hash_add(struct hash *h, const void *p, size_t n)
{
	if (EVP_DigestUpdate(h->ctx, p, n) != 1)
		fatalx("libcrypto: SHA-256 failed");
}

void
hash_final(struct hash *h, struct digest *d)
{
	unsigned int n = 0;

	if (EVP_DigestFinal_ex(h->ctx, d->b, &n) != 1 || n != DIGEST_BYTES)
		fatalx("libcrypto: SHA-256 failed");
}

void
hash_sha256(const void *p, size_t n, struct digest *d)
{
	if (EVP_Digest(p, n, d->b, NULL, sha256(), NULL) != 1)
		fatalx("libcrypto: SHA-256 failed");
}

void
hash_hmac(
    const void *key, size_t keylen, const void *p, size_t n, struct digest *d)
{
	unsigned int len = 0;

	if (keylen > INT_MAX ||
	    HMAC(sha256(), key, (int)keylen, p, n, d->b, &len) == NULL ||
	    len != DIGEST_BYTES)
		fatalx("libcrypto: HMAC failed");
}

bool
digest_equal(const struct digest *a, const struct digest *b)
{
	return memcmp(a->b, b->b, DIGEST_BYTES) == 0;
}

void
digest_to_base32(const struct digest *d, char out[DIGEST_BASE32 + 1])
{
	base32_encode(d->b, DIGEST_BYTES, out);
}

int
digest_from_base32(const char *p, size_t n, struct digest *d)
{
	return base32_decode(p, n, d->b, DIGEST_BYTES);
}
