/* SPDX-License-Identifier: MIT */
/*
 * Fuzzer: the layout and the records that quarry stat reads from another process (tools/image.c, tools/snapshot.c). The
 * process is this one; an input is a list of changes to what of it is read, each 16 bytes: place, offset, kind, value.
 * Whatever is read, the reader ends, and without a change it finds nothing damaged.
 *
 * The linker puts the changes behind target_read (--wrap); memory itself stays as it is.
 */
#include "fuzz.h"

#include <string.h>

#include "../../tools/snapshot.h"
#include "arena_list.h"
#include "heap.h"
#include "quarry/quarry.h"

#define NBLOCKS 4000
#define NPLACES 32
#define NCHANGES 24
#define CHANGE_NBYTES 16

/* What a reader looks at. */
static struct place {
	uintptr_t start;
	size_t nbytes;
} places[NPLACES];
static size_t nplaces;

static struct change {
	uint64_t address;
	size_t nbytes;
	uint64_t value;
} changes[NCHANGES];
static size_t nchanges;

bool __real_target_read(const struct target *target, uint64_t address, void *buffer, size_t nbytes);
bool __wrap_target_read(const struct target *target, uint64_t address, void *buffer, size_t nbytes);
bool __wrap_target_read(const struct target *target, uint64_t address, void *buffer, size_t nbytes)
{
	if (!__real_target_read(target, address, buffer, nbytes))
		return false;
	for (size_t i = 0; i < nchanges; i++)
		for (size_t k = 0; k < changes[i].nbytes; k++) {
			uint64_t at = changes[i].address + k - address;
			if (at < nbytes)
				((uint8_t *)buffer)[at] = (uint8_t)(changes[i].value >> 8 * k);
		}
	return true;
}

static void add_place(const void *start, size_t nbytes)
{
	if (nplaces < NPLACES)
		places[nplaces++] = (struct place){ (uintptr_t)start, nbytes };
}

static void find_places(void)
{
	const struct layout *layout = (const struct layout *)(uintptr_t)&quarry_layout;

	add_place(layout, sizeof *layout);
	add_place(size_classes, sizeof(struct size_class) * NB_SIZE_CLASSES);
	add_place(&address_map, sizeof address_map);
	add_place(&arena_list_counters, sizeof arena_list_counters);
	add_place((void *)(uintptr_t)layout->heap_directory, sizeof(void *));
	add_place((void *)(uintptr_t)layout->heap_count, sizeof(uint32_t));
	add_place((void *)(uintptr_t)layout->arenas_head, 2 * sizeof(void *));
	add_place((void *)(uintptr_t)layout->topology, sizeof(void *));
	add_place(*(void **)(uintptr_t)layout->heap_directory, 4 * sizeof(void *));
	for (struct heap *heap = heap_first(); heap; heap = heap_next(heap))
		add_place(heap, sizeof *heap);
	for (struct arena_object *arena = arena_list_first(); arena; arena = arena_list_next(arena)) {
		add_place(arena, sizeof *arena);
		add_place(arena->address, ARENA_HEAD_NBYTES);
		add_place(&address_map.words[((uintptr_t)arena->address >> QUARRY_POOL_BITS) - address_map.first_unit],
			  ARENA_UNITS * sizeof(uint32_t));
	}
}

/* Some of everything, half of it freed. */
static void fill_heap(void)
{
	static void *blocks[NBLOCKS];

	for (size_t i = 0; i < NBLOCKS; i++) {
		blocks[i] = quarry_malloc(i % 100 == 0 ? 50000 : i * 7 % 3000);
		EXPECT(blocks[i] != NULL);
	}
	for (size_t i = 0; i < NBLOCKS; i += 2)
		quarry_free(blocks[i]);
	EXPECT(quarry_malloc((size_t)32 << 20) != NULL);
}

/* A value as it is, or the address of a place. */
static void take_changes(const uint8_t *data, size_t size)
{
	static const uint8_t widths[] = { 1, 2, 4, 8 };

	for (nchanges = 0; nchanges < NCHANGES && size >= CHANGE_NBYTES; data += CHANGE_NBYTES, size -= CHANGE_NBYTES) {
		struct place place = places[data[0] % nplaces];
		uint32_t offset;
		uint64_t value;
		memcpy(&offset, data + 2, sizeof offset);
		memcpy(&value, data + 8, sizeof value);
		if (data[1] & 4)
			value = places[value % nplaces].start + (value >> 32) % 4096;
		changes[nchanges++] = (struct change){ place.start + offset % place.nbytes, widths[data[1] % 4], value };
	}
}

static void look(const struct image *image, struct target *target)
{
	struct snapshot snapshot = { .map_of = (uintptr_t)arena_list_first()->address };

	if (snapshot_take(&snapshot, target, &image->layout))
		EXPECT(nchanges > 0 || snapshot.ndamage == 0);
	else
		EXPECT(nchanges > 0 && target->error[0] != 0);
	snapshot_free(&snapshot);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct target target;
	struct image images[IMAGES_MAX];

	if (nplaces == 0) {
		fill_heap();
		find_places();
		EXPECT(target_open_process(&target, getpid()));
	}
	take_changes(data, size);
	size_t nimages = image_find(&target, images);
	EXPECT(nimages > 0 || (nchanges > 0 && target.error[0] != 0));
	for (size_t i = 0; i < nimages; i++)
		look(&images[i], &target);
	return 0;
}
