/* SPDX-License-Identifier: MIT */
/*
 * Fork: what keeps a child of a threaded process able to allocate.
 *
 * Prepare takes liburcu's locks, then all of ours in the order of their ranks, and diverts the other threads
 * (claim.h), so that no list is caught half changed. The parent lets go; each thread settles on its next slow path.
 * The child makes the locks anew and parks the heaps of threads that it does not have; a block that such a thread
 * was just taking or freeing is lost, one a thread at the most.
 */
#ifndef QUARRY_FORK_H
#define QUARRY_FORK_H

/** Register the handlers, once; as early as can be, since handlers run newest first before a fork. */
void fork_init(void);

/** What a layer above does around a fork. Its locks are outside of all that fork.c takes; malloc works in its child. */
struct fork_hooks {
	void (*prepare)(void), (*parent)(void), (*child)(void);
};

/**
 * Have forks call these, once. A layer that comes into use late has no handlers of its own: they would run before those
 * that the program registered earlier, whose locks other threads hold while they wait for ours.
 */
void fork_attend(const struct fork_hooks *hooks);

#endif
