#include "config.h"

#include "instantiate_nix.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "file.h"
#include "hash.h"
#include "log.h"
#include "narinfo.h"
#include "proc.h"
#include "sign.h"
#include "text.h"

/* Standard output: a line a path; nix-store -qR of the largest closures. */
#define OUT_MAX ((size_t)64 << 20)
/* Standard error: what is kept, and what of it is shown. */
#define TAIL_MAX ((size_t)16 << 10)
#define SHOWN_MAX ((size_t)4096)
/* Of a derivation: its outputs come first. */
#define DRV_HEAD ((size_t)64 << 10)
#define ENV_MAX 16
#define ARGS_MAX 60
#define CHUNK ((size_t)64 << 10)

struct nix {
	struct asset_store *store;
	struct public_key key;
	struct buf guard;
	struct buf instantiate, nix, nix_store; /* programs */
	struct buf to; /* the URL to copy to */
};

/* What one instantiation needs on its way. */
struct work {
	struct nix *nix;
	struct index *ix;
	const struct nix_job *job;
	struct instantiated *result;
	struct timespec deadline;
	struct buf env[ENV_MAX];
	const char *envp[ENV_MAX + 1];
	size_t nenv;
	struct buf drv; /* the full store path */
	struct buf out, tail;
	struct narinfo **paths; /* new ones, to be entered */
	size_t npaths;
};

/* Surroundings ------------------------------------------------------------- */

/*
 * These names go into URLs that Nix parses (NIX_REMOTE, --to), and Nix 2.8 does
 * not decode all parts of them: what would need encoding is refused.
 */
static bool
plain(const char *key, const char *path)
{
	static const char ok[] = "abcdefghijklmnopqrstuvwxyz"
				 "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				 "0123456789/._-~@";

	if (path[strspn(path, ok)] == '\0')
		return true;
	log_warnx("%s = %s: to instantiate, a path of letters, digits and "
		  "._-~@ is needed",
	    key, path);
	return false;
}

static int
make_directories(const struct conf *conf)
{
	static const char *const names[] = { "store", "var", "etc", "home",
		"tmp" };
	int dir, sub;
	size_t i;

	dir = file_open_dir(AT_FDCWD, conf->drv_state_dir, 0755, true);
	for (i = 0; dir != -1 && i < sizeof(names) / sizeof(names[0]); i++) {
		if ((sub = file_open_dir(dir, names[i], 0755, true)) == -1)
			break;
		close(sub);
	}
	if (dir == -1 || i < sizeof(names) / sizeof(names[0])) {
		log_warn("%s", conf->drv_state_dir);
		if (dir != -1)
			close(dir);
		return -1;
	}
	close(dir);
	return 0;
}

static int
load_key(const char *file, struct public_key *key)
{
	struct secret_key secret;
	struct buf advice = BUF_INIT;

	if (sign_key_load(file, &secret) == -1) {
		if (errno == EPERM) {
			file_secret_advice(file, &advice);
			log_warnx("drv_secret_key_file: %s: %s", file,
			    buf_str(&advice));
			buf_free(&advice);
		} else
			log_warn("drv_secret_key_file: %s", file);
		return -1;
	}
	sign_key_public(&secret, key);
	sign_key_wipe(&secret);
	return 0;
}

static bool
can_run(const char *dir, const char *name)
{
	struct buf path = BUF_INIT;
	bool good;

	buf_addf(&path, "%s/%s", dir, name);
	good = !buf_failed(&path) && access(buf_str(&path), X_OK) == 0;
	buf_free(&path);
	return good;
}

int
nix_check(const struct conf *conf, struct public_key *key)
{
	const char *dir = conf->nix_bin_dir;
	int rc = 0;

	if (!plain("state_dir", conf->state_dir) ||
	    !plain("drv_state_dir", conf->drv_state_dir) ||
	    !plain("drv_secret_key_file", conf->drv_secret_key_file))
		rc = -1;
	if (load_key(conf->drv_secret_key_file, key) == -1)
		rc = -1;
	if (!can_run(dir, "nix-instantiate") || !can_run(dir, "nix") ||
	    !can_run(dir, "nix-store")) {
		log_warn("nix_bin_dir = %s: nix-instantiate, nix and nix-store "
			 "are needed (Debian: nix-bin)",
		    dir);
		rc = -1;
	}
	return rc;
}

