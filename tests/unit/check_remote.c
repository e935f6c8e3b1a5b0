/* SPDX-License-Identifier: MIT */
/*
 * check_remote: blocks come home from other threads: push, drain, forwarding after a move, and what bounds an inbox.
 */
#include "heaps.h"

static struct lot lot;

/* A chain of the lot's blocks from first on. */
static struct block *chain_of(size_t first, size_t n)
{
	for (size_t i = first; i < first + n; i++)
		take_back(lot.block[i]);
	for (size_t i = first; i < first + n; i++)
		block_set_next(lot.block[i], i + 1 < first + n ? lot.block[i + 1] : NULL);
	return lot.block[first];
}

static void push_chain(uint32_t owner_id, size_t first, size_t n)
{
	struct block *head = chain_of(first, n);
	remote_push(owner_id, head, lot.block[first + n - 1], n * SMALL_BLOCK);
}

static void make_lot(size_t n)
{
	lot = (struct lot){.nbytes = SMALL, .n = n};
	lot_allocate(&lot);
	for (size_t i = 0; i < n; i++)
		expect(owner_of(lot.block[i]) == slot.heap);
}

static unsigned drain(struct heap *heap, unsigned most)
{
	heap_lock(heap);
	unsigned n = remote_drain(heap, most);
	heap_unlock(heap);
	return n;
}

static size_t lot_out(void)
{
	size_t n = 0;
	for (size_t i = 0; i < lot.n; i++)
		n += block_is_out(lot.block[i]);
	return n;
}

/* --- push and drain ----------------------------------------------------------------------------------------------- */

START_TEST(pushed_blocks_wait_and_drained_ones_are_home)
{
	make_lot(100);
	struct heap *heap = slot.heap;
	ck_assert(!remote_is_waiting(heap));
	push_chain(heap->id, 0, 30);
	push_chain(heap->id, 30, 1);
	push_chain(heap->id, 31, 9);
	ck_assert(remote_is_waiting(heap));
	ck_assert_uint_eq(heap->inbox_nbytes, 40 * SMALL_BLOCK);
	ck_assert_uint_eq(lot_out(), 100);
	int64_t out = heap->counters.out_nbytes;
	ck_assert_uint_eq(drain(heap, UINT32_MAX), 40);
	ck_assert(!remote_is_waiting(heap));
	ck_assert_uint_eq(heap->inbox_nbytes, 0);
	ck_assert_uint_eq(lot_out(), 60);
	ck_assert_int_eq(out - heap->counters.out_nbytes, 40 * SMALL_BLOCK);
	ck_assert_uint_eq(heap->counters.remote_frees, 40);
	ck_assert_uint_eq(drain(heap, UINT32_MAX), 0);
}
END_TEST

START_TEST(a_drain_stops_where_it_is_told)
{
	make_lot(100);
	struct heap *heap = slot.heap;
	push_chain(heap->id, 0, 50);
	ck_assert_uint_eq(drain(heap, 20), 20);
	ck_assert_uint_eq(heap->inbox_nbytes, 30 * SMALL_BLOCK);
	ck_assert(remote_is_waiting(heap));
	push_chain(heap->id, 50, 50);
	ck_assert_uint_eq(heap->inbox_nbytes, 80 * SMALL_BLOCK);
	ck_assert_uint_eq(drain(heap, 30), 30);
	ck_assert_uint_eq(lot_out(), 50);
	for (size_t i = 50; i < 100; i++)
		expect(block_is_out(lot.block[i]));
	ck_assert_uint_eq(drain(heap, 60), 50);
	ck_assert_uint_eq(lot_out(), 0);
	ck_assert_uint_eq(heap->inbox_nbytes, 0);
}
END_TEST

