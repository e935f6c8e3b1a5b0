/* SPDX-License-Identifier: MIT */
/*
 * A table that one thread builds and all use: each takes an entry at random, reads it and puts it back, and replaces
 * one in `replace` by a block of its own, so that it frees what others made. A taken slot is NULL; who finds it so
 * goes on to another. The builder's pages should be on its node, and a replaced entry's on the node of who replaced
 * it; how many of all reads found their line on the reader's node follows from where the pages lie. One op is one read.
 */
#include "../placement.h"

#include <stdatomic.h>

enum { AT_ONCE = 64 };

struct entry {
	void *_Atomic block;
	short home;	/* of the block's maker; who has taken the block writes it */
};

static struct entry *entries;
static int nthreads;
static double seconds;
static long count, replace;
static double share;

static void build(void)
{
	struct placement_thread building = {0};
	struct bench_rng rng;
	int node = node_of_thread();

	bench_seed(&rng, 0);
	for (long i = 0; i < count; i++) {
		atomic_store(&entries[i].block, placement_make(bench_mixed_size(&rng), &building));
		entries[i].home = (short)node;
	}
	placement_begin();
}

static void setup(int id)
{
	if (id == 0)
		build();
}

static void use_some(struct placement_thread *thread, struct bench_rng *rng, int node)
{
	for (int i = 0; i < AT_ONCE; i++) {
		uint64_t random = bench_random(rng);
		struct entry *entry = &entries[bench_below((uint32_t)(random >> 32), (uint32_t)count)];
		void *block = atomic_exchange(&entry->block, NULL);

		if (!block)
			continue;
		thread->other_lines += placement_read(block);
		if ((random & 0xffff) % (uint64_t)replace == 0) {
			bench_drop(block);
			thread->other_frees++;
			block = placement_make(bench_mixed_size(rng), thread);
			entry->home = (short)node;
		}
		atomic_store(&entry->block, block);
		thread->ops++;
	}
}

static void work(int id)
{
	struct placement_thread *thread = &placement_threads[id];
	double from = bench_now();
	struct bench_rng rng;

	bench_seed(&rng, (uint64_t)id + 1);
	thread->node = node_of_thread();
	do {
		use_some(thread, &rng, thread->node);
		thread->seconds = bench_now() - from;
	} while (thread->seconds < seconds);
}

static void measure(void)
{
	for (long i = 0; i < count; i++)
		placement_note(entries[i].block, bench_stamped(entries[i].block), entries[i].home);
	share = placement_ask();
}

/* Entries are taken at random: of a thread's reads, the part on its node is that node's part of all pages. */
static double read_share(void)
{
	double local = 0, all = 0;

	for (int id = 0; id < nthreads; id++) {
		double lines = (double)placement_threads[id].other_lines;

		local += lines * placement_share_on(placement_threads[id].node);
		all += lines;
	}
	return all > 0 ? local / all : 0;
}

int main(int argc, char **argv)
{
	struct bench_job job = {.setup = setup, .work = work, .measure = measure};

	bench_init(argc, argv, "numa_shared");
	nthreads = (int)bench_arg("threads", 1);
	seconds = (double)bench_arg("ms", 1000) / 1000;
	count = bench_arg("entries", 100000);
	replace = bench_arg("replace", 16);
	bench_args_done();
	if (nthreads > PLACEMENT_THREADS || replace < 1)
		bench_die("too many threads, or replace=0");
	entries = bench_table((size_t)count * sizeof *entries);
	bench_threads(nthreads, &job);
	bench_metric("local_share", share);
	bench_metric("read_share", read_share());
	bench_report(placement_report(nthreads));
}
