/* SPDX-License-Identifier: MIT */
/*
 * Entry, its slow allocations, which sort requests into small, span and large. Only here and in entry_free.c is a
 * thread attached, an arena mapped and the purger started: with no lock held, on the way in or out.
 */
#include "entry.h"

#include <errno.h>
#include <string.h>

#include "arena_list.h"
#include "claim.h"
#include "guard.h"
#include "guard_pace.h"
#include "large.h"
#include "limit.h"
#include "node.h"
#include "os.h"
#include "purge.h"
#include "region.h"
#include "remote.h"
#include "sample.h"
#include "span.h"
#include "thread.h"

static unsigned current_node(void)
{
	struct heap *heap = thread_heap();
	return heap != NULL ? heap->node : thread_node();
}

void entry_leave(void)
{
	purge_hint();
	if (unlikely(slot.visited))
		thread_follow_node();
	if (unlikely(sample_is_asked()))
		sample_obey();
}

static void *out_of_memory(void)
{
	errno = ENOMEM;
	return NULL;
}

/* --- small -------------------------------------------------------------------------------------------------------- */

static struct block *pop(struct heap *heap, unsigned szidx)
{
	struct block *block = heap->cache.head[szidx];
	if (block == NULL)
		return NULL;
	if (unlikely(!heap_is_free_block(block, address_map_word(block))) || !block_claim(block)) {
		cache_drop_list(heap, szidx, block);
		return NULL;
	}
	heap->cache.head[szidx] = block_next(block);
	heap->cache.room[szidx]++;
	return block;
}

static struct block *take_from_heap(struct heap *heap, unsigned szidx)
{
	heap_lock(heap);
	claim_settle(heap);
	struct block *block = pop(heap, szidx);
	if (QUARRY_HARDENED)
		quarantine_share(heap->quarantine, thread_count());
	if (block == NULL && cache_refill(heap, szidx))
		block = pop(heap, szidx);
	remote_unlock(heap);
	return block;
}

static struct block *take_from_shared(unsigned node, unsigned szidx)
{
	struct heap *shared = heap_shared(node);
	if (shared == NULL)
		return NULL;
	heap_lock(shared);
	struct block *block = heap_take_block(shared, szidx);
	if (block == NULL && (remote_drain(shared, DRAIN_BLOCKS) > 0 || heap_add_pool(shared, szidx)))
		block = heap_take_block(shared, szidx);
	if (block == NULL && heap_add_pool(shared, szidx))
		block = heap_take_block(shared, szidx);
	remote_unlock(shared);
	return block;
}

bool entry_more_memory(unsigned node, size_t nbytes, uint64_t births, enum effort *effort)
{
	nbytes = round_up(nbytes, POOL_SIZE) + (QUARRY_HARDENED ? POOL_SIZE : 0); /* what would be charged */
	if (*effort == GROW) {
		/* Where another thread mapped an arena meanwhile, that one will do. */
		if (arena_list_births() != births || (limit_allows(nbytes) && arena_list_grow(node)))
			return true;
		*effort = RECLAIM;
	}
	if (*effort == GIVE_UP)
		return false;
	if (*effort == RECLAIM) {
		purge_all(0, true);
		*effort = GROW_AGAIN;
		if (atomic_load_explicit(&limit_own, memory_order_relaxed) != 0)
			return true;
	}
	*effort = GIVE_UP;
	if (limit_allows(nbytes))
		arena_list_grow(node);
	return true;
}

static size_t pool_nbytes(unsigned szidx)
{
	return (size_t)size_classes[szidx].units * POOL_SIZE;
}

static __attribute__((noinline)) void *allocate_small(unsigned szidx)
{
	enum effort effort = GROW;
	for (;;) {
		uint64_t births = arena_list_births();
		thread_follow_node();
		struct heap *heap = thread_heap();
		struct block *block = heap != NULL ? take_from_heap(heap, szidx)
		                                   : take_from_shared(thread_node(), szidx);
		if (block != NULL) {
			entry_leave();
			return block;
		}
		if (!entry_more_memory(heap != NULL ? heap->node : thread_node(), pool_nbytes(szidx), births, &effort))
			return out_of_memory();
	}
}

