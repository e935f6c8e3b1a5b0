/* SPDX-License-Identifier: MIT */
/*
 * Frame cache: how to get from a frame to its caller's, for addresses that stacks go through again and again. To find
 * that by the tables (frame_rules.h) takes a search and two programs, some 1700 instructions. Owns the rows.
 *
 * What is known of an address is a row, which fits a word; what does not fit is read each time. Rows are found by a
 * key, of the address and of the object that it is in, so that a library that comes in place of another does not get
 * the other's frames. A row that is in another's way takes its place.
 *
 * Locking: none, also in a handler of a signal and after fork. A place has two words, the row and the key combined with
 * it: a reader that finds halves of two rows finds no key (Hyatt and Mann, 2002).
 */
#ifndef QUARRY_FRAME_CACHE_H
#define QUARRY_FRAME_CACHE_H

#include "compiler.h"

#define FRAME_CACHE_BITS 12

/* Where the frame begins (at its canonical frame address), and where it keeps what is the caller's. */
struct frame_row {
	uint32_t cfa_offset : 31; /* bytes from the stack pointer, */
	uint32_t from_fp : 1;     /* or from the frame pointer */
	int16_t ra;               /* the return address: words from the frame's; 0: the walk ends here */
	int16_t fp;               /* the frame pointer; 0: it was left alone */
};

struct frame_place {
	_Atomic uint64_t check; /* the key ^ the row; 0: empty */
	_Atomic uint64_t row;
};
extern struct frame_place frame_cache[1 << FRAME_CACHE_BITS] INTERNAL;

/** Never 0. `identity` is the object's (frame_table.h). */
static inline uint64_t frame_key(uintptr_t pc, uint64_t identity)
{
	return (pc ^ identity) * UINT64_C(0x9e3779b97f4a7c15) | 1;
}

static inline struct frame_place *frame_place(uint64_t key)
{
	return &frame_cache[key >> (64 - FRAME_CACHE_BITS)];
}

/** False: it is not there. */
static inline bool frame_cache_find(uint64_t key, struct frame_row *row)
{
	struct frame_place *place = frame_place(key);
	uint64_t word = atomic_load_explicit(&place->row, memory_order_relaxed);
	uint64_t check = atomic_load_explicit(&place->check, memory_order_relaxed);
	_Static_assert(sizeof(*row) == sizeof(word), "a row is a word");
	__builtin_memcpy(row, &word, sizeof(word));
	return (check ^ word) == key;
}

/** Remember a row, in the place of what was there. */
void frame_cache_put(uint64_t key, struct frame_row row);

#endif
