/* SPDX-License-Identifier: MIT */
/*
 * check_purge: what goes back at once, what goes back by time, and who does it.
 */
#include "heaps.h"

#include <dirent.h>

#include "arena_list.h"
#include "emulated.h"
#include "fence.h"
#include "large.h"
#include "machine.h"
#include "options.h"
#include "os.h"
#include "purge.h"

#define LARGE (LARGE_REQUEST_THRESHOLD + 1)
/* Above what is not worth a thread. */
#define MUCH ((size_t)8 << 20)

static struct lot lot;

/* Free memory of nbytes that is resident. */
static void make_dirty(size_t nbytes)
{
	size_t each = QUARRY_HARDENED ? FENCE_WIPE_NBYTES : LARGE_REQUEST_THRESHOLD / 2; /* larger ones lose their pages */
	lot = (struct lot){.nbytes = each, .n = nbytes / each};
	lot_allocate(&lot);
	for (size_t i = 0; i < lot.n; i++)
		memset(lot.block[i], 1, lot.nbytes);
	for (size_t i = 0; i < lot.n; i++)
		quarry_free(lot.block[i]);
	span_release_held();
}

static void make_large(void)
{
	char *large = quarry_malloc(LARGE);
	memset(large, 1, LARGE);
	quarry_free(large);
}

static unsigned nthreads(void)
{
	unsigned n = 0;
	DIR *tasks = opendir("/proc/self/task");
	while (tasks != NULL && readdir(tasks) != NULL)
		n++;
	closedir(tasks);
	return n - 2;
}

/* The sanitizer's runtime has one of its own, sometimes; so has an emulator. */
#define ck_assert_threads(n) ck_assert_uint_eq(QUARRY_TSAN || is_emulated() ? (n) : nthreads(), (n))

/* --- at once ------------------------------------------------------------------------------------------------------ */

START_TEST(all_that_is_free_goes_back)
{
	struct actor actor;
	struct lot small = {.nbytes = SMALL, .n = 5000};
	actor_begin(&actor);
	actor_do(&actor, lot_pass, &small);
	lot_pass(&small);
	make_dirty(MUCH);
	make_large();
	ck_assert_uint_ge(arena_list_dirty_nbytes(), MUCH);
	ck_assert(QUARRY_HARDENED || large_kept_nbytes() > 0);
	char *page = lot.block[0];
	ck_assert_uint_gt(resident_pages(page, lot.nbytes), 0);
	ck_assert(purge_all(0, false));
	ck_assert_uint_eq(arena_list_dirty_nbytes(), 0);
	ck_assert_uint_eq(large_kept_nbytes(), 0);
	ck_assert_uint_eq(resident_pages(page, lot.nbytes), 0);
	ck_assert_uint_eq(arena_list_counters.retired, 0);
	ck_assert(!purge_all(0, false));
	actor_end(&actor);
	purge_all(0, true);
	ck_assert_uint_eq(arena_list_counters.mapped_nbytes, 0);
}
END_TEST

START_TEST(some_may_stay)
{
	make_dirty(MUCH);
	size_t dirty = arena_list_dirty_nbytes();
	ck_assert(!purge_all(dirty, false));
	ck_assert_uint_eq(arena_list_dirty_nbytes(), dirty);
	ck_assert(purge_all(dirty / 2, false));
	ck_assert_uint_le(arena_list_dirty_nbytes(), dirty / 2);
	ck_assert_uint_gt(arena_list_dirty_nbytes(), dirty / 2 - POOL_SIZE);
	if (QUARRY_HARDENED) /* keeps no large ones */
		return;
	make_large();
	ck_assert(!purge_all(SIZE_MAX, false));
	ck_assert(purge_all(dirty / 2, false)); /* large ones first: they are cheap to give back */
	ck_assert_uint_eq(large_kept_nbytes(), 0);
}
END_TEST

START_TEST(no_grace_period_is_awaited_by_a_reader)
{
	make_dirty(MUCH);
	thread_heap();
	bool by_rcu = thread_reader_enter();
	ck_assert(by_rcu);
	ck_assert(purge_all(0, true)); /* would wait for itself */
	ck_assert_uint_eq(arena_list_counters.retired, 0);
	thread_reader_leave(by_rcu);
	slot.registering = 1;
	purge_all(0, true);
	ck_assert_uint_eq(arena_list_counters.retired, 0);
	slot.registering = 0;
	purge_all(0, true);
	ck_assert_uint_gt(arena_list_counters.retired, 0);
}
END_TEST

static void purge_everything(void *unused)
{
	(void)unused;
	make_dirty(MUCH);
	purge_all(0, true);
}

static void read_once(void *unused)
{
	(void)unused;
	thread_reader_leave(thread_reader_enter());
}

/* At memory's end that would allocate, and come back to the end of memory. */
START_TEST(a_thread_that_is_unknown_to_liburcu_does_not_ask_it)
{
	struct actor actor;
	thread_heap();
	actor_begin(&actor);
	heap_of_actor(&actor);
	read_once(NULL); /* opens it */
	actor_do(&actor, purge_everything, NULL);
	ck_assert_uint_eq(arena_list_counters.retired, 0);
	actor_do(&actor, read_once, NULL);
	actor_do(&actor, purge_everything, NULL);
	ck_assert_uint_gt(arena_list_counters.retired, 0);
	actor_end(&actor);
}
END_TEST

/* --- by time ------------------------------------------------------------------------------------------------------ */

