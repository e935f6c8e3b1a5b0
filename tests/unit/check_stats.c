/* SPDX-License-Identifier: MIT */
/*
 * check_stats: sums that hold, counters that tell, sizes of the caller's struct, and the summary.
 */
#include "heaps.h"

#define LARGE (LARGE_REQUEST_THRESHOLD + 1)

static struct lot lot;

static struct quarry_stats get(void)
{
	struct quarry_stats stats;
	expect(quarry_stats_get(&stats, sizeof(stats)) == 0);
	return stats;
}

/* mapped = live + cached + free + metadata */
static void expect_sum(const struct quarry_stats *stats)
{
	ck_assert_uint_eq(stats->mapped,
	                  stats->live + stats->cached + stats->free_dirty + stats->free_clean + stats->metadata);
}

START_TEST(everything_mapped_is_one_of_these)
{
	struct actor actor;
	struct quarry_stats stats = get();
	expect_sum(&stats);
	ck_assert_uint_eq(stats.live, 0);
	actor_begin(&actor);
	for (unsigned round = 0; round < 4; round++) {
		lot.nbytes = round == 3 ? LARGE : round == 2 ? SPAN : SMALL;
		lot.n = round == 0 ? 5000 : 10;
		size_t good = quarry_good_size(lot.nbytes);
		uint64_t before = get().live;
		lot_allocate(&lot);
		stats = get();
		expect_sum(&stats);
		ck_assert_uint_eq(stats.live - before, lot.n * good);
		ck_assert_uint_eq(stats.large_live, round == 3 ? lot.n * good : 0);
		actor_do(&actor, lot_free, &lot);
		stats = get();
		expect_sum(&stats);
		ck_assert_uint_eq(stats.live, before);
		ck_assert_uint_eq(stats.large_kept, round == 3 ? lot.n * good : 0);
	}
	ck_assert_uint_gt(stats.remote_frees, 0);
	ck_assert_uint_eq(stats.heaps_attached, 2);
	ck_assert_uint_eq(stats.heaps, 3);
	actor_end(&actor);
	quarry_trim(0);
	stats = get();
	expect_sum(&stats);
	ck_assert_uint_eq(stats.heaps_attached, 1);
	ck_assert_uint_eq(stats.cached + stats.live + stats.free_dirty, 0);
	ck_assert_uint_gt(stats.purged, 0);
	ck_assert_uint_gt(stats.purge_calls, 0);
	ck_assert_uint_eq(stats.arenas, stats.arenas_mapped - stats.arenas_retired);
}
END_TEST

START_TEST(a_smaller_struct_gets_what_it_has_room_for)
{
	struct quarry_stats stats;
	quarry_free(quarry_malloc(1));
	memset(&stats, 0x5a, sizeof(stats));
	errno = 0;
	ck_assert_int_eq(quarry_stats_get(&stats, offsetof(struct quarry_stats, mapped) - 1), -1);
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_int_eq(quarry_stats_get(NULL, sizeof(stats)), -1);
	ck_assert_int_eq(quarry_stats_get(&stats, offsetof(struct quarry_stats, live)), 0);
	ck_assert_uint_eq(stats.version, QUARRY_STATS_VERSION);
	ck_assert_uint_eq(stats.nodes, 1);
	ck_assert_uint_gt(stats.mapped, 0);
	ck_assert_uint_eq(stats.live, UINT64_C(0x5a5a5a5a5a5a5a5a));
	struct {
		struct quarry_stats stats;
		uint64_t behind;
	} newer = {.behind = 77};
	ck_assert_int_eq(quarry_stats_get(&newer.stats, sizeof(newer)), 0);
	ck_assert_uint_eq(newer.behind, 77);
}
END_TEST

START_TEST(the_summary_is_written_without_allocating)
{
	char text[4096] = "";
	int ends[2];
	lot = (struct lot){.nbytes = SMALL, .n = 100};
	lot_pass(&lot);
	ck_assert_int_eq(pipe(ends), 0);
	struct quarry_stats before = get();
	ck_assert_int_eq(quarry_stats_print(ends[1]), 0);
	struct quarry_stats after = get();
	ck_assert_int_eq(memcmp(&before, &after, sizeof(before)), 0);
	ck_assert_int_gt(read(ends[0], text, sizeof(text) - 1), 0);
	const char *words[] = {"Quarry", quarry_version(), "mapped", "live", "cached",
	                       "free", "clean", "arenas", "heaps"};
	for (size_t i = 0; i < COUNT(words); i++)
		ck_assert_ptr_nonnull(strstr(text, words[i]));
	close(ends[0]);
	signal(SIGPIPE, SIG_IGN);
	ck_assert_int_eq(quarry_stats_print(ends[1]), -1);
	ck_assert_int_eq(errno, EPIPE);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("stats");
	TCase *tcase = new_case(suite, "stats");
	tcase_add_test(tcase, everything_mapped_is_one_of_these);
	tcase_add_test(tcase, a_smaller_struct_gets_what_it_has_room_for);
	tcase_add_test(tcase, the_summary_is_written_without_allocating);
	return run_suite(suite);
}
