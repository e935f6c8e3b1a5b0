/* SPDX-License-Identifier: MIT */
/*
 * check_heap: records and ids, how pools come, move and go, and which misuse is seen when a block comes home.
 */
#include "heaps.h"

#include "arena_list.h"
#include "kernel.h"

static struct heap *heap, *shared;

static void begin(void)
{
	heap = thread_heap();
	shared = heap_shared(0);
	heap_lock(heap);
	claim_settle(heap);
	heap_unlock(heap);
	expect(arena_list_grow(0));
}

/* n blocks of the class straight from the heap's pools. */
static void take(struct heap *from, unsigned szidx, size_t n, struct block *blocks[])
{
	heap_lock(from);
	for (size_t i = 0; i < n; i++) {
		blocks[i] = heap_take_block(from, szidx);
		if (blocks[i] == NULL && heap_add_pool(from, szidx))
			blocks[i] = heap_take_block(from, szidx);
		expect(blocks[i] != NULL);
	}
	heap_unlock(from);
}

static void put(struct heap *to, size_t n, struct block *const blocks[])
{
	heap_lock(to);
	for (size_t i = 0; i < n; i++)
		heap_put_block(to, blocks[i], address_map_word(blocks[i]));
	heap_unlock(to);
}

/* --- records ------------------------------------------------------------------------------------------------------ */

START_TEST(ids_name_records_for_good)
{
	struct heap *made[300];
	begin();
	unsigned before = heap_count();
	for (unsigned i = 0; i < COUNT(made); i++) {
		made[i] = heap_obtain(0);
		ck_assert_uint_eq(made[i]->id, before + 1 + i);
		ck_assert_uint_eq(made[i]->word_base, made[i]->id << WORD_OWNER_SHIFT);
		ck_assert_int_eq(made[i]->kind, HEAP_PARKED);
	}
	unsigned n = 0;
	for (struct heap *each = heap_first(); each != NULL; each = heap_next(each), n++)
		expect(heap_by_id(each->id) == each && each->id == n + 1);
	ck_assert_uint_eq(n, heap_count());
	for (unsigned i = 0; i < COUNT(made); i++)
		heap_park(made[i]);
	for (unsigned i = COUNT(made); i-- > 0;)
		ck_assert_ptr_eq(heap_obtain(0), made[i]);
	heap_park(made[0]);
	ck_assert_ptr_ne(heap_obtain(1), made[0]);
	ck_assert_ptr_eq(heap_shared(0), shared);
	ck_assert_ptr_ne(heap_shared(1), shared);
	ck_assert_ptr_eq(heap_obtain(0), made[0]);
	heap_park(made[0]);
	heap_forget_parked();
	ck_assert_ptr_ne(heap_obtain(0), made[0]);
}
END_TEST

START_TEST(no_record_without_memory)
{
	begin();
	kernel.most_mapped = 1;
	unsigned n = 0;
	while (heap_obtain(0) != NULL)
		expect(n++ < 10000);
	ck_assert_int_eq(errno, ENOMEM);
	unsigned before = heap_count();
	ck_assert_ptr_null(heap_obtain(0));
	ck_assert_uint_eq(heap_count(), before);
	kernel.most_mapped = 0;
	ck_assert_uint_eq(heap_obtain(0)->id, before + 1);
}
END_TEST

START_TEST(the_empty_heap_owns_nothing)
{
	begin();
	ck_assert_uint_eq(cached_blocks(&heap_empty), 0);
	ck_assert_uint_gt(heap_empty.id, 100000);
	void *block = quarry_malloc(SMALL);
	ck_assert_uint_ne(word_owner(address_map_word(block)), heap_empty.id);
}
END_TEST

/* --- pools -------------------------------------------------------------------------------------------------------- */

START_TEST(a_pool_says_whose_it_is_in_every_unit)
{
	begin();
	for (unsigned szidx = 0; szidx < NB_SIZE_CLASSES; szidx++) {
		struct block *block;
		take(heap, szidx, 1, &block);
		char *start = pool_start(pool_of(block));
		for (unsigned phase = 0; phase < size_classes[szidx].units; phase++)
			ck_assert_uint_eq(address_map_word(start + phase * POOL_SIZE),
			                  word_of_pool(heap->id, phase, szidx));
		ck_assert_int_eq(heap->counters.out_nbytes, (int64_t)sizeclass_nbytes(szidx));
		put(heap, 1, &block);
		ck_assert_int_eq(heap->counters.out_nbytes, 0);
		ck_assert_uint_eq(ring_length(heap, szidx), 1);
	}
}
END_TEST