/* A refill sorts what waits before it asks for another pool, and no more than its share. */
START_TEST(a_refill_sorts_what_waits)
{
	unsigned capacity = size_classes[SMALL_SZIDX].capacity;
	size_t npools = 3 + DRAIN_BLOCKS / capacity;
	make_lot(npools * capacity);
	struct heap *heap = slot.heap;
	heap_lock(heap);
	cache_flush_all(heap);
	heap_unlock(heap);
	struct pool_header *pool = pool_of(lot.block[lot.n - 1]);
	while (!pool_is_full(pool))
		lot.block[lot.n++] = quarry_malloc(SMALL);
	ck_assert_uint_eq(ring_length(heap, SMALL_SZIDX), 0);
	heap_lock(heap);
	cache_flush_all(heap);
	heap_unlock(heap);
	size_t waiting = lot.n;
	push_chain(heap->id, 0, waiting);
	void *block = quarry_malloc(SMALL);
	ck_assert(owner_of(block) == heap);
	size_t drained = waiting < DRAIN_BLOCKS ? waiting : DRAIN_BLOCKS;
	ck_assert_uint_eq(heap->counters.remote_frees, drained);
	ck_assert_uint_eq(heap->inbox_nbytes, (waiting - drained) * SMALL_BLOCK);
}
END_TEST

/* --- bounds ------------------------------------------------------------------------------------------------------- */

START_TEST(an_inbox_that_is_too_full_is_emptied_by_who_fills_it)
{
	make_lot(2 * INBOX_NBYTES / SMALL_BLOCK);
	struct heap *heap = slot.heap;
	size_t n = lot.n, most = remote_bound(heap) / SMALL_BLOCK;
	ck_assert_uint_gt(most, INBOX_NBYTES / SMALL_BLOCK); /* a part of what is out is added */
	push_chain(heap->id, 0, most);
	ck_assert_uint_eq(heap->inbox_nbytes, most * SMALL_BLOCK);
	heap_lock(heap);
	push_chain(heap->id, most, 1);
	ck_assert_uint_eq(heap->inbox_nbytes, (most + 1) * SMALL_BLOCK);
	remote_unlock(heap); /* whoever held the lock looks again */
	ck_assert_uint_eq(heap->inbox_nbytes, 0);
	ck_assert_uint_eq(lot_out(), n - most - 1);
	push_chain(heap->id, most + 1, n - most - 1);
	make_lot(n);
	push_chain(heap->id, 0, remote_bound(heap) / SMALL_BLOCK + 1);
	ck_assert_uint_eq(heap->inbox_nbytes, 0);
}
END_TEST

START_TEST(pools_of_a_thread_that_allocates_no_more_serve_others)
{
	make_lot(LOT_MOST);
	struct heap *heap = slot.heap, *shared = heap_shared(0);
	size_t first = remote_bound(heap) / SMALL_BLOCK + 1;
	push_chain(heap->id, 0, first); /* it has refilled lists meanwhile */
	ck_assert_uint_eq(heap->inbox_nbytes, 0);
	ck_assert_uint_ge(ring_length(heap, SMALL_SZIDX), 1);
	ck_assert_uint_eq(ring_length(shared, SMALL_SZIDX), 0);
	push_chain(heap->id, first, remote_bound(heap) / SMALL_BLOCK + 1);
	ck_assert_uint_eq(heap->inbox_nbytes, 0);
	ck_assert_uint_eq(ring_length(heap, SMALL_SZIDX), 0);
	ck_assert_uint_ge(ring_length(shared, SMALL_SZIDX), 1);
	ck_assert(owner_of(lot.block[lot.n - 1000]) == heap); /* full pools stay */
}
END_TEST

START_TEST(heaps_without_a_thread_are_relieved_at_once)
{
	struct actor actor;
	actor_begin(&actor);
	lot = (struct lot){.nbytes = SMALL, .n = 5000};
	struct heap *heap = heap_of_actor(&actor);
	thread_heap();
	actor_do(&actor, lot_allocate, &lot);
	actor_end(&actor);
	ck_assert_int_eq(heap->kind, HEAP_PARKED);
	struct heap *owner = owner_of(lot.block[lot.n / 2]);
	ck_assert(owner == heap); /* full pools stay with the parked heap */
	size_t of_heap = 0, first = 0;
	for (size_t i = 0; i < lot.n; i++)
		if (owner_of(lot.block[i]) == heap) {
			void *swap = lot.block[of_heap];
			lot.block[of_heap++] = lot.block[i];
			lot.block[i] = swap;
		}
	size_t others = lot_out() - of_heap;
	push_chain(heap->id, first, 1);
	ck_assert_uint_eq(heap->inbox_nbytes, 0);
	ck_assert_uint_eq(lot_out(), others + of_heap - 1);
	ck_assert(owner_of(lot.block[first]) == heap_shared(0)); /* with its pool: it can serve others */
	ck_assert_uint_eq(ring_length(heap, SMALL_SZIDX), 0);
	push_chain(heap->id, 1, of_heap - 1);
	ck_assert_uint_eq(heap->inbox_nbytes, 0);
	ck_assert_uint_eq(heap_shared(0)->inbox_nbytes, 0);
	ck_assert_uint_eq(lot_out(), others);
}
END_TEST

