#include "config.h"

#include "nar.h"

#include <sys/types.h>

#include <assert.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "utf8.h"

/* Each but the root takes a byte of name and a slash: the path is the limit. */
#define DEPTH_MAX (NAR_PATH_MAX / 2 + 2)

/* What the string that comes next has to be. */
enum want {
	WANT_MAGIC,
	WANT_OPEN, /* "(" of a node */
	WANT_TYPE,
	WANT_KIND,
	WANT_EXECUTABLE, /* or "contents" */
	WANT_EMPTY,
	WANT_CONTENTS,
	WANT_BYTES,
	WANT_TARGET_WORD,
	WANT_TARGET,
	WANT_CLOSE, /* ")" of a node */
	WANT_ENTRY, /* or ")" of the directory */
	WANT_ENTRY_OPEN,
	WANT_NAME_WORD,
	WANT_NAME,
	WANT_NODE_WORD,
	WANT_ENTRY_CLOSE,
	WANT_NOTHING,
};

/* Where in that string we are. */
enum phase { PHASE_LENGTH, PHASE_BODY, PHASE_PADDING };

struct nar {
	struct buf *listing;
	void (*file)(void *arg, const void *p, size_t n);
	void *arg;
	const char *error;

	enum want want;
	enum phase phase;
	uint64_t offset; /* of the next byte in the NAR */
	uint64_t length; /* of the string */
	uint64_t done; /* bytes of the phase that went by */
	unsigned char text[NAR_TARGET_MAX + 1]; /* all strings but contents */
	unsigned char number[8];

	enum nar_root kind; /* of the node at hand */
	enum nar_root root;

	/*
	 * The names on the way from the root to the entry at hand, one behind
	 * the other; level[i] is the end of those above the i-th directory.
	 * What stands behind level[depth - 1] is the entry's, or that before.
	 */
	unsigned char path[NAR_PATH_MAX + 1];
	size_t path_len;
	uint16_t level[DEPTH_MAX];
	bool first[DEPTH_MAX]; /* no entry yet */
	size_t depth; /* directories that are open */
};

struct nar *
nar_new(struct buf *listing, void (*file)(void *arg, const void *p, size_t n),
    void *arg)
{
	struct nar *n;

	if ((n = calloc(1, sizeof(*n))) == NULL)
		return NULL;
	n->listing = listing;
	n->file = file;
	n->arg = arg;
	n->error = "";
	return n;
}

void
nar_free(struct nar *n)
{
	free(n);
}

const char *
nar_error(const struct nar *n)
{
	return n->error;
}

enum nar_root
nar_root(const struct nar *n)
{
	return n->root;
}

static int
broken(struct nar *n, const char *rule)
{
	n->error = rule;
	return -1;
}

/* The listing ---------------------------------------------------------------
 */

static void
list(struct nar *n, const char *s)
{
	if (n->listing != NULL)
		buf_adds(n->listing, s);
}

/* A string of JSON; one that is not UTF-8 ends the listing. */
static void
list_string(struct nar *n, const unsigned char *p, size_t len)
{
	struct buf *b = n->listing;
	size_t i;

	if (b == NULL || buf_failed(b))
		return;
	if (!utf8_ok(p, len)) {
		b->failed = true;
		return;
	}
	buf_addch(b, '"');
	for (i = 0; i < len; i++) {
		if (p[i] == '"' || p[i] == '\\')
			buf_addf(b, "\\%c", p[i]);
		else if (p[i] < 0x20)
			buf_addf(b, "\\u%04x", (unsigned int)p[i]);
		else
			buf_addch(b, (char)p[i]);
	}
	buf_addch(b, '"');
}

/* The strings ----------------------------------------------------------------
 */

static bool
text_is(const struct nar *n, const char *s)
{
	return n->length == strlen(s) && memcmp(n->text, s, n->length) == 0;
}

static int
word(struct nar *n, const char *s, enum want next, const char *rule)
{
	if (!text_is(n, s))
		return broken(n, rule);
	n->want = next;
	return 0;
}

static int
take_kind(struct nar *n)
{
	if (text_is(n, "regular")) {
		n->kind = NAR_FILE;
		n->want = WANT_EXECUTABLE;
	} else if (text_is(n, "symlink")) {
		n->kind = NAR_SYMLINK;
		n->want = WANT_TARGET_WORD;
	} else if (text_is(n, "directory")) {
		n->kind = NAR_DIRECTORY;
		if (n->depth == DEPTH_MAX)
			return broken(n, "directories are nested too deeply");
		n->level[n->depth] = (uint16_t)n->path_len;
		n->first[n->depth] = true;
		n->depth++;
		n->want = WANT_ENTRY;
		list(n, "{\"type\":\"directory\",\"entries\":{");
	} else {
		return broken(n,
		    "a node is not \"regular\", \"symlink\" or \"directory\"");
	}
	return 0;
}

