/* SPDX-License-Identifier: MIT */
/*
 * Pool: a run of units cut into blocks of one size class. obmalloc's pool, with its header in the arena's head.
 *
 * States, as in obmalloc; a pool is in exactly one of them:
 *     used    0 < count < capacity           in the ring usedpools[szidx] of its heap
 *     full    count == capacity              in no list; freeblock is NULL; link means nothing
 *     empty   count == 0                     in the ring while its heap keeps it, else given back to the arena
 *
 * Invariants: count is the number of blocks that are not in the pool: with the program, in a thread's cache or on their
 * way home. freeblock heads a list, threaded through the blocks, of those that came back; virgin blocks begin
 * nextoffset bytes behind the pool's start and have never been touched; nextoffset > maxnextoffset when there are
 * none left. The pool's free bits are set exactly for the blocks in the freeblock list. So capacity = count + length
 * of freeblock list + virgin blocks.
 * Locking: none of its own. A pool is touched under the lock of the heap that owns it.
 */
#ifndef QUARRY_POOL_H
#define QUARRY_POOL_H

#include "arena.h"
#include "harden.h"
#include "sizeclass.h"

/* First member of the header, and all of a list head: a ring needs no special case (usedpools is an array of these). */
struct pool_link {
	struct pool_link *nextpool;
	struct pool_link *prevpool;
};

/*
 * A block that is free: in a pool, a cache or on its way home. In the default library its first word is its own address
 * (`mark`) until the block is handed out, which takes it away: so no block is handed out twice, whatever lists it is
 * on, and none that a write after free has changed.
 */
struct block {
#if QUARRY_HARDENED
	struct harden_link next;
#else
	uintptr_t mark[QUARRY_MARKS];
	struct block *next;
#endif
};

/** The link of a free block to the next one of its list. */
static force_inline struct block *block_next(const struct block *block)
{
#if QUARRY_HARDENED
	return harden_link(&block->next);
#else
	return block->next;
#endif
}

/* Link and mark in one store: a freed block is seldom in the cache, and stores that wait for it are few. */
static force_inline void block_set_next(struct block *block, struct block *next)
{
#if QUARRY_HARDENED
	harden_set_link(&block->next, next);
#elif QUARRY_MARKS
	typedef uintptr_t both __attribute__((vector_size(2 * sizeof(uintptr_t)), may_alias));
	*(both *)block = (both){(uintptr_t)block, (uintptr_t)next};
#else
	block->next = next;
#endif
}

/** May the block be handed out? Always, where there are no marks. */
static force_inline bool block_is_free(const struct block *block)
{
#if QUARRY_MARKS
	return block->mark[0] == (uintptr_t)block;
#else
	(void)block;
	return true;
#endif
}

/** Take the mark off a block that is handed out. False: it has none, and is as it was. */
static force_inline bool block_claim(struct block *block)
{
#if QUARRY_MARKS
	block->mark[0] -= (uintptr_t)block; /* subtracts and compares in one instruction */
	if (likely(block->mark[0] == 0))
		return true;
	compiler_barrier(); /* or the old value would be kept in a register, for this path alone */
	block->mark[0] += (uintptr_t)block;
	return false;
#else
	(void)block;
	return true;
#endif
}

/* The fields and the first free bits share a cache line: what a block that comes home touches, for most classes. */
struct pool_header {
	struct pool_link link;
	union {
		struct block *freeblock;
		struct span_owner *owner; /* spans */
	};
	union {
		uint32_t nextoffset; /* bytes from the pool's start to the first virgin block */
		uint32_t sample;     /* spans: number of the record in the profile, or 0; its holder's */
	};
	union {
		uint32_t maxnextoffset;  /* its largest value that still names a block */
		_Atomic uint32_t nbytes; /* spans: usable bytes; a walk reads it, then the word again */
	};
	uint16_t count;
	uint16_t capacity;
	uint8_t szidx;
	uint8_t units;
	uint8_t zeroed; /* virgin blocks read as zero */
	_Atomic uint64_t free_bits[POOL_MAX_BLOCKS / 64];
	uint32_t requested[QUARRY_HARDENED]; /* spans: of their usable bytes, the program's */
	/* debug and hardened, of each unit: which multiples of ALIGNMENT in it are starts of blocks that the program
	 * holds */
	_Atomic uint64_t held_bits[QUARRY_BLOCK_BITS ? POOL_MAX_BLOCKS / 64 : 0];
};

_Static_assert(sizeof(struct pool_header) <= POOL_HEADER_NBYTES, "the head has room for a header per unit");

enum pool_change {
	POOL_STAYS,
	POOL_NOW_USED,   /* was full */
	POOL_NOW_EMPTY,  /* was used, or full with one block */
	POOL_DOUBLE_FREE, /* the block is in the pool already: nothing has changed */
	POOL_NO_BLOCK     /* no block that was carved starts there: nothing has changed */
};

static inline struct pool_header *pool_header_at(const void *unit_address)
{
	return (struct pool_header *)(arena_base(unit_address) + arena_unit_of(unit_address) * POOL_HEADER_NBYTES);
}

