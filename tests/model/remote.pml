/* SPDX-License-Identifier: MIT */
/*
 * Remote frees and pools that change hands (lib/remote.c, lib/heap.c, lib/thread.c; invariants 1 to 3 of
 * lib/heap.h).
 *
 * Three heaps: the shared one, and A and B, each with a thread that goes through slow paths, parks and attaches
 * again. Two pools of two blocks, A's at first, one of them full. Two threads without heaps free three blocks, one
 * by one, each to the heap that it read from the address map (relaxed: a hint), and relieve that heap where its
 * inbox is overdue.
 *
 * Memory is sequentially consistent: the compare-and-swap of push(), the loads of is_overdue(), lock_try and
 * lock_drop are (memory_order_seq_cst), and each link is written before the push that releases it and read behind
 * the exchange that acquires it. The mutations EARLY_LOOK and LINK_LATE show that both are called for. Words are
 * read and written relaxed; under a heap's lock they are the truth about its own pools.
 *
 * A drain sorts a block per step: what others do meanwhile is to push (behind the exchange) and to move pools
 * (between blocks). Borrowing and giving away pools under the shared heap's lock are one step.
 *
 * Checked: a block is put once, under the lock of the heap that owns its pool; a pool is given back when its last
 * block has come home; no forward without a move since the last one; inbox_nbytes never goes below zero; at rest no
 * inbox of A and B is overdue (parked: not empty, attached: above BOUND) but by what was forwarded; after a last
 * drain all is home.
 *
 * Bounds: BOUND of one block; and                                        states   seconds   MB   (one idle core)
 *     three frees, two actions of A's thread, one of B's                  13.7 M      15     658
 *     two frees, one action of A's thread, two of B's, an empty pool       2.8 M       3     250
 *     three frees, one action of each, A's thread dormant                 10.5 M      12     537
 */
#ifndef BOUND
#define BOUND 1 /* INBOX_NBYTES, in blocks */
#endif
#ifndef ACTIONS_A /* slow paths, parks and attaches of each thread */
#define ACTIONS_A 2
#endif
#ifndef ACTIONS_B
#define ACTIONS_B 1
#endif
#ifndef THIRD /* the block that the first pusher frees next, if any */
#define THIRD 3
#endif
#ifndef DORMANT /* the heap whose thread counts as one that refills nothing: is_dormant() */
#define DORMANT NONE
#endif
#define SHARED 0
#define A 1
#define B 2
#define HEAPS 3
#define NONE 9
#define NIL 0
#define BLOCKS 4
#define POOLS 2
#define pool_of(b) ((b - 1) / 2)

/* --- heaps --- */

bit lock[HEAPS];
bit attached[HEAPS];  /* kind; the shared heap never is, the others are parked otherwise */
byte inbox[HEAPS], pending[HEAPS], nbytes[HEAPS];
byte forwarded[HEAPS] = NONE;

/* --- pools and blocks --- */

byte word[POOLS] = A;    /* NONE: 0, the pool was given back */
byte ring[POOLS] = NONE; /* the heap in whose ring it is; NONE: full */
byte count[POOLS] = 2;
byte link[BLOCKS + 1];
bit home[BLOCKS + 1];

bit moved[BLOCKS + 1]; /* its pool moved since it was last forwarded */
bit visited_by_forward[HEAPS];

/* is_overdue() */
#define overdue(h) (inbox[h] != NIL && (!attached[h] || nbytes[h] > BOUND))

inline set_word(p, h) {
	word[p] = h;
	ring[p] = h;
	moved[2 * p + 1] = !home[2 * p + 1];
	moved[2 * p + 2] = !home[2 * p + 2]
}

/* heap_put_block */
inline put(h) {
	assert(lock[h] && !home[block] && word[pool_of(block)] == h && count[pool_of(block)] > 0);
	home[block] = 1;
	moved[block] = 0;
	count[pool_of(block)]--;
	if
	:: count[pool_of(block)] == 0 -> ring[pool_of(block)] = NONE; word[pool_of(block)] = NONE
	:: count[pool_of(block)] == 1 -> ring[pool_of(block)] = h
	:: else
	fi
}


#ifdef LOOSE_MOVE /* mutation: a pool's word is rewritten without the lock of the heap that lets it go */
#define PAUSE } atomic {
#else
#define PAUSE
#endif

/* remote_drain: a block at a time; the sum is subtracted at the end */
inline drain(h, most, n) {
	do
	:: atomic { n < most && (pending[h] != NIL || inbox[h] != NIL) ->
		n++;
#ifndef FORGET_PENDING /* mutation: takes the inbox although blocks are pending */
		if :: pending[h] == NIL -> pending[h] = inbox[h]; inbox[h] = NIL :: else fi;
#else
		if :: inbox[h] != NIL -> pending[h] = inbox[h]; inbox[h] = NIL :: else fi;
#endif
		block = pending[h]; pending[h] = link[block]; link[block] = NIL;
		to = word[pool_of(block)];
		PAUSE
		if
#ifndef NO_FORWARD /* mutation: the hint is taken for the truth */
		:: to != h ->
			assert(moved[block]);
			moved[block] = 0;
			nbytes[to]++;
			link[block] = inbox[to];
			inbox[to] = block;
			forwarded[h] = to;
			visited_by_forward[to] = 1
		:: to == h ->
#else
		:: true ->
#endif
			put(h)
		fi;
		block = NIL; to = 0
	   }
	:: atomic { n == most || (pending[h] == NIL && inbox[h] == NIL) ->
		assert(nbytes[h] >= n); nbytes[h] = nbytes[h] - n; n = 0 }
		break
	od
}

