/* SPDX-License-Identifier: MIT */
/*
 * check_cache: how lists fill and empty, when bounds grow and shrink, and what goes home by way of the outbox.
 */
#include "heaps.h"

#include "options.h"

/* Classes that requests reach. */
#define CLASSES (sizeclass_of(sizeclass_limit) + 1)

static struct lot lot;
static struct heap *heap; /* this thread's; a veteran: its classes have pools of their own */

static void begin(void)
{
	heap = thread_heap();
	expect(heap->veteran);
}

static uint32_t bound_of(unsigned szidx)
{
	return heap->cache.bound[szidx];
}

static void overflow_and_refill(unsigned szidx)
{
	lot = (struct lot){.nbytes = request_of(szidx), .n = 0};
	uint64_t flushes = heap->counters.flushes;
	size_t nblocks = 2 * bound_of(szidx) + 2 * (size_t)size_classes[szidx].capacity;
	lot.n = nblocks < LOT_MOST ? nblocks : LOT_MOST;
	lot_pass(&lot);
	expect(heap->counters.flushes > flushes);
	while (heap->cache.head[szidx] != NULL)
		lot.block[lot.n = 0] = quarry_malloc(lot.nbytes);
	lot.n = 1;
	lot_allocate(&lot);
}

static void in_lock(void (*act)(struct heap *))
{
	heap_lock(heap);
	claim_settle(heap);
	act(heap);
	remote_unlock(heap);
}

/* --- lists -------------------------------------------------------------------------------------------------------- */

START_TEST(first_bounds_follow_the_sizes)
{
	begin();
	for (unsigned szidx = 0; szidx < NB_SIZE_CLASSES; szidx++) {
		size_t nbytes = sizeclass_nbytes(szidx), bound = heap_first_bound(szidx);
		ck_assert_uint_le(bound, CACHE_FIRST_BLOCKS);
		ck_assert_uint_ge(bound, CACHE_MIN_BLOCKS);
		ck_assert(bound == CACHE_FIRST_BLOCKS || bound == CACHE_MIN_BLOCKS ||
			  (bound * nbytes <= CACHE_FIRST_NBYTES && (bound + 1) * nbytes > CACHE_FIRST_NBYTES));
		ck_assert_uint_eq(bound_of(szidx), bound);
	}
	ck_assert(lists_add_up(heap));
}
END_TEST

START_TEST(lists_add_up_whatever_happens)
{
	uint64_t seed = 99;
	static void *blocks[2000];
	begin();
	for (unsigned step = 0; step < 100000; step++) {
		size_t i = random_below(&seed, COUNT(blocks));
		if (blocks[i] == NULL) {
			size_t nbytes = random_below(&seed, step / 20000 % 2 == 0 ? 256 : sizeclass_limit);
			expect((blocks[i] = quarry_malloc(nbytes)) != NULL);
		} else {
			quarry_free(blocks[i]);
			blocks[i] = NULL;
		}
		if (step % 512 == 0)
			expect(lists_add_up(heap));
	}
}
END_TEST

START_TEST(the_last_in_is_the_first_out)
{
	begin();
	lot = (struct lot){.nbytes = SMALL, .n = 5};
	lot_pass(&lot);
	for (size_t i = 5; i-- > 0;)
		ck_assert_ptr_eq(quarry_malloc(SMALL), lot.block[i]);
}
END_TEST

/* The newer half goes home. */
START_TEST(an_overflow_takes_half)
{
	begin();
	unsigned bound = bound_of(SMALL_SZIDX);
	lot = (struct lot){.nbytes = SMALL, .n = 3 * bound};
	lot_allocate(&lot);
	in_lock(cache_flush_all);
	size_t flushes = heap->counters.flushes;
	for (unsigned i = 0; i < bound; i++)
		quarry_free(lot.block[i]);
	ck_assert_uint_eq(list_length(heap, SMALL_SZIDX), bound);
	ck_assert_uint_eq(heap->counters.flushes, flushes);
	quarry_free(lot.block[bound]);
	ck_assert_uint_eq(heap->counters.flushes, flushes + 1);
	ck_assert(heap->classes[SMALL_SZIDX].flushed && !heap->classes[SMALL_SZIDX].allocates);
	ck_assert_uint_eq(list_length(heap, SMALL_SZIDX), bound - bound / 2);
	for (unsigned i = 0; i <= bound; i++)
		ck_assert_int_eq(block_is_out(lot.block[i]), i < bound - bound / 2);
	ck_assert(lists_add_up(heap));
}
END_TEST

