/* SPDX-License-Identifier: MIT */
/*
 * Blocks: what claim.cc, fork.cc and remote.cc have in place of lib/pool.h and lib/heap.h alike; included behind their
 * own struct block and struct heap.
 */
#ifndef QUARRY_MODEL_BLOCKS_H
#define QUARRY_MODEL_BLOCKS_H

static struct block *block_next(const struct block *block)
{
	return (struct block *)block->next;
}

static void block_set_next(struct block *block, struct block *next)
{
	block->next = next;
}

/* Marks are for misuse, of which the models have none. */
static bool block_claim(struct block *)
{
	return true;
}

static bool heap_is_free_block(const struct block *, uint32_t)
{
	return true;
}

static void heap_report_misuse(const char *what, const void *, uint32_t)
{
	RL_ASSERT(what == NULL);
}

static void heap_lock(struct heap *heap)
{
	lock_take(&heap->lock, LOCK_HEAP);
}

static void heap_unlock(struct heap *heap)
{
	lock_drop(&heap->lock, LOCK_HEAP);
}

#endif
