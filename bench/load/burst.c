/* SPDX-License-Identifier: MIT */
/*
 * A burst of small blocks, all freed, then silence: resident memory is sampled each second for `seconds` while no
 * thread calls the allocator. Allocated and freed by one thread or several (`cross=1`: each frees its neighbour's),
 * in order or at random; afterwards the threads sit idle or have ended (`after=idle` or `after=exit`).
 */
#include "../harness.h"

#include <stdio.h>
#include <string.h>

enum { MAX_SECONDS = 30 };

static void ***shares;
static long count, seconds;
static size_t nbytes;
static int nthreads, shuffled, cross, idle;
static pthread_barrier_t made;

static void shuffle(void **blocks, uint64_t seed)
{
	struct bench_rng rng;

	bench_seed(&rng, seed);
	for (long i = count - 1; i > 0; i--) {
		uint32_t j = bench_below((uint32_t)(bench_random(&rng) >> 32), (uint32_t)i + 1);
		void *other = blocks[j];

		blocks[j] = blocks[i];
		blocks[i] = other;
	}
}

static void work(int id)
{
	void **blocks = shares[id];

	for (long i = 0; i < count; i++) {
		blocks[i] = malloc(nbytes);
		memset(blocks[i], id + 1, nbytes);
	}
	if (shuffled)
		shuffle(blocks, (uint64_t)id);
	pthread_barrier_wait(&made);
	blocks = shares[cross ? (id + 1) % nthreads : id];
	for (long i = 0; i < count; i++)
		free(blocks[i]);
	bench_check_add((uint64_t)count);
}

static void sample(void)
{
	static char names[MAX_SECONDS + 1][32];

	for (int i = 0; i < nthreads; i++)
		bench_table_drop(shares[i], (size_t)count * sizeof **shares);
	for (int s = 0; s <= seconds; s++) {
		if (s)
			bench_sleep(1);
		snprintf(names[s], sizeof names[s], "rss_kib_after_%d_s", s);
		bench_metric(names[s], (double)bench_rss_kib());
	}
	bench_metric("rss_kib_at_last", (double)bench_rss_kib());
}

int main(int argc, char **argv)
{
	struct bench_job job = {.work = work};
	long mib;

	bench_init(argc, argv, "burst");
	nthreads = (int)bench_arg("threads", 1);
	nbytes = (size_t)bench_arg("size", 100);
	mib = bench_ops("mib", 1024);
	count = mib * 1048576 / (long)nbytes / nthreads;
	seconds = bench_arg("seconds", 10);
	shuffled = !strcmp(bench_word("order", "seq"), "random");
	cross = (int)bench_arg("cross", 0);
	idle = !strcmp(bench_word("after", "exit"), "idle");
	bench_args_done();
	if (seconds > MAX_SECONDS)
		bench_die("too many seconds");
	shares = bench_table((size_t)nthreads * sizeof *shares);
	for (int i = 0; i < nthreads; i++)
		shares[i] = bench_table((size_t)count * sizeof **shares);
	pthread_barrier_init(&made, NULL, (unsigned)nthreads);
	if (idle)
		job.measure = sample;
	bench_threads(nthreads, &job);
	if (!idle)
		sample();
	bench_metric("live_peak_kib", (double)count * (double)nthreads * (double)nbytes / 1024);
	bench_report((double)count * nthreads);
}
