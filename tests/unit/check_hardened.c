/* SPDX-License-Identifier: MIT */
/*
 * check_hardened: links, canaries and seals of the hardened library, and that a block lies between closed units.
 */
#include "unit.h"

#include <sys/resource.h>

#include "arena_list.h"
#include "address_map.h"
#include "fence.h"
#include "harden.h"
#include "os.h"
#include "pool.h"
#include "quarantine.h"
#include "quarry/cache.h"
#include "quarry/heap.h"
#include "quarry/quarry.h"

static void flip(void *bytes, unsigned bit)
{
	((unsigned char *)bytes)[bit / 8] ^= (unsigned char)(1u << bit % 8);
}

START_TEST(secrets_are_drawn_once)
{
	uint64_t before[COUNT(harden_secrets)];
	harden_begin();
	memcpy(before, harden_secrets, sizeof before);
	harden_begin();
	ck_assert_mem_eq(before, harden_secrets, sizeof before);
	for (size_t i = 0; i < COUNT(before); i++)
		for (size_t k = 0; k < i; k++)
			ck_assert(before[i] != before[k] && before[i] != 0);
}
END_TEST

START_TEST(numbers_below_a_bound_are_all_met)
{
	bool met[37] = {false};
	harden_begin();
	for (int i = 0; i < 10000; i++) {
		uint32_t number = harden_below(COUNT(met));
		expect(number < COUNT(met));
		met[number] = true;
	}
	for (size_t i = 0; i < COUNT(met); i++)
		ck_assert(met[i]);
}
END_TEST

/* As stored, in place: every bit of link and mark counts, and so does the place. */
START_TEST(a_link_is_read_as_it_was_stored_or_reported)
{
	struct harden_link links[2];
	report_set_fatal(false);
	harden_begin();
	harden_set_link(&links[0], &links[1]);
	ck_assert_ptr_eq(harden_link(&links[0]), &links[1]);
	ck_assert(links[0].link != (uintptr_t)&links[1]);
	for (unsigned bit = 0; bit < 8 * sizeof links[0]; bit++) {
		flip(&links[0], bit);
		ck_assert_ptr_null(harden_link(&links[0]));
		flip(&links[0], bit);
	}
	links[1] = links[0];
	ck_assert_ptr_null(harden_link(&links[1]));
	harden_set_link(&links[0], NULL);
	ck_assert_ptr_null(harden_link(&links[0]));
}
END_TEST

START_TEST(canaries_are_not_zero_and_each_bit_counts)
{
	char bytes[100];
	harden_begin();
	for (size_t nbytes = 0; nbytes <= sizeof bytes; nbytes++) {
		memset(bytes, 0, sizeof bytes);
		harden_paint(bytes, nbytes);
		ck_assert(harden_is_painted(bytes, nbytes));
		size_t painted = nbytes < HARDEN_CANARY_NBYTES ? nbytes : HARDEN_CANARY_NBYTES;
		for (size_t i = 0; i < sizeof bytes; i++)
			expect((bytes[i] != 0) == (i < painted));
		for (unsigned bit = 0; bit < 8 * painted; bit++) {
			flip(bytes, bit);
			expect(!harden_is_painted(bytes, nbytes));
			flip(bytes, bit);
		}
	}
}
END_TEST

START_TEST(what_was_wiped_is_looked_at_from_both_ends)
{
	static _Alignas(16) char bytes[4096];
	for (size_t nbytes = 32; nbytes <= sizeof bytes; nbytes += 16)
		for (size_t i = 0; i < nbytes; i++) {
			bool looked_at = i < HARDEN_LOOK_NBYTES || nbytes - i <= HARDEN_LOOK_NBYTES;
			bytes[i] = 1;
			expect(harden_is_wiped(bytes, nbytes, 16) == (i < 16 || !looked_at));
			bytes[i] = 0;
		}
}
END_TEST

#if QUARRY_HARDENED
START_TEST(a_seal_says_how_much_was_requested_or_is_broken)
{
	_Alignas(16) char block[64];
	harden_begin();
	for (size_t requested = 1; requested <= sizeof block - HARDEN_SEAL_NBYTES; requested++) {
		memset(block, 0, sizeof block);
		harden_seal(block, sizeof block, requested);
		ck_assert_uint_eq(harden_check(block, sizeof block), requested);
		for (unsigned bit = 0; bit < 8 * sizeof block; bit++) {
			flip(block, bit);
			expect((harden_check(block, sizeof block) == requested) == (bit < 8 * requested));
			flip(block, bit);
		}
	}
}
END_TEST

enum { WAITING = 100 };

/* A block as one that was freed. */
static struct block *wiped_block(uint32_t *word)
{
	struct block *block = quarry_malloc(64);
	*word = address_map_word(block);
	memset(block, 0, sizeclass_nbytes(word_szidx(*word)));
	return block;
}

