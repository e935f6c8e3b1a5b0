/* SPDX-License-Identifier: MIT */
/*
 * What the suites share: a runner, a cheap check, random numbers, stamped blocks, caught messages, threads that do as
 * they are told.
 *
 * Check runs each test in a process of its own: no test sees what another one left behind.
 */
#ifndef QUARRY_UNIT_H
#define QUARRY_UNIT_H

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "compiler.h"
#include "report.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* ck_assert writes a mark each time: too slow for inner loops, and for threads. */
#define expect(condition)                                                                                              \
	do {                                                                                                           \
		if (unlikely(!(condition)))                                                                            \
			ck_abort_msg("not so: %s", #condition);                                                        \
	} while (0)

/* Seconds for one test, wide enough for an emulator. */
#define TEST_SECONDS 60

static inline TCase *new_case(Suite *suite, const char *name)
{
	TCase *tcase = tcase_create(name);
	tcase_set_timeout(tcase, TEST_SECONDS);
	suite_add_tcase(suite, tcase);
	return tcase;
}

static inline int run_suite(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

static inline void sleep_ms(long ms)
{
	struct timespec time = {ms / 1000, ms % 1000 * 1000000L};
	nanosleep(&time, NULL);
}

/* --- random numbers: xorshift64*, never 0 ------------------------------------------------------------------------- */

static inline uint64_t random_next(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(2685821657736338717);
}

static inline size_t random_below(uint64_t *state, size_t bound)
{
	return (size_t)((random_next(state) >> 11) % bound);
}

/* --- stamps: a block says at both ends whose it is ---------------------------------------------------------------- */

static inline void stamp(void *block, size_t nbytes, uint64_t mark)
{
	uint64_t other = ~mark;
	memcpy((char *)block + nbytes - sizeof other, &other, sizeof other);
	memcpy(block, &mark, sizeof mark);
}

static inline bool stamp_holds(const void *block, size_t nbytes, uint64_t mark)
{
	uint64_t first, last, other = ~mark;
	memcpy(&first, block, sizeof first);
	memcpy(&last, (const char *)block + nbytes - sizeof last, sizeof last);
	return first == mark && (last == other || nbytes < sizeof first + sizeof last);
}

static inline bool reads_as_zero(const void *memory, size_t nbytes)
{
	const char *byte = memory;
	return nbytes == 0 || (byte[0] == 0 && memcmp(byte, byte + 1, nbytes - 1) == 0);
}

/* --- pages -------------------------------------------------------------------------------------------------------- */

static inline bool is_mapped_at(const void *address)
{
	unsigned char resident;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	int saved_errno = errno;
	bool is_mapped = mincore((void *)((uintptr_t)address & ~(page - 1)), 1, &resident) == 0;
	errno = saved_errno;
	return is_mapped;
}

/* Pages of the range that have been touched; whole pages. */
static inline size_t resident_pages(const void *start, size_t nbytes)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), npages = (nbytes + page - 1) / page, resident = 0;
	unsigned char *pages = malloc(npages);
	expect(pages != NULL && mincore((void *)start, nbytes, pages) == 0);
	for (size_t i = 0; i < npages; i++)
		resident += pages[i] & 1;
	free(pages);
	return resident;
}

/* --- messages that are expected: faults do not abort meanwhile ---------------------------------------------------- */

static int caught_end = -1, kept_stderr = -1;
static char caught[4096];

static inline void catch_begin(void)
{
	int ends[2];
	report_set_fatal(false);
	expect(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
	caught_end = ends[0];
	kept_stderr = dup(STDERR_FILENO);
	expect(dup2(ends[1], STDERR_FILENO) >= 0);
	close(ends[1]);
}

static inline const char *catch_end(void)
{
	dup2(kept_stderr, STDERR_FILENO);
	close(kept_stderr);
	ssize_t nbytes = read(caught_end, caught, sizeof caught - 1);
	caught[nbytes > 0 ? nbytes : 0] = 0;
	close(caught_end);
	report_set_fatal(true);
	return caught;
}

/* --- children ----------------------------------------------------------------------------------------------------- */

/* Runs body in a child, which exits 0 if it comes to its end; true if it did. */
#define child_succeeds(body)                                                                                           \
	({                                                                                                             \
		int status_ = 0;                                                                                       \
		pid_t child_ = fork();                                                                                 \
		if (child_ == 0) {                                                                                     \
			alarm(TEST_SECONDS / 2);                                                                       \
			body;                                                                                          \
			_exit(0);                                                                                      \
		}                                                                                                      \
		expect(child_ > 0 && waitpid(child_, &status_, 0) == child_);                                          \
		WIFEXITED(status_) && WEXITSTATUS(status_) == 0;                                                       \
	})

/* Within a child: Check's own failure path is the parent's. */
#define child_expect(condition)                                                                                        \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			fprintf(stderr, "%s:%d: in the child, not so: %s\n", __FILE__, __LINE__, #condition);          \
			_exit(1);                                                                                      \
		}                                                                                                      \
	} while (0)

/* --- actors: threads that do one thing at a time, when told, and sleep in between --------------------------------- */

struct actor {
	pthread_t thread;
	sem_t go, done;
	void (*act)(void *arg);
	void *arg;
};

static inline void wait_for(sem_t *sem)
{
	while (sem_wait(sem) != 0)
		;
}

static inline void *actor_main(void *arg)
{
	struct actor *actor = arg;
	for (;;) {
		wait_for(&actor->go);
		if (actor->act == NULL)
			return NULL;
		actor->act(actor->arg);
		sem_post(&actor->done);
	}
}

static inline void actor_begin(struct actor *actor)
{
	sem_init(&actor->go, 0, 0);
	sem_init(&actor->done, 0, 0);
	expect(pthread_create(&actor->thread, NULL, actor_main, actor) == 0);
}

/* Tell it, without waiting; actor_wait waits. */
static inline void actor_tell(struct actor *actor, void (*act)(void *arg), void *arg)
{
	actor->act = act;
	actor->arg = arg;
	sem_post(&actor->go);
}

static inline void actor_wait(struct actor *actor)
{
	wait_for(&actor->done);
}

static inline void actor_do(struct actor *actor, void (*act)(void *arg), void *arg)
{
	actor_tell(actor, act, arg);
	actor_wait(actor);
}

/* It ends as threads do, exit hooks and all. */
static inline void actor_end(struct actor *actor)
{
	actor_tell(actor, NULL, NULL);
	expect(pthread_join(actor->thread, NULL) == 0);
}

#endif
