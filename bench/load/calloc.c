/* SPDX-License-Identifier: MIT */
/*
 * calloc over a window of mixed blocks: nine of ten are small (16 B to 4 KiB), one of ten up to 32 KiB, one of 160 up
 * to 512 KiB. Each page's first byte and the last byte are checked to be zero, then written. One op is one block.
 */
#include "../harness.h"

struct piece {
	unsigned char *bytes;
	size_t nbytes;
};

static struct piece **windows;
static long ops, nslots;

static size_t size_of(struct bench_rng *rng)
{
	size_t nbytes = bench_mixed_size(rng);
	uint64_t x = bench_random(rng);

	if (x % 160 == 0)
		return nbytes * 128;
	return x % 10 == 0 ? nbytes * 8 : nbytes;
}

static void replace(struct piece *piece, size_t nbytes)
{
	unsigned char *bytes = calloc(1, nbytes);

	free(piece->bytes);
	if (!bytes)
		bench_die("out of memory");
	for (size_t at = 0; at < nbytes; at += 4096) {
		if (bytes[at])
			bench_die("calloc left a byte set");
		bytes[at] = 1;
	}
	if (bytes[nbytes - 1] > (nbytes % 4096 == 1))
		bench_die("calloc left a byte set");
	bytes[nbytes - 1] = 1;
	*piece = (struct piece){bytes, nbytes};
}

static void work(int id)
{
	struct bench_rng rng;
	uint64_t sum = 0;

	bench_seed(&rng, (uint64_t)id);
	for (long i = 0; i < ops; i++) {
		uint32_t k = bench_below((uint32_t)(bench_random(&rng) >> 32), (uint32_t)nslots);
		size_t nbytes = size_of(&rng);

		replace(&windows[id][k], nbytes);
		sum += nbytes;
	}
	bench_check_add(sum);
}

static void finish(int id)
{
	for (long i = 0; i < nslots; i++)
		free(windows[id][i].bytes);
}

int main(int argc, char **argv)
{
	struct bench_job job = {.work = work, .finish = finish};
	int nthreads;

	bench_init(argc, argv, "calloc");
	nthreads = (int)bench_arg("threads", 1);
	ops = bench_ops("ops", 10000000);
	nslots = bench_arg("slots", 500);
	bench_args_done();
	windows = bench_table((size_t)nthreads * sizeof *windows);
	for (int i = 0; i < nthreads; i++)
		windows[i] = bench_table((size_t)nslots * sizeof **windows);
	bench_threads(nthreads, &job);
	bench_report((double)ops * nthreads);
}
