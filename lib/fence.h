/* SPDX-License-Identifier: MIT */
/*
 * Fence: runs of units between units that nobody can read or write. Only the hardened library has fences; elsewhere a
 * run is what arena_list gives.
 *
 * A fenced arena is closed (PROT_NONE) behind its head but for the runs that are taken. A run is opened when it is
 * taken and closed when it is put back, and the unit behind it is taken with it and stays closed. So the memory before
 * and behind every run is closed, and so is all that is free; the head, with all pool headers, has a closed unit behind
 * it and, where another arena lies below, a closed unit before it.
 * The kernel limits the number of mappings, and each open run costs two: beyond FENCE_MOST_RUNS, or where the kernel
 * refuses, an arena is opened as a whole and for good. Where address space is limited there are no fences.
 * Locking: none of its own. Opening and closing are system calls under the lock of the heap that needs a pool.
 */
#ifndef QUARRY_FENCE_H
#define QUARRY_FENCE_H

#include "arena_list.h"

#define FENCE_MOST_RUNS 10000

/** arena_list_take, of which the first nbytes are opened. */
struct arena_run fence_take_between(unsigned node, size_t nunits, size_t alignment, size_t nbytes);

/* What is closed up to this size is wiped and keeps its pages: they are there when it is taken again. */
#define FENCE_WIPE_NBYTES ((size_t)32 << 10)

/**
 * Close units that were taken, of which the first open_nbytes are open: wiped, or without their pages where there are
 * many and the kernel takes them back. True: without them.
 */
bool fence_close(char *address, size_t nunits, size_t open_nbytes);

/** arena_list_put, for a run of fence_take_between; closed: by fence_close. */
void fence_put_between(char *address, size_t nunits, bool clean, bool closed);

static inline struct arena_run fence_take(unsigned node, size_t nunits, size_t alignment, size_t nbytes)
{
	return QUARRY_HARDENED ? fence_take_between(node, nunits, alignment, nbytes)
			       : arena_list_take(node, nunits, alignment);
}

static inline void fence_put(char *address, size_t nunits, bool clean)
{
	if (QUARRY_HARDENED)
		fence_put_between(address, nunits, clean, false);
	else
		arena_list_put(address, nunits, clean);
}

#endif
