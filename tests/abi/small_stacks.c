/* SPDX-License-Identifier: MIT */
/*
 * Every path of the allocator fits on the smallest thread stack, 16 KiB, of which libc itself takes a part.
 */
#include "blackbox.h"

#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <unistd.h>

#define BLOCKS 600

/* Beside the stack: this thread's frame must stay small. */
static void **blocks;

static void *use_all_calls(void *arg)
{
	uint64_t rng = (uint64_t)(uintptr_t)arg + 1;

	for (int i = 0; i < BLOCKS; i++) {
		size_t nbytes = rng_size(&rng, 23);
		switch (i % 6) {
		case 0:
			blocks[i] = calloc(1, nbytes);
			break;
		case 1:
			blocks[i] = aligned_alloc(64 << i % 10, nbytes);
			break;
		case 2:
			blocks[i] = realloc(malloc(nbytes / 3 + 1), nbytes);
			break;
		default:
			blocks[i] = malloc(nbytes % 5000 + 1);
		}
		if (blocks[i] == NULL)
			_exit(1);
		*(char *)blocks[i] = 1;
	}
	for (int i = 0; i < BLOCKS; i += 2)
		free(blocks[i]);
	malloc_trim(0);
	for (int i = 0; i < BLOCKS; i += 2)
		blocks[i] = malloc(rng_size(&rng, 16));
	for (int i = 0; i < BLOCKS; i++)
		free(blocks[i]);
	mallinfo2();
	return NULL;
}

int main(void)
{
	pthread_attr_t attributes;
	pthread_t thread;
	char *stack = (char *)map_table(3 * 16 * KIB);

	test_start(240);
	blocks = (void **)map_table(BLOCKS * sizeof *blocks);
	for (uintptr_t i = 0; i < 100; i++) {
		CHECK(pthread_attr_init(&attributes) == 0);
		CHECK(pthread_attr_setstacksize(&attributes, 16 * KIB) == 0);
		CHECK(pthread_create(&thread, &attributes, use_all_calls, (void *)i) == 0);
		CHECK(pthread_join(thread, NULL) == 0);
		/* The program's own stack, with forbidden memory on both sides. */
		CHECK(mprotect(stack, 16 * KIB, PROT_NONE) == 0);
		CHECK(mprotect(stack + 32 * KIB, 16 * KIB, PROT_NONE) == 0);
		CHECK(pthread_attr_setstack(&attributes, stack + 16 * KIB, 16 * KIB) == 0);
		CHECK(pthread_create(&thread, &attributes, use_all_calls, (void *)i) == 0);
		CHECK(pthread_join(thread, NULL) == 0);
		pthread_attr_destroy(&attributes);
	}
	return 0;
}
