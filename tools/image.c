/* SPDX-License-Identifier: MIT */
/*
 * Image: see image.h.
 */
#include "image.h"

#include <elf.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SEGMENTS 256
#define MAX_NOTES_NBYTES ((size_t)64 << 10)

/* --- checking ----------------------------------------------------------------------------------------------------- */

/* Bytes of a record of the type that lib/layout.h names. */
static uint64_t record_nbytes(const struct layout *layout, const char *type)
{
	const struct {
		const char *type;
		uint64_t nbytes;
	} records[] = {
		{ "struct heap", layout->heap_nbytes },
		{ "struct arena_object", layout->arena_object_nbytes },
		{ "struct pool_header", layout->pool_header_nbytes },
		{ "struct size_class", layout->size_class_nbytes },
		{ "struct outbox", layout->outbox_record_nbytes },
		{ "struct cache_class", layout->cache_class_nbytes },
		{ "struct topology_node", layout->topology_node_nbytes },
		{ "struct sample_stack", layout->sample_stack_nbytes },
	};

	for (size_t i = 0; i < sizeof records / sizeof records[0]; i++) {
		if (strcmp(type, records[i].type) == 0)
			return records[i].nbytes;
	}
	return 4096; /* a single record of few members */
}

/* Bytes of a member that is an array; 0 for a number. */
static uint64_t array_nbytes(const struct layout *layout, const char *name)
{
	const struct {
		const char *name;
		uint64_t nbytes;
	} arrays[] = {
		{ "heap_heads", layout->nclasses * sizeof(void *) },
		{ "heap_rooms", layout->nclasses * sizeof(int32_t) },
		{ "heap_bounds", layout->nclasses * sizeof(uint32_t) },
		{ "heap_classes", layout->nclasses * layout->cache_class_nbytes },
		{ "heap_outboxes", layout->noutboxes * layout->outbox_record_nbytes },
		{ "arena_link", 2 * sizeof(void *) },
		{ "arena_free", image_arena_units(layout) / 8 },
		{ "arena_dirty", image_arena_units(layout) / 8 },
	};

	for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) {
		if (strcmp(name, arrays[i].name) == 0)
			return arrays[i].nbytes;
	}
	return 0;
}

static bool is_field(const struct layout *layout, const char *name, const char *type, struct layout_field field)
{
	uint64_t array = array_nbytes(layout, name), record = record_nbytes(layout, type);
	bool number = field.nbytes == 1 || field.nbytes == 2 || field.nbytes == 4 || field.nbytes == 8;

	return (array ? field.nbytes == array : number) && field.nbytes <= record &&
	       field.offset <= record - field.nbytes;
}

static bool in_range(uint64_t number, uint64_t least, uint64_t most)
{
	return number >= least && number <= most;
}

