/* SPDX-License-Identifier: MIT */
/**
 * Quarry's raw layer: memory without the thread's part of the allocator.
 *
 * Layer +1 of obmalloc's picture, below the object layer of quarry.h (+2). There the raw domain is the one that needs
 * no thread state and no GIL. Here it is the one that neither uses nor makes any state of the calling thread: no cache,
 * no heap, no hook at its end. Requests that pools serve come from the heap that the node's threads share, under its
 * lock, and are home again when quarry_raw_free returns; larger ones are spans of an arena or mappings of their own, as
 * ever.
 *
 * Use it in threads that are many and short or end in odd ways, in an interpreter for what must be allocated without
 * its lock, and for memory that no cache is to hold back. Any other use is better served by quarry_malloc, which takes
 * no lock and does not contend.
 *
 * The blocks are the same: those of either layer may be freed and resized by the other, by malloc's names too where
 * libquarry_malloc serves them, and count in the same statistics. Each function may be called by any thread at any
 * time, as those of quarry.h. A size of 0 is a request like any other: it yields a pointer that is not NULL and is
 * unique.
 */
#ifndef QUARRY_RAW_H
#define QUARRY_RAW_H

#include <quarry/quarry.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Allocate nbytes, aligned to 16 bytes.
 *
 * Returns    memory of at least nbytes, contents unspecified; NULL with ENOMEM
 * Cost       one short lock of the node's shared heap, another one every few blocks
 */
QUARRY_API void *quarry_raw_malloc(size_t nbytes) QUARRY_MALLOC QUARRY_SIZE(1);

/** Allocate count * size bytes, all zero. NULL with ENOMEM also when the product overflows. */
QUARRY_API void *quarry_raw_calloc(size_t count, size_t size) QUARRY_MALLOC QUARRY_SIZE(1, 2);

/**
 * Change the size of a block, in place or by moving it.
 *
 * ptr        a block, or NULL (then as quarry_raw_malloc)
 * nbytes     new size; unlike quarry_realloc, 0 makes it the smallest block there is and does not free it
 * Returns    the block, its first min(old, new) bytes unchanged; NULL with ENOMEM, then ptr is still valid
 */
QUARRY_API void *quarry_raw_realloc(void *ptr, size_t nbytes) __attribute__((warn_unused_result)) QUARRY_SIZE(2);

/** Free a block of either layer; NULL is allowed. errno is kept. */
QUARRY_API void quarry_raw_free(void *ptr);

#ifdef __cplusplus
}
#endif

#endif
