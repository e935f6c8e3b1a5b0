/* SPDX-License-Identifier: MIT */
/*
 * check_claim: the caches of sleeping threads are emptied without them, what is in doubt is settled by the thread, and
 * holds. What needs membarrier is left out where there is none.
 */
#include "heaps.h"

#include "entry.h"
#include "kernel.h"

static struct actor actor;
static struct heap *theirs;
static struct lot lot;

#define NEED_BARRIER()                                                                                                 \
	do {                                                                                                           \
		if (claim_is_locked_mode())                                                                            \
			return;                                                                                        \
	} while (0)

static bool has_barrier(void)
{
	return !claim_is_locked_mode();
}

/* A thread that sleeps with nfree blocks of the lot in its cache, having freed the last one just now. */
static void begin_sleeper(size_t n)
{
	thread_heap();
	actor_begin(&actor);
	theirs = heap_of_actor(&actor);
	lot = (struct lot){.nbytes = SMALL, .n = n};
	theirs->classes[SMALL_SZIDX].refills = YOUNG_REFILLS; /* its blocks are its own */
	actor_do(&actor, lot_allocate, &lot);
}

static void settle(void)
{
	actor_do(&actor, pass_slow_path, NULL);
}

static void allocate_one(void *arg)
{
	*(void **)arg = quarry_malloc(SMALL);
}

static void free_one(void *block)
{
	quarry_free(block);
}

/* --- visits ------------------------------------------------------------------------------------------------------- */

START_TEST(a_sleeper_is_emptied_but_for_one_block)
{
	begin_sleeper(40);
	actor_do(&actor, lot_free, &lot);
	ck_assert_uint_gt(cached_blocks(theirs), 10);
	struct lot more = {.nbytes = SMALL, .n = 50};
	lot_allocate(&more);
	actor_do(&actor, lot_free, &more);
	ck_assert(claim_visit(CLAIM_ALL));
	struct block *doubtful[2];
	unsigned ndoubtful = claim_doubtful(theirs, doubtful);
	if (has_barrier()) {
		ck_assert(theirs->taken && theirs->diverted);
		ck_assert_ptr_eq(slot.current, slot.heap);
		ck_assert_uint_eq(theirs->counters.visits, 1);
		ck_assert_uint_eq(ndoubtful, 1);
		ck_assert_ptr_eq(doubtful[0], more.block[more.n - 1]);
	} else {
		ck_assert_uint_eq(ndoubtful, 0);
	}
	ck_assert_int_eq(out_nbytes(), (int64_t)(ndoubtful * SMALL_BLOCK));
	for (struct heap *heap = heap_first(); heap != NULL; heap = heap_next(heap))
		ck_assert_uint_eq(heap->inbox_nbytes, 0);
	settle();
	ck_assert(lists_add_up(theirs));
	actor_do(&actor, lot_pass, &lot);
	actor_end(&actor);
	ck_assert(claim_visit(CLAIM_ALL));
	ck_assert_int_eq(out_nbytes(), 0);
}
END_TEST

START_TEST(the_callers_own_cache_is_emptied_too)
{
	lot = (struct lot){.nbytes = SMALL, .n = 100};
	lot_pass(&lot);
	ck_assert_uint_gt(cached_blocks(slot.heap), 0);
	ck_assert(claim_visit(CLAIM_ALL));
	ck_assert_uint_eq(cached_blocks(slot.heap), 0);
	ck_assert(lists_add_up(slot.heap));
	ck_assert_int_eq(out_nbytes(), 0);
	ck_assert_uint_eq(ring_length(slot.heap, SMALL_SZIDX), 0);
	lot_pass(&lot);
}
END_TEST

