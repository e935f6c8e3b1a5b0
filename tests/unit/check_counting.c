/* SPDX-License-Identifier: MIT */
/*
 * check_counting: what the program asked for, step by step to what is mapped. In a build that counts the figure must be
 * what this program knows, to the byte, by every call; and while the profile is on, the estimate must be near it, in
 * any build. Seeds are fixed.
 */
#include "heaps.h"

#include <math.h>

#include "arena_list.h"
#include "counting.h"
#include "quarry/cache.h"
#include "quarry/heap.h"
#include "quarry/profile.h"
#include "quarry/raw.h"
#include "sample.h"

#define SIGMAS 5
#define HELD 4000

static struct quarry_stats figures(void)
{
	struct quarry_stats stats;
	ck_assert_int_eq(quarry_stats_get(&stats, sizeof(stats)), 0);
	return stats;
}

/* Every step from requested to mapped; each gap is there once, and none is negative. */
static void expect_identity(const struct quarry_stats *stats)
{
	uint64_t units_used = 0, units_free = 0;
	ck_assert_uint_eq(stats->mapped,
	                  stats->live + stats->cached + stats->free_dirty + stats->free_clean + stats->metadata);
	ck_assert_uint_le(stats->requested + stats->slabs_idle, stats->live);
	ck_assert_uint_le(stats->pools_free + stats->large_kept, stats->free_dirty);
	for (struct arena_object *arena = arena_list_first(); arena != NULL; arena = arena_list_next(arena)) {
		uint64_t nfree = atomic_load(&arena->nfreepools);
		units_used += (arena->ntotalpools - nfree) * POOL_SIZE;
		units_free += nfree * POOL_SIZE;
	}
	ck_assert_uint_eq(stats->live - stats->large_live + stats->cached + stats->pools_free, units_used);
	ck_assert_uint_eq(stats->free_dirty - stats->pools_free - stats->large_kept + stats->free_clean, units_free);
}

/* --- exactly ------------------------------------------------------------------------------------------------------ */

static uint64_t base; /* of what the suite has got before */

static void expect_requested(uint64_t nbytes)
{
	struct quarry_stats stats = figures();
	expect_identity(&stats);
	ck_assert_uint_eq(stats.requested_kind, QUARRY_COUNTING ? QUARRY_REQUESTED_EXACT : QUARRY_REQUESTED_UNKNOWN);
	ck_assert_uint_eq(stats.requested, QUARRY_COUNTING ? base + nbytes : 0);
}

static void begin(void)
{
	thread_heap();
	base = figures().requested;
}

START_TEST(each_call_counts_what_was_asked_for)
{
	begin();
	void *block = quarry_malloc(100), *zeroed = quarry_calloc(7, 11), *aligned = quarry_aligned_alloc(64, 70);
	void *span = quarry_malloc(100001), *large = quarry_malloc(LARGE_REQUEST_THRESHOLD + 7), *least = quarry_malloc(0);
	void *raw = quarry_raw_malloc(33);
	expect_requested(100 + 77 + 70 + 100001 + LARGE_REQUEST_THRESHOLD + 7 + 1 + 33);
	quarry_free(zeroed);
	quarry_free_sized(block, 100);
	quarry_raw_free(raw);
	expect_requested(70 + 100001 + LARGE_REQUEST_THRESHOLD + 7 + 1);
	quarry_free(aligned);
	quarry_free(large);
	quarry_free(span);
	quarry_free(least);
	expect_requested(0);
}
END_TEST

START_TEST(a_block_that_changes_its_size_counts_anew)
{
	begin();
	char *block = NULL;
	const size_t sizes[] = {100, 97, 101, 5000, 4900, 60000, 59999, 61000, 3 * LARGE_REQUEST_THRESHOLD,
		3 * LARGE_REQUEST_THRESHOLD - 5, 9 * LARGE_REQUEST_THRESHOLD, 2 * LARGE_REQUEST_THRESHOLD, 70000, 20, 1};
	for (unsigned i = 0; i < COUNT(sizes); i++) {
		block = quarry_realloc(block, sizes[i]);
		ck_assert_ptr_nonnull(block);
		expect_requested(sizes[i]);
	}
	ck_assert_uint_gt(quarry_resize_in_place(block, 8), 0);
	expect_requested(8);
	void *none = quarry_realloc(block, 0);
	ck_assert_ptr_null(none);
	expect_requested(0);
}
END_TEST

