/*
 * A plain main for a fuzz target: run it over the files that are named, and
 * over those in directories that are named.
 */
#include "config.h"

#include <sys/stat.h>

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"
#include "file.h"
#include "fuzz.h"

static unsigned int inputs;

static void
replay_file(int dir, const char *name)
{
	struct buf b = BUF_INIT;
	uint8_t *copy;

	if (file_read_at(dir, name, (size_t)16 << 20, &b) == -1) {
		perror(name);
		exit(1);
	}
	/* Exactly as many bytes: a sanitizer sees the first one too many. */
	MUST((copy = malloc(b.len > 0 ? b.len : 1)) != NULL);
	memcpy(copy, buf_str(&b), b.len);
	LLVMFuzzerTestOneInput(copy, b.len);
	free(copy);
	buf_free(&b);
	inputs++;
}

static void
replay_dir(const char *path)
{
	struct dirent *de;
	DIR *d;

	if ((d = opendir(path)) == NULL) {
		perror(path);
		exit(1);
	}
	while ((de = readdir(d)) != NULL)
		if (de->d_name[0] != '.')
			replay_file(dirfd(d), de->d_name);
	closedir(d);
}

int
main(int argc, char *argv[])
{
	struct stat st;
	int i;

	for (i = 1; i < argc; i++) {
		if (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode))
			replay_dir(argv[i]);
		else
			replay_file(AT_FDCWD, argv[i]);
	}
	printf("%u inputs\n", inputs);
	return inputs > 0 ? 0 : 1;
}
