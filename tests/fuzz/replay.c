/* SPDX-License-Identifier: MIT */
/*
 * Replay: gives each file named, or in a directory named, to the fuzzer that it is linked with, without libFuzzer. With
 * none named, the kept corpus, and then random inputs for QUARRY_TEST_SECONDS (1).
 */
#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

#include "../abi/blackbox.h"

#define INPUT_MOST 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t data[INPUT_MOST];
static unsigned long ninputs, nbytes_in_all;

static void replay_input(size_t size)
{
	LLVMFuzzerTestOneInput(data, size);
	ninputs++;
	nbytes_in_all += size;
}

static void replay_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECKF(fd >= 0, "  cannot open %s", path);
	ssize_t size = read(fd, data, sizeof data);
	CHECKF(size >= 0, "  cannot read %s", path);
	close(fd);
	replay_input((size_t)size);
}

static void replay_directory(const char *path)
{
	DIR *directory = opendir(path);
	CHECKF(directory != NULL, "  cannot open %s", path);
	for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
		char name[4096];
		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
		replay_file(name);
	}
	closedir(directory);
}

static void replay_corpus(void)
{
	const char *source = getenv("QUARRY_SOURCE_DIR");
	char path[4096];
	CHECKF(source != NULL, "  QUARRY_SOURCE_DIR is not set: name the inputs");
	snprintf(path, sizeof path, "%s/tests/fuzz/corpus/%s", source, program_invocation_short_name);
	replay_directory(path);
	CHECKF(ninputs > 0, "  %s is empty", path);
}

static void replay_random(double seconds)
{
	uint64_t rng = test_seed(0);
	for (double end = now() + seconds; now() < end;) {
		size_t size = rng_size(&rng, 12);
		for (size_t i = 0; i < size; i++)
			data[i] = (uint8_t)(rng_next(&rng) >> 32);
		replay_input(size);
	}
}

int main(int argc, char **argv)
{
	if (argc == 1) {
		test_start(200);
		replay_corpus();
		replay_random(test_seconds(1));
	}
	for (int i = 1; i < argc; i++) {
		struct stat status;
		CHECKF(stat(argv[i], &status) == 0, "  no such input: %s", argv[i]);
		if (S_ISDIR(status.st_mode))
			replay_directory(argv[i]);
		else
			replay_file(argv[i]);
	}
	say("%lu inputs, %lu bytes", ninputs, nbytes_in_all);
	return 0;
}
