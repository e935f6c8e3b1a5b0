/* SPDX-License-Identifier: MIT */
/*
 * Quarantine: small blocks that were freed wait, wiped, before they may be handed out again. Only the hardened library has
 * it. While a block waits a second free of it is certain to be found, and a write to it is found when it leaves.
 *
 * Owns a ring per heap. A block that comes in changes places with a random one of those that wait, which goes to the end
 * of the ring; the one at its front leaves when the heap has more than its share of options.quarantine_kib, or no place.
 * Invariants: a block here counts as out in its pool, and may be another heap's. Locking: the heap's lock.
 */
#ifndef QUARRY_QUARANTINE_H
#define QUARRY_QUARANTINE_H

#include "compiler.h"

#define QUARANTINE_BLOCKS 1024 /* a power of two */

struct block;

struct quarantine {
	uint32_t first, n;
	_Atomic size_t nbytes; /* of the blocks; statistics read it */
	struct block *ring[QUARANTINE_BLOCKS];
};

/** Wipe a block, of nbytes, and let it wait; there is a place. */
void quarantine_put(struct quarantine *quarantine, struct block *block, size_t nbytes);

/**
 * The block that leaves, if one must: while more than most bytes wait, or no place is left. NULL: none must. Reports a
 * block that was written to.
 */
struct block *quarantine_take(struct quarantine *quarantine, size_t most);

/** Report every block here that was written to. */
void quarantine_check(struct quarantine *quarantine);

#endif
