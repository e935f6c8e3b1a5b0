/* SPDX-License-Identifier: MIT */
/* The value types of kv_value.h. */
#include "kv_value.h"

#include <stdlib.h>
#include <string.h>

struct kv_value *kv_string_create(struct kv_slice bytes)
{
	struct kv_string *string = malloc(sizeof(*string) + bytes.nbytes);

	if (!string)
		return NULL;
	string->base.type = KV_STRING;
	string->nbytes = (uint32_t)bytes.nbytes;
	string->capacity = (uint32_t)bytes.nbytes;
	memcpy(string->data, bytes.data, bytes.nbytes);
	return &string->base;
}

struct kv_value *kv_string_append(struct kv_value *value, struct kv_slice bytes)
{
	struct kv_string *string = kv_as_string(value);
	size_t nbytes = string->nbytes + bytes.nbytes;
	size_t capacity;

	if (nbytes > string->capacity) {
		capacity = nbytes + nbytes / 4; /* room to grow, so that many appends cost few moves */
		string = realloc(string, sizeof(*string) + capacity);
		if (!string)
			return NULL;
		string->capacity = (uint32_t)capacity;
	}
	memcpy(string->data + string->nbytes, bytes.data, bytes.nbytes);
	string->nbytes = (uint32_t)nbytes;
	return &string->base;
}

struct kv_value *kv_list_create(void)
{
	struct kv_list *list = calloc(1, sizeof(*list));

	if (!list)
		return NULL;
	list->base.type = KV_LIST;
	return &list->base;
}

bool kv_list_push(struct kv_list *list, struct kv_slice bytes, bool at_head)
{
	struct kv_node *node = malloc(sizeof(*node) + bytes.nbytes);

	if (!node)
		return false;
	node->nbytes = bytes.nbytes;
	memcpy(node->data, bytes.data, bytes.nbytes);
	node->next = at_head ? list->head : NULL;
	node->prev = at_head ? NULL : list->tail;
	if (node->next)
		node->next->prev = node;
	else
		list->tail = node;
	if (node->prev)
		node->prev->next = node;
	else
		list->head = node;
	list->count++;
	return true;
}

struct kv_node *kv_list_pop(struct kv_list *list, bool at_head)
{
	struct kv_node *node = at_head ? list->head : list->tail;

	if (node->next)
		node->next->prev = node->prev;
	else
		list->tail = node->prev;
	if (node->prev)
		node->prev->next = node->next;
	else
		list->head = node->next;
	list->count--;
	return node;
}

struct kv_value *kv_hash_create(void)
{
	struct kv_hash_value *hash = calloc(1, sizeof(*hash));

	if (!hash)
		return NULL;
	hash->base.type = KV_HASH;
	return &hash->base;
}

int kv_hash_set(struct kv_hash_value *hash, struct kv_slice field, struct kv_slice bytes)
{
	uint64_t code = kv_hash(field);
	struct kv_entry *entry = kv_dict_find(&hash->fields, field, code);
	struct kv_value *string = kv_string_create(bytes);

	if (!string)
		return -1;
	if (entry) {
		kv_value_free(entry->value);
		entry->value = string;
		return 0;
	}
	if (!kv_dict_insert(&hash->fields, field, code, string)) {
		kv_value_free(string);
		return -1;
	}
	return 1;
}

static void list_free(struct kv_list *list)
{
	struct kv_node *next;

	for (struct kv_node *node = list->head; node; node = next) {
		next = node->next;
		free(node);
	}
	free(list);
}

void kv_value_free(struct kv_value *value)
{
	if (!value)
		return;
	switch (value->type) {
	case KV_LIST:
		list_free(kv_as_list(value));
		break;
	case KV_HASH:
		kv_dict_clear(&kv_as_hash(value)->fields);
		free(value);
		break;
	case KV_STRING:
		free(value);
		break;
	}
}
