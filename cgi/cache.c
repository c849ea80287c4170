/* tmpnix-cache: answer the reads of a Nix binary cache. */
#include "config.h"

#include "conf.h"
#include "prog.h"
#include "reads.h"

static int
run(const struct conf *conf, int fd)
{
	return reads_serve(conf, fd, CACHE_MAIN);
}

int
main(int argc, char *argv[])
{
	static const struct prog prog = {
		.name = "tmpnix-cache",
		.purpose = "Answer the reads of a Nix binary cache.",
		.run = run,
	};

	return prog_main(&prog, argc, argv);
}
