/*
 * The main() of the FastCGI programs: options, configuration, listening,
 * signals, in the order that is safe.
 */
#ifndef PROG_H
#define PROG_H

#include "conf.h"

struct prog {
	const char *name;
	const char *purpose; /* one line for --help */
	/*
	 * Serve on the listening socket fd until told to stop; conf is valid
	 * until it returns.  The exit status.
	 */
	int (*run)(const struct conf *conf, int fd);
};

int prog_main(const struct prog *prog, int argc, char *argv[]);

#endif
