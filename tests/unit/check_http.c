#include "config.h"

#include <sys/socket.h>

#include <netinet/in.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "http.h"
#include "unit.h"

#define NOW 1700000000 /* Tue, 14 Nov 2023 22:13:20 GMT */

static const struct {
	const char *value;
	int64_t seconds;
} retry_after[] = {
	{ "0", 0 },
	{ "1", 1 },
	{ "120", 120 },
	{ "86400", 86400 },
	{ "86401", 86400 }, /* at most a day */
	{ "18446744073709551615", 86400 },
	{ "Tue, 14 Nov 2023 22:13:50 GMT", 30 },
	{ "Tuesday, 14-Nov-23 22:13:50 GMT", 30 },
	{ "Tue Nov 14 22:13:50 2023", 30 },
	{ "Tue, 14 Nov 2023 22:13:20 GMT", 0 }, /* now */
	{ "Tue, 14 Nov 2023 22:13:10 GMT", 0 }, /* past */
	{ "Tue, 14 Nov 2034 22:13:10 GMT", 86400 },
	{ "", 0 },
	{ "-1", 0 },
	{ "soon", 0 },
	{ "99999999999999999999", 0 },
};

START_TEST(retry_after_header)
{
	/* (It is what loads libcurl, which knows the dates.) */
	struct http_pool *hp = http_pool_new(NULL, 1);

	ck_assert_ptr_nonnull(hp);
	http_pool_free(hp);
	ck_assert_int_eq(http_retry_after(retry_after[_i].value, NOW),
	    retry_after[_i].seconds);
}
END_TEST

/* A server for one request, which gets this answer. */
struct server {
	int fd;
	const char *answer;
	pthread_t thread;
};

static void *
serve(void *arg)
{
	struct server *sv = arg;
	char request[4096];
	int c = accept(sv->fd, NULL, NULL);

	if (recv(c, request, sizeof(request), 0) > 0)
		send(c, sv->answer, strlen(sv->answer), MSG_NOSIGNAL);
	close(c);
	return NULL;
}

/* Its URL into url. */
static void
server_start(struct server *sv, const char *answer, char url[64])
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(sin);

	sv->answer = answer;
	sv->fd = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(sv->fd, (struct sockaddr *)&sin, n), 0);
	ck_assert_int_eq(listen(sv->fd, 1), 0);
	ck_assert_int_eq(getsockname(sv->fd, (struct sockaddr *)&sin, &n), 0);
	snprintf(url, 64, "http://127.0.0.1:%d/", ntohs(sin.sin_port));
	ck_assert_int_eq(pthread_create(&sv->thread, NULL, serve, sv), 0);
}

static void
server_end(struct server *sv)
{
	pthread_join(sv->thread, NULL);
	close(sv->fd);
}

static struct buf sunk;
static size_t sink_room;

static int
sink(const void *p, size_t n, void *arg)
{
	ck_assert_ptr_eq(arg, &sunk);
	buf_add(&sunk, p, n);
	return sunk.len > sink_room;
}

#define HEAD(status) "HTTP/1.1 " status "\r\nConnection: close\r\n"

static const struct {
	const char *answer;
	size_t room;
	int rc, status;
	int64_t length;
	const char *sunk, *body;
	bool why;
} bodies[] = {
	{ HEAD("200 OK") "Content-Length: 5\r\n\r\nbytes", 9, 0, 200, 5,
	    "bytes", "", false },
	{ HEAD("200 OK") "Content-Length: 0\r\n\r\n", 9, 0, 200, 0, "", "",
	    false },
	/* Whether it is whole is not said. */
	{ HEAD("200 OK") "\r\nbytes", 9, 0, 200, -1, "bytes", "", false },
	/* Another's body is no object's. */
	{ HEAD("404 No") "Content-Length: 4\r\n\r\ngone", 9, 0, 404, 4, "",
	    "gone", false },
	{ HEAD("404 No") "Content-Length: 6\r\n\r\nlonger", 9, 0, 404, 6, "",
	    "longe", false },
	{ HEAD("206 Part") "Content-Length: 4\r\n\r\npart", 9, 0, 206, 4, "",
	    "part", false },
	{ HEAD("307 To") "Location: /\r\nContent-Length: 4\r\n\r\ngone", 9, 0,
	    307, 4, "", "gone", false },
	/* Cut on its way. */
	{ HEAD("200 OK") "Content-Length: 6\r\n\r\nbytes", 9, -1, 0, -1,
	    "bytes", "", true },
	{ HEAD("200 OK") "Transfer-Encoding: chunked\r\n\r\n5\r\nbytes\r\n", 9,
	    -1, 0, -1, "bytes", "", true },
	/* By the sink. */
	{ HEAD("200 OK") "Content-Length: 5\r\n\r\nbytes", 4, -1, 0, -1,
	    "bytes", "", false },
};

START_TEST(sinks)
{
	struct http_pool *hp = http_pool_new(NULL, 30);
	struct http_call call = {
		.method = "GET", .body_max = 5, .sink = sink, .sink_arg = &sunk
	};
	struct buf why = BUF_INIT;
	struct http_answer a;
	struct server sv;
	char url[64];

	server_start(&sv, bodies[_i].answer, url);
	sink_room = bodies[_i].room;
	call.url = url;
	ck_assert_int_eq(http_do(hp, &call, &a, &why), bodies[_i].rc);
	ck_assert_int_eq(a.status, bodies[_i].status);
	ck_assert_int_eq(a.length, bodies[_i].length);
	ck_assert_str_eq(buf_str(&sunk), bodies[_i].sunk);
	ck_assert_str_eq(buf_str(&a.body), bodies[_i].body);
	ck_assert_int_eq(why.len > 0, bodies[_i].why);
	server_end(&sv);
	buf_free(&a.body);
	buf_free(&sunk);
	buf_free(&why);
	http_pool_free(hp);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("http");

	UNIT_ROWS(s, "Retry-After", retry_after_header, nitems(retry_after));
	UNIT_ROWS(s, "sinks", sinks, nitems(bodies));
	return unit_main(s);
}
