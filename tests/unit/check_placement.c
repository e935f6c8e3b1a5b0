/* SPDX-License-Identifier: MIT */
/*
 * check_placement: which node a block comes from, by call, by pin and by policy, on machines of one and more nodes.
 */
#include "heaps.h"

#include "arena_list.h"
#include "entry.h"
#include "kernel.h"
#include "large.h"
#include "machine.h"
#include "options.h"

#define LARGE (LARGE_REQUEST_THRESHOLD + 1)
#define LONG_BITS (8 * sizeof(long))

#define SIZES {0, 1, SMALL, 5000, SPAN, 1 << 20, LARGE}

static struct lot lot;

static unsigned arena_node(const void *block)
{
	return arena_at(arena_base(block))->node;
}

/* --- on a node ---------------------------------------------------------------------------------------------------- */

START_TEST(blocks_lie_on_the_node_asked_for)
{
	const size_t sizes[] = SIZES;
	make_machine(4);
	run_on(2);
	thread_heap();
	for (unsigned node = 0; node < 4; node++)
		for (size_t i = 0; i < COUNT(sizes); i++) {
			char *block = quarry_malloc_on_node(sizes[i], OS(node));
			ck_assert_ptr_nonnull(block);
			ck_assert_uint_ge(quarry_usable_size(block), sizes[i]);
			ck_assert_int_eq(quarry_node_of(block), OS(node));
			ck_assert_int_eq(quarry_node_of(block + sizes[i] / 2), OS(node));
			memset(block, 1, sizes[i]);
			quarry_free(block);
		}
	ck_assert_int_eq(quarry_node_of(quarry_malloc(SMALL)), OS(2));
	ck_assert_uint_eq(slot.heap->node, 2);
	for (unsigned node = 0; node < 4; node++)
		ck_assert_uint_gt(machine_state.nbound[node], 0);
}
END_TEST

START_TEST(a_node_that_may_not_be_used_is_an_error)
{
	const int wrong[] = {-2, -1, 0, 2, OS(4), 1023, 1024, INT32_MAX, INT32_MIN};
	make_machine(4);
	for (size_t i = 0; i < COUNT(wrong); i++) {
		errno = 0;
		ck_assert_ptr_null(quarry_malloc_on_node(SMALL, wrong[i]));
		ck_assert_int_eq(errno, EINVAL);
		errno = 0;
		ck_assert_int_eq(quarry_thread_node_set(wrong[i]), wrong[i] == QUARRY_NODE_FOLLOW ? 0 : -1);
		ck_assert_int_eq(errno, wrong[i] == QUARRY_NODE_FOLLOW ? 0 : EINVAL);
	}
	errno = 0;
	ck_assert_ptr_null(quarry_malloc_on_node(PTRDIFF_MAX, OS(1)));
	ck_assert_int_eq(errno, ENOMEM);
}
END_TEST

/* In the very call, too, in which the thread is found to have moved. */
START_TEST(a_node_that_is_asked_for_is_not_the_one_moved_to)
{
	const size_t sizes[] = {SMALL, SPAN, LARGE};
	make_machine(2);
	run_on(0);
	thread_heap();
	run_on(1);
	for (unsigned i = 0; i < (_i == 0 ? 20000 : 40); i++)
		expect(quarry_node_of(quarry_malloc_on_node(sizes[_i], OS(0))) == OS(0));
	ck_assert_uint_eq(slot.heap->node, 1);
	ck_assert_uint_eq(node_counters[1].migrations, 1);
}
END_TEST

/* A block of the own node that is freed serves the next request without a lock, as with malloc. */
START_TEST(the_own_node_is_served_from_the_cache)
{
	make_machine(2);
	run_on(1);
	thread_heap();
	for (unsigned i = 0; i < 1000; i++)
		quarry_free(quarry_malloc_on_node(SMALL, OS(1)));
	ck_assert_uint_lt(slot.heap->counters.refills, 10);
	ck_assert_uint_gt(cached_blocks(slot.heap), 0);
}
END_TEST

