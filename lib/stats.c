/* SPDX-License-Identifier: MIT */
/*
 * Statistics: see stats.h.
 */
#include "stats.h"

#include <errno.h>
#include <string.h>

#include "arena_list.h"
#include "counting.h"
#include "guard.h"
#include "heap.h"
#include "large.h"
#include "limit.h"
#include "meta.h"
#include "named_stats.h"
#include "node.h"
#include "node_stats.h"
#include "object_cache.h"
#include "options.h"
#include "os.h"
#include "quarry/quarry.h"
#include "report.h"
#include "sample.h"
#include "span.h"
#include "thread.h"

static uint64_t get(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

/* The lists move on meanwhile, and room counts them closely enough. */
__attribute__((no_sanitize("thread"))) uint64_t stats_cached_blocks(const struct heap *heap, unsigned szidx)
{
	if (heap->kind == HEAP_SHARED || heap->taken || heap->cache.head[szidx] == NULL)
		return 0;
	int64_t bound = heap->cache.bound[szidx];
	int64_t length = bound - heap->cache.room[szidx] + heap->classes[szidx].excess;
	return length > 0 ? (uint64_t)length : 0;
}

/* In the quarantine, too. */
__attribute__((no_sanitize("thread"))) uint64_t stats_cached_nbytes(const struct heap *heap)
{
	uint64_t nbytes = 0;
	if (heap->kind == HEAP_SHARED || heap->taken)
		return 0;
	for (unsigned szidx = 0; szidx < NB_SIZE_CLASSES; szidx++)
		nbytes += stats_cached_blocks(heap, szidx) * sizeclass_nbytes(szidx);
	for (unsigned bucket = 0; bucket < OUTBOX_BUCKETS; bucket++)
		if (heap->outbox[bucket].head != NULL)
			nbytes += OUTBOX_NBYTES - (size_t)heap->outbox[bucket].room;
	if (QUARRY_HARDENED)
		nbytes += atomic_load_explicit(&heap->quarantine->nbytes, memory_order_relaxed);
	return nbytes;
}

static void add_heaps(struct quarry_stats *stats)
{
	int64_t out = 0;
	for (struct heap *heap = heap_first(); heap != NULL; heap = heap_next(heap)) {
		stats->heaps++;
		stats->refills += get(&heap->counters.refills);
		stats->flushes += get(&heap->counters.flushes);
		stats->visits += get(&heap->counters.visits);
		stats->remote_frees += get(&heap->counters.remote_frees);
		stats->cached += stats_cached_nbytes(heap) + get(&heap->inbox_nbytes);
		out += atomic_load_explicit(&heap->counters.out_nbytes, memory_order_relaxed);
	}
	stats->heaps_attached = thread_count();
	stats->live = out > (int64_t)stats->cached ? (uint64_t)out - stats->cached : 0;
}

/* Free units, and what pools hold beside the blocks that are out: dirty, or virgin and then never touched. */
static void add_arenas(struct quarry_stats *stats)
{
	uint64_t nfree = 0, ndirty = 0, total = 0;
	bool by_rcu = thread_reader_enter();
	for (struct arena_object *arena = arena_list_first(); arena != NULL; arena = arena_list_next(arena)) {
		stats->arenas++;
		total += arena->ntotalpools;
		nfree += atomic_load_explicit(&arena->nfreepools, memory_order_relaxed);
		ndirty += atomic_load_explicit(&arena->ndirty, memory_order_relaxed);
	}
	thread_reader_leave(by_rcu);
	uint64_t used = (total - nfree) << QUARRY_POOL_BITS, out = stats->live + stats->cached + span_live_nbytes();
	stats->free_clean = (nfree - ndirty) << QUARRY_POOL_BITS;
	stats->pools_free = used > out ? used - out : 0;
	stats->free_dirty = (ndirty << QUARRY_POOL_BITS) + stats->pools_free;
	stats->metadata = meta_mapped() + stats->arenas * ARENA_HEAD_UNITS * POOL_SIZE;
}

static void add_guards(struct quarry_stats *stats)
{
	struct guard_sums sums = guard_sums();
	stats->mapped += sums.mapped;
	stats->live += sums.live;
	stats->free_dirty += sums.open - sums.live;
	stats->free_clean += sums.mapped - sums.open;
}

/* What is asked for in objects is known of every cache. Returns that, and adds what its slabs have besides. */
static uint64_t add_caches(struct quarry_stats *stats)
{
	uint64_t requested = 0;
	for (struct quarry_cache *cache = object_cache_pin_from(0), *next; cache != NULL; cache = next) {
		struct quarry_cache_stats figures;
		quarry_cache_stats_get(cache, &figures, sizeof(figures));
		stats->slabs_idle += figures.slabs * figures.slab_size - figures.live * figures.stride;
		requested += figures.live * figures.size;
		next = object_cache_pin_from(cache->index + 1);
		object_cache_unpin(cache);
	}
	return requested;
}

/* Blocks and objects that were chosen tell what part of their bytes was asked for, and so of all. */
static void add_requested(struct quarry_stats *stats)
{
	uint64_t in_objects = add_caches(stats), held = stats->live > stats->slabs_idle ? stats->live - stats->slabs_idle : 0;
	uint64_t requested = get(&sample_control.requested), usable = get(&sample_control.usable);
	if (QUARRY_COUNTING) {
		stats->requested = counting_total() + in_objects;
		stats->requested_kind = QUARRY_REQUESTED_EXACT;
	} else if (sample_profile_rate() != 0 && usable > 0) {
		double part = requested < usable ? (double)requested / (double)usable : 1;
		stats->requested = (uint64_t)(part * (double)held);
		stats->requested_kind = QUARRY_REQUESTED_ESTIMATED;
	}
}

static void fill(struct quarry_stats *stats)
{
	memset(stats, 0, sizeof(*stats));
	stats->version = QUARRY_STATS_VERSION;
	stats->nodes = node_count();
	add_heaps(stats);
	add_arenas(stats);
	stats->large_live = large_live_nbytes();
	stats->large_kept = large_kept_nbytes();
	stats->live += span_live_nbytes() + stats->large_live;
	stats->free_dirty += stats->large_kept;
	stats->mapped = get(&arena_list_counters.mapped_nbytes) + meta_mapped() + stats->large_live + stats->large_kept;
	add_guards(stats);
	add_requested(stats);
	stats->arenas_mapped = get(&arena_list_counters.mapped);
	stats->arenas_retired = get(&arena_list_counters.retired);
	stats->purged = get(&os_counters.purged_nbytes);
	stats->purge_calls = get(&os_counters.purge_calls);
	stats->map_failures = get(&os_counters.map_failures);
	stats->bind_failures = node_bind_failures();
}

int quarry_stats_get(struct quarry_stats *stats, size_t size)
{
	struct quarry_stats all;
	if (stats == NULL || size < offsetof(struct quarry_stats, mapped)) {
		errno = EINVAL;
		return -1;
	}
	fill(&all);
	memcpy(stats, &all, size < sizeof(all) ? size : sizeof(all));
	return 0;
}

static void row(struct text *text, const char *name, uint64_t nbytes, const char *note)
{
	text_append(text, "  %-12s", name);
	text_append_nbytes(text, 12, nbytes);
	text_append(text, "  %s\n", note);
}

static void append_limits(struct text *text)
{
	uint64_t own = atomic_load_explicit(&limit_own, memory_order_relaxed);
	uint64_t used = atomic_load_explicit(&limit_container.used, memory_order_relaxed);
	if (own > 0) {
		row(text, "limit", own, "most that Quarry may be charged with");
		row(text, "  charged", limit_charged(), "of that, in use or perhaps resident");
	}
	if (used > 0)
		row(text, "container", used, "in use in the cgroup that is nearest to its limit");
}

int quarry_stats_print(int fd)
{
	char buffer[3072];
	struct text text;
	struct quarry_stats stats;
	fill(&stats);
	text_begin(&text, buffer, sizeof(buffer));
	text_append(&text, "Quarry %s, %u node%s\n", quarry_version(), stats.nodes, stats.nodes == 1 ? "" : "s");
	row(&text, "mapped", stats.mapped, "address space of arenas, large blocks and records");
	row(&text, "live", stats.live, "in blocks that the program holds");
	row(&text, "  large", stats.large_live, "of that, in mappings of their own");
	if (stats.requested_kind != QUARRY_REQUESTED_UNKNOWN)
		row(&text, "  requested", stats.requested, stats.requested_kind == QUARRY_REQUESTED_EXACT
								   ? "of that, as the program asked for it"
								   : "of that, as the program asked for it, by the profile");
	if (stats.slabs_idle > 0)
		row(&text, "  slabs", stats.slabs_idle, "of that, in slabs of typed caches, but in no object");
	row(&text, "cached", stats.cached, "in thread caches and on the way home");
	row(&text, "free", stats.free_dirty, "in pools, arenas and kept large blocks, perhaps resident");
	row(&text, "  pools", stats.pools_free, "of that, in pools, and behind their last blocks");
	row(&text, "  large", stats.large_kept, "of that, kept large blocks");
	row(&text, "clean", stats.free_clean, "given back or never touched");
	row(&text, "records", stats.metadata, "Quarry's own, touched as needed");
	row(&text, "purged", stats.purged, "given back to the system so far");
	text_append(&text, "  arenas    %8lu mapped now, %lu ever, %lu retired; %lu madvise calls\n",
	            (unsigned long)stats.arenas, (unsigned long)stats.arenas_mapped,
	            (unsigned long)stats.arenas_retired, (unsigned long)stats.purge_calls);
	text_append(&text, "  heaps     %8lu made, %lu attached; %lu refills, %lu flushes, %lu visits\n",
	            (unsigned long)stats.heaps, (unsigned long)stats.heaps_attached, (unsigned long)stats.refills,
	            (unsigned long)stats.flushes, (unsigned long)stats.visits);
	text_append(&text, "  remote    %8lu blocks came home from other threads\n", (unsigned long)stats.remote_frees);
	if (stats.map_failures + stats.bind_failures > 0)
		text_append(&text, "  refused   %8lu mappings, %lu bindings\n", (unsigned long)stats.map_failures,
		            (unsigned long)stats.bind_failures);
	append_limits(&text);
	if (node_note() != NULL)
		text_append(&text, "  note      %s\n", node_note());
	int result = text_write(&text, fd);
	text_begin(&text, buffer, sizeof(buffer));
	named_stats_append(&text);
	if (result == 0 && text.used > 0)
		result = text_write(&text, fd);
	for (unsigned node = 0; stats.nodes > 1 && node < stats.nodes && result == 0; node++) {
		text_begin(&text, buffer, sizeof(buffer));
		node_stats_append(&text, node);
		result = text_write(&text, fd);
	}
	return result;
}
