/* SPDX-License-Identifier: MIT */
/*
 * Pointers into a live block, not to its start: at odd offsets, at multiples of 16, in medium and large blocks. The
 * block itself stays whole and is freed properly afterwards.
 */
#include "misuse.h"

static void free_inside(size_t nbytes, size_t offset)
{
	char *block = quarry_malloc(nbytes);

	pattern_fill(block, nbytes, 1);
	quarry_free(misuse_is_next(block + offset));
	pattern_check(block, nbytes, 1);
	quarry_free(block);
}

static void odd(size_t nbytes)
{
	free_inside(nbytes, 1);
}

static void eight(size_t nbytes)
{
	free_inside(nbytes, 8);
}

static void sixteen(size_t nbytes)
{
	free_inside(nbytes, 16);
}

static void middle(size_t nbytes)
{
	free_inside(nbytes, nbytes / 2 & ~(size_t)15);
}

static void second_page(size_t nbytes)
{
	free_inside(nbytes, 4096);
}

static void last_byte(size_t nbytes)
{
	free_inside(nbytes, nbytes - 1);
}

int main(int argc, char **argv)
{
	static const struct misuse misuses[] = {
		{ "free of block + 1", odd, 16, CLASS_AND_ARENA, 0 },
		{ "free of block + 1", odd, 48, CLASS_AND_ARENA, 0 },
		{ "free of block + 1", odd, 100, CLASS_AND_ARENA, 0 },
		{ "free of block + 1", odd, 200, CLASS_AND_ARENA, 0 },
		{ "free of block + 1", odd, 500, CLASS_AND_ARENA, 0 },
		{ "free of block + 1", odd, 30000, ADDRESS_ONLY, 0 },
		{ "free of block + 1", odd, 3000000, ADDRESS_ONLY, 0 },
		{ "free of block + 8", eight, 64, CLASS_AND_ARENA, 0 },
		{ "free of block + 8", eight, 112, CLASS_AND_ARENA, 0 },
		{ "free of block + 8", eight, 30000, ADDRESS_ONLY, 0 },
		{ "free of block + 16", sixteen, 48, CLASS_AND_ARENA, 1 },
		{ "free of block + 16", sixteen, 200, CLASS_AND_ARENA, 1 },
		{ "free of block + 16", sixteen, 30000, ADDRESS_ONLY, 1 },
		{ "free of block + 16", sixteen, 3000000, ADDRESS_ONLY, 1 },
		{ "free of the middle", middle, 112, CLASS_AND_ARENA, 1 },
		{ "free of the middle", middle, 60000, ADDRESS_ONLY, 1 },
		{ "free of the middle", middle, 5000000, ADDRESS_ONLY, 1 },
		{ "free of the second page", second_page, 60000, ADDRESS_ONLY, 1 },
		{ "free of the second page", second_page, 5000000, ADDRESS_ONLY, 1 },
		{ "free of the last byte", last_byte, 100, CLASS_AND_ARENA, 0 },
		{ "free of the last byte", last_byte, 5000000, ADDRESS_ONLY, 0 },
	};
	return misuse_main(argc, misuses, COUNT(misuses), argv);
}
