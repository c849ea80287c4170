/* The lines that people paste to use a cache. */
#include "config.h"

#include "client_lines.h"

#include <fcntl.h>
#include <string.h>

#include "file.h"
#include "sign.h"

#define nitems(a) (sizeof(a) / sizeof((a)[0]))

#define PUBLIC_KEY_FILE_MAX 4096

/* tools/client-setup.sh; the Makefile makes it a string. */
extern const char client_setup_text[];

/*
 * /usr/bin/env is on Debian, on NixOS and everywhere else, is no secret, and
 * may be added to the store by root and by any user of a daemon.
 */
const char client_push_example[] = "\"$(nix-store --add /usr/bin/env)\"";

static void
load_key(const char *file, struct buf *key)
{
	struct public_key parsed;
	struct buf text = BUF_INIT;
	size_t n;

	if (file != NULL &&
	    file_read_at(AT_FDCWD, file, PUBLIC_KEY_FILE_MAX, &text) == 0) {
		n = strcspn(buf_str(&text), "\r\n");
		if (sign_public_parse(buf_str(&text), n, &parsed) == 0)
			buf_add(key, text.p, n);
	}
	buf_free(&text);
}

void
client_lines_load(struct client_lines *cl, const struct conf *conf)
{
	memset(cl, 0, sizeof(*cl));
	cl->url = conf->url;
	cl->store_dir = conf->store_dir;
	cl->private = !conf->public_reads;
	cl->netrc = CLIENT_NETRC;
	client_url_host(conf->url, &cl->host);
	load_key(conf->public_key_file, &cl->key);
	load_key(conf->drv_public_key_file, &cl->drv_key);
}

void
client_lines_clear(struct client_lines *cl)
{
	buf_free(&cl->host);
	buf_free(&cl->key);
	buf_free(&cl->drv_key);
}

void
client_url_host(const char *url, struct buf *out)
{
	const char *host = strstr(url, "://");

	/* conf.c lets no other form through. */
	host = host != NULL ? host + 3 : url;
	if (*host == '[')
		buf_add(out, host + 1, strcspn(host + 1, "]"));
	else
		buf_add(out, host, strcspn(host, ":/"));
}

bool
client_netrc_ok(const char *path)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyz"
				    "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789/._+=@%,:~-";

	return path[0] == '/' && strspn(path, plain) == strlen(path);
}

static const char *
key_or_hint(const struct buf *key)
{
	return key->len > 0 ? buf_str(key) : "(ask who runs this cache)";
}

void
client_nix_conf(const struct client_lines *cl, bool with_netrc, struct buf *out)
{
	buf_addf(out,
	    "extra-substituters = %s/cache\n"
	    "extra-trusted-public-keys = %s\n",
	    cl->url, key_or_hint(&cl->key));
	if (with_netrc)
		buf_addf(out, "netrc-file = %s\n", cl->netrc);
}

void
client_push(const struct client_lines *cl, const char *paths, struct buf *out)
{
	buf_addf(out,
	    "nix --extra-experimental-features nix-command copy "
	    "--to '%s/cache?compression=zstd' %s\n",
	    cl->url, paths);
}

void
client_fetch_drv(const struct client_lines *cl, struct buf *out)
{
	buf_addf(out,
	    "nix --extra-experimental-features nix-command copy "
	    "--from %s/drv --option extra-trusted-public-keys '%s' %s/...drv\n",
	    cl->url, key_or_hint(&cl->drv_key), cl->store_dir);
}

void
client_setup_command(const struct client_lines *cl, struct buf *out)
{
	buf_addf(out, "curl -sSfo setup.sh %s/cache/setup.sh && sh setup.sh\n",
	    cl->url);
}

void
client_builder(const struct client_lines *cl, struct buf *out)
{
	buf_addf(out,
	    "TMPNIX_CACHE_URL='%s/cache'\n"
	    "TMPNIX_CACHE_PUBLIC_KEY='%s'\n"
	    "TMPNIX_DRV_URL='%s/drv'\n"
	    "TMPNIX_DRV_PUBLIC_KEY='%s'\n"
	    "TMPNIX_NETRC='%s'\n",
	    cl->url, buf_str(&cl->key), cl->url, buf_str(&cl->drv_key),
	    cl->netrc);
}

void
client_nixos(const struct client_lines *cl, struct buf *out)
{
	buf_addf(out,
	    "# A module of NixOS.  To push, and to read a cache that is not "
	    "for "
	    "everybody,\n"
	    "# %s has the line that \"tmpnix token add NAME\" prints.\n"
	    "{\n"
	    "  nix.settings = {\n"
	    "    substituters = [ \"%s/cache\" ];\n"
	    "    trusted-public-keys = [ \"%s\" ];\n"
	    "    netrc-file = \"%s\";\n"
	    "  };\n"
	    "}\n",
	    cl->netrc, cl->url, buf_str(&cl->key), cl->netrc);
}

