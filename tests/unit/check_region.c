/* SPDX-License-Identifier: MIT */
/*
 * check_region: heaps of quarry/heap.h. Every kind of block, all gone at once; the limit to the byte; the plain calls
 * on their blocks; other threads, forks, visits and walks; misuses.
 */
#include "heaps.h"

#include "address_map.h"
#include "arena_list.h"
#include "kernel.h"
#include "large.h"
#include "quarry/raw.h"
#include "region.h"
#include "span.h"

#define LARGE (LARGE_REQUEST_THRESHOLD + 1)
#define MANY 20000

static void *blocks[MANY];

static struct quarry_heap_stats stats_of(struct quarry_heap *heap)
{
	struct quarry_heap_stats stats;
	expect(quarry_heap_stats_get(heap, &stats, sizeof stats) == 0);
	return stats;
}

static struct quarry_heap *make(size_t limit)
{
	struct quarry_heap *heap = quarry_heap_create("test", limit);
	expect(heap != NULL);
	return heap;
}

/* What a heap counts for a block, by its request or by what may be used of it: small ones have no seals. */
static size_t counted(size_t nbytes)
{
	return nbytes <= sizeclass_limit ? sizeclass_nbytes(sizeclass_of(nbytes)) : counted_nbytes(nbytes);
}

static size_t usable_of(size_t nbytes)
{
	return nbytes <= sizeclass_limit ? counted(nbytes) : quarry_good_size(nbytes);
}

static size_t used_units(void)
{
	span_release_held();
	size_t used = 0;
	for (struct arena_object *arena = arena_list_first(); arena != NULL; arena = arena_list_next(arena))
		used += arena->ntotalpools - arena->nfreepools;
	return used;
}

/* All kinds of blocks, every third of them freed again. Returns their number. */
static size_t fill(struct quarry_heap *heap)
{
	size_t n = 0;
	for (size_t nbytes = 0; nbytes < 2 * LARGE; nbytes += 1 + nbytes / 5)
		for (int i = 0; i < (nbytes < 2000 ? 40 : 3); i++, n++) {
			char *block = i % 2 == 0 ? quarry_heap_malloc(heap, nbytes)
						 : quarry_heap_calloc(heap, nbytes, 1);
			expect(block != NULL && (uintptr_t)block % 16 == 0);
			expect(i % 2 == 0 || reads_as_zero(block, nbytes));
			expect(quarry_usable_size(block) == usable_of(nbytes));
			expect(quarry_heap_of(block) == heap && quarry_owns(block));
			memset(block, (int)n, nbytes < 5000 ? nbytes : 5000);
			blocks[n] = block;
		}
	for (size_t i = 0; i < n; i += 3) {
		quarry_heap_free(heap, blocks[i]);
		blocks[i] = NULL;
	}
	return n;
}

START_TEST(all_of_it_is_gone_at_once)
{
	quarry_free(quarry_malloc(1));
	for (int round = 0; round < 4; round++) {
		size_t units = used_units();
		int64_t out = out_nbytes();
		struct quarry_heap *heap = make(0);
		size_t n = fill(heap), live = 0, count = 0;
		for (size_t i = 0; i < n; i++)
			if (blocks[i] != NULL) {
				live += counted(quarry_usable_size(blocks[i]));
				count++;
			}
		struct quarry_heap_stats stats = stats_of(heap);
		ck_assert(stats.live == live && stats.blocks == count && stats.peak >= live);
		ck_assert(stats.allocations == n && strcmp(stats.tag, "test") == 0);
		ck_assert_ptr_eq(quarry_heap_next(NULL), heap);
		ck_assert_ptr_null(quarry_heap_next(heap));
		quarry_heap_destroy(heap);
		ck_assert_uint_eq(used_units(), units);
		ck_assert_int_eq(out_nbytes(), out);
		ck_assert(span_live_nbytes() == 0 && large_live_nbytes() == 0);
		ck_assert_ptr_null(quarry_heap_next(NULL));
	}
}
END_TEST

