/* tmpnix-drv: answer the reads of the cache of derivations. */
#include "config.h"

#include "conf.h"
#include "prog.h"
#include "reads.h"

static int
run(const struct conf *conf, int fd)
{
	return reads_serve(conf, fd, CACHE_DRV);
}

int
main(int argc, char *argv[])
{
	static const struct prog prog = {
		.name = "tmpnix-drv",
		.purpose = "Answer the reads of the cache of derivations.",
		.run = run,
	};

	return prog_main(&prog, argc, argv);
}
