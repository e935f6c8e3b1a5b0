/* SPDX-License-Identifier: MIT */
/*
 * The single requests of the load generator. Each writes one request about key `index` of a model to out, says what the
 * reply must be, and moves the model on as if the reply had come. Internal to the model (kv_model.c).
 */
#ifndef KV_REQUESTS_H
#define KV_REQUESTS_H

#include "kv_model.h"

enum kv_key_type { KV_KEY_STRING, KV_KEY_LIST, KV_KEY_HASH, KV_KEY_COUNTER };

typedef void kv_request_fn(struct kv_model *model, uint32_t index, struct kv_buffer *out, struct kv_expect *expect);

kv_request_fn kv_request_set;
kv_request_fn kv_request_mset;
kv_request_fn kv_request_get;
kv_request_fn kv_request_mget;
kv_request_fn kv_request_append;
kv_request_fn kv_request_del;
kv_request_fn kv_request_exists;
kv_request_fn kv_request_incr;
kv_request_fn kv_request_push_or_pop;
kv_request_fn kv_request_lrange;
kv_request_fn kv_request_hset; /* a random field */
kv_request_fn kv_request_hget; /* a random field */
kv_request_fn kv_request_fill_list;
kv_request_fn kv_request_fill_hash;

void kv_request_hget_field(struct kv_model *model, uint32_t index, unsigned field, struct kv_buffer *out,
			   struct kv_expect *expect);

/** One DEL of several keys of a type. */
void kv_request_del_batch(struct kv_model *model, enum kv_key_type type, const uint32_t *indexes, unsigned count,
			  struct kv_buffer *out, struct kv_expect *expect);

/** The next number of the model's random generator. */
uint64_t kv_random(struct kv_model *model);

/** A key's text, as snprintf. */
int kv_key_text(const struct kv_model *model, enum kv_key_type type, uint32_t index, char *text, size_t size);

/** True if the server must have this key. */
bool kv_key_present(const struct kv_model *model, enum kv_key_type type, uint32_t index);

/** What the server must hold; nbytes is KV_ABSENT where it must hold nothing. */
struct kv_content kv_string_content(const struct kv_model *model, uint32_t index);
struct kv_content kv_field_content(const struct kv_model *model, uint32_t index, unsigned field);

/** The list element at a depth counted from the tail, which is where the first one pushed lies. */
struct kv_content kv_element_content(const struct kv_model *model, uint32_t index, uint32_t depth);

#endif
