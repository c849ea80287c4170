#include "config.h"

#include "http.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#define CURL_DISABLE_TYPECHECK /* macros in the functions' places */
#include <curl/curl.h>

#include "log.h"
#include "num.h"

#define CONNECT_SECONDS 15L
#define LOW_SPEED 1024L /* bytes a second */
#define RETRY_AFTER_MAX 86400

/* A handle nobody uses just now. */
struct handle {
	struct handle *next;
	CURL *curl;
};

struct http_pool {
	char *ca_file;
	uint64_t timeout;
	atomic_bool interrupted;
	pthread_mutex_t mutex; /* of the list */
	struct handle *idle;
};

/* One transfer. */
struct transfer {
	struct http_pool *hp;
	const struct http_call *call;
	struct http_answer *a;
	CURL *curl;
	uint64_t sent;
	bool ended; /* by the sink */
	char retry_after[64];
	struct curl_slist *headers;
	curl_mime *mime;
	char error[CURL_ERROR_SIZE];
};

/*
 * libcurl brings more than twenty libraries along, which take more memory than
 * the rest of us: it is loaded when there is a store on the network, and not
 * for those that have none.
 */
#define LIBCURL "libcurl.so.4"
#define FUNCTIONS(X)                                                           \
	X(easy_cleanup)                                                        \
	X(easy_getinfo)                                                        \
	X(easy_init)                                                           \
	X(easy_perform)                                                        \
	X(easy_reset)                                                          \
	X(easy_setopt)                                                         \
	X(easy_strerror)                                                       \
	X(getdate)                                                             \
	X(global_init)                                                         \
	X(mime_addpart)                                                        \
	X(mime_data)                                                           \
	X(mime_data_cb)                                                        \
	X(mime_filename)                                                       \
	X(mime_free)                                                           \
	X(mime_init)                                                           \
	X(mime_name)                                                           \
	X(mime_type)                                                           \
	X(slist_append)                                                        \
	X(slist_free_all)
#define POINTER(name) __typeof__(curl_##name) *name;
#define SYMBOL(name) { "curl_" #name, offsetof(struct lib, name) },

static struct lib {
	FUNCTIONS(POINTER)
} lib;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool loaded;

static void
nothing(int sig)
{
	(void)sig;
}

/* All of lib, or -1 (logged). */
static int
load(void)
{
	static const struct {
		const char *name;
		size_t at;
	} symbols[] = { FUNCTIONS(SYMBOL) };
	void *so, *symbol;
	size_t i;

	/* Second where it was when we were built, as on NixOS. */
	if ((so = dlopen(LIBCURL, RTLD_NOW | RTLD_LOCAL)) == NULL &&
	    (so = dlopen(TMPNIX_CURL_LIBDIR "/" LIBCURL,
		 RTLD_NOW | RTLD_LOCAL)) == NULL) {
		log_warnx(
		    "a store on the network needs libcurl: %s", dlerror());
		return -1;
	}
	for (i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
		if ((symbol = dlsym(so, symbols[i].name)) == NULL) {
			log_warnx("libcurl: %s", dlerror());
			return -1;
		}
		memcpy((char *)&lib + symbols[i].at, &symbol, sizeof(symbol));
	}
	return 0;
}

static void
global_init(void)
{
	CURLcode rc;
	struct sigaction sa = { .sa_handler = nothing };

	/* TLS writes to sockets that may be closed.  A handler, not SIG_IGN,
	 * which programs that others start would inherit. */
	sa.sa_flags = SA_RESTART;
	sigaction(SIGPIPE, &sa, NULL);
	if (load() == -1)
		return;
	if ((rc = lib.global_init(CURL_GLOBAL_DEFAULT)) == CURLE_OK)
		loaded = true;
	else
		log_warnx("libcurl can't start: %s", lib.easy_strerror(rc));
}

