/* SPDX-License-Identifier: MIT */
/*
 * Large: blocks above LARGE_REQUEST_THRESHOLD, each a mapping of its own, and freed ones kept for reuse for a while.
 *
 * Owns a record per block (in meta memory, found by the number in the word of the unit where the block starts).
 * Invariants: a block starts at a multiple of POOL_SIZE and is a multiple of it and of whole pages long. A record is
 * live, kept, spare or in hand (of the one thread that maps, moves or unmaps it). Kept blocks have no word and stand
 * in a list by address.
 * Hardened, a block lies between closed addresses, its good size ends with a page, nothing is kept for reuse, and a
 * freed block's addresses wait, closed, before they are unmapped.
 * Locking: one lock of rank META for records and the kept list; no system call under it.
 */
#ifndef QUARRY_LARGE_H
#define QUARRY_LARGE_H

#include "address_map.h"
#include "pool.h"
#include "topology.h"

/** Usable bytes of a large block of nbytes; 0 if that overflows. */
size_t large_good_size(size_t nbytes);

/**
 * Allocate nbytes at a multiple of alignment (a power of two) on the node, from kept blocks or a new mapping.
 * zeroed becomes whether the memory reads as zero. NULL with ENOMEM. No lock held.
 */
void *large_alloc(unsigned node, size_t nbytes, size_t alignment, bool *zeroed);

/** Allocate nbytes, their pages on the nodes of the set by turns, in a new mapping. NULL with ENOMEM. No lock held. */
void *large_alloc_over(const struct node_set *over, size_t nbytes);

/**
 * Free the block that starts at ptr (its word is that of a large block): it is kept, or unmapped if its pages lie on a
 * set of nodes. False: no block starts there.
 */
bool large_free(void *ptr);

/** The number of the block's record in the profile (sample.h); 0: it has none, or no block starts there. */
uint32_t large_sample(const void *ptr);
void large_set_sample(void *ptr, uint32_t number);
/** Hardened: unmap the freed blocks that wait. No lock held. */
void large_release_held(void);

/** Usable bytes of the block that starts at ptr; 0 if none does. */
size_t large_usable(const void *ptr);

/** Whose the block that starts at ptr is, as span_owner; NULL: the program's own, or no block starts there. */
struct span_owner *large_owner(const void *ptr);
void large_set_owner(void *ptr, struct span_owner *owner);

/** The link that the block's record has for its owner's ring, and back. */
struct pool_link *large_link(void *ptr);
void *large_of_link(struct pool_link *link);

/** Change the size in place. False if it cannot. */
bool large_resize(void *ptr, size_t nbytes);

/** Change the size, moving the pages if need be, without copying. NULL if the system refuses: nothing has changed. */
void *large_move(void *ptr, size_t nbytes);

/**
 * Unmap kept blocks that were freed age ticks ago or earlier, at most nbytes. Returns bytes unmapped. No lock held but
 * perhaps claim_lock, without which a fork child may lose the block that is in hand.
 */
size_t large_purge(uint8_t age, size_t nbytes);

struct large_block {
	char *address;
	size_t nbytes; /* of its mapping, less what lies around it: what statistics count */
	unsigned node;
	size_t usable; /* of them */
};

/** The live block that starts at ptr. False: none does. */
bool large_at(const void *ptr, struct large_block *block);

/** The live block that contains ptr, by a look at every record. False: none. */
bool large_find(const void *ptr, struct large_block *block);

/** The first live block whose record number is at least *number, which moves on behind it. False: no more. */
bool large_next(uint32_t *number, struct large_block *block);

size_t large_live_nbytes(void);
size_t large_kept_nbytes(void);

void large_lock_for_fork(void);
void large_unlock_after_fork(bool in_child);

#endif
