/* SPDX-License-Identifier: MIT */
/*
 * Fork: who waits for which lock (ranks of lib/lock.h, lib/fork.c), and what a child may miss.
 *
 * A thread that forks; a busy one that refills, sends blocks home, maps an arena, visits all heaps; one that begins
 * and ends; one that enters its first read section (liburcu registers it, with its mutex held, and malloc is called
 * in there); the purger with a visit, a purge and a retirement. Each goes through once. take is lock_take, a guard
 * that takes is heap_try_lock; what the locks protect is in the other models.
 *
 * Checked: everybody comes to an end (no deadlock, of some of the threads either); when the process forks nobody has
 * units in hand (lib/purge.c), and no record is attached and parked at once; the child parks all records anew, for
 * one may be in neither state (heap_forget_parked; without that the mutation NO_REBUILD loses it).
 *
 * Bounds: one pass of five threads: 3.0 M states, 5 s on an idle core, 252 MB.
 */

/* --- locks, in the order of their ranks; the first two are liburcu's --- */
#define GP 0
#define REGISTER 1
#define VISIT 2
#define REGISTRY 3
#define OWN 4      /* heaps: of the thread that forks, */
#define OTHER 5    /* of another one, */
#define PARKED 6   /* and one that comes and goes */
#define SHARED 7
#define NODE 8
#define READERS 9
#define LIST 10
#define META 11
#define LOCKS 12
bit held[LOCKS];

bit reading;     /* a read section of liburcu's is open */
bit in_hand;     /* the purger has units in hand */

/* --- records: the heap PARKED --- */
bit on_list = 1; /* among the parked heaps */
bit has_thread;
bit done;        /* the fork happened */

inline take(x) { atomic { !held[x]; held[x] = 1 } }
inline drop(x) { held[x] = 0 }

/* what a slow path takes under its heap's lock: a refill from the shared heap or the node, a push to another heap */
inline under_heap(other) {
	if
	:: true -> take(SHARED);
	   if :: true -> take(NODE); drop(NODE) :: true fi;
	   drop(SHARED)
	:: true -> take(NODE); drop(NODE)
#ifdef NO_TRY /* mutation: a second heap's lock is waited for */
	:: true -> take(other);
#else
	:: atomic { !held[other] -> held[other] = 1 } /* heap_try_lock */
#endif
	   if
	   :: true -> take(SHARED); drop(SHARED)
	   :: true -> take(NODE); drop(NODE)
	   fi;
	   drop(other)
	:: true
	fi
}

inline visit() {
	take(VISIT);
	if :: true -> take(REGISTRY); drop(REGISTRY) :: true fi; /* claim_hold: heap_pass_registry */
	take(OWN); under_heap(OTHER); drop(OWN);
	take(OTHER); under_heap(OWN); drop(OTHER);
	take(SHARED); drop(SHARED);
	drop(VISIT)
}

inline synchronize_rcu() {
	take(GP);
	take(REGISTER);
	do
	:: reading -> drop(REGISTER); take(REGISTER)
	:: !reading -> break
	od;
	drop(REGISTER);
	drop(GP)
}

/* purge_nodes, retire */
inline purge() {
#ifndef PURGE_OUTSIDE_VISIT /* mutation: units in hand while a process may fork */
	take(VISIT);
#endif
	take(NODE); in_hand = 1; drop(NODE);
	take(NODE); in_hand = 0; drop(NODE);
#ifndef PURGE_OUTSIDE_VISIT
	drop(VISIT);
#endif
	take(NODE); take(LIST); drop(LIST); drop(NODE);
#ifdef GRACE_IN_VISIT /* mutation: a grace period is awaited with VISIT held */
	take(VISIT);
	synchronize_rcu();
#else
	synchronize_rcu();
	take(READERS); drop(READERS);
	take(LIST); drop(LIST);
	take(VISIT);
#endif
	take(LIST); drop(LIST);
	drop(VISIT)
}

/* fork.c; the thread has the heap OWN */
proctype Forker()
{
	take(OWN); drop(OWN); /* thread_heap */
#ifndef URCU_LAST
	take(GP); take(REGISTER); /* urcu_bp_before_fork */
#endif
	take(VISIT);
#ifdef SHARED_FIRST /* mutation */
	take(SHARED);
#endif
	take(REGISTRY); take(OWN); take(OTHER); take(PARKED);
#ifndef SHARED_FIRST
	take(SHARED);
#endif
#ifdef URCU_LAST /* mutation: our locks before liburcu's */
	take(GP); take(REGISTER);
#endif
	take(NODE); take(READERS); take(LIST); take(META);
	d_step {
		assert(!in_hand);
		/* the child: claim_orphans */
#ifdef NO_REBUILD /* mutation: only heaps whose thread vanished are parked anew */
		assert(on_list + has_thread == 1);
#endif
		assert(!(on_list && has_thread));
		done = 1
	};
	drop(META); drop(LIST); drop(READERS); drop(NODE);
	drop(SHARED); drop(PARKED); drop(OTHER); drop(OWN); drop(REGISTRY);
	drop(VISIT); drop(REGISTER); drop(GP)
}

/* a thread with the heap OTHER */
proctype Busy()
{
	take(OTHER); under_heap(PARKED); drop(OTHER);
	if
	:: true -> take(META); drop(META); /* arena_list_grow */
	   take(LIST); drop(LIST);
	   take(NODE); drop(NODE)
	:: true -> visit() /* purge_all, quarry_walk, malloc_trim */
	:: true
	fi
}

/* a thread that begins, and ends */
proctype Passer_by()
{
	take(REGISTRY); d_step { on_list = 0; drop(REGISTRY) }; /* heap_obtain */
	take(PARKED); d_step { has_thread = 1; drop(PARKED) }; /* attach_to */
	take(PARKED); under_heap(OTHER); d_step { has_thread = 0; drop(PARKED) }; /* park */
	take(REGISTRY); d_step { on_list = 1; drop(REGISTRY) }; /* heap_park */
	take(READERS); drop(READERS) /* statistics of a thread that is dead */
}

/* a thread's first read section: liburcu registers it, with its mutex held, and may allocate */
proctype Reader()
{
	take(REGISTER);
	take(OTHER); under_heap(OWN); drop(OTHER);
	if :: true -> visit() :: true fi; /* no memory: purge_all, with no grace period, by slot.registering */
#ifdef RETIRE_WHILE_REGISTERING /* mutation */
	synchronize_rcu();
#endif
	drop(REGISTER);
	reading = 1;
	reading = 0
}

proctype Purger()
{
	visit();
	purge()
}

init {
	atomic { run Forker(); run Busy(); run Passer_by(); run Reader(); run Purger() }
	(_nr_pr == 1);
	assert(done && on_list && !has_thread)
}
