/* SPDX-License-Identifier: MIT */
/*
 * Guard pace: when allocations are counted for guarded blocks (guard.h), so that it costs little.
 *
 * To count means that no malloc takes the shortest way (sample.h): a fifth more instructions in a pair of malloc and
 * free. So allocations are counted in windows of time only, GUARD_WINDOW_PART of all time, and within them chosen
 * so many times as often. Windows come at random and whatever the program does, hence each allocation has the chance
 * that its size gives it. No more than GUARD_WINDOW_MOST blocks are chosen in a window, since each costs some
 * microseconds and takes a slot from one that was freed: then it ends. Where no point fell into a window the next ones
 * are longer and rarer, so that a process that does nothing is woken up rarely.
 *
 * All is counted where one block in less than GUARD_WINDOWS_FROM bytes is wanted, or there is nobody who knows the
 * time (purge:off). A thread that is alone and takes no slow path, so that nobody looks at the clock, has none guarded.
 *
 * Owns the window. The purger opens and closes it while it runs, else the slow paths, and the choice itself closes it.
 * Locking: the times are atomic, and one thread at a time turns the window.
 */
#ifndef QUARRY_GUARD_PACE_H
#define QUARRY_GUARD_PACE_H

#include "compiler.h"

#define GUARD_WINDOWS_FROM ((size_t)1 << 20)
#define GUARD_WINDOW_PART 64
#define GUARD_WINDOW_MOST 16
#define GUARD_PERIOD_MS 512
#define GUARD_PERIOD_MOST_MS 4096

extern _Atomic bool guard_pace_is_windowed INTERNAL; /* written by guard_pace_begin */

/** From now on choose a block in `mean` bytes, on the average. Once, before threads; or in a test. */
void guard_pace_begin(size_t mean);

/** Open or close the window if it is time to. Returns milliseconds until it is time again; 0: there are no windows. */
int guard_pace_turn(void);

/** A block was chosen: may it be? */
bool guard_pace_allows(void);

/** A slow path in a process whose purger does not run: a look at the clock now and then. */
cold_path void guard_pace_look(void);
static inline void guard_pace_pass(void)
{
	if (unlikely(atomic_load_explicit(&guard_pace_is_windowed, memory_order_relaxed)))
		guard_pace_look();
}

void guard_pace_after_fork_child(void);

#endif
