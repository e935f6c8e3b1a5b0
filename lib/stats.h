/* SPDX-License-Identifier: MIT */
/*
 * Statistics: adds up the counters that the rooms below keep. Owns none itself; the calls stand in quarry/quarry.h.
 *
 * Every counter is a relaxed 64-bit word in a record that is never freed, written under a lock or by one thread: a
 * snapshot never tears, and its sums may be a moment apart.
 */
#ifndef QUARRY_STATS_H
#define QUARRY_STATS_H

/** At exit: the summary on standard error, where options.stats asks for it. */
void stats_at_exit(void);

#endif