/* A refill takes a pool's whole free list, however long; a quarter of the room stays. */
START_TEST(a_refill_leaves_room)
{
	begin();
	unsigned bound = bound_of(SMALL_SZIDX), capacity = size_classes[SMALL_SZIDX].capacity;
	lot = (struct lot){.nbytes = SMALL, .n = 3 * capacity};
	lot_allocate(&lot);
	in_lock(cache_flush_all);
	heap_lock(heap);
	for (size_t i = 0; i < lot.n; i++) {
		take_back(lot.block[i]);
		heap_put_block(heap, lot.block[i], address_map_word(lot.block[i]));
	}
	heap_unlock(heap);
	ck_assert_uint_ne((uintptr_t)quarry_malloc(SMALL), 0);
	unsigned length = list_length(heap, SMALL_SZIDX);
	ck_assert_uint_ge(heap->cache.room[SMALL_SZIDX], bound / 4);
	ck_assert(lists_add_up(heap));
	if (length + 1 > bound) {
		ck_assert_uint_eq(heap->classes[SMALL_SZIDX].excess, length + 1 + bound / 4 - bound);
		ck_assert_int_eq(heap->cache.room[SMALL_SZIDX], (int)(bound / 4 + 1));
	}
	in_lock(cache_flush_all);
	ck_assert_uint_eq(heap->classes[SMALL_SZIDX].excess, 0);
	ck_assert(lists_add_up(heap));
}
END_TEST

/* --- bounds ------------------------------------------------------------------------------------------------------- */

START_TEST(a_bound_doubles_at_a_refill_after_an_overflow)
{
	begin();
	uint32_t bound = bound_of(SMALL_SZIDX);
	lot = (struct lot){.nbytes = SMALL, .n = 20 * bound};
	lot_allocate(&lot); /* many refills */
	ck_assert_uint_eq(bound_of(SMALL_SZIDX), bound);
	lot_free(&lot); /* many overflows */
	ck_assert_uint_eq(bound_of(SMALL_SZIDX), bound);
	ck_assert_uint_eq(heap->cache_nbytes, 0);
	overflow_and_refill(SMALL_SZIDX);
	ck_assert_uint_gt(bound_of(SMALL_SZIDX), bound);
	ck_assert_uint_eq(bound_of(SMALL_SZIDX) % bound, 0);
	ck_assert_uint_eq(heap->cache_nbytes, (bound_of(SMALL_SZIDX) - bound) * SMALL_BLOCK);
	ck_assert(lists_add_up(heap));
}
END_TEST

START_TEST(no_list_outgrows_its_class)
{
	begin();
	for (unsigned szidx = 0; szidx < CLASSES; szidx += 3) {
		heap->counters.out_nbytes = 0;
		heap->cache_nbytes = 0;
		for (unsigned i = 0; i < 12; i++)
			overflow_and_refill(szidx);
		size_t nbytes = bound_of(szidx) * sizeclass_nbytes(szidx);
		if (bound_of(szidx) == heap_first_bound(szidx))
			continue;
		ck_assert_uint_le(nbytes, CACHE_CLASS_NBYTES);
		ck_assert(2 * nbytes > CACHE_CLASS_NBYTES ||
			  heap->cache_nbytes + nbytes > CACHE_GROWTH_NBYTES);
	}
}
END_TEST

static size_t sum_of_growth(void)
{
	size_t sum = 0;
	for (unsigned szidx = 0; szidx < NB_SIZE_CLASSES; szidx++)
		sum += (bound_of(szidx) - heap_first_bound(szidx)) * sizeclass_nbytes(szidx);
	return sum;
}

static void grow_all(void)
{
	for (unsigned i = 0; i < 10; i++)
		for (unsigned szidx = 0; szidx < CLASSES; szidx += 2)
			overflow_and_refill(szidx);
}

START_TEST(all_lists_together_are_capped)
{
	begin();
	options.cache_kib = 64;
	grow_all();
	ck_assert_uint_le(heap->cache_nbytes, 64 << 10);
	ck_assert_uint_eq(heap->cache_nbytes, sum_of_growth());
	ck_assert_uint_gt(heap->cache_nbytes, 0);
	options.cache_kib = 0;
	size_t before = heap->cache_nbytes;
	grow_all();
	ck_assert_uint_eq(heap->cache_nbytes, before);
}
END_TEST

