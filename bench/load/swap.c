/* SPDX-License-Identifier: MIT */
/*
 * All threads exchange with all: each makes a block, swaps it into a random slot of a shared table and frees what
 * was there, whoever made it.
 */
#include "../harness.h"

#include <stdatomic.h>

static _Atomic(void *) *slots;
static long ops, nslots;
static uint32_t least, span;

static void work(int id)
{
	struct bench_rng rng;
	uint64_t sum = 0;

	bench_seed(&rng, (uint64_t)id);
	for (long i = 0; i < ops; i++) {
		uint64_t x = bench_random(&rng);
		void *block = bench_make(least + bench_below((uint32_t)x, span));

		block = atomic_exchange(&slots[bench_below((uint32_t)(x >> 32), (uint32_t)nslots)], block);
		if (block)
			sum += bench_drop(block);
	}
	bench_check_add(sum);
}

int main(int argc, char **argv)
{
	struct bench_job job = {.work = work};
	int nthreads;

	bench_init(argc, argv, "swap");
	nthreads = (int)bench_arg("threads", 2);
	ops = bench_ops("ops", 20000000) / nthreads;
	nslots = bench_arg("slots", 20000);
	least = (uint32_t)bench_arg("min", 16);
	span = (uint32_t)bench_arg("max", 515) - least + 1;
	bench_args_done();
	slots = bench_table((size_t)nslots * sizeof *slots);
	bench_threads(nthreads, &job);
	for (long i = 0; i < nslots; i++)
		if (slots[i])
			bench_check_add(bench_drop(slots[i]));
	bench_report((double)ops * nthreads);
}
