/* SPDX-License-Identifier: MIT */
/*
 * Pointers that were never a block: on the stack, static, mapped by the program, code, unmapped, non-canonical.
 */
#include "misuse.h"

static char static_bytes[4096] = { 1 };

static void stack(size_t nbytes)
{
	char bytes[256];

	memset(bytes, 1, sizeof bytes);
	quarry_free(misuse_is_next((void *)(((uintptr_t)bytes + 15) & ~(uintptr_t)15)));
	CHECK(bytes[nbytes] == 1);
}

static void static_data(size_t nbytes)
{
	quarry_free(misuse_is_next(static_bytes + nbytes));
}

static void mapped(size_t nbytes)
{
	quarry_free(misuse_is_next((char *)map_table(16 * MIB) + nbytes));
}

static void unmapped(size_t nbytes)
{
	char *hole = (char *)map_table(16 * MIB);

	munmap(hole, 16 * MIB);
	quarry_free(misuse_is_next(hole + nbytes));
}

static void forbidden(size_t nbytes)
{
	char *hole = (char *)map_table(16 * MIB);

	CHECK(mprotect(hole, 16 * MIB, PROT_NONE) == 0);
	quarry_free(misuse_is_next(hole + nbytes));
}

static void code(size_t nbytes)
{
	(void)nbytes;
	quarry_free(misuse_is_next((void *)(uintptr_t)code));
}

static void number(size_t address)
{
	quarry_free(misuse_is_next((void *)address));
}

int main(int argc, char **argv)
{
	static const struct misuse misuses[] = {
		{ "free of stack memory", stack, 64, ADDRESS_ONLY, 0 },
		{ "free of static data", static_data, 0, ADDRESS_ONLY, 0 },
		{ "free of static data", static_data, 1024, ADDRESS_ONLY, 0 },
		{ "free of a mapping", mapped, 0, ADDRESS_ONLY, 0 },
		{ "free inside a mapping", mapped, 4 * MIB, ADDRESS_ONLY, 0 },
		{ "free inside a mapping", mapped, 123456, ADDRESS_ONLY, 0 },
		{ "free of unmapped memory", unmapped, 0, ADDRESS_ONLY, 0 },
		{ "free of unmapped memory", unmapped, 5000000, ADDRESS_ONLY, 0 },
		{ "free of forbidden memory", forbidden, 8 * MIB, ADDRESS_ONLY, 0 },
		{ "free of code", code, 0, ADDRESS_ONLY, 0 },
		{ "free of a small number", number, 1, ADDRESS_ONLY, 0 },
		{ "free of a small number", number, 4096, ADDRESS_ONLY, 0 },
		{ "free of the top of user space", number, 0x7ffffffff000, ADDRESS_ONLY, 0 },
		{ "free of a non-canonical address", number, 0x800000000000, ADDRESS_ONLY, 0 },
		{ "free of a non-canonical address", number, 0x123456789abcdef0, ADDRESS_ONLY, 0 },
		{ "free of a kernel address", number, 0xffff800000000000, ADDRESS_ONLY, 0 },
		{ "free of -16", number, (size_t)-16, ADDRESS_ONLY, 0 },
	};
	return misuse_main(argc, misuses, COUNT(misuses), argv);
}
