/* SPDX-License-Identifier: MIT */
/*
 * Claim: a visitor empties the lists of a thread that runs (lib/claim.c, lib/cache.h, lib/walk.c).
 *
 * One thread does OPS operations of malloc, free, or exit and attach, on two lists of one heap; one visitor does
 * ACTIONS of claim_visit, poke, quarry_walk that goes on holding, claim_release. List 0 holds the heap's own blocks,
 * list 1 stands for an outbox: what is taken from it lies in another heap's inbox until somebody empties that.
 *
 *     step                                in C                                                       order
 *     last_late = l                       cache_announce: slot.last                                  relaxed
 *     c = current                         cache_announce: slot.current                               relaxed
 *     h = my_head, n = my_link            cache_take, cache_push: behind current by its address      plain
 *     STORE_HEAD, link_late               cache_take, cache_push, free_foreign: one store each       plain
 *     divert                              slot.current                                               release
 *     seen_list, seen_head, seen_next     note_head, note_link: slot.last relaxed, volatile loads    membarrier between
 *     barrier                             os_barrier: empties the thread's buffer                    membarrier
 *     d_step with !lock                   all that is done under heap_lock                           acquire, seq_cst
 *
 * Memory is weaker than any machine's: each store of the thread waits in a buffer and arrives in any order (process
 * Buffer), two of one place perhaps as one. Membarrier empties the buffer, as it is a full barrier somewhere in what
 * the thread does; so does heap_unlock. Under the lock all is one step, as nobody else looks then. A block that was
 * handed out holds JUNK where a link was, and what is put back is handed to somebody else at once: its link becomes
 * JUNK too.
 *
 * Checked: no block is taken that is out or was taken, no list is followed into JUNK, no late store hits a block
 * that was taken; when the thread has settled each block is at one place (out, list, pool); after a take at most H
 * and a block that was being pushed are at none; a walk reports each block that is live throughout and none that was
 * free before (by happens-before: if none of the thread's stores was late when the walk began).
 *
 * Switches: WITHDRAW lets membarrier be refused from any moment on; FORK is fork_lists.pml; mutations are named
 * where they act.
 *
 * Bounds: two rounds of a visit; and                  states   seconds   MB   (one idle core of 2.x GHz)
 *     3 blocks, 3 operations, 2 actions                2.1 M       1.5   220
 *     2 blocks, 4 operations, 3 actions               11.1 M      11     576
 *     2 blocks, 3 operations, 2 actions, WITHDRAW      5.5 M       5     353
 */
#ifndef BLOCKS
#define BLOCKS 2
#endif
#ifndef OPS
#define OPS 4
#endif
#ifndef ACTIONS
#define ACTIONS 2
#endif
#ifndef ROUNDS
#define ROUNDS 2 /* MOST_TRIES */
#endif
#define LISTS 2
#define NIL 0
#define JUNK 99

/* --- memory, and what of the thread's stores has not arrived there (value + 1; 0: nothing) --- */

bit current = 1; /* slot.current: 0 stands for heap_empty */
byte last = LISTS, last_late;
byte head[LISTS], head_late[LISTS];
byte link[BLOCKS + 1] = JUNK, link_late[BLOCKS + 1];

/* --- the heap, under its lock --- */

bit lock;
bit attached = 1, diverted, taken, locked;
byte poked; /* enum poke */
bit visited;
byte seen_list = LISTS, seen_head, seen_next;

bit held;    /* claim_hold: holders, cache_exact */
bit refused; /* os_barrier_ready() became false */

/* --- where the blocks are --- */

bit out[BLOCKS + 1];         /* with the program */
bit freeing[BLOCKS + 1];     /* inside free */
bit pooled[BLOCKS + 1] = 1;  /* in a pool, or on its way there */
bit mailed[BLOCKS + 1];      /* of those: in an inbox; the pool counts it as out */

bit was_free[BLOCKS + 1], was_live[BLOCKS + 1], doubtful[BLOCKS + 1]; /* in the walk under way */

byte i, at, block; /* scratch within one step */
bit mark[BLOCKS + 1];

