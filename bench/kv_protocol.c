/* SPDX-License-Identifier: MIT */
/* The parser and the replies of kv_protocol.h. */
#include "kv_protocol.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_ARGUMENTS 8

static enum kv_parse bad(struct kv_request *request, const char *what)
{
	snprintf(request->error, sizeof(request->error), "ERR Protocol error: %s", what);
	return KV_PARSE_BAD;
}

bool kv_parse_integer(struct kv_slice text, int64_t *number)
{
	bool negative = text.nbytes > 0 && text.data[0] == '-';
	int64_t value = 0;

	if (text.nbytes == (size_t)negative)
		return false;
	for (size_t i = negative; i < text.nbytes; i++) {
		if (text.data[i] < '0' || text.data[i] > '9')
			return false;
		/* Counted below zero, where there is room for one more. */
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_sub_overflow(value, text.data[i] - '0', &value))
			return false;
	}
	if (!negative && __builtin_sub_overflow((int64_t)0, value, &value))
		return false;
	*number = value;
	return true;
}

/* Slices and offsets lie in one block, so that they live and die together. */
static bool grow_arguments(struct kv_request *request, size_t capacity)
{
	size_t each = sizeof(struct kv_slice) + sizeof(size_t);
	struct kv_slice *arguments = malloc(capacity * each);
	size_t *offsets;

	if (!arguments)
		return false;
	offsets = (size_t *)(arguments + capacity);
	if (request->count > 0) {
		memcpy(arguments, request->arguments, request->count * sizeof(*arguments));
		memcpy(offsets, request->offsets, request->count * sizeof(*offsets));
	}
	free(request->arguments);
	request->arguments = arguments;
	request->offsets = offsets;
	request->capacity = capacity;
	return true;
}

static bool add_argument(struct kv_request *request, size_t offset, size_t nbytes)
{
	size_t capacity = request->capacity ? request->capacity * 2 : FIRST_ARGUMENTS;

	if (request->count == request->capacity && !grow_arguments(request, capacity))
		return false;
	request->offsets[request->count] = offset;
	request->arguments[request->count].nbytes = nbytes;
	request->count++;
	return true;
}

/* The next line, its end moved over; MORE while its end is not there, BAD where it is too long. */
static enum kv_parse next_line(struct kv_request *request, const struct kv_buffer *buffer, struct kv_slice *line)
{
	const char *start = kv_buffer_head(buffer) + request->scanned;
	size_t nbytes = kv_buffer_pending(buffer) - request->scanned;
	const char *end = nbytes ? memchr(start, '\n', nbytes < KV_LINE_LIMIT ? nbytes : KV_LINE_LIMIT) : NULL;

	if (!end)
		return nbytes < KV_LINE_LIMIT ? KV_PARSE_MORE : bad(request, "too big a line");
	request->scanned += (size_t)(end - start) + 1;
	if (end > start && end[-1] == '\r')
		end--;
	*line = (struct kv_slice){ start, (size_t)(end - start) };
	return KV_PARSE_READY;
}

/* A request typed by a person: words between blanks. */
static enum kv_parse parse_inline(struct kv_request *request, const struct kv_buffer *buffer, struct kv_slice line)
{
	size_t base = (size_t)(line.data - kv_buffer_head(buffer));
	size_t i = 0;
	size_t start;

	while (i < line.nbytes) {
		if (line.data[i] == ' ' || line.data[i] == '\t') {
			i++;
			continue;
		}
		start = i;
		while (i < line.nbytes && line.data[i] != ' ' && line.data[i] != '\t')
			i++;
		if (!add_argument(request, base + start, i - start))
			return bad(request, "out of memory");
	}
	request->expected = request->count;
	return KV_PARSE_READY;
}

/* The array header, or a whole inline request. MORE after a header means: go on with the arguments. */
static enum kv_parse parse_start(struct kv_request *request, const struct kv_buffer *buffer)
{
	struct kv_slice line;
	int64_t count;
	enum kv_parse state = next_line(request, buffer, &line);

	if (state != KV_PARSE_READY)
		return state;
	if (line.nbytes == 0 || line.data[0] != '*')
		return parse_inline(request, buffer, line);
	if (!kv_parse_integer((struct kv_slice){ line.data + 1, line.nbytes - 1 }, &count) ||
	    count > KV_ARGUMENT_LIMIT)
		return bad(request, "invalid multibulk length");
	if (count <= 0)
		return KV_PARSE_READY;
	request->expected = (size_t)count;
	return KV_PARSE_MORE;
}

