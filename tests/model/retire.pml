/* SPDX-License-Identifier: MIT */
/*
 * Retirement: arenas go back to the system (lib/arena_list.c, retire() in lib/purge.c, the table in
 * lib/arena_list.h).
 *
 * ARENAS arenas of one unit each. A heap takes and puts units and maps an arena where it finds none; threads look at
 * arenas in a read section, under the reader lock, by a pin (quarry_walk) and by a block in doubt (claim.c); PURGERS
 * threads retire at the same time. Memory is sequentially consistent: all is under locks, but for RCU, whose grace
 * period stands as liburcu promises it: it ends when each section has ended that was open when it began.
 *
 * Checked: whoever found an arena finds its memory mapped and its object not reused; none is taken from that is not
 * mapped and listed; none is lost: in the end it is open or its object is unused.
 *
 * Steps between take and drop of a lock are one step where nothing else looks at what they touch. find() is
 * arena_list_first and arena_list_next (rcu_dereference), touch() what a caller does with the arena it got.
 *
 * Bounds: each observer looks once; and                                  states   seconds   MB   (one idle core)
 *     one arena, three takes, one purger, all observers                   1.9 M       3     210
 *     two arenas, three takes, two purgers, the reader with RCU           0.4 M       0.5   146
 */
#ifndef ARENAS
#define ARENAS 1
#endif
#ifndef PURGERS
#define PURGERS 1 /* 2: at the same time, and then without the last three observers */
#endif
#ifndef TAKES
#define TAKES 3
#endif

/* --- locks --- */

bit visit_lock, node_lock, list_lock, reader_lock;
inline take(x) { atomic { !x; x = 1 } }
inline drop(x) { x = 0 }

/* --- arenas, by their objects --- */

bit mapped[ARENAS] = 1;
bit usable[ARENAS] = 1;  /* in usable_arenas, under the node's lock */
bit taken[ARENAS];       /* the unit, by the heap */
bit listed[ARENAS] = 1;  /* in all_arenas, as is the rest under the list's lock */
bit in_grace[ARENAS], past_grace[ARENAS], unused[ARENAS];
byte life[ARENAS];       /* grows with each birth */
byte npins;

bit admitted;            /* has_rcu_readers, under the list's lock */
bit reading, awaited;    /* a section is open; it was when the grace period under way began */

/* What anyone may do with an arena that he found. */
inline touch(a, then) { assert(mapped[a] && !unused[a] && life[a] == then) }
inline touch_if_found() { if :: found < ARENAS -> touch(found, then) :: else fi }

/* Comes by any arena that is listed, or by none. */
inline find() {
	atomic {
		if
		:: listed[0] -> found = 0; then = life[0]
#if ARENAS > 1
		:: listed[1] -> found = 1; then = life[1]
#endif
		:: found = ARENAS
		fi
	}
}

/* arena_list_take, a block in the unit, arena_list_put; arena_list_grow where there is no arena. */
proctype Taker()
{
	byte takes, a, then;
	do
	:: takes < TAKES ->
		takes++;
		take(node_lock);
		atomic {
			if
			:: usable[0] -> a = 0
#if ARENAS > 1
			:: usable[1] -> a = 1
			:: !usable[0] && !usable[1] -> a = ARENAS
#else
			:: !usable[0] -> a = ARENAS
#endif
			fi;
			if
			:: a < ARENAS -> assert(listed[a] && mapped[a] && !taken[a]); taken[a] = 1; then = life[a]
			:: else
			fi;
			drop(node_lock)
		}
		if
		:: a < ARENAS ->
			touch(a, then);
			take(node_lock);
			d_step { touch(a, then); taken[a] = 0; drop(node_lock) }
		:: else ->
			atomic { /* take_unused_object */
				!list_lock;
				if
				:: unused[0] -> unused[0] = 0; a = 0
#if ARENAS > 1
				:: unused[1] -> unused[1] = 0; a = 1
				:: !unused[0] && !unused[1]
#else
				:: !unused[0]
#endif
				fi
			}
			if
			:: a < ARENAS ->
				d_step { mapped[a] = 1; life[a]++ }
				take(list_lock);
				d_step { listed[a] = 1; drop(list_lock) }
				take(node_lock);
				d_step { usable[a] = 1; drop(node_lock) }
			:: else
			fi
		fi;
		d_step { a = 0; then = 0 }
	:: else -> break
	od
}

/* thread_reader_enter, with RCU: is_in_an_arena, add_arenas. The first reader; liburcu was not open before. */
proctype Reader()
{
	byte found, then;
#ifndef ADMIT_LATE /* mutation: it reads before it says so */
	take(list_lock); /* arena_list_admit_rcu */
	d_step { admitted = 1; drop(list_lock) }
#endif
	reading = 1;
	find();
#ifdef ADMIT_LATE
	take(list_lock);
	d_step { admitted = 1; drop(list_lock) }
#endif
	touch_if_found();
	touch_if_found();
	d_step { reading = 0; awaited = 0 }
}

