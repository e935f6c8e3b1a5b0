/* SPDX-License-Identifier: MIT */
/*
 * exec in the middle of an allocation storm, hundreds of times in a row: a program that other threads are allocating in
 * is replaced by itself, by its first thread and by others, from a vfork child and by posix_spawn beside them. Each
 * generation starts anew: it has the library, allocates on all threads, and inherits no memory.
 *
 * A generation is named by the number of those that are to follow.
 */
#include "blackbox.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <spawn.h>

#define GENERATIONS 150
#define THREADS 3
#define SLOTS 200
#define MOST_RESIDENT (24 * MIB)

extern char **environ;
static char next[16];

static void replace(void)
{
	execl("/proc/self/exe", "exec_storm", next, (char *)NULL);
	FAIL("  exec failed");
}

/* One of them replaces the process while the others go on. */
static void *storm(void *arg)
{
	uint64_t number = (uint64_t)(uintptr_t)arg, rng = test_seed(number + 1);
	size_t until = number % THREADS == 1 ? 2000 : (size_t)-1, sizes[SLOTS];
	void *blocks[SLOTS] = { NULL };

	for (size_t round = 0; round < until; round++) {
		size_t i = rng_below(&rng, SLOTS);
		if (blocks[i] != NULL)
			pattern_check(blocks[i], sizes[i], number);
		free(blocks[i]);
		sizes[i] = rng_size(&rng, round % 64 == 0 ? 17 : 11);
		blocks[i] = malloc(sizes[i]);
		CHECK(blocks[i] != NULL);
		pattern_fill(blocks[i], sizes[i], number);
	}
	replace();
	return NULL;
}

static void start_beside(void)
{
	static char name[] = "true", *arguments[] = { name, NULL };
	pid_t pid;
	int status;

	CHECK(posix_spawnp(&pid, "true", NULL, NULL, arguments, environ) == 0);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	pid = vfork();
	if (pid == 0) {
		execvp(name, arguments);
		_exit(1);
	}
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
}

static int run_generation(unsigned left)
{
	pthread_t thread;

	CHECKF(resident() < MOST_RESIDENT, "  %u generations before the last: %zu bytes resident from the start", left,
	       resident());
	CHECK(on_quarry() || getenv("QUARRY_PRELOAD") == NULL);
	if (left == 0)
		return 0;
	snprintf(next, sizeof next, "%u", left - 1);
	int by_thread = left % 3 != 0;
	for (uintptr_t i = 0; i < THREADS; i++) {
		int error = pthread_create(&thread, NULL, storm, (void *)(THREADS * left + (i == 1 && !by_thread ? 0 : i)));
		CHECK(error == 0 || (error == EAGAIN && by_thread && i > 1)); /* the kernel makes none during an exec */
	}
	if (left % 25 == 0)
		start_beside();
	while (by_thread)
		free(malloc(left * 10));
	for (int i = 0; i < 2000; i++)
		free(malloc((size_t)i));
	replace();
	return 1;
}

int main(int argc, char **argv)
{
	if (argc == 2)
		return run_generation((unsigned)atoi(argv[1]));
	test_start(200);
	snprintf(next, sizeof next, "%d", GENERATIONS);
	replace();
	return 1;
}