/* It takes no slow path, on which it would sort its inbox, and its cache is never idle. */
START_TEST(the_inbox_of_a_thread_that_lives_in_its_cache_is_sorted_by_pokes)
{
	NEED_BARRIER();
	struct lot busy = {.nbytes = SMALL, .n = 1};
	begin_sleeper(40);
	lot_free(&lot);
	heap_lock(slot.heap);
	cache_flush_all(slot.heap);
	remote_unlock(slot.heap);
	actor_do(&actor, lot_allocate, &busy);
	ck_assert_uint_eq(theirs->inbox_nbytes, 40 * SMALL_BLOCK);
	claim_visit(CLAIM_IDLE);
	ck_assert_uint_eq(theirs->inbox_nbytes, 40 * SMALL_BLOCK);
	actor_do(&actor, lot_free, &busy);
	claim_visit(CLAIM_POKE);
	ck_assert_uint_eq(theirs->inbox_nbytes, 0);
	actor_end(&actor);
	ck_assert(claim_visit(CLAIM_ALL));
	ck_assert_int_eq(out_nbytes(), 0);
}
END_TEST

START_TEST(a_second_visit_finds_nothing_to_do)
{
	begin_sleeper(40);
	actor_do(&actor, lot_free, &lot);
	ck_assert(claim_visit(CLAIM_ALL));
	int64_t out = out_nbytes();
	uint64_t visits = theirs->counters.visits;
	ck_assert(claim_visit(CLAIM_ALL));
	ck_assert_int_eq(out_nbytes(), out);
	ck_assert_uint_eq(theirs->counters.visits, visits);
	struct lot more = {.nbytes = SMALL, .n = 1};
	actor_do(&actor, lot_pass, &more);
	actor_end(&actor);
}
END_TEST

START_TEST(idle_is_who_has_not_changed_for_some_visits)
{
	begin_sleeper(40);
	actor_do(&actor, lot_free, &lot);
	unsigned before = cached_blocks(theirs), visits = 1;
	claim_visit(CLAIM_IDLE);
	ck_assert_uint_eq(cached_blocks(theirs), before);
	actor_do(&actor, lot_pass, &lot);
	quarry_free(quarry_malloc(SMALL));
	for (; visits < 10 && !theirs->taken && cached_blocks(theirs) > 0; visits++)
		claim_visit(CLAIM_IDLE);
	ck_assert_uint_ge(visits, 4);
	ck_assert_uint_lt(visits, 10);
	ck_assert_uint_gt(cached_blocks(slot.heap), 0); /* the caller is not idle */
	actor_end(&actor);
}
END_TEST

/* What a visitor of all leaves behind that the thread overtakes. */
START_TEST(who_overtakes_the_visitor_empties_its_cache_itself)
{
	begin_sleeper(40);
	NEED_BARRIER();
	actor_do(&actor, lot_free, &lot);
	claim_visit(CLAIM_POKE);
	ck_assert(theirs->diverted && !theirs->taken);
	theirs->poked = POKED_TO_EMPTY;
	theirs->visited = 0;
	settle();
	ck_assert(theirs->visited);
	ck_assert(!theirs->diverted && !theirs->poked);
	ck_assert_uint_eq(cached_blocks(theirs), 0);
	ck_assert_int_eq(out_nbytes(), 0);
	actor_end(&actor);
}
END_TEST

START_TEST(who_is_poked_ages_its_cache_itself)
{
	begin_sleeper(40);
	NEED_BARRIER();
	actor_do(&actor, lot_free, &lot);
	unsigned before = cached_blocks(theirs);
	claim_visit(CLAIM_POKE);
	ck_assert(theirs->diverted && theirs->poked && !theirs->taken);
	ck_assert_uint_eq(cached_blocks(theirs), before);
	settle();
	ck_assert(!theirs->diverted && !theirs->poked);
	ck_assert_uint_eq(theirs->classes[SMALL_SZIDX].used, 0); /* aged once: used since */
	ck_assert_uint_gt(list_length(theirs, SMALL_SZIDX), 0);
	actor_do(&actor, lot_pass, &lot);
	theirs->classes[SMALL_SZIDX].used = 0;
	theirs->fingerprint++;
	claim_visit(CLAIM_POKE);
	settle();
	ck_assert_uint_eq(list_length(theirs, SMALL_SZIDX), 0);
	actor_end(&actor);
}
END_TEST

/* --- settling: the operation that was in flight during the visit, played by hand ---------------------------------- */

static struct block *seen, *spare;

