/* SPDX-License-Identifier: MIT */
/*
 * check_stats: sums that hold, counters that tell, sizes of the caller's struct, and the summary.
 */
#include "heaps.h"

#include "arena_list.h"
#include "large.h"
#include "machine.h"
#include "options.h"
#include "span.h"

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
		size_t good = counted_nbytes(lot.nbytes);
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
		ck_assert_uint_eq(stats.large_kept, round == 3 && !QUARRY_HARDENED ? lot.n * good : 0);
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

/* --- nodes -------------------------------------------------------------------------------------------------------- */

static struct quarry_node_stats get_node(unsigned node)
{
	struct quarry_node_stats stats;
	expect(quarry_node_stats_get(node, &stats, sizeof(stats)) == 0);
	return stats;
}

/* Whose pools lie on a node is not known then, and no live block is called free. */
START_TEST(by_interleave_pools_count_as_used)
{
	static struct lot lot = {.nbytes = SMALL, .n = LOT_MOST};
	options_parse("numa:interleave");
	make_machine(2);
	lot_allocate(&lot);
	for (unsigned node = 0; node < 2; node++) {
		struct quarry_node_stats stats = get_node(node);
		ck_assert_uint_ge(stats.used, lot.n * SMALL_BLOCK / 2 - POOL_SIZE);
		ck_assert_uint_lt(stats.free_dirty, POOL_SIZE);
	}
	lot_free(&lot);
}
END_TEST

START_TEST(each_node_has_its_own_figures)
{
	struct lot *lots = malloc(3 * sizeof(*lots));
	make_machine(3);
	run_on(0);
	for (unsigned node = 0; node < 3; node++) {
		ck_assert_int_eq(quarry_thread_node_set(OS(node)), 0);
		lots[node] = (struct lot){.nbytes = SMALL, .n = 1000 * (node + 1)};
		lot_allocate(&lots[node]);
		expect(quarry_malloc(SPAN) != NULL && (node == 1 || quarry_malloc(LARGE) != NULL));
	}
	struct quarry_stats all = get();
	uint64_t live = 0, cached = 0, dirty = 0, clean = 0, arenas = 0;
	for (unsigned node = 0; node < 3; node++) {
		struct quarry_node_stats stats = get_node(node);
		uint64_t expected = 1000 * (node + 1) * SMALL_BLOCK + counted_nbytes(SPAN);
		ck_assert_uint_eq(stats.version, QUARRY_NODE_STATS_VERSION);
		ck_assert_int_eq(stats.os_node, OS(node));
		ck_assert_uint_eq(stats.large_live, node == 1 ? 0 : counted_nbytes(LARGE));
		ck_assert_uint_eq(stats.live, expected + stats.large_live);
		ck_assert_uint_ge(stats.used, stats.live - stats.large_live + stats.cached);
		ck_assert_uint_ge(stats.arenas, 1);
		ck_assert_uint_eq(stats.mapped, stats.arenas * ARENA_SIZE + stats.large_live);
		ck_assert_uint_eq(stats.migrations + stats.spills + stats.remote_sent + stats.remote_received, 0);
		live += stats.live;
		cached += stats.cached;
		dirty += stats.free_dirty;
		clean += stats.free_clean;
		arenas += stats.arenas;
	}
	ck_assert_uint_eq(all.live, live);
	ck_assert_uint_eq(all.cached, cached);
	ck_assert_uint_eq(all.free_dirty, dirty);
	ck_assert_uint_eq(all.free_clean, clean);
	ck_assert_uint_eq(all.arenas, arenas);
	ck_assert_uint_eq(all.nodes, 3);
	free(lots);
}
END_TEST

START_TEST(what_goes_between_nodes_is_counted)
{
	make_machine(3);
	run_on(0);
	thread_heap();
	lot = (struct lot){.nbytes = SMALL, .n = 3000};
	for (size_t i = 0; i < lot.n; i++)
		expect((lot.block[i] = quarry_malloc_on_node(SMALL, OS(2))) != NULL);
	for (size_t i = 0; i < lot.n; i++)
		quarry_free(lot.block[i]);
	ck_assert(claim_visit(CLAIM_ALL));
	ck_assert_uint_eq(get_node(0).remote_sent, lot.n);
	ck_assert_uint_eq(get_node(2).remote_received, lot.n);
	ck_assert_uint_eq(get_node(2).remote_sent + get_node(0).remote_received, 0);
	ck_assert_uint_eq(get_node(2).live + get_node(2).cached, 0);
	run_on(1);
	lot_pass(&lot);
	ck_assert_uint_eq(get_node(1).migrations, 1);
	expect(arena_list_retire(2, 0, 0, true) || get_node(2).free_dirty > 0);
	quarry_trim(0);
	ck_assert_uint_eq(get_node(2).arenas, 0);
	ck_assert_uint_ge(get_node(2).arenas_retired, 1);
}
END_TEST

