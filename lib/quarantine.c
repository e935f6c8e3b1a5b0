/* SPDX-License-Identifier: MIT */
/*
 * Quarantine: see quarantine.h.
 */
#include "quarantine.h"

#include <string.h>

#include "address_map.h"
#include "pool.h"
#include "report.h"

#define relaxed memory_order_relaxed

static size_t nbytes_of(const struct block *block)
{
	return sizeclass_nbytes(word_szidx(address_map_word(block)));
}

static struct block **place(struct quarantine *quarantine, uint32_t index)
{
	return &quarantine->ring[(quarantine->first + index) % QUARANTINE_BLOCKS];
}

static void count(struct quarantine *quarantine, size_t added, size_t removed)
{
	size_t sum = atomic_load_explicit(&quarantine->nbytes, relaxed) + added - removed;
	atomic_store_explicit(&quarantine->nbytes, sum, relaxed);
}

void quarantine_put(struct quarantine *quarantine, struct block *block, size_t nbytes)
{
	memset(block, 0, nbytes);
	count(quarantine, nbytes, 0);
	struct block **end = place(quarantine, quarantine->n++), **chosen = place(quarantine, harden_below(quarantine->n));
	*end = *chosen;
	*chosen = block;
}

/* Is it as it was left? If not, that is reported, and mended. */
static void check(struct block *block, size_t nbytes)
{
	if (likely(harden_is_wiped(block, nbytes, 0)))
		return;
	report_fault("write after free", block, (int)word_szidx(address_map_word(block)), nbytes, arena_base(block));
	memset(block, 0, nbytes);
}

struct block *quarantine_take(struct quarantine *quarantine, size_t most)
{
	size_t held = atomic_load_explicit(&quarantine->nbytes, relaxed);
	if (quarantine->n == 0 || (held <= most && quarantine->n < QUARANTINE_BLOCKS))
		return NULL;
	struct block *block = *place(quarantine, 0);
	size_t nbytes = nbytes_of(block);
	quarantine->first = (quarantine->first + 1) % QUARANTINE_BLOCKS;
	quarantine->n--;
	count(quarantine, 0, nbytes);
	check(block, nbytes);
	return block;
}

void quarantine_check(struct quarantine *quarantine)
{
	for (uint32_t i = 0; i < quarantine->n; i++)
		check(*place(quarantine, i), nbytes_of(*place(quarantine, i)));
}
