/* SPDX-License-Identifier: MIT */
/*
 * check_arena: which units an arena gives, in which order, what it remembers of them; at random against a model that
 * looks at one unit after the other.
 */
#include "unit.h"

#include "kernel.h"

#include "arena.h"
#include "options.h"
#include "os.h"

static struct arena_object arena;

#define FIRST ARENA_HEAD_UNITS
#define UNITS ((size_t)arena.ntotalpools)

static char *unit_at(size_t unit)
{
	return arena.address + (unit << QUARRY_POOL_BITS);
}

static void map_arena(void)
{
	ck_assert(arena_map(&arena, 0, NULL));
}

/* Hardened, units are closed until somebody takes them. */
static void open_units(void)
{
	if (arena.fenced)
		ck_assert(os_commit(unit_at(FIRST), UNITS << QUARRY_POOL_BITS));
}

/* Take all units and give back some, so that just these are free. */
static void leave_free(size_t unit, size_t nunits, bool clean, uint8_t tick)
{
	if (arena_is_empty(&arena))
		expect(arena_take(&arena, UNITS, 1).address != NULL);
	arena_put(&arena, unit_at(unit), nunits, clean, tick);
}

#define ck_assert_run(run, unit, units, is_clean)                                                                      \
	do {                                                                                                           \
		struct arena_run run_ = (run);                                                                         \
		ck_assert_ptr_eq(run_.address, unit_at(unit));                                                         \
		ck_assert_uint_eq(run_.nunits, (units));                                                               \
		ck_assert_int_eq(run_.clean, (is_clean));                                                              \
	} while (0)

#define ck_assert_no_run(run) ck_assert_ptr_null((run).address)

/* --- birth and end ------------------------------------------------------------------------------------------------ */

START_TEST(a_new_arena_is_free_and_clean_but_for_its_head)
{
	map_arena();
	ck_assert_uint_eq((uintptr_t)arena.address % ARENA_SIZE, 0);
	ck_assert_uint_eq(arena.ntotalpools, ARENA_UNITS - FIRST);
	ck_assert_uint_eq(arena.nfreepools, arena.ntotalpools);
	ck_assert_uint_eq(arena.ndirty, 0);
	ck_assert_uint_eq(arena.longest, arena.ntotalpools);
	ck_assert_int_eq(arena.bucket, -1);
	ck_assert_uint_eq(arena_nbytes(&arena), ARENA_SIZE);
	ck_assert_ptr_eq(arena_at(arena_base(unit_at(ARENA_UNITS - 1) + 1)), &arena);
	ck_assert(arena_is_empty(&arena));
	ck_assert_run(arena_take(&arena, UNITS, 1), FIRST, UNITS, true);
	open_units();
	ck_assert(reads_as_zero(unit_at(FIRST), POOL_SIZE));
	ck_assert_uint_eq(arena.nfreepools, 0);
	ck_assert_no_run(arena_take(&arena, 1, 1));
}
END_TEST

static unsigned advices[32], nadvices_seen;

static void note_advice(int advice)
{
	advices[nadvices_seen++ % 32] = (unsigned)advice;
}

START_TEST(huge_pages_are_a_policy_of_arenas)
{
	static const char *const policies[] = {"huge_pages:never", "huge_pages:inherit", "huge_pages:always"};
	static const unsigned expected[] = {MADV_NOHUGEPAGE, 0, MADV_HUGEPAGE};
	map_arena(); /* with the address map, which has advice of its own */
	arena_unmap(&arena);
	kernel.at_advice = note_advice;
	for (size_t i = 0; i < COUNT(policies); i++) {
		options_parse(policies[i]);
		nadvices_seen = advices[0] = 0;
		map_arena();
		ck_assert_uint_eq(nadvices_seen, expected[i] != 0);
		ck_assert_uint_eq(advices[0], expected[i]);
		arena_unmap(&arena);
	}
}
END_TEST

START_TEST(an_object_serves_again)
{
	map_arena();
	leave_free(FIRST, 7, false, 9);
	char *before = arena.address;
	ck_assert(arena_unmap(&arena));
	ck_assert(!is_mapped_at(before));
	ck_assert(!is_mapped_at(before + ARENA_SIZE - POOL_SIZE));
	map_arena();
	ck_assert_uint_eq(arena.ndirty, 0);
	ck_assert_run(arena_take(&arena, UNITS, 1), FIRST, UNITS, true);
}
END_TEST

