/* SPDX-License-Identifier: MIT */
/*
 * The model of kv_model.h and its phases: fill sets every key, churn mixes all commands, shrink deletes most keys and
 * leaves some scattered over all of them, verify reads everything. Keys are picked with a skew: the hottest fifth of
 * them gets more than half of the requests.
 */
#include "kv_requests.h"

#include <stdlib.h>

#define DEL_BATCH 16          /* keys of one DEL while shrinking */
#define STRINGS_PER_OTHER 32  /* one list, hash and counter for so many strings */

/* The mix of churn: a share in a hundred, and whether the key is a string. */
static const struct {
	unsigned percent;
	bool strings;
	kv_request_fn *write;
} churn_mix[] = {
	{ 44, true, kv_request_get },           { 25, true, kv_request_set },    { 5, true, kv_request_del },
	{ 5, true, kv_request_append },         { 2, true, kv_request_exists },  { 2, true, kv_request_mget },
	{ 1, true, kv_request_mset },           { 2, false, kv_request_incr },   { 6, false, kv_request_push_or_pop },
	{ 2, false, kv_request_lrange },        { 4, false, kv_request_hset },   { 2, false, kv_request_hget },
};

bool kv_model_create(struct kv_model *model, unsigned id, unsigned stride, uint32_t keys, unsigned keep, uint64_t seed)
{
	uint32_t nstrings = keys / stride > STRINGS_PER_OTHER ? keys / stride : STRINGS_PER_OTHER;
	uint32_t nothers = nstrings / STRINGS_PER_OTHER;

	*model = (struct kv_model){
		.id = id,
		.stride = stride,
		.keep = keep,
		.nstrings = nstrings,
		.nothers = nothers,
		.random = seed * stride + id,
		.strings = calloc(nstrings, sizeof(struct kv_string_state)),
		.lists = calloc(nothers, sizeof(struct kv_list_state)),
		.hashes = calloc(nothers, sizeof(struct kv_hash_state)),
		.counters = calloc(nothers, sizeof(uint32_t)),
	};
	if (!model->strings || !model->lists || !model->hashes || !model->counters) {
		kv_model_destroy(model);
		return false;
	}
	for (uint32_t i = 0; i < nstrings; i++)
		model->strings[i].nbytes = KV_ABSENT;
	return true;
}

void kv_model_destroy(struct kv_model *model)
{
	free(model->strings);
	free(model->lists);
	free(model->hashes);
	free(model->counters);
	*model = (struct kv_model){ 0 };
}

void kv_model_start(struct kv_model *model)
{
	model->next = 0;
}

bool kv_key_present(const struct kv_model *model, enum kv_key_type type, uint32_t index)
{
	switch (type) {
	case KV_KEY_STRING:
		return model->strings[index].nbytes != KV_ABSENT;
	case KV_KEY_LIST:
		return model->lists[index].depth > 0;
	case KV_KEY_HASH:
		return model->hashes[index].present != 0;
	case KV_KEY_COUNTER:
		break;
	}
	return model->counters[index] != 0;
}

/* Number `next` of all keys of a model: strings, lists, hashes, counters. False behind the last one. */
static bool locate(const struct kv_model *model, uint32_t next, enum kv_key_type *type, uint32_t *index)
{
	*type = KV_KEY_STRING;
	*index = next;
	if (next < model->nstrings)
		return true;
	next -= model->nstrings;
	*type = KV_KEY_LIST + next / model->nothers;
	*index = next % model->nothers;
	return *type <= KV_KEY_COUNTER;
}

static bool fill_next(struct kv_model *model, struct kv_buffer *out, struct kv_expect *expect)
{
	static kv_request_fn *const writers[] = { kv_request_set, kv_request_fill_list, kv_request_fill_hash,
						  kv_request_incr };
	enum kv_key_type type;
	uint32_t index;

	if (!locate(model, model->next++, &type, &index))
		return false;
	writers[type](model, index, out, expect);
	return true;
}

