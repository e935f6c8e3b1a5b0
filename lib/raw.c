/* SPDX-License-Identifier: MIT */
/*
 * Raw: the calls of quarry/raw.h, which do without the thread's part of the allocator. Owns nothing.
 */
#include <errno.h>

#include "resize.h"
#include "quarry/raw.h"

static void *allocate(size_t nbytes)
{
	bool zeroed;
	return entry_malloc_raw(nbytes, &zeroed);
}

void *quarry_raw_malloc(size_t nbytes)
{
	return allocate(nbytes);
}

void *quarry_raw_calloc(size_t count, size_t size)
{
	size_t nbytes;
	if (unlikely(__builtin_mul_overflow(count, size, &nbytes))) {
		errno = ENOMEM;
		return NULL;
	}
	bool zeroed;
	void *ptr = entry_malloc_raw(nbytes, &zeroed);
	if (ptr != NULL && !zeroed)
		memset(ptr, 0, nbytes);
	return ptr;
}

void *quarry_raw_realloc(void *ptr, size_t nbytes)
{
	if (ptr == NULL)
		return allocate(nbytes);
	return resize_block(ptr, nbytes + (nbytes == 0), allocate, entry_free_raw);
}

void quarry_raw_free(void *ptr)
{
	entry_free_raw(ptr);
}
