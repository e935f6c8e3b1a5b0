/* SPDX-License-Identifier: MIT */
/*
 * The commands on strings. New values are built before the key's shard is locked and old ones are freed after it is
 * unlocked, so that a shard is held for little more than a look-up and a copy.
 */
#include "kv_command.h"
#include "kv_protocol.h"

#include <stdio.h>
#include <string.h>

#define SECONDS_LIMIT ((int64_t)1 << 40) /* most seconds of a time limit, so that its milliseconds cannot overflow */

/* The string at an open place, NULL where the key is absent or holds something else; says which by *wrong_type. */
static struct kv_string *string_at(const struct kv_place *place, bool *wrong_type)
{
	*wrong_type = place->entry && place->entry->value->type != KV_STRING;
	return place->entry && !*wrong_type ? kv_as_string(place->entry->value) : NULL;
}

static void reply_string(struct kv_buffer *out, const struct kv_string *string)
{
	if (string)
		kv_reply_bulk(out, string->data, string->nbytes);
	else
		kv_reply_null(out);
}

void kv_command_get(struct kv_session *session, const struct kv_slice *arguments, size_t count)
{
	struct kv_place place;
	struct kv_string *string;
	bool wrong_type;

	(void)count;
	kv_place_open(&place, session->service->table, arguments[1]);
	string = string_at(&place, &wrong_type);
	if (wrong_type)
		kv_reply_wrong_type(session->out);
	else
		reply_string(session->out, string);
	kv_place_close(&place);
}

void kv_command_strlen(struct kv_session *session, const struct kv_slice *arguments, size_t count)
{
	struct kv_place place;
	struct kv_string *string;
	bool wrong_type;

	(void)count;
	kv_place_open(&place, session->service->table, arguments[1]);
	string = string_at(&place, &wrong_type);
	if (wrong_type)
		kv_reply_wrong_type(session->out);
	else
		kv_reply_integer(session->out, string ? string->nbytes : 0);
	kv_place_close(&place);
}

void kv_command_mget(struct kv_session *session, const struct kv_slice *arguments, size_t count)
{
	struct kv_place place;
	bool wrong_type;

	kv_reply_array(session->out, count - 1);
	for (size_t i = 1; i < count; i++) {
		kv_place_open(&place, session->service->table, arguments[i]);
		reply_string(session->out, string_at(&place, &wrong_type)); /* of another type: null, as redis */
		kv_place_close(&place);
	}
}

static bool store(struct kv_session *session, struct kv_slice key, struct kv_slice bytes, int64_t expires)
{
	struct kv_value *value = kv_string_create(bytes);
	struct kv_value *old;
	struct kv_place place;
	bool stored;

	if (!value)
		return false;
	kv_place_open(&place, session->service->table, key);
	stored = kv_place_put(&place, value, expires, &old);
	kv_place_close(&place);
	kv_value_free(stored ? old : value);
	return stored;
}

/* SET key value [EX seconds] */
void kv_command_set(struct kv_session *session, const struct kv_slice *arguments, size_t count)
{
	int64_t seconds;
	int64_t expires = 0;

	if (count == 5 && kv_slice_is(arguments[3], "ex")) {
		if (!kv_parse_integer(arguments[4], &seconds) || seconds <= 0 || seconds > SECONDS_LIMIT) {
			kv_reply_error(session->out, "ERR invalid expire time in 'set' command");
			return;
		}
		expires = kv_clock_ms() + seconds * 1000;
	} else if (count != 3) {
		kv_reply_error(session->out, "ERR syntax error");
		return;
	}
	if (store(session, arguments[1], arguments[2], expires))
		kv_reply_status(session->out, "OK");
	else
		kv_reply_no_memory(session->out);
}

/* Key by key: another client may see some of them set before the rest. */
void kv_command_mset(struct kv_session *session, const struct kv_slice *arguments, size_t count)
{
	if (count % 2 == 0) {
		kv_reply_error(session->out, "ERR wrong number of arguments for 'mset' command");
		return;
	}
	for (size_t i = 1; i < count; i += 2) {
		if (!store(session, arguments[i], arguments[i + 1], 0)) {
			kv_reply_no_memory(session->out);
			return;
		}
	}
	kv_reply_status(session->out, "OK");
}

/* Append at an open place; the new length, -1 without memory. */
static int64_t append_at(struct kv_place *place, struct kv_slice bytes)
{
	struct kv_value *value;
	struct kv_value *old;

	if (place->entry) {
		value = kv_string_append(place->entry->value, bytes);
		if (!value)
			return -1;
		place->entry->value = value;
		return kv_as_string(value)->nbytes;
	}
	value = kv_string_create(bytes);
	if (!value || !kv_place_put(place, value, 0, &old)) {
		kv_value_free(value);
		return -1;
	}
	return (int64_t)bytes.nbytes;
}

void kv_command_append(struct kv_session *session, const struct kv_slice *arguments, size_t count)
{
	struct kv_place place;
	struct kv_string *string;
	bool wrong_type;
	int64_t nbytes;

	(void)count;
	kv_place_open(&place, session->service->table, arguments[1]);
	string = string_at(&place, &wrong_type);
	if (wrong_type) {
		kv_reply_wrong_type(session->out);
	} else if (string && string->nbytes + arguments[2].nbytes > KV_STRING_LIMIT) {
		kv_reply_error(session->out, "ERR string exceeds maximum allowed size");
	} else {
		nbytes = append_at(&place, arguments[2]);
		if (nbytes >= 0)
			kv_reply_integer(session->out, nbytes);
		else
			kv_reply_no_memory(session->out);
	}
	kv_place_close(&place);
}

/* Replace what an open place holds by a number, keeping its time limit; the old value is left in *old. */
static bool store_number(struct kv_place *place, int64_t number, struct kv_value **old)
{
	char text[24];
	int nbytes = snprintf(text, sizeof(text), "%lld", (long long)number);
	struct kv_value *value = kv_string_create((struct kv_slice){ text, (size_t)nbytes });

	*old = NULL;
	if (value && kv_place_put(place, value, place->entry ? place->entry->expires : 0, old))
		return true;
	kv_value_free(value);
	return false;
}

void kv_command_incr(struct kv_session *session, const struct kv_slice *arguments, size_t count)
{
	struct kv_place place;
	struct kv_string *string;
	struct kv_value *old = NULL;
	bool wrong_type;
	int64_t number = 0;

	(void)count;
	kv_place_open(&place, session->service->table, arguments[1]);
	string = string_at(&place, &wrong_type);
	if (wrong_type)
		kv_reply_wrong_type(session->out);
	else if (string && !kv_parse_integer((struct kv_slice){ string->data, string->nbytes }, &number))
		kv_reply_error(session->out, "ERR value is not an integer or out of range");
	else if (__builtin_add_overflow(number, 1, &number))
		kv_reply_error(session->out, "ERR increment or decrement would overflow");
	else if (store_number(&place, number, &old))
		kv_reply_integer(session->out, number);
	else
		kv_reply_no_memory(session->out);
	kv_place_close(&place);
	kv_value_free(old);
}