static enum kv_parse parse_bulk_header(struct kv_request *request, const struct kv_buffer *buffer)
{
	struct kv_slice line;
	int64_t nbytes;
	enum kv_parse state = next_line(request, buffer, &line);

	if (state != KV_PARSE_READY)
		return state;
	if (line.nbytes == 0 || line.data[0] != '$')
		return bad(request, "expected '$'");
	if (!kv_parse_integer((struct kv_slice){ line.data + 1, line.nbytes - 1 }, &nbytes) || nbytes < 0 ||
	    nbytes > (int64_t)KV_BULK_LIMIT)
		return bad(request, "invalid bulk length");
	if (request->scanned + (size_t)nbytes > KV_REQUEST_LIMIT)
		return bad(request, "too big a request");
	request->bulk = (size_t)nbytes;
	request->in_bulk = true;
	return KV_PARSE_READY;
}

static enum kv_parse parse_bulk(struct kv_request *request, const struct kv_buffer *buffer)
{
	const char *end;

	if (kv_buffer_pending(buffer) - request->scanned < request->bulk + 2)
		return KV_PARSE_MORE;
	end = kv_buffer_head(buffer) + request->scanned + request->bulk;
	if (end[0] != '\r' || end[1] != '\n')
		return bad(request, "bulk without its end");
	if (!add_argument(request, request->scanned, request->bulk))
		return bad(request, "out of memory");
	request->scanned += request->bulk + 2;
	request->in_bulk = false;
	return KV_PARSE_READY;
}

enum kv_parse kv_request_parse(struct kv_request *request, const struct kv_buffer *buffer)
{
	enum kv_parse state;

	if (request->expected == 0) {
		state = parse_start(request, buffer);
		if (state == KV_PARSE_BAD || (state == KV_PARSE_MORE && request->expected == 0))
			return state;
	}
	while (request->count < request->expected) {
		state = request->in_bulk ? KV_PARSE_READY : parse_bulk_header(request, buffer);
		if (state == KV_PARSE_READY)
			state = parse_bulk(request, buffer);
		if (state != KV_PARSE_READY)
			return state;
	}
	for (size_t i = 0; i < request->count; i++)
		request->arguments[i].data = kv_buffer_head(buffer) + request->offsets[i];
	return KV_PARSE_READY;
}

size_t kv_request_lacks(const struct kv_request *request, const struct kv_buffer *buffer)
{
	size_t there = kv_buffer_pending(buffer) - request->scanned;

	return request->in_bulk && request->bulk + 2 > there ? request->bulk + 2 - there : 0;
}

void kv_request_finish(struct kv_request *request, struct kv_buffer *buffer)
{
	kv_buffer_consume(buffer, request->scanned);
	request->scanned = 0;
	request->expected = 0;
	request->in_bulk = false;
	request->count = 0;
	if (request->capacity > KV_ARGUMENTS_KEPT)
		kv_request_free(request);
}

void kv_request_free(struct kv_request *request)
{
	free(request->arguments);
	*request = (struct kv_request){ 0 };
}

/* --- replies ---------------------------------------------------------------------------------------------------- */

static void append_number_line(struct kv_buffer *out, char kind, int64_t number)
{
	char line[32];
	char *digit = line + sizeof(line);
	uint64_t rest = number < 0 ? -(uint64_t)number : (uint64_t)number;

	*--digit = '\n';
	*--digit = '\r';
	do {
		*--digit = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest);
	if (number < 0)
		*--digit = '-';
	*--digit = kind;
	kv_buffer_append(out, digit, (size_t)(line + sizeof(line) - digit));
}

void kv_reply_status(struct kv_buffer *out, const char *text)
{
	kv_buffer_append(out, "+", 1);
	kv_buffer_append(out, text, strlen(text));
	kv_buffer_append(out, "\r\n", 2);
}

void kv_reply_error(struct kv_buffer *out, const char *text)
{
	kv_buffer_append(out, "-", 1);
	kv_buffer_append(out, text, strlen(text));
	kv_buffer_append(out, "\r\n", 2);
}

void kv_reply_integer(struct kv_buffer *out, int64_t number)
{
	append_number_line(out, ':', number);
}

void kv_reply_bulk(struct kv_buffer *out, const void *bytes, size_t nbytes)
{
	append_number_line(out, '$', (int64_t)nbytes);
	kv_buffer_append(out, bytes, nbytes);
	kv_buffer_append(out, "\r\n", 2);
}

void kv_reply_null(struct kv_buffer *out)
{
	kv_buffer_append(out, "$-1\r\n", 5);
}

void kv_reply_array(struct kv_buffer *out, size_t count)
{
	append_number_line(out, '*', (int64_t)count);
}
