#include "config.h"

#include "ready.h"

#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "account.h"
#include "asset.h"
#include "clean.h"
#include "clock.h"
#include "db.h"
#include "file.h"
#include "index.h"
#include "instantiate.h"
#include "log.h"
#include "policy.h"

/* As open(2) would: this user's rights, not who called a setuid program. */
static bool
allowed(const char *path, int how)
{
	return faccessat(AT_FDCWD, path, how, AT_EACCESS) == 0;
}

bool
ready_has_state(const struct conf *conf)
{
	return access(conf->state_dir, F_OK) == 0 || errno != ENOENT;
}

/* Whose it is must be who the programs become. */
static unsigned int
check_owner(const struct conf *conf, const struct stat *st)
{
	const char *why;
	uid_t uid;
	gid_t gid;

	if (conf->user == NULL) {
		if (st->st_uid != 0)
			return 0;
		log_warnx("state_dir %s: belongs to root, and the programs "
			  "refuse to run as root unless they are told to: set "
			  "user = root, or chown it to their user",
		    conf->state_dir);
		return 1;
	}
	if ((why = account_parse(conf->user, &uid, &gid)) != NULL) {
		log_warnx("user %s: %s", conf->user, why);
		return 1;
	}
	if (uid == st->st_uid || uid == 0)
		return 0;
	log_warnx("state_dir %s: belongs to user %ld, but user is %s: chown -R "
		  "%s %s",
	    conf->state_dir, (long)st->st_uid, conf->user, conf->user,
	    conf->state_dir);
	return 1;
}

static unsigned int
check_state(const struct conf *conf)
{
	const char *dir = conf->state_dir;
	struct stat st;

	if (stat(dir, &st) == -1) {
		if (errno == ENOENT)
			log_warnx("state_dir %s: no such directory: run tmpnix "
				  "init",
			    dir);
		else
			log_warn("state_dir %s", dir);
	} else if (!S_ISDIR(st.st_mode))
		log_warnx("state_dir %s: not a directory", dir);
	else if (!allowed(dir, R_OK | W_OK | X_OK))
		log_warnx("state_dir %s: belongs to user %ld, and user %ld may "
			  "not write there: start as its owner, or chown it",
		    dir, (long)st.st_uid, (long)geteuid());
	else
		return check_owner(conf, &st);
	return 1;
}

/* The secrets of a store on the network, of one who writes or reads. */
static unsigned int
check_store(const struct conf *conf, bool write)
{
	struct asset_store *as;

	if (conf->asset_store == CONF_STORE_FILE)
		return 0;
	as = asset_store_open_probe(conf, write);
	asset_store_close(as);
	return as == NULL ? 1 : 0;
}

static unsigned int
check_keys(const struct conf *conf)
{
	struct policy *p;
	unsigned int problems = 0;

	if ((p = policy_new(conf)) == NULL)
		return 1;
	if (policy_needs_verify(conf, p))
		problems++;
	policy_free(p);
	return problems;
}

/* A file or directory that is named by key. */
static unsigned int
check_file(const char *key, const char *path, int how, const char *advice)
{
	if (path == NULL || allowed(path, how))
		return 0;
	log_warn("%s %s: %s", key, path, advice);
	return 1;
}

/*
 * nginx makes the directory when it starts.  Below state_dir that may be after
 * us; elsewhere the sandbox has to know it.
 */
static unsigned int
check_body_dir(const struct conf *conf)
{
	const size_t n = strlen(conf->state_dir);
	const char *dir = conf->body_dir;

	if (dir != NULL && strncmp(dir, conf->state_dir, n) == 0 &&
	    dir[n] == '/' && !allowed(dir, F_OK) && errno == ENOENT)
		return 0;
	return check_file("body_dir", dir, R_OK | X_OK,
	    "make it, for the web server to write into, or set body_dir = "
	    "none");
}

/* The paths that are here already are of one store directory. */
static unsigned int
check_store_dir(const struct conf *conf, const char *cache, const char *key,
    const char *dir)
{
	struct buf was = BUF_INIT;
	unsigned int problems = 0;
	struct index *ix;

	if ((ix = index_open_as_is(conf->state_dir)) == NULL)
		return 0;
	if (index_store_dir_get(ix, cache, &was) == 1 &&
	    strcmp(buf_str(&was), dir) != 0) {
		log_warnx("%s is %s, but the paths here are of %s: put it "
			  "back, or use another state_dir",
		    key, dir, buf_str(&was));
		problems++;
	}
	index_close(ix);
	buf_free(&was);
	return problems;
}

static unsigned int
check_upload(const struct conf *conf)
{
	unsigned int problems = check_keys(conf) + check_store(conf, true) +
	    check_store_dir(conf, CACHE_MAIN, "store_dir", conf->store_dir);

	if (conf->asset_store != CONF_STORE_FILE)
		problems += check_file(
		    "tls_ca_file", conf->tls_ca_file, R_OK, "can't be read");
	return problems + check_body_dir(conf);
}

static unsigned int
check_drv(const struct conf *conf)
{
	unsigned int problems = check_store_dir(
	    conf, CACHE_DRV, "drv_store_dir", conf->drv_store_dir);
	struct buf key = BUF_INIT;
	size_t i;

	if (conf->nfiles > 0 && instantiate_check(conf) == -1)
		problems++;
	for (i = 0; i < conf->nfiles; i++) {
		buf_clear(&key);
		buf_addf(&key, "file.%s", conf->files[i].name);
		problems += check_file(
		    buf_str(&key), conf->files[i].path, R_OK, "can't be read");
	}
	buf_free(&key);
	return problems;
}

