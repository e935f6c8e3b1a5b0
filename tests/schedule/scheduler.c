/* SPDX-License-Identifier: MIT */
/*
 * Scheduler: see scheduler.h. Threads are real ones, since the library's state is thread-local; each sleeps on a futex
 * of its own until it is handed the turn.
 *
 * By the seed, one of three ways to choose: at random at each point, more or less often; by random priorities, of which
 * a few change at points chosen beforehand (Burckhardt et al., A randomized scheduler with probabilistic guarantees of
 * finding bugs, 2010), which finds what needs few switches at the right places; or by slices, of which each length
 * from one point to thousands is as likely as twice that length: one thread gets far while another stays between two
 * accesses.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "scheduler.h"

#include <linux/futex.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOST_THREADS 8
#define MOST_CHANGES 6
#define MOST_STEPS 2000000
#define STACK_NBYTES ((size_t)256 << 10)
#define LONGEST_SLICE 12 /* bits */
#define TRACED 64

enum state { READY, BLOCKED, GONE };

static struct thread {
	uint32_t turn; /* futex: it may run */
	enum state state;
	bool daemon;
	const void *on; /* what it waits for while BLOCKED */
	uint64_t priority;
	void *(*run)(void *arg);
	void *arg;
	char *stack;
	pthread_t thread;
} threads[MOST_THREADS];
static int nthreads;
static __thread int self = -1;
static pthread_key_t leave_key;
static uint32_t over; /* futex: all but daemons have ended */

static uint64_t seed, rng, steps, sum;
static enum { BY_CHANCE, BY_PRIORITY, BY_SLICE } way;
static unsigned odds_atomic, odds_plain; /* by chance: one in so many points switches */
static unsigned slice;                   /* by slices: points left */
static uint64_t change_at[MOST_CHANGES], next_priority;
static int nchanges;

static struct {
	int from, to;
	uint64_t step;
	const void *where;
} traced[TRACED];
static unsigned ntraced;

/* --- choice ------------------------------------------------------------------------------------------------------- */

static uint64_t next_random(void)
{
	rng ^= rng >> 12;
	rng ^= rng << 25;
	rng ^= rng >> 27;
	return rng * UINT64_C(2685821657736338717);
}

unsigned schedule_random(unsigned bound)
{
	return (unsigned)((next_random() >> 11) % bound);
}

void schedule_begin(uint64_t from)
{
	static const unsigned odds[][2] = {{2, 8}, {4, 32}, {16, 64}, {64, 512}};
	seed = from;
	rng = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15);
	unsigned of_four = schedule_random(4), often = schedule_random(4);
	way = of_four == 0 ? BY_CHANCE : of_four == 1 ? BY_PRIORITY : BY_SLICE;
	odds_atomic = odds[often][0];
	odds_plain = odds[often][1];
	nchanges = (int)schedule_random(MOST_CHANGES + 1);
	unsigned length = 1u << (6 + schedule_random(9)); /* the steps are not known beforehand: 64 to 16384 */
	for (int i = 0; i < nchanges; i++)
		change_at[i] = schedule_random(length);
	next_priority = UINT64_C(1) << 32; /* falling: each is the lowest so far */
}

static int nready(void)
{
	int n = 0;
	for (int i = 0; i < nthreads; i++)
		n += threads[i].state == READY;
	return n;
}

static int any_ready(void)
{
	int n = nready(), k;
	if (n == 0)
		return -1;
	k = (int)schedule_random((unsigned)n);
	for (int i = 0;; i++)
		if (threads[i].state == READY && k-- == 0)
			return i;
}

static int most_urgent(void)
{
	int best = -1;
	for (int i = 0; i < nthreads; i++)
		if (threads[i].state == READY && (best < 0 || threads[i].priority > threads[best].priority))
			best = i;
	return best;
}

static int choose(void)
{
	return way == BY_PRIORITY ? most_urgent() : any_ready();
}

static bool is_time_to_switch(unsigned odds)
{
	if (way == BY_CHANCE)
		return schedule_random(odds) == 0;
	if (way == BY_SLICE && slice > 0) {
		slice--;
		return false;
	}
	if (way == BY_SLICE) {
		slice = schedule_random(1u << schedule_random(LONGEST_SLICE + 1));
		return true;
	}
	for (int i = 0; i < nchanges; i++)
		if (change_at[i] == steps) {
			threads[self].priority = --next_priority;
			return true;
		}
	return false;
}

/* --- turns -------------------------------------------------------------------------------------------------------- */

