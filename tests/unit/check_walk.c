/* SPDX-License-Identifier: MIT */
/*
 * check_walk: a block that is live throughout is reported once, one freed before never, wherever it lies meanwhile; and
 * what lies at an address.
 */
#include "heaps.h"

#include <limits.h>
#include <sched.h>

#include "kernel.h"

#include "arena_list.h"
#include "purge.h"
#include "span.h"

#define LARGE (LARGE_REQUEST_THRESHOLD + 1)

static struct lot lots[4];

/* --- what a walk said --------------------------------------------------------------------------------------------- */

#define MOST 60000

static struct quarry_block said[MOST];
static size_t nsaid;

static int note(const struct quarry_block *block, void *unused)
{
	(void)unused;
	expect(nsaid < MOST);
	said[nsaid++] = *block;
	return 0;
}

static void walk(void)
{
	nsaid = 0;
	expect(quarry_walk(note, NULL) == 0);
}

static int by_address(const void *one, const void *two)
{
	const struct quarry_block *a = one, *b = two;
	return a->address < b->address ? -1 : a->address > b->address;
}

static const struct quarry_block *find(const void *address)
{
	struct quarry_block key = {.address = (void *)address};
	return bsearch(&key, said, nsaid, sizeof(said[0]), by_address);
}

/* Sorts, and every block is there once. */
static void expect_no_doubles(void)
{
	qsort(said, nsaid, sizeof(said[0]), by_address);
	for (size_t i = 1; i < nsaid; i++)
		expect(said[i - 1].address != said[i].address);
}

static bool lot_has(const struct lot *lot, const void *block)
{
	for (size_t i = 0; i < lot->n; i++)
		if (lot->block[i] == block)
			return true;
	return false;
}

static void expect_all_of(const struct lot *lot)
{
	for (size_t i = 0; i < lot->n; i++)
		expect(find(lot->block[i]) != NULL);
}

static void expect_none_of(const struct lot *lot)
{
	for (size_t i = 0; i < lot->n; i++)
		expect(find(lot->block[i]) == NULL);
}

/* --- what is reported --------------------------------------------------------------------------------------------- */

START_TEST(each_live_block_once)
{
	static void *blocks[3000];
	size_t nlive = 0;
	uint64_t seed = 7;
	for (size_t i = 0; i < COUNT(blocks); i++) {
		size_t nbytes = i % 500 == 1 ? LARGE : i % 20 == 0 ? SPAN + random_below(&seed, 5000)
								    : random_below(&seed, sizeclass_limit);
		blocks[i] = quarry_malloc(nbytes);
		expect(blocks[i] != NULL);
	}
	for (size_t i = 0; i < COUNT(blocks); i += 3) {
		quarry_free(blocks[i]);
		blocks[i] = NULL;
	}
	walk();
	expect_no_doubles();
	for (size_t i = 0; i < COUNT(blocks); i++) {
		if (blocks[i] == NULL)
			continue;
		const struct quarry_block *block = find(blocks[i]);
		size_t nbytes = quarry_usable_size(blocks[i]);
		nlive++;
		expect(block != NULL && block->nbytes == nbytes && block->node == quarry_node_of(blocks[i]));
		expect(block->arena == (nbytes > LARGE_REQUEST_THRESHOLD ? blocks[i] : (void *)arena_base(blocks[i])));
	}
	ck_assert_uint_eq(nsaid, nlive);
}
END_TEST

START_TEST(nothing_before_the_first_block)
{
	walk();
	ck_assert_uint_eq(nsaid, 0);
	void *first = quarry_malloc(0);
	walk();
	ck_assert_uint_eq(nsaid, 1);
	ck_assert_ptr_eq(said[0].address, first);
}
END_TEST

