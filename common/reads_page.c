/* For people: the page with lines to paste, and the script that sets up. */
#include "config.h"

#include "reads.h"

#include <string.h>

#include "client_lines.h"

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

static const char head[] =
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width\">\n"
    "<title>Nix binary cache</title>\n<style>"
    "body{font:16px/1.5 sans-serif;max-width:46em;margin:2em auto;"
    "padding:0 1em}pre{background:#f2f2f2;padding:.8em;white-space:pre-wrap;"
    "overflow-wrap:anywhere}"
    "</style>\n</head>\n<body>\n<h1>Nix binary cache</h1>\n";

/* Lines to paste, handed over: *lines is empty afterwards. */
static void
add_lines(struct buf *b, struct buf *lines)
{
	buf_adds(b, "<pre>");
	add_escaped(b, buf_str(lines));
	buf_adds(b, "</pre>\n");
	buf_free(lines);
}

static void
add_main(struct buf *b, const struct client_lines *cl)
{
	struct buf lines = BUF_INIT;

	buf_adds(b, "<h2>Use it</h2>\n<p>In <code>nix.conf</code>");
	if (cl->private)
		buf_adds(b,
		    ", with the line of a token in the file that "
		    "<code>netrc-file</code> names");
	buf_adds(b, ":</p>\n");
	client_nix_conf(cl, cl->private, &lines);
	add_lines(b, &lines);
	buf_adds(b, "<p>Or by a script, which asks before it writes:</p>\n");
	client_setup_command(cl, &lines);
	add_lines(b, &lines);
	buf_adds(b,
	    "<h2>Push to it</h2>\n"
	    "<p>With a token: the script asks for it, or put the line you were "
	    "given into <code>/etc/nix/netrc</code> (mode 0600).  Any store "
	    "path can be pushed, for example this one:</p>\n");
	client_push(cl, client_push_example, &lines);
	add_lines(b, &lines);
}

static void
add_drv(struct buf *b, const struct client_lines *cl)
{
	struct buf lines = BUF_INIT;

	buf_adds(b,
	    "<p>This one holds derivations.  To fetch one with its "
	    "closure:</p>\n");
	client_fetch_drv(cl, &lines);
	add_lines(b, &lines);
}

int
reads_page(void *state, struct request *r)
{
	struct reads *rd = state;
	struct client_lines cl;
	struct buf page = BUF_INIT;
	int status;

	/* Whoever watches us looks here. */
	if ((status = reads_moved(rd, r)) != 0)
		return status;
	client_lines_load(&cl, rd->conf);
	buf_adds(&page, head);
	buf_adds(&page, "<p>For stores in <code>");
	add_escaped(&page, rd->conf->store_dir);
	buf_adds(&page, "</code>.</p>\n");
	if (strcmp(rd->cache, CACHE_DRV) == 0)
		add_drv(&page, &cl);
	else
		add_main(&page, &cl);
	buf_adds(&page, "</body>\n</html>\n");
	client_lines_clear(&cl);
	reply_header(r, "Content-Type", "text/html; charset=utf-8");
	reply_header(r, "Cache-Control", "no-cache");
	return reply_buf(r, 200, &page);
}

int
reads_setup(void *state, struct request *r)
{
	struct reads *rd = state;
	struct client_lines cl;
	struct buf script = BUF_INIT;

	client_lines_load(&cl, rd->conf);
	client_setup(&cl, &script);
	client_lines_clear(&cl);
	/* As text, so that a browser shows it. */
	reply_header(r, "Content-Type", "text/plain; charset=utf-8");
	reply_header(r, "Cache-Control", "no-cache");
	return reply_buf(r, 200, &script);
}
