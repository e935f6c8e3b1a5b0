/* SPDX-License-Identifier: MIT */
/*
 * Heap: see heap.h. The registry (all records by id, parked ones per node), and what is done to pools under a heap's
 * lock.
 */
#include "heap.h"

#include <errno.h>

#include "arena_list.h"
#include "fence.h"
#include "meta.h"
#include "node.h"
#include "report.h"

#define relaxed memory_order_relaxed

/* An id that no record has: so no word matches it. */
#define EMPTY_ID (WORD_OWNERS - 1)

/* Apart from what is written, and read-only once the library is loaded. */
__attribute__((section(".data.rel.ro.heap_empty"))) struct heap heap_empty = {
	.word_base = (uint32_t)EMPTY_ID << WORD_OWNER_SHIFT,
	.id = EMPTY_ID,
};

static struct lock registry_lock; /* of the following, for writing */
static struct heap *_Atomic *_Atomic directory[WORD_OWNERS / HEAPS_PER_CHUNK];
static _Atomic uint32_t nheaps;
static uint32_t nregions;
static struct heap *_Atomic first_record, *last_record;
static _Atomic bool has_veteran; /* the first thread's heap was made */
static struct heap *parked[NODE_PLACES], *parked_regions[NODE_PLACES];
static _Atomic unsigned nparked;
uint8_t heap_nodes[WORD_OWNERS];
static struct heap *_Atomic shared_heaps[NODE_PLACES];
INSPECTED(heap_directory, directory);
INSPECTED(heap_number, nheaps);

/* --- registry --------------------------------------------------------------------------------------------------- */

struct heap *heap_by_id(uint32_t id)
{
	struct heap *_Atomic *chunk = atomic_load_explicit(&directory[id / HEAPS_PER_CHUNK], memory_order_acquire);
	return atomic_load_explicit(&chunk[id % HEAPS_PER_CHUNK], memory_order_acquire);
}

unsigned heap_count(void)
{
	return atomic_load_explicit(&nheaps, memory_order_acquire);
}

struct heap *heap_first(void)
{
	return atomic_load_explicit(&first_record, memory_order_acquire);
}

struct heap *heap_next(const struct heap *heap)
{
	return atomic_load_explicit(&heap->nextrecord, memory_order_acquire);
}

uint32_t heap_first_bound(unsigned szidx)
{
	size_t blocks = CACHE_FIRST_NBYTES / sizeclass_nbytes(szidx);
	if (blocks > CACHE_FIRST_BLOCKS)
		blocks = CACHE_FIRST_BLOCKS;
	return (uint32_t)(blocks < CACHE_MIN_BLOCKS ? CACHE_MIN_BLOCKS : blocks);
}

static void init_record(struct heap *heap, unsigned node, enum heap_kind kind)
{
	for (unsigned szidx = 0; szidx < NB_SIZE_CLASSES; szidx++) {
		heap->cache.bound[szidx] = heap_first_bound(szidx);
		heap->cache.room[szidx] = (int32_t)heap->cache.bound[szidx];
		pool_ring_init(&heap->usedpools[szidx]);
	}
	heap->seen_list = CACHE_LISTS;
	heap->node = node;
	heap->kind = kind;
}

static uint32_t next_id(bool region)
{
	return region ? WORD_REGION_OWNERS + nregions : heap_count() + 1;
}

/* Under the registry lock: whoever finds the record finds it whole. */
static void append(struct heap *heap)
{
	if (last_record == NULL)
		atomic_store_explicit(&first_record, heap, memory_order_release);
	else
		atomic_store_explicit(&last_record->nextrecord, heap, memory_order_release);
	last_record = heap;
}

