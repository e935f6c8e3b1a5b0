/* SPDX-License-Identifier: MIT */
/*
 * Fork: see fork.h.
 */
#include "fork.h"

#include <pthread.h>
#include <sys/single_threaded.h>

#include "address_map.h"
#include "arena_list.h"
#include "claim.h"
#include "guard.h"
#include "guard_pace.h"
#include "heap.h"
#include "large.h"
#include "lock.h"
#include "meta.h"
#include "provider.h"
#include "purge.h"
#include "rcu.h"
#include "sample.h"
#include "thread.h"

/* As prepare found it, for what follows; libc runs fork handlers one fork at a time. */
static const struct rcu_calls *rcu;
static bool was_threaded;
static const struct fork_hooks *above;

static const struct fork_hooks *_Atomic attending;

static void prepare(void)
{
	was_threaded = !__libc_single_threaded;
	thread_heap(); /* attaching takes locks */
	rcu = rcu_calls();
	if (rcu != NULL)
		rcu->before_fork();
	above = atomic_load_explicit(&attending, memory_order_acquire);
	if (above != NULL)
		above->prepare();
	claim_lock();
	heap_lock_for_fork();
	claim_prepare_fork();
	arena_list_lock_for_fork();
	large_lock_for_fork();
	guard_lock_for_fork();
	sample_lock_for_fork();
	provider_lock_for_fork();
	meta_lock_for_fork();
	address_map_lock_for_fork();
}

static void let_go(bool in_child)
{
	address_map_unlock_after_fork(in_child);
	meta_unlock_after_fork(in_child);
	provider_unlock_after_fork(in_child);
	sample_unlock_after_fork(in_child);
	guard_unlock_after_fork(in_child);
	large_unlock_after_fork(in_child);
	arena_list_unlock_after_fork(in_child);
	heap_unlock_after_fork(in_child);
	claim_unlock_after_fork(in_child);
}

static void parent(void)
{
	let_go(false);
	if (above != NULL)
		above->parent();
	if (rcu != NULL)
		rcu->after_fork_parent();
}

static void child(void)
{
	lock_forget_held();
	let_go(true);
	claim_orphans(slot.heap);
	if (rcu == NULL && was_threaded)
		rcu_after_fork_child();
	arena_list_after_fork_child();
	guard_after_fork_child();
	guard_pace_after_fork_child();
	thread_after_fork_child();
	purge_after_fork_child();
	if (above != NULL)
		above->child();
	if (rcu != NULL)
		rcu->after_fork_child();
}

void fork_attend(const struct fork_hooks *hooks)
{
	atomic_store_explicit(&attending, hooks, memory_order_release);
}

void fork_init(void)
{
	pthread_atfork(prepare, parent, child);
}
