/* SPDX-License-Identifier: MIT */
/*
 * check_large (large.c, large_record.c): blocks with mappings of their own: what is kept, split, merged and unmapped,
 * and how they grow.
 */
#include "emulated.h"
#include "unit.h"

#include "kernel.h"

#include "arena_list.h"
#include "large.h"
#include "node.h"
#include "os.h"

#define UNIT POOL_SIZE
#define STEP (QUARRY_HARDENED ? os_page_size() : UNIT) /* then comes a closed page */
#define KEPT_LEAST ((size_t)64 << 20)

static char *alloc_zeroed(size_t nbytes, bool is_zeroed)
{
	bool zeroed = !is_zeroed;
	char *block = large_alloc(0, nbytes, ALIGNMENT, &zeroed);
	expect(block != NULL && zeroed == is_zeroed);
	expect(large_usable(block) == (QUARRY_HARDENED ? nbytes : large_good_size(nbytes)));
	return block;
}

static char *alloc_fresh(size_t nbytes)
{
	return alloc_zeroed(nbytes, true);
}

static char *alloc_kept(size_t nbytes)
{
	return alloc_zeroed(nbytes, false);
}

/* One stretch of kept memory of so many units, at the address returned; the first block made. */
static char *keep_stretch(size_t nunits)
{
	char *block = alloc_fresh(nunits * UNIT);
	expect(large_free(block) && large_kept_nbytes() == nunits * UNIT);
	return block;
}

/* --- one block ---------------------------------------------------------------------------------------------------- */

START_TEST(sizes_are_whole_units_or_none)
{
	ck_assert_uint_eq(large_good_size(1), STEP);
	ck_assert_uint_eq(large_good_size(STEP), STEP);
	ck_assert_uint_eq(large_good_size(STEP + 1), 2 * STEP);
	ck_assert_uint_eq(large_good_size(PTRDIFF_MAX), 0);
	ck_assert_uint_eq(large_good_size(SIZE_MAX), 0);
	ck_assert_uint_gt(large_good_size(PTRDIFF_MAX - UNIT), 0);
	bool zeroed;
	errno = 0;
	ck_assert_ptr_null(large_alloc(0, SIZE_MAX - 100, ALIGNMENT, &zeroed));
	ck_assert_int_eq(errno, ENOMEM);
	errno = 0;
	ck_assert_ptr_null(large_alloc(0, (size_t)1 << 60, ALIGNMENT, &zeroed));
	ck_assert_int_eq(errno, ENOMEM);
	ck_assert_uint_eq(large_live_nbytes(), 0);
}
END_TEST

START_TEST(a_block_is_known_by_its_start_alone)
{
	const size_t nbytes = 3 * UNIT + 5, good = round_up(nbytes, STEP), usable = QUARRY_HARDENED ? nbytes : good;
	char *block = alloc_fresh(nbytes);
	struct large_block found;
	ck_assert(reads_as_zero(block, usable));
	stamp(block, usable, 99);
	ck_assert_uint_eq(large_live_nbytes(), good);
	ck_assert_uint_eq(large_usable(block), usable);
	ck_assert_uint_eq(large_usable(block + 16), 0);
	ck_assert_uint_eq(large_usable(block + UNIT), 0);
	ck_assert(!large_free(block + 16));
	ck_assert(!large_free(block + UNIT));
	ck_assert(!large_free(&found));
	ck_assert(large_find(block, &found));
	ck_assert_ptr_eq(found.address, block);
	ck_assert(found.nbytes == good && found.usable == usable);
	ck_assert(large_find(block + good - 1, &found));
	ck_assert(!large_find(block + good, &found));
	ck_assert(!large_find(block - 1, &found));
	ck_assert(stamp_holds(block, usable, 99));
	ck_assert(large_free(block));
	ck_assert(!large_free(block));
	ck_assert(!large_find(block, &found));
	ck_assert_uint_eq(large_usable(block), 0);
	ck_assert_uint_eq(large_live_nbytes(), 0);
}
END_TEST