/* A visit noted `seen` at the list's head; `spare` is with the program. */
static void visit_in_flight(void)
{
	begin_sleeper(40);
	spare = lot.block[39];
	lot.n = 39;
	actor_do(&actor, lot_free, &lot);
	seen = lot.block[38];
	if (!has_barrier())
		return;
	ck_assert_uint_eq((uint8_t)theirs->slot->last, SMALL_SZIDX);
	ck_assert(claim_visit(CLAIM_ALL));
	ck_assert_ptr_eq(theirs->seen_head, seen);
	ck_assert_ptr_eq(theirs->cache.head[SMALL_SZIDX], seen);
	for (size_t i = 0; i + 1 < lot.n; i++)
		expect(!block_is_out(lot.block[i]));
	ck_assert(block_is_out(seen));
}

static void end_in_flight(unsigned nleft)
{
	struct block *left[2];
	ck_assert_uint_eq(claim_doubtful(theirs, left), nleft);
	heap_lock(theirs);
	theirs->classes[SMALL_SZIDX].excess = 3;
	heap_unlock(theirs);
	actor_do(&actor, pass_slow_path, NULL);
	ck_assert(!theirs->taken && !theirs->diverted);
	ck_assert_uint_eq(list_length(theirs, SMALL_SZIDX), nleft);
	for (unsigned i = 0; i < nleft; i++)
		ck_assert_uint_eq(chain_length(left[i]), nleft - i);
	ck_assert(lists_add_up(theirs));
	ck_assert_ptr_eq(theirs->slot->current, theirs);
}

START_TEST(nothing_was_in_flight)
{
	visit_in_flight();
	NEED_BARRIER();
	end_in_flight(1);
	void *block;
	actor_do(&actor, allocate_one, &block);
	ck_assert_ptr_eq(block, seen);
	actor_do(&actor, free_one, block);
	actor_do(&actor, free_one, spare);
	actor_end(&actor);
	claim_visit(CLAIM_ALL); /* what the thread left for the next one goes home, too */
	ck_assert_int_eq(out_nbytes(), 0);
}
END_TEST

START_TEST(the_head_was_popped)
{
	visit_in_flight();
	NEED_BARRIER();
	hand_out(seen);
	theirs->cache.head[SMALL_SZIDX] = theirs->seen_next;
	end_in_flight(0);
	actor_do(&actor, free_one, seen);
	actor_do(&actor, free_one, spare);
	actor_end(&actor);
	claim_visit(CLAIM_ALL); /* what the thread left for the next one goes home, too */
	ck_assert_int_eq(out_nbytes(), 0);
}
END_TEST

START_TEST(another_was_pushed)
{
	visit_in_flight();
	NEED_BARRIER();
	take_back(spare);
	block_set_next(spare, seen);
	theirs->cache.head[SMALL_SZIDX] = spare;
	end_in_flight(2);
	actor_end(&actor);
	claim_visit(CLAIM_ALL); /* what the thread left for the next one goes home, too */
	ck_assert_int_eq(out_nbytes(), 0);
}
END_TEST

START_TEST(a_list_of_one_was_popped)
{
	begin_sleeper(1);
	NEED_BARRIER();
	actor_do(&actor, lot_free, &lot);
	ck_assert(claim_visit(CLAIM_ALL)); /* leaves the one block */
	settle();
	actor_do(&actor, allocate_one, &lot.block[0]);
	actor_do(&actor, free_one, lot.block[0]);
	ck_assert_uint_eq(list_length(theirs, SMALL_SZIDX), 1);
	ck_assert(claim_visit(CLAIM_ALL));
	ck_assert_ptr_null(theirs->seen_next);
	hand_out(lot.block[0]);
	theirs->cache.head[SMALL_SZIDX] = NULL;
	end_in_flight(0);
	actor_do(&actor, free_one, lot.block[0]);
	actor_end(&actor);
	claim_visit(CLAIM_ALL); /* what the thread left for the next one goes home, too */
	ck_assert_int_eq(out_nbytes(), 0);
}
END_TEST

