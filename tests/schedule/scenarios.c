/* SPDX-License-Identifier: MIT */
/*
 * Scenarios: what the threads do whose schedules are tried. scenarios NAME FIRST COUNT runs the schedules of the seeds
 * from FIRST on, each in a process of its own, up to the first that fails; with QUARRY_SCHEDULE_SEED=N only that one,
 * and its last switches are shown if it fails.
 *
 * Each block that a thread holds is noted in a table: none may be handed out twice. When all threads have ended and
 * their blocks are freed, nothing may be out of a pool, wait in an inbox or, after a trim, be used in an arena.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "arena_list.h"
#include "claim.h"
#include "fork.h"
#include "heap.h"
#include "node.h"
#include "options.h"
#include "purge.h"
#include "quarry/quarry.h"
#include "rcu.h"
#include "scheduler.h"
#include "slot.h"
#include "thread.h"

#define MOST_HELD 4096
#define SMALL 64
#define DEAD 96    /* a class that is used once: see walks */
#define SPAN 30000 /* seven fill an arena */
#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define TIMES(n) ((void *)(intptr_t)(n))

/* --- blocks ------------------------------------------------------------------------------------------------------- */

enum place { FREE, LEAVING, OUT };

/* By address; never shrinks, so that a slot stays with its block. One thread runs at a time, and none stops in here. */
static struct held {
	char *block;
	size_t nbytes;
	enum place place;
	uint64_t freed_at; /* by `events` */
} held[MOST_HELD];
static uint64_t events = 1;
static size_t wanted[16]; /* by thread: what it is asking malloc for, 0: nothing */

static size_t *my_wish(void)
{
	return &wanted[schedule_self() + 1];
}

static struct held *find(const void *block)
{
	size_t at = ((uintptr_t)block >> 4) * 2654435761u % MOST_HELD;
	while (held[at].block != NULL && held[at].block != block)
		at = (at + 1) % MOST_HELD;
	return &held[at];
}

static char mark_of(const void *block)
{
	return (char)(((uintptr_t)block >> 4) * 31 + 7);
}

static bool is_whole(const struct held *held)
{
	for (size_t i = 0; i < held->nbytes; i++)
		if (held->block[i] != mark_of(held->block))
			return false;
	return true;
}

static void *make(size_t nbytes)
{
	*my_wish() = nbytes;
	char *block = quarry_malloc(nbytes);
	*my_wish() = 0;
	check(block != NULL);
	struct held *held = find(block);
	check(held->place != OUT);
	*held = (struct held){block, nbytes, OUT, 0};
	memset(block, mark_of(block), nbytes);
	return block;
}

static void drop(void *block)
{
	if (block == NULL)
		return;
	struct held *held = find(block);
	check(held->place == OUT && is_whole(held));
	held->place = LEAVING;
	held->freed_at = UINT64_MAX;
	quarry_free(block);
	if (held->place == LEAVING) { /* else somebody got it meanwhile */
		held->place = FREE;
		held->freed_at = events++;
	}
}

/* Where blocks are left for others to take. */
static void *table[12];

static void *exchange(void *block)
{
	void **place = &table[schedule_random(COUNT(table))], *old = *place;
	*place = block;
	return old;
}

static size_t small_size(void)
{
	return SMALL + 16 * schedule_random(2);
}

/* What a walk must report and what it may not: see walks. */
static struct {
	void *block;
	unsigned seen;
} pinned[6];
static bool pinned_live, dead_gone; /* from now on */

/* --- what threads do ---------------------------------------------------------------------------------------------- */

/* Blocks of its own and of others. */
static void *churns(void *arg)
{
	void *own[6] = {NULL};
	for (int i = 0; i < (int)(intptr_t)arg; i++) {
		void **one = &own[schedule_random(COUNT(own))];
		switch (schedule_random(4)) {
		case 0:
			*one = exchange(*one);
			break;
		case 1:
			drop(*one);
			*one = NULL;
			break;
		default:
			drop(*one);
			*one = make(small_size());
		}
	}
	for (unsigned i = 0; i < COUNT(own); i++)
		drop(schedule_random(2) == 0 ? exchange(own[i]) : own[i]);
	return NULL;
}

/* The same, its memory now on one of two nodes, now on the other: each time it parks a heap and takes another. */
static void *moves(void *arg)
{
	for (int i = 0; i < (int)(intptr_t)arg; i++) {
		check(thread_pin((int)schedule_random(2)));
		churns(TIMES(4));
	}
	return NULL;
}

/* Arenas fill and become empty. */
static void *grows(void *arg)
{
	void *spans[9];
	for (int i = 0; i < (int)(intptr_t)arg; i++) {
		for (unsigned k = 0; k < COUNT(spans); k++)
			spans[k] = make(SPAN);
		for (unsigned k = 0; k < COUNT(spans); k++)
			drop(spans[k]);
	}
	return NULL;
}

