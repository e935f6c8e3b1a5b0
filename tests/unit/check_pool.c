/* SPDX-License-Identifier: MIT */
/*
 * check_pool: the states of a pool, the order in which blocks leave it, and what it touches; for every size class.
 */
#include "unit.h"

#include "os.h"
#include "pool.h"

static struct arena_object arena;

/* A pool of the class in fresh memory. */
static struct pool_header *new_pool(unsigned szidx)
{
	struct arena_run run = {NULL, 0, false};
	if (arena.address != NULL)
		run = arena_take(&arena, size_classes[szidx].units, 1);
	if (run.address == NULL) {
		expect(arena_map(&arena, 0, NULL));
		size_t head = ARENA_HEAD_UNITS * POOL_SIZE; /* hardened, what is behind it is closed */
		expect(!arena.fenced || os_commit(arena.address + head, ARENA_SIZE - head));
		run = arena_take(&arena, size_classes[szidx].units, 1);
	}
	expect(run.address != NULL && run.clean);
	return pool_init(run.address, szidx, run.clean);
}

/* A test that is run for every size class, in one process. */
#define FOR_EACH_CLASS(name)                                                                                           \
	static void name##_of(unsigned szidx);                                                                         \
	START_TEST(name)                                                                                               \
	{                                                                                                              \
		for (unsigned szidx = 0; szidx < NB_SIZE_CLASSES; szidx++)                                             \
			name##_of(szidx);                                                                              \
	}                                                                                                              \
	END_TEST                                                                                                       \
	static void name##_of(unsigned szidx)

static char *block_at(const struct pool_header *pool, unsigned index)
{
	return pool_start(pool) + index * sizeclass_nbytes(pool->szidx);
}

static unsigned index_of(const struct pool_header *pool, const void *block)
{
	return sizeclass_block_index(pool->szidx, (size_t)((const char *)block - pool_start(pool)));
}

/* --- where things lie --------------------------------------------------------------------------------------------- */

START_TEST(headers_lie_apart_in_the_head)
{
	ck_assert(arena_map(&arena, 0, NULL));
	char *head_end = arena.address + ARENA_HEAD_UNITS * POOL_SIZE;
	for (size_t unit = ARENA_HEAD_UNITS; unit < ARENA_UNITS; unit++) {
		char *start = arena.address + unit * POOL_SIZE;
		struct pool_header *pool = pool_header_at(start);
		expect(pool_header_at(start + POOL_SIZE - 1) == pool);
		expect(pool_start(pool) == start);
		expect((char *)(pool + 1) <= head_end);
		expect(pool_header_at(start - POOL_SIZE) + 1 <= pool);
	}
	ck_assert_ptr_eq(arena_at(arena.address), &arena);
	ck_assert((void *)pool_header_at(head_end) >= (void *)(arena.address + POOL_HEADER_NBYTES));
}
END_TEST

START_TEST(rings_keep_their_members)
{
	struct pool_link ring;
	struct pool_header *pools[3];
	pool_ring_init(&ring);
	ck_assert(pool_ring_is_empty(&ring));
	for (unsigned i = 0; i < 3; i++) {
		pools[i] = new_pool(0);
		pool_link_front(&ring, pools[i]);
	}
	ck_assert_ptr_eq(pool_of_link(ring.nextpool), pools[2]);
	ck_assert_ptr_eq(pool_of_link(ring.prevpool), pools[0]);
	pool_unlink(pools[1]);
	ck_assert_ptr_eq(pool_of_link(ring.nextpool->nextpool), pools[0]);
	ck_assert_ptr_eq(pool_of_link(ring.prevpool->prevpool), pools[2]);
	pool_unlink(pools[2]);
	pool_unlink(pools[0]);
	ck_assert(pool_ring_is_empty(&ring));
}
END_TEST

/* --- states ------------------------------------------------------------------------------------------------------- */

FOR_EACH_CLASS(a_new_pool_is_empty_whatever_was_there)
{
	struct pool_header *pool = new_pool(szidx);
	memset(pool, 0xa5, sizeof *pool);
	pool = pool_init(pool_start(pool), szidx, false);
	ck_assert_uint_eq(pool->count, 0);
	ck_assert_uint_eq(pool->capacity, size_classes[szidx].capacity);
	ck_assert_uint_eq(pool->szidx, szidx);
	ck_assert_uint_eq(pool->units, size_classes[szidx].units);
	ck_assert_ptr_null(pool->freeblock);
	for (unsigned index = 0; index < pool->capacity; index++)
		expect(pool_has_block(pool, index));
	pool_check(pool);
}

