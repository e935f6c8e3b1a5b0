/* SPDX-License-Identifier: MIT */
/*
 * Quarantine: small blocks that were freed wait, wiped, before they may be handed out again. Only the hardened library
 * has it. While a block waits a second free of it is certain to be found, and none of what is written to it is
 * overwritten.
 *
 * Owns a list of places per heap. While there is room a block that comes in takes the next place; then that of a block
 * which was chosen by chance, and leaves. Room is the heap's share of options.quarantine_kib.
 * Invariants: a block here counts as out in its pool, and may be another heap's. The places below n have a block, or
 * NULL where a visitor took it.
 * Locking: as for the lists of the cache (claim.h). The attached thread alone puts a block in, which writes one place
 * and one of `chosen` and `n`, in this order, so that a visitor who knows both from after its first barrier knows which
 * two places are in doubt: the one that is chosen, and those from n on. All else is done under the heap's lock at rest.
 */
#ifndef QUARRY_QUARANTINE_H
#define QUARRY_QUARANTINE_H

#include "address_map.h"
#include "harden.h"
#include "sizeclass.h"

#define QUARANTINE_BLOCKS 1024

struct block;

struct quarantine {
	_Atomic uint32_t n;
	_Atomic uint32_t chosen;      /* whose block leaves next; below n, or 0 */
	uint32_t seen_n, seen_chosen; /* as a visitor noted them; under the lock */
	uint64_t draws;
	size_t most;                  /* bytes that may wait: a share, by the number of threads */
	_Atomic size_t nbytes;        /* that do; statistics read it */
	struct block *_Atomic place[QUARANTINE_BLOCKS];
};

/**
 * Let a block, which is wiped and whose word is given, wait. Returns the one that leaves in its stead, perhaps itself,
 * with its word, or NULL. Where it is larger than that one, quarantine_take may have more that must leave. By the
 * attached thread.
 */
static force_inline struct block *quarantine_put(struct quarantine *quarantine, struct block *block, uint32_t *word);

/** Do more bytes wait than may? */
static inline bool quarantine_is_over(const struct quarantine *quarantine)
{
	return atomic_load_explicit(&quarantine->nbytes, memory_order_relaxed) > quarantine->most;
}

/** Say among how many threads what may wait is shared: first of all, and now and then. */
void quarantine_share(struct quarantine *quarantine, unsigned nthreads);

/*
 * At rest, under the lock.
 */

/** A block, as long as more than most bytes wait; NULL: no more do. */
struct block *quarantine_take(struct quarantine *quarantine, size_t most);

/** Report every block that was written to. */
void quarantine_check(struct quarantine *quarantine);

/*
 * By a visitor, under the lock, while the thread is diverted.
 */

/** Behind the first barrier: note what may be in doubt. */
void quarantine_note(struct quarantine *quarantine);

/** The block at a place from *index on that is in no doubt, and counts it up; NULL: there are no more. */
struct block *quarantine_take_noted(struct quarantine *quarantine, uint32_t *index);

/** At rest again: close the gaps that were left. */
void quarantine_settle(struct quarantine *quarantine);

/** In a fork child, whose thread is gone: what was in doubt is dropped, or all if nothing could be noted. */
void quarantine_orphan(struct quarantine *quarantine, bool noted);

/* --- inline ------------------------------------------------------------------------------------------------------- */

/* The next one that leaves is fetched: by then it may have left the processor's caches. */
static force_inline void quarantine_choose(struct quarantine *quarantine, uint32_t n)
{
	uint32_t chosen = harden_draw(&quarantine->draws, n);
	atomic_store_explicit(&quarantine->chosen, chosen, memory_order_release);
	__builtin_prefetch(atomic_load_explicit(&quarantine->place[chosen], memory_order_relaxed), 1);
}

/* Report a block that was written to, and mend it. */
cold_path void quarantine_report(struct block *block, uint32_t word);

/* As it leaves: where its link will stand; the rest is looked at as it is handed out. */
static force_inline struct block *quarantine_checked(struct block *block, uint32_t word)
{
	if (unlikely(!harden_is_zero(block, sizeof(struct harden_link))))
		quarantine_report(block, word);
	return block;
}

static force_inline struct block *quarantine_put(struct quarantine *quarantine, struct block *block, uint32_t *word)
{
	uint32_t n = atomic_load_explicit(&quarantine->n, memory_order_relaxed);
	size_t held = atomic_load_explicit(&quarantine->nbytes, memory_order_relaxed) + sizeclass_nbytes(word_szidx(*word));
	if (held <= quarantine->most && n < QUARANTINE_BLOCKS) {
		atomic_store_explicit(&quarantine->place[n], block, memory_order_relaxed);
		atomic_store_explicit(&quarantine->n, n + 1, memory_order_release);
		atomic_store_explicit(&quarantine->nbytes, held, memory_order_relaxed);
		return NULL;
	}
	if (unlikely(n == 0))
		return block;
	struct block *_Atomic *place = &quarantine->place[atomic_load_explicit(&quarantine->chosen, memory_order_relaxed)];
	struct block *leaving = atomic_load_explicit(place, memory_order_relaxed);
	atomic_store_explicit(place, block, memory_order_relaxed);
	quarantine_choose(quarantine, n);
	*word = address_map_word_of_block(leaving);
	held -= sizeclass_nbytes(word_szidx(*word));
	atomic_store_explicit(&quarantine->nbytes, held, memory_order_relaxed);
	return quarantine_checked(leaving, *word);
}

#endif