struct http_pool *
http_pool_new(const char *ca_file, uint64_t timeout)
{
	struct http_pool *hp;

	pthread_once(&once, global_init);
	if (!loaded)
		return NULL;
	if ((hp = calloc(1, sizeof(*hp))) == NULL ||
	    (ca_file != NULL && (hp->ca_file = strdup(ca_file)) == NULL)) {
		log_warnx("http: no memory");
		free(hp);
		return NULL;
	}
	hp->timeout = timeout;
	pthread_mutex_init(&hp->mutex, NULL);
	return hp;
}

void
http_pool_free(struct http_pool *hp)
{
	struct handle *h;

	if (hp == NULL)
		return;
	while ((h = hp->idle) != NULL) {
		hp->idle = h->next;
		lib.easy_cleanup(h->curl);
		free(h);
	}
	pthread_mutex_destroy(&hp->mutex);
	free(hp->ca_file);
	free(hp);
}

void
http_interrupt(struct http_pool *hp)
{
	atomic_store(&hp->interrupted, true);
}

/* The one used last: its connection is the least likely to be closed. */
static struct handle *
take_handle(struct http_pool *hp)
{
	struct handle *h;

	pthread_mutex_lock(&hp->mutex);
	if ((h = hp->idle) != NULL)
		hp->idle = h->next;
	pthread_mutex_unlock(&hp->mutex);
	if (h != NULL) {
		lib.easy_reset(h->curl);
		return h;
	}
	if ((h = calloc(1, sizeof(*h))) == NULL ||
	    (h->curl = lib.easy_init()) == NULL) {
		free(h);
		return NULL;
	}
	return h;
}

static void
give_handle(struct http_pool *hp, struct handle *h)
{
	/* Nothing of the last transfer, a secret least of all, stays. */
	lib.easy_reset(h->curl);
	pthread_mutex_lock(&hp->mutex);
	h->next = hp->idle;
	hp->idle = h;
	pthread_mutex_unlock(&hp->mutex);
}

/* Callbacks --------------------------------------------------------------- */

static size_t
read_body(char *p, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	uint64_t left = t->call->size - t->sent;
	ssize_t got;

	n *= size;
	if (n > left)
		n = (size_t)left;
	if (n == 0)
		return 0;
	if (t->call->fd == -1) {
		memcpy(p, (const char *)t->call->p + t->sent, n);
		got = (ssize_t)n;
	} else {
		do
			got = pread(t->call->fd, p, n, (off_t)t->sent);
		while (got == -1 && errno == EINTR);
		/* Shorter than it was: there is no body of that length. */
		if (got <= 0)
			return CURL_READFUNC_ABORT;
	}
	t->sent += (uint64_t)got;
	return (size_t)got;
}

/* libcurl sends again when a kept connection turned out to be closed. */
static int
seek_body(void *arg, curl_off_t offset, int origin)
{
	struct transfer *t = arg;

	if (origin != SEEK_SET || offset < 0 ||
	    (uint64_t)offset > t->call->size)
		return CURL_SEEKFUNC_FAIL;
	t->sent = (uint64_t)offset;
	return CURL_SEEKFUNC_OK;
}

static size_t
write_body(char *p, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	size_t room = t->call->body_max - t->a->body.len;
	long status = 0;

	n *= size;
	if (t->call->sink != NULL)
		lib.easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
	if (status != 200) {
		buf_add(&t->a->body, p, n < room ? n : room);
		return n;
	}
	t->ended = t->call->sink(p, n, t->call->sink_arg) != 0;
	return t->ended ? 0 : n;
}

void
http_header_value(
    const char *p, size_t n, const char *name, char *out, size_t size)
{
	size_t len = strlen(name);

	if (n <= len || strncasecmp(p, name, len) != 0 || p[len] != ':')
		return;
	p += len + 1;
	n -= len + 1;
	while (n > 0 && (*p == ' ' || *p == '\t')) {
		p++;
		n--;
	}
	while (n > 0 && (unsigned char)p[n - 1] <= ' ')
		n--;
	if (n >= size)
		return;
	memcpy(out, p, n);
	out[n] = '\0';
}

