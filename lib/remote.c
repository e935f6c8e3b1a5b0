/* SPDX-License-Identifier: MIT */
/*
 * Remote: see remote.h.
 */
#include "remote.h"

#include "node.h"
#include "probe.h"

#define relaxed memory_order_relaxed

static void push(struct heap *owner, struct block *head, struct block *tail, size_t nbytes)
{
	atomic_fetch_add_explicit(&owner->inbox_nbytes, nbytes, relaxed);
	struct block *seen = atomic_load_explicit(&owner->inbox, relaxed);
	do
		block_set_next(tail, seen);
	while (!atomic_compare_exchange_weak(&owner->inbox, &seen, head));
}

size_t remote_bound(const struct heap *owner)
{
	return INBOX_NBYTES + heap_out_of_own(owner) / INBOX_PART;
}

/* Is more in the inbox than may wait there? */
static bool is_overdue(struct heap *owner)
{
	return atomic_load(&owner->inbox) != NULL &&
	       (owner->kind != HEAP_ATTACHED ||
	        atomic_load_explicit(&owner->inbox_nbytes, relaxed) > remote_bound(owner));
}

static struct heap *take_forwarded(struct heap *heap)
{
	struct heap *forwarded = heap->forwarded;
	heap->forwarded = NULL;
	return forwarded;
}

/* Has its thread refilled no list since the inbox was emptied in its place last? Then that was no use to it. */
static bool is_dormant(struct heap *owner)
{
	uint64_t refills = atomic_load_explicit(&owner->counters.refills, relaxed), before = owner->refills_seen;
	owner->refills_seen = refills;
	return owner->kind == HEAP_ATTACHED && refills == before;
}

/* Where the lock is held, its holder looks again when it lets go. The heap that a drain forwarded to is relieved
 * in turn. */
static void relieve(struct heap *owner)
{
	while (owner != NULL) {
		struct heap *next = NULL;
		while (is_overdue(owner) && heap_try_lock(owner)) {
			remote_drain(owner, UINT32_MAX);
			if (owner->kind == HEAP_PARKED || is_dormant(owner))
				heap_give_rings(owner);
			struct heap *forwarded = take_forwarded(owner);
			next = forwarded != NULL ? forwarded : next;
			heap_unlock(owner);
		}
		owner = next;
	}
}

/* The chain is the pusher's still; a visitor counts as a thread of the node that it runs on. */
static void count_between_nodes(const struct heap *owner, const struct block *head, const struct block *tail)
{
	unsigned from = slot.heap != NULL ? slot.heap->node : node_current();
	uint64_t n = 1;
	if (from == owner->node)
		return;
	for (const struct block *block = head; block != tail; block = block_next(block))
		n++;
	node_count_event(&node_counters[from].remote_sent, n);
	node_count_event(&node_counters[owner->node].remote_received, n);
}

void remote_push(uint32_t owner_id, struct block *head, struct block *tail, size_t nbytes)
{
	struct heap *owner = heap_by_id(owner_id);
	if (unlikely(node_count() > 1))
		count_between_nodes(owner, head, tail);
	push(owner, head, tail, nbytes);
	PROBE2(remote_batch, owner_id, nbytes);
	relieve(owner);
}

void remote_unlock(struct heap *heap)
{
	struct heap *forwarded = take_forwarded(heap);
	heap_unlock(heap);
	relieve(heap);
	if (unlikely(forwarded != NULL))
		relieve(forwarded);
}

/* The next block that came home, which stays where it is, and its word; NULL: none waits, or no free block. */
static struct block *first_pending(struct heap *heap, uint32_t *word)
{
	if (heap->pending == NULL)
		heap->pending = atomic_exchange_explicit(&heap->inbox, NULL, memory_order_acquire);
	struct block *block = heap->pending;
	if (block == NULL)
		return NULL;
	*word = address_map_word(block);
	if (likely(heap_is_free_block(block, *word)))
		return block;
	heap->pending = NULL; /* what hangs behind it is lost, and stays counted as waiting */
	heap_report_misuse("double free or write after free", block, *word);
	return NULL;
}

static void forward(struct heap *heap, struct block *block, uint32_t word)
{
	heap->forwarded = heap_by_id(word_owner(word));
	push(heap->forwarded, block, block, sizeclass_nbytes(word_szidx(word)));
}

static void count_sorted(struct heap *heap, unsigned n, size_t nbytes)
{
	atomic_fetch_sub_explicit(&heap->inbox_nbytes, nbytes, relaxed);
	uint64_t sum = atomic_load_explicit(&heap->counters.remote_frees, relaxed) + n;
	atomic_store_explicit(&heap->counters.remote_frees, sum, relaxed);
}

/* Blocks that were made in a row often come home so: what was found for the first holds for its neighbours. */
static unsigned drain_some(struct heap *heap, unsigned most)
{
	size_t nbytes = 0;
	unsigned n = 0;
	uint32_t word;
	for (struct block *block; n < most && (block = first_pending(heap, &word)) != NULL;) {
		unsigned run = 1;
		if (likely(word_owner(word) == heap->id)) {
			run = heap_put_run(heap, &heap->pending, word, most - n);
		} else {
			heap->pending = block_next(block);
			forward(heap, block, word);
		}
		nbytes += run * sizeclass_nbytes(word_szidx(word));
		n += run;
	}
	if (n > 0)
		count_sorted(heap, n, nbytes);
	return n;
}

/* Counted now and then: who looks in from outside meanwhile would find what was sorted both here and in pools. */
unsigned remote_drain(struct heap *heap, unsigned most)
{
	unsigned n = 0, some;
	do {
		some = drain_some(heap, most - n < DRAIN_BLOCKS ? most - n : DRAIN_BLOCKS);
		n += some;
	} while (some == DRAIN_BLOCKS && n < most);
	return n;
}

/* Onto the thread's list of the class, if that has room to spare for blocks which the thread itself frees. */
static force_inline bool keep(struct heap *heap, struct block *block, unsigned szidx)
{
	struct cache *cache = &heap->cache;
	if (cache->room[szidx] <= (int32_t)(cache->bound[szidx] / 4))
		return false;
	block_set_next(block, cache->head[szidx]);
	cache->head[szidx] = block;
	cache->room[szidx]--;
	return true;
}

unsigned remote_take(struct heap *heap, unsigned szidx, unsigned want, struct block **chain)
{
	size_t nbytes = 0;
	unsigned n = 0, taken = 0;
	struct block *last = NULL;
	uint32_t word;
	*chain = NULL;
	for (struct block *block; n < DRAIN_BLOCKS && taken < want && (block = first_pending(heap, &word)) != NULL; n++) {
		heap->pending = block_next(block);
		nbytes += sizeclass_nbytes(word_szidx(word));
		if (unlikely(word_owner(word) != heap->id)) {
			forward(heap, block, word);
		} else if (word_szidx(word) == szidx) {
			if (last == NULL)
				*chain = block;
			else
				block_set_next(last, block);
			last = block;
			taken++;
		} else if (!keep(heap, block, word_szidx(word))) {
			heap_put_block(heap, block, word);
		}
	}
	if (last != NULL)
		block_set_next(last, NULL);
	if (n > 0)
		count_sorted(heap, n, nbytes);
	return taken;
}
