/* SPDX-License-Identifier: MIT */
/*
 * Short-lived threads: each frees what its predecessor left in its place, allocates `blocks` mixed blocks, frees
 * most of them and ends. `width` of them live at a time. One op is one thread; resident memory after many waves
 * should be that of one.
 */
#include "../harness.h"

enum { LEFT = 20, MAX_BLOCKS = 4096 };

static struct place {
	struct bench_rng rng;
	void *left[LEFT];
} *places;

static long nblocks;

static void live(int id)
{
	struct place *place = &places[id];
	void *blocks[MAX_BLOCKS];
	uint64_t sum = 0;

	for (int i = 0; i < LEFT; i++)
		if (place->left[i])
			sum += bench_drop(place->left[i]);
	for (long i = 0; i < nblocks; i++)
		blocks[i] = bench_make(bench_mixed_size(&place->rng));
	for (long i = 0; i < LEFT; i++)
		place->left[i] = blocks[i];
	for (long i = LEFT; i < nblocks; i++)
		sum += bench_drop(blocks[i]);
	bench_check_add(sum);
}

int main(int argc, char **argv)
{
	long waves;
	int width;
	long early_kib = 0;

	bench_init(argc, argv, "churn");
	width = (int)bench_arg("width", 4);
	waves = bench_ops("threads", 20000) / width;
	nblocks = bench_arg("blocks", 200);
	bench_args_done();
	if (nblocks < LEFT || nblocks > MAX_BLOCKS)
		bench_die("blocks is out of range");
	places = bench_table((size_t)width * sizeof *places);
	for (int i = 0; i < width; i++)
		bench_seed(&places[i].rng, (uint64_t)i);
	for (long i = 0; i < waves; i++) {
		if (i == waves / 10)
			early_kib = bench_rss_kib();
		bench_start();
		bench_spawn(width, live);
		bench_stop();
	}
	bench_metric("growth_kib", (double)(bench_rss_kib() - early_kib));
	for (int i = 0; i < width; i++)
		for (int k = 0; k < LEFT; k++)
			bench_check_add(bench_drop(places[i].left[k]));
	bench_report((double)waves * width);
}