START_TEST(any_alignment)
{
	struct quarry_heap *heap = make(0);
	for (size_t alignment = 1; alignment <= 2 * LARGE_REQUEST_THRESHOLD; alignment *= 2)
		for (size_t nbytes = 0; nbytes < LARGE; nbytes = 3 * nbytes + 7) {
			char *block = quarry_heap_aligned_alloc(heap, alignment, nbytes);
			expect(block != NULL && (uintptr_t)block % alignment == 0 && quarry_usable_size(block) >= nbytes);
			expect(quarry_heap_of(block) == heap);
		}
	quarry_heap_destroy(heap);
	ck_assert(span_live_nbytes() == 0 && large_live_nbytes() == 0);
}
END_TEST

/* --- the limit ---------------------------------------------------------------------------------------------------- */

START_TEST(the_limit_is_exact)
{
	size_t sizes[] = {SMALL, SPAN, LARGE};
	for (size_t k = 0; k < COUNT(sizes); k++) {
		size_t each = counted(sizes[k]);
		struct quarry_heap *heap = make(10 * each);
		for (size_t i = 0; i < 10; i++)
			ck_assert_ptr_nonnull(blocks[i] = quarry_heap_malloc(heap, sizes[k]));
		errno = 0;
		void *volatile more = quarry_heap_malloc(heap, 0);
		ck_assert(more == NULL && errno == ENOMEM);
		struct quarry_heap_stats stats = stats_of(heap);
		ck_assert(stats.live == 10 * each && stats.peak == 10 * each && stats.refusals == 1);
		quarry_free(blocks[3]);
		ck_assert_ptr_nonnull(blocks[3] = quarry_heap_malloc(heap, sizes[k]));
		quarry_heap_limit(heap, 10 * each + counted(1));
		ck_assert_ptr_nonnull(quarry_heap_malloc(heap, 1));
		quarry_heap_limit(heap, each); /* what is there stays */
		quarry_free(blocks[3]);
		more = quarry_heap_malloc(heap, 1);
		ck_assert(more == NULL && stats_of(heap).live == 9 * each + counted(1));
		quarry_heap_destroy(heap);
	}
}
END_TEST

START_TEST(a_block_that_grows_counts_once)
{
	struct quarry_heap *heap = make(counted(3 * SPAN));
	char *block = quarry_heap_malloc(heap, 2 * SPAN);
	memset(block, 7, 2 * SPAN);
	block = quarry_heap_realloc(heap, block, 3 * SPAN); /* both would be above */
	ck_assert(block != NULL && block[2 * SPAN - 1] == 7);
	ck_assert_uint_eq(stats_of(heap).peak, counted(3 * SPAN));
	errno = 0;
	void *volatile more = quarry_heap_realloc(heap, block, 4 * SPAN);
	ck_assert(more == NULL && errno == ENOMEM && block[2 * SPAN - 1] == 7);
	block = quarry_heap_realloc(heap, block, 0);
	ck_assert(block != NULL && stats_of(heap).live == counted(1) && stats_of(heap).blocks == 1);
	quarry_heap_destroy(heap);
}
END_TEST

/* --- the plain calls ---------------------------------------------------------------------------------------------- */

START_TEST(the_plain_calls_know_its_blocks)
{
	size_t sizes[] = {0, SMALL, SPAN, LARGE};
	struct quarry_heap *heap = make(0);
	for (size_t k = 0; k < COUNT(sizes); k++)
		for (size_t j = 0; j < COUNT(sizes); j++) {
			char *block = quarry_heap_malloc(heap, sizes[k]);
			memset(block, (int)k, sizes[k]);
			ck_assert_ptr_eq(quarry_block_of(block + sizes[k] / 2, NULL), block);
			block = j % 2 == 0 ? quarry_realloc(block, sizes[j] + 1) : quarry_raw_realloc(block, sizes[j] + 1);
			ck_assert(block != NULL && quarry_heap_of(block) == heap);
			ck_assert(sizes[k] == 0 || block[0] == (char)k);
			size_t usable = quarry_usable_size(block);
			ck_assert(stats_of(heap).live == counted(usable) && stats_of(heap).blocks == 1);
			ck_assert_uint_eq(quarry_resize_in_place(block, usable + 1), 0);
			ck_assert_uint_eq(quarry_resize_in_place(block, 1), usable); /* it stays as it is */
			if (j % 2 == 0)
				quarry_free(block);
			else
				quarry_raw_free(block);
			ck_assert(stats_of(heap).live == 0 && stats_of(heap).blocks == 0);
		}
	void *block = quarry_heap_malloc(heap, SMALL), *freed = quarry_realloc(block, 0);
	ck_assert(freed == NULL && stats_of(heap).blocks == 0);
	quarry_heap_destroy(heap);
}
END_TEST

