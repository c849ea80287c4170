#include "config.h"

#include "storepath.h"

#include <string.h>

#include "base32.h"

static bool
name_char(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
	    (c >= 'A' && c <= 'Z') ||
	    (c != '\0' && strchr("+-._?=", c) != NULL);
}

bool
storepath_name_ok(const char *p, size_t n)
{
	size_t i, dots;

	if (n == 0 || n > STORE_NAME_MAX)
		return false;
	for (i = 0; i < n; i++)
		if (!name_char(p[i]))
			return false;
	/* One or two dots: neither the whole name nor all before a "-". */
	for (dots = 0; dots < n && p[dots] == '.'; dots++)
		;
	if (dots == 1 || dots == 2)
		return dots < n && p[dots] != '-';
	return true;
}

int
hash_part_parse(const char *p, size_t n, struct hash_part *out)
{
	size_t i;

	if (n != HASH_PART_LEN)
		return -1;
	for (i = 0; i < n; i++)
		if (!base32_char(p[i]))
			return -1;
	memcpy(out->s, p, n);
	out->s[n] = '\0';
	return 0;
}

int
storepath_base_parse(const char *p, size_t n, struct hash_part *out)
{
	if (n <= HASH_PART_LEN + 1 || p[HASH_PART_LEN] != '-')
		return -1;
	if (!storepath_name_ok(p + HASH_PART_LEN + 1, n - HASH_PART_LEN - 1))
		return -1;
	return hash_part_parse(p, HASH_PART_LEN, out);
}

bool
storepath_is_drv(const char *p, size_t n)
{
	struct hash_part hp;

	return n > 4 && memcmp(p + n - 4, ".drv", 4) == 0 &&
	    storepath_base_parse(p, n, &hp) == 0;
}

int
storepath_parse(const char *p, size_t n, const char *store_dir,
    const char **base, struct hash_part *out)
{
	size_t dir = strlen(store_dir);

	if (n <= dir || memcmp(p, store_dir, dir) != 0 || p[dir] != '/')
		return -1;
	if (storepath_base_parse(p + dir + 1, n - dir - 1, out) == -1)
		return -1;
	*base = p + dir + 1;
	return 0;
}

bool
storepath_dir_ok(const char *s)
{
	const char *seg;
	size_t len;

	if (*s != '/')
		return false;
	for (seg = s; *seg == '/'; seg += len) {
		seg++;
		len = strcspn(seg, "/");
		if (len == 0 || (len == 1 && seg[0] == '.') ||
		    (len == 2 && seg[0] == '.' && seg[1] == '.'))
			return false;
	}
	for (; *s != '\0'; s++)
		if ((unsigned char)*s <= ' ' || *s == 0x7f)
			return false;
	return true;
}
