/*
 * The main() of the FastCGI programs: options, configuration, listening,
 * signals, in the order that is safe.  Or of a CGI process, whose options are
 * the environment's TMPNIX_CONF (-f) and TMPNIX_LOG=stderr (-d).
 */
#ifndef PROG_H
#define PROG_H

#include "conf.h"

struct prog {
	const char *name;
	const char *purpose; /* one line for --help */
	/*
	 * Serve on the listening socket fd until told to stop, or the one
	 * request of FCGI_CGI (fcgi.h); conf is valid until it returns.  The
	 * exit status.
	 */
	int (*run)(const struct conf *conf, int fd);
};

int prog_main(const struct prog *prog, int argc, char *argv[]);

#endif
