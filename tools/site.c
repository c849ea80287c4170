/* Is the site well?  Asked as its clients ask, and of its asset store. */
#include "config.h"

#include "tmpnix.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "asset.h"
#include "file.h"
#include "http.h"
#include "storepath.h"

/* A server that says nothing for so many seconds is not well. */
#define ANSWER_SECONDS 10
#define BODY_MAX ((size_t)4 << 10)

/* The first line of an answer's body, without what could drive a terminal. */
static void
say_line(struct site_check *c, const struct buf *body)
{
	const char *s = body->p != NULL ? body->p : "";
	size_t i, n = strcspn(s, "\r\n");

	if (n == 0 || n > 200)
		return;
	buf_adds(&c->says, ": ");
	for (i = 0; i < n; i++)
		buf_addch(&c->says, s[i] >= 0x20 && s[i] < 0x7f ? s[i] : '?');
}

/* What an answer that is not a program's says of the web server. */
static void
judge_other(
    struct site_check *c, const struct conf *conf, const struct http_answer *a)
{
	if (a->status >= 500)
		buf_addf(&c->says, "does not answer: the web server says %d",
		    a->status);
	else
		buf_addf(&c->says,
		    "%s answers %d: is tmpnix's configuration included in the "
		    "web server's",
		    conf->url, a->status);
	say_line(c, &a->body);
}

/* nix-cache-info: of our store directory, or only for those with a token. */
static void
judge_read(
    struct site_check *c, const struct conf *conf, const struct http_answer *a)
{
	const char *dir = strcmp(c->name, "tmpnix-drv") == 0
	    ? conf->drv_store_dir
	    : conf->store_dir;
	struct buf line = BUF_INIT;

	buf_addf(&line, "StoreDir: %s\n", dir);
	if (a->status == 401 && !conf->public_reads)
		c->ok = true;
	else if (a->status != 200)
		judge_other(c, conf, a);
	else if (!conf->public_reads)
		buf_addf(&c->says,
		    "reads without a token are answered, though public_reads "
		    "= no: restart the programs");
	else if (strstr(buf_str(&a->body), buf_str(&line)) == NULL)
		buf_addf(&c->says,
		    "%s is another cache: its StoreDir is not %s", conf->url,
		    dir);
	else
		c->ok = true;
	buf_free(&line);
}

/* A PUT without a token is refused by tmpnix-upload. */
static void
judge_push(
    struct site_check *c, const struct conf *conf, const struct http_answer *a)
{
	if (a->status == 401)
		c->ok = true;
	else
		judge_other(c, conf, a);
}

static void
ask_program(struct http_pool *hp, const struct conf *conf, const char *mount,
    const char *method,
    void (*judge)(struct site_check *c, const struct conf *conf,
	const struct http_answer *a),
    struct site_check *c)
{
	struct http_call call = { .method = method,
		.has_body = strcmp(method, "PUT") == 0,
		.fd = -1,
		.p = "",
		.body_max = BODY_MAX };
	struct buf url = BUF_INIT;
	struct http_answer a;

	c->asked = true;
	buf_addf(&url, "%s%s/nix-cache-info", conf->url, mount);
	call.url = buf_str(&url);
	if (http_do(hp, &call, &a, &c->says) == 0) {
		judge(c, conf, &a);
		if (c->ok)
			buf_adds(&c->says, "answers");
	}
	buf_free(&a.body);
	buf_free(&url);
}

static void
ask_store(const struct conf *conf, struct site_check *c)
{
	struct asset_store *as;

	c->asked = true;
	if ((as = asset_store_open_probe(conf, true)) == NULL) {
		buf_adds(&c->says, "can't be used, see above");
		return;
	}
	c->ok = as->ops->probe(as, &c->says) == ASSET_OK;
	if (c->ok)
		buf_addf(&c->says, "%s, answers", as->ops->name);
	asset_store_close(as);
}

void
site_ask(const struct conf *conf, struct site_check checks[SITE_CHECKS])
{
	static const char *const names[SITE_CHECKS] = { "tmpnix-cache",
		"tmpnix-upload", "tmpnix-drv", "asset store" };
	struct http_pool *hp;
	size_t i;

	memset(checks, 0, SITE_CHECKS * sizeof(checks[0]));
	for (i = 0; i < SITE_CHECKS; i++)
		checks[i].name = names[i];
	/* Without a file to instantiate nobody needs tmpnix-drv. */
	for (i = 0; i < SITE_CHECKS; i++)
		checks[i].needed = i != 2 || conf->nfiles > 0;
	if ((hp = http_pool_new(conf->tls_ca_file, ANSWER_SECONDS)) == NULL) {
		for (i = 0; i < 3; i++)
			buf_adds(&checks[i].says, "not asked: no libcurl");
	} else {
		ask_program(hp, conf, "/cache", "GET", judge_read, &checks[0]);
		ask_program(hp, conf, "/cache", "PUT", judge_push, &checks[1]);
		ask_program(hp, conf, "/drv", "GET", judge_read, &checks[2]);
	}
	http_pool_free(hp);
	ask_store(conf, &checks[3]);
}

void
site_clear(struct site_check checks[SITE_CHECKS])
{
	size_t i;

	for (i = 0; i < SITE_CHECKS; i++)
		buf_free(&checks[i].says);
}

bool
site_store_has_paths(const struct conf *conf)
{
	struct buf path = BUF_INIT;
	struct dirent *e;
	bool found = false;
	size_t n;
	DIR *d;

	buf_addf(&path, "%s/%s", conf->state_dir, asset_file_dir(conf));
	d = opendir(buf_str(&path));
	buf_free(&path);
	if (d == NULL)
		return false;
	while (!found && (e = readdir(d)) != NULL) {
		n = strlen(e->d_name);
		found = n == HASH_PART_LEN + 8 &&
		    strcmp(e->d_name + HASH_PART_LEN, ".narinfo") == 0;
	}
	closedir(d);
	return found;
}