START_TEST(heaps_and_typed_caches_count)
{
	begin();
	struct quarry_heap *heap = quarry_heap_create("counted", 0);
	void *small = quarry_heap_malloc(heap, 50), *span = quarry_heap_malloc(heap, 90001);
	ck_assert_ptr_nonnull(quarry_heap_malloc(heap, LARGE_REQUEST_THRESHOLD + 3));
	ck_assert_ptr_nonnull(quarry_heap_malloc(heap, 10));
	expect_requested(50 + 90001 + LARGE_REQUEST_THRESHOLD + 3 + 10);
	small = quarry_heap_realloc(heap, small, 500);
	quarry_heap_free(heap, span);
	expect_requested(500 + LARGE_REQUEST_THRESHOLD + 3 + 10);
	ck_assert_ptr_nonnull(small);
	quarry_heap_destroy(heap);
	expect_requested(0);

	struct quarry_cache *cache = quarry_cache_create("counted", 21, 8, NULL, NULL, 0);
	void *objects[30];
	for (unsigned i = 0; i < COUNT(objects); i++)
		ck_assert_ptr_nonnull(objects[i] = quarry_cache_alloc(cache));
	for (unsigned i = 0; i < 10; i++)
		quarry_cache_free(cache, objects[i]);
	struct quarry_stats stats = figures();
	expect_identity(&stats);
	struct quarry_cache_stats of_cache;
	quarry_cache_stats_get(cache, &of_cache, sizeof(of_cache));
	ck_assert_uint_eq(stats.slabs_idle, of_cache.slabs * of_cache.slab_size - 20 * 24);
	if (QUARRY_COUNTING) /* and the magazine, a block that Quarry asked for itself */
		ck_assert_uint_eq(stats.requested - base, counting_total() - base + 20 * 21);
}
END_TEST

/* --- by the profile ----------------------------------------------------------------------------------------------- */

struct known {
	double requested, usable, variance; /* of the estimate, to first order */
	size_t mean;
};

static void add_known(struct known *known, const size_t *sizes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		known->requested += (double)sizes[i];
		known->usable += (double)quarry_good_size(sizes[i]);
	}
	double part = known->requested / known->usable;
	for (size_t i = 0; i < n; i++) {
		double p = 1 - exp(-(double)sizes[i] / (double)known->mean);
		double off = (double)sizes[i] - part * (double)quarry_good_size(sizes[i]);
		known->variance += off * off * (1 - p) / p;
	}
}

/* What is live was all asked for while the profile is on, but for what the suite and its thread had before. */
START_TEST(the_estimate_is_near_what_was_asked_for)
{
	static size_t sizes[HELD];
	static void *held[HELD];
	uint64_t seed = 11;
	struct known known = {.mean = 4096};
	sample_seed(7);
	ck_assert_int_eq(quarry_profile_start(known.mean), 0);
	thread_heap();
	for (unsigned i = 0; i < HELD; i++) {
		sizes[i] = 1 + random_below(&seed, i % 50 == 0 ? 40000 : i % 2 == 0 ? 40 : 900);
		ck_assert_ptr_nonnull(held[i] = quarry_malloc(sizes[i]));
	}
	add_known(&known, sizes, HELD);
	struct quarry_stats stats = figures();
	expect_identity(&stats);
	double estimate = (double)atomic_load(&sample_control.requested) / (double)atomic_load(&sample_control.usable);
	double off = fabs(estimate * known.usable - known.requested), bound = SIGMAS * sqrt(known.variance);
	ck_assert_msg(off <= bound, "%.0f of %.0f bytes off, more than %.0f", off, known.requested, bound);
	ck_assert_double_le(bound, 0.05 * known.requested); /* or it would say nothing */
	if (QUARRY_COUNTING)
		ck_assert_double_eq((double)stats.requested, known.requested + (double)base);
	else
		ck_assert_double_le(fabs((double)stats.requested - estimate * (double)stats.live), 1);
	ck_assert_uint_eq(stats.requested_kind,
	                  QUARRY_COUNTING ? QUARRY_REQUESTED_EXACT : QUARRY_REQUESTED_ESTIMATED);
	for (unsigned i = 0; i < HELD; i++)
		quarry_free(held[i]);
	ck_assert_uint_eq(atomic_load(&sample_control.requested) + atomic_load(&sample_control.usable), 0);
	ck_assert_int_eq(quarry_profile_stop(), 0);
	stats = figures();
	expect_identity(&stats);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("counting");
	TCase *tcase = new_case(suite, "counting");
	tcase_add_test(tcase, each_call_counts_what_was_asked_for);
	tcase_add_test(tcase, a_block_that_changes_its_size_counts_anew);
	tcase_add_test(tcase, heaps_and_typed_caches_count);
	tcase_add_test(tcase, the_estimate_is_near_what_was_asked_for);
	return run_suite(suite);
}