/* From the heap, if there is one and it is of the node, else from the one that the node's threads share. */
static void *allocate_small_on(struct heap *heap, unsigned node, unsigned szidx)
{
	enum effort effort = GROW;
	bool own = heap != NULL && heap->node == node;
	for (;;) {
		uint64_t births = arena_list_births();
		struct block *block = own ? take_from_heap(heap, szidx) : take_from_shared(node, szidx);
		if (block != NULL) {
			entry_leave();
			return block;
		}
		if (!entry_more_memory(node, pool_nbytes(szidx), births, &effort))
			return out_of_memory();
	}
}

/* --- span and large --------------------------------------------------------------------------------------------- */

static void *allocate_large(unsigned node, size_t nbytes, size_t alignment, bool *zeroed)
{
	void *ptr = large_alloc(node, nbytes, alignment, zeroed);
	if (ptr == NULL && large_good_size(nbytes) != 0) {
		purge_all(0, true);
		ptr = large_alloc(node, nbytes, alignment, zeroed);
	}
	entry_leave();
	return ptr;
}

static void *allocate_big_on(unsigned node, size_t nbytes, size_t alignment, bool *zeroed)
{
	nbytes += nbytes == 0;
	if (nbytes > LARGE_REQUEST_THRESHOLD || alignment > LARGE_REQUEST_THRESHOLD)
		return allocate_large(node, nbytes, alignment, zeroed);
	enum effort effort = GROW;
	for (;;) {
		uint64_t births = arena_list_births();
		void *ptr = span_alloc(node, nbytes, alignment, zeroed);
		if (ptr != NULL)
			return ptr;
		if (!entry_more_memory(node, nbytes, births, &effort))
			return allocate_large(node, nbytes, alignment, zeroed);
	}
}

/* --- the profile -------------------------------------------------------------------------------------------------- */

/* The number of its record goes with a span or large block. */
static void set_sample(void *ptr, uint32_t number)
{
	uint32_t word = address_map_word(ptr);
	if (word == WORD_SPAN)
		span_set_sample(ptr, number);
	else if (guard_is(word))
		guard_set_sample(ptr, number);
	else
		large_set_sample(ptr, number);
}

/* 0 also where no block starts. */
static uint32_t sample_of(const void *ptr, uint32_t word)
{
	return word == WORD_SPAN ? span_sample(ptr) : large_sample(ptr);
}

static void choose(uint64_t rate, void *ptr, size_t nbytes)
{
	uint32_t number = sample_take(rate, nbytes, entry_usable(ptr, address_map_word(ptr)));
	if (number == 0)
		sample_drop();
	else
		set_sample(ptr, number);
}

/* A span or large block that the program is about to get. */
static void *counted_big(void *ptr, size_t nbytes)
{
	uint64_t rate = sample_rate(), profile_rate;
	nbytes += nbytes == 0;
	if (QUARRY_COUNTING && ptr != NULL)
		counting_big(ptr, nbytes);
	if (unlikely(rate != 0) && ptr != NULL && sample_count_big(rate, nbytes) && sample_is_due(rate, nbytes) &&
	    (sample_whose(nbytes, &profile_rate) & SAMPLE_FOR_PROFILE) != 0)
		choose(profile_rate, ptr, nbytes);
	return ptr;
}

/* A block for a small request that was chosen: guarded, if that is what it was chosen for, else a span. The pages of a
 * guarded one lie where they are first written to, so that one for another node comes as ever. */
static void *allocate_chosen(unsigned node, size_t nbytes)
{
	size_t usable = QUARRY_HARDENED ? nbytes : sizeclass_nbytes(sizeclass_of(nbytes));
	uint64_t rate;
	unsigned whose = sample_whose(nbytes, &rate);
	void *ptr = NULL;
	bool zeroed;
	if ((whose & SAMPLE_FOR_GUARD) != 0 && node == thread_node() && guard_pace_allows())
		ptr = guard_alloc(node, usable);
	bool profiled = (whose & SAMPLE_FOR_PROFILE) != 0;
	if (ptr == NULL && profiled)
		ptr = allocate_big_on(node, usable, ALIGNMENT, &zeroed);
	if (ptr == NULL) {
		if (profiled)
			sample_drop();
		return NULL;
	}
	if (!QUARRY_HARDENED && address_map_word(ptr) == WORD_SPAN) /* what quarry_good_size promises */
		span_set_usable(ptr, usable);
	if (QUARRY_COUNTING)
		counting_big(ptr, nbytes);
	if (profiled)
		choose(rate, ptr, nbytes);
	return ptr;
}

