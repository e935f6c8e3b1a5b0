/* SPDX-License-Identifier: MIT */
/*
 * Park: heaps that change threads, with what lies in their lists (lib/thread.c, cache_leave in lib/cache.c, the registry in
 * lib/heap.c, begin() and empty_inbox() in lib/claim.c).
 *
 * THREADS threads live LIVES lives each: a heap is obtained, or made, and attached; OPS operations of malloc and free go
 * by its list without a lock; what the thread still holds at its end is freed by another one, late. A visitor passes over
 * all records VISITS times. A pool of two blocks goes from heap to heap as heaps are parked and borrow.
 *
 *     step                                   in C                                                   order
 *     pop from parked                        heap_obtain, under the registry lock                   acquire, seq_cst
 *     kind, current                          attach_to, under heap_lock; slot.current               release
 *     c = current, head, link                cache_announce: relaxed; cache_take, cache_push        plain
 *     current = NIL, keep or flush, drain    park: slot.current, cache_leave, remote_drain          under heap_lock
 *     kind = PARKED, set_word                park: heap->kind, heap_give_rings                      under heap_lock
 *     push onto parked                       heap_park, under the registry lock                     acquire, seq_cst
 *     look at kind, flush, drain             begin: access_to, cache_flush_all, empty_inbox         under heap_lock
 *     push to inbox, try, drain              remote_push, relieve (remote.pml has them in full)     seq_cst
 *
 * What a thread stored before it let go of a lock is seen by the next holder, and nothing else is handed over, so memory
 * is sequentially consistent here; lists of attached heaps are left alone by this visitor, for claim.pml has that.
 *
 * Checked: a heap serves one thread at a time, and none after its thread has left; whoever takes a block from a list had
 * the list to himself; no block is at two places; a parked heap has no pool in its rings when its lock is let go; warm
 * lists are no more than WARM and the threads that left at the same time; after a last visit every block that is not out
 * is in its pool, and the pool with the shared heap or given back.
 *
 * Bounds: one visit, one late free, and                                  states   seconds   MB   (one idle core)
 *     two threads of two lives, an operation in each                      11.1 M      15     556
 *     two threads of one life, two operations in it                        1.5 M       2     190
 */
#ifndef THREADS
#define THREADS 2
#endif
#ifndef LIVES
#define LIVES 2
#endif
#ifndef OPS
#define OPS 1
#endif
#ifndef VISITS
#define VISITS 1
#endif
#ifndef WARM
#define WARM 1 /* WARM_PARKED */
#endif
#define SHORT 1 /* blocks that a list may have to stay: its first bound */
#define SHARED 0
#define RECORDS 4 /* ids 1 to 3 */
#define NIL 0
#define JUNK 99
#define NOBODY 9
#ifndef POOLS
#define POOLS 1 /* of two blocks */
#endif
#ifndef FREES
#define FREES 1
#endif
#define BLOCKS (2 * POOLS)
#define pool_of(b) ((b - 1) / 2)

bit lock[RECORDS];
bit attached[RECORDS];
byte thread_of[RECORDS] = NOBODY;
byte nextparked[RECORDS], parked, nparked, nrecords;
byte current[THREADS];

byte head[RECORDS], link[BLOCKS + 1] = JUNK;
bit out[BLOCKS + 1], home[BLOCKS + 1] = 1, mailed[BLOCKS + 1], listed[BLOCKS + 1];
byte inbox_of[BLOCKS + 1];
byte word[POOLS] = SHARED, count[POOLS]; /* a pool whose count is 2 is full, and in no ring */

byte i, at, length, block; /* scratch within one step */

#if POOLS > 1
#define some_out (out[1] || out[2] || out[3] || out[4])
#define any_out(b) if :: out[1] -> b = 1 :: out[2] -> b = 2 :: out[3] -> b = 3 :: out[4] -> b = 4 :: else fi
#else
#define some_out (out[1] || out[2])
#define any_out(b) if :: out[1] -> b = 1 :: out[2] -> b = 2 :: else fi
#endif

/* A section that nobody can look into is one step; the visitor's is more, and keeps others out by lock[]. */

#define in_ring(p, h) (word[p] == h && count[p] < 2)

