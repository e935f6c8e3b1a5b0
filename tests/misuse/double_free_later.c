/* SPDX-License-Identifier: MIT */
/*
 * A block freed a second time after others were freed or allocated, by the same thread or by another.
 */
#include "misuse.h"

#define OTHERS 20

static void after_others(size_t nbytes)
{
	void *blocks[OTHERS];

	for (int i = 0; i < OTHERS; i++)
		blocks[i] = quarry_malloc(nbytes);
	for (int i = 0; i < OTHERS; i++)
		quarry_free(blocks[i]);
	quarry_free(misuse_is_next(blocks[3]));
}

/* So many that the first ones have left every cache. */
static void after_thousands(size_t nbytes)
{
	enum { MANY = 20000 };
	static void *blocks[MANY];

	for (int i = 0; i < MANY; i++)
		blocks[i] = quarry_malloc(nbytes);
	for (int i = 0; i < MANY; i++)
		quarry_free(blocks[i]);
	quarry_free(misuse_is_next(blocks[100]));
}

static void *free_it(void *block)
{
	quarry_free(block);
	return NULL;
}

static void after_another_thread(size_t nbytes)
{
	pthread_t thread;
	void *block = quarry_malloc(nbytes), *other = quarry_malloc(nbytes);

	CHECK(pthread_create(&thread, NULL, free_it, block) == 0 && pthread_join(thread, NULL) == 0);
	quarry_free(other);
	quarry_free(misuse_is_next(block));
}

#define FEW 64

static void *free_all_and_last_again(void *blocks)
{
	void **list = blocks;

	for (int i = 0; i < FEW; i++)
		quarry_free(list[i]);
	quarry_free(misuse_is_next(list[FEW - 1]));
	return NULL;
}

/* Blocks of another thread's, of a size that fills the chain on which they go home. */
static void at_the_end_of_a_chain(size_t nbytes)
{
	static void *blocks[FEW];
	pthread_t thread;

	for (int i = 0; i < FEW; i++)
		blocks[i] = quarry_malloc(nbytes);
	CHECK(pthread_create(&thread, NULL, free_all_and_last_again, blocks) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
}

int main(int argc, char **argv)
{
	static const struct misuse misuses[] = {
		{ "double free after others", after_others, 16, CLASS_AND_ARENA, 1 },
		{ "double free after others", after_others, 100, CLASS_AND_ARENA, 1 },
		{ "double free after others", after_others, 3000000, ADDRESS_ONLY, 0 },
		{ "double free after thousands", after_thousands, 100, ADDRESS_ONLY, 1 },
		{ "double free at the end of a chain", at_the_end_of_a_chain, 1024, CLASS_AND_ARENA, 0 },
		{ "double free after another thread", after_another_thread, 64, CLASS_AND_ARENA, 1 },
		{ "double free after another thread", after_another_thread, 30000, ADDRESS_ONLY, 0 },
	};
	return misuse_main(argc, misuses, COUNT(misuses), argv);
}