START_TEST(a_hint_is_taken_where_it_is_free)
{
	struct arena_object second, third;
	map_arena();
	/* Away from the end of the address space that mappings begin at: below valgrind's there is little. */
	ptrdiff_t step = (uintptr_t)arena.address >> 40 != 0 ? -(ptrdiff_t)ARENA_SIZE : (ptrdiff_t)ARENA_SIZE;
	char *place = arena.address + 64 * step;
	while (os_map_exactly(place, ARENA_SIZE) == NULL)
		place += step;
	ck_assert(os_unmap(place, ARENA_SIZE));
	ck_assert(arena_unmap(&arena));
	ck_assert(arena_map(&arena, 0, place));
	ck_assert_ptr_eq(arena.address, place);
	ck_assert(arena_map(&second, 0, place));
	ck_assert_ptr_ne(second.address, place);
	ck_assert_ptr_eq(arena_at(place), &arena);
	ck_assert(arena_map(&third, 0, (char *)ARENA_SIZE - ARENA_SIZE));
	ck_assert_uint_eq((uintptr_t)third.address % ARENA_SIZE, 0);
}
END_TEST

/* Where the next mapping will not be aligned as an arena is. */
static char *odd_place(void)
{
	char *stretch = os_map(NULL, 3 * ARENA_SIZE);
	expect(stretch != NULL && os_unmap(stretch, 3 * ARENA_SIZE));
	return (char *)round_up((uintptr_t)stretch, ARENA_SIZE) + POOL_SIZE;
}

START_TEST(a_smaller_arena_where_space_is_short)
{
	map_arena(); /* the address map has its own mappings */
	ck_assert(arena_unmap(&arena));
	kernel.place = odd_place();
	kernel.most_mapped = ARENA_SIZE + ARENA_SIZE / 2; /* what alignment costs is an arena's size */
	ck_assert(arena_map(&arena, 0, NULL));
	kernel.most_mapped = 0;
	ck_assert_uint_eq(arena_nbytes(&arena), ARENA_SIZE / 2);
	ck_assert_uint_eq(arena.ntotalpools, ARENA_UNITS / 2 - FIRST);
	ck_assert_run(arena_take(&arena, UNITS, 1), FIRST, UNITS, true);
	open_units();
	memset(unit_at(FIRST), 1, UNITS << QUARRY_POOL_BITS);
	ck_assert(!arena_take_at(&arena, unit_at(ARENA_UNITS / 2), 1));
	arena_put(&arena, unit_at(FIRST), UNITS, true, 0);
	ck_assert(arena_is_empty(&arena));
	ck_assert_no_run(arena_take(&arena, UNITS + 1, 1));
	char *end = arena.address + ARENA_SIZE / 2;
	ck_assert(arena_unmap(&arena));
	ck_assert(!is_mapped_at(end - 1));
}
END_TEST

START_TEST(the_least_arena_is_worth_its_head)
{
	map_arena();
	arena_unmap(&arena);
	kernel.most_mapped = ARENA_SIZE + POOL_SIZE;
	while (kernel.most_mapped > ARENA_SIZE - POOL_SIZE) {
		if (arena_map(&arena, 0, NULL)) {
			ck_assert_uint_gt(arena.ntotalpools, ARENA_HEAD_UNITS);
			ck_assert_uint_ge(arena_nbytes(&arena), ARENA_MIN_SIZE);
			ck_assert(arena_unmap(&arena));
		}
		kernel.most_mapped -= POOL_SIZE;
	}
}
END_TEST

START_TEST(refusal_is_said)
{
	kernel.most_mapped = 1;
	errno = 0;
	ck_assert(!arena_map(&arena, 0, NULL));
	ck_assert_int_eq(errno, ENOMEM);
	kernel.most_mapped = 0;
	map_arena();
	kernel.refuse_unmap = true;
	ck_assert(!arena_unmap(&arena));
	ck_assert(is_mapped_at(arena.address));
}
END_TEST

/* --- order -------------------------------------------------------------------------------------------------------- */

START_TEST(lowest_address_first)
{
	map_arena();
	leave_free(FIRST + 9, 3, true, 0);
	leave_free(FIRST + 2, 1, true, 0);
	leave_free(ARENA_UNITS - 5, 5, true, 0);
	ck_assert_run(arena_take(&arena, 2, 1), FIRST + 9, 2, true);
	ck_assert_run(arena_take(&arena, 1, 1), FIRST + 2, 1, true);
	ck_assert_run(arena_take(&arena, 2, 1), ARENA_UNITS - 5, 2, true);
	ck_assert_run(arena_take(&arena, 1, 1), FIRST + 11, 1, true);
	ck_assert_run(arena_take(&arena, 3, 1), ARENA_UNITS - 3, 3, true);
	ck_assert_uint_eq(arena.nfreepools, 0);
}
END_TEST

