/* SPDX-License-Identifier: MIT */
/*
 * Cache: see cache.h. Refill and flush, in batches.
 */
#include "cache.h"

#include "options.h"
#include "probe.h"
#include "remote.h"

#define relaxed memory_order_relaxed

static void count(_Atomic uint64_t *counter)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, relaxed) + 1, relaxed);
}

/* --- going home --------------------------------------------------------------------------------------------------- */

static void send(struct outbox *box)
{
	if (box->head == NULL)
		return;
	remote_push(box->owner, box->head, box->tail, OUTBOX_NBYTES - (size_t)box->room);
	box->head = NULL;
}

void cache_outbox_init(struct outbox outbox[OUTBOX_BUCKETS])
{
	for (unsigned bucket = 0; bucket < OUTBOX_BUCKETS; bucket++)
		outbox[bucket].head = NULL;
}

void cache_post(struct outbox outbox[OUTBOX_BUCKETS], struct block *block, uint32_t word)
{
	struct outbox *box = &outbox[cache_bucket(word_owner(word))];
	int32_t nbytes = (int32_t)sizeclass_nbytes(word_szidx(word));
	if (box->head != NULL && (box->owner != word_owner(word) || box->room < nbytes))
		send(box);
	if (box->head == NULL) {
		box->owner = word_owner(word);
		box->room = (int32_t)OUTBOX_NBYTES;
		box->tail = block;
	}
	block_set_next(block, box->head);
	box->room -= nbytes;
	box->head = block;
}

void cache_send_all(struct outbox outbox[OUTBOX_BUCKETS])
{
	for (unsigned bucket = 0; bucket < OUTBOX_BUCKETS; bucket++)
		send(&outbox[bucket]);
}

static void return_block(struct heap *heap, struct outbox outbox[OUTBOX_BUCKETS], struct block *block)
{
	uint32_t word = address_map_word(block);
	if (likely(word_owner(word) == heap->id))
		heap_put_block(heap, block, word);
	else
		cache_post(outbox, block, word);
}

void cache_return_chain(struct heap *heap, struct outbox outbox[OUTBOX_BUCKETS], struct block *chain)
{
	for (struct block *next; chain != NULL; chain = next) {
		uint32_t word = address_map_word(chain);
		if (unlikely(!heap_is_free_block(chain, word))) {
			heap_report_misuse("double free or write after free", chain, word);
			return;
		}
		next = block_next(chain);
		return_block(heap, outbox, chain);
	}
}

void cache_drop_list(struct heap *heap, unsigned szidx, const struct block *block)
{
	heap->cache.head[szidx] = NULL;
	heap->cache.room[szidx] = (int32_t)heap->cache.bound[szidx];
	heap->classes[szidx].excess = 0;
	heap_report_misuse("double free or write after free", block, address_map_word(block));
}

/* Marks are taken off on the way and put back: a block without one was met before. The head may be being popped. */
static void check_list(struct heap *heap, unsigned szidx)
{
	struct block *head = heap->cache.head[szidx], *block = head;
	unsigned n = 0;
	for (; block != NULL && n < CHECKED_BLOCKS; block = block_next(block), n++)
		if (!heap_is_free_block(block, address_map_word(block)) || !block_claim(block))
			break;
	const struct block *broken = n > 0 && n < CHECKED_BLOCKS ? block : NULL;
	for (block = head; n > 0; n--) {
		struct block *next = block_next(block);
		block_set_next(block, next);
		block = next;
	}
	if (broken != NULL)
		cache_drop_list(heap, szidx, broken);
}

void cache_check(struct heap *heap)
{
	for (unsigned szidx = 0; szidx < NB_SIZE_CLASSES; szidx++)
		check_list(heap, szidx);
}

/* Blocks whose pool headers are fetched ahead: flushed blocks lie anywhere, each a cache miss or two. */
#define AHEAD 32

