/* SPDX-License-Identifier: MIT */
/*
 * Magazine: the free objects of a typed cache that a thread has at hand, and the record of each thread that has any.
 *
 * Owns, per thread that uses typed caches, a record with a place per cache: its magazine, the one for objects of other
 * nodes, and `open`, by which the fast path (object.c) reaches the first. A fast operation is
 *
 *     busy = 1; look at open[cache]; take or put an object, storing n last; busy = 0 (release)
 *
 * and needs no lock: `open` is NULL while anybody else may touch the magazine. Whoever wants that (a visitor) stores
 * NULL under the thread's lock, issues membarrier, and looks at busy: if it is 0 the thread is in no operation that saw
 * the magazine, and none will begin before it has been through the slow path, which takes the lock. If it is 1 the
 * visitor leaves the thread alone, which empties the magazine itself when it is next on the slow path. Where there is
 * no membarrier, under ThreadSanitizer, and while the heap profile is on, nothing is open and all is done under the
 * lock.
 *
 * Invariants: round[1] to round[n] are free objects that count as out of their depots; round[0] is NULL. A store of n
 * commits an operation, so what a fork finds in a magazine is whole at any moment: see fork below.
 * Fork: prepare takes all locks here; only fast operations are under way then, and each magazine holds exactly the
 * objects that n says. The child empties those of the threads that it does not have.
 * Locking: fields say it. Order: caches_lock, a thread's lock, a depot's. No callback and no malloc under any of them.
 */
#ifndef QUARRY_MAGAZINE_H
#define QUARRY_MAGAZINE_H

#include "object_cache.h"

/* Constant but for n, depot, batch and the rounds: those are the thread's while open, else under its lock. */
struct magazine {
	_Atomic uint32_t n;    /* objects; others read it relaxed, for statistics */
	uint32_t capacity;
	uint32_t batch;        /* objects that the next refill brings; doubles from refill to refill */
	struct depot *depot;   /* where the objects are from; of those from other nodes: unused */
	struct magazine *next; /* of a chain to be freed */
	void *round[];
};

/* Under the thread's lock. */
struct magazine_place {
	struct magazine *own, *away; /* NULL until needed; made by the thread itself */
	const void *seen_top;        /* what the purger found at its last look */
	uint32_t seen_n;
	uint8_t idle_looks;          /* so often in a row it found the same */
	bool diverted;               /* a visitor wants it emptied: by itself or, if it comes first, by the thread */
};

struct magazine_thread {
	_Atomic uint32_t busy;                             /* the thread's; read by visitors */
	struct magazine *_Atomic open[OBJECT_CACHES_MOST]; /* written under the lock; read by the thread */
	_Alignas(FALSE_SHARING_RANGE) struct lock lock;
	struct magazine_thread *next, **link;              /* of all threads' records: under caches_lock */
	struct magazine_place places[OBJECT_CACHES_MOST];
};

/* This thread's record, or the one of nobody, in which nothing is ever open. */
extern thread_local_ie struct magazine_thread *magazine_thread;
extern struct magazine_thread magazine_nobody;

static force_inline struct magazine *magazine_enter(struct magazine_thread *thread, uint32_t index)
{
	atomic_store_explicit(&thread->busy, 1, memory_order_relaxed);
	compiler_barrier();
	return atomic_load_explicit(&thread->open[index], memory_order_relaxed);
}

static force_inline void magazine_leave(struct magazine_thread *thread)
{
	atomic_store_explicit(&thread->busy, 0, memory_order_release);
}

/** Make the hooks at a thread's end and around forks, once. */
void magazine_init(void);

/** Take an object by way of this thread's magazine; NULL: the depot (of this thread's node) has none, or the limit. */
void *magazine_take(struct quarry_cache *cache, struct depot *depot);

/** Put an object into this thread's magazine, or back into its slab. */
void magazine_put(struct quarry_cache *cache, struct depot *depot, void *object);

enum magazine_scope { MAGAZINES_IDLE, MAGAZINES_ALL };

/**
 * Empty the magazines of a cache, or of all caches (NULL): of all threads, or of those that did not use them since some
 * calls ago. What is in use right now is left, or emptied by its thread on its next slow path. No lock held.
 */
void magazine_visit(struct quarry_cache *cache, enum magazine_scope scope);

/** Empty all magazines of all caches, and give all empty slabs back. May call destructors. No lock held. */
void magazine_trim(void);

/** Take the magazines of a cache that nobody uses away from all threads, and empty and free them. No lock held. */
void magazine_withdraw(struct quarry_cache *cache);

/** Objects of the cache in magazines, as it was a moment ago. */
uint64_t magazine_count(const struct quarry_cache *cache);

#endif