struct nix *
nix_new(const struct conf *conf, struct asset_store *store)
{
	struct nix *nix;

	if ((nix = calloc(1, sizeof(*nix))) == NULL)
		return NULL;
	nix->store = store;
	buf_addf(&nix->instantiate, "%s/nix-instantiate", conf->nix_bin_dir);
	buf_addf(&nix->nix, "%s/nix", conf->nix_bin_dir);
	buf_addf(&nix->nix_store, "%s/nix-store", conf->nix_bin_dir);
	/* A bundle is compressed as a whole: better than a NAR at a time. */
	buf_addf(&nix->to, "file://%s/%s?secret-key=%s&compression=none",
	    conf->state_dir, store->dir, conf->drv_secret_key_file);
	if (nix_check(conf, &nix->key) == -1 || make_directories(conf) == -1 ||
	    proc_guard_path(&nix->guard) == -1)
		goto fail;
	return nix;
fail:
	nix_free(nix);
	return NULL;
}

void
nix_free(struct nix *nix)
{
	if (nix == NULL)
		return;
	buf_free(&nix->guard);
	buf_free(&nix->instantiate);
	buf_free(&nix->nix);
	buf_free(&nix->nix_store);
	buf_free(&nix->to);
	free(nix);
}

static struct buf *
env_next(struct work *w)
{
	return &w->env[w->nenv < ENV_MAX ? w->nenv++ : ENV_MAX - 1];
}

/* The directory an evaluation may read, when restricted. */
static void
add_file_dir(const char *file, struct buf *out)
{
	char *real;
	struct stat st;

	if ((real = realpath(file, NULL)) == NULL)
		return; /* nix-instantiate will say it */
	if (stat(real, &st) == 0 && !S_ISDIR(st.st_mode))
		*strrchr(real, '/') = '\0';
	if (strchr(real, ':') == NULL)
		buf_addf(out, "tmpnix-file=%s:", real);
	free(real);
}

/* The environment of Nix's programs: nothing of ours. */
static int
make_env(struct work *w)
{
	const struct conf *c = w->job->conf;
	const char *dir = c->drv_state_dir;
	bool restricted = c->drv_eval == CONF_EVAL_RESTRICTED;
	struct buf *b;
	size_t i;

	buf_addf(env_next(w), "PATH=%s:/usr/bin:/bin", c->nix_bin_dir);
	buf_adds(env_next(w), "LC_ALL=C");
	buf_addf(env_next(w), "HOME=%s/home", dir);
	buf_addf(env_next(w), "TMPDIR=%s/tmp", dir);
	buf_addf(env_next(w), "NIX_CONF_DIR=%s/etc", dir);
	buf_addf(env_next(w), "NIX_STORE_DIR=%s", c->drv_store_dir);
	buf_addf(env_next(w), "NIX_STATE_DIR=%s/var/nix", dir);
	buf_addf(env_next(w), "NIX_LOG_DIR=%s/var/log/nix", dir);
	buf_addf(env_next(w),
	    "NIX_REMOTE=local?real=%s/store&state=%s/var/nix"
	    "&log=%s/var/log/nix",
	    dir, dir, dir);
	buf_addf(env_next(w),
	    "NIX_CONFIG=build-users-group =\n"
	    "experimental-features = nix-command\n"
	    "restrict-eval = %s\n"
	    "allow-import-from-derivation = %s\n",
	    restricted ? "true" : "false", restricted ? "false" : "true");
	b = env_next(w);
	buf_adds(b, "NIX_PATH=");
	if (restricted)
		add_file_dir(w->job->file, b);
	if (c->drv_overlays != NULL)
		buf_addf(b, "nixpkgs-overlays=%s:", c->drv_overlays);
	if (c->drv_nix_path != NULL)
		buf_addf(b, "%s:", c->drv_nix_path);
	if (b->len > 0 && b->p[b->len - 1] == ':')
		b->p[--b->len] = '\0';
	for (i = 0; i < w->nenv; i++) {
		if (buf_failed(&w->env[i]))
			return -1;
		w->envp[i] = buf_str(&w->env[i]);
	}
	w->envp[w->nenv] = NULL;
	return 0;
}

/* Running Nix -------------------------------------------------------------- */

static enum instantiate_rc
ours(const char *what)
{
	log_warnx("instantiate: %s", what);
	return INSTANTIATE_ERROR;
}

