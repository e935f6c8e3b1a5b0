/* SPDX-License-Identifier: MIT */
/*
 * realloc of what is no block: static data, interior pointers, freed blocks. If it goes on, it returns NULL.
 */
#include "misuse.h"

static char static_bytes[4096] = { 1 };

static void resize(void *address)
{
	void *result = quarry_realloc(misuse_is_next(address), 300);

	CHECKF(result == NULL, "  realloc of no block returned %p", result);
}

static void static_data(size_t nbytes)
{
	resize(static_bytes + nbytes);
}

static void interior(size_t nbytes)
{
	char *block = quarry_malloc(nbytes);

	pattern_fill(block, nbytes, 1);
	resize(block + 3);
	pattern_check(block, nbytes, 1);
	quarry_free(block);
}

static void freed_large(size_t nbytes)
{
	void *block = quarry_malloc(nbytes);

	quarry_free(block);
	resize(block);
}

static void number(size_t address)
{
	resize((void *)address);
}

int main(int argc, char **argv)
{
	static const struct misuse misuses[] = {
		{ "realloc of static data", static_data, 0, ADDRESS_ONLY, 0 },
		{ "realloc of static data", static_data, 48, ADDRESS_ONLY, 0 },
		{ "realloc of an interior pointer", interior, 200, CLASS_AND_ARENA, 0 },
		{ "realloc of an interior pointer", interior, 50000, ADDRESS_ONLY, 0 },
		{ "realloc of an interior pointer", interior, 5000000, ADDRESS_ONLY, 0 },
		{ "realloc of a freed large block", freed_large, 20000000, ADDRESS_ONLY, 0 },
		{ "realloc of a non-canonical address", number, 0x900000000000, ADDRESS_ONLY, 0 },
		{ "realloc of a small number", number, 16, ADDRESS_ONLY, 0 },
	};
	return misuse_main(argc, misuses, COUNT(misuses), argv);
}
