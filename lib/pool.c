/* SPDX-License-Identifier: MIT */
/*
 * Pool: see pool.h.
 */
#include "pool.h"

#include <string.h>

#include "os.h"
#include "report.h"

#define relaxed memory_order_relaxed

static void report(const char *what, const void *ptr, const struct pool_header *pool)
{
	struct report_place place = {
		.szidx = pool->szidx,
		.block_nbytes = sizeclass_nbytes(pool->szidx),
		.arena = arena_base(pool),
		.node = (int)arena_at(arena_base(pool))->node,
	};
	report_fault(what, ptr, &place);
}

static unsigned block_index(const struct pool_header *pool, const void *block)
{
	return sizeclass_block_index(pool->szidx, (size_t)((const char *)block - pool_start(pool)));
}

struct pool_header *pool_init(char *start, unsigned szidx, bool zeroed)
{
	struct pool_header *pool = pool_header_at(start);
	const struct size_class *class = &size_classes[szidx];
	pool->freeblock = NULL;
	pool->nextoffset = 0;
	/* maxnextoffset: a walk may read it, as the size of a span that was here, and then look at the word. */
	atomic_store_explicit(&pool->nbytes, (class->capacity - 1u) * class->nbytes, relaxed);
	pool->count = 0;
	pool->capacity = class->capacity;
	pool->szidx = (uint8_t)szidx;
	pool->units = (uint8_t)class->units;
	pool->zeroed = zeroed;
	for (unsigned word = 0; word * 64 < class->capacity; word++)
		atomic_store_explicit(&pool->free_bits[word], 0, relaxed);
	for (unsigned unit = 0; QUARRY_BLOCK_BITS && unit < class->units; unit++)
		for (unsigned word = 0; word < POOL_MAX_BLOCKS / 64; word++)
			atomic_store_explicit(&pool_header_at(start + unit * POOL_SIZE)->held_bits[word], 0, relaxed);
	return pool;
}

/* The next virgin block, which must exist. */
static struct block *carve(struct pool_header *pool, char *start, size_t nbytes)
{
	struct block *block = (struct block *)(start + pool->nextoffset);
	pool->nextoffset += (uint32_t)nbytes;
	if (QUARRY_HARDENED && !pool->zeroed)
		memset(block, 0, nbytes);
	return block;
}

/* Blocks that are carved at once, hardened, so that their order says nothing. */
#define SHUFFLED 64

/* Hardened: into the free list, in random order, the next virgin blocks. There is one, and the list is empty. */
static void carve_shuffled(struct pool_header *pool)
{
	struct block *blocks[SHUFFLED];
	uint64_t draws = harden_below(UINT32_MAX);
	char *start = pool_start(pool);
	size_t nbytes = sizeclass_nbytes(pool->szidx);
	uint32_t n = 0;
	for (; n < SHUFFLED && pool->nextoffset <= pool->maxnextoffset; n++)
		blocks[n] = carve(pool, start, nbytes);
	for (; n > 0; n--) {
		uint32_t chosen = harden_draw(&draws, n);
		struct block *block = blocks[chosen];
		blocks[chosen] = blocks[n - 1];
		unsigned index = block_index(pool, block);
		_Atomic uint64_t *word = &pool->free_bits[index / 64];
		atomic_store_explicit(word, atomic_load_explicit(word, relaxed) | (uint64_t)1 << index % 64, relaxed);
		block_set_next(block, pool->freeblock);
		pool->freeblock = block;
	}
}

/* Does a block of the pool, in its list by the bits, start there, and is it marked? */
static bool is_listed(const struct pool_header *pool, const struct block *block)
{
	size_t offset = (size_t)((const char *)block - pool_start(pool));
	if (offset >= pool->nextoffset)
		return false;
	unsigned index = block_index(pool, block);
	return index * sizeclass_nbytes(pool->szidx) == offset && pool_has_block(pool, index) && block_is_free(block);
}

