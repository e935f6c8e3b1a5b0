/* SPDX-License-Identifier: MIT */
/*
 * The commands of the server. A session is what a command sees of its connection; it runs on the connection's worker,
 * and all that workers share is the table, the counters and the stop request.
 */
#ifndef KV_COMMAND_H
#define KV_COMMAND_H

#include "kv_buffer.h"
#include "kv_table.h"

#include <stdatomic.h>

/* What the commands know about the server. */
struct kv_service {
	struct kv_table *table;
	atomic_size_t clients;  /* connections open */
	atomic_ullong accepted; /* connections ever accepted */
	unsigned threads;       /* workers; constant */
	const int *cpus;        /* worker i is bound to cpus[i % ncpus]; constant */
	unsigned ncpus;         /* 0: workers run where they like; constant */
	unsigned port;          /* constant */
	int64_t started;        /* kv_clock_ms; constant */
};

struct kv_session {
	struct kv_service *service;
	struct kv_buffer *out; /* replies */
	bool closing;          /* close once the replies are out */
};

/** Run one request; count is at least 1. Exactly one reply is appended. */
void kv_command_run(struct kv_session *session, const struct kv_slice *arguments, size_t count);

/* The handlers; arguments[0] is the command's name and count has been checked against the command's arity. */
typedef void kv_handler(struct kv_session *session, const struct kv_slice *arguments, size_t count);

/* kv_strings.c */
kv_handler kv_command_get;
kv_handler kv_command_set;
kv_handler kv_command_mget;
kv_handler kv_command_mset;
kv_handler kv_command_append;
kv_handler kv_command_incr;
kv_handler kv_command_strlen;

/* kv_containers.c */
kv_handler kv_command_lpush;
kv_handler kv_command_rpush;
kv_handler kv_command_lpop;
kv_handler kv_command_rpop;
kv_handler kv_command_llen;
kv_handler kv_command_lrange;
kv_handler kv_command_hset;
kv_handler kv_command_hget;
kv_handler kv_command_hlen;

/* kv_info.c */
kv_handler kv_command_info;
kv_handler kv_command_quarry;
kv_handler kv_command_object;

/** Print Quarry's summary to a file descriptor; false where the server runs on another malloc. */
bool kv_print_summary(int fd);

/** True if a slice is this word, in any case. */
bool kv_slice_is(struct kv_slice slice, const char *word);

/** The replies that more than one file needs. */
void kv_reply_wrong_type(struct kv_buffer *out);
void kv_reply_no_memory(struct kv_buffer *out);

#endif
