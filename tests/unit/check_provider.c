/* SPDX-License-Identifier: MIT */
/*
 * check_provider: memory from a provider: what is asked of it, what it gets back, and what happens where it has none.
 */
#include "heaps.h"

#include <sys/mman.h>

#include "arena_list.h"
#include "large.h"
#include "limit.h"
#include "machine.h"
#include "os.h"
#include "provider.h"
#include "purge.h"
#include "quarry/limit.h"

#define LARGE (LARGE_REQUEST_THRESHOLD + 1)
#define LARGE_UNITS round_up(LARGE, os_page_size() > POOL_SIZE ? os_page_size() : POOL_SIZE) /* as providers give them */

/* A provider that counts, and gives memory full of DIRT. */
#define DIRT 0xd1
#define CROOKED 16
static struct counting {
	unsigned maps, unmaps, purges;
	size_t nbytes; /* out */
	int node;
	bool is_short, refuses_back, crooked;
} counting;

static void *count_map(void *context, size_t nbytes, size_t alignment, int os_node)
{
	struct counting *c = context;
	if (c->is_short)
		return NULL;
	char *address = os_map_aligned(nbytes + (c->crooked ? CROOKED : 0), alignment);
	expect(address != NULL && nbytes % POOL_SIZE == 0 && (alignment & (alignment - 1)) == 0);
	memset(address, DIRT, nbytes);
	c->maps++;
	c->nbytes += nbytes;
	c->node = os_node;
	return address + (c->crooked ? CROOKED : 0);
}

static int count_unmap(void *context, void *address, size_t nbytes)
{
	struct counting *c = context;
	if (c->refuses_back)
		return -1;
	expect(os_unmap((char *)address - (c->crooked ? CROOKED : 0), nbytes));
	c->unmaps++;
	c->nbytes -= nbytes;
	return 0;
}

static int count_purge(void *context, void *address, size_t nbytes)
{
	((struct counting *)context)->purges++;
	memset(address, 0, nbytes);
	return 0;
}

static struct quarry_provider provider;

static void provide(int (*purge)(void *, void *, size_t), unsigned flags)
{
	provider = (struct quarry_provider){&counting, count_map, count_unmap, purge, flags};
	ck_assert_int_eq(quarry_provider_set(QUARRY_EVERY_NODE, &provider), 0);
}

/* --- arenas and large blocks -------------------------------------------------------------------------------------- */

static struct lot lot = {.nbytes = SMALL, .n = 1000}; /* much less than an arena, of obmalloc's size too */

START_TEST(an_arena_comes_and_goes)
{
	provide(NULL, 0);
	lot_pass(&lot);
	ck_assert_uint_eq(counting.maps, 1);
	ck_assert_uint_eq(counting.nbytes, ARENA_SIZE);
	char *zeroed = quarry_calloc(1, SPAN);
	ck_assert(reads_as_zero(zeroed, SPAN)); /* not all DIRT is virgin */
	quarry_free(zeroed);
	ck_assert_uint_gt(arena_list_dirty_nbytes(), 0);
	purge_all(0, true); /* though never clean */
	purge_all(0, true); /* the last one is kept for a while */
	ck_assert_uint_eq(counting.unmaps, 1);
	ck_assert_uint_eq(counting.nbytes, 0);
	ck_assert_uint_eq(arena_list_dirty_nbytes(), 0);
	ck_assert_uint_eq(arena_list_counters.mapped_nbytes, 0);
	lot_pass(&lot);
	ck_assert_uint_eq(counting.maps, 2);
}
END_TEST

START_TEST(what_is_purged_is_zero)
{
	provide(count_purge, 0);
	struct lot spans = {.nbytes = LARGE_REQUEST_THRESHOLD / 2, .n = 4};
	lot_pass(&spans);
	ck_assert_uint_eq(counting.purges, 0);
	ck_assert(purge_all(0, false));
	ck_assert_uint_gt(counting.purges, 0);
	char *zeroed = quarry_calloc(1, spans.nbytes);
	ck_assert(reads_as_zero(zeroed, spans.nbytes));
	quarry_free(zeroed);
}
END_TEST

START_TEST(large_blocks_go_back_at_once)
{
	provide(NULL, 0);
	char *block = quarry_calloc(1, LARGE);
	ck_assert_uint_eq(counting.maps, 1);
	ck_assert(reads_as_zero(block, LARGE));
	stamp(block, LARGE, 5);
	size_t good = quarry_usable_size(block);
	char *larger = quarry_realloc(block, 2 * LARGE);
	ck_assert_ptr_ne(larger, block);
	ck_assert_uint_eq(counting.maps, 2);
	ck_assert_uint_eq(counting.unmaps, 1);
	ck_assert(stamp_holds(larger, LARGE, 5));
	ck_assert_ptr_eq(quarry_block_of(larger + good, NULL), larger);
	char *smaller = quarry_realloc(larger, LARGE);
	ck_assert(stamp_holds(smaller, LARGE, 5));
	quarry_free(smaller);
	ck_assert_uint_eq(large_kept_nbytes(), 0);
	ck_assert_uint_eq(counting.maps, counting.unmaps);
	provide(NULL, QUARRY_PROVIDER_ZEROED);
	block = quarry_calloc(1, LARGE); /* the provider's word is taken */
	ck_assert_int_eq((unsigned char)block[LARGE / 2], DIRT);
	quarry_free(block);
}
END_TEST

