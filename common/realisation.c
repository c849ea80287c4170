#include "config.h"

#include "realisation.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "sign.h"
#include "storepath.h"

/* A derivation has some hundred inputs. */
#define DEPENDENT_MAX 4096

struct realisation {
	bool trace; /* a build trace */
	char id[KEY_MAX + 1]; /* what stands between the key's ends */
	char path[STORE_BASE_MAX + 1];
	json_t *dependent; /* id -> path; NULL of a build trace */
	char **sigs; /* REALISATION_SIGS_MAX of them, nsigs used */
	size_t nsigs;
};

static int __attribute__((format(printf, 3, 4)))
wrong(char *err, size_t size, const char *fmt, ...)
{
	va_list ap;
	size_t i;

	va_start(ap, fmt);
	vsnprintf(err, size, fmt, ap);
	va_end(ap);
	for (i = 0; err[i] != '\0'; i++)
		if ((unsigned char)err[i] < 0x20 ||
		    (unsigned char)err[i] >= 0x7f)
			err[i] = '?';
	return -1;
}

/* A string without a NUL in it; NULL when v is none. */
static const char *
text_of(const json_t *v)
{
	const char *s = json_string_value(v);

	return s != NULL && strlen(s) == json_string_length(v) ? s : NULL;
}

static bool
is_base(const char *s)
{
	struct hash_part hp;

	return s != NULL && strlen(s) <= STORE_BASE_MAX &&
	    storepath_base_parse(s, strlen(s), &hp) == 0;
}

/* Is it "sha256:<64 hex>!<output>"? */
static bool
is_id(const char *s)
{
	char text[KEY_MAX + 1];
	struct key k;
	int n;

	n = snprintf(text, sizeof(text), "realisations/%s.doi", s);
	return n > 0 && (size_t)n < sizeof(text) &&
	    key_parse(text, (size_t)n, &k) == 0;
}

static void
take_id(struct realisation *re, const struct key *k)
{
	const char *begin = strchr(k->s, '/') + 1;
	size_t n = strlen(begin) - (sizeof(".doi") - 1);

	re->trace = k->kind == KEY_BUILD_TRACE;
	memcpy(re->id, begin, n);
	re->id[n] = '\0';
}

static int
take_dependent(struct realisation *re, json_t *o, char *err, size_t errsize)
{
	const char *id;
	json_t *path;

	if (o == NULL)
		return (re->dependent = json_object()) != NULL
		    ? 0
		    : wrong(err, errsize, "out of memory");
	if (!json_is_object(o))
		return wrong(
		    err, errsize, "dependentRealisations: is not an object");
	if (json_object_size(o) > DEPENDENT_MAX)
		return wrong(err, errsize,
		    "dependentRealisations: more than %d", DEPENDENT_MAX);
	json_object_foreach(o, id, path) if (!is_id(id) ||
	    !is_base(text_of(path))) return wrong(err, errsize,
	    "dependentRealisations: %.200s is not "
	    "sha256:<64 hex>!<output>, or its path is not "
	    "<hash part>-<name>",
	    id);
	re->dependent = json_incref(o);
	return 0;
}

static int
compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool
has_sig(const struct realisation *re, const char *sig)
{
	size_t i;

	for (i = 0; i < re->nsigs; i++)
		if (strcmp(re->sigs[i], sig) == 0)
			return true;
	return false;
}

/* There is room.  0, or -1 without memory. */
static int
add_sig(struct realisation *re, const char *sig)
{
	if ((re->sigs[re->nsigs] = strdup(sig)) == NULL)
		return -1;
	re->nsigs++;
	qsort(re->sigs, re->nsigs, sizeof(*re->sigs), compare);
	return 0;
}

/* As "name:base64", from either form.  0 or -1. */
static int
sig_text(const json_t *v, struct buf *out)
{
	const char *s = text_of(v), *name, *sig;
	struct signature parsed;

	name = text_of(json_object_get(v, "keyName"));
	sig = text_of(json_object_get(v, "sig"));
	if (s != NULL)
		buf_adds(out, s);
	else if (name != NULL && sig != NULL)
		buf_addf(out, "%s:%s", name, sig);
	return !buf_failed(out) && out->len > 0 &&
		sign_signature_parse(out->p, out->len, &parsed) == 0
	    ? 0
	    : -1;
}

static int
take_sigs(struct realisation *re, const json_t *a, char *err, size_t errsize)
{
	struct buf text = BUF_INIT;
	const json_t *v;
	size_t i;
	int rc = 0;

	re->sigs = calloc(REALISATION_SIGS_MAX, sizeof(*re->sigs));
	if (re->sigs == NULL)
		return wrong(err, errsize, "out of memory");
	if (a != NULL && !json_is_array(a))
		return wrong(err, errsize, "signatures: is not an array");
	if (json_array_size(a) > REALISATION_SIGS_MAX)
		return wrong(err, errsize, "signatures: more than %d",
		    REALISATION_SIGS_MAX);
	json_array_foreach(a, i, v)
	{
		buf_clear(&text);
		if (sig_text(v, &text) == -1)
			rc = wrong(err, errsize,
			    "signatures: number %zu is not <name>:<base 64 of "
			    "64 bytes>",
			    i + 1);
		else if (!has_sig(re, text.p) && add_sig(re, text.p) == -1)
			rc = wrong(err, errsize, "out of memory");
		if (rc == -1)
			break;
	}
	buf_free(&text);
	return rc;
}

