/* SPDX-License-Identifier: MIT */
/*
 * Small integers: see small_int.h.
 */
#include "small_int.h"

#include <quarry/cache.h>

#define SMALL_INTS (SMALL_INT_MOST - SMALL_INT_LEAST + 1)

static const char type[] = "int";
static struct quarry_cache *cache;
static struct integer *small[SMALL_INTS]; /* constant from integers_begin to integers_end */

static int is_small(long value)
{
	return value >= SMALL_INT_LEAST && value <= SMALL_INT_MOST;
}

/* An integer that is in the cache has its type already: a constructor runs once, not with each allocation. */
static int construct(void *object)
{
	((struct integer *)object)->type = type;
	return 0;
}

static struct integer *make(long value)
{
	struct integer *integer = quarry_cache_alloc(cache);
	if (integer != NULL) {
		integer->references = 1;
		integer->value = value;
	}
	return integer;
}

int integers_begin(void)
{
	cache = quarry_cache_create("integers", sizeof(struct integer), 0, construct, NULL, 0);
	if (cache == NULL)
		return -1;
	for (long value = SMALL_INT_LEAST; value <= SMALL_INT_MOST; value++)
		if ((small[value - SMALL_INT_LEAST] = make(value)) == NULL) {
			integers_end();
			return -1;
		}
	return 0;
}

int integers_end(void)
{
	for (size_t i = 0; i < SMALL_INTS; i++) {
		quarry_cache_free(cache, small[i]);
		small[i] = NULL;
	}
	return quarry_cache_destroy(cache);
}

struct integer *integer_from(long value)
{
	return is_small(value) ? small[value - SMALL_INT_LEAST] : make(value);
}

void integer_take(struct integer *integer)
{
	integer->references += !is_small(integer->value);
}

void integer_drop(struct integer *integer)
{
	if (!is_small(integer->value) && --integer->references == 0)
		quarry_cache_free(cache, integer);
}