/* The last of what a program said, and how it ended, as the result's text. */
static void
explain(struct work *w, const char *name, int status)
{
	struct buf *text = &w->result->text;

	text_tail(buf_str(&w->tail), w->tail.len, SHOWN_MAX, text);
	if (status == 128 + SIGXCPU || status == 128 + SIGKILL)
		buf_addf(text,
		    "%s was killed by signal %d: over a limit of memory "
		    "(%" PRIu64 " MiB) or processor time (%" PRIu64 " s)?\n",
		    name, status - 128, w->job->conf->drv_memory >> 20,
		    w->job->conf->drv_cpu);
	else if (status > 128)
		buf_addf(text,
		    "%s was ended by signal %d: out of memory, or a crash\n",
		    name, status - 128);
	else
		buf_addf(text, "%s ended with status %d\n", name, status);
}

/* Run a program to its end; FAILED when its status is not 0. */
static enum instantiate_rc
run(struct work *w, const char *const argv[])
{
	const struct conf *c = w->job->conf;
	struct proc p = { .guard = buf_str(&w->nix->guard),
		.argv = argv,
		.envp = w->envp,
		.memory = c->drv_memory,
		.cpu = c->drv_cpu,
		.deadline = w->deadline,
		.go_on = w->job->go_on,
		.arg = w->job->arg };
	const char *name = strrchr(argv[0], '/') + 1;
	int status = 0;

	buf_clear(&w->out);
	buf_clear(&w->tail);
	switch (proc_run(&p, &w->out, &w->tail, TAIL_MAX, &status)) {
	case PROC_ENDED:
		break;
	case PROC_TIMEOUT:
		return INSTANTIATE_TIMEOUT;
	case PROC_STOPPED:
		return INSTANTIATE_GONE;
	case PROC_OUTPUT:
		buf_addf(&w->result->text, "%s writes without end\n", name);
		return INSTANTIATE_FAILED;
	case PROC_ERROR:
		return INSTANTIATE_ERROR;
	}
	if (status == 0)
		return INSTANTIATE_OK;
	explain(w, name, status);
	return INSTANTIATE_FAILED;
}

/* The next line of *p without "!output", cut out of the text; NULL: none. */
static char *
next_path(char **p)
{
	char *line = *p, *end;

	if (line == NULL || *line == '\0')
		return NULL;
	end = line + strcspn(line, "\n");
	*p = *end == '\n' ? end + 1 : end;
	*end = '\0';
	line[strcspn(line, "!")] = '\0';
	return line;
}

/* The one derivation that nix-instantiate printed. */
static enum instantiate_rc
take_drv(struct work *w)
{
	const char *dir = w->job->conf->drv_store_dir, *base;
	char *p = w->out.p, *line;

	while ((line = next_path(&p)) != NULL) {
		if (w->drv.len == 0)
			buf_adds(&w->drv, line);
		else if (strcmp(buf_str(&w->drv), line) != 0) {
			buf_adds(&w->result->text,
			    "the attribute is several derivations: ask for one "
			    "of them\n");
			return INSTANTIATE_FAILED;
		}
	}
	if (w->drv.len == 0) {
		buf_adds(&w->result->text, "the attribute is no derivation\n");
		return INSTANTIATE_FAILED;
	}
	if (buf_failed(&w->drv) ||
	    storepath_parse(w->drv.p, w->drv.len, dir, &base,
		&w->result->hash_part) == -1 ||
	    !storepath_is_drv(base, strlen(base)))
		return ours("nix-instantiate did not print a derivation");
	snprintf(w->result->base, sizeof(w->result->base), "%s", base);
	return INSTANTIATE_OK;
}

/* Evaluate; the words of drv_args go in front of what is ours. */
static enum instantiate_rc
evaluate(struct work *w)
{
	const char *args = w->job->conf->drv_args;
	const char *argv[ARGS_MAX];
	char *words = NULL, *p, *next;
	size_t n = 0;
	enum instantiate_rc rc;

	if (args != NULL && (words = strdup(args)) == NULL)
		return INSTANTIATE_ERROR;
	argv[n++] = buf_str(&w->nix->instantiate);
	for (p = words; p != NULL && *p != '\0'; p = next) {
		next = p + strcspn(p, " ");
		if (*next != '\0')
			*next++ = '\0';
		if (n < ARGS_MAX - 4)
			argv[n++] = p;
	}
	argv[n++] = "-A";
	argv[n++] = w->job->attr;
	argv[n++] = w->job->file;
	argv[n] = NULL;
	rc = run(w, argv);
	free(words);
	return rc == INSTANTIATE_OK ? take_drv(w) : rc;
}

