/* SPDX-License-Identifier: MIT */
/*
 * Local allocation and touch: each thread keeps a set of blocks of its own, replaces one at random, writes every byte
 * of the new one and reads another. Nobody else touches them, so every page should be on the thread's own node. One op
 * is one replacement; the run ends after `ms`.
 */
#include "../placement.h"

enum { AT_ONCE = 64 };

static struct placement_set sets[PLACEMENT_THREADS];
static int nthreads;
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

static void work(int id)
{
	struct placement_thread *thread = &placement_threads[id];
	double from = bench_now();

	do {
		placement_set_churn(&sets[id], thread, AT_ONCE);
		thread->ops += AT_ONCE;
		thread->seconds = bench_now() - from;
	} while (thread->seconds < seconds);
	thread->node = node_of_thread();
}

static void measure(void)
{
	for (int id = 0; id < nthreads; id++)
		placement_set_note(&sets[id]);
	share = placement_ask();
}

int main(int argc, char **argv)
{
	struct bench_job job = {.setup = setup, .work = work, .measure = measure};

	bench_init(argc, argv, "numa_local");
	nthreads = (int)bench_arg("threads", 1);
	seconds = (double)bench_arg("ms", 1000) / 1000;
	live = bench_arg("live", 20000);
	bench_args_done();
	if (nthreads > PLACEMENT_THREADS)
		bench_die("too many threads");
	bench_threads(nthreads, &job);
	bench_metric("local_share", share);
	bench_report(placement_report(nthreads));
}
