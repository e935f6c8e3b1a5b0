/* SPDX-License-Identifier: MIT */
/*
 * Heaps of quarry/heap.h under threads: each serves requests from a heap of its own, which it destroys with most blocks
 * live, and exchanges blocks of one heap that all share through a table, by all calls that free and resize; meanwhile
 * the process trims, walks and counts. At the end nothing is live, and every limit held.
 */
#include "stress.h"

#include <quarry/heap.h>
#include <quarry/raw.h>

#define THREADS 6
#define SLOTS 512
#define REQUEST_BLOCKS 400
#define LIMIT ((size_t)1 << 20)

struct held {
	char *block; /* NULL: none */
	size_t nbytes;
	uint64_t tag;
};

static struct place {
	pthread_mutex_t lock;
	struct held held;
} places[SLOTS];

static struct quarry_heap *shared;
static int stop;

static struct held make(uint64_t *rng, struct quarry_heap *heap, uint64_t tag)
{
	struct held held = {.nbytes = rng_size(rng, rng_below(rng, 50) == 0 ? 17 : 11), .tag = tag};
	held.block = rng_below(rng, 4) == 0 ? quarry_heap_aligned_alloc(heap, 64, held.nbytes)
					    : quarry_heap_malloc(heap, held.nbytes);
	if (held.block != NULL)
		pattern_fill(held.block, held.nbytes, tag);
	return held;
}

static void verify(const struct held *held, struct quarry_heap *heap)
{
	CHECK(quarry_heap_of(held->block) == heap);
	CHECKF(pattern_kept(held->block, held->nbytes, (uintptr_t)held->block, held->nbytes, held->tag),
	       "  block %p of %zu bytes has changed", (void *)held->block, held->nbytes);
}

static void drop(uint64_t *rng, struct held *held, struct quarry_heap *heap)
{
	if (held->block == NULL)
		return;
	verify(held, heap);
	switch (rng_below(rng, 4)) {
	case 0:
		quarry_heap_free(heap, held->block);
		break;
	case 1:
		quarry_raw_free(held->block);
		break;
	case 2: {
		size_t kept = held->nbytes / 2;
		char *block = quarry_realloc(held->block, kept + 1);
		CHECK(block != NULL && quarry_heap_of(block) == heap);
		CHECK(pattern_kept(block, kept, (uintptr_t)held->block, held->nbytes, held->tag));
		quarry_free(block);
		break;
	}
	default:
		quarry_free(held->block);
	}
	held->block = NULL;
}

/* A request: a heap that ends with most of its blocks live. */
static void serve(uint64_t *rng, uint64_t tag)
{
	struct quarry_heap *heap = quarry_heap_create("request", LIMIT);
	struct quarry_heap_stats stats;
	struct held held[REQUEST_BLOCKS];
	CHECK(heap != NULL);
	for (int i = 0; i < REQUEST_BLOCKS; i++) {
		held[i] = make(rng, heap, tag);
		if (rng_below(rng, 4) == 0)
			drop(rng, &held[rng_below(rng, (uint64_t)i + 1)], heap);
	}
	for (int i = 0; i < REQUEST_BLOCKS; i++)
		if (held[i].block != NULL)
			verify(&held[i], heap);
	CHECK(quarry_heap_stats_get(heap, &stats, sizeof stats) == 0);
	CHECK(stats.live <= LIMIT && stats.peak <= LIMIT);
	quarry_heap_destroy(heap);
}

static void exchange(uint64_t *rng, uint64_t tag)
{
	struct place *place = &places[rng_below(rng, SLOTS)];
	struct held fresh = make(rng, shared, tag);
	pthread_mutex_lock(&place->lock);
	struct held old = place->held;
	place->held = fresh;
	pthread_mutex_unlock(&place->lock);
	drop(rng, &old, shared);
}

static void *live(void *arg)
{
	uint64_t number = (uint64_t)(uintptr_t)arg, rng = test_seed(number + 1);
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		serve(&rng, number);
		for (int i = 0; i < 500; i++)
			exchange(&rng, number);
	}
	return NULL;
}

static int count(const struct quarry_block *block, void *arg)
{
	(void)block;
	++*(uint64_t *)arg;
	return 0;
}

int main(void)
{
	pthread_t threads[THREADS];
	uint64_t walked = 0, rng = test_seed(0);
	struct quarry_heap_stats stats;

	test_start(60);
	shared = quarry_heap_create("shared", 0);
	CHECK(shared != NULL);
	uint64_t live_before = stats_live();
	for (int i = 0; i < SLOTS; i++)
		pthread_mutex_init(&places[i].lock, NULL);
	for (uintptr_t i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, live, (void *)i) == 0);
	for (double end = now() + test_seconds(3); now() < end;) {
		quarry_trim(0);
		CHECK(quarry_walk(count, &walked) == 0);
		CHECK(quarry_heap_stats_get(shared, &stats, sizeof stats) == 0 && stats.blocks <= SLOTS + 2 * THREADS);
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	for (int i = 0; i < SLOTS; i++)
		drop(&rng, &places[i].held, shared);
	CHECK(quarry_heap_stats_get(shared, &stats, sizeof stats) == 0);
	CHECKF(stats.live == 0 && stats.blocks == 0, "  %llu blocks are live", (unsigned long long)stats.blocks);
	say("%llu blocks from the shared heap, %llu walked", (unsigned long long)stats.allocations,
	    (unsigned long long)walked);
	quarry_trim(0);
	CHECKF(stats_live() <= live_before, "  live before %llu bytes, after %llu", (unsigned long long)live_before,
	       (unsigned long long)stats_live());
	quarry_heap_destroy(shared);
	return 0;
}
