/* SPDX-License-Identifier: MIT */
/*
 * Named statistics: typed caches by name and heaps of quarry/heap.h by tag, for the summary and Prometheus. Those that
 * share a name are summed up, since names need not be unique. Owns nothing.
 */
#ifndef QUARRY_NAMED_STATS_H
#define QUARRY_NAMED_STATS_H

#include <stdbool.h>
#include <stdint.h>

struct text;

enum named_kind { NAMED_CACHES, NAMED_HEAPS };

struct named_sum {
	char name[32];       /* quotes, backslashes and what cannot be printed replaced */
	uint64_t count;      /* caches or heaps of the name */
	uint64_t live;       /* bytes out with the program */
	uint64_t number;     /* objects or blocks that are */
	uint64_t held;       /* bytes: of caches those of slabs, of heaps the most that were live, summed up */
	uint64_t limit;      /* objects or bytes, summed up; 0: some have none */
	uint64_t refusals;   /* requests that it refused */
};

/**
 * The next name of the kind, after *place, which begins as NULL. False: no more. Caches and heaps that come and go
 * meanwhile may be there or not.
 */
bool named_next(enum named_kind kind, void **place, struct named_sum *sum);

/** Lines for the summary, a few of each kind. */
void named_stats_append(struct text *text);

#endif