/* Return n blocks from the head of the list. */
static void flush(struct heap *heap, unsigned szidx, unsigned n)
{
	struct block **head = &heap->cache.head[szidx], *batch[AHEAD];
	heap->classes[szidx].used = 1;
	count(&heap->counters.flushes);
	while (n > 0 && *head != NULL) {
		const struct block *broken = NULL;
		unsigned got = 0;
		for (; got < AHEAD && n > 0 && *head != NULL; got++, n--) {
			if (unlikely(!heap_is_free_block(*head, address_map_word(*head)))) {
				broken = *head;
				break;
			}
			batch[got] = *head;
			*head = block_next(batch[got]);
			heap_prefetch(batch[got]);
		}
		heap->cache.room[szidx] += (int32_t)got;
		for (unsigned i = 0; i < got; i++)
			return_block(heap, heap->outbox, batch[i]);
		if (unlikely(broken != NULL)) {
			cache_drop_list(heap, szidx, broken);
			return;
		}
	}
}

void cache_overflow(struct heap *heap, unsigned szidx)
{
	heap->classes[szidx].flushed = 1;
	heap->classes[szidx].allocates = 0;
	if (heap->cache.room[szidx] < 0)
		flush(heap, szidx, heap->cache.bound[szidx] / 2 + 1);
}

void cache_flush_list(struct heap *heap, unsigned szidx)
{
	if (heap->cache.head[szidx] != NULL)
		flush(heap, szidx, UINT32_MAX);
	heap->classes[szidx].excess = 0;
	heap->cache.room[szidx] = (int32_t)heap->cache.bound[szidx];
}

/* Hardened. */
static void flush_quarantine(struct heap *heap)
{
	for (struct block *block; (block = quarantine_take(heap->quarantine, 0)) != NULL;)
		return_block(heap, heap->outbox, block);
}

void cache_flush_all(struct heap *heap)
{
	if (QUARRY_HARDENED)
		flush_quarantine(heap);
	for (unsigned szidx = 0; szidx < NB_SIZE_CLASSES; szidx++) {
		cache_flush_list(heap, szidx);
		heap->classes[szidx].used = 0;
	}
	cache_send_all(heap->outbox);
}

static void shrink_bound(struct heap *heap, unsigned szidx)
{
	uint32_t bound = heap_first_bound(szidx), excess = heap->cache.bound[szidx] - bound;
	heap->cache_nbytes -= excess * (uint32_t)sizeclass_nbytes(szidx);
	heap->cache.bound[szidx] = bound;
	heap->cache.room[szidx] = (int32_t)bound;
}

static int32_t list_length(const struct heap *heap, unsigned szidx)
{
	return (int32_t)heap->cache.bound[szidx] - heap->cache.room[szidx] + heap->classes[szidx].excess;
}

void cache_leave(struct heap *heap, size_t keep)
{
	if (QUARRY_HARDENED)
		flush_quarantine(heap);
	for (unsigned szidx = 0; szidx < NB_SIZE_CLASSES; szidx++) {
		int32_t length = list_length(heap, szidx);
		size_t nbytes = (size_t)length * sizeclass_nbytes(szidx);
		if (length > (int32_t)heap_first_bound(szidx) || nbytes > keep) {
			cache_flush_list(heap, szidx);
			length = 0;
			nbytes = 0;
		}
		keep -= nbytes;
		shrink_bound(heap, szidx);
		heap->cache.room[szidx] -= length;
		heap->classes[szidx] = (struct cache_class){0};
	}
	cache_send_all(heap->outbox);
	heap->veteran = 0;
}

void cache_age(struct heap *heap)
{
	for (unsigned szidx = 0; szidx < NB_SIZE_CLASSES; szidx++) {
		struct cache_class *class = &heap->classes[szidx];
		if (!class->used) {
			cache_flush_list(heap, szidx);
			shrink_bound(heap, szidx);
		}
		class->used = 0;
	}
	cache_send_all(heap->outbox);
	heap_release_empty(heap);
}

/* --- refill ------------------------------------------------------------------------------------------------------- */

/* What all bounds may grow by: a part of what the heap has out, so that a small heap is not mostly cache. */
static size_t cache_cap(const struct heap *heap)
{
	size_t cap = CACHE_GROWTH_NBYTES + heap_out_of_own(heap) / CACHE_GROWTH_PART;
	size_t most = (size_t)options.cache_kib << 10;
	return cap < most ? cap : most;
}

/* A longer list would have saved the overflow and this refill: double it, within the caps of class and thread. */
static void grow_bound(struct heap *heap, unsigned szidx)
{
	uint32_t bound = heap->cache.bound[szidx];
	size_t grown = bound * sizeclass_nbytes(szidx);
	heap->classes[szidx].flushed = 0;
	if (2 * grown > CACHE_CLASS_NBYTES || heap->cache_nbytes + grown > cache_cap(heap))
		return;
	heap->cache_nbytes += (uint32_t)grown;
	heap->cache.room[szidx] += (int32_t)bound;
	heap->cache.bound[szidx] = 2 * bound;
}

