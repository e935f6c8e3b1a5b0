/* SPDX-License-Identifier: MIT */
/*
 * Slab: a span cut into objects of one exact size, for typed caches.
 *
 * Its record lies where the pool headers of its units lie, in the arena's head, so that objects take all of its bytes
 * and an overflow does not reach it. A bit for each object says whether it is in the slab. Nothing is stored in the
 * objects: they keep their contents while they are free. Where the bits of very small objects find no room in the head,
 * they stand at the slab's end.
 *
 * Invariants: a slab starts at a multiple of its size, so an object's address leads to it. nfree is the number of bits
 * set. Its span's owner is its depot (depot.h) from make to free.
 * Locking: none of its own; under its depot's lock. `depot` is constant while an object is out.
 */
#ifndef QUARRY_SLAB_H
#define QUARRY_SLAB_H

#include "pool.h"
#include "span.h"

struct depot;

/* The first four in the places of struct pool_header's. */
struct slab {
	struct pool_link link; /* of the depot's rings */
	struct depot *depot;
	uint32_t sample;       /* a span's, and 0 */
	uint32_t span_nbytes;
	uint32_t nfree;        /* objects that are in the slab */
	uint32_t first;        /* no word of bits before this one has a bit set */
	uint64_t bits[];       /* unless they stand at the slab's end */
};

/* How the slabs of a cache are cut; constant. */
struct slab_shape {
	size_t stride;       /* bytes from object to object */
	size_t nbytes;       /* of a slab, a power of two */
	uint32_t capacity;   /* objects */
	uint32_t bits_at;    /* bytes behind the slab's start; 0: in the head */
	uint64_t reciprocal; /* 2^64 / stride, rounded up */
};

/* The largest stride that can be cut. */
#define SLAB_MAX_STRIDE (LARGE_REQUEST_THRESHOLD / 8)
#define SLAB_MAX_NBYTES (LARGE_REQUEST_THRESHOLD < ((size_t)1 << 20) ? LARGE_REQUEST_THRESHOLD : (size_t)1 << 20)

/** The smallest slab that wastes little, for a stride of 1 to SLAB_MAX_STRIDE. */
struct slab_shape slab_shape_of(size_t stride);

/** A slab on the node with all objects in it. NULL: no arena has room. */
struct slab *slab_make(const struct slab_shape *shape, unsigned node, struct depot *depot);

/** Give the slab's units back. All objects are in it, or lost. */
void slab_free(struct slab *slab);

/** Take up to n objects. Returns how many. */
unsigned slab_take(const struct slab_shape *shape, struct slab *slab, void **objects, unsigned n);

/** Put an object back; false where no object starts there, or it is in the slab already: nothing has changed. */
bool slab_put(const struct slab_shape *shape, struct slab *slab, const void *object);

/** First object of the slab. */
char *slab_start(const struct slab *slab);

/** First object that is out; NULL: none is. */
void *slab_first_out(const struct slab_shape *shape, const struct slab *slab);

/** Where the slab of an object of this shape would be. */
static inline struct slab *slab_of(const struct slab_shape *shape, const void *object)
{
	return (struct slab *)pool_header_at((void *)((uintptr_t)object & ~(shape->nbytes - 1)));
}

static inline struct slab *slab_of_link(struct pool_link *link)
{
	return (struct slab *)link;
}

static inline bool slab_is_empty(const struct slab_shape *shape, const struct slab *slab)
{
	return slab->nfree == shape->capacity;
}

#endif
