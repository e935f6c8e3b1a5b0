/* SPDX-License-Identifier: MIT */
/*
 * Threads that are moved: each does what numa_local does, is bound to its CPU of `to` half way, and goes on. What it
 * allocates from then on should come from its new node. `settled_share` is that of blocks made after the allocator
 * had the first tenth of the second half to notice, and as many replacements as the set has blocks; `local_share` is
 * that of all blocks made after the move. What was there before counts in neither. One op is one replacement.
 */
#include "../placement.h"

enum { AT_ONCE = 64 };

static struct placement_set sets[PLACEMENT_THREADS];
static int to_cpus[PLACEMENT_THREADS];
static int nthreads, nto;
static double seconds;
static long live;
static double share, settled_share, left_share;

/* The set's homes, by epoch: what was made before the move is marked by FORMER + node, just after by RECENT + node. */
enum { FORMER = 4096, RECENT = 8192 };

static void mark(struct placement_set *set, int epoch)
{
	for (long i = 0; i < set->count; i++)
		if (set->homes[i] < FORMER)
			set->homes[i] = (short)(set->homes[i] + epoch);
}

static void setup(int id)
{
	struct placement_thread filling = {0};

	placement_set_init(&sets[id], live, id);
	placement_set_churn(&sets[id], &filling, live);
	if (id == 0)
		placement_begin();
}

/* To a time, but so many replacements at least: in an emulated machine a thread may hardly run until then. */
static void churn_until(int id, double from, double end, long least)
{
	struct placement_thread *thread = &placement_threads[id];

	do {
		placement_set_churn(&sets[id], thread, AT_ONCE);
		thread->ops += AT_ONCE;
		least -= AT_ONCE;
		thread->seconds = bench_now() - from;
	} while (thread->seconds < end || least > 0);
}

static void work(int id)
{
	double from = bench_now();

	churn_until(id, from, seconds / 2, 0);
	mark(&sets[id], FORMER);
	bench_pin_to(to_cpus[id % nto]);
	churn_until(id, from, seconds * 0.55, live);
	mark(&sets[id], RECENT);
	churn_until(id, from, seconds, live);
	placement_threads[id].node = node_of_thread();
}

/* Notes the blocks of one epoch. */
static void note(int epoch)
{
	for (int id = 0; id < nthreads; id++) {
		struct placement_set *set = &sets[id];

		for (long i = 0; i < set->count; i++)
			if (set->blocks[i] && set->homes[i] / FORMER == epoch / FORMER)
				placement_note(set->blocks[i], bench_stamped(set->blocks[i]), set->homes[i] % FORMER);
	}
}

static void measure(void)
{
	note(FORMER);
	left_share = placement_ask();
	note(0);
	settled_share = placement_ask();
	note(0);
	note(RECENT);
	share = placement_ask();
}

int main(int argc, char **argv)
{
	struct bench_job job = {.setup = setup, .work = work, .measure = measure};

	bench_init(argc, argv, "numa_migrate");
	nthreads = (int)bench_arg("threads", 1);
	seconds = (double)bench_arg("ms", 1000) / 1000;
	live = bench_arg("live", 20000);
	nto = bench_cpu_list("to", to_cpus, PLACEMENT_THREADS);
	bench_args_done();
	if (nthreads > PLACEMENT_THREADS || !nto)
		bench_die("too many threads, or to= is missing");
	bench_threads(nthreads, &job);
	bench_metric("local_share", share);
	bench_metric("settled_share", settled_share);
	bench_metric("left_share", left_share);
	bench_report(placement_report(nthreads));
}
