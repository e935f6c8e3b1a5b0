/* SPDX-License-Identifier: MIT */
/*
 * Named statistics: see named_stats.h. Records of caches and heaps are never unmapped: one that is destroyed
 * meanwhile gives no figures, or old ones.
 */
#include "named_stats.h"

#include <stdbool.h>
#include <string.h>

#include "object_cache.h"
#include "os.h"
#include "quarry/heap.h"
#include "report.h"

/* Names of a kind that the summary has lines for. */
#define SUMMARY_NAMES 8

_Static_assert(sizeof(((struct named_sum *)0)->name) == QUARRY_CACHE_NAME_SIZE &&
		       QUARRY_CACHE_NAME_SIZE == QUARRY_HEAP_TAG_SIZE,
	       "names are as long as tags");

static void *next(enum named_kind kind, void *place)
{
	return kind == NAMED_CACHES ? (void *)quarry_cache_next(place) : (void *)quarry_heap_next(place);
}

/* Of one cache or heap. */
static struct named_sum figures_of(enum named_kind kind, void *place)
{
	struct named_sum sum = {.count = 1};
	struct quarry_cache_stats cache;
	struct quarry_heap_stats heap;
	if (kind == NAMED_CACHES && object_cache_pin(place)) {
		quarry_cache_stats_get(place, &cache, sizeof(cache));
		object_cache_unpin(place);
		memcpy(sum.name, cache.name, sizeof(sum.name));
		sum.live = cache.live * cache.stride;
		sum.number = cache.live;
		sum.held = cache.slabs * cache.slab_size;
		sum.limit = cache.limit;
		sum.refusals = cache.refusals;
	} else if (kind == NAMED_HEAPS && quarry_heap_stats_get(place, &heap, sizeof(heap)) == 0) {
		memcpy(sum.name, heap.tag, sizeof(sum.name));
		sum.live = heap.live;
		sum.number = heap.blocks;
		sum.held = heap.peak;
		sum.limit = heap.limit;
		sum.refusals = heap.refusals;
	}
	for (char *c = sum.name; *c != 0; c++)
		if (*c < ' ' || *c > '~' || *c == '"' || *c == '\\')
			*c = '_';
	return sum;
}

/* --- the table ---------------------------------------------------------------------------------------------------- */

/* Places by hash of the name: number of the sum + 1, or 0. Open addressing; never more than half full. */
struct buckets {
	uint32_t *list;
	size_t n; /* a power of two */
};

static uint32_t *bucket_of(const struct buckets *buckets, const struct named_sum *sums, const char *name)
{
	uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */
	for (const char *c = name; *c != 0; c++)
		hash = (hash ^ (unsigned char)*c) * UINT64_C(1099511628211);
	size_t place = (hash >> 32) & (buckets->n - 1);
	while (buckets->list[place] != 0 && strcmp(sums[buckets->list[place] - 1].name, name) != 0)
		place = (place + 1) & (buckets->n - 1);
	return &buckets->list[place];
}

static void add(struct named_sum *sum, const struct named_sum *more)
{
	sum->count++;
	sum->live += more->live;
	sum->number += more->number;
	sum->held += more->held;
	sum->limit = sum->limit == 0 || more->limit == 0 ? 0 : sum->limit + more->limit;
	sum->refusals += more->refusals;
}

/* Room for a name of each of so many places. */
static bool make_table(struct named_table *table, struct buckets *buckets, size_t most)
{
	for (buckets->n = 16; buckets->n < 2 * most;)
		buckets->n *= 2;
	size_t sums_nbytes = most * sizeof(*table->sums);
	table->mapping_nbytes = round_up(sums_nbytes + buckets->n * sizeof(*buckets->list), os_page_size());
	table->mapping = os_map(NULL, table->mapping_nbytes);
	table->sums = table->mapping;
	buckets->list = (uint32_t *)((char *)table->mapping + sums_nbytes);
	return table->mapping != NULL;
}

void named_collect(enum named_kind kind, struct named_table *table)
{
	struct buckets buckets;
	size_t most = 0;
	*table = (struct named_table){0};
	for (void *place = next(kind, NULL); place != NULL; place = next(kind, place))
		most++;
	if (most == 0 || !make_table(table, &buckets, most))
		return;
	void *place = next(kind, NULL);
	for (size_t i = 0; i < most && place != NULL; i++, place = next(kind, place)) {
		struct named_sum sum = figures_of(kind, place);
		uint32_t *bucket = bucket_of(&buckets, table->sums, sum.name);
		if (*bucket != 0) {
			add(&table->sums[*bucket - 1], &sum);
			continue;
		}
		table->sums[table->n++] = sum;
		*bucket = (uint32_t)table->n;
	}
}

void named_release(struct named_table *table)
{
	if (table->mapping != NULL)
		os_unmap(table->mapping, table->mapping_nbytes);
}

/* --- the summary -------------------------------------------------------------------------------------------------- */

static void append_kind(struct text *text, enum named_kind kind)
{
	struct named_table table;
	named_collect(kind, &table);
	for (size_t i = 0; i < SUMMARY_NAMES && i < table.n; i++) {
		const struct named_sum *sum = &table.sums[i];
		bool caches = kind == NAMED_CACHES;
		text_append(text, "  %-12s", caches ? "typed cache" : "heap");
		text_append_nbytes(text, 12, sum->live);
		text_append(text, "  '%s'", sum->name);
		if (sum->count > 1)
			text_append(text, " (%lu)", (unsigned long)sum->count);
		text_append(text, ": %lu %s live, ", (unsigned long)sum->number, caches ? "objects" : "blocks");
		text_append_nbytes(text, 0, sum->held);
		text_append(text, caches ? " of slabs" : " at most");
		if (sum->refusals > 0)
			text_append(text, ", %lu refused", (unsigned long)sum->refusals);
		text_append(text, "\n");
	}
	if (table.n > SUMMARY_NAMES)
		text_append(text, "  %-12s%12s  and %lu more\n", kind == NAMED_CACHES ? "typed cache" : "heap", "",
			    (unsigned long)(table.n - SUMMARY_NAMES));
	named_release(&table);
}

void named_stats_append(struct text *text)
{
	append_kind(text, NAMED_CACHES);
	append_kind(text, NAMED_HEAPS);
}
