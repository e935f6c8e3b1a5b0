/* SPDX-License-Identifier: MIT */
/*
 * check_fork: what a child finds: free locks, whole lists, the heaps of threads that it does not have parked.
 */
#include "heaps.h"

#include <sys/single_threaded.h>

#include "arena_list.h"
#include "fork.h"
#include "kernel.h"
#include "meta.h"
#include "purge.h"
#include "rcu.h"

static struct actor actor;
static struct heap *theirs;
static struct lot lot, ours;

static void begin(void)
{
	thread_heap();
	struct heap *spare = heap_obtain(0);
	heap_park(heap_obtain(0));
	heap_park(spare);
	fork_init();
	actor_begin(&actor);
	theirs = heap_of_actor(&actor);
	theirs->classes[SMALL_SZIDX].refills = YOUNG_REFILLS;
	lot = (struct lot){.nbytes = SMALL, .n = 40};
	actor_do(&actor, lot_allocate, &lot);
	actor_do(&actor, lot_free, &lot);
	ours = (struct lot){.nbytes = SMALL, .n = 100};
}

static bool all_locks_are_free(void)
{
	bool are_free = true;
	for (struct heap *heap = heap_first(); heap != NULL; heap = heap_next(heap))
		are_free = are_free && heap->lock.word == 0;
	claim_lock();
	claim_unlock();
	heap_pass_registry();
	arena_list_pin();
	arena_list_unpin();
	arena_list_reader_lock();
	arena_list_reader_unlock();
	return are_free;
}

static void use_everything(void)
{
	lot_pass(&ours);
	void *large = quarry_malloc(LARGE_REQUEST_THRESHOLD + 1), *span = quarry_malloc(SPAN);
	child_expect(large != NULL && span != NULL);
	quarry_free(large);
	quarry_free(span);
	child_expect(arena_list_grow(0) && meta_alloc(64, 64, 0) != NULL);
	purge_all(0, true);
}

START_TEST(a_child_has_its_locks_and_its_heap)
{
	begin();
	lot_allocate(&ours);
	struct heap *own = slot.heap;
	ck_assert(child_succeeds({
		child_expect(all_locks_are_free());
		child_expect(slot.heap == own && own->kind == HEAP_ATTACHED && own->slot == &slot);
		child_expect(thread_count() == 1);
		child_expect(lists_add_up(own));
		lot_free(&ours);
		use_everything();
	}));
	ck_assert(all_locks_are_free());
	actor_do(&actor, lot_pass, &lot);
	actor_end(&actor);
	lot_free(&ours);
	ck_assert(claim_visit(CLAIM_ALL));
	ck_assert_int_eq(out_nbytes(), 0);
}
END_TEST

START_TEST(others_heaps_are_parked_with_their_lists)
{
	begin();
	unsigned before = cached_blocks(theirs);
	ck_assert(child_succeeds({
		child_expect(theirs->kind == HEAP_PARKED && theirs->slot == NULL);
		child_expect(!theirs->diverted && !theirs->taken && !theirs->locked && !theirs->poked);
		child_expect(lists_add_up(theirs));
		child_expect(cached_blocks(theirs) + !QUARRY_TSAN >= before);
		struct heap *first = heap_obtain(0);
		struct heap *second = heap_obtain(0);
		child_expect(first != second && (first == theirs || second == theirs));
		child_expect(heap_obtain(0)->id > second->id && heap_obtain(0)->id > first->id); /* parked once each */
		heap_park(first);
		heap_park(second);
		child_expect(claim_visit(CLAIM_ALL));
		/* What was in doubt; hardened, in the quarantine too. */
		child_expect(out_nbytes() <= (int64_t)(QUARRY_HARDENED ? 3 * SMALL_BLOCK : SMALL));
	}));
	actor_do(&actor, lot_pass, &lot);
	actor_end(&actor);
}
END_TEST

START_TEST(no_list_is_kept_that_nobody_could_look_into)
{
	begin();
	if (claim_is_locked_mode())
		return;
	kernel.refuse_barrier = true;
	ck_assert(child_succeeds({
		child_expect(theirs->kind == HEAP_PARKED);
		child_expect(cached_blocks(theirs) == 0 && lists_add_up(theirs));
		use_everything();
	}));
	actor_end(&actor);
}
END_TEST

static unsigned nbarriers;

static void pop_at_third_barrier(void)
{
	struct cache *cache = &theirs->cache;
	if (++nbarriers != 3)
		return;
	cache->head[SMALL_SZIDX] = block_next(cache->head[SMALL_SZIDX]);
	cache->room[SMALL_SZIDX]++;
}