/* A block of another node is not kept for this thread's next request, however much it allocates the class. */
START_TEST(blocks_of_another_node_go_home)
{
	make_machine(2);
	run_on(0);
	lot = (struct lot){.nbytes = SMALL, .n = 1000};
	lot_pass(&lot);
	for (unsigned round = 0; round < 50; round++) {
		void *there[8];
		for (unsigned i = 0; i < COUNT(there); i++)
			there[i] = quarry_malloc_on_node(SMALL, OS(1));
		heap_lock(slot.heap); /* an empty list of a class that is wanted: the best reason to keep a block */
		claim_settle(slot.heap);
		cache_flush_list(slot.heap, SMALL_SZIDX);
		slot.heap->classes[SMALL_SZIDX].allocates = 1;
		heap_unlock(slot.heap);
		for (unsigned i = 0; i < COUNT(there); i++)
			quarry_free(there[i]);
		lot_allocate(&lot);
		for (size_t i = 0; i < lot.n; i++)
			expect(arena_node(lot.block[i]) == 0);
		lot_free(&lot);
	}
	ck_assert(claim_visit(CLAIM_ALL));
	ck_assert_int_eq(out_nbytes(), 0);
	ck_assert_uint_eq(node_counters[0].remote_sent, 400);
	ck_assert_uint_eq(node_counters[1].remote_received, 400);
	ck_assert_uint_eq(node_counters[1].remote_sent, 0);
}
END_TEST

/* --- sets --------------------------------------------------------------------------------------------------------- */

static unsigned long mask_of(unsigned node)
{
	return 1ul << OS(node);
}

START_TEST(small_blocks_take_the_nodes_of_a_set_by_turns)
{
	unsigned long mask = mask_of(0) | mask_of(1) | mask_of(3);
	unsigned n[4] = {0};
	make_machine(4);
	for (unsigned i = 0; i < 4000; i++) {
		void *block = quarry_malloc_interleaved(i % 2 ? SMALL : SPAN, &mask, LONG_BITS);
		expect(block != NULL);
		n[arena_node(block)]++;
		quarry_free(block);
	}
	ck_assert_uint_eq(n[2], 0);
	for (unsigned node = 0; node < 4; node++)
		ck_assert(node == 2 || n[node] >= 999);
	ck_assert_uint_eq(machine_state.nspread, 0);
}
END_TEST

/* Also where another set is asked for in between. */
START_TEST(the_nodes_of_any_set_have_even_shares)
{
	unsigned long masks[] = {mask_of(0) | mask_of(1), mask_of(2) | mask_of(5) | mask_of(7), mask_of(3) | mask_of(4)};
	unsigned n[8] = {0}, blocks = 600;
	make_machine(8);
	for (unsigned i = 0; i < blocks; i++)
		n[arena_node(quarry_malloc_interleaved(SMALL, &masks[0], LONG_BITS))]++;
	for (unsigned i = 0; i < blocks; i++)
		for (unsigned k = 1; k < 3; k++)
			n[arena_node(quarry_malloc_interleaved(SMALL, &masks[k], LONG_BITS))]++;
	for (unsigned node = 0; node < 8; node++) {
		unsigned share = node == 6 ? 0 : node == 2 || node == 5 || node == 7 ? blocks / 3 : blocks / 2;
		ck_assert_uint_ge(n[node] + 1, share);
		ck_assert_uint_le(n[node], share + 1);
	}
}
END_TEST

START_TEST(pages_of_large_blocks_are_spread)
{
	unsigned long mask = mask_of(1) | mask_of(2);
	make_machine(4);
	for (size_t nbytes = 64 << 10; nbytes <= LARGE; nbytes += 1 << 20) {
		unsigned before = machine_state.nspread;
		size_t mapped = large_live_nbytes();
		char *block = quarry_malloc_interleaved(nbytes + 1, &mask, LONG_BITS);
		ck_assert_ptr_nonnull(block);
		ck_assert_uint_eq(machine_state.nspread, before + 1);
		ck_assert_uint_eq(machine_state.last_set.bits[0], 6);
		ck_assert_int_eq(quarry_node_of(block), -1);
		ck_assert_uint_ge(quarry_usable_size(block), nbytes + 1);
		memset(block, 1, nbytes + 1);
		block = quarry_realloc(block, 2 * LARGE);
		ck_assert_int_eq(block[nbytes], 1);
		quarry_free(block);
		ck_assert_uint_eq(large_live_nbytes(), mapped);
		ck_assert_uint_eq(large_kept_nbytes(), 0);
	}
	void *everywhere = quarry_malloc_interleaved(LARGE + (64 << 10), NULL, 0);
	ck_assert_uint_eq(machine_state.last_set.bits[0], 15);
	quarry_free(everywhere);
}
END_TEST

