/* SPDX-License-Identifier: MIT */
/*
 * Region: what quarry/heap.h calls a heap. Blocks of one owner, in pools, spans and large blocks of its own, that are
 * freed all at once.
 *
 * Owns the pools whose words have its id: those in the rings of its struct heap, and full ones, which here are in a
 * ring too, so that destroying finds them; its spans and large blocks in a ring each, through their headers and
 * records, which name it as owner. It is a struct heap of kind HEAP_SHARED that serves no thread: locks, visits,
 * statistics, walks and forks treat it as one. Its id is of the upper half, so that free knows its blocks by their
 * word.
 *
 * Invariants: a block that is freed is home at once: it is in no cache, outbox or inbox, so that nothing of a region is
 * left anywhere when it is destroyed. live = sum of usable sizes of its blocks, and at most the limit, unless that was
 * lowered.
 * Locking: heap.lock for all that is not constant, states apart. Large blocks are mapped and unmapped outside of it.
 */
#ifndef QUARRY_REGION_H
#define QUARRY_REGION_H

#include "heap.h"
#include "quarry/heap.h"
#include "span.h"

enum region_state { REGION_UNUSED, REGION_LIVE, REGION_DESTROYED };

struct quarry_heap {
	struct heap heap; /* first: found by its id */
	struct span_owner owner;
	char tag[QUARRY_HEAP_TAG_SIZE];
	_Atomic int state;
	struct pool_link full, spans, larges;
	uint64_t limit, live, peak, blocks, allocations, refusals;
};

static inline bool word_is_region(uint32_t word)
{
	return (word & (WORD_NOT_A_POOL | WORD_REGION)) == WORD_REGION;
}

/** The region that the block at ptr is of, whose word is given; NULL: of none. Reads a live block's records. */
struct quarry_heap *region_of(const void *ptr, uint32_t word);

/** A live region on the node; NULL with ENOMEM. No lock held. */
struct quarry_heap *region_make(unsigned node, const char *tag, size_t limit);

/** Free everything. False: it is no live region. No lock held. */
bool region_end(struct quarry_heap *region);

struct region_request {
	size_t nbytes, alignment; /* a power of two, at least ALIGNMENT */
	size_t spare;             /* usable bytes of a block that is freed next, and so does not count against the limit */
	bool zeroed;              /* becomes: the memory reads as zero */
};

enum region_answer { REGION_GIVEN, REGION_REFUSED, REGION_NO_ROOM };

/** Take a block. REGION_REFUSED: by the limit, or it could never be; REGION_NO_ROOM: an arena helps. No lock held. */
enum region_answer region_take(struct quarry_heap *region, struct region_request *request, void **ptr);

/** Free the block at ptr, which is of a region; a misuse is reported. No lock held. */
void region_put(void *ptr, uint32_t word);

#endif