static int
take(struct realisation *re, json_t *o, char *err, size_t errsize)
{
	const json_t *id = json_object_get(o, "id");
	const char *path = text_of(json_object_get(o, "outPath"));

	if (!json_is_object(o))
		return wrong(err, errsize, "it is not a JSON object");
	if (!re->trace && id != NULL &&
	    (text_of(id) == NULL || strcmp(text_of(id), re->id) != 0))
		return wrong(err, errsize,
		    "id: is not the one its name says, %s", re->id);
	if (!is_base(path))
		return wrong(
		    err, errsize, "outPath: is not <hash part>-<name>");
	memcpy(re->path, path, strlen(path) + 1);
	if (!re->trace &&
	    take_dependent(re, json_object_get(o, "dependentRealisations"), err,
		errsize) == -1)
		return -1;
	return take_sigs(re, json_object_get(o, "signatures"), err, errsize);
}

struct realisation *
realisation_parse(
    const char *p, size_t n, const struct key *k, char *err, size_t errsize)
{
	struct realisation *re;
	json_error_t why;
	json_t *o;
	int rc;

	if ((re = calloc(1, sizeof(*re))) == NULL) {
		wrong(err, errsize, "out of memory");
		return NULL;
	}
	take_id(re, k);
	if ((o = json_loadb(p, n, JSON_REJECT_DUPLICATES, &why)) == NULL)
		rc = wrong(err, errsize, "it is not JSON: %s", why.text);
	else
		rc = take(re, o, err, errsize);
	json_decref(o);
	if (rc == 0)
		return re;
	realisation_free(re);
	return NULL;
}

void
realisation_free(struct realisation *re)
{
	size_t i;

	if (re == NULL)
		return;
	for (i = 0; i < re->nsigs; i++)
		free(re->sigs[i]);
	free(re->sigs);
	json_decref(re->dependent);
	free(re);
}

/* Append o, which is taken; NULL: there was no memory to make it. */
static void
dump(json_t *o, struct buf *out)
{
	char *text = NULL;

	if (o != NULL)
		text = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(o);
	if (text != NULL)
		buf_adds(out, text);
	else
		out->failed = true;
	free(text);
}

static json_t *
sig_json(const struct realisation *re, const char *sig)
{
	const char *colon = strchr(sig, ':');

	return re->trace ? json_pack("{s:s%, s:s}", "keyName", sig,
			       (size_t)(colon - sig), "sig", colon + 1)
			 : json_string(sig);
}

void
realisation_print(const struct realisation *re, struct buf *out)
{
	json_t *sigs = json_array();
	size_t i;

	for (i = 0; i < re->nsigs; i++)
		if (json_array_append_new(sigs, sig_json(re, re->sigs[i])) ==
		    -1) {
			json_decref(sigs);
			sigs = NULL;
		}
	if (sigs == NULL)
		out->failed = true;
	else if (re->trace)
		dump(json_pack(
			 "{s:s, s:o}", "outPath", re->path, "signatures", sigs),
		    out);
	else
		dump(json_pack("{s:O, s:s, s:s, s:o}", "dependentRealisations",
			 re->dependent, "id", re->id, "outPath", re->path,
			 "signatures", sigs),
		    out);
}

void
realisation_fingerprint(const struct realisation *re, struct buf *out)
{
	const char *slash;

	if (!re->trace) {
		dump(json_pack("{s:O, s:s, s:s}", "dependentRealisations",
			 re->dependent, "id", re->id, "outPath", re->path),
		    out);
		return;
	}
	slash = strchr(re->id, '/');
	dump(json_pack("{s:{s:s%, s:s}, s:{s:s}}", "key", "drvPath", re->id,
		 (size_t)(slash - re->id), "outputName", slash + 1, "value",
		 "outPath", re->path),
	    out);
}

const char *
realisation_path(const struct realisation *re)
{
	return re->path;
}

char *const *
realisation_sigs(const struct realisation *re, size_t *n)
{
	*n = re->nsigs;
	return re->sigs;
}

/* Has re a good signature by the name that sig has? */
static bool
has_name(const struct realisation *re, const char *sig,
    unsigned int (*worth)(const void *arg, const char *sig), const void *arg)
{
	size_t i, n = strcspn(sig, ":") + 1;

	for (i = 0; i < re->nsigs; i++)
		if (strncmp(re->sigs[i], sig, n) == 0 &&
		    worth(arg, re->sigs[i]) > 0)
			return true;
	return false;
}

/* Make room for one more, if there is a signature that is worth nothing. */
static bool
make_room(struct realisation *re,
    unsigned int (*worth)(const void *arg, const char *sig), const void *arg)
{
	size_t i;

	if (re->nsigs < REALISATION_SIGS_MAX)
		return true;
	for (i = 0; i < re->nsigs; i++)
		if (worth(arg, re->sigs[i]) == 0) {
			free(re->sigs[i]);
			re->sigs[i] = re->sigs[--re->nsigs];
			return true;
		}
	return false;
}

int
realisation_merge_sigs(struct realisation *a, const struct realisation *b,
    unsigned int (*worth)(const void *arg, const char *sig), const void *arg)
{
	size_t i;

	for (i = 0; i < b->nsigs; i++)
		if (!has_sig(a, b->sigs[i]) && worth(arg, b->sigs[i]) > 0 &&
		    !has_name(a, b->sigs[i], worth, arg) &&
		    make_room(a, worth, arg) && add_sig(a, b->sigs[i]) == -1)
			return -1;
	return 0;
}
