/* SPDX-License-Identifier: MIT */
/*
 * A changing team of threads: in each round fresh threads make blocks of all sizes, keep some to their end, drop
 * others soon, and exchange a few through a shared table that outlives the round. Half of what the table holds is
 * dropped by the main thread between rounds.
 */
#include "../harness.h"

#include <stdatomic.h>

enum { SHARED = 1000, YOUNG = 200, KEPT = 5000 };

static _Atomic(void *) shared[SHARED];
static long round_ops, round_no;
static void *(*kept_by)[KEPT];

/* 16 B to 4 KiB mostly; one in 64 up to 32 KiB, one in 1024 up to 512 KiB. */
static void *make(struct bench_rng *rng)
{
	size_t nbytes = bench_mixed_size(rng);
	uint64_t x = bench_random(rng);

	if ((x & 1023) == 0)
		nbytes *= 128;
	else if ((x & 63) == 0)
		nbytes *= 8;
	return bench_make(nbytes);
}

static uint64_t drop(void *block)
{
	return block ? bench_drop(block) : 0;
}

static void run(int id)
{
	struct bench_rng rng;
	void *young[YOUNG] = {NULL};
	void **kept = kept_by[id];
	uint64_t sum = 0;
	long nkept = 0;

	bench_seed(&rng, (uint64_t)(round_no * 1000 + id));
	for (long i = 0; i < round_ops; i++) {
		uint64_t x = bench_random(&rng);
		void *block = make(&rng);

		if ((x & 15) == 0)
			block = atomic_exchange(&shared[bench_below((uint32_t)x, SHARED)], block);
		if ((x & 0xf0) == 0 && nkept < KEPT) {
			kept[nkept++] = block;
			continue;
		}
		void **slot = &young[bench_below((uint32_t)(x >> 32), YOUNG)];

		sum += drop(*slot);
		*slot = block;
	}
	for (int i = 0; i < YOUNG; i++)
		sum += drop(young[i]);
	for (long i = 0; i < nkept; i++)
		sum += drop(kept[i]);
	bench_check_add(sum);
}

static void drop_shared(int step)
{
	for (int i = 0; i < SHARED; i += step)
		bench_check_add(drop(atomic_exchange(&shared[i], NULL)));
}

int main(int argc, char **argv)
{
	int nthreads;
	long rounds;

	bench_init(argc, argv, "mstress");
	nthreads = (int)bench_arg("threads", 2);
	rounds = bench_arg("rounds", 25);
	round_ops = bench_ops("ops", 20000000) / nthreads / rounds;
	bench_args_done();
	kept_by = bench_table((size_t)nthreads * sizeof *kept_by);
	bench_start();
	for (round_no = 0; round_no < rounds; round_no++) {
		bench_spawn(nthreads, run);
		drop_shared(2);
	}
	bench_stop();
	drop_shared(1);
	bench_report((double)round_ops * (double)rounds * nthreads);
}