static void wait_turn(uint32_t *turn)
{
	while (__atomic_load_n(turn, __ATOMIC_ACQUIRE) == 0)
		syscall(SYS_futex, turn, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	__atomic_store_n(turn, 0, __ATOMIC_RELAXED);
}

static void give_turn(uint32_t *turn)
{
	__atomic_store_n(turn, 1, __ATOMIC_RELEASE);
	syscall(SYS_futex, turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void switch_to(int next, const void *where)
{
	int before = self;
	sum = sum * 31 + (uint64_t)next + steps;
	if (next == before)
		return;
	traced[ntraced++ % TRACED] = (__typeof__(traced[0])){before, next, steps, where};
	give_turn(&threads[next].turn);
	if (threads[before].state != GONE)
		wait_turn(&threads[before].turn);
}

static void step(unsigned odds, const void *where)
{
	if (self < 0)
		return;
	if (++steps > MOST_STEPS)
		schedule_fail("no end in sight");
	if (is_time_to_switch(odds))
		switch_to(choose(), where);
}

void schedule_point(void)
{
	step(odds_atomic, __builtin_return_address(0));
}

void schedule_yield(void)
{
	if (self < 0)
		return;
	if (++steps > MOST_STEPS)
		schedule_fail("no end in sight");
	threads[self].priority = --next_priority;
	switch_to(choose(), __builtin_return_address(0));
}

void schedule_block(const void *on)
{
	threads[self].state = BLOCKED;
	threads[self].on = on;
	int next = choose();
	if (next < 0)
		schedule_fail("deadlock");
	switch_to(next, __builtin_return_address(0));
}

void schedule_unblock(const void *on, int count)
{
	for (int i = 0; i < nthreads && count > 0; i++)
		if (threads[i].state == BLOCKED && threads[i].on == on) {
			threads[i].state = READY;
			count--;
		}
}

/* --- threads ------------------------------------------------------------------------------------------------------ */

static bool all_have_ended(void)
{
	for (int i = 0; i < nthreads; i++)
		if (!threads[i].daemon && threads[i].state != GONE)
			return false;
	return true;
}

/* Behind the library's exit hook: keys' destructors run in the order in which the keys were made. */
static void leave(void *unused)
{
	(void)unused;
	threads[self].state = GONE;
	if (all_have_ended()) {
		give_turn(&over);
	} else {
		int next = choose();
		if (next < 0)
			schedule_fail("deadlock");
		switch_to(next, NULL);
	}
	self = -1;
}

static void *live(void *arg)
{
	struct thread *thread = arg;
	pthread_setspecific(leave_key, thread);
	wait_turn(&thread->turn);
	self = (int)(thread - threads);
	return thread->run(thread->arg);
}

/* The library's calls of pthread_create come back here, by system.c. */
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *arg), void *arg);

static int add(void *(*run)(void *arg), void *arg, bool daemon)
{
	struct thread *thread = &threads[nthreads];
	pthread_attr_t attributes;
	if (nthreads == MOST_THREADS)
		return -1;
	if (nthreads == 0 && pthread_key_create(&leave_key, leave) != 0)
		return -1;
	thread->run = run;
	thread->arg = arg;
	thread->daemon = daemon;
	thread->state = READY;
	thread->priority = (UINT64_C(1) << 32) + next_random() % (UINT64_C(1) << 20);
	thread->stack = mmap(NULL, STACK_NBYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (thread->stack == MAP_FAILED)
		return -1;
	pthread_attr_init(&attributes);
	pthread_attr_setstack(&attributes, thread->stack, STACK_NBYTES);
	nthreads++;
	return __real_pthread_create(&thread->thread, &attributes, live, thread);
}

void schedule_add(void *(*run)(void *arg), void *arg)
{
	if (add(run, arg, false) != 0)
		schedule_fail("no thread");
}

int schedule_add_daemon(void *(*run)(void *arg), void *arg)
{
	return add(run, arg, true);
}

void schedule_run(void)
{
	give_turn(&threads[choose()].turn);
	wait_turn(&over);
	for (int i = 0; i < nthreads; i++)
		if (!threads[i].daemon)
			pthread_join(threads[i].thread, NULL);
}

void schedule_after_fork_child(void)
{
	for (int i = 0; i < nthreads; i++)
		if (i != self)
			threads[i].state = GONE;
}

int schedule_self(void)
{
	return self;
}

uint64_t schedule_steps(void)
{
	return steps;
}

uint64_t schedule_sum(void)
{
	return sum;
}

void schedule_fail(const char *what)
{
	fprintf(stderr, "thread %d, step %llu: %s\n", self, (unsigned long long)steps, what);
	if (getenv("QUARRY_SCHEDULE_TRACE") != NULL)
		for (unsigned i = ntraced > TRACED ? ntraced - TRACED : 0; i < ntraced; i++)
			fprintf(stderr, "  step %llu: thread %d -> %d at %p\n",
			        (unsigned long long)traced[i % TRACED].step, traced[i % TRACED].from,
			        traced[i % TRACED].to, traced[i % TRACED].where);
	_exit(1);
}

/* --- what the compiler calls -------------------------------------------------------------------------------------- */

/* A thread's own stack, where its thread-local storage lies too, is its own; but others look at atomics in there. */
static void plain(const void *address, const void *where)
{
	if (self >= 0 && (size_t)((const char *)address - threads[self].stack) >= STACK_NBYTES)
		step(odds_plain, where);
}

#define HERE __builtin_return_address(0)

#define PLAIN(name)                                                                                                    \
	void __tsan_##name(void *address);                                                                             \
	void __tsan_##name(void *address)                                                                              \
	{                                                                                                              \
		plain(address, HERE);                                                                                  \
	}
#define PLAIN_SIZES(name) PLAIN(name##2) PLAIN(name##4) PLAIN(name##8) PLAIN(name##16)
PLAIN(read1)
PLAIN(write1)
PLAIN_SIZES(read)
PLAIN_SIZES(write)
PLAIN_SIZES(unaligned_read)
PLAIN_SIZES(unaligned_write)

#define RANGE(name)                                                                                                    \
	void __tsan_##name(void *address, size_t nbytes);                                                              \
	void __tsan_##name(void *address, size_t nbytes)                                                               \
	{                                                                                                              \
		(void)nbytes;                                                                                          \
		plain(address, HERE);                                                                                  \
	}
RANGE(read_range)
RANGE(write_range)

#define NOTHING(name, ...)                                                                                             \
	void __tsan_##name(__VA_ARGS__);                                                                               \
	void __tsan_##name(__VA_ARGS__) {}
NOTHING(init, void)
NOTHING(func_entry, void *caller __attribute__((unused)))
NOTHING(func_exit, void)

#define FENCE(name)                                                                                                    \
	void __tsan_atomic_##name(int order);                                                                          \
	void __tsan_atomic_##name(int order)                                                                           \
	{                                                                                                              \
		(void)order;                                                                                           \
		step(odds_atomic, HERE);                                                                               \
	}
FENCE(thread_fence)
FENCE(signal_fence)

#define ATOMIC(bits, result, name, parameters, operation)                                                              \
	result __tsan_atomic##bits##_##name parameters;                                                                \
	result __tsan_atomic##bits##_##name parameters                                                                 \
	{                                                                                                              \
		step(odds_atomic, HERE);                                                                               \
		(void)order;                                                                                           \
		return operation;                                                                                      \
	}
#define FETCH(bits, type, name)                                                                                        \
	ATOMIC(bits, type, fetch_##name, (volatile type * cell, type value, int order),                                \
	       __atomic_fetch_##name(cell, value, __ATOMIC_SEQ_CST))
#define SWAP(bits, type, strength)                                                                                     \
	ATOMIC(bits, int, compare_exchange_##strength,                                                                 \
	       (volatile type * cell, type * expected, type value, int order, int failure __attribute__((unused))),    \
	       __atomic_compare_exchange_n(cell, expected, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
#define ATOMICS(bits, type)                                                                                            \
	ATOMIC(bits, type, load, (const volatile type *cell, int order), __atomic_load_n(cell, __ATOMIC_SEQ_CST))      \
	ATOMIC(bits, void, store, (volatile type * cell, type value, int order),                                       \
	       __atomic_store_n(cell, value, __ATOMIC_SEQ_CST))                                                        \
	ATOMIC(bits, type, exchange, (volatile type * cell, type value, int order),                                    \
	       __atomic_exchange_n(cell, value, __ATOMIC_SEQ_CST))                                                     \
	FETCH(bits, type, add)                                                                                         \
	FETCH(bits, type, sub)                                                                                         \
	FETCH(bits, type, and)                                                                                         \
	FETCH(bits, type, or)                                                                                          \
	SWAP(bits, type, strong)                                                                                       \
	SWAP(bits, type, weak)
ATOMICS(8, uint8_t)
ATOMICS(16, uint16_t)
ATOMICS(32, uint32_t)
ATOMICS(64, uint64_t)
