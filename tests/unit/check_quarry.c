/* SPDX-License-Identifier: MIT */
/*
 * check_quarry: the public calls across all sizes: usable sizes, alignments, moving and staying, refusals.
 */
#include "heaps.h"

#include "kernel.h"

#define LARGE (LARGE_REQUEST_THRESHOLD + 1)

static void fill(char *block, size_t nbytes, char seed)
{
	for (size_t i = 0; i < nbytes; i += 61)
		block[i] = (char)(seed + i);
}

static bool is_filled(const char *block, size_t nbytes, char seed)
{
	for (size_t i = 0; i < nbytes; i += 61)
		if (block[i] != (char)(seed + i))
			return false;
	return true;
}

START_TEST(a_good_size_is_what_one_gets)
{
	for (size_t nbytes = 0; nbytes < 2 * LARGE; nbytes += 1 + nbytes / 13) {
		size_t usable = 0, good = quarry_good_size(nbytes);
		char *block = quarry_malloc_usable(nbytes, &usable);
		expect(block != NULL && usable == good && good >= nbytes && quarry_usable_size(block) == good);
		expect((uintptr_t)block % 16 == 0);
		expect(quarry_good_size(good) == good);
		fill(block, usable, 3);
		quarry_free_sized(block, nbytes);
	}
	ck_assert_uint_eq(quarry_good_size(SIZE_MAX), 0);
	ck_assert_uint_eq(quarry_usable_size(NULL), 0);
}
END_TEST

START_TEST(any_alignment)
{
	for (volatile size_t alignment = 1; alignment <= 4 * LARGE_REQUEST_THRESHOLD; alignment = 2 * alignment)
		for (size_t nbytes = 0; nbytes < LARGE; nbytes = 3 * nbytes + 7) {
			char *block = quarry_aligned_alloc(alignment, nbytes);
			char *odd = quarry_memalign(alignment - alignment / 4, nbytes);
			expect(block != NULL && (uintptr_t)block % alignment == 0 && odd != NULL);
			expect((uintptr_t)odd % alignment == 0 && quarry_usable_size(block) >= nbytes);
			quarry_free(odd);
			quarry_free_aligned_sized(block, alignment, nbytes);
		}
	void *kept = &kept;
	volatile size_t too_much = ((size_t)1 << 62) + 1;
	ck_assert_int_eq(quarry_posix_memalign(&kept, 24, 1), EINVAL);
	ck_assert_int_eq(quarry_posix_memalign(&kept, 4, 1), EINVAL);
	ck_assert_int_eq(quarry_posix_memalign(&kept, 0, 1), EINVAL);
	ck_assert_int_eq(quarry_posix_memalign(&kept, 64, SIZE_MAX / 2), ENOMEM);
	ck_assert_ptr_eq(kept, &kept);
	ck_assert_int_eq(quarry_posix_memalign(&kept, 64, 1), 0);
	ck_assert_uint_eq((uintptr_t)kept % 64, 0);
	ck_assert_ptr_null(quarry_aligned_alloc(too_much, 1));
	ck_assert_uint_eq(quarry_usable_size(quarry_pvalloc(1)) % (size_t)sysconf(_SC_PAGESIZE), 0);
	ck_assert_uint_eq((uintptr_t)quarry_valloc(1) % (size_t)sysconf(_SC_PAGESIZE), 0);
}
END_TEST

START_TEST(realloc_keeps_what_fits)
{
	uint64_t seed = 5;
	char *block = NULL;
	size_t nbytes = 0;
	for (unsigned step = 0; step < 3000; step++) {
		size_t most = step % 7 == 0 ? 2 * LARGE : step % 3 == 0 ? 2 * SPAN : 500;
		size_t wanted = 1 + random_below(&seed, most);
		char *moved = quarry_realloc(block, wanted);
		expect(moved != NULL && quarry_usable_size(moved) >= wanted);
		expect(is_filled(moved, nbytes < wanted ? nbytes : wanted, (char)(step - 1)));
		block = moved;
		nbytes = wanted;
		fill(block, nbytes, (char)step);
	}
	ck_assert_ptr_null(quarry_realloc(block, 0));
	ck_assert(claim_visit(CLAIM_ALL));
	struct quarry_stats stats;
	quarry_stats_get(&stats, sizeof(stats));
	ck_assert_uint_eq(stats.live, 0);
}
END_TEST