/* The first blocks of a class, few at a time. */
static unsigned take_shared(struct heap *heap, unsigned szidx, struct block **chain)
{
	struct heap *shared = heap_shared(heap->node);
	unsigned want = YOUNG_FIRST_BLOCKS << heap->classes[szidx].refills;
	unsigned most = (unsigned)(YOUNG_NBYTES / sizeclass_nbytes(szidx)), n = 0;
	if (shared == NULL)
		return 0;
	if (want > most)
		want = most == 0 ? 1 : most;
	*chain = NULL;
	heap_lock(shared);
	for (; n < want; n++) {
		struct block *block = heap_take_block(shared, szidx);
		if (block == NULL && (remote_drain(shared, DRAIN_BLOCKS) > 0 || heap_add_pool(shared, szidx)))
			block = heap_take_block(shared, szidx);
		if (block == NULL)
			break;
		block_set_next(block, *chain);
		*chain = block;
	}
	remote_unlock(shared);
	heap->classes[szidx].refills += n > 0;
	return n;
}

/* A list's worth, be it more than its bound by now: what comes home is about what was allocated meanwhile. */
static unsigned most_from_inbox(const struct heap *heap, unsigned szidx)
{
	unsigned bound = heap->cache.bound[szidx], most = (unsigned)(CACHE_FIRST_NBYTES / sizeclass_nbytes(szidx));
	return most > bound ? most : bound;
}

static unsigned take_own(struct heap *heap, unsigned szidx, struct block **chain)
{
	unsigned most = heap->cache.bound[szidx], n = 0;
	if (atomic_load_explicit(&heap->inbox_nbytes, relaxed) >= OUTBOX_NBYTES)
		n = remote_take(heap, szidx, most_from_inbox(heap, szidx), chain);
	if (n == 0)
		n = heap_take_batch(heap, szidx, most, chain);
	if (n == 0 && remote_is_waiting(heap)) {
		n = remote_take(heap, szidx, most_from_inbox(heap, szidx), chain);
		if (n == 0)
			n = heap_take_batch(heap, szidx, most, chain);
	}
	if (n == 0 && heap_add_pool(heap, szidx))
		n = heap_take_batch(heap, szidx, most, chain);
	return n;
}

_Atomic bool cache_exact;

static unsigned take_one(struct heap *heap, unsigned szidx, struct block **chain)
{
	*chain = heap_take_block(heap, szidx);
	if (*chain == NULL && (remote_drain(heap, DRAIN_BLOCKS) > 0 || heap_add_pool(heap, szidx)))
		*chain = heap_take_block(heap, szidx);
	if (*chain == NULL && heap_add_pool(heap, szidx))
		*chain = heap_take_block(heap, szidx);
	if (*chain == NULL)
		return 0;
	block_set_next(*chain, NULL);
	return 1;
}

bool cache_refill(struct heap *heap, unsigned szidx)
{
	struct cache_class *class = &heap->classes[szidx];
	struct block *chain;
	unsigned n = 0;
	if (class->flushed)
		grow_bound(heap, szidx);
	if (atomic_load_explicit(&cache_exact, relaxed))
		n = take_one(heap, szidx, &chain);
	else if (class->refills < YOUNG_REFILLS && !heap->veteran)
		n = take_shared(heap, szidx, &chain);
	if (n == 0 && !atomic_load_explicit(&cache_exact, relaxed))
		n = take_own(heap, szidx, &chain);
	if (n == 0)
		return false;
	count(&heap->counters.refills);
	class->allocates = class->used = 1;
	class->seen_room = INT16_MIN; /* or less room than before would hide what was allocated */
	/* What was taken counts, but a quarter of the room stays: the next frees shall not overflow at once. */
	uint32_t bound = heap->cache.bound[szidx], least = bound / 4;
	bool crowded = n + least > bound;
	heap->cache.room[szidx] = (int32_t)(crowded ? least : bound - n);
	class->excess = (uint16_t)(crowded ? n + least - bound : 0);
	heap->cache.head[szidx] = chain;
	PROBE3(refill, heap->id, szidx, n);
	return true;
}
