/* SPDX-License-Identifier: MIT */
/*
 * Scenarios of what Quarry alone offers: nodes by call and by option, and its statistics per node.
 */
#include <dlfcn.h>
#include <stdlib.h>

#include <quarry/quarry.h>

#include "placement.h"

#define NBLOCKS 400
#define MAX_NODES 64

static struct {
	void *(*malloc_on_node)(size_t nbytes, int os_node);
	void *(*malloc_interleaved)(size_t nbytes, const unsigned long *nodemask, unsigned long maxnode);
	void *(*malloc_kind)(size_t nbytes, enum quarry_kind kind);
	int (*node_of)(const void *ptr);
	int (*thread_node_set)(int os_node);
	int (*node_stats_get)(unsigned index, struct quarry_node_stats *stats, size_t size);
	int (*node_residency)(unsigned index, struct quarry_node_residency *residency, size_t size);
} quarry;

/* POSIX's way to make a function of what dlsym returns. */
#define FIND(name) (*(void **)&quarry.name = dlsym(RTLD_DEFAULT, "quarry_" #name))

static bool find_calls(void)
{
	FIND(malloc_on_node);
	FIND(malloc_interleaved);
	FIND(malloc_kind);
	FIND(node_of);
	FIND(thread_node_set);
	FIND(node_stats_get);
	FIND(node_residency);
	return quarry.malloc_on_node && quarry.malloc_interleaved && quarry.malloc_kind && quarry.node_of &&
	       quarry.thread_node_set && quarry.node_stats_get && quarry.node_residency;
}

static uint64_t seed_of(int index)
{
	return UINT64_C(0xa0761d6478bd642f) * (uint64_t)(index + 1);
}

/* The next node after this one whose memory may be used, in a circle. */
static int next_node(int node)
{
	do
		node = (node + 1) % MAX_NODES;
	while (!(machine.allowed >> node & 1));
	return node;
}

/* --- statistics --------------------------------------------------------------------------------------------------- */

bool sum_of_nodes(size_t offset, uint64_t *sum)
{
	struct quarry_node_stats stats;

	if (!find_calls())
		return false;
	*sum = 0;
	for (unsigned i = 0; quarry.node_stats_get(i, &stats, sizeof stats) == 0; i++)
		*sum += *(const uint64_t *)((const char *)&stats + offset);
	return true;
}

bool ask_residency(struct tally *tally)
{
	struct quarry_node_residency residency;

	if (!find_calls() || !(machine.allowed & (machine.allowed - 1)))
		return false;
	for (unsigned i = 0; quarry.node_residency(i, &residency, sizeof residency) == 0; i++) {
		tally->right += residency.here;
		tally->total += residency.here + residency.elsewhere;
	}
	return true;
}

/* --- nodes by call ------------------------------------------------------------------------------------------------ */

static struct tally on_node[MAX_CPUS], named[MAX_CPUS], pinned[MAX_CPUS], followed[MAX_CPUS];

/* Blocks on every node, wherever the thread runs; and the node that Quarry names for an address within. */
static void work_on_node(int index)
{
	struct blocks set = blocks_make(NBLOCKS);
	uint64_t state = seed_of(index);
	int node = run_on(index);

	for (size_t i = 0; i < set.n; i++, node = next_node(node)) {
		size_t nbytes = random_size(&state, 200);
		char *address = quarry.malloc_on_node(nbytes, node);

		CHECK(address);
		touch(address, nbytes);
		set.block[i] = (struct block){ address, nbytes, node };
		named[index].right += quarry.node_of(address + nbytes / 2) == node;
		named[index].total++;
	}
	ask_blocks(set, &on_node[index]);
	blocks_empty(set);
}

/* A thread's memory pinned to each node in turn, and following the CPU again. */
static void work_pin(int index)
{
	struct blocks set = blocks_make(NBLOCKS);
	uint64_t state = seed_of(index);
	int home = run_on(index), node = home;

	do {
		node = next_node(node);
		CHECK(quarry.thread_node_set(node) == 0);
		for (size_t i = 0; i < set.n; i++)
			block_fill(&set.block[i], random_size(&state, 0), node);
		ask_blocks(set, &pinned[index]);
		blocks_empty(set);
	} while (node != home);
	CHECK(quarry.thread_node_set(QUARRY_NODE_FOLLOW) == 0);
	home = run_on((index + 1) % machine.ncpus);
	for (size_t i = 0; i < set.n; i++)
		block_fill(&set.block[i], random_size(&state, 0), home);
	blocks_empty(set);
	for (size_t i = 0; i < set.n; i++)
		block_fill(&set.block[i], random_size(&state, 0), home);
	ask_blocks(set, &followed[index]);
	blocks_empty(set);
}

static void report(const char *name, const struct tally *of_threads)
{
	struct tally sum = { 0 };

	for (int i = 0; i < machine.ncpus; i++)
		add(&sum, of_threads[i]);
	figure(name, sum);
}

int scenario_calls(void)
{
	CHECK(find_calls());
	on_all_cpus(work_on_node, MAX_CPUS);
	report("on-node", on_node);
	report("node-of", named);
	on_all_cpus(work_pin, MAX_CPUS);
	report("node-set", pinned);
	report("node-follow", followed);
	return 0;
}

/* --- kinds of memory ---------------------------------------------------------------------------------------------- */