/* The list has a block that is not free. A new one is made of those that are; the others stay out for good. */
static cold_path void mend(struct pool_header *pool)
{
	char *start = pool_start(pool);
	size_t nbytes = sizeclass_nbytes(pool->szidx);
	const struct block *broken = pool->freeblock;
	pool->freeblock = NULL;
	for (unsigned index = 0; index * nbytes < pool->nextoffset; index++) {
		_Atomic uint64_t *word = &pool->free_bits[index / 64];
		uint64_t bits = atomic_load_explicit(word, relaxed), bit = (uint64_t)1 << index % 64;
		struct block *block = (struct block *)(start + index * nbytes);
		if (!(bits & bit))
			continue;
		if (block_is_free(block)) {
			block_set_next(block, pool->freeblock);
			pool->freeblock = block;
			continue;
		}
		atomic_store_explicit(word, bits & ~bit, relaxed);
		pool->count++;
		broken = block;
	}
	report("double free or write after free", broken, pool);
}

struct block *pool_pop(struct pool_header *pool)
{
	if (QUARRY_HARDENED && pool->freeblock == NULL)
		carve_shuffled(pool);
	if (QUARRY_MARKS && pool->freeblock != NULL && unlikely(!is_listed(pool, pool->freeblock)))
		mend(pool);
	struct block *block = pool->freeblock;
	if (block == NULL && pool->nextoffset > pool->maxnextoffset)
		return NULL;
	pool->count++;
	if (block == NULL)
		return carve(pool, pool_start(pool), sizeclass_nbytes(pool->szidx));
	pool->freeblock = block_next(block);
	block_claim(block); /* is_listed */
	unsigned index = block_index(pool, block);
	_Atomic uint64_t *word = &pool->free_bits[index / 64];
	atomic_store_explicit(word, atomic_load_explicit(word, relaxed) & ~((uint64_t)1 << index % 64), relaxed);
	return block;
}

/* Virgin blocks up to the end of the page in which the first one ends, so that no further page is touched. */
static unsigned carve_page(struct pool_header *pool, unsigned most, struct block **chain)
{
	char *start = pool_start(pool);
	size_t nbytes = sizeclass_nbytes(pool->szidx);
	uintptr_t limit = round_up((uintptr_t)start + pool->nextoffset + nbytes, os_page_size());
	struct block *last = *chain = carve(pool, start, nbytes);
	unsigned n = 1;
	for (; n < most && pool->nextoffset <= pool->maxnextoffset &&
	       (uintptr_t)start + pool->nextoffset + nbytes <= limit; n++) {
		struct block *block = carve(pool, start, nbytes);
		block_set_next(last, block);
		last = block;
	}
	block_set_next(last, NULL);
	return n;
}

unsigned pool_take_batch(struct pool_header *pool, unsigned most, struct block **chain)
{
	unsigned n;
	if (QUARRY_HARDENED && pool->freeblock == NULL)
		carve_shuffled(pool);
	if (pool->freeblock == NULL) {
		n = carve_page(pool, most, chain);
	} else {
		*chain = pool->freeblock;
		pool->freeblock = NULL;
		unsigned virgin = pool->nextoffset > pool->maxnextoffset
					  ? 0
					  : pool->capacity - sizeclass_block_index(pool->szidx, pool->nextoffset);
		n = pool->capacity - pool->count - virgin;
		for (unsigned word = 0; word * 64 < pool->capacity; word++)
			atomic_store_explicit(&pool->free_bits[word], 0, relaxed);
	}
	pool->count = (uint16_t)(pool->count + n);
	return n;
}

bool pool_has_block(const struct pool_header *pool, unsigned index)
{
	uint64_t bits = atomic_load_explicit(&pool->free_bits[index / 64], relaxed);
	return (bits >> index % 64 & 1) || index * sizeclass_nbytes(pool->szidx) >= pool->nextoffset;
}

void pool_check(const struct pool_header *pool)
{
	unsigned listed = 0, marked = 0;
	const struct block *block = pool->freeblock;
	for (; block != NULL && listed < pool->capacity; block = block_next(block), listed++)
		if (!pool_has_block(pool, block_index(pool, block)))
			report("free list names a block that is out", block, pool);
	for (unsigned word = 0; word * 64 < pool->capacity; word++)
		marked += (unsigned)__builtin_popcountll(atomic_load_explicit(&pool->free_bits[word], relaxed));
	unsigned carved = pool->nextoffset / (unsigned)sizeclass_nbytes(pool->szidx);
	if (block != NULL || listed != marked || carved != listed + pool->count)
		report("pool does not add up", pool_start(pool), pool);
}