static void churn_next(struct kv_model *model, struct kv_buffer *out, struct kv_expect *expect)
{
	uint64_t random = kv_random(model);
	double u = (double)(random >> 11) * 0x1p-53;
	unsigned dice = (unsigned)(kv_random(model) % 100);
	size_t choice = 0;
	uint32_t count;

	while (dice >= churn_mix[choice].percent)
		dice -= churn_mix[choice++].percent;
	count = churn_mix[choice].strings ? model->nstrings : model->nothers;
	churn_mix[choice].write(model, (uint32_t)(u * u * u * count), out, expect);
}

/* Delete the next few keys of one type, but not those that stay. */
static bool shrink_next(struct kv_model *model, struct kv_buffer *out, struct kv_expect *expect)
{
	uint32_t indexes[DEL_BATCH];
	unsigned count = 0;
	enum kv_key_type batch = KV_KEY_STRING;
	enum kv_key_type type;
	uint32_t index;

	while (count < DEL_BATCH && locate(model, model->next, &type, &index)) {
		if (count > 0 && type != batch)
			break;
		model->next++;
		if (kv_random(model) % 100 < model->keep)
			continue;
		batch = type;
		indexes[count++] = index;
	}
	if (count > 0)
		kv_request_del_batch(model, batch, indexes, count, out, expect);
	return count > 0;
}

static bool verify_next(struct kv_model *model, struct kv_buffer *out, struct kv_expect *expect)
{
	uint32_t fields = model->nothers * KV_FIELDS;
	uint32_t next = model->next++;

	if (next < model->nstrings) {
		kv_request_get(model, next, out, expect);
		return true;
	}
	next -= model->nstrings;
	if (next < model->nothers) {
		kv_request_lrange(model, next, out, expect);
		return true;
	}
	next -= model->nothers;
	if (next < fields) {
		kv_request_hget_field(model, next / KV_FIELDS, next % KV_FIELDS, out, expect);
		return true;
	}
	next -= fields;
	if (next >= model->nothers)
		return false;
	kv_request_incr(model, next, out, expect);
	return true;
}

bool kv_model_next(struct kv_model *model, enum kv_phase phase, struct kv_buffer *out, struct kv_expect *expect)
{
	switch (phase) {
	case KV_FILL:
		return fill_next(model, out, expect);
	case KV_SHRINK:
		return shrink_next(model, out, expect);
	case KV_VERIFY:
		return verify_next(model, out, expect);
	default:
		churn_next(model, out, expect);
		return true;
	}
}

/* Bytes of what a key holds. */
static uint64_t held(const struct kv_model *model, enum kv_key_type type, uint32_t index)
{
	uint64_t nbytes = 0;

	if (type == KV_KEY_STRING)
		return model->strings[index].nbytes;
	if (type == KV_KEY_LIST) {
		for (uint32_t depth = 0; depth < model->lists[index].depth; depth++)
			nbytes += kv_element_content(model, index, depth).nbytes;
	} else if (type == KV_KEY_HASH) {
		for (unsigned field = 0; field < KV_FIELDS; field++) {
			if (model->hashes[index].present >> field & 1)
				nbytes += kv_field_content(model, index, field).nbytes;
		}
	} else {
		for (uint32_t number = model->counters[index]; number > 0; number /= 10)
			nbytes++;
	}
	return nbytes;
}

uint64_t kv_model_live(const struct kv_model *model, uint64_t *keys)
{
	uint64_t nbytes = 0;
	enum kv_key_type type;
	uint32_t index;
	char text[40];

	*keys = 0;
	for (uint32_t next = 0; locate(model, next, &type, &index); next++) {
		if (!kv_key_present(model, type, index))
			continue;
		nbytes += (uint64_t)kv_key_text(model, type, index, text, sizeof(text)) + held(model, type, index);
		(*keys)++;
	}
	return nbytes;
}
