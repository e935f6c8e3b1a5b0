/* SPDX-License-Identifier: MIT */
/**
 * Arrays by type: how many of what, in place of bytes. The product is checked, and a pointer is never lost.
 *
 *     struct point *points = QUARRY_NEW(struct point, n);
 *     if (points == NULL)
 *             return -1;
 *     if (QUARRY_RESIZE(points, 2 * n) != 0)
 *             ...                       (points is what it was, and n of them are there)
 *     quarry_free(points);
 *
 * A count of 0 is a request like any other, for QUARRY_RESIZE too: the pointer is valid and to be freed. Types aligned
 * to more than 16 bytes need quarry_aligned_alloc.
 */
#ifndef QUARRY_NEW_H
#define QUARRY_NEW_H

#include <quarry/quarry.h>
#include <quarry/raw.h>

#ifdef __cplusplus
#include <cstring>
#define QUARRY_COPY_ std::memcpy
#else
#include <string.h>
#define QUARRY_COPY_ memcpy
#endif

/** Allocate count objects of a type, contents unspecified. NULL with ENOMEM, also where the product overflows. */
#define QUARRY_NEW(type, count) ((type *)quarry_new_array((count), sizeof(type)))

/** The same, all bytes zero. */
#define QUARRY_NEW_ZEROED(type, count) ((type *)quarry_calloc((count), sizeof(type)))

/**
 * Make the array that a pointer variable points to hold count objects; NULL is an empty one. The first min(old, new)
 * stay what they are.
 *
 * Returns    0, and the variable points to the array; -1 with ENOMEM, and variable and array are what they were
 */
#define QUARRY_RESIZE(pointer, count) quarry_resize_array(&(pointer), (count), sizeof *(pointer))

/** The same three on the raw layer (raw.h). */
#define QUARRY_RAW_NEW(type, count) ((type *)quarry_raw_new_array((count), sizeof(type)))
#define QUARRY_RAW_NEW_ZEROED(type, count) ((type *)quarry_raw_calloc((count), sizeof(type)))
#define QUARRY_RAW_RESIZE(pointer, count) quarry_raw_resize_array(&(pointer), (count), sizeof *(pointer))

/** Allocate count objects of size bytes, contents unspecified. NULL with ENOMEM, also where the product overflows. */
static inline void *quarry_new_array(size_t count, size_t size)
{
	return count == 0 || size == 0 ? quarry_malloc(0) : quarry_reallocarray(NULL, count, size);
}

/**
 * As QUARRY_RESIZE, by the address of the variable and with the object's size. The variable is copied as bytes, so that
 * it may be a pointer to anything.
 */
static inline int quarry_resize_array(void *variable, size_t count, size_t size)
{
	void *array;
	QUARRY_COPY_(&array, variable, sizeof array);
	array = count == 0 || size == 0 ? quarry_realloc(array, 1) : quarry_reallocarray(array, count, size);
	if (array == NULL)
		return -1;
	QUARRY_COPY_(variable, &array, sizeof array);
	return 0;
}

/** As quarry_new_array, on the raw layer. A product that overflows becomes a request that cannot succeed. */
static inline void *quarry_raw_new_array(size_t count, size_t size)
{
	return quarry_raw_malloc(size != 0 && count > (size_t)-1 / size ? (size_t)-1 : count * size);
}

/** As quarry_resize_array, on the raw layer. */
static inline int quarry_raw_resize_array(void *variable, size_t count, size_t size)
{
	void *array;
	QUARRY_COPY_(&array, variable, sizeof array);
	array = quarry_raw_realloc(array, size != 0 && count > (size_t)-1 / size ? (size_t)-1 : count * size);
	if (array == NULL)
		return -1;
	QUARRY_COPY_(variable, &array, sizeof array);
	return 0;
}

#endif
