/* SPDX-License-Identifier: MIT */
/*
 * Node statistics: see node_stats.h.
 */
#include "node_stats.h"

#include <errno.h>
#include <string.h>

#include "arena_list.h"
#include "heap.h"
#include "large.h"
#include "node.h"
#include "os.h"
#include "quarry/quarry.h"
#include "span.h"
#include "stats.h"
#include "thread.h"

/* Pages in one question to the kernel. */
#define PAGES 256

static uint64_t get(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

/* False: there are heaps of no node, whose pools lie on this one as well. */
static bool add_heaps(struct quarry_node_stats *stats, unsigned node)
{
	int64_t out = 0;
	bool all = true;
	for (struct heap *heap = heap_first(); heap != NULL; heap = heap_next(heap)) {
		all = all && heap->node != NODE_SPREAD;
		if (heap->node != node)
			continue;
		stats->cached += stats_cached_nbytes(heap) + get(&heap->inbox_nbytes);
		out += atomic_load_explicit(&heap->counters.out_nbytes, memory_order_relaxed);
	}
	stats->live = out > (int64_t)stats->cached ? (uint64_t)out - stats->cached : 0;
	return all;
}

/* What pools have free is what is not out of them, if all of them are known. */
static void add_arenas(struct quarry_node_stats *stats, unsigned node, bool with_pools)
{
	uint64_t nfree = 0, ndirty = 0, total = 0;
	bool by_rcu = thread_reader_enter();
	for (struct arena_object *arena = arena_list_first(); arena != NULL; arena = arena_list_next(arena)) {
		if (arena->node != node)
			continue;
		stats->arenas++;
		stats->mapped += arena_nbytes(arena);
		total += arena->ntotalpools;
		nfree += atomic_load_explicit(&arena->nfreepools, memory_order_relaxed);
		ndirty += atomic_load_explicit(&arena->ndirty, memory_order_relaxed);
	}
	thread_reader_leave(by_rcu);
	uint64_t out = stats->live + stats->cached + span_node_live_nbytes(node);
	stats->used = (total - nfree) << QUARRY_POOL_BITS;
	stats->free_clean = (nfree - ndirty) << QUARRY_POOL_BITS;
	stats->free_dirty = ndirty << QUARRY_POOL_BITS;
	if (with_pools && stats->used > out)
		stats->free_dirty += stats->used - out;
}

static void add_large(struct quarry_node_stats *stats, unsigned node)
{
	struct large_block block;
	for (uint32_t number = 0; large_next(&number, &block);)
		if (block.node == node)
			stats->large_live += block.nbytes;
	stats->live += span_node_live_nbytes(node) + stats->large_live;
	stats->mapped += stats->large_live;
}

static void fill(struct quarry_node_stats *stats, unsigned node)
{
	const struct node_counters *counters = &node_counters[node];
	memset(stats, 0, sizeof(*stats));
	stats->version = QUARRY_NODE_STATS_VERSION;
	stats->os_node = node_home(node);
	add_arenas(stats, node, add_heaps(stats, node));
	add_large(stats, node);
	stats->arenas_retired = get(&counters->arenas_retired);
	stats->remote_sent = get(&counters->remote_sent);
	stats->remote_received = get(&counters->remote_received);
	stats->migrations = get(&counters->migrations);
	stats->spills = get(&counters->spills);
}

static bool is_valid(unsigned index, const void *into, size_t size)
{
	if (index < node_count() && into != NULL && size >= offsetof(struct quarry_node_stats, arenas))
		return true;
	errno = EINVAL;
	return false;
}

int quarry_node_stats_get(unsigned index, struct quarry_node_stats *stats, size_t size)
{
	struct quarry_node_stats all;
	if (!is_valid(index, stats, size))
		return -1;
	fill(&all, index);
	memcpy(stats, &all, size < sizeof(all) ? size : sizeof(all));
	return 0;
}

void node_stats_append(struct text *text, unsigned node)
{
	struct quarry_node_stats stats;
	fill(&stats, node);
	text_append(text, "  node %-4d  ", stats.os_node);
	text_append_nbytes(text, 10, stats.live);
	text_append(text, " live,");
	text_append_nbytes(text, 10, stats.cached);
	text_append(text, " cached,");
	text_append_nbytes(text, 10, stats.free_dirty);
	text_append(text, " free; %lu arenas, %lu spills, %lu migrations; remote %lu out, %lu in\n",
	            (unsigned long)stats.arenas, (unsigned long)stats.spills, (unsigned long)stats.migrations,
	            (unsigned long)stats.remote_sent, (unsigned long)stats.remote_received);
}

/* --- where pages are ---------------------------------------------------------------------------------------------- */

/* False with errno if the kernel does not tell. */
static bool ask_range(struct quarry_node_residency *residency, char *address, size_t nbytes)
{
	void *pages[PAGES];
	int status[PAGES];
	size_t page = os_page_size();
	for (char *end = address + nbytes; address < end;) {
		size_t n = 0;
		for (; n < PAGES && address < end; n++, address += page)
			pages[n] = address;
		if (!os_page_nodes(n, pages, status))
			return false;
		for (size_t i = 0; i < n; i++) {
			residency->absent += status[i] < 0;
			residency->here += status[i] >= 0 && status[i] == residency->os_node;
			residency->elsewhere += status[i] >= 0 && status[i] != residency->os_node;
		}
	}
	return true;
}

static bool ask_arenas(struct quarry_node_residency *residency, unsigned node)
{
	bool told = true;
	arena_list_pin();
	for (struct arena_object *arena = arena_list_first(); arena != NULL && told; arena = arena_list_next(arena))
		if (arena->node == node)
			told = ask_range(residency, arena->address, arena_nbytes(arena));
	arena_list_unpin();
	return told;
}

/* A block that is unmapped meanwhile counts as absent. */
static bool ask_large(struct quarry_node_residency *residency, unsigned node)
{
	struct large_block block;
	bool told = true;
	for (uint32_t number = 0; told && large_next(&number, &block);)
		if (block.node == node)
			told = ask_range(residency, block.address, block.nbytes);
	return told;
}

int quarry_node_residency(unsigned index, struct quarry_node_residency *residency, size_t size)
{
	struct quarry_node_residency all = {.version = QUARRY_NODE_STATS_VERSION};
	if (!is_valid(index, residency, size))
		return -1;
	all.os_node = node_home(index);
	all.page_size = os_page_size();
	if (!ask_arenas(&all, index) || !ask_large(&all, index))
		return -1;
	memcpy(residency, &all, size < sizeof(all) ? size : sizeof(all));
	return 0;
}
