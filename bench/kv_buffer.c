/* SPDX-License-Identifier: MIT */
/* The byte queue of kv_buffer.h. It grows by doubling with realloc, which is what network servers do to allocators. */
#include "kv_buffer.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY ((size_t)4 << 10)

/* Move the waiting bytes to the front: cheaper than growing when the consumed part is as large as they are. */
static void compact(struct kv_buffer *buffer)
{
	size_t pending = kv_buffer_pending(buffer);

	if (pending > 0)
		memmove(buffer->data, kv_buffer_head(buffer), pending);
	buffer->start = 0;
	buffer->end = pending;
}

char *kv_buffer_reserve(struct kv_buffer *buffer, size_t nbytes)
{
	size_t pending = kv_buffer_pending(buffer);
	size_t capacity = buffer->capacity ? buffer->capacity : FIRST_CAPACITY;
	char *data;

	if (buffer->failed)
		return NULL;
	if (buffer->data && nbytes <= buffer->capacity - buffer->end)
		return buffer->data + buffer->end;
	if (nbytes > KV_BUFFER_LIMIT - pending) {
		buffer->failed = true;
		return NULL;
	}
	if (buffer->start >= pending)
		compact(buffer);
	while (capacity - buffer->end < nbytes)
		capacity *= 2;
	if (capacity != buffer->capacity) {
		data = realloc(buffer->data, capacity);
		if (!data) {
			buffer->failed = true;
			return NULL;
		}
		buffer->data = data;
		buffer->capacity = capacity;
	}
	return buffer->data + buffer->end;
}

bool kv_buffer_append(struct kv_buffer *buffer, const void *bytes, size_t nbytes)
{
	char *place = kv_buffer_reserve(buffer, nbytes);

	if (!place)
		return false;
	if (nbytes > 0)
		memcpy(place, bytes, nbytes);
	buffer->end += nbytes;
	return true;
}

void kv_buffer_consume(struct kv_buffer *buffer, size_t nbytes)
{
	buffer->start += nbytes;
	if (buffer->start < buffer->end)
		return;
	buffer->start = 0;
	buffer->end = 0;
	if (buffer->capacity > KV_BUFFER_KEPT) {
		free(buffer->data);
		buffer->data = NULL;
		buffer->capacity = 0;
	}
}

void kv_buffer_free(struct kv_buffer *buffer)
{
	free(buffer->data);
	*buffer = (struct kv_buffer){ 0 };
}
