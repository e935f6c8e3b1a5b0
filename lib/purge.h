/* SPDX-License-Identifier: MIT */
/*
 * Purge: gives memory back by time, with or without further calls. Owns the purger thread and the tick.
 *
 * A quarter of the decay time is a tick. At each the purger returns free units and kept large blocks that are four
 * ticks old, visits idle caches, pokes the others now and then, and retires empty arenas. It starts when there is
 * something to give back (and never before the program's constructors have run), and ends itself after some seconds
 * without. Near a limit, of the container or Quarry's own, it keeps less, and at it nothing. Where no thread may be
 * made (or by purge:inline), slow paths past a deadline do a bounded part of the work.
 *
 * States: none -> starting -> running -> none; one thread at most. Locking: the state is atomic. No lock is held where
 * libc or the kernel is called. The purger allocates nothing and has all signals blocked.
 */
#ifndef QUARRY_PURGE_H
#define QUARRY_PURGE_H

#include "compiler.h"

/** From the constructor on the purger may start. */
void purge_allow(void);

/** On the way out of a slow path that freed or attached: is there work for the purger? No lock held. */
void purge_hint(void);

/**
 * Have the purger call this, at least every every_ms (0: no limit) and after purge_wake, and stay for it. Before
 * purge_allow; with purge:thread only.
 */
void purge_attend(void (*call)(void), int every_ms);

/**
 * Have whoever gives memory back call this first, for what a layer above holds back: all: everything, else what lies
 * idle, once a tick. Set once. Called with no lock held, by any thread; it calls nothing of the program's.
 */
void purge_consult(void (*call)(bool all));

/** Wake the purger if there is one. Safe in a signal handler. */
void purge_wake(void);

/**
 * Give back everything that can be, at once, in the caller; keep bytes may stay.
 * unmap: empty arenas too, which waits for readers. Returns whether anything went back. No lock held.
 */
bool purge_all(size_t keep, bool unmap);

/** In a fork child: the purger is gone. */
void purge_after_fork_child(void);

#endif