static size_t
read_header(char *p, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;

	n *= size;
	/* A "100 Continue" may have come first. */
	if (n > 5 && memcmp(p, "HTTP/", 5) == 0)
		t->retry_after[0] = t->a->etag[0] = '\0';
	http_header_value(p, n, "etag", t->a->etag, sizeof(t->a->etag));
	http_header_value(
	    p, n, "retry-after", t->retry_after, sizeof(t->retry_after));
	return n;
}

static int
progress(void *arg, curl_off_t dt, curl_off_t dn, curl_off_t ut, curl_off_t un)
{
	struct transfer *t = arg;

	(void)dt;
	(void)dn;
	(void)ut;
	(void)un;
	return atomic_load(&t->hp->interrupted);
}

/* A transfer -------------------------------------------------------------- */

int64_t
http_retry_after(const char *value, int64_t now)
{
	uint64_t n;
	time_t at;

	if (num_parse(value, strlen(value), UINT64_MAX, &n) == 0)
		return n < RETRY_AFTER_MAX ? (int64_t)n : RETRY_AFTER_MAX;
	if (value[0] == '\0' || (at = lib.getdate(value, NULL)) == -1 ||
	    at <= now)
		return 0;
	return at - now < RETRY_AFTER_MAX ? at - now : RETRY_AFTER_MAX;
}

static int
add_headers(struct transfer *t, CURL *c)
{
	struct curl_slist *list;
	struct buf line = BUF_INIT;
	size_t i;
	int rc = 0;

	for (i = 0; i < t->call->nheaders && rc == 0; i++) {
		buf_clear(&line);
		buf_addf(&line, "%s: %s", t->call->headers[i].name,
		    t->call->headers[i].value);
		list = lib.slist_append(t->headers, buf_str(&line));
		if (list == NULL || buf_failed(&line))
			rc = -1;
		else
			t->headers = list;
	}
	/* The line may hold a token. */
	if (line.p != NULL)
		explicit_bzero(line.p, line.cap);
	buf_free(&line);
	if (rc == 0)
		lib.easy_setopt(c, CURLOPT_HTTPHEADER, t->headers);
	return rc;
}

static int
add_form(struct transfer *t, CURL *c)
{
	const struct http_call *call = t->call;
	curl_mimepart *part;
	size_t i;

	if ((t->mime = lib.mime_init(c)) == NULL)
		return -1;
	for (i = 0; i < call->nform; i++)
		if ((part = lib.mime_addpart(t->mime)) == NULL ||
		    lib.mime_name(part, call->form[i].name) != CURLE_OK ||
		    lib.mime_data(part, call->form[i].value,
			CURL_ZERO_TERMINATED) != CURLE_OK)
			return -1;
	if ((part = lib.mime_addpart(t->mime)) == NULL ||
	    lib.mime_name(part, "file") != CURLE_OK ||
	    lib.mime_filename(part, "file") != CURLE_OK ||
	    lib.mime_type(part, call->file_type) != CURLE_OK ||
	    lib.mime_data_cb(part, (curl_off_t)call->size, read_body, seek_body,
		NULL, t) != CURLE_OK)
		return -1;
	lib.easy_setopt(c, CURLOPT_MIMEPOST, t->mime);
	return 0;
}

static int
set_body(struct transfer *t, CURL *c)
{
	const struct http_call *call = t->call;

	if (!call->has_body) {
		if (strcmp(call->method, "HEAD") == 0)
			lib.easy_setopt(c, CURLOPT_NOBODY, 1L);
		else
			lib.easy_setopt(c, CURLOPT_CUSTOMREQUEST, call->method);
		return 0;
	}
	if (call->form != NULL)
		return add_form(t, c);
	lib.easy_setopt(c, CURLOPT_UPLOAD, 1L);
	lib.easy_setopt(c, CURLOPT_INFILESIZE_LARGE, (curl_off_t)call->size);
	lib.easy_setopt(c, CURLOPT_READFUNCTION, read_body);
	lib.easy_setopt(c, CURLOPT_READDATA, t);
	lib.easy_setopt(c, CURLOPT_SEEKFUNCTION, seek_body);
	lib.easy_setopt(c, CURLOPT_SEEKDATA, t);
	return 0;
}