START_TEST(what_was_refused_is_tried_again)
{
	provide(NULL, 0);
	counting.refuses_back = true;
	quarry_free(quarry_malloc(LARGE));
	ck_assert_uint_eq(large_kept_nbytes(), LARGE_UNITS);
	char *other = quarry_malloc(LARGE); /* kept for its provider, not for reuse */
	ck_assert_uint_eq(counting.maps, 2);
	lot_pass(&lot);
	purge_all(0, true);
	purge_all(0, true);
	ck_assert_uint_eq(counting.unmaps, 0);
	ck_assert_uint_gt(arena_list_dirty_nbytes(), 0);
	lot_pass(&lot); /* the arena is in use again */
	counting.refuses_back = false;
	quarry_free(other);
	purge_all(0, true);
	purge_all(0, true);
	ck_assert_uint_eq(counting.nbytes, 0);
	ck_assert_uint_eq(large_kept_nbytes(), 0);
	ck_assert_uint_eq(arena_list_dirty_nbytes(), 0);
}
END_TEST

/* --- none, or none that serves ------------------------------------------------------------------------------------ */

static int refuse_to_purge(void *context, void *address, size_t nbytes)
{
	(void)address;
	(void)nbytes;
	((struct counting *)context)->purges++;
	return -1;
}

START_TEST(who_refuses_is_in_nobodys_way)
{
	void *ours[7], *theirs[7]; /* an arena each */
	for (int i = 0; i < 7; i++)
		ours[i] = quarry_malloc(LARGE_REQUEST_THRESHOLD);
	provide(refuse_to_purge, 0);
	for (int i = 0; i < 7; i++)
		theirs[i] = quarry_malloc(LARGE_REQUEST_THRESHOLD);
	ck_assert_ptr_ne(arena_base(theirs[0]), arena_base(ours[0]));
	quarry_free(theirs[0]); /* the fuller arena is purged first */
	for (int i = 0; i < 7; i++)
		quarry_free(ours[i]);
	purge_all(0, false);
	ck_assert_uint_eq(arena_at(arena_base(ours[0]))->ndirty, 0);
	ck_assert_uint_eq(counting.purges, 1);
	purge_all(0, false);
	ck_assert_uint_eq(counting.purges, 1);
}
END_TEST

/* At higher addresses and at lower ones. */
START_TEST(nor_where_it_keeps_a_large_block)
{
	void *before = quarry_malloc(LARGE);
	provide(NULL, 0);
	void *theirs = quarry_malloc(LARGE);
	ck_assert_int_eq(quarry_provider_set(QUARRY_EVERY_NODE, NULL), 0);
	void *after = quarry_malloc(LARGE);
	counting.refuses_back = true;
	quarry_free(before);
	quarry_free(theirs);
	quarry_free(after);
	ck_assert_uint_eq(large_kept_nbytes(), 3 * large_good_size(LARGE));
	ck_assert_uint_eq(large_purge(0, SIZE_MAX), 2 * large_good_size(LARGE));
	counting.refuses_back = false;
	ck_assert_uint_eq(large_purge(0, SIZE_MAX), large_good_size(LARGE));
}
END_TEST

/* All of its arena is charged from the start. */
START_TEST(a_limit_counts_an_arena_once)
{
	provide(NULL, 0);
	void *first = quarry_malloc(LARGE_REQUEST_THRESHOLD);
	ck_assert_ptr_nonnull(first);
	quarry_limit_set(limit_charged());
	void *second = quarry_malloc(LARGE_REQUEST_THRESHOLD);
	ck_assert_ptr_nonnull(second);
	ck_assert_ptr_eq(arena_base(second), arena_base(first));
	quarry_free(second);
	quarry_free(first);
}
END_TEST