/* In the cache of a sleeper, in its outbox, in an inbox, in the walker's own cache. */
START_TEST(freed_blocks_are_not_live_wherever_they_lie)
{
	struct actor actors[2];
	for (unsigned i = 0; i < 4; i++)
		lots[i] = (struct lot){.nbytes = SMALL << (i % 3), .n = 300 + i};
	actor_begin(&actors[0]);
	actor_begin(&actors[1]);
	actor_do(&actors[0], lot_allocate, &lots[0]);
	lot_allocate(&lots[1]);
	lot_allocate(&lots[2]);
	actor_do(&actors[1], lot_allocate, &lots[3]);
	size_t nfreed = 5;
	lots[1].n = nfreed;
	lot_free(&lots[1]);
	actor_do(&actors[0], lot_free, &lots[2]);
	actor_do(&actors[1], lot_free, &lots[0]);
	ck_assert_uint_gt(cached_blocks(heap_of_actor(&actors[0])), 0);
	ck_assert_uint_gt(cached_blocks(slot.heap), 0);
	walk();
	expect_no_doubles();
	expect_all_of(&lots[3]);
	expect_none_of(&lots[0]);
	expect_none_of(&lots[1]);
	expect_none_of(&lots[2]);
	ck_assert_uint_eq(nsaid, lots[3].n + 301 - nfreed);
	actor_end(&actors[0]);
	actor_end(&actors[1]);
	walk();
	ck_assert_uint_eq(nsaid, lots[3].n + 301 - nfreed);
}
END_TEST

/* Blocks that one thread allocates and frees over and over, and when: a block that was free before a walk began and was
 * not handed out since must not be in it. The thread writes, the walker reads. */
#define CHURNED 16384
#define LIVE UINT_MAX

static _Atomic bool stop;
static _Atomic unsigned walks; /* begun so far */

struct churner {
	struct lot *lot;
	_Atomic size_t npasses;
	struct {
		void *_Atomic block;
		_Atomic unsigned freed; /* before or during this walk; LIVE while handed out */
	} seen[CHURNED];
};

static struct churner churners[2];

static _Atomic unsigned *freed_of(struct churner *churner, void *block, bool is_new)
{
	size_t place = ((uintptr_t)block >> 4) % CHURNED;
	for (size_t i = 0; i < CHURNED; i++, place = (place + 1) % CHURNED) {
		void *there = churner->seen[place].block;
		if (there == NULL && !is_new)
			return NULL;
		if (there == NULL)
			churner->seen[place].block = block;
		if (there == NULL || there == block)
			return &churner->seen[place].freed;
	}
	expect(false); /* the table is full */
	return NULL;
}

static void churn(void *arg)
{
	struct churner *churner = arg;
	for (; !stop; churner->npasses++) {
		lot_allocate(churner->lot);
		for (size_t i = 0; i < churner->lot->n; i++)
			*freed_of(churner, churner->lot->block[i], true) = LIVE;
		lot_free(churner->lot);
		for (size_t i = 0; i < churner->lot->n; i++)
			*freed_of(churner, churner->lot->block[i], true) = walks;
	}
}

/* What the churners were at as the walk ended has its mark after two more passes. */
static void expect_none_freed_before(void)
{
	for (unsigned i = 0; i < COUNT(churners); i++)
		for (size_t passes = churners[i].npasses; churners[i].npasses < passes + 2;)
			sched_yield();
	for (size_t i = 0; i < nsaid; i++) {
		if (lot_has(&lots[0], said[i].address))
			continue;
		_Atomic unsigned *freed = freed_of(&churners[said[i].nbytes > SMALL * 2], said[i].address, false);
		expect(freed != NULL && *freed >= walks);
	}
}

START_TEST(other_threads_may_go_on)
{
	struct actor actors[2];
	lots[0] = (struct lot){.nbytes = SMALL, .n = 2000};
	lots[1] = (struct lot){.nbytes = SMALL, .n = 100};
	lots[2] = (struct lot){.nbytes = SMALL, .n = 3000};
	lots[3] = (struct lot){.nbytes = SPAN, .n = 3};
	lot_allocate(&lots[0]);
	lot_allocate(&lots[2]);
	for (unsigned i = 0; i < 2; i++) {
		churners[i].lot = &lots[1 + 2 * i];
		actor_begin(&actors[i]);
		actor_tell(&actors[i], churn, &churners[i]);
	}
	lot_free(&lots[2]);
	for (unsigned round = 0; round < 30; round++) {
		walks++;
		walk();
		expect_no_doubles();
		expect_all_of(&lots[0]);
		expect_none_freed_before();
	}
	stop = true;
	for (unsigned i = 0; i < 2; i++) {
		actor_wait(&actors[i]);
		actor_end(&actors[i]);
	}
}
END_TEST