/* Hardened, in random order. */
FOR_EACH_CLASS(virgin_blocks_are_carved_upwards_until_it_is_full)
{
	bool out[POOL_MAX_BLOCKS] = {false};
	struct pool_header *pool = new_pool(szidx);
	char *end = pool_start(pool) + pool->units * POOL_SIZE;
	for (unsigned index = 0; index < pool->capacity; index++) {
		expect(!pool_is_full(pool) && (pool->freeblock != NULL || pool->nextoffset <= pool->maxnextoffset));
		expect(QUARRY_HARDENED || pool->freeblock == NULL);
		char *block = (char *)pool_pop(pool);
		unsigned place = index_of(pool, block);
		expect(block == block_at(pool, place) && block + sizeclass_nbytes(pool->szidx) <= end);
		expect(!out[place] && (QUARRY_HARDENED || place == index));
		out[place] = true;
		for (unsigned i = 0; i < pool->capacity; i++)
			expect(pool_has_block(pool, i) == !out[i]);
		pool_check(pool);
	}
	ck_assert(pool_is_full(pool));
	ck_assert_ptr_null(pool->freeblock);
	ck_assert_uint_gt(pool->nextoffset, pool->maxnextoffset);
}

FOR_EACH_CLASS(pushing_goes_from_full_through_used_to_empty)
{
	struct pool_header *pool = new_pool(szidx);
	while (!pool_is_full(pool))
		pool_pop(pool);
	for (unsigned index = 0; index < pool->capacity; index++) {
		enum pool_change change = pool_push(pool, (struct block *)block_at(pool, index));
		expect(change == (index == 0                      ? POOL_NOW_USED
				  : index == pool->capacity - 1u ? POOL_NOW_EMPTY
								 : POOL_STAYS));
		expect(pool_has_block(pool, index));
		pool_check(pool);
	}
	ck_assert_uint_eq(pool->count, 0);
}

FOR_EACH_CLASS(used_to_empty_while_virgin_blocks_are_left)
{
	struct pool_header *pool = new_pool(szidx);
	struct block *block = pool_pop(pool);
	ck_assert_int_eq(pool_push(pool, block), POOL_NOW_EMPTY);
	ck_assert_ptr_eq(pool_pop(pool), block);
	struct block *other = pool_pop(pool);
	ck_assert(QUARRY_HARDENED || (char *)other == block_at(pool, 1));
	ck_assert_int_eq(pool_push(pool, block), POOL_STAYS);
}

/* --- order -------------------------------------------------------------------------------------------------------- */

FOR_EACH_CLASS(last_in_is_first_out_and_before_virgin_ones)
{
	struct pool_header *pool = new_pool(szidx);
	struct block *blocks[3];
	for (unsigned i = 0; i < 3; i++)
		blocks[i] = pool_pop(pool);
	pool_push(pool, blocks[1]);
	pool_push(pool, blocks[0]);
	pool_push(pool, blocks[2]);
	ck_assert_ptr_eq(pool_pop(pool), blocks[2]);
	ck_assert_ptr_eq(pool_pop(pool), blocks[0]);
	ck_assert_ptr_eq(pool_pop(pool), blocks[1]);
	struct block *virgin = pool_pop(pool);
	ck_assert(QUARRY_HARDENED || (char *)virgin == block_at(pool, 3));
	pool_check(pool);
}

static unsigned length_of(const struct block *block)
{
	unsigned n = 0;
	for (; block != NULL; block = block_next(block))
		n++;
	return n;
}

FOR_EACH_CLASS(a_batch_is_the_whole_free_list)
{
	struct pool_header *pool = new_pool(szidx);
	struct block *chain, *block[4];
	for (unsigned i = 0; i < 4; i++)
		block[i] = pool_pop(pool);
	const struct block *shuffled = pool->freeblock; /* hardened: carved, and not popped */
	unsigned nshuffled = length_of(shuffled);
	ck_assert(QUARRY_HARDENED || shuffled == NULL);
	pool_push(pool, block[0]);
	pool_push(pool, block[3]);
	pool_push(pool, block[1]);
	ck_assert_uint_eq(pool_take_batch(pool, 1, &chain), 3 + nshuffled);
	ck_assert_ptr_eq(chain, block[1]);
	ck_assert_ptr_eq(block_next(chain), block[3]);
	ck_assert_ptr_eq(block_next(block_next(chain)), block[0]);
	ck_assert_ptr_eq(block_next(block_next(block_next(chain))), shuffled);
	ck_assert_uint_eq(pool->count, 4 + nshuffled);
	for (unsigned index = 0; index < 4; index++)
		ck_assert(!pool_has_block(pool, index_of(pool, block[index])));
	pool_check(pool);
}

