/* SPDX-License-Identifier: MIT */
/*
 * Statistics: adds up the counters that the rooms below keep. Owns none itself; the calls stand in quarry/quarry.h.
 *
 * Every counter is a relaxed 64-bit word in a record that is never freed, written under a lock or by one thread: a
 * snapshot never tears, and its sums may be a moment apart.
 */
#ifndef QUARRY_STATS_H
#define QUARRY_STATS_H

#include <stdint.h>

struct heap;

/** Blocks of a class in a heap's cache, and bytes in its cache and outbox; the lists move on meanwhile. */
uint64_t stats_cached_blocks(const struct heap *heap, unsigned szidx);
uint64_t stats_cached_nbytes(const struct heap *heap);

/**
 * At start: keep standard error open where options ask for statistics there; many programs close theirs. Sets the clock
 * and the signal that they are written by (stats_output.c).
 */
void stats_at_start(void);

/** At exit: statistics, where options.stats asks for them. */
void stats_at_exit(void);

#endif
