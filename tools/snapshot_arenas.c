/* SPDX-License-Identifier: MIT */
/*
 * Snapshot: arenas, and their units, pools and spans.
 *
 * The list of all arenas is the target's RCU list, which changes while it is followed: an object that was taken off may
 * have gone back in elsewhere. So the walk is bounded, what was met twice makes it a failure, and then it is repeated.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "address_map.h"
#include "snapshot.h"
#include "tool.h"

/* What the counters do not say yet when the walk begins. */
#define NEW_ARENAS 64
/* 4 TiB of the smallest: the window of the address map. */
#define ARENAS_MAX ((uint64_t)1 << 24)
#define CHECKS 3

/* Buffers for one arena at a time. */
struct reader {
	struct snapshot *snapshot;
	const struct layout *layout;
	size_t nunits;               /* of an arena */
	char *object;                /* its arena_object */
	uint32_t *words;
	char *headers;
	struct snapshot_unit *units;
	uint64_t map_words, first_unit, map_nunits;
};

/* --- units -------------------------------------------------------------------------------------------------------- */

static bool bit(const char *bits, size_t n)
{
	return (uint8_t)bits[n / 8] >> n % 8 & 1;
}

/* The words of all units, and the headers from the first pool or span to the last. False: gone. */
static bool read_words(struct reader *reader, const struct snapshot_arena *arena)
{
	const struct layout *layout = reader->layout;
	uint64_t unit = (arena->address >> layout->pool_bits) - reader->first_unit;
	size_t first = reader->nunits, end = 0, length = layout->head_units + arena->units;

	if (unit >= reader->map_nunits || length > reader->map_nunits - unit)
		return false;
	memset(reader->words, 0, reader->nunits * sizeof *reader->words);
	if (!target_read(reader->snapshot->target, reader->map_words + unit * sizeof(uint32_t), reader->words,
			 length * sizeof(uint32_t)))
		return false;
	for (size_t i = layout->head_units; i < length; i++) {
		if (reader->words[i] == 0)
			continue;
		first = i < first ? i : first;
		end = i + 1;
	}
	if (first >= end)
		return true;
	return target_read(reader->snapshot->target, arena->address + first * layout->pool_header_nbytes,
			   reader->headers + first * layout->pool_header_nbytes,
			   (end - first) * layout->pool_header_nbytes);
}

static const char *header_of(const struct reader *reader, size_t unit)
{
	return reader->headers + unit * reader->layout->pool_header_nbytes;
}

static bool is_pool(const struct reader *reader, size_t unit)
{
	const struct layout *layout = reader->layout;
	const char *header = header_of(reader, unit);
	uint64_t szidx = word_szidx(reader->words[unit]), count = snapshot_field(header, layout->pool_count);
	const struct snapshot_class *class = &reader->snapshot->classes[szidx];

	return szidx < reader->snapshot->nclasses && snapshot_field(header, layout->pool_szidx) == szidx &&
	       snapshot_field(header, layout->pool_units) == class->units && class->units <= reader->nunits - unit &&
	       snapshot_field(header, layout->pool_capacity) == class->capacity && count <= class->capacity;
}

/* Its header may be older or newer than its word: look again before it counts as damaged. */
static bool is_sound_pool(struct reader *reader, const struct snapshot_arena *arena, size_t unit)
{
	const struct layout *layout = reader->layout;
	uint64_t word_at = reader->map_words + ((arena->address >> layout->pool_bits) - reader->first_unit + unit) * 4;
	uint32_t before = reader->words[unit];

	for (int i = 0; i < CHECKS; i++) {
		if (is_pool(reader, unit))
			return true;
		if (!target_read(reader->snapshot->target, arena->address + unit * layout->pool_header_nbytes,
				 reader->headers + unit * layout->pool_header_nbytes, layout->pool_header_nbytes) ||
		    !target_read(reader->snapshot->target, word_at, &reader->words[unit], sizeof(uint32_t)))
			return false;
		if (reader->words[unit] != before)
			return false; /* it changes now: what it becomes will be seen the next time */
	}
	snapshot_damage(reader->snapshot,
			"the pool at 0x%" PRIx64 ", word 0x%" PRIx32 ", has a header that does not fit",
			arena->address + (unit << layout->pool_bits), before);
	return false;
}

