#include "config.h"

#include "attrpath.h"

#include <string.h>

static const char first[] = "abcdefghijklmnopqrstuvwxyz"
			    "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
			    "0123456789_";

static bool
is_first(char c)
{
	return c != '\0' && strchr(first, c) != NULL;
}

static bool
is_plain(char c)
{
	return is_first(c) || c == '\'' || c == '-';
}

static bool
is_quoted(char c)
{
	return is_plain(c) || c == '+' || c == '.' || c == '@' || c == '/' ||
	    c == ':';
}

/* The length of the name at the start of (p, n); 0 when there is none. */
static size_t
name_len(const char *p, size_t n)
{
	size_t i;

	if (n > 0 && p[0] == '"') {
		for (i = 1; i < n && is_quoted(p[i]); i++)
			;
		return i > 1 && i < n && p[i] == '"' ? i + 1 : 0;
	}
	if (n == 0 || !is_first(p[0]))
		return 0;
	for (i = 1; i < n && is_plain(p[i]); i++)
		;
	return i;
}

bool
attrpath_ok(const char *p, size_t n)
{
	size_t len;

	if (n > ATTRPATH_MAX)
		return false;
	for (;;) {
		if ((len = name_len(p, n)) == 0)
			return false;
		p += len;
		n -= len;
		if (n == 0)
			return true;
		if (*p != '.')
			return false;
		p++;
		n--;
	}
}
