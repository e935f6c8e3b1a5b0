/* SPDX-License-Identifier: MIT */
/*
 * RCU: the door to liburcu. Flavour bp: it needs no announcement by threads, and has fork hooks.
 *
 * Owns the table of liburcu's calls. A program that has neither a reader nor an arena to retire under one never loads
 * liburcu, and starts faster by that: the shared libraries open it when the first reader comes; the archives, whose
 * programs may have no loader, link it (rcu_linked.c).
 *
 * Invariants: the table is published once, whole (release, acquire). A thread enters a read section only when
 * registered (thread.c sees to that, before it takes any lock), since registration calls into the loader and libc. No
 * lock is taken and nothing is called out within one. Grace periods are awaited with no lock held, by the purger or by
 * trim's retirement only.
 */
#ifndef QUARRY_RCU_H
#define QUARRY_RCU_H

#ifndef _LGPL_SOURCE
#define _LGPL_SOURCE
#endif
#include <urcu/pointer.h>
#include <urcu/rculist.h>

#include "compiler.h"

struct rcu_calls {
	void (*register_thread)(void);
	void (*read_lock)(void);
	void (*read_unlock)(void);
	int (*read_ongoing)(void);
	void (*synchronize_rcu)(void);
	void (*before_fork)(void);
	void (*after_fork_parent)(void);
	void (*after_fork_child)(void);
};

/**
 * Open liburcu unless it is. False: it cannot be had, or another thread is opening it just now. Calls the loader: no
 * lock held.
 */
bool rcu_open(void);

/** The table; NULL while liburcu is not open. */
const struct rcu_calls *rcu_calls(void);

/**
 * In the child of a threaded process that had not opened it when the fork began: it stays closed, since another thread
 * may have held the loader's locks or liburcu's.
 */
void rcu_after_fork_child(void);

/*
 * ThreadSanitizer sees neither liburcu's barriers nor its grace periods. These tell it what both promise: what was
 * written before a record was listed is seen by whoever finds it there, and what a reader did before it left its
 * section comes before what a writer does after waiting for readers. The links themselves liburcu writes by volatile
 * stores, behind a write barrier where a record is added, which are no atomics to ThreadSanitizer: what its list
 * functions write is not looked at.
 */
#if QUARRY_TSAN
void __tsan_acquire(void *address);
void __tsan_release(void *address);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
#else
#define __tsan_acquire(address) ((void)(address))
#define __tsan_release(address) ((void)(address))
#define AnnotateIgnoreWritesBegin(file, line) ((void)0)
#define AnnotateIgnoreWritesEnd(file, line) ((void)0)
#endif

/* Stands for "all read sections so far". */
extern char rcu_readers;

/** Begin a read section. The thread is registered. */
static inline void rcu_enter(void)
{
	rcu_calls()->read_lock();
}

static inline void rcu_leave(void)
{
	__tsan_release(&rcu_readers);
	rcu_calls()->read_unlock();
}

/** List a record: readers find it with all that was written to it. Under the writers' lock. */
static inline void rcu_list_add(struct cds_list_head *link, struct cds_list_head *list)
{
	__tsan_release(link);
	AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
	cds_list_add_rcu(link, list);
	AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
}

/** Take a record off: readers that are there already may go on from it. Under the writers' lock. */
static inline void rcu_list_del(struct cds_list_head *link)
{
	AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
	cds_list_del_rcu(link);
	AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
}

/** The link behind this one, in a read section or with the list's records pinned. */
static inline struct cds_list_head *rcu_list_next(struct cds_list_head *link)
{
	struct cds_list_head *next = rcu_dereference(link->next);
	__tsan_acquire(next);
	return next;
}

/** Wait until every read section that has begun is over. liburcu is open. */
static inline void rcu_wait_for_readers(void)
{
	rcu_calls()->synchronize_rcu();
	__tsan_acquire(&rcu_readers);
}

#endif