/*
 * The first file of dir/name, or of a directory in it, appended to path: is
 * there one?  Each program makes nix-cache-info anew.
 */
static bool
find_file(int dir, const char *name, int depth, struct buf *path)
{
	const size_t len = path->len;
	struct dirent *de;
	bool found = false;
	DIR *d;
	int fd;

	if ((fd = file_open_dir(dir, name, 0, false)) == -1)
		return false;
	if ((d = fdopendir(fd)) == NULL) {
		close(fd);
		return false;
	}
	buf_addf(path, "/%s", name);
	while (!found && (de = readdir(d)) != NULL) {
		if (de->d_name[0] == '.' ||
		    strcmp(de->d_name, "nix-cache-info") == 0)
			continue;
		if (de->d_type != DT_DIR) {
			buf_addf(path, "/%s", de->d_name);
			found = true;
		} else if (depth > 0)
			found = find_file(fd, de->d_name, depth - 1, path);
	}
	closedir(d);
	if (!found)
		path->len = len;
	return found;
}

/* Is there anything that an index must have known?  One of it into path. */
static bool
has_objects(const struct conf *conf, struct buf *path)
{
	static const char *const dirs[] = { ASSET_DIR_PUBLIC, ASSET_DIR_PRIVATE,
		"spool/ready" };
	bool found = false;
	size_t i;
	int fd;

	if ((fd = file_open_dir(AT_FDCWD, conf->state_dir, 0, false)) == -1)
		return false;
	buf_adds(path, conf->state_dir);
	for (i = 0; !found && i < sizeof(dirs) / sizeof(dirs[0]); i++)
		found = find_file(fd, dirs[i], 2, path);
	close(fd);
	return found;
}

/* Has the index been in use?  1, 0 or -1; no index (NULL) has not. */
static int
in_use(struct index *ix)
{
	struct index_status main, drv;
	struct buf dir = BUF_INIT;
	int used;

	if (ix == NULL)
		return 0;
	/* It is noted by the first program that writes. */
	used = index_store_dir_get(ix, CACHE_MAIN, &dir);
	buf_free(&dir);
	if (used != 0)
		return used;
	if (index_status(ix, CACHE_MAIN, &main) == -1 ||
	    index_status(ix, CACHE_DRV, &drv) == -1)
		return -1;
	return main.paths + drv.paths > 0;
}

bool
ready_index(const struct conf *conf, struct index *ix)
{
	struct buf path = BUF_INIT;
	bool lost = false;
	int used;

	if ((used = in_use(ix)) == 0 && has_objects(conf, &path)) {
		/* tmpnix-upload may be at its first start just now: it notes
		 * the store directory before it stores anything. */
		used = in_use(ix);
		lost = used == 0;
	}
	if (lost)
		log_warnx("index: %s/index.db is new or empty, but there is "
			  "%s: put the index back from its backup, or make it "
			  "from the store by tmpnix fsck --rebuild, or begin "
			  "without what is there by tmpnix init --new-index",
		    conf->state_dir, buf_str(&path));
	buf_free(&path);
	return used != -1 && !lost;
}

bool
ready_index_whole(const struct conf *conf, struct index *ix)
{
	const int64_t begin = clock_ms();
	struct buf what = BUF_INIT;
	int whole;

	if (clean_is(conf->state_dir))
		return true;
	whole = index_quick_check(ix, &what);
	if (whole == 1)
		log_info("index: checked in %lld ms, as it was not left by a "
			 "clean stop: it is whole",
		    (long long)(clock_ms() - begin));
	else if (whole == 0)
		log_warnx(
		    "index: %s/index.db is damaged (%s): " DB_DAMAGED_ADVICE
		    "; tmpnix fsck looks at all of it",
		    conf->state_dir, buf_str(&what));
	buf_free(&what);
	return whole == 1;
}

/* The same of an index that may not be there. */
static unsigned int
check_index(const struct conf *conf)
{
	struct buf path = BUF_INIT;
	unsigned int problems = 0;
	struct index *ix;
	struct stat st;

	buf_addf(&path, "%s/index.db", conf->state_dir);
	if (stat(buf_str(&path), &st) == -1 ? errno == ENOENT : st.st_size == 0)
		problems = ready_index(conf, NULL) ? 0 : 1;
	else if (!index_opens(conf->state_dir))
		problems = 1;
	else if ((ix = index_open_as_is(conf->state_dir)) != NULL) {
		problems = ready_index(conf, ix) ? 0 : 1;
		index_close(ix);
	}
	buf_free(&path);
	return problems;
}

unsigned int
ready_cache(const struct conf *conf)
{
	unsigned int problems = check_state(conf);

	return problems > 0 ? problems
			    : check_index(conf) + check_store(conf, false);
}

unsigned int
ready_upload(const struct conf *conf)
{
	unsigned int problems = check_state(conf);

	return problems > 0 ? problems : check_index(conf) + check_upload(conf);
}

unsigned int
ready_drv(const struct conf *conf)
{
	unsigned int problems = check_state(conf);

	return problems > 0 ? problems : check_drv(conf);
}

unsigned int
ready_all(const struct conf *conf)
{
	unsigned int problems = check_state(conf);

	/* (Whoever writes to the store reads all that a reader does.) */
	return problems > 0 ? problems : check_upload(conf) + check_drv(conf);
}
