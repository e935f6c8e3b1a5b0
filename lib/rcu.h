/* SPDX-License-Identifier: MIT */
/*
 * RCU: the only file that includes liburcu. Flavour bp: it needs no announcement by threads, registers them without
 * allocating, and has fork hooks. With _LGPL_SOURCE its read side is inlined (about a nanosecond for a pair).
 *
 * Invariants: a thread enters a read section only when registered (thread.c sees to that, before it takes any lock),
 * since registration calls into the loader and libc. No lock is taken and nothing is called out within one.
 * Grace periods are awaited with no lock held, by the purger or by trim's retirement only.
 */
#ifndef QUARRY_RCU_H
#define QUARRY_RCU_H

#ifndef _LGPL_SOURCE
#define _LGPL_SOURCE
#endif
#include <stdbool.h>
#include <urcu-bp.h>
#include <urcu/rculist.h>

#include "compiler.h"

/*
 * ThreadSanitizer sees neither liburcu's barriers nor its grace periods. These tell it what both promise: what was
 * written before a record was listed is seen by whoever finds it there, and what a reader did before it left its
 * section comes before what a writer does after waiting for readers.
 */
#if QUARRY_TSAN
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#else
#define __tsan_acquire(address) ((void)(address))
#define __tsan_release(address) ((void)(address))
#endif

/* Stands for "all read sections so far". */
extern char rcu_readers;

/* Has this thread registered? Doing so maps memory, and liburcu aborts where that is refused. */
static inline bool rcu_is_registered(void)
{
	return URCU_TLS(urcu_bp_reader) != NULL;
}

/* Asked without registering. */
static inline bool rcu_is_reading(void)
{
	return rcu_is_registered() && urcu_bp_read_ongoing();
}

static inline void rcu_enter(void)
{
	urcu_bp_read_lock();
}

static inline void rcu_leave(void)
{
	__tsan_release(&rcu_readers);
	urcu_bp_read_unlock();
}

/* List a record: readers find it with all that was written to it. Under the writers' lock. */
static inline void rcu_list_add(struct cds_list_head *link, struct cds_list_head *list)
{
	__tsan_release(link);
	cds_list_add_rcu(link, list);
}

/* The link behind this one, in a read section or with the list's records pinned. */
static inline struct cds_list_head *rcu_list_next(struct cds_list_head *link)
{
	struct cds_list_head *next = rcu_dereference(link->next);
	__tsan_acquire(next);
	return next;
}

static inline void rcu_wait_for_readers(void)
{
	urcu_bp_synchronize_rcu();
	__tsan_acquire(&rcu_readers);
}

#endif