START_TEST(dirty_before_clean)
{
	map_arena();
	leave_free(FIRST, 4, true, 0);
	leave_free(FIRST + 10, 2, false, 0);
	leave_free(FIRST + 20, 3, false, 0);
	ck_assert_run(arena_take(&arena, 3, 1), FIRST + 20, 3, false);
	ck_assert_run(arena_take(&arena, 1, 1), FIRST + 10, 1, false);
	ck_assert_run(arena_take_dirty(&arena, 1, 1), FIRST + 11, 1, false);
	ck_assert_uint_eq(arena.ndirty, 0);
	ck_assert_no_run(arena_take_dirty(&arena, 1, 1));
	ck_assert_run(arena_take(&arena, 4, 1), FIRST, 4, true);
}
END_TEST

START_TEST(one_dirty_unit_makes_a_run_dirty)
{
	map_arena();
	leave_free(FIRST, 1, true, 0);
	leave_free(FIRST + 1, 1, false, 0);
	leave_free(FIRST + 2, 1, true, 0);
	ck_assert_run(arena_take(&arena, 3, 1), FIRST, 3, false);
	arena_put(&arena, unit_at(FIRST), 3, true, 0);
	ck_assert_run(arena_take(&arena, 3, 1), FIRST, 3, true);
}
END_TEST

START_TEST(runs_start_at_a_multiple_of_the_alignment)
{
	map_arena();
	size_t odd = 16 * (FIRST / 16 + 2) + 1;
	leave_free(odd, 3, false, 0);
	leave_free(odd + 10, 20, true, 0);
	ck_assert_run(arena_take(&arena, 2, 2), odd + 1, 2, false);
	ck_assert_run(arena_take(&arena, 1, 16), odd + 15, 1, true);
	ck_assert_run(arena_take(&arena, 4, 4), odd + 11, 4, true);
	ck_assert_no_run(arena_take(&arena, 1, ARENA_UNITS / 2));
	for (size_t alignment = 1; alignment <= ARENA_UNITS / 8; alignment *= 2) {
		struct arena_object other;
		ck_assert(arena_map(&other, 0, NULL));
		struct arena_run run = arena_take(&other, alignment, alignment);
		ck_assert_ptr_nonnull(run.address);
		ck_assert_uint_eq((uintptr_t)run.address % (alignment << QUARRY_POOL_BITS), 0);
		ck_assert(arena_unmap(&other));
	}
}
END_TEST

START_TEST(a_hint_of_the_longest_run_never_hides_one)
{
	map_arena();
	leave_free(FIRST + 4, 4, true, 0);
	ck_assert_no_run(arena_take(&arena, 6, 1));
	ck_assert_uint_eq(arena.longest, 4);
	ck_assert_run(arena_take(&arena, 2, 1), FIRST + 4, 2, true);
	ck_assert_no_run(arena_take(&arena, 3, 1));
	ck_assert_uint_eq(arena.longest, 2); /* by the search that failed */
	leave_free(FIRST + 4, 2, true, 0);
	ck_assert_uint_eq(arena.longest, 4);
	leave_free(FIRST + 8, 1, true, 0);
	leave_free(FIRST + 3, 1, false, 0);
	ck_assert_run(arena_take(&arena, 6, 1), FIRST + 3, 6, false);
	ck_assert_no_run(arena_take(&arena, 2, 1));
	size_t half = UNITS / 2;
	leave_free(ARENA_UNITS - half, half, true, 0);
	ck_assert_run(arena_take(&arena, half, 1), ARENA_UNITS - half, half, true);
}
END_TEST

START_TEST(units_are_taken_at_an_address)
{
	map_arena();
	leave_free(FIRST + 5, 4, false, 0);
	ck_assert(!arena_take_at(&arena, unit_at(FIRST + 4), 2));
	ck_assert(!arena_take_at(&arena, unit_at(FIRST + 6), 4));
	ck_assert_uint_eq(arena.nfreepools, 4);
	ck_assert(arena_take_at(&arena, unit_at(FIRST + 6), 2));
	ck_assert(!arena_take_at(&arena, unit_at(FIRST + 7), 1));
	ck_assert_uint_eq(arena.nfreepools, 2);
	ck_assert_uint_eq(arena.ndirty, 2);
	leave_free(ARENA_UNITS - 2, 2, true, 0);
	ck_assert(!arena_take_at(&arena, unit_at(ARENA_UNITS - 2), 3));
	ck_assert(!arena_take_at(&arena, unit_at(ARENA_UNITS), 1));
	ck_assert(!arena_take_at(&arena, unit_at(0) - POOL_SIZE, 1));
	ck_assert(arena_take_at(&arena, unit_at(ARENA_UNITS - 2), 2));
	ck_assert_uint_eq(arena.ndirty, 2);
}
END_TEST

