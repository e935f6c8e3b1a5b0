/* SPDX-License-Identifier: MIT */
/*
 * Producers that fall asleep: one after the other fills a window of blocks, streams as much again `stream` times
 * while the consumer frees, then sleeps, without another call, until all are done. The live set is never above one
 * window, so whatever the allocator keeps for the sleepers shows as peak resident memory over live.
 */
#include "../harness.h"

#include <semaphore.h>
#include <stdatomic.h>

enum { MAX_PRODUCERS = 64, LEAST = 16, SPAN = 1025 };

static struct bench_queue queue;
static sem_t turn[MAX_PRODUCERS + 1], filled;
static int producers;
static long window, stream;
static _Atomic uint64_t live;	/* the largest window so far, in bytes */
static long asleep_kib;

static uint64_t put_batches(struct bench_rng *rng, long count)
{
	void *batch[BENCH_BATCH];
	uint64_t sum = 0;

	for (long b = 0; b < count; b++) {
		for (int i = 0; i < BENCH_BATCH; i++) {
			size_t nbytes = LEAST + bench_below((uint32_t)bench_random(rng), SPAN);

			batch[i] = bench_make(nbytes);
			sum += nbytes;
		}
		bench_queue_put(&queue, batch);
	}
	return sum;
}

static void wait_for(sem_t *sem)
{
	while (sem_wait(sem))
		;
}

static void produce(int id)
{
	struct bench_rng rng;
	uint64_t nbytes;

	bench_seed(&rng, (uint64_t)id);
	wait_for(&turn[id]);
	nbytes = put_batches(&rng, window);
	if (nbytes > live)
		live = nbytes;
	sem_post(&filled);
	put_batches(&rng, window * stream);
	bench_queue_close(&queue);
}

static void consume(void)
{
	void *batch[BENCH_BATCH];
	uint64_t sum = 0;

	for (int id = 0; id < producers; id++) {
		bench_queue_open(&queue, 1);
		sem_post(&turn[id]);
		wait_for(&filled);
		while (bench_queue_get(&queue, batch))
			for (int i = 0; i < BENCH_BATCH; i++)
				sum += bench_drop(batch[i]);
	}
	bench_check_add(sum);
}

static void work(int id)
{
	if (id == producers)
		consume();
	else
		produce(id);
}

static void measure(void)
{
	asleep_kib = bench_rss_kib();
}

int main(int argc, char **argv)
{
	struct bench_job job = {.work = work, .measure = measure};

	bench_init(argc, argv, "pc_sleep");
	producers = (int)bench_arg("producers", 8);
	window = bench_arg("mib", 64) * 1048576 / (LEAST + SPAN / 2) / BENCH_BATCH;
	stream = bench_ops("stream", 2);
	bench_args_done();
	if (producers > MAX_PRODUCERS)
		bench_die("too many producers");
	bench_queue_init(&queue, (size_t)window, 0);
	sem_init(&filled, 0, 0);
	for (int i = 0; i < producers; i++)
		sem_init(&turn[i], 0, 0);
	bench_threads(producers + 1, &job);
	bench_metric("live_kib", (double)live / 1024);
	bench_metric("asleep_rss_kib", (double)asleep_kib);
	bench_metric("peak_over_live", (double)(bench_peak_kib() - bench_table_kib()) * 1024 / (double)live);
	bench_report((double)window * BENCH_BATCH * (double)(stream + 1) * producers);
}
