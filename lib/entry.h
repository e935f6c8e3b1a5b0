/* SPDX-License-Identifier: MIT */
/*
 * Entry: malloc and free as far as they go without a lock, for all names of the same calls (quarry.c, malloc.c,
 * operators.c) to inline. Owns nothing.
 *
 *     entry_malloc                        entry_free
 *       cache_take      pops, done          address_map_word   one load: owner and class
 *       entry_malloc_slow                   cache_push         the thread's own block, done
 *       entry_malloc_medium                   entry_overflow     the list is full
 *       (entry.c, entry_free.c)               entry_free_slow    another's block, span, large, misuse, NULL
 */
#ifndef QUARRY_ENTRY_H
#define QUARRY_ENTRY_H

#include "cache.h"
#include "counting.h"
#include "sample.h"
#include "topology.h"

cold_path void *entry_malloc_slow(size_t nbytes);
__attribute__((noinline)) void *entry_malloc_medium(size_t nbytes);
__attribute__((noinline)) void *entry_malloc_hardened(size_t nbytes);
__attribute__((noinline)) void entry_free_slow(void *ptr, uint32_t word, struct heap *heap);
__attribute__((noinline)) void entry_free_stray(void *ptr);
cold_path void entry_overflow(uint32_t word);
cold_path void entry_report_misuse(const char *what, const void *ptr, uint32_t word);

/** The end of a slow path: what waits for a moment at which no lock is held. */
void entry_leave(void);

/**
 * A request that pools do not serve: above SMALL_REQUEST_THRESHOLD, or of an alignment (a power of two) that no
 * class has. zeroed becomes whether the memory reads as zero. NULL with ENOMEM.
 */
void *entry_malloc_big(size_t nbytes, size_t alignment, bool *zeroed);

/**
 * Hardened: allocate nbytes as a block of the class, which is aligned as is asked for and has room for the seal, or at
 * the start of a unit.
 */
void *entry_malloc_aligned_class(unsigned szidx, size_t nbytes);

/**
 * The bytes of the block at ptr that are the program's; 0: no block that it could free starts there. Hardened, those
 * that it asked for, and 0 where it holds no block.
 */
size_t entry_usable(const void *ptr, uint32_t word);

/** Hardened: make the block's bytes other ones, if it has room for them. */
bool entry_reseal(void *ptr, uint32_t word, size_t nbytes);

/**
 * Allocate nbytes on a node, whatever this thread's is: a small block from the thread's own heap where that is of the
 * node, else from the heap that the node's threads share. A slow path, which may move the thread; the node stays.
 */
void *entry_malloc_on(unsigned node, size_t nbytes);

/** Allocate nbytes in a mapping of its own, its pages on the nodes of the set by turns. NULL with ENOMEM. */
void *entry_malloc_over(const struct node_set *over, size_t nbytes);

/**
 * Allocate and free without the thread's part: from the heap that the node's threads share, under its lock, and home at
 * once. The thread is not attached. zeroed becomes whether the memory reads as zero. NULL with ENOMEM.
 */
void *entry_malloc_raw(size_t nbytes, bool *zeroed);
void entry_free_raw(void *ptr);

/* How far an allocation went for memory. */
enum effort { GROW, RECLAIM, GROW_AGAIN, GIVE_UP };

/**
 * More memory for the node, of which nbytes are wanted: a new arena, unless another thread mapped one (births:
 * arena_list_births before the failed attempt) or the limit would refuse them there, too; failing that, what lies idle
 * in this process, once, and under a limit that may have made room in the arenas that there are. False: give up. No
 * lock held.
 */
bool entry_more_memory(unsigned node, size_t nbytes, uint64_t births, enum effort *effort);

/** In builds that count: of the block at ptr, which stays where it is, nbytes are now what was asked for. */
static inline void entry_recount(void *ptr, uint32_t word, size_t nbytes)
{
	if (!QUARRY_COUNTING)
		return;
	if (word_is_pool(word))
		counting_small(ptr, nbytes + (nbytes == 0));
	else
		counting_big(ptr, nbytes + (nbytes == 0));
}

/** The span or large block at ptr has changed its size in place, or moved with its pages: a new one to the profile. */
void entry_resized(void *ptr, size_t nbytes);

/** An alignment rounded up to a power of two, as glibc does, and to ALIGNMENT; 0 where there is none. */
static inline size_t entry_power_of_two(size_t alignment)
{
	if (alignment <= ALIGNMENT)
		return ALIGNMENT;
	if (alignment > (SIZE_MAX >> 2) + 1)
		return 0;
	return (size_t)1 << (64 - __builtin_clzl(alignment - 1));
}

/** Start of the pool that contains ptr, whose word is a pool's. */
static inline char *entry_pool_start(const void *ptr, uint32_t word)
{
	uintptr_t unit = (uintptr_t)ptr & ~(uintptr_t)(POOL_SIZE - 1);
	return (char *)(unit - word_phase(word) * POOL_SIZE);
}

/** Is ptr, in a pool, anything but a multiple of the block size behind its start? */
static inline bool entry_is_interior(const void *ptr, uint32_t word)
{
	return !sizeclass_divides(word_szidx(word), (size_t)((const char *)ptr - entry_pool_start(ptr, word)));
}

static force_inline void *entry_malloc(size_t nbytes)
{
	if (QUARRY_HARDENED)
		return entry_malloc_hardened(nbytes);
	if (unlikely(!sample_passes(nbytes)) || QUARRY_BLOCK_BITS)
		return entry_malloc_medium(nbytes);
	struct block *block = cache_take(sizeclass_of_tabled(nbytes));
	if (unlikely(block == NULL))
		return entry_malloc_slow(nbytes);
	return block;
}

static force_inline void entry_free_found(void *ptr, uint32_t word)
{
	struct heap *heap = cache_announce(word); /* its low byte names the list */
	if (unlikely(word - heap->word_base >= WORD_OWNER) || QUARRY_BLOCK_BITS) {
		entry_free_slow(ptr, word, heap);
		return;
	}
	if (cache_push(&heap->cache, word_szidx(word), ptr))
		entry_overflow(word);
}

static force_inline void entry_free(void *ptr)
{
	uint32_t word;
	if (unlikely(!address_map_find(ptr, &word)))
		entry_free_stray(ptr);
	else
		entry_free_found(ptr, word);
}

/** Free what for sure is as a request of nbytes would be given. False: entry_free_checked knows more. */
static force_inline bool entry_free_if_of_size(void *ptr, size_t nbytes)
{
	uint32_t word;
	if (QUARRY_HARDENED || unlikely(nbytes - 1 >= TABLE_LIMIT) || unlikely(!address_map_find(ptr, &word)) ||
	    unlikely(sizeclass_of_tabled(nbytes) != word_szidx(word)))
		return false;
	entry_free_found(ptr, word);
	return true;
}

/**
 * Free a block that the program says has nbytes, or report it: hardened, if it was not allocated for just these; else
 * if it has fewer or, by `strict`, so many more that no realloc would have left it there.
 */
cold_path void entry_free_checked(void *ptr, size_t nbytes, bool strict);

static force_inline void entry_free_sized(void *ptr, size_t nbytes)
{
	if (!QUARRY_CHECKS)
		entry_free(ptr);
	else if (unlikely(!entry_free_if_of_size(ptr, nbytes)))
		entry_free_checked(ptr, nbytes, false);
}

#endif
