/* SPDX-License-Identifier: MIT */
/*
 * malloc and free while a thread dies: thread_local destructors, pthread keys that arm themselves again through all
 * rounds, keys made before and after the first malloc, and what libc frees after the last of them (strerror's text).
 *
 * Nothing may be left behind: 10,000 such threads leave the footprint of 1,000.
 */
#include "blackbox.h"

#include <limits.h>
#include <pthread.h>

#define KEYS 40 /* above 32, where glibc allocates a second level of pthread_getspecific's table */

static pthread_key_t keys[KEYS];
static int destructors_run;

struct held_block {
	size_t nbytes;
	uint64_t tag;
};

/* A block that says its own size and tag in its first bytes. */
static held_block *hold(uint64_t *rng)
{
	size_t nbytes = sizeof(held_block) + rng_size(rng, 12);
	held_block *block = (held_block *)malloc(nbytes);

	CHECK(block != nullptr);
	pattern_fill(block + 1, nbytes - sizeof *block, 3);
	block->nbytes = nbytes;
	block->tag = 3;
	return block;
}

static void drop(held_block *block)
{
	pattern_check(block + 1, block->nbytes - sizeof *block, block->tag);
	free(block);
}

struct owner {
	held_block *block = nullptr;
	uint64_t rng = 7;
	~owner()
	{
		drop(block);
		drop(hold(&rng));
	}
};

static thread_local owner first_owner, second_owner;

/* Which key: its index lies in the block's tag above the pattern's own. */
struct armed {
	held_block *block;
	int key;
	int round;
};

static void key_destructor(void *value)
{
	armed *state = (armed *)value;
	uint64_t rng = (uint64_t)state->key + 1;

	__atomic_fetch_add(&destructors_run, 1, __ATOMIC_RELAXED);
	drop(state->block);
	if (++state->round < PTHREAD_DESTRUCTOR_ITERATIONS && state->key % 2 == 0) {
		state->block = hold(&rng);
		CHECK(pthread_setspecific(keys[state->key], state) == 0);
	} else {
		free(state);
	}
}

static void *live_and_die(void *arg)
{
	uint64_t rng = test_seed((uint64_t)(uintptr_t)arg + 1);

	if ((uintptr_t)arg % 2 == 0) {
		first_owner.block = hold(&rng);
		second_owner.block = hold(&rng);
	}
	for (int i = 0; i < KEYS; i += 1 + (int)rng_below(&rng, KEYS)) {
		armed *state = (armed *)malloc(sizeof *state);
		*state = armed{ hold(&rng), i, 0 };
		CHECK(pthread_setspecific(keys[i], state) == 0);
	}
	/* The text for an unknown number is allocated, and freed by libc after all destructors. */
	CHECK(strerror(12345 + (int)(uintptr_t)arg) != nullptr);
	drop(hold(&rng));
	if ((uintptr_t)arg % 2 != 0)
		pthread_exit(hold(&rng));
	return hold(&rng);
}

/* Threads whose first malloc is in a destructor. */
static void *silent(void *)
{
	armed *state = (armed *)map_table(sizeof *state);

	*state = armed{ nullptr, -1, 0 };
	CHECK(pthread_setspecific(keys[KEYS - 1], state) == 0);
	return nullptr;
}

static void silent_destructor(void *value)
{
	armed *state = (armed *)value;
	uint64_t rng = 5;

	if (state->key >= 0) {
		key_destructor(value);
		return;
	}
	drop(hold(&rng));
	munmap(value, sizeof *state);
}

static void run_threads(int count)
{
	for (int i = 0; i < count; i += 4) {
		pthread_t threads[4];
		void *block;

		for (int j = 0; j < 4; j++)
			CHECK(pthread_create(&threads[j], nullptr, j == 3 ? silent : live_and_die,
					     (void *)(uintptr_t)(unsigned)(i + j)) == 0);
		for (int j = 0; j < 4; j++) {
			CHECK(pthread_join(threads[j], &block) == 0);
			if (block != nullptr)
				drop((held_block *)block);
		}
	}
}

int main()
{
	test_start(120);
	test_seed(0);
	for (int i = 0; i < KEYS / 2; i++)
		CHECK(pthread_key_create(&keys[i], key_destructor) == 0);
	free(malloc(100));
	for (int i = KEYS / 2; i < KEYS; i++)
		CHECK(pthread_key_create(&keys[i], i == KEYS - 1 ? silent_destructor : key_destructor) == 0);
	run_threads(1000);
	size_t before = resident(), mapped = proc_status("VmSize:");
	run_threads(9000);
	size_t after = resident(), mapped_after = proc_status("VmSize:");
	CHECKF(after <= before + MIB, "  resident after 1,000 threads %zu KiB, after 10,000 %zu KiB", before / KIB,
	       after / KIB);
	CHECKF(mapped_after <= mapped + 16 * 1024, "  mapped after 1,000 threads %zu KiB, after 10,000 %zu KiB", mapped,
	       mapped_after);
	CHECK(destructors_run > 10000);
	return 0;
}