/* "executable" and an empty string, or "contents" at once. */
static int
take_executable(struct nar *n)
{
	if (text_is(n, "contents")) {
		n->want = WANT_BYTES;
		return 0;
	}
	n->kind = NAR_EXECUTABLE;
	return word(n, "executable", WANT_EMPTY,
	    "a regular file has neither \"executable\" nor \"contents\"");
}

static int
take_target(struct nar *n)
{
	if (n->length == 0 || memchr(n->text, '\0', n->length) != NULL)
		return broken(n, "a link's target is empty or has a NUL");
	list(n, "{\"type\":\"symlink\",\"target\":");
	list_string(n, n->text, n->length);
	list(n, "}");
	n->want = WANT_CLOSE;
	return 0;
}

static int
take_name(struct nar *n)
{
	size_t above = n->level[n->depth - 1];
	const unsigned char *before = n->path + above;
	size_t before_len = n->path_len - above, common, slashes;
	int order;

	if (n->length == 0)
		return broken(n, "a name is empty");
	if (text_is(n, ".") || text_is(n, ".."))
		return broken(n, "a name is \".\" or \"..\"");
	if (memchr(n->text, '/', n->length) != NULL)
		return broken(n, "a name has a slash");
	if (memchr(n->text, '\0', n->length) != NULL)
		return broken(n, "a name has a NUL");
	if (!n->first[n->depth - 1]) {
		common = before_len < n->length ? before_len : n->length;
		order = memcmp(before, n->text, common);
		if (order == 0 && before_len == n->length)
			return broken(n, "a name comes twice in a directory");
		if (order > 0 || (order == 0 && before_len > n->length))
			return broken(n,
			    "the names of a directory are not "
			    "sorted");
	}
	slashes = n->depth - 1;
	if (above + n->length + slashes > NAR_PATH_MAX)
		return broken(n, "a path is too long");
	memcpy(n->path + above, n->text, n->length);
	n->path_len = above + n->length;
	if (!n->first[n->depth - 1])
		list(n, ",");
	n->first[n->depth - 1] = false;
	list_string(n, n->text, n->length);
	list(n, ":");
	n->want = WANT_NODE_WORD;
	return 0;
}

/* A node has ended. */
static int
node_end(struct nar *n)
{
	if (n->depth > 0) {
		n->want = WANT_ENTRY_CLOSE;
	} else {
		n->root = n->kind;
		n->want = WANT_NOTHING;
		list(n, "}\n");
	}
	return 0;
}

static int
take_entry(struct nar *n)
{
	if (!text_is(n, ")"))
		return word(n, "entry", WANT_ENTRY_OPEN,
		    "a directory has something that is not \"entry\"");
	n->depth--;
	n->path_len = n->level[n->depth];
	/* The kind of the node that ends, whatever was in it. */
	n->kind = NAR_DIRECTORY;
	list(n, "}}");
	return node_end(n);
}

/* A string other than a file's contents is complete in text. */
static int
take_string(struct nar *n)
{
	switch (n->want) {
	case WANT_MAGIC:
		list(n, "{\"version\":1,\"root\":");
		return word(n, "nix-archive-1", WANT_OPEN,
		    "it does not begin with \"nix-archive-1\"");
	case WANT_OPEN:
		return word(
		    n, "(", WANT_TYPE, "a node does not begin with \"(\"");
	case WANT_TYPE:
		return word(n, "type", WANT_KIND, "a node has no \"type\"");
	case WANT_KIND:
		return take_kind(n);
	case WANT_EXECUTABLE:
		return take_executable(n);
	case WANT_EMPTY:
		return word(n, "", WANT_CONTENTS,
		    "something stands behind \"executable\"");
	case WANT_CONTENTS:
		return word(n, "contents", WANT_BYTES,
		    "an executable file has no \"contents\"");
	case WANT_TARGET_WORD:
		return word(
		    n, "target", WANT_TARGET, "a symlink has no \"target\"");
	case WANT_TARGET:
		return take_target(n);
	case WANT_CLOSE:
		if (!text_is(n, ")"))
			return broken(n, "a node does not end with \")\"");
		return node_end(n);
	case WANT_ENTRY:
		return take_entry(n);
	case WANT_ENTRY_OPEN:
		return word(n, "(", WANT_NAME_WORD,
		    "an entry does not begin with \"(\"");
	case WANT_NAME_WORD:
		return word(n, "name", WANT_NAME, "an entry has no \"name\"");
	case WANT_NAME:
		return take_name(n);
	case WANT_NODE_WORD:
		return word(n, "node", WANT_OPEN, "an entry has no \"node\"");
	case WANT_ENTRY_CLOSE:
		return word(
		    n, ")", WANT_ENTRY, "an entry does not end with \")\"");
	case WANT_BYTES:
	case WANT_NOTHING:
		break;
	}
	assert(0);
	return -1;
}

