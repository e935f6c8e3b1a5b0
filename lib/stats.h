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

/** Bytes of blocks in a heap's cache and outbox; the lists move on meanwhile. */
uint64_t stats_cached_nbytes(const struct heap *heap);

/** At start: keep standard error open for the summary, where options.stats asks for one; many programs close theirs. */
void stats_at_start(void);

/** At exit: the summary. */
void stats_at_exit(void);

#endif