static void
set_signature(const struct http_call *call, CURL *c)
{
	char provider[128];

	if (call->region == NULL)
		return;
	snprintf(provider, sizeof(provider), "aws:amz:%s:s3", call->region);
	lib.easy_setopt(c, CURLOPT_AWS_SIGV4, provider);
	lib.easy_setopt(c, CURLOPT_USERNAME, call->key_id);
	lib.easy_setopt(c, CURLOPT_PASSWORD, call->secret);
}

static void
set_rules(struct transfer *t, CURL *c)
{
	bool plain = strncmp(t->call->url, "http://", 7) == 0;

	lib.easy_setopt(c, CURLOPT_URL, t->call->url);
	lib.easy_setopt(c, CURLOPT_PROTOCOLS_STR, plain ? "http" : "https");
	lib.easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
	/*
	 * The path goes as the caller made it.  libcurl 8.14 refuses this
	 * beside a signature.  There it changes nothing: no key, prefix or
	 * bucket has a segment "." or "..", which libcurl would take out.
	 */
	if (t->call->region == NULL)
		lib.easy_setopt(c, CURLOPT_PATH_AS_IS, 1L);
	lib.easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	lib.easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 1L);
	lib.easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 2L);
	if (t->hp->ca_file != NULL) {
		lib.easy_setopt(c, CURLOPT_CAINFO, t->hp->ca_file);
		lib.easy_setopt(c, CURLOPT_CAPATH, NULL);
	}
	lib.easy_setopt(c, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
	lib.easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, LOW_SPEED);
	lib.easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)t->hp->timeout);
	lib.easy_setopt(c, CURLOPT_USERAGENT, "tmpnix/" PACKAGE_VERSION);
	lib.easy_setopt(c, CURLOPT_ERRORBUFFER, t->error);
	lib.easy_setopt(c, CURLOPT_HEADERFUNCTION, read_header);
	lib.easy_setopt(c, CURLOPT_HEADERDATA, t);
	lib.easy_setopt(c, CURLOPT_WRITEFUNCTION, write_body);
	lib.easy_setopt(c, CURLOPT_WRITEDATA, t);
	lib.easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
	lib.easy_setopt(c, CURLOPT_XFERINFOFUNCTION, progress);
	lib.easy_setopt(c, CURLOPT_XFERINFODATA, t);
}

static void
take_answer(struct transfer *t, CURL *c)
{
	curl_off_t length = -1;
	long status = 0;

	lib.easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
	lib.easy_getinfo(c, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
	t->a->status = (int)status;
	t->a->length = length;
	if (t->retry_after[0] != '\0')
		t->a->retry_after =
		    http_retry_after(t->retry_after, (int64_t)time(NULL));
}

int
http_do(struct http_pool *hp, const struct http_call *call,
    struct http_answer *a, struct buf *why)
{
	struct transfer t = { .hp = hp, .call = call, .a = a };
	struct handle *h;
	CURLcode code = CURLE_OUT_OF_MEMORY;
	int rc = -1;

	memset(a, 0, sizeof(*a));
	a->length = -1;
	if (atomic_load(&hp->interrupted)) {
		buf_adds(why, "stopped before it began");
		return -1;
	}
	if ((h = take_handle(hp)) == NULL) {
		buf_adds(why, "no memory");
		return -1;
	}
	t.curl = h->curl;
	set_rules(&t, h->curl);
	set_signature(call, h->curl);
	if (add_headers(&t, h->curl) == 0 && set_body(&t, h->curl) == 0)
		code = lib.easy_perform(h->curl);
	if (code == CURLE_OK) {
		take_answer(&t, h->curl);
		rc = 0;
	} else if (t.ended)
		;
	else if (code == CURLE_ABORTED_BY_CALLBACK &&
	    atomic_load(&hp->interrupted))
		buf_adds(why, "cut: tmpnix is stopping");
	else
		buf_addf(why, "%s",
		    t.error[0] != '\0' ? t.error : lib.easy_strerror(code));
	lib.mime_free(t.mime);
	lib.slist_free_all(t.headers);
	give_handle(hp, h);
	return rc;
}
