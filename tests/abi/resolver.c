/* SPDX-License-Identifier: MIT */
/*
 * malloc in an ifunc resolver: while the program is being relocated, before the loader has filled in the initial image
 * of thread-local storage (all of it is 0) and before libc knows the environment.
 *
 * What was allocated then is used and freed afterwards.
 */
#include "blackbox.h"

#define BLOCKS 100

static void *blocks[BLOCKS];

static size_t size_of(size_t i)
{
	return 1 + i * i * 7;
}

static int answer(void)
{
	return 42;
}

/* Hardly any function of libc may be called here. */
__attribute__((used)) static int (*resolve_answer(void))(void)
{
	for (size_t i = 0; i < BLOCKS; i++) {
		blocks[i] = malloc(size_of(i));
		if (blocks[i] == NULL)
			__builtin_trap();
		pattern_fill(blocks[i], size_of(i), i);
	}
	for (size_t i = 0; i < BLOCKS; i += 3) {
		free(blocks[i]);
		blocks[i] = NULL;
	}
	return answer;
}

int resolved_answer(void) __attribute__((ifunc("resolve_answer")));

int main(void)
{
	uint64_t rng = 1;

	test_start(30);
	CHECK(resolved_answer() == 42);
	for (int round = 0; round < 10000; round++) {
		size_t i = rng_below(&rng, BLOCKS);
		if (blocks[i] != NULL)
			pattern_check(blocks[i], size_of(i), i);
		free(blocks[i]);
		blocks[i] = malloc(size_of(i));
		pattern_fill(blocks[i], size_of(i), i);
	}
	for (size_t i = 0; i < BLOCKS; i++)
		free(blocks[i]);
	return 0;
}