/* Give the record the next id, with the directory's chunk for it made beforehand. */
static bool register_record(struct heap *heap, bool region)
{
	for (;;) {
		lock_take(&registry_lock, LOCK_REGISTRY);
		uint32_t id = next_id(region);
		lock_drop(&registry_lock, LOCK_REGISTRY);
		struct heap *_Atomic *spare = NULL;
		if (id >= (region ? EMPTY_ID : WORD_REGION_OWNERS)) {
			errno = ENOMEM;
			return false;
		}
		if (atomic_load_explicit(&directory[id / HEAPS_PER_CHUNK], memory_order_acquire) == NULL) {
			spare = meta_alloc(HEAPS_PER_CHUNK * sizeof(*spare), CACHE_LINE, heap->node);
			if (spare == NULL)
				return false;
		}
		lock_take(&registry_lock, LOCK_REGISTRY);
		if (spare != NULL && directory[id / HEAPS_PER_CHUNK] == NULL)
			atomic_store_explicit(&directory[id / HEAPS_PER_CHUNK], spare, memory_order_release);
		bool mine = next_id(region) == id;
		if (mine) {
			heap->id = id;
			heap->word_base = id << WORD_OWNER_SHIFT;
			if (heap->node != 0) /* else as it is, and not resident */
				heap_nodes[id] = (uint8_t)heap->node;
			heap->veteran = heap->kind != HEAP_SHARED && !atomic_exchange(&has_veteran, true);
			/* A walk may read the id from a word without any lock: it finds the record as it is by now. */
			atomic_store_explicit(&directory[id / HEAPS_PER_CHUNK][id % HEAPS_PER_CHUNK], heap,
			                      memory_order_release);
			nregions += region;
			append(heap);
			if (!region)
				atomic_store_explicit(&nheaps, id, memory_order_release);
		}
		lock_drop(&registry_lock, LOCK_REGISTRY);
		if (mine)
			return true;
	}
}

static struct heap *make_record(size_t nbytes, unsigned node, enum heap_kind kind, bool region)
{
	struct heap *heap = meta_alloc(nbytes, FALSE_SHARING_RANGE, node);
	if (heap == NULL)
		return NULL;
	init_record(heap, node, kind);
	return register_record(heap, region) ? heap : NULL;
}

struct heap *heap_obtain(unsigned node)
{
	lock_take(&registry_lock, LOCK_REGISTRY);
	struct heap *heap = parked[node];
	if (heap != NULL) {
		parked[node] = heap->nextparked;
		atomic_store_explicit(&nparked, nparked - 1, relaxed);
	}
	lock_drop(&registry_lock, LOCK_REGISTRY);
	return heap != NULL ? heap : make_record(sizeof(*heap), node, HEAP_PARKED, false);
}

struct heap *heap_obtain_region(size_t nbytes, unsigned node)
{
	lock_take(&registry_lock, LOCK_REGISTRY);
	struct heap *heap = parked_regions[node];
	if (heap != NULL)
		parked_regions[node] = heap->nextparked;
	lock_drop(&registry_lock, LOCK_REGISTRY);
	return heap != NULL ? heap : make_record(nbytes, node, HEAP_SHARED, true);
}

void heap_park_region(struct heap *heap)
{
	lock_take(&registry_lock, LOCK_REGISTRY);
	heap->nextparked = parked_regions[heap->node];
	parked_regions[heap->node] = heap;
	lock_drop(&registry_lock, LOCK_REGISTRY);
}

void heap_park(struct heap *heap)
{
	lock_take(&registry_lock, LOCK_REGISTRY);
	heap->nextparked = parked[heap->node];
	parked[heap->node] = heap;
	atomic_store_explicit(&nparked, nparked + 1, relaxed);
	lock_drop(&registry_lock, LOCK_REGISTRY);
}

void heap_forget_parked(void)
{
	for (unsigned node = 0; node < NODE_PLACES; node++)
		parked[node] = NULL;
	atomic_store_explicit(&nparked, 0, relaxed);
}

unsigned heap_parked_count(void)
{
	return atomic_load_explicit(&nparked, relaxed);
}

void heap_pass_registry(void)
{
	lock_take(&registry_lock, LOCK_REGISTRY);
	lock_drop(&registry_lock, LOCK_REGISTRY);
}