/* --- the callback ------------------------------------------------------------------------------------------------- */

static int free_and_allocate(const struct quarry_block *block, void *arg)
{
	size_t *n = arg;
	if (block->nbytes != quarry_good_size(SMALL))
		return 0;
	void *ptr = quarry_malloc(SMALL * 2);
	expect(ptr != NULL && ptr != block->address);
	memset(ptr, 1, SMALL * 2);
	quarry_free(block->address);
	(*n)++;
	return 0;
}

START_TEST(the_callback_may_allocate_and_free)
{
	size_t n = 0;
	lots[0] = (struct lot){.nbytes = SMALL, .n = 3000};
	lot_allocate(&lots[0]);
	ck_assert_int_eq(quarry_walk(free_and_allocate, &n), 0);
	ck_assert_uint_eq(n, lots[0].n);
	walk();
	expect_no_doubles();
	ck_assert_uint_eq(nsaid, n);
	for (size_t i = 0; i < nsaid; i++) /* at the addresses of old ones, maybe */
		expect(said[i].nbytes == quarry_good_size(2 * SMALL));
}
END_TEST

static int end_at_third(const struct quarry_block *block, void *arg)
{
	(void)block;
	return ++*(unsigned *)arg == 3 ? 7 : 0;
}

static bool is_over(void)
{
	return !cache_exact && (QUARRY_TSAN || !claim_is_locked_mode());
}

START_TEST(it_ends_where_the_callback_says)
{
	unsigned n = 0;
	lots[0] = (struct lot){.nbytes = SMALL, .n = 10};
	lot_allocate(&lots[0]);
	bool was_over = is_over();
	ck_assert_int_eq(quarry_walk(end_at_third, &n), 7);
	ck_assert_uint_eq(n, 3);
	ck_assert_int_eq(is_over(), was_over);
	ck_assert(slot.state == SLOT_READY);
	lot_free(&lots[0]);
	lot_pass(&lots[0]);
	walk();
	ck_assert_uint_eq(nsaid, 0);
}
END_TEST

static int walk_again(const struct quarry_block *block, void *arg)
{
	(void)block;
	(void)arg;
	walk();
	ck_assert_uint_eq(nsaid, lots[0].n);
	ck_assert(cache_exact);
	return 1;
}

START_TEST(a_walk_may_hold_another)
{
	lots[0] = (struct lot){.nbytes = SMALL, .n = 10};
	lot_allocate(&lots[0]);
	ck_assert_int_eq(quarry_walk(walk_again, NULL), 1);
	ck_assert(!cache_exact);
}
END_TEST

static int empty_all(const struct quarry_block *block, void *arg)
{
	(void)block;
	if (lots[1].n > 0) {
		lot_free(&lots[1]);
		lots[1].n = 0;
		purge_all(0, true);
	}
	(*(unsigned *)arg)++;
	return 0;
}

START_TEST(arenas_stay_while_they_are_walked)
{
	unsigned n = 0;
	lots[0] = (struct lot){.nbytes = SMALL, .n = 10};
	lots[1] = (struct lot){.nbytes = LARGE_REQUEST_THRESHOLD, .n = 40};
	lot_allocate(&lots[1]);
	lot_allocate(&lots[0]);
	ck_assert_int_eq(quarry_walk(empty_all, &n), 0);
	ck_assert_uint_ge(n, lots[0].n);
	ck_assert_uint_eq(arena_list_counters.retired, 0);
	purge_all(0, true);
	ck_assert_uint_gt(arena_list_counters.retired, 0);
}
END_TEST