START_TEST(a_large_heap_may_cache_more)
{
	begin();
	grow_all();
	size_t small = heap->cache_nbytes;
	ck_assert_uint_le(small, CACHE_GROWTH_NBYTES + heap->counters.out_nbytes / CACHE_GROWTH_PART);
	heap->counters.out_nbytes = 16 << 20;
	grow_all();
	ck_assert_uint_gt(heap->cache_nbytes, small);
	ck_assert_uint_le(heap->cache_nbytes, CACHE_GROWTH_NBYTES + heap->counters.out_nbytes / CACHE_GROWTH_PART);
	ck_assert_uint_eq(heap->cache_nbytes, sum_of_growth());
}
END_TEST

/* --- aging -------------------------------------------------------------------------------------------------------- */

START_TEST(what_was_not_used_between_two_agings_goes)
{
	begin();
	unsigned other = SMALL_SZIDX + 2;
	overflow_and_refill(SMALL_SZIDX);
	overflow_and_refill(other);
	lot = (struct lot){.nbytes = SMALL, .n = 5};
	lot_pass(&lot);
	unsigned length = list_length(heap, SMALL_SZIDX);
	in_lock(cache_age);
	ck_assert_uint_eq(list_length(heap, SMALL_SZIDX), length);
	ck_assert_uint_gt(bound_of(SMALL_SZIDX), heap_first_bound(SMALL_SZIDX));
	lot.n = length + bound_of(SMALL_SZIDX);
	lot_pass(&lot);
	in_lock(cache_age);
	ck_assert_uint_gt(list_length(heap, SMALL_SZIDX), 0);
	ck_assert_uint_eq(list_length(heap, other), 0);
	ck_assert_uint_eq(bound_of(other), heap_first_bound(other));
	ck_assert_uint_eq(heap->cache_nbytes, sum_of_growth());
	ck_assert(lists_add_up(heap));
	in_lock(cache_age);
	ck_assert_uint_eq(cached_blocks(heap), 0);
	ck_assert_uint_eq(heap->cache_nbytes, 0);
	ck_assert(lists_add_up(heap));
}
END_TEST

static size_t keep;

static void leave(struct heap *it)
{
	cache_leave(it, keep);
}

static size_t cached_nbytes(void)
{
	size_t nbytes = 0;
	for (unsigned szidx = 0; szidx < NB_SIZE_CLASSES; szidx++)
		nbytes += list_length(heap, szidx) * sizeclass_nbytes(szidx);
	return nbytes;
}

START_TEST(short_lists_stay_for_the_next_thread)
{
	begin();
	for (unsigned szidx = 0; szidx < NB_SIZE_CLASSES; szidx += 3) {
		if (sizeclass_nbytes(szidx) > sizeclass_limit)
			break;
		lot = (struct lot){.nbytes = request_of(szidx), .n = 3};
		lot_pass(&lot);
	}
	size_t before = 0;
	for (unsigned szidx = 0; szidx < NB_SIZE_CLASSES; szidx++)
		if (list_length(heap, szidx) <= heap_first_bound(szidx)) /* hardened, pools give longer ones */
			before += list_length(heap, szidx) * sizeclass_nbytes(szidx);
	ck_assert(QUARRY_HARDENED || before == cached_nbytes());
	keep = before;
	in_lock(leave);
	ck_assert_uint_eq(cached_nbytes(), before);
	ck_assert(lists_add_up(heap));
	keep = before / 2;
	in_lock(leave);
	ck_assert_uint_gt(cached_nbytes(), 0);
	ck_assert_uint_le(cached_nbytes(), keep);
	ck_assert(lists_add_up(heap));
}
END_TEST

START_TEST(a_cache_that_was_left_is_as_new)
{
	begin();
	grow_all();
	keep = 0;
	in_lock(leave);
	ck_assert_uint_eq(cached_blocks(heap), 0);
	ck_assert_uint_eq(heap->cache_nbytes, 0);
	ck_assert_uint_eq(sum_of_growth(), 0);
	ck_assert_uint_eq(heap->classes[SMALL_SZIDX].refills, 0);
	ck_assert(!heap->veteran);
	ck_assert(lists_add_up(heap));
}
END_TEST

/* --- young classes ------------------------------------------------------------------------------------------------ */

static void first_blocks(void *arg)
{
	(void)arg;
	struct heap *own = thread_heap(), *shared = heap_shared(0);
	unsigned n = 0, want = YOUNG_FIRST_BLOCKS;
	for (unsigned refill = 1; refill <= YOUNG_REFILLS; refill++, want *= 2) {
		for (unsigned i = 0; i < want; i++, n++)
			expect(owner_of(lot.block[n] = quarry_malloc(SMALL)) == shared);
		expect(own->counters.refills == refill && list_length(own, SMALL_SZIDX) == 0);
	}
	lot.n = n;
	expect(owner_of(quarry_malloc(SMALL)) == own);
}

