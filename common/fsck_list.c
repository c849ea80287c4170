#include "config.h"

#include "fsck_list.h"

#include <string.h>
#include <time.h>

#include "log.h"

/* An object that is younger may belong to a row that is not there yet. */
#define DAY 86400
/* What a page costs at least, for the rate. */
#define PAGE_COST 4096

void
fsck_list_open(struct fsck_list *l, struct fsck *c, const char *from)
{
	memset(l, 0, sizeof(*l));
	l->c = c;
	l->none = c->store->ops->list == NULL;
	l->open = !l->none;
	buf_adds(&l->last, from);
}

void
fsck_list_close(struct fsck_list *l)
{
	asset_page_clear(&l->page);
	buf_free(&l->last);
}

/* Ask for the page behind this one, once more when that fails. */
static enum asset_rc
ask_page(struct fsck_list *l, struct asset_page *page, struct buf *why)
{
	const struct timespec pause = { .tv_sec = 1 };
	struct asset_store *as = l->c->store;
	enum asset_rc rc;

	fsck_pay(l->c, PAGE_COST);
	rc = as->ops->list(as, buf_str(&l->last), l->page.next, page, why);
	if (rc != ASSET_RETRY)
		return rc;
	nanosleep(&pause, NULL);
	buf_clear(why);
	return as->ops->list(as, buf_str(&l->last), l->page.next, page, why);
}

/* The listing is of no use: each object is asked for. */
static enum fsck_listed
give_up(struct fsck_list *l, const char *why)
{
	l->none = true;
	fsck_found(l->c, FSCK_NOTE, "listing", "",
	    "each object is asked for, and others are not looked for: %s", why);
	return FSCK_NO_LISTING;
}

/* Go on to the next page: FSCK_LISTED. */
static enum fsck_listed
turn(struct fsck_list *l)
{
	struct buf why = BUF_INIT;
	struct asset_page page;
	enum fsck_listed rc = FSCK_LISTED;

	if (fsck_cut(l->c, buf_str(&l->last)))
		return FSCK_LIST_FAILED;
	switch (ask_page(l, &page, &why)) {
	case ASSET_OK:
		asset_page_clear(&l->page);
		l->page = page;
		l->at = 0;
		l->open = page.next != NULL;
		if (page.n > 0 &&
		    strcmp(page.objects[0].key, buf_str(&l->last)) <= 0)
			rc = give_up(l, "the listing's keys do not ascend");
		break;
	case ASSET_REFUSED:
		rc = give_up(l, buf_str(&why));
		break;
	default:
		log_warnx("fsck: %s", buf_str(&why));
		rc = FSCK_LIST_FAILED;
	}
	buf_free(&why);
	return rc;
}

/* Have an object to come, if there is one. */
static enum fsck_listed
fill(struct fsck_list *l)
{
	enum fsck_listed rc;

	if (l->none)
		return FSCK_NO_LISTING;
	while (l->at == l->page.n) {
		if (!l->open)
			return FSCK_NOT_LISTED;
		if ((rc = turn(l)) != FSCK_LISTED)
			return rc;
	}
	return FSCK_LISTED;
}

enum fsck_listed
fsck_list_next(struct fsck_list *l, const struct asset_object **o)
{
	enum fsck_listed rc = fill(l);

	if (rc != FSCK_LISTED)
		return rc;
	*o = &l->page.objects[l->at++];
	buf_clear(&l->last);
	buf_adds(&l->last, (*o)->key);
	return rc;
}

static void
tell(struct fsck *c, const struct asset_object *o)
{
	if (o->modified <= c->now - DAY)
		fsck_unknown(c, o->key);
}

enum fsck_listed
fsck_list_find(
    struct fsck_list *l, const char *key, const struct asset_object **o)
{
	enum fsck_listed rc;
	int order;

	while ((rc = fill(l)) == FSCK_LISTED) {
		*o = &l->page.objects[l->at];
		order = key == NULL ? -1 : strcmp((*o)->key, key);
		if (order > 0)
			return FSCK_NOT_LISTED;
		rc = fsck_list_next(l, o);
		if (order == 0)
			return rc;
		tell(l->c, *o);
	}
	return rc;
}