START_TEST(without_memory_there_is_none_or_the_kernels)
{
	counting.is_short = true;
	provide(NULL, 0);
	errno = 0;
	ck_assert_ptr_null(quarry_malloc(LARGE));
	ck_assert_int_eq(errno, ENOMEM);
	ck_assert_ptr_null(quarry_malloc(SMALL));
	provide(NULL, QUARRY_PROVIDER_OR_SYSTEM);
	lot_pass(&lot);
	quarry_free(quarry_malloc(LARGE));
	ck_assert_uint_eq(counting.maps, 0);
	ck_assert(QUARRY_HARDENED || large_kept_nbytes() > 0); /* as ever */
	counting.is_short = false;
	quarry_free(quarry_malloc(2 * LARGE));
	ck_assert_uint_eq(counting.maps, 1);
	ck_assert_int_eq(quarry_provider_set(QUARRY_EVERY_NODE, NULL), 0);
	quarry_free(quarry_malloc(2 * LARGE));
	ck_assert_uint_eq(counting.maps, 1);
}
END_TEST

START_TEST(a_crooked_piece_goes_back)
{
	counting.crooked = true;
	provide(NULL, 0);
	catch_begin();
	errno = 0;
	ck_assert_ptr_null(quarry_malloc(LARGE));
	ck_assert_int_eq(errno, ENOMEM);
	ck_assert_ptr_null(quarry_malloc(LARGE));
	const char *said = catch_end();
	ck_assert_ptr_nonnull(strstr(said, "is not aligned: given back"));
	ck_assert_ptr_null(strstr(strstr(said, "given back") + 1, "given back")); /* once */
	ck_assert_uint_eq(counting.maps, counting.unmaps);
}
END_TEST

START_TEST(each_node_has_its_own)
{
	make_machine(2);
	struct quarry_provider mine = {&counting, count_map, count_unmap, NULL, 0};
	ck_assert_int_eq(quarry_provider_set(node_os_index(1), &mine), 0);
	quarry_free(quarry_malloc_on_node(LARGE, node_os_index(0)));
	ck_assert_uint_eq(counting.maps, 0);
	quarry_free(quarry_malloc_on_node(LARGE, node_os_index(1)));
	ck_assert_uint_eq(counting.maps, 1);
	ck_assert_int_eq(counting.node, node_os_index(1));
	ck_assert_int_eq(quarry_provider_set(77, &mine), -1);
	ck_assert_int_eq(errno, EINVAL);
}
END_TEST

START_TEST(wrong_providers_are_refused)
{
	struct quarry_provider wrong = {&counting, NULL, count_unmap, NULL, 0};
	ck_assert_int_eq(quarry_provider_set(QUARRY_EVERY_NODE, &wrong), -1);
	wrong = (struct quarry_provider){&counting, count_map, NULL, NULL, 0};
	ck_assert_int_eq(quarry_provider_set(QUARRY_EVERY_NODE, &wrong), -1);
	wrong = (struct quarry_provider){&counting, count_map, count_unmap, NULL, 8};
	errno = 0;
	ck_assert_int_eq(quarry_provider_set(QUARRY_EVERY_NODE, &wrong), -1);
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_ptr_null(provider_of(0));
	struct counting contexts[17];
	for (int i = 0; i < 17; i++) {
		struct quarry_provider one = {&contexts[i], count_map, count_unmap, NULL, 0};
		ck_assert_int_eq(quarry_provider_set(QUARRY_EVERY_NODE, &one), i < 16 ? 0 : -1);
		ck_assert_int_eq(quarry_provider_set(QUARRY_EVERY_NODE, &one), i < 16 ? 0 : -1);
	}
	ck_assert_int_eq(errno, ENOSPC);
}
END_TEST

/* --- ready-made ones ---------------------------------------------------------------------------------------------- */

START_TEST(a_buffer_is_used_up_and_used_again)
{
	size_t nbytes = 2 * ARENA_SIZE + 5000;
	char *buffer = os_map(NULL, nbytes);
	void *blocks[64], *kept;
	unsigned n = 0;
	ck_assert_int_eq(quarry_provider_buffer(&provider, buffer + 100, nbytes - 100), 0);
	ck_assert_int_eq(quarry_provider_set(QUARRY_EVERY_NODE, &provider), 0);
	lot_allocate(&lot);
	for (size_t i = 0; i < lot.n; i++)
		expect((char *)lot.block[i] > buffer && (char *)lot.block[i] < buffer + nbytes);
	for (; n < 64 && (blocks[n] = quarry_malloc(LARGE)) != NULL; n++)
		stamp(blocks[n], LARGE, n);
	ck_assert_uint_gt(n, 3);
	ck_assert_uint_lt(n, 64);
	kept = blocks[1];
	for (unsigned pass = 0; pass < 3; pass++) { /* every other one first: pieces are put together again */
		for (unsigned i = 0; i < n; i++)
			if (i % 2 == pass % 2 && blocks[i] != kept) {
				ck_assert(stamp_holds(blocks[i], LARGE, i));
				quarry_free(blocks[i]);
				blocks[i] = NULL;
			}
		if (pass == 0)
			continue;
		for (unsigned i = 0; i < n; i++) {
			if (blocks[i] == NULL)
				blocks[i] = quarry_malloc(LARGE);
			ck_assert_ptr_nonnull(blocks[i]);
			stamp(blocks[i], LARGE, i);
		}
	}
	for (unsigned i = n; i-- > 0;) /* downwards: each is put before the last */
		quarry_free(blocks[i]);
	lot_free(&lot);
	purge_all(0, true);
	purge_all(0, true);
	ck_assert_uint_eq(arena_list_counters.mapped_nbytes, 0);
	kept = quarry_malloc(2 * ARENA_SIZE - 4 * POOL_SIZE); /* all of it is one piece again */
	ck_assert_ptr_nonnull(kept);
	quarry_free(kept);
}
END_TEST

