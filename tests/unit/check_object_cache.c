/* SPDX-License-Identifier: MIT */
/*
 * check_object_cache: typed caches. Exact sizes, constructed objects, memory that comes back, the limit, ends of
 * threads, forks, visits, other nodes, and misuses.
 */
#include "heaps.h"

#include "arena_list.h"
#include "fork.h"
#include "kernel.h"
#include "magazine.h"
#include "node.h"
#include "purge.h"
#include "span.h"

#define MANY 100000

static void *objects[MANY];

static struct quarry_cache_stats stats_of(struct quarry_cache *cache)
{
	struct quarry_cache_stats stats;
	expect(quarry_cache_stats_get(cache, &stats, sizeof stats) == 0);
	expect(stats.slabs * stats.slab_objects == stats.live + stats.cached + stats.free);
	expect(stats.slabs == stats.slabs_made - stats.slabs_released);
	return stats;
}

static struct quarry_cache *make(size_t size)
{
	struct quarry_cache *cache = quarry_cache_create("test", size, 0, NULL, NULL, 0);
	expect(cache != NULL);
	return cache;
}

static void fill(struct quarry_cache *cache, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		objects[i] = quarry_cache_alloc(cache);
		expect(objects[i] != NULL);
	}
}

static void drain(struct quarry_cache *cache, size_t n)
{
	for (size_t i = 0; i < n; i++)
		quarry_cache_free(cache, objects[i]);
}

/* --- objects ------------------------------------------------------------------------------------------------------ */

START_TEST(sizes_and_alignments_are_exact)
{
	for (size_t size = 1; size <= SLAB_MAX_STRIDE; size += 1 + size / 3)
		for (size_t align = 0; align <= 4096; align = align == 0 ? 1 : 4 * align) {
			struct quarry_cache *cache = quarry_cache_create("exact", size, align, NULL, NULL, 0);
			struct quarry_cache_stats stats = stats_of(cache);
			size_t n = 3 * stats.slab_objects < 2000 ? 3 * stats.slab_objects : 2000;
			expect(stats.size == size && stats.stride - size < stats.align && stats.stride % stats.align == 0);
			expect(align != 0 ? stats.align == align : stats.stride == size);
			fill(cache, n);
			for (size_t i = 0; i < n; i++) {
				expect((uintptr_t)objects[i] % stats.align == 0);
				memset(objects[i], (int)i, size);
			}
			for (size_t i = 0; i < n; i++)
				expect(*(unsigned char *)objects[i] == (unsigned char)i &&
				       ((unsigned char *)objects[i])[size - 1] == (unsigned char)i);
			drain(cache, n);
			expect(quarry_cache_destroy(cache) == 0);
		}
	ck_assert_uint_eq(span_live_nbytes(), 0);
}
END_TEST

START_TEST(an_object_of_24_bytes_costs_24_bytes)
{
	struct quarry_cache *cache = make(24);
	fill(cache, MANY);
	struct quarry_cache_stats stats = stats_of(cache);
	ck_assert_uint_eq(stats.stride, 24);
	ck_assert_uint_eq(stats.live, MANY);
	/* Slabs, and their share of the arenas' heads. */
	double units = (double)stats.slabs * (double)stats.slab_size / (double)POOL_SIZE;
	double each = units * (double)(POOL_SIZE + POOL_HEADER_NBYTES) / MANY;
	double most = QUARRY_BLOCK_BITS || POOL_SIZE < 16384 ? 25 : 24.48; /* with larger heads, and with smaller slabs */
	ck_assert_msg(each < most, "%.2f bytes each", each);
	drain(cache, MANY);
	ck_assert_int_eq(quarry_cache_destroy(cache), 0);
}
END_TEST

