/* SPDX-License-Identifier: MIT */
/*
 * Detail statistics: see detail_stats.h.
 */
#include "detail_stats.h"

#include "arena_list.h"
#include "heap.h"
#include "node.h"
#include "span.h"
#include "stats.h"

static uint64_t get(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

/* --- arenas ------------------------------------------------------------------------------------------------------- */

static char *unit_at(const struct arena_object *arena, size_t unit)
{
	return arena->address + (unit << QUARRY_POOL_BITS);
}

/* Blocks of the pool that starts at a unit which are not in it. */
__attribute__((no_sanitize("thread"))) static uint64_t out_of_pool(const char *start, const struct size_class *class)
{
	uint16_t count = *(const volatile uint16_t *)&pool_header_at(start)->count;
	return count < class->capacity ? count : class->capacity;
}

/* Adds the arena's pools and spans to its figures, and the pools to those of their classes, if these are given. */
static void scan(const struct arena_object *arena, struct quarry_arena_stats *stats, struct class_table *table)
{
	for (size_t unit = ARENA_HEAD_UNITS; unit < ARENA_HEAD_UNITS + arena->ntotalpools; unit++) {
		const char *start = unit_at(arena, unit);
		uint32_t word = address_map_word(start);
		if (word == WORD_SPAN) {
			stats->spans++;
			stats->out += span_nbytes(start);
		}
		if (!word_is_pool(word) || word_phase(word) != 0)
			continue;
		const struct size_class *class = &size_classes[word_szidx(word)];
		uint64_t out = out_of_pool(start, class);
		stats->pools++;
		stats->out += out * class->nbytes;
		if (table != NULL) {
			table->of[word_szidx(word)].pools++;
			table->of[word_szidx(word)].capacity += class->capacity;
			table->of[word_szidx(word)].out += out;
		}
	}
}

static struct quarry_arena_stats figures_of_arena(const struct arena_object *arena)
{
	uint64_t nfree = atomic_load_explicit(&arena->nfreepools, memory_order_relaxed);
	uint64_t ndirty = atomic_load_explicit(&arena->ndirty, memory_order_relaxed);
	ndirty = ndirty < nfree ? ndirty : nfree;
	return (struct quarry_arena_stats){
		.version = QUARRY_ARENA_STATS_VERSION,
		.os_node = node_home(arena->node),
		.address = arena->address,
		.mapped = arena_nbytes(arena),
		.head = ARENA_HEAD_UNITS * POOL_SIZE,
		.used = (arena->ntotalpools - nfree) << QUARRY_POOL_BITS,
		.free_dirty = ndirty << QUARRY_POOL_BITS,
		.free_clean = (nfree - ndirty) << QUARRY_POOL_BITS,
	};
}

int quarry_arena_stats_each(quarry_arena_stats_fn callback, void *arg)
{
	int result = 0;
	arena_list_pin();
	for (struct arena_object *arena = arena_list_first(); arena != NULL && result == 0; arena = arena_list_next(arena)) {
		struct quarry_arena_stats stats = figures_of_arena(arena);
		scan(arena, &stats, NULL);
		result = callback(&stats, arg);
	}
	arena_list_unpin();
	return result;
}

/* --- size classes ------------------------------------------------------------------------------------------------- */

void detail_classes(struct class_table *table)
{
	for (unsigned szidx = 0; szidx < NB_SIZE_CLASSES; szidx++) {
		struct quarry_class_stats *stats = &table->of[szidx];
		*stats = (struct quarry_class_stats){.version = QUARRY_CLASS_STATS_VERSION, .size_class = szidx};
		stats->size = sizeclass_nbytes(szidx);
		for (struct heap *heap = heap_first(); heap != NULL; heap = heap_next(heap))
			stats->cached += stats_cached_blocks(heap, szidx);
	}
	arena_list_pin();
	for (struct arena_object *arena = arena_list_first(); arena != NULL; arena = arena_list_next(arena)) {
		struct quarry_arena_stats unused = {0};
		scan(arena, &unused, table);
	}
	arena_list_unpin();
}

int quarry_class_stats_each(quarry_class_stats_fn callback, void *arg)
{
	struct class_table table;
	int result = 0;
	detail_classes(&table);
	for (unsigned szidx = 0; szidx < NB_SIZE_CLASSES && result == 0; szidx++)
		result = callback(&table.of[szidx], arg);
	return result;
}

/* --- threads ------------------------------------------------------------------------------------------------------ */

__attribute__((no_sanitize("thread"))) static struct quarry_thread_stats figures_of_thread(const struct heap *heap)
{
	bool shared = heap->kind == HEAP_SHARED;
	return (struct quarry_thread_stats){
		.version = QUARRY_THREAD_STATS_VERSION,
		.os_node = heap->node == NODE_SPREAD ? -1 : node_home(heap->node),
		.number = heap->id,
		.tid = heap->kind == HEAP_ATTACHED ? (int32_t)*(const volatile uint32_t *)&heap->tid : 0,
		.shared = shared,
		.cached = stats_cached_nbytes(heap),
		.waiting = get(&heap->inbox_nbytes),
		.refills = get(&heap->counters.refills),
		.flushes = get(&heap->counters.flushes),
		.visits = get(&heap->counters.visits),
		.remote_frees = get(&heap->counters.remote_frees),
	};
}

int quarry_thread_stats_each(quarry_thread_stats_fn callback, void *arg)
{
	int result = 0;
	for (struct heap *heap = heap_first(); heap != NULL && result == 0; heap = heap_next(heap)) {
		if (heap->id >= WORD_REGION_OWNERS)
			continue;
		struct quarry_thread_stats stats = figures_of_thread(heap);
		result = callback(&stats, arg);
	}
	return result;
}
