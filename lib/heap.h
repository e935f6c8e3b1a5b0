/* SPDX-License-Identifier: MIT */
/*
 * Heap: the record of one heap. It serves one thread at a time (attached), none (parked), or, one per node, every
 * thread that has no heap of its own or is young (shared).
 *
 * Owns its pools: those in its rings (usedpools) and the full ones, which are in no list. A pool belongs to the heap
 * whose id stands in the words of its units.
 *
 * Invariants:
 *  1. count of a pool = its blocks with the program + in caches (anyone's) + in outboxes and inboxes. While it is not
 *     0 the pool is never given back, so whoever holds a block may read its word, pool header and arena.
 *  2. Truth: under the lock of heap X, "the word says X" holds exactly if X owns the pool: only that lock lets it go.
 *     Hint: without the lock the owner id may be old. The block then reaches the old owner, whose drain compares again
 *     and forwards it. Each forward follows a move, so no block circles and none is lost.
 *  3. Records and ids are never freed nor given another meaning: a late push always finds its inbox.
 * Locking: `lock` (rank HEAP; SHARED for shared heaps) for all but the cache lists and outbox of an attached heap,
 * which only its thread touches, or a visitor after diverting it (claim.h). The inbox is pushed to by anyone
 * (remote.h).
 */
#ifndef QUARRY_HEAP_H
#define QUARRY_HEAP_H

#include "address_map.h"
#include "lock.h"
#include "pool.h"
#include "quarantine.h"
#include "slot.h"

/*
 * The thread's cache: a bounded list of blocks per size class. room = bound - length; it is -1 for the moment between a
 * push and the flush that follows. Arrays apart, so that an index is scaled by the processor.
 */
struct cache {
	struct block *head[NB_SIZE_CLASSES];
	int32_t room[NB_SIZE_CLASSES];
	uint32_t bound[NB_SIZE_CLASSES];
};

/* Blocks of one owner on their way home; NULL-terminated. owner and tail mean nothing while head is NULL. */
struct outbox {
	struct block *head;
	struct block *tail;
	int32_t room; /* bytes */
	uint32_t owner;
};

/* Lists that a slot may announce: the cache's classes, then the outbox's buckets. */
#define CACHE_LISTS (NB_SIZE_CLASSES + OUTBOX_BUCKETS)
_Static_assert(CACHE_LISTS <= 0xfc, "a list is named by the low byte of a word, and that of a span's names none");

enum poke { POKED_NOT, POKED_TO_AGE, POKED_TO_EMPTY };
enum heap_kind { HEAP_ATTACHED, HEAP_PARKED, HEAP_SHARED };

/* What is kept per class beside the list. The attached thread's alone, without the lock too, unless it is diverted. */
struct cache_class {
	uint8_t refills : 4;   /* from the shared heap while the class is young; then YOUNG_REFILLS */
	uint8_t flushed : 1;   /* overflowed since the last refill: the next refill doubles the bound */
	uint8_t allocates : 1; /* refilled since the last overflow: foreign blocks may be worth keeping */
	uint8_t used : 1;      /* refilled or flushed since it was last aged */
	uint8_t kept;          /* foreign blocks put into the list while the class is young: see entry_free.c */
	uint8_t exchanged;     /* a bit for each of the last eight that could be kept: had room grown before it? */
	uint16_t excess;       /* blocks of the last refill beyond the bound: length = bound - room + excess */
	int16_t seen_room;     /* after the last foreign one was freed; its least value where a refill came since */
};

/* Room is at most a list's bound and a refill's excess. */
_Static_assert(CACHE_CLASS_NBYTES / ALIGNMENT * 5 / 4 <= INT16_MAX, "seen_room holds any room");
_Static_assert(YOUNG_REFILLS < 16 && YOUNG_FREES <= UINT8_MAX, "counts that fit");

/* Number of events and bytes since the record was made; written under the lock, read anywhere, relaxed. */
struct heap_counters {
	_Atomic uint64_t refills, flushes, visits, remote_frees;
	_Atomic int64_t out_nbytes; /* bytes of blocks that left pools, less those that came back; sums over heaps */
	_Atomic int64_t moved_nbytes; /* of these, what pools had out as they came to this heap, less as they went */
};

struct heap {
	struct cache cache;
	uint32_t word_base; /* id << WORD_OWNER_SHIFT: what a free compares with */
	uint32_t id;
	struct outbox outbox[OUTBOX_BUCKETS];

