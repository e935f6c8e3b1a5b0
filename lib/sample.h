/* SPDX-License-Identifier: MIT */
/*
 * Sample: the heap profile. Some allocations are chosen by chance, and with each goes the stack that asked for it.
 *
 * How they are chosen: points lie on the line of all bytes that a thread asks for, as a Poisson process, one per
 * `mean` bytes on the average. An allocation is chosen if a point falls into it, so with the probability
 * p = 1 - exp(-nbytes / mean), and counts for 1 / p of its kind: sums of these are unbiased estimates. A thread counts
 * down `slot.credit` to its next point, in units of 2^-40 mean: what is left of one is as good as a new one, also after
 * a pause and at another rate.
 *
 * What it costs: nothing while it is off. malloc compares a request with sample_tabled_limit, in the place of a
 * constant, to see if its class is in the table; while allocations are counted that is 0, so each malloc takes the way
 * of larger requests, counts there, and does what it would have done (entry.c). free does not notice, nor do visitors
 * (claim.h): it is the same operation on the same list. A chosen block is a span or a large block whatever its size,
 * and its header has the number of its record: free comes by there anyway.
 *
 * A block of a typed cache or of a heap of quarry/heap.h has no place for that number: it stays what it is, and is
 * found by its address when it comes back. While allocations are counted no magazine is open (magazine.h), so that each
 * goes by the slow path. Its stack is told apart by the name of its cache or the tag of its heap.
 *
 * Owns the switch, the stacks (by a hash of their frames; never freed; one, of no frames, for those that come when all
 * places are taken) and a record for each chosen block that is live. `session` counts the times that it was switched
 * on: sums begin anew then, and blocks of an older session are nobody's.
 *
 * Guarded blocks (guard.h) are chosen by points of a process of their own, of another rate: the two are counted as one,
 * and when a point has come sample_whose tells whose it is.
 *
 * From outside, quarry prof writes the mean into sample_control.wanted; a thread that passes a slow path, or the
 * purger, takes it from there.
 *
 * Locking: `sample_lock`, of rank META, for all but finding a stack. Stacks are walked with no lock held.
 */
#ifndef QUARRY_SAMPLE_H
#define QUARRY_SAMPLE_H

#include "sizeclass.h"
#include "slot.h"

#define SAMPLE_MEAN_NBYTES ((size_t)512 << 10)
#define SAMPLE_MEAN_LEAST 1
#define SAMPLE_MEAN_MOST ((size_t)1 << 30)

#define SAMPLE_UNIT_BITS 40 /* the mean, in units of credit */
#define SAMPLE_FRAMES 64
#define SAMPLE_STACKS 16384
#define SAMPLE_RECORDS 65536

/* Numbers of blocks are estimates: in units of 2^-SAMPLE_BLOCK_BITS. */
#define SAMPLE_BLOCK_BITS 16

/* What is asked from outside. Else it is the mean, in bytes. */
#define SAMPLE_ASKED_NOTHING 0
#define SAMPLE_ASKED_STOP UINT64_MAX

struct sample_sums {
	uint64_t blocks, nbytes;           /* estimates: of all since the start */
	uint64_t live_blocks, live_nbytes; /* and of those that are live */
	uint64_t taken;                    /* blocks chosen, as they are */
};

/* Whose a block is that malloc did not give: a typed cache or a heap, by its address, and its name. */
enum sample_kind { SAMPLE_OF_MALLOC, SAMPLE_OF_CACHE, SAMPLE_OF_HEAP };
#define SAMPLE_LABEL_NBYTES 32
struct sample_owner {
	const void *address;
	enum sample_kind kind;
	const char *label; /* shorter than SAMPLE_LABEL_NBYTES */
};

/* All but the sums is constant. */
struct sample_stack {
	uint64_t hash;
	uint32_t next; /* of the same bucket: number, or 0 */
	uint32_t nframes;
	uint32_t kind; /* enum sample_kind */
	char label[SAMPLE_LABEL_NBYTES];
	struct sample_sums sums; /* under sample_lock */
	uintptr_t frames[];
};

struct sample_control {
	_Atomic uint64_t wanted;    /* written from outside, by process_vm_writev; taken by whoever sees it first */
	_Atomic uint64_t rate;      /* units of credit per byte; 0: off */
	_Atomic uint64_t guards;    /* the same for guarded blocks, which are chosen by points of their own (guard.h) */
	_Atomic uint64_t total;     /* the sum, by which credit is counted */
	_Atomic uint64_t mean;      /* bytes; of the last session when off */
	_Atomic uint32_t session;
	_Atomic uint32_t nstacks;
	_Atomic uint64_t dropped;   /* chosen, but there was no record left or no room */
	_Atomic uint64_t requested; /* estimates: what was asked for in the blocks that are live, */
	_Atomic uint64_t usable;    /* and what they have; both written under sample_lock */
};
extern struct sample_control sample_control INTERNAL;

