/* SPDX-License-Identifier: MIT */
/* A block of one size taken and given back at once, over and over: the bare fast path. One op is one pair. */
#include "../harness.h"

static long ops;
static size_t nbytes;

static void work(int id)
{
	for (long i = 0; i < ops; i++) {
		char *block = malloc(nbytes);

		*block = (char)id;
		free(block);
	}
}

int main(int argc, char **argv)
{
	struct bench_job job = {.work = work};
	int nthreads;

	bench_init(argc, argv, "pair");
	nthreads = (int)bench_arg("threads", 1);
	ops = bench_ops("ops", 100000000);
	nbytes = (size_t)bench_arg("size", 64);
	bench_args_done();
	bench_threads(nthreads, &job);
	bench_report((double)ops * nthreads);
}
