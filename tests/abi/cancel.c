/* SPDX-License-Identifier: MIT */
/*
 * No call of the malloc family is a cancellation point, and threads cancelled in a storm leave a heap that works.
 */
#include "blackbox.h"

#include <malloc.h>
#include <pthread.h>
#include <unistd.h>

#define SLOTS 256
#define THREADS 8

static void *shared[SLOTS];
static int passed;

/* Cancelled before it starts: it must get through all of this and end at pthread_testcancel. */
static void *with_cancel_pending(void *unused)
{
	uint64_t rng = 3;
	void *blocks[SLOTS] = { NULL };

	pthread_cancel(pthread_self());
	for (int i = 0; i < 20000; i++) {
		size_t slot = rng_below(&rng, SLOTS), nbytes = rng_size(&rng, i % 500 == 0 ? 24 : 15);
		if (i % 3 == 0) {
			blocks[slot] = realloc(blocks[slot], nbytes);
		} else {
			free(blocks[slot]);
			blocks[slot] = i % 3 == 1 ? malloc(nbytes) : aligned_alloc(128, nbytes);
		}
		CHECK(blocks[slot] != NULL);
		if (i % 5000 == 0)
			malloc_trim(0);
	}
	mallinfo2();
	for (int i = 0; i < SLOTS; i++)
		free(blocks[i]);
	__atomic_fetch_add(&passed, 1, __ATOMIC_RELAXED);
	pthread_testcancel();
	FAIL("  not cancelled");
	return unused;
}

/* Cancelled somewhere between two rounds; what it holds in the shared table is freed by others. */
static void *storm(void *arg)
{
	uint64_t rng = test_seed((uint64_t)(uintptr_t)arg + 1);

	for (;;) {
		for (int i = 0; i < 50; i++) {
			void *block = malloc(rng_size(&rng, 14));
			CHECK(block != NULL);
			free(__atomic_exchange_n(&shared[rng_below(&rng, SLOTS)], block, __ATOMIC_ACQ_REL));
		}
		pthread_testcancel();
	}
	return NULL;
}

static void expect_cancelled(pthread_t thread)
{
	void *result;
	CHECK(pthread_join(thread, &result) == 0 && result == PTHREAD_CANCELED);
}

int main(void)
{
	pthread_t thread, storming[THREADS];
	uint64_t rng;

	test_start(60);
	rng = test_seed(0);
	for (int i = 0; i < 10; i++) {
		CHECK(pthread_create(&thread, NULL, with_cancel_pending, NULL) == 0);
		expect_cancelled(thread);
	}
	CHECK(passed == 10);
	for (uintptr_t i = 0; i < THREADS; i++)
		CHECK(pthread_create(&storming[i], NULL, storm, (void *)i) == 0);
	for (double end = now() + test_seconds(3); now() < end;) {
		size_t victim = rng_below(&rng, THREADS);
		usleep((useconds_t)rng_below(&rng, 3000));
		pthread_cancel(storming[victim]);
		expect_cancelled(storming[victim]);
		CHECK(pthread_create(&storming[victim], NULL, storm, (void *)(uintptr_t)rng_below(&rng, 1000)) == 0);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_cancel(storming[i]);
		expect_cancelled(storming[i]);
	}
	for (int i = 0; i < SLOTS; i++)
		free(shared[i]);
	return 0;
}