static enum instantiate_rc
read_drv(struct work *w)
{
	struct buf path = BUF_INIT;
	char *p = NULL;
	ssize_t n = -1;
	int fd = -1;

	buf_addf(
	    &path, "%s/store/%s", w->job->conf->drv_state_dir, w->result->base);
	if (!buf_failed(&path) &&
	    (p = buf_reserve(&w->result->drv, DRV_HEAD)) != NULL)
		fd = open(buf_str(&path), O_RDONLY | O_CLOEXEC);
	if (fd == -1 || (n = file_read_full(fd, p, DRV_HEAD)) == -1)
		log_warn("%s", buf_str(&path));
	else {
		w->result->drv.len = (size_t)n;
		buf_end(&w->result->drv);
	}
	if (fd != -1)
		close(fd);
	buf_free(&path);
	return n == -1 ? INSTANTIATE_ERROR : INSTANTIATE_OK;
}

/* Copying and entering ----------------------------------------------------- */

static enum instantiate_rc
copy(struct work *w)
{
	const char *argv[] = { buf_str(&w->nix->nix), "copy", "--derivation",
		"--to", buf_str(&w->nix->to), buf_str(&w->drv), NULL };

	return run(w, argv);
}

/* The closure, a line each, references first. */
static enum instantiate_rc
query(struct work *w)
{
	const char *argv[] = { buf_str(&w->nix->nix_store), "-qR",
		buf_str(&w->drv), NULL };

	return run(w, argv);
}

/* Are these the bytes the narinfo names? */
static bool
nar_is_right(struct work *w, const struct narinfo *ni)
{
	struct hash *h = NULL;
	struct digest d;
	char *chunk = NULL;
	uint64_t size = 0;
	ssize_t n = -1;
	int fd;

	fd = w->nix->store->ops->open(w->nix->store, ni->nar.s);
	if (fd != -1 && (h = hash_new()) != NULL &&
	    (chunk = malloc(CHUNK)) != NULL) {
		while ((n = file_read_full(fd, chunk, CHUNK)) > 0) {
			hash_add(h, chunk, (size_t)n);
			size += (uint64_t)n;
		}
		hash_final(h, &d);
	}
	if (fd != -1)
		close(fd);
	free(chunk);
	hash_free(h);
	return n == 0 && ni->has_file_size && size == ni->file_size &&
	    digest_equal(&d, &ni->file_hash);
}

static bool
is_signed(struct work *w, const struct narinfo *ni)
{
	struct buf fp = BUF_INIT;
	struct signature sig;
	bool yes = false;
	size_t i;

	narinfo_fingerprint(ni, &fp);
	for (i = 0; i < ni->nsigs && !yes && !buf_failed(&fp); i++)
		yes = sign_signature_parse(
			  ni->sigs[i], strlen(ni->sigs[i]), &sig) == 0 &&
		    sign_verify(&w->nix->key, &sig, fp.p, fp.len);
	buf_free(&fp);
	return yes;
}

/*
 * Read hash part hp's narinfo back from the store.  NULL when it or its NAR is
 * not as it should be: what a power cut left of a copy, since Nix does not
 * flush.  What is there of them is removed, so that the next copy makes it
 * again.
 */
static struct narinfo *
read_back(struct work *w, const struct hash_part *hp)
{
	struct asset_store *as = w->nix->store;
	struct buf text = BUF_INIT, why = BUF_INIT;
	struct narinfo *ni = NULL;
	char key[KEY_MAX + 1], err[256] = "can't be read";
	int fd;

	snprintf(key, sizeof(key), "%s.narinfo", hp->s);
	if ((fd = as->ops->open(as, key)) != -1) {
		if (file_read_max(fd, NARINFO_MAX, &text) == 0)
			ni = narinfo_parse_stored(buf_str(&text), text.len,
			    w->job->conf->drv_store_dir, err, sizeof(err));
		close(fd);
	}
	if (ni != NULL && strcmp(ni->hash_part.s, hp->s) == 0 &&
	    is_signed(w, ni) && nar_is_right(w, ni)) {
		buf_free(&text);
		return ni;
	}
	log_warnx("%s: %s: removed", key,
	    ni != NULL ? "its NAR or its signature is not right" : err);
	as->ops->remove(as, key, &why);
	if (ni != NULL)
		as->ops->remove(as, ni->nar.s, &why);
	narinfo_free(ni);
	buf_free(&text);
	buf_free(&why);
	return NULL;
}

