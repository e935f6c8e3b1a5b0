/* SPDX-License-Identifier: MIT */
/* The load generator's side of replies: the stream of bytes that values are made of, and the comparison with it. */
#include "kv_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEP 0x9e3779b97f4a7c15u /* odd, so the words of a stream differ */

void kv_content_fill(char *bytes, uint64_t seed, size_t offset, size_t nbytes)
{
	uint64_t word = seed + offset / 8 * STEP;
	size_t part = offset % 8 ? 8 - offset % 8 : 0;

	if (part > nbytes)
		part = nbytes;
	if (part > 0) {
		memcpy(bytes, (char *)&word + offset % 8, part);
		bytes += part;
		nbytes -= part;
		word += STEP;
	}
	for (; nbytes >= 8; nbytes -= 8, bytes += 8, word += STEP)
		memcpy(bytes, &word, 8);
	memcpy(bytes, &word, nbytes);
}

bool kv_content_matches(const char *bytes, const struct kv_content *content)
{
	uint64_t word = content->seed;
	uint64_t differs = 0;
	uint64_t there;
	size_t left = content->nbytes;

	for (; left >= 8; left -= 8, bytes += 8, word += STEP) {
		memcpy(&there, bytes, 8);
		differs |= there ^ word;
	}
	return !differs && !memcmp(bytes, &word, left);
}

/* The number behind a reply's first byte; its line must be complete. */
static long line_number(const char *line)
{
	return strtol(line + 1, NULL, 10);
}

static long measure_line(const char *data, size_t nbytes)
{
	const char *end = memchr(data, '\n', nbytes);

	return end ? end - data + 1 : 0;
}

static long measure_bulk(const char *data, size_t nbytes)
{
	long line = measure_line(data, nbytes);
	long body;

	if (line == 0)
		return 0;
	body = line_number(data);
	if (body < -1 || body > (1l << 30))
		return -1;
	if (body == -1)
		return line;
	if (nbytes - (size_t)line < (size_t)body + 2)
		return 0;
	return memcmp(data + line + body, "\r\n", 2) ? -1 : line + body + 2;
}

long kv_reply_measure(const char *data, size_t nbytes)
{
	long at = nbytes ? measure_line(data, nbytes) : 0;
	long count;
	long item;

	if (nbytes == 0)
		return 0;
	if (data[0] == '$')
		return measure_bulk(data, nbytes);
	if (data[0] != '*')
		return strchr("+-:", data[0]) && data[0] ? at : -1;
	if (at == 0)
		return 0;
	count = line_number(data);
	for (long i = 0; i < count; i++) {
		if ((size_t)at >= nbytes)
			return 0;
		item = data[at] == '$' ? measure_bulk(data + at, nbytes - (size_t)at) : -1;
		if (item <= 0)
			return item;
		at += item;
	}
	return at;
}

/* Compare one bulk, complete at *at, with its content and move over it. */
static bool check_bulk(const char **at, const struct kv_content *content, char *what, size_t what_size)
{
	const char *body = strchr(*at, '\n') + 1;
	long nbytes = line_number(*at);
	bool absent = content->nbytes == KV_ABSENT;

	*at = nbytes < 0 ? body : body + nbytes + 2;
	if (nbytes != (absent ? -1 : (long)content->nbytes)) {
		snprintf(what, what_size, "a value of %ld bytes instead of %ld (-1: none)", nbytes,
			 absent ? -1 : (long)content->nbytes);
		return false;
	}
	if (absent || kv_content_matches(body, content))
		return true;
	snprintf(what, what_size, "a value of %ld bytes with wrong content", nbytes);
	return false;
}

static bool check_array(const char *at, const struct kv_expect *expect, char *what, size_t what_size)
{
	long count = line_number(at);
	bool right = true;

	if (count != (long)expect->count) {
		snprintf(what, what_size, "%ld elements instead of %u", count, expect->count);
		return false;
	}
	at = strchr(at, '\n') + 1;
	for (unsigned i = 0; i < expect->count; i++)
		right = check_bulk(&at, &expect->items[i], what, what_size) && right;
	return right;
}

/* Compare a complete reply. */
static bool check(const char *data, long nbytes, const struct kv_expect *expect, char *what, size_t what_size)
{
	static const char kinds[] = { [KV_EXPECT_OK] = '+', [KV_EXPECT_INTEGER] = ':', [KV_EXPECT_BULK] = '$',
				      [KV_EXPECT_ARRAY] = '*' };

	if (data[0] != kinds[expect->kind]) {
		snprintf(what, what_size, "'%.*s' instead of a reply of kind %c", (int)(nbytes < 60 ? nbytes : 60) - 2,
			 data, kinds[expect->kind]);
		return false;
	}
	if (expect->kind == KV_EXPECT_BULK)
		return check_bulk(&data, &expect->items[0], what, what_size);
	if (expect->kind == KV_EXPECT_ARRAY)
		return check_array(data, expect, what, what_size);
	if (expect->kind == KV_EXPECT_OK && nbytes == 5 && !memcmp(data, "+OK\r\n", 5))
		return true;
	if (expect->kind == KV_EXPECT_INTEGER && line_number(data) == expect->number)
		return true;
	snprintf(what, what_size, "'%.*s' instead of %s%ld", (int)(nbytes < 60 ? nbytes : 60) - 2, data,
		 expect->kind == KV_EXPECT_OK ? "+OK, " : ":", (long)expect->number);
	return false;
}

enum kv_verdict kv_reply_check(struct kv_buffer *in, const struct kv_expect *expect, char *what, size_t what_size)
{
	const char *data = kv_buffer_head(in);
	long nbytes = kv_reply_measure(data, kv_buffer_pending(in));
	bool right;

	if (nbytes == 0)
		return KV_REPLY_MORE;
	if (nbytes < 0) {
		snprintf(what, what_size, "bytes that are no reply");
		return KV_REPLY_BROKEN;
	}
	right = check(data, nbytes, expect, what, what_size);
	kv_buffer_consume(in, (size_t)nbytes);
	return right ? KV_REPLY_RIGHT : KV_REPLY_WRONG;
}