/*
 * What a CI's shell does before it builds, each line behind indent: the netrc,
 * readable by its user only, and $settings, for NIX_CONFIG.
 */
static void
add_ci_settings(
    const struct client_lines *cl, const char *indent, struct buf *out)
{
	buf_addf(out, "%snetrc=$(mktemp)\n", indent);
	buf_addf(out,
	    "%sprintf 'machine %%s login tmpnix password %%s\\n' '%s' "
	    "\"$TMPNIX_TOKEN\" >\"$netrc\"\n",
	    indent, buf_str(&cl->host));
	buf_addf(out, "%ssettings=\"extra-substituters = %s/cache\n", indent,
	    cl->url);
	buf_addf(out, "%sextra-trusted-public-keys = %s\n", indent,
	    buf_str(&cl->key));
	buf_addf(out, "%snetrc-file = $netrc\"\n", indent);
}

#define CI_TOKEN                                                               \
	"# TMPNIX_TOKEN is the last word of the line that \"tmpnix token add " \
	"NAME\" prints.\n"                                                     \
	"# With a Nix daemon the job's user must be one of its "               \
	"trusted-users.\n"

void
client_github(const struct client_lines *cl, struct buf *out)
{
	buf_adds(out,
	    "# Steps of a job of GitHub Actions, after the one that installs "
	    "Nix.  The secret\n" CI_TOKEN "steps:\n"
	    "  - name: Use the binary cache\n"
	    "    env:\n"
	    "      TMPNIX_TOKEN: ${{ secrets.TMPNIX_TOKEN }}\n"
	    "    run: |\n");
	add_ci_settings(cl, "      ", out);
	buf_adds(out,
	    "      printf 'NIX_CONFIG<<END\\n%s\\n%s\\nEND\\n' "
	    "\"${NIX_CONFIG-}\" \"$settings\" >>\"$GITHUB_ENV\"\n"
	    "  - name: Build and push\n"
	    "    run: |\n"
	    "      nix-build\n"
	    "      ");
	client_push(cl, "./result", out);
}

void
client_gitlab(const struct client_lines *cl, struct buf *out)
{
	buf_adds(out,
	    "# A job of GitLab CI, in an image that has Nix.  The masked "
	    "variable\n" CI_TOKEN "build:\n"
	    "  image: nixos/nix\n"
	    "  script:\n"
	    "    - |\n");
	add_ci_settings(cl, "      ", out);
	buf_adds(out,
	    "      export NIX_CONFIG=\"${NIX_CONFIG-}\n"
	    "      $settings\"\n"
	    "    - |\n"
	    "      nix-build\n"
	    "      ");
	client_push(cl, "./result", out);
}

/* Append s as one word of a shell. */
static void
add_quoted(struct buf *out, const char *s)
{
	buf_addch(out, '\'');
	for (; *s != '\0'; s++) {
		if (*s == '\'')
			buf_adds(out, "'\\''");
		else
			buf_addch(out, *s);
	}
	buf_addch(out, '\'');
}

struct word {
	const char *name; /* as the script has it, "@NAME@" */
	const char *value;
};

/* Append text with the words' names replaced by their values. */
static void
add_script(
    const char *text, const struct word *words, size_t nwords, struct buf *out)
{
	const char *p = text;
	size_t i, n;

	for (; *p != '\0'; p += n) {
		if (*p != '@') {
			n = strcspn(p, "@");
			buf_add(out, p, n);
			continue;
		}
		for (i = 0; i < nwords; i++) {
			n = strlen(words[i].name);
			if (strncmp(p, words[i].name, n) == 0)
				break;
		}
		if (i < nwords)
			add_quoted(out, words[i].value);
		else {
			n = 1;
			buf_addch(out, '@');
		}
	}
}

static void
add_setup(const struct client_lines *cl, const char *push, struct buf *out)
{
	const struct word words[] = {
		{ "@URL@", cl->url },
		{ "@HOST@", buf_str(&cl->host) },
		{ "@STORE_DIR@", cl->store_dir },
		{ "@KEY@", buf_str(&cl->key) },
		{ "@DRV_KEY@", buf_str(&cl->drv_key) },
		{ "@PRIVATE@", cl->private ? "yes" : "" },
		{ "@PUSH@", push },
	};

	add_script(client_setup_text, words, nitems(words), out);
}

void
client_setup(const struct client_lines *cl, struct buf *out)
{
	struct buf push = BUF_INIT;

	client_push(cl, client_push_example, &push);
	if (push.len > 0)
		push.p[--push.len] = '\0'; /* a word has no newline */
	add_setup(cl, buf_str(&push), out);
	buf_free(&push);
}
