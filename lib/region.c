/* SPDX-License-Identifier: MIT */
/*
 * Region: see region.h.
 */
#include "region.h"

#include <string.h>

#include "arena_list.h"
#include "counting.h"
#include "large.h"
#include "report.h"
#include "sample.h"

#define relaxed memory_order_relaxed

static struct quarry_heap *of_owner(struct span_owner *owner)
{
	bool is_region = owner != NULL && owner->kind == SPAN_OF_REGION;
	return is_region ? container_of(owner, struct quarry_heap, owner) : NULL;
}

struct quarry_heap *region_of(const void *ptr, uint32_t word)
{
	if (word_is_region(word))
		return (struct quarry_heap *)heap_by_id(word_owner(word));
	if (word == 0 || word_is_pool(word) || (uintptr_t)ptr % POOL_SIZE != 0)
		return NULL;
	return of_owner(word == WORD_SPAN ? span_owner(ptr) : large_owner(ptr));
}

/* --- under the lock ----------------------------------------------------------------------------------------------- */

static void link_block(struct pool_link *ring, struct pool_link *link)
{
	link->nextpool = ring->nextpool;
	link->prevpool = ring;
	ring->nextpool->prevpool = link;
	ring->nextpool = link;
}

static void unlink_block(struct pool_link *link)
{
	link->nextpool->prevpool = link->prevpool;
	link->prevpool->nextpool = link->nextpool;
}

static bool fits(struct quarry_heap *region, size_t nbytes, size_t spare)
{
	uint64_t others = region->live - spare;
	bool fit = region->limit == 0 || (others <= region->limit && nbytes <= region->limit - others);
	region->refusals += !fit;
	return fit;
}

static void count_taken(struct quarry_heap *region, size_t nbytes, size_t spare)
{
	region->live += nbytes;
	region->blocks++;
	region->allocations++;
	if (region->live - spare > region->peak)
		region->peak = region->live - spare;
}

static void count_put(struct quarry_heap *region, size_t nbytes)
{
	region->live -= nbytes;
	region->blocks--;
}

/* --- pools -------------------------------------------------------------------------------------------------------- */

static struct block *pop(struct quarry_heap *region, unsigned szidx)
{
	struct pool_link *ring = &region->heap.usedpools[szidx];
	if (pool_ring_is_empty(ring) && !heap_add_new_pool(&region->heap, szidx))
		return NULL;
	struct pool_header *pool = pool_of_link(ring->nextpool);
	struct block *block = pool_pop(pool);
	if (pool_is_full(pool)) {
		pool_unlink(pool);
		link_block(&region->full, &pool->link);
	}
	if (unlikely(block == NULL))
		return NULL;
	heap_count_out(&region->heap, (int64_t)sizeclass_nbytes(szidx));
	return block;
}

static enum region_answer take_block(struct quarry_heap *region, unsigned szidx, size_t spare, void **ptr)
{
	size_t nbytes = sizeclass_nbytes(szidx);
	heap_lock(&region->heap);
	bool fit = fits(region, nbytes, spare);
	*ptr = fit ? pop(region, szidx) : NULL;
	if (*ptr != NULL)
		count_taken(region, nbytes, spare);
	heap_unlock(&region->heap);
	return *ptr != NULL ? REGION_GIVEN : fit ? REGION_NO_ROOM : REGION_REFUSED;
}

static void put_block(struct quarry_heap *region, struct block *block, uint32_t word)
{
	char *start = (char *)((uintptr_t)block & ~(uintptr_t)(POOL_SIZE - 1)) - word_phase(word) * POOL_SIZE;
	struct pool_header *pool = pool_header_at(start);
	size_t nbytes = sizeclass_nbytes(word_szidx(word));
	heap_lock(&region->heap);
	enum pool_change change = pool_push_at(pool, start, block);
	heap_count_out(&region->heap, -(int64_t)nbytes);
	if (change == POOL_NOW_USED)
		unlink_block(&pool->link); /* of the ring of full ones, which a heap does not have */
	if (change != POOL_DOUBLE_FREE && change != POOL_NO_BLOCK)
		count_put(region, nbytes);
	if (change != POOL_STAYS)
		heap_pool_changed(&region->heap, pool, block, change);
	heap_unlock(&region->heap);
}

/* --- spans and large blocks --------------------------------------------------------------------------------------- */

static enum region_answer take_span(struct quarry_heap *region, struct region_request *request, void **ptr)
{
	size_t nbytes = span_good_size(request->nbytes);
	heap_lock(&region->heap);
	bool fit = fits(region, nbytes, request->spare);
	*ptr = fit ? span_alloc(region->heap.node, request->nbytes, request->alignment, &request->zeroed) : NULL;
	if (*ptr != NULL) {
		span_set_owner(*ptr, &region->owner);
		link_block(&region->spans, &pool_header_at(*ptr)->link);
		count_taken(region, nbytes, request->spare);
	}
	heap_unlock(&region->heap);
	return *ptr != NULL ? REGION_GIVEN : fit ? REGION_NO_ROOM : REGION_REFUSED;
}