#define is_locked_mode (refused || held)
#define my_head(l) (head_late[l] -> head_late[l] - 1 : head[l])
#define my_link(b) (link_late[b] -> link_late[b] - 1 : link[b])

inline land_last() { last = last_late - 1; last_late = 0 }
inline land_head(l) { head[l] = head_late[l] - 1; head_late[l] = 0 }
inline land_link(b) { assert(!pooled[b]); link[b] = link_late[b] - 1; link_late[b] = 0 }

inline land_all() {
	if :: last_late -> land_last() :: else fi;
	for (i : 0 .. LISTS - 1) { if :: head_late[i] -> land_head(i) :: else fi }
	for (i : 1 .. BLOCKS) { if :: link_late[i] -> land_link(i) :: else fi }
	i = 0
}

active proctype Buffer()
{
end:	do
	:: d_step { last_late -> land_last() }
	:: d_step { head_late[0] -> land_head(0) }
	:: d_step { head_late[1] -> land_head(1) }
	:: d_step { link_late[1] -> land_link(1) }
	:: d_step { link_late[2] -> land_link(2) }
#if BLOCKS > 2
	:: d_step { link_late[3] -> land_link(3) }
#endif
	od
}

/* --- lists and pools, each within one step --- */

/* cache_return_chain: heap_put_block for list 0, cache_post and remote_push for list 1. */
inline return_chain(first, l) {
	at = first;
	do
	:: at == NIL -> break
	:: else ->
		assert(at != JUNK && !pooled[at] && !out[at]);
		block = at;
		at = link[block];
		pooled[block] = 1;
		mailed[block] = l;
		link[block] = JUNK
	od;
	block = 0
}

inline flush_list(l) { return_chain(head[l], l); head[l] = NIL }

inline empty_inboxes() { for (i : 1 .. BLOCKS) { mailed[i] = 0 } i = 0 }

/* claim_doubtful: marks what the list in doubt holds. */
inline claim_doubtful() {
	if
	:: !taken || seen_list == LISTS
#ifndef KEEP_POPPED /* mutation: does not see that H was popped */
	:: taken && seen_list < LISTS && seen_head != NIL && head[seen_list] == seen_next
#endif
	:: else ->
		if :: head[seen_list] != NIL && head[seen_list] != seen_head -> mark[head[seen_list]] = 1 :: else fi;
		if :: seen_head != NIL -> mark[seen_head] = 1 :: else fi
	fi
}

/* settle_taken */
inline settle_taken() {
	if
	:: seen_list < LISTS ->
		claim_doubtful();
		if :: !mark[head[seen_list]] -> head[seen_list] = NIL :: else fi;
#ifndef NO_CUT /* mutation: H keeps its link */
		if :: mark[seen_head] -> link[seen_head] = NIL :: else fi;
#endif
		for (i : 1 .. BLOCKS) { mark[i] = 0 }
		i = 0
	:: else
	fi
}

/* claim_settle; the buffer is empty, which makes no difference: the thread sees its own stores. */
inline settle() {
	if
	:: diverted ->
		if
		:: taken -> settle_taken()
		:: !taken && poked == 1 -> flush_list(0) /* cache_age, list 1 being in use */
		:: !taken && poked == 2 ->
#ifndef NO_OBEY /* mutation: says that it has emptied its cache, and has not */
			flush_list(0); flush_list(1);
#endif
			visited = 1
		:: else
		fi;
		if :: taken && held -> flush_list(0); flush_list(1) :: else fi;
		taken = 0;
		poked = 0;
		seen_list = LISTS;
		seen_head = NIL;
		seen_next = NIL;
		locked = is_locked_mode;
		if :: !locked -> diverted = 0; current = 1 :: else fi
	:: else
	fi
}

inline check_whole() {
	for (i : 0 .. LISTS - 1) {
		at = head[i];
		do
		:: at == NIL -> break
		:: else -> assert(at != JUNK && !mark[at]); mark[at] = 1; at = link[at]
		od
	}
	for (i : 1 .. BLOCKS) { assert(mark[i] + out[i] + pooled[i] == 1); mark[i] = 0 }
	i = 0
}

/* The program gets a block. */
inline hand_out(b) { assert(!pooled[b] && !out[b]); out[b] = 1; was_free[b] = 0 }

