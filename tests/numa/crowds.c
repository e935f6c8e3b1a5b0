/* SPDX-License-Identifier: MIT */
/*
 * Scenarios of many threads, one on each CPU and bound to it: whatever a thread allocates belongs on its node.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "placement.h"

/* Live blocks per thread, and how often each is replaced. */
#define NBLOCKS 600
#define ROUNDS 6

static struct blocks sets[MAX_CPUS];

static void make_sets(size_t n)
{
	for (int i = 0; i < machine.ncpus; i++)
		sets[i] = blocks_make(n);
}

static void empty_sets(void)
{
	for (int i = 0; i < machine.ncpus; i++)
		blocks_empty(sets[i]);
}

/* What is live now: on the node of the thread that asked for it, and on the node of its arena; and all that is
 * resident, as Quarry's statistics tell. */
static void report(const char *local, const char *home, const char *residency)
{
	struct tally on_node = { 0 }, on_arena = { 0 }, of_pages = { 0 };

	for (int i = 0; i < machine.ncpus; i++)
		ask_blocks(sets[i], &on_node);
	figure(local, on_node);
	if (ask_arenas(&on_arena))
		figure(home, on_arena);
	if (residency && ask_residency(&of_pages))
		figure(residency, of_pages);
}

/* Replace n blocks at random. */
static void replace(struct blocks set, size_t n, int node, uint64_t *state)
{
	while (n-- > 0) {
		struct block *block = &set.block[random_next(state) % set.n];

		block_empty(block);
		block_fill(block, random_size(state, 400), node);
	}
}

static uint64_t seed_of(int index)
{
	return UINT64_C(0x9e3779b97f4a7c15) * (uint64_t)(index + 1);
}

/* --- each for itself ---------------------------------------------------------------------------------------------- */

static void work_pinned(int index)
{
	uint64_t state = seed_of(index);
	int node = run_on(index);

	for (int round = 0; round < ROUNDS; round++)
		replace(sets[index], NBLOCKS, node, &state);
}

int scenario_pinned(void)
{
	make_sets(NBLOCKS);
	on_all_cpus(work_pinned, MAX_CPUS);
	report("pinned", "pinned-arena", "pinned-residency");
	empty_sets();
	return 0;
}

/* --- blocks change hands ------------------------------------------------------------------------------------------ */

/* Each thread frees every other block of its neighbour's set, and puts blocks of its own there. */
static void work_exchange(int index)
{
	uint64_t state = seed_of(index);
	int node = run_on(index);

	replace(sets[index], 2 * NBLOCKS, node, &state);
	for (int round = 1; round <= ROUNDS; round++) {
		struct blocks theirs = sets[(index + round) % machine.ncpus];

		meet();
		for (size_t i = (size_t)round % 2; i < theirs.n; i += 2) {
			block_empty(&theirs.block[i]);
			block_fill(&theirs.block[i], random_size(&state, 400), node);
		}
	}
}

int scenario_exchange(void)
{
	make_sets(NBLOCKS);
	on_all_cpus(work_exchange, MAX_CPUS);
	report("exchange", "exchange-arena", NULL);
	empty_sets();
	return 0;
}

/* Allocated here, first touched there: the pages belong to the allocating thread's node all the same. */
static void work_handed(int index)
{
	uint64_t state = seed_of(index);
	int node = run_on(index);
	struct blocks mine = sets[index], theirs = sets[(index + 1) % machine.ncpus];

	for (size_t i = 0; i < mine.n; i++) {
		size_t nbytes = random_size(&state, 400);

		mine.block[i] = (struct block){ malloc(nbytes), nbytes, node };
		CHECK(mine.block[i].address);
	}
	meet();
	for (size_t i = 0; i < theirs.n; i++)
		touch(theirs.block[i].address, theirs.block[i].nbytes);
}

int scenario_handed(void)
{
	make_sets(NBLOCKS);
	on_all_cpus(work_handed, MAX_CPUS);
	report("handed", "handed-arena", NULL);
	empty_sets();
	return 0;
}

/* --- threads come and go ------------------------------------------------------------------------------------------ */

#define GENERATIONS 12

static int generation;

/* The thread before it on this set may have been on any node: what it left is freed here. */
static void work_churn(int index)
{
	uint64_t state = seed_of(index + generation * MAX_CPUS);
	int node = run_on((index + generation) % machine.ncpus);

	for (size_t i = 0; i < sets[index].n; i++) {
		block_empty(&sets[index].block[i]);
		block_fill(&sets[index].block[i], random_size(&state, 0), node);
	}
}

int scenario_churn(void)
{
	struct tally on_node = { 0 }, on_arena = { 0 };
	bool quarry = false;

	make_sets(NBLOCKS / 4);
	for (generation = 0; generation < GENERATIONS; generation++) {
		on_all_cpus(work_churn, MAX_CPUS);
		for (int i = 0; i < machine.ncpus; i++)
			ask_blocks(sets[i], &on_node);
		quarry = ask_arenas(&on_arena);
	}
	figure("churn", on_node);
	if (quarry)
		figure("churn-arena", on_arena);
	empty_sets();
	return 0;
}

/* --- fork --------------------------------------------------------------------------------------------------------- */

#define CHILDREN 6

/* Shared with the children. */
struct fork_result {
	struct tally fresh, copied;
};
static struct fork_result *forked;
static atomic_bool over;

/* What the child allocates lies on its node. What it inherited and writes to, from another node, is copied: to its
 * home. */
static void child_main(int index, int node)
{
	struct blocks fresh = blocks_make(NBLOCKS / 4);
	uint64_t state = seed_of(index + MAX_CPUS);

	for (size_t i = 0; i < fresh.n; i++)
		block_fill(&fresh.block[i], random_size(&state, 0), node);
	ask_blocks(fresh, &forked->fresh);
	run_on(machine.ncpus - 1);
	for (size_t i = 0; i < sets[0].n; i++) {
		if (sets[0].block[i].address)
			touch(sets[0].block[i].address, sets[0].block[i].nbytes);
	}
	ask_blocks(sets[0], &forked->copied);
	blocks_empty(fresh);
	blocks_empty(sets[0]);
	_exit(0);
}

/* The first thread forks while the others allocate. */
static void work_fork(int index)
{
	uint64_t state = seed_of(index);
	int node = run_on(index), status;

	replace(sets[index], NBLOCKS, node, &state);
	meet();
	while (index != 0 && !over)
		replace(sets[index], 1, node, &state);
	for (int child = 0; index == 0 && child < CHILDREN; child++) {
		replace(sets[index], NBLOCKS / 4, node, &state);
		pid_t pid = fork();
		CHECK(pid >= 0);
		if (pid == 0)
			child_main(child, node);
		CHECK(waitpid(pid, &status, 0) == pid);
		if (status != 0)
			FAIL("child %d ended with status %#x", child, (unsigned)status);
	}
	if (index == 0)
		over = true;
}

int scenario_fork(void)
{
	forked = map_shared(sizeof *forked);
	make_sets(NBLOCKS / 2);
	on_all_cpus(work_fork, MAX_CPUS);
	report("fork", "fork-arena", NULL);
	figure("fork-child", forked->fresh);
	figure("fork-copied", forked->copied);
	empty_sets();
	return 0;
}
