/* SPDX-License-Identifier: MIT */
/*
 * check_meta: records are zeroed, aligned, apart from each other, and stay.
 */
#include "unit.h"

#include "kernel.h"

#include "meta.h"
#include "node.h"
#include "os.h"

#define RECORDS 3000

struct record {
	char *start;
	size_t nbytes;
	uint64_t mark;
};

static struct record make(uint64_t *seed, unsigned node)
{
	size_t nbytes = 16 + random_below(seed, random_below(seed, 20) == 0 ? 40000 : 600);
	size_t alignment = (size_t)8 << random_below(seed, random_below(seed, 20) == 0 ? 10 : 5);
	struct record record = {meta_alloc(nbytes, alignment, node), nbytes, random_next(seed)};
	expect(record.start != NULL && (uintptr_t)record.start % alignment == 0);
	expect(reads_as_zero(record.start, nbytes));
	memset(record.start, 0xcc, nbytes);
	stamp(record.start, nbytes, record.mark);
	return record;
}

static void *make_many(void *arg)
{
	uint64_t seed = *(uint64_t *)arg;
	struct record *records = calloc(RECORDS, sizeof *records);
	for (unsigned i = 0; i < RECORDS; i++)
		records[i] = make(&seed, i % node_count());
	for (unsigned i = 0; i < RECORDS; i++)
		expect(stamp_holds(records[i].start, records[i].nbytes, records[i].mark));
	free(records);
	return NULL;
}

START_TEST(records_are_zeroed_aligned_and_apart)
{
	uint64_t seed = 42;
	make_many(&seed);
	ck_assert_uint_gt(meta_mapped(), 0);
	if (QUARRY_HARDENED) /* closed pages are not counted */
		ck_assert_uint_lt(meta_mapped(), kernel.mapped_nbytes);
	else
		ck_assert_uint_eq(meta_mapped(), kernel.mapped_nbytes);
}
END_TEST

START_TEST(threads_get_records_of_their_own)
{
	pthread_t threads[4];
	uint64_t seeds[4] = {1, 2, 3, 4};
	node_set_for_tests(3);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, make_many, &seeds[i]), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}
END_TEST

START_TEST(small_records_share_a_mapping)
{
	char *first = meta_alloc(64, 64, 0), *second = meta_alloc(64, 64, 0);
	ck_assert_ptr_eq(second, first + 64);
	size_t mapped = meta_mapped();
	for (int i = 0; i < 100; i++)
		ck_assert_ptr_nonnull(meta_alloc(64, 64, 0));
	ck_assert_uint_eq(meta_mapped(), mapped);
}
END_TEST

START_TEST(nodes_share_none)
{
	node_set_for_tests(2);
	char *zero = meta_alloc(64, 64, 0), *one = meta_alloc(64, 64, 1), *again = meta_alloc(64, 64, 0);
	ck_assert_ptr_eq(again, zero + 64);
	ck_assert((uintptr_t)one - (uintptr_t)zero >= os_page_size());
	ck_assert_ptr_eq(meta_alloc(64, 64, 1), one + 64);
}
END_TEST

START_TEST(a_big_record_leaves_the_open_chunk_alone)
{
	char *first = meta_alloc(64, 64, 0), *big = meta_alloc((size_t)1 << 20, CACHE_LINE, 0);
	ck_assert_ptr_nonnull(big);
	ck_assert_uint_eq((uintptr_t)big % os_page_size(), 0);
	ck_assert(reads_as_zero(big, (size_t)1 << 20));
	ck_assert_ptr_eq(meta_alloc(64, 64, 0), first + 64);
	ck_assert_ptr_nonnull(meta_alloc(16, os_page_size(), 0));
}
END_TEST

START_TEST(refusal_is_said_and_harms_nothing)
{
	kernel.most_mapped = 1;
	errno = 0;
	ck_assert_ptr_null(meta_alloc(64, 64, 0));
	ck_assert_int_eq(errno, ENOMEM);
	ck_assert_ptr_null(meta_alloc((size_t)1 << 20, 64, 0));
	ck_assert_uint_eq(meta_mapped(), 0);
	kernel.most_mapped = 0;
	ck_assert_ptr_nonnull(meta_alloc(64, 64, 0));
	kernel.most_mapped = 1;
	ck_assert_ptr_nonnull(meta_alloc(64, 64, 0));
}
END_TEST

START_TEST(a_fork_finds_the_lock_free)
{
	ck_assert_ptr_nonnull(meta_alloc(64, 64, 0));
	meta_lock_for_fork();
	ck_assert(child_succeeds({
		meta_unlock_after_fork(true);
		child_expect(meta_alloc(64, 64, 0) != NULL);
	}));
	meta_unlock_after_fork(false);
	ck_assert_ptr_nonnull(meta_alloc(64, 64, 0));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("meta");
	TCase *tcase = new_case(suite, "meta");
	tcase_add_test(tcase, records_are_zeroed_aligned_and_apart);
	tcase_add_test(tcase, threads_get_records_of_their_own);
	tcase_add_test(tcase, small_records_share_a_mapping);
	tcase_add_test(tcase, nodes_share_none);
	tcase_add_test(tcase, a_big_record_leaves_the_open_chunk_alone);
	tcase_add_test(tcase, refusal_is_said_and_harms_nothing);
	tcase_add_test(tcase, a_fork_finds_the_lock_free);
	return run_suite(suite);
}
