/* SPDX-License-Identifier: MIT */
/*
 * Span: see span.h.
 */
#include "span.h"

#include "address_map.h"
#include "arena_list.h"
#include "node.h"
#include "os.h"
#include "pool.h"

static struct {
	_Alignas(CACHE_LINE) _Atomic size_t live_nbytes;
} nodes[NODE_PLACES];

static size_t units_of(size_t nbytes)
{
	return (nbytes + POOL_SIZE - 1) >> QUARRY_POOL_BITS;
}

size_t span_good_size(size_t nbytes)
{
	size_t page = os_page_size(), eighth = (size_t)1 << (63 - __builtin_clzl(nbytes | ALIGNMENT << 4)) >> 3;
	return round_up(nbytes, eighth < page ? eighth : page);
}

static void count_live(const void *start, size_t added, size_t removed)
{
	_Atomic size_t *live_nbytes = &nodes[arena_at(arena_base(start))->node].live_nbytes;
	atomic_fetch_add_explicit(live_nbytes, added - removed, memory_order_relaxed);
}

static size_t get_nbytes(const void *start)
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

static void *make(struct arena_run run, size_t nbytes)
{
	span_set_sample(run.address, 0);
	span_set_owner(run.address, NULL);
	set_nbytes(run.address, span_good_size(nbytes));
	address_map_set(run.address, 1, WORD_SPAN);
	address_map_set(run.address + POOL_SIZE, run.nunits - 1, WORD_SPAN_REST);
	count_live(run.address, span_good_size(nbytes), 0);
	return run.address;
}

void *span_alloc(unsigned node, size_t nbytes, size_t alignment, bool *zeroed)
{
	size_t units = units_of(nbytes), step = alignment <= POOL_SIZE ? 1 : alignment >> QUARRY_POOL_BITS;
	struct arena_run run = arena_list_take(node, units, step);
	if (run.address == NULL)
		return NULL;
	*zeroed = run.clean;
	return make(run, nbytes);
}

size_t span_usable(const void *ptr)
{
	return get_nbytes(ptr);
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
	size_t nbytes = span_usable(ptr);
	count_live(ptr, 0, nbytes);
	arena_list_put(ptr, units_of(nbytes), false);
}

bool span_resize(void *ptr, size_t nbytes)
{
	size_t old = get_nbytes(ptr), have = units_of(old), want = units_of(nbytes);
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
