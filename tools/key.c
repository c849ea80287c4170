#include "config.h"

#include "tmpnix.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file.h"

/* A key's file is a line of less than 300 bytes. */
#define KEY_FILE_MAX 4096

/* Create dir/base.suffix, the directory's descriptor being dirfd. */
static int
create(int dirfd, const char *dir, const char *base, const char *suffix,
    const struct buf *text, mode_t mode)
{
	struct buf name = BUF_INIT;
	int rc;

	buf_addf(&name, "%s%s", base, suffix);
	rc = file_create(dirfd, buf_str(&name), text->p, text->len, mode);
	if (rc == -1 && errno == EEXIST)
		tool_error("%s/%s: is there already: take another name, or "
			   "move the old key away",
		    dir, buf_str(&name));
	else if (rc == -1)
		tool_error("%s/%s: %m", dir, buf_str(&name));
	buf_free(&name);
	return rc;
}

static int
open_dir(const char *dir)
{
	int fd;

	if ((fd = file_open_dir(AT_FDCWD, dir, 0, false)) == -1)
		tool_error("%s: %m: name an existing directory", dir);
	return fd;
}

static int
write_public(
    int dirfd, const char *dir, const char *base, const struct public_key *pub)
{
	struct buf text = BUF_INIT;
	int rc;

	sign_public_print(pub, &text);
	buf_addch(&text, '\n');
	rc = create(dirfd, dir, base, ".pub", &text, 0644);
	buf_free(&text);
	return rc;
}

int
key_write_public(
    const char *dir, const char *base, const struct public_key *pub)
{
	int dirfd, rc;

	if ((dirfd = open_dir(dir)) == -1)
		return -1;
	rc = write_public(dirfd, dir, base, pub);
	close(dirfd);
	return rc;
}

int
key_make(
    const char *dir, const char *base, const char *name, struct public_key *pub)
{
	struct secret_key secret;
	struct buf text = BUF_INIT, file = BUF_INIT;
	int dirfd, rc = -1;

	if ((dirfd = open_dir(dir)) == -1)
		return -1;
	sign_key_generate(name, &secret);
	sign_key_public(&secret, pub);
	/* Room enough at once: growing would leave a copy behind. */
	if (buf_reserve(&text, 512) != NULL)
		sign_secret_print(&secret, &text);
	buf_addf(&file, "%s.sec", base);
	if (buf_failed(&text) || buf_failed(&file)) {
		tool_error("out of memory");
		goto out;
	}
	/* As Nix writes it: without a newline. */
	if (create(dirfd, dir, base, ".sec", &text, 0600) == -1)
		goto out;
	/* A key whose public half can't be written is not handed out. */
	if (write_public(dirfd, dir, base, pub) == -1) {
		unlinkat(dirfd, buf_str(&file), 0);
		goto out;
	}
	rc = 0;
out:
	sign_key_wipe(&secret);
	if (text.p != NULL)
		explicit_bzero(text.p, text.cap);
	buf_free(&text);
	buf_free(&file);
	close(dirfd);
	return rc;
}

/* The name of the key in this .pub or .sec file; false when it has none. */
static bool
name_of_key(int dirfd, const char *file, char name[SIGN_NAME_MAX + 1])
{
	struct buf text = BUF_INIT;
	size_t n = 0;

	if (file_read_at(dirfd, file, KEY_FILE_MAX, &text) == 0)
		n = strcspn(buf_str(&text), ":\n");
	if (n > SIGN_NAME_MAX || !sign_name_ok(buf_str(&text), n))
		n = 0;
	memcpy(name, buf_str(&text), n);
	name[n] = '\0';
	if (text.p != NULL)
		explicit_bzero(text.p, text.cap);
	buf_free(&text);
	return n > 0;
}

/*
 * Clients keep keys by their names: of two of one name they take one, and the
 * other's signatures are bad to them.  Has a file in dir the name already?
 */
static bool
name_is_taken(const char *dir, const char *name)
{
	char other[SIGN_NAME_MAX + 1];
	struct dirent *e;
	bool taken = false;
	size_t n;
	DIR *d;

	if ((d = opendir(dir)) == NULL)
		return false;
	while (!taken && (e = readdir(d)) != NULL) {
		n = strlen(e->d_name);
		if (n < 5 ||
		    (strcmp(e->d_name + n - 4, ".pub") != 0 &&
			strcmp(e->d_name + n - 4, ".sec") != 0))
			continue;
		taken = name_of_key(dirfd(d), e->d_name, other) &&
		    strcmp(other, name) == 0;
		if (taken)
			tool_error("key generate: %s/%s is a key called %s: "
				   "clients would take one for the other: "
				   "choose another name",
			    dir, e->d_name, name);
	}
	closedir(d);
	return taken;
}

int
key_generate_run(struct tool *t, int argc, char **argv)
{
	static const struct option options[] = {
		{ "output", required_argument, NULL, 'o' },
		{ NULL, 0, NULL, 0 },
	};
	const struct conf *conf;
	const char *name, *dir = NULL;
	struct public_key pub;
	struct buf keys = BUF_INIT, text = BUF_INIT;
	int c, rc = TOOL_FAILED;

	while ((c = getopt_long(argc, argv, "o:", options, NULL)) != -1) {
		if (c != 'o')
			return tool_usage("key generate");
		dir = optarg;
	}
	if (argc - optind != 1)
		return tool_usage("key generate");
	name = argv[optind];
	if (!sign_name_ok(name, strlen(name))) {
		tool_error("key generate: \"%s\" can't name a key: use up to "
			   "%d letters, digits and \".\", \"_\", \"+\", \"-\", "
			   "such as cache.example.org-1",
		    name, SIGN_NAME_MAX);
		return TOOL_USAGE;
	}
	if (dir == NULL) {
		if ((conf = tool_conf(t)) == NULL)
			goto out;
		tool_become_owner(conf);
		buf_addf(&keys, "%s/keys", conf->state_dir);
		dir = buf_str(&keys);
		if (access(dir, F_OK) == -1 && errno == ENOENT) {
			tool_error("%s: no such directory: run tmpnix init, "
				   "or name another by -o",
			    dir);
			goto out;
		}
	}
	if (name_is_taken(dir, name) || key_make(dir, name, name, &pub) == -1)
		goto out;
	sign_public_print(&pub, &text);
	puts(buf_str(&text));
	rc = TOOL_OK;
out:
	buf_free(&keys);
	buf_free(&text);
	return rc;
}
