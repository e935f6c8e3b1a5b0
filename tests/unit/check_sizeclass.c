/* SPDX-License-Identifier: MIT */
/*
 * check_sizeclass: the class tables against their definition, request by request and offset by offset.
 */
#include "unit.h"

#include "sizeclass.h"

/* --- requests ----------------------------------------------------------------------------------------------------- */

START_TEST(the_limit_is_a_class)
{
	ck_assert_uint_eq(sizeclass_limit, SPAN_REQUEST_THRESHOLD);
	ck_assert_uint_le(SPAN_REQUEST_THRESHOLD, SMALL_REQUEST_THRESHOLD);
	ck_assert_uint_ge(SPAN_REQUEST_THRESHOLD, TABLE_LIMIT);
	ck_assert_uint_eq(sizeclass_nbytes(sizeclass_of(sizeclass_limit)), sizeclass_limit);
}
END_TEST

START_TEST(sizes_ascend_from_the_least_to_the_threshold)
{
	ck_assert_uint_eq(sizeclass_nbytes(0), ALIGNMENT);
	ck_assert_uint_eq(sizeclass_nbytes(NB_SIZE_CLASSES - 1), SMALL_REQUEST_THRESHOLD);
	for (unsigned szidx = 0; szidx < NB_SIZE_CLASSES; szidx++) {
		ck_assert_uint_eq(sizeclass_nbytes(szidx) % ALIGNMENT, 0);
		if (szidx > 0)
			ck_assert_uint_gt(sizeclass_nbytes(szidx), sizeclass_nbytes(szidx - 1));
	}
}
END_TEST

START_TEST(a_request_belongs_to_the_least_class_that_fits)
{
	unsigned least = 0;
	for (size_t nbytes = 0; nbytes <= SMALL_REQUEST_THRESHOLD; nbytes++) {
		if (nbytes > sizeclass_nbytes(least))
			least++;
		expect(sizeclass_of(nbytes) == least);
	}
}
END_TEST

START_TEST(table_and_computation_agree)
{
	for (size_t nbytes = LINEAR_CLASS_LIMIT + 1; nbytes <= TABLE_LIMIT; nbytes++)
		expect(sizeclass_of_tabled(nbytes) == sizeclass_of_computed(nbytes));
}
END_TEST

START_TEST(little_of_a_block_is_waste)
{
	for (size_t nbytes = 1; nbytes <= SMALL_REQUEST_THRESHOLD; nbytes++) {
		size_t block = sizeclass_nbytes(sizeclass_of(nbytes)), waste = block - nbytes;
		expect(nbytes <= LINEAR_CLASS_LIMIT ? waste < ALIGNMENT : waste * 8 < block);
	}
}
END_TEST

/* --- pools -------------------------------------------------------------------------------------------------------- */

static bool is_a_good_pool(size_t nbytes, size_t units)
{
	size_t pool = units * POOL_SIZE;
	return pool / nbytes >= 4 && pool % nbytes * 32 <= pool;
}

START_TEST(a_pool_holds_what_fits)
{
	for (unsigned szidx = 0; szidx < NB_SIZE_CLASSES; szidx++) {
		const struct size_class *class = &size_classes[szidx];
		ck_assert_uint_ge(class->units, 1);
		ck_assert_uint_le(class->units, POOL_MAX_UNITS);
		ck_assert_uint_eq(class->capacity, class->units * POOL_SIZE / class->nbytes);
		ck_assert_uint_ge(class->capacity, 4);
		ck_assert_uint_le(class->capacity, POOL_MAX_BLOCKS);
	}
}
END_TEST

START_TEST(a_pool_takes_the_fewest_units_that_lose_little)
{
	for (unsigned szidx = 0; szidx < NB_SIZE_CLASSES; szidx++) {
		const struct size_class *class = &size_classes[szidx];
		ck_assert(class->units == POOL_MAX_UNITS || is_a_good_pool(class->nbytes, class->units));
		for (size_t units = 1; units < class->units; units++)
			ck_assert(!is_a_good_pool(class->nbytes, units));
	}
}
END_TEST

START_TEST(division_is_exact_at_every_offset)
{
	for (unsigned szidx = 0; szidx < NB_SIZE_CLASSES; szidx++) {
		size_t nbytes = sizeclass_nbytes(szidx), end = size_classes[szidx].units * POOL_SIZE;
		unsigned index = 0;
		for (size_t offset = 0, rest = 0; offset < end; offset++, rest++) {
			if (rest == nbytes) {
				rest = 0;
				index++;
			}
			expect(sizeclass_divides(szidx, offset) == (rest == 0));
			expect(sizeclass_block_index(szidx, offset) == index);
		}
	}
}
END_TEST

/* --- alignment ---------------------------------------------------------------------------------------------------- */

static int naive_aligned(size_t nbytes, size_t alignment)
{
	for (unsigned szidx = 0; szidx < NB_SIZE_CLASSES && sizeclass_nbytes(szidx) <= sizeclass_limit; szidx++)
		if (sizeclass_nbytes(szidx) >= nbytes && sizeclass_nbytes(szidx) % alignment == 0)
			return (int)szidx;
	return -1;
}

static const size_t limits[] = {SPAN_REQUEST_THRESHOLD, SMALL_REQUEST_THRESHOLD};

START_TEST(aligned_class_is_the_least_that_serves)
{
	sizeclass_limit = limits[_i];
	for (size_t alignment = 1; alignment <= 2 * SMALL_REQUEST_THRESHOLD; alignment *= 2)
		for (size_t nbytes = 0; nbytes <= SMALL_REQUEST_THRESHOLD + 1; nbytes += nbytes < 4096 ? 1 : 61)
			expect(sizeclass_of_aligned(nbytes, alignment) == naive_aligned(nbytes, alignment));
}
END_TEST

START_TEST(no_class_is_aligned_for_what_is_too_big)
{
	sizeclass_limit = limits[_i];
	ck_assert_int_eq(sizeclass_of_aligned(sizeclass_limit + 1, 1), -1);
	ck_assert_int_eq(sizeclass_of_aligned(SIZE_MAX, ALIGNMENT), -1);
	ck_assert_int_eq(sizeclass_of_aligned(1, (size_t)1 << 63), -1);
	ck_assert_int_eq(sizeclass_of_aligned(1, sizeclass_limit), (int)sizeclass_of(sizeclass_limit));
	ck_assert_int_eq(sizeclass_of_aligned(sizeclass_limit, sizeclass_limit), (int)sizeclass_of(sizeclass_limit));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sizeclass");
	TCase *tcase = new_case(suite, "sizeclass");
	tcase_add_test(tcase, the_limit_is_a_class);
	tcase_add_test(tcase, sizes_ascend_from_the_least_to_the_threshold);
	tcase_add_test(tcase, a_request_belongs_to_the_least_class_that_fits);
	tcase_add_test(tcase, table_and_computation_agree);
	tcase_add_test(tcase, little_of_a_block_is_waste);
	tcase_add_test(tcase, a_pool_holds_what_fits);
	tcase_add_test(tcase, a_pool_takes_the_fewest_units_that_lose_little);
	tcase_add_test(tcase, division_is_exact_at_every_offset);
	tcase_add_loop_test(tcase, aligned_class_is_the_least_that_serves, 0, COUNT(limits));
	tcase_add_loop_test(tcase, no_class_is_aligned_for_what_is_too_big, 0, COUNT(limits));
	return run_suite(suite);
}