/* Full lists, so that what follows takes no slow path of its own accord; a visitor waits for that. */
static bool is_warm;

static void *is_visited(void *arg)
{
	void *blocks[40];
	for (unsigned i = 0; i < COUNT(blocks); i++)
		blocks[i] = make(small_size());
	for (unsigned i = 0; i < COUNT(blocks); i++)
		drop(blocks[i]);
	is_warm = true;
	return churns(arg);
}

static void *visits_warm(void *arg)
{
	while (!is_warm)
		schedule_yield();
	for (int i = 0; i < (int)(intptr_t)arg; i++)
		claim_visit(CLAIM_ALL);
	return NULL;
}

static void *visits(void *arg)
{
	for (int i = 0; i < (int)(intptr_t)arg; i++)
		claim_visit((enum claim_scope)schedule_random(3));
	return NULL;
}

/* Registered with RCU: a thread that may be in a read section unmaps nothing. */
static void *trims(void *arg)
{
	check(quarry_owns(&pinned) == 0);
	for (int i = 0; i < (int)(intptr_t)arg; i++)
		quarry_trim(0);
	return NULL;
}

static void *produces(void *arg)
{
	for (int i = 0; i < (int)(intptr_t)arg; i++)
		drop(exchange(make(SMALL)));
	return NULL;
}

/* A thread without a heap: what it frees goes home at once, block by block. */
static void *consumes(void *arg)
{
	slot.state = SLOT_DEAD;
	for (int i = 0; i < (int)(intptr_t)arg; i++)
		drop(exchange(NULL));
	return NULL;
}

static void look_at_arenas(void)
{
	bool by_rcu = thread_reader_enter();
	size_t sum = 0;
	for (struct arena_object *arena = arena_list_first(); arena != NULL; arena = arena_list_next(arena)) {
		schedule_point();
		sum += arena->ntotalpools + (size_t)*(volatile char *)arena->address;
	}
	thread_reader_leave(by_rcu);
	check(sum > 0);
}

/* Looks at every arena, in read sections of its own and by the calls that have them. */
static void *reads(void *arg)
{
	struct quarry_stats stats;
	char *mine = make(SMALL);
	for (int i = 0; i < (int)(intptr_t)arg; i++) {
		for (int k = 0; k < 20; k++)
			look_at_arenas();
		check(quarry_owns(mine + 7) == 1 && quarry_block_of(mine + 9, NULL) == mine);
		check(quarry_stats_get(&stats, sizeof(stats)) == 0);
	}
	drop(mine);
	return NULL;
}

/* --- a walk ------------------------------------------------------------------------------------------------------- */

static uint64_t walk_began;
static struct held *suspects[256]; /* reported though they were free before, unless somebody is just getting them */
static unsigned nsuspects;
static bool none_dead;

static int report(const struct quarry_block *block, void *unused)
{
	struct held *held = find(block->address);
	(void)unused;
	for (unsigned i = 0; i < COUNT(pinned); i++)
		pinned[i].seen += pinned[i].block == block->address;
	check(!none_dead || block->nbytes != quarry_good_size(DEAD)); /* another thread's pool may lie there now */
	if (held->block == NULL || (held->place == FREE && held->freed_at < walk_began)) {
		held->block = block->address;
		check(nsuspects < COUNT(suspects));
		suspects[nsuspects++] = held;
	}
	drop(make(SMALL));
	return 0;
}

/* At the end those are out, or were, or are on their way to one of the threads that ask for a block. */
static void clear_suspects(void)
{
	unsigned left = 0, asking = 0;
	for (unsigned i = 0; i < nsuspects; i++)
		left += suspects[i]->place == FREE && suspects[i]->freed_at < walk_began;
	for (unsigned i = 0; i < COUNT(wanted); i++)
		asking += wanted[i] != 0;
	check(left <= asking);
	nsuspects = 0;
}

static void *walks(void *arg)
{
	for (int i = 0; i < (int)(intptr_t)arg; i++) {
		bool all_pinned = pinned_live;
		none_dead = dead_gone;
		walk_began = events++;
		for (unsigned k = 0; k < COUNT(pinned); k++)
			pinned[k].seen = 0;
		check(quarry_walk(report, NULL) == 0);
		for (unsigned k = 0; all_pinned && k < COUNT(pinned); k++)
			check(pinned[k].seen == 1);
		clear_suspects();
	}
	return NULL;
}

