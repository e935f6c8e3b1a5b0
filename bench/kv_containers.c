/* SPDX-License-Identifier: MIT */
/* The commands on lists and hashes. A container that becomes empty is removed with its key. */
#include "kv_command.h"
#include "kv_protocol.h"

#include <stdlib.h>

/* The container of this type at an open place, created where the key is absent; NULL and a reply where it cannot be. */
static struct kv_value *container_at(struct kv_session *session, struct kv_place *place, enum kv_type type)
{
	struct kv_value *value = place->entry ? place->entry->value : NULL;
	struct kv_value *old;

	if (value && value->type == type)
		return value;
	if (value) {
		kv_reply_wrong_type(session->out);
		return NULL;
	}
	value = type == KV_LIST ? kv_list_create() : kv_hash_create();
	if (value && kv_place_put(place, value, 0, &old))
		return value;
	kv_value_free(value);
	kv_reply_no_memory(session->out);
	return NULL;
}

/*
 * The container of this type at an open place to look at, NULL where there is none. With another type there, a reply
 * is given and *replied set.
 */
static struct kv_value *look_at(struct kv_session *session, const struct kv_place *place, enum kv_type type,
				bool *replied)
{
	struct kv_value *value = place->entry ? place->entry->value : NULL;

	*replied = value && value->type != type;
	if (*replied)
		kv_reply_wrong_type(session->out);
	return *replied ? NULL : value;
}

static void push(struct kv_session *session, const struct kv_slice *arguments, size_t count, bool at_head)
{
	struct kv_place place;
	struct kv_value *value;
	struct kv_list *list;
	bool pushed = true;

	kv_place_open(&place, session->service->table, arguments[1]);
	value = container_at(session, &place, KV_LIST);
	if (value) {
		list = kv_as_list(value);
		for (size_t i = 2; i < count && pushed; i++)
			pushed = kv_list_push(list, arguments[i], at_head);
		if (pushed)
			kv_reply_integer(session->out, (int64_t)list->count);
		else
			kv_reply_no_memory(session->out);
		if (list->count == 0)
			kv_value_free(kv_place_remove(&place));
	}
	kv_place_close(&place);
}

void kv_command_lpush(struct kv_session *session, const struct kv_slice *arguments, size_t count)
{
	push(session, arguments, count, true);
}

void kv_command_rpush(struct kv_session *session, const struct kv_slice *arguments, size_t count)
{
	push(session, arguments, count, false);
}

static void pop(struct kv_session *session, struct kv_slice key, bool at_head)
{
	struct kv_place place;
	struct kv_value *value;
	struct kv_value *emptied = NULL;
	struct kv_node *node = NULL;
	bool replied;

	kv_place_open(&place, session->service->table, key);
	value = look_at(session, &place, KV_LIST, &replied);
	if (value) {
		node = kv_list_pop(kv_as_list(value), at_head);
		if (kv_as_list(value)->count == 0)
			emptied = kv_place_remove(&place);
	}
	kv_place_close(&place);
	if (node)
		kv_reply_bulk(session->out, node->data, node->nbytes);
	else if (!replied)
		kv_reply_null(session->out);
	free(node);
	kv_value_free(emptied);
}

void kv_command_lpop(struct kv_session *session, const struct kv_slice *arguments, size_t count)
{
	(void)count;
	pop(session, arguments[1], true);
}

void kv_command_rpop(struct kv_session *session, const struct kv_slice *arguments, size_t count)
{
	(void)count;
	pop(session, arguments[1], false);
}

void kv_command_llen(struct kv_session *session, const struct kv_slice *arguments, size_t count)
{
	struct kv_place place;
	struct kv_value *value;
	bool replied;

	(void)count;
	kv_place_open(&place, session->service->table, arguments[1]);
	value = look_at(session, &place, KV_LIST, &replied);
	if (!replied)
		kv_reply_integer(session->out, value ? (int64_t)kv_as_list(value)->count : 0);
	kv_place_close(&place);
}

/* Elements first to last of a list, negative numbers counted from its end. */
static void reply_range(struct kv_buffer *out, const struct kv_list *list, int64_t first, int64_t last)
{
	int64_t count = (int64_t)list->count;
	const struct kv_node *node = list->head;

	if (first < 0)
		first = first < -count ? 0 : first + count;
	if (last < 0)
		last = last < -count ? -1 : last + count;
	if (last >= count)
		last = count - 1;
	if (first > last) {
		kv_reply_array(out, 0);
		return;
	}
	kv_reply_array(out, (size_t)(last - first + 1));
	for (int64_t i = 0; i <= last; i++, node = node->next) {
		if (i >= first)
			kv_reply_bulk(out, node->data, node->nbytes);
	}
}

void kv_command_lrange(struct kv_session *session, const struct kv_slice *arguments, size_t count)
{
	struct kv_place place;
	struct kv_value *value;
	int64_t first;
	int64_t last;
	bool replied;

	(void)count;
	if (!kv_parse_integer(arguments[2], &first) || !kv_parse_integer(arguments[3], &last)) {
		kv_reply_error(session->out, "ERR value is not an integer or out of range");
		return;
	}
	kv_place_open(&place, session->service->table, arguments[1]);
	value = look_at(session, &place, KV_LIST, &replied);
	if (value)
		reply_range(session->out, kv_as_list(value), first, last);
	else if (!replied)
		kv_reply_array(session->out, 0);
	kv_place_close(&place);
}

/* HSET key field value [field value ...] */
void kv_command_hset(struct kv_session *session, const struct kv_slice *arguments, size_t count)
{
	struct kv_place place;
	struct kv_value *value;
	int64_t added = 0;
	int result = 0;

	if (count % 2 != 0) {
		kv_reply_error(session->out, "ERR wrong number of arguments for 'hset' command");
		return;
	}
	kv_place_open(&place, session->service->table, arguments[1]);
	value = container_at(session, &place, KV_HASH);
	if (value) {
		for (size_t i = 2; i < count && result >= 0; i += 2) {
			result = kv_hash_set(kv_as_hash(value), arguments[i], arguments[i + 1]);
			added += result > 0;
		}
		if (result >= 0)
			kv_reply_integer(session->out, added);
		else
			kv_reply_no_memory(session->out);
		if (kv_as_hash(value)->fields.count == 0)
			kv_value_free(kv_place_remove(&place));
	}
	kv_place_close(&place);
}

void kv_command_hget(struct kv_session *session, const struct kv_slice *arguments, size_t count)
{
	struct kv_place place;
	struct kv_value *value;
	struct kv_entry *entry = NULL;
	struct kv_string *string;
	bool replied;

	(void)count;
	kv_place_open(&place, session->service->table, arguments[1]);
	value = look_at(session, &place, KV_HASH, &replied);
	if (value)
		entry = kv_dict_find(&kv_as_hash(value)->fields, arguments[2], kv_hash(arguments[2]));
	if (entry) {
		string = kv_as_string(entry->value);
		kv_reply_bulk(session->out, string->data, string->nbytes);
	} else if (!replied) {
		kv_reply_null(session->out);
	}
	kv_place_close(&place);
}

void kv_command_hlen(struct kv_session *session, const struct kv_slice *arguments, size_t count)
{
	struct kv_place place;
	struct kv_value *value;
	bool replied;

	(void)count;
	kv_place_open(&place, session->service->table, arguments[1]);
	value = look_at(session, &place, KV_HASH, &replied);
	if (!replied)
		kv_reply_integer(session->out, value ? (int64_t)kv_as_hash(value)->fields.count : 0);
	kv_place_close(&place);
}
