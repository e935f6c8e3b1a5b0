/* SPDX-License-Identifier: MIT */
/*
 * System: what the library asks of kernel, libc and liburcu, as far as it has to do with other threads, played by the
 * scheduler. The linker sends the calls here (--wrap).
 *
 * membarrier does nothing, as memory is sequentially consistent; others may run before and after. A wait with a time
 * limit ends at any time. The clock goes on by itself. Odd threads run on one CPU, even ones on another.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>

#include "os.h"
#include "rcu.h"
#include "scheduler.h"

void __real_os_wait(_Atomic uint32_t *word, uint32_t value, int timeout_ms);
void __wrap_os_wait(_Atomic uint32_t *word, uint32_t value, int timeout_ms);
void __wrap_os_wait(_Atomic uint32_t *word, uint32_t value, int timeout_ms)
{
	schedule_point();
	if (schedule_self() < 0)
		__real_os_wait(word, value, timeout_ms);
	else if (*word != value)
		return;
	else if (timeout_ms < 0)
		schedule_block(word);
	else
		schedule_yield();
}

void __real_os_wake(_Atomic uint32_t *word, int count);
void __wrap_os_wake(_Atomic uint32_t *word, int count);
void __wrap_os_wake(_Atomic uint32_t *word, int count)
{
	schedule_point();
	if (schedule_self() < 0)
		__real_os_wake(word, count);
	else
		schedule_unblock(word, count);
}

bool __wrap_os_barrier_ready(void);
bool __wrap_os_barrier_ready(void)
{
	return true;
}

bool __wrap_os_barrier(void);
bool __wrap_os_barrier(void)
{
	schedule_point();
	return true;
}

int __wrap_getcpu(unsigned *cpu, unsigned *node);
int __wrap_getcpu(unsigned *cpu, unsigned *node)
{
	*cpu = *node = (unsigned)(schedule_self() + 1) % 2;
	return 0;
}

uint64_t __wrap_os_milliseconds(void);
uint64_t __wrap_os_milliseconds(void)
{
	static uint64_t now;
	return ++now;
}

/* A thread that the library makes: it is one of the schedule, and need not end. */
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *arg), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *arg), void *arg)
{
	(void)attributes;
	*thread = pthread_self();
	return schedule_add_daemon(run, arg);
}

/* --- RCU ---------------------------------------------------------------------------------------------------------- */

#define MOST_READERS 8

static struct {
	unsigned depth;
	uint64_t sections; /* begun so far */
} readers[MOST_READERS + 1]; /* the last one is whoever is not scheduled */

static int reader(void)
{
	return schedule_self() < 0 ? MOST_READERS : schedule_self();
}

static void nothing(void) {}

static void read_lock(void)
{
	schedule_point();
	if (readers[reader()].depth++ == 0)
		readers[reader()].sections++;
}

static void read_unlock(void)
{
	schedule_point();
	readers[reader()].depth--;
}

static int read_ongoing(void)
{
	return readers[reader()].depth > 0;
}

static void wait_for_readers(void)
{
	uint64_t begun[MOST_READERS];
	schedule_point();
	check(!read_ongoing());
	for (int i = 0; i < MOST_READERS; i++)
		begun[i] = readers[i].sections;
	for (int i = 0; i < MOST_READERS; i++)
		while (readers[i].depth > 0 && readers[i].sections == begun[i])
			schedule_yield();
}

static void forget_readers(void)
{
	for (int i = 0; i < MOST_READERS; i++)
		if (i != schedule_self())
			readers[i].depth = 0;
}

const struct rcu_calls rcu_linked = {
	.register_thread = nothing, .read_lock = read_lock, .read_unlock = read_unlock, .read_ongoing = read_ongoing,
	.synchronize_rcu = wait_for_readers, .before_fork = nothing, .after_fork_parent = nothing,
	.after_fork_child = forget_readers,
};