/* The thread wants blocks of the class, but not these. */
START_TEST(no_cache_keeps_its_blocks)
{
	struct quarry_heap *heap = make(0);
	for (size_t i = 0; i < 1000; i++) {
		blocks[i] = quarry_heap_malloc(heap, SMALL);
		quarry_free(quarry_malloc(SMALL));
	}
	unsigned cached = cached_blocks(slot.heap);
	for (size_t i = 0; i < 1000; i++)
		quarry_free(blocks[i]);
	ck_assert_uint_eq(cached_blocks(slot.heap), cached);
	ck_assert_uint_eq(stats_of(heap).blocks, 0);
	quarry_heap_destroy(heap);
}
END_TEST

/* --- threads, visits, forks, walks -------------------------------------------------------------------------------- */

static void free_some(void *from)
{
	for (void **block = from; block < (void **)from + MANY / 4; block++)
		quarry_free(*block);
}

START_TEST(others_free_its_blocks)
{
	struct quarry_heap *heap = make(0);
	struct actor actor[2];
	for (size_t i = 0; i < MANY; i++)
		expect((blocks[i] = quarry_heap_malloc(heap, i % 300)) != NULL);
	for (int i = 0; i < 2; i++) {
		actor_begin(&actor[i]);
		actor_tell(&actor[i], free_some, &blocks[i * (MANY / 4)]);
	}
	for (size_t i = MANY / 2; i < MANY; i += 2)
		quarry_heap_free(heap, blocks[i]);
	for (int i = 0; i < 2; i++)
		actor_wait(&actor[i]);
	ck_assert_uint_eq(stats_of(heap).blocks, MANY / 4);
	quarry_trim(0); /* visits take its empty pools, too */
	for (size_t i = MANY / 2 + 1; i < MANY; i += 2)
		expect(quarry_heap_of(blocks[i]) == heap);
	quarry_heap_destroy(heap);
	for (int i = 0; i < 2; i++)
		actor_end(&actor[i]);
}
END_TEST

START_TEST(a_child_has_all_of_it)
{
	struct quarry_heap *heap = make(0);
	size_t n = fill(heap);
	uint64_t live = stats_of(heap).live;
	bool fine = child_succeeds({
		child_expect(stats_of(heap).live == live);
		for (size_t i = 0; i < n; i += 2)
			quarry_free(blocks[i]);
		child_expect(quarry_heap_malloc(heap, SMALL) != NULL);
		quarry_heap_destroy(heap);
		child_expect(span_live_nbytes() == 0);
		child_expect(large_live_nbytes() == 0);
	});
	ck_assert(fine);
	ck_assert_uint_eq(stats_of(heap).live, live);
	quarry_heap_destroy(heap);
}
END_TEST

struct sum {
	const struct quarry_heap *heap;
	uint64_t blocks, nbytes;
};

static int add(const struct quarry_block *block, void *arg)
{
	struct sum *sum = arg;
	if (quarry_heap_of(block->address) == sum->heap) {
		sum->blocks++;
		sum->nbytes += counted(block->nbytes);
	}
	return 0;
}

START_TEST(a_walk_reports_its_blocks)
{
	struct quarry_heap *heap = make(0);
	struct sum sum = {.heap = heap};
	fill(heap);
	ck_assert_int_eq(quarry_walk(add, &sum), 0);
	ck_assert(sum.blocks == stats_of(heap).blocks && sum.nbytes == stats_of(heap).live);
	struct quarry_stats stats;
	quarry_stats_get(&stats, sizeof stats);
	ck_assert_uint_ge(stats.live, sum.nbytes);
	quarry_heap_destroy(heap);
}
END_TEST

/* --- misuse ------------------------------------------------------------------------------------------------------- */

