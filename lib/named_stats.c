/* SPDX-License-Identifier: MIT */
/*
 * Named statistics: see named_stats.h. Records of caches and heaps are never unmapped: one that is destroyed
 * meanwhile gives no figures, or old ones.
 */
#include "named_stats.h"

#include <string.h>

#include "object_cache.h"
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

static bool came_before(enum named_kind kind, void *end, const char *name)
{
	for (void *place = next(kind, NULL); place != NULL && place != end; place = next(kind, place))
		if (strcmp(figures_of(kind, place).name, name) == 0)
			return true;
	return false;
}

bool named_next(enum named_kind kind, void **place, struct named_sum *sum)
{
	do {
		*place = next(kind, *place);
		if (*place == NULL)
			return false;
		*sum = figures_of(kind, *place);
	} while (came_before(kind, *place, sum->name));
	for (void *other = next(kind, *place); other != NULL; other = next(kind, other)) {
		struct named_sum more = figures_of(kind, other);
		if (strcmp(more.name, sum->name) != 0)
			continue;
		sum->count++;
		sum->live += more.live;
		sum->number += more.number;
		sum->held += more.held;
		sum->limit = sum->limit == 0 || more.limit == 0 ? 0 : sum->limit + more.limit;
		sum->refusals += more.refusals;
	}
	return true;
}

static void append_kind(struct text *text, enum named_kind kind)
{
	struct named_sum sum;
	void *place = NULL;
	for (int i = 0; i < SUMMARY_NAMES && named_next(kind, &place, &sum); i++) {
		bool caches = kind == NAMED_CACHES;
		text_append(text, "  %-12s", caches ? "typed cache" : "heap");
		text_append_nbytes(text, 12, sum.live);
		text_append(text, "  '%s'", sum.name);
		if (sum.count > 1)
			text_append(text, " (%lu)", (unsigned long)sum.count);
		text_append(text, ": %lu %s live, ", (unsigned long)sum.number, caches ? "objects" : "blocks");
		text_append_nbytes(text, 0, sum.held);
		text_append(text, caches ? " of slabs" : " at most");
		if (sum.refusals > 0)
			text_append(text, ", %lu refused", (unsigned long)sum.refusals);
		text_append(text, "\n");
	}
	if (place != NULL && next(kind, place) != NULL)
		text_append(text, "  %-12s%12s  and more\n", kind == NAMED_CACHES ? "typed cache" : "heap", "");
}

void named_stats_append(struct text *text)
{
	append_kind(text, NAMED_CACHES);
	append_kind(text, NAMED_HEAPS);
}
