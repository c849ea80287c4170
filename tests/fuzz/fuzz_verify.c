/*
 * NARs as they are pushed: the first byte says which compression the name has,
 * the rest is the file.  Decoded, walked and scanned: a verdict whose parts fit
 * together, the same once more, and never more than the limit.
 */
#include "config.h"

#include <sys/mman.h>

#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"
#include "key.h"
#include "verify.h"

#define MAX ((uint64_t)1 << 20)

static const char *const extensions[] = { "", ".xz", ".zst", ".br", ".bz2",
	".gz", ".lz4", ".lzip" };
#define EXTENSIONS (sizeof(extensions) / sizeof(extensions[0]))

static struct refset *refs; /* one that no corpus has */

static int
verdict(int fd, const struct key *k, struct verified *v)
{
	const atomic_bool stop = false;
	const struct verify_how how = { .max = MAX,
		.cpu = 60,
		.ratio = 10000,
		.free_bytes = VERIFY_FREE,
		.refs = refs,
		.stop = &stop };

	MUST(lseek(fd, 0, SEEK_SET) == 0);
	return verify_nar(fd, k, &how, v);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct verified v, again;
	struct key k;
	char name[128];
	int fd;

	if (refs == NULL)
		MUST((refs = refset_new()) != NULL &&
		    refset_add(refs, "0123456789abcdfghijklmnpqrsvwxyz") == 0);
	if (size < 1 || size > (size_t)64 << 10)
		return 0;
	snprintf(name, sizeof(name), "nar/%052d.nar%s", 0,
	    extensions[data[0] % EXTENSIONS]);
	if (key_parse(name, strlen(name), &k) == -1)
		return 0;
	MUST((fd = memfd_create("nar", MFD_CLOEXEC)) != -1);
	MUST(write(fd, data + 1, size - 1) == (ssize_t)(size - 1));
	if (verdict(fd, &k, &v) == 0) {
		MUST((v.verdict == VERDICT_GOOD) == (v.why[0] == '\0'));
		if (v.verdict == VERDICT_GOOD)
			MUST(v.nar_size <= MAX && v.nar_size % 8 == 0);
		MUST(verdict(fd, &k, &again) == 0);
		MUST(again.verdict == v.verdict);
		if (v.verdict == VERDICT_GOOD)
			MUST(digest_equal(&v.nar_hash, &again.nar_hash));
		verified_clear(&again);
		verified_clear(&v);
	}
	close(fd);
	return 0;
}