static void add_pool(struct reader *reader, struct snapshot_arena *arena, size_t unit)
{
	struct snapshot *snapshot = reader->snapshot;
	uint32_t owner = word_owner(reader->words[unit]);
	unsigned szidx = word_szidx(reader->words[unit]);
	uint64_t count = snapshot_field(header_of(reader, unit), reader->layout->pool_count);
	struct snapshot_class *class = &snapshot->classes[szidx];

	arena->pools++;
	arena->pool_out += count * class->nbytes;
	class->pools++;
	class->out += count;
	/* Heaps are in the order of their ids, with damaged ones left out. */
	if (owner >= 1 && owner <= snapshot->nheaps && snapshot->heaps[owner - 1].id == owner)
		snapshot->heaps[owner - 1].pools++;
	for (size_t i = 0; i < class->units; i++)
		reader->units[unit + i] = (struct snapshot_unit){ UNIT_POOL, (uint8_t)szidx, i == 0,
								  (uint8_t)(100 * count / class->capacity) };
}

static void add_span(struct reader *reader, struct snapshot_arena *arena, size_t unit)
{
	arena->spans++;
	arena->span_nbytes += snapshot_field(header_of(reader, unit), reader->layout->span_nbytes);
	reader->units[unit] = (struct snapshot_unit){ .kind = UNIT_SPAN, .first = 1 };
	for (size_t i = unit + 1; i < reader->nunits && reader->words[i] == WORD_SPAN_REST; i++)
		reader->units[i] = (struct snapshot_unit){ .kind = UNIT_SPAN };
}

static void read_units(struct reader *reader, struct snapshot_arena *arena)
{
	const struct layout *layout = reader->layout;
	const char *free = reader->object + layout->arena_free.offset;
	const char *dirty = reader->object + layout->arena_dirty.offset;

	for (size_t i = 0; i < reader->nunits; i++) {
		uint8_t kind = i < layout->head_units ? UNIT_HEAD
			       : !bit(free, i)	      ? UNIT_UNKNOWN
			       : bit(dirty, i)	      ? UNIT_DIRTY
						      : UNIT_CLEAN;
		reader->units[i] = (struct snapshot_unit){ .kind = kind };
	}
	for (size_t i = layout->head_units; i < layout->head_units + arena->units; i++) {
		uint32_t word = reader->words[i];

		if (word == WORD_SPAN)
			add_span(reader, arena, i);
		else if (word_is_pool(word) && word_phase(word) == 0 && is_sound_pool(reader, arena, i))
			add_pool(reader, arena, i);
	}
}

/* --- arenas ------------------------------------------------------------------------------------------------------- */

/* What the object says. False: it is not in use, or not sound, which is then said. */
static bool describe(struct reader *reader, uint64_t object, struct snapshot_arena *arena)
{
	const struct layout *layout = reader->layout;

	*arena = (struct snapshot_arena){
		.address = snapshot_field(reader->object, layout->arena_address),
		.node = (uint32_t)snapshot_field(reader->object, layout->arena_node),
		.units = (uint32_t)snapshot_field(reader->object, layout->arena_ntotal),
		.free = (uint32_t)snapshot_field(reader->object, layout->arena_nfree),
		.dirty = (uint32_t)snapshot_field(reader->object, layout->arena_ndirty),
	};
	if (arena->address == 0)
		return false;
	if (arena->units <= reader->nunits - layout->head_units && arena->free <= arena->units &&
	    arena->dirty <= arena->units && arena->node < reader->snapshot->nnodes &&
	    arena->address % ((uint64_t)1 << layout->arena_bits) == 0)
		return true;
	snapshot_damage(reader->snapshot,
			"the arena_object at 0x%" PRIx64 " says address 0x%" PRIx64 ", node %u, %u of %u units free, %u dirty",
			object, arena->address, arena->node, arena->free, arena->units, arena->dirty);
	return false;
}

static void add_arena(struct reader *reader, const struct snapshot_arena *arena)
{
	struct snapshot *snapshot = reader->snapshot;
	struct snapshot_node *node = &snapshot->nodes[arena->node];
	unsigned bits = (unsigned)reader->layout->pool_bits;

	if ((snapshot->narenas & (snapshot->narenas - 1)) == 0) {
		size_t room = snapshot->narenas ? 2 * snapshot->narenas : 1;

		snapshot->arenas = realloc(snapshot->arenas, room * sizeof *snapshot->arenas);
		if (!snapshot->arenas)
			tool_fail(TOOL_FAILED, "no memory");
	}
	snapshot->arenas[snapshot->narenas++] = *arena;
	uint32_t dirty = arena->dirty < arena->free ? arena->dirty : arena->free;
	node->arenas++;
	node->used += (uint64_t)(arena->units - arena->free) << bits;
	node->dirty += (uint64_t)dirty << bits;
	node->clean += (uint64_t)(arena->free - dirty) << bits;
}

