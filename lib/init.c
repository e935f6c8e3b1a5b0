/* SPDX-License-Identifier: MIT */
/*
 * Init: the library's constructor and destructor. Nothing that allocates depends on either having run: until then
 * there is one node, default options and no purger.
 */
#include "arena_list.h"
#include "cache.h"
#include "claim.h"
#include "fork.h"
#include "guard.h"
#include "large.h"
#include "limit.h"
#include "node.h"
#include "options.h"
#include "profile.h"
#include "purge.h"
#include "remote.h"
#include "stats.h"
#include "thread.h"

/*
 * What was got before the nodes were known was not bound, and counts as the first node's: it is bound to that one by
 * numa:node:N and numa:interleave as well, since an arena's node never changes. What follows is placed as asked.
 */
static void place_early_memory(void)
{
	struct large_block block;
	for (struct arena_object *arena = arena_list_first(); arena != NULL; arena = arena_list_next(arena))
		node_bind_moving(arena->address, arena_nbytes(arena), arena->node);
	for (uint32_t number = 0; large_next(&number, &block);)
		node_bind_moving(block.address, block.nbytes, block.node);
	thread_place();
}

/* Touches few pages, for processes that never allocate: what can wait for the first allocation, waits. Early, since
 * programs' own constructors may start threads, and fork handlers registered later run before ours. */
__attribute__((constructor(101))) static void begin(void)
{
	options_read();
	if (options.limit_mib > 0)
		atomic_store(&limit_own, (size_t)options.limit_mib << 20);
	stats_at_start();
	profile_at_start();
	guard_at_start();
	fork_init();
	if (node_init()) /* then no thread but this one runs */
		place_early_memory();
	purge_allow();
}

/* Hardened: the last look at what was freed. A heap whose lock is held is left out, since exit may be called anywhere,
 * and so is that of a thread which goes on meanwhile. */
static void check_quarantines(void)
{
	for (struct heap *heap = heap_first(); heap != NULL; heap = heap_next(heap)) {
		if (!heap_try_lock(heap))
			continue;
		if (claim_is_at_rest(heap))
			quarantine_check(heap->quarantine);
		heap_unlock(heap);
	}
}

/* The last look at what this thread freed and nobody wanted since: exit may be called anywhere. */
static void check_cache(void)
{
	struct heap *heap = slot.heap;
	if (heap == NULL || !heap_try_lock(heap))
		return;
	claim_settle(heap);
	cache_check(heap);
	remote_unlock(heap);
}

__attribute__((destructor)) static void end(void)
{
	if (QUARRY_HARDENED)
		check_quarantines();
	if (QUARRY_MARKS)
		check_cache();
	stats_at_exit();
	profile_at_exit();
}
