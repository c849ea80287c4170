#include "config.h"

#include "fcgi_request.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"
#include "netaddr.h"

/* Handlers keep their big buffers on the heap; SQLite asks for little. */
#define STACK_BYTES ((size_t)512 << 10)
/* When told to stop: how often to look, and for the end: see stop_workers. */
#define STOP_TICK_MS 10
#define STOP_RESERVE_MS 5000

/* Events of a worker's epoll: which of the two descriptors. */
enum { EVENT_LISTEN, EVENT_STOP };

/*
 * EPOLLEXCLUSIVE: a connection wakes one idle worker, not all of them.  Only
 * descriptors of ours are added, so that an inherited socket's other users are
 * not disturbed.
 */
static int
watch(struct worker *w)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLEXCLUSIVE,
		.data.u32 = EVENT_LISTEN };
	const struct server *srv = w->server;

	w->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (w->epoll == -1 ||
	    epoll_ctl(w->epoll, EPOLL_CTL_ADD, listen_fd(srv->listener), &ev) ==
		-1)
		return -1;
	ev.events = EPOLLIN;
	ev.data.u32 = EVENT_STOP;
	return epoll_ctl(w->epoll, EPOLL_CTL_ADD, srv->stop_fd, &ev);
}

/* On a connection kept from the last request: false when told to stop. */
static bool
wait_kept(struct worker *w)
{
	struct pollfd fds[2] = {
		{ .fd = w->fx.ipcFd, .events = POLLIN },
		{ .fd = w->server->stop_fd, .events = POLLIN },
	};

	while (poll(fds, 2, -1) == -1)
		if (errno != EINTR)
			return false;
	/* What was asked already is answered. */
	return fds[0].revents != 0;
}

/*
 * Wait until FCGX_Accept_r has something to do; false when it is time to end.
 * It is called only then: it would wait where nothing but a signal or the end
 * of the listening socket reaches it, and that socket may not be ours to end.
 */
static bool
wait_request(struct worker *w)
{
	struct epoll_event ev;

	if (w->fx.ipcFd >= 0) {
		if (wait_kept(w))
			return true;
		FCGX_Free(&w->fx, 1);
	}
	while (epoll_wait(w->epoll, &ev, 1, -1) == -1)
		if (errno != EINTR)
			return false;
	/* At the end connections that wait at our own socket are served. */
	return !atomic_load(&w->server->stopping) ||
	    !listen_is_inherited(w->server->listener);
}

/* May the web server at this address connect?  One that may not is logged. */
static bool
is_web_server(const struct server *srv, const struct sockaddr *sa)
{
	char text[NETADDR_TEXT];
	struct settings *s;
	struct netaddr a;
	bool yes;

	if (netaddr_of_socket(sa, &a) == -1)
		return true; /* a path's mode says who may */
	s = live_take(srv->prog->live);
	yes = s->conf->web_servers.n == 0 ||
	    netblocks_have(&s->conf->web_servers, &a);
	live_release(srv->prog->live, s);
	if (!yes) {
		netaddr_print(&a, text);
		log_warnx("a connection from %s is closed: web_servers does "
			  "not name it",
		    text);
	}
	return yes;
}

/*
 * Have a connection in w->fx, the kept one or a new one: 0, or -errno.  libfcgi
 * would read what it accepts at once, and knows addresses only from its
 * environment; it has no listening socket, so it accepts none.
 */
static int
connection(struct worker *w)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	int fd;

	if (w->fx.ipcFd >= 0)
		return 0;
	memset(&sa, 0, sizeof(sa));
	fd = accept4(listen_fd(w->server->listener), (struct sockaddr *)&sa,
	    &len, SOCK_CLOEXEC);
	if (fd == -1)
		return -errno;
	if (!is_web_server(w->server, (const struct sockaddr *)&sa)) {
		close(fd);
		return -ECONNABORTED;
	}
	w->fx.ipcFd = fd;
	/* Else FCGX_Accept_r closes it, as the last request's. */
	w->fx.keepConnection = 1;
	return 0;
}

/* FCGX_Accept_r returned rc: may the worker go on? */
static bool
accept_failed(const struct server *srv, int rc)
{
	switch (-rc) {
	case EAGAIN: /* another was faster, or nobody comes any more */
		return !atomic_load(&srv->stopping);
	case EINTR:
	case ECONNABORTED:
	case EBADF: /* a connection that ended without a request */
		return true;
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case ENOBUFS:
		errno = -rc;
		log_warn("accept: pausing");
		sleep(1);
		return true;
	}
	if (!atomic_load(&srv->stopping)) {
		errno = rc < 0 ? -rc : EIO;
		log_warn("accept");
		kill(getpid(), SIGTERM);
	}
	return false;
}

static void *
work(void *arg)
{
	struct worker *w = arg;
	struct server *srv = w->server;
	bool clean, go_on = true;
	int rc;

	if (FCGX_InitRequest(&w->fx, -1, FCGI_FAIL_ACCEPT_ON_INTR) != 0)
		fatalx("libfcgi: no memory");
	while (go_on && wait_request(w)) {
		atomic_store(&w->busy, true);
		if ((rc = connection(w)) == 0)
			rc = FCGX_Accept_r(&w->fx);
		if (rc == 0) {
			clean = fcgi_serve_one(w);
			FCGX_Finish_r(&w->fx);
			if (!clean || atomic_load(&srv->stopping))
				FCGX_Free(&w->fx, 1);
		} else
			go_on = accept_failed(srv, rc);
		atomic_store(&w->busy, false);
	}
	FCGX_Free(&w->fx, 1);
	if (w->state != NULL)
		srv->prog->state_free(w->state);
	atomic_store(&w->done, true);
	return NULL;
}