struct heap *heap_shared(unsigned node)
{
	struct heap *heap = atomic_load_explicit(&shared_heaps[node], memory_order_acquire);
	if (likely(heap != NULL))
		return heap;
	struct heap *fresh = make_record(sizeof(*fresh), node, HEAP_SHARED, false);
	if (fresh == NULL)
		return NULL;
	/* Where another thread was first, the record stays behind, unused. */
	return atomic_compare_exchange_strong(&shared_heaps[node], &heap, fresh) ? fresh : heap;
}

/* --- pools, under the heap's lock --------------------------------------------------------------------------------- */

static void set_words(struct heap *heap, struct pool_header *pool)
{
	char *start = pool_start(pool);
	for (unsigned phase = 0; phase < pool->units; phase++)
		address_map_set(start + phase * POOL_SIZE, 1, word_of_pool(heap->id, phase, pool->szidx));
}

static void count_moved(struct heap *heap, int64_t nbytes)
{
	int64_t sum = atomic_load_explicit(&heap->counters.moved_nbytes, relaxed) + nbytes;
	atomic_store_explicit(&heap->counters.moved_nbytes, sum, relaxed);
}

/* Under both locks. What the pool has out goes over with it; not in out_nbytes, which statistics sum up meanwhile. */
static void change_owner(struct heap *from, struct heap *to, struct pool_header *pool)
{
	int64_t out = (int64_t)(pool->count * sizeclass_nbytes(pool->szidx));
	count_moved(from, -out);
	count_moved(to, out);
	set_words(to, pool);
}

static struct pool_header *ring_front(struct heap *heap, unsigned szidx)
{
	struct pool_link *ring = &heap->usedpools[szidx];
	return pool_ring_is_empty(ring) ? NULL : pool_of_link(ring->nextpool);
}

unsigned heap_take_batch(struct heap *heap, unsigned szidx, unsigned most, struct block **chain)
{
	struct pool_header *pool = ring_front(heap, szidx);
	if (pool == NULL)
		return 0;
	unsigned n = pool_take_batch(pool, most, chain);
	if (pool_is_full(pool))
		pool_unlink(pool);
	heap_count_out(heap, (int64_t)(n * sizeclass_nbytes(szidx)));
	return n;
}

struct block *heap_take_block(struct heap *heap, unsigned szidx)
{
	struct pool_header *pool = ring_front(heap, szidx);
	if (pool == NULL)
		return NULL;
	struct block *block = pool_pop(pool);
	if (pool_is_full(pool))
		pool_unlink(pool);
	if (unlikely(block == NULL))
		return NULL;
	heap_count_out(heap, (int64_t)sizeclass_nbytes(szidx));
	return block;
}

/* A used pool that the shared heap can spare. */
static bool borrow_pool(struct heap *heap, unsigned szidx)
{
	struct heap *shared = atomic_load_explicit(&shared_heaps[heap->node], memory_order_acquire);
	if (shared == NULL || heap == shared)
		return false;
	heap_lock(shared);
	struct pool_header *pool = ring_front(shared, szidx);
	if (pool != NULL) {
		pool_unlink(pool);
		change_owner(shared, heap, pool);
	}
	heap_unlock(shared);
	if (pool == NULL)
		return false;
	pool_link_front(&heap->usedpools[szidx], pool);
	return true;
}

bool heap_add_new_pool(struct heap *heap, unsigned szidx)
{
	size_t units = size_classes[szidx].units;
	struct arena_run run = fence_take(heap->node, units, 1, units << QUARRY_POOL_BITS);
	if (run.address == NULL)
		return false;
	struct pool_header *pool = pool_init(run.address, szidx, run.clean);
	set_words(heap, pool);
	pool_link_front(&heap->usedpools[szidx], pool);
	return true;
}

bool heap_add_pool(struct heap *heap, unsigned szidx)
{
	return (heap->kind == HEAP_ATTACHED && borrow_pool(heap, szidx)) || heap_add_new_pool(heap, szidx);
}