START_TEST(blocks_are_aligned)
{
	for (size_t alignment = ALIGNMENT; alignment <= (size_t)64 << 20; alignment *= 4) {
		bool zeroed;
		char *block = large_alloc(0, 2 * UNIT, alignment, &zeroed);
		ck_assert_ptr_nonnull(block);
		ck_assert_uint_eq((uintptr_t)block % alignment, 0);
		ck_assert_uint_eq((uintptr_t)block % UNIT, 0);
		ck_assert(large_free(block));
	}
}
END_TEST

START_TEST(kept_memory_serves_only_where_it_is_aligned)
{
	size_t alignment = 64 * UNIT;
	bool zeroed;
	char *block = large_alloc(0, 4 * UNIT, alignment, &zeroed);
	char *first = block;
	ck_assert(large_resize(block, 8 * UNIT) || large_kept_nbytes() == 0);
	ck_assert(large_free(block));
	block = alloc_kept(UNIT);
	ck_assert_ptr_eq(block, first);
	char *aligned = large_alloc(0, 2 * UNIT, alignment, &zeroed);
	ck_assert_uint_eq((uintptr_t)aligned % alignment, 0);
	ck_assert(zeroed);
}
END_TEST

/* --- keeping ------------------------------------------------------------------------------------------------------ */

START_TEST(a_freed_block_is_kept_and_serves_again)
{
	char *block = alloc_fresh(5 * UNIT);
	memset(block, 1, 5 * UNIT);
	ck_assert(large_free(block));
	ck_assert_uint_eq(large_kept_nbytes(), 5 * UNIT);
	ck_assert_uint_eq(large_live_nbytes(), 0);
	size_t maps = kernel.nmaps;
	ck_assert_ptr_eq(alloc_kept(5 * UNIT), block);
	ck_assert_uint_eq(kernel.nmaps, maps);
	ck_assert_uint_eq(large_kept_nbytes(), 0);
	ck_assert_uint_eq(large_live_nbytes(), 5 * UNIT);
}
END_TEST

START_TEST(what_is_too_much_stays_kept)
{
	char *stretch = keep_stretch(10);
	char *first = alloc_kept(3 * UNIT), *second = alloc_kept(2 * UNIT);
	ck_assert_ptr_eq(first, stretch);
	ck_assert_ptr_eq(second, stretch + 3 * UNIT);
	ck_assert_uint_eq(large_kept_nbytes(), 5 * UNIT);
	stamp(first, 3 * UNIT, 1);
	stamp(second, 2 * UNIT, 2);
	char *third = alloc_kept(5 * UNIT);
	stamp(third, 5 * UNIT, 3);
	ck_assert(stamp_holds(first, 3 * UNIT, 1) && stamp_holds(second, 2 * UNIT, 2));
	ck_assert_uint_eq(large_kept_nbytes(), 0);
	alloc_fresh(UNIT);
}
END_TEST

/* The three parts of a stretch come back in each order; then the whole must serve again. */
START_TEST(neighbours_merge_in_any_order)
{
	static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
	char *stretch = keep_stretch(9), *part[3];
	for (int i = 0; i < 3; i++)
		part[i] = alloc_kept((size_t)(2 + i) * UNIT);
	for (int i = 0; i < 3; i++)
		ck_assert(large_free(part[orders[_i][i]]));
	ck_assert_uint_eq(large_kept_nbytes(), 9 * UNIT);
	ck_assert_ptr_eq(alloc_kept(9 * UNIT), stretch);
}
END_TEST

