/* SPDX-License-Identifier: MIT */
/* `count` blocks of one size taken, then all given back, in the same order (fifo) or the opposite one (lifo). */
#include "../harness.h"

#include <string.h>

static long rounds, count;
static size_t nbytes;
static int lifo;
static void ***batches;

static void free_all(void **blocks)
{
	if (lifo)
		for (long i = count; i-- > 0;)
			free(blocks[i]);
	else
		for (long i = 0; i < count; i++)
			free(blocks[i]);
}

static void make_all(void **blocks)
{
	for (long i = 0; i < count; i++) {
		blocks[i] = malloc(nbytes);
		*(long *)blocks[i] = i;
	}
}

static void work(int id)
{
	for (long r = 0; r < rounds; r++) {
		make_all(batches[id]);
		free_all(batches[id]);
	}
}

/* One more round, to see that the blocks are as many as they seem. */
static void finish(int id)
{
	uint64_t sum = 0;

	make_all(batches[id]);
	for (long i = 0; i < count; i++)
		sum += *(uint64_t *)batches[id][i];
	bench_check_add(sum);
	free_all(batches[id]);
}

int main(int argc, char **argv)
{
	struct bench_job job = {.work = work, .finish = finish};
	int nthreads;

	bench_init(argc, argv, "batch");
	nthreads = (int)bench_arg("threads", 1);
	count = bench_arg("count", 4000);
	rounds = bench_ops("ops", 60000000) / count;
	nbytes = (size_t)bench_arg("size", 64);
	lifo = !strcmp(bench_word("order", "fifo"), "lifo");
	bench_args_done();
	batches = bench_table((size_t)nthreads * sizeof *batches);
	for (int i = 0; i < nthreads; i++)
		batches[i] = bench_table((size_t)count * sizeof **batches);
	bench_threads(nthreads, &job);
	bench_report((double)rounds * (double)count * nthreads);
}
