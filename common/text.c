#include "config.h"

#include "text.h"

#include <stdint.h>
#include <string.h>

/*
 * The length of the control sequence behind an ESC at (p, n), the ESC not
 * counted (ECMA-48, 5.4; xterm's OSC ends with BEL or ESC \).
 */
static size_t
sequence_len(const unsigned char *p, size_t n)
{
	size_t i;

	if (n == 0)
		return 0;
	if (p[0] == '[') {
		for (i = 1; i < n && p[i] >= 0x20 && p[i] <= 0x3f; i++)
			;
		return i < n && p[i] >= 0x40 && p[i] <= 0x7e ? i + 1 : i;
	}
	if (p[0] == ']') {
		for (i = 1; i < n && p[i] >= 0x20; i++)
			;
		return i < n && p[i] == '\a' ? i + 1 : i;
	}
	return 1;
}

/* The length of the UTF-8 character at (p, n) and its code; 0: it is none. */
static size_t
utf8_len(const unsigned char *p, size_t n, uint32_t *code)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t len, i;

	if (p[0] >= 0xc2 && p[0] <= 0xdf)
		len = 2;
	else if ((p[0] & 0xf0) == 0xe0)
		len = 3;
	else if (p[0] >= 0xf0 && p[0] <= 0xf4)
		len = 4;
	else
		return 0;
	if (len > n)
		return 0;
	*code = p[0] & (0x7fU >> len);
	for (i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		*code = *code << 6 | (p[i] & 0x3fU);
	}
	if (*code < least[len] || *code > 0x10ffff ||
	    (*code >= 0xd800 && *code <= 0xdfff))
		return 0;
	return len;
}

/* Append (p, n) cleaned, without blank lines. */
static void
clean(const unsigned char *p, size_t n, struct buf *out)
{
	size_t i, len;
	uint32_t code;

	for (i = 0; i < n; i += len) {
		len = 1;
		if (p[i] == 0x1b)
			len += sequence_len(p + i + 1, n - i - 1);
		else if (p[i] == '\n') {
			if (out->len > 0 && out->p[out->len - 1] != '\n')
				buf_addch(out, '\n');
		} else if (p[i] == '\t')
			buf_addch(out, ' ');
		else if (p[i] < 0x20 || p[i] == 0x7f)
			;
		else if (p[i] < 0x80)
			buf_addch(out, (char)p[i]);
		else if ((len = utf8_len(p + i, n - i, &code)) == 0) {
			len = 1;
			buf_addch(out, '?');
		} else if (code >= 0xa0)
			buf_add(out, p + i, len);
	}
	if (out->len > 0 && out->p[out->len - 1] != '\n')
		buf_addch(out, '\n');
}

void
text_tail(const char *p, size_t n, size_t max, struct buf *out)
{
	struct buf all = BUF_INIT;
	const char *from, *lf;
	size_t len;

	clean((const unsigned char *)p, n, &all);
	from = buf_str(&all);
	len = all.len;
	while (len > max && (lf = memchr(from, '\n', len - 1)) != NULL) {
		len -= (size_t)(lf + 1 - from);
		from = lf + 1;
	}
	if (len > max) {
		from += len - max;
		len = max;
		/* Not in the middle of a character. */
		while (len > 0 && ((unsigned char)*from & 0xc0) == 0x80) {
			from++;
			len--;
		}
	}
	buf_add(out, from, len);
	buf_free(&all);
}
