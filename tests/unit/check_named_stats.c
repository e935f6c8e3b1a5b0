/* SPDX-License-Identifier: MIT */
/*
 * check_named_stats: typed caches and heaps in the statistics, summed up by name.
 */
#include "heaps.h"

#include "named_stats.h"
#include "quarry/cache.h"
#include "quarry/heap.h"
#include "quarry/stats.h"

static char output[32768];

static const char *written(int (*write_stats)(int fd))
{
	int file = memfd_create("stats", MFD_CLOEXEC);
	ck_assert_int_eq(write_stats(file), 0);
	ssize_t n = pread(file, output, sizeof output - 1, 0);
	output[n > 0 ? n : 0] = 0;
	close(file);
	return output;
}

START_TEST(nothing_where_there_is_none)
{
	ck_assert_ptr_null(strstr(written(quarry_stats_print), "typed cache"));
	ck_assert_ptr_null(strstr(written(quarry_stats_print), "heap  "));
	ck_assert_ptr_null(strstr(written(quarry_stats_prometheus), "quarry_heap_live"));
}
END_TEST

START_TEST(names_are_summed_up)
{
	struct quarry_cache *cache = quarry_cache_create("points", 24, 0, NULL, NULL, 0);
	struct quarry_heap *one = quarry_heap_create("request", 100), *other = quarry_heap_create("te\"nant", 0),
			   *two = quarry_heap_create("request", 1000);
	ck_assert(quarry_cache_alloc(cache) != NULL && quarry_cache_alloc(cache) != NULL);
	ck_assert(quarry_heap_malloc(one, 64) != NULL && quarry_heap_malloc(two, 64) != NULL);
	void *volatile refused = quarry_heap_malloc(one, 64);
	ck_assert_ptr_null(refused);
	ck_assert_ptr_nonnull(quarry_heap_malloc(other, 640));

	struct named_table table;
	named_collect(NAMED_HEAPS, &table);
	ck_assert_uint_eq(table.n, 2);
	const struct named_sum *sum = &table.sums[0];
	ck_assert(strcmp(sum->name, "request") == 0);
	ck_assert(sum->count == 2 && sum->live == 128 && sum->number == 2 && sum->limit == 1100 && sum->refusals == 1);
	ck_assert(strcmp(sum[1].name, "te_nant") == 0 && sum[1].limit == 0);
	named_release(&table);

	const char *text = written(quarry_stats_print);
	ck_assert_ptr_nonnull(strstr(text, "48 B  'points': 2 objects live, "));
	ck_assert_ptr_nonnull(strstr(text, "128 B  'request' (2): 2 blocks live, 128 B at most, 1 refused\n"));
	ck_assert_ptr_nonnull(strstr(text, "640 B  'te_nant': 1 blocks live"));
	text = written(quarry_stats_prometheus);
	ck_assert_ptr_nonnull(strstr(text, "\nquarry_cache_live_bytes{name=\"points\"} 48\n"));
	ck_assert_ptr_nonnull(strstr(text, "\nquarry_heap_live_bytes{tag=\"request\"} 128\n"));
	ck_assert_ptr_nonnull(strstr(text, "\nquarry_heap_live_bytes{tag=\"te_nant\"} 640\n"));
	text = written(quarry_stats_json);
	ck_assert_ptr_nonnull(strstr(text, ",\"by_cache\":[{\"name\":\"points\",\"count\":1,\"live\":48,\"objects\":2,"));
	ck_assert_ptr_nonnull(strstr(text, ",\"by_tag\":[{\"tag\":\"request\",\"count\":2,\"live\":128,\"blocks\":2,\"peak\":128,"
					   "\"limit\":1100,\"refusals\":1},{\"tag\":\"te_nant\","));
	text = written(quarry_stats_tables);
	ck_assert_ptr_nonnull(strstr(text, "\n  typed cache  "));
	ck_assert_ptr_nonnull(strstr(text, "\n  heaps by tag  "));
	quarry_heap_destroy(one);
	quarry_heap_destroy(two);
	quarry_heap_destroy(other);
	ck_assert_ptr_null(strstr(written(quarry_stats_print), "request"));
}
END_TEST

START_TEST(many_names_have_few_lines)
{
	char tag[32];
	for (int i = 0; i < 40; i++) {
		snprintf(tag, sizeof tag, "tag%02d", i);
		ck_assert_ptr_nonnull(quarry_heap_create(tag, 0));
	}
	const char *text = written(quarry_stats_print);
	ck_assert(strstr(text, "tag07") != NULL && strstr(text, "tag08") == NULL && strstr(text, "and 32 more") != NULL);
	ck_assert_ptr_nonnull(strstr(written(quarry_stats_prometheus), "tag39"));
}
END_TEST

/* Each is looked at once: ten thousand tags take as long as ten thousand heaps of one tag, not ten thousand times
 * that. */
START_TEST(as_many_names_as_heaps)
{
	enum { HEAPS = 10000 };
	char tag[32];
	for (int i = 0; i < HEAPS; i++) {
		snprintf(tag, sizeof tag, "tag%d", i % (HEAPS - 1));
		struct quarry_heap *heap = quarry_heap_create(tag, 0);
		ck_assert_ptr_nonnull(heap);
	}
	struct named_table table;
	named_collect(NAMED_HEAPS, &table);
	ck_assert_uint_eq(table.n, HEAPS - 1);
	ck_assert(table.sums[0].count == 2 && table.sums[1].count == 1);
	named_release(&table);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("named_stats");
	TCase *tcase = new_case(suite, "named_stats");
	tcase_add_test(tcase, nothing_where_there_is_none);
	tcase_add_test(tcase, names_are_summed_up);
	tcase_add_test(tcase, many_names_have_few_lines);
	tcase_add_test(tcase, as_many_names_as_heaps);
	return run_suite(suite);
}
