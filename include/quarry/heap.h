/* SPDX-License-Identifier: MIT */
/**
 * Heaps: the memory of one request, session or tenant, freed all at once, with a limit and a name.
 *
 *     struct quarry_heap *heap = quarry_heap_create("request", 64 << 20);
 *     char *text = quarry_heap_malloc(heap, 100);
 *     ...
 *     quarry_heap_destroy(heap);                      text and all else of it is gone
 *
 * A heap has pools, spans and large blocks of its own, so that no block of another lies between, and destroying it
 * takes time by their number and not by that of blocks. Its blocks are blocks like any other: quarry_free,
 * quarry_realloc, quarry_usable_size, quarry_owns, quarry_block_of, quarry_node_of and quarry_walk know them, free and
 * realloc too where libquarry_malloc serves them. They go back to their heap whoever frees them, and what is resized
 * stays in it. Once the heap is destroyed its blocks are gone: freeing one is a misuse, which is reported while nothing
 * else lies there.
 *
 * Threads     Any thread may use a heap at any time: each call takes the heap's lock for a moment, which is not
 *             contended where a heap serves one request at a time. A heap must not be used while or after it is
 *             destroyed, and its blocks must not be freed then either.
 * Fork        The child has all heaps as they were; a block above 4 MiB that another thread was just making is lost.
 * Nodes       All memory of a heap is on the node of the thread that created it.
 * Profile     Allocations from heaps are not sampled; their statistics go by the tag.
 */
#ifndef QUARRY_HEAP_H_
#define QUARRY_HEAP_H_

#include <quarry/quarry.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A heap: some KiB of records, used again after it is destroyed, and a pool of 16 KiB or more per size class in
 * use. */
struct quarry_heap;

/** Bytes of a heap's tag, with the final 0; a longer one is cut off. */
#define QUARRY_HEAP_TAG_SIZE 32

/**
 * Make a heap.
 *
 * tag        for statistics; copied, and need not be unique
 * limit      bytes that its blocks may have together, by their usable sizes; 0: any number
 * Returns    NULL with ENOMEM
 */
QUARRY_API struct quarry_heap *quarry_heap_create(const char *tag, size_t limit);

/** Allocate nbytes from the heap. NULL with ENOMEM, also where the limit would be passed by as little as a byte. */
QUARRY_API void *quarry_heap_malloc(struct quarry_heap *heap, size_t nbytes) QUARRY_MALLOC QUARRY_SIZE(2);

/** Allocate count * size bytes, all zero. NULL with ENOMEM also when the product overflows. */
QUARRY_API void *quarry_heap_calloc(struct quarry_heap *heap, size_t count, size_t size) QUARRY_MALLOC
    QUARRY_SIZE(2, 3);

/** Allocate nbytes at a multiple of alignment, as quarry_aligned_alloc does. */
QUARRY_API void *quarry_heap_aligned_alloc(struct quarry_heap *heap, size_t alignment, size_t nbytes) QUARRY_MALLOC
    QUARRY_SIZE(3);

/**
 * Change the size of a block of this heap; quarry_realloc does the same for it, but frees it for a size of 0.
 *
 * ptr        a block of the heap, or NULL (then as quarry_heap_malloc)
 * nbytes     new size; 0 makes it the smallest block there is
 * Returns    the block, its first min(old, new) bytes unchanged; NULL with ENOMEM, then ptr is still valid. Against the
 *            limit counts what the block has afterwards, not both while it is copied
 */
QUARRY_API void *quarry_heap_realloc(struct quarry_heap *heap, void *ptr, size_t nbytes)
    __attribute__((warn_unused_result)) QUARRY_SIZE(3);

/** Free a block of this heap, as quarry_free would; NULL is allowed. One that is not of this heap is reported. */
QUARRY_API void quarry_heap_free(struct quarry_heap *heap, void *ptr);

/** Set the limit anew; blocks that are there stay, also above it. */
QUARRY_API void quarry_heap_limit(struct quarry_heap *heap, size_t limit);

/** Free all blocks of the heap, and the heap. A second call is reported until another heap takes its place. */
QUARRY_API void quarry_heap_destroy(struct quarry_heap *heap);

/** The heap of a live block (its start); NULL for one that is in none. */
QUARRY_API struct quarry_heap *quarry_heap_of(const void *ptr);

#define QUARRY_HEAP_STATS_VERSION 1

/** All bytes are usable sizes of blocks. */
struct quarry_heap_stats {
	uint32_t version;               /* QUARRY_HEAP_STATS_VERSION of the library that filled it */
	int32_t node;                   /* the kernel's number; -1 where it is not known */
	char tag[QUARRY_HEAP_TAG_SIZE];
	uint64_t limit;                 /* bytes; 0: none */
	uint64_t live;                  /* bytes in live blocks: never above a limit that was not lowered */
	uint64_t peak;                  /* most bytes that were live */
	uint64_t blocks;                /* number of live blocks */
	uint64_t allocations;           /* number of blocks ever made; by realloc, where it moved one */
	uint64_t refusals;              /* number of requests that the limit refused */
};

/**
 * Fill in the statistics of a heap.
 *
 * stats, size  the caller's struct and its sizeof: a newer library fills only what the caller has room for
 * Returns      0; -1 with EINVAL if size is below that of the first two members
 */
QUARRY_API int quarry_heap_stats_get(struct quarry_heap *heap, struct quarry_heap_stats *stats, size_t size);

/** The heap after this one, in no order, or the first for NULL; NULL: no more. None may be destroyed meanwhile. */
QUARRY_API struct quarry_heap *quarry_heap_next(struct quarry_heap *heap);

#ifdef __cplusplus
}
#endif

#endif
