/* SPDX-License-Identifier: MIT */
/*
 * Remote: blocks that come home from other threads. Owns the inbox of every heap: a list to which anyone pushes chains
 * and from which the holder of the heap's lock takes everything at once.
 *
 *                  push            drain
 *     push         none needed     none needed: a push is right whatever hangs behind the head it saw
 *     drain                        heap's lock
 *
 * Orders: a push releases the links of its chain and the freeing thread's last writes; taking everything acquires them.
 * Nobody pops a single block, so there is no ABA, and pushes onto pushes form one release sequence.
 * Invariants: inbox_nbytes counts inbox and pending; a chain enters with one addition and leaves as it is sorted. A
 * block whose pool has moved is forwarded to its owner of now (heap.h, 2). What waits is bounded for pushes; a chain
 * that was forwarded, or pushed to a shared heap while that was locked, may wait for the next push, user or visit of
 * that heap.
 */
#ifndef QUARRY_REMOTE_H
#define QUARRY_REMOTE_H

#include "heap.h"

/**
 * Send a chain, head to tail, of nbytes in all, to the heap whose id its words gave. Empties that inbox into its pools
 * where it has grown over remote_bound or has no thread, unless another thread holds its lock. A heap whose thread
 * refilled nothing since the last time gives its pools that have room to the shared heap: what one thread built and
 * others replace would else take twice its memory before the first pool is empty.
 */
void remote_push(uint32_t owner_id, struct block *head, struct block *tail, size_t nbytes);

/**
 * Let go of the heap's lock, and look again: a push that found the lock held left its chain to the holder. What is
 * stored there is sequentially consistent on both sides (inbox, then try; let go, then inbox_nbytes).
 */
void remote_unlock(struct heap *heap);

/**
 * Bytes that may wait in the inbox: the more the heap has out, the more, since whoever allocates takes it from there at
 * less cost than from pools.
 */
size_t remote_bound(const struct heap *owner);

/** Has the heap anything to sort? */
static inline bool remote_is_waiting(const struct heap *heap)
{
	return heap->pending != NULL || atomic_load_explicit(&heap->inbox, memory_order_relaxed) != NULL;
}

/** Sort up to `most` blocks of the heap's inbox into its pools. Under its lock. Returns how many. */
unsigned remote_drain(struct heap *heap, unsigned most);

/**
 * Sort some of the inbox for the heap's own thread, whose list of the class is empty: blocks of the class, `want` at
 * the most, become a chain, and others go onto the thread's lists while these have room, all without a look at their
 * pools. The rest goes as by remote_drain. Under the heap's lock, settled (claim.h). Returns how many are in the chain.
 */
unsigned remote_take(struct heap *heap, unsigned szidx, unsigned want, struct block **chain);

#endif