static struct block *put_another(struct quarantine *quarantine)
{
	uint32_t word;
	struct block *block = wiped_block(&word);
	ck_assert_ptr_null(quarantine_put(quarantine, block, &word));
	return block;
}

static void begin_waiting(struct quarantine *quarantine)
{
	quarantine_share(quarantine, 1);
	for (int i = 0; i < WAITING; i++)
		put_another(quarantine);
}

START_TEST(a_full_quarantine_gives_a_block_for_each)
{
	static struct quarantine quarantine;
	uint32_t word;
	quarantine_share(&quarantine, 1);
	struct block *leaving = NULL;
	unsigned n = 0;
	for (; leaving == NULL; n++)
		leaving = quarantine_put(&quarantine, wiped_block(&word), &word);
	ck_assert_uint_eq(n, QUARANTINE_BLOCKS + 1);
	ck_assert_uint_eq(word, address_map_word(leaving));
	ck_assert_uint_eq(quarantine.nbytes, QUARANTINE_BLOCKS * sizeclass_nbytes(word_szidx(word)));
	quarantine_share(&quarantine, 100);
	ck_assert(quarantine_is_over(&quarantine));
	for (n = 0; quarantine_take(&quarantine, quarantine.most) != NULL; n++)
		ck_assert(quarantine.n > 0);
	ck_assert(!quarantine_is_over(&quarantine) && n < QUARANTINE_BLOCKS);
	while (quarantine_take(&quarantine, 0) != NULL)
		ck_assert(++n <= QUARANTINE_BLOCKS);
	ck_assert(n == QUARANTINE_BLOCKS && quarantine.n == 0);
}
END_TEST

/* Of the thread's operation a visitor sees the beginning: it puts a block where another leaves, or at the end. */
START_TEST(a_visitor_leaves_what_is_in_doubt)
{
	static struct quarantine quarantine;
	uint32_t word, place = 0;
	begin_waiting(&quarantine);
	quarantine_note(&quarantine);
	struct block *in_hand = quarantine.place[quarantine.chosen], *fresh = wiped_block(&word);
	unsigned n = 0;
	for (struct block *block; (block = quarantine_take_noted(&quarantine, &place)) != NULL; n++)
		ck_assert(block != in_hand);
	ck_assert_uint_eq(n, WAITING - 1);
	quarantine.place[quarantine.chosen] = fresh;
	struct block *next = put_another(&quarantine);
	quarantine_settle(&quarantine);
	ck_assert_uint_eq(quarantine.n, 2);
	ck_assert_ptr_eq(quarantine.place[0], fresh);
	ck_assert_ptr_eq(quarantine.place[1], next);
	ck_assert_uint_eq(quarantine.nbytes, 2 * sizeclass_nbytes(word_szidx(word)));
}
END_TEST

/* As a process ends whose thread has slept: a visitor took what waited, and nothing has been settled. */
START_TEST(what_a_visitor_left_is_looked_at)
{
	static struct quarantine quarantine;
	uint32_t place = 0;
	begin_waiting(&quarantine);
	quarantine_note(&quarantine);
	while (quarantine_take_noted(&quarantine, &place) != NULL)
		;
	char *left = (char *)quarantine.place[quarantine.chosen];
	catch_begin();
	quarantine_check(&quarantine);
	ck_assert_str_eq(catch_end(), "");
	left[5] = 1;
	catch_begin();
	quarantine_check(&quarantine);
	ck_assert_ptr_nonnull(strstr(catch_end(), "write after free"));
}
END_TEST

START_TEST(a_fork_child_drops_what_was_in_doubt)
{
	static struct quarantine quarantine;
	begin_waiting(&quarantine);
	quarantine_note(&quarantine);
	struct block *in_hand = quarantine.place[quarantine.chosen], *next = put_another(&quarantine);
	quarantine_orphan(&quarantine, true);
	ck_assert_uint_eq(quarantine.n, WAITING - 1);
	for (unsigned i = 0; i < quarantine.n; i++)
		ck_assert(quarantine.place[i] != in_hand && quarantine.place[i] != next);
	quarantine_orphan(&quarantine, false);
	ck_assert(quarantine.n == 0 && quarantine.nbytes == 0);
}
END_TEST

/* A slab of small objects has bits where another span's header has its size. */
START_TEST(slabs_of_any_objects_go_back)
{
	static void *objects[5000];
	for (size_t size = 1; size <= 64; size *= 2) {
		struct quarry_cache *cache = quarry_cache_create("small", size, 1, NULL, NULL, 0);
		for (size_t i = 0; i < COUNT(objects); i++)
			objects[i] = quarry_cache_alloc(cache);
		for (size_t i = 0; i < COUNT(objects); i++)
			quarry_cache_free(cache, objects[i]);
		ck_assert_int_eq(quarry_cache_destroy(cache), 0);
	}
}
END_TEST

