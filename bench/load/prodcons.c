/* SPDX-License-Identifier: MIT */
/*
 * Producers that only allocate and consumers that only free, joined by one bounded queue: every free is another
 * thread's. One op is one block made, handed over, verified and freed.
 */
#include "../harness.h"

static struct bench_queue queue;
static long batches;
static uint32_t least, span;

static void produce(int id)
{
	struct bench_rng rng;
	void *batch[BENCH_BATCH];

	bench_seed(&rng, (uint64_t)id);
	for (long b = 0; b < batches; b++) {
		for (int i = 0; i < BENCH_BATCH; i++)
			batch[i] = bench_make(least + bench_below((uint32_t)bench_random(&rng), span));
		bench_queue_put(&queue, batch);
	}
	bench_queue_close(&queue);
}

static void consume(void)
{
	uint64_t sum = 0;
	void *batch[BENCH_BATCH];

	while (bench_queue_get(&queue, batch))
		for (int i = 0; i < BENCH_BATCH; i++)
			sum += bench_drop(batch[i]);
	bench_check_add(sum);
}

/* Producers and consumers take turns in the numbering, so that pinned ones of both kinds sit on different CPUs. */
static void work(int id)
{
	if (id % 2 == 0)
		produce(id);
	else
		consume();
}

int main(int argc, char **argv)
{
	struct bench_job job = {.work = work};
	int pairs;
	long ops;

	bench_init(argc, argv, "prodcons");
	pairs = (int)bench_arg("pairs", 1);
	ops = bench_ops("ops", 15000000);
	least = (uint32_t)bench_arg("min", 16);
	span = (uint32_t)bench_arg("max", 256) - least + 1;
	bench_queue_init(&queue, (size_t)bench_arg("depth", 64), pairs);
	bench_args_done();
	batches = ops / pairs / BENCH_BATCH;
	bench_threads(2 * pairs, &job);
	bench_report((double)batches * BENCH_BATCH * pairs);
}
