/* SPDX-License-Identifier: MIT */
/*
 * What the scenarios of tests/numa share: the machine as the kernel shows it, sets of blocks, and tallies of pages.
 *
 * The program calls plain malloc, so that any allocator can be preloaded; what Quarry alone can tell is asked through
 * dlsym. All tables lie in mappings of their own, and stdio allocates nothing: no malloc but the scenario's.
 *
 * A scenario writes to standard output, one line per figure:
 *
 *     @figure NAME RIGHT TOTAL     so many of so many pages (or calls) were as they should be
 *     @note NAME VALUE             beside the figures; unbounded
 *
 * and returns 0, or 1 if something went wrong that no figure shows. Which figures suffice is tests/numa/check's to say.
 */
#ifndef QUARRY_TESTS_NUMA_PLACEMENT_H
#define QUARRY_TESTS_NUMA_PLACEMENT_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAX_CPUS 64
#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

#define FAIL(...) fail(__FILE__, __LINE__, __VA_ARGS__)
#define CHECK(condition) ((condition) ? (void)0 : FAIL("not true: %s", #condition))

_Noreturn void fail(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* --- the machine -------------------------------------------------------------------------------------------------- */

/* CPUs that this process may use, and the node whose memory serves each: its own, or the nearest that may be used.
 * Nodes have the kernel's numbers, 0 to 63. Constant after machine_read. */
struct machine {
	unsigned long allowed; /* nodes whose memory may be used, a bit each */
	int ncpus;
	int cpu[MAX_CPUS];
	int node[MAX_CPUS];
};
extern struct machine machine;

void machine_read(void);

/** Move the calling thread to the n-th CPU; returns machine.node[n]. */
int run_on(int n);

double seconds(void);

/* --- blocks ------------------------------------------------------------------------------------------------------- */

/* Slots for blocks. node is where the block should be: that of the thread that allocated it. */
struct block {
	char *address;
	size_t nbytes;
	int node;
};

struct blocks {
	struct block *block;
	size_t n;
};

/** Zeroed memory of the test's own; shared with children that are forked later. */
void *map_table(size_t nbytes);
void *map_shared(size_t nbytes);
struct blocks blocks_make(size_t n);

/** Write to every page of a block. */
void touch(char *address, size_t nbytes);

/** malloc and touch, into a slot that is empty. */
void block_fill(struct block *block, size_t nbytes, int node);
void block_empty(struct block *block);
void blocks_empty(struct blocks blocks);

/* xorshift64*; state is never 0. */
uint64_t random_next(uint64_t *state);

/** Sizes as servers ask for: mostly 16 bytes to 4 KiB, some to 300 KiB; one in `rarely` has 5 MiB (0: none). */
size_t random_size(uint64_t *state, unsigned rarely);

/* --- pages -------------------------------------------------------------------------------------------------------- */

struct tally {
	uint64_t right, total;
};

/** Ask the kernel for the node of each page of a block; those on `node` are right, those not resident do not count. */
void ask_pages(const void *address, size_t nbytes, int node, struct tally *tally);

/** The node of the page at an address; negative where there is none. */
int ask_page(const void *address);

/** ask_pages for each block of the set. */
void ask_blocks(struct blocks blocks, struct tally *tally);

/** Under Quarry: ask_pages for every live block of the process, against the node of its arena. False elsewhere. */
bool ask_arenas(struct tally *tally);

/** Under Quarry with several nodes: all its resident pages, as it counts them by asking the kernel. */
bool ask_residency(struct tally *tally);

/** Under Quarry: a counter of struct quarry_node_stats, at an offset, over all nodes. False elsewhere. */
bool sum_of_nodes(size_t offset, uint64_t *sum);

void add(struct tally *sum, struct tally part);
void figure(const char *name, struct tally tally);
void note(const char *name, double value);

/* --- threads ------------------------------------------------------------------------------------------------------ */

/** One thread per CPU runs work(index); returns when all have. At most `most` threads. */
void on_all_cpus(void (*work)(int index), int most);

/** All threads of on_all_cpus wait for each other. */
void meet(void);

/** One thread that runs work(index) and is joined. */
void on_one_cpu(void (*work)(int index), int index);

/* --- scenarios ---------------------------------------------------------------------------------------------------- */

int scenario_pinned(void);
int scenario_exchange(void);
int scenario_churn(void);
int scenario_fork(void);
int scenario_handed(void);
int scenario_remote(void);
int scenario_migrate(void);
int scenario_spill(void);
int scenario_program(void);
int scenario_calls(void);
int scenario_kinds(void);
int scenario_interleaved(void);
int scenario_spread(void);
int scenario_settled(void);

#endif