/* The credit is used up. Where the request is chosen, its block; NULL: it is not, or none can be had. */
static cold_path void *malloc_due(unsigned node, size_t nbytes)
{
	uint64_t rate = sample_rate();
	int saved_errno = errno;
	if (rate == 0 || !sample_is_due(rate, nbytes))
		return NULL;
	void *ptr = allocate_chosen(node, nbytes);
	errno = saved_errno;
	return ptr;
}

/* A small request that takes a slow path anyway. NULL: it is not chosen. */
static void *counted_small(unsigned node, size_t nbytes)
{
	uint64_t rate = sample_rate();
	nbytes += nbytes == 0;
	return unlikely(rate != 0) && sample_count(rate, nbytes) ? malloc_due(node, nbytes) : NULL;
}

void entry_resized(void *ptr, size_t nbytes)
{
	uint32_t number = sample_of(ptr, address_map_word(ptr));
	if (number != 0) {
		set_sample(ptr, 0);
		sample_forget(number);
	}
	counted_big(ptr, nbytes);
}

/* --- slow entries ------------------------------------------------------------------------------------------------- */

/* A request that pools do not serve: above the threshold, or of an alignment that no class has. */
void *entry_malloc_big(size_t nbytes, size_t alignment, bool *zeroed)
{
	thread_follow_node();
	return counted_big(allocate_big_on(current_node(), nbytes, alignment, zeroed), nbytes);
}

void *entry_malloc_over(const struct node_set *over, size_t nbytes)
{
	void *ptr = large_alloc_over(over, nbytes);
	if (ptr == NULL && large_good_size(nbytes) != 0) {
		purge_all(0, true);
		ptr = large_alloc_over(over, nbytes);
	}
	entry_leave();
	return counted_big(ptr, nbytes);
}

static cold_path void report_written(struct block *block, unsigned szidx)
{
	size_t nbytes = sizeclass_nbytes(szidx);
	heap_report_misuse("write after free", block, address_map_word(block));
	memset(block, 0, nbytes);
}

/* What debug and hardened builds do with a block on its way to the program. */
static force_inline struct block *hand_out(struct block *block, unsigned szidx, size_t requested)
{
	if (!QUARRY_BLOCK_BITS || block == NULL)
		return block;
	pool_hold(block);
	if (QUARRY_COUNTING)
		counting_small(block, requested + (requested == 0));
	if (QUARRY_HARDENED) {
		size_t nbytes = sizeclass_nbytes(szidx);
		if (unlikely(!harden_is_wiped(block, nbytes, sizeof(*block))))
			report_written(block, szidx);
		memset(block, 0, sizeof(*block));
		harden_seal(block, nbytes, requested + (requested == 0));
	}
	return block;
}

static size_t usable_small(const void *ptr, uint32_t word)
{
	size_t nbytes = sizeclass_nbytes(word_szidx(word));
	if (!QUARRY_HARDENED || word_is_region(word))
		return entry_is_interior(ptr, word) ? 0 : nbytes;
	size_t requested = pool_is_held(ptr) ? harden_requested(ptr, nbytes) : 0;
	return requested == SIZE_MAX ? 0 : requested;
}

size_t entry_usable(const void *ptr, uint32_t word)
{
	if (word_is_pool(word))
		return usable_small(ptr, word);
	if (word == WORD_SPAN)
		return (uintptr_t)ptr % POOL_SIZE == 0 && !span_is_of_cache(ptr) ? span_usable(ptr) : 0;
	return guard_is(word) ? guard_usable(ptr) : large_usable(ptr);
}

bool entry_reseal(void *ptr, uint32_t word, size_t nbytes)
{
	size_t room = sizeclass_nbytes(word_szidx(word)) - HARDEN_SEAL_NBYTES;
	if (nbytes > room)
		return false;
	harden_seal(ptr, room + HARDEN_SEAL_NBYTES, nbytes);
	return true;
}

static cold_path void *malloc_due_or_not(size_t nbytes, unsigned szidx)
{
	thread_follow_node();
	void *ptr = malloc_due(current_node(), nbytes);
	return ptr != NULL ? ptr : hand_out(allocate_small(szidx), szidx, nbytes);
}

void *entry_malloc_slow(size_t nbytes)
{
	return allocate_small(sizeclass_of(nbytes));
}

static void *malloc_class(unsigned szidx, size_t nbytes)
{
	struct block *block = cache_take(szidx);
	if (unlikely(block == NULL))
		block = allocate_small(szidx);
	return hand_out(block, szidx, nbytes);
}

