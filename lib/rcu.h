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
	urcu_bp_read_unlock();
}

#endif
