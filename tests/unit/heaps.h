/* SPDX-License-Identifier: MIT */
/*
 * What the suites of heaps and threads share: lots of blocks, and where blocks lie.
 */
#ifndef QUARRY_UNIT_HEAPS_H
#define QUARRY_UNIT_HEAPS_H

#include "unit.h"

#include "cache.h"
#include "claim.h"
#include "counting.h"
#include "large.h"
#include "options.h"
#include "quarry/quarry.h"
#include "remote.h"
#include "span.h"
#include "thread.h"

/* A class of every configuration, the bytes of its blocks and the request that fills one; and one that comes as a
 * span. */
#define SMALL_BLOCK ((size_t)64)
#define SMALL (SMALL_BLOCK - HARDEN_SEAL_NBYTES)
#define SMALL_SZIDX sizeclass_of(SMALL_BLOCK)
#define SPAN (sizeclass_limit + 1000)

/* The largest request that a block of the class serves. */
static inline size_t request_of(unsigned szidx)
{
	return sizeclass_nbytes(szidx) - HARDEN_SEAL_NBYTES;
}

/* What statistics count for the block of a request. */
static inline size_t counted_nbytes(size_t nbytes)
{
	if (nbytes <= sizeclass_limit - HARDEN_SEAL_NBYTES)
		return sizeclass_nbytes(sizeclass_of(nbytes + HARDEN_SEAL_NBYTES));
	return nbytes <= LARGE_REQUEST_THRESHOLD ? span_good_size(nbytes) : large_good_size(nbytes);
}

/* Hardened, for suites that are about where a freed block goes next: none waits. Before the first heap is taken. */
static inline void without_quarantine(void)
{
	options.quarantine_kib = 0;
}

/* --- lots: blocks that come and go together, stamped meanwhile ---------------------------------------------------- */

#define LOT_MOST 20000

struct lot {
	size_t nbytes, n;
	void *block[LOT_MOST];
};

static inline void lot_allocate(void *arg)
{
	struct lot *lot = arg;
	for (size_t i = 0; i < lot->n; i++) {
		lot->block[i] = quarry_malloc(lot->nbytes);
		expect(lot->block[i] != NULL);
		stamp(lot->block[i], lot->nbytes, (uintptr_t)lot->block[i]);
	}
}

static inline void lot_free(void *arg)
{
	struct lot *lot = arg;
	for (size_t i = 0; i < lot->n; i++) {
		expect(stamp_holds(lot->block[i], lot->nbytes, (uintptr_t)lot->block[i]));
		quarry_free(lot->block[i]);
	}
}

static inline void lot_pass(void *arg)
{
	lot_allocate(arg);
	lot_free(arg);
}

/* What malloc does, in builds that look closer, with a block that is popped by hand. */
static inline void hand_out(struct block *block)
{
	uint32_t word = address_map_word(block);
	if (QUARRY_BLOCK_BITS)
		pool_hold(block);
	if (QUARRY_COUNTING)
		counting_small(block, request_of(word_szidx(word)));
	if (QUARRY_HARDENED)
		harden_seal(block, sizeclass_nbytes(word_szidx(word)), request_of(word_szidx(word)));
}

/* And free with one that is put on a list by hand. */
static inline void take_back(struct block *block)
{
	if (QUARRY_BLOCK_BITS)
		expect(pool_let_go(block));
	if (QUARRY_COUNTING)
		counting_small(block, 0);
	if (QUARRY_HARDENED)
		harden_wipe(block, sizeclass_nbytes(word_szidx(address_map_word(block))));
}

/* What every slow path begins and ends with: what was in doubt is settled. */
static inline void pass_slow_path(void *unused)
{
	(void)unused;
	struct heap *heap = slot.heap;
	heap_lock(heap);
	claim_settle(heap);
	remote_unlock(heap);
}

static inline void say_heap(void *arg)
{
	*(struct heap **)arg = thread_heap();
}

static inline struct heap *heap_of_actor(struct actor *actor)
{
	struct heap *heap;
	actor_do(actor, say_heap, &heap);
	return heap;
}

/* --- where things are --------------------------------------------------------------------------------------------- */

static inline struct heap *owner_of(const void *block)
{
	return heap_by_id(word_owner(address_map_word(block)));
}

static inline struct pool_header *pool_of(const void *block)
{
	return pool_header_at((const char *)block - word_phase(address_map_word(block)) * POOL_SIZE);
}

static inline unsigned chain_length(const struct block *block)
{
	unsigned n = 0;
	for (; block != NULL; block = block_next(block))
		n++;
	return n;
}

static inline unsigned list_length(const struct heap *heap, unsigned szidx)
{
	return chain_length(heap->cache.head[szidx]);
}

/* Of all lists, the outbox too. */
static inline unsigned cached_blocks(const struct heap *heap)
{
	unsigned n = 0;
	for (unsigned szidx = 0; szidx < NB_SIZE_CLASSES; szidx++)
		n += list_length(heap, szidx);
	for (unsigned bucket = 0; bucket < OUTBOX_BUCKETS; bucket++)
		n += chain_length(heap->outbox[bucket].head);
	return n;
}

static inline unsigned ring_length(struct heap *heap, unsigned szidx)
{
	unsigned n = 0;
	struct pool_link *ring = &heap->usedpools[szidx];
	for (struct pool_link *link = ring->nextpool; link != ring; link = link->nextpool)
		n++;
	return n;
}

static inline bool block_is_out(const void *block)
{
	size_t offset = (size_t)((const char *)block - pool_start(pool_of(block)));
	return !pool_has_block(pool_of(block), sizeclass_block_index(word_szidx(address_map_word(block)), offset));
}

/* length = bound - room + excess, of every list of a heap that is at rest. */
static inline bool lists_add_up(const struct heap *heap)
{
	for (unsigned szidx = 0; szidx < NB_SIZE_CLASSES; szidx++)
		if ((int64_t)list_length(heap, szidx) != (int64_t)heap->cache.bound[szidx] - heap->cache.room[szidx] +
								heap->classes[szidx].excess)
			return false;
	return true;
}

/* Bytes out of all pools: with the program, in caches, on the way home. */
static inline int64_t out_nbytes(void)
{
	int64_t sum = 0;
	for (struct heap *heap = heap_first(); heap != NULL; heap = heap_next(heap))
		sum += heap->counters.out_nbytes;
	return sum;
}

#endif