START_TEST(bad_requests)
{
	errno = 0;
	ck_assert(quarry_cache_create("none", 0, 0, NULL, NULL, 0) == NULL && errno == EINVAL);
	errno = 0;
	ck_assert(quarry_cache_create("odd", 24, 24, NULL, NULL, 0) == NULL && errno == EINVAL);
	errno = 0;
	ck_assert(quarry_cache_create("wide", 24, 8192, NULL, NULL, 0) == NULL && errno == EINVAL);
	errno = 0;
	ck_assert(quarry_cache_create("big", SLAB_MAX_STRIDE + 1, 1, NULL, NULL, 0) == NULL && errno == EINVAL);
	errno = 0;
	ck_assert(quarry_cache_create("huge", SIZE_MAX, 16, NULL, NULL, 0) == NULL && errno == EINVAL);
	errno = 0;
	ck_assert(quarry_cache_create("flags", 24, 0, NULL, NULL, 2) == NULL && errno == EINVAL);
	static struct quarry_cache *caches[OBJECT_CACHES_MOST];
	for (size_t i = 0; i < OBJECT_CACHES_MOST; i++)
		caches[i] = make(24);
	errno = 0;
	ck_assert(quarry_cache_create("more", 24, 0, NULL, NULL, 0) == NULL && errno == ENOMEM);
	size_t n = 0;
	for (struct quarry_cache *cache = quarry_cache_next(NULL); cache != NULL; cache = quarry_cache_next(cache))
		n++;
	ck_assert_uint_eq(n, OBJECT_CACHES_MOST);
	for (size_t i = 0; i < OBJECT_CACHES_MOST; i++)
		ck_assert_int_eq(quarry_cache_destroy(caches[i]), 0);
	struct quarry_cache_stats stats;
	ck_assert(quarry_cache_stats_get(make(24), &stats, 4) == -1 && errno == EINVAL);
}
END_TEST

/* --- constructors ------------------------------------------------------------------------------------------------- */

static size_t constructed, destructed, refuse_at;

static int construct(void *object)
{
	if (refuse_at != 0 && constructed + 1 == refuse_at) {
		errno = EIO;
		return -1;
	}
	constructed++;
	memset(object, 0x5a, 40);
	return 0;
}

static void destruct(void *object)
{
	expect(*(unsigned char *)object == 0x5a);
	destructed++;
}

START_TEST(objects_stay_constructed)
{
	struct quarry_cache *cache = quarry_cache_create("built", 40, 0, construct, destruct, 0);
	for (int round = 0; round < 3; round++) {
		fill(cache, 5000);
		for (size_t i = 0; i < 5000; i++)
			for (size_t k = 0; k < 40; k++)
				expect(((unsigned char *)objects[i])[k] == 0x5a);
		drain(cache, 5000);
	}
	struct quarry_cache_stats stats = stats_of(cache);
	ck_assert_uint_eq(constructed, stats.slabs_made * stats.slab_objects);
	ck_assert_uint_eq(destructed, stats.slabs_released * stats.slab_objects);
	purge_all(0, true); /* calls no destructor */
	ck_assert_uint_eq(destructed, stats.slabs_released * stats.slab_objects);
	quarry_trim(0);
	ck_assert_uint_eq(destructed, constructed);
	fill(cache, 10);
	drain(cache, 10);
	ck_assert_int_eq(quarry_cache_destroy(cache), 0);
	ck_assert_uint_eq(destructed, constructed);
}
END_TEST

START_TEST(a_constructor_may_refuse)
{
	struct quarry_cache *cache = quarry_cache_create("picky", 40, 0, construct, destruct, 0);
	refuse_at = 7;
	errno = 0;
	ck_assert(quarry_cache_alloc(cache) == NULL && errno == EIO);
	ck_assert(constructed == 6 && destructed == 6 && stats_of(cache).slabs == 0);
	refuse_at = 0;
	fill(cache, 10);
	drain(cache, 10);
	ck_assert_int_eq(quarry_cache_destroy(cache), 0);
	ck_assert_uint_eq(span_live_nbytes(), 0);
}
END_TEST

/* --- giving back -------------------------------------------------------------------------------------------------- */

