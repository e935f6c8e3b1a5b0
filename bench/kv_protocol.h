/* SPDX-License-Identifier: MIT */
/*
 * RESP, the redis protocol, version 2: requests come in (arrays of bulk strings, or inline lines of words), replies go
 * out. The parser is incremental: it keeps its place in a request of which only a part has arrived, so a large request
 * costs time in proportion to its size however it is cut into packets.
 */
#ifndef KV_PROTOCOL_H
#define KV_PROTOCOL_H

#include "kv_buffer.h"
#include "kv_dict.h"

#define KV_BULK_LIMIT ((size_t)16 << 20)    /* most bytes of one argument */
#define KV_REQUEST_LIMIT ((size_t)64 << 20) /* most bytes of one request */
#define KV_LINE_LIMIT ((size_t)16 << 10)    /* most bytes of an inline request or of a header line */
#define KV_ARGUMENT_LIMIT 65536             /* most arguments of one request */
#define KV_ARGUMENTS_KEPT 64                /* an argument vector longer than this is freed after its request */

enum kv_parse { KV_PARSE_MORE, KV_PARSE_READY, KV_PARSE_BAD };

/* The request at the start of an input buffer, as far as it has been parsed. All zero is a fresh one. */
struct kv_request {
	size_t scanned;         /* bytes of the buffer that have been parsed */
	size_t expected;        /* arguments that the array header announced; 0: no header yet */
	bool in_bulk;           /* the header of the next argument has been parsed */
	size_t bulk;            /* its bytes */
	size_t count;           /* arguments parsed */
	size_t capacity;        /* of arguments */
	struct kv_slice *arguments; /* malloc'ed; data is valid once the request is ready, until the buffer changes */
	size_t *offsets;        /* in the same block: where each argument starts, counted from the buffer's start */
	char error[64];         /* what is wrong with a bad request */
};

/** Go on with parsing. An empty line or array is ready with count 0. */
enum kv_parse kv_request_parse(struct kv_request *request, const struct kv_buffer *buffer);

/** Bytes that the argument being received still lacks, 0 where none is: a hint for the next read. */
size_t kv_request_lacks(const struct kv_request *request, const struct kv_buffer *buffer);

/** Forget a request that is done and drop its bytes from the buffer. */
void kv_request_finish(struct kv_request *request, struct kv_buffer *buffer);

/** Free the argument vector. */
void kv_request_free(struct kv_request *request);

/** A decimal integer, the whole slice and nothing else; false where it is none or does not fit. */
bool kv_parse_integer(struct kv_slice text, int64_t *number);

/** Replies. A failure is kept in the buffer's `failed`. */
void kv_reply_status(struct kv_buffer *out, const char *text);
void kv_reply_error(struct kv_buffer *out, const char *text); /* text starts with its kind: "ERR ..." */
void kv_reply_integer(struct kv_buffer *out, int64_t number);
void kv_reply_bulk(struct kv_buffer *out, const void *bytes, size_t nbytes);
void kv_reply_null(struct kv_buffer *out);
void kv_reply_array(struct kv_buffer *out, size_t count);

#endif
