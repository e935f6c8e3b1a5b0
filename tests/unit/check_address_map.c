/* SPDX-License-Identifier: MIT */
/*
 * check_address_map: what a word says, where the window lies, and that everything outside of it is foreign.
 */
#include "unit.h"

#include <sys/resource.h>

#include "kernel.h"

#include "address_map.h"
#include "os.h"
#include "sizeclass.h"

/* RLIMIT_AS as the room sees it; 0: as it is. */
static rlim_t played_limit;

int getrlimit(__rlimit_resource_t resource, struct rlimit *limit)
{
	if (resource == RLIMIT_AS && played_limit != 0) {
		*limit = (struct rlimit){played_limit, played_limit};
		return 0;
	}
	return REAL(getrlimit)(resource, limit);
}

static char *place(size_t nbytes)
{
	char *address = address_map_place(nbytes, POOL_SIZE);
	expect(address != NULL);
	return address;
}

/* --- words -------------------------------------------------------------------------------------------------------- */

START_TEST(a_pool_word_gives_back_what_it_was_made_of)
{
	static const uint32_t owners[] = {1, 2, 255, 256, 1023, 1024, 4096, WORD_OWNERS - 2, WORD_OWNERS - 1};
	for (size_t i = 0; i < COUNT(owners); i++)
		for (unsigned phase = 0; phase < POOL_MAX_UNITS; phase++)
			for (unsigned szidx = 0; szidx < 250; szidx++) {
				uint32_t word = word_of_pool(owners[i], phase, szidx);
				expect(word_is_pool(word));
				expect(word_owner(word) == owners[i]);
				expect(word_phase(word) == phase && word_szidx(word) == szidx);
			}
}
END_TEST

START_TEST(one_subtraction_tells_the_owner)
{
	static const uint32_t owners[] = {1, 2, 3, 77, 1024, WORD_OWNERS - 2, WORD_OWNERS - 1};
	for (size_t i = 0; i < COUNT(owners); i++) {
		uint32_t base = owners[i] << WORD_OWNER_SHIFT;
		for (size_t k = 0; k < COUNT(owners); k++)
			for (unsigned phase = 0; phase < POOL_MAX_UNITS; phase++) {
				uint32_t word = word_of_pool(owners[k], phase, phase * 16 % 250);
				expect((word - base < WORD_OWNER) == (i == k));
			}
		expect(0 - base >= WORD_OWNER);
		expect(WORD_SPAN - base >= WORD_OWNER && WORD_SPAN_REST - base >= WORD_OWNER);
		expect((WORD_NOT_A_POOL | WORD_LARGE) - base >= WORD_OWNER);
		expect((WORD_NOT_A_POOL | 0x7fffff00 | WORD_LARGE) - base >= WORD_OWNER);
	}
	ck_assert(!word_is_pool(0));
	ck_assert(!word_is_pool(WORD_SPAN));
	ck_assert(!word_is_pool(WORD_SPAN_REST));
	ck_assert(!word_is_pool(WORD_NOT_A_POOL | WORD_LARGE));
}
END_TEST

/* --- what is foreign ---------------------------------------------------------------------------------------------- */

static int some_data = 1;

static void assert_foreign(uintptr_t address)
{
	uint32_t word = 0;
	expect(address_map_word((void *)address) == 0);
	expect(!address_map_find((void *)address, &word) || word == 0);
}

static void assert_all_foreign(void)
{
	int on_stack;
	void *from_libc = malloc(100);
	assert_foreign(0);
	assert_foreign(1);
	assert_foreign((uintptr_t)&on_stack);
	assert_foreign((uintptr_t)&some_data);
	assert_foreign((uintptr_t)assert_all_foreign);
	assert_foreign((uintptr_t)printf);
	assert_foreign((uintptr_t)from_libc);
	assert_foreign((uintptr_t)&address_map);
	for (unsigned bit = 0; bit < 64; bit++) {
		assert_foreign((uintptr_t)1 << bit);
		assert_foreign(((uintptr_t)1 << bit) - 1);
		assert_foreign(~(uintptr_t)0 << bit);
	}
	assert_foreign(UINTPTR_MAX);
	assert_foreign((uintptr_t)0x8000000000000000);
	assert_foreign((uintptr_t)0x0000800000000000);
	assert_foreign((uintptr_t)0xffff800000000000);
	free(from_libc);
}

