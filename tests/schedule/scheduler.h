/* SPDX-License-Identifier: MIT */
/*
 * Scheduler: runs the threads of a scenario one at a time, and decides by a seed at every access to shared memory which
 * of them goes on. The same seed makes the same schedule.
 *
 * The library's sources are compiled for it by -fsanitize=thread, without that sanitizer's runtime: the compiler then
 * calls out before each access, and the calls end in scheduler.c. So every atomic operation, volatile access, compiler
 * barrier, lock and link of a block is a point at which another thread may come in, and the sources know nothing of it.
 * Futexes, membarrier, the clock and RCU are the scheduler's own (system.c).
 *
 * Memory is sequentially consistent here. What weaker memory may do is for the models in tests/model.
 */
#ifndef QUARRY_TESTS_SCHEDULER_H
#define QUARRY_TESTS_SCHEDULER_H

#include <stdbool.h>
#include <stdint.h>

/** Begin anew, by this seed. From an unscheduled thread, in a process that has had no schedule yet. */
void schedule_begin(uint64_t seed);

/** Add a thread, by pthread_create's contract but for its attributes. It runs when schedule_run is called. */
void schedule_add(void *(*run)(void *arg), void *arg);

/** Run all threads to their end, exit hooks too; those that the library made itself need not end. */
void schedule_run(void);

/** A random number below bound, by the seed. From the thread that runs. */
unsigned schedule_random(unsigned bound);

/** Another thread may run now, or must if there is one: what waits for it in a loop. */
void schedule_point(void);
void schedule_yield(void);

/** Number of points so far, and a sum over all choices: equal for equal schedules. */
uint64_t schedule_steps(void);
uint64_t schedule_sum(void);

/** In a fork child: the caller is alone. Before the library's own fork handlers. */
void schedule_after_fork_child(void);

/** The running thread's number, from 0; -1 outside of a schedule. */
int schedule_self(void);

/** Ends the process with a message, the seed and the last switches. */
__attribute__((noreturn)) void schedule_fail(const char *what);

/* For system.c. */
void schedule_block(const void *on);
void schedule_unblock(const void *on, int count);
int schedule_add_daemon(void *(*run)(void *arg), void *arg);

#define check(condition) ((condition) ? (void)0 : schedule_fail("not so: " #condition))

#endif