/* What stands in the place of TABLE_LIMIT in malloc: that, or 0 while allocations are counted. Read plainly. */
extern size_t sample_tabled_limit INTERNAL;

/** Has a request of nbytes its class in the table, and is it not to be counted? */
static force_inline bool sample_passes(size_t nbytes)
{
	size_t limit = QUARRY_TSAN ? __atomic_load_n(&sample_tabled_limit, __ATOMIC_RELAXED) : sample_tabled_limit;
	return nbytes - 1 < limit; /* never 0 */
}

/** Units of credit per byte; 0 while nothing is counted. */
static force_inline uint64_t sample_rate(void)
{
	return atomic_load_explicit(&sample_control.total, memory_order_relaxed);
}

/** The part of these that the profile has; 0 while it is off. */
static inline uint64_t sample_profile_rate(void)
{
	return atomic_load_explicit(&sample_control.rate, memory_order_relaxed);
}

/** Count a block of at most SMALL_REQUEST_THRESHOLD bytes. True: ask sample_is_due. */
static force_inline bool sample_count(uint64_t rate, size_t nbytes)
{
	int64_t credit = slot.credit - (int64_t)(rate * nbytes);
	slot.credit = credit;
	return unlikely(credit < 0);
}

/** The same for any size. */
bool sample_count_big(uint64_t rate, size_t nbytes);

/** The credit is used up: does a point fall into the block of nbytes that was counted last? Draws the next one. */
bool sample_is_due(uint64_t rate, size_t nbytes);

/* Whose points are in a block. */
enum { SAMPLE_FOR_PROFILE = 1, SAMPLE_FOR_GUARD = 2 };

/**
 * Whose points made a block of nbytes due: one of these or both, each with the probability that it has by itself;
 * neither where all was switched off meanwhile. *rate becomes the profile's.
 */
unsigned sample_whose(size_t nbytes, uint64_t *rate);

/** Points for guarded blocks: units of credit per byte; 0: none. */
void sample_set_guards(uint64_t rate);

/** Sixty-four bits of chance. */
uint64_t sample_random(void);

/**
 * A record for a block that was asked for with nbytes, has `usable`, and was chosen at the profile's rate, with the
 * stack of this call: its number, or 0 if there is none. No lock held.
 */
uint32_t sample_take(uint64_t rate, size_t nbytes, size_t usable);

/** The block is free, or another size. */
void sample_forget(uint32_t number);

/** As sample_take and sample_forget, for a block of an owner's, known by its address. */
void sample_take_owned(uint64_t rate, const void *ptr, size_t nbytes, size_t usable, const struct sample_owner *owner);
void sample_forget_owned(const void *ptr);

/** All blocks of the owner are free. */
void sample_forget_owner(const void *owner);

/** Number of records of such blocks. */
extern _Atomic uint32_t sample_nowned INTERNAL;

/** Is there any such block? Else there is nothing to forget. */
static inline bool sample_has_owned(void)
{
	return unlikely(atomic_load_explicit(&sample_nowned, memory_order_relaxed) != 0);
}

/** A chosen block that could not be had. */
void sample_drop(void);

/** Switch on. False with errno: EALREADY, EINVAL, ENOTSUP (this processor's stacks cannot be walked). */
bool sample_start(size_t mean);

/** Have `started` called whenever it was switched on, with no lock held. One caller at most. */
void sample_attend(void (*started)(void));

/** Switch off; what is live stays known. False with errno: EALREADY. */
bool sample_stop(void);

/** Is there something to do for sample_obey? */
static inline bool sample_is_asked(void)
{
	return atomic_load_explicit(&sample_control.wanted, memory_order_relaxed) != SAMPLE_ASKED_NOTHING;
}

/** Do what is asked from outside. */
void sample_obey(void);

/** Stacks so far, numbered from 1. */
uint32_t sample_stack_count(void);
const struct sample_stack *sample_stack_at(uint32_t number);

/** The sums of a stack, at one moment. */
struct sample_sums sample_sums_of(const struct sample_stack *stack);

/**
 * The number of the stack with these frames, of the owner or of malloc (NULL), which is made if need be; 0 only if
 * there is no memory at all.
 */
uint32_t sample_find_stack(const uintptr_t *frames, unsigned nframes, const struct sample_owner *owner);

/** For tests: the chances are the same from here on. */
void sample_seed(uint64_t seed);

/** The probability that a block of so many units of credit is chosen. */
double sample_probability(uint64_t units);

/** Units to the next point: exponentially distributed, their mean 2^SAMPLE_UNIT_BITS. */
int64_t sample_draw(void);

void sample_lock_for_fork(void);
void sample_unlock_after_fork(bool in_child);

#endif