START_TEST(everything_is_foreign_before_the_first_mapping)
{
	assert_all_foreign();
	ck_assert_uint_eq(address_map_reserved(), 0);
}
END_TEST

START_TEST(everything_else_is_foreign_afterwards)
{
	char *mine = place(4 * POOL_SIZE);
	address_map_set(mine, 4, WORD_SPAN);
	assert_all_foreign();
	assert_foreign((uintptr_t)mine - 1);
	assert_foreign((uintptr_t)mine + 4 * POOL_SIZE);
}
END_TEST

START_TEST(the_ends_of_the_window_are_sharp)
{
	place(POOL_SIZE);
	uintptr_t first = address_map.first_unit << QUARRY_POOL_BITS;
	uintptr_t end = first + (address_map.nunits << QUARRY_POOL_BITS);
	assert_foreign(first - 1);
	assert_foreign(first);
	assert_foreign(end - 1);
	assert_foreign(end);
	uint64_t seed = 1;
	for (unsigned i = 0; i < 100000; i++) {
		uintptr_t address = random_next(&seed);
		if (address < first || address >= end)
			assert_foreign(address);
	}
}
END_TEST

START_TEST(a_word_is_found_for_aligned_addresses_only)
{
	char *mine = place(2 * POOL_SIZE);
	address_map_set(mine, 2, 0x12345);
	for (size_t offset = 0; offset < 2 * POOL_SIZE; offset++) {
		uint32_t word = 0;
		bool found = address_map_find(mine + offset, &word);
		expect(found == (offset % ALIGNMENT == 0));
		expect(word == (found ? 0x12345 : 0));
	}
}
END_TEST

/* --- placing ------------------------------------------------------------------------------------------------------ */

START_TEST(placed_memory_has_words_of_its_own)
{
	size_t nunits = 5;
	char *address = place(nunits * POOL_SIZE);
	ck_assert(reads_as_zero(address, nunits * POOL_SIZE));
	memset(address, 1, nunits * POOL_SIZE);
	address_map_set(address + POOL_SIZE, 3, 0x12345);
	for (size_t unit = 0; unit < nunits; unit++) {
		uint32_t word = unit >= 1 && unit <= 3 ? 0x12345 : 0;
		ck_assert_uint_eq(address_map_word(address + unit * POOL_SIZE), word);
		ck_assert_uint_eq(address_map_word(address + unit * POOL_SIZE + POOL_SIZE - 1), word);
	}
	address_map_set(address + POOL_SIZE, 3, 0);
	for (size_t unit = 0; unit < nunits; unit++)
		ck_assert_uint_eq(address_map_word(address + unit * POOL_SIZE), 0);
}
END_TEST

START_TEST(placed_memory_is_aligned)
{
	for (size_t alignment = POOL_SIZE; alignment <= (size_t)256 << 20; alignment *= 4) {
		char *address = address_map_place(3 * POOL_SIZE, alignment);
		ck_assert_ptr_nonnull(address);
		ck_assert_uint_eq((uintptr_t)address % alignment, 0);
		address[3 * POOL_SIZE - 1] = 1;
		address_map_set(address, 3, WORD_SPAN);
	}
}
END_TEST

START_TEST(words_are_writable_across_stretches)
{
	size_t nbytes = POOL_SIZE << 16; /* several stretches, nothing of it touched */
	char *address = address_map_place(nbytes, POOL_SIZE);
	ck_assert_ptr_nonnull(address);
	for (size_t offset = 0; offset < nbytes; offset += POOL_SIZE << 8)
		address_map_set(address + offset, 1, WORD_SPAN);
	address_map_set(address + nbytes - POOL_SIZE, 1, WORD_SPAN);
	ck_assert_uint_eq(address_map_word(address + nbytes - 1), WORD_SPAN);
}
END_TEST

START_TEST(an_exact_place_is_that_or_none)
{
	char *taken = place(2 * POOL_SIZE), *freed = place(2 * POOL_SIZE);
	memset(taken, 7, 2 * POOL_SIZE);
	ck_assert_ptr_null(address_map_place_exactly(taken, POOL_SIZE));
	ck_assert_ptr_null(address_map_place_exactly(taken + POOL_SIZE, 2 * POOL_SIZE));
	ck_assert_int_eq(taken[2 * POOL_SIZE - 1], 7);
	ck_assert(os_unmap(freed, 2 * POOL_SIZE));
	ck_assert_ptr_eq(address_map_place_exactly(freed, 2 * POOL_SIZE), freed);
	address_map_set(freed, 2, WORD_SPAN);
}
END_TEST

