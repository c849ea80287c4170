/*
 * The socket that requests come in by: one of our own, on a path or on a TCP
 * port, or one that whoever started us has made (systemd, spawn-fcgi,
 * lighttpd).  It is listening and non-blocking.
 *
 * FastCGI knows no authentication: whoever can connect is the web server.  A
 * path's mode and owner are there before anybody can connect, and a TCP port
 * is of this machine only unless that is said to be meant otherwise.
 *
 * To be used by one thread; listen_fd and listen_is_inherited by any.
 */
#ifndef LISTEN_H
#define LISTEN_H

#include <sys/types.h>

#include <stdbool.h>

struct listener;

struct listen_options {
	mode_t mode; /* of a path */
	uid_t uid; /* its owner; -1: as it comes */
	gid_t gid;
	bool network; /* others may connect to a TCP port */
};

/* An octal mode, 0 to 0777: 0 or -1. */
int listen_parse_mode(const char *text, mode_t *mode);

/* Is address a path?  Such have a slash in them. */
bool listen_is_path(const char *address);

/*
 * Does a socket at this address get a group by itself?  Its directory is
 * set-group-ID then, and of the web server's group.
 */
bool listen_has_group(const char *address);

/*
 * Listen on address: a path, HOST:PORT, [IPv6]:PORT, or :PORT for 127.0.0.1.
 * Of a HOST with several addresses, the first IPv4 one is taken.
 *
 * A socket left behind at the path is replaced; one that somebody answers on,
 * and what is no socket, is not.  Of several that start at once one wins: they
 * hold a lock on the directory meanwhile.  NULL (logged).
 */
struct listener *listen_open(
    const char *address, const struct listen_options *o);

enum listen_rc { LISTEN_OK, LISTEN_NONE, LISTEN_ERROR };

/* Is fd a listening socket? */
bool listen_is_socket(int fd);

/*
 * The socket we were started with: descriptor 3 when LISTEN_FDS and LISTEN_PID
 * say so (sd_listen_fds(3)), else descriptor 0 if it is a listening socket.
 * LISTEN_ERROR is logged.
 */
enum listen_rc listen_inherit(struct listener **out);

/*
 * Tell the service manager that we serve, where it wants to know: its socket is
 * in NOTIFY_SOCKET (sd_notify(3), a unit's Type=notify).
 */
void listen_tell_ready(void);

int listen_fd(const struct listener *l);

/*
 * Let no more connections come.  With a socket of our own, those that wait for
 * accept(2) are still given by it (on a path), then it fails by EAGAIN or
 * EINVAL.  An inherited one stays as it is, for those who share it and for our
 * successor.
 */
void listen_stop(struct listener *l);

bool listen_is_inherited(const struct listener *l);

/* The directory of a path of ours, where listen_close removes it; else -1. */
int listen_dir(const struct listener *l);

/* Close it; remove its path unless that is another's by now.  NULL is
 * harmless. */
void listen_close(struct listener *l);

#endif
