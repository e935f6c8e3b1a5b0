/* SPDX-License-Identifier: MIT */
/*
 * Profile as pprof's protocol buffer: message Profile of profile.proto, without compression, which its readers accept.
 * A field is a key, number << 3 | wire type, and its contents: 0 a varint, 2 a length and so many bytes.
 */
#include "profile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Fields of the messages, by their numbers in profile.proto. */
enum { PROFILE_SAMPLE_TYPE = 1, PROFILE_SAMPLE, PROFILE_MAPPING, PROFILE_LOCATION, PROFILE_FUNCTION, PROFILE_STRING,
       PROFILE_TIME = 9, PROFILE_DURATION, PROFILE_PERIOD_TYPE, PROFILE_PERIOD, PROFILE_DEFAULT_TYPE = 14 };
enum { TYPE_TYPE = 1, TYPE_UNIT };
enum { SAMPLE_LOCATION = 1, SAMPLE_VALUE, SAMPLE_LABEL };
enum { LABEL_KEY = 1, LABEL_TEXT };
enum { MAPPING_ID = 1, MAPPING_START, MAPPING_LIMIT, MAPPING_OFFSET, MAPPING_FILE, MAPPING_HAS_FUNCTIONS = 7 };
enum { LOCATION_ID = 1, LOCATION_MAPPING, LOCATION_ADDRESS, LOCATION_LINE };
enum { LINE_FUNCTION = 1, LINE_LINE };
enum { FUNCTION_ID = 1, FUNCTION_NAME, FUNCTION_SYSTEM_NAME, FUNCTION_FILE };

struct buffer {
	char *data;
	size_t used, room;
};

/* Texts by number, found by hash. */
struct strings {
	const char **list;
	size_t n;
	uint32_t *table; /* number + 1, or 0 */
	size_t size;     /* a power of two, more than twice n */
};

/* --- wire --------------------------------------------------------------------------------------------------------- */

static void put(struct buffer *buffer, const void *data, size_t nbytes)
{
	if (buffer->room - buffer->used < nbytes) {
		buffer->room = 2 * (buffer->used + nbytes);
		buffer->data = profile_room(buffer->data, buffer->room);
	}
	if (nbytes > 0)
		memcpy(buffer->data + buffer->used, data, nbytes);
	buffer->used += nbytes;
}

static void put_varint(struct buffer *buffer, uint64_t value)
{
	unsigned char bytes[10];
	size_t n = 0;

	do {
		bytes[n++] = (unsigned char)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
		value >>= 7;
	} while (value > 0);
	put(buffer, bytes, n);
}

/* A number; 0 is what a missing one means. */
static void put_number(struct buffer *buffer, unsigned field, uint64_t value)
{
	if (value == 0)
		return;
	put_varint(buffer, field << 3);
	put_varint(buffer, value);
}

static void put_bytes(struct buffer *buffer, unsigned field, const void *data, size_t nbytes)
{
	put_varint(buffer, field << 3 | 2);
	put_varint(buffer, nbytes);
	put(buffer, data, nbytes);
}

/* A message that was put together apart, which is empty again after that. */
static void put_message(struct buffer *buffer, unsigned field, struct buffer *message)
{
	put_bytes(buffer, field, message->data, message->used);
	message->used = 0;
}

/* --- strings ------------------------------------------------------------------------------------------------------ */

static size_t slot_of(const struct strings *strings, const char *text)
{
	uint64_t hash = 14695981039346656037u; /* FNV-1a */
	size_t slot;

	for (const char *c = text; *c; c++)
		hash = (hash ^ (unsigned char)*c) * 1099511628211u;
	for (slot = hash & (strings->size - 1); strings->table[slot]; slot = (slot + 1) & (strings->size - 1)) {
		if (strcmp(strings->list[strings->table[slot] - 1], text) == 0)
			break;
	}
	return slot;
}

static void grow(struct strings *strings)
{
	strings->size = strings->size ? 2 * strings->size : 64;
	strings->list = profile_room(strings->list, strings->size * sizeof *strings->list);
	strings->table = profile_room(strings->table, strings->size * sizeof *strings->table);
	memset(strings->table, 0, strings->size * sizeof *strings->table);
	for (size_t i = 0; i < strings->n; i++)
		strings->table[slot_of(strings, strings->list[i])] = (uint32_t)i + 1;
}

/* The text stays the caller's. */
static uint64_t number_of(struct strings *strings, const char *text)
{
	size_t slot;

	if (2 * strings->n >= strings->size)
		grow(strings);
	slot = slot_of(strings, text ? text : "");
	if (strings->table[slot] == 0) {
		strings->list[strings->n] = text ? text : "";
		strings->table[slot] = (uint32_t)++strings->n;
	}
	return strings->table[slot] - 1;
}

/* --- messages ----------------------------------------------------------------------------------------------------- */

static void put_type(struct buffer *out, struct strings *strings, unsigned field, const char *type, const char *unit)
{
	struct buffer message = { .data = NULL };

	put_number(&message, TYPE_TYPE, number_of(strings, type));
	put_number(&message, TYPE_UNIT, number_of(strings, unit));
	put_message(out, field, &message);
	free(message.data);
}

