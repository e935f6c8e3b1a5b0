/* SPDX-License-Identifier: MIT */
/*
 * Arena list: all arenas of the process and, per node, the usable ones, fullest first, so that nearly empty arenas
 * drain and go back to the system. obmalloc's usable_arenas and unused_arena_objects.
 *
 * An arena_object is in one of these states:
 *
 *     state    all arenas (RCU)        usable_arenas of its node   leaves it by
 *     open     yes                     while it has free units     its last block coming home
 *     empty    yes                     yes, in the last bucket     being taken from, or retired when clean
 *     retired  no                      no                          a grace period, then unmapped
 *     unused   no; unused_arena_objects, address NULL              birth of an arena
 *
 * Synchronisation. Rows run against columns; "lock" is that of the node or of the list:
 *
 *                      take/put     birth                  retirement             walk (RCU reader)
 *     take/put         node lock    node lock              node lock              none needed
 *     birth                         list lock              list lock              RCU publish
 *     retirement                                           list lock              RCU delete, then a grace period
 *
 * Invariants: membership of all arenas changes at birth and retirement only. A read section may look at any
 * arena_object it found, at its head and at its units' words: mapping and object outlive it. A unit that is not free
 * pins its arena, so free() is no reader.
 */
#ifndef QUARRY_ARENA_LIST_H
#define QUARRY_ARENA_LIST_H

#include "arena.h"

/**
 * Take nunits neighbouring units on the node: from dirty ones and the fullest arena first; where the system refused the
 * node its last mapping, or it had no room for it, from the nearest other node, which is counted. NODE_SPREAD: on the
 * nodes by turns. address NULL: none.
 */
struct arena_run arena_list_take(unsigned node, size_t nunits, size_t alignment);

/** Take the units at address if all are free: a span grows in place. */
bool arena_list_take_at(char *address, size_t nunits, bool *clean);

/** Give units back; their words become 0. clean: they read as zero. */
void arena_list_put(char *address, size_t nunits, bool clean);

/**
 * Map another arena on the node or, where it has no room or the system refuses, see to it that other nodes help out.
 * NODE_SPREAD: on the node whose turn it is. False with ENOMEM: there are none, or they have been asked. No lock held.
 */
bool arena_list_grow(unsigned node);

/* How much arena_list_purge has in hand at a time: takers miss it meanwhile. */
#define PURGE_STEP_NBYTES ((size_t)4 << 20)

/**
 * Give one run of resident free units back to the system that came back age ticks ago or earlier, at most nbytes and
 * one step long. Returns bytes given back; 0: there is none, or the system refuses. Under claim_lock and no other
 * lock: the run is in hand during madvise, and a fork then would lose it for the child.
 */
size_t arena_list_purge(unsigned node, uint8_t age, size_t nbytes);

/**
 * Retire empty clean arenas of the node that have been so for age ticks, except for `keep` of them, and wait for a
 * grace period if there are any; arena_list_unmap then unmaps them. Returns whether there are. No lock held, not
 * inside a read section; past_rcu: the caller knows that of liburcu's, too, as it was open when he looked. If not, and
 * there are readers by RCU, nothing is retired.
 */
bool arena_list_retire(unsigned node, uint8_t age, unsigned keep, bool past_rcu);

/** Unmap what was retired and has seen its grace period. Under claim_lock. */
void arena_list_unmap(void);

/** Bytes of free units, of all nodes or of one, that may be resident. */
size_t arena_list_dirty_nbytes(void);
size_t arena_list_node_dirty_nbytes(unsigned node);

/** The clock of stamps: advanced by the purger, some quarters of the decay time each. */
uint8_t arena_list_tick(void);
void arena_list_set_tick(uint8_t tick);

/** First and next member of all arenas, within a read section (or the reader lock, see thread.h); NULL at the end. */
struct arena_object *arena_list_first(void);
struct arena_object *arena_list_next(struct arena_object *arena);

/** Keep all arenas that are listed now from being retired, until unpinned. Counts. */
void arena_list_pin(void);
void arena_list_unpin(void);

/** Number of arenas ever mapped: where it changed, another thread mapped one. */
uint64_t arena_list_births(void);

struct arena_list_counters {
	_Atomic uint64_t mapped, retired;       /* arenas, ever */
	_Atomic uint64_t mapped_nbytes;         /* now, heads included */
};
extern struct arena_list_counters arena_list_counters;

/** From now on there may be readers by RCU, the calling thread among them. Before its first read section. */
void arena_list_admit_rcu(void);

/**
 * The lock of readers that do not go by RCU (threads that begin or end; where liburcu is not open). Retirement passes
 * it once after its grace period.
 */
void arena_list_reader_lock(void);
void arena_list_reader_unlock(void);

/** In a fork child: unmap what was retired. */
void arena_list_after_fork_child(void);

void arena_list_lock_for_fork(void);
void arena_list_unlock_after_fork(bool in_child);

#endif
