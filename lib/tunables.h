/* SPDX-License-Identifier: MIT */
/*
 * Tunables: every size that shapes the heap, its unit and what it must satisfy. Three may be set by configure
 * (obmalloc's classic values are 18, 12 and 256); the rest follow from them.
 */
#ifndef QUARRY_TUNABLES_H
#define QUARRY_TUNABLES_H

#include <stddef.h>
#include <stdint.h>

/* An arena is 2^ARENA_BITS bytes, aligned to its size: one mapping, on one NUMA node. */
#ifndef QUARRY_ARENA_BITS
#define QUARRY_ARENA_BITS 25
#endif
/* A pool is one or more units of 2^POOL_BITS bytes; the address map has a word per unit. */
#ifndef QUARRY_POOL_BITS
#define QUARRY_POOL_BITS 14
#endif
/* Requests up to here may be served from pools, in size classes. */
#ifndef QUARRY_SMALL_REQUEST_THRESHOLD
#define QUARRY_SMALL_REQUEST_THRESHOLD 65536
#endif

#define ARENA_SIZE ((size_t)1 << QUARRY_ARENA_BITS)
#define POOL_SIZE ((size_t)1 << QUARRY_POOL_BITS)
#define ARENA_UNITS (ARENA_SIZE / POOL_SIZE)
#define ARENA_WORDS ((ARENA_UNITS + 63) / 64)
#define ARENA_MIN_SIZE (ARENA_SIZE / 32)
#define SMALL_REQUEST_THRESHOLD ((size_t)QUARRY_SMALL_REQUEST_THRESHOLD)
/* Requests above this come as spans all the same, where address space is plenty: less resident memory, more of that. */
#define SPAN_REQUEST_THRESHOLD (SMALL_REQUEST_THRESHOLD < 8192 ? SMALL_REQUEST_THRESHOLD : (size_t)8192)

/* obmalloc's ALIGNMENT: the least size class, and what every block is a multiple of. */
#define ALIGNMENT_BITS 4
#define ALIGNMENT ((size_t)1 << ALIGNMENT_BITS)

/* Up to here classes are ALIGNMENT apart; above, eight to a doubling: at most 12.5 % of a block is waste. */
#define LINEAR_CLASS_LIMIT ((size_t)256)
#define CLASSES_PER_DOUBLING_BITS 3

/* A pool holds at most this many blocks: one bit each in the arena's head. */
#define POOL_MAX_BLOCKS (POOL_SIZE / ALIGNMENT)
/* A pool of a large class takes up to this many units, so that little is lost at its end. */
#define POOL_MAX_UNITS ((size_t)16)

/* Above this a block is a mapping of its own. */
#define LARGE_REQUEST_THRESHOLD (ARENA_SIZE / 8)

/* Thread cache: the first bound of a class, its cap, and the least number of blocks. */
#define CACHE_FIRST_BLOCKS 32
#define CACHE_FIRST_NBYTES ((size_t)16 << 10)
#define CACHE_MIN_BLOCKS 4
#define CACHE_CLASS_NBYTES ((size_t)256 << 10)

/* All bounds of a thread together may grow by this, and a part of what its heap has out. */
#define CACHE_GROWTH_NBYTES ((size_t)256 << 10)
#define CACHE_GROWTH_PART 16

/* Outbox: chains of blocks on their way home, by owner; a chain is sent when it exceeds this. */
#define OUTBOX_BUCKETS 16
#define OUTBOX_NBYTES ((size_t)16 << 10)
/* An inbox above this, and a part of what its heap has out, is emptied by whoever fills it, if the owner does not. */
#define INBOX_NBYTES ((size_t)256 << 10)
#define INBOX_PART 8
/* Blocks sorted out of an inbox per refill, so that no call pays for all. */
#define DRAIN_BLOCKS 256

/* The first refills of a class come from the heap that a node's threads share: 1, 2, 4, 8, 16 blocks, up to so many
 * bytes, so that a thread which wants no more takes no pool. */
#define YOUNG_REFILLS 5
#define YOUNG_FIRST_BLOCKS 1
#define YOUNG_NBYTES ((size_t)1 << 10)
/* What a thread's cache holds stays with its heap for the next thread, up to so many bytes, and if no more than so many
 * heaps wait for one. */
#define WARM_NBYTES ((size_t)64 << 10)
#define WARM_PARKED 16
/* A thread that frees so many of these blocks again is given pools of its own at once. */
#define YOUNG_FREES 64

_Static_assert(QUARRY_POOL_BITS >= 12 && QUARRY_POOL_BITS <= 16, "pool: 4 KiB to 64 KiB");
_Static_assert(QUARRY_ARENA_BITS >= 18 && QUARRY_ARENA_BITS <= 30, "arena: 256 KiB to 1 GiB");
_Static_assert(ARENA_UNITS >= 64 && ARENA_UNITS % 64 == 0, "an arena has whole bitmap words of pools");
_Static_assert(SMALL_REQUEST_THRESHOLD % ALIGNMENT == 0, "the threshold is a size class");
_Static_assert(SMALL_REQUEST_THRESHOLD <= POOL_MAX_UNITS * POOL_SIZE / 4, "a pool holds at least four blocks");
_Static_assert((SMALL_REQUEST_THRESHOLD & (SMALL_REQUEST_THRESHOLD - 1)) == 0 && SMALL_REQUEST_THRESHOLD >= 256 &&
                       SMALL_REQUEST_THRESHOLD <= 65536,
               "the threshold is a power of two, 256 to 65536");
_Static_assert(LARGE_REQUEST_THRESHOLD <= UINT32_MAX, "a span's size has 32 bits");
_Static_assert(LARGE_REQUEST_THRESHOLD > SMALL_REQUEST_THRESHOLD, "spans lie between small and large");

#endif
