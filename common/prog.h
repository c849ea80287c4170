/*
 * The main() of the FastCGI programs: options, configuration, listening, the
 * rights that are given up, signals, in the order that is safe.  Or of a CGI
 * process, whose options are the environment's TMPNIX_CONF (-f) and
 * TMPNIX_LOG=stderr (-d).
 */
#ifndef PROG_H
#define PROG_H

#include "conf.h"
#include "listen.h"
#include "live.h"
#include "sandbox.h"

struct prog {
	const char *name;
	const char *purpose; /* one line for --help */
	bool tcp; /* connects to servers */
	/* -n: how many problems, logged, would keep it from starting. */
	unsigned int (*check)(const struct conf *conf);
	/*
	 * Open to the sandbox what run needs besides state_dir, the files that
	 * the configuration names and what any program needs; NULL: nothing.
	 * false: it can't run in one, as it is configured.
	 */
	bool (*allow)(const struct conf *conf, struct sandbox *sb);
	/*
	 * Serve what comes in by l until told to stop, or, without l (NULL),
	 * the one request of a CGI process, as lv says.  0, or the exit status
	 * when threads may still be at work.
	 */
	int (*run)(struct live *lv, struct listener *l);
};

int prog_main(const struct prog *prog, int argc, char *argv[]);

#endif
