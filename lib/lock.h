/* SPDX-License-Identifier: MIT */
/*
 * Lock: a mutex on a futex, one word: 0 free, 1 held, 2 held and awaited.
 *
 * Invariants: zeroed memory is a free lock. No allocation, no owner, not recursive. Acquire on taking, release on
 * letting go; trying and letting go are sequentially consistent, so that of "let go, then look" and "publish, then try"
 * one succeeds (remote.h). Ranks, outermost first; a thread takes locks in this order only, and two of rank HEAP
 * only by trying:
 *
 *     CACHES    typed caches, threads that use them        REGISTRY  heap records, parked heaps
 *     MAGAZINE  a thread's magazines                       HEAP      one heap
 *     DEPOT     a typed cache's slabs on a node            SHARED    a node's shared heap
 *     VISIT     who looks into other threads' caches       NODE      a node's usable arenas
 *                                                          LIST      all arenas, unused objects
 *                                                          META      records, address map, large blocks
 *
 * No lock is held across a system call other than the futex itself (hardened, HEAP and SHARED also across the mprotect
 * that opens or closes a pool), nor across a call that may allocate; but VISIT and CACHES are held across membarrier,
 * VISIT across the purger's madvise and munmap too (no malloc or free waits for them, short of running out of memory),
 * and META while the window of the address map is fixed, once.
 */
#ifndef QUARRY_LOCK_H
#define QUARRY_LOCK_H

#include "compiler.h"

enum lock_rank {
	LOCK_CACHES,
	LOCK_MAGAZINE,
	LOCK_DEPOT,
	LOCK_VISIT,
	LOCK_REGISTRY,
	LOCK_HEAP,
	LOCK_SHARED,
	LOCK_NODE,
	LOCK_LIST,
	LOCK_META,
	LOCK_RANKS
};

struct lock {
	_Atomic uint32_t word;
};

/* Debug builds count the locks held by rank, per thread, and abort on disorder. */
void lock_check_take(enum lock_rank rank, bool trying);
void lock_check_drop(enum lock_rank rank);

/** In a fork child, before its locks are reset: this thread holds none. */
void lock_forget_held(void);

cold_path void lock_take_contended(struct lock *lock);
cold_path void lock_wake(struct lock *lock);

static inline bool lock_try(struct lock *lock, enum lock_rank rank)
{
	uint32_t expected = 0;
	if (!atomic_compare_exchange_strong(&lock->word, &expected, 1))
		return false;
	if (QUARRY_DEBUG)
		lock_check_take(rank, true);
	return true;
}

static inline void lock_take(struct lock *lock, enum lock_rank rank)
{
	if (QUARRY_DEBUG)
		lock_check_take(rank, false);
	uint32_t expected = 0;
	if (unlikely(!atomic_compare_exchange_strong_explicit(&lock->word, &expected, 1, memory_order_acquire,
	                                                      memory_order_relaxed)))
		lock_take_contended(lock);
}

static inline void lock_drop(struct lock *lock, enum lock_rank rank)
{
	if (QUARRY_DEBUG)
		lock_check_drop(rank);
	if (unlikely(atomic_exchange(&lock->word, 0) == 2))
		lock_wake(lock);
}

/** In a fork child, whose other threads are gone: free, whatever it was. */
static inline void lock_reset(struct lock *lock)
{
	atomic_store_explicit(&lock->word, 0, memory_order_relaxed);
}

/** Of a lock that was taken before a fork, in the parent or in the child. */
static inline void lock_after_fork(struct lock *lock, enum lock_rank rank, bool in_child)
{
	if (in_child)
		lock_reset(lock);
	else
		lock_drop(lock, rank);
}

#endif