/* --- moves -------------------------------------------------------------------------------------------------------- */

START_TEST(a_block_whose_pool_moved_is_forwarded)
{
	thread_heap();
	struct heap *heap = slot.heap, *shared = heap_shared(0), *other = heap_obtain(0);
	make_lot(3);
	uint32_t old_id = heap->id;
	heap_lock(heap);
	cache_flush_all(heap);
	heap_give_rings(heap);
	heap_unlock(heap);
	ck_assert(owner_of(lot.block[0]) == shared);
	heap_lock(heap);
	push_chain(old_id, 0, 1);
	ck_assert_uint_eq(remote_drain(heap, 5), 1);
	ck_assert_uint_eq(heap->inbox_nbytes, 0);
	ck_assert(remote_is_waiting(shared));
	ck_assert_uint_eq(shared->inbox_nbytes, SMALL_BLOCK);
	ck_assert_uint_eq(lot_out(), 3);
	remote_unlock(heap); /* relieves the one that it forwarded to */
	ck_assert_uint_eq(shared->inbox_nbytes, 0);
	ck_assert_uint_eq(lot_out(), 2);
	push_chain(other->id, 1, 1); /* one that never owned it, and has no thread */
	ck_assert_uint_eq(other->inbox_nbytes, 0);
	ck_assert_uint_eq(shared->inbox_nbytes, 0);
	ck_assert_uint_eq(lot_out(), 1);
}
END_TEST

/* --- many threads ------------------------------------------------------------------------------------------------- */

#define PUSHERS 3
#define TURNS 200

struct pusher {
	uint32_t owner_id;
	size_t first, n;
};

static void push_one_by_one(void *arg)
{
	struct pusher *pusher = arg;
	for (size_t i = 0; i < pusher->n; i++)
		push_chain(pusher->owner_id, pusher->first + i, 1);
}

START_TEST(many_push_while_one_drains)
{
	struct actor actors[PUSHERS];
	struct pusher pushers[PUSHERS];
	make_lot(PUSHERS * 6000);
	struct heap *heap = slot.heap;
	for (unsigned i = 0; i < PUSHERS; i++) {
		pushers[i] = (struct pusher){heap->id, i * 6000, 6000};
		actor_begin(&actors[i]);
		actor_tell(&actors[i], push_one_by_one, &pushers[i]);
	}
	for (unsigned i = 0; i < TURNS; i++)
		drain(heap, 37);
	for (unsigned i = 0; i < PUSHERS; i++) {
		actor_wait(&actors[i]);
		actor_end(&actors[i]);
	}
	drain(heap, UINT32_MAX);
	ck_assert_uint_eq(heap->inbox_nbytes, 0);
	ck_assert_uint_eq(heap->counters.remote_frees, lot.n);
	heap_lock(heap);
	cache_flush_all(heap);
	heap_unlock(heap);
	/* What came overdue twice has met a thread that refills nothing: then the pools are the shared heap's. */
	ck_assert_int_eq(heap->counters.out_nbytes + heap_shared(0)->counters.out_nbytes, 0);
	ck_assert_uint_eq(lot_out(), 0);
}
END_TEST

int main(void)
{
	without_quarantine();
	Suite *suite = suite_create("remote");
	TCase *tcase = new_case(suite, "remote");
	tcase_add_test(tcase, pushed_blocks_wait_and_drained_ones_are_home);
	tcase_add_test(tcase, a_drain_stops_where_it_is_told);
	tcase_add_test(tcase, a_refill_sorts_what_waits);
	tcase_add_test(tcase, an_inbox_that_is_too_full_is_emptied_by_who_fills_it);
	tcase_add_test(tcase, pools_of_a_thread_that_allocates_no_more_serve_others);
	tcase_add_test(tcase, heaps_without_a_thread_are_relieved_at_once);
	tcase_add_test(tcase, a_block_whose_pool_moved_is_forwarded);
	tcase_add_test(tcase, many_push_while_one_drains);
	return run_suite(suite);
}
