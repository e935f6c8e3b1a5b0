/* SPDX-License-Identifier: MIT */
/*
 * check_entry: which way a request and a free go, at the limits between small, span and large; and misuse at the door.
 */
#include "heaps.h"

#include "claim.h"
#include "entry.h"
#include "kernel.h"
#include "large.h"
#include "span.h"

#define LARGE (LARGE_REQUEST_THRESHOLD + 1)

static struct lot lot;

START_TEST(sizes_find_their_way)
{
	const size_t small[] = {0, 1, ALIGNMENT, TABLE_LIMIT, sizeclass_limit - HARDEN_SEAL_NBYTES};
	for (size_t i = 0; i < COUNT(small); i++) {
		void *block = entry_malloc(small[i]);
		ck_assert(word_is_pool(address_map_word(block)));
		ck_assert_uint_eq(word_szidx(address_map_word(block)), sizeclass_of(small[i] + HARDEN_SEAL_NBYTES));
	}
	const size_t spans[] = {sizeclass_limit - HARDEN_SEAL_NBYTES + 1, LARGE_REQUEST_THRESHOLD};
	for (size_t i = 0; i < COUNT(spans); i++)
		ck_assert_uint_eq(address_map_word(entry_malloc(spans[i])), WORD_SPAN);
	char *large = entry_malloc(LARGE);
	ck_assert_uint_eq(large_usable(large), QUARRY_HARDENED ? LARGE : large_good_size(LARGE));
	errno = 0;
	ck_assert_ptr_null(entry_malloc(PTRDIFF_MAX));
	ck_assert_int_eq(errno, ENOMEM);
	ck_assert_ptr_null(entry_malloc(SIZE_MAX));
}
END_TEST

START_TEST(blocks_find_their_way_back)
{
	void *block = entry_malloc(SMALL), *span = entry_malloc(SPAN), *large = entry_malloc(LARGE);
	entry_free(NULL);
	entry_free(block);
	ck_assert_ptr_eq(slot.heap->cache.head[SMALL_SZIDX], block);
	entry_free(span);
	ck_assert_uint_eq(span_live_nbytes(), 0);
	entry_free_sized(large, QUARRY_HARDENED ? LARGE : 1); /* the size is not trusted; hardened, it must be right */
	ck_assert_uint_eq(large_live_nbytes(), 0);
}
END_TEST

START_TEST(what_lies_idle_serves_when_the_system_refuses)
{
	struct actor actor;
	thread_heap();
	actor_begin(&actor);
	lot = (struct lot){.nbytes = SMALL, .n = LOT_MOST};
	actor_do(&actor, lot_pass, &lot);
	void *large = entry_malloc(LARGE);
	entry_free(large);
	kernel.most_mapped = 1;
	size_t n = 0;
	for (void *last = NULL, *block; (block = entry_malloc(LARGE_REQUEST_THRESHOLD / 2)) != NULL; last = block, n++)
		ck_assert_ptr_ne(block, last);
	ck_assert_int_eq(errno, ENOMEM);
	ck_assert_ptr_null(entry_malloc(LARGE));
	ck_assert_uint_eq(large_kept_nbytes(), 0);
	kernel.most_mapped = 0;
	ck_assert_ptr_nonnull(entry_malloc(LARGE));
	ck_assert_ptr_nonnull(entry_malloc(SMALL));
	actor_end(&actor);
}
END_TEST

/* --- misuse ------------------------------------------------------------------------------------------------------- */

static const char *complaint(void *ptr)
{
	catch_begin();
	entry_free(ptr);
	return catch_end();
}

START_TEST(misuse_is_seen_at_the_door)
{
	static char foreign[64];
	const bool at_once = QUARRY_BLOCK_BITS || claim_is_locked_mode();
	char *block = entry_malloc(SMALL), *span = entry_malloc(SPAN + POOL_SIZE), *large = entry_malloc(LARGE);
	ck_assert_ptr_nonnull(strstr(complaint(foreign + 16), "foreign"));
	ck_assert_ptr_nonnull(strstr(complaint(block + 1), "interior"));
	ck_assert_ptr_nonnull(strstr(complaint(span + 16), "interior"));
	ck_assert_ptr_nonnull(strstr(complaint(span + POOL_SIZE), "interior"));
	ck_assert_str_ne(complaint(large + POOL_SIZE), "");
	entry_free(span);
	entry_free(large);
	ck_assert_str_ne(complaint(span), "");
	ck_assert_str_ne(complaint(large), "");
	ck_assert_str_eq(complaint(block), "");
	ck_assert_int_eq(strstr(complaint(block), "double free") != NULL, at_once);
	ck_assert_ptr_eq(entry_malloc(SMALL), block);
	catch_begin();
	ck_assert_ptr_ne(entry_malloc(SMALL), block);
	ck_assert_int_eq(strstr(catch_end(), "double free") != NULL, !at_once);
}
END_TEST

static void free_twice(void *arg)
{
	slot.heap->classes[SMALL_SZIDX].allocates = (uint8_t)(lot.n > 1);
	entry_free(lot.block[0]);
	*(bool *)arg = strstr(complaint(lot.block[0]), "double free") != NULL;
}

START_TEST(anothers_block_freed_twice)
{
	struct actor actor;
	bool seen = false;
	lot = (struct lot){.nbytes = SMALL, .n = 1 + (size_t)_i};
	lot_allocate(&lot);
	actor_begin(&actor);
	heap_of_actor(&actor);
	actor_do(&actor, free_twice, &seen);
	actor_end(&actor);
	ck_assert(seen || claim_is_locked_mode());
}
END_TEST

int main(void)
{
	without_quarantine();
	Suite *suite = suite_create("entry");
	TCase *tcase = new_case(suite, "entry");
	tcase_add_test(tcase, sizes_find_their_way);
	tcase_add_test(tcase, blocks_find_their_way_back);
	tcase_add_test(tcase, what_lies_idle_serves_when_the_system_refuses);
	tcase_add_test(tcase, misuse_is_seen_at_the_door);
	tcase_add_loop_test(tcase, anothers_block_freed_twice, 0, 2);
	return run_suite(suite);
}
