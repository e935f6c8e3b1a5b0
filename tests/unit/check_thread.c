/* SPDX-License-Identifier: MIT */
/*
 * check_thread: which heap serves a thread from its first block to after its last destructor.
 */
#include "heaps.h"

#include <sched.h>

#include "kernel.h"
#include "machine.h"
#include "os.h"
#include "rcu.h"

static struct actor actor;
static struct lot lot;

/* What all clocks say, where it is not 0. */
static time_t played_ms;

int clock_gettime(clockid_t clock, struct timespec *now)
{
	if (played_ms == 0)
		return REAL(clock_gettime)(clock, now);
	*now = (struct timespec){.tv_sec = played_ms / 1000, .tv_nsec = played_ms % 1000 * 1000000};
	return 0;
}

/* --- attach and park ---------------------------------------------------------------------------------------------- */

START_TEST(a_thread_attaches_on_first_use)
{
	ck_assert_int_eq(slot.state, SLOT_NONE);
	ck_assert_ptr_eq(slot.current, &heap_empty);
	quarry_free(NULL);
	ck_assert_int_eq(slot.state, SLOT_NONE);
	ck_assert_uint_eq(thread_count(), 0);
	void *block = quarry_malloc(1);
	struct heap *heap = slot.heap;
	ck_assert_int_eq(slot.state, SLOT_READY);
	ck_assert_ptr_eq(thread_heap(), heap);
	ck_assert_int_eq(heap->kind, HEAP_ATTACHED);
	ck_assert_ptr_eq(heap->slot, &slot);
	ck_assert_ptr_eq(slot.current, claim_is_locked_mode() ? &heap_empty : heap);
	ck_assert_ptr_eq(owner_of(block), heap);
	ck_assert_uint_eq(thread_count(), 1);
}
END_TEST

START_TEST(a_heap_serves_one_thread_after_another)
{
	struct actor second;
	thread_heap();
	actor_begin(&actor);
	struct heap *heap = heap_of_actor(&actor);
	ck_assert_ptr_ne(heap, slot.heap);
	ck_assert_uint_eq(thread_count(), 2);
	lot = (struct lot){.nbytes = SMALL, .n = 1000};
	actor_do(&actor, lot_pass, &lot);
	ck_assert_uint_gt(cached_blocks(heap), 0);
	actor_end(&actor);
	ck_assert_uint_eq(thread_count(), 1);
	ck_assert_int_eq(heap->kind, HEAP_PARKED);
	ck_assert_ptr_null(heap->slot);
	ck_assert_uint_eq(cached_blocks(heap), 0);
	ck_assert(!heap->diverted && !heap->locked);
	ck_assert_int_eq(out_nbytes(), 0);
	ck_assert_uint_eq(heap->classes[SMALL_SZIDX].refills, 0);
	for (unsigned szidx = 0; szidx < NB_SIZE_CLASSES; szidx++)
		ck_assert_uint_eq(ring_length(heap, szidx), 0);
	unsigned made = heap_count();
	actor_begin(&second);
	ck_assert_ptr_eq(heap_of_actor(&second), heap);
	ck_assert_uint_eq(heap_count(), made);
	actor_do(&second, lot_pass, &lot);
	actor_end(&second);
}
END_TEST

START_TEST(what_came_home_last_is_sorted_at_the_end)
{
	thread_heap();
	actor_begin(&actor);
	struct heap *heap = heap_of_actor(&actor);
	heap->classes[SMALL_SZIDX].refills = YOUNG_REFILLS;
	lot = (struct lot){.nbytes = SMALL, .n = 500};
	actor_do(&actor, lot_allocate, &lot);
	lot_free(&lot);
	heap_lock(slot.heap);
	claim_settle(slot.heap);
	cache_flush_all(slot.heap);
	heap_unlock(slot.heap);
	ck_assert_uint_gt(heap->inbox_nbytes, 0);
	actor_end(&actor);
	ck_assert_uint_eq(heap->inbox_nbytes, 0);
	claim_visit(CLAIM_ALL); /* what the thread left for the next one goes home, too */
	ck_assert_int_eq(out_nbytes(), 0);
}
END_TEST

START_TEST(many_threads_come_and_go)
{
	struct actor actors[6];
	thread_heap();
	for (unsigned round = 0; round < 20; round++) {
		lot = (struct lot){.nbytes = SMALL, .n = 50};
		for (unsigned i = 0; i < COUNT(actors); i++)
			actor_begin(&actors[i]);
		for (unsigned i = 0; i < COUNT(actors); i++)
			actor_do(&actors[i], i % 2 == 0 ? lot_allocate : lot_free, &lot);
		for (unsigned i = 0; i < COUNT(actors); i++)
			actor_end(&actors[i]);
	}
	ck_assert_uint_le(heap_count(), 2 + COUNT(actors));
	ck_assert_uint_eq(thread_count(), 1);
	ck_assert(claim_visit(CLAIM_ALL));
	ck_assert_int_eq(out_nbytes(), 0);
}
END_TEST

