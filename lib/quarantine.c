/* SPDX-License-Identifier: MIT */
/*
 * Quarantine: see quarantine.h.
 */
#include "quarantine.h"

#include <string.h>

#include "options.h"
#include "pool.h"
#include "report.h"

#define relaxed memory_order_relaxed

static size_t nbytes_of(const struct block *block)
{
	return sizeclass_nbytes(word_szidx(address_map_word(block)));
}

static uint32_t get(const _Atomic uint32_t *field)
{
	return atomic_load_explicit(field, relaxed);
}

static struct block *at(struct quarantine *quarantine, uint32_t index)
{
	return atomic_load_explicit(&quarantine->place[index], relaxed);
}

static void set(struct quarantine *quarantine, uint32_t index, struct block *block)
{
	atomic_store_explicit(&quarantine->place[index], block, relaxed);
}

static void set_nbytes(struct quarantine *quarantine, size_t nbytes)
{
	atomic_store_explicit(&quarantine->nbytes, nbytes, relaxed);
}

void quarantine_report(struct block *block, uint32_t word)
{
	size_t nbytes = sizeclass_nbytes(word_szidx(word));
	struct report_place place = {
		.szidx = (int)word_szidx(word),
		.block_nbytes = nbytes,
		.arena = arena_base(block),
		.node = (int)arena_at(arena_base(block))->node,
	};
	report_fault("write after free", block, &place);
	memset(block, 0, nbytes);
}

/* All of it. */
static struct block *checked(struct block *block)
{
	if (!harden_is_wiped(block, nbytes_of(block), 0))
		quarantine_report(block, address_map_word(block));
	return block;
}

void quarantine_share(struct quarantine *quarantine, unsigned nthreads)
{
	quarantine->most = ((size_t)options.quarantine_kib << 10) / (nthreads == 0 ? 1 : nthreads);
}

struct block *quarantine_take(struct quarantine *quarantine, size_t most)
{
	size_t held = atomic_load_explicit(&quarantine->nbytes, relaxed);
	uint32_t n = get(&quarantine->n), chosen = get(&quarantine->chosen);
	if (n == 0 || held <= most)
		return NULL;
	struct block *leaving = at(quarantine, chosen);
	set(quarantine, chosen, at(quarantine, n - 1));
	atomic_store_explicit(&quarantine->n, n - 1, relaxed);
	quarantine_choose(quarantine, n - 1);
	set_nbytes(quarantine, held - nbytes_of(leaving));
	return checked(leaving);
}

void quarantine_check(struct quarantine *quarantine)
{
	for (uint32_t i = 0; i < get(&quarantine->n); i++)
		if (at(quarantine, i) != NULL) /* as a visitor leaves it, and the thread has not come by since */
			checked(at(quarantine, i));
}

/* --- visits ------------------------------------------------------------------------------------------------------- */

void quarantine_note(struct quarantine *quarantine)
{
	quarantine->seen_n = atomic_load_explicit(&quarantine->n, memory_order_acquire);
	quarantine->seen_chosen = atomic_load_explicit(&quarantine->chosen, memory_order_acquire);
}

struct block *quarantine_take_noted(struct quarantine *quarantine, uint32_t *index)
{
	for (uint32_t i; (i = *index) < quarantine->seen_n; ++*index) {
		struct block *block = at(quarantine, i);
		if (i == quarantine->seen_chosen || block == NULL)
			continue;
		set(quarantine, i, NULL);
		return checked(block);
	}
	return NULL;
}

void quarantine_settle(struct quarantine *quarantine)
{
	uint32_t n = 0;
	size_t nbytes = 0;
	for (uint32_t i = 0; i < get(&quarantine->n); i++) {
		struct block *block = at(quarantine, i);
		if (block == NULL)
			continue;
		set(quarantine, n++, block);
		nbytes += nbytes_of(block);
	}
	atomic_store_explicit(&quarantine->n, n, relaxed);
	atomic_store_explicit(&quarantine->chosen, 0, relaxed);
	set_nbytes(quarantine, nbytes);
}

void quarantine_orphan(struct quarantine *quarantine, bool noted)
{
	atomic_store_explicit(&quarantine->n, noted ? quarantine->seen_n : 0, relaxed);
	if (noted)
		set(quarantine, quarantine->seen_chosen, NULL);
	quarantine_settle(quarantine);
}