/* Length of a chain of neighbouring blocks. */
static unsigned count_neighbours(const struct block *chain, size_t nbytes)
{
	unsigned n = 1;
	for (; block_next(chain) != NULL; chain = block_next(chain), n++)
		expect((const char *)block_next(chain) == (const char *)chain + nbytes);
	return n;
}

FOR_EACH_CLASS(a_virgin_batch_ends_with_its_page)
{
	struct pool_header *pool = new_pool(szidx);
	size_t nbytes = sizeclass_nbytes(pool->szidx), page = os_page_size();
	for (unsigned next = 0; next < pool->capacity;) {
		struct block *chain;
		unsigned n = pool_take_batch(pool, UINT32_MAX, &chain);
		expect(n >= 1 && (char *)chain == block_at(pool, next) && count_neighbours(chain, nbytes) == n);
		uintptr_t first_page = ((uintptr_t)chain + nbytes - 1) / page;
		uintptr_t last_page = ((uintptr_t)chain + n * nbytes - 1) / page;
		expect(last_page == first_page);
		next += n;
		expect(next == pool->capacity || ((uintptr_t)block_at(pool, next) + nbytes - 1) / page > first_page);
		pool_check(pool);
	}
	ck_assert(pool_is_full(pool));
}

FOR_EACH_CLASS(a_virgin_batch_keeps_to_the_most)
{
	struct pool_header *pool = new_pool(szidx);
	struct block *chain;
	ck_assert_uint_eq(pool_take_batch(pool, 1, &chain), 1);
	ck_assert_ptr_null(block_next(chain));
	ck_assert_uint_le(pool_take_batch(pool, 2, &chain), 2);
	pool_check(pool);
}

/* --- memory ------------------------------------------------------------------------------------------------------- */

FOR_EACH_CLASS(carving_touches_no_page_early)
{
	struct pool_header *pool = new_pool(szidx);
	size_t page = os_page_size();
	if (POOL_SIZE < page)
		return;
	for (unsigned i = 0; i < pool->capacity / 4u; i++)
		pool_pop(pool);
	ck_assert_uint_eq(resident_pages(pool_start(pool), pool->units * POOL_SIZE), 0);
	while (!pool_is_full(pool)) {
		struct block *chain;
		pool_take_batch(pool, UINT32_MAX, &chain);
		size_t carved = round_up(pool->nextoffset, page), rest = pool->units * POOL_SIZE - carved;
		expect(rest == 0 || resident_pages(pool_start(pool) + carved, rest) == 0);
	}
}

FOR_EACH_CLASS(neighbours_in_the_head_are_left_alone)
{
	struct pool_header *before = new_pool(0), *pool = new_pool(szidx), *after = new_pool(0);
	memset(before, 0x11, POOL_HEADER_NBYTES);
	memset(after, 0x22, POOL_HEADER_NBYTES);
	struct pool_header kept_before = *before, kept_after = *after;
	while (!pool_is_full(pool))
		pool_pop(pool);
	for (unsigned index = pool->capacity; index-- > 0;)
		pool_push(pool, (struct block *)block_at(pool, index));
	struct block *chain;
	pool_take_batch(pool, 1, &chain);
	ck_assert_mem_eq(before, &kept_before, sizeof *before);
	ck_assert_mem_eq(after, &kept_after, sizeof *after);
}

/* --- misuse ------------------------------------------------------------------------------------------------------- */

FOR_EACH_CLASS(a_double_free_is_found_and_changes_nothing)
{
	struct pool_header *pool = new_pool(szidx);
	while (!pool_is_full(pool))
		pool_pop(pool);
	for (unsigned index = 0; index < pool->capacity; index += 3)
		pool_push(pool, (struct block *)block_at(pool, index));
	struct pool_header kept = *pool;
	for (unsigned index = 0; index < pool->capacity; index += 3)
		expect(pool_push(pool, (struct block *)block_at(pool, index)) == POOL_DOUBLE_FREE);
	ck_assert_mem_eq(pool, &kept, sizeof kept);
	pool_check(pool);
}

static bool check_complains(struct pool_header *pool)
{
	catch_begin();
	pool_check(pool);
	return strstr(catch_end(), "quarry: ") != NULL;
}

