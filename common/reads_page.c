/* The page for people: how to use this cache, in lines to paste. */
#include "config.h"

#include "reads.h"

#include <fcntl.h>
#include <string.h>

#include "file.h"

#define PUBLIC_KEY_FILE_MAX 4096

/* Append s with what HTML gives a meaning to escaped. */
static void
add_escaped(struct buf *b, const char *s)
{
	for (; *s != '\0'; s++) {
		switch (*s) {
		case '&':
			buf_adds(b, "&amp;");
			break;
		case '<':
			buf_adds(b, "&lt;");
			break;
		case '>':
			buf_adds(b, "&gt;");
			break;
		case '"':
			buf_adds(b, "&quot;");
			break;
		default:
			buf_addch(b, *s);
		}
	}
}

/* The public key file's first line, "" when there is none. */
static void
read_public_key(const char *file, struct buf *key)
{
	if (file == NULL ||
	    file_read_at(AT_FDCWD, file, PUBLIC_KEY_FILE_MAX, key) == -1) {
		buf_clear(key);
		return;
	}
	if (key->len > 0) {
		key->len = strcspn(key->p, "\r\n");
		buf_end(key);
	}
}

static const char head[] =
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width\">\n"
    "<title>Nix binary cache</title>\n<style>"
    "body{font:16px/1.5 sans-serif;max-width:46em;margin:2em auto;"
    "padding:0 1em}pre{background:#f2f2f2;padding:.8em;overflow-x:auto}"
    "</style>\n</head>\n<body>\n<h1>Nix binary cache</h1>\n";

static void
add_main(struct buf *b, const char *url, const char *key)
{
	buf_adds(b,
	    "<h2>Use it</h2>\n<p>In <code>nix.conf</code>:</p>\n"
	    "<pre>extra-substituters = ");
	add_escaped(b, url);
	buf_adds(b, "\nextra-trusted-public-keys = ");
	add_escaped(b, key[0] != '\0' ? key : "(ask who runs this cache)");
	buf_adds(b,
	    "</pre>\n<h2>Push to it</h2>\n"
	    "<p>With a token: put the line you were given into a file, "
	    "name it as <code>netrc-file</code> in <code>nix.conf</code>, "
	    "and</p>\n<pre>nix copy --to '");
	add_escaped(b, url);
	buf_adds(b, "?secret-key=/path/to/cache.sec' PATH...</pre>\n");
}

static void
add_drv(struct buf *b, const char *url, const char *key)
{
	buf_adds(b,
	    "<p>This one holds derivations. To fetch one with its "
	    "closure:</p>\n<pre>nix copy --from ");
	add_escaped(b, url);
	if (key[0] != '\0') {
		buf_adds(b, " --option extra-trusted-public-keys ");
		add_escaped(b, key);
	}
	buf_adds(b, " /nix/store/...drv</pre>\n");
}

int
reads_page(void *state, struct request *r)
{
	struct reads *rd = state;
	struct buf page = BUF_INIT, url = BUF_INIT, key = BUF_INIT;
	bool drv = strcmp(rd->cache, CACHE_DRV) == 0;

	buf_addf(&url, "%s%s", rd->conf->url, drv ? "/drv" : "/cache");
	read_public_key(
	    drv ? rd->conf->drv_public_key_file : rd->conf->public_key_file,
	    &key);
	buf_adds(&page, head);
	buf_adds(&page, "<p>For stores in <code>");
	add_escaped(&page, rd->conf->store_dir);
	buf_adds(&page, "</code>.</p>\n");
	if (drv)
		add_drv(&page, buf_str(&url), buf_str(&key));
	else
		add_main(&page, buf_str(&url), buf_str(&key));
	buf_adds(&page, "</body>\n</html>\n");
	buf_free(&key);
	buf_free(&url);
	reply_header(r, "Content-Type", "text/html; charset=utf-8");
	reply_header(r, "Cache-Control", "no-cache");
	return reply_buf(r, 200, &page);
}
