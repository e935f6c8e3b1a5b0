/* SPDX-License-Identifier: MIT */
/*
 * Remote: see remote.h.
 */
#include "remote.h"

#define relaxed memory_order_relaxed

static void push(struct heap *owner, struct block *head, struct block *tail, size_t nbytes)
{
	atomic_fetch_add_explicit(&owner->inbox_nbytes, nbytes, relaxed);
	struct block *seen = atomic_load_explicit(&owner->inbox, relaxed);
	do
		tail->next = seen;
	while (!atomic_compare_exchange_weak(&owner->inbox, &seen, head));
}

/* Is more in the inbox than may wait there? */
static bool is_overdue(struct heap *owner)
{
	return atomic_load(&owner->inbox) != NULL &&
	       (owner->kind != HEAP_ATTACHED || atomic_load_explicit(&owner->inbox_nbytes, relaxed) > INBOX_NBYTES);
}

/* Where the lock is held, its holder looks again when it lets go. A block that moved on is relieved in turn. */
static void relieve(struct heap *owner)
{
	while (owner != NULL && is_overdue(owner) && heap_try_lock(owner)) {
		remote_drain(owner, UINT32_MAX);
		if (owner->kind == HEAP_PARKED)
			heap_give_rings(owner);
		struct heap *next = owner->forwarded;
		owner->forwarded = NULL;
		heap_unlock(owner);
		if (next != NULL)
			owner = next;
	}
}

void remote_push(uint32_t owner_id, struct block *head, struct block *tail, size_t nbytes)
{
	struct heap *owner = heap_by_id(owner_id);
	push(owner, head, tail, nbytes);
	relieve(owner);
}

void remote_unlock(struct heap *heap)
{
	heap_unlock(heap);
	if (unlikely(is_overdue(heap)))
		relieve(heap);
}

unsigned remote_drain(struct heap *heap, unsigned most)
{
	size_t nbytes = 0;
	unsigned n = 0;
	for (; n < most; n++) {
		if (heap->pending == NULL)
			heap->pending = atomic_exchange_explicit(&heap->inbox, NULL, memory_order_acquire);
		struct block *block = heap->pending;
		if (block == NULL)
			break;
		heap->pending = block->next;
		uint32_t word = address_map_word(block);
		size_t block_nbytes = sizeclass_nbytes(word_szidx(word));
		nbytes += block_nbytes;
		if (word_owner(word) == heap->id)
			heap_put_block(heap, block, word);
		else
			push(heap->forwarded = heap_by_id(word_owner(word)), block, block, block_nbytes);
	}
	if (n == 0)
		return 0;
	atomic_fetch_sub_explicit(&heap->inbox_nbytes, nbytes, relaxed);
	uint64_t sum = atomic_load_explicit(&heap->counters.remote_frees, relaxed) + n;
	atomic_store_explicit(&heap->counters.remote_frees, sum, relaxed);
	return n;
}