/* the same of a thread that may not register */
proctype Late_reader()
{
	byte found, then;
	take(reader_lock);
	find();
	touch_if_found();
	drop(reader_lock)
}

/* quarry_walk: pins, no section */
proctype Walker()
{
	byte found, then;
	take(list_lock);
	d_step { npins++; drop(list_lock) }
	find();
	touch_if_found();
	touch_if_found();
	take(list_lock);
	d_step { npins--; drop(list_lock) }
}

/* claim.c: notes H, a block of the heap's, and reads its link later, wherever the block has gone meanwhile */
proctype Visitor()
{
	byte found, then;
#ifdef NO_VISIT /* mutation: an arena is unmapped while a visitor is at work */
#define visit_lock_of_visitor other_lock
	bit other_lock;
#else
#define visit_lock_of_visitor visit_lock
#endif
	take(visit_lock_of_visitor);
	atomic { /* step_note_head */
		if
		:: taken[0] -> found = 0; then = life[0]
#if ARENAS > 1
		:: taken[1] -> found = 1; then = life[1]
#endif
		:: found = ARENAS
		fi
	}
	touch_if_found(); /* step_note_link */
	drop(visit_lock_of_visitor)
}

#ifdef ANY_TIME /* mutation: a second purger retires during the first one's grace period */
#define is_free_to_go (npins == 0)
#elif defined(NO_PINS) || defined(PINS_OUTSIDE) /* mutations: pins do not count; are looked at without the lock */
#define is_free_to_go (!some_in_grace)
#else
#define is_free_to_go (npins == 0 && !some_in_grace)
#endif
#if ARENAS > 1
#define some_in_grace (in_grace[0] || in_grace[1])
#define some_past_grace (past_grace[0] || past_grace[1])
#else
#define some_in_grace in_grace[0]
#define some_past_grace past_grace[0]
#endif
#ifdef NOT_EMPTY /* mutation: an arena whose unit is out */
#define is_empty(a) true
#else
#define is_empty(a) !taken[a]
#endif

/* arena_list_retire, arena_list_unmap */
proctype Purger()
{
	byte a;
	bit retired, by_rcu;
#ifdef ASK_EARLY /* mutation: whether there are readers is asked without the lock */
	by_rcu = admitted;
#endif
#ifdef PINS_OUTSIDE
	if :: npins > 0 -> goto over :: else fi;
#endif
	take(node_lock);
	take(list_lock);
	d_step {
#ifndef ASK_EARLY
		by_rcu = admitted;
#endif
		for (a : 0 .. ARENAS - 1) {
			if
			:: is_free_to_go && usable[a] && is_empty(a) ->
				retired = 1;
				past_grace[a] = 1 /* a mark for the next loop */
			:: else
			fi
		}
		for (a : 0 .. ARENAS - 1) {
			if
			:: retired && past_grace[a] && usable[a] ->
				past_grace[a] = 0;
				in_grace[a] = 1;
#ifndef UNLIST_LATE /* mutation: takers find it until it is unmapped */
				usable[a] = 0;
#endif
#ifndef DELETE_LATE /* mutation: readers find it until it is unmapped */
				listed[a] = 0
#endif
			:: else
			fi
		}
		a = 0;
		drop(list_lock);
		drop(node_lock)
	}
	if :: !retired -> goto over :: else fi;
#ifndef NO_GRACE /* mutation */
	if
	:: by_rcu ->
		awaited = reading; /* urcu_bp_synchronize_rcu */
		!awaited
	:: else
	fi;
#endif
#ifndef NO_PASS /* mutation: the reader lock is not passed */
	take(reader_lock);
	drop(reader_lock);
#endif
	take(list_lock);
	d_step { /* end_grace */
		for (a : 0 .. ARENAS - 1) { if :: in_grace[a] -> in_grace[a] = 0; past_grace[a] = 1 :: else fi }
		a = 0;
		drop(list_lock)
	}
	take(visit_lock);
	do
	:: some_past_grace -> /* take_past_grace; this thread alone, by VISIT */
		a = (past_grace[0] -> 0 : 1);
		take(list_lock);
		d_step { past_grace[a] = 0; drop(list_lock) }
		d_step {
			mapped[a] = 0;
#ifdef UNLIST_LATE
			usable[a] = 0;
#endif
#ifdef DELETE_LATE
			listed[a] = 0
#endif
		}
		take(list_lock);
		d_step { unused[a] = 1; drop(list_lock); a = 0 }
	:: else -> break
	od;
	drop(visit_lock);
over:	skip
}

init {
	byte a;
	atomic {
		run Taker(); run Reader(); run Purger();
#if PURGERS > 1
		run Purger()
#else
		run Late_reader(); run Walker(); run Visitor()
#endif
	}
	(_nr_pr == 1);
	for (a : 0 .. ARENAS - 1) {
		assert(mapped[a] != unused[a] && usable[a] == mapped[a] && listed[a] == mapped[a]);
		assert(!taken[a] && !in_grace[a] && !past_grace[a])
	}
}
