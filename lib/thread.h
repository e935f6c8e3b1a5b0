/* SPDX-License-Identifier: MIT */
/*
 * Thread: which heap a thread has. Attaches one on first use, parks it when the thread ends or moves to another node.
 *
 *     none -> attaching -> ready -> dead        (slot.state)
 *
 * While attaching (inside libc) and when dead, a thread is served by the node's shared heap, and what it frees goes
 * home block by block. A thread for which no exit hook can be set is dead from the start: nothing would park its
 * heap.
 * Locking: slot.heap's lock for the change of hands; no lock while libc is called.
 */
#ifndef QUARRY_THREAD_H
#define QUARRY_THREAD_H

#include "heap.h"

cold_path struct heap *thread_attach(void);

/** This thread's heap, attached on first use; NULL: the shared heap serves it. No lock held. */
static inline struct heap *thread_heap(void)
{
	return likely(slot.state == SLOT_READY) ? slot.heap : slot.state == SLOT_NONE ? thread_attach() : NULL;
}

/**
 * On a slow path: is the thread on another node for long enough? Then give it a heap there. No lock held. Keeps errno.
 *
 * Long enough are 16 slow paths in a row, or one since its cache was visited: a thread that lives in its cache takes no
 * other, and the purger visits it every other decay time. Moves within a second of each other make the next one
 * dearer: twice as many slow paths, up to 1024, and visits do not count.
 */
void thread_follow_node(void);

/** The node that this thread's memory comes from: the one it is pinned to, or node_current. */
unsigned thread_node(void);

/* Not pinned. */
#define THREAD_FOLLOWS (-1)

/** Once the nodes are known: this thread may have got a heap before, of whatever node. */
void thread_place(void);

/** Pin this thread's memory to a node, or let it follow again, from now on. False with ENOMEM: no heap to be had. */
bool thread_pin(int node);

/** The node that it is pinned to, or THREAD_FOLLOWS. */
int thread_pinned(void);

/**
 * Begin a read section over all arenas: by RCU, or under the reader lock where the thread cannot register. Returns
 * which, for the end.
 */
bool thread_reader_enter(void);
void thread_reader_leave(bool by_rcu);

/**
 * May this thread be in a read section of liburcu's, be it the application's own? Not if it is registered and says no,
 * nor while liburcu is not open. Calls neither the loader nor malloc.
 */
bool thread_may_be_reading(void);

/** Make the key of the exit hook. The first attach does it. */
void thread_init(void);

/** Number of threads with a heap. */
unsigned thread_count(void);

/** In a fork child: the caller is alone. */
void thread_after_fork_child(void);

#endif