START_TEST(misuses_are_reported)
{
	struct quarry_heap *heap = make(0), *other = make(0);
	void *strangers[] = {quarry_malloc(SMALL), quarry_heap_malloc(other, SMALL), quarry_heap_malloc(other, SPAN), &heap};
	for (size_t i = 0; i < COUNT(strangers); i++) {
		catch_begin();
		quarry_heap_free(heap, strangers[i]);
		ck_assert_ptr_nonnull(strstr(catch_end(), "no block of the heap"));
		catch_begin();
		void *volatile none = quarry_heap_realloc(heap, strangers[i], 1);
		ck_assert_ptr_null(none);
		ck_assert_ptr_nonnull(strstr(catch_end(), "no block of the heap"));
	}
	char *block = quarry_heap_malloc(heap, SMALL);
	ck_assert_ptr_nonnull(quarry_heap_malloc(heap, SMALL)); /* keeps the pool */
	catch_begin();
	quarry_free(block + 1);
	ck_assert_ptr_nonnull(strstr(catch_end(), "interior pointer"));
	quarry_free(block);
	catch_begin();
	quarry_free(block);
	ck_assert_ptr_nonnull(strstr(catch_end(), "double free"));
	ck_assert_uint_eq(stats_of(heap).blocks, 1);
	block = quarry_heap_malloc(heap, SMALL);
	quarry_heap_destroy(heap);
	catch_begin();
	quarry_free(block);
	ck_assert_ptr_nonnull(strstr(catch_end(), "free of a foreign pointer"));
	catch_begin();
	void *volatile none = quarry_heap_malloc(heap, 1);
	ck_assert_ptr_null(none);
	ck_assert_ptr_nonnull(strstr(catch_end(), "no heap"));
	catch_begin();
	quarry_heap_destroy(heap);
	ck_assert_ptr_nonnull(strstr(catch_end(), "double destroy"));
	quarry_heap_destroy(other);
}
END_TEST

START_TEST(records_are_used_again)
{
	size_t count = 0;
	for (int i = 0; i < 1000; i++)
		quarry_heap_destroy(make(0));
	for (struct heap *heap = heap_first(); heap != NULL; heap = heap_next(heap))
		count += heap->id >= WORD_REGION_OWNERS;
	ck_assert_uint_eq(count, 1);
	struct quarry_heap *heaps[300];
	for (size_t i = 0; i < COUNT(heaps); i++) {
		heaps[i] = make(0);
		blocks[i] = quarry_heap_malloc(heaps[i], SMALL);
	}
	for (size_t i = 0; i < COUNT(heaps); i++)
		expect(quarry_heap_of(blocks[i]) == heaps[i]);
	for (size_t i = 0; i < COUNT(heaps); i++)
		quarry_heap_destroy(heaps[i]);
	struct quarry_heap_stats stats;
	ck_assert(quarry_heap_stats_get(make(0), &stats, 4) == -1 && errno == EINVAL);
	volatile size_t many = SIZE_MAX / 2;
	ck_assert(quarry_heap_calloc(make(0), many, 3) == NULL && errno == ENOMEM);
	errno = 0;
	ck_assert(quarry_heap_malloc(make(0), many) == NULL && errno == ENOMEM);
}
END_TEST

int main(void)
{
	without_quarantine();
	Suite *suite = suite_create("region");
	TCase *tcase = new_case(suite, "blocks");
	tcase_add_test(tcase, all_of_it_is_gone_at_once);
	tcase_add_test(tcase, any_alignment);
	tcase_add_test(tcase, the_limit_is_exact);
	tcase_add_test(tcase, a_block_that_grows_counts_once);
	tcase_add_test(tcase, the_plain_calls_know_its_blocks);
	tcase_add_test(tcase, no_cache_keeps_its_blocks);
	tcase = new_case(suite, "others");
	tcase_add_test(tcase, others_free_its_blocks);
	tcase_add_test(tcase, a_child_has_all_of_it);
	tcase_add_test(tcase, a_walk_reports_its_blocks);
	tcase_add_test(tcase, misuses_are_reported);
	tcase_add_test(tcase, records_are_used_again);
	return run_suite(suite);
}