inline take_lock(h) { atomic { !lock[h]; lock[h] = 1 } }

#ifdef LOOSE_MOVE
#define shared_is_free true
#else
#define shared_is_free !lock[SHARED]
#endif

/* heap_give_rings, under the lock of h; while the shared heap's is held nobody can do anything that matters here */
inline give_rings(h) {
	atomic {
		shared_is_free;
		if :: ring[0] == h -> set_word(0, SHARED) :: else fi;
		if :: ring[1] == h -> set_word(1, SHARED) :: else fi
	}
}

/* relieve */
inline relieve(h, n, next) {
	do
	:: h == NONE -> break
	:: h != NONE && !overdue(h) -> h = next; next = NONE
	:: h != NONE && overdue(h) ->
		if
		:: atomic { !lock[h] -> lock[h] = 1 }
			drain(h, BLOCKS + 1, n);
			if
			:: h != SHARED && (!attached[h] || h == DORMANT) -> give_rings(h)
			:: else
			fi;
			d_step {
				if :: forwarded[h] != NONE -> next = forwarded[h]; forwarded[h] = NONE :: else fi;
				lock[h] = 0;
#ifdef LEAVE_EARLY /* mutation: no second look at a heap that had something to forward */
				if :: next != NONE -> h = next; next = NONE :: else fi
#endif
			}
		:: lock[h] -> h = next; next = NONE
		fi
	od
}

#ifdef LINK_LATE
#define LINK(b, value) skip
#else
#define LINK(b, value) link[b] = value
#endif

/* remote_push of single blocks by threads without a heap, first and then second */
proctype Pusher(byte first; byte second)
{
	byte h, seen, n, next = NONE, block, to;
#ifdef EARLY_LOOK
	bit early;
#endif
	do
	:: first != NIL ->
		h = word[pool_of(first)]; /* a hint */
#ifdef EARLY_LOOK /* mutation: a push of release order only, after which the load of kind and the try may go ahead */
		if :: attached[h] && nbytes[h] < BOUND || lock[h] -> early = 1 :: else fi;
#endif
#ifndef ADD_LATE /* mutation: inbox_nbytes is raised behind the push */
		nbytes[h]++;
#endif
		do
		:: atomic { seen = inbox[h]; LINK(first, seen) }
		   if
		   :: atomic { inbox[h] == seen -> inbox[h] = first } break
		   :: atomic { inbox[h] != seen -> seen = NIL }
		   fi
		od;
#ifdef LINK_LATE /* mutation: the link is not released by the push */
		link[first] = seen;
#endif
#ifdef ADD_LATE
		nbytes[h]++;
#endif
		seen = NIL;
#ifdef EARLY_LOOK
		if :: early -> h = NONE; early = 0 :: else fi;
#endif
		relieve(h, n, next);
		skip;
		d_step { first = second; second = NIL }
	:: else -> break
	od
}

/* remote_unlock */
inline unlock(x, h, n, next) {
	d_step { more = forwarded[x]; forwarded[x] = NONE; lock[x] = 0 };
#ifndef NO_LOOK /* mutation: heap_unlock */
	h = x;
	relieve(h, n, next);
	h = more;
	more = NONE;
	relieve(h, n, next)
#endif
}

/* A thread with a heap: slow paths, park, attach again. */
proctype Owner(byte x; byte actions)
{
	byte h, n, next = NONE, more = NONE, block, to;
	do
	:: actions > 0 ->
		actions--;
		take_lock(x);
		if
		:: attached[x] -> /* take_own: drains some; borrow_pool */
			drain(x, 1, n);
			atomic {
				shared_is_free;
				if
				:: ring[0] == SHARED -> set_word(0, x)
				:: ring[0] != SHARED && ring[1] == SHARED -> set_word(1, x)
				:: else
				fi
			}
		:: attached[x] -> /* park */
			drain(x, BLOCKS + 1, n);
			attached[x] = 0;
			give_rings(x)
		:: !attached[x] -> attached[x] = 1
		fi;
		unlock(x, h, n, next)
	:: else -> break
	od
}

init {
	byte h, n, block, to;
	d_step {
		attached[A] = 1; attached[B] = 1;
		home[4] = 1; count[1] = 1; ring[1] = A;
		if :: THIRD == NIL -> home[3] = 1; count[1] = 0 :: else fi /* A keeps an empty pool */
	}
	atomic { run Pusher(1, THIRD); run Pusher(2, 0); run Owner(A, ACTIONS_A); run Owner(B, ACTIONS_B) }
	(_nr_pr == 1);
	/* at rest */
	d_step {
	assert(!overdue(A) || visited_by_forward[A]);
	assert(!overdue(B) || visited_by_forward[B]);
	}
	h = 0;
	do
	:: h < 2 * HEAPS -> lock[h % HEAPS] = 1; drain(h % HEAPS, BLOCKS + 1, n); lock[h % HEAPS] = 0; h++
	:: else -> break
	od;
	assert(home[1] && home[2] && home[3] && home[4]);
	assert(nbytes[SHARED] + nbytes[A] + nbytes[B] == 0 && word[0] == NONE && (word[1] == NONE || THIRD == NIL))
}
