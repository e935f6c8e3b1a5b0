/* SPDX-License-Identifier: MIT */
/*
 * Arena: see arena.h. Units are found in bitmaps, lowest address first, dirty before clean: a dirty unit costs no page
 * fault, and low addresses fill before high ones are touched.
 */
#include "arena.h"

#include <string.h>

#include "address_map.h"
#include "node.h"
#include "options.h"
#include "os.h"

#define relaxed memory_order_relaxed

/* The largest piece that can be had; *nbytes becomes its size. */
static char *place(unsigned node, char *hint, size_t *nbytes, const struct quarry_provider **from)
{
	char *base = hint == NULL || provider_of(node) != NULL ? NULL : address_map_place_exactly(hint, ARENA_SIZE);
	*nbytes = ARENA_SIZE;
	*from = NULL;
	while (base == NULL && *nbytes >= ARENA_MIN_SIZE && *nbytes > 2 * ARENA_HEAD_UNITS * POOL_SIZE) {
		base = provider_map(node, *nbytes, ARENA_SIZE, from);
		if (*from == NULL)
			base = address_map_place(*nbytes, ARENA_SIZE);
		if (base == NULL)
			*nbytes /= 2;
	}
	return base;
}

static void settle(char *base, size_t nbytes, unsigned node)
{
	if (options.huge_pages == OPTION_HUGE_PAGES_NEVER)
		os_refuse_huge_pages(base, nbytes);
	else if (options.huge_pages == OPTION_HUGE_PAGES_ALWAYS)
		os_want_huge_pages(base, nbytes);
	node_bind(base, nbytes, node);
}

bool arena_map(struct arena_object *arena, unsigned node, char *hint)
{
	size_t nbytes;
	const struct quarry_provider *from;
	char *base = place(node, hint, &nbytes, &from);
	if (base == NULL)
		return false;
	bool zeroed = from == NULL || (from->flags & QUARRY_PROVIDER_ZEROED) != 0;
	if (from == NULL)
		settle(base, nbytes, node);
	if (!zeroed)
		memset(base, 0, ARENA_HEAD_UNITS * POOL_SIZE);

	size_t units = nbytes >> QUARRY_POOL_BITS;
	arena->address = base;
	arena->provider = from;
	arena->stays_dirty = from != NULL && from->purge == NULL;
	arena->node = node;
	arena->ntotalpools = (uint32_t)(units - ARENA_HEAD_UNITS);
	arena->longest = arena->ntotalpools;
	arena->bucket = -1;
	arena->empty_since = 0;
	atomic_store_explicit(&arena->nfreepools, arena->ntotalpools, relaxed);
	atomic_store_explicit(&arena->ndirty, zeroed ? 0 : arena->ntotalpools, relaxed);
	for (size_t word = 0; word < ARENA_WORDS; word++)
		arena->free[word] = 0;
	for (size_t unit = ARENA_HEAD_UNITS; unit < units; unit++)
		arena->free[unit / 64] |= (uint64_t)1 << unit % 64;
	for (size_t word = 0; word < ARENA_WORDS; word++)
		arena->dirty[word] = zeroed ? 0 : arena->free[word];
	*(struct arena_object **)base = arena;
	size_t headers = ARENA_HEADER_UNITS << QUARRY_POOL_BITS;
	atomic_store_explicit(&arena->opened, false, relaxed);
	arena->fenced = QUARRY_HARDENED && from == NULL && os_page_size() <= POOL_SIZE && !address_map_is_limited() &&
	                os_forbid(base + headers, nbytes - headers);
	return true;
}

size_t arena_nbytes(const struct arena_object *arena)
{
	return (arena->ntotalpools + ARENA_HEAD_UNITS) << QUARRY_POOL_BITS;
}

bool arena_unmap(struct arena_object *arena)
{
	return provider_unmap(arena->provider, arena->address, arena_nbytes(arena));
}

/* Bits [from, 64) of a word. */
static uint64_t bits_from(size_t from)
{
	return ~(uint64_t)0 << from;
}

static uint64_t masked(const uint64_t *map, const uint64_t *and_map, size_t word)
{
	return and_map == NULL ? map[word] : map[word] & and_map[word];
}

/* First unit at or after `unit` whose bit (of map & and_map) is `value`; ARENA_UNITS if there is none. */
static size_t next_bit(const uint64_t *map, const uint64_t *and_map, size_t unit, bool value)
{
	for (size_t word = unit / 64; word < ARENA_WORDS; word++) {
		uint64_t bits = masked(map, and_map, word);
		if (!value)
			bits = ~bits;
		if (word == unit / 64)
			bits &= bits_from(unit % 64);
		if (bits != 0)
			return word * 64 + (size_t)__builtin_ctzll(bits);
	}
	return ARENA_UNITS;
}

/* First run of nunits set bits that starts at a multiple of alignment; *longest becomes the longest run seen. */
static size_t find_run(const uint64_t *map, const uint64_t *and_map, size_t nunits, size_t alignment, size_t *longest)
{
	*longest = 0;
	for (size_t start = next_bit(map, and_map, 0, true); start < ARENA_UNITS;) {
		size_t end = next_bit(map, and_map, start, false);
		size_t aligned = round_up(start, alignment);
		if (aligned + nunits <= end)
			return aligned;
		if (end - start > *longest)
			*longest = end - start;
		start = end < ARENA_UNITS ? next_bit(map, and_map, end, true) : ARENA_UNITS;
	}
	return ARENA_UNITS;
}

/* The bits of a word that lie in [unit, unit + nunits). */
static uint64_t mask_in(size_t word, size_t unit, size_t nunits)
{
	size_t from = unit > word * 64 ? unit - word * 64 : 0;
	size_t to = unit + nunits - word * 64;
	return bits_from(from) & (to >= 64 ? ~(uint64_t)0 : ~bits_from(to));
}

