/* SPDX-License-Identifier: MIT */
/*
 * check_lock: mutual exclusion, sleeping and waking, and the order of ranks.
 */
#include "unit.h"

#include "kernel.h"

#include "lock.h"

static struct lock lock; /* zeroed memory is a free lock */

START_TEST(the_word_tells_the_state)
{
	ck_assert_uint_eq(lock.word, 0);
	lock_take(&lock, LOCK_HEAP);
	ck_assert_uint_eq(lock.word, 1);
	ck_assert(!lock_try(&lock, LOCK_HEAP));
	ck_assert_uint_eq(lock.word, 1);
	lock_drop(&lock, LOCK_HEAP);
	ck_assert_uint_eq(lock.word, 0);
	ck_assert(lock_try(&lock, LOCK_HEAP));
	ck_assert(!lock_try(&lock, LOCK_HEAP));
	lock_drop(&lock, LOCK_HEAP);
}
END_TEST

START_TEST(a_reset_lock_is_free)
{
	lock_take(&lock, LOCK_HEAP);
	lock_forget_held();
	lock_reset(&lock);
	ck_assert(lock_try(&lock, LOCK_HEAP));
}
END_TEST

/* --- threads ------------------------------------------------------------------------------------------------------ */

#define THREADS 4
#define ROUNDS 20000

static unsigned long counter;
static _Atomic int inside;

static void *count_under_lock(void *arg)
{
	for (int round = 0; round < ROUNDS; round++) {
		bool tried = arg != NULL && round % 3 == 0 && lock_try(&lock, LOCK_HEAP);
		if (!tried)
			lock_take(&lock, LOCK_HEAP);
		expect(atomic_fetch_add(&inside, 1) == 0);
		counter++;
		if (round % 1000 == 0)
			sched_yield();
		expect(atomic_fetch_sub(&inside, 1) == 1);
		lock_drop(&lock, LOCK_HEAP);
	}
	return NULL;
}

START_TEST(one_thread_at_a_time)
{
	pthread_t threads[THREADS];
	for (size_t i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, count_under_lock, i % 2 ? &lock : NULL), 0);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(counter, THREADS * ROUNDS);
	ck_assert_uint_eq(lock.word, 0);
}
END_TEST

static void take_and_drop(void *arg)
{
	_Atomic int *got = arg;
	lock_take(&lock, LOCK_HEAP);
	atomic_fetch_add(got, 1);
	lock_drop(&lock, LOCK_HEAP);
}

START_TEST(sleepers_are_woken_one_after_the_other)
{
	struct actor actors[THREADS];
	_Atomic int got = 0;
	lock_take(&lock, LOCK_HEAP);
	for (int i = 0; i < THREADS; i++) {
		actor_begin(&actors[i]);
		actor_tell(&actors[i], take_and_drop, &got);
	}
	sleep_ms(50);
	ck_assert_int_eq(got, 0);
	ck_assert_uint_le(kernel.nfutexes, 2 * THREADS);
	ck_assert_uint_eq(lock.word, 2);
	lock_drop(&lock, LOCK_HEAP);
	for (int i = 0; i < THREADS; i++) {
		actor_wait(&actors[i]);
		actor_end(&actors[i]);
	}
	ck_assert_int_eq(got, THREADS);
	ck_assert_uint_eq(lock.word, 0);
}
END_TEST

/* --- ranks -------------------------------------------------------------------------------------------------------- */

static bool is_disorder(enum lock_rank rank, bool trying)
{
	catch_begin();
	lock_check_take(rank, trying);
	return strstr(catch_end(), "out of order") != NULL;
}

START_TEST(ranks_go_inwards)
{
	for (int rank = 0; rank < LOCK_RANKS; rank++)
		ck_assert(!is_disorder((enum lock_rank)rank, false));
	for (int rank = LOCK_RANKS; rank-- > 0;)
		lock_check_drop((enum lock_rank)rank);
	ck_assert(!is_disorder(LOCK_VISIT, false));
}
END_TEST

START_TEST(outwards_is_a_fault_unless_it_only_tries)
{
	for (int outer = 0; outer < LOCK_RANKS; outer++)
		for (int inner = outer + 1; inner < LOCK_RANKS; inner++) {
			ck_assert(!is_disorder((enum lock_rank)inner, false));
			ck_assert(is_disorder((enum lock_rank)outer, false));
			ck_assert(!is_disorder((enum lock_rank)outer, true));
			lock_forget_held();
			ck_assert(!is_disorder((enum lock_rank)outer, false));
			lock_check_drop((enum lock_rank)outer);
		}
}
END_TEST

static void hold_meta(void *unused)
{
	(void)unused;
	lock_check_take(LOCK_META, false);
}

START_TEST(each_thread_counts_for_itself)
{
	struct actor other;
	actor_begin(&other);
	actor_do(&other, hold_meta, NULL);
	ck_assert(!is_disorder(LOCK_VISIT, false));
	actor_end(&other);
}
END_TEST

START_TEST(a_debug_build_watches_every_lock)
{
	struct lock outer = {0};
	lock_take(&lock, LOCK_NODE);
	catch_begin();
	lock_take(&outer, LOCK_HEAP);
	bool complained = strstr(catch_end(), "out of order") != NULL;
	ck_assert_int_eq(complained, QUARRY_DEBUG);
	lock_drop(&outer, LOCK_HEAP);
	lock_drop(&lock, LOCK_NODE);
	catch_begin();
	lock_take(&outer, LOCK_HEAP);
	ck_assert_str_eq(catch_end(), "");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("lock");
	TCase *tcase = new_case(suite, "lock");
	tcase_add_test(tcase, the_word_tells_the_state);
	tcase_add_test(tcase, a_reset_lock_is_free);
	tcase_add_test(tcase, one_thread_at_a_time);
	tcase_add_test(tcase, sleepers_are_woken_one_after_the_other);
	tcase_add_test(tcase, ranks_go_inwards);
	tcase_add_test(tcase, outwards_is_a_fault_unless_it_only_tries);
	tcase_add_test(tcase, each_thread_counts_for_itself);
	tcase_add_test(tcase, a_debug_build_watches_every_lock);
	return run_suite(suite);
}
