/* SPDX-License-Identifier: MIT */
/*
 * A process to look at: subject [churn]
 *
 * Holds known memory, writes one line, "ready" with its quarry_stats_get, and waits for its standard input to end. Four
 * threads besides main hold it with main: each HELD blocks of 1000 bytes, SPANS spans of 100,000 bytes, and main a
 * large block of 16 MiB. With churn they keep replacing other blocks meanwhile, passing them to each other.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "quarry/quarry.h"

#define NTHREADS 4
#define HELD 5000
#define SPANS 10
#define SHARED 1024

static pthread_barrier_t held;
static _Atomic(void *) shared[SHARED];
static bool churning;
static atomic_bool ended;

static void *must(void *block)
{
	if (!block)
		abort();
	return block;
}

static void hold(void)
{
	for (int i = 0; i < HELD; i++)
		memset(must(malloc(1000)), 1, 1000);
	for (int i = 0; i < SPANS; i++)
		memset(must(malloc(100000)), 1, 100000);
}

static void *work(void *arg)
{
	unsigned seed = (unsigned)(size_t)arg;
	char name[16];

	snprintf(name, sizeof name, "subject-%zu", (size_t)arg);
	pthread_setname_np(pthread_self(), name);
	hold();
	pthread_barrier_wait(&held);
	while (churning && !ended) {
		size_t nbytes = (size_t)rand_r(&seed) % (rand_r(&seed) % 64 == 0 ? 200000 : 2000);

		free(atomic_exchange(&shared[(unsigned)rand_r(&seed) % SHARED], malloc(nbytes)));
	}
	while (!ended)
		usleep(1000);
	return NULL;
}

int main(int argc, char **argv)
{
	int (*get)(struct quarry_stats *, size_t);
	struct quarry_stats stats;
	pthread_t threads[NTHREADS];
	char byte;

	*(void **)&get = dlsym(RTLD_DEFAULT, "quarry_stats_get");
	churning = argc > 1 && strcmp(argv[1], "churn") == 0;
	pthread_barrier_init(&held, NULL, NTHREADS + 1);
	hold();
	char *large = must(malloc(16 << 20));
	large[0] = 1;
	for (size_t i = 0; i < NTHREADS; i++)
		pthread_create(&threads[i], NULL, work, (void *)(i + 1));
	pthread_barrier_wait(&held);
	memset(&stats, 0, sizeof stats);
	if (get)
		get(&stats, sizeof stats);
	printf("ready %llu %llu %llu %llu\n", (unsigned long long)stats.mapped, (unsigned long long)stats.live,
	       (unsigned long long)stats.cached, (unsigned long long)stats.arenas);
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	ended = true;
	for (size_t i = 0; i < NTHREADS; i++)
		pthread_join(threads[i], NULL);
	return 0;
}
