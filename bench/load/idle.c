/* SPDX-License-Identifier: MIT */
/*
 * Many idle threads, each holding a few mixed blocks (16 B to 4 KiB, skewed to small: 100 of them are 46 KB): what a
 * thread costs in resident memory, its stack of about 8 KiB included, and what remains once all have freed and ended.
 */
#include "../harness.h"

enum { MAX_BLOCKS = 128, STACK = 131072 };

static long nblocks;
static pthread_barrier_t held, release;

static void *idle(void *arg)
{
	struct bench_rng rng;
	void *blocks[MAX_BLOCKS];
	uint64_t sum = 0;

	bench_seed(&rng, (uint64_t)(uintptr_t)arg);
	for (long i = 0; i < nblocks; i++)
		blocks[i] = bench_make(bench_mixed_size(&rng));
	pthread_barrier_wait(&held);
	pthread_barrier_wait(&release);
	for (long i = 0; i < nblocks; i++)
		sum += bench_drop(blocks[i]);
	bench_check_add(sum);
	return NULL;
}

static void start(pthread_t *threads, long nthreads)
{
	pthread_attr_t attr;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	for (long i = 0; i < nthreads; i++)
		if (pthread_create(&threads[i], &attr, idle, (void *)(uintptr_t)i))
			bench_die("cannot create a thread");
	pthread_attr_destroy(&attr);
	pthread_barrier_wait(&held);
}

int main(int argc, char **argv)
{
	pthread_t *threads;
	long nthreads, settle, before, during, after;

	bench_init(argc, argv, "idle");
	nthreads = bench_arg("threads", 1000);
	nblocks = bench_arg("blocks", 100);
	settle = bench_arg("settle", 0);
	bench_args_done();
	if (nblocks > MAX_BLOCKS)
		bench_die("too many blocks");
	threads = bench_table((size_t)nthreads * sizeof *threads);
	pthread_barrier_init(&held, NULL, (unsigned)nthreads + 1);
	pthread_barrier_init(&release, NULL, (unsigned)nthreads + 1);
	before = bench_rss_kib();
	bench_start();
	start(threads, nthreads);
	bench_stop();
	during = bench_rss_kib();
	pthread_barrier_wait(&release);
	for (long i = 0; i < nthreads; i++)
		pthread_join(threads[i], NULL);
	bench_sleep((double)settle);
	after = bench_rss_kib();
	bench_metric("kib_per_thread", (double)(during - before) / (double)nthreads);
	bench_metric("ended_kib", (double)(after - before));
	bench_report((double)nthreads);
}