START_TEST(a_withdrawn_barrier_is_said)
{
	struct actor actor;
	actor_begin(&actor);
	lots[0] = (struct lot){.nbytes = SMALL, .n = 10};
	actor_do(&actor, lot_allocate, &lots[0]);
	thread_heap();
	if (!claim_is_locked_mode()) {
		kernel.refuse_barrier = true;
		errno = 0;
		ck_assert_int_eq(quarry_walk(note, NULL), -1);
		ck_assert_int_eq(errno, ENOTSUP);
		ck_assert(!cache_exact);
		actor_do(&actor, pass_slow_path, NULL);
	}
	walk();
	ck_assert_uint_eq(nsaid, lots[0].n);
	actor_end(&actor);
}
END_TEST

/* --- addresses ---------------------------------------------------------------------------------------------------- */

START_TEST(every_byte_of_a_block_leads_to_it)
{
	size_t sizes[] = {1, SMALL, sizeclass_limit, SPAN, LARGE_REQUEST_THRESHOLD, LARGE};
	for (size_t i = 0; i < COUNT(sizes); i++) {
		char *block = quarry_malloc(sizes[i]);
		size_t usable = quarry_usable_size(block), got = 0;
		for (size_t k = 0; k < 50; k++) {
			ck_assert_ptr_eq(quarry_block_of(block + k * (usable - 1) / 49, &got), block);
			ck_assert_uint_eq(got, usable);
			ck_assert_int_eq(quarry_owns(block + k * (usable - 1) / 49), 1);
		}
		ck_assert_ptr_ne(quarry_block_of(block + usable, NULL), block);
	}
}
END_TEST

START_TEST(no_block_elsewhere)
{
	int here = 0;
	size_t usable = 1;
	ck_assert_int_eq(quarry_owns(&here), 0);
	char *span = quarry_malloc(SPAN);
	ck_assert_int_eq(quarry_owns(NULL), 0);
	ck_assert_int_eq(quarry_owns(&here), 0);
	ck_assert_int_eq(quarry_owns((void *)UINTPTR_MAX), 0);
	ck_assert_ptr_null(quarry_block_of(NULL, &usable));
	ck_assert_ptr_null(quarry_block_of(&here, &usable));
	ck_assert_ptr_null(quarry_block_of(arena_base(span), &usable));
	ck_assert_int_eq(quarry_owns(arena_base(span)), 1);
	if (span_good_size(SPAN) % POOL_SIZE != 0)
		ck_assert_ptr_null(quarry_block_of(span + span_good_size(SPAN), &usable));
	ck_assert_uint_eq(usable, 1);
	quarry_free(span);
	ck_assert_int_eq(quarry_owns(span), 1);
	ck_assert_ptr_null(quarry_block_of(span, NULL));
	unsigned szidx = SMALL_SZIDX + 1;
	char *pool = pool_start(pool_of(quarry_malloc(sizeclass_nbytes(szidx))));
	size_t used = size_classes[szidx].capacity * sizeclass_nbytes(szidx);
	if (used < size_classes[szidx].units * POOL_SIZE)
		ck_assert_ptr_null(quarry_block_of(pool + used, NULL));
}
END_TEST

int main(void)
{
	without_quarantine();
	Suite *suite = suite_create("walk");
	TCase *tcase = new_case(suite, "walk");
	tcase_add_test(tcase, each_live_block_once);
	tcase_add_test(tcase, nothing_before_the_first_block);
	tcase_add_test(tcase, freed_blocks_are_not_live_wherever_they_lie);
	tcase_add_test(tcase, other_threads_may_go_on);
	tcase_add_test(tcase, the_callback_may_allocate_and_free);
	tcase_add_test(tcase, it_ends_where_the_callback_says);
	tcase_add_test(tcase, a_walk_may_hold_another);
	tcase_add_test(tcase, arenas_stay_while_they_are_walked);
	tcase_add_test(tcase, a_withdrawn_barrier_is_said);
	tcase_add_test(tcase, every_byte_of_a_block_leads_to_it);
	tcase_add_test(tcase, no_block_elsewhere);
	return run_suite(suite);
}
