/* SPDX-License-Identifier: MIT */
/*
 * Span: see span.h.
 */
#include "span.h"

#include "address_map.h"
#include "arena_list.h"
#include "fence.h"
#include "node.h"
#include "os.h"
#include "pool.h"
#include "report.h"

static struct {
	_Alignas(CACHE_LINE) _Atomic size_t live_nbytes;
} nodes[NODE_PLACES];

static size_t units_of(size_t nbytes)
{
	return (nbytes + POOL_SIZE - 1) >> QUARRY_POOL_BITS;
}

/* By no more than a unit, or it would be more than the units that are taken for nbytes. */
size_t span_good_size(size_t nbytes)
{
	size_t page = os_page_size(), eighth = (size_t)1 << (63 - __builtin_clzl(nbytes | ALIGNMENT << 4)) >> 3;
	size_t most = page < POOL_SIZE ? page : POOL_SIZE;
	/* Hardened, up to the closed page behind it. */
	return round_up(nbytes, eighth < most && !QUARRY_HARDENED ? eighth : most);
}

static void count_live(const void *start, size_t added, size_t removed)
{
	_Atomic size_t *live_nbytes = &nodes[arena_at(arena_base(start))->node].live_nbytes;
	atomic_fetch_add_explicit(live_nbytes, added - removed, memory_order_relaxed);
}

size_t span_nbytes(const void *start)
{
	return atomic_load_explicit(&pool_header_at(start)->nbytes, memory_order_acquire);
}

static void set_nbytes(void *start, size_t nbytes)
{
	atomic_store_explicit(&pool_header_at(start)->nbytes, (uint32_t)nbytes, memory_order_relaxed);
}

uint32_t span_sample(const void *ptr)
{
	return pool_header_at(ptr)->sample;
}

void span_set_sample(void *ptr, uint32_t number)
{
	pool_header_at(ptr)->sample = number;
}

/* --- hardened ----------------------------------------------------------------------------------------------------- */

static void set_requested(void *start, size_t nbytes)
{
	*pool_header_at(start)->requested = (uint32_t)nbytes;
	harden_paint((char *)start + nbytes, span_nbytes(start) - nbytes);
}

/* Freed spans, closed, wait in random order; the lowest bit: without their pages. */
#define HELD_SPANS 32
static _Atomic uintptr_t held[HELD_SPANS];

static void put_held(uintptr_t span)
{
	char *start = (char *)(span & ~(uintptr_t)1);
	if (start != NULL)
		fence_put_between(start, units_of(span_nbytes(start)), span & 1, true);
}

static void hold(char *start)
{
	size_t nbytes = span_nbytes(start);
	uintptr_t clean = fence_close(start, units_of(nbytes), nbytes);
	put_held(atomic_exchange(&held[harden_below(HELD_SPANS)], (uintptr_t)start | clean));
}

void span_release_held(void)
{
	for (unsigned i = 0; QUARRY_HARDENED && i < HELD_SPANS; i++)
		put_held(atomic_exchange(&held[i], 0));
}

static void free_hardened(char *start)
{
	size_t nbytes = span_nbytes(start), requested = *pool_header_at(start)->requested;
	if (!harden_is_painted(start + requested, nbytes - requested)) {
		report_fault("overflow, found by free,", start, NULL);
	} else if (!address_map_clear(start, WORD_SPAN)) {
		report_fault("double free", start, NULL);
	} else {
		address_map_set(start + POOL_SIZE, units_of(nbytes) - 1, 0);
		count_live(start, 0, nbytes);
		hold(start);
	}
}

/* ------------------------------------------------------------------------------------------------------------------ */

static void *make(struct arena_run run, size_t nbytes)
{
	span_set_sample(run.address, 0);
	span_set_owner(run.address, NULL);
	set_nbytes(run.address, span_good_size(nbytes));
	address_map_set(run.address, 1, WORD_SPAN);
	address_map_set(run.address + POOL_SIZE, run.nunits - 1, WORD_SPAN_REST);
	count_live(run.address, span_good_size(nbytes), 0);
	if (QUARRY_HARDENED)
		set_requested(run.address, nbytes);
	return run.address;
}

void *span_alloc(unsigned node, size_t nbytes, size_t alignment, bool *zeroed)
{
	size_t units = units_of(nbytes), step = alignment <= POOL_SIZE ? 1 : alignment >> QUARRY_POOL_BITS;
	struct arena_run run = fence_take(node, units, step, span_good_size(nbytes));
	if (run.address == NULL)
		return NULL;
	*zeroed = run.clean;
	return make(run, nbytes);
}

size_t span_usable(const void *ptr)
{
	return QUARRY_HARDENED && !span_is_of_cache(ptr) ? *pool_header_at(ptr)->requested : span_nbytes(ptr);
}

void span_set_usable(void *ptr, size_t nbytes)
{
	count_live(ptr, nbytes, span_nbytes(ptr));
	set_nbytes(ptr, nbytes);
}

void span_set_owner(void *ptr, struct span_owner *owner)
{
	pool_header_at(ptr)->owner = owner;
}

struct span_owner *span_owner(const void *ptr)
{
	return pool_header_at(ptr)->owner;
}

void span_free(void *ptr)
{
	if (QUARRY_HARDENED) {
		free_hardened(ptr);
		return;
	}
	size_t nbytes = span_usable(ptr);
	count_live(ptr, 0, nbytes);
	arena_list_put(ptr, units_of(nbytes), false);
}

bool span_resize(void *ptr, size_t nbytes)
{
	if (QUARRY_HARDENED) {
		bool fits = span_good_size(nbytes) == span_nbytes(ptr);
		if (fits)
			set_requested(ptr, nbytes);
		return fits;
	}
	size_t old = span_nbytes(ptr), have = units_of(old), want = units_of(nbytes);
	char *start = ptr;
	if (want > have) {
		bool clean;
		if (!arena_list_take_at(start + (have << QUARRY_POOL_BITS), want - have, &clean))
			return false;
		address_map_set(start + (have << QUARRY_POOL_BITS), want - have, WORD_SPAN_REST);
	} else if (want < have) {
		arena_list_put(start + (want << QUARRY_POOL_BITS), have - want, false);
	}
	count_live(ptr, span_good_size(nbytes), old);
	set_nbytes(ptr, span_good_size(nbytes));
	return true;
}

void *span_start(const void *ptr)
{
	char *unit = (char *)((uintptr_t)ptr & ~(uintptr_t)(POOL_SIZE - 1));
	while (address_map_word(unit) == WORD_SPAN_REST)
		unit -= POOL_SIZE;
	return address_map_word(unit) == WORD_SPAN ? unit : NULL;
}

size_t span_node_live_nbytes(unsigned node)
{
	return atomic_load_explicit(&nodes[node].live_nbytes, memory_order_relaxed);
}

size_t span_live_nbytes(void)
{
	size_t nbytes = 0;
	for (unsigned node = 0; node < node_count(); node++)
		nbytes += span_node_live_nbytes(node);
	return nbytes;
}