START_TEST(an_empty_list_was_pushed_to)
{
	begin_sleeper(40);
	NEED_BARRIER();
	while (list_length(theirs, SMALL_SZIDX) > 0)
		actor_do(&actor, allocate_one, &lot.block[lot.n++]);
	ck_assert(claim_visit(CLAIM_ALL));
	ck_assert_ptr_null(theirs->seen_head);
	struct block *pushed = lot.block[0];
	take_back(pushed);
	block_set_next(pushed, NULL);
	theirs->cache.head[SMALL_SZIDX] = pushed;
	end_in_flight(1);
	for (size_t i = 1; i < lot.n; i++)
		actor_do(&actor, free_one, lot.block[i]);
	actor_end(&actor);
	claim_visit(CLAIM_ALL); /* what the thread left for the next one goes home, too */
	ck_assert_int_eq(out_nbytes(), 0);
}
END_TEST

START_TEST(an_outbox_was_pushed_to)
{
	begin_sleeper(10);
	NEED_BARRIER();
	struct lot ours = {.nbytes = SMALL, .n = 10};
	unsigned bucket = cache_bucket(slot.heap->id);
	struct outbox *box = &theirs->outbox[bucket];
	lot_allocate(&ours);
	ours.n = 9;
	theirs->classes[SMALL_SZIDX].allocates = 0;
	actor_do(&actor, lot_free, &ours);
	ck_assert_uint_eq(chain_length(box->head), 9);
	ck_assert_uint_eq(theirs->slot->last, NB_SIZE_CLASSES + bucket);
	ck_assert(claim_visit(CLAIM_ALL));
	ck_assert_ptr_eq(box->head, ours.block[8]);
	struct block *pushed = ours.block[9];
	take_back(pushed);
	block_set_next(pushed, box->head);
	box->head = pushed;
	settle();
	ck_assert_uint_eq(chain_length(box->head), 2);
	ck_assert_ptr_eq(box->tail, ours.block[8]);
	ck_assert_int_eq(box->room, (int32_t)(OUTBOX_NBYTES - 2 * SMALL_BLOCK));
	actor_do(&actor, lot_free, &lot);
	actor_end(&actor);
	ck_assert(claim_visit(CLAIM_ALL));
	ck_assert_int_eq(out_nbytes(), 0);
}
END_TEST

static unsigned nbarriers;

/* The thread comes to the end of a malloc between two looks of the visitor at its list. */
static void pop_at_third_barrier(void)
{
	struct cache *cache = &theirs->cache;
	if (++nbarriers != 3)
		return;
	struct block *popped = cache->head[SMALL_SZIDX];
	cache->head[SMALL_SZIDX] = block_next(popped);
	hand_out(popped);
	cache->room[SMALL_SZIDX]++;
}

START_TEST(a_thread_that_gets_in_between_is_visited_again)
{
	begin_sleeper(40);
	NEED_BARRIER();
	actor_do(&actor, lot_free, &lot);
	kernel.at_barrier = pop_at_third_barrier;
	ck_assert(claim_visit(CLAIM_ALL));
	kernel.at_barrier = NULL;
	ck_assert_uint_ge(nbarriers, 6);
	ck_assert(theirs->taken);
	ck_assert_ptr_eq(theirs->seen_head, lot.block[38]);
	ck_assert_int_eq(out_nbytes(), 2 * SMALL_BLOCK);
	settle();
	actor_do(&actor, free_one, lot.block[39]);
	actor_end(&actor);
	claim_visit(CLAIM_ALL); /* what the thread left for the next one goes home, too */
	ck_assert_int_eq(out_nbytes(), 0);
}
END_TEST

/* --- without a barrier -------------------------------------------------------------------------------------------- */

START_TEST(threads_go_over_where_the_barrier_is_withdrawn)
{
	begin_sleeper(40);
	NEED_BARRIER();
	actor_do(&actor, lot_free, &lot);
	unsigned before = cached_blocks(theirs);
	kernel.refuse_barrier = true;
	ck_assert(!claim_visit(CLAIM_ALL));
	ck_assert(claim_is_locked_mode());
	ck_assert_uint_eq(cached_blocks(theirs), before);
	settle();
	ck_assert(theirs->locked);
	ck_assert_ptr_eq(theirs->slot->current, &heap_empty);
	ck_assert(claim_visit(CLAIM_ALL));
	ck_assert_uint_eq(cached_blocks(theirs), 0);
	actor_do(&actor, lot_pass, &lot);
	ck_assert_uint_gt(cached_blocks(theirs), 0);
	actor_end(&actor);
	ck_assert(claim_visit(CLAIM_ALL));
	ck_assert_int_eq(out_nbytes(), 0);
}
END_TEST