START_TEST(full_pools_are_in_no_ring)
{
	static struct block *blocks[POOL_MAX_BLOCKS * 3];
	begin();
	size_t capacity = size_classes[SMALL_SZIDX].capacity;
	take(heap, SMALL_SZIDX, 3 * capacity, blocks);
	ck_assert_uint_eq(ring_length(heap, SMALL_SZIDX), 0);
	ck_assert(pool_is_full(pool_of(blocks[0])));
	put(heap, 1, &blocks[0]);
	ck_assert_uint_eq(ring_length(heap, SMALL_SZIDX), 1);
	put(heap, 1, &blocks[capacity]);
	ck_assert_uint_eq(ring_length(heap, SMALL_SZIDX), 2);
	struct block *chain;
	heap_lock(heap);
	ck_assert_uint_eq(heap_take_batch(heap, SMALL_SZIDX, 100, &chain), 1);
	ck_assert_ptr_eq(chain, blocks[capacity]);
	ck_assert_ptr_eq(heap_take_block(heap, SMALL_SZIDX), blocks[0]);
	ck_assert_uint_eq(heap_take_batch(heap, SMALL_SZIDX, 100, &chain), 0);
	ck_assert_ptr_null(heap_take_block(heap, SMALL_SZIDX));
	heap_unlock(heap);
	ck_assert_int_eq(heap->counters.out_nbytes, (int64_t)(3 * capacity * SMALL_BLOCK));
}
END_TEST

START_TEST(the_last_empty_pool_is_kept)
{
	static struct block *blocks[POOL_MAX_BLOCKS * 3];
	begin();
	size_t capacity = size_classes[SMALL_SZIDX].capacity, n = 3 * capacity;
	take(heap, SMALL_SZIDX, n, blocks);
	ck_assert_uint_eq(arena_list_dirty_nbytes(), 0);
	put(heap, n, blocks);
	ck_assert_uint_eq(ring_length(heap, SMALL_SZIDX), 1);
	ck_assert_uint_eq(arena_list_dirty_nbytes(), 2 * POOL_SIZE * size_classes[SMALL_SZIDX].units);
	char *kept = pool_start(pool_of_link(heap->usedpools[SMALL_SZIDX].nextpool));
	heap_lock(heap);
	heap_release_empty(heap);
	heap_unlock(heap);
	ck_assert_uint_eq(ring_length(heap, SMALL_SZIDX), 0);
	ck_assert_uint_eq(arena_list_dirty_nbytes(), 3 * POOL_SIZE * size_classes[SMALL_SZIDX].units);
	ck_assert_uint_eq(address_map_word(kept), 0);
	struct heap *idle = heap_obtain(0); /* parked ones keep none */
	take(idle, SMALL_SZIDX, 1, blocks);
	put(idle, 1, blocks);
	ck_assert_uint_eq(ring_length(idle, SMALL_SZIDX), 0);
}
END_TEST

START_TEST(units_that_were_not_carved_stay_clean)
{
	begin();
	unsigned szidx = 0;
	while (szidx < NB_SIZE_CLASSES - 1 && size_classes[szidx].units < 2)
		szidx++;
	unsigned units = size_classes[szidx].units;
	if (units < 2)
		return;
	struct block *block;
	take(heap, szidx, 1, &block);
	ck_assert(pool_of(block)->zeroed);
	size_t carved = pool_of(block)->nextoffset, touched = (carved + POOL_SIZE - 1) / POOL_SIZE;
	ck_assert(QUARRY_HARDENED || carved == sizeclass_nbytes(szidx));
	put(heap, 1, &block);
	heap_lock(heap);
	heap_release_empty(heap);
	heap_unlock(heap);
	ck_assert_uint_eq(arena_list_dirty_nbytes(), touched * POOL_SIZE);
}
END_TEST

START_TEST(pools_go_to_the_shared_heap_and_are_borrowed_from_it)
{
	static struct block *blocks[POOL_MAX_BLOCKS * 2];
	begin();
	unsigned other = SMALL_SZIDX + 1;
	size_t capacity = size_classes[SMALL_SZIDX].capacity;
	struct heap *idle = heap_obtain(0);
	struct block *lone;
	take(idle, SMALL_SZIDX, capacity + 1, blocks);
	take(idle, other, 1, &lone);
	put(idle, 0, NULL);
	heap_lock(idle);
	heap_give_rings(idle);
	heap_unlock(idle);
	ck_assert_ptr_eq(owner_of(blocks[0]), idle); /* full: in no ring */
	ck_assert_uint_eq(heap_out_of_own(idle), capacity * SMALL_BLOCK);
	ck_assert_uint_eq(heap_out_of_own(shared), SMALL_BLOCK + sizeclass_nbytes(other));
	ck_assert_ptr_eq(owner_of(blocks[capacity]), shared);
	ck_assert_ptr_eq(owner_of(lone), shared);
	ck_assert_uint_eq(ring_length(idle, SMALL_SZIDX), 0);
	ck_assert_uint_eq(ring_length(shared, SMALL_SZIDX), 1);
	heap_lock(heap);
	ck_assert(heap_add_pool(heap, SMALL_SZIDX));
	heap_unlock(heap);
	ck_assert_ptr_eq(owner_of(blocks[capacity]), heap);
	ck_assert_uint_eq(ring_length(shared, SMALL_SZIDX), 0);
	ck_assert_uint_eq(ring_length(heap, SMALL_SZIDX), 1);
	heap_lock(idle);
	ck_assert(heap_add_pool(idle, other)); /* no thread, no borrowing */
	heap_unlock(idle);
	ck_assert_ptr_eq(owner_of(lone), shared);
	ck_assert_int_eq(out_nbytes(), (int64_t)((capacity + 1) * SMALL_BLOCK + sizeclass_nbytes(other)));
}
END_TEST

