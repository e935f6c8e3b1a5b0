/* SPDX-License-Identifier: MIT */
/*
 * Cache: the thread's own lists of blocks in front of its heap, one per size class, and its outbox. The fast path.
 *
 * Each operation on a list is: announce the list in slot.last, load slot.current, work, and store the list's head
 * when the links are in place.
 * One plain store more than a bare list; it lets claim.c empty the cache of a thread that sleeps.
 *
 * Bounds: a list starts small and doubles only when a refill follows an overflow, since only then a longer list would
 * have saved both; a long list freed in random order would be poison for whoever allocates from it next.
 * Invariants: length = bound - room + excess of each list, as settled; excess is what a refill brought beyond the
 * bound, so that some room is left all the same. Blocks in a list count as out in their pools. A list may hold
 * blocks of other heaps; a flush sorts them out.
 * Locking: lists are the attached thread's alone, without a lock. Refill and flush run under the heap's lock.
 */
#ifndef QUARRY_CACHE_H
#define QUARRY_CACHE_H

#include "heap.h"

/* Tell visitors by the low byte which list this thread works on, then say whose lists it may use. */
static force_inline struct heap *cache_announce(uint32_t list)
{
	compiler_barrier(); /* the operation before is done: its stores do not sink below this announcement */
	atomic_store_explicit(&slot.last, list, memory_order_relaxed);
	compiler_barrier();
	return atomic_load_explicit(&slot.current, memory_order_relaxed);
}

/** Take a block of the class from this thread's cache; NULL: empty, or no cache at the moment, or misuse. */
static force_inline struct block *cache_take(unsigned szidx)
{
	struct cache *cache = &cache_announce(szidx)->cache;
	struct block *block = cache->head[szidx];
	if (unlikely(block == NULL))
		return NULL;
	keep_for_return(block);
	if (unlikely(!block_claim(block)))
		return NULL; /* the slow path finds it again, and reports it */
	struct block *next = block_next(block);
	cache->room[szidx]++;
	cache->head[szidx] = next;
	return block;
}

/* Push onto a list. The link is written before the head, so that a visitor finds a whole list. True: it overflows. */
static force_inline bool cache_push(struct cache *cache, unsigned szidx, struct block *block)
{
	block_set_next(block, cache->head[szidx]);
	compiler_barrier();
	cache->head[szidx] = block;
	return unlikely(count_down(cache, offsetof(struct cache, room), szidx));
}

/** The list of a class names `block`, which is not free: report it, forget the list. Under the heap's lock, settled. */
cold_path void cache_drop_list(struct heap *heap, unsigned szidx, const struct block *block);

/**
 * Look at the newest blocks of every list, CHECKED_BLOCKS at the most of each: is one there twice, or not free? Under
 * the heap's lock, settled.
 */
#define CHECKED_BLOCKS 256
void cache_check(struct heap *heap);

/** The list is full: return the newer half of it. Under the heap's lock, settled. */
void cache_overflow(struct heap *heap, unsigned szidx);

/** Fill the empty list of a class. Under the heap's lock, settled. False: nothing without another arena. */
bool cache_refill(struct heap *heap, unsigned szidx);

/**
 * While set, refills bring just the block that is asked for: what lies in no pool is then with the program, or was
 * freed since (walk.c). Set under claim_lock.
 */
extern _Atomic bool cache_exact;

/** Chains by owner, all empty. */
void cache_outbox_init(struct outbox outbox[OUTBOX_BUCKETS]);

/** Put a block of another heap into an outbox; sends the chain that is in its way. Any heap's lock may be held. */
void cache_post(struct outbox outbox[OUTBOX_BUCKETS], struct block *block, uint32_t word);

/** Send all chains of an outbox. */
void cache_send_all(struct outbox outbox[OUTBOX_BUCKETS]);

/** Put a chain of blocks, cut off a list, where they belong: the heap's pools or the outbox. Under the heap's lock. */
void cache_return_chain(struct heap *heap, struct outbox outbox[OUTBOX_BUCKETS], struct block *chain);

/** Empty the list of a class. Under the heap's lock, settled. */
void cache_flush_list(struct heap *heap, unsigned szidx);

/** Empty all lists and the outbox. Under the heap's lock, settled (or the thread is gone). */
void cache_flush_all(struct heap *heap);

/**
 * Empty the lists that were not refilled or flushed since the last call, back to their first bounds. Under the heap's
 * lock, settled.
 */
void cache_age(struct heap *heap);

/**
 * The thread leaves: back to first bounds and young classes. Short lists, of at most keep bytes together, stay for
 * the next thread; all else goes home. Under the heap's lock, settled.
 */
void cache_leave(struct heap *heap, size_t keep);

/** Bucket of the outbox for an owner. */
static inline unsigned cache_bucket(uint32_t owner_id)
{
	return owner_id % OUTBOX_BUCKETS;
}

#endif
