#include "config.h"

#include "prog.h"

#include <sys/stat.h>

#include <fcntl.h>
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "fcgi.h"

struct options {
	const char *conf;
	const char *socket;
	bool foreground;
	bool check;
	bool verbose;
};

static void
help(const struct prog *prog)
{
	printf("usage: %s [-dhnvV] [-f file] [-s socket]\n"
	       "%s\n\n"
	       "  -d         log to standard error instead of syslog\n"
	       "  -f file    the configuration (default %s)\n"
	       "  -h         this text\n"
	       "  -n         check the configuration and exit\n"
	       "  -s socket  listen on this unix socket; without it descriptor "
	       "0 must be\n"
	       "             a listening socket (spawn-fcgi, systemd)\n"
	       "  -v         log more\n"
	       "  -V         print the version\n"
	       "\nStarted by a web server as CGI it takes no options: see "
	       "%s(8),\nand tmpnix.conf(5).\n",
	    prog->name, prog->purpose, TMPNIX_CONF, prog->name);
}

/* -1 to go on, else the exit status. */
static int
parse_options(
    const struct prog *prog, int argc, char *argv[], struct options *o)
{
	static const struct option longs[] = {
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "df:hns:vV", longs, NULL)) != -1) {
		switch (c) {
		case 'd':
			o->foreground = true;
			break;
		case 'f':
			o->conf = optarg;
			break;
		case 'h':
			help(prog);
			return 0;
		case 'n':
			o->check = true;
			break;
		case 's':
			o->socket = optarg;
			break;
		case 'v':
			o->verbose = true;
			break;
		case 'V':
			printf("%s %s\n", prog->name, PACKAGE_VERSION);
			return 0;
		default:
			fprintf(stderr, "try %s --help\n", prog->name);
			return 2;
		}
	}
	if (optind != argc) {
		fprintf(stderr, "%s: unexpected argument %s: try --help\n",
		    prog->name, argv[optind]);
		return 2;
	}
	return -1;
}

/*
 * The options of a CGI process are in the environment, where clients can put
 * nothing but HTTP_* (RFC 3875, 4.1.18).  Its arguments are theirs: words of
 * the query, where the web server passes them (4.4).
 */
static void
cgi_options(struct options *o)
{
	const char *conf = secure_getenv("TMPNIX_CONF");
	const char *log = secure_getenv("TMPNIX_LOG");

	if (conf != NULL && conf[0] != '\0')
		o->conf = conf;
	o->foreground = log != NULL && strcmp(log, "stderr") == 0;
}

/* Descriptors 0 to 2 open, so that no file of ours becomes one of them. */
static void
open_standard_fds(void)
{
	int fd;

	do {
		if ((fd = open("/dev/null", O_RDWR)) == -1)
			exit(1);
	} while (fd < 2);
	if (fd > 2)
		close(fd);
}

static int
listen_somewhere(const struct prog *prog, const struct options *o)
{
	int fd;

	if (o->socket == NULL) {
		if (!fcgi_is_socket(STDIN_FILENO))
			fatalx("descriptor 0 is no listening socket: give -s "
			       "socket, or start %s from spawn-fcgi or "
			       "systemd",
			    prog->name);
		return STDIN_FILENO;
	}
	if ((fd = fcgi_listen(o->socket, 0660)) == -1)
		exit(1);
	return fd;
}

int
prog_main(const struct prog *prog, int argc, char *argv[])
{
	struct options o = { .conf = TMPNIX_CONF };
	struct buf errs = BUF_INIT;
	struct conf *conf;
	sigset_t set;
	int rc, fd;
	bool cgi;

	open_standard_fds();
	if ((cgi = fcgi_is_cgi())) {
		cgi_options(&o);
		if (fcgi_cgi_begin() == -1)
			return 1;
	} else if ((rc = parse_options(prog, argc, argv, &o)) != -1)
		return rc;
	log_init(prog->name, o.foreground || o.check, LOG_LVL_INFO);
	if ((conf = conf_load(o.conf, &errs)) == NULL) {
		fputs(buf_str(&errs), stderr);
		buf_free(&errs);
		return 1;
	}
	if (o.check) {
		printf("%s: ok\n", o.conf);
		conf_free(conf);
		return 0;
	}
	log_init(prog->name, o.foreground,
	    o.verbose ? LOG_LVL_DEBUG : conf->log_level);
	if (sodium_init() == -1)
		fatalx("libsodium can't start");
	/* Many threads, little memory each: arenas would not be shared. */
	mallopt(M_ARENA_MAX, 2);
	umask(022);

	fd = cgi ? FCGI_CGI : listen_somewhere(prog, &o);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	rc = prog->run(conf, fd);
	if (o.socket != NULL)
		unlink(o.socket);
	if (rc == 0) /* else threads may still read it */
		conf_free(conf);
	return rc;
}
