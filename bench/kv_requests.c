/* SPDX-License-Identifier: MIT */
/*
 * The requests of kv_requests.h. Sizes of values follow from key and version as well, with the skew of real caches: six
 * in ten below 128 bytes, three below 1 KiB, the rest up to 64 KiB.
 */
#include "kv_requests.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define APPEND_LIMIT 65536 /* a string that would grow beyond is set anew */
#define MULTI 4            /* keys of one MGET or MSET */

static const char *const type_names[] = { "string", "list", "hash", "counter" };

/* --- numbers ---------------------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

uint64_t kv_random(struct kv_model *model)
{
	model->random += 0x9e3779b97f4a7c15u;
	return mix(model->random);
}

/* The seed of one version of one value; part tells fields and elements of a key apart. */
static uint64_t seed_of(const struct kv_model *model, enum kv_key_type type, uint32_t index, uint32_t part,
			uint32_t version)
{
	uint64_t key = ((uint64_t)index * model->stride + model->id) * 4 + type;

	return mix(mix(key) + ((uint64_t)part << 32 | version));
}

static uint32_t string_nbytes(uint64_t seed)
{
	uint64_t dice = mix(seed + 1);
	uint64_t percent = dice % 100;

	dice /= 100;
	if (percent < 60)
		return 16 + (uint32_t)(dice % 112);
	if (percent < 90)
		return 128 + (uint32_t)(dice % 896);
	if (percent < 98)
		return 1024 + (uint32_t)(dice % 7168);
	return 8192 + (uint32_t)(dice % 57345);
}

/* Elements and fields are small: 16 to 255 bytes. */
static uint32_t part_nbytes(uint64_t seed)
{
	return 16 + (uint32_t)(mix(seed + 1) % 240);
}

/* --- requests --------------------------------------------------------------------------------------------------- */

static void add_header(struct kv_buffer *out, char kind, size_t number)
{
	char text[24];
	int nbytes = snprintf(text, sizeof(text), "%c%zu\r\n", kind, number);

	kv_buffer_append(out, text, (size_t)nbytes);
}

static void add_text(struct kv_buffer *out, const char *text)
{
	size_t nbytes = strlen(text);

	add_header(out, '$', nbytes);
	kv_buffer_append(out, text, nbytes);
	kv_buffer_append(out, "\r\n", 2);
}

static void add_number(struct kv_buffer *out, unsigned number)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", number);
	add_text(out, text);
}

int kv_key_text(const struct kv_model *model, enum kv_key_type type, uint32_t index, char *text, size_t size)
{
	return snprintf(text, size, "%s:%llu", type_names[type],
			(unsigned long long)index * model->stride + model->id);
}

static void add_key(struct kv_buffer *out, const struct kv_model *model, enum kv_key_type type, uint32_t index)
{
	char text[40];

	kv_key_text(model, type, index, text, sizeof(text));
	add_text(out, text);
}

static void add_content(struct kv_buffer *out, uint64_t seed, size_t offset, size_t nbytes)
{
	char *place;

	add_header(out, '$', nbytes);
	place = kv_buffer_reserve(out, nbytes + 2);
	if (!place)
		return;
	kv_content_fill(place, seed, offset, nbytes);
	memcpy(place + nbytes, "\r\n", 2);
	out->end += nbytes + 2;
}

static void begin(struct kv_buffer *out, struct kv_expect *expect, const char *verb, size_t count)
{
	add_header(out, '*', count);
	add_text(out, verb);
	expect->verb = verb;
}

static void expect_integer(struct kv_expect *expect, int64_t number)
{
	expect->kind = KV_EXPECT_INTEGER;
	expect->number = number;
}

struct kv_content kv_string_content(const struct kv_model *model, uint32_t index)
{
	const struct kv_string_state *state = &model->strings[index];

	return (struct kv_content){ seed_of(model, KV_KEY_STRING, index, 0, state->version), state->nbytes };
}

struct kv_content kv_field_content(const struct kv_model *model, uint32_t index, unsigned field)
{
	const struct kv_hash_state *state = &model->hashes[index];
	uint64_t seed = seed_of(model, KV_KEY_HASH, index, field, state->versions[field]);

	return (struct kv_content){ seed, state->present >> field & 1 ? part_nbytes(seed) : KV_ABSENT };
}

/* Element at a depth counted from the tail, which is where the first one pushed lies. */
struct kv_content kv_element_content(const struct kv_model *model, uint32_t index, uint32_t depth)
{
	uint64_t seed = seed_of(model, KV_KEY_LIST, index, depth, model->lists[index].epoch);

	return (struct kv_content){ seed, part_nbytes(seed) };
}

/* --- one function per command; the model is updated as if the reply had come ------------------------------------- */

