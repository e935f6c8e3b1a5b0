/* SPDX-License-Identifier: MIT */
/*
 * A block freed twice, with nothing in between: at every kind of size.
 */
#include "misuse.h"

static void twice(size_t nbytes)
{
	void *block = quarry_malloc(nbytes);

	quarry_free(block);
	quarry_free(misuse_is_next(block));
}

/* Its neighbours live, so that nothing else about it has changed. */
static void twice_among_others(size_t nbytes)
{
	void *blocks[9];

	for (size_t i = 0; i < COUNT(blocks); i++)
		blocks[i] = quarry_malloc(nbytes);
	quarry_free(blocks[4]);
	quarry_free(misuse_is_next(blocks[4]));
	for (size_t i = 0; i < COUNT(blocks); i++)
		if (i != 4)
			quarry_free(blocks[i]);
}

/* Freed a second time by realloc to 0. */
static void by_realloc(size_t nbytes)
{
	void *block = quarry_malloc(nbytes);
	volatile size_t zero = 0;

	quarry_free(block);
	if (quarry_realloc(misuse_is_next(block), zero) != NULL)
		FAIL("  realloc to 0 returned a block");
}

int main(int argc, char **argv)
{
	static const struct misuse misuses[] = {
		{ "double free", twice, 1, CLASS_AND_ARENA, 0 },
		{ "double free", twice, 100, CLASS_AND_ARENA, 0 },
		{ "double free", twice, 250, CLASS_AND_ARENA, 0 },
		{ "double free", twice, 5000, ADDRESS_ONLY, 0 },
		{ "double free", twice, 100000, ADDRESS_ONLY, 0 },
		{ "double free", twice, 1000000, ADDRESS_ONLY, 0 },
		{ "double free", twice, 20000000, ADDRESS_ONLY, 0 },
		{ "double free among live blocks", twice_among_others, 48, CLASS_AND_ARENA, 0 },
		{ "double free among live blocks", twice_among_others, 40000, ADDRESS_ONLY, 0 },
		{ "double free among live blocks", twice_among_others, 5000000, ADDRESS_ONLY, 0 },
		{ "double free by realloc", by_realloc, 64, CLASS_AND_ARENA, 0 },
	};
	return misuse_main(argc, misuses, COUNT(misuses), argv);
}
