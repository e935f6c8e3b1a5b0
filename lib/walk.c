/* SPDX-License-Identifier: MIT */
/*
 * Walk: see walk.h.
 */
#include "walk.h"

#include <errno.h>

#include "arena_list.h"
#include "claim.h"
#include "entry.h"
#include "guard.h"
#include "large.h"
#include "node.h"
#include "os.h"
#include "quarry/quarry.h"
#include "region.h"
#include "remote.h"
#include "span.h"
#include "thread.h"

struct walk {
	quarry_walk_fn callback;
	void *arg;
	struct block **doubtful; /* blocks that caches still hold or may hold */
	size_t ndoubtful;
	size_t doubtful_nbytes;
};

static int report(struct walk *walk, void *address, size_t nbytes, const void *arena, unsigned node)
{
	struct quarry_block block = {address, nbytes, arena, node_home(node)};
	return walk->callback(&block, walk->arg);
}

/* Notes first, then empties the inboxes once more: a thread that settles before its note has flushed what was in doubt,
 * maybe to another heap's inbox; one that settles later is noted. */
static bool note_doubtful(struct walk *walk)
{
	unsigned nheaps = heap_count();
	walk->doubtful_nbytes = round_up((2 * nheaps + 2) * sizeof(*walk->doubtful), os_page_size());
	walk->doubtful = os_map(NULL, walk->doubtful_nbytes);
	if (walk->doubtful == NULL)
		return false;
	for (unsigned id = 1; id <= nheaps; id++) {
		struct heap *heap = heap_by_id(id);
		heap_lock(heap);
		walk->ndoubtful += claim_doubtful(heap, &walk->doubtful[walk->ndoubtful]);
		remote_unlock(heap);
	}
	claim_empty_inboxes();
	return true;
}

/* Of a pool's blocks, the live ones: a bit each. */
struct live {
	uint64_t bits[POOL_MAX_BLOCKS / 64];
	uint16_t requested[QUARRY_HARDENED ? POOL_MAX_BLOCKS : 1]; /* hardened: what may be used of each */
};

/* A thread may be freeing the block, and wipe it meanwhile: what is read is checked, and any size will do then. */
static uint16_t requested_of(const char *block, size_t nbytes)
{
	size_t requested = harden_requested(block, nbytes); /* SIZE_MAX: overflown */
	return (uint16_t)(requested == SIZE_MAX ? nbytes - HARDEN_SEAL_NBYTES : requested);
}

/* False if no pool starts there (any more). What hardened blocks say of themselves is read here: later the memory may
 * be closed. */
static bool read_pool(const struct walk *walk, char *start, uint32_t word, struct live *live)
{
	const struct pool_header *pool = pool_header_at(start);
	size_t nbytes = sizeclass_nbytes(word_szidx(word)), length = size_classes[word_szidx(word)].capacity * nbytes;
	struct heap *owner = heap_by_id(word_owner(word));
	heap_lock(owner);
	bool owned = address_map_word(start) == word;
	for (unsigned index = 0; owned && index < pool->capacity; index++) {
		live->bits[index / 64] = index % 64 == 0 ? 0 : live->bits[index / 64];
		bool held = !QUARRY_HARDENED || word_is_region(word) || pool_is_held(start + index * nbytes);
		if (!held || pool_has_block(pool, index))
			continue;
		live->bits[index / 64] |= (uint64_t)1 << index % 64;
		if (QUARRY_HARDENED && !word_is_region(word))
			live->requested[index] = requested_of(start + index * nbytes, nbytes);
	}
	remote_unlock(owner);
	if (!owned)
		return false;
	for (size_t i = 0; i < walk->ndoubtful; i++) {
		uintptr_t offset = (uintptr_t)walk->doubtful[i] - (uintptr_t)start;
		if (offset < length)
			live->bits[offset / nbytes / 64] &= ~((uint64_t)1 << offset / nbytes % 64);
	}
	return true;
}

static int walk_pool(struct walk *walk, const struct arena_object *arena, char *start)
{
	struct live live;
	uint32_t word;
	do {
		word = address_map_word(start);
		if (!word_is_pool(word) || word_phase(word) != 0)
			return 0;
	} while (!read_pool(walk, start, word, &live));
	size_t nbytes = sizeclass_nbytes(word_szidx(word));
	bool sealed = QUARRY_HARDENED && !word_is_region(word);
	int result = 0;
	for (unsigned index = 0; index < size_classes[word_szidx(word)].capacity && result == 0; index++)
		if (live.bits[index / 64] >> index % 64 & 1)
			result = report(walk, start + index * nbytes, sealed ? live.requested[index] : nbytes,
			                arena->address, arena->node);
	return result;
}