#ifdef NOT_EXACT /* mutation: refills go on in batches while a walk holds */
#define refills(b, l) (pooled[b] && !mailed[b])
#else
#define refills(b, l) (pooled[b] && !mailed[b] && (!held || head[l] == NIL)) /* cache_exact: one block */
#endif

/* take_from_heap */
inline malloc_locked(l) {
	if
	:: head[l] == NIL -> /* cache_refill */
		for (i : 1 .. BLOCKS) {
			if :: refills(i, l) -> pooled[i] = 0; link[i] = head[l]; head[l] = i :: else fi
		}
		i = 0
	:: else
	fi;
	if
	:: head[l] != NIL -> at = head[l]; head[l] = link[at]; hand_out(at); link[at] = JUNK; at = 0
	:: else
	fi
}

/* --- the thread --- */

active proctype Thread()
{
	byte ops, l, b, h, n;
	bit c;
#ifdef SINK_HEAD
	byte sunk, sunk_list;
#define SURFACE if :: sunk -> head_late[sunk_list] = sunk; sunk = 0 :: else fi
#define STORE_HEAD(list, value) sunk = value + 1; sunk_list = list
#else
#define SURFACE skip
#define STORE_HEAD(list, value) head_late[list] = value + 1
#endif
	do
	:: ops < OPS ->
		ops++;
		if :: l = 0 :: l = 1 fi;
		if
		:: b = NIL /* malloc */
		:: out[1] -> b = 1
		:: out[2] -> b = 2
#if BLOCKS > 2
		:: out[3] -> b = 3
#endif
		:: goto leave
		fi;
		d_step { freeing[b] = 1; was_live[b] = 0 }
		/* cache_announce: slot.last relaxed, compiler_barrier, slot.current relaxed */
#ifdef ANNOUNCE_LATE /* mutation: the load of slot.current first */
		c = current;
		last_late = l + 1;
#else
		last_late = l + 1;
		SURFACE; /* mutation SINK_HEAD: the compiler moved the head store down to here */
		c = current;
#endif
		if :: c -> h = my_head(l) :: else fi;
		if
		:: b == NIL && c && h != NIL -> /* cache_take */
			n = my_link(h);
			d_step { STORE_HEAD(l, n); hand_out(h) }
			link_late[h] = JUNK + 1 /* the program's first write */
		:: b == NIL && !(c && h != NIL) -> /* entry_malloc_slow */
			d_step { !lock; SURFACE; land_all(); settle(); malloc_locked(l); check_whole() }
		:: b != NIL && c -> /* cache_push, and the push of free_foreign */
#ifdef LINK_LATE /* mutation: the head before the link */
			head_late[l] = b + 1;
			link_late[b] = h + 1;
			d_step { out[b] = 0; freeing[b] = 0 }
#else
			link_late[b] = h + 1;
			d_step { STORE_HEAD(l, b); out[b] = 0; freeing[b] = 0 }
#endif
		:: b != NIL && !c -> /* free_locked */
			d_step {
				!lock; SURFACE; land_all(); settle();
				out[b] = 0; freeing[b] = 0; link[b] = head[l]; head[l] = b;
				check_whole()
			}
		fi;
		d_step { freeing[NIL] = 0; c = 0; h = 0; n = 0; l = 0; b = 0 }
		goto next;
leave:		skip;
		d_step { /* park */
			!lock; SURFACE; land_all(); settle();
			current = 0;
			flush_list(0); flush_list(1);
			diverted = 0; locked = 0; attached = 0; l = 0;
			check_whole()
		}
		d_step { /* attach_to */
			!lock;
			attached = 1; diverted = is_locked_mode; locked = diverted; current = !locked
		}
next:		skip
	:: break
	od;
	skip;
	d_step { /* its last slow path, to see that the lists are whole */
		!lock; SURFACE; land_all(); settle(); check_whole()
	}
}

/* --- the visitor, who holds VISIT --- */

/* os_barrier */
inline barrier() { d_step { if :: !refused -> land_all() :: else fi } }

