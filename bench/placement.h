/* SPDX-License-Identifier: MIT */
/*
 * What the NUMA loads (load/numa_*.c) have in common beyond the harness: threads that know their node, blocks whose
 * every byte is touched, the question to the kernel where their pages lie, and Quarry's counters where it answers.
 *
 * A thread is bound by the harness's `cpus` argument; node numbers are the kernel's, and rows and columns of what is
 * reported follow `node_ids`. Notes about pages are made by the main thread while the workers hold what they hold.
 */
#ifndef QUARRY_BENCH_PLACEMENT_H
#define QUARRY_BENCH_PLACEMENT_H

#include "harness.h"
#include "node_of.h"

#include <string.h>

/* As many nodes as Quarry tells apart. */
enum { PLACEMENT_NODES = 255, PLACEMENT_THREADS = 4096, PLACEMENT_LINE = 64 };

/* What one thread did; its own until it ends its work, then the main thread's. */
struct placement_thread {
	double ops;
	double seconds;
	uint64_t own_lines;	/* cache lines touched in blocks that it allocated itself */
	uint64_t other_lines;	/* and in those of other threads */
	uint64_t other_frees;	/* blocks of other threads that it freed */
	uint64_t mallocs;
	int node;		/* where it ended */
} __attribute__((aligned(128)));

extern struct placement_thread placement_threads[PLACEMENT_THREADS];

/* A set of live blocks that one thread replaces at random; homes[i] is the node of the thread at its allocation. */
struct placement_set {
	void **blocks;
	short *homes;
	long count;
	struct bench_rng rng;
};

static inline uint64_t placement_lines(size_t nbytes)
{
	return (nbytes + PLACEMENT_LINE - 1) / PLACEMENT_LINE;
}

/* A block of which every byte has been written. */
static inline void *placement_make(size_t nbytes, struct placement_thread *thread)
{
	void *block = malloc(nbytes);

	if (!block)
		bench_die("out of memory");
	memset(block, (int)nbytes, nbytes);
	bench_stamp(block, nbytes);
	thread->mallocs++;
	thread->own_lines += placement_lines(nbytes);
	return block;
}

/* Reads a word of each of its lines. Returns how many lines. */
static inline uint64_t placement_read(const void *block)
{
	size_t nbytes = bench_stamped(block);
	const volatile unsigned char *bytes = block;

	for (size_t at = 0; at < nbytes; at += PLACEMENT_LINE)
		(void)bytes[at];
	return placement_lines(nbytes);
}

void placement_set_init(struct placement_set *set, long count, int id);
/* `times` replacements, each: free one, make one, read another. */
void placement_set_churn(struct placement_set *set, struct placement_thread *thread, long times);
/* Notes the pages of all its blocks. */
void placement_set_note(const struct placement_set *set);

/* Counters of Quarry from here on count for the report. */
void placement_begin(void);
/* This block's pages should be on node `home`. */
void placement_note(const void *block, size_t nbytes, int home);
/* Asks the kernel for the pages noted and forgets them: the share that was at home, -1 where it does not say. */
double placement_ask(void);
/* Of the pages of the last placement_ask: the share on this node. */
double placement_share_on(int node);
/* Adds everything to the report: threads, nodes, matrix of pages, Quarry's counters. Returns the sum of ops. */
double placement_report(int nthreads);

#endif