/* The unit may have become something else since its word was read; its header then says something else, too. */
static int walk_span(struct walk *walk, const struct arena_object *arena, char *start)
{
	size_t nbytes = span_usable(start);
	if (address_map_word(start) != WORD_SPAN)
		return 0;
	return report(walk, start, nbytes, arena->address, arena->node);
}

static int walk_arena(struct walk *walk, const struct arena_object *arena)
{
	int result = 0;
	size_t end = ARENA_HEAD_UNITS + arena->ntotalpools;
	for (size_t unit = ARENA_HEAD_UNITS; unit < end && result == 0; unit++) {
		char *start = arena->address + (unit << QUARRY_POOL_BITS);
		uint32_t word = address_map_word(start);
		if (word_is_pool(word))
			result = walk_pool(walk, arena, start);
		else if (word == WORD_SPAN)
			result = walk_span(walk, arena, start);
	}
	return result;
}

static int walk_large(struct walk *walk)
{
	struct large_block block;
	int result = 0;
	for (uint32_t number = 0; result == 0 && large_next(&number, &block);)
		result = report(walk, block.address, block.usable, block.address, block.node);
	return result;
}

static int walk_guarded(struct walk *walk)
{
	struct guard_block block;
	int result = 0;
	for (uint32_t number = 0; result == 0 && guard_next(&number, &block);)
		result = report(walk, block.address, block.nbytes, guard_pool.start, block.node);
	return result;
}

int quarry_walk(quarry_walk_fn callback, void *arg)
{
	struct walk walk = {.callback = callback, .arg = arg};
	thread_heap();
	if (!claim_hold()) {
		errno = ENOTSUP;
		return -1;
	}
	if (!note_doubtful(&walk)) {
		claim_release();
		return -1;
	}
	arena_list_pin();
	struct arena_object *arena = arena_list_first();
	int result = 0;
	for (; arena != NULL && result == 0; arena = arena_list_next(arena))
		result = walk_arena(&walk, arena);
	arena_list_unpin();
	if (result == 0)
		result = walk_large(&walk);
	if (result == 0)
		result = walk_guarded(&walk);
	claim_release();
	os_unmap(walk.doubtful, walk.doubtful_nbytes);
	return result;
}

static bool is_in_an_arena(const void *ptr)
{
	bool found = false;
	bool by_rcu = thread_reader_enter();
	for (struct arena_object *arena = arena_list_first(); arena != NULL && !found; arena = arena_list_next(arena)) {
		uintptr_t offset = (uintptr_t)ptr - (uintptr_t)arena->address;
		found = offset < arena_nbytes(arena);
	}
	thread_reader_leave(by_rcu);
	return found;
}

int quarry_owns(const void *ptr)
{
	struct large_block block;
	return address_map_word(ptr) != 0 || is_in_an_arena(ptr) || large_find(ptr, &block);
}

void *quarry_block_of(const void *ptr, size_t *usable)
{
	uint32_t word = address_map_word(ptr);
	struct large_block large;
	struct guard_block guarded;
	char *start = NULL;
	size_t nbytes = 0;
	if (word_is_pool(word)) {
		char *pool = entry_pool_start(ptr, word);
		unsigned index = sizeclass_block_index(word_szidx(word), (size_t)((const char *)ptr - pool));
		nbytes = sizeclass_nbytes(word_szidx(word));
		if (index < size_classes[word_szidx(word)].capacity)
			start = pool + index * nbytes;
		if (QUARRY_HARDENED && start != NULL && (nbytes = entry_usable(start, address_map_word(start))) == 0)
			start = NULL;
	} else if (word == WORD_SPAN || word == WORD_SPAN_REST) {
		start = span_start(ptr);
		nbytes = start == NULL ? 0 : span_usable(start);
	} else if (guard_is(word)) {
		if (guard_find(ptr, &guarded)) {
			start = guarded.address;
			nbytes = guarded.nbytes;
		}
	} else if (large_find(ptr, &large)) {
		start = large.address;
		nbytes = large.usable;
	}
	if (start != NULL && (size_t)((const char *)ptr - start) >= nbytes)
		start = NULL;
	if (start != NULL && usable != NULL)
		*usable = nbytes;
	return start;
}