/* heap_put_block; one that is another heap's goes there (cache_post, remote_push) */
inline come_home(b, h) {
	if
	:: word[pool_of(b)] == h -> home[b] = 1; mailed[b] = 0; inbox_of[b] = 0; count[pool_of(b)]--
	:: else -> mailed[b] = 1; inbox_of[b] = word[pool_of(b)]
	fi
}

inline flush(h) {
	do
	:: head[h] == NIL -> break
	:: else ->
		assert(head[h] != JUNK);
		block = head[h];
		assert(listed[block] && !out[block] && !home[block] && !mailed[block]);
		head[h] = link[block];
		link[block] = JUNK;
		listed[block] = 0;
		come_home(block, h)
	od;
	block = 0
}

inline drain(h) {
	for (i : 1 .. BLOCKS) { if :: mailed[i] && inbox_of[i] == h -> come_home(i, h) :: else fi }
	i = 0
}

/* heap_give_rings; the shared heap's lock is held meanwhile, and nobody waits for another with it */
inline give_rings(h) {
	for (i : 0 .. POOLS - 1) { if :: in_ring(i, h) -> word[i] = SHARED :: else fi }
	i = 0
}

/* cache_leave */
inline leave_cache(h, room) {
	at = head[h];
	length = 0;
	do
	:: at == NIL -> break
	:: else -> assert(at != JUNK); length++; at = link[at]
	od;
#ifndef KEEP_ALL /* mutation: whatever the number of parked heaps */
	if :: length > SHORT || !room -> flush(h) :: else fi;
#endif
	length = 0
}

inline check_parked(h) {
	for (i : 0 .. POOLS - 1) { assert(!in_ring(i, h)) }
	i = 0
}

/* cache_refill: the own rings, else a pool of the shared heap's */
inline refill(h) {
	for (i : 0 .. POOLS - 1) {
		if :: head[h] == NIL && in_ring(i, SHARED) -> word[i] = h :: else fi;
		if
		:: head[h] == NIL && in_ring(i, h) ->
			for (block : 2 * i + 1 .. 2 * i + 2) {
				if
				:: home[block] ->
					home[block] = 0; count[i]++; listed[block] = 1;
					link[block] = head[h]; head[h] = block
				:: else
				fi
			}
			block = 0
		:: else
		fi
	}
	i = 0
}

inline hand_out(b) {
	assert(b != JUNK && listed[b] && !out[b] && !home[b] && !mailed[b]);
	listed[b] = 0; out[b] = 1; link[b] = JUNK
}

