/* SPDX-License-Identifier: MIT */
/*
 * Signals every 100 microseconds, with handlers that do not allocate, are harmless wherever they interrupt.
 *
 * Also on a small alternate stack, and with handlers that block for a while.
 */
#include "blackbox.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>

#define SLOTS 512
#define THREADS 4

static volatile int stop;
static unsigned long signals_seen, rounds;

static void handler(int unused)
{
	int saved = errno;
	struct timespec pause = { 0, 50000 };

	(void)unused;
	if (__atomic_add_fetch(&signals_seen, 1, __ATOMIC_RELAXED) % 64 == 0)
		nanosleep(&pause, NULL);
	errno = saved;
}

/* Interrupt the calling thread, and no other, every 100 microseconds. */
static timer_t start_timer(int number)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = number };
	struct itimerspec interval = { { 0, 100000 }, { 0, 100000 } };
	timer_t timer;

	event._sigev_un._tid = gettid();
	CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0 && timer_settime(timer, 0, &interval, NULL) == 0);
	return timer;
}

static void *storm(void *arg)
{
	uint64_t rng = test_seed((uint64_t)(uintptr_t)arg);
	static char stacks[THREADS][16384];
	stack_t alternate = { .ss_sp = stacks[(uintptr_t)arg], .ss_size = sizeof stacks[0] };
	void *blocks[SLOTS] = { NULL };
	size_t nbytes[SLOTS] = { 0 };

	if ((uintptr_t)arg % 2 == 0)
		CHECK(sigaltstack(&alternate, NULL) == 0);
	timer_t timer = start_timer((uintptr_t)arg % 3 == 0 ? SIGUSR2 : SIGUSR1);
	for (unsigned round = 0; !stop; round++) {
		size_t i = rng_below(&rng, SLOTS);
		if (blocks[i] != NULL)
			pattern_check(blocks[i], nbytes[i], i);
		errno = 77;
		free(blocks[i]);
		CHECK(errno == 77);
		nbytes[i] = rng_size(&rng, round % 256 == 0 ? 22 : 13);
		blocks[i] = malloc(nbytes[i]);
		CHECKF(blocks[i] != NULL, "  %zu bytes: errno %d", nbytes[i], errno);
		pattern_fill(blocks[i], nbytes[i], i);
		if (round % 8192 == 0)
			malloc_trim(0);
		__atomic_fetch_add(&rounds, 1, __ATOMIC_RELAXED);
	}
	CHECK(timer_delete(timer) == 0);
	alternate.ss_flags = SS_DISABLE;
	CHECK(sigaltstack(&alternate, NULL) == 0);
	for (int i = 0; i < SLOTS; i++)
		free(blocks[i]);
	return NULL;
}

int main(void)
{
	pthread_t threads[THREADS];
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_ONSTACK };

	test_start(60);
	CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
	action.sa_flags |= SA_RESTART;
	CHECK(sigaction(SIGUSR2, &action, NULL) == 0);
	for (uintptr_t i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, storm, (void *)i) == 0);
	sleep_ms((long)(test_seconds(4) * 1000));
	stop = 1;
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	say("%lu signals in %lu rounds", signals_seen, rounds);
	CHECK(signals_seen > 1000);
	return 0;
}