static int
start_workers(struct server *srv, struct worker *w, size_t n)
{
	pthread_attr_t attr;
	size_t i;
	int rc = 0;

	if (pthread_attr_init(&attr) != 0)
		return -1;
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	for (i = 0; i < n && rc == 0; i++) {
		w[i].server = srv;
		if (watch(&w[i]) == -1)
			rc = errno;
		else
			rc = pthread_create(&w[i].thread, &attr, work, &w[i]);
		w[i].started = rc == 0;
	}
	pthread_attr_destroy(&attr);
	if (rc == 0)
		return 0;
	errno = rc;
	return -1;
}

/* End the connections of requests that are being served; how many. */
static size_t
cut_workers(struct worker *w, size_t n, int how)
{
	size_t i, cut = 0;
	int fd;

	for (i = 0; i < n; i++) {
		fd = w[i].fx.ipcFd;
		if (w[i].started && atomic_load(&w[i].busy) && fd > 2) {
			shutdown(fd, how);
			cut++;
		}
	}
	return cut;
}

/*
 * Wait for the workers: 0, or -1 when it took ms milliseconds.  A fourth of
 * that (STOP_RESERVE_MS at most) is for ending the requests that don't end by
 * themselves, because their client stands still.  First nothing more comes
 * from it: so a body that is not complete can still be refused in words.  Then
 * nothing gets to it either.
 */
static int
stop_workers(struct worker *w, size_t n, int64_t ms)
{
	const struct timespec pause = { 0, STOP_TICK_MS * 1000 * 1000 };
	int64_t reserve = ms / 4 < STOP_RESERVE_MS ? ms / 4 : STOP_RESERVE_MS;
	int64_t at;
	size_t i, left, cut;
	bool warned = false;

	for (at = 0;; at += STOP_TICK_MS) {
		for (i = left = 0; i < n; i++)
			left += w[i].started && !atomic_load(&w[i].done);
		if (left == 0)
			break;
		if (at >= ms)
			return -1;
		if (at >= ms - reserve) {
			cut = cut_workers(
			    w, n, at >= ms - reserve / 2 ? SHUT_RDWR : SHUT_RD);
			if (cut > 0 && !warned)
				log_warnx("%zu requests not finished within "
					  "stop_timeout are cut",
				    cut);
			warned = true;
		}
		nanosleep(&pause, NULL);
	}
	for (i = 0; i < n; i++)
		if (w[i].started)
			pthread_join(w[i].thread, NULL);
	return 0;
}

/* Tell everybody to stop, and see that they do, until the time is over. */
static int
stop_server(struct server *srv, struct worker *w, size_t n, int64_t until)
{
	const uint64_t one = 1;

	atomic_store(&srv->stopping, true);
	listen_stop(srv->listener);
	if (write(srv->stop_fd, &one, sizeof(one)) == -1)
		log_warn("stop");
	if (srv->prog->stopping != NULL)
		srv->prog->stopping(srv->prog->shared);
	return stop_workers(w, n, until - clock_ms());
}

static void
reload(const struct fcgi_program *prog)
{
	struct settings *s;

	if (live_reload(prog->live) == -1 || prog->reloaded == NULL)
		return;
	s = live_take(prog->live);
	prog->reloaded(prog->shared, s);
	live_release(prog->live, s);
}

/* Until it is time to stop. */
static void
wait_signals(const struct fcgi_program *prog)
{
	sigset_t set;
	int sig = 0;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	while (sigwait(&set, &sig) == 0 && sig == SIGHUP)
		reload(prog);
	log_info("stopping: %s", sig == SIGINT ? "SIGINT" : "SIGTERM");
}

/* The one request of a CGI process; no thread is started. */
static int
serve_cgi(const struct fcgi_program *prog)
{
	struct server srv = { .prog = prog };
	struct worker w = { .server = &srv };

	log_started();
	fcgi_serve_one(&w);
	if (w.state != NULL)
		prog->state_free(w.state);
	return 0;
}

int
fcgi_serve(const struct fcgi_program *prog, struct listener *l, size_t n,
    unsigned int stop_timeout)
{
	struct server srv = { .prog = prog, .listener = l, .stop_fd = -1 };
	struct worker *w = NULL;
	int64_t until;
	size_t i;

	if (l == NULL)
		return serve_cgi(prog);
	/* FCGX_Init calms SIGPIPE. */
	if (FCGX_Init() != 0 || (w = calloc(n, sizeof(*w))) == NULL ||
	    (srv.stop_fd = eventfd(0, EFD_CLOEXEC)) == -1) {
		log_warn("start serving");
		free(w);
		return -1;
	}
	for (i = 0; i < n; i++)
		w[i].epoll = -1;
	if (start_workers(&srv, w, n) == -1)
		log_warn("start threads");
	else {
		log_started();
		listen_tell_ready();
		wait_signals(prog);
	}
	until = clock_ms() + (int64_t)stop_timeout * 1000;
	if (stop_server(&srv, w, n, until) == -1) {
		log_warnx("requests are still at work after stop_timeout: "
			  "they are abandoned");
		return -1; /* the threads still use w */
	}
	for (i = 0; i < n; i++)
		if (w[i].epoll != -1)
			close(w[i].epoll);
	close(srv.stop_fd);
	free(w);
	until -= clock_ms();
	return until > 0 ? (int)(until / 1000) : 0;
}