/* The length of a string is known: may it be that long? */
static int
take_length(struct nar *n)
{
	struct buf *b = n->listing;
	size_t i;

	n->length = 0;
	for (i = 8; i-- > 0;)
		n->length = n->length << 8 | n->number[i];
	if (n->want == WANT_BYTES) {
		/* Its end must be a file offset. */
		if (n->length > (uint64_t)INT64_MAX - n->offset - 8)
			return broken(
			    n, "a file's length is beyond all limits");
		if (b != NULL)
			buf_addf(b,
			    "{\"type\":\"regular\",\"size\":%" PRIu64
			    "%s,\"narOffset\":%" PRIu64 "}",
			    n->length,
			    n->kind == NAR_EXECUTABLE ? ",\"executable\":true"
						      : "",
			    n->offset);
	} else if (n->want == WANT_NAME && n->length > NAR_NAME_MAX) {
		return broken(n, "a name is longer than 255 bytes");
	} else if (n->length > NAR_TARGET_MAX) {
		return broken(n, "a string is too long");
	}
	return 0;
}

static size_t
padding(const struct nar *n)
{
	return (size_t)(-n->length & 7);
}

/* Up to len bytes of the phase at hand: their number, or -1. */
static ssize_t
take_phase(struct nar *n, const unsigned char *p, size_t len)
{
	uint64_t whole = n->phase == PHASE_LENGTH ? 8
	    : n->phase == PHASE_BODY		  ? n->length
						  : padding(n);
	size_t i;

	if (len > whole - n->done)
		len = (size_t)(whole - n->done);
	switch (n->phase) {
	case PHASE_LENGTH:
		memcpy(n->number + n->done, p, len);
		break;
	case PHASE_BODY:
		if (n->want != WANT_BYTES)
			memcpy(n->text + n->done, p, len);
		else if (n->depth == 0 && n->file != NULL && len > 0)
			n->file(n->arg, p, len);
		break;
	case PHASE_PADDING:
		for (i = 0; i < len; i++)
			if (p[i] != 0)
				return broken(n, "padding is not zero");
		break;
	}
	n->done += len;
	n->offset += len;
	if (n->done < whole)
		return (ssize_t)len;
	n->done = 0;
	switch (n->phase) {
	case PHASE_LENGTH:
		if (take_length(n) == -1)
			return -1;
		n->phase = PHASE_BODY;
		break;
	case PHASE_BODY:
		n->phase = PHASE_PADDING;
		break;
	case PHASE_PADDING:
		n->phase = PHASE_LENGTH;
		if (n->want == WANT_BYTES)
			n->want = WANT_CLOSE;
		else if (take_string(n) == -1)
			return -1;
		break;
	}
	return (ssize_t)len;
}

/* Would the phase at hand end without a further byte? */
static bool
phase_is_empty(const struct nar *n)
{
	return (n->phase == PHASE_BODY && n->length == 0) ||
	    (n->phase == PHASE_PADDING && padding(n) == 0);
}

int
nar_add(struct nar *n, const void *p, size_t len)
{
	const unsigned char *u = p;
	ssize_t took;

	if (n->error[0] != '\0')
		return -1;
	while (len > 0) {
		if (n->want == WANT_NOTHING)
			return broken(n, "bytes follow the end");
		if ((took = take_phase(n, u, len)) == -1)
			return -1;
		u += took;
		len -= (size_t)took;
		while (phase_is_empty(n))
			if (take_phase(n, u, 0) == -1)
				return -1;
	}
	return 0;
}

int
nar_end(struct nar *n)
{
	if (n->error[0] != '\0')
		return -1;
	if (n->want != WANT_NOTHING)
		return broken(n, "it ends too early");
	return 0;
}