START_TEST(a_young_class_lives_on_the_shared_heap)
{
	struct actor actor;
	begin();
	expect(quarry_malloc(1) != NULL); /* there is an arena */
	expect(YOUNG_FIRST_BLOCKS << (YOUNG_REFILLS - 1) <= YOUNG_NBYTES / SMALL_BLOCK);
	actor_begin(&actor);
	actor_do(&actor, first_blocks, NULL);
	actor_end(&actor);
}
END_TEST

static void come_of_age(void *arg)
{
	(void)arg;
	struct heap *own = thread_heap();
	unsigned n = 0;
	for (; own->classes[SMALL_SZIDX].refills < YOUNG_REFILLS && n < 10 * YOUNG_FREES; n++)
		quarry_free(quarry_malloc(SMALL));
	expect(n == YOUNG_FREES);
	expect(list_length(own, SMALL_SZIDX) == 0);
	expect(owner_of(quarry_malloc(SMALL)) == own);
}

START_TEST(who_frees_much_is_no_passer_by)
{
	struct actor actor;
	begin();
	if (claim_is_locked_mode())
		return;
	expect(quarry_malloc(1) != NULL);
	actor_begin(&actor);
	actor_do(&actor, come_of_age, NULL);
	actor_end(&actor);
}
END_TEST

/* --- the outbox --------------------------------------------------------------------------------------------------- */

START_TEST(a_chain_is_sent_when_another_does_not_fit)
{
	struct outbox outbox[OUTBOX_BUCKETS];
	begin();
	struct heap *other = heap_obtain(0);
	other->kind = HEAP_ATTACHED; /* its inbox may wait */
	size_t most = OUTBOX_NBYTES / SMALL_BLOCK;
	struct outbox *box = &outbox[cache_bucket(other->id)];
	lot = (struct lot){.nbytes = SMALL, .n = most + 2};
	lot_allocate(&lot);
	cache_outbox_init(outbox);
	for (size_t i = 0; i < most; i++)
		cache_post(outbox, lot.block[i], word_of_pool(other->id, 0, SMALL_SZIDX));
	ck_assert_uint_eq(chain_length(box->head), most);
	ck_assert_ptr_eq(box->tail, lot.block[0]);
	ck_assert_int_eq(box->room, 0);
	ck_assert_uint_eq(other->inbox_nbytes, 0);
	cache_post(outbox, lot.block[most], word_of_pool(other->id, 0, SMALL_SZIDX));
	ck_assert_uint_eq(other->inbox_nbytes, OUTBOX_NBYTES);
	ck_assert_uint_eq(chain_length(other->inbox), most);
	ck_assert_uint_eq(chain_length(box->head), 1);
	cache_post(outbox, lot.block[most + 1], word_of_pool(heap->id, 0, SMALL_SZIDX));
	cache_send_all(outbox);
	ck_assert_uint_eq(other->inbox_nbytes, OUTBOX_NBYTES + SMALL_BLOCK);
	ck_assert_uint_eq(heap->inbox_nbytes, SMALL_BLOCK);
	for (unsigned bucket = 0; bucket < OUTBOX_BUCKETS; bucket++)
		ck_assert_ptr_null(outbox[bucket].head);
}
END_TEST

START_TEST(owners_that_share_a_bucket_do_not_mix)
{
	struct outbox outbox[OUTBOX_BUCKETS];
	begin();
	struct heap *other = heap_obtain(0);
	while (cache_bucket(other->id) != cache_bucket(heap->id))
		other = heap_obtain(0);
	lot = (struct lot){.nbytes = SMALL, .n = 2};
	lot_allocate(&lot);
	other->kind = HEAP_ATTACHED;
	cache_outbox_init(outbox);
	cache_post(outbox, lot.block[0], word_of_pool(other->id, 0, SMALL_SZIDX));
	cache_post(outbox, lot.block[1], word_of_pool(heap->id, 0, SMALL_SZIDX));
	ck_assert_ptr_eq(other->inbox, lot.block[0]);
	ck_assert_ptr_eq(outbox[cache_bucket(heap->id)].head, lot.block[1]);
	ck_assert_uint_eq(outbox[cache_bucket(heap->id)].owner, heap->id);
}
END_TEST

