/* verify_file FILE KEY: verify a NAR once; "MB/s of NAR, MB, SHA-256, seconds
 * of a processor, the multiple of max_nar_cpu it might have taken, bytes". */
#include "config.h"

#include <sys/stat.h>

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "verify.h"

int
main(int argc, char *argv[])
{
	static const atomic_bool never = false;
	const struct verify_how how = { .max = INT64_MAX,
		.cpu = INT32_MAX,
		.ratio = 1,
		.free_bytes = INT64_MAX,
		.stop = &never };
	char hash[DIGEST_BASE32 + 1];
	struct timespec a, b;
	struct stat st;
	struct verified v;
	struct key k;
	double seconds;
	int fd;

	if (argc != 3 || key_parse(argv[2], strlen(argv[2]), &k) == -1 ||
	    (fd = open(argv[1], O_RDONLY | O_CLOEXEC)) == -1 ||
	    fstat(fd, &st) == -1) {
		fprintf(stderr, "usage: verify_file FILE KEY\n");
		return 2;
	}
	clock_gettime(CLOCK_MONOTONIC, &a);
	if (verify_nar(fd, &k, &how, &v) == -1)
		return 1;
	clock_gettime(CLOCK_MONOTONIC, &b);
	if (v.verdict != VERDICT_GOOD) {
		fprintf(stderr, "%s\n", v.why);
		return 1;
	}
	seconds = (double)(b.tv_sec - a.tv_sec) +
	    (double)(b.tv_nsec - a.tv_nsec) / 1e9;
	digest_to_base32(&v.nar_hash, hash);
	printf("%.0f %.0f %s %.2f %.0f %lld\n",
	    (double)v.nar_size / 1e6 / seconds, (double)v.nar_size / 1e6, hash,
	    (double)clock_cpu_ms() / 1e3,
	    1 + (double)st.st_size / (1 << 30) * VERIFY_CPU_GIB,
	    (long long)st.st_size);
	verified_clear(&v);
	return 0;
}
