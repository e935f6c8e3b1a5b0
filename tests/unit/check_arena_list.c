/* SPDX-License-Identifier: MIT */
/*
 * check_arena_list: which arena serves, which retire and when, and who keeps them from it.
 */
#include "unit.h"

#include "address_map.h"
#include "arena_list.h"
#include "kernel.h"
#include "node.h"
#include "os.h"
#include "thread.h"

#define UNITS (ARENA_UNITS - ARENA_HEAD_UNITS)

static char *take(size_t nunits)
{
	return arena_list_take(0, nunits, 1).address;
}

static unsigned narenas(void)
{
	unsigned n = 0;
	bool by_rcu = thread_reader_enter();
	for (struct arena_object *arena = arena_list_first(); arena != NULL; arena = arena_list_next(arena))
		n++;
	thread_reader_leave(by_rcu);
	return n;
}

static bool retire(uint8_t age, unsigned keep)
{
	bool any = arena_list_retire(0, age, keep, true);
	arena_list_unmap();
	return any;
}

static void purge(void)
{
	while (arena_list_purge(0, 0, SIZE_MAX) > 0)
		;
}

START_TEST(the_fullest_arena_serves_first)
{
	char *parts[3];
	for (unsigned i = 0; i < 3; i++) {
		expect(arena_list_grow(0) && (parts[i] = take(UNITS)) != NULL);
		expect(arena_base(parts[i]) == parts[i] - ARENA_HEAD_UNITS * POOL_SIZE);
	}
	ck_assert_uint_eq(narenas(), 3);
	ck_assert_ptr_null(take(1));
	arena_list_put(parts[0], UNITS / 2, true);
	arena_list_put(parts[1], UNITS / 8, true);
	arena_list_put(parts[2], UNITS, true);
	for (size_t i = 0; i < UNITS / 8; i++)
		expect(arena_base(take(1)) == arena_base(parts[1]));
	for (size_t i = 0; i < UNITS / 2; i++)
		expect(arena_base(take(1)) == arena_base(parts[0]));
	ck_assert_ptr_eq(arena_base(take(1)), arena_base(parts[2]));
}
END_TEST

START_TEST(a_dirty_unit_is_preferred_wherever_it_lies)
{
	ck_assert(arena_list_grow(0) && arena_list_grow(0));
	char *one = take(UNITS), *two = take(UNITS);
	arena_list_put(one, 1, true);
	arena_list_put(two, UNITS / 2, true);
	arena_list_put(two + (UNITS - 1) * POOL_SIZE, 1, false);
	ck_assert_uint_eq(arena_list_dirty_nbytes(), POOL_SIZE);
	struct arena_run run = arena_list_take(0, 1, 1);
	ck_assert_ptr_eq(run.address, two + (UNITS - 1) * POOL_SIZE);
	ck_assert(!run.clean);
	ck_assert_uint_eq(arena_list_dirty_nbytes(), 0);
	ck_assert_ptr_eq(take(1), one);
}
END_TEST

START_TEST(empty_clean_arenas_retire_when_they_are_old)
{
	arena_list_set_tick(250);
	for (unsigned i = 0; i < 3; i++)
		expect(arena_list_grow(0));
	char *parts[3] = {take(UNITS), take(UNITS), take(UNITS)};
	arena_list_put(parts[0], UNITS, true);
	arena_list_put(parts[1], UNITS, false);
	arena_list_put(parts[2], UNITS - 1, true);
	ck_assert(!retire(1, 0));
	arena_list_set_tick(2); /* the clock turned over */
	ck_assert(!retire(9, 0));
	ck_assert(!retire(8, 1));
	ck_assert(retire(8, 0));
	ck_assert_uint_eq(narenas(), 2);
	ck_assert(!is_mapped_at(parts[0]));
	ck_assert(is_mapped_at(parts[1]));
	ck_assert_uint_eq(arena_list_counters.mapped_nbytes, 2 * ARENA_SIZE);
	purge();
	ck_assert_uint_eq(arena_list_dirty_nbytes(), 0);
	ck_assert(retire(0, 0));
	arena_list_put(parts[2] + (UNITS - 1) * POOL_SIZE, 1, true);
	ck_assert(retire(0, 0));
	ck_assert_uint_eq(narenas(), 0);
	ck_assert_uint_eq(arena_list_counters.retired, 3);
	ck_assert(arena_list_grow(0)); /* objects serve again */
	ck_assert_ptr_nonnull(take(UNITS));
	ck_assert_uint_eq(arena_list_births(), 4);
}
END_TEST

START_TEST(what_cannot_be_unmapped_is_used_again)
{
	expect(arena_list_grow(0));
	char *run = take(1);
	arena_list_put(run, 1, true);
	size_t mapped_nbytes = arena_list_counters.mapped_nbytes;
	arena_list_set_tick(10);
	kernel.refuse_unmap = true;
	ck_assert(retire(4, 0));
	kernel.refuse_unmap = false;
	ck_assert_uint_eq(narenas(), 1);
	ck_assert_uint_eq(arena_list_counters.mapped_nbytes, mapped_nbytes);
	ck_assert_uint_eq(arena_list_counters.retired, 0);
	ck_assert_ptr_eq(take(1), run);
	ck_assert_uint_eq(arena_list_counters.mapped, 1);
	/* It goes when it is old once more. */
	arena_list_put(run, 1, true);
	ck_assert(!retire(4, 0));
	arena_list_set_tick(14);
	ck_assert(retire(4, 0));
	ck_assert_uint_eq(narenas(), 0);
	ck_assert(!is_mapped_at(run));
}
END_TEST