/* Waits for less than most dirty bytes; false after five seconds. */
static bool decays_to(size_t most, void (*meanwhile)(void))
{
	for (unsigned i = 0; i < 1000 && arena_list_dirty_nbytes() + large_kept_nbytes() > most; i++) {
		sleep_ms(5);
		if (meanwhile != NULL)
			meanwhile();
	}
	return arena_list_dirty_nbytes() + large_kept_nbytes() <= most;
}

START_TEST(a_thread_gives_back_by_time)
{
	options.decay_ms = 300;
	purge_allow();
	uint64_t begun = os_milliseconds();
	make_dirty(MUCH);
	make_large();
	ck_assert_threads(2);
	ck_assert(decays_to(0, NULL)); /* with no further call */
	ck_assert_uint_ge(os_milliseconds() - begun, 200);
	ck_assert_uint_ge(os_counters.purged_nbytes, MUCH / 2);
	ck_assert_threads(2);
}
END_TEST

START_TEST(no_thread_for_little)
{
	make_dirty(MUCH);
	ck_assert_threads(1); /* not before the constructors have run */
	purge_all(0, true);
	purge_allow();
	lot = (struct lot){.nbytes = SMALL, .n = 2000};
	lot_pass(&lot);
	ck_assert_threads(1);
	make_dirty(MUCH);
	ck_assert_threads(2);
}
END_TEST

static void allocate_some(void)
{
	quarry_free(quarry_malloc(SPAN));
}

START_TEST(slow_paths_give_back_where_no_thread_may)
{
	options.purge = OPTION_PURGE_INLINE;
	options.decay_ms = 40;
	purge_allow();
	make_dirty(MUCH);
	size_t before = arena_list_dirty_nbytes();
	sleep_ms(200);
	ck_assert_uint_eq(arena_list_dirty_nbytes(), before);
	ck_assert(decays_to((2 << 20) + 2 * SPAN + 2 * POOL_SIZE, allocate_some));
	ck_assert_threads(1);
}
END_TEST

START_TEST(off_is_off)
{
	options.purge = OPTION_PURGE_OFF;
	options.decay_ms = 0;
	purge_allow();
	make_dirty(MUCH);
	sleep_ms(100);
	allocate_some();
	ck_assert_uint_gt(arena_list_dirty_nbytes(), MUCH / 2);
	ck_assert_threads(1);
	ck_assert_uint_eq(os_counters.purge_calls, 0);
}
END_TEST

START_TEST(the_cache_of_a_sleeper_is_emptied_by_time)
{
	struct actor actor;
	options.decay_ms = 100;
	thread_heap();
	actor_begin(&actor);
	heap_of_actor(&actor);
	lot = (struct lot){.nbytes = SMALL, .n = 2000};
	actor_do(&actor, lot_pass, &lot);
	ck_assert_uint_gt(out_nbytes(), SMALL_BLOCK);
	purge_allow();
	make_dirty(MUCH);
	for (unsigned i = 0; i < 600 && (out_nbytes() > (int64_t)SMALL_BLOCK || arena_list_dirty_nbytes() > 0); i++)
		sleep_ms(5);
	ck_assert_int_le(out_nbytes(), SMALL_BLOCK);
	ck_assert_uint_eq(arena_list_dirty_nbytes(), 0);
	actor_end(&actor);
}
END_TEST

static void live_in_cache(void *until_node)
{
	uint64_t end = os_milliseconds() + 5000;
	while (slot.heap->node != *(unsigned *)until_node && os_milliseconds() < end)
		for (unsigned i = 0; i < 1000; i++)
			quarry_free(quarry_malloc(SMALL));
}

/* Every other decay time, unless the thread has just moved. The bound leaves room for a host that stalls. */
START_TEST(a_thread_that_lives_in_its_cache_follows_by_time)
{
	struct actor actor;
	unsigned there = 1;
	options.decay_ms = 100;
	make_machine(2);
	run_on(0);
	thread_heap();
	actor_begin(&actor);
	lot = (struct lot){.nbytes = SMALL, .n = 200};
	actor_do(&actor, lot_pass, &lot);
	struct heap *heap = heap_of_actor(&actor);
	ck_assert_uint_eq(heap->node, 0);
	purge_allow();
	make_dirty(MUCH);
	run_on(1);
	uint64_t refills = heap->counters.refills, begun = os_milliseconds();
	actor_do(&actor, live_in_cache, &there);
	ck_assert_uint_eq(heap_of_actor(&actor)->node, 1);
	ck_assert_uint_le(os_milliseconds() - begun, 2 * 100 + 2000);
	ck_assert(claim_is_locked_mode() || heap->counters.refills - refills < 16);
	actor_end(&actor);
}
END_TEST

int main(void)
{
	without_quarantine();
	Suite *suite = suite_create("purge");
	TCase *tcase = new_case(suite, "purge");
	tcase_add_test(tcase, all_that_is_free_goes_back);
	tcase_add_test(tcase, some_may_stay);
	tcase_add_test(tcase, no_grace_period_is_awaited_by_a_reader);
	tcase_add_test(tcase, a_thread_that_is_unknown_to_liburcu_does_not_ask_it);
	tcase_add_test(tcase, a_thread_gives_back_by_time);
	tcase_add_test(tcase, no_thread_for_little);
	tcase_add_test(tcase, slow_paths_give_back_where_no_thread_may);
	tcase_add_test(tcase, off_is_off);
	tcase_add_test(tcase, the_cache_of_a_sleeper_is_emptied_by_time);
	tcase_add_test(tcase, a_thread_that_lives_in_its_cache_follows_by_time);
	return run_suite(suite);
}