static void read_arena(struct reader *reader, uint64_t object)
{
	struct snapshot *snapshot = reader->snapshot;
	struct snapshot_arena arena;

	if (!describe(reader, object, &arena))
		return;
	if (!read_words(reader, &arena)) {
		snapshot_damage(snapshot, "the arena at 0x%" PRIx64 " cannot be read", arena.address);
		return;
	}
	read_units(reader, &arena);
	add_arena(reader, &arena);
	if (arena.address == snapshot->map_of) {
		snapshot->nunits = reader->layout->head_units + arena.units;
		memcpy(snapshot->units, reader->units, snapshot->nunits * sizeof *snapshot->units);
	}
}

/* --- the list ----------------------------------------------------------------------------------------------------- */

static int by_address(const void *a, const void *b)
{
	uint64_t left = ((const struct snapshot_arena *)a)->address;
	uint64_t right = ((const struct snapshot_arena *)b)->address;

	return left < right ? -1 : left > right;
}

/* Sort, and say whether one was met twice. */
static bool sort(struct snapshot *snapshot)
{
	bool twice = false;

	if (snapshot->narenas > 1)
		qsort(snapshot->arenas, snapshot->narenas, sizeof *snapshot->arenas, by_address);
	for (size_t i = 1; i < snapshot->narenas; i++)
		twice |= snapshot->arenas[i].address == snapshot->arenas[i - 1].address;
	return twice;
}

/* From link to link until the head is met again. False: it was not. */
static bool follow(struct reader *reader, uint64_t limit, char *why, size_t size)
{
	static const struct layout_field link_field = { 0, sizeof(uint64_t) };
	const struct layout *layout = reader->layout;
	uint64_t head = (uintptr_t)layout->arenas_head,
		 link = snapshot_number(reader->snapshot, layout->arenas_head, link_field);
	uint64_t waiting = 0; /* Brent: a link that was met waits for a power of two of steps to be met again */

	for (uint64_t n = 0; link != head; n++) {
		uint64_t object = link - layout->arena_link.offset;

		if (n > limit || link == waiting) {
			snprintf(why, size, "the list of arenas runs in a circle, or has more than %" PRIu64 " members",
				 limit);
			return false;
		}
		if ((n & (n - 1)) == 0)
			waiting = link;
		if (link % sizeof(void *) != 0 ||
		    !target_read(reader->snapshot->target, object, reader->object, layout->arena_object_nbytes)) {
			snprintf(why, size, "the list of arenas leads to 0x%" PRIx64, object);
			return false;
		}
		read_arena(reader, object);
		struct layout_field next = { layout->arena_link.offset, sizeof(uint64_t) };
		link = snapshot_field(reader->object, next);
	}
	return true;
}

static bool open_reader(struct reader *reader, struct snapshot *snapshot)
{
	const struct layout *layout = snapshot->layout;
	size_t nunits = image_arena_units(layout);

	*reader = (struct reader){
		.snapshot = snapshot,
		.layout = layout,
		.nunits = nunits,
		.object = malloc(layout->arena_object_nbytes),
		.words = malloc(nunits * sizeof(uint32_t)),
		.headers = malloc(nunits * layout->pool_header_nbytes),
		.units = malloc(nunits * sizeof *reader->units),
		.map_words = snapshot_number(snapshot, layout->address_map, layout->map_words),
		.first_unit = snapshot_number(snapshot, layout->address_map, layout->map_first_unit),
		.map_nunits = snapshot_number(snapshot, layout->address_map, layout->map_nunits),
	};
	if (!snapshot->units)
		snapshot->units = malloc(nunits * sizeof *snapshot->units);
	return reader->object && reader->words && reader->headers && reader->units && snapshot->units;
}

bool snapshot_arenas(struct snapshot *snapshot, bool last)
{
	const struct layout *layout = snapshot->layout;
	uint64_t mapped = snapshot_number(snapshot, layout->arena_counters, layout->arenas_mapped);
	uint64_t retired = snapshot_number(snapshot, layout->arena_counters, layout->arenas_retired);
	uint64_t limit = mapped >= retired && mapped - retired < ARENAS_MAX ? mapped - retired + NEW_ARENAS
									    : ARENAS_MAX;
	struct reader reader;
	char why[160] = "";

	snapshot->narenas = snapshot->nunits = 0;
	if (!open_reader(&reader, snapshot))
		tool_fail(TOOL_FAILED, "no memory");
	bool whole = follow(&reader, limit, why, sizeof why);
	if (sort(snapshot) && whole) {
		whole = false;
		snprintf(why, sizeof why, "the list of arenas has one of them twice");
	}
	if (!whole && last)
		snapshot_damage(snapshot, "%s", why);
	free(reader.object);
	free(reader.words);
	free(reader.headers);
	free(reader.units);
	return whole || last;
}
