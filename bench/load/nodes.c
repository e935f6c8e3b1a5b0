/* SPDX-License-Identifier: MIT */
/*
 * A large heap of nodes of one size: all allocated in order, all freed in random order, several times, so that each
 * round after the first allocates from what random frees left behind. Shuffling is not timed. One op is one pair.
 */
#include "../harness.h"

#include <string.h>

static void **nodes;
static long count;
static size_t nbytes;

static void shuffle(struct bench_rng *rng)
{
	for (long i = count - 1; i > 0; i--) {
		uint32_t j = bench_below((uint32_t)(bench_random(rng) >> 32), (uint32_t)i + 1);
		void *other = nodes[j];

		nodes[j] = nodes[i];
		nodes[i] = other;
	}
}

static void allocate_all(void)
{
	for (long i = 0; i < count; i++) {
		nodes[i] = malloc(nbytes);
		memset(nodes[i], 0, nbytes);
		*(long *)nodes[i] = i;
	}
}

static uint64_t free_all(void)
{
	uint64_t sum = 0;

	for (long i = 0; i < count; i++) {
		sum += *(uint64_t *)nodes[i];
		free(nodes[i]);
	}
	return sum;
}

int main(int argc, char **argv)
{
	struct bench_rng rng;
	long rounds;

	bench_init(argc, argv, "nodes");
	count = bench_ops("count", 1500000);
	rounds = bench_arg("rounds", 5);
	nbytes = (size_t)bench_arg("size", 64);
	bench_args_done();
	bench_seed(&rng, 1);
	nodes = bench_table((size_t)count * sizeof *nodes);
	for (long r = 0; r < rounds; r++) {
		bench_start();
		allocate_all();
		bench_stop();
		shuffle(&rng);
		bench_start();
		bench_check_add(free_all());
		bench_stop();
	}
	bench_report((double)count * (double)rounds);
}