/* Blocks that each walk must report, and some that none may, which lie in a cache or are on their way home. */
static void *is_walked(void *arg)
{
	void *dead[6];
	for (unsigned i = 0; i < COUNT(pinned); i++)
		pinned[i].block = make(small_size());
	pinned_live = true;
	for (unsigned i = 0; i < COUNT(dead); i++)
		dead[i] = make(DEAD);
	for (unsigned i = 0; i < COUNT(dead); i++)
		drop(dead[i]);
	dead_gone = true;
	return churns(arg);
}

/* --- fork --------------------------------------------------------------------------------------------------------- */

static int64_t out_nbytes(void)
{
	int64_t sum = 0;
	for (struct heap *heap = heap_first(); heap != NULL; heap = heap_next(heap))
		sum += heap->counters.out_nbytes;
	return sum;
}

/* All that was held when the other threads vanished is whole and can be freed; each may have had a block in hand. */
static void be_child(void)
{
	for (unsigned i = 0; i < MOST_HELD; i++)
		check(held[i].place != OUT || is_whole(&held[i]));
	for (unsigned i = 0; i < MOST_HELD; i++)
		if (held[i].place == OUT)
			drop(held[i].block);
	for (unsigned i = 0; i < 300; i++)
		table[i % COUNT(table)] = (drop(table[i % COUNT(table)]), make(small_size()));
	for (unsigned i = 0; i < COUNT(table); i++)
		drop(table[i]);
	quarry_trim(0);
	check(out_nbytes() >= 0 && out_nbytes() <= 3 * 2 * (SMALL + 16));
	_exit(0);
}