START_TEST(empty_slabs_go_back)
{
	struct quarry_cache *cache = make(24);
	fill(cache, MANY);
	uint64_t slabs = stats_of(cache).slabs;
	ck_assert_uint_ge(span_live_nbytes(), slabs * stats_of(cache).slab_size); /* and the magazine */
	drain(cache, MANY);
	struct quarry_cache_stats stats = stats_of(cache); /* one is kept, and the magazine's objects hold one or two */
	ck_assert_uint_le(stats.slabs, 4);
	ck_assert_uint_eq(stats.live, 0);
	if (!QUARRY_HARDENED) /* or the larger ones have no pages any more */
		ck_assert_uint_ge(arena_list_dirty_nbytes(), (slabs - 4) * stats.slab_size);
	ck_assert_int_eq(quarry_cache_trim(cache), 1);
	ck_assert_int_eq(quarry_cache_trim(cache), 0);
	ck_assert_uint_eq(stats_of(cache).slabs, 0);
	ck_assert_uint_lt(span_live_nbytes(), stats.slab_size);
	fill(cache, 1);
	drain(cache, 1);
	purge_all(0, true);
	ck_assert_uint_eq(stats_of(cache).slabs, 0);
	ck_assert_uint_eq(arena_list_dirty_nbytes(), 0);
}
END_TEST

static void alloc_and_free(void *cache)
{
	static thread_local_ie void *some[500];
	for (size_t i = 0; i < COUNT(some); i++)
		some[i] = quarry_cache_alloc(cache);
	for (size_t i = 0; i < COUNT(some); i++)
		quarry_cache_free(cache, some[i]);
}

START_TEST(sleeping_threads_are_visited)
{
	struct quarry_cache *cache = make(24);
	struct actor actor;
	actor_begin(&actor);
	actor_do(&actor, alloc_and_free, cache);
	ck_assert_uint_gt(stats_of(cache).cached, 0);
	for (int look = 0; look < 3; look++)
		magazine_visit(NULL, MAGAZINES_IDLE);
	ck_assert_uint_gt(stats_of(cache).cached, 0); /* it could still be in use */
	magazine_visit(NULL, MAGAZINES_IDLE);
	ck_assert_uint_eq(stats_of(cache).cached, 0);
	object_cache_release(cache, DEPOT_IDLE);
	ck_assert_uint_le(stats_of(cache).slabs, 1); /* it was needed since the last look */
	object_cache_release(cache, DEPOT_IDLE);
	ck_assert_uint_eq(stats_of(cache).slabs, 0);
	actor_do(&actor, alloc_and_free, cache);
	actor_end(&actor);
}
END_TEST

START_TEST(the_end_of_a_thread_loses_nothing)
{
	struct quarry_cache *cache = make(24);
	for (int i = 0; i < 20; i++) {
		struct actor actor;
		actor_begin(&actor);
		actor_do(&actor, alloc_and_free, cache);
		actor_end(&actor);
		struct quarry_cache_stats stats = stats_of(cache);
		ck_assert(stats.live == 0 && stats.cached == 0 && stats.slabs <= 1);
	}
	ck_assert_int_eq(quarry_cache_destroy(cache), 0);
}
END_TEST

/* --- the limit ---------------------------------------------------------------------------------------------------- */

START_TEST(the_limit_is_exact)
{
	struct quarry_cache *cache = make(24);
	struct actor actor;
	quarry_cache_limit(cache, 700);
	actor_begin(&actor);
	actor_do(&actor, alloc_and_free, cache);
	ck_assert_uint_gt(stats_of(cache).cached, 0);
	fill(cache, 700); /* what the other thread has at hand included */
	errno = 0;
	ck_assert(quarry_cache_alloc(cache) == NULL && errno == ENOMEM);
	ck_assert_uint_eq(stats_of(cache).refusals, 1);
	ck_assert(stats_of(cache).live == 700 && stats_of(cache).cached == 0);
	quarry_cache_free(cache, objects[0]);
	objects[0] = quarry_cache_alloc(cache);
	ck_assert_ptr_nonnull(objects[0]);
	quarry_cache_limit(cache, 0);
	void *more = quarry_cache_alloc(cache);
	ck_assert_ptr_nonnull(more);
	quarry_cache_free(cache, more);
	drain(cache, 700);
	actor_end(&actor);
	ck_assert_int_eq(quarry_cache_destroy(cache), 0);
}
END_TEST

