/* SPDX-License-Identifier: MIT */
/*
 * fork in a threaded program under an allocation storm: the child allocates, frees the parent's blocks, starts
 * threads, forks again and exits; nothing hangs. Beside them vfork, _Fork, posix_spawn, system and popen.
 *
 * A child that has not ended after HANG_SECONDS is killed and fails the test; the parent has its alarm.
 */
#include "blackbox.h"

#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>

#define THREADS 4
#define SLOTS 512
#define HANG_SECONDS 20

extern char **environ;

/* A block in the table says its size in its first word; the rest is patterned. */
struct block {
	size_t nbytes;
	char bytes[];
};

static struct block *shared[SLOTS];
static volatile int stop;

static struct block *make(uint64_t *rng)
{
	size_t nbytes = rng_size(rng, rng_below(rng, 100) == 0 ? 21 : 13);
	struct block *block = malloc(sizeof *block + nbytes);

	CHECK(block != NULL);
	block->nbytes = nbytes;
	pattern_fill(block->bytes, nbytes, 5);
	return block;
}

static void drop(struct block *block)
{
	if (block != NULL)
		pattern_check(block->bytes, block->nbytes, 5);
	free(block);
}

static void *storm(void *arg)
{
	uint64_t rng = test_seed((uint64_t)(uintptr_t)arg + 1);
	struct block *own[32] = { NULL };

	while (!stop) {
		size_t slot = rng_below(&rng, SLOTS), i = rng_below(&rng, COUNT(own));
		drop(__atomic_exchange_n(&shared[slot], make(&rng), __ATOMIC_ACQ_REL));
		drop(own[i]);
		own[i] = make(&rng);
		if (rng_below(&rng, 20000) == 0)
			malloc_trim(0);
	}
	for (size_t i = 0; i < COUNT(own); i++)
		drop(own[i]);
	return NULL;
}

static void *work_in_child(void *arg)
{
	uint64_t rng = (uint64_t)(uintptr_t)arg;

	for (int i = 0; i < 300; i++)
		drop(__atomic_exchange_n(&shared[rng_below(&rng, SLOTS)], make(&rng), __ATOMIC_ACQ_REL));
	return NULL;
}

/* WNOHANG and a kill: a child stuck with its signals blocked would not hear an alarm of its own. */
static void expect_success(pid_t child, const char *what)
{
	int status;

	CHECKF(child > 0, "  %s failed", what);
	for (double end = now() + HANG_SECONDS; waitpid(child, &status, WNOHANG) == 0; sleep_ms(1))
		if (now() > end) {
			say("child %d of %s hangs; its stack: /proc/%d/stack", child, what, child);
			kill(child, SIGKILL);
			waitpid(child, &status, 0);
			FAIL("  %s hangs", what);
		}
	CHECKF(status == 0, "  a child of %s ended with status 0x%x", what, status);
}

/* How a child ends: with and without destructors. */
static _Noreturn void leave(uint64_t seed)
{
	if (seed % 2 == 0)
		exit(0);
	_exit(0);
}

/* In the child: what was the parent's is freed and allocated anew, by this thread and by new ones. */
static void work(uint64_t seed, int depth)
{
	pthread_t threads[2];
	uint64_t rng = seed;

	for (size_t i = seed % SLOTS, count = seed % 8 == 0 ? SLOTS : 32; count > 0; count--, i = (i + 1) % SLOTS) {
		drop(shared[i]);
		shared[i] = seed % 3 == 0 ? NULL : make(&rng);
	}
	if (seed % 5 == 0)
		malloc_trim(0);
	if (seed % 4 == 0)
		return;
	for (uintptr_t i = 0; i < COUNT(threads); i++)
		CHECK(pthread_create(&threads[i], NULL, work_in_child, (void *)(uintptr_t)(seed + i)) == 0);
	if (depth > 0 && seed % 4 == 1) {
		pid_t grandchild = fork();
		if (grandchild == 0) {
			work(seed / 4 + 1, depth - 1);
			leave(seed);
		}
		expect_success(grandchild, "fork in a fork child");
	}
	for (size_t i = 0; i < COUNT(threads); i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
}

/* The ways to start a program that run no fork handlers, or only libc's. */
static void start_programs(void)
{
	static char name[] = "true", *arguments[] = { name, NULL };
	char line[16] = "";
	pid_t pid;

	CHECK(posix_spawnp(&pid, "true", NULL, NULL, arguments, environ) == 0);
	expect_success(pid, "posix_spawn");
	CHECK(WEXITSTATUS(system("exit 3")) == 3);
	FILE *pipe = popen("echo hello", "r");
	CHECK(pipe != NULL && fgets(line, sizeof line, pipe) != NULL && strcmp(line, "hello\n") == 0);
	CHECK(pclose(pipe) == 0);
	pid = vfork();
	if (pid == 0) {
		execvp(name, arguments);
		_exit(1);
	}
	expect_success(pid, "vfork");
	pid = _Fork();
	if (pid == 0)
		_exit(0);
	expect_success(pid, "_Fork");
}

int main(void)
{
	pthread_t threads[THREADS];
	double end = now() + test_seconds(5);
	unsigned forks = 0;
	uint64_t rng;

	test_start(4 * HANG_SECONDS);
	rng = test_seed(0);
	for (size_t i = 0; i < SLOTS; i++)
		shared[i] = make(&rng);
	for (uintptr_t i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, storm, (void *)i) == 0);
	for (; now() < end; forks++) {
		uint64_t seed = rng_next(&rng) >> 8;
		pid_t pid = fork();
		if (pid == 0) {
			work(seed, 2);
			leave(seed);
		}
		expect_success(pid, "fork");
		if (forks % 50 == 0)
			start_programs();
	}
	stop = 1;
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	for (size_t i = 0; i < SLOTS; i++)
		drop(shared[i]);
	say("%u forks", forks);
	CHECK(forks > 10);
	return 0;
}
