/* SPDX-License-Identifier: MIT */
/*
 * Uses small_int.h as an interpreter would, and looks at what it costs: small integers are shared, an integer takes 24
 * bytes, and a million of them that are dropped leave nothing behind.
 */
#include <pthread.h>
#include <quarry/cache.h>
#include <stdio.h>
#include <stdlib.h>

#include "small_int.h"

#define MANY 1000000
#define THREADS 4

#define REQUIRE(condition)                                                                                             \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                        \
			exit(1);                                                                                       \
		}                                                                                                      \
	} while (0)

static struct quarry_cache_stats look(void)
{
	struct quarry_cache_stats stats;
	REQUIRE(quarry_cache_stats_get(quarry_cache_next(NULL), &stats, sizeof stats) == 0);
	return stats;
}

/* Two others are in use meanwhile. */
static void make_and_drop_many(void)
{
	static struct integer *integers[MANY];
	for (long i = 0; i < MANY; i++) {
		integers[i] = integer_from(i);
		REQUIRE(integers[i] != NULL && integers[i]->value == i && integers[i]->type == integers[0]->type);
	}
	struct quarry_cache_stats stats = look();
	double each = (double)(stats.slabs * stats.slab_size) / (double)stats.live;
	printf("%llu integers of %zu bytes cost %.2f bytes each\n", (unsigned long long)stats.live,
	       sizeof(struct integer), each);
	REQUIRE(each < (double)sizeof(struct integer) * 1.02);
	for (long i = 0; i < MANY; i++)
		integer_drop(integers[i]);
	stats = look();
	printf("dropped, %llu remain in %llu slabs\n", (unsigned long long)stats.live, (unsigned long long)stats.slabs);
	REQUIRE(stats.live == SMALL_INT_MOST - SMALL_INT_LEAST + 1 + 2 && stats.slabs <= 4);
}

/* Sums up like an interpreter: a new integer per step, the one before dropped. */
static void *sum_up(void *unused)
{
	struct integer *sum = integer_from(0);
	for (long i = 1; i <= MANY / 10; i++) {
		struct integer *next = integer_from(sum->value + i);
		REQUIRE(next != NULL);
		integer_drop(sum);
		sum = next;
	}
	REQUIRE(sum->value == (long)(MANY / 10) * (MANY / 10 + 1) / 2);
	integer_drop(sum);
	return unused;
}

int main(void)
{
	pthread_t threads[THREADS];
	REQUIRE(integers_begin() == 0);
	for (long value = SMALL_INT_LEAST; value <= SMALL_INT_MOST; value++) {
		struct integer *one = integer_from(value), *other = integer_from(value);
		REQUIRE(one == other && one->value == value);
		integer_take(one);
		for (int i = 0; i < 3; i++)
			integer_drop(one);
	}
	struct integer *large = integer_from(257), *another = integer_from(257);
	REQUIRE(large != another);
	make_and_drop_many();
	for (int i = 0; i < THREADS; i++)
		REQUIRE(pthread_create(&threads[i], NULL, sum_up, NULL) == 0);
	for (int i = 0; i < THREADS; i++)
		REQUIRE(pthread_join(threads[i], NULL) == 0);
	integer_drop(large);
	integer_drop(another);
	REQUIRE(integers_end() == 0);
	return 0;
}