static sem_t is_destructing, may_destruct;

static void destruct_slowly(void *object)
{
	(void)object;
	if (destructed == 0) {
		sem_post(&is_destructing);
		wait_for(&may_destruct);
	}
	destructed++;
}

static void trim_it(void *cache)
{
	quarry_cache_trim(cache);
}

static void let_destruct(void *unused)
{
	(void)unused;
	sleep_ms(100);
	sem_post(&may_destruct);
}

/* A thread that trims, or ends, need not know of the cache that another one destroys. */
START_TEST(to_destroy_waits_for_destructors)
{
	struct quarry_cache *cache = quarry_cache_create("slow", 24, 0, NULL, destruct_slowly, 0);
	struct actor trimmer, helper;
	sem_init(&is_destructing, 0, 0);
	sem_init(&may_destruct, 0, 0);
	destructed = 0;
	fill(cache, 1);
	drain(cache, 1);
	uint64_t all = stats_of(cache).slabs * stats_of(cache).slab_objects;
	actor_begin(&trimmer);
	actor_begin(&helper);
	actor_tell(&trimmer, trim_it, cache);
	wait_for(&is_destructing);
	actor_tell(&helper, let_destruct, NULL);
	ck_assert_int_eq(quarry_cache_destroy(cache), 0);
	ck_assert_uint_eq(destructed, all);
	actor_wait(&helper);
	actor_wait(&trimmer);
	actor_end(&helper);
	actor_end(&trimmer);
	ck_assert_uint_eq(span_live_nbytes(), 0);
}
END_TEST

/* --- fork --------------------------------------------------------------------------------------------------------- */

START_TEST(a_child_keeps_everything)
{
	fork_init();
	struct quarry_cache *cache = make(24);
	struct actor actor;
	actor_begin(&actor);
	actor_do(&actor, alloc_and_free, cache);
	fill(cache, 1000);
	ck_assert_uint_gt(stats_of(cache).cached, 125);
	uint64_t slabs = stats_of(cache).slabs;
	bool fine = child_succeeds({
		struct quarry_cache_stats stats = stats_of(cache);
		child_expect(stats.live == 1000 && stats.slabs == slabs && stats.cached <= 125);
		drain(cache, 1000);
		fill(cache, MANY);
		drain(cache, MANY);
		child_expect(quarry_cache_destroy(cache) == 0 && span_live_nbytes() == 0);
	});
	ck_assert(fine);
	drain(cache, 1000);
	actor_do(&actor, alloc_and_free, cache);
	actor_end(&actor);
	ck_assert_int_eq(quarry_cache_destroy(cache), 0);
}
END_TEST

static sem_t is_constructing, may_go_on;

static int construct_slowly(void *object)
{
	(void)object;
	if (constructed++ == 0) {
		sem_post(&is_constructing);
		wait_for(&may_go_on);
	}
	return 0;
}

static void alloc_one(void *cache)
{
	objects[0] = quarry_cache_alloc(cache);
}

/* Registered before any cache was made: they run while the forking thread should not yet, or no longer, hold locks. */
static struct quarry_cache *used_by_handlers;

static void use_cache(void)
{
	void *object = used_by_handlers == NULL ? NULL : quarry_cache_alloc(used_by_handlers);
	quarry_cache_free(used_by_handlers, object);
	quarry_cache_trim(used_by_handlers);
}

