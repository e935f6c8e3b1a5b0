/* SPDX-License-Identifier: MIT */
/*
 * Arena: one mapping of 2^ARENA_BITS bytes (less where address space is short), cut into units; a pool or a span is
 * a run of units. After obmalloc's arena_object: the entry lies apart from the memory that it manages.
 *
 *     address ->  | head: pool_header per unit | unit | unit | unit ...
 *
 * Invariants: address is NULL exactly when the object is in unused_arena_objects. nfreepools counts the bits in `free`,
 * ndirty those set in `free` and in `dirty`. A clean unit reads as zero; where a
 * provider's memory does not, all units are dirty from the start. `longest` is never below the longest run of
 * free units. The units of the head are never free.
 * Locking: everything here is called under the lock of the arena's node, except arena_map and arena_unmap, which make
 * system calls and see an arena that nobody else knows. nfreepools and ndirty are also read elsewhere, as hints.
 */
#ifndef QUARRY_ARENA_H
#define QUARRY_ARENA_H

#include "compiler.h"
#include "provider.h"
#include "rcu.h"
#include "tunables.h"

struct arena_object {
	char *address;                   /* base; NULL: unused */
	const struct quarry_provider *provider; /* whom the memory is from; NULL: the kernel */
	struct arena_object *nextarena;  /* usable: place in its node's bucket; unused: next unused object */
	struct arena_object *prevarena;
	struct cds_list_head rcu_link;   /* membership of all arenas: arena_list.c */
	uint32_t node;
	uint32_t ntotalpools;            /* units, the head's left out */
	_Atomic uint32_t nfreepools;     /* free units */
	_Atomic uint32_t ndirty;         /* free units that are not known to be zero */
	uint32_t longest;                /* no run of free units is longer */
	int bucket;                      /* of usable_arenas; -1: not listed */
	bool stays_dirty;                /* free units become clean with the whole arena only; written by the purger */
	uint8_t empty_since;             /* tick at which the last pool came back */
	bool fenced;                     /* hardened: closed but for the runs that are taken (fence.h); constant */
	_Atomic bool opened;             /* a fenced one that was given up */
	uint64_t free[ARENA_WORDS];
	uint64_t dirty[ARENA_WORDS];
	uint8_t stamp[ARENA_UNITS];      /* tick at which a free dirty unit came back */
};

/* Bytes of one pool header in the head, its free bits included: whole cache lines. */
#define POOL_HEADER_NBYTES                                                                                             \
	((40 + 8 * QUARRY_HARDENED + (1 + QUARRY_BLOCK_BITS) * POOL_MAX_BLOCKS / 8 + CACHE_LINE - 1) / CACHE_LINE *    \
	 CACHE_LINE)
#define ARENA_HEAD_NBYTES (ARENA_UNITS * POOL_HEADER_NBYTES)
#define ARENA_HEADER_UNITS ((ARENA_HEAD_NBYTES + POOL_SIZE - 1) / POOL_SIZE)
/* Hardened, the last unit of the head is closed. */
#define ARENA_HEAD_UNITS (ARENA_HEADER_UNITS + QUARRY_HARDENED)

static inline char *arena_base(const void *ptr)
{
	return (char *)((uintptr_t)ptr & ~(uintptr_t)(ARENA_SIZE - 1));
}

static inline size_t arena_unit_of(const void *ptr)
{
	return ((uintptr_t)ptr & (ARENA_SIZE - 1)) >> QUARRY_POOL_BITS;
}

/** The object of the arena at base; unit 0 belongs to the head, so that its header's place is free to name it. */
static inline struct arena_object *arena_at(const void *base)
{
	return *(struct arena_object *const *)base;
}

static inline bool arena_is_empty(const struct arena_object *arena)
{
	return atomic_load_explicit(&arena->nfreepools, memory_order_relaxed) == arena->ntotalpools;
}

/** Map memory of the node for an unused object: all units free. False with ENOMEM. No lock held. */
bool arena_map(struct arena_object *arena, unsigned node, char *hint);

/** Unmap; false if the system or the provider refuses. The arena is empty and unknown to everybody. No lock held. */
bool arena_unmap(struct arena_object *arena);

/** Bytes of the arena's mapping, head included. */
size_t arena_nbytes(const struct arena_object *arena);

struct arena_run {
	char *address; /* NULL: none */
	size_t nunits;
	bool clean; /* reads as zero */
};

/** Take nunits neighbouring units that start at a multiple of alignment units (a power of two). */
struct arena_run arena_take(struct arena_object *arena, size_t nunits, size_t alignment);

/** As arena_take, dirty units only: their pages are resident, and charged already. */
struct arena_run arena_take_dirty(struct arena_object *arena, size_t nunits, size_t alignment);

/** Take the nunits units at address if all of them are free. */
bool arena_take_at(struct arena_object *arena, const char *address, size_t nunits);

/** Give units back. clean: they read as zero. */
void arena_put(struct arena_object *arena, const char *address, size_t nunits, bool clean, uint8_t tick);

/** Take the first run of free dirty units that came back at least age ticks ago, at most nunits of them. */
struct arena_run arena_take_old(struct arena_object *arena, uint8_t tick, uint8_t age, size_t nunits);

#endif