	/* under the lock */
	_Alignas(CACHE_LINE) struct pool_link usedpools[NB_SIZE_CLASSES];
	struct cache_class classes[NB_SIZE_CLASSES];
	uint32_t cache_nbytes;     /* sum of the bounds, bytes: capped by options.cache_kib */
	uint8_t diverted;          /* the thread's next operation takes the slow path and settles */
	uint8_t poked;             /* what it then does to its cache: enum poke */
	uint8_t taken;             /* a visitor took its lists since it was diverted */
	uint8_t locked;            /* its lists are touched under the lock only: see claim.h */
	_Atomic uint8_t visited;   /* emptied since the visit under way began; set under the lock */
	uint8_t veteran;           /* classes start with pools of their own */
	_Atomic uint8_t kind;      /* written under the lock; remote.c also reads it without */
	uint32_t seen_list;        /* the list in doubt, its head and that one's successor, at the visit: claim.h */
	struct block *seen_head;
	struct block *seen_next;
	uint64_t fingerprint;      /* of the lists, at the purger's last look */
	uint32_t idle_ticks;
	struct heap_counters counters;
	struct quarantine quarantine[QUARRY_HARDENED];
	struct heap *nextparked;   /* under the registry lock */
	struct heap *_Atomic nextrecord; /* in order of making; written under the registry lock, read anywhere */
	unsigned node;             /* constant */
	uint32_t tid;              /* the kernel's number of the attached thread; without the lock a hint */

	/* written by other threads */
	_Alignas(FALSE_SHARING_RANGE) struct lock lock;
	struct slot *slot;         /* of the attached thread, under the lock */
	uint64_t refills_seen;     /* when the inbox was emptied in the thread's place last; under the lock */
	struct heap *forwarded;    /* the last one that a drain forwarded a block to; under the lock */
	struct block *pending;     /* taken from the inbox, not yet sorted; under the lock */
	struct block *_Atomic inbox;
	_Atomic uint64_t inbox_nbytes; /* in inbox and pending */
};

/* Serves threads that have none: every list empty, no word matches. Constant. */
extern struct heap heap_empty;

/* Records in a chunk of the directory that finds them by id. */
#define HEAPS_PER_CHUNK 128

/** The record with an id that was read from a word. */
struct heap *heap_by_id(uint32_t id);

/* By id; apart from the records, whose lines their threads write. Constant once the id is in use. */
extern uint8_t heap_nodes[WORD_OWNERS];

/** The node of the heap with an id that was read from a word. */
static inline unsigned heap_node_by_id(uint32_t id)
{
	return heap_nodes[id];
}

/** First and next record, those of regions among them; no lock: records are only added. */
struct heap *heap_first(void);
struct heap *heap_next(const struct heap *heap);

/** Number of records without those of regions: their ids are 1 to this. */
unsigned heap_count(void);

/** The bound that a class's list starts with, blocks. */
uint32_t heap_first_bound(unsigned szidx);

/** A heap of the node for a thread: a parked one if there is, else new. NULL with ENOMEM. No lock held. */
struct heap *heap_obtain(unsigned node);

/** The node's shared heap; NULL with ENOMEM if its record cannot be made. No lock held. */
struct heap *heap_shared(unsigned node);

/**
 * A record of nbytes that begins with a struct heap, for a region on the node: a parked one, or new and zeroed. NULL
 * with ENOMEM. No lock held. heap_park_region puts it back.
 */
struct heap *heap_obtain_region(size_t nbytes, unsigned node);
void heap_park_region(struct heap *heap);

static inline enum lock_rank heap_rank(const struct heap *heap)
{
	return heap->kind == HEAP_SHARED ? LOCK_SHARED : LOCK_HEAP;
}

static inline void heap_lock(struct heap *heap)
{
	lock_take(&heap->lock, heap_rank(heap));
}

static inline bool heap_try_lock(struct heap *heap)
{
	return lock_try(&heap->lock, heap_rank(heap));
}

static inline void heap_unlock(struct heap *heap)
{
	lock_drop(&heap->lock, heap_rank(heap));
}

/* --- under the lock ------------------------------------------------------------------------------------------- */

/** Take a chain of blocks of the class (pool_take_batch) from the heap's own pools; 0: none has one. */
unsigned heap_take_batch(struct heap *heap, unsigned szidx, unsigned most, struct block **chain);

/** Take one block from the heap's own pools. NULL: none has one. */
struct block *heap_take_block(struct heap *heap, unsigned szidx);

/**
 * Give the heap a pool of the class that is not full, of the shared heap's or from an arena. False: only mmap helps.
 */