START_TEST(what_is_cut_off_spread_pages_is_unmapped)
{
	make_machine(2);
	char *block = quarry_malloc_interleaved(4 * LARGE, NULL, 0);
	memset(block, 1, 4 * LARGE);
	ck_assert_uint_gt(quarry_resize_in_place(block, 2 * LARGE), 0);
	ck_assert_uint_eq(quarry_usable_size(block), large_good_size(2 * LARGE));
	ck_assert_uint_eq(large_live_nbytes(), large_good_size(2 * LARGE));
	ck_assert_uint_eq(large_kept_nbytes(), 0);
	ck_assert_int_eq(block[2 * LARGE - 1], 1);
	quarry_free(block);
}
END_TEST

START_TEST(an_empty_or_wrong_set_is_an_error)
{
	unsigned long empty = 0, wrong = mask_of(1) | 1, beyond[40] = {[39] = 1};
	make_machine(4);
	errno = 0;
	ck_assert_ptr_null(quarry_malloc_interleaved(SMALL, &empty, LONG_BITS));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_ptr_null(quarry_malloc_interleaved(LARGE, &wrong, LONG_BITS));
	ck_assert_ptr_null(quarry_malloc_interleaved(SMALL, beyond, 40 * LONG_BITS));
	ck_assert_ptr_null(quarry_malloc_interleaved(SMALL, &wrong, 0));
	wrong = mask_of(1) | mask_of(2);
	ck_assert_ptr_nonnull(quarry_malloc_interleaved(SMALL, &wrong, (unsigned long)OS(1) + 1));
}
END_TEST

/* --- kinds -------------------------------------------------------------------------------------------------------- */

START_TEST(kinds_choose_nodes)
{
	const size_t sizes[] = SIZES;
	make_machine(4);
	run_on(1);
	machine_state.nodes[1].best[TOPOLOGY_BANDWIDTH] = 3;
	machine_state.nodes[1].best[TOPOLOGY_CAPACITY] = 0;
	for (size_t i = 0; i < COUNT(sizes); i++) {
		ck_assert_int_eq(quarry_node_of(quarry_malloc_kind(sizes[i], QUARRY_KIND_BANDWIDTH)), OS(3));
		ck_assert_int_eq(quarry_node_of(quarry_malloc_kind(sizes[i], QUARRY_KIND_LATENCY)), OS(1));
		ck_assert_int_eq(quarry_node_of(quarry_malloc_kind(sizes[i], QUARRY_KIND_CAPACITY)), OS(0));
	}
	errno = 0;
	ck_assert_ptr_null(quarry_malloc_kind(SMALL, (enum quarry_kind)3));
	ck_assert_int_eq(errno, EINVAL);
}
END_TEST

START_TEST(a_kind_is_of_the_node_that_the_thread_runs_on)
{
	const size_t sizes[] = SIZES;
	make_machine(2);
	run_on(0);
	quarry_free(quarry_malloc(SMALL));
	run_on(1);
	for (size_t i = 0; i < COUNT(sizes); i++)
		ck_assert_int_eq(quarry_node_of(quarry_malloc_kind(sizes[i], QUARRY_KIND_LATENCY)), OS(1));
	ck_assert_uint_eq(slot.heap->node, 0); /* a few requests are no move */
}
END_TEST

/* --- pins --------------------------------------------------------------------------------------------------------- */

