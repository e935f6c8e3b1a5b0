/* SPDX-License-Identifier: MIT */
/*
 * What a key can hold: a string (one block), a list (one block per element) or a hash (a dict of strings).
 * A value has one owner (an entry, or the command that took it out); the owner's lock covers it, values have none.
 */
#ifndef KV_VALUE_H
#define KV_VALUE_H

#include "kv_dict.h"

#define KV_STRING_LIMIT ((size_t)16 << 20) /* most bytes of one string, as long as the largest bulk of a request */

enum kv_type { KV_STRING, KV_LIST, KV_HASH };

struct kv_value {
	enum kv_type type; /* says which struct below this is the first member of */
};

struct kv_string {
	struct kv_value base;
	uint32_t nbytes;   /* in use */
	uint32_t capacity; /* bytes of data */
	char data[];
};

struct kv_node {
	struct kv_node *next;
	struct kv_node *prev;
	size_t nbytes;
	char data[];
};

struct kv_list {
	struct kv_value base;
	struct kv_node *head;
	struct kv_node *tail;
	size_t count;
};

struct kv_hash_value {
	struct kv_value base;
	struct kv_dict fields; /* values are strings */
};

static inline struct kv_string *kv_as_string(struct kv_value *value)
{
	return (struct kv_string *)value;
}

static inline struct kv_list *kv_as_list(struct kv_value *value)
{
	return (struct kv_list *)value;
}

static inline struct kv_hash_value *kv_as_hash(struct kv_value *value)
{
	return (struct kv_hash_value *)value;
}

/** A string with these bytes; NULL without memory. */
struct kv_value *kv_string_create(struct kv_slice bytes);

/** Append to a string that may move: the string, or NULL without memory (then the old one is unchanged). */
struct kv_value *kv_string_append(struct kv_value *value, struct kv_slice bytes);

/** An empty list; NULL without memory. */
struct kv_value *kv_list_create(void);

/** Push one element at the head or the tail; false without memory. */
bool kv_list_push(struct kv_list *list, struct kv_slice bytes, bool at_head);

/** Unlink the head or the tail of a list that is not empty; the node is the caller's to free. */
struct kv_node *kv_list_pop(struct kv_list *list, bool at_head);

/** An empty hash; NULL without memory. */
struct kv_value *kv_hash_create(void);

/** Set a field: 1 if it is new, 0 if it was replaced, -1 without memory. */
int kv_hash_set(struct kv_hash_value *hash, struct kv_slice field, struct kv_slice bytes);

/** Free a value and all it holds; NULL is allowed. */
void kv_value_free(struct kv_value *value);

#endif
