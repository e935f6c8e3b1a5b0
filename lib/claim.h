/* SPDX-License-Identifier: MIT */
/*
 * Claim: emptying the cache of another thread without its help, be it asleep or running.
 *
 * Owns `diverted`, `poked`, `taken`, `locked` and `seen_*` of a heap. The protocol, by its steps:
 *
 *  Divert   under the heap's lock the visitor stores heap_empty in the slot's `current`. Barrier 1 (membarrier).
 *           From here every new operation of the thread finds empty lists, takes the slow path and waits for the lock.
 *           One operation may still be in flight. It loaded the old `current` before barrier 1, hence it announced its
 *           list before that too: the list is the low byte of slot.last, and every other list is at rest.
 *  Note     the visitor reads `last` and the head H of that list. Barrier 2; it reads H's link. Barrier 3; it reads the
 *           head again. If that still is H, the link was read while H was on the list, with all that the thread had
 *           stored before; else an operation came to its end, and the visitor leaves this heap alone for now.
 *  Take     all lists whole, but of the noted one only what hangs below H: the operation in flight can only pop H, or
 *           push one block B above it. H stays with the list: in doubt. It counts as out.
 *           Where all caches are meant, a thread that came by before this empties its cache itself as it settles.
 *  Settle   the thread itself, under the lock, on its next way through a slow path, knows that nothing is in flight:
 *           the head says whether H is still there, was popped (the head is H's link) or has B above it.
 *
 * What the list in doubt holds at a later moment is B, H or both, or nothing: see claim_doubtful.
 *
 * The hardened library's quarantine (quarantine.h) is in doubt in two places: that whose block leaves next, and the
 * end. They are noted with the head and left alone; what is taken leaves gaps, which settling closes. There the link of
 * H says whether it is one; else the note does not hold.
 *
 * Where membarrier is refused (old kernel, filter), the caches of all threads live under the lock: `current` stays
 * heap_empty, each operation takes the slow path, and a visitor simply takes the lists. If the kernel withdraws it
 * later, threads go over to that mode as they pass a slow path; until then their lists are left alone. (`locked` of
 * a heap: its thread has gone over.) ThreadSanitizer does not know membarrier: its builds run in that mode, and the
 * model in tests/model checks the other.
 *
 * Locking: VISIT for the visitor, then the lock of each heap in turn.
 */
#ifndef QUARRY_CLAIM_H
#define QUARRY_CLAIM_H

#include "heap.h"

/** Do caches live under their heap's lock, for want of a barrier? */
bool claim_is_locked_mode(void);

/** Resolve what a visitor left in doubt and serve the thread from its cache again. Own thread, under the lock. */
void claim_settle(struct heap *heap);

/** Whose caches a visit empties. */
enum claim_scope {
	CLAIM_IDLE, /* those that have not changed over several visits */
	CLAIM_POKE, /* the same, and the other threads are poked: they age their own on their next operation */
	CLAIM_ALL   /* everybody's */
};

/**
 * Empty caches and outboxes, the caller's own too if all are meant, and every inbox; give empty pools back.
 * Returns false if some cache could not be looked into, since the kernel withdrew membarrier.
 * No lock held; not inside a read section.
 */
bool claim_visit(enum claim_scope scope);

/** Under the heap's lock: does no thread touch its cache meanwhile? */
bool claim_is_at_rest(const struct heap *heap);

/** Under the heap's lock: the blocks, two at most, that its list in doubt still holds. Returns their number. */
unsigned claim_doubtful(struct heap *heap, struct block *blocks[2]);

/** Sort every inbox, and what that forwards. No lock held. */
void claim_empty_inboxes(void);

/**
 * Until claim_release, the caches of all threads live under their locks and hold nothing but what is freed meanwhile:
 * empties them as claim_visit does. False (and nothing is held) if some cache could not be looked into. May nest.
 */
bool claim_hold(void);
void claim_release(void);

/**
 * Keeps visitors and forks out. Whoever unmaps an arena holds this, since blocks in doubt may lie in it; so does
 * whoever has units in hand that a fork child would miss.
 */
void claim_lock(void);
void claim_unlock(void);

/** Before a fork, with every heap's lock held: divert all threads and note what may be in doubt. */
void claim_prepare_fork(void);

/** In the child: the other threads are gone; their heaps become parked, lists and all. `own` stays attached. */
void claim_orphans(struct heap *own);

void claim_unlock_after_fork(bool in_child);

#endif
