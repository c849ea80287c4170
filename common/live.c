#include "config.h"

#include "live.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

struct version {
	struct settings settings; /* first: see live_release */
	struct conf *conf; /* the same, to be freed */
	unsigned int users; /* one of them is to be in force */
};

struct live {
	const char *file;
	bool verbose;
	const struct live_ops *ops;
	struct conf *first;
	pthread_mutex_t mutex; /* of current, and of users everywhere */
	struct version *current;
};

static struct version *
version_new(struct conf *conf)
{
	struct version *v;

	if ((v = calloc(1, sizeof(*v))) == NULL)
		return NULL;
	v->settings.conf = v->conf = conf;
	v->users = 1;
	return v;
}

static void
version_free(struct live *lv, struct version *v)
{
	if (v->settings.made != NULL)
		lv->ops->unmake(v->settings.made);
	if (v->conf != lv->first)
		conf_free(v->conf);
	free(v);
}

struct live *
live_new(const char *file, struct conf *conf, bool verbose)
{
	struct live *lv;

	if ((lv = calloc(1, sizeof(*lv))) == NULL ||
	    (lv->current = version_new(conf)) == NULL) {
		free(lv);
		conf_free(conf);
		return NULL;
	}
	lv->file = file;
	lv->verbose = verbose;
	lv->first = conf;
	pthread_mutex_init(&lv->mutex, NULL);
	return lv;
}

void
live_free(struct live *lv)
{
	if (lv == NULL)
		return;
	version_free(lv, lv->current);
	conf_free(lv->first);
	pthread_mutex_destroy(&lv->mutex);
	free(lv);
}

const struct conf *
live_first(const struct live *lv)
{
	return lv->first;
}

int
live_begin(struct live *lv, const struct live_ops *ops)
{
	lv->ops = ops;
	return ops->make(lv->first, &lv->current->settings.made);
}

struct settings *
live_take(struct live *lv)
{
	struct version *v;

	pthread_mutex_lock(&lv->mutex);
	v = lv->current;
	v->users++;
	pthread_mutex_unlock(&lv->mutex);
	return &v->settings;
}

static void
release(struct live *lv, struct version *v)
{
	bool last;

	pthread_mutex_lock(&lv->mutex);
	last = --v->users == 0;
	pthread_mutex_unlock(&lv->mutex);
	if (last)
		version_free(lv, v);
}

void
live_release(struct live *lv, struct settings *s)
{
	release(lv, (struct version *)s);
}

/* Put v in force. */
static void
exchange(struct live *lv, struct version *v)
{
	struct version *old;

	pthread_mutex_lock(&lv->mutex);
	old = lv->current;
	lv->current = v;
	pthread_mutex_unlock(&lv->mutex);
	release(lv, old);
}

/*
 * What people are shown is read when they ask.  In a directory that the sandbox
 * does not let us into it is no more than a name.
 */
static bool
can_read(const char *key, const char *path)
{
	int fd;

	if (path == NULL)
		return true;
	if ((fd = open(path, O_RDONLY | O_CLOEXEC)) != -1)
		close(fd);
	else if (errno != ENOENT) {
		log_warn("%s %s", key, path);
		return false;
	}
	return true;
}

/* A version of conf, which is taken; NULL (logged) when it can't be used. */
static struct version *
prepare(struct live *lv, struct conf *conf)
{
	struct version *v;

	if ((v = version_new(conf)) == NULL) {
		log_warn("reload");
		conf_free(conf);
		return NULL;
	}
	if (can_read("public_key_file", conf->public_key_file) &&
	    can_read("drv_public_key_file", conf->drv_public_key_file) &&
	    (lv->ops == NULL || lv->ops->make(conf, &v->settings.made) == 0))
		return v;
	version_free(lv, v);
	return NULL;
}

/* A line for each key that stays as it was. */
static void
tell_kept(const struct live *lv, const char *names)
{
	size_t n;

	for (; *names != '\0'; names += n + strspn(names + n, ", ")) {
		n = strcspn(names, ",");
		log_warnx("%.*s: changed in %s: needs a restart", (int)n, names,
		    lv->file);
	}
}

static void
tell(const struct live *lv, const struct conf_changes *ch)
{
	tell_kept(lv, buf_str(&ch->kept));
	log_info("configuration reloaded: %s",
	    ch->taken.len > 0 ? buf_str(&ch->taken) : "no key has changed");
}

int
live_reload(struct live *lv)
{
	struct conf_changes ch = { BUF_INIT, BUF_INIT };
	struct buf errs = BUF_INIT;
	struct version *v = NULL;
	struct conf *conf;

	conf = conf_reload(lv->current->conf, lv->file, &ch, &errs);
	if (conf != NULL)
		v = prepare(lv, conf);
	log_lines(buf_str(&errs));
	if (v != NULL) {
		if (!lv->verbose)
			log_set_level(v->conf->log_level);
		exchange(lv, v);
		tell(lv, &ch);
	} else
		log_warnx("%s: not reloaded, see above: the old configuration "
			  "stays in force",
		    lv->file);
	buf_free(&ch.taken);
	buf_free(&ch.kept);
	buf_free(&errs);
	return v != NULL ? 0 : -1;
}
