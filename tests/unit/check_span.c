/* SPDX-License-Identifier: MIT */
/*
 * check_span: sizes to the page, words, growing and shrinking in place, and what is counted.
 */
#include "unit.h"

#include "address_map.h"
#include "arena_list.h"
#include "fence.h"
#include "os.h"
#include "span.h"

static size_t units_of(size_t nbytes)
{
	return (nbytes + POOL_SIZE - 1) / POOL_SIZE;
}

static char *make(size_t nbytes, size_t alignment)
{
	bool zeroed;
	char *span = span_alloc(0, nbytes, alignment, &zeroed);
	expect(span != NULL && (uintptr_t)span % alignment == 0);
	return span;
}

START_TEST(sizes_are_rounded_by_less_than_an_eighth)
{
	for (size_t nbytes = SPAN_REQUEST_THRESHOLD + 1; nbytes <= LARGE_REQUEST_THRESHOLD; nbytes += 1 + nbytes / 37) {
		size_t good = span_good_size(nbytes);
		expect(good >= nbytes && good - nbytes < os_page_size());
		expect(QUARRY_HARDENED || 8 * (good - nbytes) < nbytes); /* or up to the closed page behind it */
		expect(good % 16 == 0 && span_good_size(good) == good);
		expect((good - 1) / POOL_SIZE == (nbytes - 1) / POOL_SIZE); /* nor by a unit more, whatever a page has */
	}
	ck_assert_uint_eq(span_good_size(LARGE_REQUEST_THRESHOLD), LARGE_REQUEST_THRESHOLD);
}
END_TEST

START_TEST(words_and_header_say_what_it_is)
{
	bool zeroed = false;
	ck_assert_ptr_null(span_alloc(0, POOL_SIZE, 16, &zeroed)); /* no arena yet */
	ck_assert(arena_list_grow(0));
	size_t nbytes = 3 * POOL_SIZE + 100;
	char *span = span_alloc(0, nbytes, 16, &zeroed);
	ck_assert(zeroed && reads_as_zero(span, nbytes));
	ck_assert_uint_eq(address_map_word(span), WORD_SPAN);
	for (size_t unit = 1; unit < 4; unit++)
		ck_assert_uint_eq(address_map_word(span + unit * POOL_SIZE), WORD_SPAN_REST);
	ck_assert_uint_eq(span_usable(span), QUARRY_HARDENED ? nbytes : span_good_size(nbytes));
	ck_assert_uint_eq(span_live_nbytes(), span_good_size(nbytes));
	for (size_t offset = 0; offset < 4 * POOL_SIZE; offset += 100)
		ck_assert_ptr_eq(span_start(span + offset), span);
	span_free(span);
	ck_assert_uint_eq(span_live_nbytes(), 0);
	for (size_t unit = 0; unit < 4; unit++)
		ck_assert_uint_eq(address_map_word(span + unit * POOL_SIZE), 0);
	ck_assert_int_eq(os_is_readable(span), !QUARRY_HARDENED);
	span_release_held(); /* hardened, it waits */
	bool keeps_pages = !QUARRY_HARDENED || nbytes <= FENCE_WIPE_NBYTES;
	ck_assert_uint_eq(arena_list_dirty_nbytes(), keeps_pages ? 4 * POOL_SIZE : 0);
	ck_assert_ptr_eq(span_alloc(0, nbytes, 16, &zeroed), span);
	ck_assert_int_eq(zeroed, !keeps_pages);
}
END_TEST

START_TEST(any_alignment_up_to_the_largest_size)
{
	ck_assert(arena_list_grow(0));
	for (size_t alignment = 16; alignment <= LARGE_REQUEST_THRESHOLD; alignment *= 2) {
		char *span = make(SPAN_REQUEST_THRESHOLD + 1, alignment), *other = make(1, alignment);
		ck_assert_ptr_eq(span_start(other), other);
		span_free(other);
		span_free(span);
	}
	span_free(make(LARGE_REQUEST_THRESHOLD, LARGE_REQUEST_THRESHOLD));
}
END_TEST

START_TEST(it_grows_into_free_units_only)
{
	ck_assert(arena_list_grow(0));
	char *span = make(POOL_SIZE, 16), *next = make(2 * POOL_SIZE, 16);
	ck_assert_ptr_eq(next, span + POOL_SIZE);
	ck_assert(!span_resize(span, POOL_SIZE + 1));
	ck_assert_uint_eq(span_usable(span), POOL_SIZE);
	span_free(next);
	memset(span, 1, POOL_SIZE);
	ck_assert(span_resize(span, 2 * POOL_SIZE + 1));
	ck_assert_uint_eq(span_usable(span), span_good_size(2 * POOL_SIZE + 1));
	ck_assert_uint_eq(span_live_nbytes(), span_usable(span));
	ck_assert_uint_eq(address_map_word(span + 2 * POOL_SIZE), WORD_SPAN_REST);
	ck_assert_uint_eq(address_map_word(span + 3 * POOL_SIZE), 0);
	ck_assert(span_resize(span, POOL_SIZE - 50)); /* shrinks */
	ck_assert_uint_eq(span_usable(span), span_good_size(POOL_SIZE - 50));
	ck_assert_uint_eq(span_live_nbytes(), span_usable(span));
	ck_assert_uint_eq(address_map_word(span + POOL_SIZE), 0);
	ck_assert_uint_eq(arena_list_dirty_nbytes(), 2 * POOL_SIZE);
	for (size_t i = 0; i < POOL_SIZE - 50; i++)
		expect(span[i] == 1);
	span_free(span);
	ck_assert_uint_eq(arena_list_dirty_nbytes(), 3 * POOL_SIZE);
}
END_TEST

START_TEST(it_does_not_grow_over_the_arenas_end)
{
	ck_assert(arena_list_grow(0));
	ck_assert(arena_list_grow(0));
	char *last = make(POOL_SIZE, 16);
	while (arena_unit_of(last) != ARENA_UNITS - 1)
		last = make(POOL_SIZE, 16);
	ck_assert(!span_resize(last, 2 * POOL_SIZE));
	ck_assert_uint_eq(span_usable(last), POOL_SIZE);
	ck_assert_uint_eq(units_of(span_usable(last)), 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("span");
	TCase *tcase = new_case(suite, "span");
	tcase_add_test(tcase, sizes_are_rounded_by_less_than_an_eighth);
	tcase_add_test(tcase, words_and_header_say_what_it_is);
	tcase_add_test(tcase, any_alignment_up_to_the_largest_size);
	if (!QUARRY_HARDENED) { /* where a closed unit lies behind it */
		tcase_add_test(tcase, it_grows_into_free_units_only);
		tcase_add_test(tcase, it_does_not_grow_over_the_arenas_end);
	}
	return run_suite(suite);
}