START_TEST(no_place_outside_of_the_window)
{
	played_limit = (rlim_t)1 << 28;
	place(POOL_SIZE);
	uintptr_t end = (address_map.first_unit + address_map.nunits) << QUARRY_POOL_BITS;
	ck_assert_ptr_null(address_map_place_exactly((void *)end, POOL_SIZE));
	ck_assert_ptr_null(address_map_place_exactly((void *)(end - POOL_SIZE), 2 * POOL_SIZE));
	ck_assert_ptr_null(address_map_place_exactly(
	    (void *)((address_map.first_unit - 1) << QUARRY_POOL_BITS), POOL_SIZE));
	ck_assert(!is_mapped_at((void *)end));
}
END_TEST

/* --- the window --------------------------------------------------------------------------------------------------- */

START_TEST(the_window_is_fixed_once)
{
	place(POOL_SIZE);
	struct address_map kept = address_map;
	for (int i = 0; i < 100; i++)
		place(POOL_SIZE);
	ck_assert_mem_eq(&kept, &address_map, sizeof kept);
	ck_assert_uint_eq(address_map_reserved(), address_map.nunits * sizeof(uint32_t));
}
END_TEST

START_TEST(a_limit_of_address_space_makes_it_smaller)
{
	played_limit = (rlim_t)1 << (28 + 2 * _i);
	char *address = place(POOL_SIZE);
	ck_assert_uint_ge(address_map.nunits << QUARRY_POOL_BITS, (size_t)1 << 30);
	ck_assert_uint_le(address_map_reserved(), played_limit / 32 < (1 << 20) ? 1 << 20 : played_limit / 32);
	ck_assert_uint_ge(address_map.nunits << QUARRY_POOL_BITS, played_limit);
	address_map_set(address, 1, WORD_SPAN);
	ck_assert_uint_eq(address_map_word(address), WORD_SPAN);
}
END_TEST

START_TEST(pools_serve_more_sizes_where_address_space_is_short)
{
	played_limit = _i == 0 ? RLIM_INFINITY : (rlim_t)1 << 30;
	place(POOL_SIZE);
	ck_assert_uint_eq(sizeclass_limit, _i == 0 ? SPAN_REQUEST_THRESHOLD : SMALL_REQUEST_THRESHOLD);
}
END_TEST

START_TEST(a_mapping_outside_is_replaced_by_one_inside)
{
	if (QUARRY_TSAN) /* its runtime has a say in where mappings go */
		return;
	played_limit = (rlim_t)1 << 28;
	char *first = place(POOL_SIZE);
	for (int i = 0; i < 10; i++) {
		kernel.place = (char *)(((uintptr_t)first - ((uintptr_t)1 << 42)) & ~(POOL_SIZE - 1));
		char *outside = kernel.place, *address = address_map_place(2 * POOL_SIZE, POOL_SIZE);
		ck_assert_ptr_nonnull(address);
		ck_assert_ptr_null(kernel.place);
		ck_assert(!is_mapped_at(outside));
		ck_assert_uint_lt(((uintptr_t)address >> QUARRY_POOL_BITS) - address_map.first_unit,
		                  address_map.nunits);
		address_map_set(address, 2, WORD_SPAN);
	}
}
END_TEST

/* --- refusals ----------------------------------------------------------------------------------------------------- */

START_TEST(refused_memory_is_said)
{
	kernel.most_mapped = 1;
	errno = 0;
	ck_assert_ptr_null(address_map_place(POOL_SIZE, POOL_SIZE));
	ck_assert_int_eq(errno, ENOMEM);
	kernel.most_mapped = 0;
	place(POOL_SIZE);
	kernel.most_mapped = 1;
	errno = 0;
	ck_assert_ptr_null(address_map_place(POOL_SIZE, POOL_SIZE));
	ck_assert_int_eq(errno, ENOMEM);
	ck_assert_ptr_null(address_map_place(SIZE_MAX / 2, SIZE_MAX / 2 + 1));
}
END_TEST

