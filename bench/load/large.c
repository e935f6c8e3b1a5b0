/* SPDX-License-Identifier: MIT */
/*
 * Large blocks: random replace over a set of blocks of 64 KiB to 4 MiB, as many of each octave, each page touched.
 * Each thread has a set of its own. One op is one block.
 */
#include "../harness.h"

enum { LEAST = 65536, OCTAVES = 6 };

static void ***sets;
static long ops, nslots;

static void *make(struct bench_rng *rng)
{
	uint64_t x = bench_random(rng);
	size_t least = (size_t)LEAST << bench_below((uint32_t)(x >> 32), OCTAVES);

	return bench_make(least + bench_below((uint32_t)x, (uint32_t)least));
}

static void work(int id)
{
	struct bench_rng rng;
	uint64_t sum = 0;

	bench_seed(&rng, (uint64_t)id);
	for (long i = 0; i < ops; i++) {
		void **slot = &sets[id][bench_below((uint32_t)(bench_random(&rng) >> 32), (uint32_t)nslots)];

		if (*slot)
			sum += bench_drop(*slot);
		*slot = make(&rng);
	}
	bench_check_add(sum);
}

static void finish(int id)
{
	for (long i = 0; i < nslots; i++)
		if (sets[id][i])
			bench_check_add(bench_drop(sets[id][i]));
}

int main(int argc, char **argv)
{
	struct bench_job job = {.work = work, .finish = finish};
	int nthreads;

	bench_init(argc, argv, "large");
	nthreads = (int)bench_arg("threads", 1);
	ops = bench_ops("ops", 40000) / nthreads;
	nslots = bench_arg("slots", 100) / nthreads;
	bench_args_done();
	sets = bench_table((size_t)nthreads * sizeof *sets);
	for (int i = 0; i < nthreads; i++)
		sets[i] = bench_table((size_t)nslots * sizeof **sets);
	bench_threads(nthreads, &job);
	bench_report((double)ops * nthreads);
}