/* What is not within these bounds is no Quarry's; the numbers that sizes are computed from come first. */
static const char *unsound(const struct layout *layout)
{
	if (!in_range(layout->pool_bits, 12, 16) || !in_range(layout->arena_bits, 18, 30) ||
	    layout->arena_bits < layout->pool_bits + 6)
		return "arena_bits";
	if (!in_range(layout->nclasses, 1, 255))
		return "nclasses";
	if (!in_range(layout->head_units, 1, image_arena_units(layout) - 1) ||
	    !in_range(layout->pool_header_nbytes, 16, 4096))
		return "pool_header_nbytes";
	if (!in_range(layout->noutboxes, 1, 4096) || !in_range(layout->outbox_nbytes, 1, 1 << 30) ||
	    !in_range(layout->heaps_per_chunk, 1, 65536))
		return "heaps_per_chunk";
	if (!in_range(layout->size_class_nbytes, 4, 4096) || !in_range(layout->outbox_record_nbytes, 8, 4096) ||
	    !in_range(layout->cache_class_nbytes, 1, 4096) || !in_range(layout->topology_node_nbytes, 4, 4096) ||
	    !in_range(layout->heap_nbytes, 64, 1 << 20) || !in_range(layout->arena_object_nbytes, 64, 1 << 21))
		return "heap_nbytes";
	if (!in_range(layout->sample_block_bits, 0, 32) || !in_range(layout->sample_stacks_most, 1, 1 << 24) ||
	    !in_range(layout->sample_frames_most, 1, 4096) || !in_range(layout->sample_stack_nbytes, 8, 4096))
		return "sample_stack_nbytes";
	if (!in_range(layout->sample_label_nbytes, 1, 256) ||
	    layout->stack_label.offset + layout->sample_label_nbytes > layout->sample_stack_nbytes)
		return "sample_label_nbytes";
#define CHECK(name, type, member)                                                                                      \
	if (!is_field(layout, #name, #type, layout->name))                                                             \
		return #name;
	LAYOUT_FIELDS(CHECK)
	return NULL;
}

static bool check(struct target *target, struct image *image)
{
	struct layout *layout = &image->layout;
	const char *wrong;

	if (!target_read(target, image->address, layout, offsetof(struct layout, library)))
		return target_error(target, "%s: its layout cannot be read at 0x%llx", image->path,
				    (unsigned long long)image->address);
	if (memcmp(layout->magic, LAYOUT_MAGIC, sizeof layout->magic) != 0)
		return target_error(target, "%s: damaged: no layout at 0x%llx", image->path,
				    (unsigned long long)image->address);
	if (layout->version != LAYOUT_VERSION || layout->nbytes != sizeof *layout)
		return target_error(target,
				    "%s is of another version: its layout is %u (%u bytes), this command reads %u (%zu bytes); "
				    "use the quarry command that came with it",
				    image->path, layout->version, layout->nbytes, LAYOUT_VERSION, sizeof *layout);
	if (!target_read(target, image->address, layout, sizeof *layout))
		return target_error(target, "%s: damaged: its layout is cut off", image->path);
	layout->library[sizeof layout->library - 1] = 0;
	wrong = unsound(layout);
	return wrong ? target_error(target, "%s: damaged: %s of its layout makes no sense", image->path, wrong) : true;
}

/* --- finding ------------------------------------------------------------------------------------------------------ */

/* Where the note at notes[0..nbytes), which lie at address, says that the layout is; 0: nowhere. */
static uint64_t note_in(const char *notes, size_t nbytes, uint64_t address, size_t alignment)
{
	size_t mask = alignment == 8 ? 7 : 3, at = 0;
	ElfW(Nhdr) header;
	int32_t distance;

	while (nbytes - at >= sizeof header) {
		memcpy(&header, notes + at, sizeof header);
		at += sizeof header;
		size_t name = ((size_t)header.n_namesz + 3) & ~(size_t)3, contents = at + name;
		size_t end = contents + (((size_t)header.n_descsz + mask) & ~mask);

		if (name > nbytes - at || end < contents || end > nbytes)
			return 0;
		if (header.n_namesz == sizeof "Quarry" && memcmp(notes + at, "Quarry", sizeof "Quarry") == 0 &&
		    header.n_type == LAYOUT_NOTE && header.n_descsz == sizeof distance) {
			memcpy(&distance, notes + contents, sizeof distance);
			return address + contents + (uint64_t)(int64_t)distance;
		}
		at = end;
	}
	return 0;
}

static uint64_t find_note(const struct target *target, uint64_t start, const ElfW(Phdr) *segments, size_t nsegments)
{
	static char notes[MAX_NOTES_NBYTES];
	uint64_t layout = 0, bias = start;

	for (size_t i = 0; i < nsegments; i++) {
		if (segments[i].p_type == PT_LOAD && segments[i].p_offset == 0)
			bias = start - segments[i].p_vaddr;
	}
	for (size_t i = 0; i < nsegments && layout == 0; i++) {
		if (segments[i].p_type == PT_NOTE && segments[i].p_memsz <= sizeof notes &&
		    target_read(target, bias + segments[i].p_vaddr, notes, segments[i].p_memsz))
			layout = note_in(notes, segments[i].p_memsz, bias + segments[i].p_vaddr, segments[i].p_align);
	}
	return layout;
}

/* A library or program whose ELF header is mapped at start; 0: it has no note of Quarry's. */
static uint64_t find_layout(const struct target *target, uint64_t start)
{
	ElfW(Ehdr) header;
	ElfW(Phdr) segments[MAX_SEGMENTS];

	if (!target_read(target, start, &header, sizeof header) || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
	    header.e_ident[EI_CLASS] != (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32) ||
	    header.e_phentsize != sizeof segments[0] || header.e_phnum > MAX_SEGMENTS ||
	    !target_read(target, start + header.e_phoff, segments, header.e_phnum * sizeof segments[0]))
		return 0;
	return find_note(target, start, segments, header.e_phnum);
}

static bool has_library_mapped(const struct target *target)
{
	for (size_t i = 0; i < target->nmappings; i++) {
		if (strstr(target->mappings[i].path, "/libquarry"))
			return true;
	}
	return false;
}

size_t image_find(struct target *target, struct image images[IMAGES_MAX])
{
	size_t nimages = 0;

	target->error[0] = 0;
	for (size_t i = 0; i < target->nmappings && nimages < IMAGES_MAX; i++) {
		const struct mapping *mapping = &target->mappings[i];
		struct image *image = &images[nimages];

		if (!mapping->readable || mapping->offset != 0 || mapping->path[0] != '/')
			continue;
		*image = (struct image){ .path = mapping->path, .address = find_layout(target, mapping->start) };
		if (image->address != 0 && check(target, image))
			nimages++;
	}
	if (nimages == 0 && !target->error[0] && !target_is_alive(target))
		target_error(target, "process %d has ended", (int)target->pid);
	if (nimages == 0 && !target->error[0])
		target_error(target, has_library_mapped(target)
					     ? "%s runs on a Quarry that tells no layout: an older one, or damaged"
					     : "%s does not run on Quarry",
			     target->command[0] ? target->command : "the process");
	return nimages;
}
