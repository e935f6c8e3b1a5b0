/* SPDX-License-Identifier: MIT */
/*
 * Limit: what memory Quarry is charged with, what it may be charged with, and how near its container is to its limit.
 *
 * Charged is what is in use or may be resident: units of arenas that are not clean, large blocks, kept ones too, and
 * Quarry's records. Who takes clean units or maps a large block asks limit_allows first; without a limit of Quarry's
 * own it always does. The container is the cgroup (version 2) of the process and those above it. Their files are read
 * when somebody looks for the first time, never by a constructor: by the purger each tick, and by whoever asks.
 *
 * Locking: a place's charge is written under the lock of that place (the node's, that of large or of guarded blocks)
 * and read by anybody, so that a limit may be exceeded by what threads of different places take at the same moment. One
 * thread at a time looks at the container; what it found is atomic.
 */
#ifndef QUARRY_LIMIT_H
#define QUARRY_LIMIT_H

#include "compiler.h"
#include "topology.h"

/* Of limit_charge, behind the nodes: large blocks, and guarded ones. */
#define LIMIT_LARGE (TOPOLOGY_MAX_NODES + 1)
#define LIMIT_GUARD (TOPOLOGY_MAX_NODES + 2)

/* How much of what is allowed is in use: less than 7/8, less than 15/16, more. */
enum limit_pressure { LIMIT_CALM, LIMIT_NEAR, LIMIT_AT };

/* Quarry's own, bytes; 0: none. */
extern _Atomic size_t limit_own;

/** Requests that Quarry's own limit refused. */
extern _Atomic uint64_t limit_refusals;

/** Charge a node, LIMIT_LARGE or LIMIT_GUARD. Under the lock of the place. */
void limit_charge(unsigned place, size_t added, size_t removed);

/** What is charged, bytes. */
size_t limit_charged(void);

bool limit_allows_within(size_t nbytes, size_t own);

/** May nbytes more be charged? */
static inline bool limit_allows(size_t nbytes)
{
	size_t own = atomic_load_explicit(&limit_own, memory_order_relaxed);
	return likely(own == 0) || limit_allows_within(nbytes, own);
}

/** Look at the container, and how near it or Quarry's own limit is. again: also which container that is. */
enum limit_pressure limit_look(bool again);

/** What limit_look found last. */
enum limit_pressure limit_pressure(void);

/* What was found of the cgroup that is nearest to its limit; all 0 where none has one. */
struct limit_container {
	_Atomic uint64_t max;  /* memory.max; UINT64_MAX: none */
	_Atomic uint64_t high; /* memory.high; UINT64_MAX: none */
	_Atomic uint64_t used; /* memory.current, less files' pages that are not in use */
};
extern struct limit_container limit_container;

/** In a fork child: nobody looks; it may be in another container. */
void limit_after_fork_child(void);

/** For tests: the directory below which /proc and /sys are read. */
void limit_set_root_for_tests(const char *root);

#endif