START_TEST(a_smaller_window_where_the_reservation_is_refused)
{
	kernel.most_mapped = (size_t)1 << 28;
	char *address = place(POOL_SIZE);
	ck_assert_uint_le(address_map_reserved(), kernel.most_mapped);
	address_map_set(address, 1, WORD_SPAN);
}
END_TEST

START_TEST(words_that_stay_read_only_refuse_the_place)
{
	if (QUARRY_TSAN) /* its runtime ends the process where a mapping at a wished address is refused */
		return;
	kernel.refuse_protect = true;
	size_t before = kernel.mapped_nbytes - kernel.unmapped_nbytes;
	errno = 0;
	ck_assert_ptr_null(address_map_place(POOL_SIZE, POOL_SIZE));
	ck_assert_int_eq(errno, ENOMEM);
	size_t reserved = kernel.mapped_nbytes - kernel.unmapped_nbytes - before;
	ck_assert_uint_eq(reserved, address_map_reserved());
	char *free_place = (char *)((address_map.first_unit + address_map.nunits / 4) << QUARRY_POOL_BITS);
	ck_assert_ptr_null(address_map_place_exactly(free_place, POOL_SIZE));
	ck_assert(!is_mapped_at(free_place));
	kernel.refuse_protect = false;
	place(POOL_SIZE);
}
END_TEST

/* --- threads ------------------------------------------------------------------------------------------------------ */

static pthread_barrier_t start;

static void *place_at_once(void *arg)
{
	size_t *nunits = arg;
	pthread_barrier_wait(&start);
	for (int i = 0; i < 50; i++) {
		char *address = address_map_place(POOL_SIZE, POOL_SIZE);
		expect(address != NULL);
		address_map_set(address, 1, WORD_SPAN);
		expect(address_map_word(address) == WORD_SPAN);
	}
	*nunits = address_map.nunits;
	return NULL;
}

START_TEST(threads_fix_one_window)
{
	pthread_t threads[4];
	size_t nunits[4];
	pthread_barrier_init(&start, NULL, 4);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, place_at_once, &nunits[i]), 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		ck_assert_uint_eq(nunits[i], address_map.nunits);
	}
}
END_TEST

START_TEST(a_fork_finds_the_lock_free)
{
	for (int before = 0; before < 2; before++) {
		address_map_lock_for_fork();
		ck_assert(child_succeeds({
			address_map_unlock_after_fork(true);
			child_expect(address_map_place(POOL_SIZE, POOL_SIZE) != NULL);
		}));
		address_map_unlock_after_fork(false);
		place(POOL_SIZE);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("address_map");
	TCase *tcase = new_case(suite, "address_map");
	tcase_add_test(tcase, a_pool_word_gives_back_what_it_was_made_of);
	tcase_add_test(tcase, one_subtraction_tells_the_owner);
	tcase_add_test(tcase, everything_is_foreign_before_the_first_mapping);
	tcase_add_test(tcase, everything_else_is_foreign_afterwards);
	tcase_add_test(tcase, the_ends_of_the_window_are_sharp);
	tcase_add_test(tcase, a_word_is_found_for_aligned_addresses_only);
	tcase_add_test(tcase, placed_memory_has_words_of_its_own);
	tcase_add_test(tcase, placed_memory_is_aligned);
	tcase_add_test(tcase, words_are_writable_across_stretches);
	tcase_add_test(tcase, an_exact_place_is_that_or_none);
	tcase_add_test(tcase, no_place_outside_of_the_window);
	tcase_add_test(tcase, the_window_is_fixed_once);
	tcase_add_loop_test(tcase, a_limit_of_address_space_makes_it_smaller, 0, 6);
	tcase_add_loop_test(tcase, pools_serve_more_sizes_where_address_space_is_short, 0, 2);
	tcase_add_test(tcase, a_mapping_outside_is_replaced_by_one_inside);
	tcase_add_test(tcase, refused_memory_is_said);
	tcase_add_test(tcase, a_smaller_window_where_the_reservation_is_refused);
	tcase_add_test(tcase, words_that_stay_read_only_refuse_the_place);
	tcase_add_test(tcase, threads_fix_one_window);
	tcase_add_test(tcase, a_fork_finds_the_lock_free);
	return run_suite(suite);
}
