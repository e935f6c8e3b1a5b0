/* SPDX-License-Identifier: MIT */
/*
 * Windows of small blocks: each thread fills a window, then frees half of it in the reverse order and half in the
 * order of making, and so on. With cross=1 a part of each second window goes to the thread's neighbour, in a block of
 * its own, and is freed there.
 */
#include "../harness.h"

#include <stdatomic.h>

enum { WINDOW = 5000, CROSSED = 256 };

struct gift {
	void *blocks[CROSSED];
};

static _Atomic(struct gift *) *mailbox;	/* one per thread: filled by the left neighbour, emptied by the thread */
static void *(*window_of)[WINDOW];
static long nwindows;
static int nthreads, cross;

/* 1 to 16 bytes most often, seldom more than 500. */
static size_t small_size(struct bench_rng *rng)
{
	uint64_t x = bench_random(rng);
	unsigned octave = (unsigned)__builtin_ctzll(x >> 40 | 32);

	return 16 + bench_below((uint32_t)x, 16u << octave);
}

static uint64_t drop_gift(struct gift *gift)
{
	uint64_t sum = 0;

	for (int i = 0; gift && i < CROSSED; i++)
		sum += bench_drop(gift->blocks[i]);
	free(gift);
	return sum;
}

/* Hands the first blocks of the window on; the gift that the neighbour has not fetched yet comes back and is freed. */
static uint64_t give(int id, void **window)
{
	struct gift *gift = malloc(sizeof *gift);

	if (!gift)
		bench_die("out of memory");
	for (int i = 0; i < CROSSED; i++)
		gift->blocks[i] = window[i];
	return drop_gift(atomic_exchange(&mailbox[(id + 1) % nthreads], gift));
}

static void work(int id)
{
	void **window = window_of[id];
	struct bench_rng rng;
	uint64_t sum = 0;

	bench_seed(&rng, (uint64_t)id);
	for (long n = 0; n < nwindows; n++) {
		int from = 0, middle;

		for (int i = 0; i < WINDOW; i++)
			window[i] = bench_make(small_size(&rng));
		if (cross && n % 2) {
			sum += drop_gift(atomic_exchange(&mailbox[id], NULL));
			sum += give(id, window);
			from = CROSSED;
		}
		middle = (from + WINDOW) / 2;
		for (int i = WINDOW - 1; i >= middle; i--)
			sum += bench_drop(window[i]);
		for (int i = from; i < middle; i++)
			sum += bench_drop(window[i]);
	}
	bench_check_add(sum);
}

static void finish(int id)
{
	bench_check_add(drop_gift(atomic_exchange(&mailbox[id], NULL)));
}

int main(int argc, char **argv)
{
	static const struct bench_job job = {.work = work, .finish = finish};
	long ops;

	bench_init(argc, argv, "window");
	nthreads = (int)bench_arg("threads", 4);
	cross = (int)bench_arg("cross", 0);
	ops = bench_ops("ops", 60000000);
	bench_args_done();
	nwindows = ops / nthreads / WINDOW;
	if (nwindows < 1)
		nwindows = 1;
	mailbox = bench_table((size_t)nthreads * sizeof *mailbox);
	window_of = bench_table((size_t)nthreads * sizeof *window_of);
	bench_threads(nthreads, &job);
	bench_report((double)nwindows * nthreads * WINDOW);
}