START_TEST(a_pinned_thread_stays)
{
	make_machine(4);
	run_on(0);
	ck_assert_int_eq(quarry_thread_node_get(), QUARRY_NODE_FOLLOW);
	ck_assert_int_eq(quarry_node_of(quarry_malloc(SMALL)), OS(0));
	ck_assert_int_eq(quarry_thread_node_set(OS(3)), 0);
	ck_assert_int_eq(quarry_thread_node_get(), OS(3));
	for (unsigned node = 0; node < 4; node++) {
		run_on(node);
		for (unsigned i = 0; i < 2000; i++)
			expect(arena_node(quarry_malloc(SMALL)) == 3);
		expect(arena_node(quarry_malloc(SPAN)) == 3);
	}
	ck_assert_int_eq(quarry_thread_node_set(QUARRY_NODE_FOLLOW), 0);
	ck_assert_int_eq(quarry_thread_node_get(), QUARRY_NODE_FOLLOW);
	ck_assert_int_eq(quarry_node_of(quarry_malloc(SMALL)), OS(3));
	run_on(1);
	quarry_thread_node_set(QUARRY_NODE_FOLLOW);
	ck_assert_int_eq(quarry_node_of(quarry_malloc(SMALL)), OS(1));
	ck_assert_uint_eq(node_counters[3].migrations, 0); /* asked for, not followed */
}
END_TEST

static void say_node(void *node)
{
	*(int *)node = quarry_node_of(quarry_malloc(SMALL));
}

START_TEST(a_pin_before_the_first_block_holds_and_is_the_threads_own)
{
	struct actor actor;
	int node;
	make_machine(2);
	run_on(0);
	ck_assert_int_eq(quarry_thread_node_set(OS(1)), 0);
	ck_assert_int_eq(slot.state, SLOT_NONE);
	ck_assert_int_eq(quarry_node_of(quarry_malloc(SMALL)), OS(1));
	actor_begin(&actor);
	actor_do(&actor, say_node, &node);
	ck_assert_int_eq(node, OS(0));
	actor_end(&actor);
}
END_TEST

START_TEST(without_memory_for_a_heap_a_pin_fails)
{
	make_machine(2);
	run_on(0);
	quarry_free(quarry_malloc(SMALL));
	kernel.most_mapped = 1;
	errno = 0;
	ck_assert_int_eq(quarry_thread_node_set(OS(1)), -1);
	ck_assert_int_eq(errno, ENOMEM);
	kernel.most_mapped = 0;
	ck_assert_int_eq(quarry_thread_node_get(), QUARRY_NODE_FOLLOW);
	ck_assert_int_eq(quarry_node_of(quarry_malloc(SMALL)), OS(0));
	ck_assert_int_eq(quarry_thread_node_set(OS(1)), 0);
}
END_TEST

/* --- policies ----------------------------------------------------------------------------------------------------- */

START_TEST(one_node_for_all_by_policy)
{
	const size_t sizes[] = SIZES;
	options_parse("numa:node:7"); /* OS(2) */
	make_machine(4);
	run_on(0);
	for (size_t i = 0; i < COUNT(sizes); i++)
		ck_assert_int_eq(quarry_node_of(quarry_malloc(sizes[i])), OS(2));
	ck_assert_int_eq(quarry_node_of(quarry_malloc_on_node(SMALL, OS(1))), OS(1));
}
END_TEST

START_TEST(a_node_that_is_none_leaves_the_policy_local)
{
	options_parse("numa:node:6");
	catch_begin();
	make_machine(4);
	ck_assert_ptr_nonnull(strstr(catch_end(), "numa:node:6 is not valid, this process may use the memory of 1, 4, 7, 10"));
	run_on(3);
	ck_assert_int_eq(quarry_node_of(quarry_malloc(SMALL)), OS(3));
}
END_TEST

START_TEST(units_take_all_nodes_by_turns_by_policy)
{
	const size_t sizes[] = SIZES;
	unsigned n[4] = {0}, spans[4] = {0};
	options_parse("numa:interleave");
	make_machine(4);
	run_on(1);
	lot = (struct lot){.nbytes = SMALL, .n = 8 * POOL_SIZE / SMALL_BLOCK};
	lot_allocate(&lot);
	for (size_t i = 0; i < lot.n; i++)
		n[arena_node(lot.block[i])]++;
	lot_free(&lot);
	for (unsigned i = 0; i < 40; i++)
		spans[arena_node(quarry_malloc(SPAN))]++;
	for (unsigned node = 0; node < 4; node++) {
		ck_assert_uint_ge(n[node], POOL_SIZE / SMALL_BLOCK);
		ck_assert_uint_eq(spans[node], 10);
	}
	void *large = quarry_malloc(LARGE);
	ck_assert_uint_eq(machine_state.last_set.bits[0], 15);
	ck_assert_int_eq(quarry_node_of(large), -1);
	quarry_free(large);
	ck_assert(QUARRY_HARDENED || large_kept_nbytes() > 0); /* all such blocks are alike: kept for the next */
	for (unsigned node = 0; node < 4; node++)
		for (size_t i = 0; i < COUNT(sizes); i++)
			ck_assert_int_eq(quarry_node_of(quarry_malloc_on_node(sizes[i], OS(node))), OS(node));
}
END_TEST

