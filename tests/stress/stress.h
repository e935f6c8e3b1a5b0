/* SPDX-License-Identifier: MIT */
/*
 * What the stress tests share: a patterned block that is verified whenever it is freed or changes size, and random
 * choice among all calls that make, change and free one.
 *
 * A piece's bytes follow from its address, its requested size and its tag, up to the end of the requested size.
 */
#ifndef QUARRY_TESTS_STRESS_H
#define QUARRY_TESTS_STRESS_H

#include "../abi/blackbox.h"

#include <errno.h>
#include <pthread.h>
#include <quarry/quarry.h>

struct piece {
	void *block; /* NULL: none */
	size_t nbytes;
	uint64_t tag;
	size_t alignment; /* that it was asked for */
};

static inline void piece_verify(const struct piece *piece)
{
	CHECKF(pattern_kept(piece->block, piece->nbytes, (uintptr_t)piece->block, piece->nbytes, piece->tag),
	       "  block %p of %zu bytes (tag %llu) has changed", piece->block, piece->nbytes,
	       (unsigned long long)piece->tag);
}

/* By one of the allocating calls; checked and filled. */
static inline struct piece piece_make(uint64_t *rng, size_t nbytes, uint64_t tag)
{
	struct piece piece = { .nbytes = nbytes, .tag = tag, .alignment = 16 };
	size_t usable = 0;

	switch (rng_below(rng, 10)) {
	case 0:
		piece.block = quarry_calloc(1, nbytes);
		CHECKF(piece.block == NULL || is_zero(piece.block, nbytes), "  calloc of %zu bytes is not zero",
		       nbytes);
		break;
	case 1:
		piece.alignment = (size_t)1 << rng_below(rng, 15);
		piece.block = quarry_aligned_alloc(piece.alignment, nbytes);
		break;
	case 2:
		piece.alignment = (size_t)8 << rng_below(rng, 10);
		CHECK(quarry_posix_memalign(&piece.block, piece.alignment, nbytes) == 0);
		break;
	case 3:
		piece.block = quarry_malloc_usable(nbytes, &usable);
		CHECK(usable >= nbytes && usable == quarry_usable_size(piece.block));
		break;
	case 4:
		piece.block = quarry_realloc(NULL, nbytes);
		break;
	default:
		piece.block = quarry_malloc(nbytes);
	}
	CHECKF(piece.block != NULL, "  no memory for %zu bytes", nbytes);
	CHECKF((uintptr_t)piece.block % piece.alignment == 0, "  %p is not aligned to %zu", piece.block,
	       piece.alignment);
	CHECK(quarry_usable_size(piece.block) >= nbytes);
	pattern_fill(piece.block, nbytes, tag);
	return piece;
}

static inline void piece_free(uint64_t *rng, struct piece *piece)
{
	if (piece->block == NULL)
		return;
	piece_verify(piece);
	errno = 77;
	if (rng_below(rng, 4) != 0)
		quarry_free(piece->block);
	else if (piece->alignment == 16)
		quarry_free_sized(piece->block, piece->nbytes);
	else
		quarry_free_aligned_sized(piece->block, piece->alignment, piece->nbytes);
	CHECK(errno == 77);
	piece->block = NULL;
}

/* In place if that is possible and chosen, else by realloc; the bytes that both sizes have must survive. */
static inline void piece_resize(uint64_t *rng, struct piece *piece, size_t nbytes)
{
	uintptr_t from = (uintptr_t)piece->block;
	size_t kept = nbytes < piece->nbytes ? nbytes : piece->nbytes;

	piece_verify(piece);
	if (rng_below(rng, 3) == 0) {
		size_t usable = quarry_resize_in_place(piece->block, nbytes);
		CHECK(usable == 0 || (usable >= nbytes && usable == quarry_usable_size(piece->block)));
		if (usable == 0) {
			piece_verify(piece);
			return;
		}
	} else {
		piece->block = rng_below(rng, 2) == 0 ? quarry_realloc(piece->block, nbytes)
						      : quarry_reallocarray(piece->block, 1, nbytes);
		CHECKF(piece->block != NULL, "  no memory for %zu bytes", nbytes);
		if ((uintptr_t)piece->block != from)
			piece->alignment = 16;
	}
	CHECKF(pattern_kept(piece->block, kept, from, piece->nbytes, piece->tag),
	       "  resizing %p from %zu to %zu bytes has changed it", (void *)from, piece->nbytes, nbytes);
	piece->nbytes = nbytes;
	pattern_fill(piece->block, nbytes, piece->tag);
}

/* Live bytes by the library's own count; exact only while no other thread is inside it. */
static inline uint64_t stats_live(void)
{
	struct quarry_stats stats;

	CHECK(quarry_stats_get(&stats, sizeof stats) == 0);
	return stats.live;
}

/* --- threads that end and are replaced ---------------------------------------------------------------------------- */

#define CROWD 6

static int crowd_is_over;

/* For the loops of a crowd's threads. */
static inline int crowd_goes_on(void)
{
	return !__atomic_load_n(&crowd_is_over, __ATOMIC_RELAXED);
}

/*
 * For so many seconds CROWD threads of `live`, which gets a number of its own each: the oldest is awaited and replaced,
 * again and again, and `meanwhile`, if any, is called each time. Returns how many there were.
 */
static inline size_t crowd_lives(void *(*live)(void *), double seconds, void (*meanwhile)(void))
{
	pthread_t threads[CROWD];
	uintptr_t started = 0;

	for (int i = 0; i < CROWD; i++)
		CHECK(pthread_create(&threads[i], NULL, live, (void *)started++) == 0);
	for (double end = now() + seconds; now() < end;) {
		size_t oldest = started % CROWD;
		CHECK(pthread_join(threads[oldest], NULL) == 0);
		CHECK(pthread_create(&threads[oldest], NULL, live, (void *)started++) == 0);
		if (meanwhile != NULL)
			meanwhile();
	}
	__atomic_store_n(&crowd_is_over, 1, __ATOMIC_RELAXED);
	for (int i = 0; i < CROWD; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	return started;
}

/* --- exchange ----------------------------------------------------------------------------------------------------- */

/* A place of a table that threads exchange pieces through. */
struct slot {
	pthread_mutex_t lock;
	struct piece piece;
};

/* Put a piece where another was. */
static inline struct piece swap(struct slot *slot, struct piece piece)
{
	pthread_mutex_lock(&slot->lock);
	struct piece old = slot->piece;
	slot->piece = piece;
	pthread_mutex_unlock(&slot->lock);
	return old;
}

#endif