START_TEST(a_list_that_moves_meanwhile_is_noted_again)
{
	begin();
	if (claim_is_locked_mode() || QUARRY_HARDENED) /* there what was freed last is in no list */
		return;
	unsigned before = cached_blocks(theirs);
	kernel.at_barrier = pop_at_third_barrier;
	ck_assert(child_succeeds({
		child_expect(nbarriers == 6);
		child_expect(cached_blocks(theirs) == before - 2 && lists_add_up(theirs));
		for (struct block *block = theirs->cache.head[SMALL_SZIDX]; block != NULL; block = block_next(block))
			child_expect((void *)block != lot.block[lot.n - 1] && (void *)block != lot.block[lot.n - 2]);
	}));
}
END_TEST

START_TEST(what_a_visitor_took_is_not_missed)
{
	begin();
	ck_assert(claim_visit(CLAIM_ALL));
	ck_assert(child_succeeds({
		child_expect(cached_blocks(theirs) == 0 && lists_add_up(theirs));
		use_everything();
	}));
	actor_do(&actor, lot_pass, &lot);
	actor_end(&actor);
}
END_TEST

START_TEST(a_hold_ends_in_the_child)
{
	begin();
	bool locked = claim_is_locked_mode();
	ck_assert(claim_hold());
	arena_list_pin();
	ck_assert(child_succeeds({
		child_expect(!cache_exact && claim_is_locked_mode() == locked);
		use_everything();
		child_expect(arena_list_counters.retired > 0); /* nothing is pinned */
		claim_release();
		arena_list_unpin();
		child_expect(!cache_exact);
	}));
	ck_assert(cache_exact);
	arena_list_unpin();
	claim_release();
	actor_end(&actor);
}
END_TEST

static void open_rcu(void)
{
	rcu_open();
}

/* Then the loader and liburcu may be in the middle of something, and their locks held by a thread that is no more. */
START_TEST(what_another_thread_was_opening_is_closed_in_the_child)
{
	pthread_atfork(open_rcu, NULL, NULL); /* after Quarry's own handler: they run from the last one to the first */
	begin();
	ck_assert_ptr_null(rcu_calls());
	ck_assert(child_succeeds({
		child_expect(rcu_calls() == NULL && !rcu_open());
		child_expect(!thread_reader_enter()); /* by the lock */
		thread_reader_leave(false);
		use_everything();
		child_expect(arena_list_counters.retired > 0);
	}));
	ck_assert_ptr_nonnull(rcu_calls());
	actor_end(&actor);
	ck_assert(child_succeeds({
		child_expect(rcu_calls() != NULL && thread_reader_enter());
		thread_reader_leave(true);
		use_everything();
		child_expect(arena_list_counters.retired > 0);
	}));
}
END_TEST

START_TEST(a_child_of_one_thread_opens_liburcu_itself)
{
	thread_heap();
	fork_init();
	if (!__libc_single_threaded)
		return; /* a sanitizer's runtime or an emulator has a thread of its own */
	ck_assert(child_succeeds({
		child_expect(rcu_calls() == NULL && thread_reader_enter());
		thread_reader_leave(true);
	}));
}
END_TEST

START_TEST(a_child_of_a_child)
{
	begin();
	actor_end(&actor);
	ck_assert(child_succeeds({
		lot_allocate(&ours);
		pid_t child = fork();
		if (child == 0) {
			lot_free(&ours);
			use_everything();
			_exit(0);
		}
		int status = 1;
		child_expect(waitpid(child, &status, 0) == child && status == 0);
		lot_free(&ours);
	}));
}
END_TEST

static _Atomic bool stop;

static void churn(void *arg)
{
	while (!stop)
		lot_pass(arg);
}

START_TEST(forks_while_threads_run)
{
	begin();
	lot = (struct lot){.nbytes = SMALL, .n = 300};
	actor_tell(&actor, churn, &lot);
	for (unsigned i = 0; i < 30; i++)
		expect(child_succeeds({
			child_expect(lists_add_up(theirs) && all_locks_are_free());
			use_everything();
		}));
	stop = true;
	actor_wait(&actor);
	actor_end(&actor);
	ck_assert(claim_visit(CLAIM_ALL));
	ck_assert_int_eq(out_nbytes(), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("fork");
	TCase *tcase = new_case(suite, "fork");
	tcase_add_test(tcase, a_child_has_its_locks_and_its_heap);
	tcase_add_test(tcase, others_heaps_are_parked_with_their_lists);
	tcase_add_test(tcase, no_list_is_kept_that_nobody_could_look_into);
	tcase_add_test(tcase, a_list_that_moves_meanwhile_is_noted_again);
	tcase_add_test(tcase, what_a_visitor_took_is_not_missed);
	tcase_add_test(tcase, a_hold_ends_in_the_child);
	tcase_add_test(tcase, what_another_thread_was_opening_is_closed_in_the_child);
	tcase_add_test(tcase, a_child_of_one_thread_opens_liburcu_itself);
	tcase_add_test(tcase, a_child_of_a_child);
	tcase_add_test(tcase, forks_while_threads_run);
	return run_suite(suite);
}