START_TEST(the_smallest_that_fits_is_taken)
{
	static const size_t sizes[] = {9, 4, 6, 12};
	char *blocks[COUNT(sizes)], *between[COUNT(sizes)];
	char *stretch = keep_stretch(40);
	for (size_t i = 0; i < COUNT(sizes); i++) {
		blocks[i] = alloc_kept(sizes[i] * UNIT);
		between[i] = alloc_kept(UNIT);
	}
	ck_assert_ptr_eq(blocks[0], stretch);
	ck_assert_ptr_nonnull(between[0]);
	alloc_kept(large_kept_nbytes());
	for (size_t i = 0; i < COUNT(sizes); i++)
		ck_assert(large_free(blocks[i]));
	ck_assert_ptr_eq(alloc_kept(5 * UNIT), blocks[2]);
	ck_assert_ptr_eq(alloc_kept(4 * UNIT), blocks[1]);
	ck_assert_ptr_eq(alloc_kept(10 * UNIT), blocks[3]);
	ck_assert_ptr_eq(alloc_kept(2 * UNIT), blocks[3] + 10 * UNIT);
	ck_assert_ptr_eq(alloc_kept(9 * UNIT), blocks[0]);
}
END_TEST

START_TEST(no_record_no_split)
{
	enum { MORE_THAN_RECORDS = 1000 };
	bool zeroed;
	size_t nblocks = 0, nbytes = 0;
	keep_stretch(MORE_THAN_RECORDS);
	kernel.most_mapped = 1; /* no records either */
	for (char *block; (block = large_alloc(0, UNIT, ALIGNMENT, &zeroed)) != NULL; nblocks++) {
		nbytes += large_usable(block);
		stamp(block, large_usable(block), nblocks);
	}
	ck_assert_uint_lt(nblocks, MORE_THAN_RECORDS);
	ck_assert_uint_eq(nbytes, MORE_THAN_RECORDS * UNIT);
	ck_assert_uint_eq(large_live_nbytes(), nbytes);
	ck_assert_uint_eq(large_kept_nbytes(), 0);
}
END_TEST

START_TEST(what_is_kept_is_bounded)
{
	size_t nbytes = KEPT_LEAST / 4;
	char *blocks[12];
	for (size_t i = 0; i < COUNT(blocks); i++)
		blocks[i] = alloc_fresh(nbytes);
	for (size_t i = 0; i < COUNT(blocks); i++) {
		ck_assert(large_free(blocks[i]));
		size_t live = large_live_nbytes(), most = live > KEPT_LEAST ? live : KEPT_LEAST;
		ck_assert_uint_le(large_kept_nbytes(), most);
	}
	ck_assert_uint_eq(large_live_nbytes(), 0);
	ck_assert_uint_gt(large_kept_nbytes() + nbytes, 0);
}
END_TEST

START_TEST(nodes_keep_apart)
{
	node_set_for_tests(2);
	bool zeroed;
	char *zero = large_alloc(0, 4 * UNIT, ALIGNMENT, &zeroed);
	ck_assert(large_free(zero));
	char *one = large_alloc(1, 4 * UNIT, ALIGNMENT, &zeroed);
	struct large_block found;
	ck_assert(zeroed);
	ck_assert_ptr_ne(one, zero);
	ck_assert(large_find(one, &found));
	ck_assert_uint_eq(found.node, 1);
	ck_assert(large_free(one));
	ck_assert_uint_eq(large_kept_nbytes(), 8 * UNIT);
	ck_assert_ptr_eq(large_alloc(1, 4 * UNIT, ALIGNMENT, &zeroed), one);
	ck_assert_ptr_eq(large_alloc(0, 4 * UNIT, ALIGNMENT, &zeroed), zero);
}
END_TEST

/* --- giving back -------------------------------------------------------------------------------------------------- */