/* A third of the blocks, freed by a thread that allocates the class, or not, and in exchange, or in a row. */
static void free_third(const struct lot *others, size_t third, bool allocates, bool exchanges, size_t kept)
{
	struct cache_class *class = &slot.heap->classes[SMALL_SZIDX];
	heap_lock(slot.heap);
	claim_settle(slot.heap);
	cache_flush_all(slot.heap);
	*class = (struct cache_class){.refills = YOUNG_REFILLS, .allocates = allocates};
	class->exchanged = exchanges ? UINT8_MAX : 0;
	remote_unlock(slot.heap);
	for (size_t i = third * others->n / 3; i < (third + 1) * others->n / 3; i++) {
		if (exchanges)
			class->seen_room = INT16_MIN;
		quarry_free(others->block[i]);
	}
	expect(list_length(slot.heap, SMALL_SZIDX) == kept);
	expect(cached_blocks(slot.heap) == others->n / 3);
}

static void free_others(void *arg)
{
	size_t half = bound_of(SMALL_SZIDX) - bound_of(SMALL_SZIDX) / 2;
	free_third(arg, 0, false, true, 0);
	free_third(arg, 1, true, false, 0);
	free_third(arg, 2, true, true, half);
}

/* Foreign blocks are kept while the class is being allocated from between them, and then half a list at most. */
START_TEST(foreign_blocks_are_kept_if_wanted)
{
	struct actor actor;
	begin();
	lot = (struct lot){.nbytes = SMALL, .n = 3 * (size_t)bound_of(SMALL_SZIDX)};
	lot_allocate(&lot);
	actor_begin(&actor);
	heap_of_actor(&actor);
	actor_do(&actor, free_others, &lot);
	actor_end(&actor);
}
END_TEST

/* Between allocations the second one is kept, and in a row soon none any more. */
static void exchange_others(void *arg)
{
	const struct lot *others = arg;
	struct cache_class *class = &slot.heap->classes[SMALL_SZIDX];
	void *own[200];
	size_t n = 0;
	class->refills = YOUNG_REFILLS;
	do
		own[n++] = quarry_malloc(SMALL);
	while (n < COUNT(own) - 8 && list_length(slot.heap, SMALL_SZIDX) != 8); /* and is to stay short */
	class->exchanged = 0;
	for (size_t i = 0; i < 8; i++) {
		own[n++] = quarry_malloc(SMALL);
		quarry_free(others->block[i]);
	}
	expect(cached_blocks(slot.heap) - list_length(slot.heap, SMALL_SZIDX) == 1);
	for (size_t i = 8; i < others->n; i++)
		quarry_free(others->block[i]);
	expect(cached_blocks(slot.heap) - list_length(slot.heap, SMALL_SZIDX) >= others->n - 8 - 7);
	for (size_t i = 0; i < n; i++)
		quarry_free(own[i]);
}

START_TEST(exchanged_blocks_are_kept_and_rows_go_home)
{
	struct actor actor;
	begin();
	lot = (struct lot){.nbytes = SMALL, .n = 24};
	lot_allocate(&lot);
	actor_begin(&actor);
	heap_of_actor(&actor);
	actor_do(&actor, exchange_others, &lot);
	actor_end(&actor);
}
END_TEST

int main(void)
{
	without_quarantine();
	Suite *suite = suite_create("cache");
	TCase *tcase = new_case(suite, "cache");
	tcase_add_test(tcase, first_bounds_follow_the_sizes);
	tcase_add_test(tcase, lists_add_up_whatever_happens);
	tcase_add_test(tcase, the_last_in_is_the_first_out);
	tcase_add_test(tcase, an_overflow_takes_half);
	tcase_add_test(tcase, a_refill_leaves_room);
	tcase_add_test(tcase, a_bound_doubles_at_a_refill_after_an_overflow);
	tcase_add_test(tcase, no_list_outgrows_its_class);
	tcase_add_test(tcase, all_lists_together_are_capped);
	tcase_add_test(tcase, a_large_heap_may_cache_more);
	tcase_add_test(tcase, what_was_not_used_between_two_agings_goes);
	tcase_add_test(tcase, short_lists_stay_for_the_next_thread);
	tcase_add_test(tcase, a_cache_that_was_left_is_as_new);
	tcase_add_test(tcase, a_young_class_lives_on_the_shared_heap);
	tcase_add_test(tcase, who_frees_much_is_no_passer_by);
	tcase_add_test(tcase, a_chain_is_sent_when_another_does_not_fit);
	tcase_add_test(tcase, owners_that_share_a_bucket_do_not_mix);
	tcase_add_test(tcase, foreign_blocks_are_kept_if_wanted);
	tcase_add_test(tcase, exchanged_blocks_are_kept_and_rows_go_home);
	return run_suite(suite);
}
