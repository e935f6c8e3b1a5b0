/* SPDX-License-Identifier: MIT */
/*
 * At most one mapping per 8 MiB of heap, plus 64: growing, half freed at random and purged, and grown again.
 */
#include "blackbox.h"

#include <malloc.h>
#include <pthread.h>

#define HEAP (384 * MIB)
#define THREADS 3
#define MOST_BLOCKS (THREADS * 400000u)

/* Small blocks for a third of the heap, medium ones for a third, and large ones. */
static const struct mixture {
	unsigned low_bits, high_bits;
} mixtures[THREADS] = { { 4, 12 }, { 12, 18 }, { 18, 23 } };

static void **blocks;
static size_t *sizes;
static size_t mappings_before;

static void *fill(void *arg)
{
	size_t thread = (uintptr_t)arg, first = thread * (MOST_BLOCKS / THREADS), total = 0;
	uint64_t rng = test_seed(thread + 1);

	for (size_t i = 0; total < HEAP / THREADS && i < MOST_BLOCKS / THREADS; i++) {
		if (blocks[first + i] == NULL) {
			size_t low = (size_t)1 << mixtures[thread].low_bits;
			sizes[first + i] = low + rng_size(&rng, mixtures[thread].high_bits);
			blocks[first + i] = malloc(sizes[first + i]);
			CHECK(blocks[first + i] != NULL);
			pattern_fill(blocks[first + i], sizes[first + i], 1);
		}
		total += sizes[first + i];
	}
	return NULL;
}

static void fill_all(void)
{
	pthread_t threads[THREADS];

	for (uintptr_t i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, fill, (void *)i) == 0);
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
}

static void free_half(uint64_t *rng)
{
	for (size_t i = 0; i < MOST_BLOCKS; i++)
		if (blocks[i] != NULL && rng_below(rng, 2) == 0) {
			pattern_check(blocks[i], sizes[i], 1);
			free(blocks[i]);
			blocks[i] = NULL;
		}
}

/* The hardened library closes memory between runs: two mappings for each of 10000, at most. */
#ifdef QUARRY_HARDENED
#define MAPPINGS_MORE 20500
#else
#define MAPPINGS_MORE 64
#endif

/*
 * The heap is what is mapped writable, but at most half more than is live: hoarding earns no further mappings.
 */
static void expect_few(const char *when)
{
	size_t live = 0, mappings = mapping_count() - mappings_before;

	for (size_t i = 0; i < MOST_BLOCKS; i++)
		live += blocks[i] != NULL ? sizes[i] : 0;
	size_t heap = proc_status("VmData:") * KIB;
	heap = heap > live + live / 2 ? live + live / 2 : heap;
	say("%s: %zu mappings for %zu MiB of heap, %zu MiB live", when, mappings, heap / MIB, live / MIB);
	CHECK(mappings <= heap / (8 * MIB) + MAPPINGS_MORE);
}

int main(void)
{
	uint64_t rng;

	test_start(120);
	rng = test_seed(0);
	blocks = (void **)map_table(MOST_BLOCKS * sizeof *blocks);
	sizes = (size_t *)map_table(MOST_BLOCKS * sizeof *sizes);
	mappings_before = mapping_count();
	fill_all();
	expect_few("full");
	free_half(&rng);
	expect_few("half freed");
	malloc_trim(0);
	expect_few("trimmed");
	fill_all();
	expect_few("full again");
	return 0;
}
