/* SPDX-License-Identifier: MIT */
/*
 * Producers on one node, consumers on another (even threads and odd threads; `cpus` says where): blocks are made and
 * written by the one, read and freed by the other, through one bounded queue for each pair. Both also keep blocks of
 * their own and replace some of them with every batch, as servers do; whether these stay on their thread's node
 * although the memory that a thread frees is the other node's, is what the placement tells. One op is one block
 * handed over.
 */
#include "../placement.h"

enum { OWN_PER_BATCH = BENCH_BATCH / 4 };

static struct placement_set sets[PLACEMENT_THREADS];
static struct bench_queue queues[PLACEMENT_THREADS / 2];
static int npairs;
static double seconds;
static long live;
static double share;

static void setup(int id)
{
	struct placement_thread filling = {0};

	placement_set_init(&sets[id], live, id);
	placement_set_churn(&sets[id], &filling, live);
	if (id == 0)
		placement_begin();
}

static void produce(int id)
{
	struct placement_thread *thread = &placement_threads[id];
	struct bench_queue *queue = &queues[id / 2];
	double from = bench_now();
	struct bench_rng rng;
	void *batch[BENCH_BATCH];

	bench_seed(&rng, (uint64_t)id);
	do {
		for (int i = 0; i < BENCH_BATCH; i++)
			batch[i] = placement_make(bench_mixed_size(&rng), thread);
		bench_queue_put(queue, batch);
		placement_set_churn(&sets[id], thread, OWN_PER_BATCH);
		thread->seconds = bench_now() - from;
	} while (thread->seconds < seconds);
	bench_queue_close(queue);
}

static void consume(int id)
{
	struct placement_thread *thread = &placement_threads[id];
	struct bench_queue *queue = &queues[id / 2];
	double from = bench_now();
	void *batch[BENCH_BATCH];

	while (bench_queue_get(queue, batch)) {
		for (int i = 0; i < BENCH_BATCH; i++) {
			thread->other_lines += placement_read(batch[i]);
			bench_drop(batch[i]);
		}
		thread->other_frees += BENCH_BATCH;
		thread->ops += BENCH_BATCH;
		placement_set_churn(&sets[id], thread, OWN_PER_BATCH);
	}
	thread->seconds = bench_now() - from;
}

static void work(int id)
{
	if (id % 2 == 0)
		produce(id);
	else
		consume(id);
	placement_threads[id].node = node_of_thread();
}

static void measure(void)
{
	for (int id = 0; id < 2 * npairs; id++)
		placement_set_note(&sets[id]);
	share = placement_ask();
}

int main(int argc, char **argv)
{
	struct bench_job job = {.setup = setup, .work = work, .measure = measure};
	long depth;

	bench_init(argc, argv, "numa_handoff");
	npairs = (int)bench_arg("pairs", 1);
	seconds = (double)bench_arg("ms", 1000) / 1000;
	live = bench_arg("live", 10000);
	depth = bench_arg("depth", 16);
	bench_args_done();
	if (2 * npairs > PLACEMENT_THREADS)
		bench_die("too many pairs");
	for (int i = 0; i < npairs; i++)
		bench_queue_init(&queues[i], (size_t)depth, 1);
	bench_threads(2 * npairs, &job);
	bench_metric("local_share", share);
	bench_report(placement_report(2 * npairs));
}
