/* SPDX-License-Identifier: MIT */
/*
 * Random replace over a mixed live set: free the block in a random slot, put one of random size there. Each thread
 * has a set of its own. The freed block is not read first: whether the allocator touches it is part of the figure.
 */
#include "../harness.h"

static long ops, live;
static uint32_t least, span;
static void ***sets;

static void *make(uint64_t x)
{
	size_t nbytes = least + bench_below((uint32_t)x, span);
	size_t *block = malloc(nbytes);

	*block = nbytes;
	return block;
}

static void setup(int id)
{
	struct bench_rng rng;

	bench_seed(&rng, (uint64_t)id);
	for (long i = 0; i < live; i++)
		sets[id][i] = make(bench_random(&rng));
}

static void work(int id)
{
	struct bench_rng rng;
	void **slots = sets[id];

	bench_seed(&rng, 1000 + (uint64_t)id);
	for (long i = 0; i < ops; i++) {
		uint64_t x = bench_random(&rng);
		void **slot = &slots[bench_below((uint32_t)(x >> 32), (uint32_t)live)];

		free(*slot);
		*slot = make(x);
	}
}

static void finish(int id)
{
	uint64_t sum = 0;

	for (long i = 0; i < live; i++) {
		sum += *(size_t *)sets[id][i];
		free(sets[id][i]);
	}
	bench_check_add(sum);
}

int main(int argc, char **argv)
{
	struct bench_job job = {.setup = setup, .work = work, .finish = finish};
	int nthreads;

	bench_init(argc, argv, "replace");
	nthreads = (int)bench_arg("threads", 1);
	ops = bench_ops("ops", 20000000);
	live = bench_arg("live", 100000);
	least = (uint32_t)bench_arg("min", 16);
	span = (uint32_t)bench_arg("max", 515) - least + 1;
	bench_args_done();
	sets = bench_table((size_t)nthreads * sizeof *sets);
	for (int i = 0; i < nthreads; i++)
		sets[i] = bench_table((size_t)live * sizeof **sets);
	bench_threads(nthreads, &job);
	bench_report((double)ops * nthreads);
}