START_TEST(as_many_are_kept_as_it_is_told)
{
	for (unsigned i = 0; i < 4; i++)
		expect(arena_list_grow(0));
	ck_assert(!retire(0, 4));
	ck_assert(retire(0, 3));
	ck_assert_uint_eq(narenas(), 3);
	ck_assert(retire(0, 1));
	ck_assert_uint_eq(narenas(), 1);
}
END_TEST

START_TEST(what_is_pinned_stays)
{
	ck_assert(arena_list_grow(0));
	arena_list_pin();
	arena_list_pin();
	ck_assert(!retire(0, 0));
	arena_list_unpin();
	ck_assert(!retire(0, 0));
	arena_list_unpin();
	ck_assert(retire(0, 0));
}
END_TEST

static sem_t reading, done;
static _Atomic bool has_left;

static void read_for_a_while(void *arg)
{
	bool by_rcu = *(bool *)arg;
	if (by_rcu)
		expect(thread_reader_enter());
	else
		arena_list_reader_lock();
	struct arena_object *arena = arena_list_first();
	char *address = arena->address;
	sem_post(&reading);
	wait_for(&done);
	sleep_ms(50);
	expect(arena->address == address && is_mapped_at(address));
	has_left = true;
	thread_reader_leave(by_rcu);
}

START_TEST(retirement_waits_for_readers)
{
	bool by_rcu = _i == 0;
	struct actor actor;
	if (QUARRY_TSAN && by_rcu)
		return; /* it does not see what liburcu orders */
	ck_assert(arena_list_grow(0));
	thread_heap();
	sem_init(&reading, 0, 0);
	sem_init(&done, 0, 0);
	actor_begin(&actor);
	actor_tell(&actor, read_for_a_while, &by_rcu);
	wait_for(&reading);
	sem_post(&done);
	ck_assert(retire(0, 0));
	ck_assert(has_left);
	actor_wait(&actor);
	actor_end(&actor);
}
END_TEST

START_TEST(a_neighbour_helps_where_the_system_refuses)
{
	node_set_for_tests(2);
	ck_assert(arena_list_grow(1) && arena_list_grow(0));
	ck_assert(retire(0, 0)); /* leaves its object */
	ck_assert_ptr_null(take(1)); /* could be mapped yet */
	kernel.most_mapped = 1;
	ck_assert(arena_list_grow(0)); /* others are to be asked first */
	ck_assert(!arena_list_grow(0));
	ck_assert_int_eq(errno, ENOMEM);
	char *unit = take(1);
	ck_assert_ptr_nonnull(unit);
	ck_assert_uint_eq(arena_at(arena_base(unit))->node, 1);
	arena_list_put(unit, 1, false);
	ck_assert_uint_eq(arena_list_node_dirty_nbytes(1), POOL_SIZE);
	ck_assert_uint_eq(arena_list_node_dirty_nbytes(0), 0);
	kernel.most_mapped = 0;
	ck_assert(arena_list_grow(0));
	ck_assert_uint_eq(arena_at(arena_base(take(1)))->node, 0);
}
END_TEST

START_TEST(purging_goes_by_age_and_size)
{
	ck_assert(arena_list_grow(0));
	arena_list_set_tick(3);
	char *units = take(10);
	expect(os_commit(units, 10 * POOL_SIZE)); /* hardened, they are closed */
	memset(units, 1, 10 * POOL_SIZE);
	arena_list_put(units, 10, false);
	arena_list_set_tick(5);
	ck_assert_uint_eq(arena_list_purge(0, 3, SIZE_MAX), 0);
	ck_assert_uint_eq(arena_list_purge(0, 2, 1), POOL_SIZE);
	ck_assert_uint_eq(resident_pages(units, POOL_SIZE), 0);
	kernel.refuse_advice = true;
	ck_assert_uint_eq(arena_list_purge(0, 2, SIZE_MAX), 0);
	ck_assert_uint_eq(arena_list_dirty_nbytes(), 9 * POOL_SIZE);
	kernel.refuse_advice = false;
	ck_assert_uint_eq(arena_list_purge(0, 0, SIZE_MAX), 9 * POOL_SIZE);
	ck_assert(reads_as_zero(units, 10 * POOL_SIZE));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("arena_list");
	TCase *tcase = new_case(suite, "arena_list");
	tcase_add_test(tcase, the_fullest_arena_serves_first);
	tcase_add_test(tcase, a_dirty_unit_is_preferred_wherever_it_lies);
	tcase_add_test(tcase, empty_clean_arenas_retire_when_they_are_old);
	tcase_add_test(tcase, what_cannot_be_unmapped_is_used_again);
	tcase_add_test(tcase, as_many_are_kept_as_it_is_told);
	tcase_add_test(tcase, what_is_pinned_stays);
	tcase_add_loop_test(tcase, retirement_waits_for_readers, 0, 2);
	tcase_add_test(tcase, a_neighbour_helps_where_the_system_refuses);
	tcase_add_test(tcase, purging_goes_by_age_and_size);
	return run_suite(suite);
}