/* --- stamps ------------------------------------------------------------------------------------------------------- */

START_TEST(only_what_is_old_enough_is_taken)
{
	map_arena();
	leave_free(FIRST, 2, false, 10);
	leave_free(FIRST + 2, 3, false, 13);
	leave_free(FIRST + 5, 1, true, 0);
	leave_free(FIRST + 6, 4, false, 11);
	ck_assert_no_run(arena_take_old(&arena, 13, 4, SIZE_MAX));
	ck_assert_run(arena_take_old(&arena, 14, 4, SIZE_MAX), FIRST, 2, false);
	ck_assert_no_run(arena_take_old(&arena, 14, 4, SIZE_MAX));
	ck_assert_run(arena_take_old(&arena, 15, 4, 3), FIRST + 6, 3, false);
	ck_assert_run(arena_take_old(&arena, 15, 4, 3), FIRST + 9, 1, false);
	ck_assert_run(arena_take_old(&arena, 13, 0, SIZE_MAX), FIRST + 2, 3, false);
	ck_assert_no_run(arena_take_old(&arena, 255, 0, SIZE_MAX));
	ck_assert_uint_eq(arena.ndirty, 0);
	ck_assert_uint_eq(arena.nfreepools, 1);
}
END_TEST

START_TEST(the_clock_may_turn_over)
{
	map_arena();
	leave_free(FIRST, 1, false, 254);
	ck_assert_no_run(arena_take_old(&arena, 1, 4, 1));
	ck_assert_run(arena_take_old(&arena, 2, 4, 1), FIRST, 1, false);
}
END_TEST

START_TEST(the_last_unit_says_since_when_it_is_empty)
{
	map_arena();
	ck_assert_ptr_nonnull(arena_take(&arena, 2, 1).address);
	arena_put(&arena, unit_at(FIRST), 1, true, 7);
	ck_assert(!arena_is_empty(&arena));
	ck_assert_uint_eq(arena.empty_since, 0);
	arena_put(&arena, unit_at(FIRST + 1), 1, false, 8);
	ck_assert(arena_is_empty(&arena));
	ck_assert_uint_eq(arena.empty_since, 8);
}
END_TEST

/* --- at random ---------------------------------------------------------------------------------------------------- */

#define STEPS 20000

enum unit_state { OUT, CLEAN, DIRTY };

static struct {
	enum unit_state state[ARENA_UNITS];
	uint8_t stamp[ARENA_UNITS];
} model;

static bool run_is(size_t unit, size_t nunits, enum unit_state least)
{
	bool is = unit + nunits <= ARENA_UNITS;
	for (size_t i = unit; is && i < unit + nunits; i++)
		is = model.state[i] >= least;
	return is;
}

/* Where the model finds a run; ARENA_UNITS: nowhere. */
static size_t model_find(size_t nunits, size_t alignment)
{
	for (enum unit_state least = DIRTY; least >= CLEAN; least--)
		for (size_t unit = (FIRST + alignment - 1) & ~(alignment - 1); unit < ARENA_UNITS; unit += alignment)
			if (run_is(unit, nunits, least))
				return unit;
	return ARENA_UNITS;
}

static void model_take(struct arena_run run, size_t unit)
{
	expect(run.address == (unit == ARENA_UNITS ? NULL : unit_at(unit)));
	for (size_t i = 0; run.address != NULL && i < run.nunits; i++) {
		expect(model.state[unit + i] != OUT);
		expect(!run.clean || model.state[unit + i] == CLEAN);
		model.state[unit + i] = OUT;
	}
}

static void check_counters(void)
{
	size_t nfree = 0, ndirty = 0, run = 0, longest = 0;
	for (size_t unit = 0; unit < ARENA_UNITS; unit++) {
		nfree += model.state[unit] != OUT;
		ndirty += model.state[unit] == DIRTY;
		run = model.state[unit] == OUT ? 0 : run + 1;
		longest = run > longest ? run : longest;
	}
	expect(arena.nfreepools == nfree && arena.ndirty == ndirty);
	expect(arena.longest >= longest && arena.longest <= UNITS);
	expect(arena_is_empty(&arena) == (nfree == UNITS));
}