/* Take a run that is known to be free. */
static struct arena_run take_run(struct arena_object *arena, size_t unit, size_t nunits)
{
	unsigned ndirty = 0;
	for (size_t word = unit / 64; word * 64 < unit + nunits; word++) {
		uint64_t mask = mask_in(word, unit, nunits);
		ndirty += (unsigned)__builtin_popcountll(arena->dirty[word] & mask);
		arena->free[word] &= ~mask;
		arena->dirty[word] &= ~mask;
	}
	atomic_store_explicit(&arena->nfreepools, arena->nfreepools - (uint32_t)nunits, relaxed);
	atomic_store_explicit(&arena->ndirty, arena->ndirty - ndirty, relaxed);
	return (struct arena_run){arena->address + (unit << QUARRY_POOL_BITS), nunits, ndirty == 0};
}

struct arena_run arena_take(struct arena_object *arena, size_t nunits, size_t alignment)
{
	struct arena_run none = {NULL, 0, false};
	size_t longest;
	if (nunits > arena->longest)
		return none;
	if (arena->ndirty >= nunits) {
		size_t unit = find_run(arena->free, arena->dirty, nunits, alignment, &longest);
		if (unit < ARENA_UNITS)
			return take_run(arena, unit, nunits);
	}
	size_t unit = find_run(arena->free, NULL, nunits, alignment, &longest);
	if (unit < ARENA_UNITS)
		return take_run(arena, unit, nunits);
	arena->longest = (uint32_t)longest;
	return none;
}

struct arena_run arena_take_dirty(struct arena_object *arena, size_t nunits, size_t alignment)
{
	size_t longest, unit = find_run(arena->free, arena->dirty, nunits, alignment, &longest);
	if (unit == ARENA_UNITS)
		return (struct arena_run){NULL, 0, false};
	return take_run(arena, unit, nunits);
}

bool arena_take_at(struct arena_object *arena, const char *address, size_t nunits)
{
	size_t unit = arena_unit_of(address);
	if (address < arena->address || unit + nunits > ARENA_UNITS || arena_base(address) != arena->address ||
	    next_bit(arena->free, NULL, unit, false) < unit + nunits)
		return false;
	take_run(arena, unit, nunits);
	return true;
}

/* First unit of the run of set bits that contains unit. */
static size_t run_start(const uint64_t *map, size_t unit)
{
	for (size_t word = unit / 64 + 1; word-- > 0;) {
		uint64_t clear = ~map[word];
		if (word == unit / 64)
			clear &= ~bits_from(unit % 64);
		if (clear != 0)
			return word * 64 + 64 - (size_t)__builtin_clzll(clear);
	}
	return 0;
}

/* No more units than this are asked for at once: a span's, or a pool's, and hardened the fence behind them. */
#define LONGEST_SPAN (LARGE_REQUEST_THRESHOLD >> QUARRY_POOL_BITS)
#define LONGEST_REQUEST ((LONGEST_SPAN > POOL_MAX_UNITS ? LONGEST_SPAN : POOL_MAX_UNITS) + 1)

/* A run of free units has grown round this one. While `longest` turns no request away, a closer one saves nothing. */
static void note_run(struct arena_object *arena, size_t unit)
{
	if (likely(arena->longest >= LONGEST_REQUEST)) {
		arena->longest = arena->nfreepools;
		return;
	}
	size_t run = next_bit(arena->free, NULL, unit, false) - run_start(arena->free, unit);
	if (run > arena->longest)
		arena->longest = (uint32_t)run;
}

void arena_put(struct arena_object *arena, const char *address, size_t nunits, bool clean, uint8_t tick)
{
	size_t unit = arena_unit_of(address);
	for (size_t word = unit / 64; word * 64 < unit + nunits; word++) {
		uint64_t mask = mask_in(word, unit, nunits);
		arena->free[word] |= mask;
		if (!clean)
			arena->dirty[word] |= mask;
	}
	if (!clean)
		for (size_t i = unit; i < unit + nunits; i++)
			arena->stamp[i] = tick;
	atomic_store_explicit(&arena->nfreepools, arena->nfreepools + (uint32_t)nunits, relaxed);
	if (!clean)
		atomic_store_explicit(&arena->ndirty, arena->ndirty + (uint32_t)nunits, relaxed);
	if (arena_is_empty(arena))
		arena->empty_since = tick;
	note_run(arena, unit);
}

static bool is_old(const struct arena_object *arena, size_t unit, uint8_t tick, uint8_t age)
{
	bool dirty = arena->free[unit / 64] & arena->dirty[unit / 64] & (uint64_t)1 << unit % 64;
	return dirty && (uint8_t)(tick - arena->stamp[unit]) >= age;
}

struct arena_run arena_take_old(struct arena_object *arena, uint8_t tick, uint8_t age, size_t nunits)
{
	/* Whole pages, where a page is more than a unit. */
	size_t page_units = os_page_size() <= POOL_SIZE ? 1 : os_page_size() >> QUARRY_POOL_BITS;
	if (nunits < page_units)
		nunits = page_units;
	for (size_t unit = 0, end; unit < ARENA_UNITS; unit = end + 1) {
		unit = next_bit(arena->free, arena->dirty, unit, true);
		for (end = unit; end < ARENA_UNITS && end - unit < nunits && is_old(arena, end, tick, age);)
			end++;
		size_t start = round_up(unit, page_units), length = end > start ? (end - start) & ~(page_units - 1) : 0;
		if (length > 0)
			return take_run(arena, start, length);
	}
	return (struct arena_run){NULL, 0, false};
}