START_TEST(a_node_that_is_none_has_no_figures)
{
	struct quarry_node_stats stats = {.os_node = 77, .arenas = 78};
	struct quarry_node_residency residency;
	errno = 0;
	ck_assert_int_eq(quarry_node_stats_get(1, &stats, sizeof(stats)), -1);
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_int_eq(quarry_node_stats_get(0, NULL, sizeof(stats)), -1);
	ck_assert_int_eq(quarry_node_stats_get(0, &stats, offsetof(struct quarry_node_stats, arenas) - 1), -1);
	ck_assert_int_eq(quarry_node_residency(1, &residency, sizeof(residency)), -1);
	ck_assert_int_eq(stats.os_node, 77);
	ck_assert_int_eq(quarry_node_stats_get(0, &stats, offsetof(struct quarry_node_stats, arenas)), 0);
	ck_assert_int_eq(stats.os_node, -1);
	ck_assert_uint_eq(stats.arenas, 78);
}
END_TEST

/* Asked of the kernel: all pages that were touched, and no other. On one node they are there or, unknown, elsewhere. */
START_TEST(resident_pages_are_counted_by_the_kernel)
{
	struct quarry_node_residency before, after;
	char *span = quarry_malloc(SPAN), *large = quarry_malloc(LARGE);
	size_t page = (size_t)sysconf(_SC_PAGESIZE), npages = 0;
	if (quarry_node_residency(0, &before, sizeof(before)) != 0)
		return; /* a sandbox that does not let us ask, or an emulator */
	ck_assert_uint_eq(before.page_size, page);
	for (size_t i = 0; i < LARGE - page; i += 3 * page, npages++)
		large[i] = 1;
	ck_assert_int_eq(quarry_node_residency(0, &after, sizeof(after)), 0);
	ck_assert_uint_eq(after.here + after.elsewhere, before.here + before.elsewhere + npages);
	ck_assert_uint_eq(after.absent, before.absent - npages);
	ck_assert_uint_eq((after.here + after.elsewhere + after.absent) * page, ARENA_SIZE + large_good_size(LARGE));
	if (after.os_node < 0)
		ck_assert_uint_eq(after.here, 0);
	quarry_free(span);
	quarry_free(large);
}
END_TEST

START_TEST(the_summary_has_a_line_per_node)
{
	char text[8192] = "";
	int ends[2];
	ck_assert_int_eq(pipe(ends), 0);
	make_machine(16);
	quarry_free(quarry_malloc(SMALL));
	ck_assert_int_eq(quarry_stats_print(ends[1]), 0);
	ck_assert_int_gt(read(ends[0], text, sizeof(text) - 1), 0);
	for (unsigned node = 0; node < 16; node++) {
		char name[16];
		snprintf(name, sizeof(name), "node %d ", OS(node));
		ck_assert_ptr_nonnull(strstr(text, name));
	}
}
END_TEST

int main(void)
{
	without_quarantine();
	Suite *suite = suite_create("stats");
	TCase *tcase = new_case(suite, "stats");
	tcase_add_test(tcase, everything_mapped_is_one_of_these);
	tcase_add_test(tcase, a_smaller_struct_gets_what_it_has_room_for);
	tcase_add_test(tcase, the_summary_is_written_without_allocating);
	tcase_add_test(tcase, each_node_has_its_own_figures);
	tcase_add_test(tcase, by_interleave_pools_count_as_used);
	tcase_add_test(tcase, what_goes_between_nodes_is_counted);
	tcase_add_test(tcase, a_node_that_is_none_has_no_figures);
	tcase_add_test(tcase, resident_pages_are_counted_by_the_kernel);
	tcase_add_test(tcase, the_summary_has_a_line_per_node);
	return run_suite(suite);
}