/* --- debug and hardened: blocks that the program holds; any thread, without a lock ------------------------------ */

static force_inline _Atomic uint64_t *pool_held_bits(const void *block)
{
	return &pool_header_at(block)->held_bits[(uintptr_t)block % POOL_SIZE / ALIGNMENT / 64];
}

static force_inline uint64_t pool_held_bit(const void *block)
{
	return (uint64_t)1 << (uintptr_t)block / ALIGNMENT % 64;
}

/** Does the program hold a block that starts there? ptr lies in a pool. */
static force_inline bool pool_is_held(const void *ptr)
{
	return (uintptr_t)ptr % ALIGNMENT == 0 &&
	       (atomic_load_explicit(pool_held_bits(ptr), memory_order_relaxed) & pool_held_bit(ptr)) != 0;
}

/** It gets it. */
static force_inline void pool_hold(const void *block)
{
	atomic_fetch_or_explicit(pool_held_bits(block), pool_held_bit(block), memory_order_relaxed);
}

/** It frees it. False: it does not hold a block there. Of several threads one is told true. */
static force_inline bool pool_let_go(const void *ptr)
{
	return (uintptr_t)ptr % ALIGNMENT == 0 &&
	       (atomic_fetch_and_explicit(pool_held_bits(ptr), ~pool_held_bit(ptr), memory_order_relaxed) &
	        pool_held_bit(ptr)) != 0;
}

/* ------------------------------------------------------------------------------------------------------------------ */

/** Start of the pool's first unit. */
static inline char *pool_start(const struct pool_header *pool)
{
	size_t unit = ((uintptr_t)pool & (ARENA_SIZE - 1)) / POOL_HEADER_NBYTES;
	return arena_base(pool) + (unit << QUARRY_POOL_BITS);
}

static inline void pool_ring_init(struct pool_link *head)
{
	head->nextpool = head->prevpool = head;
}

static inline bool pool_ring_is_empty(const struct pool_link *head)
{
	return head->nextpool == head;
}

static inline void pool_link_front(struct pool_link *head, struct pool_header *pool)
{
	pool->link.nextpool = head->nextpool;
	pool->link.prevpool = head;
	head->nextpool->prevpool = &pool->link;
	head->nextpool = &pool->link;
}

static inline void pool_unlink(struct pool_header *pool)
{
	pool->link.nextpool->prevpool = pool->link.prevpool;
	pool->link.prevpool->nextpool = pool->link.nextpool;
}

static inline struct pool_header *pool_of_link(struct pool_link *link)
{
	return container_of(link, struct pool_header, link);
}

static inline bool pool_is_full(const struct pool_header *pool)
{
	return pool->count == pool->capacity;
}

/** Make units that begin at start, freshly taken from an arena, an empty pool. zeroed: they read as zero. */
struct pool_header *pool_init(char *start, unsigned szidx, bool zeroed);

/** Take one block, without a mark, of a pool that is not full. NULL: that was not so, which has been reported. */
struct block *pool_pop(struct pool_header *pool);

/**
 * Take a chain of blocks of a pool that is not full: its whole free list, or else virgin blocks up to the end of a
 * page.
 *
 * most     virgin blocks to carve at the most, at least 1
 * chain    becomes the first block of a NULL-terminated chain
 * Returns  number of blocks in the chain, at least 1
 */
unsigned pool_take_batch(struct pool_header *pool, unsigned most, struct block **chain);

/** Put a block back into the pool that starts at start. */
static force_inline enum pool_change pool_push_at(struct pool_header *pool, const char *start, struct block *block)
{
	size_t offset = (size_t)((char *)block - start);
	unsigned index = sizeclass_block_index(pool->szidx, offset);
	if (QUARRY_CHECKS && unlikely(index * sizeclass_nbytes(pool->szidx) != offset || offset >= pool->nextoffset))
		return POOL_NO_BLOCK;
	_Atomic uint64_t *word = &pool->free_bits[index / 64];
	uint64_t bits = atomic_load_explicit(word, memory_order_relaxed), bit = (uint64_t)1 << index % 64;
	if (QUARRY_CHECKS && unlikely(bits & bit))
		return POOL_DOUBLE_FREE;
	atomic_store_explicit(word, bits | bit, memory_order_relaxed);
	block_set_next(block, pool->freeblock);
	pool->freeblock = block;
	unsigned count = pool->count;
	pool->count = (uint16_t)(count - 1);
	if (unlikely(count == 1))
		return POOL_NOW_EMPTY;
	return unlikely(count == pool->capacity) ? POOL_NOW_USED : POOL_STAYS;
}

static inline enum pool_change pool_push(struct pool_header *pool, struct block *block)
{
	return pool_push_at(pool, pool_start(pool), block);
}

/** Is the block with this index (sizeclass_block_index) in the pool, that is, not out? */
bool pool_has_block(const struct pool_header *pool, unsigned index);

/** Abort the debug build if an invariant above does not hold. */
void pool_check(const struct pool_header *pool);

#endif
