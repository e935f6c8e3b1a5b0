/* SPDX-License-Identifier: MIT */
/*
 * Blocks that come home (lib/remote.c with the lock of lib/lock.h, invariants of lib/heap.h): two threads push a chain
 * and two blocks to a heap whose owner works under its lock, takes one of them, moves a pool to another heap, drains
 * and parks.
 *
 * Checked: links, and what a freeing thread wrote to a block last, are seen by whoever puts it; each block is put once,
 * under the lock of the heap that owns its pool; nothing is left in the inbox of a parked heap at the end, but what was
 * forwarded.
 */
#define THREADS 3
#include "shim.h"

#include "lock.h"
#include "lock.c"

#define QUARRY_HEAP_H
#define QUARRY_NODE_H
#define INBOX_NBYTES 1 /* blocks: a block has one byte here, and the bound is this alone */
#define INBOX_PART 1
#define DRAIN_BLOCKS 256
#define BLOCKS 4
#define HEAPS 2

typedef plain<struct block *> block_link;

struct block {
	block_link next;
	plain<int> last_write;
	unsigned pool;
	int put;
};

enum heap_kind { HEAP_ATTACHED, HEAP_PARKED };

/* There is one class here, so nothing is kept for another. */
struct cache {
	block_link head[1];
	int32_t room[1];
	uint32_t bound[1];
};

struct heap {
	struct lock lock;
	uint32_t id;
	shared<uint8_t> kind;
	plain<uint64_t> refills_seen;
	plain<struct heap *> forwarded;
	plain<struct block *> pending;
	shared<struct block *> inbox;
	shared<uint64_t> inbox_nbytes;
	struct {
		shared<uint64_t> remote_frees, refills; /* its thread refills nothing: it is dormant */
	} counters;
	unsigned node;
	struct cache cache;
};

#include "blocks.h"

/* One node: nothing is counted between nodes. */
static struct slot {
	struct heap *heap;
} the_slot;

static struct slot *own_slot()
{
	return &the_slot;
}

static struct {
	int remote_sent, remote_received;
} node_counters[1];

static unsigned node_count()
{
	return 1;
}

static unsigned node_current()
{
	return 0;
}

static void node_count_event(int *, uint64_t)
{
}

static struct heap *heaps;
static struct block *blocks;
static shared<uint32_t> *words; /* of pools: their owner */

static struct heap *heap_by_id(uint32_t id)
{
	return &heaps[id];
}

/* So the bound of an inbox is INBOX_NBYTES. */
static size_t heap_out_of_own(const struct heap *)
{
	return 0;
}

static bool heap_try_lock(struct heap *heap)
{
	return lock_try(&heap->lock, LOCK_HEAP);
}

static uint32_t address_map_word(const struct block *block)
{
	return atomic_load_explicit(&words[block->pool], memory_order_relaxed);
}

static uint32_t word_owner(uint32_t word)
{
	return word;
}

static unsigned word_szidx(uint32_t)
{
	return 0;
}

static size_t sizeclass_nbytes(unsigned)
{
	return 1;
}

static void heap_put_block(struct heap *heap, struct block *block, uint32_t word)
{
	RL_ASSERT(word == heap->id && address_map_word(block) == heap->id);
	RL_ASSERT(block->put == 0);
	RL_ASSERT(block->last_write == 1);
	block->put++;
}

/* Neighbours are those of the same pool. */
static unsigned heap_put_run(struct heap *heap, block_link *list, uint32_t word, unsigned most)
{
	unsigned n = 0;
	struct block *block = *list, *next;
	for (;; block = next) {
		next = block->next;
		heap_put_block(heap, block, word);
		if (++n == most || next == NULL || next->pool != block->pool)
			break;
	}
	*list = next;
	return n;
}

/* Under the lock of the heap that owns it: the second pool goes to the other heap. */
static void heap_give_rings(struct heap *heap)
{
	if (atomic_load_explicit(&words[1], memory_order_relaxed) == heap->id)
		atomic_store_explicit(&words[1], 1 - heap->id, memory_order_relaxed);
}

#include "remote.h"
#include "remote.c"

struct remote_model : rl::test_suite<remote_model, THREADS> {
	system_parts parts;
	struct heap heap[HEAPS];
	struct block block[BLOCKS];
	shared<uint32_t> word[2];

	void before()
	{
		heaps = heap;
		blocks = block;
		words = word;
		for (unsigned i = 0; i < HEAPS; i++) {
			heap[i].id = i;
			heap[i].kind = i == 0 ? HEAP_ATTACHED : HEAP_PARKED;
			heap[i].refills_seen = 0;
			heap[i].forwarded = NULL;
			heap[i].pending = NULL;
		}
		for (unsigned i = 0; i < BLOCKS; i++) {
			block[i].pool = i / 2;
			block[i].put = 0;
		}
	}

	void work_and_park()
	{
		block_link chain;
		heap_lock(&heap[0]);
		if (remote_take(&heap[0], 0, 1, &chain) > 0)
			heap_put_block(&heap[0], chain, 0);
		heap_give_rings(&heap[0]);
		remote_unlock(&heap[0]);
		heap_lock(&heap[0]);
		remote_drain(&heap[0], UINT32_MAX);
		heap[0].kind = HEAP_PARKED;
		remote_unlock(&heap[0]);
	}

	/* As entry_free.c and cache.c do: the word is read, then the block goes to whom it named. */
	void free_one(struct block *freed)
	{
		freed->last_write = 1;
		remote_push(word_owner(address_map_word(freed)), freed, freed, 1);
	}

	void free_chain(struct block *first, struct block *second)
	{
		uint32_t owner = word_owner(address_map_word(first));
		first->last_write = 1;
		second->last_write = 1;
		first->next = second;
		remote_push(owner, first, second, 2);
	}

	void thread(unsigned index)
	{
		thread_begins(index);
		if (index == 0) {
			work_and_park();
		} else if (index == 1) {
			free_chain(&block[0], &block[1]);
		} else {
			free_one(&block[2]);
			free_one(&block[3]);
		}
	}

	/* What is left was forwarded to a heap whose lock was held, or lies there for its next user. */
	void after()
	{
		for (int pass = 0; pass < 2; pass++)
			for (unsigned i = 0; i < HEAPS; i++) {
				RL_ASSERT(pass > 0 || i > 0 || atomic_load(&heap[i].inbox) == NULL);
				remote_drain(&heap[i], UINT32_MAX);
			}
		for (unsigned i = 0; i < BLOCKS; i++)
			RL_ASSERT(block[i].put == 1);
		for (unsigned i = 0; i < HEAPS; i++)
			RL_ASSERT(heap[i].inbox_nbytes == 0 && heap[i].pending == (struct block *)NULL);
	}
};

int main(int, char **argv)
{
	return run_model<remote_model>(strtoul(argv[1], NULL, 10));
}
