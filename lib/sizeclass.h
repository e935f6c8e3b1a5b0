/* SPDX-License-Identifier: MIT */
/*
 * Size classes: request -> szidx -> block size. Owns the class tables, constant after compilation.
 *
 * Invariants: block sizes ascend, each a multiple of ALIGNMENT; szidx 0 is the least. A request of n bytes belongs to
 * the least class of at least n bytes; 0 belongs to szidx 0. No lock: nothing is ever written.
 */
#ifndef QUARRY_SIZECLASS_H
#define QUARRY_SIZECLASS_H

#include "compiler.h"
#include "tunables.h"

#define LINEAR_CLASSES (LINEAR_CLASS_LIMIT / ALIGNMENT)
#define LINEAR_LIMIT_BITS 8
#define SMALL_THRESHOLD_BITS (63 - __builtin_clzl(SMALL_REQUEST_THRESHOLD))
#define NB_SIZE_CLASSES                                                                                                \
	(LINEAR_CLASSES + ((SMALL_THRESHOLD_BITS - LINEAR_LIMIT_BITS) << CLASSES_PER_DOUBLING_BITS))

_Static_assert(LINEAR_CLASS_LIMIT == (size_t)1 << LINEAR_LIMIT_BITS, "the two limits name one size");

/* Requests up to here find their class in a table of bytes, so that mixed sizes cost no mispredicted branch. */
#define TABLE_LIMIT (SMALL_REQUEST_THRESHOLD < 4096 ? SMALL_REQUEST_THRESHOLD : (size_t)4096)

struct size_class {
	uint64_t reciprocal; /* 2^64 / nbytes, rounded up */
	uint32_t nbytes;     /* block size */
	uint16_t units;      /* units that a pool of this class takes */
	uint16_t capacity;   /* blocks in such a pool */
};

/**
 * Requests up to here come from pools: SPAN_REQUEST_THRESHOLD, or SMALL_REQUEST_THRESHOLD in a process whose address
 * space is limited. Set once, before the first block, by address_map.c.
 */
extern size_t sizeclass_limit;

extern const struct size_class size_classes[];
extern const uint8_t szidx_of_step[];

/** Class of 1 <= nbytes <= TABLE_LIMIT, or 0 for nbytes == 0 by way of the caller's test. */
static force_inline unsigned sizeclass_of_tabled(size_t nbytes)
{
	return szidx_of_step[(nbytes - 1) >> ALIGNMENT_BITS];
}

/** Class of LINEAR_CLASS_LIMIT < nbytes <= SMALL_REQUEST_THRESHOLD, computed. */
static inline unsigned sizeclass_of_computed(size_t nbytes)
{
	unsigned doubling = 63 - (unsigned)__builtin_clzl(nbytes - 1);
	unsigned step = (unsigned)((nbytes - 1) >> (doubling - CLASSES_PER_DOUBLING_BITS));
	unsigned per_doubling = 1u << CLASSES_PER_DOUBLING_BITS;
	return (unsigned)LINEAR_CLASSES + ((doubling - LINEAR_LIMIT_BITS) << CLASSES_PER_DOUBLING_BITS) + step -
	       per_doubling;
}

/** Class of nbytes <= SMALL_REQUEST_THRESHOLD. */
static inline unsigned sizeclass_of(size_t nbytes)
{
	if (nbytes <= TABLE_LIMIT)
		return nbytes == 0 ? 0 : sizeclass_of_tabled(nbytes);
	return sizeclass_of_computed(nbytes);
}

/** Bytes of a block of the class. */
static inline size_t sizeclass_nbytes(unsigned szidx)
{
	return size_classes[szidx].nbytes;
}

/*
 * Division of an offset within a pool by the block size, as one multiplication (Lemire, Kaser and Kurz, 2019). Exact,
 * since offset * nbytes stays far below 2^64.
 */

/** Is offset a multiple of the block size? */
static inline bool sizeclass_divides(unsigned szidx, size_t offset)
{
	return offset * size_classes[szidx].reciprocal < size_classes[szidx].reciprocal;
}

/** Which block of its pool contains offset? */
static inline unsigned sizeclass_block_index(unsigned szidx, size_t offset)
{
	return (unsigned)(((unsigned __int128)offset * size_classes[szidx].reciprocal) >> 64);
}

/** Least class whose blocks are at least nbytes and multiples of alignment (a power of two), or -1. */
int sizeclass_of_aligned(size_t nbytes, size_t alignment);

#endif