proctype Thread(byte me)
{
	byte lives, ops, h, b, n, c, warm;
	do
	:: lives < LIVES ->
		lives++;
		/* heap_obtain */
#ifdef OBTAIN_UNLOCKED /* mutation: two threads may read the same first one */
		h = parked;
		d_step {
#else
		d_step {
			h = parked;
#endif
			if
			:: h != NIL -> parked = nextparked[h]; nextparked[h] = NIL; nparked--
			:: else -> nrecords++; h = nrecords
			fi
		}
		/* attach_to */
		atomic {
#ifndef ATTACH_UNLOCKED /* mutation */
			!lock[h];
#endif
			assert(!attached[h] && thread_of[h] == NOBODY);
			attached[h] = 1; thread_of[h] = me; current[me] = h
		}
		ops = 0;
		do
		:: ops < OPS ->
			ops++;
			c = current[me];
			if
			:: true -> /* malloc */
				b = head[c];
				if
				:: b != NIL ->
					n = link[b];
					d_step { assert(thread_of[c] == me); head[c] = n; hand_out(b); b = 0; n = 0 }
				:: else ->
					d_step {
						!lock[c];
						drain(c); refill(c);
						if :: head[c] != NIL -> b = head[c]; head[c] = link[b]; hand_out(b) :: else fi;
						b = 0
					}
				fi
			:: some_out -> /* free */
				d_step {
					any_out(b);
					if :: b != NIL -> out[b] = 0; listed[b] = 1 :: else fi
				}
				if
				:: b != NIL ->
					link[b] = head[c];
					d_step { assert(thread_of[c] == me); head[c] = b; b = 0 }
				:: else
				fi
			:: break
			fi
		:: else -> break
		od;
		/* park */
		atomic {
			ops = 0; c = 0;
#ifdef OFFER_EARLY /* mutation: heap_park first */
			nextparked[h] = parked; parked = h; nparked++;
#endif
			skip
		}
		warm = (nparked < WARM); /* heap_parked_count, relaxed */
#ifdef KEEP_ALL
		warm = 1;
#endif
		d_step {
			!lock[h];
#ifndef KEEP_CURRENT /* mutation: the thread goes on with a list that it has left */
			current[me] = NIL;
#endif
			leave_cache(h, warm);
#ifdef RINGS_FIRST /* mutation: pools that become usable in the drain stay behind */
			give_rings(h);
#endif
			drain(h);
#ifndef KEEP_KIND /* mutation: it counts as attached */
			attached[h] = 0;
#endif
			thread_of[h] = NOBODY;
#ifndef RINGS_FIRST
			give_rings(h);
#endif
			check_parked(h)
		}
		d_step {
#ifndef OFFER_EARLY
			nextparked[h] = parked; parked = h; nparked++;
#endif
			n = 0;
			for (b : 1 .. nrecords) { if :: head[b] != NIL && !attached[b] -> n++ :: else fi }
			assert(n <= WARM + THREADS - 1);
			n = 0; b = 0
		}
		/* a destructor that runs later allocates: entry_malloc_slow, of the shared heap */
		c = current[me];
		if
		:: c != NIL && head[c] != NIL -> d_step { assert(thread_of[c] == me); b = head[c]; b = 0 }
		:: else
		fi;
		d_step { h = 0; c = 0; ops = 0; warm = 0 }
	:: else -> break
	od
}

/* claim_visit: begin() of each record in turn */
proctype Visitor()
{
	byte visits, h;
	do
	:: visits < VISITS ->
		visits++;
		h = 1;
		do
		:: h < RECORDS && h <= nrecords ->
			atomic { !lock[h]; lock[h] = 1 }
			if
			:: !attached[h] ->
				skip; /* access_to was OPEN; from here on to the drop nobody may attach it */
				d_step {
					flush(h);
					drain(h);
					give_rings(h);
					check_parked(h)
				}
			:: else -> d_step { drain(h) }
			fi;
			d_step { lock[h] = 0; h++ }
		:: else -> break
		od;
		h = 0
	:: else -> break
	od
}

/* A thread without a heap frees what others left: remote_push, relieve. */
proctype Late()
{
	byte frees, b, h;
	do
	:: frees < FREES ->
		frees++;
		d_step {
			any_out(b);
			if :: b != NIL -> out[b] = 0; h = word[pool_of(b)] :: else fi /* a hint */
		}
		if
		:: b != NIL ->
			d_step { mailed[b] = 1; inbox_of[b] = h }
			if
			:: h != SHARED && !attached[h] ->
				if
				:: d_step { !lock[h] ->
					drain(h);
					if :: !attached[h] -> give_rings(h); check_parked(h) :: else fi }
				:: lock[h] -> skip /* its holder drains, or looks again */
				fi
			:: else
			fi;
			d_step { b = 0; h = 0 }
		:: else
		fi
	:: else -> break
	od
}

init {
	byte h;
	atomic {
		run Thread(0);
		run Thread(1);
#if THREADS > 2
		run Thread(2);
#endif
		run Visitor();
		run Late()
	}
	(_nr_pr == 1);
	/* a last visit */
	d_step {
#ifndef SKIP_PARKED /* mutation: visitors leave parked heaps alone */
		for (h : 1 .. nrecords) { assert(!attached[h]); flush(h) }
#endif
		for (length : 1 .. 3) {
			for (h : 0 .. nrecords) { drain(h) }
		}
		for (h : 1 .. nrecords) { give_rings(h) }
		for (at : 1 .. BLOCKS) { assert(home[at] + out[at] == 1 && !mailed[at] && !listed[at]) }
		for (at : 0 .. POOLS - 1) { assert(word[at] == SHARED || count[at] == 2) }
		h = 0
	}
	/* each record is parked once */
	d_step {
		h = parked; length = 0;
		do :: h == NIL -> break :: else -> length++; h = nextparked[h] od;
		assert(length == nrecords && nparked == nrecords)
	}
}
