/* SPDX-License-Identifier: MIT */
/*
 * What the load generator knows about the server's keys. Each connection owns a part of the key space and a model of
 * it; requests of one connection are answered in order, so when a request is written the model already says what its
 * reply must be. The bytes of a value follow from its key and its version: a value that was lost, mixed up, cut or
 * overwritten is seen in the reply. One thread uses a model.
 */
#ifndef KV_MODEL_H
#define KV_MODEL_H

#include "kv_buffer.h"

#include <stdint.h>

#define KV_ABSENT UINT32_MAX /* as a size: there is no such value */
#define KV_FIELDS 8          /* fields of a hash */
#define KV_DEPTH 48          /* most elements of a list */
#define KV_ITEMS 8           /* most bulks in one reply */

/* The bytes of one value: nbytes of the stream that the seed gives. */
struct kv_content {
	uint64_t seed;
	uint32_t nbytes; /* KV_ABSENT: a null reply */
};

enum kv_expect_kind { KV_EXPECT_OK, KV_EXPECT_INTEGER, KV_EXPECT_BULK, KV_EXPECT_ARRAY };

/* The reply that a request must get. */
struct kv_expect {
	enum kv_expect_kind kind;
	unsigned count;  /* of items: 1 for a bulk */
	int64_t number;  /* KV_EXPECT_INTEGER */
	uint64_t sent;   /* ns of the monotonic clock */
	const char *verb;
	struct kv_content items[KV_ITEMS];
};

struct kv_string_state {
	uint32_t version; /* counts the SETs */
	uint32_t nbytes;  /* now, appended bytes included; KV_ABSENT */
};

struct kv_list_state {
	uint32_t epoch; /* counts the DELs */
	uint32_t depth; /* elements; 0: the key is absent */
};

struct kv_hash_state {
	uint32_t versions[KV_FIELDS]; /* each counts the HSETs of its field */
	uint32_t present;             /* bit per field */
};

enum kv_phase { KV_FILL, KV_CHURN, KV_SHRINK, KV_VERIFY, KV_PHASES };

struct kv_model {
	unsigned id;       /* number of the connection */
	unsigned stride;   /* number of connections: key i of the model is key i * stride + id of all */
	unsigned keep;     /* percent of the keys that shrinking leaves */
	uint32_t nstrings; /* keys of each type */
	uint32_t nothers;  /* lists, hashes and counters: so many of each */
	uint32_t next;     /* how far a phase that walks the keys has come */
	uint64_t random;   /* state of the generator */
	struct kv_string_state *strings;
	struct kv_list_state *lists;
	struct kv_hash_state *hashes;
	uint32_t *counters; /* 0: the key is absent */
};

/** Set up connection id of `stride` ones that share so many string keys; false without memory. */
bool kv_model_create(struct kv_model *model, unsigned id, unsigned stride, uint32_t keys, unsigned keep,
		     uint64_t seed);

void kv_model_destroy(struct kv_model *model);

/** Begin a phase. */
void kv_model_start(struct kv_model *model);

/** Write a phase's next request to out and say what its reply must be. False at the phase's end; churn has none. */
bool kv_model_next(struct kv_model *model, enum kv_phase phase, struct kv_buffer *out, struct kv_expect *expect);

/** Bytes of keys and values that the server must hold; *keys becomes their number. */
uint64_t kv_model_live(const struct kv_model *model, uint64_t *keys);

enum kv_verdict { KV_REPLY_MORE, KV_REPLY_RIGHT, KV_REPLY_WRONG, KV_REPLY_BROKEN };

/**
 * Compare the reply at the start of an input buffer with what it must be, and drop it from the buffer.
 *
 * what       room for a line that says what is wrong
 * Returns    MORE where it is not complete, BROKEN where the stream cannot be followed any further
 */
enum kv_verdict kv_reply_check(struct kv_buffer *in, const struct kv_expect *expect, char *what, size_t what_size);

/** Bytes of the complete reply at the start of data: 0 where some are missing, -1 where it is no reply. */
long kv_reply_measure(const char *data, size_t nbytes);

/** Write bytes offset to offset + nbytes of the stream of a seed. */
void kv_content_fill(char *bytes, uint64_t seed, size_t offset, size_t nbytes);

/** True if the bytes are a content's. */
bool kv_content_matches(const char *bytes, const struct kv_content *content);

#endif
