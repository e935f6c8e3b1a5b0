/* SPDX-License-Identifier: MIT */
/*
 * Slab: see slab.h.
 */
#include "slab.h"

_Static_assert(offsetof(struct slab, depot) == offsetof(struct pool_header, owner), "a slab is a span with an owner");
_Static_assert(offsetof(struct slab, span_nbytes) == offsetof(struct pool_header, nbytes), "and with a size");

/* At most this part of a slab is lost at its end, and it has that many objects, if any size of slab can do so. */
#define WASTE_PART 64
#define LEAST_OBJECTS 8

static size_t bits_nbytes(size_t capacity)
{
	return (capacity + 63) / 64 * sizeof(uint64_t);
}

static struct slab_shape cut(size_t stride, size_t nbytes)
{
	struct slab_shape shape = {.stride = stride, .nbytes = nbytes};
	size_t head_nbytes = (nbytes >> QUARRY_POOL_BITS) * POOL_HEADER_NBYTES - sizeof(struct slab);
	size_t capacity = nbytes / stride;
	if (bits_nbytes(capacity) > head_nbytes) {
		while (capacity * stride + bits_nbytes(capacity) > nbytes)
			capacity--;
		shape.bits_at = (uint32_t)(nbytes - bits_nbytes(capacity));
	}
	shape.capacity = (uint32_t)capacity;
	shape.reciprocal = UINT64_MAX / stride + 1; /* 0 for a stride of 1 */
	return shape;
}

struct slab_shape slab_shape_of(size_t stride)
{
	struct slab_shape best = {0};
	size_t best_waste = 0;
	for (size_t nbytes = POOL_SIZE; nbytes <= SLAB_MAX_NBYTES; nbytes *= 2) {
		if (nbytes < stride)
			continue;
		struct slab_shape shape = cut(stride, nbytes);
		size_t end = shape.bits_at != 0 ? shape.bits_at : nbytes;
		size_t waste = (end - shape.capacity * stride) * (SLAB_MAX_NBYTES / nbytes); /* by the same measure */
		bool enough = shape.capacity >= LEAST_OBJECTS;
		if (best.capacity == 0 || (enough && best.capacity < LEAST_OBJECTS) || waste < best_waste) {
			best = shape;
			best_waste = waste;
		}
		if (enough && best_waste <= SLAB_MAX_NBYTES / WASTE_PART)
			break;
	}
	return best;
}

char *slab_start(const struct slab *slab)
{
	return pool_start((const struct pool_header *)slab);
}

static uint64_t *bits_of(const struct slab_shape *shape, const struct slab *slab)
{
	if (shape->bits_at != 0)
		return (uint64_t *)(slab_start(slab) + shape->bits_at);
	return ((struct slab *)slab)->bits;
}

struct slab *slab_make(const struct slab_shape *shape, unsigned node, struct depot *depot)
{
	bool zeroed;
	void *start = span_alloc(node, shape->nbytes, shape->nbytes, &zeroed);
	if (start == NULL)
		return NULL;
	span_set_owner(start, (struct span_owner *)depot);
	struct slab *slab = (struct slab *)pool_header_at(start);
	uint64_t *bits = bits_of(shape, slab);
	slab->nfree = shape->capacity;
	slab->first = 0;
	for (uint32_t i = 0; i < shape->capacity / 64; i++)
		bits[i] = ~(uint64_t)0;
	if (shape->capacity % 64 != 0)
		bits[shape->capacity / 64] = ((uint64_t)1 << shape->capacity % 64) - 1;
	return slab;
}

void slab_free(struct slab *slab)
{
	char *start = slab_start(slab);
	if (QUARRY_HARDENED) /* bits stood where a span's header has what was requested */
		span_resize(start, slab->span_nbytes);
	span_set_owner(start, NULL);
	span_free(start);
}

unsigned slab_take(const struct slab_shape *shape, struct slab *slab, void **objects, unsigned n)
{
	uint64_t *bits = bits_of(shape, slab);
	char *start = slab_start(slab);
	unsigned taken = 0;
	if (n > slab->nfree)
		n = slab->nfree;
	for (; taken < n; slab->first += bits[slab->first] == 0) {
		uint64_t word = bits[slab->first];
		for (; word != 0 && taken < n; word &= word - 1)
			objects[taken++] = start + (slab->first * 64 + (unsigned)__builtin_ctzll(word)) * shape->stride;
		bits[slab->first] = word;
	}
	slab->nfree -= taken;
	return taken;
}

bool slab_put(const struct slab_shape *shape, struct slab *slab, const void *object)
{
	size_t offset = (size_t)((const char *)object - slab_start(slab)), index = offset;
	if (shape->stride > 1)
		index = (size_t)(((unsigned __int128)offset * shape->reciprocal) >> 64);
	if (index >= shape->capacity || index * shape->stride != offset)
		return false;
	uint64_t *word = &bits_of(shape, slab)[index / 64], bit = (uint64_t)1 << index % 64;
	if (*word & bit)
		return false;
	*word |= bit;
	if (index / 64 < slab->first)
		slab->first = (uint32_t)(index / 64);
	slab->nfree++;
	return true;
}

void *slab_first_out(const struct slab_shape *shape, const struct slab *slab)
{
	const uint64_t *bits = bits_of(shape, slab);
	for (uint32_t index = 0; index < shape->capacity; index++)
		if ((bits[index / 64] >> index % 64 & 1) == 0)
			return slab_start(slab) + index * shape->stride;
	return NULL;
}