START_TEST(fork_handlers_may_use_caches)
{
	used_by_handlers = NULL;
	fork_init();
	ck_assert_int_eq(pthread_atfork(use_cache, use_cache, use_cache), 0);
	used_by_handlers = make(24);
	ck_assert(child_succeeds(child_expect(quarry_cache_destroy(used_by_handlers) == 0)));
	ck_assert_int_eq(quarry_cache_destroy(used_by_handlers), 0);
	used_by_handlers = NULL;
}
END_TEST

START_TEST(a_slab_that_a_lost_thread_had_in_hand_comes_back)
{
	fork_init();
	sem_init(&is_constructing, 0, 0);
	sem_init(&may_go_on, 0, 0);
	struct quarry_cache *cache = quarry_cache_create("slow", 24, 0, construct_slowly, NULL, 0);
	struct actor actor;
	actor_begin(&actor);
	actor_tell(&actor, alloc_one, cache);
	wait_for(&is_constructing);
	ck_assert(child_succeeds({
		child_expect(quarry_cache_destroy(cache) == 0);
		child_expect(span_live_nbytes() == 0);
	}));
	sem_post(&may_go_on);
	actor_wait(&actor);
	ck_assert_uint_eq(stats_of(cache).slabs, 1);
	quarry_cache_free(cache, objects[0]);
	actor_end(&actor);
	ck_assert_int_eq(quarry_cache_destroy(cache), 0);
}
END_TEST

/* --- nodes -------------------------------------------------------------------------------------------------------- */

static unsigned node_of_object(const struct quarry_cache *cache, const void *object)
{
	return depot_of(&cache->type, object)->node;
}

START_TEST(objects_are_of_the_threads_node)
{
	node_set_for_tests(2);
	struct quarry_cache *cache = make(24);
	ck_assert(thread_pin(0));
	fill(cache, 1000);
	ck_assert(thread_pin(1));
	for (size_t i = 1000; i < 2000; i++)
		objects[i] = quarry_cache_alloc(cache);
	ck_assert_uint_eq(node_of_object(cache, objects[0]), 0);
	ck_assert_uint_eq(node_of_object(cache, objects[1250]), 1); /* after what was at hand */
	for (size_t i = 0; i < 2000; i++) /* they go home, and none of the first node's comes from here again */
		quarry_cache_free(cache, objects[i]);
	for (size_t i = 0; i < 1000; i++) {
		objects[i] = quarry_cache_alloc(cache);
		expect(node_of_object(cache, objects[i]) == 1);
	}
	drain(cache, 1000);
	quarry_cache_trim(cache);
	ck_assert_uint_eq(stats_of(cache).slabs, 0);
	ck_assert_int_eq(quarry_cache_destroy(cache), 0);
}
END_TEST

/* --- misuse ------------------------------------------------------------------------------------------------------- */

START_TEST(a_double_free_is_reported)
{
	struct quarry_cache *cache = make(24);
	void *object = quarry_cache_alloc(cache), *other = quarry_cache_alloc(cache);
	quarry_cache_free(cache, object);
	catch_begin();
	quarry_cache_free(cache, object);
	ck_assert_ptr_nonnull(strstr(catch_end(), "double free"));
	quarry_cache_free(cache, other);
	catch_begin();
	quarry_cache_free(cache, object); /* not on top any more: found when it comes home */
	quarry_cache_trim(cache);
	ck_assert_ptr_nonnull(strstr(catch_end(), "double free"));
}
END_TEST

START_TEST(strangers_are_reported)
{
	struct quarry_cache *cache = make(24), *another = make(24);
	void *blocks[] = {&cache, quarry_malloc(24), quarry_malloc(SPAN), quarry_cache_alloc(another),
		          (char *)quarry_cache_alloc(cache) + 8};
	for (size_t i = 0; i < COUNT(blocks); i++) {
		catch_begin();
		quarry_cache_free(cache, blocks[i]);
		quarry_cache_trim(cache);
		ck_assert_ptr_nonnull(strstr(catch_end(), "of what is no object of the cache"));
	}
}
END_TEST