#ifdef NO_BARRIER_1 /* mutations */
#define BARRIER_1 skip
#else
#define BARRIER_1 barrier(); if :: refused -> goto missed :: else fi
#endif
#ifdef NO_BARRIER_2
#define BARRIER_2 skip
#else
#define BARRIER_2 barrier(); if :: refused -> goto missed :: else fi
#endif
#ifdef NO_BARRIER_3
#define BARRIER_3 skip
#else
#define BARRIER_3 barrier(); if :: refused -> goto missed :: else fi
#endif

/* each(): takes the lock, or leaves the heap alone */
#if defined(IGNORE_LOCKED) /* mutation: goes on with a heap that went over to locked mode */
#define goes_on (attached && diverted && !taken)
#elif defined(RETAKE) /* mutation: notes and takes anew what was taken */
#define goes_on (attached && diverted && !locked)
#else
#define goes_on (attached && diverted && !locked && !taken)
#endif
inline lock_if_it_goes_on() { atomic { !lock; if :: goes_on -> lock = 1 :: else -> goto missed fi } }

/* access_to() */
#define is_open (!attached || locked)
#ifdef RETAKE
#define is_emptied 0
#else
#define is_emptied (!is_open && taken)
#endif

inline divert() { current = 0; diverted = 1 }

active proctype Visitor()
{
	byte actions, rounds;
	bit walks;
#ifdef FORK
	byte fork_head[LISTS], fork_link[BLOCKS + 1];
	bit notes_hold;
#endif
	do
	:: actions < ACTIONS ->
		actions++;
		if
		:: d_step { /* quarry_walk: claim_hold */
			!held;
			held = 1;
			at = last_late + head_late[0] + head_late[1] + link_late[1] + link_late[2];
#if BLOCKS > 2
			at = at + link_late[3];
#endif
			for (i : 1 .. BLOCKS) {
				was_free[i] = at == 0 && !out[i];
				was_live[i] = at == 0 && out[i] && !freeing[i]
			}
			i = 0; at = 0;
			walks = 1
		   }
		:: d_step { held -> held = 0 } goto over /* claim_release */
		:: true /* claim_visit(CLAIM_ALL) */
		:: atomic { !lock; /* begin() with CLAIM_POKE */
			if
			:: !is_open && !taken && !refused -> divert(); poked = 1
			:: else
			fi
		   }
		   goto over
#ifdef FORK
		:: goto fork
#endif
		fi;
		visited = 0;
		rounds = 0;
		do
		:: rounds < ROUNDS && !visited ->
			rounds++;
			d_step { /* begin() */
				!lock;
				if
				:: is_open -> flush_list(0); flush_list(1); visited = 1
				:: is_emptied -> visited = 1
				:: !is_open && !is_emptied && refused -> divert() /* BARRED */
				:: else -> divert(); poked = 2
				fi
			}
			if :: visited || refused -> break :: else fi;
			BARRIER_1;
			lock_if_it_goes_on(); /* step_note_head */
			seen_list = last;
			if :: seen_list < LISTS -> seen_head = head[seen_list] :: else -> seen_head = NIL fi;
			d_step { seen_next = NIL; lock = 0 }
			BARRIER_2;
			lock_if_it_goes_on(); /* step_note_link */
			if :: seen_head != NIL -> seen_next = link[seen_head] :: else fi;
			lock = 0;
			BARRIER_3;
			lock_if_it_goes_on(); /* step_take */
#ifndef NO_RECHECK /* mutation: does not look at the head again */
			if :: seen_list < LISTS && head[seen_list] != seen_head -> lock = 0; goto missed :: else fi;
#endif
			taken = 1;
#ifdef TAKE_HEAD /* mutation: takes the block in doubt too */
			seen_next = seen_head;
#endif
			if
			:: seen_list == 0 -> d_step { return_chain(seen_next, 0) }
			:: else -> d_step { flush_list(0) }
			fi;
			if
			:: seen_list == 1 -> d_step { return_chain(seen_next, 1) }
			:: else -> d_step { flush_list(1) }
			fi;
			d_step {
				for (i : 1 .. BLOCKS) {
					if :: i != seen_head && !out[i] && !pooled[i] -> at++ :: else fi
				}
				assert(at <= 1);
				i = 0; at = 0;
				visited = 1;
				lock = 0
			}
missed:			skip
		:: else -> break
		od;
		skip;
		d_step { empty_inboxes() }
		if
		:: walks && !visited -> held = 0 /* claim_hold failed */
		:: walks && visited ->
			d_step { /* note_doubtful */
				!lock;
				claim_doubtful();
#if defined(HIDE_POPPED) /* mutation: leaves H out though it was popped */
				if :: taken && seen_head != NIL -> doubtful[seen_head] = 1 :: else fi;
#elif !defined(NO_DOUBT) /* mutation: reports what may be in doubt */
				for (i : 1 .. BLOCKS) { doubtful[i] = mark[i] }
#endif
				for (i : 1 .. BLOCKS) { mark[i] = 0 }
				i = 0
			}
#ifndef LATE_MAIL /* mutation: no look at the inboxes after noting */
			d_step { empty_inboxes() }
#endif
			d_step { /* read_pool */
				!lock;
				for (i : 1 .. BLOCKS) {
					assert(!was_free[i] || (pooled[i] && !mailed[i]) || doubtful[i]);
					assert(!was_live[i] || !(pooled[i] && !mailed[i]) && !doubtful[i])
				}
				i = 0
			}
		:: else
		fi;
		goto over;
#ifdef FORK
fork:
		atomic { !lock; lock = 1 } /* heap_lock_for_fork: until the copy is made */
		rounds = 0;
		if
		:: attached && !taken && !locked -> /* claim_prepare_fork */
#ifndef FORK_NO_DIVERT /* mutation */
			divert();
#endif
			do
			:: rounds < 2 && !notes_hold && !refused ->
				rounds++;
				barrier();
				seen_list = last;
				if :: seen_list < LISTS -> seen_head = head[seen_list] :: else -> seen_head = NIL fi;
				seen_next = NIL;
#ifndef FORK_NO_BARRIER_2 /* mutation */
				barrier();
#endif
				if :: seen_head != NIL -> seen_next = link[seen_head] :: else fi;
				barrier();
				notes_hold = (seen_list == LISTS || head[seen_list] == seen_head) && !refused
			:: else -> break
			od;
			assert(notes_hold || refused)
		:: else
		fi;
		/* fork: the thread, if it runs, goes on with its operation while memory is copied place by place */
		fork_head[0] = head[0];
		fork_link[1] = link[1];
		fork_head[1] = head[1];
		fork_link[2] = link[2];
#if BLOCKS > 2
		fork_link[3] = link[3];
#endif
		d_step { /* orphan */
			if
			:: attached && !locked ->
				for (i : 0 .. LISTS - 1) {
					if
					:: !taken && !notes_hold -> fork_head[i] = NIL
#ifndef FORK_TRUST_HEAD /* mutation: the child goes by its copy of the list in doubt */
					:: (taken || notes_hold) && i == seen_list ->
						fork_head[i] = (taken -> NIL : seen_next)
#endif
					:: else
					fi
				}
				i = 0
			:: else
			fi;
			for (i : 0 .. LISTS - 1) {
				at = fork_head[i];
				do
				:: at == NIL -> break
				:: else ->
					assert(at != JUNK && !mark[at] && !pooled[at] && !out[at] && !freeing[at]);
					mark[at] = 1;
					at = fork_link[at]
				od
			}
			for (i : 1 .. BLOCKS) {
				if :: !mark[i] && !out[i] && !pooled[i] -> at++ :: else fi;
				mark[i] = 0;
				fork_link[i] = 0
			}
			assert(at <= (locked || !attached -> 0 : 2) || (!taken && !notes_hold));
			i = 0; at = 0; fork_head[0] = 0; fork_head[1] = 0; notes_hold = 0;
			lock = 0 /* let_go */
		}
#endif
over:		skip;
		d_step {
			rounds = 0; walks = 0;
			for (i : 1 .. BLOCKS) { was_free[i] = 0; was_live[i] = 0; doubtful[i] = 0 }
			i = 0
		}
	:: break
	od
}

#ifdef WITHDRAW
active proctype Kernel()
{
	refused = 1
}
#endif