void heap_release_pool(struct pool_header *pool)
{
	pool_unlink(pool);
	if (QUARRY_HARDENED) {
		fence_put(pool_start(pool), pool->units, false);
		return;
	}
	/* Units that no block was carved from are as clean as they came. */
	size_t touched = pool->zeroed ? (pool->nextoffset + POOL_SIZE - 1) >> QUARRY_POOL_BITS : pool->units;
	size_t untouched = pool->units - touched;
	char *start = pool_start(pool);
	if (untouched > 0)
		arena_list_put(start + (touched << QUARRY_POOL_BITS), untouched, true);
	if (touched > 0)
		arena_list_put(start, touched, false);
}

/* A last empty pool of a class stays, or a lone pair of malloc and free would make and unmake a pool each time. */
static bool is_worth_keeping(const struct heap *heap, const struct pool_header *pool)
{
	const struct pool_link *ring = &heap->usedpools[pool->szidx];
	return heap->kind != HEAP_PARKED && ring->nextpool == &pool->link && ring->prevpool == &pool->link;
}

void heap_report_misuse(const char *what, const void *ptr, uint32_t word)
{
	if (!word_is_pool(word)) {
		report_fault(what, ptr, NULL);
		return;
	}
	const struct heap *owner = heap_by_id(word_owner(word));
	struct report_place place = {
		.szidx = (int)word_szidx(word),
		.block_nbytes = sizeclass_nbytes(word_szidx(word)),
		.arena = arena_base(ptr),
		.node = (int)owner->node,
		.thread = owner->kind == HEAP_ATTACHED ? owner->tid : 0,
	};
	report_fault(what, ptr, &place);
}

void heap_pool_changed(struct heap *heap, struct pool_header *pool, struct block *block, enum pool_change change)
{
	unsigned szidx = pool->szidx;
	const char *what = "double free";
	switch (change) {
	case POOL_STAYS:
		return;
	case POOL_NOW_USED:
		pool_link_front(&heap->usedpools[szidx], pool);
		return;
	case POOL_NOW_EMPTY:
		if (!is_worth_keeping(heap, pool))
			heap_release_pool(pool);
		return;
	case POOL_NO_BLOCK:
		what = "free of what is no block";
		break;
	case POOL_DOUBLE_FREE:
		break;
	}
	heap_report_misuse(what, block, address_map_word(block));
	heap_count_out(heap, (int64_t)sizeclass_nbytes(szidx)); /* it was not out */
}

void heap_release_empty(struct heap *heap)
{
	for (unsigned szidx = 0; szidx < NB_SIZE_CLASSES; szidx++) {
		struct pool_link *ring = &heap->usedpools[szidx], *next;
		for (struct pool_link *link = ring->nextpool; link != ring; link = next) {
			next = link->nextpool;
			if (pool_of_link(link)->count == 0)
				heap_release_pool(pool_of_link(link));
		}
	}
}

void heap_give_rings(struct heap *heap)
{
	struct heap *shared = atomic_load_explicit(&shared_heaps[heap->node], memory_order_acquire);
	heap_release_empty(heap);
	if (shared == NULL)
		return;
	heap_lock(shared);
	for (unsigned szidx = 0; szidx < NB_SIZE_CLASSES; szidx++)
		while (!pool_ring_is_empty(&heap->usedpools[szidx])) {
			struct pool_header *pool = ring_front(heap, szidx);
			pool_unlink(pool);
			change_owner(heap, shared, pool);
			pool_link_front(&shared->usedpools[szidx], pool);
		}
	heap_unlock(shared);
}

/* --- fork --------------------------------------------------------------------------------------------------------- */

void heap_lock_for_fork(void)
{
	lock_take(&registry_lock, LOCK_REGISTRY);
	for (struct heap *heap = heap_first(); heap != NULL; heap = heap_next(heap))
		if (heap->kind != HEAP_SHARED)
			heap_lock(heap);
	for (struct heap *heap = heap_first(); heap != NULL; heap = heap_next(heap))
		if (heap->kind == HEAP_SHARED)
			heap_lock(heap);
}

void heap_unlock_after_fork(bool in_child)
{
	for (struct heap *heap = heap_first(); heap != NULL; heap = heap_next(heap))
		lock_after_fork(&heap->lock, heap_rank(heap), in_child);
	lock_after_fork(&registry_lock, LOCK_REGISTRY, in_child);
}