START_TEST(malloc_refuses_objects)
{
	struct quarry_cache *cache = make(24);
	fill(cache, 10);
	for (size_t i = 0; i < 10; i++) {
		catch_begin();
		quarry_free(objects[i]);
		ck_assert_ptr_nonnull(strstr(catch_end(), "free by another call than quarry_cache_free"));
		catch_begin();
		void *volatile moved = quarry_realloc(objects[i], 100);
		ck_assert_ptr_null(moved);
		ck_assert_ptr_nonnull(strstr(catch_end(), "realloc"));
		ck_assert_int_eq(quarry_owns(objects[i]), 1);
	}
	drain(cache, 10);
	ck_assert_int_eq(quarry_cache_destroy(cache), 0);
}
END_TEST

START_TEST(leaks_are_reported_and_kept)
{
	struct quarry_cache *cache = make(24);
	fill(cache, 5);
	quarry_cache_free(cache, objects[0]);
	char expected[64];
	snprintf(expected, sizeof expected, "4 objects of 24 bytes are out, the first at %p", objects[1]);
	catch_begin();
	errno = 0;
	ck_assert(quarry_cache_destroy(cache) == -1 && errno == EBUSY);
	const char *said = catch_end();
	ck_assert_msg(strstr(said, expected) != NULL && strstr(said, "'test'") != NULL, "%s", said);
	fill(cache, 1); /* it lives on */
	quarry_cache_free(cache, objects[0]);
	for (size_t i = 1; i < 5; i++)
		quarry_cache_free(cache, objects[i]);
	ck_assert_int_eq(quarry_cache_destroy(cache), 0);
	catch_begin();
	ck_assert_int_eq(quarry_cache_destroy(cache), -1);
	ck_assert_ptr_nonnull(strstr(catch_end(), "double destroy"));
	catch_begin();
	void *volatile none = quarry_cache_alloc(cache);
	ck_assert_ptr_null(none);
	ck_assert_ptr_nonnull(strstr(catch_end(), "what is no cache"));
}
END_TEST

START_TEST(or_dropped)
{
	struct quarry_cache *cache = quarry_cache_create("drop", 40, 0, construct, destruct, QUARRY_CACHE_DROP);
	fill(cache, MANY);
	for (size_t i = 0; i < MANY; i += 3)
		quarry_cache_free(cache, objects[i]);
	ck_assert_int_eq(quarry_cache_destroy(cache), 0);
	ck_assert(constructed == destructed && span_live_nbytes() == 0);
}
END_TEST

int main(void)
{
	without_quarantine();
	Suite *suite = suite_create("object_cache");
	TCase *tcase = new_case(suite, "objects");
	tcase_add_test(tcase, sizes_and_alignments_are_exact);
	tcase_add_test(tcase, an_object_of_24_bytes_costs_24_bytes);
	tcase_add_test(tcase, bad_requests);
	tcase_add_test(tcase, objects_stay_constructed);
	tcase_add_test(tcase, a_constructor_may_refuse);
	tcase = new_case(suite, "memory");
	tcase_add_test(tcase, empty_slabs_go_back);
	tcase_add_test(tcase, sleeping_threads_are_visited);
	tcase_add_test(tcase, the_end_of_a_thread_loses_nothing);
	tcase_add_test(tcase, the_limit_is_exact);
	tcase_add_test(tcase, to_destroy_waits_for_destructors);
	tcase_add_test(tcase, a_child_keeps_everything);
	tcase_add_test(tcase, fork_handlers_may_use_caches);
	tcase_add_test(tcase, a_slab_that_a_lost_thread_had_in_hand_comes_back);
	tcase_add_test(tcase, objects_are_of_the_threads_node);
	tcase = new_case(suite, "misuse");
	tcase_add_test(tcase, a_double_free_is_reported);
	tcase_add_test(tcase, strangers_are_reported);
	tcase_add_test(tcase, malloc_refuses_objects);
	tcase_add_test(tcase, leaks_are_reported_and_kept);
	tcase_add_test(tcase, or_dropped);
	return run_suite(suite);
}
