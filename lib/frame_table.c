/* SPDX-License-Identifier: MIT */
/*
 * Frame table: see frame_table.h.
 */
#include "frame_table.h"

#include <dlfcn.h>
#include <link.h>
#include <string.h>

/* The index is sorted by address: where code begins and where its entry is, both relative to the index. */
struct table_pair {
	int32_t start, entry;
};

/* --- numbers ------------------------------------------------------------------------------------------------------ */

uintptr_t table_unsigned_long(const uint8_t **at)
{
	uintptr_t value = 0;
	for (unsigned shift = 0;; shift += 7) {
		uint8_t byte = *(*at)++;
		if (shift < 64)
			value |= (uintptr_t)(byte & 0x7f) << shift;
		if ((byte & 0x80) == 0)
			return value;
	}
}

intptr_t table_signed(const uint8_t **at)
{
	uintptr_t value = 0;
	for (unsigned shift = 0;;) {
		uint8_t byte = *(*at)++;
		if (shift < 64)
			value |= (uintptr_t)(byte & 0x7f) << shift;
		shift += 7;
		if ((byte & 0x80) != 0)
			continue;
		return (intptr_t)(byte & 0x40 && shift < 64 ? value | ~(uintptr_t)0 << shift : value);
	}
}

uint32_t table_u32(const uint8_t **at)
{
	uint32_t value;
	memcpy(&value, *at, sizeof(value));
	*at += sizeof(value);
	return value;
}

static uint64_t read_u64(const uint8_t **at)
{
	uint64_t value;
	memcpy(&value, *at, sizeof(value));
	*at += sizeof(value);
	return value;
}

/* An encoded number: absolute or relative to where it stands. False: in another way. */
static bool read_encoded(const uint8_t **at, uint8_t encoding, uintptr_t *value)
{
	uintptr_t base = (encoding & 0x70) == 0x10 ? (uintptr_t)*at : 0;
	if ((encoding & 0x70) != 0 && (encoding & 0x70) != 0x10)
		return false;
	switch (encoding & 0x8f) {
	case 0x00:
	case 0x04:
	case 0x0c:
		*value = base + read_u64(at);
		return true;
	case 0x03:
		*value = base + table_u32(at);
		return true;
	case 0x0b:
		*value = base + (uintptr_t)(intptr_t)(int32_t)table_u32(at);
		return true;
	default:
		return false;
	}
}

/* --- objects ------------------------------------------------------------------------------------------------------ */

/* What is compared of a library's file: its headers, and the build ID behind them. */
#define FILE_NBYTES 1024

/* The program itself stays. A library may make place for another one, with an index like its own: its first page, which
 * is readable in every file that linkers make, then differs by the build ID, or by sizes where there is none. */
static uint64_t identity_of(const struct table_object *object, bool is_program)
{
	const uint64_t *words = (const void *)object->start;
	uint64_t last, hash;
	memcpy(&last, &object->pairs[object->npairs - 1], sizeof(last));
	hash = (uintptr_t)object->header ^ (uint64_t)object->npairs << 48 ^ last;
	for (size_t i = 0; !is_program && i < FILE_NBYTES / sizeof(*words); i++)
		hash = (hash ^ words[i]) * UINT64_C(0xff51afd7ed558ccd);
	return hash;
}

bool table_object(uintptr_t pc, struct table_object *object)
{
	struct dl_find_object found;
	if (_dl_find_object((void *)pc, &found) != 0 || found.dlfo_eh_frame == NULL)
		return false;
	const uint8_t *header = found.dlfo_eh_frame, *at = header + 4;
	uintptr_t ignored;
	if (header[0] != 1 || header[3] != 0x3b || !read_encoded(&at, header[1], &ignored) ||
	    !read_encoded(&at, header[2], &object->npairs) || object->npairs == 0)
		return false;
	object->start = (uintptr_t)found.dlfo_map_start;
	object->nbytes = (uintptr_t)found.dlfo_map_end - object->start;
	object->header = header;
	object->pairs = (const void *)at;
	object->identity = identity_of(object, found.dlfo_link_map->l_name[0] == 0);
	return true;
}

/* --- entries ------------------------------------------------------------------------------------------------------ */

static const uint8_t *find_entry(const struct table_object *object, uintptr_t pc)
{
	const struct table_pair *pairs = object->pairs;
	intptr_t wanted = (intptr_t)(pc - (uintptr_t)object->header);
	size_t low = 0, high = object->npairs; /* pairs[low].start <= wanted < pairs[high].start, if any is */
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;
		if (pairs[middle].start <= wanted)
			low = middle;
		else
			high = middle;
	}
	return pairs[low].start <= wanted ? object->header + pairs[low].entry : NULL;
}

/* A common entry: "zR" and the like say how addresses are written, 'S' that the frame is a signal's. */
static bool read_common(const uint8_t *at, struct table_entry *entry)
{
	uint32_t length = table_u32(&at);
	const uint8_t *end = at + length;
	uintptr_t ignored;
	at += 4; /* the mark of a common entry */
	unsigned version = *at++;
	const char *letters = (const char *)at;
	at += strlen(letters) + 1;
	entry->code_align = table_unsigned(&at);
	entry->data_align = table_signed(&at);
	if (version != 1 && version != 3)
		return false;
	if ((version == 1 ? *at++ : table_unsigned(&at)) != REG_RA)
		return false;
	entry->encoding = 0;
	entry->augmented = letters[0] == 'z';
	if (letters[0] != 'z' && letters[0] != 0)
		return false;
	const uint8_t *initial = at;
	if (entry->augmented) {
		uintptr_t nbytes = table_unsigned(&at);
		initial = at + nbytes;
	}
	for (const char *letter = letters + entry->augmented; *letter != 0; letter++) {
		uint8_t encoding = *letter == 'R' || *letter == 'P' || *letter == 'L' ? *at++ : 0;
		if (*letter == 'R')
			entry->encoding = encoding;
		else if (*letter == 'P' && !read_encoded(&at, encoding & 0x7f, &ignored))
			return false;
		else if (*letter == 'S')
			entry->is_signal = true;
	}
	entry->initial = initial;
	entry->initial_end = end;
	return true;
}

bool table_entry(const struct table_object *object, uintptr_t pc, struct table_entry *entry)
{
	const uint8_t *at = find_entry(object, pc);
	if (at == NULL)
		return false;
	uint32_t nbytes = table_u32(&at);
	const uint8_t *end = at + nbytes, *place = at;
	uint32_t distance = table_u32(&at);
	*entry = (struct table_entry){.program_end = end};
	if (nbytes == 0 || nbytes == UINT32_MAX || distance == 0 || !read_common(place - distance, entry) ||
	    !read_encoded(&at, entry->encoding, &entry->start) ||
	    !read_encoded(&at, entry->encoding & 0x0f, &entry->nbytes))
		return false;
	if (entry->augmented) {
		uintptr_t augmentation = table_unsigned(&at);
		at += augmentation;
	}
	entry->program = at;
	return pc - entry->start < entry->nbytes;
}