FOR_EACH_CLASS(the_check_sees_what_is_wrong)
{
	struct pool_header *pool = new_pool(szidx);
	pool_pop(pool);
	pool_pop(pool);
	while (QUARRY_HARDENED && !pool_is_full(pool)) /* or more of them would be in the list, in random order */
		pool_pop(pool);
	struct block *first = (struct block *)block_at(pool, 0), *second = (struct block *)block_at(pool, 1);
	pool_push(pool, first);
	ck_assert(!check_complains(pool));
	pool->count++;
	ck_assert(check_complains(pool));
	pool->count--;
	pool->free_bits[0] ^= 1;
	ck_assert(check_complains(pool));
	pool->free_bits[0] ^= 1 | 2;
	ck_assert(check_complains(pool));
	pool->free_bits[0] ^= 2;
	block_set_next(first, second);
	block_set_next(second, NULL);
	ck_assert(check_complains(pool));
	block_set_next(first, first);
	ck_assert(check_complains(pool));
	block_set_next(first, NULL);
	ck_assert(!check_complains(pool));
}

/* --- at random ---------------------------------------------------------------------------------------------------- */

#define STEPS 4000

/* One pool against the set of blocks that are out, all of them stamped. */
struct model {
	struct pool_header *pool;
	bool out[POOL_MAX_BLOCKS];
	unsigned count;
};

static void take_out(struct model *model, struct block *block)
{
	unsigned index = index_of(model->pool, block);
	expect(index < model->pool->capacity && block_at(model->pool, index) == (char *)block && !model->out[index]);
	model->out[index] = true;
	model->count++;
	stamp(block, sizeclass_nbytes(model->pool->szidx), index);
}

static void take_batch_out(struct model *model, unsigned most)
{
	struct block *chain, *next;
	unsigned n = pool_take_batch(model->pool, most, &chain), seen = 0;
	for (; chain != NULL; chain = next, seen++) {
		next = block_next(chain);
		take_out(model, chain);
	}
	expect(n == seen && n > 0);
}

static void put_back(struct model *model, unsigned index)
{
	char *block = block_at(model->pool, index);
	expect(stamp_holds(block, sizeclass_nbytes(model->pool->szidx), index));
	enum pool_change change = pool_push(model->pool, (struct block *)block);
	expect(change == (model->count == 1                       ? POOL_NOW_EMPTY
			  : model->count == model->pool->capacity ? POOL_NOW_USED
								  : POOL_STAYS));
	model->out[index] = false;
	model->count--;
}

FOR_EACH_CLASS(any_order_keeps_the_invariants)
{
	uint64_t seed = 0x9e3779b97f4a7c15 + szidx;
	struct model model = {.pool = new_pool(szidx)};
	unsigned capacity = model.pool->capacity;
	for (unsigned step = 0; step < STEPS; step++) {
		unsigned index = (unsigned)random_below(&seed, capacity);
		bool shrinks = step / 500 % 2 == 1 && random_below(&seed, 2) == 0;
		if (model.out[index])
			put_back(&model, index);
		else if (!shrinks && model.count < capacity && random_below(&seed, 8) == 0)
			take_batch_out(&model, 1 + (unsigned)random_below(&seed, 5));
		else if (!shrinks && model.count < capacity)
			take_out(&model, pool_pop(model.pool));
		expect(model.pool->count == model.count && pool_has_block(model.pool, index) == !model.out[index]);
		if (step % 16 == 0)
			pool_check(model.pool);
	}
	for (unsigned index = 0; index < capacity; index++)
		expect(pool_has_block(model.pool, index) == !model.out[index] &&
		       (!model.out[index] || stamp_holds(block_at(model.pool, index),
							 sizeclass_nbytes(model.pool->szidx), index)));
}

int main(void)
{
	Suite *suite = suite_create("pool");
	TCase *tcase = new_case(suite, "pool");
	tcase_add_test(tcase, headers_lie_apart_in_the_head);
	tcase_add_test(tcase, rings_keep_their_members);
	tcase_add_test(tcase, a_new_pool_is_empty_whatever_was_there);
	tcase_add_test(tcase, virgin_blocks_are_carved_upwards_until_it_is_full);
	tcase_add_test(tcase, pushing_goes_from_full_through_used_to_empty);
	tcase_add_test(tcase, used_to_empty_while_virgin_blocks_are_left);
	tcase_add_test(tcase, last_in_is_first_out_and_before_virgin_ones);
	tcase_add_test(tcase, a_batch_is_the_whole_free_list);
	if (!QUARRY_HARDENED) { /* which carves by number, whatever page they lie in, for a random order */
		tcase_add_test(tcase, a_virgin_batch_ends_with_its_page);
		tcase_add_test(tcase, a_virgin_batch_keeps_to_the_most);
		tcase_add_test(tcase, carving_touches_no_page_early);
	}
	tcase_add_test(tcase, neighbours_in_the_head_are_left_alone);
	tcase_add_test(tcase, a_double_free_is_found_and_changes_nothing);
	tcase_add_test(tcase, the_check_sees_what_is_wrong);
	tcase_add_test(tcase, any_order_keeps_the_invariants);
	return run_suite(suite);
}