/* --- full nodes --------------------------------------------------------------------------------------------------- */

#define MIB ((unsigned long)1024)

static unsigned long free_kib[4], cache_kib[4];

static const char *play_meminfo(const char *path)
{
	static char text[1000];
	for (unsigned node = 0; node < 4; node++) {
		char name[64];
		snprintf(name, sizeof(name), "/sys/devices/system/node/node%d/meminfo", OS(node));
		if (strcmp(path, name) != 0)
			continue;
		snprintf(text, sizeof(text),
		         "Node %d MemTotal:       4194304 kB\nNode %d MemFree:        %lu kB\n"
		         "Node %d Inactive:       4000000 kB\nNode %d Inactive(anon): 4000000 kB\n"
		         "Node %d Active(file):   4000000 kB\nNode %d Inactive(file): %lu kB\nNode",
		         OS(node), OS(node), free_kib[node], OS(node), OS(node), OS(node), OS(node), cache_kib[node]);
		return text;
	}
	return NULL;
}

/* Four nodes, 0 being this thread's and full, and 1 as well. */
static void fill_two_nodes(void)
{
	make_machine(4)->by_cpu = false;
	run_on(0);
	for (unsigned node = 0; node < 4; node++)
		machine_state.nodes[node].nbytes = (uint64_t)64 << 20;
	free_kib[0] = 2 * MIB; /* all of which is reserved */
	free_kib[1] = 2 * MIB + (LARGE >> 10) - 1;
	free_kib[2] = free_kib[3] = 100 * MIB;
	kernel.file = play_meminfo;
}

START_TEST(a_full_node_spills_to_the_nearest_with_room)
{
	const size_t sizes[] = SIZES;
	fill_two_nodes();
	for (size_t i = 0; i < COUNT(sizes); i++)
		ck_assert_int_eq(quarry_node_of(quarry_malloc(sizes[i])), OS(2));
	ck_assert_uint_gt(node_counters[0].spills, 0);
	ck_assert_uint_eq(node_counters[1].spills + node_counters[2].spills, 0);
	ck_assert_uint_eq(slot.heap->node, 0);
	ck_assert_uint_eq(arena_list_births(), 1); /* the second request found room in the first one's arena */
	ck_assert_int_eq(quarry_node_of(quarry_malloc_on_node(SMALL, OS(1))), OS(2));
	ck_assert_uint_gt(node_counters[1].spills, 0);
}
END_TEST

START_TEST(what_files_have_left_in_memory_is_room)
{
	fill_two_nodes();
	cache_kib[0] = 100 * MIB;
	ck_assert_int_eq(quarry_node_of(quarry_malloc(SPAN)), OS(0));
	ck_assert_int_eq(quarry_node_of(quarry_malloc(LARGE)), OS(0));
	ck_assert_uint_eq(node_counters[0].spills, 0);
}
END_TEST

START_TEST(a_large_node_keeps_no_more_in_reserve)
{
	fill_two_nodes();
	machine_state.nodes[0].nbytes = (uint64_t)64 << 30;
	free_kib[0] = 256 * MIB + (ARENA_SIZE >> 10) - 1;
	ck_assert_int_eq(quarry_node_of(quarry_malloc(SPAN)), OS(2));
	free_kib[0] = 256 * MIB + (ARENA_SIZE >> 10);
	sleep_ms(1100);
	ck_assert_int_eq(quarry_node_of(quarry_malloc(LARGE)), OS(0));
}
END_TEST

