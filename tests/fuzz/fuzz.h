/* SPDX-License-Identifier: MIT */
/*
 * What the fuzzers share: the door that libFuzzer knocks at, checks, and inputs as files without a place on disk.
 */
#ifndef QUARRY_TESTS_FUZZ_H
#define QUARRY_TESTS_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define EXPECT(condition)                                                                        \
	do {                                                                                     \
		if (!(condition)) {                                                              \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);  \
			abort();                                                                 \
		}                                                                                \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A file in memory, made at its first use, and its path. */
struct memory_file {
	int fd;
	char path[32];
};

/** Let the file hold this and nothing else. */
static inline void memory_file_fill(struct memory_file *file, const uint8_t *data, size_t size)
{
	if (file->path[0] == 0) {
		file->fd = memfd_create("fuzz", MFD_CLOEXEC);
		EXPECT(file->fd >= 0);
		snprintf(file->path, sizeof file->path, "/proc/self/fd/%d", file->fd);
	}
	EXPECT(ftruncate(file->fd, 0) == 0);
	EXPECT(pwrite(file->fd, data, size, 0) == (ssize_t)size);
}

#endif