/* --- after the end ------------------------------------------------------------------------------------------------ */

static pthread_key_t late_key;
static void *late_blocks[3];

/* Runs after our own exit hook, as keys that were made later do, and again in another round. */
static void at_late_exit(void *rounds)
{
	expect(slot.state == SLOT_DEAD && thread_heap() == NULL && slot.current == &heap_empty);
	void *block = quarry_malloc(SMALL);
	expect(owner_of(block) == heap_shared(0));
	memset(block, 1, SMALL);
	quarry_free(block);
	expect(!block_is_out(block)); /* home at once: no cache is left behind */
	void *span = quarry_malloc(SPAN), *large = quarry_malloc(LARGE_REQUEST_THRESHOLD + 1);
	expect(span != NULL && large != NULL);
	quarry_free(span);
	quarry_free(large);
	for (unsigned i = 0; i < COUNT(late_blocks); i++) {
		quarry_free(late_blocks[i]); /* another's */
		late_blocks[i] = NULL;
	}
	if ((uintptr_t)rounds > 1)
		pthread_setspecific(late_key, (char *)rounds - 1);
}

static void begin_late(void *unused)
{
	(void)unused;
	quarry_free(quarry_malloc(SMALL));
	pthread_setspecific(late_key, (void *)3);
}

START_TEST(the_dead_are_served_by_the_shared_heap)
{
	for (unsigned i = 0; i < COUNT(late_blocks); i++)
		late_blocks[i] = quarry_malloc(SMALL);
	ck_assert_int_eq(pthread_key_create(&late_key, at_late_exit), 0);
	actor_begin(&actor);
	actor_do(&actor, begin_late, NULL);
	actor_end(&actor);
	ck_assert_uint_eq(thread_count(), 1);
	ck_assert_uint_eq(slot.heap->inbox_nbytes, 3 * SMALL_BLOCK);
	ck_assert(claim_visit(CLAIM_ALL));
	ck_assert_int_eq(out_nbytes(), 0);
}
END_TEST

START_TEST(without_an_exit_hook_no_heap_is_taken)
{
	pthread_key_t key;
	while (pthread_key_create(&key, NULL) == 0)
		;
	void *block = quarry_malloc(SMALL);
	ck_assert_ptr_nonnull(block);
	ck_assert_int_eq(slot.state, SLOT_DEAD);
	ck_assert_ptr_eq(owner_of(block), heap_shared(0));
	quarry_free(block);
	ck_assert_int_eq(out_nbytes(), 0);
	ck_assert_uint_eq(thread_count(), 0);
}
END_TEST

START_TEST(without_memory_for_a_record_it_tries_again)
{
	expect(heap_shared(0) != NULL);
	kernel.most_mapped = 1;
	while (heap_obtain(0) != NULL)
		;
	ck_assert_ptr_null(thread_heap());
	ck_assert_int_eq(slot.state, SLOT_NONE);
	kernel.most_mapped = 0;
	ck_assert_ptr_nonnull(thread_heap());
	ck_assert_int_eq(slot.state, SLOT_READY);
}
END_TEST

/* --- readers ------------------------------------------------------------------------------------------------------ */

START_TEST(a_thread_without_heap_reads_under_the_lock)
{
	ck_assert(thread_reader_enter());
	ck_assert(thread_may_be_reading());
	thread_reader_leave(true);
	ck_assert(!thread_may_be_reading());
	slot.state = SLOT_DEAD;
	ck_assert(!thread_reader_enter());
	ck_assert(thread_may_be_reading()); /* it is not asked any more */
	thread_reader_leave(false);
	slot.state = SLOT_READY;
}
END_TEST

START_TEST(registering_is_not_tried_where_no_page_is_left)
{
	thread_heap();
	if (slot.registered)
		return;
	kernel.most_mapped = 1;
	ck_assert(!thread_reader_enter());
	thread_reader_leave(false);
	ck_assert(!slot.registered);
	kernel.most_mapped = 0;
	ck_assert(thread_reader_enter());
	ck_assert_uint_eq(slot.registering, 0);
	thread_reader_leave(true);
}
END_TEST

/* --- nodes -------------------------------------------------------------------------------------------------------- */