/* It will touch little of it, perhaps. */
START_TEST(a_huge_block_need_not_fit)
{
	fill_two_nodes();
	free_kib[0] = 1024 * MIB + 2 * MIB;
	free_kib[2] = 4096 * MIB;
	ck_assert_int_eq(quarry_node_of(quarry_malloc((size_t)1536 << 20)), OS(0));
	free_kib[0] = 1024 * MIB;
	ck_assert_int_eq(quarry_node_of(quarry_malloc((size_t)1536 << 20)), OS(2));
}
END_TEST

START_TEST(a_large_block_that_spilled_serves_again)
{
	fill_two_nodes();
	char *block = quarry_malloc(LARGE);
	ck_assert_int_eq(quarry_node_of(block), OS(2));
	quarry_free(block);
	size_t maps = kernel.nmaps;
	ck_assert_ptr_eq(quarry_malloc(LARGE), block);
	ck_assert_uint_eq(kernel.nmaps, maps);
	ck_assert_int_eq(quarry_node_of(block), OS(2));
	ck_assert_uint_eq(node_counters[0].spills, 2);
	kernel.most_mapped = 1;
	ck_assert_ptr_null(quarry_malloc(LARGE));
	ck_assert_uint_eq(node_counters[0].spills, 2);
}
END_TEST

START_TEST(free_units_of_others_come_before_their_arenas)
{
	fill_two_nodes();
	quarry_free(quarry_malloc_on_node(SPAN, OS(3)));
	ck_assert_uint_eq(arena_list_births(), 1);
	ck_assert_int_eq(quarry_node_of(quarry_malloc(SPAN)), OS(3));
	ck_assert_uint_eq(arena_list_births(), 1);
}
END_TEST

START_TEST(a_node_is_looked_at_again_after_a_while)
{
	fill_two_nodes();
	ck_assert_int_eq(quarry_node_of(quarry_malloc(SPAN)), OS(2));
	free_kib[0] = 100 * MIB;
	sleep_ms(1100);
	ck_assert_int_eq(quarry_node_of(quarry_malloc(SPAN)), OS(0));
	uint64_t spills = node_counters[0].spills;
	ck_assert_int_eq(quarry_node_of(quarry_malloc(LARGE)), OS(0));
	ck_assert_uint_eq(node_counters[0].spills, spills);
}
END_TEST

START_TEST(where_no_node_has_room_the_kernel_decides)
{
	fill_two_nodes();
	free_kib[2] = free_kib[3] = 0;
	ck_assert_int_eq(quarry_node_of(quarry_malloc(SPAN)), OS(0));
	ck_assert_int_eq(quarry_node_of(quarry_malloc(LARGE)), OS(0));
	ck_assert_uint_eq(node_counters[0].spills, 0);
}
END_TEST

static const char *say_nothing(const char *path)
{
	(void)path;
	return "";
}

START_TEST(what_the_kernel_does_not_tell_is_no_spill)
{
	fill_two_nodes();
	kernel.file = say_nothing;
	ck_assert_int_eq(quarry_node_of(quarry_malloc(SPAN)), OS(0));
	ck_assert_int_eq(quarry_node_of(quarry_malloc(LARGE)), OS(0));
	ck_assert_uint_eq(node_counters[0].spills, 0);
}
END_TEST

START_TEST(a_refused_mapping_spills_as_well)
{
	make_machine(4);
	run_on(0);
	thread_heap();
	quarry_free(quarry_malloc_on_node(SPAN, OS(2)));
	kernel.most_mapped = 1;
	ck_assert_int_eq(quarry_node_of(quarry_malloc(SPAN)), OS(2)); /* before memory is reclaimed */
	ck_assert_uint_eq(node_counters[0].spills, 1);
}
END_TEST

/* --- one node ----------------------------------------------------------------------------------------------------- */

START_TEST(one_node_serves_all_calls)
{
	const size_t sizes[] = SIZES;
	options_parse("numa:off");
	unsigned long mask = 1;
	for (size_t i = 0; i < COUNT(sizes); i++) {
		ck_assert_ptr_nonnull(quarry_malloc_on_node(sizes[i], 0));
		ck_assert_ptr_nonnull(quarry_malloc_interleaved(sizes[i], &mask, 1));
		ck_assert_ptr_nonnull(quarry_malloc_interleaved(sizes[i], NULL, 0));
		for (int kind = 0; kind < TOPOLOGY_KINDS; kind++)
			ck_assert_ptr_nonnull(quarry_malloc_kind(sizes[i], (enum quarry_kind)kind));
	}
	ck_assert_int_eq(quarry_thread_node_set(0), 0);
	errno = 0;
	ck_assert_ptr_null(quarry_malloc_on_node(SMALL, 1023));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_int_eq(quarry_node_of(quarry_malloc(SMALL)), -1);
	ck_assert_int_eq(quarry_node_of(&lot), -1);
	ck_assert_int_eq(quarry_node_of(NULL), -1);
}
END_TEST

