/* SPDX-License-Identifier: MIT */
/*
 * What a replacement costs as work grows: each thread holds `blocks` mixed blocks and replaces them at random, `ops`
 * times in all and `each` times at least, which is far beyond its first refills. The time of the same walk over the
 * same blocks without a malloc or free, which grows with the caches' misses, is told apart.
 */
#include "../harness.h"

#include <time.h>

struct set {
	struct bench_rng rng;
	void **blocks;
	double touched_s, replaced_s;	/* CPU time of the thread */
};

static struct set *sets;
static int nthreads;
static long nblocks, turns;

static double cpu_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void **any(struct set *set, uint64_t x)
{
	return &set->blocks[bench_below((uint32_t)(x >> 32), (uint32_t)nblocks)];
}

static void setup(int id)
{
	struct set *set = &sets[id];

	bench_seed(&set->rng, (uint64_t)id);
	for (long i = 0; i < nblocks; i++)
		set->blocks[i] = bench_make(bench_mixed_size(&set->rng));
}

static void touch(struct set *set)
{
	for (long i = 0; i < turns; i++) {
		void *block = *any(set, bench_random(&set->rng));

		(void)bench_mixed_size(&set->rng);
		bench_stamp(block, bench_stamped(block));
	}
}

static void replace(struct set *set)
{
	for (long i = 0; i < turns; i++) {
		void **slot = any(set, bench_random(&set->rng));

		bench_drop(*slot);
		*slot = bench_make(bench_mixed_size(&set->rng));
	}
}

static void work(int id)
{
	struct set *set = &sets[id];
	double begin = cpu_now(), between;

	touch(set);
	between = cpu_now();
	replace(set);
	set->replaced_s = cpu_now() - between;
	set->touched_s = between - begin;
}

static void finish(int id)
{
	uint64_t sum = 0;

	for (long i = 0; i < nblocks; i++)
		sum += bench_drop(sets[id].blocks[i]);
	bench_check_add(sum);
}

int main(int argc, char **argv)
{
	struct bench_job job = {.setup = setup, .work = work, .finish = finish};
	double touched_s = 0, replaced_s = 0, ops;
	long least;

	bench_init(argc, argv, "flat");
	nthreads = (int)bench_arg("threads", 1);
	nblocks = bench_arg("blocks", 100);
	turns = bench_ops("ops", 4000000) / nthreads;
	least = bench_arg("each", 20000);
	bench_args_done();
	turns = turns > least ? turns : least;
	ops = (double)turns * nthreads;
	sets = bench_table((size_t)nthreads * sizeof *sets);
	for (int i = 0; i < nthreads; i++)
		sets[i].blocks = bench_table((size_t)nblocks * sizeof(void *));
	bench_threads(nthreads, &job);
	for (int i = 0; i < nthreads; i++) {
		touched_s += sets[i].touched_s;
		replaced_s += sets[i].replaced_s;
	}
	bench_metric("touch_ns", touched_s / ops * 1e9);
	bench_metric("replace_ns", replaced_s / ops * 1e9);
	bench_metric("cost_ns", (replaced_s - touched_s) / ops * 1e9);
	bench_report(ops);
}