static void *forks(void *arg)
{
	churns(TIMES(10));
	for (int i = 0; i < (int)(intptr_t)arg; i++) {
		int status = -1;
		pid_t child = fork();
		if (child == 0) {
			memset(table, 0, sizeof(table));
			be_child();
		}
		check(child > 0 && waitpid(child, &status, 0) == child);
		check(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
	churns(TIMES(10));
	return NULL;
}

/* --- scenarios ---------------------------------------------------------------------------------------------------- */

static const struct scenario {
	const char *name;
	struct {
		void *(*run)(void *arg);
		void *arg;
	} threads[5];
	bool purger, rcu;
	unsigned nodes;  /* 0: one */
	unsigned weight; /* so many times as many schedules; 0: as many */
} scenarios[] = {
	/* visits against the fast path, settling, and each other */
	{"visit", {{is_visited, TIMES(10)}, {visits_warm, TIMES(1)}}, .weight = 8},
	{"visits", {{churns, TIMES(40)}, {churns, TIMES(20)}, {visits, TIMES(3)}, {visits, TIMES(2)}}, .weight = 1},
	/* blocks that come home to an inbox, one by one and in chains, its owner, and the owner's exit */
	{"remote", {{produces, TIMES(60)}, {consumes, TIMES(40)}, {consumes, TIMES(40)}, {churns, TIMES(10)}}, .weight = 1},
	/* heaps change hands: parked ones, their lists and their pools */
	{"takeover", {{moves, TIMES(6)}, {moves, TIMES(6)}, {moves, TIMES(4)}, {visits, TIMES(1)}}, .nodes = 2, .weight = 2},
	/* arenas are born and retired under readers, by RCU and by the lock */
	{"retire", {{grows, TIMES(3)}, {trims, TIMES(3)}, {reads, TIMES(4)}, {trims, TIMES(2)}}, .rcu = true},
	{"retire_lock", {{grows, TIMES(3)}, {trims, TIMES(3)}, {reads, TIMES(4)}}, .weight = 1},
	/* the purger itself */
	{"purger", {{grows, TIMES(4)}, {churns, TIMES(40)}, {reads, TIMES(1)}}, .purger = true, .rcu = true},
	{"fork", {{forks, TIMES(1)}, {churns, TIMES(40)}, {grows, TIMES(1)}, {visits, TIMES(1)}}, .rcu = true,
	 .weight = 2},
	{"walk", {{walks, TIMES(2)}, {is_walked, TIMES(40)}, {churns, TIMES(30)}, {visits, TIMES(1)}}, .rcu = true,
	 .weight = 2},
	{"walk_retire", {{walks, TIMES(2)}, {is_walked, TIMES(5)}, {grows, TIMES(2)}, {trims, TIMES(2)}}, .rcu = true},
};

static void check_at_end(void)
{
	unsigned nparked = 0;
	for (unsigned i = 0; i < COUNT(table); i++)
		drop(table[i]);
	for (struct heap *heap = heap_first(); heap != NULL; heap = heap_next(heap))
		check(heap->kind != HEAP_PARKED || heap->inbox == NULL); /* nobody would look there */
	for (unsigned i = 0; i < COUNT(pinned); i++)
		drop(pinned[i].block);
	quarry_trim(0);
	for (struct heap *heap = heap_first(); heap != NULL; heap = heap_next(heap)) {
		nparked += heap->kind == HEAP_PARKED;
		check(heap->counters.out_nbytes + heap->counters.moved_nbytes == 0);
		check(heap->inbox_nbytes == 0 && heap->inbox == NULL && heap->pending == NULL);
	}
	check(out_nbytes() == 0 && nparked == heap_parked_count());
	for (struct arena_object *arena = arena_list_first(); arena != NULL; arena = arena_list_next(arena))
		check(arena->nfreepools == arena->ntotalpools);
	struct quarry_stats stats;
	check(quarry_stats_get(&stats, sizeof(stats)) == 0);
	check(stats.mapped == stats.live + stats.cached + stats.free_dirty + stats.free_clean + stats.metadata);
	check(stats.live == 0 && stats.cached == 0);
}

/* What a schedule leaves behind for its parent. */
struct figures {
	uint64_t steps, sum;
};

/* In a process of its own. */
__attribute__((noreturn)) static void run_here(const struct scenario *scenario, uint64_t seed, struct figures *figures)
{
	alarm(60);
	schedule_begin(seed);
	thread_init();                                         /* before the scheduler makes its key */
	pthread_atfork(NULL, NULL, schedule_after_fork_child); /* before the library's */
	fork_init();
	options.decay_ms = 1;
	if (scenario->nodes > 0)
		node_set_for_tests(scenario->nodes);
	if (scenario->purger)
		purge_allow();
	if (!scenario->rcu) /* then readers go by the lock */
		rcu_after_fork_child();
	for (unsigned i = 0; i < COUNT(scenario->threads) && scenario->threads[i].run != NULL; i++)
		schedule_add(scenario->threads[i].run, scenario->threads[i].arg);
	schedule_run();
	if (!scenario->purger) /* who may be anywhere, and stays there */
		check_at_end();
	*figures = (struct figures){schedule_steps(), schedule_sum()};
	_exit(0);
}

static bool run(const struct scenario *scenario, uint64_t seed, struct figures *figures)
{
	int status;
	pid_t child = fork();
	if (child == 0)
		run_here(scenario, seed, figures);
	if (child < 0 || waitpid(child, &status, 0) != child)
		return false;
	if (WIFSIGNALED(status))
		fprintf(stderr, "signal %d\n", WTERMSIG(status));
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Addresses are part of what makes a schedule repeat itself. */
static void without_random_addresses(char **argv)
{
	int persona = personality(0xffffffff);
	if (persona >= 0 && !(persona & ADDR_NO_RANDOMIZE) && personality((unsigned)persona | ADDR_NO_RANDOMIZE) >= 0)
		execv("/proc/self/exe", argv);
}

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static int run_seeds(const struct scenario *scenario, uint64_t first, uint64_t count)
{
	struct figures *figures = mmap(NULL, sizeof(*figures), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t steps = 0;
	double start = now();
	cpu_set_t here;
	CPU_ZERO(&here);
	CPU_SET((unsigned)sched_getcpu(), &here);
	sched_setaffinity(0, sizeof(here), &here); /* a turn is given faster to a thread of the same CPU */
	if (figures == MAP_FAILED)
		return 2;
	for (uint64_t seed = first; seed < first + count; seed++) {
		if (!run(scenario, seed, figures)) {
			printf("%s: FAILED after %llu schedules: QUARRY_SCHEDULE_SEED=%llu\n", scenario->name,
			       (unsigned long long)(seed - first), (unsigned long long)seed);
			return 1;
		}
		steps += figures->steps;
	}
	printf("%s: %llu schedules, %llu points each, %.1f s, no error; seed %llu sums up to %016llx\n", scenario->name,
	       (unsigned long long)count, (unsigned long long)(steps / count), now() - start,
	       (unsigned long long)(first + count - 1), (unsigned long long)figures->sum);
	return 0;
}

int main(int argc, char **argv)
{
	const char *one = getenv("QUARRY_SCHEDULE_SEED");
	without_random_addresses(argv);
	if (argc == 1)
		for (unsigned i = 0; i < COUNT(scenarios); i++)
			puts(scenarios[i].name);
	for (unsigned i = 0; argc == 4 && i < COUNT(scenarios); i++)
		if (strcmp(argv[1], scenarios[i].name) == 0) {
			setlinebuf(stdout);
			if (one != NULL) {
				setenv("QUARRY_SCHEDULE_TRACE", "1", 1);
				return run_seeds(&scenarios[i], strtoull(one, NULL, 0), 1);
			}
			unsigned weight = scenarios[i].weight == 0 ? 1 : scenarios[i].weight;
			return run_seeds(&scenarios[i], strtoull(argv[2], NULL, 0), weight * strtoull(argv[3], NULL, 0));
		}
	return argc == 1 ? 0 : 2;
}
