/* SPDX-License-Identifier: MIT */
/*
 * An idle thread that holds 46 KB in 100 mixed blocks of 16 to 4096 bytes costs at most 150 KiB of resident memory, in
 * the hardened library 96; and its memory is used again when it has exited, there but for a third.
 */
#include "blackbox.h"

#include <pthread.h>

#define THREADS 1000
#define BLOCKS 100
#define MOST (is_hardened() ? 96 * KIB : 150 * KIB)

/* 20 sizes of 9200 bytes together, small ones prevailing; five times over they are the 46 KB. */
static const size_t sizes[] = { 16,  16,  24,  32,  40,  48,  64,  80,	 100,  128,
				160, 200, 256, 336, 448, 600, 700, 800, 1056, 4096 };

static pthread_barrier_t barrier;

/* The stack is touched before the first measurement, so that it does not count. */
static __attribute__((noinline)) void touch_stack(void)
{
	volatile char bytes[12 * 1024];
	for (size_t i = 0; i < sizeof bytes; i += 512)
		bytes[i] = 1;
}

static void *hold_blocks(void *unused)
{
	void *blocks[BLOCKS];

	touch_stack();
	pthread_barrier_wait(&barrier); /* all threads exist */
	pthread_barrier_wait(&barrier); /* that was measured */
	for (size_t i = 0; i < BLOCKS; i++) {
		size_t nbytes = sizes[i * 7 % COUNT(sizes)];
		blocks[i] = malloc(nbytes);
		CHECK(blocks[i] != NULL);
		pattern_fill(blocks[i], nbytes, 1);
	}
	pthread_barrier_wait(&barrier); /* all hold their blocks */
	pthread_barrier_wait(&barrier); /* that was measured */
	for (size_t i = 0; i < BLOCKS; i++) {
		pattern_check(blocks[i], sizes[i * 7 % COUNT(sizes)], 1);
		free(blocks[i]);
	}
	return unused;
}

static size_t cost_of_threads(void)
{
	static pthread_t threads[THREADS];
	pthread_attr_t attributes;

	CHECK(pthread_attr_init(&attributes) == 0 && pthread_attr_setstacksize(&attributes, 64 * KIB) == 0);
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], &attributes, hold_blocks, NULL) != 0)
			SKIP("only %d threads can be started", i);
	pthread_attr_destroy(&attributes);
	pthread_barrier_wait(&barrier);
	size_t before = resident();
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	size_t after = resident();
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	return (after - before) / THREADS;
}

int main(void)
{
	test_start(120);
	CHECK(pthread_barrier_init(&barrier, NULL, THREADS + 1) == 0);
	size_t cost = cost_of_threads();
	size_t peak = proc_status("VmHWM:");
	say("an idle thread that holds 46 KB costs %zu KiB", cost / KIB);
	CHECK(cost >= 46 * 1000 && cost <= MOST);
	cost_of_threads();
	CHECKF(proc_status("VmHWM:") <= peak + peak / (is_hardened() ? 3 : 4), "  peak with the first 1,000 threads %zu KiB, the second %zu",
	       peak, proc_status("VmHWM:"));
	return 0;
}