START_TEST(a_thread_that_stays_elsewhere_gets_a_heap_there)
{
	node_set_for_tests(2);
	struct heap *first = thread_heap();
	unsigned there = 1 - first->node, calls = 0;
	cpu_set_t before, cpus;
	CPU_ZERO(&cpus);
	expect(sched_getaffinity(0, sizeof(before), &before) == 0);
	for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &before) && cpu % 2 == there)
			CPU_SET(cpu, &cpus);
	if (CPU_COUNT(&cpus) == 0 || sched_setaffinity(0, sizeof(cpus), &cpus) != 0 || node_current() != there)
		return; /* one CPU: nowhere to go */
	for (; slot.heap == first && calls < 1000; calls++)
		thread_follow_node();
	ck_assert_uint_gt(calls, 4); /* not for a short visit */
	ck_assert_uint_lt(calls, 1000);
	ck_assert_uint_eq(slot.heap->node, there);
	ck_assert_int_eq(slot.state, SLOT_READY);
	ck_assert_int_eq(first->kind, HEAP_PARKED);
	ck_assert_uint_eq(thread_count(), 1);
	ck_assert_ptr_eq(heap_obtain(1 - there), first);
	ck_assert_uint_eq(owner_of(quarry_malloc(SMALL))->node, there);
}
END_TEST

/* Slow paths until the thread is served from where it runs; most + 1: it is not. */
static unsigned paths_until_served(unsigned node, unsigned most)
{
	unsigned n = 0;
	run_on(node);
	while (slot.heap->node != node && n <= most) {
		thread_follow_node();
		n++;
	}
	return n;
}

START_TEST(sixteen_slow_paths_in_a_row_move_a_thread)
{
	make_machine(3);
	run_on(0);
	thread_heap();
	for (unsigned node = 1; node < 3; node++) {
		run_on(node);
		for (unsigned i = 0; i < 15; i++)
			thread_follow_node();
		ck_assert_uint_eq(slot.heap->node, 0);
		run_on(0);
		thread_follow_node(); /* back in time */
	}
	ck_assert_uint_eq(paths_until_served(2, 16), 16);
	ck_assert_uint_eq(node_counters[2].migrations, 1);
	ck_assert_uint_eq(node_counters[0].migrations, 0);
}
END_TEST

/* By calls: few blocks of a class come per refill, and spans refill nothing but count all the same. */
START_TEST(spans_are_slow_paths_as_well)
{
	make_machine(2);
	run_on(0);
	quarry_free(quarry_malloc(SPAN));
	run_on(1);
	for (unsigned i = 0; i < 16; i++)
		quarry_free(quarry_malloc(SPAN));
	ck_assert_uint_eq(slot.heap->node, 1);
}
END_TEST

START_TEST(each_move_in_quick_succession_costs_twice_as_much)
{
	unsigned paths = 16;
	make_machine(2);
	run_on(0);
	thread_heap();
	for (unsigned move = 1; move <= 9; move++) {
		uint64_t begun = os_milliseconds();
		unsigned got = paths_until_served(move % 2, 2000);
		if (os_milliseconds() - begun > 500)
			return; /* a host that stalls: no succession */
		ck_assert_uint_eq(got, paths);
		paths = paths < 1024 ? 2 * paths : 1024;
	}
	sleep_ms(1100);
	ck_assert_uint_eq(paths_until_served(0, 2000), 16); /* after a quiet second it is as at first */
}
END_TEST

/* The clock has ticks of some milliseconds. */
START_TEST(moves_within_a_tick_of_the_clock_are_quick_succession)
{
	make_machine(2);
	run_on(0);
	thread_heap();
	played_ms = 1000000 + _i;
	ck_assert_uint_eq(paths_until_served(1, 100), 16);
	ck_assert_uint_eq(paths_until_served(0, 100), 32);
	played_ms += 998;
	ck_assert_uint_eq(paths_until_served(1, 100), 64);
	played_ms += 1000;
	ck_assert_uint_eq(paths_until_served(0, 100), 16);
	played_ms = 0; /* Check tells how long a test took */
}
END_TEST

/* 200 rounds of 20 slow paths on each of two nodes: no thrashing. */
START_TEST(a_thread_that_bounces_stays)
{
	make_machine(2);
	run_on(0);
	thread_heap();
	uint64_t begun = os_milliseconds();
	for (unsigned round = 0; round < 400; round++) {
		run_on(round % 2);
		for (unsigned i = 0; i < 20; i++)
			thread_follow_node();
	}
	uint64_t moves = node_counters[0].migrations + node_counters[1].migrations;
	ck_assert_uint_ge(moves, 1);
	ck_assert_uint_le(moves, 1 + (os_milliseconds() - begun) / 1000);
}
END_TEST