static int expect_only_node(const struct quarry_block *block, void *count)
{
	expect(block->node == OS(0));
	++*(unsigned *)count;
	return 0;
}

START_TEST(the_only_node_is_known_by_its_number)
{
	const size_t sizes[] = SIZES;
	unsigned count = 0;
	make_machine(1);
	ck_assert_uint_eq(node_count(), 1);
	for (size_t i = 0; i < COUNT(sizes); i++)
		ck_assert_int_eq(quarry_node_of(quarry_malloc_on_node(sizes[i], OS(0))), OS(0));
	ck_assert_ptr_null(quarry_malloc_on_node(SMALL, 0));
	ck_assert_int_eq(quarry_thread_node_set(OS(0)), 0);
	ck_assert_int_eq(quarry_thread_node_get(), OS(0));
	ck_assert_int_eq(quarry_walk(expect_only_node, &count), 0);
	ck_assert_uint_eq(count, COUNT(sizes));
}
END_TEST

int main(void)
{
	without_quarantine();
	Suite *suite = suite_create("placement");
	TCase *tcase = new_case(suite, "placement");
	tcase_add_test(tcase, blocks_lie_on_the_node_asked_for);
	tcase_add_test(tcase, a_node_that_may_not_be_used_is_an_error);
	tcase_add_loop_test(tcase, a_node_that_is_asked_for_is_not_the_one_moved_to, 0, 3);
	tcase_add_test(tcase, the_own_node_is_served_from_the_cache);
	tcase_add_test(tcase, blocks_of_another_node_go_home);
	tcase_add_test(tcase, small_blocks_take_the_nodes_of_a_set_by_turns);
	tcase_add_test(tcase, the_nodes_of_any_set_have_even_shares);
	tcase_add_test(tcase, pages_of_large_blocks_are_spread);
	if (!QUARRY_HARDENED) { /* where large blocks keep their length, and are not kept for others */
		tcase_add_test(tcase, what_is_cut_off_spread_pages_is_unmapped);
		tcase_add_test(tcase, a_large_block_that_spilled_serves_again);
	}
	tcase_add_test(tcase, an_empty_or_wrong_set_is_an_error);
	tcase_add_test(tcase, kinds_choose_nodes);
	tcase_add_test(tcase, a_kind_is_of_the_node_that_the_thread_runs_on);
	tcase_add_test(tcase, a_pinned_thread_stays);
	tcase_add_test(tcase, a_pin_before_the_first_block_holds_and_is_the_threads_own);
	tcase_add_test(tcase, without_memory_for_a_heap_a_pin_fails);
	tcase_add_test(tcase, one_node_for_all_by_policy);
	tcase_add_test(tcase, a_node_that_is_none_leaves_the_policy_local);
	tcase_add_test(tcase, units_take_all_nodes_by_turns_by_policy);
	tcase_add_test(tcase, a_full_node_spills_to_the_nearest_with_room);
	tcase_add_test(tcase, what_files_have_left_in_memory_is_room);
	tcase_add_test(tcase, a_large_node_keeps_no_more_in_reserve);
	tcase_add_test(tcase, a_huge_block_need_not_fit);
	tcase_add_test(tcase, free_units_of_others_come_before_their_arenas);
	tcase_add_test(tcase, a_node_is_looked_at_again_after_a_while);
	tcase_add_test(tcase, where_no_node_has_room_the_kernel_decides);
	tcase_add_test(tcase, what_the_kernel_does_not_tell_is_no_spill);
	tcase_add_test(tcase, a_refused_mapping_spills_as_well);
	tcase_add_test(tcase, one_node_serves_all_calls);
	tcase_add_test(tcase, the_only_node_is_known_by_its_number);
	return run_suite(suite);
}
