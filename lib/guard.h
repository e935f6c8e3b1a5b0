/* SPDX-License-Identifier: MIT */
/*
 * Guard: some allocations get a slot of a small pool in place of a block, where each misuse of them is found at once,
 * and reported with the stacks that allocated and freed them. For running in production: they are few.
 *
 *     | closed | slot 0 | closed | slot 1 | closed | ... | closed |      all parts are of one length
 *
 * A block ends with its slot, as near as ALIGNMENT lets it, or now and then begins with it; only the pages that it
 * touches are open, and what else is in them is painted, and looked at by free. A freed slot is closed, and it is the
 * one freed longest ago that is used next. Its pages keep what was in them until then, for a core file.
 * A request that is larger than a slot, or comes when all slots are live, is served as any other.
 *
 * Owns the pool, mapped when the first block is chosen (sample.h, guard_pace.h) and never unmapped, a record for each
 * slot, out of reach in meta memory, and the words of the pool's units, which all are WORD_GUARD. What is reported,
 * and how a fault becomes a report, is of guard_report.c.
 * States of a slot: FREE -> IN_HAND (of the one thread that opens it) -> LIVE -> IN_HAND (closes it) -> FREE; LOST:
 * opened by a fault that was reported, on_error:report, for good.
 * Invariants: a slot is in the ring of free ones exactly if it is FREE. live_nbytes is the sum of the live blocks,
 * open_nbytes that of all pages that may be resident.
 * Locking: one lock of rank META for states, the ring and the sums; no system call under it. All else of a record is
 * of who has it in hand; a report reads it with the lock or, where that is not to be had, without.
 */
#ifndef QUARRY_GUARD_H
#define QUARRY_GUARD_H

#include "address_map.h"
#include "lock.h"

#define GUARD_SLOT_NBYTES ((size_t)8192) /* or a page, if that is more */
#define GUARD_FRAMES 32

enum guard_state { GUARD_FREE, GUARD_IN_HAND, GUARD_LIVE, GUARD_LOST };

/* Who did something, and by which calls. */
struct guard_trace {
	uint32_t thread; /* 0: nobody so far */
	uint32_t nframes;
	uintptr_t frames[GUARD_FRAMES];
};

struct guard_slot {
	char *address;       /* of the block that is live or was last; NULL: there was none */
	size_t nbytes;       /* its usable bytes */
	size_t open_nbytes;  /* in pages that were touched since the slot was last made clean */
	_Atomic uint32_t state;
	uint32_t next;       /* in the ring: number, from 1; 0: the last */
	uint32_t sample;     /* live: number of the record in the profile, or 0; the block's holder's */
	uint16_t node;       /* that the pages were first touched from */
	bool ajar;           /* could not be closed when it was freed */
	struct guard_trace allocated, freed;
};

/* Constant once `start` is not NULL, which is stored last (release). */
struct guard_pool {
	char *_Atomic start;
	size_t nbytes, slot_nbytes;
	uint32_t nslots;
	struct guard_slot *slots;
};
extern struct guard_pool guard_pool INTERNAL;
extern struct lock guard_lock INTERNAL;

static inline bool guard_is(uint32_t word)
{
	return word == WORD_GUARD;
}

/** By the settings: choose guarded blocks from now on, or never. */
void guard_at_start(void);

/**
 * A guarded block of nbytes for a thread on this node. NULL: nbytes are too many, no slot is free or the system
 * refuses; errno stays. No lock held.
 */
void *guard_alloc(unsigned node, size_t nbytes);

/** Free the guarded block at ptr, or report what is wrong with that. */
void guard_free(void *ptr);

/** Usable bytes of the live block that starts at ptr; 0: none does. */
size_t guard_usable(const void *ptr);

/** The number of the block's record in the profile (sample.h), as span_sample. */
uint32_t guard_sample(const void *ptr);
void guard_set_sample(void *ptr, uint32_t number);

struct guard_block {
	char *address;
	size_t nbytes;
	unsigned node;
};

/** The live block that contains ptr. False: none. */
bool guard_find(const void *ptr, struct guard_block *block);

/** The first live block whose slot's number is at least *number, which moves on behind it. False: no more. */
bool guard_next(uint32_t *number, struct guard_block *block);

struct guard_sums {
	size_t mapped, live, open; /* bytes; live <= open <= mapped */
	uint64_t taken, full;      /* blocks ever, and those for which no slot was free */
};
struct guard_sums guard_sums(void);

/** Give back the pages of slots that are free. No lock held. */
void guard_purge(void);

/** Never use a slot again that is free; false if it is not. Under the lock. */
bool guard_lose(struct guard_slot *slot);

/** The slot that ptr lies in or is next to, of at least one; the pool exists. */
struct guard_slot *guard_slot_near(const void *ptr);

/** Where the slot begins. */
char *guard_start_of(const struct guard_slot *slot);

/** Fill in who is calling. */
void guard_note(struct guard_trace *trace);

void guard_lock_for_fork(void);
void guard_unlock_after_fork(bool in_child);

/** In a fork child: what other threads had in hand is nobody's. */
void guard_after_fork_child(void);

#endif