/*
 * Of the machine that this is for: a node without CPUs, attached to the first CPU's, with the highest bandwidth and the
 * most memory. The kernel has its speeds as seen from that node only, so threads on another do not know them.
 */
#define BEST_NODE 2

static struct tally kinds[3][MAX_CPUS];

static void work_kinds(int index)
{
	struct blocks set = blocks_make(NBLOCKS);
	uint64_t state = seed_of(index);
	int home = run_on(index);
	const int best[] = {
		[QUARRY_KIND_BANDWIDTH] = index == 0 ? BEST_NODE : home,
		[QUARRY_KIND_LATENCY] = home,
		[QUARRY_KIND_CAPACITY] = BEST_NODE,
	};

	for (int kind = QUARRY_KIND_BANDWIDTH; kind <= QUARRY_KIND_CAPACITY; kind++) {
		for (size_t i = 0; i < set.n; i++) {
			size_t nbytes = random_size(&state, 0);
			char *address = quarry.malloc_kind(nbytes, (enum quarry_kind)kind);

			CHECK(address);
			touch(address, nbytes);
			set.block[i] = (struct block){ address, nbytes, best[kind] };
		}
		ask_blocks(set, &kinds[kind][index]);
		blocks_empty(set);
	}
}

int scenario_kinds(void)
{
	CHECK(find_calls());
	on_all_cpus(work_kinds, MAX_CPUS);
	report("bandwidth", kinds[QUARRY_KIND_BANDWIDTH]);
	report("latency", kinds[QUARRY_KIND_LATENCY]);
	report("capacity", kinds[QUARRY_KIND_CAPACITY]);
	return 0;
}

/* --- spread ------------------------------------------------------------------------------------------------------- */

/* How evenly pages lie on the nodes that may be used: right is what no node has beyond its share. */
static void ask_spread(struct blocks blocks, struct tally *tally)
{
	uint64_t total = 0, on[MAX_NODES] = { 0 };
	unsigned nnodes = (unsigned)__builtin_popcountl(machine.allowed);

	for (int node = 0; node < MAX_NODES; node++) {
		struct tally here = { 0 };

		if (!(machine.allowed >> node & 1))
			continue;
		for (size_t i = 0; i < blocks.n; i++)
			ask_pages(blocks.block[i].address, blocks.block[i].nbytes, node, &here);
		on[node] = here.right;
		total = here.total;
	}
	uint64_t share = (total + nnodes - 1) / nnodes;
	for (int node = 0; node < MAX_NODES; node++)
		tally->right += on[node] < share ? on[node] : share;
	tally->total += total;
}

static struct tally by_call, by_option;

static void work_interleaved(int index)
{
	struct blocks set = blocks_make(24);

	run_on(index);
	for (size_t i = 0; i < set.n; i++) {
		size_t nbytes = MIB + i * 100 * KIB;
		char *address = quarry.malloc_interleaved(nbytes, NULL, 0);

		CHECK(address);
		touch(address, nbytes);
		set.block[i] = (struct block){ address, nbytes, 0 };
	}
	ask_spread(set, &by_call);
	blocks_empty(set);
}

int scenario_interleaved(void)
{
	CHECK(find_calls());
	on_one_cpu(work_interleaved, 0);
	figure("interleaved", by_call);
	return 0;
}

/* Under numa:interleave, plain malloc. */
static void work_spread(int index)
{
	struct blocks set = blocks_make(6 * NBLOCKS);
	uint64_t state = seed_of(index);
	int node = run_on(index);

	for (size_t i = 0; i < set.n; i++)
		block_fill(&set.block[i], random_size(&state, 200), node);
	ask_spread(set, &by_option);
	blocks_empty(set);
}

int scenario_spread(void)
{
	on_one_cpu(work_spread, 0);
	figure("spread", by_option);
	return 0;
}

/* --- a thread that lives in its cache ----------------------------------------------------------------------------- */

#define SETTLE_SECONDS 20
#define FEW 4

static struct tally settled[MAX_CPUS];
static double settled_after[MAX_CPUS];

/* It reaches no slow path by itself: the purger's visit makes it notice that it was moved. */
static void work_settled(int index)
{
	struct blocks set = blocks_make(NBLOCKS);
	uint64_t state = seed_of(index);
	int node = run_on(index);

	for (size_t i = 0; i < set.n; i++)
		block_fill(&set.block[i], random_size(&state, 0), node);
	blocks_empty(set);
	meet();
	node = run_on((index + 1) % machine.ncpus);
	double start = seconds(), passed = 0;
	bool here = false;
	while (!here && passed < SETTLE_SECONDS) {
		char *few[FEW];

		for (int i = 0; i < FEW; i++)
			touch(few[i] = malloc(64), 64);
		here = ask_page(few[0]) == node;
		for (int i = 0; i < FEW; i++)
			free(few[i]);
		passed = seconds() - start;
	}
	settled[index] = (struct tally){ here, 1 };
	settled_after[index] = passed;
	meet();
}

int scenario_settled(void)
{
	double most = 0;

	on_all_cpus(work_settled, MAX_CPUS);
	report("settled", settled);
	for (int i = 0; i < machine.ncpus; i++)
		most = settled_after[i] > most ? settled_after[i] : most;
	note("settled-ms", most * 1e3);
	return 0;
}