START_TEST(only_old_blocks_are_unmapped)
{
	char *apart[3];
	keep_stretch(12);
	for (int i = 0; i < 3; i++) {
		apart[i] = alloc_kept(3 * UNIT);
		alloc_kept(UNIT);
	}
	arena_list_set_tick(254);
	ck_assert(large_free(apart[0]));
	arena_list_set_tick(1);
	ck_assert(large_free(apart[1]));
	ck_assert_uint_eq(large_purge(4, SIZE_MAX), 0);
	arena_list_set_tick(2);
	ck_assert(large_free(apart[2]));
	ck_assert_uint_eq(large_purge(4, SIZE_MAX), 3 * UNIT);
	ck_assert(!is_mapped_at(apart[0]));
	ck_assert(is_mapped_at(apart[1]));
	ck_assert_uint_eq(large_kept_nbytes(), 6 * UNIT);
	ck_assert_uint_eq(large_purge(0, 1), 3 * UNIT);
	ck_assert_uint_eq(large_purge(0, SIZE_MAX), 3 * UNIT);
	ck_assert_uint_eq(large_purge(0, SIZE_MAX), 0);
	ck_assert_uint_eq(large_kept_nbytes(), 0);
	ck_assert(!is_mapped_at(apart[1]) && !is_mapped_at(apart[2]));
}
END_TEST

START_TEST(a_rest_is_as_old_as_the_whole_was)
{
	char *stretch = keep_stretch(4);
	arena_list_set_tick(4);
	ck_assert_ptr_eq(alloc_kept(UNIT), stretch);
	ck_assert_uint_eq(large_purge(4, SIZE_MAX), 3 * UNIT);
	ck_assert(is_mapped_at(stretch));
	ck_assert(!is_mapped_at(stretch + UNIT));
}
END_TEST

START_TEST(what_cannot_be_unmapped_stays_kept)
{
	char *stretch = keep_stretch(4);
	kernel.refuse_unmap = true;
	ck_assert_uint_eq(large_purge(0, SIZE_MAX), 0);
	ck_assert_uint_eq(large_kept_nbytes(), 4 * UNIT);
	kernel.refuse_unmap = false;
	ck_assert_ptr_eq(alloc_kept(4 * UNIT), stretch);
}
END_TEST

/* --- changing size ------------------------------------------------------------------------------------------------ */

START_TEST(a_block_shrinks_and_grows_back_in_place)
{
	char *block = alloc_fresh(8 * UNIT);
	stamp(block, 3 * UNIT, 5);
	ck_assert(large_resize(block, 3 * UNIT - 7));
	ck_assert_uint_eq(large_usable(block), 3 * UNIT);
	ck_assert_uint_eq(large_live_nbytes(), 3 * UNIT);
	ck_assert(stamp_holds(block, 3 * UNIT, 5));
	ck_assert(large_resize(block, 6 * UNIT));
	ck_assert_uint_eq(large_usable(block), 6 * UNIT);
	stamp(block, 6 * UNIT, 6);
	ck_assert(large_resize(block, 8 * UNIT));
	ck_assert(large_resize(block, 8 * UNIT));
	ck_assert_uint_eq(large_usable(block), 8 * UNIT);
	memset(block, 1, 8 * UNIT);
	ck_assert_uint_eq(large_live_nbytes(), 8 * UNIT);
	ck_assert_uint_eq(large_kept_nbytes(), 0);
}
END_TEST

START_TEST(what_is_cut_off_is_kept)
{
	char *block = alloc_fresh(8 * UNIT);
	ck_assert(large_resize(block, 3 * UNIT));
	ck_assert_uint_eq(large_kept_nbytes() + large_live_nbytes(), 8 * UNIT);
	ck_assert_ptr_eq(alloc_kept(5 * UNIT), block + 3 * UNIT);
	ck_assert(!large_resize(block, 4 * UNIT) || is_mapped_at(block + 8 * UNIT));
	ck_assert_uint_eq(large_usable(block), 3 * UNIT);
}
END_TEST

START_TEST(nothing_is_grown_over)
{
	char *stretch = keep_stretch(6);
	char *first = alloc_kept(2 * UNIT), *second = alloc_kept(2 * UNIT);
	ck_assert_ptr_eq(first, stretch);
	stamp(second, 2 * UNIT, 7);
	ck_assert(!large_resize(first, 3 * UNIT));
	ck_assert_uint_eq(large_usable(first), 2 * UNIT);
	ck_assert(large_resize(second, 3 * UNIT));
	ck_assert_uint_eq(large_kept_nbytes(), UNIT);
	ck_assert(!large_resize(first, SIZE_MAX));
	ck_assert(!large_resize(first + UNIT, 3 * UNIT));
	ck_assert_uint_eq(large_live_nbytes(), 5 * UNIT);
}
END_TEST

