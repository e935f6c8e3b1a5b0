/* SPDX-License-Identifier: MIT */
/*
 * Large record: what is kept of each large block, and the list of the kept ones; lib/large.c alone uses it.
 *
 * Owns the records, in meta memory, found by the number in the word of the unit where a block starts, and the list, by
 * address. Locking: large_lock, of rank META; whoever has a record in hand owns its fields without it.
 */
#ifndef QUARRY_LARGE_RECORD_H
#define QUARRY_LARGE_RECORD_H

#include "limit.h"
#include "lock.h"
#include "node.h"
#include "pool.h"
#include "provider.h"

enum { SPARE, IN_HAND, LIVE, KEPT };

struct record {
	char *address;
	size_t nbytes;
	const struct quarry_provider *provider; /* whom the memory is from; NULL: the kernel */
	struct record *next; /* kept: by address; spare */
	uint32_t number;
	uint32_t sample;     /* live: number of the record in the profile, or 0; the block's holder's */
	uint8_t state;
	uint8_t stamp;       /* tick at which it was freed */
	uint16_t node;
	struct pool_link link;    /* live, with an owner: the owner's; under its lock */
	struct span_owner *owner; /* live: the block's holder's */
	size_t requested;    /* hardened: of nbytes, the program's */
	size_t lead;         /* hardened: closed bytes before address, and FENCE_NBYTES behind the block */
	bool split;          /* live: merged of what the kernel keeps as several mappings, as a resize has found out */
};

/* In the place of the node: pages on some nodes by turns. Such a block is not kept for reuse. */
#define LARGE_OVER NODE_PLACES

extern struct lock large_lock;

/** Change a sum of bytes, and what is charged to the limit; under the lock. */
static inline void record_count(_Atomic size_t *sum, size_t added, size_t removed)
{
	atomic_store_explicit(sum, atomic_load_explicit(sum, memory_order_relaxed) + added - removed, memory_order_relaxed);
	limit_charge(LIMIT_LARGE, added, removed);
}

/** A spare record, made if need be, in hand; NULL: no memory. No lock held. */
struct record *record_obtain(unsigned node);

/** The record of the block that starts at ptr; NULL: none does. No lock needed. */
struct record *record_at(const void *ptr);

/** Have the block found by its address. No lock needed. */
void record_set_word(const struct record *record);

/** The first kept block from that address on that was freed age ticks ago or earlier, in hand. No lock held. */
struct record *record_take_old(uint8_t age, const char *from);

/* The others are called under the lock. */

void record_put_spare(struct record *record);

/** Does its memory go back as it came: whole, and when it is freed? */
bool record_stands_alone(const struct record *record);

/** Keep the block of a record in hand for reuse; it was freed at that tick. */
void record_keep(struct record *record, uint8_t stamp);

/** The smallest kept block that fits, in hand; NULL: none does. */
struct record *record_take_kept(unsigned node, size_t nbytes, size_t alignment);

/** Grow a live block into the kept one that follows; false if there is none or it is too short. */
bool record_absorb(struct record *record, size_t nbytes);

/** Keep what a live block has behind nbytes; false if it cannot be. */
bool record_cut(struct record *record, size_t nbytes);

#endif