/* --- holds -------------------------------------------------------------------------------------------------------- */

START_TEST(held_caches_hold_only_what_is_freed)
{
	struct actor late;
	bool had_barrier = has_barrier();
	begin_sleeper(40);
	actor_do(&actor, lot_free, &lot);
	ck_assert(claim_hold());
	ck_assert(claim_hold());
	ck_assert(claim_is_locked_mode() && cache_exact);
	settle(); /* what was in doubt was free before */
	ck_assert_int_eq(out_nbytes(), 0);
	lot.n = 3;
	actor_do(&actor, lot_allocate, &lot);
	ck_assert_uint_eq(cached_blocks(theirs), 0);
	ck_assert(theirs->locked);
	ck_assert_int_eq(out_nbytes(), 3 * SMALL_BLOCK);
	actor_begin(&late); /* attached during the hold */
	ck_assert(heap_of_actor(&late)->locked);
	actor_do(&late, lot_free, &lot);
	claim_release();
	ck_assert(claim_is_locked_mode() && cache_exact);
	claim_release();
	ck_assert(!cache_exact);
	ck_assert_int_eq(has_barrier(), had_barrier);
	settle();
	ck_assert_int_eq(theirs->locked, !had_barrier);
	actor_end(&late);
	actor_end(&actor);
	ck_assert(claim_visit(CLAIM_ALL));
	ck_assert_int_eq(out_nbytes(), 0);
}
END_TEST

/* --- while they run ----------------------------------------------------------------------------------------------- */

static _Atomic bool stop;

static void churn(void *arg)
{
	while (!stop)
		lot_pass(arg);
}

START_TEST(running_threads_lose_no_block)
{
	static struct lot lots[2];
	struct actor actors[2];
	for (unsigned i = 0; i < 2; i++) {
		lots[i] = (struct lot){.nbytes = SMALL, .n = 60};
		actor_begin(&actors[i]);
		actor_tell(&actors[i], churn, &lots[i]);
	}
	for (unsigned i = 0; i < (QUARRY_TSAN ? 50 : 300); i++)
		expect(claim_visit(i % 4 == 0 ? CLAIM_ALL : i % 4 == 1 ? CLAIM_POKE : CLAIM_IDLE));
	stop = true;
	for (unsigned i = 0; i < 2; i++) {
		actor_wait(&actors[i]);
		actor_end(&actors[i]);
	}
	ck_assert(claim_visit(CLAIM_ALL));
	ck_assert_int_eq(out_nbytes(), 0);
}
END_TEST

int main(void)
{
	without_quarantine();
	Suite *suite = suite_create("claim");
	TCase *tcase = new_case(suite, "claim");
	tcase_add_test(tcase, a_sleeper_is_emptied_but_for_one_block);
	tcase_add_test(tcase, the_callers_own_cache_is_emptied_too);
	tcase_add_test(tcase, the_inbox_of_a_thread_that_lives_in_its_cache_is_sorted_by_pokes);
	tcase_add_test(tcase, a_second_visit_finds_nothing_to_do);
	tcase_add_test(tcase, idle_is_who_has_not_changed_for_some_visits);
	tcase_add_test(tcase, who_overtakes_the_visitor_empties_its_cache_itself);
	tcase_add_test(tcase, who_is_poked_ages_its_cache_itself);
	tcase_add_test(tcase, nothing_was_in_flight);
	tcase_add_test(tcase, the_head_was_popped);
	tcase_add_test(tcase, another_was_pushed);
	tcase_add_test(tcase, a_list_of_one_was_popped);
	tcase_add_test(tcase, an_empty_list_was_pushed_to);
	tcase_add_test(tcase, an_outbox_was_pushed_to);
	tcase_add_test(tcase, a_thread_that_gets_in_between_is_visited_again);
	tcase_add_test(tcase, threads_go_over_where_the_barrier_is_withdrawn);
	tcase_add_test(tcase, held_caches_hold_only_what_is_freed);
	tcase_add_test(tcase, running_threads_lose_no_block);
	return run_suite(suite);
}
