/* SPDX-License-Identifier: MIT */
/*
 * Meta: see meta.h. Bump allocation; one chunk open per node, a bigger record gets a mapping to itself.
 */
#include "meta.h"

#include "lock.h"
#include "node.h"
#include "os.h"

#define CHUNK_NBYTES ((size_t)64 << 10)

static struct lock meta_lock;
static struct chunk {
	char *next, *end;
} open_chunk[NODE_PLACES]; /* under meta_lock */
static _Atomic size_t mapped_nbytes;
INSPECTED(meta_mapped_nbytes, mapped_nbytes);

static void *take_from(struct chunk *chunk, size_t nbytes, size_t alignment)
{
	char *start = (char *)round_up((uintptr_t)chunk->next, alignment);
	if (chunk->next == NULL || (size_t)(chunk->end - chunk->next) < nbytes + (size_t)(start - chunk->next))
		return NULL;
	chunk->next = start + nbytes;
	return start;
}

static char *map_chunk(size_t nbytes, unsigned node)
{
	size_t guard = QUARRY_HARDENED ? os_page_size() : 0;
	char *base = os_map(NULL, nbytes + 2 * guard);
	if (base != NULL) {
		if (QUARRY_HARDENED) {
			os_forbid(base, guard);
			base += guard;
			os_forbid(base + nbytes, guard);
		}
		os_refuse_huge_pages(base, nbytes);
		node_bind(base, nbytes, node);
		atomic_fetch_add_explicit(&mapped_nbytes, nbytes, memory_order_relaxed);
	}
	return base;
}

void *meta_alloc(size_t nbytes, size_t alignment, unsigned node)
{
	if (nbytes > CHUNK_NBYTES / 4)
		return map_chunk(round_up(nbytes, os_page_size()), node);
	lock_take(&meta_lock, LOCK_META);
	void *record = take_from(&open_chunk[node], nbytes, alignment);
	lock_drop(&meta_lock, LOCK_META);
	if (record != NULL)
		return record;

	size_t chunk_nbytes = round_up(CHUNK_NBYTES, os_page_size());
	char *base = map_chunk(chunk_nbytes, node);
	if (base == NULL)
		return NULL;
	struct chunk fresh = {base, base + chunk_nbytes};
	record = take_from(&fresh, nbytes, alignment);
	lock_take(&meta_lock, LOCK_META);
	if (open_chunk[node].end - open_chunk[node].next < fresh.end - fresh.next)
		open_chunk[node] = fresh;
	lock_drop(&meta_lock, LOCK_META);
	return record;
}

size_t meta_mapped(void)
{
	return atomic_load_explicit(&mapped_nbytes, memory_order_relaxed);
}

void meta_lock_for_fork(void)
{
	lock_take(&meta_lock, LOCK_META);
}

void meta_unlock_after_fork(bool in_child)
{
	lock_after_fork(&meta_lock, LOCK_META, in_child);
}