static void add_new_version(struct kv_model *model, uint32_t index, struct kv_buffer *out)
{
	struct kv_string_state *state = &model->strings[index];
	uint64_t seed = seed_of(model, KV_KEY_STRING, index, 0, ++state->version);

	state->nbytes = string_nbytes(seed);
	add_key(out, model, KV_KEY_STRING, index);
	add_content(out, seed, 0, state->nbytes);
}

void kv_request_set(struct kv_model *model, uint32_t index, struct kv_buffer *out, struct kv_expect *expect)
{
	bool timed = model->strings[index].version % 8 == 7; /* with a time limit that never comes */

	begin(out, expect, "SET", timed ? 5 : 3);
	add_new_version(model, index, out);
	if (timed) {
		add_text(out, "EX");
		add_text(out, "100000");
	}
	expect->kind = KV_EXPECT_OK;
}

void kv_request_mset(struct kv_model *model, uint32_t index, struct kv_buffer *out, struct kv_expect *expect)
{
	begin(out, expect, "MSET", 1 + 2 * MULTI);
	for (uint32_t i = 0; i < MULTI; i++)
		add_new_version(model, (index + i) % model->nstrings, out);
	expect->kind = KV_EXPECT_OK;
}

void kv_request_get(struct kv_model *model, uint32_t index, struct kv_buffer *out, struct kv_expect *expect)
{
	begin(out, expect, "GET", 2);
	add_key(out, model, KV_KEY_STRING, index);
	expect->kind = KV_EXPECT_BULK;
	expect->count = 1;
	expect->items[0] = kv_string_content(model, index);
}

void kv_request_mget(struct kv_model *model, uint32_t index, struct kv_buffer *out, struct kv_expect *expect)
{
	begin(out, expect, "MGET", 1 + MULTI);
	expect->kind = KV_EXPECT_ARRAY;
	expect->count = MULTI;
	for (uint32_t i = 0; i < MULTI; i++) {
		add_key(out, model, KV_KEY_STRING, (index + i) % model->nstrings);
		expect->items[i] = kv_string_content(model, (index + i) % model->nstrings);
	}
}

void kv_request_append(struct kv_model *model, uint32_t index, struct kv_buffer *out, struct kv_expect *expect)
{
	struct kv_string_state *state = &model->strings[index];
	uint64_t seed = seed_of(model, KV_KEY_STRING, index, 0, state->version);
	uint32_t nbytes = 1 + (uint32_t)(kv_random(model) % 256);

	if (state->nbytes == KV_ABSENT || state->nbytes + nbytes > APPEND_LIMIT) {
		kv_request_set(model, index, out, expect);
		return;
	}
	begin(out, expect, "APPEND", 3);
	add_key(out, model, KV_KEY_STRING, index);
	add_content(out, seed, state->nbytes, nbytes);
	state->nbytes += nbytes;
	expect_integer(expect, state->nbytes);
}

void kv_request_del(struct kv_model *model, uint32_t index, struct kv_buffer *out, struct kv_expect *expect)
{
	struct kv_string_state *state = &model->strings[index];

	begin(out, expect, "DEL", 2);
	add_key(out, model, KV_KEY_STRING, index);
	expect_integer(expect, state->nbytes != KV_ABSENT);
	state->nbytes = KV_ABSENT;
}

void kv_request_exists(struct kv_model *model, uint32_t index, struct kv_buffer *out, struct kv_expect *expect)
{
	begin(out, expect, "EXISTS", 2);
	add_key(out, model, KV_KEY_STRING, index);
	expect_integer(expect, model->strings[index].nbytes != KV_ABSENT);
}

void kv_request_incr(struct kv_model *model, uint32_t index, struct kv_buffer *out, struct kv_expect *expect)
{
	begin(out, expect, "INCR", 2);
	add_key(out, model, KV_KEY_COUNTER, index);
	expect_integer(expect, ++model->counters[index]);
}

static void lpush(struct kv_model *model, uint32_t index, struct kv_buffer *out, struct kv_expect *expect)
{
	struct kv_content content = kv_element_content(model, index, model->lists[index].depth);

	begin(out, expect, "LPUSH", 3);
	add_key(out, model, KV_KEY_LIST, index);
	add_content(out, content.seed, 0, content.nbytes);
	expect_integer(expect, ++model->lists[index].depth);
}

static void lpop(struct kv_model *model, uint32_t index, struct kv_buffer *out, struct kv_expect *expect)
{
	struct kv_list_state *state = &model->lists[index];

	begin(out, expect, "LPOP", 2);
	add_key(out, model, KV_KEY_LIST, index);
	expect->kind = KV_EXPECT_BULK;
	expect->count = 1;
	expect->items[0] = (struct kv_content){ 0, KV_ABSENT };
	if (state->depth > 0)
		expect->items[0] = kv_element_content(model, index, --state->depth);
}

