/* SPDX-License-Identifier: MIT */
/*
 * check_raw: the raw layer attaches no thread and keeps nothing in its cache, a size of 0 is a request, and arrays by
 * type check their product and never lose a pointer.
 */
#include "heaps.h"

#include "address_map.h"
#include "quarry/new.h"
#include "quarry/raw.h"

#define LARGE (LARGE_REQUEST_THRESHOLD + 1)

static void use_raw(void *unused)
{
	(void)unused;
	char *blocks[200];
	for (size_t i = 0; i < COUNT(blocks); i++) {
		size_t nbytes = i % 7 == 0 ? SPAN : i % 31 == 0 ? LARGE : i;
		blocks[i] = quarry_raw_malloc(nbytes);
		expect(blocks[i] != NULL && quarry_usable_size(blocks[i]) == quarry_good_size(nbytes));
		expect((uintptr_t)blocks[i] % 16 == 0);
		memset(blocks[i], (int)i, nbytes < 100 ? nbytes : 100);
	}
	for (size_t i = 0; i < COUNT(blocks); i++) {
		blocks[i] = quarry_raw_realloc(blocks[i], i % 3 == 0 ? 0 : 3 * i);
		expect(blocks[i] != NULL && (i % 3 == 0 || i == 0 || blocks[i][0] == (char)i));
	}
	for (size_t i = 0; i < COUNT(blocks); i++)
		quarry_raw_free(blocks[i]);
	quarry_raw_free(NULL);
	expect(slot.state == SLOT_NONE);
}

START_TEST(a_thread_that_uses_it_has_no_heap)
{
	struct actor actor;
	actor_begin(&actor);
	int64_t before = out_nbytes();
	actor_do(&actor, use_raw, NULL);
	ck_assert_int_eq(out_nbytes(), before);
	actor_end(&actor);
}
END_TEST

START_TEST(the_layers_share_their_blocks)
{
	void *raw = quarry_raw_malloc(SMALL), *object = quarry_malloc(SMALL);
	memset(raw, 1, SMALL);
	raw = quarry_realloc(raw, 10 * SMALL);
	ck_assert(raw != NULL && *(char *)raw == 1);
	quarry_free(raw);
	struct heap *owner = owner_of(object);
	quarry_raw_free(object);
	ck_assert_ptr_eq(owner, slot.heap); /* so it waits there, as other threads' frees do */
	ck_assert_ptr_eq(owner->inbox, object);
	heap_lock(owner);
	remote_drain(owner, UINT32_MAX);
	remote_unlock(owner);
	ck_assert(!block_is_out(object));
}
END_TEST

START_TEST(blocks_are_home_at_once)
{
	void *block = quarry_raw_malloc(SMALL);
	ck_assert(block_is_out(block));
	ck_assert(owner_of(block)->kind == HEAP_SHARED);
	quarry_raw_free(block);
	ck_assert(!block_is_out(block));
	catch_begin();
	quarry_raw_free(block);
	ck_assert_ptr_nonnull(strstr(catch_end(), "double free"));
	catch_begin();
	quarry_raw_free((char *)quarry_raw_malloc(SMALL) + 1);
	ck_assert_ptr_nonnull(strstr(catch_end(), "interior pointer"));
}
END_TEST

START_TEST(zeroed_or_refused)
{
	for (size_t nbytes = 0; nbytes < 2 * LARGE; nbytes = 3 * nbytes + 5) {
		void *dirty = quarry_raw_malloc(nbytes);
		memset(dirty, 1, nbytes);
		quarry_raw_free(dirty);
		char *block = quarry_raw_calloc(nbytes, 1);
		expect(block != NULL && reads_as_zero(block, nbytes));
		quarry_raw_free(block);
	}
	volatile size_t many = SIZE_MAX / 2;
	errno = 0;
	ck_assert(quarry_raw_calloc(many, 3) == NULL && errno == ENOMEM);
	errno = 0;
	ck_assert(quarry_raw_malloc(many) == NULL && errno == ENOMEM);
	void *block = quarry_raw_malloc(SPAN), *same = quarry_raw_realloc(block, many);
	ck_assert_ptr_null(same);
	quarry_raw_free(block);
}
END_TEST

struct point {
	int64_t x, y, z;
};

START_TEST(arrays_are_never_lost)
{
	volatile size_t many = SIZE_MAX / sizeof(struct point) + 2; /* wraps around to a small product */
	struct point *points = QUARRY_NEW(struct point, 100), *raw = QUARRY_RAW_NEW(struct point, 100);
	ck_assert(points != NULL && raw != NULL && quarry_usable_size(points) >= 100 * sizeof *points);
	points[99].z = raw[99].z = 99;
	struct point *before = points, *raw_before = raw;
	errno = 0;
	ck_assert(QUARRY_RESIZE(points, many) == -1 && errno == ENOMEM && points == before && points[99].z == 99);
	errno = 0;
	ck_assert(QUARRY_RAW_RESIZE(raw, many) == -1 && errno == ENOMEM && raw == raw_before && raw[99].z == 99);
	ck_assert(QUARRY_RESIZE(points, 100000) == 0 && QUARRY_RAW_RESIZE(raw, 100000) == 0);
	points[99999].x = raw[99999].x = 1;
	ck_assert(points[99].z == 99 && raw[99].z == 99);
	ck_assert_ptr_null(QUARRY_NEW(struct point, many));
	ck_assert_ptr_null(QUARRY_NEW_ZEROED(struct point, many));
	ck_assert_ptr_null(QUARRY_RAW_NEW(struct point, many));
	ck_assert_ptr_null(QUARRY_RAW_NEW_ZEROED(struct point, many));
	ck_assert(QUARRY_RESIZE(points, 0) == 0 && points != NULL && QUARRY_RAW_RESIZE(raw, 0) == 0 && raw != NULL);
	quarry_free(points);
	quarry_raw_free(raw);
}
END_TEST

START_TEST(arrays_begin_empty)
{
	struct point *points = NULL, *zeroed = QUARRY_NEW_ZEROED(struct point, 10), *none = QUARRY_NEW(struct point, 0);
	ck_assert(zeroed != NULL && reads_as_zero(zeroed, 10 * sizeof *zeroed) && none != NULL);
	for (size_t n = 1; n <= 1000; n++) {
		ck_assert_int_eq(QUARRY_RESIZE(points, n), 0);
		points[n - 1].x = (int64_t)n;
	}
	for (size_t n = 1; n <= 1000; n++)
		expect(points[n - 1].x == (int64_t)n);
	quarry_free(points);
	quarry_free(zeroed);
	quarry_free(none);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("raw");
	TCase *tcase = new_case(suite, "raw");
	tcase_add_test(tcase, a_thread_that_uses_it_has_no_heap);
	tcase_add_test(tcase, the_layers_share_their_blocks);
	tcase_add_test(tcase, blocks_are_home_at_once);
	tcase_add_test(tcase, zeroed_or_refused);
	tcase = new_case(suite, "arrays");
	tcase_add_test(tcase, arrays_are_never_lost);
	tcase_add_test(tcase, arrays_begin_empty);
	return run_suite(suite);
}
