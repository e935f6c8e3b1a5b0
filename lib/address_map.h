/* SPDX-License-Identifier: MIT */
/*
 * Address map: what lies at an address, asked by one load. Owns one 32-bit word per unit (2^POOL_BITS bytes) of a
 * window of the address space in which all of Quarry's blocks lie.
 *
 * A word is 0 where no block can be, else one of
 *
 *     unit of a pool      0 | owner id 19 | phase 4 | szidx 8     phase: how many units the pool's start lies behind
 *     first unit of span  1 | 0                     | WORD_SPAN
 *     later unit of span  1 | 0                     | WORD_SPAN_REST
 *     large block         1 | record number 23      | WORD_LARGE  only where the block starts
 *     guarded blocks      1 | 0                     | WORD_GUARD  any unit of their pool
 *
 * so that word - (owner id << WORD_OWNER_SHIFT) < WORD_OWNER exactly for the pools of that owner.
 *
 * Invariants: the window is fixed by the first mapping and never moves. A word is 0 before its memory is mapped and
 * 0 again before it is unmapped; while a block is out in a unit, szidx and phase of its word are constant.
 * Locking: words are written under the lock of whoever owns the unit (arena: node lock; pool: its heap's lock; large:
 * the large lock) and read anywhere, relaxed: the reader was handed the block, which orders what matters; an owner id
 * may be out of date and is then only a hint (heap.h).
 */
#ifndef QUARRY_ADDRESS_MAP_H
#define QUARRY_ADDRESS_MAP_H

#include "compiler.h"
#include "tunables.h"

#define WORD_OWNER_SHIFT 12
#define WORD_OWNER ((uint32_t)1 << WORD_OWNER_SHIFT)
#define WORD_OWNERS ((uint32_t)1 << 19)
/* The upper half of the ids is that of regions (region.h). */
#define WORD_REGION_OWNERS (WORD_OWNERS / 2)
#define WORD_REGION (WORD_REGION_OWNERS << WORD_OWNER_SHIFT)
#define WORD_PHASE_SHIFT 8
#define WORD_PAYLOAD_SHIFT 8
#define WORD_NOT_A_POOL ((uint32_t)1 << 31)
#define WORD_SPAN (WORD_NOT_A_POOL | 0xfd)
#define WORD_SPAN_REST (WORD_NOT_A_POOL | 0xfc)
#define WORD_LARGE 0xfe
/* A unit of the pool of guarded blocks (guard.h). */
#define WORD_GUARD (WORD_NOT_A_POOL | 0xfb)

_Static_assert(POOL_MAX_UNITS <= 16, "a phase has four bits");

/*
 * All constant once nunits, stored last (release), is not 0. Who was handed a block sees all of it; whoever was not has
 * nothing to look up.
 */
struct address_map {
	uintptr_t first_unit; /* of the window; address >> POOL_BITS */
	size_t nunits;        /* of the window; 0 before the first mapping, so that every pointer is foreign */
	_Atomic uint32_t *words;
};
extern struct address_map address_map;

/*
 * The same for free(), read plainly. No struct: each is an operand by itself. The window in bytes and in multiples of
 * ALIGNMENT, and its words as if it began at address 0: the way from a block to its word, on which the next malloc
 * waits, is a shift and a load, and the comparison goes on beside it.
 */
extern QUARRY_LOCAL uintptr_t address_map_start;
extern QUARRY_LOCAL size_t address_map_steps;
extern QUARRY_LOCAL uintptr_t address_map_origin;

static inline uint32_t word_of_pool(uint32_t owner_id, unsigned phase, unsigned szidx)
{
	return owner_id << WORD_OWNER_SHIFT | phase << WORD_PHASE_SHIFT | szidx;
}

static inline bool word_is_pool(uint32_t word)
{
	return word != 0 && (word & WORD_NOT_A_POOL) == 0;
}

static inline unsigned word_szidx(uint32_t word)
{
	return (uint8_t)word;
}

static inline unsigned word_phase(uint32_t word)
{
	return word >> WORD_PHASE_SHIFT & 0xf;
}

static inline uint32_t word_owner(uint32_t word)
{
	return word >> WORD_OWNER_SHIFT;
}

/** The word of the unit that contains ptr; 0 for any address outside of the window, NULL included. */
static force_inline uint32_t address_map_word(const void *ptr)
{
	uintptr_t unit = ((uintptr_t)ptr >> QUARRY_POOL_BITS) - address_map.first_unit;
	size_t nunits = __atomic_load_n(&address_map.nunits, __ATOMIC_RELAXED);
	if (unlikely(unit >= nunits))
		return 0;
	return atomic_load_explicit(&address_map.words[unit], memory_order_relaxed);
}

/** The same for what for sure is a block. */
static force_inline uint32_t address_map_word_of_block(const void *block)
{
	const _Atomic uint32_t *words = (const _Atomic uint32_t *)address_map_origin;
	return atomic_load_explicit(&words[(uintptr_t)block >> QUARRY_POOL_BITS], memory_order_relaxed);
}

/**
 * As address_map_word, but false for what is no multiple of ALIGNMENT, as for any address outside of the window. One
 * comparison for both: the rotation puts what is left below ALIGNMENT on top.
 */
static force_inline bool address_map_find(const void *ptr, uint32_t *word)
{
	uintptr_t offset = (uintptr_t)ptr - address_map_start;
	uintptr_t step = offset >> ALIGNMENT_BITS | offset << (8 * sizeof(offset) - ALIGNMENT_BITS);
	size_t nsteps = QUARRY_TSAN ? __atomic_load_n(&address_map_steps, __ATOMIC_RELAXED) : address_map_steps;
	if (unlikely(step >= nsteps))
		return false;
	const _Atomic uint32_t *words = (const _Atomic uint32_t *)address_map_origin;
	*word = atomic_load_explicit(&words[(uintptr_t)ptr >> QUARRY_POOL_BITS], memory_order_relaxed);
	return true;
}

/** Write the words of nunits units from address on. */
void address_map_set(const void *address, size_t nunits, uint32_t word);

/** Write 0 over the word of the unit at address if it still is `word`. Of several threads one is told true. */
bool address_map_clear(const void *address, uint32_t word);

/**
 * Map nbytes (whole pages) at a multiple of alignment, within the window, its words writable and 0.
 * NULL with ENOMEM. Fixes the window on first use. No lock held by the caller.
 */
void *address_map_place(size_t nbytes, size_t alignment);

/** As address_map_place, but at exactly that address; NULL if it is taken, outside of the window or refused. */
void *address_map_place_exactly(void *address, size_t nbytes);

/** As address_map_cover, for what somebody else has mapped: it may be the first memory of all. No lock held. */
bool address_map_admit(const void *address, size_t nbytes);

/** Does the range lie in the window, with words that may be written? Makes them so. False where the system refuses. */
bool address_map_cover(const void *address, size_t nbytes);

void address_map_lock_for_fork(void);
void address_map_unlock_after_fork(bool in_child);

/** Is the window a smaller one, since address space is limited? */
bool address_map_is_limited(void);

/** Bytes of address space reserved for the words. */
size_t address_map_reserved(void);

#endif