START_TEST(a_move_keeps_the_contents)
{
	char *block = alloc_fresh(4 * UNIT), *before = block;
	struct large_block found;
	for (size_t i = 0; i < 4 * UNIT; i += 8)
		memcpy(block + i, &i, sizeof i);
	for (size_t nunits = 7; nunits < 200; nunits = nunits * 2 + 1) {
		char *moved = large_move(block, nunits * UNIT - 9);
		ck_assert_ptr_nonnull(moved);
		ck_assert_ptr_ne(moved, block);
		ck_assert_uint_eq(large_usable(moved), nunits * UNIT);
		ck_assert_uint_eq(large_live_nbytes(), nunits * UNIT);
		ck_assert_uint_eq(large_usable(block), 0);
		block = moved;
		for (size_t i = 0; i < 4 * UNIT; i += 8)
			expect(memcmp(block + i, &i, sizeof i) == 0);
		ck_assert(reads_as_zero(block + (nunits - 1) * UNIT, UNIT));
	}
	ck_assert(!is_mapped_at(before) || !large_find(before, &found));
	ck_assert(large_find(block, &found));
	char *smaller = large_move(block, 2 * UNIT);
	ck_assert_ptr_nonnull(smaller);
	ck_assert_uint_eq(large_live_nbytes(), 2 * UNIT);
	ck_assert(large_free(smaller));
}
END_TEST

START_TEST(a_refused_move_changes_nothing)
{
	char *block = alloc_fresh(4 * UNIT);
	stamp(block, 4 * UNIT, 8);
	size_t mapped = kernel.mapped_nbytes - kernel.unmapped_nbytes;
	kernel.refuse_remap = true;
	ck_assert_ptr_null(large_move(block, 8 * UNIT));
	if (!QUARRY_TSAN) /* whose own thread makes the target somebody else's, perhaps */
		ck_assert_uint_eq(kernel.mapped_nbytes - kernel.unmapped_nbytes, mapped);
	kernel.refuse_remap = false;
	kernel.most_mapped = 1;
	ck_assert_ptr_null(large_move(block, 8 * UNIT));
	kernel.most_mapped = 0;
	ck_assert_ptr_null(large_move(block, SIZE_MAX));
	ck_assert_ptr_null(large_move(block + UNIT, 8 * UNIT));
	ck_assert(stamp_holds(block, 4 * UNIT, 8));
	ck_assert_uint_eq(large_usable(block), 4 * UNIT);
	ck_assert(large_free(block));
}
END_TEST

/* The kernel would refuse it in a way that leaves open whether the target is still mapped. */
START_TEST(what_the_kernel_has_split_is_not_moved)
{
	struct actor other;
	actor_begin(&other);
	char *block = alloc_fresh(4 * UNIT);
	char *wall = os_map_exactly(block + 4 * UNIT, os_page_size());
	ck_assert(wall != NULL || is_mapped_at(block + 4 * UNIT));
	stamp(block, 4 * UNIT, 8);
	ck_assert_int_eq(madvise(block, UNIT, MADV_DONTFORK), 0);
	size_t mapped = kernel.mapped_nbytes - kernel.unmapped_nbytes;
	ck_assert(!large_resize(block, 8 * UNIT));
	if (!is_emulated()) {
		ck_assert_ptr_null(large_move(block, 8 * UNIT));
		ck_assert_uint_eq(kernel.mapped_nbytes - kernel.unmapped_nbytes, mapped);
	}
	ck_assert(stamp_holds(block, 4 * UNIT, 8));
	ck_assert(large_free(block));
	/* The memory is another block's now, which does not inherit the verdict. */
	block = alloc_kept(4 * UNIT);
	ck_assert_int_eq(madvise(block, UNIT, MADV_DOFORK), 0);
	ck_assert_ptr_nonnull(large_move(block, 8 * UNIT));
	actor_end(&other);
}
END_TEST

