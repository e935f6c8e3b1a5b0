/* SPDX-License-Identifier: MIT */
/*
 * check_slab: shapes of every stride waste little, and a slab gives out and takes back exactly its objects.
 */
#include "unit.h"

#include "arena_list.h"
#include "slab.h"

static struct depot *const owner = (struct depot *)&(struct span_owner){SPAN_OF_CACHE};

START_TEST(shapes_waste_little)
{
	for (size_t stride = 1; stride <= SLAB_MAX_STRIDE; stride += 1 + stride / 50) {
		struct slab_shape shape = slab_shape_of(stride);
		size_t used = shape.capacity * stride;
		expect(shape.stride == stride && shape.capacity > 0 && (shape.nbytes & (shape.nbytes - 1)) == 0);
		expect(shape.nbytes >= POOL_SIZE && shape.nbytes <= SLAB_MAX_NBYTES && used <= shape.nbytes);
		if (shape.bits_at != 0) /* only objects of a few bytes */
			expect(stride < ALIGNMENT && shape.bits_at >= used && shape.bits_at % 8 == 0);
		if (stride >= ALIGNMENT && stride <= SLAB_MAX_NBYTES / 64)
			expect(64 * (shape.nbytes - used) <= shape.nbytes);
		expect(stride >= ALIGNMENT || shape.nbytes == POOL_SIZE);
		expect(shape.capacity >= 8 || SLAB_MAX_NBYTES / stride < 8);
	}
	ck_assert_uint_eq(slab_shape_of(24).nbytes, POOL_SIZE);
	ck_assert_uint_eq(slab_shape_of(24).capacity, POOL_SIZE / 24);
}
END_TEST

static void take_all(const struct slab_shape *shape, struct slab *slab, void **objects)
{
	unsigned taken = 0;
	for (unsigned n = 1; taken < shape->capacity; n++) {
		unsigned more = slab_take(shape, slab, objects + taken, n);
		expect(more == (n < shape->capacity - taken ? n : shape->capacity - taken));
		taken += more;
	}
	expect(slab->nfree == 0 && slab_take(shape, slab, objects, 1) == 0);
}

START_TEST(it_gives_each_object_once)
{
	static const size_t strides[] = {1, 3, 8, 16, 24, 40, 63, 100, 1000, 3000, SLAB_MAX_STRIDE};
	static void *objects[POOL_SIZE];
	ck_assert(arena_list_grow(0));
	for (size_t k = 0; k < COUNT(strides); k++) {
		struct slab_shape shape = slab_shape_of(strides[k]);
		struct slab *slab = slab_make(&shape, 0, owner);
		expect(slab != NULL && slab_is_empty(&shape, slab) && slab_first_out(&shape, slab) == NULL);
		take_all(&shape, slab, objects);
		for (unsigned i = 0; i < shape.capacity; i++) {
			expect(objects[i] == slab_start(slab) + i * shape.stride);
			expect(slab_of(&shape, objects[i]) == slab);
			memset(objects[i], 0xff, shape.stride);
		}
		ck_assert_ptr_eq(slab_first_out(&shape, slab), objects[0]);
		for (unsigned i = 0; i < shape.capacity; i += 2)
			expect(slab_put(&shape, slab, objects[i]) && !slab_put(&shape, slab, objects[i]));
		ck_assert(shape.capacity < 2 || slab_first_out(&shape, slab) == objects[1]);
		for (unsigned i = 1; i < shape.capacity; i += 2)
			expect(slab_put(&shape, slab, objects[i]));
		if (shape.stride > 1)
			ck_assert(!slab_put(&shape, slab, (char *)objects[0] + 1));
		ck_assert(!slab_put(&shape, slab, slab_start(slab) + shape.capacity * shape.stride));
		ck_assert(slab_is_empty(&shape, slab));
		take_all(&shape, slab, objects);
		slab_free(slab);
		ck_assert_uint_eq(span_live_nbytes(), 0);
	}
}
END_TEST

START_TEST(any_order)
{
	static void *objects[POOL_SIZE];
	uint64_t random = 7;
	ck_assert(arena_list_grow(0));
	struct slab_shape shape = slab_shape_of(24);
	struct slab *slab = slab_make(&shape, 0, owner);
	unsigned out = 0;
	for (int round = 0; round < 100000; round++) {
		if (out < shape.capacity && random_below(&random, 2)) {
			out += slab_take(&shape, slab, objects + out, (unsigned)random_below(&random, 9));
		} else if (out > 0) {
			size_t i = random_below(&random, out);
			expect(slab_put(&shape, slab, objects[i]));
			objects[i] = objects[--out];
		}
		expect(slab->nfree == shape.capacity - out);
	}
	slab_free(slab);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("slab");
	TCase *tcase = new_case(suite, "slab");
	tcase_add_test(tcase, shapes_waste_little);
	tcase_add_test(tcase, it_gives_each_object_once);
	tcase_add_test(tcase, any_order);
	return run_suite(suite);
}
