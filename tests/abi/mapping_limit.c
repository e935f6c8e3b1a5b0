/* SPDX-License-Identifier: MIT */
/*
 * At the limit on mappings (vm.max_map_count) the kernel refuses mmap, and munmap and madvise of parts as well: NULL
 * with ENOMEM is right then, what is there goes round, and once mappings are free again everything works.
 *
 * The program uses up all but a few itself: each page of a region is protected unlike its neighbours.
 */
#include "blackbox.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>

#define SLOTS 4096
#define THREADS 3
#define MOST_LIMIT 300000 /* above, filling up would take long */

static char *region;
static size_t region_pages, page;

static size_t limit(void)
{
	char text[32] = "";
	int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof text - 1) <= 0)
		SKIP("/proc/sys/vm/max_map_count cannot be read");
	close(fd);
	return strtoull(text, NULL, 10);
}

/* Until the kernel refuses, then `spare` fewer. */
static void use_up(size_t most, size_t spare)
{
	size_t used = 0;
	page = (size_t)sysconf(_SC_PAGESIZE);
	region_pages = 2 * most;
	region = mmap(NULL, region_pages * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(region != MAP_FAILED);
	while (mprotect(region + (2 * used + 1) * page, page, PROT_READ) == 0)
		CHECK(++used < most);
	CHECK(errno == ENOMEM && used > spare);
	for (size_t i = 0; i < spare; i++)
		CHECK(mprotect(region + (2 * --used + 1) * page, page, PROT_NONE) == 0);
}

static void *storm(void *arg)
{
	static void *blocks[THREADS][SLOTS];
	static size_t sizes[THREADS][SLOTS];
	size_t thread = (uintptr_t)arg, refused = 0;
	uint64_t rng = test_seed(thread + 1);

	for (unsigned round = 0; round < 10000; round++) {
		size_t i = rng_below(&rng, SLOTS), nbytes = rng_size(&rng, round % 16 == 0 ? 24 : 14);
		if (blocks[thread][i] != NULL)
			pattern_check(blocks[thread][i], sizes[thread][i], thread);
		free(blocks[thread][i]);
		errno = 0;
		blocks[thread][i] = malloc(nbytes);
		sizes[thread][i] = nbytes;
		if (blocks[thread][i] == NULL)
			CHECKF(errno == ENOMEM, "  errno %d", errno);
		else
			pattern_fill(blocks[thread][i], nbytes, thread);
		refused += blocks[thread][i] == NULL;
		if (round % 2048 == 0)
			malloc_trim(0);
	}
	for (size_t i = 0; i < SLOTS; i++) {
		if (blocks[thread][i] != NULL)
			pattern_check(blocks[thread][i], sizes[thread][i], thread);
		free(blocks[thread][i]);
		blocks[thread][i] = NULL;
	}
	return (void *)refused;
}

static size_t run_storm(void)
{
	pthread_t threads[THREADS];
	size_t refused = 0;
	void *result;

	for (uintptr_t i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, storm, (void *)i) == 0);
	for (int i = 0; i < THREADS; i++) {
		CHECK(pthread_join(threads[i], &result) == 0);
		refused += (uintptr_t)result;
	}
	return refused;
}

int main(void)
{
	size_t most;

	test_start(120);
	test_seed(0);
	most = limit();
	if (most > MOST_LIMIT)
		SKIP("vm.max_map_count is %zu", most);
	for (size_t spare = 9; spare <= 81; spare *= 3) {
		use_up(most, spare);
		size_t refused = run_storm();
		malloc_trim(0);
		CHECK(munmap(region, region_pages * page) == 0);
		say("%zu mappings to spare: %zu requests refused", spare, refused);
		CHECK(run_storm() == 0);
	}
	/* Nothing was lost for good: what is mapped without a block is little. */
	malloc_trim(0);
	say("%zu KiB resident, %zu mappings at the end", resident() / KIB, mapping_count());
	CHECK(mapping_count() < 300 && resident() < 64 * MIB);
	return 0;
}
