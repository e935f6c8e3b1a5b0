/* SPDX-License-Identifier: MIT */
/*
 * Placement: see placement.h. Pages are kept in an open hash table of bench_table memory, once per home, so that many
 * small blocks on one page count as one.
 */
#include "placement.h"

#include <dlfcn.h>
#include <quarry/quarry.h>

enum { FIRST_SLOTS = 1 << 16, ASKED_AT_ONCE = 512, PAGE_BITS = 12, HOME_BITS = 8 };

struct placement_thread placement_threads[PLACEMENT_THREADS];

_Static_assert(PLACEMENT_NODES <= 1 << HOME_BITS, "a home's index fits beside a page number");

/* Nodes in the order in which they were seen; PLACEMENT_NODES of them are told apart. */
static int node_ids[PLACEMENT_NODES];
static int nnodes;

/* The table: page number << HOME_BITS | index of the home, plus one; 0 is empty. */
static uint64_t *slots;
static size_t nslots, nused;

static double matrix[PLACEMENT_NODES][PLACEMENT_NODES];	/* pages, [home][where] */
static double unknown_pages;

/* Quarry's counters: of the process, and those of its nodes added up. NULL where another allocator answers. */
struct counters {
	struct quarry_stats all;
	struct quarry_node_stats nodes;
};

static struct counters before;
static int (*stats_get)(struct quarry_stats *stats, size_t size);
static int (*node_stats_get)(unsigned index, struct quarry_node_stats *stats, size_t size);

static int index_of(int node)
{
	for (int i = 0; i < nnodes; i++)
		if (node_ids[i] == node)
			return i;
	if (nnodes == PLACEMENT_NODES)
		bench_die("too many nodes");
	node_ids[nnodes] = node;
	return nnodes++;
}

/* --- pages --- */

static void insert(uint64_t key)
{
	size_t at = (size_t)(key * UINT64_C(0x9E3779B97F4A7C15) >> 20) & (nslots - 1);

	while (slots[at] && slots[at] != key)
		at = (at + 1) & (nslots - 1);
	nused += !slots[at];
	slots[at] = key;
}

static void grow(void)
{
	uint64_t *old = slots;
	size_t nold = nslots;

	nslots = nold ? 2 * nold : FIRST_SLOTS;
	slots = bench_table(nslots * sizeof *slots);
	nused = 0;
	for (size_t i = 0; i < nold; i++)
		if (old[i])
			insert(old[i]);
	if (old)
		bench_table_drop(old, nold * sizeof *old);
}

void placement_note(const void *block, size_t nbytes, int home)
{
	uintptr_t first = (uintptr_t)block >> PAGE_BITS, last = ((uintptr_t)block + nbytes - 1) >> PAGE_BITS;
	unsigned row = (unsigned)index_of(home);

	for (uintptr_t page = first; page <= last; page++) {
		if (2 * nused >= nslots)
			grow();
		insert(((uint64_t)page << HOME_BITS | row) + 1);
	}
}

static void ask_some(void **addresses, const unsigned *homes, unsigned count)
{
	int nodes[ASKED_AT_ONCE];

	node_of_pages(addresses, nodes, count);
	for (unsigned i = 0; i < count; i++) {
		if (nodes[i] >= 0)
			matrix[homes[i]][index_of(nodes[i])]++;
		else
			unknown_pages++;
	}
}

double placement_ask(void)
{
	void *addresses[ASKED_AT_ONCE];
	unsigned homes[ASKED_AT_ONCE], count = 0;
	double all = 0, home = 0;

	memset(matrix, 0, (size_t)nnodes * sizeof *matrix);
	unknown_pages = 0;
	for (size_t i = 0; i < nslots; i++) {
		if (!slots[i])
			continue;
		addresses[count] = (void *)(uintptr_t)((slots[i] - 1) >> HOME_BITS << PAGE_BITS);
		homes[count++] = (unsigned)((slots[i] - 1) & ((1u << HOME_BITS) - 1));
		if (count == ASKED_AT_ONCE) {
			ask_some(addresses, homes, count);
			count = 0;
		}
		slots[i] = 0;
	}
	ask_some(addresses, homes, count);
	memset(slots, 0, nslots * sizeof *slots);
	nused = 0;
	for (int i = 0; i < nnodes; i++) {
		home += matrix[i][i];
		for (int j = 0; j < nnodes; j++)
			all += matrix[i][j];
	}
	return all > 0 ? home / all : -1;
}

double placement_share_on(int node)
{
	int wanted = index_of(node);
	double all = 0, there = 0;

	for (int i = 0; i < nnodes; i++) {
		there += matrix[i][wanted];
		for (int j = 0; j < nnodes; j++)
			all += matrix[i][j];
	}
	return all > 0 ? there / all : 0;
}