/* Another thread may be given the addresses that a move has just left. */
static char *left, *successor;

static void settle_there(void)
{
	kernel.after_remap = NULL;
	kernel.place = left;
	successor = alloc_fresh(4 * UNIT);
}

START_TEST(a_successor_at_the_old_address_is_left_alone)
{
	left = alloc_fresh(4 * UNIT);
	kernel.after_remap = settle_there;
	char *moved = large_move(left, 8 * UNIT);
	ck_assert_ptr_nonnull(moved);
	ck_assert_ptr_eq(successor, left);
	ck_assert_uint_eq(large_usable(successor), 4 * UNIT);
	ck_assert(large_free(successor));
	ck_assert(large_free(moved));
}
END_TEST

/* The words of what a block grows over must become writable too: they lie in stretches of 2^14 units. */
START_TEST(a_block_grows_into_addresses_that_were_never_placed)
{
	if (QUARRY_TSAN) /* its runtime has a say in where mappings go */
		return;
	alloc_fresh(UNIT);
	size_t stretch = UNIT << 14;
	uintptr_t window = address_map.first_unit << QUARRY_POOL_BITS;
	char *edge = (char *)(window + (((address_map.nunits / 4) << QUARRY_POOL_BITS) & ~(stretch - 1)));
	kernel.place = edge - 2 * UNIT;
	char *block = alloc_fresh(2 * UNIT);
	ck_assert_ptr_eq(block, edge - 2 * UNIT);
	if (large_resize(block, 6 * UNIT)) {
		ck_assert(large_free(block));
		ck_assert_ptr_eq(alloc_kept(3 * UNIT), block);
		ck_assert_ptr_eq(alloc_kept(3 * UNIT), block + 3 * UNIT);
	}
}
END_TEST

/* --- all blocks --------------------------------------------------------------------------------------------------- */

START_TEST(every_live_block_is_found_once)
{
	enum { MANY = 600 };
	static char *blocks[MANY];
	unsigned seen = 0;
	struct large_block block;
	for (size_t i = 0; i < MANY; i++)
		blocks[i] = alloc_fresh((1 + i % 3) * UNIT);
	for (size_t i = 0; i < MANY; i += 2)
		ck_assert(large_free(blocks[i]));
	for (uint32_t number = 0; large_next(&number, &block);) {
		bool found = false;
		for (size_t i = 1; i < MANY && !found; i += 2)
			if (blocks[i] == block.address) {
				expect(block.nbytes == (1 + i % 3) * UNIT);
				found = true;
				blocks[i] = NULL;
			}
		expect(found);
		seen++;
	}
	ck_assert_uint_eq(seen, MANY / 2);
}
END_TEST

/* --- at random ---------------------------------------------------------------------------------------------------- */

struct owned {
	char *start;
	uint64_t mark;
};

static void exchange(struct owned *owned, uint64_t *seed)
{
	size_t nbytes = (1 + random_below(seed, 40)) * UNIT;
	if (owned->start != NULL) {
		size_t usable = large_usable(owned->start);
		expect(usable != 0 && stamp_holds(owned->start, usable, owned->mark));
		size_t choice = random_below(seed, 4);
		char *moved = choice == 0 ? large_move(owned->start, nbytes) : NULL;
		if (choice > 1) {
			expect(large_free(owned->start));
			owned->start = NULL;
			return;
		}
		if (moved != NULL)
			owned->start = moved;
		else
			large_resize(owned->start, nbytes);
	} else {
		bool zeroed;
		owned->start = large_alloc(0, nbytes, random_below(seed, 4) == 0 ? 8 * UNIT : ALIGNMENT, &zeroed);
		expect(owned->start != NULL && (!zeroed || reads_as_zero(owned->start, UNIT)));
	}
	owned->mark = random_next(seed);
	stamp(owned->start, large_usable(owned->start), owned->mark);
}