static void put_some(uint64_t *seed, uint8_t tick)
{
	size_t unit = FIRST + random_below(seed, UNITS), nunits = 0, most = 1 + random_below(seed, 80);
	bool clean = random_below(seed, 3) == 0;
	while (unit + nunits < ARENA_UNITS && nunits < most && model.state[unit + nunits] == OUT)
		nunits++;
	if (nunits == 0)
		return;
	arena_put(&arena, unit_at(unit), nunits, clean, tick);
	for (size_t i = unit; i < unit + nunits; i++) {
		model.state[i] = clean ? CLEAN : DIRTY;
		model.stamp[i] = tick;
	}
}

static void take_some(uint64_t *seed)
{
	size_t most = random_below(seed, 4) == 0 ? 100 : 5, nunits = 1 + random_below(seed, most);
	size_t alignment = random_below(seed, 3) == 0 ? (size_t)1 << random_below(seed, 5) : 1;
	size_t unit = model_find(nunits, alignment);
	struct arena_run run = arena_take(&arena, nunits, alignment);
	expect(run.address == NULL || run.nunits == nunits);
	model_take(run, unit);
}

static void take_at(uint64_t *seed)
{
	size_t unit = FIRST + random_below(seed, UNITS), nunits = 1 + random_below(seed, 4);
	bool is_free = run_is(unit, nunits, CLEAN);
	expect(arena_take_at(&arena, unit_at(unit), nunits) == is_free);
	for (size_t i = 0; is_free && i < nunits; i++)
		model.state[unit + i] = OUT;
}

static bool is_old(size_t unit, uint8_t tick, uint8_t age)
{
	return model.state[unit] == DIRTY && (uint8_t)(tick - model.stamp[unit]) >= age;
}

static void take_old(uint64_t *seed, uint8_t tick)
{
	uint8_t age = (uint8_t)random_below(seed, 6);
	size_t unit = FIRST, nunits = 0, most = 1 + random_below(seed, 10);
	while (unit < ARENA_UNITS && !is_old(unit, tick, age))
		unit++;
	while (unit + nunits < ARENA_UNITS && nunits < most && is_old(unit + nunits, tick, age))
		nunits++;
	struct arena_run run = arena_take_old(&arena, tick, age, most);
	expect(run.nunits == nunits);
	model_take(run, unit);
}

START_TEST(any_order_agrees_with_the_model)
{
	uint64_t seed = 0x2545f4914f6cdd1d + (uint64_t)_i;
	uint8_t tick = 200;
	map_arena();
	for (size_t unit = FIRST; unit < ARENA_UNITS; unit++)
		model.state[unit] = CLEAN;
	for (unsigned step = 0; step < STEPS; step++) {
		size_t choice = random_below(&seed, 16), puts = step / 1000 % 2 == 0 ? 3 : 9;
		if (choice < puts)
			put_some(&seed, tick);
		else if (choice < 13)
			take_some(&seed);
		else if (choice == 13)
			take_at(&seed);
		else if (choice == 14)
			take_old(&seed, tick);
		else
			tick = (uint8_t)(tick + random_below(&seed, 3));
		if (step % 8 == 0)
			check_counters();
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("arena");
	TCase *tcase = new_case(suite, "arena");
	tcase_add_test(tcase, a_new_arena_is_free_and_clean_but_for_its_head);
	tcase_add_test(tcase, huge_pages_are_a_policy_of_arenas);
	tcase_add_test(tcase, an_object_serves_again);
	tcase_add_test(tcase, a_hint_is_taken_where_it_is_free);
	tcase_add_test(tcase, a_smaller_arena_where_space_is_short);
	tcase_add_test(tcase, the_least_arena_is_worth_its_head);
	tcase_add_test(tcase, refusal_is_said);
	tcase_add_test(tcase, lowest_address_first);
	tcase_add_test(tcase, dirty_before_clean);
	tcase_add_test(tcase, one_dirty_unit_makes_a_run_dirty);
	tcase_add_test(tcase, runs_start_at_a_multiple_of_the_alignment);
	tcase_add_test(tcase, a_hint_of_the_longest_run_never_hides_one);
	tcase_add_test(tcase, units_are_taken_at_an_address);
	tcase_add_test(tcase, only_what_is_old_enough_is_taken);
	tcase_add_test(tcase, the_clock_may_turn_over);
	tcase_add_test(tcase, the_last_unit_says_since_when_it_is_empty);
	tcase_add_loop_test(tcase, any_order_agrees_with_the_model, 0, 3);
	return run_suite(suite);
}
