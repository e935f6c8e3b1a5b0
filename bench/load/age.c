/* SPDX-License-Identifier: MIT */
/*
 * Fragmentation by age: the live bytes stay the same while sizes and lifetimes shift from phase to phase. `wander`
 * percent of a phase's bytes are blocks from one octave of sizes, which moves up and down, the rest are of the general
 * mix; a share of the frees hits the youngest twentieth, the rest any age. `turn` is what one phase allocates, in
 * percent of the live bytes. At the end the resident memory is set against the live bytes. pause_ms after each phase
 * makes a long run of it, in which memory that is returned by time can be.
 */
#include "../harness.h"

enum { OCTAVES = 9, LEAST_OCTAVE = 5, MIXED_MEAN = 462 };	/* octaves from 32 B to 16 KiB */

struct item {
	void *block;
	size_t nbytes;
};

struct set {
	struct bench_rng rng;
	struct item *items;
	long count;
	size_t live, made;	/* bytes */
	long nmade;
};

static struct set *sets;
static int nthreads;
static long phases, turn, wander, pause_ms, capacity;
static size_t target;
static long held_kib;
static double live_bytes;

static void add(struct set *set, int octave)
{
	uint64_t x = bench_random(&set->rng);
	uint32_t among = MIXED_MEAN * (uint32_t)wander, others = (3u << octave >> 1) * (uint32_t)(100 - wander);
	size_t nbytes;

	if (bench_below((uint32_t)(x >> 32), among + others) < among)
		nbytes = ((size_t)1 << octave) + bench_below((uint32_t)x, 1u << octave);
	else
		nbytes = bench_mixed_size(&set->rng);
	if (set->count == capacity)
		bench_die("more blocks than planned");
	set->items[set->count++] = (struct item){bench_make(nbytes), nbytes};
	set->live += nbytes;
	set->made += nbytes;
	set->nmade++;
}

/* The last item fills the gap: the table stays dense and roughly in order of age. */
static void drop_one(struct set *set, unsigned young_share)
{
	uint64_t x = bench_random(&set->rng);
	long among = (x & 127) < young_share && set->count > 100 ? set->count / 20 : set->count;
	struct item *victim = &set->items[set->count - 1 - bench_below((uint32_t)(x >> 32), (uint32_t)among)];

	set->live -= bench_drop(victim->block);
	*victim = set->items[--set->count];
}

static void setup(int id)
{
	bench_seed(&sets[id].rng, (uint64_t)id);
	while (sets[id].live < target)
		add(&sets[id], 8);
}

/* Up and down again, an octave a phase. */
static int octave_of(long phase)
{
	int step = (int)(phase % (2 * OCTAVES - 2));

	return LEAST_OCTAVE + (step < OCTAVES ? step : 2 * OCTAVES - 2 - step);
}

static void work(int id)
{
	struct set *set = &sets[id];

	for (long phase = 0; phase < phases; phase++) {
		int octave = octave_of(phase);
		unsigned young_share = (unsigned)(phase * 37 % 96);
		size_t until = set->made + target / 100 * (size_t)turn;

		while (set->made < until) {
			add(set, octave);
			while (set->live > target)
				drop_one(set, young_share);
		}
		if (pause_ms)
			bench_sleep((double)pause_ms / 1000);
	}
}

static void measure(void)
{
	held_kib = bench_rss_kib();
	for (int i = 0; i < nthreads; i++)
		live_bytes += (double)sets[i].live;
}

static void finish(int id)
{
	bench_check_add(sets[id].made);
	while (sets[id].count)
		drop_one(&sets[id], 0);
}

int main(int argc, char **argv)
{
	struct bench_job job = {.setup = setup, .work = work, .measure = measure, .finish = finish};
	double ops = 0;

	bench_init(argc, argv, "age");
	nthreads = (int)bench_arg("threads", 2);
	phases = bench_ops("phases", 32);
	turn = bench_arg("turn", 100);
	wander = bench_arg("wander", 10);
	pause_ms = bench_arg("pause_ms", 0);
	target = (size_t)bench_arg("mib", 64) * 1048576 / (size_t)nthreads;
	bench_args_done();
	capacity = (long)(target / 80);
	sets = bench_table((size_t)nthreads * sizeof *sets);
	for (int i = 0; i < nthreads; i++)
		sets[i].items = bench_table((size_t)capacity * sizeof *sets->items);
	bench_threads(nthreads, &job);
	for (int i = 0; i < nthreads; i++)
		ops += (double)sets[i].nmade;
	bench_metric("live_kib", live_bytes / 1024);
	bench_metric("held_rss_kib", (double)held_kib);
	bench_metric("resident_over_live", (double)(held_kib - bench_table_kib()) * 1024 / live_bytes);
	bench_report(ops);
}