static void put_samples(struct buffer *out, const struct profile *profile, struct strings *strings)
{
	struct buffer message = { .data = NULL }, packed = { .data = NULL };

	for (size_t i = 0; i < profile->nstacks; i++) {
		const struct profile_stack *stack = &profile->stacks[i];

		for (size_t frame = 0; frame < stack->nframes; frame++)
			put_varint(&packed, stack->places[frame] + 1u);
		put_message(&message, SAMPLE_LOCATION, &packed);
		for (int value = 0; value < PROFILE_VALUES; value++)
			put_varint(&packed, stack->values[value]);
		put_message(&message, SAMPLE_VALUE, &packed);
		if (stack->label_key) {
			put_number(&packed, LABEL_KEY, number_of(strings, stack->label_key));
			put_number(&packed, LABEL_TEXT, number_of(strings, stack->label));
			put_message(&message, SAMPLE_LABEL, &packed);
		}
		put_message(out, PROFILE_SAMPLE, &message);
	}
	free(message.data);
	free(packed.data);
}

static void put_mappings(struct buffer *out, const struct profile *profile, struct strings *strings)
{
	struct buffer message = { .data = NULL };

	for (size_t i = 0; i < profile->target.nmappings; i++) {
		const struct mapping *mapping = &profile->target.mappings[i];

		put_number(&message, MAPPING_ID, i + 1);
		put_number(&message, MAPPING_START, mapping->start);
		put_number(&message, MAPPING_LIMIT, mapping->end);
		put_number(&message, MAPPING_OFFSET, mapping->offset);
		put_number(&message, MAPPING_FILE, number_of(strings, mapping->path));
		put_number(&message, MAPPING_HAS_FUNCTIONS, 1);
		put_message(out, PROFILE_MAPPING, &message);
	}
	free(message.data);
}

/* A function is its symbol and file: both numbers in one key. */
struct function {
	uint64_t symbol, file;
};

static uint64_t find_function(const struct function *functions, size_t n, struct function wanted)
{
	for (size_t i = n; i > 0; i--) {
		if (functions[i - 1].symbol == wanted.symbol && functions[i - 1].file == wanted.file)
			return i;
	}
	return 0;
}

static void put_function(struct buffer *out, struct strings *strings, const struct profile_location *location,
			 uint64_t id)
{
	struct buffer message = { .data = NULL };

	put_number(&message, FUNCTION_ID, id);
	put_number(&message, FUNCTION_NAME, number_of(strings, location->name));
	put_number(&message, FUNCTION_SYSTEM_NAME, number_of(strings, location->symbol));
	put_number(&message, FUNCTION_FILE, number_of(strings, location->file));
	put_message(out, PROFILE_FUNCTION, &message);
	free(message.data);
}

/* Locations of one function are neighbours, mostly, so it is looked for from the end. */
static void put_locations(struct buffer *out, const struct profile *profile, struct strings *strings)
{
	struct buffer message = { .data = NULL }, line = { .data = NULL };
	struct function *functions = profile_room(NULL, profile->nlocations * sizeof *functions);
	size_t nfunctions = 0;

	for (size_t i = 0; i < profile->nlocations; i++) {
		const struct profile_location *location = &profile->locations[i];
		struct function function = { number_of(strings, location->symbol), number_of(strings, location->file) };
		uint64_t id = find_function(functions, nfunctions, function);

		if (id == 0) {
			functions[nfunctions++] = function;
			id = nfunctions;
			put_function(out, strings, location, id);
		}
		put_number(&line, LINE_FUNCTION, id);
		put_number(&line, LINE_LINE, (uint64_t)location->line);
		put_number(&message, LOCATION_ID, i + 1);
		put_number(&message, LOCATION_MAPPING, (uint64_t)(location->mapping + 1));
		put_number(&message, LOCATION_ADDRESS, location->address);
		put_message(&message, LOCATION_LINE, &line);
		put_message(out, PROFILE_LOCATION, &message);
	}
	free(functions);
	free(message.data);
	free(line.data);
}

static bool write_out(const struct buffer *buffer, const char *path)
{
	FILE *file = fopen(path, "we");
	bool written = file && fwrite(buffer->data, 1, buffer->used, file) == buffer->used;

	return file && fclose(file) == 0 && written;
}

bool profile_write_pprof(const struct profile *profile, const char *path)
{
	struct strings strings = { .list = NULL };
	struct buffer out = { .data = NULL };
	bool written;

	number_of(&strings, ""); /* string 0 is empty, always */
	put_type(&out, &strings, PROFILE_SAMPLE_TYPE, "alloc_objects", "count");
	put_type(&out, &strings, PROFILE_SAMPLE_TYPE, "alloc_space", "bytes");
	put_type(&out, &strings, PROFILE_SAMPLE_TYPE, "inuse_objects", "count");
	put_type(&out, &strings, PROFILE_SAMPLE_TYPE, "inuse_space", "bytes");
	put_samples(&out, profile, &strings);
	put_mappings(&out, profile, &strings);
	put_locations(&out, profile, &strings);
	put_number(&out, PROFILE_TIME, (uint64_t)profile->time_ns);
	put_number(&out, PROFILE_DURATION, (uint64_t)profile->duration_ns);
	put_type(&out, &strings, PROFILE_PERIOD_TYPE, "space", "bytes");
	put_number(&out, PROFILE_PERIOD, profile->mean);
	put_number(&out, PROFILE_DEFAULT_TYPE, number_of(&strings, "inuse_space"));
	for (size_t i = 0; i < strings.n; i++)
		put_bytes(&out, PROFILE_STRING, strings.list[i], strlen(strings.list[i]));
	written = write_out(&out, path);
	int saved = errno;
	free(strings.list);
	free(strings.table);
	free(out.data);
	errno = saved;
	return written;
}