/* A block that shrinks by a quarter or less stays. */
START_TEST(small_changes_do_not_move)
{
	char *block = quarry_malloc(256 - HARDEN_SEAL_NBYTES);
	ck_assert_ptr_eq(quarry_realloc(block, 192 - HARDEN_SEAL_NBYTES), block);
	ck_assert_ptr_eq(quarry_realloc(block, 256 - HARDEN_SEAL_NBYTES), block);
	ck_assert_ptr_ne(quarry_realloc(block, 191 - HARDEN_SEAL_NBYTES), block);
	block = quarry_malloc(SMALL);
	ck_assert_uint_eq(quarry_resize_in_place(block, SMALL), SMALL);
	ck_assert_uint_eq(quarry_resize_in_place(block, 1), QUARRY_HARDENED ? 1 : SMALL);
	ck_assert_uint_eq(quarry_resize_in_place(block, SMALL + 1), 0);
	ck_assert_uint_eq(quarry_resize_in_place(NULL, 1), 0);
	if (QUARRY_HARDENED) /* a span stays within its last page, behind which it is closed */
		return;
	char *span = quarry_malloc(LARGE_REQUEST_THRESHOLD / 2);
	size_t half = LARGE_REQUEST_THRESHOLD / 4;
	ck_assert_uint_eq(quarry_resize_in_place(span, half), quarry_good_size(half));
	ck_assert_ptr_eq(quarry_realloc(span, LARGE_REQUEST_THRESHOLD / 2), span);
}
END_TEST

START_TEST(calloc_clears)
{
	size_t sizes[] = {SMALL, sizeclass_limit, SPAN, LARGE};
	for (size_t i = 0; i < COUNT(sizes); i++)
		for (unsigned round = 0; round < 3; round++) {
			char *block = quarry_calloc(1, sizes[i]);
			expect(block != NULL && reads_as_zero(block, sizes[i]));
			memset(block, 1, sizes[i]);
			quarry_free(block);
		}
	volatile size_t half = SIZE_MAX / 2; /* the compiler warns of what it sees */
	errno = 0;
	ck_assert_ptr_null(quarry_calloc(half, 3));
	ck_assert_int_eq(errno, ENOMEM);
	ck_assert_ptr_null(quarry_reallocarray(NULL, half, 3));
}
END_TEST

START_TEST(refusal_changes_nothing)
{
	char *block = quarry_malloc(SMALL);
	fill(block, SMALL, 9);
	errno = 0;
	ck_assert_ptr_null(quarry_realloc(block, PTRDIFF_MAX));
	ck_assert_int_eq(errno, ENOMEM);
	kernel.most_mapped = 1;
	while (quarry_malloc(LARGE_REQUEST_THRESHOLD) != NULL)
		;
	ck_assert_ptr_null(quarry_realloc(block, LARGE));
	ck_assert(is_filled(block, SMALL, 9));
	errno = 5;
	quarry_free(block);
	ck_assert_int_eq(errno, 5);
}
END_TEST

int main(void)
{
	without_quarantine();
	Suite *suite = suite_create("quarry");
	TCase *tcase = new_case(suite, "quarry");
	tcase_add_test(tcase, a_good_size_is_what_one_gets);
	tcase_add_test(tcase, any_alignment);
	tcase_add_test(tcase, realloc_keeps_what_fits);
	tcase_add_test(tcase, small_changes_do_not_move);
	tcase_add_test(tcase, calloc_clears);
	tcase_add_test(tcase, refusal_changes_nothing);
	return run_suite(suite);
}
