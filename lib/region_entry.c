/* SPDX-License-Identifier: MIT */
/*
 * Region entry: see region_entry.h.
 */
#include "region_entry.h"

#include <errno.h>
#include <string.h>

#include "arena_list.h"
#include "entry.h"
#include "large.h"
#include "report.h"
#include "span.h"

static void *out_of_memory(void)
{
	errno = ENOMEM;
	return NULL;
}

static bool is_live(const struct quarry_heap *heap)
{
	if (likely(atomic_load_explicit(&heap->state, memory_order_relaxed) == REGION_LIVE))
		return true;
	report_fault("use of what is no heap,", heap, NULL);
	return false;
}

static void *counted(struct quarry_heap *heap, void *ptr, size_t nbytes)
{
	uint64_t rate = sample_profile_rate(); /* guards have no blocks of heaps */
	uint32_t word = address_map_word(ptr);
	nbytes += nbytes == 0;
	entry_recount(ptr, word, nbytes);
	if (likely(rate == 0) || !sample_count_big(rate, nbytes) || !sample_is_due(rate, nbytes))
		return ptr;
	struct sample_owner owner = {heap, SAMPLE_OF_HEAP, heap->tag};
	sample_take_owned(rate, ptr, nbytes, entry_usable(ptr, word), &owner);
	return ptr;
}

void *region_allocate(struct quarry_heap *heap, struct region_request *request)
{
	enum effort effort = GROW;
	void *ptr = NULL;
	if (!is_live(heap))
		return out_of_memory();
	for (;;) {
		uint64_t births = arena_list_births();
		enum region_answer answer = region_take(heap, request, &ptr);
		if (answer == REGION_GIVEN)
			return counted(heap, ptr, request->nbytes);
		if (answer == REGION_REFUSED || !entry_more_memory(heap->heap.node, request->nbytes, births, &effort))
			return out_of_memory();
	}
}

/* What the heap has counted for a block: hardened, more than may be used of it. */
static size_t counted_nbytes(const void *ptr, size_t usable)
{
	uint32_t word = address_map_word(ptr);
	return word_is_pool(word) ? usable : word == WORD_SPAN ? span_good_size(usable) : large_good_size(usable);
}

void *region_move(struct quarry_heap *region, void *ptr, size_t usable, size_t nbytes)
{
	struct region_request request = {.nbytes = nbytes, .alignment = ALIGNMENT, .spare = counted_nbytes(ptr, usable)};
	void *fresh = region_allocate(region, &request);
	if (fresh == NULL && nbytes <= usable)
		entry_recount(ptr, address_map_word(ptr), nbytes);
	if (fresh == NULL)
		return nbytes <= usable ? ptr : NULL;
	memcpy(fresh, ptr, nbytes < usable ? nbytes : usable);
	entry_free(ptr);
	return fresh;
}
