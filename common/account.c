#include "config.h"

#include "account.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "num.h"

#define NAME_BYTES_MAX 64
/* The largest id; the one above means "none" to chown(2) and the like. */
#define ID_MAX (UINT32_MAX - 1)

static bool
parse_id(const char *text, uint64_t *id)
{
	return num_parse(text, strlen(text), ID_MAX, id) == 0;
}

static const char *
find_user(const char *name, uid_t *uid, gid_t *gid)
{
	struct passwd *pw;
	uint64_t id;

	if (parse_id(name, &id)) {
		*uid = (uid_t)id;
		if ((pw = getpwuid(*uid)) != NULL)
			*gid = pw->pw_gid;
		return NULL;
	}
	if ((pw = getpwnam(name)) == NULL)
		return "there is no such user";
	*uid = pw->pw_uid;
	*gid = pw->pw_gid;
	return NULL;
}

static const char *
find_group(const char *name, gid_t *gid)
{
	struct group *gr;
	uint64_t id;

	if (parse_id(name, &id)) {
		*gid = (gid_t)id;
		return NULL;
	}
	if ((gr = getgrnam(name)) == NULL)
		return "there is no such group";
	*gid = gr->gr_gid;
	return NULL;
}

const char *
account_parse(const char *text, uid_t *uid, gid_t *gid)
{
	char user[NAME_BYTES_MAX];
	size_t n = strcspn(text, ":");
	const char *group = text[n] == ':' ? text + n + 1 : NULL, *why;

	*uid = (uid_t)-1;
	*gid = (gid_t)-1;
	if (n >= sizeof(user) || (n == 0 && group == NULL) ||
	    (group != NULL && group[0] == '\0'))
		return "not USER, USER:GROUP or :GROUP";
	memcpy(user, text, n);
	user[n] = '\0';
	if (n > 0 && (why = find_user(user, uid, gid)) != NULL)
		return why;
	return group != NULL ? find_group(group, gid) : NULL;
}

char *
account_name(uid_t uid)
{
	struct passwd *pw = getpwuid(uid);

	return pw != NULL ? strdup(pw->pw_name) : NULL;
}
