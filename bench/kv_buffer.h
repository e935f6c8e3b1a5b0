/* SPDX-License-Identifier: MIT */
/*
 * A byte queue: appended at its end, consumed at its start. Owned by one connection, so it has no lock.
 *
 * Invariant: start <= end <= capacity; [start, end) are the bytes that wait. Once an append has failed (no memory, or
 * more than KV_BUFFER_LIMIT bytes would wait) `failed` stays set and the owner closes the connection.
 */
#ifndef KV_BUFFER_H
#define KV_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

#define KV_BUFFER_LIMIT ((size_t)256 << 20) /* most bytes that may wait in one buffer */
#define KV_BUFFER_KEPT ((size_t)16 << 10)   /* capacity that an empty buffer keeps */

struct kv_buffer {
	char *data;      /* malloc'ed; NULL while capacity is 0 */
	size_t start;    /* offset of the first waiting byte */
	size_t end;      /* offset behind the last one */
	size_t capacity; /* bytes of data */
	bool failed;     /* an append was refused */
};

static inline size_t kv_buffer_pending(const struct kv_buffer *buffer)
{
	return buffer->end - buffer->start;
}

static inline char *kv_buffer_head(const struct kv_buffer *buffer)
{
	return buffer->data + buffer->start;
}

/** Make room for nbytes at the end; their place, or NULL (and `failed`). The caller then moves `end`. */
char *kv_buffer_reserve(struct kv_buffer *buffer, size_t nbytes);

/** Append bytes; false (and `failed`) where there is no room. */
bool kv_buffer_append(struct kv_buffer *buffer, const void *bytes, size_t nbytes);

/** Drop nbytes at the start; an emptied large buffer gives its memory back. */
void kv_buffer_consume(struct kv_buffer *buffer, size_t nbytes);

/** Free the memory; the buffer is empty and usable again. */
void kv_buffer_free(struct kv_buffer *buffer);

#endif
