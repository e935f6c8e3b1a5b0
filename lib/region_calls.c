/* SPDX-License-Identifier: MIT */
/*
 * Region calls: those of quarry/heap.h. Owns nothing.
 */
#include <errno.h>
#include <string.h>

#include "entry.h"
#include "node.h"
#include "purge.h"
#include "region_entry.h"
#include "report.h"
#include "resize.h"
#include "thread.h"

static void *out_of_memory(void)
{
	errno = ENOMEM;
	return NULL;
}

/* --- blocks ------------------------------------------------------------------------------------------------------- */

void *quarry_heap_malloc(struct quarry_heap *heap, size_t nbytes)
{
	struct region_request request = {.nbytes = nbytes, .alignment = ALIGNMENT};
	return region_allocate(heap, &request);
}

void *quarry_heap_calloc(struct quarry_heap *heap, size_t count, size_t size)
{
	struct region_request request = {.alignment = ALIGNMENT};
	if (unlikely(__builtin_mul_overflow(count, size, &request.nbytes)))
		return out_of_memory();
	size_t nbytes = request.nbytes;
	void *ptr = region_allocate(heap, &request);
	if (ptr != NULL && !request.zeroed)
		memset(ptr, 0, nbytes);
	return ptr;
}

void *quarry_heap_aligned_alloc(struct quarry_heap *heap, size_t alignment, size_t nbytes)
{
	size_t power = entry_power_of_two(alignment);
	struct region_request request = {.nbytes = nbytes, .alignment = power};
	return power == 0 || nbytes > PTRDIFF_MAX ? out_of_memory() : region_allocate(heap, &request);
}

/* Reports a block that is not of the heap. */
static bool is_of(const struct quarry_heap *heap, const void *ptr)
{
	uint32_t word = address_map_word(ptr);
	if (likely(region_of(ptr, word) == heap))
		return true;
	entry_report_misuse("use of what is no block of the heap,", ptr, word);
	return false;
}

void *quarry_heap_realloc(struct quarry_heap *heap, void *ptr, size_t nbytes)
{
	if (ptr == NULL)
		return quarry_heap_malloc(heap, nbytes);
	return is_of(heap, ptr) ? resize_block(ptr, nbytes + (nbytes == 0), entry_malloc, entry_free) : out_of_memory();
}

void quarry_heap_free(struct quarry_heap *heap, void *ptr)
{
	if (ptr != NULL && is_of(heap, ptr))
		entry_free(ptr);
}

/* --- heaps -------------------------------------------------------------------------------------------------------- */

struct quarry_heap *quarry_heap_create(const char *tag, size_t limit)
{
	return region_make(thread_node(), tag, limit);
}

void quarry_heap_limit(struct quarry_heap *heap, size_t limit)
{
	heap_lock(&heap->heap);
	heap->limit = limit;
	heap_unlock(&heap->heap);
}

void quarry_heap_destroy(struct quarry_heap *heap)
{
	if (!region_end(heap))
		report_fault("double destroy", heap, NULL);
	purge_hint();
}

struct quarry_heap *quarry_heap_of(const void *ptr)
{
	return ptr == NULL ? NULL : region_of(ptr, address_map_word(ptr));
}

struct quarry_heap *quarry_heap_next(struct quarry_heap *heap)
{
	struct heap *record = heap == NULL ? heap_first() : heap_next(&heap->heap);
	for (; record != NULL; record = heap_next(record))
		if (record->id >= WORD_REGION_OWNERS &&
		    atomic_load_explicit(&((struct quarry_heap *)record)->state, memory_order_acquire) == REGION_LIVE)
			break;
	return (struct quarry_heap *)record;
}

static void fill(struct quarry_heap *heap, struct quarry_heap_stats *stats)
{
	heap_lock(&heap->heap);
	*stats = (struct quarry_heap_stats){
		.version = QUARRY_HEAP_STATS_VERSION,
		.node = node_home(heap->heap.node),
		.limit = heap->limit,
		.live = heap->live,
		.peak = heap->peak,
		.blocks = heap->blocks,
		.allocations = heap->allocations,
		.refusals = heap->refusals,
	};
	memcpy(stats->tag, heap->tag, sizeof(stats->tag));
	heap_unlock(&heap->heap);
}

int quarry_heap_stats_get(struct quarry_heap *heap, struct quarry_heap_stats *stats, size_t size)
{
	struct quarry_heap_stats all;
	if (stats == NULL || size < offsetof(struct quarry_heap_stats, tag)) {
		errno = EINVAL;
		return -1;
	}
	fill(heap, &all);
	memcpy(stats, &all, size < sizeof(all) ? size : sizeof(all));
	return 0;
}