#define OWNED 32

static void *exchange_many(void *arg)
{
	uint64_t seed = *(uint64_t *)arg;
	struct owned owned[OWNED] = {{NULL, 0}};
	for (int step = 0; step < 4000; step++) {
		exchange(&owned[random_below(&seed, OWNED)], &seed);
		if (step % 256 == 0)
			large_purge(0, SIZE_MAX);
	}
	for (size_t i = 0; i < OWNED; i++)
		if (owned[i].start != NULL)
			expect(stamp_holds(owned[i].start, large_usable(owned[i].start), owned[i].mark) &&
			       large_free(owned[i].start));
	return NULL;
}

START_TEST(threads_exchange_blocks_at_random)
{
	if (is_emulated())
		return;
	pthread_t threads[3];
	uint64_t seeds[3] = {11, 22, 33};
	for (size_t i = 0; i < COUNT(threads); i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, exchange_many, &seeds[i]), 0);
	for (size_t i = 0; i < COUNT(threads); i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(large_live_nbytes(), 0);
	large_purge(0, SIZE_MAX);
	ck_assert_uint_eq(large_kept_nbytes(), 0);
}
END_TEST

START_TEST(a_fork_finds_the_lock_free)
{
	keep_stretch(4);
	large_lock_for_fork();
	ck_assert(child_succeeds({
		large_unlock_after_fork(true);
		char *block = alloc_kept(UNIT);
		child_expect(large_free(block) && large_purge(0, SIZE_MAX) == 4 * UNIT);
	}));
	large_unlock_after_fork(false);
	alloc_kept(4 * UNIT);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("large");
	TCase *tcase = new_case(suite, "large");
	tcase_add_test(tcase, sizes_are_whole_units_or_none);
	tcase_add_test(tcase, a_block_is_known_by_its_start_alone);
	tcase_add_test(tcase, blocks_are_aligned);
	tcase_add_test(tcase, what_is_kept_is_bounded);
	tcase_add_test(tcase, a_refused_move_changes_nothing);
	if (!QUARRY_HARDENED) { /* where a block keeps its length and place, and is not kept for others once it is free */
		tcase_add_test(tcase, kept_memory_serves_only_where_it_is_aligned);
		tcase_add_test(tcase, a_freed_block_is_kept_and_serves_again);
		tcase_add_test(tcase, what_is_too_much_stays_kept);
		tcase_add_loop_test(tcase, neighbours_merge_in_any_order, 0, 6);
		tcase_add_test(tcase, the_smallest_that_fits_is_taken);
		tcase_add_test(tcase, no_record_no_split);
		tcase_add_test(tcase, nodes_keep_apart);
		tcase_add_test(tcase, only_old_blocks_are_unmapped);
		tcase_add_test(tcase, a_rest_is_as_old_as_the_whole_was);
		tcase_add_test(tcase, what_cannot_be_unmapped_stays_kept);
		tcase_add_test(tcase, a_block_shrinks_and_grows_back_in_place);
		tcase_add_test(tcase, what_is_cut_off_is_kept);
		tcase_add_test(tcase, nothing_is_grown_over);
		tcase_add_test(tcase, a_move_keeps_the_contents);
		tcase_add_test(tcase, what_the_kernel_has_split_is_not_moved);
		tcase_add_test(tcase, a_successor_at_the_old_address_is_left_alone);
		tcase_add_test(tcase, a_block_grows_into_addresses_that_were_never_placed);
		tcase_add_test(tcase, a_fork_finds_the_lock_free);
	}
	tcase_add_test(tcase, every_live_block_is_found_once);
	tcase_add_test(tcase, threads_exchange_blocks_at_random);
	return run_suite(suite);
}