/* Whatever the program asked for, and so may use, of a span or a large block. */
START_TEST(a_heap_counts_what_it_gives_and_gets)
{
	struct quarry_heap *heap = quarry_heap_create("test", 0);
	struct quarry_heap_stats stats;
	for (size_t nbytes = 1; nbytes < 2 * LARGE_REQUEST_THRESHOLD; nbytes += nbytes / 3 + 1)
		quarry_free(quarry_heap_malloc(heap, nbytes));
	ck_assert_int_eq(quarry_heap_stats_get(heap, &stats, sizeof stats), 0);
	ck_assert(stats.live == 0 && stats.blocks == 0);
	quarry_heap_destroy(heap);
}
END_TEST

/* May the kernel write there for us? */
static bool is_writable(const char *address)
{
	int ends[2];
	expect(pipe(ends) == 0 && write(ends[1], "", 1) == 1);
	bool done = read(ends[0], (void *)(uintptr_t)address, 1) == 1;
	close(ends[0]);
	close(ends[1]);
	return done;
}

START_TEST(pools_and_spans_lie_between_closed_units)
{
	for (int i = 0; i < 2000; i++) {
		char *block = quarry_malloc(i % 2 ? 1000 : 20000);
		char *unit = (char *)((uintptr_t)block & ~(POOL_SIZE - 1));
		size_t units = i % 2 ? pool_header_at(unit)->units : 2;
		if (i % 2 && address_map_word(unit) != address_map_word(block))
			continue;
		unit -= i % 2 ? word_phase(address_map_word(block)) * POOL_SIZE : 0;
		expect(!is_writable(unit - 1) && !is_writable(unit + units * POOL_SIZE));
		expect(is_writable(block + (i % 2 ? 999 : 19999)));
	}
}
END_TEST

static long nfaults(void)
{
	struct rusage usage;
	expect(getrusage(RUSAGE_SELF, &usage) == 0);
	return usage.ru_minflt;
}

/* Once they have been through the places in which freed ones wait: no page is given back, nor got anew. */
START_TEST(a_span_that_comes_and_goes_keeps_its_pages)
{
	uint64_t purges = 0;
	long faults = 0;
	for (int i = 0; i < 3000; i++) {
		if (i == 1000) {
			purges = os_counters.purge_calls;
			faults = nfaults();
		}
		char *span = quarry_malloc(20000);
		expect(reads_as_zero(span, 20000));
		memset(span, 1, 20000);
		quarry_free(span);
		expect(!os_is_readable(span) && !os_is_readable(span + 19996));
	}
	ck_assert_uint_eq(os_counters.purge_calls, purges);
	ck_assert_int_lt(nfaults() - faults, 500);
}
END_TEST

/* Untouched ones would cost more than they save. */
START_TEST(a_larger_one_goes_without_its_pages)
{
	char *span = quarry_malloc(FENCE_WIPE_NBYTES + 1);
	memset(span, 1, FENCE_WIPE_NBYTES + 1);
	uint64_t purges = os_counters.purge_calls;
	quarry_free(span);
	ck_assert(!os_is_readable(span));
	ck_assert_uint_eq(os_counters.purge_calls, purges + 1);
	ck_assert_uint_eq(resident_pages(span, FENCE_WIPE_NBYTES), 0);
}
END_TEST
#endif

int main(void)
{
	Suite *suite = suite_create("hardened");
	TCase *tcase = new_case(suite, "bytes");
	tcase_add_test(tcase, secrets_are_drawn_once);
	tcase_add_test(tcase, numbers_below_a_bound_are_all_met);
	tcase_add_test(tcase, a_link_is_read_as_it_was_stored_or_reported);
	tcase_add_test(tcase, canaries_are_not_zero_and_each_bit_counts);
	tcase_add_test(tcase, what_was_wiped_is_looked_at_from_both_ends);
#if QUARRY_HARDENED
	tcase_add_test(tcase, a_seal_says_how_much_was_requested_or_is_broken);
	tcase_add_test(tcase, a_full_quarantine_gives_a_block_for_each);
	tcase_add_test(tcase, a_visitor_leaves_what_is_in_doubt);
	tcase_add_test(tcase, what_a_visitor_left_is_looked_at);
	tcase_add_test(tcase, a_fork_child_drops_what_was_in_doubt);
	tcase_add_test(tcase, slabs_of_any_objects_go_back);
	tcase_add_test(tcase, a_heap_counts_what_it_gives_and_gets);
	tcase_add_test(tcase, pools_and_spans_lie_between_closed_units);
	tcase_add_test(tcase, a_span_that_comes_and_goes_keeps_its_pages);
	tcase_add_test(tcase, a_larger_one_goes_without_its_pages);
#endif
	return run_suite(suite);
}