/* A chosen one is for the profile alone: a guarded one would be aligned less. */
static cold_path void *malloc_due_aligned(size_t nbytes)
{
	uint64_t rate = sample_rate(), profile_rate;
	int saved_errno = errno;
	bool zeroed;
	if (rate == 0 || !sample_is_due(rate, nbytes) ||
	    (sample_whose(nbytes, &profile_rate) & SAMPLE_FOR_PROFILE) == 0)
		return NULL;
	thread_follow_node();
	void *ptr = allocate_big_on(current_node(), nbytes, POOL_SIZE, &zeroed); /* large ones, too */
	errno = saved_errno;
	if (ptr == NULL)
		sample_drop();
	else
		choose(profile_rate, ptr, nbytes);
	return ptr;
}

void *entry_malloc_aligned_class(unsigned szidx, size_t nbytes)
{
	uint64_t rate = sample_rate();
	size_t counted = nbytes + (nbytes == 0);
	void *ptr = unlikely(rate != 0) && sample_count(rate, counted) ? malloc_due_aligned(counted) : NULL;
	return ptr != NULL ? ptr : malloc_class(szidx, nbytes);
}

void *entry_malloc_hardened(size_t nbytes)
{
	if (unlikely(!sample_passes(nbytes)) || unlikely(nbytes > TABLE_LIMIT - HARDEN_SEAL_NBYTES))
		return entry_malloc_medium(nbytes);
	unsigned szidx = sizeclass_of_tabled(nbytes + HARDEN_SEAL_NBYTES);
	struct block *block = cache_take(szidx);
	if (unlikely(block == NULL))
		block = allocate_small(szidx);
	return hand_out(block, szidx, nbytes);
}

/* A request whose class is not in the table, or 0. */
static __attribute__((noinline)) void *malloc_untabled(size_t nbytes)
{
	if (likely(nbytes <= sizeclass_limit - HARDEN_SEAL_NBYTES)) {
		unsigned szidx = sizeclass_of(nbytes + HARDEN_SEAL_NBYTES);
		uint64_t rate = sample_rate();
		nbytes += nbytes == 0;
		if (unlikely(rate != 0) && sample_count(rate, nbytes))
			return malloc_due_or_not(nbytes, szidx);
		return malloc_class(szidx, nbytes);
	}
	bool zeroed;
	return entry_malloc_big(nbytes, ALIGNMENT, &zeroed);
}

/* While the profile is on every small request comes this way: without a frame, the rest by tail calls. */
void *entry_malloc_medium(size_t nbytes)
{
	if (nbytes - 1 >= TABLE_LIMIT || QUARRY_BLOCK_BITS)
		return malloc_untabled(nbytes);
	unsigned szidx = sizeclass_of_tabled(nbytes);
	if (sample_count(sample_rate(), nbytes)) /* by 0 where it was switched off meanwhile */
		return malloc_due_or_not(nbytes, szidx);
	struct block *block = cache_take(szidx);
	return likely(block != NULL) ? block : allocate_small(szidx);
}

void *entry_malloc_on(unsigned node, size_t nbytes)
{
	bool zeroed;
	thread_follow_node();
	if (nbytes > sizeclass_limit - HARDEN_SEAL_NBYTES)
		return counted_big(allocate_big_on(node, nbytes, ALIGNMENT, &zeroed), nbytes);
	void *chosen = counted_small(node, nbytes);
	if (unlikely(chosen != NULL))
		return chosen;
	struct heap *heap = thread_heap(); /* the first free should find one, or each block would go home by itself */
	unsigned szidx = sizeclass_of(nbytes + HARDEN_SEAL_NBYTES);
	return hand_out(allocate_small_on(heap, node, szidx), szidx, nbytes);
}

void *entry_malloc_raw(size_t nbytes, bool *zeroed)
{
	unsigned node = thread_node();
	if (nbytes > sizeclass_limit - HARDEN_SEAL_NBYTES)
		return counted_big(allocate_big_on(node, nbytes, ALIGNMENT, zeroed), nbytes);
	*zeroed = false;
	void *chosen = counted_small(node, nbytes);
	if (unlikely(chosen != NULL))
		return chosen;
	unsigned szidx = sizeclass_of(nbytes + HARDEN_SEAL_NBYTES);
	return hand_out(allocate_small_on(NULL, node, szidx), szidx, nbytes);
}