START_TEST(no_pool_without_an_arena)
{
	begin();
	heap_lock(heap);
	size_t n = 0;
	while (heap_add_pool(heap, 0))
		n++;
	ck_assert_uint_eq(n, (ARENA_UNITS - ARENA_HEAD_UNITS) / (1 + QUARRY_HARDENED)); /* a closed unit behind each */
	ck_assert_uint_eq(ring_length(heap, 0), n);
	heap_release_empty(heap);
	ck_assert_uint_eq(ring_length(heap, 0), 0);
	heap_unlock(heap);
}
END_TEST

/* --- misuse ------------------------------------------------------------------------------------------------------- */

static const char *complaint(void *ptr, const void *live)
{
	int64_t out = heap->counters.out_nbytes;
	unsigned count = pool_of(live)->count;
	catch_begin();
	heap_lock(heap);
	heap_put_block(heap, ptr, address_map_word(ptr));
	heap_unlock(heap);
	const char *text = catch_end();
	ck_assert_int_eq(heap->counters.out_nbytes, out);
	ck_assert_uint_eq(pool_of(live)->count, count);
	return text;
}

START_TEST(what_is_no_block_is_reported)
{
	struct block *blocks[4];
	begin();
	unsigned szidx = SMALL_SZIDX + 1;
	take(heap, szidx, 4, blocks);
	char *start = pool_start(pool_of(blocks[0]));
	size_t nbytes = sizeclass_nbytes(szidx), used = nbytes * size_classes[szidx].capacity;
	size_t carved = pool_of(blocks[0])->nextoffset;
	ck_assert(carved < used && (QUARRY_HARDENED || carved == 4 * nbytes));
	ck_assert_ptr_nonnull(strstr(complaint((char *)blocks[1] + 16, blocks[0]), "no block"));
	ck_assert_ptr_nonnull(strstr(complaint(start + carved, blocks[0]), "no block"));
	if (used < size_classes[szidx].units * POOL_SIZE)
		ck_assert_ptr_nonnull(strstr(complaint(start + used, blocks[0]), "no block"));
	put(heap, 1, &blocks[2]);
	ck_assert_ptr_nonnull(strstr(complaint(blocks[2], blocks[0]), "double free"));
	put(heap, 1, &blocks[0]);
	put(heap, 1, &blocks[1]);
	put(heap, 1, &blocks[3]);
	ck_assert_int_eq(heap->counters.out_nbytes, 0);
}
END_TEST

START_TEST(misuse_ends_the_process)
{
	struct block *blocks[2];
	begin();
	take(heap, SMALL_SZIDX, 2, blocks);
	put(heap, 1, blocks);
	put(heap, 1, blocks);
}
END_TEST

int main(void)
{
	without_quarantine();
	Suite *suite = suite_create("heap");
	TCase *tcase = new_case(suite, "heap");
	tcase_add_test(tcase, ids_name_records_for_good);
	tcase_add_test(tcase, no_record_without_memory);
	tcase_add_test(tcase, the_empty_heap_owns_nothing);
	tcase_add_test(tcase, a_pool_says_whose_it_is_in_every_unit);
	tcase_add_test(tcase, full_pools_are_in_no_ring);
	tcase_add_test(tcase, the_last_empty_pool_is_kept);
	tcase_add_test(tcase, units_that_were_not_carved_stay_clean);
	tcase_add_test(tcase, pools_go_to_the_shared_heap_and_are_borrowed_from_it);
	tcase_add_test(tcase, no_pool_without_an_arena);
	tcase_add_test(tcase, what_is_no_block_is_reported);
	tcase_add_test_raise_signal(tcase, misuse_ends_the_process, SIGABRT);
	return run_suite(suite);
}
