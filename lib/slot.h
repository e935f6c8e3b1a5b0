/* SPDX-License-Identifier: MIT */
/*
 * Slot: what a thread knows of itself, in thread-local storage. Kept small, since it lies in the static TLS area.
 *
 * `last` is announced before `current` is loaded, by every operation on a cache list (cache.h), so that a visitor who
 * diverted `current` knows which single list may still be in use (claim.h).
 *
 * Locking: own thread only, except that a visitor, under the lock of the heap, stores `current` and reads `last`.
 * Everything is volatile or atomic: libc's functions are declared leaf, and the compiler would otherwise keep a state
 * in a register across a call that comes back into malloc. But credit is read and written within one expression.
 */
#ifndef QUARRY_SLOT_H
#define QUARRY_SLOT_H

#include "compiler.h"

struct heap;

enum slot_state {
	SLOT_NONE,      /* never allocated */
	SLOT_ATTACHING, /* inside libc or liburcu on the way to a heap: allocates from the shared heap */
	SLOT_READY,     /* has a heap */
	SLOT_DEAD       /* after its exit hook, or without one: the shared heap, for good */
};

struct slot {
	struct heap *_Atomic current; /* the heap whose cache serves this thread; heap_empty while diverted */
	_Atomic uint32_t last;        /* low byte: the list of the operation in hand or, else, of the last one */
	volatile uint32_t state;
	volatile uint8_t registering; /* inside liburcu, which may hold its locks */
	volatile uint8_t registered;  /* with liburcu, for its readers */
	volatile uint8_t visited;     /* its cache was visited since the thread last looked where it runs */
	struct heap *volatile heap;   /* the heap it is attached to; NULL unless ready */
	int64_t credit;               /* until an allocation is chosen for the profile: sample.h */
	volatile uint8_t counts;      /* credit was drawn once */
};

extern thread_local_ie struct slot slot;

#endif