static void allocate_and_keep(void *block)
{
	*(void **)block = quarry_malloc(SMALL);
}

/* A thread whose cache has all that it wants, so that it passes no slow path by itself. */
static void live_in_cache(struct actor *living)
{
	make_machine(2);
	run_on(0);
	thread_heap();
	actor_begin(living);
	heap_of_actor(living)->classes[SMALL_SZIDX].refills = YOUNG_REFILLS;
	lot = (struct lot){.nbytes = SMALL, .n = 20};
	actor_do(living, lot_pass, &lot);
	run_on(1);
	for (unsigned i = 0; i < 1000; i++)
		actor_do(living, lot_pass, &lot);
	ck_assert_uint_eq(heap_of_actor(living)->node, 0);
}

START_TEST(a_visit_moves_a_thread_that_lives_in_its_cache)
{
	void *block;
	if (claim_is_locked_mode())
		return; /* then every operation is a slow path */
	live_in_cache(&actor);
	claim_visit(CLAIM_POKE);
	actor_do(&actor, allocate_and_keep, &block);
	ck_assert_uint_eq(heap_of_actor(&actor)->node, 1);
	actor_do(&actor, allocate_and_keep, &block);
	ck_assert_uint_eq(owner_of(block)->node, 1);
	ck_assert_uint_eq(node_counters[1].migrations, 1);
	run_on(0);
	claim_visit(CLAIM_POKE); /* too soon for another move by so little */
	actor_do(&actor, quarry_free, block);
	ck_assert_uint_eq(heap_of_actor(&actor)->node, 1);
	actor_end(&actor);
}
END_TEST

START_TEST(so_does_one_at_a_free)
{
	void *block;
	if (claim_is_locked_mode())
		return;
	live_in_cache(&actor);
	actor_do(&actor, allocate_and_keep, &block);
	claim_visit(CLAIM_POKE);
	actor_do(&actor, quarry_free, block);
	ck_assert_uint_eq(heap_of_actor(&actor)->node, 1);
	actor_end(&actor);
	ck_assert(claim_visit(CLAIM_ALL));
	ck_assert_int_eq(out_nbytes(), 0);
}
END_TEST

START_TEST(without_memory_for_a_heap_a_thread_stays)
{
	make_machine(2);
	run_on(0);
	thread_heap();
	kernel.most_mapped = 1;
	errno = ERANGE;
	ck_assert_uint_eq(paths_until_served(1, 100), 101);
	ck_assert_int_eq(errno, ERANGE);
	ck_assert_int_eq(slot.state, SLOT_READY);
	ck_assert_uint_eq(node_counters[1].migrations, 0);
	kernel.most_mapped = 0;
	ck_assert_uint_le(paths_until_served(1, 2000), 1024);
}
END_TEST

int main(void)
{
	without_quarantine();
	Suite *suite = suite_create("thread");
	TCase *tcase = new_case(suite, "thread");
	tcase_add_test(tcase, a_thread_attaches_on_first_use);
	tcase_add_test(tcase, a_heap_serves_one_thread_after_another);
	tcase_add_test(tcase, what_came_home_last_is_sorted_at_the_end);
	tcase_add_test(tcase, many_threads_come_and_go);
	tcase_add_test(tcase, the_dead_are_served_by_the_shared_heap);
	tcase_add_test(tcase, without_an_exit_hook_no_heap_is_taken);
	tcase_add_test(tcase, without_memory_for_a_record_it_tries_again);
	tcase_add_test(tcase, a_thread_without_heap_reads_under_the_lock);
	tcase_add_test(tcase, registering_is_not_tried_where_no_page_is_left);
	tcase_add_test(tcase, a_thread_that_stays_elsewhere_gets_a_heap_there);
	tcase_add_test(tcase, sixteen_slow_paths_in_a_row_move_a_thread);
	tcase_add_test(tcase, spans_are_slow_paths_as_well);
	tcase_add_test(tcase, each_move_in_quick_succession_costs_twice_as_much);
	tcase_add_loop_test(tcase, moves_within_a_tick_of_the_clock_are_quick_succession, 0, 2);
	tcase_add_test(tcase, a_thread_that_bounces_stays);
	tcase_add_test(tcase, a_visit_moves_a_thread_that_lives_in_its_cache);
	tcase_add_test(tcase, so_does_one_at_a_free);
	tcase_add_test(tcase, without_memory_for_a_heap_a_thread_stays);
	return run_suite(suite);
}