static void
forget_paths(struct work *w)
{
	size_t i;

	for (i = 0; i < w->npaths; i++)
		narinfo_free(w->paths[i]);
	free(w->paths);
	w->paths = NULL;
	w->npaths = 0;
}

/*
 * Read back what of the closure (in w->out) the index does not know.  *broken
 * counts what was not right.
 */
static enum instantiate_rc
read_new_paths(struct work *w, size_t *broken)
{
	const char *dir = w->job->conf->drv_store_dir, *base;
	struct narinfo **more, *ni;
	struct hash_part hp;
	char *p = w->out.p, *line;
	size_t cap = 0;
	int known;

	*broken = 0;
	while ((line = next_path(&p)) != NULL) {
		if (storepath_parse(line, strlen(line), dir, &base, &hp) == -1)
			return ours("nix-store -qR did not print store paths");
		known = index_narinfo_get(w->ix, CACHE_DRV, hp.s, NULL, NULL);
		if (known == -1)
			return INSTANTIATE_ERROR;
		if (known == 1)
			continue;
		if (w->npaths == cap) {
			cap = cap == 0 ? 64 : cap * 2;
			more = realloc(w->paths, cap * sizeof(*more));
			if (more == NULL)
				return ours("no memory");
			w->paths = more;
		}
		if ((ni = read_back(w, &hp)) == NULL)
			++*broken;
		else
			w->paths[w->npaths++] = ni;
	}
	return INSTANTIATE_OK;
}

/* Copy what is not there, and have it in the index. */
static enum instantiate_rc
enter(struct work *w)
{
	struct asset_store *as = w->nix->store;
	struct buf why = BUF_INIT;
	enum instantiate_rc rc;
	size_t broken = 0;
	int tries;

	for (tries = 0; tries < 2; tries++) {
		forget_paths(w);
		if ((rc = copy(w)) != INSTANTIATE_OK ||
		    (rc = query(w)) != INSTANTIATE_OK ||
		    (rc = read_new_paths(w, &broken)) != INSTANTIATE_OK)
			return rc;
		if (broken == 0)
			break;
	}
	if (broken != 0)
		return ours("the copy does not become right");
	if (as->ops->flush(as, &why) != ASSET_OK)
		rc = ours(buf_str(&why));
	else if (index_import(w->ix, CACHE_DRV, w->paths, w->npaths,
		     (int64_t)time(NULL)) == -1)
		rc = INSTANTIATE_ERROR;
	else
		log_info(
		    "%s: entered, %zu new paths", w->result->base, w->npaths);
	buf_free(&why);
	return rc;
}

static enum instantiate_rc
instantiate(struct work *w)
{
	enum instantiate_rc rc;

	if (make_env(w) == -1)
		return ours("no memory");
	if ((rc = evaluate(w)) != INSTANTIATE_OK ||
	    (rc = read_drv(w)) != INSTANTIATE_OK)
		return rc;
	switch (index_narinfo_get(
	    w->ix, CACHE_DRV, w->result->hash_part.s, NULL, NULL)) {
	case 1:
		/* And with it its closure: see instantiate.h. */
		return INSTANTIATE_OK;
	case 0:
		return enter(w);
	default:
		return INSTANTIATE_ERROR;
	}
}

enum instantiate_rc
nix_instantiate(struct nix *nix, struct index *ix, const struct nix_job *job,
    struct instantiated *result)
{
	struct work w = { .nix = nix, .ix = ix, .job = job, .result = result };
	enum instantiate_rc rc;
	size_t i;

	w.out.max = OUT_MAX;
	proc_deadline(job->conf->drv_timeout, &w.deadline);
	rc = instantiate(&w);
	forget_paths(&w);
	for (i = 0; i < w.nenv; i++)
		buf_free(&w.env[i]);
	buf_free(&w.drv);
	buf_free(&w.out);
	buf_free(&w.tail);
	return rc;
}