/* The bytes count as live while the block is being mapped, without the lock. */
static enum region_answer take_large(struct quarry_heap *region, struct region_request *request, void **ptr)
{
	size_t nbytes = large_good_size(request->nbytes);
	heap_lock(&region->heap);
	bool fit = nbytes != 0 && fits(region, nbytes, request->spare);
	if (fit)
		count_taken(region, nbytes, request->spare);
	heap_unlock(&region->heap);
	if (!fit)
		return REGION_REFUSED;
	*ptr = large_alloc(region->heap.node, request->nbytes, request->alignment, &request->zeroed);
	heap_lock(&region->heap);
	if (*ptr != NULL) {
		large_set_owner(*ptr, &region->owner);
		link_block(&region->larges, large_link(*ptr));
	} else {
		count_put(region, nbytes);
		region->allocations--;
	}
	heap_unlock(&region->heap);
	return *ptr != NULL ? REGION_GIVEN : REGION_NO_ROOM;
}

static void put_span(struct quarry_heap *region, void *ptr)
{
	heap_lock(&region->heap);
	count_put(region, span_good_size(span_usable(ptr))); /* hardened, fewer are usable than were counted */
	unlink_block(&pool_header_at(ptr)->link);
	span_set_owner(ptr, NULL);
	span_free(ptr);
	heap_unlock(&region->heap);
}

static void put_large(struct quarry_heap *region, void *ptr)
{
	heap_lock(&region->heap);
	count_put(region, large_good_size(large_usable(ptr)));
	unlink_block(large_link(ptr));
	large_set_owner(ptr, NULL);
	heap_unlock(&region->heap);
	large_free(ptr);
}

/* --- blocks ------------------------------------------------------------------------------------------------------- */

/* The size class that serves the request; -1: none does. */
static int class_of(const struct region_request *request)
{
	if (request->alignment <= ALIGNMENT)
		return request->nbytes <= sizeclass_limit ? (int)sizeclass_of(request->nbytes) : -1;
	return request->alignment <= POOL_SIZE && request->nbytes <= sizeclass_limit
		       ? sizeclass_of_aligned(request->nbytes, request->alignment)
		       : -1;
}

enum region_answer region_take(struct quarry_heap *region, struct region_request *request, void **ptr)
{
	int szidx = class_of(request);
	request->zeroed = false;
	if (szidx >= 0)
		return take_block(region, (unsigned)szidx, request->spare, ptr);
	request->nbytes += request->nbytes == 0;
	if (request->nbytes <= LARGE_REQUEST_THRESHOLD && request->alignment <= LARGE_REQUEST_THRESHOLD)
		return take_span(region, request, ptr);
	return take_large(region, request, ptr);
}

void region_put(void *ptr, uint32_t word)
{
	struct quarry_heap *region = region_of(ptr, word);
	if (sample_has_owned())
		sample_forget_owned(ptr);
	if (QUARRY_COUNTING)
		word_is_pool(word) ? counting_small(ptr, 0) : counting_big(ptr, 0);
	if (word_is_pool(word))
		put_block(region, ptr, word);
	else if (word == WORD_SPAN)
		put_span(region, ptr);
	else
		put_large(region, ptr);
}

/* --- regions ------------------------------------------------------------------------------------------------------ */

struct quarry_heap *region_make(unsigned node, const char *tag, size_t limit)
{
	struct quarry_heap *region = (struct quarry_heap *)heap_obtain_region(sizeof(*region), node);
	if (region == NULL)
		return NULL;
	heap_lock(&region->heap);
	region->owner.kind = SPAN_OF_REGION;
	memset(region->tag, 0, sizeof(region->tag));
	strncpy(region->tag, tag != NULL ? tag : "", sizeof(region->tag) - 1);
	pool_ring_init(&region->full);
	pool_ring_init(&region->spans);
	pool_ring_init(&region->larges);
	region->limit = limit;
	region->live = region->peak = region->blocks = region->allocations = region->refusals = 0;
	heap_unlock(&region->heap);
	atomic_store_explicit(&region->state, REGION_LIVE, memory_order_release);
	return region;
}

/* Of a pool that goes with what it has out. */
static void forget_requests(const struct pool_header *pool)
{
	for (unsigned index = 0; index < pool->capacity; index++)
		counting_small(pool_start(pool) + index * sizeclass_nbytes(pool->szidx), 0);
}

static void release_ring(struct heap *heap, struct pool_link *ring)
{
	while (!pool_ring_is_empty(ring)) {
		struct pool_header *pool = pool_of_link(ring->nextpool);
		if (QUARRY_COUNTING)
			forget_requests(pool);
		heap_count_out(heap, -(int64_t)(pool->count * sizeclass_nbytes(pool->szidx)));
		heap_release_pool(pool);
	}
}

bool region_end(struct quarry_heap *region)
{
	int live = REGION_LIVE;
	if (!atomic_compare_exchange_strong(&region->state, &live, REGION_DESTROYED))
		return false;
	heap_lock(&region->heap);
	for (unsigned szidx = 0; szidx < NB_SIZE_CLASSES; szidx++)
		release_ring(&region->heap, &region->heap.usedpools[szidx]);
	release_ring(&region->heap, &region->full);
	while (!pool_ring_is_empty(&region->spans)) {
		char *start = pool_start(pool_of_link(region->spans.nextpool));
		unlink_block(region->spans.nextpool);
		if (QUARRY_COUNTING)
			counting_big(start, 0);
		span_set_owner(start, NULL);
		span_free(start);
	}
	heap_unlock(&region->heap);
	while (!pool_ring_is_empty(&region->larges)) {
		void *large = large_of_link(region->larges.nextpool);
		if (QUARRY_COUNTING)
			counting_big(large, 0);
		put_large(region, large);
	}
	if (sample_has_owned())
		sample_forget_owner(region);
	heap_park_region(&region->heap);
	return true;
}
