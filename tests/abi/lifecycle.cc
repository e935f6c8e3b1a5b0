/* SPDX-License-Identifier: MIT */
/*
 * Before the first constructor and after the last destructor: blocks of each phase are used and freed in all others.
 *
 * The program runs itself as a child whose phases each write one letter to descriptor 3; the parent compares the word.
 *   P preinit_array, C constructor 101, M main, T thread_local of main, A atexit, S static object's destructor,
 *   D destructor 101.
 */
#include "blackbox.h"

#include <pthread.h>

#define PER_PHASE 64

static const char phases[] = "PCMTASD";

/* Plain data: what constructors run early must not reset. */
static struct {
	void *block[PER_PHASE];
	size_t nbytes[PER_PHASE];
} held[sizeof phases];
static int is_child;
static uint64_t rng = 12345;

/* Allocate this phase's blocks, by each call of the family. */
static void allocate(int phase)
{
	for (int i = 0; i < PER_PHASE; i++) {
		size_t nbytes = rng_size(&rng, i % 16 == 0 ? 20 : 13);
		void *block = i % 4 == 0   ? calloc(1, nbytes)
			      : i % 4 == 1 ? realloc(malloc(nbytes / 2 + 1), nbytes)
			      : i % 4 == 2 ? aligned_alloc(64, nbytes)
					   : malloc(nbytes);
		if (block == NULL)
			__builtin_trap();
		pattern_fill(block, nbytes, (uint64_t)phase);
		held[phase].block[i] = block;
		held[phase].nbytes[i] = nbytes;
	}
}

/* Free every other block of all earlier phases, verified. */
static void free_some(int phase)
{
	for (int earlier = 0; earlier < phase; earlier++)
		for (int i = phase % 2; i < PER_PHASE; i += 3) {
			void *block = held[earlier].block[i];
			if (block == NULL)
				continue;
			if (!pattern_kept(block, held[earlier].nbytes[i], (uintptr_t)block, held[earlier].nbytes[i],
					  (uint64_t)earlier))
				__builtin_trap();
			free(block);
			held[earlier].block[i] = NULL;
		}
}

static void phase_runs(char letter)
{
	int phase = (int)(strchr(phases, letter) - phases);

	if (!is_child)
		return;
	allocate(phase);
	free_some(phase);
	if (write(3, &letter, 1) != 1)
		_exit(1);
}

extern "C" {
static void before_constructors(int argc, char **argv, char **environment)
{
	(void)argv;
	(void)environment;
	is_child = argc == 2;
	phase_runs('P');
}

__attribute__((section(".preinit_array"), used)) static void (*preinit)(int, char **, char **) = before_constructors;
}

__attribute__((constructor(101))) static void first_constructor(void)
{
	phase_runs('C');
}

__attribute__((destructor(101))) static void last_destructor(void)
{
	phase_runs('D');
}

struct leaver {
	char letter;
	~leaver()
	{
		phase_runs(letter);
	}
};

static void at_exit(void)
{
	phase_runs('A');
}

/* A thread that outlives main and allocates while the process exits. */
static void *go_on(void *)
{
	static volatile int stop;
	uint64_t own = 99;

	while (!stop) {
		size_t nbytes = rng_size(&own, 14);
		void *block = malloc(nbytes);
		memset(block, 1, nbytes);
		free(block);
	}
	return NULL;
}

static int run_child(void)
{
	static leaver object = { 'S' };
	static thread_local leaver local = { 'T' };
	pthread_t thread;

	/* Registered last, hence run first of the three: thread_local, then atexit, then the static object. */
	CHECK(object.letter == 'S' && atexit(at_exit) == 0 && local.letter == 'T');
	phase_runs('M');
	CHECK(pthread_create(&thread, NULL, go_on, NULL) == 0);
	strerror(12345);
	sleep_ms(20);
	return 0;
}

int main(int argc, char **)
{
	char word[32] = "";
	int ends[2];

	test_start(60);
	if (argc == 2)
		return run_child();
	for (int round = 0; round < 20; round++) {
		CHECK(pipe(ends) == 0);
		pid_t child = fork();
		CHECK(child >= 0);
		if (child == 0) {
			CHECK(dup2(ends[1], 3) == 3);
			execl("/proc/self/exe", "lifecycle", "child", (char *)NULL);
			_exit(2);
		}
		int status = child_said(child, ends, word, sizeof word);
		CHECKF(status == 0 && strcmp(word, phases) == 0, "  phases \"%s\" of \"%s\", status 0x%x", word, phases,
		       status);
	}
	return 0;
}