START_TEST(a_buffer_without_a_place_is_refused)
{
	size_t nbytes = 2 * ARENA_SIZE;
	char *buffer = os_map_aligned(nbytes, ARENA_SIZE);
	ck_assert_int_eq(quarry_provider_buffer(&provider, NULL, nbytes), -1);
	ck_assert_int_eq(quarry_provider_buffer(&provider, buffer, ARENA_SIZE), -1); /* the record lies there */
	errno = 0;
	ck_assert_int_eq(quarry_provider_buffer(&provider, buffer + 1, ARENA_SIZE + ARENA_MIN_SIZE - 2), -1);
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_int_eq(quarry_provider_buffer(&provider, buffer, SIZE_MAX), -1);
	static _Alignas(POOL_SIZE) char unaccounted[2 * ARENA_SIZE];
	if (!address_map_admit(unaccounted, sizeof unaccounted)) { /* as mostly: it is far from where the kernel maps */
		ck_assert_int_eq(quarry_provider_buffer(&provider, unaccounted, sizeof unaccounted), -1);
		ck_assert_int_eq(errno, ERANGE);
	}
	if (ARENA_MIN_SIZE <= 2 * ARENA_HEAD_UNITS * POOL_SIZE)
		return; /* of obmalloc's size: little more than a head */
	ck_assert_int_eq(quarry_provider_buffer(&provider, buffer, ARENA_SIZE + ARENA_MIN_SIZE), 0);
	ck_assert_int_eq(quarry_provider_set(QUARRY_EVERY_NODE, &provider), 0);
	lot_pass(&lot);
	ck_assert_uint_eq(arena_list_counters.mapped_nbytes, ARENA_MIN_SIZE);
}
END_TEST

/* Where the administrator has reserved none, as mostly, the kernel's other pages serve. */
START_TEST(huge_pages_or_others)
{
	if (ARENA_SIZE < (size_t)2 << 20)
		return; /* no page fits */
	ck_assert_int_eq(quarry_provider_hugetlb(&provider, 3 << 20), -1);
	ck_assert_int_eq(quarry_provider_hugetlb(&provider, 2 * ARENA_SIZE), -1);
	ck_assert_int_eq(quarry_provider_hugetlb(&provider, 1), -1);
	ck_assert_int_eq(quarry_provider_hugetlb(&provider, 0), 0);
	ck_assert_int_eq(quarry_provider_set(QUARRY_EVERY_NODE, &provider), 0);
	lot_pass(&lot);
	char *block = quarry_calloc(1, LARGE);
	ck_assert(reads_as_zero(block, LARGE));
	stamp(block, LARGE, 3);
	block = quarry_realloc(block, 3 * LARGE);
	ck_assert(stamp_holds(block, LARGE, 3));
	quarry_free(block);
	purge_all(0, true);
	purge_all(0, true);
	ck_assert_uint_eq(arena_list_counters.mapped_nbytes, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("provider");
	TCase *tcase = new_case(suite, "provider");
	tcase_add_test(tcase, an_arena_comes_and_goes);
	tcase_add_test(tcase, what_is_purged_is_zero);
	tcase_add_test(tcase, large_blocks_go_back_at_once);
	tcase_add_test(tcase, what_was_refused_is_tried_again);
	tcase_add_test(tcase, who_refuses_is_in_nobodys_way);
	if (!QUARRY_HARDENED) /* where freed blocks of the kernel's are not kept, and wait elsewhere */
		tcase_add_test(tcase, nor_where_it_keeps_a_large_block);
	tcase_add_test(tcase, a_limit_counts_an_arena_once);
	tcase_add_test(tcase, without_memory_there_is_none_or_the_kernels);
	tcase_add_test(tcase, a_crooked_piece_goes_back);
	tcase_add_test(tcase, each_node_has_its_own);
	tcase_add_test(tcase, wrong_providers_are_refused);
	tcase_add_test(tcase, a_buffer_is_used_up_and_used_again);
	tcase_add_test(tcase, a_buffer_without_a_place_is_refused);
	tcase_add_test(tcase, huge_pages_or_others);
	return run_suite(suite);
}
