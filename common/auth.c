#include "config.h"

#include "auth.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include <sodium.h>

/* A header longer than this is nobody's. */
#define HEADER_MAX 1024
#define SECRET_BYTES 32
#define PREFIX "tmpnix_"

static_assert(
    sizeof(PREFIX) - 1 + (SECRET_BYTES * 4 + 2) / 3 == AUTH_SECRET_LEN,
    "URL-safe base 64 of a secret, unpadded, behind the prefix");

/* "user:password" of a Basic header (RFC 7617). */
static enum auth_rc
parse_basic(const char *p, size_t n, struct credentials *c)
{
	char plain[HEADER_MAX];
	const char *colon, *end;
	size_t len = 0, user;
	enum auth_rc rc = AUTH_BAD;

	if (sodium_base642bin((unsigned char *)plain, sizeof(plain), p, n, NULL,
		&len, &end, sodium_base64_VARIANT_ORIGINAL) != 0 ||
	    end != p + n)
		goto out;
	if ((colon = memchr(plain, ':', len)) == NULL)
		goto out;
	user = (size_t)(colon - plain);
	if (user > TOKEN_NAME_MAX || memchr(plain, '\0', user) != NULL)
		goto out;
	memcpy(c->user, plain, user);
	c->user[user] = '\0';
	hash_sha256(colon + 1, len - user - 1, &c->secret);
	rc = AUTH_OK;
out:
	sodium_memzero(plain, sizeof(plain));
	return rc;
}

enum auth_rc
auth_parse(const char *p, size_t n, struct credentials *c)
{
	const char *space;
	size_t scheme;

	memset(c, 0, sizeof(*c));
	if (n == 0)
		return AUTH_MISSING;
	if (n > HEADER_MAX || (space = memchr(p, ' ', n)) == NULL)
		return AUTH_BAD;
	scheme = (size_t)(space - p);
	while (space < p + n && *space == ' ')
		space++;
	n -= (size_t)(space - p);
	if (scheme == 5 && strncasecmp(p, "Basic", scheme) == 0)
		return parse_basic(space, n, c);
	if (scheme == 6 && strncasecmp(p, "Bearer", scheme) == 0 && n > 0) {
		hash_sha256(space, n, &c->secret);
		return AUTH_OK;
	}
	return AUTH_BAD;
}

/* May this user have sent the secret of the token called name? */
static bool
user_ok(const char *user, const char *name)
{
	return user[0] == '\0' || strcmp(user, AUTH_ANY_USER) == 0 ||
	    strcmp(user, name) == 0;
}

enum auth_rc
auth_check(struct index *ix, const char *header, unsigned int scope,
    int64_t now, struct token *t)
{
	struct credentials c;
	enum auth_rc rc;

	rc = auth_parse(header, header == NULL ? 0 : strlen(header), &c);
	if (rc != AUTH_OK)
		return rc;
	switch (index_token_find(ix, &c.secret, t)) {
	case 1:
		break;
	case 0:
		return AUTH_BAD;
	default:
		return AUTH_ERROR;
	}
	/* The lookup found it by digest; compare again in constant time. */
	if (sodium_memcmp(t->secret.b, c.secret.b, DIGEST_BYTES) != 0 ||
	    !user_ok(c.user, t->name) || (t->expires != 0 && t->expires <= now))
		return AUTH_BAD;
	if ((t->scopes & (scope | SCOPE_ADMIN)) == 0)
		return AUTH_SCOPE;
	return AUTH_OK;
}

void
auth_secret_new(char secret[AUTH_SECRET_LEN + 1], struct digest *d)
{
	uint8_t raw[SECRET_BYTES];
	const size_t prefix = sizeof(PREFIX) - 1;

	randombytes_buf(raw, sizeof(raw));
	memcpy(secret, PREFIX, prefix);
	sodium_bin2base64(secret + prefix, AUTH_SECRET_LEN + 1 - prefix, raw,
	    sizeof(raw), sodium_base64_VARIANT_URLSAFE_NO_PADDING);
	sodium_memzero(raw, sizeof(raw));
	hash_sha256(secret, AUTH_SECRET_LEN, d);
}
