/* SPDX-License-Identifier: MIT */
/*
 * 20,000 short-lived threads leave the footprint of one: resident memory grows by at most 1 MiB from the 1,000th on.
 *
 * Each thread leaves some of its blocks to its successor, so heaps die with live blocks and are freed into.
 */
#include "blackbox.h"

#include <pthread.h>

#define PER_THREAD 100
#define LEFT 20
#define AT_ONCE 4

struct lane {
	uint64_t rng;
	size_t threads;
	void *left[LEFT];
	size_t nbytes[LEFT];
};

static struct lane lanes[AT_ONCE];

static void *live(void *arg)
{
	struct lane *lane = (struct lane *)arg;
	void *blocks[PER_THREAD];
	size_t nbytes[PER_THREAD];

	for (int i = 0; i < PER_THREAD; i++) {
		nbytes[i] = rng_size(&lane->rng, i % 25 == 24 ? 17 : 12);
		blocks[i] = malloc(nbytes[i]);
		CHECK(blocks[i] != NULL);
		pattern_fill(blocks[i], nbytes[i], 1);
	}
	for (int i = 0; i < LEFT; i++) {
		if (lane->left[i] != NULL)
			pattern_check(lane->left[i], lane->nbytes[i], 1);
		free(lane->left[i]);
		lane->left[i] = blocks[i];
		lane->nbytes[i] = nbytes[i];
	}
	for (int i = LEFT; i < PER_THREAD; i++) {
		pattern_check(blocks[i], nbytes[i], 1);
		free(blocks[i]);
	}
	return NULL;
}

/* Threads in pairs of lanes: the block of one lane is freed by threads of the next. */
static void run_threads(int count)
{
	for (int done = 0; done < count; done += AT_ONCE) {
		pthread_t threads[AT_ONCE];

		for (int i = 0; i < AT_ONCE; i++)
			CHECK(pthread_create(&threads[i], NULL, live, &lanes[i]) == 0);
		for (int i = 0; i < AT_ONCE; i++)
			CHECK(pthread_join(threads[i], NULL) == 0);
		for (int i = 0; i < LEFT; i++) {
			void *block = lanes[0].left[i];
			size_t nbytes = lanes[0].nbytes[i];
			lanes[0].left[i] = lanes[1].left[i];
			lanes[0].nbytes[i] = lanes[1].nbytes[i];
			lanes[1].left[i] = block;
			lanes[1].nbytes[i] = nbytes;
		}
	}
}

/* Hardened, so much of freed spans may wait with its pages, and need not do so from the start. */
static size_t waiting(void)
{
	const char *hardened = getenv("QUARRY_ALL_HARDENED");

	return hardened != NULL && strcmp(hardened, "yes") == 0 ? MIB : 0;
}

int main(void)
{
	size_t marks[3], mapped[3];

	test_start(120);
	for (int i = 0; i < AT_ONCE; i++)
		lanes[i].rng = test_seed((uint64_t)i);
	run_threads(1000);
	marks[0] = resident();
	mapped[0] = proc_status("VmSize:");
	run_threads(9000);
	marks[1] = resident();
	mapped[1] = proc_status("VmSize:");
	run_threads(10000);
	marks[2] = resident();
	mapped[2] = proc_status("VmSize:");
	say("resident after 1,000 threads %zu KiB, 10,000 %zu KiB, 20,000 %zu KiB", marks[0] / KIB, marks[1] / KIB,
	    marks[2] / KIB);
	CHECK(marks[2] <= marks[0] + MIB + waiting());
	CHECKF(mapped[2] <= mapped[0] + 16 * 1024, "  mapped: %zu KiB, then %zu, %zu", mapped[0], mapped[1], mapped[2]);
	return 0;
}
