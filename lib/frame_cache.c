/* SPDX-License-Identifier: MIT */
/*
 * Frame cache: see frame_cache.h.
 */
#include "frame_cache.h"

struct frame_place frame_cache[1 << FRAME_CACHE_BITS];

void frame_cache_put(uint64_t key, struct frame_row row)
{
	struct frame_place *place = frame_place(key);
	uint64_t word;
	__builtin_memcpy(&word, &row, sizeof(word));
	atomic_store_explicit(&place->row, word, memory_order_relaxed);
	atomic_store_explicit(&place->check, key ^ word, memory_order_relaxed);
}
