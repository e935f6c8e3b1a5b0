/* SPDX-License-Identifier: MIT */
/*
 * Named statistics: typed caches by name and heaps of quarry/heap.h by tag. Those that share a name are summed up,
 * since names need not be unique. Owns nothing: a table of sums is a mapping of its own while it is looked at.
 */
#ifndef QUARRY_NAMED_STATS_H
#define QUARRY_NAMED_STATS_H

#include <stddef.h>
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

struct named_table {
	struct named_sum *sums; /* in the order in which names were found first */
	size_t n;
	void *mapping;          /* NULL: there are none, or no memory */
	size_t mapping_nbytes;
};

/**
 * The sums of all names of the kind, in one pass over caches or heaps. Those that come and go meanwhile may be there or
 * not. named_release follows.
 */
void named_collect(enum named_kind kind, struct named_table *table);
void named_release(struct named_table *table);

/** Lines for the summary, a few of each kind. */
void named_stats_append(struct text *text);

#endif
