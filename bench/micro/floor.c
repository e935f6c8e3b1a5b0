/* SPDX-License-Identifier: MIT */
/*
 * The floor under every allocator: malloc pops a thread-local list, free pushes. No size classes, no owner, no
 * bound, no return of memory, no second thread in mind. A shared library to preload, so that it pays for the same
 * calls; of use for loads of one small size only. Its lists hold blocks of at least FLOOR_BLOCK bytes, which is why
 * free needs no look at what it is given.
 */
#define _GNU_SOURCE
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

enum { FLOOR_BLOCK = 1024, CHUNK = 1 << 20 };

#define THREAD_LOCAL static __thread __attribute__((tls_model("initial-exec")))
#define EXPORT __attribute__((visibility("default")))

struct block {
	struct block *next;
};

THREAD_LOCAL struct block *list;
THREAD_LOCAL char *bump, *bump_end;

EXPORT void *malloc(size_t nbytes);
EXPORT void free(void *block);
EXPORT void *calloc(size_t n, size_t nbytes);
EXPORT void *realloc(void *block, size_t nbytes);
EXPORT void *aligned_alloc(size_t alignment, size_t nbytes);

/* The slack behind each chunk lets realloc copy more than the old block held. */
static __attribute__((noinline, cold)) void *carve(size_t nbytes)
{
	size_t room = nbytes > FLOOR_BLOCK ? (nbytes + 63) & ~(size_t)63 : FLOOR_BLOCK;
	char *block;

	if (!bump || (size_t)(bump_end - bump) < room) {
		size_t chunk = room > CHUNK ? room : CHUNK;

		bump = mmap(NULL, 2 * chunk, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (bump == MAP_FAILED)
			return bump = NULL;
		bump_end = bump + chunk;
	}
	block = bump;
	bump += room;
	return block;
}

void *malloc(size_t nbytes)
{
	struct block *block = list;

	if (__builtin_expect(nbytes > FLOOR_BLOCK || !block, 0))
		return carve(nbytes);
	list = block->next;
	return block;
}

void free(void *ptr)
{
	struct block *block = ptr;

	if (__builtin_expect(!block, 0))
		return;
	block->next = list;
	list = block;
}

void *calloc(size_t n, size_t nbytes)
{
	void *block;

	if (__builtin_mul_overflow(n, nbytes, &nbytes))
		return NULL;
	block = malloc(nbytes);
	return block ? memset(block, 0, nbytes) : NULL;
}

void *realloc(void *block, size_t nbytes)
{
	void *moved = malloc(nbytes);

	if (moved && block)
		memcpy(moved, block, nbytes);
	free(block);
	return moved;
}

void *aligned_alloc(size_t alignment, size_t nbytes)
{
	uintptr_t block = (uintptr_t)carve(nbytes + alignment);

	return block ? (void *)((block + alignment - 1) & ~(uintptr_t)(alignment - 1)) : NULL;
}
