/* SPDX-License-Identifier: MIT */
/*
 * The load generator's connections: each keeps up to `pipeline` requests under way and checks every reply; a thread
 * serves its connections with epoll. The loop is closed (a slow server is asked less often), so latencies are what a
 * client with that many requests under way sees.
 */
#ifndef KV_CLIENT_H
#define KV_CLIENT_H

#include "kv_histogram.h"
#include "kv_model.h"

#include <stdatomic.h>

#define KV_PIPELINE_LIMIT 256

/* One connection; its thread's alone. */
struct kv_client {
	int fd;
	unsigned pipeline;         /* most requests under way */
	unsigned first;            /* index in the ring of the oldest one */
	unsigned under_way;
	bool finished;             /* the phase has no further request for it */
	bool waits_to_write;       /* epoll watches for room */
	struct kv_buffer in;
	struct kv_buffer out;
	struct kv_model model;
	struct kv_expect *expects; /* ring of `pipeline` */
};

/* What a thread measured in a phase. */
struct kv_tally {
	uint64_t requests;
	struct kv_histogram latency;
};

/* What all threads share: the count of wrong replies, and whether the run has failed for good. */
struct kv_outcome {
	atomic_ullong wrong;
	atomic_bool broken;
};

/** Connect to 127.0.0.1; the socket, or -1 with errno. */
int kv_client_connect(unsigned port);

/**
 * Run a phase over a thread's connections, to its end or, for churn, until a time.
 *
 * until      ns of the monotonic clock; 0: the phase ends by itself
 * Returns    false, and outcome->broken set, where a connection broke or the server gave no reply for ten seconds
 */
bool kv_client_run(struct kv_client *clients, unsigned count, enum kv_phase phase, uint64_t until,
		   struct kv_tally *tally, struct kv_outcome *outcome);

/** Nanoseconds of the monotonic clock. */
uint64_t kv_now(void);

/**
 * Send one inline command over a connection of its own and wait for the reply.
 *
 * reply      gets the whole reply as it came; the caller frees it
 * Returns    false where there is none within ten seconds
 */
bool kv_ask(unsigned port, const char *command, struct kv_buffer *reply);

/** The same over a socket that is connected and has nothing under way, which puts the question to its worker. */
bool kv_ask_over(int fd, const char *command, struct kv_buffer *reply);

#endif