bool heap_add_pool(struct heap *heap, unsigned szidx);

/** As heap_add_pool, from an arena only. */
bool heap_add_new_pool(struct heap *heap, unsigned szidx);

/** Give a pool that is in a ring back, whatever it has out. */
void heap_release_pool(struct pool_header *pool);

static inline void heap_count_out(struct heap *heap, int64_t nbytes)
{
	int64_t sum = atomic_load_explicit(&heap->counters.out_nbytes, memory_order_relaxed) + nbytes;
	atomic_store_explicit(&heap->counters.out_nbytes, sum, memory_order_relaxed);
}

/** Bytes that the heap's own pools have out, for bounds; any thread. */
static inline size_t heap_out_of_own(const struct heap *heap)
{
	int64_t out = atomic_load_explicit(&heap->counters.out_nbytes, memory_order_relaxed) +
		      atomic_load_explicit(&heap->counters.moved_nbytes, memory_order_relaxed);
	return out > 0 ? (size_t)out : 0;
}

/** Report a misuse of the block, whose word is given, with all that is known of it: report.h. Any lock may be held. */
cold_path void heap_report_misuse(const char *what, const void *ptr, uint32_t word);

/** Is what a list names, and whose word was read, a free block? So no link that was written over is followed. */
static force_inline bool heap_is_free_block(const struct block *block, uint32_t word)
{
	return !QUARRY_MARKS || (word_is_pool(word) && (uintptr_t)block % ALIGNMENT == 0 && block_is_free(block));
}

/* The rest of heap_put_block and heap_put_run: the pool's place in its ring, or a misuse. */
cold_path void heap_pool_changed(struct heap *heap, struct pool_header *pool, struct block *block,
                                 enum pool_change change);

static force_inline char *heap_unit_of(const struct block *block)
{
	return (char *)((uintptr_t)block & ~(uintptr_t)(POOL_SIZE - 1));
}

/** Put a block into its pool, which this heap owns (its word says so). Reports a misuse that it finds. */
static force_inline void heap_put_block(struct heap *heap, struct block *block, uint32_t word)
{
	char *start = heap_unit_of(block) - word_phase(word) * POOL_SIZE;
	struct pool_header *pool = pool_header_at(start);
	enum pool_change change = pool_push_at(pool, start, block);
	heap_count_out(heap, -(int64_t)sizeclass_nbytes(word_szidx(word)));
	if (unlikely(change != POOL_STAYS))
		heap_pool_changed(heap, pool, block, change);
}

/**
 * As heap_put_block, the first block of a list and those after it that lie in the same unit, `most` at the most. *list
 * becomes the rest. Returns how many, at least 1.
 */
static force_inline unsigned heap_put_run(struct heap *heap, struct block **list, uint32_t word, unsigned most)
{
	struct block *block = *list, *next;
	char *unit = heap_unit_of(block), *start = unit - word_phase(word) * POOL_SIZE;
	struct pool_header *pool = pool_header_at(start);
	enum pool_change change;
	unsigned n = 0;
	for (;; block = next) {
		next = block_next(block);
		change = pool_push_at(pool, start, block);
		n++;
		if (unlikely(change != POOL_STAYS) || n == most || next == NULL || heap_unit_of(next) != unit ||
		    unlikely(!heap_is_free_block(next, word)))
			break;
	}
	*list = next;
	heap_count_out(heap, -(int64_t)(n * sizeclass_nbytes(word_szidx(word))));
	if (unlikely(change != POOL_STAYS))
		heap_pool_changed(heap, pool, block, change);
	return n;
}

/** Fetch what heap_put_block will touch of the block's pool, if that has one unit. */
static inline void heap_prefetch(const struct block *block)
{
	__builtin_prefetch(pool_header_at(block), 1);
}

/** Give the empty pools that the heap keeps back to their arenas. */
void heap_release_empty(struct heap *heap);

/** Hand all pools in the heap's rings to the shared heap (the caller holds the heap's lock; takes the shared one's). */
void heap_give_rings(struct heap *heap);

/** Put the heap on its node's parked list. Registry lock inside; no heap lock held. */
void heap_park(struct heap *heap);

/** Number of parked heaps, as it was a moment ago. */
unsigned heap_parked_count(void);

/** In a fork child: nothing is parked, until heap_park says so again. */
void heap_forget_parked(void);

/** Take and drop the registry lock: what was stored before is seen by whoever obtains a heap afterwards. */
void heap_pass_registry(void);

void heap_lock_for_fork(void);
void heap_unlock_after_fork(bool in_child);

#endif