/* --- sets of blocks --- */

void placement_set_init(struct placement_set *set, long count, int id)
{
	set->count = count;
	set->blocks = bench_table((size_t)count * sizeof *set->blocks);
	set->homes = bench_table((size_t)count * sizeof *set->homes);
	bench_seed(&set->rng, (uint64_t)id + 1);
}

void placement_set_churn(struct placement_set *set, struct placement_thread *thread, long times)
{
	int node = node_of_thread();

	for (long i = 0; i < times; i++) {
		uint64_t random = bench_random(&set->rng);
		uint32_t one = bench_below((uint32_t)(random >> 32), (uint32_t)set->count);
		uint32_t other = bench_below((uint32_t)random, (uint32_t)set->count);

		if (set->blocks[one])
			bench_drop(set->blocks[one]);
		set->blocks[one] = placement_make(bench_mixed_size(&set->rng), thread);
		set->homes[one] = (short)node;
		if (set->blocks[other])
			thread->own_lines += placement_read(set->blocks[other]);
	}
}

void placement_set_note(const struct placement_set *set)
{
	for (long i = 0; i < set->count; i++)
		if (set->blocks[i])
			placement_note(set->blocks[i], bench_stamped(set->blocks[i]), set->homes[i]);
}

/* --- report --- */

static void read_counters(struct counters *counters)
{
	struct quarry_node_stats node;

	memset(counters, 0, sizeof *counters);
	if (!stats_get || stats_get(&counters->all, sizeof counters->all))
		return;
	for (unsigned i = 0; node_stats_get && i < counters->all.nodes; i++) {
		if (node_stats_get(i, &node, sizeof node))
			break;
		counters->nodes.remote_received += node.remote_received;
		counters->nodes.migrations += node.migrations;
		counters->nodes.spills += node.spills;
	}
}

void placement_begin(void)
{
	void *found = dlsym(RTLD_DEFAULT, "quarry_stats_get");

	memcpy(&stats_get, &found, sizeof found);
	found = dlsym(RTLD_DEFAULT, "quarry_node_stats_get");
	memcpy(&node_stats_get, &found, sizeof found);
	read_counters(&before);
}

static void report_counters(void)
{
	struct counters after;

	if (!stats_get)
		return;
	read_counters(&after);
	bench_metric("quarry_remote_frees", (double)(after.all.remote_frees - before.all.remote_frees));
	bench_metric("quarry_refills", (double)(after.all.refills - before.all.refills));
	bench_metric("quarry_flushes", (double)(after.all.flushes - before.all.flushes));
	bench_metric("quarry_arenas", (double)after.all.arenas);
	bench_metric("quarry_nodes", (double)after.all.nodes);
	bench_metric("quarry_node_frees", (double)(after.nodes.remote_received - before.nodes.remote_received));
	bench_metric("quarry_migrations", (double)(after.nodes.migrations - before.nodes.migrations));
	bench_metric("quarry_spills", (double)(after.nodes.spills - before.nodes.spills));
}

static double report_threads(int nthreads)
{
	static double per_node[PLACEMENT_NODES];
	double ops = 0, own = 0, other = 0, frees = 0, mallocs = 0;

	for (int i = 0; i < nthreads; i++) {
		struct placement_thread *thread = &placement_threads[i];

		ops += thread->ops;
		own += (double)thread->own_lines;
		other += (double)thread->other_lines;
		frees += (double)thread->other_frees;
		mallocs += (double)thread->mallocs;
		if (thread->seconds > 0)
			per_node[index_of(thread->node)] += thread->ops / thread->seconds;
	}
	bench_metric("threads", nthreads);
	bench_metric("mallocs", mallocs);
	bench_metric("own_lines", own);
	bench_metric("other_lines", other);
	bench_metric("other_frees", frees);
	bench_metric_list("node_ops_per_s", per_node, nnodes);
	return ops;
}

double placement_report(int nthreads)
{
	static double ids[PLACEMENT_NODES], flat[PLACEMENT_NODES * PLACEMENT_NODES];
	double ops = report_threads(nthreads);

	report_counters();
	bench_metric("pages_unknown", unknown_pages);
	for (int i = 0; i < nnodes; i++) {
		ids[i] = node_ids[i];
		memcpy(&flat[i * nnodes], matrix[i], (size_t)nnodes * sizeof **matrix);
	}
	bench_metric_list("node_ids", ids, nnodes);
	bench_metric_list("pages", flat, nnodes * nnodes);
	return ops;
}