void kv_request_push_or_pop(struct kv_model *model, uint32_t index, struct kv_buffer *out, struct kv_expect *expect)
{
	if (model->lists[index].depth < KV_DEPTH && kv_random(model) % 2)
		lpush(model, index, out, expect);
	else
		lpop(model, index, out, expect);
}

void kv_request_lrange(struct kv_model *model, uint32_t index, struct kv_buffer *out, struct kv_expect *expect)
{
	uint32_t depth = model->lists[index].depth;

	begin(out, expect, "LRANGE", 4);
	add_key(out, model, KV_KEY_LIST, index);
	add_number(out, 0);
	add_number(out, KV_ITEMS - 1);
	expect->kind = KV_EXPECT_ARRAY;
	expect->count = depth < KV_ITEMS ? depth : KV_ITEMS;
	for (uint32_t i = 0; i < expect->count; i++)
		expect->items[i] = kv_element_content(model, index, depth - 1 - i);
}

void kv_request_hset(struct kv_model *model, uint32_t index, struct kv_buffer *out, struct kv_expect *expect)
{
	struct kv_hash_state *state = &model->hashes[index];
	unsigned field = (unsigned)(kv_random(model) % KV_FIELDS);
	struct kv_content content;

	begin(out, expect, "HSET", 4);
	expect_integer(expect, !(state->present >> field & 1));
	add_key(out, model, KV_KEY_HASH, index);
	add_number(out, field);
	state->versions[field]++;
	state->present |= 1u << field;
	content = kv_field_content(model, index, field);
	add_content(out, content.seed, 0, content.nbytes);
}

void kv_request_hget(struct kv_model *model, uint32_t index, struct kv_buffer *out, struct kv_expect *expect)
{
	unsigned field = (unsigned)(kv_random(model) % KV_FIELDS);

	kv_request_hget_field(model, index, field, out, expect);
}

void kv_request_hget_field(struct kv_model *model, uint32_t index, unsigned field, struct kv_buffer *out,
			   struct kv_expect *expect)
{
	begin(out, expect, "HGET", 3);
	add_key(out, model, KV_KEY_HASH, index);
	add_number(out, field);
	expect->kind = KV_EXPECT_BULK;
	expect->count = 1;
	expect->items[0] = kv_field_content(model, index, field);
}

/* --- walking the keys ------------------------------------------------------------------------------------------- */

void kv_request_fill_list(struct kv_model *model, uint32_t index, struct kv_buffer *out, struct kv_expect *expect)
{
	struct kv_content content;

	begin(out, expect, "LPUSH", 2 + KV_ITEMS);
	add_key(out, model, KV_KEY_LIST, index);
	for (unsigned i = 0; i < KV_ITEMS; i++) {
		content = kv_element_content(model, index, model->lists[index].depth++);
		add_content(out, content.seed, 0, content.nbytes);
	}
	expect_integer(expect, model->lists[index].depth);
}

void kv_request_fill_hash(struct kv_model *model, uint32_t index, struct kv_buffer *out, struct kv_expect *expect)
{
	struct kv_hash_state *state = &model->hashes[index];
	struct kv_content content;

	begin(out, expect, "HSET", 2 + 2 * KV_FIELDS);
	add_key(out, model, KV_KEY_HASH, index);
	state->present = (1u << KV_FIELDS) - 1;
	for (unsigned field = 0; field < KV_FIELDS; field++) {
		content = kv_field_content(model, index, field);
		add_number(out, field);
		add_content(out, content.seed, 0, content.nbytes);
	}
	expect_integer(expect, KV_FIELDS);
}

/* Make a key absent in the model; whether it was there. */
static bool forget(struct kv_model *model, enum kv_key_type type, uint32_t index)
{
	bool present = kv_key_present(model, type, index);

	switch (type) {
	case KV_KEY_STRING:
		model->strings[index].nbytes = KV_ABSENT;
		break;
	case KV_KEY_LIST:
		model->lists[index].depth = 0;
		model->lists[index].epoch++;
		break;
	case KV_KEY_HASH:
		model->hashes[index].present = 0;
		break;
	case KV_KEY_COUNTER:
		model->counters[index] = 0;
		break;
	}
	return present;
}

void kv_request_del_batch(struct kv_model *model, enum kv_key_type type, const uint32_t *indexes, unsigned count,
			  struct kv_buffer *out, struct kv_expect *expect)
{
	int64_t removed = 0;

	begin(out, expect, "DEL", 1 + count);
	for (unsigned i = 0; i < count; i++) {
		add_key(out, model, type, indexes[i]);
		removed += forget(model, type, indexes[i]);
	}
	expect_integer(expect, removed);
}
